//! One client's connection: what is known of it between its packets.

use super::aliases::Aliases;
use super::authenticate::Exchange;
use super::conflate::Conflated;
use super::publish::Checked;
use super::rate::Rate;
use super::resume::Resuming;
use super::share::Memberships;
use super::wills::Will;
use super::{Effect, Moment};
use crate::limits::PART_HEARD_BYTES;
use crate::mqtt::session::{Held, Session};
use crate::mqtt::snapshots::Snapshot;
use crate::names::NameSet;
use crate::outbox::Outbox;
use crate::policy::{Principal, Rights};
use crate::position::Sequence;
use crate::proposal::Token;
use crate::replay::Cut;
use crate::validate::Format;
use rowcast_codec::{PacketId, QoS, ReasonCode, Version};
use slab::Slab;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;

/// A connection of a shard. Numbers of closed ones come back with another generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId {
    /// Its place among the shard's connections.
    pub slot: u32,
    /// Which of the connections that had this place.
    pub generation: u32,
}

/// What the network knows of a client.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Whom it is without credentials, if that is allowed (`authentication.authorizeLocal`, `requireAuthentication`).
    pub trusted: Option<Box<Principal>>,
    /// Address and port, for logs.
    pub address: Arc<str>,
    /// In which format it takes documents, as far as the network knows (the `Accept` of a WebSocket's handshake).
    pub format: Format,
    /// It is one too many: it may take the place of another connection of its client, or its CONNECT is refused, and
    /// whoever accepted it says so to the operator.
    pub is_beyond: bool,
}

/// ```text
/// Waiting ─CONNECT─▶ Authenticating ─▶ Claiming ─▶ (Resuming) ─▶ Opening ─CONNACK─▶ Open
///    └───────────────┴─────────────────┴────────────┴───────────────┴──────────────────┴─▶ Closing ─flushed─▶ (gone)
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// For CONNECT, until the deadline (monotonic milliseconds).
    Waiting { deadline_ms: u64 },
    /// For the answer whether the credentials are right, or for the client's next AUTH.
    Authenticating,
    /// For the session of the client identifier.
    Claiming,
    /// For the filters of a session that is taken up again.
    Resuming,
    /// For the session, and the will, to be on disk.
    Opening,
    /// CONNACK is out.
    Open,
    /// Nothing is read any more; what is in the outbox is written, then the socket is closed.
    Closing,
}

/// What a client should have sent by now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Overdue {
    Connect,
    /// The client is not in.
    FirstAuth,
    /// The client is in, and wanted to prove anew who it is.
    Auth,
    /// Anything, to be known to be alive.
    Packet,
}

/// An answer that waits for its turn: acknowledgements leave in the order of the packets they answer.
#[derive(Debug)]
pub(super) struct Pending {
    /// The proposal it waits for; `None`: it waits only for those before it.
    pub token: Option<Token>,
    pub then: Then,
    pub reason: ReasonCode,
    /// A reason string.
    pub detail: Option<Box<str>>,
    /// Told as user property `version` when a precondition failed.
    pub version: Option<u64>,
    /// What was published to, where the writer may still refuse it.
    pub topic: Option<Box<str>>,
}

/// What to do when it is the answer's turn.
#[derive(Debug)]
pub(super) enum Then {
    /// Nothing: the packet has no answer, but those behind it wait for it.
    Nothing,
    Puback(PacketId),
    Pubrec(PacketId),
    Pubcomp(PacketId),
    /// Our own delivery goes on.
    Pubrel(PacketId),
    /// It is over; nothing is sent.
    Finished(PacketId),
    Suback {
        id: PacketId,
        reasons: Vec<ReasonCode>,
        /// What is taken back if it cannot be stored.
        changed: Vec<Changed>,
        /// The replay it begins.
        replay: Option<Box<ReplayTold>>,
    },
    Unsuback {
        id: PacketId,
        reasons: Vec<ReasonCode>,
        /// Likewise.
        changed: Vec<Changed>,
    },
    Connack {
        session_present: bool,
        /// Its session is to be stored, and is counted for that.
        lasts: bool,
        /// Its session's shared subscriptions.
        shared: Vec<Box<str>>,
    },
}

/// What a client is told of a replay.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplayTold {
    pub number: NonZeroU32,
    pub after: Sequence,
    pub cut: Option<Cut>,
}

impl Then {
    /// Whether it says that subscriptions have changed.
    pub(super) fn changes(&self) -> bool {
        matches!(self, Then::Suback { .. } | Then::Unsuback { .. })
    }
}

