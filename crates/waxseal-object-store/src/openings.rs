//! One opening of an object for all callers who need it at the same time.
//!
//! The opening is a future that each of them polls. So it goes on as long as one of them waits for it, and nobody waits
//! for a caller who does something else. Nothing is left of it when the last one has gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use object_store::Result;

use crate::cache::Key;
use crate::opened::{Found, Opened};

/// So many openings are remembered before those that were dropped are removed.
const KEPT: usize = 64;

/// How an opening has ended.
pub(crate) struct Ended {
    /// The object, for all callers. `None` after an error.
    pub(crate) opened: Option<Arc<Opened>>,
    /// Everything, for the caller who began.
    found: Mutex<Option<Result<Found>>>,
}

impl Ended {
    pub(crate) fn of(found: Result<Found>) -> Arc<Self> {
        let opened = found.as_ref().ok().map(|found| Arc::clone(&found.opened));
        Arc::new(Self { opened, found: Mutex::new(Some(found)) })
    }

    /// What the opening has found, or its error. `None` the second time.
    pub(crate) fn take(&self) -> Option<Result<Found>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

type Work = BoxFuture<'static, Arc<Ended>>;

/// The openings that are under way.
#[derive(Default)]
pub(crate) struct Openings(Mutex<State>);

#[derive(Default)]
struct State {
    number: u64,
    running: HashMap<Key, (u64, WeakShared<Work>)>,
}

impl Openings {
    /// The opening of this object, and whether the caller has begun it. `begin` gets the number of the new opening.
    pub(crate) fn join(&self, key: &Key, begin: impl FnOnce(u64) -> Work) -> (Shared<Work>, bool) {
        let mut state = self.state();
        if let Some(opening) = state.running.get(key).and_then(|(_, opening)| opening.upgrade()) {
            return (opening, false);
        }
        if state.running.len() >= KEPT {
            state.running.retain(|_, (_, opening)| opening.upgrade().is_some());
        }
        state.number += 1;
        let opening = begin(state.number).shared();
        if let Some(weak) = opening.downgrade() {
            let number = state.number;
            state.running.insert(key.clone(), (number, weak));
        }
        (opening, true)
    }

    /// The opening with this number has ended: whoever comes later needs another one.
    pub(crate) fn ended(&self, key: &Key, number: u64) {
        let mut state = self.state();
        if state.running.get(key).is_some_and(|(running, _)| *running == number) {
            state.running.remove(key);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No operation leaves the state half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::path::Path;
    use std::future::pending;

    fn key(name: &str) -> Key {
        (Path::from(name), None)
    }

    #[test]
    fn openings_do_not_pile_up() {
        let openings = Openings::default();
        let (held, is_own) = openings.join(&key("held"), |_| pending().boxed());
        assert!(is_own);
        for number in 0..1000 {
            drop(openings.join(&key(&number.to_string()), |_| pending().boxed()));
        }
        assert!(openings.state().running.len() <= KEPT + 1);
        let (again, is_own) = openings.join(&key("held"), |_| pending().boxed());
        assert!(!is_own && again.ptr_eq(&held));
    }

    #[test]
    fn an_opening_that_has_ended_is_not_joined() {
        let openings = Openings::default();
        let (mut first, mut second) = (0, 0);
        let begun = openings.join(&key("a"), |number| {
            first = number;
            pending().boxed()
        });
        openings.ended(&key("a"), first);
        let again = openings.join(&key("a"), |number| {
            second = number;
            pending().boxed()
        });
        assert!(again.1 && !again.0.ptr_eq(&begun.0));
        // The first one ends once more, late.
        openings.ended(&key("a"), first);
        assert!(!openings.join(&key("a"), |_| pending().boxed()).1);
        openings.ended(&key("a"), second);
        assert!(openings.state().running.is_empty());
    }
}
