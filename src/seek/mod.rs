//! [`OpenReaderAt`]: reads any range of a file, with its length authenticated first (spec 14).

mod cache;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Seek, SeekFrom};

use self::cache::ChunkCache;
use crate::envelope::{Demands, Unlocked, payload_prelude, read_header_at, unlock};
use crate::error::{Attempt, Error, Result, Tampered};
use crate::format::{CHUNK_LEN, Header, plaintext_len};
use crate::keys::KeyOpener;
use crate::payload::{ChunkIndex, ChunkOpener};

/// Decrypts from any position of a waxseal file in `R`.
///
/// The length is authenticated before it is believed, by opening the last chunk; then a read opens only the chunks
/// it touches. Errors of authentication are sticky.
///
/// ```
/// use std::io::{Cursor, Read, Seek, SeekFrom, Write};
/// use waxseal::keys::KeyFile;
/// use waxseal::{Demands, OpenReaderAt, SealOptions, SealWriter};
///
/// let key = KeyFile::generate()?;
/// let mut writer = SealWriter::new(Vec::new(), &[&key], &SealOptions::default())?;
/// writer.write_all(&[b'.'; 100_000])?;
/// writer.write_all(b"the end")?;
/// let file = Cursor::new(writer.finish()?);
///
/// let mut reader = OpenReaderAt::new(file, &[&key], &Demands::default())?;
/// reader.seek(SeekFrom::End(-7))?;
/// let mut end = String::new();
/// reader.read_to_string(&mut end)?;
/// assert_eq!(end, "the end");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OpenReaderAt<R> {
    payload: PayloadReaderAt<R>,
    header: Header,
    slot: usize,
    key: String,
    failed: Vec<Attempt>,
}

impl<R: Read + Seek> OpenReaderAt<R> {
    /// Reads the header, checks `demands`, tries `openers` in order, checks the commitment and the end.
    ///
    /// # Errors
    /// [`Error::Format`], [`Error::Unmet`] before any key is used, [`Error::NoKey`], [`Error::Tampered`],
    /// [`Error::Io`].
    pub fn new(mut inner: R, openers: &[&dyn KeyOpener], demands: &Demands) -> Result<Self> {
        let mut read_at = |buffer: &mut [u8], position| {
            inner.seek(SeekFrom::Start(position))?;
            inner.read(buffer)
        };
        let (front, header) = read_header_at(&mut read_at)?;
        let prelude = payload_prelude(&front, &header)?;
        demands.check(&header.bank().binding)?;
        let Unlocked { opener, slot, key, failed } = unlock(header.bank(), &prelude, openers)?;
        let payload = PayloadReaderAt::new(inner, header.payload_offset(), opener)?;
        Ok(Self { payload, header, slot, key, failed })
    }

    /// The header, with its warnings.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The slot that opened, and the name of the key that opened it.
    pub fn opened_by(&self) -> (usize, &str) {
        (self.slot, &self.key)
    }

    /// Slots that were tried before and did not open.
    pub fn failed_attempts(&self) -> &[Attempt] {
        &self.failed
    }

    /// Length of the plaintext in bytes, authenticated.
    pub fn plaintext_len(&self) -> u64 {
        self.payload.len
    }
}

impl<R: Read + Seek> Read for OpenReaderAt<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.payload.read(out)
    }
}

impl<R: Read + Seek> Seek for OpenReaderAt<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.payload.seek(to)
    }
}

/// The same for a payload whose commitment has been checked, beginning at a byte of `R`.
pub struct PayloadReaderAt<R> {
    inner: R,
    chunks: ChunkCache,
    /// Authenticated length of the plaintext.
    len: u64,
    position: u64,
    tampered: Option<Tampered>,
}

impl<R: Read + Seek> PayloadReaderAt<R> {
    /// The payload begins at `start` of `inner` and ends where `inner` does.
    ///
    /// # Errors
    /// [`Error::Tampered`] when the end does not authenticate, [`Error::Io`].
    pub fn new(mut inner: R, start: u64, opener: ChunkOpener) -> Result<Self> {
        let end = inner.seek(SeekFrom::End(0)).map_err(|error| Error::io("finding the end of the input", error))?;
        let len = plaintext_len(end.saturating_sub(start))?;
        let chunks = ChunkCache::new(opener, start, len);
        let mut reader = Self { inner, chunks, len, position: 0, tampered: None };
        let last = ChunkIndex::new(len / CHUNK_LEN as u64).ok_or(Tampered::TooLong)?;
        reader.chunk(last).map_err(|error| Error::io("reading the last chunk", error))?;
        Ok(reader)
    }

    /// The verified plaintext of a chunk.
    fn chunk(&mut self, index: ChunkIndex) -> io::Result<&[u8]> {
        if let Some(tampered) = &self.tampered {
            return Err(Error::Tampered(tampered.clone()).into());
        }
        let inner = &mut self.inner;
        let mut read_at = |buffer: &mut [u8], position| {
            inner.seek(SeekFrom::Start(position))?;
            inner.read(buffer)
        };
        self.chunks.get(index, &mut read_at).map_err(|error| {
            let error = Error::io("reading the payload", error);
            if let Error::Tampered(tampered) = &error {
                self.tampered = Some(tampered.clone());
            }
            error.into()
        })
    }
}

impl<R: Read + Seek> Read for PayloadReaderAt<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(tampered) = &self.tampered {
            return Err(Error::Tampered(tampered.clone()).into());
        }
        if out.is_empty() || self.position >= self.len {
            return Ok(0);
        }
        let Some(index) = ChunkIndex::new(self.position / CHUNK_LEN as u64) else { return Ok(0) };
        let skip = usize::try_from(self.position - index.plaintext_offset()).unwrap_or(usize::MAX);
        let ready = self.chunk(index)?.get(skip..).unwrap_or_default();
        let len = out.len().min(ready.len());
        out[..len].copy_from_slice(&ready[..len]);
        self.position += len as u64;
        Ok(len)
    }
}

impl<R: Read + Seek> Seek for PayloadReaderAt<R> {
    /// Moves within the plaintext. Beyond its end reads give nothing.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek before the start"))?;
        Ok(self.position)
    }
}
