//! The handle on AWS: its configuration, one client for each region, the caller's account, and how a call is made.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use waxseal::error::{Error, ProviderCause, ProviderError, Remedy, Result};
use waxseal_aws::config::{Loaded, instance_region};
use waxseal_aws::credentials::Remembered;
use waxseal_aws::http::Bounded;
use waxseal_aws::name::{is_account, is_region};
use waxseal_aws::throttle::{Counted, Pace, Sent};
use waxseal_aws::words;
use waxseal_aws::worker::{ENDED, Worker, wait};

use super::config::{KmsConfig, SERVICE};
use super::failure;
use super::materials;
use super::name::KmsKeyName;
use super::operation::KmsOperation;

tokio::task_local! {
    /// The thread that waits for what this task does.
    static WAITING: ThreadId;
}

/// One call to AWS that has ended. CloudTrail has the same request id, so a summary with it proves a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KmsCall {
    /// The operation.
    pub operation: KmsOperation,
    /// The key, as the call named it.
    pub key: String,
    /// The region that was called.
    pub region: String,
    /// AWS's id of the request.
    pub request_id: Option<String>,
    /// KMS's id of the key material that sealed or opened. For a `ReEncrypt`, it is the material of the new key.
    pub key_material_id: Option<String>,
    /// KMS's id of the old key's material that a `ReEncrypt` opened with.
    pub source_key_material_id: Option<String>,
    /// The thread that waits for the call; `None` for an asynchronous call.
    pub thread: Option<ThreadId>,
    /// The old key of a `ReEncrypt`, which wrapped the data key so far.
    pub(super) source: Option<String>,
}

impl KmsCall {
    pub(super) fn new(operation: KmsOperation, key: impl ToString, region: &str) -> Self {
        Self {
            operation,
            key: key.to_string(),
            region: region.to_owned(),
            request_id: None,
            key_material_id: None,
            source_key_material_id: None,
            thread: WAITING.try_with(|thread| *thread).ok(),
            source: None,
        }
    }
}

/// Called after each call to AWS, with or without success.
type Listener = Arc<dyn Fn(&KmsCall) + Send + Sync>;

/// A handle on AWS KMS. Clones share their connections, their credentials and the thread that makes the calls.
///
/// The handle reads, starts and connects nothing before the first call or [`Kms::warm_up`].
#[derive(Clone)]
pub struct Kms {
    pub(super) inner: Arc<Inner>,
    listener: Option<Listener>,
    life: Life,
}

/// How long the program of the caller runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It does one piece of work and ends. A failure is then remembered to the end.
    OneRun,
    /// It runs on. A failure is then forgotten after some time.
    Long,
}

pub(super) struct Inner {
    source: Source,
    worker: OnceLock<Worker>,
    loaded: OnceCell<Loaded>,
    instance_region: OnceCell<Option<String>>,
    clients: Mutex<HashMap<String, aws_sdk_kms::Client>>,
    pub(super) caller: OnceCell<Caller>,
    no_caller: Remembered<Unknown>,
    /// Keys for which KMS has refused `Decrypt` to the caller.
    pub(super) withheld: Mutex<HashSet<String>>,
    pace: Pace,
}

enum Source {
    Environment(KmsConfig),
    Clients(Box<aws_sdk_kms::Client>, Option<Box<aws_sdk_sts::Client>>),
}

/// The account of the credentials, from `sts:GetCallerIdentity`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) partition: String,
    pub(super) account: String,
}

impl Caller {
    /// Partition and account, as in the ARN of a key.
    pub(super) fn owner(&self) -> (&str, &str) {
        (&self.partition, &self.account)
    }
}

/// A key's name, and the region in which it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: KmsKeyName,
    pub(super) region: String,
}

impl Kms {
    /// A handle with AWS's standard configuration.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `config.region` is not an AWS region.
    pub fn new(config: KmsConfig) -> Result<Self> {
        config.check()?;
        Ok(Self::of(Source::Environment(config)))
    }

