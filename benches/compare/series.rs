//! Which programs are compared. Unsynced runs are compared with unsynced runs, and synced with synced.

use std::time::Duration;

use crate::machine;
use crate::options::{Extent, Options, show_size};
use crate::peers::{Found, Peer};
use crate::system;
use crate::two_threads;

/// Programs that are run in turn on the same file.
pub(crate) struct Series {
    /// The name for `--only` and in the plot's file name.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) len: u64,
    pub(crate) rounds: usize,
    pub(crate) before: Before,
    pub(crate) runs: Vec<Run>,
}

/// What happens before each run.
#[derive(Clone, Copy)]
pub(crate) enum Before {
    /// Memory is written to and freed.
    Touching,
    /// The same, and the input is dropped from the page cache.
    Dropping,
    Waiting(Duration),
}

/// A program with its arguments.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) script: String,
    /// The run of the same series with which it is compared.
    pub(crate) against: String,
}

impl Run {
    fn new(name: &str, script: &str, against: &str) -> Self {
        Self { name: name.to_owned(), script: script.to_owned(), against: against.to_owned() }
    }

    /// Whether it reads the file `name`.
    pub(crate) fn uses(&self, name: &str) -> bool {
        self.script.split_whitespace().any(|word| word == name)
    }
}

/// The series over sizes has these parts of the main size, and these multiples.
const PARTS: [u64; 2] = [16, 4];
const MULTIPLES: [u64; 3] = [2, 4, 8];
/// At most so many rounds of programs in pipes, and of files above the main size. They take minutes.
const PIPE_ROUNDS: usize = 5;
const LARGE_ROUNDS: usize = 3;
/// Small files are measured in more rounds, because they take little time.
const SMALL: [u64; 2] = [1 << 10, 1 << 20];
const MORE_ROUNDS: usize = 4;
/// The AWS Encryption CLI takes tens of seconds for one GiB.
const KMS_LEN: u64 = 64 << 20;

/// All series, in the order of the report.
pub(crate) fn plan(options: &Options, found: &Found) -> Vec<Series> {
    let mut all = if options.more { Vec::new() } else { with_pictures(options, found) };
    if options.more || options.only.is_some() || options.extent == Extent::Test {
        all.extend(with_tables(options, found));
    }
    select(options, &mut all);
    all
}

/// The main series: all programs with one file, in pipes, and over sizes.
fn with_pictures(options: &Options, found: &Found) -> Vec<Series> {
    let len = options.len;
    let pipe = series(options, "pipe", "pipe to pipe", len, pipes(found));
    let mut all = vec![
        series(options, "file", "file to file, unsynced", len, files(found)),
        Series { rounds: pipe.rounds.min(PIPE_ROUNDS), ..pipe },
    ];
    for size in PARTS.map(|part| len / part).into_iter().chain(MULTIPLES.map(|factor| len * factor)) {
        let name = format!("size-{}", show_size(size).replace(' ', "-"));
        let one = series(options, &name, "file to file, unsynced", size, over_sizes(found, size));
        let most = if size > len { LARGE_ROUNDS } else { one.rounds };
        all.push(Series { rounds: one.rounds.min(most), ..one });
    }
    all
}

fn with_tables(options: &Options, found: &Found) -> Vec<Series> {
    let len = options.len;
    let mut all = vec![
        series(options, "synced", "file to file, synced", len, synced(found)),
        series(options, "verify", "reading alone", len, reading(found)),
    ];
    if found.taskset {
        all.push(series(options, "one-core", "file to file on one core, unsynced", len, on_one_core(found)));
    }
    if system::CAN_DROP {
        let cold = series(options, "cold", "input not in the page cache, unsynced", len, cold(found));
        all.push(Series { before: Before::Dropping, ..cold });
    }
    let seconds = options.idle.as_secs();
    let idle = series(options, "idle", &format!("after {seconds} s of idleness, unsynced"), len, few(found));
    all.push(Series { before: Before::Waiting(options.idle), ..idle });
    if !found.kms.is_empty() {
        let title = "key in an emulator of AWS KMS, unsynced";
        all.push(series(options, "kms", title, len.min(KMS_LEN), kms(&found.kms)));
    }
    for size in SMALL {
        let name = format!("small-{}", show_size(size).replace(' ', "-"));
        let one = series(options, &name, "file to file, unsynced", size, files(found));
        let more = if options.extent == Extent::Whole { MORE_ROUNDS } else { 1 };
        all.push(Series { rounds: one.rounds * more, ..one });
    }
    all
}

