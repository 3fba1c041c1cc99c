//! Current records that new subscriptions of a session are still to be sent, one subscription after the other.

use super::session::Flow;
use crate::position::Sequence;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The current records that a new subscription is still to be sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// Tells it from others of its session: an answer to a read may come when it is no longer the first.
    #[serde(skip)]
    pub number: u64,
    /// The subscription's filter, as the client spelled it.
    pub filter: Box<str>,
    /// Records not changed after this are left out: the client has them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub from: u64,
    /// Records changed after this are left out: the log brings them.
    pub until: u64,
    /// Where to go on: a place in the filter's list of ranges, and the key behind which to read.
    pub range: usize,
    /// The last key that was looked at in that range, encoded.
    pub after: Option<Vec<u8>>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Snapshot {
    /// [`Snapshot::until`] of a subscription that is not on disk yet: it begins with its row.
    pub const NOT_YET: Sequence = Sequence(u64::MAX);

    /// All of the present range was looked at.
    pub fn pass_range(&mut self) {
        self.range += 1;
        self.after = None;
    }

    /// Whether it can be read, when the log was delivered up to `flow`.
    #[must_use]
    pub fn is_ready(&self, flow: Flow) -> bool {
        self.until != Self::NOT_YET.0
            && match flow {
                Flow::Live => true,
                // What the log brings first is older than what the snapshot shows.
                Flow::Behind { after } => after.0 >= self.until,
            }
    }
}

/// The snapshots of a session. A client may have as many as subscriptions, and ask for all of them in a few packets: to
/// begin or end one takes no longer for that.
///
/// Invariants: numbers ascend; the first is wanted; there is one that is wanted for each filter in `wanted`.
#[derive(Debug, Default)]
pub struct Snapshots {
    queue: VecDeque<Snapshot>, // Some not wanted any more: their number is not the one of their filter.
    wanted: FxHashMap<Box<str>, u64>,
    begun: u64,
}

/// Snapshots not wanted any more that are kept, beyond as many as are wanted.
const UNWANTED_MAX: usize = 16;

impl Snapshots {
    /// Goes on with those of a stored session.
    #[must_use]
    pub fn restore(stored: VecDeque<Snapshot>) -> Snapshots {
        let mut snapshots = Snapshots::default();
        stored.into_iter().for_each(|snapshot| snapshots.push(snapshot));
        snapshots
    }

    /// As they are stored.
    #[must_use]
    pub fn stored(&self) -> VecDeque<Snapshot> {
        self.queue.iter().filter(|snapshot| self.is_wanted(snapshot)).cloned().collect()
    }

    /// The one whose turn it is.
    #[must_use]
    pub fn first(&self) -> Option<&Snapshot> {
        self.queue.front()
    }

    /// The same, to go on with it.
    pub fn first_mut(&mut self) -> Option<&mut Snapshot> {
        self.queue.front_mut()
    }

    /// Begins sending the current records of a subscription, those changed behind `from` and up to `until`; all over
    /// again, if it was under way.
    pub fn begin(&mut self, filter: &str, from: Sequence, until: Sequence) {
        // What the one under way was still to bring, this one brings.
        let under_way = self.find(filter).map(|snapshot| snapshot.from);
        let from = under_way.map_or(from.0, |under_way| under_way.min(from.0));
        self.push(Snapshot { number: 0, filter: filter.into(), from, until: until.0, range: 0, after: None });
    }

    /// The one of a subscription is not wanted any more, if there is one.
    pub fn end(&mut self, filter: &str) {
        if self.wanted.remove(filter).is_some() {
            self.tidy();
        }
    }

    /// The first is over.
    pub fn end_first(&mut self) {
        if let Some(first) = self.queue.pop_front() {
            self.wanted.remove(&first.filter);
        }
        self.tidy();
    }

    /// Says up to where those reach whose subscriptions were not on disk yet: what `until` says of a filter.
    pub fn settle(&mut self, until: impl Fn(&str) -> Option<Sequence>) {
        let wanted = &mut self.wanted;
        self.queue.retain_mut(|snapshot| {
            if snapshot.until != Snapshot::NOT_YET.0 || wanted.get(&snapshot.filter) != Some(&snapshot.number) {
                return true;
            }
            let settled = until(&snapshot.filter);
            snapshot.until = settled.unwrap_or_default().0;
            if settled.is_none() {
                wanted.remove(&snapshot.filter);
            }
            settled.is_some()
        });
        self.tidy();
    }

