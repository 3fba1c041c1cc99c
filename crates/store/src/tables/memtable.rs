//! Cells in memory: in the order of their keys for those who read ranges, and by a hash of the key for the writer, which
//! mostly replaces what is there, and for those who read one.
//!
//! Going down the tree for each change took a tenth of all that a node did for a record that is written again and again.

use hashbrown::HashTable;
use lsm_tree::Slice;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The last version of each record; `None`: it is gone, whatever the layers below say.
pub struct Memtable {
    cells: Vec<Cell>,
    /// Their places in `cells`, which they never leave, by their keys ...
    order: BTreeMap<Slice, u32>,
    /// ... and by the hashes of their keys.
    places: HashTable<u32>,
    /// Keys come from clients, who are not to know which of them have the same hash.
    seed: u64,
}

struct Cell {
    key: Slice,
    value: Option<Slice>,
}

impl Default for Memtable {
    fn default() -> Memtable {
        let seed = RandomState::new().hash_one(0);
        Memtable { cells: Vec::new(), order: BTreeMap::new(), places: HashTable::new(), seed }
    }
}

impl Memtable {
    /// The last version of a record; `None`: the layers below know.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Slice>> {
        let place = self.places.find(hash_of(key, self.seed), |&place| *self.cells[place as usize].key == *key)?;
        Some(&self.cells[*place as usize].value)
    }

    /// Returns what was there before.
    pub(super) fn insert(&mut self, key: Slice, value: Option<Slice>) -> Option<Option<Slice>> {
        let Memtable { cells, order, places, seed } = self;
        let hash = hash_of(&key, *seed);
        if let Some(&place) = places.find(hash, |&place| cells[place as usize].key == key) {
            return Some(std::mem::replace(&mut cells[place as usize].value, value));
        }
        let place = u32::try_from(cells.len()).expect("a memtable's bytes are bounded, and with them its cells");
        places.insert_unique(hash, place, |&place| hash_of(&cells[place as usize].key, *seed));
        order.insert(key.clone(), place);
        cells.push(Cell { key, value });
        None
    }

    /// Cells in the order of their keys. `from` must not lie behind `to`.
    pub(super) fn range(
        &self,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl DoubleEndedIterator<Item = (&Slice, &Option<Slice>)> {
        self.order.range::<[u8], _>((from, to)).map(|(key, &place)| (key, &self.cells[place as usize].value))
    }

    /// All cells in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Slice, &Option<Slice>)> {
        self.range((Bound::Unbounded, Bound::Unbounded))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

fn hash_of(key: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(key, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map_in_the_order_of_its_keys() {
        let (mut memtable, mut model) = (Memtable::default(), BTreeMap::new());
        assert!(memtable.is_empty());
        let mut random = 7_u64;
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        for version in 0..20_000_u64 {
            let key = format!("{:0width$}", below(900), width = below(30) as usize);
            let value = (below(4) > 0).then(|| Slice::from(version.to_be_bytes()));
            let old = memtable.insert(key.as_bytes().into(), value.clone());
            assert_eq!(old, model.insert(Slice::from(key.as_bytes()), value), "{key}");
        }
        for (key, value) in &model {
            assert_eq!(memtable.get(key), Some(value));
        }
        assert_eq!(memtable.get(b"no key"), None);
        assert!(memtable.iter().eq(&model));
        let bounds = (Bound::Excluded(&b"0"[..]), Bound::Included(&b"7"[..]));
        assert!(memtable.range(bounds).eq(model.range::<[u8], _>(bounds)));
        assert!(memtable.range(bounds).rev().eq(model.range::<[u8], _>(bounds).rev()));
    }
}
