//! The files below a folder, for `-r`. Symbolic links are not followed.
//!
//! A folder is listed when the walk comes to it, and each file is found through its open folder. The files of a folder
//! come first, then its folders, both in the order of the bytes of their names. The walk keeps only the names in the
//! folders on its way, not those of the whole tree.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, RawMode};
use rustix::io::Errno;

use super::failure::Failure;
use super::folder::{self, Entry, Folder, Part};
use super::outputs::{Above, Outputs};
use super::store::ObjectName;

/// So many folders on the way stay open. The others are opened again on the way back.
const OPEN: usize = 8;

/// What the walk comes to.
#[derive(Debug)]
pub(crate) enum Seen {
    /// A file, and where its output goes, if that is not beside it.
    File(Entry, Option<Above>),
    /// An object, and where its output goes, if that is not beside it.
    Object(ObjectName, Option<Above>),
    /// What is left out.
    Skipped(PathBuf, Why),
    /// What could not be read.
    Failed(PathBuf, Failure),
}

impl std::fmt::Debug for Above {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Above")
    }
}

/// Why something is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// Its output exists, and `--skip-existing` was given.
    Exists,
    /// It is sealed already.
    Sealed,
    /// Its name is not that of a sealed file.
    NotSealed,
    /// It is a symbolic link.
    Symlink,
    /// It is a FIFO, a socket or a device.
    Special,
    /// It was removed, or something else took its place.
    Gone,
    /// It is the folder of the outputs, or an object below their prefix.
    OutputFolder,
    /// It is an empty object that stands for a folder.
    FolderMarker,
    /// It is a file that this program is making, or that a killed run left.
    Temporary,
    /// It is another name of a file that was changed already.
    SameFile,
}

impl Why {
    /// The word for programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::Sealed => "sealed",
            Self::NotSealed => "not-sealed",
            Self::Symlink => "symlink",
            Self::Special => "special",
            Self::Gone => "gone",
            Self::OutputFolder => "output-folder",
            Self::FolderMarker => "folder-marker",
            Self::Temporary => "temporary",
            Self::SameFile => "same-file",
        }
    }

    /// The sentence for people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Exists => "its output exists",
            Self::Sealed => "it is sealed already",
            Self::NotSealed => "its name does not end in .wax",
            Self::Symlink => "it is a symbolic link",
            Self::Special => "it is neither a file nor a folder",
            Self::Gone => "it was removed or replaced in the meantime",
            Self::OutputFolder => "it is where the outputs go",
            Self::FolderMarker => "it is an empty object that represents a folder",
            Self::Temporary => "it is an unfinished file of waxseal",
            Self::SameFile => "it is another name of a file that is done",
        }
    }

    /// Whether a person who did not ask must know: the content is not where one would look for it later.
    pub(crate) fn is_told(self) -> bool {
        matches!(self, Self::Symlink | Self::Special | Self::Gone)
    }
}

/// A walk through a folder and everything below it.
pub(crate) struct Walk {
    outputs: Option<Outputs>,
    way: Vec<Level>,
}

/// A folder on the way.
struct Level {
    path: PathBuf,
    identity: (u64, u64),
    /// `None` while too many others are open.
    folder: Option<Arc<OwnedFd>>,
    names: Names,
    next: usize,
    /// Its place below the top of the output tree.
    parts: Vec<Part>,
    /// Shared by its files.
    shared: Option<(Arc<Folder>, Option<Above>)>,
}

/// What a name in a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    File,
    Symlink,
    Special,
    // They come last.
    Folder,
}

/// The sorted names of one folder, in little memory: there can be a million of them.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    places: Vec<(u32, u16, Kind)>,
}

