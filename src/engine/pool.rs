//! The engine's threads. They are its own, started with the first large input, or the caller's.

use std::num::NonZero;
use std::sync::{Arc, OnceLock};

use rayon::ThreadPool;

/// More workers gain nothing, because writes to one file take turns. The number also limits the memory for buffers.
const MAX_WORKERS: usize = 8;

/// Threads that work in addition to the calling one.
#[derive(Default)]
pub(super) struct Helpers {
    given: Option<Arc<ThreadPool>>,
    own: OnceLock<Option<ThreadPool>>,
}

impl Helpers {
    /// The caller's threads.
    pub(super) fn given(pool: Arc<ThreadPool>) -> Self {
        Self { given: Some(pool), own: OnceLock::new() }
    }

    /// One thread fewer than there are cores, because the calling thread works too. `None` on one core, or if the
    /// system cannot start threads.
    fn pool(&self) -> Option<&ThreadPool> {
        if let Some(pool) = &self.given {
            return Some(pool);
        }
        let start = || {
            let cores = std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_WORKERS);
            let named = |number| format!("waxseal-{number}");
            match cores {
                0 | 1 => None,
                cores => rayon::ThreadPoolBuilder::new().num_threads(cores - 1).thread_name(named).build().ok(),
            }
        };
        self.own.get_or_init(start).as_ref()
    }

    fn workers(&self, pool: &ThreadPool) -> usize {
        // The caller decides how many of its threads are busy, and the calling thread counts as one of them.
        let threads = pool.current_num_threads() + usize::from(self.given.is_none());
        threads.clamp(1, MAX_WORKERS)
    }

    /// Runs `work` on all threads at once, including the calling thread. Returns when all calls have returned.
    ///
    /// No call may wait for another one to start, because the caller's pool may have no free thread. A call may wait
    /// for one that has started.
    pub(super) fn run(&self, work: &(dyn Fn() + Sync)) {
        let Some(pool) = self.pool() else { return work() };
        pool.in_place_scope(|scope| {
            for _ in 1..self.workers(pool) {
                scope.spawn(|_| work());
            }
            work();
        });
    }

    /// Runs `here` on the calling thread and `there` in parallel, if a thread is free.
    pub(super) fn beside<A: Send, B>(&self, there: impl FnOnce() -> A + Send, here: impl FnOnce() -> B) -> (A, B) {
        let Some(pool) = self.pool() else { return (there(), here()) };
        let (mut out_there, mut out_here) = (None, None);
        pool.in_place_scope(|scope| {
            scope.spawn(|_| out_there = Some(there()));
            out_here = Some(here());
        });
        match (out_there, out_here) {
            (Some(there), Some(here)) => (there, here),
            _ => unreachable!("a scope ends when all of its work has"),
        }
    }
}
