//! A file that is either complete or absent.

use std::fmt;
use std::fs::{File, Permissions};
use std::io::{self, Seek};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::sync::Arc;
use std::time::SystemTime;

use super::Durability;
use super::destination::Destination;
use super::naming::{Attempt, Naming, Overwrite, Temporaries, Untold};
use super::system;
use crate::error::{Error, Result};

/// A file that is being written. It gets its name when it is committed. If it is dropped before that, no file remains.
///
/// On Linux, if the file system supports files without a name (`O_TMPFILE`), the file has no name before the commit.
/// Whatever ends the process, no file remains. If the file replaces an existing one, it has a temporary name for the
/// moment between two system calls. On other file systems it has a temporary name, `.waxseal-RANDOM.tmp` in the same
/// folder, while it is written.
#[derive(Debug)]
pub struct AtomicFile {
    // This field is dropped first, so that the name is removed while the file is still open.
    naming: Naming,
    file: File,
    mode: u32,
    modified: Option<SystemTime>,
    missed: Vec<Missed>,
}

/// A guarantee that the file system could not give. The file exists and is complete.
#[derive(Debug)]
#[non_exhaustive]
pub enum Missed {
    /// More users may read or write the file than requested.
    Mode {
        /// The requested permissions.
        asked: u32,
        /// The permissions that the file has.
        has: u32,
    },
    /// The content may not survive a power cut.
    Sync(io::Error),
    /// The name may not survive a power cut.
    FolderSync(io::Error),
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode { asked, has } => {
                write!(
                    f,
                    "the output has the permissions {has:03o}, wider than {asked:03o}: the file system sets its own"
                )
            }
            Self::Sync(error) => {
                write!(f, "the file system does not sync the output: a power cut may lose it ({error})")
            }
            Self::FolderSync(error) => {
                write!(
                    f,
                    "the file system does not sync the output's folder: a power cut may lose the output ({error})"
                )
            }
        }
    }
}

impl AtomicFile {
    /// Creates an empty file for `destination`. Only its owner may read and write it (0600) until the commit. After the
    /// commit, it has the permissions `mode`.
    ///
    /// # Errors
    /// [`Error::Io`] if no file can be created in the folder.
    pub fn create(destination: Destination, overwrite: Overwrite, mode: u32) -> Result<Self> {
        Self::create_known(destination, overwrite, mode, Arc::new(Untold))
    }

    /// Like [`AtomicFile::create`]. Also reports each temporary file to `temporaries` until the file is gone, and makes
    /// the commit inside [`Temporaries::commit`].
    ///
    /// # Errors
    /// As [`AtomicFile::create`].
    pub fn create_known(
        destination: Destination,
        overwrite: Overwrite,
        mode: u32,
        temporaries: Arc<dyn Temporaries>,
    ) -> Result<Self> {
        Self::made_by(Naming::make, Naming::new(destination, overwrite, temporaries), mode)
    }

    /// Like [`AtomicFile::create_known`], but for [`AtomicFile::name_as_it_is`].
    ///
    /// # Errors
    /// As [`AtomicFile::create`].
    pub(crate) fn create_nameable(
        destination: Destination,
        overwrite: Overwrite,
        mode: u32,
        temporaries: Arc<dyn Temporaries>,
    ) -> Result<Self> {
        Self::made_by(Naming::make_nameable, Naming::new(destination, overwrite, temporaries), mode)
    }

    fn made_by(make: fn(&mut Naming) -> io::Result<File>, mut naming: Naming, mode: u32) -> Result<Self> {
        let file = make(&mut naming).map_err(|error| {
            Error::io(format!("creating a file in {}", naming.destination.folder_path().display()), error)
        })?;
        Ok(Self { naming, file, mode, modified: None, missed: Vec::new() })
    }

    /// The open file, for writing.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file's permissions after the commit.
    pub(crate) fn set_mode_to_be(&mut self, mode: u32) {
        self.mode = mode;
    }

    /// Sets the modification time that the file has after the commit, such as that of the file it was made from. If the
    /// file system refuses it, the file has the time of the commit.
    pub fn set_modified(&mut self, modified: SystemTime) {
        self.modified = Some(modified);
    }

