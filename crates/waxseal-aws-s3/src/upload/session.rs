//! One upload: its place, its state, and how it ends without an object.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use tokio::sync::watch;
use waxseal::error::{Error, InputChanged, Result};

use super::registry::{OpenUpload, Uploads};
use super::{ABORT_LIMIT, panicked};
use crate::attempt::{Patience, once_within};
use crate::attributes::Attributes;
use crate::failure::{self, Call, Failed, code};
use crate::gate::{self, Pass};
use crate::server::ServerName;
use crate::{S3, S3Name};

/// The state of an upload. Every change is one atomic step, so that a commit and an abort cannot both succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Parts may be sent.
    Open,
    /// The request that makes the object was sent and not answered. The upload is not aborted now.
    Committing,
    /// The object is there.
    Done,
    /// No request will make the object.
    Closed,
    /// It is not known whether the object is there. The upload is not aborted.
    Unknown,
}

/// The condition for an existing object with the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// No object exists.
    Absent,
    /// An existing object is replaced.
    Any,
    /// The existing object has this ETag.
    Match(String),
}

impl Condition {
    pub(crate) fn if_match(&self) -> Option<String> {
        if let Self::Match(etag) = self { Some(etag.clone()) } else { None }
    }

    pub(crate) fn if_none_match(&self) -> Option<String> {
        (*self == Self::Absent).then(|| "*".to_owned())
    }
}

/// What the tasks of one upload share.
#[derive(Debug)]
pub(crate) struct Session {
    s3: S3,
    pub(crate) name: S3Name,
    pub(crate) attributes: Attributes,
    pub(crate) condition: Condition,
    /// The value of [`crate::UPLOAD_MARK`].
    pub(crate) mark: String,
    pub(crate) patience: Patience,
    pub(crate) server: ServerName,
    pub(super) id: OnceLock<String>,
    phase: watch::Sender<Phase>,
    flying: watch::Sender<usize>,
    number: u64,
    orphan: AtomicBool,
    /// CreateMultipartUpload was sent, and is not answered.
    creating: AtomicBool,
    /// Parts were under way when the upload was closed.
    has_cut_parts: AtomicBool,
}

/// Counts a request of the upload that is under way.
#[derive(Debug)]
pub(crate) struct Flight(Arc<Session>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.flying.send_modify(|flying| *flying -= 1);
    }
}

/// CreateMultipartUpload is under way. If its id is not known at the end, the answer was lost.
#[derive(Debug)]
pub(super) struct Creating<'a>(&'a Session);

impl Drop for Creating<'_> {
    fn drop(&mut self) {
        self.0.creating.store(false, Ordering::SeqCst);
    }
}

/// What a new upload is made from.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) s3: S3,
    pub(crate) name: S3Name,
    pub(crate) attributes: Attributes,
    pub(crate) condition: Condition,
    pub(crate) attempts: u32,
}

/// S3 says that a part may still be stored if it was under way when the upload was aborted.
const LATE_PART: Duration = Duration::from_millis(200);

impl Session {
    /// A new upload of the handle with these `uploads`. Nothing is sent.
    pub(crate) fn start(start: Start) -> Result<Arc<Self>> {
        let mut mark = [0; 16];
        waxseal::secret::fill_random(&mut mark)?;
        let mark = format!("{:032x}", u128::from_be_bytes(mark));
        let Start { s3, name, mut attributes, condition, attempts } = start;
        let uploads = Arc::clone(s3.uploads());
        attributes.metadata.insert(crate::UPLOAD_MARK.to_owned(), mark.clone());
        uploads.add(|number| Self {
            s3,
            name,
            attributes,
            condition,
            mark,
            patience: Patience { attempts: attempts.max(1) },
            server: ServerName::default(),
            id: OnceLock::new(),
            phase: watch::Sender::new(Phase::Open),
            flying: watch::Sender::new(0),
            number,
            orphan: AtomicBool::new(false),
            creating: AtomicBool::new(false),
            has_cut_parts: AtomicBool::new(false),
        })
    }

    /// Sends a request about the object, and repeats it up to the limit.
    pub(crate) async fn send<T, E, F>(&self, send: impl FnMut(Client) -> F) -> Result<Result<T, Failed<E>>>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        F: Future<Output = Result<T, Failed<E>>>,
    {
        self.send_with(self.patience, send).await
    }

    pub(crate) async fn send_with<T, E, F>(
        &self,
        patience: Patience,
        send: impl FnMut(Client) -> F,
    ) -> Result<Result<T, Failed<E>>>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        F: Future<Output = Result<T, Failed<E>>>,
    {
        patience.send(&self.s3, self.name.bucket(), send).await
    }

