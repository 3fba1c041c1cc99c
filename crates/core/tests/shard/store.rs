//! A model of the writer and what it keeps: tables as maps, the log as a list of batches.

use crate::node::{Failed, Keep, Origin, Turn};
use bytes::Bytes;
use rowcast_core::mqtt::session::rows;
use rowcast_core::reach::ShardSet;
use rowcast_core::replay::{Located, Past, Sought};
use rowcast_core::shard::{Fetched, Found, ScannedRecord, StoredRows, Wanted};
use rowcast_core::tables::Range;
use rowcast_core::{
    Audience, Batch, Change, ChangeKind, Clock, Completion, Decision, Durability, Entry, NodeId, Outcome, Proposals,
    Record, Sequence, SessionId, TableId, older, set_hlc,
};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::Arc;

/// What survives a kill.
#[derive(Default)]
pub(crate) struct Store {
    tables: BTreeMap<TableId, BTreeMap<Vec<u8>, Vec<u8>>>,
    log: Vec<Arc<Batch>>,
    /// How many batches of the log a power cut would leave.
    synced: usize,
    /// The last sequence that was dropped from the log's old end.
    forgotten: Sequence,
    committed: Sequence,
    next: u64,
    clock: Clock,
    pub(crate) full: bool,
    /// The next turn of the writer finds no room, and those behind it do.
    pub(crate) full_once: bool,
    /// No record can be read to decide on what depends on it, or to answer who asks for it.
    pub(crate) damaged: bool,
}

/// Whether it is one delete of what clients see, which is looked up first.
fn deletes_a_record(given: &[u8]) -> bool {
    let entry = Entry::decode(given, Sequence::ZERO).ok();
    entry.is_some_and(|(entry, _)| entry.change.kind == ChangeKind::Delete && !entry.change.table.is_internal())
}

/// What is said of what cannot be read.
const UNREADABLE: &str = "the record cannot be read";
const NODE: NodeId = NodeId(1);
/// Sequences left out after each start: those of entries a power cut took are never used again.
const START_GAP: u64 = 1000;

impl Store {
    /// Everything in a table, expired records too.
    fn rows(&self, table: TableId) -> impl Iterator<Item = (&[u8], Record<'_>)> {
        self.tables.get(&table).into_iter().flatten().map(|(key, row)| (key.as_slice(), decode(row)))
    }

    /// A record that has not expired.
    fn get(&self, table: TableId, key: &[u8], now_ms: u64) -> Option<Record<'_>> {
        let record = decode(self.tables.get(&table)?.get(key)?);
        (!record.is_expired(now_ms)).then_some(record)
    }

    /// Whether these are one delete of a record that clients see, and it is not there.
    fn deletes_nothing(&self, entries: &[u8], now_ms: u64) -> bool {
        let Ok((entry, size)) = Entry::decode(entries, Sequence::ZERO) else { return false };
        let change = &entry.change;
        let plain = change.kind == ChangeKind::Delete && size == entries.len() && !change.table.is_internal();
        plain && self.get(change.table, change.key, now_ms).is_none()
    }

    fn append(&mut self, mut entries: &[u8], next: &mut Sequence, batch: &mut Vec<u8>, now_ms: u64) {
        while !entries.is_empty() {
            let (_, size) = Entry::decode(entries, *next).expect("a proposal holds whole entries");
            let start = batch.len();
            batch.extend_from_slice(&entries[..size]);
            entries = &entries[size..];
            set_hlc(&mut batch[start..], self.clock.tick(now_ms));
            let (entry, _) = Entry::decode(&batch[start..], *next).expect("just copied");
            apply(&mut self.tables, &entry);
            *next = next.next();
        }
    }

    /// Records whose time ran out, as proposals to remove them.
    fn expired(&self, now_ms: u64) -> Proposals {
        let mut proposals = Proposals::default();
        for (&table, rows) in &self.tables {
            for (key, row) in rows {
                if decode(row).is_expired(now_ms) {
                    let change = Change {
                        kind: ChangeKind::Expire,
                        qos: rowcast_codec::QoS::AtLeastOnce,
                        table,
                        key,
                        publisher: SessionId::NONE,
                        expires_ms: None,
                        properties: &[],
                        payload: &[],
                    };
                    proposals.push(None, Durability::Flush, &[change]);
                }
            }
        }
        proposals
    }

    /// The process is killed. `power_cut`: what was not synced is gone as well.
    pub(crate) fn crash(&mut self, power_cut: bool) {
        self.next = self.committed.0 + START_GAP;
        if !power_cut {
            return;
        }
        self.log.truncate(self.synced);
        self.committed = self.log.last().map_or(self.forgotten, |batch| batch.last());
        self.tables.clear();
        for batch in &self.log {
            for entry in batch.entries() {
                apply(&mut self.tables, &entry);
            }
        }
    }

    /// Retention: the log loses all it has.
    pub(crate) fn forget(&mut self) {
        self.log.clear();
        self.synced = 0;
        self.forgotten = self.committed;
    }

    /// A message for redelivery.
    fn fetch_one(&self, wanted: &Wanted) -> Fetched {
        let holds = |batch: &&Arc<Batch>| batch.first() <= wanted.sequence && wanted.sequence <= batch.last();
        if let Some(batch) = self.log.iter().find(holds) {
            return Fetched::Entry(Arc::clone(batch), wanted.sequence);
        }
        let record = wanted.record.as_ref().and_then(|(table, key)| {
            let row = self.tables.get(table)?.get(key)?.clone();
            Some(Fetched::Record(*table, ScannedRecord { key: key.clone().into(), record: row.into() }))
        });
        record.unwrap_or(Fetched::Gone)
    }
}

