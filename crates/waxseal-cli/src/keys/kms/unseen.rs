//! Rewrapping by `ReEncrypt`: the data key never leaves KMS.

use std::sync::{Mutex, PoisonError};

use waxseal::error::ProviderCause;
use waxseal::format::{Bank, SlotKind};
use waxseal::rewrap::{Rewrapped, Verified};
use waxseal::{Error, Result};
use waxseal_aws_kms::{AccountRule, KeyArn, Kms, KmsKeyName, SourceRule};

use super::super::provider::{Sources, Unseen};
use super::slots_of_arn;

/// Rewraps for a key in KMS with `ReEncrypt`.
pub(super) struct ReEncrypted {
    kms: Kms,
    name: KmsKeyName,
    rule: SourceRule,
    /// The key that the name names, after KMS was asked.
    target: Mutex<Option<KeyArn>>,
}

impl ReEncrypted {
    pub(super) fn new(kms: &Kms, name: &KmsKeyName, sources: &Sources<'_>) -> Self {
        let args = sources.accounts;
        let accounts = if args.any_account {
            AccountRule::Any
        } else if !args.account.is_empty() {
            AccountRule::Ids(args.account.clone())
        } else {
            match name.account() {
                Some(account) => AccountRule::Ids(vec![account.to_owned()]),
                None => AccountRule::Own,
            }
        };
        let named = sources.named.iter().filter_map(|id| KeyArn::parse(id).ok()).collect();
        let rule = SourceRule::new(accounts, named);
        Self { kms: kms.clone(), name: name.clone(), rule, target: Mutex::default() }
    }
}

impl Unseen for ReEncrypted {
    /// Slots of public keys are refused: with `ReEncrypt`, a rewrap could be misused to open any ciphertext of such a key.
    fn accepts(&self, slot: &waxseal::format::Slot) -> bool {
        slot.kind == SlotKind::AWS_KMS
    }

    fn rewrap(&self, bank: &Bank, slot: usize, other_way: bool) -> Option<Result<Rewrapped>> {
        let source = bank.slots.get(slot).filter(|source| self.accepts(source))?;
        let allowed = self.rule.check(source, &self.kms);
        match allowed.and_then(|()| self.kms.reencrypt(source, &bank.binding, &self.name)) {
            Ok((made, request_id)) => {
                Some(Ok(Rewrapped { slot: made, from: slot, verified: Verified::Not, request_id }))
            }
            // Another region or partition.
            Err(Error::Provider(error)) if error.cause == ProviderCause::NotAllowed && other_way => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// A name that is not an ARN is looked up once in a run, and only if a slot could be of its key.
    fn has_slot(&self, bank: &Bank) -> Result<bool> {
        if !bank.slots.iter().any(|slot| self.accepts(slot)) {
            return Ok(false);
        }
        let is_own = slots_of_arn(once(&self.target, || self.kms.key_arn(&self.name))?);
        Ok(bank.slots.iter().any(is_own))
    }
}

/// The value in `known`, or else the answer of `ask`. Several files are rewrapped at the same time, and the others wait
/// for the one that asks.
fn once<T: Clone>(known: &Mutex<Option<T>>, ask: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    match &*known {
        Some(value) => Ok(value.clone()),
        None => Ok(known.insert(ask()?).clone()),
    }
}
