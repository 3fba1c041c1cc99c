//! A client that keeps the rules of MQTT, and watches whether the server does.
//!
//! Payloads are the numbers of [`Message`]s, so that whatever arrives tells which publish it was.

use crate::Node;
use crate::node::SocketId;
use crate::text;
use rowcast_codec::{
    Ack, Connect, ConnectProperties, Packet, PacketId, Publish, QoS, ReasonCode, Subscribe, SubscribeFilter,
    SubscriptionOptions, Topic, TopicFilter, Unsubscribe, Version, frame_length,
};
use rowcast_core::limits::Limits;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A publish, by whomever.
pub(crate) struct Message {
    pub(crate) publisher: usize,
    pub(crate) topic: &'static str,
    pub(crate) qos: QoS,
    pub(crate) kind: Kind,
    /// PUBACK or PUBREC came: the server must not lose it any more.
    pub(crate) acknowledged: bool,
    /// It was sent more than once, so it may stand in the log twice if it has QoS 1.
    pub(crate) repeated: bool,
    /// Where it stands in the log first, if it does.
    pub(crate) sequence: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    State,
    Event,
}

pub(crate) struct Client {
    name: String,
    pub(crate) version: Version,
    pub(crate) durable: bool,
    receive_maximum: u16,
    pub(crate) socket: Option<SocketId>,
    /// CONNACK came.
    pub(crate) connected: bool,
    clean: bool,
    /// Whether the server has a session; `None`: it cannot be known.
    has_session: Option<bool>,
    /// What CONNACK should say of it.
    present: Option<bool>,
    partial: Vec<u8>,
    next_id: u16,
    /// Publishes that are not settled, in the order they were made.
    outgoing: VecDeque<Outgoing>,
    /// Answers that are still to be given.
    answers: VecDeque<(Answer, PacketId)>,
    /// Deliveries not answered yet: which message an identifier stands for.
    in_flight: BTreeMap<u16, usize>,
    /// Those that came over this connection.
    open: BTreeSet<u16>,
    /// QoS 2 deliveries between PUBREC and PUBREL.
    received: BTreeSet<u16>,
    /// Subscriptions that were granted.
    subscriptions: BTreeMap<&'static str, QoS>,
    asked: BTreeMap<u16, Asked>,
    /// Messages it must get in the end.
    expected: BTreeSet<usize>,
    got: BTreeSet<usize>,
    got_live: BTreeSet<usize>,
    got_retained: BTreeSet<usize>,
    /// The last first delivery from a publisher on a topic, for QoS 0 and for the others.
    latest: BTreeMap<(usize, &'static str, bool), usize>,
    /// The latest state of a topic that was delivered: its sequence and its message.
    states: BTreeMap<&'static str, (u64, usize)>,
}

struct Outgoing {
    id: PacketId,
    message: usize,
    released: bool,
}

#[derive(Clone, Copy)]
enum Answer {
    Puback,
    Pubrec,
    Pubcomp,
}

enum Asked {
    Subscribe(&'static str, QoS),
    Unsubscribe,
}

/// Seconds a durable session lasts: longer than any test.
const EXPIRY_SECS: u32 = 1_000_000;
/// Publishes that a client has under way at most.
const OUTGOING_MAX: usize = 5;

impl Client {
    pub(crate) fn new(index: usize, version: Version, durable: bool, receive_maximum: u16) -> Client {
        Client {
            name: format!("client-{index}"),
            version,
            durable,
            receive_maximum,
            socket: None,
            connected: false,
            clean: false,
            has_session: Some(false),
            present: None,
            partial: Vec::new(),
            next_id: 0,
            outgoing: VecDeque::new(),
            answers: VecDeque::new(),
            in_flight: BTreeMap::new(),
            open: BTreeSet::new(),
            received: BTreeSet::new(),
            subscriptions: BTreeMap::new(),
            asked: BTreeMap::new(),
            expected: BTreeSet::new(),
            got: BTreeSet::new(),
            got_live: BTreeSet::new(),
            got_retained: BTreeSet::new(),
            latest: BTreeMap::new(),
            states: BTreeMap::new(),
        }
    }

