//! The figures as text: every run of every program, and summaries of other benches. The pictures are drawn from these
//! files only.

use std::fmt::Write as _;

use crate::measure::Figure;
use crate::plot::Row;
use crate::rounds::{Figures, Measured};

const HEAD: &str = "series,bytes,program,against,round,seconds,cpu_seconds,peak_kib";

pub(crate) fn write(measured: &[Measured]) -> String {
    let mut text = format!("{HEAD}\n");
    for one in measured {
        for run in &one.runs {
            for (round, figure) in run.figures.iter().enumerate() {
                write!(text, "{},{},{},{},{},", one.name, one.len, run.name, run.against, round + 1).unwrap();
                writeln!(text, "{:.6},{:.6},{}", figure.seconds, figure.cpu, figure.peak_kib).unwrap();
            }
        }
    }
    text
}

/// The figures that [`write()`] wrote. The lines of a series, and of a program in it, follow each other.
pub(crate) fn read(text: &str) -> Result<Vec<Measured>, String> {
    let mut measured: Vec<Measured> = Vec::new();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let &[name, len, program, against, round, seconds, cpu, peak] = fields.as_slice() else {
            return Err(format!("not {HEAD}: {line}"));
        };
        if measured.last().is_none_or(|one| one.name != name) {
            measured.push(Measured {
                name: name.to_owned(),
                title: String::new(),
                len: number(len)?,
                rounds: 0,
                runs: Vec::new(),
                failed: Vec::new(),
                load: None,
            });
        }
        let Some(one) = measured.last_mut() else { continue };
        one.rounds = one.rounds.max(number(round)?);
        if one.runs.last().is_none_or(|run| run.name != program) {
            one.runs.push(Figures { name: program.to_owned(), against: against.to_owned(), figures: Vec::new() });
        }
        let figure = Figure { seconds: number(seconds)?, cpu: number(cpu)?, peak_kib: number(peak)? };
        one.runs.iter_mut().last().map(|run| run.figures.push(figure)).ok_or("no program")?;
    }
    Ok(measured)
}

/// The figures of another bench.
pub(crate) struct Summary {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) base: String,
    pub(crate) rows: Vec<Row>,
}

/// Three lines `# title`, `# subtitle` and `# base`, the head, and a line for each row. A figure that is
/// not known is empty.
pub(crate) fn summary(text: &str) -> Result<Summary, String> {
    let mut notes = text.lines().filter_map(|line| line.strip_prefix("# ")).map(str::to_owned);
    let mut note = || notes.next().ok_or("three lines with # are expected");
    let [title, subtitle, base] = [note()?, note()?, note()?];
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let &[name, what, seconds, least, ratio] = fields.as_slice() else {
            return Err(format!("not name,what,seconds,least,ratio: {line}"));
        };
        let known = |text: &str| if text.is_empty() { Ok(None) } else { number(text).map(Some) };
        let (name, what) = (name.to_owned(), what.to_owned());
        rows.push(Row { name, what, seconds: known(seconds)?, least: known(least)?, ratio: known(ratio)? });
    }
    Ok(Summary { title, subtitle, base, rows })
}

fn number<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}
