//! A sealing store does what the plain one does: the same operations on both give the same answers. `object_store`'s own
//! tests of a store pass, too.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::buffered::BufWriter;
use object_store::integration;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    UpdateVersion,
};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;
use waxseal::keys::KeyFile;
use waxseal_object_store::{Keys, WaxsealStore};

#[path = "support/stores.rs"]
mod stores;

use stores::{keys, text};

const CHUNK: usize = 16384;

fn sealing(inner: Arc<dyn ObjectStore>) -> WaxsealStore {
    WaxsealStore::builder(inner).with_keys(keys(&Arc::new(KeyFile::generate().unwrap()))).build()
}

/// A store in a folder, and the folder.
fn local() -> (Arc<LocalFileSystem>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap()), folder)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[derive(Debug, Clone)]
enum Op {
    Put(usize, usize, Mode),
    /// Parts of these lengths, polled in this order of a seed.
    Multipart(usize, Vec<usize>, u64),
    Abort(usize, usize),
    Get(usize, Option<Kind>),
    GetRanges(usize, Vec<(f64, usize)>),
    Head(usize),
    List(Option<usize>),
    ListFrom(usize),
    ListFlat(Option<usize>),
    Copy(usize, usize),
    CopyNew(usize, usize),
    Rename(usize, usize),
    RenameNew(usize, usize),
    Delete(Vec<usize>),
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    Overwrite,
    Create,
    /// Of the current object.
    Update,
    /// Of another object.
    UpdateOther,
}

#[derive(Debug, Clone)]
enum Kind {
    Bounded(f64, u64),
    /// Of no length, or after the end.
    Wrong(u64, u64),
    Offset(f64),
    Suffix(u64),
}

const PATHS: [&str; 5] = ["a", "folder/a", "folder/b", "folder/deep/a", "other/a.parquet"];

fn path(number: usize) -> Path {
    Path::from(PATHS[number])
}

fn prefix(number: Option<usize>) -> Option<Path> {
    number.map(|number| Path::from(["folder", "folder/deep", "nothing"][number % 3]))
}

fn lens() -> impl Strategy<Value = usize> {
    let near = |chunks: usize| (chunks * CHUNK).saturating_sub(3)..chunks * CHUNK + 3;
    prop_oneof![3 => 0..200_usize, 3 => near(1), 2 => near(4), 2 => near(64), 1 => 100_000..300_000_usize]
}

fn ops() -> impl Strategy<Value = Op> {
    let at = || 0..PATHS.len();
    let mode = prop_oneof![
        3 => Just(Mode::Overwrite), 1 => Just(Mode::Create), 1 => Just(Mode::Update), 1 => Just(Mode::UpdateOther)
    ];
    let kind = prop_oneof![
        4 => (0.0..1.2, 0..200_000_u64).prop_map(|(start, len)| Kind::Bounded(start, len)),
        1 => (0..2_000_000_u64, 0..2_u64).prop_map(|(start, len)| Kind::Wrong(start, len)),
        1 => (0.0..1.2).prop_map(Kind::Offset),
        1 => (0..100_000_u64).prop_map(Kind::Suffix),
    ];
    prop_oneof![
        6 => (at(), lens(), mode).prop_map(|(at, len, mode)| Op::Put(at, len, mode)),
        2 => (at(), prop::collection::vec(lens(), 0..6), any::<u64>()).prop_map(|(at, parts, seed)| Op::Multipart(at, parts, seed)),
        1 => (at(), lens()).prop_map(|(at, len)| Op::Abort(at, len)),
        8 => (at(), prop::option::weighted(0.8, kind)).prop_map(|(at, kind)| Op::Get(at, kind)),
        3 => (at(), prop::collection::vec((0.0..1.0, 1..70_000_usize), 0..8)).prop_map(|(at, ranges)| Op::GetRanges(at, ranges)),
        3 => at().prop_map(Op::Head),
        2 => prop::option::of(0..3_usize).prop_map(Op::List),
        1 => at().prop_map(Op::ListFrom),
        1 => prop::option::of(0..3_usize).prop_map(Op::ListFlat),
        2 => (at(), at()).prop_map(|(from, to)| Op::Copy(from, to)),
        1 => (at(), at()).prop_map(|(from, to)| Op::CopyNew(from, to)),
        1 => (at(), at()).prop_map(|(from, to)| Op::Rename(from, to)),
        1 => (at(), at()).prop_map(|(from, to)| Op::RenameNew(from, to)),
        1 => prop::collection::vec(at(), 0..3).prop_map(Op::Delete),
    ]
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a random place"
)]
fn place(part: f64, len: u64) -> u64 {
    (part * (len + 1) as f64) as u64
}

