//! Arguments of the commands that work on files.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use waxseal::format::Suite;

use super::{AccountArgs, FileArgs, KeyArgs, KmsArgs, ManyArgs, OpenArgs, PairArgs, WriteArgs};
use crate::store::{NewObjectArgs, StoreArgs};

/// `encrypt`.
#[derive(Debug, ClapArgs)]
pub(crate) struct EncryptArgs {
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    #[command(flatten)]
    pub(crate) pairs: PairArgs,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// The cipher for the content
    #[arg(long, value_enum, default_value_t, value_name = "SUITE")]
    pub(crate) suite: SuiteArg,
    /// How the content of an input file is read
    ///
    /// With "map", the file is sealed straight from the system's cache. That is faster if all of the file is in the cache, and slower if it is not. It needs a regular file. If another program changes the file at the same time, the sealed content may be a mix of old and new data. A change that the system reports is an error, as always.
    #[arg(long = "input", value_enum, default_value_t, value_name = "HOW", conflicts_with = "from_command")]
    pub(crate) reading: Reading,
    /// Use one data key for all inputs, with one call to AWS KMS; whoever can open one of the files can then open all
    ///
    /// The files are one access domain. Changing the keys of one file does not separate it from the others: the wrapped key in one file also opens the other files. Each file says in its header that it shares its data key. Use this option only for files that the same people may read. Each file still has its own salt, and each can be opened alone. Opening several of these files in one run is also one call. The option needs a symmetric key in AWS KMS, because with other keys there is no call to save.
    #[arg(long, conflicts_with_all = ["from_command", "decrypt"])]
    pub(crate) one_data_key: bool,
    /// Run the command after "--" and encrypt its output; if the command fails, no output is created
    ///
    /// The key is available before the command runs. With "-o -", the last part of the output is held back until the command has succeeded. If the command fails, the output stays truncated, every reader refuses it, and the exit code is 9.
    #[arg(long, requires = "output", conflicts_with_all = ["recursive", "files_from"])]
    pub(crate) from_command: bool,
    /// The command for --from-command, with its arguments; without --from-command, more input files
    #[arg(last = true, value_name = "CMD")]
    pub(crate) behind_dashes: Vec<OsString>,
    /// Decrypt instead of encrypting; tar adds this option when it extracts
    #[arg(short, long, conflicts_with = "from_command")]
    pub(crate) decrypt: bool,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
}

impl EncryptArgs {
    /// The words after `--` are a command only with `--from-command`; otherwise they are input files as usual.
    pub(super) fn settle(&mut self) {
        if !self.from_command {
            self.files.inputs.extend(self.behind_dashes.drain(..).map(PathBuf::from));
        }
    }
}

/// `decrypt`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DecryptArgs {
    #[command(flatten)]
    pub(crate) open: OpenArgs,
    #[command(flatten)]
    pub(crate) pairs: PairArgs,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// Run the command after "--" and write the content to its standard input
    ///
    /// The command starts when a key has opened the file and the first part is authenticated. It sees the end of its input only if everything was authenticated. Otherwise it is killed first (SIGKILL), with everything that it has started. If the command itself fails, or exits before it has read everything, the exit code is 9.
    #[arg(long, conflicts_with_all = ["output", "force", "no_sync", "recursive", "files_from"])]
    pub(crate) to_command: bool,
    /// The command for --to-command, with its arguments; without --to-command, more input files
    #[arg(last = true, value_name = "CMD")]
    pub(crate) behind_dashes: Vec<OsString>,
    /// Accepted, has no effect; tar adds this option when it extracts
    #[arg(short, long)]
    pub(crate) decrypt: bool,
}

impl DecryptArgs {
    /// The words after `--` are a command only with `--to-command`; otherwise they are input files as usual.
    pub(super) fn settle(&mut self) {
        if !self.to_command {
            self.files.inputs.extend(self.behind_dashes.drain(..).map(PathBuf::from));
        }
    }
}

/// `verify`.
#[derive(Debug, ClapArgs)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) open: OpenArgs,
    #[command(flatten)]
    pub(crate) pairs: PairArgs,
    /// Check the key, the length and the last chunk, and read nothing else of a file
    #[arg(long)]
    pub(crate) quick: bool,
    /// Ask AWS KMS whether it would open each file; nothing is opened and no content is read
    ///
    /// One call for each slot that is tried, with DryRun: no data key leaves KMS. Local keys are not read. A file without a slot of a key in AWS KMS is not checked, and that is exit 8.
    #[cfg(feature = "aws-kms")]
    #[arg(long, conflicts_with = "quick")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) stores: StoreArgs,
    #[command(flatten)]
    pub(crate) many: ManyArgs,
    /// Input files; "-" is stdin
    #[arg(value_name = "IN", required_unless_present = "files_from")]
    pub(crate) inputs: Vec<PathBuf>,
}

/// `inspect`.
#[derive(Debug, ClapArgs)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) stores: StoreArgs,
    #[command(flatten)]
    pub(crate) many: ManyArgs,
    /// Input files; their first bytes are enough; "-" is stdin
    #[arg(value_name = "IN", required_unless_present = "files_from")]
    pub(crate) inputs: Vec<PathBuf>,
}

/// `cat`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CatArgs {
    #[command(flatten)]
    pub(crate) open: OpenArgs,
    #[command(flatten)]
    pub(crate) pairs: PairArgs,
    /// The bytes from START up to but not including END; START, END or both may be omitted
    #[arg(long, value_name = "START..END", value_parser = parse_range)]
    pub(crate) range: ByteRange,
    #[command(flatten)]
    pub(crate) stores: StoreArgs,
    /// Input file; "-" is stdin
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,
}

