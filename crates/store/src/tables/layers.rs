//! Tables in layers: one memtable that changes, a few frozen ones on their way to the disk, and a base below.
//!
//! The memtable holds the last version of each record only, so a record that changes a thousand times is flushed once.
//! `lsm-tree` has a memtable of its own that keeps every version, allocates for each, and takes the lock for it that
//! is also held while a version file is synced; it stays empty here.

use super::base::{Base, BaseError};
use super::flush::{Frozen, Progress, decode_own, own_key};
use super::memtable::Memtable;
use super::walk::{Step, Walk};
use super::{Due, Effect, Page, RecordBytes, Room, Scan, State, Unreadable, cell};
use crate::damage::{Damage, Damages};
use crate::error::StateError;
use crate::limits::FROZEN_MAX;
use crate::log::LogSync;
use lsm_tree::Slice;
use rowcast_core::{Record, Sequence, TableId};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, RwLock};
use std::thread::JoinHandle;

/// Tables over a base.
pub struct Tables<B: Base> {
    pub(super) inner: Arc<Inner<B>>,
    pub(super) threads: Vec<JoinHandle<()>>,
}

pub(super) struct Inner<B> {
    pub(super) base: B,
    pub(super) layers: RwLock<Layers>,
    pub(super) applied: AtomicU64,
    pub(super) persisted: AtomicU64,
    expiring: AtomicBool, // Whether any table has expiring records: most have none, and are spared the look.
    pub(super) progress: Mutex<Progress>,
    pub(super) changed: Condvar,    // Of `progress`.
    pub(super) flushing: Mutex<()>, // One at a time.
    pub(super) log: OnceLock<Mutex<Arc<LogSync>>>,
    memtable_bytes: usize,
    place: String,
    damages: Damages,
    pub(super) flusher: AtomicBool, // Whether there is a thread that flushes.
}

#[derive(Default)]
pub(super) struct Layers {
    pub(super) active: Memtable,
    pub(super) active_bytes: usize,
    pub(super) frozen: Vec<Arc<Frozen>>, // The newest first.
    /// Tables that ever had a record with a time to expire: only there may an older version be in the expiry index.
    pub(super) expiring: BTreeSet<TableId>,
}

impl<B: Base> Tables<B> {
    pub(super) fn over(base: B, memtable_bytes: usize, place: String) -> Result<Tables<B>, StateError> {
        let inner = Inner {
            base,
            layers: RwLock::default(),
            applied: AtomicU64::new(0),
            persisted: AtomicU64::new(0),
            expiring: AtomicBool::new(false),
            progress: Mutex::default(),
            changed: Condvar::new(),
            flushing: Mutex::new(()),
            log: OnceLock::new(),
            memtable_bytes,
            place,
            damages: Damages::default(),
            flusher: AtomicBool::new(false),
        };
        let tables = Tables { inner: Arc::new(inner), threads: Vec::new() };
        tables.reset()?;
        Ok(tables)
    }

    /// Makes the tables what the base says they are.
    pub(super) fn reset(&self) -> Result<(), StateError> {
        let inner = &*self.inner;
        let own = inner.base.get(&own_key()).map_err(|error| inner.error(error))?;
        let (applied, expiring) = match own {
            Some(own) => decode_own(&own).ok_or_else(|| {
                inner.error(BaseError::Failed("what they know of themselves makes no sense".to_owned()))
            })?,
            None => (Sequence::ZERO, BTreeSet::new()),
        };
        let mut layers = inner.layers.write().expect("no holder panics");
        inner.expiring.store(!expiring.is_empty(), Ordering::Release);
        *layers = Layers { expiring, ..Layers::default() };
        inner.applied.store(applied.0, Ordering::Release);
        inner.persisted.store(applied.0, Ordering::Release);
        Ok(())
    }
}

impl<B: Base> Drop for Tables<B> {
    fn drop(&mut self) {
        self.inner.progress.lock().expect("no holder panics").stop = true;
        self.inner.changed.notify_all();
        self.inner.base.stop();
        for thread in self.threads.drain(..) {
            // It panicked: whoever waited for its work has been told so, or will notice on the next start.
            let _ = thread.join();
        }
    }
}

