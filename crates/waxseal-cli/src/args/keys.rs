//! Arguments of the commands that work on keys, and of those that let KMS itself encrypt.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::examples;
#[cfg(feature = "aws-kms")]
use super::{FileArgs, KeyArgs, KmsArgs};

/// `key`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Create a local key file that only its owner can read
    #[command(after_help = examples::KEY_NEW)]
    New(KeyNewArgs),
    /// Create a key in AWS KMS with an alias, and print its ARN
    #[cfg(feature = "aws-kms")]
    #[command(after_help = examples::KEY_CREATE)]
    Create(KeyCreateArgs),
    /// Import your own key material into a key in AWS KMS, and wait until the key is enabled
    #[cfg(feature = "aws-kms")]
    #[command(after_help = examples::KEY_IMPORT)]
    Import(KeyImportArgs),
    /// Delete imported key material from AWS KMS
    #[cfg(feature = "aws-kms")]
    #[command(after_help = examples::KEY_DELETE_MATERIAL)]
    DeleteMaterial(KeyDeleteMaterialArgs),
    /// Show the state, origin, rotation and expiry of a key in AWS KMS
    #[cfg(feature = "aws-kms")]
    #[command(after_help = examples::KEY_SHOW)]
    Show(KeyShowArgs),
}

/// `key new`.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyNewArgs {
    /// The file to create; an existing file is never overwritten
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Accepted, has no effect: a key is never overwritten
    #[arg(short, long, hide = true)]
    pub(crate) force: bool,
}

/// `key create`.
#[cfg(feature = "aws-kms")]
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyCreateArgs {
    /// Create a key for your own key material; it is pending import until `key import`
    #[arg(long)]
    pub(crate) external: bool,
    /// Create a multi-Region key, which can be replicated into other regions
    #[arg(long)]
    pub(crate) multi_region: bool,
    /// The alias of the new key; an existing alias is not changed
    #[arg(long, value_name = "alias/NAME")]
    pub(crate) alias: String,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
}

/// `key import`.
#[cfg(feature = "aws-kms")]
#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub(crate) struct KeyImportArgs {
    /// The key: an ARN, alias/NAME, a UUID or mrk-ID
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    /// The 32 bytes of key material; "-" is stdin
    #[arg(long, value_name = "FILE", group = "source")]
    pub(crate) material: Option<PathBuf>,
    /// Generate new key material and write it to FILE first; an existing file is never overwritten
    #[arg(long, value_name = "FILE", group = "source")]
    pub(crate) generate: Option<PathBuf>,
    /// How the material is wrapped for the import: RSAES_OAEP_SHA_256 or RSAES_OAEP_SHA_1 [default: RSAES_OAEP_SHA_256]
    #[arg(long, value_name = "ALGORITHM")]
    pub(crate) wrapping_algorithm: Option<String>,
    /// The key that wraps the material: RSA_4096, RSA_3072 or RSA_2048 [default: RSA_4096]
    #[arg(long, value_name = "SPEC")]
    pub(crate) wrapping_key_spec: Option<String>,
    /// When KMS deletes the material, for example 2027-12-31T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) valid_to: Option<std::time::SystemTime>,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
}

/// `key delete-material`.
#[cfg(feature = "aws-kms")]
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyDeleteMaterialArgs {
    /// The key: an ARN, alias/NAME, a UUID or mrk-ID
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    /// Required, because files that this key sealed cannot be opened until the same material is imported again
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
}

/// `key show`.
#[cfg(feature = "aws-kms")]
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyShowArgs {
    /// The key: an ARN, alias/NAME, a UUID or mrk-ID
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
}

/// `direct`.
#[cfg(feature = "aws-kms")]
#[derive(Debug, Subcommand)]
pub(crate) enum DirectCommand {
    /// Encrypt 1 to 4096 bytes, as `aws kms encrypt` does
    #[command(after_help = examples::DIRECT_ENCRYPT)]
    Encrypt(DirectArgs),
    /// Decrypt the output of `aws kms encrypt` or `direct encrypt`
    #[command(after_help = examples::DIRECT_DECRYPT)]
    Decrypt(DirectArgs),
}

/// `direct encrypt` and `direct decrypt`.
#[cfg(feature = "aws-kms")]
#[derive(Debug, ClapArgs)]
pub(crate) struct DirectArgs {
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    /// Encryption context; sent to KMS and CloudTrail; the same context is needed to decrypt
    #[arg(short = 'c', long = "encryption-context", value_name = "NAME=VALUE")]
    pub(crate) context: Vec<String>,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
}

#[cfg(feature = "aws-kms")]
fn parse_time(text: &str) -> Result<std::time::SystemTime, String> {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "it is not a time like 2027-12-31T00:00:00Z")?;
    Ok(at.into())
}
