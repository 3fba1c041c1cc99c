//! Wishes for the log, and what became of them.

use crate::change::{Change, Entries, Entry};
use crate::limits::{NEXT_BYTES_MAX, NEXT_PROPOSALS_MAX};
use crate::position::{Sequence, TableId};
use crate::reach::{Reach, ShardSet};
use crate::record::Record;
use bytes::Bytes;
use std::fmt;
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

/// The same, where it may have to be made more than once: the same each time, for the same record.
pub type Redecide = Box<dyn Fn(Option<&Record<'_>>, u64, &mut Vec<u8>) -> Result<(), Rejection> + Send>;

/// A decision on one record.
pub struct Decision {
    /// The table of the record.
    pub table: TableId,
    /// Its key, encoded.
    pub key: Vec<u8>,
    /// Bytes that wait for the writer inside of it, beside the key.
    pub held: usize,
    /// What is decided.
    pub decide: Decide,
}

impl Decision {
    /// A decision on the record of `(table, key)` that holds nothing worth counting.
    #[must_use]
    pub fn new(table: TableId, key: Vec<u8>, decide: Decide) -> Decision {
        Decision { table, key, held: 0, decide }
    }
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision").field("table", &self.table).field("held", &self.held).finish_non_exhaustive()
    }
}

/// A decision that can be made ahead, outside of the writer: one on a large document takes long, and all would wait for it.
pub struct Preparation {
    /// As those of the [`Decision`].
    pub table: TableId,
    /// Likewise.
    pub key: Vec<u8>,
    /// Bytes it is about.
    pub bytes: usize,
    /// It is another one where there is another record.
    pub depends: bool,
    /// What is decided.
    pub decide: Redecide,
}

impl Preparation {
    /// Decides now, as the writer would: see [`Decide`]. What is decided holds if the record is still this one once it is the
    /// writer's turn; else it is decided anew.
    #[must_use]
    pub fn ahead(self, record: Option<&Record<'_>>, now_ms: u64) -> Decision {
        let Preparation { table, key, bytes, depends, decide } = self;
        let mut entries = Vec::new();
        let decided = decide(record, now_ms, &mut entries);
        let (held, seen) = (entries.len(), record.map(|record| record.version));
        let write = move |out: &mut Vec<u8>| {
            out.extend_from_slice(&entries);
            decided
        };
        if !depends {
            return Decision { table, key, held, decide: Box::new(move |_, _, out| write(out)) };
        }
        let decide = move |record: Option<&Record<'_>>, now_ms, out: &mut Vec<u8>| {
            if record.map(|record| record.version) == seen { write(out) } else { decide(record, now_ms, out) }
        };
        Decision { table, key, held: bytes + held, decide: Box::new(decide) }
    }

    /// Leaves all of it to the writer.
    #[must_use]
    pub fn in_turn(self) -> Decision {
        let Preparation { table, key, bytes, decide, .. } = self;
        Decision { table, key, held: bytes, decide: Box::new(decide) }
    }
}

impl fmt::Debug for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preparation").field("table", &self.table).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

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
    /// What it depends on cannot be read; words for whoever asked. Nothing was decided.
    Unreadable(String),
}

impl Outcome {
    /// Nothing was decided, and nothing is written: it can be proposed again, and is decided once the store can.
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        matches!(self, Outcome::Full | Outcome::Unreadable(_))
    }
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
    /// Each looks at its record as that is before this proposal, and writes the first entries. The first that is against it
    /// ends it.
    pub decisions: Vec<Decision>,
    /// Entries that are there already, within [`Proposals::bytes`]; they follow those of the decisions.
    pub entries: Range<usize>,
    /// The shards that may want what it writes for clients, as of [`Proposals::reach_age`].
    pub wanted: ShardSet,
}

