//! A store in memory that notes what it is asked for, and that can be made to misbehave.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::fmt;
use std::future::ready;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
    collect_bytes,
};
use waxseal::keys::KeyFile;
use waxseal_object_store::{Keys, WaxsealStore};

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The bytes that were returned.
    Get(Range<u64>),
    Head,
    Put(usize),
    Begin,
    Part(usize),
    Complete,
    Abort,
    List,
    Copy,
    Rename,
    Delete,
}

type Hook = Box<dyn FnMut(usize) + Send>;

/// The store.
#[derive(Clone, Default)]
pub(crate) struct Watched {
    /// What is stored. Changes here are not noted.
    pub(crate) inner: InMemory,
    pub(crate) state: Arc<Mutex<State>>,
    /// It has no ETags, as some servers.
    pub(crate) without_e_tags: bool,
    /// It ignores conditions, as some servers.
    pub(crate) without_conditions: bool,
    /// Its answers do not come at once.
    pub(crate) slow: bool,
}

#[derive(Default)]
pub(crate) struct State {
    asked: Vec<Asked>,
    /// Called before each GET, with their number.
    before_get: Option<Hook>,
    gets: usize,
    /// The number of the part that fails.
    failing_part: Option<usize>,
    parts: usize,
    cut: bool,
}

impl Watched {
    /// What it was asked for since the last call.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// The numbers of bytes of the GETs since the last call.
    pub(crate) fn got(&self) -> Vec<u64> {
        let len = |asked| match asked {
            Asked::Get(range) => Some(range.end - range.start),
            _ => None,
        };
        self.asked().into_iter().filter_map(len).collect()
    }

    /// Calls `hook` before each GET from now on, with its number.
    pub(crate) fn before_get(&self, hook: impl FnMut(usize) + Send + 'static) {
        let mut state = self.state.lock().unwrap();
        state.before_get = Some(Box::new(hook));
        state.gets = 0;
    }

    /// Part `number` from now on fails.
    pub(crate) fn fail_part(&self, number: usize) {
        let mut state = self.state.lock().unwrap();
        (state.failing_part, state.parts) = (Some(number), 0);
    }

    /// Whether the last byte of each answer is missing from now on.
    pub(crate) fn cut_answers(&self, cut: bool) {
        self.state.lock().unwrap().cut = cut;
    }

    fn note(&self, asked: Asked) {
        self.state.lock().unwrap().asked.push(asked);
    }

    /// The sealed bytes of an object.
    pub(crate) fn raw(&self, path: &Path) -> Vec<u8> {
        let get = async { self.inner.get(path).await.unwrap().bytes().await.unwrap() };
        get.now_or_never().unwrap().to_vec()
    }

    /// Stores bytes as they are.
    pub(crate) fn put_raw(&self, path: &Path, bytes: Vec<u8>) {
        self.inner.put(path, bytes.into()).now_or_never().unwrap().unwrap();
    }

    pub(crate) fn delete_raw(&self, path: &Path) {
        self.inner.delete(path).now_or_never().unwrap().unwrap();
    }

    /// A sealing store over this one.
    pub(crate) fn sealed(&self, key: &Arc<KeyFile>) -> WaxsealStore {
        WaxsealStore::builder(Arc::new(self.clone())).with_keys(keys(key)).build()
    }
}

/// A key that seals and opens.
pub(crate) fn keys(key: &Arc<KeyFile>) -> Keys {
    Keys::new().with_key(Arc::clone(key))
}

/// Bytes in which no two chunks are alike.
pub(crate) fn text(len: usize) -> Vec<u8> {
    (0u8..251).cycle().take(len).collect()
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Watched {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.note(Asked::Put(payload.content_length()));
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.note(Asked::Begin);
        let upload = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(WatchedUpload { store: self.clone(), upload }))
    }

    async fn get_opts(&self, location: &Path, mut options: GetOptions) -> Result<GetResult> {
        let hook = {
            let mut state = self.state.lock().unwrap();
            state.gets += 1;
            state.before_get.take().map(|hook| (hook, state.gets))
        };
        if let Some((mut hook, number)) = hook {
            hook(number);
            self.state.lock().unwrap().before_get.get_or_insert(hook);
        }
        if self.slow {
            tokio::task::yield_now().await;
        }
        let head = options.head;
        if self.without_conditions {
            options = GetOptions { range: options.range, head, ..GetOptions::new() };
        }
        let mut answer = self.inner.get_opts(location, options).await?;
        self.note(if head { Asked::Head } else { Asked::Get(answer.range.clone()) });
        if self.without_e_tags {
            answer.meta.e_tag = None;
        }
        if self.state.lock().unwrap().cut && !head {
            let payload = std::mem::replace(&mut answer.payload, GetResultPayload::Stream(stream::empty().boxed()));
            let GetResultPayload::Stream(payload) = payload else { unreachable!("it is in memory") };
            let bytes = collect_bytes(payload, None).await?;
            let cut = stream::once(ready(Ok(bytes.slice(..bytes.len() - 1))));
            answer.payload = GetResultPayload::Stream(cut.boxed());
        }
        Ok(answer)
    }

    async fn get_ranges(&self, _: &Path, _: &[Range<u64>]) -> Result<Vec<Bytes>> {
        unreachable!("it has no conditions")
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.note(Asked::Delete);
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.note(Asked::List);
        let without_e_tags = self.without_e_tags;
        let hide = move |meta: Result<ObjectMeta>| {
            meta.map(|meta| if without_e_tags { ObjectMeta { e_tag: None, ..meta } } else { meta })
        };
        self.inner.list(prefix).map(hide).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.note(Asked::List);
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.note(Asked::List);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.note(Asked::Copy);
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.note(Asked::Rename);
        self.inner.rename_opts(from, to, options).await
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Watched")
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Watched with the password hunter2")
    }
}

#[derive(Debug)]
struct WatchedUpload {
    store: Watched,
    upload: Box<dyn MultipartUpload>,
}

#[async_trait]
impl MultipartUpload for WatchedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.store.note(Asked::Part(data.content_length()));
        let fails = {
            let mut state = self.store.state.lock().unwrap();
            state.parts += 1;
            state.failing_part == Some(state.parts)
        };
        let upload = self.upload.put_part(data);
        async move {
            tokio::task::yield_now().await;
            if fails {
                return Err(object_store::Error::NotSupported { source: "no more parts".into() });
            }
            upload.await
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.store.note(Asked::Complete);
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.store.note(Asked::Abort);
        self.upload.abort().await
    }
}
