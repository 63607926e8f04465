//! What of AWS's configuration is this project's to choose; everything else is the environment's, as for every
//! AWS tool.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use waxseal::error::{Error, Result};

use super::name::is_region;

/// How long to wait for AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KmsTimeouts {
    /// For a connection.
    pub connect: Duration,
    /// For one attempt of a call; the SDK makes up to three, with jitter between them.
    pub attempt: Duration,
    /// For a whole call: credentials and all attempts.
    pub operation: Duration,
}

impl Default for KmsTimeouts {
    /// 5, 10 and 30 seconds.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), attempt: Duration::from_secs(10), operation: Duration::from_secs(30) }
    }
}

impl KmsTimeouts {
    /// `operation` for a whole call, and no part of it waits longer.
    #[must_use]
    pub fn within(operation: Duration) -> Self {
        let default = Self::default();
        Self { connect: default.connect.min(operation), attempt: default.attempt.min(operation), operation }
    }
}

/// Where keys and credentials are looked for. The default leaves all of it to AWS's environment variables and
/// profiles; an endpoint other than AWS's comes from there alone (`AWS_ENDPOINT_URL_KMS`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KmsConfig {
    /// The profile (`--profile`), else `AWS_PROFILE`, else `default`.
    pub profile: Option<String>,
    /// The region (`--region`) for names that state none, and for multi-Region keys even if they state another.
    pub region: Option<String>,
    /// How long to wait.
    pub timeouts: KmsTimeouts,
}

impl KmsConfig {
    /// Everything by default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn check(&self) -> Result<()> {
        match &self.region {
            Some(region) if !is_region(region) => Err(Error::Invalid(format!("{region:?} is not an AWS region"))),
            _ => Ok(()),
        }
    }

    /// The region by argument or environment variable: what can be known without reading a file.
    pub(super) fn near_region(&self) -> Option<String> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        self.region.clone().or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"))
    }

    /// Reads the environment and the profiles. No network: a region that only the instance knows is asked for
    /// when a name needs it ([`instance_region`]).
    pub(super) async fn load(&self) -> SdkConfig {
        let mut profile_region = ProfileFileRegionProvider::builder();
        if let Some(profile) = &self.profile {
            profile_region = profile_region.profile_name(profile);
        }
        let region = RegionProviderChain::first_try(self.region.clone().map(Region::new))
            .or_else(EnvironmentVariableRegionProvider::new())
            .or_else(profile_region.build());
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.timeouts.connect)
            .operation_attempt_timeout(self.timeouts.attempt)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(super::http::client())
            .timeout_config(timeouts)
            .region(region);
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        let sdk = loader.load().await;
        let Some(chain) = sdk.credentials_provider() else { return sdk };
        let remembered = SharedCredentialsProvider::new(Remembered { chain, last: Arc::default() });
        sdk.into_builder().credentials_provider(remembered).build()
    }
}

/// The region of the instance that this runs on.
pub(super) async fn instance_region(sdk: &SdkConfig) -> Option<String> {
    use aws_config::provider_config::ProviderConfig;
    let mut config = ProviderConfig::without_region();
    if let Some(http) = sdk.http_client() {
        config = config.with_http_client(http);
    }
    let provider = aws_config::imds::region::ImdsRegionProvider::builder().configure(&config).build();
    provider.region().await.map(|region| region.as_ref().to_owned())
}

/// Keeps the last credentials, so that looking at their account does not load them twice.
#[derive(Debug)]
struct Remembered {
    chain: SharedCredentialsProvider,
    last: Arc<Mutex<Option<Credentials>>>,
}

/// Credentials that expire sooner are loaded anew.
const FRESH: Duration = Duration::from_secs(60);

impl ProvideCredentials for Remembered {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let kept = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(kept) = kept.filter(|kept| kept.expiry().is_none_or(|at| at > SystemTime::now() + FRESH)) {
                return Ok(kept);
            }
            let new = self.chain.provide_credentials().await?;
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(new.clone());
            Ok(new)
        })
    }
}

#[cfg(test)]
mod tests {
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
