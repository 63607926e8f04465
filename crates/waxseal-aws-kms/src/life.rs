//! The life of a key: looking, and taking its own material away.

use std::time::SystemTime;

use aws_sdk_kms::types::{KeyMetadata, KeySpec, OriginType};
use waxseal::error::{ProviderCause, ProviderError, Result};

use super::client::{Kms, KmsCall, Target};
use super::failure::{another_key, bad_answer};
use super::materials::{KeyMaterial, check_id};
use super::name::{KeyArn, KmsKeyName};
use super::seal::answered_arn;
use super::words;

/// Whether KMS renews the key's material by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyRotation {
    /// Each so many days.
    On(Option<i32>),
    /// Not by itself.
    Off,
    /// The key cannot, or the caller may not know.
    Unknown,
}

/// What is to be known about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KmsKeyInfo {
    /// The key.
    pub arn: KeyArn,
    /// In KMS's words: `Enabled`, `Disabled`, `PendingImport`, `PendingDeletion`, ...
    pub state: String,
    /// In KMS's words: `AWS_KMS`, `EXTERNAL`, ...
    pub origin: String,
    /// In KMS's words: `SYMMETRIC_DEFAULT` is what this project needs.
    pub spec: String,
    /// In KMS's words: `ENCRYPT_DECRYPT` is what this project needs.
    pub usage: String,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// When its imported material expires.
    pub valid_to: Option<SystemTime>,
    /// When it will be deleted.
    pub deletion: Option<SystemTime>,
    /// Whether KMS renews the material by itself.
    pub rotation: KeyRotation,
    /// The names that point to it, `alias/...`; `None` where the caller may not list them.
    pub aliases: Option<Vec<String>>,
    /// Its materials, the oldest first; `None` where the caller may not list them, and for a key that has but one.
    pub materials: Option<Vec<KeyMaterial>>,
}

impl Kms {
    /// Takes away the imported material of the key: until the same is imported again, nothing opens with it.
    /// `material_id` says which one of several; `None`: the current one.
    ///
    /// # Errors
    /// [`Error::Invalid`](waxseal::Error::Invalid) for an id that can be none; [`ProviderCause::WrongKeyType`] for a key
    /// whose material KMS made; whatever KMS answers.
    pub fn delete_material(&self, name: &KmsKeyName, material_id: Option<&str>) -> Result<KeyArn> {
        material_id.map_or(Ok(()), check_id)?;
        let (this, name, material_id) = (self.clone(), name.clone(), material_id.map(str::to_owned));
        self.block_on(async move {
            let (arn, _) = this.external_key(&name, &[]).await?;
            let mut call = KmsCall::new("DeleteImportedKeyMaterial", &arn, arn.region());
            let request = this.client(arn.region()).await?.delete_imported_key_material().key_id(arn.to_string());
            this.call(&mut call, || request.clone().set_key_material_id(material_id.clone()).send()).await?;
            Ok(arn)
        })
    }

    /// What is to be known about the key.
    ///
    /// # Errors
    /// Whatever KMS answers to `DescribeKey`. Rotation, aliases and materials may be withheld from the caller.
    pub fn show_key(&self, name: &KmsKeyName) -> Result<KmsKeyInfo> {
        let (this, name) = (self.clone(), name.clone());
        self.block_on(async move {
            let target = this.target(&name).await?;
            let (arn, metadata) = this.describe(&target, &[]).await?;
            // Only symmetric keys rotate.
            let rotates = metadata.key_spec().is_none_or(|spec| *spec == KeySpec::SymmetricDefault);
            let rotation = async { if rotates { this.rotation(&arn).await } else { KeyRotation::Unknown } };
            let materials = async { if rotates { this.materials(&arn, &[]).await.ok() } else { None } };
            let (rotation, aliases, materials) = tokio::join!(rotation, this.aliases(&arn), materials);
            Ok(KmsKeyInfo { materials, ..info(arn.clone(), &metadata, rotation, aliases) })
        })
    }

