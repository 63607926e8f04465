//! Messages about causes outside of the program: a file that changes, and the text of a service.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
#[cfg(feature = "aws-kms")]
mod support;

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use cli_support::{Place, Ran, noise};

/// If a program still writes to a log, the log can be sealed in another way. The hint says how.
#[test]
fn a_file_that_grows_is_told_of_with_a_way_out() {
    let place = Place::new();
    let path = place.write("log", noise(8 << 20));
    // In the middle of its input, the program waits until its output is read.
    let mut child = place
        .command(&["encrypt", "-k", "file:k", "-o", "-", "log"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 4096]).unwrap();
    std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"one line more\n").unwrap();
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    let ran: Ran = child.wait_with_output().unwrap().into();
    ran.failed(7, &["the input changed while it was read", "hint: ", "`cat FILE | waxseal encrypt ", "snapshot"]);
}

/// Some messages of AWS contain line ends. The program prints them on one line, without `\u{a}`.
#[cfg(feature = "aws-kms")]
#[test]
fn the_words_of_a_service_stand_on_one_line() {
    let place = Place::new();
    place.write("in", "content");
    let arn = format!("arn:aws:kms:{}:{}:key/1234abcd-12ab-34cd-56ef-1234567890ab", support::REGION, support::ACCOUNT);
    for words in [r"one error:\n\tthe second line\r\n", r"\r\n one error:\u2028 \u0085the second line"] {
        for json in [false, true] {
            let service = support::counting_proxy("http://127.0.0.1:1");
            service.fail_on("GenerateDataKey", support::Fault::refusal("ValidationException", words));
            let mut command = place.command(&["encrypt", "-f", "-k", &arn, "in"]);
            if json {
                command.arg("--json");
            }
            support::clear_aws_environment(&mut command);
            command.env("AWS_ENDPOINT_URL", &service.url).env("AWS_REGION", support::REGION);
            command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
            let ran: Ran = command.output().unwrap().into();
            let said = ran.text() + &ran.stderr;
            assert!(said.contains("one error: the second line"), "{said}");
            assert!(!said.contains(r"\u{") && !said.contains(r"\u00") && !said.contains(r"\n"), "{said}");
            assert_eq!(said.lines().filter(|line| !line.starts_with("hint: ")).count(), 1, "{said}");
        }
    }
}