    // What it does -------------------------------------------------------------------------------------------------

    pub(crate) fn connect(&mut self, node: &mut Node, shard: usize, clean: bool) {
        let is_v5 = self.version == Version::V5;
        self.socket = Some(node.connect(shard, true, false));
        self.clean = !self.durable || (clean && is_v5); // Before MQTT 5, a clean session does not last.
        self.present = if self.clean { Some(false) } else { self.has_session };
        // Until CONNACK comes, nobody knows whether the old session is gone and a new one is there.
        if self.clean || self.has_session != Some(true) {
            self.has_session = None;
        }
        let expiry = (is_v5 && self.durable).then_some(EXPIRY_SECS);
        let connect = Connect {
            version: self.version,
            clean_start: self.clean,
            keep_alive_secs: 0,
            client_id: &self.name.clone(),
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties {
                session_expiry_secs: expiry,
                receive_maximum: is_v5.then_some(self.receive_maximum),
                ..ConnectProperties::default()
            },
        };
        self.send(node, &Packet::Connect(Box::new(connect)));
    }

    pub(crate) fn lose(&mut self, node: &mut Node) {
        if let Some(socket) = self.socket {
            node.lose(socket);
        }
        self.lost();
    }

    /// Its connection is gone.
    pub(crate) fn lost(&mut self) {
        self.socket = None;
        self.connected = false;
        self.partial.clear();
        self.answers.clear();
        self.open.clear();
        if !self.asked.is_empty() {
            // Whether those were granted or taken away is not known.
            self.asked.clear();
            self.expected.retain(|message| self.got.contains(message));
            self.subscriptions.clear();
        }
        if !self.durable {
            self.forget_session();
            self.has_session = Some(false);
        }
    }

    fn forget_session(&mut self) {
        self.outgoing.clear(); // Whether they arrived is never known.
        self.in_flight.clear();
        self.received.clear();
        self.subscriptions.clear();
        self.expected.retain(|message| self.got.contains(message));
    }

    pub(crate) fn can_publish(&self) -> bool {
        self.connected && self.outgoing.len() < OUTGOING_MAX
    }

    /// One SUBSCRIBE or UNSUBSCRIBE at a time.
    pub(crate) fn can_ask(&self) -> bool {
        self.connected && self.asked.is_empty()
    }

    /// `number`: of a message that was just made; an empty payload deletes the record.
    pub(crate) fn publish(&mut self, node: &mut Node, message: &Message, number: usize, delete: bool) {
        let id = (message.qos != QoS::AtMostOnce).then(|| self.free_id());
        let payload = if delete { String::new() } else { number.to_string() };
        let publish = Publish {
            qos: message.qos,
            retain: message.kind == Kind::State,
            topic: message.topic,
            packet_id: id,
            payload: payload.as_bytes(),
            ..Publish::default()
        };
        self.send(node, &Packet::Publish(publish));
        if let Some(id) = id {
            self.outgoing.push_back(Outgoing { id, message: number, released: false });
        }
    }

    pub(crate) fn subscribe(&mut self, node: &mut Node, filter: &'static str, qos: QoS) {
        let id = self.free_id();
        // What a subscription of another QoS brings of what is under way is not known.
        if self.subscriptions.get(filter).is_some_and(|&held| held != qos) {
            self.expected.retain(|message| self.got.contains(message));
        }
        self.subscriptions.remove(filter);
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let filters = [SubscribeFilter { filter, options }];
        let subscribe = Subscribe { packet_id: id, properties: Default::default(), filters: (&filters[..]).into() };
        self.send(node, &Packet::Subscribe(subscribe));
        self.asked.insert(id.get(), Asked::Subscribe(filter, qos));
    }

