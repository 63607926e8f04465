//! The options of a session, and the stores that they select.

use std::any::Any;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ballista_core::extension::SessionConfigExt;
use ballista_core::utils::default_session_builder;
use datafusion::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::object_store::ObjectStore;
use datafusion::prelude::SessionConfig;
use engines::{LAKE, sealed};
use waxseal::keys::KeyFile;

/// The option that names the key of a session.
pub const KEY_NAME: &str = "sealed.key_name";

/// Options of a session. They travel from the client to the scheduler and to the executors.
#[derive(Debug, Clone, Default)]
pub struct SealedOptions {
    /// Name of a key file in the folder of keys that each process has.
    pub key_name: String,
}

impl ConfigExtension for SealedOptions {
    const PREFIX: &'static str = "sealed";
}

impl ExtensionOptions for SealedOptions {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        if key != "key_name" {
            return Err(DataFusionError::Configuration(format!("there is no option sealed.{key}")));
        }
        value.clone_into(&mut self.key_name);
        Ok(())
    }

    /// The names are complete: Ballista sends them to other processes as they are here.
    fn entries(&self) -> Vec<ConfigEntry> {
        let description = "name of a key file in the folder of keys that each process has";
        vec![ConfigEntry { key: KEY_NAME.to_owned(), value: Some(self.key_name.clone()), description }]
    }
}

/// The store behind, and the keys of this process.
pub struct Keys {
    folder: PathBuf,
    behind: Arc<dyn ObjectStore>,
    temporary: PathBuf,
    /// One store for each key, so that sessions share what it knows about the files.
    stores: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl Keys {
    /// Opens files of `behind` with keys in `folder`. Queries that need more memory write to the folder `temporary`,
    /// without encryption.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, behind: Arc<dyn ObjectStore>, temporary: impl Into<PathBuf>) -> Arc<Self> {
        Arc::new(Self { folder: folder.into(), behind, temporary: temporary.into(), stores: Mutex::default() })
    }

    /// The configuration of a session before it names its key: `override_config_producer`.
    #[must_use]
    pub fn config() -> SessionConfig {
        SessionConfig::new_with_ballista().with_option_extension(SealedOptions::default())
    }

    /// The runtime of a session, with the store: `override_runtime_producer`.
    ///
    /// # Errors
    /// If the session names no key of this process.
    pub fn runtime(&self, config: &SessionConfig) -> Result<Arc<RuntimeEnv>> {
        let runtime = RuntimeEnvBuilder::new().with_temp_file_path(&self.temporary).build_arc()?;
        runtime.register_object_store(ObjectStoreUrl::parse(LAKE)?.as_ref(), self.store(config)?);
        Ok(runtime)
    }

    /// A session with that runtime: `override_session_builder`.
    ///
    /// # Errors
    /// If the session names no key of this process.
    pub fn session(&self, config: SessionConfig) -> Result<SessionState> {
        let runtime = self.runtime(&config)?;
        let session = default_session_builder(config)?;
        let id = session.session_id().to_owned();
        Ok(SessionStateBuilder::new_from_existing(session).with_session_id(id).with_runtime_env(runtime).build())
    }

    fn store(&self, config: &SessionConfig) -> Result<Arc<dyn ObjectStore>> {
        let options = config.options().extensions.get::<SealedOptions>();
        let name = options.map(|options| options.key_name.as_str()).unwrap_or_default();
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(name) {
            return Ok(store.clone());
        }
        let store = sealed(self.behind.clone(), &Arc::new(self.key(name)?));
        stores.insert(name.to_owned(), store.clone());
        Ok(store)
    }

    /// A client chooses the name, so it must not lead out of the folder.
    fn key(&self, name: &str) -> Result<KeyFile> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Err(DataFusionError::Configuration(format!("{KEY_NAME} must be the name of a key file")));
        }
        KeyFile::load(self.folder.join(name)).map_err(|error| DataFusionError::External(Box::new(error)))
    }
}
