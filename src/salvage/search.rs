//! Finds chunks that are off their grid because bytes were lost or inserted before them.
//!
//! A chunk's nonce contains its number, so the search must guess both the position and the number. The shift gives
//! both. If `n` bytes were lost after the last good chunk, the number of the first complete chunk is about `n / 16400`
//! higher, and its position is within the next 16400 bytes. If `n` bytes were inserted, it is the next number, `n`
//! bytes later.

use std::ops::Range;

use super::grid::{STRIDE, Work, is_blank, size, unsigned};
use crate::error::Result;
use crate::format::SEALED_CHUNK_LEN;

/// Number of candidates in one task, which is also the number of bytes in one read.
const BLOCK: i64 = 1024;
const SPAN: i64 = 1024 * 1024;
/// Number of blocks before the results are checked. Near shifts come first.
const SEGMENT: usize = 64;

/// A gap: chunks that are not found yet, between two that are.
#[derive(Debug, Clone)]
pub(super) struct Gap {
    /// The first missing chunk.
    pub(super) first: i64,
    /// The next chunk that was found. `None` at the file's end.
    pub(super) end: Option<i64>,
    /// The bytes between the two chunks.
    pub(super) bytes: Range<i64>,
    /// The shift before the gap.
    pub(super) left: i64,
    /// The shift after the gap.
    pub(super) right: Option<i64>,
}

impl Gap {
    /// A number that no chunk in the gap can have. At the file's end the number of chunks is not known, so it follows
    /// from the number of bytes.
    fn end_of_grid(&self, work: &Work<'_>, shift: i64) -> i64 {
        let by_bytes = (self.bytes.end - work.place(0, shift)).div_euclid(STRIDE);
        self.end.map_or(by_bytes, |end| end.min(by_bytes))
    }

    /// The chunks on the grid of `shift` that are completely inside the gap.
    pub(super) fn on_grid(&self, work: &Work<'_>, shift: i64) -> Range<i64> {
        let from = ceil_div(self.bytes.start - work.place(0, shift), STRIDE).max(self.first);
        from..self.end_of_grid(work, shift).max(from)
    }

    /// The depths for which there is space.
    fn depths(&self, which: Depths) -> impl Iterator<Item = i64> {
        let chunks = ((self.bytes.end - self.bytes.start) / STRIDE).max(1);
        let near = if self.end.is_some_and(|end| end - self.first <= 64) { 64 } else { 8 };
        let depths: Vec<i64> = match which {
            Depths::Near => [1, 0].into_iter().chain(2..near).chain((3..40).map(|power| (1 << power) + 1)).collect(),
            // If there is space for only one chunk, it is the first.
            Depths::First => vec![if chunks == 1 { 0 } else { 1 }, 2],
            Depths::Far => (1..20).map(|power| 1 << (2 * power)).collect(),
        };
        depths.into_iter().filter(move |depth| *depth < chunks)
    }

    /// Whether bytes must have been lost or inserted here. If not, the bytes after the gap are at the expected
    /// position.
    pub(super) fn is_shifted(&self) -> bool {
        self.right != Some(self.left)
    }

    /// Whether a complete chunk can be off the grids of both sides. If the bytes after the gap are at the expected
    /// position, as many bytes were lost as inserted, one before that chunk and the other after it. That needs space
    /// for three chunks.
    pub(super) fn is_worth_a_search(&self) -> bool {
        let has_room = self.bytes.end - self.bytes.start >= STRIDE;
        self.end.is_none_or(|end| has_room && (self.is_shifted() || end - self.first >= 3))
    }
}

fn ceil_div(a: i64, b: i64) -> i64 {
    -(-a).div_euclid(b)
}

/// How many chunks into a gap a shift is tried. After short damage, the first complete chunk is enough. If whole
/// regions are bad, a chunk after them is needed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Depths {
    /// Each of the first few chunks, and each chunk of a short gap, which may have only one complete chunk. After that,
    /// steps that become larger.
    Near,
    /// The first chunks that can be complete after any damage.
    First,
    /// From there on, in large steps.
    Far,
}

/// A chunk that authenticates: its number and its shift.
pub(super) type Hit = (i64, i64);

/// Candidates `numbers` of a step: shifts of `sign * number * step` relative to the left side.
#[derive(Clone)]
struct Block {
    numbers: Range<i64>,
    step: i64,
}

