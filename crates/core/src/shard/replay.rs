//! The past of new subscriptions (`rowcast-since`, `rowcast-last`): where it begins, and how it reaches the client. What a
//! replay is to a session is in [`crate::mqtt::replay`].

use super::catchup::{READ_BYTES, Turn};
use super::connection::{ConnectionId, LookUp, ReplayTold};
use super::deliver::{self, Delivered, Outgoing, Replayed, Selected};
use super::{Effect, Moment, Reader, Shard};
use crate::change::Entry;
use crate::mqtt::replay::{Replay, Walk};
use crate::mqtt::session::Session;
use crate::mqtt::window::Delivery;
use crate::position::Sequence;
use crate::proposal::Batch;
use crate::replay::{Cut, Located, Sought, Start};
use rowcast_codec::{Packet, QoS, Subscribe, TopicFilter, UserPropertiesBuf, Version};
use std::num::NonZeroU32;
use std::sync::Arc;

impl Shard {
    /// Has the place looked up where a SUBSCRIBE's past begins; the packet waits for it. `false`: there is nothing in it
    /// that could have a past.
    pub(super) fn locate(&mut self, id: ConnectionId, subscribe: &Subscribe<'_>, start: Start, now: Moment) -> bool {
        let filters_max = self.settings.limits.filters_per_subscribe as usize;
        let tables = Arc::clone(&self.tables);
        let Some(connection) = self.connection_mut(id) else { return false };
        let Some(session) = &connection.session else { return false };
        let mut filters = Vec::new();
        let mut no_local = Vec::new();
        for asked in subscribe.filters.iter().take(filters_max) {
            let Ok(filter) = TopicFilter::new(asked.filter) else { return false }; // The connection ends.
            let canonical = tables.canonical_filter(filter.filter()).filter(|_| filter.share().is_none());
            filters.push(canonical.map(|(canonical, _)| canonical.into()));
            no_local.push(asked.options.no_local);
        }
        let mut packet = Vec::new();
        let encoded = Packet::Subscribe(subscribe.clone()).encode(Version::V5, &mut packet);
        if encoded.is_err() || filters.iter().all(Option::is_none) {
            return false;
        }
        let sought = Box::new(Sought {
            start,
            filters,
            no_local,
            session: session.id,
            rights: connection.rights.clone(),
            tables,
            now_ms: now.wall_ms,
        });
        connection.looking_up = Some(Box::new(LookUp { packet, checked: None, effect: None, behind: None }));
        self.effects.push(Effect::Locate { connection: id, sought });
        true
    }

    /// It was found: the subscriptions are made.
    pub(super) fn on_located(&mut self, id: ConnectionId, located: &Located, now: Moment) {
        let Some((version, waiting)) = self.take_looked_up(id, now) else { return };
        if let Ok(Packet::Subscribe(subscribe)) = Packet::decode(version, &waiting.packet) {
            self.subscribe(id, &subscribe, Some(located), now);
        }
        self.wake(id); // Its packets are handled again.
    }

    /// Whether a session has a replay under way, or waiting.
    pub(super) fn replays(&self, id: ConnectionId) -> bool {
        let session = self.session(id);
        session.is_some_and(|session| !session.replays.is_empty())
    }

    /// Asks for the next piece of the replay whose turn it is. `true`: a read is under way.
    pub(super) fn read_replay(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.connection_mut(id) else { return true };
        let Some(session) = &mut connection.session else { return true };
        let Walk::Replay(replay) = session.walk() else { return false };
        let after = Sequence(replay.after);
        if replay.after >= replay.until {
            session.advance_replay(after);
            return false;
        }
        connection.replay_read = Some(replay.number);
        self.start_read(id, |connection| Effect::ReadLog {
            reader: Reader::Connection(connection),
            after,
            bytes: READ_BYTES,
        });
        true
    }

    /// A piece of the log is here for a replay.
    pub(super) fn on_replay_read(
        &mut self,
        id: ConnectionId,
        number: NonZeroU32,
        batches: &[Arc<Batch>],
        lost_until: Option<Sequence>,
        now: Moment,
    ) {
        let Some(session) = self.session_mut(id) else { return };
        match session.walk() {
            Walk::Replay(replay) if replay.number == number => match lost_until {
                Some(oldest) => self.on_replay_lost(id, replay, oldest),
                None => self.replay(id, replay, batches, now),
            },
            _ => {} // Its subscriptions are gone meanwhile.
        }
        self.wake(id);
        self.pump(id, now);
    }

