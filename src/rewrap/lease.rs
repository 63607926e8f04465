//! Asks the system whether anybody else on this machine has a file open, and keeps others out for a moment.
//!
//! A lease to write is given only to the one who alone has the file open. Whoever opens it then waits until the lease is
//! given back. It needs ownership of the file, or the right to ignore that; and it knows nothing of other machines.

use std::fs::File;

use super::settled::Others;

/// The command that chooses a descriptor's signal. The `libc` crate has no name for it; the number is the same on every
/// processor that Rust compiles for.
#[cfg(target_os = "linux")]
const F_SETSIG: libc::c_int = 10;

/// Takes the lease.
#[cfg(target_os = "linux")]
pub(super) fn take(file: &File) -> Others {
    // Who opens the file meanwhile causes a signal. The usual one, SIGIO, ends a program; SIGWINCH is ignored unless
    // somebody has asked for it.
    if fcntl(file, F_SETSIG, libc::SIGWINCH).is_err() {
        return Others::Unknown;
    }
    match fcntl(file, libc::F_SETLEASE, libc::F_WRLCK) {
        Ok(()) => Others::None,
        Err(rustix::io::Errno::AGAIN) if !is_remote(file) => Others::Some,
        Err(_) => Others::Unknown,
    }
}

/// Gives it back.
#[cfg(target_os = "linux")]
pub(super) fn give_back(file: &File) {
    // There may be none. Closing the file would give it back, too.
    let _ = fcntl(file, libc::F_SETLEASE, libc::F_UNLCK);
}

/// What a network file system says of others holds for what the server has handed to this machine, which may be nothing.
#[cfg(target_os = "linux")]
fn is_remote(file: &File) -> bool {
    const NFS: i64 = 0x6969;
    const SMB: i64 = 0xfe53_4d42;
    const CIFS: i64 = 0xff53_4d42;
    const CEPH: i64 = 0x00c3_6400;
    const NINE_P: i64 = 0x0102_1997;
    // What does not fit is none of these.
    #[allow(clippy::useless_conversion, reason = "the field's type is another one on other processors")]
    let kind = rustix::fs::fstatfs(file).ok().and_then(|about| i64::try_from(about.f_type).ok());
    kind.is_none_or(|kind| [NFS, SMB, CIFS, CEPH, NINE_P].contains(&(kind & 0xffff_ffff)))
}

/// The commands of `fcntl` that take a number, for which no crate in use has a safe function.
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

/// Elsewhere there are no leases.
#[cfg(not(target_os = "linux"))]
pub(super) fn take(_: &File) -> Others {
    Others::Unknown
}

/// Elsewhere there are no leases.
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
        // The file that made it is open still.
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

    /// Who opens the file meanwhile waits; the signal that tells of it must not end this program.
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
