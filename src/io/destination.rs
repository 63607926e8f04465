//! The destination of a file: an open folder, and a name in it.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
#[cfg(target_os = "linux")]
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::input::{Sought, sought};
use crate::error::{Error, NoInput};

/// A longer chain of symbolic links counts as a loop, as it does for the system.
const MAX_LINKS: usize = 40;
/// The sticky bit. In a folder that has it, only a file's owner may remove the file.
const STICKY: u32 = 0o1000;
/// Users other than the folder's owner may write to it.
const WRITTEN_BY_OTHERS: u32 = 0o022;

/// An open folder, and the name that a file has or will have in it. The name is not a symbolic link. Links were
/// followed, and the folder is the one that contains the final target.
#[derive(Debug, Clone)]
pub struct Destination {
    pub(super) folder: Arc<OwnedFd>,
    pub(super) name: OsString,
    path: PathBuf,
    found: Option<Found>,
    /// Whether a symbolic link at the end of the path led here.
    is_linked: bool,
}

/// What already has the name.
#[derive(Debug, Clone)]
struct Found {
    metadata: Metadata,
    is_mount_point: bool,
    follow: Follow,
}

/// Whether opening the name follows a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follow {
    No,
    /// The name is one of the system's own links (`/proc/self/fd/3`). Its target has no other name.
    Magic,
}

/// Why a path is not a valid destination.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// The path ends in `/`, `.` or `..`.
    #[error("{} names a folder", .0.display())]
    Folder(PathBuf),
    /// Another user created a symbolic link in a folder that everybody may write to.
    #[error("the symbolic link {} was made by user {owner}, in a folder that others may write to", .link.display())]
    ForeignLink {
        /// The link.
        link: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// The system returned an error.
    #[error("{action}: {source}")]
    Io {
        /// The action that failed.
        action: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl From<DestinationError> for Error {
    fn from(error: DestinationError) -> Self {
        match error {
            DestinationError::Io { action, source } => Error::Io { action, source },
            other => Error::Invalid(other.to_string()),
        }
    }
}

impl Destination {
    /// Resolves `path`. Creates nothing.
    ///
    /// Symbolic links at the end of the path are followed one by one, each through an open descriptor. A sticky folder
    /// that others may write to, such as `/tmp`, is special: anybody can create a link there, and change it at any
    /// time. In such a folder, a link is followed only if it belongs to the caller or to the folder's owner.
    ///
    /// # Errors
    /// [`DestinationError`] says which.
    pub fn at(path: &Path) -> Result<Self, DestinationError> {
        let (mut path, mut base) = (path.to_owned(), None::<Arc<OwnedFd>>);
        let mut rest = path.clone();
        for _ in 0..MAX_LINKS {
            let Some((parent, name)) = split(&rest) else { return Err(DestinationError::Folder(path)) };
            let folder = Arc::new(open_folder(base.as_deref(), parent).map_err(|source| DestinationError::Io {
                action: format!("opening the folder {}", folder_of(&path).display()),
                source,
            })?);
            let failed = |source| DestinationError::Io { action: format!("looking at {}", path.display()), source };
            let item = look(&folder, name, &path, OFlags::NOFOLLOW).map_err(failed)?;
            let found = match item {
                Some(item) if item.metadata.is_symlink() => {
                    check_link(&folder, &item.metadata, &path)?;
                    match behind_magic(&folder, name, &item, &path).map_err(failed)? {
                        Some(found) => Some(found),
                        None => {
                            let target = item.target.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
                            path = folder_of(&path).join(&target);
                            (rest, base) = (target, Some(folder));
                            continue;
                        }
                    }
                }
                Some(item) => {
                    let is_mount_point = item.is_mount_point;
                    Some(Found { metadata: item.metadata, is_mount_point, follow: Follow::No })
                }
                None => None,
            };
            let name = name.to_owned();
            return Ok(Self { folder, name, path, found, is_linked: base.is_some() });
        }
        let source = Errno::LOOP.into();
        Err(DestinationError::Io { action: format!("following {}", path.display()), source })
    }

    /// A name in an open folder. What has it is not followed, even if it is a symbolic link. `path` is for messages.
    ///
    /// # Errors
    /// Any error of the system. [`io::ErrorKind::InvalidInput`] if `name` is not a single name.
    pub fn in_folder(folder: Arc<OwnedFd>, name: &OsStr, path: &Path) -> io::Result<Self> {
        if split(Path::new(name)).is_none() || name.as_bytes().contains(&b'/') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not the name of a file"));
        }
        let here = Self { folder, name: name.to_owned(), path: path.to_owned(), found: None, is_linked: false };
        here.beside(name.to_owned())
    }

    /// Another name in the same folder. It is not followed, even if it is a symbolic link.
    ///
    /// # Errors
    /// Any error of the system.
    pub(crate) fn beside(&self, name: OsString) -> io::Result<Self> {
        let path = self.path.with_file_name(&name);
        let item = look(&self.folder, &name, &path, OFlags::NOFOLLOW)?;
        let found =
            item.map(|item| Found { metadata: item.metadata, is_mount_point: item.is_mount_point, follow: Follow::No });
        Ok(Self { folder: Arc::clone(&self.folder), name, path, found, is_linked: false })
    }

    /// The path, with the symbolic links at its end followed; for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's path, for messages.
    #[must_use]
    pub fn folder_path(&self) -> &Path {
        folder_of(&self.path)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Arc<OwnedFd> {
        &self.folder
    }

    /// The name in the folder.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// What already had the name. `None` if nothing had it.
    #[must_use]
    pub fn found(&self) -> Option<&Metadata> {
        self.found.as_ref().map(|found| &found.metadata)
    }

    /// Whether the file is a mount point itself, as happens in containers. Then no rename can replace it. `false` if
    /// the system cannot tell.
    #[must_use]
    pub fn is_mount_point(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.is_mount_point)
    }

    /// The folder's metadata.
    ///
    /// # Errors
    /// Any error of the system.
    pub fn folder_metadata(&self) -> io::Result<Metadata> {
        File::from(self.folder.try_clone()?).metadata()
    }

    /// Opens the object that had the name. Fails if another object has replaced it. Creates nothing.
    ///
    /// # Errors
    /// Any error of the system. [`io::ErrorKind::ResourceBusy`] if the object was replaced.
    pub fn open(&self, access: OpenFor) -> io::Result<File> {
        let Some(found) = &self.found else { return Err(io::ErrorKind::NotFound.into()) };
        let nofollow = if found.follow == Follow::Magic { OFlags::empty() } else { OFlags::NOFOLLOW };
        let access = match access {
            OpenFor::Write => OFlags::WRONLY,
            OpenFor::Change => OFlags::RDWR,
        };
        let flags = access | nofollow | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = File::from(retry_on_intr(|| rustix::fs::openat(&self.folder, &self.name, flags, Mode::empty()))?);
        if is_same(&file.metadata()?, &found.metadata) {
            Ok(file)
        } else {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, "another file has just replaced it"))
        }
    }

    /// Why there is nothing to open: the folder lacks the name, which is [`Error::NoInput`], or something else.
    pub(crate) fn not_found(&self) -> io::Error {
        match sought(&self.folder, &self.name) {
            // The name that the caller gave exists: it is the link's.
            Ok(Sought::Absent) if !self.is_linked => Error::from(NoInput).into(),
            _ => io::ErrorKind::NotFound.into(),
        }
    }

    /// Whether the name in the folder is `file`'s.
    ///
    /// # Errors
    /// Any error of the system.
    pub(crate) fn names(&self, file: &Metadata) -> io::Result<bool> {
        let item = look(&self.folder, &self.name, &self.path, OFlags::NOFOLLOW)?;
        Ok(item.is_some_and(|item| is_same(&item.metadata, file)))
    }
}

