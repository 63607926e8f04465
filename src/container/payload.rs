//! A payload that can be opened: its keys, and its position in a file.

use super::layout::{End, Layout};
use super::plaintext::Plaintext;
use crate::error::{Result, Tampered};
use crate::format::{CHUNK_LEN, TAG_LEN};
use crate::payload::{ChunkIndex, ChunkOpener};

/// A payload whose commitment was checked, and its position in a file.
pub struct Payload {
    opener: ChunkOpener,
    layout: Layout,
}

impl Payload {
    /// Creates it for a payload that begins at byte `start` of its file.
    #[must_use]
    pub fn new(opener: ChunkOpener, start: u64) -> Self {
        Self { opener, layout: Layout::new(start) }
    }

    /// Opens single chunks.
    #[must_use]
    pub fn opener(&self) -> &ChunkOpener {
        &self.opener
    }

    /// The opener only.
    #[must_use]
    pub fn into_opener(self) -> ChunkOpener {
        self.opener
    }

    /// Where chunk `index` begins in the file, in bytes.
    #[must_use]
    pub fn chunk_at(&self, index: ChunkIndex) -> u64 {
        self.layout.chunk_at(index)
    }

    /// Where the last chunk of a file of `file_len` bytes is.
    ///
    /// # Errors
    /// [`Tampered::Truncated`] for a length that no file can have. [`Tampered::TooLong`] above the limit.
    pub fn end(&self, file_len: u64) -> Result<End, Tampered> {
        self.layout.end(file_len)
    }

    /// Authenticates the file's length. `sealed` has the bytes of [`End::range`]. The length must not be used before
    /// this.
    ///
    /// # Errors
    /// [`Tampered`] if the last chunk does not authenticate at its position.
    pub fn with_end(self, end: &End, sealed: &[u8]) -> Result<Plaintext, Tampered> {
        let mut last = sealed.to_vec();
        // The caller may have changed the fields of `end`. They are checked: for example, no file ends with a full
        // chunk.
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
