//! Identifiers that a client may hold from deliveries that nobody knows of any more.
//!
//! After a crash the log tells again what a session was delivered behind its stored form, unless it was cut meanwhile
//! (decision 13). Then identifiers are left out, and come round again 65,535 deliveries later. With QoS 2 the client may
//! still wait for a PUBREL under one of them, and would take a new message for the old one. So before they are used
//! again, PUBREL goes out for them, and PUBCOMP comes back, whether the client held anything or not [MQTT-4.3.3-11].

use rowcast_codec::PacketId;
use rustc_hash::FxHashSet;
use std::ops::Range;

/// Which they are, and which of them are being released.
///
/// Invariant: `ranges` are in their order, none is empty, and none touches another; while any is `open`, those are of
/// the first.
#[derive(Default, Debug)]
pub(super) struct Doubtful {
    /// The numbers of the next deliveries that would have them.
    ranges: Vec<Range<u64>>,
    /// PUBREL went out over this connection, and PUBCOMP has not come.
    open: FxHashSet<PacketId>,
    /// Those end here.
    open_until: u64,
}

/// How many are released at a time.
const RELEASES: u64 = 16;

impl Doubtful {
    /// As [`Doubtful::stored`] gave them.
    pub(super) fn restore(ranges: Vec<Range<u64>>) -> Doubtful {
        Doubtful { ranges, ..Doubtful::default() }
    }

    /// Those that are not released yet.
    pub(super) fn stored(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// The identifiers of these deliveries are doubtful.
    pub(super) fn add(&mut self, numbers: Range<u64>) {
        self.ranges.push(numbers);
        self.ranges.sort_unstable_by_key(|range| range.start);
        self.ranges.dedup_by(|next, range| {
            let touches = next.start <= range.end;
            if touches {
                range.end = range.end.max(next.end);
            }
            touches
        });
        self.ranges.retain(|range| !range.is_empty());
    }

    /// Deliveries before `number` are not made: their identifiers come up when they come round.
    pub(super) fn pass(&mut self, number: u64) {
        self.open.clear();
        let mut again = Vec::new();
        for range in &mut self.ranges {
            let passed = range.start..range.end.min(number).max(range.start);
            range.start = passed.end;
            again.push(passed.start + PacketId::COUNT as u64..passed.end + PacketId::COUNT as u64);
        }
        again.into_iter().for_each(|range| self.add(range));
    }

    /// How many deliveries may be made from `number` on before one has a doubtful identifier.
    pub(super) fn distance(&self, number: u64) -> usize {
        let first = self.ranges.first().map_or(u64::MAX, |range| range.start);
        usize::try_from(first.saturating_sub(number)).unwrap_or(usize::MAX)
    }

    /// Whether some are to be released, if the delivery with `number` is next.
    pub(super) fn is_to_release(&self, number: u64) -> bool {
        self.open.is_empty() && self.distance(number) == 0
    }

    /// Those to be released now, if the delivery with `number` is next; at most so many. None while others are.
    pub(super) fn release(&mut self, number: u64, most: usize) -> Vec<PacketId> {
        let Some(range) = self.ranges.first().filter(|_| self.is_to_release(number)) else { return Vec::new() };
        self.open_until = range.end.min(range.start + RELEASES.min(most as u64));
        let released: Vec<PacketId> = (range.start..self.open_until).map(PacketId::nth).collect();
        self.open.extend(&released);
        released
    }

    /// PUBCOMP came; `None`: not for one of these. `true`: all that were being released can be used, once that is on disk.
    pub(super) fn pubcomp(&mut self, id: PacketId) -> Option<bool> {
        if !self.open.remove(&id) {
            return None;
        }
        let is_last = self.open.is_empty();
        if let (true, Some(range)) = (is_last, self.ranges.first_mut()) {
            range.start = self.open_until;
            self.ranges.retain(|range| !range.is_empty());
        }
        Some(is_last)
    }

    /// Another connection begins: what was released over the last is released again.
    pub(super) fn resume(&mut self) {
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: u64 = PacketId::COUNT as u64;

    #[test]
    fn ranges_that_touch_are_one() {
        let mut doubtful = Doubtful::default();
        for range in [10..20, 40..50, 20..30, 5..5, 45..60] {
            doubtful.add(range);
        }
        assert_eq!(doubtful.stored(), [10..30, 40..60]);
    }

    #[test]
    fn what_is_passed_comes_round_again() {
        let mut doubtful = Doubtful::default();
        doubtful.add(10..20);
        doubtful.add(40..50);
        doubtful.pass(45);
        assert_eq!(doubtful.stored(), [45..50, 10 + ROUND..20 + ROUND, 40 + ROUND..45 + ROUND]);
        doubtful.pass(45);
        assert_eq!(doubtful.stored().len(), 3);
    }

    #[test]
    fn they_are_released_a_few_at_a_time_before_they_are_used() {
        let mut doubtful = Doubtful::default();
        doubtful.add(10..10 + RELEASES + 2);
        assert_eq!((doubtful.distance(7), doubtful.distance(10), doubtful.distance(12)), (3, 0, 0));
        assert!(doubtful.release(9, usize::MAX).is_empty());
        let first = doubtful.release(10, usize::MAX);
        assert_eq!(first, (10..10 + RELEASES).map(PacketId::nth).collect::<Vec<_>>());
        assert!(doubtful.release(10, usize::MAX).is_empty());
        assert_eq!(doubtful.pubcomp(PacketId::nth(10 + RELEASES)), None, "not asked for");
        let done: Vec<Option<bool>> = first.iter().rev().map(|&id| doubtful.pubcomp(id)).collect();
        assert_eq!((done.iter().filter(|&&last| last == Some(true)).count(), done.last()), (1, Some(&Some(true))));
        assert_eq!(doubtful.distance(10), RELEASES as usize);
        assert_eq!(doubtful.release(10 + RELEASES, 1).len(), 1);
        doubtful.resume();
        let last = doubtful.release(10 + RELEASES, usize::MAX);
        assert_eq!(last.len(), 2);
        assert!(last.into_iter().all(|id| doubtful.pubcomp(id).is_some()));
        assert!(doubtful.stored().is_empty() && doubtful.distance(10) > PacketId::COUNT);
    }
}
