//! What was committed, and what only passes by, to everyone on this shard who wants it.

use super::connection::{Connection, Phase, Queued};
use super::deliver::{Delivered, Outgoing, Selected, deliver};
use super::plain::Plain;
use super::{Moment, Shard};
use crate::change::{ChangeKind, Entries, Entry};
use crate::interest::{Kept, Matches, Subscription};
use crate::mqtt::session::{Flow, Session};
use crate::mqtt::window::Delivery;
use crate::policy::View;
use crate::position::{Sequence, TableId};
use crate::proposal::Batch;
use rowcast_codec::{QoS, ReasonCode};
use std::rc::Rc;
use std::sync::Arc;

/// Records that may change while records are read for a client; beyond it, the client reads the changes from the log.
const CHANGED_MAX: usize = 1024;

/// How a message waits for a client that has no room for it, and that it will not read from the log.
pub(super) enum Waits {
    /// Behind those that stand in no log, to be delivered with this QoS.
    Queued(QoS),
    /// Until it goes out, or a newer state of its topic comes.
    Conflated,
}

/// What becomes of a message that a client has no room for.
pub(super) enum Late {
    Waits(Waits),
    Dropped,
    /// The client reads it from the log, and all behind it.
    Behind,
}

/// Many entries come from one client at a time, all to one topic, which is put together and looked up once.
struct Heard<'e> {
    place: Option<(TableId, &'e [u8])>,
    topic: String,
    wanted: Kept,
}

impl Heard<'_> {
    /// `buffer` is to be given back.
    fn new(buffer: &mut String) -> Self {
        Heard { place: None, topic: std::mem::take(buffer), wanted: Kept::default() }
    }
}

impl Shard {
    /// Entries were committed.
    pub(super) fn on_batch(&mut self, batch: &Batch, now: Moment) {
        let mut heard = Heard::new(&mut self.scratch.topic);
        let (index, reach) = (self.settings.index, Arc::clone(&self.settings.reach));
        for entry in batch.entries_for(index, &reach) {
            self.seen = self.seen.max(Sequence(entry.sequence.0 - 1)); // There was nothing for this shard in between.
            if entry.change.table.is_internal() {
                self.on_internal(&entry, now);
            } else if !entry.superseded {
                self.fan_out_heard(&entry, &mut heard, now);
            }
            self.seen = entry.sequence;
        }
        self.seen = self.seen.max(batch.last());
        self.scratch.topic = heard.topic;
        self.store_full_sessions(now);
        if self.durable.releasing() > 0 {
            self.clear_away();
        }
    }

    /// Messages that stand in no log came from another shard.
    pub(super) fn on_events(&mut self, bytes: &[u8], now: Moment) {
        let mut heard = Heard::new(&mut self.scratch.topic);
        for entry in Entries::new(bytes, Sequence::ZERO) {
            let Ok(entry) = entry else { break };
            self.fan_out_heard(&Entry { sequence: Sequence::ZERO, ..entry }, &mut heard, now);
        }
        self.scratch.topic = heard.topic;
    }

    /// The server's own tables: what they mean for who may come back.
    fn on_internal(&mut self, entry: &Entry<'_>, now: Moment) {
        let change = &entry.change;
        match (change.table, change.kind) {
            (TableId::SUBSCRIPTIONS, ChangeKind::Put) => {
                self.durable.add(&self.tables, change.key);
                self.keep_group(change.key, entry.sequence);
                self.on_subscription_row(change.key, entry.sequence);
            }
            (TableId::SUBSCRIPTIONS, ChangeKind::Delete | ChangeKind::Expire) => {
                self.durable.remove(change.key);
                self.release_group(change.key);
            }
            (TableId::SESSIONS, ChangeKind::Put) => self.settings.session_quota.on_stored(change.key, entry.sequence),
            (TableId::SESSIONS, ChangeKind::Delete | ChangeKind::Expire) => {
                self.settings.session_quota.on_gone(change.key, entry.sequence);
                self.on_session_gone(change.key);
                if change.kind == ChangeKind::Expire && self.settings.index == 0 {
                    self.on_session_expired(change.key);
                }
            }
            (TableId::WILLS, kind) => self.on_will_row(change.key, (kind == ChangeKind::Put).then_some(change.payload)),
            (TableId::USERS, kind) => {
                self.on_account(change.key, (kind == ChangeKind::Put).then_some(change.payload), now)
            }
            (TableId::CLAIMS, ChangeKind::Put) => self.on_claims(change.key, change.payload),
            _ => {}
        }
    }

