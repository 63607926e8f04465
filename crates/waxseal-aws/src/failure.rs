//! Turns the SDK's errors into causes.
//!
//! If AWS sent a message, the error repeats it ([`crate::words`]). Otherwise the type of the error selects a sentence. The
//! error never repeats what the SDK writes about a request or an answer, because that text can contain a secret.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use http_body_util::LengthLimitError;
use waxseal::error::{ProviderCause, Remedy};

use super::trouble::{self, Own};
use super::{credentials, words};

/// Cause and message of an error, without the call that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The cause.
    pub cause: ProviderCause,
    /// The sentence for it.
    pub message: String,
}

impl Verdict {
    /// A verdict.
    pub fn new(cause: ProviderCause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into() }
    }
}

/// What a call asked for, as far as an error must say it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// AWS's name of the operation.
    pub operation: &'a str,
    /// The region that was called; empty if it does not matter.
    pub region: &'a str,
}

/// The errors that a service has of its own.
pub trait Causes {
    /// The cause for a code of this service; `None` for all others. `words` is the service's message in lower case.
    fn cause(&self, code: &str, words: &str, status: u16) -> Option<ProviderCause>;

    /// The sentence for a cause; `None` for the usual one. AWS's message follows it in brackets.
    fn sentence(&self, cause: ProviderCause) -> Option<String>;
}

/// A service that has no errors of its own.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Causes for Plain {
    fn cause(&self, _: &str, _: &str, _: u16) -> Option<ProviderCause> {
        None
    }

    fn sentence(&self, _: ProviderCause) -> Option<String> {
        None
    }
}

/// The cause of the failure, and the sentence for it. `tell` returns the part of the service's message that may be
/// repeated.
pub fn verdict<E>(
    asked: Asked<'_>,
    own: &impl Causes,
    error: &SdkError<E, HttpResponse>,
    tell: impl Fn(&str) -> String,
) -> Verdict
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    if let SdkError::ServiceError(answer) = error {
        let (code, raw) = (answer.err().code().unwrap_or_default(), answer.err().message().unwrap_or_default());
        return of_answer(asked, own, words::code(code), raw, answer.raw().status().as_u16(), tell);
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
    without_answer(asked, error)
}

/// `raw` is the service's message. `tell` returns the part of it that the error may repeat.
fn of_answer(
    asked: Asked<'_>,
    own: &impl Causes,
    code: &str,
    raw: &str,
    status: u16,
    tell: impl Fn(&str) -> String,
) -> Verdict {
    let words = raw.to_ascii_lowercase();
    let known = own.cause(code, &words, status);
    // AWS names every refusal.
    if known.is_none() && code.is_empty() && status != 429 && status < 500 {
        return Verdict::new(ProviderCause::Unreachable, not_of_aws(status));
    }
    let cause = known.unwrap_or_else(|| cause_of(code, &words, status));
    if code.is_empty() && cause == ProviderCause::Internal {
        return Verdict::new(cause, format!("AWS failed with HTTP status {status}"));
    }
    Verdict::new(cause, in_words(asked, own, cause, code, &tell(raw)))
}

fn without_answer<E>(asked: Asked<'_>, error: &SdkError<E, HttpResponse>) -> Verdict
where
    E: StdError + 'static,
{
    let place = if asked.region.is_empty() { "AWS".to_owned() } else { format!("AWS in {}", asked.region) };
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
        _ => Verdict::new(ProviderCause::Rejected, format!("the request for {} cannot be made", asked.operation)),
    }
}

/// Such an answer is from a captive portal or a proxy. It says nothing about the file.
fn not_of_aws(status: u16) -> String {
    format!(
        "the answer has HTTP status {status} and is not from AWS: a proxy or a login page may have answered instead"
    )
}

/// The cause for a code that AWS documents for all services. Without a code, the HTTP status decides.
fn cause_of(code: &str, words: &str, status: u16) -> ProviderCause {
    match code {
        "AccessDeniedException" | "AccessDenied" => ProviderCause::Denied,
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
        "InternalFailure" | "InternalError" | "ServiceUnavailable" | "ServiceUnavailableException" => {
            ProviderCause::Internal
        }
        _ if status == 429 => ProviderCause::Throttled,
        _ if status >= 500 => ProviderCause::Internal,
        _ => ProviderCause::Rejected,
    }
}

fn in_words(asked: Asked<'_>, own: &impl Causes, cause: ProviderCause, code: &str, words: &str) -> String {
    if let Some(sentence) = own.sentence(cause) {
        return join(&sentence, words);
    }
    let usual = match cause {
        ProviderCause::ClockSkew => "this machine's clock and AWS's differ too much",
        ProviderCause::Throttled => "AWS asks for fewer requests",
        ProviderCause::Denied => "access is denied",
        _ if words.is_empty() => return format!("{} was refused: {code}", asked.operation),
        _ => return format!("{}: {words}", if code.is_empty() { asked.operation } else { code }),
    };
    join(usual, words)
}

fn join(own: &str, words: &str) -> String {
    if words.is_empty() { own.to_owned() } else { format!("{own} ({words})") }
}

/// The remedy for a cause that every service has.
#[must_use]
pub fn remedy(cause: ProviderCause) -> Option<Remedy> {
    Some(match cause {
        ProviderCause::Credentials => Remedy::CheckCredentials,
        ProviderCause::ClockSkew => Remedy::SetClock,
        ProviderCause::Throttled | ProviderCause::Internal => Remedy::TryLater,
        ProviderCause::Unreachable => Remedy::CheckNetwork,
        _ => return None,
    })
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
            ("AccessDenied", "", 403, C::Denied),
            ("ThrottlingException", "rate exceeded", 400, C::Throttled),
            ("SlowDown", "please reduce your request rate.", 503, C::Throttled),
            ("InvalidSignatureException", "signature expired: 2020 is now earlier than", 400, C::ClockSkew),
            ("RequestTimeTooSkewed", "", 403, C::ClockSkew),
            ("SignatureDoesNotMatch", "the request signature we calculated", 403, C::Credentials),
            ("ExpiredToken", "the provided token has expired.", 400, C::Credentials),
            ("InternalError", "", 500, C::Internal),
            ("", "", 503, C::Internal),
            ("", "", 429, C::Throttled),
            ("ValidationException", "1 validation error", 400, C::Rejected),
        ] {
            assert_eq!(cause_of(code, words, status), cause, "{code} {words}");
        }
    }

    #[test]
    fn an_answer_without_a_code_is_not_of_aws_unless_the_service_knows_it() {
        struct Missing;
        impl Causes for Missing {
            fn cause(&self, _: &str, _: &str, status: u16) -> Option<ProviderCause> {
                (status == 404).then_some(ProviderCause::NotFound)
            }

            fn sentence(&self, cause: ProviderCause) -> Option<String> {
                (cause == ProviderCause::NotFound).then(|| "it is not there".into())
            }
        }
        let asked = Asked { operation: "HeadObject", region: "eu-west-1" };
        let at = |status| of_answer(asked, &Missing, "", "", status, str::to_owned);
        assert_eq!(at(404), Verdict::new(ProviderCause::NotFound, "it is not there"));
        assert_eq!(at(403).cause, ProviderCause::Unreachable);
        assert_eq!(at(503).message, "AWS failed with HTTP status 503");
    }
}
