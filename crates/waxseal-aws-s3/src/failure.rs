//! Turns S3's answers into errors, with a remedy for each.
//!
//! What all services of AWS have in common is in [`waxseal_aws::failure`]. An error never repeats what the SDK writes
//! about a request or an answer.

use std::error::Error as StdError;
use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId as _;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use waxseal::error::{Error, InputChanged, NoInput, ProviderCause, ProviderError, Remedy};
use waxseal_aws::failure::{Asked, Plain, remedy, verdict};
use waxseal_aws::name::is_region;
use waxseal_aws::{trouble, words};

use crate::S3Name;
use crate::again::Again;
use crate::fetch::LEAST_SPEED;

/// The SDK's error of one operation.
pub(crate) type Failed<E> = SdkError<E, HttpResponse>;

/// A request, as far as an error must name it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) operation: &'static str,
    pub(crate) name: S3Name,
    /// The region that was called last.
    pub(crate) region: String,
}

impl Call {
    pub(crate) fn new(operation: &'static str, name: &S3Name) -> Self {
        Self { operation, name: name.clone(), region: String::new() }
    }
}

/// The error for a request that failed.
pub(crate) fn failure<E>(call: &Call, error: &Failed<E>) -> Error
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    let (code, status) = (code(error), status(error));
    // Only for these operations is the object an input.
    if code == "NoSuchKey" && ["GetObject", "HeadObject"].contains(&call.operation) {
        return NoInput.into();
    }
    let tell = |raw: &str| words::told(raw, b"");
    let (cause, message, remedy) = match known(call, code, status, region(error)) {
        Some((cause, sentence, remedy)) => {
            let raw = error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or_default();
            let words = tell(raw);
            (cause, if words.is_empty() { sentence } else { format!("{sentence} ({words})") }, remedy)
        }
        None => {
            let asked = Asked { operation: call.operation, region: &call.region };
            let found = verdict(asked, &Plain, error, tell);
            (found.cause, found.message, remedy(found.cause))
        }
    };
    let id = words::request_id(error.request_id(), b"");
    Box::new(told(call, cause, message, remedy).with_request_id(id)).into()
}

fn told(call: &Call, cause: ProviderCause, message: impl Into<String>, remedy: Option<Remedy>) -> ProviderError {
    ProviderError::new(cause, call.name.to_string(), message).with_some_remedy(remedy)
}

/// What S3's own codes mean. `region` is the one that the answer names.
fn known(
    call: &Call,
    code: &str,
    status: u16,
    region: Option<String>,
) -> Option<(ProviderCause, String, Option<Remedy>)> {
    use ProviderCause as C;
    let other = |words: &str| Some(Remedy::Other(words.to_owned()));
    let (cause, sentence, remedy) = match code {
        "NoSuchBucket" => {
            let remedy = other("check the name of the bucket, and the endpoint, if one is set");
            (C::NotFound, "there is no such bucket", remedy)
        }
        "AccessDenied" | "AllAccessDisabled" => (C::Denied, "access is denied", Some(permit(call))),
        // An answer to HEAD has no code.
        "" | "Forbidden" if status == 403 && call.operation.starts_with("Head") => {
            (C::Denied, "access is denied", Some(permit(call)))
        }
        "InvalidObjectState" => {
            let remedy = other("restore the object (RestoreObject), wait until that is done, and try again");
            (C::Rejected, "the object is archived, and must be restored before it can be read", remedy)
        }
        "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" if region.is_some() => {
            (C::Rejected, "the bucket is in another region", Some(Remedy::ChooseRegion { region }))
        }
        "InvalidAccessKeyId"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "InvalidSecurity"
        | "AccountProblem"
        | "NotSignedUp"
        | "MissingSecurityHeader" => {
            (C::Credentials, "the credentials are not accepted", Some(Remedy::CheckCredentials))
        }
        "QuotaExceeded" | "ServiceQuotaExceededException" | "InsufficientStorage" | "XMinioStorageFull" => {
            let remedy = other("free space in the store, or raise its quota");
            (C::Rejected, "the store is full, or a quota is used up", remedy)
        }
        "MethodNotAllowed" | "NotImplemented" => {
            return Some((C::Rejected, format!("the store does not support {}", call.operation), None));
        }
        code if code.starts_with("KMS.") => {
            let remedy = other("look at the state of the KMS key with which S3 encrypts the object");
            (of_kms(code), "the KMS key with which S3 encrypts the object cannot be used", remedy)
        }
        _ => return None,
    };
    Some((cause, sentence.to_owned(), remedy))
}

