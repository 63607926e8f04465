//! Objects that are written in parts.
//!
//! ```text
//! the caller's parts   | 0      | 1      | 2   |     sealed one after the other, whichever is polled first
//! sealed bytes         |header|.................|end
//! parts of the store   | 0       | 1       | 2   |   all of one length, but the last
//! ```

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::try_join_all;
use object_store::path::Path;
use object_store::{MultipartUpload, PutMultipartOptions, PutPayload, PutResult, Result, UploadPart};
use tokio::sync::Mutex;
use waxseal::Error;
use waxseal::container::Sealing;
use waxseal::format::{CHUNK_LEN, FRONT_LEN, TAG_LEN};

use crate::shared::Shared;
use crate::trouble;
use crate::work;

/// Parts are a multiple of this, in bytes.
const STEP: usize = 1 << 20;

pub(crate) async fn begin(
    shared: &Arc<Shared>,
    path: &Path,
    options: PutMultipartOptions,
) -> Result<Box<dyn MultipartUpload>> {
    // The keys come first: without them, no upload is left open.
    let envelope = shared.keys_of(path)?.envelope().await.map_err(|error| trouble::of(path, error))?;
    let inner = shared.inner.put_multipart_opts(path, options).await?;
    let work = Work {
        inner,
        sealing: Some((Sealing::new(envelope), Vec::new())),
        begun: HashMap::new(),
        count: 0,
        ended: Arc::new(AtomicUsize::new(0)),
    };
    let upload = Upload {
        shared: Arc::clone(shared),
        path: path.clone(),
        waiting: Lock::new(Waiting { parts: VecDeque::new(), part_len: 0 }),
        work: Mutex::new(work),
    };
    Ok(Box::new(SealedUpload { upload: Arc::new(upload), next: 0 }))
}

/// An upload whose parts are sealed in the order in which they were given, whichever of them is polled first. The object
/// is visible only after `complete`. If a part has failed, or was dropped while it was sealed or sent, `complete` fails.
/// `complete` itself sends a part that was dropped before it was ever polled.
struct SealedUpload {
    upload: Arc<Upload>,
    /// The number of the caller's next part.
    next: u64,
}

struct Upload {
    shared: Arc<Shared>,
    path: Path,
    waiting: Lock<Waiting>,
    work: Mutex<Work>,
}

/// The caller's parts that are not sealed yet, with their numbers.
struct Waiting {
    parts: VecDeque<(u64, PutPayload)>,
    /// The length of the store's parts. Zero before the first part of the caller.
    part_len: usize,
}

struct Work {
    inner: Box<dyn MultipartUpload>,
    /// What is sealed and is no whole part yet. `None` after the end, and after a failure.
    sealing: Option<(Sealing, Vec<u8>)>,
    /// Uploads of the store's parts, by the part of the caller that filled them.
    begun: HashMap<u64, Vec<UploadPart>>,
    /// How many of the store's parts there are, and how many were uploaded to their end.
    count: usize,
    ended: Arc<AtomicUsize>,
}

