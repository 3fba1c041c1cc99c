//! Tables whose keys strangers choose: topics, filters, their levels, client identifiers.
//!
//! With a hash that anyone can compute, a client could name a hundred thousand filters that all fall into the same
//! place, and a shard would look through all of them again and again. So this one depends on a number that nobody outside
//! knows.

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::OnceLock;

/// A table of names.
pub(crate) type NameMap<K, V> = HashMap<K, V, NameHash>;

/// A set of names.
pub(crate) type NameSet<K> = HashSet<K, NameHash>;

/// What names are hashed by, in all of the process: it takes no room in a table.
#[derive(Clone, Copy, Default, Debug)]
pub struct NameHash;

struct Seed {
    own: u64,
    shared: SharedSeed,
}

static SEED: OnceLock<Seed> = OnceLock::new();

/// Draws what names are hashed by from `seed`, which nobody outside may know. It counts where it comes before the first
/// shard of the process is made, and only once; without it, the hashes are the same in each run.
pub fn seed_names(seed: u64) {
    let _ = SEED.set(Seed::from(seed)); // Two nodes in one process share what was drawn first.
}

impl From<u64> for Seed {
    fn from(seed: u64) -> Seed {
        Seed { own: seed.rotate_left(32), shared: SharedSeed::from_u64(seed) }
    }
}

impl BuildHasher for NameHash {
    type Hasher = FoldHasher<'static>;

    #[inline]
    fn build_hasher(&self) -> FoldHasher<'static> {
        let seed = SEED.get_or_init(|| Seed::from(0));
        FoldHasher::with_seed(seed.own, &seed.shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{Hash, Hasher};

    #[test]
    fn names_with_one_hash_under_a_seed_have_different_ones_under_others() {
        let hash = |name: &str, seed: &Seed| {
            let mut hasher = FoldHasher::with_seed(seed.own, &seed.shared);
            name.hash(&mut hasher);
            hasher.finish()
        };
        // Of 100,000 names some thousands share a place of a million with another.
        let (known, other) = (Seed::from(1), Seed::from(2));
        let mut places: HashMap<u64, Vec<String>> = HashMap::new();
        for name in (0..100_000).map(|number| format!("dog/{number}")) {
            places.entry(hash(&name, &known) & 0xfffff).or_default().push(name);
        }
        let together: Vec<_> = places.into_values().filter(|names| names.len() > 1).collect();
        let still = |names: &&Vec<String>| hash(&names[0], &other) & 0xfffff == hash(&names[1], &other) & 0xfffff;
        assert!(together.len() > 1_000);
        assert!(together.iter().filter(still).count() < 10);
    }
}
