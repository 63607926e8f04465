//! Which keys seal and open the objects of a store.

use std::fmt;
use std::sync::Arc;

use object_store::path::Path;
use waxseal::format::{Binding, Pairs, Slot};
use waxseal::keys::{AsyncKeyOpener, AsyncKeySealer, BoxFuture, KeyOpener, KeySealer};
use waxseal::secret::DataKey;
use waxseal::{Demands, Envelope, Result, SealOptions};

use crate::work::off_the_reactor;

/// The label of [`Keys::bound_to`].
const PATH_LABEL: &str = "path";

/// Keys that seal and open objects, and what the objects must carry.
///
/// A new object can be opened with each of the sealers' keys. An existing object is opened with the first opener that
/// fits. Keys whose calls take long, or that ask a service synchronously, are asked on a blocking thread. Keys of a
/// service that answers asynchronously, such as those of `waxseal-aws-kms`, are asked where they are.
///
/// Without a sealer, nothing can be written. Without an opener, nothing can be read.
#[derive(Clone, Default)]
pub struct Keys {
    sealers: Vec<Arc<dyn AsyncKeySealer>>,
    openers: Vec<Arc<dyn AsyncKeyOpener>>,
    options: SealOptions,
    demands: Demands,
}

impl Keys {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key that seals and opens, for example a [`KeyFile`](waxseal::keys::KeyFile).
    #[must_use]
    pub fn with_key<K: KeySealer + KeyOpener + 'static>(self, key: Arc<K>) -> Self {
        self.with_sealer(Arc::clone(&key) as _).with_opener(key)
    }

    /// Adds a key that seals new objects.
    #[must_use]
    pub fn with_sealer(self, sealer: Arc<dyn KeySealer>) -> Self {
        self.with_async_sealer(Arc::new(OnBlockingThread(sealer)))
    }

    /// Adds a key that opens objects.
    #[must_use]
    pub fn with_opener(self, opener: Arc<dyn KeyOpener>) -> Self {
        self.with_async_opener(Arc::new(OnBlockingThread(opener)))
    }

    /// Adds a key of a service that answers asynchronously. It seals new objects.
    #[must_use]
    pub fn with_async_sealer(mut self, sealer: Arc<dyn AsyncKeySealer>) -> Self {
        self.sealers.push(sealer);
        self
    }

    /// Adds a key of a service that answers asynchronously. It opens objects.
    #[must_use]
    pub fn with_async_opener(mut self, opener: Arc<dyn AsyncKeyOpener>) -> Self {
        self.openers.push(opener);
        self
    }

    /// Sets the suite, the encryption context and the labels of new objects.
    #[must_use]
    pub fn with_options(mut self, options: SealOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets what an object must carry to be opened. This is checked before any key is used.
    #[must_use]
    pub fn with_demands(mut self, demands: Demands) -> Self {
        self.demands = demands;
        self
    }

    /// Binds objects to their names: a new object gets the label `path=PATH`, and only an object with this label is
    /// opened. An object that was copied or renamed, or that was swapped for another one, does not open.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use object_store::memory::InMemory;
    /// use object_store::path::Path;
    /// use object_store::{ObjectStoreExt, Result};
    /// use waxseal::keys::KeyFile;
    /// use waxseal_object_store::{Keys, WaxsealStore, cause};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let keys = Keys::new().with_key(Arc::new(KeyFile::generate()?));
    /// let store = WaxsealStore::builder(Arc::new(InMemory::new()))
    ///     .with_keys(move |path: &Path| keys.clone().bound_to(path))
    ///     .build();
    /// let (paid, open) = (Path::from("paid/17.json"), Path::from("open/17.json"));
    /// store.put(&open, "17 EUR".into()).await?;
    /// store.copy(&open, &paid).await?;
    /// assert_eq!(store.get(&open).await?.bytes().await?, "17 EUR");
    /// let refused = store.get(&paid).await.unwrap_err();
    /// assert!(matches!(cause(&refused), Some(waxseal::Error::Unmet(_))));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`](waxseal::Error::Invalid) if a label `path` exists already, or if the name cannot be a label.
    pub fn bound_to(mut self, path: &Path) -> Result<Self> {
        let with_path = |labels: &Pairs| {
            let path = [(PATH_LABEL.to_owned(), path.as_ref().to_owned())];
            Pairs::new(labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).chain(path))
        };
        self.options.labels = with_path(&self.options.labels)?;
        self.demands.labels = with_path(&self.demands.labels)?;
        Ok(self)
    }

    /// What an object must carry.
    pub(crate) fn demands(&self) -> &Demands {
        &self.demands
    }

    pub(crate) fn openers(&self) -> Vec<&dyn AsyncKeyOpener> {
        self.openers.iter().map(|opener| &**opener).collect()
    }

    /// A new data key, and its slots.
    pub(crate) async fn envelope(&self) -> Result<Envelope> {
        let sealers: Vec<&dyn AsyncKeySealer> = self.sealers.iter().map(|sealer| &**sealer).collect();
        Envelope::new_async(&sealers, &self.options).await
    }
}

