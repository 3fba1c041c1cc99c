//! One core's state machine: its connections, their sessions and subscriptions.
//!
//! Nothing here touches a socket, a disk or a clock. The runtime tells the shard what happened ([`Shard::receive`],
//! [`Input`], [`Shard::tick`]) and carries out what it asks for ([`Effect`],
//! [`Shard::take_proposals`], [`Shard::take_events`], [`Shard::outbox`]). `shards = 1` is the same program.
//!
//! A PUBLISH comes in in `publish`, becomes a proposal, comes back committed in `fanout` and leaves through `deliver`.

mod acks;
mod aliases;
mod asks;
mod authenticate;
mod catchup;
mod chores;
mod claims;
mod conflate;
mod connect;
mod connection;
mod counters;
mod decide;
mod deliver;
mod doubt;
mod durable;
mod effect;
mod end;
mod fanout;
mod get;
mod grant;
mod groups;
mod handshakes;
mod input;
mod key_set;
mod lag;
mod lost;
mod plain;
mod publish;
mod rate;
mod redeliver;
mod remains;
mod replay;
mod restore;
mod resume;
mod rights;
mod share;
mod snapshot;
mod storing;
mod subscribe;
mod waiting_wills;
mod wills;

pub use authenticate::{Progress, Round};
pub use connection::{ConnectionId, Peer};
pub use counters::{Counters, Gauges};
pub use effect::{Arrival, Effect, Report, Wanted};
pub use groups::GroupId;
pub use input::{Claimant, Fetched, Input, Previous, Reader, ScannedRecord, StoredRows};
pub use lag::Lag;
pub use restore::Found;

use crate::interest::Interest;
use crate::limits::Limits;
use crate::mqtt::group::ShareMail;
use crate::mqtt::session::Session;
use crate::names::NameMap;
use crate::outbox::{Outbox, Spare};
use crate::places::Places;
use crate::policy::Policy;
use crate::position::{Sequence, SessionId};
use crate::proposal::{Proposals, Token};
use crate::reach::Reach;
use crate::session_quota::SessionQuota;
use crate::tables::Tables;
use crate::validate::Validator;
use acks::SpareAcks;
use bytes::Bytes;
use chores::Chores;
use connection::{Connection, Joining, Opening, Overdue, Phase};
use deliver::Frames;
use durable::DurableInterest;
use end::Leaving;
use groups::Groups;
use key_set::KeySet;
use remains::Remains;
use rowcast_codec::{DecodeError, Disconnect, Framed, Packet, ReasonCode, Suback};
use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;
use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use waiting_wills::WaitingWills;

/// The time and the state of the log, as the runtime sees them when it calls.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Milliseconds on a clock that never goes back.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970.
    pub wall_ms: u64,
    /// The last committed sequence of the node.
    pub committed: Sequence,
    /// Whether something was proposed on the node that is not decided yet.
    pub undecided: bool,
}

/// What a shard is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which of the node's shards it is.
    pub index: u32,
    /// How many there are.
    pub shards: u32,
    /// Every bound.
    pub limits: Limits,
    /// Whether topics that name no table can be used.
    pub open_topics: bool,
    /// Whether a refused publish of an MQTT 3 client closes its connection.
    pub close_on_rejected: bool,
    /// Drawn at start, differs between shards and starts: session numbers are derived from it.
    pub seed: u64,
    /// What the node's shards see of each other's filters.
    pub reach: Arc<Reach>,
    /// The node's sessions.
    pub session_quota: Arc<SessionQuota>,
    /// How many CONNECTs have come to the node.
    pub arrivals: Arc<AtomicU64>,
    /// [`FILTERS_AT_ONCE`](crate::limits::FILTERS_AT_ONCE); fewer in tests, to see what happens in between.
    pub filters_at_once: usize,
    /// [`LARGE_DOCUMENT_BYTES`](crate::limits::LARGE_DOCUMENT_BYTES); fewer in tests, likewise.
    pub large_document_bytes: usize,
}

