//! A scan reads each file in one version: that of the list from which it was planned.
//!
//! DataFusion reads a file in several requests: its end, and later the pages. It does not tell the store that all of them
//! are about the same file. If somebody replaces the file in between, old metadata meets new pages. The result can be
//! wrong rows, with every kind of store. With [`PinReads`], each request demands the version that was listed.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetFileReaderFactory, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::object_store::path::Path;
use datafusion::object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload,
    OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result as StoreResult, coalesce_ranges,
};
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::stream::BoxStream;

/// Makes all scans of Parquet files in one store read the files that were listed.
pub struct PinReads {
    url: ObjectStoreUrl,
    factory: Arc<PinnedReaders>,
}

impl PinReads {
    /// For the store that `runtime` has at `url`.
    ///
    /// # Errors
    /// If there is none.
    pub fn new(url: ObjectStoreUrl, runtime: &RuntimeEnv) -> Result<Self> {
        let store = runtime.object_store(&url)?;
        let metadata = runtime.cache_manager.get_file_metadata_cache();
        Ok(Self { url, factory: Arc::new(PinnedReaders { store, metadata }) })
    }

    /// `plan` with such scans.
    ///
    /// # Errors
    /// None that is expected.
    pub fn pin(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|node| {
            let scan = node.downcast_ref::<DataSourceExec>();
            let Some((config, source)) = scan.and_then(|scan| scan.downcast_to_file_source::<ParquetSource>()) else {
                return Ok(Transformed::no(node));
            };
            if config.object_store_url != self.url {
                return Ok(Transformed::no(node));
            }
            let source = source.clone().with_parquet_file_reader_factory(self.factory.clone());
            let config = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source)).build();
            Ok(Transformed::yes(DataSourceExec::from_data_source(config)))
        })
        .data()
    }
}

impl fmt::Debug for PinReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinReads({:?})", self.url)
    }
}

impl PhysicalOptimizerRule for PinReads {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        self.pin(plan)
    }

    fn name(&self) -> &str {
        "pin_reads"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

struct PinnedReaders {
    store: Arc<dyn ObjectStore>,
    metadata: Arc<FileMetadataCache>,
}

impl fmt::Debug for PinnedReaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinnedReaders({:?})", self.store)
    }
}

impl ParquetFileReaderFactory for PinnedReaders {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let store = Arc::new(OneVersion {
            store: self.store.clone(),
            listed: file.object_meta.clone(),
            e_tag: OnceLock::new(),
        });
        CachedParquetFileReaderFactory::new(store, self.metadata.clone()).create_reader(
            partition_index,
            file,
            metadata_size_hint,
            metrics,
        )
    }
}

/// A store in which one object is read, in the version that was listed.
#[derive(Debug)]
struct OneVersion {
    store: Arc<dyn ObjectStore>,
    listed: ObjectMeta,
    /// The version of the first answer. A plan that comes from another process has no ETag.
    e_tag: OnceLock<String>,
}

impl OneVersion {
    fn is_listed(&self, meta: &ObjectMeta) -> bool {
        let e_tag = meta.e_tag.as_ref();
        // Lists and answers about an object can have times of a different precision.
        meta.size == self.listed.size
            && meta.last_modified.timestamp() == self.listed.last_modified.timestamp()
            && e_tag.is_none_or(|e_tag| self.e_tag.get_or_init(|| e_tag.clone()) == e_tag)
    }

    fn replaced(&self) -> StoreError {
        let text = format!("{} was replaced after it was listed", self.listed.location);
        StoreError::Generic { store: "pinned", source: text.into() }
    }
}

impl fmt::Display for OneVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.listed.location, self.store)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for OneVersion {
    async fn get_opts(&self, location: &Path, mut options: GetOptions) -> StoreResult<GetResult> {
        if options.if_match.is_none() {
            // A weak ETag matches nothing. Its answers are compared all the same.
            let e_tag = self.listed.e_tag.as_ref().or_else(|| self.e_tag.get());
            options.if_match = e_tag.filter(|e_tag| !e_tag.starts_with("W/")).cloned();
        }
        match self.store.get_opts(location, options).await {
            Ok(result) if self.is_listed(&result.meta) => Ok(result),
            Ok(_) | Err(StoreError::Precondition { .. }) => Err(self.replaced()),
            Err(error) => Err(error),
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        coalesce_ranges(ranges, |range| self.get_range(location, range), OBJECT_STORE_COALESCE_DEFAULT).await
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        self.store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.store.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.store.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.store.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> StoreResult<()> {
        self.store.rename_opts(from, to, options).await
    }
}
