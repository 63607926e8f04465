//! Which keys may be called as the source of a `ReEncrypt`.

use waxseal::error::{Error, Naming, ProviderCause, ProviderError, Remedy, Result};
use waxseal::format::Slot;

use super::client::Kms;
use super::name::KeyArn;
use super::open::AccountRule;

/// Which keys may be called as the source of a [`Kms::reencrypt`]. Anyone who can write the file chooses the ARN in a
/// slot. A key may therefore be called only if the caller named it, or allowed its account.
#[derive(Debug, Clone)]
pub struct SourceRule {
    accounts: AccountRule,
    named: Vec<KeyArn>,
}

impl SourceRule {
    /// `named` are keys that are always allowed. `accounts` says whose keys are allowed as well.
    #[must_use]
    pub fn new(accounts: AccountRule, named: Vec<KeyArn>) -> Self {
        Self { accounts, named }
    }

    /// Checks that `slot`'s key may be called. STS is called only if the caller's own account decides, and at most once
    /// for each handle.
    ///
    /// # Errors
    /// [`ProviderCause::NotAllowed`] if the key is not allowed; any error of STS.
    pub fn check(&self, slot: &Slot, kms: &Kms) -> Result<()> {
        let arn = KeyArn::parse(&slot.key_id)?;
        if self.named.iter().any(|named| named.matches(&arn)) {
            return Ok(());
        }
        let allowed = match &self.accounts {
            AccountRule::Any => true,
            AccountRule::Ids(ids) => ids.iter().any(|id| id == arn.account()),
            AccountRule::Own => {
                let account = kms.own_account(arn.region()).map_err(|error| without_sts(error, &arn))?;
                account == arn.account()
            }
        };
        if allowed {
            return Ok(());
        }
        let message = format!("it is a key of account {}, which was not named", arn.account());
        let error = ProviderError::new(ProviderCause::NotAllowed, arn.to_string(), message);
        Err(Box::new(error.with_remedy(Remedy::Trust(naming(&arn)))).into())
    }
}

fn naming(arn: &KeyArn) -> Naming {
    Naming::to_rewrap(arn.to_string(), arn.account())
}

/// STS is not needed if the caller names the key or allows its account.
fn without_sts(error: Error, arn: &KeyArn) -> Error {
    match error {
        Error::Provider(error) if error.retryable() || error.cause == ProviderCause::Denied => {
            Error::Provider(Box::new(error.with_remedy(Remedy::SkipIdentity(naming(arn)))))
        }
        other => other,
    }
}
