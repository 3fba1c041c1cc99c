//! What has to be done now and then, and need not hold up the writer: syncing what nobody waits for, dropping old log.

use crate::error::StoreError;
use crate::store::Shared;
use crate::writer::{TICK, wall_clock_ms};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Scope, Thread, park_timeout};

/// The log and the tables, as upkeep sees them. Safe to run while the writer writes.
pub(super) struct Upkeep {
    shared: Arc<Shared>,
}

impl Upkeep {
    pub(super) fn new(shared: Arc<Shared>) -> Upkeep {
        Upkeep { shared }
    }

    /// Puts on the disk what was only written, and drops the log that is not wanted any more.
    pub(super) fn run(&self, now_ms: u64) -> Result<(), StoreError> {
        self.sync()?;
        let Shared { files, state, .. } = &*self.shared;
        let retention = self.shared.retention();
        if files.retain(&retention, state.persisted(), now_ms)? {
            state.request_checkpoint();
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let Shared { files, .. } = &*self.shared;
        files.sync.sync_written().map_err(|source| StoreError::Io {
            doing: "sync",
            place: files.disk.place("the log"),
            source,
        })
    }
}

/// A thread that does the upkeep every so often, so that a turn never waits for a sync that nobody asked for.
#[derive(Default)]
pub(super) struct Beside {
    stop: AtomicBool,
    error: Mutex<Option<StoreError>>,
}

impl Beside {
    /// Starts it. It ends with what is returned.
    pub(super) fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        upkeep: Arc<Upkeep>,
    ) -> Running<'scope> {
        let thread = scope.spawn(move || self.run(&upkeep)).thread().clone();
        Running { beside: self, thread, unsynced_bytes: 0 }
    }

    fn run(&self, upkeep: &Upkeep) {
        while !self.stop.load(Ordering::Acquire) {
            if let Err(error) = upkeep.run(wall_clock_ms()) {
                *self.error.lock().expect("no holder panics") = Some(error);
                return;
            }
            park_timeout(TICK);
        }
    }
}

/// The thread of [`Beside`], for as long as this lives.
pub(super) struct Running<'a> {
    beside: &'a Beside,
    thread: Thread,
    unsynced_bytes: usize,
}

impl Running<'_> {
    /// So many bytes were written. With enough of them it is time to sync: one of all at once would take the disk
    /// away from everybody for as long.
    pub(super) fn written(&mut self, bytes: usize) {
        self.unsynced_bytes += bytes;
        if self.unsynced_bytes >= SYNC_EVERY_BYTES {
            self.unsynced_bytes = 0;
            self.thread.unpark();
        }
    }

    /// Whether it is still well.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.beside.error.lock().expect("no holder panics").take().map_or(Ok(()), Err)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.beside.stop.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

const SYNC_EVERY_BYTES: usize = 8 * 1024 * 1024;
