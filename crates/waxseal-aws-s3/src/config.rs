//! AWS's standard configuration for S3: the caller's choices, and the client that is made from them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{IdentityCache, Region, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::OnceCell;
use waxseal::error::{Error, ProviderError, Remedy, Result};
use waxseal_aws::config::{Choices, Loaded, instance_region};
use waxseal_aws::credentials::OnWorker;
use waxseal_aws::transfer::Slow;
use waxseal_aws::worker::{ENDED, Worker};
use waxseal_aws::{Service, failure, transfer};

use crate::client::prepared;
use crate::server::is_of_aws;

/// S3, as the configuration names it.
pub(crate) static SERVICE: Service = Service {
    name: "Amazon S3",
    endpoint: "AWS_ENDPOINT_URL_S3",
    section: "s3",
    keys: &[(STYLE, &["auto", "path", "virtual"])],
    thread: "waxseal-aws-s3",
};

/// The setting that says where the name of the bucket goes: into the path, or before the host.
const STYLE: &str = "addressing_style";

/// The limit for loading credentials: a command can ask a user.
const CREDENTIALS: Duration = Duration::from_secs(60);
/// Between the last byte of these requests and the first of their answer, the service reads or writes gigabytes.
const SLOW: Slow = Slow {
    operations: &["CompleteMultipartUpload", "CopyObject", "UploadPartCopy"],
    silence: Duration::from_secs(10 * 60),
};
/// The region for a store without a region. Many stores compare the region in the signature with their own, and most
/// stores have this one.
const REGION_OF_STORES: &str = "us-east-1";

/// How long a handle waits for S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct S3Timeouts {
    /// For a connection. A client of the caller's own has its own limit.
    pub connect: Duration,
    /// For the beginning of an answer.
    pub answer: Duration,
    /// For the next bytes of an answer. If fewer than 512 bytes a second come in such a period, the request is given up,
    /// and the rest is asked for again.
    pub idle: Duration,
    /// For the next bytes in any direction. A request fails if no byte is sent or received for this time. This can be
    /// noticed up to the same time later. There is no limit for the whole time of a request. Requests that take S3 a
    /// long time, such as the completion of an upload, may be silent for 10 minutes. A client of the caller's own has
    /// its own limits.
    pub silence: Duration,
    /// A request that fails for a temporary reason is repeated for this time. Each 64 KiB of an answer start the time
    /// again.
    pub patience: Duration,
}

impl Default for S3Timeouts {
    /// 5, 30, 20, 30 and 60 seconds.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(30),
            idle: Duration::from_secs(20),
            silence: Duration::from_secs(30),
            patience: Duration::from_secs(60),
        }
    }
}

/// Where buckets and credentials are looked up. By default, AWS's environment variables and profiles decide.
///
/// Profile and region can differ from those for keys in AWS KMS, because the bucket and the key can belong to different
/// accounts. If both use the same source of credentials, they are loaded once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct S3Config {
    /// The profile. With `None`, `AWS_PROFILE` is used, and otherwise `default`.
    pub profile: Option<String>,
    /// The region that is called first. If the bucket is in another region, S3 redirects the request to it.
    pub region: Option<String>,
    /// An endpoint other than AWS's, as `AWS_ENDPOINT_URL_S3` would name it. It comes before that variable.
    pub endpoint: Option<String>,
    /// How long to wait.
    pub timeouts: S3Timeouts,
}

impl S3Config {
    /// The default configuration.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn choices(&self) -> Choices {
        Choices {
            service: &SERVICE,
            profile: self.profile.clone(),
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            connect: self.timeouts.connect,
            attempt: None,
            // This is for the services that give credentials. The handle itself repeats the requests to S3.
            attempts: 3,
        }
    }
}

/// The configuration of a handle, which is read with the first call.
pub(crate) struct Configured {
    config: S3Config,
    worker: OnceLock<Arc<Worker>>,
    ready: OnceCell<Ready>,
}

