//! Runs a vector through every way of opening a file.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

use waxseal::engine::{Durability, Engine, Sink, Source, Unobserved};
use waxseal::error::{Error, FormatError, NoKey, ProviderCause, ProviderError, Tampered};
use waxseal::format::{BankNumber, Binding, Front, Header, Pairs, Slot, SlotKind, Warning};
use waxseal::keys::{Identity, KeyFile, KeyOpener, Passphrase, Recipient, public};
use waxseal::secret::{DataKey, SecretBytes};
use waxseal::{Demands, OpenReader, OpenReaderAt};

use super::vector::{Class, Vector};

/// How a reader ended, and what came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) class: Class,
    pub(crate) exit: u8,
    pub(crate) plaintext: Vec<u8>,
}

impl Outcome {
    pub(crate) fn of(result: Result<(), Error>, plaintext: Vec<u8>) -> Self {
        let (class, exit) = match result {
            Ok(()) => (Class::Success, 0),
            Err(error) => class_of(&error),
        };
        Self { class, exit, plaintext }
    }
}

/// Class and exit code of an error.
pub(crate) fn class_of(error: &Error) -> (Class, u8) {
    let class = match error {
        Error::Format(FormatError::Newer { .. }) => Class::Newer,
        Error::Format(_) => Class::Header,
        Error::Unmet(_) => Class::Demand,
        Error::Tampered(Tampered::Slot { .. }) => return (Class::Slot, 4),
        Error::NoKey(no_key) => return (Class::Slot, exit_of(no_key)),
        Error::Tampered(Tampered::Prelude | Tampered::Commitment) => Class::Commitment,
        Error::Tampered(Tampered::Truncated { .. }) => Class::Truncated,
        Error::Tampered(_) => Class::Payload,
        Error::Invalid(_) => Class::Usage,
        // An identity: the module has no X-Wing.
        #[cfg(feature = "fips")]
        Error::Provider(_) => return (Class::Slot, 5),
        other => panic!("no class: {other:?}"),
    };
    (class, class.exit())
}

fn exit_of(no_key: &NoKey) -> u8 {
    let altered = |error: &Error| {
        matches!(error, Error::Provider(error)
            if matches!(error.cause, ProviderCause::WrongCiphertext | ProviderCause::BadAnswer))
    };
    if no_key.attempts.iter().any(|attempt| altered(&attempt.error)) { 4 } else { 5 }
}

/// Stands for a key service: knows what it would answer for the slot with one key id.
pub(crate) struct Given {
    pub(crate) id: String,
    pub(crate) bytes: Vec<u8>,
}

impl KeyOpener for Given {
    fn name(&self) -> String {
        self.id.clone()
    }

    fn matches(&self, slot: &Slot) -> bool {
        slot.key_id == self.id
    }

    fn open(&self, _: &Slot, _: &Binding) -> Result<DataKey, Error> {
        DataKey::from_slice(&self.bytes)
    }
}

/// Stands for AWS KMS: knows the secret that it would answer for the encapsulation of the slot with one key id.
struct Shared {
    id: String,
    secret: Vec<u8>,
}

impl KeyOpener for Shared {
    fn name(&self) -> String {
        self.id.clone()
    }

