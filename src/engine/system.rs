//! System calls of the engine, apart from reads and writes. All of them are advice: if a system does not have such a
//! call or refuses it, the work continues without it.

use std::fs::File;
use std::io;

/// Allocates space for `len` bytes from `start` on. Returns whether it did. The file's length does not change. If the
/// length were increased in advance, a killed process would leave a file that looks complete.
///
/// # Errors
/// An error if the file system is full, or if no file can be so long.
pub(super) fn preallocate(file: &File, start: u64, len: u64) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::Errno;
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, start, len) {
            Ok(()) => Ok(true),
            Err(full @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(full.into()),
            Err(_) => Ok(false),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, start, len);
        Ok(false)
    }
}

/// Tells the system that the file will be read from start to end.
pub(super) fn will_read_in_order(file: &File) {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let _ = file;
}

/// Starts to write the cached data of `len` bytes from `start` on to the disk, and does not wait.
pub(super) fn start_write_back(file: &File, start: u64, len: u64) {
    // For dirty pages, this advice starts writing, and the pages stay in memory until they are clean.
    #[cfg(target_os = "linux")]
    if let Some(len) = std::num::NonZeroU64::new(len) {
        let _ = rustix::fs::fadvise(file, start, Some(len), rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, start, len);
}

/// Gives a pipe the largest buffer that an unprivileged process may ask for.
pub(super) fn enlarge_pipe(file: &File) {
    #[cfg(target_os = "linux")]
    {
        // The default of /proc/sys/fs/pipe-max-size. For a file that is not a pipe, the system refuses the call.
        let _ = rustix::pipe::fcntl_setpipe_size(file, 1 << 20);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// The maximum length of a file for this process (`ulimit -f`).
pub(super) fn file_size_limit() -> u64 {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Fsize).current.unwrap_or(u64::MAX);
    #[cfg(not(unix))]
    u64::MAX
}

/// The event to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    ToRead,
    ToWrite,
}

/// Waits until `file` is ready, if `refusal` says that it is not.
pub(super) fn wait_until(file: &File, ready: Ready, refusal: io::Error) -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::event::{PollFd, PollFlags, poll};
        let _ = refusal;
        let flags = match ready {
            Ready::ToRead => PollFlags::IN,
            Ready::ToWrite => PollFlags::OUT,
        };
        match poll(&mut [PollFd::new(file, flags)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
    #[cfg(not(unix))]
    {
        let _ = (file, ready);
        Err(refusal)
    }
}

/// When the file's state last changed, in seconds and nanoseconds. Unlike the modification time, programs cannot set
/// it.
pub(super) fn change_time(meta: &std::fs::Metadata) -> Option<(i64, i64)> {
    #[cfg(unix)]
    return Some((std::os::unix::fs::MetadataExt::ctime(meta), std::os::unix::fs::MetadataExt::ctime_nsec(meta)));
    #[cfg(not(unix))]
    {
        let _ = meta;
        None
    }
}

/// Whether the file is a block device. The length of such a device is found by seeking.
pub(super) fn is_block_device(kind: std::fs::FileType) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::FileTypeExt::is_block_device(&kind);
    #[cfg(not(unix))]
    {
        let _ = kind;
        false
    }
}
