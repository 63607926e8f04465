//! `verify`: authenticates everything and writes nothing.

use waxseal::engine::Sink;

use super::open::Open;
use crate::cli::Result;
use crate::cli::args::VerifyArgs;
use crate::cli::exit::Exit;
use crate::cli::input::InputName;
use crate::cli::report::Done;
use crate::cli::session::Session;

/// Verifies each input.
pub(crate) fn run(args: &VerifyArgs, session: &Session) -> Result<Exit> {
    let inputs: Vec<InputName> = args.inputs.iter().map(|path| InputName::new(path)).collect();
    let open = Open::new(&args.open, &args.pairs, &inputs, session)?;
    Ok(session.each(&inputs, InputName::name, |input| verify(input, &open)))
}

fn verify(name: &InputName, open: &Open<'_>) -> Result<Done> {
    let mut input = name.open()?;
    let name = name.display();
    let done = open.open_into(&name, &mut input, Sink::Nowhere)?;
    let stdout = open.session.reporter.is_verbose().then(|| format!("{name}: ok\n"));
    Ok(Done { stdout, ..done })
}
