//! Names of keys: those that the user gives, those in slots, and those in answers of KMS.

use std::fmt;

use waxseal::error::{Error, Result};
use waxseal::format::is_kms_key_arn;
use waxseal_aws::name::is_region;

/// The first characters of the ids of multi-Region keys, and of no others.
const MULTI_REGION: &str = "mrk-";

/// A KMS key's ARN: `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`, never an alias.
///
/// Its grammar is that of a slot's key id (spec 9.2). It can come from a hostile file. [`KeyArn::has_real_region`] says
/// whether its region may be called.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyArn {
    partition: String,
    region: String,
    account: String,
    id: String,
}

impl KeyArn {
    /// Parses the whole of `text`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `text` is not the ARN of a key.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || Error::Invalid(format!("{text:?} is not the ARN of a KMS key"));
        if !is_kms_key_arn(text) {
            return Err(invalid());
        }
        let mut parts = text.splitn(6, ':').skip(1);
        let mut part = || parts.next().map(str::to_owned).ok_or_else(invalid);
        let (partition, _kms, region, account, resource) = (part()?, part()?, part()?, part()?, part()?);
        let id = resource.strip_prefix("key/").ok_or_else(invalid)?.to_owned();
        Ok(Self { partition, region, account, id })
    }

    /// `aws`, `aws-cn`, `aws-us-gov`, ...
    #[must_use]
    pub fn partition(&self) -> &str {
        &self.partition
    }

    /// The region in the ARN.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The account, 12 digits.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The id after `key/`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the key is a multi-Region key.
    #[must_use]
    pub fn is_multi_region(&self) -> bool {
        self.id.starts_with(MULTI_REGION)
    }

    /// Whether both are the same key: the ARNs are equal, or they name one multi-Region key in two regions.
    ///
    /// > A slot *matches* an ARN that the user named if the two ARNs are equal, or if both IDs start with `mrk-` and the
    /// > ARNs differ only in REGION.
    #[must_use]
    pub fn matches(&self, other: &KeyArn) -> bool {
        self == other || (self.is_multi_region() && *self == other.in_region(&self.region))
    }

    /// The ARN of the same key in another region. Only multi-Region keys have one.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        Self { region: region.to_owned(), ..self.clone() }
    }

    /// Whether the region has the form of AWS's regions and is in the partition of the ARN. No other region is called.
    #[must_use]
    pub fn has_real_region(&self) -> bool {
        is_region(&self.region) && partition_of(&self.region) == self.partition
    }
}

impl fmt::Display for KeyArn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "arn:{}:kms:{}:{}:key/{}", self.partition, self.region, self.account, self.id)
    }
}

impl fmt::Debug for KeyArn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The partition that a region belongs to, by AWS's published list.
pub(super) fn partition_of(region: &str) -> &'static str {
    const PARTITIONS: [(&str, &str); 7] = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("eu-isoe-", "aws-iso-e"),
        ("us-isof-", "aws-iso-f"),
        ("eusc-", "aws-eusc"),
    ];
    PARTITIONS.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("aws", |(_, partition)| partition)
}

/// A KMS key as a user names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KmsKeyName {
    /// `arn:aws:kms:REGION:ACCOUNT:key/ID`
    KeyArn(KeyArn),
    /// `arn:aws:kms:REGION:ACCOUNT:alias/NAME`
    AliasArn(AliasArn),
    /// `alias/NAME`, in the configured region and the caller's account.
    Alias(String),
    /// A UUID or `mrk-...`, in the configured region and the caller's account.
    KeyId(String),
}

/// An alias' ARN.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AliasArn {
    text: String,
    /// The ARN with the alias in place of the key. Answers are compared with it.
    place: KeyArn,
}

impl AliasArn {
    /// The region in the ARN.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.place.region
    }

    /// The account in the ARN.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.place.account
    }
}

