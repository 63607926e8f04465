//! Ctrl-c, and other signals that have a handler in Python. Python runs the handler only if it is asked, and only on the
//! main thread.

use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use waxseal::engine::Observer;
use waxseal::error::Error;

use crate::errors::{Failure, Result};
use crate::process::lock;

/// So often a signal is looked for.
const EVERY: Duration = Duration::from_millis(50);

/// Runs what can take long without using this machine, such as a call to a key service. It runs on a thread of its own.
/// If a signal's handler raises an exception, nobody waits for it any more.
pub(crate) fn wait<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let receiver = begin(work)?;
    loop {
        match look_for_answer(py, &receiver)? {
            Some(done) => return Ok(done),
            None => py.check_signals()?,
        }
    }
}

/// The same for work that may not be left alone. If a signal's handler raises an exception, `cancel` is called, and the
/// end of the work is waited for before the exception is raised.
pub(crate) fn wait_to_the_end<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> T + Send + 'static,
    cancel: impl Fn(),
) -> Result<T> {
    let receiver = begin(work)?;
    let mut raised = None;
    loop {
        let done = look_for_answer(py, &receiver)?;
        if let Some(error) = raised.take_if(|_| done.is_some()) {
            return Err(Failure::Python(error));
        }
        if let Some(done) = done {
            return Ok(done);
        }
        if let Err(error) = py.check_signals() {
            cancel();
            raised = Some(error);
        }
    }
}

fn begin<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<Mutex<Receiver<T>>> {
    let (sender, receiver) = sync_channel(1);
    let failed = |error| Error::io("starting a thread", error);
    let run = move || {
        // This fails if the caller no longer waits.
        let _ = sender.send(work());
    };
    std::thread::Builder::new().name("waxseal-call".into()).spawn(run).map_err(failed)?;
    Ok(Mutex::new(receiver))
}

/// What the work has given, if it ends soon.
fn look_for_answer<T: Send>(py: Python<'_>, receiver: &Mutex<Receiver<T>>) -> Result<Option<T>> {
    match py.detach(|| lock(receiver).recv_timeout(EVERY)) {
        Ok(done) => Ok(Some(done)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(Error::Bug("a call ended without an answer").into()),
    }
}

/// Looks for signals while the engine works. The exception of a handler ends the work, and is raised.
pub(crate) struct Watch {
    last: Mutex<Instant>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { last: Mutex::new(Instant::now()) }
    }

    fn is_time(&self) -> bool {
        let Ok(mut last) = self.last.try_lock() else { return false };
        let now = Instant::now();
        let is_time = now.duration_since(*last) >= EVERY;
        if is_time {
            *last = now;
        }
        is_time
    }

    /// Looks for signals now.
    pub(crate) fn look() -> io::Result<()> {
        // At the end of the interpreter there is nobody who could be told.
        Python::try_attach(|py| py.check_signals()).unwrap_or(Ok(())).map_err(io::Error::other)
    }
}

/// The calling thread works too, and so looks for signals, if it is the main one.
impl Observer for Watch {
    fn go_on(&self) -> io::Result<()> {
        if self.is_time() { Self::look() } else { Ok(()) }
    }

    fn committing(&self) -> io::Result<()> {
        Self::look()
    }
}

/// Looks for signals.
pub(crate) fn check(py: Python<'_>) -> Result<()> {
    py.check_signals().map_err(Failure::from)
}
