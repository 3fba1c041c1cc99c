//! Wills, from CONNECT to what is published when a client is gone without a goodbye (MQTT 5 §3.1.2.5).

use super::chores::Chore;
use super::connection::ConnectionId;
use super::decide::{MERGE_PATCH, condition, decide_will};
use super::end::Cause;
use super::publish::{Refused, Said, Undecided, operation_of};
use super::{Effect, Moment, Shard};
use crate::change::{Change, ChangeKind, Entry, internal_delete};
use crate::mqtt::session::Session;
use crate::policy::{Denied, Principal, Rights};
use crate::position::{Sequence, SessionId, TableId};
use crate::proposal::{Decide, Decision, Durability, Rejection};
use crate::record::Record;
use crate::tables::Tables;
use rowcast_codec::{PublishProperties, ReasonCode, Topic, Will as WireWill};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};

/// A will, ready to be published. The row it is stored as; integers are little endian:
///
/// | bytes | field           |                                                                    |
/// |-------|-----------------|--------------------------------------------------------------------|
/// | 8     | `number`        |                                                                    |
/// | 4     | `delay_secs`    |                                                                    |
/// | 4     | `lifetime_secs` | `u32::MAX`: for ever                                               |
/// | 8     | `due_ms`        | milliseconds since 1970, 0 while its connection is there           |
/// | 4     | `maker` length  |                                                                    |
/// | ..    | `maker`         | [`StoredMaker`], in JSON                                           |
/// | ..    | `entry`         | the change as its client said it                                   |
#[derive(Clone, Debug)]
pub(super) struct Will {
    /// Says which will a row in the store is.
    pub number: u64,
    pub delay_secs: u32,
    /// How long its message is worth delivering, once it is published.
    pub lifetime_secs: Option<u32>,
    /// Whose rights count when it is published.
    pub maker: Principal,
    /// The change as its client said it, encoded.
    pub entry: Vec<u8>,
}

/// Whose rights count for a will: [`Principal`], as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredMaker {
    user: Option<Box<str>>,
    role: Box<str>,
    super_user: bool,
    has_account: bool,
}

impl Will {
    /// The row it is stored as. `due_ms`: when it is to be published, in milliseconds since 1970; 0: its connection is there.
    pub(super) fn row(&self, due_ms: u64) -> Vec<u8> {
        let mut row = Vec::with_capacity(128 + self.entry.len());
        row.extend_from_slice(&self.number.to_le_bytes());
        row.extend_from_slice(&self.delay_secs.to_le_bytes());
        row.extend_from_slice(&self.lifetime_secs.unwrap_or(u32::MAX).to_le_bytes());
        row.extend_from_slice(&due_ms.to_le_bytes());
        let Principal { user, role, super_user, has_account, password: _ } = &self.maker;
        let user = user.as_deref().map(Into::into);
        let maker = StoredMaker { user, role: (&**role).into(), super_user: *super_user, has_account: *has_account };
        let maker = serde_json::to_vec(&maker).expect("a maker is plain data");
        row.extend_from_slice(&(maker.len() as u32).to_le_bytes());
        row.extend_from_slice(&maker);
        row.extend_from_slice(&self.entry);
        row
    }

    /// Whether somebody with these rights may set it. Whether it makes a record or replaces one is not known before it
    /// is published, and asked again then.
    pub(super) fn is_allowed(&self, tables: &Tables, rights: &Rights) -> Result<(), Denied> {
        let Ok((entry, _)) = Entry::decode(&self.entry, Sequence::ZERO) else { return Ok(()) };
        let (change, mut topic) = (entry.change, String::new());
        tables.topic(change.table, change.key, &mut topic);
        if !rights.may(operation_of(change.kind), change.table, &topic) {
            return Err(Denied::Record);
        }
        let Some(table) = tables.get(change.table).filter(|_| change.kind == ChangeKind::Put) else { return Ok(()) };
        let content_type =
            PublishProperties::parse_forwarded(change.properties).ok().and_then(|found| found.content_type);
        let writing = rights.writing(change.table);
        let onto = |current| match content_type {
            Some(MERGE_PATCH) => writing.patch(table, change.payload, current),
            _ => writing.put(table, change.payload, content_type, current).map(|_| ()),
        };
        onto(None).or_else(|_| onto(Some(b"{}")))
    }

    /// The number of the will in a row.
    pub(super) fn number_of(row: &[u8]) -> Option<u64> {
        row.first_chunk().map(|number| u64::from_le_bytes(*number))
    }

