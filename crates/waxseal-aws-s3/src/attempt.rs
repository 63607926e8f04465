//! Repeats requests, and decides what an answer of S3 means for the next attempt.
//!
//! The SDK's own retries are off for the requests of an upload. After every attempt, and not only after the last one,
//! this module must know whether the request had an effect.

use std::error::Error as StdError;
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use waxseal::error::Result;
use waxseal_aws::trouble;

use crate::S3;
use crate::failure::{Failed, SLOWER, code, is_about_credentials};

/// What a failed request says about its effect, and about the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// S3 has refused it, and will again. It had no effect.
    Refused,
    /// It did not reach S3.
    NotSent,
    /// S3 wants fewer requests. It had no effect.
    Throttled,
    /// It is not known whether it had an effect.
    Lost,
    /// S3 received a body that was not the one that was sent.
    Damaged,
}

impl Sort {
    /// Whether the same request may succeed.
    pub(crate) fn may_pass(self) -> bool {
        self != Self::Refused
    }
}

/// S3's codes for temporary failures in S3 or in the network. Some of them have status 200 or 400.
const PASSING: [&str; 4] = ["InternalError", "RequestTimeout", "RequestTimeoutException", "OperationAborted"];
/// S3's codes for a body that does not match its length or checksum.
const DAMAGED: [&str; 4] = ["BadDigest", "XAmzContentChecksumMismatch", "IncompleteBody", "XAmzContentSHA256Mismatch"];

pub(crate) fn sort<E>(error: &Failed<E>) -> Sort
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match error {
        SdkError::ServiceError(answer) => of_answer(code(error), answer.raw().status().as_u16()),
        SdkError::ConstructionFailure(_) => Sort::Refused,
        SdkError::DispatchFailure(failure) if failure.is_user() || is_about_credentials(error) => Sort::Refused,
        SdkError::DispatchFailure(_) if was_not_sent(error) => Sort::NotSent,
        _ => Sort::Lost,
    }
}

fn of_answer(code: &str, status: u16) -> Sort {
    match (code, status) {
        (code, _) if SLOWER.contains(&code) => Sort::Throttled,
        (code, _) if PASSING.contains(&code) => Sort::Lost,
        (code, _) if DAMAGED.contains(&code) => Sort::Damaged,
        (_, 429) => Sort::Throttled,
        (_, 501 | 505) => Sort::Refused,
        (_, 500..) => Sort::Lost,
        // An answer without a code is from a proxy before the store, and not from the store itself.
        ("", 408) => Sort::Lost,
        _ => Sort::Refused,
    }
}

/// No server could be reached that could receive the request.
fn was_not_sent<E: StdError + 'static>(error: &Failed<E>) -> bool {
    const KINDS: [io::ErrorKind; 3] =
        [io::ErrorKind::ConnectionRefused, io::ErrorKind::HostUnreachable, io::ErrorKind::NetworkUnreachable];
    trouble::chain(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| KINDS.contains(&error.kind()))
}

/// How often a request is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) attempts: u32,
}

impl Patience {
    /// Sends a request until it succeeds, S3 refuses it, or it was sent often enough. If S3 redirects to another region,
    /// that region is asked. The first redirect does not count as an attempt.
    pub(crate) async fn send<T, E, F>(
        self,
        s3: &S3,
        bucket: &str,
        mut send: impl FnMut(Client) -> F,
    ) -> Result<Result<T, Failed<E>>>
    where
        E: ProvideErrorMetadata + StdError + 'static,
        F: Future<Output = Result<T, Failed<E>>>,
    {
        let most = s3.at_most(self.attempts).await?;
        let (mut attempt, mut was_redirected) = (1, false);
        loop {
            let (client, region) = s3.client_of(bucket).await?;
            let error = match send(client).await {
                Ok(answer) => return Ok(Ok(answer)),
                Err(error) => error,
            };
            let is_redirected = s3.redirect(bucket, &region, &error);
            if is_redirected && !was_redirected {
                was_redirected = true;
                continue;
            }
            let sort = sort(&error);
            if attempt >= most || !(sort.may_pass() || is_redirected) {
                return Ok(Err(error));
            }
            if !is_redirected {
                tokio::time::sleep(pause(sort, attempt)).await;
            }
            attempt += 1;
        }
    }
}

/// The time before the next attempt, after attempt number `attempt`: it doubles each time. A part of it is random, so
/// that several requests are not repeated at the same time.
pub(crate) fn pause(sort: Sort, attempt: u32) -> Duration {
    let first = if sort == Sort::Throttled { 1_000 } else { 100 };
    let most = (first << attempt.saturating_sub(1).min(10)).min(20_000_u64);
    Duration::from_millis(most / 2 + RandomState::new().hash_one(attempt) % (most / 2 + 1))
}

/// The settings of one attempt with a body of `len` bytes: 1 minute, and the time that a connection of 16 KiB a second
/// needs. A handle with AWS's standard configuration notices much earlier if no bytes move.
pub(crate) fn once(len: u64) -> aws_sdk_s3::config::Builder {
    once_within(Duration::from_secs(60 + len / (16 * 1024)))
}

/// The settings of one attempt that may take up to `limit`.
pub(crate) fn once_within(limit: Duration) -> aws_sdk_s3::config::Builder {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(limit).disable_operation_timeout();
    aws_sdk_s3::Config::builder().retry_config(RetryConfig::disabled()).timeout_config(timeouts.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_counts_more_than_a_status() {
        for (code, status, expected) in [
            ("SlowDown", 503, Sort::Throttled),
            // A gateway, and nobody knows what the store has done.
            ("", 503, Sort::Lost),
            ("InternalError", 200, Sort::Lost),
            ("", 502, Sort::Lost),
            ("RequestTimeout", 400, Sort::Lost),
            ("BadDigest", 400, Sort::Damaged),
            ("NotImplemented", 501, Sort::Refused),
            ("PreconditionFailed", 412, Sort::Refused),
            ("NoSuchUpload", 404, Sort::Refused),
            ("AccessDenied", 403, Sort::Refused),
        ] {
            assert_eq!(of_answer(code, status), expected, "{code} {status}");
        }
    }

    #[test]
    fn pauses_grow_and_end() {
        for attempt in 1..40 {
            let (lost, slow) = (pause(Sort::Lost, attempt), pause(Sort::Throttled, attempt));
            assert!(lost >= Duration::from_millis(50) && slow >= Duration::from_millis(500));
            assert!(slow <= Duration::from_secs(20) && lost <= Duration::from_secs(20));
        }
    }
}
