//! The sealed files of every release open, for ever: with the library, the program, and the reader of the specification.
#![cfg(feature = "aws-kms")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cli_support::WAXSEAL;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{Reply, clear_aws_environment, http, liar};
use waxseal::error::Error;
use waxseal::format::{Binding, Pairs, Slot, SlotKind};
use waxseal::keys::{Identity, KeyFile, KeyOpener, Passphrase, public};
use waxseal::secret::{DataKey, SecretBytes};
use waxseal::{Demands, OpenReader, OpenReaderAt};

/// The sets that must be there. A release adds its own.
const VERSIONS: [&str; 1] = ["0.1.0"];

fn folder() -> PathBuf {
    support::root().join("tests/corpus")
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One file of a set.
struct Sealed {
    path: PathBuf,
    entry: Value,
}

impl Sealed {
    fn text(&self, field: &str) -> &str {
        self.entry[field].as_str().unwrap()
    }

    fn texts(&self, field: &str) -> Vec<String> {
        self.entry[field].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    }

    fn openers(&self) -> &[Value] {
        self.entry["openers"].as_array().unwrap()
    }

    /// A file next to it.
    fn beside(&self, name: &Value) -> PathBuf {
        self.path.with_file_name(name.as_str().unwrap())
    }

    /// Panics unless `plaintext` is the content.
    #[track_caller]
    fn is(&self, plaintext: &[u8], how: &str) {
        let found = (plaintext.len() as u64, sha256(plaintext));
        let expected = (self.entry["plaintext_bytes"].as_u64().unwrap(), self.text("plaintext_sha256").to_owned());
        assert_eq!(found, expected, "{}: {how}", self.path.display());
    }
}

/// The sets of the list, with the SHA-256 of their manifests.
fn sets() -> Vec<(String, String)> {
    let list = fs::read_to_string(folder().join("sets")).unwrap();
    let parts = |line: &str| line.split_once(' ').map(|(version, check)| (version.to_owned(), check.to_owned()));
    list.lines().map(|line| parts(line).unwrap()).collect()
}

/// All files of all sets.
fn all() -> Vec<Sealed> {
    let mut all = Vec::new();
    for (version, _) in sets() {
        let set = folder().join(version);
        let manifest: Value = serde_json::from_slice(&fs::read(set.join("manifest.json")).unwrap()).unwrap();
        let files = manifest["files"].as_array().unwrap().clone();
        all.extend(files.into_iter().map(|entry| Sealed { path: set.join(entry["file"].as_str().unwrap()), entry }));
    }
    all
}

/// What is wrong with the sets in a folder.
fn faults(folder: &Path, sets: &[(String, String)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (version, check) in sets {
        let set = folder.join(version);
        let Ok(manifest) = fs::read(set.join("manifest.json")) else {
            faults.push(format!("{version}: no manifest"));
            continue;
        };
        if sha256(&manifest) != *check {
            faults.push(format!("{version}: another manifest"));
            continue;
        }
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        for entry in manifest["files"].as_array().unwrap() {
            let name = entry["file"].as_str().unwrap();
            match fs::read(set.join(name)) {
                Ok(bytes) if entry["sha256"] == sha256(&bytes) => {}
                Ok(_) => faults.push(format!("{version}: {name} was altered")),
                Err(error) => faults.push(format!("{version}: {name}: {error}")),
            }
        }
    }
    faults
}

#[test]
fn no_file_of_a_release_is_gone_or_altered() {
    let sets = sets();
    assert_eq!(sets.iter().map(|(version, _)| version.as_str()).collect::<Vec<_>>(), VERSIONS);
    let found = faults(&folder(), &sets);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let folders = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap());
    let folders: BTreeSet<_> = folders.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name()).collect();
    assert_eq!(folders, VERSIONS.iter().map(|version| (*version).into()).collect(), "folders and their list");
}

