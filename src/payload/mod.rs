//! The payload (spec 11): C2SP chunked encryption, with the header's bound bytes as its `context`.
//!
//! The chunk functions are pure. The serial, parallel and seeking readers are built on them.

mod aead;
mod chunk;
mod hkdf;
#[cfg(all(feature = "ring", target_arch = "x86_64", not(feature = "fips")))]
mod ring_aes;
mod schedule;
#[cfg(test)]
mod tests;

pub use aead::Backend;
pub use chunk::{ChunkIndex, ChunkOpener, ChunkSealer};
pub use hkdf::hkdf_expand_sha512;
pub use schedule::{Commitment, PayloadKeys};

use crate::error::{FormatError, Result, Tampered};
use crate::format::{PRELUDE_LEN, Prelude, Suite, TAG_LEN};
use crate::secret::{DataKey, KEY_LEN};

/// Whether this build can seal and open payloads of `suite`, and with the FIPS module if it is built with that.
///
/// # Errors
/// [`FormatError::SuiteRefused`], and what [`fips::check`](crate::fips::check) returns.
pub(crate) fn check_suite(suite: Suite) -> Result<()> {
    crate::fips::check()?;
    match suite {
        Suite::ChaCha20Poly1305 if crate::fips::ENABLED => {
            Err(FormatError::SuiteRefused { suite: suite.name() }.into())
        }
        Suite::Aes256Gcm | Suite::ChaCha20Poly1305 => Ok(()),
    }
}

/// Seals a short secret as one Cobblestone-256 message. Key files and passphrases wrap a data key in this way.
///
/// # Errors
/// `Io` if the system has no randomness.
pub fn wrap_message(input_key: &DataKey, context: &[u8], secret: &DataKey) -> Result<Vec<u8>> {
    let mut salt = [0; 24];
    crate::secret::fill_random(&mut salt)?;
    wrap_message_with_salt(input_key, context, secret, salt)
}

/// [`wrap_message`] with a given salt. The salt must never be used twice with one input key.
pub(crate) fn wrap_message_with_salt(
    input_key: &DataKey,
    context: &[u8],
    secret: &DataKey,
    salt: [u8; 24],
) -> Result<Vec<u8>> {
    let (keys, commitment) = PayloadKeys::derive(input_key, Suite::Aes256Gcm, &salt, context);
    let prelude = Prelude { salt, commitment: *commitment.as_bytes() };
    let mut message = prelude.to_bytes().to_vec();
    let mut sealed = [0; KEY_LEN + TAG_LEN];
    ChunkSealer::new(keys).seal(ChunkIndex::FIRST, secret.expose(), &mut sealed)?;
    message.extend_from_slice(&sealed);
    Ok(message)
}

/// Opens the result of [`wrap_message`]. `None` if it does not authenticate or does not have a data key's length.
#[must_use]
pub fn unwrap_message(input_key: &DataKey, context: &[u8], message: &[u8]) -> Option<DataKey> {
    let (prelude, sealed) = message.split_first_chunk::<PRELUDE_LEN>()?;
    let prelude = Prelude::from_bytes(prelude);
    let mut sealed = zeroize::Zeroizing::new(<[u8; KEY_LEN + TAG_LEN]>::try_from(sealed).ok()?);
    let (keys, commitment) = PayloadKeys::derive(input_key, Suite::Aes256Gcm, &prelude.salt, context);
    if !commitment.matches(&prelude.commitment) {
        return None;
    }
    let plaintext: Result<&mut [u8], Tampered> = ChunkOpener::new(keys).open(ChunkIndex::FIRST, sealed.as_mut_slice());
    DataKey::from_slice(plaintext.ok()?).ok()
}
