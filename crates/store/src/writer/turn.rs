//! One turn of the writer: proposals in, a frame and their outcomes out.

use crate::damage::Damage;
use crate::error::StateError;
use crate::limits::{FRAME_BYTES_MAX, KEY_BYTES_MAX};
use crate::log::FrameHeader;
use crate::store::Shared;
use crate::tables::{Effect, RecordBytes};
use crate::writer::Origin;
use bytes::Bytes;
use hashbrown::HashTable;
use rowcast_core::reach::ShardSet;
use rowcast_core::{
    Audience, Batch, ChangeKind, Clock, Completion, Decision, Durability, Entry, Hlc, NodeId, Outcome, Proposal,
    Proposals, Record, Rejection, Sequence, TableId, older, set_hlc,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Entries gathering in a frame.
///
/// Invariant: `scratch.entries` has one mark for each entry in `frame`, and `scratch.latest` finds the last change of
/// each record among them.
pub(super) struct Turn<'a> {
    shared: &'a Shared,
    clock: &'a mut Clock,
    scratch: &'a mut Scratch,
    first: Sequence,
    now_ms: u64,
    frame: Vec<u8>,
    latest: Hlc,
    durability: Durability,
    /// How old what is known of who wants the entries is at most; `None`: nothing is.
    reach_age: Option<u64>,
}

/// What a turn leaves to be written.
pub(super) struct Written {
    /// Room for the header, then the entries.
    pub(super) frame: Vec<u8>,
    pub(super) count: u32,
    pub(super) latest: Hlc,
    /// The highest that anything written asked for.
    pub(super) durability: Durability,
    first: Sequence,
    audience: Option<Audience>,
}

/// Memory that turns share.
pub(super) struct Scratch {
    entries: Vec<Mark>,
    latest: HashTable<u32>, // Indexes into `entries`.
    decided: Vec<u8>,
    seed: u64, // Of the hashes: keys are chosen by strangers.
}

/// Where an entry is in the frame.
struct Mark {
    offset: u32,
    key: u32,
    key_length: u16,
    table: TableId,
    /// Who may want it.
    shards: ShardSet,
    /// It changes a record, and none after it changes that record again.
    counts: bool,
}

impl Mark {
    fn is(&self, table: TableId, key: &[u8], frame: &[u8]) -> bool {
        self.table == table && self.key_in(frame) == key
    }

    fn key_in<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[self.key as usize..][..usize::from(self.key_length)]
    }
}

impl Scratch {
    pub(super) fn new(seed: u64) -> Scratch {
        Scratch { entries: Vec::new(), latest: HashTable::new(), decided: Vec::new(), seed }
    }

    /// What the turn that just ended does to the tables: the last change of each record.
    pub(super) fn effects<'a>(&self, batch: &'a Batch, node: NodeId) -> Vec<Effect<'a>> {
        let mut sequence = batch.first();
        // Not for events, of which some nodes log nothing else.
        let mut effects = Vec::with_capacity(self.entries.iter().filter(|mark| mark.counts).count());
        for mark in &self.entries {
            if mark.counts {
                let entry = &batch.bytes()[mark.offset as usize - FrameHeader::BYTES..];
                let (entry, _) = Entry::decode(entry, sequence).expect("the turn wrote whole entries");
                effects.extend(Effect::of(&entry, node));
            }
            sequence = sequence.next();
        }
        effects
    }
}

