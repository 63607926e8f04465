//! `completions` and `reader`: texts that are installed beside the program, or beside what it seals.

use clap::CommandFactory;

use crate::Result;
use crate::args::{Args, CompletionsArgs};
use crate::exit::Exit;
use crate::report::to_stdout;

/// `completions`.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "waxseal", &mut script);
    to_stdout(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// `reader`.
pub(crate) fn reader() -> Result<Exit> {
    to_stdout(waxseal::format::READER)?;
    Ok(Exit::Done)
}