    fn matches(&self, slot: &Slot) -> bool {
        public::encapsulation(slot).is_some() && slot.kind != SlotKind::X_WING && slot.key_id == self.id
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey, Error> {
        let amiss = || Box::new(ProviderError::new(ProviderCause::BadAnswer, &self.id, "no secret of 32 bytes"));
        public::finish(slot, &DataKey::from_slice(&self.secret).map_err(|_| amiss())?, binding)
    }
}

pub(crate) fn unhex(digits: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(digit).collect()
}

pub(crate) type Openers = Vec<Box<dyn KeyOpener>>;

fn openers(vector: &Vector) -> Result<Openers, Error> {
    let mut openers: Openers = Vec::new();
    for (key, value) in &vector.lines {
        match key.as_str() {
            "keyfile" => openers.push(Box::new(KeyFile::parse(value.as_bytes())?)),
            "keyfile-hex" => openers.push(Box::new(KeyFile::parse(&unhex(value))?)),
            "passphrase" => openers.push(Box::new(Passphrase::new(SecretBytes::new(value.clone().into()))?)),
            "passphrase-hex" => openers.push(Box::new(Passphrase::new(SecretBytes::new(unhex(value)))?)),
            "identity" => openers.push(Box::new(Identity::parse(value.as_bytes())?)),
            "identity-hex" => openers.push(Box::new(Identity::parse(&unhex(value))?)),
            // Opens nothing: it must be read, or refused.
            "recipient-hex" => drop(Recipient::parse(&unhex(value))?),
            "shared-secret" => {
                let (secret, id) = value.split_once(' ').unwrap();
                openers.push(Box::new(Shared { id: id.into(), secret: unhex(secret) }));
            }
            "data-key" => {
                let (key, id) = value.split_once(' ').unwrap();
                openers.push(Box::new(Given { id: id.into(), bytes: unhex(key) }));
            }
            _ => {}
        }
    }
    Ok(openers)
}

fn demands(vector: &Vector) -> Result<Demands, Error> {
    Ok(Demands::new().with_context(Pairs::parse(vector.all("pair"))?).with_labels(Pairs::parse(vector.all("label"))?))
}

/// A reader that gives one byte at a time.
pub(crate) struct Bytewise<R>(pub(crate) R);

impl<R: Read> Read for Bytewise<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = out.len().min(1);
        self.0.read(&mut out[..len])
    }
}

/// Reads to the end in pieces of at most `piece` bytes, and keeps what came before an error.
pub(crate) fn drain(reader: &mut dyn Read, piece: usize) -> (Result<(), Error>, Vec<u8>) {
    let (mut out, mut buffer) = (Vec::new(), vec![0; piece]);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return (Ok(()), out),
            Ok(len) => out.extend_from_slice(&buffer[..len]),
            Err(error) => return (Err(Error::io("reading", error)), out),
        }
    }
}

/// Opens with the serial reader: the input comes from `input`, the output is taken in pieces.
pub(crate) fn serial(input: impl Read, piece: usize, keys: &Openers, demands: &Demands) -> Outcome {
    let keys: Vec<&dyn KeyOpener> = keys.iter().map(AsRef::as_ref).collect();
    match OpenReader::new(input, &keys, demands) {
        Ok(mut reader) => {
            let (result, plaintext) = drain(&mut reader, piece);
            if result.is_err() {
                let (again, more) = drain(&mut reader, piece);
                assert!(more.is_empty() && again.is_err(), "errors are sticky");
            }
            Outcome::of(result, plaintext)
        }
        Err(error) => Outcome::of(Err(error), Vec::new()),
    }
}

/// Opens with the seeking reader, from the start to the end.
pub(crate) fn seeking(body: &[u8], keys: &Openers, demands: &Demands) -> Outcome {
    let keys: Vec<&dyn KeyOpener> = keys.iter().map(AsRef::as_ref).collect();
    match OpenReaderAt::new(Cursor::new(body), &keys, demands) {
        Ok(mut reader) => {
            let (result, plaintext) = drain(&mut reader, 5000);
            if result.is_ok() {
                assert_eq!(plaintext.len() as u64, reader.plaintext_len());
            }
            Outcome::of(result, plaintext)
        }
        Err(error) => Outcome::of(Err(error), Vec::new()),
    }
}

/// Ranges of a seeking reader are those of `plaintext`, which the serial reader gave.
pub(crate) fn ranges(body: &[u8], keys: &Openers, demands: &Demands, plaintext: &[u8], seed: u64) {
    let keys: Vec<&dyn KeyOpener> = keys.iter().map(AsRef::as_ref).collect();
    let mut state = seed | 1;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % (below as u64 + 1)) as usize
    };
    let Ok(mut reader) = OpenReaderAt::new(Cursor::new(body), &keys, demands) else { return };
    for _ in 0..12 {
        let start = next(plaintext.len());
        let len = next(40_000.min(plaintext.len() - start));
        reader.seek(SeekFrom::Start(start as u64)).unwrap();
        let mut out = vec![0; len];
        // A range that touches a chunk that does not verify is an error, never other bytes.
        match reader.read_exact(&mut out) {
            Ok(()) => assert_eq!(out, plaintext[start..start + len], "{start}..{}", start + len),
            Err(_) => return,
        }
    }
}

