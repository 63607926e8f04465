//! The answers of a store to a listing, or to requests for an object: see `waxseal_aws_s3::fuzzing::answers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waxseal_aws_s3::fuzzing::answers(data));