/// What kind of error it is, without its text.
fn kind_of(error: &Error) -> &'static str {
    match error {
        Error::NotFound { .. } => "NotFound",
        Error::AlreadyExists { .. } => "AlreadyExists",
        Error::Precondition { .. } => "Precondition",
        Error::NotModified { .. } => "NotModified",
        Error::NotImplemented { .. } => "NotImplemented",
        Error::NotSupported { .. } => "NotSupported",
        Error::Generic { .. } => "Generic",
        _ => "other",
    }
}

/// The answer of an operation, as far as the two stores must agree.
type Answer = Result<String, &'static str>;

fn answer<T>(result: Result<T, Error>, shown: impl FnOnce(T) -> String) -> Answer {
    result.map(shown).map_err(|error| kind_of(&error))
}

/// The bytes of a get, with the length and the range that it reports.
async fn got(store: &dyn ObjectStore, path: &Path, options: GetOptions) -> Answer {
    let result = match store.get_opts(path, options).await {
        Ok(result) => result,
        Err(error) => return Err(kind_of(&error)),
    };
    let (size, range) = (result.meta.size, result.range.clone());
    answer(result.bytes().await, |bytes| format!("{size} {range:?} {}", digest(&bytes)))
}

/// Short, and different for different bytes.
fn digest(bytes: &[u8]) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{} bytes {:x}", bytes.len(), hasher.finish())
}

/// Content that depends on the number of the step.
fn content(step: usize, len: usize) -> Vec<u8> {
    text(len + step).split_off(step)
}

async fn len_of(store: &dyn ObjectStore, path: &Path) -> u64 {
    store.head(path).await.map_or(0, |meta| meta.size)
}

async fn run(store: &dyn ObjectStore, step: usize, op: &Op) -> Vec<Answer> {
    let done = |result: Result<(), Error>| vec![answer(result, |()| "done".into())];
    match op {
        Op::Put(at, len, mode) => vec![put(store, &path(*at), content(step, *len), *mode).await],
        Op::Multipart(at, parts, seed) => vec![multipart(store, &path(*at), step, parts, *seed).await],
        Op::Abort(at, len) => {
            let mut upload = store.put_multipart(&path(*at)).await.unwrap();
            upload.put_part(content(step, *len).into()).await.unwrap();
            done(upload.abort().await)
        }
        Op::Get(at, kind) => {
            let len = len_of(store, &path(*at)).await;
            let range = kind.as_ref().map(|kind| match kind {
                Kind::Bounded(start, length) => GetRange::Bounded(place(*start, len)..place(*start, len) + length),
                Kind::Wrong(start, length) => GetRange::Bounded(*start..start + length),
                Kind::Offset(start) => GetRange::Offset(place(*start, len)),
                Kind::Suffix(length) => GetRange::Suffix(*length),
            });
            vec![got(store, &path(*at), GetOptions { range, ..GetOptions::new() }).await]
        }
        Op::GetRanges(at, ranges) => {
            let len = len_of(store, &path(*at)).await;
            let within = |(start, length): &(f64, usize)| {
                let start = place(*start, len.saturating_sub(1));
                start..len.min(start + *length as u64)
            };
            let ranges: Vec<Range<u64>> = ranges.iter().map(within).filter(|range| !range.is_empty()).collect();
            let all = store.get_ranges(&path(*at), &ranges).await;
            if ranges.is_empty() {
                return Vec::new();
            }
            vec![answer(all, |all| all.iter().map(|bytes| digest(bytes)).collect::<Vec<_>>().join(", "))]
        }
        Op::Head(at) => vec![answer(store.head(&path(*at)).await, |meta| format!("{} {}", meta.location, meta.size))],
        Op::List(under) => listed(store.list(prefix(*under).as_ref()).collect().await),
        Op::ListFrom(at) => listed(store.list_with_offset(None, &path(*at)).collect().await),
        Op::ListFlat(under) => match store.list_with_delimiter(prefix(*under).as_ref()).await {
            Ok(result) => {
                let mut all = listed(result.objects.into_iter().map(Ok).collect());
                all.extend(result.common_prefixes.into_iter().map(|prefix| Ok(prefix.to_string())));
                all
            }
            Err(error) => vec![Err(kind_of(&error))],
        },
        Op::Copy(from, to) => done(store.copy(&path(*from), &path(*to)).await),
        Op::CopyNew(from, to) => done(store.copy_if_not_exists(&path(*from), &path(*to)).await),
        Op::Rename(from, to) => done(store.rename(&path(*from), &path(*to)).await),
        Op::RenameNew(from, to) => done(store.rename_if_not_exists(&path(*from), &path(*to)).await),
        Op::Delete(all) => {
            let paths: Vec<_> = all.iter().map(|at| Ok(path(*at))).collect();
            let deleted: Vec<_> = store.delete_stream(stream::iter(paths).boxed()).collect().await;
            let mut deleted: Vec<_> =
                deleted.into_iter().map(|result| answer(result, |path| path.to_string())).collect();
            // A store deletes several objects at once. If one is named twice, either deletion may come first.
            if all.iter().collect::<BTreeSet<_>>().len() < all.len() {
                deleted.sort();
            }
            deleted
        }
    }
}

