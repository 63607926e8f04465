//! `decrypt --to-command`: a command that sees the end of its input only if everything was authenticated.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;

use std::fs;
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use cli_support::{Place, Ran, noise};

/// Says `done` only after a clean end.
const COLLECT: &str = "cat > part && mv part done";
/// The same, but by a process in another group and session, whose parent has ended.
const DAEMON: &str = "exec 3<&0; setsid sh -c 'cat <&3 > part && mv part done' & echo $! > pid; exit 0";

fn to_command<'a>(input: &'a str, command: &[&'a str]) -> Vec<&'a str> {
    [&["decrypt", "-k", "file:k", "--to-command", input, "--"], command].concat()
}

fn sh<'a>(input: &'a str, script: &'a str) -> Vec<&'a str> {
    to_command(input, &["sh", "-c", script])
}

/// Waits until `is` returns true.
#[track_caller]
fn wait_until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The number that a script has written to `name`.
fn number_in(place: &Place, name: &str) -> String {
    let read = || fs::read_to_string(place.path(name)).unwrap_or_default().trim().to_owned();
    wait_until("no number", || !read().is_empty());
    read()
}

fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn the_command_gets_everything_and_then_the_end() {
    let place = Place::new();
    for len in [0, 1, 16_384, 1 << 20, 6_000_000] {
        let content = noise(len);
        let sealed = place.sealed("in.wax", &content);
        for from_file in [true, false] {
            let input = if from_file { "in.wax" } else { "-" };
            let ran = place.pipe(&sh(input, "echo said; cat > part && mv part done"), &sealed);
            assert_eq!((ran.code, ran.stderr.as_str(), ran.text().as_str()), (Some(0), "", "said\n"), "{len}");
            assert!(place.read("done") == content, "{len}");
            fs::remove_file(place.path("done")).unwrap();
        }
        fs::remove_file(place.path("in.wax")).unwrap();
    }
    // If no input is named, stdin is the input. Options after `--` belong to the command. The lines of `--json` go to
    // stderr.
    let sealed = place.sealed("in.wax", b"content\n");
    let ran = place.pipe(&["decrypt", "--json", "-k", "file:k", "--to-command", "--", "cat", "-n", "--"], &sealed);
    assert_eq!(ran.text().trim(), "1\tcontent");
    assert!(ran.stderr.contains("\"ok\":true") && ran.stderr.contains("\"bytes\":8"), "{}", ran.stderr);
    // A background process that lives longer than the command is not killed.
    place.ok(&sh("in.wax", DAEMON));
    wait_until("the background did not see the end", || place.exists("done"));
}

/// The input is cut at some place or altered, and comes from a file or a pipe. Neither the command nor a process that
/// it has started sees a clean end.
#[test]
fn what_is_not_whole_has_no_end() {
    let place = Place::new();
    let sealed = place.sealed("in.wax", &noise(6_000_000));
    let mut changed = sealed.clone();
    changed[5_000_000] ^= 1;
    let bad = [&sealed[..3_000_000], &sealed[..sealed.len() - 1], &sealed[..500_000], &changed];
    for (number, bad) in bad.iter().enumerate() {
        place.write("bad.wax", bad);
        for (input, script) in [("bad.wax", COLLECT), ("-", COLLECT), ("bad.wax", DAEMON), ("-", DAEMON)] {
            let _ = fs::remove_file(place.path("pid"));
            let ran = place.pipe(&sh(input, script), bad);
            ran.failed(4, &["the command sh was killed and saw no end of its input"]);
            assert!(!place.exists("done"), "{number} {input} {script}: a clean end");
            // The command may have been killed before it wrote this.
            let pid = fs::read_to_string(place.path("pid")).unwrap_or_default();
            assert!(pid.is_empty() || !runs(pid.trim()), "{number} {input}: it still runs");
        }
    }
}

/// Before the command starts, a key has opened the file and the first part is authenticated.
#[test]
fn without_a_key_no_command_runs() {
    let place = Place::new();
    place.ok(&["key", "new", "other"]);
    let mut sealed = place.sealed("in.wax", &noise(3_000_000));
    for (args, code) in [
        (&["decrypt", "-k", "file:other", "--to-command", "in.wax"][..], 5),
        (&["decrypt", "-k", "file:no", "--to-command", "in.wax"], 7),
        (&["decrypt", "-k", "file:k", "-l", "host=a", "--to-command", "in.wax"], 8),
        (&["decrypt", "-k", "file:k", "--to-command", "k"], 3),
        (&["decrypt", "-k", "file:k", "--to-command", "none/in.wax"], 7),
    ] {
        let args = [args, &["--", "touch", "ran"]].concat();
        place.fails(&args, code, &[]);
        assert!(!place.exists("ran"), "{args:?}");
    }
    sealed[10_000] ^= 1;
    place.write("in.wax", &sealed);
    place.fails(&to_command("in.wax", &["touch", "ran"]), 4, &["the command touch was not started"]);
    assert!(!place.exists("ran"));
}

#[test]
fn the_commands_own_failure_is_9() {
    let place = Place::new();
    for len in [10, 6_000_000] {
        place.write("in", noise(len));
        place.ok(&["encrypt", "-f", "-k", "file:k", "in"]);
        for (script, words) in [
            ("exit 3", "the command sh failed: exit status 3"),
            ("cat > /dev/null; exit 4", "exit status 4"),
            ("cat > /dev/null; kill -9 $$", "killed by signal 9"),
            ("kill -15 $$", "killed by signal 15"),
            ("exec <&-; sleep 0.2; exit 5", "exit status 5"),
            ("exec <&-; sleep 0.2", "ended before it had read all of its input"),
            ("exit 0", "ended before it had read all of its input"),
            ("head -c 9 > /dev/null", "ended before it had read all of its input"),
        ] {
            let ran = place.fails(&sh("in.wax", script), 9, &[words]);
            assert!(!ran.stderr.contains("saw no end"), "{}", ran.stderr);
        }
    }
    place.fails(
        &to_command("in.wax", &["no-such-command"]),
        9,
        &["no-such-command could not be started: No such file"],
    );
    place.fails(&to_command("in.wax", &["./k"]), 9, &["could not be started: Permission denied"]);
    // A command that reads every byte need not wait for the end.
    place.write("in", noise(10));
    place.ok(&["encrypt", "-f", "-k", "file:k", "in"]);
    place.ok(&to_command("in.wax", &["head", "-c", "10"]));
    // The command fails, and a process that it has started holds the full pipe open.
    place.write("in", noise(6_000_000));
    place.ok(&["encrypt", "-f", "-k", "file:k", "in"]);
    let script = "exec 3<&0; sh -c 'echo $$ > pid; exec sleep 1000 <&3' & exit 6";
    place.fails(&sh("in.wax", script), 9, &["exit status 6"]);
    let left = fs::read_to_string(place.path("pid")).unwrap_or_default();
    assert!(left.is_empty() || !runs(left.trim()), "it still runs");
}

#[test]
fn to_command_is_used_rightly_or_not_at_all() {
    let place = Place::new();
    place.sealed("in.wax", b"content");
    for args in [
        &["decrypt", "-k", "file:k", "--to-command", "in.wax"][..],
        &["decrypt", "-k", "file:k", "--to-command", "in.wax", "--"],
        &["decrypt", "-k", "file:k", "--to-command", "in.wax", "in.wax", "--", "touch", "ran"],
        &["decrypt", "-k", "file:k", "--to-command", "-o", "out", "in.wax", "--", "touch", "ran"],
        &["decrypt", "-k", "file:k", "--to-command", "-f", "in.wax", "--", "touch", "ran"],
        &["encrypt", "-d", "-k", "file:k", "--to-command", "in.wax", "--", "touch", "ran"],
    ] {
        place.fails(args, 2, &[]);
    }
    assert_eq!(place.names(), ["in.wax", "k"]);
    // Without the option, the arguments after `--` are files, as before.
    place.ok(&["decrypt", "-k", "file:k", "--", "in.wax"]);
    assert_eq!(place.read("in"), b"content");
}

/// A run whose input does not end. The command has received a part of the content.
struct Running {
    child: Child,
    _stdin: ChildStdin,
    /// The process between waxseal and the command.
    guard: String,
}

impl Running {
    fn start(place: &Place, script: &str) -> Self {
        let sealed = place.sealed("in.wax", &noise(6_000_000));
        let _ = fs::remove_file(place.path("pid"));
        let mut command = place.command(&sh("-", script));
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&sealed[..5_000_000]).unwrap();
        wait_until("the command got nothing", || fs::metadata(place.path("part")).is_ok_and(|part| part.len() > 0));
        if script == DAEMON {
            // The parent of this process writes the number, perhaps after the first bytes have come.
            number_in(place, "pid");
        }
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
        let tasks = || fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
        let all = tasks().map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap());
        let guard = all.collect::<Vec<_>>().concat().trim().to_owned();
        assert!(!guard.is_empty() && !guard.contains(' '), "one child: {children:?} {guard:?}");
        Self { child, _stdin: stdin, guard }
    }

    fn signal(&self, signal: &str, pid: &str) {
        assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
    }

    fn end(self) -> Ran {
        self.child.wait_with_output().unwrap().into()
    }
}

