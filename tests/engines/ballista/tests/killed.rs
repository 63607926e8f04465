//! Ballista over a hundred sealed files, with a scheduler and two executors as processes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Cluster, Executor, KEY, Lake, ROWS, all_files, create, name, until};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::cast::as_int64_array;
use datafusion::error::Result;
use datafusion::object_store::memory::InMemory;
use datafusion::prelude::SessionContext;
use engines::{LAKE, Layout, Table};
use engines_ballista::{KEY_NAME, Keys};
use waxseal::keys::KeyFile;

const FILES: usize = 100;
/// An executor makes four requests before it reads the rows of a file, and then one for each of five row groups.
const IN_THE_MIDDLE: usize = 7;

/// Needs every row of every file.
const GROUPS: &str = "\
    SELECT id % 7 AS rest, count(*) AS n, sum(value % 1000) AS sum, min(pad) AS least, max(id) AS last \
    FROM t GROUP BY id % 7 ORDER BY rest";
const ROWS_OF_ALL: &str = "SELECT id, pad, value FROM t";

fn shown(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).unwrap().to_string()
}

/// The result of plain DataFusion over plain files with the same rows.
async fn by_datafusion(query: &str) -> String {
    let plain = engines::Lake::plain();
    for number in 0..FILES {
        plain.put(&name(number), Lake::table(number, 0).parquet().unwrap()).await.unwrap();
    }
    let session = plain.session().unwrap();
    session.sql(&create()).await.unwrap().collect().await.unwrap();
    shown(&session.sql(query).await.unwrap().collect().await.unwrap())
}

async fn run(session: &SessionContext, query: &str) -> Result<Vec<RecordBatch>> {
    session.sql(query).await?.collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_is_killed_in_the_middle_of_a_query() {
    let lake = Lake::new(FILES).await;
    let expected = by_datafusion(GROUPS).await;
    let mut cluster = Cluster::start(&lake, "keys", Duration::from_millis(30));
    let session = cluster.session(&lake).await.unwrap();

    let working = session.clone();
    let query = tokio::spawn(async move { run(&working, GROUPS).await });
    let [victim, survivor] = &mut cluster.executors[..] else { panic!("two executors") };
    let both = || victim.files().len() > 7 && survivor.files().len() > 7;
    until("both executors work", || both() || query.is_finished());
    victim.kill();
    let done = victim.files();
    assert!(done.len() < FILES * 3 / 4 && !query.is_finished(), "too late: {}, {:?}", done.len(), query.await);

    let result = query.await.unwrap().unwrap();
    assert_eq!(shown(&result), expected);
    let again = survivor.files();
    assert!(
        again.len() == FILES && done.is_subset(&again),
        "what the dead one has read is read again: {}",
        again.len()
    );
    assert_eq!(shown(&run(&session, GROUPS).await.unwrap()), expected, "by the survivor alone");

    no_key_travels(&lake, &cluster);
}

/// Neither plans nor options of sessions have the key, and no executor writes it to a file.
fn no_key_travels(lake: &Lake, cluster: &Cluster) {
    let file = fs::read(lake.path("keys").join(KEY)).unwrap();
    let hex = String::from_utf8(file.clone()).unwrap().split(':').nth(1).unwrap().to_owned();
    let raw: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
    let has = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    let has_key = |bytes: &[u8]| has(bytes, &raw) || has(bytes, hex.as_bytes());
    assert!(has_key(&file));

    // The options, the plan of the client, and the plans of the executors, which name files.
    for known in [KEY_NAME, KEY, LAKE, &name(0), &name(FILES - 1)] {
        assert!(cluster.wire.any(|bytes| has(bytes, known.as_bytes())), "{known}");
    }
    assert!(!cluster.wire.any(has_key));
    let keys = lake.path("keys");
    for file in all_files(lake.folder.path()) {
        assert!(file.starts_with(&keys) || !has_key(&fs::read(&file).unwrap()), "{}", file.display());
    }
}

#[test]
fn the_name_of_a_key_does_not_lead_out_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyFile::generate().unwrap();
    fs::create_dir(folder.path().join("keys")).unwrap();
    for path in ["outside", "keys/inside", "keys/.hidden"] {
        fs::write(folder.path().join(path), key.to_text(&[]).expose()).unwrap();
    }
    let keys = Keys::new(folder.path().join("keys"), Arc::new(InMemory::new()), folder.path());
    let session = |name: &str| keys.session(Keys::config().set_str(KEY_NAME, name));
    assert!(session("inside").is_ok());
    let absolute = folder.path().join("outside");
    for name in ["../outside", "inside/../../outside", absolute.to_str().unwrap(), "", ".", "..", ".hidden", "inside\0"]
    {
        let error = session(name).unwrap_err().to_string();
        assert!(error.contains("must be the name of a key file"), "{name}: {error}");
    }
    assert!(session("missing").is_err());
}

