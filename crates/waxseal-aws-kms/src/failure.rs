//! Turns the SDK's errors into causes, with a remedy for each.
//!
//! If AWS sent a message, the error repeats it ([`words`]). Otherwise the type of the error selects a sentence. The error
//! never repeats what the SDK writes about a request or an answer, because that text can contain a data key.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId as _;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use http_body_util::LengthLimitError;

use super::name::KeyArn;
use super::operation::KmsOperation;
use super::trouble::{self, Own};
use super::{KmsCall, credentials, words};
use waxseal::error::{Error, ProviderCause, ProviderError, Remedy, RightKind};

/// Cause and message of an error, without the call that it is about.
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

/// Converts the SDK's error for `call`. `secret` is the secret of the call, and no text may contain a part of it.
pub(super) fn failure<E>(call: &KmsCall, error: &SdkError<E, HttpResponse>, secret: &[u8]) -> ProviderError
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    let Verdict { cause, message } = verdict(call, error, secret);
    let service = error.as_service_error();
    let code = service.and_then(ProvideErrorMetadata::code).unwrap_or_default();
    // The message is not repeated here. It only selects a remedy, or one of the caller's own key names.
    let raw = service.and_then(ProvideErrorMetadata::message).unwrap_or_default();
    let key = blamed(call, cause, raw);
    let remedy = remedy_by_code(call, cause, code, raw, key).or_else(|| remedy(call, cause, key));
    let id = words::request_id(error.request_id(), secret);
    ProviderError::new(cause, key, message).with_request_id(id).with_some_remedy(remedy)
}

/// The error for `call` if the call got no answer.
pub(super) fn told(call: &KmsCall, verdict: Verdict) -> ProviderError {
    let remedy = remedy(call, verdict.cause, &call.key);
    ProviderError::new(verdict.cause, &call.key, verdict.message).with_some_remedy(remedy)
}

/// The cause of the failure, and the sentence for it.
pub(super) fn verdict<E>(call: &KmsCall, error: &SdkError<E, HttpResponse>, secret: &[u8]) -> Verdict
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    sorted(call, error, |raw| words::told(raw, secret))
}

/// The same, for an error that must not repeat the service's message.
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

/// `raw` is the service's message. `tell` returns the part of it that the error may repeat.
fn of_answer(call: &KmsCall, code: &str, raw: &str, status: u16, tell: impl Fn(&str) -> String) -> Verdict {
    // AWS names every refusal.
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

/// Such an answer is from a captive portal or a proxy. It says nothing about the file.
fn not_of_aws(status: u16) -> String {
    format!(
        "the answer has HTTP status {status} and is not from AWS: a proxy or a login page may have answered instead"
    )
}

/// The key that failed, if a call has two: AWS's message names one of them, or the cause applies to the source only.
fn blamed<'a>(call: &'a KmsCall, cause: ProviderCause, words: &str) -> &'a str {
    let Some(source) = &call.source else { return &call.key };
    // An alias keeps its prefix: otherwise every sentence with the word "key" would name `alias/key`.
    let id = |key: &str| key.find("alias/").or_else(|| key.rfind('/').map(|at| at + 1)).unwrap_or(0);
    let named = |key: &str| words.contains(&key[id(key)..]);
    let is_source = matches!(cause, ProviderCause::WrongCiphertext | ProviderCause::OtherKey)
        || words.contains("kms:ReEncryptFrom")
        || (named(source) && !named(&call.key));
    if is_source { source } else { &call.key }
}

/// The error if the time for the whole call is over.
pub(super) fn too_late(call: &KmsCall, limit: std::time::Duration) -> ProviderError {
    let message = format!("no answer to {} within {} s", call.operation, limit.as_secs_f64());
    ProviderError::new(ProviderCause::Unreachable, &call.key, message).with_remedy(Remedy::CheckNetwork)
}

/// The error for an answer that does not match the request.
pub(super) fn bad_answer(call: &KmsCall, what: &str) -> Error {
    Box::new(
        ProviderError::new(ProviderCause::BadAnswer, &call.key, format!("the answer to {} {what}", call.operation))
            .with_request_id(call.request_id.clone()),
    )
    .into()
}

