//! The fuzz targets. Each is a function of bytes that panics if a promise is broken. Both the fuzzer and the tests of
//! the package call it.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a target says by a panic what it found")]
#![allow(unreachable_pub, dead_code, reason = "shared with the tests of the package, which use a part")]

mod container;
#[path = "../../tests/kit/encode.rs"]
pub(crate) mod encode;
mod header;
mod names;
pub mod recipe;
mod rewrap;

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::OnceLock;

use waxseal::engine::{Engine, Sink, Source, Unobserved};
use waxseal::error::{Error, FormatError, Result};
use waxseal::format::{Binding, Front, Header, Slot, SlotKind};
use waxseal::keys::{Identity, KeyFile, KeyOpener, public};
use waxseal::secret::DataKey;
use waxseal::{Demands, OpenReader, OpenReaderAt};

pub use container::container;
pub use header::header;
pub use names::{keyfile, keytext, names};
use recipe::Recipe;
pub use rewrap::rewrap;

/// A target: its name and its body.
pub type Target = (&'static str, fn(&[u8]));

/// The targets by name.
pub const TARGETS: [Target; 11] = [
    ("header", header),
    ("open_serial", open_serial),
    ("malleability", malleability),
    ("split", split),
    ("parallel_vs_serial", parallel_vs_serial),
    ("seek_vs_serial", seek_vs_serial),
    ("container", container),
    ("rewrap", rewrap),
    ("names", names),
    ("keyfile", keyfile),
    ("keytext", keytext),
];

/// Gives the data key of the base file for a KMS slot. Only the commitment then protects the bound bytes.
struct KeyService;

impl KeyOpener for KeyService {
    fn name(&self) -> String {
        "a key service".into()
    }

    fn matches(&self, slot: &Slot) -> bool {
        slot.kind == SlotKind::AWS_KMS
    }

    fn open(&self, _: &Slot, _: &Binding) -> Result<DataKey> {
        DataKey::from_slice(&encode::fixed::<32>("data key"))
    }
}

/// Has the secret of the base file's slots of kinds 4 and 5.
struct SecretService;

impl KeyOpener for SecretService {
    fn name(&self) -> String {
        "a key service of public keys".into()
    }

    fn matches(&self, slot: &Slot) -> bool {
        slot.kind != SlotKind::X_WING && public::encapsulation(slot).is_some()
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        public::finish(slot, &DataKey::from_slice(&recipe::SECRET)?, binding)
    }
}

/// Key files 1 and 2, the key services, and identity 1.
fn openers() -> [&'static dyn KeyOpener; 5] {
    static KEYS: OnceLock<([KeyFile; 2], Identity)> = OnceLock::new();
    let parse = |n| KeyFile::parse(encode::key_line(&encode::file_key(n)).as_bytes()).unwrap();
    let identity = || Identity::parse(encode::public::identity_line(&encode::public::seed(1)).as_bytes()).unwrap();
    let ([one, two], identity) = KEYS.get_or_init(|| ([parse(1), parse(2)], identity()));
    [one, two, &KeyService, &SecretService, identity]
}

/// The result of opening, and the output.
pub struct Outcome {
    /// The error in words, or `None`.
    pub error: Option<String>,
    /// The complete output.
    pub plaintext: Vec<u8>,
}

fn drain(reader: Result<impl Read>, mut piece: impl FnMut() -> usize) -> Outcome {
    let mut plaintext = Vec::new();
    let mut reader = match reader {
        Ok(reader) => reader,
        Err(error) => return Outcome { error: Some(error.to_string()), plaintext },
    };
    let mut buffer = [0; 20_000];
    loop {
        match reader.read(&mut buffer[..piece().clamp(1, 20_000)]) {
            Ok(0) => return Outcome { error: None, plaintext },
            Ok(len) => plaintext.extend_from_slice(&buffer[..len]),
            Err(error) => return Outcome { error: Some(Error::io("reading", error).to_string()), plaintext },
        }
    }
}

/// Opens a complete file with all keys.
#[must_use]
pub fn open(file: &[u8]) -> Outcome {
    drain(OpenReader::new(file, &openers(), &Demands::default()), || 20_000)
}

/// All output is authentic and at its position. If a file opens, its payload is unchanged.
pub fn open_serial(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    if *mode == 0xff {
        let opened = open(rest);
        assert!(opened.error.is_some() || recipe::plaintexts().any(|known| known == opened.plaintext));
        return;
    }
    let recipe = Recipe::parse(data);
    let file = recipe.file();
    check_authentic(&recipe, &file, &open(&file));
}

/// See [`open_serial`].
pub fn check_authentic(recipe: &Recipe<'_>, file: &[u8], opened: &Outcome) {
    let base = recipe.base();
    match &opened.error {
        None => {
            let known = base.versions.iter().find(|(plaintext, _)| *plaintext == opened.plaintext);
            let (_, payload) = known.expect("the output is another plaintext");
            assert!(file.ends_with(payload), "an altered payload opened");
        }
        Some(_) => {
            let known = base.versions.iter().any(|(plaintext, _)| plaintext.starts_with(&opened.plaintext));
            assert!(known, "the output before the failure is not a prefix");
        }
    }
}

/// A file gives the same plaintext or none, whichever bank is damaged, and with every key.
pub fn malleability(data: &[u8]) {
    let file = Recipe::parse(data).file();
    // Opening a long payload twenty times tests nothing more about banks.
    if file.len() > 200_000 {
        return;
    }
    let whole = open(&file);
    if whole.error.is_some() {
        return;
    }
    let damage = |at: usize, len: usize| {
        let mut file = file.clone();
        let end = file.len().min(at + len);
        file[at.min(end)..end].fill(0);
        let opened = open(&file);
        assert!(opened.error.is_some() || opened.plaintext == whole.plaintext, "two plaintexts: {at}, {len}");
    };
    damage(0, 8);
    damage(0, 4096);
    for len in [4096, 8192, 16_384, 32_768, 65_536] {
        damage(0, len);
        damage(len, 8);
        damage(len, len);
    }
    for key in openers() {
        let opened = drain(OpenReader::new(file.as_slice(), &[key], &Demands::default()), || 20_000);
        assert!(opened.error.is_some() || opened.plaintext == whole.plaintext, "two plaintexts by two keys");
    }
}

/// Returns pieces with the lengths that the input states.
struct Pieces<'a> {
    file: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let size = size_of_piece(self.sizes.next());
        if size == 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = size.min(out.len()).min(self.file.len());
        let (now, later) = self.file.split_at(len);
        out[..len].copy_from_slice(now);
        self.file = later;
        Ok(len)
    }
}

