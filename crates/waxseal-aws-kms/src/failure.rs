//! From the SDK's errors to causes, with a hint for each.
//!
//! A message is AWS's own words where there are any ([`words`]), and else a sentence chosen by the error's type: what
//! the SDK writes of a request or an answer is never told, for it may hold a data key.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId as _;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use http_body_util::LengthLimitError;

use super::name::KeyArn;
use super::trouble::{self, Own};
use super::{KmsCall, credentials, words};
use waxseal::error::{Error, ProviderCause, ProviderError};

/// What an error comes to, whichever call it is of.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) cause: ProviderCause,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn new(cause: ProviderCause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into() }
    }
}

/// What the SDK returned for `call`, as this crate's error. `secret` is what the call carried that no text may hold.
pub(super) fn failure<E>(call: &KmsCall, error: &SdkError<E, HttpResponse>, secret: &[u8]) -> ProviderError
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    let Verdict { cause, message } = verdict(call, error, secret);
    let service = error.as_service_error();
    // They only choose between the caller's own names.
    let raw = service.and_then(ProvideErrorMetadata::message).unwrap_or_default();
    let key = blamed(call, cause, raw);
    let hint = match service.and_then(ProvideErrorMetadata::code) {
        Some("KMSInvalidStateException") if raw.contains("unavailable") || raw.contains("key store") => Some(
            "its key store outside of KMS is not connected or does not answer: \
             `aws kms describe-custom-key-stores` shows why"
                .into(),
        ),
        Some("ConflictException") if call.operation == "RotateKeyOnDemand" => {
            Some(format!("a rotation is under way: `waxseal key show {key}` tells when it is done"))
        }
        Some("KMSInvalidStateException")
            if call.operation == "RotateKeyOnDemand" && cause == ProviderCause::Rejected =>
        {
            Some(format!("import its next material first: waxseal key import {key} --new-material --generate FILE"))
        }
        Some("IncorrectKeyMaterialException") => Some(
            "the key accepts only material that it has had before; use --new-material to import its next one".into(),
        ),
        _ => hint(call, cause, key),
    };
    let id = words::request_id(error.request_id(), secret);
    ProviderError::new(cause, key, message).with_request_id(id).with_some_hint(hint)
}

/// A verdict that was reached without an answer to `call`.
pub(super) fn told(call: &KmsCall, verdict: Verdict) -> ProviderError {
    let hint = hint(call, verdict.cause, &call.key);
    ProviderError::new(verdict.cause, &call.key, verdict.message).with_some_hint(hint)
}

/// What kind of failure it is, and the sentence for it.
pub(super) fn verdict<E>(call: &KmsCall, error: &SdkError<E, HttpResponse>, secret: &[u8]) -> Verdict
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    sorted(call, error, |raw| words::told(raw, secret))
}

/// The same where none of the service's words may be told.
pub(super) fn verdict_without_words<E>(call: &KmsCall, error: &SdkError<E, HttpResponse>) -> Verdict
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    sorted(call, error, |_| String::new())
}

fn sorted<E>(call: &KmsCall, error: &SdkError<E, HttpResponse>, tell: impl Fn(&str) -> String) -> Verdict
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    if let SdkError::ServiceError(answer) = error {
        let (code, raw) = (answer.err().code().unwrap_or_default(), answer.err().message().unwrap_or_default());
        return of_answer(call, words::code(code), raw, answer.raw().status().as_u16(), tell);
    }
    if let Some(Own(sentence)) = trouble::find(error) {
        return Verdict::new(ProviderCause::Rejected, sentence);
    }
    if let Some(error) = trouble::find::<CredentialsError>(error) {
        return credentials::verdict(error);
    }
    if says_no_identity(error) {
        return Verdict::new(ProviderCause::Credentials, "there are no AWS credentials");
    }
    without_answer(call, error)
}

/// `raw`: the service's message, of which `tell` makes what may be told.
fn of_answer(call: &KmsCall, code: &str, raw: &str, status: u16, tell: impl Fn(&str) -> String) -> Verdict {
    // Every refusal of AWS's has a name.
    if code.is_empty() && status != 429 && status < 500 {
        return Verdict::new(ProviderCause::Unreachable, not_of_aws(status));
    }
    let cause = cause_of(code, raw, status);
    if code.is_empty() && cause == ProviderCause::Internal {
        return Verdict::new(cause, format!("AWS failed with HTTP status {status}"));
    }
    Verdict::new(cause, in_words(call, cause, code, &tell(raw)))
}

