//! Every MUST of the specification has a vector of the test kit, a test, or a written reason.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod kit;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kit::vector::{folder, read_folder};

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()
}

/// The tags of the specification, from section 3 on, and the number of sentences with a MUST.
fn tags() -> (Vec<String>, usize) {
    let text = read("spec/waxseal-v1.md").unwrap();
    let text = &text[text.find("\n## 3").unwrap()..];
    // Code is not prose: a regular expression has brackets too.
    let prose: String = text.split('`').step_by(2).collect();
    let bracketed = prose.split('[').skip(1).filter_map(|rest| rest.split_once(']')).map(|(tag, _)| tag);
    let is_tag =
        |tag: &&str| tag.contains('-') && tag.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    let tags = bracketed.filter(is_tag).map(str::to_owned).collect();
    (tags, prose.matches("MUST").count())
}

/// The table of `COVERAGE.md`: a tag, and what stands in the second column.
fn elsewhere() -> BTreeMap<String, String> {
    let text = read("tests/testkit/COVERAGE.md").unwrap();
    let rows =
        text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| tag") && !line.contains("---"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let mut table = BTreeMap::new();
    for cells in cells {
        assert!(cells.len() == 5 && !cells[3].is_empty(), "{cells:?}");
        assert!(table.insert(cells[1].to_owned(), cells[2].to_owned()).is_none(), "{} stands twice", cells[1]);
    }
    table
}

#[test]
fn every_must_is_held_by_something() {
    let (tags, musts) = tags();
    let known: BTreeSet<&str> = tags.iter().map(String::as_str).collect();
    assert_eq!(known.len(), tags.len(), "a tag stands twice");
    assert!(known.len() > 120 && musts >= known.len(), "{} tags of {musts} MUSTs", known.len());
    let vectors = read_folder();
    let shown: BTreeSet<&str> =
        vectors.iter().flat_map(|vector| vector.all("musts")).flat_map(str::split_whitespace).collect();
    let elsewhere = elsewhere();
    let other: BTreeSet<&str> = elsewhere.keys().map(String::as_str).collect();
    let both = &shown | &other;
    assert_eq!(known.difference(&both).collect::<Vec<_>>(), Vec::<&&str>::new(), "held by nothing");
    assert_eq!(both.difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new(), "no such tag");
    assert_eq!(shown.intersection(&other).collect::<Vec<_>>(), Vec::<&&str>::new(), "COVERAGE.md says: no vector");
}

#[test]
fn the_named_tests_are_there() {
    for (tag, held_by) in elsewhere() {
        if held_by == "reason" {
            continue;
        }
        let names: Vec<_> = held_by.split('`').skip(1).step_by(2).collect();
        let source = read(names[0]).unwrap_or_else(|| panic!("{tag}: there is no {}", names[0]));
        if let Some(test) = names.get(1) {
            assert!(source.contains(&format!("fn {test}(")), "{tag}: {} has no test {test}", names[0]);
        }
    }
}

#[test]
fn files_beside_the_vectors_are_known() {
    let names = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let others: BTreeSet<_> = names.filter(|name| name.contains('.')).collect();
    assert_eq!(others.into_iter().collect::<Vec<_>>(), ["COVERAGE.md", "README.md"]);
}
