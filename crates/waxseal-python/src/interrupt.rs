//! Ctrl-c, and other signals that have a handler in Python. Python runs the handler only if it is asked, and only on the
//! main thread.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use waxseal::engine::Observer;
use waxseal::error::Error;

use crate::errors::{Failure, Result};
use crate::process::lock;

/// So often a signal is looked for.
const EVERY: Duration = Duration::from_millis(50);
/// So long cancelled work may take to clean up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs what can take long without using this machine, such as a call to a key service. It runs on a thread of its own.
/// If a signal's handler raises an exception, nobody waits for it any more.
pub(crate) fn wait<T: Send + 'static>(py: Python<'_>, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
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
            drop_detached(done);
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

/// Drops a value whose drop may wait, for example for S3. Other threads of Python run meanwhile.
pub(crate) fn drop_detached<T: Send>(value: T) {
    let mut value = Some(value);
    // Whether this thread is attached is not known. At the end of the process, it may not be able to attach.
    Python::try_attach(|py| py.detach(|| drop(value.take())));
    drop(value);
}

/// Whether work that runs on another thread is to end. Once it was cancelled, nothing is committed.
#[derive(Default)]
pub(crate) struct Stop(Mutex<Phase>);

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Working,
    Committing,
    Cancelled,
}

impl Stop {
    /// `false` if it is too late, because the output gets its name at this moment.
    fn cancel(&self) -> bool {
        let mut phase = lock(&self.0);
        if *phase == Phase::Working {
            *phase = Phase::Cancelled;
        }
        *phase == Phase::Cancelled
    }

    fn pass(&self, next: Phase) -> io::Result<()> {
        let mut phase = lock(&self.0);
        if *phase == Phase::Cancelled {
            return Err(io::Error::other("cancelled"));
        }
        *phase = next;
        Ok(())
    }
}

impl Observer for Stop {
    fn go_on(&self) -> io::Result<()> {
        self.pass(Phase::Working)
    }

    fn committing(&self) -> io::Result<()> {
        self.pass(Phase::Committing)
    }
}

/// Runs what works on files, on a thread of its own. If a signal's handler raises an exception, the work is cancelled,
/// and the exception is raised when the work has cleaned up. Only a call to a key service, and the opening of an object in
/// S3, are not waited for: they are over some time later, and what comes after them does not happen.
pub(crate) fn cancellable<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce(&Stop) -> T + Send + 'static,
) -> Result<T> {
    cancellable_with(py, work, || ())
}

/// The same for work that `cancel` must tell, too.
pub(crate) fn cancellable_with<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce(&Stop) -> T + Send + 'static,
    cancel: impl Fn(),
) -> Result<T> {
    let stop = Arc::new(Stop::default());
    let receiver = begin({
        let stop = Arc::clone(&stop);
        move || work(&stop)
    })?;
    loop {
        if let Some(done) = look_for_answer(py, &receiver)? {
            return Ok(done);
        }
        if let Err(raised) = py.check_signals() {
            let until = stop.cancel().then(|| Instant::now() + PATIENCE);
            cancel();
            while until.is_none_or(|until| Instant::now() < until) && look_for_answer(py, &receiver)?.is_none() {}
            return Err(raised.into());
        }
    }
}

/// Looks for signals.
pub(crate) fn check(py: Python<'_>) -> Result<()> {
    py.check_signals().map_err(Failure::from)
}
