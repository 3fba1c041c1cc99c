//! One message to one client: with which QoS, in which form, and whether there is room.

use super::aliases::Written;
use super::connection::{Connection, ConnectionId, Phase};
use super::{Counters, Moment};
use crate::change::{Change, ChangeKind, Entry};
use crate::interest::Subscription;
use crate::mqtt::window::Delivery;
use crate::outbox::{OWN_PAYLOAD_BYTES, Outbox, SHARED_PAYLOAD_BYTES};
use crate::policy::{AttributeSet, View};
use crate::position::{Sequence, SessionId, TableId};
use crate::schema::Table;
use crate::tables::Tables;
use crate::validate::Format;
use bytes::Bytes;
use rowcast_codec::{
    Ack, EncodeError, Layout, Measured, Message, Packet, PacketId, PublishFrame, PublishProperties, QoS, ReasonCode,
    UserPropertiesBuf, Version,
};
use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::Arc;

/// By which replay a message comes.
#[derive(Clone, Copy)]
pub(super) struct Replayed {
    pub number: NonZeroU32,
    /// It may have been delivered already.
    pub in_doubt: bool,
}

/// A message on its way to subscribers.
#[derive(Clone, Copy)]
pub(super) struct Outgoing<'a> {
    /// The canonical topic.
    pub topic: &'a str,
    /// The same with the table's alias, for those who subscribed with it.
    pub alias: &'a str,
    pub payload: &'a [u8],
    /// In wire form, as they are passed on.
    pub properties: &'a [u8],
    /// What is sent, where the properties do not say it: of documents.
    pub content_type: Option<&'static str>,
    pub qos: QoS,
    /// A state counts as published with RETAIN=1, an event with 0.
    pub kind: ChangeKind,
    /// Whose record it is about, or whose channel it is on.
    pub table: TableId,
    /// Sent because somebody subscribed: RETAIN=1 whatever was asked for.
    pub is_snapshot: bool,
    /// A replay brings it.
    pub replay: Option<Replayed>,
    /// A group hands it out: no log brings it to this session again.
    pub is_shared: bool,
    /// It may be held back until its identifier is on disk, while others overtake it.
    pub is_held: bool,
    pub publisher: SessionId,
    /// Its place in the log; `None`: it stands in no log.
    pub sequence: Option<Sequence>,
    pub expires_ms: Option<u64>,
}

impl<'a> Outgoing<'a> {
    pub(super) fn of_entry(entry: &Entry<'a>, topic: &'a str, alias: &'a str) -> Outgoing<'a> {
        let sequence = Some(entry.sequence).filter(|&sequence| sequence > Sequence::ZERO);
        Self::of_change(&entry.change, topic, alias, sequence)
    }

    pub(super) fn of_change(
        change: &Change<'a>,
        topic: &'a str,
        alias: &'a str,
        sequence: Option<Sequence>,
    ) -> Outgoing<'a> {
        Outgoing {
            topic,
            alias,
            payload: change.payload,
            properties: change.properties,
            content_type: None,
            qos: change.qos,
            kind: change.kind,
            table: change.table,
            is_snapshot: false,
            replay: None,
            is_shared: false,
            is_held: false,
            publisher: change.publisher,
            sequence,
            expires_ms: change.expires_ms,
        }
    }

    /// Whether it lies in the part of the log that a subscription is about.
    fn is_for(&self, subscription: &Subscription) -> bool {
        match (self.sequence, self.replay) {
            (Some(at), Some(replay)) => {
                let is_past = subscription.past < at && at <= subscription.since;
                subscription.replay == Some(replay.number) && is_past
            }
            (Some(at), None) => self.is_snapshot || at > subscription.since,
            (None, _) => true,
        }
    }

    /// Whether a subscription brings it to who has published it. The record there is belongs to all.
    fn may_be_own(&self, subscription: &Subscription) -> bool {
        let was_not = !self.is_snapshot && self.sequence.is_some_and(|at| at <= subscription.own_since);
        !subscription.no_local && !was_not
    }

