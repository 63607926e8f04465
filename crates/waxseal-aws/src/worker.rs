//! The runtime of a handle, on its own thread.
//!
//! Code inside tokio may not start another runtime, and may not block on one. It only waits on a channel here. Blocking
//! and async calls both run on this one runtime, so they share connections.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::{Service, helpers};
use waxseal::error::{Error, ProviderCause, ProviderError, Remedy, Result};

/// A current-thread runtime. Dropping it ends the thread, and with it all calls that are not done.
pub struct Worker {
    handle: Handle,
    /// What starting it is called in an error.
    starting: String,
    /// Set if the runtime's second thread could not be started. This is known before any call is made.
    no_helper: Arc<OnceLock<()>>,
    _alive: oneshot::Sender<()>,
}

/// Longer than any program runs.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl std::fmt::Debug for Worker {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl Worker {
    /// Starts the thread for the calls of `service`.
    ///
    /// # Errors
    /// [`Error::Io`] if the thread cannot be started.
    pub fn start(service: &Service) -> Result<Self> {
        let starting = format!("starting a thread for {}", service.name);
        let failed = |error| Error::io(starting.as_str(), error);
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().thread_keep_alive(FOR_EVER).build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (_alive, dropped) = oneshot::channel::<()>();
        let no_helper = Arc::new(OnceLock::new());
        let helper = Arc::clone(&no_helper);
        let run = move || {
            // Files are read and host names are resolved on a second thread. If it cannot be started, the SDK's calls
            // panic, some in tasks of their own. Once it is started, it stays, and the calls wait for it.
            if catch_unwind(|| drop(runtime.spawn_blocking(|| ()))).is_err() {
                let _ = helper.set(());
            }
            // Dropping the sender ends this with an error. That is the signal to stop.
            let _ = runtime.block_on(dropped);
            // The system's resolver may still be working. Nothing waits for it.
            runtime.shutdown_background();
            helpers::end_children_of_this_thread();
        };
        std::thread::Builder::new().name(service.thread.into()).spawn(run).map_err(failed)?;
        Ok(Self { handle, starting, no_helper, _alive })
    }

    /// Starts `future` immediately. The receiver gets its result.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> oneshot::Receiver<Result<T>> {
        let (sender, receiver) = oneshot::channel();
        let (no_helper, starting) = (Arc::clone(&self.no_helper), self.starting.clone());
        self.handle.spawn(async move {
            let answer = match no_helper.get() {
                None => guarded(future).await,
                Some(()) => Err(Error::io(starting, io::Error::other("the system can start no more threads"))),
            };
            // This fails if the caller no longer waits.
            let _ = sender.send(answer);
        });
        receiver
    }
}

/// Makes an error of a panic in the SDK. The SDK panics at some configurations and answers. The known ones are refused
/// before they reach it. Any other panic is an error of the key service, and not a bug of the caller. The panic's text is
/// not repeated, because it can contain a request.
async fn guarded<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(move |context| {
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))).unwrap_or_else(|_| {
            let why = "the AWS library failed because of its configuration or an answer";
            let error = ProviderError::new(ProviderCause::Rejected, "AWS", why);
            std::task::Poll::Ready(Err(Box::new(error.with_remedy(Remedy::CheckSettings)).into()))
        })
    })
    .await
}

/// Blocks this thread, but no runtime. This is allowed inside tokio too, where it delays only the caller's own tasks.
///
/// # Errors
/// The error of the call.
pub fn wait<T>(mut receiver: oneshot::Receiver<Result<T>>) -> Result<T> {
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

/// The runtime ended while a call was running. It cannot: each call holds its handle.
pub const ENDED: Error = Error::Bug("a call to AWS ended without an answer");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_the_providers_error_and_its_text_is_lost() {
        let worker = Worker::start(&crate::config::tests::KMS).unwrap();
        let error = wait::<()>(worker.spawn(async { panic!("a canary") })).unwrap_err();
        assert!(matches!(&error, Error::Provider(_)) && !format!("{error:?}").contains("canary"), "{error:?}");
        assert!(wait(worker.spawn(async { Ok(1) })).is_ok(), "the thread goes on");
    }
}
