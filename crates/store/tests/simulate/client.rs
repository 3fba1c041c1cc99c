//! A client that keeps the rules of MQTT, and watches whether the server does.
//!
//! What it sends is here; what it hears, and what it thinks of that, in `hearing`.

mod hearing;
mod replaying;
mod subscribing;

use crate::Node;
use crate::book::{ANSWERS, Book, Condition, Kind, Message, is_hidden};
use crate::group::Note;
use crate::node::{SocketId, Work};
use crate::random::Random;
use crate::text;
use crate::will::Wills;
pub(crate) use hearing::World;
use replaying::Replays;
use rowcast_codec::{
    Ack, Connect, ConnectProperties, Disconnect, DisconnectProperties, Packet, PacketId, Publish, PublishProperties,
    QoS, ReasonCode, UserPropertiesBuf, Version, Will, WillProperties,
};
use rowcast_core::limits::Limits;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use subscribing::{Asked, Held};
pub(crate) use subscribing::{FILTERS, GROUPS};

/// What makes a client this one; the same for a whole run.
#[derive(Clone, Debug)]
pub(crate) struct Nature {
    pub(crate) version: Version,
    /// Seconds it wants its session to outlive its connection; 0: not at all.
    pub(crate) expiry_asked: u32,
    /// Seconds the session does.
    pub(crate) expiry_secs: u32,
    /// What it shares subscriptions with.
    pub(crate) share_qos: QoS,
    /// Bytes of the largest packet it takes.
    pub(crate) packet_max: Option<u32>,
    pub(crate) receive_maximum: u16,
    pub(crate) alias_maximum: u16,
    pub(crate) keep_alive_secs: u16,
    /// Its subscriptions ask for RETAIN as published, and for no retained state, so that the flag has one meaning.
    pub(crate) as_published: bool,
    /// It has an account ([`GUARDED`]), which may not read everything at any time.
    pub(crate) guarded: bool,
}

/// The user whose rights change, and the role.
pub(crate) const GUARDED: &str = "rex";

pub(crate) struct Client {
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) nature: Nature,
    /// What the node allows.
    limits: Limits,
    pub(crate) socket: Option<SocketId>,
    /// The one over which it hears yet of a session that has ended since.
    pub(crate) outlived: Option<SocketId>,
    /// CONNACK came.
    pub(crate) connected: bool,
    clean: bool,
    /// It does not know whether its clean start was heard: until it is, it starts clean.
    starts_clean: bool,
    /// Its connection, which is lost, had been ended before.
    had_ended: bool,
    /// It has no session, and there is no room for one.
    is_shut_out: bool,
    /// Seconds it may be silent; 0: for ever.
    keep_alive_secs: u16,
    session: Session,
    /// The disk is full, or was since the last look: requests may be refused.
    pub(crate) excused: bool,
    /// The log cannot be read everywhere, or could not since the last look: connections may be ended for that.
    pub(crate) is_disk_harmed: bool,
    /// The node said that it stops.
    partial: Vec<u8>,
    next_id: u16,
    /// When it sent something last.
    sent_ms: u64,
    /// It sends nothing more, not even PINGREQ.
    pub(crate) silent: bool,
    /// It takes what it is sent: else what it says may not be read, and its connection be ended for that.
    takes: bool,
    /// It was silent for longer than it may be, and nothing has shown since that the server did not mind.
    was_quiet: bool,
    /// When its connection was seen without anything on the way to it.
    clear_ms: u64,
    /// When all that it had said was seen to have been read.
    read_ms: u64,
    /// Publishes that are not settled, in the order they were made.
    outgoing: VecDeque<Outgoing>,
    /// Topics that it has aliases for, in this connection, and those that the server has.
    aliases_out: Vec<&'static str>,
    aliases_in: BTreeMap<u16, String>,
    /// Answers that are still to be given.
    answers: VecDeque<(Answer, PacketId)>,
    /// Deliveries not answered yet: what an identifier stands for, and with which QoS.
    in_flight: BTreeMap<u16, (Copy, QoS)>,
    /// Those that came over this connection.
    open: BTreeSet<u16>,
    /// Counts deliveries.
    deliveries: u64,
    /// What identifiers stood for last.
    heard: BTreeMap<u16, Heard>,
    /// QoS 2 deliveries between PUBREC and PUBREL.
    received: BTreeSet<u16>,
    subscriptions: BTreeMap<&'static str, Held>,
    /// Subscriptions of this session that are no more, or that nobody knows of whether they are.
    past: Vec<Held>,
    asked: BTreeMap<u16, Asked>,
    replays: Replays,
    /// Messages it must get in the end.
    expected: BTreeSet<usize>,
    got: BTreeSet<usize>,
    got_live: BTreeSet<usize>,
    /// Those that came as a record that was there, and for which subscriptions, where these have identifiers.
    got_retained: BTreeMap<usize, BTreeSet<u32>>,
    /// The last first delivery from a publisher on a topic, for QoS 0 and for the others.
    latest: BTreeMap<(usize, &'static str, bool), usize>,
    /// The latest state of a topic that was delivered: its sequence and its message.
    states: BTreeMap<&'static str, (u64, usize)>,
    /// What it last heard of a topic's record; `None`: that it is gone.
    view: BTreeMap<&'static str, Seen>,
    /// The log was cut before it had read it, and before a group had.
    lost_events: bool,
    group_lost_events: bool,
    will: Option<usize>,
    /// Copies it has acknowledged, and of which the server may not have heard.
    acknowledged: Vec<(usize, usize)>,
    /// What groups are to be told.
    pub(crate) notes: Vec<Note>,
}

