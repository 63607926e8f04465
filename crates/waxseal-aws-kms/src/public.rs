//! The public half of a key. A host that has only this can seal, but cannot open.

use aws_sdk_kms::operation::get_public_key::GetPublicKeyOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{EncapsulationAlgorithmSpec, EncryptionAlgorithmSpec, KeyUsageType};
use waxseal::error::{Error, ProviderCause, Remedy, Result, RightKind};
use waxseal::format::{Holder, SlotKind};
use waxseal::keys::Recipient;
use waxseal::keys::public::PublicKeySpec;
use waxseal_aws::words;

use super::client::{Kms, KmsCall};
use super::failure::{another_key, bad_answer};
use super::name::KmsKeyName;
use super::operation::KmsOperation;
use super::seal::answered_arn;

impl Kms {
    /// The public half of an ML-KEM or RSA key, from one `GetPublicKey` call. The key opens what is sealed to it.
    ///
    /// # Errors
    /// [`Error::Setting`] for a key without a public half; [`Error::Invalid`] for a key of a kind that the format does not
    /// use; [`ProviderCause::BadAnswer`] if the public key is not of the kind that the answer states, or the answer does
    /// not name the key by its ARN; any error of KMS.
    pub fn public_key(&self, name: &KmsKeyName) -> Result<Recipient> {
        let (this, name) = (self.clone(), name.clone());
        self.block_on(async move { this.get_public_key(&name).await })
    }

    async fn get_public_key(&self, name: &KmsKeyName) -> Result<Recipient> {
        let target = self.target(name).await?;
        let mut call = KmsCall::new(KmsOperation::GetPublicKey, &target.name, &target.region);
        let request = self.client(&target.region).await?.get_public_key().key_id(target.name.to_string());
        let answer =
            self.call(&mut call, || request.clone().send()).await.map_err(|error| without_public_half(error, name))?;
        let arn = answered_arn(&call, answer.key_id())?;
        if !target.name.accepts(&arn, &target.region) {
            return Err(another_key(&call, "is of", &arn, &[]));
        }
        let spec = usable(&answer).map_err(|why| Error::Invalid(format!("{arn} {why}")))?;
        let public_key = answer.public_key().map(Blob::as_ref).unwrap_or_default();
        match Recipient::from_kms(&arn.to_string(), public_key) {
            Ok(recipient) if recipient.spec() == spec => Ok(recipient),
            Ok(_) => Err(bad_answer(&call, "has a public key of another kind than it states")),
            Err(_) => Err(bad_answer(&call, &format!("has no sound {} key", spec.name()))),
        }
    }
}

/// Converts KMS's error for a key without a public half.
fn without_public_half(error: Error, name: &KmsKeyName) -> Error {
    match error {
        Error::Provider(error) if error.cause == ProviderCause::WrongKeyType => Error::setting(
            format!("{name} has no public key, because it is a symmetric key"),
            Remedy::UseKind(RightKind::SymmetricByService { key: name.to_string() }),
        ),
        other => other,
    }
}

/// The kind of key that the answer states, if such a key can open slots. Otherwise the reason why it cannot.
fn usable(answer: &GetPublicKeyOutput) -> Result<PublicKeySpec, String> {
    let stated = answer.key_spec().map_or("unknown", |spec| spec.as_str());
    let of_kms = PublicKeySpec::ALL.into_iter().filter(|spec| spec.kind().holder() == Some(Holder::AwsKms));
    let spec = of_kms.into_iter().find(|spec| spec.name() == stated);
    let spec = spec.ok_or_else(|| {
        let stated = words::told(stated, &[]);
        format!("is a key of {stated}, but files are sealed to ML_KEM_768, ML_KEM_1024, RSA_3072 and RSA_4096 only")
    })?;
    let is_ml_kem = spec.kind() == SlotKind::AWS_KMS_ML_KEM;
    let usage = if is_ml_kem { KeyUsageType::EncapsulateDecapsulate } else { KeyUsageType::EncryptDecrypt };
    if answer.key_usage() != Some(&usage) {
        let stated = words::told(answer.key_usage().map_or("unknown", KeyUsageType::as_str), &[]);
        return Err(format!("has the usage {stated}, but needs {}", usage.as_str()));
    }
    let has_algorithm = if is_ml_kem {
        answer.encapsulation_algorithms().contains(&EncapsulationAlgorithmSpec::MlKem)
    } else {
        answer.encryption_algorithms().contains(&EncryptionAlgorithmSpec::RsaesOaepSha256)
    };
    let needed = if is_ml_kem { "ML_KEM" } else { "RSAES_OAEP_SHA_256" };
    if has_algorithm { Ok(spec) } else { Err(format!("does not allow the algorithm {needed}")) }
}
