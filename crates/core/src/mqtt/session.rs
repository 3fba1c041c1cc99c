//! The half of a client's state that can outlive its connection (MQTT 5 §4.1).

use super::ended::Ended;
use super::group::key_of;
use super::replay::{Past, Replay};
use super::snapshots::{Snapshot, Snapshots};
use super::window::{Delivery, Window};
use crate::interest::{Subscriber, Subscription};
use crate::names::NameMap;
use crate::position::{Sequence, SessionId};
use crate::validate::Format;
use rowcast_codec::{PacketId, QoS, RetainHandling, SubscriptionOptions};
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

/// A session, held by the shard of its connection.
#[derive(Debug)]
pub struct Session {
    /// Drawn when it began; says which changes are its own.
    pub id: SessionId,
    /// The client's name for it.
    pub client_id: Box<str>,
    /// Who made it; nobody else may resume it.
    pub user: Option<Box<str>>,
    /// Seconds it outlives its connection; 0: not at all, `u32::MAX`: for ever.
    pub expiry_secs: u32,
    /// By filter, as the client spelled it. Boxed, as a table of few has room for more.
    pub subscriptions: NameMap<Box<str>, Box<Held>>,
    /// Subscriptions that are gone and still bring what is in doubt.
    pub ended: Vec<Ended>,
    /// QoS 1 and 2 deliveries to the client.
    pub window: Window,
    /// QoS 2 publishes of the client between PUBREC and PUBREL.
    pub received: FxHashSet<PacketId>,
    /// How what is committed reaches the client.
    pub flow: Flow,
    /// Committed entries up to here are not for live delivery: they were read from the log, or came before.
    pub live_after: Sequence,
    /// QoS 0 messages up to here are not delivered: the client was away.
    pub away_until: Sequence,
    /// Up to here, what is delivered from the log may have been delivered already, by a connection that ended with
    /// its node: it has DUP=1.
    pub in_doubt: Sequence,
    /// Retained state that is still to be sent, one subscription after the other.
    pub snapshots: Snapshots,
    /// The past of subscriptions that is still to be sent, one replay after the other.
    ///
    /// Invariant: while there is one, the session reads the log; nothing reaches it live.
    pub replays: VecDeque<Replay>,
    /// The number of the last replay.
    pub replays_begun: u32,
    /// Deliveries of an earlier connection, by number, still to be sent again.
    pub redeliver: VecDeque<u64>,
    /// What its connection asked for on all its subscriptions.
    pub for_all: ForAll,
    /// Whether the stored form differs from this in ways that only cost repetition (acknowledgements).
    pub dirty: bool,
}

/// What a connection asks for on all subscriptions of its session.
#[derive(Clone, Copy, Default, Debug)]
pub struct ForAll {
    /// `rowcast-meta`.
    pub meta: bool,
    /// The format of documents where a subscription says nothing else.
    pub format: Format,
}

/// A subscription as the session holds it.
#[derive(Clone, Debug)]
pub struct Held {
    /// The filter that canonical topics are matched with; empty for a shared one while its table is shut.
    pub filter: Arc<str>,
    /// The name of the group that shares it, if it is a shared one.
    pub share: Option<Box<str>>,
    /// What it asks for.
    pub subscription: Subscription,
    /// What was asked for, as it is stored.
    pub options: StoredSubscription,
}

impl Held {
    /// The group it is in, if it is a shared one.
    #[must_use]
    pub fn group(&self) -> Option<Box<str>> {
        let name = self.share.as_deref().filter(|_| !self.filter.is_empty())?;
        Some(key_of(name, &self.filter))
    }
}

/// How committed changes reach a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// As they are committed.
    Live,
    /// By reading the log behind `after`, at the client's pace.
    Behind {
        /// Everything up to here was delivered or is in flight.
        after: Sequence,
    },
}

