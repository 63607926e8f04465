//! Gives an object new keys. The payload does not come to this machine.

mod copies;
mod kept;

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::CompletedPart;
use bytes::Bytes;
use tokio::sync::Semaphore;
use waxseal::error::{Error, Result};
use waxseal::format::{Front, Header};
use waxseal::rewrap::{NewFront, Outcome, Plan, Report};

use crate::attempt::{Patience, once, once_within};
use crate::attributes::escaped;
use crate::commit::{self, Found, Sent, look};
use crate::crc::{Crc64, from_base64, joined, without};
use crate::failure::{Failed, code, status};
use crate::gate;
use crate::upload::session::{Condition, Phase, Session, Start, changed};
use crate::upload::{UploadWarning, Uploaded, create, panicked, part_failed, send_part};
use crate::{Object, S3, S3Name};
use copies::Copies;
use kept::{Old, no_conditions};

/// The number of parts that are copied at the same time. This takes no resources of this machine.
const COPIES_AT_ONCE: usize = 16;
/// An ETag that no object has.
const NO_ETAG: &str = "\"00000000000000000000000000000000\"";

/// What the caller allows a rewrap.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RewrapOptions {
    /// Rewraps also in a store that does not check conditions. The object is then compared right before it is replaced.
    /// If another writer replaces the object at the same moment, that new object is lost. `false` by default.
    pub allow_unconditional: bool,
    /// How often a request is sent at most. 10 by default. `AWS_MAX_ATTEMPTS` and `max_attempts` of the profile can make
    /// it fewer.
    pub attempts: u32,
}

impl Default for RewrapOptions {
    fn default() -> Self {
        Self { allow_unconditional: false, attempts: 10 }
    }
}

/// What a rewrap of an object has done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RewrappedObject {
    /// The slots that changed. Its outcome is `Unchanged` if nothing was written.
    pub report: Report,
    /// The ETag of the old object.
    pub old_etag: String,
    /// The version id of the old object, if the bucket has versions. That version keeps the old wrapping until it is
    /// deleted.
    pub old_version_id: Option<String>,
    /// The new object; `None` if nothing was written.
    pub new: Option<Uploaded>,
    /// The number of parts that S3 has copied.
    pub copies: u32,
    /// Bytes of the object that came to this machine after it was opened.
    pub fetched: u64,
    /// Bytes that were sent.
    pub sent: u64,
}

/// It is in a box because it is a large future. Without a box, its type would be a part of the caller's type.
type Work = Pin<Box<dyn Future<Output = Result<RewrappedObject>> + Send>>;

impl S3 {
    /// Gives `object` the slots of `plan`. The payload is copied inside S3 and does not come to this machine, except for
    /// the rest of the first 5 MiB.
    ///
    /// Metadata, tags, content type and similar fields, storage class, encryption settings, retention and legal hold
    /// are kept. The access control list is not kept: the new object has the bucket's default. The age of the new
    /// object starts at zero.
    ///
    /// `plan` is called on this thread, and may call key services.
    ///
    /// # Errors
    /// [`InputChanged`](waxseal::error::InputChanged) in an [`Error::Io`] if the object is not the one that was opened:
    /// nothing is replaced then. The errors of `plan`, and all errors of S3. A store that does not check conditions is
    /// refused, unless the options allow it.
    pub fn rewrap(
        &self,
        object: &Object,
        plan: impl FnOnce(&Header) -> Result<Plan>,
        options: RewrapOptions,
    ) -> Result<RewrappedObject> {
        let made = NewFront::of(&front(object), plan)?;
        let work = self.rewrapped(object.clone(), made, options);
        self.block_on(work)
    }

    /// Like [`rewrap`](Self::rewrap), on the caller's runtime, with a header that [`NewFront::of`] has made of the
    /// object's first [`FRONT_LEN`](waxseal::format::FRONT_LEN) bytes.
    ///
    /// If it is dropped before its end, the old object stays, and the upload is aborted in the background. If the new
    /// object is being completed at that moment, it may still replace the old one: [`undecided`](Self::undecided) names
    /// it until the result is known.
    ///
    /// # Errors
    /// As [`rewrap`](Self::rewrap).
    pub async fn rewrap_async(
        &self,
        object: &Object,
        made: NewFront,
        options: RewrapOptions,
    ) -> Result<RewrappedObject> {
        let work = self.rewrapped(object.clone(), made, options);
        self.on_runtime(work).await
    }