/// What a connection's task is to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// Whether packets can be handled; else leave them in the socket.
    pub reads: bool,
    /// Whether to close once the outbox is written.
    pub closes: bool,
    /// Whether the client sent DISCONNECT, behind which nothing is sent by anyone (MQTT 5 §3.14.4).
    pub goodbye: bool,
}

/// One core's share of the broker.
pub struct Shard {
    settings: Settings,
    tables: Arc<Tables>,
    policy: Arc<Policy>,
    connections: Slab<Connection>,
    interest: Interest,
    durable: DurableInterest,
    /// Client identifiers of the node that a will is stored of.
    wills: KeySet,
    /// Those shared subscriptions that this shard owns.
    groups: Groups,
    /// What is to be said of shared subscriptions, by shard.
    share_mail: Vec<Vec<ShareMail>>,
    validator: Validator,
    places: Places,
    /// Everything committed up to here was shown to this shard's subscribers.
    seen: Sequence,
    proposals: Proposals,
    /// Messages that stand in no log, for each other shard.
    events: Vec<Vec<u8>>,
    effects: Vec<Effect>,
    counters: Counters,
    /// Memberships of all connections.
    memberships: usize,
    /// Connected clients whose sessions outlive their connections.
    lasting: usize,
    frames: Frames,
    /// Buffers for outboxes.
    spare: Rc<Spare>,
    /// The largest [`Limits::packet_bytes`] there has been: packets may be under way that were within it.
    packet_bytes_ever: u32,
    /// Sessions whose connection is gone and whose last stored form is not on disk yet.
    leaving: FxHashMap<Token, Leaving>,
    chores: Chores,
    /// Filters that clients left behind.
    remains: Remains,
    /// Sessions that are to be on disk before they have another delivery, once the whole batch was looked at.
    to_store: FxHashSet<ConnectionId>,
    /// Rows of subscriptions on their way to the log: the subscription begins where its row stands.
    joining: NameMap<Box<[u8]>, (ConnectionId, Joining)>,
    /// Connections that were closed before their claim was answered.
    abandoned: FxHashMap<ConnectionId, Box<Opening>>,
    /// Wills that wait to be published.
    waiting_wills: WaitingWills,
    tokens: u64,
    numbers: u64,
    generation: u32,
    scratch: Scratch,
    spare_acks: SpareAcks,
}

/// Buffers that keep their allocation between packets.
#[derive(Default)]
struct Scratch {
    topic: String,
    alias: String,
    properties: Vec<u8>,
}

/// Answers of one connection that wait for the disk; beyond it, its socket is not read.
const PENDING_ACKS_MAX: usize = 65_535;
/// Milliseconds between looks at keep-alives, delayed wills and sessions to be stored.
const TICK_MS: u64 = 250;

impl Shard {
    /// A shard without connections. `seen` is the last committed sequence.
    #[must_use]
    pub fn new(settings: Settings, tables: Arc<Tables>, policy: Arc<Policy>, seen: Sequence) -> Shard {
        let packet_bytes_ever = settings.limits.packet_bytes;
        let (durable, wills) = (DurableInterest::new(settings.seed), KeySet::new(settings.seed));
        let share_mail = (0..settings.shards.max(1)).map(|_| Vec::new()).collect();
        let events = vec![Vec::new(); settings.shards as usize];
        let interest = || Interest::told_to(settings.reach.own(settings.index));
        let (groups, interest) = (Groups::new(interest()), interest());
        Shard {
            settings,
            tables,
            policy,
            connections: Slab::new(),
            interest,
            durable,
            wills,
            groups,
            share_mail,
            validator: Validator::default(),
            seen,
            places: Places::default(),
            proposals: Proposals::default(),
            events,
            effects: Vec::new(),
            counters: Counters::default(),
            memberships: 0,
            lasting: 0,
            frames: Frames::default(),
            spare: Rc::default(),
            packet_bytes_ever,
            leaving: FxHashMap::default(),
            chores: Chores::default(),
            remains: Remains::default(),
            to_store: FxHashSet::default(),
            joining: NameMap::default(),
            abandoned: FxHashMap::default(),
            waiting_wills: WaitingWills::default(),
            tokens: 0,
            numbers: 0,
            generation: 0,
            scratch: Scratch::default(),
            spare_acks: SpareAcks::default(),
        }
    }