impl fmt::Debug for Keys {
    /// The names of the keys, which are never secret.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sealers: Vec<_> = self.sealers.iter().map(|sealer| sealer.name()).collect();
        let openers: Vec<_> = self.openers.iter().map(|opener| opener.name()).collect();
        out.debug_struct("Keys").field("sealers", &sealers).field("openers", &openers).finish_non_exhaustive()
    }
}

/// Chooses the keys of an object by its name. [`Keys`] are the same for all names. A function
/// `Fn(&Path) -> Result<Keys>` chooses, or refuses a name.
pub trait KeysFor: Send + Sync + 'static {
    /// The keys of the object at `path`.
    ///
    /// # Errors
    /// Any error. It becomes the error of the operation on this object.
    fn keys_for(&self, path: &Path) -> Result<Keys>;
}

impl KeysFor for Keys {
    fn keys_for(&self, _: &Path) -> Result<Keys> {
        Ok(self.clone())
    }
}

impl<F: Fn(&Path) -> Result<Keys> + Send + Sync + 'static> KeysFor for F {
    fn keys_for(&self, path: &Path) -> Result<Keys> {
        self(path)
    }
}

/// A key that answers synchronously. A passphrase takes a second of computation, and a service takes a call.
struct OnBlockingThread<K: ?Sized>(Arc<K>);

impl AsyncKeySealer for OnBlockingThread<dyn KeySealer> {
    fn name(&self) -> String {
        self.0.name()
    }

    fn makes_data_keys(&self) -> bool {
        self.0.makes_data_keys()
    }

    fn generate<'a>(&'a self, binding: &'a Binding) -> BoxFuture<'a, Result<(DataKey, Slot)>> {
        let (sealer, binding) = (Arc::clone(&self.0), binding.clone());
        Box::pin(off_the_reactor(move || sealer.generate(&binding)))
    }

    fn wrap<'a>(&'a self, data_key: &'a DataKey, binding: &'a Binding) -> BoxFuture<'a, Result<Slot>> {
        let (sealer, binding) = (Arc::clone(&self.0), binding.clone());
        let data_key = DataKey::from_slice(data_key.expose());
        Box::pin(off_the_reactor(move || sealer.wrap(&data_key?, &binding)))
    }
}

impl AsyncKeyOpener for OnBlockingThread<dyn KeyOpener> {
    fn name(&self) -> String {
        self.0.name()
    }

    fn matches(&self, slot: &Slot) -> bool {
        self.0.matches(slot)
    }

    fn open<'a>(&'a self, slot: &'a Slot, binding: &'a Binding) -> BoxFuture<'a, Result<DataKey>> {
        let (opener, slot, binding) = (Arc::clone(&self.0), slot.clone(), binding.clone());
        Box::pin(off_the_reactor(move || opener.open(&slot, &binding)))
    }
}
