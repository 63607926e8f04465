//! [`SealWriter`]: encrypts what is written to it.

use std::io::{self, Write};

use crate::envelope::{Envelope, InputSize, SealOptions};
use crate::error::{Error, Result};
use crate::format::{CHUNK_LEN, LARGE_INPUT, SEALED_CHUNK_LEN, TAG_LEN};
use crate::keys::KeySealer;
use crate::payload::ChunkIndex;

/// Encrypts what is written to it, chunk by chunk, into `W`.
///
/// Nothing reaches `W` before 4 MiB have come or [`finish`](Self::finish) was called: until then the header's size
/// is open. Dropped unfinished, it leaves an invalid file behind, which every reader refuses.
///
/// ```
/// use std::io::{Read, Write};
/// use waxseal::keys::KeyFile;
/// use waxseal::{Demands, OpenReader, SealOptions, SealWriter};
///
/// let key = KeyFile::generate()?;
/// let mut writer = SealWriter::new(Vec::new(), &[&key], &SealOptions::default())?;
/// writer.write_all(b"a backup")?;
/// let file = writer.finish()?;
///
/// let mut plaintext = String::new();
/// OpenReader::new(file.as_slice(), &[&key], &Demands::default())?.read_to_string(&mut plaintext)?;
/// assert_eq!(plaintext, "a backup");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SealWriter<W> {
    inner: W,
    envelope: Envelope,
    /// Sealed bytes that wait for the header; `None` once it is written.
    held: Option<Vec<u8>>,
    chunk: Vec<u8>,
    index: Option<ChunkIndex>,
    total: u64,
    failed: bool,
}

impl<W: Write> SealWriter<W> {
    /// Asks the first of `sealers` for a data key, and the others to wrap it too.
    ///
    /// # Errors
    /// As [`Envelope::new`].
    pub fn new(inner: W, sealers: &[&dyn KeySealer], options: &SealOptions) -> Result<Self> {
        Ok(Self::with_envelope(inner, Envelope::new(sealers, options)?))
    }

    /// Takes a prepared envelope.
    pub fn with_envelope(inner: W, envelope: Envelope) -> Self {
        let (held, chunk) = (Some(Vec::new()), Vec::with_capacity(CHUNK_LEN));
        Self { inner, envelope, held, chunk, index: Some(ChunkIndex::FIRST), total: 0, failed: false }
    }

    /// Starts at another chunk: for tests near the limit.
    #[cfg(test)]
    pub(crate) fn starting_at(mut self, index: ChunkIndex) -> Self {
        self.index = Some(index);
        self
    }

    /// The file's header and slots, for a report.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Seals the last chunk, writes what is left and flushes. Only now is the file valid.
    ///
    /// # Errors
    /// [`Error::Io`]; an error of an earlier write comes again.
    pub fn finish(mut self) -> Result<W> {
        if self.failed {
            return Err(Error::ApiMisuse("finishing a writer that has failed"));
        }
        self.seal_chunk()?;
        self.start()?;
        self.inner.flush().map_err(|error| Error::io("writing the output", error))?;
        Ok(self.inner)
    }

    /// Seals what is gathered as the next chunk.
    fn seal_chunk(&mut self) -> Result<()> {
        let too_long = || Error::Limit("the input has more than 4 PiB - 1 bytes, the format's limit".into());
        let index = self.index.ok_or_else(too_long)?;
        let mut sealed = [0; SEALED_CHUNK_LEN];
        let sealed = &mut sealed[..self.chunk.len() + TAG_LEN];
        self.envelope.sealer().seal(index, &self.chunk, sealed)?;
        self.index = index.next();
        self.chunk.clear();
        match &mut self.held {
            Some(held) => held.extend_from_slice(sealed),
            None => self.inner.write_all(sealed).map_err(|error| Error::io("writing the output", error))?,
        }
        Ok(())
    }

    /// Writes the header and what waited for it.
    fn start(&mut self) -> Result<()> {
        let Some(held) = self.held.take() else { return Ok(()) };
        let failed = |error| Error::io("writing the output", error);
        self.inner.write_all(&self.envelope.header(InputSize::of(self.total))?).map_err(failed)?;
        self.inner.write_all(&self.envelope.prelude().to_bytes()).map_err(failed)?;
        self.inner.write_all(&held).map_err(failed)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<usize> {
        let taken = bytes.len().min(CHUNK_LEN - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        self.total += taken as u64;
        if self.chunk.len() == CHUNK_LEN {
            self.seal_chunk()?;
        }
        if self.total >= LARGE_INPUT {
            self.start()?;
        }
        Ok(taken)
    }
}

impl<W: Write> Write for SealWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed {
            return Err(Error::ApiMisuse("writing to a writer that has failed").into());
        }
        self.take(bytes).map_err(|error| {
            self.failed = true;
            error.into()
        })
    }

    /// Does nothing: a chunk leaves when it is full, and a short one ends the file.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