    /// Whether it may have been delivered already, where a session's walk along the log is `in_doubt` up to there.
    pub(super) fn is_in_doubt(&self, in_doubt: Sequence) -> bool {
        match self.replay {
            Some(replay) => replay.in_doubt,
            None => self.sequence.is_some_and(|at| at <= in_doubt),
        }
    }

    /// Whether the walk along the log counts it, even if it is not sent: its identifier is found there again.
    fn is_counted(&self) -> bool {
        self.sequence.is_some() && !self.is_shared && !self.is_snapshot
    }

    /// Its topic, as the subscriptions spell it.
    fn spelled(&self, selected: &Selected) -> &'a str {
        if selected.alias { self.alias } else { self.topic }
    }

    fn expiry_secs(&self, now: Moment) -> Option<u32> {
        let left_ms = self.expires_ms?.saturating_sub(now.wall_ms);
        Some(u32::try_from(left_ms.div_ceil(1000)).unwrap_or(u32::MAX))
    }

    pub(super) fn is_expired(&self, now: Moment) -> bool {
        self.expires_ms.is_some_and(|expires| expires <= now.wall_ms)
    }
}

/// One message in the forms its receivers need, each encoded once. Kept between messages for its allocations.
#[derive(Default)]
pub(super) struct Frames {
    /// More than one client may get it.
    many: bool,
    /// Whether it is a document, once somebody asked.
    is_document: Option<bool>,
    whole: Form,
    /// What it looks like to those who may see some of its attributes, or take it in another format.
    parts: Vec<Part>,
}

/// A document without what some may not see, or in another format.
struct Part {
    shown: Shown,
    payload: Vec<u8>,
    form: Form,
}

/// What all get who see the same of a message.
#[derive(Default)]
struct Form {
    encoded: Encoded,
    /// A large payload.
    shared: Option<Bytes>,
}

/// A message in each layout that somebody needed.
#[derive(Default)]
pub(super) struct Encoded {
    /// By [`Layout::index`], for the canonical spelling and the alias.
    frames: [Vec<PublishFrame>; 2],
    /// Which of them hold the current message.
    ready: u32,
}

impl Frames {
    /// The next message begins; `many`: more than one client may get it.
    pub(super) fn begin(&mut self, many: bool) {
        self.many = many;
        self.is_document = None;
        self.whole.shared = None;
        self.whole.encoded.ready = 0;
        self.parts.clear();
    }

    /// Where the current message is as it is stored, if more than one client may get it.
    pub(super) fn for_many(&mut self) -> Option<&mut Encoded> {
        self.many.then_some(&mut self.whole.encoded)
    }

    /// [`is_document`] of the current message.
    fn is_document(&mut self, tables: &Tables, message: &Outgoing<'_>) -> bool {
        *self.is_document.get_or_insert_with(|| is_document(tables, message))
    }

    /// The document as it is shown.
    fn part(&mut self, tables: &Tables, shown: Shown, message: &Outgoing<'_>) -> &mut Part {
        let place = self.parts.iter().position(|part| part.shown.is_same(&shown)).unwrap_or_else(|| {
            let payload = shown.payload(tables, message);
            self.parts.push(Part { shown, payload, form: Form::default() });
            self.parts.len() - 1
        });
        &mut self.parts[place]
    }
}

/// What a client is shown of a message.
struct Shown {
    /// `None`: all of its attributes, or it has none.
    attributes: Option<Arc<AttributeSet>>,
    /// `None`: it is no document, or nobody is told its format.
    format: Option<Format>,
}