impl<B: Base> Inner<B> {
    pub(super) fn error(&self, error: BaseError) -> StateError {
        match error {
            BaseError::Full => StateError::Full { place: self.place.clone() },
            BaseError::Unreadable(hole) => {
                let name = |bound: &Bound<Slice>| match bound {
                    Bound::Included(cell) | Bound::Excluded(cell) => cell::name_of(cell),
                    Bound::Unbounded => None,
                };
                let between = hole.range.as_ref().and_then(|(from, to)| Some((name(from)?, name(to)?)));
                let damage = Damage { file: hole.file, what: hole.what, between };
                self.damages.note(&damage);
                StateError::Unreadable(Box::new(damage))
            }
            BaseError::Failed(what) => StateError::Failed { place: self.place.clone(), what },
        }
    }

    pub(super) fn get(&self, cell: &[u8]) -> Result<Option<Slice>, StateError> {
        match self.get_from_memory(cell) {
            Some(found) => Ok(found),
            None => self.base.get(cell).map_err(|error| self.error(error)),
        }
    }

    /// What the memtables say; `None`: the base may know more.
    fn get_from_memory(&self, cell: &[u8]) -> Option<Option<Slice>> {
        let layers = self.layers.read().expect("no holder panics");
        if let Some(found) = layers.active.get(cell) {
            return Some(found.clone());
        }
        let frozen = layers.frozen.clone();
        drop(layers);
        if let Some(found) = frozen.iter().find_map(|frozen| frozen.cells.get(cell)) {
            return Some(found.clone());
        }
        // Asked last: what is flushed counts as persisted before it leaves the memtables.
        (self.persisted() == Sequence::ZERO).then_some(None)
    }

    /// The cells that an effect writes.
    fn cells_of(
        &self,
        effect: &Effect<'_>,
        scratch: &mut Vec<u8>,
        expiring: &mut BTreeSet<TableId>,
        cells: &mut Vec<(Slice, Option<Slice>)>,
    ) -> Result<(), StateError> {
        cell::record(effect.table, effect.key, scratch);
        let key = Slice::from(&scratch[..]);
        let expires_ms = effect.record.and_then(|record| record.expires_ms);
        if expires_ms.is_some() {
            expiring.insert(effect.table);
        }
        if expiring.contains(&effect.table) {
            self.insert(cells); // The old version may be among them.
            let old = match self.get(&key) {
                // The record is whole again. The old time stays in the index, where nothing is found to expire then.
                Err(StateError::Unreadable(_)) => None,
                old => old?,
            };
            let old_ms = old.as_deref().and_then(|old| Record::decode(old).ok()).and_then(|old| old.expires_ms);
            if old_ms != expires_ms {
                if let Some(old_ms) = old_ms {
                    cell::due(old_ms, effect.table, effect.key, scratch);
                    cells.push((Slice::from(&scratch[..]), None));
                }
                if let Some(expires_ms) = expires_ms {
                    cell::due(expires_ms, effect.table, effect.key, scratch);
                    cells.push((Slice::from(&scratch[..]), Some(Slice::default())));
                }
            }
        }
        let value = effect.record.map(|record| {
            scratch.clear();
            record.encode(scratch);
            Slice::from(&scratch[..])
        });
        cells.push((key, value));
        Ok(())
    }

    /// Puts cells into the memtable.
    fn insert(&self, cells: &mut Vec<(Slice, Option<Slice>)>) {
        let mut layers = self.layers.write().expect("no holder panics");
        let mut bytes = layers.active_bytes;
        for (key, value) in cells.drain(..) {
            let cost = |value: &Option<Slice>| CELL_BYTES + value.as_ref().map_or(0, |value| value.len());
            let (key_bytes, added) = (key.len(), cost(&value));
            match layers.active.insert(key, value) {
                Some(old) => bytes = bytes + added - cost(&old), // The key stays the one it was.
                None => bytes += key_bytes + added,
            }
        }
        layers.active_bytes = bytes;
    }
}

