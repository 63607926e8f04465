//! The parts of an upload: filled by the caller, and kept until S3 has them.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::CompletedPart;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use waxseal::error::{Error, ProviderCause, ProviderError, Result};

use super::session::Session;
use super::sizes::{MAX_PARTS, PartSizes, buffers};
use crate::attempt::once;
use crate::commit::Sent;
use crate::crc::{Crc64, in_base64, joined};
use crate::failure::{Failed, code};
use crate::unsigned::UnsignedWhereSafe;

/// Memory is counted in units of this many bytes.
const UNIT: u64 = 1 << 16;

/// A buffer of a part. Its memory is counted until the last user of the part has dropped it. Then it is used again.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

/// The part that is being filled.
#[derive(Debug)]
struct Filling {
    buffer: Buffer,
    size: usize,
    crc: Crc64,
}

/// The bytes of an upload that did not need more than one part.
#[derive(Debug)]
pub(super) struct Single {
    pub(super) body: Bytes,
    pub(super) crc: u64,
}

/// Cuts a stream into parts and sends them.
#[derive(Debug)]
pub(super) struct Parts {
    session: Arc<Session>,
    runtime: Handle,
    sizes: PartSizes,
    len_hint: Option<u64>,
    filling: Option<Filling>,
    /// Number of the parts that were sent.
    count: u32,
    flying: JoinSet<Result<CompletedPart>>,
    /// The parts that S3 has, in the order of its answers.
    stored: Vec<CompletedPart>,
    room: Arc<Semaphore>,
    room_units: u64,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
    sent: Sent,
}

impl Parts {
    pub(super) fn new(session: Arc<Session>, runtime: Handle, sizes: PartSizes, len_hint: Option<u64>) -> Self {
        Self {
            session,
            runtime,
            sizes,
            len_hint,
            filling: None,
            count: 0,
            flying: JoinSet::new(),
            stored: Vec::new(),
            room: Arc::new(Semaphore::new(0)),
            room_units: 0,
            spare: Arc::default(),
            sent: Sent { len: 0, crc: Some(Crc64::of(&[])) },
        }
    }

    /// Takes bytes that fit into the current part, without waiting. Returns how many.
    pub(super) fn take(&mut self, data: &[u8]) -> usize {
        let Some(filling) = &mut self.filling else { return 0 };
        let count = data.len().min(filling.size - filling.buffer.bytes.len());
        let (now, _) = data.split_at(count);
        // The checksum is computed before the copy, so that S3 notices an error of the memory.
        filling.crc.update(now);
        filling.buffer.bytes.extend_from_slice(now);
        count
    }

    /// Makes room for more bytes: sends the part that is full, and waits for memory for the next one.
    pub(super) async fn make_room(&mut self) -> Result<()> {
        if let Some(filling) = self.filling.take() {
            let number = self.next_number()?;
            self.create().await?;
            self.send(filling, number);
        }
        self.look_at_results()?;
        let number = self.next_number()?;
        let size = self.sizes.of(number).ok_or_else(too_many)?;
        let room = self.reserve(size).await?;
        // A part that has failed has already released its memory.
        self.look_at_results()?;
        self.filling = Some(Filling { buffer: self.buffer(size, room)?, size: to_usize(size)?, crc: Crc64::default() });
        Ok(())
    }

    fn next_number(&self) -> Result<u32> {
        let number = self.count + 1;
        if number > MAX_PARTS { Err(too_many()) } else { Ok(number) }
    }

    async fn reserve(&mut self, size: u64) -> Result<OwnedSemaphorePermit> {
        let units = size.div_ceil(UNIT);
        let most = units * u64::from(buffers(size));
        if most > self.room_units {
            self.room.add_permits(to_usize(most - self.room_units)?);
            self.room_units = most;
        }
        let units = u32::try_from(units).map_err(|_| Error::Bug("a part larger than S3 takes"))?;
        let room = Arc::clone(&self.room).acquire_many_owned(units);
        room.await.map_err(|_| Error::Bug("the memory of an upload was closed"))
    }

    fn buffer(&self, size: u64, room: OwnedSemaphorePermit) -> Result<Buffer> {
        // A short stream does not need the memory of a whole part.
        let left = self.len_hint.map(|len| len.saturating_sub(self.sent.len).max(1));
        let wanted = to_usize(left.map_or(size, |left| left.min(size)))?;
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.retain(|bytes| bytes.capacity() >= wanted);
        let mut bytes = spare.pop().unwrap_or_default();
        drop(spare);
        bytes.try_reserve_exact(wanted).map_err(|_| {
            let why = format!("there is no memory for a part of {size} bytes");
            Error::io("uploading", std::io::Error::new(std::io::ErrorKind::OutOfMemory, why))
        })?;
        Ok(Buffer { bytes, spare: Arc::clone(&self.spare), _room: room })
    }

