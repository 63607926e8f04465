//! "May I restore?": asks KMS whether it would open a slot, without opening it.
//!
//! A call with `DryRun` returns no plaintext. If the call would succeed, AWS answers with `DryRunOperationException`. A
//! server that does not know `DryRun` opens the slot. That answer is wiped, and counts as a permission.

use std::fmt;

use aws_sdk_kms::error::SdkError;
use aws_sdk_kms::operation::RequestId;
use aws_sdk_kms::operation::decapsulate::{DecapsulateError, DecapsulateOutput};
use aws_sdk_kms::operation::decrypt::{DecryptError, DecryptOutput};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{EncapsulationAlgorithmSpec, EncryptionAlgorithmSpec};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use waxseal::error::{Error, ProviderCause, Result};
use waxseal::format::{Binding, Slot, SlotKind};
use waxseal::keys::{KeyOpener, public};
use zeroize::Zeroizing;

use super::{Ask, KmsOpener, Rule, check_owner, no_region_to_call, without_sts};
use crate::client::KmsCall;
use crate::failure::another_key;
use crate::name::{KeyArn, KmsKeyName};
use crate::operation::KmsOperation;
use crate::seal::{answered_arn, context, secret};

/// KMS would open the slot for this caller, with the file's encryption context.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Permitted {
    /// The key, as the call named it.
    pub key: String,
    /// Why the answer is less certain than usual, if it is.
    pub doubt: Option<Doubt>,
}

/// Why a permission is less certain than usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doubt {
    /// The server does not know `DryRun` and has opened the slot.
    Opened,
    /// The call named an alias. For the slot of a public key, KMS does not say which key the slot is of.
    Alias,
}

impl fmt::Display for Doubt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Opened => "the server does not know DryRun and opened the slot; its answer was wiped",
            Self::Alias => {
                "KMS did not say whether the alias is of the slot's key; for a certain answer, name the key by its ARN"
            }
        })
    }
}

impl KmsOpener {
    /// Whether [`dry_run`](Self::dry_run) may ask for `slot`. The slot must be of kind 1, 4 or 5, and the caller must have
    /// named its key or allowed its account. No call is made.
    #[must_use]
    pub fn may_ask(&self, slot: &Slot) -> bool {
        self.matches(slot)
    }

    /// Asks KMS, with one `DryRun` call, whether it would open `slot` of a file with `binding`. No data key leaves KMS.
    ///
    /// # Errors
    /// The same as for [`KeyOpener::open`] of this opener.
    pub fn dry_run(&self, slot: &Slot, binding: &Binding) -> Result<Permitted> {
        let (this, slot, binding) = (self.clone(), slot.clone(), binding.clone());
        self.kms.block_on(async move { this.asked(&slot, &binding).await })
    }

    /// The async version of [`dry_run`](Self::dry_run), for any runtime.
    ///
    /// # Errors
    /// The same.
    pub async fn dry_run_async(&self, slot: &Slot, binding: &Binding) -> Result<Permitted> {
        let (this, slot, binding) = (self.clone(), slot.clone(), binding.clone());
        self.kms.on_worker(async move { this.asked(&slot, &binding).await }).await
    }

    async fn asked(&self, slot: &Slot, binding: &Binding) -> Result<Permitted> {
        let (arn, asks) = self.asks(slot).await?;
        if let Rule::Account(super::AccountRule::Own, _) = self.rule {
            self.see_that_it_is_own(&arn).await?;
        }
        let mut first = None;
        for ask in &asks {
            match self.ask_one(ask, slot, binding).await {
                // The next region is asked only if this one does not answer, or has an internal failure.
                Err(Error::Provider(error))
                    if matches!(error.cause, ProviderCause::Unreachable | ProviderCause::Internal) =>
                {
                    first.get_or_insert(Error::Provider(error));
                }
                answer => return answer,
            }
        }
        Err(first.unwrap_or_else(|| no_region_to_call(slot)))
    }

    /// Checks the caller's account before any key is called.
    async fn see_that_it_is_own(&self, slot: &KeyArn) -> Result<()> {
        if let Some(account) = self.kms.stated_account().await {
            check_owner(slot, slot.partition(), &account)?;
        }
        let caller = self.kms.caller(slot.region()).await.map_err(|error| without_sts(error, slot))?;
        check_owner(slot, &caller.partition, &caller.account)
    }

