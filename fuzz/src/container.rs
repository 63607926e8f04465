//! Compares the module without I/O with the serial reader.

use std::ops::Range;

use waxseal::container::{InOrder, Opened, Opening, Payload, Plaintext};
use waxseal::format::{FRONT_LEN, Front, SEALED_CHUNK_LEN};
use waxseal::payload::ChunkIndex;
use waxseal::{Demands, Error};

use super::recipe::Recipe;
use super::{Outcome, open, openers, waits};

/// Chunks in order, and any range, have the bytes of the serial reader's plaintext, for all lengths and ranges.
pub fn container(data: &[u8]) {
    let Some((count, rest)) = data.split_first() else { return };
    let (ranges, recipe) = rest.split_at(rest.len().min(7 * usize::from(count % 8)));
    let file = Recipe::parse(recipe).file();
    if waits(&file) {
        return;
    }
    let serial = open(&file);
    let Ok(opened) = begin(&file) else {
        return assert!(serial.error.is_some(), "the core refuses what the serial reader opens");
    };
    in_order(opened.into_payload(), &file, &serial);
    let payload = begin(&file).map(Opened::into_payload).unwrap();
    hostile_lengths(&payload, ranges);
    let Ok(end) = payload.end(file.len() as u64) else {
        return assert!(serial.error.is_some(), "the end of a sound file is not found");
    };
    let Ok(plaintext) = payload.with_end(&end, part(&file, end.range.clone())) else {
        return assert!(serial.error.is_some(), "the end of a sound file does not open");
    };
    if serial.error.is_none() {
        assert_eq!(plaintext.len(), serial.plaintext.len() as u64);
    }
    ranges.chunks_exact(7).for_each(|range| one_range(&plaintext, asked(range), &file, &serial));
}

fn begin(file: &[u8]) -> waxseal::Result<Opened> {
    let front = Front::new(file[..file.len().min(FRONT_LEN)].to_vec());
    Opening::read(front, &Demands::default())?.open(&openers())
}

fn part(file: &[u8], range: Range<u64>) -> &[u8] {
    &file[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
}

fn in_order(payload: Payload, file: &[u8], serial: &Outcome) {
    let mut rest = part(file, payload.chunk_at(ChunkIndex::FIRST)..file.len() as u64);
    let (mut chunks, mut out) = (InOrder::from(payload), Vec::new());
    while !chunks.ended() {
        let (now, later) = rest.split_at(rest.len().min(SEALED_CHUNK_LEN));
        let mut sealed = now.to_vec();
        match chunks.open(&mut sealed) {
            Ok(plain) => out.extend_from_slice(plain),
            Err(_) => {
                assert!(serial.error.is_some() && sealed.iter().all(|byte| *byte == 0), "a sound chunk is refused");
                assert!(chunks.open(&mut now.to_vec()).is_err() && !chunks.ended(), "a reader goes on after a failure");
                return assert!(out == serial.plaintext, "another prefix");
            }
        }
        rest = later;
    }
    assert!(serial.error.is_none() && out == serial.plaintext, "another plaintext");
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Kind, start, length. The start counts from the beginning or from the largest number, or the range is reversed.
fn asked(range: &[u8]) -> Range<u64> {
    let (start, len) = (number(&range[1..4]), number(&range[4..7]));
    match range[0] % 4 {
        0 => start..start + len,
        1 => u64::MAX - start..(u64::MAX - start).saturating_add(len),
        2 => start..u64::MAX - len,
        _ => start..start.saturating_sub(len),
    }
}

/// Lengths that a store may report.
fn hostile_lengths(payload: &Payload, ranges: &[u8]) {
    for range in ranges.chunks_exact(7).map(asked) {
        for len in [range.start, range.end, range.start.wrapping_mul(1 << 32)] {
            let Ok(end) = payload.end(len) else { continue };
            assert_eq!(end.range.end, len);
            assert!((16..SEALED_CHUNK_LEN as u64).contains(&(end.range.end - end.range.start)));
            assert_eq!(payload.chunk_at(end.index), end.range.start);
        }
    }
}

fn one_range(plaintext: &Plaintext, plain: Range<u64>, file: &[u8], serial: &Outcome) {
    let sealed = plaintext.sealed_range(plain.clone());
    assert!(sealed.start <= sealed.end && sealed.end <= file.len() as u64, "bytes beyond the end");
    let bytes = part(file, sealed);
    if let Some(short) = bytes.get(1..) {
        assert!(plaintext.open_range(plain.clone(), short).is_err(), "a range opens from too few bytes");
    }
    assert!(matches!(plaintext.open_range(plain.clone(), &[bytes, &[0]].concat()), Err(Error::ApiMisuse(_))));
    let Ok(got) = plaintext.open_range(plain.clone(), bytes) else {
        return assert!(serial.error.is_some(), "a range of a sound file fails");
    };
    let within = |at: u64| usize::try_from(at.min(plaintext.len())).unwrap();
    let (start, end) = (within(plain.start), within(plain.end));
    assert_eq!(got.len(), end.saturating_sub(start));
    // After the position where the serial reader failed, there is nothing to compare.
    if let Some(known) = serial.plaintext.get(start..end) {
        assert!(known == got, "the range has other bytes");
    }
}
