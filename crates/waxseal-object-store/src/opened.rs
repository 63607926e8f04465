//! Opens an object: its header, its key, and its authenticated length.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join;
use futures_util::{StreamExt, stream};
use object_store::path::Path;
use object_store::{Error as StoreError, GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, ObjectStore};
use waxseal::Error;
use waxseal::container::{Layout, Opening, Plaintext, plaintext_len_hint};
use waxseal::error::FormatError;
use waxseal::format::{FRONT_LEN, Front, SEALED_CHUNK_LEN};

use crate::Sizes;
use crate::keys::Keys;
use crate::pin::{Conditions, is_same, pinned};
use crate::source::{Source, part};
use crate::trouble::{self, Trouble};
use crate::work;

/// An object with a checked commitment and an authenticated length.
pub(crate) struct Opened {
    /// What the store says about the sealed object.
    pub(crate) meta: ObjectMeta,
    pub(crate) plaintext: Arc<Plaintext>,
}

impl Opened {
    /// `meta`, with the length of the plaintext.
    pub(crate) fn shown(&self, meta: ObjectMeta) -> ObjectMeta {
        ObjectMeta { size: self.plaintext.len(), ..meta }
    }
}

/// An object, and what the request that opened it has brought.
pub(crate) struct Found {
    pub(crate) opened: Arc<Opened>,
    /// `None` if the object was opened by an earlier request.
    pub(crate) fresh: Option<Fresh>,
}

/// What the request for the front has brought.
pub(crate) struct Fresh {
    /// The store's answer, without its payload.
    pub(crate) answer: GetResult,
    /// The whole sealed object, if it is short.
    pub(crate) whole: Option<Bytes>,
}

/// Opens the object at `path`. The caller's conditions are checked by the first request. If the object is replaced before
/// the last request, everything begins again, once.
///
/// `listed` is what a listing has just said about the object. Its end is then asked for together with its front.
pub(crate) async fn open(
    inner: &dyn ObjectStore,
    path: &Path,
    options: &GetOptions,
    keys: &Keys,
    sizes: Sizes,
    mut listed: Option<&ObjectMeta>,
) -> Result<Found, StoreError> {
    for _ in 0..2 {
        match open_once(inner, path, options, keys, listed.take()).await {
            Ok(found) => {
                check_guess(path, &found.opened, sizes)?;
                return Ok(found);
            }
            Err(Trouble::Failed(error)) => return Err(error),
            Err(Trouble::Replaced) => {}
        }
    }
    Err(trouble::changed(path))
}

async fn open_once(
    inner: &dyn ObjectStore,
    path: &Path,
    options: &GetOptions,
    keys: &Keys,
    listed: Option<&ObjectMeta>,
) -> Result<Found, Trouble> {
    let failed = |error: Error| Trouble::Failed(trouble::of(path, error));
    let (front, tail) = join(front(inner, path, options), tail(inner, path, options, listed)).await;
    let (answer, front) = front?;
    let meta = answer.meta.clone();
    let whole = (front.len() as u64 == meta.size).then(|| front.clone());
    let there = whole.clone().or(tail.filter(|_| listed.is_some_and(|listed| is_same(listed, &meta))));

    let demands = keys.demands().clone();
    let opening = work::on(front.len(), move || Opening::read(Front::new(front.into()), &demands));
    let opening = opening.await.map_err(failed)?;
    // A key service may take as long as the store.
    let end = Layout::of(opening.header()).end(meta.size);
    let last = async {
        match (&end, &there) {
            (Ok(end), Some(bytes)) => Ok(part(bytes, meta.size - bytes.len() as u64, &end.range)),
            (Ok(end), _) => {
                let request = pinned(options, &meta, Some(GetRange::Bounded(end.range.clone())), Conditions::Checked);
                let (_, source) = ask(inner, path, request, &meta, &end.range).await?;
                source.collect(&end.range).await.map_err(|lost| lost.of(path).into())
            }
            (Err(_), _) => Ok::<_, Trouble>(Bytes::new()),
        }
    };
    let openers = keys.openers();
    let (opened, last) = join(opening.open_async(&openers), last).await;
    let payload = opened.map_err(failed)?.into_payload();
    let end = end.map_err(|tampered| failed(tampered.into()))?;
    let plaintext = payload.with_end(&end, &last?).map_err(|tampered| failed(tampered.into()))?;
    let opened = Arc::new(Opened { meta, plaintext: Arc::new(plaintext) });
    Ok(Found { opened, fresh: Some(Fresh { answer, whole }) })
}

