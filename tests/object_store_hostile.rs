//! A store that alters, cuts, swaps or replaces objects, at any moment: the sealing store answers with an error or with
//! the right bytes, and with no others. An upload that does not end leaves nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{join_all, poll_immediate};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use waxseal::error::InputChanged;
use waxseal::keys::KeyFile;
use waxseal_object_store::{WaxsealStore, cause};

#[path = "support/stores.rs"]
mod stores;

use stores::{Asked, Watched, keys, text};

fn key() -> Arc<KeyFile> {
    Arc::new(KeyFile::generate().unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn is_tampered(error: &Error) -> bool {
    matches!(cause(error), Some(waxseal::Error::Tampered(_)))
}

/// The input changed, says the error at some depth.
fn is_changed(error: &Error) -> bool {
    let Some(waxseal::Error::Io { source, .. }) = cause(error) else { return false };
    source.get_ref().is_some_and(|source| source.is::<InputChanged>())
}

/// All that a store can be asked about an object of `len` bytes.
async fn everything(store: &WaxsealStore, path: &Path, len: u64) -> Vec<Result<Vec<u8>, Error>> {
    let options = [
        GetOptions::new(),
        GetOptions::new().with_range(Some(GetRange::Bounded(0..10))),
        GetOptions::new().with_range(Some(GetRange::Bounded(len / 2..len / 2 + 20_000))),
        GetOptions::new().with_range(Some(GetRange::Suffix(100))),
    ];
    let mut answers = Vec::new();
    for options in options {
        let got = async { store.get_opts(path, options).await?.bytes().await };
        answers.push(got.await.map(|bytes| bytes.to_vec()));
    }
    let ranges = store.get_ranges(path, &[len / 3..len / 3 + 10, len - 10..len]).await;
    answers.push(ranges.map(|all| all.concat()));
    answers.push(store.head(path).await.map(|meta| meta.size.to_le_bytes().to_vec()));
    let listed = store.list(None).try_collect::<Vec<_>>().await;
    answers.push(listed.map(|all| all[0].size.to_le_bytes().to_vec()));
    answers
}

/// Puts `raw` in the place of the right object, which is there now. Each answer must be an error or the right one. Returns
/// the number of errors.
async fn altered(watched: &Watched, store: &WaxsealStore, path: &Path, len: u64, raw: &[u8]) -> usize {
    let expected = everything(store, path, len).await;
    let mut errors = 0;
    // With a header that is known, with one that was forgotten after a failure, and with none.
    for round in 0..3 {
        if round == 2 {
            store.clear_cache();
        }
        watched.put_raw(path, raw.to_vec());
        for (number, (found, expected)) in everything(store, path, len).await.into_iter().zip(&expected).enumerate() {
            match found {
                Ok(found) => assert_eq!(&found, expected.as_ref().unwrap(), "round {round}, answer {number}"),
                Err(_) => errors += 1,
            }
        }
    }
    errors
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![Just(100_usize), 16_000..17_000_usize, Just(200_000_usize), Just(4_300_000_usize)]
}

/// A place in something of this length.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a random place"
)]
fn place(part: f64, len: usize) -> usize {
    (part * len as f64) as usize
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn an_altered_byte_is_never_read(len in sizes(), at in 0.0..1.0_f64, bit in 0..8, without_e_tags: bool) {
        let (watched, path) = (Watched { without_e_tags, ..Watched::default() }, Path::from("a"));
        let store = watched.sealed(&key());
        runtime().block_on(async {
            store.put(&path, text(len).into()).await.unwrap();
            let mut raw = watched.raw(&path);
            let at = place(at, raw.len());
            raw[at] ^= 1_u8 << bit;
            let header = raw.len() - (56 + len + (len / 16_384 + 1) * 16);
            let errors = altered(&watched, &store, &path, len as u64, &raw).await;
            // The header has two copies, and one of them is enough. In the payload, each byte counts for somebody.
            assert!(errors > 0 || at < header, "byte {at} of {}", raw.len());
        });
    }

    #[test]
    fn a_cut_object_is_never_read(len in sizes(), kept in 0.0..1.0_f64, without_e_tags: bool) {
        let (watched, path) = (Watched { without_e_tags, ..Watched::default() }, Path::from("a"));
        let store = watched.sealed(&key());
        runtime().block_on(async {
            store.put(&path, text(len).into()).await.unwrap();
            let mut raw = watched.raw(&path);
            raw.truncate(place(kept, raw.len()));
            let errors = altered(&watched, &store, &path, len as u64, &raw).await;
            assert_eq!(errors, 21, "each answer is an error");
        });
    }
}