impl Flow {
    /// Whether the log was delivered up to there.
    #[must_use]
    pub fn has_reached(self, sequence: Sequence) -> bool {
        match self {
            Flow::Live => true,
            Flow::Behind { after } => after >= sequence,
        }
    }
}

/// Zeros are not part of what is stored.
pub(super) fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// A session as it is stored in [`TableId::SESSIONS`](crate::TableId::SESSIONS), in JSON. Enough to continue with the same packet identifiers:
/// what is in flight stands here, and what follows is counted from `count` along the log behind `position`.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoredSession {
    /// [`Session::id`].
    pub id: u64,
    /// [`Session::user`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Box<str>>,
    /// [`Session::expiry_secs`].
    pub expiry_secs: u32,
    /// Everything up to here was delivered or is in flight.
    pub position: u64,
    /// Deliveries made or skipped in all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub count: u64,
    /// Deliveries under way, by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_flight: Vec<(u64, Delivery)>,
    /// [`Window::doubtful`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubtful: Vec<Range<u64>>,
    /// [`Session::in_doubt`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub in_doubt: u64,
    /// [`Session::ended`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<Ended>,
    /// Retained state still to be sent, as far as the rows of subscriptions do not say it ([`Snapshots::stored`]).
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub snapshots: VecDeque<Snapshot>,
    /// Subscriptions were sent the state that they asked for with rows up to here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub served: u64,
    /// What is still to be replayed.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub replays: VecDeque<Replay>,
    /// [`Session::replays_begun`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replays_begun: u32,
    /// Its client was there: more may have been delivered since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub connected: bool,
}

/// Which stored form of a session.
struct Form {
    /// Its client is there.
    connected: bool,
    /// The delivery that is left out.
    over: Option<PacketId>,
    /// What is to be claimed is claimed beside it.
    with_claims: bool,
}

impl StoredSession {
    /// Whose the session in a row is; `None` if the row is no session.
    #[must_use]
    pub fn owner(row: &[u8]) -> Option<Option<Box<str>>> {
        #[derive(Deserialize)]
        struct Owned {
            user: Option<Box<str>>,
        }
        serde_json::from_slice(row).ok().map(|Owned { user }| user)
    }
}

/// A subscription as it is stored in [`TableId::SUBSCRIPTIONS`](crate::TableId::SUBSCRIPTIONS), in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoredSubscription {
    /// 0, 1 or 2.
    pub qos: u8,
    /// No Local.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_local: bool,
    /// Retain As Published.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retain_as_published: bool,
    /// It asked for `rowcast-meta`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub meta: bool,
    /// The format of documents that it asked for; without, the one of its connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// It asked for `rowcast-conflate`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub conflate: bool,
    /// Subscription Identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<NonZeroU32>,
    /// It replaced one that began there, and continues it. Without: it began with its row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// It replaced one with No Local: what its client published itself comes from there on, or from its row (0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_since: Option<u64>,
    /// It asks for the current records of its topics: with its row (0), or still with an earlier one, which stood there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<u64>,
    /// What it is replayed, or was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past: Option<Past>,
}

impl StoredSubscription {
    /// What a SUBSCRIBE asks for.
    #[must_use]
    pub fn new(options: SubscriptionOptions, identifier: Option<NonZeroU32>) -> StoredSubscription {
        StoredSubscription {
            qos: options.qos as u8,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            meta: false,
            format: None,
            conflate: false,
            identifier,
            since: None,
            own_since: None,
            state: None,
            past: None,
        }
    }

    /// Whether its past is part of this replay.
    #[must_use]
    pub fn is_replayed_by(&self, number: NonZeroU32) -> bool {
        self.past.is_some_and(|past| past.replay == number)
    }

    /// As the options of a SUBSCRIBE.
    #[must_use]
    pub fn options(self) -> SubscriptionOptions {
        SubscriptionOptions {
            qos: QoS::try_from(self.qos).unwrap_or(QoS::ExactlyOnce),
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: RetainHandling::DoNotSend,
        }
    }

