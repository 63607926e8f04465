//! What each operation of the sealing store asks of the wrapped one, in requests and bytes, and how often keys are used.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all, try_join_all};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode};
use waxseal::format::{Binding, FRONT_LEN, Pairs, Slot};
use waxseal::keys::{AsyncKeyOpener, KeyFile, KeyOpener};
use waxseal::secret::DataKey;
use waxseal::{Demands, SealOptions};
use waxseal_object_store::{Keys, Sizes, Unsealed, WaxsealStore, cause};

#[path = "support/stores.rs"]
mod stores;

use stores::{Asked, Watched, keys, text};

/// A sealed chunk, and the front that is read of each object.
const CHUNK: u64 = 16384 + 16;
const FRONT: u64 = FRONT_LEN as u64;
/// Header and prelude of a small and of a large object.
const SMALL: u64 = 8192 + 56;
const LARGE: u64 = 131_072 + 56;

fn key() -> Arc<KeyFile> {
    Arc::new(KeyFile::generate().unwrap())
}

/// 10 MiB, whose last chunk has 5 bytes.
fn large() -> Vec<u8> {
    text((10 << 20) + 5)
}

async fn read(store: &WaxsealStore, path: &Path) -> bytes::Bytes {
    store.get(path).await.unwrap().bytes().await.unwrap()
}

#[tokio::test]
async fn a_small_object_takes_one_request() {
    let (watched, key, path) = (Watched::default(), key(), Path::from("a"));
    let store = watched.sealed(&key);
    store.put(&path, text(1000).into()).await.unwrap();
    let sealed = SMALL + 1000 + 16;
    assert_eq!(watched.asked(), [Asked::Put(usize::try_from(sealed).unwrap())]);

    assert_eq!(read(&store, &path).await, text(1000));
    assert_eq!(watched.asked(), [Asked::Get(0..sealed)], "the first read");
    assert_eq!(store.get_range(&path, 10..20).await.unwrap(), text(1000)[10..20]);
    assert_eq!(watched.asked(), [Asked::Get(SMALL..sealed)], "the header is known");
    assert_eq!(store.head(&path).await.unwrap().size, 1000);
    assert_eq!(watched.asked(), [Asked::Head]);
    let empty = GetOptions::new().with_range(Some(GetRange::Suffix(0)));
    assert_eq!(store.get_opts(&path, empty).await.unwrap().range, 1000..1000);
    assert_eq!(watched.asked(), [Asked::Head], "a range without bytes");

    store.clear_cache();
    assert_eq!(store.head(&path).await.unwrap().size, 1000);
    assert_eq!(watched.asked(), [Asked::Get(0..sealed)]);
}

#[tokio::test]
async fn a_range_takes_the_chunks_that_it_touches() {
    let (watched, key, path, content) = (Watched::default(), key(), Path::from("a"), large());
    let store = watched.sealed(&key);
    store.put(&path, content.clone().into()).await.unwrap();
    watched.asked();
    let sealed = LARGE + 640 * CHUNK + 5 + 16;
    let end = LARGE + 640 * CHUNK..sealed;

    let range = store.get_range(&path, 5_000_000..5_004_096).await.unwrap();
    assert_eq!(range, content[5_000_000..5_004_096]);
    let first = LARGE + 305 * CHUNK;
    let asked = [Asked::Get(0..FRONT), Asked::Get(end.clone()), Asked::Get(first..first + CHUNK)];
    assert_eq!(watched.asked(), asked, "front, end, range");

    store.get_range(&path, 16_383..16_385).await.unwrap();
    assert_eq!(watched.asked(), [Asked::Get(LARGE..LARGE + 2 * CHUNK)], "two chunks");
    let suffix = GetOptions::new().with_range(Some(GetRange::Suffix(3)));
    let suffix = store.get_opts(&path, suffix).await.unwrap().bytes().await.unwrap();
    assert_eq!((suffix.as_ref(), watched.asked()), (&content[content.len() - 3..], vec![Asked::Get(end.clone())]));
    let offset = GetOptions::new().with_range(Some(GetRange::Offset(16_384 * 639)));
    store.get_opts(&path, offset).await.unwrap().bytes().await.unwrap();
    assert_eq!(watched.asked(), [Asked::Get(LARGE + 639 * CHUNK..sealed)]);
    assert!(read(&store, &path).await == content);
    assert_eq!(watched.asked(), [Asked::Get(LARGE..sealed)], "all of it in one request");
}

