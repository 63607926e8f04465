//! One module for each command.

mod cat;
mod decrypt;
#[cfg(feature = "aws-kms")]
mod direct;
mod encrypt;
mod inspect;
mod key;
mod manual;
mod open;
mod reseal;
mod rewrap;
mod salvage;
mod shell;
mod verify;

use super::Result;
use super::args::Command;
use super::exit::Exit;
use super::session::Session;

/// Runs the command. It reports the errors of single inputs itself, and returns other errors.
pub(crate) fn run(command: Command, session: &Session) -> Result<Exit> {
    match command {
        Command::Encrypt(args) if args.decrypt => decrypt::run(&args.0.into(), session),
        Command::Encrypt(args) => encrypt::run(&args, session),
        Command::Decrypt(args) => decrypt::run(&args, session),
        Command::Verify(args) => verify::run(&args, session),
        Command::Inspect(args) => inspect::run(&args, session),
        Command::Cat(args) => cat::run(&args, session),
        Command::Rewrap(args) => rewrap::run(&args, session),
        Command::Reseal(args) => reseal::run(args.0, session),
        Command::Salvage(args) => salvage::run(&args, session),
        Command::Key(command) => key::run(&command, session),
        Command::Service(command) => command.run(session),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => manual::run(&args, session),
        Command::Reader => shell::reader(),
    }
}
