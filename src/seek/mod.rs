//! [`OpenReaderAt`]: reads any range of a file, with its length authenticated first (spec 14).

mod cache;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Seek, SeekFrom};

use self::cache::ChunkCache;
use crate::container::{Opening, Payload};
use crate::envelope::{Demands, OpenedBy, read_header_at};
use crate::error::{Error, Result, Tampered};
use crate::format::Header;
use crate::io::fill_at;
use crate::keys::KeyOpener;
use crate::payload::{ChunkIndex, ChunkOpener};

/// Decrypts from any position of a waxseal file in `R`.
///
/// The reader opens the last chunk first, so the length is authenticated before it is used. After that, a read opens only
/// the chunks that it needs. After an authentication error, every later read fails.
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
    by: OpenedBy,
}

impl<R: Read + Seek> OpenReaderAt<R> {
    /// Reads the header, checks `demands`, tries `openers` in order, and checks the commitment and the end.
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
        let opening = Opening::with_header(front, header, demands)?;
        let (payload, header, by) = opening.open(openers)?.into_parts();
        Ok(Self { payload: PayloadReaderAt::of(inner, payload)?, header, by })
    }

    /// The header, with its warnings.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Which slot and key opened the file.
    pub fn opened_by(&self) -> &OpenedBy {
        &self.by
    }

    /// Length of the plaintext in bytes, authenticated.
    pub fn plaintext_len(&self) -> u64 {
        self.payload.len()
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

/// The same for a payload that begins at a byte of `R`, and whose commitment has been checked.
pub struct PayloadReaderAt<R> {
    inner: R,
    chunks: ChunkCache,
    position: u64,
    tampered: Option<Tampered>,
}

impl<R: Read + Seek> PayloadReaderAt<R> {
    /// The payload starts at `start` of `inner` and ends at the end of `inner`.
    ///
    /// # Errors
    /// [`Error::Tampered`] if the end does not authenticate, [`Error::Io`].
    pub fn new(inner: R, start: u64, opener: ChunkOpener) -> Result<Self> {
        Self::of(inner, Payload::new(opener, start))
    }

    fn of(mut inner: R, payload: Payload) -> Result<Self> {
        let file_len =
            inner.seek(SeekFrom::End(0)).map_err(|error| Error::io("finding the end of the input", error))?;
        let end = payload.end(file_len)?;
        let mut sealed = vec![0; usize::try_from(end.range.end - end.range.start).unwrap_or(usize::MAX)];
        let mut read_at = |buffer: &mut [u8], position| {
            inner.seek(SeekFrom::Start(position))?;
            inner.read(buffer)
        };
        let read = fill_at(&mut read_at, &mut sealed, end.range.start)
            .map_err(|error| Error::io("reading the last chunk", error))?;
        let plaintext = payload.with_end(&end, &sealed[..read])?;
        Ok(Self { inner, chunks: ChunkCache::new(plaintext), position: 0, tampered: None })
    }

    fn len(&self) -> u64 {
        self.chunks.plaintext().len()
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
        if out.is_empty() || self.position >= self.len() {
            return Ok(0);
        }
        let index = self.chunks.plaintext().chunk_of(self.position);
        let skip = usize::try_from(self.position - index.plaintext_offset()).unwrap_or(usize::MAX);
        let ready = self.chunk(index)?.get(skip..).unwrap_or_default();
        let len = out.len().min(ready.len());
        out[..len].copy_from_slice(&ready[..len]);
        self.position += len as u64;
        Ok(len)
    }
}

impl<R: Read + Seek> Seek for PayloadReaderAt<R> {
    /// Moves within the plaintext. Reads after its end return no bytes.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek before the start"))?;
        Ok(self.position)
    }
}
