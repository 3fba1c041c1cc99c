//! The store as its readers hold it.

use crate::damage::{Damage, Mend};
use crate::disk::{Disk, OsDisk};
use crate::error::{OpenError, ReadError, StateError};
use crate::limits::{READ_BYTES, TABLE_FILES_OPEN_MAX};
use crate::log::{self, Cut, LogFiles, Opening, Recovered, Retention, Verify};
use crate::meta;
use crate::quiet::Quiet;
use crate::reader::LogPage;
use crate::room::{DiskRoom, Fullness};
use crate::tables::{Effect, LsmState, Page, RecordBytes, Room, Scan, State, Unreadable};
use crate::tail::Tail;
use crate::writer::Writer;
use rowcast_core::{Batch, NodeId, RecordError, Sequence, TableId};
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// How a store is opened. [`Options::default`] suits a node of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// What node a new folder becomes: a random number. An existing folder keeps its own.
    pub node: Option<NodeId>,
    /// Bytes after which a log segment is ended.
    pub segment_bytes: u64,
    /// Bytes of the newest log kept in memory for readers.
    pub ring_bytes: usize,
    /// Bytes the tables may hold in memory: blocks read from disk, and what is not written to it yet.
    pub table_bytes: usize,
    /// Files of tables held open at a time.
    pub table_files: usize,
    /// How much log is kept.
    pub retention: Retention,
    /// How much of the log is read when it is opened.
    pub verify: Verify,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            node: None,
            segment_bytes: 64 * 1024 * 1024,
            ring_bytes: 32 * 1024 * 1024,
            table_bytes: 192 * 1024 * 1024,
            table_files: TABLE_FILES_OPEN_MAX,
            retention: Retention::default(),
            verify: Verify::Tail,
        }
    }
}

/// A handle for readers; cheap to clone. What blocks on the disk says so.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) state: Arc<dyn State>, // Dropped first: its threads end before the folder is given up.
    pub(crate) files: Arc<LogFiles>,
    tail: Tail,
    quiet: Quiet,
    committed: AtomicU64,
    pub(crate) fullness: Fullness,
    pub(crate) node: NodeId,
    opened: Opened,
    retention: Mutex<Retention>,
}

/// What was found when the store was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Opened {
    /// Whether it had been closed in good order.
    pub clean: bool,
    /// What an unclean stop left unfinished at the end of the log.
    pub cut: Option<Cut>,
    /// Entries of the log that the tables did not have yet.
    pub replayed: u64,
}

/// Figures for people to watch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// In how many files.
    pub segments: usize,
    /// Bytes of the log in memory.
    pub tail_bytes: usize,
    /// The last entry.
    pub committed: Sequence,
    /// The log is on the disk up to here.
    pub synced: Sequence,
    /// The tables on disk hold everything up to here.
    pub persisted: Sequence,
}

impl Store {
    /// Opens the store in `folder`, or makes one, and brings its tables up to date. `now_ms` is the wall clock,
    /// milliseconds since 1970. Another process with the same folder is refused.
    pub fn open(folder: &Path, options: &Options, now_ms: u64) -> Result<(Store, Writer), OpenError> {
        let disk = Arc::new(OsDisk::open(folder)?);
        // Before anything else is made, so that a folder that is not ours stays as it is.
        let node = meta::open(&*disk, options.node)?;
        let tables = LsmState::open(&folder.join("tables"), options.table_bytes, options.table_files)
            .map_err(|error| OpenError::Tables { error, mend: log::mend(&*disk) })?;
        Store::open_with(disk, Arc::new(tables), &Options { node: Some(node), ..*options }, now_ms)
    }

