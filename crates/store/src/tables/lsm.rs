//! A base on the disk: one `lsm-tree`.
//!
//! Known hazards of the library, and what we do: the version is pinned; no FIFO compaction, no `clear`, one thread
//! that compacts; its own memtable stays empty; every key has one version per flush, and reads see all of them, so its
//! snapshots are not used. It holds a lock over the syncs of its version file: reads that reach the disk wait for
//! those, the writer does not.

mod around;

use super::base::{Base, BaseError, Hole};
use super::flush::spawn;
use super::layers::Tables;
use super::memtable::Memtable;
use crate::disk::is_full;
use crate::error::StateError;
use crate::limits::{FROZEN_MAX, RUNS_MAX};
use around::Around;
use lsm_tree::compaction::Leveled;
use lsm_tree::{AbstractTree, AnyTree, Cache, Config, DescriptorTable, Guard, InternalValue, SeqNo, Slice, ValueType};
use std::collections::HashSet;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// The flushed part of tables on the disk.
pub struct LsmBase(Arc<Lsm>);

struct Lsm {
    tree: AnyTree,
    folder: PathBuf,
    next: AtomicU64,    // Number of the next flush: what orders the versions of a key.
    making: RwLock<()>, // Read by who makes table files, written by who cleans up after a failure.
    wanted: Mutex<Wanted>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct Wanted {
    compaction: bool,
    /// Why compaction fails, other than for want of room. Until there are too many runs, all goes on without.
    error: Option<BaseError>,
}

impl Tables<LsmBase> {
    /// Opens the tables in `folder`, or makes them. `memory_bytes` bounds what they hold in memory: a quarter of it is
    /// for blocks read from disk, which the system caches as well, the rest for what was not written yet. Records that
    /// change often and fit in there cost no writing at all until the next checkpoint. `files_open` table files are held
    /// open.
    pub fn open(folder: &Path, memory_bytes: usize, files_open: usize) -> Result<Tables<LsmBase>, StateError> {
        let place = folder.display().to_string();
        let failed = |error| match error {
            lsm_tree::Error::Io(error) if is_full(&error) => StateError::Full { place: place.clone() },
            error => StateError::Failed { place: place.clone(), what: what(&error) },
        };
        let tree = Config::new(folder, Default::default(), Default::default())
            .use_cache(Arc::new(Cache::with_capacity_bytes(memory_bytes as u64 / 4)))
            .use_descriptor_table(Some(Arc::new(DescriptorTable::new(files_open))))
            .open()
            .map_err(failed)?;
        let next = AtomicU64::new(tree.get_highest_persisted_seqno().map_or(1, |last| last + 1));
        let lsm = Arc::new(Lsm {
            tree,
            folder: folder.to_owned(),
            next,
            making: RwLock::new(()),
            wanted: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let memtable_bytes = (memory_bytes / MEMORY_PARTS).max(MEMTABLE_BYTES_MIN);
        let mut tables = Tables::over(LsmBase(Arc::clone(&lsm)), memtable_bytes, place)?;
        tables.spawn_flusher();
        tables.threads.push(spawn("compact", move || {
            if catch_unwind(AssertUnwindSafe(|| lsm.compact_until_stopped())).is_err() {
                lsm.compaction_fails(BaseError::Failed("compaction has a defect, reported above".to_owned()));
            }
        }));
        Ok(tables)
    }
}

impl Base for LsmBase {
    fn get(&self, key: &[u8]) -> Result<Option<Slice>, BaseError> {
        if key.len() > CELL_KEY_BYTES_MAX {
            return Ok(None);
        }
        // Where something else is damaged than what is looked for, that is found on the way around.
        self.0.tree.get(key, ALL).or_else(|_| self.0.around((Bound::Included(key), Bound::Included(key))).only())
    }

    fn range(
        &self,
        from: Bound<&[u8]>,
        to: &[u8],
    ) -> Box<dyn DoubleEndedIterator<Item = Result<(Slice, Slice), BaseError>> + Send> {
        // No key is longer than the library's, which panics at one: only the cut one itself lies between it and the whole.
        let cut = |key: &'_ [u8]| key.len() > CELL_KEY_BYTES_MAX;
        let from = match from {
            Bound::Included(key) | Bound::Excluded(key) if cut(key) => Bound::Excluded(&key[..CELL_KEY_BYTES_MAX]),
            from => from,
        };
        let to = if cut(to) { Bound::Included(&to[..CELL_KEY_BYTES_MAX]) } else { Bound::Excluded(to) };
        let range = self.0.tree.range::<&[u8], _>((from, to), ALL, None);
        Box::new(range.map(|cell| cell.into_inner().map_err(|error| BaseError::Unreadable(Box::new(nowhere(&error))))))
    }

    fn range_around(
        &self,
        from: Bound<&[u8]>,
        to: &[u8],
    ) -> Box<dyn Iterator<Item = Result<(Slice, Slice), BaseError>> + Send> {
        let around = self.0.around((from, Bound::Excluded(to)));
        Box::new(around.map(|cell| cell.map_err(|hole| BaseError::Unreadable(Box::new(hole)))))
    }

    fn flush(&self, cells: &Memtable, own: (&[u8], &[u8])) -> Result<(), BaseError> {
        let lsm = &*self.0;
        let from_id = lsm.tree.next_table_id();
        lsm.flush(cells, own).map_err(|error| lsm.clean_up(from_id, error))?;
        lsm.want_compaction();
        Ok(())
    }

    fn wait_for_room(&self) -> Result<(), BaseError> {
        let lsm = &*self.0;
        let mut wanted = lsm.wanted.lock().expect("no holder panics");
        while lsm.tree.l0_run_count() >= RUNS_MAX && !lsm.stop.load(Ordering::Acquire) {
            if let Some(error) = &wanted.error {
                return Err(error.clone());
            }
            wanted.compaction = true;
            lsm.changed.notify_all();
            // Compaction that fails for want of room is tried again by and by.
            (wanted, _) = lsm.changed.wait_timeout(wanted, RETRY).expect("no holder panics");
        }
        Ok(())
    }

    fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        let _wanted = self.0.wanted.lock().expect("no holder panics"); // Or a waiter would miss it.
        self.0.changed.notify_all();
    }
}

impl Lsm {
    fn around(&self, range: (Bound<&[u8]>, Bound<&[u8]>)) -> Around {
        Around::new(&self.tree, &self.folder, range)
    }

