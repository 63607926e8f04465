//! Faults in the real program. Every system call that touches its files fails, does less than requested, or is the last
//! call. `tests/faults/inject.c` injects these faults.
//!
//! By default, the tests try a sample. This command tries everything, and prints the figures:
//!
//! ```sh
//! cargo test --locked --test faults -- --ignored --nocapture
//! ```
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "figures for the documents")]

mod cli_support;
mod skipped;

#[path = "faults/cases.rs"]
mod cases;
#[path = "faults/check.rs"]
mod check;
#[path = "faults/courtesies.rs"]
mod courtesies;
#[path = "faults/crashes.rs"]
mod crashes;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/full.rs"]
mod full;
#[path = "faults/habits.rs"]
mod habits;
#[path = "faults/injector.rs"]
mod injector;
#[path = "faults/limits.rs"]
mod limits;
#[path = "faults/pair.rs"]
mod pair;
#[path = "faults/several.rs"]
mod several;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use cases::Case;
use check::{check, ways};
use disk::Rng;
use injector::{End, Fault, Ground, How, Injected, Mode};

/// More threads than cores, because runs mostly wait for the system.
const THREADS: usize = 4;
/// The number of faults in the sample.
const SAMPLE: usize = 1500;
/// The number of failures that are printed in full.
const TOLD: usize = 20;

const KINDS: [&str; 21] = [
    "read", "map", "write", "copy", "allocate", "truncate", "sync", "advise", "control", "lock", "seek", "mode",
    "owner", "stat", "open", "unlink", "rename", "link", "close", "gate", "process",
];

/// The calls of a run, by kind. A run without a fault must be right, too.
fn counts(case: &Case) -> BTreeMap<&'static str, usize> {
    let ground = Ground::new(&case.files);
    let injected = ground.inject(Mode::Count, &case.args, case.stdin.as_deref());
    assert_eq!(injected.end, End::Exit(case.code), "{:?}: {}", case.args, injected.ran.stderr);
    let mut counts = BTreeMap::new();
    for line in String::from_utf8_lossy(&injected.log).lines() {
        let Some((kind, count)) = line.strip_prefix("count ").and_then(|line| line.split_once(' ')) else { continue };
        let kind = KINDS.into_iter().find(|known| *known == kind).unwrap();
        *counts.entry(kind).or_insert(0) += count.parse::<usize>().unwrap();
    }
    counts
}

/// Does `work` with each of `items`, on several threads.
fn for_each<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}

/// Every fault of every call of every case.
fn all(cases: &[Case]) -> Vec<(&Case, Fault)> {
    let mut all = Vec::new();
    let counted: Vec<OnceLock<_>> = cases.iter().map(|_| OnceLock::new()).collect();
    let numbers: Vec<usize> = (0..cases.len()).collect();
    for_each(&numbers, |number| drop(counted[*number].set(counts(&cases[*number]))));
    for (case, counts) in cases.iter().zip(counted) {
        for (kind, count) in counts.into_inner().unwrap() {
            let faults =
                (0..count).flat_map(|number| ways(kind).into_iter().map(move |how| Fault { kind, number, how }));
            all.extend(faults.map(|fault| (case, fault)));
        }
    }
    all
}

/// The results of many runs.
#[derive(Default)]
struct Tally {
    hit: AtomicUsize,
    wrong: Mutex<Vec<String>>,
    by_end: Mutex<BTreeMap<String, usize>>,
}

impl Tally {
    fn try_one(&self, case: &Case, fault: &Fault) {
        let ground = Ground::new(&case.files);
        let injected = ground.inject(Mode::Strike(*fault), &case.args, case.stdin.as_deref());
        self.hit.fetch_add(usize::from(injected.was_hit()), Ordering::Relaxed);
        *self.by_end.lock().unwrap().entry(format!("{:?}", injected.end)).or_default() += 1;
        if let Err(wrong) = check(case, fault, &injected, &ground) {
            let Injected { end, ran, log } = injected;
            let log = String::from_utf8_lossy(&log).into_owned();
            let told =
                format!("{wrong}: {fault:?} in {:?}, {} B: {end:?} {}{log}", case.args, case.plain.len(), ran.stderr);
            self.wrong.lock().unwrap().push(told);
        }
    }

