//! Records by table and key: the fold of the log.
//!
//! The log is their write-ahead log. What is applied lives in memory until it is flushed, and nothing is flushed
//! before the log is on the disk up to it. After a crash the tables stand where they were last flushed, know which
//! sequence that was, and the log is applied from there.

mod base;
mod flush;
mod layers;
mod lsm;
mod memory;
mod memtable;
mod page;
mod walk;

pub use page::Page;

use layers::Tables;
use lsm::LsmBase;
use memory::MemBase;

use crate::damage::{Damage, Damages};
use crate::error::StateError;
use crate::limits::KEY_BYTES_MAX;
use crate::log::LogSync;
use lsm_tree::Slice;
use rowcast_core::{ChangeKind, Entry, NodeId, Record, RecordError, Sequence, TableId};
use std::ops::{Bound, Deref};
use std::sync::Arc;

/// Tables on the disk.
pub type LsmState = Tables<LsmBase>;

/// Tables in memory, for tests and the simulator: they lose at a crash what was not flushed, as those on disk do.
pub type MemState = Tables<MemBase>;

/// The tables as the writer and the readers see them.
///
/// Only the writer calls [`State::apply`] and [`State::forget`].
pub trait State: Send + Sync {
    /// Everything up to here is applied and visible.
    fn applied(&self) -> Sequence;

    /// Everything up to here survives a crash without the log.
    fn persisted(&self) -> Sequence;

    /// Says how to put the log on the disk, once it is open. Until then, all of it is.
    fn attach(&self, log: Arc<LogSync>);

    /// What was found of them that cannot be read.
    fn damages(&self) -> &Damages;

    /// Waits until there is room in memory for another batch, while there is hope.
    fn ready(&self) -> Result<Room, StateError>;

    /// Makes the effects visible, in their order; with them, everything up to `last` is applied.
    fn apply(&self, effects: &[Effect<'_>], last: Sequence) -> Result<(), StateError>;

    /// The record's bytes, [`Record::encode`]d, be it expired or not.
    fn get(&self, table: TableId, key: &[u8]) -> Result<Option<RecordBytes>, StateError>;

    /// The same without waiting for the disk; `None`: only the disk can say.
    fn get_from_memory(&self, table: TableId, key: &[u8]) -> Option<Option<RecordBytes>>;

    /// Records of a table in the order of their keys.
    fn scan(&self, scan: &Scan<'_>, unreadable: Unreadable) -> Result<Page, StateError>;

    /// The greatest key of a table.
    fn last_key(&self, table: TableId) -> Result<Option<Vec<u8>>, StateError>;

    /// Records that were due to expire at `now_ms`, the longest overdue first.
    fn due(&self, now_ms: u64, limit: usize) -> Result<Vec<Due>, StateError>;

    /// Drops entries of the expiry index whose record is not what it was.
    fn forget(&self, due: &[Due]) -> Result<(), StateError>;

    /// Starts to persist what is applied by now.
    fn request_checkpoint(&self);

    /// Returns once what is applied by now is persisted.
    fn checkpoint(&self) -> Result<(), StateError>;
}

/// Whether another batch may be applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Room {
    /// It may.
    Yes,
    /// Memory is full, and the disk as well.
    DiskFull,
    /// Memory is full, and the tables take no more for damage that is in the way of merging them.
    Damaged(Box<Damage>),
}

/// What a batch does to one record.
#[derive(Clone, Copy, Debug)]
pub struct Effect<'a> {
    /// In which table.
    pub table: TableId,
    /// Which record.
    pub key: &'a [u8],
    /// What it is afterwards; `None`: gone.
    pub record: Option<Record<'a>>,
}

impl<'a> Effect<'a> {
    /// What an entry does, if it changes a record at all; `node` is where the log is that holds it.
    #[must_use]
    pub fn of(entry: &Entry<'a>, node: NodeId) -> Option<Effect<'a>> {
        if entry.superseded {
            return None;
        }
        let record = match entry.change.kind {
            ChangeKind::Put => Some(Record::from_put(entry, node)),
            ChangeKind::Delete | ChangeKind::Expire => None,
            ChangeKind::Message => return None,
        };
        Some(Effect { table: entry.change.table, key: entry.change.key, record })
    }

    /// Whether the tables can hold what an entry says. The writer never writes another.
    pub(crate) fn is_sound(entry: &Entry<'_>) -> bool {
        let change = &entry.change;
        !change.kind.is_state() || (change.table.0 < cell::DUE && change.key.len() <= KEY_BYTES_MAX)
    }
}

/// A record as it stands in the tables. Cheap to clone; keeps no more than itself in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBytes(Slice);

impl RecordBytes {
    /// Looks into it.
    pub fn record(&self) -> Result<Record<'_>, RecordError> {
        Record::decode(&self.0)
    }
}

impl Deref for RecordBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Which records of a table, and how many at once.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    /// The table.
    pub table: TableId,
    /// Where to begin; to go on, `Excluded` of [`Page::next`].
    pub from: Bound<&'a [u8]>,
    /// Only keys that begin with these bytes.
    pub prefix: Option<&'a [u8]>,
    /// The page is full once its keys and records have this many bytes: it is exceeded by one record at most.
    pub bytes_max: usize,
    /// Records in the page.
    pub records_max: usize,
}