/// The access with which a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenFor {
    /// Write only.
    Write,
    /// Read and write.
    Change,
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The folder's part of a path and the name in it; `None` where the path ends in no name.
pub(super) fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    let bytes = path.as_os_str().as_bytes();
    let at = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (parent, name) = bytes.split_at(at);
    let parent = if parent.is_empty() { &b"."[..] } else { parent };
    (![&b""[..], b".", b".."].contains(&name)).then(|| (Path::new(OsStr::from_bytes(parent)), OsStr::from_bytes(name)))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// To read, so that it can be synced; where that is forbidden, as a mere place.
pub(super) fn open_folder(base: Option<&OwnedFd>, parent: &Path) -> io::Result<OwnedFd> {
    let open = |flags: OFlags| {
        let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
        retry_on_intr(|| match base {
            Some(base) => rustix::fs::openat(base, parent, flags, Mode::empty()),
            None => rustix::fs::openat(CWD, parent, flags, Mode::empty()),
        })
    };
    match open(OFlags::RDONLY) {
        #[cfg(target_os = "linux")]
        Err(Errno::ACCESS) => Ok(open(OFlags::PATH)?),
        done => Ok(done?),
    }
}

/// An object in a folder, as it was found.
struct Item {
    metadata: Metadata,
    /// The target, if it is a symbolic link.
    target: Option<PathBuf>,
    is_mount_point: bool,
    is_of_proc: bool,
}

