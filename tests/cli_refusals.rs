//! A file that is not a complete and authentic waxseal file is refused. The exit code tells the cause, and there is no
//! output.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;

use cli_support::{Place, header_len, noise, sealed_len};

const DECRYPT: [&str; 3] = ["decrypt", "-k", "file:k"];
const MIB: usize = 1024 * 1024;

/// Every way to open `file` ends with `code` and leaves no file. A pipe gets at most a prefix of `plain`.
fn refused(place: &Place, file: &[u8], code: i32, plain: &[u8], words: &[&str]) {
    place.write("bad.wax", file);
    let before = place.names();
    place.fails(&["decrypt", "-k", "file:k", "-o", "out", "bad.wax"], code, words);
    place.fails(&["verify", "-k", "file:k", "bad.wax"], code, words);
    assert_eq!(place.names(), before);
    let piped = place.pipe(&DECRYPT, file);
    piped.failed(code, words);
    assert!(plain.starts_with(&piped.stdout), "the pipe's output is not a prefix");
    let verified = place.pipe(&["verify", "-k", "file:k", "-"], file);
    verified.failed(code, words);
    assert!(verified.stdout.is_empty());
}

#[test]
fn altered_payloads() {
    let place = Place::new();
    let plain = noise(50_000);
    let sealed = place.sealed("in.wax", &plain);
    let payload = header_len(plain.len());
    for place_of_flip in
        [payload, payload + 23, payload + 24, payload + 55, payload + 56, payload + 20_000, sealed.len() - 1]
    {
        for bit in [0, 7] {
            let mut file = sealed.clone();
            file[place_of_flip] ^= 1 << bit;
            refused(&place, &file, 4, &plain, &["hint: "]);
        }
    }
    let chunk = |index: usize| payload + 56 + index * 16_400..payload + 56 + (index + 1) * 16_400;
    let mut swapped = sealed.clone();
    let (one, two) = (sealed[chunk(0)].to_vec(), sealed[chunk(1)].to_vec());
    swapped[chunk(0)].copy_from_slice(&two);
    swapped[chunk(1)].copy_from_slice(&one);
    refused(&place, &swapped, 4, &[], &["chunk 0"]);
    let mut longer = sealed.clone();
    longer.push(0);
    refused(&place, &longer, 4, &plain, &["last chunk"]);
    refused(&place, &[sealed.as_slice(), &sealed].concat(), 4, &plain, &[]);
}

#[test]
fn truncated_files() {
    let place = Place::new();
    let plain = noise(50_000);
    let sealed = place.sealed("in.wax", &plain);
    let payload = header_len(plain.len());
    for len in [
        payload,
        payload + 1,
        payload + 56,
        payload + 71,
        payload + 72,
        payload + 56 + 16_400,
        payload + 56 + 2 * 16_400,
        sealed.len() - 1,
    ] {
        refused(&place, &sealed[..len], 4, &plain, &["hint: "]);
    }
    for len in [16, 100, 4095, 4096, 4097, 8191] {
        refused(&place, &sealed[..len], 3, &[], &["inside its header", "hint: copy the file again"]);
    }
    for len in [1, 7, 8, 15] {
        refused(&place, &sealed[..len], 3, &[], &["hint: "]);
    }
    // A large file has a large header.
    let large = place.sealed("large.wax", &noise(5 * MIB));
    for len in [40_000, 70_000] {
        let words = format!("the file ends inside its header, after {len} of 131072 bytes");
        refused(&place, &large[..len], 3, &[], &[&words, "hint: copy the file again"]);
    }
    // Where bank 0 is complete, it was altered.
    let mut altered = sealed[..5000].to_vec();
    altered[100] ^= 1;
    altered[4096] ^= 1;
    refused(&place, &altered, 3, &[], &["both copies of the header are damaged"]);
}

#[test]
fn a_pipe_gives_the_verified_prefix() {
    let place = Place::new();
    let plain = noise(5 * MIB);
    let mut sealed = place.sealed("in.wax", &plain);
    let broken = 200;
    sealed[header_len(plain.len()) + 56 + broken * 16_400] ^= 1;
    let piped = place.pipe(&DECRYPT, &sealed);
    piped.failed(4, &["chunk 200", "byte 3276800"]);
    assert!(piped.stdout == plain[..broken * 16_384], "{}", piped.stdout.len());
}

#[test]
fn foreign_files() {
    let place = Place::new();
    for foreign in [&b""[..], b"hello", &noise(200_000), &[0; 300_000], b"\x89PNG\r\n\x1a\n and so on"] {
        refused(&place, foreign, 3, &[], &["not a waxseal file"]);
    }
    place.write("empty", "");
    place.fails(&["inspect", "empty"], 3, &["not a waxseal file"]);
    assert_eq!(place.pipe(&["inspect", "-"], b"text").code, Some(3));
}

