//! A store in memory with sealed files, and a session of DataFusion that reads them.

use std::sync::Arc;

use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::object_store::memory::InMemory;
use datafusion::object_store::path::Path;
use datafusion::object_store::{ObjectStore, ObjectStoreExt, Result};
use datafusion::prelude::{SessionConfig, SessionContext};
use waxseal::keys::KeyFile;
use waxseal_object_store::{Keys, KeysFor, WaxsealStore};

use crate::pinned::PinReads;
use crate::watched::Watched;

/// The name under which the store is registered.
pub const LAKE: &str = "sealed://lake";

/// A store in memory, what is asked of it, and the store that a session sees.
pub struct Lake {
    /// What is really stored.
    pub memory: Arc<InMemory>,
    /// What is asked of `memory`.
    pub watched: Arc<Watched>,
    /// What a session sees.
    pub store: Arc<dyn ObjectStore>,
}

impl Lake {
    /// A session sees plain files.
    #[must_use]
    pub fn plain() -> Self {
        let memory = Arc::new(InMemory::new());
        let watched = Arc::new(Watched::new(memory.clone()));
        Self { memory, store: watched.clone(), watched }
    }

    /// Files are sealed with `key`, and opened with it.
    #[must_use]
    pub fn sealed(key: &Arc<KeyFile>) -> Self {
        Self::watched(key, Arc::new(InMemory::new()), |watched| watched)
    }

    /// Each file has the keys that `keys` gives it.
    #[must_use]
    pub fn with_keys(keys: impl KeysFor) -> Self {
        let memory = Arc::new(InMemory::new());
        let watched = Arc::new(Watched::new(memory.clone()));
        let store = Arc::new(WaxsealStore::builder(watched.clone()).with_keys(keys).build());
        Self { memory, watched, store }
    }

    /// Files of `memory` are opened with `key`. `watch` can give the watched store a hook.
    #[must_use]
    pub fn watched(key: &Arc<KeyFile>, memory: Arc<InMemory>, watch: impl FnOnce(Watched) -> Watched) -> Self {
        let watched = Arc::new(watch(Watched::new(memory.clone())));
        let store = sealed(watched.clone(), key);
        Self { memory, watched, store }
    }

    /// A new session that finds the store at [`LAKE`]. It does one task after the other, and so makes the same requests
    /// in each run.
    ///
    /// # Errors
    /// None that is expected.
    pub fn session(&self) -> DataFusionResult<SessionContext> {
        session(self.store.clone(), 1)
    }

    /// A new session with the table `t`: all Parquet files in the folder `t`.
    ///
    /// # Errors
    /// Those of DataFusion and of the store.
    pub async fn table(&self) -> DataFusionResult<SessionContext> {
        let session = self.session()?;
        let create = format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{LAKE}/t/'");
        session.sql(&create).await?.collect().await?;
        Ok(session)
    }

    /// Puts a file into the store that a session sees.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        self.store.put(&Path::from(path), bytes.into()).await.map(drop)
    }
}

/// Seals the files of `inner` with `key`, and opens them with it.
#[must_use]
pub fn sealed(inner: Arc<dyn ObjectStore>, key: &Arc<KeyFile>) -> Arc<dyn ObjectStore> {
    Arc::new(WaxsealStore::builder(inner).with_keys(Keys::new().with_key(Arc::clone(key))).build())
}

/// A new session with `threads` tasks at once. It finds `store` at [`LAKE`], and reads each file in one version.
///
/// # Errors
/// None that is expected.
pub fn session(store: Arc<dyn ObjectStore>, threads: usize) -> DataFusionResult<SessionContext> {
    let url = ObjectStoreUrl::parse(LAKE)?;
    let runtime = RuntimeEnvBuilder::new().build_arc()?;
    runtime.register_object_store(url.as_ref(), store);
    let pin = PinReads::new(url, &runtime)?;
    let config = SessionConfig::new()
        .with_target_partitions(threads)
        .set_bool("datafusion.execution.parquet.schema_force_view_types", false);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_physical_optimizer_rule(Arc::new(pin))
        .build();
    Ok(SessionContext::new_with_state(state))
}
