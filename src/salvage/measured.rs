//! Measurements on a file of 1 GiB: `cargo test --release --lib salvage::measured -- --ignored --nocapture`.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use super::{SalvageOptions, SalvageReport, salvage};
use crate::engine::Unobserved;
use crate::format::{CHUNK_LEN, PRELUDE_LEN, SEALED_CHUNK_LEN};
use crate::keys::{KeyFile, KeySealer};
use crate::{SealOptions, SealWriter};

const LEN: u64 = 1 << 30;
const PIECE: usize = 1 << 20;
const START: u64 = 131_072 + PRELUDE_LEN as u64;
const STRIDE: u64 = SEALED_CHUNK_LEN as u64;

/// Replaces `removed` bytes of the file from `at` on by `added` other bytes.
struct Edit {
    at: u64,
    removed: u64,
    added: u64,
    fill: Fill,
}

#[derive(Clone, Copy)]
enum Fill {
    Zeros,
    Garbage,
}

/// Bytes that differ at every position.
fn noise(piece: u64, seed: u64) -> Vec<u8> {
    let word = |number: u64| {
        let mixed = (number ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9).to_le_bytes()
    };
    let words = PIECE as u64 / 8;
    (piece * words..(piece + 1) * words).flat_map(word).collect()
}

fn seal(key: &KeyFile) -> File {
    let file = tempfile::tempfile().unwrap();
    let sealers = [key as &dyn KeySealer];
    let mut writer = SealWriter::new(BufWriter::new(file), &sealers, &SealOptions::new()).unwrap();
    (0..LEN / PIECE as u64).for_each(|piece| writer.write_all(&noise(piece, 0)).unwrap());
    writer.finish().unwrap().into_inner().unwrap()
}

fn damage(file: &File, edits: &[Edit]) -> File {
    let mut out = BufWriter::new(tempfile::tempfile().unwrap());
    let len = file.metadata().unwrap().len();
    let copy = |mut from: u64, to: u64, out: &mut BufWriter<File>| {
        let mut buffer = vec![0; PIECE];
        while from < to {
            let piece = usize::try_from(to - from).unwrap().min(PIECE);
            file.read_exact_at(&mut buffer[..piece], from).unwrap();
            out.write_all(&buffer[..piece]).unwrap();
            from += piece as u64;
        }
    };
    let mut from = 0;
    for edit in edits {
        copy(from, edit.at, &mut out);
        let mut added = edit.added;
        while added > 0 {
            let bytes = match edit.fill {
                Fill::Zeros => vec![0; PIECE],
                Fill::Garbage => noise(added, edit.at),
            };
            let piece = added.min(PIECE as u64);
            out.write_all(&bytes[..usize::try_from(piece).unwrap()]).unwrap();
            added -= piece;
        }
        from = edit.at + edit.removed;
    }
    copy(from, len, &mut out);
    out.into_inner().unwrap()
}

/// Plaintext bytes of the chunks that no edit changed.
fn salvageable(edits: &[Edit]) -> u64 {
    let mut touched: Vec<u64> = Vec::new();
    for edit in edits {
        let last = edit.at + edit.removed.max(1) - 1;
        let inside = edit.removed > 0 || !(edit.at - START).is_multiple_of(STRIDE);
        if inside {
            touched.extend((edit.at - START) / STRIDE..=(last - START) / STRIDE);
        }
    }
    touched.sort_unstable();
    touched.dedup();
    touched.retain(|chunk| *chunk < LEN / CHUNK_LEN as u64);
    LEN - touched.len() as u64 * CHUNK_LEN as u64
}

