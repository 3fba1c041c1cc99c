//! Every bound of the store in one place. What can be configured is a field of [`crate::Options`].

/// Bytes of a record's key. `lsm-tree` holds keys of up to 65,535 bytes, and ours stand behind a table and, in the
/// expiry index, a time. A longer topic can carry messages, but not a record.
pub const KEY_BYTES_MAX: usize = 65_500;

/// Changes the writer takes from its queue for one turn: more would make each of them wait for the others.
pub const TURN_CHANGES_MAX: usize = 4096;

/// Bytes the writer takes from its queue for one turn, unless one shard's proposals alone are larger.
pub const TURN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a frame's body: its length is a 32-bit number, and a reader holds a frame in memory whole.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// What a proposal costs in the queue beyond its bytes, and each decision beyond its key and what it holds: a slot in a list, and more
/// somewhere on the heap.
pub const PROPOSAL_BYTES: usize = 160;

/// How far beyond the last known entry the log goes on after an unclean stop. What readers saw from memory and the
/// disk lost lies within it, because no more than half of it is ever committed without a sync.
pub const SEQUENCE_GAP: u64 = 1_000_000;

/// Changes after which the log is synced even if nobody asked for it.
pub const UNSYNCED_MAX: u64 = SEQUENCE_GAP / 2;

/// Bytes of log between two marks of a segment's index: what a reader has to skip through at most.
pub const INDEX_EVERY_BYTES: u64 = 256 * 1024;

/// Bytes read from a log segment at a time.
pub const READ_BYTES: usize = 256 * 1024;

/// Stretches of the log that are known to hold nothing for clients: 16 bytes each. The oldest are forgotten.
pub const STRETCHES_MAX: usize = 4096;

/// Entries of such a stretch at least: shorter ones are read again.
pub const STRETCH_ENTRIES_MIN: u64 = 256;

/// Records the sweeper expires in one turn, so that it does not hold up others.
pub const EXPIRE_PER_TURN: usize = 1024;

/// Frozen memtables that wait to be written to disk; with one more due, the writer waits.
pub const FROZEN_MAX: usize = 2;

/// Table files held open at a time, where there is nothing else to be saved for.
pub const TABLE_FILES_OPEN_MAX: usize = 256;

/// Files that a store may have open at a time: those of tables, and what readers of the log, compaction and the writer
/// open for a while. A writer that cannot open the next segment of the log ends.
pub const FILES_OPEN_MAX: usize = TABLE_FILES_OPEN_MAX + 128;

/// Places of table files that are remembered as damaged.
pub const DAMAGES_MAX: usize = 64;

/// Sorted runs in the tables' first level above which no memtable is flushed until they are merged. `lsm-tree` counts
/// them in one byte.
pub const RUNS_MAX: usize = 24;

/// What a disk writes at a time at least, in bytes, and what memory and places of direct writes are multiples of. A disk
/// or file system that wants more says so, and is written to through the system's cache.
pub const DISK_BLOCK_BYTES: usize = 4096;

/// Bytes by which a log segment grows where little is written durably: behind what was written it is filled with zeros up
/// to a multiple of this.
pub const FILLED_BYTES: usize = 64 * 1024;

/// Bytes written to the disk directly at a time: the memory for it is kept. Larger frames go through the system's cache.
pub const DIRECT_BYTES_MAX: usize = 1024 * 1024;
