//! PUBLISH from a client: to a change that is proposed, or a message that just passes by.

use super::connection::{self, ConnectionId, LookUp, Pending, Then};
use super::decide::{Condition, MERGE_PATCH, Put, condition, decide_open, without_content_type};
use super::get::GET;
use super::{Effect, Moment, Settings, Shard};
use crate::change::{Change, ChangeKind, Entry, internal_row};
use crate::hlc::Hlc;
use crate::limits::Limits;
use crate::mqtt::session::rows;
use crate::places::{Places, Spot, level_count};
use crate::policy::{Operation, Rights, Writing};
use crate::position::{Sequence, SessionId, TableId};
use crate::proposal::{Decision, Durability, Token};
use crate::reach::ShardSet;
use crate::schema::Table;
use crate::sys;
use crate::tables::{Place, Tables};
use crate::validate::{Validator, expires_at_ms};
use crate::value::Key;
use rowcast_codec::{Packet, Publish, PublishProperties, QoS, ReasonCode};
use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

/// A refusal, with words for the client and the log.
pub(super) struct Refused(pub ReasonCode, pub String);

/// What a client said, resolved and checked.
#[derive(Debug)]
pub(super) struct Checked {
    pub kind: ChangeKind,
    /// Where it goes.
    pub spot: Rc<Spot>,
    pub publisher: SessionId,
    /// The payload to be stored or passed on, if it is not the one that was sent.
    pub payload: Option<Vec<u8>>,
    /// The properties, likewise.
    pub properties: Option<Vec<u8>>,
    pub expires_ms: Option<u64>,
    pub durability: Durability,
    /// Events are kept whoever wants them.
    pub audit: bool,
    /// What is decided on once the record there is can be seen.
    pub undecided: Option<Box<Undecided>>,
}

/// A change that may depend on the record there is.
#[derive(Debug)]
pub(super) enum Undecided {
    Put(Put),
    /// It may have been decided on ahead.
    Other(Decision),
}

impl Undecided {
    fn takes_long(&self) -> bool {
        matches!(self, Undecided::Put(put) if put.takes_long)
    }

    /// As the writer decides on it.
    fn decision(self) -> Decision {
        match self {
            Undecided::Put(put) => put.preparation().in_turn(),
            Undecided::Other(decision) => decision,
        }
    }
}

impl Checked {
    /// A record is put: it fits its table, or the writer finds out whether it does, where that depends on the record
    /// there is.
    fn check_put(
        &mut self,
        (tables, table): (&Arc<Tables>, &Table),
        said: &Said<'_>,
        properties: &[u8],
        writing: Writing,
        (settings, validator, now): (&Settings, &mut Validator, Moment),
    ) -> Result<(), Refused> {
        let is_patch = said.content_type == Some(MERGE_PATCH);
        let is_document = is_patch || table.is_typed();
        let takes_long = is_document && said.payload.len() >= settings.large_document_bytes;
        if takes_long || is_patch || table.needs_previous() || said.condition.is_some() || !writing.is_free() {
            let change = Change {
                kind: self.kind,
                qos: said.qos,
                table: self.spot.table,
                key: &self.spot.key,
                publisher: self.publisher,
                expires_ms: self.expires_ms,
                properties,
                payload: said.payload,
            };
            let mut put = Put::new(tables, table.index, &change, said.content_type, writing);
            put.condition.clone_from(&said.condition);
            put.takes_long = takes_long;
            self.undecided = Some(Box::new(Undecided::Put(put)));
            return Ok(());
        }
        let key =
            Key::decode(&self.spot.key).ok_or_else(|| Refused(ReasonCode::TopicNameInvalid, "not a key".to_owned()))?;
        let normalized = validator
            .put(table, &key, said.payload, said.content_type, now.wall_ms, None)
            .map_err(|refusal| Refused(ReasonCode::PayloadFormatInvalid, refusal.to_string()))?;
        self.expires_ms = self.expires_ms.or_else(|| expires_at_ms(table, &normalized, now.wall_ms));
        if let Cow::Owned(payload) = normalized.payload {
            self.payload = Some(payload);
        }
        if table.is_typed() && said.content_type.is_some() {
            self.properties = Some(without_content_type(properties));
        }
        Ok(())
    }

