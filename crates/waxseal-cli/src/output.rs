//! Outputs: success or nothing.
//!
//! A file is written beside its place under a temporary name, synced, and given its name in one step. What stood
//! there before stays as it is until then.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;
use waxseal::engine::{Durability, Sink};

use super::Result;
use super::args::is_stdout;
use super::escape;
use super::exit::Exit;
use super::failure::Failure;
use super::input::{Identity, Input};
use super::signals;

/// A chain of symlinks longer than this is a loop, as for the system.
const MAX_LINKS: usize = 40;

/// Whether an existing output may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overwrite {
    /// No: its existence is the caller's unmet condition.
    Refuse,
    /// Yes.
    Replace,
}

/// What is about to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Binary, and useless on a terminal.
    Ciphertext,
    /// What was sealed.
    Plaintext,
}

/// Files that must not be an output, with what they are.
pub(crate) type Forbidden = Vec<(Identity, &'static str)>;

/// A place to write to, checked but not touched.
#[derive(Debug)]
pub(crate) enum Target {
    /// Stdout.
    Stdout,
    /// A device or a FIFO, written as it is.
    Special(PathBuf),
    /// A file, by its path without symlinks at the end.
    File(PathBuf, Overwrite),
}

impl Target {
    /// Checks `path` as an output. Nothing is created.
    pub(crate) fn at(path: &Path, overwrite: Overwrite, forbidden: &Forbidden) -> Result<Self> {
        if is_stdout(path) {
            check_stdout(forbidden)?;
            return Ok(Self::Stdout);
        }
        let name = escape::path(path);
        let there = match fs::metadata(path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return new_file(path, overwrite),
            Err(error) => return Err(Failure::io(format!("looking at the output {name}"), error)),
        };
        if let Some(identity) = Identity::of(&there)
            && let Some((_, what)) = forbidden.iter().find(|(other, _)| *other == identity)
        {
            return Err(Failure::usage(format!("the output {name} is the {what}")).hint("name another output with -o"));
        }
        let kind = there.file_type();
        if kind.is_dir() {
            Err(Failure::usage(format!("the output {name} is a folder")).hint("name a file in it"))
        } else if kind.is_file() && overwrite == Overwrite::Refuse {
            Err(exists(path))
        } else if kind.is_file() {
            Ok(Self::File(resolve(path)?, overwrite))
        } else if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
            Ok(Self::Special(path.to_owned()))
        } else {
            Err(Failure::usage(format!("the output {name} is neither a file nor a device")))
        }
    }

    /// Opens it. `mode` is a new file's.
    pub(crate) fn open(self, content: Content, mode: u32) -> Result<Output> {
        let stream = match self {
            Self::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from),
            Self::Special(path) => OpenOptions::new().write(true).open(path),
            Self::File(path, overwrite) => return Ok(Output::File(NewFile::beside(path, overwrite, mode)?)),
        };
        let stream = stream.map_err(|error| Failure::io("opening the output", error))?;
        if content == Content::Ciphertext && stream.is_terminal() {
            let failure = Failure::usage("ciphertext is not written to a terminal");
            return Err(failure.hint("name a file with -o, or let stdout be a pipe"));
        }
        Ok(Output::Stream(stream))
    }

    /// Whether both are files of one name in one folder, however they were spelt.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        let place = |target: &Self| match target {
            Self::File(path, _) => {
                Some((fs::canonicalize(folder_of(path)).ok()?, path.file_name().map(ToOwned::to_owned)))
            }
            _ => None,
        };
        place(self).is_some_and(|own| place(other) == Some(own))
    }

    /// The path of a file that is to be made.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Stdout => None,
            Self::Special(path) | Self::File(path, _) => Some(path),
        }
    }
}

