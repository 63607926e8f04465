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
use crate::together::{Together, Weak};
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
    let state = State {
        waiting: VecDeque::new(),
        part_len: 0,
        sealer: Sealer::Idle(Box::new(Sealing::new(envelope)), Vec::new()),
        begun: HashMap::new(),
        count: 0,
        ended: Arc::new(AtomicUsize::new(0)),
    };
    let upload =
        Upload { shared: Arc::clone(shared), path: path.clone(), inner: Mutex::new(inner), state: Lock::new(state) };
    Ok(Box::new(SealedUpload { upload: Arc::new(upload), next: 0 }))
}

/// An upload whose parts are sealed in the order in which they were given, whichever of them is polled first. The object
/// is visible only after `complete`. If a part has failed, `complete` fails. It also fails if a part was dropped while it
/// was sent, or while it was sealed and nobody else waited for that. `complete` itself sends a part that was dropped
/// before it was ever polled.
///
/// Nobody waits for the future of another part, which its owner may not poll: whoever waits seals.
struct SealedUpload {
    upload: Arc<Upload>,
    /// The number of the caller's next part.
    next: u64,
}

struct Upload {
    shared: Arc<Shared>,
    path: Path,
    /// Locked while the upload is completed or aborted. No part is begun then.
    inner: Mutex<Box<dyn MultipartUpload>>,
    state: Lock<State>,
}

struct State {
    /// The caller's parts that are not sealed yet, with their numbers.
    waiting: VecDeque<(u64, PutPayload)>,
    /// The length of the store's parts. Zero before the first part of the caller.
    part_len: usize,
    sealer: Sealer,
    /// Uploads of the store's parts, by the part of the caller that filled them.
    begun: HashMap<u64, Vec<UploadPart>>,
    /// How many of the store's parts there are, and how many were uploaded to their end.
    count: usize,
    ended: Arc<AtomicUsize>,
}

enum Sealer {
    /// With what is sealed and is no whole part yet.
    Idle(Box<Sealing>, Vec<u8>),
    /// The part with this number is being sealed. It is lost when nobody waits for that any more.
    Busy(u64, Weak<()>),
    /// One caller gets the error. The upload can only be aborted.
    Failed(Option<Error>),
    /// The upload was completed or aborted.
    Over,
}

impl State {
    fn is_wanted(number: u64, last: Option<u64>) -> bool {
        last.is_none_or(|last| number <= last)
    }
}

