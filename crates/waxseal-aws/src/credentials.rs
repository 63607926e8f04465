//! Credentials. They are loaded before the call, so that the SDK's retries do not load them again. A failure to load them
//! is remembered. All handles of a process that use the same source share its credentials, so that a command or a session
//! of the user is asked only once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::failure::{self, Asked, Plain, Verdict};
use super::setting::Kind;
use super::worker::{ENDED, Worker};
use super::{helpers, trouble, words};
use waxseal::error::{Error, ProviderCause};

/// The variable for the address of the instance's metadata service. Whoever sets it wants to use that service.
const METADATA_ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
/// Credentials that expire sooner are loaded again.
const FRESH: Duration = Duration::from_secs(60);
/// A failure of one's own is remembered before the wait for others ends.
const LATER: Duration = Duration::from_millis(250);

/// A failure that is the same for all calls, and is remembered.
pub struct Remembered<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Remembered<T> {
    /// Returns the failure if one was remembered less than `memory` ago. Otherwise runs `attempt`, and remembers its
    /// failure. Only one attempt runs at a time, and callers that wait for it get the failure that it remembers.
    ///
    /// # Errors
    /// The failure.
    pub async fn or<O>(&self, memory: Duration, attempt: impl Future<Output = Result<O, T>>) -> Result<O, T> {
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

/// Everything that decides which credentials are loaded, as a hash. Two handles with the same source get the same
/// credentials. It holds secrets of the configuration, so only their hash is kept. A process that was made by `fork` has
/// none of the threads that load credentials, so it shares nothing with the process before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Source([u8; 32]);

impl Source {
    pub(super) fn of(variables: &HashMap<String, String>, profiles: &str) -> Self {
        let mut sorted: Vec<_> = variables.iter().collect();
        sorted.sort();
        let texts = sorted.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).chain([profiles]);
        let process = Sha256::new().chain_update(std::process::id().to_le_bytes());
        let hash = texts.fold(process, |hash, text| {
            let len = text.len() as u64;
            hash.chain_update(len.to_le_bytes()).chain_update(text)
        });
        Self(hash.finalize().into())
    }
}

/// What the handles of a source share.
#[derive(Default)]
struct Shared {
    /// The last credentials. They are then not loaded a second time to look at their account. Whoever loads holds the
    /// lock, so that others wait for what is loaded.
    last: Mutex<Option<Credentials>>,
    failed: Remembered<Verdict>,
}

/// The sources in use.
static SHARED: StdMutex<Vec<(Source, Weak<Shared>)>> = StdMutex::new(Vec::new());

fn shared(source: Source) -> Arc<Shared> {
    let mut all = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|(_, shared)| shared.strong_count() > 0);
    if let Some(shared) = all.iter().find(|(known, _)| *known == source).and_then(|(_, shared)| shared.upgrade()) {
        return shared;
    }
    let new = Arc::default();
    all.push((source, Arc::downgrade(&new)));
    new
}

/// The credentials of a handle. There is no Debug of what they hold.
#[derive(Clone)]
pub struct Provider {
    chain: SharedCredentialsProvider,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Provider").finish_non_exhaustive()
    }
}

impl Provider {
    pub(super) fn new(chain: SharedCredentialsProvider, source: Source) -> Self {
        Self { chain, shared: shared(source) }
    }

    /// Loads the credentials within `limit`, unless they are loaded. A failure is remembered for `memory`. A command that
    /// hangs is ended, if this runs on the handle's thread.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn ready(&self, limit: Duration, memory: Duration) -> Result<(), Verdict> {
        let late = || Err(Verdict::new(ProviderCause::Unreachable, cannot("there was no answer in time")));
        let load = async {
            match timeout(limit, self.load()).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(verdict(&error)),
                Err(_) => {
                    helpers::end_children_of_this_thread();
                    late()
                }
            }
        };
        // Another handle may be loading them, with a longer limit.
        timeout(limit + LATER, self.shared.failed.or(memory, load)).await.unwrap_or_else(|_| late())
    }

    async fn load(&self) -> Result<Credentials, CredentialsError> {
        let mut last = self.shared.last.lock().await;
        if let Some(kept) = last.as_ref().filter(|kept| is_fresh(kept)) {
            return Ok(kept.clone());
        }
        let new = checked(self.chain.provide_credentials().await?)?;
        *last = Some(new.clone());
        Ok(new)
    }
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}

