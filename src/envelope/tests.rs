//! Which key opens a file, in which order things are checked, and which error a failure gives.

use std::io::{Read, Write};

use super::*;
use crate::error::{Error, ProviderCause, Result, Tampered};
use crate::format::{Binding, Front, Header, PRELUDE_LEN, Pairs, Slot, SlotKind};
use crate::keys::{Argon2Cost, KeyFile, KeyOpener, KeySealer, Passphrase, PassphraseOpener};
use crate::secret::{DataKey, SecretBytes};
use crate::stream::{OpenReader, SealWriter};

const CHEAP: Argon2Cost = Argon2Cost { memory_kib: 19 * 1024, passes: 1, lanes: 1 };

fn passphrase(text: &str) -> Passphrase {
    Passphrase::with_cost(SecretBytes::new(text.into()), CHEAP).unwrap()
}

fn seal(sealers: &[&dyn KeySealer], options: &SealOptions) -> Vec<u8> {
    let mut writer = SealWriter::new(Vec::new(), sealers, options).unwrap();
    writer.write_all(b"content").unwrap();
    writer.finish().unwrap()
}

fn open(file: &[u8], openers: &[&dyn KeyOpener]) -> Result<(usize, usize)> {
    let mut reader = OpenReader::new(file, openers, &Demands::default())?;
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "content");
    Ok((reader.opened_by().slot, reader.opened_by().failed.len()))
}

fn tampered(result: Result<(usize, usize)>) -> Tampered {
    match result {
        Err(Error::Tampered(tampered)) => tampered,
        other => panic!("another answer: {other:?}"),
    }
}

/// Accepts every slot of one kind, and always gives the same key.
struct Always(SlotKind, [u8; 32]);

impl KeyOpener for Always {
    fn name(&self) -> String {
        "always".into()
    }
    fn matches(&self, slot: &Slot) -> bool {
        slot.kind == self.0
    }
    fn open(&self, _: &Slot, _: &Binding) -> Result<DataKey> {
        DataKey::from_slice(&self.1)
    }
}

#[test]
#[cfg_attr(feature = "fips", ignore = "passphrases are refused")]
fn any_of_several_keys_opens() {
    let (one, two) = (KeyFile::generate().unwrap(), KeyFile::generate().unwrap());
    let file = seal(&[&one, &two, &passphrase("correct horse")], &SealOptions::new());
    assert_eq!(open(&file, &[&one]).unwrap(), (0, 0));
    assert_eq!(open(&file, &[&two]).unwrap(), (1, 0));
    assert_eq!(open(&file, &[&KeyFile::generate().unwrap(), &passphrase("correct horse")]).unwrap(), (2, 0));
}

#[test]
#[cfg_attr(feature = "fips", ignore = "passphrases are refused")]
fn a_wrong_key_is_told_from_an_altered_slot() {
    let key = KeyFile::generate().unwrap();
    let file = seal(&[&key, &passphrase("right")], &SealOptions::new());
    let Err(Error::NoKey(none)) = open(&file, &[&KeyFile::generate().unwrap()]) else { panic!("opened") };
    assert!(none.attempts.is_empty());
    let Err(Error::NoKey(wrong)) = open(&file, &[&passphrase("wrong")]) else { panic!("opened") };
    let cause = match &wrong.attempts[0].error {
        Error::Provider(provider) => provider.cause,
        other => panic!("{other}"),
    };
    assert_eq!((wrong.attempts.len(), cause), (1, ProviderCause::WrongPassphrase));
}

#[test]
#[cfg_attr(feature = "fips", ignore = "passphrases are refused")]
fn a_passphrase_is_asked_for_only_where_a_slot_wants_one() {
    let key = KeyFile::generate().unwrap();
    let never = PassphraseOpener::new(|| panic!("asked"));
    open(&seal(&[&key], &SealOptions::new()), &[&key, &never]).unwrap();
    assert!(open(&seal(&[&key], &SealOptions::new()), &[&never]).is_err());
    let once = PassphraseOpener::new(|| Ok(SecretBytes::new(b"pw".to_vec())));
    open(&seal(&[&passphrase("pw")], &SealOptions::new()), &[&once]).unwrap();
}

#[test]
fn a_slot_of_another_file_does_not_open() {
    let key = KeyFile::generate().unwrap();
    let (mut file, other) = (seal(&[&key], &SealOptions::new()), seal(&[&key], &SealOptions::new()));
    let header = |bytes: &[u8]| Header::read(&Front::new(bytes.to_vec())).unwrap();
    let (own, foreign) = (header(&file), header(&other));
    for number in [0, 1] {
        let state = own.state(if number == 0 { own.bank().number } else { own.bank().number.other() });
        let bank = crate::format::Bank { slots: foreign.bank().slots.clone(), ..state.bank().unwrap().clone() };
        file[number * 4096..(number + 1) * 4096].copy_from_slice(&bank.encode().unwrap());
    }
    assert_eq!(tampered(open(&file, &[&key])), Tampered::Slot { slot: 0 });
}

#[test]
#[cfg_attr(feature = "fips", ignore = "passphrases are refused")]
fn another_data_key_fails_the_commitment_and_the_next_slot_is_tried() {
    let key = KeyFile::generate().unwrap();
    let file = seal(&[&passphrase("p"), &key], &SealOptions::new());
    let liar = Always(SlotKind::PASSPHRASE, [1; 32]);
    assert_eq!(tampered(open(&file, &[&liar])), Tampered::Commitment);
    assert_eq!(open(&file, &[&liar, &key]).unwrap(), (1, 1));
    // A failed commitment is reported rather than the failed slots of other keys (spec 12.2).
    let wrong = passphrase("q");
    assert_eq!(tampered(open(&file, &[&wrong, &liar])), Tampered::Commitment);
}

