//! Packet identifiers in flight to one client.
//!
//! Bookkeeping only: no socket, no clock, no bytes. The shard decides what to send; the window says whether there is
//! room, and under which identifier.

use super::doubtful::Doubtful;
use crate::limits::IN_DOUBT_MAX;
use crate::position::{Sequence, TableId};
use rowcast_codec::{PacketId, QoS};
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;

/// Deliveries sent and not yet acknowledged. Identifiers follow the count of deliveries, so the same log read again
/// after a restart gives the same ones.
///
/// Invariant: the front slot is full; at most `receive_maximum` slots are (MQTT 5 §4.9); no two share an identifier.
#[derive(Debug)]
pub struct Window {
    slots: VecDeque<Option<Delivery>>, // Emptied by an acknowledgement.
    before: u64,                       // Deliveries before the front slot.
    full: usize,
    receive_maximum: usize,
    /// Identifiers, beyond `count`, whose PUBREC came before a crash that the stored form is older than.
    released_ahead: FxHashSet<PacketId>,
    /// Identifiers that may not be used before they are released.
    doubtful: Doubtful,
    /// No more than so many deliveries are made, in all, before the session is stored; `u64::MAX`: it is not.
    stored_for: u64,
    /// There are deliveries of [`Window::withhold`] that are not on disk.
    withheld: bool,
}

/// One QoS 1 or 2 delivery under way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// Where in the log its message stands: the entry's place, or the version of the record that was sent as state.
    pub sequence: u64,
    /// 1 or 2.
    pub qos: u8,
    /// PUBREC came: from here on only PUBREL is sent (MQTT 5 §4.3.3).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub released: bool,
    /// Its topic was spelled by the table's alias.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alias: bool,
    /// It had RETAIN=1.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retain: bool,
    /// A replay brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<NonZeroU32>,
    /// It is a record's state, sent on subscribing; the record it was, should the log no longer reach back to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Box<(u32, Vec<u8>)>>,
    /// It came by a shared subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Box<Shared>>,
    /// Its group may not know yet that the session has taken it over: a claim is to be written with the session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unclaimed: bool,
}

/// By which group a delivery came, and what the group calls it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shared {
    /// The group's key.
    pub group: Box<str>,
    /// The subscription's filter, as the client spelled it.
    pub filter: Box<str>,
    /// Which message of the group.
    pub number: u64,
}

impl Delivery {
    /// A message of the log.
    #[must_use]
    pub fn of_entry(sequence: Sequence, qos: QoS) -> Delivery {
        let (sequence, qos) = (sequence.0, qos as u8);
        Delivery {
            sequence,
            qos,
            released: false,
            alias: false,
            retain: false,
            replay: None,
            state: None,
            shared: None,
            unclaimed: false,
        }
    }

    /// Nobody knows which message, but that PUBREC came for it.
    fn released() -> Delivery {
        Delivery { released: true, ..Delivery::of_entry(Sequence::ZERO, QoS::ExactlyOnce) }
    }

    /// A record's state.
    #[must_use]
    pub fn of_record(version: Sequence, qos: QoS, table: TableId, key: &[u8]) -> Delivery {
        let state = Some(Box::new((table.0, key.to_vec())));
        Delivery { state, ..Delivery::of_entry(version, qos) }
    }
}

/// What an acknowledgement was for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Acknowledged {
    /// The delivery is over, for the group as well by which it came, if it came by one.
    Done(Option<Box<Shared>>),
    /// PUBREC: the delivery goes on with PUBREL.
    Released,
    /// PUBREC for a delivery that is released already: PUBREL once more.
    Again,
    /// No delivery has this identifier.
    Unknown,
    /// The delivery with this identifier waits for another packet: a protocol error (MQTT 5 §1.2).
    Unexpected,
}

/// The packet that a delivery goes on with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// QoS 1.
    Puback,
    /// QoS 2, as long as PUBLISH may go out again.
    Pubrec,
    /// QoS 2, behind PUBREL.
    Pubcomp,
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Awaited::Puback => "PUBACK",
            Awaited::Pubrec => "PUBREC",
            Awaited::Pubcomp => "PUBCOMP",
        })
    }
}