    /// A connection was accepted.
    pub fn accept(&mut self, peer: Peer, now: Moment) -> ConnectionId {
        self.generation = self.generation.wrapping_add(1);
        let timeout = self.settings.limits.connect_timeout_ms;
        let outbox = Outbox::new(&self.spare);
        let connection = Connection::new(self.generation, peer, outbox, now.monotonic_ms, timeout);
        let slot = self.connections.insert(connection) as u32;
        ConnectionId { slot, generation: self.generation }
    }

    /// Bytes came. Handles whole packets and says how many bytes they were; the rest is offered again, with more.
    /// Handles fewer than there are while the connection must wait, as [`Shard::state`] says.
    pub fn receive(&mut self, id: ConnectionId, bytes: &[u8], now: Moment) -> usize {
        let Limits { outbound_bytes, connect_packet_bytes, .. } = self.settings.limits;
        let mut consumed = 0;
        let mut topic = "";
        loop {
            let Some(connection) = self.connection_mut(id) else { return bytes.len() };
            if connection.phase == Phase::Closing {
                return bytes.len(); // Nothing behind the end is looked at.
            }
            if !connection.takes_packets(PENDING_ACKS_MAX, outbound_bytes) {
                return consumed;
            }
            let version = connection.version;
            let before_connect = matches!(connection.phase, Phase::Waiting { .. });
            let limit = match connection.phase {
                Phase::Waiting { .. } | Phase::Authenticating => connect_packet_bytes,
                _ => connection.agreed.packet_bytes,
            };
            let rest = &bytes[consumed..];
            let fault = match Framed::load(rest, limit) {
                Ok(Some(framed)) => {
                    let length = framed.packet_bytes();
                    connection.heard_ms = now.monotonic_ms;
                    connection.heard_of_packet = 0;
                    consumed += length;
                    self.counters.packets_in += 1;
                    self.counters.bytes_in += length as u64;
                    match &framed.decode(version, topic) {
                        Ok(Packet::Publish(_)) if self.is_too_fast(id, now) => {
                            self.close(id, ReasonCode::MessageRateTooHigh, "publishes come too fast", now);
                            continue;
                        }
                        Ok(packet) => {
                            self.on_packet(id, packet, now);
                            if let Packet::Publish(publish) = packet {
                                topic = publish.topic;
                                self.count_publish(id, length, now);
                            }
                            continue;
                        }
                        &Err(fault) => fault,
                    }
                }
                Ok(None) if before_connect && rest.first().is_some_and(|first| first >> 4 != 1) => {
                    // Whatever this is, no more of it is waited for [MQTT-3.1.0-1].
                    self.close_silently(id, None, "the first packet is not CONNECT", now);
                    return bytes.len();
                }
                Ok(None) => {
                    connection.hear_part(rest.len(), now);
                    return consumed;
                }
                Err(fault) => fault,
            };
            if before_connect {
                self.on_connect_fault(id, rest, &fault, now);
            } else {
                self.on_fault(id, &fault, now);
            }
            return bytes.len();
        }
    }

    /// The socket was closed by the other side, or failed.
    pub fn disconnected(&mut self, id: ConnectionId, now: Moment) {
        if self.connection_mut(id).is_some() {
            self.end(id, end::Cause::Lost, (None, "the connection was lost"), now);
            self.vacate(id);
        }
    }

    /// The socket took so many bytes of [`Shard::outbox`]. Whether something waited for that: then [`Shard::go_on`].
    #[must_use]
    pub fn written(&mut self, id: ConnectionId, bytes: usize) -> bool {
        self.counters.bytes_out += bytes as u64;
        let Some(connection) = self.connection_mut(id) else { return false };
        connection.crowded = false;
        connection.stalled || self.is_owed(id)
    }

