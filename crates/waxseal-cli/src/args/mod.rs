//! The command line as it is parsed. Nothing of the world is touched here.

mod data;
mod examples;
mod keys;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Parser, Subcommand};

pub(crate) use self::data::{
    ByteRange, CatArgs, DecryptArgs, EncryptArgs, InspectArgs, RewrapArgs, SalvageArgs, VerifyArgs,
};
pub(crate) use self::keys::KeyCommand;
#[cfg(feature = "aws-kms")]
pub(crate) use self::keys::{
    DirectArgs, DirectCommand, KeyCreateArgs, KeyDeleteMaterialArgs, KeyImportArgs, KeyShowArgs,
};
#[cfg(feature = "aws-kms")]
pub(crate) use self::keys::{KeyAliasArgs, KeyNameArgs, KeyPublicArgs, KeyScheduleDeletionArgs};
use super::exit;

const ABOUT: &str = "Envelope encryption of large files and streams, with AWS KMS or a local key";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "waxseal", version, about = ABOUT, after_help = format!("{}\n\n{}", examples::MAIN, exit::table()))]
#[command(disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Args {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// Parses the command line.
    pub(crate) fn read(arguments: &[OsString]) -> Result<Self, clap::Error> {
        let mut args = Self::try_parse_from(arguments)?;
        if let Command::Encrypt(encrypt) = &mut args.command {
            encrypt.settle();
        }
        Ok(args)
    }
}

/// Options of every command.
#[derive(Debug, ClapArgs)]
pub(crate) struct Global {
    /// Say nothing but warnings and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// One JSON line for each input, on stdout (on stderr where stdout carries data)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Never draw a progress bar
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Encrypt files, a stream, or what a command prints
    #[command(after_help = examples::ENCRYPT)]
    Encrypt(EncryptArgs),
    /// Decrypt files or a stream
    #[command(after_help = examples::DECRYPT)]
    Decrypt(DecryptArgs),
    /// Authenticate everything and write nothing
    #[command(after_help = examples::VERIFY)]
    Verify(VerifyArgs),
    /// Show the header, without any key
    #[command(after_help = examples::INSPECT)]
    Inspect(InspectArgs),
    /// Write a range of the plaintext to stdout
    #[command(after_help = examples::CAT)]
    Cat(CatArgs),
    /// Change the keys of files in place, or mend their headers; payloads are not touched
    #[command(after_help = examples::REWRAP)]
    Rewrap(RewrapArgs),
    /// Read past damage: rescue what authenticates
    #[command(after_help = examples::SALVAGE)]
    Salvage(SalvageArgs),
    /// Make and manage keys
    #[command(subcommand, after_help = examples::KEY)]
    Key(KeyCommand),
    /// Encrypt or decrypt up to 4096 bytes with AWS KMS itself
    #[cfg(feature = "aws-kms")]
    #[command(subcommand, after_help = examples::DIRECT)]
    Direct(DirectCommand),
    /// Print a completion script for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Print the manual page, of waxseal or of one of its commands
    #[command(after_help = examples::MAN)]
    Man(ManArgs),
}

/// Which keys.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct KeyArgs {
    /// A key: file:PATH, passphrase, passphrase:file=PATH, or one in AWS KMS; may be given several times
    ///
    /// A key file is made by `waxseal key new`; a passphrase is asked for on the terminal. A key in AWS KMS is named by its ARN, the ARN of an alias, alias/NAME, its UUID or mrk-ID.
    ///
    /// Without -k, encrypting takes the comma-separated keys of WAXSEAL_KEY, and opening is offered the local ones among them. With -k, only these keys are used.
    #[arg(short = 'k', long = "key", value_name = "KEY")]
    pub(crate) keys: Vec<OsString>,
}