impl Window {
    /// A window that at most `receive_maximum` deliveries fit in, after `before` earlier ones.
    #[must_use]
    pub fn new(receive_maximum: u16, before: u64) -> Window {
        Window {
            slots: VecDeque::new(),
            before,
            full: 0,
            receive_maximum: usize::from(receive_maximum.max(1)),
            released_ahead: FxHashSet::default(),
            doubtful: Doubtful::default(),
            stored_for: u64::MAX,
            withheld: false,
        }
    }

    /// A window with deliveries from an earlier connection: `in_flight` with their identifiers, in their order, out of
    /// `count` made in all. `doubtful`: see [`Window::doubt`].
    #[must_use]
    pub fn restore(count: u64, in_flight: Vec<(u64, Delivery)>, doubtful: Vec<Range<u64>>) -> Window {
        let before = in_flight.first().map_or(count, |&(number, _)| number);
        let mut window = Window { doubtful: Doubtful::restore(doubtful), ..Window::new(u16::MAX, before) };
        for (number, delivery) in in_flight {
            while window.count() < number {
                window.slots.push_back(None);
            }
            window.slots.push_back(Some(delivery));
            window.full += 1;
        }
        while window.count() < count {
            window.slots.push_back(None);
        }
        window.drop_done();
        window
    }

    /// PUBREC came for `id` before the last stored form: the delivery goes on with PUBREL.
    pub fn restore_released(&mut self, id: PacketId) {
        match self.slot(id) {
            Some(Some(delivery)) => delivery.released = true,
            Some(None) => {}
            None => {
                // Made after the stored form: it follows in the log, and the walk there must find it released.
                self.released_ahead.insert(id);
            }
        }
    }

    /// Identifiers whose PUBREC came, and whose PUBCOMP did not.
    pub fn released(&self) -> impl Iterator<Item = PacketId> {
        let in_flight = self.in_flight().filter(|(_, _, delivery)| delivery.released);
        in_flight.map(|(_, id, _)| id).chain(self.released_ahead.iter().copied())
    }

    /// A new connection may allow more or less than the last; what is under way stays.
    pub fn resume(&mut self, receive_maximum: u16) {
        self.doubtful.resume();
        self.stored_for = u64::MAX;
        self.withheld = false;
        self.receive_maximum = usize::from(receive_maximum.max(1));
    }

    /// How many deliveries may be under way.
    #[must_use]
    pub fn receive_maximum(&self) -> u16 {
        u16::try_from(self.receive_maximum).unwrap_or(u16::MAX)
    }

