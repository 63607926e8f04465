//! The programs in the documents are those that run here, and they do what the documents say.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::process::Command;

use waxseal::keys::KeyFile;

/// The blocks of Rust in a document.
fn blocks(document: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(document)).unwrap();
    text.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// A block may leave out the lines above `use`, and shows whole lines of one of the files.
#[test]
fn the_programs_of_the_document_are_those_that_run() {
    let engines = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let files = [
        "datafusion/examples/lake.rs",
        "datafusion/src/lake.rs",
        "ballista/src/store.rs",
        "ballista/src/bin/scheduler.rs",
        "ballista/src/bin/executor.rs",
    ];
    let sources = files.map(|file| fs::read_to_string(engines.join(file)).unwrap());
    let blocks = blocks("docs/engines-rust.md");
    assert!(blocks.len() >= 5, "{} programs", blocks.len());
    for block in blocks {
        assert!(sources.iter().any(|source| source.contains(&block)), "no file has this:\n{block}");
    }
}

#[test]
fn the_example_seals_and_finds() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyFile::generate().unwrap();
    let key_path = folder.path().join("lake.key");
    fs::write(&key_path, key.to_text(&[]).expose()).unwrap();
    let lake = folder.path().join("lake");
    fs::create_dir(&lake).unwrap();
    // Cargo builds examples before it runs tests.
    let program = std::env::current_exe().unwrap();
    let program = program.ancestors().nth(2).unwrap().join("examples/lake");
    let output = Command::new(program).args([&key_path, &lake]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // 991² + … + 1000²
    let sum: i64 = (991..=1000).map(|day| day * day).sum();
    assert!(shown.contains("| 10 ") && shown.contains(&sum.to_string()), "{shown}");
    let sealed = fs::read(lake.join("sales/first.parquet")).unwrap();
    assert!(!sealed.windows(4).any(|bytes| bytes == b"PAR1"), "the file is not sealed");
}