    /// The ARN of the key that `name` names, from `DescribeKey` unless it is one.
    ///
    /// # Errors
    /// Whatever KMS answers.
    pub fn key_arn(&self, name: &KmsKeyName) -> Result<KeyArn> {
        // As it stands, whatever region is called otherwise: who names one of several sisters means that one.
        if let KmsKeyName::KeyArn(arn) = name {
            return Ok(arn.clone());
        }
        let (this, name) = (self.clone(), name.clone());
        self.block_on(async move {
            let target = this.target(&name).await?;
            Ok(this.describe(&target, &[]).await?.0)
        })
    }

    /// `secret` is what the service may have seen before, and no error may hold.
    pub(super) async fn describe(&self, target: &Target, secret: &[u8]) -> Result<(KeyArn, KeyMetadata)> {
        let mut call = KmsCall::new("DescribeKey", &target.name, &target.region);
        let request = self.client(&target.region).await?.describe_key().key_id(target.name.to_string());
        let metadata = self.call_with(&mut call, secret, |_| &[], || request.clone().send()).await?.key_metadata;
        let metadata = metadata.ok_or_else(|| bad_answer(&call, "describes no key"))?;
        let arn = answered_arn(&call, metadata.arn())?;
        if !target.name.accepts(&arn, &target.region) {
            return Err(another_key(&call, "describes", &arn, secret));
        }
        Ok((arn, metadata))
    }

    /// A key whose material is its owner's. The calls about material take no alias.
    pub(super) async fn external_key(&self, name: &KmsKeyName, secret: &[u8]) -> Result<(KeyArn, KeyMetadata)> {
        let target = self.target(name).await?;
        let (arn, metadata) = self.describe(&target, secret).await?;
        if metadata.origin() != Some(&OriginType::External) {
            let origin = words::told(metadata.origin().map_or("unknown", OriginType::as_str), secret);
            let message = format!("its material cannot be imported or deleted: the key's origin is {origin}");
            let error = ProviderError::new(ProviderCause::WrongKeyType, arn.to_string(), message);
            let hint = match metadata.origin() {
                Some(OriginType::ExternalKeyStore | OriginType::AwsCloudhsm) => {
                    "its material is in a key store outside of KMS, and is managed there"
                }
                _ => "waxseal key create --external makes a key that takes it",
            };
            return Err(Box::new(error.with_hint(hint)).into());
        }
        Ok((arn, metadata))
    }

    /// Of no consequence if it fails: the caller may not be allowed to know, and some keys cannot rotate.
    async fn rotation(&self, arn: &KeyArn) -> KeyRotation {
        let Ok(client) = self.client(arn.region()).await else { return KeyRotation::Unknown };
        let mut call = KmsCall::new("GetKeyRotationStatus", arn, arn.region());
        match self.call(&mut call, || client.get_key_rotation_status().key_id(arn.to_string()).send()).await {
            Ok(answer) if answer.key_rotation_enabled => KeyRotation::On(answer.rotation_period_in_days),
            Ok(_) => KeyRotation::Off,
            Err(_) => KeyRotation::Unknown,
        }
    }

    /// Likewise. One page holds them all: a key has at most 50.
    async fn aliases(&self, arn: &KeyArn) -> Option<Vec<String>> {
        let client = self.client(arn.region()).await.ok()?;
        let mut call = KmsCall::new("ListAliases", arn, arn.region());
        let answer = self.call(&mut call, || client.list_aliases().key_id(arn.to_string()).send()).await.ok()?;
        Some(answer.aliases().iter().filter_map(|alias| alias.alias_name().map(str::to_owned)).collect())
    }
}

fn info(arn: KeyArn, metadata: &KeyMetadata, rotation: KeyRotation, aliases: Option<Vec<String>>) -> KmsKeyInfo {
    let time = |at: Option<&aws_smithy_types::DateTime>| at.and_then(|at| SystemTime::try_from(*at).ok());
    let words = |text: Option<&str>| text.unwrap_or("unknown").to_owned();
    KmsKeyInfo {
        arn,
        state: words(metadata.key_state().map(|state| state.as_str())),
        origin: words(metadata.origin().map(OriginType::as_str)),
        spec: words(metadata.key_spec().map(|spec| spec.as_str())),
        usage: words(metadata.key_usage().map(|usage| usage.as_str())),
        created: time(metadata.creation_date()),
        valid_to: time(metadata.valid_to()),
        deletion: time(metadata.deletion_date()),
        rotation,
        aliases,
        materials: None,
    }
}