/// Looks at `name` through one descriptor, so that all facts are about the same object.
#[cfg(target_os = "linux")]
fn look(folder: &OwnedFd, name: &OsStr, _: &Path, follow: OFlags) -> io::Result<Option<Item>> {
    use rustix::fs::{AtFlags, PROC_SUPER_MAGIC, StatxAttributes, StatxFlags};
    let flags = OFlags::PATH | OFlags::CLOEXEC | follow;
    let item = match retry_on_intr(|| rustix::fs::openat(folder, name, flags, Mode::empty())) {
        Ok(item) => File::from(item),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let metadata = item.metadata()?;
    let target = match metadata.is_symlink() {
        true => Some(OsString::from_vec(rustix::fs::readlinkat(&item, c"", Vec::new())?.into_bytes()).into()),
        false => None,
    };
    let told = rustix::fs::statx(&item, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE);
    let is_mount_point = told.is_ok_and(|told| told.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    let is_of_proc = rustix::fs::fstatfs(&item).is_ok_and(|system| system.f_type == PROC_SUPER_MAGIC);
    Ok(Some(Item { metadata, target, is_mount_point, is_of_proc }))
}

/// These systems have no descriptors of links, so the path is used.
#[cfg(not(target_os = "linux"))]
fn look(_: &OwnedFd, _: &OsStr, path: &Path, follow: OFlags) -> io::Result<Option<Item>> {
    let told = if follow.is_empty() { path.metadata() } else { path.symlink_metadata() };
    let metadata = match told {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let target = if metadata.is_symlink() { Some(path.read_link()?) } else { None };
    Ok(Some(Item { metadata, target, is_mount_point: false, is_of_proc: false }))
}

/// The target of one of the system's own links, unless it is a file. A pipe, for example, has no path to follow.
fn behind_magic(folder: &OwnedFd, name: &OsStr, item: &Item, path: &Path) -> io::Result<Option<Found>> {
    if !item.is_of_proc {
        return Ok(None);
    }
    let there = look(folder, name, path, OFlags::empty())?;
    let there = there.filter(|there| !there.metadata.is_file() && !there.metadata.is_dir());
    Ok(there.map(|there| Found { metadata: there.metadata, is_mount_point: false, follow: Follow::Magic }))
}

/// The kernel has the same rule (`fs.protected_symlinks`), but it is not active on every system.
fn check_link(folder: &OwnedFd, link: &Metadata, path: &Path) -> Result<(), DestinationError> {
    let there = folder.try_clone().and_then(|folder| File::from(folder).metadata());
    let there = there.map_err(|source| DestinationError::Io { action: "looking at the folder".into(), source })?;
    let is_shared = there.mode() & STICKY != 0 && there.mode() & WRITTEN_BY_OTHERS != 0;
    let is_trusted = link.uid() == rustix::process::geteuid().as_raw() || link.uid() == there.uid();
    if is_shared && !is_trusted {
        return Err(DestinationError::ForeignLink { link: path.to_owned(), owner: link.uid() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn paths_are_cut_at_their_last_slash() {
        let cut = |path: &'static str| split(Path::new(path)).map(|(parent, name)| (parent.to_str(), name.to_str()));
        for (path, parent, name) in [
            ("a", ".", "a"),
            ("/a", "/", "a"),
            ("a/b", "a/", "b"),
            ("../a", "../", "a"),
            ("a//b", "a//", "b"),
            ("...", ".", "..."),
        ] {
            assert_eq!(cut(path), Some((Some(parent), Some(name))), "{path}");
        }
        for path in ["", "/", "a/", ".", "..", "a/.", "a/.."] {
            assert_eq!(cut(path), None, "{path}");
        }
    }

    #[test]
    fn links_are_followed_to_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("d")).unwrap();
        fs::write(path("d/file"), "x").unwrap();
        symlink("two", path("one")).unwrap();
        symlink("d/three", path("two")).unwrap();
        symlink("../d/file", path("d/three")).unwrap();
        symlink("nowhere", path("d/dangling")).unwrap();
        symlink("loop", path("loop")).unwrap();
        symlink("d/", path("to-folder")).unwrap();
        let there = Destination::at(&path("one")).unwrap();
        assert!(there.found().unwrap().is_file() && there.name() == "file");
        assert_eq!(fs::canonicalize(there.path()).unwrap(), fs::canonicalize(path("d/file")).unwrap());
        let dangling = Destination::at(&path("d/dangling")).unwrap();
        assert!(dangling.found().is_none() && dangling.name() == "nowhere");
        assert!(matches!(Destination::at(&path("loop")), Err(DestinationError::Io { .. })));
        assert!(matches!(Destination::at(&path("missing/x")), Err(DestinationError::Io { .. })));
        assert!(matches!(Destination::at(&path("to-folder")), Err(DestinationError::Folder(_))));
    }

    /// The object that is opened is the one that was looked at.
    #[test]
    fn what_has_come_in_its_place_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&path, "x").unwrap();
        let there = Destination::at(&path).unwrap();
        assert!(there.open(OpenFor::Change).is_ok() && there.names(&path.metadata().unwrap()).unwrap());
        fs::write(&other, "y").unwrap();
        fs::rename(&path, folder.path().join("c")).unwrap();
        symlink("c", &path).unwrap();
        assert!(there.open(OpenFor::Write).is_err() && !there.names(&other.metadata().unwrap()).unwrap());
        fs::rename(&other, &path).unwrap();
        let refused = there.open(OpenFor::Write).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
    }
}