fn without_answer<E>(call: &KmsCall, error: &SdkError<E, HttpResponse>) -> Verdict
where
    E: StdError + 'static,
{
    let place = if call.region.is_empty() { "AWS".to_owned() } else { format!("AWS in {}", call.region) };
    let unreachable = |message: String| Verdict::new(ProviderCause::Unreachable, message);
    match error {
        SdkError::TimeoutError(_) => unreachable("there was no answer in time".into()),
        SdkError::DispatchFailure(failure) if failure.is_user() => Verdict::new(
            ProviderCause::Rejected,
            format!("the request cannot be sent: {}", trouble::of_connection(error)),
        ),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            unreachable(format!("{place} cannot be reached in time"))
        }
        SdkError::DispatchFailure(_) => {
            unreachable(format!("{place} cannot be reached: {}", trouble::of_connection(error)))
        }
        SdkError::ResponseError(_) if trouble::find::<LengthLimitError>(error).is_some() => {
            unreachable(trouble::TOO_LONG.into())
        }
        SdkError::ResponseError(answer) if answer.raw().status().as_u16() >= 500 => {
            let status = answer.raw().status().as_u16();
            Verdict::new(ProviderCause::Internal, format!("AWS failed with HTTP status {status}"))
        }
        SdkError::ResponseError(_) if trouble::is_cut(error) => {
            unreachable("the connection was closed before the end of the answer".into())
        }
        SdkError::ResponseError(answer) => unreachable(not_of_aws(answer.raw().status().as_u16())),
        _ if trouble::says(error, &["timed out"]) => unreachable("there was no answer in time".into()),
        _ => Verdict::new(ProviderCause::Rejected, format!("the request for {} cannot be made", call.operation)),
    }
}

/// A captive portal or a proxy, not the file.
fn not_of_aws(status: u16) -> String {
    format!(
        "the answer, with HTTP status {status}, is not one of AWS: a proxy or a login page may have answered instead"
    )
}

/// Which of a call's keys it was that failed. Of two, AWS's words name one, or only the source can be meant.
fn blamed<'a>(call: &'a KmsCall, cause: ProviderCause, words: &str) -> &'a str {
    let Some(source) = &call.source else { return &call.key };
    // An alias with its prefix: `alias/key` is not named by every sentence about a key.
    let id = |key: &str| key.find("alias/").or_else(|| key.rfind('/').map(|at| at + 1)).unwrap_or(0);
    let named = |key: &str| words.contains(&key[id(key)..]);
    let is_source = matches!(cause, ProviderCause::WrongCiphertext | ProviderCause::OtherKey)
        || words.contains("kms:ReEncryptFrom")
        || (named(source) && !named(&call.key));
    if is_source { source } else { &call.key }
}

/// No answer within the time for a whole call.
pub(super) fn too_late(call: &KmsCall, limit: std::time::Duration) -> ProviderError {
    let message = format!("no answer to {} within {} s", call.operation, limit.as_secs_f64());
    ProviderError::new(ProviderCause::Unreachable, &call.key, message).with_some_hint(hint(
        call,
        ProviderCause::Unreachable,
        &call.key,
    ))
}

/// An answer that is not to the question.
pub(super) fn bad_answer(call: &KmsCall, what: &str) -> Error {
    Box::new(
        ProviderError::new(ProviderCause::BadAnswer, &call.key, format!("the answer to {} {what}", call.operation))
            .with_request_id(call.request_id.clone()),
    )
    .into()
}

/// An answer by another key than the one that was asked for, which is named unless its name holds a part of `secret`.
pub(super) fn another_key(call: &KmsCall, verb: &str, arn: &KeyArn, secret: &[u8]) -> Error {
    let arn = arn.to_string();
    if words::holds(&arn, secret) {
        return bad_answer(call, &format!("{verb} another key"));
    }
    bad_answer(call, &format!("{verb} another key, {arn}"))
}

