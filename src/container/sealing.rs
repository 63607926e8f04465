//! Plaintext in, the bytes of a file out.

use super::layout::Layout;
use crate::envelope::{Envelope, InputSize};
use crate::error::{Error, Result};
use crate::format::{CHUNK_LEN, LARGE_INPUT, MAX_PLAINTEXT, TAG_LEN};
use crate::payload::ChunkIndex;

/// One file that is being sealed, from its first byte to its last.
///
/// No byte comes out until 4 MiB were pushed or [`finish`](Self::finish) is called, because the length of the header is
/// not decided before that. Without `finish`, the output is not a valid file.
pub struct Sealing {
    envelope: Envelope,
    /// Sealed bytes that wait for the header. `None` after the header was written.
    held: Option<Vec<u8>>,
    chunk: Vec<u8>,
    index: Option<ChunkIndex>,
    total: u64,
    failed: bool,
}

impl Sealing {
    /// Seals with the data key and the slots of `envelope`.
    #[must_use]
    pub fn new(envelope: Envelope) -> Self {
        let (held, chunk) = (Some(Vec::new()), Vec::with_capacity(CHUNK_LEN));
        Self { envelope, held, chunk, index: Some(ChunkIndex::FIRST), total: 0, failed: false }
    }

    /// Starts at another chunk: for tests near the limit.
    #[cfg(test)]
    pub(crate) fn starting_at(mut self, index: ChunkIndex) -> Self {
        self.index = Some(index);
        self
    }

    /// The file's header and slots, for a report.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Bytes of plaintext that were pushed.
    #[must_use]
    pub fn plaintext_len(&self) -> u64 {
        self.total
    }

    /// Takes `plaintext`, and appends the resulting bytes to `out`. It appends about as many bytes, or none yet.
    ///
    /// # Errors
    /// [`Error::Limit`] above 4 PiB - 1 bytes. An error is final.
    pub fn push(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.usable()?;
        let pushed = self.push_all(plaintext, out);
        self.failed = pushed.is_err();
        pushed
    }

    /// Seals the last chunk, and appends the rest of the file to `out`. The file is valid only with these bytes.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<()> {
        self.usable()?;
        self.seal_chunk(out)?;
        self.start(out)
    }

    fn usable(&self) -> Result<()> {
        if self.failed { Err(Error::ApiMisuse("continuing after sealing has failed")) } else { Ok(()) }
    }

    fn push_all(&mut self, mut plaintext: &[u8], out: &mut Vec<u8>) -> Result<()> {
        while !plaintext.is_empty() {
            let taken = plaintext.len().min(CHUNK_LEN - self.chunk.len());
            let (now, later) = plaintext.split_at(taken);
            self.chunk.extend_from_slice(now);
            self.total += taken as u64;
            plaintext = later;
            if self.chunk.len() == CHUNK_LEN {
                self.seal_chunk(out)?;
            }
            if self.total >= LARGE_INPUT {
                self.start(out)?;
            }
        }
        Ok(())
    }

    /// Seals the collected bytes as the next chunk.
    fn seal_chunk(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let too_long = || Error::Limit(format!("the input has more than {MAX_PLAINTEXT} bytes, the format's limit"));
        let index = self.index.ok_or_else(too_long)?;
        let out = self.held.as_mut().unwrap_or(out);
        let from = out.len();
        out.resize(from + self.chunk.len() + TAG_LEN, 0);
        self.envelope.sealer().seal(index, &self.chunk, &mut out[from..])?;
        self.index = index.next();
        self.chunk.clear();
        Ok(())
    }

    /// Writes the header and the bytes that waited for it.
    fn start(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let Some(held) = self.held.take() else { return Ok(()) };
        out.extend(front_of(&self.envelope, InputSize::of(self.total))?.0);
        out.extend(held);
        Ok(())
    }
}

/// Header and prelude, and the positions of the chunks after them.
///
/// # Errors
/// As [`Envelope::header`].
pub(crate) fn front_of(envelope: &Envelope, size: InputSize) -> Result<(Vec<u8>, Layout)> {
    let mut front = envelope.header(size)?;
    let layout = Layout::new(front.len() as u64);
    front.extend_from_slice(&envelope.prelude().to_bytes());
    Ok((front, layout))
}

/// The layout of a new file, unless its keys need a longer header.
pub(crate) fn least_layout(size: InputSize) -> Layout {
    Layout::new(size.least_bank().header_len() as u64)
}

impl Drop for Sealing {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.chunk);
    }
}
