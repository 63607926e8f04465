//! DataFusion over plain and over sealed Parquet files, side by side: `compare FOLDER [MEBIBYTES [ROUNDS]]`.
//!
//! `FOLDER` must be empty or not exist. In each round, each query runs over both, in alternating order, once with the
//! files in the page cache and once without. Each run has a new session and a new store, so it reads the ends of the
//! files again, and the fronts of the sealed ones. The ratios are medians of the ratios within a round.

use std::env::args;
use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Instant;

use datafusion::arrow::array::{Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::object_store::local::LocalFileSystem;
use datafusion::object_store::path::Path as Name;
use datafusion::object_store::{ObjectStore, ObjectStoreExt};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;
use engines::{Kind, LAKE, Watched, sealed, session};
use rustix::fs::{Advice, fadvise};
use waxseal::keys::KeyFile;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The table has this many files.
const FILES: u64 = 4;
/// Bytes of a row: eight numbers, and a text of sixteen characters with its length.
const ROW: u64 = 8 * 8 + 20;
/// Rows of a row group: 16 MiB.
const GROUP: u64 = (16 << 20) / ROW;
/// The columns with random numbers.
const NUMBERS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

fn queries(rows: u64) -> [(&'static str, String); 3] {
    let sums: Vec<String> = NUMBERS.iter().map(|name| format!("sum({name} % 1000) AS {name}")).collect();
    let middle = rows / 2;
    [
        ("all columns", format!("SELECT count(*) AS n, {}, max(text) AS text FROM t", sums.join(", "))),
        ("one of nine columns", "SELECT sum(d % 1000) AS d FROM t".to_owned()),
        ("100 rows", format!("SELECT sum(d % 1000) AS d FROM t WHERE id BETWEEN {middle} AND {}", middle + 99)),
    ]
}

fn mix(value: u64) -> i64 {
    let mut bits = value.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (bits ^ (bits >> 31)).cast_signed()
}

fn schema() -> SchemaRef {
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    let numbers = std::iter::once("id").chain(NUMBERS).map(number);
    Arc::new(Schema::new(numbers.chain([Field::new("text", DataType::Utf8, false)]).collect::<Vec<_>>()))
}

fn batch(first: u64, rows: u64) -> Result<RecordBatch> {
    let ids = first..first + rows;
    let mut columns: Vec<Arc<dyn Array>> =
        vec![Arc::new(Int64Array::from_iter_values(ids.clone().map(u64::cast_signed)))];
    for column in 0..NUMBERS.len() as u64 {
        columns.push(Arc::new(Int64Array::from_iter_values(ids.clone().map(|id| mix(id * 16 + column)))));
    }
    let text = |id| format!("{:016x}", mix(id * 16 + 15));
    columns.push(Arc::new(StringArray::from_iter_values(ids.map(text))));
    Ok(RecordBatch::try_new(schema(), columns)?)
}

/// Writes the plain files, and seals them. Returns the number of rows.
async fn make(folder: &Path, key: &Arc<KeyFile>, mebibytes: u64) -> Result<u64> {
    for kind in ["plain", "sealed"] {
        fs::create_dir_all(folder.join(kind).join("t"))?;
    }
    let to = sealed(disk(folder, "sealed")?, key);
    let rows = (mebibytes << 20) / ROW / FILES;
    for file in 0..FILES {
        let name = format!("t/{file}.parquet");
        let path = folder.join("plain").join(&name);
        let properties = WriterProperties::builder()
            .set_compression(Compression::UNCOMPRESSED)
            .set_dictionary_enabled(false)
            .set_max_row_group_row_count(Some(usize::try_from(GROUP)?))
            .build();
        let mut writer = ArrowWriter::try_new(File::create(&path)?, schema(), Some(properties))?;
        for first in (0..rows).step_by(usize::try_from(GROUP)?) {
            writer.write(&batch(file * rows + first, GROUP.min(rows - first))?)?;
        }
        writer.close()?;
        to.put(&Name::from(name), fs::read(&path)?.into()).await?;
    }
    for file in files(folder)? {
        File::open(file)?.sync_all()?;
    }
    Ok(rows * FILES)
}

fn disk(folder: &Path, kind: &str) -> Result<Arc<dyn ObjectStore>> {
    Ok(Arc::new(LocalFileSystem::new_with_prefix(folder.join(kind))?))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for kind in ["plain", "sealed"] {
        for entry in fs::read_dir(folder.join(kind).join("t"))? {
            found.push(entry?.path());
        }
    }
    Ok(found)
}

/// Removes the files from the page cache, or reads them into it.
fn prepare(folder: &Path, cold: bool) -> Result<()> {
    for file in files(folder)? {
        let mut file = File::open(file)?;
        if cold {
            fadvise(&file, 0, None, Advice::DontNeed)?;
        } else {
            std::io::copy(&mut file, &mut std::io::sink())?;
        }
    }
    Ok(())
}

/// A plain or a sealed table.
struct Side<'a> {
    folder: &'a Path,
    /// `None` if it is plain.
    key: Option<&'a Arc<KeyFile>>,
}

impl Side<'_> {
    fn store(&self, behind: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        self.key.map_or(behind.clone(), |key| sealed(behind, key))
    }

    fn behind(&self) -> Result<Arc<dyn ObjectStore>> {
        disk(self.folder, if self.key.is_some() { "sealed" } else { "plain" })
    }

    async fn run(&self, store: Arc<dyn ObjectStore>, query: &str) -> Result<String> {
        let threads = available_parallelism()?.get();
        let session = session(store, threads)?;
        let create = format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{LAKE}/t/'");
        session.sql(&create).await?.collect().await?;
        Ok(pretty_format_batches(&session.sql(query).await?.collect().await?)?.to_string())
    }

    /// Seconds of one run.
    async fn timed(&self, query: &str) -> Result<f64> {
        let store = self.store(self.behind()?);
        let begun = Instant::now();
        self.run(store, query).await?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// The result, and the requests and bytes behind it.
    async fn counted(&self, query: &str) -> Result<(String, usize, u64)> {
        let watched = Arc::new(Watched::new(self.behind()?));
        let result = self.run(self.store(watched.clone()), query).await?;
        let gets: Vec<_> = watched.take().into_iter().filter(|request| request.kind == Kind::Get).collect();
        Ok((result, gets.len(), gets.iter().map(engines::Request::bytes).sum()))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = args().skip(1).collect();
    let folder = Path::new(arguments.first().ok_or("usage: compare FOLDER [MEBIBYTES [ROUNDS]]")?);
    let mebibytes = arguments.get(1).map_or(Ok(1024), |text| text.parse())?;
    let rounds: usize = arguments.get(2).map_or(Ok(11), |text| text.parse())?;
    let key = Arc::new(KeyFile::generate()?);
    let rows = make(folder, &key, mebibytes).await?;
    let (plain, sealed) = (Side { folder, key: None }, Side { folder, key: Some(&key) });

    let mut out = std::io::stdout();
    writeln!(out, "{mebibytes} MiB in {FILES} files, {rounds} rounds, {} threads\n", available_parallelism()?)?;
    writeln!(out, "| query | files | plain | sealed | sealed / plain | plain: requests, MB | sealed: requests, MB |")?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- | --- |")?;
    for (name, query) in queries(rows) {
        let (of_plain, plain_gets, plain_bytes) = plain.counted(&query).await?;
        let (of_sealed, sealed_gets, sealed_bytes) = sealed.counted(&query).await?;
        if of_plain != of_sealed {
            return Err(format!("{name}: the results differ").into());
        }
        for (state, cold) in [("cached", false), ("cold", true)] {
            let mut times = [Vec::new(), Vec::new()];
            for round in 0..rounds {
                for turn in 0..2 {
                    let side = (round + turn) % 2;
                    prepare(folder, cold)?;
                    times[side].push([&plain, &sealed][side].timed(&query).await?);
                }
            }
            let [plain, sealed] = times;
            let ratio = median(sealed.iter().zip(&plain).map(|(sealed, plain)| sealed / plain).collect());
            let [plain, sealed] = [plain, sealed].map(|times| format!("{:.3} s", median(times)));
            let [of_plain, of_sealed] = [(plain_gets, plain_bytes), (sealed_gets, sealed_bytes)]
                .map(|(gets, bytes)| format!("{gets}, {}.{:02}", bytes / 1_000_000, bytes / 10_000 % 100));
            writeln!(out, "| {name} | {state} | {plain} | {sealed} | {ratio:.2} | {of_plain} | {of_sealed} |")?;
        }
    }
    Ok(())
}