/// What a shell opened as stdout may be a file too, by `>>` or `1<>` one that is read here.
pub(crate) fn check_stdout(forbidden: &Forbidden) -> Result<()> {
    let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from).and_then(|stdout| stdout.metadata());
    // A stdout that is closed fails when it is written to.
    let Some(identity) = stdout.ok().as_ref().and_then(Identity::of) else { return Ok(()) };
    match forbidden.iter().find(|(other, _)| *other == identity) {
        Some((_, what)) => {
            Err(Failure::usage(format!("stdout is the {what}")).hint("name another output with -o, or use a pipe"))
        }
        None => Ok(()),
    }
}

fn exists(path: &Path) -> Failure {
    let failure = Failure::new(Exit::Unmet, format!("the output {} exists", escape::path(path)));
    failure.hint("-f replaces it, -o names another")
}

fn new_file(path: &Path, overwrite: Overwrite) -> Result<Target> {
    let resolved = resolve(path)?;
    if resolved.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        let failure = Failure::usage(format!("the output {} names a folder", escape::path(path)));
        return Err(failure.hint("name a file in it"));
    }
    Ok(Target::File(resolved, overwrite))
}

/// Follows the symlinks that `path` itself may be: the target is what is replaced, and it may not exist yet.
fn resolve(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = folder_of(&path).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(Failure::io(
        format!("following {}", escape::path(&path)),
        io::Error::other("too many levels of symbolic links"),
    ))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// The mode of a file that is sealed from `input`: the input's, never wider.
///
/// What is no regular file has no mode to follow; its seal is for the owner alone.
pub(crate) fn sealed_mode(input: &Input, output: &Path) -> u32 {
    let input = &input.metadata;
    if !input.is_file() {
        return 0o600;
    }
    let mode = input.mode() & 0o777;
    // The group's bits are for the input's group. A new file has another: its process's, or a set-gid folder's.
    let own =
        fs::metadata(folder_of(output)).ok().filter(|folder| folder.mode() & 0o2000 != 0).map(|folder| folder.gid());
    let own = own.unwrap_or_else(|| rustix::process::getegid().as_raw());
    let group = if own == input.gid() { 0o070 } else { (mode & 0o007) << 3 };
    mode & (0o707 | group)
}

/// An open output.
pub(crate) enum Output {
    /// Written in order, as it is.
    Stream(File),
    /// A file in the making.
    File(NewFile),
}

impl Output {
    /// As the engine takes it.
    pub(crate) fn sink(&self, durability: Durability) -> Sink<'_> {
        match self {
            // What a shell opened, others may write to as well: in order, at its cursor. And its user syncs it.
            Self::Stream(stream) => Sink::Pipe(stream),
            Self::File(file) => Sink::File(file.temp.as_file(), durability),
        }
    }

    /// The file or stream, for small contents.
    pub(crate) fn file(&self) -> &File {
        match self {
            Self::Stream(stream) => stream,
            Self::File(file) => file.file(),
        }
    }

    /// Makes it count. Without this call, a new file vanishes.
    pub(crate) fn commit(self, durability: Durability) -> Result<()> {
        match self {
            Self::Stream(_) => Ok(()),
            Self::File(file) => file.commit(durability),
        }
    }
}

/// A file under a temporary name in its folder, removed when dropped and when the process is told to die.
pub(crate) struct NewFile {
    temp: NamedTempFile,
    dir: Arc<OwnedFd>,
    path: PathBuf,
    overwrite: Overwrite,
    state: State,
}

/// Whether a file has its name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Temporary,
    Named,
}

impl NewFile {
    /// Makes a temporary file in `path`'s folder.
    pub(crate) fn beside(path: PathBuf, overwrite: Overwrite, mode: u32) -> Result<Self> {
        let folder = folder_of(&path);
        let failed = |error| Failure::io(format!("creating a file in {}", escape::path(folder)), error);
        let dir = signals::open_folder(folder).map_err(failed)?;
        let temp = {
            let mut registry = signals::registry();
            let temp = tempfile::Builder::new().prefix(".waxseal-").suffix(".tmp").tempfile_in(folder);
            let temp = temp.map_err(failed)?;
            registry.add_file(&dir, temp.path().file_name().unwrap_or_default());
            temp
        };
        let new = Self { temp, dir, path, overwrite, state: State::Temporary };
        if mode != 0o600 {
            let mode = Permissions::from_mode(mode);
            new.temp
                .as_file()
                .set_permissions(mode)
                .map_err(|error| Failure::io("setting the output's mode", error))?;
        }
        Ok(new)
    }