/// What a scan does where the tables are damaged. Either way it is noted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// It fails with [`StateError::Unreadable`], once what comes before is shown.
    Refused,
    /// It goes on behind them.
    LeftOut,
}

/// A record that is due to expire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Due {
    /// Milliseconds since 1970 at which it was due when it was put.
    pub expires_ms: u64,
    /// In which table.
    pub table: TableId,
    /// Which record.
    pub key: Vec<u8>,
}

/// Keys as they stand below: one ordered space for records, the expiry index and what is known of the tables.
///
/// | bytes | record | expiry index      | tables' own |
/// |-------|--------|-------------------|-------------|
/// | 4     | table  | `0xfffffffe`      | `0xffffffff`|
/// | 8     |        | time, ms          |             |
/// | 4     |        | table             |             |
/// | ..    | key    | key               | name        |
///
/// All integers are big endian, so that the order of the bytes is theirs.
mod cell {
    use super::Due;
    use rowcast_core::TableId;

    pub(super) const DUE: u32 = 0xffff_fffe;
    pub(super) const OWN: u32 = 0xffff_ffff;

    pub(super) fn record(table: TableId, key: &[u8], out: &mut Vec<u8>) {
        assert!(table.0 < DUE, "tables are numbered from below");
        out.clear();
        out.extend_from_slice(&table.0.to_be_bytes());
        out.extend_from_slice(key);
    }

    /// The key of a record, from what [`record`] made.
    pub(super) fn key_of(cell: &[u8]) -> &[u8] {
        &cell[4..]
    }

    /// The table and the key of a record; of the expiry index, those of the record that it is about.
    pub(super) fn name_of(cell: &[u8]) -> Option<(TableId, Vec<u8>)> {
        let (table, key) = cell.split_first_chunk()?;
        match u32::from_be_bytes(*table) {
            DUE => due_of(cell).map(|due| (due.table, due.key)),
            table => Some((TableId(table), key.to_vec())),
        }
    }

    pub(super) fn due(expires_ms: u64, table: TableId, key: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&DUE.to_be_bytes());
        out.extend_from_slice(&expires_ms.to_be_bytes());
        out.extend_from_slice(&table.0.to_be_bytes());
        out.extend_from_slice(key);
    }

    pub(super) fn due_of(cell: &[u8]) -> Option<Due> {
        let (head, key) = cell.split_at_checked(16)?;
        Some(Due {
            expires_ms: u64::from_be_bytes(head[4..12].try_into().ok()?),
            table: TableId(u32::from_be_bytes(head[12..16].try_into().ok()?)),
            key: key.to_vec(),
        })
    }

    /// The first key behind all that begin with `prefix`.
    pub(super) fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
        let mut end = prefix.to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return end;
            }
        }
        unreachable!("every cell's key begins with a table, and none is all ones but the last")
    }
}
