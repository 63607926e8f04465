//! "May I restore?": KMS is asked whether it would open a slot, and opens nothing.
//!
//! A call with `DryRun` returns no plaintext. That it would succeed, AWS says by `DryRunOperationException`. A server that
//! does not know `DryRun` opens the slot: its answer is wiped, and counts as permission.

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

use super::{Ask, KmsOpener, Rule, check_owner, not_allowed, with_sts_hint};
use crate::client::KmsCall;
use crate::failure::another_key;
use crate::name::{KeyArn, KmsKeyName};
use crate::seal::{answered_arn, context, secret};

/// KMS would open the slot, for this caller and with the file's encryption context.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Permitted {
    /// The key that was asked for, as the call named it.
    pub key: String,
    /// What a caller must know of the answer.
    pub doubt: Option<Doubt>,
}

/// Why a permission says less than it seems to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doubt {
    /// The server has opened the slot: it does not know `DryRun`.
    Opened,
    /// An alias was asked for, and of a public key's slot KMS does not say whose it is.
    Alias,
}

impl fmt::Display for Doubt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Opened => "the server does not know DryRun and opened the slot; its answer was wiped",
            Self::Alias => {
                "KMS did not say whether the alias is the slot's key; naming the key's ARN asks for that key"
            }
        })
    }
}

impl KmsOpener {
    /// Whether [`dry_run`](Self::dry_run) may ask for `slot`: one of kind 1, 4 or 5 whose key was named or whose account
    /// is allowed. No call is made.
    #[must_use]
    pub fn may_ask(&self, slot: &Slot) -> bool {
        is_of_kms(slot.kind)
            // Whose key it is, is one rule for all these kinds.
            && self.matches(&Slot { kind: SlotKind::AWS_KMS, key_id: slot.key_id.clone(), wrapped: Vec::new() })
    }

    /// Asks KMS whether it would open `slot` of a file that carries `binding`, by one call with `DryRun`. No data key
    /// leaves KMS.
    ///
    /// # Errors
    /// What [`KeyOpener::open`] of this opener would give.
    pub fn dry_run(&self, slot: &Slot, binding: &Binding) -> Result<Permitted> {
        let (this, slot, binding) = (self.clone(), slot.clone(), binding.clone());
        self.kms.block_on(async move { this.asked(&slot, &binding).await })
    }

    /// [`dry_run`](Self::dry_run) for a caller that awaits, in whatever runtime.
    ///
    /// # Errors
    /// As it.
    pub async fn dry_run_async(&self, slot: &Slot, binding: &Binding) -> Result<Permitted> {
        let (this, slot, binding) = (self.clone(), slot.clone(), binding.clone());
        self.kms.on_worker(async move { this.asked(&slot, &binding).await }).await
    }

    async fn asked(&self, slot: &Slot, binding: &Binding) -> Result<Permitted> {
        let arn = KeyArn::parse(&slot.key_id)?;
        if !self.may_ask(slot) {
            return Err(not_allowed(&arn, "the key was not named, and its account is not allowed"));
        }
        let asks = match &self.rule {
            Rule::Named(name) => self.asks_by_name(name, &arn).await?,
            Rule::Account(..) => self.asks_by_account(&arn).await?,
        };
        if let Rule::Account(super::AccountRule::Own, _) = self.rule {
            self.see_that_it_is_own(&arn).await?;
        }
        let mut first = None;
        for ask in &asks {
            match self.ask_one(ask, slot, binding).await {
                // Only where a region does not answer, or fails by its own fault, another one is asked.
                Err(Error::Provider(error))
                    if matches!(error.cause, ProviderCause::Unreachable | ProviderCause::Internal) =>
                {
                    first.get_or_insert(Error::Provider(error));
                }
                answer => return answer,
            }
        }
        Err(first.unwrap_or(Error::ApiMisuse("a slot without a region to call")))
    }

    /// The caller's account, before any key is called.
    async fn see_that_it_is_own(&self, slot: &KeyArn) -> Result<()> {
        if let Some(account) = self.kms.stated_account().await {
            check_owner(slot, slot.partition(), &account)?;
        }
        let caller = self.kms.caller(slot.region()).await.map_err(|error| with_sts_hint(error, slot))?;
        check_owner(slot, &caller.partition, &caller.account)
    }

    async fn ask_one(&self, ask: &Ask, slot: &Slot, binding: &Binding) -> Result<Permitted> {
        let client = self.kms.client(&ask.region).await?;
        let operation = if slot.kind == SlotKind::AWS_KMS_ML_KEM { "Decapsulate" } else { "Decrypt" };
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
            // A ciphertext of kind 1 says whose it is, and KMS compares. The others are anybody's.
            None if slot.kind != SlotKind::AWS_KMS && self.is_by_alias() => Some(Doubt::Alias),
            None => None,
        };
        Ok(Permitted { key: ask.key_id.clone(), doubt })
    }

    fn is_by_alias(&self) -> bool {
        matches!(&self.rule, Rule::Named(KmsKeyName::Alias(_) | KmsKeyName::AliasArn(_)))
    }
}

/// Kinds 1, 4 and 5.
fn is_of_kms(kind: SlotKind) -> bool {
    [SlotKind::AWS_KMS, SlotKind::AWS_KMS_ML_KEM, SlotKind::AWS_KMS_RSA].contains(&kind)
}

/// What comes back of a call with `DryRun` that would succeed.
pub(crate) struct Told {
    /// The secret, and the key that the answer names, of a server that does not know `DryRun`.
    opened: Option<(Zeroizing<Vec<u8>>, Option<String>)>,
    request_id: Option<String>,
}

impl Told {
    /// What no text may hold.
    pub(crate) fn secret(&self) -> &[u8] {
        self.opened.as_ref().map(|(secret, _)| secret.as_slice()).unwrap_or_default()
    }
}

impl RequestId for Told {
    fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

/// Answers that hold a secret where `DryRun` is not known.
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

/// Takes AWS's way to say that a `Decrypt` with `DryRun` would succeed for what it is.
#[expect(clippy::result_large_err, reason = "the SDK's own error, handed on as it came")]
pub(crate) fn would_decrypt(
    answer: Result<DecryptOutput, SdkError<DecryptError, HttpResponse>>,
) -> Result<Told, SdkError<DecryptError, HttpResponse>> {
    told(answer, DecryptError::is_dry_run_operation_exception)
}

#[expect(clippy::result_large_err, reason = "the SDK's own error, handed on as it came")]
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
