//! Work that several callers wait for.
//!
//! Each of them polls it. So it goes on as long as one of them waits, and nobody waits for a caller who does something
//! else. When the last one has gone, the work is dropped.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::ThreadId;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use tokio::sync::Notify;

/// One caller's share in the work.
pub(crate) struct Together<T: Clone> {
    work: Shared<Noting<T>>,
    others: Arc<Others>,
    has_ended: bool,
}

/// `Shared` wakes those who wait for the work when it wakes. If it wakes while one caller polls it, those who come until
/// the end of that poll are not among them, and that caller may never poll it again. So it wakes them afterwards.
#[derive(Default)]
struct Others {
    waiting: Notify,
    /// The thread whose poll of the work has just ended, if the work woke during that poll.
    owed_by: Mutex<Option<ThreadId>>,
}

impl Others {
    fn owed_by(&self) -> MutexGuard<'_, Option<ThreadId>> {
        self.owed_by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The work, with a note of its wakeups.
struct Noting<T> {
    work: BoxFuture<'static, T>,
    others: Arc<Others>,
    woken: Arc<Woken>,
}

struct Woken {
    is_woken: AtomicBool,
    /// That of `Shared`, which wakes all.
    all: Mutex<Waker>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.wake();
    }
}

impl<T> Future for Noting<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.woken.all.lock().unwrap_or_else(PoisonError::into_inner).clone_from(context.waker());
        self.woken.is_woken.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.woken));
        let polled = self.work.as_mut().poll(&mut Context::from_waker(&waker));
        let is_owed = polled.is_pending() && self.woken.is_woken.load(Ordering::SeqCst);
        *self.others.owed_by() = is_owed.then(|| std::thread::current().id());
        polled
    }
}

/// Leads to the work while somebody waits for it.
pub(crate) struct Weak<T: Clone> {
    work: WeakShared<Noting<T>>,
    others: Arc<Others>,
}

impl<T: Clone + Send + 'static> Together<T> {
    /// `work` must not panic: everybody who waits would panic, too.
    pub(crate) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        let others: Arc<Others> = Arc::default();
        let woken = Arc::new(Woken { is_woken: AtomicBool::new(false), all: Mutex::new(Waker::noop().clone()) });
        let work = Noting { work: work.boxed(), others: Arc::clone(&others), woken };
        Self { work: work.shared(), others, has_ended: false }
    }

    /// `None` if the work has ended.
    pub(crate) fn downgrade(&self) -> Option<Weak<T>> {
        Some(Weak { work: self.work.downgrade()?, others: Arc::clone(&self.others) })
    }

    /// Waits for the result.
    pub(crate) async fn ended(mut self) -> T {
        let others = Arc::clone(&self.others);
        loop {
            // It hears every call from now on, also one that comes before it is polled.
            let mut called = pin!(others.waiting.notified());
            let ended = poll_fn(|context| {
                if let Poll::Ready(result) = Pin::new(&mut self.work).poll(context) {
                    return Poll::Ready(Some(result));
                }
                if others.owed_by().take_if(|thread| *thread == std::thread::current().id()).is_some() {
                    others.waiting.notify_waiters();
                    // The work has woken this caller already.
                    return Poll::Pending;
                }
                called.as_mut().poll(context).map(|()| None)
            });
            if let Some(result) = ended.await {
                self.has_ended = true;
                return result;
            }
        }
    }
}

impl<T: Clone> Drop for Together<T> {
    fn drop(&mut self) {
        // The end of the work wakes everybody itself.
        if !self.has_ended {
            self.others.waiting.notify_waiters();
        }
    }
}

impl<T: Clone> Weak<T> {
    /// Keeps the work until the result is dropped. The holder does not wait for it.
    pub(crate) fn hold(&self) -> Option<impl Sized + use<T>> {
        self.work.upgrade()
    }

    pub(crate) fn upgrade(&self) -> Option<Together<T>> {
        Some(Together { work: self.work.upgrade()?, others: Arc::clone(&self.others), has_ended: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn the_work_ends_with_the_last_caller() {
        let one = Together::new(pending::<()>());
        let weak = one.downgrade().unwrap();
        let two = weak.upgrade().unwrap();
        drop(one);
        assert!(weak.upgrade().is_some());
        drop(two);
        assert!(weak.upgrade().is_none());
    }

    /// The work wakes itself while the first caller polls it, and that caller leaves, or does something else from then
    /// on. The second one, who came in between, goes on.
    #[test]
    fn no_caller_takes_a_wakeup_along() {
        for leaves in [true, false] {
            let ((inside, is_inside), (go, may_go)) = (channel(), channel());
            let mut polls = 0;
            let first = Together::new(poll_fn(move |context| {
                polls += 1;
                if polls > 1 {
                    return Poll::Ready(7);
                }
                context.waker().wake_by_ref();
                inside.send(()).unwrap();
                may_go.recv().unwrap();
                Poll::Pending
            }));
            let second = first.downgrade().unwrap().upgrade().unwrap();
            let first = std::thread::spawn(move || {
                let mut first = first.ended().boxed();
                assert!(first.as_mut().now_or_never().is_none());
                (!leaves).then_some(first)
            });
            is_inside.recv().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                // A task is polled only after a wakeup.
                let second = tokio::spawn(second.ended());
                tokio::task::yield_now().await;
                assert!(!second.is_finished(), "the first caller polls");
                go.send(()).unwrap();
                let _first = first.join().unwrap();
                let second = tokio::time::timeout(Duration::from_secs(20), second).await;
                assert_eq!(second.expect("nobody polls").unwrap(), 7);
            });
        }
    }
}
