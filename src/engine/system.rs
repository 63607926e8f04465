//! What the engine asks of the operating system beyond reads and writes. All of it is advice: where a system has no
//! such call, or refuses it, the work goes on without.

use std::fs::File;
use std::io;

/// Gets room for `len` bytes from `start` on. Whether it did. The file's length stays what was written: were it ahead,
/// a process that is killed would leave a file that looks whole.
///
/// # Errors
/// When the file system is full, or no file can be so long.
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

/// Says that the file will be read from front to end.
pub(super) fn will_read_in_order(file: &File) {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let _ = file;
}

/// Starts to write what stands in memory of `len` bytes from `start` on to the disk, and does not wait.
pub(super) fn start_write_back(file: &File, start: u64, len: u64) {
    // For dirty pages this advice does just that: they are sent off, and stay in memory until they are clean.
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
        // The default of /proc/sys/fs/pipe-max-size. Of anything but a pipe the system refuses it.
        let _ = rustix::pipe::fcntl_setpipe_size(file, 1 << 20);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// How long this process may make a file (`ulimit -f`).
pub(super) fn file_size_limit() -> u64 {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Fsize).current.unwrap_or(u64::MAX);
    #[cfg(not(unix))]
    u64::MAX
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    ToRead,
    ToWrite,
}

/// Waits until `file` is ready, where `refusal` says that it is not.
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

/// When the file's state last changed, in seconds and nanoseconds: unlike the time of modification, nobody can set it.
pub(super) fn change_time(meta: &std::fs::Metadata) -> Option<(i64, i64)> {
    #[cfg(unix)]
    return Some((std::os::unix::fs::MetadataExt::ctime(meta), std::os::unix::fs::MetadataExt::ctime_nsec(meta)));
    #[cfg(not(unix))]
    {
        let _ = meta;
        None
    }
}

/// Whether the file is a block device, whose length is found by seeking.
pub(super) fn is_block_device(kind: std::fs::FileType) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::FileTypeExt::is_block_device(&kind);
    #[cfg(not(unix))]
    {
        let _ = kind;
        false
    }
}
