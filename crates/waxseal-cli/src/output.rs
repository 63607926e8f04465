//! Outputs: a complete file, or none.
//!
//! A file is written under a temporary name in the same folder, synced, and renamed in one step. An object in a store
//! appears with the request that completes its upload. Until then, an existing file or object stays unchanged.

use std::fs::{File, FileType};
use std::io::{self, IsTerminal, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use serde_json::Value;
use waxseal::engine::{Durability, Patient, Sink};
pub(crate) use waxseal::io::Overwrite;
use waxseal::io::{AtomicFile, Destination, DestinationError, OpenFor, close};

use super::Result;
use super::escape::{self, Name};
use super::exit::Exit;
use super::failure::Failure;
use super::input::{Identity, Input};
use super::place::Place;
use super::report::Reporter;
use super::signals::{self, Registered};
use super::store::{NewObject, ObjectName};
use super::streams;

/// The kind of the output's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Binary data, which must not go to a terminal.
    Ciphertext,
    /// Decrypted data.
    Plaintext,
}

/// What to do if an output cannot have the name that is derived from its input's name.
pub(crate) const ALONE: &str = "use a run of its own for this input, and name the output with -o";

/// Files that must not be an output, with their descriptions.
pub(crate) type Forbidden = Vec<(Identity, &'static str)>;

/// A checked destination. Nothing was created or changed.
#[derive(Debug)]
pub(crate) struct Target(There);

#[derive(Debug)]
enum There {
    /// Stdout.
    Stdout,
    /// A device or a FIFO. It is written directly.
    Special(Destination),
    /// A file.
    File(Destination, Overwrite),
    /// An object in a store.
    Object(ObjectName, Overwrite),
}

impl Target {
    /// Checks `place` as an output, and opens its folder. Nothing is created.
    pub(crate) fn at(place: &Place, overwrite: Overwrite, forbidden: &Forbidden) -> Result<Self> {
        Self::checked(place, overwrite, forbidden, false)
    }

    /// As [`Target::at`], for a name that was derived from the input's name. The user did not write it, and whoever may
    /// write to its folder can put something there first. So either a file has it, or nothing.
    pub(crate) fn derived(place: &Place, overwrite: Overwrite, forbidden: &Forbidden) -> Result<Self> {
        Self::checked(place, overwrite, forbidden, true)
    }

    fn checked(place: &Place, overwrite: Overwrite, forbidden: &Forbidden, is_derived: bool) -> Result<Self> {
        let there = match place {
            Place::Stream => {
                check_stdout(forbidden)?;
                There::Stdout
            }
            Place::Path(path) => {
                let destination = Destination::at(path).map_err(|error| no_destination(path, error, is_derived))?;
                There::of(destination, path, overwrite, forbidden, is_derived)?
            }
            Place::Below(entry) => {
                let destination = entry.destination().map_err(|error| no_folder(entry.path(), error))?;
                There::of(destination, entry.path(), overwrite, forbidden, is_derived)?
            }
            Place::Object(object) => {
                if let Some(what) = place.identity().and_then(|identity| what_of(forbidden, &identity)) {
                    return Err(is_in_use(&place.display(), what));
                }
                object.check()?;
                There::Object(object.clone(), overwrite)
            }
        };
        Ok(Self(there))
    }

    /// Opens the output. `mode` is for a new file. `len` is about how long it will be, if this is known.
    pub(crate) fn open(self, content: Content, mode: u32, len: Option<u64>) -> Result<Output> {
        let (stream, is_disk) = match self.0 {
            There::Stdout => (streams::stdout(), false),
            There::Special(there) => {
                let is_disk = there.found().is_some_and(|there| there.file_type().is_block_device());
                (there.open(OpenFor::Write), is_disk)
            }
            There::File(destination, overwrite) => {
                return Ok(Output(Kind::File(Box::new(NewFile::at(destination, overwrite, mode)?))));
            }
            There::Object(object, overwrite) => return Ok(Output(Kind::Object(object.create(overwrite, len)?))),
        };
        let stream = stream.map_err(|error| Failure::io("opening the output", error))?;
        if content == Content::Ciphertext && stream.is_terminal() {
            let failure = Failure::usage("ciphertext is not written to a terminal");
            return Err(failure.hint("name a file with -o, or use a pipe"));
        }
        Ok(Output(if is_disk { Kind::Disk(stream, content) } else { Kind::Stream(stream) }))
    }

    /// Whether both have the same name in the same folder, however the user wrote them.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        let place = |target: &Self| match &target.0 {
            There::File(there, _) => {
                let folder = there.folder_metadata().ok()?;
                Some((folder.dev(), folder.ino(), there.name().to_owned()))
            }
            There::Stdout | There::Special(_) | There::Object(..) => None,
        };
        place(self).is_some_and(|own| place(other) == Some(own))
    }

    /// Whether it is stdout.
    pub(crate) fn is_stdout(&self) -> bool {
        matches!(self.0, There::Stdout)
    }

    /// The place of a new file. `None` if it is anything else.
    pub(crate) fn into_file(self) -> Option<(Destination, Overwrite)> {
        match self.0 {
            There::File(destination, overwrite) => Some((destination, overwrite)),
            There::Stdout | There::Special(_) | There::Object(..) => None,
        }
    }

    /// The name of a file or an object that will be created.
    pub(crate) fn name(&self) -> Option<Name> {
        match &self.0 {
            There::Stdout => None,
            There::Special(there) | There::File(there, _) => Some(Name::of(there.path())),
            There::Object(object, _) => Some(Name::of(object.text())),
        }
    }

    /// The mode of a file that is sealed from `input`. A stream has no mode of its own.
    pub(crate) fn sealed_mode(&self, input: &Input) -> u32 {
        let There::File(there, _) = &self.0 else { return 0o600 };
        input.sealed_mode(there)
    }
}

