//! From the SDK's errors to causes, with a hint for each.
//!
//! Messages are AWS's own words where there are any. They name keys, principals and actions, never key bytes.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId as _;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use waxseal::error::{Error, ProviderCause, ProviderError};

use super::KmsCall;

/// What the SDK returned for `call`, as this crate's error.
pub(super) fn failure<E>(call: &KmsCall, error: &SdkError<E, HttpResponse>) -> ProviderError
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    let words = match error {
        SdkError::ServiceError(answer) => answer.err().message().unwrap_or_default(),
        _ => "",
    };
    let (cause, message) = match error {
        SdkError::ServiceError(answer) => {
            let code = answer.err().code().unwrap_or_default();
            let cause = cause_of(code, words, answer.raw().status().as_u16());
            (cause, in_words(call, cause, code, words))
        }
        SdkError::ResponseError(answer) if answer.raw().status().as_u16() >= 500 => {
            (ProviderCause::Internal, format!("AWS failed with HTTP status {}", answer.raw().status().as_u16()))
        }
        // A captive portal or a proxy, not the file.
        SdkError::ResponseError(_) => (ProviderCause::Unreachable, "the answer is not one of AWS".into()),
        SdkError::TimeoutError(_) => (ProviderCause::Unreachable, "no answer in time".into()),
        other if find::<CredentialsError>(other).is_some() || says_no_identity(other) => {
            (ProviderCause::Credentials, credentials_words(other))
        }
        // Not the network's fault, but that of what was configured: a bundle that cannot be read.
        SdkError::DispatchFailure(failure) if failure.is_user() => (ProviderCause::Rejected, chain(error)),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            (ProviderCause::Unreachable, format!("{} cannot be reached in time", call.region))
        }
        SdkError::DispatchFailure(_) => {
            (ProviderCause::Unreachable, format!("AWS cannot be reached in {}: {}", call.region, chain(error)))
        }
        other => (ProviderCause::Rejected, chain(other)),
    };
    let key = blamed(call, cause, words);
    let hint = match error {
        SdkError::ServiceError(answer) if answer.err().code() == Some("IncorrectKeyMaterialException") => {
            Some("the key takes the material that it was first given, and no other".into())
        }
        _ => hint(call, cause, key),
    };
    let id = error.request_id().map(str::to_owned);
    ProviderError::new(cause, key, message).with_request_id(id).with_some_hint(hint)
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
        ProviderCause::OtherKey => "it is not the key that wrapped this",
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
        ProviderCause::Denied => format!(
            "the caller needs {} on the key, by its IAM and key policies; they may also demand an encryption context",
            call.action()
        ),
        ProviderCause::Disabled => format!("enable it: aws kms enable-key --region {} --key-id {key}", call.region),
        ProviderCause::PendingDeletion => {
            format!("while it still can be: aws kms cancel-key-deletion --region {} --key-id {key}", call.region)
        }
        ProviderCause::PendingImport => {
            format!("import the same material again: waxseal key import {key} --material FILE")
        }
        ProviderCause::NotFound => "check the name, the account and --region".into(),
        ProviderCause::WrongKeyType => {
            "it takes a symmetric encryption key (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT)".into()
        }
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

/// The sources of an error, outermost first, without repetitions.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    for source in sources(error).skip(1) {
        let text = source.to_string();
        if !words.iter().any(|earlier| earlier.contains(&text)) {
            words.push(text);
        }
    }
    if words.is_empty() { error.to_string() } else { words.join(": ") }
}

fn sources<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    sources(error).find_map(|source| source.downcast_ref())
}

/// Where no provider is configured at all the SDK has no type for it.
fn says_no_identity(error: &(dyn StdError + 'static)) -> bool {
    sources(error).any(|source| {
        let text = source.to_string();
        text.contains("no providers in chain provided credentials") || text.contains("failed to select an auth scheme")
    })
}

fn credentials_words(error: &(dyn StdError + 'static)) -> String {
    match find::<CredentialsError>(error) {
        Some(CredentialsError::CredentialsNotLoaded(_)) | None => "there are no AWS credentials".into(),
        Some(other) => format!("the AWS credentials cannot be loaded: {}", chain(other)),
    }
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