impl KmsKeyName {
    /// Parses a name: a key ARN, an alias ARN, `alias/NAME`, the UUID of a key, or `mrk-...`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for any other text.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| Error::Invalid(format!("{text:?} does not name an AWS KMS key: {why}"));
        if text.starts_with("arn:") {
            let name = match KeyArn::parse(text) {
                Ok(arn) => Self::KeyArn(arn),
                Err(_) => Self::AliasArn(parse_alias_arn(text).ok_or_else(|| {
                    invalid("it is neither arn:aws:kms:REGION:ACCOUNT:key/ID nor arn:aws:kms:REGION:ACCOUNT:alias/NAME")
                })?),
            };
            let (Self::KeyArn(place) | Self::AliasArn(AliasArn { place, .. })) = &name else { return Ok(name) };
            if !place.has_real_region() {
                return Err(invalid("its region is not in its partition"));
            }
            return Ok(name);
        }
        if is_alias(text) {
            return Ok(Self::Alias(text.to_owned()));
        }
        if is_key_id(text) {
            return Ok(Self::KeyId(text.to_owned()));
        }
        Err(invalid("a name is a key or alias ARN, alias/NAME, the UUID of a key in lower case, or mrk-..."))
    }

    /// The region in the name, if it has one.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        match self {
            Self::KeyArn(arn) => Some(arn.region()),
            Self::AliasArn(alias) => Some(alias.region()),
            Self::Alias(_) | Self::KeyId(_) => None,
        }
    }

    /// The account in the name, if it has one.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::KeyArn(arn) => Some(arn.account()),
            Self::AliasArn(alias) => Some(alias.account()),
            Self::Alias(_) | Self::KeyId(_) => None,
        }
    }

    /// Whether the name is the ARN or id of a multi-Region key. Only then may another region be called for it.
    #[must_use]
    pub fn is_multi_region(&self) -> bool {
        match self {
            Self::KeyArn(arn) => arn.is_multi_region(),
            Self::KeyId(id) => id.starts_with(MULTI_REGION),
            Self::AliasArn(_) | Self::Alias(_) => false,
        }
    }

    /// The name for a call in `region`: for a multi-Region key's ARN its ARN there, otherwise the same name.
    pub(super) fn called_in(&self, region: &str) -> Self {
        match self {
            Self::KeyArn(arn) if arn.is_multi_region() => Self::KeyArn(arn.in_region(region)),
            other => other.clone(),
        }
    }

    /// Whether an answer from `region` that names the key `answer` can be from the key that was named.
    #[must_use]
    pub fn accepts(&self, answer: &KeyArn, region: &str) -> bool {
        let in_place = |place: &KeyArn| {
            (&place.partition, &place.region, &place.account) == (&answer.partition, &answer.region, &answer.account)
        };
        match self {
            Self::KeyArn(arn) => arn == answer,
            Self::AliasArn(alias) => in_place(&alias.place),
            Self::Alias(_) => answer.region == region,
            Self::KeyId(id) => answer.region == region && answer.id == *id,
        }
    }

    /// Whether the key `slot` of a slot can be this key. This uses public bytes only. An alias can be of any key in its
    /// region, and only KMS knows which.
    #[must_use]
    pub fn may_be(&self, slot: &KeyArn) -> bool {
        match self {
            Self::KeyArn(arn) => arn.matches(slot),
            Self::AliasArn(alias) => {
                let place = &alias.place;
                (&place.partition, &place.region, &place.account) == (&slot.partition, &slot.region, &slot.account)
            }
            Self::Alias(_) => true,
            Self::KeyId(id) => slot.id == *id,
        }
    }
}

impl fmt::Display for KmsKeyName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyArn(arn) => arn.fmt(out),
            Self::AliasArn(alias) => out.write_str(&alias.text),
            Self::Alias(text) | Self::KeyId(text) => out.write_str(text),
        }
    }
}

impl std::str::FromStr for KmsKeyName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

fn parse_alias_arn(text: &str) -> Option<AliasArn> {
    let (head, name) = text.split_once(":alias/")?;
    let place = KeyArn::parse(&format!("{head}:key/alias")).ok()?;
    is_alias(&format!("alias/{name}")).then(|| AliasArn { text: text.to_owned(), place })
}

/// `alias/` and 1 to 250 letters, digits, `/`, `_` and `-`.
pub(super) fn is_alias(text: &str) -> bool {
    text.strip_prefix("alias/").is_some_and(|name| {
        (1..=250).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-'))
    })
}

