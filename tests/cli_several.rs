//! Several inputs of one command: they are worked on at the same time, and each has its own result.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
#[cfg(feature = "aws-kms")]
mod support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use cli_support::{Place, Ran, noise};
use serde_json::Value;

/// More files than are worked on at the same time.
const MANY: usize = 40;

fn names(place: &Place, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("in{number:02}")).collect();
    for (number, name) in names.iter().enumerate() {
        place.write(name, noise(100 + number));
    }
    names
}

fn with<'a>(args: &[&'a str], names: &'a [String]) -> Vec<&'a str> {
    args.iter().copied().chain(names.iter().map(String::as_str)).collect()
}

fn wax(names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("{name}.wax")).collect()
}

/// JSON lines by their file.
fn by_file(text: &str) -> BTreeMap<String, Value> {
    let parse = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        (value["file"].as_str().unwrap().to_owned(), value)
    };
    let told: BTreeMap<_, _> = text.lines().map(parse).collect();
    assert_eq!(told.len(), text.lines().count(), "one line a file: {text}");
    told
}

#[test]
fn each_has_its_own_result_and_its_own_warnings() {
    let place = Place::new();
    let names = names(&place, MANY);
    let told = by_file(&place.ok(&with(&["encrypt", "--json", "-k", "file:k"], &names)).text());
    for (number, name) in names.iter().enumerate() {
        assert_eq!(told[name]["bytes"], 100 + number);
        assert_eq!(told[name]["output"], format!("{name}.wax"));
    }
    let sealed = wax(&names);
    // Every third file has a damaged bank, and every seventh file has a damaged end.
    for (number, name) in sealed.iter().enumerate() {
        let mut bytes = place.read(name);
        let last = bytes.len() - 1;
        bytes[300] ^= u8::from(number % 3 == 0);
        bytes[last] ^= u8::from(number % 7 == 0);
        place.write(name, bytes);
    }
    names.iter().for_each(|name| std::fs::remove_file(place.path(name)).unwrap());
    for args in [&["verify", "--json", "-k", "file:k"][..], &["decrypt", "--json", "-k", "file:k"]] {
        let ran = place.run(&with(args, &sealed));
        assert_eq!(ran.code, Some(4), "{}", ran.stderr);
        let told = by_file(&ran.text());
        for (number, name) in sealed.iter().enumerate() {
            let warnings = told[name]["warnings"].as_array().unwrap().len();
            assert_eq!(warnings, usize::from(number % 3 == 0), "{args:?} {}", told[name]);
            assert_eq!(told[name]["exit"], if number % 7 == 0 { 4 } else { 0 }, "{args:?} {}", told[name]);
        }
    }
    for (number, name) in names.iter().enumerate() {
        assert_eq!(place.exists(name), number % 7 != 0);
        assert!(!place.exists(name) || place.read(name) == noise(100 + number));
    }
    // In the output for people, each warning names its file.
    let ran = place.run(&with(&["verify", "-k", "file:k"], &sealed));
    let warnings: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("warning: ")).collect();
    assert_eq!(warnings.len(), MANY.div_ceil(3), "{}", ran.stderr);
    assert!(warnings.iter().all(|line| line.contains("warning: in") && line.contains(".wax: ")), "{warnings:?}");
    assert_eq!(ran.text().lines().filter(|line| line.ends_with(": ok")).count(), MANY - MANY.div_ceil(7));
}

/// Files that depend on each other are worked on in the order of the command line.
#[test]
fn what_one_makes_and_another_takes_is_done_in_order() {
    let place = Place::new();
    place.write("a", noise(5_000));
    place.sealed("a.wax", b"another content");
    place.ok(&["encrypt", "-f", "-k", "file:k", "a", "a.wax"]);
    std::fs::rename(place.path("a.wax"), place.path("b.wax")).unwrap();
    place.ok(&["decrypt", "-k", "file:k", "-o", "again", "a.wax.wax"]);
    assert!(place.read("again") == place.read("b.wax"), "the second sealed what the first had made");
    // If two outputs have one name, the first one gets it and the second one is refused.
    std::fs::remove_file(place.path("a")).unwrap();
    std::fs::rename(place.path("b.wax"), place.path("a.wax")).unwrap();
    let ran = place.run(&["decrypt", "--json", "-k", "file:k", "a.wax", "./a.wax"]);
    assert_eq!(ran.code, Some(8), "{}", ran.stderr);
    let told = by_file(&ran.text());
    assert_eq!((&told["a.wax"]["exit"], &told["./a.wax"]["exit"]), (&0.into(), &8.into()));
    assert!(place.read("a") == noise(5_000));
}

