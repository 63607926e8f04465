//! See `waxseal_fuzz::header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waxseal_fuzz::header(data));
