//! What shards ask of the store, as whoever may wait for the disk looks it up.

use crate::{ReadError, RecordBytes, Scan, Store};
use bytes::{Bytes, BytesMut};
use rowcast_core::mqtt::session::rows;
use rowcast_core::replay::{Located, Past, Sought};
use rowcast_core::shard::{Fetched, Found, ScannedRecord, StoredRows, Wanted};
use rowcast_core::tables::Range;
use rowcast_core::{Batch, Record, Sequence, TableId};
use std::ops::Bound;
use std::sync::Arc;

/// Records in the order of their keys, and whether the range holds no more.
pub type Records = (Vec<ScannedRecord>, bool);

/// The next records of a range, for somebody who subscribes. Those that cannot be read are left out: they have been noted,
/// and who waits for the others would never get them (docs/decisions/0016-damaged-tables.md).
pub fn records(
    store: &Store,
    range: &Range,
    after: Option<&[u8]>,
    records: usize,
    bytes: usize,
) -> Result<Records, ReadError> {
    if is_one_key(range) {
        let record = if after.is_none() { store.get(range.table, &range.from) } else { Ok(None) };
        return match record {
            Err(ReadError::Damaged { .. }) => Ok(one_record(range, None)),
            record => Ok(one_record(range, record?)),
        };
    }
    // A range ends no later than the keys that begin like its first.
    let prefix = range.to.as_deref().filter(|to| to.starts_with(&range.from)).map(|_| &*range.from);
    let from = match after {
        Some(after) => Bound::Excluded(after),
        None => Bound::Included(&*range.from),
    };
    let scan = Scan { table: range.table, from, prefix, bytes_max: bytes, records_max: records };
    let page = store.scan_readable(&scan)?;
    let mut complete = page.next.is_none();
    let mut copied = BytesMut::with_capacity(page.bytes());
    let mut found = Vec::with_capacity(page.len());
    for (key, record) in page.iter() {
        if range.to.as_deref().is_some_and(|to| key >= to) {
            complete = true;
            break;
        }
        copied.extend_from_slice(key);
        let key = copied.split().freeze();
        copied.extend_from_slice(record);
        found.push(ScannedRecord { key, record: copied.split().freeze() });
    }
    Ok((found, complete))
}

/// [`records`] without waiting for the disk; `None`: it may take the disk, or there may be more than one.
#[must_use]
pub fn records_from_memory(store: &Store, range: &Range, after: Option<&[u8]>) -> Option<Records> {
    if !is_one_key(range) || after.is_some() {
        return None;
    }
    Some(one_record(range, store.get_from_memory(range.table, &range.from)?))
}

fn is_one_key(range: &Range) -> bool {
    range.to.as_deref().is_some_and(|to| to.split_last() == Some((&0, &*range.from)))
}

fn one_record(range: &Range, record: Option<RecordBytes>) -> Records {
    let found = record.map(|record| ScannedRecord {
        key: Bytes::copy_from_slice(&range.from),
        record: Bytes::copy_from_slice(&record),
    });
    (found.into_iter().collect(), true)
}

/// One record, encoded, without waiting for the disk; `None`: only the disk can say.
#[must_use]
pub fn record_from_memory(store: &Store, table: TableId, key: &[u8]) -> Option<Option<Bytes>> {
    let found = store.get_from_memory(table, key)?;
    Some(found.map(|record| Bytes::copy_from_slice(&record)))
}

/// One record, encoded.
pub fn record(store: &Store, table: TableId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
    Ok(store.get(table, key)?.map(|record| Bytes::copy_from_slice(&record)))
}

/// Where the past begins that somebody who subscribes asks for.
pub fn locate(store: &Store, sought: &Sought) -> Result<Located, ReadError> {
    sought.locate(store)
}

impl Past for Store {
    type Error = ReadError;

    fn committed(&self) -> Sequence {
        Store::committed(self)
    }

    fn oldest(&self) -> Sequence {
        Store::oldest(self)
    }

    fn position_at(&self, time_ms: u64) -> Result<Sequence, ReadError> {
        Store::position_at(self, time_ms)
    }

    fn read_back(&self, until: Sequence) -> Result<Vec<Arc<Batch>>, ReadError> {
        Store::read_back(self, until)
    }
}

/// Batches in their order, and from where the log begins, if it no longer reaches back to what was asked for.
pub type Behind = (Vec<Arc<Batch>>, Option<Sequence>);

/// The log behind `after`, as far as clients are shown it.
pub fn log(store: &Store, after: Sequence, bytes: usize) -> Result<Behind, ReadError> {
    match store.read_for_clients(after, bytes) {
        Ok(page) => Ok((page.batches, None)),
        Err(ReadError::FellOff { oldest, .. }) => {
            let batches = store.read_log(oldest, bytes).map(|page| page.batches).unwrap_or_default();
            Ok((batches, Some(oldest.next())))
        }
        Err(error) => Err(error),
    }
}

