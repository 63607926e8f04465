//! What a writer must do, seen from its files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashSet;
use std::io::Write;

use waxseal::error::{Error, Result};
use waxseal::format::{Bank, BankNumber, Binding, Front, Header, MAGIC, Pairs, Slot, SlotKind};
use waxseal::keys::{Argon2Cost, KeyFile, KeyOpener, KeySealer, Passphrase};
use waxseal::secret::{DataKey, SecretBytes};
use waxseal::{Demands, Envelope, OpenReader, SealOptions, SealWriter};

const CHEAP: Argon2Cost = Argon2Cost { memory_kib: 19 * 1024, passes: 1, lanes: 1 };

fn passphrase() -> Passphrase {
    Passphrase::with_cost(SecretBytes::new(b"phrase".to_vec()), CHEAP).unwrap()
}

fn seal(sealers: &[&dyn KeySealer], plaintext: &[u8]) -> Vec<u8> {
    let mut writer = SealWriter::new(Vec::new(), sealers, &SealOptions::new()).unwrap();
    writer.write_all(plaintext).unwrap();
    writer.finish().unwrap()
}

fn bank(file: &[u8]) -> Bank {
    Header::read(&Front::new(file.to_vec())).unwrap().bank().clone()
}

#[test]
fn everything_random_is_fresh() {
    let (key, passphrase) = (KeyFile::generate().unwrap(), passphrase());
    let mut seen = HashSet::new();
    let mut fresh = |what: &str, bytes: &[u8]| assert!(seen.insert(bytes.to_vec()), "{what} stands twice");
    fresh("a key file", KeyFile::generate().unwrap().to_text(&[]).expose());
    fresh("a key file", key.to_text(&[]).expose());
    for _ in 0..3 {
        let bank = bank(&seal(&[&key, &passphrase], b""));
        fresh("the salt", &bank.prelude.salt);
        fresh("the data key's id", &bank.binding.data_key_id.0);
        fresh("the salt of a key file's wrapping", &bank.slots[0].wrapped[..24]);
        fresh("the salt of Argon2id", &bank.slots[1].wrapped[12..44]);
        fresh("the salt of a passphrase's wrapping", &bank.slots[1].wrapped[44..68]);
        fresh("the data key", key.open(&bank.slots[0], &bank.binding).unwrap().expose());
    }
}

#[test]
fn both_banks_are_alike_and_of_generation_1() {
    let key = KeyFile::generate().unwrap();
    let file = seal(&[&key], b"text");
    let (zero, one) = (&file[..4096], &file[4096..8192]);
    assert!(zero[..22] == one[..22] && zero[24..4064] == one[24..4064]);
    assert_eq!((&zero[16..20], &zero[22..24], &one[22..24]), (&[1, 0, 0, 0][..], &[0, 0][..], &[1, 0][..]));
    assert!(Header::read(&Front::new(file)).unwrap().state(BankNumber::One).bank().is_some());
}

#[test]
fn pairs_are_refused_and_never_mended() {
    for bad in [" aws:x=1 ", "aws:x=1", "k=", "=v", "k=a\tb", "k=\u{85}"] {
        let parsed = Pairs::parse([bad]);
        match bad {
            " aws:x=1 " => assert_eq!(parsed.unwrap().iter().next(), Some((" aws:x", "1 "))),
            _ => assert!(matches!(parsed, Err(Error::Invalid(_))), "{bad:?}"),
        }
    }
    assert!(Pairs::parse(["k=1", "K=1"]).is_err() && Pairs::parse(["k=1", "k=1"]).is_err());
    let (key, long) = (KeyFile::generate().unwrap(), "v".repeat(8192));
    let options = SealOptions::new().with_context(Pairs::parse([format!("k={long}")]).unwrap());
    assert!(matches!(Envelope::new(&[&key], &options), Err(Error::Limit(_))));
}

#[test]
fn a_passphrase_keeps_the_limits() {
    let with = |memory_kib, passes, lanes| {
        let cost = Argon2Cost { memory_kib, passes, lanes };
        Passphrase::with_cost(SecretBytes::new(b"x".to_vec()), cost).is_ok()
    };
    assert!(with(19_456, 1, 1) && with(1 << 20, 4, 16) && with(262_144, 16, 1));
    assert!(!with(19_455, 1, 1) && !with((1 << 20) + 1, 1, 1) && !with(19_456, 0, 1) && !with(19_456, 17, 1));
    assert!(!with(19_456, 1, 0) && !with(19_456, 1, 17) && !with(262_145, 16, 1) && !with(1 << 20, 1 << 12, 1));
}

/// Makes slots of one kind.
struct Kind(u16, Vec<u8>);

impl KeySealer for Kind {
    fn name(&self) -> String {
        "a kind of its own".into()
    }

    fn wrap(&self, _: &DataKey, _: &Binding) -> Result<Slot> {
        Ok(Slot { kind: SlotKind(self.0), key_id: String::new(), wrapped: self.1.clone() })
    }
}

#[test]
fn reserved_kinds_are_not_written() {
    for kind in [0, 7, 8, 0x7fff] {
        let sealer = Kind(kind, vec![1]);
        assert!(Envelope::new(&[&sealer], &SealOptions::new()).is_err(), "{kind}");
    }
    for kind in [0x8000, 0xffff] {
        assert!(Envelope::new(&[&Kind(kind, vec![1])], &SealOptions::new()).is_ok(), "{kind}");
    }
}

#[test]
fn the_magic_is_not_written_where_no_bank_stands() {
    // The first slot's wrapped data key begins at 102 + 6.
    let holding = |at: usize| Kind(0x8000, [vec![0; at - 108], MAGIC.to_vec()].concat());
    for place in [4096, 8192] {
        assert!(matches!(Envelope::new(&[&holding(place)], &SealOptions::new()), Err(Error::Limit(_))), "{place}");
        assert!(Envelope::new(&[&holding(place + 1)], &SealOptions::new()).is_ok(), "{place}");
    }
}

#[test]
fn what_is_not_finished_does_not_open() {
    let key = KeyFile::generate().unwrap();
    for len in [0, 1, 16_384, 5 << 20] {
        let mut out = Vec::new();
        let mut writer = SealWriter::new(&mut out, &[&key], &SealOptions::new()).unwrap();
        writer.write_all(&vec![7; len]).unwrap();
        drop(writer);
        let openers: [&dyn KeyOpener; 1] = [&key];
        let opened = OpenReader::new(out.as_slice(), &openers, &Demands::default());
        let failed = opened.is_err() || std::io::copy(&mut opened.unwrap(), &mut std::io::sink()).is_err();
        assert!(failed, "{len}");
    }
}
