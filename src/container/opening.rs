//! From the first bytes of a file to a checked commitment (spec 12).

use super::layout::{Layout, prelude_of};
use super::payload::Payload;
use crate::envelope::{Demands, OpenedBy, Trial, Unlocked, unlock, unlock_async};
use crate::error::Result;
use crate::format::{Front, Header, PRELUDE_LEN, Slot};
use crate::keys::{AsyncKeyOpener, KeyOpener};
use crate::payload::ChunkOpener;
use crate::secret::DataKey;

/// A file with a header that was read and that meets the demands. No key was used yet.
pub struct Opening {
    front: Front,
    header: Header,
    prelude: [u8; PRELUDE_LEN],
}

impl Opening {
    /// Decides on the header, and checks `demands` against it.
    ///
    /// `front` has the file's first [`FRONT_LEN`](crate::format::FRONT_LEN) bytes, or all bytes of a shorter file.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format). [`Tampered::Truncated`](crate::error::Tampered::Truncated) if the file
    /// is too short to be complete. [`Error::Unmet`](crate::Error::Unmet).
    pub fn read(front: Front, demands: &Demands) -> Result<Self> {
        let header = Header::read(&front)?;
        Self::with_header(front, header, demands)
    }

    /// Like [`read`](Self::read), with the header that was already read from `front`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn with_header(front: Front, header: Header, demands: &Demands) -> Result<Self> {
        // The minimum length is checked before the caller's demands (spec 12.1).
        let prelude = prelude_of(&front, &header)?;
        demands.check(&header.bank().binding)?;
        Ok(Self { front, header, prelude })
    }

    /// The header with its warnings. Nothing in it is authenticated yet.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The slots that may be tried, with their index. For callers that fetch the data key themselves.
    pub fn candidates(&self) -> impl Iterator<Item = (usize, &Slot)> {
        self.header.bank().slots.iter().enumerate()
    }

    /// The bytes of chunks that are already in the front.
    #[must_use]
    pub fn begun(&self) -> &[u8] {
        Layout::of(&self.header).begun(&self.front)
    }

    /// Tries each opener, in order, on each matching slot.
    ///
    /// # Errors
    /// As [`unlock`].
    pub fn open(self, openers: &[&dyn KeyOpener]) -> Result<Opened> {
        let unlocked = unlock(self.header.bank(), &self.prelude, openers)?;
        Ok(self.opened(unlocked))
    }

    /// [`open`](Self::open) for openers that answer asynchronously.
    ///
    /// # Errors
    /// As [`unlock`].
    pub async fn open_async(self, openers: &[&dyn AsyncKeyOpener]) -> Result<Opened> {
        let unlocked = unlock_async(self.header.bank(), &self.prelude, openers).await?;
        Ok(self.opened(unlocked))
    }

    /// Checks the data key that the caller got for slot number `slot` from the key named `key`.
    ///
    /// # Errors
    /// [`Tampered::Prelude`](crate::error::Tampered::Prelude) or
    /// [`Tampered::Commitment`](crate::error::Tampered::Commitment) if it is not the file's data key.
    pub fn open_with(self, slot: usize, key: &str, data_key: DataKey) -> Result<Opened> {
        let mut trial = Trial::new(self.header.bank(), Some(&self.prelude))?;
        let unlocked = match trial.answer(slot, key, Ok(data_key))? {
            Some(right) => trial.unlocked(right),
            None => return Err(trial.gravest()),
        };
        Ok(self.opened(unlocked))
    }

    fn opened(self, Unlocked { opener, by }: Unlocked) -> Opened {
        Opened { payload: Payload::new(opener, self.header.payload_offset()), header: self.header, by }
    }
}

/// A file whose commitment was checked.
pub struct Opened {
    payload: Payload,
    header: Header,
    by: OpenedBy,
}

impl Opened {
    /// The header. What it binds is authentic.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Which slot and key opened the file.
    #[must_use]
    pub fn by(&self) -> &OpenedBy {
        &self.by
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The payload alone.
    #[must_use]
    pub fn into_payload(self) -> Payload {
        self.payload
    }

    /// All three parts.
    #[must_use]
    pub fn into_parts(self) -> (Payload, Header, OpenedBy) {
        (self.payload, self.header, self.by)
    }
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Opening>();
    shared::<Opened>();
    shared::<ChunkOpener>();
};
