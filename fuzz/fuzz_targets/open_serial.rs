//! See `waxseal_fuzz::open_serial`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waxseal_fuzz::open_serial(data));
