//! States that wait for a client without room, the newest of each topic (`rowcast-conflate`).
//!
//! For QoS 0, where there is no room a message is dropped; a subscription can ask that of states, the newest be kept.
//! They are kept as they came, each shared by all who wait for it. What does not fit the bound is not dropped either: the
//! client goes on behind it by reading the log.

use super::connection::{Connection, ConnectionId};
use super::deliver::{self, Delivered, Outgoing};
use super::{Moment, Shard};
use crate::change::Entry;
use crate::mqtt::session::Flow;
use crate::mqtt::window::Delivery;
use crate::names::NameMap;
use crate::position::Sequence;
use rowcast_codec::QoS;
use std::collections::VecDeque;
use std::rc::Rc;

/// What waits for one client.
///
/// Invariant: each topic stands in line once, where it came to it first, so that none is overtaken for ever.
#[derive(Debug, Default)]
pub(super) struct Conflated {
    line: VecDeque<Rc<str>>,
    newest: NameMap<Rc<str>, State>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct State {
    /// Encoded.
    entry: Rc<[u8]>,
    sequence: Sequence,
}

/// What became of a state that was to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kept {
    /// It is the first of its topic.
    Waits,
    /// It took the place of an older one.
    Replaced,
    /// It does not fit.
    No,
}

/// What a state costs beyond its bytes: places in a line and a map.
const STATE_BYTES: usize = 96;

impl Conflated {
    fn keep(&mut self, topic: &str, state: State, bytes_max: usize) -> Kept {
        let cost = |state: &State| state.entry.len() + topic.len() + STATE_BYTES;
        let before = self.newest.get(topic).map(cost);
        let bytes = self.bytes - before.unwrap_or(0) + cost(&state);
        if bytes > bytes_max {
            return Kept::No;
        }
        self.bytes = bytes;
        if let Some(newest) = self.newest.get_mut(topic) {
            *newest = state;
            return Kept::Replaced;
        }
        let topic: Rc<str> = topic.into();
        self.line.push_back(Rc::clone(&topic));
        self.newest.insert(topic, state);
        Kept::Waits
    }

    /// Whether a state of this topic waits.
    pub(super) fn holds(&self, topic: &str) -> bool {
        self.newest.contains_key(topic)
    }

    fn first(&self) -> Option<State> {
        self.newest.get(self.line.front()?).cloned()
    }

    fn drop_first(&mut self) {
        if let Some(topic) = self.line.pop_front()
            && let Some(state) = self.newest.remove(&topic)
        {
            self.bytes -= state.entry.len() + topic.len() + STATE_BYTES;
        }
    }
}

impl Shard {
    /// Keeps a state until its client has room; what does not fit, the client reads from the log.
    pub(super) fn conflate(&mut self, slot: u32, topic: &str, entry: &Entry<'_>, encoded: &mut Option<Rc<[u8]>>) {
        let outbound_bytes = self.settings.limits.outbound_bytes as usize;
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        let bytes = encoded.get_or_insert_with(|| entry.change.to_bytes().into());
        let state = State { entry: Rc::clone(bytes), sequence: entry.sequence };
        match connection.conflated.get_or_insert_default().keep(topic, state, outbound_bytes) {
            Kept::Waits => {}
            Kept::Replaced => self.counters.conflated += 1,
            Kept::No => fall_behind(connection, entry.sequence),
        }
    }

    /// Sends what waits, as far as there is room. `false`: there is none any more.
    pub(super) fn send_conflated(&mut self, id: ConnectionId, now: Moment) -> bool {
        loop {
            let Some(connection) = self.connection_mut(id) else { return false };
            let Some(State { entry, sequence }) = connection.conflated.as_ref().and_then(|waiting| waiting.first())
            else {
                connection.conflated = None;
                self.wake(id);
                return true;
            };
            let mut delivered = Delivered::Done;
            if let Ok((decoded, _)) = Entry::decode(&entry, sequence)
                && let Some((matches, topic, alias)) = self.interested(&decoded)
            {
                let mut message = Outgoing::of_entry(&decoded, &topic, &alias);
                message.qos = QoS::AtMostOnce; // A subscription of later may grant more; nobody could repeat it.
                let make = |qos| Delivery::of_entry(sequence, qos);
                delivered = self.deliver_to(id, &message, deliver::of_one(&matches, id), now, make);
                self.scratch.topic = topic;
                self.scratch.alias = alias;
            }
            if delivered == Delivered::NoRoom {
                self.wake(id);
                return false;
            }
            if let Some(waiting) = self.connection_mut(id).and_then(|found| found.conflated.as_mut()) {
                waiting.drop_first();
            }
        }
    }
}

/// What comes from `sequence` on reaches the client by the log.
fn fall_behind(connection: &mut Connection, sequence: Sequence) {
    if let Some(session) = &mut connection.session {
        session.flow = Flow::Behind { after: Sequence(sequence.0 - 1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(sequence: u64, bytes: usize) -> State {
        State { entry: vec![0; bytes].into(), sequence: Sequence(sequence) }
    }

    #[test]
    fn the_newest_of_each_topic_waits_where_the_first_did_within_the_bound() {
        let mut waiting = Conflated::default();
        let max = 3 * (STATE_BYTES + 1) + 30;
        assert_eq!(waiting.keep("a", state(1, 10), max), Kept::Waits);
        assert_eq!(waiting.keep("b", state(2, 10), max), Kept::Waits);
        assert_eq!(waiting.keep("a", state(3, 11), max), Kept::Replaced);
        assert_eq!(waiting.keep("c", state(4, 10), max), Kept::No);
        assert_eq!(waiting.keep("c", state(5, 9), max), Kept::Waits);
        assert_eq!(waiting.keep("b", state(6, 11), max), Kept::No);
        let mut sequences = Vec::new();
        while let Some(state) = waiting.first() {
            sequences.push(state.sequence.0);
            waiting.drop_first();
        }
        assert_eq!((sequences, waiting.bytes, waiting.newest.len()), (vec![3, 2, 5], 0, 0));
    }
}
