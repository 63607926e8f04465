//! `readers/node`, which was written from the specification for Node.js.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod kit;
mod readers;
mod support;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use kit::vector::{Vector, read_folder};
use readers::program::{self, KmsKey, Program, kms_recipient, noise};
use readers::{Answer, DataKey, arguments, faults_of};
use serde_json::Value;
use support::{CountingProxy, Fault, clear_aws_environment, counting_proxy, small_kms};
use waxseal::SealOptions;
use waxseal::format::Pairs;

/// A copy of the reader under `target/`, next to the packages of its lock file.
fn installed() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let (from, to) = (support::root().join("readers/node"), Path::new(env!("CARGO_TARGET_TMPDIR")).join("node"));
        fs::create_dir_all(&to).unwrap();
        // Several test binaries may run at the same time.
        let lock = File::create(to.join("lock")).unwrap();
        lock.lock().unwrap();
        for name in ["package.json", "package-lock.json", "header.js", "reader.js"] {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
        let (wanted, stamp) = (fs::read(from.join("package-lock.json")).unwrap(), to.join("stamp"));
        if fs::read(&stamp).ok().as_ref() != Some(&wanted) {
            let mut npm = Command::new("npm");
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache"]).arg(to.join("cache"));
            let output = npm.current_dir(&to).output();
            let output = output.unwrap_or_else(|error| panic!("these tests need Node.js 20.19 and npm: {error}"));
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "these tests need npm, and a registry that has the packages: {errors}");
            fs::write(stamp, wanted).unwrap();
        }
        to
    })
}

fn reader() -> Command {
    let mut command = Command::new("node");
    clear_aws_environment(command.arg(installed().join("reader.js")));
    command
}

/// One process of `tests/kit/drive_reader.mjs` for these vectors.
fn driven(vectors: &[Vector], folder: &Path) -> Vec<Answer> {
    let mut node = Command::new("node");
    node.arg(support::root().join("tests/kit/drive_reader.mjs")).arg(installed().join("reader.js"));
    let mut node = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = node.stdin.take().unwrap();
    let lines: Vec<_> = vectors.iter().map(|vector| arguments(vector, folder, DataKey::Answer)).collect();
    let asked = std::thread::spawn(move || {
        for line in lines {
            writeln!(input, "{}", serde_json::to_string(&line).unwrap()).unwrap();
        }
    });
    let output = node.wait_with_output().unwrap();
    asked.join().unwrap();
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let answers: Vec<Answer> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert!(output.status.success() && answers.len() == vectors.len(), "{} answers", answers.len());
    answers
}

#[test]
fn every_vector_through_the_reader_for_node() {
    let folder = tempfile::tempdir().unwrap();
    let (left_out, vectors): (Vec<_>, Vec<_>) =
        read_folder().into_iter().partition(|vector| vector.one("recipient-hex").is_some());
    // It does not seal, so it refuses recipient files.
    assert_eq!(left_out.len(), 59, "of {} vectors", left_out.len() + vectors.len());
    for (exit, errors, len, _) in driven(&left_out, folder.path()) {
        assert!(exit == 2 && errors.starts_with("reader: usage: ") && len == 0, "{exit} {errors}");
    }
    // Passphrases take most of the time.
    let (one, two) = vectors.split_at(vectors.len() / 2);
    let answers = std::thread::scope(|scope| {
        let parts = [one, two].map(|part| scope.spawn(|| driven(part, folder.path())));
        parts.map(|part| part.join().unwrap()).concat()
    });
    let faults = faults_of(&vectors, &answers, false);
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn the_reader_for_node_opens_the_worked_example() {
    program::opens_the_worked_example(&reader);
}

#[test]
fn the_reader_for_node_opens_the_example_of_public_keys() {
    let args = ["--identity", "example-public.identity", "-c", "project=demo", "example-public.wax", "-"];
    let output = reader().args(args).current_dir(support::root().join("spec")).output().unwrap();
    assert_eq!(output.stdout, b"hello, waxseal\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_reader_for_node_opens_the_files_of_every_release() {
    // A passphrase takes seconds.
    let takes = |file: &str, _: u64, kind: &str| kind != "passphrase" || file == "only-passphrase.wax";
    assert!(program::opens_the_corpus(&reader, &takes) >= 39);
}

#[test]
fn the_reader_for_node_tells_a_missing_input() {
    program::tells_a_missing_input_from_other_errors(&reader);
}

#[test]
fn the_reader_for_node_writes_all_or_nothing() {
    program::writes_all_or_nothing(&reader);
}

#[test]
fn a_signal_leaves_no_file_of_the_reader_for_node() {
    program::a_signal_leaves_no_file(&reader);
}

#[test]
fn the_reader_for_node_needs_little_memory() {
    let peak = program::peak_memory(&reader, 256 << 20);
    assert!(peak < 160, "{peak} MiB");
}

/// Opens `in` with a key in KMS, which is behind the proxy.
fn open_by(program: &Program<'_>, proxy: &CountingProxy, arn: &str) -> (Option<i32>, Vec<u8>, String) {
    let mut command = program.command(&["--kms", arn, "in", "-"]);
    command.env("AWS_ENDPOINT_URL", &proxy.url).env("AWS_MAX_ATTEMPTS", "1");
    command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    let output = command.output().unwrap();
    (output.status.code(), output.stdout, String::from_utf8(output.stderr).unwrap())
}

/// Each kind of KMS key alone opens the file, with one call. What KMS refuses has the exit codes of section 12.2.
#[test]
fn the_reader_for_node_calls_kms() {
    let (server, program) = (small_kms(), Program::new(&reader));
    let proxy = counting_proxy(&server.url);
    let key = KmsKey { server: &server, arn: server.aws().create_key() };
    let ((rsa, rsa_arn), (ml_kem, ml_kem_arn)) =
        (kms_recipient(&server, "RSA_3072"), kms_recipient(&server, "ML_KEM_768"));
    let options = SealOptions::new().with_context(Pairs::parse(["env=prod", "name=Zoë"]).unwrap());
    let content = noise(40_000);
    program.seal_for("in", &content, &[&key, &rsa, &ml_kem], &options);
    let calls = [(&key.arn, "Decrypt"), (&rsa_arn, "Decrypt"), (&ml_kem_arn, "Decapsulate")];
    for (arn, call) in calls {
        let (code, plaintext, errors) = open_by(&program, &proxy, arn);
        assert!(code == Some(0) && plaintext == content, "{call}: {errors}");
        assert_eq!(proxy.take(), [call]);
    }
    let asked: Value = server.last_body("Decapsulate");
    assert!(asked.get("EncryptionContext").is_none(), "{asked}");
    for (code, exit) in [
        ("AccessDeniedException", 5),
        ("DisabledException", 5),
        ("IncorrectKeyException", 5),
        ("InvalidCiphertextException", 4),
        ("ThrottlingException", 6),
    ] {
        server.fail("Decrypt", code, 1);
        let (found, plaintext, errors) = open_by(&program, &proxy, &key.arn);
        assert!(found == Some(exit) && plaintext.is_empty() && errors.contains(code), "{code}: {found:?} {errors}");
        proxy.take();
    }
    proxy.fail([Fault::Cut]);
    let (code, _, errors) = open_by(&program, &proxy, &key.arn);
    assert_eq!(code, Some(6), "{errors}");
    // KMS is asked only for a key that was named.
    proxy.take();
    let (code, _, errors) = open_by(&program, &proxy, &server.aws().create_key());
    assert_eq!((code, proxy.take().len()), (Some(5), 0), "{errors}");
    server.conforms();
}