    /// A handle with the caller's own clients, and so with their credentials, timeouts and endpoint. For a key in
    /// another region, the KMS client is copied with that region. Without an STS client, the caller must name the key,
    /// or the account of the key, to open a file. At most 1 MiB of an answer is read.
    #[must_use]
    pub fn from_clients(kms: aws_sdk_kms::Client, sts: Option<aws_sdk_sts::Client>) -> Self {
        let kms = aws_sdk_kms::Client::from_conf(kms.config().to_builder().interceptor(Bounded::small()).build());
        let bounded = |sts: aws_sdk_sts::Client| sts.config().to_builder().interceptor(Bounded::small()).build();
        let sts = sts.map(|sts| Box::new(aws_sdk_sts::Client::from_conf(bounded(sts))));
        Self::of(Source::Clients(Box::new(kms), sts))
    }

    fn of(source: Source) -> Self {
        let inner = Inner {
            source,
            worker: OnceLock::new(),
            loaded: OnceCell::new(),
            instance_region: OnceCell::new(),
            clients: Mutex::default(),
            caller: OnceCell::new(),
            no_caller: Remembered::default(),
            withheld: Mutex::default(),
            pace: Pace::default(),
        };
        Self { inner: Arc::new(inner), listener: None, life: Life::Long }
    }

    /// Returns the same handle with a listener: `listener` is called after each call that is made through the returned
    /// handle. It runs on the handle's thread, so it must not make calls itself.
    #[must_use]
    pub fn listening(&self, listener: impl Fn(&KmsCall) + Send + Sync + 'static) -> Self {
        Self { inner: Arc::clone(&self.inner), listener: Some(Arc::new(listener)), life: self.life }
    }

    /// Returns the same handle for a program that does one piece of work and ends. If credentials cannot be loaded, or
    /// STS does not answer, this handle remembers it to the end, so the program waits for it only once. Other handles
    /// try again after 10 seconds.
    #[must_use]
    pub fn for_one_run(&self) -> Self {
        Self { life: Life::OneRun, ..self.clone() }
    }

    /// Starts in the background what the first call needs: the thread, the configuration, and AWS-LC's random
    /// generator. If AWS-LC was built to measure timing jitter, its seed takes 30 ms.
    ///
    /// Call it as soon as a key is named. A second call does nothing.
    pub fn warm_up(&self) {
        let Source::Environment(_) = self.inner.source else { return };
        if self.inner.worker.get().is_some() {
            return;
        }
        if let Ok(worker) = self.worker() {
            let this = self.clone();
            // An error here is not lost: the first call has the same error, and returns it.
            drop(worker.spawn(async move { this.sdk().await.map(|_| ()) }));
        }
        // This thread comes last: if few threads can be started, the others are needed more.
        if !endpoint_is_plain() {
            // The whole process uses one seed, so any thread can make it. If this thread cannot be started, the TLS
            // handshake makes the seed.
            let seed = || {
                let _ = aws_lc_rs::rand::fill(&mut [0; 1]);
            };
            let _ = std::thread::Builder::new().name("waxseal-seed".into()).spawn(seed);
        }
    }

    fn worker(&self) -> Result<&Worker> {
        if let Some(worker) = self.inner.worker.get() {
            return Ok(worker);
        }
        let new = Worker::start(&SERVICE)?;
        Ok(self.inner.worker.get_or_init(|| new))
    }