/// S3 has its own encryption. These are KMS's answers to S3.
fn of_kms(code: &str) -> ProviderCause {
    match code {
        "KMS.DisabledException" => ProviderCause::Disabled,
        "KMS.KMSInvalidStateException" => ProviderCause::PendingDeletion,
        "KMS.NotFoundException" => ProviderCause::NotFound,
        _ => ProviderCause::Rejected,
    }
}

/// The remedy if access is denied. S3 tells only callers who may list the bucket that an object is missing.
fn permit(call: &Call) -> Remedy {
    let words = match call.operation {
        "ListObjectsV2" => "allow the caller s3:ListBucket on the bucket",
        "GetObject" | "HeadObject" => {
            "allow the caller s3:GetObject on the object, and s3:ListBucket on the bucket: without the second, S3 does \
             not say whether the object exists; if S3 encrypts it with a KMS key, the caller needs kms:Decrypt on that \
             key"
        }
        "PutObject" | "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload" => {
            "allow the caller s3:PutObject on the object, and s3:PutObjectTagging if it gets tags; if S3 encrypts it with a \
             KMS key, the caller needs kms:GenerateDataKey and kms:Decrypt on that key"
        }
        "UploadPartCopy" => "allow the caller s3:GetObject and s3:PutObject on the object",
        "AbortMultipartUpload" => "allow the caller s3:AbortMultipartUpload on the object",
        "GetObjectTagging" => "allow the caller s3:GetObjectTagging on the object, so that its tags can be kept",
        operation => {
            return Remedy::Other(format!("allow the caller {operation} in its IAM policy and the bucket policy"));
        }
    };
    Remedy::Other(words.to_owned())
}

/// The error for an answer that does not match the request.
pub(crate) fn bad_answer(call: &Call, what: &str) -> Error {
    let message = format!("the answer to {} {what}", call.operation);
    Box::new(told(call, ProviderCause::BadAnswer, message, None)).into()
}

/// The error for an answer that was cut again and again.
pub(crate) fn cut(call: &Call) -> Error {
    let message = "the connection was closed before the end of the answer, several times";
    Box::new(told(call, ProviderCause::Unreachable, message, Some(Remedy::CheckNetwork))).into()
}

/// The error for an answer that stopped, or came too slowly, again and again.
pub(crate) fn slow(call: &Call) -> Error {
    let message = format!("the answer stopped, or brought fewer than {LEAST_SPEED} bytes a second, several times");
    Box::new(told(call, ProviderCause::Unreachable, message, Some(Remedy::CheckNetwork))).into()
}

/// The error if the object was replaced or deleted after it was opened.
pub(crate) fn changed() -> Error {
    Error::io("reading the object", io::Error::other(InputChanged))
}

/// Whether the object was replaced or deleted after it was opened.
pub(crate) fn is_changed<E: ProvideErrorMetadata>(error: &Failed<E>) -> bool {
    matches!((status(error), code(error)), (412 | 416, _) | (404, "NoSuchKey"))
}

/// S3's code for a refusal; empty if S3 gave none.
pub(crate) fn code<E: ProvideErrorMetadata>(error: &Failed<E>) -> &str {
    words::code(error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default())
}

/// The status of S3's answer; zero without an answer.
pub(crate) fn status<E>(error: &Failed<E>) -> u16 {
    error.raw_response().map_or(0, |answer| answer.status().as_u16())
}

/// What the failure says about the next attempt.
pub(crate) fn again<E>(error: &Failed<E>) -> Again
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    match error {
        SdkError::ServiceError(_) => again_after(code(error), status(error)),
        SdkError::ConstructionFailure(_) => Again::Never,
        SdkError::DispatchFailure(failure) if failure.is_user() || is_about_credentials(error) => Again::Never,
        SdkError::DispatchFailure(_) => Again::Unreached,
        // The SDK cannot parse the answer, so it is not from S3.
        SdkError::ResponseError(answer) if answer.raw().status().as_u16() < 500 && !trouble::is_cut(error) => {
            Again::Never
        }
        _ => Again::Soon,
    }
}

/// S3's codes for "fewer requests".
pub(crate) const SLOWER: [&str; 7] = [
    "SlowDown",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
];

fn again_after(code: &str, status: u16) -> Again {
    match (code, status) {
        (code, _) if SLOWER.contains(&code) => Again::Slower,
        ("InternalError" | "RequestTimeout" | "OperationAborted", _) => Again::Soon,
        ("NotImplemented" | "InsufficientStorage", _) => Again::Never,
        (_, 429 | 503) => Again::Slower,
        (_, 408 | 500 | 502 | 504) => Again::Soon,
        _ => Again::Never,
    }
}

