//! Where keys stand in memory, as the system sees it: locked, out of core dumps, and nowhere once they are dropped.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod skipped;

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ml_kem::kem::Decapsulate as _;
use ml_kem::{FromSeed as _, MlKem768};
use waxseal::engine::{Engine, Sink, Source, Unobserved};
use waxseal::format::{Front, Header};
use waxseal::keys::{Identity, KeyFile, KeyOpener as _, KeySealer as _, Recipient, public};
use waxseal::secret::DataKey;
use waxseal::{Demands, Envelope, SealOptions, SealWriter};

/// A page; memory is looked through by pages.
const PAGE: usize = 4096;

/// The lines of `/proc/self/smaps` on the mapping that holds `address`.
fn mapping_of(address: usize) -> Vec<String> {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut found = Vec::new();
    let mut inside = false;
    for line in smaps.lines() {
        if let Some((start, end)) = range_of(line) {
            inside = (start..end).contains(&address);
        }
        if inside {
            found.push(line.to_owned());
        }
    }
    found
}

/// `START-END rw-p ...`
fn range_of(line: &str) -> Option<(usize, usize)> {
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

fn value_of<'a>(lines: &'a [String], name: &str) -> &'a str {
    lines.iter().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default()
}

/// Whether this process may lock a page more.
fn may_lock() -> bool {
    memmap2::MmapMut::map_anon(PAGE).is_ok_and(|page| page.lock().is_ok())
}

#[test]
fn keys_are_locked_and_left_out_of_core_dumps() {
    let key = DataKey::random().unwrap();
    let lines = mapping_of(key.expose().as_ptr() as usize);
    let flags: Vec<&str> = value_of(&lines, "VmFlags:").split(' ').collect();
    assert!(flags.contains(&"dd"), "{lines:#?}");
    // Where the limit is used up or zero the key is there all the same, and works.
    assert_eq!(flags.contains(&"lo"), may_lock(), "{lines:#?}");
    if may_lock() {
        assert_eq!(value_of(&lines, "Locked:"), value_of(&lines, "Size:"), "{lines:#?}");
    } else {
        skipped::skipped("keys_are_locked_and_left_out_of_core_dumps: locked", "no memory may be locked here");
    }
}

/// A secret that is looked for, inverted: so that the search itself is not found.
struct Needle(Vec<u8>);

impl Needle {
    fn new(secret: &[u8]) -> Self {
        Self(secret.iter().map(|byte| !byte).collect())
    }

    /// How often it stands in this process's memory.
    fn count(&self) -> usize {
        let mut count = 0;
        // With so much of the next page that what straddles is found.
        each_page(self.0.len() - 1, |bytes| count += self.count_in(bytes));
        count
    }

    fn count_in(&self, bytes: &[u8]) -> usize {
        let is = |window: &[u8]| window.iter().zip(&self.0).all(|(byte, inverted)| *byte == !inverted);
        bytes.windows(self.0.len()).filter(|window| is(window)).count()
    }
}

/// Shows `look` each page of this process's memory that can be written, with `more` bytes behind it.
fn each_page(more: usize, mut look: impl FnMut(&[u8])) {
    let memory = File::open("/proc/self/mem").unwrap();
    // Empty again before the next is read, for the buffer is looked through as well.
    let mut buffer = vec![0; PAGE + more];
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let (start, end) = range_of(line).unwrap();
        if !line.contains(" rw") || line.contains("[vvar") {
            continue;
        }
        for page in (start..end).step_by(PAGE) {
            // What another thread has unmapped meanwhile cannot be read.
            let read = memory.read_at(&mut buffer, page as u64).unwrap_or(0);
            look(&buffer[..read]);
            buffer.fill(0);
        }
    }
}

/// All of that memory as it is now, in a file.
fn snapshot() -> File {
    let mut copy = tempfile::tempfile().unwrap();
    each_page(0, |page| copy.write_all(page).unwrap());
    copy
}

