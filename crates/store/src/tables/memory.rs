//! A base in memory: what was flushed to it survives a simulated crash.

use super::base::{Base, BaseError};
use super::layers::Tables;
use super::memtable::Memtable;
use lsm_tree::Slice;
use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::ops::Bound;
use std::sync::{Arc, RwLock};

/// The flushed part of tables that have no disk.
#[derive(Default)]
pub struct MemBase(RwLock<Arc<BTreeMap<Slice, Slice>>>);

impl Tables<MemBase> {
    /// Empty tables; a memtable is frozen at `memtable_bytes`, and flushed when the next one is due.
    #[must_use]
    pub fn new(memtable_bytes: usize) -> Tables<MemBase> {
        Tables::over(MemBase::default(), memtable_bytes, "memory".to_owned()).expect("memory does not fail")
    }

    /// Loses everything that was not flushed, as at a crash. Nobody else may be using them.
    pub fn crash(&self) {
        self.reset().expect("memory does not fail");
    }
}

impl Base for MemBase {
    fn get(&self, key: &[u8]) -> Result<Option<Slice>, BaseError> {
        Ok(self.0.read().expect("no holder panics").get(key).cloned())
    }

    fn range(
        &self,
        from: Bound<&[u8]>,
        to: &[u8],
    ) -> Box<dyn DoubleEndedIterator<Item = Result<(Slice, Slice), BaseError>> + Send> {
        let map = Arc::clone(&self.0.read().expect("no holder panics"));
        Box::new(MemRange { map, from: from.map(Slice::from), to: Bound::Excluded(to.into()) })
    }

    fn flush(&self, cells: &Memtable, own: (&[u8], &[u8])) -> Result<(), BaseError> {
        let mut map = self.0.write().expect("no holder panics");
        let map = Arc::make_mut(&mut map);
        for (key, value) in cells.iter() {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
        map.insert(own.0.into(), own.1.into());
        Ok(())
    }
}

/// What is left of a range; each step finds its place anew, so that nothing is borrowed.
struct MemRange {
    map: Arc<BTreeMap<Slice, Slice>>,
    from: Bound<Slice>,
    to: Bound<Slice>,
}

impl MemRange {
    fn left(&self) -> Range<'_, Slice, Slice> {
        match (&self.from, &self.to) {
            // A range that begins behind its end would panic.
            (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to)) if from >= to => Range::default(),
            bounds => self.map.range::<Slice, _>((bounds.0.as_ref(), bounds.1.as_ref())),
        }
    }
}

impl Iterator for MemRange {
    type Item = Result<(Slice, Slice), BaseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.left().next().map(|(key, value)| (key.clone(), value.clone()))?;
        self.from = Bound::Excluded(key.clone());
        Some(Ok((key, value)))
    }
}

impl DoubleEndedIterator for MemRange {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (key, value) = self.left().next_back().map(|(key, value)| (key.clone(), value.clone()))?;
        self.to = Bound::Excluded(key.clone());
        Some(Ok((key, value)))
    }
}
