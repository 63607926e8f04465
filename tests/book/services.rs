//! What the commands of a document need: services on 127.0.0.1, programs, and an environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::{
    Postgres, REGION, S3_ACCESS_KEY, S3_SECRET_KEY, Seaweed, Server, postgres_programs, python, root, small_kms,
};

/// The keys that exist with `kms`.
const KEYS: [&str; 5] = ["alias/backups", "alias/backups-new", "alias/old", "alias/new", "alias/wal"];
/// The bucket that exists with `s3`.
const BUCKET: &str = "backups";
/// The table that exists with `postgresql`.
const ORDERS: &str = "create table orders (id int primary key, item text); \
     insert into orders select n, 'item ' || n from generate_series(1, 1000) n";
/// The folders that are in the current folder with `checkout`.
const CHECKOUT: [&str; 6] = ["spec", "docs", "examples", "tests", "crates", "packaging"];

/// The services of one document. They end on drop.
pub(crate) struct Services {
    folder: TempDir,
    path: Vec<PathBuf>,
    environment: BTreeMap<&'static str, OsString>,
    _kms: Option<Server>,
    _s3: Option<Seaweed>,
    _postgres: Option<Postgres>,
}

impl Services {
    /// Starts what `words` name. The error is a program that this machine does not have.
    pub(crate) fn start(words: &[String]) -> Result<Self, String> {
        let mut services = Self {
            folder: tempfile::tempdir().unwrap(),
            path: Vec::new(),
            environment: BTreeMap::new(),
            _kms: None,
            _s3: None,
            _postgres: None,
        };
        let known = ["kms", "kms-empty", "s3", "postgresql", "python", "checkout", "run"];
        if let Some(missing) = words.iter().find(|word| !known.contains(&word.as_str()) && !is_program(word)) {
            return Err(missing.clone());
        }
        services.basics();
        for word in words {
            match word.as_str() {
                "kms" => services.kms(&KEYS),
                "kms-empty" => services.kms(&[]),
                "s3" => services.s3(),
                "postgresql" => services.postgres(),
                "python" => services.python(),
                "checkout" => services.checkout(),
                _ => {}
            }
        }
        Ok(services)
    }

    /// The folder that holds everything of this document.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The current folder, which is also HOME.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub(crate) fn environment(&self) -> BTreeMap<&'static str, OsString> {
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path = self.path.iter().cloned().chain(std::env::split_paths(&inherited));
        let mut environment = self.environment.clone();
        environment.insert("PATH", std::env::join_paths(path).unwrap());
        environment
    }

    fn set(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.environment.insert(name, value.into());
    }

    fn basics(&mut self) {
        let (bin, temporary) = (self.folder().join("bin"), self.folder().join("tmp"));
        for folder in [&bin, &temporary, &self.home()] {
            fs::create_dir(folder).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_waxseal"), bin.join("waxseal")).unwrap();
        self.path.push(bin);
        self.set("TMPDIR", temporary);
        self.set("HOME", self.home());
        self.set("USER", "me");
        self.set("LANG", "C.UTF-8");
        self.set("TZ", "UTC");
        // Without credentials, the instance is not asked for some.
        self.set("AWS_EC2_METADATA_DISABLED", "true");
    }

    fn aws(&mut self) {
        self.set("AWS_REGION", REGION);
        // The AWS command line reads only this one.
        self.set("AWS_DEFAULT_REGION", REGION);
        self.set("AWS_ACCESS_KEY_ID", S3_ACCESS_KEY);
        self.set("AWS_SECRET_ACCESS_KEY", S3_SECRET_KEY);
        let aws = self.folder().join("bin/aws");
        if !aws.exists() {
            symlink(python().with_file_name("aws"), aws).unwrap();
        }
    }

    fn kms(&mut self, aliases: &[&str]) {
        let server = small_kms();
        for alias in aliases {
            let key = server.aws().create_key();
            server.aws().alias(alias, &key);
        }
        self.aws();
        self.set("AWS_ENDPOINT_URL_KMS", &server.url);
        self.set("AWS_ENDPOINT_URL_STS", &server.url);
        self._kms = Some(server);
    }

    fn s3(&mut self) {
        let server = Seaweed::start();
        let made = server.plain().send("PUT", &format!("/{BUCKET}"), &[], b"").unwrap();
        assert_eq!(made.status, 200, "{}", made.text());
        self.aws();
        self.set("AWS_ENDPOINT_URL_S3", &server.url);
        self._s3 = Some(server);
    }

    fn postgres(&mut self) {
        let postgres = Postgres::start();
        postgres.sql("create database mydb");
        let made = postgres.command("psql").args(["-q", "-d", "mydb", "-c", ORDERS]).status().unwrap();
        assert!(made.success());
        for (name, value) in postgres.variables() {
            self.set(name, value);
        }
        self.set("PGDATABASE", "mydb");
        self.path.push(postgres_programs().to_owned());
        self._postgres = Some(postgres);
    }

    fn python(&mut self) {
        self.path.push(python().parent().unwrap().to_owned());
    }

    fn checkout(&self) {
        for name in CHECKOUT.iter().filter(|name| root().join(name).exists()) {
            symlink(root().join(name), self.home().join(name)).unwrap();
        }
    }
}

fn is_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}
