//! Takes memtables from memory to the base, the oldest first.
//!
//! A memtable is frozen when it is large enough, and flushed by a thread, or by whoever waits if there is none. The log
//! is put on the disk before what it says.

use super::base::{Base, BaseError};
use super::layers::{Inner, Tables};
use super::memtable::Memtable;
use super::{Room, cell};
use crate::error::StateError;
use rowcast_core::{Sequence, TableId};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A memtable that changes no more.
pub(super) struct Frozen {
    pub(super) cells: Memtable,
    /// Everything up to here is in it, or was flushed before.
    pub(super) applied: Sequence,
    /// As in [`super::layers::Layers`].
    pub(super) expiring: BTreeSet<TableId>,
}

/// How flushing goes.
#[derive(Default)]
pub(super) struct Progress {
    /// It ended with this.
    pub(super) error: Option<StateError>,
    /// There is no room for now, and why.
    pub(super) no_room: Option<Room>,
    /// Nobody needs it any more.
    pub(super) stop: bool,
}

impl<B: Base> Tables<B> {
    /// From here on, a thread flushes what is frozen.
    pub(super) fn spawn_flusher(&mut self) {
        self.inner.flusher.store(true, Ordering::Release);
        let inner = Arc::clone(&self.inner);
        self.threads.push(spawn("flush", move || {
            // Who waits for a flush must not wait for ever.
            if catch_unwind(AssertUnwindSafe(|| inner.flush_until_stopped())).is_err() {
                let what = "the thread that flushes them has a defect, reported above".to_owned();
                let error = inner.error(BaseError::Failed(what));
                inner.progress.lock().unwrap_or_else(PoisonError::into_inner).error = Some(error);
                inner.changed.notify_all();
            }
        }));
    }
}

pub(super) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).expect("the system has room for a thread")
}

impl<B: Base> Inner<B> {
    /// Freezes the memtable, if there is anything in it or `applied` has moved.
    pub(super) fn freeze(&self) {
        let mut layers = self.layers.write().expect("no holder panics");
        let applied = Sequence(self.applied.load(Ordering::Acquire));
        let newest = layers.frozen.first().map_or(self.persisted(), |frozen| frozen.applied);
        if layers.active.is_empty() && applied == newest {
            return;
        }
        layers.active_bytes = 0;
        let frozen = Frozen { cells: std::mem::take(&mut layers.active), applied, expiring: layers.expiring.clone() };
        layers.frozen.insert(0, Arc::new(frozen));
        drop(layers);
        let _progress = self.progress.lock().expect("no holder panics"); // Or a waiter would miss it.
        self.changed.notify_all();
    }

    pub(super) fn persisted(&self) -> Sequence {
        Sequence(self.persisted.load(Ordering::Acquire))
    }

    pub(super) fn frozen_count(&self) -> usize {
        self.layers.read().expect("no holder panics").frozen.len()
    }

    /// Flushes the oldest frozen memtable. Returns whether there was one.
    fn flush_one(&self) -> Result<bool, StateError> {
        let _one_at_a_time = self.flushing.lock().expect("no holder panics");
        let oldest = self.layers.read().expect("no holder panics").frozen.last().cloned();
        let Some(frozen) = oldest else { return Ok(false) };
        if let Some(log) = self.log.get() {
            let log = Arc::clone(&log.lock().expect("no holder panics"));
            log.sync_to(frozen.applied).map_err(|error| StateError::Log(error.to_string()))?;
        }
        let own = encode_own(frozen.applied, &frozen.expiring);
        self.base.flush(&frozen.cells, (&own_key(), &own)).map_err(|error| self.error(error))?;
        self.persisted.store(frozen.applied.0, Ordering::Release);
        self.layers.write().expect("no holder panics").frozen.pop();
        // Freed here, after the lock: a memtable of many records takes a while.
        drop(frozen);
        Ok(true)
    }

    fn flush_until_stopped(&self) {
        loop {
            {
                let mut progress = self.progress.lock().expect("no holder panics");
                while !progress.stop && self.frozen_count() == 0 {
                    progress = self.changed.wait(progress).expect("no holder panics");
                }
                if progress.stop {
                    return;
                }
            }
            let room = self.base.wait_for_room().map_err(|error| self.error(error));
            let flushed = room.and_then(|()| self.flush_one());
            let mut progress = self.progress.lock().expect("no holder panics");
            progress.no_room = match &flushed {
                Err(StateError::Full { .. }) => Some(Room::DiskFull),
                Err(StateError::Unreadable(damage)) => Some(Room::Damaged(damage.clone())),
                Ok(_) | Err(_) => None,
            };
            match flushed {
                Ok(_) => self.changed.notify_all(),
                Err(StateError::Full { .. } | StateError::Unreadable(_)) => {
                    self.changed.notify_all();
                    // Somebody may free some room, or it can be read again.
                    let _ = self.changed.wait_timeout(progress, FULL_RETRY).expect("no holder panics");
                }
                Err(error) => {
                    progress.error = Some(error);
                    self.changed.notify_all();
                    return;
                }
            }
        }
    }

    /// Waits until fewer than `frozen_max` memtables are frozen, flushing them if nobody else does.
    pub(super) fn wait_below(&self, frozen_max: usize) -> Result<Room, StateError> {
        if !self.flusher.load(Ordering::Acquire) {
            while self.frozen_count() >= frozen_max {
                self.flush_one()?;
            }
            return Ok(Room::Yes);
        }
        if self.frozen_count() < frozen_max {
            return Ok(Room::Yes);
        }
        let mut progress = self.progress.lock().expect("no holder panics");
        loop {
            if let Some(error) = &progress.error {
                return Err(error.clone());
            }
            if self.frozen_count() < frozen_max {
                return Ok(Room::Yes);
            }
            if let Some(no_room) = &progress.no_room {
                return Ok(no_room.clone());
            }
            progress = self.changed.wait(progress).expect("no holder panics");
        }
    }
}

/// What the tables know of themselves, in a cell behind all records.
pub(super) fn own_key() -> Vec<u8> {
    let mut key = cell::OWN.to_be_bytes().to_vec();
    key.extend_from_slice(b"applied");
    key
}

/// Eight bytes applied sequence, then the tables that have expiring records, four bytes each; little endian.
fn encode_own(applied: Sequence, expiring: &BTreeSet<TableId>) -> Vec<u8> {
    let mut own = applied.0.to_le_bytes().to_vec();
    for table in expiring {
        own.extend_from_slice(&table.0.to_le_bytes());
    }
    own
}

pub(super) fn decode_own(own: &[u8]) -> Option<(Sequence, BTreeSet<TableId>)> {
    let (applied, tables) = own.split_first_chunk::<8>()?;
    let (tables, rest) = tables.as_chunks::<4>();
    let tables = tables.iter().map(|table| TableId(u32::from_le_bytes(*table))).collect();
    rest.is_empty().then_some((Sequence(u64::from_le_bytes(*applied)), tables))
}

/// How often a flush that found no room is tried again.
const FULL_RETRY: Duration = Duration::from_secs(1);
