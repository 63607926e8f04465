//! Shared by `decrypt`, `verify` and `cat`: opens an input with the keys and demands of the command line.

use serde_json::Map;
use waxseal::engine::Sink;
use waxseal::error::Attempt;
use waxseal::format::{Bank, Header, Holder, Slot};
use waxseal::keys::KeyOpener;
use waxseal::{Demands, Error};

use crate::Result;
use crate::args::{OpenArgs, PairArgs};
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::Input;
use crate::keys::{self, Cloud, FIND, Keyring, Opening, Origin, Turn, key_of};
use crate::once;
use crate::output::Forbidden;
use crate::place::Place;
use crate::plan;
use crate::progress::Watch;
use crate::report::{Done, Reporter};
use crate::session::Session;

/// Keys and demands, for any number of inputs.
pub(crate) struct Open<'a> {
    /// The run.
    pub(crate) session: &'a Session,
    /// The service of the KMS keys.
    pub(crate) cloud: Cloud,
    keys: Opening<'a>,
    openers: Vec<Box<dyn KeyOpener>>,
    demands: Demands,
}

impl<'a> Open<'a> {
    /// Parses all arguments first, and then reads the keys.
    pub(crate) fn new(args: &'a OpenArgs, pairs: &PairArgs, inputs: &[Place], session: &'a Session) -> Result<Self> {
        let keys = Opening::named(args)?;
        once::check(inputs, keys.specs())?;
        let demands = plan::demands(pairs)?;
        let cloud = Cloud::new(&args.kms)?;
        let openers = keys.load(&Keyring { cloud: &cloud, reporter: &session.reporter });
        let openers = openers.map_err(|failure| hint_for_lost_key(failure, inputs))?;
        Ok(Self { session, cloud, keys, openers, demands })
    }

    /// Files that an output must not replace.
    pub(crate) fn forbidden(&self) -> Forbidden {
        self.keys.forbidden()
    }

    /// Whether a key service may be called.
    pub(crate) fn may_call(&self) -> bool {
        self.keys.origin() == Origin::Offered || self.keys.specs().iter().any(|key| key.turn() == Turn::Service)
    }

    /// The keys in the order in which they are tried.
    pub(crate) fn openers(&self) -> Vec<&dyn KeyOpener> {
        self.openers.iter().map(AsRef::as_ref).collect()
    }

    /// The pairs and labels that the file must have.
    pub(crate) fn demands(&self) -> &Demands {
        &self.demands
    }

    /// Opens `input` into `sink`, and reports which key opened it.
    pub(crate) fn open_into(&self, name: &str, input: &Input, sink: Sink<'_>) -> Result<Done> {
        self.cloud.forget();
        let watch = Watch::new(self.session.progress_of_one(), name).in_turn(self.session.turn_of(input));
        let opened = self.session.engine.open(input.supply().source(), sink, &self.openers(), &self.demands, &watch);
        let seen = watch.finish();
        match opened {
            Ok(opened) => {
                self.warn(&opened.header, &opened.by.failed);
                Ok(self.done(&opened.header, opened.by.slot, opened.by.key, opened.plaintext_len).of(input))
            }
            Err(error) => Err(self.explain(error, seen, input)),
        }
    }

    /// Reports what was opened, by which key, with which call.
    pub(crate) fn done(&self, header: &Header, slot: usize, key: String, bytes: u64) -> Done {
        let kind = header.bank().slots.get(slot).map(|slot| slot.kind.name());
        let more = Map::from_iter([("slot_kind".to_owned(), kind.into())]);
        let key = key_of(header, slot, key);
        let (request_id, key_material_id) = self.cloud.answered();
        let evidence = Evidence::opened(header, slot, Some(bytes));
        Done { bytes: Some(bytes), key: Some(key), request_id, key_material_id, evidence, more, ..Done::default() }
    }

    /// Warns about faults of a file that opened in spite of them.
    pub(crate) fn warn(&self, header: &Header, failed: &[Attempt]) {
        warn_of_header(&self.session.reporter, header);
        for attempt in failed {
            let Attempt { slot, key, error, .. } = attempt;
            self.session.reporter.warn(&format!("slot {slot} did not open with {key}: {error}"));
        }
    }

