//! What a client is owed beyond the live stream, at the client's own pace: deliveries of an earlier connection, the
//! current records of a new subscription, and what the log holds since the client fell behind or was away.
//!
//! One read at a time is under way for a connection, and a read is asked for only when there is room for what it
//! brings; so a client that does not read costs nothing but its place.

use super::claims::ClaimingSession;
use super::connection::{Connection, ConnectionId, Phase, Queued};
use super::deliver::{self, Delivered, Outgoing, Replayed, Selected};
use super::{Effect, Fetched, Input, Moment, Reader, Report, ScannedRecord, Shard, Wanted};
use crate::change::{ChangeKind, Entry};
use crate::interest::Subscription;
use crate::mqtt::ended::Ended;
use crate::mqtt::replay::{Replay, Walk};
use crate::mqtt::session::{Flow, StoredSubscription};
use crate::mqtt::snapshots::Snapshot;
use crate::mqtt::window::{Acknowledged, Delivery};
use crate::policy::View;
use crate::position::{Sequence, TableId};
use crate::proposal::{Batch, Durability};
use crate::record::Record;
use rowcast_codec::{EncodeError, PacketId, QoS};
use rustc_hash::FxHashSet;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Bytes of log or records that one read brings at most.
pub(super) const READ_BYTES: usize = 256 * 1024;
/// Records that one read brings at most.
const READ_RECORDS: usize = 4_096;
/// Records, or entries of the log, that are handled at a time: nobody else on the thread is served meanwhile.
pub(super) const TURN_ENTRIES: usize = 256;
/// Deliveries that are fetched again at a time.
const REDELIVERIES: usize = 64;

/// What a snapshot is to bring.
struct Wanting<'a> {
    filter: &'a str,
    subscription: Subscription,
    /// Topics that are left out.
    changed: &'a FxHashSet<Box<str>>,
}

/// What to read next for a connection.
enum Next {
    Nothing,
    /// Before there are more deliveries: it is not to be in doubt of too many after a crash.
    Store,
    Redeliver,
    Release,
    Conflated,
    Queue,
    Snapshot,
    Replay,
    Log(Sequence),
}

impl Shard {
    /// Goes on with what a client is owed, as far as there is room.
    pub(super) fn pump(&mut self, id: ConnectionId, now: Moment) {
        self.read_on(id, now);
        self.tell_room(id);
    }

    fn read_on(&mut self, id: ConnectionId, now: Moment) {
        loop {
            match self.next_read(id) {
                Next::Nothing => return,
                Next::Store => self.hold_back(id, Vec::new()),
                Next::Redeliver => {
                    if self.redeliver(id) {
                        return;
                    }
                }
                Next::Release => self.release_doubtful(id),
                Next::Conflated => {
                    if !self.send_conflated(id, now) {
                        return;
                    }
                }
                Next::Queue => {
                    if !self.send_queued(id, now) {
                        return;
                    }
                }
                Next::Snapshot => {
                    if self.read_snapshot(id) {
                        return;
                    }
                }
                Next::Replay => {
                    if self.read_replay(id) {
                        return;
                    }
                }
                Next::Log(after) => {
                    let is_level = after >= self.seen;
                    if is_level && self.replays(id) {
                        return; // It does not go live before its turn.
                    }
                    if is_level {
                        // Level with what this shard has shown: from here on as it comes.
                        if let Some(session) = self.connection_mut(id).and_then(|found| found.session.as_mut()) {
                            session.live_after = after;
                            session.flow = Flow::Live;
                            session.drop_ended();
                        }
                        continue;
                    }
                    self.start_read(id, |connection| {
                        let reader = Reader::Connection(connection);
                        Effect::ReadLog { reader, after, bytes: READ_BYTES }
                    });
                    return;
                }
            }
        }
    }