/// However the program dies, even by `kill -9`, the command is killed before its input ends.
#[test]
fn no_death_of_ours_is_a_clean_end() {
    let place = Place::new();
    for script in [COLLECT, DAEMON] {
        for signal in ["-INT", "-TERM", "-HUP", "-QUIT", "-ABRT", "-KILL"] {
            let _ = (fs::remove_file(place.path("in.wax")), fs::remove_file(place.path("part")));
            let running = Running::start(&place, script);
            let guard = running.guard.clone();
            running.signal(signal, &running.child.id().to_string());
            let ran = running.end();
            assert!(ran.signal.is_some(), "{signal}: {:?}", ran.code);
            // The pipe is closed when the guard ends, and not earlier.
            wait_until("the guard still runs", || !runs(&guard));
            assert!(!place.exists("done"), "{signal} {script}: a clean end");
            if script == DAEMON {
                assert!(!runs(&number_in(&place, "pid")), "{signal}: it still runs");
            }
        }
    }
}

/// If the process in between is killed, the program kills the command.
#[test]
fn the_guards_death_is_no_clean_end() {
    let place = Place::new();
    for script in [COLLECT, DAEMON] {
        let _ = (fs::remove_file(place.path("in.wax")), fs::remove_file(place.path("part")));
        let mut running = Running::start(&place, script);
        running.signal("-KILL", &running.guard);
        let rest = noise(40_000_000);
        let child = std::mem::replace(&mut running.child, Command::new("true").spawn().unwrap());
        let mut stdin = running._stdin;
        let feeding = std::thread::spawn(move || stdin.write_all(&rest).is_err());
        let ran: Ran = child.wait_with_output().unwrap().into();
        let _ = feeding.join();
        running.child.wait().unwrap();
        assert!([Some(4), Some(7), Some(9)].contains(&ran.code), "{:?} {}", ran.code, ran.stderr);
        assert!(!place.exists("done"), "{script}: a clean end");
        if script == DAEMON {
            assert!(!runs(&number_in(&place, "pid")), "it still runs");
        }
    }
}

