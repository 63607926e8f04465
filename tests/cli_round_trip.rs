//! The opened data equals the input, through files and through pipes. The sealed file has the size that the documents
//! state.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;

use std::fs;

use cli_support::{Place, header_len, noise, sealed_len};

const MIB: usize = 1024 * 1024;
const SIZES: [usize; 12] =
    [0, 1, 16_383, 16_384, 16_385, 32_768, MIB - 1, MIB, MIB + 1, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1];

#[test]
fn by_file() {
    let place = Place::new();
    for size in SIZES {
        let content = noise(size);
        place.write("in", &content);
        place.ok(&["encrypt", "-k", "file:k", "--no-sync", "-f", "in"]);
        let sealed = place.read("in.wax");
        assert_eq!(sealed.len(), sealed_len(size));
        std::fs::remove_file(place.path("in")).unwrap();
        place.ok(&["decrypt", "-k", "file:k", "--no-sync", "in.wax"]);
        assert!(place.read("in") == content, "{size}");
        place.ok(&["verify", "-k", "file:k", "in.wax"]);
    }
    assert_eq!(place.names(), ["in", "in.wax", "k"]);
}

#[test]
fn by_pipe() {
    let place = Place::new();
    for size in SIZES {
        let content = noise(size);
        let sealed = place.pipe(&["encrypt", "-k", "file:k"], &content);
        assert_eq!((sealed.code, sealed.stderr.as_str()), (Some(0), ""));
        assert_eq!(sealed.stdout.len(), sealed_len(size));
        let opened = place.pipe(&["decrypt", "-k", "file:k"], &sealed.stdout);
        assert_eq!((opened.code, opened.stderr.as_str()), (Some(0), ""));
        assert!(opened.stdout == content, "{size}");
        let verified = place.pipe(&["verify", "-k", "file:k", "-"], &sealed.stdout);
        assert_eq!((verified.code, verified.text().as_str()), (Some(0), "-: ok\n"));
    }
    assert_eq!(place.names(), ["k"]);
}

#[test]
fn file_and_pipe_mix() {
    let place = Place::new();
    for size in [5, 100_000, 5 * MIB] {
        let content = noise(size);
        place.sealed("piped.wax", &content);
        place.ok(&["decrypt", "-k", "file:k", "-f", "-o", "out", "piped.wax"]);
        assert!(place.read("out") == content);
        place.ok(&["encrypt", "-k", "file:k", "-f", "-o", "filed.wax", "out"]);
        let opened = place.pipe(&["decrypt", "-k", "file:k", "-o", "-", "-"], &place.read("filed.wax"));
        assert!(opened.stdout == content);
        std::fs::remove_file(place.path("piped.wax")).unwrap();
    }
}

#[test]
fn stdin_and_stdout_may_be_files() {
    let place = Place::new();
    let content = noise(3 * MIB);
    let input = std::fs::File::open(place.write("in", &content)).unwrap();
    let output = std::fs::File::create(place.path("in.wax")).unwrap();
    assert!(place.command(&["encrypt", "-k", "file:k"]).stdin(input).stdout(output).status().unwrap().success());
    assert_eq!(place.read("in.wax").len(), sealed_len(content.len()));
    let input = std::fs::File::open(place.path("in.wax")).unwrap();
    let output = std::fs::File::create(place.path("out")).unwrap();
    assert!(place.command(&["decrypt", "-k", "file:k"]).stdin(input).stdout(output).status().unwrap().success());
    assert!(place.read("out") == content);
}

/// Another program has read the start of the input, or has written the start of the output.
#[test]
fn redirections_keep_their_place() {
    let place = Place::new();
    place.write("in", b"skipped content");
    let script = format!(
        "{{ dd bs=8 count=1 status=none >/dev/null; {0} encrypt -k file:k; }} < in > in.wax && \
         {{ printf 'before '; {0} decrypt -k file:k < in.wax; printf ' after'; }} >> out",
        cli_support::WAXSEAL
    );
    let status = std::process::Command::new("sh").args(["-ec", &script]).current_dir(place.path("")).status();
    assert!(status.unwrap().success());
    assert_eq!(String::from_utf8_lossy(&place.read("out")), "before content after");
}

