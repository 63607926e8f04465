//! DataFusion writes Parquet sealed, and reads of it only what a query needs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::cast::as_int64_array;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::object_store::path::Path;
use datafusion::object_store::{ObjectStore, ObjectStoreExt};
use datafusion::prelude::SessionContext;
use engines::{Kind, LAKE, Lake, Layout, Request, Table};
use futures::TryStreamExt;
use waxseal::keys::KeyFile;
use waxseal::{Demands, OpenReader};

/// Four row groups. The column `pad` takes 2 MB in each, so that the columns around it are not joined into one request.
const TABLE: Table = Table { layout: Layout { first: 0, rows: 4000, group: 1000 }, version: 0 };

/// The header of a sealed file and its first bytes of payload, which are read to open it.
const FRONT: u64 = 131_144;
/// A chunk on the disk: 16 KiB of plaintext and a tag.
const CHUNK: u64 = 16_400;

async fn sql(session: &SessionContext, query: &str) -> Vec<RecordBatch> {
    session.sql(query).await.unwrap().collect().await.unwrap()
}

/// The only value that `query` gives.
async fn number(session: &SessionContext, query: &str) -> i64 {
    let batches = sql(session, query).await;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 1, "{query}");
    let batch = batches.iter().find(|batch| batch.num_rows() == 1).unwrap();
    as_int64_array(batch.column(0)).unwrap().value(0)
}

async fn names(store: &dyn ObjectStore, folder: &str) -> Vec<Path> {
    store.list(Some(&Path::from(folder))).map_ok(|meta| meta.location).try_collect().await.unwrap()
}

/// `file` is sealed, and is a Parquet file.
async fn check_sealed(lake: &Lake, file: &Path, key: &KeyFile) {
    assert!(file.as_ref().ends_with(".parquet"), "{file}");
    let sealed = lake.memory.get(file).await.unwrap().bytes().await.unwrap();
    assert!(!sealed.windows(4).any(|bytes| bytes == b"PAR1"), "{file} is not sealed");
    let mut plaintext = Vec::new();
    OpenReader::new(&sealed[..], &[key], &Demands::new()).unwrap().read_to_end(&mut plaintext).unwrap();
    assert!(plaintext.starts_with(b"PAR1") && plaintext.ends_with(b"PAR1"), "{file}");
}

/// `COPY TO` and data frames, into one file, into a folder, and into folders by value.
#[tokio::test]
async fn what_is_written_is_sealed_and_read_back() {
    let key = Arc::new(KeyFile::generate().unwrap());
    let lake = Lake::sealed(&key);
    let session = lake.session().unwrap();
    session.register_batch("rows", TABLE.batch().unwrap()).unwrap();
    // Files of this length are written in one piece, and longer ones in parts.
    sql(&session, "SET datafusion.execution.objectstore_writer_buffer_size = 2097152").await;

    sql(&session, &format!("COPY rows TO '{LAKE}/one/all.parquet'")).await;
    sql(&session, &format!("COPY (SELECT * FROM rows WHERE id < 100) TO '{LAKE}/one/few.parquet'")).await;
    sql(
        &session,
        &format!("COPY (SELECT *, id % 3 AS third FROM rows) TO '{LAKE}/by/' STORED AS PARQUET PARTITIONED BY (third)"),
    )
    .await;
    let frame = session.table("rows").await.unwrap();
    let folder = DataFrameWriteOptions::new().with_single_file_output(false);
    frame.write_parquet(&format!("{LAKE}/framed/"), folder, None).await.unwrap();

    let written = lake.watched.take();
    assert!(written.iter().any(|request| request.kind == Kind::Multipart), "{written:?}");
    assert!(written.iter().any(|request| request.kind == Kind::Put), "{written:?}");
    for (folder, rows) in [("one", 4100), ("by", 4000), ("framed", 4000)] {
        let files = names(&*lake.memory, folder).await;
        assert!(!files.is_empty(), "{folder}");
        for file in &files {
            check_sealed(&lake, file, &key).await;
        }
        let columns = if folder == "by" { "PARTITIONED BY (third)" } else { "" };
        let create = format!("CREATE EXTERNAL TABLE {folder} STORED AS PARQUET {columns} LOCATION '{LAKE}/{folder}/'");
        sql(&session, &create).await;
        assert_eq!(number(&session, &format!("SELECT count(*) FROM {folder}")).await, rows, "{folder}");
        for (one, other) in [("rows", folder), (folder, "rows")] {
            let query = format!("SELECT id, pad, value FROM {one} EXCEPT SELECT id, pad, value FROM {other}");
            assert!(sql(&session, &query).await.iter().all(|batch| batch.num_rows() == 0), "{query}");
        }
    }
    assert_eq!(names(&*lake.memory, "by").await.len(), 3);
}

