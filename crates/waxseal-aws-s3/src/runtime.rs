//! The runtime of a handle.
//!
//! Code inside tokio must not start another runtime, and must not block on one. Therefore, callers only wait on a
//! channel. Blocking and async calls both run on this one runtime, so they share connections.

use std::future::Future;
use std::panic::catch_unwind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use waxseal::error::{Error, ProviderCause, ProviderError, Remedy, Result};

use crate::config::SERVICE;

/// Answers of several requests are received and decrypted at the same time.
const WORKERS: usize = 2;
/// This is longer than any program runs.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
const STARTING: &str = "starting the threads for S3";

/// A multi-thread runtime. Dropping it ends its threads, and with them all calls that are not done.
#[derive(Debug)]
pub(crate) struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    pub(crate) fn start() -> Result<Self> {
        let build = || {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(WORKERS).thread_name(SERVICE.thread).thread_keep_alive(FOR_EVER).enable_all();
            let runtime = builder.build()?;
            // Host names are resolved on another thread. It is started here, because the SDK would panic if it could
            // not be started later.
            drop(runtime.spawn_blocking(|| ()));
            Ok(runtime)
        };
        // tokio panics if a thread cannot be started.
        let built = catch_unwind(build).unwrap_or_else(|_| Err(std::io::Error::other("no threads")));
        built.map(|runtime| Self(Some(runtime))).map_err(|error| Error::io(STARTING, error))
    }

    /// Starts `future` at once. It ends when the result is dropped.
    pub(crate) fn spawn<T: Send + 'static>(&self, future: impl Future<Output = Result<T>> + Send + 'static) -> Task<T> {
        match &self.0 {
            Some(runtime) => Task(Some(runtime.spawn(future))),
            None => Task(None),
        }
    }
}

impl OwnRuntime {
    /// For work that continues even if nobody waits for it.
    pub(crate) fn handle(&self) -> Result<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone()).ok_or(ENDED)
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        // The last handle may be dropped inside a runtime, where nothing may block.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Work on the runtime. Dropping it ends the work.
#[derive(Debug)]
pub(crate) struct Task<T>(Option<JoinHandle<Result<T>>>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let Some(handle) = &mut self.0 else { return Poll::Ready(Err(ENDED)) };
        Pin::new(handle).poll(context).map(|done| match done {
            Ok(result) => result,
            Err(error) if error.is_panic() => Err(panicked()),
            Err(_) => Err(ENDED),
        })
    }
}

/// Turns a panic in the SDK into an error. The SDK panics at some configurations and answers. The panic's text is not
/// repeated, because it can contain a request.
fn panicked() -> Error {
    let why = "the AWS library failed because of its configuration or an answer";
    let error = ProviderError::new(ProviderCause::Rejected, "S3", why);
    Box::new(error.with_remedy(Remedy::CheckSettings)).into()
}

/// The runtime ended while a call was running. This cannot happen, because each call keeps its handle.
const ENDED: Error = Error::Bug("a call to S3 ended without an answer");

/// Blocks this thread until `future` is done, without a runtime. It is also allowed inside tokio. There it delays only
/// the caller's own tasks.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_the_providers_error_and_its_text_is_lost() {
        let runtime = OwnRuntime::start().unwrap();
        let error = wait(runtime.spawn::<()>(async { panic!("a canary") })).unwrap_err();
        assert!(matches!(&error, Error::Provider(_)) && !format!("{error:?}").contains("canary"), "{error:?}");
        assert_eq!(wait(runtime.spawn(async { Ok(1) })).unwrap(), 1);
    }

    #[test]
    fn inside_of_other_runtimes_and_dropped_there() {
        let other = Builder::new_current_thread().build().unwrap();
        other.block_on(async {
            let runtime = OwnRuntime::start().unwrap();
            assert_eq!(wait(runtime.spawn(async { Ok(1) })).unwrap(), 1);
            assert_eq!(runtime.spawn(async { Ok(2) }).await.unwrap(), 2);
            drop(runtime);
        });
    }

    #[test]
    fn work_ends_with_its_task() {
        let runtime = OwnRuntime::start().unwrap();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let task = runtime.spawn(async move {
            std::future::pending::<()>().await;
            drop(sender);
            Ok(())
        });
        drop(task);
        // The sender was dropped with the work.
        assert!(wait(receiver).is_err());
    }
}
