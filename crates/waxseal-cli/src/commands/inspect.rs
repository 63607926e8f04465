//! `inspect`: shows the header, without any key.

mod text;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use waxseal::container::Layout;
use waxseal::format::{Bank, BankNumber, BankState, FRONT_LEN, Front, Header, Sharing, Slot};
use waxseal::keys::Argon2Cost;

use super::open::warn_of_header;
use crate::Result;
use crate::args::InspectArgs;
use crate::evidence::pairs_json;
use crate::exit::Exit;
use crate::input::Input;
use crate::keys;
use crate::many::{Many, Takes, read_only};
use crate::once;
use crate::place::Place;
use crate::report::Done;
use crate::session::Session;

/// Shows each input's header.
pub(crate) fn run(args: &InspectArgs, session: &Session) -> Result<Exit> {
    if let Some(many) = Many::of(&args.many, &args.inputs, Takes::Sealed)? {
        once::check(&many.streams(), [])?;
        return many.each(session, false, Exit::Done, read_only, |found| inspect(&found.place, session));
    }
    let inputs: Vec<Place> = args.inputs.iter().map(|name| Place::input(name)).collect();
    once::check(&inputs, [])?;
    Ok(session.each(&inputs, Place::name, |input| inspect(input, session)))
}

fn inspect(name: &Place, session: &Session) -> Result<Done> {
    let input = name.open()?;
    let (front, header) = input.header()?;
    warn_of_header(&session.reporter, &header);
    let view = View::new(&input, &front, header);
    if view.prelude == Prelude::Differs {
        session.reporter.warn("the payload does not start with the salt and commitment that are in the header");
    }
    let (bytes, more) = (view.plaintext_len(), view.json());
    Ok(Done { bytes, more, stdout: Some(view.text(&name.display())), ..Done::default() }.of(&input))
}

/// Whether the payload begins with the bytes that the header repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prelude {
    /// It does.
    Agrees,
    /// It does not.
    Differs,
    /// These bytes are not available or cannot be read.
    Absent,
}

/// The data to show.
struct View {
    header: Header,
    /// Length of the complete file. `None` if only the first bytes of a stream were read.
    file_len: Option<u64>,
    prelude: Prelude,
}

impl View {
    fn new(input: &Input, front: &Front, header: Header) -> Self {
        let read = front.bytes().len();
        let file_len = input.len().or((read < FRONT_LEN).then_some(read as u64));
        let prelude = match Layout::of(&header).prelude_in(front) {
            Some(bytes) if *bytes == header.bank().prelude.to_bytes() => Prelude::Agrees,
            Some(_) => Prelude::Differs,
            None => Prelude::Absent,
        };
        Self { header, file_len, prelude }
    }

    fn payload_len(&self) -> Option<u64> {
        self.file_len.map(|len| Layout::of(&self.header).payload_len(len))
    }

    /// According to the file's length only.
    fn plaintext_len(&self) -> Option<u64> {
        self.file_len.and_then(|len| Layout::of(&self.header).end(len).ok()).map(|end| end.plaintext_len)
    }

    /// The other bank, if it is valid and has other content.
    fn other(&self) -> Option<&Bank> {
        let counts = self.header.bank();
        let other = self.header.state(counts.number.other()).bank()?;
        (other.generation != counts.generation || other.slots != counts.slots).then_some(other)
    }

    fn json(&self) -> Map<String, Value> {
        let bank = self.header.bank();
        let header = json!({
            "authenticated": false,
            "version": 1,
            "suite": bank.binding.suite.name(),
            "data_key_id": bank.binding.data_key_id.to_string(),
            "data_key_shared": bank.binding.sharing == Sharing::Shared,
            "encryption_context": pairs_json(&bank.binding.context),
            "labels": pairs_json(&bank.binding.labels),
            "bank_len": bank.len.get(),
            "header_len": self.header.payload_offset(),
            "bank": bank.number.get(),
            "generation": bank.generation,
            "salt": STANDARD.encode(bank.prelude.salt),
            "commitment": STANDARD.encode(bank.prelude.commitment),
            "slots": slots_json(bank),
            "banks": [self.bank_json(BankNumber::Zero), self.bank_json(BankNumber::One)],
            "file_len": self.file_len,
            "payload_len": self.payload_len(),
            "plaintext_len": self.plaintext_len(),
            "payload_begins_as_stated": match self.prelude {
                Prelude::Agrees => Some(true),
                Prelude::Differs => Some(false),
                Prelude::Absent => None,
            },
        });
        let module = waxseal::fips::module().map(|module| ("fips_module".to_owned(), module.into()));
        [("header".to_owned(), header)].into_iter().chain(module).collect()
    }

    fn bank_json(&self, number: BankNumber) -> Value {
        match self.header.state(number) {
            BankState::Damaged(why) => json!({"number": number.get(), "state": "damaged", "why": why.to_string()}),
            BankState::Valid(bank) => json!({
                "number": number.get(),
                "state": "valid",
                "counts": number == self.header.bank().number,
                "generation": bank.generation,
                "slots": slots_json(bank),
            }),
        }
    }
}

fn slots_json(bank: &Bank) -> Vec<Value> {
    let slot_json = |(index, slot): (usize, &Slot)| {
        json!({
            "index": index,
            "kind": slot.kind.name(),
            "kind_number": slot.kind.0,
            "key_id": slot.key_id,
            "wrapped_key": STANDARD.encode(&slot.wrapped),
            "argon2id": Argon2Cost::of(slot).map(|cost| {
                json!({ "memory_kib": cost.memory_kib, "passes": cost.passes, "lanes": cost.lanes })
            }),
            "by_hand": keys::by_hand(slot, &bank.binding),
        })
    };
    bank.slots.iter().enumerate().map(slot_json).collect()
}