/// What a session asked of the store when it created the table, and what for its query.
async fn watch(lake: &Lake, query: &str) -> (i64, Vec<Request>, Vec<Request>) {
    let _ = lake.watched.take();
    let session = lake.table().await.unwrap();
    let created = lake.watched.take();
    let found = number(&session, query).await;
    (found, created, lake.watched.take())
}

fn gets(requests: &[Request]) -> Vec<&Request> {
    requests.iter().filter(|request| request.kind == Kind::Get).collect()
}

fn bytes(requests: &[Request]) -> u64 {
    requests.iter().map(Request::bytes).sum()
}

/// What sealing may add to the bytes of these requests: a tag for each chunk, and the rest of the chunks at both ends.
fn with_chunks(requests: &[Request]) -> u64 {
    gets(requests).iter().map(|request| (request.bytes().div_ceil(16_384) + 1) * CHUNK).sum()
}

/// Two columns of one row group, out of a file of 8 MB.
#[tokio::test]
async fn projection_and_row_groups_limit_what_is_fetched() {
    let key = Arc::new(KeyFile::generate().unwrap());
    let (plain, sealed) = (Lake::plain(), Lake::sealed(&key));
    let file = TABLE.parquet().unwrap();
    let file_len = file.len() as u64;
    for lake in [&plain, &sealed] {
        lake.put("t/1.parquet", file.clone()).await.unwrap();
    }
    let query = "SELECT sum(value % 1000) FROM t WHERE id >= 3000";
    let expected: i64 = (3000..4000).map(|id| Table::value(id, 0) % 1000).sum();
    let (of_plain, plain_created, plain_read) = watch(&plain, query).await;
    let (of_sealed, created, read) = watch(&sealed, query).await;
    assert_eq!((of_plain, of_sealed), (expected, expected));

    // The table: the front and the end of the file are read once, to open it.
    assert!(gets(&created).len() <= gets(&plain_created).len() + 2, "{created:?}\n{plain_created:?}");
    assert!(bytes(&created) <= with_chunks(&plain_created) + FRONT + 2 * CHUNK, "{created:?}\n{plain_created:?}");
    // The query: the same ranges, rounded to chunks.
    assert_eq!(gets(&read).len(), gets(&plain_read).len(), "{read:?}\n{plain_read:?}");
    assert!(bytes(&read) <= with_chunks(&plain_read), "{read:?}\n{plain_read:?}");
    assert!(bytes(&read) * 50 < file_len, "{} of {file_len} bytes: {read:?}", bytes(&read));
    println!(
        "{file_len} bytes; table: plain {} in {}, sealed {} in {}; query: plain {} in {}, sealed {} in {}",
        bytes(&plain_created),
        gets(&plain_created).len(),
        bytes(&created),
        gets(&created).len(),
        bytes(&plain_read),
        gets(&plain_read).len(),
        bytes(&read),
        gets(&read).len()
    );

    // A second session finds the header and the data key in the store's cache.
    let (_, again, _) = watch(&sealed, query).await;
    assert!(gets(&again).iter().all(|request| request.range.start > FRONT), "{again:?}");
}

/// Files whose statistics exclude all their rows are not read.
#[tokio::test]
async fn files_that_have_no_row_of_the_query_are_not_read() {
    let key = Arc::new(KeyFile::generate().unwrap());
    let lake = Lake::sealed(&key);
    for number in 0..20 {
        let table = Table { layout: Layout { first: number * 100, rows: 100, group: 50 }, version: 0 };
        lake.put(&format!("t/{number:02}.parquet"), table.parquet().unwrap()).await.unwrap();
    }
    let (found, created, read) = watch(&lake, "SELECT value FROM t WHERE id = 1234").await;
    assert_eq!(found, Table::value(1234, 0));
    let files = |requests: &[Request]| -> BTreeSet<_> {
        gets(requests).iter().map(|request| request.path.to_string()).collect()
    };
    assert_eq!(files(&created).len(), 20);
    assert_eq!(files(&read), BTreeSet::from(["t/12.parquet".to_owned()]));
}
