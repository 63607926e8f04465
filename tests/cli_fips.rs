//! The program with the FIPS module (feature `fips`): what it does, what it refuses, and what it says about itself.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;

use std::fs;
use std::path::PathBuf;

use cli_support::{Place, noise};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The sealed files of the first release, made by a build without the module.
fn corpus(name: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/0.1.0");
    root.join(name).canonicalize().unwrap().to_str().unwrap().to_owned()
}

fn key(name: &str) -> String {
    format!("file:{}", corpus(name))
}

fn passphrase() -> String {
    format!("passphrase:file={}", corpus("passphrase"))
}

#[test]
fn the_version_names_the_module() {
    let place = Place::new();
    let said = place.ok(&["--version"]).text();
    assert!(said.starts_with("waxseal ") && said.contains(" (cryptography by the module AWS-LC FIPS "), "{said}");
}

#[test]
fn inspect_names_the_module() {
    let place = Place::new();
    place.sealed("x.wax", b"text");
    let line: Value = serde_json::from_slice(&place.ok(&["inspect", "--json", "x.wax"]).stdout).unwrap();
    assert!(line["fips_module"].as_str().unwrap().starts_with("AWS-LC FIPS "), "{line}");
    let text = place.ok(&["inspect", "x.wax"]).text();
    assert!(text.contains("AWS-LC FIPS "), "{text}");
    // Also of a file that it refuses to open.
    place.ok(&["inspect", &corpus("chacha20-poly1305-1.wax")]);
}

#[test]
fn what_other_builds_sealed_opens() {
    let manifest: Value = serde_json::from_str(&fs::read_to_string(corpus("manifest.json")).unwrap()).unwrap();
    let (place, mut opened) = (Place::new(), 0);
    for file in manifest["files"].as_array().unwrap().iter().filter(|file| file["suite"] == 1) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let keys = file["openers"].as_array().unwrap().iter().filter(|opener| opener["kind"] == "keyfile");
        for opener in keys {
            let (name, key) = (corpus(&text(&file["file"])), key(&text(&opener["file"])));
            let ran = place.ok(&["decrypt", "-k", &key, "-o", "-", &name]);
            let hash: String = Sha256::digest(&ran.stdout).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hash, text(&file["plaintext_sha256"]), "{name}");
            opened += 1;
        }
    }
    assert!(opened >= 10, "{opened}");
}

#[test]
fn round_trips() {
    let place = Place::new();
    for len in [0, 1, 16_384, 5 << 20] {
        let content = noise(len);
        place.write("in", &content);
        place.ok(&["encrypt", "-k", "file:k", "-f", "in"]);
        place.ok(&["verify", "-k", "file:k", "in.wax"]);
        place.ok(&["decrypt", "-k", "file:k", "-f", "-o", "out", "in.wax"]);
        assert!(place.read("out") == content, "{len}");
    }
    place.ok(&["key", "new", "k2"]);
    place.ok(&["rewrap", "-k", "file:k", "--allow-unwrap", "--add", "file:k2", "in.wax"]);
    place.ok(&["verify", "-k", "file:k2", "in.wax"]);
}

#[test]
fn sealing_refuses_what_the_module_does_not_have() {
    let place = Place::new();
    place.write("in", "text");
    let refused = "is refused: this build uses only what the FIPS module has";
    let hint = "without the feature `fips`";
    let (identity, passphrase) = (key("x-wing"), passphrase());
    for (args, words) in [
        (&["encrypt", "-k", "file:k", "--suite", "chacha20-poly1305", "in"][..], "chacha20-poly1305"),
        (&["encrypt", "-k", "passphrase", "in"], "Argon2id"),
        (&["encrypt", "-k", &passphrase, "in"], "Argon2id"),
        (&["encrypt", "-k", "file:k", "-k", &passphrase, "in"], "Argon2id"),
        (&["encrypt", "-k", &identity, "in"], "X-Wing"),
        (&["key", "new", "--pair", "pair"], "X-Wing"),
    ] {
        place.fails(args, 2, &[words, refused, hint]);
    }
    place.ok(&["encrypt", "-k", "file:k", "in"]);
    let added = ["rewrap", "-k", "file:k", "--allow-unwrap", "--add", &passphrase, "in.wax"];
    place.fails(&added, 2, &["Argon2id", refused, hint]);
    assert_eq!(place.names(), ["in", "in.wax", "k"]);
}

#[test]
fn opening_refuses_what_the_module_does_not_have() {
    let place = Place::new();
    let refused = "is refused: this build uses only what the FIPS module has";
    let hint = "without the feature `fips`";
    let (keyfile, identity, passphrase) = (key("keyfile"), key("x-wing"), passphrase());
    for (name, key, exit, words) in [
        ("chacha20-poly1305-1.wax", &keyfile, 3, "chacha20-poly1305"),
        ("all-kinds-chacha20.wax", &keyfile, 3, "chacha20-poly1305"),
        ("only-passphrase.wax", &passphrase, 5, "Argon2id"),
        ("only-passphrase.wax", &"passphrase".to_owned(), 5, "Argon2id"),
        ("only-x-wing.wax", &identity, 5, "X-Wing"),
    ] {
        for args in [&["decrypt", "-o", "out"][..], &["verify"], &["cat", "--range", "0..1"]] {
            let name = corpus(name);
            let args = [args, &["-k", key.as_str(), &name]].concat();
            place.fails(&args, exit, &[words, refused, hint]);
        }
    }
    // Nobody named a key, and nobody is asked for a passphrase.
    place.fails(&["decrypt", "-o", "out", &corpus("only-passphrase.wax")], 5, &["Argon2id", refused, hint]);
    assert_eq!(place.names(), ["k"]);
}

#[test]
fn a_slot_that_is_refused_does_not_keep_another_from_opening() {
    let place = Place::new();
    for keys in [[key("keyfile"), passphrase()], [passphrase(), key("keyfile")]] {
        place.ok(&["verify", "-k", &keys[0], "-k", &keys[1], &corpus("all-kinds.wax")]);
    }
}