impl Shown {
    fn of(
        (version, view): (Version, View<'_>),
        (message, selected): (&Outgoing<'_>, &Selected),
        is_document: impl FnOnce() -> bool,
    ) -> Shown {
        let attributes = match view {
            View::Only(attributes) if message.kind == ChangeKind::Put => Some(Arc::clone(attributes)),
            _ => None,
        };
        Shown { attributes, format: (version == Version::V5 && is_document()).then_some(selected.format) }
    }

    /// Whether it is shown as it is stored.
    fn is_whole(&self) -> bool {
        self.attributes.is_none() && self.format.unwrap_or_default() == Format::Json
    }

    /// Whether its payload is the same.
    fn is_same(&self, other: &Shown) -> bool {
        self.attributes.as_ref().map(Arc::as_ptr) == other.attributes.as_ref().map(Arc::as_ptr)
            && self.format.unwrap_or_default() == other.format.unwrap_or_default()
    }

    fn payload(&self, tables: &Tables, message: &Outgoing<'_>) -> Vec<u8> {
        let format = self.format.unwrap_or_default();
        in_form(tables, message.table, self.attributes.as_ref(), format, message.payload)
    }

    fn content_type(&self) -> Option<&'static str> {
        self.format.map(Format::content_type)
    }
}

/// A document as somebody may see it, in the format they take.
pub(super) fn in_form(
    tables: &Tables,
    table: TableId,
    shown: Option<&Arc<AttributeSet>>,
    format: Format,
    document: &[u8],
) -> Vec<u8> {
    let mut payload = Vec::with_capacity(document.len());
    match shown {
        Some(shown) => shown.project(document, &mut payload),
        None => payload.extend_from_slice(document),
    }
    let encoded = tables.get(table).filter(|_| format != Format::Json).and_then(|table| format.encode(table, &payload));
    match encoded {
        Some(Cow::Owned(encoded)) => encoded,
        _ => payload,
    }
}

/// Whether the records of a table are documents.
pub(super) fn is_typed(tables: &Tables, table: TableId) -> bool {
    tables.get(table).is_some_and(Table::is_typed)
}

/// Whether a message is a document of a table with attributes, which is JSON as it is stored and has no other content
/// type.
fn is_document(tables: &Tables, message: &Outgoing<'_>) -> bool {
    let named =
        || PublishProperties::parse_forwarded(message.properties).is_ok_and(|found| found.content_type.is_some());
    message.kind == ChangeKind::Put && is_typed(tables, message.table) && (message.properties.is_empty() || !named())
}

/// How a message goes to a client, all its matching subscriptions taken together (MQTT 5 §3.3.4).
#[derive(Clone, Default)]
pub(super) struct Selected {
    pub qos: Option<QoS>,
    pub retain: bool,
    pub alias: bool,
    pub meta: bool,
    pub format: Format,
    pub conflate: bool,
    /// Rights may not reach to it.
    pub guarded: bool,
    pub identifiers: Vec<u32>,
}

impl Selected {
    /// Takes those of one client's matching subscriptions together that want this message.
    #[inline]
    pub(super) fn by(subscriptions: &[Subscription], message: &Outgoing<'_>, session: SessionId) -> Selected {
        let mut selected = Selected::default();
        for subscription in subscriptions {
            let own = message.publisher == session && !message.may_be_own(subscription); // [MQTT-3.8.3-3]
            if own || !message.is_for(subscription) {
                continue;
            }
            let qos = message.qos.min(subscription.qos);
            selected.qos = Some(selected.qos.map_or(qos, |highest| highest.max(qos)));
            selected.retain |= message.kind.is_state() && subscription.retain_as_published;
            selected.alias |= subscription.alias; // Who has a filter with a wildcard as well takes either.
            selected.meta |= subscription.meta;
            selected.format = selected.format.max(subscription.format); // Who asked for JSON elsewhere takes either.
            selected.conflate |= subscription.conflate;
            selected.guarded |= subscription.guarded;
            selected.identifiers.extend(subscription.identifier.map(|identifier| identifier.get()));
        }
        selected.retain |= message.is_snapshot;
        selected
    }
}

impl Selected {
    /// Whether others with the same layout get the same bytes.
    pub(super) fn is_plain(&self) -> bool {
        self.identifiers.is_empty() && !self.meta
    }
}

/// What became of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Delivered {
    /// It is in the outbox, or not meant for this client.
    Done,
    /// No room for it now.
    NoRoom,
    /// It will never fit this client: dropped, counts as delivered [MQTT-3.1.2-25].
    TooLarge,
}

