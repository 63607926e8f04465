//! The sources: those that every worker reads at positions, and streams, which are read in order.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::time::SystemTime;

use super::{Patient, SMALL_INPUT, Source, system};
use crate::error::{Error, InputChanged, Result};
use crate::io::{ReadAt, read_full_at};

/// A source after it was examined.
pub(super) enum Input<'a> {
    /// Several threads can read at any position.
    At(Positioned<'a>),
    /// Bytes can only be read in order.
    Ordered(Box<dyn Read + Send + 'a>),
}

impl<'a> Input<'a> {
    pub(super) fn new(source: Source<'a>) -> Result<Self> {
        let looking = |error| Error::io("looking at the input", error);
        match source {
            Source::File(file) if cfg!(any(unix, windows)) => {
                let input = FileInput::new(file).map_err(looking)?;
                if input.len >= SMALL_INPUT as u64 {
                    system::will_read_in_order(file);
                }
                Ok(Self::At(Positioned { len: input.len, source: Box::new(input) }))
            }
            Source::At(source) => {
                Ok(Self::At(Positioned { len: source.size().map_err(looking)?, source: Box::new(source) }))
            }
            Source::File(file) | Source::Pipe(file) => {
                system::enlarge_pipe(file);
                Ok(Self::Ordered(Box::new(Patient(file))))
            }
            Source::Stream(stream) => Ok(Self::Ordered(Box::new(stream))),
        }
    }
}

impl<'a> Source<'a> {
    /// Uses `file` in the way that fits its kind. A regular file or block device with the cursor at its start is read
    /// at positions. Any other file (a pipe, a terminal, a file that was already read from) is read from its current
    /// position.
    ///
    /// If a file is read at positions, its cursor does not move.
    #[must_use]
    pub fn from_file(file: &'a File) -> Self {
        Self::try_from_file(file).unwrap_or(Self::Pipe(file))
    }

    /// Like [`from_file`](Self::from_file), but it is an error if the system cannot say what the file is. In this case,
    /// `from_file` reads from the current position.
    ///
    /// # Errors
    /// The system's error for a question about the file or its cursor.
    pub fn try_from_file(mut file: &'a File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let positioned = meta.is_file() || system::is_block_device(meta.file_type());
        Ok(if positioned && file.stream_position()? == 0 { Self::File(file) } else { Self::Pipe(file) })
    }
}

/// An object that is read at positions, and its initial length.
pub(super) struct Positioned<'a> {
    source: Box<dyn ReadAt + 'a>,
    /// In bytes. Zero for files without a length, such as those in `/proc`.
    pub(super) len: u64,
}

impl Positioned<'_> {
    /// Reads as much as one call returns.
    pub(super) fn read_some_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.source.read_at(buffer, position)
    }

    /// Reads until `buffer` is full or the input ends. Returns the number of bytes.
    pub(super) fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        read_full_at(&*self.source, buffer, position)
    }

    /// Fills `buffer` completely. The range is within the length.
    pub(super) fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        if self.read_at(buffer, position)? == buffer.len() { Ok(()) } else { Err(changed()) }
    }

    /// Fails if the input has changed since the start.
    ///
    /// No chunk is ever sealed from two different contents, because each is read once. But a backup of a file that
    /// changed in the meantime would be a mix of old and new content.
    pub(super) fn check_unchanged(&self) -> io::Result<()> {
        self.source.check_unchanged()
    }

    /// A reader from the start.
    pub(super) fn reader(&self) -> FromStart<'_> {
        FromStart { source: &*self.source, position: 0 }
    }
}

/// A file of known length. Its cursor does not move.
struct FileInput<'a> {
    file: &'a File,
    len: u64,
    modified: Option<SystemTime>,
    /// The time of the last change of the file's state, which no program can set: seconds and nanoseconds. `None` if
    /// the system has none.
    changed: Option<(i64, i64)>,
}

impl<'a> FileInput<'a> {
    fn new(file: &'a File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let (modified, changed) = (meta.modified().ok(), system::change_time(&meta));
        let len = if system::is_block_device(meta.file_type()) { ReadAt::size(file)? } else { meta.len() };
        Ok(Self { file, len, modified, changed })
    }
}

impl ReadAt for FileInput<'_> {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        ReadAt::read_at(self.file, buffer, position)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    /// Fails unless the file has its initial length and times of change. Writes through a mapping may leave these times
    /// unchanged. So may two writes within one tick of the file system's clock.
    fn check_unchanged(&self) -> io::Result<()> {
        if self.len == 0 {
            return Ok(());
        }
        let now = Self::new(self.file)?;
        let is_same = (now.len, now.modified, now.changed) == (self.len, self.modified, self.changed);
        if is_same { Ok(()) } else { Err(changed()) }
    }
}

/// The error for an input that changed while it was read.
fn changed() -> io::Error {
    io::Error::other(InputChanged)
}

/// Reads at positions, one after the other.
pub(super) struct FromStart<'a> {
    source: &'a dyn ReadAt,
    position: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read_at(out, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}
