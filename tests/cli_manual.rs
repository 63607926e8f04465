//! The manual pages, the table of environment variables, and what is installed beside the program.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
mod skipped;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cli_support::{Place, noise};

/// The text of a page without troff's escapes.
fn plain(page: &str) -> String {
    [
        (r"\fB", ""),
        (r"\fI", ""),
        (r"\fR", ""),
        (r"\-", "-"),
        (r"\*(Aq", "'"),
        (r"\(ga", "`"),
        (r"\(ti", "~"),
        (r"\&", ""),
    ]
    .iter()
    .fold(page.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The lines of the section `name` of a page.
fn section<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let lines = page.lines().skip_while(|line| *line != format!(".SH {name}") && *line != format!(".SH \"{name}\""));
    lines.skip(1).take_while(|line| !line.starts_with(".SH ")).collect()
}

/// Every page, by file name.
fn pages(place: &Place) -> BTreeMap<String, String> {
    fs::create_dir(place.path("man1")).unwrap();
    place.ok(&["man", "--all", "man1"]);
    let names =
        fs::read_dir(place.path("man1")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| (name.clone(), String::from_utf8(place.read(&format!("man1/{name}"))).unwrap())).collect()
}

#[test]
fn every_page_has_its_sections_and_its_examples_as_they_are() {
    let place = Place::new();
    let pages = pages(&place);
    for name in ["waxseal.1", "waxseal-encrypt.1", "waxseal-key.1", "waxseal-key-new.1", "waxseal-reader.1"] {
        assert!(pages.contains_key(name), "{name}");
    }
    for (name, page) in &pages {
        let command = name.strip_suffix(".1").unwrap();
        let words: Vec<&str> = match command {
            // `schedule-deletion` has a hyphen of its own.
            "waxseal" => vec![],
            _ => match command.strip_prefix("waxseal-").unwrap().split_once('-') {
                Some(("key", below)) => vec!["key", below],
                Some(("direct", below)) => vec!["direct", below],
                _ => vec![command.strip_prefix("waxseal-").unwrap()],
            },
        };
        assert_eq!(place.ok(&[&["man"][..], &words].concat()).text(), *page, "{name}");
        assert!(page.contains(&format!("\n.TH {command} 1 ")), "{name}");
        assert!(!page.contains("EXTRA"), "{name}");
        let order = [".SH NAME", ".SH SYNOPSIS", ".SH \"EXIT STATUS\"", ".SH ENVIRONMENT", ".SH EXAMPLES"];
        let at: Vec<_> = order.iter().map(|heading| page.find(heading).unwrap_or_else(|| panic!("{name}"))).collect();
        assert!(at.is_sorted(), "{name}: {at:?}");
        let codes = section(page, "EXIT STATUS").iter().filter(|line| **line == ".TP").count();
        assert!(codes >= 10, "{name}: {codes} exit codes");
        // Each line of an example in the help is a line between `.nf` and `.fi`.
        let text = plain(page);
        let shown = section(&text, "EXAMPLES");
        let shown = shown.split(|line| *line == ".nf").nth(1).unwrap().split(|line| *line == ".fi").next().unwrap();
        let help = place.ok(&[&words[..], &["--help"]].concat()).text();
        let (_, examples) = help.split_once("Examples:\n").unwrap();
        let examples: Vec<_> = examples.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
        assert_eq!(shown, examples, "{name}");
    }
}

/// A user can copy the shown text into a shell.
#[test]
fn a_page_reads_as_it_is_written() {
    if Command::new("groff").arg("--version").output().is_err() {
        return skipped::skipped("a page by groff", "there is no groff");
    }
    let place = Place::new();
    for (name, page) in pages(&place) {
        let path = place.path(format!("man1/{name}"));
        let shown = Command::new("groff").args(["-man", "-ww", "-Tutf8", "-P-c"]).arg(path).output().unwrap();
        assert!(
            shown.status.success() && shown.stderr.is_empty(),
            "{name}: {}",
            String::from_utf8_lossy(&shown.stderr)
        );
        let shown = String::from_utf8(shown.stdout).unwrap();
        for line in shown.lines().filter(|line| line.trim_start().starts_with("waxseal ")) {
            assert!(!line.contains(['\u{2018}', '\u{2019}', '\u{2010}', '\u{2212}', '\u{2dc}']), "{name}: {line}");
        }
        if name == "waxseal-encrypt.1" {
            let tar = "tar --use-compress-program='waxseal encrypt -k file:backup.key' -cf folder.tar.wax folder";
            assert!(shown.contains(tar), "{shown}");
        }
        assert!(page.ends_with('\n'));
    }
}

#[test]
fn all_pages_go_into_a_folder_and_replace_only_pages() {
    let place = Place::new();
    let ran = place.run(&["man", "--all", "no/man1"]);
    ran.failed(7, &["no/man1", "hint: create it first: mkdir -p no/man1"]);
    for (folder, hint) in [("no man", "mkdir -p 'no man'"), ("-x", "mkdir -p ./-x"), ("n\no", "mkdir -p DIR")] {
        place.run(&["man", &format!("--all={folder}")]).failed(7, &[&format!("create it first: {hint}\n")]);
    }
    place.run(&["man", "--all", "k"]).failed(7, &["k"]);
    place.run(&["man", "--all", ".", "encrypt"]).failed(2, &["--all"]);
    let pages = pages(&place);
    assert!(pages.len() > 12, "{}", pages.len());
    // A page of another version is replaced.
    let old = pages["waxseal.1"].replace(env!("CARGO_PKG_VERSION"), "0.0.1");
    assert_ne!(old, pages["waxseal.1"]);
    place.write("man1/waxseal.1", &old);
    assert!(place.ok(&["man", "--all", "man1"]).stdout.is_empty());
    assert_eq!(place.read("man1/waxseal.1"), pages["waxseal.1"].as_bytes());
    assert_eq!(place.mode("man1/waxseal.1"), 0o644);
    // Any other file is kept, and then no page is written next to it.
    place.write("man1/waxseal.1", &old);
    place.write("man1/waxseal-verify.1", "notes about .TH waxseal\n");
    place.run(&["man", "--all", "man1"]).failed(8, &["waxseal-verify.1 exists and is not a manual page of waxseal"]);
    assert_eq!(place.read("man1/waxseal-verify.1"), b"notes about .TH waxseal\n");
    assert_eq!(place.read("man1/waxseal.1"), old.as_bytes());
    let json: serde_json::Value = serde_json::from_str(&place.run(&["man", "--json", "--all", "man1"]).text()).unwrap();
    assert_eq!((&json["ok"], &json["exit"]), (&false.into(), &8.into()));
}

/// A line that writes into a folder fails if the folder does not exist, as on a new machine.
#[test]
fn an_example_makes_the_folder_before_it_writes_into_it() {
    let place = Place::new();
    for command in ["completions", "man"] {
        let help = place.ok(&[command, "--help"]).text();
        let mut made = BTreeSet::new();
        let mut written = 0;
        for line in help.lines().filter_map(|line| line.strip_prefix("  ")) {
            if let Some(folder) = line.strip_prefix("mkdir -p ") {
                made.insert(folder);
            } else if let Some((_, path)) = line.split_once(" > ~/").or_else(|| line.split_once(" --all ~/")) {
                let path = format!("~/{path}");
                let folder = if line.contains('>') { path.rsplit_once('/').unwrap().0 } else { &path };
                assert!(made.contains(folder), "{command}: {line}");
                written += 1;
            }
        }
        assert!(written > 0, "{help}");
    }
}

/// With an installed tool, a user can put the reader next to the backups.
#[test]
fn the_printed_reader_opens_a_file() {
    let place = Place::new();
    let content = noise(40_000);
    place.sealed("in.wax", &content);
    let reader = place.ok(&["reader"]).stdout;
    assert_eq!(reader, fs::read(support::root().join("spec/reader.py")).unwrap());
    place.write("reader.py", reader);
    let mut python = Command::new(support::python());
    python.args(["-B", "reader.py", "--keyfile", "k", "in.wax", "out"]).current_dir(place.path(""));
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(place.read("out"), content);
}

/// Words in capitals in the sources that are not variables: they are words of AWS KMS.
const NO_VARIABLES: [&str; 2] = ["AWS_KMS", "AWS_CLOUDHSM"];

/// Variables that the program's libraries read.
const OF_LIBRARIES: [&str; 4] = ["COLUMNS", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE"];

/// The files that read variables. If you add a file, check how this test finds the names.
const ASKING: [&str; 7] = [
    "crates/waxseal-aws/src/config.rs",
    "crates/waxseal-aws/src/credentials.rs",
    "crates/waxseal-aws/src/environment.rs",
    "crates/waxseal-aws-kms/src/client.rs",
    "crates/waxseal-cli/src/keys/spec.rs",
    "crates/waxseal-cli/src/report.rs",
    "src/salvage/crew.rs",
];

/// The sources without their tests, by path.
fn sources() -> Vec<(PathBuf, String)> {
    let (mut folders, mut found) = (vec!["src".into(), "crates".into()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(support::root().join::<&PathBuf>(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if support::root().join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), fs::read_to_string(support::root().join(path)).unwrap()));
            }
        }
    }
    let is_test = |path: &Path| {
        path.to_string_lossy().contains("/tests")
            || path.ends_with("configurations.rs")
            || path.ends_with("environment.rs") && path.starts_with("crates/waxseal-cli")
    };
    found.retain(|(path, _)| !is_test(path));
    found.iter_mut().for_each(|(_, text)| text.truncate(text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len())));
    found
}

