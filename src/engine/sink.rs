//! Where bytes go: a file, written at positions by every worker, or a stream, written in order.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::{Mutex, PoisonError};

use super::ordered::Ordered;
use super::{Durability, Sink, system};
use crate::error::{Error, Result};

/// So much room is got at once for an output of unknown length.
const AHEAD: u64 = 64 << 20;
/// A file is written in pieces of this size, and its page cache then comes in pieces of this size.
///
/// Larger ones are cut from whole huge pages, which a virtual machine gives back to its host when they are idle. To
/// have them back costs several times what larger pieces gain.
const WRITE_LEN: usize = 256 << 10;

/// A sink, made ready.
pub(super) enum Output<'a> {
    /// Can be written at any position by several threads.
    At(FileOutput<'a>),
    /// Can only be written on.
    Ordered(Ordered<'a>),
    /// Takes everything.
    Nowhere,
}

impl<'a> Output<'a> {
    pub(super) fn new(sink: Sink<'a>) -> Result<Self> {
        let looking = |error| Error::io("looking at the output", error);
        match sink {
            Sink::File(file, durability) if cfg!(any(unix, windows)) => {
                Ok(Self::At(FileOutput::new(file, 0, 0, durability)))
            }
            Sink::FileFrom { file, start, durability } if cfg!(any(unix, windows)) => {
                let kept = file.metadata().map_err(looking)?.len();
                Ok(Self::At(FileOutput { cursor: Cursor::ToEnd, ..FileOutput::new(file, start, kept, durability) }))
            }
            Sink::File(file, durability) | Sink::FileFrom { file, durability, .. } => {
                Ok(Self::Ordered(Ordered::new(Box::new(SyncedOnFlush { file, durability }))))
            }
            Sink::Pipe(file) => {
                system::enlarge_pipe(file);
                Ok(Self::Ordered(Ordered::new(Box::new(file))))
            }
            Sink::Stream(stream) => Ok(Self::Ordered(Ordered::new(Box::new(stream)))),
            Sink::Nowhere => Ok(Self::Nowhere),
        }
    }

    /// The position of the first byte.
    pub(super) fn start(&self) -> u64 {
        match self {
            Self::At(output) => output.start,
            Self::Ordered(_) | Self::Nowhere => 0,
        }
    }

    /// Expects the output to end at `end` or little later.
    pub(super) fn expect(&self, end: u64) -> Result<()> {
        match self {
            Self::At(output) => output.reserve(end, 0).map_err(|error| Error::io("making room for the output", error)),
            Self::Ordered(_) | Self::Nowhere => Ok(()),
        }
    }

    /// Writes what task number `task` made, whose place is `position`. On a stream, waits for all tasks before it.
    pub(super) fn put(&self, task: u64, position: u64, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::At(output) => output.put(position, bytes),
            Self::Ordered(ordered) => ordered.put(task, bytes),
            Self::Nowhere => Ok(()),
        }
    }

    /// Whether what was written cannot be taken back.
    pub(super) fn is_ordered(&self) -> bool {
        matches!(self, Self::Ordered(_))
    }

    /// On a stream, waits for all tasks before number `task`.
    pub(super) fn wait(&self, task: u64) {
        if let Self::Ordered(ordered) = self {
            ordered.wait(task);
        }
    }

    /// Nothing is to be written for tasks behind number `task`: they need not wait for their turn.
    pub(super) fn close_behind(&self, task: u64) {
        if let Self::Ordered(ordered) = self {
            ordered.close_behind(task);
        }
    }

    /// All has been written, up to position `end`.
    pub(super) fn finish(self, end: u64) -> Result<()> {
        let finished = match self {
            Self::At(output) => output.finish(end),
            Self::Ordered(ordered) => ordered.finish(),
            Self::Nowhere => Ok(()),
        };
        finished.map_err(|error| Error::io("writing the output", error))
    }

    /// The work has failed; what stands before position `end` is good.
    pub(super) fn abandon(self, end: u64) {
        if let Self::At(output) = self {
            output.abandon(end);
        }
    }
}

impl<'a> Sink<'a> {
    /// Takes `file` as what it is: a regular file that is not opened for appending at its positions, from where it
    /// stands; anything else (a pipe, a terminal, a device) as a stream.
    #[must_use]
    pub fn from_file(file: &'a File, durability: Durability) -> Self {
        let regular = file.metadata().is_ok_and(|meta| meta.is_file());
        let mut cursor = file;
        match cursor.stream_position() {
            Ok(start) if regular && system::writes_at_positions(file) => Self::FileFrom { file, start, durability },
            _ => Self::Pipe(file),
        }
    }
}

/// What becomes of the file's cursor.
#[derive(PartialEq, Eq)]
enum Cursor {
    /// It stays where it is.
    Kept,
    /// It goes to the end of what was written, as if that had been written at the cursor.
    ToEnd,
}

/// A file that is written at positions.
pub(super) struct FileOutput<'a> {
    file: &'a File,
    start: u64,
    /// The file is never made shorter than this.
    kept: u64,
    durability: Durability,
    cursor: Cursor,
    /// Up to where there is room already. `None` where the system gives none in advance.
    reserved: Mutex<Option<u64>>,
}

impl<'a> FileOutput<'a> {
    fn new(file: &'a File, start: u64, kept: u64, durability: Durability) -> Self {
        Self { file, start, kept, durability, cursor: Cursor::Kept, reserved: Mutex::new(Some(start)) }
    }

    /// Makes room up to `end`, and then for `ahead` bytes more.
    fn reserve(&self, end: u64, ahead: u64) -> io::Result<()> {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(from) = reserved.filter(|from| *from < end) {
            let to = end + ahead;
            *reserved = match system::preallocate(self.file, from, to - from) {
                Ok(made) => made.then_some(to),
                // It may still hold what is really to come.
                Err(_) if ahead > 0 => None,
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    fn put(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        // A single short write is not worth a call more.
        if position > self.start || bytes.len() >= super::SMALL_INPUT {
            self.reserve(position + bytes.len() as u64, AHEAD)?;
        }
        for (piece, at) in bytes.chunks(WRITE_LEN).zip((position..).step_by(WRITE_LEN)) {
            system::write_all_at(self.file, piece, at)?;
        }
        if self.durability == Durability::Synced {
            system::start_write_back(self.file, position, bytes.len() as u64);
        }
        Ok(())
    }

    fn finish(self, end: u64) -> io::Result<()> {
        self.trim(end)?;
        if self.cursor == Cursor::ToEnd {
            let mut file = self.file;
            file.seek(SeekFrom::Start(end))?;
        }
        match self.durability {
            Durability::Synced => self.file.sync_data(),
            Durability::Unsynced => Ok(()),
        }
    }

    /// Gives back the room behind `end`.
    fn trim(&self, end: u64) -> io::Result<()> {
        let reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if reserved.is_some_and(|reserved| reserved <= end) {
            return Ok(());
        }
        self.file.set_len(end.max(self.kept))
    }

    /// Errors here would hide the one that led here.
    fn abandon(self, end: u64) {
        if self.cursor == Cursor::ToEnd {
            let _ = self.file.set_len(end.max(self.kept));
            let mut file = self.file;
            let _ = file.seek(SeekFrom::Start(end));
        }
    }
}

/// A file on a system that cannot write at positions.
struct SyncedOnFlush<'a> {
    file: &'a File,
    durability: Durability,
}

impl Write for SyncedOnFlush<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.durability {
            Durability::Synced => self.file.sync_data(),
            Durability::Unsynced => Ok(()),
        }
    }
}