    /// Goes on with what waited until the socket took something.
    pub fn go_on(&mut self, id: ConnectionId, now: Moment) {
        self.pump(id, now);
        let outbound_bytes = self.settings.limits.outbound_bytes as usize;
        let Some(connection) = self.connection_mut(id) else { return };
        if connection.stalled && connection.outbox.len() <= outbound_bytes {
            connection.stalled = false;
            self.wake(id); // Its packets are handled again.
        }
    }

    /// Something happened elsewhere.
    pub fn input(&mut self, input: Input, now: Moment) {
        match input {
            Input::Authenticated { connection, result } => self.on_authenticated(connection, result, now),
            Input::Exchanged { connection, result } => self.on_exchanged(connection, result, now),
            Input::Claimed { connection, previous } => self.on_claimed(connection, previous, now),
            Input::Evict { connection, claimant } => self.on_evict(connection, claimant, now),
            Input::Dismiss(connection) => self.on_dismissed(connection, now),
            Input::Expired(connection) => self.on_expired(connection, now),
            Input::Committed { batch, completions } => {
                if let Some(batch) = batch {
                    self.on_batch(&batch, now);
                }
                for completion in completions {
                    self.on_completion(completion, now);
                }
            }
            Input::Events(bytes) => self.on_events(&bytes, now),
            Input::LogRead { reader: Reader::Connection(id), batches, lost_until } => {
                self.on_log_read(id, &batches, lost_until, now);
            }
            Input::LogRead { reader: Reader::Group(id), batches, lost_until } => {
                self.on_group_log_read(id, &batches, lost_until);
            }
            Input::RecordsRead { connection, records, complete } => {
                self.on_records_read(connection, records, complete, now);
            }
            Input::Fetched { reader: Reader::Connection(id), messages } => self.on_fetched(id, messages, now),
            Input::Fetched { reader: Reader::Group(id), messages } => self.on_group_fetched(id, messages),
            Input::Prepared { connection, decision } => self.on_prepared(connection, decision, now),
            Input::Located { connection, located } => self.on_located(connection, &located, now),
            Input::Got { connection, record } => self.on_got(connection, record, now),
            Input::Share(mail) => self.on_share(mail, now),
            Input::Lag(lag) => self.on_lag(&lag),
            Input::WillLoaded { client_id, number, row } => {
                self.on_will_loaded(&client_id, number, row.as_deref(), now)
            }
            Input::Purge { client_id, rows } => self.on_purge(&client_id, rows),
            Input::Tables(tables) => self.on_tables(tables, now),
            Input::Policy(policy) => self.on_policy(policy, now),
            Input::Configured { limits, open_topics, close_on_rejected } => {
                self.settings.open_topics = open_topics;
                self.settings.close_on_rejected = close_on_rejected;
                self.on_limits(*limits, now);
            }
            Input::Remains => self.on_remains(),
            Input::Resume(connection) => self.on_resume(connection, now),
            Input::Shutdown => self.on_shutdown(now),
        }
    }

    /// Time went by.
    pub fn tick(&mut self, now: Moment) {
        let late: Vec<(ConnectionId, Overdue)> = self
            .connections
            .iter()
            .filter_map(|(slot, connection)| Some((id_of(slot, connection), connection.overdue(now.monotonic_ms)?)))
            .collect();
        for (id, overdue) in late {
            match overdue {
                Overdue::Connect => self.close_silently(id, None, "no CONNECT in time", now),
                Overdue::FirstAuth => self.close_silently(id, None, "no AUTH in time", now),
                Overdue::Auth => self.close(id, ReasonCode::NotAuthorized, "no AUTH in time", now),
                Overdue::Packet => {
                    self.close(id, ReasonCode::KeepAliveTimeout, "nothing heard within the keep alive", now);
                }
            }
        }
        self.resume_rated(now);
        self.resume_chores();
        self.load_due_wills(now);
        self.end_lags();
        self.end_group_lags();
        self.store_full_sessions(now);
        self.store_dirty_sessions();
        self.store_dirty_groups();
    }

