//! What all operations of a store need.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use object_store::path::Path;
use object_store::{Error as StoreError, GetOptions, ObjectMeta, ObjectStore, Result};
use waxseal::Error;
use waxseal::container::plaintext_len_hint;

use crate::cache::{Cache, Key};
use crate::keys::{Keys, KeysFor};
use crate::opened::{self, Found, Opened};
use crate::openings::{Ended, Number, Openings};
use crate::pin::{allows, is_same};
use crate::source::Lost;
use crate::trouble;
use crate::{Sizes, Unsealed};

/// The wrapped store, the keys, the choices of the builder, and what is known about objects.
pub(crate) struct Shared {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) keys: Box<dyn KeysFor>,
    pub(crate) cache: Cache,
    pub(crate) openings: Openings,
    pub(crate) sizes: Sizes,
    pub(crate) unsealed: Unsealed,
    /// Objects of a list that are opened at once.
    pub(crate) at_once: usize,
    /// The least length of a part of an upload, in bytes.
    pub(crate) part_len: usize,
}

impl Shared {
    fn key(path: &Path, options: &GetOptions) -> Key {
        (path.clone(), options.version.clone())
    }

    pub(crate) fn keys_of(&self, path: &Path) -> Result<Keys> {
        self.keys.keys_for(path).map_err(|error| trouble::of(path, error))
    }

    /// The object, as it is known or as it is opened now. A known one may have been replaced, so each request for its
    /// content must ask for this object and no other.
    pub(crate) async fn find(self: &Arc<Self>, path: &Path, options: &GetOptions) -> Result<Found> {
        match self.known(&Self::key(path, options), options) {
            Some(opened) => Ok(Found { opened, fresh: None }),
            None => self.open(path, options, None).await,
        }
    }

    fn known(&self, key: &Key, options: &GetOptions) -> Option<Arc<Opened>> {
        self.cache.get(key).filter(|opened| allows(options, &opened.meta))
    }

    /// Opens the object. Several callers at once open it once. `listed` is what a listing has just said about it.
    pub(crate) async fn open(
        self: &Arc<Self>,
        path: &Path,
        options: &GetOptions,
        listed: Option<&ObjectMeta>,
    ) -> Result<Found> {
        let key = Self::key(path, options);
        if let Some(opened) = self.known(&key, options) {
            return Ok(Found { opened, fresh: None });
        }
        let begin = |number| {
            let (shared, path) = (Arc::clone(self), path.clone());
            shared.opening(number, path, options.clone(), listed.cloned()).boxed()
        };
        let (opening, is_own) = self.openings.join(&key, begin);
        let ended = opening.ended().await;
        if is_own && let Some(found) = ended.take() {
            return found;
        }
        if let Some(opened) = ended.opened.as_ref().filter(|opened| allows(options, &opened.meta)) {
            return Ok(Found { opened: Arc::clone(opened), fresh: None });
        }
        // That opening has failed, or its object does not meet this caller's conditions.
        self.open_now(path, options, listed).await
    }

    /// Opens the object for all callers who wait for it.
    async fn opening(
        self: Arc<Self>,
        number: Number,
        path: Path,
        options: GetOptions,
        listed: Option<ObjectMeta>,
    ) -> Arc<Ended> {
        let found = AssertUnwindSafe(self.open_now(&path, &options, listed.as_ref())).catch_unwind().await;
        // The object is known before the next caller looks for an opening.
        self.openings.ended(&number);
        Ended::of(found)
    }

    /// Opens the object for this caller alone, whatever others do.
    pub(crate) async fn open_now(
        &self,
        path: &Path,
        options: &GetOptions,
        listed: Option<&ObjectMeta>,
    ) -> Result<Found> {
        let keys = self.keys_of(path)?;
        let found = opened::open(&*self.inner, path, options, &keys, self.sizes, listed).await?;
        self.cache.insert(Self::key(path, options), Arc::clone(&found.opened));
        Ok(found)
    }

    pub(crate) fn forget(&self, path: &Path, options: &GetOptions, opened: &Arc<Opened>) {
        self.cache.forget(&Self::key(path, options), opened);
    }

    /// Makes errors of reads. If a chunk does not authenticate, the object is opened anew by the next call: a store
    /// without ETags may have replaced it without a sign.
    pub(crate) fn failure(
        self: &Arc<Self>,
        path: &Path,
        options: &GetOptions,
        opened: &Arc<Opened>,
    ) -> impl Fn(Lost) -> StoreError + Send + Sync + use<> {
        let (shared, key, opened) = (Arc::clone(self), Self::key(path, options), Arc::clone(opened));
        move |lost| {
            if matches!(&lost, Lost::Own(Error::Tampered(_))) {
                shared.cache.forget(&key, &opened);
            }
            lost.of(&key.0)
        }
    }

    /// An object of a list, with the length of its plaintext.
    pub(crate) async fn sized(self: &Arc<Self>, listed: ObjectMeta) -> Result<ObjectMeta> {
        if self.sizes == Sizes::Guessed
            && let Some(size) = plaintext_len_hint(listed.size)
        {
            return Ok(ObjectMeta { size, ..listed });
        }
        if listed.size == 0 {
            return Err(opened::unsealed(&listed.location));
        }
        let (path, options) = (listed.location.clone(), GetOptions::new());
        if let Some(opened) = self.cache.get(&Self::key(&path, &options)) {
            if is_same(&listed, &opened.meta) {
                return Ok(opened.shown(listed));
            }
            self.forget(&path, &options, &opened);
        }
        let mut found = self.open(&path, &options, Some(&listed)).await?;
        if found.fresh.is_none() && !is_same(&listed, &found.opened.meta) {
            // That opening was begun by another caller, perhaps before this object was written.
            self.forget(&path, &options, &found.opened);
            found = self.open_now(&path, &options, Some(&listed)).await?;
        }
        let opened = found.opened;
        // If it was replaced since it was listed, its other fields are those of the object that was opened.
        let current = is_same(&listed, &opened.meta);
        Ok(opened.shown(if current { listed } else { opened.meta.clone() }))
    }
}

impl fmt::Debug for Shared {
    /// Without the wrapped store's own, which may show credentials.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sizes, unsealed, at_once, part_len, .. } = self;
        let inner = self.inner.to_string();
        let mut shown = out.debug_struct("WaxsealStore");
        shown.field("inner", &inner).field("sizes", sizes).field("unsealed", unsealed);
        shown.field("at_once", at_once).field("part_len", part_len).finish_non_exhaustive()
    }
}
