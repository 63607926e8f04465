//! Uploads: a stream becomes an object, completely or not at all.

mod create;
mod options;
mod parts;
pub(crate) mod registry;
pub(crate) mod session;
mod sizes;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use waxseal::error::{Error, Result};

pub use options::{Encryption, Overwrite, UploadOptions};
pub use registry::{NotAborted, OpenUpload};
pub use sizes::{GROWTH, MAX_PART, MAX_PARTS, MIN_PART, Step, USUAL_PART, buffers};

use crate::runtime::wait;
use crate::{S3, S3Name, commit};
pub(crate) use create::create;
use parts::Parts;
pub(crate) use parts::{panicked, part_failed, send_part};
use registry::Uploads;
use session::{Phase, Session, Start};
use sizes::PartSizes;

/// The longest time that a failed or dropped upload waits for its abort.
pub(crate) const ABORT_LIMIT: Duration = Duration::from_secs(15);

/// The object that an upload has made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uploaded {
    /// Its ETag, with the quotation marks.
    pub etag: String,
    /// Its version id, if the bucket has versions.
    pub version_id: Option<String>,
    /// The number of parts of the multipart upload. Zero if there was one PutObject.
    pub parts: u32,
    /// Its length in bytes.
    pub len: u64,
    /// Its CRC64NVME, computed on this machine. `None` if the store did not return the checksum of a part that was
    /// copied.
    pub crc64nvme: Option<u64>,
    /// Whether the store has said that the object has this checksum. S3 says it. If a store returns another checksum,
    /// the upload fails.
    pub confirmed: bool,
    /// What the caller should know.
    pub warnings: Vec<UploadWarning>,
}

/// A problem that did not prevent the new object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UploadWarning {
    /// The store has no conditional writes. There was no such object directly before the object was written. If another
    /// program wrote one at the same moment, that one is lost.
    NoConditionalWrites,
    /// An answer to CreateMultipartUpload was lost. A second unfinished upload without any part may be left. It costs
    /// nothing, and the bucket's lifecycle rule removes it.
    UnfinishedUploadMayBeLeft,
}

impl std::fmt::Display for UploadWarning {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::NoConditionalWrites => {
                "the store has no conditional writes: if another program wrote this object at the same moment, that object is lost"
            }
            Self::UnfinishedUploadMayBeLeft => {
                "an answer of the store was lost: an unfinished upload without any part may be left"
            }
        })
    }
}

/// Writes one object, in order. Nothing is under its name before [`complete`](Self::complete).
///
/// Contents that fit into one part are sent with one PutObject. Everything else is a multipart upload, with up to four
/// parts at the same time. A part stays in memory until S3 has it. If necessary, it is sent again. [`GROWTH`] says how
/// large the parts are, and how much memory they take.
///
/// Every part and the object carry a CRC64NVME, which S3 verifies.
///
/// If it is dropped, it is aborted. Outside a runtime, the drop waits for S3, at most 15 seconds. Inside a runtime, it
/// does not wait; use [`abort_async`](Self::abort_async) there. If the object is being completed at that moment, the
/// result of that counts, and the upload is aborted afterwards if it has failed. [`S3::open_uploads`] lists the uploads
/// that could not be aborted.
#[derive(Debug)]
pub struct Upload {
    session: Arc<Session>,
    parts: Parts,
    runtime: Handle,
    has_failed: bool,
    was_abort_tried: bool,
}

impl S3 {
    /// Starts an upload. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a part size that S3 does not take. [`Error::Limit`] if the stated length does not fit.
    /// [`Error::Io`] after [`abort_all`](Self::abort_all).
    pub fn upload(&self, name: &S3Name, options: UploadOptions) -> Result<Upload> {
        name.check_is_object()?;
        let sizes = PartSizes::choose(options.part_size, options.len_hint)?;
        let len_hint = options.len_hint;
        let start = Start {
            s3: self.clone(),
            name: name.clone(),
            condition: options.overwrite.condition(),
            attempts: options.attempts,
            attributes: options.into_attributes()?,
        };
        let runtime = self.runtime()?;
        let session = Session::start(start)?;
        let parts = Parts::new(Arc::clone(&session), runtime.clone(), sizes, len_hint);
        Ok(Upload { session, parts, runtime, has_failed: false, was_abort_tried: false })
    }

    /// The multipart uploads of this handle that have not ended, or whose abort has failed.
    #[must_use]
    pub fn open_uploads(&self) -> Vec<OpenUpload> {
        self.uploads().open()
    }

    /// The objects whose last request was sent and is not answered, or whose answer was lost. It is not known whether they
    /// were written.
    #[must_use]
    pub fn undecided(&self) -> Vec<S3Name> {
        self.uploads().undecided()
    }

    /// The objects for which an unfinished upload without any part may be left, because an answer to
    /// CreateMultipartUpload was lost, or has not come yet. Nobody knows its id, so it is not in
    /// [`open_uploads`](Self::open_uploads). If the object was written in the end, there is
    /// [`UploadWarning::UnfinishedUploadMayBeLeft`] instead. The handle remembers up to 1,000 objects.
    #[must_use]
    pub fn lost_uploads(&self) -> Vec<S3Name> {
        self.uploads().lost()
    }

