//! See `waxseal_fuzz::keytext`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waxseal_fuzz::keytext(data));
