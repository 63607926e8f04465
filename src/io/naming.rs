//! How a file that is being made gets its name.

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

/// Is told of the temporary files that are made, for a program that removes them when it is told to die.
pub trait Temporaries: fmt::Debug + Send + Sync {
    /// Calls `make`, which makes the file `name` in `folder`. From the moment on at which it is there, it is to be
    /// known.
    ///
    /// # Errors
    /// Those of `make`.
    fn make(&self, folder: &Arc<OwnedFd>, name: &OsStr, make: &mut dyn FnMut() -> io::Result<File>)
    -> io::Result<File>;

    /// The file `name` in `folder` has been removed, or has another name now.
    fn gone(&self, folder: &Arc<OwnedFd>, name: &OsStr);

    /// Calls `step`, the one step that makes an output count. A program that was told to die before may end here
    /// instead.
    ///
    /// # Errors
    /// Those of `step`.
    fn commit(&self, step: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        step()
    }
}

/// For callers who do not ask: what a killed process leaves is left.
#[derive(Debug)]
pub(crate) struct Untold;

impl Temporaries for Untold {
    fn make(&self, _: &Arc<OwnedFd>, _: &OsStr, make: &mut dyn FnMut() -> io::Result<File>) -> io::Result<File> {
        make()
    }

    fn gone(&self, _: &Arc<OwnedFd>, _: &OsStr) {}
}

/// What name a file has by now.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// None: it vanishes with its last descriptor.
    Nameless,
    /// A temporary one.
    Temporary(OsString),
    /// Its own.
    Named,
}

/// The way of one file to its name. When dropped before, the file is removed.
#[derive(Debug)]
pub(super) struct Naming {
    pub(super) destination: Destination,
    pub(super) overwrite: Overwrite,
    temporaries: Arc<dyn Temporaries>,
    stage: Stage,
}

/// What became of an attempt to name a file that has no name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It has its name.
    Named,
    /// The system gives names to no such files: the content is to go into a file that has a temporary one.
    Impossible,
}

impl Naming {
    pub(super) fn new(destination: Destination, overwrite: Overwrite, temporaries: Arc<dyn Temporaries>) -> Self {
        Self { destination, overwrite, temporaries, stage: Stage::Nameless }
    }

    /// Makes the file in its folder, without a name where that can be.
    pub(super) fn make(&mut self) -> io::Result<File> {
        // Whatever the reason, the other way may work, and if not it tells more.
        system::make_nameless(&self.destination.folder).or_else(|_| self.make_temporary())
    }

    /// As [`make`](Self::make), for a file that cannot be copied into another: without a name only where such files are
    /// seen to get one.
    pub(super) fn make_nameable(&mut self) -> io::Result<File> {
        if self.names_are_given() { self.make() } else { self.make_temporary() }
    }

    /// What was linked once and unlinked gets no second name, so this tries it with another file.
    fn names_are_given(&self) -> bool {
        let mut trial = Self::new(self.destination.clone(), self.overwrite, Arc::clone(&self.temporaries));
        system::make_nameless(&self.destination.folder).is_ok_and(|file| trial.link_temporary(&file).is_ok())
    }

    /// Makes the file under a temporary name.
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

    /// No system call gives a file without a name the name of another: it needs one of its own for a moment.
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

    /// Gives the file its name in place of the temporary one.
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
    /// Removed first and then forgotten: a signal between the two finds nothing to remove.
    fn drop(&mut self) {
        if let Stage::Temporary(name) = &self.stage {
            // Nobody is left to tell; the name says what it is.
            let _ = system::unlink(&self.destination.folder, name);
            self.temporaries.gone(&self.destination.folder, name);
        }
    }
}

fn is_there(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AlreadyExists
}

/// `.waxseal-RANDOM.tmp`: hidden, and with an ending that no pattern for results matches.
fn temporary_name() -> io::Result<OsString> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!(".waxseal-{:016x}.tmp", u64::from_le_bytes(random)).into())
}
