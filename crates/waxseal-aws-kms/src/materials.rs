//! The materials of a key: which ones it has, which one a call used, and rotation to the next one.

use std::any::Any;
use std::time::{Duration, SystemTime};

use aws_sdk_kms::operation::decrypt::DecryptOutput;
use aws_sdk_kms::operation::generate_data_key::GenerateDataKeyOutput;
use aws_sdk_kms::operation::re_encrypt::ReEncryptOutput;
use aws_sdk_kms::types::{ImportState, IncludeKeyMaterial, KeyMaterialState, RotationType, RotationsListEntry};
use waxseal::error::{Error, ProviderCause, ProviderError, Remedy, Result};
use waxseal_aws::words;

use super::client::{Kms, KmsCall, Target};
use super::failure::bad_answer;
use super::name::{KeyArn, KmsKeyName};
use super::operation::KmsOperation;

/// KMS's ids of key materials have this many hexadecimal digits. A data key has as many.
const MATERIAL_ID_LEN: usize = 64;

/// One material of a key. A key seals with its current material, and opens with all that it has had.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyMaterial {
    /// KMS's id of it, 64 hexadecimal digits.
    pub id: Option<String>,
    /// In KMS's words: `CURRENT`, `NON_CURRENT`, `PENDING_ROTATION`, ...
    pub state: String,
    /// Whether it is imported at present; `None` for a material that KMS created.
    pub imported: Option<bool>,
    /// The description that its owner gave when it was imported.
    pub description: Option<String>,
    /// When it expires.
    pub valid_to: Option<SystemTime>,
    /// When it became the current material; `None` for the first material, and for one that was never current.
    pub rotated: Option<SystemTime>,
    /// The kind of rotation that made it current, in KMS's words: `AUTOMATIC`, `ON_DEMAND`.
    pub rotation: Option<String>,
}

impl KeyMaterial {
    /// Whether the key needs it and it is not imported.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.imported == Some(false)
    }

    /// Whether it was imported for the next rotation and is not in use yet.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.state.starts_with("PENDING_")
    }

    /// `secret` is a secret that the service may have seen before. No field contains a part of it.
    fn of(entry: &RotationsListEntry, secret: &[u8]) -> Self {
        let time = |at: Option<&aws_smithy_types::DateTime>| at.and_then(|at| SystemTime::try_from(*at).ok());
        Self {
            id: material_id(entry.key_material_id(), secret),
            state: words::told(entry.key_material_state().map_or("unknown", KeyMaterialState::as_str), secret),
            imported: entry.import_state().map(|state| *state == ImportState::Imported),
            description: entry.key_material_description().map(|text| words::told(text, secret)),
            valid_to: time(entry.valid_to()),
            rotated: time(entry.rotation_date()),
            rotation: entry.rotation_type().map(RotationType::as_str).map(|text| words::told(text, secret)),
        }
    }
}

/// The ids of the materials that an answer names: that of the key, and for a `ReEncrypt` that of the old key.
pub(super) fn ids(answer: &dyn Any) -> (Option<&str>, Option<&str>) {
    if let Some(answer) = answer.downcast_ref::<GenerateDataKeyOutput>() {
        (answer.key_material_id(), None)
    } else if let Some(answer) = answer.downcast_ref::<DecryptOutput>() {
        (answer.key_material_id(), None)
    } else if let Some(answer) = answer.downcast_ref::<ReEncryptOutput>() {
        (answer.destination_key_material_id(), answer.source_key_material_id())
    } else {
        (None, None)
    }
}

/// No key has so many pages: it has at most 25 rotations on demand, and one automatic rotation a year.
const PAGES_MAX: usize = 100;
/// A rotation on demand takes some seconds.
const ROTATED_WITHIN: Duration = Duration::from_secs(120);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