/// A subscription of a session that lasts, changed and on its way to the disk.
#[derive(Debug)]
pub(super) struct Changed {
    pub filter: Box<str>,
    /// A row of [`Shard::joining`](super::Shard).
    pub row: Option<Vec<u8>>,
    /// What there was before.
    pub before: Option<Box<Held>>,
    /// What of its state was still to be sent.
    pub snapshots: Vec<Snapshot>,
}

/// A subscription that was asked for.
#[derive(Debug)]
pub(super) struct Join {
    pub filter: Box<str>,
    /// There was this one with the same filter before.
    pub before: Option<Box<Held>>,
    pub joining: Joining,
}

/// What a subscription begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Joining {
    /// The current records of its topics.
    WithRecords,
    /// What changes from now on.
    WithoutRecords,
    /// What happened before, by the session's next replay.
    WithPast,
}

/// A CONNECT on its way to a session.
#[derive(Debug)]
pub(super) struct Opening {
    pub client_id: Box<str>,
    /// We made the client identifier.
    pub assigned: bool,
    /// [`super::Claimant::arrival`].
    pub arrival: u64,
    pub clean_start: bool,
    pub expiry_secs: u32,
    pub receive_maximum: u16,
    /// It asked for `rowcast-meta` on all its subscriptions.
    pub meta: bool,
    /// The format of documents that it asked for.
    pub format: Option<Format>,
    pub will: Option<Box<Will>>,
    /// Another connection has claimed the client identifier meanwhile.
    pub superseded: Option<super::Claimant>,
    /// The session that is to be its own, while that is taken up again.
    pub resuming: Option<Resuming>,
}

/// A packet that cannot be handled before something is looked up or written. Those behind it stay in the socket
/// meanwhile, so that the client sees everything happen in its order.
#[derive(Debug)]
pub(super) struct LookUp {
    /// The packet, encoded.
    pub packet: Vec<u8>,
    /// What is known of it already, where it is a PUBLISH of a large document.
    pub checked: Option<Checked>,
    /// What asks for it, once all that came before is answered; `None`: it was asked for.
    pub effect: Option<Effect>,
    /// The proposal that stands behind all that it waits for to be written.
    pub behind: Option<Token>,
}

/// A message that nobody logs, waiting for room in the window.
#[derive(Debug)]
pub(super) struct Queued {
    /// Encoded as an entry.
    pub entry: Rc<[u8]>,
    /// It came behind this place of the log, and before what follows there.
    pub after: Sequence,
    /// What it is delivered with.
    pub qos: QoS,
}

impl Queued {
    /// What it counts for: others may wait for the same message, each with a place of its own.
    pub(super) fn bytes(&self) -> usize {
        self.entry.len() + size_of::<Queued>()
    }
}

/// Deliveries that wait for what makes them safe.
#[derive(Debug)]
pub(super) struct HeldBack {
    /// The proposal that does.
    pub token: Token,
    /// Their packets.
    pub bytes: Vec<u8>,
}

