//! Inputs: files, stdin, and their kinds.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use waxseal::engine::{MappedFile, Patient, Source};
use waxseal::envelope::{read_front, read_header_at};
use waxseal::error::InputChanged;
use waxseal::format::{Front, Header};
use waxseal::io::open_input;

use super::Result;
use super::args::{Reading, is_stdin};
use super::escape::Name;
use super::failure::Failure;
use super::{signals, streams};

/// What `--name` calls stdin. It is known before the first input is opened, and never changes.
static STDIN_NAME: OnceLock<Name> = OnceLock::new();

/// Calls stdin by another name in all that is said from now on.
pub(crate) fn call_stdin(name: &OsStr) {
    // It is called once, from the command line.
    let _ = STDIN_NAME.set(Name::of(name));
}

/// The name that the caller gave to stdin.
pub(crate) fn stdin_name() -> Option<Name> {
    STDIN_NAME.get().cloned()
}

/// The source of an input, as the user named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InputName {
    /// No name, or `-`.
    Stdin,
    /// A path.
    Path(PathBuf),
}

impl InputName {
    /// `-` is stdin, and so are the system's names for it.
    pub(crate) fn new(path: &Path) -> Self {
        if is_stdin(path) { Self::Stdin } else { Self::Path(path.to_owned()) }
    }

    /// The name, for messages and JSON.
    pub(crate) fn name(&self) -> Name {
        match self {
            Self::Stdin => stdin_name().unwrap_or_else(|| Name::plain("-")),
            Self::Path(path) => Name::of(path),
        }
    }

    /// The name, escaped for messages.
    pub(crate) fn display(&self) -> String {
        self.name().to_string()
    }

    /// Opens it.
    pub(crate) fn open(&self) -> Result<Input> {
        let file = match self {
            Self::Stdin => streams::stdin(),
            Self::Path(path) => open_input(path),
        };
        let file = file.map_err(|error| {
            let is_lost = error.kind() == io::ErrorKind::NotFound;
            let failure = Failure::io("opening the input", error);
            match is_lost {
                true => failure.hint("a folder on the way to it does not exist, or a symbolic link leads to nothing"),
                false => failure,
            }
        })?;
        let metadata = file.metadata().map_err(|error| Failure::io("reading the size of the input", error))?;
        let source = Source::try_from_file(&file);
        let shape = match source.map_err(|error| Failure::io("reading the current position in the input", error))? {
            Source::File(_) => Shape::Seekable,
            _ => Shape::Stream,
        };
        Ok(Input { file, metadata, shape })
    }
}

/// How an input can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// At any position, from its start: a regular file that was not read from yet, or a block device.
    Seekable,
    /// Only in order.
    Stream,
}

/// An open input.
pub(crate) struct Input {
    /// The file, pipe or device.
    pub(crate) file: File,
    /// Its kind.
    pub(crate) metadata: Metadata,
    /// How it can be read.
    pub(crate) shape: Shape,
}

impl Input {
    /// The source for the engine.
    pub(crate) fn source(&self) -> Source<'_> {
        match self.shape {
            Shape::Seekable => Source::File(&self.file),
            Shape::Stream => Source::Pipe(&self.file),
        }
    }

    /// To be sealed, and mapped if `reading` says so.
    pub(crate) fn source_by(&self, reading: Reading) -> Result<Source<'_>> {
        match reading {
            // A mapped input is slower where it is not in memory, and little faster where it is: docs/performance.md.
            Reading::Auto | Reading::Read => Ok(self.source()),
            Reading::Map => self.mapped().map(Source::Mapped).map_err(|error| {
                Failure::usage(format!("the input cannot be mapped: {error}")).hint("read it with --input read")
            }),
        }
    }

    fn mapped(&self) -> io::Result<MappedFile<'_>> {
        match self.shape {
            Shape::Seekable => signals::map(&self.file),
            Shape::Stream => Err(io::Error::other("it is not a regular file")),
        }
    }

    /// The whole length in bytes, where it can be known.
    pub(crate) fn len(&self) -> Option<u64> {
        match self.shape {
            Shape::Seekable if self.metadata.is_file() => Some(self.metadata.len()),
            Shape::Seekable => (&self.file).seek(SeekFrom::End(0)).ok(),
            Shape::Stream => None,
        }
    }

    /// Fails if a regular file has changed since it was opened. It compares the length and the times of the last
    /// change.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        let looks = |meta: &Metadata| (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        let now = self.file.metadata().map_err(|error| Failure::io("reading the size of the input", error))?;
        if !now.is_file() || looks(&now) == looks(&self.metadata) {
            return Ok(());
        }
        Err(Failure::io("reading the input", io::Error::other(InputChanged)))
    }

    /// Reads the header and the bytes around it.
    pub(crate) fn header(&mut self) -> waxseal::Result<(Front, Header)> {
        match self.shape {
            Shape::Seekable => read_header_at(&mut |buffer, position| self.file.read_at(buffer, position)),
            Shape::Stream => {
                let front = read_front(&mut Patient(&self.file))?;
                let header = Header::read(&front)?;
                Ok((front, header))
            }
        }
    }
}

/// Identifies a file, whatever its name is. A file must not be read and overwritten at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// A regular file: device and inode.
    File(u64, u64),
    /// A block device.
    Block(u64),
}

impl Identity {
    /// `None` for objects that cannot be damaged in this way: pipes, terminals, `/dev/null`.
    pub(crate) fn of(metadata: &Metadata) -> Option<Self> {
        if metadata.is_file() {
            Some(Self::File(metadata.dev(), metadata.ino()))
        } else if metadata.file_type().is_block_device() {
            Some(Self::Block(metadata.rdev()))
        } else {
            None
        }
    }

    /// The identity of the file at `path`, if there is one.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().as_ref().and_then(Self::of)
    }
}
