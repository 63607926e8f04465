//! Reads a medium that fails in places. It reads around bad blocks, and never reads a bad block twice.

use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use crate::error::{Error, Result};
use crate::io::{ReadAt, read_full_at};

/// A large read that fails is repeated in pieces of these sizes, in bytes: a page, then a sector.
const PIECES: [u64; 2] = [4096, 512];

/// The damaged file, and its ranges that are known to be unreadable.
pub(super) struct Input<'a> {
    source: &'a dyn ReadAt,
    len: u64,
    /// In ascending order, and not overlapping.
    unreadable: RwLock<Vec<Range<u64>>>,
}

impl<'a> Input<'a> {
    pub(super) fn new(source: &'a dyn ReadAt) -> Result<Self> {
        let len = source.size().map_err(|error| Error::io("finding the end of the input", error))?;
        Ok(Self { source, len, unreadable: RwLock::default() })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The ranges that could not be read so far.
    pub(super) fn unreadable(&self) -> Vec<Range<u64>> {
        self.unreadable.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether no part of `range` is known to be unreadable.
    pub(super) fn is_readable(&self, range: Range<u64>) -> bool {
        let unreadable = self.unreadable.read().unwrap_or_else(PoisonError::into_inner);
        let next = unreadable.partition_point(|bad| bad.end <= range.start);
        unreadable.get(next).is_none_or(|bad| bad.start >= range.end)
    }

    /// The position of the first byte at or after `position` that may have been written. `u64::MAX` if there is none.
    pub(super) fn data_from(&self, position: u64) -> u64 {
        match self.source.data_from(position) {
            // An answer before `position` is wrong and is ignored.
            Ok(data) => data.unwrap_or(u64::MAX).max(position),
            Err(_) => position,
        }
    }

    /// Whether nothing in `range` was ever written.
    pub(super) fn is_hole(&self, range: Range<u64>) -> bool {
        self.data_from(range.start) >= range.end
    }

    /// Fills `buffer` from `position` on. Bytes that cannot be read or are after the end become zeros.
    pub(super) fn read(&self, buffer: &mut [u8], position: u64) {
        let end = position + buffer.len() as u64;
        if self.is_readable(position..end) && self.try_read(buffer, position) {
            return;
        }
        self.read_around(buffer, position, &PIECES);
    }

    fn try_read(&self, buffer: &mut [u8], position: u64) -> bool {
        let within = self.len.saturating_sub(position).min(buffer.len() as u64);
        let (buffer, behind) = buffer.split_at_mut(usize::try_from(within).unwrap_or(usize::MAX));
        behind.fill(0);
        let read = read_full_at(self.source, buffer, position);
        read.is_ok_and(|read| read == buffer.len())
    }

    /// Repeats a read in pieces of the first size. The pieces that fail are repeated in pieces of the next size.
    fn read_around(&self, mut buffer: &mut [u8], mut position: u64, sizes: &[u64]) {
        let Some((size, smaller)) = sizes.split_first() else {
            buffer.fill(0);
            return self.mark(position..position + buffer.len() as u64);
        };
        while !buffer.is_empty() {
            let until_boundary = usize::try_from(size - position % size).unwrap_or(usize::MAX);
            let (piece, rest) = buffer.split_at_mut(until_boundary.min(buffer.len()));
            let end = position + piece.len() as u64;
            if self.is_known_bad(position..end) {
                piece.fill(0);
            } else if !(self.is_readable(position..end) && self.try_read(piece, position)) {
                self.read_around(piece, position, smaller);
            }
            (buffer, position) = (rest, end);
        }
    }

    fn is_known_bad(&self, range: Range<u64>) -> bool {
        let unreadable = self.unreadable.read().unwrap_or_else(PoisonError::into_inner);
        let next = unreadable.partition_point(|bad| bad.end <= range.start);
        unreadable.get(next).is_some_and(|bad| bad.start <= range.start && range.end <= bad.end)
    }

    fn mark(&self, range: Range<u64>) {
        let range = range.start..range.end.min(self.len);
        if range.is_empty() {
            return;
        }
        let mut unreadable = self.unreadable.write().unwrap_or_else(PoisonError::into_inner);
        let from = unreadable.partition_point(|bad| bad.end < range.start);
        let to = unreadable.partition_point(|bad| bad.start <= range.end);
        let merged = unreadable[from..to].iter().fold(range, |all, bad| all.start.min(bad.start)..all.end.max(bad.end));
        unreadable.splice(from..to, [merged]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Bad(Range<u64>, AtomicU64);
    impl ReadAt for Bad {
        fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
            if position < self.0.end && self.0.start < position + buffer.len() as u64 {
                self.1.fetch_add(1, Ordering::Relaxed);
                return Err(io::Error::other("bad sector"));
            }
            buffer.fill(7);
            Ok(buffer.len().min(1000))
        }
        fn size(&self) -> io::Result<u64> {
            Ok(100_000)
        }
    }

    #[test]
    fn reads_around_and_never_into_a_bad_block_again() {
        let source = Bad(10_000..10_001, AtomicU64::new(0));
        let input = Input::new(&source).unwrap();
        let mut buffer = vec![1; 60_000];
        input.read(&mut buffer, 50_000);
        assert!(buffer[..50_000].iter().all(|byte| *byte == 7) && buffer[50_000..].iter().all(|byte| *byte == 0));
        input.read(&mut buffer, 5);
        assert_eq!(input.unreadable(), std::iter::once(9728..10_240).collect::<Vec<_>>());
        assert!(buffer[..9723].iter().chain(&buffer[10_235..]).all(|byte| *byte == 7));
        assert!(buffer[9723..10_235].iter().all(|byte| *byte == 0));
        let errors = source.1.load(Ordering::Relaxed);
        input.read(&mut buffer, 0);
        assert_eq!(source.1.load(Ordering::Relaxed), errors);
        assert!(!input.is_readable(10_239..10_241) && input.is_readable(10_240..20_000));
    }
}