    fn next_read(&self, id: ConnectionId) -> Next {
        let Some(connection) = self.connection(id) else { return Next::Nothing };
        let Some(session) = &connection.session else { return Next::Nothing };
        let half = self.settings.limits.outbound_bytes as usize / 2;
        let room = connection.outbox.len() <= half && connection.held.is_none() && !connection.crowded;
        // What a subscription brings comes behind its SUBACK.
        if connection.phase != Phase::Open || connection.reading || !room || connection.changing > 0 {
            return Next::Nothing;
        }
        if session.window.is_to_store() {
            return Next::Store;
        }
        if let Some(&number) = session.redeliver.front() {
            let is_message = session.window.get(number).is_some_and(|delivery| !delivery.released);
            return if is_message && session.redelivery_room() == 0 { Next::Nothing } else { Next::Redeliver };
        }
        if session.window.is_to_release() {
            return Next::Release;
        }
        if connection.conflated.is_some() {
            return Next::Conflated; // All the log brings is newer.
        }
        let first = session.snapshots.first();
        let subscription = first.and_then(|first| session.subscriptions.get(&first.filter));
        let subscription = subscription.map(|held| (held.subscription.qos, held.subscription.own_since));
        let (qos, own_since) = subscription.unwrap_or_default();
        // Of what the client published itself up to `own_since`, the log brings nothing and the state what there is: last.
        let is_in_order = |first: &Snapshot| first.is_missed() || session.flow.has_reached(own_since);
        let snapshot = first.filter(|first| first.is_ready(session.flow) && is_in_order(first));
        // Deliveries in doubt were made along the log: nothing takes their identifiers from them.
        let snapshot_waits = session.counts_in_doubt(self.seen) && qos > QoS::AtMostOnce;
        // What changed where the log does not reach any more is shown before what came later.
        let is_missed = |snapshot: &Snapshot| snapshot.is_missed() && !snapshot_waits;
        let is_next = |queued: &Queued| match session.flow {
            _ if snapshot.is_some_and(is_missed) => false,
            Flow::Live => true,
            Flow::Behind { after } => after >= queued.after && !matches!(session.walk(), Walk::Replay(_)),
        };
        if connection.queue.front().is_some_and(is_next) && session.window.has_room() {
            return Next::Queue;
        }
        let log = match session.flow {
            Flow::Behind { after } if session.window.has_room() => match session.walk() {
                Walk::On => Next::Log(after),
                Walk::Replay(_) => Next::Replay,
                Walk::Waits => Next::Nothing,
            },
            _ => Next::Nothing,
        };
        let Some(snapshot) = snapshot else { return log };
        match log {
            // What changes does not wait for all there is; but what changed before the log begins comes before it.
            Next::Log(_) | Next::Replay if !snapshot.is_missed() => log,
            // Nor does the state it ends with come before a past.
            _ if !snapshot.is_missed() && matches!(session.walk(), Walk::Replay(_)) => log,
            _ if snapshot_waits => log,
            _ if qos == QoS::AtMostOnce || session.window.has_room() => Next::Snapshot,
            _ => log,
        }
    }

    /// Goes on with the rest of what was read, once others had their turn.
    pub(super) fn later(&mut self, rest: Input) {
        self.effects.push(Effect::Later(Box::new(rest)));
    }

    pub(super) fn start_read(&mut self, id: ConnectionId, effect: impl FnOnce(ConnectionId) -> Effect) {
        if let Some(connection) = self.connection_mut(id) {
            connection.reading = true;
            self.effects.push(effect(id));
        }
    }

    // Deliveries of an earlier connection ---------------------------------------------------------------------------