    /// The file, for small contents.
    pub(crate) fn file(&self) -> &File {
        self.temp.as_file()
    }

    /// Brings what was written past the engine to the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file().sync_all().map_err(|error| Failure::io("syncing the output", error))
    }

    /// Gives the file, whose content is synced already, its name, and syncs the folder.
    pub(crate) fn commit(mut self, durability: Durability) -> Result<()> {
        let folder = folder_of(&self.path).to_owned();
        self.rename()?;
        if durability == Durability::Synced {
            sync_folder(&folder).map_err(|error| {
                let name = escape::path(&folder);
                Failure::io(format!("the output is written, but syncing its folder {name}"), error)
            })?;
        }
        Ok(())
    }

    fn rename(&mut self) -> Result<()> {
        let from = self.temp.path().to_owned();
        let renamed = signals::commit(|| match self.overwrite {
            Overwrite::Replace => fs::rename(&from, &self.path),
            Overwrite::Refuse => rename_to_new(&from, &self.path),
        });
        let mut registry = signals::registry();
        match renamed {
            Ok(()) => {
                self.temp.disable_cleanup(true);
                self.state = State::Named;
                registry.forget_file(&self.dir, from.file_name().unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(&self.path)),
            Err(error) => Err(Failure::io(format!("renaming the output to {}", escape::path(&self.path)), error)),
        }
    }
}

impl Drop for NewFile {
    /// Removed first, then forgotten, both under the lock: a signal between the two would leave it behind.
    fn drop(&mut self) {
        let mut registry = signals::registry();
        if self.state == State::Temporary {
            let _ = fs::remove_file(self.temp.path());
            self.temp.disable_cleanup(true);
        }
        registry.forget_file(&self.dir, self.temp.path().file_name().unwrap_or_default());
    }
}

/// Gives `from` the name `to` unless something has that name: in one step, so that nobody's file is lost.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            // Old kernels, and file systems that cannot.
            Err(Errno::NOSYS | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match fs::hard_link(from, to) {
        Ok(()) => {
            // The file has its name; a second, temporary one that cannot be removed is no failure of the work.
            let _ = fs::remove_file(from);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // A file system that can do neither: look, then rename. Nothing better exists there.
        Err(_) if to.symlink_metadata().is_err() => fs::rename(from, to),
        Err(_) => Err(io::ErrorKind::AlreadyExists.into()),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder) {
        Ok(folder) => match folder.sync_all() {
            // Some file systems have no such thing for folders.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        },
        // A folder one may write to but not read: its names reach the disk by themselves.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Whoever holds the registry, as the thread does that cleans up, finds every temporary file in it.
    #[test]
    fn no_moment_is_without_an_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let current = Mutex::new(None::<(PathBuf, Arc<OwnedFd>)>);
        let done = std::sync::atomic::AtomicBool::new(false);
        /// Also where a round panics, the watcher is not to watch for ever.
        struct Done<'a>(&'a std::sync::atomic::AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let current = current.lock().unwrap().clone();
                    let registry = signals::registry();
                    if let Some((path, dir)) = current {
                        let name = path.file_name().unwrap();
                        assert!(!path.exists() || registry.has_file(&dir, name), "nobody's: {}", path.display());
                    }
                    drop(registry);
                    std::thread::yield_now();
                }
            });
            let _done = Done(&done);
            for round in 0..2_000 {
                let new = NewFile::beside(path.clone(), Overwrite::Replace, 0o600).unwrap();
                *current.lock().unwrap() = Some((new.temp.path().to_owned(), Arc::clone(&new.dir)));
                if round % 2 == 0 {
                    drop(new);
                } else {
                    new.commit(Durability::Unsynced).unwrap();
                }
            }
        });
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["out"]);
    }
}
