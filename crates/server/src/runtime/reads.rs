//! Reads that may have to wait for the disk, as the readers' threads do them.

use crate::db::now_ms;
use bytes::{Bytes, BytesMut};
use rowcast_core::mqtt::session::rows;
use rowcast_core::shard::{Fetched, ScannedRecord, StoredRows, Wanted};
use rowcast_core::tables::Range;
use rowcast_core::{Batch, Record, Sequence, TableId};
use rowcast_store::{ReadError, Scan, Store};
use std::ops::Bound;
use std::sync::Arc;

/// Records in the order of their keys, and whether the range holds no more.
pub(super) type Records = (Vec<ScannedRecord>, bool);

/// The next records of a range.
pub(super) fn records(
    store: &Store,
    range: &Range,
    after: Option<&[u8]>,
    records: usize,
    bytes: usize,
) -> Result<Records, ReadError> {
    if range.to.as_deref().is_some_and(|to| to.split_last() == Some((&0, &*range.from))) {
        return one_record(store, range, after); // The range of a single key.
    }
    // A range ends no later than the keys that begin like its first.
    let prefix = range.to.as_deref().filter(|to| to.starts_with(&range.from)).map(|_| &*range.from);
    let from = match after {
        Some(after) => Bound::Excluded(after),
        None => Bound::Included(&*range.from),
    };
    let page = store.scan(&Scan { table: range.table, from, prefix, bytes_max: bytes, records_max: records })?;
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

fn one_record(store: &Store, range: &Range, after: Option<&[u8]>) -> Result<Records, ReadError> {
    let record = if after.is_none() { store.get(range.table, &range.from)? } else { None };
    let found = record.map(|record| ScannedRecord {
        key: Bytes::copy_from_slice(&range.from),
        record: Bytes::copy_from_slice(&record),
    });
    Ok((found.into_iter().collect(), true))
}

/// The log behind `after`; if it no longer reaches back so far, from where it begins.
pub(super) fn log(store: &Store, after: Sequence, bytes: usize) -> (Vec<Arc<Batch>>, Option<Sequence>) {
    match store.read_log(after, bytes) {
        Ok(page) => (page.batches, None),
        Err(ReadError::FellOff { oldest, .. }) => {
            let batches = store.read_log(oldest, bytes).map(|page| page.batches).unwrap_or_default();
            (batches, Some(oldest.next()))
        }
        Err(error) => {
            tracing::error!(%error, after = after.0, "cannot read the log for a session; it waits");
            (Vec::new(), None)
        }
    }
}

/// Messages that are to be sent again: from the log, or the record if that is still the one.
pub(super) fn fetch(store: &Store, messages: Vec<Wanted>) -> Vec<(u64, Fetched)> {
    messages.into_iter().map(|wanted| (wanted.number, fetch_one(store, wanted))).collect()
}

fn fetch_one(store: &Store, wanted: Wanted) -> Fetched {
    let before = Sequence(wanted.sequence.0.saturating_sub(1));
    if let Ok(page) = store.read_log(before, 1) {
        let batch = page.batches.into_iter().find(|batch| batch.last() >= wanted.sequence);
        if let Some(batch) = batch.filter(|batch| batch.first() <= wanted.sequence) {
            return Fetched::Entry(batch, wanted.sequence);
        }
    }
    let Some((table, key)) = wanted.record else { return Fetched::Gone };
    match store.get(table, &key) {
        Ok(Some(record)) => {
            let scanned = ScannedRecord { key: key.into(), record: Bytes::copy_from_slice(&record) };
            Fetched::Record(table, scanned)
        }
        _ => Fetched::Gone,
    }
}

/// All rows of a client identifier.
pub(super) fn rows(store: &Store, client_id: &str) -> Result<StoredRows, ReadError> {
    let prefix = rows::prefix(client_id);
    let mut found = StoredRows {
        session: payload(store, TableId::SESSIONS, client_id)?,
        will: payload(store, TableId::WILLS, client_id)?,
        ..StoredRows::default()
    };
    each(store, TableId::SUBSCRIPTIONS, Some(&prefix), |key, record| {
        found.subscriptions.push((key.to_vec(), record.payload.to_vec(), record.version));
    })?;
    each(store, TableId::HANDSHAKES, Some(&prefix), |key, _| found.handshakes.push(key.to_vec()))?;
    Ok(found)
}

fn payload(store: &Store, table: TableId, key: &str) -> Result<Option<Vec<u8>>, ReadError> {
    let Some(bytes) = store.get(table, key.as_bytes())? else { return Ok(None) };
    let record = bytes.record().ok().filter(|record| !record.is_expired(now_ms()));
    Ok(record.map(|record| record.payload.to_vec()))
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
