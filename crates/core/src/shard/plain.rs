//! The short way to a client: for an event and a subscription about which nothing is out of the ordinary.
//!
//! Most messages are of this kind. What [`offer`](Shard::offer) and [`deliver`](super::deliver::deliver) find out one
//! after the other is asked here at once, and what is not plain takes the long way. That would do the same with what is,
//! and tests see to it that it would, with each message ([`Plain::goes_the_long_way`]).

use super::connection::{Connection, Phase};
use super::deliver::{Outgoing, Packed, Selected};
use super::fanout::late_behind;
use super::{Shard, id_of};
use crate::change::{Change, ChangeKind, Entry};
use crate::interest::Subscription;
use crate::mqtt::session::{Flow, Session};
use crate::mqtt::window::Delivery;
use crate::outbox::SHARED_PAYLOAD_BYTES;
use crate::policy::View;
use crate::position::{Sequence, TableId};
use rowcast_codec::{Layout, Measured, Message, QoS};

/// An event that is sent as it is, and copied to whoever gets it.
pub(super) struct Plain<'a> {
    topic: &'a str,
    /// The topic with the table's alias.
    alias: &'a str,
    table: TableId,
    payload: &'a [u8],
    properties: &'a [u8],
    qos: QoS,
    /// Its place in the log; [`Sequence::ZERO`]: it stands in none.
    sequence: Sequence,
}

impl<'a> Plain<'a> {
    #[inline]
    pub(super) fn of_entry(entry: &Entry<'a>, topic: &'a str, alias: &'a str) -> Option<Self> {
        let change = &entry.change;
        let is_plain = change.kind == ChangeKind::Message
            && change.expires_ms.is_none()
            && change.payload.len() < SHARED_PAYLOAD_BYTES;
        is_plain.then_some(Plain {
            topic,
            alias,
            table: change.table,
            payload: change.payload,
            properties: change.properties,
            qos: change.qos,
            sequence: entry.sequence,
        })
    }

    /// Whether its client may see it.
    fn is_shown(&self, connection: &Connection, subscription: &Subscription) -> bool {
        !subscription.guarded || connection.rights.view(self.table, self.topic) != View::Nothing
    }

    /// Whether it is delivered as it happens, for the first time, and the session can take it.
    #[inline]
    fn comes_live(&self, qos: QoS, session: &Session, subscription: &Subscription) -> bool {
        let is_first = if self.sequence > Sequence::ZERO {
            self.sequence > session.live_after.max(session.in_doubt)
                && self.sequence > subscription.since.max(subscription.own_since)
        } else {
            qos == QoS::AtMostOnce || !session.is_durable() // Else it is in the log as well: see `publish`.
        };
        let has_room = || session.redeliver.is_empty() && session.window.has_plain_room();
        is_first && session.flow == Flow::Live && (qos == QoS::AtMostOnce || has_room())
    }

    /// Whether the long way delivers it as well, and the same, to whoever published it, too.
    fn goes_the_long_way(&self, qos: QoS, connection: &Connection, subscription: &Subscription) -> bool {
        let Some(session) = connection.session.as_deref() else { return false };
        let change = Change {
            kind: ChangeKind::Message,
            qos: self.qos,
            table: self.table,
            key: &[],
            publisher: session.id,
            expires_ms: None,
            properties: self.properties,
            payload: self.payload,
        };
        let sequence = Some(self.sequence).filter(|&sequence| sequence > Sequence::ZERO);
        let message = Outgoing::of_change(&change, self.topic, self.alias, sequence);
        let selected = Selected::by(std::slice::from_ref(subscription), &message, session.id);
        let is_same = selected.qos == Some(qos) && selected.is_plain() && !selected.retain;
        let is_live = message.sequence.map_or(qos == QoS::AtMostOnce || !session.is_durable(), |at| {
            session.flow == Flow::Live && at > session.live_after && !message.is_in_doubt(session.in_doubt)
        });
        let is_next = late_behind(connection, session, &message, qos, (false, false)).is_none();
        let has_room = qos == QoS::AtMostOnce || session.window.has_room();
        is_same && is_live && is_next && has_room
    }
}

