//! A stream that many threads write in turn, and the record of what failed.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::sink::Output;
use crate::error::Error;

/// Writes in the order of the tasks' numbers.
///
/// A task waits only for tasks that were claimed before it, and those are being worked on: so the wait ends,
/// however few threads there are.
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

    /// Waits for the turn of task number `task`: until [`put`](Self::put), nobody else writes. Or until none will come.
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

/// The failure nearest to the start, whichever thread met its own first: so the answer is the serial one.
#[derive(Default)]
pub(super) struct Failures {
    any: AtomicBool,
    first: Mutex<Option<(u64, Error)>>,
}

impl Failures {
    /// Whether there is any: then no new task is to be begun. Those before it have all been begun already.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// A caller's code panicked: no error to show, but no new task either.
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

    /// The chunk and its error.
    pub(super) fn into_first(self) -> Option<(u64, Error)> {
        self.first.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While a task is worked on. Should that panic (in a caller's writer or observer), nobody waits for its turn.
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