impl<'a> Turn<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        clock: &'a mut Clock,
        scratch: &'a mut Scratch,
        first: Sequence,
        now_ms: u64,
        work: &[(Origin, Proposals)],
    ) -> Turn<'a> {
        scratch.entries.clear();
        scratch.latest.clear();
        let bytes: usize = work.iter().map(|(_, proposals)| proposals.bytes.len()).sum();
        let mut frame = Vec::with_capacity(FrameHeader::BYTES + bytes);
        frame.resize(FrameHeader::BYTES, 0);
        let (latest, durability) = (Hlc::default(), Durability::Memory);
        let reach_age = work.iter().fold(None, |age, (_, proposals)| older(age, proposals.reach_age));
        Turn { shared, clock, scratch, first, now_ms, frame, latest, durability, reach_age }
    }

    /// Decides on proposals and adds what is to be written.
    pub(super) fn decide(&mut self, proposals: Proposals) -> Vec<Completion> {
        let Proposals { bytes, list, .. } = proposals;
        let mut completions = Vec::with_capacity(list.len());
        for proposal in list {
            let token = proposal.token;
            let outcome = self.decide_one(proposal, &bytes);
            completions.extend(token.map(|token| Completion { token, outcome }));
        }
        completions
    }

    pub(super) fn finish(self) -> Written {
        let marks = &self.scratch.entries;
        let is_known = marks.iter().any(|mark| mark.shards != ShardSet::ALL);
        let entries = || marks.iter().map(|mark| (mark.offset - FrameHeader::BYTES as u32, mark.shards)).collect();
        // Where nothing was looked up, what is known holds for ever.
        let audience = is_known.then(|| Audience::new(self.reach_age.unwrap_or(u64::MAX), entries()));
        Written {
            audience,
            frame: self.frame,
            count: self.scratch.entries.len() as u32,
            latest: self.latest,
            durability: self.durability,
            first: self.first,
        }
    }

    fn decide_one(&mut self, proposal: Proposal, bytes: &[u8]) -> Outcome {
        let given = &bytes[proposal.entries];
        let mut decided = std::mem::take(&mut self.scratch.decided);
        decided.clear();
        let mut existed = None;
        let mut refused = None;
        if proposal.decisions.is_empty()
            && let Some((table, key)) = plain_delete(given)
        {
            match self.look_up(table, key, |record| record.is_some()) {
                Ok(found) => (existed, refused) = (Some(found), (!found).then_some(Outcome::Absent)),
                Err(unreadable) => refused = Some(unreadable),
            }
        }
        for Decision { table, key, decide, .. } in proposal.decisions {
            let now_ms = self.now_ms;
            let verdict = self.look_up(table, &key, |record| {
                existed = Some(existed == Some(true) || record.is_some());
                decide(record.as_ref(), now_ms, &mut decided).map_err(Outcome::Rejected)
            });
            if let Err(outcome) = verdict.flatten() {
                refused = Some(outcome);
                break;
            }
        }
        let refused = refused.or_else(|| self.unwritable(&decided, given).map(Outcome::Rejected));
        let sequence = self.next();
        if refused.is_none() {
            self.add(&decided, proposal.wanted);
            self.add(given, proposal.wanted);
            self.durability = self.durability.max(proposal.durability);
        }
        self.scratch.decided = decided;
        refused.unwrap_or(Outcome::Done { sequence, existed })
    }

    /// The sequence of the next entry.
    fn next(&self) -> Sequence {
        Sequence(self.first.0 + self.scratch.entries.len() as u64)
    }

    /// Shows the record as of this very point, if it is there and not expired. Fails with the outcome for whoever needs one
    /// that cannot be read: nobody else is harmed by that.
    fn look_up<T>(&self, table: TableId, key: &[u8], look: impl FnOnce(Option<Record<'_>>) -> T) -> Result<T, Outcome> {
        let alive = |record: &Record<'_>| !record.is_expired(self.now_ms);
        let hash = self.hash(table, key);
        let same = |&at: &u32| self.scratch.entries[at as usize].is(table, key, &self.frame);
        if let Some(&at) = self.scratch.latest.find(hash, same) {
            let sequence = Sequence(self.first.0 + u64::from(at));
            let entry = &self.frame[self.scratch.entries[at as usize].offset as usize..];
            let (entry, _) = Entry::decode(entry, sequence).expect("the turn wrote whole entries");
            return Ok(look(Effect::of(&entry, self.shared.node).and_then(|effect| effect.record).filter(alive)));
        }
        let unreadable = |damage: Damage| Outcome::Unreadable(self.shared.words(&damage));
        let found = self.shared.get(table, key).map_err(|error| match error {
            StateError::Unreadable(damage) => unreadable(*damage),
            _ => Outcome::Unreadable("the record cannot be read".to_owned()),
        })?;
        let record = found.as_ref().map(RecordBytes::record).transpose();
        let record = record.map_err(|error| unreadable(self.shared.senseless((table, key), &error)))?;
        Ok(look(record.filter(alive)))
    }

    /// Why these entries cannot be written, if so.
    fn unwritable(&self, decided: &[u8], given: &[u8]) -> Option<Rejection> {
        if self.frame.len() + decided.len() + given.len() > FRAME_BYTES_MAX {
            let words = "the changes of this turn together are too large for one commit; propose fewer at a time";
            return Some(Rejection::Invalid(words.to_owned()));
        }
        if decided.len().max(given.len()) <= KEY_BYTES_MAX {
            return None;
        }
        let longest = entries(decided)
            .chain(entries(given))
            .filter(|(entry, _)| entry.change.kind.is_state())
            .map(|(entry, _)| entry.change.key.len())
            .max()?;
        (longest > KEY_BYTES_MAX).then(|| {
            Rejection::Invalid(format!("a record's key has {longest} bytes, more than the {KEY_BYTES_MAX} it may have"))
        })
    }

    /// Adds entries to the frame, numbered and stamped; `wanted`: by whom, as far as they are for clients.
    fn add(&mut self, bytes: &[u8], wanted: ShardSet) {
        for (entry, encoded) in entries(bytes) {
            let offset = self.frame.len();
            self.frame.extend_from_slice(encoded);
            if entry.origin.is_some() {
                self.clock.observe(entry.hlc); // It keeps the stamp of where it comes from.
                self.latest = self.latest.max(entry.hlc);
            } else {
                self.latest = self.clock.tick(self.now_ms);
                set_hlc(&mut self.frame[offset..], self.latest);
            }
            let shards = Audience::of(entry.change.table, wanted);
            self.mark(&entry, encoded, offset, shards);
        }
    }

    fn mark(&mut self, entry: &Entry<'_>, encoded: &[u8], offset: usize, shards: ShardSet) {
        let at = self.scratch.entries.len() as u32;
        let (table, key) = (entry.change.table, entry.change.key);
        let counts = entry.change.kind.is_state() && !entry.superseded;
        // The key's place within the entry, without saying here again how entries are laid out.
        let key_offset = key.as_ptr() as usize - encoded.as_ptr() as usize;
        let mark = Mark {
            offset: offset as u32,
            key: (offset + key_offset) as u32,
            key_length: key.len() as u16,
            table,
            shards,
            counts,
        };
        self.scratch.entries.push(mark);
        if !counts {
            return;
        }
        let hash = self.hash(table, key);
        let Scratch { entries, latest, seed, .. } = &mut *self.scratch;
        let frame = &self.frame;
        if let Some(earlier) = latest.find_mut(hash, |&at| entries[at as usize].is(table, key, frame)) {
            entries[*earlier as usize].counts = false;
            *earlier = at;
        } else {
            latest.insert_unique(hash, at, |&at| {
                let mark = &entries[at as usize];
                hash_of(mark.table, mark.key_in(frame), *seed)
            });
        }
    }

    fn hash(&self, table: TableId, key: &[u8]) -> u64 {
        hash_of(table, key, self.scratch.seed)
    }
}

