//! Compares the engine with the serial reader and writer: the same bytes and the same errors, on every path.

mod awkward;
mod damage;
#[cfg(unix)]
mod mapped;
mod round_trip;
mod wycheproof;

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use super::open::OpenJob;
use super::sink::Output;
use super::source::{Flow, Input};
use super::*;
use crate::container::Payload;
use crate::envelope::SealOptions;
use crate::error::Error;
use crate::format::{Binding, DataKeyId, Slot, SlotKind};
use crate::keys::{KeyOpener, KeySealer};
use crate::payload::{ChunkIndex, ChunkOpener};
use crate::secret::DataKey;

/// A key that does not wrap, so that two files with the same content have the same bytes.
struct FixedKey;

impl KeySealer for FixedKey {
    fn name(&self) -> String {
        "fixed".into()
    }
    fn generate(&self, binding: &Binding) -> Result<(DataKey, Slot)> {
        let data_key = DataKey::from_slice(&[3; 32])?;
        let slot = self.wrap(&data_key, binding)?;
        Ok((data_key, slot))
    }
    fn wrap(&self, data_key: &DataKey, _: &Binding) -> Result<Slot> {
        Ok(Slot { kind: SlotKind(0x8001), key_id: "fixed".into(), wrapped: data_key.expose().to_vec() })
    }
}

impl KeyOpener for FixedKey {
    fn name(&self) -> String {
        "fixed".into()
    }
    fn matches(&self, slot: &Slot) -> bool {
        slot.kind == SlotKind(0x8001)
    }
    fn open(&self, slot: &Slot, _: &Binding) -> Result<DataKey> {
        DataKey::from_slice(&slot.wrapped)
    }
}

fn envelope() -> Result<Envelope> {
    Envelope::with_salt(&[&FixedKey], &SealOptions::default(), DataKeyId([4; 16]), [5; 24])
}

/// More threads than cores, so that they compete with each other.
fn engine() -> Engine {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    Engine::with_pool(Arc::new(pool))
}

/// Bytes without repetitions at short distances.
fn text(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn content(mut file: &File) -> Vec<u8> {
    use std::io::{Seek, SeekFrom};
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn serial_seal(plaintext: &[u8]) -> Vec<u8> {
    let mut writer = crate::SealWriter::with_envelope(Vec::new(), envelope().unwrap());
    writer.write_all(plaintext).unwrap();
    writer.finish().unwrap()
}

/// The output, and the result.
type Outcome = (Vec<u8>, Result<(), String>);

fn outcome(out: Vec<u8>, result: Result<()>) -> Outcome {
    (out, result.map_err(|error| format!("{error:?}")))
}

fn serial_open(file: &[u8]) -> Outcome {
    let mut out = Vec::new();
    let result = crate::OpenReader::new(file, &[&FixedKey], &Demands::default())
        .and_then(|mut reader| reader.read_to_end(&mut out).map_err(|error| Error::io("reading the input", error)));
    outcome(out, result.map(drop))
}

fn engine_open(engine: &Engine, source: Source<'_>) -> Outcome {
    let mut out = Vec::new();
    let result = engine.open(source, Sink::Stream(&mut out), &[&FixedKey], &Demands::default(), &Unobserved);
    outcome(out, result.map(drop))
}

/// A file with these chunks, after space for the prelude.
fn payload_file(chunks: &[u8]) -> File {
    file_of(&[&[0; crate::format::PRELUDE_LEN], chunks].concat())
}

/// The ways in which [`payload_outcomes`] opens the chunks of a payload.
const PATHS: [&str; 6] =
    ["serial", "stream to stream", "file to stream", "file to file", "file to nowhere", "stream to file"];

/// Opens the chunks in `chunks`, which are in `file` after a prelude, on every path of `PATHS` except the first one.
/// Tasks have `unit` chunks.
fn payload_outcomes(
    engine: &Engine,
    opener: impl Fn() -> ChunkOpener,
    (chunks, file): (&[u8], &File),
    unit: usize,
    first: u64,
) -> Vec<(&'static str, Outcome)> {
    let run = |from_file: bool, output: Output<'_>| {
        let payload = Payload::new(opener(), 0);
        let Input::At(input) = Input::new(Source::File(file)).unwrap() else { unreachable!() };
        let chunks = if from_file { Flow::At(&input) } else { Flow::Ordered(Box::new(chunks)) };
        let job = OpenJob::new(&payload, chunks, (&output, unit), &Unobserved, ChunkIndex::new(first).unwrap());
        engine.run(|buffers| job.work(buffers));
        match job.finish() {
            Ok(len) => output.finish(len - first * CHUNK_LEN as u64),
            Err((_, error)) => Err(error),
        }
    };
    let serial = {
        let mut out = Vec::new();
        let mut reader =
            crate::stream::PayloadReader::new(chunks, opener()).starting_at(ChunkIndex::new(first).unwrap());
        let result = reader.read_to_end(&mut out).map_err(|error| Error::io("reading the input", error));
        if result.is_err() {
            assert!(reader.read(&mut [0]).is_err(), "errors are sticky");
        }
        outcome(out, result.map(drop))
    };
    let to_stream = |from_file| {
        let mut out = Vec::new();
        let result = run(from_file, Output::new(Sink::Stream(&mut out)).unwrap());
        outcome(out, result)
    };
    let to_file = |from_file| {
        let out = tempfile::tempfile().unwrap();
        let result = run(from_file, Output::new(Sink::File(&out, Durability::Unsynced)).unwrap());
        let text = if result.is_ok() { content(&out) } else { Vec::new() };
        outcome(text, result)
    };
    let nowhere = outcome(Vec::new(), run(true, Output::Nowhere));
    let outcomes = [serial, to_stream(false), to_stream(true), to_file(true), nowhere, to_file(false)];
    PATHS.into_iter().zip(outcomes).collect()
}

/// Asserts that every path has the same result as the serial one, and that output in order is the same.
fn assert_alike(outcomes: &[(&'static str, Outcome)], what: &dyn std::fmt::Debug) {
    let (_, (text, end)) = &outcomes[0];
    for (path, (out, result)) in outcomes {
        assert_eq!(result, end, "{path}: {what:?}");
        let in_order = !path.ends_with("to file") || end.is_ok();
        if in_order && *path != "file to nowhere" {
            assert!(out == text, "{path}: {} bytes for {}: {what:?}", out.len(), text.len());
        }
    }
}

/// Counts the reports that it receives.
#[derive(Default)]
struct Counting(Mutex<(u64, u64, u32)>);

impl Observer for Counting {
    fn total(&self, bytes: u64) {
        self.0.lock().unwrap().0 += bytes;
    }
    fn advanced(&self, bytes: u64) {
        self.0.lock().unwrap().1 += bytes;
    }
    fn header(&self, _: &Header) {
        self.0.lock().unwrap().2 += 1;
    }
}