/// How AWS KMS is reached; everything else is the environment's, as for every AWS tool.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct KmsArgs {
    /// The profile of the AWS configuration files
    #[cfg(feature = "aws-kms")]
    #[arg(long, value_name = "NAME", help_heading = "AWS KMS")]
    pub(crate) profile: Option<String>,
    /// The AWS region, for keys whose name states none, and for multi-Region keys
    #[cfg(feature = "aws-kms")]
    #[arg(long, value_name = "REGION", help_heading = "AWS KMS")]
    pub(crate) region: Option<String>,
    /// The longest wait for one call, with its retries; 30 unless told
    #[cfg(feature = "aws-kms")]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = "AWS KMS")]
    pub(crate) kms_timeout: Option<std::time::Duration>,
}

/// Whose KMS keys may open a file where no key is named.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct AccountArgs {
    /// Without -k, use KMS keys of this account; may be given several times, and needs no call to STS
    #[cfg(feature = "aws-kms")]
    #[arg(long, value_name = "ID", conflicts_with_all = ["keys", "any_account"], help_heading = "AWS KMS")]
    pub(crate) account: Vec<String>,
    /// Without -k, use KMS keys of anybody's account: the file's maker may learn that it is opened
    #[cfg(feature = "aws-kms")]
    #[arg(long, conflicts_with = "keys", help_heading = "AWS KMS")]
    pub(crate) any_account: bool,
}

/// The keys to open with, and how they are reached.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct OpenArgs {
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
    #[command(flatten)]
    pub(crate) accounts: AccountArgs,
}

/// What a file carries, or is demanded to carry.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct PairArgs {
    /// Encryption context: bound to the file, visible, sent to KMS and CloudTrail; on opening a demand
    #[arg(short = 'c', long = "encryption-context", value_name = "NAME=VALUE")]
    pub(crate) context: Vec<String>,
    /// Label: bound to the file, visible, sent nowhere; on opening a demand
    #[arg(short = 'l', long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
}

/// What is done about an output that exists, and about the disk.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct WriteArgs {
    /// Replace an output that exists, or write over a block device
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Leave it to the system when the output reaches the disk
    #[arg(long)]
    pub(crate) no_sync: bool,
}

/// Inputs and outputs.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct FileArgs {
    /// Where to write; "-" is stdout
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    /// Input files; none or "-" is stdin
    #[arg(value_name = "IN")]
    pub(crate) inputs: Vec<PathBuf>,
}

impl FileArgs {
    /// Whether the result goes to stdout.
    pub(crate) fn fills_stdout(&self) -> bool {
        match &self.output {
            Some(output) => is_stdout(output),
            None => self.inputs.is_empty() || self.inputs.iter().any(|input| is_stdin(input)),
        }
    }
}

/// Whether an output's name means stdout, whatever that is connected to.
pub(crate) fn is_stdout(output: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].contains(&output.to_str().unwrap_or_default())
}

/// Whether an input's name means stdin, whatever that is connected to.
pub(crate) fn is_stdin(input: &Path) -> bool {
    ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].contains(&input.to_str().unwrap_or_default())
}

impl Command {
    /// Whether stdout carries data, so that JSON lines must go elsewhere.
    pub(crate) fn fills_stdout(&self) -> bool {
        match self {
            Self::Encrypt(args) => args.files.fills_stdout(),
            Self::Decrypt(args) => args.files.fills_stdout(),
            Self::Rewrap(args) => args.output.as_ref().is_some_and(|output| is_stdout(output)),
            #[cfg(feature = "aws-kms")]
            Self::Direct(DirectCommand::Encrypt(args) | DirectCommand::Decrypt(args)) => args.files.fills_stdout(),
            Self::Cat(_) | Self::Completions(_) | Self::Man(_) => true,
            Self::Verify(_) | Self::Inspect(_) | Self::Salvage(_) | Self::Key(_) => false,
        }
    }
}

/// `completions`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// `man`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ManArgs {
    /// The command, for example: encrypt, or: key new
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[cfg(feature = "aws-kms")]
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
    fn the_definition_is_sound() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[cfg(feature = "aws-kms")]
    #[test]
    fn seconds() {
        assert_eq!(parse_seconds("2.5"), Ok(std::time::Duration::from_millis(2500)));
        for bad in ["", "0", "-1", "x", "1e9", "inf", "NaN"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }
}