/// A search holds copies of what it looks through, which the other test's search is not to find.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_dropped_key_is_nowhere() {
    let _alone = ALONE.lock();
    let key = DataKey::random().unwrap();
    let needle = Needle::new(key.expose());
    assert_eq!(needle.count(), 1);
    drop(key);
    assert_eq!(needle.count(), 0);
}

/// A key file and the data key of a file that was sealed and opened with it.
#[test]
fn after_a_session_no_key_is_left() {
    let _alone = ALONE.lock();
    let (file_key, data_key) = session();
    assert_eq!((file_key.count(), data_key.count()), (0, 0));
}

/// In a function of its own: what it leaves on the stack is looked through as well.
#[inline(never)]
fn session() -> (Needle, Needle) {
    let key = KeyFile::generate().unwrap();
    let text = key.to_text(&[]);
    let digits = &text.expose()["waxseal-key-v1:".len()..][..64];
    let needle = Needle((0..32).map(|at| !byte(&digits[2 * at..])).collect());
    let engine = Engine::new();
    let (mut sealed, mut opened) = (Vec::new(), Vec::new());
    let envelope = || Envelope::new(&[&key], &SealOptions::new());
    engine.seal(Source::Stream(&mut &b"content"[..]), Sink::Stream(&mut sealed), envelope, &Unobserved).unwrap();
    let (source, sink) = (Source::Stream(&mut sealed.as_slice()), Sink::Stream(&mut opened));
    let done = engine.open(source, sink, &[&key], &Demands::default(), &Unobserved).unwrap();
    assert_eq!(opened, b"content");
    let bank = done.header.bank();
    let data_key = key.open(&bank.slots[0], &bank.binding).unwrap();
    (needle, Needle::new(data_key.expose()))
}

/// What the crates of the key encapsulation compute on the way: the example's identity opens the example, so that all
/// of it is known. The digits are those of the inverted bytes: only the secrets themselves are to be found.
#[test]
fn after_public_keys_no_secret_is_left() {
    let _alone = ALONE.lock();
    let known = [
        ("the secret of ML-KEM", "50a0dd1159ec1523d8a2b3225fdf516320ea9e4f518fd89c119f7ad6689acf63"),
        ("the result of X25519", "49ce9c52ceb63492c73e7d6de07c681e137eeb405771d5ebcdc3937b834a139c"),
        ("the randomness of ML-KEM's check", "72ba6a25f55a6fb8a338eb3e1715b0525dfc567e8a037c88e616240986297503"),
        ("sigma of FIPS 203", "22c3493ee53e9ad3ddf23f31dc86d5d80779c4f39d07afc326b30cabb7c289a3"),
        ("d", "152bba8430282653b7c9f3b4e87f013a5cfd2e1b9cb68c1fc3f2fca4fb969fde"),
        ("z", "e16f640be80ed6a8ba847aa705beda1b91c105cef583c5025a84f1c28bda5504"),
        ("the scalar of X25519", "e952a74f76582a4ac25988a538a91132a1bb524ea262701da3d30aeef9b40616"),
        ("the shared secret", "baf54f9aaa2c24c401da20879d042bbd92e30ed82893283d55ef78e7f7e57de3"),
    ];
    let (seed, data_key) = public_session();
    assert_eq!((seed.count(), data_key.count()), (0, 0), "seed, data key");
    let needles =
        known.map(|(name, digits)| (name, Needle((0..32).map(|at| byte(&digits.as_bytes()[2 * at..])).collect())));
    let none_is_left = |after: &str| {
        for (name, needle) in &needles {
            assert_eq!(needle.count(), 0, "{name}, after {after}");
        }
    };
    none_is_left("opening");
    // Each by itself: what a later call writes over on the stack is not to be found anyway.
    loaded();
    none_is_left("loading an identity");
}

#[inline(never)]
fn loaded() {
    drop(Identity::load(spec("example-public.identity")).unwrap());
}