    /// Whether another delivery may begin.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let is_full = self.full >= self.receive_maximum || self.slots.len() >= PacketId::COUNT;
        !is_full && !self.is_doubtful() && !self.is_beyond_stored()
    }

    /// Whether another delivery may begin, and begins with PUBLISH.
    #[must_use]
    pub fn has_plain_room(&self) -> bool {
        self.released_ahead.is_empty() && self.has_room()
    }

    /// Whether the session is to be on disk as it is now before anything else is read for it.
    #[must_use]
    pub fn is_to_store(&self) -> bool {
        self.withheld || self.is_beyond_stored()
    }

    /// Whether that has to be so before another delivery begins.
    fn is_beyond_stored(&self) -> bool {
        self.count() >= self.stored_for
    }

    /// The session is on disk as it is now: it is known of so many deliveries from here on that they may have been made.
    pub fn stored(&mut self) {
        self.stored_for = self.count() + IN_DOUBT_MAX;
        self.withheld = false;
    }

    /// Whether the next identifier has to be released first.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.doubtful.distance(self.count()) == 0
    }

    /// How many more may begin.
    #[must_use]
    pub fn room(&self) -> usize {
        let free = (PacketId::COUNT - self.slots.len()).min(self.doubtful.distance(self.count()));
        let before_stored = usize::try_from(self.stored_for.saturating_sub(self.count())).unwrap_or(usize::MAX);
        self.receive_maximum.saturating_sub(self.full).min(free).min(before_stored)
    }

    /// Takes the identifier for a delivery; `None` while the client still owes us acknowledgements.
    pub fn take(&mut self, mut delivery: Delivery) -> Option<PacketId> {
        if !self.has_room() {
            return None;
        }
        let id = PacketId::nth(self.count());
        if !self.released_ahead.is_empty() && self.released_ahead.remove(&id) {
            delivery.released = true;
        }
        self.slots.push_back(Some(delivery));
        self.full += 1;
        Some(id)
    }

    /// Takes the identifier for a delivery that is not made after all, and that the client may have in its hands from before
    /// a crash: then it waits for PUBREL. Returns the number of the delivery, whose PUBREL may go out once that is on disk:
    /// or after another crash PUBLISH could go out again [MQTT-4.3.3-6].
    pub fn withhold(&mut self, delivery: Delivery) -> Option<u64> {
        let number = self.count();
        self.take(Delivery { released: true, ..delivery })?;
        self.withheld = true;
        Some(number)
    }

    /// Counts a delivery that is not made after all (it expired, or is too large for the client), so that those
    /// behind it keep their identifiers.
    pub fn skip(&mut self) {
        if self.slots.is_empty() {
            self.before += 1;
        } else if self.slots.len() < PacketId::COUNT {
            self.slots.push_back(None);
        }
    }

    /// Leaves out the next `count` identifiers: nobody knows which of them a client has in its hands. Where PUBREC came
    /// for one, the client waits: the delivery goes on with PUBREL. Returns the numbers of those.
    pub fn leave_out(&mut self, count: u64) -> Vec<u64> {
        let first = self.count();
        let room = PacketId::COUNT - self.slots.len();
        let left_out = first..first + count.min(room as u64);
        let is_released = |number: &u64| self.released_ahead.contains(&PacketId::nth(*number));
        let released: Vec<u64> = left_out.clone().filter(is_released).collect();
        self.slots.extend(left_out.map(|number| released.contains(&number).then(Delivery::released)));
        self.full += released.len();
        for &number in &released {
            self.released_ahead.remove(&PacketId::nth(number));
        }
        self.drop_done();
        self.doubtful.pass(self.count());
        released
    }

    /// With QoS 2 the client may hold messages under the next `count` identifiers.
    pub fn doubt(&mut self, count: u64) {
        let first = self.count();
        self.doubtful.add(first..first + count);
    }

    /// Doubtful identifiers that PUBREL is to go out for now, as the next delivery would have one of them.
    pub fn release_doubtful(&mut self) -> Vec<PacketId> {
        let free = PacketId::COUNT - self.slots.len();
        self.doubtful.release(self.count(), free)
    }

    /// Whether there are any.
    #[must_use]
    pub fn is_to_release(&self) -> bool {
        self.slots.len() < PacketId::COUNT && self.doubtful.is_to_release(self.count())
    }

    /// PUBCOMP came for an identifier without a delivery; `None`: nor was it to be released. `true`: it was the last of
    /// those that were, which can be used once that is on disk.
    pub fn pubcomp_doubtful(&mut self, id: PacketId) -> Option<bool> {
        self.doubtful.pubcomp(id)
    }

    /// What PUBREC came for before a crash is over before its delivery was found. `true`: this was such a one.
    pub fn forget_released(&mut self, id: PacketId) -> bool {
        self.released_ahead.remove(&id)
    }

    /// Identifiers that the client may hold, for the stored form.
    #[must_use]
    pub fn doubtful(&self) -> &[Range<u64>] {
        self.doubtful.stored()
    }

    /// PUBACK.
    pub fn puback(&mut self, id: PacketId) -> Acknowledged {
        match self.slot(id) {
            Some(Some(delivery)) if delivery.qos == 1 => self.finish(id),
            Some(Some(_)) => Acknowledged::Unexpected,
            _ => Acknowledged::Unknown,
        }
    }

    /// PUBREC; `refused`: with a reason of 0x80 or above, which ends the delivery (MQTT 5 §4.3.3).
    pub fn pubrec(&mut self, id: PacketId, refused: bool) -> Acknowledged {
        match self.slot(id) {
            Some(Some(delivery)) if delivery.qos == 2 && refused && !delivery.released => self.finish(id),
            Some(Some(delivery)) if delivery.qos == 2 && delivery.released => Acknowledged::Again,
            Some(Some(delivery)) if delivery.qos == 2 => {
                delivery.released = true;
                Acknowledged::Released
            }
            Some(Some(_)) => Acknowledged::Unexpected,
            _ => Acknowledged::Unknown,
        }
    }

    /// PUBCOMP.
    pub fn pubcomp(&mut self, id: PacketId) -> Acknowledged {
        match self.slot(id) {
            Some(Some(delivery)) if delivery.released => self.finish(id),
            Some(Some(_)) => Acknowledged::Unexpected,
            _ => Acknowledged::Unknown,
        }
    }

    /// Ends a delivery that cannot be made again: its message is gone, or not for the client any more. With QoS 2 the
    /// client may hold it, and waits: it goes on with PUBREL, which ends it for whoever has never seen it as well.
    pub fn give_up(&mut self, id: PacketId) -> Acknowledged {
        match self.slot(id) {
            Some(Some(delivery)) if delivery.qos == 2 => {
                delivery.released = true;
                delivery.shared = None; // Its group has nothing to do with what is left of it.
                Acknowledged::Released
            }
            Some(Some(_)) => self.finish(id),
            _ => Acknowledged::Unknown,
        }
    }

    /// Deliveries of groups that are to be claimed, with their quality of service.
    pub fn unclaimed(&self) -> impl Iterator<Item = (&Shared, QoS)> {
        let unclaimed = self.slots.iter().flatten().filter(|delivery| delivery.unclaimed);
        unclaimed.filter_map(|delivery| Some((delivery.shared.as_deref()?, QoS::try_from(delivery.qos).ok()?)))
    }

    /// All of them are claimed.
    pub fn claimed(&mut self) {
        self.slots.iter_mut().flatten().for_each(|delivery| delivery.unclaimed = false);
    }

    /// Whether PUBREL, not PUBLISH, is what goes out for the delivery with this identifier.
    #[must_use]
    pub fn is_released(&self, id: PacketId) -> bool {
        self.awaited(id) == Some(Awaited::Pubcomp)
    }

    /// What the delivery with this identifier waits for, if it is under way.
    #[must_use]
    pub fn awaited(&self, id: PacketId) -> Option<Awaited> {
        let delivery = self.slots[self.place(id)?].as_ref()?;
        Some(match delivery.qos {
            _ if delivery.released => Awaited::Pubcomp,
            1 => Awaited::Puback,
            _ => Awaited::Pubrec,
        })
    }

    /// The delivery with this number, if it is under way.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Delivery> {
        let place = usize::try_from(number.checked_sub(self.before)?).ok()?;
        self.slots.get(place)?.as_ref()
    }

    /// What is under way, oldest first, each with its number and identifier.
    pub fn in_flight(&self) -> impl Iterator<Item = (u64, PacketId, &Delivery)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let number = self.before + index as u64;
            slot.as_ref().map(|delivery| (number, PacketId::nth(number), delivery))
        })
    }

    /// How many deliveries were made or skipped in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.before + self.slots.len() as u64
    }

    /// How many are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.full
    }

    /// Whether none is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.full == 0
    }

    fn place(&self, id: PacketId) -> Option<usize> {
        let front = PacketId::nth(self.before).get();
        let place = (usize::from(id.get()) + PacketId::COUNT - usize::from(front)) % PacketId::COUNT;
        (place < self.slots.len()).then_some(place)
    }

    fn slot(&mut self, id: PacketId) -> Option<&mut Option<Delivery>> {
        self.place(id).map(|place| &mut self.slots[place])
    }

    fn finish(&mut self, id: PacketId) -> Acknowledged {
        let delivery = self.slot(id).and_then(Option::take);
        self.full -= usize::from(delivery.is_some());
        self.drop_done();
        Acknowledged::Done(delivery.and_then(|delivery| delivery.shared))
    }

    fn drop_done(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.before += 1;
        }
        if self.slots.is_empty() {
            self.slots = VecDeque::new(); // An idle client holds no memory here.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(sequence: u64) -> Delivery {
        Delivery::of_entry(Sequence(sequence), QoS::AtLeastOnce)
    }

    fn id(number: u16) -> PacketId {
        PacketId::new(number).expect("not zero")
    }

    #[test]
    fn no_more_deliveries_begin_than_may_be_in_doubt_before_the_session_is_stored() {
        let mut window = Window::new(u16::MAX, 7);
        assert!(!window.is_to_store(), "one that is not stored has no bound");
        for _ in 0..2 {
            window.stored();
            assert_eq!(window.room() as u64, IN_DOUBT_MAX);
            window.skip();
            for _ in 1..IN_DOUBT_MAX {
                assert!(window.take(one(1)).is_some_and(|id| window.puback(id) == Acknowledged::Done(None)));
            }
            assert!(window.is_to_store() && !window.has_room());
            assert_eq!((window.room(), window.take(one(1))), (0, None));
        }
        window.resume(10);
        assert!(window.has_room());
    }

    #[test]
    fn what_is_to_be_claimed_is_told_until_it_is() {
        let shared = Shared { group: "g/x".into(), filter: "$share/g/x".into(), number: 9 };
        let of_group = |unclaimed| Delivery { shared: Some(Box::new(shared.clone())), unclaimed, ..one(9) };
        let stored = serde_json::to_string(&of_group(false)).expect("plain data");
        assert!(!stored.contains("unclaimed"), "the form of before: {stored}");
        assert_eq!(serde_json::from_str::<Delivery>(&stored).ok(), Some(of_group(false)));
        let mut window = Window::restore(2, vec![(0, of_group(true)), (1, of_group(false))], Vec::new());
        assert_eq!(window.unclaimed().collect::<Vec<_>>(), [(&shared, QoS::AtLeastOnce)]);
        window.claimed();
        assert_eq!(window.unclaimed().count(), 0);
    }

    #[test]
    fn identifiers_follow_the_count_and_come_back_after_acknowledgements() {
        let mut window = Window::new(2, 0);
        assert_eq!(window.take(one(10)), Some(id(1)));
        assert_eq!(window.take(one(11)), Some(id(2)));
        assert_eq!(window.take(one(12)), None);
        assert_eq!(window.pubrec(id(2), false), Acknowledged::Unexpected);
        assert_eq!((window.pubcomp(id(2)), window.awaited(id(2))), (Acknowledged::Unexpected, Some(Awaited::Puback)));
        assert_eq!(window.puback(id(2)), Acknowledged::Done(None));
        assert_eq!(window.puback(id(2)), Acknowledged::Unknown);
        assert_eq!(window.take(one(12)), Some(id(3)));
        assert_eq!(window.puback(id(1)), Acknowledged::Done(None));
        assert_eq!(window.in_flight().map(|(_, id, _)| id.get()).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_stuck_delivery_never_lends_its_identifier() {
        let mut window = Window::new(10, 0);
        window.take(one(1));
        for round in 0..PacketId::COUNT as u64 - 1 {
            let id = window.take(one(round)).expect("room");
            assert_ne!(id.get(), 1);
            window.puback(id);
        }
        assert!(!window.has_room(), "the next identifier would be the stuck one's");
        window.puback(id(1));
        assert!(window.has_room());
    }

    #[test]
    fn exactly_once_goes_through_both_steps_and_no_other_way() {
        let mut window = Window::new(10, 0);
        let two = window.take(Delivery::of_entry(Sequence(5), QoS::ExactlyOnce)).expect("room");
        assert_eq!(window.puback(two), Acknowledged::Unexpected);
        assert_eq!((window.pubcomp(two), window.awaited(two)), (Acknowledged::Unexpected, Some(Awaited::Pubrec)));
        assert_eq!(window.pubrec(two, false), Acknowledged::Released);
        assert_eq!(window.pubrec(two, false), Acknowledged::Again);
        assert_eq!((window.puback(two), window.awaited(two)), (Acknowledged::Unexpected, Some(Awaited::Pubcomp)));
        assert_eq!(window.pubcomp(two), Acknowledged::Done(None));
        assert_eq!(window.pubcomp(two), Acknowledged::Unknown);
        let refused = window.take(Delivery::of_entry(Sequence(6), QoS::ExactlyOnce)).expect("room");
        assert_eq!(window.pubrec(refused, true), Acknowledged::Done(None));
        assert!(window.is_empty());
    }

    #[test]
    fn what_is_given_up_ends_at_once_unless_the_client_may_hold_it() {
        let mut window = Window::new(10, 0);
        let one = window.take(one(5)).expect("room");
        assert_eq!(window.give_up(one), Acknowledged::Done(None));
        assert_eq!(window.give_up(one), Acknowledged::Unknown);
        let two = window.take(Delivery::of_entry(Sequence(6), QoS::ExactlyOnce)).expect("room");
        assert_eq!(window.give_up(two), Acknowledged::Released);
        assert!(window.is_released(two));
        assert_eq!(window.pubcomp(two), Acknowledged::Done(None));
        assert!(window.is_empty());
    }

    #[test]
    fn a_restored_window_has_the_same_identifiers() {
        let mut window = Window::new(10, 70_000);
        for sequence in 0..5 {
            window.take(one(sequence));
        }
        window.puback(PacketId::nth(70_000));
        window.puback(PacketId::nth(70_002));
        let saved = window.in_flight().map(|(number, _, delivery)| (number, delivery.clone())).collect();
        let mut restored = Window::restore(window.count(), saved, Vec::new());
        let ids = |window: &Window| window.in_flight().map(|(_, id, _)| id).collect::<Vec<_>>();
        assert_eq!(ids(&restored), ids(&window));
        assert_eq!(restored.take(one(9)), window.take(one(9)));
        assert_eq!(Window::restore(7, Vec::new(), Vec::new()).count(), 7);
    }

    #[test]
    fn identifiers_that_were_left_out_are_released_before_they_are_used_again() {
        let mut window = Window::new(10, 0);
        window.doubt(3);
        assert!(window.leave_out(3).is_empty());
        for number in 3..PacketId::COUNT as u64 {
            let id = window.take(one(number)).expect("room");
            assert_eq!(id, PacketId::nth(number));
            window.puback(id);
        }
        assert!(window.is_doubtful() && !window.has_room() && window.room() == 0 && window.take(one(9)).is_none());
        let mut restored = Window::restore(window.count(), Vec::new(), window.doubtful().to_vec());
        assert_eq!(restored.release_doubtful(), [id(1), id(2), id(3)]);
        assert_eq!([3, 1, 3].map(|number| restored.pubcomp_doubtful(id(number))), [Some(false), Some(false), None]);
        assert!(!restored.has_room());
        assert!(restored.pubcomp_doubtful(id(2)) == Some(true) && restored.doubtful().is_empty());
        assert_eq!(restored.take(one(9)), Some(id(1)));
    }

    #[test]
    fn what_pubrec_came_for_goes_on_where_its_identifier_is_left_out() {
        let mut window = Window::new(10, 0);
        window.restore_released(id(2));
        assert_eq!(window.leave_out(4), [1]);
        assert!(window.is_released(id(2)) && !window.is_released(id(1)));
        assert_eq!(window.take(one(9)), Some(id(5)));
        assert_eq!(window.pubcomp(id(2)), Acknowledged::Done(None));
        assert_eq!(window.in_flight().map(|(number, ..)| number).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn what_finds_no_room_to_be_left_out_is_doubtful_where_it_stands() {
        let mut window = Window::new(10, 0);
        window.take(one(1));
        for number in 1..PacketId::COUNT as u64 - 1 {
            let id = window.take(one(number)).expect("room");
            window.puback(id);
        }
        window.doubt(4);
        window.leave_out(4);
        assert!(window.release_doubtful().is_empty(), "the next identifier is the stuck one's");
        window.puback(id(1));
        assert_eq!(window.release_doubtful(), [id(1), id(2), id(3)]);
        assert_eq!(window.count(), PacketId::COUNT as u64);
    }
}
