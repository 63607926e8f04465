//! Exit code 10: the input does not exist, but its folder does. Scripts take this code as the end of a series of files,
//! so no other failure may have it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use cli_support::{Place, Ran};

/// Every command that takes an input, with an input called `name`.
fn commands(name: &str) -> Vec<Vec<&str>> {
    let mut commands = vec![
        vec!["encrypt", "-k", "file:k", name],
        vec!["encrypt", "-k", "file:k", "-o", "out", name],
        vec!["encrypt", "-d", "-k", "file:k", "-o", "out", name],
        vec!["decrypt", "-k", "file:k", "-o", "out", name],
        vec!["decrypt", "-k", "file:k", "-o", "-", name],
        vec!["verify", "-k", "file:k", name],
        vec!["verify", "--quick", "-k", "file:k", name],
        vec!["inspect", name],
        vec!["cat", "-k", "file:k", "--range", "0..1", name],
        vec!["rewrap", "--remove", "slot:0", name],
        vec!["rewrap", "--repair", name],
        vec!["rewrap", "--remove", "slot:0", "-o", "out", name],
        vec!["salvage", "-k", "file:k", "-o", "out", name],
    ];
    if cfg!(feature = "aws-kms") {
        commands.extend([
            vec!["verify", "--dry-run", "-k", "alias/a", name],
            vec!["direct", "encrypt", "-k", "alias/a", "-o", "out", name],
            vec!["direct", "decrypt", "-o", "out", name],
        ]);
    }
    commands
}

/// There is no network: without an input, no call is made.
fn run(place: &Place, args: &[&str]) -> Ran {
    let mut command = place.command(args);
    command.env("AWS_REGION", "eu-central-1").env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    command.output().unwrap().into()
}

fn place() -> Place {
    let place = Place::new();
    fs::create_dir(place.path("d")).unwrap();
    place.write("file", "content");
    symlink("d", place.path("linked")).unwrap();
    symlink("nowhere", place.path("dangling.wax")).unwrap();
    symlink("loop.wax", place.path("loop.wax")).unwrap();
    place
}