/// The check above notices each kind of change.
#[test]
fn a_missing_or_altered_file_is_noticed() {
    let copy = tempfile::tempdir().unwrap();
    let (version, sets) = (VERSIONS[0], sets());
    let set = copy.path().join(version);
    fs::create_dir(&set).unwrap();
    for entry in fs::read_dir(folder().join(version)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), set.join(entry.file_name())).unwrap();
    }
    let sets = &sets[..1];
    assert!(faults(copy.path(), sets).is_empty());
    let (one, other) = ("all-kinds.wax", "batch-1.wax");
    fs::remove_file(set.join(one)).unwrap();
    let mut bytes = fs::read(set.join(other)).unwrap();
    bytes[5000] ^= 1;
    fs::write(set.join(other), bytes).unwrap();
    let found = faults(copy.path(), sets).join("\n");
    assert!(found.contains(one) && found.contains(&format!("{other} was altered")), "{found}");
    fs::write(set.join("manifest.json"), "{}").unwrap();
    assert_eq!(faults(copy.path(), sets), [format!("{version}: another manifest")]);
    fs::remove_file(set.join("manifest.json")).unwrap();
    assert_eq!(faults(copy.path(), sets), [format!("{version}: no manifest")]);
}

#[test]
fn every_set_has_every_kind_both_suites_and_the_limits_of_sizes() {
    for version in VERSIONS {
        let own: Vec<_> = all().into_iter().filter(|file| file.path.starts_with(folder().join(version))).collect();
        let kinds: BTreeSet<_> =
            own.iter().flat_map(Sealed::openers).map(|opener| opener["kind"].as_str().unwrap().to_owned()).collect();
        let expected = ["aws-kms", "aws-kms-ml-kem", "aws-kms-rsa", "keyfile", "passphrase", "x-wing"];
        assert!(kinds.iter().eq(expected), "{version}: {kinds:?}");
        let sizes = |suite: u64| -> BTreeSet<u64> {
            let own = own.iter().filter(|file| file.entry["suite"] == suite);
            own.map(|file| file.entry["plaintext_bytes"].as_u64().unwrap()).collect()
        };
        for suite in [1, 2] {
            assert!(
                sizes(suite).is_superset(&[0, 1, 16_383, 16_384, 16_385, 49_152].into()),
                "{version}, suite {suite}"
            );
        }
        let warnings: BTreeSet<_> = own.iter().filter_map(|file| file.entry["warning"].as_str()).collect();
        assert_eq!(warnings.len(), 3, "{version}: damaged banks and an interrupted rewrap: {warnings:?}");
        assert!(
            own.iter().any(|file| !file.texts("labels").is_empty() && !file.texts("pairs").is_empty()),
            "{version}"
        );
    }
}

/// AWS KMS, which answered this for the slot of one key.
struct Answered {
    arn: String,
    answer: Vec<u8>,
}

impl KeyOpener for Answered {
    fn name(&self) -> String {
        self.arn.clone()
    }