    /// The same on any disk, over any tables that belong to it.
    pub fn open_with(
        disk: Arc<dyn Disk>,
        state: Arc<dyn State>,
        options: &Options,
        now_ms: u64,
    ) -> Result<(Store, Writer), OpenError> {
        let node = meta::open(&*disk, options.node)?;
        let opening = Opening {
            disk: &disk,
            node,
            segment_bytes: options.segment_bytes,
            applied: state.applied(),
            verify: options.verify,
            now_ms,
        };
        let mut replayed = 0;
        let recovered = log::open(&opening, &mut |frame| {
            let failed = |error| OpenError::Tables { error, mend: log::mend(&*disk) };
            match state.ready().map_err(failed)? {
                Room::Yes => {}
                Room::DiskFull => return Err(failed(StateError::Full { place: disk.place("") })),
                Room::Damaged(damage) => return Err(failed(StateError::Unreadable(damage))),
            }
            let batch = Batch::new(frame.first, frame.last, frame.body.clone());
            let effects: Vec<Effect<'_>> = batch.entries().filter_map(|entry| Effect::of(&entry, node)).collect();
            replayed += frame.last.0 + 1 - frame.first.0;
            state.apply(&effects, frame.last).map_err(failed)
        })?;
        let Recovered { log, clock, clean, cut } = recovered;
        let last = log.last();
        state.attach(Arc::clone(&log.shared.sync));
        let shared = Arc::new(Shared {
            state,
            files: Arc::clone(&log.shared),
            tail: Tail::new(last, options.ring_bytes),
            quiet: Quiet::default(),
            committed: AtomicU64::new(last.0),
            fullness: Fullness::default(),
            node,
            opened: Opened { clean, cut, replayed },
            retention: Mutex::new(options.retention),
        });
        let writer = Writer::new(Arc::clone(&shared), log, clock, node.0 ^ now_ms);
        Ok((Store(shared), writer))
    }

    /// From now on, that much of the log is kept.
    pub fn set_retention(&self, retention: Retention) {
        *self.0.retention.lock().expect("no holder panics") = retention;
    }

    /// The record's bytes, expired or not. May wait for the disk.
    pub fn get(&self, table: TableId, key: &[u8]) -> Result<Option<RecordBytes>, ReadError> {
        self.0.get(table, key).map_err(|error| self.unread(error))
    }

    /// The same without waiting for the disk; `None`: only the disk can say.
    #[must_use]
    pub fn get_from_memory(&self, table: TableId, key: &[u8]) -> Option<Option<RecordBytes>> {
        self.0.state.get_from_memory(table, key)
    }

    /// Records of a table in the order of their keys. May wait for the disk.
    pub fn scan(&self, scan: &Scan<'_>) -> Result<Page, ReadError> {
        self.0.state.scan(scan, Unreadable::Refused).map_err(|error| self.unread(error))
    }

    /// The same without records that cannot be read, which are noted ([`Store::damage`]).
    pub fn scan_readable(&self, scan: &Scan<'_>) -> Result<Page, ReadError> {
        self.0.state.scan(scan, Unreadable::LeftOut).map_err(|error| self.unread(error))
    }

    /// The greatest key of a table. May wait for the disk.
    pub fn last_key(&self, table: TableId) -> Result<Option<Vec<u8>>, ReadError> {
        self.0.state.last_key(table).map_err(|error| self.unread(error))
    }

    fn unread(&self, error: StateError) -> ReadError {
        match error {
            StateError::Unreadable(damage) => ReadError::Damaged { damage, mend: self.mend() },
            error => ReadError::Tables(error),
        }
    }

    /// The damage to the tables that was found since the store was opened, without the first `told`, and how often any of
    /// all was in the way. What is found is bounded.
    #[must_use]
    pub fn damage(&self, told: usize) -> (Vec<Damage>, u64) {
        self.0.state.damages().since(told)
    }

    /// Whether there is room to write. Where there was none, the writer looks for some about once a second.
    #[must_use]
    pub fn disk_room(&self) -> DiskRoom {
        self.0.fullness.get()
    }

    /// How damage to the tables is mended by now.
    #[must_use]
    pub fn mend(&self) -> Mend {
        self.0.mend()
    }

    /// How many records a table has, expired ones included; reads all of their keys, and stops at `max`. Waits for the
    /// disk.
    pub fn count(&self, table: TableId, max: u64) -> Result<u64, ReadError> {
        let mut count = 0;
        let mut next: Option<Vec<u8>> = None;
        loop {
            let from = next.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let records_max = (max - count).min(COUNT_PAGE) as usize;
            let page = self.scan(&Scan { table, from, prefix: None, bytes_max: READ_BYTES, records_max })?;
            count += page.len() as u64;
            next = page.next;
            if next.is_none() || count >= max {
                return Ok(count);
            }
        }
    }

    /// The batches after `after`, about `bytes_max` of them, but one at least if there is any. Waits for the disk when
    /// the reader is far behind: see [`Store::read_tail`].
    pub fn read_log(&self, after: Sequence, bytes_max: usize) -> Result<LogPage, ReadError> {
        if let Some(page) = self.read_tail(after, bytes_max) {
            return Ok(page);
        }
        let batches = self.0.files.read(after, self.committed(), bytes_max)?;
        Ok(self.page(batches))
    }