    fn on_limits(&mut self, limits: Limits, now: Moment) {
        self.packet_bytes_ever = self.packet_bytes_ever.max(limits.packet_bytes);
        let mut resumed = Vec::new();
        for (slot, connection) in &mut self.connections {
            if let Some(rate) = &mut connection.rate {
                rate.set(limits.publishes_per_sec, limits.publish_bytes_per_sec, now);
            }
            let stalls = connection.outbox.len() > limits.outbound_bytes as usize;
            if std::mem::replace(&mut connection.stalled, stalls) && !stalls {
                resumed.push(id_of(slot, connection));
            }
        }
        self.settings.limits = limits;
        for id in resumed {
            self.wake(id);
        }
    }

    /// When [`Shard::tick`] wants to be called at the latest (monotonic milliseconds).
    #[must_use]
    pub fn next_tick_ms(&self, now: Moment) -> u64 {
        now.monotonic_ms + TICK_MS
    }

    /// What is to be done, in order.
    pub fn take_effects(&mut self, into: &mut Vec<Effect>) {
        // First: whoever is handed a session may say something of it as well.
        for (shard, mail) in self.share_mail.iter_mut().enumerate().filter(|(_, mail)| !mail.is_empty()) {
            into.push(Effect::Share { shard: shard as u32, mail: std::mem::take(mail) });
        }
        into.append(&mut self.effects);
    }

    /// What is to be handed to the writer.
    pub fn take_proposals(&mut self) -> Option<Proposals> {
        if self.proposals.is_empty() {
            return None;
        }
        let next = self.proposals.next();
        Some(std::mem::replace(&mut self.proposals, next))
    }

    /// Whether there are proposals or events to be taken.
    #[must_use]
    pub fn has_handover(&self) -> bool {
        !self.proposals.is_empty() || self.events.iter().any(|events| !events.is_empty())
    }

    /// Ends a connection that cannot be served: what it is owed cannot be read.
    pub fn abort(&mut self, id: ConnectionId, now: Moment) {
        self.close(id, ReasonCode::UnspecifiedError, "what the client is owed cannot be read", now);
    }

    /// Messages for other shards: [`Input::Events`].
    pub fn take_events(&mut self) -> impl Iterator<Item = (u32, Bytes)> {
        let waiting = self.events.iter_mut().enumerate().filter(|(_, events)| !events.is_empty());
        waiting.map(|(shard, events)| (shard as u32, Bytes::from(std::mem::take(events))))
    }

    /// Bytes of messages that wait for [`Shard::take_events`]; beyond [`TURN_EVENT_BYTES_MAX`], sockets are left alone
    /// until it was called.
    ///
    /// [`TURN_EVENT_BYTES_MAX`]: crate::limits::TURN_EVENT_BYTES_MAX
    #[must_use]
    pub fn event_bytes(&self) -> usize {
        self.events.iter().map(Vec::len).sum()
    }

    /// What is to be written to a connection's socket. `None`: there is no such connection any more.
    pub fn outbox(&mut self, id: ConnectionId) -> Option<&mut Outbox> {
        let connection = self.connection_mut(id)?;
        connection.woken = false;
        Some(&mut connection.outbox)
    }

    /// What a connection's task is to do next. `None`: there is no such connection any more.
    #[must_use]
    pub fn state(&self, id: ConnectionId) -> Option<State> {
        let connection = self.connection(id)?;
        Some(State {
            reads: connection.takes_packets(PENDING_ACKS_MAX, self.settings.limits.outbound_bytes),
            closes: connection.phase == Phase::Closing && !connection.parting,
            goodbye: connection.goodbye,
        })
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len() - self.remains.vacated()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What there is now.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        Gauges {
            subscriptions: self.interest.len() as u64,
            shared_subscriptions: self.memberships as u64,
            lasting: self.lasting as u64,
            sessions: self.settings.session_quota.len() as u64,
        }
    }

