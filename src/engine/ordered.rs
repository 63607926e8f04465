//! A stream that several threads write in turn, and the record of errors.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::sink::Output;
use crate::error::Error;

/// Writes in the order of the task numbers.
///
/// A task waits only for tasks that were claimed before it. Those are being processed, so the wait ends even if there
/// are few threads.
pub(super) struct Ordered<'a> {
    turns: Mutex<Turns<'a>>,
    moved: Condvar,
}

struct Turns<'a> {
    writer: Box<dyn Write + Send + 'a>,
    next: u64,
    /// The last task that may still write.
    last: u64,
}

impl<'a> Ordered<'a> {
    pub(super) fn new(writer: Box<dyn Write + Send + 'a>) -> Self {
        Self { turns: Mutex::new(Turns { writer, next: 0, last: u64::MAX }), moved: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Turns<'a>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, task: u64, bytes: &[u8]) -> io::Result<()> {
        let mut turns = self.lock();
        while turns.next != task {
            if task > turns.last {
                return Ok(());
            }
            turns = self.moved.wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
        if task > turns.last {
            return Ok(());
        }
        turns.writer.write_all(bytes)?;
        turns.next += 1;
        self.moved.notify_all();
        Ok(())
    }

    /// Waits for the turn of task number `task`. Until [`put`](Self::put), no other task writes. Returns early if there
    /// will be no turn.
    pub(super) fn wait(&self, task: u64) {
        let mut turns = self.lock();
        while turns.next != task && task <= turns.last {
            turns = self.moved.wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn close_behind(&self, task: u64) {
        let mut turns = self.lock();
        turns.last = turns.last.min(task);
        self.moved.notify_all();
    }

    pub(super) fn finish(self) -> io::Result<()> {
        self.turns.into_inner().unwrap_or_else(PoisonError::into_inner).writer.flush()
    }
}

/// The error with the lowest chunk number, whichever thread found it first. So the result is the same as in serial
/// reading.
#[derive(Default)]
pub(super) struct Failures {
    any: AtomicBool,
    first: Mutex<Option<(u64, Error)>>,
}

impl Failures {
    /// Whether there is an error. Then no new task is started. All earlier tasks have already been started.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// The caller's code panicked. There is no error to report, but no new task is started.
    pub(super) fn panicked(&self) {
        self.any.store(true, Ordering::Release);
    }

    /// `error` is about chunk number `chunk`.
    pub(super) fn add(&self, chunk: u64, error: Error) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_none_or(|(lowest, _)| chunk < *lowest) {
            *first = Some((chunk, error));
        }
        self.any.store(true, Ordering::Release);
    }

    /// The chunk's number and its error.
    pub(super) fn into_first(self) -> Option<(u64, Error)> {
        self.first.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Exists while a task runs. If the task panics (in a caller's writer or observer), it ends the wait of all other
/// tasks.
pub(super) struct TaskGuard<'a, 'o> {
    pub(super) task: u64,
    pub(super) output: &'a Output<'o>,
    pub(super) failures: &'a Failures,
}

impl Drop for TaskGuard<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failures.panicked();
            self.output.close_behind(self.task);
        }
    }
}
