//! Loads AWS's configuration for one service: what the caller chose, the environment and the profiles.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::meta::region::RegionProviderChain;
use aws_config::retry::{RetryConfig, RetryMode};
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_smithy_http_client::tls::TrustStore;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::os_shim_internal::Env;

use super::credentials::Provider;
use super::effective::Effective;
use super::environment::Environment;
use super::http::Proxies;
use super::name::is_region;
use super::{Service, endpoint};
use waxseal::error::{Error, Result};

/// The service, and the part of AWS's configuration that the caller can choose. All other settings come from the
/// environment, as for every AWS tool.
#[derive(Debug, Clone)]
pub struct Choices {
    /// The service.
    pub service: &'static Service,
    /// The profile. With `None`, `AWS_PROFILE` is used, and otherwise `default`.
    pub profile: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The endpoint, as the service's variable would name it. It comes before that variable.
    pub endpoint: Option<String>,
    /// The limit for a connection.
    pub connect: Duration,
    /// The limit for one attempt of a call, if there is one.
    pub attempt: Option<Duration>,
    /// How often a call is sent at most, if the environment does not say it.
    pub attempts: u32,
}

impl Choices {
    /// Checks what can be checked without reading anything.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the region is not an AWS region, or if the endpoint is not an address.
    pub fn check(&self) -> Result<()> {
        if let Some(endpoint) = &self.endpoint {
            super::endpoint::check(endpoint, super::endpoint::Use::Service)
                .map_err(|why| Error::Invalid(format!("the endpoint for {}: {why}", self.service.name)))?;
        }
        match &self.region {
            Some(region) if !is_region(region) => Err(Error::Invalid(format!("{region:?} is not an AWS region"))),
            _ => Ok(()),
        }
    }

    /// The region from the argument or an environment variable, which is known without reading a file.
    #[must_use]
    pub fn near_region(&self) -> Option<String> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        self.region.clone().or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"))
    }

    /// Reads the environment and the profiles, and checks them. This makes no request. The metadata service of the
    /// instance is asked for a region only if a name needs one ([`instance_region`]).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a setting that cannot be used, with its name. For credentials that cannot be used, an error
    /// of the key service.
    pub async fn load(&self) -> Result<Loaded> {
        let environment = Environment::of_process(self.service).with_endpoint(self.endpoint.as_deref());
        self.load_from(&environment, super::http::client).await
    }

    /// The SDK gets the checked values, and reads nothing itself. It would panic at an empty `AWS_MAX_ATTEMPTS`, at
    /// `AWS_RETRY_MODE=legacy`, and at a line end in an access key.
    ///
    /// # Errors
    /// As for [`Choices::load`].
    pub async fn load_from(
        &self,
        environment: &Environment,
        http: impl FnOnce(Option<TrustStore>, Proxies) -> SharedHttpClient,
    ) -> Result<Loaded> {
        let effective = Effective::read(self, environment)?;
        let bundle = effective.bundle.as_ref().map(|(name, path)| {
            let refused = |why| Error::Invalid(format!("{name} ({}): {why}", path.display()));
            super::http::bundle(path).map_err(refused)
        });
        let mut timeouts = TimeoutConfig::builder().connect_timeout(self.connect);
        timeouts.set_operation_attempt_timeout(self.attempt);
        let profiles = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, effective.profiles).build();
        let attempts = effective.attempts;
        let mut retries = RetryConfig::standard().with_max_attempts(attempts.unwrap_or(self.attempts));
        if effective.adaptive {
            retries = retries.with_retry_mode(RetryMode::Adaptive);
        }
        let (bundle, proxies) = (bundle.transpose()?, effective.proxies);
        let sdk = aws_config::defaults(BehaviorVersion::latest())
            .env(Env::from(effective.variables))
            .profile_files(profiles)
            .http_client(http(bundle.clone(), proxies.clone()))
            .timeout_config(timeouts.build())
            .retry_config(retries)
            .use_fips(effective.fips)
            .use_dual_stack(effective.dual_stack)
            .region(RegionProviderChain::first_try(effective.region.map(Region::new)))
            .load()
            .await;
        let credentials = sdk.credentials_provider().map(|chain| Provider::new(chain, effective.source));
        let sdk = match &credentials {
            Some(shared) => {
                let shared = SharedCredentialsProvider::new(shared.clone());
                sdk.into_builder().credentials_provider(shared).build()
            }
            None => sdk,
        };
        Ok(Loaded {
            sdk,
            credentials,
            instance: effective.instance,
            attempts,
            own_endpoint: effective.own_endpoint,
            keys: effective.keys,
            bundle,
            proxies,
        })
    }
}

/// The configuration of a handle.
#[derive(Debug)]
pub struct Loaded {
    /// The SDK's configuration, for clients of all services.
    pub sdk: SdkConfig,
    /// The credentials in it; `None` if there is no source of any.
    pub credentials: Option<Provider>,
    /// The address of the instance's metadata service.
    instance: Option<String>,
    /// How often a call is sent at most, if the environment says it (`AWS_MAX_ATTEMPTS`).
    pub attempts: Option<u32>,
    /// The endpoint of the service, if a setting names one.
    pub own_endpoint: Option<String>,
    /// The service's own settings in the profile ([`Service::keys`]), in lower case.
    pub keys: HashMap<&'static str, String>,
    /// The trust roots that replace those of the system.
    pub bundle: Option<TrustStore>,
    /// The proxies of the environment.
    pub proxies: Proxies,
}

impl Loaded {
    /// Whether a setting names an endpoint that is reached over a network without encryption.
    #[must_use]
    pub fn is_in_the_clear(&self) -> bool {
        self.own_endpoint.as_deref().is_some_and(endpoint::is_in_the_clear)
    }
}

/// The region of the instance that this program runs on.
pub async fn instance_region(loaded: &Loaded) -> Option<String> {
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) static KMS: Service = Service {
        name: "AWS KMS",
        endpoint: "AWS_ENDPOINT_URL_KMS",
        section: "kms",
        keys: &[],
        thread: "waxseal-aws-kms",
    };

    pub(crate) static S3: Service = Service {
        name: "Amazon S3",
        endpoint: "AWS_ENDPOINT_URL_S3",
        section: "s3",
        keys: &[("addressing_style", &["auto", "path", "virtual"])],
        thread: "waxseal-aws-s3",
    };

    pub(crate) fn choices(service: &'static Service) -> Choices {
        let (connect, attempt) = (Duration::from_millis(500), Some(Duration::from_millis(500)));
        Choices { service, profile: None, region: None, endpoint: None, connect, attempt, attempts: 3 }
    }

    #[test]
    fn a_region_is_checked_before_anything_is_read() {
        let config = Choices { region: Some("evil.example/".into()), ..choices(&KMS) };
        assert!(matches!(config.check(), Err(Error::Invalid(_))));
    }

    #[test]
    fn an_endpoint_is_checked_and_not_repeated() {
        let endpoint = |text: &str| Choices { endpoint: Some(text.into()), ..choices(&KMS) };
        assert!(endpoint("http://127.0.0.1:4566").check().is_ok());
        let refused = endpoint("http://user:hunter2@127.0.0.1").check().unwrap_err().to_string();
        assert!(!refused.contains("hunter2") && refused.contains("AWS KMS"), "{refused}");
        let there = Environment::of(&KMS, |name| (name == KMS.endpoint).then(|| "http://there".into()));
        let here = there.with_endpoint(Some("http://here"));
        assert_eq!(here.get(KMS.endpoint), Some("http://here"));
        assert_eq!(here.with_endpoint(None).get(KMS.endpoint), Some("http://here"));
    }
}
