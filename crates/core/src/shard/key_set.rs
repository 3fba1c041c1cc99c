//! Which keys there are, without the keys.

use rustc_hash::FxHashSet;
use std::hash::{DefaultHasher, Hasher};

/// Keys as eight bytes each: a hash nobody outside can foresee. Two that have the same one, by chance, are taken for
/// one.
#[derive(Default)]
pub(super) struct KeySet {
    seed: u64,
    hashes: FxHashSet<u64>,
}

impl KeySet {
    pub(super) fn new(seed: u64) -> KeySet {
        KeySet { seed, hashes: FxHashSet::default() }
    }

    /// `false`: it was there already.
    pub(super) fn insert(&mut self, key: &[u8]) -> bool {
        self.hashes.insert(self.hash(key))
    }

    /// `false`: it was not there.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        self.hashes.remove(&self.hash(key))
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.hashes.contains(&self.hash(key))
    }

    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write(key);
        hasher.finish()
    }
}
