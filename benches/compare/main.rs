//! Runs complete programs on the same file in turn: this tool, plain copies, and the installed peers.
//!
//! ```sh
//! cargo bench --bench compare                       # all of it, into benches/results/
//! cargo bench --bench compare -- --full             # and files of 2, 4 and 8 GiB
//! cargo bench --bench compare -- --quick            # how it will look, in a minute, into target/tmp/
//! cargo bench --bench compare -- --mib 2048 --rounds 9 --only synced --tool PATH
//! ```
//!
//! Every round runs every program of a series once, in random order. Each starts right after the previous output was
//! deleted. The result is the median of the ratios within a round. A program that is not found is reported as missing.
//! As a test, the bench runs once, with tiny data and without the programs that would have to be installed for it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its figures")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

mod input;
mod lines;
mod machine;
mod measure;
mod options;
mod peers;
mod plot;
mod rounds;
mod series;
#[path = "../../tests/support/mod.rs"]
mod support;
mod system;
mod table;
mod two_threads;
mod workplace;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use options::{Extent, Options};
use peers::Found;
use rounds::Measured;
use series::Series;
use workplace::Workplace;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        // The bench in its own process.
        [measure::MODE, script] => measure::run_here(script),
        [two_threads::MODE, rest @ ..] => two_threads::run(rest),
        _ => Options::parse(&words).and_then(|options| compare(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<(), String> {
    let mut workplace = Workplace::new(options);
    let found = peers::find(&mut workplace, options)?;
    for (name, why) in &found.missing {
        eprintln!("missing: {name}: {why}");
    }
    let planned = series::plan(options, &found);
    let measured = measure_all(&workplace, &planned, &found);
    let folder = results_folder(options, &workplace);
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let report = table::Report { options, found: &found, measured: &measured, file_system: workplace.file_system() };
    let mut files = vec![("compare.md".to_owned(), report.markdown()), ("compare.csv".to_owned(), report.csv())];
    files.extend(plot::all(&measured));
    for (name, text) in &files {
        fs::write(folder.join(name), text).map_err(|error| format!("{name}: {error}"))?;
    }
    if options.extent == Extent::Test {
        return check(&measured, &files);
    }
    println!("{}\nwritten to {}", report.markdown(), folder.display());
    Ok(())
}

/// All series that need files of one size, then those of the next size. The disk needs space for only one size at a
/// time.
fn measure_all<'a>(workplace: &Workplace, planned: &'a [Series], found: &Found) -> Vec<Measured<'a>> {
    let lens: BTreeSet<u64> = planned.iter().map(|series| series.len).collect();
    let mut measured = Vec::new();
    for len in lens {
        let of_len: Vec<_> = planned.iter().filter(|series| series.len == len).collect();
        let folder = input::prepare(workplace, len, &of_len, found);
        for series in of_len {
            measured.push(rounds::run(workplace, &folder, series));
        }
        fs::remove_dir_all(folder).unwrap();
    }
    let place = |one: &Measured| planned.iter().position(|series| series.name == one.series.name);
    measured.sort_by_key(place);
    measured
}

/// A partial comparison does not replace the complete results.
fn results_folder(options: &Options, workplace: &Workplace) -> std::path::PathBuf {
    match options.extent {
        Extent::Whole if options.only.is_none() => support::root().join("benches/results"),
        Extent::Whole | Extent::Quick => Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare-results"),
        Extent::Test => workplace.folder().join("results"),
    }
}

/// The test's expectation: every program that was found ran, and is in the table and in a plot.
fn check(measured: &[Measured], files: &[(String, String)]) -> Result<(), String> {
    for one in measured {
        if let Some((name, error)) = one.failed.first() {
            return Err(format!("{}: {name}: {error}", one.series.name));
        }
        for run in &one.runs {
            let named = files.iter().filter(|(_, text)| text.contains(&run.name)).count();
            if run.figures.len() != one.series.rounds || named < 3 {
                return Err(format!("{}: {} is not in the results", one.series.name, run.name));
            }
        }
    }
    Ok(())
}
