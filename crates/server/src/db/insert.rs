//! New records, whose keys are in their payloads or made here.

use super::write::{Rest, put_entry, written};
use super::{Db, DbError, Payload, RecordRef, TableRef, now_ms};
use rowcast_core::limits::TopicLimits;
use rowcast_core::policy::Writing;
use rowcast_core::validate::key_in;
use rowcast_core::value::{Generated, Key, KeyType};
use rowcast_core::{Decide, Decision, Proposals, Rejection, Sequence, TableId};
use rowcast_store::{ReadError, Scan, Store};
use std::collections::{HashMap, HashSet};
use std::ops::{Bound, RangeInclusive};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use uuid::Uuid;

/// Records that were made together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inserted {
    /// Their keys, in the order of the payloads.
    pub keys: Vec<Key<'static>>,
    /// The version of the first; the others count from there.
    pub version: Sequence,
}

impl Db {
    /// Makes a record of each payload, all or none. Where a payload says no key, one is made: a UUIDv7 for text, the
    /// next number otherwise. What `writing` does not allow is refused. [`DbError::Exists`] if there is a record with one of the keys.
    pub async fn insert(&self, table: &TableRef, payloads: &[Payload], writing: &Writing) -> Result<Inserted, DbError> {
        let bytes = payloads.iter().map(|payload| payload.bytes.len()).sum();
        let payloads: Arc<[Payload]> = payloads.into();
        let given = {
            let (table, payloads, writing) = (table.clone(), Arc::clone(&payloads), writing.clone());
            self.aside(bytes, move || permitted_keys(&table, &payloads, &writing)).await??
        };
        for _ in 0..ATTEMPTS_MAX {
            let made = self.make_keys(table, given.iter().filter(|key| key.is_none()).count()).await?;
            if made.iter().any(|key| table.taken_by(key).is_some()) {
                continue; // Behind these, which nothing can have, there are others.
            }
            let keys = given.iter().scan(made.iter(), |made, key| key.as_ref().or_else(|| made.next()).cloned());
            let keys: Arc<[Key<'static>]> = keys.collect();
            let inserted = self.insert_under(table, bytes, &payloads, keys).await.map_err(|error| match error {
                DbError::Refused { refusal, item } => {
                    DbError::Refused { refusal: writing.put_refusal(refusal, false), item }
                }
                error => error,
            });
            if inserted.is_err() {
                self.shared.next_numbers.give_back(table.id(), &made);
            }
            match inserted {
                // Another door took a number after we had looked.
                Err(DbError::Exists { key }) if made.contains(&key) => {}
                inserted => return inserted,
            }
        }
        Err(DbError::Busy)
    }

    async fn insert_under(
        &self,
        table: &TableRef,
        bytes: usize,
        payloads: &Arc<[Payload]>,
        keys: Arc<[Key<'static>]>,
    ) -> Result<Inserted, DbError> {
        let taken = Arc::new(OnceLock::new());
        let (decisions, entries) = {
            let (table, limits) = (table.clone(), self.topic_limits());
            let (payloads, keys, taken) = (Arc::clone(payloads), Arc::clone(&keys), Arc::clone(&taken));
            self.aside(bytes, move || entries(&table, &payloads, &keys, limits, &taken)).await??
        };
        let durability = table.durability();
        let propose = |token, proposals: &mut Proposals| {
            proposals.push_all_decided(Some(token), durability, decisions, &entries);
        };
        let outcome = self.propose(propose).await?;
        match taken.get() {
            Some(key) => Err(DbError::Exists { key: Key::clone(key) }),
            None => Ok(Inserted { keys: keys.to_vec(), version: written(outcome)?.version }),
        }
    }

    async fn make_keys(&self, table: &TableRef, count: usize) -> Result<Vec<Key<'static>>, DbError> {
        let key_type = table.table().key.key_type;
        match key_type.generated() {
            Generated::Uuid => Ok((0..count).map(|_| Key::Text(Uuid::now_v7().to_string().into())).collect()),
            Generated::NextNumber if count == 0 => Ok(Vec::new()),
            Generated::NextNumber => {
                let id = table.id();
                let highest = self.read(move |store| highest_number(store, id)).await??;
                let numbers = self.shared.next_numbers.take(id, highest, count, key_type);
                Ok(numbers.ok_or(DbError::NoNumberLeft)?.map(Key::Number).collect())
            }
        }
    }
}

/// The puts of new records, and what is decided on before: none of them is there. `taken`: see [`absent`].
fn entries(
    table: &TableRef,
    payloads: &[Payload],
    keys: &[Key<'static>],
    limits: TopicLimits,
    taken: &Arc<OnceLock<Key<'static>>>,
) -> Result<(Vec<Decision>, Vec<u8>), DbError> {
    let mut decisions = Vec::with_capacity(payloads.len());
    let mut entries = Vec::new();
    for (item, (payload, key)) in payloads.iter().zip(keys).enumerate() {
        let item = (payloads.len() > 1).then_some(item);
        let place = table.at(key.clone()).and_then(|place| place.within(limits).map(|()| place));
        let place = place.map_err(|error| DbError::Place { error, item })?;
        put_entry(&place, payload, None, Rest::Goes, now_ms(), &mut entries)
            .map_err(|refusal| DbError::Refused { refusal, item })?;
        decisions.push(Decision::new(table.id(), place.encoded().to_vec(), absent(&place, taken)));
    }
    Ok((decisions, entries))
}

/// The keys payloads say, each at most once, where `writing` allows to put them.
fn permitted_keys(
    table: &TableRef,
    payloads: &[Payload],
    writing: &Writing,
) -> Result<Vec<Option<Key<'static>>>, DbError> {
    for Payload { bytes, content_type } in payloads {
        let permitted = writing.put(table.table(), bytes, content_type.as_deref(), None);
        permitted.map_err(|denied| DbError::Denied(denied.to_string()))?;
    }
    let mut seen = HashSet::new();
    let mut keys = Vec::with_capacity(payloads.len());
    for (item, payload) in payloads.iter().enumerate() {
        if payload.bytes.is_empty() && !table.table().is_typed() {
            return Err(DbError::Empty);
        }
        let item = (payloads.len() > 1).then_some(item);
        let key = key_in(table.table(), &payload.bytes, payload.content_type.as_deref())
            .map_err(|refusal| DbError::Refused { refusal, item })?;
        if let Some(key) = &key
            && !seen.insert(key.clone())
        {
            return Err(DbError::Exists { key: key.clone() });
        }
        keys.push(key);
    }
    Ok(keys)
}

/// Is against it if there is a record already; then `taken` says which.
fn absent(place: &RecordRef, taken: &Arc<OnceLock<Key<'static>>>) -> Decide {
    let (key, taken) = (place.key().clone(), Arc::clone(taken));
    Box::new(move |current, _, _| match current {
        None => Ok(()),
        Some(record) => {
            let _ = taken.set(key);
            Err(Rejection::Condition(Some(record.version)))
        }
    })
}

/// The highest number among a table's keys; 0 if there is none above it.
fn highest_number(store: &Store, table: TableId) -> Result<i64, ReadError> {
    let number = |key: &[u8]| match Key::decode(key) {
        Some(Key::Number(number)) => Some(number),
        _ => None,
    };
    let Some(last) = store.last_key(table)? else { return Ok(0) };
    if let Some(number) = number(&last) {
        return Ok(number.max(0));
    }
    // Text sorts behind numbers, so the last key hides them: halve what is left until the highest is found.
    let (mut low, mut high) = (0, rowcast_core::value::LONG_MAX);
    while low < high {
        let middle = low + (high - low + 1) / 2;
        let mut from = Vec::new();
        Key::Number(middle).encode(&mut from);
        let scan = Scan { table, from: Bound::Included(&from), prefix: None, bytes_max: 1, records_max: 1 };
        match store.scan(&scan)?.iter().next().and_then(|(key, _)| number(key)) {
            Some(found) => low = found,
            None => high = middle - 1,
        }
    }
    Ok(low)
}

/// The last number made for each table: above what is in the tables while inserts are under way, and never made twice
/// in one run, even if its record is deleted.
#[derive(Default)]
pub(super) struct NextNumbers(Mutex<HashMap<TableId, i64>>);

impl NextNumbers {
    /// The next numbers above `highest`; `None` if the keys do not go that far.
    fn take(&self, table: TableId, highest: i64, count: usize, key_type: KeyType) -> Option<RangeInclusive<i64>> {
        let mut last = self.lock();
        let last = last.entry(table).or_insert(0);
        let before = highest.max(*last);
        let end = before + count as i64;
        if !key_type.holds(end) {
            return None;
        }
        *last = end;
        Some(before + 1..=end)
    }