    /// As it is matched, with its filter in the canonical spelling, from where it begins.
    #[must_use]
    pub fn subscription(
        self,
        subscriber: Subscriber,
        (since, own_since): (Sequence, Sequence),
        for_all: ForAll,
    ) -> Subscription {
        let options = self.options();
        Subscription {
            subscriber,
            qos: options.qos,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            meta: self.meta || for_all.meta,
            format: self.format.unwrap_or(for_all.format),
            conflate: self.conflate,
            alias: false,
            guarded: true, // Until somebody has looked.
            spelling: 0,
            identifier: self.identifier,
            since,
            own_since,
            past: Sequence(self.past.map_or(0, |past| past.after)),
            replay: self.past.map(|past| past.replay),
        }
    }
}

/// Keys of the rows a session has in the server's own tables.
pub mod rows {
    use super::{PacketId, StoredSubscription};

    /// The key of a subscription. Those with QoS 1 or 2 are marked `k` for kept: only for them messages must be in
    /// the log.
    #[must_use]
    pub fn subscription(client_id: &str, filter: &str, options: &StoredSubscription) -> Vec<u8> {
        let mark = if options.qos > 0 { b'k' } else { b'n' };
        [client_id.as_bytes(), &[0, mark], filter.as_bytes()].concat()
    }

    /// Client identifier, whether it is kept, and filter.
    #[must_use]
    pub fn parse_subscription(key: &[u8]) -> Option<(&str, bool, &str)> {
        let key = std::str::from_utf8(key).ok()?;
        let (client_id, rest) = key.split_once('\0')?;
        let filter = rest.get(1..)?;
        Some((client_id, rest.starts_with('k'), filter))
    }

    /// The key of an inbound QoS 2 publish between PUBREC and PUBREL.
    #[must_use]
    pub fn received(client_id: &str, id: PacketId) -> Vec<u8> {
        [client_id.as_bytes(), &[0, b'i'], &id.get().to_be_bytes()].concat()
    }

    /// The key of an outbound QoS 2 delivery that PUBREC came for.
    #[must_use]
    pub fn released(client_id: &str, id: PacketId) -> Vec<u8> {
        [client_id.as_bytes(), &[0, b'o'], &id.get().to_be_bytes()].concat()
    }

    /// `Ok`: an inbound identifier, `Err`: an outbound one.
    #[must_use]
    pub fn parse_handshake(key: &[u8]) -> Option<Result<PacketId, PacketId>> {
        let at = key.iter().position(|&byte| byte == 0)?;
        match key[at + 1..] {
            [b'i', high, low] => PacketId::new(u16::from_be_bytes([high, low])).map(Ok),
            [b'o', high, low] => PacketId::new(u16::from_be_bytes([high, low])).map(Err),
            _ => None,
        }
    }

    /// What all rows of a client begin with, in the tables that have several for one.
    #[must_use]
    pub fn prefix(client_id: &str) -> Vec<u8> {
        [client_id.as_bytes(), &[0]].concat()
    }
}

impl Session {
    /// A session that begins now: `after` is the last committed sequence.
    #[must_use]
    pub fn new(id: SessionId, client_id: &str, user: Option<&str>, receive_maximum: u16, after: Sequence) -> Session {
        Session {
            id,
            client_id: client_id.into(),
            user: user.map(Into::into),
            expiry_secs: 0,
            subscriptions: NameMap::default(),
            ended: Vec::new(),
            window: Window::new(receive_maximum, 0),
            received: FxHashSet::default(),
            flow: Flow::Live,
            live_after: after,
            away_until: Sequence::ZERO,
            in_doubt: Sequence::ZERO,
            snapshots: Snapshots::default(),
            replays: VecDeque::new(),
            replays_begun: 0,
            redeliver: VecDeque::new(),
            for_all: ForAll::default(),
            dirty: false,
        }
    }

