//! Files with holes: the result is the same as for the same file without holes, and the holes are not read.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{PlaintextEnd, ReadAt, SalvageOptions, SalvageReport, salvage};
use crate::engine::Unobserved;
use crate::format::SEALED_CHUNK_LEN;
use crate::keys::{KeyFile, KeySealer};
use crate::skipped::skipped;
use crate::{SealOptions, SealWriter};

const S: usize = SEALED_CHUNK_LEN;
/// Where the first chunk is in a small file.
const START: usize = 8192 + 56;

/// Counts the bytes that are read.
struct Counted<'a> {
    file: &'a File,
    knows_holes: bool,
    read: AtomicU64,
}

impl ReadAt for Counted<'_> {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let read = ReadAt::read_at(self.file, buffer, position)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn data_from(&self, position: u64) -> io::Result<Option<u64>> {
        if self.knows_holes { self.file.data_from(position) } else { Err(io::ErrorKind::Unsupported.into()) }
    }
}

fn sealed(len: usize) -> (KeyFile, Vec<u8>) {
    let key = KeyFile::generate().unwrap();
    let mut writer = SealWriter::new(Vec::new(), &[&key as &dyn KeySealer], &SealOptions::new()).unwrap();
    let plain: Vec<u8> = (1..=251_u8).cycle().take(len).collect();
    writer.write_all(&plain).unwrap();
    (key, writer.finish().unwrap())
}

/// The report, the first bytes of the output, and the number of bytes that were read.
fn salvaged(file: &File, key: &KeyFile, knows_holes: bool) -> (SalvageReport, Vec<u8>, u64) {
    let source = Counted { file, knows_holes, read: AtomicU64::new(0) };
    let out = tempfile::tempfile().unwrap();
    let report = salvage(&source, &out, &[key], &SalvageOptions::new(), &Unobserved).unwrap();
    let mut front = vec![0; 4 << 20];
    let len = FileExt::read_at(&out, &mut front, 0).unwrap();
    front.truncate(len);
    (report, front, source.read.into_inner())
}

/// Whether the file system for temporary files reports holes.
fn has_holes(file: &File) -> bool {
    matches!(ReadAt::data_from(file, 1 << 20), Ok(data) if data != Some(1 << 20))
}

#[test]
fn a_hundred_gibibytes_of_nothing_are_not_read() {
    let (key, bytes) = sealed(100_000);
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    file.set_len(100 << 30).unwrap();
    if !has_holes(&file) {
        return skipped("the holes of a sparse file", "the file system of temporary files tells of none");
    }
    let (report, plain, read) = salvaged(&file, &key, true);
    assert!(read < 64 << 20, "{read} bytes were read");
    assert_eq!((report.recovered_bytes(), report.end), (100_000, PlaintextEnd::Known(100_000)));
    assert!(plain.iter().zip((1..=251_u8).cycle()).all(|(is, was)| *is == was) && plain.len() == 100_000);
    // The end of the file is lost too, so that nothing shows where it was.
    file.write_all_at(&[0; 1000], bytes.len() as u64 - 1000).unwrap();
    let (report, _, read) = salvaged(&file, &key, true);
    assert!(read < 256 << 20, "{read} bytes were read");
    assert_eq!(report.recovered_bytes(), 100_000 / 16_384 * 16_384);
    assert!(matches!(report.end, PlaintextEnd::Unknown { .. }));
}

/// Chunks at their own positions after, between and next to holes, and chunks that are partly in a hole.
#[test]
fn holes_hide_nothing() {
    let (key, bytes) = sealed(3 << 20);
    let island = |chunks: std::ops::Range<usize>| START + chunks.start * S..START + chunks.end * S;
    // Chunks that begin or end in a block that was never written, and some that moved by complete blocks.
    let kept = [(0..START, 0), (island(3..4), 0), (island(40..60), 0), (island(60..70), 64 << 20)];
    let (sparse, dense) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let len = (128 << 20) + 5;
    sparse.set_len(len).unwrap();
    if !has_holes(&sparse) {
        return skipped("holes beside data", "the file system of temporary files tells of none");
    }
    dense.write_all_at(&vec![0; usize::try_from(len).unwrap()], 0).unwrap();
    for (range, moved) in kept {
        for file in [&sparse, &dense] {
            file.write_all_at(&bytes[range.clone()], (range.start + moved) as u64).unwrap();
        }
    }
    let (one, plain, read) = salvaged(&sparse, &key, true);
    let (two, same, all) = salvaged(&dense, &key, false);
    assert_eq!((one.recovered.clone(), one.lost.clone()), (two.recovered, two.lost));
    assert!(plain == same);
    assert_eq!(one.recovered_bytes(), 31 * 16_384);
    assert!(read < all, "{read} of {all} bytes");
}