#[test]
fn an_input_that_its_folder_lacks_is_exit_10_for_every_command() {
    let place = place();
    let before = place.names();
    let absolute = place.path("missing.wax").display().to_string();
    for name in ["missing.wax", "./missing.wax", "d/missing.wax", "linked/missing.wax", "d/../missing.wax", &absolute] {
        for args in commands(name) {
            let ran = run(&place, &args);
            ran.failed(10, &[name, "the input does not exist", "hint: its folder exists"]);
            assert!(ran.stdout.is_empty(), "{args:?}");
            let ran = run(&place, &[&args[..], &["--json"]].concat());
            let line = ran.text() + &ran.stderr;
            assert_eq!((ran.code, line.lines().count()), (Some(10), 1), "{args:?}: {line}");
            assert!(line.contains(r#""exit":10"#) && line.contains(r#""kind":"no-input""#), "{args:?}: {line}");
        }
    }
    assert_eq!(place.names(), before);
}

#[test]
fn whatever_else_keeps_an_input_from_being_found_is_exit_7() {
    let place = place();
    let long = format!("{}.wax", "x".repeat(300));
    for name in [
        "nowhere/missing.wax",
        "file/missing.wax",
        "dangling.wax",
        "dangling.wax/missing.wax",
        "loop.wax",
        &long,
        "/proc/self/fd/1000.wax",
    ] {
        for args in commands(name) {
            let ran = run(&place, &args);
            ran.failed(7, &[]);
            assert!(!ran.stderr.contains("key new"), "{args:?}: {}", ran.stderr);
        }
    }
    let ran = run(&place, &["verify", "-k", "file:k", "nowhere/missing.wax"]);
    ran.failed(7, &["hint: a folder on the way to it does not exist"]);
}

/// The folder exists, but may not be searched.
#[test]
fn a_folder_that_cannot_be_searched_is_exit_7() {
    let place = place();
    place.ok(&["encrypt", "-k", "file:k", "-o", "d/in.wax", "file"]);
    for name in ["k", "d/in.wax"] {
        fs::set_permissions(place.path(name), Permissions::from_mode(0o444)).unwrap();
    }
    let code = |name: &str| {
        let output = place.unprivileged(&["verify", "-q", "-k", "file:k", name]).output().unwrap();
        Ran::from(output).code
    };
    assert_eq!((code("d/in.wax"), code("d/missing.wax")), (Some(0), Some(10)));
    // The right to search is enough.
    fs::set_permissions(place.path("d"), Permissions::from_mode(0o711)).unwrap();
    assert_eq!((code("d/in.wax"), code("d/missing.wax")), (Some(0), Some(10)));
    fs::set_permissions(place.path("d"), Permissions::from_mode(0o600)).unwrap();
    assert_eq!((code("d/in.wax"), code("d/missing.wax")), (Some(7), Some(7)));
    fs::set_permissions(place.path("d"), Permissions::from_mode(0o755)).unwrap();
}

/// The current folder of a service may have been removed. It then has no file of any name.
#[test]
fn a_folder_that_was_removed_is_exit_7() {
    let place = place();
    let script = format!(
        "cd d && rmdir ../d && exec {} verify -k file:{} in.wax",
        cli_support::WAXSEAL,
        place.path("k").display()
    );
    let ran: Ran = Command::new("sh").args(["-c", &script]).current_dir(place.path("")).output().unwrap().into();
    ran.failed(7, &["in.wax"]);
}

/// The code is only for inputs. If a key or another file that a command reads is missing, the exit code is 7, whether
/// the input exists or not.
#[test]
fn a_key_that_is_missing_is_exit_7() {
    let place = place();
    place.ok(&["encrypt", "-k", "file:k", "-o", "in.wax", "file"]);
    for input in ["in.wax", "missing.wax"] {
        for args in [
            &["verify", "-k", "file:lost", input][..],
            &["verify", "-k", "passphrase:file=lost", input],
            &["encrypt", "-k", "file:lost", input],
            &["encrypt", "-k", "passphrase:file=lost", input],
            &["rewrap", "--allow-unwrap", "-k", "file:k", "--add", "file:lost", input],
            &["rewrap", "--remove", "file:lost", input],
        ] {
            place.fails(args, 7, &["lost"]);
        }
    }
    place.fails(&["key", "show", "file:lost"], 7, &["lost"]);
    place.fails(&["decrypt", "-k", "file:k", "-o", "nowhere/out", "in.wax"], 7, &["nowhere"]);
    // A closed stdin is not a file that does not exist.
    let script = format!("exec {} verify -k file:k - <&-", cli_support::WAXSEAL);
    let ran: Ran = Command::new("sh").args(["-c", &script]).current_dir(place.path("")).output().unwrap().into();
    ran.failed(7, &[]);
}

/// With several inputs, a more serious failure has priority over a missing input, and a missing input has priority over
/// a less serious failure.
#[test]
fn the_gravity_of_a_missing_input() {
    let place = place();
    place.ok(&["encrypt", "-k", "file:k", "-o", "in.wax", "file"]);
    place.ok(&["key", "new", "k2"]);
    place.ok(&["encrypt", "-k", "file:k2", "-o", "stranger.wax", "file"]);
    let mut altered = place.read("in.wax");
    *altered.last_mut().unwrap() ^= 1;
    place.write("altered.wax", altered);
    for (other, code) in [("altered.wax", 4), ("file", 3), ("stranger.wax", 5), ("nowhere/x", 7), ("in.wax", 10)] {
        for inputs in [["missing.wax", other], [other, "missing.wax"]] {
            let ran = place.run(&[&["verify", "-k", "file:k"][..], &inputs].concat());
            assert_eq!(ran.code, Some(code), "{inputs:?}: {}", ran.stderr);
        }
    }
    let ran = place.run(&["verify", "-k", "file:k", "-l", "not=there", "in.wax", "missing.wax"]);
    assert_eq!(ran.code, Some(10), "{}", ran.stderr);
}

/// The folder is renamed and renamed back while the file is looked up. The file is in the folder all the time, so the
/// program never says that it does not exist.
#[test]
fn a_folder_that_comes_and_goes_is_not_a_missing_input() {
    let place = place();
    place.ok(&["encrypt", "-k", "file:k", "-o", "d/in.wax", "file"]);
    let (here, there) = (place.path("d"), place.path("e"));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                fs::rename(&here, &there).unwrap();
                fs::rename(&there, &here).unwrap();
            }
        });
        let codes: Vec<_> = (0..100).map(|_| place.run(&["inspect", "d/in.wax"]).code).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(codes.iter().all(|code| [Some(0), Some(7)].contains(code)), "{codes:?}");
    });
}
