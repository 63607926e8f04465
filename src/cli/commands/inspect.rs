//! `inspect`: the header, without any key.

use crate::cli::args::InspectArgs;
use crate::cli::exit::Exit;
use crate::cli::session::Session;

pub(crate) fn run(args: &InspectArgs, session: &Session) -> Exit {
    let _ = (args, session);
    Exit::Done
}