    fn flush(&self, cells: &Memtable, own: (&[u8], &[u8])) -> Result<(), BaseError> {
        let _making = self.making.read().expect("no holder panics");
        let version = self.next.fetch_add(1, Ordering::AcqRel);
        let own = InternalValue::from_components(own.0, own.1, version, ValueType::Value);
        let cells = cells.iter().map(|(key, value)| match value {
            Some(value) => InternalValue::from_components(key.clone(), value.clone(), version, ValueType::Value),
            None => InternalValue::new_tombstone(key.clone(), version),
        });
        // The tables' own key is the greatest there is.
        let cells = cells.chain([own]).map(Ok);
        if let Some((tables, _)) = self.tree.flush_to_tables(cells).map_err(base_error)? {
            self.tree.register_tables(&tables, None, None, &[], ALL).map_err(base_error)?;
        }
        Ok(())
    }

    fn want_compaction(&self) {
        self.wanted.lock().expect("no holder panics").compaction = true;
        self.changed.notify_all();
    }

    fn compact_until_stopped(&self) {
        let strategy = Arc::new(Leveled::default());
        loop {
            {
                let mut wanted = self.wanted.lock().expect("no holder panics");
                while !wanted.compaction && !self.stop.load(Ordering::Acquire) {
                    wanted = self.changed.wait(wanted).expect("no holder panics");
                }
                wanted.compaction = false;
            }
            loop {
                if self.stop.load(Ordering::Acquire) {
                    return;
                }
                let before = self.tree.current_version().id();
                let from_id = self.tree.next_table_id();
                let making = self.making.read().expect("no holder panics");
                let compacted = self.tree.compact(Arc::clone(&strategy) as _, ALL);
                drop(making);
                if let Err(error) = compacted {
                    let error = self.clean_up(from_id, compaction_error(error));
                    self.compaction_fails(error);
                    break;
                }
                self.wanted.lock().expect("no holder panics").error = None;
                if self.tree.current_version().id() == before {
                    break;
                }
                self.changed.notify_all();
            }
            self.changed.notify_all();
        }
    }