/// A lower-case UUID, or `mrk-` and 32 lower-case hex digits with or without the hyphens of a UUID.
fn is_key_id(text: &str) -> bool {
    let hex = |digits: &str, len: usize| {
        digits.len() == len && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let uuid = |text: &str| {
        let groups: Vec<&str> = text.split('-').collect();
        groups.len() == 5 && groups.iter().zip([8, 4, 4, 4, 12]).all(|(group, len)| hex(group, len))
    };
    match text.strip_prefix(MULTI_REGION) {
        Some(digits) => hex(digits, 32) || uuid(digits),
        None => uuid(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "12345678-90ab-cdef-1234-567890abcdef";
    const MRK: &str = "mrk-1234567890abcdef1234567890abcdef";

    fn arn(region: &str, account: &str, id: &str) -> KeyArn {
        KeyArn::parse(&format!("arn:aws:kms:{region}:{account}:key/{id}")).unwrap()
    }

    #[test]
    fn names() {
        let good = [
            format!("arn:aws:kms:eu-west-1:123456789012:key/{ID}"),
            format!("arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/{MRK}"),
            format!("arn:aws-cn:kms:cn-north-1:123456789012:key/{ID}"),
            "arn:aws:kms:ap-southeast-12:123456789012:alias/backup/db".into(),
            "arn:aws-eusc:kms:eusc-de-east-1:123456789012:alias/x".into(),
            "alias/backup".into(),
            "alias/aws/s3".into(),
            ID.into(),
            MRK.into(),
        ];
        for text in &good {
            assert_eq!(KmsKeyName::parse(text).unwrap().to_string(), *text);
        }
        let bad = [
            String::new(),
            "backup.key".into(),
            "alias/".into(),
            "alias/a b".into(),
            "alias/a:b".into(),
            format!("alias/{}", "a".repeat(251)),
            ID.to_uppercase(),
            ID[1..].into(),
            "mrk-12".into(),
            format!("{MRK}0"),
            format!(" {ID}"),
            format!("arn:aws:kms:evil:123456789012:key/{ID}"),
            format!("arn:aws:kms:cn-north-1:123456789012:key/{ID}"),
            format!("arn:aws-cn:kms:eu-west-1:123456789012:key/{ID}"),
            format!("arn:aws-evil:kms:eu-west-1:123456789012:key/{ID}"),
            "arn:aws:kms:eu-west-1:12345678901:alias/x".into(),
            "arn:aws:kms:eu-west-1:123456789012:alias/".into(),
            "arn:aws:kms:eu-west-1:123456789012:alias/a:alias/b".into(),
            "arn:aws:s3:::bucket".into(),
        ];
        for text in &bad {
            assert!(matches!(KmsKeyName::parse(text), Err(Error::Invalid(_))), "{text}");
        }
    }

    #[test]
    fn a_multi_region_key_matches_its_sisters() {
        let home = arn("eu-west-1", "123456789012", MRK);
        assert!(home.matches(&arn("us-east-1", "123456789012", MRK)));
        assert!(!home.matches(&arn("us-east-1", "210987654321", MRK)));
        assert!(!home.matches(&arn("us-east-1", "123456789012", &MRK.replace("12", "21"))));
        let single = arn("eu-west-1", "123456789012", ID);
        assert!(single.matches(&single.clone()) && !single.matches(&arn("us-east-1", "123456789012", ID)));
        assert_eq!(home.to_string(), format!("arn:aws:kms:eu-west-1:123456789012:key/{MRK}"));
    }

    #[test]
    fn answers_are_held_against_the_name() {
        let name = |text: &str| KmsKeyName::parse(text).unwrap();
        let answer = arn("eu-west-1", "123456789012", ID);
        assert!(name(&answer.to_string()).accepts(&answer, "eu-west-1"));
        assert!(name(ID).accepts(&answer, "eu-west-1") && !name(ID).accepts(&answer, "us-east-1"));
        assert!(name("alias/x").accepts(&answer, "eu-west-1") && !name("alias/x").accepts(&answer, "us-east-1"));
        assert!(name("arn:aws:kms:eu-west-1:123456789012:alias/x").accepts(&answer, "eu-west-1"));
        assert!(!name("arn:aws:kms:eu-west-1:210987654321:alias/x").accepts(&answer, "eu-west-1"));
        assert!(!name(MRK).accepts(&answer, "eu-west-1"));
    }
}
