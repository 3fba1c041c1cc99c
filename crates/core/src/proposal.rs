//! Wishes for the log, and what became of them.

use crate::change::{Change, Entries, Entry};
use crate::limits::{NEXT_BYTES_MAX, NEXT_PROPOSALS_MAX};
use crate::position::{Sequence, TableId};
use crate::record::Record;
use bytes::Bytes;
use std::ops::Range;

/// What an acknowledgement waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Durability {
    /// The change is in memory and visible; a crash of the process may lose it.
    Memory,
    /// The operating system has it; a power cut may lose it.
    Flush,
    /// It is on the disk.
    #[default]
    Sync,
}

/// Whose a proposal is, as whoever made it likes to call it. Comes back with the [`Outcome`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Token(pub u64);

/// Decides in the writer, the one place where it cannot race: sees the current record (none if absent or expired) and
/// the time (milliseconds since 1970), appends the entries to be written ([`Change::encode`]) or says why not.
pub type Decide = Box<dyn FnOnce(Option<&Record<'_>>, u64, &mut Vec<u8>) -> Result<(), Rejection> + Send>;

/// Why a decision went against the proposal. Nothing of it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rejection {
    /// A precondition does not hold; the record's version, if there is one.
    Condition(Option<Sequence>),
    /// There is no such record.
    Absent,
    /// The result does not fit the table; words for whoever asked.
    Invalid(String),
    /// Whoever asked has no right to this; words for them.
    Denied(String),
}

/// What became of a proposal, told once it is as durable as it asked to be, and visible.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Written. `existed`: whether there was a record before, where that was looked up.
    Done {
        /// The sequence of its first entry: the version of the record it wrote.
        sequence: Sequence,
        /// Whether there was a record before, or one of several; `None` if nobody looked.
        existed: Option<bool>,
    },
    /// A plain delete found nothing to delete; nothing was written.
    Absent,
    /// The decision went against it.
    Rejected(Rejection),
    /// The log takes no writes for now: the disk is full.
    Full,
}

/// An outcome and whose it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    /// As given with the proposal.
    pub token: Token,
    /// What became of it.
    pub outcome: Outcome,
}

/// One proposal among [`Proposals`]. All its entries are written, next to each other in one frame, or none is.
pub struct Proposal {
    /// Comes back with the outcome; `None`: nobody wants to know.
    pub token: Option<Token>,
    /// What the outcome waits for.
    pub durability: Durability,
    /// Each looks at the record of a table and a key as it is before this proposal, and writes the first entries. The
    /// first that is against it ends it.
    pub decisions: Vec<(TableId, Vec<u8>, Decide)>,
    /// Entries that are there already, within [`Proposals::bytes`]; they follow those of the decisions.
    pub entries: Range<usize>,
}

/// The proposals of one turn of a shard, encoded already: the writer copies, numbers and stamps them.
#[derive(Default)]
pub struct Proposals {
    /// Entries, one behind the other, their clocks still zero.
    pub bytes: Vec<u8>,
    /// In the order in which they were made.
    pub list: Vec<Proposal>,
}

impl Proposals {
    /// Whether there is nothing to propose.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// None yet, with room for as many as these are, as far as that is not much: nearly as many will follow, and nothing is
    /// moved again and again while they gather.
    #[must_use]
    pub fn next(&self) -> Proposals {
        let bytes = self.bytes.len().min(NEXT_BYTES_MAX);
        let list = self.list.len().min(NEXT_PROPOSALS_MAX);
        Proposals { bytes: Vec::with_capacity(bytes), list: Vec::with_capacity(list) }
    }

    /// Puts other proposals behind these.
    pub fn append(&mut self, other: Proposals) {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.list.extend(other.list.into_iter().map(|mut proposal| {
            proposal.entries = proposal.entries.start + offset..proposal.entries.end + offset;
            proposal
        }));
    }

    /// Adds a proposal of one change or several that stand or fall together.
    pub fn push(&mut self, token: Option<Token>, durability: Durability, changes: &[Change<'_>]) {
        let start = self.bytes.len();
        for change in changes {
            change.encode(&mut self.bytes);
        }
        self.list.push(Proposal { token, durability, decisions: Vec::new(), entries: start..self.bytes.len() });
    }

    /// Adds a proposal that depends on the record of `(table, key)`; `changes` follow if the decision is for it.
    pub fn push_decided(
        &mut self,
        token: Option<Token>,
        durability: Durability,
        (table, key): (TableId, Vec<u8>),
        decide: Decide,
        changes: &[Change<'_>],
    ) {
        self.push(token, durability, changes);
        self.list.last_mut().expect("just pushed").decisions.push((table, key, decide));
    }

    /// Adds a proposal that depends on several records, each of which is decided on once; `entries`, encoded already,
    /// follow if all decisions are for it.
    pub fn push_all_decided(
        &mut self,
        token: Option<Token>,
        durability: Durability,
        decisions: Vec<(TableId, Vec<u8>, Decide)>,
        entries: &[u8],
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(entries);
        self.list.push(Proposal { token, durability, decisions, entries: start..self.bytes.len() });
    }
}

/// What one turn of the writer committed: shared by all who read the log near its end.
#[derive(Clone, Debug)]
pub struct Batch {
    first: Sequence,
    last: Sequence,
    entries: Bytes,
}

impl Batch {
    /// Entries that were committed together; `last` is the sequence of the last of them.
    #[must_use]
    pub fn new(first: Sequence, last: Sequence, entries: Bytes) -> Batch {
        Batch { first, last, entries }
    }

    /// The sequence of its first entry.
    #[must_use]
    pub fn first(&self) -> Sequence {
        self.first
    }

    /// The sequence of its last entry.
    #[must_use]
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// Its entries in their order.
    ///
    /// # Panics
    /// If the bytes are not entries: the writer made them, or a checksum vouched for them.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        Entries::new(&self.entries, self.first).map(|entry| entry.expect("a committed batch holds whole entries"))
    }

    /// The encoded entries, one behind the other.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_as_many_as_before_up_to_a_bound() {
        for (bytes, list, room) in [
            (0, 0, (0, 0)),
            (100, 3, (100, 3)),
            (NEXT_BYTES_MAX + 1, NEXT_PROPOSALS_MAX + 1, (NEXT_BYTES_MAX, NEXT_PROPOSALS_MAX)),
        ] {
            let mut proposals = Proposals::default();
            (0..list).for_each(|_| proposals.push(None, Durability::Memory, &[]));
            proposals.bytes = vec![0; bytes];
            let next = proposals.next();
            assert!(next.is_empty());
            assert_eq!((next.bytes.capacity(), next.list.capacity()), room);
        }
    }
}