impl Names {
    /// Reads them all. After an error, they are those that were read before.
    fn read(&mut self, folder: &OwnedFd) -> io::Result<()> {
        let mut entries = Dir::read_from(folder)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if [&b"."[..], b".."].contains(&name) {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems tell it only when asked.
                FileType::Unknown => match rustix::fs::statat(folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(error.into()),
                },
                told => told,
            };
            self.add(name, kind)?;
        }
        Ok(())
    }

    fn add(&mut self, name: &[u8], kind: FileType) -> io::Result<()> {
        let too_many = |_| io::Error::other("the names in the folder are too many or too long");
        let start = u32::try_from(self.bytes.len()).map_err(too_many)?;
        let len = u16::try_from(name.len()).map_err(too_many)?;
        let kind = match kind {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Special,
        };
        self.bytes.extend_from_slice(name);
        self.places.push((start, len, kind));
        Ok(())
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.places.sort_unstable_by_key(|place| (place.2 == Kind::Folder, name_at(bytes, *place)));
    }

    fn get(&self, number: usize) -> Option<(&OsStr, Kind)> {
        let place = *self.places.get(number)?;
        Some((OsStr::from_bytes(name_at(&self.bytes, place)), place.2))
    }
}

fn name_at(bytes: &[u8], (start, len, _): (u32, u16, Kind)) -> &[u8] {
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    bytes.get(start..).and_then(|rest| rest.get(..usize::from(len))).unwrap_or_default()
}

impl Walk {
    /// From the open `folder`. Its files go to the place `parts` below the top of the output tree.
    pub(crate) fn new(
        path: &Path,
        folder: OwnedFd,
        parts: Vec<Part>,
        outputs: Option<Outputs>,
    ) -> (Self, Option<Failure>) {
        let mut walk = Self { outputs, way: Vec::new() };
        let failed = walk.push(path.to_owned(), folder, parts);
        (walk, failed)
    }

    /// Lists a folder. If that fails, the walk goes on with the names that were read before.
    fn push(&mut self, path: PathBuf, folder: OwnedFd, parts: Vec<Part>) -> Option<Failure> {
        let failed = |error| Failure::io("reading the folder", error);
        let identity = match folder::identity(&folder) {
            Ok(identity) => identity,
            Err(error) => return Some(failed(error)),
        };
        let mut names = Names::default();
        let read = names.read(&folder);
        names.sort();
        // What the folder's files had in common goes with the last of them.
        if let Some(level) = self.way.last_mut() {
            level.shared = None;
        }
        self.way.push(Level { path, identity, folder: Some(Arc::new(folder)), names, next: 0, parts, shared: None });
        if let Some(far) = self.way.len().checked_sub(OPEN + 1) {
            self.way[far].folder = None;
        }
        read.err().map(failed)
    }

    /// Goes back to the folder above, and opens it again if it was closed.
    fn pop(&mut self) -> Option<Seen> {
        let below = self.way.pop()?;
        let level = self.way.last_mut()?;
        if level.folder.is_some() {
            return None;
        }
        let above = below.folder.ok_or(io::ErrorKind::NotFound.into()).and_then(|below| above(&below, level.identity));
        match above {
            Ok(folder) => level.folder = Some(Arc::new(folder)),
            Err(error) => {
                level.next = usize::MAX;
                return Some(Seen::Failed(level.path.clone(), Failure::io("going back to the folder", error)));
            }
        }
        None
    }

    fn enter(&mut self, name: &OsStr) -> Option<Seen> {
        let level = self.way.last()?;
        let path = level.path.join(name);
        let folder = level.folder.as_ref().ok_or(io::ErrorKind::NotFound.into());
        let folder = match folder.and_then(|folder| folder::enter(folder, name)) {
            Ok(folder) => folder,
            Err(error) => {
                let is_gone = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP].contains(&errno(&error));
                return Some(match is_gone {
                    true => Seen::Skipped(path, Why::Gone),
                    false => Seen::Failed(path, Failure::io("opening the folder", error)),
                });
            }
        };
        if self.outputs.as_ref().is_some_and(|outputs| outputs.is(&folder)) {
            return Some(Seen::Skipped(path, Why::OutputFolder));
        }
        let mut parts = Vec::new();
        if let Some(outputs) = &self.outputs {
            parts.clone_from(&level.parts);
            parts.push(part_of(outputs, name, &folder));
        }
        let shown = path.clone();
        self.push(path, folder, parts).map(|failure| Seen::Failed(shown, failure))
    }

    fn file(&mut self, name: &OsStr) -> Option<Seen> {
        let outputs = &self.outputs;
        let level = self.way.last_mut()?;
        if is_temporary(name) {
            return Some(Seen::Skipped(level.path.join(name), Why::Temporary));
        }
        let folder = level.folder.clone()?;
        let (path, parts) = (&level.path, &level.parts);
        let (folder, output) = level.shared.get_or_insert_with(|| {
            let output = outputs.as_ref().map(|outputs| outputs.above(parts));
            (Arc::new(Folder::open(path.clone(), folder, level.identity)), output)
        });
        Some(Seen::File(Entry::new(folder, name), output.clone()))
    }
}