/// The last bytes of an object that is too long for one request. `None` after any error: the end is asked for again then,
/// for example if the object was replaced since it was listed.
async fn tail(
    inner: &dyn ObjectStore,
    path: &Path,
    options: &GetOptions,
    listed: Option<&ObjectMeta>,
) -> Option<Bytes> {
    let listed = listed.filter(|listed| listed.size > FRONT_LEN as u64)?;
    // No last chunk is longer.
    let range = listed.size - SEALED_CHUNK_LEN as u64..listed.size;
    let request = pinned(options, listed, Some(GetRange::Bounded(range.clone())), Conditions::Checked);
    let (_, source) = ask(inner, path, request, listed, &range).await.ok()?;
    source.collect(&range).await.ok()
}

/// The front of the object, and the store's answer without it.
async fn front(inner: &dyn ObjectStore, path: &Path, options: &GetOptions) -> Result<(GetResult, Bytes), StoreError> {
    let range = Some(GetRange::Bounded(0..FRONT_LEN as u64));
    let answer = match inner.get_opts(path, GetOptions { range, head: false, ..options.clone() }).await {
        Ok(answer) => answer,
        // A store refuses each range of an empty object.
        Err(error @ StoreError::Generic { .. }) => {
            let head = inner.get_opts(path, GetOptions { range: None, head: true, ..options.clone() }).await;
            let empty = head.is_ok_and(|head| head.meta.size == 0);
            return Err(if empty { unsealed(path) } else { error });
        }
        Err(error) => return Err(error),
    };
    let wanted = 0..answer.meta.size.min(FRONT_LEN as u64);
    if answer.range != wanted {
        return Err(trouble::changed(path));
    }
    let (answer, source) = take_payload(answer);
    let front = source.collect(&wanted).await.map_err(|lost| lost.of(path))?;
    Ok((answer, front))
}

/// The error of an object without a header.
pub(crate) fn unsealed(path: &Path) -> StoreError {
    trouble::of(path, FormatError::NotWaxseal)
}

/// Asks for `range` of the object `meta`, and compares the answer with it. Some stores ignore conditions.
pub(crate) async fn ask(
    inner: &dyn ObjectStore,
    path: &Path,
    request: GetOptions,
    meta: &ObjectMeta,
    range: &Range<u64>,
) -> Result<(GetResult, Source), Trouble> {
    let answer = match inner.get_opts(path, request).await {
        Ok(answer) => answer,
        Err(StoreError::Precondition { .. }) => return Err(Trouble::Replaced),
        // Without an ETag, a shorter object refuses the range.
        Err(StoreError::Generic { .. }) if meta.e_tag.is_none() => return Err(Trouble::Replaced),
        Err(error) => return Err(error.into()),
    };
    if !is_same(&answer.meta, meta) {
        return Err(Trouble::Replaced);
    }
    if answer.range != *range {
        return Err(Trouble::Failed(trouble::changed(path)));
    }
    Ok(take_payload(answer))
}

/// The payload alone, and the answer without it.
fn take_payload(mut answer: GetResult) -> (GetResult, Source) {
    let nothing = GetResultPayload::Stream(stream::empty().boxed());
    let payload = std::mem::replace(&mut answer.payload, nothing);
    (answer, Source::of(payload))
}

/// Fails if the length of this object would have been guessed wrong.
fn check_guess(path: &Path, opened: &Opened, sizes: Sizes) -> Result<(), StoreError> {
    let len = opened.plaintext.len();
    match (sizes, plaintext_len_hint(opened.meta.size)) {
        (Sizes::Guessed, Some(guess)) if guess != len => Err(trouble::of(
            path,
            Error::Invalid(format!(
                "the object has {len} bytes, but {guess} were guessed from the length of the sealed object: \
                 sizes must not be guessed in this store"
            )),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use waxseal::SealOptions;
    use waxseal::keys::KeyFile;

    /// An object of three bytes.
    pub(crate) fn opened() -> Arc<Opened> {
        let key = KeyFile::generate().unwrap();
        let envelope = waxseal::Envelope::new(&[&key], &SealOptions::new()).unwrap();
        let mut sealing = waxseal::container::Sealing::new(envelope);
        let mut object = Vec::new();
        sealing.push(b"abc", &mut object).unwrap();
        sealing.finish(&mut object).unwrap();
        let keys = Keys::new().with_key(Arc::new(key));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (store, path) = (InMemory::new(), Path::from("a"));
            store.put(&path, object.into()).await.unwrap();
            let found = open(&store, &path, &GetOptions::new(), &keys, Sizes::Authenticated, None).await;
            found.unwrap().opened
        })
    }
}
