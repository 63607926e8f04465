//! Replaces the commands for keys in AWS KMS in a build without them.

use waxseal::keys::Recipient;

use crate::Result;
use crate::args::{KeyPublicArgs, KeyShowArgs, KmsCommand};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::report::Done;
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

/// There is only one more kind of key.
pub(super) fn recipient(_: &KeyPublicArgs, _: impl FnOnce(&Recipient) -> Result<Done>) -> Result<Result<Done>> {
    Err(Failure::usage("a passphrase has no public half").hint("name an identity as file:PATH"))
}
