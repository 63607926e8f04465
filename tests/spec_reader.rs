//! `spec/reader.py`, which was written from the specification alone, opens the worked example.

mod support;

use std::path::Path;
use std::process::{Command, Output};

fn reader(arguments: &[&str]) -> Output {
    let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec");
    let mut command = Command::new(support::python());
    command.current_dir(spec).arg("reader.py").args(arguments).output().expect("python runs")
}

#[test]
fn opens_the_worked_example() {
    let output = reader(&["--keyfile", "example.key", "-c", "project=demo", "-l", "host=example", "example.wax", "-"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"hello, waxseal\n".as_slice()));
}

#[test]
fn opens_it_with_the_bare_data_key() {
    let key = Path::new(env!("CARGO_TARGET_TMPDIR")).join("example.data-key");
    std::fs::write(&key, (0..32).collect::<Vec<u8>>()).expect("a file under target/");
    let output = reader(&["--data-key-file", key.to_str().expect("a plain path"), "example.wax", "-"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"hello, waxseal\n".as_slice()));
}

#[test]
fn refuses_an_unmet_demand_before_any_key() {
    let output = reader(&["-l", "host=another", "example.wax", "-"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(8), 0));
}

/// A passphrase file is read as the program reads it: one LF at its end is dropped, and nothing else.
#[test]
fn takes_a_passphrase_file_as_the_program_does() {
    use waxseal::keys::Passphrase;
    use waxseal::secret::SecretBytes;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (passphrase, content) in [
        (&b"word\r"[..], &b"word\r\n"[..]),
        (b"word", b"word\n"),
        (b"word\n", b"word\n\n"),
        (b"\xef\xbb\xbfword", b"\xef\xbb\xbfword"),
    ] {
        let key = Passphrase::new(SecretBytes::new(passphrase.to_vec())).expect("a passphrase");
        let mut writer = waxseal::SealWriter::new(Vec::new(), &[&key], &waxseal::SealOptions::new()).expect("a writer");
        std::io::Write::write_all(&mut writer, b"content").expect("memory");
        let [sealed, file] = ["typed.wax", "typed.pass"].map(|name| folder.join(name));
        std::fs::write(&sealed, writer.finish().expect("memory")).expect("a file under target/");
        std::fs::write(&file, content).expect("a file under target/");
        let output = reader(&["--passphrase-file", file.to_str().expect("text"), sealed.to_str().expect("text"), "-"]);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"content".as_slice()), "{content:?}");
    }
}

#[test]
fn opens_the_example_of_public_keys() {
    let output = reader(&["--identity", "example-public.identity", "-c", "project=demo", "example-public.wax", "-"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"hello, waxseal\n".as_slice()), "{errors}");
    // What `aws kms decapsulate --query SharedSecret --output text` prints.
    let secret = Path::new(env!("CARGO_TARGET_TMPDIR")).join("example.shared-secret");
    std::fs::write(&secret, "9t7LeZvOzZUqW1f6NJK2x7Xq70RXaWHWNrikl30qRVE=\n").expect("a file under target/");
    let arn = "arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-4000-8000-000000000004";
    let given = format!("--shared-secret={arn}={}", secret.to_str().expect("a plain path"));
    for recipient in ["example-public.recipient", "example-kms.recipient"] {
        let output = reader(&[given.as_str(), "--recipient", recipient, "example-public.wax", "-"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), output.stdout.as_slice()),
            (Some(0), b"hello, waxseal\n".as_slice()),
            "{errors}"
        );
    }
}
