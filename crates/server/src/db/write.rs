//! Changes of one record.

use super::{Condition, Db, DbError, RecordRef, TableRef, now_ms};
use bytes::Bytes;
use rowcast_codec::{PublishProperties, QoS};
use rowcast_core::limits::LARGE_DOCUMENT_BYTES;
use rowcast_core::policy::Writing;
use rowcast_core::schema::Table;
use rowcast_core::validate::{Format, Refusal, Validator, created_ms, expires_at_ms, kept_expiry_ms, merge_patch};
use rowcast_core::{
    Change, ChangeKind, Decide, Decision, Outcome, Preparation, Proposals, Record, Rejection, Sequence, SessionId,
};
use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What someone sends for a record, or as an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    /// The bytes.
    pub bytes: Bytes,
    /// What they are; at most 65,535 bytes, without NUL.
    pub content_type: Option<Box<str>>,
}

/// A record that was put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// Its version.
    pub version: Sequence,
    /// There was none before.
    pub created: bool,
}

impl Db {
    /// Replaces a record, or makes it, as far as `writing` allows.
    pub async fn put(
        &self,
        place: &RecordRef,
        payload: Payload,
        condition: Condition,
        writing: Writing,
    ) -> Result<Written, DbError> {
        self.within_limits(place)?;
        let table = place.table().table();
        if payload.bytes.is_empty() && !table.is_typed() {
            return Err(DbError::Empty);
        }
        let is_large = table.is_typed() && payload.bytes.len() >= LARGE_DOCUMENT_BYTES;
        if is_large || table.needs_previous() || !writing.is_free() {
            return self.decide(place, condition, Draft::Put(payload), writing).await;
        }
        // What does not depend on the record before is done here, not in the writer.
        let mut entry = Vec::new();
        let refused = |refusal| DbError::Refused { refusal, item: None };
        put_entry(place, &payload, None, Rest::Goes, now_ms(), &mut entry).map_err(refused)?;
        let decide: Decide = Box::new(move |current, _, _| condition.decide(current));
        self.propose_decided(place, decision_on(place, decide), &entry).await
    }

    /// Lays a merge patch (RFC 7396) onto a record, or onto nothing, and puts the result.
    pub async fn patch(
        &self,
        place: &RecordRef,
        patch: Bytes,
        condition: Condition,
        writing: Writing,
    ) -> Result<Written, DbError> {
        self.within_limits(place)?;
        self.decide(place, condition, Draft::Patch(patch), writing).await
    }

    fn within_limits(&self, place: &RecordRef) -> Result<(), DbError> {
        place.within(self.topic_limits()).map_err(|error| DbError::Place { error, item: None })
    }

    /// Removes a record; [`DbError::Absent`] if there is none.
    pub async fn delete(&self, place: &RecordRef, condition: Condition) -> Result<(), DbError> {
        let decide: Decide = Box::new(move |current, _, _| {
            condition.decide(current)?;
            current.map(|_| ()).ok_or(Rejection::Absent)
        });
        let mut entry = Vec::new();
        change(ChangeKind::Delete, place.table(), place.encoded(), &[], &[]).encode(&mut entry);
        self.propose_decided(place, decision_on(place, decide), &entry).await.map(|_| ())
    }

    /// Lets an event pass by at a record's topic, whether there is such a record or not.
    pub async fn event(&self, place: &RecordRef, payload: &Payload) -> Result<Sequence, DbError> {
        self.within_limits(place)?;
        self.message(place.table(), place.encoded(), payload).await
    }

    /// Lets an event pass by at a table's own topic.
    pub async fn channel_event(&self, table: &TableRef, payload: &Payload) -> Result<Sequence, DbError> {
        self.message(table, &[], payload).await
    }

    async fn message(&self, table: &TableRef, key: &[u8], payload: &Payload) -> Result<Sequence, DbError> {
        let properties = properties(payload.content_type.as_deref());
        let change = change(ChangeKind::Message, table, key, &properties, &payload.bytes);
        let durability = table.durability();
        let outcome = self.propose(|token, proposals| proposals.push(Some(token), durability, &[change])).await?;
        written(outcome).map(|written| written.version)
    }