/// What follows from the configuration.
#[derive(Debug)]
struct Ready {
    client: Client,
    credentials: Option<OnWorker>,
    /// How often the environment lets a request be sent.
    attempts: Option<u32>,
    /// Whether no setting names another store.
    is_aws: bool,
    is_in_the_clear: bool,
}

impl Configured {
    pub(crate) fn new(config: S3Config) -> Self {
        Self { config, worker: OnceLock::new(), ready: OnceCell::new() }
    }

    /// The client for the region that is called first. Its credentials are loaded. A failure to load them is remembered for
    /// `memory`.
    pub(crate) async fn client(&self, bucket: &str, memory: Duration) -> Result<&Client> {
        let ready = self.ready().await?;
        if let Some(credentials) = &ready.credentials {
            let told = |verdict: failure::Verdict| {
                let remedy = failure::remedy(verdict.cause);
                ProviderError::new(verdict.cause, format!("s3://{bucket}"), verdict.message).with_some_remedy(remedy)
            };
            credentials.ready(memory).await?.map_err(|verdict| Box::new(told(verdict)))?;
        }
        Ok(&ready.client)
    }

    /// How often the environment lets a request be sent.
    pub(crate) async fn attempts(&self) -> Result<Option<u32>> {
        Ok(self.ready().await?.attempts)
    }

    /// Whether the requests go to AWS itself, as far as the configuration was read.
    pub(crate) fn is_aws(&self) -> bool {
        self.ready.get().is_some_and(|ready| ready.is_aws)
    }

    /// Whether a setting names an endpoint that is reached over a network without encryption.
    pub(crate) fn is_in_the_clear(&self) -> bool {
        self.ready.get().is_some_and(|ready| ready.is_in_the_clear)
    }

    /// The region that is called first, if the configuration was read.
    pub(crate) fn region(&self) -> Option<String> {
        self.ready.get()?.client.config().region().map(ToString::to_string)
    }

    async fn ready(&self) -> Result<&Ready> {
        self.ready.get_or_try_init(|| self.load()).await
    }

    /// Reads the configuration on a separate thread. Commands for credentials also run on that thread.
    async fn load(&self) -> Result<Ready> {
        let worker = match self.worker.get() {
            Some(worker) => worker,
            None => {
                let new = Arc::new(Worker::start(&SERVICE)?);
                self.worker.get_or_init(|| new)
            }
        };
        let (choices, timeouts) = (self.config.choices(), self.config.timeouts);
        let load = async move {
            let loaded = choices.load().await?;
            let region = region(&loaded).await?;
            Ok((loaded, region))
        };
        let (loaded, region) = worker.spawn(load).await.unwrap_or(Err(ENDED))?;
        let http = transfer::client(loaded.bundle.clone(), loaded.proxies.clone());
        Ok(Ready::new(&loaded, region, timeouts, worker, http))
    }
}

impl Ready {
    fn new(
        loaded: &Loaded,
        region: Region,
        timeouts: S3Timeouts,
        worker: &Arc<Worker>,
        http: SharedHttpClient,
    ) -> Self {
        let limits = TimeoutConfig::builder().connect_timeout(timeouts.connect).read_timeout(timeouts.silence);
        let identities = IdentityCache::lazy().load_timeout(CREDENTIALS).build();
        let mut settings = aws_sdk_s3::config::Builder::from(&loaded.sdk)
            .region(region)
            .force_path_style(path_style(loaded))
            .timeout_config(limits.build())
            .identity_cache(identities)
            .interceptor(SLOW)
            .http_client(http);
        if let Some(endpoint) = &loaded.own_endpoint {
            settings = settings.endpoint_url(with_slash(endpoint));
        }
        let provider = loaded.credentials.clone();
        let credentials = provider.map(|provider| OnWorker::new(Arc::clone(worker), provider, CREDENTIALS));
        if let Some(credentials) = &credentials {
            settings = settings.credentials_provider(SharedCredentialsProvider::new(credentials.clone()));
        }
        let is_aws = loaded.own_endpoint.as_deref().is_none_or(is_of_aws);
        let (attempts, is_in_the_clear) = (loaded.attempts, loaded.is_in_the_clear());
        Self { client: prepared(settings), credentials, attempts, is_aws, is_in_the_clear }
    }
}

