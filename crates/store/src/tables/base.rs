//! What tables stand on: sorted, and surviving a crash.

use super::memtable::Memtable;
use lsm_tree::Slice;
use std::ops::{Bound, RangeBounds};

/// What the layers stand on.
pub trait Base: Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Slice>, BaseError>;

    /// Keys and values from `from` up to but not including `to`.
    fn range(
        &self,
        from: Bound<&[u8]>,
        to: &[u8],
    ) -> Box<dyn DoubleEndedIterator<Item = Result<(Slice, Slice), BaseError>> + Send>;

    /// [`Base::range`] for when that fails: what cannot be read comes as [`BaseError::Unreadable`] in its place, and behind
    /// it it goes on. Nothing is shown that may be older than what was there.
    fn range_around(
        &self,
        from: Bound<&[u8]>,
        to: &[u8],
    ) -> Box<dyn Iterator<Item = Result<(Slice, Slice), BaseError>> + Send> {
        Box::new(self.range(from, to))
    }

    /// Takes all cells and the tables' own one, durably, or none of them.
    fn flush(&self, cells: &Memtable, own: (&[u8], &[u8])) -> Result<(), BaseError>;

    /// Waits until it can bear another flush.
    fn wait_for_room(&self) -> Result<(), BaseError> {
        Ok(())
    }

    /// Nobody needs it any more: its threads end.
    fn stop(&self) {}
}

/// What went wrong below.
#[derive(Clone, Debug)]
pub enum BaseError {
    /// No room. Nothing is lost, and it can be tried again.
    Full,
    /// Part of a file cannot be read.
    Unreadable(Box<Hole>),
    /// Anything else, in the words of the engine.
    Failed(String),
}

/// Where cells cannot be read.
#[derive(Clone, Debug)]
pub struct Hole {
    /// The file, as a path within the folder above that of the tables.
    pub(super) file: String,
    /// What is wrong with it.
    pub(super) what: String,
    /// The cells around it, or the first and the last of the file; `None`: nobody has looked where it is.
    pub(super) range: Option<(Bound<Slice>, Bound<Slice>)>,
}

impl Hole {
    /// Whether a cell with this key may have been there.
    pub(super) fn hides(&self, key: &Slice) -> bool {
        self.range.as_ref().is_none_or(|range| range.contains(key))
    }
}