#[test]
fn a_newer_version_says_so() {
    let place = Place::new();
    let mut sealed = place.sealed("in.wax", b"content");
    for bank in [0, 4096] {
        sealed[bank + 8] = 2;
        checksum(&mut sealed[bank..bank + 4096]);
    }
    refused(&place, &sealed, 3, &[], &["version 2", "newer version of waxseal"]);
}

#[test]
fn a_malformed_header_names_the_field() {
    let place = Place::new();
    let sealed = place.sealed("in.wax", b"content");
    for (offset, value, field) in [(10, 9, "suite"), (20, 0, "slots"), (96, 2, "flags")] {
        let mut file = sealed.clone();
        file[offset] = value;
        checksum(&mut file[..4096]);
        refused(&place, &file, 3, &[], &["malformed", field]);
    }
}

/// Writes the SHA-256 of the bank into its last 32 bytes. An attacker can compute it too, so it only detects damage.
fn checksum(bank: &mut [u8]) {
    use sha2::{Digest, Sha256};
    let (content, sum) = bank.split_at_mut(4096 - 32);
    sum.copy_from_slice(&Sha256::digest(content));
}

#[test]
fn one_damaged_bank_is_a_warning() {
    let place = Place::new();
    for size in [1000, 4 * MIB] {
        let plain = noise(size);
        let sealed = place.sealed("in.wax", &plain);
        let bank_len = header_len(size) / 2;
        for number in [0, 1] {
            let start = number * bank_len;
            for damage in [start..start + 1, start + 12..start + 16, start + 200..start + 201, start..start + bank_len]
            {
                let mut file = sealed.clone();
                file[damage].iter_mut().for_each(|byte| *byte ^= 0x5a);
                place.write("bad.wax", &file);
                let warning = format!("waxseal: warning: header bank {number} is damaged");
                for args in [
                    &["decrypt", "-k", "file:k", "-f", "-o", "out", "bad.wax"][..],
                    &["verify", "-q", "-k", "file:k", "bad.wax"],
                ] {
                    let ran = place.ok(args);
                    assert!(ran.stderr.contains(&warning), "{}", ran.stderr);
                }
                assert!(place.read("out") == plain);
                let piped = place.pipe(&DECRYPT, &file);
                assert!(piped.code == Some(0) && piped.stdout == plain && piped.stderr.contains(&warning));
                let inspected = place.ok(&["inspect", "bad.wax"]);
                assert!(
                    inspected.text().contains(&format!("bank {number}              damaged")),
                    "{}",
                    inspected.text()
                );
            }
        }
        std::fs::remove_file(place.path("in.wax")).unwrap();
    }
}

#[test]
fn both_banks_damaged_is_exit_3() {
    let place = Place::new();
    let mut sealed = place.sealed("in.wax", b"content");
    sealed[200] ^= 1;
    sealed[4096 + 200] ^= 1;
    refused(&place, &sealed, 3, &[], &["both copies"]);
    place.fails(&["inspect", "bad.wax"], 3, &["both copies"]);
}

/// A sealed file inside a sealed file, an inserted block or a lost block never gives a second plaintext.
#[test]
fn the_magic_elsewhere_is_refused() {
    let place = Place::new();
    let sealed = place.sealed("in.wax", &noise(10_000));
    refused(&place, &[&[0; 4096][..], &sealed].concat(), 3, &[], &["malformed"]);
    refused(&place, &[&[0; 16_384][..], &sealed].concat(), 3, &[], &[]);
    let mut hidden = place.sealed("hidden.wax", &sealed);
    hidden[8192..8200].copy_from_slice(&sealed[..8]);
    refused(&place, &hidden, 3, &[], &["magic"]);
    // Bank 0 is removed, so everything after it moves to the front.
    refused(&place, &sealed[4096..], 3, &[], &[]);
}

#[test]
fn demands_are_checked_before_any_key() {
    let place = Place::new();
    place.write("in", "content");
    place.ok(&["encrypt", "-k", "file:k", "-c", "env=prod", "-c", "team=db", "-l", "host=a", "in"]);
    let met: [&[&str]; 4] = [
        &[],
        &["-c", "env=prod"],
        &["-l", "host=a", "-c", "team=db"],
        &["--encryption-context", "env=prod", "--label", "host=a"],
    ];
    for demands in met {
        place.ok(&[&["verify", "-k", "file:k"], demands, &["in.wax"]].concat());
        place.ok(&[&["cat", "-k", "file:k", "--range", ".."], demands, &["in.wax"]].concat());
    }
    let unmet: [(&[&str], &str); 5] = [
        (&["-c", "env=test"], "env"),
        (&["-c", "ENV=prod"], "ENV"),
        (&["-l", "env=prod"], "label"),
        (&["-c", "host=a"], "host"),
        (&["-l", "host=a", "-c", "missing=x"], "missing"),
    ];
    place.ok(&["key", "new", "stranger"]);
    for (demands, name) in unmet {
        // The key does not open the file. But the demand is checked first.
        for command in [&["verify"][..], &["decrypt", "-o", "out"], &["cat", "--range", ".."]] {
            let args = [command, &["-k", "file:stranger"], demands, &["in.wax"]].concat();
            let ran = place.fails(&args, 8, &[name, "hint: ", "inspect"]);
            assert!(ran.stdout.is_empty());
        }
    }
    assert!(!place.exists("out"));
}

