//! How many files the process may have open, and for what: connections are files as well.

use crate::net::Room;
use rowcast_store::limits::{FILES_OPEN_MAX, TABLE_FILES_OPEN_MAX};

/// File descriptors: as many as the system allows, and which of them are not for connections.
pub(super) struct OpenFiles {
    max: u64,
    /// For the files that the store opens, and a few that are read again now and then.
    kept: u64,
}

impl OpenFiles {
    /// As many as the system allows; the default of most shells is a thousand.
    pub(super) fn raise(shards: usize) -> anyhow::Result<OpenFiles> {
        let max = rlimit::increase_nofile_limit(u64::MAX).or_else(|error| {
            tracing::debug!(%error, "the limit of open files stays as it is");
            rlimit::Resource::NOFILE.get_soft()
        })?;
        let min = FILES_MIN + FILES_PER_SHARD_MIN * shards as u64;
        anyhow::ensure!(
            max >= min,
            "{max} open files are not enough for {shards} threads: the limit has to be {min}, and one more for each \
             connection; `ulimit -n` raises it"
        );
        // As many as may be useful, and where there are not so many a small part, which is enough if tables hold few
        // files open.
        Ok(OpenFiles { max, kept: (max / FILES_PART).clamp(FILES_KEPT_MIN, FILES_KEPT_MAX) })
    }

    /// Which of them tables that are read may hold open; the others are for the log, and for merging tables.
    pub(super) fn for_tables(&self) -> usize {
        let missing = (FILES_KEPT_MAX - self.kept) as usize;
        TABLE_FILES_OPEN_MAX.saturating_sub(missing).max(self.kept as usize / 4)
    }

    /// Room for connections beside all others.
    pub(super) fn room_for_connections(&self) -> std::io::Result<Room> {
        let files_max = self.max;
        let room = Room::new(files_max, self.kept)?;
        let connections = room.connections();
        if connections < FEW_CONNECTIONS {
            tracing::warn!(files_max, connections, "the limit of open files leaves little room: `ulimit -n` raises it");
        }
        Ok(room)
    }
}

/// What a node opens before anybody comes, and some to spare.
const FILES_MIN: u64 = 48;
/// What a thread of its own needs to wait for sockets.
const FILES_PER_SHARD_MIN: u64 = 8;
/// That part of all file descriptors is for files.
const FILES_PART: u64 = 400;
/// With fewer, what is left beside tables that are read would not do for merging tables.
const FILES_KEPT_MIN: u64 = 48;
const FILES_KEPT_MAX: u64 = FILES_OPEN_MAX as u64 + 32;
/// Whoever has fewer may not know it.
const FEW_CONNECTIONS: u64 = 512;
