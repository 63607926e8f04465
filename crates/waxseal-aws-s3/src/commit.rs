//! The request that makes an object. If its answer is lost, this module finds out what the request has done.

use std::error::Error as StdError;
use std::future::Future;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use waxseal::error::{Error, ProviderCause, ProviderError, Result};

use crate::attempt::{Patience, Sort, once, once_within, pause, sort};
use crate::crc::in_base64;
use crate::failure::{Failed, code, status};
use crate::gate::ending;
use crate::unsigned::UnsignedWhereSafe;
use crate::upload::session::{Condition, Phase, Session, changed};
use crate::upload::{UploadWarning, Uploaded};

/// The limit for this request. S3 needs as much time for it as for a copy of the whole object.
const COMPLETING: std::time::Duration = std::time::Duration::from_secs(600);

/// The time to wait for an answer after the caller's gate has closed.
const LAST_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

/// The number of requests that look for the object after a lost answer, before the request is sent again.
const LOOKS: u32 = 2;

/// The bytes that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) len: u64,
    /// `None` if S3 did not return the checksum of a part that was copied.
    pub(crate) crc: Option<u64>,
}

/// What exists under the name.
#[derive(Debug)]
pub(crate) enum Found {
    /// The object of this upload.
    Ours(Made),
    /// Another object.
    Other,
    /// Nothing.
    Absent,
}

/// The new object, as S3 describes it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made {
    /// `None` if the answer does not say it.
    pub(crate) len: Option<u64>,
    pub(crate) etag: String,
    pub(crate) version_id: Option<String>,
    pub(crate) crc: Option<String>,
    pub(crate) crc_type: Option<ChecksumType>,
}

/// The result of one attempt.
enum Step {
    Made(Made),
    /// The next attempt may succeed. If no attempt is left, this is the error.
    Again(Sort, Error),
}

/// Makes the object with one PutObject. The request goes on if the caller stops waiting: until its result is known,
/// nothing can be aborted.
pub(crate) async fn put(session: &Arc<Session>, body: Bytes, crc: u64) -> Result<Uploaded> {
    let own = Arc::clone(session);
    session.to_its_end(async move { put_here(&own, body, crc).await }).await
}

/// Completes the multipart upload. This too goes on if the caller stops waiting.
pub(crate) async fn complete(session: &Arc<Session>, parts: Vec<CompletedPart>, sent: Sent) -> Result<Uploaded> {
    let own = Arc::clone(session);
    session.to_its_end(async move { complete_here(&own, parts, sent).await }).await
}

async fn put_here(session: &Session, body: Bytes, crc: u64) -> Result<Uploaded> {
    let sent = Sent { len: body.len() as u64, crc: Some(crc) };
    let send = |client: Client, condition: Condition| {
        let request = session.attributes.put(&client).bucket(session.name.bucket()).key(session.name.key());
        let request = request.set_if_match(condition.if_match()).set_if_none_match(condition.if_none_match());
        let request = request.checksum_crc64_nvme(in_base64(crc)).body(ByteStream::from(body.clone()));
        let request = request.customize().config_override(once(sent.len)).interceptor(UnsignedWhereSafe);
        async move {
            request.send().await.map(|answer| Made {
                len: None,
                etag: answer.e_tag.unwrap_or_default(),
                version_id: answer.version_id,
                crc: answer.checksum_crc64_nvme,
                crc_type: answer.checksum_type,
            })
        }
    };
    commit(session, "PutObject", sent, send, 0).await
}

