//! Outputs: a complete file, or none.
//!
//! A file is written under a temporary name in the same folder, synced, and renamed in one step. Until then, an
//! existing file stays unchanged.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use waxseal::engine::{Durability, Sink};
pub(crate) use waxseal::io::Overwrite;
use waxseal::io::{AtomicFile, Destination, DestinationError, OpenFor, close};

use super::Result;
use super::args::is_stdout;
use super::escape;
use super::exit::Exit;
use super::failure::Failure;
use super::input::{Identity, Input, InputName};
use super::report::Reporter;
use super::signals::{self, Registered};
use super::streams;

/// The kind of the output's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Binary data, which must not go to a terminal.
    Ciphertext,
    /// Decrypted data.
    Plaintext,
}

/// Files that must not be an output, with their descriptions.
pub(crate) type Forbidden = Vec<(Identity, &'static str)>;

/// A checked destination. Nothing was created or changed.
#[derive(Debug)]
pub(crate) enum Target {
    /// Stdout.
    Stdout,
    /// A device or a FIFO. It is written directly.
    Special(Destination),
    /// A file.
    File(Destination, Overwrite),
}

impl Target {
    /// Checks `path` as an output, and opens its folder. Nothing is created.
    pub(crate) fn at(path: &Path, overwrite: Overwrite, forbidden: &Forbidden) -> Result<Self> {
        if is_stdout(path) {
            check_stdout(forbidden)?;
            return Ok(Self::Stdout);
        }
        let destination = Destination::at(path).map_err(|error| no_destination(path, error))?;
        let Some(there) = destination.found() else { return Ok(Self::File(destination, overwrite)) };
        let name = escape::path(path);
        if let Some(identity) = Identity::of(there)
            && let Some((_, what)) = forbidden.iter().find(|(other, _)| *other == identity)
        {
            return Err(Failure::usage(format!("the output {name} is the {what}")).hint("name another output with -o"));
        }
        let kind = there.file_type();
        if kind.is_dir() {
            Err(Failure::usage(format!("the output {name} is a folder")).hint("name a file in it"))
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

    /// Opens the output. `mode` is for a new file.
    pub(crate) fn open(self, content: Content, mode: u32) -> Result<Output> {
        let (stream, is_disk) = match self {
            Self::Stdout => (streams::stdout(), false),
            Self::Special(there) => {
                let is_disk = there.found().is_some_and(|there| there.file_type().is_block_device());
                (there.open(OpenFor::Write), is_disk)
            }
            Self::File(destination, overwrite) => {
                return Ok(Output::File(Box::new(NewFile::at(destination, overwrite, mode)?)));
            }
        };
        let stream = stream.map_err(|error| Failure::io("opening the output", error))?;
        if content == Content::Ciphertext && stream.is_terminal() {
            let failure = Failure::usage("ciphertext is not written to a terminal");
            return Err(failure.hint("name a file with -o, or use a pipe"));
        }
        Ok(if is_disk { Output::Disk(stream) } else { Output::Stream(stream) })
    }

    /// Whether both have the same name in the same folder, however the user wrote them.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        let place = |target: &Self| match target {
            Self::File(there, _) => {
                let folder = there.folder_metadata().ok()?;
                Some((folder.dev(), folder.ino(), there.name().to_owned()))
            }
            _ => None,
        };
        place(self).is_some_and(|own| place(other) == Some(own))
    }

    /// The path of a file that will be created.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Stdout => None,
            Self::Special(there) | Self::File(there, _) => Some(there.path()),
        }
    }

    /// The mode of a file that is sealed from `input`. A stream has no mode of its own.
    pub(crate) fn sealed_mode(&self, input: &Input) -> u32 {
        let Self::File(there, _) = self else { return 0o600 };
        waxseal::files::sealed_mode(there, &input.metadata)
    }
}

/// Explains why the output cannot be at `path`.
fn no_destination(path: &Path, error: DestinationError) -> Failure {
    match error {
        DestinationError::Folder(_) => {
            Failure::usage(format!("the output {} names a folder", escape::path(path))).hint("name a file in it")
        }
        DestinationError::ForeignLink { link, owner } => foreign_link(&link, owner),
        other => waxseal::Error::from(other).into(),
    }
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
    match forbidden.iter().find(|(other, _)| *other == identity) {
        Some((_, what)) => {
            Err(Failure::usage(format!("stdout is the {what}")).hint("name another output with -o, or use a pipe"))
        }
        None => Ok(()),
    }
}

fn exists(path: &Path) -> Failure {
    let failure = Failure::new(Exit::Unmet, format!("the output {} exists", escape::path(path)));
    failure.hint("replace it with -f, or name another output with -o")
}

/// An open output.
pub(crate) enum Output {
    /// Written directly and in order.
    Stream(File),
    /// A block device. It is written directly, in order, and synced.
    Disk(File),
    /// A file that is being created.
    File(Box<NewFile>),
}

impl Output {
    /// The sink for the engine. [`Output::commit`] syncs it if necessary.
    pub(crate) fn sink(&self, durability: Durability) -> Sink<'_> {
        match self {
            // Other programs may write to a file that the shell opened. So it is written in order at its cursor, and
            // the user syncs it.
            Self::Stream(stream) | Self::Disk(stream) => Sink::Pipe(stream),
            Self::File(file) if durability == Durability::Unsynced => Sink::File(file.file(), durability),
            Self::File(file) => Sink::File(file.file(), Durability::Started),
        }
    }

    /// The file or stream, for short contents.
    pub(crate) fn file(&self) -> &File {
        match self {
            Self::Stream(stream) | Self::Disk(stream) => stream,
            Self::File(file) => file.file(),
        }
    }

    /// A file that is made from the file `input` gets its modification time, as gzip, xz and zstd do.
    pub(crate) fn keep_time(&mut self, name: &InputName, input: &Input) {
        if let (Self::File(file), InputName::Path(_)) = (self, name)
            && input.metadata.is_file()
            && let Ok(modified) = input.metadata.modified()
        {
            file.0.set_modified(modified);
        }
    }

    /// Makes it count. Without this call, a new file vanishes.
    pub(crate) fn commit(self, durability: Durability, reporter: &Reporter) -> Result<()> {
        let stream = match self {
            Self::File(file) => return file.commit(durability, reporter),
            Self::Disk(disk) => {
                // If a signal has asked the program to end, it must not report that the data is on the disk.
                signals::check();
                if durability != Durability::Unsynced {
                    disk.sync_all().map_err(|error| Failure::io("syncing the output", error))?;
                }
                disk
            }
            Self::Stream(stream) => stream,
        };
        // Some file systems report a full disk only when a file is closed.
        close(stream).map_err(|error| Failure::io("closing the output", error))
    }
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