#[test]
#[cfg_attr(feature = "fips", ignore = "the FIPS module has no ChaCha20-Poly1305")]
fn both_suites() {
    let place = Place::new();
    let content = noise(100_000);
    for (suite, number) in [("aes-256-gcm", 1), ("chacha20-poly1305", 2)] {
        let sealed = place.pipe(&["encrypt", "-k", "file:k", "--suite", suite], &content);
        assert_eq!(sealed.stdout[10..12], [number, 0]);
        assert!(place.pipe(&["decrypt", "-k", "file:k"], &sealed.stdout).stdout == content);
    }
}

#[test]
fn many_inputs() {
    let place = Place::new();
    let names: Vec<String> = (0..20).map(|i| format!("f{i}")).collect();
    for name in &names {
        place.write(name, name);
    }
    let with = |first: &[&str], suffix: &str| -> Vec<String> {
        first.iter().map(ToString::to_string).chain(names.iter().map(|name| format!("{name}{suffix}"))).collect()
    };
    place.ok(&with(&["encrypt", "-k", "file:k"], ""));
    let ran = place.ok(&with(&["verify", "-k", "file:k"], ".wax"));
    // Each file is reported when it is finished, so the order can differ.
    let mut told: Vec<String> = ran.text().lines().map(str::to_owned).collect();
    let mut expected: Vec<String> = names.iter().map(|name| format!("{name}.wax: ok")).collect();
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    place.ok(&with(&["decrypt", "-k", "file:k", "-f"], ".wax"));
    for name in &names {
        assert_eq!(place.read(name), name.as_bytes());
    }
    let first = place.read("f1.wax");
    assert_ne!(first[80..96], place.read("f2.wax")[80..96], "each file has a data key of its own");
    assert_eq!(first.len(), header_len(2) + 56 + 2 + 16);
}

#[test]
fn ranges() {
    let place = Place::new();
    let content = noise(5 * MIB + 77);
    let sealed = place.sealed("in.wax", &content);
    for (range, expected) in [
        ("0..10", &content[..10]),
        ("..3", &content[..3]),
        ("16380..16390", &content[16_380..16_390]),
        ("5242957..", &content[5_242_957..]),
        ("5242900..99999999999", &content[5_242_900..]),
        ("5242957..5242957", &[]),
        ("9999999999..", &[]),
        ("..", &content),
    ] {
        let by_file = place.ok(&["cat", "-k", "file:k", "--range", range, "in.wax"]);
        assert!(by_file.stdout == expected, "{range}");
        let by_pipe = place.pipe(&["cat", "-k", "file:k", "--range", range, "-"], &sealed);
        assert!(by_pipe.code == Some(0) && by_pipe.stdout == expected, "{range}");
    }
    for bad in ["10..5", "x..", "5", "-1..2", ""] {
        place.fails(&["cat", "-k", "file:k", &format!("--range={bad}"), "in.wax"], 2, &["range"]);
    }
}

/// Files in /proc have the length 0, but they are not empty. Every byte of them is sealed.
#[cfg(target_os = "linux")]
#[test]
fn files_without_a_length() {
    let place = Place::new();
    for path in ["/proc/version", "/proc/filesystems"] {
        let content = fs::read(path).unwrap();
        assert!(!content.is_empty() && fs::metadata(path).unwrap().len() == 0, "{path}");
        let told = place.ok(&["encrypt", "-f", "--json", "-k", "file:k", "-o", "out.wax", path]);
        assert!(told.text().contains(&format!("\"bytes\":{}", content.len())), "{path}: {}", told.text());
        assert!(place.ok(&["decrypt", "-k", "file:k", "-o", "-", "out.wax"]).stdout == content, "{path}");
    }
}