#[test]
fn every_bound_bit_is_committed_to() {
    let key = KeyFile::generate().unwrap();
    let options = SealOptions::new().with_context(Pairs::parse(["a=b"]).unwrap());
    let file = seal(&[&key], &options);
    let data_key = {
        let header = Header::read(&Front::new(file.clone())).unwrap();
        key.open(&header.bank().slots[0], &header.bank().binding).unwrap()
    };
    let header = Header::read(&Front::new(file.clone())).unwrap();
    let prelude: [u8; PRELUDE_LEN] = header.bank().prelude.to_bytes();
    let bound = header.bank().binding.bound_bytes().unwrap();
    let check = |bound: &[u8], prelude: &[u8; PRELUDE_LEN]| {
        open_payload(&data_key, header.bank().binding.suite, bound, prelude).map(|_| ())
    };
    assert_eq!(check(&bound, &prelude), Ok(()));
    for bit in 0..bound.len() * 8 {
        let mut changed = bound.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(check(&changed, &prelude), Err(Tampered::Commitment), "bound bit {bit}");
    }
    for bit in 0..PRELUDE_LEN * 8 {
        let mut changed = prelude;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(check(&bound, &changed), Err(Tampered::Commitment), "prelude bit {bit}");
    }
}

#[test]
fn a_payload_that_begins_otherwise_than_its_header_says() {
    let key = KeyFile::generate().unwrap();
    let mut file = seal(&[&key], &SealOptions::new());
    file[8192 + 3] ^= 1;
    assert_eq!(tampered(open(&file, &[&key])), Tampered::Prelude);
    assert!(matches!(open(&file, &[&KeyFile::generate().unwrap()]), Err(Error::NoKey(_))));
}

#[test]
fn demands_come_before_keys_and_the_length_before_demands() {
    struct Untouchable;
    impl KeyOpener for Untouchable {
        fn name(&self) -> String {
            unreachable!("no key is named")
        }
        fn matches(&self, _: &Slot) -> bool {
            unreachable!("no slot is looked at")
        }
        fn open(&self, _: &Slot, _: &Binding) -> Result<DataKey> {
            unreachable!("no key is used")
        }
    }
    let options = SealOptions::new().with_labels(Pairs::parse(["host=a"]).unwrap());
    let file = seal(&[&KeyFile::generate().unwrap()], &options);
    let demands = Demands { context: Pairs::default(), labels: Pairs::parse(["host=b", "x=y"]).unwrap() };
    let Err(Error::Unmet(unmet)) = OpenReader::new(file.as_slice(), &[&Untouchable], &demands) else { panic!("met") };
    assert_eq!(unmet.names, ["label \"host=b\"", "label \"x=y\""]);
    assert_eq!(unmet.carried, ["\"host=a\"", "no label \"x\" but \"host=a\""]);
    let said = "the file does not have the required label \"host=b\", label \"x=y\"; \
                it has \"host=a\", no label \"x\" but \"host=a\"";
    assert_eq!(unmet.to_string(), said);
    let cut = OpenReader::new(&file[..8192 + 71], &[&Untouchable], &demands);
    assert!(matches!(cut, Err(Error::Tampered(Tampered::Truncated { offset: 0 }))));
}

#[test]
fn limits_show_before_any_key_is_asked() {
    struct Asked;
    impl KeySealer for Asked {
        fn name(&self) -> String {
            "asked".into()
        }
        fn wrap(&self, _: &DataKey, _: &Binding) -> Result<Slot> {
            panic!("asked")
        }
    }
    let long = SealOptions::new().with_context(Pairs::parse([format!("n={}", "v".repeat(8200))]).unwrap());
    assert!(matches!(Envelope::new(&[&Asked], &long), Err(Error::Limit(_))));
    let many: Vec<&dyn KeySealer> = vec![&Asked; 17];
    assert!(matches!(Envelope::new(&many, &SealOptions::new()), Err(Error::Limit(_))));
    assert!(matches!(Envelope::new(&[], &SealOptions::new()), Err(Error::ApiMisuse(_))));
}

/// What the FIPS module does not have is refused before any key is asked.
#[cfg(feature = "fips")]
#[test]
fn the_fips_module_refuses_what_it_does_not_have() {
    use crate::error::{FormatError, Kind};
    let key = KeyFile::generate().unwrap();
    let chacha = SealOptions::new().with_suite(crate::format::Suite::ChaCha20Poly1305);
    let refused = Envelope::new(&[&key], &chacha).err().unwrap();
    assert_eq!((refused.kind(), refused.to_string().contains("chacha20-poly1305")), (Kind::Usage, true), "{refused}");
    let refused = Envelope::new(&[&passphrase("p")], &SealOptions::new()).err().unwrap();
    assert_eq!((refused.kind(), refused.to_string().contains("Argon2id")), (Kind::Usage, true), "{refused}");
    for name in ["chacha20-poly1305-1", "only-passphrase"] {
        let file = std::fs::read(format!("{}/tests/corpus/0.1.0/{name}.wax", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let never = PassphraseOpener::new(|| panic!("asked"));
        let error =
            OpenReader::new(file.as_slice(), &[&Always(SlotKind::KEYFILE, [1; 32]), &never], &Demands::default());
        match (name, error.err().unwrap()) {
            ("chacha20-poly1305-1", Error::Format(FormatError::SuiteRefused { suite: "chacha20-poly1305" })) => {}
            ("only-passphrase", error @ Error::NoKey(_)) => assert!(error.to_string().contains("Argon2id"), "{error}"),
            (_, other) => panic!("{name}: {other}"),
        }
    }
}
