//! The header as text for people.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use waxseal::format::{Bank, BankNumber, BankState, Pairs, Sharing, Slot, SlotKind};
use waxseal::keys::Argon2Cost;

use super::{Prelude, View};
use crate::count::count;
use crate::escape;
use crate::keys::by_hand;

impl View {
    pub(super) fn text(&self, name: &str) -> String {
        let bank = self.header.bank();
        let mut out = format!("{name}\n");
        row(&mut out, "format", &format!("waxseal version 1, {}", bank.binding.suite.name()));
        let sharing = match bank.binding.sharing {
            Sharing::Exclusive => "used by this file only",
            Sharing::Shared => "shared with other files: anyone who can open one of them can open all",
        };
        row(&mut out, "data key", &format!("{} ({sharing})", bank.binding.data_key_id));
        self.sizes(&mut out);
        pairs(&mut out, "encryption context", &bank.binding.context);
        pairs(&mut out, "labels", &bank.binding.labels);
        slots(&mut out, "slots", bank);
        for number in [BankNumber::Zero, BankNumber::One] {
            row(&mut out, &format!("bank {}", number.get()), &self.bank(number));
        }
        if let Some(other) = self.other() {
            slots(&mut out, &format!("slots of bank {}, which is not used", other.number.get()), other);
        }
        let by_hand = |symmetric: bool| {
            let mut slots = bank.slots.iter().filter(|slot| (slot.kind == SlotKind::AWS_KMS) == symmetric);
            slots.any(|slot| by_hand(slot, &bank.binding).is_some())
        };
        if by_hand(true) {
            out.push_str(
                "  to decrypt the file with the data key: python3 reader.py --data-key-file data.key IN OUT\n",
            );
        }
        if by_hand(false) {
            out.push_str(
                "  to decrypt the file with a shared secret: python3 reader.py --shared-secret ARN=shared.secret IN OUT\n",
            );
        }
        if by_hand(true) || by_hand(false) {
            out.push_str("  `waxseal reader` prints reader.py\n");
        }
        if let Some(module) = waxseal::fips::module() {
            let refused = "chacha20-poly1305, passphrases and X-Wing are refused";
            row(&mut out, "this build", &format!("cryptography by the module {module}; {refused}"));
        }
        out.push_str("  nothing here is authenticated; to authenticate it with a key, run `waxseal verify`\n");
        out
    }

    fn sizes(&self, out: &mut String) {
        let bank = self.header.bank();
        let header_len = self.header.payload_offset();
        row(out, "header", &format!("{header_len} bytes, two banks of {}", bank.len.get()));
        let length = match (self.payload_len(), self.plaintext_len()) {
            (None, _) => "length unknown: only the first bytes were read".into(),
            (Some(0), _) => "not here, only the header is here".into(),
            (Some(len), None) => {
                format!("{}, which is not a possible length: truncated, or only the first bytes", count(len, "byte"))
            }
            (Some(len), Some(plain)) => {
                format!("{len} bytes; for this length, the plaintext has {}", count(plain, "byte"))
            }
        };
        row(out, "payload", &length);
        let agrees = match self.prelude {
            Prelude::Agrees => "same as in the header",
            Prelude::Differs => "not the same as in the header",
            Prelude::Absent => "not here",
        };
        row(out, "salt, commitment", agrees);
    }

    fn bank(&self, number: BankNumber) -> String {
        match self.header.state(number) {
            BankState::Damaged(why) => format!("damaged ({why})"),
            BankState::Valid(bank) => {
                let counts = if number == self.header.bank().number { ", used" } else { "" };
                let differs = match self.other() {
                    Some(other) if other.number == number => ", differs",
                    _ => "",
                };
                format!("whole, generation {}{counts}{differs}", bank.generation)
            }
        }
    }
}

fn row(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "  {name:<20}{value}");
}

fn pairs(out: &mut String, name: &str, pairs: &Pairs) {
    if pairs.is_empty() {
        row(out, name, "none");
        return;
    }
    let _ = writeln!(out, "  {name}");
    for (name, value) in pairs.iter() {
        let _ = writeln!(out, "    {} = {}", escape::text(name), escape::text(value));
    }
}

fn slots(out: &mut String, name: &str, bank: &Bank) {
    let _ = writeln!(out, "  {name}");
    for (index, slot) in bank.slots.iter().enumerate() {
        let _ = writeln!(out, "    {index}  {}  {}", kind(slot), escape::text(&slot.key_id));
        let _ = writeln!(out, "       wrapped data key: {}", STANDARD.encode(&slot.wrapped));
        if let Some(Argon2Cost { memory_kib, passes, lanes }) = Argon2Cost::of(slot) {
            let _ = writeln!(
                out,
                "       cost of a guess (Argon2id): {memory_kib} KiB of memory, {passes} {}, {}",
                if passes == 1 { "pass" } else { "passes" },
                count(lanes.into(), "lane")
            );
        }
        if let Some(command) = by_hand(slot, &bank.binding) {
            let _ = writeln!(out, "       to unwrap it by hand:\n       {command}");
        }
    }
}

fn kind(slot: &Slot) -> String {
    match slot.kind.name() {
        "unknown" => format!("unknown kind {}", slot.kind.0),
        known => known.into(),
    }
}