async fn put(store: &dyn ObjectStore, path: &Path, content: Vec<u8>, mode: Mode) -> Answer {
    let current = store.head(path).await.ok();
    let version = |e_tag: Option<String>| PutMode::Update(UpdateVersion { e_tag, version: None });
    let mode = match mode {
        Mode::Overwrite => PutMode::Overwrite,
        Mode::Create => PutMode::Create,
        Mode::Update => version(current.and_then(|meta| meta.e_tag).or_else(|| Some("\"none\"".into()))),
        Mode::UpdateOther => version(Some("\"other\"".into())),
    };
    // A payload of several pieces.
    let pieces = content.chunks(40_000).map(bytes::Bytes::copy_from_slice);
    let put = store.put_opts(path, pieces.collect::<PutPayload>(), mode.into()).await;
    if let Ok(put) = &put {
        assert_eq!(put.e_tag, store.head(path).await.unwrap().e_tag, "the ETag is that of the object");
    }
    answer(put, |_| "put".into())
}

async fn multipart(store: &dyn ObjectStore, path: &Path, step: usize, lens: &[usize], mut seed: u64) -> Answer {
    let mut upload = store.put_multipart(path).await.unwrap();
    let mut parts = Vec::new();
    for (number, len) in lens.iter().enumerate() {
        parts.push(upload.put_part(content(step + number, *len).into()));
    }
    // In any order.
    while !parts.is_empty() {
        let next = usize::try_from(seed % parts.len() as u64).unwrap();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        parts.swap_remove(next).await.unwrap();
    }
    answer(upload.complete().await, |_| "put".into())
}

fn listed(all: Vec<Result<object_store::ObjectMeta, Error>>) -> Vec<Answer> {
    let shown = |result| answer(result, |meta: object_store::ObjectMeta| format!("{} {}", meta.location, meta.size));
    let mut all: Vec<_> = all.into_iter().map(shown).collect();
    // A store promises no order.
    all.sort();
    all
}