fn is_original(report: &SalvageReport, out: &File) {
    let mut buffer = vec![0; PIECE];
    let mut next = report.recovered.iter().peekable();
    for piece in 0..LEN / PIECE as u64 {
        let original = noise(piece, 0);
        let place = piece * PIECE as u64;
        out.read_at(&mut buffer, place).unwrap();
        while let Some(region) = next.peek().filter(|region| region.plaintext.start < place + PIECE as u64) {
            let range = region.plaintext.start.max(place)..region.plaintext.end.min(place + PIECE as u64);
            let range = usize::try_from(range.start - place).unwrap()..usize::try_from(range.end - place).unwrap();
            assert!(buffer[range.clone()] == original[range]);
            if region.plaintext.end > place + PIECE as u64 {
                break;
            }
            next.next();
        }
    }
}

/// Processor time of this process so far, in seconds, if the system has it.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn measure(name: &str, key: &KeyFile, file: &File, edits: &[Edit]) -> SalvageReport {
    let damaged = damage(file, edits);
    let out = tempfile::tempfile().unwrap();
    let (begun, processor) = (Instant::now(), processor_time());
    let report = salvage(&damaged, &out, &[key], &SalvageOptions::new(), &Unobserved).unwrap();
    let (took, processor) = (begun.elapsed(), processor_time() - processor);
    is_original(&report, &out);
    let (recovered, salvageable) = (report.recovered_bytes(), salvageable(edits));
    println!(
        "{name}: {recovered} of {salvageable} salvageable bytes, {} chunks lost, end {:?}, {} failed trials, {:.2} s \
         ({processor:.2} s of processor time)",
        report.lost_bytes().div_ceil(CHUNK_LEN as u64),
        report.end,
        report.failed_trials,
        took.as_secs_f64()
    );
    assert_eq!(recovered, salvageable, "{name}");
    report
}

fn bad_blocks(count: u64, seed: u64) -> Vec<Edit> {
    let blocks = (LEN - 2 * PIECE as u64) / 4096;
    let mut places: Vec<u64> =
        (1..=count).map(|n| n.wrapping_mul(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) % blocks).collect();
    places.sort_unstable();
    places.dedup();
    let edit = |block| Edit { at: 4096 * (block + 33), removed: 4096, added: 4096, fill: Fill::Garbage };
    places.into_iter().map(edit).collect()
}

#[test]
#[ignore = "writes some gigabytes"]
fn a_gibibyte() {
    let key = KeyFile::generate().unwrap();
    let file = seal(&key);
    let len = file.metadata().unwrap().len();
    let edit = |at, removed, added, fill| Edit { at, removed, added, fill };
    measure("undamaged", &key, &file, &[]);
    measure("1000 bad blocks of 4096 bytes", &key, &file, &bad_blocks(1000, 7));
    let middle = len / 2 / 512 * 512;
    let report = measure("512 bytes lost in the middle", &key, &file, &[edit(middle, 512, 0, Fill::Zeros)]);
    assert_eq!(report.lost_bytes(), CHUNK_LEN as u64);
    measure("777,777 bytes lost in the middle", &key, &file, &[edit(middle, 777_777, 0, Fill::Zeros)]);
    measure("777,777 bytes put in", &key, &file, &[edit(middle, 0, 777_777, Fill::Garbage)]);
    measure("64 MiB of garbage", &key, &file, &[edit(middle, 64 << 20, 64 << 20, Fill::Garbage)]);
    measure("100 MiB of zeros appended", &key, &file, &[edit(len, 0, 100 << 20, Fill::Zeros)]);
    let mut mixed = bad_blocks(300, 13);
    mixed.retain(|bad| (bad.at / PIECE as u64) % 100 > 2);
    let shift =
        |at: u64, n: u64| edit(at * PIECE as u64 + 1000 * n, n % 2 * 512 * n, (n + 1) % 2 * 333 * n, Fill::Garbage);
    mixed.extend((1..10).map(|n| shift(100 * n, n)));
    mixed.push(edit(len, 0, 5 << 20, Fill::Zeros));
    mixed.sort_by_key(|edit| edit.at);
    measure("300 bad blocks, 9 shifts, a grown tail", &key, &file, &mixed);
    measure("half of it garbage", &key, &file, &[edit(middle, len - middle, len - middle, Fill::Garbage)]);
}