    /// The change it makes, where that does not depend on the record there is.
    fn change<'a>(&'a self, publish: &Publish<'a>, properties: &'a [u8]) -> Change<'a> {
        Change {
            kind: self.kind,
            qos: publish.qos,
            table: self.spot.table,
            key: &self.spot.key,
            publisher: self.publisher,
            expires_ms: self.expires_ms,
            properties: self.properties.as_deref().unwrap_or(properties),
            payload: self.payload.as_deref().unwrap_or(publish.payload),
        }
    }
}

/// What of a PUBLISH, or a will, says what is to be done.
pub(super) struct Said<'a> {
    pub topic: &'a str,
    pub retain: bool,
    pub qos: QoS,
    pub payload: &'a [u8],
    pub content_type: Option<&'a str>,
    pub expiry_secs: Option<u32>,
    /// `if-match` and `if-none-match`, user properties.
    pub condition: Option<Condition>,
}

/// Longest topic that can be retained: its key must fit the store's keys.
const RETAINED_TOPIC_BYTES_MAX: usize = 65_000;

impl Shard {
    pub(super) fn on_publish(&mut self, id: ConnectionId, publish: &Publish<'_>, now: Moment) {
        self.counters.publishes_in += 1;
        self.counters.payload_bytes_in += publish.payload.len() as u64;
        let topic = match self.topic_of(id, publish) {
            Ok(topic) => topic,
            Err(Refused(reason, words)) => return self.close(id, reason, &words, now),
        };
        let topic = topic.as_deref().unwrap_or(publish.topic);
        if let Some(packet) = publish.packet_id {
            let Some(connection) = self.connection_mut(id) else { return };
            let receive_maximum = connection.agreed.receive_maximum;
            let received = connection.session.as_ref().is_some_and(|session| session.received.contains(&packet));
            if publish.qos == QoS::ExactlyOnce && received {
                // Published already; the client did not hear of it (MQTT 5 §4.3.3).
                return self.answer_now(id, Then::Pubrec(packet), ReasonCode::Success, now);
            }
            if connection.is_v5() && connection.inbound_open >= receive_maximum {
                let words = format!("more than {receive_maximum} publishes wait for an acknowledgement");
                return self.close(id, ReasonCode::ReceiveMaximumExceeded, &words, now); // [MQTT-3.3.4-7]
            }
            connection.inbound_open = connection.inbound_open.saturating_add(1);
        }
        let done = match topic.strip_prefix(GET) {
            Some(name) => self.get(id, publish, name, now),
            None => self.publish(id, publish, topic, now),
        };
        if let Err(Refused(reason, words)) = done {
            self.refuse_publish(id, publish, topic, reason, words, now);
        }
    }

    /// The topic behind an alias; `None`: the packet says it itself (MQTT 5 §3.3.2.3.4).
    fn topic_of(&mut self, id: ConnectionId, publish: &Publish<'_>) -> Result<Option<Rc<str>>, Refused> {
        if !publish.properties.subscription_ids.is_empty() {
            let words = "a client's PUBLISH has no subscription identifier".to_owned();
            return Err(Refused(ReasonCode::ProtocolError, words)); // [MQTT-3.3.4-6]
        }
        let Some(alias) = publish.properties.topic_alias else { return Ok(None) };
        let Some(connection) = self.connection_mut(id) else { return Ok(None) };
        let maximum = connection.agreed.topic_alias_maximum;
        if alias == 0 || alias > maximum {
            let words = format!("topic alias {alias} is not between 1 and {maximum}");
            return Err(Refused(ReasonCode::TopicAliasInvalid, words)); // [MQTT-3.3.2-9]
        }
        let place = usize::from(alias) - 1;
        if publish.topic.is_empty() {
            return match connection.aliases.get(place) {
                Some(Some(topic)) => Ok(Some(Rc::clone(topic))),
                _ => Err(Refused(ReasonCode::ProtocolError, format!("topic alias {alias} stands for no topic yet"))),
            };
        }
        if connection.aliases.len() <= place {
            connection.aliases.resize(place + 1, None);
        }
        connection.aliases[place] = Some(publish.topic.into());
        Ok(None)
    }

