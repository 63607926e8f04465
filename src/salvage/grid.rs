//! Opens chunks at the positions of a grid, and writes each at its own offset of the output.
//!
//! ```text
//! grid of a shift: chunk k at start + 16400 * k + shift        (shift 0: an undamaged file)
//! ```

use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::crew::Crew;
use super::input::Input;
use crate::container::Layout;
use crate::engine::Observer;
use crate::error::{Error, Result};
use crate::format::{CHUNK_LEN, SEALED_CHUNK_LEN, TAG_LEN};
use crate::io::write_all_at;
use crate::payload::{ChunkIndex, ChunkOpener};

/// Ciphertext bytes of a full chunk, as a signed number.
pub(super) const STRIDE: i64 = SEALED_CHUNK_LEN as i64;
/// Number of chunks in one read of a task: 1 MiB.
const WINDOW: i64 = 64;
/// Number of windows before the results are checked.
const BATCH: i64 = 64;
/// An extension begins with batches of this many chunks, and doubles them up to this limit.
const EXTENSION: Range<i64> = WINDOW..WINDOW * BATCH;

/// Full chunks `first..end` that authenticate on the grid of `shift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: i64,
    pub(super) end: i64,
    pub(super) shift: i64,
}

/// Converts a position or number to an unsigned one. Positions are never negative here.
pub(super) fn unsigned(place: i64) -> u64 {
    u64::try_from(place).unwrap_or(0)
}

/// Converts a length to an index.
pub(super) fn size(len: i64) -> usize {
    usize::try_from(len).unwrap_or(0)
}

/// Data that all tasks share.
pub(super) struct Work<'a> {
    pub(super) input: Input<'a>,
    pub(super) out: &'a File,
    pub(super) crew: Crew,
    pub(super) opener: ChunkOpener,
    /// Of the file as it was before the damage, at the place where its header was found.
    pub(super) layout: Layout,
    /// Trials that failed, other than on the undamaged grid.
    pub(super) failed: AtomicU64,
    /// After this many failed attempts, the search ends.
    pub(super) limit: u64,
}

