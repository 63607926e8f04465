//! Keys in AWS KMS (spec 9.2, 9.8): one call to seal a file, one to open it, one to rotate it. [`Kms::public_key`] gives
//! the public half of an ML-KEM or RSA key, with which a host seals without any call and cannot open.
//!
//! AWS is configured as for every AWS tool: environment, profiles, SSO, `aws login`, container and instance roles. All
//! of it is read and checked here, before the SDK sees any (docs/aws-configuration.md). Calls run on
//! a thread of their own, so the blocking functions may be used inside an async runtime; those that seal, open and
//! rotate have `_async` twins that any runtime can await.
//!
//! Data keys are wiped here as soon as they are no longer needed. The SDK and the TLS below it hold what they send
//! and receive in buffers of their own, which nothing outside can wipe.

mod client;
mod config;
#[cfg(unix)]
#[cfg(test)]
mod configurations;
mod create;
mod credentials;
mod direct;
mod effective;
mod endpoint;
mod environment;
mod failure;
mod helpers;
mod http;
mod import;
mod life;
mod manage;
mod materials;
mod name;
mod open;
mod profile;
mod public;
mod reencrypt;
mod seal;
mod setting;
mod source;
mod throttle;
mod trouble;
mod words;
mod worker;

pub use client::{Kms, KmsCall};
pub use config::{KmsConfig, KmsTimeouts};
pub use create::{KeyOrigin, KeyRegions, NewKey};
pub use direct::{DIRECT_MAX, looks_like_kms_blob};
pub use helpers::end_credential_processes;
pub use import::{ImportAlgorithm, ImportKeySpec, ImportOptions, ImportedMaterial};
pub use life::{KeyRotation, KmsKeyInfo};
pub use manage::PointedAlias;
pub use materials::KeyMaterial;
pub use name::{AliasArn, KeyArn, KmsKeyName};
pub use open::{AccountRule, Doubt, KmsOpener, Permitted};
pub use seal::{KmsKey, context};
pub use source::SourceRule;

/// The README's example is compiled as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