#[test]
fn malformed_pairs_are_usage_errors() {
    let place = Place::new();
    place.write("in", "content");
    let bad = ["novalue", "=x", "x=", "aws:x=1", "WaxSeal:x=1", "a\u{7}=1"];
    for pair in bad {
        for option in ["-c", "-l"] {
            place.fails(&["encrypt", "-k", "file:k", option, pair, "in"], 2, &["hint: ", "NAME=VALUE"]);
        }
    }
    place.fails(&["encrypt", "-k", "file:k", "-c", "a=1", "-c", "A=2", "in"], 2, &["twice"]);
    let long = format!("a={}", "x".repeat(9000));
    place.fails(&["encrypt", "-k", "file:k", "-c", &long, "in"], 2, &["8192"]);
    assert_eq!(place.names(), ["in", "k"]);
}

#[test]
fn the_gravest_of_several_counts() {
    let place = Place::new();
    place.ok(&["key", "new", "other"]);
    let good = place.sealed("good.wax", &noise(20_000));
    let mut altered = good.clone();
    altered[9000] ^= 1;
    place.write("altered.wax", &altered);
    place.write("foreign.wax", "text");
    place.write("x", "x");
    place.ok(&["encrypt", "-k", "file:other", "-o", "nokey.wax", "x"]);
    place.ok(&["encrypt", "-k", "file:k", "-l", "a=b", "-o", "label.wax", "x"]);
    let order =
        [("altered.wax", 4), ("foreign.wax", 3), ("nokey.wax", 5), ("nowhere/missing.wax", 7), ("missing.wax", 10)];
    for (index, (gravest, code)) in order.iter().enumerate() {
        let others = order[index..].iter().rev().map(|(name, _)| *name);
        let args: Vec<&str> =
            ["verify", "-k", "file:k", "good.wax"].into_iter().chain(others).chain(["good.wax"]).collect();
        let ran = place.fails(&args, *code, &[gravest]);
        assert_eq!(ran.text(), "good.wax: ok\ngood.wax: ok\n", "one failure does not stop the others");
    }
    let args = ["verify", "-k", "file:k", "-l", "a=b", "label.wax", "good.wax", "missing.wax"];
    assert_eq!(place.run(&args).code, Some(10));
    assert_eq!(place.run(&args[..7]).code, Some(8));
}

#[test]
fn usage_errors() {
    let place = Place::new();
    place.write("in", "content");
    let bad: [&[&str]; 12] = [
        &["encrypt", "--nonsense", "in"],
        &["nonsense"],
        &[],
        &["encrypt", "-k"],
        &["encrypt", "in"],
        &["encrypt", "-k", "k", "in"],
        &["encrypt", "-k", "file:k", "--suite", "rot13", "in"],
        &["verify", "-k", "file:k"],
        &["inspect"],
        &["cat", "-k", "file:k", "in"],
        &["key"],
        &["-v"],
    ];
    for args in bad {
        let ran = place.run(args);
        assert_eq!(ran.code, Some(2), "{args:?} {}", ran.stderr);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty());
    }
    place.fails(&["encrypt", "in"], 2, &["no key", "-k", "key new"]);
    place.fails(&["encrypt", "-k", "k", "in"], 2, &["hint: ", "file:k"]);
    assert_eq!(place.names(), ["in", "k"]);
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let place = Place::new();
    let help = place.ok(&["--help"]).text();
    let table = &help[help.find("Exit codes").unwrap()..];
    for (code, words) in [
        (0, "done"),
        (1, "bug"),
        (2, "usage"),
        (3, "not a waxseal file"),
        (4, "authentication failed"),
        (5, "no key"),
        (6, "try again"),
        (7, "input/output"),
        (8, "condition"),
        (9, "--from-command"),
    ] {
        let line = table.lines().find(|line| line.trim_start().starts_with(&format!("{code}  "))).unwrap();
        assert!(line.contains(words), "{line}");
    }
    assert!(table.contains("unknown code is a failure"));
    for command in [&["encrypt"][..], &["decrypt"], &["verify"], &["inspect"], &["cat"], &["key"], &["key", "new"]] {
        let help = place.ok(&[command, &["--help"]].concat()).text();
        assert!(help.contains("Examples:\n  waxseal "), "{command:?}");
        assert_eq!(place.ok(&[command, &["-h"]].concat()).code, Some(0));
    }
    assert_eq!(place.ok(&["--version"]).text(), format!("waxseal {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(place.ok(&["-V"]).text(), place.ok(&["--version"]).text());
    assert!(place.ok(&["man"]).text().contains("EXIT STATUS"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.ok(&["completions", shell]).text().contains("encrypt"));
    }
    assert_eq!(place.sealed("x.wax", b"x").len(), sealed_len(1));
}