    pub(crate) fn unsubscribe(&mut self, node: &mut Node, filter: &'static str) {
        let id = self.free_id();
        self.subscriptions.remove(filter);
        self.expected.retain(|message| self.got.contains(message));
        let filters = [filter];
        let unsubscribe =
            Unsubscribe { packet_id: id, user_properties: Default::default(), filters: (&filters[..]).into() };
        self.send(node, &Packet::Unsubscribe(unsubscribe));
        self.asked.insert(id.get(), Asked::Unsubscribe);
    }

    /// Gives up to `count` answers it owes.
    pub(crate) fn answer(&mut self, node: &mut Node, count: usize) {
        for _ in 0..count {
            let Some((answer, id)) = self.answers.pop_front() else { return };
            let ack = Ack::new(id, ReasonCode::Success);
            let packet = match answer {
                Answer::Puback => Packet::Puback(ack),
                Answer::Pubrec => Packet::Pubrec(ack),
                Answer::Pubcomp => Packet::Pubcomp(ack),
            };
            if !matches!(answer, Answer::Pubrec) {
                self.in_flight.remove(&id.get());
                self.open.remove(&id.get());
            }
            self.send(node, &packet);
        }
    }

    /// Another message was published by somebody: whether it must reach this client.
    pub(crate) fn expect(&mut self, message: &Message, number: usize) {
        // A session that lasts misses nothing; another one nothing while its connection lasts.
        let kept = self.durable || self.connected;
        if kept && message.qos > QoS::AtMostOnce && self.granted(message.topic) > QoS::AtMostOnce {
            self.expected.insert(number);
        }
    }

    /// The highest QoS that its subscriptions grant a topic.
    fn granted(&self, topic: &str) -> QoS {
        let topic = Topic::new(topic).expect("a topic");
        let selects = |filter: &str| TopicFilter::new(filter).expect("a filter").matches(&topic);
        let granted = self.subscriptions.iter().filter(|(filter, _)| selects(filter)).map(|(_, &qos)| qos);
        granted.max().unwrap_or(QoS::AtMostOnce)
    }

    /// Identifiers are small, so that they come back soon.
    fn free_id(&mut self) -> PacketId {
        loop {
            self.next_id = self.next_id % 50 + 1;
            let id = PacketId::new(self.next_id).expect("not zero");
            if self.outgoing.iter().all(|outgoing| outgoing.id != id) && !self.asked.contains_key(&id.get()) {
                return id;
            }
        }
    }

    fn send(&mut self, node: &mut Node, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).expect("a packet");
        if let Some(socket) = self.socket {
            node.send(socket, &bytes);
            self.tell(">", packet);
        }
    }

    /// Shows the conversation, for who looks into a seed that failed.
    fn tell(&self, direction: &str, packet: &Packet<'_>) {
        if std::env::var_os("ROWCAST_TRACE").is_some() {
            println!("{}{direction} {}", self.name, text::describe(packet, self.version, &Limits::default()));
        }
    }

    // What it hears ------------------------------------------------------------------------------------------------

    /// Looks at what came. Fails with what the server did wrong.
    pub(crate) fn hear(&mut self, node: &mut Node, messages: &mut [Message]) -> Result<(), String> {
        let Some(socket) = self.socket else { return Ok(()) };
        let bytes = std::mem::take(node.received(socket));
        self.partial.extend_from_slice(&bytes);
        while let Some(length) = frame_length(&self.partial, u32::MAX).map_err(|error| error.to_string())? {
            if self.partial.len() < length {
                break;
            }
            let frame: Vec<u8> = self.partial.drain(..length).collect();
            let packet = Packet::decode(self.version, &frame).map_err(|error| error.to_string())?;
            self.tell("<", &packet);
            self.on_packet(node, &packet, messages).map_err(|mistake| format!("{}: {mistake}", self.name))?;
        }
        if !node.is_open(socket) {
            return Err(format!("{} was closed", self.name));
        }
        Ok(())
    }

