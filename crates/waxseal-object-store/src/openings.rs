//! One opening of an object for all callers who need it at the same time.

use std::any::Any;
use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use object_store::Result;
use tokio::runtime::{Handle, Id};

use crate::cache::Key;
use crate::opened::{Found, Opened};
use crate::together::{Together, Weak};

/// So many openings are remembered before those that were dropped are removed.
const KEPT: usize = 64;

/// How an opening has ended.
pub(crate) struct Ended {
    /// The object, for all callers. `None` if there was an error or a panic.
    pub(crate) opened: Option<Arc<Opened>>,
    /// Everything, for the caller who began.
    found: Mutex<Option<std::thread::Result<Result<Found>>>>,
}

impl Ended {
    pub(crate) fn of(found: std::thread::Result<Result<Found>>) -> Arc<Self> {
        let opened = found.as_ref().ok().and_then(|found| found.as_ref().ok());
        let opened = opened.map(|found| Arc::clone(&found.opened));
        Arc::new(Self { opened, found: Mutex::new(Some(found)) })
    }

    /// What the opening has found, or its error. `None` the second time.
    ///
    /// # Panics
    /// As the opening did.
    pub(crate) fn take(&self) -> Option<Result<Found>> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(found.unwrap_or_else(|panic: Box<dyn Any + Send>| resume_unwind(panic)))
    }
}

/// An object, and the runtime of its callers. What the wrapped store waits for may need the runtime that asked for it,
/// so callers of another one do not share it.
type Place = (Key, Option<Id>);

/// Names a running opening.
pub(crate) struct Number(Place, u64);

/// The openings that are under way.
#[derive(Default)]
pub(crate) struct Openings(Mutex<State>);

#[derive(Default)]
struct State {
    number: u64,
    running: HashMap<Place, (u64, Weak<Arc<Ended>>)>,
}

impl Openings {
    /// The opening of this object, and whether the caller has begun it. `begin` gets the number of the new opening.
    pub(crate) fn join(
        &self,
        key: &Key,
        begin: impl FnOnce(Number) -> BoxFuture<'static, Arc<Ended>>,
    ) -> (Together<Arc<Ended>>, bool) {
        let place = (key.clone(), Handle::try_current().ok().map(|runtime| runtime.id()));
        // Dropped after the lock: one of them may be the last of its opening.
        let mut seen = Vec::new();
        let mut state = self.state();
        if let Some(opening) = state.running.get(&place).and_then(|(_, opening)| opening.upgrade()) {
            return (opening, false);
        }
        if state.running.len() >= KEPT {
            state.running.retain(|_, (_, opening)| {
                let opening = opening.hold();
                let is_running = opening.is_some();
                seen.extend(opening);
                is_running
            });
        }
        state.number += 1;
        let number = state.number;
        let opening = Together::new(begin(Number(place.clone(), number)));
        if let Some(weak) = opening.downgrade() {
            state.running.insert(place, (number, weak));
        }
        drop(state);
        (opening, true)
    }

    /// The opening with this number has ended: whoever comes later needs another one.
    pub(crate) fn ended(&self, Number(place, number): &Number) {
        let mut state = self.state();
        if state.running.get(place).is_some_and(|(running, _)| running == number) {
            state.running.remove(place);
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
    use futures_util::FutureExt;
    use object_store::path::Path;
    use std::future::pending;

    fn key(name: &str) -> Key {
        (Path::from(name), None)
    }

    /// Begins or joins an opening. Also gives its number if it was begun.
    fn join(openings: &Openings, name: &str) -> (Together<Arc<Ended>>, Option<Number>) {
        let mut begun = None;
        let (opening, is_own) = openings.join(&key(name), |number| {
            begun = Some(number);
            pending().boxed()
        });
        assert_eq!(is_own, begun.is_some());
        (opening, begun)
    }

    #[test]
    fn openings_do_not_pile_up() {
        let openings = Openings::default();
        let held = join(&openings, "held");
        for number in 0..1000 {
            drop(join(&openings, &number.to_string()));
        }
        assert!(openings.state().running.len() <= KEPT + 1);
        assert!(join(&openings, "held").1.is_none());
        drop(held);
        assert!(join(&openings, "held").1.is_some());
    }

    #[test]
    fn an_opening_that_has_ended_is_not_joined() {
        let openings = Openings::default();
        let (_held, first) = join(&openings, "a");
        openings.ended(first.as_ref().unwrap());
        let (_held_too, second) = join(&openings, "a");
        let second = second.unwrap();
        // The first one ends once more, late.
        openings.ended(&first.unwrap());
        assert!(join(&openings, "a").1.is_none());
        openings.ended(&second);
        assert!(openings.state().running.is_empty());
    }

    #[test]
    fn another_runtime_has_its_own() {
        let openings = Openings::default();
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (one, two) = (runtime(), runtime());
        let held = one.block_on(async { join(&openings, "a") });
        assert!(held.1.is_some());
        assert!(one.block_on(async { join(&openings, "a").1 }).is_none());
        assert!(two.block_on(async { join(&openings, "a").1 }).is_some());
    }
}