/// `rewrap`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RewrapArgs {
    #[command(flatten)]
    pub(crate) open: OpenArgs,
    /// The key to replace: a KEY, or slot:N with the number that `inspect` shows; needed if a file has several keys
    #[arg(long, value_name = "KEY|slot:N", requires = "to")]
    pub(crate) from: Option<OsString>,
    /// The new key
    #[arg(long, value_name = "KEY")]
    pub(crate) to: Option<OsString>,
    /// A key to add; repeat the option for more keys
    #[arg(long, value_name = "KEY")]
    pub(crate) add: Vec<OsString>,
    /// A key to remove; the last key cannot be removed; repeat the option for more keys
    #[arg(long, value_name = "KEY|slot:N")]
    pub(crate) remove: Vec<OsString>,
    /// Repair a damaged copy of the header; with -k also the payload's salt and commitment
    ///
    /// The damaged copy is first saved in the folder of the input, as NAME.replaced-bank0 or NAME.replaced-bank1. If a file already has that name, -2 is added to it, then -3, and so on.
    #[arg(long, conflicts_with = "output")]
    pub(crate) repair: bool,
    /// Allow the data key to be unwrapped on this machine if KMS cannot rewrap it
    #[arg(long)]
    pub(crate) allow_unwrap: bool,
    /// Do not ask for confirmation if other files share the data key, and copy a file without proof that it is complete
    #[arg(long)]
    pub(crate) yes: bool,
    /// Write a copy with the new keys instead of changing the file; "-" is stdout
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    #[command(flatten)]
    pub(crate) stores: StoreArgs,
    #[command(flatten)]
    pub(crate) new_object: NewObjectArgs,
    #[command(flatten)]
    pub(crate) many: ManyArgs,
    /// Files to change; with -o exactly one file, or "-" for stdin
    #[arg(value_name = "IN", required_unless_present = "files_from")]
    pub(crate) inputs: Vec<PathBuf>,
}

/// `reseal`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ResealArgs {
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    /// A key that opens the input; without --from, waxseal tries the same keys as `decrypt`; repeat the option for more keys
    #[arg(long, value_name = "KEY")]
    pub(crate) from: Vec<OsString>,
    #[command(flatten)]
    pub(crate) pairs: PairArgs,
    /// Add a pair to the encryption context of the new file, or replace its value
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set_context: Vec<String>,
    /// Add a label to the new file, or replace its value
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set_label: Vec<String>,
    /// Leave out the pair or the label with this name; it must be in the input
    #[arg(long, value_name = "NAME")]
    pub(crate) unset: Vec<String>,
    /// The cipher for the content of the new file [default: the same as in the input]
    #[arg(long, value_enum, value_name = "SUITE")]
    pub(crate) suite: Option<SuiteArg>,
    /// The new file; "-" is stdout
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    #[command(flatten)]
    pub(crate) stores: StoreArgs,
    #[command(flatten)]
    pub(crate) new_object: NewObjectArgs,
    /// The file to encrypt again; "-" is stdin
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
    #[command(flatten)]
    pub(crate) accounts: AccountArgs,
}

/// `salvage`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SalvageArgs {
    #[command(flatten)]
    pub(crate) open: OpenArgs,
    #[command(flatten)]
    pub(crate) pairs: PairArgs,
    /// The file to write; it cannot be a pipe
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Write a map of the damage in the format of GNU ddrescue
    #[arg(long, value_name = "FILE")]
    pub(crate) map: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    #[command(flatten)]
    pub(crate) stores: StoreArgs,
    /// The damaged file
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,
}

/// The suites by name.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum SuiteArg {
    /// AES-256-GCM, which most other software supports
    #[default]
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    /// ChaCha20-Poly1305, faster on machines without AES instructions
    #[value(name = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

impl From<SuiteArg> for Suite {
    fn from(suite: SuiteArg) -> Self {
        match suite {
            SuiteArg::Aes256Gcm => Self::Aes256Gcm,
            SuiteArg::ChaCha20Poly1305 => Self::ChaCha20Poly1305,
        }
    }
}

/// How an input is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reading {
    /// Read the file: this is better for most files
    #[default]
    Auto,
    /// Map the file into memory; refuse what cannot be mapped
    Map,
    /// Read the file
    Read,
}

/// A range of bytes of the plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange {
    /// The first byte.
    pub(crate) start: u64,
    /// The byte after the last one; `u64::MAX` if it was omitted.
    pub(crate) end: u64,
}

fn parse_range(text: &str) -> Result<ByteRange, String> {
    let (start, end) = text.split_once("..").ok_or("it does not have the form START..END")?;
    let number = |text: &str, absent: u64| match text {
        "" => Ok(absent),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_err(|_| format!("{digits} is too large"))
        }
        other => Err(format!("{other:?} is not a number of bytes")),
    };
    let range = ByteRange { start: number(start, 0)?, end: number(end, u64::MAX)? };
    if range.start > range.end { Err("it ends before it starts".into()) } else { Ok(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("5..10"), Ok(ByteRange { start: 5, end: 10 }));
        assert_eq!(parse_range(".."), Ok(ByteRange { start: 0, end: u64::MAX }));
        assert_eq!(parse_range("..0"), Ok(ByteRange { start: 0, end: 0 }));
        for bad in ["", "5", "5.10", "10..5", "-1..5", "+1..2", "a..", "1..99999999999999999999", "0x1..2"] {
            assert!(parse_range(bad).is_err(), "{bad}");
        }
    }
}
