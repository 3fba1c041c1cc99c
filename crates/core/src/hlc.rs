//! Hybrid logical clock: time that never runs backwards and orders changes between nodes.

use crate::position::NodeId;

/// Milliseconds since 1970 in the upper 48 bits, a counter in the lower 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The wall-clock part: milliseconds since 1970.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0 >> 16
    }
}

/// What decides between two changes of one topic: the later time, then the greater node. The same everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stamp {
    /// When.
    pub hlc: Hlc,
    /// On which node.
    pub node: NodeId,
}

/// Gives out stamps. Invariant: each is greater than every one given or observed before, whatever the wall clock does.
#[derive(Debug, Default)]
pub struct Clock {
    last: Hlc,
}

impl Clock {
    /// A clock that continues after `last`.
    #[must_use]
    pub fn after(last: Hlc) -> Clock {
        Clock { last }
    }

    /// The next stamp; `now_ms` is the wall clock, milliseconds since 1970.
    pub fn tick(&mut self, now_ms: u64) -> Hlc {
        self.last = Hlc((self.last.0 + 1).max(now_ms << 16));
        self.last
    }

    /// Takes note of a stamp from elsewhere, so that what follows is later.
    pub fn observe(&mut self, seen: Hlc) {
        self.last = self.last.max(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_still_gives_later_stamps() {
        let mut clock = Clock::default();
        let before = clock.tick(1_000_000);
        let after = clock.tick(1_000);
        assert!(after > before);
        assert_eq!(after.millis(), 1_000_000);
    }

    #[test]
    fn what_was_observed_is_earlier_than_what_follows() {
        let mut clock = Clock::default();
        clock.observe(Hlc(7 << 16));
        assert!(clock.tick(3) > Hlc(7 << 16));
    }
}