async fn complete_here(session: &Session, parts: Vec<CompletedPart>, sent: Sent) -> Result<Uploaded> {
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let len = i64::try_from(sent.len).map_err(|_| Error::Limit("an object of 2^63 bytes".into()))?;
    let send = |client: Client, condition: Condition| {
        let request = client.complete_multipart_upload().bucket(session.name.bucket()).key(session.name.key());
        let request = request.set_if_match(condition.if_match()).set_if_none_match(condition.if_none_match());
        let request = request.set_upload_id(session.id().map(str::to_owned)).multipart_upload(parts.clone());
        let request = request.set_checksum_crc64_nvme(sent.crc.map(in_base64)).mpu_object_size(len);
        let request = request.set_checksum_type(sent.crc.map(|_| ChecksumType::FullObject));
        let request = request.customize().config_override(once_within(COMPLETING));
        async move {
            request.send().await.map(|answer| Made {
                len: None,
                etag: answer.e_tag.unwrap_or_default(),
                version_id: answer.version_id,
                crc: answer.checksum_crc64_nvme,
                crc_type: answer.checksum_type,
            })
        }
    };
    commit(session, "CompleteMultipartUpload", sent, send, count).await
}

/// Sends the request until its result is known. If it has certainly failed, the upload is closed, and the caller aborts
/// it.
async fn commit<E, F>(
    session: &Session,
    operation: &'static str,
    sent: Sent,
    send: impl FnMut(Client, Condition) -> F,
    parts: u32,
) -> Result<Uploaded>
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    F: Future<Output = Result<Made, Failed<E>>>,
{
    if session.condition == Condition::Absent && !session.is_aws().await? {
        // Some stores silently ignore the condition. So the program checks directly before the request whether the
        // object exists.
        if let Some(Ok(Found::Other)) = session.until_closed(look(session)).await {
            session.close();
            return Err(in_the_way(session));
        }
    }
    // It is kept until the result of the request is known.
    let _pass = session.pass().await?;
    session.begin_commit()?;
    let _end = End(session);
    let condition = session.condition.clone();
    let mut run = Try { session, operation, condition, is_sent: false, may_be_done: false, warnings: Vec::new() };
    let made = run.until_known(send).await?;
    // The object is there. Nothing is left to abort, even if its bytes are not those that were sent.
    session.ended(Phase::Done);
    let (made, confirmed) = checked(session, made, sent)?;
    if session.take_orphan() {
        run.warnings.push(UploadWarning::UnfinishedUploadMayBeLeft);
    }
    let Made { etag, version_id, .. } = made;
    Ok(Uploaded { etag, version_id, parts, len: sent.len, crc64nvme: sent.crc, confirmed, warnings: run.warnings })
}

/// A commit that ends in a panic has an unknown result. Otherwise, an abort would wait for it for ever.
struct End<'a>(&'a Session);

impl Drop for End<'_> {
    fn drop(&mut self) {
        // It has an effect only if nothing else was decided.
        self.0.ended(Phase::Unknown);
    }
}

/// Compares S3's answer with what was sent. `true` if S3 says that it has exactly these bytes.
fn checked(session: &Session, made: Made, sent: Sent) -> Result<(Made, bool)> {
    let bad = |what: &str| {
        let error = ProviderError::new(ProviderCause::BadAnswer, session.name.to_string(), what);
        Error::from(Box::new(error))
    };
    if made.len.is_some_and(|len| len != sent.len) {
        return Err(bad("the store has an object of another length than the bytes that were sent"));
    }
    if made.etag.is_empty() {
        return Err(bad("the store answered without an ETag; the object may be there"));
    }
    let is_of_object = made.crc_type.as_ref().is_none_or(|of| *of == ChecksumType::FullObject);
    match (&made.crc, sent.crc) {
        (Some(theirs), Some(own)) if is_of_object && *theirs != in_base64(own) => {
            Err(bad("the store has an object with another CRC64NVME than that of the bytes that were sent"))
        }
        (theirs, own) => {
            let confirmed = theirs.is_some() && own.is_some() && is_of_object;
            Ok((made, confirmed))
        }
    }
}

/// What is known after the attempts so far.
struct Try<'a> {
    session: &'a Session,
    operation: &'static str,
    condition: Condition,
    /// An attempt is under way.
    is_sent: bool,
    /// An earlier attempt may have made the object.
    may_be_done: bool,
    warnings: Vec<UploadWarning>,
}

