//! The documents tell the truth: every command line in them is run with the real program against emulators, and what it
//! prints is compared with what the document says.
//!
//! ```sh
//! cargo test --locked --test book                                 # all documents
//! BOOK_ONLY=docs/s3.md cargo test --locked --test book            # the documents whose path contains this
//! BOOK=write BOOK_ONLY=docs/s3.md cargo test --locked --test book # writes what was printed into the document
//! ```
//!
//! A document that is run has a comment `<!-- book: WORDS -->`, and the words name what its commands need: see
//! `book/services.rs`. How its blocks are written is in `book/document.rs`, and how they are run in `book/session.sh`.
//! The commands that ran are listed in `target/tmp/book/commands.txt`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the number of commands")]

#[path = "book/compare.rs"]
mod compare;
#[path = "book/document.rs"]
mod document;
#[path = "book/services.rs"]
mod services;
#[path = "book/session.rs"]
mod session;
mod skipped;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use compare::difference;
use document::{Document, Piece};
use services::Services;
use skipped::skipped;

/// The documents must have so many commands at least.
const ENOUGH: usize = 80;
/// So many documents are run at the same time. Their services start slowly.
const AT_ONCE: usize = 3;

/// All documents below `folder`, as paths from the root.
fn below(folder: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(support::root().join(folder)).unwrap() {
        let path = PathBuf::from(folder).join(entry.unwrap().file_name());
        if support::root().join(&path).is_dir() {
            below(path.to_str().unwrap(), found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// Every document, apart from those of the tests and benches.
fn documents() -> Vec<Document> {
    let mut paths = Vec::new();
    for folder in ["docs", "packaging", "readers", "spec"] {
        if support::root().join(folder).exists() {
            below(folder, &mut paths);
        }
    }
    let crates = fs::read_dir(support::root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    for folder in crates.chain([support::root().to_owned()]) {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let documents = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
        paths.extend(documents.map(|path| path.strip_prefix(support::root()).unwrap().to_owned()));
    }
    paths.retain(|path| !path.components().any(|part| part.as_os_str() == "node_modules"));
    paths.sort();
    paths.iter().map(|path| Document::read(path)).collect()
}

/// What came of one document: the commands that ran, and what differs.
#[derive(Default)]
struct Result {
    commands: Vec<String>,
    failures: Vec<String>,
}

fn run(document: &Document) -> Result {
    let services = match Services::start(&document.needs) {
        Ok(services) => services,
        Err(missing) => {
            skipped(&format!("the commands of {}", document.path.display()), &format!("there is no {missing}"));
            return Result::default();
        }
    };
    let ended = session::run(document, &services);
    let mut result = Result::default();
    let mut corrections = Vec::new();
    for (piece, ran) in document.pieces.iter().zip(ended) {
        let Some(ran) = ran else {
            let place = document.place(piece.line());
            result.failures.push(format!("{place}: the session ended before the end of this:\n{}\n", piece.text()));
            break;
        };
        match piece {
            Piece::Command { line, text, output, lines } => {
                result.commands.push(format!("{}: {text}", document.place(*line)));
                if let Some(difference) = difference(&ran.output, output) {
                    result.failures.push(format!("{}: $ {text}\n{difference}", document.place(*line)));
                    corrections.push((lines.clone(), ran.output));
                }
            }
            Piece::Hidden { line, text } if ran.code != 0 => {
                let place = document.place(*line);
                result.failures.push(format!("{place}: hidden, exit code {}: {text}\n{}", ran.code, ran.output));
            }
            Piece::Hidden { .. } | Piece::File { .. } => {}
        }
    }
    if !corrections.is_empty() && std::env::var_os("BOOK").is_some_and(|what| what == "write") {
        document.correct(&corrections);
    }
    result
}

/// Runs `documents`, a few of them at the same time. The results are in their order.
fn run_all(documents: &[Document]) -> Vec<Result> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Result>> = documents.iter().map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(document) = documents.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let at = documents.iter().position(|other| std::ptr::eq(other, document)).unwrap();
                    *results[at].lock().unwrap() = run(document);
                }
            });
        }
    });
    results.into_iter().map(|result| result.into_inner().unwrap()).collect()
}

#[test]
fn every_command_prints_what_the_documents_say() {
    let only = std::env::var("BOOK_ONLY").ok();
    let chosen = |document: &Document| only.as_ref().is_none_or(|part| document.path.to_str().unwrap().contains(part));
    let mut documents: Vec<_> = documents().into_iter().filter(chosen).collect();
    let unclear: Vec<_> = documents.iter().flat_map(|document| document.mistakes.clone()).collect();
    documents.retain(|document| !document.pieces.is_empty());
    let results = run_all(&documents);
    let failures = [unclear, results.iter().flat_map(|result| result.failures.clone()).collect()].concat();
    let commands: Vec<_> = results.iter().flat_map(|result| result.commands.clone()).collect();
    let skips: Vec<_> = documents.iter().flat_map(|document| document.skips.clone()).collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("book");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("commands.txt"), commands.join("\n") + "\n").unwrap();
    fs::write(folder.join("skips.txt"), skips.join("\n") + "\n").unwrap();
    println!("{} commands of {} documents; {} blocks are not run", commands.len(), documents.len(), skips.len());
    assert!(failures.is_empty(), "{} failures:\n\n{}", failures.len(), failures.join("\n"));
    assert!(only.is_some() || commands.len() >= ENOUGH, "only {} commands", commands.len());
}

/// The book has every document, and `docs/book/build` finds them by the summary.
#[test]
fn every_document_is_a_chapter() {
    let summary = fs::read_to_string(support::root().join("docs/SUMMARY.md")).unwrap();
    let chapters: Vec<_> = summary.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    let mut documents = Vec::new();
    below("docs", &mut documents);
    documents.retain(|path| !path.ends_with("SUMMARY.md") && !path.starts_with("docs/book"));
    for document in documents {
        let path = document.strip_prefix("docs").unwrap().to_str().unwrap();
        assert_eq!(chapters.iter().filter(|chapter| **chapter == path).count(), 1, "docs/SUMMARY.md: {path}");
    }
    for chapter in chapters {
        assert!(support::root().join("docs").join(chapter).exists(), "docs/SUMMARY.md: there is no {chapter}");
    }
}
