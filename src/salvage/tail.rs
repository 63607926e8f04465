//! Finds the last chunk, which is short. It may be at the file's end, other bytes may follow it, or bytes before it may
//! have been lost or inserted.

use std::ops::Range;

use super::grid::{STRIDE, Work, size, unsigned};
use super::search::Gap;
use crate::error::Result;
use crate::format::{CHUNK_LEN, SEALED_CHUNK_LEN, TAG_LEN};

/// A last chunk has 16 to 16399 bytes.
const LENGTHS: Range<i64> = TAG_LEN as i64..STRIDE;
/// How many numbers after the last found chunk are tried with every length.
const NUMBERS: i64 = 64;
/// The maximum distance from the number that fits the position of a chunk at the file's end: 16 chunks, 256 KiB.
const DRIFT: i64 = 16;
/// Number of candidates in one task, and before the limit is checked.
const BLOCK: usize = 256;
const SEGMENT: usize = 256 * BLOCK;

/// The last chunk, authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) index: i64,
    pub(super) place: i64,
    /// The length of the chunk with its tag.
    pub(super) len: i64,
}

impl End {
    /// Length of the whole plaintext.
    pub(super) fn plaintext_len(&self) -> u64 {
        unsigned(self.index) * CHUNK_LEN as u64 + unsigned(self.len) - TAG_LEN as u64
    }
}

impl Work<'_> {
    /// The last chunk at the end of the file on the gap's left grid, or directly after the last found chunk.
    ///
    /// `gap` is at the file's end. If bytes were appended to the file, this costs at most 16384 attempts.
    pub(super) fn find_end(&self, gap: &Gap) -> Result<Option<End>> {
        let grid = gap.on_grid(self, gap.left);
        let at_end = |index| {
            let place = self.place(index, gap.left);
            End { index, place, len: gap.bytes.end - place }
        };
        let likely = [at_end(grid.end), at_end(gap.first)];
        let found = likely.iter().find_map(|end| self.try_ends(std::slice::from_ref(end)));
        let found = found.or_else(|| self.try_ends(&self.every_length(gap, gap.first)));
        self.keep(found)
    }

    /// The last chunk at any other position within the limits: further after the last found chunk, with bytes after it,
    /// or at the file's end, off the grid.
    pub(super) fn search_end(&self, gap: &Gap) -> Result<Option<End>> {
        let at_end = LENGTHS.flat_map(|len| {
            let place = gap.bytes.end - len;
            let likely = gap.first + (place - gap.bytes.start).div_euclid(STRIDE);
            (gap.first.max(likely - DRIFT)..=likely + DRIFT).map(move |index| End { index, place, len })
        });
        let at_end: Vec<End> = at_end.filter(|end| end.place >= gap.bytes.start).collect();
        let mut segments = at_end.chunks(SEGMENT).take_while(|_| !self.is_spent());
        let mut found = segments.find_map(|segment| self.try_ends(segment));
        for index in gap.first + 1..gap.first + NUMBERS {
            if found.is_some() || self.is_spent() {
                break;
            }
            found = self.try_ends(&self.every_length(gap, index));
        }
        self.keep(found)
    }

    fn every_length(&self, gap: &Gap, index: i64) -> Vec<End> {
        let place = self.place(index, gap.left);
        LENGTHS.map(|len| End { index, place, len }).collect()
    }

    /// The first of `candidates` that authenticates. They are close to each other, so their bytes are read in one call.
    fn try_ends(&self, candidates: &[End]) -> Option<End> {
        let fits = |end: &&End| LENGTHS.contains(&end.len) && end.place >= 0 && end.place + end.len <= self.len();
        let candidates: Vec<&End> = candidates.iter().filter(fits).collect();
        let low = candidates.iter().map(|end| end.place).min()?;
        let high = candidates.iter().map(|end| end.place + end.len).max()?;
        if self.input.is_hole(unsigned(low)..unsigned(high)) {
            return None;
        }
        let mut bytes = vec![0; size(high - low)];
        self.input.read(&mut bytes, unsigned(low));
        let blocks: Vec<&[&End]> = candidates.chunks(BLOCK).collect();
        self.crew.find(&blocks, |block| {
            let mut scratch = vec![0; SEALED_CHUNK_LEN];
            let mut opens = |end: &End| {
                let scratch = &mut scratch[..size(end.len)];
                scratch.copy_from_slice(&bytes[size(end.place - low)..][..size(end.len)]);
                self.try_open(end.index, end.place, scratch)
            };
            block.iter().copied().find(|end| opens(end)).copied()
        })
    }

    /// Writes the chunk that was found.
    fn keep(&self, found: Option<End>) -> Result<Option<End>> {
        let Some(end) = found else { return Ok(None) };
        let mut sealed = vec![0; size(end.len)];
        self.input.read(&mut sealed, unsigned(end.place));
        if !self.try_open(end.index, end.place, &mut sealed) {
            return Ok(None);
        }
        let plaintext = &sealed[..size(end.len) - TAG_LEN];
        self.write(plaintext, end.index)?;
        Ok(Some(end))
    }
}
