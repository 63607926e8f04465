//! Asks the system whether another process on this machine has a file open, and makes others wait for a moment.
//!
//! The system gives a write lease only if no other process has the file open. A process that opens the file then waits
//! until the lease is returned. The caller must own the file, or have a privilege that replaces ownership. A lease does
//! not affect other machines.

use std::fs::File;

use super::settled::Others;

/// The command that chooses the signal for a descriptor. The `libc` crate has no name for it. The number is the same on
/// every processor that Rust supports.
#[cfg(target_os = "linux")]
const F_SETSIG: libc::c_int = 10;

/// Takes the lease.
#[cfg(target_os = "linux")]
pub(super) fn take(file: &File) -> Others {
    // If a process opens the file in the meantime, the system sends a signal. The default signal, SIGIO, would end the
    // program. SIGWINCH is ignored unless the program has a handler for it.
    if fcntl(file, F_SETSIG, libc::SIGWINCH).is_err() {
        return Others::Unknown;
    }
    match fcntl(file, libc::F_SETLEASE, libc::F_WRLCK) {
        Ok(()) => Others::None,
        Err(rustix::io::Errno::AGAIN) if !is_remote(file) => Others::Some,
        Err(_) => Others::Unknown,
    }
}

/// Returns the lease.
#[cfg(target_os = "linux")]
pub(super) fn give_back(file: &File) {
    // There may be no lease. Closing the file would return it, too.
    let _ = fcntl(file, libc::F_SETLEASE, libc::F_UNLCK);
}

/// On a network file system, a lease only covers the files that the server has delegated to this machine, which may be
/// none.
#[cfg(target_os = "linux")]
fn is_remote(file: &File) -> bool {
    const NFS: i64 = 0x6969;
    const SMB: i64 = 0xfe53_4d42;
    const CIFS: i64 = 0xff53_4d42;
    const CEPH: i64 = 0x00c3_6400;
    const NINE_P: i64 = 0x0102_1997;
    // A value that does not fit is none of these.
    #[allow(clippy::useless_conversion, reason = "the field's type is another one on other processors")]
    let kind = rustix::fs::fstatfs(file).ok().and_then(|about| i64::try_from(about.f_type).ok());
    kind.is_none_or(|kind| [NFS, SMB, CIFS, CEPH, NINE_P].contains(&(kind & 0xffff_ffff)))
}

/// The `fcntl` commands with a number argument. No crate in use has a safe function for them.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "leases have no safe function")]
fn fcntl(file: &File, command: libc::c_int, value: libc::c_int) -> rustix::io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open, since `file` is borrowed. `F_SETSIG` and `F_SETLEASE`, the only commands that are
    // given here, take an `int` by value: the system neither reads nor writes memory of this process.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), command, value) };
    if answer == -1 {
        let error = std::io::Error::last_os_error();
        return Err(rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::INVAL));
    }
    Ok(())
}

/// Other systems have no leases.
#[cfg(not(target_os = "linux"))]
pub(super) fn take(_: &File) -> Others {
    Others::Unknown
}

/// Other systems have no leases.
#[cfg(not(target_os = "linux"))]
pub(super) fn give_back(_: &File) {}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::skipped::skipped;

    const NO_LEASE: &str = "the file system of temporary files has no leases";

    #[test]
    fn who_else_has_it_open() {
        let place = tempfile::NamedTempFile::new().unwrap();
        let file = File::options().read(true).write(true).open(place.path()).unwrap();
        // The file is still open through the handle that created it.
        let alone = place.into_temp_path();
        if take(&file) == Others::Unknown {
            return skipped("whether somebody else has a file open", NO_LEASE);
        }
        assert_eq!(take(&file), Others::None);
        give_back(&file);
        for write in [false, true] {
            let other = File::options().read(true).write(write).open(&alone).unwrap();
            assert_eq!(take(&file), Others::Some, "{write}");
            drop(other);
            assert_eq!(take(&file), Others::None);
            give_back(&file);
        }
    }

    /// A process that opens the file in the meantime waits. The signal about it must not end this program.
    #[test]
    fn who_comes_meanwhile_waits_and_harms_nothing() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        if take(&file) != Others::None {
            return skipped("somebody who opens a file under a lease", NO_LEASE);
        }
        let refused = rustix::fs::open(
            &*path,
            rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK,
            rustix::fs::Mode::empty(),
        );
        assert_eq!(refused.unwrap_err(), rustix::io::Errno::WOULDBLOCK);
        give_back(&file);
        assert!(File::options().write(true).open(&path).is_ok());
    }
}
