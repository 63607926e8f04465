//! Encapsulation and decapsulation. Each secret result is returned in its own memory. Intermediate values are wiped
//! from the stack.

use ml_kem::array::Array;
use ml_kem::{TryKeyInit, ml_kem_768, ml_kem_1024};
use x_wing::{DecapsulationKeyRejectNonContrib, Decapsulator, KeyExport, TryDecapsulate};
use zeroize::{Zeroize, Zeroizing};

use super::oaep::oaep;
use super::spec::PublicKeySpec;
use super::stack::wiped_after;
use crate::error::{Error, Result};
use crate::secret::{DataKey, KEY_LEN, fill_random};

/// An encapsulation, and the secret that it contains.
pub(super) type Encapsulated = (Vec<u8>, DataKey);

/// The number of random bytes for X-Wing. The other kinds need fewer.
const RANDOMNESS: usize = 64;

/// A new secret for the holder of the private key. `encoded` is the public key as it is in a recipient file.
pub(super) fn encapsulate(spec: PublicKeySpec, encoded: &[u8]) -> Result<Encapsulated> {
    let mut randomness = Zeroizing::new([0; RANDOMNESS]);
    // The generators of the crates are not used, because they panic if the system's generator fails.
    fill_random(randomness.as_mut_slice())?;
    encapsulate_with(spec, encoded, &randomness)
}

/// Like [`encapsulate`] with given randomness, for known answers.
pub(super) fn encapsulate_with(
    spec: PublicKeySpec,
    encoded: &[u8],
    randomness: &[u8; RANDOMNESS],
) -> Result<Encapsulated> {
    let key = spec.key(encoded).ok_or(Error::ApiMisuse("a public key of another kind"))?;
    if matches!(spec, PublicKeySpec::Rsa3072 | PublicKeySpec::Rsa4096) {
        let secret = DataKey::from_slice(&randomness[..KEY_LEN])?;
        return Ok((oaep(encoded, &secret)?, secret));
    }
    let no_key = |_| Error::Invalid("the public key is not a key of its kind".into());
    wiped_after(|| {
        let m = Zeroizing::new(randomness.first_chunk::<KEY_LEN>().copied().unwrap_or_else(|| unreachable!("64 > 32")));
        match spec {
            PublicKeySpec::MlKem768 => {
                let key = ml_kem_768::EncapsulationKey::new_from_slice(key).map_err(no_key)?;
                let (sent, secret) = key.encapsulate_deterministic(&Array::from(*m));
                taken(&sent, secret)
            }
            PublicKeySpec::MlKem1024 => {
                let key = ml_kem_1024::EncapsulationKey::new_from_slice(key).map_err(no_key)?;
                let (sent, secret) = key.encapsulate_deterministic(&Array::from(*m));
                taken(&sent, secret)
            }
            PublicKeySpec::Rsa3072 | PublicKeySpec::Rsa4096 => Err(Error::Bug("RSA has no KEM")),
            PublicKeySpec::XWing => {
                let key = x_wing::EncapsulationKey::new_from_slice(key).map_err(no_key)?;
                let (sent, secret) = key.encapsulate_deterministic(&Array::from(*randomness));
                taken(&sent, secret)
            }
        }
    })
}

/// Moves a secret into protected memory.
fn taken(sent: &[u8], mut secret: ml_kem::SharedKey) -> Result<Encapsulated> {
    let key = DataKey::from_slice(&secret);
    secret.zeroize();
    Ok((sent.to_vec(), key?))
}

/// The secret of an X-Wing encapsulation. `None` if X25519 gives zero or if the length is wrong.
pub(super) fn open_x_wing(seed: &DataKey, encapsulation: &[u8]) -> Result<Option<DataKey>> {
    let Ok(sent) = x_wing::Ciphertext::try_from(encapsulation) else { return Ok(None) };
    wiped_after(|| {
        let Ok(mut secret) = DecapsulationKeyRejectNonContrib::from(*seed.expose()).try_decapsulate(&sent) else {
            return Ok(None);
        };
        let key = DataKey::from_slice(&secret);
        secret.zeroize();
        key.map(Some)
    })
}

/// The X-Wing public key of a seed. Only in a build with the FIPS module, this can fail.
pub(super) fn x_wing_public(seed: &DataKey) -> Result<Vec<u8>> {
    let public = || DecapsulationKeyRejectNonContrib::from(*seed.expose()).encapsulation_key().to_bytes().to_vec();
    Ok(wiped_after(public))
}

/// Whether X25519 with this key gives zero. Every scalar is a multiple of 8, so it then does with every scalar.
pub(super) fn is_of_small_order(key: &[u8; 32]) -> bool {
    x25519_dalek::x25519([1; 32], *key) == [0; 32]
}
