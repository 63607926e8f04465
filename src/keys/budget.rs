//! One memory budget for all Argon2id computations of a process.
//!
//! Each file may ask for 1 GiB. A caller that works on many files at once, as `rewrap` does, would use that much for
//! each of them. So the computations take turns. If one needs the whole budget, it runs alone.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The size of the budget in KiB. It is the maximum that a single slot may ask for.
pub(super) const LIMIT_KIB: u32 = 1024 * 1024;

/// The budget of this process.
pub(super) static ARGON2: Budget = Budget::new(LIMIT_KIB);

/// An amount of memory, shared in the order of the requests, so that a large request does not wait for ever.
pub(super) struct Budget {
    limit: u32,
    turns: Mutex<Turns>,
    moved: Condvar,
}

struct Turns {
    used: u32,
    /// The number for the next request.
    next: u64,
    /// The number of the request whose turn it is.
    served: u64,
}

/// A part of a budget. It is returned on drop.
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

    /// Waits until `kib` are free. A holder of a share must return it before asking for another one.
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
                        // Some requests need the whole budget, and one asks for more than that.
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
