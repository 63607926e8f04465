//! What `decrypt`, `verify` and `cat` share: opening an input with the keys and demands of the command line.

use waxseal::engine::{Opened, Sink};
use waxseal::error::Attempt;
use waxseal::format::{Bank, Header, Slot};
use waxseal::keys::KeyOpener;
use waxseal::{Demands, Error};

use crate::cli::Result;
use crate::cli::args::{KeyArgs, PairArgs};
use crate::cli::failure::Failure;
use crate::cli::input::{Input, Shape};
use crate::cli::keys::Opening;
use crate::cli::output::Forbidden;
use crate::cli::plan;
use crate::cli::progress::Watch;
use crate::cli::report::Reporter;
use crate::cli::session::Session;

/// Keys and demands, ready for any number of inputs.
pub(crate) struct Open<'a> {
    /// The run.
    pub(crate) session: &'a Session,
    keys: Opening,
    openers: Vec<Box<dyn KeyOpener>>,
    demands: Demands,
}

impl<'a> Open<'a> {
    /// Parses everything first, then reads the keys.
    pub(crate) fn new(keys: &KeyArgs, pairs: &PairArgs, session: &'a Session) -> Result<Self> {
        let keys = Opening::named(keys)?;
        let demands = plan::demands(pairs)?;
        let openers = keys.load(&session.reporter)?;
        Ok(Self { session, keys, openers, demands })
    }

    /// Files that an output must not replace.
    pub(crate) fn forbidden(&self) -> Forbidden {
        self.keys.forbidden()
    }

    /// The keys, in the order in which they are tried.
    pub(crate) fn openers(&self) -> Vec<&dyn KeyOpener> {
        self.openers.iter().map(AsRef::as_ref).collect()
    }

    /// What the file must carry.
    pub(crate) fn demands(&self) -> &Demands {
        &self.demands
    }

    /// Opens `input` into `sink`.
    pub(crate) fn into_sink(&self, name: &str, input: &mut Input, sink: Sink<'_>) -> Result<Opened> {
        let watch = Watch::new(self.session.progress, name);
        let opened = self.session.engine.open(input.source(), sink, &self.openers(), &self.demands, &watch);
        let seen = watch.finish();
        match opened {
            Ok(opened) => {
                self.warn(&opened.header, &opened.failed);
                Ok(opened)
            }
            Err(error) => Err(self.explain(error, seen, input)),
        }
    }

    /// Says what is wrong with a file that opened all the same.
    pub(crate) fn warn(&self, header: &Header, failed: &[Attempt]) {
        warn_of_header(&self.session.reporter, header);
        for attempt in failed {
            let Attempt { slot, key, error, .. } = attempt;
            self.session.reporter.warn(&format!("slot {slot} did not open with {key}: {error}"));
        }
    }

    /// Adds what the header tells: which banks are damaged, and whose keys would open the file.
    pub(crate) fn explain(&self, error: Error, seen: Option<Header>, input: &mut Input) -> Failure {
        let no_slot_matched = matches!(&error, Error::NoKey(no_key) if no_key.attempts.is_empty());
        let header = match seen {
            None if no_slot_matched && input.shape == Shape::Regular => input.header().ok().map(|(_, header)| header),
            seen => seen,
        };
        if let Some(header) = &header {
            warn_of_header(&self.session.reporter, header);
        }
        let failure = Failure::from(error);
        match header {
            Some(header) if no_slot_matched => {
                failure.hint(format!("it is sealed for {}; {}", sealed_for(header.bank()), self.keys.hint()))
            }
            _ if no_slot_matched => failure.hint(self.keys.hint()),
            _ => failure,
        }
    }
}

/// Damaged or differing banks: never a failure, always told.
pub(crate) fn warn_of_header(reporter: &Reporter, header: &Header) {
    for warning in header.warnings() {
        reporter.warn(&warning.to_string());
    }
}

fn sealed_for(bank: &Bank) -> String {
    let names: Vec<String> = bank.slots.iter().map(name_of_slot).collect();
    names.join(", ")
}

fn name_of_slot(slot: &Slot) -> String {
    if slot.key_id.is_empty() { slot.kind.name().into() } else { format!("{} {}", slot.kind.name(), slot.key_id) }
}