    /// The log was cut before the client had read it: the client gets the current state of what is missing, the replay
    /// goes on where the log begins now, and we say so.
    fn on_replay_lost(&mut self, id: ConnectionId, replay: Replay, oldest: Sequence) {
        if replay.in_doubt {
            return self.give_up_doubt(id, Sequence::ZERO, oldest);
        }
        let seen = self.seen;
        let Some(session) = self.session_mut(id) else { return };
        let client_id = session.client_id.clone();
        let until = Sequence(oldest.0.saturating_sub(1).min(replay.until));
        session.show_unreplayed(replay.number, Sequence(replay.after), Some(until), seen);
        session.advance_replay(until);
        self.report_lost(client_id, Sequence(replay.after), oldest);
    }

    /// Delivers what is in the batches, as far as there is room, and notes how far that is.
    fn replay(&mut self, id: ConnectionId, replay: Replay, batches: &[Arc<Batch>], now: Moment) {
        let mut turn = Turn::behind(Sequence(replay.after));
        for (at, batch) in batches.iter().enumerate() {
            for entry in batch.entries() {
                let Some(session) = self.session(id) else { return };
                let is_it = |found: &&Replay| found.number == replay.number;
                let Some(&replay) = session.replays.front().filter(is_it) else { return };
                if entry.sequence.0 <= replay.after {
                    continue;
                }
                if !turn.has_room_for(entry.sequence) {
                    if let Some(connection) = self.connection_mut(id) {
                        connection.replay_read = Some(replay.number);
                    }
                    return self.read_on_later(id, batches[at..].to_vec());
                }
                let is_past = entry.sequence.0 <= replay.until;
                if is_past && self.replay_entry(id, replay, &entry, now) == Delivered::NoRoom {
                    return;
                }
                let Some(session) = self.session_mut(id) else { return };
                session.advance_replay(entry.sequence);
            }
        }
    }

    fn replay_entry(&mut self, id: ConnectionId, replay: Replay, entry: &Entry<'_>, now: Moment) -> Delivered {
        if entry.change.table.is_internal() || entry.superseded {
            return Delivered::Done;
        }
        let Some((matches, topic, mut alias)) = self.interested(entry) else { return Delivered::Done };
        let subscriptions = self.with_ended(id, (&topic, &mut alias), deliver::of_one(&matches, id), |_| true);
        let mut message = Outgoing::of_entry(entry, &topic, &alias);
        message.replay = Some(Replayed { number: replay.number, in_doubt: replay.in_doubt });
        let session = self.session(id).map(|session| session.id);
        let qos = Selected::by(&subscriptions, &message, session.unwrap_or_default()).qos;
        // With QoS 0 nothing is sent a second time; and it is not kept for those who are away.
        let is_in_vain = replay.in_doubt && qos == Some(QoS::AtMostOnce);
        let delivered = if is_in_vain {
            Delivered::Done
        } else {
            self.deliver_to(id, &message, &subscriptions, now, |qos| Delivery {
                replay: Some(replay.number),
                ..Delivery::of_entry(entry.sequence, qos)
            })
        };
        self.scratch.topic = topic;
        self.scratch.alias = alias;
        delivered
    }
}

impl ReplayTold {
    /// Adds what a SUBACK says of it: it holds what came after `rowcast-since`, up to `rowcast-until`; where it does not
    /// begin as asked, `rowcast-cut` says why.
    pub(super) fn tell(&self, session: &Session, told: &mut UserPropertiesBuf) {
        let Some(replay) = session.replays.iter().find(|replay| replay.number == self.number) else { return };
        let until = replay.until.to_string();
        let since = self.after.0.min(replay.until).to_string();
        let cut = self.cut.map(|cut| match cut {
            Cut::Log => "log",
            Cut::Search => "search",
        });
        let pairs = [("rowcast-since", Some(&*since)), ("rowcast-until", Some(&until)), ("rowcast-cut", cut)];
        for (name, value) in pairs {
            if let Some(value) = value {
                let pushed = told.push(name, value);
                debug_assert!(pushed.is_ok(), "short and plain");
            }
        }
    }

    /// The same for people to read, where something is missing.
    pub(super) fn words(&self) -> Option<&'static str> {
        self.cut.map(|cut| match cut {
            Cut::Log => "the log no longer reaches back so far",
            Cut::Search => "no more changes were looked for, the log is too long",
        })
    }
}