#[tokio::test]
async fn ranges_that_are_close_are_fetched_together() {
    let (watched, key, path, content) = (Watched::default(), key(), Path::from("a"), large());
    let store = watched.sealed(&key);
    store.put(&path, content.clone().into()).await.unwrap();
    store.head(&path).await.unwrap();
    watched.asked();
    // Out of order, one twice, two in one chunk, one of several MiB, and one far away.
    let ranges =
        [9_000_000..9_000_100, 20..30, 100..200, 20..30, 900_000..6_000_000, 16_380..16_390, 10_485_760..10_485_765];
    let got = store.get_ranges(&path, &ranges).await.unwrap();
    for (range, bytes) in ranges.iter().zip(&got) {
        assert_eq!(bytes, &content[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]);
    }
    let chunks = |from: u64, to: u64| Asked::Get(LARGE + from * CHUNK..LARGE + to * CHUNK);
    let last = Asked::Get(LARGE + 640 * CHUNK..LARGE + 640 * CHUNK + 21);
    assert_eq!(watched.asked(), [chunks(0, 367), chunks(549, 550), last]);
    assert!(store.get_ranges(&path, &[]).await.unwrap().is_empty() && watched.asked().is_empty());
}

#[tokio::test]
async fn a_list_opens_each_object_once() {
    let (watched, key) = (Watched { slow: true, ..Watched::default() }, key());
    let store = watched.sealed(&key);
    for number in 0..40 {
        store.put(&Path::from(format!("lake/{number}")), text(number * 1000).into()).await.unwrap();
    }
    watched.asked();
    let sizes = |all: Vec<object_store::ObjectMeta>| all.iter().map(|meta| meta.size).sum::<u64>();
    let all = store.list(None).try_collect().await.unwrap();
    assert_eq!(sizes(all), 780_000);
    let asked = watched.asked();
    assert_eq!((asked.len(), &asked[0]), (41, &Asked::List));

    assert_eq!(sizes(store.list(None).try_collect().await.unwrap()), 780_000);
    assert_eq!(sizes(store.list_with_delimiter(Some(&Path::from("lake"))).await.unwrap().objects), 780_000);
    assert_eq!(watched.asked(), [Asked::List, Asked::List], "all are known");
    store.put(&Path::from("lake/7"), text(5).into()).await.unwrap();
    watched.asked();
    assert_eq!(sizes(store.list(None).try_collect().await.unwrap()), 773_005);
    assert_eq!(watched.got().len(), 1, "one was replaced");
}

/// The listing says how long an object is, so its end needs not wait for its front.
#[tokio::test]
async fn a_list_asks_for_front_and_end_at_once() {
    let (watched, key, path) = (Watched::default(), key(), Path::from("a"));
    let store = watched.sealed(&key);
    store.put(&path, large().into()).await.unwrap();
    let sealed = watched.raw(&path).len() as u64;
    watched.asked();
    assert_eq!(store.list(None).try_collect::<Vec<_>>().await.unwrap()[0].size, large().len() as u64);
    // No header says where the last chunk begins, so the longest one is asked for.
    assert_eq!(watched.asked(), [Asked::List, Asked::Get(0..FRONT), Asked::Get(sealed - CHUNK..sealed)]);
    assert!(read(&store, &path).await == large());
}

/// A list of any length is passed on while it comes in, and only a few objects are opened ahead.
#[tokio::test]
async fn a_list_streams() {
    let (watched, key) = (Watched::default(), key());
    let store = WaxsealStore::builder(Arc::new(watched.clone())).with_keys(keys(&key)).with_list_concurrency(3).build();
    for number in 0..30 {
        store.put(&Path::from(format!("{number:02}")), "x".into()).await.unwrap();
    }
    watched.asked();
    let mut list = store.list(None);
    assert_eq!(list.next().await.unwrap().unwrap().location, Path::from("00"));
    assert!(watched.got().len() <= 4, "not all were opened for the first one");
}

/// While nobody asks for the next item of a list, nothing that it has begun stops other readers.
#[tokio::test]
async fn a_list_that_waits_stops_no_reader() {
    let (key, paths) = (key(), ["a", "b"].map(Path::from));
    let store = Watched { slow: true, ..Watched::default() }.sealed(&key);
    for path in &paths {
        store.put(path, "x".into()).await.unwrap();
    }
    let mut list = store.list(None);
    assert!(list.next().now_or_never().is_none(), "the openings have begun, and none has ended");
    let reads = join_all(paths.iter().map(|path| read(&store, path)));
    let reads = tokio::time::timeout(Duration::from_secs(20), reads).await.expect("the list stops the readers");
    assert_eq!(reads, ["x", "x"]);
    assert_eq!(list.count().await, 2);
}