impl Shard {
    /// Delivers an event to the client of a subscription, its only one that matches. `false`: not this way, and nothing was
    /// done.
    #[inline]
    pub(super) fn deliver_plain(&mut self, event: &Plain<'_>, subscription: &Subscription) -> bool {
        let slot = subscription.subscriber.0;
        let outbound_bytes = self.settings.limits.outbound_bytes as usize;
        let Some(connection) = self.connections.get_mut(slot as usize) else { return false };
        if !asks_for_nothing(subscription) || !is_up_to_date(connection) || !event.is_shown(connection, subscription) {
            return false;
        }
        let Some(session) = connection.session.as_deref() else { return false };
        let qos = event.qos.min(subscription.qos);
        if !event.comes_live(qos, session, subscription) {
            return false;
        }
        let layout = Layout { version: connection.version, qos, retain: false };
        let wire = || Message {
            topic: if subscription.alias { event.alias } else { event.topic },
            topic_alias: None,
            payload: event.payload,
            properties: event.properties,
            content_type: None,
            expiry_secs: None,
        };
        let own;
        let packet = match self.frames.for_many() {
            Some(frames) => Packed::Copied(frames.frame(layout, subscription.alias, wire)),
            None => {
                own = wire();
                Packed::Own(Measured::new(layout, &own, &[]))
            }
        };
        let bytes = packet.bytes();
        let waiting = connection.outbox.len();
        if bytes > connection.packet_max as usize || (waiting > 0 && waiting + bytes > outbound_bytes) {
            return false;
        }
        debug_assert!(event.goes_the_long_way(qos, connection, subscription), "the long way leads elsewhere");
        let Some(session) = connection.session.as_deref_mut() else { return false };
        let mut id = None;
        if qos != QoS::AtMostOnce {
            let delivery = Delivery::of_entry(event.sequence, qos);
            id = session.window.take(Delivery { alias: subscription.alias, ..delivery });
            session.dirty = true;
            debug_assert!(id.is_some_and(|id| !session.window.is_released(id)), "the long way leads to PUBREL");
        }
        let is_to_store = session.window.is_to_store();
        connection.outbox.append(|out| packet.write(out, id, false));
        self.counters.count_delivery(event.payload);
        let id = id_of(slot as usize, connection);
        self.wake(id);
        if is_to_store {
            self.to_store.insert(id);
        }
        true
    }
}

/// Whatever comes goes to its client, and as it comes.
fn asks_for_nothing(subscription: &Subscription) -> bool {
    !subscription.no_local && !subscription.meta && subscription.identifier.is_none() && subscription.replay.is_none()
}

/// Nothing waits for the client that a message could overtake, and its packets spell topics out.
fn is_up_to_date(connection: &Connection) -> bool {
    connection.phase == Phase::Open
        && connection.queue.is_empty()
        && connection.conflated.is_none()
        && connection.held.is_none()
        && connection.own_aliases.is_none()
}

#[cfg(test)]
mod tests {
    use super::super::aliases::Aliases;
    use super::super::connection::{HeldBack, Peer};
    use super::*;
    use crate::interest::Subscriber;
    use crate::outbox::Outbox;
    use crate::position::SessionId;
    use crate::proposal::Token;
    use rowcast_codec::PacketId;
    use std::num::NonZeroU32;
    use std::rc::Rc;

    /// Where a subscription and its session stand in the log when the event comes.
    const BEGUN: Sequence = Sequence(10);
    const LIVE: Sequence = Sequence(11);

