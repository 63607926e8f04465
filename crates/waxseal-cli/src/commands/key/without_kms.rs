//! What stands in for the commands on keys in AWS KMS in a build without them.

use crate::Result;
use crate::args::{KeyShowArgs, KmsCommand};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;

/// Never called: there is no such command.
pub(super) fn run(command: &KmsCommand, session: &Session) -> Result<Exit> {
    command.run(session)
}

/// There is only one more kind of key.
pub(super) fn show(_: &KeyShowArgs, _: &Session) -> Result<Exit> {
    Err(Failure::usage("there is nothing to show of a passphrase")
        .hint("name a key file, an identity or a recipient file as file:PATH"))
}
