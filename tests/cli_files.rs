//! What users expect of files: times, existing outputs, folders, names for pipes, and what file(1) prints.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
mod skipped;

use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use cli_support::{Place, WAXSEAL, feed, noise};
use serde_json::Value;

/// A time long ago that has nanoseconds.
fn then() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_000_000_007, 123_456_789)
}

fn modified(place: &Place, name: &str) -> SystemTime {
    fs::metadata(place.path(name)).unwrap().modified().unwrap()
}

fn set_modified(place: &Place, name: &str, time: SystemTime) {
    File::options().write(true).open(place.path(name)).unwrap().set_modified(time).unwrap();
}

fn json_of(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn named_files_keep_their_time() {
    let place = Place::new();
    for len in [0, 10, 3_000_000] {
        for sync in [&[][..], &["--no-sync"]] {
            place.write("in", noise(len));
            set_modified(&place, "in", then());
            let args = |args: &[&'static str]| [args, sync].concat();
            place.ok(&args(&["encrypt", "-f", "-k", "file:k", "in"]));
            assert_eq!(modified(&place, "in.wax"), then());
            place.ok(&args(&["decrypt", "-f", "-k", "file:k", "-o", "out", "in.wax"]));
            assert_eq!(modified(&place, "out"), then());
        }
    }
    // A pipe has no modification time. If a file is redirected to stdin, its time is not used, because the user has not
    // named it.
    let started = SystemTime::now() - Duration::from_secs(60);
    place.ok(&["encrypt", "-f", "-k", "file:k", "-o", "in.wax", "--from-command", "--", "cat", "in"]);
    assert!(modified(&place, "in.wax") > started);
    let stdin = File::open(place.path("in")).unwrap();
    let ran = place.command(&["encrypt", "-f", "-k", "file:k", "-o", "in.wax"]).stdin(stdin).output().unwrap();
    assert_eq!(ran.status.code(), Some(0));
    assert!(modified(&place, "in.wax") > started);
    // A resealed file gets the current time, because its data key is new.
    set_modified(&place, "in.wax", then());
    place.ok(&["reseal", "--from", "file:k", "-k", "file:k", "-o", "new.wax", "in.wax"]);
    assert!(modified(&place, "new.wax") > started);
}

#[test]
fn existing_outputs_are_skipped() {
    let place = Place::new();
    for name in ["a", "b", "c"] {
        place.write(name, name);
    }
    place.sealed("b.wax", b"not to be touched");
    let kept = place.read("b.wax");
    let args = ["encrypt", "--json", "--skip-existing", "-k", "file:k", "a", "b", "c"];
    let told = json_of(&place.ok(&args).text());
    let skipped: Vec<_> = told.iter().filter(|line| line["skipped"] == true).collect();
    assert_eq!(skipped.len(), 1);
    assert!(skipped[0]["file"] == "b" && skipped[0]["output"] == "b.wax" && skipped[0]["ok"] == true, "{skipped:?}");
    assert!(place.read("b.wax") == kept);
    let before = place.read("a.wax");
    assert_eq!(json_of(&place.ok(&args).text()).iter().filter(|line| line["skipped"] == true).count(), 3);
    assert_eq!(place.read("a.wax"), before);
    place.ok(&["decrypt", "--skip-existing", "-k", "file:k", "a.wax", "c.wax"]);
    fs::remove_file(place.path("c")).unwrap();
    // The first output exists and is skipped. The second one is missing and is written.
    place.ok(&["decrypt", "--skip-existing", "-k", "file:k", "a.wax", "c.wax"]);
    assert_eq!(place.read("c"), b"c");
    // A folder with the output's name is not an existing output. Stdout never counts as an existing output.
    fs::create_dir(place.path("d.wax")).unwrap();
    place.write("d", "d");
    place.fails(&["encrypt", "--skip-existing", "-k", "file:k", "d"], 8, &["folder"]);
    assert!(!place.ok(&["encrypt", "--skip-existing", "-k", "file:k", "-o", "-", "a"]).stdout.is_empty());
    place.fails(&["encrypt", "--skip-existing", "-f", "-k", "file:k", "a"], 2, &["--force"]);
}

/// On some file systems, only an empty file can reserve a name. There, a power cut can leave an empty output.
#[test]
fn an_empty_output_is_not_skipped_unless_it_is_all() {
    let place = Place::new();
    for (name, content) in [("a", "content"), ("empty", "")] {
        place.write(name, content);
        place.ok(&["encrypt", "-k", "file:k", "-o", &format!("{name}.sealed.wax"), name]);
        place.write(&format!("{name}.wax"), "");
        place.fails(&["encrypt", "--skip-existing", "-k", "file:k", name], 8, &[&format!("{name}.wax exists")]);
        place.write(&format!("{name}.sealed"), "");
    }
    place.fails(&["decrypt", "--skip-existing", "-k", "file:k", "a.sealed.wax"], 8, &["a.sealed exists"]);
    let ran = place.ok(&["decrypt", "--json", "--skip-existing", "-k", "file:k", "empty.sealed.wax"]);
    assert_eq!(json_of(&ran.text())[0]["skipped"], true);
    // Without a readable input, the program cannot know whether an empty output is complete.
    place.fails(&["decrypt", "--skip-existing", "-k", "file:k", "-o", "empty.sealed", "missing"], 10, &["missing"]);
    place.fails(
        &["decrypt", "--skip-existing", "-k", "file:k", "-o", "empty.sealed", "a"],
        8,
        &["empty.sealed exists"],
    );
}

#[test]
fn a_folder_gets_the_line_that_seals_it() {
    let place = Place::new();
    fs::create_dir(place.path("my files")).unwrap();
    place.write("my files/one", noise(100_000));
    let ran = place.fails(&["encrypt", "-k", "file:k", "my files/"], 7, &["my files"]);
    let line = ran.stderr.split('`').nth(1).unwrap();
    assert_eq!(
        line, "waxseal encrypt -k file:k -o 'my files'.tar.wax --from-command -- tar -c 'my files'",
        "{}",
        ran.stderr
    );
    // A user can paste the line into a shell.
    let line = line.replacen("waxseal", WAXSEAL, 1);
    let ended = Command::new("sh").args(["-c", &line]).current_dir(place.path("")).status().unwrap();
    assert!(ended.success());
    let script = format!("{WAXSEAL} decrypt -k file:k -o - 'my files.tar.wax' | tar -xO 'my files/one'");
    let got = Command::new("sh").args(["-c", &script]).current_dir(place.path("")).output().unwrap();
    assert!(got.stdout == noise(100_000));
}

/// A name that starts with a hyphen must not be taken as an option. The line has placeholders for names that cannot be
/// printed unchanged.
#[test]
fn the_line_of_a_folder_can_be_pasted_or_has_words() {
    let place = Place::new();
    fs::copy(place.path("k"), place.path("k\n2")).unwrap();
    fs::create_dir(place.path("-x y")).unwrap();
    fs::create_dir(place.path("new\nline")).unwrap();
    let line = |key: &str, folder: &str| {
        let ran = place.fails(&["encrypt", "-k", key, "-o", "out", "--", folder], 7, &["hint: pack the folder first"]);
        ran.stderr.split('`').nth(1).unwrap().to_owned()
    };
    let words = "waxseal encrypt -k KEY -o FOLDER.tar.wax --from-command -- tar -c FOLDER";
    for (key, folder) in [("file:k", "./new\nline"), ("file:k\n2", "./-x y"), ("file:k", "/")] {
        assert_eq!(line(key, folder), words);
    }
    let pasted = "waxseal encrypt -k file:k -o './-x y'.tar.wax --from-command -- tar -c './-x y'";
    assert_eq!(line("file:k", "-x y"), pasted);
    let script = pasted.replacen("waxseal", WAXSEAL, 1);
    assert!(Command::new("sh").args(["-c", &script]).current_dir(place.path("")).status().unwrap().success());
    assert!(place.exists("-x y.tar.wax"));
}

/// Only `encrypt` with a folder as its input prints the hint to pack the folder.
#[test]
fn a_folder_elsewhere_is_not_to_be_packed() {
    let place = Place::new();
    fs::create_dir(place.path("folder.wax")).unwrap();
    place.write("file", "x");
    for command in [
        &["decrypt", "-k", "file:k", "-o", "out", "folder.wax"][..],
        &["verify", "-k", "file:k", "folder.wax"],
        &["verify", "--quick", "-k", "file:k", "folder.wax"],
        &["inspect", "folder.wax"],
        &["encrypt", "-k", "file:folder.wax", "file"],
    ] {
        let ran = place.fails(command, 7, &["directory"]);
        assert!(!ran.stderr.contains("pack"), "{}", ran.stderr);
    }
}

#[test]
fn a_pipe_can_have_a_name() {
    let place = Place::new();
    let told = |ran: &cli_support::Ran| json_of(if ran.stdout.starts_with(b"{") { "" } else { &ran.stderr });
    let ran = place.pipe(&["encrypt", "--json", "--name", "nightly dump", "-k", "file:k"], b"content");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(told(&ran)[0]["file"], "nightly dump");
    let sealed = ran.stdout;
    let ran = place.pipe(&["verify", "--name", "nightly dump", "-k", "file:k", "-"], &sealed);
    assert_eq!(ran.text(), "nightly dump: ok\n");
    let ran = place.pipe(&["decrypt", "--name", "nightly dump", "-k", "file:k"], &sealed[..sealed.len() - 1]);
    assert_eq!(ran.code, Some(4));
    assert!(ran.stderr.contains("error: nightly dump: "), "{}", ran.stderr);
    let ran =
        place.ok(&["encrypt", "--json", "--name=pg", "-k", "file:k", "-o", "x.wax", "--from-command", "--", "true"]);
    assert_eq!(json_of(&ran.text())[0]["file"], "pg");
    place.write("in", "x");
    place.fails(&["encrypt", "--name", "other", "-k", "file:k", "in"], 2, &["--name is for an input from stdin"]);
}

/// The producer writes a part of the file and keeps the pipe open. `cat` must end when it has the range.
#[test]
fn cat_stops_reading_a_stream_when_it_has_the_range() {
    let place = Place::new();
    let content = noise(9_000_000);
    let sealed = place.sealed("in.wax", &content);
    for (range, end) in
        [(0..10, 200_000), (0..0, 140_000), (1_000_000..1_500_000, 1_700_000), (16_383..16_385, 180_000)]
    {
        let arg = format!("{}..{}", range.start, range.end);
        let mut child = place
            .command(&["cat", "-k", "file:k", "--range", &arg, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let ended = std::thread::scope(|scope| {
            let (done, is_done) = std::sync::mpsc::channel::<()>();
            let start = &sealed[..end];
            scope.spawn(move || {
                let _ = stdin.write_all(start);
                // The write end of the pipe stays open until `cat` has ended.
                let _ = is_done.recv();
            });
            let ended = child.wait_with_output().unwrap();
            drop(done);
            ended
        });
        assert_eq!(ended.status.code(), Some(0));
        assert!(ended.stdout == content[range]);
    }
    // The chunks of the range are authenticated. If the stream ends in the range, this is an error.
    let mut altered = sealed.clone();
    altered[150_000] ^= 1;
    let args = ["cat", "-k", "file:k", "--range", "0..100000", "-"];
    feed(&mut place.command(&args), &altered).failed(4, &["-: "]);
    feed(&mut place.command(&args), &sealed[..150_000]).failed(4, &["-: "]);
    // If the range goes beyond the end of the file, the end must be authentic.
    let args = ["cat", "-k", "file:k", "--range", "8999990..9999999", "-"];
    let ran = feed(&mut place.command(&args), &sealed);
    assert!(ran.code == Some(0) && ran.stdout == content[8_999_990..]);
    let cut = sealed.len() - (content.len() % 16_384) - 16;
    feed(&mut place.command(&args), &sealed[..cut]).failed(4, &["-: "]);
}

#[test]
fn file_knows_a_sealed_file() {
    let place = Place::new();
    place.write("in", "x");
    place.ok(&["encrypt", "-k", "file:k", "--suite", "chacha20-poly1305", "in"]);
    let magic = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/waxseal.magic");
    let asked = Command::new("file").args(["-m", magic]).arg(place.path("in.wax")).output();
    let Ok(told) = asked else {
        skipped::skipped("file_knows_a_sealed_file", "the program file is not installed");
        return;
    };
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.ends_with("waxseal encrypted file, version 1, ChaCha20-Poly1305, key slots: 1\n"), "{told}");
}