    fn event(sequence: Sequence) -> Plain<'static> {
        let (topic, payload, properties) = ("dog/1", &b"barks"[..], &[][..]);
        let (table, qos) = (TableId(64), QoS::AtLeastOnce);
        Plain { topic, alias: topic, table, payload, properties, qos, sequence }
    }

    fn session() -> Session {
        let mut session = Session::new(SessionId(1), "rex", None, 8, BEGUN);
        session.expiry_secs = 60;
        session
    }

    fn subscription() -> Subscription {
        Subscription { since: BEGUN, own_since: BEGUN, ..Subscription::of(Subscriber(0)) }
    }

    #[track_caller]
    fn takes_the_long_way(change: impl Fn(&mut Session, &mut Subscription)) {
        let (mut session, mut subscription) = (session(), subscription());
        assert!(event(LIVE).comes_live(QoS::AtLeastOnce, &session, &subscription));
        change(&mut session, &mut subscription);
        assert!(!event(LIVE).comes_live(QoS::AtLeastOnce, &session, &subscription));
    }

    #[test]
    fn what_was_read_from_the_log_already_takes_the_long_way() {
        takes_the_long_way(|session, _| session.live_after = LIVE);
        takes_the_long_way(|session, _| session.flow = Flow::Behind { after: BEGUN });
    }

    #[test]
    fn what_may_have_been_delivered_before_a_crash_takes_the_long_way() {
        takes_the_long_way(|session, _| session.in_doubt = LIVE);
        takes_the_long_way(|session, _| session.redeliver.push_back(0));
        takes_the_long_way(|session, _| session.window.restore_released(PacketId::new(5).expect("not zero")));
    }

    #[test]
    fn what_a_subscription_does_not_begin_with_takes_the_long_way() {
        takes_the_long_way(|_, subscription| subscription.since = LIVE);
        takes_the_long_way(|_, subscription| subscription.own_since = LIVE);
    }

    #[test]
    fn what_has_no_room_takes_the_long_way() {
        takes_the_long_way(|session, _| {
            while session.window.has_room() {
                session.window.take(Delivery::of_entry(BEGUN, QoS::AtLeastOnce));
            }
        });
    }

    #[test]
    fn what_stands_in_no_log_reaches_a_lasting_session_with_qos_0_alone() {
        let unlogged = event(Sequence::ZERO);
        let mut session = session();
        assert!(unlogged.comes_live(QoS::AtMostOnce, &session, &subscription()));
        assert!(!unlogged.comes_live(QoS::AtLeastOnce, &session, &subscription()));
        session.expiry_secs = 0;
        assert!(unlogged.comes_live(QoS::AtLeastOnce, &session, &subscription()));
    }

    #[test]
    fn what_a_subscription_asks_for_takes_the_long_way() {
        let plain = subscription();
        assert!(asks_for_nothing(&plain));
        let number = NonZeroU32::new(1);
        assert!(!asks_for_nothing(&Subscription { no_local: true, ..plain }));
        assert!(!asks_for_nothing(&Subscription { meta: true, ..plain }));
        assert!(!asks_for_nothing(&Subscription { identifier: number, ..plain }));
        assert!(!asks_for_nothing(&Subscription { replay: number, ..plain }));
    }

    #[test]
    fn what_could_overtake_something_takes_the_long_way() {
        let check = |change: fn(&mut Connection), expected: bool| {
            let mut connection = Connection::new(0, Peer::default(), Outbox::new(&Rc::default()), 0, 0);
            connection.phase = Phase::Open;
            change(&mut connection);
            assert_eq!(is_up_to_date(&connection), expected);
        };
        check(|_| {}, true);
        check(|connection| connection.phase = Phase::Waiting { deadline_ms: 0 }, false);
        check(|connection| connection.held = Some(Box::new(HeldBack { token: Token(1), bytes: Vec::new() })), false);
        check(|connection| connection.conflated = Some(Box::default()), false);
        check(|connection| connection.own_aliases = Aliases::new(1), false);
    }
}
