//! Inputs that are not there. "No such file" has many reasons, and only one of them says that the file does not exist.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::destination::{open_folder, split};
use crate::error::{Error, NoInput};

/// A name that comes and goes is not looked for forever.
const LOOKS: usize = 4;

/// Opens the file at `path` to read it.
///
/// # Errors
/// Whatever the system answers. If the folder exists and has nothing of this name, the error has the kind
/// [`NotFound`](ErrorKind::NotFound) and contains [`Error::NoInput`], which [`Error::io`] returns. A folder that is
/// missing, and a symbolic link that leads to nothing, are other errors.
pub fn open_input(path: &Path) -> io::Result<File> {
    for _ in 0..LOOKS {
        let error = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => error,
            done => return done,
        };
        match look_for(path) {
            Ok(Sought::Absent) => return Err(Error::from(NoInput).into()),
            // It has come between the two calls.
            Ok(Sought::There) => {}
            Ok(Sought::Untold) | Err(_) => return Err(error),
        }
    }
    Err(ErrorKind::NotFound.into())
}

/// What a folder says of a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sought {
    /// The folder exists and does not have it.
    Absent,
    /// It has it, and it is no symbolic link.
    There,
    /// It has it as a symbolic link, or the folder's word does not count.
    Untold,
}

fn look_for(path: &Path) -> io::Result<Sought> {
    let Some((parent, name)) = split(path) else { return Ok(Sought::Untold) };
    sought(&open_folder(None, parent)?, name)
}

/// Looks for `name` in an open folder.
pub(super) fn sought(folder: &OwnedFd, name: &OsStr) -> io::Result<Sought> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(item) if FileType::from_raw_mode(item.st_mode) == FileType::Symlink => return Ok(Sought::Untold),
        Ok(_) => return Ok(Sought::There),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    // Looked at last. A folder that was removed while it is held open is empty, and says nothing of what it had.
    if rustix::fs::fstat(folder)?.st_nlink == 0 || is_of_proc(folder)? {
        return Ok(Sought::Untold);
    }
    Ok(Sought::Absent)
}

/// There, a name is no file but a descriptor or a process: one that has ended is not a file that does not exist.
#[cfg(target_os = "linux")]
fn is_of_proc(folder: &OwnedFd) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(folder)?.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "on Linux the system can refuse")]
fn is_of_proc(_: &OwnedFd) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn is_no_input(path: &Path) -> bool {
        let error = open_input(path).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory), "{error}");
        matches!(Error::io("opening", error), Error::NoInput(_))
    }

    #[test]
    fn only_a_name_that_its_folder_lacks_is_no_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("d")).unwrap();
        fs::write(path("d/file"), "x").unwrap();
        symlink("nowhere", path("dangling")).unwrap();
        symlink("d", path("linked")).unwrap();
        assert!(open_input(&path("d/file")).is_ok() && open_input(&path("linked/file")).is_ok());
        for absent in ["missing", "d/missing", "linked/missing", "d/../missing"] {
            assert!(is_no_input(&path(absent)), "{absent}");
        }
        for other in ["missing/file", "d/file/x", "dangling", "dangling/x", "missing/", "missing/.", "d/missing/.."] {
            assert!(!is_no_input(&path(other)), "{other}");
        }
        assert!(!is_no_input(Path::new("")));
    }

    #[test]
    fn a_folder_that_was_removed_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        fs::create_dir(&gone).unwrap();
        let held = open_folder(None, &gone).unwrap();
        assert_eq!(sought(&held, OsStr::new("file")).unwrap(), Sought::Absent);
        fs::remove_dir(&gone).unwrap();
        assert_eq!(sought(&held, OsStr::new("file")).unwrap(), Sought::Untold);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_descriptor_that_is_closed_is_not_a_missing_file() {
        assert!(!is_no_input(Path::new("/proc/self/fd/1000000")));
        assert!(!is_no_input(Path::new("/dev/fd/1000000")));
    }

    /// The kind stays that of the system, for callers that know only [`io::Error`].
    #[test]
    fn it_is_a_file_that_was_not_found() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(open_input(&folder.path().join("missing")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
