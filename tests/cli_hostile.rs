//! Inputs that change while they are read, and incomplete files that a rewrap would replace by a copy.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;

use std::fs::{File, FileTimes};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::process::Stdio;

use cli_support::{Place, Ran, noise};

/// Runs the program with a pipe as its stdout. Calls `change` after the first byte and before the last one.
fn changed_meanwhile(place: &Place, args: &[&str], change: impl FnOnce()) -> Ran {
    let mut command = place.command(args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The program checks the input's metadata before it writes the first byte. It cannot write the last byte before the
    // pipe is emptied.
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    change();
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    child.wait_with_output().unwrap().into()
}

/// Changes some bytes of the file, and sets its modification time back.
fn rewrite(place: &Place, name: &str) {
    let file = File::options().write(true).open(place.path(name)).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(b"other", 7_000_000).unwrap();
    file.set_times(FileTimes::new().set_modified(modified)).unwrap();
}

#[test]
fn a_change_is_seen_though_its_time_was_set_back() {
    let place = Place::new();
    place.write("in", noise(8 << 20));
    let ran = changed_meanwhile(&place, &["encrypt", "-k", "file:k", "-o", "-", "in"], || rewrite(&place, "in"));
    ran.failed(7, &["changed while it was read"]);
}

#[test]
fn a_copy_of_a_file_that_changes_is_an_error() {
    let place = Place::new();
    place.ok(&["key", "new", "k2"]);
    place.sealed("f.wax", &noise(8 << 20));
    let args = ["rewrap", "--allow-unwrap", "-k", "file:k", "--add", "file:k2", "-o", "-", "f.wax"];
    let ran = changed_meanwhile(&place, &args, || rewrite(&place, "f.wax"));
    ran.failed(7, &["changed while it was read"]);
    // The same for a file to which somebody still appends.
    let grow = || {
        let mut file = File::options().append(true).open(place.path("f.wax")).unwrap();
        file.write_all(b"more").unwrap();
    };
    changed_meanwhile(&place, &args, grow).failed(7, &["changed while it was read"]);
}

/// Only a complete file is copied. With a key, the program can check the file's end.
#[test]
fn a_file_that_is_not_whole_is_not_copied() {
    let place = Place::new();
    let plain = noise(100_000);
    place.write("in", &plain);
    let args = place.crowded();
    let whole = place.read("in.wax");
    let cut = &whole[..whole.len() - 20_000];
    place.write("in.wax", cut);
    let names = place.names();
    place.fails(&args, 4, &["--yes"]);
    assert!(place.read("in.wax") == cut && place.names() == names);
    // With `--yes`, the user accepts an incomplete file.
    let confirmed: Vec<_> = args.iter().map(String::as_str).chain(["--yes"]).collect();
    place.ok(&confirmed);
    let after = place.read("in.wax");
    assert!(after.len() > cut.len() && after.ends_with(&cut[cut.len() - 50_000..]));
}

/// Another process may have a complete file open, because no program appends to a complete waxseal file.
#[test]
fn a_whole_file_is_copied_though_somebody_has_it_open() {
    let place = Place::new();
    place.write("in", noise(100_000));
    let args = place.crowded();
    let held = File::options().append(true).open(place.path("in.wax")).unwrap();
    place.ok(&args);
    drop(held);
    place.ok(&["verify", "-k", "file:k0", "in.wax"]);
}
