//! Code that differs between operating systems.

use std::fs::File;
use std::path::Path;

/// Allocates space for `len` bytes. The file's length does not change.
pub(crate) fn reserve(file: &File, len: u64) {
    #[cfg(target_os = "linux")]
    {
        // A file system without this call is only slower.
        let _ = rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, len);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, len);
}

/// Starts to write `len` bytes from `start` on to the disk, without waiting.
pub(crate) fn start_write_back(file: &File, start: u64, len: u64) {
    // For dirty pages, this advice starts writing, and they stay in memory.
    #[cfg(target_os = "linux")]
    if let Some(len) = std::num::NonZeroU64::new(len) {
        let _ = rustix::fs::fadvise(file, start, Some(len), rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, start, len);
}

/// `bytes` of memory with something written to every page.
pub(crate) fn touched(bytes: u64) -> Vec<u8> {
    const PAGE: usize = 4096;
    let mut memory = vec![0_u8; usize::try_from(bytes).unwrap_or(0)];
    for page in memory.chunks_mut(PAGE) {
        page[0] = 1;
    }
    std::hint::black_box(memory)
}

/// Whether files can be dropped from the page cache on this system.
pub(crate) const CAN_DROP: bool = cfg!(target_os = "linux");

/// Drops a synced file from the page cache.
pub(crate) fn drop_from_cache(path: &Path) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::fadvise(File::open(path)?, 0, None, rustix::fs::Advice::DontNeed)?;
    #[cfg(not(target_os = "linux"))]
    let _ = path;
    Ok(())
}

/// `ru_maxrss` is in KiB; on macOS it is in bytes.
pub(crate) fn kib(max_rss: i64) -> u64 {
    let value = u64::try_from(max_rss).unwrap_or(0);
    if cfg!(target_vendor = "apple") { value >> 10 } else { value }
}
