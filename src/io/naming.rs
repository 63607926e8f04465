//! How a new file gets its name.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::destination::Destination;
use super::system;

/// Whether a file that exists may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// No: its existence is an error.
    Refuse,
    /// Yes.
    Replace,
}

/// Receives reports of temporary files, so that a program can remove them when a signal ends it.
pub trait Temporaries: fmt::Debug + Send + Sync {
    /// Calls `make`, which creates the file `name` in `folder`. The implementor must know of the file from the moment
    /// it exists.
    ///
    /// # Errors
    /// Those of `make`.
    fn make(&self, folder: &Arc<OwnedFd>, name: &OsStr, make: &mut dyn FnMut() -> io::Result<File>)
    -> io::Result<File>;

    /// The file `name` in `folder` has been removed or renamed.
    fn gone(&self, folder: &Arc<OwnedFd>, name: &OsStr);

    /// Calls `step`, the one step that commits an output. If a signal has asked the program to end before that, the
    /// program may end here instead.
    ///
    /// # Errors
    /// Those of `step`.
    fn commit(&self, step: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        step()
    }
}

/// For callers that do not track temporary files. If the process is killed, its temporary files remain.
#[derive(Debug)]
pub(crate) struct Untold;

impl Temporaries for Untold {
    fn make(&self, _: &Arc<OwnedFd>, _: &OsStr, make: &mut dyn FnMut() -> io::Result<File>) -> io::Result<File> {
        make()
    }

    fn gone(&self, _: &Arc<OwnedFd>, _: &OsStr) {}
}

/// The name that a new file has at the moment.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// None. The file is deleted when its last descriptor is closed.
    Nameless,
    /// A temporary name.
    Temporary(OsString),
    /// Its final name.
    Named,
}

/// Gives one file its name. If this is dropped before that, the file is removed.
#[derive(Debug)]
pub(super) struct Naming {
    pub(super) destination: Destination,
    pub(super) overwrite: Overwrite,
    temporaries: Arc<dyn Temporaries>,
    stage: Stage,
}

/// The result of naming a file that has no name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The file has its name.
    Named,
    /// The system cannot name such files. The content must be copied into a file with a temporary name.
    Impossible,
}

impl Naming {
    pub(super) fn new(destination: Destination, overwrite: Overwrite, temporaries: Arc<dyn Temporaries>) -> Self {
        Self { destination, overwrite, temporaries, stage: Stage::Nameless }
    }

    /// Creates the file in its folder, without a name if the system supports that.
    pub(super) fn make(&mut self) -> io::Result<File> {
        // Whatever the reason, the other way may work. If it fails too, its error says more.
        system::make_nameless(&self.destination.folder).or_else(|_| self.make_temporary())
    }

    /// Like [`make`](Self::make), for a file that cannot be copied into another one. The file has no name only if a
    /// test shows that such files can be named here.
    pub(super) fn make_nameable(&mut self) -> io::Result<File> {
        if self.names_are_given() { self.make() } else { self.make_temporary() }
    }

    /// A file that was linked and unlinked once cannot be linked again. So this tests with another file.
    fn names_are_given(&self) -> bool {
        let mut trial = Self::new(self.destination.clone(), self.overwrite, Arc::clone(&self.temporaries));
        system::make_nameless(&self.destination.folder).is_ok_and(|file| trial.link_temporary(&file).is_ok())
    }

    /// Creates the file under a temporary name.
    pub(super) fn make_temporary(&mut self) -> io::Result<File> {
        let name = temporary_name()?;
        let folder = &self.destination.folder;
        let file = self.temporaries.make(folder, &name, &mut || system::make_new(folder, &name))?;
        self.stage = Stage::Temporary(name);
        Ok(file)
    }

    /// Gives `file` its name.
    pub(super) fn give_name(&mut self, file: &File) -> io::Result<Attempt> {
        if self.stage != Stage::Nameless {
            return self.rename().map(|()| Attempt::Named);
        }
        let (folder, name) = (&self.destination.folder, &self.destination.name);
        if self.overwrite == Overwrite::Refuse || self.destination.found().is_none() {
            match self.temporaries.commit(&mut || system::link_nameless(file, folder, name)) {
                Ok(()) => {
                    self.stage = Stage::Named;
                    return Ok(Attempt::Named);
                }
                Err(error) if is_there(&error) && self.overwrite == Overwrite::Replace => {}
                Err(error) if system::is_final(&error) => return Err(error),
                Err(_) => return Ok(Attempt::Impossible),
            }
        }
        match self.link_temporary(file) {
            Ok(()) => self.rename().map(|()| Attempt::Named),
            Err(error) if system::is_final(&error) => Err(error),
            Err(_) => Ok(Attempt::Impossible),
        }
    }

    /// No system call lets a file without a name replace a named file. So it gets a temporary name for a moment.
    fn link_temporary(&mut self, file: &File) -> io::Result<()> {
        let name = temporary_name()?;
        let folder = &self.destination.folder;
        let mut make = || {
            let copy = file.try_clone()?;
            system::link_nameless(file, folder, &name)?;
            Ok(copy)
        };
        self.temporaries.make(folder, &name, &mut make)?;
        self.stage = Stage::Temporary(name);
        Ok(())
    }

    /// Renames the file from the temporary name to its final name.
    pub(super) fn rename(&mut self) -> io::Result<()> {
        let Stage::Temporary(from) = &self.stage else {
            return Err(io::Error::other("a file that has no temporary name is not renamed"));
        };
        let (folder, to) = (&self.destination.folder, &self.destination.name);
        self.temporaries.commit(&mut || match self.overwrite {
            Overwrite::Replace => system::rename(folder, from, to),
            Overwrite::Refuse => system::rename_to_new(folder, from, to),
        })?;
        self.temporaries.gone(folder, from);
        self.stage = Stage::Named;
        Ok(())
    }
}

impl Drop for Naming {
    /// The file is removed first and then forgotten. A signal between the two finds nothing to remove, which is
    /// harmless.
    fn drop(&mut self) {
        if let Stage::Temporary(name) = &self.stage {
            // The error cannot be reported here. The file's name shows that it is temporary.
            let _ = system::unlink(&self.destination.folder, name);
            self.temporaries.gone(&self.destination.folder, name);
        }
    }
}

fn is_there(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AlreadyExists
}

/// `.waxseal-RANDOM.tmp`: the name is hidden, and patterns for results do not match its ending.
fn temporary_name() -> io::Result<OsString> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!(".waxseal-{:016x}.tmp", u64::from_le_bytes(random)).into())
}
