//! Secrets: wiped on drop, without `Debug`, `Display` or `Clone`, so that no log or error can hold one.

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// Length of a data key and of a key file's key, in bytes.
pub const KEY_LEN: usize = 32;

/// A data key: the 32 random bytes that a payload's keys derive from.
///
/// It is never on disk, never printed, and wiped on drop.
pub struct DataKey(Box<Zeroizing<[u8; KEY_LEN]>>);

impl DataKey {
    /// A new data key from the operating system's generator.
    ///
    /// # Errors
    /// [`Error::Io`] when the system gives no randomness.
    pub fn random() -> Result<Self> {
        let mut key = Self(Box::new(Zeroizing::new([0; KEY_LEN])));
        fill_random(key.0.as_mut_slice())?;
        Ok(key)
    }

    /// Takes a data key from where a key service put it. The caller wipes its own copy.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `bytes` are exactly 32.
    pub fn from_slice(bytes: &[u8]) -> Result<Self> {
        if bytes.len() != KEY_LEN {
            return Err(Error::Invalid(format!("a data key has 32 bytes, not {}", bytes.len())));
        }
        let mut key = Self(Box::new(Zeroizing::new([0; KEY_LEN])));
        key.0.copy_from_slice(bytes);
        Ok(key)
    }

    /// The key's bytes, for a key service to wrap.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

/// Secret bytes of any length (a passphrase, key material), wiped on drop.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes over; nothing is copied.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// Fills `out` from the operating system's generator.
///
/// # Errors
/// [`Error::Io`] when the system gives no randomness.
pub fn fill_random(out: &mut [u8]) -> Result<()> {
    getrandom::fill(out).map_err(|error| Error::Io {
        action: "asking the system for randomness".into(),
        source: std::io::Error::other(error.to_string()),
    })
}
