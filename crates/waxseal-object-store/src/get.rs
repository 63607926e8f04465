//! Reads of objects.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, GetResult, GetResultPayload, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, Result,
};

use crate::Sizes;
use crate::opened::{Found, Fresh, Opened, ask};
use crate::pin::{Conditions, is_same, pinned};
use crate::shared::Shared;
use crate::source::Source;
use crate::trouble::{self, Trouble};

/// So many ranges of one object are asked for at once, as `object_store` itself does.
const RANGES_AT_ONCE: usize = 10;

/// Calls `read` with the object. If the object was replaced after its header was read, the object is opened anew, and
/// `read` is called again, once. Openings that other callers have begun do not count: they may be older than the
/// replacement.
async fn with_object<'a, T>(
    shared: &'a Arc<Shared>,
    path: &'a Path,
    options: &'a GetOptions,
    read: impl Fn(Found) -> BoxFuture<'a, Result<T, Trouble>>,
) -> Result<T> {
    // As it is known, and as others open it.
    for _ in 0..2 {
        let found = shared.find(path, options).await?;
        let (opened, is_own) = (Arc::clone(&found.opened), found.fresh.is_some());
        match read(found).await {
            Ok(result) => return Ok(result),
            Err(Trouble::Failed(error)) => return Err(error),
            Err(Trouble::Replaced) => shared.forget(path, options, &opened),
        }
        if is_own {
            break;
        }
    }
    match read(shared.open_now(path, options, None).await?).await {
        Ok(result) => Ok(result),
        Err(Trouble::Failed(error)) => Err(error),
        Err(Trouble::Replaced) => Err(trouble::changed(path)),
    }
}

/// The range of the plaintext that the caller asked for. If it does not exist in an object that was opened earlier, it may
/// exist in the object that is there now.
fn wanted(range: Option<&GetRange>, found: &Found) -> Result<Range<u64>, Trouble> {
    let len = found.opened.plaintext.len();
    match range.map(|range| range.as_range(len)) {
        None => Ok(0..len),
        Some(Ok(range)) => Ok(range),
        Some(Err(_)) if found.fresh.is_none() => Err(Trouble::Replaced),
        Some(Err(error)) => Err(Trouble::Failed(trouble::range(error))),
    }
}

pub(crate) async fn get(shared: &Arc<Shared>, path: &Path, options: &GetOptions) -> Result<GetResult> {
    if options.head && shared.sizes == Sizes::Guessed {
        return guessed(shared, path, options).await;
    }
    with_object(shared, path, options, |found| get_once(shared, path, options, found).boxed()).await
}

async fn get_once(shared: &Arc<Shared>, path: &Path, options: &GetOptions, found: Found) -> Result<GetResult, Trouble> {
    let range = wanted(options.range.as_ref(), &found)?;
    let Found { opened, fresh } = found;
    if options.head || range.is_empty() {
        let answer = match fresh {
            Some(fresh) => fresh.answer,
            None => head(shared, path, options, &opened.meta).await?,
        };
        return Ok(shown(answer, &opened, range, stream::empty().boxed()));
    }
    let (answer, source) = match fresh {
        Some(Fresh { answer, whole: Some(whole) }) => (answer, Source::Memory(0, whole)),
        opened_before => {
            let conditions = if opened_before.is_some() { Conditions::Checked } else { Conditions::Check };
            let sealed = opened.plaintext.sealed_range(range.clone());
            let request = pinned(options, &opened.meta, Some(GetRange::Bounded(sealed.clone())), conditions);
            ask(&*shared.inner, path, request, &opened.meta, &sealed).await?
        }
    };
    let failed = shared.failure(path, options, &opened);
    let plaintext = source.plaintext(Arc::clone(&opened.plaintext), range.clone());
    Ok(shown(answer, &opened, range, plaintext.map_err(failed).boxed()))
}

/// Asks for the answer without content, with the caller's own conditions.
async fn head(shared: &Shared, path: &Path, options: &GetOptions, meta: &ObjectMeta) -> Result<GetResult, Trouble> {
    let request = GetOptions { range: None, head: true, ..options.clone() };
    let answer = shared.inner.get_opts(path, request).await?;
    if is_same(&answer.meta, meta) { Ok(answer) } else { Err(Trouble::Replaced) }
}