    /// The client for one attempt, and its region.
    pub(crate) async fn client(&self) -> Result<(Client, String)> {
        self.s3.client_of(self.name.bucket()).await
    }

    /// Whether the store is AWS itself, which checks all conditions.
    pub(crate) async fn is_aws(&self) -> Result<bool> {
        // The configuration is read with the client.
        self.client().await?;
        Ok(self.server.is_aws() || self.s3.is_aws())
    }

    /// How often a request about the object is sent at most.
    pub(crate) async fn attempts(&self) -> Result<u32> {
        self.s3.at_most(self.patience.attempts).await
    }

    /// Whether S3 has said that the bucket is in another region than the one that was asked.
    pub(crate) fn redirect<E: ProvideErrorMetadata>(&self, region: &str, error: &Failed<E>) -> bool {
        self.s3.redirect(self.name.bucket(), region, error)
    }

    /// The error for a request that has failed.
    pub(crate) fn failure<E>(&self, operation: &'static str, error: &Failed<E>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let region = self.s3.region_of(self.name.bucket());
        failure::failure(&Call { region, ..Call::new(operation, &self.name) }, error)
    }

    /// The error for an answer that does not match the request.
    pub(crate) fn bad_answer(&self, operation: &'static str, what: &str) -> Error {
        failure::bad_answer(&Call::new(operation, &self.name), what)
    }

    fn uploads(&self) -> &Uploads {
        self.s3.uploads()
    }

    /// Whether the store is known to check conditions when an upload is completed.
    pub(crate) fn checks_conditions(&self) -> bool {
        self.uploads().checks_conditions(self.name.bucket())
    }

    /// The store has shown that it checks conditions.
    pub(crate) fn found_conditions(&self) {
        self.uploads().found_conditions(self.name.bucket());
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// S3's id of the multipart upload, once there is one.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.get().map(String::as_str)
    }

    /// The upload for the caller; `None` while it does not exist in S3.
    pub(crate) fn public(&self) -> Option<OpenUpload> {
        self.id().map(|id| OpenUpload { name: self.name.clone(), id: id.to_owned() })
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Whether the request that makes the object was sent, and its result is not known.
    pub(super) fn is_undecided(&self) -> bool {
        matches!(self.phase(), Phase::Committing | Phase::Unknown)
    }

    /// Whether the upload is still in the list of its handle.
    pub(crate) fn is_listed(&self) -> bool {
        self.uploads().has(self.number)
    }

    /// An answer that had the id of a multipart upload was lost.
    pub(super) fn may_have_orphan(&self) {
        self.orphan.store(true, Ordering::Relaxed);
        self.uploads().add_lost(&self.name);
    }

    /// Whether there may be such an upload. The caller reports it, and the handle forgets it.
    pub(crate) fn take_orphan(&self) -> bool {
        let has_orphan = self.orphan.swap(false, Ordering::Relaxed);
        if has_orphan {
            self.uploads().forget_lost(&self.name);
        }
        has_orphan
    }

    /// Notes that CreateMultipartUpload is under way, until the result is dropped.
    pub(super) fn creating(&self) -> Creating<'_> {
        self.creating.store(true, Ordering::SeqCst);
        Creating(self)
    }

    /// Whether there may be an upload whose id is not known yet.
    pub(super) fn is_being_created(&self) -> bool {
        self.creating.load(Ordering::SeqCst) && self.id().is_none()
    }

    /// Counts a request until the result is dropped.
    pub(crate) fn fly(self: &Arc<Self>) -> Flight {
        self.flying.send_modify(|flying| *flying += 1);
        Flight(Arc::clone(self))
    }

    /// Sends a part, unless the upload is closed before that is done.
    pub(crate) async fn unless_closed<T>(&self, part: impl Future<Output = Result<T>>) -> Result<T> {
        self.until_closed(part).await.unwrap_or_else(|| {
            self.may_have_cut_parts();
            Err(self.was_aborted())
        })
    }

