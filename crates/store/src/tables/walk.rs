//! Goes through all layers in the order of keys, the newest version of each.

use super::base::{Base, BaseError};
use super::layers::Inner;
use super::memtable::Memtable;
use crate::damage::Damage;
use crate::error::StateError;
use lsm_tree::Slice;
use std::ops::Bound;

/// What a walk comes by.
pub(super) enum Step<'a> {
    /// A cell: its key and its value.
    Cell(&'a Slice, &'a Slice),
    /// Something that cannot be read.
    Unreadable(Damage),
}

/// Whether a walk goes on.
pub(super) enum Walk {
    On,
    Stop,
}

impl<B: Base> Inner<B> {
    /// Shows cells in order, from `from` up to but not including `to`, until `visit` has had enough. What cannot be read
    /// has its place among them.
    pub(super) fn walk(
        &self,
        from: Bound<&[u8]>,
        to: &[u8],
        mut visit: impl FnMut(Step<'_>) -> Walk,
    ) -> Result<(), StateError> {
        let mut from: Bound<Slice> = from.map(Slice::from);
        let mut cells = WALK_CELLS_FIRST;
        while let Some(last) = self.walk_some(&from, to, cells, &mut visit)? {
            from = Bound::Excluded(last);
            cells = (cells * 4).min(WALK_CELLS_MAX);
        }
        Ok(())
    }

    /// One stretch of a walk. The memtable is copied, so many cells at a time, since the writer waits for whoever reads
    /// it. Returns the key after which to go on; `None`: the walk is over.
    fn walk_some(
        &self,
        from: &Bound<Slice>,
        to: &[u8],
        cells: usize,
        visit: &mut impl FnMut(Step<'_>) -> Walk,
    ) -> Result<Option<Slice>, StateError> {
        let start = from.as_ref().map(|key| &**key);
        if starts_behind(start, to) {
            return Ok(None);
        }
        let layers = self.layers.read().expect("no holder panics");
        let copied: Vec<(Slice, Option<Slice>)> = layers
            .active
            .range((start, Bound::Excluded(to)))
            .take(cells)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let frozen = layers.frozen.clone();
        drop(layers);
        // Beyond the copy, the memtable is unknown.
        let known_to = if copied.len() == cells { copied.last().map(|(key, _)| key.clone()) } else { None };
        let mut memory: Vec<Box<dyn Iterator<Item = (Slice, Option<Slice>)> + '_>> = Vec::with_capacity(4);
        if !copied.is_empty() {
            memory.push(Box::new(copied.into_iter()));
        }
        for frozen in &frozen {
            let range = frozen.cells.range((start, Bound::Excluded(to)));
            memory.push(Box::new(range.map(|(key, value)| (key.clone(), value.clone()))));
        }
        let mut memory = Newest::new(memory);
        let mut base = Below { cells: self.base.range(start, to), is_around: false };
        let mut at = from.clone(); // Up to where the base was shown.
        let mut below = None;
        let mut is_over = false;
        loop {
            while below.is_none() && !is_over {
                match base.next(&self.base, &at, to).map_err(|error| self.error(error)) {
                    Ok(found) => (is_over, below) = (found.is_none(), found),
                    Err(StateError::Unreadable(damage)) => match visit(Step::Unreadable(*damage)) {
                        Walk::On => {}
                        Walk::Stop => return Ok(None),
                    },
                    Err(error) => return Err(error),
                }
            }
            let next = match (memory.peek(), &below) {
                (None, None) => return Ok(None),
                (Some(key), Some((base, _))) if key > base => Source::Base,
                (None, Some(_)) => Source::Base,
                (Some(key), Some((base, _))) if key == base => Source::Both,
                (Some(_), _) => Source::Memory,
            };
            let (key, value) = match next {
                Source::Base => {
                    let (key, value) = below.take().expect("just looked at");
                    (key, Some(value))
                }
                Source::Memory | Source::Both => memory.next().expect("just looked at"),
            };
            if known_to.as_ref().is_some_and(|known_to| key > *known_to) {
                return Ok(known_to);
            }
            if let Some(value) = value
                && let Walk::Stop = visit(Step::Cell(&key, &value))
            {
                return Ok(None);
            }
            if known_to.as_ref().is_some_and(|known_to| key == *known_to) {
                return Ok(known_to);
            }
            match next {
                Source::Memory => {}
                Source::Base | Source::Both => (at, below) = (Bound::Excluded(key), None),
            }
        }
    }

    /// The greatest cell below `to` and not below `from`.
    pub(super) fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Slice>, StateError> {
        let mut end: Slice = to.into();
        loop {
            let range = (Bound::Included(from), Bound::Excluded(&*end));
            let last_of =
                |cells: &Memtable| cells.range(range).next_back().map(|(key, value)| (key.clone(), value.is_some()));
            let layers = self.layers.read().expect("no holder panics");
            let active = last_of(&layers.active);
            let frozen = layers.frozen.clone();
            drop(layers);
            let base = self.base.range(range.0, &end).next_back().transpose().map_err(|error| self.error(error))?;
            // The newest first; of equal keys, the first wins.
            let newest_first = active.into_iter().chain(frozen.iter().filter_map(|frozen| last_of(&frozen.cells)));
            let last = newest_first
                .chain(base.map(|(key, _)| (key, true)))
                .reduce(|best, next| if next.0 > best.0 { next } else { best });
            match last {
                None => return Ok(None),
                Some((key, true)) => return Ok(Some(key)),
                Some((key, false)) => end = key, // Gone: look below it.
            }
        }
    }
}

/// The base's part of a walk.
struct Below {
    cells: Box<dyn Iterator<Item = Result<(Slice, Slice), BaseError>> + Send>,
    is_around: bool, // It goes on behind what cannot be read.
}

impl Below {
    /// The next cell, when those up to `at` were shown.
    fn next<B: Base>(&mut self, base: &B, at: &Bound<Slice>, to: &[u8]) -> Result<Option<(Slice, Slice)>, BaseError> {
        match self.cells.next().transpose() {
            Err(BaseError::Unreadable(_)) if !self.is_around => {
                self.cells = base.range_around(at.as_ref().map(|key| &**key), to);
                self.is_around = true;
                self.cells.next().transpose()
            }
            found => found,
        }
    }
}

enum Source {
    Memory,
    Base,
    Both,
}

/// Merges sorted sources, the newest first; of equal keys, the newest wins.
struct Newest<'a> {
    sources: Vec<Box<dyn Iterator<Item = (Slice, Option<Slice>)> + 'a>>,
    heads: Vec<Option<(Slice, Option<Slice>)>>,
    least: Option<usize>, // Which head is the next.
}

impl<'a> Newest<'a> {
    fn new(mut sources: Vec<Box<dyn Iterator<Item = (Slice, Option<Slice>)> + 'a>>) -> Newest<'a> {
        let heads = sources.iter_mut().map(Iterator::next).collect();
        let mut newest = Newest { sources, heads, least: None };
        newest.find_least();
        newest
    }

    fn peek(&self) -> Option<&Slice> {
        let (key, _) = self.heads[self.least?].as_ref()?;
        Some(key)
    }

    fn next(&mut self) -> Option<(Slice, Option<Slice>)> {
        let least = self.least?;
        let taken = self.heads[least].take()?;
        self.heads[least] = self.sources[least].next();
        for (source, head) in self.sources.iter_mut().zip(&mut self.heads).skip(least + 1) {
            if head.as_ref().is_some_and(|(key, _)| *key == taken.0) {
                *head = source.next(); // An older version.
            }
        }
        self.find_least();
        Some(taken)
    }

    fn find_least(&mut self) {
        self.least = None;
        for (at, head) in self.heads.iter().enumerate() {
            let Some((key, _)) = head else { continue };
            if self.peek().is_none_or(|least| key < least) {
                self.least = Some(at);
            }
        }
    }
}

fn starts_behind(start: Bound<&[u8]>, to: &[u8]) -> bool {
    match start {
        Bound::Included(start) | Bound::Excluded(start) => start >= to,
        Bound::Unbounded => false,
    }
}

/// Cells of the memtable copied at first, for those who want a few records.
const WALK_CELLS_FIRST: usize = 64;

/// Cells of the memtable copied at a time, for those who want many.
pub(super) const WALK_CELLS_MAX: usize = 1024;