    /// The same from memory alone, without ever waiting; `None`: it is too long ago for that.
    #[must_use]
    pub fn read_tail(&self, after: Sequence, bytes_max: usize) -> Option<LogPage> {
        self.0.tail.after(after, bytes_max).map(|batches| self.page(batches))
    }

    /// [`Store::read_log`] for clients: leaves out stretches that are known to hold nothing for them.
    pub fn read_for_clients(&self, after: Sequence, bytes_max: usize) -> Result<LogPage, ReadError> {
        let after = self.0.quiet.pass(after);
        let page = self.read_log(after, bytes_max)?;
        self.0.quiet.note(after, &page.batches);
        Ok(page)
    }

    /// The same from memory alone, without ever waiting; `None`: it is too long ago for that.
    #[must_use]
    pub fn read_tail_for_clients(&self, after: Sequence, bytes_max: usize) -> Option<LogPage> {
        let after = self.0.quiet.pass(after);
        let page = self.read_tail(after, bytes_max)?;
        self.0.quiet.note(after, &page.batches);
        Some(page)
    }

    /// The last position before everything that was committed at `time_ms` (since 1970) or later. Waits for the disk.
    pub fn position_at(&self, time_ms: u64) -> Result<Sequence, ReadError> {
        self.0.files.position_at(time_ms, self.committed())
    }

    /// A piece of the log that ends with the last batch up to `until`, in order; empty if there is nothing. Waits for the
    /// disk.
    pub fn read_back(&self, until: Sequence) -> Result<Vec<Arc<Batch>>, ReadError> {
        self.0.files.read_back(until)
    }

    fn page(&self, batches: Vec<Arc<Batch>>) -> LogPage {
        // The tail has a batch a moment before it counts as committed.
        let committed = batches.last().map_or(Sequence::ZERO, |batch| batch.last()).max(self.committed());
        LogPage { batches, oldest: self.oldest(), committed }
    }

    /// The last entry that is committed: shown, applied, and as durable as was asked for.
    #[must_use]
    pub fn committed(&self) -> Sequence {
        Sequence(self.0.committed.load(Ordering::Acquire))
    }

    /// The position from which on the log still has everything.
    #[must_use]
    pub fn oldest(&self) -> Sequence {
        self.0.files.oldest()
    }

    /// Which node this is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// What was found when it was opened.
    #[must_use]
    pub fn opened(&self) -> &Opened {
        &self.0.opened
    }

    /// Figures for people to watch.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (log_bytes, segments) = self.0.files.size();
        Stats {
            log_bytes,
            segments,
            tail_bytes: self.0.tail.bytes(),
            committed: self.committed(),
            synced: self.0.files.sync.synced(),
            persisted: self.0.state.persisted(),
        }
    }
}

impl Shared {
    /// How much of the log is kept, by now.
    pub(crate) fn retention(&self) -> Retention {
        *self.retention.lock().expect("no holder panics")
    }

    pub(crate) fn get(&self, table: TableId, key: &[u8]) -> Result<Option<RecordBytes>, StateError> {
        self.state.get(table, key)
    }

    /// Shows a batch that is applied already to everyone.
    pub(crate) fn publish(&self, batch: Arc<Batch>) {
        let last = batch.last();
        self.tail.push(batch);
        self.committed.store(last.0, Ordering::Release);
    }

    /// How damage to the tables is mended by now.
    pub(crate) fn mend(&self) -> Mend {
        if self.files.oldest() == Sequence::ZERO { Mend::FromLog } else { Mend::FromBackup }
    }

    /// What is said to whoever needs what cannot be read.
    pub(crate) fn words(&self, damage: &Damage) -> String {
        format!("the record cannot be read: {damage}. {}", self.mend())
    }

    /// A record is there that makes no sense.
    pub(crate) fn senseless(&self, (table, key): (TableId, &[u8]), error: &RecordError) -> Damage {
        let name = (table, key.to_vec());
        let damage = Damage { file: "tables".to_owned(), what: error.to_string(), between: Some((name.clone(), name)) };
        self.state.damages().note(&damage);
        damage
    }
}

const COUNT_PAGE: u64 = 4096; // Records.