    /// Writes what depends on the record as it is.
    async fn decide(
        &self,
        place: &RecordRef,
        condition: Condition,
        draft: Draft,
        writing: Writing,
    ) -> Result<Written, DbError> {
        let bytes = draft.bytes();
        let room = self.shared.drafts.take(bytes).ok_or(DbError::Busy)?;
        let refused = Arc::new(Mutex::new(None));
        let (target, refusal) = (place.clone(), Arc::clone(&refused));
        let preparation = Preparation {
            table: place.table().id(),
            key: place.encoded().to_vec(),
            bytes,
            depends: draft.depends(place.table().table()) || condition != Condition::default() || !writing.is_free(),
            decide: Box::new(move |current, now_ms, entries| {
                let _held_with_it = &room;
                let refuse = |reason| *refusal.lock().unwrap_or_else(PoisonError::into_inner) = reason;
                refuse(None); // What was decided ahead may not hold.
                // Before the precondition: who may not write is not told what there is.
                let permitted = draft.permitted(target.table().table(), &writing, current)?;
                let draft = permitted.as_ref().unwrap_or(&draft);
                condition.decide(current)?;
                let written = draft.write(&target, current, now_ms, entries);
                let reason = written.err().map(|reason| match draft {
                    Draft::Put(_) => writing.put_refusal(reason, current.is_some()),
                    Draft::Patch(patch) => writing.patch_refusal(reason, patch),
                });
                let words = reason.as_ref().map(|reason| reason.to_string());
                refuse(reason);
                words.map_or(Ok(()), |words| Err(Rejection::Invalid(words)))
            }),
        };
        let decision = self.prepare(preparation).await?;
        let written = self.propose_decided(place, decision, &[]).await;
        match refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(refusal) => Err(DbError::Refused { refusal, item: None }),
            None => written,
        }
    }

    async fn propose_decided(&self, place: &RecordRef, decision: Decision, entries: &[u8]) -> Result<Written, DbError> {
        let durability = place.table().durability();
        let propose = |token, proposals: &mut Proposals| {
            proposals.push_all_decided(Some(token), durability, vec![decision], entries);
        };
        written(self.propose(propose).await?)
    }
}

fn decision_on(place: &RecordRef, decide: Decide) -> Decision {
    Decision::new(place.table().id(), place.encoded().to_vec(), decide)
}

/// Room for what is to be decided on, from before the writer's queue counts it.
#[derive(Clone, Default)]
pub(super) struct Drafts {
    bytes: Arc<AtomicUsize>,
}

/// Some of that room, given back when dropped.
struct DraftRoom {
    bytes: usize,
    of: Drafts,
}

impl Drafts {
    /// Room for `bytes` more; `None` while there is none. Nothing is too large for itself alone.
    fn take(&self, bytes: usize) -> Option<DraftRoom> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let room = DraftRoom { bytes, of: self.clone() };
        (before == 0 || before + bytes <= DRAFT_BYTES_MAX).then_some(room)
    }
}

impl Drop for DraftRoom {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a record is to become.
enum Draft {
    Put(Payload),
    Patch(Bytes),
}

impl Draft {
    fn bytes(&self) -> usize {
        match self {
            Draft::Put(payload) => payload.bytes.len(),
            Draft::Patch(patch) => patch.len(),
        }
    }

    /// Whether it becomes something else where there is another record.
    fn depends(&self, table: &Table) -> bool {
        matches!(self, Draft::Patch(_)) || table.needs_previous()
    }

    /// What is left of it where `current` is; `None`: all.
    fn permitted(
        &self,
        table: &Table,
        writing: &Writing,
        current: Option<&Record<'_>>,
    ) -> Result<Option<Draft>, Rejection> {
        let current = current.map(|record| record.payload);
        let permitted = match self {
            Draft::Patch(patch) => writing.patch(table, patch, current).map(|()| None),
            Draft::Put(payload) => {
                let sent = writing.put(table, &payload.bytes, payload.content_type.as_deref(), current);
                sent.map(|(bytes, content_type)| match bytes {
                    Cow::Borrowed(_) => None,
                    Cow::Owned(bytes) => {
                        Some(Payload { bytes: bytes.into(), content_type: content_type.map(Into::into) })
                    }
                })
            }
        };
        let permitted = permitted.map_err(|denied| Rejection::Denied(denied.to_string()))?;
        Ok(permitted.map(Draft::Put))
    }