/// The region that is called first.
async fn region(loaded: &Loaded) -> Result<Region> {
    if let Some(region) = loaded.sdk.region() {
        return Ok(region.clone());
    }
    if loaded.own_endpoint.is_some() {
        return Ok(Region::from_static(REGION_OF_STORES));
    }
    let of_instance = instance_region(loaded).await;
    let missing = || Error::setting("no region is configured for S3", Remedy::ChooseRegion { region: None });
    of_instance.map(Region::new).ok_or_else(missing)
}

/// The SDK writes the name of the bucket directly after a path, so the path must end with a slash.
fn with_slash(endpoint: &str) -> String {
    let authority = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    if authority.contains('/') && !endpoint.ends_with('/') { format!("{endpoint}/") } else { endpoint.to_owned() }
}

/// Whether the name of the bucket is in the path. As in the AWS CLI, it is in the path for every endpoint that a
/// setting names, unless the profile selects the other style. Few stores have a host name for each bucket. For AWS's
/// own endpoints, the SDK puts a name into the path only if the certificate would not match the host name, for example
/// because the name has a dot.
fn path_style(loaded: &Loaded) -> bool {
    match loaded.keys.get(STYLE).map(String::as_str) {
        Some("path") => true,
        Some("virtual") => false,
        _ => loaded.own_endpoint.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_http_client::test_util::capture_request;
    use waxseal_aws::environment::Environment;

    use super::*;
    use crate::runtime::wait;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    /// Loads a configuration from variables and a file of profiles.
    fn load(variables: Pairs<'_>, profiles: &str, config: &S3Config) -> Result<(Loaded, Region, Arc<Worker>)> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config");
        std::fs::write(&file, profiles).expect("a file of profiles");
        let usual = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "secret")];
        let variables: Vec<_> = usual.iter().chain(variables).collect();
        let environment = Environment::of(&SERVICE, |name| match name {
            "AWS_CONFIG_FILE" => Some(file.clone().into_os_string()),
            name => variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()),
        });
        let choices = config.choices();
        choices.check()?;
        let worker = Arc::new(Worker::start(&SERVICE)?);
        let loaded = worker.spawn(async move {
            let loaded = choices.load_from(&environment, waxseal_aws::http::client).await?;
            let region = region(&loaded).await?;
            Ok((loaded, region))
        });
        let (loaded, region) = waxseal_aws::worker::wait(loaded)?;
        Ok((loaded, region, worker))
    }

    /// The address, and the region in the signature, of the request for `key` in `bucket`.
    fn request(variables: Pairs<'_>, profiles: &str, config: &S3Config, bucket: &str) -> Result<(String, String)> {
        let (loaded, region, worker) = load(variables, profiles, config)?;
        let (http, captured) = capture_request(None);
        let ready = Ready::new(&loaded, region, config.timeouts, &worker, SharedHttpClient::new(http));
        let runtime = crate::runtime::OwnRuntime::start()?;
        let sent = ready.client.get_object().bucket(bucket).key("key").send();
        let send = async {
            // Nobody answers.
            let _ = sent.await;
            Ok(())
        };
        wait(runtime.spawn(send))?;
        let request = captured.expect_request();
        let signed = request.headers().get("authorization").expect("a signature").to_owned();
        let region = signed.split('/').nth(2).expect("a region").to_owned();
        Ok((request.uri().replace("?x-id=GetObject", ""), region))
    }

    fn in_region(region: &str) -> S3Config {
        S3Config { region: Some(region.into()), ..S3Config::new() }
    }

    const STORE: &str = "[default]\nregion = eu-west-1\nservices = local\n[services local]\nkms =\n  endpoint_url = \
                         http://kms.example\ns3 =\n  endpoint_url = http://store.example:9000\n";

    fn style(style: &str) -> String {
        format!("[default]\nregion = eu-west-1\ns3 =\n  addressing_style = {style}\n  max_concurrent_requests = 20\n")
    }

    /// Variables, profiles, the bucket, and the address and region of the request.
    type Row<'a> = (Pairs<'a>, &'a str, &'a str, (&'a str, &'a str));

    fn check(rows: &[Row<'_>]) {
        for (variables, profiles, bucket, (uri, region)) in rows {
            let sent = request(variables, profiles, &S3Config::new(), bucket).expect("a request");
            assert_eq!(sent, ((*uri).to_owned(), (*region).to_owned()), "{variables:?} {profiles} {bucket}");
        }
    }

    #[test]
    fn endpoints_of_aws() {
        const WEST: (&str, &str) = ("AWS_REGION", "eu-west-1");
        check(&[
            (&[WEST], "", "bucket", ("https://bucket.s3.eu-west-1.amazonaws.com/key", "eu-west-1")),
            (&[WEST], "", "my.bucket", ("https://s3.eu-west-1.amazonaws.com/my.bucket/key", "eu-west-1")),
            (&[("AWS_REGION", "us-east-1")], "", "b-1", ("https://b-1.s3.us-east-1.amazonaws.com/key", "us-east-1")),
            (
                &[("AWS_REGION", "cn-north-1")],
                "",
                "b-1",
                ("https://b-1.s3.cn-north-1.amazonaws.com.cn/key", "cn-north-1"),
            ),
            (
                &[WEST, ("AWS_USE_DUALSTACK_ENDPOINT", "true")],
                "",
                "bucket",
                ("https://bucket.s3.dualstack.eu-west-1.amazonaws.com/key", "eu-west-1"),
            ),
            (
                &[("AWS_REGION", "us-east-1"), ("AWS_USE_FIPS_ENDPOINT", "true")],
                "",
                "bucket",
                ("https://bucket.s3-fips.us-east-1.amazonaws.com/key", "us-east-1"),
            ),
            (
                &[],
                "[default]\nregion = us-east-1\nuse_fips_endpoint = true\nuse_dualstack_endpoint = true\n",
                "my.bucket",
                ("https://s3-fips.dualstack.us-east-1.amazonaws.com/my.bucket/key", "us-east-1"),
            ),
            (&[], &style("path"), "bucket", ("https://s3.eu-west-1.amazonaws.com/bucket/key", "eu-west-1")),
            (&[], &style("Virtual"), "bucket", ("https://bucket.s3.eu-west-1.amazonaws.com/key", "eu-west-1")),
            (&[], &style("auto"), "bucket", ("https://bucket.s3.eu-west-1.amazonaws.com/key", "eu-west-1")),
        ]);
    }

    #[test]
    fn own_endpoints() {
        const OWN: (&str, &str) = ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:8333");
        let virtual_hosted = STORE.replacen("services", "s3 =\n  addressing_style = virtual\nservices", 1);
        check(&[
            // A store needs no region.
            (&[OWN], "", "bucket", ("http://127.0.0.1:8333/bucket/key", "us-east-1")),
            (&[OWN, ("AWS_REGION", "eu-west-1")], "", "bucket", ("http://127.0.0.1:8333/bucket/key", "eu-west-1")),
            (
                &[("AWS_ENDPOINT_URL", "http://localhost:1")],
                "",
                "bucket",
                ("http://localhost:1/bucket/key", "us-east-1"),
            ),
            (
                &[("AWS_ENDPOINT_URL", "http://a.example/p")],
                "",
                "bucket",
                ("http://a.example/p/bucket/key", "us-east-1"),
            ),
            (&[("AWS_ENDPOINT_URL", "http://a.example/")], "", "bucket", ("http://a.example/bucket/key", "us-east-1")),
            // The one for S3 counts first, and those of other services do not count.
            (
                &[OWN, ("AWS_ENDPOINT_URL", "http://a.example")],
                "",
                "b-1",
                ("http://127.0.0.1:8333/b-1/key", "us-east-1"),
            ),
            (
                &[("AWS_ENDPOINT_URL_KMS", "no address"), ("AWS_REGION", "eu-west-1")],
                "",
                "bucket",
                ("https://bucket.s3.eu-west-1.amazonaws.com/key", "eu-west-1"),
            ),
            (&[], STORE, "bucket", ("http://store.example:9000/bucket/key", "eu-west-1")),
            (&[], STORE, "my.bucket", ("http://store.example:9000/my.bucket/key", "eu-west-1")),
            (&[], &virtual_hosted, "bucket", ("http://bucket.store.example:9000/key", "eu-west-1")),
            (&[OWN], STORE, "bucket", ("http://127.0.0.1:8333/bucket/key", "eu-west-1")),
            (
                &[("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"), OWN],
                STORE,
                "bucket",
                ("https://bucket.s3.eu-west-1.amazonaws.com/key", "eu-west-1"),
            ),
        ]);
    }

    #[test]
    fn what_the_caller_chooses_counts_first() {
        let profiles = "[profile bucket]\nregion = eu-west-1\naws_access_key_id = AKIDBUCKET\n\
                        aws_secret_access_key = secret\n";
        let profile = || Some("bucket".to_owned());
        let config = S3Config { profile: profile(), ..S3Config::new() };
        let (uri, region) = request(&[], profiles, &config, "bucket").unwrap();
        assert_eq!((uri.as_str(), region.as_str()), ("https://bucket.s3.eu-west-1.amazonaws.com/key", "eu-west-1"));
        let config = S3Config { profile: profile(), ..in_region("us-west-2") };
        assert_eq!(request(&[("AWS_REGION", "eu-west-3")], profiles, &config, "bucket").unwrap().1, "us-west-2");
        let config = S3Config { profile: Some("none".into()), ..S3Config::new() };
        assert!(matches!(request(&[], profiles, &config, "bucket"), Err(Error::Setting { .. })));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let refused =
            |variables: Pairs<'_>, profiles: &str| match request(variables, profiles, &in_region("eu-west-1"), "b") {
                Err(Error::Invalid(why)) => why,
                other => panic!("{other:?}"),
            };
        assert!(refused(&[("AWS_ENDPOINT_URL_S3", "localhost:1")], "").starts_with("AWS_ENDPOINT_URL_S3: "));
        assert!(refused(&[], &style("dns")).starts_with("addressing_style of s3 in the profile \"default\": "));
        let services = STORE.replace("http://store.example", "store.example");
        assert!(refused(&[], &services).starts_with("endpoint_url of s3 in the section services \"local\": "));
        let both = refused(&[("AWS_USE_FIPS_ENDPOINT", "true")], STORE);
        assert!(both.contains("FIPS") && both.contains("endpoint_url of s3"), "{both}");
        let evil = S3Config { region: Some("evil.example/".into()), ..S3Config::new() };
        assert!(matches!(crate::S3::new(evil), Err(Error::Invalid(_))));
        // An endpoint of KMS does not forbid the FIPS endpoint of S3.
        let of_kms = "[default]\nservices = local\n[services local]\nkms =\n  endpoint_url = http://kms.example\n";
        let fips = [("AWS_USE_FIPS_ENDPOINT", "true"), ("AWS_ENDPOINT_URL_KMS", "http://kms.example")];
        let (uri, _) = request(&fips, of_kms, &in_region("us-east-1"), "bucket").unwrap();
        assert_eq!(uri, "https://bucket.s3-fips.us-east-1.amazonaws.com/key");
    }

    #[test]
    fn without_a_region_the_instance_is_asked() {
        let none = [("AWS_EC2_METADATA_DISABLED", "true")];
        let refused = request(&none, "", &S3Config::new(), "bucket");
        assert!(
            matches!(&refused, Err(Error::Setting { remedy, .. }) if **remedy == Remedy::ChooseRegion { region: None })
        );
    }

    #[test]
    fn the_number_of_attempts_is_the_environments() {
        let attempts = |variables: Pairs<'_>| {
            let (loaded, ..) = load(variables, "", &in_region("eu-west-1")).unwrap();
            loaded.attempts
        };
        assert_eq!((attempts(&[]), attempts(&[("AWS_MAX_ATTEMPTS", "7")])), (None, Some(7)));
    }
}
