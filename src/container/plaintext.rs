//! Any range of a payload whose length was authenticated (spec 14).

use std::ops::Range;

use super::payload::Payload;
use crate::error::{Error, Result, Tampered};
use crate::format::{CHUNK_LEN, SEALED_CHUNK_LEN, TAG_LEN};
use crate::payload::ChunkIndex;

/// The plaintext of a file with an authenticated length. Offsets are those of the plaintext.
pub struct Plaintext {
    payload: Payload,
    len: u64,
}

impl Plaintext {
    pub(super) fn new(payload: Payload, len: u64) -> Self {
        Self { payload, len }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the plaintext is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of the chunk with byte `position`. For a position at or after the end, the number of the last chunk.
    #[must_use]
    pub fn chunk_of(&self, position: u64) -> ChunkIndex {
        // The length is below the limit, so the index exists.
        ChunkIndex::new(position.min(self.len) / CHUNK_LEN as u64).unwrap_or(ChunkIndex::FIRST)
    }

    /// Length of chunk `index` in the file, with its tag. Zero after the last chunk.
    #[must_use]
    pub fn sealed_len(&self, index: ChunkIndex) -> usize {
        match self.len.checked_sub(index.plaintext_offset()) {
            Some(rest) => usize::try_from(rest).unwrap_or(usize::MAX).min(CHUNK_LEN) + TAG_LEN,
            None => 0,
        }
    }

    /// The bytes of the file that must be fetched to open `plain`. They are complete chunks. The range is empty if
    /// `plain` is empty or begins at or after the end.
    #[must_use]
    pub fn sealed_range(&self, plain: Range<u64>) -> Range<u64> {
        let end = plain.end.min(self.len);
        let first = self.chunk_of(plain.start);
        let start = self.payload.chunk_at(first);
        if plain.start >= end {
            return start..start;
        }
        let last = self.chunk_of(end - 1);
        start..self.payload.chunk_at(last) + self.sealed_len(last) as u64
    }

    /// Opens the bytes `plain` of the plaintext. Bytes after the end are left out.
    ///
    /// `sealed` has the bytes of [`sealed_range`](Self::sealed_range)`(plain)`, in private memory.
    ///
    /// # Errors
    /// [`Tampered`](Error::Tampered) if a chunk does not authenticate at its position, or if `sealed` is too short. No
    /// bytes are returned then. [`ApiMisuse`](Error::ApiMisuse) if `sealed` is too long.
    pub fn open_range(&self, plain: Range<u64>, sealed: &[u8]) -> Result<Vec<u8>> {
        let fetched = self.sealed_range(plain.clone());
        if sealed.len() as u64 > fetched.end - fetched.start {
            return Err(Error::ApiMisuse("more bytes than the range has"));
        }
        let first = self.chunk_of(plain.start);
        let mut bytes = sealed.to_vec();
        self.open_chunks(first, &mut bytes)?;
        let skip = usize::try_from(plain.start.min(self.len) - first.plaintext_offset()).unwrap_or(usize::MAX);
        let wanted = usize::try_from(plain.end.min(self.len).saturating_sub(plain.start)).unwrap_or(usize::MAX);
        if bytes.len() < skip.saturating_add(wanted) && wanted > 0 {
            let offset = first.plaintext_offset() + bytes.len() as u64;
            zeroize::Zeroize::zeroize(&mut bytes);
            return Err(Tampered::Truncated { offset }.into());
        }
        bytes.truncate(skip.saturating_add(wanted));
        bytes.drain(..skip.min(bytes.len()));
        Ok(bytes)
    }

    /// Opens consecutive chunks in place. The first one has number `first`. On success, `bytes` has their plaintext.
    ///
    /// # Errors
    /// [`Tampered`]. `bytes` is then wiped and empty.
    pub fn open_chunks(&self, first: ChunkIndex, bytes: &mut Vec<u8>) -> Result<(), Tampered> {
        match self.open_all(first, bytes) {
            Ok(plain) => {
                bytes.truncate(plain);
                Ok(())
            }
            Err(tampered) => {
                zeroize::Zeroize::zeroize(bytes);
                Err(tampered)
            }
        }
    }

    fn open_all(&self, first: ChunkIndex, bytes: &mut [u8]) -> Result<usize, Tampered> {
        let (mut index, mut from, mut made) = (Some(first), 0, 0);
        while from < bytes.len() {
            let at = index.ok_or(Tampered::TooLong)?;
            let to = bytes.len().min(from + SEALED_CHUNK_LEN);
            let plain = self.open_chunk(at, &mut bytes[from..to])?.len();
            bytes.copy_within(from..from + plain, made);
            (index, from, made) = (at.next(), to, made + plain);
        }
        Ok(made)
    }

    /// Opens chunk `index` in place and returns its plaintext. A chunk with the wrong length for this index is refused,
    /// because only the last chunk may be short.
    ///
    /// # Errors
    /// [`Tampered`]. `sealed` is then wiped.
    pub fn open_chunk<'a>(&self, index: ChunkIndex, sealed: &'a mut [u8]) -> Result<&'a mut [u8], Tampered> {
        if sealed.len() != self.sealed_len(index) {
            zeroize::Zeroize::zeroize(sealed);
            return Err(Tampered::Truncated { offset: index.plaintext_offset() });
        }
        self.payload.opener().open(index, sealed)
    }

    /// Opens chunk `index` from `sealed` into the front of `out`, and returns the length of its plaintext.
    ///
    /// # Errors
    /// [`Tampered`]. `out` then has no plaintext of this chunk.
    ///
    /// # Panics
    /// If `out` is shorter than the plaintext.
    pub fn open_chunk_into(&self, index: ChunkIndex, sealed: &[u8], out: &mut [u8]) -> Result<usize, Tampered> {
        if sealed.len() != self.sealed_len(index) {
            return Err(Tampered::Truncated { offset: index.plaintext_offset() });
        }
        self.payload.opener().open_into(index, sealed, out)
    }

    /// Where chunk `index` begins in the file, in bytes.
    #[must_use]
    pub fn chunk_at(&self, index: ChunkIndex) -> u64 {
        self.payload.chunk_at(index)
    }
}