    fn publish(&mut self, id: ConnectionId, publish: &Publish<'_>, topic: &str, now: Moment) -> Result<(), Refused> {
        let said = Said {
            topic,
            retain: publish.retain,
            qos: publish.qos,
            payload: publish.payload,
            content_type: publish.properties.content_type,
            expiry_secs: publish.properties.message_expiry_secs,
            condition: condition(&publish.properties.user_properties)?,
        };
        let mut properties = std::mem::take(&mut self.scratch.properties);
        properties.clear();
        let forwarded = publish.properties.forwarded(&mut properties);
        let checked = match forwarded {
            Ok(()) => self.check(id, &said, &properties, now),
            Err(error) => Err(Refused(ReasonCode::ImplementationSpecificError, error.to_string())),
        };
        let done =
            checked.and_then(|mut checked| match checked.undecided.take_if(|undecided| undecided.takes_long()) {
                Some(undecided) => self.prepare(id, publish, topic, checked, *undecided),
                None => {
                    self.propose(id, publish, &said, checked, &properties, now);
                    Ok(())
                }
            });
        self.scratch.properties = properties;
        done
    }

    /// Has a large document decided on ahead: the packet waits for it, and those behind it.
    fn prepare(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        topic: &str,
        checked: Checked,
        undecided: Undecided,
    ) -> Result<(), Refused> {
        let (Some(connection), Undecided::Put(put)) = (self.connection_mut(id), undecided) else { return Ok(()) };
        // All else is in the put.
        let bare = Publish { topic, payload: &[], properties: PublishProperties::default(), ..publish.clone() };
        let mut packet = Vec::new();
        Packet::Publish(bare)
            .encode(connection.version, &mut packet)
            .map_err(|error| Refused(ReasonCode::ImplementationSpecificError, error.to_string()))?;
        connection.looking_up = Some(Box::new(LookUp { packet, checked: Some(checked), effect: None, behind: None }));
        self.effects.push(Effect::Prepare { connection: id, preparation: Box::new(put.preparation()) });
        Ok(())
    }

    /// It was decided on, as the record was then.
    pub(super) fn on_prepared(&mut self, id: ConnectionId, decision: Decision, now: Moment) {
        let Some((version, waiting)) = self.take_looked_up(id, now) else { return };
        let LookUp { packet, checked, .. } = *waiting;
        if let (Ok(Packet::Publish(publish)), Some(checked)) = (Packet::decode(version, &packet), checked) {
            let said = Said {
                topic: publish.topic,
                retain: publish.retain,
                qos: publish.qos,
                payload: &[],
                content_type: None,
                expiry_secs: None,
                condition: None,
            };
            let undecided = Some(Box::new(Undecided::Other(decision)));
            self.propose(id, &publish, &said, Checked { undecided, ..checked }, &[], now);
        }
        self.wake(id); // Its packets are handled again.
    }

    /// Resolves and checks what a client says.
    pub(super) fn check(
        &mut self,
        id: ConnectionId,
        said: &Said<'_>,
        properties: &[u8],
        now: Moment,
    ) -> Result<Checked, Refused> {
        self.check_as(id, said, properties, now, None)
    }

    /// [`Shard::check`] with these rights; `None`: those of the client.
    pub(super) fn check_as(
        &mut self,
        id: ConnectionId,
        said: &Said<'_>,
        properties: &[u8],
        now: Moment,
        rights: Option<&Rights>,
    ) -> Result<Checked, Refused> {
        let Shard { tables, places, settings, connections, validator, .. } = self;
        let Some(connection) = connection::find(connections, id) else {
            return refused(ReasonCode::NotAuthorized, "not connected");
        };
        let rights = rights.unwrap_or(&connection.rights);
        let kind = match (said.retain, said.payload.is_empty()) {
            (false, _) => ChangeKind::Message,
            (true, true) => ChangeKind::Delete,
            (true, false) => ChangeKind::Put,
        };
        let spot = spot_of(said.topic, kind, (tables, places), &settings.limits, rights)?;
        let mut checked = Checked {
            kind,
            spot,
            publisher: connection.session.as_ref().map_or(SessionId::NONE, |session| session.id),
            payload: None,
            properties: None,
            expires_ms: said.expiry_secs.map(|secs| now.wall_ms + u64::from(secs) * 1000),
            durability: tables.durability(None),
            audit: false,
            undecided: None,
        };
        let table = match checked.spot.place {
            Place::Open if !settings.open_topics => {
                return refused(ReasonCode::TopicNameInvalid, "no exported table has this name");
            }
            Place::Open if kind.is_state() && said.topic.len() > RETAINED_TOPIC_BYTES_MAX => {
                return refused(ReasonCode::TopicNameInvalid, "the topic is too long to be retained");
            }
            Place::Channel(_) if kind.is_state() => {
                return refused(ReasonCode::TopicNameInvalid, "a table's own channel holds no record");
            }
            Place::Open => None,
            Place::Channel(index) | Place::Record(index) => Some(&tables.catalog()[index]),
        };
        if kind == ChangeKind::Message && said.condition.is_some() {
            return refused(ReasonCode::ImplementationSpecificError, "an event has no precondition");
        }
        if let Some(table) = table {
            checked.audit = table.audit;
            checked.durability = tables.durability(Some(table));
        }
        match table {
            Some(table) if kind == ChangeKind::Put => {
                let writing = rights.writing(checked.spot.table);
                checked.check_put((tables, table), said, properties, writing, (settings, validator, now))?;
            }
            _ if said.condition.is_some() => {
                let decision = decide_open(said, properties, &checked);
                checked.undecided = Some(Box::new(Undecided::Other(decision)));
            }
            _ => {}
        }
        Ok(checked)
    }

