//! Credentials. They are loaded before the call, so that the SDK's retries do not load them again. A failure to load them
//! is remembered.

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use tokio::sync::Mutex;

use super::client::{Kms, KmsCall};
use super::failure::{self, Verdict};
use super::operation::KmsOperation;
use super::{helpers, trouble};
use waxseal::error::{ProviderCause, ProviderError};

/// The variable for the address of the instance's metadata service. Whoever sets it wants to use that service.
const METADATA_ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";

/// A failure that is the same for all calls, and is remembered.
pub(super) struct Remembered<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Remembered<T> {
    /// Returns the failure if one was remembered less than `memory` ago. Otherwise runs `attempt`, and remembers its
    /// failure. Only one attempt runs at a time, and callers that wait for it get the failure that it remembers.
    pub(super) async fn or<O>(&self, memory: Duration, attempt: impl Future<Output = Result<O, T>>) -> Result<O, T> {
        let mut remembered = self.0.lock().await;
        if let Some((at, failure)) = remembered.as_ref()
            && at.elapsed() < memory
        {
            return Err(failure.clone());
        }
        let done = attempt.await;
        *remembered = done.as_ref().err().map(|failure| (Instant::now(), failure.clone()));
        done
    }
}

impl Kms {
    /// Loads the credentials. A failure is remembered ([`Kms::for_one_run`]), and a program that hangs is ended.
    pub(super) async fn credentials(&self, call: &KmsCall, limit: Duration) -> Result<(), ProviderError> {
        // An error in the configuration is not lost: the call that needs it returns it.
        let sdk = self.sdk().await.ok().flatten();
        let Some(provider) = sdk.and_then(SdkConfig::credentials_provider) else { return Ok(()) };
        let load = async {
            match tokio::time::timeout(limit, provider.provide_credentials()).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(verdict(&error)),
                Err(_) => {
                    helpers::end_children_of_this_thread();
                    Err(Verdict::new(ProviderCause::Unreachable, cannot("there was no answer in time")))
                }
            }
        };
        let loaded = self.inner.no_credentials.or(self.memory(), load).await;
        loaded.map_err(|verdict| failure::told(call, verdict))
    }
}

/// Why there are no credentials.
pub(super) fn verdict(error: &CredentialsError) -> Verdict {
    let unreachable = |why: &str| Verdict::new(ProviderCause::Unreachable, cannot(why));
    match error {
        CredentialsError::CredentialsNotLoaded(_) if metadata_was_meant(error) => {
            unreachable("the instance's metadata service cannot be reached")
        }
        CredentialsError::CredentialsNotLoaded(_) => {
            Verdict::new(ProviderCause::Credentials, "there are no AWS credentials")
        }
        CredentialsError::ProviderTimedOut(_) => unreachable("there was no answer in time"),
        CredentialsError::InvalidConfiguration(_) => Verdict::new(
            ProviderCause::Credentials,
            cannot("the configuration of the profile, the role or the credentials' source is not valid"),
        ),
        _ => by_source(error),
    }
}

fn cannot(why: &str) -> String {
    format!("the AWS credentials cannot be loaded: {why}")
}

/// Only the debug text of the SDK's error says which sources were tried.
fn metadata_was_meant(error: &CredentialsError) -> bool {
    std::env::var_os(METADATA_ENDPOINT).is_some_and(|url| !url.is_empty())
        && format!("{error:?}").contains("ImdsCommunicationError")
}

/// The verdict for a source that failed: STS, another service, the network or a command.
fn by_source(error: &CredentialsError) -> Verdict {
    if let Some(sts) = trouble::find::<SdkError<AssumeRoleError, HttpResponse>>(error) {
        return of_service(failure::verdict(&KmsCall::new(KmsOperation::AssumeRole, "", ""), sts, &[]));
    }
    if let Some(sts) = trouble::find::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>(error) {
        // The message could contain the token, which is a secret.
        let call = KmsCall::new(KmsOperation::AssumeRoleWithWebIdentity, "", "");
        return of_service(failure::verdict_without_words(&call, sts));
    }
    if let Some(connector) = trouble::find::<ConnectorError>(error) {
        return Verdict::new(ProviderCause::Unreachable, cannot(trouble::of_connection(connector)));
    }
    let (cause, why) = by_text(error);
    Verdict::new(cause, cannot(why))
}

fn of_service(verdict: Verdict) -> Verdict {
    let passing =
        [ProviderCause::Throttled, ProviderCause::Unreachable, ProviderCause::Internal, ProviderCause::ClockSkew];
    let cause = if passing.contains(&verdict.cause) { verdict.cause } else { ProviderCause::Credentials };
    Verdict::new(cause, cannot(&verdict.message))
}

/// The verdict for an error without a public type. The SDK's text selects a sentence, and is never repeated.
fn by_text(error: &CredentialsError) -> (ProviderCause, &'static str) {
    // Only the debug text has the HTTP status of an answer.
    let all = format!("{error:?}");
    if all.contains("StatusCode(429)") || all.contains("TooManyRequests") {
        return (ProviderCause::Throttled, "their source asks for fewer requests");
    }
    if all.contains("StatusCode(5") {
        return (ProviderCause::Internal, "their source had an internal failure");
    }
    if trouble::says(error, &["external process exited"]) {
        return (ProviderCause::Credentials, "the credential_process of the profile failed");
    }
    if trouble::says(error, &["external process"]) {
        return (ProviderCause::Credentials, "the credential_process of the profile returned none");
    }
    if all.contains("InvalidJsonCredentials") || all.contains("InvalidJson") || all.contains("JsonError") {
        return (ProviderCause::Unreachable, "the answer of their source is not from AWS");
    }
    if trouble::says(error, &["timed out", "timeout"]) {
        return (ProviderCause::Unreachable, "there was no answer in time");
    }
    if all.contains("Unauthorized") || all.contains("ExpiredToken") || all.contains("expired") {
        return (ProviderCause::Credentials, "the session has expired");
    }
    (ProviderCause::Credentials, "their source refused, or returned none")
}
