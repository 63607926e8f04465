//! Signals while the program works on several files. After a signal, no thread starts another commit, and no temporary
//! file is left.
//!
//! By default, the tests make few runs. This command makes 1,600 runs, and prints the figures:
//!
//! ```sh
//! cargo test --locked --test cli_signals_several -- --ignored --nocapture
//! ```
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "figures")]

mod cli_support;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use cli_support::{Place, WAXSEAL, noise};
use rustix::process::{Pid, Signal, kill_process};

const FILES: usize = 60;
/// The maximum number of files that the program works on at the same time. The thread of each of them may have made its
/// last check for signals just before the signal.
const AT_ONCE: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Encrypt,
    Decrypt,
    Verify,
    Rewrap,
}

/// The files that the program works on, and the contents to restore them before each run.
struct Ground {
    place: Place,
    kind: Kind,
    plain: Vec<Vec<u8>>,
    sealed: Vec<Vec<u8>>,
    args: Vec<String>,
}

fn plain(number: usize) -> String {
    format!("{number:02}.txt")
}

fn sealed(number: usize) -> String {
    format!("{number:02}.txt.wax")
}

impl Ground {
    fn new(kind: Kind, sync: bool) -> Self {
        let place = Place::new();
        place.ok(&["key", "new", "k2"]);
        let random = noise(FILES * 2000);
        let contents: Vec<Vec<u8>> = random.chunks(2000).map(<[u8]>::to_vec).collect();
        contents.iter().enumerate().for_each(|(number, content)| drop(place.write(&plain(number), content)));
        let mut args: Vec<String> = ["encrypt", "-q", "--no-sync", "-k", "file:k"].map(String::from).to_vec();
        args.extend((0..FILES).map(plain));
        place.ok(&args);
        let whole = (0..FILES).map(|number| place.read(&sealed(number))).collect();
        let words: &[&str] = match kind {
            Kind::Encrypt => &["encrypt", "-q", "-k", "file:k"],
            Kind::Decrypt => &["decrypt", "-q", "-k", "file:k"],
            Kind::Verify => &["verify", "-q", "-k", "file:k"],
            Kind::Rewrap => &["rewrap", "-q", "--allow-unwrap", "-k", "file:k", "--to", "file:k2"],
        };
        let mut args: Vec<String> = words.iter().copied().map(String::from).collect();
        args.extend((!sync && matches!(kind, Kind::Encrypt | Kind::Decrypt)).then(|| "--no-sync".to_owned()));
        args.extend((0..FILES).map(if kind == Kind::Encrypt { plain } else { sealed }));
        Self { place, kind, plain: contents, sealed: whole, args }
    }

    /// Restores the files to their state before a run.
    fn prepare(&self) {
        for number in 0..FILES {
            match self.kind {
                Kind::Encrypt => drop(std::fs::remove_file(self.place.path(sealed(number)))),
                Kind::Decrypt => drop(std::fs::remove_file(self.place.path(plain(number)))),
                Kind::Rewrap => drop(self.place.write(&sealed(number), &self.sealed[number])),
                Kind::Verify => {}
            }
        }
    }