/// By AWS's documented codes; what has none goes by its HTTP status.
fn cause_of(code: &str, words: &str, status: u16) -> ProviderCause {
    let words = words.to_ascii_lowercase();
    match code {
        "AccessDeniedException" | "AccessDenied" => ProviderCause::Denied,
        "DisabledException" => ProviderCause::Disabled,
        "KMSInvalidStateException" if words.contains("pending import") => ProviderCause::PendingImport,
        "KMSInvalidStateException" if words.contains("pending") && words.contains("deletion") => {
            ProviderCause::PendingDeletion
        }
        "KMSInvalidStateException" if words.contains("disabled") => ProviderCause::Disabled,
        "NotFoundException" => ProviderCause::NotFound,
        "InvalidCiphertextException" => ProviderCause::WrongCiphertext,
        "IncorrectKeyException" => ProviderCause::OtherKey,
        "InvalidKeyUsageException" | "UnsupportedOperationException" => ProviderCause::WrongKeyType,
        "AlreadyExistsException" => ProviderCause::AlreadyExists,
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "SlowDown" => ProviderCause::Throttled,
        "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture" => ProviderCause::ClockSkew,
        "InvalidSignatureException" | "SignatureDoesNotMatch"
            if words.contains("signature expired") || words.contains("not yet current") =>
        {
            ProviderCause::ClockSkew
        }
        "ExpiredTokenException"
        | "ExpiredToken"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "OptInRequired"
        | "AuthFailure"
        | "NotAuthorized" => ProviderCause::Credentials,
        "KeyUnavailableException"
        | "DependencyTimeoutException"
        | "KMSInternalException"
        | "InternalFailure"
        | "InternalError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => ProviderCause::Internal,
        _ if status == 429 => ProviderCause::Throttled,
        _ if status >= 500 => ProviderCause::Internal,
        _ => ProviderCause::Rejected,
    }
}

fn in_words(call: &KmsCall, cause: ProviderCause, code: &str, words: &str) -> String {
    let own = match cause {
        ProviderCause::NotFound => return join(&format!("there is no such key in {}", call.region), words),
        ProviderCause::OtherKey => "another key wrapped this data key",
        ProviderCause::WrongCiphertext => "the wrapped bytes or their encryption context are not what the key wrapped",
        ProviderCause::ClockSkew => "this machine's clock and AWS's differ too much",
        ProviderCause::Throttled => "AWS asks for fewer requests",
        ProviderCause::Denied => "access is denied",
        _ if words.is_empty() => return format!("{} was refused: {code}", call.operation),
        _ => return format!("{}: {words}", if code.is_empty() { call.operation } else { code }),
    };
    join(own, words)
}

fn join(own: &str, words: &str) -> String {
    if words.is_empty() { own.to_owned() } else { format!("{own} ({words})") }
}

fn hint(call: &KmsCall, cause: ProviderCause, key: &str) -> Option<String> {
    Some(match cause {
        // Such calls carry no encryption context.
        ProviderCause::Denied if matches!(call.operation, "Decapsulate" | "GetPublicKey") => {
            format!("the caller needs {} on the key, by its IAM and key policies", call.action())
        }
        ProviderCause::Denied => format!(
            "the caller needs {} on the key in its IAM policy and the key policy; they may also require an encryption context",
            call.action()
        ),
        ProviderCause::Disabled => format!("enable it: aws kms enable-key --region {} --key-id {key}", call.region),
        ProviderCause::PendingDeletion => {
            format!("cancel the deletion in time: aws kms cancel-key-deletion --region {} --key-id {key}", call.region)
        }
        ProviderCause::PendingImport => {
            format!("import the same material again: waxseal key import {key} --material FILE")
        }
        ProviderCause::NotFound => "check the name, the account and --region".into(),
        ProviderCause::WrongKeyType => return Some(other_type(call, key)),
        ProviderCause::Credentials => {
            "try `aws sts get-caller-identity`; after `aws sso login`, or with other credentials, try again".into()
        }
        ProviderCause::ClockSkew => "set this machine's clock".into(),
        ProviderCause::Throttled | ProviderCause::Internal => "try again later".into(),
        ProviderCause::Unreachable => {
            "check the network, --region, HTTPS_PROXY, NO_PROXY, AWS_CA_BUNDLE and AWS_ENDPOINT_URL_KMS".into()
        }
        _ => return None,
    })
}