/// Chunks of one object in the place of others, and those of another object with the same key.
#[tokio::test]
async fn chunks_are_bound_to_their_places() {
    let (watched, key, path) = (Watched::default(), key(), Path::from("a"));
    let store = watched.sealed(&key);
    store.put(&path, text(100_000).into()).await.unwrap();
    let right = watched.raw(&path);
    store.put(&Path::from("b"), text(100_000).into()).await.unwrap();
    let other = watched.raw(&Path::from("b"));
    let chunk = |number: usize| 8248 + number * 16_400..8248 + (number + 1) * 16_400;
    let (mut swapped, mut mixed) = (right.clone(), right.clone());
    swapped[chunk(0)].copy_from_slice(&right[chunk(1)]);
    swapped[chunk(1)].copy_from_slice(&right[chunk(0)]);
    mixed[chunk(2)].copy_from_slice(&other[chunk(2)]);
    let longer = [&right[..], &right[chunk(5)]].concat();
    for (raw, from) in [(swapped, 0), (mixed, 40_000), (longer, 0)] {
        watched.put_raw(&path, raw);
        let read = async { store.get_range(&path, from..from + 10).await }.await;
        assert!(is_tampered(&read.unwrap_err()));
    }
}

/// A stream of a damaged object gives what comes before the damage, then the error, and then nothing.
#[tokio::test]
async fn nothing_follows_an_error() {
    let (watched, path, content) = (Watched::default(), Path::from("a"), text(8 << 20));
    let store = watched.sealed(&key());
    store.put(&path, content.clone().into()).await.unwrap();
    let mut raw = watched.raw(&path);
    raw[5_000_000] ^= 1;
    watched.put_raw(&path, raw);
    let answers: Vec<_> = store.get(&path).await.unwrap().into_stream().collect().await;
    let (last, before) = answers.split_last().unwrap();
    assert!(is_tampered(last.as_ref().unwrap_err()));
    let before: Vec<u8> = before.iter().flat_map(|bytes| bytes.as_ref().unwrap().to_vec()).collect();
    assert!(before.len() > 3_000_000 && before == content[..before.len()]);
    let read = store.get_range(&path, 6_000_000..6_000_010).await.unwrap();
    assert_eq!(read, content[6_000_000..6_000_010], "the rest of it is right");
}

#[tokio::test]
async fn a_wrong_key_opens_nothing() {
    let (watched, path) = (Watched::default(), Path::from("a"));
    watched.sealed(&key()).put(&path, text(1000).into()).await.unwrap();
    let answers = everything(&watched.sealed(&key()), &path, 1000).await;
    assert_eq!(answers.len(), 7);
    for answer in answers {
        let error = answer.unwrap_err();
        assert!(matches!(cause(&error), Some(waxseal::Error::NoKey(_))), "{error}");
        assert!(error.to_string().contains("a: no key opens this file"), "{error}");
    }
}

/// Somebody replaces the object before the request of each number: the answer is the old or the new object, and no
/// mixture of both.
#[tokio::test]
async fn a_replaced_object_is_opened_again() {
    let (old, new) = (text(6_000_000), text(7_000_000).split_off(1000));
    for without_conditions in [false, true] {
        for (number, known) in (1..=3).flat_map(|number| [(number, false), (number, true)]) {
            let (watched, path, key) = (Watched { without_conditions, ..Watched::default() }, Path::from("a"), key());
            let (store, elsewhere) = (watched.sealed(&key), Path::from("elsewhere"));
            store.put(&path, old.clone().into()).await.unwrap();
            store.put(&elsewhere, new.clone().into()).await.unwrap();
            let replacement = watched.raw(&elsewhere);
            if known {
                store.head(&path).await.unwrap();
            }
            let (inner, at) = (watched.clone(), path.clone());
            watched.before_get(move |asked| {
                if asked == number {
                    inner.put_raw(&at, replacement.clone());
                }
            });
            let read = store.get(&path).await.unwrap();
            let (size, read) = (read.meta.size, read.bytes().await.unwrap());
            let expected = if number == 1 || !known { &new } else { &old };
            assert!(read == *expected && size == read.len() as u64, "before request {number}, {known}");
            let ranges = store.get_ranges(&path, &[0..10, 5_000_000..5_000_010]).await.unwrap().concat();
            let now = if number == 1 || !known { &new } else { &old };
            let now = [&now[..10], &now[5_000_000..5_000_010]].concat();
            assert!(ranges == now || known, "{number} {known}");
        }
    }
}