impl<B: Base> State for Tables<B> {
    fn applied(&self) -> Sequence {
        Sequence(self.inner.applied.load(Ordering::Acquire))
    }

    fn persisted(&self) -> Sequence {
        self.inner.persisted()
    }

    fn attach(&self, log: Arc<LogSync>) {
        let slot = self.inner.log.get_or_init(|| Mutex::new(Arc::clone(&log)));
        *slot.lock().expect("no holder panics") = log;
    }

    fn damages(&self) -> &Damages {
        &self.inner.damages
    }

    fn ready(&self) -> Result<Room, StateError> {
        self.inner.wait_below(FROZEN_MAX)
    }

    fn apply(&self, effects: &[Effect<'_>], last: Sequence) -> Result<(), StateError> {
        let inner = &*self.inner;
        let mut expiring = inner.layers.read().expect("no holder panics").expiring.clone();
        let known = expiring.len();
        let mut cells = Vec::with_capacity(effects.len().min(APPLY_CELLS) + 2);
        let mut scratch = Vec::new();
        for effect in effects {
            inner.cells_of(effect, &mut scratch, &mut expiring, &mut cells)?;
            if cells.len() >= APPLY_CELLS {
                inner.insert(&mut cells);
            }
        }
        inner.insert(&mut cells);
        if expiring.len() > known {
            inner.layers.write().expect("no holder panics").expiring = expiring;
            inner.expiring.store(true, Ordering::Release);
        }
        inner.applied.store(last.0, Ordering::Release);
        if inner.layers.read().expect("no holder panics").active_bytes >= inner.memtable_bytes {
            inner.freeze();
        }
        Ok(())
    }

    fn get(&self, table: TableId, key: &[u8]) -> Result<Option<RecordBytes>, StateError> {
        let mut cell = Vec::with_capacity(4 + key.len());
        cell::record(table, key, &mut cell);
        Ok(self.inner.get(&cell)?.map(RecordBytes))
    }

    fn get_from_memory(&self, table: TableId, key: &[u8]) -> Option<Option<RecordBytes>> {
        let mut cell = Vec::with_capacity(4 + key.len());
        cell::record(table, key, &mut cell);
        Some(self.inner.get_from_memory(&cell)?.map(RecordBytes))
    }

    fn scan(&self, scan: &Scan<'_>, unreadable: Unreadable) -> Result<Page, StateError> {
        let mut page = Page::new(self.applied());
        let cell = |key: &[u8]| {
            let mut cell = Vec::with_capacity(4 + key.len());
            cell::record(scan.table, key, &mut cell);
            cell
        };
        let low = cell(scan.prefix.unwrap_or_default());
        let high = cell::end_of_prefix(&low);
        let from = match scan.from {
            Bound::Unbounded => Bound::Included(low),
            Bound::Included(key) => Bound::Included(cell(key).max(low)),
            Bound::Excluded(key) if cell(key) >= low => Bound::Excluded(cell(key)),
            Bound::Excluded(_) => Bound::Included(low),
        };
        self.inner.walk(from.as_ref().map(|from| &from[..]), &high, |step| {
            let (cell, record) = match step {
                Step::Cell(cell, record) => (cell, record),
                Step::Unreadable(_) if unreadable == Unreadable::LeftOut => return Walk::On,
                Step::Unreadable(damage) => {
                    // What is there before it can be shown; who goes on then finds it at the beginning.
                    page.next = page.last_key().map(<[u8]>::to_vec);
                    page.cut = Some(Box::new(damage));
                    return Walk::Stop;
                }
            };
            let key = cell::key_of(cell);
            page.push(key, record);
            if page.len().is_multiple_of(RECORDS_AT_ONCE) {
                std::thread::yield_now();
            }
            if page.len() < scan.records_max && page.bytes() < scan.bytes_max {
                return Walk::On;
            }
            page.next = Some(key.to_vec());
            Walk::Stop
        })?;
        let is_empty = page.is_empty();
        match page.cut.take_if(|_| is_empty) {
            Some(damage) => Err(StateError::Unreadable(damage)),
            None => Ok(page),
        }
    }

    fn last_key(&self, table: TableId) -> Result<Option<Vec<u8>>, StateError> {
        let mut low = Vec::new();
        cell::record(table, &[], &mut low);
        let last = self.inner.last(&low, &cell::end_of_prefix(&low))?;
        Ok(last.map(|cell| cell::key_of(&cell).to_vec()))
    }

    fn due(&self, now_ms: u64, limit: usize) -> Result<Vec<Due>, StateError> {
        let mut due = Vec::new();
        if limit == 0 || !self.inner.expiring.load(Ordering::Acquire) {
            return Ok(due);
        }
        let low = cell::DUE.to_be_bytes();
        let mut high = low.to_vec();
        high.extend_from_slice(&now_ms.saturating_add(1).to_be_bytes());
        self.inner.walk(Bound::Included(&low), &high, |step| {
            if let Step::Cell(cell, _) = step {
                due.extend(cell::due_of(cell));
            }
            if due.len() < limit { Walk::On } else { Walk::Stop }
        })?;
        Ok(due)
    }

    fn forget(&self, due: &[Due]) -> Result<(), StateError> {
        let mut scratch = Vec::new();
        let cell = |due: &Due| {
            cell::due(due.expires_ms, due.table, &due.key, &mut scratch);
            (Slice::from(&scratch[..]), None)
        };
        let mut cells = due.iter().map(cell).collect();
        self.inner.insert(&mut cells);
        Ok(())
    }

    fn request_checkpoint(&self) {
        if self.inner.frozen_count() < FROZEN_MAX {
            self.inner.freeze();
        }
    }

    fn checkpoint(&self) -> Result<(), StateError> {
        self.inner.freeze();
        match self.inner.wait_below(1)? {
            Room::Yes => Ok(()),
            Room::DiskFull => Err(self.inner.error(BaseError::Full)),
            Room::Damaged(damage) => Err(StateError::Unreadable(damage)),
        }
    }
}

/// What a cell costs in memory beside its key and value, measured: tree, list, hashes, two allocations' heads, reference
/// counts.
const CELL_BYTES: usize = 144;

/// Records read before another thread may have the core, if one waits for it: a page takes as long as a client should
/// wait for its message in all, and the system takes a core away from who reads no sooner.
const RECORDS_AT_ONCE: usize = 64;

/// Cells inserted under one lock, so that readers get in between. So few that the allocator has the pieces that replaced
/// values took at hand for the next ones: it keeps seven of a size for that.
const APPLY_CELLS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::KEY_BYTES_MAX;
    use crate::tables::walk::WALK_CELLS_MAX;
    use crate::tables::{LsmState, MemState, Unreadable};
    use rowcast_codec::QoS;
    use rowcast_core::{Hlc, NodeId, SessionId, Stamp};
    use std::collections::BTreeMap;

