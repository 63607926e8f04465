//! The sources: those that every worker reads at positions, and streams, which are read in order.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use super::{Patient, SMALL_INPUT, Source, system};
use crate::error::{Error, InputChanged, PageLost, Result};
use crate::io::{MappedFile, ReadAt, Window, read_full_at};

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
                Positioned::of_file(file, None).map(Self::At).map_err(looking)
            }
            Source::Mapped(map) => Positioned::of_file(map.file(), Some(map)).map(Self::At).map_err(looking),
            Source::At(source) => {
                let len = source.size().map_err(looking)?;
                Ok(Self::At(Positioned { len, source: Box::new(source), map: None }))
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
    /// For what is sealed from mapped memory.
    map: Option<MappedFile<'a>>,
}

impl<'a> Positioned<'a> {
    fn of_file(file: &'a File, map: Option<MappedFile<'a>>) -> io::Result<Self> {
        let input = FileInput::new(file)?;
        if input.len >= SMALL_INPUT as u64 {
            system::will_read_in_order(file);
        }
        Ok(Self { len: input.len, source: Box::new(input), map })
    }

    /// Whether it is sealed from mapped memory.
    pub(super) fn is_mapped(&self) -> bool {
        self.map.is_some()
    }

    /// The window that has `range`: `last`, or a new one in its place. `None`: the range is to be read.
    pub(super) fn window(&self, last: &mut Option<Arc<Window<'a>>>, range: Range<u64>) -> Option<Arc<Window<'a>>> {
        let map = self.map.as_ref().filter(|_| !range.is_empty())?;
        if last.as_ref().is_none_or(|window| !window.has(&range)) {
            // The old one first: it may be what there is no room for.
            *last = None;
            *last = map.window(range, self.len).ok().map(Arc::new);
        }
        last.clone()
    }

    /// Why a page of a window was lost. What `buffer` holds from `position` on is asked for once more, for the system's
    /// own answer.
    pub(super) fn why_lost(&self, buffer: &mut [u8], position: u64) -> io::Error {
        let found = self.check_unchanged().and_then(|()| self.read_exact_at(buffer, position));
        found.err().unwrap_or_else(|| io::Error::other(PageLost))
    }
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

/// What the threads share of an input: bytes at their places, or all that comes.
pub(super) enum Flow<'a> {
    At(&'a Positioned<'a>),
    Ordered(Box<dyn Read + Send + 'a>),
}

impl<'a> Flow<'a> {
    /// The one or the other.
    #[allow(clippy::type_complexity, reason = "it is taken apart at once")]
    pub(super) fn parts(self) -> (Option<&'a Positioned<'a>>, Option<Box<dyn Read + Send + 'a>>) {
        match self {
            Self::At(file) => (Some(file), None),
            Self::Ordered(stream) => (None, Some(stream)),
        }
    }
}

/// A file of known length. Its cursor is left alone.
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
