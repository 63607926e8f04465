//! See `waxseal_fuzz::rewrap`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waxseal_fuzz::rewrap(data));