    /// Where it is to be.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.naming.destination
    }

    /// Some file systems report success but set other permissions, so the permissions are read back.
    fn set_mode(&mut self) {
        let has = |file: &File| file.metadata().map(|metadata| metadata.mode() & 0o777);
        if has(&self.file).is_ok_and(|has| has == self.mode) {
            return;
        }
        let _ = self.file.set_permissions(Permissions::from_mode(self.mode));
        if let Some(has) = has(&self.file).ok().filter(|has| has & !self.mode != 0) {
            self.missed.push(Missed::Mode { asked: self.mode, has });
        }
    }

    /// Commits the file: syncs it, gives it its name in one step, and syncs the folder. Returns the guarantees that the
    /// file system could not give.
    ///
    /// # Errors
    /// [`Error::Io`] if a step fails. The kind is [`io::ErrorKind::AlreadyExists`] if the name exists and may not be
    /// replaced. After an error there is no output, unless the message says that the output is written.
    pub fn commit(mut self, durability: Durability) -> Result<Vec<Missed>> {
        self.settle(durability)?;
        self.name(durability)?;
        let Self { naming, file, mut missed, .. } = self;
        if durability != Durability::Unsynced {
            let synced = system::sync_folder(&naming.destination.folder, &file);
            let synced = synced.map_err(|error| {
                let folder = naming.destination.folder_path().display();
                Error::io(format!("the output is written, but syncing its folder {folder}"), error)
            })?;
            missed.extend(synced.map(Missed::FolderSync));
        }
        system::close(file).map_err(|error| Error::io("the output is written, but closing it", error))?;
        Ok(missed)
    }

    /// The file system must report all errors about the content before the commit.
    fn settle(&mut self, durability: Durability) -> Result<()> {
        self.missed.clear();
        self.set_mode();
        if let Some(modified) = self.modified {
            // No promise rests on it.
            let _ = self.file.set_modified(modified);
        }
        if durability != Durability::Unsynced {
            let synced = system::sync_file(&self.file).map_err(|error| Error::io("syncing the output", error))?;
            self.missed.extend(synced.map(Missed::Sync));
        }
        system::close_a_copy(&self.file).map_err(|error| Error::io("closing the output", error))
    }

    fn name(&mut self, durability: Durability) -> Result<()> {
        let path = self.naming.destination.path().to_owned();
        let failed = |error| Error::io(format!("renaming the output to {}", path.display()), error);
        if self.naming.give_name(&self.file).map_err(failed)? == Attempt::Named {
            return Ok(());
        }
        self.move_to_temporary().map_err(|error| Error::io("copying the output to a file with a name", error))?;
        self.settle(durability)?;
        self.naming.rename().map_err(failed)
    }

    /// Copies a file that has no name and cannot get one into a file that has a name.
    fn move_to_temporary(&mut self) -> io::Result<()> {
        let named = self.naming.make_temporary()?;
        let (old, new) = (self.file.metadata()?, named.metadata()?);
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(&named, Some(old.uid()), Some(old.gid()))?;
        }
        self.file.rewind()?;
        io::copy(&mut &self.file, &mut &named)?;
        self.file = named;
        Ok(())
    }

    /// Gives the file its name and copies nothing. It is for a caller that has synced the file, holds a lock on it, and
    /// continues to use it.
    ///
    /// # Errors
    /// Any error of the system.
    pub(crate) fn name_as_it_is(&mut self) -> io::Result<()> {
        system::close_a_copy(&self.file)?;
        match self.naming.give_name(&self.file)? {
            Attempt::Named => Ok(()),
            Attempt::Impossible => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the file system cannot name a file that was created without a name",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::ffi::{OsStr, OsString};
    use std::fs;
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::sync::Mutex;

    fn at(path: &Path) -> Destination {
        Destination::at(path).unwrap()
    }

    /// Acts like a file system that does not support files without a name.
    fn named(path: &Path, overwrite: Overwrite) -> AtomicFile {
        let naming = Naming::new(at(path), overwrite, Arc::new(Untold));
        AtomicFile::made_by(Naming::make_temporary, naming, 0o640).unwrap()
    }

    fn names(folder: &Path) -> BTreeSet<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn the_name_comes_with_the_commit_on_every_file_system() {
        for overwrite in [Overwrite::Refuse, Overwrite::Replace] {
            let ways: [fn(&Path, Overwrite) -> AtomicFile; 2] =
                [named, |path, overwrite| AtomicFile::create(at(path), overwrite, 0o640).unwrap()];
            for create in ways {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("out");
                create(&path, overwrite).file().write_all(b"lost").unwrap();
                assert_eq!(names(folder.path()).len(), 0);
                let made = create(&path, overwrite);
                made.file().write_all(b"new").unwrap();
                assert!(!path.exists());
                assert_eq!(made.file().metadata().unwrap().mode() & 0o777, 0o600);
                assert!(made.commit(Durability::Synced).unwrap().is_empty());
                assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
                let again = create(&path, overwrite);
                again.file().write_all(b"newer").unwrap();
                match (overwrite, again.commit(Durability::Unsynced)) {
                    (Overwrite::Replace, Ok(_)) => assert_eq!(fs::read(&path).unwrap(), b"newer"),
                    (Overwrite::Refuse, Err(Error::Io { source, .. })) => {
                        assert_eq!(source.kind(), io::ErrorKind::AlreadyExists);
                        assert_eq!(fs::read(&path).unwrap(), b"new");
                    }
                    other => panic!("{other:?}"),
                }
                assert_eq!(names(folder.path()).len(), 1);
            }
        }
    }

    /// A file with a temporary name, too, stays in the folder where it was created.
    #[test]
    fn a_folder_that_is_renamed_keeps_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let (old, new) = (parent.path().join("old"), parent.path().join("new"));
        fs::create_dir(&old).unwrap();
        let [lost, made] = ["lost", "made"].map(|name| named(&old.join(name), Overwrite::Refuse));
        assert_eq!(names(&old).len(), 2);
        fs::rename(&old, &new).unwrap();
        fs::create_dir(&old).unwrap();
        drop(lost);
        made.commit(Durability::Synced).unwrap();
        assert_eq!((names(&old).len(), names(&new)), (0, BTreeSet::from(["made".to_owned()])));
    }

    #[test]
    fn what_can_get_no_name_is_copied() {
        for overwrite in [Overwrite::Refuse, Overwrite::Replace] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("out");
            let mut made = AtomicFile::create(at(&path), overwrite, 0o640).unwrap();
            made.file().write_all(&[7; 100_000]).unwrap();
            made.move_to_temporary().unwrap();
            made.commit(Durability::Synced).unwrap();
            assert!(fs::read(&path).unwrap() == [7; 100_000]);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
            assert_eq!(names(folder.path()).len(), 1);
        }
    }

    /// Runs `key new` twice at the same time, on file systems of every kind. One run succeeds, and its output is
    /// complete.
    #[test]
    fn of_several_at_once_one_gets_the_name() {
        type Rename = fn(&OwnedFd, &OsStr, &OsStr) -> io::Result<()>;
        let ways: [Rename; 2] = [system::rename_to_new, system::rename_to_claimed];
        for (round, way) in (0..60).flat_map(|round| ways.map(|way| (round, way))) {
            let folder = tempfile::tempdir().unwrap();
            let destination = at(&folder.path().join("out"));
            let start = std::sync::Barrier::new(8);
            let won: Vec<usize> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|number| {
                        let (destination, folder, start) = (&destination, &folder, &start);
                        scope.spawn(move || {
                            let from = OsString::from(format!("from{number}"));
                            fs::write(folder.path().join(&from), number.to_string()).unwrap();
                            start.wait();
                            way(&destination.folder, &from, &destination.name)
                        })
                    })
                    .collect();
                let done = threads.into_iter().map(|thread| thread.join().unwrap()).enumerate();
                done.filter_map(|(number, done)| match done {
                    Ok(()) => Some(number),
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
                        None
                    }
                })
                .collect()
            });
            assert_eq!(won.len(), 1, "round {round}");
            assert_eq!(fs::read_to_string(folder.path().join("out")).unwrap(), won[0].to_string());
            assert_eq!(names(folder.path()).len(), 8);
        }
    }

    /// Records which files exist, under a lock.
    #[derive(Debug, Default)]
    struct Known(Mutex<BTreeSet<OsString>>);

    impl Temporaries for Known {
        fn make(&self, _: &Arc<OwnedFd>, name: &OsStr, make: &mut dyn FnMut() -> io::Result<File>) -> io::Result<File> {
            let mut known = self.0.lock().unwrap();
            let made = make()?;
            known.insert(name.to_owned());
            Ok(made)
        }

        fn gone(&self, _: &Arc<OwnedFd>, name: &OsStr) {
            assert!(self.0.lock().unwrap().remove(name));
        }

        fn commit(&self, _: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
            Err(io::Error::other("told to die"))
        }
    }

    /// Every temporary file is reported, and the commit goes through the hook. If the hook refuses, nothing is
    /// committed.
    #[test]
    fn who_keeps_account_decides() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        for (old, overwrite) in [(false, Overwrite::Refuse), (false, Overwrite::Replace), (true, Overwrite::Replace)] {
            if old {
                fs::write(&path, "old").unwrap();
            }
            for make in [Naming::make, Naming::make_temporary] {
                let known = Arc::new(Known::default());
                let naming = Naming::new(at(&path), overwrite, known.clone());
                let made = AtomicFile::made_by(make, naming, 0o600).unwrap();
                let there: BTreeSet<OsString> =
                    names(folder.path()).into_iter().filter(|name| name != "out").map(OsString::from).collect();
                assert_eq!(*known.0.lock().unwrap(), there);
                assert!(made.commit(Durability::Synced).is_err());
                assert!(known.0.lock().unwrap().is_empty());
                assert_eq!(names(folder.path()).len(), usize::from(old));
            }
        }
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
}
