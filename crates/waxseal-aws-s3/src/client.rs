//! The handle on S3: one client for each region, the runtime that makes the calls, and how a call is made.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Region, ResponseChecksumValidation, StalledStreamProtectionConfig};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use tokio::runtime::Handle;
use tokio::time::timeout;
use waxseal::error::Result;
use waxseal_aws::http::Bounded;

use crate::again::Patience;
use crate::config::{Configured, S3Config, S3Timeouts};
use crate::failure::{self, Call, Failed};
use crate::gate::Gate;
use crate::runtime::{OwnRuntime, Task, wait};
use crate::upload::registry::Uploads;

/// A handle on S3. Clones share their connections, their credentials and the threads that make the calls.
///
/// The handle starts and connects nothing before the first call. Its blocking functions may also be used inside an
/// async runtime. The functions with `_async` in their names work in any runtime.
#[derive(Clone)]
pub struct S3 {
    inner: Arc<Inner>,
    timeouts: S3Timeouts,
    gate: Option<Arc<dyn Gate>>,
    /// How long a failure to load credentials is remembered.
    memory: Duration,
    uploads: Arc<Uploads>,
}

struct Inner {
    source: Source,
    runtime: OnceLock<OwnRuntime>,
    /// One for each region.
    clients: Mutex<HashMap<String, Client>>,
    /// The regions of buckets to which S3 has redirected.
    regions: Mutex<HashMap<String, String>>,
}

/// The longest answer in bytes. A page of a listing has 1,000 keys of up to 1,024 bytes. In the answer, each of these
/// bytes can take several bytes. There is no such limit for the content of an object: its bytes are counted where they
/// are used.
const ANSWER_MAX: usize = 8 << 20;

/// Where clients come from.
enum Source {
    Environment(Box<Configured>),
    Client(Box<Client>),
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("S3").field("timeouts", &self.timeouts).finish_non_exhaustive()
    }
}

impl S3 {
    /// A handle with AWS's standard configuration.
    ///
    /// # Errors
    /// [`Error::Invalid`](waxseal::Error::Invalid) if `config.region` is not an AWS region.
    pub fn new(config: S3Config) -> Result<S3> {
        let timeouts = config.timeouts;
        config.choices().check()?;
        Ok(Self { timeouts, ..Self::of(Source::Environment(Box::new(Configured::new(config)))) })
    }

    /// A handle with the caller's own client, and so with its credentials and its endpoint. For a bucket in another
    /// region, the client is copied with that region.
    ///
    /// The handle repeats requests itself, so the client's own retries are turned off. The SDK's check of checksums in
    /// answers is also turned off, because it fails for ranges of an object in some stores. The content of a sealed
    /// file is authenticated anyway.
    #[must_use]
    pub fn from_client(client: Client) -> S3 {
        Self::of(Source::Client(Box::new(prepared(client.config().to_builder()))))
    }

    fn of(source: Source) -> Self {
        let (runtime, clients, regions) = (OnceLock::new(), Mutex::default(), Mutex::default());
        let inner = Arc::new(Inner { source, runtime, clients, regions });
        let (timeouts, memory) = (S3Timeouts::default(), Duration::from_secs(10));
        Self { inner, timeouts, gate: None, memory, uploads: Arc::default() }
    }

    /// The same handle with other times.
    #[must_use]
    pub fn with_timeouts(&self, timeouts: S3Timeouts) -> S3 {
        S3 { timeouts, ..self.clone() }
    }

    /// The same handle for a program that does one piece of work and ends. If credentials cannot be loaded, this handle
    /// remembers it to the end, so the program waits for it only once. Other handles try again after 10 seconds.
    #[must_use]
    pub fn for_one_run(&self) -> S3 {
        S3 { memory: Duration::MAX, ..self.clone() }
    }

    /// The same handle. It asks `gate` before each request that makes an object.
    #[must_use]
    pub fn with_gate(&self, gate: Arc<dyn Gate>) -> S3 {
        S3 { gate: Some(gate), ..self.clone() }
    }

    /// The same handle with a list of its own: [`open_uploads`](Self::open_uploads), [`undecided`](Self::undecided),
    /// [`lost_uploads`](Self::lost_uploads) and [`abort_all`](Self::abort_all) of the new handle know only the uploads that
    /// it and its clones start. The handle that it is made from does not know these.
    #[must_use]
    pub fn with_own_uploads(&self) -> S3 {
        S3 { uploads: Arc::new(self.uploads.fresh()), ..self.clone() }
    }

    pub(crate) fn gate(&self) -> Option<Arc<dyn Gate>> {
        self.gate.clone()
    }

    /// The region of `bucket`, if S3 has redirected a request for the bucket to that region.
    #[must_use]
    pub fn redirected(&self, bucket: &str) -> Option<String> {
        self.inner.regions.lock().unwrap_or_else(PoisonError::into_inner).get(bucket).cloned()
    }

    /// The region to which requests about `bucket` are sent. Empty before the configuration was read.
    pub(crate) fn region_of(&self, bucket: &str) -> String {
        let first = || match &self.inner.source {
            Source::Environment(configured) => configured.region(),
            Source::Client(client) => client.config().region().map(ToString::to_string),
        };
        self.redirected(bucket).or_else(first).unwrap_or_default()
    }

