//! `kill -9` at any moment: after a rewrap the file opens, and after an encryption the old file is unchanged. After a
//! signal that the program can handle, no other file is left.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use cli_support::{Place, noise};

const ROUNDS: u64 = 120;

/// Runs `args` and kills the process after a time that differs in each round. Returns whether it was still running.
fn killed(place: &Place, args: &[&str], round: u64) -> bool {
    let mut child = place.command(args).stderr(Stdio::null()).spawn().unwrap();
    // These steps have no relation to the program's own steps.
    std::thread::sleep(Duration::from_micros(round * 7919 % 12_000));
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    running
}

#[test]
fn a_rewrap_leaves_a_file_that_opens() {
    let place = Place::new();
    place.ok(&["key", "new", "a"]);
    place.ok(&["key", "new", "b"]);
    place.write("in", noise(100_000));
    place.ok(&["encrypt", "-k", "file:a", "in"]);
    let payload = place.read("in.wax")[8192..].to_vec();
    let both = ["verify", "-k", "file:a", "-k", "file:b", "in.wax"];
    let mut interrupted = 0;
    for round in 0..ROUNDS {
        let [from, to] = if round % 2 == 0 { ["file:a", "file:b"] } else { ["file:b", "file:a"] };
        let args = ["rewrap", "-k", from, "--allow-unwrap", "--from", from, "--to", to, "in.wax"];
        interrupted += u64::from(killed(&place, &args, round));
        place.ok(&both);
        assert!(place.read("in.wax")[8192..] == payload, "round {round}");
    }
    assert!(interrupted > ROUNDS / 10, "only {interrupted} of {ROUNDS} runs were cut off");
    // The next complete run leaves one key, in both banks.
    place.run(&[
        "rewrap",
        "-k",
        "file:a",
        "-k",
        "file:b",
        "--allow-unwrap",
        "--from",
        "slot:0",
        "--to",
        "file:b",
        "in.wax",
    ]);
    place.ok(&["verify", "-k", "file:b", "in.wax"]);
    let told = place.ok(&["inspect", "in.wax"]);
    assert!(!told.text().contains("differs"), "{}", told.text());
}

#[test]
fn an_encryption_leaves_the_old_file() {
    let place = Place::new();
    let old = place.sealed("out.wax", b"last night's");
    place.write("in", noise(8_000_000));
    let args = ["encrypt", "-f", "-k", "file:k", "-o", "out.wax", "in"];
    let mut interrupted = 0;
    for round in 0..ROUNDS {
        killed(&place, &args, round);
        let now = place.read("out.wax");
        if now == old {
            interrupted += 1;
            continue;
        }
        // If it was renamed, it is complete.
        place.ok(&["verify", "-k", "file:k", "out.wax"]);
        place.write("out.wax", &old);
    }
    assert!(interrupted > ROUNDS / 10, "only {interrupted} of {ROUNDS} runs were cut off");
}

/// If the header must grow, the program writes a new file. An incomplete new file must not remain.
#[test]
fn a_rewrap_that_is_told_to_die_leaves_no_temporary_file() {
    let place = Place::new();
    place.write("in", noise(4_000_000));
    let args = place.crowded();
    let sealed = place.read("in.wax");
    let names = place.names();
    let mut interrupted = 0;
    for _ in 0..ROUNDS {
        let mut child = place.command(&args).stderr(Stdio::null()).spawn().unwrap();
        while child.try_wait().unwrap().is_none() && !place.is_written_to("") {}
        let pid = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let ended = child.wait().unwrap();
        assert_eq!(place.names(), names);
        interrupted += u64::from(ended.signal() == Some(15));
        if interrupted == 20 {
            break;
        }
        place.write("in.wax", &sealed);
    }
    assert!(interrupted > ROUNDS / 10, "only {interrupted} of {ROUNDS} runs were told to die in time");
}
