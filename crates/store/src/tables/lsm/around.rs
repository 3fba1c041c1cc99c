//! Reads tables of which a part cannot be read.
//!
//! The library's own iterators end where a block is damaged, and say neither in which file nor between which keys. Going
//! through the files one by one says both, and what lies behind the damage. It is slower, and done only then.

use super::{BaseError, Hole, what};
use lsm_tree::{AbstractTree, AnyTree, InternalValue, Slice, Table};
use std::collections::VecDeque;
use std::ops::Bound;
use std::path::Path;

/// Cells in the order of their keys, the newest version of each, and holes in their places.
///
/// A cell that stands in a hole of a newer file is left out: what was there may have replaced or deleted it.
pub(super) struct Around {
    runs: Vec<Run>, // The newest first.
    range: (Bound<Slice>, Bound<Slice>),
    folder: String,            // Its name.
    holes: Vec<(usize, Hole)>, // Met so far, and in which run.
    met: VecDeque<Hole>,       // Not shown yet.
}

/// Files that have no key in common, one behind the other.
struct Run {
    files: VecDeque<Table>,
    reading: Option<Reading>,
    head: Option<InternalValue>,
}

struct Reading {
    table: Table,
    cells: Box<dyn Iterator<Item = lsm_tree::Result<InternalValue>> + Send>,
    last: Option<Slice>, // The key of the last cell.
}

impl Around {
    pub(super) fn new(tree: &AnyTree, folder: &Path, range: (Bound<&[u8]>, Bound<&[u8]>)) -> Around {
        let version = tree.current_version();
        let runs = version.iter_levels().flat_map(|level| level.iter()).map(|run| {
            let overlaps = |table: &&Table| table.metadata.key_range.overlaps_with_bounds(&range);
            Run { files: run.iter().filter(overlaps).cloned().collect(), reading: None, head: None }
        });
        let mut around = Around {
            runs: runs.collect(),
            range: (range.0.map(Slice::from), range.1.map(Slice::from)),
            folder: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            holes: Vec::new(),
            met: VecDeque::new(),
        };
        (0..around.runs.len()).for_each(|at| around.advance(at));
        around
    }

    /// The value of a range of one key.
    pub(super) fn only(self) -> Result<Option<Slice>, BaseError> {
        let mut hole = None;
        for cell in self {
            match cell {
                Ok((_, value)) => return Ok(Some(value)), // Newer than what cannot be read.
                Err(met) => hole = hole.or(Some(met)),
            }
        }
        hole.map_or(Ok(None), |hole| Err(BaseError::Unreadable(Box::new(hole))))
    }

    fn advance(&mut self, at: usize) {
        let Around { runs, range, folder, holes, met } = self;
        runs[at].advance(range, |reading, error| {
            let file = format!("{folder}/tables/{}", reading.table.id());
            let hole = Hole { file, what: what(error), range: Some(reading.hole(&range.0)) };
            holes.push((at, hole.clone()));
            met.push_back(hole);
        });
    }
}

impl Iterator for Around {
    type Item = Result<(Slice, Slice), Hole>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(hole) = self.met.pop_front() {
                return Some(Err(hole));
            }
            let heads = self.runs.iter().filter_map(|run| run.head.as_ref());
            let least = heads.map(|head| &head.key.user_key).min()?.clone();
            let mut newest = None;
            for at in 0..self.runs.len() {
                while let Some(cell) = self.runs[at].head.take_if(|head| head.key.user_key == least) {
                    newest = newest.or(Some((at, cell)));
                    self.advance(at);
                }
            }
            let (at, cell) = newest.expect("the least key is somebody's");
            let is_hidden = self.holes.iter().any(|(of, hole)| *of < at && hole.hides(&least));
            if !is_hidden && !cell.is_tombstone() {
                return Some(Ok((cell.key.user_key, cell.value)));
            }
        }
    }
}

impl Run {
    /// Goes to the next cell that can be read, and says what cannot be on the way.
    fn advance(&mut self, range: &(Bound<Slice>, Bound<Slice>), mut met: impl FnMut(&Reading, &lsm_tree::Error)) {
        loop {
            let reading = match &mut self.reading {
                Some(reading) => reading,
                None => match self.files.pop_front() {
                    Some(table) => self.reading.insert(Reading::new(table, range)),
                    None => return,
                },
            };
            match reading.cells.next() {
                Some(Ok(cell)) => {
                    reading.last = Some(cell.key.user_key.clone());
                    self.head = Some(cell);
                    return;
                }
                None => self.reading = None,
                Some(Err(error)) => {
                    met(reading, &error);
                    // Blocks that cannot be read, one behind the other, are one hole.
                    let tries = reading.tries();
                    self.head = reading.cells.by_ref().take(tries).find_map(Result::ok);
                    if let Some(cell) = &self.head {
                        reading.last = Some(cell.key.user_key.clone());
                        return;
                    }
                    self.reading = None;
                }
            }
        }
    }
}

impl Reading {
    fn new(table: Table, range: &(Bound<Slice>, Bound<Slice>)) -> Reading {
        let cells = Box::new(table.range(range.clone()));
        Reading { table, cells, last: None }
    }

    /// Where it cannot go on: from the last cell before to the first behind, wherever in between it began to read.
    fn hole(&self, from: &Bound<Slice>) -> (Bound<Slice>, Bound<Slice>) {
        let table = &self.table;
        let (first, last) = (table.metadata.key_range.min(), table.metadata.key_range.max());
        let before = match (&self.last, from) {
            (Some(last), _) => Some(last.clone()),
            (None, Bound::Unbounded) => None,
            (None, Bound::Included(from)) => self.last_of((Bound::Unbounded, Bound::Excluded(from.clone()))),
            (None, Bound::Excluded(from)) => self.last_of((Bound::Unbounded, Bound::Included(from.clone()))),
        };
        let behind = before.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let after = table.range((behind, Bound::Unbounded)).take(self.tries()).find_map(Result::ok);
        (
            before.map_or(Bound::Included(first.clone()), Bound::Excluded),
            after.map_or(Bound::Included(last.clone()), |cell| Bound::Excluded(cell.key.user_key)),
        )
    }

    fn last_of(&self, range: (Bound<Slice>, Bound<Slice>)) -> Option<Slice> {
        let mut cells = self.table.range(range).rev().take(self.tries());
        cells.find_map(Result::ok).map(|cell| cell.key.user_key)
    }

    /// How often it is worth going on: no more blocks than this can be in the way.
    fn tries(&self) -> usize {
        self.table.metadata.data_block_count as usize + 1
    }
}