/// Who only seals has the data key and the secrets of the encapsulations for a moment. They are computed here from the
/// private keys, after the copy of the memory was made.
#[test]
fn after_sealing_to_public_keys_no_secret_is_left() {
    let _alone = ALONE.lock();
    let sealed = sealed_to_recipients();
    let mut copy = snapshot();
    let header = Header::read(&Front::new(sealed)).unwrap();
    let bank = header.bank();
    let identity = Identity::load(spec("example-public.identity")).unwrap();
    let data_key = identity.open(&bank.slots[0], &bank.binding).unwrap();
    let [x_wing, ml_kem] = [0, 1].map(|slot: usize| public::encapsulation(&bank.slots[slot]).unwrap());
    // The private keys are those of the worked example.
    let mut expanded = [0; 96];
    let mut shake = shake::Shake256::default();
    shake::Update::update(&mut shake, &counting::<32>(0x80));
    shake::XofReader::read(&mut shake::ExtendableOutput::finalize_xof(shake), &mut expanded);
    let (of_ml_kem, scalar) = expanded.split_at(64);
    let decapsulated = |seed: [u8; 64], sent: &[u8]| -> [u8; 32] {
        let (private, _) = MlKem768::from_seed(&seed.into());
        private.decapsulate(&sent.try_into().unwrap()).into()
    };
    let (sent, point) = x_wing.split_at(1088);
    let secrets = [
        ("the data key", *data_key.expose()),
        ("the secret of ML-KEM for kind 4", decapsulated(counting::<64>(0xa0), ml_kem)),
        ("the secret of ML-KEM within X-Wing", decapsulated(of_ml_kem.try_into().unwrap(), sent)),
        ("the result of X25519", x25519_dalek::x25519(scalar.try_into().unwrap(), point.try_into().unwrap())),
    ];
    // They are the right ones: the one of kind 4 opens its slot.
    let opened = public::finish(&bank.slots[1], &DataKey::from_slice(&secrets[1].1).unwrap(), &bank.binding).unwrap();
    assert!(opened.expose() == data_key.expose());
    let mut memory = Vec::new();
    copy.seek(SeekFrom::Start(0)).unwrap();
    copy.read_to_end(&mut memory).unwrap();
    // What was sealed is there, so the copy is one of this memory.
    assert!(Needle::new(&x_wing[..32]).count_in(&memory) > 0);
    for (name, secret) in secrets {
        assert_eq!(Needle::new(&secret).count_in(&memory), 0, "{name}");
    }
}

/// In a function of its own: what it leaves on the stack is looked through as well.
#[inline(never)]
fn sealed_to_recipients() -> Vec<u8> {
    let [identity, kms] =
        ["example-public.recipient", "example-kms.recipient"].map(|name| Recipient::load(spec(name)).unwrap());
    let mut writer = SealWriter::new(Vec::new(), &[&identity, &kms], &SealOptions::new()).unwrap();
    writer.write_all(b"content").unwrap();
    writer.finish().unwrap()
}

/// Bytes that count up, as the worked example's do.
fn counting<const LEN: usize>(from: u8) -> [u8; LEN] {
    std::array::from_fn(|at| from + u8::try_from(at).unwrap())
}

fn spec(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("spec").join(name)
}

/// A new identity seals and opens, and the example's identity opens the example.
#[inline(never)]
fn public_session() -> (Needle, Needle) {
    let identity = Identity::generate().unwrap();
    let text = identity.to_text(&[]);
    let digits = &text.expose()["waxseal-identity-v1:x-wing:".len()..][..64];
    let seed = Needle((0..32).map(|at| !byte(&digits[2 * at..])).collect());
    let file = fs::read(spec("example-public.wax")).unwrap();
    let header = Header::read(&Front::new(file)).unwrap();
    let bank = header.bank();
    let (data_key, slot) = identity.recipient().generate(&bank.binding).unwrap();
    let opened = identity.open(&slot, &bank.binding).unwrap();
    assert!(opened.expose() == data_key.expose());
    // Last, as another call would write over what it leaves.
    let example = Identity::load(spec("example-public.identity")).unwrap();
    drop(example.open(&bank.slots[0], &bank.binding).unwrap());
    (seed, Needle::new(data_key.expose()))
}

fn byte(digits: &[u8]) -> u8 {
    u8::from_str_radix(std::str::from_utf8(&digits[..2]).unwrap(), 16).unwrap()
}
