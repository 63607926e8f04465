//! Whose keys may be called as the source of a `ReEncrypt`.

use waxseal::error::{Error, ProviderCause, ProviderError, Result};
use waxseal::format::Slot;

use super::client::Kms;
use super::name::KeyArn;
use super::open::AccountRule;

/// Whose keys may be called as the source of a [`Kms::reencrypt`]. A slot's ARN comes from whoever could write the
/// file: a key counts that the caller named, or one of an account that counts.
#[derive(Debug, Clone)]
pub struct SourceRule {
    accounts: AccountRule,
    named: Vec<KeyArn>,
}

impl SourceRule {
    /// `named` are the keys that count in any case; `accounts` says whose else do.
    #[must_use]
    pub fn new(accounts: AccountRule, named: Vec<KeyArn>) -> Self {
        Self { accounts, named }
    }

    /// Whether `slot`'s key may be called. STS is asked at most once a handle, and only where the caller's own account
    /// decides.
    ///
    /// # Errors
    /// [`ProviderCause::NotAllowed`] for a key that does not count; whatever STS answers.
    pub fn check(&self, slot: &Slot, kms: &Kms) -> Result<()> {
        let arn = KeyArn::parse(&slot.key_id)?;
        if self.named.iter().any(|named| named.matches(&arn)) {
            return Ok(());
        }
        let allowed = match &self.accounts {
            AccountRule::Any => true,
            AccountRule::Ids(ids) => ids.iter().any(|id| id == arn.account()),
            AccountRule::Own => {
                let account = kms.own_account(arn.region()).map_err(|error| with_way_round(error, &arn))?;
                account == arn.account()
            }
        };
        if allowed {
            return Ok(());
        }
        let message = format!("it is a key of account {}, which was not named", arn.account());
        let error = ProviderError::new(ProviderCause::NotAllowed, arn.to_string(), message);
        Err(Box::new(error.with_hint(format!("if you trust it: {}", ways_to_name(&arn)))).into())
    }
}

fn ways_to_name(arn: &KeyArn) -> String {
    format!("--from {arn}, or --account {}", arn.account())
}

/// Whose credentials they are need not be asked where the key or its account is named.
fn with_way_round(error: Error, arn: &KeyArn) -> Error {
    match error {
        Error::Provider(error) if error.retryable() || error.cause == ProviderCause::Denied => {
            let hint = format!("without asking STS: {}", ways_to_name(arn));
            Error::Provider(Box::new(error.with_hint(hint)))
        }
        other => other,
    }
}
