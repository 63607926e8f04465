//! Making a key.

use aws_sdk_kms::types::{KeyMetadata, KeySpec, KeyUsageType, OriginType, Tag};
use waxseal::error::{Error, ProviderCause, ProviderError, Result};
use waxseal::keys::public::PublicKeySpec;

use super::client::{Kms, KmsCall, Target};
use super::name::{KeyArn, KmsKeyName, is_alias};
use super::seal::answered_arn;

/// Where a new key's material comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyOrigin {
    /// KMS makes it, and it never leaves KMS.
    #[default]
    AwsKms,
    /// Its owner imports it; until then the key is pending import.
    External,
}

/// In how many regions a new key can live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyRegions {
    /// In the one it is made in.
    #[default]
    Single,
    /// It can be replicated into others, under the same id.
    Multi,
}

/// What a new key is to be.
///
/// ```
/// use waxseal::keys::public::PublicKeySpec;
/// use waxseal_aws_kms::NewKey;
///
/// let mut new = NewKey::new();
/// new.public = Some(PublicKeySpec::MlKem768);
/// new.description = Some("backups".into());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct NewKey {
    /// Where its material comes from.
    pub origin: KeyOrigin,
    /// In how many regions it can live.
    pub regions: KeyRegions,
    /// A key with a public half, for recipient files; `None`: a symmetric one.
    pub public: Option<PublicKeySpec>,
    /// What it is for, in its owner's words.
    pub description: Option<String>,
    /// Names and values. They are no secret: AWS shows them in many places.
    pub tags: Vec<(String, String)>,
    /// Its policy as a JSON document; `None`: AWS's default, by which IAM policies of the account count.
    pub policy: Option<String>,
}

impl NewKey {
    /// Symmetric, of KMS's own material, in one region.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn check(&self) -> Result<()> {
        let Some(spec) = self.public else { return Ok(()) };
        if spec == PublicKeySpec::XWing {
            return Err(Error::Invalid("AWS KMS has no X-Wing keys".into()));
        }
        if self.origin == KeyOrigin::External {
            return Err(Error::Invalid(format!("KMS makes a key of {} itself: it takes no material", spec.name())));
        }
        Ok(())
    }

    fn usage(&self) -> KeyUsageType {
        match self.public {
            Some(PublicKeySpec::MlKem768 | PublicKeySpec::MlKem1024) => KeyUsageType::EncapsulateDecapsulate,
            _ => KeyUsageType::EncryptDecrypt,
        }
    }

    fn tags(&self) -> Result<Option<Vec<Tag>>> {
        let tag = |(name, value): &(String, String)| {
            let made = Tag::builder().tag_key(name).tag_value(value).build();
            made.map_err(|_| Error::Invalid(format!("{name:?} cannot be the name of a tag")))
        };
        let tags: Vec<Tag> = self.tags.iter().map(tag).collect::<Result<_>>()?;
        Ok((!tags.is_empty()).then_some(tags))
    }
}

impl Kms {
    /// Makes a symmetric key with `alias` (`alias/NAME`); as [`Kms::create_key_as`].
    ///
    /// # Errors
    /// As it.
    pub fn create_key(&self, origin: KeyOrigin, regions: KeyRegions, alias: &str) -> Result<KeyArn> {
        self.create_key_as(&NewKey { origin, regions, ..NewKey::new() }, alias)
    }

    /// Makes a key with `alias` (`alias/NAME`), which is looked up first: a second run makes no second key.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an alias that cannot be one, and for material of one's own in a key with a public half;
    /// [`ProviderCause::AlreadyExists`] when the alias is there; whatever KMS answers. Where the key was made and the
    /// alias was not, the message names the key.
    pub fn create_key_as(&self, new: &NewKey, alias: &str) -> Result<KeyArn> {
        check_alias(alias)?;
        new.check()?;
        let (this, new, alias) = (self.clone(), new.clone(), alias.to_owned());
        self.block_on(async move { this.create(&new, alias).await })
    }

    async fn create(&self, new: &NewKey, alias: String) -> Result<KeyArn> {
        let target = self.target(&KmsKeyName::Alias(alias.clone())).await?;
        match self.describe(&target, &[]).await {
            Ok((arn, _)) => {
                let message = format!("it exists already, and names {arn}");
                return Err(Box::new(ProviderError::new(ProviderCause::AlreadyExists, alias, message)).into());
            }
            Err(Error::Provider(error)) if error.cause == ProviderCause::NotFound => {}
            Err(other) => return Err(other),
        }
        let arn = self.make(new, &alias, &target.region).await?;
        match self.name_it(&alias, &arn, &target).await {
            Ok(()) => Ok(arn),
            Err(Error::Provider(mut error)) => {
                error.message = format!("the key {arn} was made, its alias was not: {}", error.message);
                let hint = format!("waxseal key alias {alias} {arn}");
                Err(Error::Provider(Box::new(error.with_hint(hint))))
            }
            Err(other) => Err(other),
        }
    }

    async fn make(&self, new: &NewKey, alias: &str, region: &str) -> Result<KeyArn> {
        let mut call = KmsCall::new("CreateKey", alias, region);
        let origin = match new.origin {
            KeyOrigin::AwsKms => OriginType::AwsKms,
            KeyOrigin::External => OriginType::External,
        };
        let request = self.client(region).await?.create_key().origin(origin);
        let request = request.multi_region(new.regions == KeyRegions::Multi).set_tags(new.tags()?);
        let request = request.set_description(new.description.clone()).set_policy(new.policy.clone());
        let request = match new.public {
            Some(spec) => request.key_spec(KeySpec::from(spec.name())).key_usage(new.usage()),
            None => request,
        };
        let answer = self.call(&mut call, || request.clone().send()).await?;
        answered_arn(&call, answer.key_metadata.as_ref().and_then(KeyMetadata::arn))
    }

    /// Makes `alias`, which is not there.
    pub(super) async fn name_it(&self, alias: &str, arn: &KeyArn, target: &Target) -> Result<()> {
        let mut call = KmsCall::new("CreateAlias", alias, &target.region);
        let request = self.client(&target.region).await?.create_alias().alias_name(alias).target_key_id(arn.id());
        self.call(&mut call, || request.clone().send()).await.map(|_| ())
    }
}

/// That `alias` can be the caller's.
///
/// # Errors
/// [`Error::Invalid`] for what cannot.
pub(super) fn check_alias(alias: &str) -> Result<()> {
    if is_alias(alias) && !alias.starts_with("alias/aws/") {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{alias:?} cannot be an alias: it takes alias/ and 1 to 250 letters, digits, /, _ and -, \
         and alias/aws/ is AWS's"
    )))
}
