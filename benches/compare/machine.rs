//! The machine of the measurements, and what else runs on it.

use std::fs;
use std::path::Path;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// Bytes of memory; 0 if the system does not say.
pub(crate) fn memory() -> u64 {
    meminfo("MemTotal:").unwrap_or(0)
}

/// Kept free, for the programs themselves.
const RESERVE: u64 = 1 << 30;

/// The bytes of memory that can be taken while the files of `folder` stay in the page cache.
pub(crate) fn room_beside(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let len: u64 = files.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
    meminfo("MemAvailable:").unwrap_or(0).saturating_sub(len + RESERVE)
}

fn meminfo(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok().map(|kib: u64| kib << 10)
}

/// Processor, cores, memory and system, in one line.
pub(crate) fn describe(file_system: &str) -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("a processor without a name", |(_, name)| name);
    let virtual_machine = if cpus.contains(" hypervisor") { ", a virtual machine" } else { "" };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version: Vec<&str> = release.split('.').take(2).collect();
    format!(
        "{model}, {cores} cores{virtual_machine}, {} GiB of memory, {} {}, {file_system}",
        (memory() + (1 << 29)) >> 30,
        std::env::consts::OS,
        version.join("."),
    )
}

/// The load of the machine beside a series, in cores.
pub(crate) struct Load {
    /// What other programs and the threads of the kernel used.
    pub(crate) others: f64,
    /// What the host gave to other machines, although this one could have used it.
    pub(crate) stolen: f64,
}

/// The beginning of a series.
pub(crate) struct Since {
    begun: Instant,
    /// Seconds.
    used: Option<Used>,
}

struct Used {
    /// By all processes.
    busy: f64,
    stolen: f64,
    /// By this process, and by its children that have ended.
    here: f64,
}

impl Since {
    pub(crate) fn now() -> Self {
        Self { begun: Instant::now(), used: used() }
    }

    /// The load from the beginning until now; nothing if the system does not say.
    pub(crate) fn load(&self) -> Option<Load> {
        let (before, after) = (self.used.as_ref()?, used()?);
        let seconds = self.begun.elapsed().as_secs_f64();
        let others = (after.busy - before.busy) - (after.here - before.here);
        Some(Load { others: others.max(0.0) / seconds, stolen: (after.stolen - before.stolen) / seconds })
    }
}

/// In a second, in `/proc/stat`.
const TICKS: f64 = 100.0;

fn used() -> Option<Used> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<f64> = text.lines().next()?.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let &[user, nice, system, _idle, _waiting, interrupts, soft, stolen, ..] = ticks.as_slice() else { return None };
    let here = |who| getrusage(who).ok().map(|usage| usage.user_time() + usage.system_time());
    let here = (here(UsageWho::RUSAGE_SELF)? + here(UsageWho::RUSAGE_CHILDREN)?).num_microseconds();
    #[expect(clippy::cast_precision_loss, reason = "hours at most")]
    let here = here as f64 / 1e6;
    Some(Used { busy: (user + nice + system + interrupts + soft) / TICKS, stolen: stolen / TICKS, here })
}