    /// Adds what the header shows: damaged banks, and the keys that open the file.
    pub(crate) fn explain(&self, error: Error, seen: Option<Header>, input: &Input) -> Failure {
        let no_slot_matched = matches!(&error, Error::NoKey(no_key) if no_key.attempts.is_empty());
        let header = match seen {
            None if no_slot_matched && input.is_seekable() => input.header().ok().map(|(_, header)| header),
            seen => seen,
        };
        if let Some(header) = &header {
            warn_of_header(&self.session.reporter, header);
        }
        let failure = hint_for_foreign(Failure::from(error), input);
        match header {
            Some(header) if no_slot_matched => {
                let find = if has_local_key(header.bank()) { SHOW } else { "" };
                failure.hint(format!("these keys open it: {}; {find}{}", sealed_for(header.bank()), self.keys.hint()))
            }
            _ if no_slot_matched => failure.hint(self.keys.hint()),
            _ => failure,
        }
    }
}

/// If the file is from another known tool, the message says so.
fn hint_for_foreign(failure: Failure, input: &Input) -> Failure {
    if failure.exit != Exit::Header {
        return failure;
    }
    let mut start = vec![0; 8192];
    let read = input.bytes().read_at(&mut start, 0).unwrap_or(0);
    match keys::foreign(&start[..read]) {
        Some(hint) => Failure { hint: Some(hint.into()), ..failure },
        None => failure,
    }
}

/// Damaged or differing banks. They are always reported, but are not errors.
pub(crate) fn warn_of_header(reporter: &Reporter, header: &Header) {
    for warning in header.warnings() {
        reporter.warn(&warning.to_string());
    }
}

/// How the right one of several files is found.
const SHOW: &str = "`waxseal key show file:PATH` shows the id of a key; ";

/// A key to open with could not be read, because its file is missing: which one that was, the first sealed file says.
pub(super) fn hint_for_lost_key(failure: Failure, inputs: &[Place]) -> Failure {
    if failure.exit != Exit::Io || failure.hint.is_some() {
        return failure;
    }
    let sealed = inputs.iter().find_map(|input| Some((input.display(), header_of(input)?)));
    match sealed {
        Some((name, header)) if has_local_key(header.bank()) => {
            let keys = sealed_for(header.bank());
            failure.hint(format!(
                "{name} is sealed for {keys}; find the file with this id: `waxseal key show file:PATH` shows the id of \
                 a key"
            ))
        }
        Some((name, header)) => failure.hint(format!("{name} is sealed for {}", sealed_for(header.bank()))),
        None => failure.hint(FIND),
    }
}

/// Of a regular file. A stream is not touched: it can be read only once.
fn header_of(input: &Place) -> Option<Header> {
    input.path().and_then(|_| input.whole_len())?;
    let input = input.open().ok().filter(Input::is_seekable)?;
    input.header().ok().map(|(_, header)| header)
}

/// Whether the id of a file on some machine is among its keys.
fn has_local_key(bank: &Bank) -> bool {
    bank.slots.iter().any(|slot| slot.kind.holder() == Some(Holder::LocalFile))
}

/// Whose keys open it.
pub(super) fn sealed_for(bank: &Bank) -> String {
    let names: Vec<String> = bank.slots.iter().map(name_of_slot).collect();
    names.join(", ")
}

fn name_of_slot(slot: &Slot) -> String {
    let (kind, id) = (slot.kind.name(), &slot.key_id);
    match id.char_indices().nth(LONGEST_ID) {
        _ if id.is_empty() => kind.into(),
        Some((end, _)) => format!("{kind} {}...", &id[..end]),
        None => format!("{kind} {id}"),
    }
}

/// More of an id is not shown in a hint: nothing has authenticated it, and a kind that is not known sets no limit. An
/// ARN is shorter.
const LONGEST_ID: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use waxseal::format::SlotKind;

    #[test]
    fn no_id_fills_the_screen() {
        let name = |kind, id: &str| name_of_slot(&Slot { kind, key_id: id.into(), wrapped: Vec::new() });
        assert_eq!(name(SlotKind::PASSPHRASE, ""), "passphrase");
        assert_eq!(name(SlotKind(99), &"é".repeat(256)), format!("unknown {}", "é".repeat(256)));
        assert_eq!(name(SlotKind(99), &"é".repeat(30_000)), format!("unknown {}...", "é".repeat(256)));
    }
}
