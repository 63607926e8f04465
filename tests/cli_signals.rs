//! Signals. If a signal comes before the output is committed, there is no commit and no temporary file is left. It does
//! not matter which thread handles the signal.
//!
//! By default, the tests make few runs. This command makes more than 2,000 runs, and prints the figures:
//!
//! ```sh
//! cargo test --locked --test cli_signals -- --ignored --nocapture
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "figures, and what cannot be tried here")]

mod cli_support;
mod skipped;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use cli_support::{Place, WAXSEAL, noise};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use skipped::skipped;

const TERM: i32 = 15;

/// The processes that get the signal: a producer and the program, which writes to a file (`Pipe`) or to stdout
/// (`Stream`), or the program and the command that it runs (`Command`).
#[derive(Debug, Clone, Copy)]
enum Kind {
    Pipe,
    Stream,
    Command,
}

/// Processes that keep the machine busy.
struct Load(Vec<Child>);

impl Load {
    fn start(count: usize) -> Self {
        let busy = || Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        Self((0..count).map(|_| busy()).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// A process group. None of its processes ends before it gets a signal.
struct Group {
    leader: Pid,
    members: Vec<Child>,
    /// The producer runs until this is closed.
    _held: Option<std::process::ChildStdin>,
}

impl Group {
    fn start(place: &Place, kind: Kind, sync: bool) -> Self {
        let mut args = vec!["encrypt", "-q", "-f", "-k", "file:k"];
        if !sync {
            args.push("--no-sync");
        }
        if let Kind::Command = kind {
            // On SIGTERM, the command exits with 0, although its output is incomplete.
            let script = "trap 'exit 0' TERM; cat in; while :; do sleep 0.002; done";
            args.extend(["-o", "db.wax", "--from-command", "--", "sh", "-c", script]);
            let child = place.command(&args).process_group(0).stderr(Stdio::null()).spawn().unwrap();
            return Self { leader: Pid::from_child(&child), members: vec![child], _held: None };
        }
        let mut producer = Command::new("cat");
        producer.args(["in", "-"]).current_dir(place.path("")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut producer = producer.process_group(0).spawn().unwrap();
        let leader = Pid::from_child(&producer);
        if let Kind::Pipe = kind {
            args.extend(["-o", "db.wax"]);
        }
        let mut sealer = place.command(&args);
        sealer.stdin(producer.stdout.take().unwrap()).stderr(Stdio::null());
        if let Kind::Stream = kind {
            sealer.stdout(File::create(place.path("db.wax")).unwrap());
        }
        let sealer = sealer.process_group(leader.as_raw_nonzero().get()).spawn().unwrap();
        let _held = producer.stdin.take();
        Self { leader, members: vec![sealer, producer], _held }
    }

    /// Sends `signal` to the whole group. Returns the exit status of the program.
    fn end(mut self, signal: Signal) -> ExitStatus {
        kill_process_group(self.leader, signal).unwrap();
        let ends: Vec<_> = self.members.iter_mut().map(|member| member.wait().unwrap()).collect();
        ends[0]
    }
}

/// Makes `runs` runs. Each gets SIGTERM at another moment, and its input does not end before that.
fn try_to_commit(kind: Kind, sync: bool, runs: u64, ends: &mut BTreeMap<String, u64>) {
    let place = Place::new();
    place.write("in", noise(if runs.is_multiple_of(2) { 20_000 } else { 5_000_000 }));
    place.write("db.wax", "last night's");
    for run in 0..runs {
        let group = Group::start(&place, kind, sync);
        // These steps have no relation to the program's own steps.
        std::thread::sleep(Duration::from_micros(run * 7919 % 17_000));
        let ended = group.end(Signal::TERM);
        let db = place.read("db.wax");
        match kind {
            Kind::Stream => assert_ne!(place.run(&["verify", "-q", "-k", "file:k", "db.wax"]).code, Some(0)),
            _ => assert!(db == b"last night's", "{kind:?}, sync {sync}, run {run}: committed, {ended}"),
        }
        assert_eq!(ended.signal(), Some(TERM), "{kind:?}, sync {sync}, run {run}: {ended}");
        let left: Vec<_> = place.names().into_iter().filter(|name| name.starts_with('.')).collect();
        assert!(left.is_empty(), "{kind:?}, sync {sync}, run {run}: {left:?}");
        *ends.entry(format!("{kind:?}: {ended}")).or_default() += 1;
    }
}

fn try_all(runs: u64) {
    let mut ends = BTreeMap::new();
    for busy in [0, 4] {
        let _load = Load::start(busy);
        for sync in [true, false] {
            for kind in [Kind::Pipe, Kind::Stream, Kind::Command] {
                try_to_commit(kind, sync, runs / 2, &mut ends);
                try_to_commit(kind, sync, runs / 2 + 1, &mut ends);
            }
        }
    }
    eprintln!("{} runs, 0 committed: {ends:?}", ends.values().sum::<u64>());
}

#[test]
fn nothing_is_committed_after_a_signal() {
    try_all(8);
}

#[test]
#[ignore = "takes minutes"]
fn nothing_is_committed_after_a_signal_in_thousands_of_runs() {
    try_all(240);
}

/// Starts `command`, keeps its stdin open, and waits until it has read the input.
fn at_work(command: &mut Command) -> Child {
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(&noise(300_000)).unwrap();
    // The program has read more than a pipe can hold, so it has already created its output.
    child
}

#[test]
fn every_signal_that_can_be_answered_cleans_up() {
    let place = Place::new();
    let signals = [
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::ABORT,
        Signal::ALARM,
        Signal::TERM,
        Signal::XCPU,
        Signal::VTALARM,
        Signal::PROF,
        Signal::USR1,
        Signal::USR2,
        #[cfg(target_os = "linux")]
        Signal::POWER,
    ];
    for signal in signals {
        let mut child = at_work(&mut place.command(&["encrypt", "-k", "file:k", "-o", "out.wax"]));
        let _held = child.stdin.take();
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(signal.as_raw()));
        assert_eq!(place.names(), ["k"], "{signal:?}");
    }
}

/// If the memory is not enough while the output is written, the program aborts or reports an error. It cleans up in
/// both cases.
#[test]
#[cfg(target_os = "linux")]
fn an_allocation_that_fails_leaves_nothing() {
    let place = Place::new();
    place.write("in", noise(9_000_000));
    let mut aborted = 0;
    for megabytes in (20..100).step_by(2) {
        let limit = format!("--as={}", megabytes * 1_000_000);
        let mut command = Command::new("prlimit");
        command.args([&limit, WAXSEAL, "encrypt", "-q", "-k", "file:k", "-o", "out.wax"]);
        command.current_dir(place.path("")).stdin(File::open(place.path("in")).unwrap()).stderr(Stdio::null());
        let ended = command.status().unwrap();
        let made = if ended.success() { &["in", "k", "out.wax"][..] } else { &["in", "k"] };
        assert_eq!(place.names(), made, "{megabytes} MB: {ended}");
        aborted += u32::from(ended.signal() == Some(6));
        if ended.success() {
            break;
        }
    }
    assert!(aborted > 0, "no run was short of memory at the right moment");
}

/// With `ulimit -u 1`, no thread can be started. The program needs none to clean up.
#[test]
fn signals_work_where_no_thread_can_be_started() {
    let place = Place::new();
    let mut shell = place.unprivileged(&["--version"]);
    assert!(shell.stdout(Stdio::null()).status().unwrap().success());
    fs::set_permissions(place.path("k"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let names = place.names();
    for size in [300_000, 9_000_000] {
        let mut command = Command::new("prlimit");
        command.args(["--nproc=1:1", "./waxseal", "encrypt", "-q", "-k", "file:k", "-o", "out.wax"]);
        command.current_dir(place.path(""));
        if cli_support::is_root() {
            command.uid(cli_support::NOBODY).gid(cli_support::NOBODY);
        }
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut held = child.stdin.take().unwrap();
        held.write_all(&noise(size)).unwrap();
        let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).map_or(1, Iterator::count);
        assert_eq!(tasks, 1, "the limit does not hold");
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(TERM));
        assert_eq!(place.names(), names);
    }
}

/// If the parent ignores SIGCHLD, the program inherits this. It must still learn how its command ended.
#[test]
fn an_ignored_sigchld_hides_no_end() {
    let place = Place::new();
    for (script, code) in [("echo content", 0), ("echo half; exit 3", 9)] {
        let line = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); \
                    os.execv(sys.argv[1], sys.argv[1:])";
        let mut command = Command::new("python3");
        command.args(["-c", line, WAXSEAL, "encrypt", "-f", "-k", "file:k", "-o", "out.wax", "--from-command", "--"]);
        let output = command.args(["sh", "-c", script]).current_dir(place.path("")).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(place.ok(&["decrypt", "-k", "file:k", "-o", "-", "out.wax"]).stdout, b"content\n");
}

/// The first process of a container ignores every signal that it does not handle. A signal that it sends to itself does
/// not kill it.
#[test]
#[cfg(target_os = "linux")]
fn the_first_process_of_a_container_ends_too() {
    let unshare = || {
        let mut command = Command::new("unshare");
        if !cli_support::is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--pid", "--fork"]);
        command
    };
    if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        return skipped("the first process of a container", "no namespace of processes can be made here");
    }
    let place = Place::new();
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::QUIT, 131)] {
        let mut command = unshare();
        command.arg(WAXSEAL).args(["encrypt", "-k", "file:k", "-o", "out.wax"]).current_dir(place.path(""));
        let mut child = at_work(&mut command);
        let _held = child.stdin.take();
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let inner: i32 = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        kill_process(Pid::from_raw(inner).unwrap(), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(place.names(), ["k"]);
    }
}

/// Runs the program on its own terminal. At the question for a passphrase, the script types ctrl-z, continues the
/// program, and then types the passphrase.
const STOPPED: &str = r#"
import os, pty, signal, sys, termios, time
signal.alarm(60)
session, terminal = pty.fork()
if session == 0:
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execv(sys.argv[1], sys.argv[1:])
    echo = lambda: bool(termios.tcgetattr(0)[3] & termios.ECHO)
    status = os.waitpid(child, os.WUNTRACED)[1]
    print("stopped", os.WIFSTOPPED(status), "echo", echo(), flush=True)
    os.tcsetpgrp(0, child)
    os.kill(child, signal.SIGCONT)
    while echo():
        time.sleep(0.005)
    print("hidden again", flush=True)
    status = os.waitpid(child, 0)[1]
    os.tcsetpgrp(0, os.getpid())
    print("ended", os.waitstatus_to_exitcode(status), "echo", echo(), flush=True)
    os._exit(0)
said = b""
answers = [(b"encrypt with: ", b"half\x1a"), (b"hidden again", b"a-passphrase\n"), (b"repeat the passphrase: ", b"a-passphrase\n")]
for more in pieces(terminal):
    said += more
    if answers and said.endswith(answers[0][0] + (b"\r\n" if answers[0][0] == b"hidden again" else b"")):
        os.write(terminal, answers.pop(0)[1])
sys.stdout.write(said.decode())
"#;

#[test]
#[cfg(target_os = "linux")]
fn ctrl_z_at_the_question_for_a_passphrase_stops() {
    let place = Place::new();
    place.write("in", "content");
    place.write("pass", "a-passphrase\n");
    let mut command = Command::new("python3");
    let script = [cli_support::PIECES, STOPPED].concat();
    command.args(["-c", &script, WAXSEAL, "encrypt", "-k", "passphrase", "in"]).current_dir(place.path(""));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for words in ["stopped True echo True", "hidden again", "ended 0 echo True"] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!said.contains("a-passphrase"), "{said}");
    let opened = place.ok(&["decrypt", "-k", "passphrase:file=pass", "-o", "-", "in.wax"]);
    assert_eq!(opened.stdout, b"content");
}
