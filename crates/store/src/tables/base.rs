//! What tables stand on: sorted, and surviving a crash.

use super::memtable::Memtable;
use lsm_tree::Slice;
use std::ops::Bound;

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
    /// Anything else, in the words of the engine.
    Failed(String),
}