    fn rewrapped(&self, object: Object, made: NewFront, options: RewrapOptions) -> Work {
        let s3 = self.clone();
        Box::pin(async move {
            let place = Place {
                name: object.name().clone(),
                etag: object.etag().to_owned(),
                len: object.len(),
                patience: Patience { attempts: options.attempts.max(1) },
                s3,
            };
            place.rewrap(&object, made, &options).await
        })
    }
}

/// The object that is rewrapped.
#[derive(Debug)]
struct Place {
    s3: S3,
    name: S3Name,
    etag: String,
    len: u64,
    patience: Patience,
}

impl Place {
    async fn send<T, E, F>(&self, send: impl FnMut(Client) -> F) -> Result<Result<T, Failed<E>>>
    where
        E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        F: Future<Output = Result<T, Failed<E>>>,
    {
        self.patience.send(&self.s3, self.name.bucket(), send).await
    }

    async fn rewrap(&self, object: &Object, made: NewFront, options: &RewrapOptions) -> Result<RewrappedObject> {
        let copies = Copies::of(made.header.len() as u64, made.payload_at, self.len)?;
        let payload_len = self.len - made.payload_at;
        let old_version_id = object.version_id().map(str::to_owned);
        let mut report = made.report;
        (report.payload_len, report.file_len) = (payload_len, copies.len);
        let mut done = RewrappedObject {
            report,
            old_etag: self.etag.clone(),
            old_version_id,
            new: None,
            copies: 0,
            fetched: 0,
            sent: 0,
        };
        if done.report.outcome == Outcome::Unchanged {
            done.report.file_len = self.len;
            return Ok(done);
        }
        let read = async {
            let old = self.old().await?;
            let head = self.first_part(object, &made.header, &copies, &mut done).await?;
            Ok::<_, Error>((head, old))
        };
        // Nothing is in S3 yet.
        let (head, old) = tokio::select! {
            biased;
            read = read => read?,
            () = gate::closed(self.s3.gate()) => return Err(gate::ending()),
        };
        done.old_version_id = old.version_id.clone().or(done.old_version_id);
        let session = Session::start(Start {
            s3: self.s3.clone(),
            name: self.name.clone(),
            attributes: old.attributes.clone(),
            condition: Condition::Match(self.etag.clone()),
            attempts: self.patience.attempts,
        })?;
        let _guard = AbortOnDrop { session: &session, runtime: self.s3.runtime()? };
        let job = Job { place: self, session: &session, old: &old, copies: &copies, head, options };
        match session.close_with_the_gate(job.run(object, made.payload_at)).await {
            Ok(new) => {
                done.new = Some(new);
                done.copies = u32::try_from(copies.copied.len()).unwrap_or(u32::MAX);
                Ok(done)
            }
            Err(error) => {
                session.give_up().await;
                Err(error)
            }
        }
    }

    /// The new header, and the payload's beginning.
    async fn first_part(
        &self,
        object: &Object,
        header: &[u8],
        copies: &Copies,
        done: &mut RewrappedObject,
    ) -> Result<Bytes> {
        let rest = read(object, copies.fetched.clone(), &mut done.fetched).await?;
        let part = [header, &rest].concat();
        done.sent = part.len() as u64;
        Ok(part.into())
    }
}

/// The object's first bytes.
fn front(object: &Object) -> Front {
    Front::new(object.opened.front.to_vec())
}

/// Aborts the upload if the rewrap is dropped before its end. If the new object is being completed at that moment, the
/// result of that counts.
struct AbortOnDrop<'a> {
    session: &'a Arc<Session>,
    runtime: tokio::runtime::Handle,
}

impl Drop for AbortOnDrop<'_> {
    fn drop(&mut self) {
        if self.session.is_listed() && !matches!(self.session.phase(), Phase::Done | Phase::Unknown) {
            self.session.may_have_cut_parts();
            self.runtime.spawn(Arc::clone(self.session).abort_after_all());
        }
    }
}

