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

/// All labels that go into a derivation of the payload's.
const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+";

/// The AEAD's name at IANA, which separates the suites.
fn aead_name(suite: Suite) -> &'static [u8] {
    match suite {
        Suite::Aes256Gcm => b"AEAD_AES_256_GCM",
        Suite::ChaCha20Poly1305 => b"AEAD_CHACHA20_POLY1305",
    }
}

/// Commits to data key, salt and bound bytes: no second key and no second header gives the same one.
pub struct Commitment([u8; 32]);

impl Commitment {
    /// As it stands in the file. It is public once the file is written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares with what a file carries, in constant time.
    #[must_use]
    pub fn matches(&self, carried: &[u8; 32]) -> bool {
        self.0.ct_eq(carried).into()
    }
}

/// Key and base nonce of one payload. Not `Clone`: they belong to one salt, and a salt to one file.
pub struct PayloadKeys {
    pub(super) aead: AeadKey,
    pub(super) base_nonce: Zeroizing<[u8; NONCE_LEN]>,
}

impl PayloadKeys {
    /// Derives with the build's backend.
    ///
    /// `context` are the header's bound bytes, or what a wrapped key is bound to.
    #[must_use]
    pub fn derive(data_key: &DataKey, suite: Suite, salt: &[u8; 24], context: &[u8]) -> (Self, Commitment) {
        Self::derive_with(Backend::default(), data_key, suite, salt, context)
    }

    /// Derives with the backend given.
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
