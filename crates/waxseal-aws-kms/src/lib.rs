//! Keys in AWS KMS (spec 9.2, 9.8): one call seals a file, one call opens it, and one call changes its key.
//! [`Kms::public_key`] returns the public half of an ML-KEM or RSA key. A host seals with it without any call, and cannot
//! open.
//!
//! AWS is configured as for every AWS tool: environment, profiles, SSO, `aws login`, container and instance roles. This
//! crate reads and checks all settings before it gives them to the SDK (docs/aws-configuration.md). Calls run on a
//! separate thread, so the blocking functions may be used inside an async runtime. The functions that seal, open and
//! change keys have `_async` versions for any runtime.
//!
//! This crate wipes data keys as soon as they are no longer needed. The SDK and its TLS library keep what they send and
//! receive in their own buffers, which this crate cannot wipe.
//!
//! An error has a [`Remedy`](waxseal::error::Remedy) if it is known what to do next. A program can use its text, or match
//! the value and use its own words.

mod client;
mod config;
mod create;
mod direct;
mod failure;
mod import;
mod life;
mod manage;
mod materials;
mod name;
mod open;
mod operation;
mod public;
mod reencrypt;
mod seal;
mod source;

pub use client::{Kms, KmsCall};
pub use config::{KmsConfig, KmsTimeouts};
pub use create::{KeyOrigin, KeyRegions, NewKey};
pub use direct::{DIRECT_MAX, looks_like_kms_blob};
pub use import::{ImportAlgorithm, ImportKeySpec, ImportOptions, ImportedMaterial};
pub use life::{KeyRotation, KmsKeyInfo};
pub use manage::PointedAlias;
pub use materials::KeyMaterial;
pub use name::{AliasArn, KeyArn, KmsKeyName};
pub use open::{AccountRule, Doubt, KmsOpener, Permitted};
pub use operation::KmsOperation;
pub use seal::{KmsKey, context};
pub use source::SourceRule;
pub use waxseal_aws::helpers::end_credential_processes;

/// The README's example is compiled as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