impl There {
    /// `path` is for messages.
    fn of(
        destination: Destination,
        path: &Path,
        overwrite: Overwrite,
        forbidden: &Forbidden,
        is_derived: bool,
    ) -> Result<Self> {
        let Some(there) = destination.found() else { return Ok(Self::File(destination, overwrite)) };
        let name = escape::path(path);
        if let Some(what) = Identity::of(there).and_then(|identity| what_of(forbidden, &identity)) {
            return Err(is_in_use(&name, what));
        }
        let kind = there.file_type();
        if is_derived && !kind.is_file() {
            Err(not_a_file(&name, kind))
        } else if kind.is_dir() {
            Err(Failure::usage(format!("the output {name} is a folder")).hint("name a file in it"))
        } else if kind.is_file() && overwrite == Overwrite::Refuse && destination.is_mount_point() {
            let failure = Failure::new(Exit::Unmet, format!("the output {name} exists, and is a mount point"));
            Err(failure.hint("name another output with -o"))
        } else if kind.is_file() && overwrite == Overwrite::Refuse {
            Err(exists(path))
        } else if kind.is_block_device() && overwrite == Overwrite::Refuse {
            Err(Failure::new(
                Exit::Unmet,
                format!("the output {name} is a block device, and its content would be lost"),
            )
            .hint("overwrite it with -f, or name another output with -o"))
        } else if kind.is_file() && destination.is_mount_point() {
            Err(mount_point(path))
        } else if kind.is_file() {
            Ok(Self::File(destination, overwrite))
        } else if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
            Ok(Self::Special(destination))
        } else {
            Err(Failure::usage(format!("the output {name} is neither a file nor a device")))
        }
    }
}

/// What `identity` is, if it must not be an output.
fn what_of(forbidden: &Forbidden, identity: &Identity) -> Option<&'static str> {
    forbidden.iter().find(|(other, _)| other == identity).map(|(_, what)| *what)
}