    fn fan_out_heard<'e>(&mut self, entry: &Entry<'e>, heard: &mut Heard<'e>, now: Moment) {
        if self.is_deaf() {
            return;
        }
        let place = (entry.change.table, entry.change.key);
        if heard.place != Some(place) {
            let is_topic = match entry.change.kind {
                // What expires may have been put long ago, under a name that is another table's by now.
                ChangeKind::Expire => self.tables.topic(place.0, place.1, &mut heard.topic),
                _ => self.tables.topic_of_place(place.0, place.1, &mut heard.topic),
            };
            heard.place = is_topic.then_some(place);
            heard.wanted = Kept::default();
        }
        if heard.place.is_some() {
            let matches = self.interest.matches_of(&heard.topic, &heard.wanted);
            self.fan_out_to(&matches, entry, &heard.topic, now);
        }
    }

    /// Whether nobody on this shard wants anything: a node that is only written to is spared the look at a cache of all its
    /// topics.
    pub(super) fn is_deaf(&self) -> bool {
        self.interest.is_empty() && self.groups.is_empty()
    }

    /// An entry of the log, or a message that stands in none, to this shard's subscribers: those that `matches` says, and
    /// groups. `topic` is its canonical topic.
    pub(super) fn fan_out_to(&mut self, matches: &[Subscription], entry: &Entry<'_>, topic: &str, now: Moment) {
        if !matches.is_empty() {
            let alias = self.aliased(topic, matches);
            self.fan_out(entry, matches, (topic, &alias), now);
            self.scratch.alias = alias;
        }
        self.offer_groups(entry, topic);
    }

    /// Who on this shard wants an entry, and its topic in both spellings, in buffers to be given back.
    pub(super) fn interested(&mut self, entry: &Entry<'_>) -> Option<(Matches, String, String)> {
        let mut topic = std::mem::take(&mut self.scratch.topic);
        if !self.tables.topic(entry.change.table, entry.change.key, &mut topic) {
            self.scratch.topic = topic;
            return None;
        }
        let matches = self.interest.matches(&topic);
        let alias = self.aliased(&topic, &matches);
        Some((matches, topic, alias))
    }

    /// A canonical topic as those who want it spell it if they use the table's alias, in a buffer to be given back.
    fn aliased(&mut self, topic: &str, matches: &[Subscription]) -> String {
        let mut alias = std::mem::take(&mut self.scratch.alias);
        alias.clear();
        if matches.iter().any(|subscription| subscription.alias) {
            alias.push_str(topic);
            lower_first(&mut alias);
        }
        alias
    }

    /// `topics`: its topic in both spellings.
    fn fan_out(&mut self, entry: &Entry<'_>, matches: &[Subscription], topics: (&str, &str), now: Moment) {
        let subscribers = matches.first().zip(matches.last());
        self.frames.begin(subscribers.is_some_and(|(first, last)| first.subscriber != last.subscriber));
        let event = Plain::of_entry(entry, topics.0, topics.1);
        let mut queued = None;
        let mut rest = matches;
        while let Some(first) = rest.first() {
            let count = rest.iter().take_while(|other| other.subscriber == first.subscriber).count();
            let (subscriptions, others) = rest.split_at(count);
            rest = others;
            let is_done = match (&event, subscriptions) {
                (Some(event), [subscription]) => self.deliver_plain(event, subscription),
                _ => false,
            };
            if !is_done {
                self.offer_entry(entry, topics, subscriptions, &mut queued, now);
            }
        }
    }

    /// Offers an entry to one client. `encoded`: it, once somebody has to wait for it.
    #[inline(never)] // Most messages do not come here.
    fn offer_entry(
        &mut self,
        entry: &Entry<'_>,
        (topic, alias): (&str, &str),
        subscriptions: &[Subscription],
        encoded: &mut Option<Rc<[u8]>>,
        now: Moment,
    ) {
        let message = Outgoing::of_entry(entry, topic, alias);
        let slot = subscriptions[0].subscriber.0;
        match self.offer(slot, &message, subscriptions, now) {
            Some(Waits::Queued(qos)) => self.enqueue(slot, (topic, entry), qos, encoded, now),
            Some(Waits::Conflated) => self.conflate(slot, topic, entry, encoded),
            None => {}
        }
    }

    /// Offers a message to one client. `Some`: it has to wait, and the log will not bring it.
    fn offer(
        &mut self,
        slot: u32,
        message: &Outgoing<'_>,
        subscriptions: &[Subscription],
        now: Moment,
    ) -> Option<Waits> {
        let connection = self.connections.get_mut(slot as usize)?;
        let outbound_bytes = self.settings.limits.outbound_bytes as usize;
        let open = connection.phase == Phase::Open;
        let session = connection.session.as_ref()?;
        if let Some(sequence) = message.sequence
            && (session.flow != Flow::Live || sequence <= session.live_after)
        {
            return None; // The log brings it, or brought it.
        }
        // A read of records that is under way may bring what was before this change, and so may one whose deliveries
        // wait for the disk. What came before the subscription is not sent here: the read brings it.
        let until = session.snapshots.first().map_or(0, |snapshot| snapshot.until);
        let is_newer = message.sequence.is_none_or(|sequence| sequence.0 > until);
        let mut overtakes = connection.held.is_some() && message.kind.is_state();
        if let (true, Some(changed)) = (message.kind.is_state() && is_newer, &mut connection.changed) {
            overtakes |= changed.len() >= CHANGED_MAX;
            changed.insert(message.topic.into());
        }
        let selected = Selected::by(subscriptions, message, session.id);
        let qos = selected.qos?;
        if message.sequence.is_none() && (!open || (qos != QoS::AtMostOnce && session.is_durable())) {
            return None; // For a session that lasts it is in the log as well: see `publish`.
        }
        let conflates = selected.conflate && qos == QoS::AtMostOnce && message.kind.is_state();
        let late = late_behind(connection, session, message, qos, (conflates, overtakes));
        let late = late.or_else(|| {
            let sequence = message.sequence.unwrap_or(Sequence::ZERO);
            let delivered = deliver(
                connection,
                (&mut self.frames, &self.tables),
                &mut self.counters,
                (message, &selected),
                |qos| Delivery::of_entry(sequence, qos),
                outbound_bytes,
                now,
            );
            match delivered {
                Delivered::NoRoom if conflates => Some(Late::Waits(Waits::Conflated)),
                Delivered::NoRoom if qos == QoS::AtMostOnce => Some(Late::Dropped),
                Delivered::NoRoom if message.sequence.is_none() => Some(Late::Waits(Waits::Queued(qos))),
                Delivered::NoRoom => Some(Late::Behind),
                Delivered::Done | Delivered::TooLarge => None,
            }
        });
        let is_counted = message.sequence.is_some() && qos > QoS::AtMostOnce;
        let is_hidden = || connection.rights.view(message.table, message.topic) == View::Nothing;
        match late {
            None => {
                let id = super::id_of(slot as usize, connection);
                let is_to_store = connection.session.as_ref().is_some_and(|session| session.window.is_to_store());
                self.wake(id);
                if is_to_store {
                    self.to_store.insert(id);
                }
            }
            // It must not take the place of others while it waits.
            Some(_) if selected.guarded && !is_counted && is_hidden() => {}
            Some(Late::Waits(how)) => return Some(how),
            Some(Late::Dropped) => {
                self.counters.dropped += 1;
                connection.dropped += 1;
            }
            Some(Late::Behind) => {
                if let (Some(session), Some(sequence)) = (&mut connection.session, message.sequence) {
                    session.flow = Flow::Behind { after: Sequence(sequence.0 - 1) };
                }
            }
        }
        None
    }

    /// Keeps a message that stands in no log until its client has room. When too much waits already, one with QoS 0 is
    /// dropped; for the others the client begins to lag, and only what is under way by then still comes this way.
    fn enqueue(
        &mut self,
        slot: u32,
        (topic, entry): (&str, &Entry<'_>),
        qos: QoS,
        encoded: &mut Option<Rc<[u8]>>,
        now: Moment,
    ) {
        let after = self.seen;
        let outbound_bytes = self.settings.limits.outbound_bytes as usize;
        let bytes_max = self.queue_bytes_max();
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        let id = super::id_of(slot as usize, connection);
        let entry = Rc::clone(encoded.get_or_insert_with(|| entry.change.to_bytes().into()));
        let queued = Queued { entry, after, qos };
        let bytes = connection.queue_bytes + queued.bytes();
        if qos == QoS::AtMostOnce && bytes > outbound_bytes {
            connection.dropped += 1;
            self.counters.dropped += 1;
            return;
        }
        if bytes > bytes_max {
            return self.close(id, ReasonCode::QuotaExceeded, "the client does not take what it is sent", now);
        }
        connection.queue_push(queued);
        if qos > QoS::AtMostOnce && bytes > outbound_bytes / 2 {
            self.begin_lag(id, topic);
        }
    }
}

