//! [`OpenReader`]: decrypts what is read from it, verified chunk by verified chunk.

use std::io::{self, Cursor, Read};

use crate::envelope::{Demands, Unlocked, payload_prelude, read_front, read_full, unlock};
use crate::error::{Attempt, Error, Result, Tampered};
use crate::format::{Header, PRELUDE_LEN, SEALED_CHUNK_LEN};
use crate::keys::KeyOpener;
use crate::payload::{ChunkIndex, ChunkOpener};

/// Decrypts a waxseal file from any [`Read`].
///
/// Every byte it gives has been authenticated at its place. The end is authenticated too: a file that was cut
/// gives an error after the verified part, never a quiet end. Errors are sticky.
pub struct OpenReader<R> {
    payload: PayloadReader<io::Chain<Cursor<Vec<u8>>, R>>,
    header: Header,
    slot: usize,
    key: String,
    failed: Vec<Attempt>,
}

impl<R: Read> OpenReader<R> {
    /// Reads the header, checks `demands`, tries `openers` in order and checks the commitment.
    ///
    /// # Errors
    /// [`Error::Format`], [`Error::Unmet`] before any key is used, [`Error::NoKey`], [`Error::Tampered`],
    /// [`Error::Io`].
    pub fn new(mut inner: R, openers: &[&dyn KeyOpener], demands: &Demands) -> Result<Self> {
        let front = read_front(&mut inner)?;
        let header = Header::read(&front)?;
        let prelude = payload_prelude(&front, &header)?;
        demands.check(&header.bank().binding)?;
        let Unlocked { opener, slot, key, failed } = unlock(header.bank(), &prelude, openers)?;
        let chunks = front.bytes()[header.bank_len().header_len() + PRELUDE_LEN..].to_vec();
        let payload = PayloadReader::new(Cursor::new(chunks).chain(inner), opener);
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
}

impl<R: Read> Read for OpenReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.payload.read(out)
    }
}

/// Decrypts the chunks of a payload whose commitment has been checked: from behind the prelude to the end.
pub struct PayloadReader<R> {
    inner: R,
    opener: ChunkOpener,
    chunk: Box<[u8; SEALED_CHUNK_LEN]>,
    /// Verified plaintext in `chunk` that was not given yet.
    ready: std::ops::Range<usize>,
    state: State,
}

enum State {
    /// The next chunk to read; `None` behind the last possible one.
    Reading(Option<ChunkIndex>),
    Ended,
    Tampered(Tampered),
    Broken(io::ErrorKind, String),
}

impl<R: Read> PayloadReader<R> {
    /// `inner` stands behind the payload's first 56 bytes.
    pub fn new(inner: R, opener: ChunkOpener) -> Self {
        let state = State::Reading(Some(ChunkIndex::FIRST));
        Self { inner, opener, chunk: Box::new([0; SEALED_CHUNK_LEN]), ready: 0..0, state }
    }

    /// Starts at another chunk: for tests near the limit.
    #[cfg(test)]
    pub(crate) fn starting_at(mut self, index: ChunkIndex) -> Self {
        self.state = State::Reading(Some(index));
        self
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let index = match &self.state {
            State::Ended => return Ok(()),
            State::Tampered(tampered) => return Err(Error::Tampered(tampered.clone()).into()),
            State::Broken(kind, message) => return Err(io::Error::new(*kind, message.clone())),
            State::Reading(None) => return self.fail(Tampered::TooLong),
            State::Reading(Some(index)) => *index,
        };
        let len = match read_full(&mut self.inner, self.chunk.as_mut_slice()) {
            Ok(len) => len,
            Err(error) => {
                self.state = State::Broken(error.kind(), error.to_string());
                return Err(error);
            }
        };
        let full = len == SEALED_CHUNK_LEN;
        if full && index.next().is_none() {
            return self.fail(Tampered::TooLong);
        }
        match self.opener.open(index, &mut self.chunk[..len]) {
            Ok(plaintext) => self.ready = 0..plaintext.len(),
            Err(tampered) => return self.fail(tampered),
        }
        self.state = if full { State::Reading(index.next()) } else { State::Ended };
        Ok(())
    }

    fn fail(&mut self, tampered: Tampered) -> io::Result<()> {
        self.state = State::Tampered(tampered.clone());
        Err(Error::Tampered(tampered).into())
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
