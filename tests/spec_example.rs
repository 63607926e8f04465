//! The worked example of the specification (section 20): the document, the file beside it and this library agree.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may end in a panic, and is small")]

mod kit;

use std::fs;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use waxseal::format::{Bank, BankLen, Pairs, SlotKind, Suite, Warning};
use waxseal::keys::{Identity, KeyFile, KeyOpener, KeyText, Recipient, public};
use waxseal::payload::{PayloadKeys, hkdf_expand_sha512};
use waxseal::secret::DataKey;
use waxseal::{Demands, OpenReader, OpenReaderAt};

use kit::encode::public::{
    identity_line, ml_kem_768_send, ml_kem_768_spki, recipient_id, recipient_line, wrapped, x_wing_public, x_wing_send,
};
use kit::encode::{Make, Wrap, list};

const PLAINTEXT: &[u8] = b"hello, waxseal\n";

fn spec(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("spec").join(name)
}

fn document() -> String {
    fs::read_to_string(spec("waxseal-v1.md")).unwrap()
}

fn file() -> Vec<u8> {
    fs::read(spec("example.wax")).unwrap()
}

fn key() -> KeyFile {
    KeyFile::load(spec("example.key")).unwrap()
}

fn demands() -> Demands {
    let pairs = |text| Pairs::parse([text]).unwrap();
    Demands::new().with_context(pairs("project=demo")).with_labels(pairs("host=example"))
}

