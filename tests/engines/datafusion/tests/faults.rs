//! Whatever happens to a sealed file, a query gives the rows of one version of it, or an error that says what happened.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::error::{DataFusionError, Result};
use datafusion::object_store::memory::InMemory;
use datafusion::object_store::path::Path;
use datafusion::object_store::{ObjectStoreExt, PutPayload};
use datafusion::prelude::SessionContext;
use engines::{Lake, Layout, Table};
use futures::{FutureExt, StreamExt};
use waxseal::keys::KeyFile;
use waxseal_object_store::Keys;

const LAYOUT: Layout = Layout { first: 0, rows: 300, group: 100 };
const FILE: &str = "t/1.parquet";
/// The header of a sealed file of this length ends here, and its payload begins.
const HEADER: usize = 2 * 4096;

/// The sealed file of a version.
async fn file(key: &Arc<KeyFile>, version: i64) -> Vec<u8> {
    let lake = Lake::sealed(key);
    lake.put(FILE, Table { layout: LAYOUT, version }.parquet().unwrap()).await.unwrap();
    lake.memory.get(&Path::from(FILE)).await.unwrap().bytes().await.unwrap().to_vec()
}

fn put(memory: &InMemory, name: &str, bytes: &[u8]) {
    let payload = PutPayload::from(bytes.to_vec());
    memory.put(&Path::from(name), payload).now_or_never().unwrap().unwrap();
}

/// A lake with one file.
fn lake_of(key: &Arc<KeyFile>, bytes: &[u8]) -> Lake {
    let lake = Lake::sealed(key);
    put(&lake.memory, FILE, bytes);
    lake
}

/// Reads all rows, and checks each of them before an error comes.
///
/// # Panics
/// If a row is wrong, or if the rows are of different versions.
async fn read(session: &SessionContext) -> Result<i64> {
    let mut batches = session.sql("SELECT id, pad, value FROM t").await?.execute_stream().await?;
    let (mut rows, mut version) = (0, None);
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let found = Table::version_of(LAYOUT, &batch).expect("wrong rows came out");
        if let Some(found) = found {
            assert_eq!(*version.get_or_insert(found), found, "rows of two versions came out");
        }
        rows += batch.num_rows();
    }
    assert_eq!(rows, LAYOUT.rows, "rows are missing, without an error");
    Ok(version.unwrap())
}

async fn open_and_read(lake: &Lake) -> Result<i64> {
    read(&lake.table().await?).await
}

