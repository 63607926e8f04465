//! What belongs to one process. `fork` copies memory, and no threads: in the child, a pool of the parent would never
//! work, and a lock that another thread held would never be free.

use std::cell::RefCell;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use pyo3::prelude::*;
use rayon::ThreadPool;
use waxseal::engine::Engine;
use waxseal::error::{Error, Result};

/// More threads do not help one file.
const MOST: usize = 8;

/// Held when anything of this module is looked at, and during a fork: see [`turn`].
static LOCK: Mutex<()> = Mutex::new(());

/// If [`LOCK`] is held, it is looked at again after this time.
const SOON: Duration = Duration::from_micros(200);

thread_local! {
    static FORKING: RefCell<Option<MutexGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// Before a fork: no other thread is in the middle of a change.
#[pyfunction]
#[pyo3(name = "_before_fork")]
pub(crate) fn before_fork() {
    FORKING.with(|forking| *forking.borrow_mut() = Some(turn()));
}

/// After a fork, in both processes.
#[pyfunction]
#[pyo3(name = "_after_fork")]
pub(crate) fn after_fork() {
    FORKING.with(|forking| drop(forking.borrow_mut().take()));
}

/// Waits for [`LOCK`]. A fork holds it while other libraries' handlers run, and these need the interpreter. So nobody may
/// wait for it while the interpreter is attached.
fn turn() -> MutexGuard<'static, ()> {
    loop {
        match LOCK.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                // Whether this thread is attached is not known.
                let waited = Python::try_attach(|py| py.detach(|| std::thread::sleep(SOON)));
                waited.unwrap_or_else(|| std::thread::sleep(SOON));
            }
        }
    }
}

/// The id of this process.
pub(crate) fn id() -> u32 {
    std::process::id()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A value with threads. Each process makes its own.
pub(crate) struct PerProcess<T>(Mutex<Option<(u32, T)>>);

impl<T: Clone> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The value of this process. `make` must be quick, and must not wait for the interpreter.
    pub(crate) fn get(&self, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let _turn = turn();
        let mut made = lock(&self.0);
        if let Some((process, value)) = &*made
            && *process == id()
        {
            return Ok(value.clone());
        }
        let value = make()?;
        forget(made.replace((id(), value.clone())));
        Ok(value)
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let made = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if made.as_ref().is_some_and(|(process, _)| *process != id()) {
            forget(made);
        }
    }
}

/// Leaves what belongs to the parent as it is: to drop it would be to wait for threads that are not there, or to wake
/// those of the parent.
fn forget<T>(value: T) {
    std::mem::forget(value);
}

/// Threads that seal and open, and the engine on them.
#[derive(Clone)]
pub(crate) struct Threads {
    pub(crate) pool: Arc<ThreadPool>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) count: usize,
}

/// The threads of this process. They start with the first call.
pub(crate) fn threads() -> Result<Threads> {
    static THREADS: PerProcess<Threads> = PerProcess::new();
    THREADS.get(|| {
        let count = std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST);
        let pool = Arc::new(pool("waxseal", count)?);
        Ok(Threads { engine: Arc::new(Engine::with_pool(Arc::clone(&pool))), pool, count })
    })
}

/// The threads that wait for a store.
pub(crate) fn waiting_threads() -> Result<Arc<ThreadPool>> {
    static THREADS: PerProcess<Arc<ThreadPool>> = PerProcess::new();
    THREADS.get(|| Ok(Arc::new(pool("waxseal-store", 2 * MOST)?)))
}

fn pool(name: &'static str, threads: usize) -> Result<ThreadPool> {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
    let built = builder.thread_name(move |number| format!("{name}-{number}")).build();
    built.map_err(|error| Error::io("starting threads", std::io::Error::other(error.to_string())))
}
