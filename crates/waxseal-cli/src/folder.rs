//! Files in open folders. An open folder stays the same one, whatever becomes of its name. Nobody can lead the program
//! elsewhere with a symbolic link that takes the place of a folder or of a file.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};
use waxseal::io::Destination;

/// How a folder is opened: to be listed and to be synced.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A folder that is open, or a folder of an output tree that is made when the first file in it is.
pub(crate) struct Folder {
    path: PathBuf,
    /// Device and inode, where they are known from the start.
    identity: Option<(u64, u64)>,
    open: OnceLock<Arc<OwnedFd>>,
    making: Option<(Arc<Tree>, Vec<Part>)>,
}

/// A folder's name below the top of an output tree, and its permissions if it is made.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) name: OsString,
    pub(crate) mode: Mode,
}

impl Part {
    /// For the owner only.
    pub(crate) fn private(name: &OsStr) -> Self {
        Self { name: name.to_owned(), mode: Mode::RWXU }
    }
}

/// The top of an output tree.
pub(crate) struct Tree {
    folder: Arc<OwnedFd>,
    path: PathBuf,
    /// New folders must survive a power cut, as the files in them.
    is_synced: bool,
}

impl Tree {
    /// Opens the folder at `path`, and makes it if it does not exist.
    pub(crate) fn at(path: &Path, is_synced: bool) -> io::Result<Self> {
        match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self { folder: Arc::new(open_folder(path)?), path: path.to_owned(), is_synced })
    }

    /// What identifies the folder.
    pub(crate) fn identity(&self) -> io::Result<(u64, u64)> {
        identity(&self.folder)
    }
}

impl Folder {
    /// A folder that is open already.
    pub(crate) fn open(path: PathBuf, folder: Arc<OwnedFd>, identity: (u64, u64)) -> Self {
        Self { path, identity: Some(identity), open: OnceLock::from(folder), making: None }
    }

    /// A folder below the top of `tree`. It is made when it is needed.
    pub(crate) fn below(tree: &Arc<Tree>, parts: &[Part]) -> Self {
        let path = parts.iter().fold(tree.path.clone(), |path, part| path.join(&part.name));
        Self { path, identity: None, open: OnceLock::new(), making: Some((Arc::clone(tree), parts.to_vec())) }
    }

    /// The folder, if it exists. Every step leads to a folder and never through a symbolic link.
    fn find(&self) -> io::Result<Arc<OwnedFd>> {
        self.reach(|folder, part| enter(folder, &part.name))
    }

    /// The folder. It is made if it does not exist.
    fn make(&self) -> io::Result<Arc<OwnedFd>> {
        let is_synced = self.making.as_ref().is_some_and(|(tree, _)| tree.is_synced);
        self.reach(|folder, part| {
            match rustix::fs::mkdirat(folder, &part.name, part.mode) {
                // If the file system cannot do this, the files in the folder say so when they are synced.
                Ok(()) if is_synced => drop(rustix::fs::fsync(folder)),
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            enter(folder, &part.name)
        })
    }

    fn reach(&self, step: impl Fn(&OwnedFd, &Part) -> io::Result<OwnedFd>) -> io::Result<Arc<OwnedFd>> {
        if let Some(open) = self.open.get() {
            return Ok(Arc::clone(open));
        }
        let (tree, parts) = self.making.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut folder = Arc::clone(&tree.folder);
        for part in parts {
            folder = Arc::new(step(&folder, part)?);
        }
        Ok(Arc::clone(self.open.get_or_init(|| folder)))
    }
}

/// A name in a folder. What has this name is never followed if it is a symbolic link.
#[derive(Clone)]
pub(crate) struct Entry {
    folder: Arc<Folder>,
    name: OsString,
    path: PathBuf,
}

impl Entry {
    /// The name `name` in `folder`.
    pub(crate) fn new(folder: &Arc<Folder>, name: &OsStr) -> Self {
        Self { folder: Arc::clone(folder), name: name.to_owned(), path: folder.path.join(name) }
    }

    /// The path, for messages. It may lead elsewhere by now.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The name in the folder.
    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Another name in the same folder.
    pub(crate) fn beside(&self, name: &OsStr) -> Self {
        Self::new(&self.folder, name)
    }

    /// Device and inode of the folder, if it was there from the start.
    pub(crate) fn folder_identity(&self) -> Option<(u64, u64)> {
        self.folder.identity
    }

    /// Opens a regular file. A FIFO does not make it wait.
    pub(crate) fn open(&self) -> io::Result<File> {
        regular_at(&*self.folder.find()?, Path::new(&self.name), OFlags::NOFOLLOW)
    }

    /// What has the name, if it is a regular file that can be read.
    pub(crate) fn metadata(&self) -> Option<Metadata> {
        self.open().and_then(|file| file.metadata()).ok()
    }

    /// The length of a regular file that has the name. It need not be readable.
    pub(crate) fn len(&self) -> Option<u64> {
        let stat = self.stat().ok().filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)?;
        u64::try_from(stat.st_size).ok()
    }

    /// Whether no regular file has the name any more.
    pub(crate) fn is_gone(&self) -> bool {
        match self.stat() {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(rustix::fs::statat(self.folder.find()?, &self.name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The place of a new file with this name. Its folder is made if it does not exist.
    pub(crate) fn destination(&self) -> io::Result<Destination> {
        Destination::in_folder(self.folder.make()?, &self.name, &self.path)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(out)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for Entry {}

/// Opens the regular file at `path`, also through a symbolic link. A FIFO does not make it wait.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    regular_at(CWD, path, OFlags::empty())
}

fn regular_at(folder: impl AsFd, path: &Path, more: OFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | more;
    let file = File::from(retry_on_intr(|| rustix::fs::openat(&folder, path, flags, Mode::empty()))?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file any more")) }
}

/// Opens the folder at a path that the user named, also through a symbolic link.
pub(crate) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(retry_on_intr(|| rustix::fs::openat(CWD, path, FOLDER, Mode::empty()))?)
}

/// Opens a folder in an open folder. It must not be a symbolic link.
pub(crate) fn enter(folder: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(retry_on_intr(|| rustix::fs::openat(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()))?)
}

/// Device and inode of an open folder.
pub(crate) fn identity(folder: &OwnedFd) -> io::Result<(u64, u64)> {
    let metadata = metadata(folder)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// The metadata of an open folder.
pub(crate) fn metadata(folder: &OwnedFd) -> io::Result<Metadata> {
    File::from(folder.as_fd().try_clone_to_owned()?).metadata()
}
