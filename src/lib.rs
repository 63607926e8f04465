//! Envelope encryption of large files and streams: a data key that a key service or a local key wraps, a payload in the
//! public C2SP chunked encryption, and a header that survives damage and rotates in place.
//!
//! Keys in AWS KMS are in the crate `waxseal-aws-kms`, the program is in `waxseal-cli`.

pub mod container;
pub mod engine;
pub mod envelope;
pub mod error;
pub mod format;
pub mod io;
pub mod keys;
pub mod payload;
pub mod rewrap;
pub mod salvage;
pub mod secret;
pub mod seek;
pub mod stream;

pub use envelope::{Demands, Envelope, SealOptions};
pub use error::{Error, Result};
pub use salvage::{SalvageOptions, SalvageReport, salvage};
pub use seek::OpenReaderAt;
pub use stream::{OpenReader, SealWriter};

#[cfg(test)]
#[path = "../tests/skipped/mod.rs"]
mod skipped;

/// The README's examples are run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