fn series(options: &Options, name: &str, title: &str, len: u64, runs: Vec<Run>) -> Series {
    let title = format!("{}, {title}", show_size(len));
    Series { name: name.to_owned(), title, len, rounds: options.rounds, before: Before::Touching, runs }
}

/// Keeps only what `--only` names: complete series, or programs and the run with which they are compared.
fn select(options: &Options, all: &mut Vec<Series>) {
    let Some(only) = &options.only else { return };
    let whole = |series: &Series| series.name.split('-').next() == Some(only) || series.name == *only;
    if all.iter().any(whole) {
        all.retain(whole);
        return;
    }
    for series in &mut *all {
        let named: Vec<Run> = series.runs.iter().filter(|run| run.name.contains(only.as_str())).cloned().collect();
        let is_base = |run: &Run| named.iter().any(|one| one.against == run.name);
        series.runs.retain(|run| run.name.contains(only.as_str()) || is_base(run));
    }
    all.retain(|series| !series.runs.is_empty());
}

fn copies() -> Vec<Run> {
    let two = format!("bench {} in out", two_threads::MODE);
    vec![Run::new("cp", "cp in out", "cp"), Run::new("copy by two threads", &two, "cp")]
}

fn pair(peer: &Peer, against: &str) -> [Run; 2] {
    let name = |what: &str| format!("{}: {what}", peer.name);
    [Run::new(&name("encrypt"), &peer.seal, against), Run::new(&name("decrypt"), &peer.open, against)]
}

/// Copies and this tool.
fn few(found: &Found) -> Vec<Run> {
    copies().into_iter().chain(pair(&found.tool, "cp")).collect()
}

/// Copies, this tool and all others.
fn files(found: &Found) -> Vec<Run> {
    few(found).into_iter().chain(found.peers.iter().flat_map(|peer| pair(peer, "cp"))).collect()
}

/// This tool syncs by itself. `cp` is followed by `sync`.
fn synced(found: &Found) -> Vec<Run> {
    let two = format!("bench {} --sync in out", two_threads::MODE);
    let mut runs = vec![Run::new("cp", "cp in out && sync out", "cp"), Run::new("copy by two threads", &two, "cp")];
    runs.extend(pair(&found.tool, "cp").map(|run| Run { script: run.script.replace(" --no-sync", ""), ..run }));
    runs
}

fn pipes(found: &Found) -> Vec<Run> {
    let base = "cat to cat";
    let mut runs = vec![Run::new(base, "cat in | cat > out", base)];
    for peer in std::iter::once(&found.tool).chain(&found.peers) {
        let name = |what: &str| format!("{}: {what}", peer.name);
        runs.push(Run::new(&name("encrypt"), &format!("cat in | {} > out", peer.seal_stream), base));
        runs.push(Run::new(&name("decrypt"), &format!("cat {} | {} > out", peer.sealed, peer.open_stream), base));
    }
    runs
}

fn reading(found: &Found) -> Vec<Run> {
    let sealed = found.tool.sealed;
    let verify = format!("waxseal verify -k file:../wax.key {sealed}");
    let cat = Run::new("cat to nowhere", &format!("cat {sealed} > /dev/null"), "cat to nowhere");
    vec![cat, Run::new("waxseal: verify", &verify, "cat to nowhere")]
}

fn on_one_core(found: &Found) -> Vec<Run> {
    few(found).into_iter().map(|run| Run { script: format!("taskset -c 0 {}", run.script), ..run }).collect()
}

fn cold(found: &Found) -> Vec<Run> {
    let mut runs = reading(found);
    runs.extend(few(found));
    runs.extend(found.peers.iter().take(1).flat_map(|peer| pair(peer, "cp")));
    runs
}

/// Programs that do not take minutes with the largest files, and only as many files as fit into memory.
fn over_sizes(found: &Found, len: u64) -> Vec<Run> {
    let mut runs = few(found);
    runs.extend(found.peers.iter().take(1).flat_map(|peer| pair(peer, "cp")).take(1));
    if len.saturating_mul(3) > machine::memory() / 5 * 4 {
        runs.retain(|run| !run.uses(found.tool.sealed));
    }
    runs
}

/// Each command of the AWS Encryption CLI is compared with this tool's.
fn kms(peers: &[Peer]) -> Vec<Run> {
    let Some(ours) = peers.first().map(|peer| pair(peer, "")) else { return Vec::new() };
    let runs = peers.iter().flat_map(|peer| pair(peer, "").into_iter().zip(&ours));
    runs.map(|(run, ours)| Run { against: ours.name.clone(), ..run }).collect()
}
