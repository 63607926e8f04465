//! See `waxseal_fuzz::keyfile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waxseal_fuzz::keyfile(data));
