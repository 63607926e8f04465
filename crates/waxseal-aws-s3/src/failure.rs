//! Turns S3's answers into errors, with a remedy for each.

use std::error::Error as StdError;
use std::io;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use waxseal::error::{Error, InputChanged, NoInput, ProviderCause, ProviderError, Remedy};

use crate::S3Name;
use crate::again::Again;

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
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    let cause = match (code, error) {
        ("NoSuchKey", _) => return Error::from(NoInput),
        ("NoSuchBucket", _) => ProviderCause::NotFound,
        ("AccessDenied", _) => ProviderCause::Denied,
        (_, SdkError::ServiceError(_)) => ProviderCause::Rejected,
        _ => ProviderCause::Unreachable,
    };
    told(call, cause, format!("{} failed", call.operation), None)
}

fn told(call: &Call, cause: ProviderCause, message: impl Into<String>, remedy: Option<Remedy>) -> Error {
    Box::new(ProviderError::new(cause, call.name.to_string(), message).with_some_remedy(remedy)).into()
}

/// The error for an answer that does not match the request.
pub(crate) fn bad_answer(call: &Call, what: &str) -> Error {
    told(call, ProviderCause::BadAnswer, format!("the answer to {} {what}", call.operation), None)
}

/// The error for an object that is another one than when it was opened.
pub(crate) fn changed() -> Error {
    Error::io("reading the object", io::Error::other(InputChanged))
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
        SdkError::ServiceError(answer) => {
            let code = answer.err().code().unwrap_or_default();
            again_after(code, answer.raw().status().as_u16())
        }
        SdkError::ConstructionFailure(_) => Again::Never,
        SdkError::DispatchFailure(failure) if failure.is_user() || is_about_credentials(error) => Again::Never,
        SdkError::DispatchFailure(_) => Again::Unreached,
        SdkError::ResponseError(answer) if matches!(answer.raw().status().as_u16(), 300..500) => Again::Never,
        _ => Again::Soon,
    }
}

fn again_after(code: &str, status: u16) -> Again {
    match (code, status) {
        ("SlowDown" | "ServiceUnavailable" | "Throttling" | "ThrottlingException" | "TooManyRequests", _) => {
            Again::Slower
        }
        ("RequestLimitExceeded" | "TooManyRequestsException" | "BandwidthLimitExceeded", _) => Again::Slower,
        ("InternalError" | "RequestTimeout" | "OperationAborted", _) => Again::Soon,
        ("NotImplemented" | "InsufficientStorage", _) => Again::Never,
        (_, 429 | 503) => Again::Slower,
        (_, 501 | 505..) => Again::Never,
        (_, 408 | 500..) => Again::Soon,
        _ => Again::Never,
    }
}

fn is_about_credentials<E: StdError + 'static>(error: &Failed<E>) -> bool {
    use aws_credential_types::provider::error::CredentialsError;
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if error.is::<CredentialsError>() || error.to_string().contains("no providers in chain") {
            return true;
        }
        next = error.source();
    }
    false
}

/// The region that S3 names in the refusal of a request for a bucket that is in another region.
pub(crate) fn region<E>(error: &Failed<E>) -> Option<String>
where
    E: ProvideErrorMetadata,
{
    let answer = error.raw_response()?;
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    let redirects = matches!(
        code,
        "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
    );
    if !redirects && !matches!(answer.status().as_u16(), 301 | 307 | 400 | 403) {
        return None;
    }
    let header = answer.headers().get("x-amz-bucket-region");
    let region = header.map(str::to_owned).or_else(|| region_in(answer.body().bytes()?).filter(|_| redirects))?;
    is_region(&region).then_some(region)
}

/// The region in the XML of a refusal.
pub(crate) fn region_in(xml: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(xml).ok()?;
    let (_, rest) = text.split_once("<Region>")?;
    Some(rest.split_once("</Region>")?.0.to_owned())
}

/// The name of a region becomes a part of a host's name, so nothing else may pass.
fn is_region(text: &str) -> bool {
    let is_part =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    text.len() <= 32 && text.split('-').count() >= 3 && text.split('-').all(is_part)
}

/// The error for an answer that was cut again and again.
pub(crate) fn cut(call: &Call) -> Error {
    let message = "the connection was closed before the end of the object, several times";
    told(call, ProviderCause::Unreachable, message, Some(Remedy::CheckNetwork))
}