    /// The number of a will that waits, and until when; `None`: its connection is there.
    fn waiting(row: &[u8]) -> Option<(u64, u64)> {
        let due_ms = u64::from_le_bytes(*row.get(16..)?.first_chunk()?);
        Some((Will::number_of(row)?, due_ms)).filter(|_| due_ms > 0)
    }

    /// The will in a row, and when it is due.
    pub(super) fn parse(row: &[u8]) -> Option<(Will, u64)> {
        let (number, rest) = row.split_first_chunk::<8>()?;
        let (delay_secs, rest) = rest.split_first_chunk::<4>()?;
        let (lifetime_secs, rest) = rest.split_first_chunk::<4>()?;
        let (due_ms, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (maker, entry) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let StoredMaker { user, role, super_user, has_account } = serde_json::from_slice(maker).ok()?;
        let maker =
            Principal { user: user.map(Into::into), role: role.into(), super_user, has_account, password: None };
        let will = Will {
            number: u64::from_le_bytes(*number),
            delay_secs: u32::from_le_bytes(*delay_secs),
            lifetime_secs: Some(u32::from_le_bytes(*lifetime_secs)).filter(|&secs| secs != u32::MAX),
            maker,
            entry: entry.to_vec(),
        };
        Some((will, u64::from_le_bytes(*due_ms)))
    }
}

impl Shard {
    /// A will is checked when it is set, so that a client learns of a mistake while it is there.
    pub(super) fn read_will(&mut self, id: ConnectionId, will: &WireWill<'_>, now: Moment) -> Result<Will, Refused> {
        let publish = &will.properties.publish;
        Topic::new(will.topic).map_err(|error| Refused(ReasonCode::TopicNameInvalid, error.to_string()))?;
        if condition(&publish.user_properties)?.is_some() && !will.retain {
            let words = "an event has no precondition".to_owned();
            return Err(Refused(ReasonCode::ImplementationSpecificError, words));
        }
        let said = Said {
            topic: will.topic,
            retain: will.retain,
            qos: will.qos,
            payload: will.payload,
            content_type: publish.content_type,
            expiry_secs: publish.message_expiry_secs,
            condition: None, // Whether it holds is asked when it is published.
        };
        let mut properties = Vec::new();
        publish
            .forwarded(&mut properties)
            .map_err(|error| Refused(ReasonCode::ImplementationSpecificError, error.to_string()))?;
        // Nobody has said yet who this is: rights are checked once that is known.
        let number = self.number();
        let checked = self.check_as(id, &said, &properties, now, Some(&Rights::Everything))?;
        if let Some(Undecided::Put(put)) = checked.undecided.as_deref()
            && said.content_type != Some(MERGE_PATCH)
        {
            let decided = put.decide(None, now.wall_ms, &mut Vec::new());
            if let Err(Rejection::Invalid(words)) = decided {
                return Err(Refused(ReasonCode::PayloadFormatInvalid, words));
            }
        }
        let mut entry = Vec::new();
        Change {
            kind: checked.kind,
            qos: will.qos,
            table: checked.spot.table,
            key: &checked.spot.key,
            publisher: SessionId::NONE, // No Local is about what a client sends while it is there.
            expires_ms: None,
            properties: &properties,
            payload: will.payload,
        }
        .encode(&mut entry);
        let delay_secs = will.properties.delay_secs.unwrap_or(0);
        let (lifetime_secs, maker) = (publish.message_expiry_secs, Principal::default());
        Ok(Will { number, delay_secs, lifetime_secs, maker, entry })
    }

    /// A connection ended that had set a will, perhaps. Returns the number of the will that goes with its goodbye.
    pub(super) fn part_with_will(
        &mut self,
        session: &Session,
        will: Option<&Will>,
        cause: Cause,
        now: Moment,
    ) -> Option<u64> {
        let will = will?;
        if cause == Cause::Goodbye {
            return Some(will.number);
        }
        self.end_will(session, will, cause, now);
        None
    }

    /// A connection ended without a goodbye.
    fn end_will(&mut self, session: &Session, will: &Will, cause: Cause, now: Moment) {
        let client_id = &session.client_id;
        let clean = matches!(cause, Cause::Taken(claimant) if claimant.clean_start);
        // The session ends with the connection, or is thrown away by the next one: its will does not wait. One that goes
        // on with it takes the row away [MQTT-3.1.3-9], unless it is refused.
        match if clean { 0 } else { will.delay_secs.min(session.expiry_secs) } {
            0 => self.publish_will(client_id, will, false),
            delay_secs => self.delay_will((client_id, session.id), will, delay_secs, now),
        }
    }

