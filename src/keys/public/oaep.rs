//! RSAES-OAEP with SHA-256, MGF1 with SHA-256, and the empty label.

use crate::error::{Error, Result};
use crate::secret::DataKey;

/// `secret`, encrypted to the RSA key of this DER SubjectPublicKeyInfo.
#[cfg(any(feature = "aws-lc", feature = "fips"))]
pub(super) fn oaep(spki: &[u8], secret: &DataKey) -> Result<Vec<u8>> {
    use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
    let no_key = |_| Error::Invalid("the public key is not an RSA key".into());
    let key = PublicEncryptingKey::from_der(spki).map_err(no_key)?;
    let key =
        OaepPublicEncryptingKey::new(key).map_err(|_| Error::Invalid("the public key is not an RSA key".into()))?;
    let mut sent = vec![0; key.ciphertext_size()];
    let len = key
        .encrypt(&OAEP_SHA256_MGF1SHA256, secret.expose(), &mut sent, None)
        .map_err(|_| Error::Invalid("encrypting with the RSA key failed".into()))?
        .len();
    sent.truncate(len);
    Ok(sent)
}

#[cfg(not(any(feature = "aws-lc", feature = "fips")))]
pub(super) fn oaep(_: &[u8], _: &DataKey) -> Result<Vec<u8>> {
    Err(Error::Invalid(
        "this build does not support RSA: sealing to an aws-kms-rsa recipient needs the feature aws-lc".into(),
    ))
}
