//! Ctrl-c, and other signals that have a handler in Python. Python runs the handler only if it is asked, and only on the
//! main thread.

use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
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
pub(crate) fn wait<T: Send + 'static>(py: Python<'_>, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (sender, receiver) = sync_channel(1);
    let failed = |error| Error::io("starting a thread", error);
    let run = move || {
        // This fails if the caller no longer waits.
        let _ = sender.send(work());
    };
    std::thread::Builder::new().name("waxseal-call".into()).spawn(run).map_err(failed)?;
    let receiver = Mutex::new(receiver);
    loop {
        match py.detach(|| lock(&receiver).recv_timeout(EVERY)) {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Bug("a call ended without an answer").into()),
        }
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
