//! The AEADs (spec 11.3), by backends that give the same bytes. Tests compare the backends with each other.
//!
//! In a build with the feature `fips`, the only backend is AWS-LC's FIPS module, and only AES-256-GCM exists.

#[cfg(not(feature = "fips"))]
use aes_gcm::Aes256Gcm;
#[cfg(not(feature = "fips"))]
use aes_gcm::aead::{AeadInOut, KeyInit, inout::InOutBuf};
#[cfg(not(feature = "fips"))]
use chacha20poly1305::ChaCha20Poly1305;

use crate::format::{Suite, TAG_LEN};
use crate::secret::KEY_LEN;

/// Nonce length of both AEADs, in bytes.
pub(super) const NONCE_LEN: usize = 12;

/// The backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// AWS-LC: C and assembly (feature `aws-lc`). With the feature `fips`, its FIPS module.
    #[cfg(any(feature = "aws-lc", feature = "fips"))]
    AwsLc,
    /// `ring` for AES-256-GCM (feature `ring`). For ChaCha20-Poly1305 it is not faster than the other backends.
    #[cfg(all(feature = "ring", target_arch = "x86_64", not(feature = "fips")))]
    Ring,
    /// RustCrypto: no C compiler.
    #[cfg(not(feature = "fips"))]
    PureRust,
}

impl Backend {
    fn without_ring() -> Self {
        #[cfg(any(feature = "fips", all(feature = "aws-lc", not(feature = "pure-rust"))))]
        return Self::AwsLc;
        #[cfg(not(any(feature = "fips", all(feature = "aws-lc", not(feature = "pure-rust")))))]
        return Self::PureRust;
    }
}

impl Default for Backend {
    /// The fastest backend on this processor that is compiled in. With the feature `pure-rust` it is always RustCrypto.
    /// With the feature `fips` it is always the FIPS module.
    fn default() -> Self {
        #[cfg(all(feature = "ring", target_arch = "x86_64", not(any(feature = "pure-rust", feature = "fips"))))]
        if super::ring_aes::is_fastest_here() {
            return Self::Ring;
        }
        Self::without_ring()
    }
}

/// An AEAD with its key. Backends wipe the key on drop.
pub(super) enum AeadKey {
    #[cfg(any(feature = "aws-lc", feature = "fips"))]
    AwsLc(aws_lc_rs::aead::LessSafeKey),
    #[cfg(all(feature = "ring", target_arch = "x86_64", not(feature = "fips")))]
    Ring(super::ring_aes::RingAes),
    #[cfg(not(feature = "fips"))]
    Aes(Box<Aes256Gcm>),
    #[cfg(not(feature = "fips"))]
    ChaCha(Box<ChaCha20Poly1305>),
    /// Of a suite that the FIPS module does not have. It seals and opens nothing.
    #[cfg(feature = "fips")]
    Refused,
}

/// The tag did not verify.
pub(super) struct BadTag;

impl AeadKey {
    /// `key` has [`KEY_LEN`] bytes. The key schedule guarantees this.
    pub(super) fn new(backend: Backend, suite: Suite, key: &[u8]) -> Self {
        debug_assert_eq!(key.len(), KEY_LEN);
        match (backend, suite) {
            #[cfg(all(feature = "ring", target_arch = "x86_64", not(feature = "fips")))]
            (Backend::Ring, Suite::Aes256Gcm) => Self::Ring(super::ring_aes::RingAes::new(key)),
            #[cfg(all(feature = "ring", target_arch = "x86_64", not(feature = "fips")))]
            (Backend::Ring, Suite::ChaCha20Poly1305) => Self::new(Backend::without_ring(), suite, key),
            #[cfg(any(feature = "aws-lc", feature = "fips"))]
            (Backend::AwsLc, suite) => {
                #[cfg(not(feature = "fips"))]
                use aws_lc_rs::aead::CHACHA20_POLY1305;
                use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
                let algorithm = match suite {
                    Suite::Aes256Gcm => &AES_256_GCM,
                    #[cfg(not(feature = "fips"))]
                    Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
                    #[cfg(feature = "fips")]
                    Suite::ChaCha20Poly1305 => return Self::Refused,
                };
                match UnboundKey::new(algorithm, key) {
                    Ok(key) => Self::AwsLc(LessSafeKey::new(key)),
                    Err(_) => unreachable!("the key schedule gives 32 bytes"),
                }
            }
            #[cfg(not(feature = "fips"))]
            (Backend::PureRust, Suite::Aes256Gcm) => match Aes256Gcm::new_from_slice(key) {
                Ok(key) => Self::Aes(Box::new(key)),
                Err(_) => unreachable!("the key schedule gives 32 bytes"),
            },
            #[cfg(not(feature = "fips"))]
            (Backend::PureRust, Suite::ChaCha20Poly1305) => match ChaCha20Poly1305::new_from_slice(key) {
                Ok(key) => Self::ChaCha(Box::new(key)),
                Err(_) => unreachable!("the key schedule gives 32 bytes"),
            },
        }
    }

    /// Whether it can seal and open.
    pub(super) fn is_usable(&self) -> bool {
        #[cfg(feature = "fips")]
        return !matches!(self, Self::Refused);
        #[cfg(not(feature = "fips"))]
        return true;
    }