/// Puts a message into a client's outbox. `delivery`: what to remember of it, if its QoS is 1 or 2.
#[inline]
pub(super) fn deliver(
    connection: &mut Connection,
    (frames, tables): (&mut Frames, &Tables),
    counters: &mut Counters,
    (message, selected): (&Outgoing<'_>, &Selected),
    delivery: impl FnOnce(QoS) -> Delivery,
    outbound_bytes: usize,
    now: Moment,
) -> Delivered {
    let Some(qos) = selected.qos else { return Delivered::Done };
    if connection.phase != Phase::Open {
        return Delivered::NoRoom;
    }
    let Some(session) = &mut connection.session else { return Delivered::NoRoom };
    if qos != QoS::AtMostOnce && (!session.window.has_room() || connection.held.is_some()) {
        return Delivered::NoRoom;
    }
    let view = if selected.guarded { connection.rights.view(message.table, message.topic) } else { View::Whole };
    if message.is_expired(now) || view == View::Nothing {
        leave_out(connection, message, qos, delivery); // [MQTT-3.3.2-5]
        return Delivered::Done;
    }
    let how = (selected, qos, outbound_bytes, now);
    let many = frames.many;
    let who = (connection.version, view);
    let shown = Shown::of(who, (message, selected), || frames.is_document(tables, message));
    if shown.is_whole() && shown.format.is_none() {
        return put(connection, (&mut frames.whole, many), counters, message, how, delivery);
    }
    let mut part = Outgoing { content_type: shown.content_type(), ..*message };
    if shown.is_whole() {
        return put(connection, (&mut frames.whole, many), counters, &part, how, delivery);
    }
    let Part { payload, form, .. } = frames.part(tables, shown, message);
    part.payload = payload;
    put(connection, (form, many), counters, &part, how, delivery)
}

/// [`deliver`], once it is clear that the client gets it, and how it looks to the client.
fn put(
    connection: &mut Connection,
    (form, many): (&mut Form, bool),
    counters: &mut Counters,
    message: &Outgoing<'_>,
    (selected, qos, outbound_bytes, now): (&Selected, QoS, usize, Moment),
    delivery: impl FnOnce(QoS) -> Delivery,
) -> Delivered {
    let backlog = connection.backlog();
    let Some(session) = &mut connection.session else { return Delivered::NoRoom };
    let layout = Layout { version: connection.version, qos, retain: selected.retain };
    let packet_max = connection.packet_max as usize;
    let topic = message.spelled(selected);
    let mut how = None;
    let (meta, wire, aliased);
    let is_plain = selected.is_plain() || connection.version != Version::V5;
    let packet = if many && is_plain && connection.own_aliases.is_none() {
        Packed::Copied(form.encoded.frame(layout, selected.alias, || wire_form(message, selected, None, now)))
    } else {
        meta = selected.meta.then(|| with_meta(message));
        wire = wire_form(message, selected, meta.as_deref(), now);
        let written = connection.own_aliases.as_deref().and_then(|aliases| aliases.written(topic));
        // What may be overtaken, or is one of many, introduces no alias.
        let stays_full = message.is_snapshot || message.is_held;
        let written = written.filter(|written| !(stays_full && matches!(written, Written::Introduced(_))));
        aliased = written.map(|written| written.spell(wire));
        let shorter = aliased.as_ref().map(|aliased| Measured::new(layout, aliased, &selected.identifiers));
        let shorter = shorter.filter(|measured| measured.packet_bytes() <= packet_max);
        how = written.filter(|_| shorter.is_some());
        Packed::Own(shorter.unwrap_or_else(|| Measured::new(layout, &wire, &selected.identifiers)))
    };
    let packet_bytes = packet.bytes();
    if packet_bytes > packet_max {
        leave_out(connection, message, qos, delivery);
        counters.dropped += 1;
        connection.dropped += 1;
        return Delivered::TooLarge;
    }
    if backlog > 0 && backlog + packet_bytes > outbound_bytes {
        connection.crowded = true;
        return Delivered::NoRoom; // One that is larger than the bound itself goes out alone.
    }
    let mut id = None;
    if qos != QoS::AtMostOnce {
        id = session.window.take(Delivery { alias: selected.alias, retain: selected.retain, ..delivery(qos) });
        session.dirty = true;
        if let Some(id) = id.filter(|&id| session.window.is_released(id)) {
            // PUBREC came before a restart: the handshake goes on where it was.
            send_pubrel(&mut connection.outbox, connection.version, counters, id);
            return Delivered::Done;
        }
    }
    let is_first = message.is_snapshot || message.is_shared;
    let dup = id.is_some() && !is_first && message.is_in_doubt(session.in_doubt);
    counters.count_delivery(message.payload);
    // Each record of a state comes once; and what is held back must not say what those that overtake it mean.
    if let (Some(aliases), false) = (&mut connection.own_aliases, message.is_snapshot || message.is_held) {
        aliases.on_sent(topic, how);
    }
    packet.append(&mut connection.outbox, (message.payload, many), &mut form.shared, id, dup);
    Delivered::Done
}

/// The client is not sent a message that is for it. One of the log's is counted all the same, so that those behind it keep
/// their identifiers, even if rights change between now and a crash.
fn leave_out(connection: &mut Connection, message: &Outgoing<'_>, qos: QoS, delivery: impl FnOnce(QoS) -> Delivery) {
    let Some(session) = connection.session.as_mut().filter(|_| qos > QoS::AtMostOnce && message.is_counted()) else {
        return;
    };
    if qos < QoS::ExactlyOnce || !message.is_in_doubt(session.in_doubt) {
        return session.window.skip();
    }
    // It was sent, perhaps, before the node ended: then the client waits for a PUBREL.
    session.redeliver.extend(session.window.withhold(delivery(qos)));
}

/// A handshake goes on whose PUBREC was not answered, or did not come.
pub(super) fn send_pubrel(outbox: &mut Outbox, version: Version, counters: &mut Counters, id: PacketId) {
    let pubrel = Packet::Pubrel(Ack::new(id, ReasonCode::Success));
    outbox.append(|out| assert_fits(pubrel.encode(version, out)));
    counters.packets_out += 1;
}

/// What goes on the wire.
fn wire_form<'m>(message: &Outgoing<'m>, selected: &Selected, meta: Option<&'m [u8]>, now: Moment) -> Message<'m> {
    Message {
        topic: message.spelled(selected),
        topic_alias: None,
        payload: message.payload,
        properties: meta.unwrap_or(message.properties),
        content_type: message.content_type,
        expiry_secs: message.expiry_secs(now),
    }
}

/// A packet on its way to a client.
pub(super) enum Packed<'p> {
    /// Others get the same bytes.
    Copied(&'p PublishFrame),
    /// It is encoded where it goes.
    Own(Measured<'p>),
}

impl Packed<'_> {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Packed::Copied(frame) => frame.packet_bytes(),
            Packed::Own(measured) => measured.packet_bytes(),
        }
    }

    /// Writes all that is copied: of a large payload that was left out of its frame, all but that.
    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>, id: Option<PacketId>, dup: bool) {
        match self {
            Packed::Copied(frame) => frame.copy_to(out, id, dup),
            Packed::Own(measured) => measured.encode(out, id, dup),
        }
    }

    /// `many`: more than one client may get the payload; `shared`: it, once for all of them, if it is large.
    fn append(
        &self,
        outbox: &mut Outbox,
        (payload, many): (&[u8], bool),
        shared: &mut Option<Bytes>,
        id: Option<PacketId>,
        dup: bool,
    ) {
        let is_large = is_large(payload, many);
        outbox.append(|out| match self {
            Packed::Own(measured) if is_large => measured.encode_head(out, id, dup),
            packet => packet.write(out, id, dup),
        });
        if is_large {
            let payload = shared.get_or_insert_with(|| Bytes::copy_from_slice(payload));
            outbox.append_shared(payload.clone());
        }
    }
}

