//! `verify`: authenticates everything, or only a part that is read quickly. It writes nothing.

#[cfg(feature = "aws-kms")]
mod dry_run;

use waxseal::OpenReaderAt;
use waxseal::engine::Sink;

use super::open::Open;
use crate::Result;
use crate::args::VerifyArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::many::{Many, Takes, read_only};
use crate::place::Place;
use crate::report::Done;
use crate::session::Session;

/// Which part of a file is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checked {
    All,
    Quick,
    #[cfg(feature = "aws-kms")]
    DryRun,
}

impl Checked {
    fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Quick => "quick",
            #[cfg(feature = "aws-kms")]
            Self::DryRun => "dry-run",
        }
    }

    /// Adds to the result how the input was checked, also after a failure.
    fn told(self, result: Result<Done>) -> Result<Done> {
        let mut done = result.unwrap_or_else(|failure| Done { shortfall: Some(failure), ..Done::default() });
        done.more.insert("checked".to_owned(), self.word().into());
        Ok(done)
    }
}

/// Verifies each input.
pub(crate) fn run(args: &VerifyArgs, session: &Session) -> Result<Exit> {
    let many = Many::of(&args.many, &args.inputs, Takes::Sealed)?;
    let named = || args.inputs.iter().map(|name| Place::input(name)).collect();
    let inputs: Vec<Place> = many.as_ref().map_or_else(named, Many::streams);
    // Who asks for a check must not take it for granted if nothing was checked.
    let each = |check: &(dyn Fn(&Place) -> Result<Done> + Sync)| match many {
        Some(many) => many.each(session, true, Exit::Unmet, read_only, |found| check(&found.place)),
        None => Ok(session.each_at_once(&inputs, true, place, check)),
    };
    #[cfg(feature = "aws-kms")]
    if args.dry_run {
        let check = dry_run::DryRun::new(args, &inputs, session)?;
        let ask = |input: &Place| Checked::DryRun.told(check.file(input));
        return each(&ask);
    }
    let open = Open::new(&args.open, &args.pairs, &inputs, session)?;
    match args.quick {
        true => each(&|input| Checked::Quick.told(quick(input, &open))),
        false => each(&|input| Checked::All.told(all(input, &open))),
    }
}

/// Nothing is written anywhere.
fn place(input: &Place) -> (&Place, Option<&Place>) {
    (input, None)
}

fn all(name: &Place, open: &Open<'_>) -> Result<Done> {
    let input = name.open()?;
    let name = name.display();
    let done = open.open_into(&name, &input, Sink::Nowhere)?;
    Ok(Done { stdout: line(open.session, &format!("{name}: ok")), ..done })
}

/// Checks the header, the key, the commitment and the last chunk. After that, the length is authentic.
fn quick(name: &Place, open: &Open<'_>) -> Result<Done> {
    let input = name.open()?;
    if !input.is_seekable() && !input.is_dir() {
        let failure = Failure::usage("--quick looks at the end of a file, and this is a stream");
        return Err(failure.hint("name the file; without --quick, a stream is verified to its end"));
    }
    open.cloud.forget();
    let reader = match OpenReaderAt::new(input.cursor(), &open.openers(), open.demands()) {
        Ok(reader) => reader,
        Err(error) => return Err(open.explain(error, None, &input)),
    };
    let by = reader.opened_by();
    open.warn(reader.header(), &by.failed);
    let done = open.done(reader.header(), by.slot, by.key.clone(), reader.plaintext_len());
    let said =
        format!("{}: ok: its key and its length; the content before the last chunk was not checked", name.display());
    Ok(Done { stdout: line(open.session, &said), ..done }.of(&input))
}

/// Prints a result for the user, if results are shown.
fn line(session: &Session, text: &str) -> Option<String> {
    session.reporter.is_verbose().then(|| format!("{text}\n"))
}
