//! Secrets. They are wiped on drop. They have no `Debug`, `Display` or `Clone`, so that no log or error can contain
//! one.

use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, Result};

/// Length of a data key and of a key file's key, in bytes.
pub const KEY_LEN: usize = 32;

/// A data key: the 32 random bytes that a payload's keys derive from.
///
/// It is never written to disk, never printed, and is wiped on drop. If the system allows it, its memory is kept out of
/// swap and core dumps. If the system does not allow it (`ulimit -l`), the key still works.
pub struct DataKey(KeyMemory);

impl DataKey {
    /// A new data key from the operating system's generator.
    ///
    /// # Errors
    /// [`Error::Io`] if the system has no randomness.
    pub fn random() -> Result<Self> {
        let mut key = Self(KeyMemory::new());
        fill_random(key.0.bytes_mut())?;
        Ok(key)
    }

    /// Copies a data key from the buffer of a key service. The caller wipes that buffer.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `bytes` has exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self> {
        if bytes.len() != KEY_LEN {
            return Err(Error::Invalid(format!("a data key has 32 bytes, not {}", bytes.len())));
        }
        let mut key = Self(KeyMemory::new());
        key.0.bytes_mut().copy_from_slice(bytes);
        Ok(key)
    }

    /// The key's bytes, for a key service to wrap.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_LEN] {
        self.0.bytes()
    }
}

/// Memory for one key, wiped on drop.
enum KeyMemory {
    /// A page for this key alone. The system does not count locks of a page. If two keys shared a page, dropping one
    /// would unlock the other.
    #[cfg(unix)]
    Page(memmap2::MmapMut),
    /// If the system has no such pages, or has none left.
    Heap(Box<[u8; KEY_LEN]>),
}

impl KeyMemory {
    /// Creates memory of zeros. If the system refuses a protection, the memory is used without it.
    fn new() -> Self {
        #[cfg(unix)]
        if let Ok(page) = memmap2::MmapMut::map_anon(KEY_LEN) {
            #[cfg(target_os = "linux")]
            let _ = page.advise(memmap2::Advice::DontDump);
            let _ = page.lock();
            return Self::Page(page);
        }
        Self::Heap(Box::new([0; KEY_LEN]))
    }

    fn bytes(&self) -> &[u8; KEY_LEN] {
        match self {
            #[cfg(unix)]
            Self::Page(page) => page.first_chunk().unwrap_or_else(|| unreachable!("a page holds a key")),
            Self::Heap(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8; KEY_LEN] {
        match self {
            #[cfg(unix)]
            Self::Page(page) => page.first_chunk_mut().unwrap_or_else(|| unreachable!("a page holds a key")),
            Self::Heap(bytes) => bytes,
        }
    }
}

impl Drop for KeyMemory {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        #[cfg(test)]
        tests::is_given_back(self.bytes());
    }
}

/// Secret bytes of any length (a passphrase, key material), wiped on drop.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes ownership of the bytes without a copy.
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

/// Fills `out` from the operating system's generator, or from the FIPS module's in a build with that module.
///
/// # Errors
/// [`Error::Io`] if there is no randomness.
pub fn fill_random(out: &mut [u8]) -> Result<()> {
    #[cfg(not(feature = "fips"))]
    let filled = getrandom::fill(out);
    #[cfg(feature = "fips")]
    let filled = aws_lc_rs::rand::fill(out);
    filled.map_err(|error| Error::Io {
        action: "asking the system for randomness".into(),
        source: std::io::Error::other(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        /// The content of key memory of this thread when it was last freed.
        static LEFT: Cell<Option<[u8; KEY_LEN]>> = const { Cell::new(None) };
    }

    pub(super) fn is_given_back(bytes: &[u8; KEY_LEN]) {
        LEFT.set(Some(*bytes));
    }

    #[test]
    fn keys_are_wiped_before_their_memory_is_given_back() {
        drop(DataKey::from_slice(&[7; KEY_LEN]).unwrap());
        assert_eq!(LEFT.take(), Some([0; KEY_LEN]));
        let mut heap = KeyMemory::Heap(Box::new([0; KEY_LEN]));
        heap.bytes_mut().fill(7);
        assert_eq!(heap.bytes(), &[7; KEY_LEN]);
        drop(heap);
        assert_eq!(LEFT.take(), Some([0; KEY_LEN]));
    }

    #[test]
    fn thousands_of_keys() {
        let keys: Vec<DataKey> = (0..10_000).map(|_| DataKey::random().unwrap()).collect();
        assert!(keys.windows(2).all(|pair| pair[0].expose() != pair[1].expose()));
    }
}