impl Upload {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: Error) -> object_store::Error {
        trouble::of(&self.path, error)
    }

    /// Seals everything up to part `number` of the caller, and uploads what this part has filled.
    async fn run(self: &Arc<Self>, number: u64) -> Result<()> {
        self.seal(Some(number)).await?;
        let uploads = self.state().begun.remove(&number).unwrap_or_default();
        try_join_all(uploads).await?;
        Ok(())
    }

    /// Seals the parts that wait, up to part `last`.
    async fn seal(self: &Arc<Self>, last: Option<u64>) -> Result<()> {
        while let Some(work) = self.next(last)? {
            work.ended().await;
        }
        Ok(())
    }

    /// What is to be done before all parts up to `last` are sealed.
    fn next(self: &Arc<Self>, last: Option<u64>) -> Result<Option<Together<()>>> {
        let mut state = self.state();
        match &mut state.sealer {
            Sealer::Idle(..) => {}
            Sealer::Busy(number, _) if !State::is_wanted(*number, last) => return Ok(None),
            Sealer::Busy(_, work) => match work.upgrade() {
                Some(work) => return Ok(Some(work)),
                None => state.sealer = Sealer::Failed(None),
            },
            Sealer::Failed(_) | Sealer::Over => {}
        }
        if let Sealer::Failed(error) = &mut state.sealer {
            return Err(self.failed(error.take().unwrap_or(FAILED)));
        }
        let Some((number, part)) = state.waiting.pop_front_if(|(number, _)| State::is_wanted(*number, last)) else {
            return Ok(None);
        };
        let Sealer::Idle(mut sealing, mut out) = std::mem::replace(&mut state.sealer, Sealer::Over) else {
            return Err(self.failed(FAILED));
        };
        let upload = Arc::clone(self);
        let work = Together::new(async move {
            let sealed = work::on(part.content_length(), move || {
                part.iter().try_for_each(|bytes| sealing.push(bytes, &mut out))?;
                Ok((sealing, out))
            });
            upload.sealed(number, sealed.await);
        });
        state.sealer = work.downgrade().map_or(Sealer::Failed(None), |weak| Sealer::Busy(number, weak));
        Ok(Some(work))
    }

    /// Part `number` of the caller was sealed. Begins the uploads of the parts that it has filled.
    fn sealed(&self, number: u64, sealed: waxseal::Result<(Box<Sealing>, Vec<u8>)>) {
        let mut state = self.state();
        // Perhaps the upload was aborted meanwhile.
        if !matches!(&state.sealer, Sealer::Busy(busy, _) if *busy == number) {
            return;
        }
        let part_len = state.part_len;
        let cut = sealed.and_then(|(sealing, out)| {
            if out.len() < part_len {
                return Ok((sealing, out));
            }
            // Parts share the memory of `out`. Only the rest is copied.
            let mut parts = Bytes::from(out);
            while parts.len() >= part_len {
                self.begin_part(&mut state, number, parts.split_to(part_len))?;
            }
            Ok((sealing, parts.to_vec()))
        });
        state.sealer = match cut {
            Ok((sealing, out)) => Sealer::Idle(sealing, out),
            Err(error) => Sealer::Failed(Some(error)),
        };
    }

    /// Begins the upload of the store's next part, which part `number` of the caller has filled.
    fn begin_part(&self, state: &mut State, number: u64, part: Bytes) -> waxseal::Result<()> {
        let upload = self.inner.try_lock().map_err(|_| FAILED)?.put_part(part.into());
        let ended = Arc::clone(&state.ended);
        state.count += 1;
        let counted = upload.inspect(move |uploaded| {
            if uploaded.is_ok() {
                ended.fetch_add(1, Ordering::Release);
            }
        });
        state.begun.entry(number).or_default().push(counted.boxed());
        Ok(())
    }

    /// Seals the end, and begins the uploads of the rest. Returns the uploads that nobody has waited for.
    fn finish(&self) -> Result<Vec<UploadPart>> {
        let mut state = self.state();
        let Sealer::Idle(sealing, mut out) = std::mem::replace(&mut state.sealer, Sealer::Over) else {
            return Err(self.failed(FAILED));
        };
        sealing.finish(&mut out).map_err(|error| self.failed(error))?;
        let part_len = state.part_len.max(self.shared.part_len);
        let mut parts = Bytes::from(out);
        while parts.len() > part_len {
            let part = parts.split_to(part_len);
            self.begin_part(&mut state, u64::MAX, part).map_err(|error| self.failed(error))?;
        }
        self.begin_part(&mut state, u64::MAX, parts).map_err(|error| self.failed(error))?;
        Ok(std::mem::take(&mut state.begun).into_values().flatten().collect())
    }

    /// Seals the end, uploads the rest, and makes the object.
    async fn complete(self: &Arc<Self>) -> Result<PutResult> {
        self.seal(None).await?;
        let uploads = self.finish()?;
        let mut inner = self.inner.lock().await;
        try_join_all(uploads).await?;
        let is_whole = {
            let state = self.state();
            state.ended.load(Ordering::Acquire) == state.count
        };
        if !is_whole {
            return Err(self.failed(FAILED));
        }
        let completed = inner.complete().await;
        self.shared.cache.forget_path(&self.path);
        completed
    }

    async fn abort(&self) -> Result<()> {
        let (sealer, waiting, begun) = {
            let mut state = self.state();
            let sealer = std::mem::replace(&mut state.sealer, Sealer::Over);
            (sealer, std::mem::take(&mut state.waiting), std::mem::take(&mut state.begun))
        };
        // The uploads stop before the store is told.
        drop((sealer, waiting, begun));
        self.inner.lock().await.abort().await
    }
}

#[async_trait]
impl MultipartUpload for SealedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (upload, number) = (Arc::clone(&self.upload), self.next);
        self.next += 1;
        {
            let mut state = upload.state();
            if state.part_len == 0 {
                state.part_len = part_len(upload.shared.part_len, data.content_length());
            }
            state.waiting.push_back((number, data));
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
