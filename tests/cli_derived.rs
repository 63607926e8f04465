//! Outputs whose names the user did not write: beside the input, or below the folder of `-o`. Nothing is lost, and nothing
//! goes to what somebody else put there.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::Command;

use cli_support::{Place, noise};

const SEAL: [&str; 3] = ["encrypt", "-k", "file:k"];
const OPEN: [&str; 3] = ["decrypt", "-k", "file:k"];

fn with<'a>(command: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [command, more].concat()
}

/// A FIFO with a reader: whoever writes into it does not wait.
fn fifo(place: &Place, name: &str) -> File {
    fs::create_dir_all(place.path(name).parent().unwrap()).unwrap();
    assert!(Command::new("mkfifo").arg(place.path(name)).status().unwrap().success());
    File::options().read(true).write(true).open(place.path(name)).unwrap()
}

/// Each of them would get the content.
#[test]
fn a_fifo_that_somebody_put_there_gets_nothing() {
    let place = Place::new();
    place.write("b", "content");
    for name in ["t/a", "u/a"] {
        fs::create_dir_all(place.path(name).parent().unwrap()).unwrap();
        place.write(name, "content");
    }
    fs::create_dir(place.path("v")).unwrap();
    place.ok(&with(&SEAL, &["-o", "v/a.wax", "b"]));
    place.write("list", "t/a\n");
    place.write("sealed", "v/a.wax\n");
    let _fifos = ["t/a.wax", "out/u/a.wax", "out/t/a.wax", "v/a", "out/v/a"].map(|name| fifo(&place, name));
    let cases: [(&[&str], &[&str], &str); 8] = [
        (&SEAL, &["t/a"], "t/a.wax"),
        (&SEAL, &["-r", "t"], "t/a.wax"),
        (&SEAL, &["--files-from", "list"], "t/a.wax"),
        (&SEAL, &["-r", "-o", "out", "u"], "out/u/a.wax"),
        (&SEAL, &["-o", "out", "--files-from", "list"], "out/t/a.wax"),
        (&OPEN, &["v/a.wax"], "v/a"),
        (&OPEN, &["-r", "-o", "out", "v"], "out/v/a"),
        (&OPEN, &["-o", "out", "--files-from", "sealed"], "out/v/a"),
    ];
    for (command, more, output) in cases {
        for force in [&[][..], &["-f"], &["-j", "1"], &["--skip-existing"]] {
            let words = [&format!("the output {output} is a FIFO, not a file")[..], "hint: "];
            place.fails(&[command, force, more].concat(), 8, &words);
        }
    }
}

/// A device and a folder are no files. The name after -o may be of a device.
#[test]
fn only_a_name_that_the_user_wrote_may_be_a_device() {
    let place = Place::new();
    place.write("a", "content");
    symlink("/dev/null", place.path("a.wax")).unwrap();
    for force in [&[][..], &["-f"]] {
        place.fails(&with(&SEAL, &[force, &["a"]].concat()), 8, &["is a device, not a file"]);
    }
    place.ok(&with(&SEAL, &["-o", "a.wax", "a"]));
    place.write("b", "content");
    fs::create_dir_all(place.path("b.wax")).unwrap();
    place.fails(&with(&SEAL, &["-f", "b"]), 8, &["b.wax is a folder, not a file"]);
    place.fails(&with(&SEAL, &["-f", "-o", "b.wax", "b"]), 2, &["b.wax is a folder"]);
    // What has the name in the tree of the outputs is not followed.
    place.write("list", "a\nb\n");
    fs::create_dir_all(place.path("out/b.wax")).unwrap();
    symlink("../elsewhere", place.path("out/a.wax")).unwrap();
    let words = ["out/a.wax is a symbolic link, not a file", "out/b.wax is a folder, not a file"];
    place.fails(&with(&SEAL, &["-f", "-o", "out", "--files-from", "list"]), 8, &words);
    assert!(!place.exists("elsewhere"));
}

/// `a` and `a.wax` are both inputs. Neither is lost, whoever names them.
#[test]
fn encrypt_replaces_only_what_is_sealed() {
    for more in [&["-f", "a", "a.wax"][..], &["-f", "-j", "1", "a", "a.wax"], &["-f", "--files-from", "list"]] {
        let place = Place::new();
        for (name, content) in [("a", "one"), ("a.wax", "two"), ("list", "a\na.wax\n")] {
            place.write(name, content);
        }
        place.fails(&with(&SEAL, more), 8, &["the output a.wax exists, and is not a sealed file", "hint: "]);
        assert_eq!((place.read("a"), place.read("a.wax")), (b"one".to_vec(), b"two".to_vec()), "{more:?}");
        place.ok(&with(&OPEN, &["-o", "again", "a.wax.wax"]));
        assert_eq!(place.read("again"), b"two");
        // An empty file holds nothing, and a sealed one is replaced. A name that the user wrote is meant.
        place.write("a.wax", "");
        place.ok(&with(&SEAL, &["-f", "a"]));
        let before = place.read("a.wax");
        place.ok(&with(&SEAL, &["-f", "a"]));
        assert!(place.read("a.wax") != before);
        place.write("a.wax", "two");
        place.ok(&with(&SEAL, &["-f", "-o", "a.wax", "a"]));
    }
}