/// What was heard of a record: the message that made it, `None`: that it is gone.
#[derive(Clone, Copy)]
struct Seen {
    number: Option<usize>,
    qos: QoS,
    /// When it came first, as [`Client::deliveries`] counts.
    at: u64,
}

/// A delivery that was heard.
#[derive(Clone, Copy)]
struct Heard {
    topic: &'static str,
    /// Which message; `None`: it does not say.
    number: Option<usize>,
    /// By which group it came, if by one.
    group: Option<usize>,
    /// It came first again, after its subscription was gone, so that it is not known whether it came by a group.
    is_of_gone: bool,
    /// When it came first, as [`Client::deliveries`] counts.
    at: u64,
}

/// Which message, and by which group it came, if by one.
type Copy = (usize, Option<usize>);

/// What the client knows of its session on the server.
#[derive(Clone, Copy, Debug, Default)]
struct Session {
    /// Whether there is one; `None`: it cannot be known.
    exists: Option<bool>,
    /// When it ends, at the earliest and at the latest; milliseconds since 1970.
    ends: Option<(u64, u64)>,
    /// What CONNACK should say, and when CONNECT was sent.
    asked: Option<(Option<bool>, u64)>,
    /// Counts sessions.
    epoch: u32,
    /// Counts connections of this one.
    connections: u32,
}

struct Outgoing {
    id: PacketId,
    message: usize,
    released: bool,
    /// It may have been refused, and its client has not heard of that.
    doubtful: bool,
}

#[derive(Clone, Copy)]
enum Answer {
    Puback,
    Pubrec,
    Pubcomp,
}

/// Publishes that a client has under way at most.
const OUTGOING_MAX: usize = 5;
const ALIASES: usize = 3;
/// How long a connection may have been closed before its client sees that; milliseconds.
const CLOSED_UNSEEN_MS: u64 = 20_000;

