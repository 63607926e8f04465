//! Replaces the commands for keys in AWS KMS in a build without them.

use crate::Result;
use crate::args::{KeyShowArgs, KmsCommand};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;

/// Never called, because there is no such command.
pub(super) fn run(command: &KmsCommand, session: &Session) -> Result<Exit> {
    command.run(session)
}

/// Shows a key that is not in a file. In this build, only a passphrase is such a key.
pub(super) fn show(_: &KeyShowArgs, _: &Session) -> Result<Exit> {
    Err(Failure::usage("a passphrase has nothing to show")
        .hint("name a key file, an identity or a recipient file as file:PATH"))
}
