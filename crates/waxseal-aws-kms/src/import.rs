//! Importing one's own key material: wrapped here for KMS alone, so that no one between can read it.

use std::time::{Duration, SystemTime};

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPublicEncryptingKey, PublicEncryptingKey,
};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{AlgorithmSpec, ExpirationModelType, KeyState, WrappingKeySpec};
use aws_smithy_types::DateTime;
use waxseal::error::{Error, ProviderCause, ProviderError, Result};
use waxseal::secret::{DataKey, KEY_LEN, SecretBytes};

use super::client::{Kms, KmsCall, Target};
use super::failure::bad_answer;
use super::name::{KeyArn, KmsKeyName};
use super::words;

/// How the material is wrapped on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImportAlgorithm {
    /// `RSAES_OAEP_SHA_256`
    #[default]
    RsaesOaepSha256,
    /// `RSAES_OAEP_SHA_1`
    RsaesOaepSha1,
}

impl ImportAlgorithm {
    /// By KMS's name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for any other.
    pub fn parse(text: &str) -> Result<Self> {
        [Self::RsaesOaepSha256, Self::RsaesOaepSha1]
            .into_iter()
            .find(|algorithm| algorithm.spec().as_str() == text)
            .ok_or_else(|| Error::Invalid(format!("{text:?} is neither RSAES_OAEP_SHA_256 nor RSAES_OAEP_SHA_1")))
    }

    fn spec(self) -> AlgorithmSpec {
        match self {
            Self::RsaesOaepSha256 => AlgorithmSpec::RsaesOaepSha256,
            Self::RsaesOaepSha1 => AlgorithmSpec::RsaesOaepSha1,
        }
    }

    fn oaep(self) -> &'static OaepAlgorithm {
        match self {
            Self::RsaesOaepSha256 => &OAEP_SHA256_MGF1SHA256,
            Self::RsaesOaepSha1 => &OAEP_SHA1_MGF1SHA1,
        }
    }
}

/// The key of KMS's that the material is wrapped with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImportKeySpec {
    /// `RSA_4096`
    #[default]
    Rsa4096,
    /// `RSA_3072`
    Rsa3072,
    /// `RSA_2048`
    Rsa2048,
}

impl ImportKeySpec {
    /// By KMS's name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for any other.
    pub fn parse(text: &str) -> Result<Self> {
        [Self::Rsa4096, Self::Rsa3072, Self::Rsa2048]
            .into_iter()
            .find(|key| key.spec().as_str() == text)
            .ok_or_else(|| Error::Invalid(format!("{text:?} is none of RSA_4096, RSA_3072, RSA_2048")))
    }

    fn spec(self) -> WrappingKeySpec {
        match self {
            Self::Rsa4096 => WrappingKeySpec::Rsa4096,
            Self::Rsa3072 => WrappingKeySpec::Rsa3072,
            Self::Rsa2048 => WrappingKeySpec::Rsa2048,
        }
    }

    fn bits(self) -> usize {
        match self {
            Self::Rsa4096 => 4096,
            Self::Rsa3072 => 3072,
            Self::Rsa2048 => 2048,
        }
    }
}

/// How material is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ImportOptions {
    /// How it is wrapped.
    pub algorithm: ImportAlgorithm,
    /// With which key of KMS's.
    pub wrapping_key: ImportKeySpec,
    /// When KMS forgets it; `None`: when it is told to.
    pub valid_to: Option<SystemTime>,
}

impl ImportOptions {
    /// RSA_4096, RSAES_OAEP_SHA_256, no expiry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// KMS takes the material at once, and shows the key as enabled a little later.
const ENABLED_WITHIN: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

impl Kms {
    /// Imports 32 bytes of key material and waits until the key is enabled.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless the material has 32 bytes and any expiry is to come;
    /// [`ProviderCause::WrongKeyType`] for a key whose material KMS made; whatever KMS answers: it takes no other
    /// material than the key had before.
    pub fn import_material(
        &self,
        name: &KmsKeyName,
        material: &SecretBytes,
        options: &ImportOptions,
    ) -> Result<KeyArn> {
        let bytes = material.expose();
        if bytes.len() != KEY_LEN {
            return Err(Error::Invalid(format!("key material has {KEY_LEN} bytes, not {}", bytes.len())));
        }
        if options.valid_to.is_some_and(|at| at <= SystemTime::now()) {
            return Err(Error::Invalid("key material cannot expire in the past".into()));
        }
        let (this, name, options) = (self.clone(), name.clone(), *options);
        let material = DataKey::from_slice(bytes)?;
        self.block_on(async move { this.import(&name, &material, options).await })
    }

