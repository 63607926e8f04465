//! The figures as tables, and as raw data.

use std::fmt::Write as _;

use crate::machine;
use crate::options::{Extent, Options};
use crate::peers::Found;
use crate::rounds::{Figures, Measured};

pub(crate) struct Report<'a> {
    pub(crate) options: &'a Options,
    pub(crate) found: &'a Found,
    pub(crate) measured: &'a [Measured],
    pub(crate) file_system: String,
}

const HOW: &str = "\
Every round runs each program of a table once, in random order. Before each run, as much memory as the output needs \
was taken and written to. Right before the run, this memory was freed and the output before it was deleted, so that the \
host of a virtual machine has the pages there (not in the series after idleness). Inputs are real files (those of a Rust toolchain, one \
after the other), in the page cache unless said otherwise, written in pieces of 128 KiB. Seconds are from the start of \
the program to its end. A ratio is the median of the ratios to the program named beside it within a round, or the ratio \
of the least times. CPU is user and system time of all processes, in the median; memory is the most that the largest \
process had resident in any round, never shown below that of the process that measures (2.5 MiB).

Unsynced stands beside unsynced: waxseal runs with `--no-sync`, since the others leave it to the system when their \
output reaches the disk. If a table is synced, waxseal syncs as it does by default, the copy by two threads syncs its \
file, and `cp` is followed by `sync out`. The copy by two threads is this bench's own, without cryptography: \
`pread` and `pwrite` of 256 KiB in tasks of 1 MiB, the output preallocated. It is the limit of what two threads \
that go through memory can do. `openssl enc` (AES-256-CTR) does not authenticate. gpg and openssl are asked for the \
least stretching of the passphrase.
";

impl Report<'_> {
    /// `compare.md`.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# waxseal beside other programs\n\n");
        // The path of another tool may be private.
        let given = match self.options.given.as_str() {
            "" => String::new(),
            given => format!(" -- {}", given.replace(&self.options.tool, "PATH")),
        };
        let machine = machine::describe(&self.file_system);
        writeln!(text, "Made by `cargo bench --bench compare{given}`, on {machine}.\n").unwrap();
        if self.options.extent != Extent::Whole || self.options.rounds < 3 {
            text.push_str("**A trial, too short to be quoted.**\n\n");
        }
        text.push_str(HOW);
        text.push('\n');
        text.push_str(&self.programs());
        for measured in self.measured {
            text.push_str(&table(measured));
        }
        text
    }

    /// Versions of the programs that ran, and the missing programs.
    fn programs(&self) -> String {
        let mut text = String::from("| program | version |\n| --- | --- |\n");
        let kms = self.found.kms.iter().skip(1);
        for peer in std::iter::once(&self.found.tool).chain(&self.found.peers).chain(kms) {
            writeln!(text, "| {} | {} |", peer.name, peer.version).unwrap();
        }
        for (name, why) in &self.found.missing {
            let why = why.lines().next().unwrap_or_default();
            writeln!(text, "| {name} | **missing**: {why} |").unwrap();
        }
        text
    }
}

fn table(measured: &Measured) -> String {
    let mut text = format!("\n## {}\n\nRounds: {}.", measured.title, measured.rounds);
    if measured.runs.iter().all(|run| !run.name.ends_with("decrypt")) && measured.name.starts_with("size-") {
        text.push_str(" Decrypting is left out: its files and the others' do not fit into memory together.");
    }
    if let Some(load) = &measured.load {
        let (others, stolen) = (load.others, load.stolen);
        write!(text, " Meanwhile, everything else used {others:.2} cores, and the host took {stolen:.2} cores.")
            .unwrap();
    }
    text.push_str(
        "\n\n| program | s, median | s, least | MiB/s | against | ratio, median | ratio, least | CPU s | peak MiB |\n",
    );
    text.push_str("| --- | --: | --: | --: | --- | --: | --: | --: | --: |\n");
    for run in sorted(measured) {
        let (seconds, least) = (run.seconds(), run.least());
        let speed = format!("{:.0}", mib(measured.len) / seconds);
        let ratios = run
            .ratios(measured)
            .map_or_else(|| "| |".to_owned(), |(median, least)| format!("{median:.2} | {least:.2}"));
        let speed = if measured.len < 1 << 20 { "" } else { &speed };
        write!(text, "| {} | {} | {} | {speed} ", run.name, show(seconds), show(least)).unwrap();
        writeln!(text, "| {} | {ratios} | {} | {:.1} |", run.against, show(run.cpu()), run.peak_mib()).unwrap();
    }
    for (name, error) in &measured.failed {
        writeln!(text, "\n{name} failed: {error}.").unwrap();
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "a figure with three digits")]
fn mib(len: u64) -> f64 {
    len as f64 / 1_048_576.0
}

/// Three significant digits.
fn show(seconds: f64) -> String {
    let digits = if seconds < 0.1 {
        4
    } else if seconds < 10.0 {
        3
    } else {
        1
    };
    format!("{seconds:.digits$}")
}

/// The runs that have figures, with the fastest first.
fn sorted(measured: &Measured) -> Vec<&Figures> {
    let mut runs: Vec<&Figures> = measured.runs.iter().filter(|run| !run.figures.is_empty()).collect();
    runs.sort_by(|one, other| one.seconds().total_cmp(&other.seconds()));
    runs
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

impl Figures {
    pub(crate) fn seconds(&self) -> f64 {
        median(self.figures.iter().map(|figure| figure.seconds))
    }

    pub(crate) fn least(&self) -> f64 {
        self.figures.iter().map(|figure| figure.seconds).fold(f64::INFINITY, f64::min)
    }

    fn cpu(&self) -> f64 {
        median(self.figures.iter().map(|figure| figure.cpu))
    }

    pub(crate) fn peak_mib(&self) -> f64 {
        let peak = self.figures.iter().map(|figure| figure.peak_kib).max().unwrap_or(0);
        mib(peak << 10)
    }

    /// The median of the ratios within a round, and the ratio of the best times.
    pub(crate) fn ratios(&self, measured: &Measured) -> Option<(f64, f64)> {
        let base = measured.runs.iter().find(|run| run.name == self.against && !run.figures.is_empty())?;
        let pairs = self.figures.iter().zip(&base.figures);
        Some((median(pairs.map(|(mine, base)| mine.seconds / base.seconds)), self.least() / base.least()))
    }
}