    /// Appends the entry of the put it becomes where `current` is.
    fn write(
        &self,
        place: &RecordRef,
        current: Option<&Record<'_>>,
        now_ms: u64,
        entries: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        match self {
            Draft::Put(payload) => put_entry(place, payload, current, Rest::Goes, now_ms, entries),
            Draft::Patch(patch) => {
                let bytes = merge_patch(current.map(|record| record.payload), patch)?.into();
                let before = current.and_then(|record| PublishProperties::parse_forwarded(record.properties).ok());
                let before = before.and_then(|properties| properties.content_type);
                let content_type = before.filter(|before| Format::of(Some(before)).is_ok()).unwrap_or(JSON);
                let payload = Payload { bytes, content_type: Some(content_type.into()) };
                put_entry(place, &payload, current, Rest::Stays, now_ms, entries)
            }
        }
    }
}

/// What becomes of the properties and the expiry of the record there is, where a put says nothing of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It is replaced as a whole.
    Goes,
    /// It is patched.
    Stays,
}

/// Appends the entry of a put, its payload checked against its table.
pub(super) fn put_entry(
    place: &RecordRef,
    payload: &Payload,
    current: Option<&Record<'_>>,
    rest: Rest,
    now_ms: u64,
    entries: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let table = place.table().table();
    let content_type = payload.content_type.as_deref();
    let created = current.filter(|_| table.needs_previous()).and_then(|record| created_ms(table, record.payload));
    let normalized = Validator::default().put(table, place.key(), &payload.bytes, content_type, now_ms, created)?;
    // A document is JSON whatever it was sent as; other payloads are what they were said to be.
    let of_payload = properties(content_type.filter(|_| !table.is_typed()));
    let patched = current.filter(|_| rest == Rest::Stays);
    let kept = patched.map(|record| record.properties).filter(|kept| says(kept, content_type, table));
    let properties = kept.unwrap_or(&of_payload);
    let mut change = change(ChangeKind::Put, place.table(), place.encoded(), properties, &normalized.payload);
    let expires_ms = expires_at_ms(table, &normalized, now_ms);
    change.expires_ms = expires_ms.or_else(|| patched.and_then(|record| kept_expiry_ms(table, record)));
    change.encode(entries);
    Ok(())
}

fn change<'a>(
    kind: ChangeKind,
    table: &TableRef,
    key: &'a [u8],
    properties: &'a [u8],
    payload: &'a [u8],
) -> Change<'a> {
    Change {
        kind,
        qos: QoS::AtLeastOnce,
        table: table.id(),
        key,
        publisher: SessionId::NONE,
        expires_ms: None,
        properties,
        payload,
    }
}

/// Whether properties of a record hold for what a patch made of it, which is of this content type.
fn says(properties: &[u8], content_type: Option<&str>, table: &Table) -> bool {
    table.is_typed()
        || PublishProperties::parse_forwarded(properties).is_ok_and(|said| said.content_type == content_type)
}

/// The MQTT properties that say what a payload is.
fn properties(content_type: Option<&str>) -> Vec<u8> {
    let mut properties = Vec::new();
    let published = PublishProperties { content_type, ..PublishProperties::default() };
    published.forwarded(&mut properties).expect("a content type fits a property");
    properties
}

pub(super) fn written(outcome: Outcome) -> Result<Written, DbError> {
    match outcome {
        Outcome::Done { sequence, existed } => Ok(Written { version: sequence, created: existed == Some(false) }),
        Outcome::Absent | Outcome::Rejected(Rejection::Absent) => Err(DbError::Absent),
        Outcome::Rejected(Rejection::Condition(current)) => Err(DbError::Condition(current)),
        Outcome::Rejected(Rejection::Denied(words)) => Err(DbError::Denied(words)),
        Outcome::Rejected(Rejection::Invalid(words)) => Err(DbError::Failed(words)),
        Outcome::Full => Err(DbError::Full),
        Outcome::Unreadable(words) => Err(DbError::Unreadable(words)),
    }
}

const JSON: &str = "application/json";

/// Bytes of patches, and of puts that need the record before, that may wait for the writer.
const DRAFT_BYTES_MAX: usize = 64 * 1024 * 1024;
