//! Runs a series: every program once in every round, in random order.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;

use crate::measure::{self, Figure};
use crate::series::{Before, Run, Series};
use crate::system;
use crate::workplace::Workplace;

/// A series with its figures.
pub(crate) struct Measured<'a> {
    pub(crate) series: &'a Series,
    pub(crate) runs: Vec<Figures>,
    /// Names of programs that failed, and their errors.
    pub(crate) failed: Vec<(String, String)>,
}

/// The figures of one program, one for each round.
pub(crate) struct Figures {
    pub(crate) name: String,
    pub(crate) against: String,
    pub(crate) figures: Vec<Figure>,
}

pub(crate) fn run<'a>(workplace: &Workplace, folder: &Path, series: &'a Series) -> Measured<'a> {
    eprintln!("{}: {} programs, {} rounds", series.title, series.runs.len(), series.rounds);
    let empty = |run: &Run| Figures { name: run.name.clone(), against: run.against.clone(), figures: Vec::new() };
    let mut measured = Measured { series, runs: series.runs.iter().map(empty).collect(), failed: Vec::new() };
    // Not measured. This creates the output that the first run deletes before it starts, as every other run does.
    if let Some(first) = series.runs.first() {
        let _ = measure::run(workplace, folder, &first.script);
    }
    for _ in 0..series.rounds {
        for index in shuffled(series.runs.len()) {
            let run = &series.runs[index];
            if measured.failed.iter().any(|(name, _)| *name == run.name) {
                continue;
            }
            make_ready(folder, series.before);
            match measure::run(workplace, folder, &run.script) {
                Ok(figure) => measured.runs[index].figures.push(figure),
                Err(error) => measured.failed.push((run.name.clone(), error)),
            }
        }
    }
    let _ = fs::remove_file(folder.join("out"));
    measured
}

/// If a run starts at once, it gets the memory of the previous output. After two seconds, or if more memory is free, a
/// virtual machine returns memory to its host, and the next run has to get it back.
fn make_ready(folder: &Path, before: Before) {
    let _ = fs::remove_file(folder.join("out"));
    match before {
        Before::Nothing => {}
        Before::Dropping => {
            for entry in fs::read_dir(folder).unwrap() {
                system::drop_from_cache(&entry.unwrap().path()).unwrap();
            }
        }
        Before::Waiting(time) => std::thread::sleep(time),
    }
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