/// Somebody replaces or deletes the object after it was listed.
#[tokio::test]
async fn an_object_that_is_replaced_while_it_is_listed() {
    let (old, new) = (text(6_000_000), text(7_000_000).split_off(1000));
    for without in [(false, false), (true, false), (true, true)] {
        for (number, deleted) in (1..=3).flat_map(|number| [(number, false), (number, true)]) {
            let (without_e_tags, without_conditions) = without;
            let watched = Watched { without_e_tags, without_conditions, ..Watched::default() };
            let (path, key) = (Path::from("lake/a"), key());
            let (store, elsewhere) = (watched.sealed(&key), Path::from("elsewhere"));
            store.put(&path, old.clone().into()).await.unwrap();
            store.put(&elsewhere, new.clone().into()).await.unwrap();
            let replacement = watched.raw(&elsewhere);
            let (inner, at) = (watched.clone(), path.clone());
            watched.before_get(move |asked| match (asked == number, deleted) {
                (true, true) => inner.delete_raw(&at),
                (true, false) => inner.put_raw(&at, replacement.clone()),
                (false, _) => {}
            });
            let listed: Vec<_> = match store.list(Some(&Path::from("lake"))).try_collect().await {
                Ok(listed) => listed,
                Err(error) if is_changed(&error) => continue,
                Err(error) => panic!("before request {number}, {deleted}, {without:?}: {error}"),
            };
            let sizes: Vec<_> = listed.iter().map(|meta| meta.size).collect();
            match (number, deleted) {
                // The list takes two requests.
                (3, _) => assert_eq!(sizes, [old.len() as u64]),
                (1, true) => assert!(sizes.is_empty()),
                (_, true) => assert!(sizes.is_empty() || sizes == [old.len() as u64]),
                (_, false) => assert_eq!(sizes, [new.len() as u64], "before request {number}, {without:?}"),
            }
        }
    }
}

/// The same for several ranges, whose requests run side by side.
#[tokio::test]
async fn ranges_are_never_of_two_objects() {
    let (old, new) = (text(9_000_000), text(9_001_000).split_off(1000));
    for number in 1..=5 {
        let (watched, path, key) = (Watched::default(), Path::from("a"), key());
        let (store, elsewhere) = (watched.sealed(&key), Path::from("elsewhere"));
        store.put(&path, old.clone().into()).await.unwrap();
        store.put(&elsewhere, new.clone().into()).await.unwrap();
        let replacement = watched.raw(&elsewhere);
        store.head(&path).await.unwrap();
        let (inner, at) = (watched.clone(), path.clone());
        watched.before_get(move |asked| {
            if asked == number {
                inner.put_raw(&at, replacement.clone());
            }
        });
        let ranges = [0..10, 4_000_000..4_000_010, 8_000_000..8_000_010];
        let read = store.get_ranges(&path, &ranges).await.unwrap().concat();
        let of =
            |content: &[u8]| [&content[..10], &content[4_000_000..4_000_010], &content[8_000_000..8_000_010]].concat();
        assert!(read == of(&new) || (number > 3 && read == of(&old)), "before request {number}");
    }
}