    fn matches(&self, slot: &Slot) -> bool {
        slot.key_id == self.arn
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey, Error> {
        let answer = DataKey::from_slice(&self.answer)?;
        if slot.kind == SlotKind::AWS_KMS { Ok(answer) } else { public::finish(slot, &answer, binding) }
    }
}

fn opener(file: &Sealed, opener: &Value) -> Box<dyn KeyOpener> {
    let content = || fs::read(file.beside(&opener["file"])).unwrap();
    match opener["kind"].as_str().unwrap() {
        "keyfile" => Box::new(KeyFile::parse(&content()).unwrap()),
        "x-wing" => Box::new(Identity::parse(&content()).unwrap()),
        "passphrase" => {
            let phrase = content().strip_suffix(b"\n").unwrap().to_vec();
            Box::new(Passphrase::new(SecretBytes::new(phrase)).unwrap())
        }
        _ => {
            let answer = STANDARD.decode(opener["answer"].as_str().unwrap()).unwrap();
            Box::new(Answered { arn: opener["arn"].as_str().unwrap().into(), answer })
        }
    }
}

#[test]
fn the_library_opens_every_file_of_every_release() {
    for file in all() {
        let sealed = fs::read(&file.path).unwrap();
        let demands = Demands::new()
            .with_context(Pairs::parse(file.texts("pairs")).unwrap())
            .with_labels(Pairs::parse(file.texts("labels")).unwrap());
        for told in file.openers() {
            let key = opener(&file, told);
            let mut plaintext = Vec::new();
            let mut serial = OpenReader::new(sealed.as_slice(), &[key.as_ref()], &demands).unwrap();
            let warnings = serial.header().warnings().len();
            assert_eq!(warnings, usize::from(file.entry["warning"].is_string()), "{}", file.path.display());
            serial.read_to_end(&mut plaintext).unwrap();
            file.is(&plaintext, &told.to_string());
            let mut seeking = OpenReaderAt::new(Cursor::new(&sealed), &[key.as_ref()], &demands).unwrap();
            plaintext.clear();
            seeking.read_to_end(&mut plaintext).unwrap();
            file.is(&plaintext, &told.to_string());
        }
    }
}

/// A service that knows one key, and gives the answer that KMS gave.
fn scripted(opener: &Value) -> Option<support::Liar> {
    let (arn, answer) = (opener.get("arn")?.clone(), opener["answer"].clone());
    Some(liar(move |operation| {
        let answered = match operation {
            "Decapsulate" => json!({ "KeyId": arn, "SharedSecret": answer, "EncapsulationAlgorithm": "ML_KEM" }),
            "Decrypt" => json!({ "KeyId": arn, "Plaintext": answer }),
            _ => return Reply::Bytes(http(400, &[], r#"{"__type":"ValidationException"}"#)),
        };
        Reply::Bytes(http(200, &["Content-Type: application/x-amz-json-1.1"], answered.to_string()))
    }))
}

#[test]
fn the_program_opens_every_file_of_every_release() {
    let keys = tempfile::tempdir().unwrap();
    for file in all() {
        for opener in file.openers() {
            let kms = scripted(opener);
            let key = match opener["kind"].as_str().unwrap() {
                // Git does not keep the mode of a file, and a key file that others may read brings a warning.
                kind @ ("keyfile" | "x-wing" | "passphrase") => {
                    let own = keys.path().join(kind);
                    fs::write(&own, fs::read(file.beside(&opener["file"])).unwrap()).unwrap();
                    let how = if kind == "passphrase" { "passphrase:file=" } else { "file:" };
                    format!("{how}{}", own.display())
                }
                _ => opener["arn"].as_str().unwrap().to_owned(),
            };
            let mut command = Command::new(WAXSEAL);
            clear_aws_environment(command.args(["decrypt", "-k", &key, "-o", "-"]).env_remove("WAXSEAL_KEY"));
            command.args(file.texts("pairs").iter().flat_map(|pair| ["-c", pair]));
            command.args(file.texts("labels").iter().flat_map(|label| ["-l", label]));
            if let Some(kms) = &kms {
                command.env("AWS_ENDPOINT_URL", &kms.url);
                command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
            }
            let output = command.arg(&file.path).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{} {opener}: {errors}", file.path.display());
            file.is(&output.stdout, &key);
            assert_eq!(errors.contains("bank"), file.entry["warning"].is_string(), "{}: {errors}", file.path.display());
        }
    }
}

/// The arguments of `spec/reader.py`, which takes the place of KMS from files in `folder`.
fn reader_arguments(file: &Sealed, opener: &Value, folder: &Path) -> Vec<String> {
    let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
    let answer = |content: &[u8]| {
        let path = folder.join("answer");
        fs::write(&path, content).unwrap();
        text(path)
    };
    let key = |option: &str| vec![option.to_owned(), text(file.beside(&opener["file"]))];
    let mut args = match opener["kind"].as_str().unwrap() {
        "keyfile" => key("--keyfile"),
        "x-wing" => key("--identity"),
        "passphrase" => key("--passphrase-file"),
        "aws-kms" => {
            vec!["--data-key-file".into(), answer(&STANDARD.decode(opener["answer"].as_str().unwrap()).unwrap())]
        }
        _ => {
            let path = answer(opener["answer"].as_str().unwrap().as_bytes());
            vec![format!("--shared-secret={}={path}", opener["arn"].as_str().unwrap())]
        }
    };
    args.extend(file.texts("pairs").into_iter().flat_map(|pair| ["-c".into(), pair]));
    args.extend(file.texts("labels").into_iter().flat_map(|label| ["-l".into(), label]));
    args.extend([text(file.path.clone()), "-".into()]);
    args
}

#[test]
fn the_reader_of_the_specification_opens_every_file_of_every_release() {
    let folder = tempfile::tempdir().unwrap();
    for file in all() {
        for opener in file.openers() {
            let mut reader = Command::new(support::python());
            reader.env("PYTHONUTF8", "1").env("PYTHONDONTWRITEBYTECODE", "1");
            reader.arg(support::root().join("spec/reader.py")).args(reader_arguments(&file, opener, folder.path()));
            let output = reader.output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{} {opener}: {errors}", file.path.display());
            file.is(&output.stdout, &opener.to_string());
            let warning = errors.trim().strip_prefix("reader: warning: ");
            assert_eq!(warning, file.entry["warning"].as_str(), "{}", file.path.display());
        }
    }
}
