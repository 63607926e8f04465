//! See `waxseal_fuzz::split`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waxseal_fuzz::split(data));