async fn compare(plain: &dyn ObjectStore, sealed: &dyn ObjectStore, ops: &[Op]) -> Result<(), TestCaseError> {
    for (step, op) in ops.iter().enumerate() {
        let (expected, found) = (run(plain, step, op).await, run(sealed, step, op).await);
        prop_assert_eq!(expected, found, "step {}: {:?}", step, op);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_store_in_memory_shows_the_same(ops in prop::collection::vec(ops(), 1..40)) {
        runtime().block_on(compare(&InMemory::new(), &sealing(Arc::new(InMemory::new())), &ops))?;
    }

    #[test]
    fn a_store_of_files_shows_the_same(ops in prop::collection::vec(ops(), 1..40)) {
        let ((plain, _one), (inner, _other)) = (local(), local());
        runtime().block_on(compare(&*plain, &sealing(inner), &ops))?;
    }
}

/// `object_store`'s own tests of a store.
async fn conforms(store: &dyn ObjectStore, updates: bool) {
    let store: &object_store::DynObjectStore = store;
    integration::put_get_delete_list(store).await;
    integration::get_opts(store).await;
    delete_all(store).await;
    integration::list_uses_directories_correctly(store).await;
    integration::list_with_delimiter(store).await;
    integration::rename_and_copy(store).await;
    integration::copy_if_not_exists(store).await;
    integration::copy_rename_nonexistent_object(store).await;
    delete_all(store).await;
    integration::stream_get(store).await;
    integration::multipart_out_of_order(store).await;
    integration::multipart_race_condition(store, true).await;
    integration::put_opts(store, updates).await;
    delete_all(store).await;
    assert!(matches!(integration::get_nonexistent_object(store, None).await, Err(Error::NotFound { .. })));
}

async fn delete_all(store: &dyn ObjectStore) {
    let all: Vec<_> = store.list(None).map_ok(|meta| meta.location).collect().await;
    let deleted: Vec<_> = store.delete_stream(stream::iter(all).boxed()).try_collect().await.unwrap();
    drop(deleted);
}

#[test]
fn it_conforms_over_a_store_in_memory() {
    let store = sealing(Arc::new(InMemory::new()));
    runtime().block_on(async {
        conforms(&store, true).await;
        integration::put_get_attributes(&store).await;
        integration::list_with_offset_exclusivity(&store).await;
    });
}

#[test]
fn it_conforms_over_a_store_of_files() {
    let (inner, _folder) = local();
    runtime().block_on(conforms(&sealing(inner), false));
}

/// Outside a runtime, everything is done where it is polled.
#[test]
fn it_needs_no_runtime() {
    use futures_util::FutureExt;
    let store = sealing(Arc::new(InMemory::new()));
    let (path, content) = (Path::from("a"), text(3_000_000));
    let all = async {
        store.put(&path, content.clone().into()).await.unwrap();
        let mut upload = store.put_multipart(&Path::from("b")).await.unwrap();
        upload.put_part(content.clone().into()).await.unwrap();
        upload.complete().await.unwrap();
        store.list(None).try_collect::<Vec<_>>().await.unwrap().len()
    };
    assert_eq!(all.now_or_never(), Some(2));
    let read = async { store.get(&Path::from("b")).await.unwrap().bytes().await.unwrap() };
    assert_eq!(read.now_or_never().unwrap(), content);
}

/// The writer that DataFusion and others use, with attributes that the wrapped store keeps.
#[tokio::test]
async fn a_buffered_writer_writes_large_objects() {
    let store: Arc<dyn ObjectStore> = Arc::new(sealing(Arc::new(InMemory::new())));
    let attributes = Attributes::from_iter([(Attribute::ContentType, "application/vnd.apache.parquet")]);
    for len in [0, 100, 3_000_000, 23_000_000] {
        let (path, content) = (Path::from(format!("{len}.parquet")), text(len));
        let mut writer =
            BufWriter::with_capacity(Arc::clone(&store), path.clone(), 6 << 20).with_attributes(attributes.clone());
        writer.write_all(&content).await.unwrap();
        assert!(store.head(&path).await.is_err(), "nothing is visible before the end");
        writer.shutdown().await.unwrap();
        let read = store.get(&path).await.unwrap();
        assert_eq!((read.meta.size, &read.attributes), (len as u64, &attributes));
        assert!(read.bytes().await.unwrap() == content, "{len}");
        if len > 0 {
            let tail = GetOptions::new().with_range(Some(GetRange::Suffix(70)));
            let tail = store.get_opts(&path, tail).await.unwrap().bytes().await.unwrap();
            assert_eq!(tail, content[len - 70..]);
        }
    }
}

/// Without keys, nothing is written and nothing is read.
#[tokio::test]
async fn no_keys_no_objects() {
    let inner = Arc::new(InMemory::new());
    let path = Path::from("a");
    sealing(Arc::clone(&inner) as _).put(&path, "secret".into()).await.unwrap();
    for store in [
        WaxsealStore::builder(Arc::clone(&inner) as _).build(),
        WaxsealStore::builder(Arc::clone(&inner) as _).with_keys(Keys::new()).build(),
    ] {
        assert!(store.get(&path).await.is_err() && store.head(&path).await.is_err());
        assert!(store.put_opts(&path, "other".into(), PutOptions::default()).await.is_err());
        assert!(store.put_multipart(&path).await.is_err());
        assert!(store.list(None).try_collect::<Vec<_>>().await.is_err());
    }
}
