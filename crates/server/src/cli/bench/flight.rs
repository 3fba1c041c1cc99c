//! Messages of QoS 1 and 2 on their way to the broker.

use super::link::Broken;
use super::wire::{self, Packet};
use rustc_hash::FxHashMap;

/// What is not acknowledged yet, by packet identifier.
///
/// Invariant: at most `limit` of them, which is less than there are identifiers.
#[derive(Debug)]
pub(super) struct Flight<T> {
    under_way: FxHashMap<u16, T>,
    last: u16,
    limit: usize,
}

/// How the flight of a message ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Landed<T> {
    Acknowledged(T),
    /// With a reason code.
    Refused(u8),
}

impl<T> Flight<T> {
    /// For as many as are wanted at once, and the broker takes.
    pub(super) fn new(window: usize, receive_maximum: u16) -> Flight<T> {
        Flight { under_way: FxHashMap::default(), last: 0, limit: window.min(receive_maximum.min(65_534).into()) }
    }

    pub(super) fn has_room(&self) -> bool {
        self.under_way.len() < self.limit
    }

    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Takes a free identifier for a message. There must be room.
    pub(super) fn start(&mut self, what: T) -> u16 {
        debug_assert!(self.has_room());
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if !self.under_way.contains_key(&self.last) {
                self.under_way.insert(self.last, what);
                return self.last;
            }
        }
    }

    /// Takes an acknowledgement, and answers it if it is one of those that are answered.
    pub(super) fn on(&mut self, packet: Packet<'_>, out: &mut Vec<u8>) -> Result<Option<Landed<T>>, Broken> {
        let (id, code) = match packet {
            Packet::Pubrec { id, code } if code < 0x80 && self.under_way.contains_key(&id) => {
                wire::acknowledge(out, wire::PUBREL, id);
                return Ok(None);
            }
            Packet::Puback { id, code } | Packet::Pubrec { id, code } | Packet::Pubcomp { id, code } => (id, code),
            _ => return Err(Broken::Unexpected("a publisher waits for acknowledgements only")),
        };
        let what = self.under_way.remove(&id).ok_or(Broken::Unexpected("it acknowledges what is not under way"))?;
        Ok(Some(if code < 0x80 { Landed::Acknowledged(what) } else { Landed::Refused(code) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flight_ends_with_its_last_acknowledgement() {
        let (mut flight, mut out) = (Flight::new(2, 10), Vec::new());
        assert_eq!((flight.start("a"), flight.start("b"), flight.has_room()), (1, 2, false));
        let mut on = |packet| flight.on(packet, &mut out).expect("it is under way");
        assert_eq!(on(Packet::Pubrec { id: 1, code: 0x10 }), None);
        assert_eq!(on(Packet::Puback { id: 2, code: 0x97 }), Some(Landed::Refused(0x97)));
        assert_eq!(on(Packet::Pubcomp { id: 1, code: 0 }), Some(Landed::Acknowledged("a")));
        assert_eq!((flight.len(), out.as_slice()), (0, &[0x62, 2, 0, 1][..]));
        assert!(flight.on(Packet::Puback { id: 1, code: 0 }, &mut out).is_err());
        assert!(flight.on(Packet::Pubrec { id: 9, code: 0 }, &mut out).is_err());
    }

    #[test]
    fn identifiers_are_used_again_but_not_at_once() {
        let (mut flight, mut out) = (Flight::new(usize::MAX, 65_535), Vec::new());
        let first = flight.start(());
        for expected in 2..=65_535 {
            let id = flight.start(());
            assert_eq!(id, expected);
            flight.on(Packet::Puback { id, code: 0 }, &mut out).expect("it is under way");
        }
        assert_eq!((first, flight.start(())), (1, 2));
    }
}