/// Whether a payload, for `many` or for one, goes out beside its packet.
fn is_large(payload: &[u8], many: bool) -> bool {
    payload.len() >= if many { SHARED_PAYLOAD_BYTES } else { OWN_PAYLOAD_BYTES }
}

/// The properties of a message behind what happened and which version it made, if it stands in the log. These come
/// first, so that no publisher's properties of the same name are taken for them.
fn with_meta(message: &Outgoing<'_>) -> Vec<u8> {
    let operation = match message.kind {
        ChangeKind::Put => "put",
        ChangeKind::Delete => "delete",
        ChangeKind::Expire => "expire",
        ChangeKind::Message => "event",
    };
    let version = message.sequence.map(|sequence| sequence.0.to_string());
    let mut user_properties = UserPropertiesBuf::new();
    let pushed = user_properties.push("rowcast-op", operation).and_then(|()| match &version {
        Some(version) => user_properties.push("rowcast-version", version),
        None => Ok(()),
    });
    let meta = PublishProperties { user_properties: user_properties.as_ref(), ..PublishProperties::default() };
    let mut properties = Vec::new();
    let encoded = pushed.and_then(|()| meta.forwarded(&mut properties));
    debug_assert!(encoded.is_ok(), "short and plain");
    properties.extend_from_slice(message.properties);
    properties
}