    /// Takes numbers back that were not used, if no later ones were made.
    fn give_back(&self, table: TableId, made: &[Key<'static>]) {
        if let (Some(Key::Number(first)), Some(Key::Number(end))) = (made.first(), made.last())
            && let Some(last) = self.lock().get_mut(&table)
            && last == end
        {
            *last = first - 1;
        }
    }

    /// The map is whole after every statement, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, HashMap<TableId, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often numbers are tried that other doors keep taking.
const ATTEMPTS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_made_once_each_and_given_back_if_unused() {
        let numbers = NextNumbers::default();
        let take = |highest, count| {
            let taken = numbers.take(TableId(64), highest, count, KeyType::Int)?;
            Some(taken.map(Key::Number).collect::<Vec<_>>())
        };
        let keys = |range: RangeInclusive<i64>| Some(range.map(Key::Number).collect::<Vec<_>>());
        assert_eq!(take(0, 2), keys(1..=2));
        assert_eq!(take(0, 1), keys(3..=3));
        assert_eq!(take(7, 1), keys(8..=8));
        numbers.give_back(TableId(64), &keys(3..=3).unwrap());
        assert_eq!(take(7, 1), keys(9..=9));
        numbers.give_back(TableId(64), &keys(9..=9).unwrap());
        assert_eq!(take(7, 3), keys(9..=11));
        let most = i64::from(i32::MAX);
        assert_eq!(take(most - 1, 2), None);
        assert_eq!(take(most - 1, 1), keys(most..=most));
        assert_eq!(take(most, 1), None);
    }
}