/// Notes of entries that were added to a batch where they are, and who may want them.
fn mark(batch: &[u8], from: usize, wanted: ShardSet, marks: &mut Vec<(u32, ShardSet)>) {
    let mut at = from;
    while at < batch.len() {
        let (entry, size) = Entry::decode(&batch[at..], Sequence::ZERO).expect("just copied");
        marks.push((at as u32, Audience::of(entry.change.table, wanted)));
        at += size;
    }
}

impl Keep for Store {
    fn committed(&self) -> Sequence {
        self.committed
    }

    fn commit(&mut self, proposals: Vec<(Origin, Proposals)>, now_ms: u64) -> Result<Turn, Failed> {
        let first = Sequence(self.next.max(self.committed.0) + 1);
        let mut batch = Vec::new();
        let mut next = first;
        let mut sync = false;
        let mut outcomes = Vec::new();
        let mut marks = Vec::new();
        let reach_age = proposals.iter().fold(None, |age, (_, proposals)| older(age, proposals.reach_age));
        let is_full = self.full || std::mem::take(&mut self.full_once);
        for (origin, proposals) in proposals {
            let mut completions = Vec::new();
            for proposal in proposals.list {
                if is_full {
                    completions.extend(proposal.token.map(|token| Completion { token, outcome: Outcome::Full }));
                    continue;
                }
                let given = &proposals.bytes[proposal.entries];
                let mut entries = Vec::new();
                let is_plain = proposal.decisions.is_empty();
                if self.damaged && (!is_plain || deletes_a_record(given)) {
                    let outcome = Outcome::Unreadable(UNREADABLE.to_owned());
                    completions.extend(proposal.token.map(|token| Completion { token, outcome }));
                    continue;
                }
                let decided = proposal.decisions.into_iter().try_for_each(|Decision { table, key, decide, .. }| {
                    decide(self.get(table, &key, now_ms).as_ref(), now_ms, &mut entries)
                });
                let outcome = match decided {
                    Ok(()) if is_plain && self.deletes_nothing(given, now_ms) => Outcome::Absent,
                    Ok(()) => {
                        entries.extend_from_slice(given);
                        sync |= proposal.durability == Durability::Sync;
                        let sequence = next;
                        let from = batch.len();
                        self.append(&entries, &mut next, &mut batch, now_ms);
                        mark(&batch, from, proposal.wanted, &mut marks);
                        Outcome::Done { sequence, existed: None }
                    }
                    Err(rejection) => Outcome::Rejected(rejection),
                };
                completions.extend(proposal.token.map(|token| Completion { token, outcome }));
            }
            outcomes.push((origin, completions));
        }
        let batch = (next > first).then(|| {
            let last = Sequence(next.0 - 1);
            let batch = Batch::new(first, last, batch.into());
            let batch = Arc::new(batch.with_audience(Audience::new(reach_age.unwrap_or(u64::MAX), marks)));
            self.committed = last;
            self.log.push(Arc::clone(&batch));
            if sync {
                self.synced = self.log.len();
            }
            batch
        });
        Ok((batch, outcomes))
    }

    fn tick(&mut self, now_ms: u64) -> Result<Option<Arc<Batch>>, Failed> {
        let expired = self.expired(now_ms);
        self.commit(vec![(None, expired)], now_ms).map(|(batch, _)| batch)
    }

    fn found(&self) -> Found {
        let rows = |table| self.rows(table).map(|(key, row)| (key.to_vec(), row.payload.to_vec()));
        Found {
            subscriptions: self
                .rows(TableId::SUBSCRIPTIONS)
                .map(|(key, row)| (key.to_vec(), row.payload.to_vec(), row.version))
                .collect(),
            handshakes: rows(TableId::HANDSHAKES).map(|(key, _)| key).collect(),
            groups: rows(TableId::GROUPS).collect(),
            claims: rows(TableId::CLAIMS).collect(),
            sessions: rows(TableId::SESSIONS).map(|(key, row)| (text(&key), row)).collect(),
            wills: rows(TableId::WILLS).map(|(key, row)| (text(&key), row)).collect(),
        }
    }

