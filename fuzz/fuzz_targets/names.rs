//! See `waxseal_fuzz::names`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waxseal_fuzz::names(data));