    /// A will waits so long from now on, or until its session ends: it is known to do so once its row says it.
    fn delay_will(&mut self, session: (&str, SessionId), will: &Will, delay_secs: u32, now: Moment) {
        let (client_id, session) = (session.0.into(), session.1);
        let due_ms = now.wall_ms + u64::from(delay_secs) * 1000;
        self.begin_chore(Chore::DelayWill { client_id, session, number: will.number, due_ms });
    }

    /// A will is published and its row goes, together and only if the row is still there. `has_waited`: see
    /// [`Chore::PublishWill`].
    pub(super) fn publish_will(&mut self, client_id: &str, will: &Will, has_waited: bool) {
        let Ok((entry, _)) = Entry::decode(&will.entry, Sequence::ZERO) else { return };
        let (token, number) = (self.token(0), will.number);
        let is_there: Decide = Box::new(move |row: Option<&Record<'_>>, _, _: &mut Vec<u8>| is_will(row, number));
        let mut decisions = vec![Decision::new(TableId::WILLS, client_id.as_bytes().to_vec(), is_there)];
        let rights = Arc::new(OnceLock::new());
        decisions.extend(self.decide_rights(&will.maker, client_id, &rights));
        let left_out = Arc::default();
        let publish = decide_will(&self.tables, &will.entry, will.lifetime_secs, rights, Arc::clone(&left_out));
        decisions.push(Decision::new(entry.change.table, entry.change.key.to_vec(), publish));
        let mut gone = Vec::new();
        internal_delete(TableId::WILLS, client_id.as_bytes()).encode(&mut gone);
        self.proposals.push_all_decided(Some(token), Durability::Sync, decisions, &gone);
        let user = will.maker.user.clone();
        self.expect_chore(
            token,
            Chore::PublishWill { client_id: client_id.into(), number, has_waited, user, left_out },
        );
    }

    /// The log has a row of [`TableId::WILLS`], or took it away (`None`). Those that wait are the first shard's.
    pub(super) fn on_will_row(&mut self, key: &[u8], row: Option<&[u8]>) {
        let _ = if row.is_some() { self.wills.insert(key) } else { self.wills.remove(key) };
        let Ok(client_id) = std::str::from_utf8(key) else { return };
        match row.and_then(Will::waiting) {
            Some((number, due_ms)) if self.settings.index == 0 => self.waiting_wills.put(client_id, due_ms, number),
            _ => self.waiting_wills.remove(client_id),
        }
    }

    /// Reads the wills whose time has come.
    pub(super) fn load_due_wills(&mut self, now: Moment) {
        while let Some((client_id, number)) = self.waiting_wills.take_due(now.wall_ms) {
            self.effects.push(Effect::LoadWill { client_id: (&*client_id).into(), number });
        }
    }

    /// A will whose time has come was read, if it is still there.
    pub(super) fn on_will_loaded(&mut self, client_id: &str, number: u64, row: Option<&[u8]>, now: Moment) {
        self.waiting_wills.loaded();
        if let Some((will, _)) = row.and_then(Will::parse).filter(|(will, _)| will.number == number) {
            self.publish_will(client_id, &will, true);
        }
        self.load_due_wills(now);
    }

    /// A row of [`TableId::WILLS`] that is there when the node starts: its connection is gone, without a goodbye.
    /// `session`: the one it has, and how many seconds that lasts.
    pub(super) fn restore_will(&mut self, client_id: &str, row: &[u8], session: Option<(SessionId, u32)>, now: Moment) {
        let Some((will, due_ms)) = Will::parse(row) else { return };
        let lasting = session.map(|(id, expiry_secs)| (id, will.delay_secs.min(expiry_secs)));
        match (due_ms, lasting) {
            (0, Some((id, delay_secs))) if delay_secs > 0 => self.delay_will((client_id, id), &will, delay_secs, now),
            (due_ms, _) if due_ms > now.wall_ms => self.waiting_wills.put(client_id, due_ms, will.number),
            _ => self.publish_will(client_id, &will, true),
        }
    }
}

/// Whether this is the row of that will.
pub(super) fn is_will(row: Option<&Record<'_>>, number: u64) -> Result<(), Rejection> {
    let stored = row.and_then(|row| Will::number_of(row.payload));
    if stored == Some(number) { Ok(()) } else { Err(Rejection::Absent) }
}
