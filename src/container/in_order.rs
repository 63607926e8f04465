//! Opens chunks one by one up to the authenticated end.

use super::payload::Payload;
use crate::error::Tampered;
use crate::format::SEALED_CHUNK_LEN;
use crate::payload::{ChunkIndex, ChunkOpener};

/// Opens the chunks of a payload in order. An error is final: every later call returns it again.
pub struct InOrder {
    opener: ChunkOpener,
    state: State,
}

enum State {
    Next(ChunkIndex),
    Ended,
    Failed(Tampered),
}

impl InOrder {
    /// Starts with the first chunk.
    #[must_use]
    pub fn new(opener: ChunkOpener) -> Self {
        Self { opener, state: State::Next(ChunkIndex::FIRST) }
    }

    /// Starts at another chunk: for tests near the limit.
    #[cfg(test)]
    pub(crate) fn starting_at(mut self, index: ChunkIndex) -> Self {
        self.state = State::Next(index);
        self
    }

    /// Whether the last chunk was opened. If so, all bytes and the end are authenticated.
    #[must_use]
    pub fn ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Opens the next chunk in place and returns its plaintext. Returns nothing after the end was reached.
    ///
    /// `sealed` has the next [`SEALED_CHUNK_LEN`] bytes of the payload, or all remaining bytes if the input has ended.
    ///
    /// # Errors
    /// [`Tampered`]. `sealed` is then wiped.
    pub fn open<'a>(&mut self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], Tampered> {
        let index = match &self.state {
            State::Next(index) => *index,
            State::Ended => return Ok(&mut []),
            State::Failed(tampered) => {
                zeroize::Zeroize::zeroize(sealed);
                return Err(tampered.clone());
            }
        };
        let full = sealed.len() == SEALED_CHUNK_LEN;
        let opened = match index.of_len(sealed.len()) {
            Ok(index) => self.opener.open(index, sealed),
            Err(tampered) => {
                zeroize::Zeroize::zeroize(sealed);
                Err(tampered)
            }
        };
        self.state = match (&opened, index.next()) {
            (Err(tampered), _) => State::Failed(tampered.clone()),
            (Ok(_), Some(next)) if full => State::Next(next),
            (Ok(_), _) => State::Ended,
        };
        opened
    }
}

impl From<Payload> for InOrder {
    fn from(payload: Payload) -> Self {
        Self::new(payload.into_opener())
    }
}