    const TABLES: [TableId; 3] = [TableId(0), TableId(64), TableId(0xffff_fffd)];

    /// Version and expiry of each record.
    type Model = BTreeMap<(TableId, Vec<u8>), (u64, Option<u64>)>;

    /// Changes of records, some with a time to expire, compared with a plain map after each round.
    fn check(state: &dyn State, rounds: u64, keys: u64, payload: usize) {
        let mut model = Model::new();
        let mut random = 1_u64;
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let payload = vec![7; payload];
        let mut sequence = state.applied().0;
        for round in 0..rounds {
            let mut changes = Vec::new();
            for _ in 0..keys {
                sequence += 1;
                let name = (TABLES[below(3) as usize], format!("{:05}", below(keys)).into_bytes());
                let put = (below(3) > 0).then(|| (sequence, (below(4) == 0).then(|| 1 + below(100))));
                changes.push((name, put));
            }
            let effects: Vec<Effect<'_>> = changes
                .iter()
                .map(|((table, key), put)| Effect {
                    table: *table,
                    key,
                    record: put.map(|(version, expires_ms)| Record {
                        version: Sequence(version),
                        stamp: Stamp { hlc: Hlc(0), node: NodeId(1) },
                        qos: QoS::AtMostOnce,
                        publisher: SessionId::NONE,
                        expires_ms,
                        properties: &[],
                        payload: &payload,
                    }),
                })
                .collect();
            assert_eq!(state.ready().unwrap(), Room::Yes);
            state.apply(&effects, Sequence(sequence)).unwrap();
            for (name, put) in changes {
                match put {
                    Some(put) => model.insert(name, put),
                    None => model.remove(&name),
                };
            }
            if round % 5 == 4 {
                state.checkpoint().unwrap();
                assert_eq!(state.persisted(), Sequence(sequence));
            }
            compare(state, &model);
        }
    }

