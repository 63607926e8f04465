//! Turns the SDK's errors into causes, with a remedy for each.
//!
//! If AWS sent a message, the error repeats it ([`words`]). Otherwise the type of the error selects a sentence. The error
//! never repeats what the SDK writes about a request or an answer, because that text can contain a data key.

use std::error::Error as StdError;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId as _;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::KmsCall;
use super::name::KeyArn;
use super::operation::KmsOperation;
use waxseal::error::{Error, ProviderCause, ProviderError, Remedy, RightKind};
use waxseal_aws::failure::{self, Asked, Causes, Verdict};
use waxseal_aws::words;

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
fn verdict<E>(call: &KmsCall, error: &SdkError<E, HttpResponse>, secret: &[u8]) -> Verdict
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    failure::verdict(asked(call), &OfKms(call), error, |raw| words::told(raw, secret))
}

/// Whether AWS asks for fewer requests.
pub(super) fn is_throttled<E>(call: &KmsCall, error: &SdkError<E, HttpResponse>) -> bool
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    matches!(error, SdkError::ServiceError(_))
        && failure::verdict(asked(call), &OfKms(call), error, |_| String::new()).cause == ProviderCause::Throttled
}

fn asked(call: &KmsCall) -> Asked<'_> {
    Asked { operation: call.operation.name(), region: &call.region }
}

/// The errors of KMS, for one call.
struct OfKms<'a>(&'a KmsCall);

impl Causes for OfKms<'_> {
    fn cause(&self, code: &str, words: &str, _: u16) -> Option<ProviderCause> {
        cause_of(code, words)
    }

    fn sentence(&self, cause: ProviderCause) -> Option<String> {
        Some(match cause {
            ProviderCause::NotFound => format!("there is no such key in {}", self.0.region),
            ProviderCause::OtherKey => "another key wrapped this data key".into(),
            ProviderCause::WrongCiphertext => {
                "the key did not wrap these bytes, or not with this encryption context".into()
            }
            _ => return None,
        })
    }
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

/// The cause for a code that KMS has of its own. `words` is its message in lower case.
fn cause_of(code: &str, words: &str) -> Option<ProviderCause> {
    Some(match code {
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
        "KeyUnavailableException" | "DependencyTimeoutException" | "KMSInternalException" => ProviderCause::Internal,
        _ => return None,
    })
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
        _ => return failure::remedy(cause),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes() {
        use ProviderCause as C;
        for (code, words, cause) in [
            ("DisabledException", "arn is disabled.", Some(C::Disabled)),
            ("KMSInvalidStateException", "arn is pending import.", Some(C::PendingImport)),
            ("KMSInvalidStateException", "arn is pending deletion.", Some(C::PendingDeletion)),
            ("KMSInvalidStateException", "arn is pending replica deletion.", Some(C::PendingDeletion)),
            ("KMSInvalidStateException", "arn is creating.", None),
            ("NotFoundException", "key 'arn' does not exist", Some(C::NotFound)),
            ("InvalidCiphertextException", "", Some(C::WrongCiphertext)),
            ("IncorrectKeyException", "", Some(C::OtherKey)),
            ("InvalidKeyUsageException", "", Some(C::WrongKeyType)),
            ("KMSInternalException", "", Some(C::Internal)),
            ("AccessDeniedException", "user: x is not authorized", None),
            ("ThrottlingException", "rate exceeded", None),
            ("", "", None),
        ] {
            assert_eq!(cause_of(code, words), cause, "{code} {words}");
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