impl Written {
    /// The batch, once the frame has its header; `last` is the sequence of its last entry.
    pub(super) fn into_batch(self, last: Sequence) -> Batch {
        let batch = Batch::new(self.first, last, Bytes::from(self.frame).slice(FrameHeader::BYTES..));
        match self.audience {
            Some(audience) => batch.with_audience(audience),
            None => batch,
        }
    }
}

fn hash_of(table: TableId, key: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(key, seed ^ u64::from(table.0))
}

/// The table and key of a proposal that is one delete and nothing else, of a table that clients see.
fn plain_delete(given: &[u8]) -> Option<(TableId, &[u8])> {
    // Of most proposals, this is all that is looked at here.
    if Entry::kind_of(given)? != ChangeKind::Delete {
        return None;
    }
    let (entry, encoded) = entries(given).next()?;
    let change = entry.change;
    let plain = encoded.len() == given.len() && entry.origin.is_none();
    (plain && !change.table.is_internal()).then_some((change.table, change.key))
}

/// Entries that a proposal holds, each with its bytes.
fn entries(mut bytes: &[u8]) -> impl Iterator<Item = (Entry<'_>, &[u8])> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let (entry, size) = Entry::decode(bytes, Sequence::ZERO).expect("`Change::encode` made the entries");
        let (encoded, rest) = bytes.split_at(size);
        bytes = rest;
        Some((entry, encoded))
    })
}