    /// Whether the configuration names an endpoint (`AWS_ENDPOINT_URL_S3`) with `http://` that is not on this machine.
    /// Others on the network can then read all requests and answers. Sealed content stays secret, but names, metadata and
    /// lengths do not. `false` before the first request, and for a client of the caller's own.
    #[must_use]
    pub fn is_in_the_clear(&self) -> bool {
        matches!(&self.inner.source, Source::Environment(configured) if configured.is_in_the_clear())
    }

    /// Whether the requests go to AWS itself, as far as the configuration was read. With a caller's own client, this is
    /// not known.
    pub(crate) fn is_aws(&self) -> bool {
        matches!(&self.inner.source, Source::Environment(configured) if configured.is_aws())
    }

    pub(crate) fn timeouts(&self) -> S3Timeouts {
        self.timeouts
    }

    /// Starts `call` on the handle's own runtime. It ends when the result is dropped.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Task<T>> {
        if let Some(runtime) = self.inner.runtime.get() {
            return Ok(runtime.spawn(call));
        }
        let new = OwnRuntime::start()?;
        Ok(self.inner.runtime.get_or_init(|| new).spawn(call))
    }

    /// The handle's own runtime, for work that goes on if nobody waits for it.
    pub(crate) fn runtime(&self) -> Result<Handle> {
        if let Some(runtime) = self.inner.runtime.get() {
            return runtime.handle();
        }
        let new = OwnRuntime::start()?;
        self.inner.runtime.get_or_init(|| new).handle()
    }

    /// The uploads that were started with this handle or its clones.
    pub(crate) fn uploads(&self) -> &Arc<Uploads> {
        &self.uploads
    }

    /// Notes the region of the bucket if S3 names another one than `region`, which was asked.
    pub(crate) fn redirect<E: ProvideErrorMetadata>(&self, bucket: &str, region: &str, error: &Failed<E>) -> bool {
        let Some(named) = failure::region(error).filter(|named| named != region) else { return false };
        let mut regions = self.inner.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.insert(bucket.to_owned(), named);
        true
    }

    /// Runs `call` on the handle's own runtime and blocks until it is done.
    pub(crate) fn block_on<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        wait(self.spawn(call)?)
    }

    /// Runs `call` on the handle's own runtime. The caller can await it in any runtime.
    pub(crate) async fn on_runtime<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.spawn(call)?.await
    }

    /// The client for the requests about `bucket`, and its region.
    pub(crate) async fn client_of(&self, bucket: &str) -> Result<(Client, String)> {
        let first = match &self.inner.source {
            Source::Environment(configured) => configured.client(bucket, self.memory).await?,
            Source::Client(client) => client.as_ref(),
        };
        let first_region = first.config().region().map_or("", |region| region.as_ref());
        let region = self.redirected(bucket).unwrap_or_else(|| first_region.to_owned());
        if region == first_region {
            return Ok((first.clone(), region));
        }
        let mut clients = self.inner.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Client::from_conf(first.config().to_builder().region(Region::new(region.clone())).build());
        Ok((clients.entry(region.clone()).or_insert_with(new).clone(), region))
    }

    /// `attempts`, or fewer if the environment says so.
    pub(crate) async fn at_most(&self, attempts: u32) -> Result<u32> {
        match &self.inner.source {
            Source::Environment(configured) => Ok(attempts.min(configured.attempts().await?.unwrap_or(attempts))),
            Source::Client(_) => Ok(attempts),
        }
    }

    /// Sends a request until it is answered, S3 refuses it, or `patience` is used up. If S3 says that the bucket is in
    /// another region, that region is asked, once.
    pub(crate) async fn send<O, E, F>(
        &self,
        call: &mut Call,
        patience: &mut Patience,
        send: impl Fn(Client) -> F,
    ) -> Result<Result<O, Failed<E>>>
    where
        F: Future<Output = Result<O, Failed<E>>>,
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let mut redirected = false;
        if let Source::Environment(configured) = &self.inner.source {
            patience.at_most(configured.attempts().await?);
        }
        loop {
            let client;
            (client, call.region) = self.client_of(call.name.bucket()).await?;
            let answer = match timeout(self.timeouts.answer, send(client)).await {
                Ok(answer) => answer,
                Err(_) => Err(SdkError::timeout_error("no answer in time")),
            };
            let error = match answer {
                Ok(answer) => return Ok(Ok(answer)),
                Err(error) => error,
            };
            match failure::region(&error).filter(|region| !redirected && *region != call.region) {
                Some(region) => {
                    redirected = true;
                    let mut regions = self.inner.regions.lock().unwrap_or_else(PoisonError::into_inner);
                    regions.insert(call.name.bucket().to_owned(), region);
                }
                None if patience.again(failure::again(&error)).await => {}
                None => return Ok(Err(error)),
            }
        }
    }
}

/// The handle's client, made from `settings`.
pub(crate) fn prepared(settings: aws_sdk_s3::config::Builder) -> Client {
    let settings = settings
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .interceptor(Bounded::except(ANSWER_MAX, &["GetObject"]));
    Client::from_conf(settings.build())
}