/// What becomes of a message that has to wait for what came before it; `None`: for nothing. `overtakes`: it would come
/// before an older state of its topic.
pub(super) fn late_behind(
    connection: &Connection,
    session: &Session,
    message: &Outgoing<'_>,
    qos: QoS,
    (conflates, overtakes): (bool, bool),
) -> Option<Late> {
    // What came before it comes first; QoS 0 need not wait for what waits for the window.
    let waits = if qos == QoS::AtMostOnce {
        connection.queued_at_most_once > 0
    } else {
        !connection.queue.is_empty() || !session.redeliver.is_empty()
    };
    // What is behind a state of its topic that found no room finds none either.
    let is_held_up = connection.conflated.as_deref().is_some_and(|waiting| waiting.holds(message.topic));
    match message.sequence {
        None if waits || is_held_up || session.flow != Flow::Live => Some(Late::Waits(Waits::Queued(qos))),
        Some(_) if waits || overtakes => Some(Late::Behind),
        // Or it would overtake an older one.
        _ if conflates && connection.conflated.is_some() => Some(Late::Waits(Waits::Conflated)),
        Some(_) if is_held_up && qos > QoS::AtMostOnce => Some(Late::Behind),
        _ if is_held_up => Some(Late::Dropped),
        _ => None,
    }
}

/// The alias of a canonical topic: exported names are ASCII, and the alias has the first letter in lower case.
pub(super) fn lower_first(topic: &mut str) {
    if let Some(first) = topic.get_mut(..1) {
        first.make_ascii_lowercase();
    }
}