/// Nobody waits for a caller who has begun to read and does something else now.
#[tokio::test]
async fn a_reader_that_waits_stops_no_reader() {
    let watched = Watched { slow: true, ..Watched::default() };
    let (key, path) = (key(), Path::from("a"));
    let store = watched.sealed(&key);
    store.put(&path, large().into()).await.unwrap();
    watched.asked();
    let mut first = std::pin::pin!(store.get_range(&path, 0..10));
    assert!(first.as_mut().now_or_never().is_none(), "the opening has begun, and has not ended");
    let second = tokio::time::timeout(Duration::from_secs(20), store.get_range(&path, 0..10));
    assert_eq!(second.await.expect("the first reader stops the second one").unwrap(), large()[..10]);
    assert_eq!(first.await.unwrap(), large()[..10]);
    let got = watched.got();
    assert_eq!(got.iter().filter(|len| **len == FRONT).count(), 1, "they share one opening");
}

/// If a reader is dropped, those who wait with it still get the object, and its error is not lost either.
#[tokio::test]
async fn a_reader_that_is_dropped_takes_nothing_with_it() {
    let watched = Watched { slow: true, ..Watched::default() };
    let (key, path, missing) = (key(), Path::from("a"), Path::from("missing"));
    let store = watched.sealed(&key);
    store.put(&path, large().into()).await.unwrap();
    for path in [&path, &missing] {
        let mut first = store.get_range(path, 0..10).boxed();
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = store.get_range(path, 0..10).boxed();
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        match tokio::time::timeout(Duration::from_secs(20), second).await.expect("the first reader was dropped") {
            Ok(bytes) => assert_eq!(bytes, large()[..10]),
            Err(error) => assert!(path == &missing && matches!(error, Error::NotFound { .. }), "{error}"),
        }
    }
    // Every one of several readers gets an error of its own.
    let reads = join_all((0..5).map(|_| store.get_range(&missing, 0..10))).await;
    assert!(reads.iter().all(|read| matches!(read, Err(Error::NotFound { .. }))), "{reads:?}");
}

/// After an opening has failed, those who waited for it do not wait for each other.
#[tokio::test]
async fn readers_who_fail_do_not_take_turns() {
    let (key, path) = (key(), Path::from("a"));
    let service = Arc::new(Refusing(AtomicUsize::new(0), tokio::sync::Semaphore::new(0)));
    let keys = Keys::new().with_sealer(Arc::<KeyFile>::clone(&key)).with_async_opener(Arc::<Refusing>::clone(&service));
    let store = WaxsealStore::builder(Arc::new(Watched::default())).with_keys(keys).build();
    store.put(&path, text(1000).into()).await.unwrap();
    let mut reads: Vec<_> = (0..10).map(|_| store.get_range(&path, 0..10).boxed()).collect();
    let mut poll_all = || {
        reads.retain_mut(|read| read.now_or_never().is_none());
        (reads.len(), service.0.load(Ordering::Relaxed))
    };
    assert_eq!(poll_all(), (10, 1), "they share the first call");
    service.1.add_permits(1);
    assert_eq!(poll_all(), (9, 10), "each of the others has a call of its own");
    service.1.add_permits(9);
    assert_eq!(poll_all(), (0, 10));
}

/// A key service that refuses each call, as soon as it may.
struct Refusing(AtomicUsize, tokio::sync::Semaphore);

impl AsyncKeyOpener for Refusing {
    fn name(&self) -> String {
        "refusing".into()
    }

    fn matches(&self, _: &Slot) -> bool {
        true
    }

    fn open<'a>(&'a self, _: &'a Slot, _: &'a Binding) -> BoxFuture<'a, waxseal::Result<DataKey>> {
        async move {
            self.0.fetch_add(1, Ordering::Relaxed);
            self.1.acquire().await.unwrap().forget();
            Err(waxseal::Error::Limit("of this service".into()))
        }
        .boxed()
    }
}