impl Try<'_> {
    /// Sends the request until its result is known. After the caller's gate has closed, it stops soon.
    async fn until_known<E, F>(&mut self, send: impl FnMut(Client, Condition) -> F) -> Result<Made>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        F: Future<Output = Result<Made, Failed<E>>>,
    {
        let session = self.session;
        let too_late = async {
            session.ending().await;
            tokio::time::sleep(LAST_WAIT).await;
        };
        tokio::select! {
            biased;
            made = self.attempts(send) => made,
            () = too_late => {
                self.may_be_done |= self.is_sent;
                Err(self.given_up(ending()))
            }
        }
    }

    async fn attempts<E, F>(&mut self, mut send: impl FnMut(Client, Condition) -> F) -> Result<Made>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        F: Future<Output = Result<Made, Failed<E>>>,
    {
        let session = self.session;
        let most = session.attempts().await.map_err(|error| self.given_up(error))?;
        let (mut attempt, mut was_redirected) = (1, false);
        loop {
            let (client, region) = session.client().await.map_err(|error| self.given_up(error))?;
            if session.is_ending() {
                return Err(self.given_up(ending()));
            }
            let condition = self.condition.clone();
            self.is_sent = true;
            let answer = send(client, condition.clone()).await;
            self.is_sent = false;
            let is_redirected = answer.as_ref().is_err_and(|error| session.redirect(&region, error));
            if is_redirected && (!was_redirected || attempt < most) {
                attempt += u32::from(was_redirected);
                was_redirected = true;
                continue;
            }
            match self.judge(answer).await {
                Ok(Step::Made(made)) => return Ok(made),
                // The condition has changed, so this is a new request and not a repetition.
                Ok(Step::Again(..)) if self.condition != condition => {}
                Ok(Step::Again(sort, _)) if attempt < most => {
                    // When the gate closes, the next attempt is not sent.
                    let _ = tokio::time::timeout(pause(sort, attempt), session.ending()).await;
                    attempt += 1;
                }
                Ok(Step::Again(_, error)) => return Err(self.given_up(error)),
                Err((phase, error)) => {
                    session.ended(phase);
                    return Err(error);
                }
            }
        }
    }

    async fn judge<E>(&mut self, answer: Result<Made, Failed<E>>) -> Result<Step, (Phase, Error)>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let error = match answer {
            Ok(made) => return Ok(Step::Made(made)),
            Err(error) => error,
        };
        let sort = sort(&error);
        let is_body_lost = sort == Sort::Damaged && self.operation == "PutObject";
        if matches!(sort, Sort::Refused | Sort::Damaged) && !is_body_lost {
            return self.refused(&error).await;
        }
        if sort == Sort::Lost {
            self.may_be_done = true;
            // Perhaps the request had its effect, and only the answer was lost.
            if let Ok(Found::Ours(made)) = look_for(self.session, LOOKS).await {
                return Ok(Step::Made(made));
            }
        }
        Ok(Step::Again(sort, self.session.failure(self.operation, &error)))
    }

    async fn refused<E>(&mut self, error: &Failed<E>) -> Result<Step, (Phase, Error)>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let (session, code) = (self.session, code(error));
        if code == "ConditionalRequestConflict" && self.operation == "PutObject" {
            return Ok(Step::Again(Sort::Lost, session.failure(self.operation, error)));
        }
        if self.may_be_done {
            // An earlier attempt may have made the object, and the store may still be working on it.
            match look(session).await {
                Ok(Found::Ours(made)) => return Ok(Step::Made(made)),
                // The condition was compared after that attempt, and another object is there.
                Ok(_) if code == "PreconditionFailed" => {}
                Ok(_) | Err(_) => return Err((Phase::Unknown, unknown(session))),
            }
        }
        if code == "NotImplemented" && self.condition == Condition::Absent {
            return self.without_condition().await;
        }
        let closed = |error| Err((Phase::Closed, error));
        match (code, status(error), &self.condition) {
            ("PreconditionFailed", ..) | ("", 412, _) | ("NoSuchKey", _, Condition::Match(_)) => {
                closed(in_the_way(session))
            }
            ("ConditionalRequestConflict", _, Condition::Match(_)) => closed(in_the_way(session)),
            _ => closed(session.failure(self.operation, error)),
        }
    }

    /// The store has no conditional writes. So the program checks directly before the request whether the object
    /// exists.
    async fn without_condition(&mut self) -> Result<Step, (Phase, Error)> {
        match look(self.session).await {
            Ok(Found::Absent) => {
                self.condition = Condition::Any;
                self.warnings.push(UploadWarning::NoConditionalWrites);
                Ok(Step::Again(Sort::NotSent, in_the_way(self.session)))
            }
            Ok(Found::Ours(made)) => Ok(Step::Made(made)),
            Ok(Found::Other) => Err((Phase::Closed, in_the_way(self.session))),
            Err(error) => Err((Phase::Closed, error)),
        }
    }

    /// There is no further attempt.
    fn given_up(&self, error: Error) -> Error {
        if self.may_be_done {
            self.session.ended(Phase::Unknown);
            return unknown(self.session);
        }
        self.session.ended(Phase::Closed);
        error
    }
}

