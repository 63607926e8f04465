//! What of AWS's configuration is this project's to choose; everything else is the environment's, as for every
//! AWS tool.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::meta::region::RegionProviderChain;
use aws_config::retry::{RetryConfig, RetryMode};
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_smithy_http_client::tls::TrustStore;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::os_shim_internal::Env;

use super::effective::Effective;
use super::environment::Environment;
use super::http::Proxies;
use super::name::is_region;
use super::setting::Kind;
use waxseal::error::{Error, Result};

/// How long to wait for AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KmsTimeouts {
    /// For a connection.
    pub connect: Duration,
    /// For one attempt of a call. Where a connection or AWS itself fails, up to three are made, with jitter between
    /// them; where AWS throttles, as many as there is time for, unless `AWS_MAX_ATTEMPTS` gives their number.
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

    /// Reads the environment and the profiles, and checks them. No network: a region that only the instance knows
    /// is asked for when a name needs it ([`instance_region`]).
    pub(super) async fn load(&self) -> Result<Loaded> {
        let environment = Environment::of_process();
        self.load_from(&environment, super::http::client).await
    }

    /// The SDK is given what was checked, and reads nothing of its own: it panics at an empty `AWS_MAX_ATTEMPTS`, at
    /// `AWS_RETRY_MODE=legacy`, and at a line end in an access key.
    pub(super) async fn load_from(
        &self,
        environment: &Environment,
        http: impl FnOnce(Option<TrustStore>, Proxies) -> SharedHttpClient,
    ) -> Result<Loaded> {
        let effective = Effective::read(self, environment)?;
        let bundle = effective.bundle.as_ref().map(|(name, path)| {
            let refused = |why| Error::Invalid(format!("{name} ({}): {why}", path.display()));
            super::http::bundle(path).map_err(refused)
        });
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.timeouts.connect)
            .operation_attempt_timeout(self.timeouts.attempt)
            .build();
        let profiles = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, effective.profiles).build();
        let mut retries = RetryConfig::standard();
        let attempts_given = effective.attempts.is_some();
        if let Some(attempts) = effective.attempts {
            retries = retries.with_max_attempts(attempts);
        }
        if effective.adaptive {
            retries = retries.with_retry_mode(RetryMode::Adaptive);
        }
        let sdk = aws_config::defaults(BehaviorVersion::latest())
            .env(Env::from(effective.variables))
            .profile_files(profiles)
            .http_client(http(bundle.transpose()?, effective.proxies))
            .timeout_config(timeouts)
            .retry_config(retries)
            .use_fips(effective.fips)
            .use_dual_stack(effective.dual_stack)
            .region(RegionProviderChain::first_try(effective.region.map(Region::new)))
            .load()
            .await;
        let instance = effective.instance;
        let Some(chain) = sdk.credentials_provider() else {
            return Ok(Loaded { sdk, instance, attempts_given });
        };
        let chain = SharedCredentialsProvider::new(Checked(chain));
        let remembered = SharedCredentialsProvider::new(Remembered { chain, last: Arc::default() });
        let sdk = sdk.into_builder().credentials_provider(remembered).build();
        Ok(Loaded { sdk, instance, attempts_given })
    }
}

/// What a handle works with.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) sdk: SdkConfig,
    /// Where the instance can be asked.
    instance: Option<String>,
    /// Whether the environment says how often a call is sent (`AWS_MAX_ATTEMPTS`).
    pub(super) attempts_given: bool,
}

/// The region of the instance that this runs on.
pub(super) async fn instance_region(loaded: &Loaded) -> Option<String> {
    use aws_config::provider_config::ProviderConfig;
    let mut config = ProviderConfig::without_region();
    if let Some(http) = loaded.sdk.http_client() {
        config = config.with_http_client(http);
    }
    let client = aws_config::imds::Client::builder().configure(&config).endpoint(loaded.instance.as_ref()?).ok()?;
    let region = aws_config::imds::region::ImdsRegionProvider::builder().configure(&config);
    let region = region.imds_client(client.build()).build().region().await?;
    Some(region.as_ref().to_owned()).filter(|region| is_region(region))
}

/// Refuses credentials that no request can be signed with, whoever gave them: the SDK panics at them.
#[derive(Debug)]
struct Checked(SharedCredentialsProvider);

impl ProvideCredentials for Checked {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let new = self.0.provide_credentials().await?;
            let parts = [new.access_key_id(), new.secret_access_key(), new.session_token().unwrap_or_default()];
            if parts.iter().any(|part| Kind::Credential.check(part).is_err()) {
                let why = "they hold a blank, a line end or another character that no credential has";
                return Err(CredentialsError::invalid_configuration(why));
            }
            Ok(new)
        })
    }
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