/// The way out where a key cannot do what was asked.
fn other_type(call: &KmsCall, key: &str) -> String {
    match call.operation {
        "RotateKeyOnDemand" => {
            "only symmetric keys in KMS rotate; another key is replaced: `waxseal key create`, `waxseal rewrap --to`"
                .into()
        }
        "Decapsulate" => "the slot is of an ML-KEM key, and this is none".into(),
        "GenerateDataKey" | "Encrypt" | "ReEncrypt" => format!(
            "it takes a symmetric encryption key (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT); of an ML-KEM or RSA key, \
             `waxseal key public {key} -o FILE` makes a recipient file, and -k file:FILE seals with that"
        ),
        _ => "it takes a symmetric encryption key (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT), or the key of the slot".into(),
    }
}

/// Where no provider is configured at all the SDK has no type for it.
fn says_no_identity(error: &(dyn StdError + 'static)) -> bool {
    trouble::says(error, &["no providers in chain provided credentials", "failed to select an auth scheme"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes() {
        use ProviderCause as C;
        for (code, words, status, cause) in [
            ("AccessDeniedException", "User: x is not authorized", 400, C::Denied),
            ("DisabledException", "arn is disabled.", 400, C::Disabled),
            ("KMSInvalidStateException", "arn is pending import.", 400, C::PendingImport),
            ("KMSInvalidStateException", "arn is pending deletion.", 400, C::PendingDeletion),
            ("KMSInvalidStateException", "arn is pending replica deletion.", 400, C::PendingDeletion),
            ("KMSInvalidStateException", "arn is creating.", 400, C::Rejected),
            ("NotFoundException", "Key 'arn' does not exist", 400, C::NotFound),
            ("InvalidCiphertextException", "", 400, C::WrongCiphertext),
            ("IncorrectKeyException", "", 400, C::OtherKey),
            ("InvalidKeyUsageException", "", 400, C::WrongKeyType),
            ("ThrottlingException", "Rate exceeded", 400, C::Throttled),
            ("InvalidSignatureException", "Signature expired: 2020 is now earlier than", 400, C::ClockSkew),
            ("InvalidSignatureException", "Signature not yet current: x", 400, C::ClockSkew),
            ("InvalidSignatureException", "The request signature we calculated", 400, C::Credentials),
            ("ExpiredTokenException", "The security token included is expired", 400, C::Credentials),
            ("UnrecognizedClientException", "The security token is invalid", 400, C::Credentials),
            ("KMSInternalException", "", 500, C::Internal),
            ("", "", 503, C::Internal),
            ("", "", 429, C::Throttled),
            ("ValidationException", "1 validation error", 400, C::Rejected),
        ] {
            assert_eq!(cause_of(code, words, status), cause, "{code} {words}");
        }
    }

    #[test]
    fn of_two_keys_the_one_that_failed() {
        use ProviderCause as C;
        let arn = |id: &str| format!("arn:aws:kms:eu-west-1:123456789012:key/{id}");
        let mut call = KmsCall::new("ReEncrypt", "alias/new", "eu-west-1");
        assert_eq!(blamed(&call, C::Disabled, &format!("{} is disabled.", arn("old"))), "alias/new");
        call.source = Some(arn("old-id"));
        for (cause, words, is_source) in [
            (C::Disabled, format!("{} is disabled.", arn("old-id")), true),
            (C::Disabled, format!("{} is disabled.", arn("another")), false),
            (C::NotFound, "Key 'old-id' does not exist".into(), true),
            (C::NotFound, "Alias alias/new is not found.".into(), false),
            (C::Denied, "User: x is not authorized to perform: kms:ReEncryptFrom on resource: x".into(), true),
            (C::Denied, "User: x is not authorized to perform: kms:ReEncryptTo on resource: x".into(), false),
            (C::WrongCiphertext, String::new(), true),
            (C::OtherKey, String::new(), true),
            (C::Throttled, "Rate exceeded".into(), false),
        ] {
            let key = if is_source { arn("old-id") } else { "alias/new".into() };
            assert_eq!(blamed(&call, cause, &words), key, "{words}");
        }
        call.key = "alias/key".into();
        assert_eq!(blamed(&call, C::Disabled, &format!("{} is disabled.", arn("old-id"))), arn("old-id"));
    }
}