impl Client {
    pub(crate) fn new(index: usize, nature: Nature, limits: &Limits) -> Client {
        Client {
            index,
            name: format!("client-{index}"),
            nature,
            limits: limits.clone(),
            socket: None,
            outlived: None,
            connected: false,
            clean: false,
            starts_clean: false,
            had_ended: false,
            is_shut_out: false,
            keep_alive_secs: 0,
            session: Session { exists: Some(false), ..Session::default() },
            excused: false,
            is_disk_harmed: false,
            partial: Vec::new(),
            next_id: 0,
            sent_ms: 0,
            silent: false,
            takes: true,
            was_quiet: false,
            clear_ms: 0,
            read_ms: 0,
            outgoing: VecDeque::new(),
            aliases_out: Vec::new(),
            aliases_in: BTreeMap::new(),
            answers: VecDeque::new(),
            in_flight: BTreeMap::new(),
            open: BTreeSet::new(),
            deliveries: 0,
            heard: BTreeMap::new(),
            received: BTreeSet::new(),
            subscriptions: BTreeMap::new(),
            past: Vec::new(),
            asked: BTreeMap::new(),
            replays: Replays::default(),
            expected: BTreeSet::new(),
            got: BTreeSet::new(),
            got_live: BTreeSet::new(),
            got_retained: BTreeMap::new(),
            latest: BTreeMap::new(),
            states: BTreeMap::new(),
            view: BTreeMap::new(),
            lost_events: false,
            group_lost_events: false,
            will: None,
            acknowledged: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn is_v5(&self) -> bool {
        self.nature.version == Version::V5
    }

    fn username(&self) -> Option<&'static str> {
        self.nature.guarded.then_some(GUARDED)
    }

    /// Whether it need not get what comes on a topic: that may be hidden from it.
    pub(crate) fn may_miss(&self, topic: &str) -> bool {
        self.nature.guarded && is_hidden(topic)
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.nature.expiry_secs > 0
    }

    // It comes and goes --------------------------------------------------------------------------------------------

    /// `will`: the number of a message that was made for it, and its delay.
    pub(crate) fn connect(
        &mut self,
        node: &mut Node,
        (book, wills): (&Book, &mut Wills),
        shard: usize,
        clean: bool,
        will: Option<(usize, u32)>,
    ) {
        let now = node.wall_ms();
        self.socket = Some(node.connect(shard, !self.nature.guarded, false));
        self.takes = true;
        self.clean = !self.is_durable() || (clean && self.is_v5()) || self.starts_clean; // Before MQTT 5, a clean session does not last.
        let expected = if self.clean { Some(false) } else { self.session.exists };
        self.session.asked = Some((expected, now));
        // Until CONNACK comes, nobody knows whether the old session is gone and a new one is there.
        if self.clean || self.session.exists != Some(true) {
            self.session.exists = None;
        }
        if self.clean {
            self.notes.push(Note::Ended); // The old session may end before its client hears of it.
        }
        wills.returns(self.index, now);
        self.will = will.map(|(number, _)| number);
        let is_v5 = self.is_v5();
        let payload = will.map(|(number, _)| book.messages[number].payload(number)).unwrap_or_default();
        let will = will.map(|(number, delay_secs)| {
            wills.arm(number, self.index, delay_secs);
            let message = &book.messages[number];
            let publish = PublishProperties { message_expiry_secs: message.expiry_secs, ..Default::default() };
            let delay_secs = Some(delay_secs).filter(|&secs| secs > 0);
            Will {
                topic: message.topic,
                payload: &payload,
                qos: message.qos,
                retain: message.kind.is_state(),
                properties: if is_v5 { WillProperties { delay_secs, publish } } else { WillProperties::default() },
            }
        });
        self.keep_alive_secs = self.nature.keep_alive_secs;
        let some = |number: u16| Some(number).filter(|&number| is_v5 && number > 0);
        let name = self.name.clone();
        let connect = Connect {
            version: self.nature.version,
            is_bridge: false,
            clean_start: self.clean,
            keep_alive_secs: self.nature.keep_alive_secs,
            client_id: &name,
            will,
            username: self.username(),
            password: self.username().map(|name| name.as_bytes().into()),
            properties: ConnectProperties {
                session_expiry_secs: Some(self.nature.expiry_asked).filter(|&secs| is_v5 && secs > 0),
                receive_maximum: some(self.nature.receive_maximum),
                maximum_packet_size: self.nature.packet_max,
                topic_alias_maximum: some(self.nature.alias_maximum),
                ..ConnectProperties::default()
            },
        };
        self.send(node, &Packet::Connect(Box::new(connect)));
    }

    /// Begins a session that ends with its connection, so that nothing of this client stays.
    pub(crate) fn end_session(&self, node: &mut Node, socket: SocketId) {
        let name = self.name.clone();
        let connect = Connect {
            version: self.nature.version,
            is_bridge: false,
            clean_start: true,
            keep_alive_secs: 0,
            client_id: &name,
            will: None,
            username: self.username(),
            password: self.username().map(|name| name.as_bytes().into()),
            properties: ConnectProperties::default(),
        };
        let mut bytes = Vec::new();
        Packet::Connect(Box::new(connect)).encode(self.nature.version, &mut bytes).expect("a packet");
        node.send(socket, &bytes);
    }

    /// Its connection is cut: what was on the way is gone.
    pub(crate) fn cut(&mut self, node: &mut Node, wills: &mut Wills) {
        if let Some(socket) = self.socket {
            self.suspect_end(node);
            node.lose(socket);
            self.lost(node.wall_ms(), wills, true);
        }
    }

    /// It goes away, and the server does not know.
    pub(crate) fn vanish(&mut self, node: &mut Node, wills: &mut Wills) {
        if let Some(socket) = self.socket {
            self.suspect_end(node);
            node.vanish(socket);
            self.lost(node.wall_ms(), wills, false);
        }
    }

    /// It says goodbye, if the server listens; `expiry_secs`: and how long its session lasts from now.
    pub(crate) fn leave(&mut self, node: &mut Node, wills: &mut Wills, expiry_secs: Option<u32>) -> Result<(), String> {
        let Some(socket) = self.socket.filter(|_| self.connected) else { return Ok(()) };
        if node.has_ended(socket) {
            node.lose(socket);
            return self.on_closed(node, wills); // Nobody hears it.
        }
        let expiry_secs = expiry_secs.filter(|_| self.is_v5() && self.is_durable());
        let lasts = expiry_secs.map(|secs| secs.min(self.limits.session_expiry_max_secs));
        let (now, lasts) = (node.wall_ms(), lasts.unwrap_or(self.nature.expiry_secs));
        let properties = DisconnectProperties { session_expiry_secs: expiry_secs, ..Default::default() };
        self.send(node, &Packet::Disconnect(Disconnect { reason: ReasonCode::NORMAL_DISCONNECTION, properties }));
        for _ in 0..10 {
            node.perform(Work::Socket(socket), usize::MAX);
        }
        if node.is_open(socket) || self.excused || self.is_disk_harmed {
            // It may have heard it, or not, or have closed the connection before, for what the disk does.
            node.lose(socket);
            self.lost(now, wills, false);
            match &mut self.session.ends {
                Some((from, _)) if lasts > 0 => *from = (*from).min(now + u64::from(lasts) * 1000),
                _ => self.doubt_session(),
            }
            return Ok(());
        }
        if let Some(will) = self.will.take() {
            wills.farewell(will);
        }
        self.lost(now, wills, true);
        if lasts == 0 && self.excused {
            self.doubt_session(); // That it ends could not be written down.
        } else if lasts == 0 {
            self.forget_session();
            self.session.exists = Some(false);
        } else {
            self.session.ends = Some((now + u64::from(lasts) * 1000, now + u64::from(lasts) * 1000));
        }
        Ok(())
    }

    /// Its connection is gone. `surely`: the server knows.
    pub(crate) fn lost(&mut self, now: u64, wills: &mut Wills, surely: bool) {
        let expiry_secs = self.nature.expiry_secs;
        if let Some(will) = self.will.take() {
            wills.lost(will, now, expiry_secs, surely && self.connected);
        }
        let expired = self.session.ends.is_some_and(|(from, _)| from <= now);
        let in_doubt = !self.connected && (self.clean || expired);
        let due = now + u64::from(expiry_secs) * 1000;
        let latest = if surely { due } else { u64::MAX };
        self.session.ends = match self.session.ends {
            Some((from, until)) if !self.connected => Some((from.min(due), until.max(latest))),
            _ => Some((due, latest)),
        };
        if let (true, Some((from, _))) = (std::mem::take(&mut self.had_ended), &mut self.session.ends) {
            *from = from.saturating_sub(CLOSED_UNSEEN_MS);
        }
        if in_doubt {
            self.doubt_session();
        }
        self.notes.push(Note::Left);
        self.acknowledged.clear();
        self.socket = None;
        self.connected = false;
        self.silent = false;
        self.was_quiet = false;
        self.partial.clear();
        self.answers.clear();
        self.open.clear();
        self.aliases_out.clear();
        self.aliases_in.clear();
        self.forget_asked();
        self.subscriptions.values_mut().for_each(|held| held.conflates_since = u64::MAX);
        if !self.is_durable() {
            self.forget_session();
            self.session.exists = Some(false);
        }
    }

    /// Its connection is about to be lost, and the server may have ended it some time before.
    pub(crate) fn suspect_end(&mut self, node: &Node) {
        self.had_ended = self.socket.is_some_and(|socket| node.has_ended(socket));
    }

    /// The server may have ended its connection, and it has not seen that yet.
    pub(crate) fn suspect(&self, node: &Node, wills: &mut Wills) {
        if let (Some(socket), Some(will)) = (self.socket, self.will)
            && node.has_ended(socket)
        {
            let since = node.wall_ms().saturating_sub(CLOSED_UNSEEN_MS);
            wills.lost(will, since, self.nature.expiry_secs, false);
        }
    }

    /// The node starts again. `settled`: what was said before is on disk.
    pub(crate) fn restarted(&mut self, now: u64, wills: &mut Wills) {
        let was_there = self.socket.is_some();
        if was_there {
            self.lost(now, wills, true);
        }
        // Whoever was there when it ended may stay its time from now; so may who has just gone.
        let due = now + u64::from(self.nature.expiry_secs) * 1000;
        if let Some((_, until)) = &mut self.session.ends {
            *until = (*until).max(due);
        }
    }

    /// Some of what was shown may be gone from the log, which numbers the deliveries.
    pub(crate) fn power_lost(&mut self, book: &Book) {
        self.in_flight.retain(|_, &mut ((number, _), qos)| {
            let is_whole = |message: &Message| message.logged > 0 && !book.shortened.contains(&number);
            qos == QoS::ExactlyOnce || book.messages.get(number).is_some_and(is_whole)
        });
        // What was before a state that is gone may be shown once more.
        self.states.retain(|_, &mut (_, number)| book.messages[number].logged > 0);
        self.replays.lose(&book.lost);
    }

    /// Whether it is the old session that goes on, or a new one has begun unheard: nobody knows.
    fn doubt_session(&mut self) {
        let ends = self.session.ends;
        self.forget_session();
        self.session.exists = None;
        self.session.ends = ends;
        self.starts_clean = self.is_durable();
    }

    /// Its session, and all that belonged to it, is gone.
    fn forget_session(&mut self) {
        self.notes.push(Note::Ended);
        self.session.epoch += 1;
        self.session.connections = 0;
        self.session.ends = None;
        self.outgoing.clear(); // Whether they arrived is never known.
        self.in_flight.clear();
        self.heard.clear();
        self.received.clear();
        self.subscriptions.clear();
        self.past.clear();
        self.replays = Replays::default();
        self.expected.clear();
        self.got.clear();
        self.got_live.clear();
        self.got_retained.clear();
        self.latest.clear();
        self.states.clear();
        self.view.clear();
        self.lost_events = false;
        self.group_lost_events = false;
    }

    /// Until when its session surely goes on while it is away.
    pub(crate) fn surely_has_session(&self, now: u64) -> bool {
        self.session.exists == Some(true) && (self.connected || self.session.ends.is_none_or(|(from, _)| now < from))
    }

    /// The log no longer reached back to its position.
    pub(crate) fn lose_events(&mut self) {
        self.lost_events = true;
        self.replays.cut();
        self.expected.retain(|number| self.got.contains(number));
    }

    /// The log no longer reached back to something of a group: it may have been this one's.
    pub(crate) fn lose_group_events(&mut self) {
        self.group_lost_events = true;
    }

    /// Which of its sessions this is.
    pub(crate) fn epoch(&self) -> u32 {
        self.session.epoch
    }

    // What it says -------------------------------------------------------------------------------------------------

    pub(crate) fn can_publish(&self) -> bool {
        let most = if self.is_v5() { usize::from(self.limits.receive_maximum) } else { usize::MAX };
        self.connected && !self.silent && self.outgoing.len() < OUTGOING_MAX.min(most)
    }

    /// `number`: of a message that was just made.
    pub(crate) fn publish(&mut self, node: &mut Node, book: &Book, number: usize, random: &mut Random) {
        let message = &book.messages[number];
        let id = (message.qos != QoS::AtMostOnce).then(|| self.free_id());
        if let Some(id) = id {
            let doubtful = message.condition.is_some();
            self.outgoing.push_back(Outgoing { id, message: number, released: false, doubtful });
        }
        let (mut topic, mut alias) = (message.topic, None);
        if self.is_v5() && message.asks.is_none() && random.one_in(3) {
            match self.aliases_out.iter().position(|&known| known == topic) {
                Some(at) => (topic, alias) = ("", Some(at as u16 + 1)),
                None if self.aliases_out.len() < ALIASES.min(self.limits.topic_alias_maximum.into()) => {
                    self.aliases_out.push(topic);
                    alias = Some(self.aliases_out.len() as u16);
                }
                None => {}
            }
        }
        self.send_publish(node, message, number, (topic, alias), id, false);
    }

    fn send_publish(
        &mut self,
        node: &mut Node,
        message: &Message,
        number: usize,
        (topic, topic_alias): (&str, Option<u16>),
        packet_id: Option<PacketId>,
        dup: bool,
    ) {
        let mut user_properties = UserPropertiesBuf::new();
        let (name, value) = match message.condition {
            None => ("rank", number.to_string()),
            Some(Condition::Absent) => ("if-none-match", "*".to_owned()),
            Some(Condition::Version(version)) => ("if-match", version.to_string()),
        };
        let is_v5 = self.is_v5();
        if is_v5 && message.condition.is_some() {
            user_properties.push(name, &value).expect("short");
        }
        let payload = message.payload(number);
        let (asked, correlation) = (message.asks.map(|asked| format!("$get/{asked}")), number.to_string());
        let content_type = (message.kind == Kind::Patch).then_some("application/merge-patch+json");
        let publish = Publish {
            dup,
            qos: message.qos,
            retain: message.kind.is_state(),
            topic: asked.as_deref().unwrap_or(topic),
            packet_id,
            payload: &payload,
            properties: PublishProperties {
                response_topic: asked.is_some().then_some(topic),
                correlation_data: asked.is_some().then_some(correlation.as_bytes()),
                message_expiry_secs: message.expiry_secs,
                topic_alias,
                content_type,
                user_properties: user_properties.as_ref(),
                ..PublishProperties::default()
            },
        };
        self.send(node, &Packet::Publish(publish));
    }

    /// Gives up to `count` answers it owes.
    pub(crate) fn answer(&mut self, node: &mut Node, count: usize) {
        for _ in 0..count {
            if self.silent {
                return;
            }
            let Some((answer, id)) = self.answers.pop_front() else { return };
            let ack = Ack::new(id, ReasonCode::Success);
            let packet = match answer {
                Answer::Puback => Packet::Puback(ack),
                Answer::Pubrec => Packet::Pubrec(ack),
                Answer::Pubcomp => Packet::Pubcomp(ack),
            };
            if !matches!(answer, Answer::Pubrec) {
                let copy = self.in_flight.remove(&id.get());
                self.acknowledged.extend(copy.and_then(|((number, group), _)| Some((group?, number))));
                self.open.remove(&id.get());
            }
            self.send(node, &packet);
        }
    }

    /// It takes what it is sent, or not.
    pub(crate) fn set_takes(&mut self, node: &mut Node, takes: bool) {
        if let Some(socket) = self.socket {
            self.was_quiet |= !self.takes;
            self.takes = takes;
            node.set_takes(socket, takes);
        }
    }

    /// Says that it is there, when it is time for that.
    pub(crate) fn keep_alive(&mut self, node: &mut Node) {
        let patience_ms = u64::from(self.keep_alive_secs) * 500;
        if self.connected && !self.silent && patience_ms > 0 && node.wall_ms() >= self.sent_ms + patience_ms {
            self.send(node, &Packet::Pingreq);
        }
    }

    /// Whether it said nothing for so long that the server may close its connection, or the server had no time to hear it.
    fn is_quiet(&self, now: u64) -> bool {
        let half_ms = u64::from(self.keep_alive_secs) * 500;
        let is_overdue = now >= self.sent_ms + 3 * half_ms || now >= self.read_ms + half_ms;
        self.was_quiet || !self.takes || (self.connected && half_ms > 0 && is_overdue)
    }

    /// Whether what it says now may come too late for its keep alive: until CONNACK comes it can say nothing.
    fn is_late(&self, now: u64) -> bool {
        let patience_ms = u64::from(self.keep_alive_secs) * 1000;
        self.connected && patience_ms > 0 && now >= self.sent_ms + patience_ms
    }

    /// The disk is full, or was: what is under way may be refused.
    pub(crate) fn doubt_outgoing(&mut self) {
        self.outgoing.iter_mut().for_each(|outgoing| outgoing.doubtful = true);
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
        packet.encode(self.nature.version, &mut bytes).expect("a packet");
        if let Some(socket) = self.socket {
            node.send(socket, &bytes);
            self.was_quiet |= self.is_quiet(node.wall_ms()) || self.is_late(node.wall_ms());
            self.sent_ms = node.wall_ms();
            self.tell(">", packet);
        }
    }

    /// Shows the conversation, for who looks into a seed that failed.
    fn tell(&self, direction: &str, packet: &Packet<'_>) {
        if crate::traces() {
            println!("{}{direction} {}", self.name, text::describe(packet, self.nature.version, &Limits::default()));
        }
    }

    // At the end ---------------------------------------------------------------------------------------------------

    /// Whether there is nothing left to be said from this side.
    pub(crate) fn is_idle(&self) -> bool {
        let has_said_all = self.outgoing.is_empty() && self.answers.is_empty() && self.asked.is_empty();
        self.is_shut_out || (self.connected && has_said_all)
    }

    /// Whether a message is surely not larger than what it takes.
    pub(crate) fn takes(&self, message: &Message) -> bool {
        self.nature.packet_max.is_none() || message.padding == 0
    }

    /// Everything has settled: what it must have, it has.
    pub(crate) fn check_complete(&self, book: &Book, cuts: bool) -> Result<(), String> {
        // What the log does not hold any more, or what has expired, need not be sent again; nor what its client may not
        // read now; nor what is too large by now, as it names another subscription that selects it as well
        // [MQTT-3.1.2-25]. With QoS 2 it is ended all the same.
        let kept = |(id, &((number, _), qos)): (&u16, &(Copy, QoS))| match book.messages.get(number) {
            _ if qos == QoS::ExactlyOnce => true,
            Some(message) => !message.expires() && self.takes(message) && !self.may_miss(message.topic),
            // An answer expires as well.
            None => self.heard.get(id).is_none_or(|heard| heard.topic != ANSWERS && !self.may_miss(heard.topic)),
        };
        let left_over = !cuts && self.in_flight.iter().any(kept);
        if !self.outgoing.is_empty() || left_over {
            let outgoing: Vec<u16> = self.outgoing.iter().map(|outgoing| outgoing.id.get()).collect();
            return Err(format!("{}: left over: to {outgoing:?}, from {:?}", self.name, self.in_flight));
        }
        self.replays.check_complete().map_err(|mistake| format!("{}: {mistake}", self.name))?;
        let lost = |number: &&usize| book.messages[**number].must_have_come() && !self.got.contains(*number);
        match self.expected.iter().find(lost) {
            Some(number) => Err(format!("{} never got {number}: {:?}", self.name, book.messages[*number])),
            None => Ok(()),
        }
    }

    /// What it knows of a topic's record is what the record is.
    pub(crate) fn check_state(&self, topic: &'static str, book: &Book, now_ms: u64) -> Result<(), String> {
        let state = book.state(topic, now_ms);
        let Some(&(qos, at)) = book.changed.get(topic) else { return Ok(()) };
        let is_kept = qos > QoS::AtMostOnce && self.granted(topic, None) > QoS::AtMostOnce;
        let was_there = self.subscribed_before(topic, at, qos);
        let may_be_unknown = book.lost_on.contains(topic) || self.may_miss(topic);
        if may_be_unknown || state.is_some_and(|state| !self.takes(&book.messages[state.number])) {
            return Ok(());
        }
        match (self.view.get(topic).map(|seen| seen.number), state.map(|state| state.number)) {
            // That a record is gone is not shown to who missed it: there is nothing to show.
            (_, None) if self.lost_events => Ok(()),
            (Some(known), current) if was_there && known.is_some() && known != current => {
                Err(format!("{} thinks that {topic} is {known:?}, not {current:?}", self.name))
            }
            (None, Some(current)) if is_kept && self.had_state_since(topic, book, current) => {
                Err(format!("{} does not know that {topic} is {current}", self.name))
            }
            _ => Ok(()),
        }
    }
}
