//! The public test kit: every vector through every reader.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod kit;
mod readers;
mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use kit::encode::{hex, sha256};
use kit::run::{self, Outcome};
use kit::vector::{Class, Vector, folder, read_folder};
use readers::{Answer, DataKey, arguments, faults_of};
use waxseal::envelope::read_front;
use waxseal::format::Header;

/// So that no vector is lost unseen.
const VECTORS: usize = 887;

/// Ways that may know the size of the file first, or give less than the serial reader before a failure.
fn knows_size(way: &str) -> bool {
    way.starts_with("seeking") || way.starts_with("engine")
}

/// What is wrong with an outcome.
fn fault(vector: &Vector, way: &str, outcome: &Outcome, serial: &Outcome) -> Option<String> {
    let ((len, hash), expected) = (vector.allowed(), vector.expected());
    let known = knows_size(way);
    if outcome.class != expected && !(known && vector.may_end_in(outcome.class)) {
        return Some(format!("ends in {:?}, not in {expected:?}", outcome.class));
    }
    if outcome.class == expected && outcome.exit != vector.expected_exit() {
        return Some(format!("exit code {}", outcome.exit));
    }
    if known && expected != Class::Success {
        let prefix = serial.plaintext.starts_with(&outcome.plaintext);
        return (!prefix).then(|| "gives more than the allowed beginning".into());
    }
    if outcome.plaintext.len() != len || hex(&sha256(&outcome.plaintext)) != hash {
        return Some(format!("gives {} bytes that are not those expected", outcome.plaintext.len()));
    }
    None
}

fn faults(vector: &Vector) -> Vec<String> {
    let outcomes = run::library(vector);
    let serial = &outcomes[0].1;
    let found = outcomes.iter().filter_map(|(way, outcome)| {
        fault(vector, way, outcome, serial).map(|fault| format!("{} ({way}) {fault}", vector.name))
    });
    let mut found: Vec<_> = found.collect();
    let warned = !matches!(vector.expected(), Class::Header | Class::Newer);
    if warned && run::warnings(&vector.body) != vector.all("warning").collect::<Vec<_>>() {
        found.push(format!("{}: other warnings", vector.name));
    }
    found
}

