//! What an object has besides its bytes.

use std::collections::BTreeMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::create_multipart_upload::builders::CreateMultipartUploadFluentBuilder as Create;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder as Put;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectLockLegalHoldStatus, ObjectLockMode, ServerSideEncryption, StorageClass};

/// The name of the entry in the object's metadata that says which upload wrote the object. Its value is a random
/// number. If an answer was lost, this entry shows whether the object is the one that was being written.
pub const UPLOAD_MARK: &str = "waxseal-upload";

/// The attributes that a new object gets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes {
    pub(crate) content_type: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) expires: Option<DateTime>,
    pub(crate) redirect: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    /// Escaped as in a URL.
    pub(crate) tagging: Option<String>,
    pub(crate) storage_class: Option<StorageClass>,
    pub(crate) encryption: Option<ServerSideEncryption>,
    pub(crate) kms_key: Option<String>,
    pub(crate) bucket_key: Option<bool>,
    pub(crate) lock_mode: Option<ObjectLockMode>,
    pub(crate) lock_until: Option<DateTime>,
    pub(crate) legal_hold: Option<ObjectLockLegalHoldStatus>,
}

/// The two builders have the same methods, but no common trait.
macro_rules! with_attributes {
    ($attributes:expr, $builder:expr) => {{
        let own = $attributes.clone();
        $builder
            .set_content_type(own.content_type)
            .set_content_encoding(own.content_encoding)
            .set_content_disposition(own.content_disposition)
            .set_content_language(own.content_language)
            .set_cache_control(own.cache_control)
            .set_expires(own.expires)
            .set_website_redirect_location(own.redirect)
            .set_metadata(Some(own.metadata.into_iter().collect()))
            .set_tagging(own.tagging)
            .set_storage_class(own.storage_class)
            .set_server_side_encryption(own.encryption)
            .set_ssekms_key_id(own.kms_key)
            .set_bucket_key_enabled(own.bucket_key)
            .set_object_lock_mode(own.lock_mode)
            .set_object_lock_retain_until_date(own.lock_until)
            .set_object_lock_legal_hold_status(own.legal_hold)
    }};
}

impl Attributes {
    pub(crate) fn create(&self, client: &Client) -> Create {
        with_attributes!(self, client.create_multipart_upload())
    }

    pub(crate) fn put(&self, client: &Client) -> Put {
        with_attributes!(self, client.put_object())
    }
}

/// Tags in the form of the header `x-amz-tagging`.
pub(crate) fn tagging<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let pairs: Vec<_> = tags.into_iter().map(|(key, value)| format!("{}={}", escaped(key), escaped(value))).collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

/// Escapes everything except letters, digits and `-_.~`.
pub(crate) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_escaped() {
        assert_eq!(tagging([]), None);
        assert_eq!(tagging([("a&b", "c=d"), ("é", "")]).unwrap(), "a%26b=c%3Dd&%C3%A9=");
    }
}