    /// Whether sessions that are gone still wait to be on disk.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.leaving.is_empty() && self.proposals.is_empty()
    }

    fn on_packet(&mut self, id: ConnectionId, packet: &Packet<'_>, now: Moment) {
        let properties_max = self.settings.limits.user_properties as usize;
        let Some(connection) = self.connection_mut(id) else { return };
        if packet.user_property_count() > properties_max {
            let words = format!("a packet has at most {properties_max} user properties");
            return match packet {
                Packet::Connect(connect) if matches!(connection.phase, Phase::Waiting { .. }) => {
                    connection.version = connect.version;
                    self.refuse_connect(id, ReasonCode::PacketTooLarge, &words, now);
                }
                _ => self.close(id, ReasonCode::PacketTooLarge, &words, now),
            };
        }
        if matches!(connection.phase, Phase::Waiting { .. }) {
            match packet {
                Packet::Connect(connect) => self.on_connect(id, connect, now),
                _ => self.close_silently(id, None, "the first packet is not CONNECT", now), // [MQTT-3.1.0-1]
            }
            return;
        }
        if connection.phase == Phase::Authenticating {
            return self.on_packet_before_connack(id, packet, now);
        }
        match packet {
            Packet::Publish(publish) => self.on_publish(id, publish, now),
            Packet::Puback(ack) => self.on_puback(id, ack, now),
            Packet::Pubrec(ack) => self.on_pubrec(id, ack, now),
            Packet::Pubrel(ack) => self.on_pubrel(id, ack, now),
            Packet::Pubcomp(ack) => self.on_pubcomp(id, ack, now),
            Packet::Subscribe(subscribe) => self.on_subscribe(id, subscribe, now),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(id, unsubscribe, now),
            Packet::Pingreq => drop(self.send(id, &Packet::Pingresp, now)),
            Packet::Disconnect(disconnect) => self.on_disconnect(id, disconnect, now),
            Packet::Connect(_) => self.close(id, ReasonCode::ProtocolError, "a second CONNECT", now), // [MQTT-3.1.0-2]
            Packet::Auth(auth) => self.on_auth(id, auth, now),
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                self.close(id, ReasonCode::ProtocolError, "a packet that only servers send", now);
            }
        }
    }

    fn on_fault(&mut self, id: ConnectionId, fault: &DecodeError, now: Moment) {
        let Some(connection) = self.connection(id) else { return };
        match connection.phase {
            Phase::Authenticating => {
                // CONNACK has no code for what comes too early.
                let reason = Some(fault.reason()).filter(|reason| *reason != ReasonCode::TopicAliasInvalid);
                self.refuse_connect(id, reason.unwrap_or(ReasonCode::ProtocolError), &fault.to_string(), now);
            }
            _ => {
                // DISCONNECT has none for a second CONNECT that is odd besides [MQTT-3.14.2-1].
                let reason = Some(fault.reason()).filter(|reason| *reason != ReasonCode::UnsupportedProtocolVersion);
                self.close(id, reason.unwrap_or(ReasonCode::ProtocolError), &fault.to_string(), now); // [MQTT-4.13.1-1]
            }
        }
    }

    /// Ends a connection for the client's fault or the server's reasons: the session stays as its expiry says, the
    /// will is published.
    fn close(&mut self, id: ConnectionId, reason: ReasonCode, words: &str, now: Moment) {
        let Some(connection) = self.connection_mut(id) else { return };
        if connection.is_v5() && connection.phase == Phase::Open {
            let mut disconnect = Disconnect::new(reason);
            if connection.problem_information {
                disconnect.properties.reason_string = Some(words);
            }
            self.send(id, &Packet::Disconnect(disconnect), now);
        }
        self.close_silently(id, Some(reason), words, now);
    }

    /// Ends a connection without a word to the client. `code`: what it was told, or would have been.
    fn close_silently(&mut self, id: ConnectionId, code: Option<ReasonCode>, words: &str, now: Moment) {
        let Some(connection) = self.connection_mut(id) else { return };
        if !matches!(connection.phase, Phase::Open | Phase::Closing) {
            let client_id = connection.client_id().into();
            let address = Arc::clone(&connection.peer.address);
            self.effects.push(Effect::Report(Report::Closed { client_id, address, reason: words.into() }));
        }
        self.end(id, end::Cause::Closed, (code, words), now);
    }

    /// Appends a packet for the client; without what is there only to be read if it would be too large for the client.
    /// If it still is, it must not be sent [MQTT-3.1.2-24], and the connection, which cannot go on without, ends.
    fn send(&mut self, id: ConnectionId, packet: &Packet<'_>, now: Moment) -> bool {
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return false };
        let version = connection.version;
        let packet_max = connection.packet_max as usize;
        let append = |packet: &Packet<'_>, outbox: &mut Outbox| {
            let mut fits = false;
            outbox.append(|out| {
                let before = out.len();
                fits = packet.encode(version, out).is_ok() && out.len() - before <= packet_max;
                if !fits {
                    out.truncate(before);
                }
            });
            fits
        };
        self.counters.packets_out += 1;
        let mut sent = append(packet, &mut connection.outbox);
        if !sent && let Some(bare) = without_words(packet) {
            sent = append(&bare, &mut connection.outbox);
        }
        self.wake(id);
        if !sent {
            self.close_silently(id, None, "an answer is larger than the packets the client takes", now);
        }
        sent
    }

    #[inline]
    fn wake(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        connection.stalled |= connection.outbox.len() > self.settings.limits.outbound_bytes as usize;
        if !connection.woken {
            connection.woken = true;
            self.effects.push(Effect::Wake(id));
        }
    }

    fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        connection::find(&self.connections, id)
    }

    fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        connection::find_mut(&mut self.connections, id)
    }

    /// The session of a connection that has one.
    fn session(&self, id: ConnectionId) -> Option<&Session> {
        self.connection(id)?.session.as_deref()
    }

    fn session_mut(&mut self, id: ConnectionId) -> Option<&mut Session> {
        self.connection_mut(id)?.session.as_deref_mut()
    }

    /// A token that finds its way back to a connection.
    fn token(&mut self, slot: u32) -> Token {
        self.tokens += 1;
        Token(u64::from(slot) << 40 | (self.tokens & TOKEN_MASK))
    }

    /// A number no other session or will has.
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        // SplitMix64: different for each step, and each seed.
        let mut mixed = self.settings.seed.wrapping_add(self.numbers.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).max(1)
    }

    /// What a client is called that brings no identifier. It says nothing of what others are called.
    fn new_client_id(&mut self) -> Box<str> {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.settings.seed);
        hasher.write_u64(self.number());
        format!("auto-{:016x}", hasher.finish()).into()
    }

    fn session_number(&mut self) -> SessionId {
        SessionId(self.number())
    }
}

/// A packet without what need not be said, where it is one in which the server does: a reason string [MQTT-3.2.2-19],
/// [MQTT-3.14.2-3], or where answers may be sent (MQTT 5 §3.2.2.3.15).
fn without_words<'a>(packet: &Packet<'a>) -> Option<Packet<'a>> {
    match packet.clone() {
        Packet::Connack(mut connack) => {
            connack.properties.reason_string = None;
            connack.properties.response_information = None;
            Some(Packet::Connack(connack))
        }
        Packet::Disconnect(disconnect) => Some(Packet::Disconnect(Disconnect::new(disconnect.reason))),
        Packet::Suback(suback) => Some(Packet::Suback(Suback { properties: Default::default(), ..suback })),
        _ => None,
    }
}

/// Where the connection is that a token finds back to, if it was made for one.
fn slot_of(token: Token) -> usize {
    (token.0 >> 40) as usize
}

const TOKEN_MASK: u64 = (1 << 40) - 1;

fn id_of(slot: usize, connection: &Connection) -> ConnectionId {
    ConnectionId { slot: slot as u32, generation: connection.generation }
}
