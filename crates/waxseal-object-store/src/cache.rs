//! Headers that were read, with the keys of their payloads: few, and not for long.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use object_store::path::Path;

use crate::opened::Opened;

/// An object: its name, and the version that the caller asked for. Most callers ask for none.
pub(crate) type Key = (Path, Option<String>);

/// So many entries may be left over before they are removed.
const LEFT_OVER: usize = 64;

/// Objects that were opened. An object is kept for `age` at most, and the oldest ones leave first. The keys of an object
/// are wiped when it has left and the last read of it has ended.
pub(crate) struct Cache {
    state: Mutex<State>,
    most: usize,
    age: Duration,
}

#[derive(Default)]
struct State {
    kept: HashMap<Key, Kept>,
    /// The oldest first. An entry whose number is not that of the kept object is left over.
    order: VecDeque<(Instant, u64, Key)>,
    number: u64,
}

struct Kept {
    number: u64,
    opened: Arc<Opened>,
}

impl Cache {
    pub(crate) fn new(most: usize, age: Duration) -> Self {
        Self { state: Mutex::default(), most, age }
    }

    /// The object as it was when it was opened.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Opened>> {
        let mut state = self.state();
        state.expire(self.age);
        state.kept.get(key).map(|kept| Arc::clone(&kept.opened))
    }

    pub(crate) fn insert(&self, key: Key, opened: Arc<Opened>) {
        if self.most == 0 {
            return;
        }
        let mut state = self.state();
        state.expire(self.age);
        state.number += 1;
        let number = state.number;
        state.kept.insert(key.clone(), Kept { number, opened });
        state.order.push_back((Instant::now(), number, key));
        while state.kept.len() > self.most {
            state.drop_oldest();
        }
        if state.order.len() > 2 * self.most + LEFT_OVER {
            let State { kept, order, .. } = &mut *state;
            order.retain(|(_, number, key)| kept.get(key).is_some_and(|kept| kept.number == *number));
        }
    }

    /// Forgets `opened`, which is not the object of this name any more. A newer one stays.
    pub(crate) fn forget(&self, key: &Key, opened: &Arc<Opened>) {
        let mut state = self.state();
        if state.kept.get(key).is_some_and(|kept| Arc::ptr_eq(&kept.opened, opened)) {
            state.kept.remove(key);
        }
    }

    /// Forgets whatever is known about the object of this name. It was written to.
    pub(crate) fn forget_path(&self, path: &Path) {
        self.state().kept.remove(&(path.clone(), None));
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        state.kept.clear();
        state.order.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No operation leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drops the objects that are older than `age`.
    fn expire(&mut self, age: Duration) {
        while self.order.front().is_some_and(|(since, ..)| since.elapsed() >= age) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((_, number, key)) = self.order.pop_front() else { return };
        if self.kept.get(&key).is_some_and(|kept| kept.number == number) {
            self.kept.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opened::tests::opened;

    fn key(name: &str) -> Key {
        (Path::from(name), None)
    }

    #[test]
    fn the_oldest_leave_first() {
        let cache = Cache::new(2, Duration::from_secs(3600));
        for name in ["a", "b", "a", "c"] {
            cache.insert(key(name), opened());
        }
        assert!(cache.get(&key("b")).is_none(), "`a` was opened again after `b`");
        assert!(cache.get(&key("a")).is_some() && cache.get(&key("c")).is_some());
        cache.forget_path(&Path::from("a"));
        assert!(cache.get(&key("a")).is_none());
        for _ in 0..1000 {
            cache.insert(key("a"), opened());
        }
        assert!(cache.state().order.len() <= 2 * 2 + LEFT_OVER, "what is left over is bounded");
        cache.clear();
        assert!(cache.get(&key("a")).is_none() && cache.get(&key("c")).is_none());
    }

    #[test]
    fn nothing_is_kept_too_long_or_at_all() {
        for (most, age) in [(0, Duration::from_secs(3600)), (9, Duration::ZERO)] {
            let cache = Cache::new(most, age);
            let object = opened();
            cache.insert(key("a"), Arc::clone(&object));
            assert!(cache.get(&key("a")).is_none());
            assert_eq!(Arc::strong_count(&object), 1, "its keys are wiped");
        }
    }

    #[test]
    fn only_the_same_object_is_forgotten() {
        let cache = Cache::new(2, Duration::from_secs(3600));
        let (old, new) = (opened(), opened());
        cache.insert(key("a"), Arc::clone(&new));
        cache.forget(&key("a"), &old);
        assert!(cache.get(&key("a")).is_some());
        cache.forget(&key("a"), &new);
        assert!(cache.get(&key("a")).is_none());
    }
}
