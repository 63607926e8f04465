//! Power cuts: a run of the real program is recorded, and replayed on a simulated disk that loses data.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cases::{Case, Goal, cases, keys, open, rotation};
use crate::disk::{Image, Loss, Recording, Rng};
use crate::injector::{End, Ground, Mode};

/// The results of many power cuts.
#[derive(Default)]
struct Cuts {
    states: AtomicUsize,
    runs: AtomicUsize,
    lost: Mutex<Vec<String>>,
}

impl Cuts {
    /// Every moment of a run, `seeds` times with every kind of loss.
    fn look(&self, case: &Case, recording: &Recording, seeds: usize) {
        let mut rng = Rng(1);
        let end = recording.events.len();
        for done in 0..=end {
            for loss in Loss::ALL {
                let repeats = if matches!(loss, Loss::Some | Loss::Garbage) { seeds } else { 1 };
                for _ in 0..repeats {
                    let image = recording.stopped(done, loss, &mut rng);
                    self.judge(case, &image, done == end, &format!("{loss:?} after {done} of {end} events"));
                }
            }
        }
    }

    /// The disk has the old content or the new one. After the end of the run it has the new one.
    fn judge(&self, case: &Case, image: &Image, has_ended: bool, what: &str) {
        self.states.fetch_add(1, Ordering::Relaxed);
        let target = case.target().unwrap();
        let now = image.get(target).map(Vec::as_slice);
        let reached = now.is_some_and(|bytes| case.is_reached(bytes));
        let between = now == case.before(target) || now.is_some_and(|bytes| case.is_between(bytes));
        let inputs = case.files.iter().filter(|(name, _)| name != target);
        let kept = inputs.into_iter().all(|(name, bytes)| image.get(name) == Some(bytes));
        if !kept || !(reached || (between && !has_ended)) {
            let len = now.map(<[u8]>::len);
            self.lost.lock().unwrap().push(format!("{what}: {target} has {len:?} bytes, {:?}", case.args));
        }
    }

    /// Several runs that change the key of one file. Each run starts from the state after a power cut in the run
    /// before.
    fn live(&self, rounds: usize, states: usize, seed: u64) {
        let mut rng = Rng(seed);
        let mut case = rotation(1);
        for round in 0..rounds {
            let recording = self.record(&case);
            let end = recording.events.len();
            let mut image = Image::new();
            for state in 0..states {
                let (done, loss) = (rng.below(end + 1), Loss::ALL[rng.below(4)]);
                image = recording.stopped(done, loss, &mut rng);
                self.judge(&case, &image, done == end, &format!("{loss:?}, state {state} of round {round}"));
            }
            case = Case { files: image.into_iter().collect(), ..rotation(round % 2) };
        }
    }

    fn record(&self, case: &Case) -> Recording {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let ground = Ground::new(&case.files);
        let recording = Recording::begin(&ground);
        let injected = ground.inject(Mode::Record, &case.args, case.stdin.as_deref());
        assert_eq!(injected.end, End::Exit(0), "{:?}: {}", case.args, injected.ran.stderr);
        recording.with_log(&injected.log)
    }

    /// Prints the results. Returns what was lost.
    fn end(self) -> Vec<String> {
        let lost = self.lost.into_inner().unwrap();
        let (states, runs) = (self.states.into_inner(), self.runs.into_inner());
        eprintln!("{states} states of the disk after power cuts in {runs} runs, {} lost", lost.len());
        lost
    }
}

/// The cases that write a file and succeed.
fn writing() -> Vec<Case> {
    let is_own = |case: &Case| !matches!(case.goal, Goal::Nothing) && !case.is_written_by_command();
    cases().into_iter().filter(|case| case.code == 0 && is_own(case)).collect()
}

fn cut(seeds: usize, lives: u64, rounds: usize) {
    let (cuts, cases) = (Cuts::default(), writing());
    crate::for_each(&cases, |case| cuts.look(case, &cuts.record(case), seeds));
    crate::for_each(&(0..lives).collect::<Vec<_>>(), |seed| cuts.live(rounds, 20, *seed));
    let lost = cuts.end();
    assert!(lost.is_empty(), "{} states are lost:\n{}", lost.len(), lost[..lost.len().min(20)].join("\n"));
}

#[test]
fn a_power_cut_leaves_the_old_or_the_new() {
    cut(2, 4, 8);
}

#[test]
#[ignore = "takes minutes"]
fn no_power_cut_loses_anything() {
    cut(60, 100, 20);
}

/// Shows that the tests above can fail: each sync that the program makes is needed.
#[test]
fn without_syncs_files_are_lost() {
    let is = |case: &Case, args: &str| case.args.join(" ").starts_with(args) && case.plain.len() == 40 * 1024;
    for (args, of_folder) in [
        ("encrypt -q -k file:k in", false),
        ("encrypt -q -k file:k in", true),
        ("encrypt -q -k file:k -f in", false),
        ("decrypt -f", false),
        ("decrypt -f", true),
        ("salvage", false),
        ("rewrap -q --allow-unwrap", false),
        ("rewrap -q --repair -k", false),
        ("rewrap -q --repair -k", true),
    ] {
        let case = writing().into_iter().find(|case| is(case, args)).unwrap();
        let cuts = Cuts::default();
        let recording = cuts.record(&case);
        cuts.look(&case, &recording.without_syncs(of_folder), 10);
        assert!(!cuts.end().is_empty(), "{args}: nothing is lost without the syncs, of the folder: {of_folder}");
    }
}

/// With `--no-sync`, a rename may reach the disk before the written data.
#[test]
fn no_sync_promises_nothing() {
    let case = writing().into_iter().find(|case| case.plain.len() == 40 * 1024).unwrap();
    let case = Case { args: [&["encrypt".into(), "--no-sync".into()], &case.args[1..]].concat(), ..case };
    let cuts = Cuts::default();
    let recording = cuts.record(&case);
    assert!(
        open(&recording.stopped(recording.events.len(), Loss::Nothing, &mut Rng(1))["in.wax"], &keys()[0].0).is_some()
    );
    cuts.look(&case, &recording, 10);
    assert!(!cuts.end().is_empty());
}
