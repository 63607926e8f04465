//! See `waxseal_fuzz::container`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waxseal_fuzz::container(data));