/// One client's connection. There may be very many that do nothing: what most of them never have is behind a box.
#[derive(Debug)]
pub(super) struct Connection {
    pub generation: u32,
    pub phase: Phase,
    pub peer: Peer,
    pub version: Version,
    /// A bridge of another broker ([`Connect`](rowcast_codec::Connect)).
    pub is_bridge: bool,
    pub principal: Principal,
    /// If CONNECT named an authentication method.
    pub exchange: Option<Box<Exchange>>,
    /// What its user may do by now.
    pub rights: Rights,
    pub session: Option<Box<Session>>,
    pub opening: Option<Box<Opening>>,
    pub outbox: Outbox,
    /// Whether its task was told that there is something to do, and has not looked since.
    pub woken: bool,
    /// More waits in the outbox than may: its packets are not handled until some of it is written.
    pub stalled: bool,
    /// What comes next did not fit into the outbox: nothing is read for the client until some of it is written.
    pub crowded: bool,
    pub acks: VecDeque<Pending>,
    /// How many of them are SUBACKs and UNSUBACKs: nothing is read for the client until they are out.
    pub changing: usize,
    /// QoS 1 and 2 publishes of the client that wait for an answer (MQTT 5 §3.3.4).
    pub inbound_open: u16,
    /// Topics behind the client's aliases, by alias - 1.
    pub aliases: Vec<Option<Rc<str>>>,
    /// Our own aliases, if the client takes any.
    pub own_aliases: Option<Box<Aliases>>,
    /// It wanted nothing of an earlier session.
    pub clean_start: bool,
    /// Seconds of silence it was allowed; 0: any.
    pub keep_alive_secs: u16,
    pub heard_ms: u64,
    /// Bytes of a packet that has not come whole, when they last counted as a sign of life.
    pub heard_of_packet: u32,
    /// How fast it publishes, once it does and if that is bounded.
    pub rate: Option<Box<Rate>>,
    /// Bytes of the largest packet the client takes.
    pub packet_max: u32,
    /// What it may send.
    pub agreed: Agreed,
    /// Whether reason strings may be sent outside of CONNACK and DISCONNECT (MQTT 5 §3.1.2.11.7).
    pub problem_information: bool,
    /// Whether the client asked where it may be answered (MQTT 5 §3.1.2.11.6).
    pub response_information: bool,
    pub will: Option<Box<Will>>,
    /// A packet that waits for something to be looked up.
    pub looking_up: Option<Box<LookUp>>,
    /// A read of log or records is under way for this connection.
    pub reading: bool,
    /// Topics whose records changed while records are read for it: what the read brings of them is stale.
    pub changed: Option<Box<NameSet<Box<str>>>>,
    /// For which snapshot, if it is of records.
    pub snapshot_read: u64,
    /// For which replay, if it is for one.
    pub replay_read: Option<NonZeroU32>,
    /// Messages that stand in no log, in their order, and their bytes.
    pub queue: VecDeque<Queued>,
    pub queue_bytes: usize,
    /// How many of them have QoS 0.
    pub queued_at_most_once: usize,
    /// States of QoS 0 that wait for room, where subscriptions asked for that.
    pub conflated: Option<Box<Conflated>>,
    /// Filters whose events are logged because it lags, as they are spelled.
    pub lagging: Vec<Box<str>>,
    /// The groups it is in.
    pub memberships: Memberships,
    /// How often it came into one.
    pub entrances: u32,
    /// Deliveries whose identifiers must be on disk before they go out.
    pub held: Option<Box<HeldBack>>,
    /// The session was given up at DISCONNECT; its rows are gone with this proposal.
    pub forgotten: Option<Token>,
    /// It said goodbye, and what that means is on its way to the disk: its socket is closed behind that.
    pub parting: bool,
    /// Its client sent DISCONNECT.
    pub goodbye: bool,
    /// Its filters are still being taken out: its place is not another's before.
    pub remains: bool,
    /// Messages dropped because the client does not take them.
    pub dropped: u64,
    /// What CONNACK has to say: we made the client identifier, ...
    pub assigned: bool,
    /// ... keep alive is not what was asked for, ...
    pub keep_alive_told: Option<u16>,
    /// ... and how long a session was asked for.
    pub expiry_asked: u32,
}

/// What a client may send, as CONNACK tells it: these limits hold for as long as it is connected, whatever becomes of
/// them meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Agreed {
    pub packet_bytes: u32,
    pub receive_maximum: u16,
    pub topic_alias_maximum: u16,
}

/// The connection with this number, unless it is closed.
pub(super) fn find(connections: &Slab<Connection>, id: ConnectionId) -> Option<&Connection> {
    connections.get(id.slot as usize).filter(|connection| connection.generation == id.generation)
}

/// The same, to be changed.
pub(super) fn find_mut(connections: &mut Slab<Connection>, id: ConnectionId) -> Option<&mut Connection> {
    connections.get_mut(id.slot as usize).filter(|connection| connection.generation == id.generation)
}

impl Connection {
    pub(super) fn new(generation: u32, peer: Peer, outbox: Outbox, now_ms: u64, connect_timeout_ms: u32) -> Connection {
        Connection {
            generation,
            phase: Phase::Waiting { deadline_ms: now_ms + u64::from(connect_timeout_ms) },
            peer,
            version: Version::V311,
            is_bridge: false,
            principal: Principal::default(),
            exchange: None,
            rights: Rights::default(),
            session: None,
            opening: None,
            outbox,
            woken: false,
            stalled: false,
            crowded: false,
            acks: VecDeque::new(),
            changing: 0,
            inbound_open: 0,
            aliases: Vec::new(),
            own_aliases: None,
            clean_start: false,
            keep_alive_secs: 0,
            heard_ms: now_ms,
            heard_of_packet: 0,
            rate: None,
            packet_max: u32::MAX,
            agreed: Agreed::default(),
            problem_information: true,
            response_information: false,
            will: None,
            looking_up: None,
            reading: false,
            changed: None,
            snapshot_read: 0,
            replay_read: None,
            queue: VecDeque::new(),
            queue_bytes: 0,
            forgotten: None,
            parting: false,
            goodbye: false,
            queued_at_most_once: 0,
            conflated: None,
            lagging: Vec::new(),
            memberships: Memberships::default(),
            entrances: 0,
            held: None,
            remains: false,
            dropped: 0,
            assigned: false,
            keep_alive_told: None,
            expiry_asked: 0,
        }
    }

    /// Bytes that are to be written, at once or when the disk allows it.
    pub(super) fn backlog(&self) -> usize {
        self.outbox.len() + self.held.as_ref().map_or(0, |held| held.bytes.len())
    }

