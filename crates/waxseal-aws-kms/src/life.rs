//! Looking at a key, and deleting its imported material.

use std::time::SystemTime;

use aws_sdk_kms::types::{KeyMetadata, KeySpec, OriginType};
use waxseal::error::{ProviderCause, ProviderError, Remedy, Result};
use waxseal_aws::words;

use super::client::{Kms, KmsCall, Target};
use super::failure::{another_key, bad_answer};
use super::materials::{KeyMaterial, check_id};
use super::name::{KeyArn, KmsKeyName};
use super::operation::KmsOperation;
use super::seal::answered_arn;

/// Whether KMS rotates the key automatically.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyRotation {
    /// It does, with this number of days between rotations if KMS says it.
    On(Option<i32>),
    /// It does not.
    Off,
    /// The key cannot rotate, or the caller may not know.
    Unknown,
}

/// What KMS says about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KmsKeyInfo {
    /// The key.
    pub arn: KeyArn,
    /// In KMS's words: `Enabled`, `Disabled`, `PendingImport`, `PendingDeletion`, ...
    pub state: String,
    /// In KMS's words: `AWS_KMS`, `EXTERNAL`, ...
    pub origin: String,
    /// In KMS's words. A symmetric key that can seal has `SYMMETRIC_DEFAULT`.
    pub spec: String,
    /// In KMS's words. A symmetric key that can seal has `ENCRYPT_DECRYPT`.
    pub usage: String,
    /// When it was created.
    pub created: Option<SystemTime>,
    /// When its imported material expires.
    pub valid_to: Option<SystemTime>,
    /// When it will be deleted.
    pub deletion: Option<SystemTime>,
    /// Whether KMS rotates it automatically.
    pub rotation: KeyRotation,
    /// Its aliases, `alias/...`; `None` if the caller may not list them.
    pub aliases: Option<Vec<String>>,
    /// Its materials, the oldest first; `None` if the caller may not list them, and for a key that has only one.
    pub materials: Option<Vec<KeyMaterial>>,
}

impl Kms {
    /// Deletes imported material of the key. The key opens nothing until the same material is imported again.
    /// `material_id` selects one of several materials. With `None`, the current one is deleted.
    ///
    /// # Errors
    /// [`Error::Setting`](waxseal::Error::Setting) if `material_id` is not the id of a material;
    /// [`ProviderCause::WrongKeyType`] if KMS created the material of the key; any error of KMS.
    pub fn delete_material(&self, name: &KmsKeyName, material_id: Option<&str>) -> Result<KeyArn> {
        material_id.map_or(Ok(()), |id| check_id(id, name))?;
        let (this, name, material_id) = (self.clone(), name.clone(), material_id.map(str::to_owned));
        self.block_on(async move {
            let (arn, _) = this.external_key(&name, &[]).await?;
            let mut call = KmsCall::new(KmsOperation::DeleteImportedKeyMaterial, &arn, arn.region());
            let request = this.client(arn.region()).await?.delete_imported_key_material().key_id(arn.to_string());
            this.call(&mut call, || request.clone().set_key_material_id(material_id.clone()).send()).await?;
            Ok(arn)
        })
    }

    /// Returns what KMS says about the key.
    ///
    /// # Errors
    /// Any error of `DescribeKey`. If the caller may not know rotation, aliases or materials, that is no error.
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

    /// The ARN of the key that `name` names. If `name` is not an ARN, `DescribeKey` is called.
    ///
    /// # Errors
    /// Any error of KMS.
    pub fn key_arn(&self, name: &KmsKeyName) -> Result<KeyArn> {
        // The ARN is returned unchanged, even if another region is chosen: it names one replica of a multi-Region key.
        if let KmsKeyName::KeyArn(arn) = name {
            return Ok(arn.clone());
        }
        let (this, name) = (self.clone(), name.clone());
        self.block_on(async move {
            let target = this.target(&name).await?;
            Ok(this.describe(&target, &[]).await?.0)
        })
    }

    /// Calls `DescribeKey`. `secret` is a secret that the service may have seen before. No error contains a part of it.
    pub(super) async fn describe(&self, target: &Target, secret: &[u8]) -> Result<(KeyArn, KeyMetadata)> {
        let mut call = KmsCall::new(KmsOperation::DescribeKey, &target.name, &target.region);
        let request = self.client(&target.region).await?.describe_key().key_id(target.name.to_string());
        let metadata = self.call_with(&mut call, secret, |_| &[], || request.clone().send()).await?.key_metadata;
        let metadata = metadata.ok_or_else(|| bad_answer(&call, "describes no key"))?;
        let arn = answered_arn(&call, metadata.arn())?;
        if !target.name.accepts(&arn, &target.region) {
            return Err(another_key(&call, "describes", &arn, secret));
        }
        Ok((arn, metadata))
    }

    /// Checks that the key is for imported material. Its ARN is returned, because calls about material take no alias.
    pub(super) async fn external_key(&self, name: &KmsKeyName, secret: &[u8]) -> Result<(KeyArn, KeyMetadata)> {
        let target = self.target(name).await?;
        let (arn, metadata) = self.describe(&target, secret).await?;
        if metadata.origin() != Some(&OriginType::External) {
            let origin = words::told(metadata.origin().map_or("unknown", OriginType::as_str), secret);
            let message = format!("its material cannot be imported or deleted, because the key's origin is {origin}");
            let error = ProviderError::new(ProviderCause::WrongKeyType, arn.to_string(), message);
            let remedy = match metadata.origin() {
                Some(OriginType::ExternalKeyStore | OriginType::AwsCloudhsm) => Remedy::ManageInKeyStore,
                _ => Remedy::CreateForImport,
            };
            return Err(Box::new(error.with_remedy(remedy)).into());
        }
        Ok((arn, metadata))
    }

    /// An error is ignored: perhaps the caller may not know it, and some keys cannot rotate.
    async fn rotation(&self, arn: &KeyArn) -> KeyRotation {
        let Ok(client) = self.client(arn.region()).await else { return KeyRotation::Unknown };
        let mut call = KmsCall::new(KmsOperation::GetKeyRotationStatus, arn, arn.region());
        match self.call(&mut call, || client.get_key_rotation_status().key_id(arn.to_string()).send()).await {
            Ok(answer) if answer.key_rotation_enabled => KeyRotation::On(answer.rotation_period_in_days),
            Ok(_) => KeyRotation::Off,
            Err(_) => KeyRotation::Unknown,
        }
    }

    /// An error is ignored here too. One page has all aliases, because a key has at most 50.
    async fn aliases(&self, arn: &KeyArn) -> Option<Vec<String>> {
        let client = self.client(arn.region()).await.ok()?;
        let mut call = KmsCall::new(KmsOperation::ListAliases, arn, arn.region());
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