/// The error if the name is taken: by an object that must not be replaced, or by another object than the one that was
/// read.
pub(crate) fn in_the_way(session: &Session) -> Error {
    if let Condition::Match(_) = session.condition {
        return changed(&session.name);
    }
    let why = "the object exists already";
    Box::new(ProviderError::new(ProviderCause::AlreadyExists, session.name.to_string(), why)).into()
}

/// The error if nobody can say whether the object was written.
pub(crate) fn unknown(session: &Session) -> Error {
    let why = "the answer to the last request was lost: it is not known whether the object was written";
    let mark = format!("metadata {} {}", crate::UPLOAD_MARK, session.mark);
    let hint = match session.public() {
        Some(upload) => format!(
            "check whether the object exists and has the {mark}; if it is not, `{}` removes what was sent",
            upload.abort_command()
        ),
        None => format!("check whether the object exists and has the {mark}"),
    };
    let error = ProviderError::new(ProviderCause::Unreachable, session.name.to_string(), why);
    Box::new(error.with_hint(hint)).into()
}

/// Looks whether the object is there, and whether this upload has written it.
pub(crate) async fn look(session: &Session) -> Result<Found> {
    look_for(session, session.patience.attempts).await
}

async fn look_for(session: &Session, attempts: u32) -> Result<Found> {
    let patience = Patience { attempts: attempts.min(session.patience.attempts) };
    let send = |client: Client| {
        let request = client.head_object().bucket(session.name.bucket()).key(session.name.key());
        let request = request.checksum_mode(ChecksumMode::Enabled).customize();
        request.config_override(once(0)).interceptor(session.server.clone()).send()
    };
    match session.send_with(patience, send).await? {
        // An answer without an ETag is not from S3.
        Ok(head) if head.e_tag.as_ref().is_none_or(String::is_empty) => {
            Err(session.bad_answer("HeadObject", "has no ETag"))
        }
        Ok(head) => {
            let mark = head.metadata.as_ref().and_then(|metadata| metadata.get(crate::UPLOAD_MARK));
            if mark != Some(&session.mark) {
                return Ok(Found::Other);
            }
            Ok(Found::Ours(Made {
                len: head.content_length.and_then(|len| u64::try_from(len).ok()),
                etag: head.e_tag.unwrap_or_default(),
                version_id: head.version_id,
                crc: head.checksum_crc64_nvme,
                crc_type: head.checksum_type,
            }))
        }
        Err(error) if status(&error) == 404 => Ok(Found::Absent),
        Err(error) => Err(session.failure("HeadObject", &error)),
    }
}