/// The credentials of a handle whose calls run in another runtime. They are loaded on the thread of `worker`, because the
/// commands that hang are found by it.
#[derive(Clone, Debug)]
pub struct OnWorker {
    worker: Arc<Worker>,
    provider: Provider,
    limit: Duration,
}

impl OnWorker {
    /// They are loaded within `limit`.
    #[must_use]
    pub fn new(worker: Arc<Worker>, provider: Provider, limit: Duration) -> Self {
        Self { worker, provider, limit }
    }

    /// Loads the credentials, unless they are loaded. A failure is remembered for `memory`.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn ready(&self, memory: Duration) -> Result<Result<(), Verdict>, Error> {
        let (provider, limit) = (self.provider.clone(), self.limit);
        let loaded = self.worker.spawn(async move { Ok(provider.ready(limit, memory).await) });
        loaded.await.unwrap_or(Err(ENDED))
    }

    async fn load(&self) -> Result<Credentials, CredentialsError> {
        let (provider, limit) = (self.provider.clone(), self.limit);
        let load = async move {
            let loaded = timeout(limit, provider.load()).await;
            Ok(loaded.unwrap_or_else(|_| {
                helpers::end_children_of_this_thread();
                Err(CredentialsError::provider_timed_out(limit))
            }))
        };
        self.worker.spawn(load).await.unwrap_or(Err(ENDED)).map_err(CredentialsError::provider_error)?
    }
}

impl ProvideCredentials for OnWorker {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}

fn is_fresh(kept: &Credentials) -> bool {
    kept.expiry().is_none_or(|at| at > SystemTime::now() + FRESH)
}

/// Refuses credentials that cannot sign a request, from whatever source. The SDK would panic at them.
fn checked(new: Credentials) -> Result<Credentials, CredentialsError> {
    let parts = [new.access_key_id(), new.secret_access_key(), new.session_token().unwrap_or_default()];
    if parts.iter().any(|part| Kind::Credential.check(part).is_err()) {
        let why = "they hold a blank, a line end or another character that no credential has";
        return Err(CredentialsError::invalid_configuration(why));
    }
    Ok(new)
}