    async fn import(&self, name: &KmsKeyName, material: &DataKey, options: ImportOptions) -> Result<KeyArn> {
        let (arn, _) = self.external_key(name, material.expose()).await?;
        let client = self.client(arn.region()).await?;
        let mut call = KmsCall::new("GetParametersForImport", &arn, arn.region());
        let request = client.get_parameters_for_import().key_id(arn.to_string());
        let request =
            request.wrapping_algorithm(options.algorithm.spec()).wrapping_key_spec(options.wrapping_key.spec());
        let parameters = self.call_with(&mut call, material.expose(), |_| &[], request.send()).await?;
        let public_key = parameters.public_key.as_ref().map(Blob::as_ref).unwrap_or_default();
        let wrapped = wrap(material, public_key, options).map_err(|what| bad_answer(&call, what))?;

        let mut call = KmsCall::new("ImportKeyMaterial", &arn, arn.region());
        let request = client.import_key_material().key_id(arn.to_string());
        let request = request.set_import_token(parameters.import_token).encrypted_key_material(Blob::new(wrapped));
        let request = match options.valid_to {
            None => request.expiration_model(ExpirationModelType::KeyMaterialDoesNotExpire),
            Some(at) => request.expiration_model(ExpirationModelType::KeyMaterialExpires).valid_to(DateTime::from(at)),
        };
        self.call_with(&mut call, material.expose(), |_| &[], request.send()).await?;
        self.wait_until_enabled(&arn, material.expose()).await?;
        Ok(arn)
    }

    async fn wait_until_enabled(&self, arn: &KeyArn, material: &[u8]) -> Result<()> {
        let target = Target { name: KmsKeyName::KeyArn(arn.clone()), region: arn.region().to_owned() };
        let (mut waited, mut pause) = (Duration::ZERO, FIRST_PAUSE);
        loop {
            let (_, metadata) = self.describe(&target, material).await?;
            let state = metadata.key_state();
            let on_its_way = matches!(state, Some(KeyState::PendingImport | KeyState::Updating | KeyState::Creating));
            match state {
                Some(KeyState::Enabled) => return Ok(()),
                _ if on_its_way && waited < ENABLED_WITHIN => {}
                _ => {
                    let state = words::told(state.map_or("unknown", KeyState::as_str), material);
                    let message = format!("the material is imported, but the key's state is {state}");
                    let error = ProviderError::new(ProviderCause::Unusable, arn.to_string(), message);
                    return Err(Box::new(error.with_hint(format!("waxseal key show {arn}"))).into());
                }
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// `RSAES-OAEP (public key, material)`, or what is wrong with the key.
fn wrap(material: &DataKey, public_key: &[u8], options: ImportOptions) -> Result<Vec<u8>, &'static str> {
    let key = PublicEncryptingKey::from_der(public_key).map_err(|_| "has no RSA public key")?;
    if key.key_size_bits() != options.wrapping_key.bits() {
        return Err("has an RSA key of another size");
    }
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| "has an RSA key that cannot wrap")?;
    let mut wrapped = vec![0; key.ciphertext_size()];
    let len = key.encrypt(options.algorithm.oaep(), material.expose(), &mut wrapped, None);
    let len = len.map_err(|_| "has an RSA key that cannot wrap")?.len();
    wrapped.truncate(len);
    Ok(wrapped)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};

    use super::*;

    #[test]
    fn what_is_wrapped_unwraps_and_other_keys_are_refused() {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let der = private.public_key().as_der().unwrap();
        let private = OaepPrivateDecryptingKey::new(private).unwrap();
        let material = DataKey::from_slice(&[7; 32]).unwrap();
        for algorithm in [ImportAlgorithm::RsaesOaepSha256, ImportAlgorithm::RsaesOaepSha1] {
            let options = ImportOptions { algorithm, wrapping_key: ImportKeySpec::Rsa2048, valid_to: None };
            let wrapped = wrap(&material, der.as_ref(), options).unwrap();
            let mut out = vec![0; private.min_output_size()];
            assert!(private.decrypt(algorithm.oaep(), &wrapped, &mut out, None).unwrap() == [7; 32]);
            assert!(wrap(&material, der.as_ref(), ImportOptions { algorithm, ..ImportOptions::new() }).is_err());
            assert!(wrap(&material, &der.as_ref()[1..], options).is_err());
        }
    }

    #[test]
    fn names_are_those_of_kms() {
        assert_eq!(ImportAlgorithm::parse("RSAES_OAEP_SHA_1").unwrap(), ImportAlgorithm::RsaesOaepSha1);
        assert_eq!(ImportKeySpec::parse("RSA_3072").unwrap(), ImportKeySpec::Rsa3072);
        assert!(ImportAlgorithm::parse("RSAES_PKCS1_V1_5").is_err() && ImportKeySpec::parse("SM2").is_err());
    }
}
