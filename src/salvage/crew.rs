//! The threads that search: rayon's where there are any, else the calling one.

use rayon::ThreadPool;
use rayon::prelude::*;

/// Who does the work.
pub(super) enum Crew {
    /// The pool of which the calling thread is one.
    Callers,
    /// Threads that were started for this.
    Own(ThreadPool),
    /// The calling thread, since the system starts no others. Rayon's global pool would panic then.
    Alone,
}

impl Crew {
    /// Whoever there is.
    pub(super) fn gather() -> Self {
        if rayon::current_thread_index().is_some() {
            return Self::Callers;
        }
        let named = |number| format!("waxseal-salvage-{number}");
        rayon::ThreadPoolBuilder::new().thread_name(named).build().map_or(Self::Alone, Self::Own)
    }

    /// What `work` makes of each of `items`, in their order. Each thread has a buffer of its own.
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

    /// What `work` finds in any of `items`.
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
