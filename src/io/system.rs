//! System calls on an open folder and on names in it, for each operating system.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

/// The permissions of a temporary file. Nobody else may read an unfinished secret.
const PRIVATE: Mode = Mode::from_raw_mode(0o600);

/// Whether the error can mean that the system or the file system does not support the call.
fn is_refusal(error: Errno) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::BADF, Errno::PERM, Errno::ACCESS].contains(&error)
}

/// Whether the error is final: every other method would also fail or must not be tried, or the error is not from the
/// system.
pub(super) fn is_final(error: &io::Error) -> bool {
    const FINAL: [Errno; 5] = [Errno::EXIST, Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS];
    Errno::from_io_error(error).is_none_or(|errno| FINAL.contains(&errno))
}

/// Creates a file without a name in `folder`. Whatever ends the process, no file remains.
///
/// # Errors
/// Any error of the system. Many file systems do not support such files.
#[cfg(target_os = "linux")]
pub(super) fn make_nameless(folder: &OwnedFd) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let made = File::from(retry_on_intr(|| rustix::fs::openat(folder, c".", flags, PRIVATE))?);
    // The file gets its name through this link. Without the link it could never get one.
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

/// Linking by descriptor needs a privilege that only root is sure to have.
#[cfg(target_os = "linux")]
fn may_link_descriptors() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives the name `name` to `file`, which has none, in one step. Fails if the name exists.
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

/// Creates an empty file with this name. Fails if the name exists.
pub(super) fn make_new(folder: &OwnedFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(retry_on_intr(|| rustix::fs::openat(folder, name, flags, PRIVATE))?))
}

/// Removes a name.
pub(super) fn unlink(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?)
}

/// Renames the file `from` to `to`. Replaces any file named `to`.
pub(super) fn rename(folder: &OwnedFd, from: &OsStr, to: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::renameat(folder, from, folder, to)?)
}

/// Renames the file `from` to `to`. Fails if `to` exists. If several callers try at once, one succeeds.
pub(super) fn rename_to_new(folder: &OwnedFd, from: &OsStr, to: &OsStr) -> io::Result<()> {
    match rename_no_replace(folder, from, to) {
        Err(error) if !is_final(&error) => {}
        done => return done,
    }
    match rustix::fs::linkat(folder, from, folder, to, AtFlags::empty()).map_err(io::Error::from) {
        Ok(()) => {
            // The file has its final name. If its temporary name cannot be removed, that is not an error.
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

/// For file systems that have neither links nor a rename that fails if the name exists. The process that creates an
/// empty file with that name may replace it. If the process is killed between the two steps, the empty file remains.
pub(super) fn rename_to_claimed(folder: &OwnedFd, from: &OsStr, to: &OsStr) -> io::Result<()> {
    drop(make_new(folder, to)?);
    rename(folder, from, to).inspect_err(|_| {
        let _ = unlink(folder, to);
    })
}

/// Syncs `file` to the disk. Returns the error of a file system that cannot sync.
///
/// # Errors
/// An error of the disk.
pub(super) fn sync_file(file: &File) -> io::Result<Option<io::Error>> {
    or_refused(fsync(file))
}

/// Syncs the names in `folder` to the disk. Returns the error of a file system that cannot sync folders. `file` is on
/// the same file system.
///
/// # Errors
/// An error of the disk.
pub(crate) fn sync_folder(folder: &OwnedFd, file: &File) -> io::Result<Option<io::Error>> {
    match or_refused(fsync(folder))? {
        None => Ok(None),
        // A folder that may be written but not read is open as a path only (`O_PATH`), and cannot be synced.
        Some(_) if is_path_only(folder) => or_refused(sync_file_system(file)),
        refused => Ok(refused),
    }
}

fn fsync(file: impl AsFd) -> Result<(), Errno> {
    // On systems other than Apple's, `fsync` itself writes to the disk.
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

/// Closes `file` and returns the error, which a drop would hide. Some file systems report a full disk only at this
/// point.
///
/// # Errors
/// Any error of the system. The file is closed in any case.
pub fn close(file: File) -> io::Result<()> {
    match nix::unistd::close(file) {
        // After `EINTR`, too, Linux has closed the descriptor.
        Ok(()) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Asks the file system for the errors that it reports on close, while the file can still be discarded. The file system
/// is told about each closed descriptor, and this closes a copy. If no copy can be made, nothing is asked.
pub(super) fn close_a_copy(file: &File) -> io::Result<()> {
    file.try_clone().map_or(Ok(()), close)
}
