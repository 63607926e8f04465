//! Runs a series: every program once in every round, in random order.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::time::Duration;

use crate::machine::{self, Load, Since};
use crate::measure::{self, Figure};
use crate::series::{Before, Run, Series};
use crate::system;
use crate::workplace::Workplace;

/// Before memory becomes free: the system can finish what it does with memory that became free earlier.
const PAUSE: Duration = Duration::from_millis(300);

/// The figures of a series.
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) len: u64,
    pub(crate) rounds: usize,
    pub(crate) runs: Vec<Figures>,
    /// Names of programs that failed, and their errors.
    pub(crate) failed: Vec<(String, String)>,
    pub(crate) load: Option<Load>,
}

/// The figures of one program, one for each round.
pub(crate) struct Figures {
    pub(crate) name: String,
    pub(crate) against: String,
    pub(crate) figures: Vec<Figure>,
}

pub(crate) fn run(workplace: &Workplace, folder: &Path, series: &Series) -> Measured {
    eprintln!("{}: {} programs, {} rounds", series.title, series.runs.len(), series.rounds);
    let empty = |run: &Run| Figures { name: run.name.clone(), against: run.against.clone(), figures: Vec::new() };
    let mut measured = Measured {
        name: series.name.clone(),
        title: series.title.clone(),
        len: series.len,
        rounds: series.rounds,
        runs: series.runs.iter().map(empty).collect(),
        failed: Vec::new(),
        load: None,
    };
    let since = Since::now();
    for _ in 0..series.rounds {
        for index in shuffled(series.runs.len()) {
            let run = &series.runs[index];
            if measured.failed.iter().any(|(name, _)| *name == run.name) {
                continue;
            }
            make_ready(folder, series);
            match measure::run(workplace, folder, &run.script) {
                Ok(figure) => measured.runs[index].figures.push(figure),
                Err(error) => measured.failed.push((run.name.clone(), error)),
            }
        }
    }
    measured.load = since.load();
    let _ = fs::remove_file(folder.join("out"));
    measured
}

/// A virtual machine returns free memory to its host within seconds, and the next run must get it back. The time for
/// this would count as the program's. So memory is taken before the previous output is deleted, and both become free
/// right before the run. If the output is deleted first, this does not work.
fn make_ready(folder: &Path, series: &Series) {
    let out = folder.join("out");
    if let Before::Waiting(time) = series.before {
        let _ = fs::remove_file(out);
        return std::thread::sleep(time);
    }
    // More would push the inputs out of the page cache.
    let memory = system::touched(series.len.min(machine::room_beside(folder)));
    if matches!(series.before, Before::Dropping) {
        for entry in fs::read_dir(folder).unwrap() {
            system::drop_from_cache(&entry.unwrap().path()).unwrap();
        }
    }
    std::thread::sleep(PAUSE);
    let _ = fs::remove_file(out);
    drop(memory);
}

/// The numbers below `count` in random order. Each gets a hash with a random key from the standard library.
fn shuffled(count: usize) -> Vec<usize> {
    let state = RandomState::new();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_cached_key(|index| {
        let mut hasher = state.build_hasher();
        hasher.write_usize(*index);
        hasher.finish()
    });
    order
}