    fn compaction_fails(&self, error: BaseError) {
        if !matches!(error, BaseError::Full) {
            self.wanted.lock().unwrap_or_else(PoisonError::into_inner).error = Some(error);
        }
        self.changed.notify_all();
    }

    /// After a failure: removes table files that were begun from number `from_id` on and are part of nothing. The
    /// library leaves them when the disk is full, where they are least welcome. Returns what is to be made of it.
    fn clean_up(&self, from_id: u64, error: BaseError) -> BaseError {
        let _nobody_makes = self.making.write().expect("no holder panics");
        let version = self.tree.current_version();
        // The new version may have become the one on disk before the failure. A restart reads it, and all is well;
        // to go on from the old one would overwrite its file.
        let on_disk = std::fs::read(self.folder.join("current")).ok();
        if on_disk.and_then(|bytes| bytes.first_chunk().copied()).map(u64::from_le_bytes) != Some(version.id()) {
            return BaseError::Failed(format!("their version on disk is not the one in memory, after {error:?}"));
        }
        let live: HashSet<u64> = version.iter_tables().map(|table| table.id()).collect();
        for id in from_id..self.tree.next_table_id() {
            if !live.contains(&id) {
                // It may not be there, or somebody may still read it: then it goes at the next start.
                let _ = std::fs::remove_file(self.folder.join("tables").join(id.to_string()));
            }
        }
        error
    }
}

fn base_error(error: lsm_tree::Error) -> BaseError {
    match error {
        lsm_tree::Error::Io(error) if is_full(&error) => BaseError::Full,
        error => BaseError::Failed(what(&error)),
    }
}

/// Why compaction failed. It reads whole files and does not say in which of them it failed.
fn compaction_error(error: lsm_tree::Error) -> BaseError {
    match error {
        lsm_tree::Error::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => base_error(error.into()),
        error => BaseError::Unreadable(Box::new(nowhere(&error))),
    }
}

fn nowhere(error: &lsm_tree::Error) -> Hole {
    Hole { file: "tables".to_owned(), what: what(error), range: None }
}

/// What is wrong, in words.
fn what(error: &lsm_tree::Error) -> String {
    match error {
        lsm_tree::Error::ChecksumMismatch { .. } => "a checksum does not match".to_owned(),
        lsm_tree::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// Reads see every version below this one; the newest of a key wins. Compaction keeps that one alone.
const ALL: SeqNo = 1 << 62;

/// One active and [`FROZEN_MAX`] frozen memtables make three quarters of the memory.
const MEMORY_PARTS: usize = (1 + FROZEN_MAX) * 4 / 3;

/// Bytes of the longest key of `lsm-tree`. Ours are shorter ([`KEY_BYTES_MAX`](crate::limits::KEY_BYTES_MAX)), but what is
/// looked for need not be: a topic has up to 65,535 bytes before its table is added.
const CELL_KEY_BYTES_MAX: usize = u16::MAX as usize;

/// Smaller ones would make more files than compaction is worth.
const MEMTABLE_BYTES_MIN: usize = 1024 * 1024;

/// How often a full first level is looked at again.
const RETRY: Duration = Duration::from_secs(1);
