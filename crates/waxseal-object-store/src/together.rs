//! Work that several callers wait for.
//!
//! Each of them polls it. So it goes on as long as one of them waits, and nobody waits for a caller who does something
//! else. When the last one has gone, the work is dropped.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, Shared, WeakShared, select};
use tokio::sync::Notify;

/// One caller's share in the work.
pub(crate) struct Together<T: Clone> {
    work: Shared<BoxFuture<'static, T>>,
    /// The work may have asked only this caller to poll it again. If it does not, another one must.
    left: Arc<Notify>,
    has_ended: bool,
}

/// Leads to the work while somebody waits for it.
pub(crate) struct Weak<T: Clone> {
    work: WeakShared<BoxFuture<'static, T>>,
    left: Arc<Notify>,
}

impl<T: Clone + Send + 'static> Together<T> {
    /// `work` must not panic: everybody who waits would panic, too.
    pub(crate) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { work: work.boxed().shared(), left: Arc::default(), has_ended: false }
    }

    /// `None` if the work has ended.
    pub(crate) fn downgrade(&self) -> Option<Weak<T>> {
        Some(Weak { work: self.work.downgrade()?, left: Arc::clone(&self.left) })
    }

    /// Waits for the result.
    pub(crate) async fn ended(mut self) -> T {
        let others = Arc::clone(&self.left);
        loop {
            let left = pin!(others.notified());
            if let Either::Left((result, _)) = select(&mut self.work, left).await {
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
            self.left.notify_waiters();
        }
    }
}

impl<T: Clone> Weak<T> {
    /// Keeps the work until the result is dropped. The holder does not wait for it.
    pub(crate) fn hold(&self) -> Option<impl Sized + use<T>> {
        self.work.upgrade()
    }

    pub(crate) fn upgrade(&self) -> Option<Together<T>> {
        Some(Together { work: self.work.upgrade()?, left: Arc::clone(&self.left), has_ended: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, poll_fn};
    use std::sync::mpsc::channel;
    use std::task::Poll;
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

    /// The work wakes itself while the first caller polls it, and that caller leaves. The second one, who came in
    /// between, goes on.
    #[test]
    fn a_caller_who_leaves_takes_no_wakeup_along() {
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
        let first = std::thread::spawn(move || assert!(first.ended().now_or_never().is_none()));
        is_inside.recv().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            // A task is polled only after a wakeup.
            let second = tokio::spawn(second.ended());
            tokio::task::yield_now().await;
            assert!(!second.is_finished(), "the first caller polls");
            go.send(()).unwrap();
            first.join().unwrap();
            let second = tokio::time::timeout(Duration::from_secs(20), second).await;
            assert_eq!(second.expect("nobody polls").unwrap(), 7);
        });
    }
}
