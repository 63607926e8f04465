//! The program in a folder of its own, and an object store behind a proxy that counts requests and fails.
#![allow(dead_code, reason = "each test crate uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli_support::{Place, Ran};
use crate::support::{
    PlainS3, REGION, S3_ACCESS_KEY, S3_SECRET_KEY, S3Proxy, S3Request, clear_aws_environment, shared_seaweed,
};

/// A bucket of its own.
pub(crate) struct Store {
    pub(crate) place: Place,
    pub(crate) proxy: S3Proxy,
    pub(crate) plain: PlainS3,
    pub(crate) bucket: String,
}

impl Store {
    pub(crate) fn new() -> Self {
        let server = shared_seaweed();
        let (plain, bucket) = (server.plain(), server.bucket());
        Self { place: Place::new(), proxy: S3Proxy::before(&server.url), plain, bucket }
    }

    /// The name of an object.
    pub(crate) fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    /// In each argument, `s3:KEY` stands for an object of the bucket.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let args: Vec<String> = args
            .iter()
            .map(|arg| match arg.strip_prefix("s3:") {
                Some(key) if !key.starts_with('/') => self.url(key),
                _ => (*arg).to_owned(),
            })
            .collect();
        let mut command = self.place.command(&args);
        clear_aws_environment(&mut command);
        command.env("AWS_ENDPOINT_URL_S3", &self.proxy.url).env("AWS_REGION", REGION);
        command.env("AWS_ACCESS_KEY_ID", S3_ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", S3_SECRET_KEY);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// Runs and expects success.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.stderr);
        ran
    }

    /// Runs, expects this exit code and an error that says each of `words`.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str], code: i32, words: &[&str]) -> Ran {
        let ran = self.run(args);
        ran.failed(code, words);
        ran
    }

    /// The requests of a run that succeeds.
    #[track_caller]
    pub(crate) fn requests(&self, args: &[&str]) -> Vec<S3Request> {
        self.proxy.take();
        self.ok(args);
        self.proxy.take()
    }

    /// The names of their operations.
    #[track_caller]
    pub(crate) fn operations(&self, args: &[&str]) -> Vec<&'static str> {
        self.requests(args).iter().map(S3Request::operation).collect()
    }

    /// The lines of JSON that a run prints on `stdout`.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Vec<Value> {
        let ran = self.run(args);
        let lines = if ran.stdout.starts_with(b"{") { ran.text() } else { ran.stderr.clone() };
        lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{args:?}: {line}"))).collect()
    }

    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.plain.get(&self.bucket, key)
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.plain.keys(&self.bucket)
    }

    pub(crate) fn uploads(&self) -> Vec<String> {
        self.plain.uploads(&self.bucket)
    }

    /// There is no object, and no upload that takes room and costs money.
    #[track_caller]
    pub(crate) fn is_empty(&self, what: &str) {
        assert_eq!((self.keys(), self.uploads()), (Vec::new(), Vec::new()), "{what}");
    }

    /// Waits until the proxy has seen `count` requests of this operation.
    #[track_caller]
    pub(crate) fn wait_for(&self, operation: &str, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.proxy.operations().iter().filter(|seen| **seen == operation).count() < count {
            assert!(Instant::now() < deadline, "no {operation}: {:?}", self.proxy.operations());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
