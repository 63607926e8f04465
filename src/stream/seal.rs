//! [`SealWriter`]: encrypts what is written to it.

use std::io::{self, Write};

use crate::container::Sealing;
use crate::envelope::{Envelope, SealOptions};
use crate::error::{Error, Result};
use crate::keys::KeySealer;

/// Bytes of plaintext that are sealed before the result is written.
const PIECE: usize = 1 << 17;

/// Encrypts what is written to it, chunk by chunk, into `W`.
///
/// Nothing is written to `W` until 4 MiB were received or [`finish`](Self::finish) is called, because the size of the
/// header depends on that. If the writer is dropped without `finish`, the file is invalid, and every reader refuses it.
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
    sealing: Sealing,
    /// Sealed bytes that will be written to `inner`.
    ready: Vec<u8>,
    failed: bool,
}

impl<W: Write> SealWriter<W> {
    /// Asks one of `sealers` for a data key, and asks the others to wrap it, too.
    ///
    /// # Errors
    /// As [`Envelope::new`].
    pub fn new(inner: W, sealers: &[&dyn KeySealer], options: &SealOptions) -> Result<Self> {
        Ok(Self::with_envelope(inner, Envelope::new(sealers, options)?))
    }

    /// Uses a prepared envelope.
    pub fn with_envelope(inner: W, envelope: Envelope) -> Self {
        Self { inner, sealing: Sealing::new(envelope), ready: Vec::new(), failed: false }
    }

    /// Starts at another chunk: for tests near the limit.
    #[cfg(test)]
    pub(crate) fn starting_at(mut self, index: crate::payload::ChunkIndex) -> Self {
        self.sealing = self.sealing.starting_at(index);
        self
    }

    /// The file's header and slots, for a report.
    pub fn envelope(&self) -> &Envelope {
        self.sealing.envelope()
    }

    /// Seals the last chunk, writes the rest and flushes. The file is valid only after this call.
    ///
    /// # Errors
    /// [`Error::Io`], also if an earlier write has failed.
    pub fn finish(self) -> Result<W> {
        let Self { mut inner, sealing, mut ready, failed } = self;
        if failed {
            return Err(Error::ApiMisuse("finishing a writer that has failed"));
        }
        let failed = |error| Error::io("writing the output", error);
        sealing.finish(&mut ready)?;
        inner.write_all(&ready).map_err(failed)?;
        inner.flush().map_err(failed)?;
        Ok(inner)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<usize> {
        let taken = bytes.len().min(PIECE);
        self.sealing.push(&bytes[..taken], &mut self.ready)?;
        self.inner.write_all(&self.ready).map_err(|error| Error::io("writing the output", error))?;
        self.ready.clear();
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

    /// Does nothing, because a chunk is written only when it is full. A short chunk would end the file.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