/// Something that is no file has a name that was derived from the input's name.
fn not_a_file(name: &str, kind: FileType) -> Failure {
    let what = if kind.is_dir() {
        "a folder"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else {
        "something else"
    };
    Failure::new(Exit::Unmet, format!("the output {name} is {what}, not a file: nothing is written to it"))
        .hint("rename or remove it, or name another output with -o")
}

fn is_in_use(name: &str, what: &str) -> Failure {
    Failure::usage(format!("the output {name} is the {what}")).hint("name another output with -o")
}

/// The folder of an output tree cannot be made or entered.
pub(crate) fn no_folder(path: &Path, error: io::Error) -> Failure {
    let name = escape::path(path);
    match Errno::from_io_error(&error) {
        // What systems say of a symbolic link that must not be followed.
        Some(Errno::NOTDIR | Errno::LOOP) => Failure::new(
            Exit::Unmet,
            format!("the folder for {name} is a file or a symbolic link: nothing is written through it"),
        )
        .hint("name another folder with -o"),
        Some(Errno::NAMETOOLONG) => too_long(path, error, true),
        _ => Failure::io(format!("making the folder for {name}"), error),
    }
}

/// Explains why the output cannot be at `path`.
fn no_destination(path: &Path, error: DestinationError, is_derived: bool) -> Failure {
    match error {
        DestinationError::Folder(_) => {
            Failure::usage(format!("the output {} names a folder", escape::path(path))).hint("name a file in it")
        }
        DestinationError::ForeignLink { link, owner } => foreign_link(&link, owner),
        DestinationError::Io { source, .. } if Errno::from_io_error(&source) == Some(Errno::NAMETOOLONG) => {
            too_long(path, source, is_derived)
        }
        other => waxseal::Error::from(other).into(),
    }
}

/// The system has a limit for names. A derived name can be longer than that of the input.
fn too_long(path: &Path, error: io::Error, is_derived: bool) -> Failure {
    let failure = Failure::io(format!("creating the output {}", escape::path(path)), error);
    failure.hint(if is_derived { ALONE } else { "name another output with -o" })
}

/// Another user created a link in a folder that everybody may write to.
pub(crate) fn foreign_link(link: &Path, owner: u32) -> Failure {
    let link = escape::path(link);
    Failure::usage(format!(
        "user {owner} created the symbolic link {link} in a folder that others may write to: it is not followed"
    ))
    .hint("if you trust the link, name the file that it points to")
}

fn mount_point(path: &Path) -> Failure {
    let (name, pasted) = (escape::path(path), escape::pasted(path).unwrap_or_else(|| "OUT".into()));
    Failure::new(Exit::Io, format!("the output {name} is a mount point: a new file cannot replace it"))
        .hint(format!("`-o - > {pasted}` writes into it, but a failure can then leave it changed"))
}

/// The shell may have opened stdout as a file that is also an input, with `>>` or `1<>`.
pub(crate) fn check_stdout(forbidden: &Forbidden) -> Result<()> {
    let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from).and_then(|stdout| stdout.metadata());
    // If stdout is closed, the write fails later.
    let Some(identity) = stdout.ok().as_ref().and_then(Identity::of) else { return Ok(()) };
    match what_of(forbidden, &identity) {
        Some(what) => {
            Err(Failure::usage(format!("stdout is the {what}")).hint("name another output with -o, or use a pipe"))
        }
        None => Ok(()),
    }
}

fn exists(path: &Path) -> Failure {
    Failure::exists(&escape::path(path))
}

/// An open output.
pub(crate) struct Output(Kind);

enum Kind {
    /// Written directly and in order.
    Stream(File),
    /// A block device. It is written directly, in order, and synced.
    Disk(File, Content),
    /// A file that is being created.
    File(Box<NewFile>),
    /// An object that is being created, in order.
    Object(Box<dyn NewObject>),
}

impl Output {
    /// Whether a reader gets the content while it is written, before it is complete.
    pub(crate) fn is_direct(&self) -> bool {
        matches!(self.0, Kind::Stream(_) | Kind::Disk(..))
    }

