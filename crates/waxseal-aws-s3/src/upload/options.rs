//! What the caller chooses for a new object.

use std::collections::BTreeMap;

use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use waxseal::error::{Error, Result};

use super::session::Condition;
use crate::attributes::{Attributes, UPLOAD_MARK, tagging};

/// What happens to an existing object with this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// It stays, and the upload fails.
    #[default]
    Refuse,
    /// It is replaced when the new object is complete.
    Replace,
}

impl Overwrite {
    pub(super) fn condition(self) -> Condition {
        match self {
            Self::Refuse => Condition::Absent,
            Self::Replace => Condition::Any,
        }
    }
}

/// How S3 encrypts the object on its disks. Without this option, the bucket's setting is used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encryption {
    /// With S3's own keys (SSE-S3).
    Aes256,
    /// With a key in AWS KMS (SSE-KMS).
    Kms {
        /// The key; `None` is S3's key of the account.
        key: Option<String>,
    },
}

/// The choices for a new object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadOptions {
    /// What happens to an existing object with this name. Refused by default.
    pub overwrite: Overwrite,
    /// The size of all parts in bytes, from 5 MiB to 5 GiB. Without it, parts have 32 MiB, and grow for long streams
    /// (see [`GROWTH`](super::GROWTH)). Some stores accept only parts of one size. For them, set a size here.
    pub part_size: Option<u64>,
    /// The length of the stream in bytes, if it is known. All parts then have the same size. This is 32 MiB for up to
    /// 312 GiB.
    pub len_hint: Option<u64>,
    /// The content type. `application/octet-stream` by default: the format has no registered type.
    pub content_type: Option<String>,
    /// User metadata: names without the prefix `x-amz-meta-`, and values.
    pub metadata: BTreeMap<String, String>,
    /// Tags: names and values.
    pub tags: BTreeMap<String, String>,
    /// The storage class, as S3 names it (`STANDARD_IA`).
    pub storage_class: Option<String>,
    /// How S3 encrypts the object on its disks.
    pub encryption: Option<Encryption>,
    /// How often a request is sent at most. 10 by default. This takes about one minute if the store cannot be reached,
    /// and two minutes if it asks for fewer requests. `AWS_MAX_ATTEMPTS` and `max_attempts` of the profile can make it
    /// fewer.
    pub attempts: u32,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self {
            overwrite: Overwrite::Refuse,
            part_size: None,
            len_hint: None,
            content_type: None,
            metadata: BTreeMap::new(),
            tags: BTreeMap::new(),
            storage_class: None,
            encryption: None,
            attempts: 10,
        }
    }
}

impl UploadOptions {
    pub(super) fn into_attributes(self) -> Result<Attributes> {
        check_header("the content type", self.content_type.as_deref().unwrap_or_default())?;
        for (name, value) in &self.metadata {
            check_metadata(name, value)?;
        }
        let tags = self.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let (encryption, kms_key) = match self.encryption {
            None => (None, None),
            Some(Encryption::Aes256) => (Some(ServerSideEncryption::Aes256), None),
            Some(Encryption::Kms { key }) => (Some(ServerSideEncryption::AwsKms), key),
        };
        check_header("the key's name", kms_key.as_deref().unwrap_or_default())?;
        check_header("the storage class", self.storage_class.as_deref().unwrap_or_default())?;
        Ok(Attributes {
            content_type: Some(self.content_type.unwrap_or_else(|| "application/octet-stream".into())),
            tagging: tagging(tags),
            storage_class: self.storage_class.as_deref().map(StorageClass::from),
            metadata: self.metadata,
            encryption,
            kms_key,
            ..Attributes::default()
        })
    }
}

/// A header of a request can contain only such text.
fn check_header(what: &str, value: &str) -> Result<()> {
    if value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && value.trim() == value {
        return Ok(());
    }
    Err(Error::Invalid(format!("{what} {value:?} has characters that a header cannot have")))
}

fn check_metadata(name: &str, value: &str) -> Result<()> {
    let is_token = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) || name == UPLOAD_MARK {
        let rule = "lower-case letters, digits and -_.";
        return Err(Error::Invalid(format!("the metadata name {name:?}: a name has {rule}, and is not {UPLOAD_MARK}")));
    }
    check_header("the metadata value", value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_in_a_header_is_refused_before_anything_is_sent() {
        let with = |change: fn(&mut UploadOptions)| {
            let mut options = UploadOptions::default();
            change(&mut options);
            options.into_attributes()
        };
        assert!(with(|options| options.content_type = Some("text/plain\r\nx: y".into())).is_err());
        assert!(with(|options| options.storage_class = Some("GLACIER ".into())).is_err());
        assert!(with(|options| drop(options.metadata.insert("A".into(), String::new()))).is_err());
        assert!(with(|options| drop(options.metadata.insert(UPLOAD_MARK.into(), "1".into()))).is_err());
        let made = with(|options| options.encryption = Some(Encryption::Kms { key: Some("alias/a".into()) })).unwrap();
        assert_eq!(made.content_type.as_deref(), Some("application/octet-stream"));
        assert_eq!((made.encryption, made.kms_key.as_deref()), (Some(ServerSideEncryption::AwsKms), Some("alias/a")));
    }
}
