//! Lets the caller decide, directly before an object is made, whether this may happen.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tokio::sync::oneshot;
use waxseal::error::{Error, Result};

/// Decides whether an object may be made, for example after a signal has asked the program to end.
///
/// It is asked after everything else is done, directly before the one request that makes the object:
/// CompleteMultipartUpload, or PutObject for a short one.
pub trait Gate: fmt::Debug + Send + Sync {
    /// Calls `step` if the object may be made. `step` sends the request, and returns when its result is known. If
    /// `step` is not called, the request is not sent, and no object is made.
    ///
    /// It is called on a separate thread, and may block that thread for any time.
    fn pass(&self, step: &mut dyn FnMut());

    /// Whether the program is about to end. From then on, the request is not sent again, and the handle waits only a
    /// few more seconds for an answer. A rewrap that has not sent it yet stops, and aborts its upload.
    ///
    /// It is asked often while the request or a rewrap is under way, and must not block.
    fn has_closed(&self) -> bool {
        false
    }
}

/// The time between two calls of `has_closed`.
const INTERVAL: Duration = Duration::from_millis(50);

/// Waits until `gate` has closed.
pub(crate) async fn closed(gate: Option<Arc<dyn Gate>>) {
    let Some(gate) = gate else { return std::future::pending().await };
    while !gate.has_closed() {
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The error if a gate lets nothing pass.
pub(crate) fn ending() -> Error {
    Error::io("completing an object", std::io::Error::other("the program is about to end"))
}

/// The request may be sent as long as this exists.
#[derive(Debug)]
pub(crate) struct Pass {
    _over: Sender<()>,
}

/// Asks `gate`.
pub(crate) async fn pass(gate: Option<Arc<dyn Gate>>) -> Result<Option<Pass>> {
    let Some(gate) = gate else { return Ok(None) };
    let (granted, answer) = oneshot::channel();
    let (over, wait) = channel();
    let ask = move || ask(gate.as_ref(), granted, &wait);
    let thread = std::thread::Builder::new().name("waxseal-gate".into()).spawn(ask);
    thread.map_err(|error| Error::io("starting a thread", error))?;
    match answer.await {
        Ok(()) => Ok(Some(Pass { _over: over })),
        Err(_) => Err(ending()),
    }
}

fn ask(gate: &dyn Gate, granted: oneshot::Sender<()>, over: &Receiver<()>) {
    let mut granted = Some(granted);
    gate.pass(&mut || {
        if granted.take().is_some_and(|granted| granted.send(()).is_ok()) {
            // It ends when the pass is dropped.
            let _ = over.recv();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[derive(Debug, Default)]
    struct Seen {
        refuses: bool,
        inside: AtomicBool,
    }

    impl Gate for Seen {
        fn pass(&self, step: &mut dyn FnMut()) {
            if !self.refuses {
                self.inside.store(true, Ordering::SeqCst);
                step();
                self.inside.store(false, Ordering::SeqCst);
            }
        }
    }

    #[tokio::test]
    async fn the_step_lasts_as_long_as_the_pass() {
        let seen = Arc::new(Seen::default());
        let pass = pass(Some(Arc::<Seen>::clone(&seen))).await.unwrap().unwrap();
        assert!(seen.inside.load(Ordering::SeqCst));
        drop(pass);
        while seen.inside.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn a_gate_that_does_not_open() {
        let gate = Arc::new(Seen { refuses: true, ..Seen::default() });
        assert!(pass(Some(gate)).await.is_err());
        assert!(pass(None).await.unwrap().is_none());
    }
}
