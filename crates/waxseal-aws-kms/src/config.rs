//! The part of AWS's configuration that the caller can choose. All other settings come from the environment, as for every
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

/// Where keys and credentials are looked up. By default, AWS's environment variables and profiles decide. Only they can
/// name an endpoint other than AWS's (`AWS_ENDPOINT_URL_KMS`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KmsConfig {
    /// The profile. With `None`, `AWS_PROFILE` is used, and otherwise `default`.
    pub profile: Option<String>,
    /// The region for key names without a region. A multi-Region key is called in it even if its name has another region.
    pub region: Option<String>,
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
        match &self.region {
            Some(region) if !is_region(region) => Err(Error::Invalid(format!("{region:?} is not an AWS region"))),
            _ => Ok(()),
        }
    }

    /// The region from the argument or an environment variable, which is known without reading a file.
    pub(super) fn near_region(&self) -> Option<String> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        self.region.clone().or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"))
    }

    /// Reads the environment and the profiles, and checks them. This makes no request. The metadata service of the
    /// instance is asked for a region only if a name needs one ([`instance_region`]).
    pub(super) async fn load(&self) -> Result<Loaded> {
        let environment = Environment::of_process();
        self.load_from(&environment, super::http::client).await
    }

    /// The SDK gets the checked values, and reads nothing itself. It would panic at an empty `AWS_MAX_ATTEMPTS`, at
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

/// The configuration of a handle.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) sdk: SdkConfig,
    /// The address of the instance's metadata service.
    instance: Option<String>,
    /// Whether the environment says how often a call is sent (`AWS_MAX_ATTEMPTS`).
    pub(super) attempts_given: bool,
}

/// The region of the instance that this program runs on.
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

/// Refuses credentials that cannot sign a request, from whatever source. The SDK would panic at them.
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

/// Keeps the last credentials. They are then not loaded a second time to look at their account.
#[derive(Debug)]
struct Remembered {
    chain: SharedCredentialsProvider,
    last: Arc<Mutex<Option<Credentials>>>,
}

/// Credentials that expire sooner are loaded again.
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