/// An object that changes all the time is an error and not an endless loop.
#[tokio::test]
async fn an_object_that_never_rests_is_an_error() {
    let (watched, path, key) = (Watched::default(), Path::from("a"), key());
    let store = watched.sealed(&key);
    let mut objects = Vec::new();
    for len in [5_000_000, 5_000_001] {
        store.put(&path, text(len).into()).await.unwrap();
        objects.push(watched.raw(&path));
    }
    let (inner, at, asked) = (watched.clone(), path.clone(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&asked);
    watched.before_get(move |number| {
        counter.store(number, Ordering::Relaxed);
        inner.put_raw(&at, objects[number % 2].clone());
    });
    let error = store.get(&path).await.unwrap_err();
    assert!(is_changed(&error), "{error}");
    let error = store.get_ranges(&path, &[0..10, 20..30]).await.unwrap_err();
    assert!(is_changed(&error), "{error}");
    assert!(asked.load(Ordering::Relaxed) < 12, "it gives up soon");
}

/// A store that ends its answers early.
#[tokio::test]
async fn short_answers_are_errors() {
    let (watched, path) = (Watched::default(), Path::from("a"));
    let store = watched.sealed(&key());
    for len in [1000, 6_000_000] {
        watched.cut_answers(false);
        store.put(&path, text(len).into()).await.unwrap();
        store.head(&path).await.unwrap();
        watched.cut_answers(true);
        for known in [true, false] {
            if !known {
                store.clear_cache();
            }
            let read = async { store.get(&path).await?.bytes().await };
            assert!(is_changed(&read.await.unwrap_err()));
            assert!(is_changed(&store.get_ranges(&path, &[0..10, 20..30]).await.unwrap_err()));
            assert_eq!(store.head(&path).await.is_ok(), known);
        }
    }
}

/// A shorter object in a store without ETags and conditions: what is known about the old one is forgotten.
#[tokio::test]
async fn a_shorter_object_is_noticed_without_e_tags() {
    let watched = Watched { without_e_tags: true, without_conditions: true, ..Watched::default() };
    let (key, path) = (key(), Path::from("a"));
    let store = watched.sealed(&key);
    store.put(&path, text(9_000_000).into()).await.unwrap();
    store.head(&path).await.unwrap();
    watched.sealed(&key).put(&path, text(100).into()).await.unwrap();
    let suffix = GetOptions::new().with_range(Some(GetRange::Suffix(10)));
    let read = async { store.get_opts(&path, suffix).await?.bytes().await };
    assert_eq!(read.await.unwrap(), text(100)[90..]);
}

/// Parts are sealed in order. What is not completed is not there.
#[tokio::test]
async fn an_upload_that_does_not_end_leaves_nothing() {
    let (watched, path) = (Watched::default(), Path::from("a"));
    let store = watched.sealed(&key());
    let part = || text(9_000_000).into();
    let begin = async || store.put_multipart(&path).await.unwrap();

    // It is dropped, with a part that was uploaded, one that was begun, and one that was not.
    let mut upload = begin().await;
    upload.put_part(part()).await.unwrap();
    let mut begun = upload.put_part(part());
    assert!(poll_immediate(&mut begun).await.is_none());
    let never = upload.put_part(part());
    drop((begun, never));
    drop(upload);
    assert!(matches!(store.head(&path).await, Err(Error::NotFound { .. })));

    // It is aborted, and used afterwards.
    let mut upload = begin().await;
    upload.put_part(part()).await.unwrap();
    watched.asked();
    upload.abort().await.unwrap();
    assert_eq!(watched.asked(), [Asked::Abort]);
    assert!(upload.put_part(part()).await.is_err() && upload.complete().await.is_err());

    // A part is dropped in the middle: the object would lack it.
    let mut upload = begin().await;
    upload.put_part(part()).await.unwrap();
    let mut begun = upload.put_part(part());
    assert!(poll_immediate(&mut begun).await.is_none());
    drop(begun);
    let refused = upload.complete().await.unwrap_err();
    assert!(matches!(cause(&refused), Some(waxseal::Error::ApiMisuse(_))), "{refused}");
    assert!(!watched.asked().contains(&Asked::Complete));

    // A part fails, and the caller completes in spite of it.
    let mut upload = begin().await;
    watched.fail_part(1);
    let parts: Vec<_> = (0..3).map(|_| upload.put_part(part())).collect();
    let ended = join_all(parts).await;
    assert!(ended.iter().any(Result::is_err), "{ended:?}");
    assert!(upload.complete().await.is_err());
    assert!(!watched.asked().contains(&Asked::Complete));
    assert!(matches!(store.head(&path).await, Err(Error::NotFound { .. })));
}

/// Nothing is uploaded in vain: a part that its caller never asked for is still a part.
#[tokio::test]
async fn parts_that_nobody_polled_are_uploaded_at_the_end() {
    let (watched, path) = (Watched::default(), Path::from("a"));
    let store = watched.sealed(&key());
    let mut upload = store.put_multipart(&path).await.unwrap();
    let content = text(30_000_000);
    let mut parts: Vec<_> =
        content.chunks(9_000_000).map(|piece| upload.put_part(bytes::Bytes::copy_from_slice(piece).into())).collect();
    parts.remove(2).await.unwrap();
    drop(parts);
    upload.complete().await.unwrap();
    assert!(store.get(&path).await.unwrap().bytes().await.unwrap() == content);
    assert!(upload.complete().await.is_err() && upload.put_part("x".into()).await.is_err(), "it has ended");
}

/// Nobody waits for a part whose caller has begun it and does something else now.
#[tokio::test]
async fn a_part_that_waits_stops_no_other() {
    let path = Path::from("a");
    let store = Watched::default().sealed(&key());
    let content = text(27_000_000);
    for last in ["part", "complete"] {
        let mut upload = store.put_multipart(&path).await.unwrap();
        let pieces = content.chunks(9_000_000).map(bytes::Bytes::copy_from_slice);
        let mut parts: Vec<_> = pieces.map(|piece| upload.put_part(piece.into())).collect();
        assert!(poll_immediate(&mut parts[0]).await.is_none(), "it is being sealed");
        let limit = std::time::Duration::from_secs(20);
        if last == "part" {
            tokio::time::timeout(limit, parts.remove(2)).await.expect("the first part stops the last one").unwrap();
        }
        tokio::time::timeout(limit, upload.complete()).await.expect("the first part stops the end").unwrap();
        assert!(store.get(&path).await.unwrap().bytes().await.unwrap() == content, "{last}");
    }
}

/// Somebody reads while an object is replaced again and again: each answer is one of the objects.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_writers_at_once() {
    let path = Path::from("a");
    let watched = Watched { slow: true, ..Watched::default() };
    let key = key();
    let (store, other) = (watched.sealed(&key), watched.sealed(&key));
    let content = |number: usize| vec![u8::try_from(number).unwrap(); 150_000 + number * 1000];
    store.put(&path, content(0).into()).await.unwrap();
    let writer = {
        let (path, key) = (path.clone(), Arc::clone(&key));
        let writer = WaxsealStore::builder(Arc::new(watched.clone())).with_keys(keys(&key)).build();
        tokio::spawn(async move {
            for number in 1..60 {
                writer.put(&path, content(number).into()).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    let mut seen = 0;
    while !writer.is_finished() {
        for store in [&store, &other] {
            let read = match store.get(&path).await {
                Ok(read) => read,
                Err(error) if is_changed(&error) => continue,
                Err(error) => panic!("{error}"),
            };
            let bytes = read.bytes().await.unwrap();
            let number = usize::from(bytes[0]);
            assert!(bytes == content(number), "{number}: {}", bytes.len());
            let size = store.head(&path).await;
            assert!(size.map_or(true, |meta| meta.size >= bytes.len() as u64));
            seen += 1;
        }
    }
    writer.await.unwrap();
    assert!(seen > 0);
    assert!(store.get(&path).await.unwrap().bytes().await.unwrap() == content(59));
}

/// No text shows a secret that the wrapped store or a key has.
#[tokio::test]
async fn nothing_secret_is_shown() {
    let (watched, key, path) = (Watched::default(), key(), Path::from("a"));
    let store = watched.sealed(&key);
    let upload = store.put_multipart(&path).await.unwrap();
    let builder = WaxsealStore::builder(Arc::new(watched.clone())).with_keys(keys(&key));
    let shown = format!("{store} {store:?} {upload:?} {builder:?} {:?}", keys(&key));
    assert!(shown.contains("WaxsealStore(Watched)") && shown.contains("SealedUpload"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
