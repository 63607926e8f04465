//! Arguments for AWS KMS: options of many commands, and the commands that only work with AWS KMS.

mod examples;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use waxseal::format::Holder;
use waxseal::keys::public::PublicKeySpec;

use super::late::Late;
use super::{FileArgs, KeyArgs};
use crate::store::Options;

/// Commands of `key` that work on keys in AWS KMS.
#[derive(Debug, Subcommand)]
pub(crate) enum KmsCommand {
    /// Create a key in AWS KMS with an alias, and print its ARN
    #[command(after_help = examples::KEY_CREATE)]
    Create(Late<KeyCreateArgs>),
    /// Import your own key material into a key in AWS KMS, and wait until the key is enabled
    #[command(after_help = examples::KEY_IMPORT)]
    Import(Late<KeyImportArgs>),
    /// Delete imported key material from AWS KMS
    #[command(after_help = examples::KEY_DELETE_MATERIAL)]
    DeleteMaterial(Late<KeyDeleteMaterialArgs>),
    /// Rotate a key in AWS KMS to its next material, and wait until this is done
    #[command(after_help = examples::KEY_ROTATE)]
    Rotate(Late<KeyNameArgs>),
    /// Make an alias point to another key in AWS KMS; a missing alias is created
    #[command(after_help = examples::KEY_ALIAS)]
    Alias(Late<KeyAliasArgs>),
    /// Disable a key in AWS KMS until it is enabled again
    #[command(after_help = examples::KEY_DISABLE)]
    Disable(Late<KeyNameArgs>),
    /// Enable a disabled key in AWS KMS again
    #[command(after_help = examples::KEY_ENABLE)]
    Enable(Late<KeyNameArgs>),
    /// Schedule a key for deletion by AWS KMS after some days
    #[command(after_help = examples::KEY_SCHEDULE_DELETION)]
    ScheduleDeletion(Late<KeyScheduleDeletionArgs>),
    /// Cancel the scheduled deletion of a key in AWS KMS
    #[command(after_help = examples::KEY_CANCEL_DELETION)]
    CancelDeletion(Late<KeyNameArgs>),
}

/// Commands that encrypt directly with KMS.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Encrypt or decrypt up to 4096 bytes directly with AWS KMS
    #[command(subcommand, after_help = examples::DIRECT)]
    Direct(Late<DirectCommand>),
}

impl ServiceCommand {
    /// The options of this command for objects in stores.
    pub(crate) fn stores(&self) -> Option<Options<'_>> {
        let Self::Direct(Late(DirectCommand::Encrypt(args) | DirectCommand::Decrypt(args))) = self;
        Some(Options { any: &args.files.stores, new: Some(&args.files.new_object), keys: Some(&args.kms) })
    }

    /// Whether stdout carries data.
    pub(crate) fn fills_stdout(&self) -> bool {
        let Self::Direct(Late(DirectCommand::Encrypt(args) | DirectCommand::Decrypt(args))) = self;
        args.files.fills_stdout()
    }
}

/// How AWS KMS is reached. All other settings come from the usual AWS configuration.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct KmsArgs {
    /// The profile in the AWS configuration files
    #[arg(long, value_name = "NAME", help_heading = "AWS KMS")]
    pub(crate) profile: Option<String>,
    /// The AWS region, for key names without a region and for multi-Region keys
    #[arg(long, value_name = "REGION", help_heading = "AWS KMS")]
    pub(crate) region: Option<String>,
    /// The longest time for one call [default: 30]. A throttled call is repeated until this time is over, unless AWS_MAX_ATTEMPTS is set
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = "AWS KMS")]
    pub(crate) kms_timeout: Option<std::time::Duration>,
}

impl KmsArgs {
    /// The profile and the region of the keys.
    #[cfg(feature = "aws-s3")]
    pub(crate) fn place(&self) -> (Option<String>, Option<String>) {
        (self.profile.clone(), self.region.clone())
    }
}

/// Whose KMS keys may open a file if no key is named.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct AccountArgs {
    /// Without -k, use KMS keys of this account; repeat the option for more accounts; no call to STS is needed
    #[arg(long, value_name = "ID", conflicts_with_all = ["keys", "any_account"], help_heading = "AWS KMS")]
    pub(crate) account: Vec<String>,
    /// Without -k, use KMS keys of any account; the creator of the file may learn that you open it
    #[arg(long, conflicts_with = "keys", help_heading = "AWS KMS")]
    pub(crate) any_account: bool,
}

