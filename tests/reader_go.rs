//! `readers/go`, which was written from the specification with Go's standard library alone.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod kit;
mod readers;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use kit::vector::{Class, Vector, read_folder};
use readers::program::{self, KmsKey, Program, kms_recipient, noise};
use readers::{answers_of, fault_of};
use support::{REGION, clear_aws_environment, small_kms};
use waxseal::SealOptions;
use waxseal::format::Pairs;

/// The system's Go, or a pinned one that is installed below `target/`.
fn program_go() -> &'static Path {
    static GO: OnceLock<PathBuf> = OnceLock::new();
    GO.get_or_init(|| {
        if Command::new("go").arg("version").output().is_ok_and(|output| output.status.success()) {
            return "go".into();
        }
        let folder = support::environment("go-python", include_str!("support/requirements-go.txt"));
        let python = folder.unwrap_or_else(|missing| panic!("these tests need Go 1.19 or newer, or {missing}"));
        python.with_file_name("go")
    })
}

/// Go, with everything that it writes below `target/`, and without a network.
fn go(args: &[&str]) -> Output {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
    let mut command = Command::new(program_go());
    command.args(args).current_dir(support::root().join("readers/go"));
    command.env("GOCACHE", target.join("cache")).env("GOPATH", target.join("path")).env("GOENV", "off");
    command.env("GOFLAGS", "-mod=readonly").env("GOPROXY", "off").env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0");
    let output = command.output().unwrap();
    assert!(output.status.success(), "go {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn reader() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        // Each test process has its own, because a program that is being written cannot be run.
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("go/reader-{}", std::process::id()));
        go(&["build", "-o", program.to_str().unwrap(), "."]);
        program
    });
    Command::new(program)
}

/// Why the reader leaves a vector out.
fn reason(vector: &Vector) -> Option<&'static str> {
    let has = |start: &str| vector.lines.iter().any(|(key, _)| key.starts_with(start));
    match () {
        () if has("recipient") => Some("recipient"),
        () if has("identity") => Some("identity"),
        () if has("passphrase") => Some("passphrase"),
        () => None,
    }
}

/// A vector of suite 2 is left out only after everything that comes before a key was checked.
fn is_of_suite_2(vector: &Vector) -> bool {
    let before = [Class::Header, Class::Newer, Class::Demand, Class::Usage];
    vector.body.get(10..12) == Some(&[2, 0]) && !before.contains(&vector.expected())
}

