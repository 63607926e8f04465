//! Envelope encryption of large files and streams: a data key from AWS KMS or a local key, a payload in the public
//! C2SP chunked encryption, and a header that survives damage and rotates in place.

pub mod envelope;
pub mod error;
pub mod format;
pub mod keys;
pub mod payload;
pub mod rewrap;
pub mod secret;

pub use envelope::Envelope;
