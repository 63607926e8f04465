//! [`OpenReader`]: returns the plaintext of a file, one verified chunk after the other.

use std::io::{self, Cursor, Read};

use crate::container::{InOrder, Opening};
use crate::envelope::{Demands, OpenedBy, read_front};
use crate::error::{Error, Result};
use crate::format::{Header, SEALED_CHUNK_LEN};
use crate::io::read_full;
use crate::keys::KeyOpener;
use crate::payload::ChunkOpener;

/// Decrypts a waxseal file from any [`Read`].
///
/// Every returned byte has been authenticated at its position. The end is authenticated, too: a truncated file gives an
/// error after the verified part, never a normal end. After an error, every later read fails.
pub struct OpenReader<R> {
    payload: PayloadReader<io::Chain<Cursor<Vec<u8>>, R>>,
    header: Header,
    by: OpenedBy,
}

impl<R: Read> OpenReader<R> {
    /// Reads the header, checks `demands`, tries `openers` in order and checks the commitment.
    ///
    /// # Errors
    /// [`Error::Format`], [`Error::Unmet`] before any key is used, [`Error::NoKey`], [`Error::Tampered`],
    /// [`Error::Io`].
    pub fn new(mut inner: R, openers: &[&dyn KeyOpener], demands: &Demands) -> Result<Self> {
        let opening = Opening::read(read_front(&mut inner)?, demands)?;
        let begun = opening.begun().to_vec();
        let (payload, header, by) = opening.open(openers)?.into_parts();
        let payload = PayloadReader::new(Cursor::new(begun).chain(inner), payload.into_opener());
        Ok(Self { payload, header, by })
    }

    /// The header, with its warnings.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Which slot and key opened the file.
    pub fn opened_by(&self) -> &OpenedBy {
        &self.by
    }
}

impl<R: Read> Read for OpenReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.payload.read(out)
    }
}

/// Decrypts the chunks of a payload whose commitment has been checked: from after the prelude to the end.
pub struct PayloadReader<R> {
    inner: R,
    chunks: InOrder,
    chunk: Box<[u8; SEALED_CHUNK_LEN]>,
    /// Verified plaintext in `chunk` that was not returned yet.
    ready: std::ops::Range<usize>,
    /// A read error is as final as a failed authentication, because the next bytes may not follow the previous ones.
    broken: Option<(io::ErrorKind, String)>,
}

impl<R: Read> PayloadReader<R> {
    /// `inner` is positioned after the payload's first 56 bytes.
    pub fn new(inner: R, opener: ChunkOpener) -> Self {
        let (chunks, chunk) = (InOrder::new(opener), Box::new([0; SEALED_CHUNK_LEN]));
        Self { inner, chunks, chunk, ready: 0..0, broken: None }
    }

    /// Starts at another chunk: for tests near the limit.
    #[cfg(test)]
    pub(crate) fn starting_at(mut self, index: crate::payload::ChunkIndex) -> Self {
        self.chunks = self.chunks.starting_at(index);
        self
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        if let Some((kind, message)) = &self.broken {
            return Err(io::Error::new(*kind, message.clone()));
        }
        if self.chunks.ended() {
            return Ok(());
        }
        let len = read_full(&mut self.inner, self.chunk.as_mut_slice())
            .inspect_err(|error| self.broken = Some((error.kind(), error.to_string())))?;
        let plaintext = self.chunks.open(&mut self.chunk[..len]).map_err(Error::Tampered)?;
        self.ready = 0..plaintext.len();
        Ok(())
    }
}

impl<R: Read> Read for PayloadReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        if self.ready.is_empty() {
            self.next_chunk()?;
        }
        let len = out.len().min(self.ready.len());
        out[..len].copy_from_slice(&self.chunk[self.ready.start..][..len]);
        self.ready.start += len;
        Ok(len)
    }
}
