//! Arguments that are about AWS KMS: options of many commands, and commands of its own.

mod examples;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use waxseal::keys::public::PublicKeySpec;

use super::{FileArgs, KeyArgs};

/// Commands of `key` that work on keys in AWS KMS.
#[derive(Debug, Subcommand)]
pub(crate) enum KmsCommand {
    /// Make a key in AWS KMS with an alias, and print its ARN
    #[command(after_help = examples::KEY_CREATE)]
    Create(KeyCreateArgs),
    /// Import key material of your own into a key in AWS KMS, and wait until it is enabled
    #[command(after_help = examples::KEY_IMPORT)]
    Import(KeyImportArgs),
    /// Take imported key material away from AWS KMS
    #[command(after_help = examples::KEY_DELETE_MATERIAL)]
    DeleteMaterial(KeyDeleteMaterialArgs),
    /// Write the public half of an ML-KEM or RSA key in AWS KMS to a recipient file
    #[command(after_help = examples::KEY_PUBLIC)]
    Public(KeyPublicArgs),
    /// Give a key in AWS KMS its next material, and wait until it is in use
    #[command(after_help = examples::KEY_ROTATE)]
    Rotate(KeyNameArgs),
    /// Have an alias name another key in AWS KMS; make it where there is none
    #[command(after_help = examples::KEY_ALIAS)]
    Alias(KeyAliasArgs),
    /// Make a key in AWS KMS unusable, until it is enabled again
    #[command(after_help = examples::KEY_DISABLE)]
    Disable(KeyNameArgs),
    /// Make a disabled key in AWS KMS usable again
    #[command(after_help = examples::KEY_ENABLE)]
    Enable(KeyNameArgs),
    /// Have AWS KMS delete a key after some days
    #[command(after_help = examples::KEY_SCHEDULE_DELETION)]
    ScheduleDeletion(KeyScheduleDeletionArgs),
    /// Keep a key that AWS KMS was to delete
    #[command(after_help = examples::KEY_CANCEL_DELETION)]
    CancelDeletion(KeyNameArgs),
}

/// Commands that let KMS itself encrypt.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Encrypt or decrypt up to 4096 bytes with AWS KMS itself
    #[command(subcommand, after_help = examples::DIRECT)]
    Direct(DirectCommand),
}

impl ServiceCommand {
    /// Whether stdout carries data.
    pub(crate) fn fills_stdout(&self) -> bool {
        let Self::Direct(DirectCommand::Encrypt(args) | DirectCommand::Decrypt(args)) = self;
        args.files.fills_stdout()
    }
}

/// How AWS KMS is reached; everything else is the environment's, as for every AWS tool.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct KmsArgs {
    /// The profile of the AWS configuration files
    #[arg(long, value_name = "NAME", help_heading = "AWS KMS")]
    pub(crate) profile: Option<String>,
    /// The AWS region, for keys whose name states none, and for multi-Region keys
    #[arg(long, value_name = "REGION", help_heading = "AWS KMS")]
    pub(crate) region: Option<String>,
    /// The longest wait for one call, with its retries; 30 unless told
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = "AWS KMS")]
    pub(crate) kms_timeout: Option<std::time::Duration>,
}

/// Whose KMS keys may open a file where no key is named.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct AccountArgs {
    /// Without -k, use KMS keys of this account; may be given several times, and needs no call to STS
    #[arg(long, value_name = "ID", conflicts_with_all = ["keys", "any_account"], help_heading = "AWS KMS")]
    pub(crate) account: Vec<String>,
    /// Without -k, use KMS keys of anybody's account: the file's maker may learn that it is opened
    #[arg(long, conflicts_with = "keys", help_heading = "AWS KMS")]
    pub(crate) any_account: bool,
}

/// `key create`.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyCreateArgs {
    /// For key material of your own: it is pending import until `key import`
    #[arg(long)]
    pub(crate) external: bool,
    /// One that can be replicated into other regions
    #[arg(long)]
    pub(crate) multi_region: bool,
    /// A key with a public half: ML_KEM_768, ML_KEM_1024, RSA_3072 or RSA_4096; symmetric, unless told
    #[arg(long, value_name = "SPEC", value_parser = parse_spec, conflicts_with = "external")]
    pub(crate) spec: Option<PublicKeySpec>,
    /// What it is for; AWS shows it, so no secret
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// A tag of it; AWS shows it, so no secret
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse_tag)]
    pub(crate) tags: Vec<(String, String)>,
    /// A file with its key policy (JSON); AWS's default policy, unless told
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Its name; one that exists is not taken over
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
    /// Make new key material, and write it to FILE first; an existing file is never overwritten
    #[arg(long, value_name = "FILE", group = "source")]
    pub(crate) generate: Option<PathBuf>,
    /// How the material is wrapped on its way: RSAES_OAEP_SHA_256 (unless told) or RSAES_OAEP_SHA_1
    #[arg(long, value_name = "ALGORITHM")]
    pub(crate) wrapping_algorithm: Option<String>,
    /// The key that wraps it: RSA_4096 (unless told), RSA_3072 or RSA_2048
    #[arg(long, value_name = "SPEC")]
    pub(crate) wrapping_key_spec: Option<String>,
    /// When KMS forgets the material, at most 365 days ahead, as 2027-06-30T00:00:00Z; never, unless told
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) valid_to: Option<std::time::SystemTime>,
    /// It is a material that the key has not had: it waits for `key rotate`
    #[arg(long)]
    pub(crate) new_material: bool,
    /// What the material is; AWS shows it, so no secret
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
    /// Which of several materials, as `key show` lists them; the current one, unless told
    #[arg(long, value_name = "ID")]
    pub(crate) key_material_id: Option<String>,
    /// Required: what the key sealed cannot be opened until the same material is imported again
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
}

/// `key public`.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyPublicArgs {
    /// The key: an ARN, alias/NAME, a UUID or mrk-ID
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    /// The recipient file to make; one that holds another key is never overwritten; "-" is stdout
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
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
    /// The key that it is to name: an ARN, alias/NAME, a UUID or mrk-ID
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
    /// After how many days, 7 to 30
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(i32).range(7..=30))]
    pub(crate) days: i32,
    /// Required: afterwards nothing opens what the key alone can open
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
    Encrypt(DirectArgs),
    /// Decrypt what `aws kms encrypt` or `direct encrypt` made
    #[command(after_help = examples::DIRECT_DECRYPT)]
    Decrypt(DirectArgs),
}

/// `direct encrypt` and `direct decrypt`.
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

fn parse_spec(text: &str) -> Result<PublicKeySpec, &'static str> {
    let mut of_kms = PublicKeySpec::ALL.into_iter().filter(|spec| *spec != PublicKeySpec::XWing);
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
