//! What is not tested somewhere is told, and counted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod skipped;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use skipped::{LIST, skipped};

/// Set where this program runs itself.
const CHILD: &str = "WAXSEAL_TEST_CHILD";

/// In a process of its own, under the harness, which keeps what a test prints to itself.
#[test]
fn what_is_skipped_is_said_aloud_and_counted() {
    if std::env::var_os(CHILD).is_some() {
        #[allow(clippy::print_stdout, reason = "it is what the harness keeps")]
        {
            println!("nobody sees this");
        }
        return skipped("this test", "to try it");
    }
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "what_is_skipped_is_said_aloud_and_counted"]).env(CHILD, "1").env(LIST, &list);
    for round in 1..=2 {
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("1 passed") && !text.contains("nobody"), "{text}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "skipped: this test: to try it\n");
        assert_eq!(fs::read_to_string(&list).unwrap().lines().count(), round);
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The lines in which a test ends before its end, each with what stands above it in the test.
fn early_ends(source: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    for start in (0..lines.len()).filter(|at| lines[*at].trim() == "#[test]") {
        let indent = &lines[start][..lines[start].len() - lines[start].trim_start().len()];
        let end = format!("{indent}}}");
        let body = lines[start..].iter().position(|line| *line == end).map_or(lines.len(), |len| start + len);
        for at in start..body {
            if ["return;", "return,", "return }"].iter().any(|word| lines[at].contains(word)) {
                found.push((at + 1, lines[start..=at].join("\n")));
            }
        }
    }
    found
}

/// A test that returns before its end has said that it is skipped, or is the parent of a process that runs it.
#[test]
fn no_test_ends_early_in_silence() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut files = Vec::new();
    for folder in ["src", "tests", "crates"].map(|folder| root.join(folder)) {
        if folder.is_dir() {
            sources(&folder, &mut files);
        }
    }
    assert!(files.len() > 100, "the sources were not found");
    // This one holds texts of tests.
    for file in files.iter().filter(|file| !file.ends_with("tests/skips.rs")) {
        for (line, above) in early_ends(&fs::read_to_string(file).unwrap()) {
            let last: Vec<&str> = above.lines().rev().take(3).collect();
            let says = last.iter().any(|line| line.contains("skipped("));
            // These run again in a process of their own.
            let is_parent = above.contains("in_child()") || above.contains("CHILD");
            assert!(says || is_parent, "{}:{line}: say skipped(...) before the return", file.display());
        }
    }
}

#[test]
fn early_ends_are_found() {
    let source = "#[test]\nfn a() {\n    if x {\n        return;\n    }\n}\nfn b() {\n    return;\n}\n";
    assert_eq!(early_ends(source).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4]);
    let source =
        "mod m {\n    #[test]\n    fn a() {\n        match x {\n            Err(_) => return,\n        }\n    }\n}\n";
    assert_eq!(early_ends(source).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [5]);
}