/// A sealed file that was sealed again is not replaced by what is opened.
#[test]
fn decrypt_replaces_no_sealed_file() {
    let place = Place::new();
    place.write("a", noise(100));
    place.ok(&with(&SEAL, &["a"]));
    fs::create_dir(place.path("t")).unwrap();
    place.ok(&with(&SEAL, &["-o", "t/a.wax.wax", "a.wax"]));
    place.write("b", "another one");
    place.ok(&with(&SEAL, &["-o", "t/a.wax", "b"]));
    let before = place.read("t/a.wax");
    place.write("list", "t/a.wax.wax\n");
    fs::create_dir_all(place.path("out/t")).unwrap();
    fs::copy(place.path("t/a.wax"), place.path("out/t/a.wax")).unwrap();
    for more in [&["t/a.wax.wax"][..], &["-r", "t"], &["-r", "-o", "out", "t"], &["--files-from", "list"]] {
        let args = with(&OPEN, &[&["-f"], more].concat());
        place.fails(&args, 8, &["t/a.wax exists, and is a sealed file", "hint: "]);
        assert!(place.read("t/a.wax") == before && place.read("out/t/a.wax") == before, "{more:?}");
    }
    // What is not sealed is replaced, and so is a name that the user wrote.
    place.write("t/a", "old");
    place.ok(&with(&OPEN, &["-f", "t/a.wax"]));
    assert_eq!(place.read("t/a"), b"another one");
    place.ok(&with(&OPEN, &["-f", "-o", "t/a.wax", "t/a.wax.wax"]));
    assert!(place.read("t/a.wax") == place.read("a.wax"));
}

/// A file that only has the name of the output does not mean that the input was sealed.
#[test]
fn what_is_not_sealed_is_not_skipped() {
    let place = Place::new();
    fs::create_dir(place.path("t")).unwrap();
    for name in ["t/a", "t/b"] {
        place.write(name, name);
    }
    place.write("t/a.wax", "not sealed");
    for more in [&["t/a", "t/b"][..], &["-r", "t"], &["-o", "t/a.wax", "t/a"]] {
        let args = with(&SEAL, &[&["--skip-existing"], more].concat());
        place.fails(&args, 8, &["the output t/a.wax exists, and is not a sealed file", "hint: "]);
        assert_eq!(place.read("t/a.wax"), b"not sealed");
        assert!(more.contains(&"-o") || place.exists("t/b.wax"));
    }
    // Plaintext cannot be checked.
    place.ok(&with(&SEAL, &["-f", "-o", "t/a.wax", "t/a"]));
    place.write("t/a", "another content");
    place.ok(&with(&OPEN, &["--skip-existing", "t/a.wax"]));
    assert_eq!(place.read("t/a"), b"another content");
}

/// What is sealed already is not in the tree of the outputs, so this is said.
#[test]
fn what_is_sealed_already_is_said_if_there_is_a_tree_of_outputs() {
    let place = Place::new();
    fs::create_dir(place.path("t")).unwrap();
    place.write("t/a", "content");
    place.sealed("t/b", b"content");
    let ran = place.ok(&with(&SEAL, &["-r", "-o", "out", "t"]));
    assert_eq!(ran.stderr, "waxseal: t/b: skipped: it is sealed already\n");
    assert!(place.ok(&with(&SEAL, &["-f", "-q", "-r", "-o", "out", "t"])).stderr.is_empty());
    assert!(!place.ok(&with(&SEAL, &["-r", "t"])).stderr.contains("t/b: skipped"));
}

/// An output does not replace the list that is being read.
#[test]
fn the_list_is_no_output() {
    let place = Place::new();
    place.write("a", "content");
    let list = place.sealed("list.wax", b"content");
    place.write("a.wax", "a\n");
    place.write("plain", "plain.wax\n");
    place.write("plain.wax", &list);
    place.fails(&with(&OPEN, &["-f", "--files-from", "plain"]), 2, &["plain is the list of --files-from"]);
    let stdin = File::open(place.path("plain")).unwrap();
    let ran: cli_support::Ran =
        place.command(&with(&OPEN, &["-f", "--files-from", "-"])).stdin(stdin).output().unwrap().into();
    ran.failed(2, &["plain is the list of --files-from"]);
    assert_eq!(place.read("plain"), b"plain.wax\n");
    place.fails(&with(&SEAL, &["--files-from", "a.wax"]), 2, &["a.wax is the list of --files-from", "hint: "]);
    assert_eq!(place.read("a.wax"), b"a\n");
}