    /// `out = ciphertext || tag`; `out` is [`TAG_LEN`] longer than `plaintext`, and the AAD is empty. The key
    /// [is usable](Self::is_usable).
    pub(super) fn seal(&self, nonce: [u8; NONCE_LEN], plaintext: &[u8], out: &mut [u8]) {
        let (ciphertext, tag) = out.split_at_mut(plaintext.len());
        debug_assert_eq!(tag.len(), TAG_LEN);
        match self {
            #[cfg(any(feature = "aws-lc", feature = "fips"))]
            Self::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let done = key.seal_out_of_place_scatter(nonce, Aad::empty(), plaintext, ciphertext, &[], tag);
                assert!(done.is_ok(), "a chunk is far below the AEAD's limit");
            }
            #[cfg(all(feature = "ring", target_arch = "x86_64", not(feature = "fips")))]
            Self::Ring(key) => key.seal(nonce, plaintext, ciphertext, tag),
            #[cfg(not(feature = "fips"))]
            Self::Aes(key) => seal_pure(key.as_ref(), nonce, plaintext, ciphertext, tag),
            #[cfg(not(feature = "fips"))]
            Self::ChaCha(key) => seal_pure(key.as_ref(), nonce, plaintext, ciphertext, tag),
            #[cfg(feature = "fips")]
            Self::Refused => unreachable!("a sealer asks first whether its key is usable"),
        }
    }

    /// Verifies and decrypts in place. `sealed = ciphertext || tag` is in private memory and has at least [`TAG_LEN`]
    /// bytes.
    pub(super) fn open(&self, nonce: [u8; NONCE_LEN], sealed: &mut [u8]) -> Result<(), BadTag> {
        match self {
            #[cfg(any(feature = "aws-lc", feature = "fips"))]
            Self::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.open_in_place(nonce, Aad::empty(), sealed).map(|_| ()).map_err(|_| BadTag)
            }
            #[cfg(all(feature = "ring", target_arch = "x86_64", not(feature = "fips")))]
            Self::Ring(key) => key.open(nonce, sealed),
            #[cfg(not(feature = "fips"))]
            Self::Aes(key) => open_pure(key.as_ref(), nonce, sealed),
            #[cfg(not(feature = "fips"))]
            Self::ChaCha(key) => open_pure(key.as_ref(), nonce, sealed),
            #[cfg(feature = "fips")]
            Self::Refused => Err(BadTag),
        }
    }

    /// The same into `out`, which is [`TAG_LEN`] shorter than `sealed`. After an error, the content of `out` is
    /// undefined.
    pub(super) fn open_into(&self, nonce: [u8; NONCE_LEN], sealed: &[u8], out: &mut [u8]) -> Result<(), BadTag> {
        let (ciphertext, tag) = sealed.split_at(out.len());
        match self {
            #[cfg(any(feature = "aws-lc", feature = "fips"))]
            Self::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.open_separate_gather(nonce, Aad::empty(), ciphertext, tag, out).map_err(|_| BadTag)
            }
            #[cfg(all(feature = "ring", target_arch = "x86_64", not(feature = "fips")))]
            Self::Ring(key) => key.open_into(nonce, ciphertext, tag, out),
            #[cfg(not(feature = "fips"))]
            Self::Aes(key) => open_into_pure(key.as_ref(), nonce, ciphertext, tag, out),
            #[cfg(not(feature = "fips"))]
            Self::ChaCha(key) => open_into_pure(key.as_ref(), nonce, ciphertext, tag, out),
            #[cfg(feature = "fips")]
            Self::Refused => Err(BadTag),
        }
    }
}

#[cfg(not(feature = "fips"))]
fn seal_pure<A>(key: &A, nonce: [u8; NONCE_LEN], plaintext: &[u8], ciphertext: &mut [u8], tag: &mut [u8])
where
    A: AeadInOut<NonceSize = aes_gcm::aead::consts::U12, TagSize = aes_gcm::aead::consts::U16>,
{
    let Ok(buffer) = InOutBuf::new(plaintext, ciphertext) else {
        unreachable!("both halves have the plaintext's length")
    };
    match key.encrypt_inout_detached(&nonce.into(), &[], buffer) {
        Ok(made) => tag.copy_from_slice(&made),
        Err(_) => unreachable!("a chunk is far below the AEAD's limit"),
    }
}

#[cfg(not(feature = "fips"))]
fn open_pure<A>(key: &A, nonce: [u8; NONCE_LEN], sealed: &mut [u8]) -> Result<(), BadTag>
where
    A: AeadInOut<NonceSize = aes_gcm::aead::consts::U12, TagSize = aes_gcm::aead::consts::U16>,
{
    let Some((ciphertext, tag)) = sealed.split_last_chunk_mut::<TAG_LEN>() else {
        return Err(BadTag);
    };
    let tag = (*tag).into();
    key.decrypt_inout_detached(&nonce.into(), &[], ciphertext.into(), &tag).map_err(|_| BadTag)
}

#[cfg(not(feature = "fips"))]
fn open_into_pure<A>(
    key: &A,
    nonce: [u8; NONCE_LEN],
    ciphertext: &[u8],
    tag: &[u8],
    out: &mut [u8],
) -> Result<(), BadTag>
where
    A: AeadInOut<NonceSize = aes_gcm::aead::consts::U12, TagSize = aes_gcm::aead::consts::U16>,
{
    let tag = <[u8; TAG_LEN]>::try_from(tag).map_err(|_| BadTag)?.into();
    let buffer = InOutBuf::new(ciphertext, out).map_err(|_| BadTag)?;
    key.decrypt_inout_detached(&nonce.into(), &[], buffer, &tag).map_err(|_| BadTag)
}