impl Upload {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: Error) -> object_store::Error {
        trouble::of(&self.path, error)
    }

    /// Seals everything up to part `number` of the caller, and uploads what this part has filled.
    async fn run(&self, number: u64) -> Result<()> {
        let uploads = {
            let mut work = self.work.lock().await;
            self.seal(&mut work, Some(number)).await?;
            work.begun.remove(&number).unwrap_or_default()
        };
        try_join_all(uploads).await?;
        Ok(())
    }

    /// Seals the parts that wait, up to part `last`.
    async fn seal(&self, work: &mut Work, last: Option<u64>) -> Result<()> {
        loop {
            let (number, part, part_len) = {
                let mut waiting = self.waiting();
                let is_wanted = |(number, _): &(u64, PutPayload)| last.is_none_or(|last| *number <= last);
                let part_len = waiting.part_len;
                match waiting.parts.pop_front_if(|part| is_wanted(part)) {
                    Some((number, part)) => (number, part, part_len),
                    None => return Ok(()),
                }
            };
            // If this future is dropped here, the sealing is lost, and the upload cannot be completed.
            let (mut sealing, mut out) = work.sealing.take().ok_or_else(|| self.failed(FAILED))?;
            let sealed = work::on(part.content_length(), move || {
                part.iter().try_for_each(|bytes| sealing.push(bytes, &mut out))?;
                Ok((sealing, out))
            });
            let (sealing, mut out) = sealed.await.map_err(|error| self.failed(error))?;
            if out.len() >= part_len {
                // Parts share the memory of `out`. Only the rest is copied.
                let mut parts = Bytes::from(out);
                while parts.len() >= part_len {
                    work.upload(number, parts.split_to(part_len));
                }
                out = parts.to_vec();
            }
            work.sealing = Some((sealing, out));
        }
    }

    /// Seals the end, uploads the rest, and makes the object.
    async fn complete(&self) -> Result<PutResult> {
        let mut work = self.work.lock().await;
        self.seal(&mut work, None).await?;
        let (sealing, mut out) = work.sealing.take().ok_or_else(|| self.failed(FAILED))?;
        sealing.finish(&mut out).map_err(|error| self.failed(error))?;
        let part_len = self.waiting().part_len.max(self.shared.part_len);
        let mut parts = Bytes::from(out);
        while parts.len() > part_len {
            work.upload(u64::MAX, parts.split_to(part_len));
        }
        work.upload(u64::MAX, parts);
        try_join_all(std::mem::take(&mut work.begun).into_values().flatten()).await?;
        if work.ended.load(Ordering::Acquire) != work.count {
            return Err(self.failed(FAILED));
        }
        let completed = work.inner.complete().await;
        self.shared.cache.forget_path(&self.path);
        completed
    }

    async fn abort(&self) -> Result<()> {
        let mut work = self.work.lock().await;
        work.sealing = None;
        work.begun.clear();
        self.waiting().parts.clear();
        work.inner.abort().await
    }
}

impl Work {
    /// Begins the upload of the store's next part, which part `number` of the caller has filled.
    fn upload(&mut self, number: u64, part: Bytes) {
        let upload = self.inner.put_part(part.into());
        let ended = Arc::clone(&self.ended);
        self.count += 1;
        let counted = upload.inspect(move |uploaded| {
            if uploaded.is_ok() {
                ended.fetch_add(1, Ordering::Release);
            }
        });
        self.begun.entry(number).or_default().push(counted.boxed());
    }
}

#[async_trait]
impl MultipartUpload for SealedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (upload, number) = (Arc::clone(&self.upload), self.next);
        self.next += 1;
        {
            let mut waiting = upload.waiting();
            if waiting.part_len == 0 {
                waiting.part_len = part_len(upload.shared.part_len, data.content_length());
            }
            waiting.parts.push_back((number, data));
        }
        async move { upload.run(number).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

impl fmt::Debug for SealedUpload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { upload, next } = self;
        out.debug_struct("SealedUpload").field("path", &upload.path).field("parts", next).finish_non_exhaustive()
    }
}

/// The length of the store's parts, if the caller's first one has `first` bytes. Sealed bytes are more than the plaintext.
/// The store must not get more parts than the caller has given, because stores limit their number.
fn part_len(least: usize, first: usize) -> usize {
    let sealed = first + (first / CHUNK_LEN + 2) * TAG_LEN + FRONT_LEN;
    least.max(sealed.next_multiple_of(STEP))
}

const FAILED: Error = Error::ApiMisuse("the upload was completed or aborted, or one of its parts has failed");

#[cfg(test)]
mod tests {
    use super::*;

    /// The store's parts are no more than the caller's, for any number of them.
    #[test]
    fn parts_do_not_become_more() {
        for first in [1, 5 << 20, (5 << 20) + 1, 8 << 20, 10 << 20, 100 << 20] {
            let part = part_len(8 << 20, first);
            assert!(part >= 8 << 20 && part.is_multiple_of(STEP));
            for count in [1, 2, 3, 100, 9_999, 10_000] {
                let plain = first * count;
                let sealed = FRONT_LEN + plain + (plain / CHUNK_LEN + 1) * TAG_LEN;
                assert!(sealed.div_ceil(part) <= count, "{count} parts of {first} bytes");
            }
        }
    }
}
