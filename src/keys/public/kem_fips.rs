//! Replaces [`kem`](../kem) in a build with the FIPS module: ML-KEM and RSA-OAEP by the module, and no X-Wing, because
//! X25519 is not an approved algorithm. The module chooses its own randomness.

use aws_lc_rs::kem::{Algorithm, EncapsulationKey, ML_KEM_768, ML_KEM_1024};

use super::oaep::oaep;
use super::spec::PublicKeySpec;
use crate::error::{Error, Result};
use crate::fips;
use crate::secret::DataKey;

/// An encapsulation, and the secret that it contains.
pub(super) type Encapsulated = (Vec<u8>, DataKey);

/// A new secret for the holder of the private key. `encoded` is the public key as it is in a recipient file.
pub(super) fn encapsulate(spec: PublicKeySpec, encoded: &[u8]) -> Result<Encapsulated> {
    fips::check()?;
    let key = spec.key(encoded).ok_or(Error::ApiMisuse("a public key of another kind"))?;
    match spec {
        PublicKeySpec::MlKem768 => by_module(&ML_KEM_768, key),
        PublicKeySpec::MlKem1024 => by_module(&ML_KEM_1024, key),
        PublicKeySpec::Rsa3072 | PublicKeySpec::Rsa4096 => {
            let secret = DataKey::random()?;
            Ok((oaep(encoded, &secret)?, secret))
        }
        PublicKeySpec::XWing => Err(fips::not_to_seal(fips::X_WING)),
    }
}

fn by_module(algorithm: &'static Algorithm, key: &[u8]) -> Result<Encapsulated> {
    let no_key = |_| Error::Invalid("the public key is not a key of its kind".into());
    let key = EncapsulationKey::new(algorithm, key).map_err(no_key)?;
    let (sent, secret) =
        key.encapsulate().map_err(|_| Error::Bug("the FIPS module could not encapsulate to a valid key"))?;
    // The module's copy is wiped on drop.
    Ok((sent.as_ref().to_vec(), DataKey::from_slice(secret.as_ref())?))
}

/// Never opens. An [`Identity`](super::Identity) cannot exist.
pub(super) fn open_x_wing(_: &DataKey, _: &[u8]) -> Result<Option<DataKey>> {
    Err(fips::not_to_open("identity", fips::X_WING))
}

/// No public key: there is no X-Wing.
pub(super) fn x_wing_public(_: &DataKey) -> Result<Vec<u8>> {
    Err(fips::not_to_open("identity", fips::X_WING))
}

/// Whether everybody can compute what is sealed to this X25519 key. Keys of X-Wing are refused before that matters.
pub(super) fn is_of_small_order(_: &[u8; 32]) -> bool {
    false
}
