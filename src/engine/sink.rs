//! Where bytes go: what is written at positions by every worker, such as a file, or a stream, written in order.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::ordered::Ordered;
use super::{Durability, Patient, Sink, system};
use crate::error::{Error, Result};
use crate::io::{WriteAt, write_all_at};

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
    At(Box<dyn WriteAt + 'a>),
    /// Can only be written on.
    Ordered(Ordered<'a>),
    /// Takes everything.
    Nowhere,
}

impl<'a> Output<'a> {
    pub(super) fn new(sink: Sink<'a>) -> Result<Self> {
        match sink {
            Sink::File(file, durability) if cfg!(any(unix, windows)) => {
                Ok(Self::At(Box::new(FileOutput::new(file, durability))))
            }
            Sink::At(output) => Ok(Self::At(output)),
            Sink::File(file, durability) => {
                Ok(Self::Ordered(Ordered::new(Box::new(SyncedOnFlush { file, durability }))))
            }
            Sink::Pipe(file) => {
                system::enlarge_pipe(file);
                Ok(Self::Ordered(Ordered::new(Box::new(InPieces(file)))))
            }
            Sink::Stream(stream) => Ok(Self::Ordered(Ordered::new(Box::new(stream)))),
            Sink::Nowhere => Ok(Self::Nowhere),
        }
    }

    /// Expects the output to end at `end` or little later.
    pub(super) fn expect(&self, end: u64) -> Result<()> {
        match self {
            Self::At(output) => output.expect(end).map_err(|error| Error::io("making room for the output", error)),
            Self::Ordered(_) | Self::Nowhere => Ok(()),
        }
    }

    /// Writes what task number `task` made, whose place is `position`. On a stream, waits for all tasks before it.
    pub(super) fn put(&self, task: u64, position: u64, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::At(output) => output.write_all_at(bytes, position),
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
    ///
    /// An output that is dropped without either of these is left empty.
    pub(super) fn abandon(self, end: u64) {
        if let Self::At(output) = self {
            output.abandon(end);
        }
    }
}

impl<'a> Sink<'a> {
    /// Takes a file that was opened elsewhere, such as standard output, to be written in order from where it stands.
    ///
    /// Whatever it is: others may write to the same open file, so that no place in it is the engine's own. For the
    /// same reason it is not synced: that is for whoever opened it.
    #[must_use]
    pub fn from_file(file: &'a File) -> Self {
        Self::Pipe(file)
    }
}

/// A file that is written at positions. Unless it is finished or abandoned, it is left empty.
struct FileOutput<'a> {
    file: &'a File,
    durability: Durability,
    /// Longer the file may not become; a process that tries is killed.
    limit: u64,
    /// Up to where there is room already. `None` where the system gives none in advance.
    reserved: Mutex<Option<u64>>,
    /// Whether anything was done to the file.
    touched: AtomicBool,
    /// Whether the file is as it is to stay.
    settled: bool,
}

impl<'a> FileOutput<'a> {
    fn new(file: &'a File, durability: Durability) -> Self {
        let (limit, reserved) = (system::file_size_limit(), Mutex::new(Some(0)));
        Self { file, durability, limit, reserved, touched: AtomicBool::new(false), settled: false }
    }

    /// Makes room up to `end`, and then for `ahead` bytes more. The file does not become longer by it.
    fn reserve(&self, end: u64, ahead: u64) -> io::Result<()> {
        self.touched.store(true, Ordering::Relaxed);
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(from) = reserved.filter(|from| *from < end) {
            self.check_limit(end)?;
            // Some file systems take room beyond the limit for an attempt to write there.
            let to = end.saturating_add(ahead).min(self.limit);
            *reserved = match system::preallocate(self.file, from, to - from) {
                Ok(made) => made.then_some(to),
                // It may still hold what is really to come.
                Err(_) if ahead > 0 => None,
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    fn check_limit(&self, end: u64) -> io::Result<()> {
        if end <= self.limit { Ok(()) } else { Err(io::ErrorKind::FileTooLarge.into()) }
    }

    /// Gives back the room behind `end`, which is where the file ends already.
    fn trim(&self, end: u64) -> io::Result<()> {
        let reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if reserved.is_some_and(|reserved| reserved <= end) {
            return Ok(());
        }
        self.file.set_len(end)
    }
}

impl WriteAt for FileOutput<'_> {
    fn expect(&self, end: u64) -> io::Result<()> {
        self.reserve(end, 0)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.touched.store(true, Ordering::Relaxed);
        self.check_limit(position + bytes.len() as u64)?;
        // A single short write is not worth a call more.
        if position > 0 || bytes.len() >= super::SMALL_INPUT {
            self.reserve(position + bytes.len() as u64, AHEAD)?;
        }
        for (piece, at) in bytes.chunks(WRITE_LEN).zip((position..).step_by(WRITE_LEN)) {
            write_all_at(self.file, piece, at)?;
        }
        if self.durability != Durability::Unsynced {
            system::start_write_back(self.file, position, bytes.len() as u64);
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, end: u64) -> io::Result<()> {
        self.trim(end)?;
        if self.durability == Durability::Synced {
            self.file.sync_data()?;
        }
        self.settled = true;
        Ok(())
    }

    /// Errors here would hide the one that led here.
    fn abandon(mut self: Box<Self>, end: u64) {
        self.settled = !self.touched.load(Ordering::Relaxed) || self.file.set_len(end).is_ok();
    }
}

impl Drop for FileOutput<'_> {
    fn drop(&mut self) {
        // An error or a panic: nothing vouches for what was written, and no room may stay taken.
        if !self.settled && self.touched.load(Ordering::Relaxed) {
            let _ = self.file.set_len(0);
        }
    }
}

/// A file that is written in order. It may well be a regular one, such as standard output's.
struct InPieces<'a>(&'a File);

impl Write for InPieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Patient(self.0).write(&bytes[..bytes.len().min(WRITE_LEN)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
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
            Durability::Started | Durability::Unsynced => Ok(()),
        }
    }
}