impl Encoded {
    /// The frame in this layout, with the topic in this spelling; `wire`: what is in it.
    pub(super) fn frame<'m>(
        &mut self,
        layout: Layout,
        alias: bool,
        wire: impl FnOnce() -> Message<'m>,
    ) -> &PublishFrame {
        let index = layout.index();
        let bit = 1 << (index + if alias { Layout::COUNT } else { 0 });
        let frames = &mut self.frames[usize::from(alias)];
        if frames.is_empty() {
            frames.resize_with(Layout::COUNT, PublishFrame::default);
        }
        let frame = &mut frames[index];
        if self.ready & bit == 0 {
            self.ready |= bit;
            let wire = wire();
            let measured = Measured::new(layout, &wire, &[]);
            if is_large(wire.payload, true) {
                frame.encode_head(&measured);
            } else {
                frame.encode(&measured);
            }
        }
        frame
    }
}

/// Sends a delivery of an earlier connection again, under its identifier, whatever its expiry says by now
/// [MQTT-4.3.3-7].
pub(super) fn redeliver(
    connection: &mut Connection,
    tables: &Tables,
    (message, selected): (&Outgoing<'_>, &Selected),
    (id, qos): (PacketId, QoS),
    outbound_bytes: usize,
    now: Moment,
) -> Delivered {
    // Whatever subscription it came by: that may be gone.
    let view = connection.rights.view(message.table, message.topic);
    let shown = Shown::of((connection.version, view), (message, selected), || is_document(tables, message));
    let mut part = Outgoing { content_type: shown.content_type(), ..*message };
    let payload;
    if !shown.is_whole() {
        payload = shown.payload(tables, message);
        part.payload = &payload;
    }
    let message = &part;
    let layout = Layout { version: connection.version, qos, retain: selected.retain };
    let meta = selected.meta.then(|| with_meta(message));
    let wire = wire_form(message, selected, meta.as_deref(), now);
    let packet = Packed::Own(Measured::new(layout, &wire, &selected.identifiers));
    if packet.bytes() > connection.packet_max as usize {
        return Delivered::TooLarge;
    }
    let backlog = connection.backlog();
    if backlog > 0 && backlog + packet.bytes() > outbound_bytes {
        connection.crowded = true;
        return Delivered::NoRoom;
    }
    packet.append(&mut connection.outbox, (message.payload, false), &mut None, Some(id), true);
    Delivered::Done
}

/// The subscriptions of one client among all that match a topic.
pub(super) fn of_one(matches: &[Subscription], id: ConnectionId) -> &[Subscription] {
    let start = matches.partition_point(|subscription| subscription.subscriber.0 < id.slot);
    let end = matches[start..].partition_point(|subscription| subscription.subscriber.0 == id.slot);
    &matches[start..start + end]
}

/// An acknowledgement without properties always fits the wire.
fn assert_fits(encoded: Result<(), EncodeError>) {
    debug_assert!(encoded.is_ok(), "an acknowledgement fits the wire");
}