    fn on_packet(&mut self, node: &mut Node, packet: &Packet<'_>, messages: &mut [Message]) -> Result<(), String> {
        match packet {
            Packet::Connack(connack) => self.on_connack(node, connack.session_present, connack.reason, messages),
            Packet::Publish(publish) => self.on_publish(publish, messages),
            Packet::Puback(ack) | Packet::Pubrec(ack) => {
                if ack.reason.is_error() {
                    return Err(format!("{} is refused: {}", ack.packet_id.get(), ack.reason));
                }
                let released = matches!(packet, Packet::Pubrec(_));
                let place = self.outgoing.iter().position(|outgoing| outgoing.id == ack.packet_id);
                let place = place.ok_or_else(|| format!("{} was not published", ack.packet_id.get()))?;
                messages[self.outgoing[place].message].acknowledged = true;
                if released {
                    self.outgoing[place].released = true;
                    self.send(node, &Packet::Pubrel(Ack::new(ack.packet_id, ReasonCode::Success)));
                } else {
                    self.outgoing.remove(place);
                }
                Ok(())
            }
            Packet::Pubcomp(ack) => {
                self.outgoing.retain(|outgoing| outgoing.id != ack.packet_id);
                Ok(())
            }
            Packet::Pubrel(ack) => {
                if ack.reason.is_error() {
                    return Err(format!("PUBREL {}: {}", ack.packet_id.get(), ack.reason));
                }
                self.received.remove(&ack.packet_id.get());
                self.answers.push_back((Answer::Pubcomp, ack.packet_id));
                Ok(())
            }
            Packet::Suback(suback) => match self.asked.remove(&suback.packet_id.get()) {
                Some(Asked::Subscribe(filter, qos)) => {
                    self.subscriptions.insert(filter, qos);
                    Ok(())
                }
                _ => Err("SUBACK for nothing".to_owned()),
            },
            Packet::Unsuback(unsuback) => {
                self.asked.remove(&unsuback.packet_id.get());
                Ok(())
            }
            other => Err(format!("got {other:?}")),
        }
    }

    fn on_connack(
        &mut self,
        node: &mut Node,
        present: bool,
        reason: ReasonCode,
        messages: &mut [Message],
    ) -> Result<(), String> {
        if reason.is_error() {
            return Err(format!("CONNACK {reason}"));
        }
        if self.present.is_some_and(|expected| expected != present) {
            return Err(format!("session present: {present}"));
        }
        self.connected = true;
        self.has_session = Some(self.durable);
        if !present {
            self.forget_session();
            return Ok(());
        }
        for index in 0..self.outgoing.len() {
            let Outgoing { id, message: number, released } = self.outgoing[index];
            if released {
                self.send(node, &Packet::Pubrel(Ack::new(id, ReasonCode::Success)));
                continue;
            }
            let message = &mut messages[number];
            message.repeated = true;
            let payload = number.to_string();
            let publish = Publish {
                dup: true,
                qos: message.qos,
                retain: message.kind == Kind::State,
                topic: message.topic,
                packet_id: Some(id),
                payload: payload.as_bytes(),
                ..Publish::default()
            };
            self.send(node, &Packet::Publish(publish));
        }
        Ok(())
    }