impl Work<'_> {
    /// The position of chunk `index` on the grid of `shift`.
    pub(super) fn place(&self, index: i64, shift: i64) -> i64 {
        self.layout.moved_chunk_at(index, shift)
    }

    /// The input's length.
    pub(super) fn len(&self) -> i64 {
        i64::try_from(self.input.len()).unwrap_or(i64::MAX)
    }

    /// Writes the plaintext of chunks from number `index` on at its offset.
    pub(super) fn write(&self, plaintext: &[u8], index: i64) -> Result<()> {
        let written = write_all_at(self.out, plaintext, unsigned(index) * CHUNK_LEN as u64);
        written.map_err(|error| Error::io("writing the output", error))
    }

    /// Whether the search has used all its attempts.
    pub(super) fn is_spent(&self) -> bool {
        self.failed.load(Ordering::Relaxed) >= self.limit
    }

    /// Whether `sealed`, which was read from `place`, is chunk `index`. If so, its plaintext is at the front of
    /// `sealed`.
    ///
    /// A negative answer counts as one attempt, or as none if the bytes cannot be a chunk.
    pub(super) fn try_open(&self, index: i64, place: i64, sealed: &mut [u8]) -> bool {
        let range = unsigned(place)..unsigned(place) + sealed.len() as u64;
        let Some(index) = u64::try_from(index).ok().and_then(ChunkIndex::new) else { return false };
        if is_blank(sealed) || range.end > self.input.len() || !self.input.is_readable(range) {
            return false;
        }
        let opened = self.opener.try_open(index, sealed);
        if !opened {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        opened
    }

    /// Opens every chunk of `indexes` on the grid of `shift`, and writes those that authenticate.
    pub(super) fn sweep(&self, indexes: Range<i64>, shift: i64, observer: &dyn Observer) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        let mut from = indexes.start;
        while from < indexes.end {
            let written = indexes.end.min(self.first_written(from, shift));
            if written > from {
                observer.advanced(unsigned((written - from) * STRIDE));
                from = written;
                continue;
            }
            let end = indexes.end.min(from + BATCH * WINDOW);
            let windows: Vec<i64> = (0..(end - from + WINDOW - 1) / WINDOW).collect();
            let found = self.crew.map(&windows, |buffer, window| {
                let first = from + window * WINDOW;
                let indexes = first..end.min(first + WINDOW);
                let bytes = unsigned((indexes.end - indexes.start) * STRIDE);
                let runs = self.sweep_window(indexes, shift, buffer);
                observer.advanced(bytes);
                runs
            });
            for run in found {
                run?.into_iter().for_each(|run| append(&mut runs, run));
            }
            from = end;
        }
        Ok(runs)
    }

    /// The first chunk at or after `from`, on the grid of `shift`, that is not completely in a hole of the file.
    ///
    /// A hole reads as zeros, and the search skips zeros ([`is_blank`]). So skipping holes loses no chunk. A chunk with
    /// at least one written byte is not skipped.
    fn first_written(&self, from: i64, shift: i64) -> i64 {
        let data = i64::try_from(self.input.data_from(unsigned(self.place(from, shift)))).unwrap_or(i64::MAX);
        from.max((data - self.place(0, shift)).div_euclid(STRIDE))
    }

    fn sweep_window(&self, mut indexes: Range<i64>, shift: i64, buffer: &mut Vec<u8>) -> Result<Vec<Run>> {
        indexes.start = indexes.end.min(self.first_written(indexes.start, shift));
        if indexes.is_empty() {
            return Ok(Vec::new());
        }
        buffer.resize(size(indexes.end - indexes.start) * SEALED_CHUNK_LEN, 0);
        self.input.read(buffer, unsigned(self.place(indexes.start, shift)));
        let mut runs: Vec<Run> = Vec::new();
        for (index, number) in indexes.clone().zip(0..) {
            let sealed = number * SEALED_CHUNK_LEN..(number + 1) * SEALED_CHUNK_LEN;
            if self.try_open(index, self.place(index, shift), &mut buffer[sealed.clone()]) {
                // The plaintexts are moved together, so that a run is written in one call.
                buffer.copy_within(sealed.start..sealed.end - TAG_LEN, number * CHUNK_LEN);
                append(&mut runs, Run { first: index, end: index + 1, shift });
            }
        }
        for run in &runs {
            let plain = size(run.first - indexes.start) * CHUNK_LEN..size(run.end - indexes.start) * CHUNK_LEN;
            self.write(&buffer[plain], run.first)?;
        }
        Ok(runs)
    }

    /// Starts at chunk `hit`, which authenticates on the grid of `shift`. Opens its neighbours on both sides, within
    /// `bounds`, until no chunk of a batch authenticates.
    pub(super) fn extend(&self, hit: i64, shift: i64, bounds: &Range<i64>) -> Result<Vec<Run>> {
        let unobserved = crate::engine::Unobserved;
        let (mut backward, mut to, mut batch) = (Vec::new(), hit, EXTENSION.start);
        while to > bounds.start {
            let from = bounds.start.max(to - batch);
            let found = self.sweep(from..to, shift, &unobserved)?;
            if found.is_empty() {
                break;
            }
            backward.push(found);
            (to, batch) = (from, EXTENSION.end.min(batch * 2));
        }
        let mut runs = Vec::new();
        backward.into_iter().rev().flatten().for_each(|run| append(&mut runs, run));
        let (mut from, mut batch) = (hit, EXTENSION.start);
        while from < bounds.end {
            let to = bounds.end.min(from + batch);
            let found = self.sweep(from..to, shift, &unobserved)?;
            if found.is_empty() {
                break;
            }
            found.into_iter().for_each(|run| append(&mut runs, run));
            (from, batch) = (to, EXTENSION.end.min(batch * 2));
        }
        Ok(runs)
    }
}

/// Appends a run, or extends the last one.
pub(super) fn append(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut().filter(|last| last.end == run.first && last.shift == run.shift) {
        Some(last) => last.end = run.end,
        None => runs.push(run),
    }
}

/// Whether the first or the last 16 bytes are all equal. Such bytes were zeroed or never written, and are not
/// ciphertext.
///
/// A real chunk looks like this with a probability of 2^-119, and would then be lost.
pub(super) fn is_blank(sealed: &[u8]) -> bool {
    let (Some(head), Some(tail)) = (sealed.first_chunk::<TAG_LEN>(), sealed.last_chunk::<TAG_LEN>()) else {
        return true;
    };
    [head, tail].into_iter().any(|bytes| bytes.iter().all(|byte| byte == &bytes[0]))
}
