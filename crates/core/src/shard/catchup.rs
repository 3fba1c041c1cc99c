//! What a client gets next that is owed something beyond the live stream, at its own pace: deliveries of an earlier
//! connection (`redeliver`), what waited for room, the state it asked for (`snapshot`), the past (`replay`), or what the
//! log holds since it fell behind or was away, which is read here.
//!
//! One read at a time is under way for a connection, and a read is asked for only when there is room for what it
//! brings; so a client that does not read costs nothing but its place.

use super::connection::{ConnectionId, Phase, Queued};
use super::deliver::{self, Delivered, Outgoing, Selected};
use super::fanout::lower_first;
use super::{Effect, Input, Moment, Reader, Shard};
use crate::change::Entry;
use crate::interest::Subscription;
use crate::mqtt::ended::Ended;
use crate::mqtt::replay::Walk;
use crate::mqtt::session::Flow;
use crate::mqtt::snapshots::Snapshot;
use crate::mqtt::window::Delivery;
use crate::position::Sequence;
use crate::proposal::Batch;
use rowcast_codec::{QoS, Topic, TopicFilter};
use std::borrow::Cow;
use std::sync::Arc;

/// Bytes of log or records that one read brings at most.
pub(super) const READ_BYTES: usize = 256 * 1024;
/// Records, or entries of the log, that are handled at a time: nobody else on the thread is served meanwhile.
pub(super) const TURN_ENTRIES: usize = 256;
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

    /// Whether [`Shard::pump`] has something to do.
    pub(super) fn is_owed(&self, id: ConnectionId) -> bool {
        let Some(connection) = self.connection(id) else { return false };
        connection.memberships.refuse_any() || !matches!(self.next_read(id), Next::Nothing)
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
                        if let Some(session) = self.session_mut(id) {
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
        if session.flow == Flow::Live && connection.queue.is_empty() && session.snapshots.first().is_none() {
            return Next::Nothing; // Nearly always.
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
        if let Some(session) = self.session_mut(id)
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
                let session = self.session(id).map(|session| session.id);
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
        let session = self.session(id);
        let Some(session) = session.filter(|session| !session.ended.is_empty()) else { return subscriptions.into() };
        let ended = session.ended.iter().filter(|ended| goes_on(ended) && selects(&ended.canonical, topic));
        let ended = ended.filter_map(|ended| ended.subscription);
        let all: Vec<Subscription> = subscriptions.iter().copied().chain(ended).collect();
        if alias.is_empty() && all.iter().any(|subscription| subscription.alias) {
            alias.push_str(topic);
            lower_first(alias);
        }
        all.into()
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
        deliver::deliver(
            connection,
            (&mut self.frames, &self.tables),
            &mut self.counters,
            way,
            delivery,
            outbound_bytes,
            now,
        )
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

pub(super) fn selects(filter: &str, topic: &str) -> bool {
    match (TopicFilter::new(filter), Topic::new(topic)) {
        (Ok(filter), Ok(topic)) => filter.matches(&topic),
        _ => false,
    }
}
