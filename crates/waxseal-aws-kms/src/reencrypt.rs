//! Changing the key of a file: one `ReEncrypt`. The plaintext data key never leaves KMS.

use std::collections::{HashMap, HashSet};
use std::sync::{MutexGuard, PoisonError};

use aws_sdk_kms::primitives::Blob;
use waxseal::error::{Error, ProviderCause, ProviderError, Remedy, Result};
use waxseal::format::{Binding, Slot, SlotKind};

use super::client::{Kms, KmsCall, Target};
use super::failure::bad_answer;
use super::name::{KeyArn, KmsKeyName, partition_of};
use super::open::{Told, would_decrypt};
use super::operation::KmsOperation;
use super::seal::{answered_arn, context, slot};

impl Kms {
    /// Asks KMS to wrap `slot`'s data key for the key `to`. Returns the new slot and AWS's id of the request.
    ///
    /// > Both keys are in one region.
    /// >
    /// > SourceEncryptionContext and DestinationEncryptionContext MUST both be the context of 10.2.
    ///
    /// A `Decrypt` with `DryRun` then checks that the new slot opens. It is left out if KMS has already refused `Decrypt`
    /// with this key to the caller.
    ///
    /// The slot's key is called without a check. Check it before with [`SourceRule`](super::SourceRule).
    ///
    /// # Errors
    /// [`ProviderCause::NotAllowed`], before any call, if the two keys are not in one region and partition; any error of
    /// KMS; [`ProviderCause::BadAnswer`] if the answer names other keys, has no valid slot, or has a slot that does not
    /// open.
    pub fn reencrypt(&self, slot: &Slot, binding: &Binding, to: &KmsKeyName) -> Result<(Slot, Option<String>)> {
        let (this, slot, context, to) = (self.clone(), slot.clone(), context(binding), to.clone());
        self.block_on(async move { this.re_encrypt(&slot, context, &to).await })
    }

    /// The async version of [`Kms::reencrypt`], for any runtime.
    ///
    /// # Errors
    /// The same.
    pub async fn reencrypt_async(
        &self,
        slot: &Slot,
        binding: &Binding,
        to: &KmsKeyName,
    ) -> Result<(Slot, Option<String>)> {
        let (this, slot, context, to) = (self.clone(), slot.clone(), context(binding), to.clone());
        self.on_worker(async move { this.re_encrypt(&slot, context, &to).await }).await
    }

    async fn re_encrypt(
        &self,
        from: &Slot,
        context: HashMap<String, String>,
        to: &KmsKeyName,
    ) -> Result<(Slot, Option<String>)> {
        if from.kind != SlotKind::AWS_KMS {
            return Err(Error::ApiMisuse("ReEncrypt of a slot that is not of AWS KMS"));
        }
        let (source, target) = self.pair(from, to).await?;
        let mut call = KmsCall::new(KmsOperation::ReEncrypt, &target.name, &target.region);
        call.source = Some(source.to_string());
        let request = self.client(&target.region).await?.re_encrypt();
        let request = request.source_key_id(source.to_string()).destination_key_id(target.name.to_string());
        let request = request.set_source_encryption_context(Some(context.clone()));
        let request = request.set_destination_encryption_context(Some(context.clone()));
        let request = request.ciphertext_blob(Blob::new(from.wrapped.clone()));
        let answer = self.call(&mut call, || request.clone().send()).await?;
        if answered_arn(&call, answer.source_key_id.as_deref())? != source {
            return Err(bad_answer(&call, "is from another key than the slot's"));
        }
        let slot = slot(&call, &target.name, answer.key_id.as_deref(), answer.ciphertext_blob, &[])?;
        if slot.wrapped == from.wrapped {
            return Err(bad_answer(&call, "has the old wrapped key unchanged"));
        }
        self.try_out(&slot, &target.region, context).await?;
        Ok((slot, call.request_id))
    }

    /// Asks KMS, with `DryRun` and so without a plaintext, whether it would open the new slot. The new slot may replace the
    /// only slot of the file. If the caller may not decrypt with a key, this is asked once for that key.
    async fn try_out(&self, slot: &Slot, region: &str, context: HashMap<String, String>) -> Result<()> {
        if self.withheld().contains(&slot.key_id) {
            return Ok(());
        }
        let mut call = KmsCall::new(KmsOperation::Decrypt, &slot.key_id, region);
        let request = self.client(region).await?.decrypt().key_id(&slot.key_id).dry_run(true);
        let request = request.ciphertext_blob(Blob::new(slot.wrapped.clone())).set_encryption_context(Some(context));
        let send = || async { would_decrypt(request.clone().send().await) };
        match self.call_with(&mut call, &[], Told::secret, send).await {
            // A server that does not know `DryRun` has opened the slot. That is an answer too, and the plaintext is wiped.
            Ok(_) => Ok(()),
            Err(Error::Provider(error)) if error.cause == ProviderCause::Denied => {
                self.withheld().insert(slot.key_id.clone());
                Ok(())
            }
            Err(Error::Provider(error)) if error.retryable() => Err(Error::Provider(error)),
            Err(Error::Provider(error)) => {
                let what = format!("cannot be opened again: {}", error.message);
                Err(bad_answer(&KmsCall { operation: KmsOperation::ReEncrypt, ..call }, &what))
            }
            Err(other) => Err(other),
        }
    }

    /// The keys for which KMS has refused `Decrypt` to the caller.
    fn withheld(&self) -> MutexGuard<'_, HashSet<String>> {
        self.inner.withheld.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Both keys, in the region of the call.
    async fn pair(&self, from: &Slot, to: &KmsKeyName) -> Result<(KeyArn, Target)> {
        let slot = KeyArn::parse(&from.key_id)?;
        let source = match self.chosen_region().filter(|_| slot.is_multi_region()) {
            Some(region) => slot.in_region(region),
            None => slot,
        };
        if !source.has_real_region() {
            return Err(elsewhere(&source, "its region is not in its partition"));
        }
        // If no region is configured, a name without a region is looked up in the region of the slot's key.
        let target = match (to.region(), self.configured_region().await?) {
            (None, None) => Target { name: to.clone(), region: source.region().to_owned() },
            _ => self.target(to).await?,
        };
        if target.region != source.region() || partition_of(&target.region) != source.partition() {
            let message = format!("it is in {}, and {to} is in {}", source.region(), target.region);
            return Err(elsewhere(&source, &message));
        }
        Ok((source, target))
    }
}

fn elsewhere(source: &KeyArn, message: &str) -> Error {
    let message = format!("ReEncrypt works within one region and partition: {message}");
    let error = ProviderError::new(ProviderCause::NotAllowed, source.to_string(), message);
    Box::new(error.with_remedy(Remedy::UnwrapHere)).into()
}