    /// Starts a run that handles all signals, even if the caller of the test ignores some.
    fn start(&self) -> Child {
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP,INT,TERM", WAXSEAL]).args(&self.args);
        command.current_dir(self.place.path("")).env_remove("WAXSEAL_KEY").stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// The numbers of the outputs that exist.
    fn outputs(&self) -> Vec<usize> {
        let is_there = |number: &usize| match self.kind {
            Kind::Encrypt => self.place.exists(&sealed(*number)),
            Kind::Decrypt => self.place.exists(&plain(*number)),
            Kind::Verify | Kind::Rewrap => false,
        };
        (0..FILES).filter(is_there).collect()
    }

    /// Checks that every existing file is complete, and that there are no other files.
    fn check(&self, told: &str) {
        let names = self.place.names();
        let known = |name: &String| name == "k" || name == "k2" || name.ends_with(".txt") || name.ends_with(".txt.wax");
        assert!(names.iter().all(known), "{told}: {names:?}");
        if self.kind == Kind::Decrypt {
            for number in self.outputs() {
                assert!(self.place.read(&plain(number)) == self.plain[number], "{told}: {number} is not whole");
            }
        }
        let there: Vec<String> = names.into_iter().filter(|name| name.ends_with(".wax")).collect();
        assert!(self.kind == Kind::Encrypt || there.len() == FILES, "{told}: an input is missing");
        if !there.is_empty() && matches!(self.kind, Kind::Encrypt | Kind::Rewrap) {
            let verify = ["verify", "-q", "-k", "file:k", "-k", "file:k2"].map(String::from).to_vec();
            let ran = self.place.run(&[verify, there].concat());
            assert_eq!(ran.code, Some(0), "{told}: {}", ran.stderr);
        }
    }
}

/// Stops all threads of `child`. Returns false if it ended before that.
fn stopped(child: &Child) -> bool {
    let pid = Pid::from_child(child);
    kill_process(pid, Signal::STOP).unwrap();
    // Looks at the state until all threads have stopped. A process that has ended is a zombie until it is waited for.
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    let state = || stat().rsplit(") ").next().and_then(|rest| rest.chars().next());
    loop {
        if matches!(state(), Some('Z' | 'X') | None) {
            return false;
        }
        let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).into_iter().flatten().flatten();
        let states = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
        if states.into_iter().all(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))) {
            return true;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// The results of many runs.
#[derive(Default)]
struct Tally {
    ends: BTreeMap<String, u64>,
    /// How many files were committed after the signal. Their threads had checked for signals before it.
    late: BTreeMap<usize, u64>,
}

/// One run that gets `signal` after `delay`. With `stop`, all its threads are stopped when the signal comes.
fn run(ground: &Ground, signal: Signal, delay: Duration, stop: bool, tally: &mut Tally) {
    ground.prepare();
    let mut child = ground.start();
    let pid = Pid::from_child(&child);
    std::thread::sleep(delay);
    let is_stopped = stop && stopped(&child);
    kill_process(pid, signal).unwrap();
    let before = ground.outputs().len();
    if stop {
        kill_process(pid, Signal::CONT).unwrap();
    }
    let ended: ExitStatus = child.wait().unwrap();
    let late = ground.outputs().len() - before;
    let told = format!("{:?}, {signal:?} after {delay:?}: {ended}, {late} late", ground.args);
    assert!(ended.success() || ended.signal() == Some(signal.as_raw()), "{told}");
    assert!(!(is_stopped && ended.success()), "{told}: the signal was ignored");
    assert!(late <= AT_ONCE, "{told}");
    ground.check(&told);
    *tally.ends.entry(format!("{:?}: {ended}", ground.kind)).or_default() += 1;
    *tally.late.entry(late).or_default() += 1;
}

/// Makes `runs` runs of each kind, with and without sync.
fn try_all(runs: usize) {
    let mut tally = Tally::default();
    for kind in [Kind::Encrypt, Kind::Decrypt, Kind::Verify, Kind::Rewrap] {
        for sync in [true, false] {
            let ground = Ground::new(kind, sync);
            ground.prepare();
            let begun = Instant::now();
            assert!(ground.start().wait().unwrap().success());
            let whole = begun.elapsed().as_micros();
            let random = noise(4 * runs);
            for (number, random) in random.chunks(4).enumerate() {
                let micros = u128::from(u32::from_le_bytes(random.try_into().unwrap())) % (whole * 11 / 10);
                let signal = [Signal::TERM, Signal::INT, Signal::HUP][number % 3];
                let delay = Duration::from_micros(micros.try_into().unwrap());
                run(&ground, signal, delay, number % 2 == 0, &mut tally);
            }
        }
    }
    eprintln!("ends: {:?}; files committed late: {:?}", tally.ends, tally.late);
    let by_signal: u64 = tally.ends.iter().filter(|(end, _)| end.contains("signal")).map(|(_, count)| count).sum();
    assert!(by_signal > 0, "{:?}", tally.ends);
}

#[test]
fn no_file_of_several_is_committed_after_a_signal() {
    try_all(12);
}

#[test]
#[ignore = "takes minutes"]
fn no_file_of_several_is_committed_after_a_signal_in_many_runs() {
    try_all(200);
}
