//! The choices of a store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;

use crate::WaxsealStore;
use crate::cache::Cache;
use crate::keys::{Keys, KeysFor};
use crate::openings::Openings;
use crate::shared::Shared;

/// Where `head` and `list` have the lengths of objects from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Sizes {
    /// From the object: its header and its last chunk are read and authenticated. This takes one or two requests and a
    /// call to the key, once for each object that the cache does not know.
    #[default]
    Authenticated,
    /// From the length of the sealed object, without any request and any key. It is right for objects that this library
    /// has written with few keys. Whoever can change an object can change this length. If an object is opened, and its
    /// length turns out to be another one, every read of it is an error.
    Guessed,
}

/// What a list does with objects that are not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Unsealed {
    /// The object is an error in the list, and the list goes on after it.
    #[default]
    Refuse,
    /// The list leaves the object out. Whoever can replace an object can thus hide it, as if it were deleted. To read it
    /// is still an error. With [`Sizes::Guessed`] no object is read, so only lengths that no sealed object has are noticed.
    Skip,
}

/// Makes a [`WaxsealStore`].
#[must_use]
pub struct Builder {
    inner: Arc<dyn ObjectStore>,
    keys: Box<dyn KeysFor>,
    entries: usize,
    age: Duration,
    sizes: Sizes,
    unsealed: Unsealed,
    at_once: usize,
    part_len: usize,
}

impl Builder {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            keys: Box::new(Keys::new()),
            entries: 4096,
            age: Duration::from_secs(300),
            sizes: Sizes::default(),
            unsealed: Unsealed::default(),
            at_once: 16,
            part_len: 8 << 20,
        }
    }

    /// The keys: [`Keys`] for all objects, or a function of the object's name. Without keys, nothing is sealed or opened.
    pub fn with_keys(mut self, keys: impl KeysFor) -> Self {
        self.keys = Box::new(keys);
        self
    }

    /// Keeps the headers and the payload keys of at most `entries` objects, each for `age` at most. The default is 4096
    /// objects and 5 minutes. With no entries, each operation opens its object anew;
    /// those that do so at the same time share one opening.
    ///
    /// An entry is never a reason for an old answer: each read asks the store for the object of the entry, and for no other.
    /// An entry does keep a payload key. Within `age`, an object can thus be read although its key was revoked. The memory
    /// of an entry that is too old is wiped by the next operation of the store.
    pub fn with_cache(mut self, entries: usize, age: Duration) -> Self {
        (self.entries, self.age) = (entries, age);
        self
    }

    /// Where `head` and `list` have lengths from.
    pub fn with_sizes(mut self, sizes: Sizes) -> Self {
        self.sizes = sizes;
        self
    }

    /// What a list does with objects that are not sealed.
    pub fn with_unsealed(mut self, unsealed: Unsealed) -> Self {
        self.unsealed = unsealed;
        self
    }

    /// How many objects of a list are opened at once. The default is 16.
    pub fn with_list_concurrency(mut self, objects: usize) -> Self {
        self.at_once = objects.max(1);
        self
    }

    /// The least length of the parts of an upload in bytes, at least 5 MiB, which S3 demands. The default is 8 MiB. If the
    /// caller's parts are longer, the store's are, too. All parts but the last have the same length, which some stores
    /// demand.
    pub fn with_part_len(mut self, bytes: usize) -> Self {
        self.part_len = bytes.max(5 << 20);
        self
    }

    /// The store.
    pub fn build(self) -> WaxsealStore {
        let Self { inner, keys, entries, age, sizes, unsealed, at_once, part_len } = self;
        let cache = Cache::new(entries, age);
        WaxsealStore(Arc::new(Shared {
            inner,
            keys,
            cache,
            openings: Openings::default(),
            sizes,
            unsealed,
            at_once,
            part_len,
        }))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Builder").field("inner", &self.inner.to_string()).finish_non_exhaustive()
    }
}