/// Bytes of the object. The first ones are already in memory.
async fn read(object: &Object, range: Range<u64>, fetched: &mut u64) -> Result<Vec<u8>> {
    let len = usize::try_from(range.end - range.start).map_err(|_| Error::Bug("more than the first part"))?;
    *fetched += range.end.saturating_sub(range.start.max(object.opened.front.len() as u64));
    let bytes = object.read_range_async(range).await?;
    if bytes.len() == len { Ok(bytes) } else { Err(changed(object.name())) }
}

/// One rewrap, after everything was read.
struct Job<'a> {
    place: &'a Place,
    session: &'a Arc<Session>,
    old: &'a Old,
    copies: &'a Copies,
    /// The first part of the new object.
    head: Bytes,
    options: &'a RewrapOptions,
}

impl Job<'_> {
    async fn run(&self, object: &Object, payload_at: u64) -> Result<Uploaded> {
        let (crc, session) = (Crc64::of(&self.head), self.session);
        let keeps = self.old.is_aws || session.checks_conditions();
        if self.copies.copied.is_empty() && keeps {
            return commit::put(session, self.head.clone(), crc).await;
        }
        create(session).await?;
        if !keeps {
            session.until_closed(self.probe()).await.unwrap_or_else(|| Err(session.was_aborted()))?;
        }
        let flight = session.fly();
        let first = session.unless_closed(send_part(session, 1, self.head.clone(), crc)).await?;
        drop(flight);
        let (parts, rest_crc) = self.copy_all(first).await?;
        let expected = self.expected_rest(object, payload_at).await?;
        if let (Some(theirs), Some(own)) = (rest_crc, expected)
            && theirs != own
        {
            return Err(session.bad_answer("UploadPartCopy", "has another checksum than these bytes of the object"));
        }
        let rest_len = self.copies.len - self.head.len() as u64;
        let crc = rest_crc.or(expected).map(|rest| joined(crc, rest, rest_len));
        let mut new = commit::complete(session, parts, Sent { len: self.copies.len, crc }).await?;
        if !self.old.is_aws && !session.checks_conditions() {
            new.warnings.push(UploadWarning::NoConditionalWrites);
        }
        self.check_len(&new).await?;
        Ok(new)
    }

    /// Finds out whether the store checks `If-Match` when an upload is completed. The request names a part that does
    /// not exist, so that no store can complete it. If the store answers that the condition is not met, it checks
    /// conditions.
    async fn probe(&self) -> Result<()> {
        let session = self.session;
        let part = CompletedPart::builder().part_number(1).e_tag(NO_ETAG).build();
        let parts = aws_sdk_s3::types::CompletedMultipartUpload::builder().parts(part).build();
        let send = |client: Client| {
            let request = client.complete_multipart_upload().bucket(session.name.bucket()).key(session.name.key());
            let request = request.set_upload_id(session.id().map(str::to_owned)).multipart_upload(parts.clone());
            request.if_match(NO_ETAG).customize().config_override(once(0)).send()
        };
        match self.place.send(send).await? {
            Err(error) if status(&error) == 412 => session.found_conditions(),
            _ if self.options.allow_unconditional => {
                if !matches!(look(session).await?, Found::Other) {
                    return Err(changed(&session.name));
                }
            }
            // It is not known.
            Err(error) if !matches!(status(&error), 400 | 404 | 501) => {
                return Err(session.failure("CompleteMultipartUpload", &error));
            }
            _ => return Err(no_conditions(&session.name)),
        }
        Ok(())
    }

    /// Copies the rest. Returns all parts. If the store returns the checksums of all parts, it also returns the
    /// checksum of the copied bytes.
    async fn copy_all(&self, first: CompletedPart) -> Result<(Vec<CompletedPart>, Option<u64>)> {
        let room = Arc::new(Semaphore::new(COPIES_AT_ONCE));
        let mut tasks = tokio::task::JoinSet::new();
        for (number, range) in (2_i32..).zip(self.copies.copied.iter().cloned()) {
            let (session, room) = (Arc::clone(self.session), Arc::clone(&room));
            let (etag, flight) = (self.place.etag.clone(), session.fly());
            tasks.spawn(async move {
                let _flight = flight;
                let _turn = room.acquire_owned().await.map_err(|_| Error::Bug("the turns of copies were closed"))?;
                session.unless_closed(copy_part(&session, number, range, etag)).await
            });
        }
        let mut copied = Vec::with_capacity(self.copies.copied.len());
        while let Some(result) = tasks.join_next().await {
            match result.unwrap_or_else(|error| Err(panicked(&error))) {
                Ok(part) => copied.push(part),
                Err(error) => {
                    // The abort stops them, and waits for them.
                    tasks.detach_all();
                    return Err(error);
                }
            }
        }
        copied.sort_by_key(|part| part.number);
        let mut crc = Some(Crc64::of(&[]));
        let mut parts = vec![first];
        for part in copied {
            let own = part.crc.as_deref().and_then(from_base64);
            crc = crc.zip(own).map(|(all, own)| joined(all, own, part.len));
            let done = CompletedPart::builder().part_number(part.number).e_tag(part.etag);
            parts.push(done.set_checksum_crc64_nvme(part.crc).build());
        }
        Ok((parts, crc))
    }

    /// The checksum that the copied bytes must have. It is computed from the checksum of the old object and from that
    /// of the bytes before them. `None` if the store does not know it.
    async fn expected_rest(&self, object: &Object, payload_at: u64) -> Result<Option<u64>> {
        let Some(all) = self.old.crc else { return Ok(None) };
        let mut fetched = 0;
        // The header's bytes are in memory. Those of the payload are in the first part.
        let old_header = read(object, 0..payload_at, &mut fetched).await?;
        let payload_len = usize::try_from(self.copies.fetched.end - payload_at).unwrap_or(usize::MAX);
        let payload =
            self.head.get(self.head.len() - payload_len..).ok_or(Error::Bug("a first part without payload"))?;
        let mut before = Crc64::default();
        before.update(&old_header);
        before.update(payload);
        Ok(Some(without(all, before.value(), self.place.len - self.copies.fetched.end)))
    }

    /// Not every store compares the length, so it is asked for.
    async fn check_len(&self, new: &Uploaded) -> Result<()> {
        if new.confirmed {
            return Ok(());
        }
        let found = tokio::select! {
            biased;
            found = look(self.session) => found?,
            // The object is there. There is no time to compare it.
            () = self.session.ending() => return Ok(()),
        };
        match found {
            Found::Ours(made) if made.len != Some(self.copies.len) => {
                Err(self.session.bad_answer("CompleteMultipartUpload", "made an object of another length"))
            }
            // If this object is no longer the new one, another writer has replaced it in the meantime.
            Found::Ours(_) | Found::Other | Found::Absent => Ok(()),
        }
    }
}

