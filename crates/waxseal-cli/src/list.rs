//! The names in the file of `--files-from`, one after the other. The list can be longer than the memory.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use waxseal::io::open_input;

use super::Result;
use super::args::is_stdin;
use super::escape;
use super::failure::Failure;
use super::streams;

/// No system has longer paths.
const LONGEST: usize = 1 << 16;

/// What ends a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A line end. A carriage return before it belongs to it.
    Line,
    /// A byte of zero.
    Zero,
}

/// The names of a list. Empty ones are left out.
pub(crate) struct List<R> {
    input: R,
    ending: Ending,
    has_ended: bool,
}

impl List<BufReader<File>> {
    /// Opens the list at `path`; `-` is stdin.
    pub(crate) fn open(path: &Path, ending: Ending) -> Result<Self> {
        let file = if is_stdin(path) { streams::stdin() } else { open_input(path) };
        let file = file.map_err(|error| {
            let Failure { exit, message, .. } = Failure::io("opening it", error);
            let failure = Failure::new(exit, format!("the list {} of --files-from: {message}", escape::path(path)));
            failure.hint("name a file that has the names of the inputs")
        })?;
        Ok(Self::new(BufReader::new(file), ending))
    }
}

impl<R: BufRead> List<R> {
    fn new(input: R, ending: Ending) -> Self {
        Self { input, ending, has_ended: false }
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let ending = if self.ending == Ending::Line { b'\n' } else { 0 };
        let mut name = Vec::new();
        (&mut self.input).take(LONGEST as u64).read_until(ending, &mut name)?;
        if name.is_empty() {
            return Ok(None);
        }
        if name.last() == Some(&ending) {
            name.pop();
        } else if name.len() >= LONGEST {
            return Err(io::Error::other(format!("a name in it has more than {LONGEST} bytes")));
        }
        if self.ending == Ending::Line && name.last() == Some(&b'\r') {
            name.pop();
        }
        Ok(Some(name))
    }
}

impl<R: BufRead> Iterator for List<R> {
    type Item = Result<PathBuf>;

    /// An error is the end.
    fn next(&mut self) -> Option<Self::Item> {
        while !self.has_ended {
            match self.read() {
                Ok(Some(name)) if name.is_empty() => {}
                Ok(Some(name)) => return Some(Ok(OsString::from_vec(name).into())),
                Ok(None) => self.has_ended = true,
                Err(error) => {
                    self.has_ended = true;
                    return Some(Err(Failure::io("reading the list of --files-from", error)));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &[u8], ending: Ending) -> Vec<PathBuf> {
        List::new(text, ending).map(|name| name.unwrap()).collect()
    }

    #[test]
    fn names_and_what_ends_them() {
        for text in ["a\nb c\n", "a\nb c", "a\r\nb c\r\n", "\n\na\n\nb c\n\n", "a\r\n\r\nb c\r"] {
            assert_eq!(names(text.as_bytes(), Ending::Line), [Path::new("a"), Path::new("b c")], "{text:?}");
        }
        for text in ["a\n\0b\r\0", "a\n\0b\r", "\0a\n\0\0b\r\0\0"] {
            assert_eq!(names(text.as_bytes(), Ending::Zero), [Path::new("a\n"), Path::new("b\r")], "{text:?}");
        }
        assert!(names(b"", Ending::Line).is_empty() && names(b"\n\r\n", Ending::Line).is_empty());
        assert_eq!(names(b"\xff\n", Ending::Line)[0].as_os_str().len(), 1);
    }

    #[test]
    fn a_name_without_an_end_is_refused() {
        let mut endless = List::new(BufReader::new(io::repeat(b'x')), Ending::Line);
        assert!(endless.next().is_some_and(|name| name.is_err()) && endless.next().is_none());
        let long = [vec![b'x'; LONGEST - 1], b"\na\n".to_vec()].concat();
        assert_eq!(names(&long, Ending::Line).len(), 2);
    }
}