/// Messages that are to be sent again: from the log, or the record if that is still the one. Fails if the log cannot be
/// read: they are not gone. A record that cannot be read is: nobody could ever go on behind it.
pub fn fetch(store: &Store, messages: Vec<Wanted>) -> Result<Vec<(u64, Fetched)>, ReadError> {
    messages.into_iter().map(|wanted| Ok((wanted.number, fetch_one(store, wanted)?))).collect()
}

fn fetch_one(store: &Store, wanted: Wanted) -> Result<Fetched, ReadError> {
    let before = Sequence(wanted.sequence.0.saturating_sub(1));
    let batches = match store.read_log(before, 1) {
        Ok(page) => page.batches,
        Err(ReadError::FellOff { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    let batch = batches.into_iter().find(|batch| batch.last() >= wanted.sequence);
    if let Some(batch) = batch.filter(|batch| batch.first() <= wanted.sequence) {
        return Ok(Fetched::Entry(batch, wanted.sequence));
    }
    let Some((table, key)) = wanted.record else { return Ok(Fetched::Gone) };
    let record = match store.get(table, &key) {
        Err(ReadError::Damaged { .. }) => None,
        record => record?,
    };
    Ok(match record {
        Some(record) => {
            let scanned = ScannedRecord { key: key.into(), record: Bytes::copy_from_slice(&record) };
            Fetched::Record(table, scanned)
        }
        None => Fetched::Gone,
    })
}

/// All rows of a client identifier, unless their time ran out by `now_ms`.
pub fn rows(store: &Store, client_id: &str, now_ms: u64) -> Result<StoredRows, ReadError> {
    let prefix = rows::prefix(client_id);
    let session = payload(store, TableId::SESSIONS, client_id, now_ms)?;
    let has_expired = session.is_none() && store.get(TableId::SESSIONS, client_id.as_bytes())?.is_some();
    let mut found = StoredRows { session, has_expired, will: will(store, client_id, now_ms)?, ..StoredRows::default() };
    each(store, TableId::SUBSCRIPTIONS, Some(&prefix), |key, record| {
        found.subscriptions.push((key.to_vec(), record.payload.to_vec(), record.version));
    })?;
    each(store, TableId::HANDSHAKES, Some(&prefix), |key, _| found.handshakes.push(key.to_vec()))?;
    Ok(found)
}

/// The row of a client's will.
pub fn will(store: &Store, client_id: &str, now_ms: u64) -> Result<Option<Vec<u8>>, ReadError> {
    payload(store, TableId::WILLS, client_id, now_ms)
}

fn payload(store: &Store, table: TableId, key: &str, now_ms: u64) -> Result<Option<Vec<u8>>, ReadError> {
    let Some(bytes) = store.get(table, key.as_bytes())? else { return Ok(None) };
    let record = bytes.record().ok().filter(|record| !record.is_expired(now_ms));
    Ok(record.map(|record| record.payload.to_vec()))
}

/// What the end of the last run left of clients.
pub fn found(store: &Store) -> Result<Found, ReadError> {
    let mut found = Found::default();
    each(store, TableId::SUBSCRIPTIONS, None, |key, record| {
        found.subscriptions.push((key.to_vec(), record.payload.to_vec(), record.version));
    })?;
    each(store, TableId::HANDSHAKES, None, |key, _| found.handshakes.push(key.to_vec()))?;
    each(store, TableId::GROUPS, None, |key, record| found.groups.push((key.to_vec(), record.payload.to_vec())))?;
    each(store, TableId::CLAIMS, None, |key, record| found.claims.push((key.to_vec(), record.payload.to_vec())))?;
    each(store, TableId::SESSIONS, None, |key, record| {
        if let Ok(client_id) = std::str::from_utf8(key) {
            found.sessions.push((client_id.to_owned(), record.payload.to_vec()));
        }
    })?;
    each(store, TableId::WILLS, None, |key, record| {
        if let Ok(client_id) = std::str::from_utf8(key) {
            found.wills.push((client_id.to_owned(), record.payload.to_vec()));
        }
    })?;
    Ok(found)
}

/// Calls `act` for each record of a table, or those whose keys begin with `prefix`.
pub fn each(
    store: &Store,
    table: TableId,
    prefix: Option<&[u8]>,
    mut act: impl FnMut(&[u8], &Record<'_>),
) -> Result<(), ReadError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let from = match &after {
            Some(after) => Bound::Excluded(&**after),
            None => prefix.map_or(Bound::Unbounded, Bound::Included),
        };
        let page = store.scan(&Scan { table, from, prefix, bytes_max: 256 * 1024, records_max: 1024 })?;
        for (key, bytes) in page.iter() {
            if let Ok(record) = Record::decode(bytes) {
                act(key, &record);
            }
        }
        match page.next {
            Some(next) => after = Some(next.to_vec()),
            None => return Ok(()),
        }
    }
}
