//! What the new object takes over from the old one besides the payload.

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::ChecksumType;
use waxseal::error::{Error, ProviderCause, ProviderError, Result};

use super::Place;
use crate::attempt::once;
use crate::attributes::{Attributes, tagging};
use crate::failure::{Call, code, failure, status};
use crate::server::ServerName;
use crate::upload::session::changed;

/// The old object, as it is directly before the rewrap.
#[derive(Debug)]
pub(super) struct Old {
    pub(super) attributes: Attributes,
    pub(super) version_id: Option<String>,
    /// The CRC64NVME of all of its bytes, if the store knows it.
    pub(super) crc: Option<u64>,
    /// Whether the answer is from AWS itself.
    pub(super) is_aws: bool,
}

impl Place {
    /// Asks for everything that is to be kept. Two requests.
    pub(super) async fn old(&self) -> Result<Old> {
        let server = ServerName::default();
        let send = |client: aws_sdk_s3::Client| {
            let request = client.head_object().bucket(self.name.bucket()).key(self.name.key());
            let request = request.if_match(&self.etag).checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled);
            request.customize().config_override(once(0)).interceptor(server.clone()).send()
        };
        let head = match self.send(send).await? {
            Ok(head) => head,
            Err(error) if matches!(status(&error), 404 | 412) => return Err(changed(&self.name)),
            Err(error) => return Err(failure(&self.call("HeadObject"), &error)),
        };
        if head.e_tag() != Some(self.etag.as_str()) {
            return Err(changed(&self.name));
        }
        let tagging = self.tagging().await?;
        let (version_id, crc, is_aws) = (head.version_id.clone(), crc_of(&head), server.is_aws());
        Ok(Old { attributes: self.attributes(head, tagging)?, version_id, crc, is_aws })
    }

    fn attributes(&self, head: HeadObjectOutput, tagging: Option<String>) -> Result<Attributes> {
        let refuse = |what: &str| {
            let error = ProviderError::new(ProviderCause::Rejected, self.name.to_string(), what);
            Err(Box::new(error.with_hint("rewrap it through this machine, into a new object")).into())
        };
        if head.missing_meta.is_some_and(|count| count > 0) {
            return refuse("the object has metadata that S3 does not return, and that would be lost");
        }
        if head.sse_customer_algorithm.is_some() {
            return refuse("the object is encrypted with a key that the caller has sent (SSE-C)");
        }
        #[allow(deprecated, reason = "the only form in which a request takes it")]
        let expires = head.expires;
        if expires.is_none() && head.expires_string.is_some() {
            return refuse("the header Expires of the object is not a date, and would be lost");
        }
        Ok(Attributes {
            content_type: head.content_type,
            content_encoding: head.content_encoding,
            content_disposition: head.content_disposition,
            content_language: head.content_language,
            cache_control: head.cache_control,
            expires,
            redirect: head.website_redirect_location,
            metadata: head.metadata.unwrap_or_default().into_iter().collect(),
            tagging,
            storage_class: head.storage_class,
            encryption: head.server_side_encryption,
            kms_key: head.ssekms_key_id,
            bucket_key: head.bucket_key_enabled,
            lock_mode: head.object_lock_mode,
            lock_until: head.object_lock_retain_until_date,
            legal_hold: head.object_lock_legal_hold_status,
        })
    }

    fn call(&self, operation: &'static str) -> Call {
        Call { region: self.s3.region_of(self.name.bucket()), ..Call::new(operation, &self.name) }
    }

    /// The tags. Their number in the answer about the object is not enough: S3 leaves it out for callers who may not
    /// read tags.
    async fn tagging(&self) -> Result<Option<String>> {
        let send = |client: aws_sdk_s3::Client| {
            let request = client.get_object_tagging().bucket(self.name.bucket()).key(self.name.key());
            request.customize().config_override(once(0)).send()
        };
        match self.send(send).await? {
            Ok(answer) => Ok(tagging(answer.tag_set.iter().map(|tag| (tag.key.as_str(), tag.value.as_str())))),
            Err(error) if matches!(code(&error), "NotImplemented" | "NoSuchTagSet") => Ok(None),
            Err(error) if status(&error) == 404 => Err(changed(&self.name)),
            Err(error) => Err(failure(&self.call("GetObjectTagging"), &error)),
        }
    }
}

fn crc_of(head: &HeadObjectOutput) -> Option<u64> {
    if head.checksum_type.as_ref().is_some_and(|of| *of != ChecksumType::FullObject) {
        return None;
    }
    crate::crc::from_base64(head.checksum_crc64_nvme()?)
}

/// The error of a store that does not keep S3's promises.
pub(super) fn no_conditions(name: &crate::S3Name) -> Error {
    let why =
        "the store does not check conditions when an upload is completed, so another writer's object could be lost";
    let error = ProviderError::new(ProviderCause::Rejected, name.to_string(), why);
    Box::new(error.with_hint("download the object, change the keys of the file, and upload it again")).into()
}
