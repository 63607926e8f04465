//! `spec/reader.py`, which was written from the specification alone, opens the worked example.

mod support;

use std::path::Path;
use std::process::{Command, Output};

fn reader(arguments: &[&str]) -> Output {
    let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec");
    let mut command = Command::new(support::python());
    command.current_dir(spec).arg("reader.py").args(arguments).output().expect("python runs")
}

#[test]
fn opens_the_worked_example() {
    let output = reader(&["--keyfile", "example.key", "-c", "project=demo", "-l", "host=example", "example.wax", "-"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"hello, waxseal\n".as_slice()));
}

#[test]
fn opens_it_with_the_bare_data_key() {
    let key = Path::new(env!("CARGO_TARGET_TMPDIR")).join("example.data-key");
    std::fs::write(&key, (0..32).collect::<Vec<u8>>()).expect("a file under target/");
    let output = reader(&["--data-key-file", key.to_str().expect("a plain path"), "example.wax", "-"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"hello, waxseal\n".as_slice()));
}

#[test]
fn refuses_an_unmet_demand_before_any_key() {
    let output = reader(&["-l", "host=another", "example.wax", "-"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(8), 0));
}