    /// Runs `call` on the handle's own thread and blocks until it is done.
    pub(super) fn block_on<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        wait(self.worker()?.spawn(WAITING.scope(std::thread::current().id(), call)))
    }

    /// Runs `call` on the handle's own thread. The caller can await it in any runtime.
    pub(super) async fn on_worker<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.worker()?.spawn(call).await.unwrap_or(Err(ENDED))
    }

    /// Whether the configuration names an endpoint (`AWS_ENDPOINT_URL_KMS`) with `http://` that is not on this machine.
    /// Others on the network can then read the data keys. `false` before the first call, and for clients of the caller's
    /// own.
    #[must_use]
    pub fn is_in_the_clear(&self) -> bool {
        self.inner.loaded.get().is_some_and(Loaded::is_in_the_clear)
    }

    /// The configuration of the environment; `None` if the caller gave its own clients.
    async fn loaded(&self) -> Result<Option<&Loaded>> {
        match &self.inner.source {
            Source::Environment(config) => {
                let load = || async { config.choices().load().await };
                self.inner.loaded.get_or_try_init(load).await.map(Some)
            }
            Source::Clients(..) => Ok(None),
        }
    }

    pub(super) async fn sdk(&self) -> Result<Option<&SdkConfig>> {
        Ok(self.loaded().await?.map(|loaded| &loaded.sdk))
    }

    /// The region that the caller chose. For multi-Region keys it replaces the region of the ARN.
    pub(super) fn chosen_region(&self) -> Option<&str> {
        match &self.inner.source {
            Source::Environment(config) => config.region.as_deref(),
            Source::Clients(..) => None,
        }
    }

    /// The region of the caller, if it is known without reading a file.
    pub(super) fn near_region(&self) -> Option<String> {
        match &self.inner.source {
            Source::Environment(config) => config.choices().near_region(),
            Source::Clients(kms, _) => kms.config().region().map(|region| region.as_ref().to_owned()),
        }
    }

    /// The region from the argument, an environment variable or the profile.
    pub(super) async fn configured_region(&self) -> Result<Option<String>> {
        Ok(match self.sdk().await? {
            Some(sdk) => sdk.region().map(|region| region.as_ref().to_owned()),
            None => self.near_region(),
        })
    }

    /// The region for names without a region.
    pub(super) async fn region(&self) -> Result<Option<String>> {
        Ok(match (self.configured_region().await?, self.loaded().await?) {
            (None, Some(loaded)) => self.inner.instance_region.get_or_init(|| instance_region(loaded)).await.clone(),
            (region, _) => region,
        })
    }

    /// The region for a call that names no key.
    pub(super) async fn any_region(&self) -> Result<String> {
        self.region().await?.ok_or_else(|| no_region("no region is configured".into()))
    }

    /// The region in which `name` is called, and its name there.
    pub(super) async fn target(&self, name: &KmsKeyName) -> Result<Target> {
        let chosen = self.chosen_region().filter(|_| name.is_multi_region());
        let region = match (chosen, name.region()) {
            (Some(region), _) | (None, Some(region)) => region.to_owned(),
            (None, None) => {
                let region = self.region().await?;
                region.ok_or_else(|| no_region(format!("{name} has no region, and no region is configured")))?
            }
        };
        Ok(Target { name: name.called_in(&region), region })
    }

    /// The client for `region`. Only here does a region become an endpoint.
    pub(super) async fn client(&self, region: &str) -> Result<aws_sdk_kms::Client> {
        if !is_region(region) {
            return Err(Error::Invalid(format!("{region:?} is not an AWS region")));
        }
        let sdk = self.sdk().await?;
        let mut clients = self.inner.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(region) {
            return Ok(client.clone());
        }
        let at = Region::new(region.to_owned());
        let client = match (&self.inner.source, sdk) {
            (Source::Clients(kms, _), _) if kms.config().region() == Some(&at) => kms.as_ref().clone(),
            (Source::Clients(kms, _), _) => {
                aws_sdk_kms::Client::from_conf(kms.config().to_builder().region(at).build())
            }
            (Source::Environment(_), Some(sdk)) => aws_sdk_kms::Client::from_conf(
                aws_sdk_kms::config::Builder::from(sdk).region(at).interceptor(Counted).build(),
            ),
            (Source::Environment(_), None) => return Err(Error::Bug("no configuration")),
        };
        clients.insert(region.to_owned(), client.clone());
        Ok(client)
    }

    /// The time for a whole call.
    fn limit(&self) -> Duration {
        match &self.inner.source {
            Source::Environment(config) => config.timeouts.operation,
            // Much longer than the caller's own client waits.
            Source::Clients(..) => Duration::from_secs(24 * 3600),
        }
    }

    /// Whether a throttled call is sent again until its time is used up. A caller who sets the number of attempts, or gives
    /// a client, decides that.
    async fn is_patient(&self) -> bool {
        matches!(self.loaded().await, Ok(Some(loaded)) if loaded.attempts.is_none())
    }

    /// How long the handle remembers a failure that concerns all calls.
    pub(super) fn memory(&self) -> Duration {
        match self.life {
            Life::OneRun => Duration::MAX,
            Life::Long => Duration::from_secs(10),
        }
    }

    /// Makes one call within the time limit, converts its error, and calls the listener. `send` may be called again.
    pub(super) async fn call<O, E, F>(&self, call: &mut KmsCall, send: impl Fn() -> F) -> Result<O>
    where
        F: Future<Output = Result<O, SdkError<E, HttpResponse>>>,
        O: RequestId + 'static,
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        self.call_with(call, &[], |_| &[], send).await
    }

    /// The same for a call that has a secret in its request (`secret`) or in its answer (`in_answer`). No text of the
    /// answer that is kept or repeated contains a part of these secrets.
    pub(super) async fn call_with<O, E, F>(
        &self,
        call: &mut KmsCall,
        secret: &[u8],
        in_answer: impl Fn(&O) -> &[u8],
        send: impl Fn() -> F,
    ) -> Result<O>
    where
        F: Future<Output = Result<O, SdkError<E, HttpResponse>>>,
        O: RequestId + 'static,
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let limit = self.limit();
        let deadline = Instant::now() + limit;
        let answer = match self.credentials(call, limit).await {
            Ok(()) => {
                let is_throttled = |error: &SdkError<E, HttpResponse>| failure::is_throttled(call, error);
                Ok(self.inner.pace.send(self.is_patient().await, deadline, is_throttled, send).await)
            }
            Err(error) => Err(error),
        };
        call.request_id = match answer.as_ref().map(|sent| &sent.answer) {
            Ok(Some(Ok(output))) => words::request_id(output.request_id(), secret)
                .and_then(|id| words::request_id(Some(&id), in_answer(output))),
            Ok(Some(Err(error))) => words::request_id(error.request_id(), secret),
            _ => None,
        };
        if let Ok(Sent { answer: Some(Ok(output)), .. }) = &answer {
            let told = |id| {
                materials::material_id(id, secret).and_then(|id| materials::material_id(Some(&id), in_answer(output)))
            };
            let (own, source) = materials::ids(output);
            (call.key_material_id, call.source_key_material_id) = (told(own), told(source));
        }
        if let Some(listener) = &self.listener {
            listener(call);
        }
        match answer {
            Ok(Sent { answer: Some(Ok(output)), .. }) => Ok(output),
            Ok(sent) => {
                let error = match &sent.answer {
                    Some(Err(error)) => failure::failure(call, error, secret),
                    _ => failure::too_late(call, limit),
                };
                Err(Box::new(sent.told(call.operation.name(), error)).into())
            }
            Err(error) => Err(Box::new(error).into()),
        }
    }

    /// Loads the credentials. A failure is remembered ([`Kms::for_one_run`]), and a program that hangs is ended.
    async fn credentials(&self, call: &KmsCall, limit: Duration) -> Result<(), ProviderError> {
        // An error in the configuration is not lost: the call that needs it returns it.
        let loaded = self.loaded().await.ok().flatten();
        let Some(provider) = loaded.and_then(|loaded| loaded.credentials.as_ref()) else { return Ok(()) };
        provider.ready(limit, self.memory()).await.map_err(|verdict| failure::told(call, verdict))
    }

    /// The account that the credentials themselves name. Credentials of roles and SSO name it, access keys do not.
    pub(super) async fn stated_account(&self) -> Option<String> {
        use aws_credential_types::provider::ProvideCredentials as _;
        let provider = self.sdk().await.ok()??.credentials_provider()?;
        // An error is not lost: the call that needs the credentials returns it.
        self.credentials(&KmsCall::new(KmsOperation::GetCallerIdentity, "", ""), self.limit()).await.ok()?;
        let credentials = provider.provide_credentials().await.ok()?;
        credentials.account_id().map(|account| account.as_str().to_owned())
    }

    /// The caller's account. Credentials of roles and SSO name it. For other credentials, the handle calls
    /// `sts:GetCallerIdentity` once. If no region is configured, it calls STS in `region`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `region` is not an AWS region; any error of STS.
    pub fn own_account(&self, region: &str) -> Result<String> {
        if !is_region(region) {
            return Err(Error::Invalid(format!("{region:?} is not an AWS region")));
        }
        let (this, region) = (self.clone(), region.to_owned());
        self.block_on(async move {
            match this.stated_account().await {
                Some(account) => Ok(account),
                None => Ok(this.caller(&region).await?.account.clone()),
            }
        })
    }

    /// The account of the credentials. `sts:GetCallerIdentity` is called once, in `region` if none is configured.
    pub(super) async fn caller(&self, region: &str) -> Result<&Caller> {
        let ask = || async {
            let asked = self.ask_caller(region).await;
            asked.map_err(Unknown::of)
        };
        let known = self.inner.caller.get_or_try_init(|| self.inner.no_caller.or(self.memory(), ask())).await;
        known.map_err(Unknown::into_error)
    }

    async fn ask_caller(&self, region: &str) -> Result<Caller> {
        let region = self.configured_region().await?.unwrap_or_else(|| region.to_owned());
        let mut call = KmsCall::new(KmsOperation::GetCallerIdentity, "the caller's account", &region);
        let sts = match (&self.inner.source, self.sdk().await?) {
            (Source::Clients(_, Some(sts)), _) => sts.as_ref().clone(),
            (Source::Environment(_), Some(sdk)) => {
                let at = Region::new(region);
                aws_sdk_sts::Client::from_conf(
                    aws_sdk_sts::config::Builder::from(sdk).region(at).interceptor(Counted).build(),
                )
            }
            _ => {
                let error = ProviderError::new(ProviderCause::NotAllowed, call.key, "there is no STS client to ask");
                return Err(Box::new(error).into());
            }
        };
        let answer = self.call(&mut call, || sts.get_caller_identity().send()).await?;
        let partition = answer.arn().and_then(|arn| arn.split(':').nth(1)).unwrap_or_default().to_owned();
        let account = answer.account().unwrap_or_default().to_owned();
        if !is_account(&account) || !partition.starts_with("aws") {
            return Err(failure::bad_answer(&call, "names no account"));
        }
        Ok(Caller { partition, account })
    }
}

/// Why the caller's account is not known.
#[derive(Clone)]
pub(super) enum Unknown {
    Provider(Box<ProviderError>),
    Other(String),
}

impl Unknown {
    fn of(error: Error) -> Self {
        match error {
            Error::Provider(error) => Self::Provider(error),
            other => Self::Other(other.to_string()),
        }
    }

    fn into_error(self) -> Error {
        match self {
            Self::Provider(error) => error.into(),
            Self::Other(text) => Error::Invalid(text),
        }
    }
}

fn no_region(message: String) -> Error {
    Error::setting(message, Remedy::ChooseRegion { region: None })
}

/// Whether the environment names an endpoint without TLS for KMS. A profile can name one too. The seed is then made and
/// not used.
fn endpoint_is_plain() -> bool {
    ["AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|url| !url.is_empty()))
        .is_some_and(|url| url.starts_with("http://"))
}
