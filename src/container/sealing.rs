//! Plaintext in, the bytes of a file out.

use rayon::prelude::*;

use super::layout::Layout;
use crate::envelope::{Envelope, InputSize};
use crate::error::{Error, Result};
use crate::format::{CHUNK_LEN, LARGE_INPUT, MAX_PLAINTEXT, SEALED_CHUNK_LEN, TAG_LEN};
use crate::payload::ChunkIndex;

/// Chunks that one thread seals in a row.
const RUN: usize = 16;

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

    /// Like [`push`](Self::push), and gives the same bytes. The complete chunks are sealed on the threads of the rayon pool
    /// that this is called in. It is worth it for 256 KiB or more.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_parallel(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.usable()?;
        // A panic must not leave a state from which the same chunks would be sealed again.
        self.failed = true;
        let begun = if self.chunk.is_empty() { 0 } else { CHUNK_LEN - self.chunk.len() };
        let (first, rest) = plaintext.split_at(begun.min(plaintext.len()));
        let (chunks, last) = rest.as_chunks::<CHUNK_LEN>();
        self.push_all(first, out)?;
        self.seal_chunks(chunks, out)?;
        self.push_all(last, out)?;
        self.failed = false;
        Ok(())
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

    /// Seals complete chunks on several threads. No bytes are collected.
    fn seal_chunks(&mut self, chunks: &[[u8; CHUNK_LEN]], out: &mut Vec<u8>) -> Result<()> {
        if chunks.is_empty() {
            return Ok(());
        }
        let first = self.index.ok_or_else(too_long)?.get();
        let numbered = |number: usize| ChunkIndex::new(first + number as u64).ok_or_else(too_long);
        numbered(chunks.len() - 1)?;
        self.index = numbered(chunks.len()).ok();
        self.total += (chunks.len() * CHUNK_LEN) as u64;
        let sealed = self.held.as_mut().unwrap_or(out);
        let from = sealed.len();
        sealed.resize(from + chunks.len() * SEALED_CHUNK_LEN, 0);
        let runs = sealed[from..].par_chunks_mut(RUN * SEALED_CHUNK_LEN).zip(chunks.par_chunks(RUN)).enumerate();
        runs.try_for_each(|(run, (sealed, chunks))| {
            let places = sealed.chunks_mut(SEALED_CHUNK_LEN).zip(chunks);
            places.enumerate().try_for_each(|(number, (place, chunk))| {
                self.envelope.sealer().seal(numbered(run * RUN + number)?, chunk, place)
            })
        })?;
        if self.total >= LARGE_INPUT { self.start(out) } else { Ok(()) }
    }

    /// Seals the collected bytes as the next chunk.
    fn seal_chunk(&mut self, out: &mut Vec<u8>) -> Result<()> {
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

fn too_long() -> Error {
    Error::Limit(format!("the input has more than {MAX_PLAINTEXT} bytes, the format's limit"))
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
