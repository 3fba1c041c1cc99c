//! Packet identifiers under way in both directions (MQTT 5 §4.3). Bookkeeping only.

use rowcast_codec::{PacketId, QoS};
use std::collections::{HashMap, HashSet};

/// What was published and is not done with, and what came with QoS 2 and is not released.
///
/// Invariant: at most `receive_maximum` publishes are under way.
#[derive(Debug)]
pub(super) struct Flight {
    sent: HashMap<PacketId, Step>,
    received: HashSet<PacketId>,
    receive_maximum: usize,
    count: u64, // Identifiers given so far.
}

/// Where an outbound publish stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// PUBLISH is sent.
    Sent(QoS),
    /// PUBREL is sent.
    Released,
}

/// What PUBREC is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// PUBREL.
    Release,
    /// PUBREL that says there is no such publish.
    Unknown,
}

impl Flight {
    pub(super) fn new(receive_maximum: u16) -> Flight {
        let receive_maximum = usize::from(receive_maximum.max(1));
        Flight { sent: HashMap::new(), received: HashSet::new(), receive_maximum, count: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    pub(super) fn room(&self) -> usize {
        self.receive_maximum - self.sent.len()
    }

    /// An identifier that is not in use.
    pub(super) fn next_id(&mut self) -> PacketId {
        loop {
            let id = PacketId::nth(self.count);
            self.count += 1;
            if !self.sent.contains_key(&id) {
                return id;
            }
        }
    }

    /// An identifier for a publish that goes out now.
    pub(super) fn begin(&mut self, qos: QoS) -> PacketId {
        assert!(self.room() > 0, "the server's Receive Maximum holds");
        let id = self.next_id();
        self.sent.insert(id, Step::Sent(qos));
        id
    }

    /// The publish did not go out.
    pub(super) fn forget(&mut self, id: PacketId) {
        self.sent.remove(&id);
    }

    /// PUBACK, PUBCOMP, or a PUBREC that refuses: the publish is done with. `None`: there was none.
    pub(super) fn acknowledged(&mut self, id: PacketId) -> Option<Step> {
        self.sent.remove(&id)
    }

    /// PUBREC that accepts.
    pub(super) fn pubrec(&mut self, id: PacketId) -> Answer {
        match self.sent.get_mut(&id) {
            Some(step @ (Step::Sent(QoS::ExactlyOnce) | Step::Released)) => {
                *step = Step::Released;
                Answer::Release
            }
            _ => Answer::Unknown,
        }
    }

    /// A message came with QoS 2; whether it is new.
    pub(super) fn received(&mut self, id: PacketId) -> bool {
        self.received.insert(id)
    }

    /// PUBREL: the identifier may come again.
    pub(super) fn released(&mut self, id: PacketId) {
        self.received.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_in_use_are_skipped() {
        let mut flight = Flight::new(3);
        let first = flight.begin(QoS::AtLeastOnce);
        for _ in 0..PacketId::COUNT - 1 {
            assert_ne!(flight.next_id(), first);
        }
        assert_ne!(flight.next_id(), first, "after a whole round");
    }

    #[test]
    fn a_publish_is_done_with_once() {
        let mut flight = Flight::new(1);
        let id = flight.begin(QoS::ExactlyOnce);
        assert_eq!((flight.room(), flight.len()), (0, 1));
        assert_eq!(flight.pubrec(id), Answer::Release);
        assert_eq!(flight.pubrec(id), Answer::Release, "again");
        assert_eq!(flight.acknowledged(id), Some(Step::Released));
        assert_eq!(flight.acknowledged(id), None);
        assert_eq!(flight.pubrec(id), Answer::Unknown);
        assert_eq!(flight.room(), 1);
        let id = flight.begin(QoS::AtLeastOnce);
        assert_eq!(flight.pubrec(id), Answer::Unknown, "QoS 1 has no PUBREC");
    }

    #[test]
    fn a_message_is_new_until_it_is_released() {
        let mut flight = Flight::new(1);
        let id = PacketId::nth(0);
        assert_eq!([flight.received(id), flight.received(id)], [true, false]);
        flight.released(id);
        assert!(flight.received(id));
    }
}