impl Iterator for Walk {
    type Item = Seen;

    fn next(&mut self) -> Option<Seen> {
        loop {
            let level = self.way.last_mut()?;
            let found = level.names.get(level.next).map(|(name, kind)| (name.to_owned(), kind));
            level.next = level.next.saturating_add(1);
            let seen = match found {
                None => self.pop(),
                Some((name, Kind::File)) => self.file(&name),
                Some((name, Kind::Folder)) => self.enter(&name),
                Some((name, Kind::Symlink)) => Some(Seen::Skipped(level.path.join(name), Why::Symlink)),
                Some((name, Kind::Special)) => Some(Seen::Skipped(level.path.join(name), Why::Special)),
            };
            if seen.is_some() {
                return seen;
            }
        }
    }
}

/// The folder's place in the output tree.
pub(crate) fn part_of(outputs: &Outputs, name: &OsStr, folder: &OwnedFd) -> Part {
    match folder::metadata(folder).ok().filter(|_| outputs.keeps_modes) {
        Some(metadata) => {
            let bits = RawMode::try_from(metadata.mode() & 0o777).unwrap_or_default();
            Part { name: name.to_owned(), mode: Mode::from_raw_mode(bits) | Mode::RWXU }
        }
        None => Part::private(name),
    }
}

/// The folder above an open one, which must be the one that the walk came through.
fn above(folder: &OwnedFd, identity: (u64, u64)) -> io::Result<OwnedFd> {
    let above = folder::enter(folder, OsStr::new(".."))?;
    if folder::identity(&above)? == identity {
        return Ok(above);
    }
    Err(io::Error::other("a folder in it was moved elsewhere in the meantime"))
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// The name of a file that is being made, on file systems that have no files without a name.
fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b".waxseal-") && name.ends_with(b".tmp")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn walk(path: &Path) -> Walk {
        let (walk, failed) = Walk::new(path, folder::open_folder(path).unwrap(), Vec::new(), None);
        assert!(failed.is_none());
        walk
    }

    fn told(seen: Seen, top: &Path) -> String {
        let below = |path: &Path| path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
        match seen {
            Seen::File(entry, _) => below(entry.path()),
            Seen::Object(..) => unreachable!("a folder has no objects"),
            Seen::Skipped(path, why) => format!("{} {}", below(&path), why.word()),
            Seen::Failed(path, failure) => format!("{} {}", below(&path), failure.message),
        }
    }

    #[test]
    fn files_come_before_folders_in_the_order_of_their_names() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        fs::create_dir_all(at("a/deep/er")).unwrap();
        fs::create_dir(at("empty")).unwrap();
        for name in ["z", "B", ".hidden", "a/2", "a/1", "a/deep/er/x", ".waxseal-0123.tmp"] {
            fs::write(at(name), name).unwrap();
        }
        symlink("a", at("link")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
        let seen: Vec<_> = walk(top.path()).map(|seen| told(seen, top.path())).collect();
        let expected = [".hidden", ".waxseal-0123.tmp temporary", "B", "link symlink", "socket special", "z", "a/1"];
        assert_eq!(seen, [&expected[..], &["a/2", "a/deep/er/x"]].concat());
    }

    /// Only some of the folders on the way are open at a time.
    #[test]
    fn depth_takes_no_descriptors() {
        let top = tempfile::tempdir().unwrap();
        let mut folder = folder::open_folder(top.path()).unwrap();
        for _ in 0..300 {
            let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
            rustix::fs::mkdirat(&folder, "d", Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&folder, "e", Mode::RWXU).unwrap();
            let after = folder::enter(&folder, OsStr::new("e")).unwrap();
            drop(rustix::fs::openat(&after, "file", flags, Mode::RWXU).unwrap());
            folder = folder::enter(&folder, OsStr::new("d")).unwrap();
        }
        let (mut walk, mut files) = (walk(top.path()), 0);
        while let Some(seen) = walk.next() {
            files += usize::from(matches!(seen, Seen::File(..)));
            assert!(walk.way.iter().filter(|level| level.folder.is_some()).count() <= OPEN);
        }
        assert_eq!(files, 300);
    }

    /// A link that takes the place of a folder after it was listed leads nowhere.
    #[test]
    fn what_takes_the_place_of_a_folder_is_not_entered() {
        let (top, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| top.path().join(name);
        fs::write(other.path().join("secret"), "x").unwrap();
        for folder in ["a", "b", "c"] {
            fs::create_dir(at(folder)).unwrap();
            fs::write(at(folder).join("file"), folder).unwrap();
        }
        let mut walk = walk(top.path());
        assert_eq!(told(walk.next().unwrap(), top.path()), "a/file");
        fs::rename(at("b"), at("moved")).unwrap();
        symlink(other.path(), at("b")).unwrap();
        fs::remove_dir_all(at("c")).unwrap();
        let rest: Vec<_> = walk.map(|seen| told(seen, top.path())).collect();
        assert_eq!(rest, ["b gone", "c gone"]);
    }

    /// A file is opened in the folder where it was found, whatever has that folder's name by then.
    #[test]
    fn a_file_is_opened_where_it_was_found() {
        let (top, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| top.path().join(name);
        fs::create_dir(at("a")).unwrap();
        for (folder, text) in [(at("a"), "own"), (other.path().to_owned(), "foreign")] {
            fs::write(folder.join("file"), text).unwrap();
            fs::write(folder.join("link"), text).unwrap();
        }
        let entries: Vec<Entry> = walk(top.path())
            .filter_map(|seen| if let Seen::File(entry, _) = seen { Some(entry) } else { None })
            .collect();
        fs::remove_file(at("a/link")).unwrap();
        symlink(other.path().join("link"), at("a/link")).unwrap();
        fs::rename(at("a"), at("moved")).unwrap();
        symlink(other.path(), at("a")).unwrap();
        assert_eq!(io::read_to_string(entries[0].open().unwrap()).unwrap(), "own");
        assert!(entries[1].open().is_err() && entries[1].is_gone() && !entries[0].is_gone());
        let there = entries[0].destination().unwrap();
        assert!(there.found().is_some_and(|found| found.ino() == fs::metadata(at("moved/file")).unwrap().ino()));
    }

    /// If the way back leads elsewhere, the rest of the folder is a failure, and nothing else is entered.
    #[test]
    fn a_folder_that_is_moved_away_does_not_lead_elsewhere() {
        let (top, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let deep: PathBuf = std::iter::repeat_n("d", OPEN + 2).collect();
        fs::create_dir_all(top.path().join(&deep)).unwrap();
        fs::write(top.path().join(&deep).join("file"), "x").unwrap();
        fs::create_dir(top.path().join("e")).unwrap();
        fs::write(top.path().join("e/file"), "x").unwrap();
        fs::write(other.path().join("foreign"), "x").unwrap();
        let mut walk = walk(top.path());
        assert!(matches!(walk.next(), Some(Seen::File(..))));
        fs::rename(top.path().join("d"), other.path().join("d")).unwrap();
        let rest: Vec<_> = walk.map(|seen| told(seen, top.path())).collect();
        assert_eq!(rest.len(), 1, "{rest:?}");
        assert!(rest[0].contains("was moved elsewhere"), "{rest:?}");
    }
}
