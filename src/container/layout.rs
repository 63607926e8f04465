//! Where the parts of a payload are in its file (spec 11.4). Only this module computes offsets.
//!
//! ```text
//! file | header ... | salt, commitment | chunk 0 | chunk 1 | ... | last chunk |
//!                   ^ prelude          ^ chunk_at(0)             ^ End::range ^
//! ```

use std::ops::Range;

use crate::error::{Error, Result, Tampered};
use crate::format::{
    CHUNK_LEN, Front, Header, MIN_PAYLOAD, PRELUDE_LEN, SEALED_CHUNK_LEN, chunk_offset, payload_len, plaintext_len,
};
use crate::payload::ChunkIndex;

/// The positions in a file whose payload begins at a known byte. No length from the file is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    start: u64,
}

/// Where a file's last chunk is. Nothing in it is authenticated yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct End {
    /// The last chunk's bytes in the file: at least 16, at most 16399.
    pub range: Range<u64>,
    /// Bytes of plaintext that the file claims to have.
    pub plaintext_len: u64,
    /// Number of the last chunk.
    pub index: ChunkIndex,
}

impl Layout {
    /// Layout of a payload that begins at byte `start` of its file.
    #[must_use]
    pub const fn new(start: u64) -> Self {
        Self { start }
    }

    /// Layout of the file with this header.
    #[must_use]
    pub fn of(header: &Header) -> Self {
        Self::new(header.payload_offset())
    }

    /// The position of salt and commitment, which are the payload's first bytes.
    #[must_use]
    pub fn prelude(&self) -> Range<u64> {
        self.start..self.start + PRELUDE_LEN as u64
    }

    /// Where chunk `index` begins in the file, in bytes.
    #[must_use]
    pub fn chunk_at(&self, index: ChunkIndex) -> u64 {
        self.start + chunk_offset(index.get())
    }

    /// Length of the payload in a file of `file_len` bytes.
    #[must_use]
    pub fn payload_len(&self, file_len: u64) -> u64 {
        file_len.saturating_sub(self.start)
    }

    /// Length of the complete file for a plaintext of `plaintext_len` bytes.
    ///
    /// # Errors
    /// [`Error::Limit`] above 4 PiB - 1 bytes.
    pub fn file_len(&self, plaintext_len: u64) -> Result<u64> {
        Ok(self.start + payload_len(plaintext_len)?)
    }

    /// Where the last chunk of a file of `file_len` bytes is.
    ///
    /// # Errors
    /// [`Tampered::Truncated`] for a length that no file can have. [`Tampered::TooLong`] above the limit.
    pub fn end(&self, file_len: u64) -> Result<End, Tampered> {
        let plaintext_len = plaintext_len(self.payload_len(file_len))?;
        let index = ChunkIndex::new(plaintext_len / CHUNK_LEN as u64).ok_or(Tampered::TooLong)?;
        Ok(End { range: self.chunk_at(index)..file_len, plaintext_len, index })
    }

    /// How many full chunks fit into a file of `file_len` bytes, even if it was truncated.
    #[must_use]
    pub fn full_chunks(&self, file_len: u64) -> u64 {
        file_len.saturating_sub(self.prelude().end) / SEALED_CHUNK_LEN as u64
    }

    /// Salt and commitment from the payload. `None` if they could not be read.
    ///
    /// `front` is the front of the file. The file has at least `file_len` bytes.
    ///
    /// # Errors
    /// [`Tampered::Truncated`] if the file is too short for a payload.
    pub(crate) fn carried<'a>(
        &self,
        front: &'a Front,
        file_len: u64,
    ) -> Result<Option<&'a [u8; PRELUDE_LEN]>, Tampered> {
        if self.payload_len(file_len) < MIN_PAYLOAD as u64 {
            return Err(Tampered::Truncated { offset: 0 });
        }
        Ok(self.prelude_in(front))
    }

    /// Salt and commitment from the payload. `None` if `front` does not have them or they could not be read.
    #[must_use]
    pub fn prelude_in<'a>(&self, front: &'a Front) -> Option<&'a [u8; PRELUDE_LEN]> {
        let Range { start, end } = self.prelude();
        let range = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
        front.get(range)?.try_into().ok()
    }

    /// What `front` holds of the payload.
    pub(crate) fn payload_in<'a>(&self, front: &'a Front) -> &'a [u8] {
        let from = usize::try_from(self.start).unwrap_or(usize::MAX);
        front.bytes().get(from..).unwrap_or_default()
    }

    /// Where a full chunk of number `index` would begin if all chunks had moved by `shift` bytes. Damage leaves numbers
    /// and places that no file has, so both are taken as they come.
    pub(crate) fn moved_chunk_at(&self, index: i64, shift: i64) -> i64 {
        let first = i64::try_from(self.prelude().end).unwrap_or(i64::MAX);
        first + index * SEALED_CHUNK_LEN as i64 + shift
    }

    /// What of the payload `front` holds from chunk 0 on.
    pub(crate) fn begun<'a>(&self, front: &'a Front) -> &'a [u8] {
        let from = usize::try_from(self.prelude().end).unwrap_or(usize::MAX);
        front.bytes().get(from..).unwrap_or_default()
    }
}

/// The payload's first 56 bytes. `front` is the front that contains the header.
///
/// # Errors
/// [`Tampered::Truncated`] if the file is too short for a payload. [`Error::Io`] if the bytes could
/// not be read.
pub(crate) fn prelude_of(front: &Front, header: &Header) -> Result<[u8; PRELUDE_LEN]> {
    let carried = Layout::of(header).carried(front, front.bytes().len() as u64)?;
    let unreadable = || Error::io("reading the payload's salt and commitment", std::io::Error::other("unreadable"));
    carried.copied().ok_or_else(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lengths_and_ends_agree(start in 8192..200_000_u64, len in 0..=crate::format::MAX_PLAINTEXT) {
            let layout = Layout::new(start);
            let file_len = layout.file_len(len).unwrap();
            let end = layout.end(file_len).unwrap();
            prop_assert_eq!((end.plaintext_len, end.range.end), (len, file_len));
            prop_assert_eq!(end.range.start, layout.chunk_at(end.index));
            prop_assert_eq!(layout.full_chunks(file_len), end.index.get());
            let index = i64::try_from(end.index.get()).unwrap();
            prop_assert_eq!(layout.moved_chunk_at(index, -7), i64::try_from(end.range.start).unwrap() - 7);
        }
    }

    #[test]
    fn a_file_that_ends_too_early_has_no_prelude() {
        let layout = Layout::new(8192);
        let front = Front::new(vec![7; 9000]);
        assert_eq!(layout.carried(&front, 8192 + 71), Err(Tampered::Truncated { offset: 0 }));
        assert_eq!(layout.carried(&front, 8192 + 72), Ok(Some(&[7; PRELUDE_LEN])));
        let hole = Front::with_unreadable(vec![7; 9000], std::iter::once(8200..8201).collect());
        assert_eq!(layout.carried(&hole, 9000), Ok(None));
        assert_eq!((layout.full_chunks(10), layout.payload_len(10)), (0, 0));
        assert_eq!((layout.payload_in(&front).len(), layout.begun(&front).len()), (808, 752));
        assert!(Layout::new(9001).payload_in(&front).is_empty());
    }
}