/// A list shows what was there when it was asked for, although a reader has begun to open an older object.
#[tokio::test]
async fn a_list_believes_no_older_opening() {
    let watched = Watched::default();
    let (key, path) = (key(), Path::from("a"));
    let service = Arc::new(Waiting(Arc::clone(&key), AtomicUsize::new(0), tokio::sync::Notify::new()));
    let keys = Keys::new().with_sealer(Arc::<KeyFile>::clone(&key)).with_async_opener(Arc::<Waiting>::clone(&service));
    let store = WaxsealStore::builder(Arc::new(watched)).with_keys(keys).build();
    store.put(&path, text(1000).into()).await.unwrap();
    let mut read = store.get_range(&path, 0..10).boxed();
    assert!(read.as_mut().now_or_never().is_none(), "it waits for its key");
    store.put(&path, text(9000).into()).await.unwrap();
    let listed = store.list(None).try_collect::<Vec<_>>();
    let (listed, ()) = futures_util::future::join(listed, async { service.2.notify_one() }).await;
    assert_eq!(listed.unwrap()[0].size, 9000);
    assert_eq!(read.await.unwrap(), text(9000)[..10]);
}

/// A key service whose first answer takes its time.
struct Waiting(Arc<KeyFile>, AtomicUsize, tokio::sync::Notify);

impl AsyncKeyOpener for Waiting {
    fn name(&self) -> String {
        self.0.name()
    }

    fn matches(&self, slot: &Slot) -> bool {
        KeyOpener::matches(&*self.0, slot)
    }

    fn open<'a>(&'a self, slot: &'a Slot, binding: &'a Binding) -> BoxFuture<'a, waxseal::Result<DataKey>> {
        async move {
            if self.1.fetch_add(1, Ordering::Relaxed) == 0 {
                self.2.notified().await;
            }
            KeyOpener::open(&*self.0, slot, binding)
        }
        .boxed()
    }
}

/// A store that panics once harms the reader who asked it, and nobody else.
#[tokio::test]
async fn a_panic_of_the_store_harms_nobody_else() {
    let watched = Watched { slow: true, ..Watched::default() };
    let (key, path) = (key(), Path::from("a"));
    let store = watched.sealed(&key);
    store.put(&path, large().into()).await.unwrap();
    let mut first = std::panic::AssertUnwindSafe(store.get_range(&path, 0..10)).catch_unwind().boxed();
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = store.get_range(&path, 0..10).boxed();
    assert!(second.as_mut().now_or_never().is_none());
    watched.before_get(|number| assert!(number != 1, "as in a bug of the store"));
    assert!(first.await.is_err());
    assert_eq!(second.await.unwrap(), large()[..10]);
    assert_eq!(store.get_range(&path, 0..10).await.unwrap(), large()[..10]);
}

/// A reader whose runtime ends takes nothing along.
#[test]
fn two_runtimes_share_a_store() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limits = ThrottleConfig { wait_get_per_call: Duration::from_millis(500), ..ThrottleConfig::default() };
    let (key, path) = (key(), Path::from("a"));
    let inner = Arc::new(ThrottledStore::new(InMemory::new(), limits));
    let store = WaxsealStore::builder(inner).with_keys(keys(&key)).build();
    let (one, two) = (runtime(), runtime());
    one.block_on(store.put(&path, text(1000).into())).unwrap();
    let mut first = store.get_range(&path, 0..10).boxed();
    one.block_on(async { assert!(first.as_mut().now_or_never().is_none()) });
    let mut second = store.get_range(&path, 0..10).boxed();
    two.block_on(async { assert!(second.as_mut().now_or_never().is_none()) });
    drop(first);
    drop(one);
    assert_eq!(two.block_on(second).unwrap(), text(1000)[..10]);
}

#[tokio::test]
async fn many_readers_open_an_object_once() {
    let watched = Watched { slow: true, ..Watched::default() };
    let (key, path) = (key(), Path::from("a"));
    let store = watched.sealed(&key);
    store.put(&path, large().into()).await.unwrap();
    watched.asked();
    let reads = (0..50_u64).map(|number| store.get_range(&path, number * 16_384..number * 16_384 + 10));
    try_join_all(reads).await.unwrap();
    let got = watched.got();
    assert_eq!(got.iter().filter(|len| **len == FRONT).count(), 1);
    assert_eq!(got.len(), 2 + 50);
}

/// Counts the calls of a key.
struct Counted(Arc<KeyFile>, AtomicUsize);

impl KeyOpener for Counted {
    fn name(&self) -> String {
        self.0.name()
    }