    fn on_publish(&mut self, publish: &Publish<'_>, messages: &[Message]) -> Result<(), String> {
        let number = std::str::from_utf8(publish.payload).ok().and_then(|text| text.parse::<usize>().ok());
        if let Some(id) = publish.packet_id {
            self.on_identifier(id, publish, number)?;
            if publish.qos == QoS::ExactlyOnce && !self.received.insert(id.get()) {
                return Ok(()); // Heard already.
            }
        }
        let Some(number) = number else { return Ok(()) }; // A delete.
        let message = messages.get(number).ok_or_else(|| format!("nobody published {number}"))?;
        if publish.qos > message.qos {
            return Err(format!("{number} of {:?} came with {:?}", message.qos, publish.qos));
        }
        let again = !self.got.insert(number);
        if publish.retain {
            self.got_retained.insert(number);
        } else {
            let again = !self.got_live.insert(number);
            let once = publish.qos == QoS::ExactlyOnce || (message.qos == QoS::ExactlyOnce && !publish.dup);
            let surely_once = !message.repeated || message.qos == QoS::ExactlyOnce;
            if again && once && surely_once && !publish.dup {
                return Err(format!("{number} came twice"));
            }
            if again && publish.qos == QoS::ExactlyOnce {
                return Err(format!("{number} came twice with QoS 2"));
            }
            if self.got_retained.contains(&number) && !publish.dup && !message.repeated {
                return Err(format!("{number} came as retained state and as a change"));
            }
        }
        if publish.dup || message.repeated || again {
            return Ok(());
        }
        if let (Kind::State, Some(sequence)) = (message.kind, message.sequence) {
            let latest = self.states.entry(message.topic).or_insert((sequence, number));
            if latest.0 > sequence {
                return Err(format!("state {number} of {} came behind {}", message.topic, latest.1));
            }
            *latest = (sequence, number);
        }
        if !publish.retain {
            let lane = (message.publisher, message.topic, publish.qos == QoS::AtMostOnce);
            let latest = self.latest.entry(lane).or_insert(number);
            if *latest > number {
                return Err(format!("{number} came behind {latest} on {}", message.topic));
            }
            *latest = number;
        }
        Ok(())
    }

    /// A delivery's identifier is that of no other delivery under way, and of this one when it comes again.
    fn on_identifier(&mut self, id: PacketId, publish: &Publish<'_>, number: Option<usize>) -> Result<(), String> {
        let number = number.unwrap_or(usize::MAX);
        match self.in_flight.get(&id.get()) {
            Some(&other) if other != number => {
                return Err(format!("identifier {} of {other} came back with {number}", id.get()));
            }
            Some(_) if !publish.dup => return Err(format!("{number} came again without DUP")),
            _ => {}
        }
        self.in_flight.insert(id.get(), number);
        self.open.insert(id.get());
        if self.version == Version::V5 && self.open.len() > usize::from(self.receive_maximum) {
            return Err(format!("{} deliveries under way", self.open.len()));
        }
        self.answers.push_back(match publish.qos {
            QoS::ExactlyOnce => (Answer::Pubrec, id),
            _ => (Answer::Puback, id),
        });
        Ok(())
    }

    // At the end ---------------------------------------------------------------------------------------------------

    /// Whether there is nothing left to be said from this side.
    pub(crate) fn is_idle(&self) -> bool {
        self.connected && self.answers.is_empty() && self.asked.is_empty()
    }

    /// Everything has settled: what it must have, it has.
    pub(crate) fn check_complete(&self, messages: &[Message]) -> Result<(), String> {
        if !self.outgoing.is_empty() || !self.in_flight.is_empty() {
            let outgoing: Vec<u16> = self.outgoing.iter().map(|outgoing| outgoing.id.get()).collect();
            return Err(format!("{}: left over: to {outgoing:?}, from {:?}", self.name, self.in_flight));
        }
        let lost = |number: &&usize| messages[**number].acknowledged && !self.got.contains(*number);
        match self.expected.iter().find(lost) {
            Some(number) => Err(format!("{} never got {number} on {}", self.name, messages[*number].topic)),
            None => Ok(()),
        }
    }

    /// `current`: the message that a topic's record is now.
    pub(crate) fn check_state(&self, topic: &'static str, current: usize, messages: &[Message]) -> Result<(), String> {
        let keeps = self.granted(topic) > QoS::AtMostOnce && messages[current].qos > QoS::AtMostOnce;
        if keeps && !self.got.contains(&current) {
            return Err(format!("{} does not know that {topic} is {current}", self.name));
        }
        Ok(())
    }
}