    /// Waits for `work`. `None` if the upload is closed before that is done.
    pub(crate) async fn until_closed<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut phase = self.phase.subscribe();
        tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase == Phase::Closed) => None,
            done = work => Some(done),
        }
    }

    /// Closes the upload as soon as the caller's gate has closed. `work` then fails, unless it has begun to make the object.
    pub(crate) async fn close_with_the_gate<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = self.ending() => self.close(),
        }
        work.await
    }

    /// Runs `work` on the handle's runtime. It goes on if the caller stops waiting.
    pub(crate) async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let task = self.s3.runtime()?.spawn(work);
        task.await.unwrap_or_else(|error| Err(panicked(&error)))
    }

    /// Changes the phase in one step. `false` if it was not `from`.
    fn step(&self, from: Phase, to: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let is_there = *phase == from;
            if is_there {
                *phase = to;
            }
            is_there
        })
    }

    /// Asks the caller's gate whether the object may be made.
    pub(crate) async fn pass(&self) -> Result<Option<Pass>> {
        gate::pass(self.s3.gate()).await
    }

    /// Whether the caller's gate has closed.
    pub(crate) fn is_ending(&self) -> bool {
        self.s3.gate().is_some_and(|gate| gate.has_closed())
    }

    /// Waits until the caller's gate has closed.
    pub(crate) async fn ending(&self) {
        gate::closed(self.s3.gate()).await;
    }

    /// From now on, the upload is not aborted, until [`ended`](Self::ended) is called.
    pub(crate) fn begin_commit(&self) -> Result<()> {
        if self.step(Phase::Open, Phase::Committing) { Ok(()) } else { Err(self.was_aborted()) }
    }

    /// Sets the result of the commit.
    pub(crate) fn ended(&self, phase: Phase) {
        self.step(Phase::Committing, phase);
        if phase == Phase::Done {
            self.uploads().remove(self.number);
        }
    }

    /// From now on, this upload cannot make an object, unless it is being completed at this moment.
    pub(crate) fn close(&self) {
        self.step(Phase::Open, Phase::Closed);
    }

    /// The error for callers that use an upload after it was aborted.
    pub(crate) fn was_aborted(&self) -> Error {
        Error::io(format!("uploading to {}", self.name), std::io::Error::other("the upload was aborted"))
    }

    /// Ends the upload. Nothing of it is left in S3 if this succeeds. It is safe to call it again.
    pub(crate) async fn abort(self: Arc<Self>, limit: Duration) -> Result<()> {
        self.close();
        let answer = tokio::time::timeout(limit, self.aborted()).await;
        let result = answer.unwrap_or_else(|_| Err(self.too_late(limit)));
        if result.is_ok() {
            self.uploads().remove(self.number);
        }
        result
    }

    fn too_late(&self, limit: Duration) -> Error {
        let why = format!("the upload could not be aborted within {} s", limit.as_secs_f64());
        Error::io(format!("uploading to {}", self.name), std::io::Error::new(std::io::ErrorKind::TimedOut, why))
    }

    /// Ends the upload for somebody who does not wait: if it is being completed, after the result of that is known. It is
    /// closed at once, before the result is polled.
    pub(crate) fn abort_after_all(self: Arc<Self>) -> impl Future<Output = Result<()>> {
        self.close();
        async move {
            let mut phase = self.phase.subscribe();
            let _ = phase.wait_for(|phase| *phase != Phase::Committing).await;
            self.abort(ABORT_LIMIT).await
        }
    }

    /// Parts may have been under way when the tasks that sent them were dropped.
    pub(crate) fn may_have_cut_parts(&self) {
        self.has_cut_parts.store(true, Ordering::Relaxed);
    }

    /// Aborts after a failure. If the upload cannot be aborted, it stays in the list.
    pub(crate) async fn give_up(self: &Arc<Self>) {
        if !matches!(self.phase(), Phase::Unknown | Phase::Done) {
            let _ = Arc::clone(self).abort(ABORT_LIMIT).await;
        }
    }

    async fn aborted(&self) -> Result<()> {
        let mut phase = self.phase.subscribe();
        let settled = phase.wait_for(|phase| !matches!(phase, Phase::Open | Phase::Committing)).await;
        match settled.map(|phase| *phase).unwrap_or(Phase::Closed) {
            Phase::Done => return Ok(()),
            Phase::Unknown => return Err(crate::commit::unknown(self)),
            Phase::Open | Phase::Committing | Phase::Closed => {}
        }
        let mut flying = self.flying.subscribe();
        let _ = flying.wait_for(|flying| *flying == 0).await;
        let Some(id) = self.id() else { return Ok(()) };
        self.abort_request(id).await?;
        if self.has_cut_parts.load(Ordering::Relaxed) {
            tokio::time::sleep(LATE_PART).await;
            self.abort_request(id).await?;
        }
        Ok(())
    }

    async fn abort_request(&self, id: &str) -> Result<()> {
        let send = |client: Client| {
            let request = client.abort_multipart_upload().bucket(self.name.bucket()).key(self.name.key());
            let limited = once_within(Duration::from_secs(10));
            request.upload_id(id).customize().config_override(limited).send()
        };
        match self.send(send).await? {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == "NoSuchUpload" => Ok(()),
            Err(error) => Err(self.failure("AbortMultipartUpload", &error)),
        }
    }
}

/// The error if the object is not the one that was read.
pub(crate) fn changed(name: &S3Name) -> Error {
    Error::io(format!("replacing {name}"), std::io::Error::other(InputChanged))
}