    /// Whether it outlives its connection, so that its steps are stored.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.expiry_secs > 0
    }

    /// Where it stands in the log, when its shard has shown everything up to `seen`.
    #[must_use]
    pub fn position(&self, seen: Sequence) -> Sequence {
        match self.flow {
            Flow::Live => seen.max(self.live_after),
            Flow::Behind { after } => after,
        }
    }

    /// The stored form while its client is connected.
    #[must_use]
    pub fn store(&self, seen: Sequence) -> Vec<u8> {
        self.stored(seen, Form { connected: true, over: None, with_claims: false })
    }

    /// The same once a delivery is over that still is under way here.
    #[must_use]
    pub fn store_without(&self, seen: Sequence, over: PacketId) -> Vec<u8> {
        self.stored(seen, Form { connected: true, over: Some(over), with_claims: false })
    }

    /// The stored form that stands beside claims of all that is to be claimed.
    #[must_use]
    pub fn store_with_claims(&self, seen: Sequence) -> Vec<u8> {
        self.stored(seen, Form { connected: true, over: None, with_claims: true })
    }

    /// The same once its client is gone.
    #[must_use]
    pub fn store_left(&self, seen: Sequence) -> Vec<u8> {
        self.stored(seen, Form { connected: false, over: None, with_claims: true })
    }

    fn stored(&self, seen: Sequence, form: Form) -> Vec<u8> {
        let Form { connected, over, with_claims } = form;
        let in_flight = self.window.in_flight().filter(|&(_, id, _)| Some(id) != over);
        let in_flight = in_flight.map(|(number, _, delivery)| {
            let unclaimed = delivery.unclaimed && !with_claims;
            (number, Delivery { unclaimed, ..delivery.clone() })
        });
        let (snapshots, served) = self.snapshots.stored();
        let stored = StoredSession {
            id: self.id.0,
            user: self.user.clone(),
            expiry_secs: self.expiry_secs,
            position: self.position(seen).0,
            count: self.window.count(),
            in_flight: in_flight.collect(),
            doubtful: self.window.doubtful().to_vec(),
            in_doubt: self.in_doubt.0,
            ended: self.ended.clone(),
            snapshots,
            served,
            replays: self.replays.clone(),
            replays_begun: self.replays_begun,
            connected,
        };
        serde_json::to_vec(&stored).expect("a session is plain data")
    }

    /// Which session a stored form is of; `None` if the bytes are not a session.
    #[must_use]
    pub fn id_in(stored: &[u8]) -> Option<SessionId> {
        serde_json::from_slice(stored).ok().map(|stored: StoredSession| SessionId(stored.id))
    }

    /// The stored form after a node ended with the client connected, its last committed sequence being `committed`.
    /// The row is `None` if it was not connected. `None` if the bytes are not a session.
    #[must_use]
    pub fn interrupted(stored: &[u8], committed: Sequence) -> Option<(StoredSession, Option<Vec<u8>>)> {
        let mut stored: StoredSession = serde_json::from_slice(stored).ok()?;
        if !stored.connected {
            return Some((stored, None));
        }
        stored.in_doubt = committed.0;
        stored.replays.iter_mut().for_each(|replay| replay.in_doubt = true);
        stored.connected = false;
        let row = serde_json::to_vec(&stored).expect("a session is plain data");
        Some((stored, Some(row)))
    }

    /// A session from its stored form and the identifiers of its handshakes; subscriptions are added by the caller.
    /// `None` if the bytes are not a session.
    #[must_use]
    pub fn load(
        client_id: &str,
        stored: &[u8],
        handshakes: impl Iterator<Item = Result<PacketId, PacketId>>,
        committed: Sequence,
    ) -> Option<Session> {
        let stored: StoredSession = serde_json::from_slice(stored).ok()?;
        let mut session = Session::new(SessionId(stored.id), client_id, stored.user.as_deref(), u16::MAX, committed);
        session.expiry_secs = stored.expiry_secs;
        session.window = Window::restore(stored.count, stored.in_flight, stored.doubtful);
        session.flow = Flow::Behind { after: Sequence(stored.position) };
        session.away_until = committed;
        session.snapshots = Snapshots::restore(stored.snapshots, stored.served);
        session.replays = stored.replays;
        session.replays_begun = stored.replays_begun;
        session.in_doubt = Sequence(stored.in_doubt);
        session.ended = stored.ended;
        if stored.connected {
            // That its client went could not be written down.
            session.in_doubt = committed;
            session.replays.iter_mut().for_each(|replay| replay.in_doubt = true);
        }
        for id in handshakes {
            match id {
                Ok(received) => drop(session.received.insert(received)),
                Err(released) => session.window.restore_released(released),
            }
        }
        Some(session)
    }

    /// Whether what stands in the place of lost changes is to be shown before what the log holds at `sequence`: where the
    /// end of what is in doubt lies before that, it has waited for no more than that.
    #[must_use]
    pub fn shows_missed_before(&self, sequence: Sequence) -> bool {
        let before = Sequence(sequence.0.saturating_sub(1));
        let is_next = |first: &Snapshot| first.is_missed() && first.is_ready(Flow::Behind { after: before });
        let in_doubt = before < self.in_doubt || self.replays.iter().any(|replay| replay.in_doubt);
        !in_doubt && self.snapshots.first().is_some_and(is_next)
    }

    /// How many more messages of an earlier connection may go out again: those that did count, as the client may take
    /// fewer at a time than it did [MQTT-3.3.4-9]. Nothing new goes out before them.
    pub fn redelivery_room(&self) -> usize {
        let Some(&next) = self.redeliver.front() else { return 0 };
        let sent = self.window.in_flight().take_while(|&(number, ..)| number < next).count();
        usize::from(self.window.receive_maximum()).saturating_sub(sent)
    }

    /// A new connection begins: everything under way goes out again, in order (MQTT 5 §4.4).
    pub fn resume(&mut self, receive_maximum: u16) {
        self.window.resume(receive_maximum);
        self.redeliver = self.window.in_flight().map(|(number, _, _)| number).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_session_continues_where_it_was() {
        let mut session = Session::new(SessionId(7), "c1", Some("rex"), 10, Sequence(4));
        session.expiry_secs = 60;
        for sequence in [5, 6] {
            session.window.take(Delivery::of_entry(Sequence(sequence), QoS::ExactlyOnce));
        }
        let bytes = session.store(Sequence(6));
        let id = |number| PacketId::new(number).expect("not zero");
        let handshakes = [Ok(id(9)), Err(id(2))];
        let mut again = Session::load("c1", &bytes, handshakes.into_iter(), Sequence(8)).expect("a session");
        assert_eq!((again.id, again.user.as_deref(), again.expiry_secs), (SessionId(7), Some("rex"), 60));
        assert_eq!(again.flow, Flow::Behind { after: Sequence(6) });
        assert!(again.received.contains(&id(9)));
        again.resume(10);
        assert_eq!(again.redeliver, [0, 1]);
        let released: Vec<bool> = again.window.in_flight().map(|(_, _, delivery)| delivery.released).collect();
        assert_eq!(released, [false, true]);
        assert!(Session::load("c1", b"{", std::iter::empty(), Sequence(8)).is_none());
    }

    #[test]
    fn keys_of_rows_say_what_they_are() {
        let options = StoredSubscription {
            qos: 1,
            no_local: false,
            retain_as_published: false,
            meta: false,
            format: None,
            conflate: false,
            identifier: None,
            since: None,
            own_since: None,
            state: None,
            past: None,
        };
        let key = rows::subscription("c1", "dog/#", &options);
        assert!(key.starts_with(&rows::prefix("c1")));
        assert_eq!(rows::parse_subscription(&key), Some(("c1", true, "dog/#")));
        assert_eq!(rows::parse_subscription(b"c1"), None);
        assert_eq!(rows::parse_handshake(b"c1\0i"), None);
    }
}
