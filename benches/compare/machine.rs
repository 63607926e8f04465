//! The machine of the measurements.

use std::fs;

/// Bytes of memory; 0 if the system does not say.
pub(crate) fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0_u64) << 10
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
