//! The parsed command line. This module accesses no files and no keys.

mod data;
mod examples;
mod key;
#[cfg_attr(not(feature = "aws-kms"), path = "without_kms.rs")]
mod kms;
mod late;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args as ClapArgs, CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use self::data::{
    ByteRange, CatArgs, DecryptArgs, EncryptArgs, InspectArgs, Reading, ResealArgs, RewrapArgs, SalvageArgs, SuiteArg,
    VerifyArgs,
};
pub(crate) use self::key::{KeyCommand, KeyNewArgs, KeyPublicArgs, KeyShowArgs};
pub(crate) use self::kms::*;
use self::late::Late;
use super::exit;
use super::store::{NewObjectArgs, Options, StoreArgs};

const ABOUT: &str = "Encrypt large files and streams; AWS KMS, a local key or a passphrase wraps each file's data key";

/// The version. A build with the FIPS module names the module, too.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    match waxseal::fips::module() {
        Some(module) if waxseal::fips::check().is_ok() => format!("{version} (cryptography by the module {module})"),
        Some(module) => format!("{version} (the module {module} is not in its FIPS mode: nothing works)"),
        None => version.to_owned(),
    }
});

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "waxseal", version = VERSION.as_str(), about = ABOUT, after_help = format!("{}\n\n{}", examples::MAIN, exit::table()))]
#[command(disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Args {
    /// Options of every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// The name of the command, for example: key new.
    #[arg(skip)]
    pub(crate) name: String,
}

impl Args {
    /// Parses the command line.
    pub(crate) fn read(arguments: &[OsString]) -> Result<Self, clap::Error> {
        let mut matches = <Self as CommandFactory>::command().try_get_matches_from(arguments)?;
        let name = name_of(&matches);
        let args = Self::from_arg_matches_mut(&mut matches);
        let mut args = Self { name, ..args.map_err(|error| error.format(&mut <Self as CommandFactory>::command()))? };
        match &mut args.command {
            Command::Encrypt(encrypt) if encrypt.decrypt => {
                encrypt.settle();
                args.name = "decrypt".into();
            }
            Command::Encrypt(encrypt) => encrypt.settle(),
            Command::Decrypt(decrypt) => decrypt.settle(),
            _ => {}
        }
        if args.global.name.is_some() && !args.command.reads_stdin() {
            let error = "--name is for an input from stdin or from a command";
            return Err(<Self as CommandFactory>::command().error(ErrorKind::ArgumentConflict, error));
        }
        Ok(args)
    }
}

/// The words of the command, without its options.
fn name_of(mut matches: &ArgMatches) -> String {
    let mut words = Vec::new();
    while let Some((word, inner)) = matches.subcommand() {
        words.push(word);
        matches = inner;
    }
    words.join(" ")
}

/// Options of every command.
#[derive(Debug, ClapArgs)]
pub(crate) struct Global {
    /// Print only warnings and errors; do not warn about key files that others can access, or about connections without encryption
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print one JSON line for each input, as soon as it is finished, to stdout, or to stderr if stdout carries data
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print one line for each finished input to stderr, also if stderr is no terminal, and a summary of several inputs
    ///
    /// Each line has the time in UTC, the result, the input and output, the keys, the id of the data key, the lengths, the id of the request to AWS KMS, and the time that the input took. With --quiet, these lines are printed as well. --json has the same facts as fields, so the two options exclude each other.
    #[arg(long, global = true, conflicts_with = "json")]
    pub(crate) report: bool,
    /// Do not show a progress bar
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    /// The name of the input in messages and --json, if it is stdin or a command
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) name: Option<OsString>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Encrypt files, a stream, or the output of a command
    #[command(after_help = examples::ENCRYPT)]
    Encrypt(Late<EncryptArgs>),
    /// Decrypt files or a stream; a command can read the content
    #[command(after_help = examples::DECRYPT)]
    Decrypt(Late<DecryptArgs>),
    /// Authenticate everything and write nothing
    #[command(after_help = examples::VERIFY)]
    Verify(Late<VerifyArgs>),
    /// Show the header, without any key
    #[command(after_help = examples::INSPECT)]
    Inspect(Late<InspectArgs>),
    /// Write a range of the plaintext to stdout
    #[command(after_help = examples::CAT)]
    Cat(Late<CatArgs>),
    /// Change the keys of files in place, or repair their headers; payloads stay unchanged
    #[command(after_help = examples::REWRAP)]
    Rewrap(Late<RewrapArgs>),
    /// Encrypt a file again with a new data key, for example after a key has leaked
    #[command(after_help = examples::RESEAL)]
    Reseal(Late<ResealArgs>),
    /// Read past damage and recover the parts that authenticate
    #[command(after_help = examples::SALVAGE)]
    Salvage(Late<SalvageArgs>),
    /// Create and manage keys
    #[command(subcommand, after_help = examples::KEY)]
    Key(Late<KeyCommand>),
    #[command(flatten)]
    Service(ServiceCommand),
    /// Print a completion script for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions(Late<CompletionsArgs>),
    /// Print the manual page of waxseal or of one of its commands, or write all pages into a folder
    #[command(after_help = examples::MAN)]
    Man(Late<ManArgs>),
    /// Print a program in Python that opens sealed files without waxseal
    #[command(after_help = examples::READER)]
    Reader,
}