/// The error with all its causes.
fn text(error: &DataFusionError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn says(result: Result<i64>, what: &[&str]) -> bool {
    let text = text(&result.unwrap_err());
    what.iter().any(|what| text.contains(what)) || panic!("none of {what:?} is in: {text}")
}

#[tokio::test]
async fn another_key() {
    let (key, other) = (Arc::new(KeyFile::generate().unwrap()), Arc::new(KeyFile::generate().unwrap()));
    let lake = lake_of(&other, &file(&key, 0).await);
    assert!(says(open_and_read(&lake).await, &["no key opens this file"]));
}

/// With [`Keys::bound_to`], an authentic file does not open under the name of another one. Without it, it does.
#[tokio::test]
async fn a_file_under_the_name_of_another_one() {
    const OTHER: &str = "t/2.parquet";
    let key = Arc::new(KeyFile::generate().unwrap());
    let parquet = Table { layout: LAYOUT, version: 0 }.parquet().unwrap();
    for bound in [false, true] {
        let keys = Keys::new().with_key(Arc::clone(&key));
        let keys = move |path: &Path| if bound { keys.clone().bound_to(path) } else { Ok(keys.clone()) };
        let lake = Lake::with_keys(keys);
        lake.put(FILE, parquet.clone()).await.unwrap();
        assert_eq!(open_and_read(&lake).await.unwrap(), 0, "under its own name it opens");
        let name = |name: &str| Path::from(name);
        lake.memory.copy(&name(FILE), &name(OTHER)).await.unwrap();
        lake.memory.delete(&name(FILE)).await.unwrap();
        let read = open_and_read(&lake).await;
        if bound {
            assert!(says(read, &["label"]));
        } else {
            assert_eq!(read.unwrap(), 0);
        }
    }
}

/// A plain file among sealed ones is an error, too: nobody authenticates its rows.
#[tokio::test]
async fn a_file_that_is_not_sealed() {
    let key = Arc::new(KeyFile::generate().unwrap());
    let lake = lake_of(&key, &Table { layout: LAYOUT, version: 0 }.parquet().unwrap());
    assert!(says(open_and_read(&lake).await, &["not a waxseal file", "not sealed"]));
}

/// One altered byte, at many places of the header and of the payload.
#[tokio::test]
async fn an_altered_file() {
    let key = Arc::new(KeyFile::generate().unwrap());
    let whole = file(&key, 0).await;
    let places = (0..HEADER).step_by(311).chain((HEADER..whole.len()).step_by(7919)).chain([whole.len() - 1]);
    for place in places {
        let mut altered = whole.clone();
        altered[place] ^= 1;
        match open_and_read(&lake_of(&key, &altered)).await {
            // The header has each byte twice, and bytes that mean nothing.
            Ok(version) => assert!(version == 0 && place < HEADER, "the altered byte {place} was not noticed"),
            error if place >= HEADER => {
                assert!(says(error, &["does not authenticate", "does not start with the salt"]), "{place}");
            }
            error => assert!(!text(&error.unwrap_err()).is_empty()),
        }
    }
}

/// The file ends earlier: within its header, within a chunk, and between two chunks.
#[tokio::test]
async fn a_cut_file() {
    let key = Arc::new(KeyFile::generate().unwrap());
    let whole = file(&key, 0).await;
    let chunks = (whole.len() - HEADER - 56) / 16_400;
    let ends = [0, 1, 100, 4095, HEADER - 1, HEADER, HEADER + 55, HEADER + 56, whole.len() - 1, whole.len() / 2];
    for end in ends.into_iter().chain((1..=chunks).map(|chunk| HEADER + 56 + chunk * 16_400)) {
        let result = open_and_read(&lake_of(&key, &whole[..end])).await;
        assert!(
            says(
                result,
                &["truncated", "not a waxseal file", "ends inside its header", "damaged", "does not authenticate"]
            ),
            "{end}"
        );
    }
}

/// What a query gives if `change` happens before one of its requests to the store: one result for each request.
async fn in_the_middle(
    key: &Arc<KeyFile>,
    old: &[u8],
    change: impl Fn(&InMemory) + Clone + Send + Sync + 'static,
) -> Vec<Result<i64>> {
    let mut results = Vec::new();
    for at in 0.. {
        let memory = Arc::new(InMemory::new());
        put(&memory, FILE, old);
        let changed = Arc::new(AtomicBool::new(false));
        let (behind, change, done) = (memory.clone(), change.clone(), changed.clone());
        let hook = move |earlier, _: &Path| {
            if earlier >= at && !done.swap(true, Ordering::Relaxed) {
                change(&behind);
            }
        };
        let lake = Lake::watched(key, memory, |watched| watched.with_hook(hook));
        let result = open_and_read(&lake).await;
        if !changed.load(Ordering::Relaxed) {
            assert_eq!(result.unwrap(), 0);
            break;
        }
        results.push(result);
    }
    assert!(results.len() >= 3, "only {} requests", results.len());
    results
}

#[tokio::test]
async fn a_file_that_is_replaced_during_a_query() {
    let key = Arc::new(KeyFile::generate().unwrap());
    let (old, new) = (file(&key, 0).await, file(&key, 1).await);
    assert_eq!(old.len(), new.len());
    let results = in_the_middle(&key, &old, move |memory| put(memory, FILE, &new)).await;
    let mut refused = 0;
    for (at, result) in results.into_iter().enumerate() {
        match result {
            Ok(version) => assert!(version == 0 || version == 1, "{at}"),
            error => refused += usize::from(says(error, &["replaced", "changed"])),
        }
    }
    assert!(refused > 0, "the old file was never in use when it was replaced");
}

#[tokio::test]
async fn a_file_that_is_cut_or_altered_or_deleted_during_a_query() {
    let key = Arc::new(KeyFile::generate().unwrap());
    let old = file(&key, 0).await;
    let cut = old[..old.len() - 16_400].to_vec();
    let mut altered = old.clone();
    for byte in altered.iter_mut().skip(HEADER).step_by(1000) {
        *byte ^= 0x80;
    }
    for bytes in [cut, altered] {
        for result in in_the_middle(&key, &old, move |memory| put(memory, FILE, &bytes)).await {
            assert!(result.is_err_and(|error| !text(&error).is_empty()));
        }
    }
    let delete = |memory: &InMemory| {
        let _ = memory.delete(&Path::from(FILE)).now_or_never();
    };
    for result in in_the_middle(&key, &old, delete).await {
        // A list leaves out what disappears while it is made.
        assert!(says(result, &["not found", "No files found"]));
    }
}

/// A session that lives on sees a file that was replaced between its queries as a whole, or says that it changed.
#[tokio::test]
async fn a_file_that_is_replaced_between_queries() {
    let key = Arc::new(KeyFile::generate().unwrap());
    let (old, new) = (file(&key, 0).await, file(&key, 1).await);
    let lake = lake_of(&key, &old);
    let session = lake.table().await.unwrap();
    assert_eq!(read(&session).await.unwrap(), 0);
    put(&lake.memory, FILE, &new);
    for _ in 0..3 {
        match read(&session).await {
            Ok(version) => assert_eq!(version, 1),
            error => assert!(says(error, &["replaced", "changed"])),
        }
    }
    assert_eq!(open_and_read(&lake).await.unwrap(), 1, "a new session reads the new file");
}
