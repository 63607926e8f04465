//! The threads that search: rayon's if there are any, otherwise the calling one.

use rayon::ThreadPool;
use rayon::prelude::*;

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
        rayon::ThreadPoolBuilder::new().thread_name(named).build().map_or(Self::Alone, Self::Own)
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

#[cfg(test)]
mod tests {
    use super::*;

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
