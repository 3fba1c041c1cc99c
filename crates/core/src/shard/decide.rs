//! Changes that depend on the record there is, decided by the writer: merge patches, preconditions, attributes that not
//! everybody may set, wills.

use super::publish::{Checked, Refused, Said, operation_of};
use crate::change::{Change, ChangeKind, Entry};
use crate::policy::{Denied, Rights, Writing};
use crate::position::{Sequence, SessionId};
use crate::proposal::{Decide, Decision, Preparation, Rejection};
use crate::record::Record;
use crate::schema::TableIndex;
use crate::tables::Tables;
use crate::validate::{Refusal, Validator, created_ms, expires_at_ms, kept_expiry_ms, merge_patch};
use crate::value::Key;
use rowcast_codec::{PublishProperties, QoS, ReasonCode, UserProperties};
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

/// A precondition of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// The record has this version.
    Version(u64),
    /// There is no such record.
    Absent,
}

/// Content type of a publish that patches the record.
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";

/// A put that depends on the record there is, on its way to the writer.
#[derive(Debug)]
pub(super) struct Put {
    tables: Arc<Tables>,
    index: TableIndex,
    key: Vec<u8>,
    payload: Vec<u8>,
    content_type: Option<String>,
    is_patch: bool,
    writing: Writing,
    pub condition: Option<Condition>,
    /// It is decided on ahead.
    pub takes_long: bool,
    properties: Vec<u8>,
    qos: QoS,
    publisher: SessionId,
    expires_ms: Option<u64>,
}

impl Put {
    /// `change`: as its client said it.
    pub(super) fn new(
        tables: &Arc<Tables>,
        index: TableIndex,
        change: &Change<'_>,
        content_type: Option<&str>,
        writing: Writing,
    ) -> Put {
        let is_patch = content_type == Some(MERGE_PATCH);
        let is_document = is_patch || tables.catalog()[index].is_typed();
        let properties = change.properties;
        Put {
            tables: Arc::clone(tables),
            index,
            key: change.key.to_vec(),
            payload: change.payload.to_vec(),
            content_type: content_type.map(str::to_owned),
            is_patch,
            writing,
            condition: None,
            takes_long: false,
            properties: if is_document { without_content_type(properties) } else { properties.to_vec() },
            qos: change.qos,
            publisher: change.publisher,
            expires_ms: change.expires_ms,
        }
    }

    /// As it is proposed.
    pub(super) fn preparation(self) -> Preparation {
        let table = &self.tables.catalog()[self.index];
        let depends = self.is_patch || table.needs_previous() || self.condition.is_some() || !self.writing.is_free();
        Preparation {
            table: self.tables.id(table),
            key: self.key.clone(),
            bytes: self.payload.len(),
            depends,
            decide: Box::new(move |record, now_ms, out| self.decide(record, now_ms, out)),
        }
    }

    pub(super) fn decide(&self, record: Option<&Record<'_>>, now_ms: u64, out: &mut Vec<u8>) -> Result<(), Rejection> {
        let table = &self.tables.catalog()[self.index];
        let current = record.map(|record| record.payload);
        let (payload, content_type) = if self.is_patch {
            self.writing.patch(table, &self.payload, current).map_err(denied)?;
            holds(self.condition.as_ref(), record)?;
            (Cow::Owned(merge_patch(current, &self.payload).map_err(|refusal| self.invalid(refusal, current))?), None)
        } else {
            let sent = self.writing.put(table, &self.payload, self.content_type.as_deref(), current);
            let sent = sent.map_err(denied)?;
            holds(self.condition.as_ref(), record)?;
            sent
        };
        let key = Key::decode(&self.key).ok_or_else(|| Rejection::Invalid("not a key".to_owned()))?;
        let created = current.and_then(|document| created_ms(table, document));
        let mut validator = Validator::default();
        let normalized = validator.put(table, &key, &payload, content_type, now_ms, created);
        let normalized = normalized.map_err(|refusal| self.invalid(refusal, current))?;
        let patched = record.filter(|_| self.is_patch); // It leaves as it is what it does not say.
        let expires_ms = self.expires_ms.or_else(|| expires_at_ms(table, &normalized, now_ms));
        let kept = patched.filter(|_| self.properties.is_empty()).map(|record| record.properties);
        let change = Change {
            kind: ChangeKind::Put,
            qos: self.qos,
            table: self.tables.id(table),
            key: &self.key,
            publisher: self.publisher,
            expires_ms: expires_ms.or_else(|| patched.and_then(|record| kept_expiry_ms(table, record))),
            properties: kept.unwrap_or(&self.properties),
            payload: &normalized.payload,
        };
        change.encode(out);
        Ok(())
    }

    fn invalid(&self, refusal: Refusal, current: Option<&[u8]>) -> Rejection {
        let refusal = match self.is_patch {
            true => self.writing.patch_refusal(refusal, &self.payload),
            false => self.writing.put_refusal(refusal, current.is_some()),
        };
        Rejection::Invalid(refusal.to_string())
    }
}