    /// Sends PUBREL for what is released, asks for the messages of the rest. `true`: a read is under way.
    fn redeliver(&mut self, id: ConnectionId) -> bool {
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
            let Some(session) = self.connection_mut(id).and_then(|found| found.session.as_mut()) else { return };
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
                        let entry = entry_of_record(table, &scanned.key, &record);
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
        let Some(session) = self.connection_mut(id).and_then(|found| found.session.as_mut()) else { return };
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
        super::fanout::lower_first(&mut alias);
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
            match deliver::redeliver(connection, &message, &selected, (packet, qos), outbound_bytes, now) {
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

    // Messages that stand in no log -----------------------------------------------------------------------------------

    /// Sends what waited for room in the window. `false`: there is none any more.
    fn send_queued(&mut self, id: ConnectionId, now: Moment) -> bool {
        loop {
            let Some(connection) = self.connections.get_mut(id.slot as usize) else { return false };
            let Some(session) = &connection.session else { return false };
            if let Flow::Behind { after } = session.flow
                && connection.queue.front().is_some_and(|queued| after < queued.after)
            {
                return true; // First what the log holds before it.
            }
            let Some(queued) = connection.queue_pop() else { return true };
            let Ok((decoded, _)) = Entry::decode(&queued.entry, Sequence::ZERO) else { continue };
            let Some((matches, topic, alias)) = self.interested(&decoded) else { continue };
            let mut message = Outgoing::of_change(&decoded.change, &topic, &alias, None);
            // As it was to be delivered when it came, whatever its subscriptions grant by now: nobody could repeat it with
            // more, and with less it would be behind what overtook it [MQTT-4.6.0-6].
            message.qos = queued.qos;
            let granted = |found: &Subscription| Subscription { qos: found.qos.max(queued.qos), ..*found };
            let subscriptions: Vec<Subscription> = deliver::of_one(&matches, id).iter().map(granted).collect();
            let delivered =
                self.deliver_to(id, &message, &subscriptions, now, |qos| Delivery::of_entry(Sequence::ZERO, qos));
            self.scratch.topic = topic;
            self.scratch.alias = alias;
            let Some(connection) = self.connections.get_mut(id.slot as usize) else { return false };
            if delivered == Delivered::NoRoom {
                connection.queue_unpop(queued);
                return false;
            }
        }
    }

    // The current records of a new subscription ------------------------------------------------------------------------

    /// Asks for the next records of the first snapshot. `true`: a read is under way.
    fn read_snapshot(&mut self, id: ConnectionId) -> bool {
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
        connection.changed = Some(FxHashSet::default());
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
            let session = self.connection(id).and_then(|found| found.session.as_ref());
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
        let entry = entry_of_record(table, &scanned.key, &record);
        let mut topic = std::mem::take(&mut self.scratch.topic);
        let mut alias = std::mem::take(&mut self.scratch.alias);
        let mut delivered = Delivered::Done;
        let is_topic = self.tables.topic(table, &scanned.key, &mut topic);
        // What changed while the records were read was delivered as it was committed.
        if is_topic && selects(wanting.filter, &topic) && !wanting.changed.contains(topic.as_str()) {
            alias.clear();
            if wanting.subscription.alias {
                alias.push_str(&topic);
                super::fanout::lower_first(&mut alias);
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

    /// Takes what was just sent back out of the outbox until its identifiers are on disk: no log could tell them
    /// again after a crash.
    pub(super) fn hold(&mut self, id: ConnectionId, sent_before: usize) {
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        if connection.outbox.len() > sent_before {
            let sent = connection.outbox.split_off(sent_before);
            self.hold_back(id, sent);
        }
    }

    /// Keeps `sent` until the session is on disk as it is now, and what it has taken over from groups is claimed; nothing
    /// else with an identifier goes out meanwhile.
    pub(super) fn hold_back(&mut self, id: ConnectionId, sent: Vec<u8>) {
        let (seen, token, unique) = (self.seen, self.token(id.slot), self.number());
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        // What is held already goes first, and waits for the later of both.
        let mut bytes = connection.held.take().map(|(_, bytes)| bytes).unwrap_or_default();
        bytes.extend(sent);
        connection.held = Some((token, bytes));
        if let Some(session) = &mut connection.session {
            session.dirty = false;
            let stored = ClaimingSession::connected(session, seen, unique);
            self.proposals.push(Some(token), Durability::Sync, &stored.changes().collect::<Vec<_>>());
        }
    }

    // The log ----------------------------------------------------------------------------------------------------------

    /// A piece of the log is here.
    pub(super) fn on_log_read(
        &mut self,
        id: ConnectionId,
        batches: &[Arc<Batch>],
        lost_until: Option<Sequence>,
        now: Moment,
    ) {
        let Some(connection) = self.connection_mut(id) else { return };
        connection.reading = false;
        let replay_read = connection.replay_read.take();
        if connection.changing > 0 {
            return; // It is read again when it is known which subscriptions there are.
        }
        if let Some(number) = replay_read {
            return self.on_replay_read(id, number, batches, lost_until, now);
        }
        let Some(session) = &connection.session else { return };
        let Flow::Behind { after } = session.flow else { return self.pump(id, now) };
        if let Some(oldest) = lost_until {
            self.on_log_lost(id, oldest);
            return self.pump(id, now); // What is there is read again, behind the state it follows.
        }
        let mut turn = Turn::behind(after);
        'read: for (at, batch) in batches.iter().enumerate() {
            for entry in batch.entries() {
                // What this shard has not shown to anybody comes as it is shown.
                if entry.sequence > self.seen {
                    break 'read;
                }
                if !turn.has_room_for(entry.sequence) {
                    self.read_on_later(id, batches[at..].to_vec());
                    break 'read;
                }
                if !self.catch_up(id, &entry, now) {
                    break 'read;
                }
            }
            self.advance(id, batch.last());
        }
        self.wake(id);
        self.pump(id, now);
    }

    /// Goes on with the rest of a piece of the log, once others had their turn.
    pub(super) fn read_on_later(&mut self, id: ConnectionId, batches: Vec<Arc<Batch>>) {
        let Some(connection) = self.connection_mut(id) else { return };
        connection.reading = true;
        self.later(Input::LogRead { reader: Reader::Connection(id), batches, lost_until: None });
    }

    /// Everything up to `sequence` was looked at.
    fn advance(&mut self, id: ConnectionId, sequence: Sequence) {
        if let Some(session) = self.connection_mut(id).and_then(|found| found.session.as_mut())
            && let Flow::Behind { after } = &mut session.flow
        {
            *after = (*after).max(sequence);
            if !session.ended.is_empty() {
                session.drop_ended();
            }
        }
    }

    /// One entry of the log for a client that is behind. `false`: there is no room, or it is not its turn.
    fn catch_up(&mut self, id: ConnectionId, entry: &Entry<'_>, now: Moment) -> bool {
        let Some(connection) = self.connection_mut(id) else { return false };
        let Some(session) = &connection.session else { return false };
        let Flow::Behind { after } = session.flow else { return false };
        if entry.sequence <= after {
            return true;
        }
        if !session.may_pass(entry.sequence) {
            // The log holds nothing for clients up to where the replay has its turn; or this would be read without end.
            if let (Walk::On, Some(replay)) = (session.walk(), session.replays.front()) {
                let until = Sequence(replay.until);
                self.advance(id, until);
            }
            return false;
        }
        if connection.queue.front().is_some_and(|queued| queued.after < entry.sequence) {
            self.advance(id, Sequence(entry.sequence.0 - 1)); // First what came before it and stands in no log.
            return false;
        }
        if session.shows_missed_before(entry.sequence) {
            self.advance(id, Sequence(entry.sequence.0 - 1));
            return false;
        }
        let away = entry.sequence <= session.away_until;
        if !entry.change.table.is_internal() && !entry.superseded {
            let Some((matches, topic, mut alias)) = self.interested(entry) else {
                self.advance(id, entry.sequence);
                return true;
            };
            let subscriptions = deliver::of_one(&matches, id);
            let goes_on = |ended: &Ended| entry.sequence.0 <= ended.until;
            let subscriptions = self.with_ended(id, (&topic, &mut alias), subscriptions, goes_on);
            let mut delivered = Delivered::Done;
            if !subscriptions.is_empty() {
                let message = Outgoing::of_entry(entry, &topic, &alias);
                let sequence = entry.sequence;
                let session = self.connection(id).and_then(|found| found.session.as_ref()).map(|session| session.id);
                let selected = Selected::by(&subscriptions, &message, session.unwrap_or_default());
                // QoS 0 is not kept for those who are away.
                if !(away && selected.qos == Some(QoS::AtMostOnce)) {
                    delivered =
                        self.deliver_to(id, &message, &subscriptions, now, |qos| Delivery::of_entry(sequence, qos));
                }
            }
            self.scratch.topic = topic;
            self.scratch.alias = alias;
            if delivered == Delivered::NoRoom {
                return false;
            }
        }
        self.advance(id, entry.sequence);
        true
    }

    /// The subscriptions of a client that select a topic, and those that are gone but go on here.
    pub(super) fn with_ended<'a>(
        &self,
        id: ConnectionId,
        (topic, alias): (&str, &mut String),
        subscriptions: &'a [Subscription],
        goes_on: impl Fn(&Ended) -> bool,
    ) -> Cow<'a, [Subscription]> {
        let session = self.connection(id).and_then(|found| found.session.as_ref());
        let Some(session) = session.filter(|session| !session.ended.is_empty()) else { return subscriptions.into() };
        let ended = session.ended.iter().filter(|ended| goes_on(ended) && selects(&ended.canonical, topic));
        let ended = ended.filter_map(|ended| ended.subscription);
        let all: Vec<Subscription> = subscriptions.iter().copied().chain(ended).collect();
        if alias.is_empty() && all.iter().any(|subscription| subscription.alias) {
            alias.push_str(topic);
            super::fanout::lower_first(alias);
        }
        all.into()
    }

    /// The log was cut before the client had read it: the client gets the current state of what changed meanwhile, then
    /// the log from where it begins, and we say that events may be lost.
    fn on_log_lost(&mut self, id: ConnectionId, oldest: Sequence) {
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        let Some(session) = &mut connection.session else { return };
        let Flow::Behind { after: position } = session.flow else { return };
        let until = Sequence(oldest.0.saturating_sub(1));
        if position < session.in_doubt {
            return self.give_up_doubt(id, until, oldest);
        }
        session.flow = Flow::Behind { after: until };
        session.drop_ended();
        self.show_missed(id, (position, until), oldest, &[]);
    }

    /// The log was cut before the client had acknowledged some of what it was sent between `before` and `behind`, and that
    /// cannot be sent again. Likewise.
    fn on_deliveries_lost(&mut self, id: ConnectionId, before: Sequence, behind: Sequence) {
        let seen = self.seen;
        let Some(session) = self.connection(id).and_then(|found| found.session.as_ref()) else { return };
        let until = session.position(seen);
        self.show_missed(id, (before, until), behind, &[]);
    }

    /// Shows the current state of what changed behind one place and up to another, which the log does not hold, and of
    /// what `replays` do not bring any more.
    pub(super) fn show_missed(
        &mut self,
        id: ConnectionId,
        (position, until): (Sequence, Sequence),
        oldest: Sequence,
        replays: &[Replay],
    ) {
        let seen = self.seen;
        let Some(session) = self.connection_mut(id).and_then(|found| found.session.as_mut()) else { return };
        // QoS 0 is not kept for those who are away, and was dropped for those who are slow, unless they asked for more.
        let away_until = session.away_until;
        let missed = session.subscriptions.iter().filter_map(|(filter, held)| {
            let Subscription { qos, conflate, since, .. } = held.subscription;
            let from = position.max(since).max(if qos > QoS::AtMostOnce { Sequence::ZERO } else { away_until });
            let is_kept = held.share.is_none() && (qos > QoS::AtMostOnce || conflate); // A group reads for itself.
            (is_kept && from < until).then(|| (filter.clone(), from))
        });
        for (filter, from) in missed.collect::<Vec<_>>() {
            session.snapshots.begin_again(&filter, (from, until), seen);
        }
        for replay in replays {
            session.show_unreplayed(replay.number, Sequence(replay.after), Some(until), seen);
        }
        if !session.subscriptions.is_empty() && session.subscriptions.values().all(|held| held.share.is_some()) {
            return; // It is its groups that lose something.
        }
        let client_id = session.client_id.clone();
        self.report_lost(client_id, position, oldest);
    }

    /// The log begins at `oldest`, and who had read it up to `position` had not read the rest.
    pub(super) fn report_lost(&mut self, client_id: Box<str>, position: Sequence, oldest: Sequence) {
        self.counters.lost += oldest.0.saturating_sub(position.0 + 1);
        self.effects.push(Effect::Report(Report::LostEvents { client_id, position, oldest }));
    }

    /// Puts a message for one client into its outbox.
    pub(super) fn deliver_to(
        &mut self,
        id: ConnectionId,
        message: &Outgoing<'_>,
        subscriptions: &[Subscription],
        now: Moment,
        delivery: impl FnOnce(QoS) -> Delivery,
    ) -> Delivered {
        let outbound_bytes = self.settings.limits.outbound_bytes as usize;
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return Delivered::NoRoom };
        let Some(session) = &connection.session else { return Delivered::NoRoom };
        let selected = Selected::by(subscriptions, message, session.id);
        self.frames.begin(false);
        let way = (message, &selected);
        deliver::deliver(connection, &mut self.frames, &mut self.counters, way, delivery, outbound_bytes, now)
    }

    /// Writes down sessions that have no other delivery before that.
    pub(super) fn store_full_sessions(&mut self, now: Moment) {
        for id in std::mem::take(&mut self.to_store) {
            self.pump(id, now);
        }
    }

    /// Writes down where durable sessions stand, so that a restart repeats less.
    pub(super) fn store_dirty_sessions(&mut self) {
        let seen = self.seen;
        for (_, connection) in &mut self.connections {
            store_if_dirty(connection, seen, &mut self.proposals);
        }
    }
}

/// What is handled at a time of a piece of the log.
pub(super) struct Turn {
    after: Sequence,
    left: usize,
}

impl Turn {
    /// Entries up to `after` are passed over.
    pub(super) fn behind(after: Sequence) -> Turn {
        Turn { after, left: TURN_ENTRIES }
    }

