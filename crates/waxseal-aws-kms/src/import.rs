//! Importing key material. It is wrapped here, so that only KMS can read it.

use std::time::{Duration, SystemTime};

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPublicEncryptingKey, PublicEncryptingKey,
};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{
    AlgorithmSpec, ExpirationModelType, ImportType, KeyMetadata, KeyState, MultiRegionKeyType, WrappingKeySpec,
};
use aws_smithy_types::DateTime;
use waxseal::error::{Error, ProviderCause, ProviderError, Remedy, Result};
use waxseal::secret::{DataKey, KEY_LEN, SecretBytes};
use waxseal_aws::words;

use super::client::{Kms, KmsCall, Target};
use super::failure::bad_answer;
use super::materials::{self, KeyMaterial};
use super::name::{KeyArn, KmsKeyName};
use super::operation::KmsOperation;

/// The algorithm that wraps the material for KMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImportAlgorithm {
    /// `RSAES_OAEP_SHA_256`
    #[default]
    RsaesOaepSha256,
    /// `RSAES_OAEP_SHA_1`
    RsaesOaepSha1,
}

impl ImportAlgorithm {
    /// Parses KMS's name of it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for any other name.
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

/// The kind of KMS's key with which the material is wrapped.
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
    /// Parses KMS's name of it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for any other name.
    pub fn parse(text: &str) -> Result<Self> {
        [Self::Rsa4096, Self::Rsa3072, Self::Rsa2048]
            .into_iter()
            .find(|key| key.spec().as_str() == text)
            .ok_or_else(|| Error::Invalid(format!("{text:?} is not RSA_4096, RSA_3072 or RSA_2048")))
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ImportOptions {
    /// The algorithm that wraps the material.
    pub algorithm: ImportAlgorithm,
    /// The key with which the material is wrapped.
    pub wrapping_key: ImportKeySpec,
    /// When the material expires, at most 365 days from now. With `None` it does not expire.
    pub valid_to: Option<SystemTime>,
    /// Whether the material is new to the key and is for the next rotation. Otherwise it must be the first material of
    /// the key, or one that the key had before.
    pub new_material: bool,
    /// A description, in the owner's words.
    pub description: Option<String>,
}

impl ImportOptions {
    /// RSA_4096, RSAES_OAEP_SHA_256, no expiry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// A material that was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportedMaterial {
    /// The key.
    pub key: KeyArn,
    /// KMS's id of the material.
    pub id: Option<String>,
    /// Whether it waits for the key's next rotation.
    pub is_waiting: bool,
    /// The ids of other materials that the key still needs. Empty if the key is enabled.
    pub missing: Vec<String>,
}

/// KMS accepts no later expiry.
const VALID_AT_MOST: Duration = Duration::from_secs(365 * 86_400);

/// Checks that KMS accepts this expiry.
fn check_expiry(at: SystemTime) -> Result<()> {
    let now = SystemTime::now();
    if at <= now {
        return Err(Error::Invalid("key material cannot expire in the past".into()));
    }
    // The clocks of this machine and of AWS can differ by seconds: AWS decides about those.
    if at > now + VALID_AT_MOST {
        return Err(Error::Invalid("key material must expire within 365 days: KMS accepts no later time".into()));
    }
    Ok(())
}

/// KMS accepts the material immediately, but shows the key as enabled a little later.
const ENABLED_WITHIN: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

impl Kms {
    /// Imports 32 bytes of key material. Then waits until the key is enabled, or until KMS lists other materials that the
    /// key still needs.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the material does not have 32 bytes, or expires in the past or in more than 365 days;
    /// [`ProviderCause::WrongKeyType`] if KMS created the material of the key; any error of KMS. KMS refuses material that
    /// the key did not have before, unless it is imported as new material.
    pub fn import_material(
        &self,
        name: &KmsKeyName,
        material: &SecretBytes,
        options: &ImportOptions,
    ) -> Result<ImportedMaterial> {
        let bytes = material.expose();
        if bytes.len() != KEY_LEN {
            return Err(Error::Invalid(format!("key material has {KEY_LEN} bytes, not {}", bytes.len())));
        }
        options.valid_to.map_or(Ok(()), check_expiry)?;
        let (this, name, options) = (self.clone(), name.clone(), options.clone());
        let material = DataKey::from_slice(bytes)?;
        self.block_on(async move { this.import(&name, &material, &options).await })
    }

    async fn import(&self, name: &KmsKeyName, material: &DataKey, options: &ImportOptions) -> Result<ImportedMaterial> {
        let (arn, metadata) = self.external_key(name, material.expose()).await?;
        if options.new_material {
            check_primary(&arn, &metadata)?;
        }
        let client = self.client(arn.region()).await?;
        let mut call = KmsCall::new(KmsOperation::GetParametersForImport, &arn, arn.region());
        let request = client.get_parameters_for_import().key_id(arn.to_string());
        let request =
            request.wrapping_algorithm(options.algorithm.spec()).wrapping_key_spec(options.wrapping_key.spec());
        let parameters = self.call_with(&mut call, material.expose(), |_| &[], || request.clone().send()).await?;
        let public_key = parameters.public_key.as_ref().map(Blob::as_ref).unwrap_or_default();
        let wrapped = wrap(material, public_key, options).map_err(|what| bad_answer(&call, what))?;

        let mut call = KmsCall::new(KmsOperation::ImportKeyMaterial, &arn, arn.region());
        let request = client.import_key_material().key_id(arn.to_string());
        let request = request.set_import_token(parameters.import_token).encrypted_key_material(Blob::new(wrapped));
        let request = request.set_key_material_description(options.description.clone());
        // Servers from before this parameter get requests without it, unless it is needed.
        let request = if options.new_material { request.import_type(ImportType::NewKeyMaterial) } else { request };
        let request = match options.valid_to {
            None => request.expiration_model(ExpirationModelType::KeyMaterialDoesNotExpire),
            Some(at) => request.expiration_model(ExpirationModelType::KeyMaterialExpires).valid_to(DateTime::from(at)),
        };
        let answer = self.call_with(&mut call, material.expose(), |_| &[], || request.clone().send()).await?;
        let id = materials::material_id(answer.key_material_id(), material.expose());
        // The first material of a key is used immediately.
        let is_waiting = options.new_material && metadata.current_key_material_id().is_some();
        let missing = self.wait_until_enabled(&arn, material.expose(), id.as_deref()).await?;
        Ok(ImportedMaterial { key: arn, id, is_waiting, missing })
    }

    /// The other materials that the key still needs. Without them KMS will not enable the key, so waiting has no use.
    async fn missing(&self, arn: &KeyArn, material: &[u8], imported: Option<&str>) -> Vec<String> {
        // If the caller may not list them, or the server cannot, the key is treated as one with one material.
        let all = self.materials(arn, material).await.unwrap_or_default();
        let missing = all.into_iter().filter(KeyMaterial::is_missing).filter_map(|material| material.id);
        missing.filter(|id| Some(id.as_str()) != imported).collect()
    }

    async fn wait_until_enabled(&self, arn: &KeyArn, material: &[u8], imported: Option<&str>) -> Result<Vec<String>> {
        let target = Target { name: KmsKeyName::KeyArn(arn.clone()), region: arn.region().to_owned() };
        let (mut waited, mut pause) = (Duration::ZERO, FIRST_PAUSE);
        loop {
            let (_, metadata) = self.describe(&target, material).await?;
            let state = metadata.key_state();
            if state == Some(&KeyState::Enabled) {
                return Ok(Vec::new());
            }
            if state == Some(&KeyState::PendingImport) && waited.is_zero() {
                let missing = self.missing(arn, material, imported).await;
                if !missing.is_empty() {
                    return Ok(missing);
                }
            }
            let on_its_way = matches!(state, Some(KeyState::PendingImport | KeyState::Updating | KeyState::Creating));
            if !on_its_way || waited >= ENABLED_WITHIN {
                let state = words::told(state.map_or("unknown", KeyState::as_str), material);
                let message = format!("the material is imported, but the key's state is {state}");
                let error = ProviderError::new(ProviderCause::Unusable, arn.to_string(), message);
                return Err(Box::new(error.with_remedy(Remedy::ShowKey { key: arn.to_string() })).into());
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// New material of a multi-Region key is imported into its primary key first. Then the same material, which is no longer
/// new, is imported into the replicas.
fn check_primary(arn: &KeyArn, metadata: &KeyMetadata) -> Result<()> {
    let regions = metadata.multi_region_configuration();
    if regions.and_then(|regions| regions.multi_region_key_type()) != Some(&MultiRegionKeyType::Replica) {
        return Ok(());
    }
    // The answer's ARN is not used. Only its region is, and that is checked.
    let primary = regions.and_then(|regions| regions.primary_key()).and_then(|key| key.region());
    let primary = primary.map(|region| arn.in_region(region)).filter(KeyArn::has_real_region);
    let primary = primary.map(|arn| arn.to_string());
    let message = "it is a replica, and new material must be imported into the primary key first";
    let error = ProviderError::new(ProviderCause::WrongKeyType, arn.to_string(), message);
    Err(Box::new(error.with_remedy(Remedy::ImportIntoPrimary { primary })).into())
}

/// `RSAES-OAEP (public key, material)`, or what is wrong with the public key.
fn wrap(material: &DataKey, public_key: &[u8], options: &ImportOptions) -> Result<Vec<u8>, &'static str> {
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
            let options = ImportOptions { algorithm, wrapping_key: ImportKeySpec::Rsa2048, ..ImportOptions::new() };
            let wrapped = wrap(&material, der.as_ref(), &options).unwrap();
            let mut out = vec![0; private.min_output_size()];
            assert!(private.decrypt(algorithm.oaep(), &wrapped, &mut out, None).unwrap() == [7; 32]);
            assert!(wrap(&material, der.as_ref(), &ImportOptions { algorithm, ..ImportOptions::new() }).is_err());
            assert!(wrap(&material, &der.as_ref()[1..], &options).is_err());
        }
    }

    #[test]
    fn an_expiry_lies_ahead_within_a_year() {
        let now = SystemTime::now();
        assert!(check_expiry(now + VALID_AT_MOST).is_ok() && check_expiry(now + Duration::from_secs(60)).is_ok());
        assert!(check_expiry(now + VALID_AT_MOST + Duration::from_secs(60)).is_err() && check_expiry(now).is_err());
    }

    #[test]
    fn names_are_those_of_kms() {
        assert_eq!(ImportAlgorithm::parse("RSAES_OAEP_SHA_1").unwrap(), ImportAlgorithm::RsaesOaepSha1);
        assert_eq!(ImportKeySpec::parse("RSA_3072").unwrap(), ImportKeySpec::Rsa3072);
        assert!(ImportAlgorithm::parse("RSAES_PKCS1_V1_5").is_err() && ImportKeySpec::parse("SM2").is_err());
    }
}