/// A part that S3 has copied.
struct Copied {
    number: i32,
    etag: String,
    crc: Option<String>,
    len: u64,
}

async fn copy_part(session: &Session, number: i32, range: Range<u64>, old_etag: String) -> Result<Copied> {
    let name = &session.name;
    let len = range.end - range.start;
    let bytes = format!("bytes={}-{}", range.start, range.end - 1);
    let source = format!("{}/{}", name.bucket(), name.key().split('/').map(escaped).collect::<Vec<_>>().join("/"));
    // The lowest speed at which S3 copies.
    let limit = std::time::Duration::from_secs(120 + len / (4 << 20));
    let send = |client: Client| {
        let request = client.upload_part_copy().bucket(name.bucket()).key(name.key()).copy_source(&source);
        let request = request.copy_source_range(&bytes).copy_source_if_match(&old_etag);
        let request = request.set_upload_id(session.id().map(str::to_owned)).part_number(number);
        request.customize().config_override(once_within(limit)).send()
    };
    let answer = match session.send(send).await? {
        Ok(answer) => answer,
        Err(error) if status(&error) == 412 || code(&error) == "NoSuchKey" => return Err(changed(name)),
        Err(error) => return Err(part_failed(session, "UploadPartCopy", &error)),
    };
    let (etag, crc) = answer.copy_part_result.map(|result| (result.e_tag, result.checksum_crc64_nvme)).unzip();
    match etag.flatten().filter(|etag| !etag.is_empty()) {
        Some(etag) => Ok(Copied { number, etag, crc: crc.flatten(), len }),
        None => Err(session.bad_answer("UploadPartCopy", "has no ETag")),
    }
}