/// The store's answer, with the plaintext's length and content.
fn shown(
    answer: GetResult,
    opened: &Opened,
    range: Range<u64>,
    payload: BoxStream<'static, Result<Bytes>>,
) -> GetResult {
    let meta = opened.shown(answer.meta);
    GetResult { payload: GetResultPayload::Stream(payload), meta, range, ..answer }
}

/// The answer without content and with a guessed length, for those who have chosen that.
async fn guessed(shared: &Arc<Shared>, path: &Path, options: &GetOptions) -> Result<GetResult> {
    let request = GetOptions { range: None, head: true, ..options.clone() };
    let answer = shared.inner.get_opts(path, request).await?;
    let meta = shared.sized(answer.meta).await?;
    let range = match &options.range {
        Some(range) => range.as_range(meta.size).map_err(trouble::range)?,
        None => 0..meta.size,
    };
    let payload = GetResultPayload::Stream(stream::empty().boxed());
    Ok(GetResult { payload, meta, range, ..answer })
}

pub(crate) async fn get_ranges(shared: &Arc<Shared>, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
    if ranges.is_empty() {
        return Ok(Vec::new());
    }
    let options = &GetOptions::new();
    with_object(shared, path, options, |found| ranges_once(shared, path, options, ranges, found).boxed()).await
}

async fn ranges_once(
    shared: &Arc<Shared>,
    path: &Path,
    options: &GetOptions,
    ranges: &[Range<u64>],
    found: Found,
) -> Result<Vec<Bytes>, Trouble> {
    let wanted = |range: &Range<u64>| wanted(Some(&GetRange::Bounded(range.clone())), &found);
    let wanted: Vec<_> = ranges.iter().map(wanted).collect::<Result<_, _>>()?;
    let Found { opened, fresh } = found;
    let failed = shared.failure(path, options, &opened);
    let whole = fresh.and_then(|fresh| fresh.whole);
    let group = |group: Group| {
        let (opened, whole, failed) = (&opened, whole.clone(), &failed);
        async move {
            let source = match whole {
                Some(whole) => Source::Memory(0, whole),
                None => {
                    let range = Some(GetRange::Bounded(group.sealed.clone()));
                    let request = pinned(options, &opened.meta, range, Conditions::Checked);
                    ask(&*shared.inner, path, request, &opened.meta, &group.sealed).await?.1
                }
            };
            let bytes = source.open_ranges(&opened.plaintext, &group.sealed, &group.plain).await;
            let bytes = bytes.map_err(|lost| Trouble::Failed(failed(lost)))?;
            Ok::<_, Trouble>(group.numbers.into_iter().zip(bytes))
        }
    };
    let groups = groups(&opened, &wanted);
    let fetched: Vec<_> = stream::iter(groups.into_iter().map(group)).buffered(RANGES_AT_ONCE).try_collect().await?;
    let mut all = vec![Bytes::new(); ranges.len()];
    for (number, bytes) in fetched.into_iter().flatten() {
        all[number] = bytes;
    }
    Ok(all)
}

/// Ranges that one request fetches.
struct Group {
    sealed: Range<u64>,
    plain: Vec<Range<u64>>,
    /// Their numbers in the caller's list.
    numbers: Vec<usize>,
}

/// Ranges that are close to each other in the sealed object are fetched together, as `object_store` itself does.
fn groups(opened: &Opened, wanted: &[Range<u64>]) -> Vec<Group> {
    let mut order: Vec<_> = wanted.iter().cloned().enumerate().collect();
    order.sort_unstable_by_key(|(_, range)| range.start);
    let mut groups: Vec<Group> = Vec::new();
    for (number, plain) in order {
        let sealed = opened.plaintext.sealed_range(plain.clone());
        match groups.last_mut() {
            Some(last) if sealed.start <= last.sealed.end.saturating_add(OBJECT_STORE_COALESCE_DEFAULT) => {
                last.sealed.end = last.sealed.end.max(sealed.end);
                last.plain.push(plain);
                last.numbers.push(number);
            }
            _ => groups.push(Group { sealed, plain: vec![plain], numbers: vec![number] }),
        }
    }
    groups
}
