//! The sinks: those that every worker writes at positions, such as a file, and streams, which are written in order.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::ordered::Ordered;
use super::{Durability, Patient, Sink, system};
use crate::error::{Error, Result};
use crate::io::{WriteAt, write_all_at};

/// The amount of space that is allocated at once for an output of unknown length.
const AHEAD: u64 = 64 << 20;
/// A file is written in pieces of this size, so its page cache is allocated in such pieces, too.
///
/// Larger pieces would use complete huge pages. A virtual machine returns idle huge pages to its host. Getting them
/// back costs several times as much as the larger pieces gain.
const WRITE_LEN: usize = 256 << 10;

/// A sink that is ready for use.
pub(super) enum Output<'a> {
    /// Several threads can write at any position.
    At(Box<dyn WriteAt + 'a>),
    /// Bytes can only be appended.
    Ordered(Ordered<'a>),
    /// All bytes are discarded.
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

    /// Announces that the output will end at `end` or slightly later.
    pub(super) fn expect(&self, end: u64) -> Result<()> {
        match self {
            Self::At(output) => output.expect(end).map_err(|error| Error::io("allocating space for the output", error)),
            Self::Ordered(_) | Self::Nowhere => Ok(()),
        }
    }

    /// Writes the output of task number `task` at `position`. On a stream, waits for all earlier tasks.
    pub(super) fn put(&self, task: u64, position: u64, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::At(output) => output.write_all_at(bytes, position),
            Self::Ordered(ordered) => ordered.put(task, bytes),
            Self::Nowhere => Ok(()),
        }
    }

    /// Whether written bytes cannot be taken back.
    pub(super) fn is_ordered(&self) -> bool {
        matches!(self, Self::Ordered(_))
    }

    /// On a stream, waits for all tasks before number `task`.
    pub(super) fn wait(&self, task: u64) {
        if let Self::Ordered(ordered) = self {
            ordered.wait(task);
        }
    }

    /// Announces that no task after number `task` writes, so that they need not wait for their turn.
    pub(super) fn close_behind(&self, task: u64) {
        if let Self::Ordered(ordered) = self {
            ordered.close_behind(task);
        }
    }

    /// Announces that all bytes up to position `end` have been written.
    pub(super) fn finish(self, end: u64) -> Result<()> {
        let finished = match self {
            Self::At(output) => output.finish(end),
            Self::Ordered(ordered) => ordered.finish(),
            Self::Nowhere => Ok(()),
        };
        finished.map_err(|error| Error::io("writing the output", error))
    }

    /// Announces that the work has failed. The bytes before position `end` are good.
    ///
    /// If neither of the two is called before the drop, the output is left empty.
    pub(super) fn abandon(self, end: u64) {
        if let Self::At(output) = self {
            output.abandon(end);
        }
    }
}

impl<'a> Sink<'a> {
    /// Uses a file that was opened elsewhere, such as standard output. It is written in order from its current
    /// position.
    ///
    /// Other programs may write to the same open file, so the engine cannot use positions of its own. For the same
    /// reason the engine does not sync it. That is up to the program that opened it.
    #[must_use]
    pub fn from_file(file: &'a File) -> Self {
        Self::Pipe(file)
    }
}

/// A file that is written at positions. It is left empty unless it is finished or abandoned.
struct FileOutput<'a> {
    file: &'a File,
    durability: Durability,
    /// The file's length limit. A process that writes beyond it is killed.
    limit: u64,
    /// The end of the space that is already allocated. `None` if the system does not allocate in advance.
    reserved: Mutex<Option<u64>>,
    /// Whether the file was changed.
    touched: AtomicBool,
    /// Whether the file has its final content.
    settled: bool,
}

impl<'a> FileOutput<'a> {
    fn new(file: &'a File, durability: Durability) -> Self {
        let (limit, reserved) = (system::file_size_limit(), Mutex::new(Some(0)));
        Self { file, durability, limit, reserved, touched: AtomicBool::new(false), settled: false }
    }

    /// Allocates space up to `end`, and then `ahead` bytes more. The file's length does not change.
    fn reserve(&self, end: u64, ahead: u64) -> io::Result<()> {
        self.touched.store(true, Ordering::Relaxed);
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(from) = reserved.filter(|from| *from < end) {
            self.check_limit(end)?;
            // Some file systems treat an allocation beyond the limit as a write there.
            let to = end.saturating_add(ahead).min(self.limit);
            *reserved = match system::preallocate(self.file, from, to - from) {
                Ok(made) => made.then_some(to),
                // The remaining space may still be enough for the actual output.
                Err(_) if ahead > 0 => None,
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    fn check_limit(&self, end: u64) -> io::Result<()> {
        if end <= self.limit { Ok(()) } else { Err(io::ErrorKind::FileTooLarge.into()) }
    }

    /// Frees the space after `end`, where the file already ends.
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
        // A single short write is not worth another call to allocate space.
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

    /// Errors here are ignored, because they would hide the original error.
    fn abandon(mut self: Box<Self>, end: u64) {
        self.settled = !self.touched.load(Ordering::Relaxed) || self.file.set_len(end).is_ok();
    }
}

impl Drop for FileOutput<'_> {
    fn drop(&mut self) {
        // After an error or a panic, the written bytes must not be used, and no space may stay allocated.
        if !self.settled && self.touched.load(Ordering::Relaxed) {
            let _ = self.file.set_len(0);
        }
    }
}

/// A file that is written in order. It may be a regular file, such as standard output.
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
