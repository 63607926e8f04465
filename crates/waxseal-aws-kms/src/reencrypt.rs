//! Rotation: one `ReEncrypt`. The plaintext data key never leaves KMS.

use std::collections::{HashMap, HashSet};
use std::sync::{MutexGuard, PoisonError};

use aws_sdk_kms::primitives::Blob;
use waxseal::error::{Error, ProviderCause, ProviderError, Result};
use waxseal::format::{Binding, Slot, SlotKind};

use super::client::{Kms, KmsCall, Target};
use super::failure::bad_answer;
use super::name::{KeyArn, KmsKeyName, partition_of};
use super::open::{Told, would_decrypt};
use super::seal::{answered_arn, context, slot};

impl Kms {
    /// Has KMS wrap `slot`'s data key under `to` instead, and returns the new slot with AWS's id of the request.
    ///
    /// > `ReEncrypt` needs both keys in one region and sends the same context both ways.
    ///
    /// KMS is then asked by a `Decrypt` with `DryRun` whether the new slot opens, unless it has told before that the
    /// caller may not decrypt with the key.
    ///
    /// The slot's key is called because the caller wants this very slot changed; hold it against the caller's
    /// rule ([`SourceRule`](super::SourceRule)) before.
    ///
    /// # Errors
    /// [`ProviderCause::NotAllowed`], before any call, when the two keys are not in one region and partition;
    /// whatever KMS answers; [`ProviderCause::BadAnswer`] when the answer names other keys, or a slot that
    /// cannot be one or does not open.
    pub fn reencrypt(&self, slot: &Slot, binding: &Binding, to: &KmsKeyName) -> Result<(Slot, Option<String>)> {
        let (this, slot, context, to) = (self.clone(), slot.clone(), context(binding), to.clone());
        self.block_on(async move { this.re_encrypt(&slot, context, &to).await })
    }

    /// [`Kms::reencrypt`] for a caller that awaits, in whatever runtime.
    ///
    /// # Errors
    /// As it.
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
        let mut call = KmsCall::new("ReEncrypt", &target.name, &target.region);
        call.source = Some(source.to_string());
        let request = self.client(&target.region).await?.re_encrypt();
        let request = request.source_key_id(source.to_string()).destination_key_id(target.name.to_string());
        let request = request.set_source_encryption_context(Some(context.clone()));
        let request = request.set_destination_encryption_context(Some(context.clone()));
        let request = request.ciphertext_blob(Blob::new(from.wrapped.clone()));
        let answer = self.call(&mut call, || request.clone().send()).await?;
        if answered_arn(&call, answer.source_key_id.as_deref())? != source {
            return Err(bad_answer(&call, "comes from another key than the slot's"));
        }
        let slot = slot(&call, &target.name, answer.key_id.as_deref(), answer.ciphertext_blob, &[])?;
        if slot.wrapped == from.wrapped {
            return Err(bad_answer(&call, "has the wrapped key that it was asked to replace"));
        }
        self.try_out(&slot, &target.region, context).await?;
        Ok((slot, call.request_id))
    }

    /// Asks KMS whether it could open the new slot (`DryRun`), which shows no plaintext: the slot may be about to
    /// replace the only one. A caller who may not decrypt cannot ask, and is refused once a key.
    async fn try_out(&self, slot: &Slot, region: &str, context: HashMap<String, String>) -> Result<()> {
        if self.withheld().contains(&slot.key_id) {
            return Ok(());
        }
        let mut call = KmsCall::new("Decrypt", &slot.key_id, region);
        let request = self.client(region).await?.decrypt().key_id(&slot.key_id).dry_run(true);
        let request = request.ciphertext_blob(Blob::new(slot.wrapped.clone())).set_encryption_context(Some(context));
        let send = || async { would_decrypt(request.clone().send().await) };
        match self.call_with(&mut call, &[], Told::secret, send).await {
            // What does not know `DryRun` has opened it: as good an answer, whose plaintext nobody needs.
            Ok(_) => Ok(()),
            Err(Error::Provider(error)) if error.cause == ProviderCause::Denied => {
                self.withheld().insert(slot.key_id.clone());
                Ok(())
            }
            Err(Error::Provider(error)) if error.retryable() => Err(Error::Provider(error)),
            Err(Error::Provider(error)) => {
                let what = format!("cannot be opened again: {}", error.message);
                Err(bad_answer(&KmsCall { operation: "ReEncrypt", ..call }, &what))
            }
            Err(other) => Err(other),
        }
    }

    /// The keys that the caller may not decrypt with, as far as is known.
    fn withheld(&self) -> MutexGuard<'_, HashSet<String>> {
        self.inner.withheld.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Both keys, in the one region of the call.
    async fn pair(&self, from: &Slot, to: &KmsKeyName) -> Result<(KeyArn, Target)> {
        let slot = KeyArn::parse(&from.key_id)?;
        let source = match self.chosen_region().filter(|_| slot.is_multi_region()) {
            Some(region) => slot.in_region(region),
            None => slot,
        };
        if !source.has_real_region() {
            return Err(elsewhere(&source, "its region is not one of its partition"));
        }
        // A name without a region is looked for where the slot's key is, unless another region is configured.
        let target = match (to.region(), self.configured_region().await?) {
            (None, None) => Target { name: to.clone(), region: source.region().to_owned() },
            _ => self.target(to).await?,
        };
        if target.region != source.region() || partition_of(&target.region) != source.partition() {
            let message = format!("it is in {}, and {to} in {}", source.region(), target.region);
            return Err(elsewhere(&source, &message));
        }
        Ok((source, target))
    }
}

fn elsewhere(source: &KeyArn, message: &str) -> Error {
    let message = format!("ReEncrypt works within one region and partition: {message}");
    let error = ProviderError::new(ProviderCause::NotAllowed, source.to_string(), message);
    Box::new(error.with_hint("--allow-unwrap has the data key unwrapped on this machine instead")).into()
}
