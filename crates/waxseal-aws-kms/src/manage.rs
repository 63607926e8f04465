//! Enabling, disabling and deleting a key, and the alias that names it.

use std::time::SystemTime;

use waxseal::error::{Error, ProviderCause, Result};

use super::client::{Kms, KmsCall, Target};
use super::create::check_alias;
use super::failure::bad_answer;
use super::name::{KeyArn, KmsKeyName};
use super::operation::KmsOperation;

/// An alias, after it was made to name a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PointedAlias {
    /// The key that the alias names now.
    pub key: KeyArn,
    /// The key that the alias named before; `None` for a new alias.
    pub before: Option<KeyArn>,
}

impl PointedAlias {
    /// Whether the alias named this key before, too.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.before.as_ref() == Some(&self.key)
    }
}

impl Kms {
    /// Enables the key.
    ///
    /// # Errors
    /// Any error of KMS.
    pub fn enable_key(&self, name: &KmsKeyName) -> Result<KeyArn> {
        let (this, name) = (self.clone(), name.clone());
        self.block_on(async move {
            let arn = this.described_arn(&name).await?;
            let mut call = KmsCall::new(KmsOperation::EnableKey, &arn, arn.region());
            let request = this.client(arn.region()).await?.enable_key().key_id(arn.to_string());
            this.call(&mut call, || request.clone().send()).await?;
            Ok(arn)
        })
    }

    /// Disables the key. It cannot be used until it is enabled again.
    ///
    /// # Errors
    /// Any error of KMS.
    pub fn disable_key(&self, name: &KmsKeyName) -> Result<KeyArn> {
        let (this, name) = (self.clone(), name.clone());
        self.block_on(async move {
            let arn = this.described_arn(&name).await?;
            let mut call = KmsCall::new(KmsOperation::DisableKey, &arn, arn.region());
            let request = this.client(arn.region()).await?.disable_key().key_id(arn.to_string());
            this.call(&mut call, || request.clone().send()).await?;
            Ok(arn)
        })
    }

    /// Schedules the deletion of the key after `days` days, 7 to 30. Until then it cannot be used, and the deletion can be
    /// cancelled. Returns the time of the deletion if KMS knows it. It does not for the primary key of a multi-Region key,
    /// which is deleted after its replicas.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of days; any error of KMS.
    pub fn schedule_deletion(&self, name: &KmsKeyName, days: i32) -> Result<(KeyArn, Option<SystemTime>)> {
        if !(7..=30).contains(&days) {
            return Err(Error::Invalid(format!("a key is deleted after 7 to 30 days, not {days}")));
        }
        let (this, name) = (self.clone(), name.clone());
        self.block_on(async move {
            let arn = this.described_arn(&name).await?;
            let mut call = KmsCall::new(KmsOperation::ScheduleKeyDeletion, &arn, arn.region());
            let request = this.client(arn.region()).await?.schedule_key_deletion().key_id(arn.to_string());
            let answer = this.call(&mut call, || request.clone().pending_window_in_days(days).send()).await?;
            let at = answer.deletion_date().and_then(|at| SystemTime::try_from(*at).ok());
            Ok((arn, at))
        })
    }

    /// Cancels the deletion of the key. The key is then disabled.
    ///
    /// # Errors
    /// Any error of KMS.
    pub fn cancel_deletion(&self, name: &KmsKeyName) -> Result<KeyArn> {
        let (this, name) = (self.clone(), name.clone());
        self.block_on(async move {
            let arn = this.described_arn(&name).await?;
            let mut call = KmsCall::new(KmsOperation::CancelKeyDeletion, &arn, arn.region());
            let request = this.client(arn.region()).await?.cancel_key_deletion().key_id(arn.to_string());
            this.call(&mut call, || request.clone().send()).await?;
            Ok(arn)
        })
    }

    /// Makes `alias` (`alias/NAME`) name the key, and creates the alias if it does not exist. Older files keep the key
    /// that they were sealed with.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `alias` is not a valid alias, and if the key is in another region; any error of KMS. KMS
    /// refuses a key of another kind or usage than the old key.
    pub fn point_alias(&self, alias: &str, name: &KmsKeyName) -> Result<PointedAlias> {
        check_alias(alias)?;
        let (this, alias, name) = (self.clone(), alias.to_owned(), name.clone());
        self.block_on(async move { this.point(&alias, &name).await })
    }

    async fn point(&self, alias: &str, name: &KmsKeyName) -> Result<PointedAlias> {
        let key = self.described_arn(name).await?;
        // An alias names keys in its own region only. If no region is configured, the key's region is the right one.
        let region = self.region().await?.unwrap_or_else(|| key.region().to_owned());
        let target = Target { name: KmsKeyName::Alias(alias.to_owned()), region };
        if target.region != key.region() {
            let (theirs, ours) = (key.region(), &target.region);
            return Err(Error::Invalid(format!(
                "{alias} in {ours} cannot name a key in {theirs}: an alias can name only keys in its own region"
            )));
        }
        let before = match self.describe(&target, &[]).await {
            Ok((arn, _)) => Some(arn),
            Err(Error::Provider(error)) if error.cause == ProviderCause::NotFound => None,
            Err(other) => return Err(other),
        };
        match &before {
            None => self.name_it(alias, &key, &target).await?,
            Some(before) if *before == key => {}
            Some(_) => {
                let mut call = KmsCall::new(KmsOperation::UpdateAlias, alias, &target.region);
                let request = self.client(&target.region).await?.update_alias().alias_name(alias);
                self.call(&mut call, || request.clone().target_key_id(key.id()).send()).await?;
                // An error here is ignored: only an answer that names a third key proves anything.
                if self.describe(&target, &[]).await.is_ok_and(|(now, _)| now != key && Some(&now) != before.as_ref()) {
                    return Err(bad_answer(&call, "made the alias name another key"));
                }
            }
        }
        Ok(PointedAlias { key, before })
    }

    /// The ARN of the key. These calls need it, because they take no alias.
    async fn described_arn(&self, name: &KmsKeyName) -> Result<KeyArn> {
        let target = self.target(name).await?;
        Ok(self.describe(&target, &[]).await?.0)
    }
}
