//! The threads that search: rayon's if there are any, otherwise the calling one.

use std::thread::available_parallelism;

use rayon::ThreadPool;
use rayon::prelude::*;

/// More threads than this are never started. `-j` has the same limit.
const MOST: usize = 64;

/// The threads that do the work.
pub(super) enum Crew {
    /// The pool to which the calling thread belongs.
    Callers,
    /// Threads that were started for this salvage.
    Own(ThreadPool),
    /// The calling thread, because the system cannot start others. Rayon's global pool would panic in this case.
    Alone,
}

impl Crew {
    /// Chooses the threads.
    pub(super) fn gather() -> Self {
        if rayon::current_thread_index().is_some() {
            return Self::Callers;
        }
        let named = |number| format!("waxseal-salvage-{number}");
        let threads = number_of_threads(std::env::var("RAYON_NUM_THREADS").ok().as_deref());
        rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(named).build().map_or(Self::Alone, Self::Own)
    }

    /// The results of `work` for `items`, in their order. Each thread has its own buffer.
    pub(super) fn map<T: Send + Sync + Copy, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&mut Vec<u8>, T) -> R + Sync + Send,
    ) -> Vec<R> {
        let spread = || items.par_iter().map_init(Vec::new, |buffer, item| work(buffer, *item)).collect();
        match self {
            Self::Callers => spread(),
            Self::Own(pool) => pool.install(spread),
            Self::Alone => {
                let mut buffer = Vec::new();
                items.iter().map(|item| work(&mut buffer, *item)).collect()
            }
        }
    }

    /// One result of `work` for any of `items`, if there is one.
    pub(super) fn find<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Option<R> + Sync + Send,
    ) -> Option<R> {
        let spread = || items.par_iter().find_map_any(&work);
        match self {
            Self::Callers => spread(),
            Self::Own(pool) => pool.install(spread),
            Self::Alone => items.iter().find_map(work),
        }
    }
}

/// What `RAYON_NUM_THREADS` says, within limits. Rayon itself has no limit. Otherwise one thread for each core.
fn number_of_threads(wanted: Option<&str>) -> usize {
    let wanted = wanted.and_then(|text| text.parse().ok()).filter(|threads| *threads > 0);
    wanted.unwrap_or_else(|| available_parallelism().map_or(1, usize::from)).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_threads_has_a_limit() {
        let cores = number_of_threads(None);
        assert!((1..=MOST).contains(&cores));
        for (wanted, threads) in [("3", 3), ("64", 64), ("65", 64), ("100000", 64), ("0", cores), ("many", cores)] {
            assert_eq!(number_of_threads(Some(wanted)), threads, "{wanted}");
        }
    }

    #[test]
    fn any_crew_does_the_same() {
        let items: Vec<u64> = (0..1000).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let crews = [Crew::gather(), Crew::Alone, pool.install(Crew::gather)];
        assert!(matches!(crews, [Crew::Own(_), Crew::Alone, Crew::Callers]));
        for crew in crews {
            let doubled = pool.install(|| crew.map(&items, |_, item| item * 2));
            assert!(doubled.iter().zip(&items).all(|(double, item)| *double == item * 2) && doubled.len() == 1000);
            let find = |wanted: u64| pool.install(|| crew.find(&items, |item| (*item == wanted).then_some(wanted)));
            assert_eq!((find(999), find(1000)), (Some(999), None));
        }
    }
}
