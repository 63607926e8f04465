//! The provider's own runtime, on a thread of its own.
//!
//! A caller inside tokio may not start a runtime, nor block on one; here it only waits on a channel. Calls of the
//! blocking and of the async kind run on this one runtime, so that they share connections.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::helpers;
use waxseal::error::{Error, ProviderCause, ProviderError, Result};

/// A current-thread runtime. Dropping it ends the thread; calls under way end with it.
pub(super) struct Worker {
    handle: Handle,
    /// Set where the runtime's second thread could not be started, before any call is made.
    no_helper: Arc<OnceLock<()>>,
    _alive: oneshot::Sender<()>,
}

const STARTING: &str = "starting a thread for AWS KMS";
/// Longer than any program runs.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Worker {
    pub(super) fn start() -> Result<Self> {
        let failed = |error| Error::io(STARTING, error);
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().thread_keep_alive(FOR_EVER).build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (_alive, dropped) = oneshot::channel::<()>();
        let no_helper = Arc::new(OnceLock::new());
        let helper = Arc::clone(&no_helper);
        let run = move || {
            // Files and names are looked up on a second thread. The SDK's calls panic where it cannot be started, some
            // in tasks of their own; where one is there, and stays, they wait for it.
            if catch_unwind(|| drop(runtime.spawn_blocking(|| ()))).is_err() {
                let _ = helper.set(());
            }
            // Ends with an error when the sender is dropped: that is the signal.
            let _ = runtime.block_on(dropped);
            // A lookup in the system's resolver may still be under way; nobody waits for it.
            runtime.shutdown_background();
            helpers::end_children_of_this_thread();
        };
        std::thread::Builder::new().name(helpers::THREAD.into()).spawn(run).map_err(failed)?;
        Ok(Self { handle, no_helper, _alive })
    }

    /// Starts `future` at once; the receiver gets its result.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> oneshot::Receiver<Result<T>> {
        let (sender, receiver) = oneshot::channel();
        let no_helper = Arc::clone(&self.no_helper);
        self.handle.spawn(async move {
            let answer = match no_helper.get() {
                None => guarded(future).await,
                Some(()) => Err(Error::io(STARTING, io::Error::other("the system has none left"))),
            };
            // Nobody waits any more: the caller gave up.
            let _ = sender.send(answer);
        });
        receiver
    }
}

/// The SDK panics at some configurations and answers. Those that are known are refused before; another one is an
/// error of the provider and no bug of the caller's. The panic's text is not repeated: a request may stand in it.
async fn guarded<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(move |context| {
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))).unwrap_or_else(|_| {
            let why = "the AWS library gave up on its configuration or on an answer";
            let error = ProviderError::new(ProviderCause::Rejected, "AWS", why);
            let hint =
                "check the AWS settings (docs/aws-configuration.md); `aws sts get-caller-identity` uses the same";
            std::task::Poll::Ready(Err(Box::new(error.with_hint(hint)).into()))
        })
    })
    .await
}

/// Blocks this thread, not a runtime: allowed inside of tokio too, where it holds up the caller's own tasks only.
pub(super) fn wait<T>(mut receiver: oneshot::Receiver<Result<T>>) -> Result<T> {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        match Future::poll(std::pin::Pin::new(&mut receiver), &mut context) {
            std::task::Poll::Ready(answer) => return answer.unwrap_or(Err(ENDED)),
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

/// The handle was dropped while it ran.
pub(super) const ENDED: Error = Error::Bug("a call to AWS KMS ended without an answer");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_the_providers_error_and_its_text_is_lost() {
        let worker = Worker::start().unwrap();
        let error = wait::<()>(worker.spawn(async { panic!("a canary") })).unwrap_err();
        assert!(matches!(&error, Error::Provider(_)) && !format!("{error:?}").contains("canary"), "{error:?}");
        assert!(wait(worker.spawn(async { Ok(1) })).is_ok(), "the thread goes on");
    }
}
