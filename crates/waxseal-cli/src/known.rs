//! Names that came before, as hashes: there can be a million of them.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::hash::{BuildHasher as _, RandomState};

/// A set of names, in little memory.
#[derive(Default)]
pub(crate) struct Known {
    hashers: (RandomState, RandomState),
    hashes: HashSet<(u64, u64)>,
}

impl Known {
    /// Adds `name`. Whether it is new.
    pub(crate) fn add(&mut self, name: &OsStr) -> bool {
        let hash = self.hash(name);
        self.hashes.insert(hash)
    }

    /// Whether `name` was added.
    pub(crate) fn has(&self, name: &OsStr) -> bool {
        self.hashes.contains(&self.hash(name))
    }

    fn hash(&self, name: &OsStr) -> (u64, u64) {
        let (one, other) = &self.hashers;
        (one.hash_one(name), other.hash_one(name))
    }
}