    fn push(&mut self, snapshot: Snapshot) {
        self.begun += 1;
        let number = self.begun;
        self.wanted.insert(snapshot.filter.clone(), number);
        self.queue.push_back(Snapshot { number, ..snapshot });
        self.tidy();
    }

    fn find(&self, filter: &str) -> Option<&Snapshot> {
        let number = self.wanted.get(filter)?;
        let place = self.queue.binary_search_by_key(number, |snapshot| snapshot.number).ok()?;
        self.queue.get(place)
    }

    fn is_wanted(&self, snapshot: &Snapshot) -> bool {
        self.wanted.get(&snapshot.filter) == Some(&snapshot.number)
    }

    /// Throws away what is not wanted where it is in the way, or there is much of it.
    fn tidy(&mut self) {
        if self.wanted.is_empty() {
            // Gives the memory back: most sessions never have another.
            *self = Snapshots { begun: self.begun, ..Snapshots::default() };
            return;
        }
        if self.queue.len() > 2 * self.wanted.len() + UNWANTED_MAX {
            let wanted = &self.wanted;
            self.queue.retain(|snapshot| wanted.get(&snapshot.filter) == Some(&snapshot.number));
        }
        while self.queue.front().is_some_and(|first| !self.is_wanted(first)) {
            self.queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(snapshots: &Snapshots, wanted: &[(&str, u64, u64)]) {
        let stored = snapshots.stored();
        let found: Vec<_> = stored.iter().map(|found| (&*found.filter, found.from, found.until)).collect();
        assert_eq!(found, wanted);
        assert_eq!(snapshots.first().map(|first| &*first.filter), wanted.first().map(|first| first.0));
        assert!(snapshots.queue.iter().is_sorted_by(|one, next| one.number < next.number));
    }

    #[test]
    fn one_that_begins_again_comes_last_and_brings_what_was_missing() {
        let mut snapshots = Snapshots::default();
        snapshots.begin("a", Sequence(3), Sequence(10));
        snapshots.begin("b", Sequence(0), Sequence(11));
        snapshots.first_mut().expect("the first").pass_range();
        snapshots.begin("a", Sequence(5), Sequence(12));
        check(&snapshots, &[("b", 0, 11), ("a", 3, 12)]);
        assert_eq!(snapshots.find("a").map(|found| (found.number, found.range)), Some((3, 0)));
        snapshots.end_first();
        check(&snapshots, &[("a", 3, 12)]);
        snapshots.end("b");
        snapshots.end("a");
        check(&snapshots, &[]);
        snapshots.begin("a", Sequence(0), Sequence(1));
        assert_eq!(snapshots.first().map(|first| first.number), Some(4), "no number comes twice");
    }

    #[test]
    fn those_not_on_disk_yet_are_settled_or_forgotten() {
        let mut snapshots = Snapshots::default();
        for filter in ["a", "b", "a", "c"] {
            snapshots.begin(filter, Sequence::ZERO, Snapshot::NOT_YET);
        }
        snapshots.begin("d", Sequence::ZERO, Sequence(7));
        snapshots.settle(|filter| (filter != "c").then_some(Sequence(9)));
        check(&snapshots, &[("b", 0, 9), ("a", 0, 9), ("d", 0, 7)]);
        check(&Snapshots::restore(snapshots.stored()), &[("b", 0, 9), ("a", 0, 9), ("d", 0, 7)]);
        snapshots.begin("e", Sequence::ZERO, Snapshot::NOT_YET);
        snapshots.settle(|_| None);
        check(&snapshots, &[("b", 0, 9), ("a", 0, 9), ("d", 0, 7)]);
    }

    #[test]
    fn what_begins_and_ends_again_and_again_takes_no_room() {
        let mut snapshots = Snapshots::default();
        snapshots.begin("stays", Sequence::ZERO, Sequence(1));
        for round in 0..1000 {
            snapshots.begin("again", Sequence::ZERO, Sequence(round));
            if round % 3 == 0 {
                snapshots.end("again");
            }
            assert!(snapshots.queue.len() <= 2 * 2 + UNWANTED_MAX, "{}", snapshots.queue.len());
        }
        check(&snapshots, &[("stays", 0, 1)]);
        snapshots.end_first();
        assert_eq!(snapshots.queue.capacity(), 0);
    }
}