/// Why there are no credentials.
#[must_use]
pub fn verdict(error: &CredentialsError) -> Verdict {
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
        let asked = Asked { operation: "AssumeRole", region: "" };
        return of_service(failure::verdict(asked, &Plain, sts, |raw| words::told(raw, &[])));
    }
    if let Some(sts) = trouble::find::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>(error) {
        // The message could contain the token, which is a secret.
        let asked = Asked { operation: "AssumeRoleWithWebIdentity", region: "" };
        return of_service(failure::verdict(asked, &Plain, sts, |_| String::new()));
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

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use super::*;
    use crate::Service;
    use crate::config::tests::{KMS, S3, choices};
    use crate::environment::Environment;

    const GOOD: &str = r#"echo '{"Version": 1, "AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "secret"}'"#;

    /// A folder with a configuration in which the profiles `a` and `b` run a command. It notes that it ran.
    fn folder(command: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let script = format!("echo ran >>'{}'\nsleep 0.3\n{command}\n", path("runs"));
        std::fs::write(path("script"), script).unwrap();
        let of = |profile: &str, region: &str| {
            format!("[profile {profile}]\nregion = {region}\ncredential_process = sh {}\n", path("script"))
        };
        std::fs::write(path("config"), of("a", "eu-west-1") + &of("b", "us-east-1")).unwrap();
        folder
    }

    fn runs(folder: &tempfile::TempDir) -> usize {
        std::fs::read_to_string(folder.path().join("runs")).unwrap_or_default().lines().count()
    }

    async fn provider(folder: &Path, service: &'static Service, profile: &str, endpoint: &str) -> Provider {
        let environment = Environment::of(service, |name| match name {
            "AWS_CONFIG_FILE" => Some(folder.join("config").into_os_string()),
            "PATH" => std::env::var_os("PATH"),
            name if name == service.endpoint => Some(OsString::from(endpoint)),
            _ => None,
        });
        let mut choices = choices(service);
        (choices.profile, choices.region) =
            (Some(profile.into()), Some(format!("{endpoint}-1").replace("http://", "eu-")));
        let loaded = choices.load_from(&environment, crate::http::client).await.unwrap();
        loaded.credentials.expect("a source")
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    /// Endpoint and region of a service do not matter, and neither does who is first.
    #[test]
    fn a_command_runs_once_for_all_handles_of_a_source() {
        let folder = folder(GOOD);
        let load = |service, endpoint| {
            let folder = &folder;
            move || {
                block_on(async {
                    let provider = provider(folder.path(), service, "a", endpoint).await;
                    provider.ready(Duration::from_secs(60), Duration::ZERO).await.unwrap();
                    provider
                })
            }
        };
        let kept = std::thread::scope(|scope| {
            let threads = [scope.spawn(load(&KMS, "http://west")), scope.spawn(load(&S3, "http://north"))];
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(runs(&folder), 1);
        // Another profile can be another account.
        let other = block_on(provider(folder.path(), &S3, "b", "http://west"));
        assert!(block_on(other.provide_credentials()).is_ok());
        assert_eq!(runs(&folder), 2);
        // Nothing outlives the handles.
        drop(kept);
        load(&KMS, "http://west")();
        assert_eq!(runs(&folder), 3);
    }

    #[test]
    fn a_failure_is_remembered_for_all_handles_of_a_source() {
        let folder = folder("exit 1");
        let (first, second) = block_on(async {
            (
                provider(folder.path(), &KMS, "a", "http://west").await,
                provider(folder.path(), &S3, "a", "http://north").await,
            )
        });
        let ready = |provider: &Provider| block_on(provider.ready(Duration::from_secs(60), Duration::MAX)).unwrap_err();
        assert_eq!(ready(&first).cause, ProviderCause::Credentials);
        assert_eq!((ready(&second), runs(&folder)), (ready(&first), 1));
    }

    #[test]
    fn on_the_thread_of_a_worker() {
        let _alone = helpers::STARTING.lock();
        let folder = folder(GOOD);
        let provider = block_on(provider(folder.path(), &S3, "a", "http://west"));
        let worker = Arc::new(Worker::start(&S3).unwrap());
        let on_worker = OnWorker::new(worker, provider, Duration::from_secs(60));
        assert_eq!(block_on(on_worker.ready(Duration::ZERO)).unwrap(), Ok(()));
        assert_eq!(block_on(on_worker.provide_credentials()).unwrap().access_key_id(), "AKIDEXAMPLE");
        assert_eq!(runs(&folder), 1);
    }

    /// The other one has a longer limit.
    #[test]
    fn nobody_waits_longer_than_the_limit_for_another_handle() {
        let _alone = helpers::STARTING.lock();
        let folder = folder("exec sleep 300");
        let slow = block_on(provider(folder.path(), &S3, "a", "http://west"));
        let quick = block_on(provider(folder.path(), &KMS, "a", "http://west"));
        let worker = Arc::new(Worker::start(&S3).unwrap());
        let slow = OnWorker::new(worker, slow, Duration::from_secs(200));
        std::thread::spawn(move || block_on(slow.ready(Duration::ZERO)));
        while runs(&folder) == 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        let verdict = block_on(quick.ready(Duration::from_secs(1), Duration::ZERO)).unwrap_err();
        assert_eq!((verdict.cause, runs(&folder)), (ProviderCause::Unreachable, 1));
        helpers::end_credential_processes();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_command_that_hangs_is_ended() {
        let _alone = helpers::STARTING.lock();
        let folder = folder("echo $$ >\"$0.pid\"\nexec sleep 300");
        let provider = block_on(provider(folder.path(), &S3, "a", "http://west"));
        let worker = Arc::new(Worker::start(&S3).unwrap());
        let on_worker = OnWorker::new(worker, provider, Duration::from_secs(1));
        let verdict = block_on(on_worker.ready(Duration::ZERO)).unwrap().unwrap_err();
        assert_eq!(verdict.cause, ProviderCause::Unreachable, "{verdict:?}");
        let pid = std::fs::read_to_string(folder.path().join("script.pid")).unwrap();
        // Until somebody takes note of its end, it is a zombie.
        let runs = || {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        };
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while runs() {
            assert!(std::time::Instant::now() < deadline, "the process {pid} still runs");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
