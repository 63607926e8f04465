//! The store.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

use crate::builder::Builder;
use crate::shared::Shared;
use crate::{get, list, multipart, put};

/// A store whose objects are sealed in the wrapped store, and are plaintext here.
///
/// A clone is the same store, with the same cache.
#[derive(Clone)]
pub struct WaxsealStore(pub(crate) Arc<Shared>);

impl WaxsealStore {
    /// Begins to wrap `inner`.
    pub fn builder(inner: Arc<dyn ObjectStore>) -> Builder {
        Builder::new(inner)
    }

    /// The wrapped store, whose objects are sealed.
    #[must_use]
    pub fn inner(&self) -> &Arc<dyn ObjectStore> {
        &self.0.inner
    }

    /// Forgets all headers and payload keys. Reads that have begun still end.
    pub fn clear_cache(&self) {
        self.0.cache.clear();
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for WaxsealStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        put::put(&self.0, location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        multipart::begin(&self.0, location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        get::get(&self.0, location, &options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        get::get_ranges(&self.0, location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let shared = Arc::clone(&self.0);
        let forgotten = locations.inspect(move |location| {
            if let Ok(location) = location {
                shared.cache.forget_path(location);
            }
        });
        self.0.inner.delete_stream(forgotten.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        list::list(&self.0, self.0.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        list::list(&self.0, self.0.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        list::objects(&self.0, self.0.inner.list_with_delimiter(prefix).await?).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copied = self.0.inner.copy_opts(from, to, options).await;
        self.0.cache.forget_path(to);
        copied
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let renamed = self.0.inner.rename_opts(from, to, options).await;
        self.0.cache.forget_path(from);
        self.0.cache.forget_path(to);
        renamed
    }
}

impl fmt::Display for WaxsealStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "WaxsealStore({})", self.0.inner)
    }
}

impl fmt::Debug for WaxsealStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}
