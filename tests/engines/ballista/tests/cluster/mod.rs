//! A scheduler and executors in processes of their own, over a folder of sealed files.

use std::collections::BTreeSet;
use std::env::temp_dir;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ballista::prelude::SessionContextExt;
use datafusion::object_store::local::LocalFileSystem;
use datafusion::object_store::path::Path as Name;
use datafusion::object_store::{ObjectStore, ObjectStoreExt};
use datafusion::prelude::SessionContext;
use engines::{LAKE, Layout, Table, sealed};
use engines_ballista::{KEY_NAME, Keys};
use tempfile::TempDir;
use waxseal::keys::KeyFile;
use wire::Wire;

mod wire;

/// How long to wait for what a busy machine does later.
const PATIENCE: Duration = Duration::from_secs(240);
pub const ROWS: usize = 100;
/// The name of the key in each folder of keys.
pub const KEY: &str = "lake.key";

/// A folder with sealed Parquet files, and a folder with their key.
pub struct Lake {
    pub folder: TempDir,
    pub key: Arc<KeyFile>,
}

impl Lake {
    /// `files` files of 100 rows in 5 row groups.
    pub async fn new(files: usize) -> Self {
        let lake = Self { folder: tempfile::tempdir().unwrap(), key: Arc::new(KeyFile::generate().unwrap()) };
        for folder in ["files", "keys"] {
            fs::create_dir(lake.path(folder)).unwrap();
        }
        lake.add_key("keys", &lake.key);
        for number in 0..files {
            lake.put(number, 0).await;
        }
        lake
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn add_key(&self, folder: &str, key: &KeyFile) {
        fs::create_dir_all(self.path(folder)).unwrap();
        fs::write(self.path(folder).join(KEY), key.to_text(&[]).expose()).unwrap();
    }

    pub fn disk(&self) -> Arc<dyn ObjectStore> {
        Arc::new(LocalFileSystem::new_with_prefix(self.path("files")).unwrap())
    }

    pub fn table(number: usize, version: i64) -> Table {
        let first = i64::try_from(number * ROWS).unwrap();
        Table { layout: Layout { first, rows: ROWS, group: ROWS / 5 }, version }
    }

    /// Seals a version of a file.
    pub async fn put(&self, number: usize, version: i64) {
        let parquet = Self::table(number, version).parquet().unwrap();
        sealed(self.disk(), &self.key).put(&Name::from(name(number)), parquet.into()).await.unwrap();
    }
}

pub fn name(number: usize) -> String {
    format!("t/{number:03}.parquet")
}

/// The processes. They are killed when it is dropped.
pub struct Cluster {
    pub executors: Vec<Executor>,
    /// All requests to the scheduler and its answers: an executor asks for its work.
    pub wire: Wire,
    scheduler: Child,
    client_keys: PathBuf,
}

pub struct Executor {
    process: Child,
    pub log: PathBuf,
}

impl Cluster {
    /// Starts a scheduler and two executors with the keys in the folder `keys`. The executors wait for `wait` before
    /// each request to their store.
    pub fn start(lake: &Lake, keys: &str, wait: Duration) -> Self {
        let mut scheduler = Command::new(env!("CARGO_BIN_EXE_scheduler"));
        scheduler.arg(lake.path("files")).arg(lake.path(keys)).stdout(Stdio::piped()).stderr(output(lake, "scheduler"));
        let mut scheduler = scheduler.spawn().unwrap();
        let mut port = String::new();
        BufReader::new(scheduler.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let wire = Wire::to(port.trim().parse().expect("the scheduler has started"));
        let mut cluster = Self { executors: Vec::new(), wire, scheduler, client_keys: lake.path("keys") };
        for number in 0..2 {
            cluster.executors.push(Executor::start(lake, keys, cluster.wire.port, wait, number));
        }
        cluster
    }

    /// A client with the table `t`: all files of the lake.
    pub async fn session(&self, lake: &Lake) -> datafusion::error::Result<SessionContext> {
        let keys = Keys::new(&self.client_keys, lake.disk(), temp_dir());
        // Each task gets about five of a hundred files.
        let config = Keys::config().with_target_partitions(20).set_str(KEY_NAME, KEY);
        let state = keys.session(config)?;
        let session = SessionContext::remote_with_state(&format!("df://127.0.0.1:{}", self.wire.port), state).await?;
        session.sql(&create()).await?.collect().await?;
        Ok(session)
    }
}

pub fn create() -> String {
    format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{LAKE}/t/'")
}

impl Executor {
    fn start(lake: &Lake, keys: &str, scheduler: u16, wait: Duration, number: usize) -> Self {
        // Both ports are held at the same time, so that they differ.
        let held = [0, 0].map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let ports = held.map(|port| port.local_addr().unwrap().port());
        let (work, log) = (lake.path(&format!("work{number}")), lake.path(&format!("log{number}")));
        fs::create_dir_all(&work).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_executor"))
            .arg(lake.path("files"))
            .arg(lake.path(keys))
            .arg(scheduler.to_string())
            .args(ports.map(|port| port.to_string()))
            .arg(work)
            .arg(&log)
            .arg(wait.as_millis().to_string())
            .stdout(Stdio::null())
            .stderr(output(lake, &format!("executor{number}")))
            .spawn()
            .unwrap();
        let mut executor = Self { process, log };
        // It serves its results on this port after it has reached the scheduler.
        until("the executor has started", || {
            assert!(executor.process.try_wait().unwrap().is_none(), "an executor has ended");
            TcpStream::connect((Ipv4Addr::LOCALHOST, ports[0])).is_ok()
        });
        executor
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// The requests so far, each by the name of its file.
    pub fn requests(&self) -> Vec<String> {
        fs::read_to_string(&self.log).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    pub fn files(&self) -> BTreeSet<String> {
        self.requests().into_iter().collect()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.scheduler.kill();
        let _ = self.scheduler.wait();
    }
}

fn output(lake: &Lake, of: &str) -> File {
    File::create(lake.path(&format!("{of}.output"))).unwrap()
}

pub fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// All files below `folder`.
pub fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(all_files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