impl Work<'_> {
    /// Tries the known shifts of both sides, at increasing depths.
    pub(super) fn search_grid(&self, gap: &Gap) -> Option<Hit> {
        let mut scratch = vec![0; SEALED_CHUNK_LEN];
        let mut try_one = |index: i64, shift: i64| {
            let place = self.place(index, shift);
            self.input.read(&mut scratch, unsigned(place));
            self.try_open(index, place, &mut scratch).then_some((index, shift))
        };
        gap.depths(Depths::Near).find_map(|depth| {
            let left = gap.on_grid(self, gap.left);
            let from_left = Some(left.start + depth).filter(|index| left.contains(index));
            let right = gap.right.map(|shift| (gap.on_grid(self, shift), shift));
            let from_right = right.and_then(|(grid, shift)| {
                Some(grid.end - 1 - depth).filter(|index| grid.contains(index)).map(|index| (index, shift))
            });
            let hit = from_left.and_then(|index| try_one(index, gap.left));
            hit.or_else(|| from_right.and_then(|(index, shift)| try_one(index, shift)))
        })
    }

    /// Tries every chunk of the gap on the grids of both sides.
    pub(super) fn search_whole_grid(&self, gap: &Gap) -> Result<Option<Hit>> {
        let shifts = [Some(gap.left), gap.right.filter(|right| *right != gap.left)];
        for shift in shifts.into_iter().flatten() {
            // The complete undamaged grid was tried before the search.
            let mut grid = if shift == 0 { 0..0 } else { gap.on_grid(self, shift) };
            while !grid.is_empty() && !self.is_spent() {
                let to = grid.end.min(grid.start + 4096);
                let runs = self.sweep(grid.start..to, shift, &crate::engine::Unobserved)?;
                if let Some(run) = runs.first() {
                    return Ok(Some((run.first, shift)));
                }
                grid.start = to;
            }
        }
        Ok(None)
    }

    /// Tries shifts by multiples of `step` bytes, up to `reach` in both directions, at `depths` of the gap.
    pub(super) fn search_shifts(&self, gap: &Gap, step: i64, reach: i64, depths: Depths) -> Option<Hit> {
        gap.depths(depths).find_map(|depth| {
            let blocks = self.blocks(gap, depth, step, reach);
            let mut segments = blocks.chunks(SEGMENT);
            segments.find_map(|segment| self.crew.find(segment, |block| self.try_block(gap, depth, block)))
        })
    }

    /// The candidate for a shift, `depth` chunks after the first one that can be complete: its number and its position.
    fn candidate(&self, gap: &Gap, depth: i64, shift: i64) -> Option<(i64, i64)> {
        let first_whole = ceil_div(gap.bytes.start - self.place(0, shift), STRIDE).max(gap.first);
        let index = first_whole + depth;
        let place = self.place(index, shift);
        (place + STRIDE <= gap.bytes.end && gap.end.is_none_or(|end| index < end)).then_some((index, place))
    }

    /// The blocks of candidates for which the gap has space. Near shifts come first, and the two signs alternate.
    fn blocks(&self, gap: &Gap, depth: i64, step: i64, reach: i64) -> Vec<Block> {
        let room = gap.bytes.end - STRIDE - (self.place(gap.first + depth, gap.left));
        let put_in = room.clamp(0, reach) / step;
        let lost = gap.end.map_or(reach, |end| {
            let least_shift = gap.bytes.start - self.place(end - 1 - depth, 0);
            (gap.left - least_shift).clamp(0, reach)
        }) / step;
        let mut blocks = Vec::new();
        let mut from = 1;
        while from <= put_in.max(lost) {
            let to = from + BLOCK.min(SPAN / step).max(1);
            for (most, step) in [(lost, -step), (put_in, step)] {
                let numbers = from..to.min(most + 1);
                if !numbers.is_empty() {
                    blocks.push(Block { numbers, step });
                }
            }
            from = to;
        }
        blocks
    }

    fn try_block(&self, gap: &Gap, depth: i64, block: &Block) -> Option<Hit> {
        let candidates = || {
            let shifts = block.numbers.clone().map(|number| gap.left + number * block.step);
            shifts.filter_map(|shift| Some((shift, self.candidate(gap, depth, shift)?)))
        };
        let places = || candidates().map(|(_, (_, place))| place);
        let (low, high) = (places().min()?, places().max()? + STRIDE);
        if self.is_spent() || self.input.is_hole(unsigned(low)..unsigned(high)) {
            return None;
        }
        let mut bytes = vec![0; size(high - low)];
        self.input.read(&mut bytes, unsigned(low));
        let mut scratch = vec![0; SEALED_CHUNK_LEN];
        let mut tried = candidates().map(|(shift, (index, place))| {
            let sealed = &bytes[size(place - low)..][..SEALED_CHUNK_LEN];
            if is_blank(sealed) {
                return None;
            }
            scratch.copy_from_slice(sealed);
            self.try_open(index, place, &mut scratch).then_some((index, shift))
        });
        tried.find_map(|hit| hit)
    }
}