/// 0 to 127 bytes, or up to about 16 KiB. At least one length must not be zero.
fn size_of_piece(size: Option<&u8>) -> usize {
    match usize::from(size.copied().unwrap_or(1)) {
        small @ 0..128 => small,
        large => (large - 128) * 129 + 16_300 - 8 * 129,
    }
}

/// The same bytes in pieces of any sizes give the same result.
pub fn split(data: &[u8]) {
    let Some((count, rest)) = data.split_first() else { return };
    let (sizes, recipe) = rest.split_at(rest.len().min(usize::from(count % 16)));
    if sizes.iter().all(|size| *size == 0) {
        return;
    }
    let file = Recipe::parse(recipe).file();
    let whole = open(&file);
    let pieces = Pieces { file: &file, sizes: sizes.iter().cycle() };
    let mut out = sizes.iter().rev().cycle();
    let parts = drain(OpenReader::new(pieces, &openers(), &Demands::default()), || size_of_piece(out.next()));
    assert_eq!(parts.error, whole.error);
    assert!(parts.plaintext == whole.plaintext, "pieces give other bytes");
}

/// The engine's output is the serial reader's, or a part from its start before a failure.
pub fn parallel_vs_serial(data: &[u8]) {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let engine = ENGINE.get_or_init(Engine::new);
    let file = Recipe::parse_large(data).file();
    let serial = open(&file);
    let check = |source: Source<'_>, what: &str| {
        let mut plaintext = Vec::new();
        let opened = engine.open(source, Sink::Stream(&mut plaintext), &openers(), &Demands::default(), &Unobserved);
        assert_eq!(opened.is_err(), serial.error.is_some(), "{what}: {:?}", opened.err().map(|e| e.to_string()));
        match opened {
            Ok(_) => assert!(plaintext == serial.plaintext, "{what}: other bytes"),
            Err(_) => assert!(serial.plaintext.starts_with(&plaintext), "{what}: more than the serial reader gave"),
        }
    };
    check(Source::Stream(&mut file.as_slice()), "stream");
    if waits(&file) {
        return;
    }
    let on_disk = tempfile::tempfile().unwrap();
    io::Write::write_all(&mut &on_disk, &file).unwrap();
    (&on_disk).rewind().unwrap();
    check(Source::File(&on_disk), "file");
}

/// Whether a seeking reader would wait before it decides on the header: 150 ms without a test. Other targets test
/// headers.
fn waits(file: &[u8]) -> bool {
    match Header::read(&Front::new(file.to_vec())) {
        Ok(header) => !header.warnings().is_empty(),
        Err(error) => error == FormatError::Damaged,
    }
}

/// Ranges from the seeking reader have the bytes of the serial reader's plaintext.
pub fn seek_vs_serial(data: &[u8]) {
    let Some((count, rest)) = data.split_first() else { return };
    let (ranges, recipe) = rest.split_at(rest.len().min(6 * usize::from(count % 8)));
    let file = Recipe::parse(recipe).file();
    if waits(&file) {
        return;
    }
    let serial = open(&file);
    let mut reader = match OpenReaderAt::new(Cursor::new(&file), &openers(), &Demands::default()) {
        Ok(reader) => reader,
        Err(_) => return assert!(serial.error.is_some(), "the seeking reader refuses what the serial one opens"),
    };
    if serial.error.is_none() {
        assert_eq!(reader.plaintext_len(), serial.plaintext.len() as u64);
    }
    for range in ranges.chunks_exact(6) {
        let number = |at: usize| u64::from(range[at]) | u64::from(range[at + 1]) << 8 | u64::from(range[at + 2]) << 16;
        let (start, len) = (number(0) % (reader.plaintext_len() + 2), number(3) % 40_000);
        reader.seek(SeekFrom::Start(start)).unwrap();
        let mut out = Vec::new();
        if (&mut reader).take(len).read_to_end(&mut out).is_err() {
            assert!(serial.error.is_some(), "a range of a sound file fails");
            return;
        }
        let start = usize::try_from(start).unwrap();
        // After the position where the serial reader failed, there is nothing to compare.
        if serial.error.is_none() || start + out.len() <= serial.plaintext.len() {
            let end = serial.plaintext.len().min(start + usize::try_from(len).unwrap());
            assert!(serial.plaintext.get(start..end).unwrap_or_default() == out, "another range");
        }
    }
}
