//! See `waxseal_fuzz::seek_vs_serial`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waxseal_fuzz::seek_vs_serial(data));
