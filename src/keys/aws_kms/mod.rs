//! Keys in AWS KMS (spec 6.1): one call to seal a file, one to open it, one to rotate it.
//!
//! AWS is configured as for every AWS tool: environment, profiles, SSO, container and instance roles. Calls run on
//! a thread of their own, so the blocking functions may be used inside an async runtime, and each has an `_async`
//! twin that any runtime can await.

mod client;
mod config;
mod direct;
mod failure;
mod http;
mod import;
mod life;
mod name;
mod open;
mod reencrypt;
mod seal;
mod worker;

pub use client::{Kms, KmsCall};
pub use config::{KmsConfig, KmsTimeouts};
pub use direct::{DIRECT_MAX, looks_like_kms_blob};
pub use import::{ImportAlgorithm, ImportKeySpec, ImportOptions};
pub use life::{KeyOrigin, KeyRegions, KeyRotation, KmsKeyInfo};
pub use name::{AliasArn, KeyArn, KmsKeyName};
pub use open::{AccountRule, KmsOpener};
pub use seal::{KmsKey, context};
