//! Where content is read from, or written to, as the user named it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Result;
use super::args::{is_stdin, is_stdout};
use super::escape::Name;
use super::failure::Failure;
use super::folder::Entry;
use super::input::{Identity, stdin_name};
use super::store::{self, ObjectName};

/// The file extension of sealed files.
const SUFFIX: &str = ".wax";

/// The source of an input, or the destination of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Stdin or stdout: no name, or `-`.
    Stream,
    /// A path.
    Path(PathBuf),
    /// A name in an open folder.
    Below(Entry),
    /// An object in a store.
    Object(ObjectName),
}

impl Place {
    /// Of an input. `-` is stdin, and so are the system's names for it.
    pub(crate) fn input(name: &Path) -> Self {
        if is_stdin(name) { Self::Stream } else { Self::named(name) }
    }

    /// Of an output. `-` is stdout, and so are the system's names for it.
    pub(crate) fn output(name: &Path) -> Self {
        if is_stdout(name) { Self::Stream } else { Self::named(name) }
    }

    /// Of anything that is not a stream.
    fn named(name: &Path) -> Self {
        store::object(name.as_os_str()).map_or_else(|| Self::Path(name.to_owned()), Self::Object)
    }

    /// The name, for messages and JSON. A stream has the name of stdin.
    pub(crate) fn name(&self) -> Name {
        match self {
            Self::Stream => stdin_name().unwrap_or_else(|| Name::plain("-")),
            Self::Path(path) => Name::of(path),
            Self::Below(entry) => Name::of(entry.path()),
            Self::Object(object) => Name::of(object.text()),
        }
    }

    /// The name, escaped for messages.
    pub(crate) fn display(&self) -> String {
        self.name().to_string()
    }

    /// The path, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Stream | Self::Below(_) | Self::Object(_) => None,
        }
    }

    /// What is there now, whatever its name is.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match self {
            Self::Stream => None,
            Self::Path(path) => Identity::at(path),
            Self::Below(entry) => entry.metadata().as_ref().and_then(Identity::of),
            Self::Object(object) => Some(Identity::Object(object.text().to_owned())),
        }
    }

    /// The length of what is there, if it appeared only when it was complete: a regular file, or an object.
    pub(crate) fn whole_len(&self) -> Option<u64> {
        match self {
            Self::Stream => None,
            Self::Path(path) => std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|file| file.len()),
            Self::Below(entry) => entry.len(),
            Self::Object(object) => object.len(),
        }
    }

    /// The place of the sealed file beside this one. `None` for a stream.
    pub(crate) fn sealed(&self) -> Option<Result<Self>> {
        self.beside(|last| Some(sealed_name(last)))
    }

    /// The place of the opened file beside this one. `None` for a stream.
    pub(crate) fn opened(&self) -> Option<Result<Self>> {
        self.beside(opened_name)
    }

    /// The last part of the name. `None` for a stream, and for a path like `..`.
    pub(crate) fn last(&self) -> Option<&OsStr> {
        match self {
            Self::Stream => None,
            Self::Path(path) => path.file_name(),
            Self::Below(entry) => Some(entry.name()),
            Self::Object(object) => object.last(),
        }
    }

    /// No name for the opened file follows from this one.
    pub(crate) fn names_no_output(&self) -> Failure {
        let name = self.display();
        Failure::usage(if self.last().is_some_and(|last| last == SUFFIX) {
            format!("the name {name} has nothing before {SUFFIX} that could name the output")
        } else {
            format!("the name {name} does not end in {SUFFIX}")
        })
    }

    /// The same place with another last part of the name.
    fn beside(&self, change: impl FnOnce(&OsStr) -> Option<OsString>) -> Option<Result<Self>> {
        if *self == Self::Stream {
            return None;
        }
        let Some(last) = self.last() else {
            let failure = Failure::usage(format!("{} names no file", self.display()));
            return Some(Err(failure.hint("name the output with -o")));
        };
        let Some(new) = change(last) else {
            return Some(Err(self.names_no_output().hint("name the output with -o")));
        };
        Some(Ok(match self {
            Self::Object(object) => Self::Object(object.with_last(&new)),
            Self::Below(entry) => Self::Below(entry.beside(&new)),
            Self::Stream | Self::Path(_) => {
                let path = self.path().unwrap_or(Path::new("")).with_file_name(new);
                // A file with such a name is a file: `-.wax` is opened into `./-`.
                Self::Path(if is_stdout(&path) { in_its_folder(&path) } else { path })
            }
        }))
    }
}

/// The name of a sealed file.
pub(crate) fn sealed_name(name: &OsStr) -> OsString {
    let mut name = name.to_owned();
    name.push(SUFFIX);
    name
}

/// The name of the file that is opened from a sealed one. `None` if the name is not that of a sealed file.
pub(crate) fn opened_name(name: &OsStr) -> Option<OsString> {
    let stem = name.as_bytes().strip_suffix(SUFFIX.as_bytes());
    stem.filter(|stem| !stem.is_empty()).map(|stem| OsStr::from_bytes(stem).to_owned())
}

/// The same file with a longer path, which does not mean a stream.
fn in_its_folder(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new("")).join(".");
    folder.join(path.file_name().unwrap_or_default())
}