/// A signal to the whole group, as from ctrl-c or when a service is stopped.
#[test]
fn a_signal_to_all_is_no_clean_end() {
    use std::os::unix::process::CommandExt as _;
    let place = Place::new();
    for signal in ["-INT", "-TERM", "-HUP"] {
        let sealed = place.sealed("in.wax", &noise(6_000_000));
        // The command ignores the signal and continues to read.
        let script = format!("trap '' INT TERM HUP; {COLLECT}");
        let mut command = place.command(&sh("-", &script));
        let mut child = command.process_group(0).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&sealed[..5_000_000]).unwrap();
        wait_until("the command got nothing", || fs::metadata(place.path("part")).is_ok_and(|part| part.len() > 0));
        assert!(Command::new("kill").args([signal, "--", &format!("-{}", child.id())]).status().unwrap().success());
        let ended = child.wait().unwrap();
        assert!(ended.code().is_none(), "{signal}: {ended}");
        wait_until("the command runs on", || {
            let group = format!(" {} ", child.id());
            let all = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
            let mut stats = all.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
            !stats.any(|stat| {
                let rest = stat.rsplit(") ").next().unwrap_or_default();
                !rest.starts_with('Z') && rest.split(' ').nth(2) == Some(group.trim())
            })
        });
        assert!(!place.exists("done"), "{signal}: a clean end");
        let _ = (fs::remove_file(place.path("in.wax")), fs::remove_file(place.path("part")));
    }
}
