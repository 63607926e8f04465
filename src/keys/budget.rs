//! One memory budget for all Argon2id of a process.
//!
//! Each file may ask for 1 GiB. Who works on many files at once, as `rewrap` does, would give that to each of them: so
//! they take turns. One that needs the whole budget gets it, alone.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// So much is in use at once, in KiB: what a single slot may ask for at most.
pub(super) const LIMIT_KIB: u32 = 1024 * 1024;

/// The budget of this process.
pub(super) static ARGON2: Budget = Budget::new(LIMIT_KIB);

/// So much memory, shared in the order in which it is asked for: none that needs much waits for ever.
pub(super) struct Budget {
    limit: u32,
    turns: Mutex<Turns>,
    moved: Condvar,
}

struct Turns {
    used: u32,
    /// The number that the next who comes gets.
    next: u64,
    /// Whose turn it is.
    served: u64,
}

/// A part of a budget, given back on drop.
pub(super) struct Share<'a> {
    budget: &'a Budget,
    kib: u32,
}

impl Budget {
    const fn new(limit: u32) -> Self {
        Self { limit, turns: Mutex::new(Turns { used: 0, next: 0, served: 0 }), moved: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `kib` are free. Whoever has a share must not ask for another one before giving it back.
    pub(super) fn share(&self, kib: u32) -> Share<'_> {
        let kib = kib.min(self.limit);
        let mut turns = self.lock();
        let number = turns.next;
        turns.next += 1;
        while turns.served != number || turns.used > self.limit - kib {
            turns = self.moved.wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
        turns.used += kib;
        turns.served += 1;
        self.moved.notify_all();
        Share { budget: self, kib }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.lock().used -= self.kib;
        self.budget.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn never_more_than_the_limit_at_once_and_everybody_gets_a_turn() {
        let budget = Budget::new(100);
        let (used, most, served) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for number in 0..16 {
                let (budget, used, most, served) = (&budget, &used, &most, &served);
                scope.spawn(move || {
                    for round in 0..100 {
                        // Some need all of it, and one asks for more than there is.
                        let kib = [10, 40, 60, 100, 1000][(number + round) % 5];
                        let share = budget.share(kib);
                        let now = used.fetch_add(kib.min(100), Ordering::SeqCst) + kib.min(100);
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        used.fetch_sub(kib.min(100), Ordering::SeqCst);
                        served.fetch_add(1, Ordering::SeqCst);
                        drop(share);
                    }
                });
            }
        });
        assert_eq!(served.into_inner(), 1600);
        let most = most.into_inner();
        assert!((1..=100).contains(&most), "{most}");
        assert_eq!(budget.lock().used, 0);
    }
}
