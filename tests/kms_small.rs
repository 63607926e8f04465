//! Checks the tests' own small KMS with AWS's model and with another client, to find its mistakes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Command;

#[test]
fn another_client_finds_it_to_be_kms() {
    let kms = support::small_kms();
    let port = kms.address().rsplit_once(':').unwrap().1.to_owned();
    let script = support::root().join("tests/support/kms_client.py");
    let mut client = Command::new(support::kms_python());
    support::clear_aws_environment(&mut client);
    let ran = client.arg(script).arg(port).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let calls: usize = String::from_utf8_lossy(&ran.stdout).trim().parse().unwrap();
    assert!(calls > 60, "{calls}");
    kms.conforms();
}

#[test]
fn what_the_model_does_not_allow_is_refused_and_told() {
    let kms = support::small_kms();
    let refused = std::panic::catch_unwind(|| kms.aws().create_key_with(&serde_json::json!({ "KeySpek": "x" })));
    let conforms = std::panic::catch_unwind(|| kms.conforms());
    assert!(refused.is_err() && conforms.is_err());
}