    /// The sink for the engine. [`Output::commit`] syncs it if necessary.
    pub(crate) fn sink(&mut self, durability: Durability) -> Sink<'_> {
        match &mut self.0 {
            // Other programs may write to a file that the shell opened. So it is written in order at its cursor, and
            // the user syncs it.
            Kind::Stream(stream) | Kind::Disk(stream, _) => Sink::Pipe(stream),
            Kind::File(file) => {
                let started = if durability == Durability::Unsynced { durability } else { Durability::Started };
                Sink::File(file.file(), started)
            }
            Kind::Object(object) => Sink::Stream(object),
        }
    }

    /// Writes in order, for short contents and copies.
    pub(crate) fn writer(&mut self) -> Box<dyn Write + '_> {
        match &mut self.0 {
            Kind::Stream(stream) | Kind::Disk(stream, _) => Box::new(Patient(stream)),
            Kind::File(file) => Box::new(Patient(file.file())),
            Kind::Object(object) => Box::new(object),
        }
    }

    /// A file that is made from the file `input` gets its modification time, as gzip, xz and zstd do.
    pub(crate) fn keep_time(&mut self, place: &Place, input: &Input) {
        if let (Kind::File(file), Place::Path(_) | Place::Below(_), Some(modified)) =
            (&mut self.0, place, input.modified())
        {
            file.0.set_modified(modified);
        }
    }

    /// Makes it count. Without this call, a new file or object vanishes. Returns what a store says about a new object.
    pub(crate) fn commit(self, durability: Durability, reporter: &Reporter) -> Result<Option<Value>> {
        let stream = match self.0 {
            Kind::File(file) => return file.commit(durability, reporter).map(|()| None),
            Kind::Object(object) => return object.commit(),
            Kind::Disk(mut disk, content) => {
                // If a signal has asked the program to end, it must not report that the data is on the disk.
                signals::check();
                if durability != Durability::Unsynced {
                    disk.sync_all().map_err(|error| Failure::io("syncing the output", error))?;
                }
                if content == Content::Ciphertext {
                    rest_of_disk(&mut disk).iter().for_each(|caution| reporter.caution(caution));
                }
                disk
            }
            Kind::Stream(stream) => stream,
        };
        // Some file systems report a full disk only when a file is closed.
        close(stream).map_err(|error| Failure::io("closing the output", error))?;
        Ok(None)
    }
}

/// What to know of a device that is longer than the sealed file that was written to it.
fn rest_of_disk(disk: &mut File) -> Option<String> {
    let len = disk.stream_position().ok()?;
    let has_more = disk.seek(SeekFrom::End(0)).ok()? > len;
    has_more.then(|| {
        format!(
            "the device is longer than the sealed file, so it does not open as it is: \
             read only the first {len} bytes, as `head -c {len} DEVICE` does"
        )
    })
}

/// A file that gets its name when it is committed. It is removed if it is dropped or if a signal ends the process.
pub(crate) struct NewFile(AtomicFile);

impl NewFile {
    /// Creates it in the folder of `destination`.
    pub(crate) fn at(destination: Destination, overwrite: Overwrite, mode: u32) -> Result<Self> {
        Ok(Self(AtomicFile::create_known(destination, overwrite, mode, Arc::new(Registered))?))
    }

    /// The open file, for writing.
    pub(crate) fn file(&self) -> &File {
        self.0.file()
    }

    /// Syncs the file, gives it its name, and syncs the folder. Reports the guarantees that the file system could not
    /// give.
    pub(crate) fn commit(self, durability: Durability, reporter: &Reporter) -> Result<()> {
        let path = self.0.destination().path().to_owned();
        let missed = self.0.commit(durability).map_err(|error| match error {
            waxseal::Error::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => exists(&path),
            // The path became a mount point after it was examined, or the system did not report it.
            waxseal::Error::Io { source, .. } if source.kind() == io::ErrorKind::ResourceBusy => mount_point(&path),
            other => other.into(),
        })?;
        missed.iter().for_each(|missed| reporter.warn(&missed.to_string()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::signals;
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// The registry always has every temporary file that exists.
    #[test]
    fn no_moment_is_without_an_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let names = || std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let done = AtomicBool::new(false);
        /// If a round panics, too, the watcher must stop.
        struct Done<'a>(&'a AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let registry = signals::registry();
                    for name in names().filter(|name| *name != "out") {
                        // A file that is gone by now needs no entry.
                        let is_there = folder.path().join(&name).symlink_metadata().is_ok();
                        assert!(!is_there || registry.has_file(&name), "nobody's: {name:?}");
                    }
                    drop(registry);
                    std::thread::yield_now();
                }
            });
            let _done = Done(&done);
            for round in 0..2_000 {
                let new = NewFile::at(Destination::at(&path).unwrap(), Overwrite::Replace, 0o600).unwrap();
                if round % 2 == 0 {
                    drop(new);
                } else {
                    new.0.commit(Durability::Unsynced).unwrap();
                }
            }
        });
        assert_eq!(names().collect::<Vec<_>>(), ["out"]);
    }
}
