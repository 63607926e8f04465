//! The limit: a copy by two threads, without cryptography. It writes its output in the same way as the engine.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::system;

/// The first argument for this mode: `MODE [--sync] IN OUT`.
pub(crate) const MODE: &str = "copy-by-two-threads";

const THREADS: usize = 2;
/// The number of bytes that a thread claims at once.
const TASK: u64 = 1 << 20;
/// The number of bytes in one read or write.
const PIECE: usize = 256 << 10;
/// Some processors copy to unaligned memory at half their speed.
const PAGE: usize = 4096;

pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let (sync, input, output) = match arguments {
        ["--sync", input, output] => (Sync::AtTheEnd, input, output),
        [input, output] => (Sync::Never, input, output),
        _ => return Err(format!("{MODE} [--sync] IN OUT")),
    };
    copy(input, output, sync).map_err(|error| error.to_string())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sync {
    Never,
    AtTheEnd,
}

fn copy(input: &str, output: &str, sync: Sync) -> std::io::Result<()> {
    let (input, output) = (File::open(input)?, File::create(output)?);
    let len = input.metadata()?.len();
    system::reserve(&output, len);
    let claimed = AtomicU64::new(0);
    let work = || -> std::io::Result<()> {
        let mut memory = vec![0; PIECE + PAGE];
        let aligned = memory.as_ptr().align_offset(PAGE);
        let buffer = &mut memory[aligned..aligned + PIECE];
        loop {
            let start = claimed.fetch_add(TASK, Ordering::Relaxed);
            if start >= len {
                return Ok(());
            }
            copy_range(&input, &output, start, len.min(start + TASK), buffer)?;
            if sync == Sync::AtTheEnd {
                system::start_write_back(&output, start, TASK);
            }
        }
    };
    // A single task needs no second thread.
    let helpers = if len > TASK { THREADS - 1 } else { 0 };
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(work)).collect();
        let own = work();
        helpers.into_iter().fold(own, |sum, helper| sum.and(helper.join().expect("a thread that does not panic")))
    })?;
    if sync == Sync::AtTheEnd { output.sync_all() } else { Ok(()) }
}

fn copy_range(input: &File, output: &File, start: u64, end: u64, buffer: &mut [u8]) -> std::io::Result<()> {
    let mut at = start;
    while at < end {
        let want = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        input.read_exact_at(&mut buffer[..want], at)?;
        output.write_all_at(&buffer[..want], at)?;
        at += want as u64;
    }
    Ok(())
}