#[test]
fn large_ones_among_small_ones() {
    let place = Place::new();
    let mut all = names(&place, 10);
    for (number, len) in [(1 << 20) - 1, 1 << 20, 5 << 20, 9 << 20].into_iter().enumerate() {
        let name = format!("large{number}");
        place.write(&name, noise(len));
        all.push(name);
    }
    place.ok(&with(&["encrypt", "-k", "file:k"], &all));
    let plain: Vec<Vec<u8>> = all.iter().map(|name| place.read(name)).collect();
    place.ok(&with(&["verify", "-k", "file:k"], &wax(&all)));
    place.ok(&with(&["decrypt", "-f", "-k", "file:k"], &wax(&all)));
    all.iter().zip(plain).for_each(|(name, plain)| assert!(place.read(name) == plain, "{name}"));
}

/// Streams are read in the order of the command line. So a program can fill one pipe after the other without waiting.
/// The other files do not wait for the pipes.
#[cfg(target_os = "linux")]
#[test]
fn streams_are_read_in_their_order() {
    let place = Place::new();
    let sealed = place.sealed("f.wax", &noise(100_000));
    place.sealed("g.wax", &noise(100));
    for name in ["one", "two"] {
        assert!(Command::new("mkfifo").arg(place.path(name)).status().unwrap().success());
    }
    let mut command = place.command(&["verify", "-k", "file:k", "f.wax", "one", "g.wax", "two"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for name in ["one", "two"] {
        std::fs::File::options().write(true).open(place.path(name)).unwrap().write_all(&sealed).unwrap();
    }
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let text = ran.text();
    let at = |line: &str| text.lines().position(|told| told == line).unwrap_or_else(|| panic!("{line}: {text}"));
    assert!(at("one: ok") < at("two: ok"));
    assert!(at("f.wax: ok") < 4 && at("g.wax: ok") < 4);
}

/// If there are few descriptors, fewer files are worked on at the same time, but all of them are done.
#[cfg(target_os = "linux")]
#[test]
fn few_descriptors_are_enough_for_many_inputs() {
    let place = Place::new();
    let names = names(&place, MANY);
    let sealed = wax(&names);
    for limit in ["--nofile=24:24", "--nofile=40:40", "--nofile=64:64"] {
        for (args, inputs) in [
            (&["encrypt", "-f", "-k", "file:k"][..], &names),
            (&["verify", "-k", "file:k"], &sealed),
            (&["decrypt", "-f", "-k", "file:k"], &sealed),
        ] {
            let mut command = Command::new("prlimit");
            command.arg(limit).arg(cli_support::WAXSEAL).args(with(args, inputs)).current_dir(place.path(""));
            let ran: Ran = command.env_remove("WAXSEAL_KEY").stdin(Stdio::null()).output().unwrap().into();
            assert_eq!(ran.code, Some(0), "{limit} {args:?}: {}", ran.stderr);
        }
    }
}

#[cfg(feature = "aws-kms")]
mod kms {
    use std::collections::BTreeSet;

    use super::*;
    use crate::support::{self, REGION, small_kms};

    /// This KMS answers only if four calls wait at the same time. If the calls came one after another, the first one
    /// would wait for ever.
    #[test]
    fn calls_for_several_files_are_made_at_once_and_each_has_its_own_id() {
        let server = small_kms();
        let key = server.aws().create_key();
        let place = Place::new();
        let names = names(&place, 8);
        let sealed = wax(&names);
        server.gather(4);
        for (args, inputs) in [
            (&["encrypt"][..], &names),
            (&["verify"], &sealed),
            (&["verify", "--quick"], &sealed),
            (&["verify", "--dry-run"], &sealed),
            (&["decrypt", "-f"], &sealed),
        ] {
            let mut command = place.command(&with(&[args, &["--json", "-k", &key]].concat(), inputs));
            support::clear_aws_environment(&mut command);
            command.env("AWS_ENDPOINT_URL", &server.url).env("AWS_REGION", REGION);
            command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
            let ran: Ran = command.output().unwrap().into();
            assert_eq!(ran.code, Some(0), "{args:?}: {} {}", ran.stderr, ran.text());
            let told = by_file(&ran.text());
            let ids: BTreeSet<&str> = told.values().filter_map(|line| line["aws_request_id"].as_str()).collect();
            assert_eq!(ids.len(), inputs.len(), "{args:?}: {}", ran.text());
        }
    }
}