/// `key create`.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyCreateArgs {
    /// Create a key for your own key material; it is pending import until `key import`
    #[arg(long)]
    pub(crate) external: bool,
    /// Create a multi-Region key, which can be replicated into other regions
    #[arg(long)]
    pub(crate) multi_region: bool,
    /// Create a key with a public half: ML_KEM_768, ML_KEM_1024, RSA_3072 or RSA_4096 [default: a symmetric key]
    #[arg(long, value_name = "SPEC", value_parser = parse_spec, conflicts_with = "external")]
    pub(crate) spec: Option<PublicKeySpec>,
    /// The description of the key; it is not secret, because AWS shows it
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// A tag of the key; it is not secret, because AWS shows it; repeat the option for more tags
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse_tag)]
    pub(crate) tags: Vec<(String, String)>,
    /// A file with the key policy in JSON [default: the default policy of AWS]
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// The alias of the new key; an existing alias is not changed
    #[arg(long, value_name = "alias/NAME")]
    pub(crate) alias: String,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
}

/// `key import`.
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
    /// When KMS deletes the material, for example 2027-06-30T00:00:00Z, at most 365 days ahead [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) valid_to: Option<std::time::SystemTime>,
    /// Import material that the key has not had before; it waits for `key rotate`
    #[arg(long)]
    pub(crate) new_material: bool,
    /// The description of the material; it is not secret, because AWS shows it
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
}

/// `key delete-material`.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyDeleteMaterialArgs {
    /// The key: an ARN, alias/NAME, a UUID or mrk-ID
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    /// The id of one of several materials; `key show` lists them [default: the current material]
    #[arg(long, value_name = "ID")]
    pub(crate) key_material_id: Option<String>,
    /// Required, because files that this key sealed cannot be opened until the same material is imported again
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
}

/// A command about one key, and nothing else.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyNameArgs {
    /// The key: an ARN, alias/NAME, a UUID or mrk-ID
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
}

/// `key alias`.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyAliasArgs {
    /// The alias
    #[arg(value_name = "alias/NAME")]
    pub(crate) alias: String,
    /// The key that the alias will point to: an ARN, alias/NAME, a UUID or mrk-ID
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
}

/// `key schedule-deletion`.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyScheduleDeletionArgs {
    /// The key: an ARN, alias/NAME, a UUID or mrk-ID
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    /// The waiting time before the deletion, 7 to 30 days
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(i32).range(7..=30))]
    pub(crate) days: i32,
    /// Required, because files that only this key opens are lost after the deletion
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
}

/// `direct`.
#[derive(Debug, Subcommand)]
pub(crate) enum DirectCommand {
    /// Encrypt 1 to 4096 bytes, as `aws kms encrypt` does
    #[command(after_help = examples::DIRECT_ENCRYPT)]
    Encrypt(Late<DirectArgs>),
    /// Decrypt the output of `aws kms encrypt` or `direct encrypt`
    #[command(after_help = examples::DIRECT_DECRYPT)]
    Decrypt(Late<DirectArgs>),
}

/// `direct encrypt` and `direct decrypt`.
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

fn parse_spec(text: &str) -> Result<PublicKeySpec, &'static str> {
    let mut of_kms = PublicKeySpec::ALL.into_iter().filter(|spec| spec.kind().holder() == Some(Holder::AwsKms));
    of_kms.find(|spec| spec.name() == text).ok_or("it is none of ML_KEM_768, ML_KEM_1024, RSA_3072, RSA_4096")
}

fn parse_tag(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("it is not NAME=VALUE")?;
    if name.is_empty() { Err("its name is empty") } else { Ok((name.into(), value.into())) }
}

fn parse_time(text: &str) -> Result<std::time::SystemTime, String> {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "it is not a time like 2027-06-30T00:00:00Z")?;
    Ok(at.into())
}

fn parse_seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is not a number of seconds")?;
    match std::time::Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() && seconds <= 86_400.0 => Ok(duration),
        _ => Err("it must be more than 0 and at most a day".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds() {
        assert_eq!(parse_seconds("2.5"), Ok(std::time::Duration::from_millis(2500)));
        for bad in ["", "0", "-1", "x", "1e9", "inf", "NaN"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }
}
