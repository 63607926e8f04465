//! The command line as it is parsed. Nothing of the world is touched here.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use waxseal::format::Suite;

use super::exit;

const ABOUT: &str = "Envelope encryption of large files and streams, with AWS KMS or a local key";
const MAIN_EXAMPLES: &str = "\
Examples:
  waxseal key new backup.key
  waxseal encrypt -k file:backup.key -o db.wax --from-command -- pg_dump mydb
  waxseal decrypt -k file:backup.key -o db.sql db.wax
";
const ENCRYPT_EXAMPLES: &str = "\
Examples:
  waxseal encrypt -k file:backup.key backup.tar                 makes backup.tar.wax beside it
  waxseal encrypt -k file:a.key -k passphrase backup.tar        any one of the two opens it
  waxseal encrypt -k file:backup.key -o db.wax --from-command -- pg_dump mydb
  tar -c folder | waxseal encrypt -k file:backup.key -o folder.tar.wax
  tar --use-compress-program='waxseal encrypt -k file:backup.key' -cf folder.tar.wax folder

`--from-command` is the form for producers that can die: a pipe would seal a cut-off dump as if it were whole.
";
const DECRYPT_EXAMPLES: &str = "\
Examples:
  waxseal decrypt -k file:backup.key backup.tar.wax             makes backup.tar beside it
  waxseal decrypt -k file:backup.key -o - backup.tar.wax | tar -x
  waxseal decrypt -k file:backup.key -c env=prod -o db.sql db.wax

In a pipe, what comes out is a verified prefix: the exit code says whether it was all.
";
const VERIFY_EXAMPLES: &str = "\
Examples:
  waxseal verify -k file:backup.key *.wax
  waxseal verify -k file:backup.key -l host=db1 db.wax
";
const INSPECT_EXAMPLES: &str = "\
Examples:
  waxseal inspect db.wax
  waxseal inspect --json db.wax
  head -c 131072 db.wax | waxseal inspect -
";
const CAT_EXAMPLES: &str = "\
Examples:
  waxseal cat -k file:backup.key --range 0..512 backup.tar.wax
  waxseal cat -k file:backup.key --range 1048576.. backup.tar.wax
";
const KEY_EXAMPLES: &str = "\
Examples:
  waxseal key new backup.key
";
const KEY_NEW_EXAMPLES: &str = "\
Examples:
  waxseal key new backup.key
  waxseal encrypt -k file:backup.key backup.tar

Keep a copy of the key apart from the backups: without it they are lost.
";
const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  waxseal completions bash > ~/.local/share/bash-completion/completions/waxseal
  waxseal completions zsh > ~/.zfunc/_waxseal
";
const MAN_EXAMPLES: &str = "\
Examples:
  waxseal man > waxseal.1
  waxseal man encrypt > waxseal-encrypt.1
";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "waxseal", version, about = ABOUT, after_help = format!("{MAIN_EXAMPLES}\n{}", exit::table()))]
#[command(disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Args {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
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
    #[command(after_help = ENCRYPT_EXAMPLES)]
    Encrypt(EncryptArgs),
    /// Decrypt files or a stream
    #[command(after_help = DECRYPT_EXAMPLES)]
    Decrypt(DecryptArgs),
    /// Authenticate everything and write nothing
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Show the header, without any key
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
    /// Write a range of the plaintext to stdout
    #[command(after_help = CAT_EXAMPLES)]
    Cat(CatArgs),
    /// Make and manage keys
    #[command(subcommand, after_help = KEY_EXAMPLES)]
    Key(KeyCommand),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Print the manual page, of waxseal or of one of its commands
    #[command(after_help = MAN_EXAMPLES)]
    Man(ManArgs),
}

/// Which keys.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct KeyArgs {
    /// A key: file:PATH, passphrase, passphrase:file=PATH; may be given several times
    ///
    /// Without -k, encrypting takes the comma-separated keys in WAXSEAL_KEY, and opening is offered the local ones among them. Given with -k on opening, only these keys are tried.
    #[arg(short = 'k', long = "key", value_name = "KEY")]
    pub(crate) keys: Vec<OsString>,
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

/// Inputs and outputs.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct FileArgs {
    /// Where to write; "-" is stdout
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
    /// Replace an output that exists
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Leave it to the system when the output reaches the disk
    #[arg(long)]
    pub(crate) no_sync: bool,
    /// Input files; none or "-" is stdin
    #[arg(value_name = "IN")]
    pub(crate) inputs: Vec<PathBuf>,
}

impl FileArgs {
    /// Whether the result goes to stdout.
    pub(crate) fn fills_stdout(&self) -> bool {
        let is_stream = |path: &PathBuf| path.as_os_str() == "-";
        match &self.output {
            Some(output) => is_stream(output),
            None => self.inputs.is_empty() || self.inputs.iter().any(is_stream),
        }
    }
}

/// `encrypt`.
#[derive(Debug, ClapArgs)]
pub(crate) struct EncryptArgs {
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    #[command(flatten)]
    pub(crate) pairs: PairArgs,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// How the content is encrypted
    #[arg(long, value_enum, default_value_t, value_name = "SUITE")]
    pub(crate) suite: SuiteArg,
    /// Run the command behind "--" and encrypt what it prints; if it fails, there is no output
    #[arg(long, requires = "output")]
    pub(crate) from_command: bool,
    /// Decrypt instead: tar adds this when it extracts
    #[arg(short, long, conflicts_with = "from_command")]
    pub(crate) decrypt: bool,
}

/// `decrypt`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DecryptArgs {
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    #[command(flatten)]
    pub(crate) pairs: PairArgs,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// Decrypt, which this does anyway: tar adds this when it extracts
    #[arg(short, long)]
    pub(crate) decrypt: bool,
}

/// `verify`.
#[derive(Debug, ClapArgs)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    #[command(flatten)]
    pub(crate) pairs: PairArgs,
    /// Input files; "-" is stdin
    #[arg(value_name = "IN", required = true)]
    pub(crate) inputs: Vec<PathBuf>,
}

/// `inspect`.
#[derive(Debug, ClapArgs)]
pub(crate) struct InspectArgs {
    /// Input files, or only their first bytes; "-" is stdin
    #[arg(value_name = "IN", required = true)]
    pub(crate) inputs: Vec<PathBuf>,
}

/// `cat`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CatArgs {
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    #[command(flatten)]
    pub(crate) pairs: PairArgs,
    /// Bytes START (inclusive) to END (exclusive, cut at the end); either may be left out
    #[arg(long, value_name = "START..END", value_parser = parse_range)]
    pub(crate) range: ByteRange,
    /// Input file; "-" is stdin
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,
}

/// `key`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a local key file, readable by its owner alone
    #[command(after_help = KEY_NEW_EXAMPLES)]
    New(KeyNewArgs),
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

/// The suites by name.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum SuiteArg {
    /// AES-256-GCM, which other software can read too
    #[default]
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    /// ChaCha20-Poly1305, for machines without AES instructions
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

/// A range of bytes of the plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange {
    /// The first byte.
    pub(crate) start: u64,
    /// The byte behind the last one; `u64::MAX` where it was left out.
    pub(crate) end: u64,
}

fn parse_range(text: &str) -> Result<ByteRange, String> {
    let (start, end) = text.split_once("..").ok_or("it is not of the form START..END")?;
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
    fn the_definition_is_sound() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

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