#[test]
fn every_vector_through_the_reader_in_go() {
    let vectors = read_folder();
    let answers = answers_of(&reader, &vectors);
    let (mut faults, mut left_out) = (Vec::new(), std::collections::BTreeMap::<_, u32>::new());
    for (vector, answer) in vectors.iter().zip(&answers) {
        let Some(fault) = fault_of(vector, answer, false) else { continue };
        let reason = reason(vector).or(is_of_suite_2(vector).then_some("suite 2"));
        // What it leaves out, it refuses.
        match reason.filter(|_| answer.0 == 2 && answer.1.contains("reader: usage: ") && answer.2 == 0) {
            Some(reason) => *left_out.entry(reason).or_default() += 1,
            None => faults.push(format!("{}: {fault}", vector.name)),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let expected = [("identity", 28), ("passphrase", 56), ("recipient", 7), ("suite 2", 39)];
    assert_eq!(left_out.into_iter().collect::<Vec<_>>(), expected, "of {} vectors", vectors.len());
}

#[test]
fn the_reader_in_go_opens_the_worked_example() {
    program::opens_the_worked_example(&reader);
}

#[test]
fn the_reader_in_go_tells_a_missing_input() {
    program::tells_a_missing_input_from_other_errors(&reader);
}

#[test]
fn the_reader_in_go_writes_all_or_nothing() {
    program::writes_all_or_nothing(&reader);
}

#[test]
fn a_signal_leaves_no_file_of_the_reader_in_go() {
    program::a_signal_leaves_no_file(&reader);
}

#[test]
fn the_reader_in_go_needs_little_memory() {
    let peak = program::peak_memory(&reader, 64 << 20);
    assert!(peak < 32, "{peak} MiB");
}

/// The commands that it prints are run by a shell, with the tool of AWS. Their answers open the file.
#[test]
fn the_calls_that_it_prints_open_a_file() {
    let (server, program) = (small_kms(), Program::new(&reader));
    let key = KmsKey { server: &server, arn: server.aws().create_key() };
    let ((rsa, rsa_arn), (ml_kem, ml_kem_arn)) =
        (kms_recipient(&server, "RSA_3072"), kms_recipient(&server, "ML_KEM_768"));
    // A shell must see this text as it is.
    let pair = "it's=$(touch ran) \"`touch ran`\" \\ <&>";
    let options = SealOptions::new().with_context(Pairs::parse([pair]).unwrap());
    let content = noise(40_000);
    program.seal_for("in", &content, &[&key, &rsa, &ml_kem], &options);
    let printed = program.run(&["--calls", "in"]);
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let printed = String::from_utf8(printed.stdout).unwrap();
    // This version of the tool does not know ML-KEM.
    let (known, unknown): (Vec<_>, Vec<_>) = printed.lines().partition(|line| !line.contains("decapsulate"));
    let mut shell = Command::new("sh");
    clear_aws_environment(&mut shell);
    let bin = support::python().parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    shell.args(["-e", "-c", &known.join("\n")]).current_dir(program.path("")).env("PATH", path);
    shell
        .env("AWS_ENDPOINT_URL", &server.url)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    let ran = shell.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(!program.path("ran").exists(), "the shell ran a part of a pair");
    let asked = format!(
        "aws kms decapsulate --encapsulation-algorithm ML_KEM --query SharedSecret --shared-secret-ciphertext-blob \
         fileb://slot2.blob --output text --region {REGION} --key-id {ml_kem_arn} >slot2.answer"
    );
    assert_eq!(unknown, [asked]);
    let blob = std::fs::read(program.path("slot2.blob")).unwrap();
    std::fs::write(program.path("slot2.answer"), decapsulated(&server, &ml_kem_arn, &blob)).unwrap();
    let answers = [("data-key", &key.arn), ("shared-secret", &rsa_arn), ("shared-secret", &ml_kem_arn)];
    for (slot, (option, arn)) in answers.into_iter().enumerate() {
        let answer = format!("--{option}={arn}=slot{slot}.answer");
        assert!(printed.contains(&format!("# Slot {slot}. Then: --{option} {arn}=slot{slot}.answer\n")), "{printed}");
        let output = program.run(&[&answer, "-c", pair, "in", "-"]);
        assert!(output.stdout == content, "{option}: {}", String::from_utf8_lossy(&output.stderr));
    }
    server.conforms();
}

fn decapsulated(server: &support::Server, arn: &str, blob: &[u8]) -> String {
    use base64::Engine as _;
    let blob = base64::engine::general_purpose::STANDARD.encode(blob);
    let asked =
        serde_json::json!({ "KeyId": arn, "EncapsulationAlgorithm": "ML_KEM", "SharedSecretCiphertextBlob": blob });
    server.aws().kms("Decapsulate", &asked)["SharedSecret"].as_str().unwrap().to_owned()
}

#[test]
fn the_reader_in_go_opens_the_files_of_every_release() {
    let takes = |_: &str, suite: u64, kind: &str| suite == 1 && !["passphrase", "x-wing"].contains(&kind);
    assert!(program::opens_the_corpus(&reader, &takes) >= 24);
}

#[test]
fn the_reader_in_go_is_formatted_and_vetted() {
    go(&["vet", "."]);
    let folder = support::root().join("readers/go");
    // Not `gofmt` from PATH: a Go that was installed below `target/` has its own, and puts none there.
    let root = String::from_utf8(go(&["env", "GOROOT"]).stdout).unwrap();
    let mut gofmt = Command::new(Path::new(root.trim_end()).join("bin/gofmt"));
    let output = gofmt.args(["-l", "."]).current_dir(folder).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}