    async fn ask_one(&self, ask: &Ask, slot: &Slot, binding: &Binding) -> Result<Permitted> {
        let client = self.kms.client(&ask.region).await?;
        let is_ml_kem = slot.kind == SlotKind::AWS_KMS_ML_KEM;
        let operation = if is_ml_kem { KmsOperation::Decapsulate } else { KmsOperation::Decrypt };
        let mut call = KmsCall::new(operation, &ask.key_id, &ask.region);
        let sent = || {
            let sent = public::encapsulation(slot).ok_or(Error::ApiMisuse("a slot that is not of a public key"))?;
            Ok::<_, Error>(Blob::new(sent))
        };
        let told = match slot.kind {
            SlotKind::AWS_KMS_ML_KEM => {
                let request = client.decapsulate().key_id(&ask.key_id).shared_secret_ciphertext_blob(sent()?);
                let request = request.encapsulation_algorithm(EncapsulationAlgorithmSpec::MlKem).dry_run(true);
                let send =
                    || async { told(request.clone().send().await, DecapsulateError::is_dry_run_operation_exception) };
                self.kms.call_with(&mut call, &[], Told::secret, send).await?
            }
            kind => {
                let request = client.decrypt().key_id(&ask.key_id).dry_run(true);
                let request = if kind == SlotKind::AWS_KMS_RSA {
                    request.ciphertext_blob(sent()?).encryption_algorithm(EncryptionAlgorithmSpec::RsaesOaepSha256)
                } else {
                    let request = request.ciphertext_blob(Blob::new(slot.wrapped.clone()));
                    request.set_encryption_context(Some(context(binding)))
                };
                let send = || async { would_decrypt(request.clone().send().await) };
                self.kms.call_with(&mut call, &[], Told::secret, send).await?
            }
        };
        self.judge(ask, slot, &call, &told)
    }

    fn judge(&self, ask: &Ask, slot: &Slot, call: &KmsCall, told: &Told) -> Result<Permitted> {
        let doubt = match &told.opened {
            Some((secret, key_id)) => {
                let arn = answered_arn(call, key_id.as_deref())?;
                if arn != ask.expected {
                    return Err(another_key(call, "is by", &arn, secret));
                }
                Some(Doubt::Opened)
            }
            // A ciphertext of kind 1 names its key, and KMS compares. Ciphertexts of other kinds do not.
            None if slot.kind != SlotKind::AWS_KMS && self.is_by_alias() => Some(Doubt::Alias),
            None => None,
        };
        Ok(Permitted { key: ask.key_id.clone(), doubt })
    }

    fn is_by_alias(&self) -> bool {
        matches!(&self.rule, Rule::Named(KmsKeyName::Alias(_) | KmsKeyName::AliasArn(_)))
    }
}

/// The answer to a `DryRun` call that would succeed.
pub(crate) struct Told {
    /// From a server that does not know `DryRun`: the secret, and the key that the answer names.
    opened: Option<(Zeroizing<Vec<u8>>, Option<String>)>,
    request_id: Option<String>,
}

impl Told {
    /// The secret, which no text may contain.
    pub(crate) fn secret(&self) -> &[u8] {
        self.opened.as_ref().map(|(secret, _)| secret.as_slice()).unwrap_or_default()
    }
}

impl RequestId for Told {
    fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

/// An answer that contains a secret if the server does not know `DryRun`.
trait Answer: RequestId {
    fn into_parts(self) -> (Option<Blob>, Option<String>);
}

impl Answer for DecryptOutput {
    fn into_parts(self) -> (Option<Blob>, Option<String>) {
        (self.plaintext, self.key_id)
    }
}

impl Answer for DecapsulateOutput {
    fn into_parts(self) -> (Option<Blob>, Option<String>) {
        (self.shared_secret, self.key_id)
    }
}

/// Makes an answer of the exception with which AWS says that a `Decrypt` with `DryRun` would succeed.
#[expect(clippy::result_large_err, reason = "it is the SDK's own error, returned unchanged")]
pub(crate) fn would_decrypt(
    answer: Result<DecryptOutput, SdkError<DecryptError, HttpResponse>>,
) -> Result<Told, SdkError<DecryptError, HttpResponse>> {
    told(answer, DecryptError::is_dry_run_operation_exception)
}

#[expect(clippy::result_large_err, reason = "it is the SDK's own error, returned unchanged")]
fn told<O: Answer, E>(
    answer: Result<O, SdkError<E, HttpResponse>>,
    would_succeed: fn(&E) -> bool,
) -> Result<Told, SdkError<E, HttpResponse>> {
    match answer {
        Ok(answer) => {
            let request_id = answer.request_id().map(str::to_owned);
            let (blob, key_id) = answer.into_parts();
            Ok(Told { opened: Some((secret(blob), key_id)), request_id })
        }
        Err(error) if error.as_service_error().is_some_and(would_succeed) => {
            Ok(Told { opened: None, request_id: error.request_id().map(str::to_owned) })
        }
        Err(error) => Err(error),
    }
}