    fn try_all(&self, faults: &[(&Case, Fault)]) {
        for_each(faults, |(case, fault)| self.try_one(case, fault));
    }

    fn end(self, tried: usize) {
        let wrong = self.wrong.into_inner().unwrap();
        let (hit, by_end) = (self.hit.into_inner(), self.by_end.into_inner().unwrap());
        eprintln!("{tried} faults, {hit} struck, {} wrong; ends: {by_end:?}", wrong.len());
        let told = &wrong[..wrong.len().min(TOLD)];
        assert!(wrong.is_empty(), "{} of {tried} runs went wrong:\n{}", wrong.len(), told.join("\n"));
        assert!(hit > tried * 9 / 10, "only {hit} of {tried} faults struck");
    }
}

/// `count` of the items. The same seed gives the same items.
fn sample<T>(mut from: Vec<T>, count: usize, seed: u64) -> Vec<T> {
    let mut rng = Rng(seed);
    for at in 0..count.min(from.len()) {
        let other = at + rng.below(from.len() - at);
        from.swap(at, other);
    }
    from.truncate(count);
    from
}

/// `WAXSEAL_FAULT_SEED` tries another sample.
fn seed() -> u64 {
    std::env::var("WAXSEAL_FAULT_SEED").map_or(1, |seed| seed.parse().unwrap())
}

#[test]
fn a_sample_of_all_faults_loses_nothing() {
    let cases = cases::cases();
    let faults = sample(all(&cases), SAMPLE, seed());
    let tally = Tally::default();
    tally.try_all(&faults);
    tally.end(faults.len());
}

/// Stops the program at the last check for signals before each commit, sends each signal, and continues the program.
/// There is no commit, and the program ends by that signal.
#[test]
fn a_signal_before_a_commit_is_obeyed() {
    let cases = cases::cases();
    let gates: Vec<_> = all(&cases).into_iter().filter(|(_, fault)| fault.kind == "gate").collect();
    assert!(gates.len() > 200, "{} signals", gates.len());
    let with_gates = cases.iter().filter(|case| gates.iter().any(|(own, _)| std::ptr::eq(*own, *case))).count();
    assert!(with_gates > cases.len() / 2, "{with_gates} of {} command lines", cases.len());
    let tally = Tally::default();
    tally.try_all(&gates);
    tally.end(gates.len());
}

/// If the system refuses the first mapping of an input, this is a usage error. If it refuses a later window, that part
/// is read. A disk that fails in the calls before a mapping is not a usage error.
#[test]
fn a_mapping_that_is_refused_loses_nothing() {
    let mut cases = cases::cases();
    cases.retain(|case| case.args.iter().any(|arg| arg == "--input"));
    let is_one = |fault: &Fault| ["map", "stat"].contains(&fault.kind);
    let maps: Vec<_> = all(&cases).into_iter().filter(|(_, fault)| is_one(fault)).collect();
    assert!(maps.len() > 50 && maps.iter().any(|(_, fault)| fault.number > 0), "{} mappings", maps.len());
    let tally = Tally::default();
    tally.try_all(&maps);
    tally.end(maps.len());
}

/// No process, no pipe to it, no connection: what a command makes, or is made from, is never taken for the whole.
#[test]
fn a_process_that_is_refused_loses_nothing() {
    let mut cases = cases::cases();
    cases.retain(|case| case.has_command() && case.stdin.is_none() && case.plain.len() == 40 * 1024);
    let ways = [How::Fail(check::errno::EMFILE), How::Fail(check::errno::EAGAIN), How::Before(9)];
    let mut faults = all(&cases);
    faults.retain(|(_, fault)| fault.kind == "process" && ways.contains(&fault.how));
    assert!(faults.len() > 50, "{} faults", faults.len());
    let tally = Tally::default();
    tally.try_all(&faults);
    tally.end(faults.len());
}

#[test]
#[ignore = "takes minutes"]
fn no_fault_loses_anything() {
    let cases = cases::cases();
    let faults = all(&cases);
    assert!(faults.len() >= 10_000, "{} faults", faults.len());
    let tally = Tally::default();
    tally.try_all(&faults);
    tally.end(faults.len());
}