impl Kms {
    /// Rotates the key to a new material (`RotateKeyOnDemand`), and waits until this is done. A key for imported material
    /// rotates to the material that was imported for the rotation. Older files still open.
    ///
    /// # Errors
    /// Any error of KMS. [`ProviderCause::Internal`] if the rotation has started and is not done in time.
    pub fn rotate_key(&self, name: &KmsKeyName) -> Result<KeyArn> {
        let (this, name) = (self.clone(), name.clone());
        self.block_on(async move {
            let target = this.target(&name).await?;
            let (arn, before) = this.describe(&target, &[]).await?;
            let mut call = KmsCall::new(KmsOperation::RotateKeyOnDemand, &arn, arn.region());
            let request = this.client(arn.region()).await?.rotate_key_on_demand().key_id(arn.to_string());
            this.call(&mut call, || request.clone().send()).await?;
            this.wait_until_rotated(&arn, before.current_key_material_id()).await?;
            Ok(arn)
        })
    }

    /// A rotation that has not started yet looks like one that is done. The current material tells them apart.
    async fn wait_until_rotated(&self, arn: &KeyArn, before: Option<&str>) -> Result<()> {
        let target = Target { name: KmsKeyName::KeyArn(arn.clone()), region: arn.region().to_owned() };
        let (mut waited, mut pause) = (Duration::ZERO, FIRST_PAUSE);
        loop {
            let mut call = KmsCall::new(KmsOperation::GetKeyRotationStatus, arn, arn.region());
            let request = self.client(arn.region()).await?.get_key_rotation_status().key_id(arn.to_string());
            let status = self.call(&mut call, || request.clone().send()).await?;
            if status.on_demand_rotation_start_date().is_none() {
                let (_, now) = self.describe(&target, &[]).await?;
                if before.is_none() || now.current_key_material_id() != before {
                    return Ok(());
                }
            }
            if waited >= ROTATED_WITHIN {
                let message = "the rotation has started, but is not done yet";
                let error = ProviderError::new(ProviderCause::Internal, arn.to_string(), message);
                return Err(Box::new(error.with_remedy(Remedy::AwaitRotation { key: arn.to_string() })).into());
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// All materials of the key, the oldest first, as KMS lists them.
    pub(super) async fn materials(&self, arn: &KeyArn, secret: &[u8]) -> Result<Vec<KeyMaterial>> {
        let client = self.client(arn.region()).await?;
        let (mut found, mut marker) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let mut call = KmsCall::new(KmsOperation::ListKeyRotations, arn, arn.region());
            let request = client.list_key_rotations().key_id(arn.to_string()).set_marker(marker);
            let request = request.include_key_material(IncludeKeyMaterial::AllKeyMaterial);
            let answer = self.call_with(&mut call, secret, |_| &[], || request.clone().send()).await?;
            found.extend(answer.rotations().iter().map(|entry| KeyMaterial::of(entry, secret)));
            marker = answer.next_marker.filter(|_| answer.truncated);
            if marker.is_none() {
                return Ok(found);
            }
        }
        Err(bad_answer(&KmsCall::new(KmsOperation::ListKeyRotations, arn, arn.region()), "does not end"))
    }
}

/// KMS's id of a key material; `None` if it cannot be an id.
pub(super) fn material_id(id: Option<&str>, secret: &[u8]) -> Option<String> {
    let id = id.filter(|id| is_material_id(id))?;
    (!words::holds(id, secret)).then(|| id.to_owned())
}

/// Whether `id` has the form of KMS's ids of key materials.
fn is_material_id(id: &str) -> bool {
    id.len() == MATERIAL_ID_LEN && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Checks that `id` has the form of a material's id.
///
/// # Errors
/// [`Error::Setting`] if it has not.
pub(super) fn check_id(id: &str, name: &KmsKeyName) -> Result<()> {
    if is_material_id(id) {
        return Ok(());
    }
    let message = format!("{id:?} is not the id of a key material: an id has 64 hexadecimal digits");
    Err(Error::setting(message, Remedy::ListMaterials { key: name.to_string() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_holds_a_secret_is_no_id() {
        let id = "8182838485868788898a8b8c8d8e8f90".repeat(2);
        assert_eq!(material_id(Some(&id), b"").as_deref(), Some(id.as_str()));
        assert!(material_id(Some(&id), &[0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88]).is_none());
        assert!(material_id(Some(&id[1..]), b"").is_none() && material_id(None, b"").is_none());
    }
}
