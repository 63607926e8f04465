//! Real services for tests, on 127.0.0.1: emulators of AWS and object stores from Python environments under `target/`,
//! and proxies that count calls and fail. All of them end with the test process.
//!
//! Every test file that needs them has `mod support;`. No file uses all of them.
#![allow(dead_code, unused_imports, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "a module of test binaries")]

mod emulator;
mod http_message;
mod liar;
mod postgres;
mod proxy;
mod python;
mod s3;
mod s3_proxy;

pub use emulator::{ACCOUNT, Aws, Certificates, REGION, Server, ministack, moto, moto_tls, shared_moto, small_kms};
pub use http_message::Head;
pub use liar::{Liar, Reply, http, liar};
pub use postgres::{Postgres, SERVER, postgres_programs};
pub use proxy::{CountingProxy, Fault, Tunnel, counting_proxy, tunnel};
pub use python::{environment, kms_python, old_python, python, try_python};
pub use s3::{
    PlainAnswer, PlainS3, S3_ACCESS_KEY, S3_LISTER, S3_READER, S3_SECRET_KEY, Seaweed, elements, moto_s3,
    shared_seaweed,
};
pub use s3_proxy::{S3Answer, S3Fault, S3Proxy, S3Request};

use std::path::Path;
use std::process::Command;

/// The root folder of the repository, for tests of every package.
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().find(|folder| folder.join("spec/waxseal-v1.md").exists()).expect("the repository")
}

/// Runs the test named `test` of this binary again, in a new process with `environment`. A process cannot change its
/// own environment safely. In the new process, [`in_child`] is true.
///
/// Every variable of AWS and of proxies is removed first. An empty value also removes a variable.
#[track_caller]
pub fn run_in_child(test: &str, environment: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().expect("the test binary"));
    clear_aws_environment(&mut command);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    for (name, value) in environment {
        if value.is_empty() {
            command.env_remove(name)
        } else {
            command.env(name, value)
        };
    }
    let output = command.output().expect("the test binary runs");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && text.contains("1 passed"), "{test} as a child with {environment:?}:\n{text}");
}

const CHILD: &str = "WAXSEAL_TEST_CHILD";

/// Whether this process is one of [`run_in_child`].
pub fn in_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Removes the variables that would lead a command to a real AWS account, or through a proxy.
pub fn clear_aws_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let upper = name.to_string_lossy().to_ascii_uppercase();
        if upper.starts_with("AWS_") || upper.ends_with("_PROXY") || upper.starts_with("WAXSEAL_") {
            command.env_remove(&name);
        }
    }
    // Without credentials, the SDK must not ask the instance for some, and must not find a profile.
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command
        .env("AWS_CONFIG_FILE", "/nonexistent/config")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials");
}
