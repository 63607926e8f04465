//! The same for async code. A caller that waits blocks no thread, and no runtime is needed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Shelf, State, Turn, is_of_batch};
use crate::error::Result;
use crate::format::{Binding, Slot};
use crate::keys::{AsyncKeyOpener, BoxFuture};
use crate::secret::DataKey;

/// [`BatchOpener`](super::BatchOpener) for a key service that answers asynchronously.
///
/// It keeps the same data keys under the same conditions. If several tasks need the same data key, one of them asks, and
/// the others wait for its answer without blocking a thread. If the task that asks is dropped before the answer comes,
/// another one asks.
///
/// Use one opener for all files of a job:
///
/// ```no_run
/// # async fn example(files: &[Vec<u8>], service: impl waxseal::keys::AsyncKeyOpener) -> waxseal::Result<()> {
/// use waxseal::Demands;
/// use waxseal::container::Opening;
/// use waxseal::format::Front;
/// use waxseal::keys::AsyncBatchOpener;
///
/// let opener = AsyncBatchOpener::new(service);
/// for file in files {
///     let opening = Opening::read(Front::new(file.clone()), &Demands::new())?;
///     let opened = opening.open_async(&[&opener]).await?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct AsyncBatchOpener<O> {
    inner: O,
    kept: Mutex<Waited>,
}

/// The data keys, and the tasks that wait for one of them.
#[derive(Default)]
struct Waited {
    shelf: Shelf,
    tasks: Vec<Waker>,
}

impl<O> AsyncBatchOpener<O> {
    /// Asks `inner`, and keeps what it answers.
    #[must_use]
    pub fn new(inner: O) -> Self {
        Self { inner, kept: Mutex::default() }
    }

    /// The opener inside.
    #[must_use]
    pub fn inner(&self) -> &O {
        &self.inner
    }

    fn kept(&self) -> MutexGuard<'_, Waited> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_turn(&self, slot: &Slot, binding: &Binding, context: &Context<'_>) -> Poll<Result<Turn>> {
        let mut kept = self.kept();
        match kept.shelf.turn(slot, binding) {
            // The lock is held, so the answer cannot come between the question and this.
            Ok(None) => {
                if !kept.tasks.iter().any(|task| task.will_wake(context.waker())) {
                    kept.tasks.push(context.waker().clone());
                }
                Poll::Pending
            }
            Ok(Some(turn)) => Poll::Ready(Ok(turn)),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn settle(&self, slot: &Slot, binding: &Binding, state: Option<State>) {
        let mut kept = self.kept();
        kept.shelf.settle(slot, binding, state);
        let tasks = std::mem::take(&mut kept.tasks);
        // A waker can run code of others, which may come back here.
        drop(kept);
        tasks.into_iter().for_each(Waker::wake);
    }
}

/// A question that others wait for. If it is dropped without an answer, another task asks.
struct Asking<'a, O> {
    opener: &'a AsyncBatchOpener<O>,
    slot: &'a Slot,
    binding: &'a Binding,
    state: Option<State>,
}

impl<O> Drop for Asking<'_, O> {
    fn drop(&mut self) {
        let state = self.state.take();
        self.opener.settle(self.slot, self.binding, state);
    }
}

impl<O: AsyncKeyOpener> AsyncBatchOpener<O> {
    async fn open_once(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        // The opener inside refuses a slot that it may not open.
        if !is_of_batch(slot, binding) || !self.inner.matches(slot) {
            return self.inner.open(slot, binding).await;
        }
        match std::future::poll_fn(|context| self.poll_turn(slot, binding, context)).await? {
            Turn::Done(key) => Ok(key),
            Turn::Alone => {
                let key = self.inner.open(slot, binding).await?;
                self.settle(slot, binding, Some(State::Known(DataKey::from_slice(key.expose())?)));
                Ok(key)
            }
            Turn::Asks => {
                let mut asking = Asking { opener: self, slot, binding, state: None };
                let answer = self.inner.open(slot, binding).await;
                asking.state = Some(match &answer {
                    Ok(key) => State::Known(DataKey::from_slice(key.expose())?),
                    Err(_) => State::Refused,
                });
                answer
            }
        }
    }
}

impl<O: AsyncKeyOpener> AsyncKeyOpener for AsyncBatchOpener<O> {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn matches(&self, slot: &Slot) -> bool {
        self.inner.matches(slot)
    }

    fn open<'a>(&'a self, slot: &'a Slot, binding: &'a Binding) -> BoxFuture<'a, Result<DataKey>> {
        Box::pin(self.open_once(slot, binding))
    }
}
