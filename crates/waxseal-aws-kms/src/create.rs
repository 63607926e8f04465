//! Creating a key.

use aws_sdk_kms::types::{KeyMetadata, KeySpec, KeyUsageType, OriginType, Tag};
use waxseal::error::{Error, ProviderCause, ProviderError, Remedy, Result};
use waxseal::format::Holder;
use waxseal::keys::public::PublicKeySpec;

use super::client::{Kms, KmsCall, Target};
use super::name::{KeyArn, KmsKeyName, is_alias};
use super::operation::KmsOperation;
use super::seal::answered_arn;

/// Where a new key's material comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyOrigin {
    /// KMS creates it, and it never leaves KMS.
    #[default]
    AwsKms,
    /// The owner of the key imports it. Until then the key is pending import.
    External,
}

/// In how many regions a new key can exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyRegions {
    /// Only in the region where it is created.
    #[default]
    Single,
    /// It can be replicated into other regions, with the same id.
    Multi,
}

/// The properties of a new key.
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
    /// In how many regions it can exist.
    pub regions: KeyRegions,
    /// `Some` for a key with a public half, for recipient files. `None` for a symmetric key.
    pub public: Option<PublicKeySpec>,
    /// A description, in the owner's words.
    pub description: Option<String>,
    /// Tags: names and values. Put no secret there, because AWS shows them in many places.
    pub tags: Vec<(String, String)>,
    /// The key policy, a JSON document. With `None` AWS's default applies: IAM policies of the account decide.
    pub policy: Option<String>,
}

impl NewKey {
    /// A symmetric key in one region, with material that KMS creates.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn check(&self) -> Result<()> {
        let Some(spec) = self.public else { return Ok(()) };
        if spec.kind().holder() != Some(Holder::AwsKms) {
            return Err(Error::Invalid(format!("AWS KMS has no {} keys", spec.name())));
        }
        if self.origin == KeyOrigin::External {
            return Err(Error::Invalid(format!(
                "KMS creates the material of {} keys itself, so none can be imported",
                spec.name()
            )));
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
            let tag = Tag::builder().tag_key(name).tag_value(value).build();
            tag.map_err(|_| Error::Invalid(format!("{name:?} cannot be the name of a tag")))
        };
        let tags: Vec<Tag> = self.tags.iter().map(tag).collect::<Result<_>>()?;
        Ok((!tags.is_empty()).then_some(tags))
    }
}

impl Kms {
    /// Creates a symmetric key with `alias` (`alias/NAME`), like [`Kms::create_key_as`].
    ///
    /// # Errors
    /// The same.
    pub fn create_key(&self, origin: KeyOrigin, regions: KeyRegions, alias: &str) -> Result<KeyArn> {
        self.create_key_as(&NewKey { origin, regions, ..NewKey::new() }, alias)
    }

    /// Creates a key with `alias` (`alias/NAME`). The alias is looked up first, so a second run creates no second key.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `alias` is not a valid alias, and for imported material in a key with a public half;
    /// [`ProviderCause::AlreadyExists`] if the alias exists; any error of KMS. If the key was created but its alias was
    /// not, the message names the key.
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
                let message = format!("it exists already and names {arn}");
                return Err(Box::new(ProviderError::new(ProviderCause::AlreadyExists, alias, message)).into());
            }
            Err(Error::Provider(error)) if error.cause == ProviderCause::NotFound => {}
            Err(other) => return Err(other),
        }
        let arn = self.make(new, &alias, &target.region).await?;
        match self.name_it(&alias, &arn, &target).await {
            Ok(()) => Ok(arn),
            Err(Error::Provider(mut error)) => {
                error.message = format!("the key {arn} was created, but its alias was not: {}", error.message);
                let remedy = Remedy::CreateAlias { alias, key: arn.to_string() };
                Err(Error::Provider(Box::new(error.with_remedy(remedy))))
            }
            Err(other) => Err(other),
        }
    }

    async fn make(&self, new: &NewKey, alias: &str, region: &str) -> Result<KeyArn> {
        let mut call = KmsCall::new(KmsOperation::CreateKey, alias, region);
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

    /// Creates `alias`, which does not exist yet.
    pub(super) async fn name_it(&self, alias: &str, arn: &KeyArn, target: &Target) -> Result<()> {
        let mut call = KmsCall::new(KmsOperation::CreateAlias, alias, &target.region);
        let request = self.client(&target.region).await?.create_alias().alias_name(alias).target_key_id(arn.id());
        self.call(&mut call, || request.clone().send()).await.map(|_| ())
    }
}

/// Checks that `alias` is a valid alias, and not one of AWS's own.
///
/// # Errors
/// [`Error::Invalid`] if it is not.
pub(super) fn check_alias(alias: &str) -> Result<()> {
    if is_alias(alias) && !alias.starts_with("alias/aws/") {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{alias:?} is not a valid alias: an alias is alias/ and 1 to 250 letters, digits, /, _ and -, \
         and alias/aws/ is reserved for AWS"
    )))
}