    /// Starts the multipart upload if that was not done.
    async fn create(&mut self) -> Result<()> {
        if self.session.id().is_some() {
            return Ok(());
        }
        super::create::create(&self.session).await
    }

    fn send(&mut self, filling: Filling, number: u32) {
        let Filling { buffer, crc, .. } = filling;
        self.count = number;
        let (crc, len) = (crc.value(), buffer.bytes.len() as u64);
        self.sent = Sent { len: self.sent.len + len, crc: self.sent.crc.map(|all| joined(all, crc, len)) };
        let body = Bytes::from_owner(buffer);
        let session = Arc::clone(&self.session);
        let flight = session.fly();
        let part = async move {
            let _flight = flight;
            session.unless_closed(send_part(&session, number, body, crc)).await
        };
        self.flying.spawn_on(part, &self.runtime);
    }

    /// Fails with the error of a part that has failed.
    fn look_at_results(&mut self) -> Result<()> {
        while let Some(result) = self.flying.try_join_next() {
            self.stored.push(result.unwrap_or_else(|error| Err(panicked(&error)))?);
        }
        Ok(())
    }

    /// The whole contents, if they fit into one part.
    pub(super) fn single(&mut self) -> Option<Single> {
        if self.count > 0 {
            return None;
        }
        let Some(Filling { buffer, crc, .. }) = self.filling.take() else {
            return Some(Single { body: Bytes::new(), crc: Crc64::of(&[]) });
        };
        let crc = crc.value();
        Some(Single { body: Bytes::from_owner(buffer), crc })
    }

    /// Sends the last part, and waits until S3 has all.
    pub(super) async fn finish(&mut self) -> Result<(Vec<CompletedPart>, Sent)> {
        if let Some(filling) = self.filling.take().filter(|filling| !filling.buffer.bytes.is_empty()) {
            let number = self.next_number()?;
            self.send(filling, number);
        }
        while let Some(result) = self.flying.join_next().await {
            self.stored.push(result.unwrap_or_else(|error| Err(panicked(&error)))?);
        }
        if self.stored.len() != self.count as usize {
            return Err(Error::Bug("a part of an upload is missing"));
        }
        let mut stored = std::mem::take(&mut self.stored);
        stored.sort_by_key(|part| part.part_number);
        Ok((stored, self.sent))
    }

    /// Drops all that was not sent.
    pub(super) fn clear(&mut self) {
        self.filling = None;
        self.flying.detach_all();
    }
}

/// Sends a part, and compares the answer with it.
pub(crate) async fn send_part(session: &Session, number: u32, body: Bytes, crc: u64) -> Result<CompletedPart> {
    let number = i32::try_from(number).map_err(|_| Error::Bug("a part number above 10,000"))?;
    let send = |client: aws_sdk_s3::Client| {
        let request = client.upload_part().bucket(session.name.bucket()).key(session.name.key());
        let request = request.set_upload_id(session.id().map(str::to_owned)).part_number(number);
        let request = request.checksum_crc64_nvme(in_base64(crc)).body(ByteStream::from(body.clone()));
        request.customize().config_override(once(body.len() as u64)).interceptor(UnsignedWhereSafe).send()
    };
    let answer = session.send(send).await?.map_err(|error| part_failed(session, "UploadPart", &error))?;
    let etag = answer.e_tag.unwrap_or_default();
    if etag.is_empty() || answer.checksum_crc64_nvme.is_some_and(|theirs| theirs != in_base64(crc)) {
        return Err(session.bad_answer("UploadPart", "does not match the bytes that were sent"));
    }
    let part = CompletedPart::builder().part_number(number).e_tag(etag);
    Ok(part.checksum_crc64_nvme(in_base64(crc)).build())
}

/// The error of a part that S3 does not take.
pub(crate) fn part_failed<E>(session: &Session, operation: &'static str, error: &Failed<E>) -> Error
where
    E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    if code(error) == "NoSuchUpload" {
        let why = "somebody else has aborted the upload; a lifecycle rule of the bucket may do that";
        let error = ProviderError::new(ProviderCause::Rejected, session.name.to_string(), why);
        return Box::new(error.with_hint("try again, and look at the bucket's rule for unfinished uploads")).into();
    }
    session.failure(operation, error)
}

fn too_many() -> Error {
    Error::Limit("the stream is longer than 10,000 parts of the chosen sizes; choose larger parts".into())
}

/// The panic's text is not repeated, because it can contain a request.
pub(crate) fn panicked(_: &tokio::task::JoinError) -> Error {
    Error::Bug("a task of an upload ended without an answer")
}

fn to_usize(size: u64) -> Result<usize> {
    usize::try_from(size).map_err(|_| Error::Limit(format!("a part of {size} bytes does not fit into memory")))
}