/// The keys.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct KeyArgs {
    /// A key: file:PATH, passphrase, passphrase:file=PATH, or a key in AWS KMS; repeat the option for more keys
    ///
    /// file:PATH is a key file from `waxseal key new`, an identity from `waxseal key new --pair`, or a recipient file. A recipient file can seal but not open. waxseal asks for a passphrase on the terminal: an empty line generates one when encrypting, and each file has three tries when opening. The name of a key in AWS KMS is its ARN, the ARN of an alias, alias/NAME, its UUID or mrk-ID.
    ///
    /// Without -k, encrypting uses the comma-separated keys in WAXSEAL_KEY, and opening tries the local keys among them. With -k, only the keys given with -k are used.
    #[arg(short = 'k', long = "key", value_name = "KEY")]
    pub(crate) keys: Vec<OsString>,
}

/// The keys to open with, and how AWS KMS is reached.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct OpenArgs {
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
    #[command(flatten)]
    pub(crate) accounts: AccountArgs,
}

/// Pairs and labels: to set in a new file, or to demand from an existing one.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct PairArgs {
    /// Encryption context: bound to the file, visible, sent to KMS and CloudTrail. To open: the file must have this pair
    #[arg(short = 'c', long = "encryption-context", value_name = "NAME=VALUE")]
    pub(crate) context: Vec<String>,
    /// Label: bound to the file, visible, sent nowhere. To open: the file must have this label
    #[arg(short = 'l', long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
}

/// How an existing output is treated, and whether the output is synced.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct WriteArgs {
    /// Replace an existing output, or overwrite a block device
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Do not wait until the output is on the disk
    #[arg(long)]
    pub(crate) no_sync: bool,
}

/// Many inputs.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct ManyArgs {
    /// Take all files below each folder or S3 prefix, also hidden ones; symbolic links are not followed
    ///
    /// `encrypt` leaves out files that are sealed already. The other commands take the files whose names end in .wax. What is left out is reported, and is no failure. Without -o, each output is created next to its input. With -o FOLDER, the outputs go below FOLDER/NAME, where NAME is the last part of the name of the input folder. Folders below it are created as they are needed. s3://BUCKET/PREFIX/ is like a folder, as an input and with -o, and s3://BUCKET is the whole bucket.
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Also take the inputs that are listed in FILE, one on each line; "-" is stdin
    ///
    /// Each line is the name of a file or of an object, taken as it is. Empty lines are left out, and CRLF ends a line, too. With -o FOLDER, the output goes to the same path below FOLDER.
    #[arg(long, value_name = "FILE")]
    pub(crate) files_from: Option<PathBuf>,
    /// Each name in the list ends with a zero byte, as in the output of `find -print0`
    #[arg(short = '0', long = "null", requires = "files_from")]
    pub(crate) null: bool,
    /// Work on up to N inputs at the same time; 1 keeps the order [default: 16 if there is a disk or a service to wait for]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub(crate) jobs: Option<usize>,
}

impl ManyArgs {
    /// Whether the inputs are not all named on the command line.
    pub(crate) fn finds(&self) -> bool {
        self.recursive || self.files_from.is_some()
    }
}

fn parse_jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs @ 1..=64) => Ok(jobs),
        _ => Err("it is not a number from 1 to 64".into()),
    }
}

/// Inputs and outputs.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct FileArgs {
    /// Where to write; "-" is stdout; with -r or --files-from, a folder or an S3 prefix for all outputs
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) many: ManyArgs,
    /// Leave out each input whose output exists; this is a success. An empty output counts only if the sealed input has no content
    #[arg(long, conflicts_with = "force")]
    pub(crate) skip_existing: bool,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    #[command(flatten)]
    pub(crate) stores: StoreArgs,
    #[command(flatten)]
    pub(crate) new_object: NewObjectArgs,
    /// Input files; without any, or with "-", the input is stdin
    #[arg(value_name = "IN")]
    pub(crate) inputs: Vec<PathBuf>,
}