/// The texts in quotes of a source that look like variables.
fn names_in(text: &str) -> impl Iterator<Item = &str> {
    let known = |name: &str| ["AWS_", "WAXSEAL_", "NO_"].iter().any(|start| name.starts_with(start));
    let capitals =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit());
    let proxy = |name: &str| name.to_ascii_uppercase().ends_with("_PROXY");
    let single = ["HOME", "USERPROFILE", "HOMEDRIVE", "HOMEPATH", "RAYON_NUM_THREADS", "REQUEST_METHOD", "TERM"];
    text.split('"').filter(move |name| {
        single.contains(name) || proxy(name) && !name.contains(' ') || known(name) && capitals(name)
    })
}

/// Every variable that is read is in the table, because users must know it. Every variable in the table is read,
/// because the table must not mislead.
#[test]
fn the_table_of_variables_is_what_the_sources_read() {
    let place = Place::new();
    let page = place.ok(&["man"]).text();
    let mut told = BTreeMap::new();
    for item in plain(&section(&page, "ENVIRONMENT").join("\n")).split(".TP\n").skip(1) {
        let (names, text) = item.trim_end().split_once('\n').unwrap();
        told.insert(names.to_owned(), text.to_owned());
    }
    let document = fs::read_to_string(support::root().join("docs/environment.md")).unwrap();
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.split_once(" | ").unwrap());
    let rows: BTreeMap<_, _> = rows.map(|(names, text)| (names.replace('`', ""), text.to_owned())).collect();
    assert_eq!(told, rows, "`waxseal man` and docs/environment.md");

    let table: BTreeSet<&str> = told.keys().flat_map(|names| names.split(", ")).collect();
    let sources = sources();
    let mut read: BTreeSet<&str> = OF_LIBRARIES.into();
    read.extend(sources.iter().flat_map(|(_, text)| names_in(text)).filter(|name| !NO_VARIABLES.contains(name)));
    assert_eq!(table, read);

    let asks = |text: &str| ["env::var(", "env::var_os(", "env::vars"].iter().any(|call| text.contains(call));
    let mut asking: Vec<_> = sources.iter().filter(|(_, text)| asks(text)).map(|(path, _)| path.clone()).collect();
    asking.sort();
    assert_eq!(asking, ASKING.map(PathBuf::from));
    // Code that reads a variable by a quoted name reads a variable of the table.
    for (path, text) in &sources {
        for call in ["env::var(\"", "env::var_os(\""] {
            for name in text.split(call).skip(1).map(|rest| rest.split('"').next().unwrap()) {
                assert!(table.contains(name), "{}: {name}", path.display());
            }
        }
    }
}

/// A number of one takes the singular.
#[test]
fn one_of_a_kind_is_not_told_in_the_plural() {
    let place = Place::new();
    let mut sealed = place.sealed("in.wax", &noise(100_000));
    let middle = sealed.len() - 60_000;
    sealed[middle] ^= 1;
    place.write("in.wax", &sealed);
    let ran = place.run(&["salvage", "-k", "file:k", "-o", "out", "in.wax"]);
    ran.failed(4, &["missing in 1 place"]);
    assert!(!ran.stderr.contains("1 places"), "{}", ran.stderr);
    place.sealed("one.wax", b"x");
    let shown = place.ok(&["inspect", "one.wax"]).text();
    assert!(shown.contains("the plaintext has 1 byte\n"), "{shown}");
}