    /// Whether another entry is to be handled in this turn.
    pub(super) fn has_room_for(&mut self, entry: Sequence) -> bool {
        if entry > self.after {
            if self.left == 0 {
                return false;
            }
            self.left -= 1;
        }
        true
    }
}

fn store_if_dirty(connection: &mut Connection, seen: Sequence, proposals: &mut crate::proposal::Proposals) {
    let Some(session) = &mut connection.session else { return };
    if !session.dirty || !session.is_durable() || connection.phase != Phase::Open {
        return;
    }
    session.dirty = false;
    let stored = session.store(seen);
    proposals.push(None, Durability::Memory, &[super::connect::session_row(&session.client_id, &stored, None)]);
}

/// An acknowledgement without properties always fits the wire.
pub(super) fn assert_fits(encoded: Result<(), EncodeError>) {
    debug_assert!(encoded.is_ok(), "an acknowledgement fits the wire");
}

pub(super) fn selects(filter: &str, topic: &str) -> bool {
    match (rowcast_codec::TopicFilter::new(filter), rowcast_codec::Topic::new(topic)) {
        (Ok(filter), Ok(topic)) => filter.matches(&topic),
        _ => false,
    }
}

/// A record as the entry that made it.
fn entry_of_record<'a>(table: TableId, key: &'a [u8], record: &Record<'a>) -> Entry<'a> {
    Entry {
        sequence: record.version,
        hlc: record.stamp.hlc,
        origin: None,
        superseded: false,
        change: crate::change::Change {
            kind: ChangeKind::Put,
            qos: record.qos,
            table,
            key,
            publisher: record.publisher,
            expires_ms: record.expires_ms,
            properties: record.properties,
            payload: record.payload,
        },
    }
}

impl StoredSubscription {
    /// As it is matched, with its filter in the canonical spelling, from where it begins.
    #[must_use]
    pub fn subscription(self, id: ConnectionId, (since, own_since): (Sequence, Sequence)) -> Subscription {
        let options = self.options();
        Subscription {
            subscriber: crate::interest::Subscriber(id.slot),
            qos: options.qos,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            meta: self.meta,
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
