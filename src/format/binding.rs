//! The bound bytes (spec 4): the meaningful part of the header. They are the payload's `context`.
//!
//! ```text
//! bound bytes = bank[0..12] | bank[80..p]
//!             = magic 8 | version 2 | suite 2 | data_key_id 16 | flags 2 | pairs | labels
//! ```

use super::bank::{MAGIC, VERSION};
use super::pairs::Pairs;
use super::wire;
use crate::error::{Error, Result};

/// The maximum length in bytes of pairs and labels together, with their counts and the flags (`p - 96`).
pub(crate) const BINDING_MAX: usize = 8192;

/// The AEAD of the payload. The hash is SHA-512 in both suites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Suite {
    /// Suite 1: Cobblestone-256, which other software can read.
    #[default]
    Aes256Gcm,
    /// Suite 2: the same with ChaCha20-Poly1305, for machines without AES instructions.
    ChaCha20Poly1305,
}

impl Suite {
    /// The suite's number on disk.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }

    pub(super) fn from_number(number: u16) -> Option<Self> {
        [Self::Aes256Gcm, Self::ChaCha20Poly1305].into_iter().find(|suite| suite.number() == number)
    }

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }
}

/// The data key's public name. It is random, and part of the KMS encryption context, so that audit logs contain it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataKeyId(pub [u8; 16]);

impl DataKeyId {
    /// A new random name.
    ///
    /// # Errors
    /// [`Error::Io`] if the system has no randomness.
    pub fn random() -> Result<Self> {
        let mut id = [0; 16];
        crate::secret::fill_random(&mut id)?;
        Ok(Self(id))
    }
}

impl std::fmt::Display for DataKeyId {
    /// Lower-case hex, as in `waxseal:data-key-id`.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// Whether other files carry the same data key (flag bit 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// This file alone.
    #[default]
    Exclusive,
    /// A batch of files. Whoever can open one can open all.
    Shared,
}

/// What the header binds to the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// AEAD of the payload.
    pub suite: Suite,
    /// The data key's public name.
    pub data_key_id: DataKeyId,
    /// Whether other files have the same data key.
    pub sharing: Sharing,
    /// The encryption context. KMS gets it and writes it to its audit log.
    pub context: Pairs,
    /// Labels. They are bound, too, but never sent anywhere.
    pub labels: Pairs,
}

impl Binding {
    /// The bound bytes: the `context` of the payload.
    ///
    /// # Errors
    /// [`Error::Limit`] if pairs and labels together exceed [`BINDING_MAX`].
    pub fn bound_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(256);
        wire::put(&mut bytes, &(MAGIC, VERSION, self.suite.number()));
        bytes.extend(self.tail()?);
        Ok(bytes)
    }

    /// `bank[80..p]`.
    pub(super) fn tail(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(256);
        let flags: u16 = match self.sharing {
            Sharing::Exclusive => 0,
            Sharing::Shared => 1,
        };
        wire::put(&mut bytes, &(self.data_key_id.0, flags));
        wire::put_pairs(&mut bytes, &self.context);
        wire::put_pairs(&mut bytes, &self.labels);
        if bytes.len() - self.data_key_id.0.len() > BINDING_MAX {
            return Err(Error::Limit(format!("encryption context and labels take more than {BINDING_MAX} bytes")));
        }
        Ok(bytes)
    }
}
