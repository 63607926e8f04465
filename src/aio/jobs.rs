//! Work on other threads. Its results are returned in the order in which the work was started.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread::available_parallelism;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{SHORT, UNFINISHED};
use crate::error::Result;

/// More threads than this do not help one stream.
const MOST: usize = 8;

enum Job<T> {
    Done(Result<T>),
    Running(JoinHandle<Result<T>>),
}

/// Pieces of work that were started, the oldest first.
pub(super) struct Jobs<T> {
    begun: VecDeque<Job<T>>,
    most: usize,
}

impl<T: Send + 'static> Jobs<T> {
    pub(super) fn new() -> Self {
        // One more than the number of cores, so that each core has its next piece while a result is being passed on.
        let cores = available_parallelism().map_or(1, std::num::NonZero::get).min(MOST);
        Self { begun: VecDeque::new(), most: cores + 1 }
    }

    /// Whether another piece may be started. This limits the memory.
    pub(super) fn has_room(&self) -> bool {
        self.begun.len() < self.most
    }

    pub(super) fn is_empty(&self) -> bool {
        self.begun.is_empty()
    }

    /// Begins `work` on `len` bytes.
    pub(super) fn push(&mut self, len: usize, work: impl FnOnce() -> Result<T> + Send + 'static) {
        let runtime = if len > SHORT { Handle::try_current().ok() } else { None };
        self.begun.push_back(match runtime {
            Some(runtime) => Job::Running(runtime.spawn_blocking(work)),
            None => Job::Done(work()),
        });
    }

    /// The result of the oldest piece. `None` if there is none.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let ended = match self.begun.front_mut() {
            None => return Poll::Ready(None),
            Some(Job::Done(_)) => None,
            Some(Job::Running(job)) => Some(ready!(Pin::new(job).poll(cx)).unwrap_or(Err(UNFINISHED))),
        };
        Poll::Ready(match (self.begun.pop_front(), ended) {
            (_, Some(result)) | (Some(Job::Done(result)), None) => Some(result),
            _ => None,
        })
    }
}
