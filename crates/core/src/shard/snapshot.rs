//! The current records of a subscription's topics, as far as the client is to have them: paged from the tables, a range of
//! keys after the other, at the client's own pace.

use super::catchup::{READ_BYTES, TURN_ENTRIES, selects};
use super::connection::ConnectionId;
use super::deliver::{Delivered, Outgoing};
use super::fanout::lower_first;
use super::{Effect, Input, Moment, ScannedRecord, Shard};
use crate::interest::Subscription;
use crate::mqtt::snapshots::Snapshot;
use crate::mqtt::window::Delivery;
use crate::names::NameSet;
use crate::position::{Sequence, TableId};
use crate::record::Record;
use rowcast_codec::QoS;
use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// Records that one read brings at most.
const READ_RECORDS: usize = 4_096;

/// What a snapshot is to bring.
struct Wanting<'a> {
    filter: &'a str,
    subscription: Subscription,
    /// Topics that are left out.
    changed: &'a NameSet<Box<str>>,
}

impl Shard {
    /// Asks for the next records of the first snapshot. `true`: a read is under way.
    pub(super) fn read_snapshot(&mut self, id: ConnectionId) -> bool {
        let outbound_bytes = self.settings.limits.outbound_bytes as usize;
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return true };
        let Some(session) = &mut connection.session else { return true };
        let Some(snapshot) = session.snapshots.first_mut() else { return false };
        let Some(held) = session.subscriptions.get(&snapshot.filter) else {
            session.snapshots.end_first(); // Unsubscribed meanwhile.
            return false;
        };
        let Some(range) = self.tables.ranges(&held.filter).into_iter().nth(snapshot.range) else {
            session.snapshots.end_first();
            if session.is_durable() {
                session.dirty = true;
            }
            return false;
        };
        if !connection.rights.reads_from(range.table) {
            snapshot.pass_range(); // Nothing there is to be seen.
            return false;
        }
        let after = snapshot.after.clone();
        connection.snapshot_read = snapshot.number;
        connection.changed = Some(Box::default());
        let window = held.subscription.qos != QoS::AtMostOnce;
        let records = if window { session.window.room().min(READ_RECORDS) } else { READ_RECORDS };
        let bytes = READ_BYTES.min(outbound_bytes / 2).max(1);
        self.start_read(id, |connection| Effect::ReadRecords { connection, range, after, records, bytes });
        true
    }

    /// Records of the first snapshot are here.
    pub(super) fn on_records_read(
        &mut self,
        id: ConnectionId,
        mut records: VecDeque<ScannedRecord>,
        complete: bool,
        now: Moment,
    ) {
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        if connection.generation != id.generation {
            return;
        }
        connection.reading = false;
        let changed = connection.changed.take().unwrap_or_default();
        let Some(session) = &mut connection.session else { return };
        let asked = connection.snapshot_read;
        let Some(Snapshot { filter, from, until, range, .. }) =
            session.snapshots.first().filter(|snapshot| snapshot.number == asked).cloned()
        else {
            return self.pump(id, now); // Unsubscribed meanwhile; another may be waiting.
        };
        let held = session.subscriptions.get(&filter).cloned();
        let table = held.as_ref().and_then(|held| self.tables.ranges(&held.filter).get(range).map(|range| range.table));
        let (Some(held), Some(table)) = (held, table) else {
            session.snapshots.end_first(); // Unsubscribed, or its table dropped, meanwhile.
            return self.pump(id, now);
        };
        let durable = session.is_durable() && held.subscription.qos != QoS::AtMostOnce;
        let sent_before = connection.outbox.len();
        let mut has_room = true;
        let mut last = None;
        let wanted = Wanting { filter: &held.filter, subscription: held.subscription, changed: &changed };
        for _ in 0..TURN_ENTRIES {
            let Some(scanned) = records.pop_front() else { break };
            let delivered = self.send_record(id, table, &scanned, &wanted, from..=until, now);
            if delivered == Delivered::NoRoom {
                has_room = false;
                break;
            }
            last = Some(scanned.key);
        }
        let Some(connection) = self.connection_mut(id) else { return };
        let rest = has_room && !records.is_empty();
        if rest {
            connection.reading = true; // It goes on with what was read.
            connection.changed = Some(changed);
        }
        let Some(session) = &mut connection.session else { return };
        if let Some(snapshot) = session.snapshots.first_mut() {
            if let Some(last) = last {
                snapshot.after = Some(last.to_vec());
            }
            if has_room && !rest && complete {
                snapshot.pass_range();
            }
        }
        if rest {
            self.later(Input::RecordsRead { connection: id, records, complete });
        }
        if durable {
            self.hold(id, sent_before);
        }
        self.wake(id);
        self.pump(id, now);
    }

    fn send_record(
        &mut self,
        id: ConnectionId,
        table: TableId,
        scanned: &ScannedRecord,
        wanting: &Wanting<'_>,
        versions: RangeInclusive<u64>, // The first of which the client has.
        now: Moment,
    ) -> Delivered {
        let Ok(record) = Record::decode(&scanned.record) else { return Delivered::Done };
        let version = record.version.0;
        let is_logged = record.version > Sequence::ZERO; // The server's own values are not.
        let is_own = || {
            let session = self.session(id);
            session.is_some_and(|session| session.id == record.publisher)
        };
        let is_had = if is_logged && record.version <= wanting.subscription.own_since && is_own() {
            // What a client published itself until No Local was replaced the log does not bring, nor what stands for it: the
            // state that was asked for does.
            *versions.start() > 0
        } else {
            is_logged && (version <= *versions.start() || version > *versions.end())
        };
        if is_had || record.is_expired(now.wall_ms) {
            return Delivered::Done; // The log brings what came later.
        }
        let entry = record.to_put(table, &scanned.key);
        let mut topic = std::mem::take(&mut self.scratch.topic);
        let mut alias = std::mem::take(&mut self.scratch.alias);
        let mut delivered = Delivered::Done;
        let is_topic = self.tables.topic(table, &scanned.key, &mut topic);
        // What changed while the records were read was delivered as it was committed.
        if is_topic && selects(wanting.filter, &topic) && !wanting.changed.contains(topic.as_str()) {
            alias.clear();
            if wanting.subscription.alias {
                alias.push_str(&topic);
                lower_first(&mut alias);
            }
            let mut message = Outgoing::of_entry(&entry, &topic, &alias);
            message.is_snapshot = true;
            delivered = self.deliver_to(id, &message, &[wanting.subscription], now, |qos| {
                Delivery::of_record(record.version, qos, table, &scanned.key)
            });
        }
        self.scratch.topic = topic;
        self.scratch.alias = alias;
        delivered
    }
}