/// The proposals of one turn of a shard, encoded already: the writer copies, numbers and stamps them.
#[derive(Default)]
pub struct Proposals {
    /// Entries, one behind the other, their clocks still zero.
    pub bytes: Vec<u8>,
    /// In the order in which they were made.
    pub list: Vec<Proposal>,
    /// How old what is known of who wants them is at most ([`Reach::age`](crate::reach::Reach::age)); `None`: nothing is.
    pub reach_age: Option<u64>,
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
        Proposals { bytes: Vec::with_capacity(bytes), list: Vec::with_capacity(list), reach_age: None }
    }

    /// Puts other proposals behind these.
    pub fn append(&mut self, other: Proposals) {
        let offset = self.bytes.len();
        self.reach_age = older(self.reach_age, other.reach_age);
        self.bytes.extend_from_slice(&other.bytes);
        self.list.extend(other.list.into_iter().map(|mut proposal| {
            proposal.entries = proposal.entries.start + offset..proposal.entries.end + offset;
            proposal
        }));
    }

    /// Adds a proposal of one change or several that stand or fall together.
    pub fn push(&mut self, token: Option<Token>, durability: Durability, changes: &[Change<'_>]) {
        self.push_for(ShardSet::ALL, token, durability, changes);
    }

    /// The same, of changes that only these shards may want, as of [`Proposals::reach_age`].
    pub fn push_for(&mut self, wanted: ShardSet, token: Option<Token>, durability: Durability, changes: &[Change<'_>]) {
        let start = self.bytes.len();
        for change in changes {
            change.encode(&mut self.bytes);
        }
        let entries = start..self.bytes.len();
        self.list.push(Proposal { token, durability, decisions: Vec::new(), entries, wanted });
    }

    /// Adds a proposal that depends on a record; `changes` follow if the decision is for it.
    pub fn push_decided(
        &mut self,
        token: Option<Token>,
        durability: Durability,
        decision: Decision,
        changes: &[Change<'_>],
    ) {
        self.push(token, durability, changes);
        self.list.last_mut().expect("just pushed").decisions.push(decision);
    }

    /// Adds a proposal that depends on several records, each of which is decided on once; `entries`, encoded already,
    /// follow if all decisions are for it.
    pub fn push_all_decided(
        &mut self,
        token: Option<Token>,
        durability: Durability,
        decisions: Vec<Decision>,
        entries: &[u8],
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(entries);
        let entries = start..self.bytes.len();
        self.list.push(Proposal { token, durability, decisions, entries, wanted: ShardSet::ALL });
    }
}

/// What one turn of the writer committed: shared by all who read the log near its end.
#[derive(Clone, Debug)]
pub struct Batch {
    first: Sequence,
    last: Sequence,
    entries: Bytes,
    audience: Option<Box<Audience>>,
}

/// Which shards may want what of a batch.
#[derive(Clone, Debug)]
pub struct Audience {
    reach_age: u64,
    any: ShardSet,
    /// For each entry, and where it is among the bytes.
    entries: Vec<(u32, ShardSet)>,
}

/// How old what is known of two is at most; what nothing is known of does not count.
#[must_use]
pub fn older(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (known, None) | (None, known) => known,
    }
}

impl Audience {
    /// `entries`: for each entry in order, where it begins, and who may want it. `reach_age`: how old that is at most.
    #[must_use]
    pub fn new(reach_age: u64, entries: Vec<(u32, ShardSet)>) -> Audience {
        let any = entries.iter().fold(ShardSet::NONE, |any, (_, shards)| any.or(*shards));
        Audience { reach_age, any, entries }
    }

    /// The shards that may want a change of a table; `of_clients`: if it is one that clients see.
    #[must_use]
    pub fn of(table: TableId, of_clients: ShardSet) -> ShardSet {
        match table {
            TableId::HANDSHAKES => ShardSet::NONE, // Looked at only where a session is loaded.
            table if table.is_internal() => ShardSet::ALL,
            _ => of_clients,
        }
    }

    fn is_good_for(&self, shard: u32, reach: &Reach) -> bool {
        !reach.has_grown(shard, self.reach_age)
    }
}

impl Batch {
    /// Entries that were committed together; `last` is the sequence of the last of them.
    #[must_use]
    pub fn new(first: Sequence, last: Sequence, entries: Bytes) -> Batch {
        Batch { first, last, entries, audience: None }
    }

    /// The same, with what is known of who may want them.
    #[must_use]
    pub fn with_audience(self, audience: Audience) -> Batch {
        debug_assert_eq!(audience.entries.len() as u64, self.last.0 + 1 - self.first.0, "one for each entry");
        Batch { audience: Some(Box::new(audience)), ..self }
    }

    /// Whether a shard may want anything of it.
    #[must_use]
    pub fn may_be_wanted(&self, shard: u32, reach: &Reach) -> bool {
        let known = self.audience.as_ref().filter(|audience| audience.is_good_for(shard, reach));
        known.is_none_or(|audience| audience.any.has(shard))
    }

    /// Those entries that a shard may want, in their order.
    ///
    /// # Panics
    /// As [`Batch::entries`].
    pub fn entries_for(&self, shard: u32, reach: &Reach) -> impl Iterator<Item = Entry<'_>> {
        let known = self.audience.as_deref().filter(|audience| audience.is_good_for(shard, reach));
        let some = known.into_iter().flat_map(move |audience| (self.first.0..).zip(&audience.entries));
        let some = some.filter(move |(_, (_, shards))| shards.has(shard)).map(|(sequence, &(offset, _))| {
            let decoded = Entry::decode(&self.entries[offset as usize..], Sequence(sequence));
            decoded.expect("a committed batch holds whole entries").0
        });
        let all = known.is_none().then(|| self.entries());
        some.chain(all.into_iter().flatten())
    }

    /// Bytes it takes in memory, with the bookkeeping around it.
    #[must_use]
    pub fn memory(&self) -> usize {
        let audience = self.audience.as_ref().map_or(0, |audience| size_of_val(&*audience.entries));
        self.entries.len() + audience + 128
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
    use crate::change::internal_row;
    use crate::hlc::{Hlc, Stamp};
    use crate::position::{NodeId, SessionId};
    use rowcast_codec::{QoS, TopicFilter};

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

    #[test]
    fn what_was_decided_ahead_holds_for_the_record_it_was_decided_for() {
        let record = |version| Record {
            version: Sequence(version),
            stamp: Stamp { hlc: Hlc(0), node: NodeId(1) },
            qos: QoS::AtMostOnce,
            publisher: SessionId::NONE,
            expires_ms: None,
            properties: &[],
            payload: &[],
        };
        let none = Rejection::Condition(None);
        for (depends, seen, found, decided) in [
            (true, None, None, Err(none.clone())),
            (true, Some(1), Some(1), Ok("1 at 5")),
            (true, Some(1), Some(2), Ok("2 at 6")),
            (true, Some(1), None, Err(none.clone())),
            (true, None, Some(2), Ok("2 at 6")),
            (false, Some(1), Some(2), Ok("1 at 5")),
            (false, None, Some(2), Err(none)),
        ] {
            let decide = |record: Option<&Record<'_>>, now_ms: u64, out: &mut Vec<u8>| {
                let version = record.map(|record| record.version).ok_or(Rejection::Condition(None))?;
                out.extend_from_slice(format!("{version} at {now_ms}").as_bytes());
                Ok(())
            };
            let preparation =
                Preparation { table: TableId(9), key: vec![1], bytes: 100, depends, decide: Box::new(decide) };
            let decision = preparation.ahead(seen.map(record).as_ref(), 5);
            assert_eq!((decision.table, &decision.key[..]), (TableId(9), &[1][..]));
            let held = if depends { 100 } else { 0 } + if seen.is_some() { 6 } else { 0 };
            assert_eq!(decision.held, held);
            let mut out = b"before ".to_vec();
            let verdict = (decision.decide)(found.map(record).as_ref(), 6, &mut out);
            assert_eq!(verdict.map(|()| out), decided.map(|text| format!("before {text}").into_bytes()));
        }
    }

    #[test]
    fn a_shard_is_shown_what_it_may_want_and_all_once_it_wants_more() {
        let (reach, mut bytes, mut entries) = (Reach::new(3), Vec::new(), Vec::new());
        let age = reach.age(0).expect("the same tables");
        for (key, shards) in [("a", ShardSet::NONE.with(1)), ("b", ShardSet::NONE), ("c", ShardSet::ALL)] {
            entries.push((bytes.len() as u32, shards));
            internal_row(TableId::TOPICS, key.as_bytes(), &[]).encode(&mut bytes);
        }
        let plain = Batch::new(Sequence(7), Sequence(9), bytes.into());
        let batch = plain.clone().with_audience(Audience::new(age, entries[..].to_vec()));
        let shown = |batch: &Batch, shard| -> Vec<u64> {
            batch.entries_for(shard, &reach).map(|entry| entry.sequence.0).collect()
        };
        assert_eq!([0, 1, 2].map(|shard| shown(&batch, shard)), [vec![9], vec![7, 9], vec![9]]);
        let none = Batch::new(Sequence(7), Sequence(7), batch.bytes().clone());
        let none = none.with_audience(Audience::new(age, vec![(0, ShardSet::NONE)]));
        assert_eq!(none.memory(), none.bytes().len() + 8 + 128);
        assert!(!none.may_be_wanted(2, &reach) && batch.may_be_wanted(2, &reach) && plain.may_be_wanted(2, &reach));
        reach.add(2, &TopicFilter::new("b").expect("a filter"));
        assert_eq!([0, 1, 2].map(|shard| shown(&batch, shard)), [vec![9], vec![7, 9], vec![7, 8, 9]]);
        assert!(!none.may_be_wanted(1, &reach) && none.may_be_wanted(2, &reach));
        assert_eq!(shown(&plain, 0), [7, 8, 9], "nothing is known of it");
    }

    #[test]
    fn every_shard_looks_at_what_the_server_notes_but_for_handshakes() {
        let one = ShardSet::NONE.with(1);
        for (table, shards) in [
            (TableId::TOPICS, one),
            (TableId::FIRST_DECLARED, one),
            (TableId::SESSIONS, ShardSet::ALL),
            (TableId::SUBSCRIPTIONS, ShardSet::ALL),
            (TableId::CLAIMS, ShardSet::ALL),
            (TableId::HANDSHAKES, ShardSet::NONE),
        ] {
            assert_eq!(Audience::of(table, one), shards, "{table:?}");
        }
    }

    #[test]
    fn what_is_put_together_is_as_old_as_the_older_part() {
        let ages = [None, Some(3), Some(7)];
        let together = |one, other| {
            let mut proposals = Proposals { reach_age: one, ..Proposals::default() };
            proposals.append(Proposals { reach_age: other, ..Proposals::default() });
            proposals.reach_age
        };
        let found = ages.map(|one| ages.map(|other| together(one, other)));
        let third = [Some(3); 3];
        assert_eq!(found, [ages, third, [Some(7), Some(3), Some(7)]]);
    }
}