    fn matches(&self, slot: &Slot) -> bool {
        self.0.matches(slot)
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> waxseal::Result<DataKey> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.open(slot, binding)
    }
}

#[tokio::test]
async fn the_cache_is_bounded() {
    let (watched, key) = (Watched::default(), key());
    let counted = Arc::new(Counted(Arc::clone(&key), AtomicUsize::new(0)));
    let calls = || counted.1.swap(0, Ordering::Relaxed);
    let with = |entries, age| {
        let keys = Keys::new().with_sealer(Arc::clone(&key) as _).with_opener(Arc::clone(&counted) as _);
        WaxsealStore::builder(Arc::new(watched.clone())).with_keys(keys).with_cache(entries, age).build()
    };
    let paths: Vec<_> = (0..10).map(|number| Path::from(number.to_string())).collect();
    let read_all = async |store: &WaxsealStore| {
        for path in &paths {
            read(store, path).await;
        }
        calls()
    };
    let store = with(100, Duration::from_secs(3600));
    for path in &paths {
        store.put(path, "x".into()).await.unwrap();
    }
    assert_eq!((read_all(&store).await, read_all(&store).await), (10, 0));
    store.clear_cache();
    assert_eq!(read_all(&store).await, 10);
    for (entries, age) in [(9, Duration::from_secs(3600)), (0, Duration::from_secs(3600)), (100, Duration::ZERO)] {
        let store = with(entries, age);
        assert_eq!((read_all(&store).await, read_all(&store).await), (10, 10), "{entries} {age:?}");
    }
}

#[tokio::test]
async fn what_the_store_itself_writes_is_not_asked_for_in_vain() {
    let (watched, key) = (Watched::default(), key());
    let store = watched.sealed(&key);
    let (a, b) = (Path::from("a"), Path::from("b"));
    store.put(&a, "first".into()).await.unwrap();
    store.put(&b, "second".into()).await.unwrap();
    let known = async |path: &Path| {
        read(&store, path).await;
        watched.asked();
    };
    known(&a).await;
    store.put(&a, "third".into()).await.unwrap();
    watched.asked();
    assert_eq!((read(&store, &a).await.as_ref(), watched.asked().len()), (&b"third"[..], 1), "put");
    known(&b).await;
    store.copy(&a, &b).await.unwrap();
    watched.asked();
    assert_eq!((read(&store, &b).await.as_ref(), watched.asked().len()), (&b"third"[..], 1), "copy");
    store.put(&a, "fourth".into()).await.unwrap();
    known(&a).await;
    store.rename(&a, &b).await.unwrap();
    watched.asked();
    assert_eq!((read(&store, &b).await.as_ref(), watched.asked().len()), (&b"fourth"[..], 1), "rename");
    assert!(matches!(store.get(&a).await, Err(Error::NotFound { .. })));
    store.delete(&b).await.unwrap();
    assert!(matches!(store.get(&b).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn parts_are_no_more_than_the_callers() {
    let (watched, key, path) = (Watched::default(), key(), Path::from("a"));
    let store = watched.sealed(&key);
    for (part, parts) in [(5 << 20, 5), (9_000_000, 4), (1000, 3), (8 << 20, 1)] {
        let mut upload = store.put_multipart(&path).await.unwrap();
        let content = text(part * parts - 7);
        for piece in content.chunks(part) {
            upload.put_part(bytes::Bytes::copy_from_slice(piece).into()).await.unwrap();
        }
        upload.complete().await.unwrap();
        let asked = watched.asked();
        let (last, full) = asked[1..asked.len() - 1].split_last().unwrap();
        assert_eq!((&asked[0], asked.last()), (&Asked::Begin, Some(&Asked::Complete)));
        assert!(full.len() < parts, "{} parts of the store for {parts} of {part} bytes", full.len() + 1);
        let Some(Asked::Part(first)) = full.first().or(Some(last)) else { panic!("{last:?}") };
        assert!(full.iter().all(|part| *part == Asked::Part(*first)), "parts have one length: {full:?}");
        assert!(full.is_empty() || *first >= 5 << 20, "S3 takes no shorter parts");
        assert!(matches!(last, Asked::Part(1..)), "no store takes an empty part");
        assert!(read(&store, &path).await == content);
        watched.asked();
    }
}

/// Conditions go to the store, which alone can check them at the right moment.
#[tokio::test]
async fn conditions_are_passed_on() {
    let (watched, key, path) = (Watched::default(), key(), Path::from("a"));
    let store = watched.sealed(&key);
    let first = store.put_opts(&path, "one".into(), PutMode::Create.into()).await.unwrap();
    let again = store.put_opts(&path, "two".into(), PutMode::Create.into()).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })));
    for _ in 0..2 {
        // The second time, the object is known.
        let e_tag = first.e_tag.clone();
        let same = GetOptions::new().with_if_match(e_tag.clone());
        assert_eq!(store.get_opts(&path, same).await.unwrap().bytes().await.unwrap(), "one");
        let other = GetOptions::new().with_if_match(Some("\"other\""));
        assert!(matches!(store.get_opts(&path, other).await, Err(Error::Precondition { .. })));
        for head in [false, true] {
            let known = GetOptions::new().with_if_none_match(e_tag.clone()).with_head(head);
            assert!(matches!(store.get_opts(&path, known).await, Err(Error::NotModified { .. })), "{head}");
            let meta = store.head(&path).await.unwrap();
            let since = GetOptions::new().with_if_modified_since(Some(meta.last_modified)).with_head(head);
            assert!(matches!(store.get_opts(&path, since).await, Err(Error::NotModified { .. })), "{head}");
            let before = meta.last_modified - Duration::from_secs(9);
            let unmodified = GetOptions::new().with_if_unmodified_since(Some(before)).with_head(head);
            assert!(matches!(store.get_opts(&path, unmodified).await, Err(Error::Precondition { .. })), "{head}");
            let unmodified = GetOptions::new().with_if_unmodified_since(Some(meta.last_modified)).with_head(head);
            assert!(store.get_opts(&path, unmodified).await.is_ok(), "{head}");
        }
    }
    // An ETag that is asked for is that of the object that is there now, although another one is known.
    let second = watched.sealed(&key).put(&path, "two".into()).await.unwrap();
    let newer = GetOptions::new().with_if_match(second.e_tag);
    assert_eq!(store.get_opts(&path, newer).await.unwrap().bytes().await.unwrap(), "two");
    let older = GetOptions::new().with_if_match(first.e_tag);
    assert!(matches!(store.get_opts(&path, older).await, Err(Error::Precondition { .. })));
}

