//! The part of AWS's configuration that the caller can choose. All other settings come from the environment, as for every
//! AWS tool.

use std::time::Duration;

use waxseal::error::Result;
use waxseal_aws::Service;
use waxseal_aws::config::Choices;

/// AWS KMS, as the configuration names it.
pub(super) static SERVICE: Service =
    Service { name: "AWS KMS", endpoint: "AWS_ENDPOINT_URL_KMS", section: "kms", keys: &[], thread: "waxseal-aws-kms" };
/// If a connection or AWS itself fails, a call is sent up to so many times.
const ATTEMPTS: u32 = 3;

/// How long to wait for AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KmsTimeouts {
    /// The limit for a connection.
    pub connect: Duration,
    /// The limit for one attempt of a call. If a connection or AWS itself fails, there are up to three attempts, with
    /// random waits between them. If AWS throttles, there are as many attempts as the time allows, unless
    /// `AWS_MAX_ATTEMPTS` sets their number.
    pub attempt: Duration,
    /// The limit for a whole call, with credentials and all attempts.
    pub operation: Duration,
}

impl Default for KmsTimeouts {
    /// 5, 10 and 30 seconds.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), attempt: Duration::from_secs(10), operation: Duration::from_secs(30) }
    }
}

impl KmsTimeouts {
    /// `operation` is the limit for a whole call. The other limits are at most that long.
    #[must_use]
    pub fn within(operation: Duration) -> Self {
        let default = Self::default();
        Self { connect: default.connect.min(operation), attempt: default.attempt.min(operation), operation }
    }
}

/// Where keys and credentials are looked up. By default, AWS's environment variables and profiles decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KmsConfig {
    /// The profile. With `None`, `AWS_PROFILE` is used, and otherwise `default`.
    pub profile: Option<String>,
    /// The region for key names without a region. A multi-Region key is called in it even if its name has another region.
    pub region: Option<String>,
    /// An endpoint other than AWS's, as `AWS_ENDPOINT_URL_KMS` would name it. It comes before that variable.
    pub endpoint: Option<String>,
    /// How long to wait.
    pub timeouts: KmsTimeouts,
}

impl KmsConfig {
    /// The default configuration.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn check(&self) -> Result<()> {
        self.choices().check()
    }

    pub(super) fn choices(&self) -> Choices {
        Choices {
            service: &SERVICE,
            profile: self.profile.clone(),
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            connect: self.timeouts.connect,
            attempt: Some(self.timeouts.attempt),
            attempts: ATTEMPTS,
        }
    }
}

#[cfg(test)]
mod tests {
    use waxseal::error::Error;

    use super::*;

    #[test]
    fn timeouts_shrink_together() {
        let short = KmsTimeouts::within(Duration::from_secs(2));
        assert_eq!(
            (short.connect, short.attempt, short.operation),
            (short.operation, short.operation, short.operation)
        );
        let long = KmsTimeouts::within(Duration::from_secs(300));
        assert_eq!((long.connect, long.attempt), (KmsTimeouts::default().connect, KmsTimeouts::default().attempt));
    }

    #[test]
    fn a_region_is_checked_before_anything_is_read() {
        let config = KmsConfig { region: Some("evil.example/".into()), ..KmsConfig::new() };
        assert!(matches!(config.check(), Err(Error::Invalid(_))));
    }
}
