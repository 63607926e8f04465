//! Objects in S3 as input and output of waxseal.