/// A put or delete as it is, if its precondition holds.
pub(super) fn decide_open(said: &Said<'_>, properties: &[u8], checked: &Checked) -> Decision {
    let Checked { kind, ref spot, publisher, expires_ms, .. } = *checked;
    let qos = said.qos;
    let (table, key) = (spot.table, spot.key.clone());
    let (properties, payload) = (properties.to_vec(), said.payload.to_vec());
    let condition = said.condition.clone();
    let (held, place) = (payload.len(), key.clone());
    let decide: Decide = Box::new(move |record, _, out| {
        holds(condition.as_ref(), record)?;
        if kind == ChangeKind::Delete && record.is_none() {
            return Ok(()); // Nothing is announced if there was nothing; what stands beside it is written all the same.
        }
        Change { kind, qos, table, key: &key, publisher, expires_ms, properties: &properties, payload: &payload }
            .encode(out);
        Ok(())
    });
    Decision { table, key: place, held, decide }
}

/// Publishes a will as if its client said it now: `said` is an entry as `read_will` left it, to be kept no
/// longer than `lifetime_secs`. What its maker has no right to by now, what does not fit its table any more, or what has a
/// precondition that does not hold, is left out, and `left_out` says so: the rest of the proposal is written all the same.
pub(super) fn decide_will(
    tables: &Arc<Tables>,
    said: &[u8],
    lifetime_secs: Option<u32>,
    rights: Arc<OnceLock<Rights>>,
    left_out: Arc<OnceLock<LeftOut>>,
) -> Decide {
    let (tables, said) = (Arc::clone(tables), said.to_vec());
    Box::new(move |record, now_ms, out| {
        let Ok((entry, _)) = Entry::decode(&said, Sequence::ZERO) else { return Ok(()) };
        let (Some(rights), mut topic) = (rights.get(), String::new()) else { return Ok(()) };
        if !tables.topic(entry.change.table, entry.change.key, &mut topic) {
            return Ok(()); // Its table is gone.
        }
        let expires_ms = lifetime_secs.map(|secs| now_ms + u64::from(secs) * 1000);
        let change = Change { expires_ms, ..entry.change };
        let before = out.len();
        let published = if rights.may(operation_of(change.kind), change.table, &topic) {
            publish_will(&tables, &change, rights, record, now_ms, out)
        } else {
            Err(Rejection::Denied("not allowed".to_owned()))
        };
        if let Err(why) = published {
            out.truncate(before);
            let _ = left_out.set(LeftOut { topic: topic.into(), why });
        }
        Ok(())
    })
}

/// A will that is not published although its time has come.
#[derive(Debug)]
pub(super) struct LeftOut {
    pub topic: Box<str>,
    pub why: Rejection,
}

fn publish_will(
    tables: &Arc<Tables>,
    change: &Change<'_>,
    rights: &Rights,
    record: Option<&Record<'_>>,
    now_ms: u64,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let properties = PublishProperties::parse_forwarded(change.properties).unwrap_or_default();
    let condition = condition(&properties.user_properties).unwrap_or_default();
    if let Some(table) = tables.get(change.table).filter(|_| change.kind == ChangeKind::Put) {
        let writing = rights.writing(change.table);
        let put = Put::new(tables, table.index, change, properties.content_type, writing);
        return Put { condition, ..put }.decide(record, now_ms, out);
    }
    holds(condition.as_ref(), record)?;
    if change.kind != ChangeKind::Delete || record.is_some() {
        change.encode(out);
    }
    Ok(())
}

/// Properties of a publish as those of the document it makes: that is JSON whatever it was sent as, and no patch.
pub(super) fn without_content_type(properties: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Ok(parsed) = PublishProperties::parse_forwarded(properties) {
        let forwarded = PublishProperties { content_type: None, ..parsed }.forwarded(&mut kept);
        debug_assert!(forwarded.is_ok(), "decoded properties can be sent");
    }
    kept
}

fn holds(condition: Option<&Condition>, record: Option<&Record<'_>>) -> Result<(), Rejection> {
    let version = record.map(|record| record.version);
    match condition {
        Some(Condition::Version(wanted)) if version.is_none_or(|version| version.0 != *wanted) => {
            Err(Rejection::Condition(version))
        }
        Some(Condition::Absent) if version.is_some() => Err(Rejection::Condition(version)),
        _ => Ok(()),
    }
}

/// The precondition that user properties ask for.
pub(super) fn condition(properties: &UserProperties<'_>) -> Result<Option<Condition>, Refused> {
    if properties.is_empty() {
        return Ok(None);
    }
    let invalid = |words: &str| Refused(ReasonCode::ImplementationSpecificError, words.to_owned());
    match (properties.get("if-match"), properties.get("if-none-match")) {
        (None, None) => Ok(None),
        (None, Some("*")) => Ok(Some(Condition::Absent)),
        (None, Some(_)) => Err(invalid("if-none-match takes *")),
        (Some(version), None) => version
            .trim_matches('"')
            .parse()
            .map(|version| Some(Condition::Version(version)))
            .map_err(|_| invalid("if-match takes a record's version")),
        (Some(_), Some(_)) => Err(invalid("if-match and if-none-match exclude each other")),
    }
}

fn denied(denied: Denied) -> Rejection {
    Rejection::Denied(denied.to_string())
}
