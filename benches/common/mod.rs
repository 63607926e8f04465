//! Shared by the benches: data, and outputs that are emptied for each round.

#![allow(dead_code, reason = "each bench uses its part")]

use std::fs::File;
use std::io::{Seek, SeekFrom};

use waxseal::engine::{Durability, Engine, Sink, Source, Unobserved};
use waxseal::keys::KeyFile;
use waxseal::{Demands, Envelope, SealOptions};

/// Bytes of plaintext. There are few when the benches run as tests (`cargo test --benches`).
pub(crate) fn len() -> usize {
    match std::env::var("WAXSEAL_BENCH_MIB") {
        Ok(mib) => mib.parse::<usize>().expect("WAXSEAL_BENCH_MIB is a number of MiB") << 20,
        Err(_) if std::env::args().any(|arg| arg == "--bench") => 64 << 20,
        Err(_) => 3 << 20,
    }
}

/// Bytes that do not compress and are not all equal.
pub(crate) fn plaintext(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// An unnamed file that contains `bytes`.
pub(crate) fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    std::io::Write::write_all(&mut file, bytes).expect("room for it");
    file.seek(SeekFrom::Start(0)).expect("a file seeks");
    file
}

/// A new, empty file.
pub(crate) fn empty() -> File {
    tempfile::tempfile().expect("a temporary file")
}

/// The unsynced file sink.
pub(crate) fn into(file: &File) -> Sink<'_> {
    Sink::File(file, Durability::Unsynced)
}

/// Seals, with a new envelope.
pub(crate) fn seal(engine: &Engine, key: &KeyFile, source: Source<'_>, sink: Sink<'_>) {
    let envelope = || Envelope::new(&[key], &SealOptions::new());
    engine.seal(source, sink, envelope, &Unobserved).expect("sealing");
}

/// Opens.
pub(crate) fn open(engine: &Engine, key: &KeyFile, source: Source<'_>, sink: Sink<'_>) {
    engine.open(source, sink, &[key], &Demands::default(), &Unobserved).expect("opening");
}
