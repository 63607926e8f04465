//! The program: arguments (parsed without access to files or keys) -> plan (checked, with access) -> command.
//!
//! Only this package prints, handles signals and decides on exit codes.

#[cfg(not(unix))]
compile_error!("the program waxseal needs a Unix system; on other systems, use the library");

mod args;
mod clock;
mod commands;
mod count;
mod environment;
mod escape;
mod evidence;
mod exit;
mod failure;
mod folder;
mod from_command;
mod guard;
mod in_the_clear;
mod input;
mod key_option;
mod keys;
mod known;
mod ledger;
mod list;
mod many;
mod once;
mod output;
mod outputs;
mod parallel;
mod place;
mod plan;
mod prefix;
mod process;
mod progress;
mod prompt;
mod remedy;
mod report;
mod session;
mod signals;
mod store;
mod streams;
mod to_command;
mod walk;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use self::args::Args;
use self::exit::Exit;
use self::failure::Failure;
use self::session::Session;

/// Runs the program. Never panics: a panic is a bug, and a bug has its own exit code.
fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(command) = guard::asked(&arguments) {
        return ExitCode::from(guarded(|| guard::run(command)).code());
    }
    signals::start();
    process::harden();
    report::report_panics();
    let exit = guarded(|| run(&arguments));
    signals::wait_if_ending();
    ExitCode::from(exit.code())
}

/// A panic ends with [`Exit::Bug`]. All values are dropped before, so that they clean up.
fn guarded(work: impl FnOnce() -> Exit) -> Exit {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Exit::Bug)
}

fn run(arguments: &[OsString]) -> Exit {
    match Args::read(arguments) {
        Ok(args) => {
            args.global.name.iter().for_each(|name| input::call_stdin(name));
            args.command.stores().into_iter().for_each(store::configure);
            let session = Session::new(&args);
            let exit = waxseal::fips::check().map_err(Failure::from);
            let exit = exit.and_then(|()| commands::run(args.command, &session));
            let exit = exit.unwrap_or_else(|failure| session.reporter.fatal(&failure));
            session.reporter.close(exit)
        }
        Err(error) => report::answer_parser(&error, arguments),
    }
}

/// `Result` of a command's parts.
type Result<T, E = Failure> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_bug() {
        assert_eq!(guarded(|| Exit::Unmet), Exit::Unmet);
        assert_eq!(guarded(|| panic!("never")), Exit::Bug);
    }
}