#[tokio::test]
async fn objects_that_are_not_sealed_are_refused_or_left_out() {
    let (watched, key) = (Watched::default(), key());
    let store = watched.sealed(&key);
    store.put(&Path::from("a"), "sealed".into()).await.unwrap();
    for (name, bytes) in [("b", text(100)), ("c", Vec::new()), ("d", text(200_000))] {
        let path = Path::from(name);
        watched.put_raw(&path, bytes);
        for error in [store.get(&path).await.unwrap_err(), store.head(&path).await.unwrap_err()] {
            assert!(matches!(cause(&error), Some(waxseal::Error::Format(_))), "{name}: {error}");
            assert!(error.to_string().contains(&format!("{name}: not a waxseal file")), "{error}");
        }
    }
    watched.put_raw(&Path::from("e"), watched.raw(&Path::from("a"))[..8000].to_vec());
    let all: Vec<_> = store.list(None).collect().await;
    assert_eq!(all.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, false, false]);
    let skipping =
        WaxsealStore::builder(Arc::new(watched.clone())).with_keys(keys(&key)).with_unsealed(Unsealed::Skip).build();
    let all: Vec<_> = skipping.list(None).collect().await;
    assert_eq!(all.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false], "a cut object is not left out");
    assert!(skipping.get(&Path::from("b")).await.is_err(), "it is still not read");
}

