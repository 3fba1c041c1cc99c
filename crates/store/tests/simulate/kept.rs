//! The real store under a node: writer, log, tables and recovery, over a disk in memory that fails on request. No threads:
//! the writer takes a turn when it is told to, and so do upkeep and the flushing of tables.

use crate::node::{Failed, Keep, Origin, Turn};
use crate::random::Random;
use bytes::Bytes;
use rowcast_core::replay::{Located, Sought};
use rowcast_core::shard::{Fetched, Found, ScannedRecord, StoredRows, Wanted};
use rowcast_core::tables::Range;
use rowcast_core::{Batch, NodeId, Proposals, Sequence, TableId};
use rowcast_store::limits::FILLED_BYTES;
use rowcast_store::{Crash, Disk, MemDisk, MemState, Options, ReadError, Retention, Store, Writer, reads};
use std::sync::Arc;

/// A store, and what it stands on.
pub(crate) struct Kept {
    pub(crate) disk: MemDisk,
    pub(crate) store: Store,
    state: Arc<MemState>,
    options: Options,
    writer: Option<Writer>,
    random: Random,
    /// Bytes of log, and records, that one read brings at most.
    read_bytes: usize,
    read_records: usize,
    /// A file of which one bit is flipped, and which.
    harmed: Option<(String, u64)>,
    /// Those that were removed before that bit was put back: a power cut may bring them back.
    removed: Vec<(String, u64)>,
}

/// Proposals of somebody else than the shards, as the writer knows them.
const ELSEWHERE: rowcast_store::Origin = rowcast_store::Origin(1000);
/// Disk operations within which recovery crashes, if it does.
const RECOVERY_OPERATIONS: usize = 20;

impl Kept {
    pub(crate) fn new(seed: u64, now_ms: u64) -> Kept {
        let mut random = Random(seed ^ 0x5707e);
        let bytes = random.one_in(3).then(|| 2_000 + random.below(20_000) as u64);
        let options = Options {
            node: Some(NodeId(7)),
            segment_bytes: 500 + random.below(4_000) as u64,
            ring_bytes: random.below(6_000),
            retention: Retention { bytes, age_ms: random.one_in(6).then_some(60_000) },
            ..Options::default()
        };
        let few = 1 + random.below(500);
        let read_bytes = random.of(&[1, few, usize::MAX, usize::MAX]);
        let read_records = random.of(&[1, 2, usize::MAX, usize::MAX]);
        let disk = MemDisk::new(random.next());
        disk.fill_up_to([1, 64, FILLED_BYTES][(seed / 10 % 3) as usize]); // What a run is about, its last digit says.
        let state = Arc::new(MemState::new(500 + random.below(8_000)));
        let (store, writer) =
            Store::open_with(Arc::new(disk.clone()), Arc::clone(&state) as _, &options, now_ms).expect("a new disk");
        let (writer, harmed, removed) = (Some(writer), None, Vec::new());
        Kept { disk, store, state, options, writer, random, read_bytes, read_records, harmed, removed }
    }

    /// The process ended, at worst with the power: what is left is opened, perhaps after a few more crashes on the way.
    /// Returns whether one of these may have taken what was not synced.
    pub(crate) fn recover(&mut self, mut crash: Crash, now_ms: u64) -> Result<bool, String> {
        let mut loses = crash == Crash::Power;
        for attempt in 0.. {
            self.disk.restart(crash);
            self.heal();
            if attempt < 2 && self.random.one_in(3) {
                self.disk.crash_at(self.disk.operations() + self.random.below(RECOVERY_OPERATIONS) as u64);
            }
            match self.open(now_ms) {
                Ok(()) if !self.disk.is_down() => break,
                Err(error) if !self.disk.is_down() => return Err(error),
                _ => crash = if self.random.one_in(2) { Crash::Power } else { Crash::Process },
            }
            loses |= crash == Crash::Power;
        }
        self.disk.crash_at(u64::MAX); // One that was ordered for later is not wanted any more.
        Ok(loses)
    }

    /// Ends in good order, and begins anew.
    pub(crate) fn close(&mut self, now_ms: u64) -> Result<(), String> {
        if let Some(writer) = self.writer.take() {
            writer.close(now_ms).map_err(|error| error.to_string())?;
        }
        self.open(now_ms)?;
        if self.store.opened().clean { Ok(()) } else { Err("closed in good order, and opened as if not".to_owned()) }
    }

    /// Whether the log loses its old end.
    pub(crate) fn cuts(&self) -> bool {
        self.options.retention != Retention::default()
    }