    fn read_log(&self, after: Sequence, bytes: usize) -> Result<(Vec<Arc<Batch>>, Option<Sequence>), Failed> {
        let mut left = bytes;
        let mut batches = Vec::new();
        for batch in self.log.iter().filter(|batch| batch.last() > after) {
            if !batches.is_empty() && batch.bytes().len() > left {
                break;
            }
            left = left.saturating_sub(batch.bytes().len());
            batches.push(Arc::clone(batch));
        }
        let lost = after < self.forgotten;
        let begins = self.log.first().map_or(self.forgotten.next(), |batch| batch.first());
        Ok((batches, lost.then_some(begins)))
    }

    fn read_records(
        &self,
        range: &Range,
        after: Option<&[u8]>,
        records: usize,
        bytes: usize,
    ) -> (Vec<ScannedRecord>, bool) {
        let Some(rows) = self.tables.get(&range.table) else { return (Vec::new(), true) };
        let from = after.map_or(Bound::Included(&*range.from), Bound::Excluded);
        if let (Bound::Excluded(after), Some(to)) = (from, &range.to)
            && after >= &**to
        {
            return (Vec::new(), true);
        }
        let to = range.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = Vec::new();
        let mut left = bytes;
        for (key, row) in rows.range::<[u8], _>((from, to)) {
            if found.len() == records || (!found.is_empty() && row.len() > left) {
                return (found, false);
            }
            left = left.saturating_sub(row.len());
            found.push(ScannedRecord { key: key.clone().into(), record: row.clone().into() });
        }
        (found, true)
    }

    fn record(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, Box<str>> {
        let row = self.tables.get(&table).and_then(|rows| rows.get(key));
        if self.damaged { Err(UNREADABLE.into()) } else { Ok(row.map(|row| row.clone().into())) }
    }

    fn locate(&self, sought: &Sought) -> Result<Located, Failed> {
        Ok(sought.locate(self).unwrap_or_else(|never| match never {}))
    }

    fn fetch(&self, wanted: Vec<Wanted>) -> Result<Vec<(u64, Fetched)>, Failed> {
        Ok(wanted.iter().map(|wanted| (wanted.number, self.fetch_one(wanted))).collect())
    }

    fn session_rows(&self, client_id: &str, now_ms: u64) -> StoredRows {
        let prefix = rows::prefix(client_id);
        let of_client = |table| self.rows(table).filter(|(key, _)| key.starts_with(&prefix));
        let row = |table| self.get(table, client_id.as_bytes(), now_ms).map(|record| record.payload.to_vec());
        let session = row(TableId::SESSIONS);
        let has_expired = session.is_none() && self.rows(TableId::SESSIONS).any(|(key, _)| key == client_id.as_bytes());
        StoredRows {
            session,
            has_expired,
            subscriptions: of_client(TableId::SUBSCRIPTIONS)
                .map(|(key, record)| (key.to_vec(), record.payload.to_vec(), record.version))
                .collect(),
            handshakes: of_client(TableId::HANDSHAKES).map(|(key, _)| key.to_vec()).collect(),
            will: row(TableId::WILLS),
        }
    }
}

impl Past for Store {
    type Error = Infallible;

    fn committed(&self) -> Sequence {
        self.committed
    }

    fn oldest(&self) -> Sequence {
        self.forgotten
    }

    fn position_at(&self, time_ms: u64) -> Result<Sequence, Infallible> {
        let is_before = |batch: &&Arc<Batch>| batch.entries().all(|entry| entry.hlc.millis() < time_ms);
        Ok(self.log.iter().take_while(is_before).last().map_or(self.forgotten, |batch| batch.last()))
    }

    fn read_back(&self, until: Sequence) -> Result<Vec<Arc<Batch>>, Infallible> {
        Ok(self.log.iter().rfind(|batch| batch.last() <= until).cloned().into_iter().collect())
    }
}

fn decode(row: &[u8]) -> Record<'_> {
    Record::decode(row).expect("a stored record")
}

fn apply(tables: &mut BTreeMap<TableId, BTreeMap<Vec<u8>, Vec<u8>>>, entry: &Entry<'_>) {
    let rows = tables.entry(entry.change.table).or_default();
    match entry.change.kind {
        ChangeKind::Put => {
            let mut row = Vec::new();
            Record::from_put(entry, NODE).encode(&mut row);
            rows.insert(entry.change.key.to_vec(), row);
        }
        ChangeKind::Delete | ChangeKind::Expire => drop(rows.remove(entry.change.key)),
        ChangeKind::Message => {}
    }
}

fn text(key: &[u8]) -> String {
    String::from_utf8(key.to_vec()).expect("a client identifier")
}
