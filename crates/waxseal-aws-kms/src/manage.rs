//! Switching a key on and off, its end, and the name that points to it.

use std::time::SystemTime;

use waxseal::error::{Error, ProviderCause, Result};

use super::client::{Kms, KmsCall};
use super::create::check_alias;
use super::failure::bad_answer;
use super::name::{KeyArn, KmsKeyName};

/// What became of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PointedAlias {
    /// The key that it names now.
    pub key: KeyArn,
    /// The key that it named before; `None` for a new alias.
    pub before: Option<KeyArn>,
}

impl PointedAlias {
    /// Whether it named that key before.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.before.as_ref() == Some(&self.key)
    }
}

impl Kms {
    /// Makes the key usable again.
    ///
    /// # Errors
    /// Whatever KMS answers.
    pub fn enable_key(&self, name: &KmsKeyName) -> Result<KeyArn> {
        let (this, name) = (self.clone(), name.clone());
        self.block_on(async move {
            let arn = this.described_arn(&name).await?;
            let mut call = KmsCall::new("EnableKey", &arn, arn.region());
            let request = this.client(arn.region()).await?.enable_key().key_id(arn.to_string());
            this.call(&mut call, || request.clone().send()).await?;
            Ok(arn)
        })
    }

    /// Makes the key unusable, until it is enabled again.
    ///
    /// # Errors
    /// Whatever KMS answers.
    pub fn disable_key(&self, name: &KmsKeyName) -> Result<KeyArn> {
        let (this, name) = (self.clone(), name.clone());
        self.block_on(async move {
            let arn = this.described_arn(&name).await?;
            let mut call = KmsCall::new("DisableKey", &arn, arn.region());
            let request = this.client(arn.region()).await?.disable_key().key_id(arn.to_string());
            this.call(&mut call, || request.clone().send()).await?;
            Ok(arn)
        })
    }

    /// Has KMS delete the key after `days` days, 7 to 30. Until then it is unusable, and the deletion can be cancelled.
    /// Returns when it is to be, where KMS says so: a multi-Region key waits for its replicas first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of days; whatever KMS answers.
    pub fn schedule_deletion(&self, name: &KmsKeyName, days: i32) -> Result<(KeyArn, Option<SystemTime>)> {
        if !(7..=30).contains(&days) {
            return Err(Error::Invalid(format!("a key is deleted after 7 to 30 days, not {days}")));
        }
        let (this, name) = (self.clone(), name.clone());
        self.block_on(async move {
            let arn = this.described_arn(&name).await?;
            let mut call = KmsCall::new("ScheduleKeyDeletion", &arn, arn.region());
            let request = this.client(arn.region()).await?.schedule_key_deletion().key_id(arn.to_string());
            let answer = this.call(&mut call, || request.clone().pending_window_in_days(days).send()).await?;
            let at = answer.deletion_date().and_then(|at| SystemTime::try_from(*at).ok());
            Ok((arn, at))
        })
    }

    /// Keeps a key that was to be deleted. It is disabled then.
    ///
    /// # Errors
    /// Whatever KMS answers.
    pub fn cancel_deletion(&self, name: &KmsKeyName) -> Result<KeyArn> {
        let (this, name) = (self.clone(), name.clone());
        self.block_on(async move {
            let arn = this.described_arn(&name).await?;
            let mut call = KmsCall::new("CancelKeyDeletion", &arn, arn.region());
            let request = this.client(arn.region()).await?.cancel_key_deletion().key_id(arn.to_string());
            this.call(&mut call, || request.clone().send()).await?;
            Ok(arn)
        })
    }

    /// Has `alias` (`alias/NAME`) name the key; makes the alias where there is none. Files that were sealed under it
    /// before keep the key that they were sealed with.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an alias that cannot be one, and for a key in another region; whatever KMS answers: both
    /// keys must be of one kind and usage.
    pub fn point_alias(&self, alias: &str, name: &KmsKeyName) -> Result<PointedAlias> {
        check_alias(alias)?;
        let (this, alias, name) = (self.clone(), alias.to_owned(), name.clone());
        self.block_on(async move { this.point(&alias, &name).await })
    }

    async fn point(&self, alias: &str, name: &KmsKeyName) -> Result<PointedAlias> {
        let key = self.described_arn(name).await?;
        // An alias names keys of its own region.
        let mut target = self.target(&KmsKeyName::Alias(alias.to_owned())).await;
        if let (Err(Error::Invalid(_)), Some(region)) = (&target, name.region()) {
            let name = KmsKeyName::Alias(alias.to_owned());
            target = Ok(super::client::Target { name, region: region.to_owned() });
        }
        let target = target?;
        if target.region != key.region() {
            let (theirs, ours) = (key.region(), &target.region);
            return Err(Error::Invalid(format!(
                "{alias} in {ours} cannot name a key in {theirs}: an alias names keys of its own region"
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
                let mut call = KmsCall::new("UpdateAlias", alias, &target.region);
                let request = self.client(&target.region).await?.update_alias().alias_name(alias);
                self.call(&mut call, || request.clone().target_key_id(key.id()).send()).await?;
                // Said only when it is so.
                if self.describe(&target, &[]).await.is_ok_and(|(now, _)| now != key && Some(&now) != before.as_ref()) {
                    return Err(bad_answer(&call, "left the alias with another key"));
                }
            }
        }
        Ok(PointedAlias { key, before })
    }

    /// The ARN of the key, which these calls need: they take no alias.
    async fn described_arn(&self, name: &KmsKeyName) -> Result<KeyArn> {
        let target = self.target(name).await?;
        Ok(self.describe(&target, &[]).await?.0)
    }
}
