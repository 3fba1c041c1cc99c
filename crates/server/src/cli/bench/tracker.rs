//! What came of the messages of one publisher at one subscriber: each once, and in order, or what went wrong.

use std::collections::BTreeMap;
use std::ops::AddAssign;

/// What a broker must not do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Faults {
    /// Never came, or not as it was sent.
    pub(super) lost: u64,
    /// Came again.
    pub(super) doubled: u64,
    /// Came behind one that was published later.
    pub(super) disordered: u64,
    /// Came with other bytes than were sent, or where nobody asked for it.
    pub(super) spoiled: u64,
    /// Older than what had been acknowledged.
    pub(super) stale: u64,
    /// Refused by the broker, with a reason code.
    pub(super) refused: u64,
    /// Never acknowledged, though QoS 1 or 2 promise it.
    pub(super) unacknowledged: u64,
    /// Connections that failed, or ended before they were to.
    pub(super) broken: u64,
}

impl Faults {
    /// In words, each with its number.
    pub(super) fn each(&self) -> [(&'static str, u64); 8] {
        [
            ("lost", self.lost),
            ("doubled", self.doubled),
            ("disordered", self.disordered),
            ("spoiled", self.spoiled),
            ("stale", self.stale),
            ("refused", self.refused),
            ("unacknowledged", self.unacknowledged),
            ("broken", self.broken),
        ]
    }

    pub(super) fn any(&self) -> bool {
        *self != Faults::default()
    }
}

impl AddAssign for Faults {
    fn add_assign(&mut self, other: Faults) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.disordered += other.disordered;
        self.spoiled += other.spoiled;
        self.stale += other.stale;
        self.refused += other.refused;
        self.unacknowledged += other.unacknowledged;
        self.broken += other.broken;
    }
}

/// Follows the numbers of one publisher.
///
/// Invariant: `gaps` are the ranges below `next` that are missing, by their start; they do not touch.
#[derive(Default, Debug)]
pub(super) struct Tracker {
    next: u64,
    gaps: BTreeMap<u64, u64>,
    /// Missing for so long that they are not looked for any more.
    given_up: u64,
    doubled: u64,
    disordered: u64,
}

/// Gaps remembered. A message that comes later than that many others were lost counts as lost and doubled.
const GAPS_MAX: usize = 4096;

impl Tracker {
    /// A message came. Whether it is the first of its number.
    pub(super) fn on(&mut self, number: u64) -> bool {
        if number == self.next {
            self.next += 1;
            return true;
        }
        if number > self.next {
            self.gaps.insert(self.next, number);
            self.next = number + 1;
            if self.gaps.len() > GAPS_MAX {
                self.given_up += self.gaps.pop_first().map_or(0, |(start, end)| end - start);
            }
            return true;
        }
        let missing = self.fill(number);
        *(if missing { &mut self.disordered } else { &mut self.doubled }) += 1;
        missing
    }

    /// Takes `number` out of the gap it is in; `false` if it is in none.
    fn fill(&mut self, number: u64) -> bool {
        let gap = self.gaps.range(..=number).next_back().map(|(start, end)| (*start, *end));
        let Some((start, end)) = gap.filter(|(_, end)| number < *end) else { return false };
        self.gaps.remove(&start);
        if start < number {
            self.gaps.insert(start, number);
        }
        if number + 1 < end {
            self.gaps.insert(number + 1, end);
        }
        true
    }

    /// What went wrong, when the publisher has sent `sent` and no more will come.
    pub(super) fn faults(&self, sent: u64) -> Faults {
        let missing: u64 = self.gaps.iter().map(|(start, end)| end - start).sum();
        Faults {
            lost: missing + self.given_up + sent.saturating_sub(self.next),
            doubled: self.doubled,
            disordered: self.disordered,
            ..Faults::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_once_and_in_order_is_well() {
        check(&[], 0, [0, 0, 0]);
        check(&[0, 1, 2], 3, [0, 0, 0]);
    }

    #[test]
    fn what_goes_wrong_is_counted_once() {
        check(&[], 3, [3, 0, 0]);
        check(&[0, 2], 3, [1, 0, 0]);
        check(&[0, 1], 3, [1, 0, 0]);
        check(&[1, 2], 3, [1, 0, 0]);
        check(&[0, 0, 1, 2], 3, [0, 1, 0]);
        check(&[0, 1, 2, 0], 3, [0, 1, 0]);
        check(&[0, 2, 1], 3, [0, 0, 1]);
        check(&[2, 0, 1], 3, [0, 0, 2]);
        check(&[0, 5, 3, 3, 1], 6, [2, 1, 2]);
        check(&[0, 5, 2, 4, 3, 1], 6, [0, 0, 4]);
    }

    #[test]
    fn memory_does_not_grow_with_what_is_lost() {
        let mut tracker = Tracker::default();
        for at in 0..100_000 {
            assert!(tracker.on(at * 2 + 1));
        }
        assert!(tracker.gaps.len() <= GAPS_MAX);
        assert_eq!(tracker.faults(200_000).lost, 100_000);
    }

    #[track_caller]
    fn check(numbers: &[u64], sent: u64, [lost, doubled, disordered]: [u64; 3]) {
        let mut tracker = Tracker::default();
        let new = numbers.iter().filter(|number| tracker.on(**number)).count() as u64;
        assert_eq!(tracker.faults(sent), Faults { lost, doubled, disordered, ..Faults::default() }, "{numbers:?}");
        assert_eq!(new, sent - lost, "{numbers:?}");
    }
}