    fn compare(state: &dyn State, model: &Model) {
        for table in TABLES {
            let expected: Vec<(&[u8], u64)> =
                model.iter().filter(|((of, _), _)| *of == table).map(|((_, key), put)| (&key[..], put.0)).collect();
            let scan =
                Scan { table, from: Bound::Unbounded, prefix: None, bytes_max: usize::MAX, records_max: usize::MAX };
            let page = state.scan(&scan, Unreadable::Refused).unwrap();
            let version = |bytes: &[u8]| Record::decode(bytes).unwrap().version.0;
            let found: Vec<(&[u8], u64)> = page.iter().map(|(key, bytes)| (key, version(bytes))).collect();
            assert_eq!(found, expected);
            assert_eq!(state.last_key(table).unwrap().as_deref(), expected.last().map(|(key, _)| *key));
            for (key, sequence) in expected.iter().step_by(17) {
                assert_eq!(version(&state.get(table, key).unwrap().unwrap()), *sequence);
            }
        }
        let mut due: Vec<_> = model
            .iter()
            .filter_map(|((table, key), put)| Some((put.1?, *table, key.clone())))
            .filter(|(at, ..)| *at <= 50)
            .collect();
        due.sort();
        let found = state.due(50, usize::MAX).unwrap();
        assert_eq!(found.into_iter().map(|due| (due.expires_ms, due.table, due.key)).collect::<Vec<_>>(), due);
    }

    #[test]
    fn tables_in_memory_are_what_was_applied() {
        check(&MemState::new(10_000), 30, 40, 10);
        check(&MemState::new(1_000_000), 6, 4 * WALK_CELLS_MAX as u64, 10);
    }

