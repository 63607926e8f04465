//! The limits and the behaviour of the serial reader and writer. Behaviour shared with the engine is tested there.

use std::io::{self, Read, Write};

use super::*;
use crate::envelope::{Demands, Envelope, SealOptions, open_payload};
use crate::error::{Error, Tampered};
use crate::format::{Binding, Slot};
use crate::format::{CHUNK_LEN, MAX_CHUNKS, PRELUDE_LEN, SEALED_CHUNK_LEN};
use crate::keys::{KeyFile, KeySealer};
use crate::payload::{ChunkIndex, ChunkOpener};
use crate::secret::DataKey;

/// A file of `plaintext`, and its key.
pub(crate) fn seal(plaintext: &[u8]) -> (KeyFile, Vec<u8>) {
    let key = KeyFile::generate().unwrap();
    let mut writer = SealWriter::new(Vec::new(), &[&key], &SealOptions::default()).unwrap();
    writer.write_all(plaintext).unwrap();
    let file = writer.finish().unwrap();
    (key, file)
}

fn tampered(error: io::Error) -> Tampered {
    match Error::io("reading", error) {
        Error::Tampered(tampered) => tampered,
        other => panic!("another error: {other}"),
    }
}

/// Sealer and opener of one payload.
fn pair() -> (Envelope, ChunkOpener) {
    struct Fixed;
    impl KeySealer for Fixed {
        fn name(&self) -> String {
            "fixed".into()
        }
        fn generate(&self, binding: &Binding) -> crate::Result<(DataKey, Slot)> {
            let data_key = DataKey::from_slice(&[7; 32])?;
            let slot = self.wrap(&data_key, binding)?;
            Ok((data_key, slot))
        }
        fn wrap(&self, data_key: &DataKey, binding: &Binding) -> crate::Result<Slot> {
            KeyFile::generate()?.wrap(data_key, binding)
        }
    }
    let envelope = Envelope::new(&[&Fixed], &SealOptions::default()).unwrap();
    let data_key = DataKey::from_slice(&[7; 32]).unwrap();
    let bound = envelope.binding().bound_bytes().unwrap();
    let opener = open_payload(&data_key, envelope.binding().suite, &bound, &envelope.prelude().to_bytes()).unwrap();
    (envelope, opener)
}

#[test]
fn the_reader_stops_at_the_last_possible_chunk() {
    let last = ChunkIndex::new(MAX_CHUNKS - 1).unwrap();
    let (envelope, opener) = pair();
    let mut short = [0; 16];
    envelope.sealer().seal(last, &[], &mut short).unwrap();
    let mut reader = PayloadReader::new(short.as_slice(), opener).starting_at(last);
    assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);

    let (envelope, opener) = pair();
    let mut full = [0; SEALED_CHUNK_LEN];
    envelope.sealer().seal(last, &[0; CHUNK_LEN], &mut full).unwrap();
    let mut reader = PayloadReader::new(full.as_slice(), opener).starting_at(last);
    let mut got = Vec::new();
    assert_eq!(tampered(reader.read_to_end(&mut got).unwrap_err()), Tampered::TooLong);
    assert!(got.is_empty());
}

#[test]
fn the_writer_stops_at_the_last_possible_chunk() {
    let last = ChunkIndex::new(MAX_CHUNKS - 1).unwrap();
    let mut writer = SealWriter::with_envelope(Vec::new(), pair().0).starting_at(last);
    writer.write_all(&[0; CHUNK_LEN - 1]).unwrap();
    writer.finish().unwrap();
    let mut writer = SealWriter::with_envelope(Vec::new(), pair().0).starting_at(last);
    writer.write_all(&[0; CHUNK_LEN]).unwrap();
    assert!(matches!(writer.finish(), Err(Error::Limit(_))));
}

#[test]
fn errors_are_sticky() {
    let (key, mut file) = seal(&[1; 3 * CHUNK_LEN]);
    let at = 8192 + PRELUDE_LEN + SEALED_CHUNK_LEN + 5;
    file[at] ^= 1;
    let mut reader = OpenReader::new(file.as_slice(), &[&key], &Demands::default()).unwrap();
    let mut got = Vec::new();
    let first = tampered(reader.read_to_end(&mut got).unwrap_err());
    assert_eq!((got.len(), &first), (CHUNK_LEN, &Tampered::Chunk { index: 1, offset: CHUNK_LEN as u64 }));
    for _ in 0..3 {
        assert_eq!(tampered(reader.read(&mut [0; 9]).unwrap_err()), first);
    }
}

/// Gives an error where a good part ends, then the remaining bytes as if nothing had happened.
struct Stumbling<'a>(Vec<&'a [u8]>);

impl Read for Stumbling<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(part) = self.0.first_mut() else { return Ok(0) };
        if part.is_empty() {
            self.0.remove(0);
            return Err(io::Error::other("stumbled"));
        }
        part.read(out)
    }
}

#[test]
fn a_read_error_is_sticky_and_no_end() {
    let (key, file) = seal(&[1; 12 * CHUNK_LEN]);
    let (front, rest) = file.split_at(150_000);
    let mut reader = OpenReader::new(Stumbling(vec![front, rest]), &[&key], &Demands::default()).unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "stumbled");
    assert!(reader.read(&mut [0; 9]).is_err());
}

#[test]
fn a_writer_that_was_dropped_leaves_no_valid_file() {
    for len in [0, 100, 5 << 20] {
        let mut out = Vec::new();
        let key = KeyFile::generate().unwrap();
        let mut writer = SealWriter::new(&mut out, &[&key], &SealOptions::default()).unwrap();
        writer.write_all(&vec![1; len]).unwrap();
        drop(writer);
        let opened = OpenReader::new(out.as_slice(), &[&key], &Demands::default());
        let whole = opened.map_err(io::Error::from).and_then(|mut reader| reader.read_to_end(&mut Vec::new()));
        assert!(whole.is_err(), "{len}");
    }
}

#[test]
fn a_failed_writer_does_not_finish() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let key = KeyFile::generate().unwrap();
    let mut writer = SealWriter::new(Full, &[&key], &SealOptions::default()).unwrap();
    assert_eq!(writer.write_all(&vec![1; 5 << 20]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(writer.write(&[1]).is_err());
    assert!(writer.finish().is_err());
}