    fn open(&mut self, now_ms: u64) -> Result<(), String> {
        self.writer = None;
        self.state.crash();
        let (disk, state) = (Arc::new(self.disk.clone()), Arc::clone(&self.state));
        let opened = Store::open_with(disk, state as _, &self.options, now_ms);
        let (store, writer) = opened.map_err(|error| error.to_string())?;
        (self.store, self.writer) = (store, Some(writer));
        Ok(())
    }

    /// What was read is not as it was written, and the error says which file it is.
    fn not_read(&self, error: &ReadError) -> Failed {
        let Some((name, _)) = &self.harmed else { panic!("the disk is up, and in order: {error}") };
        let is_named = matches!(error, ReadError::DamagedLog { place, .. } if place.ends_with(name.as_str()));
        assert!(is_named, "{name} is damaged: {error}");
        Failed(error.to_string())
    }

    /// Flips a bit in a part of the log that is not written to any more.
    pub(crate) fn harm(&mut self) {
        let mut names = self.disk.list().expect("the disk is up");
        names.retain(|name| name.ends_with(".log"));
        names.sort();
        names.pop();
        if names.is_empty() || self.harmed.is_some() {
            return;
        }
        let name = names.swap_remove(self.random.below(names.len()));
        let bytes = self.disk.open(&name).and_then(|file| file.len()).expect("the disk is up");
        let bit = self.random.below(bytes as usize * 8) as u64;
        self.disk.flip(&name, bit);
        self.harmed = Some((name, bit));
    }

    /// Whether something on the disk is not as it was written.
    pub(crate) fn is_harmed(&self) -> bool {
        self.harmed.is_some()
    }

    /// Puts the bit back.
    pub(crate) fn heal(&mut self) {
        self.removed.extend(self.harmed.take());
        self.removed.retain(|(name, bit)| {
            let is_there = self.disk.has(name);
            if is_there {
                self.disk.flip(name, *bit);
            }
            !is_there
        });
    }

    fn writer(&mut self) -> Result<&mut Writer, Failed> {
        self.writer.as_mut().ok_or_else(|| Failed("the writer has failed before".to_owned()))
    }
}

impl Keep for Kept {
    fn committed(&self) -> Sequence {
        self.store.committed()
    }

    fn commit(&mut self, proposals: Vec<(Origin, Proposals)>, now_ms: u64) -> Result<Turn, Failed> {
        let origin = |origin: Origin| origin.map_or(ELSEWHERE, |shard| rowcast_store::Origin(shard as u32));
        let work = proposals.into_iter().map(|(from, proposals)| (origin(from), proposals)).collect();
        let committed = self.writer()?.turn(work, now_ms).map_err(|error| Failed(error.to_string()))?;
        let completions = committed
            .completions
            .into_iter()
            .map(|(origin, completions)| (Some(origin.0 as usize).filter(|_| origin != ELSEWHERE), completions));
        Ok((committed.batch, completions.collect()))
    }

    fn tick(&mut self, now_ms: u64) -> Result<Option<Arc<Batch>>, Failed> {
        let ticked = self.writer()?.tick(now_ms).map_err(|error| Failed(error.to_string()));
        ticked.map(|(committed, _)| committed.batch)
    }

    fn found(&self) -> Found {
        reads::found(&self.store).expect("the disk is up")
    }

    fn read_log(&self, after: Sequence, bytes: usize) -> Result<(Vec<Arc<Batch>>, Option<Sequence>), Failed> {
        reads::log(&self.store, after, bytes.min(self.read_bytes)).map_err(|error| self.not_read(&error))
    }

    fn read_records(
        &self,
        range: &Range,
        after: Option<&[u8]>,
        records: usize,
        bytes: usize,
    ) -> (Vec<ScannedRecord>, bool) {
        reads::records(&self.store, range, after, records.min(self.read_records), bytes).expect("memory does not fail")
    }

    fn record(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, Box<str>> {
        Ok(reads::record(&self.store, table, key).expect("memory does not fail"))
    }

    fn locate(&self, sought: &Sought) -> Result<Located, Failed> {
        reads::locate(&self.store, sought).map_err(|error| self.not_read(&error))
    }

    fn fetch(&self, wanted: Vec<Wanted>) -> Result<Vec<(u64, Fetched)>, Failed> {
        reads::fetch(&self.store, wanted).map_err(|error| self.not_read(&error))
    }

    fn session_rows(&self, client_id: &str, now_ms: u64) -> StoredRows {
        reads::rows(&self.store, client_id, now_ms).expect("memory does not fail")
    }
}
