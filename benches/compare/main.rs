//! Runs complete programs on the same file in turn: this tool, plain copies, and the installed peers.
//!
//! ```sh
//! cargo bench --bench compare                       # what has pictures, in a quarter of an hour, into benches/results/
//! cargo bench --bench compare -- --more             # what has only tables
//! cargo bench --bench compare -- --quick            # how it will look, in two minutes, into target/tmp/
//! cargo bench --bench compare -- --draw             # only draws the pictures again, from the files *.csv
//! cargo bench --bench compare -- --mib 2048 --rounds 9 --only synced --tool PATH
//! ```
//!
//! Every round runs every program of a series once, in random order. Each starts right after the previous output was
//! deleted and memory was freed. The result is the median of the ratios within a round. A program that is not found is
//! reported as missing. As a test, the bench runs once, with tiny data and without the programs that would have to be
//! installed for it, and compares the committed pictures with the committed figures.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its figures")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

mod csv;
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
    let published = support::root().join("benches/results");
    if options.draw {
        return write(&published, &plot::all(&published)?);
    }
    let mut workplace = Workplace::new(options);
    let found = peers::find(&mut workplace, options)?;
    for (name, why) in &found.missing {
        eprintln!("missing: {name}: {why}");
    }
    let folder = results_folder(options, &workplace);
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let planned = series::plan(options, &found);
    let measured = measure_all(&workplace, &planned, &found, &folder)?;
    let report = table::Report { options, found: &found, measured: &measured, file_system: workplace.file_system() };
    let name = if options.more { "more" } else { "compare" };
    let tables = [(format!("{name}.md"), report.markdown()), (format!("{name}.csv"), csv::write(&measured))];
    write(&folder, &tables)?;
    let pictures = plot::all(&folder)?;
    write(&folder, &pictures)?;
    if options.extent == Extent::Test {
        check_published(&published)?;
        return check(&measured, &[tables.as_slice(), &pictures].concat());
    }
    println!("{}\nwritten to {}", report.markdown(), folder.display());
    Ok(())
}

fn write(folder: &Path, files: &[(String, String)]) -> Result<(), String> {
    files.iter().try_for_each(|(name, text)| {
        fs::write(folder.join(name), text).map_err(|error| format!("{}: {error}", folder.join(name).display()))
    })
}

/// All series that need files of one size, then those of the next size. The disk needs space for only one size at a
/// time.
fn measure_all(
    workplace: &Workplace,
    planned: &[Series],
    found: &Found,
    results: &Path,
) -> Result<Vec<Measured>, String> {
    let mut lens: Vec<u64> = Vec::new();
    for series in planned {
        if !lens.contains(&series.len) {
            lens.push(series.len);
        }
    }
    let mut measured = Vec::new();
    for len in lens {
        let of_len: Vec<_> = planned.iter().filter(|series| series.len == len).collect();
        let folder = input::prepare(workplace, len, &of_len, found);
        for series in of_len {
            measured.push(rounds::run(workplace, &folder, series));
            // An interrupted run does not lose all figures.
            write(results, &[("unfinished.csv".to_owned(), csv::write(&measured))])?;
        }
        fs::remove_dir_all(folder).unwrap();
    }
    let place = |one: &Measured| planned.iter().position(|series| series.name == one.name);
    measured.sort_by_key(place);
    fs::remove_file(results.join("unfinished.csv")).map_err(|error| error.to_string())?;
    Ok(measured)
}

/// A partial comparison does not replace the complete results.
fn results_folder(options: &Options, workplace: &Workplace) -> std::path::PathBuf {
    match options.extent {
        Extent::Test => workplace.folder().join("results"),
        Extent::Whole if options.only.is_none() && options.len >= options::PUBLISHED => {
            support::root().join("benches/results")
        }
        Extent::Whole | Extent::Quick => Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare-results"),
    }
}

/// The test's expectation: every program that was found ran, and is in both tables. In series with pictures, the
/// pictures have its name.
fn check(measured: &[Measured], files: &[(String, String)]) -> Result<(), String> {
    for one in measured {
        if let Some((name, error)) = one.failed.first() {
            return Err(format!("{}: {name}: {error}", one.name));
        }
        for run in &one.runs {
            let name = run.name.split(':').next().unwrap_or_default();
            let named = files.iter().filter(|(_, text)| text.contains(name)).count();
            let pictures =
                usize::from(["file", "pipe", "size"].contains(&one.name.split('-').next().unwrap_or_default()));
            if run.figures.len() != one.rounds || named < 2 + pictures {
                return Err(format!("{}: {} is not in the results", one.name, run.name));
            }
        }
    }
    Ok(())
}

/// The committed pictures show the committed figures.
fn check_published(folder: &Path) -> Result<(), String> {
    for (name, picture) in plot::all(folder)? {
        if fs::read_to_string(folder.join(&name)).unwrap_or_default() != picture {
            return Err(format!("{name} does not show its figures: cargo bench --bench compare -- --draw"));
        }
    }
    Ok(())
}