/// Guessing costs nothing and promises nothing: an object whose length was guessed wrong cannot be read.
#[tokio::test]
async fn a_wrong_guess_is_an_error() {
    let (watched, key) = (Watched::default(), key());
    let guessing =
        WaxsealStore::builder(Arc::new(watched.clone())).with_keys(keys(&key)).with_sizes(Sizes::Guessed).build();
    let (right, wrong) = (Path::from("right"), Path::from("wrong"));
    guessing.put(&right, text(5000).into()).await.unwrap();
    // Its labels need a longer header.
    let labels = Pairs::new([("note".to_owned(), "x".repeat(5000))]).unwrap();
    let labelled = keys(&key).with_options(SealOptions::new().with_labels(labels));
    let store = WaxsealStore::builder(Arc::new(watched.clone())).with_keys(labelled).build();
    store.put(&wrong, text(5000).into()).await.unwrap();
    assert_eq!(store.head(&wrong).await.unwrap().size, 5000);
    watched.asked();

    let listed: Vec<_> = guessing.list(None).try_collect().await.unwrap();
    assert_eq!(listed.iter().map(|meta| meta.size == 5000).collect::<Vec<_>>(), [true, false]);
    let (one, other) = (guessing.head(&right).await.unwrap(), guessing.head(&wrong).await.unwrap());
    assert_eq!((one.size, other.size == 5000), (5000, false));
    assert_eq!(watched.asked(), [Asked::List, Asked::Head, Asked::Head], "nothing is read");
    assert_eq!(read(&guessing, &right).await, text(5000));
    let refused = guessing.get_range(&wrong, 0..10).await.unwrap_err();
    assert!(refused.to_string().contains("sizes must not be guessed"), "{refused}");
    assert!(guessing.get_ranges(&wrong, &[0..10, 20..30]).await.is_err());
}

#[tokio::test]
async fn keys_are_chosen_by_name() {
    let watched = Watched::default();
    let (ours, theirs) = (key(), key());
    let (a, b) = (Arc::clone(&ours), Arc::clone(&theirs));
    let store = WaxsealStore::builder(Arc::new(watched.clone()))
        .with_keys(move |path: &Path| match path.parts().next() {
            Some(first) if first.as_ref() == "ours" => Ok(keys(&a)),
            Some(first) if first.as_ref() == "theirs" => Ok(keys(&b)),
            _ => Err(waxseal::Error::Invalid("no key for this folder".into())),
        })
        .build();
    let (one, other) = (Path::from("ours/1"), Path::from("theirs/1"));
    store.put(&one, "one".into()).await.unwrap();
    store.put(&other, "other".into()).await.unwrap();
    assert_eq!((read(&store, &one).await, read(&store, &other).await), ("one".into(), "other".into()));
    assert!(watched.sealed(&ours).get(&one).await.is_ok() && watched.sealed(&ours).get(&other).await.is_err());
    store.copy(&one, &Path::from("theirs/2")).await.unwrap();
    let refused = store.get(&Path::from("theirs/2")).await.unwrap_err();
    assert!(matches!(cause(&refused), Some(waxseal::Error::NoKey(_))), "{refused}");
    for error in
        [store.put(&Path::from("x/1"), "x".into()).await.unwrap_err(), store.get(&Path::from("x/1")).await.unwrap_err()]
    {
        assert!(error.to_string().contains("x/1: no key for this folder"), "{error}");
    }
}

/// The names of objects can be bound to them, and demands are checked before any key is used.
#[tokio::test]
async fn demands_are_checked_first() {
    let (watched, key, path) = (Watched::default(), key(), Path::from("a"));
    let labels = |text: &str| Pairs::parse([text]).unwrap();
    let options = SealOptions::new().with_labels(labels("env=prod"));
    let store =
        WaxsealStore::builder(Arc::new(watched.clone())).with_keys(keys(&key).with_options(options.clone())).build();
    store.put(&path, "x".into()).await.unwrap();
    let counted = Arc::new(Counted(Arc::clone(&key), AtomicUsize::new(0)));
    let demanding = |text: &str| {
        let keys = Keys::new().with_opener(Arc::clone(&counted) as _);
        let keys = keys.with_demands(Demands::new().with_labels(labels(text)));
        WaxsealStore::builder(Arc::new(watched.clone())).with_keys(keys).build()
    };
    assert_eq!(read(&demanding("env=prod"), &path).await, "x");
    assert_eq!(counted.1.swap(0, Ordering::Relaxed), 1);
    let refused = demanding("env=test").get(&path).await.unwrap_err();
    assert!(matches!(cause(&refused), Some(waxseal::Error::Unmet(_))), "{refused}");
    assert_eq!(counted.1.load(Ordering::Relaxed), 0);

    let bound = keys(&key).with_options(options).bound_to(&path).unwrap();
    assert!(bound.clone().bound_to(&path).is_err(), "there is such a label");
    let store = WaxsealStore::builder(Arc::new(watched.clone())).with_keys(bound).build();
    store.put(&path, "y".into()).await.unwrap();
    assert_eq!(read(&demanding("env=prod"), &path).await, "y");
    assert_eq!(read(&demanding("path=a"), &path).await, "y");
}
