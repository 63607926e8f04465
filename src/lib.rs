//! Envelope encryption of large files and streams. Each file gets its own data key, wrapped by a key service or a local
//! key. The payload follows the public standard C2SP chunked encryption. The header survives damage, and its keys can be
//! changed in place.
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

/// The README's examples are run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