/// The error for an answer about another key. The message names that key, unless its name contains a part of `secret`.
pub(super) fn another_key(call: &KmsCall, verb: &str, arn: &KeyArn, secret: &[u8]) -> Error {
    let arn = arn.to_string();
    if words::holds(&arn, secret) {
        return bad_answer(call, &format!("{verb} another key"));
    }
    bad_answer(call, &format!("{verb} another key, {arn}"))
}

/// The cause for a code that AWS documents. Without a code, the HTTP status decides.
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
        ProviderCause::WrongCiphertext => "the key did not wrap these bytes, or not with this encryption context",
        ProviderCause::ClockSkew => "this machine's clock and AWS's differ too much",
        ProviderCause::Throttled => "AWS asks for fewer requests",
        ProviderCause::Denied => "access is denied",
        _ if words.is_empty() => return format!("{} was refused: {code}", call.operation),
        _ => return format!("{}: {words}", if code.is_empty() { call.operation.name() } else { code }),
    };
    join(own, words)
}

fn join(own: &str, words: &str) -> String {
    if words.is_empty() { own.to_owned() } else { format!("{own} ({words})") }
}

/// The remedy that AWS's code selects, where it says more than the cause.
fn remedy_by_code(call: &KmsCall, cause: ProviderCause, code: &str, raw: &str, key: &str) -> Option<Remedy> {
    let rotates = call.operation == KmsOperation::RotateKeyOnDemand;
    let key = key.to_owned();
    match code {
        "KMSInvalidStateException" if raw.contains("unavailable") || raw.contains("key store") => {
            Some(Remedy::ConnectKeyStore)
        }
        "KMSInvalidStateException" if rotates && cause == ProviderCause::Rejected => {
            Some(Remedy::ImportNextMaterial { key })
        }
        "ConflictException" if rotates => Some(Remedy::AwaitRotation { key }),
        "IncorrectKeyMaterialException" => Some(Remedy::ImportAsNew),
        _ => None,
    }
}

/// The remedy for a cause.
fn remedy(call: &KmsCall, cause: ProviderCause, key: &str) -> Option<Remedy> {
    let (key, region) = (key.to_owned(), call.region.clone());
    Some(match cause {
        ProviderCause::Denied => {
            // These two calls have no encryption context.
            let by_context = !matches!(call.operation, KmsOperation::Decapsulate | KmsOperation::GetPublicKey);
            Remedy::Permit { action: call.operation.action(), by_context }
        }
        ProviderCause::Disabled => Remedy::EnableKey { key, region },
        ProviderCause::PendingDeletion => Remedy::CancelDeletion { key, region },
        ProviderCause::PendingImport => Remedy::ImportSameMaterial { key },
        ProviderCause::NotFound => Remedy::CheckName,
        ProviderCause::WrongKeyType => right_kind(call, key),
        ProviderCause::Credentials => Remedy::CheckCredentials,
        ProviderCause::ClockSkew => Remedy::SetClock,
        ProviderCause::Throttled | ProviderCause::Internal => Remedy::TryLater,
        ProviderCause::Unreachable => Remedy::CheckNetwork,
        _ => return None,
    })
}

/// The kind of key that the call takes.
fn right_kind(call: &KmsCall, key: String) -> Remedy {
    match call.operation {
        KmsOperation::RotateKeyOnDemand => Remedy::ReplaceKey,
        KmsOperation::Decapsulate => Remedy::UseKind(RightKind::MlKem),
        KmsOperation::GenerateDataKey | KmsOperation::Encrypt | KmsOperation::ReEncrypt => {
            Remedy::UseKind(RightKind::SymmetricOrPublicHalf { key })
        }
        _ => Remedy::UseKind(RightKind::SymmetricOrSlots),
    }
}

/// Whether no source of credentials is configured. The SDK has no error type for this.
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
        let mut call = KmsCall::new(KmsOperation::ReEncrypt, "alias/new", "eu-west-1");
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
