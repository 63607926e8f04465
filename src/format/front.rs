//! The front of a file: the only part that is used to decide on a header (spec 7).

use std::ops::Range;

use super::bank::MAGIC;
use super::layout::MIN_PAYLOAD;

/// A reader never reads more than this of a file before it has decided on the header.
pub const FRONT_LEN: usize = 2 * 65_536 + MIN_PAYLOAD;
/// The possible positions of the magic: bank 0, and bank 1 after a bank of each length.
pub(crate) const PLACES: [usize; 6] = [0, 4096, 8192, 16_384, 32_768, 65_536];

/// The first [`FRONT_LEN`] bytes of a file, or fewer if the file is shorter, in private memory.
///
/// It records which parts could not be read. These parts count as damaged.
#[derive(Debug, Clone, Default)]
pub struct Front {
    bytes: Vec<u8>,
    unreadable: Vec<Range<usize>>,
}

impl Front {
    /// Creates it from bytes that were all read. Bytes after [`FRONT_LEN`] are dropped.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self::with_unreadable(bytes, Vec::new())
    }

    /// Creates it from bytes of which the ranges in `unreadable` could not be read. The content of these ranges is
    /// ignored.
    #[must_use]
    pub fn with_unreadable(mut bytes: Vec<u8>, unreadable: Vec<Range<usize>>) -> Self {
        bytes.truncate(FRONT_LEN);
        Self { bytes, unreadable }
    }

    /// The bytes. If there are fewer than [`FRONT_LEN`], the file ends here.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether all of `range` exists and was read.
    #[must_use]
    pub fn is_readable(&self, range: &Range<usize>) -> bool {
        range.end <= self.bytes.len()
            && !self.unreadable.iter().any(|hole| hole.start < range.end && range.start < hole.end)
    }

    /// The bytes of `range`. `None` if the file ends in it or a part of it could not be read.
    #[must_use]
    pub fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        self.is_readable(&range).then(|| &self.bytes[range])
    }

    /// Whether the magic is at `place`. `false` if `place` is after the end or could not be read.
    pub(super) fn has_magic(&self, place: usize) -> bool {
        self.get(place..place + MAGIC.len()).is_some_and(|bytes| bytes == MAGIC)
    }

    /// The bytes from `place` up to the first byte that could not be read.
    pub(super) fn readable_from(&self, place: usize) -> &[u8] {
        let end = self.unreadable.iter().filter(|hole| hole.end > place).map(|hole| hole.start.max(place)).min();
        let end = end.unwrap_or(self.bytes.len()).min(self.bytes.len());
        self.bytes.get(place..end).unwrap_or_default()
    }
}
