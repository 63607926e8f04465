//! The key schedule (spec 11.2):
//!
//! ```text
//! key 32 || base nonce 12 || commitment 32 =
//!     HKDF-Expand(data key, "c2sp.org/chunked-encryption@v1+" || aead || 0x00 || salt || bound bytes)
//! ```

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::aead::{AeadKey, Backend, NONCE_LEN};
use super::hkdf::hkdf_expand_sha512;
use crate::format::Suite;
use crate::secret::{DataKey, KEY_LEN};

/// All labels of the payload's key derivation.
const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+";

/// The AEAD's name in the IANA registry. It makes the keys of the suites different.
fn aead_name(suite: Suite) -> &'static [u8] {
    match suite {
        Suite::Aes256Gcm => b"AEAD_AES_256_GCM",
        Suite::ChaCha20Poly1305 => b"AEAD_CHACHA20_POLY1305",
    }
}

/// Commits to data key, salt and bound bytes. No other key or header gives the same commitment.
pub struct Commitment([u8; 32]);

impl Commitment {
    /// The bytes as they are in the file. They are public once the file is written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares with the bytes from a file, in constant time.
    #[must_use]
    pub fn matches(&self, carried: &[u8; 32]) -> bool {
        self.0.ct_eq(carried).into()
    }
}

/// Key and base nonce of one payload. Not `Clone`, because they belong to one salt, and a salt belongs to one file.
pub struct PayloadKeys {
    pub(super) aead: AeadKey,
    pub(super) base_nonce: Zeroizing<[u8; NONCE_LEN]>,
}

impl PayloadKeys {
    /// Derives with the default backend of the build.
    ///
    /// `context` is the header's bound bytes, or the context of a wrapped key.
    #[must_use]
    pub fn derive(data_key: &DataKey, suite: Suite, salt: &[u8; 24], context: &[u8]) -> (Self, Commitment) {
        Self::derive_with(Backend::default(), data_key, suite, salt, context)
    }

    /// Derives with a given backend.
    #[must_use]
    pub fn derive_with(
        backend: Backend,
        data_key: &DataKey,
        suite: Suite,
        salt: &[u8; 24],
        context: &[u8],
    ) -> (Self, Commitment) {
        let mut okm = Zeroizing::new([0; KEY_LEN + NONCE_LEN + 32]);
        hkdf_expand_sha512(data_key.expose(), &[LABEL, aead_name(suite), &[0], salt, context], okm.as_mut_slice());
        let (key, rest) = okm.split_at(KEY_LEN);
        let (nonce, commitment) = rest.split_at(NONCE_LEN);
        let mut base_nonce = Zeroizing::new([0; NONCE_LEN]);
        base_nonce.copy_from_slice(nonce);
        let mut committed = [0; 32];
        committed.copy_from_slice(commitment);
        (Self { aead: AeadKey::new(backend, suite, key), base_nonce }, Commitment(committed))
    }
}
