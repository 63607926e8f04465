//! System calls on an open folder and the names in it, as far as each system has them.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

/// What a temporary file has until it is finished: nobody else may read half of a secret.
const PRIVATE: Mode = Mode::from_raw_mode(0o600);

/// Whether the system has refused, for now and for ever, what a file system need not have.
fn is_refusal(error: Errno) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::BADF, Errno::PERM, Errno::ACCESS].contains(&error)
}

/// Errors that another way to the same end would meet as well, or must not go round; and those that are not the
/// system's.
pub(super) fn is_final(error: &io::Error) -> bool {
    const FINAL: [Errno; 5] = [Errno::EXIST, Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS];
    Errno::from_io_error(error).is_none_or(|errno| FINAL.contains(&errno))
}

/// Makes a file without a name in `folder`: whatever ends the process, nothing is left of it.
///
/// # Errors
/// Whatever the system answers. Many file systems have no such thing.
#[cfg(target_os = "linux")]
pub(super) fn make_nameless(folder: &OwnedFd) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let made = File::from(retry_on_intr(|| rustix::fs::openat(folder, c".", flags, PRIVATE))?);
    // Its name will be given by way of this link: without it the file would never have one.
    if std::fs::metadata(own_link(&made)).is_err() && !may_link_descriptors() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(made)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn make_nameless(_: &OwnedFd) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
fn own_link(file: &File) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Links by descriptor take a privilege that only root is sure to have.
#[cfg(target_os = "linux")]
fn may_link_descriptors() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives the name `name` to `file`, which has none. In one step; a name that exists is kept.
#[cfg(target_os = "linux")]
pub(super) fn link_nameless(file: &File, folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let link = own_link(file);
    let by_path = || rustix::fs::linkat(rustix::fs::CWD, link.as_str(), folder, name, AtFlags::SYMLINK_FOLLOW);
    match retry_on_intr(by_path).map_err(io::Error::from) {
        Err(error) if !is_final(&error) => {
            let by_descriptor = || rustix::fs::linkat(file, c"", folder, name, AtFlags::EMPTY_PATH);
            Ok(retry_on_intr(by_descriptor)?)
        }
        done => done,
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn link_nameless(_: &File, _: &OwnedFd, _: &OsStr) -> io::Result<()> {
    Err(Errno::NOSYS.into())
}

/// Makes an empty file of this name, which must be new.
pub(super) fn make_new(folder: &OwnedFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(retry_on_intr(|| rustix::fs::openat(folder, name, flags, PRIVATE))?))
}

/// Removes a name.
pub(super) fn unlink(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?)
}

/// Gives the file named `from` the name `to`, whatever had that name.
pub(super) fn rename(folder: &OwnedFd, from: &OsStr, to: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::renameat(folder, from, folder, to)?)
}

/// Gives the file named `from` the name `to`, which must be new: of several that try at once, one succeeds.
pub(super) fn rename_to_new(folder: &OwnedFd, from: &OsStr, to: &OsStr) -> io::Result<()> {
    match rename_no_replace(folder, from, to) {
        Err(error) if !is_final(&error) => {}
        done => return done,
    }
    match rustix::fs::linkat(folder, from, folder, to, AtFlags::empty()).map_err(io::Error::from) {
        Ok(()) => {
            // The file has its name; a second, temporary one that cannot be removed is no failure of the work.
            let _ = unlink(folder, from);
            return Ok(());
        }
        Err(error) if is_final(&error) => return Err(error),
        Err(_) => {}
    }
    rename_to_claimed(folder, from, to)
}

#[cfg(target_os = "linux")]
fn rename_no_replace(folder: &OwnedFd, from: &OsStr, to: &OsStr) -> io::Result<()> {
    use rustix::fs::{RenameFlags, renameat_with};
    Ok(renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE)?)
}

#[cfg(not(target_os = "linux"))]
fn rename_no_replace(_: &OwnedFd, _: &OsStr, _: &OsStr) -> io::Result<()> {
    Err(Errno::NOSYS.into())
}

/// For file systems that have neither links nor a rename that replaces nothing: whoever makes the empty file of that
/// name may replace it. A process that is killed between the two leaves the empty file.
pub(super) fn rename_to_claimed(folder: &OwnedFd, from: &OsStr, to: &OsStr) -> io::Result<()> {
    drop(make_new(folder, to)?);
    rename(folder, from, to).inspect_err(|_| {
        let _ = unlink(folder, to);
    })
}

/// Brings `file` to the disk; gives the answer of a file system that syncs nothing.
///
/// # Errors
/// When the disk fails.
pub(super) fn sync_file(file: &File) -> io::Result<Option<io::Error>> {
    or_refused(fsync(file))
}

/// Brings the names in `folder` to the disk; gives the answer of a file system that syncs no folders. `file` is on the
/// same file system.
///
/// # Errors
/// When the disk fails.
pub(crate) fn sync_folder(folder: &OwnedFd, file: &File) -> io::Result<Option<io::Error>> {
    match or_refused(fsync(folder))? {
        None => Ok(None),
        // A folder that may be written to but not read is open as a mere place, which cannot be synced.
        Some(_) if is_path_only(folder) => or_refused(sync_file_system(file)),
        refused => Ok(refused),
    }
}

fn fsync(file: impl AsFd) -> Result<(), Errno> {
    // Elsewhere than on Apple's systems `fsync` reaches the disk itself.
    #[cfg(target_vendor = "apple")]
    if retry_on_intr(|| rustix::fs::fcntl_fullfsync(file.as_fd())).is_ok() {
        return Ok(());
    }
    retry_on_intr(|| rustix::fs::fsync(file.as_fd()))
}

fn or_refused(synced: Result<(), Errno>) -> io::Result<Option<io::Error>> {
    match synced {
        Ok(()) => Ok(None),
        Err(error) if is_refusal(error) => Ok(Some(error.into())),
        Err(error) => Err(error.into()),
    }
}

#[cfg(target_os = "linux")]
fn is_path_only(folder: &OwnedFd) -> bool {
    rustix::fs::fcntl_getfl(folder).is_ok_and(|flags| flags.contains(OFlags::PATH))
}

#[cfg(target_os = "linux")]
fn sync_file_system(file: &File) -> Result<(), Errno> {
    rustix::fs::syncfs(file)
}

#[cfg(not(target_os = "linux"))]
fn is_path_only(_: &OwnedFd) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(_: &File) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// Closes `file`, and tells what dropping it would hide: some file systems find out only now that there is no room.
///
/// # Errors
/// Whatever the system answers. The file is closed all the same.
pub fn close(file: File) -> io::Result<()> {
    match nix::unistd::close(file) {
        // Linux has closed it then.
        Ok(()) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Has the file system say what it would say at the last close, while the file can still be thrown away: it hears of
/// each descriptor that is closed, and this one is a copy. Nothing is asked where no copy can be had.
pub(super) fn close_a_copy(file: &File) -> io::Result<()> {
    file.try_clone().map_or(Ok(()), close)
}