/// The session shows an error that says what happened, and the cluster goes on to work.
#[tokio::test(flavor = "multi_thread")]
async fn faults_fail_the_query() {
    let lake = Lake::new(10).await;
    let cluster = Cluster::start(&lake, "keys", Duration::ZERO);
    let file = lake.path("files").join(name(3));
    let whole = fs::read(&file).unwrap();
    let mut altered = whole.clone();
    for byte in altered.iter_mut().skip(2 * 4096 + 56 + 9).step_by(16_400) {
        *byte ^= 1;
    }
    for (bytes, what) in [(&altered[..], "does not authenticate"), (&whole[..whole.len() - 16_400], "truncated")] {
        // The client has listed the files and read their schema before.
        let session = cluster.session(&lake).await.unwrap();
        fs::write(&file, bytes).unwrap();
        let error = run(&session, ROWS_OF_ALL).await.unwrap_err().to_string();
        assert!(error.contains(what), "{what}: {error}");
        fs::write(&file, &whole).unwrap();
        let session = cluster.session(&lake).await.unwrap();
        let rows: usize = run(&session, ROWS_OF_ALL).await.unwrap().iter().map(RecordBatch::num_rows).sum();
        assert_eq!(rows, 10 * ROWS);
    }
}

/// The scheduler has another key under the same name.
#[tokio::test(flavor = "multi_thread")]
async fn another_key_fails_the_query() {
    let lake = Lake::new(2).await;
    lake.add_key("other", &KeyFile::generate().unwrap());
    let cluster = Cluster::start(&lake, "other", Duration::ZERO);
    let session = cluster.session(&lake).await.unwrap();
    let error = run(&session, ROWS_OF_ALL).await.unwrap_err().to_string();
    assert!(error.contains("no key opens this file"), "{error}");
}

/// A file is replaced while an executor reads it. The rows of each file are of one version, or the query fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_replaced_while_it_is_read() {
    let lake = Lake::new(4).await;
    let cluster = Cluster::start(&lake, "keys", Duration::from_millis(300));
    let session = cluster.session(&lake).await.unwrap();
    let query = tokio::spawn(async move { run(&session, ROWS_OF_ALL).await });
    let reads = || cluster.executors.iter().flat_map(Executor::requests).filter(|file| *file == name(2)).count();
    until("an executor reads the file", || reads() >= IN_THE_MIDDLE || query.is_finished());
    assert!(!query.is_finished(), "{:?}", query.await);
    lake.put(2, 1).await;
    match query.await.unwrap() {
        Ok(batches) => {
            let versions = versions(&batches, 4);
            assert!(versions.iter().all(|versions| versions.len() == 1), "{versions:?}");
            assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 4 * ROWS);
        }
        Err(error) => assert!(["replaced", "changed"].iter().any(|what| error.to_string().contains(what)), "{error}"),
    }
}

/// The versions of the rows of each file.
fn versions(batches: &[RecordBatch], files: usize) -> Vec<BTreeSet<i64>> {
    let layout = Layout { first: 0, rows: files * ROWS, group: ROWS };
    let mut versions = vec![BTreeSet::new(); files];
    for batch in batches {
        for row in (0..batch.num_rows()).map(|row| batch.slice(row, 1)) {
            let id = as_int64_array(row.column(0)).unwrap().value(0);
            let version = Table::version_of(layout, &row).unwrap().unwrap();
            versions[usize::try_from(id).unwrap() / ROWS].insert(version);
        }
    }
    versions
}
