//! What can go wrong, one enum for each thing a caller can ask for.

use crate::damage::{Damage, Mend};
use crate::disk::FolderError;
use rowcast_core::{NodeId, Sequence};
use std::io;

/// Why a store cannot be opened. Nothing was altered that was not torn anyway.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The system said no.
    #[error("cannot {doing} {place}: {source}")]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On which file.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// The folder is new, and nobody said which node this is to be.
    #[error("the data folder is new and needs a node id, drawn at random")]
    NoNode,
    /// The file that says whose folder this is makes no sense.
    #[error("{place} is not as it was written: restore it, 32 bytes, from a backup of this data folder")]
    DamagedMeta {
        /// The file.
        place: String,
    },
    /// Part of the log is not as it was written, and changes that were acknowledged follow it.
    #[error(
        "the log is damaged: {place} at byte {offset}: {what}. Nothing was changed. Restore the data folder from a \
         backup, or let this node start empty and fetch everything from its peers"
    )]
    DamagedLog {
        /// The file.
        place: String,
        /// The first byte that cannot be trusted.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A newer program wrote the log.
    #[error("{place} has log format {version}, which is newer than this program: start the newer one again")]
    NewerLog {
        /// The file.
        place: String,
        /// Its version.
        version: u32,
    },
    /// A segment of another node's log.
    #[error("{place} belongs to the log of node {theirs:016x}, not to this one, {ours:016x}: remove the file", theirs = theirs.0, ours = ours.0)]
    ForeignLog {
        /// The file.
        place: String,
        /// Whose it is.
        theirs: NodeId,
        /// Who we are.
        ours: NodeId,
    },
    /// Segments are gone that the tables need.
    #[error(
        "the tables hold the log up to {applied}, but {}: log files are missing; put them back or restore the data \
         folder from a backup",
        match first { Some(first) => format!("the oldest segment begins at {first}"), None => "there is no log".to_owned() }
    )]
    LogMissing {
        /// What the tables hold.
        applied: Sequence,
        /// Where the log begins.
        first: Option<Sequence>,
    },
    /// The log ends before what the tables hold, though it was on disk first.
    #[error(
        "the log ends at {last}, but the tables hold it up to {applied}: the end of the log was lost after it had been \
         written; restore the data folder from a backup"
    )]
    TablesAhead {
        /// What the tables hold.
        applied: Sequence,
        /// Where the log ends.
        last: Sequence,
    },
    /// The tables cannot be opened or brought up to date.
    #[error("{error}{}", match error { StateError::Failed { .. } | StateError::Unreadable(_) => format!(". {mend}"), _ => String::new() })]
    Tables {
        /// Why not.
        error: StateError,
        /// What can be done about it.
        mend: Mend,
    },
}

/// Why the writer cannot go on. The process ends: what is in memory and what is on the disk may differ, and recovery
/// is the tested way to make them one again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk failed; a sync that failed is never tried again.
    #[error("cannot {doing} {place}: {source}. Restart once the disk is in order; what was acknowledged is on it")]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On which file.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// The tables cannot take what the log has.
    #[error("{0}. Restart once the disk is in order; what was acknowledged is in the log")]
    Tables(#[from] StateError),
    /// An assertion of ours does not hold.
    #[error("the writer has a defect, reported above; what was acknowledged is safe. Restart, and please report it")]
    Defect,
}

/// Why something cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log no longer goes back that far.
    #[error("the log begins after {oldest}; the position {after} fell off its end")]
    FellOff {
        /// Where the reader stood.
        after: Sequence,
        /// The first position from which everything that follows is there.
        oldest: Sequence,
    },
    /// The system said no.
    #[error("cannot read {place}: {source}")]
    Io {
        /// Which file.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// The log is not as it was written; nothing of it is shown from there on.
    #[error("the log is damaged: {place} at byte {offset}: {what}. Restore the data folder from a backup")]
    DamagedLog {
        /// The file.
        place: String,
        /// The first byte that cannot be trusted.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Part of the tables is damaged.
    #[error("what was asked for cannot be read: {damage}. {mend}")]
    Damaged {
        /// Where, and what.
        damage: Box<Damage>,
        /// What can be done about it.
        mend: Mend,
    },
    /// The tables failed.
    #[error(transparent)]
    Tables(StateError),
}

/// What went wrong in the tables.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StateError {
    /// Part of a file cannot be read. Everything else can.
    #[error("{0}")]
    Unreadable(Box<Damage>),
    /// The tables as a whole are damaged, or the disk failed.
    #[error("the tables in {place} failed: {what}")]
    Failed {
        /// Where they are.
        place: String,
        /// What the storage engine said.
        what: String,
    },
    /// There is no room to write what has gathered in memory.
    #[error("no room on the disk of {place}: free some, and start again")]
    Full {
        /// Where the tables are.
        place: String,
    },
    /// The log could not be put on the disk, which comes before the tables.
    #[error("the log could not be synced before the tables: {0}")]
    Log(String),
}