/// The engine, from a file or a stream, to a stream or nowhere.
fn engine(vector: &Vector, keys: &Openers, demands: &Demands) -> Vec<(&'static str, Outcome)> {
    let keys: Vec<&dyn KeyOpener> = keys.iter().map(AsRef::as_ref).collect();
    let engine = Engine::new();
    let mut file = tempfile::tempfile().unwrap();
    io::Write::write_all(&mut file, &vector.body).unwrap();
    let mut outcomes = Vec::new();
    let mut open = |name, source: Source<'_>, sink: Sink<'_>| {
        let result = engine.open(source, sink, &keys, demands, &Unobserved);
        let len = result.as_ref().ok().map(|opened| opened.plaintext_len);
        outcomes.push((name, Outcome::of(result.map(drop), Vec::new())));
        len
    };
    let (mut one, mut two) = (Vec::new(), Vec::new());
    file.rewind().unwrap();
    open("engine, file to stream", Source::File(&file), Sink::Stream(&mut one));
    let mut stream = vector.body.as_slice();
    open("engine, stream to stream", Source::Stream(&mut stream), Sink::Stream(&mut two));
    file.rewind().unwrap();
    let len = open("engine, file to nowhere", Source::File(&file), Sink::Nowhere);
    // The caller judges a failure: a build with the FIPS module must refuse some of these vectors.
    if let Some(len) = len
        && vector.expected() == Class::Success
    {
        assert_eq!(len as usize, vector.allowed().0, "{}", vector.name);
    }
    let mut out = tempfile::tempfile().unwrap();
    file.rewind().unwrap();
    open("engine, file to file", Source::File(&file), Sink::File(&out, Durability::Unsynced));
    outcomes[0].1.plaintext = one;
    outcomes[1].1.plaintext = two;
    if vector.expected() == Class::Success {
        outcomes[3].1.plaintext = read_all(&mut out);
        outcomes[2].1.plaintext = outcomes[3].1.plaintext.clone();
    }
    outcomes
}

fn read_all(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// The warnings of a header, in the kit's words.
pub(crate) fn warnings(body: &[u8]) -> Vec<&'static str> {
    let Ok(header) = Header::read(&Front::new(body.to_vec())) else { return Vec::new() };
    let name = |warning: &Warning| match warning {
        Warning::BankDamaged(BankNumber::Zero, _) => "bank-0-damaged",
        Warning::BankDamaged(BankNumber::One, _) => "bank-1-damaged",
        _ => "banks-differ",
    };
    header.warnings().iter().map(name).collect()
}

/// Every way of the library. Each outcome has a name.
pub(crate) fn library(vector: &Vector) -> Vec<(&'static str, Outcome)> {
    let (keys, demands) = match openers(vector).and_then(|keys| Ok((keys, demands(vector)?))) {
        Ok(both) => both,
        Err(error) => return vec![("arguments", Outcome::of(Err(error), Vec::new()))],
    };
    let whole = serial(vector.body.as_slice(), 70_000, &keys, &demands);
    ranges(&vector.body, &keys, &demands, &whole.plaintext, vector.body.len() as u64);
    let mut outcomes = vec![
        ("serial", whole),
        ("serial, bytes in", serial(Bytewise(vector.body.as_slice()), 70_000, &keys, &demands)),
        ("serial, bytes out", serial(vector.body.as_slice(), 1, &keys, &demands)),
        ("seeking", seeking(&vector.body, &keys, &demands)),
    ];
    outcomes.extend(engine(vector, &keys, &demands));
    outcomes
}
