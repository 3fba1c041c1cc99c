//! Whether the disk has room for what is to be written, for whoever watches.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// How writing fares for room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskRoom {
    /// Bytes of the largest turn that found none since there was some; `None`: there is room, as far as is known.
    pub wanted: Option<u64>,
    /// Proposals that were refused for want of it since the store was opened.
    pub refused: u64,
}

/// What the writer knows of it. The writer alone changes it, when it changes.
#[derive(Default)]
pub(crate) struct Fullness(Mutex<DiskRoom>);

impl Fullness {
    pub(crate) fn get(&self) -> DiskRoom {
        *self.lock()
    }

    /// A turn of so many `bytes` found no room.
    pub(crate) fn refuse(&self, bytes: usize, proposals: usize) {
        let mut room = self.lock();
        room.wanted = room.wanted.max(Some(bytes as u64));
        room.refused += proposals as u64;
    }

    /// There is room again.
    pub(crate) fn pass(&self) {
        self.lock().wanted = None;
    }

    /// Whole after every statement, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, DiskRoom> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