#[test]
#[cfg_attr(feature = "fips", ignore = "the FIPS module does not have everything")]
fn every_vector_through_the_library() {
    let vectors = read_folder();
    // Readers wait before they believe damage: many threads wait together.
    let found: Vec<_> = std::thread::scope(|scope| {
        let parts = vectors.chunks(vectors.len().div_ceil(16));
        let threads: Vec<_> = parts.map(|part| scope.spawn(|| part.iter().flat_map(faults).collect())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<Vec<String>>>().concat()
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The same in a build with the FIPS module. What the module does not have gives nothing.
#[cfg(feature = "fips")]
#[test]
fn every_vector_of_what_the_fips_module_has() {
    let suite =
        |vector: &Vector| Some(Header::read(&read_front(&mut vector.body.as_slice()).ok()?).ok()?.bank().binding.suite);
    let secrets = ["passphrase", "passphrase-hex", "identity", "identity-hex", "recipient-hex"];
    let is_refused = |vector: &Vector| {
        suite(vector) == Some(waxseal::format::Suite::ChaCha20Poly1305)
            || vector.lines.iter().any(|(key, _)| secrets.contains(&key.as_str()))
    };
    let (refused, possible): (Vec<_>, Vec<_>) = read_folder().into_iter().partition(is_refused);
    let found: Vec<_> = possible.iter().flat_map(faults).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    for vector in &refused {
        // One of several keys may still open it.
        let keys = vector.lines.iter().filter(|(key, _)| secrets.contains(&key.as_str())).count();
        let others = ["keyfile", "keyfile-hex", "data-key", "shared-secret"];
        let is_only_key = keys > 0 && !vector.lines.iter().any(|(key, _)| others.contains(&key.as_str()));
        for (way, outcome) in run::library(vector) {
            let is_chacha = suite(vector) == Some(waxseal::format::Suite::ChaCha20Poly1305);
            if is_chacha || is_only_key {
                assert_ne!(outcome.class, Class::Success, "{} ({way})", vector.name);
                assert!(outcome.plaintext.is_empty(), "{} ({way})", vector.name);
            }
        }
    }
    assert!(possible.len() > VECTORS / 2 && refused.len() > 10, "{} and {}", possible.len(), refused.len());
}

/// What `spec/reader.py` answers to all `vectors`, run by `python` in the `way` of `tests/kit/drive_reader.py`.
fn answers(python: &Path, way: &[&str], vectors: &[Vector]) -> Vec<Answer> {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new(python)
        .arg(root.join("tests/kit/drive_reader.py"))
        .arg(root.join("spec/reader.py"))
        .args(way)
        .env("PYTHONUTF8", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = python.stdin.take().unwrap();
    let lines: Vec<_> = vectors.iter().map(|vector| arguments(vector, folder.path(), DataKey::Raw)).collect();
    let asked = std::thread::spawn(move || {
        for line in lines {
            writeln!(input, "{}", serde_json::to_string(&line).unwrap()).unwrap();
        }
    });
    let output = python.wait_with_output().unwrap();
    asked.join().unwrap();
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let answers: Vec<Answer> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert!(output.status.success() && answers.len() == vectors.len(), "{} answers", answers.len());
    answers
}

#[test]
fn every_vector_through_the_reader_of_the_specification() {
    let vectors = read_folder();
    let faults = faults_of(&vectors, &answers(support::python(), &[], &vectors), false);
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn every_vector_through_the_file_that_its_module_gives() {
    let vectors = read_folder();
    let faults = faults_of(&vectors, &answers(support::python(), &["Sealed"], &vectors), true);
    assert!(faults.is_empty(), "{faults}");
}

/// Without ML-KEM, an identity is of no use: the reader says what is missing. Everything else opens as ever.
#[test]
fn every_vector_through_it_with_the_oldest_package_that_it_takes() {
    let python = support::old_python();
    let (without, vectors): (Vec<_>, Vec<_>) = read_folder().into_iter().partition(|vector| {
        let has_identity = vector.lines.iter().any(|(key, _)| key.starts_with("identity"));
        vector.expected() != Class::Usage && has_identity
    });
    let faults = faults_of(&vectors, &answers(python, &[], &vectors), false);
    assert!(faults.is_empty(), "{faults}");
    let faults = faults_of(&vectors, &answers(python, &["Sealed"], &vectors), true);
    assert!(faults.is_empty(), "{faults}");
    assert!(!without.is_empty() && without.len() < VECTORS / 4, "{}", without.len());
    let words =
        "reader: usage: an identity needs the Python package cryptography>=48: pip install 'cryptography>=48'\n";
    for (exit, errors, len, _) in answers(python, &[], &without) {
        assert_eq!((exit, errors.as_str(), len), (2, words, 0));
    }
}

/// Counts what is taken from it.
struct Counted<'a>(&'a [u8], usize);

impl Read for Counted<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let len = self.0.read(out)?;
        self.1 += len;
        Ok(len)
    }
}

#[test]
fn a_header_is_decided_from_the_first_131144_bytes() {
    for vector in read_folder() {
        let long = [vector.body.as_slice(), &[0; 200_000]].concat();
        let mut input = Counted(&long, 0);
        let header = read_front(&mut input).and_then(|front| Ok(Header::read(&front)?));
        assert!(input.1 <= 131_072 + 72, "{}: {} bytes", vector.name, input.1);
        let expected = vector.expected();
        // What stands behind a cut file changes what it is.
        if vector.body.len() >= 8264 && !matches!(expected, Class::Header | Class::Newer) {
            assert!(header.is_ok(), "{}", vector.name);
        }
    }
}

#[test]
fn the_folder_is_what_the_generators_make() {
    let made = kit::r#gen::all();
    let names: Vec<_> = made.iter().map(|vector| &vector.name).collect();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "a name stands twice");
    let found = read_folder();
    assert_eq!(found.iter().map(|vector| &vector.name).collect::<Vec<_>>(), names);
    for (found, made) in found.iter().zip(&made) {
        assert!(found == made, "{} differs from what its generator makes", made.name);
    }
    assert_eq!(found.len(), VECTORS);
}

#[test]
#[ignore = "writes the folder anew"]
fn regenerate() {
    for old in read_folder() {
        std::fs::remove_file(folder().join(old.name)).unwrap();
    }
    let made = kit::r#gen::all();
    for vector in &made {
        std::fs::write(folder().join(&vector.name), vector.to_bytes()).unwrap();
    }
}
