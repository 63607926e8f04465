//! Where the chunks of a payload stand in its file (spec 11.4).
//!
//! ```text
//! file | header ... | salt, commitment | chunk 0 | chunk 1 | ... | last chunk |
//!                   ^ start            ^ chunk_at(0)             ^ End::range ^
//! ```

use std::ops::Range;

use super::plaintext::Plaintext;
use crate::error::{Result, Tampered};
use crate::format::{CHUNK_LEN, TAG_LEN, chunk_offset, plaintext_len};
use crate::payload::{ChunkIndex, ChunkOpener};

/// A payload whose commitment was checked, at its place in a file.
pub struct Payload {
    opener: ChunkOpener,
    start: u64,
}

/// Where a file's last chunk stands. Nothing of it is authenticated yet.
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

impl Payload {
    /// The payload begins at byte `start` of its file.
    #[must_use]
    pub fn new(opener: ChunkOpener, start: u64) -> Self {
        Self { opener, start }
    }

    /// Opens single chunks.
    #[must_use]
    pub fn opener(&self) -> &ChunkOpener {
        &self.opener
    }

    /// The opener alone.
    #[must_use]
    pub fn into_opener(self) -> ChunkOpener {
        self.opener
    }

    /// Where chunk `index` begins in the file, in bytes.
    #[must_use]
    pub fn chunk_at(&self, index: ChunkIndex) -> u64 {
        self.start + chunk_offset(index.get())
    }

    /// Where the last chunk of a file of `file_len` bytes stands.
    ///
    /// # Errors
    /// [`Tampered::Truncated`] for a length that no file has; [`Tampered::TooLong`] above the limit.
    pub fn end(&self, file_len: u64) -> Result<End, Tampered> {
        let plaintext_len = plaintext_len(file_len.saturating_sub(self.start))?;
        let index = ChunkIndex::new(plaintext_len / CHUNK_LEN as u64).ok_or(Tampered::TooLong)?;
        Ok(End { range: self.chunk_at(index)..file_len, plaintext_len, index })
    }

    /// Authenticates the file's length: `sealed` are the bytes of [`End::range`]. Only then is the length believed.
    ///
    /// # Errors
    /// [`Tampered`] when the last chunk does not authenticate at its place.
    pub fn with_end(self, end: &End, sealed: &[u8]) -> Result<Plaintext, Tampered> {
        let mut last = sealed.to_vec();
        // What a caller has made of it counts for nothing: a full chunk, say, ends no file.
        let offset = end.index.plaintext_offset();
        let rest = end.plaintext_len.checked_sub(offset).filter(|rest| *rest < CHUNK_LEN as u64);
        if rest.is_none_or(|rest| last.len() as u64 != rest + TAG_LEN as u64) {
            return Err(Tampered::Truncated { offset });
        }
        self.opener.open(end.index, &mut last)?;
        zeroize::Zeroize::zeroize(&mut last);
        Ok(Plaintext::new(self, end.plaintext_len))
    }
}