    /// Hands a checked publish to the log, or on to whoever listens now.
    pub(super) fn propose(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        said: &Said<'_>,
        checked: Checked,
        properties: &[u8],
        now: Moment,
    ) {
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        let Some(session) = &mut connection.session else { return };
        let waits = !connection.acks.is_empty();
        let exactly_once = publish.packet_id.filter(|_| publish.qos == QoS::ExactlyOnce);
        if let Some(packet) = exactly_once {
            session.received.insert(packet);
        }
        // What was received with QoS 2 is remembered in the frame that holds the message.
        let is_durable = session.is_durable();
        let handshake = exactly_once.filter(|_| is_durable).map(|packet| rows::received(&session.client_id, packet));
        let logged = checked.kind.is_state()
            || checked.audit
            || handshake.is_some()
            || waits // Or it would overtake what this client published before.
            || (publish.qos != QoS::AtMostOnce && self.durable.wants_of(&checked.spot));
        if !logged {
            return self.pass_on(id, publish, &checked, properties, now);
        }
        let token = self.token(id.slot);
        // Others than these find out here already what is wrong.
        let is_decided = checked.undecided.is_some() || checked.kind == ChangeKind::Delete;
        let topic = is_decided.then(|| said.topic.into());
        self.log(token, publish, said, checked, properties, handshake.as_deref());
        let (then, reason) = (answer_to(publish), ReasonCode::Success);
        self.answer(id, Pending { token: Some(token), then, reason, detail: None, version: None, topic }, now);
    }

    /// Proposes a checked publish, and with it the row of its `handshake`.
    fn log(
        &mut self,
        token: Token,
        publish: &Publish<'_>,
        said: &Said<'_>,
        mut checked: Checked,
        properties: &[u8],
        handshake: Option<&[u8]>,
    ) {
        let durability = match (checked.kind, publish.qos) {
            (ChangeKind::Message, QoS::AtMostOnce) => Durability::Memory,
            // Whoever gets it holds its identifier until the end: a power cut must not give that to another message.
            (_, QoS::ExactlyOnce) => Durability::Sync,
            _ => checked.durability,
        };
        let handshake = handshake.map(|key| internal_row(TableId::HANDSHAKES, key, &[]));
        let decision = match checked.undecided.take() {
            // With a handshake beside it, the writer would not look whether there is something to delete.
            None if checked.kind == ChangeKind::Delete && handshake.is_some() => {
                Some(decide_open(said, properties, &checked))
            }
            undecided => undecided.map(|undecided| undecided.decision()),
        };
        if let Some(decision) = decision {
            return self.proposals.push_decided(Some(token), durability, decision, handshake.as_slice());
        }
        let wanted = self.wanting_of_all(&checked.spot);
        let change = checked.change(publish, properties);
        match handshake {
            Some(handshake) => self.proposals.push_for(wanted, Some(token), durability, &[change, handshake]),
            None => self.proposals.push_for(wanted, Some(token), durability, &[change]),
        }
    }

