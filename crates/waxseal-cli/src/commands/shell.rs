//! `completions` and `man`: files that a package installs in addition to the program.

use clap::CommandFactory;

use crate::Result;
use crate::args::{Args, CompletionsArgs, ManArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::report::to_stdout;

/// `completions`.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "waxseal", &mut script);
    to_stdout(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// `man`.
pub(crate) fn manual(args: &ManArgs) -> Result<Exit> {
    let mut command = Args::command();
    command.build();
    let mut found = &command;
    for word in &args.command {
        found = found.find_subcommand(word).ok_or_else(|| {
            Failure::usage(format!("waxseal has no command {word}")).hint("`waxseal --help` lists the commands")
        })?;
    }
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(found.clone()).render(&mut page);
    rendered.map_err(|error| Failure::io("rendering the manual page", error))?;
    to_stdout(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Done)
}
