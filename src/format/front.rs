//! The front of a file: everything that deciding on a header may look at (spec 7).

use std::ops::Range;

use super::bank::MAGIC;
use super::layout::MIN_PAYLOAD;

/// A reader never takes more than this of a file before it has decided on the header.
pub const FRONT_LEN: usize = 2 * 65_536 + MIN_PAYLOAD;
/// The places where the magic may show: bank 0, and bank 1 behind a bank of each length.
pub(crate) const PLACES: [usize; 6] = [0, 4096, 8192, 16_384, 32_768, 65_536];

/// The first [`FRONT_LEN`] bytes of a file, as far as it has them, in private memory.
///
/// Parts that could not be read are known, and count as damaged.
#[derive(Debug, Clone, Default)]
pub struct Front {
    bytes: Vec<u8>,
    unreadable: Vec<Range<usize>>,
}

impl Front {
    /// From bytes that were all read. What stands behind [`FRONT_LEN`] is cut off.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self::with_unreadable(bytes, Vec::new())
    }

    /// From bytes of which the ranges in `unreadable` (filled with anything) could not be read.
    #[must_use]
    pub fn with_unreadable(mut bytes: Vec<u8>, unreadable: Vec<Range<usize>>) -> Self {
        bytes.truncate(FRONT_LEN);
        Self { bytes, unreadable }
    }

    /// The bytes there are. Fewer than [`FRONT_LEN`] mean that the file ends here.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether all of `range` is there and was read.
    #[must_use]
    pub fn is_readable(&self, range: &Range<usize>) -> bool {
        range.end <= self.bytes.len()
            && !self.unreadable.iter().any(|hole| hole.start < range.end && range.start < hole.end)
    }

    /// The readable bytes of `range`, or `None` where the file ends in it or a part of it could not be read.
    #[must_use]
    pub fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        self.is_readable(&range).then(|| &self.bytes[range])
    }

    /// Whether the magic stands at `place`. A place beyond the end, or unreadable, holds none.
    pub(super) fn has_magic(&self, place: usize) -> bool {
        self.get(place..place + MAGIC.len()).is_some_and(|bytes| bytes == MAGIC)
    }

    /// From `place` up to the first byte that could not be read.
    pub(super) fn readable_from(&self, place: usize) -> &[u8] {
        let end = self.unreadable.iter().filter(|hole| hole.end > place).map(|hole| hole.start.max(place)).min();
        let end = end.unwrap_or(self.bytes.len()).min(self.bytes.len());
        self.bytes.get(place..end).unwrap_or_default()
    }
}
