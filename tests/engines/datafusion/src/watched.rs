//! A store that writes down what is asked of the store behind it.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::object_store::path::Path;
use datafusion::object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
    coalesce_ranges,
};
use futures::stream::{BoxStream, StreamExt};

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of an object.
    Get,
    /// Only the description of an object.
    Head,
    /// A list of objects.
    List,
    /// An object in one piece.
    Put,
    /// An object in parts.
    Multipart,
    /// A copy, a new name or the end of an object.
    Other,
}

/// A request that the store behind answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What was asked for.
    pub kind: Kind,
    /// The object, or the prefix of a list.
    pub path: Path,
    /// The bytes that were asked for. Empty if it is no [`Kind::Get`].
    pub range: Range<u64>,
}

impl Request {
    /// How many bytes were asked for.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

type Hook = Box<dyn Fn(usize, &Path) + Send + Sync>;

/// Passes everything on to the store behind it, and writes it down. Like a store in the network, it joins ranges that
/// are close together.
pub struct Watched {
    inner: Arc<dyn ObjectStore>,
    requests: Mutex<Vec<Request>>,
    before_get: Option<Hook>,
}

impl Watched {
    /// Watches `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, requests: Mutex::default(), before_get: None }
    }

    /// Calls `hook` before each request for an object, with the number of earlier requests.
    #[must_use]
    pub fn with_hook(self, hook: impl Fn(usize, &Path) + Send + Sync + 'static) -> Self {
        Self { before_get: Some(Box::new(hook)), ..self }
    }

    /// The requests since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, kind: Kind, path: Option<&Path>, range: Range<u64>) {
        self.lock().push(Request { kind, path: path.cloned().unwrap_or_default(), range });
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watched({:?})", self.inner)
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watched {}", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Watched {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.note(Kind::Put, Some(location), 0..0);
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.note(Kind::Multipart, Some(location), 0..0);
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if let Some(hook) = &self.before_get {
            let earlier = self.lock().len();
            hook(earlier, location);
        }
        let head = options.head;
        let result = self.inner.get_opts(location, options).await;
        match &result {
            Ok(result) if !head => self.note(Kind::Get, Some(location), result.range.clone()),
            _ => self.note(Kind::Head, Some(location), 0..0),
        }
        result
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        coalesce_ranges(ranges, |range| self.get_range(location, range), OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.note(Kind::Other, None, 0..0);
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.note(Kind::List, prefix, 0..0);
        self.inner.list(prefix).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.note(Kind::List, prefix, 0..0);
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.note(Kind::List, prefix, 0..0);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.note(Kind::Other, Some(from), 0..0);
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.note(Kind::Other, Some(from), 0..0);
        self.inner.rename_opts(from, to, options).await
    }
}
