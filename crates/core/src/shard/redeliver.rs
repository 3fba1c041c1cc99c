//! Deliveries that an earlier connection of the session did not acknowledge: they go out again, in their order and under the
//! same identifiers (MQTT 5 §4.4), before anything new does.

use super::connection::{Connection, ConnectionId};
use super::deliver::{self, Delivered, Outgoing, Replayed, Selected};
use super::fanout::lower_first;
use super::storing::store_if_dirty;
use super::{Effect, Fetched, Moment, Reader, Shard, Wanted};
use crate::change::Entry;
use crate::interest::Subscription;
use crate::mqtt::window::{Acknowledged, Delivery};
use crate::policy::View;
use crate::position::{Sequence, TableId};
use crate::record::Record;
use rowcast_codec::{PacketId, QoS};

/// Deliveries that are fetched again at a time.
const REDELIVERIES: usize = 64;

impl Shard {
    /// Sends PUBREL for what is released, asks for the messages of the rest. `true`: a read is under way.
    pub(super) fn redeliver(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return true };
        let Some(session) = &mut connection.session else { return true };
        let room = session.redelivery_room();
        let (mut wanted, mut done) = (Vec::new(), 0);
        for &number in session.redeliver.iter().take(REDELIVERIES) {
            match session.window.get(number) {
                Some(delivery) if delivery.released && wanted.is_empty() => {
                    let id = PacketId::nth(number);
                    deliver::send_pubrel(&mut connection.outbox, connection.version, &mut self.counters, id);
                }
                Some(delivery) if delivery.released => break, // After the messages before it.
                Some(_) if wanted.len() == room => break,
                Some(delivery) => {
                    let record = delivery.state.as_ref().map(|state| (TableId(state.0), state.1.clone()));
                    wanted.push(Wanted { number, sequence: Sequence(delivery.sequence), record });
                }
                None => {} // Acknowledged meanwhile.
            }
            done += 1;
        }
        if wanted.is_empty() {
            session.redeliver.drain(..done);
            self.wake(id);
            return false;
        }
        // Those before the first that is wanted are done.
        while let Some(&number) = session.redeliver.front() {
            if session.window.get(number).is_some_and(|delivery| !delivery.released) {
                break;
            }
            session.redeliver.pop_front();
        }
        self.wake(id);
        self.start_read(id, |connection| {
            let reader = Reader::Connection(connection);
            Effect::Fetch { reader, messages: wanted }
        });
        true
    }

    /// Messages to be sent again are here.
    pub(super) fn on_fetched(&mut self, id: ConnectionId, messages: Vec<(u64, Fetched)>, now: Moment) {
        let Some(connection) = self.connection_mut(id) else { return };
        connection.reading = false;
        let seen = self.seen;
        let mut lost: Option<(Sequence, Sequence)> = None;
        let mut gone = Vec::new();
        for (number, fetched) in messages {
            let Some(session) = self.session_mut(id) else { return };
            while session.redeliver.front().is_some_and(|&front| front <= number) {
                session.redeliver.pop_front();
            }
            // An acknowledgement may have come while the read was under way.
            let found = session.window.get(number).filter(|delivery| !delivery.released);
            let Some(found) = found.cloned() else { continue };
            let packet = PacketId::nth(number);
            match fetched {
                Fetched::Entry(batch, sequence) => {
                    if let Some(entry) = batch.entries().find(|entry| entry.sequence == sequence)
                        && !self.send_again(id, &entry, (number, found), now)
                    {
                        break; // What is left is fetched again.
                    }
                }
                Fetched::Record(table, scanned) => match Record::decode(&scanned.record) {
                    Ok(record) if record.version.0 == found.sequence => {
                        let entry = record.to_put(table, &scanned.key);
                        if !self.send_again(id, &entry, (number, found), now) {
                            break;
                        }
                    }
                    // It is another by now, which comes by itself; under this identifier the client has seen the old.
                    _ => self.give_up(id, packet, now),
                },
                // Nothing is left to send: the delivery ends.
                Fetched::Gone => {
                    gone.push(packet);
                    let (before, behind) = (Sequence(found.sequence.saturating_sub(1)), Sequence(found.sequence + 1));
                    if let Some(replay) = found.replay {
                        session.show_unreplayed(replay, before, None, seen);
                    }
                    match found.shared {
                        Some(shared) => {
                            self.report_lost(format!("$share/{}", shared.group).into(), before, behind);
                            self.tell_done(Some(shared));
                        }
                        None if found.state.is_none() => {
                            lost = Some((lost.map_or(before, |(before, _)| before), behind));
                        }
                        None => {} // The record is gone, which the log says.
                    }
                }
            }
        }
        if let Some((before, behind)) = lost {
            self.on_deliveries_lost(id, before, behind);
        }
        self.give_up_all(id, &gone, now);
        self.pump(id, now);
    }

    /// The messages of these deliveries are gone. What is shown in their place is written down first: nobody looks for the
    /// message of one that is released, not after a crash either.
    fn give_up_all(&mut self, id: ConnectionId, gone: &[PacketId], now: Moment) {
        if gone.is_empty() {
            return;
        }
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        if let Some(session) = &mut connection.session {
            session.dirty |= session.is_durable();
        }
        store_if_dirty(connection, self.seen, &mut self.proposals);
        for &packet in gone {
            self.give_up(id, packet, now);
        }
    }

    /// A delivery cannot be made again.
    fn give_up(&mut self, id: ConnectionId, packet: PacketId, now: Moment) {
        let Some(session) = self.session_mut(id) else { return };
        session.dirty |= session.is_durable();
        if session.window.give_up(packet) == Acknowledged::Released {
            self.send_pubrel(id, packet, now);
        }
    }

    /// Sends a delivery again, by its number. `false`: there is no room for it; it is still to be sent.
    fn send_again(
        &mut self,
        id: ConnectionId,
        entry: &Entry<'_>,
        (number, again): (u64, Delivery),
        now: Moment,
    ) -> bool {
        let packet = PacketId::nth(number);
        let qos = QoS::try_from(again.qos).unwrap_or(QoS::AtLeastOnce);
        let shared = again.shared;
        let Some((matches, topic, mut alias)) = self.interested(entry) else {
            self.give_up(id, packet, now); // Its table was dropped while it was not acknowledged.
            self.give_back(shared, qos);
            return true;
        };
        let outbound_bytes = self.settings.limits.outbound_bytes as usize;
        let mut is_sent = true;
        alias.clone_from(&topic);
        lower_first(&mut alias);
        let may_see =
            |connection: &&mut Connection| connection.rights.view(entry.change.table, &topic) != View::Nothing;
        if let Some(connection) = self.connections.get_mut(id.slot as usize).filter(may_see) {
            let mut message = Outgoing::of_entry(entry, &topic, &alias);
            message.is_snapshot = again.state.is_some();
            message.replay = again.replay.map(|number| Replayed { number, in_doubt: true });
            let session = connection.session.as_ref().map(|session| session.id).unwrap_or_default();
            let subscription = shared.as_ref().map(|shared| {
                let held = connection.session.as_ref().and_then(|found| found.subscriptions.get(&shared.filter));
                held.map(|held| Subscription { since: Sequence::ZERO, ..held.subscription })
            });
            let selected = match &subscription {
                None => Selected::by(deliver::of_one(&matches, id), &message, session),
                Some(subscription) => Selected::by(subscription.as_slice(), &message, session),
            };
            // As it was sent before, whatever became of its subscription.
            let selected = Selected { alias: again.alias, retain: again.retain, ..selected };
            match deliver::redeliver(
                connection,
                &self.tables,
                (&message, &selected),
                (packet, qos),
                outbound_bytes,
                now,
            ) {
                Delivered::NoRoom => {
                    is_sent = false;
                    if let Some(session) = &mut connection.session {
                        session.redeliver.push_front(number);
                    }
                }
                Delivered::TooLarge => {
                    // This connection takes less than the last: it counts as delivered [MQTT-3.1.2-25].
                    self.counters.dropped += 1;
                    connection.dropped += 1;
                    self.give_up(id, packet, now);
                    self.tell_done(shared);
                }
                _ => self.counters.count_delivery(message.payload),
            }
        } else {
            self.give_up(id, packet, now); // Its rights were taken away while it was not acknowledged.
            self.give_back(shared, qos);
        }
        self.scratch.topic = topic;
        self.scratch.alias = alias;
        self.wake(id);
        is_sent
    }

    /// The log was cut before the client had acknowledged some of what it was sent between `before` and `behind`, and that
    /// cannot be sent again. Likewise.
    fn on_deliveries_lost(&mut self, id: ConnectionId, before: Sequence, behind: Sequence) {
        let seen = self.seen;
        let Some(session) = self.session(id) else { return };
        let until = session.position(seen);
        self.show_missed(id, (before, until), behind, &[]);
    }
}