    #[test]
    fn tables_on_disk_are_what_was_applied_while_they_are_flushed_and_compacted() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let state = LsmState::open(folder.path(), 1, 8).unwrap();
            let before = state.applied();
            if before > Sequence::ZERO {
                // What the first round left is in the way of the second.
                for table in TABLES {
                    let scan = Scan {
                        table,
                        from: Bound::Unbounded,
                        prefix: None,
                        bytes_max: usize::MAX,
                        records_max: usize::MAX,
                    };
                    let page = state.scan(&scan, Unreadable::Refused).unwrap();
                    let gone: Vec<_> = page.iter().map(|(key, _)| Effect { table, key, record: None }).collect();
                    state.apply(&gone, before.next()).unwrap();
                }
            }
            check(&state, 15, 2_000, 300);
        }
    }

    #[test]
    fn a_record_that_changes_often_takes_no_more_room_than_once() {
        let state = MemState::new(usize::MAX);
        let bytes = || state.inner.layers.read().unwrap().active_bytes;
        let put = |key| Effect { table: TABLES[1], key, record: None };
        state.apply(&[put(b"1")], Sequence(1)).unwrap();
        let once = bytes();
        state.apply(&[put(b"1"), put(b"1")], Sequence(2)).unwrap();
        assert_eq!(bytes(), once);
        state.apply(&[put(b"2")], Sequence(3)).unwrap();
        assert_eq!(bytes(), 2 * once);
    }

    #[test]
    fn a_key_longer_than_any_is_looked_for_in_vain() {
        let folder = tempfile::tempdir().unwrap();
        let state = LsmState::open(folder.path(), 1, 8).unwrap();
        check(&state, 5, 20, 10);
        let table = TABLES[1];
        for length in [KEY_BYTES_MAX, 65_531, 65_532, 65_535, 70_000] {
            for byte in [b'0', b'z', u8::MAX] {
                let key = vec![byte; length];
                assert!(state.get(table, &key).unwrap().is_none(), "{length} of {byte}");
                let page = |from, prefix| {
                    let scan = Scan { table, from, prefix, bytes_max: usize::MAX, records_max: usize::MAX };
                    state.scan(&scan, Unreadable::Refused).unwrap().len()
                };
                let all = page(Bound::Unbounded, None);
                assert!(all > 0);
                // Those that were put begin with zeros, and go on with other digits.
                let behind = if byte == b'0' { all - page_of_first(&state, table) } else { 0 };
                assert_eq!(page(Bound::Included(&key), None), behind, "{length} of {byte}");
                assert_eq!(page(Bound::Excluded(&key), None), behind, "{length} of {byte}");
                assert_eq!(page(Bound::Unbounded, Some(&key)), 0, "{length} of {byte}");
            }
        }
    }

    /// How many of the keys are all zeros: at most one.
    fn page_of_first(state: &dyn State, table: TableId) -> usize {
        usize::from(state.get(table, b"00000").unwrap().is_some())
    }

    #[test]
    fn memory_alone_says_what_it_knows_and_no_more() {
        let state = MemState::new(usize::MAX);
        let effect = |key| Effect { table: TABLES[1], key, record: None };
        let known = |key| state.get_from_memory(TABLES[1], key);
        assert_eq!(known(b"1"), Some(None), "nothing was ever flushed");
        state.apply(&[effect(b"1")], Sequence(5)).unwrap();
        state.checkpoint().unwrap();
        assert_eq!(known(b"1"), None);
        state.apply(&[effect(b"2")], Sequence(9)).unwrap();
        assert_eq!((known(b"1"), known(b"2")), (None, Some(None)));
        state.crash();
        assert_eq!(known(b"2"), None);
    }

    #[test]
    fn what_was_not_flushed_is_lost_and_known_to_be() {
        let state = MemState::new(usize::MAX);
        let effect = |key| Effect { table: TABLES[1], key, record: None };
        state.apply(&[effect(b"1")], Sequence(5)).unwrap();
        state.checkpoint().unwrap();
        state.apply(&[effect(b"2")], Sequence(9)).unwrap();
        assert_eq!((state.applied(), state.persisted()), (Sequence(9), Sequence(5)));
        state.crash();
        assert_eq!((state.applied(), state.persisted()), (Sequence(5), Sequence(5)));
    }

    #[test]
    fn an_altered_table_file_is_named_and_never_served() {
        let folder = tempfile::tempdir().unwrap();
        let state = LsmState::open(folder.path(), 1, 8).unwrap();
        check(&state, 5, 200, 100);
        drop(state);
        let files: Vec<_> =
            std::fs::read_dir(folder.path().join("tables")).unwrap().map(|it| it.unwrap().path()).collect();
        let mut named = 0;
        for file in &files {
            let good = std::fs::read(file).unwrap();
            for at in (0..good.len()).step_by(good.len() / 40 + 1) {
                let mut bad = good.clone();
                bad[at] ^= 4;
                std::fs::write(file, &bad).unwrap();
                named += usize::from(!is_right_or_refused(folder.path()));
            }
            std::fs::write(file, &good).unwrap();
        }
        assert!(named > 30, "{named} alterations were named");
        assert!(is_right_or_refused(folder.path()));
    }

    /// Whether all is well. What is served must have been put, whatever happens.
    fn is_right_or_refused(folder: &std::path::Path) -> bool {
        let Ok(state) = LsmState::open(folder, 1, 8) else { return false };
        for table in TABLES {
            let scan =
                Scan { table, from: Bound::Unbounded, prefix: None, bytes_max: usize::MAX, records_max: usize::MAX };
            let Ok(page) = state.scan(&scan, Unreadable::Refused) else { return false };
            if page.cut.is_some() {
                return false;
            }
            for (_, bytes) in page.iter() {
                assert_eq!(Record::decode(bytes).unwrap().payload, [7; 100]);
            }
        }
        true
    }
}