    pub(super) fn is_v5(&self) -> bool {
        self.version == Version::V5
    }

    /// Whether packets of the client can be handled now; else they stay in the socket.
    ///
    /// A client that does not take what it is answered is not asked for more.
    pub(super) fn takes_packets(&self, acks_max: usize, outbound_bytes: u32) -> bool {
        match self.phase {
            Phase::Waiting { .. } => true,
            Phase::Open => {
                let listens = self.outbox.len() <= outbound_bytes as usize;
                listens && self.acks.len() < acks_max && !self.is_rated() && self.looking_up.is_none()
            }
            Phase::Authenticating => self.exchange.as_ref().is_some_and(|exchange| exchange.is_clients_turn()),
            Phase::Claiming | Phase::Resuming | Phase::Opening | Phase::Closing => false,
        }
    }

    /// Whether it has to wait because it sent too fast.
    fn is_rated(&self) -> bool {
        self.rate.as_ref().is_some_and(|rate| rate.waits())
    }

    /// So many bytes of a packet are here: within a packet a client can say nothing else, so a part that is worth the
    /// name counts as being heard, and single bytes do not.
    pub(super) fn hear_part(&mut self, bytes: usize, now: Moment) {
        if bytes >= self.heard_of_packet as usize + PART_HEARD_BYTES {
            self.heard_of_packet = bytes as u32;
            self.heard_ms = now.monotonic_ms;
        }
    }

    /// What should have come by now (monotonic milliseconds), and did not.
    pub(super) fn overdue(&self, now_ms: u64) -> Option<Overdue> {
        let auth_ms = self.exchange.as_ref().and_then(|exchange| exchange.deadline_ms());
        let auth_is_late = auth_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms);
        match self.phase {
            Phase::Waiting { deadline_ms } if deadline_ms <= now_ms => Some(Overdue::Connect),
            Phase::Authenticating if auth_is_late => Some(Overdue::FirstAuth),
            Phase::Open if auth_is_late => Some(Overdue::Auth),
            // What a client says while it is not read is not heard.
            Phase::Open if self.keep_alive_secs > 0 && !self.is_rated() && self.looking_up.is_none() => {
                let silence_max_ms = u64::from(self.keep_alive_secs) * 1500; // [MQTT-3.1.2-22]
                (self.heard_ms + silence_max_ms <= now_ms).then_some(Overdue::Packet)
            }
            _ => None,
        }
    }

    /// A SUBACK or UNSUBACK goes out. Once it is known which subscriptions there are, replays of those that are gone are
    /// over; not before, as they may turn out not to be.
    pub(super) fn settle_change(&mut self) {
        self.changing -= 1;
        if let (0, Some(session)) = (self.changing, &mut self.session) {
            session.drop_replays();
        }
    }

    pub(super) fn queue_push(&mut self, queued: Queued) {
        self.queue_bytes += queued.bytes();
        self.queued_at_most_once += usize::from(queued.qos == QoS::AtMostOnce);
        self.queue.push_back(queued);
    }

    pub(super) fn queue_pop(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.queue_bytes -= queued.bytes();
        self.queued_at_most_once -= usize::from(queued.qos == QoS::AtMostOnce);
        Some(queued)
    }

    pub(super) fn queue_clear(&mut self) {
        self.queue = VecDeque::new();
        self.queue_bytes = 0;
        self.queued_at_most_once = 0;
    }

    /// Puts back what [`Connection::queue_pop`] took.
    pub(super) fn queue_unpop(&mut self, queued: Queued) {
        self.queue_bytes += queued.bytes();
        self.queued_at_most_once += usize::from(queued.qos == QoS::AtMostOnce);
        self.queue.push_front(queued);
    }

    /// A publish of the client is settled. Those of an earlier connection may be as well, and were not counted in this
    /// one (MQTT 5 §4.9): the count is never too high, and at times too low.
    pub(super) fn close_inbound(&mut self) {
        self.inbound_open = self.inbound_open.saturating_sub(1);
    }

    /// The session whose filters are in place, or some of them, and what its user may do.
    pub(super) fn in_place(&mut self) -> Option<(&mut Session, &Rights)> {
        let resuming = self.opening.as_mut().and_then(|opening| opening.resuming.as_mut());
        let session = self.session.as_mut().or(resuming.map(|resuming| &mut resuming.session))?;
        Some((session, &self.rights))
    }

    pub(super) fn client_id(&self) -> &str {
        match (&self.session, &self.opening) {
            (Some(session), _) => &session.client_id,
            (None, Some(opening)) => &opening.client_id,
            (None, None) => "",
        }
    }
}