/// Whether there are no credentials. The request was then not sent.
pub(crate) fn is_about_credentials<E: StdError + 'static>(error: &Failed<E>) -> bool {
    trouble::find::<CredentialsError>(error).is_some() || trouble::says(error, &["no providers in chain"])
}

/// The region that S3 names in the refusal of a request for a bucket that is in another region.
pub(crate) fn region<E>(error: &Failed<E>) -> Option<String>
where
    E: ProvideErrorMetadata,
{
    let answer = error.raw_response()?;
    let header = answer.headers().get("x-amz-bucket-region");
    named_region(code(error), answer.status().as_u16(), header, answer.body().bytes().unwrap_or_default())
}

/// The region that a refusal names. The caller puts it into a host name, so only valid names of regions are returned.
pub(crate) fn named_region(code: &str, status: u16, header: Option<&str>, body: &[u8]) -> Option<String> {
    let redirects = matches!(code, "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed");
    // An answer to HEAD has no code.
    let may_redirect = code.is_empty() && matches!(status, 301 | 307 | 400);
    if !redirects && !may_redirect {
        return None;
    }
    let in_body = || {
        let (_, rest) = std::str::from_utf8(body).ok()?.split_once("<Region>")?;
        Some(rest.split_once("</Region>")?.0)
    };
    header.or_else(in_body).filter(|region| is_region(region)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn codes_and_causes() {
        use ProviderCause as C;
        let name = S3Name::new("bucket", "key").unwrap();
        let get = Call::new("GetObject", &name);
        for (code, status, cause) in [
            ("NoSuchBucket", 404, C::NotFound),
            ("AccessDenied", 403, C::Denied),
            ("InvalidObjectState", 403, C::Rejected),
            ("InvalidAccessKeyId", 403, C::Credentials),
            ("QuotaExceeded", 403, C::Rejected),
            ("NotImplemented", 501, C::Rejected),
            ("KMS.DisabledException", 400, C::Disabled),
        ] {
            let (found, sentence, _) = known(&get, code, status, None).unwrap();
            assert!(found == cause && sentence.len() > 10, "{code}: {found:?} {sentence}");
        }
        for code in ["", "PermanentRedirect", "SlowDown", "RequestTimeTooSkewed", "ExpiredToken"] {
            assert!(known(&get, code, 403, None).is_none(), "{code}");
        }
        let head = Call::new("HeadObject", &name);
        assert_eq!(known(&head, "", 403, None).unwrap().0, C::Denied);
        let (_, _, remedy) = known(&get, "PermanentRedirect", 301, Some("eu-west-1".into())).unwrap();
        assert_eq!(remedy, Some(Remedy::ChooseRegion { region: Some("eu-west-1".into()) }));
    }

    #[test]
    fn what_may_pass() {
        for (code, status, expected) in [
            ("SlowDown", 503, Again::Slower),
            ("", 503, Again::Slower),
            ("InternalError", 500, Again::Soon),
            ("InternalError", 200, Again::Soon),
            ("", 502, Again::Soon),
            ("RequestTimeout", 400, Again::Soon),
            ("NotImplemented", 501, Again::Never),
            ("InsufficientStorage", 507, Again::Never),
            ("PreconditionFailed", 412, Again::Never),
            ("AccessDenied", 403, Again::Never),
            ("", 404, Again::Never),
        ] {
            assert_eq!(again_after(code, status), expected, "{code} {status}");
        }
    }

    #[test]
    fn regions_of_redirects() {
        let body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
        let malformed = "AuthorizationHeaderMalformed";
        assert_eq!(named_region(malformed, 400, None, body).as_deref(), Some("eu-west-1"));
        assert_eq!(named_region("PermanentRedirect", 301, Some("us-west-2"), body).as_deref(), Some("us-west-2"));
        assert_eq!(named_region("", 301, Some("us-west-2"), b"").as_deref(), Some("us-west-2"));
        assert_eq!(named_region("AccessDenied", 403, Some("us-west-2"), body), None);
        assert_eq!(named_region("NoSuchKey", 404, None, body), None);
        for bad in
            ["evil.example/", "", "eu-west-1.evil.example", "eu_west_1", "EU-WEST-1", "a-b-1@x", "\u{e9}u-west-1"]
        {
            assert_eq!(named_region("PermanentRedirect", 301, Some(bad), b""), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_region_leads_elsewhere(header in proptest::option::of(".{0,40}"), body in ".{0,40}(<Region>.{0,20}</Region>)?") {
            if let Some(region) = named_region("PermanentRedirect", 301, header.as_deref(), body.as_bytes()) {
                prop_assert!(region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{}", region);
            }
        }
    }
}
