//! Any range has the same bytes as from the serial reader, the end is authenticated first, and few bytes are read.

use std::cell::Cell;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::rc::Rc;

use proptest::prelude::*;

use crate::envelope::Demands;
use crate::error::{Error, Tampered};
use crate::format::{CHUNK_LEN, PRELUDE_LEN, SEALED_CHUNK_LEN};
use crate::keys::KeyFile;
use crate::seek::OpenReaderAt;
use crate::stream::tests::seal;

fn text(len: usize) -> Vec<u8> {
    (0u8..251).cycle().take(len).collect()
}

fn open<R: Read + Seek>(file: R, key: &KeyFile) -> crate::Result<OpenReaderAt<R>> {
    OpenReaderAt::new(file, &[key], &Demands::default())
}

#[test]
fn the_end_is_authenticated_first() {
    let (key, file) = seal(&text(3 * CHUNK_LEN + 100));
    let payload = 8192 + PRELUDE_LEN;
    for cut in [1, 99, 100, 115, 116, 117, SEALED_CHUNK_LEN + 116] {
        let refused = open(Cursor::new(&file[..file.len() - cut]), &key);
        assert!(matches!(refused, Err(Error::Tampered(_))), "{cut}");
    }
    let appended = [file.as_slice(), &[0; 5]].concat();
    assert!(matches!(open(Cursor::new(appended), &key), Err(Error::Tampered(Tampered::LastChunk { index: 3, .. }))));
    // Damage at another position is found when it is read. After that, all reads fail.
    let mut damaged = file.clone();
    damaged[payload + SEALED_CHUNK_LEN] ^= 1;
    let mut reader = open(Cursor::new(damaged), &key).unwrap();
    let mut first = vec![0; CHUNK_LEN];
    reader.read_exact(&mut first).unwrap();
    assert_eq!(first, text(CHUNK_LEN));
    for _ in 0..2 {
        assert!(reader.read(&mut first).is_err());
    }
    reader.rewind().unwrap();
    assert!(reader.read(&mut first).is_err(), "an error of authentication is sticky");
}

#[test]
fn read_ahead_does_not_fail_early() {
    let (key, mut file) = seal(&text(6 * CHUNK_LEN));
    file[8192 + PRELUDE_LEN + 4 * SEALED_CHUNK_LEN] ^= 1;
    let mut reader = open(Cursor::new(file), &key).unwrap();
    let mut got = vec![0; 4 * CHUNK_LEN];
    reader.read_exact(&mut got).unwrap();
    assert_eq!(got, text(4 * CHUNK_LEN));
    assert!(reader.read(&mut got).is_err());
}

#[test]
fn a_small_range_reads_little() {
    struct Counting<R>(R, Rc<Cell<usize>>);
    impl<R: Read> Read for Counting<R> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(out)?;
            self.1.set(self.1.get() + read);
            Ok(read)
        }
    }
    impl<R: Seek> Seek for Counting<R> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    let (key, file) = seal(&text(400 * CHUNK_LEN));
    let read = Rc::new(Cell::new(0));
    let mut reader = open(Counting(Cursor::new(file), Rc::clone(&read)), &key).unwrap();
    let front = read.replace(0);
    assert_eq!(front, 131_144 + 16, "the front, and the empty last chunk");
    reader.seek(SeekFrom::Start(5_000_000)).unwrap();
    reader.read_exact(&mut [0; 4096]).unwrap();
    assert!(read.get() <= 2 * SEALED_CHUNK_LEN, "{}", read.get());
    read.set(0);
    reader.seek(SeekFrom::Start(5_000_000)).unwrap();
    reader.read_exact(&mut [0; 4096]).unwrap();
    assert_eq!(read.get(), 0, "the chunk is kept");
}

#[test]
fn seeks_stay_within_reason() {
    let (key, file) = seal(b"0123456789");
    let mut reader = open(Cursor::new(file), &key).unwrap();
    assert_eq!(reader.plaintext_len(), 10);
    assert!(reader.seek(SeekFrom::Current(-1)).is_err() && reader.seek(SeekFrom::End(-11)).is_err());
    assert_eq!(reader.seek(SeekFrom::End(5)).unwrap(), 15);
    assert_eq!(reader.read(&mut [0; 4]).unwrap(), 0);
    assert_eq!(reader.seek(SeekFrom::Start(u64::MAX)).unwrap(), u64::MAX);
    assert!(reader.seek(SeekFrom::Current(1)).is_err());
    assert_eq!(reader.read(&mut [0; 4]).unwrap(), 0);
    assert_eq!(reader.seek(SeekFrom::End(-3)).unwrap(), 7);
    let mut end = String::new();
    reader.read_to_string(&mut end).unwrap();
    assert_eq!(end, "789");
}

proptest! {
    #[test]
    fn ranges_are_what_the_whole_holds(
        len in 0usize..40 * CHUNK_LEN, ranges in prop::collection::vec((0.0f64..1.0, 0usize..70_000), 1..20),
    ) {
        let whole = text(len);
        let (key, file) = seal(&whole);
        let mut reader = open(Cursor::new(file), &key).unwrap();
        for (at, want) in ranges {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a test's random place")]
            let start = (at * (len + 1) as f64) as usize;
            reader.seek(SeekFrom::Start(start as u64)).unwrap();
            let mut got = Vec::new();
            reader.by_ref().take(want as u64).read_to_end(&mut got).unwrap();
            prop_assert_eq!(&got, &whole[start.min(len)..(start + want).min(len)]);
        }
    }
}