    /// Hands an event that nobody could come back for to all who listen now.
    fn pass_on(&mut self, id: ConnectionId, publish: &Publish<'_>, checked: &Checked, properties: &[u8], now: Moment) {
        let change = checked.change(publish, properties);
        if self.settings.shards > 1 {
            for (shard, events) in (0..).zip(&mut self.events) {
                if shard != self.settings.index && self.settings.reach.may_want(shard, checked.spot.prefixes()) {
                    change.encode(events);
                }
            }
        }
        // Before what the client may get of it itself, as nothing waits that it would have to wait behind.
        if publish.packet_id.is_some() {
            self.answer_now(id, answer_to(publish), ReasonCode::Success, now);
        }
        let entry = Entry { sequence: Sequence::ZERO, hlc: Hlc(0), origin: None, superseded: false, change };
        if !self.is_deaf() {
            let matches = self.interest.matches_of(&checked.spot.topic, &checked.spot.wanted);
            self.fan_out_to(&matches, &entry, &checked.spot.topic, now);
        }
    }

    /// The shards that may want what is written of a topic in this turn.
    fn wanting_of_all(&mut self, spot: &Spot) -> ShardSet {
        let Settings { index, reach, .. } = &self.settings;
        if self.proposals.reach_age.is_none() {
            self.proposals.reach_age = reach.age(*index); // Before the first look, and so no younger than any.
        }
        if self.proposals.reach_age.is_some() { reach.wanting(spot.prefixes()) } else { ShardSet::ALL }
    }

    pub(super) fn refuse_publish(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        topic: &str,
        reason: ReasonCode,
        words: String,
        now: Moment,
    ) {
        self.report_rejected(id, topic, reason, &words);
        if publish.qos == QoS::AtMostOnce {
            return self.refuse_without_answer(id, reason, &words, now);
        }
        let pending = Pending {
            token: None,
            then: answer_to(publish),
            reason,
            detail: Some(words.into()),
            version: None,
            topic: None,
        };
        self.answer(id, pending, now);
    }

    /// A publish of QoS 0 was refused.
    pub(super) fn refuse_without_answer(&mut self, id: ConnectionId, reason: ReasonCode, words: &str, now: Moment) {
        self.counters.rejected += 1;
        let is_v5 = self.connection(id).is_none_or(|connection| connection.is_v5());
        if self.settings.close_on_rejected && !is_v5 {
            self.close(id, reason, words, now);
        }
    }
}

fn refused<T>(reason: ReasonCode, words: &str) -> Result<T, Refused> {
    Err(Refused(reason, words.to_owned()))
}

/// Where a change of `topic` goes, if whoever has these rights may make it there.
fn spot_of(
    topic: &str,
    kind: ChangeKind,
    (tables, places): (&Tables, &mut Places),
    limits: &Limits,
    rights: &Rights,
) -> Result<Rc<Spot>, Refused> {
    let spot = places.find(tables, topic);
    let levels = spot.as_ref().map_or_else(|_| level_count(topic), |spot| spot.levels);
    if !limits.topic().hold(topic.len(), levels) {
        return Err(Refused(ReasonCode::TopicNameInvalid, limits.topic().to_string()));
    }
    if is_servers(topic) {
        return refused(ReasonCode::TopicNameInvalid, "topics of the server's own cannot be published to");
    }
    // First of all: who may not do it is not told what there is.
    let (table, place) = match &spot {
        Ok(spot) => (spot.table, &*spot.topic),
        Err(_) => (tables.table_of(topic), topic),
    };
    if !rights.may(operation_of(kind), table, place) {
        return refused(ReasonCode::NotAuthorized, "not allowed");
    }
    spot.map_err(|error| Refused(ReasonCode::TopicNameInvalid, error.to_string()))
}

/// What somebody must be allowed to do for a change of theirs.
pub(super) fn operation_of(kind: ChangeKind) -> Operation {
    match kind {
        ChangeKind::Message => Operation::Publish,
        ChangeKind::Put => Operation::Put,
        ChangeKind::Delete | ChangeKind::Expire => Operation::Delete,
    }
}

/// What a PUBLISH is answered with.
fn answer_to(publish: &Publish<'_>) -> Then {
    match (publish.qos, publish.packet_id) {
        (QoS::AtLeastOnce, Some(packet)) => Then::Puback(packet),
        (QoS::ExactlyOnce, Some(packet)) => Then::Pubrec(packet),
        _ => Then::Nothing,
    }
}

/// Whether a topic is one that only the server speaks on.
pub(super) fn is_servers(topic: &str) -> bool {
    let first_level = || topic.split('/').next();
    topic.starts_with('$')
        && matches!(first_level(), Some("$SYS" | "$share" | "$get" | "$topics" | "$admin"))
        && !sys::is_bridge_state(topic)
}