impl FileArgs {
    /// Whether stdin is the input because no other is named.
    fn take_stdin(&self) -> bool {
        self.inputs.is_empty() && !self.many.finds()
    }

    /// Whether the result is written to stdout.
    pub(crate) fn fills_stdout(&self) -> bool {
        match &self.output {
            Some(output) => is_stdout(output),
            None if self.many.finds() => false,
            None => self.inputs.is_empty() || self.inputs.iter().any(|input| is_stdin(input)),
        }
    }
}

/// Whether the name of an output means stdout. It does not matter what stdout is connected to.
pub(crate) fn is_stdout(output: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].contains(&output.to_str().unwrap_or_default())
}

/// Whether the name of an input means stdin. It does not matter what stdin is connected to.
pub(crate) fn is_stdin(input: &Path) -> bool {
    ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].contains(&input.to_str().unwrap_or_default())
}

impl Command {
    /// Whether an input has no name of its own.
    fn reads_stdin(&self) -> bool {
        let any = |inputs: &[PathBuf]| inputs.iter().any(|input| is_stdin(input));
        match self {
            Self::Encrypt(args) => args.from_command || args.files.take_stdin() || any(&args.files.inputs),
            Self::Decrypt(args) => args.files.take_stdin() || any(&args.files.inputs),
            Self::Verify(args) => any(&args.inputs),
            Self::Inspect(args) => any(&args.inputs),
            Self::Rewrap(args) => any(&args.inputs),
            Self::Cat(args) => is_stdin(&args.input),
            Self::Reseal(args) => is_stdin(&args.input),
            Self::Salvage(_) | Self::Key(_) | Self::Service(_) | Self::Completions(_) | Self::Man(_) | Self::Reader => {
                false
            }
        }
    }

    /// The options of this command for objects in stores.
    pub(crate) fn stores(&self) -> Option<Options<'_>> {
        let of = |any, new, keys| Some(Options { any, new, keys });
        match self {
            Self::Encrypt(args) => of(&args.files.stores, Some(&args.files.new_object), Some(&args.kms)),
            Self::Decrypt(args) => of(&args.files.stores, Some(&args.files.new_object), Some(&args.open.kms)),
            Self::Verify(args) => of(&args.stores, None, Some(&args.open.kms)),
            Self::Inspect(args) => of(&args.stores, None, None),
            Self::Cat(args) => of(&args.stores, None, Some(&args.open.kms)),
            Self::Rewrap(args) => of(&args.stores, Some(&args.new_object), Some(&args.open.kms)),
            Self::Reseal(args) => of(&args.stores, Some(&args.new_object), Some(&args.kms)),
            Self::Salvage(args) => of(&args.stores, None, Some(&args.open.kms)),
            Self::Service(command) => command.stores(),
            Self::Key(_) | Self::Completions(_) | Self::Man(_) | Self::Reader => None,
        }
    }

    /// How many inputs are worked on at the same time, if the user says so.
    pub(crate) fn jobs(&self) -> Option<usize> {
        match self {
            Self::Encrypt(args) => args.files.many.jobs,
            Self::Decrypt(args) => args.files.many.jobs,
            Self::Verify(args) => args.many.jobs,
            Self::Inspect(args) => args.many.jobs,
            Self::Rewrap(args) => args.many.jobs,
            _ => None,
        }
    }

    /// Whether stdout carries data, so that JSON lines must go elsewhere.
    pub(crate) fn fills_stdout(&self) -> bool {
        match self {
            Self::Encrypt(args) => args.files.fills_stdout(),
            // What the command prints goes there.
            Self::Decrypt(args) => args.to_command || args.files.fills_stdout(),
            Self::Reseal(args) => is_stdout(&args.output),
            Self::Rewrap(args) => args.output.as_ref().is_some_and(|output| is_stdout(output)),
            Self::Service(command) => command.fills_stdout(),
            Self::Cat(_) | Self::Completions(_) | Self::Reader => true,
            Self::Man(args) => args.all.is_none(),
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
    /// Write the pages of all commands into this folder: waxseal.1, waxseal-encrypt.1, ...
    ///
    /// The folder must exist. Pages that waxseal wrote there earlier are replaced. Other files are not replaced.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub(crate) all: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    /// The help is at most 100 columns wide, and breaks longer lines. A command that is broken cannot be copied.
    #[test]
    fn no_line_of_an_example_is_broken() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:\n  "), "{}: {help}", command.get_name());
            for line in help.lines().take_while(|line| !line.is_empty()) {
                assert!(line.chars().count() <= 100, "{line}");
            }
            command.get_subcommands().for_each(check);
        }
        let mut command = <Args as clap::CommandFactory>::command();
        command.build();
        check(&command);
    }
}
