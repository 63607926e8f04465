//! Arguments of the commands that work on keys, and of those that let KMS itself encrypt.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::examples;
#[cfg(feature = "aws-kms")]
use super::{FileArgs, KeyArgs, KmsArgs};

/// `key`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a local key file, readable by its owner alone
    #[command(after_help = examples::KEY_NEW)]
    New(KeyNewArgs),
    /// Make a key in AWS KMS with an alias, and print its ARN
    #[cfg(feature = "aws-kms")]
    #[command(after_help = examples::KEY_CREATE)]
    Create(KeyCreateArgs),
    /// Import key material of your own into a key in AWS KMS, and wait until it is enabled
    #[cfg(feature = "aws-kms")]
    #[command(after_help = examples::KEY_IMPORT)]
    Import(KeyImportArgs),
    /// Take imported key material away from AWS KMS
    #[cfg(feature = "aws-kms")]
    #[command(after_help = examples::KEY_DELETE_MATERIAL)]
    DeleteMaterial(KeyDeleteMaterialArgs),
    /// Show state, origin, rotation and expiry of a key in AWS KMS
    #[cfg(feature = "aws-kms")]
    #[command(after_help = examples::KEY_SHOW)]
    Show(KeyShowArgs),
}

/// `key new`.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyNewArgs {
    /// The file to make; an existing one is never overwritten
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Taken and without effect: a key is never overwritten
    #[arg(short, long, hide = true)]
    pub(crate) force: bool,
}

/// `key create`.
#[cfg(feature = "aws-kms")]
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyCreateArgs {
    /// For key material of your own: it is pending import until `key import`
    #[arg(long)]
    pub(crate) external: bool,
    /// One that can be replicated into other regions
    #[arg(long)]
    pub(crate) multi_region: bool,
    /// Its name; one that exists is not taken over
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
    /// Make new key material, and write it to FILE first; an existing file is never overwritten
    #[arg(long, value_name = "FILE", group = "source")]
    pub(crate) generate: Option<PathBuf>,
    /// How the material is wrapped on its way: RSAES_OAEP_SHA_256 (unless told) or RSAES_OAEP_SHA_1
    #[arg(long, value_name = "ALGORITHM")]
    pub(crate) wrapping_algorithm: Option<String>,
    /// The key that wraps it: RSA_4096 (unless told), RSA_3072 or RSA_2048
    #[arg(long, value_name = "SPEC")]
    pub(crate) wrapping_key_spec: Option<String>,
    /// When KMS forgets the material, as 2027-12-31T00:00:00Z; never, unless told
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
    /// Required: what the key sealed cannot be opened until the same material is imported again
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
    /// Decrypt what `aws kms encrypt` or `direct encrypt` made
    #[command(after_help = examples::DIRECT_DECRYPT)]
    Decrypt(DirectArgs),
}

/// `direct encrypt` and `direct decrypt`.
#[cfg(feature = "aws-kms")]
#[derive(Debug, ClapArgs)]
pub(crate) struct DirectArgs {
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    /// Encryption context: needed again to decrypt, sent to KMS and CloudTrail
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
