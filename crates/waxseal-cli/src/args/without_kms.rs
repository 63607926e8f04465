//! Replaces [the arguments for AWS KMS](kms.rs) in a build without AWS KMS. There are none.

use clap::error::ErrorKind;
use clap::{ArgMatches, Args as ClapArgs, Command, Error, FromArgMatches, Subcommand};

use crate::Result;
use crate::exit::Exit;
use crate::session::Session;
use crate::store::Options;

/// No options.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct KmsArgs {}

impl KmsArgs {
    /// No profile and no region.
    #[cfg(feature = "aws-s3")]
    #[expect(clippy::unused_self, reason = "with AWS KMS they have a profile and a region")]
    pub(crate) fn place(&self) -> (Option<String>, Option<String>) {
        (None, None)
    }
}

/// No options.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct AccountArgs {}

/// No commands of `key`.
pub(crate) type KmsCommand = Nothing;
/// No commands.
pub(crate) type ServiceCommand = Nothing;

/// No command: there is no value of it.
#[derive(Debug)]
pub(crate) enum Nothing {}

impl Nothing {
    /// Never called.
    pub(crate) fn fills_stdout(&self) -> bool {
        match *self {}
    }

    /// Never called.
    pub(crate) fn stores(&self) -> Option<Options<'_>> {
        match *self {}
    }

    /// Never called.
    pub(crate) fn run(&self, _: &Session) -> Result<Exit> {
        match *self {}
    }
}

impl FromArgMatches for Nothing {
    fn from_arg_matches(_: &ArgMatches) -> Result<Self, Error> {
        Err(Error::new(ErrorKind::InvalidSubcommand))
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), Error> {
        match *self {}
    }
}

impl Subcommand for Nothing {
    fn augment_subcommands(command: Command) -> Command {
        command
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        command
    }

    fn has_subcommand(_: &str) -> bool {
        false
    }
}