/// The bytes that count from `range.start` on: what the example takes for random values.
fn counting(range: Range<u8>) -> Vec<u8> {
    range.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The code blocks of the document below `heading`, up to the next heading.
fn blocks_below(text: &str, heading: &str) -> Vec<String> {
    let (_, below) = text.split_once(heading).unwrap();
    let section = below.split("\n##").next().unwrap();
    section.split("```").skip(1).step_by(2).map(str::to_owned).collect()
}

/// The bytes of one line of the dump: pairs of digits, up to the gap before the remark.
fn dumped(line: &str) -> Vec<u8> {
    let digits = line.split("  ").next().unwrap();
    digits.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// Puts the annotated dump together to a file.
fn file_of(dump: &str) -> Vec<u8> {
    let mut file = Vec::new();
    for line in dump.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (offset, rest) = line.split_once("  ").unwrap();
        let offset: usize = offset.parse().unwrap();
        if let Some((_, count)) = rest.split_once("00 ... (") {
            assert_eq!(file.len(), offset);
            let count: usize = count.split(' ').next().unwrap().parse().unwrap();
            file.resize(offset + count, 0);
        } else if rest.starts_with("bank 1: as bank 0, but") {
            assert_eq!(file.len(), offset);
            file.extend_from_within(..);
        } else {
            let bytes = dumped(rest);
            assert!(offset <= file.len(), "the dump has a gap before {offset}");
            let end = offset + bytes.len();
            file.resize(file.len().max(end), 0);
            file[offset..end].copy_from_slice(&bytes);
        }
    }
    file
}

#[test]
fn the_dump_is_the_file() {
    let blocks = blocks_below(&document(), "### 20.3 The file");
    let [digest, dump] = blocks.as_slice() else { panic!("a digest and a dump") };
    let file = file();
    assert_eq!(hex(&file_of(dump)), hex(&file));
    assert_eq!(digest.trim(), hex(&Sha256::digest(&file)));
    assert!(document().contains(&format!("{} bytes = 8192 + 56 + 15 + 16", file.len())));
}

#[test]
fn the_serial_reader_opens_it() {
    let (key, file) = (key(), file());
    let mut reader = OpenReader::new(file.as_slice(), &[&key], &demands()).unwrap();
    assert_eq!(reader.header().warnings(), Vec::<Warning>::new());
    assert_eq!(reader.opened_by().slot, 0);
    let mut plaintext = Vec::new();
    reader.read_to_end(&mut plaintext).unwrap();
    assert_eq!(plaintext, PLAINTEXT);
}

#[test]
fn the_seeking_reader_opens_it() {
    let key = key();
    let mut reader = OpenReaderAt::new(Cursor::new(file()), &[&key], &demands()).unwrap();
    assert_eq!(reader.plaintext_len(), PLAINTEXT.len() as u64);
    let mut plaintext = Vec::new();
    reader.read_to_end(&mut plaintext).unwrap();
    assert_eq!(plaintext, PLAINTEXT);
}

#[test]
fn the_header_says_what_the_document_says() {
    let key = key();
    let file = file();
    let reader = OpenReader::new(file.as_slice(), &[&key], &demands()).unwrap();
    let bank = reader.header().bank();
    assert_eq!((bank.len, bank.generation, bank.binding.suite), (BankLen::MIN, 1, Suite::Aes256Gcm));
    assert_eq!(bank.binding.data_key_id.0, *counting(0x20..0x30));
    assert_eq!(bank.prelude.salt, *counting(0x30..0x48));
    assert_eq!((bank.slots.len(), bank.slots[0].kind), (1, SlotKind::KEYFILE));
    let [bound, _, id, _] = blocks_below(&document(), "### 20.2 Derived values").try_into().unwrap();
    assert_eq!(hex(&bank.binding.bound_bytes().unwrap()), bound.split_whitespace().collect::<String>());
    assert_eq!((bank.slots[0].key_id.as_str(), key.id()), (id.trim(), id.trim()));
    assert_eq!(bank.encode().unwrap(), file[..4096], "the bank re-encodes to itself");
    assert_eq!(Bank::decode(&file[4096..], 4096).unwrap().encode().unwrap(), file[4096..8192]);
}

/// `key`, `base_nonce` and `commitment` of a block of the document, as one line of digits.
fn derived(block: &str) -> String {
    let names = ["key", "base_nonce", "commitment"];
    let mut lines = block.trim().lines();
    let values = names.map(|name| lines.next().unwrap().strip_prefix(name).unwrap().trim().to_owned());
    values.concat()
}

#[test]
fn the_key_schedule_gives_the_derived_values() {
    let [bound, payload, _, wrapping] = blocks_below(&document(), "### 20.2 Derived values").try_into().unwrap();
    let bound: String = bound.split_whitespace().collect();
    let bound: Vec<u8> =
        (0..bound.len()).step_by(2).map(|at| u8::from_str_radix(&bound[at..at + 2], 16).unwrap()).collect();
    let wrap_context = [b"waxseal v1 keyfile\0", bound.as_slice()].concat();
    let file = file();
    for (input_key, salt, context, expected, at) in [
        (counting(0..0x20), counting(0x30..0x48), &bound, payload, 8192 + 24),
        (counting(0x80..0xa0), counting(0x48..0x60), &wrap_context, wrapping, 170 + 24),
    ] {
        let expected = derived(&expected);
        let mut okm = [0; 76];
        let info = [b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0", salt.as_slice(), context];
        hkdf_expand_sha512(&input_key, &info, &mut okm);
        assert_eq!(hex(&okm), expected);
        let data_key = DataKey::from_slice(&input_key).unwrap();
        let salt = salt.try_into().unwrap();
        let (_, commitment) = PayloadKeys::derive(&data_key, Suite::Aes256Gcm, &salt, context);
        assert_eq!(hex(commitment.as_bytes()), expected[88..]);
        assert_eq!(commitment.as_bytes(), &file[at..at + 32]);
    }
}

#[test]
fn the_key_file_has_the_documented_line() {
    let blocks = blocks_below(&document(), "### 20.1 Input");
    let line: String = blocks[0].split_whitespace().collect();
    assert!(fs::read_to_string(spec("example.key")).unwrap().lines().any(|own| own == line));
    assert_eq!(KeyFile::parse(line.as_bytes()).unwrap().id(), key().id());
}

const ARN: &str = "arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-4000-8000-000000000004";

fn fixed<const N: usize>(start: u8) -> [u8; N] {
    std::array::from_fn(|at| start + at as u8)
}

/// Section 20.4 by an encoder that shares no code with the library: the file, and the three texts.
fn public_example() -> [(&'static str, Vec<u8>); 4] {
    let base = Make::with(|make| {
        (make.data_key, make.data_key_id, make.salt) = (fixed(0), fixed(0x20), fixed(0x30));
        (make.pairs, make.labels) = (list(&[("project", "demo")]), list(&[("host", "example")]));
        (make.bank_len, make.plaintext) = (8192, PLAINTEXT.to_vec());
    });
    let x_wing = x_wing_public(&fixed(0x80));
    let spki = ml_kem_768_spki(fixed(0xa0));
    let sent = [x_wing_send(&x_wing, fixed(0xc0), fixed(0xe0)), ml_kem_768_send(&spki[22..], fixed(0xe0))];
    let slot = |kind: u16, id: &str, sent, salt| {
        Wrap::raw(kind, id, wrapped(kind, sent, fixed(salt), &base.bound(), &base.data_key))
    };
    let id = recipient_id(&x_wing);
    let slots = vec![slot(6, &id, &sent[0], 0x48), slot(4, ARN, &sent[1], 0x60)];
    let text = |comment: &str, line: String| format!("# {comment}\n{line}\n").into_bytes();
    [
        ("example-public.wax", Make { slots, ..base.clone() }.file()),
        ("example-public.identity", text("The identity of section 20.4. Never use it.", identity_line(&fixed(0x80)))),
        (
            "example-public.recipient",
            text("The public half of example-public.identity.", recipient_line(6, &id, &x_wing)),
        ),
        ("example-kms.recipient", text("The KMS key of section 20.4.", recipient_line(4, ARN, &spki))),
    ]
}

/// The lines of a block of the document.
fn lines_of(block: &str) -> Vec<String> {
    block.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn the_files_of_public_keys_are_what_the_document_says() {
    let made = public_example();
    for (name, bytes) in &made {
        assert!(fs::read(spec(name)).unwrap() == *bytes, "{name}");
    }
    let [_, x_wing, ml_kem, digest] = blocks_below(&document(), "### 20.4 Public keys").try_into().unwrap();
    let file = &made[0].1;
    assert_eq!(digest.trim(), hex(&Sha256::digest(file)));
    assert!(document().contains(&format!("The file has {} bytes", file.len())));
    let key = fs::read_to_string(spec("example-public.identity")).unwrap();
    let check = key.trim_end().rsplit(':').next().unwrap().to_owned();
    assert!(document().contains(&format!("The check digits of the identity file are `{check}`")));
    let header = waxseal::format::Header::read(&waxseal::format::Front::new(file.clone())).unwrap();
    let bank = header.bank();
    assert_eq!(bank.encode().unwrap(), file[..8192]);
    let end = file[..8192 - 32].iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert!(document().contains(&format!("The slots end at {end}")));
    let recipients =
        ["example-public.recipient", "example-kms.recipient"].map(|name| Recipient::load(spec(name)).unwrap());
    for ((recipient, slot), block) in recipients.iter().zip(&bank.slots).zip([x_wing, ml_kem]) {
        let [id, check, secret, commitment, wrapped] = lines_of(&block).try_into().unwrap();
        assert!(recipient.is_of(slot));
        assert_eq!(recipient.fingerprint(), id);
        assert!(recipient.to_text(&[]).trim_end().ends_with(&format!(":{check}")));
        let sent = public::encapsulation(slot).unwrap();
        assert_eq!(hex(&slot.wrapped[sent.len() + 24..sent.len() + 56]), commitment);
        assert_eq!(hex(&Sha256::digest(&slot.wrapped)), wrapped);
        let secret: Vec<u8> =
            (0..64).step_by(2).map(|at| u8::from_str_radix(&secret[at..at + 2], 16).unwrap()).collect();
        let secret = DataKey::from_slice(&secret).unwrap();
        let data_key = public::finish(slot, &secret, &bank.binding).unwrap();
        assert_eq!(data_key.expose().as_slice(), counting(0..0x20));
    }
}

#[test]
fn an_identity_opens_the_example_of_public_keys() {
    let KeyText::Identity(identity) = KeyText::load(spec("example-public.identity")).unwrap() else { panic!() };
    assert_eq!(*identity.recipient(), Recipient::load(spec("example-public.recipient")).unwrap());
    let file = fs::read(spec("example-public.wax")).unwrap();
    let mut reader = OpenReader::new(file.as_slice(), &[&identity as &dyn KeyOpener], &demands()).unwrap();
    let mut plaintext = Vec::new();
    reader.read_to_end(&mut plaintext).unwrap();
    assert_eq!((plaintext.as_slice(), Identity::id(&identity)), (PLAINTEXT, "b738eca369ac08149f1a8d7c12f02af8"));
}

#[test]
#[ignore = "writes the files of section 20.4 anew"]
fn regenerate() {
    for (name, bytes) in public_example() {
        fs::write(spec(name), bytes).unwrap();
    }
}