    /// Aborts all uploads of this handle, from any thread. Afterwards, no upload of the handle makes an object, and no
    /// new one starts. If an upload is being completed at this moment, this waits for its result.
    ///
    /// Returns the uploads that may still be there after `limit`.
    #[must_use]
    pub fn abort_all(&self, limit: Duration) -> Vec<NotAborted> {
        let uploads = Arc::clone(self.uploads());
        let sessions = uploads.close();
        match self.runtime() {
            Ok(runtime) => wait(runtime.spawn(Uploads::abort(sessions, limit))).unwrap_or_default(),
            // Without a runtime, no upload was started.
            Err(_) => Vec::new(),
        }
    }
}

/// Ends an [`Upload`] from another thread.
#[derive(Debug, Clone)]
pub struct Canceller(Arc<Session>);

impl Canceller {
    /// From now on, the upload takes no bytes and makes no object, unless it is being completed at this moment. A call
    /// that waits for S3 fails soon. Then drop the upload, or abort it: this function only stops it.
    pub fn cancel(&self) {
        self.0.close();
    }
}

impl Upload {
    /// For a thread that must be able to end a waiting call of this upload, for example after a signal.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::clone(&self.session))
    }

    /// The id of the multipart upload, once there is one.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        self.session.id().map(str::to_owned)
    }

    /// The object that is written.
    #[must_use]
    pub fn name(&self) -> &S3Name {
        &self.session.name
    }

    /// Appends `data`. It waits while all memory for parts is in use. If it is dropped before its end, the upload can only
    /// be aborted.
    ///
    /// # Errors
    /// S3's refusal of an earlier part. The upload can then only be aborted.
    pub async fn push_async(&mut self, data: Bytes) -> Result<()> {
        self.append(&data).await
    }

    async fn append(&mut self, data: &[u8]) -> Result<()> {
        if self.has_failed || self.session.phase() != Phase::Open {
            return Err(self.session.was_aborted());
        }
        let mut left = data;
        while !left.is_empty() {
            let taken = self.parts.take(left);
            left = left.get(taken..).unwrap_or_default();
            if !left.is_empty() {
                // Until this returns, the part would be lost if the future were dropped.
                self.has_failed = true;
                self.parts.make_room().await?;
                self.has_failed = false;
            }
        }
        Ok(())
    }

    /// Makes the object from everything that was written. No other function makes the object.
    ///
    /// # Errors
    /// The object is not there, and the upload is aborted. A [`ProviderError`](waxseal::error::ProviderError) of cause
    /// `AlreadyExists` means that an object exists that must not be replaced. If every answer to the last request was
    /// lost, it is not known whether the object is there. The error then says so.
    pub fn complete(self) -> Result<Uploaded> {
        wait(self.complete_async())
    }

    /// Like [`complete`](Self::complete), on the caller's runtime.
    ///
    /// # Errors
    /// See [`complete`](Self::complete).
    pub async fn complete_async(mut self) -> Result<Uploaded> {
        if self.has_failed {
            let error = self.session.was_aborted();
            return Err(self.failed(error).await);
        }
        self.has_failed = true;
        match self.completed().await {
            Ok(uploaded) => {
                self.has_failed = false;
                Ok(uploaded)
            }
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn completed(&mut self) -> Result<Uploaded> {
        if let Some(single) = self.parts.single() {
            return commit::put(&self.session, single.body, single.crc).await;
        }
        let (parts, sent) = self.parts.finish().await?;
        commit::complete(&self.session, parts, sent).await
    }

    /// Aborts the upload because of an error, and returns this error. If the upload cannot be aborted, it stays in
    /// [`S3::open_uploads`].
    async fn failed(&mut self, error: Error) -> Error {
        if !matches!(self.session.phase(), Phase::Unknown | Phase::Done) {
            let _ = self.start_abort().await;
        }
        error
    }

    /// Gives the upload up. Nothing of it is left in S3.
    ///
    /// # Errors
    /// The upload may still be there, with its parts. It stays in [`S3::open_uploads`].
    pub fn abort(self) -> Result<()> {
        wait(self.abort_async())
    }

    /// Like [`abort`](Self::abort), on the caller's runtime.
    ///
    /// # Errors
    /// See [`abort`](Self::abort).
    pub async fn abort_async(mut self) -> Result<()> {
        self.start_abort().await.unwrap_or_else(|error| Err(panicked(&error)))
    }

    fn start_abort(&mut self) -> tokio::task::JoinHandle<Result<()>> {
        self.was_abort_tried = true;
        self.session.close();
        self.parts.clear();
        self.runtime.spawn(Arc::clone(&self.session).abort(ABORT_LIMIT))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let is_over = matches!(self.session.phase(), Phase::Done | Phase::Unknown);
        if is_over || !self.session.is_listed() {
            return;
        }
        self.parts.clear();
        let abort = self.runtime.spawn(Arc::clone(&self.session).abort_after_all());
        // A thread of a runtime must not be blocked. An abort that has failed was waited for already.
        if Handle::try_current().is_err() && !self.was_abort_tried {
            let _ = wait(self.runtime.spawn(async { tokio::time::timeout(ABORT_LIMIT, abort).await }));
        }
    }
}

impl Write for Upload {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.write_all(data)?;
        Ok(data.len())
    }

    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        wait(self.append(data)).map_err(io::Error::from)
    }

    /// Does nothing, because nobody can read anything before the upload is complete.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
