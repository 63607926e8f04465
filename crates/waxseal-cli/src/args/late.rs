//! Options that are built only for the command that is used.

use std::ops::{Deref, DerefMut};

use clap::builder::Resettable;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches, Id, Subcommand};

/// The options of a command, or the commands below it. clap builds them when it parses or describes this command.
/// Otherwise each start of the program would build the options of all commands.
#[derive(Debug)]
pub(crate) struct Late<T>(pub(crate) T);

impl<T> Deref for Late<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Late<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: FromArgMatches> FromArgMatches for Late<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches_mut(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl<T: Args> Args for Late<T> {
    fn group_id() -> Option<Id> {
        T::group_id()
    }

    fn augment_args(command: Command) -> Command {
        command.defer(|command| complete(command, T::augment_args))
    }

    fn augment_args_for_update(command: Command) -> Command {
        T::augment_args_for_update(command)
    }
}

impl<T: Subcommand> Subcommand for Late<T> {
    fn augment_subcommands(command: Command) -> Command {
        command.defer(|command| complete(command, T::augment_subcommands))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        T::augment_subcommands_for_update(command)
    }

    fn has_subcommand(name: &str) -> bool {
        T::has_subcommand(name)
    }
}

/// Adds what is missing in `command`. The result is the same as if it had been there from the start.
fn complete(command: Command, add: impl FnOnce(Command) -> Command) -> Command {
    // A type's comment says what the type is. The description of the command must stay.
    let about = command.get_about().cloned().map_or(Resettable::Reset, Resettable::Value);
    let long_about = command.get_long_about().cloned().map_or(Resettable::Reset, Resettable::Value);
    // clap has already added the options that all commands have. They come last.
    let of_all: Vec<Id> = command.get_arguments().map(|argument| argument.get_id().clone()).collect();
    let command = add(command).about(about).long_about(long_about);
    // It moves an option to the end.
    of_all.into_iter().fold(command, |command, id| command.mut_arg(id, |argument| argument))
}

#[cfg(test)]
mod tests {
    #![allow(dead_code, reason = "the tests look at the options of these types, and hardly at their values")]

    use clap::{CommandFactory, Parser};

    use super::*;

    /// What the fields are.
    #[derive(Debug, Args)]
    struct Fields {
        #[arg(long)]
        first: bool,
        #[arg(long, conflicts_with = "first")]
        second: bool,
    }

    /// The whole, built at once.
    #[derive(Debug, Parser)]
    struct AtOnce {
        #[arg(long, global = true)]
        everywhere: bool,
        #[command(subcommand)]
        command: Now,
    }

    #[derive(Debug, Subcommand)]
    enum Now {
        /// Do it
        #[command(after_help = "After")]
        Do(Fields),
        /// Do something below
        #[command(subcommand)]
        Below(Below),
    }

    #[derive(Debug, Parser)]
    struct Lazy {
        #[arg(long, global = true)]
        everywhere: bool,
        #[command(subcommand)]
        command: Later,
    }

    #[derive(Debug, Subcommand)]
    enum Later {
        /// Do it
        #[command(after_help = "After")]
        Do(Late<Fields>),
        /// Do something below
        #[command(subcommand)]
        Below(Late<Below>),
    }

    /// What is below.
    #[derive(Debug, Subcommand)]
    enum Below {
        /// Do it
        Do(Late<Fields>),
    }

    fn built<T: Parser>() -> Command {
        let mut command = T::command().about(None::<&str>).long_about(None::<&str>);
        command.build();
        command
    }

    #[test]
    fn what_is_built_late_is_the_same() {
        let (mut now, mut later) = (built::<AtOnce>(), built::<Lazy>());
        for path in [&["do"] as &[&str], &["below"], &["below", "do"]] {
            let at = |command: &mut Command| {
                let found = path.iter().fold(command, |command, name| command.find_subcommand_mut(name).unwrap());
                let order: Vec<Id> = found.get_arguments().map(|argument| argument.get_id().clone()).collect();
                (found.render_long_help().to_string(), found.render_usage().to_string(), order)
            };
            assert_eq!(at(&mut later), at(&mut now));
        }
        assert_eq!(later.render_long_help().to_string(), now.render_long_help().to_string());
    }

    #[test]
    fn what_is_not_used_is_not_built() {
        let command = Lazy::command();
        assert_eq!(command.find_subcommand("do").unwrap().get_arguments().count(), 0);
        assert!(AtOnce::command().find_subcommand("do").unwrap().get_arguments().count() > 0);
    }

    #[test]
    fn the_values_are_those_of_the_command_line() {
        let Lazy { everywhere, command: Later::Do(fields) } =
            Lazy::try_parse_from(["x", "do", "--first", "--everywhere"]).unwrap()
        else {
            panic!("another command")
        };
        assert!(everywhere && fields.first && !fields.second);
        let error = Lazy::try_parse_from(["x", "below", "do", "--first", "--second"]).unwrap_err();
        assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict);
    }
}
