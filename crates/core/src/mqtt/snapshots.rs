//! Current records that new subscriptions of a session are still to be sent, one subscription after the other.
//!
//! A client may ask for a hundred thousand, and a session is stored often while they are sent. So what is not begun yet is
//! not part of the session's stored form: the row of each subscription says that it asked, and the stored form up to
//! which row those who asked were served.

use super::session::{Flow, is_zero};
use crate::names::NameMap;
use crate::position::Sequence;
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
    /// Records not changed after this are left out: the client has them. The others stand for changes that were lost. 0:
    /// it is state that was asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub from: u64,
    /// Records changed after this are left out: the log brings them.
    pub until: u64,
    /// The place of the row that asked for the subscription's state, if one did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub row: u64,
    /// When it began: those of rows before this place come first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub at: u64,
    /// Where to go on: a place in the filter's list of ranges, and the key behind which to read.
    pub range: usize,
    /// The last key that was looked at in that range, encoded.
    pub after: Option<Vec<u8>>,
}

impl Snapshot {
    /// [`Snapshot::until`] of a subscription that is not on disk yet: it begins with its row.
    pub const NOT_YET: Sequence = Sequence(u64::MAX);

    /// The state that a subscription asks for with its row, all of it.
    fn of_row(filter: &str, row: Sequence) -> Snapshot {
        let row = row.0;
        let (number, filter) = (0, filter.into());
        Snapshot { number, filter, from: 0, until: row, row, at: row, range: 0, after: None }
    }

    /// Whether it stands for changes that were lost.
    #[must_use]
    pub fn is_missed(&self) -> bool {
        self.from > 0
    }

    /// Whether the subscription's row says all there is to say.
    fn is_of_row(&self) -> bool {
        let is_whole = self.from == 0 && self.range == 0 && self.after.is_none();
        let is_as_asked = self.row > 0 && self.until == self.row && self.at == self.row;
        self.until == Self::NOT_YET.0 || (is_as_asked && is_whole)
    }

    /// All of the present range was looked at.
    pub fn pass_range(&mut self) {
        self.range += 1;
        self.after = None;
    }

    /// Whether it can be read, when the log was delivered up to `flow`.
    #[must_use]
    pub fn is_ready(&self, flow: Flow) -> bool {
        // What the log brings first is older than what the snapshot shows.
        self.until != Self::NOT_YET.0 && flow.has_reached(Sequence(self.until))
    }
}

/// The snapshots of a session. A client may have as many as subscriptions, and ask for all of them in a few packets: to
/// begin or end one takes no longer for that.
///
/// What stands for changes that were lost comes before what was asked for: it has its place among the changes, which
/// the state of a new subscription need not wait for, nor they for that.
///
/// Invariants: a subscription has one of each kind at most, and no record is in both. All that rows up to `served` asked
/// for was sent, or is among those asked for and not as the row says.
#[derive(Debug, Default)]
pub struct Snapshots {
    missed: Line,
    asked: Line,
    begun: u64,
    /// The number of the last asked for that began otherwise than its row says.
    odd: u64,
    served: u64,
}

/// Snapshots, each of another subscription, in their order.
///
/// Invariants: numbers ascend, and so do the places where they began; the first is wanted; there is one that is wanted
/// for each filter in `wanted`.
#[derive(Debug, Default)]
struct Line {
    queue: VecDeque<Snapshot>, // Some not wanted any more: their number is not the one of their filter.
    wanted: NameMap<Box<str>, u64>,
}

/// Snapshots not wanted any more that are kept, beyond as many as are wanted.
const UNWANTED_MAX: usize = 16;

impl Snapshots {
    /// Goes on with those of a stored session: those that are stored, and what rows behind `served` ask for.
    #[must_use]
    pub fn restore(stored: VecDeque<Snapshot>, served: u64) -> Snapshots {
        let mut snapshots = Snapshots { served, ..Snapshots::default() };
        stored.into_iter().for_each(|snapshot| snapshots.push(snapshot));
        snapshots
    }

    /// The subscriptions of a stored session have asked for their state with these rows.
    pub fn restore_rows<'a>(&mut self, rows: impl Iterator<Item = (&'a str, Sequence)>) {
        let is_due = |&(filter, row): &(&str, Sequence)| !self.is_served(row) && self.asked.find(filter).is_none();
        let due: Vec<Snapshot> = rows.filter(is_due).map(|(filter, row)| Snapshot::of_row(filter, row)).collect();
        if due.is_empty() {
            return;
        }
        let mut all: Vec<Snapshot> = std::mem::take(&mut self.asked).queue.into_iter().chain(due).collect();
        all.sort_by_key(|snapshot| snapshot.at);
        all.into_iter().for_each(|snapshot| self.push(snapshot));
    }

    /// Whether the state that a row asked for was sent, or is stored otherwise.
    #[must_use]
    pub fn is_served(&self, row: Sequence) -> bool {
        row.0 <= self.served
    }

    /// As they are stored: those of which the rows do not say it, and up to where the rows were served.
    #[must_use]
    pub fn stored(&self) -> (VecDeque<Snapshot>, u64) {
        // The others behind the first are as their rows say.
        let odd = self.asked.queue.iter().take_while(|snapshot| snapshot.number <= self.odd).count();
        let asked = self.asked.queue.iter().take(odd.max(1));
        let asked = asked.filter(|snapshot| self.asked.is_wanted(snapshot) && !snapshot.is_of_row());
        let missed = self.missed.queue.iter().filter(|snapshot| self.missed.is_wanted(snapshot));
        (missed.chain(asked).cloned().collect(), self.served)
    }

    /// The row with which a subscription asked for what is still to be sent, if it did.
    #[must_use]
    pub fn row_of(&self, filter: &str) -> Option<Sequence> {
        self.asked.find(filter).map(|snapshot| Sequence(snapshot.row)).filter(|&row| row > Sequence::ZERO)
    }

    /// The one whose turn it is.
    #[must_use]
    pub fn first(&self) -> Option<&Snapshot> {
        self.missed.queue.front().or_else(|| self.asked.queue.front())
    }

    /// The same, to go on with it.
    pub fn first_mut(&mut self) -> Option<&mut Snapshot> {
        self.missed.queue.front_mut().or_else(|| self.asked.queue.front_mut())
    }

    /// A subscription is on its way to the disk: its state is to be sent once its row is there. Returns the one that
    /// was under way, to be put back should there be no row.
    pub fn expect(&mut self, filter: &str) -> Option<Snapshot> {
        let under_way = self.asked.find(filter).filter(|found| found.until != Snapshot::NOT_YET.0).cloned();
        let until = Snapshot::NOT_YET.0;
        self.push(Snapshot { until, row: 0, at: until, ..Snapshot::of_row(filter, Sequence::ZERO) });
        under_way
    }

    /// Whether one waits for its subscription's row.
    #[must_use]
    pub fn expects(&self, filter: &str) -> bool {
        self.asked.find(filter).is_some_and(|snapshot| snapshot.until == Snapshot::NOT_YET.0)
    }

    /// Goes on with one that was ended, or replaced, and was not to be; `at`: what has been shown to all by now.
    pub fn put_back(&mut self, snapshot: Snapshot, at: Sequence) {
        self.push(Snapshot { at: at.0, ..snapshot });
    }

    /// Begins sending the current records of a subscription, as its row asks; all over again, if it was under way.
    pub fn begin(&mut self, filter: &str, row: Sequence) {
        self.push(Snapshot::of_row(filter, row));
    }

    /// Begins sending the current records of a subscription that changed behind `from` and up to `until`, in the place of
    /// changes that were lost; `at`: what has been shown to all by now. Where `from` is 0 that is all of its state.
    pub fn begin_again(&mut self, filter: &str, (from, until): (Sequence, Sequence), at: Sequence) {
        let again = Snapshot { until: until.0, at: at.0, ..Snapshot::of_row(filter, Sequence::ZERO) };
        if from == Sequence::ZERO {
            let row = self.row_of(filter).unwrap_or_default().0;
            return self.push(Snapshot { row, ..again });
        }
        // What the one under way was still to bring, this one brings.
        let under_way = self.missed.find(filter).map_or(from.0, |found| found.from);
        self.push(Snapshot { from: under_way.min(from.0), row: 0, ..again });
        // And of what was asked for, it brings this part.
        if let Some(asked) = self.asked.find_mut(filter)
            && asked.until > from.0
            && asked.until != Snapshot::NOT_YET.0
        {
            asked.until = from.0;
            self.odd = self.odd.max(asked.number);
        }
    }

    /// The state that a subscription asked for is not wanted any more; what stands for changes that were lost is.
    pub fn end_asked(&mut self, filter: &str) {
        self.asked.end(filter);
    }

    /// Those of a subscription are not wanted any more. Returns them.
    pub fn end(&mut self, filter: &str) -> Vec<Snapshot> {
        self.missed.end(filter).into_iter().chain(self.asked.end(filter)).collect()
    }

    /// The first is over.
    pub fn end_first(&mut self) {
        if self.missed.pop().is_none()
            && let Some(first) = self.asked.pop()
        {
            self.served = self.served.max(first.row);
        }
    }

    /// Says up to where those reach whose subscriptions were not on disk yet: what `until` says of a filter.
    pub fn settle(&mut self, until: impl Fn(&str) -> Option<Sequence>) {
        let Line { queue, wanted } = &mut self.asked;
        queue.retain_mut(|snapshot| {
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
        self.odd = self.begun;
        self.asked.tidy();
    }

    fn push(&mut self, snapshot: Snapshot) {
        self.begun += 1;
        let number = self.begun;
        if snapshot.is_missed() {
            return self.missed.push(Snapshot { number, ..snapshot });
        }
        if !snapshot.is_of_row() {
            self.odd = number;
        }
        self.asked.push(Snapshot { number, ..snapshot });
    }
}

impl Line {
    fn push(&mut self, snapshot: Snapshot) {
        self.wanted.insert(snapshot.filter.clone(), snapshot.number);
        self.queue.push_back(snapshot);
        self.tidy();
    }

    fn place(&self, filter: &str) -> Option<usize> {
        let number = self.wanted.get(filter)?;
        self.queue.binary_search_by_key(number, |snapshot| snapshot.number).ok()
    }

    fn find(&self, filter: &str) -> Option<&Snapshot> {
        self.queue.get(self.place(filter)?)
    }

    fn find_mut(&mut self, filter: &str) -> Option<&mut Snapshot> {
        let place = self.place(filter)?;
        self.queue.get_mut(place)
    }

    fn is_wanted(&self, snapshot: &Snapshot) -> bool {
        self.wanted.get(&snapshot.filter) == Some(&snapshot.number)
    }

    /// The one of a subscription is not wanted any more, if there is one. Returns it.
    fn end(&mut self, filter: &str) -> Option<Snapshot> {
        let ended = self.find(filter).cloned()?;
        self.wanted.remove(filter);
        self.tidy();
        Some(ended)
    }

    /// The first is over.
    fn pop(&mut self) -> Option<Snapshot> {
        let first = self.queue.pop_front()?;
        self.wanted.remove(&first.filter);
        self.tidy();
        Some(first)
    }

    /// Throws away what is not wanted where it is in the way, or there is much of it.
    fn tidy(&mut self) {
        if self.wanted.is_empty() {
            *self = Line::default(); // Gives the memory back: most sessions never have another.
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

    /// Those that are wanted, in their order: filter, and which records they bring.
    #[track_caller]
    fn check(snapshots: &Snapshots, wanted: &[(&str, u64, u64)]) {
        let lines = [&snapshots.missed, &snapshots.asked];
        let found = lines.into_iter().flat_map(|line| line.queue.iter().filter(|snapshot| line.is_wanted(snapshot)));
        let found: Vec<_> = found.map(|found| (&*found.filter, found.from, found.until)).collect();
        assert_eq!(found, wanted);
        assert_eq!(snapshots.first().map(|first| &*first.filter), wanted.first().map(|first| first.0));
        for Line { queue, .. } in lines {
            assert!(queue.iter().is_sorted_by(|one, next| one.number < next.number && one.at <= next.at));
        }
    }

    fn again(snapshots: &mut Snapshots, filter: &str, from: u64, until: u64) {
        snapshots.begin_again(filter, (Sequence(from), Sequence(until)), Sequence(until));
    }

    #[test]
    fn one_that_begins_again_comes_first_and_brings_what_was_missing() {
        let mut snapshots = Snapshots::default();
        snapshots.begin("b", Sequence(2));
        again(&mut snapshots, "a", 3, 10);
        again(&mut snapshots, "c", 4, 11);
        snapshots.first_mut().expect("the first").pass_range();
        again(&mut snapshots, "a", 5, 12);
        check(&snapshots, &[("c", 4, 11), ("a", 3, 12), ("b", 0, 2)]);
        assert_eq!(snapshots.missed.find("a").map(|found| (found.number, found.range)), Some((4, 0)));
        snapshots.end_first();
        check(&snapshots, &[("a", 3, 12), ("b", 0, 2)]);
        assert_eq!(snapshots.end("b").len() + snapshots.end("a").len(), 2);
        check(&snapshots, &[]);
        snapshots.begin("a", Sequence(13));
        assert_eq!(snapshots.first().map(|first| first.number), Some(5), "no number comes twice");
    }

    #[test]
    fn a_new_subscription_gets_its_state_up_to_itself_where_the_log_was_cut_before_it() {
        let mut snapshots = Snapshots::default();
        snapshots.begin("a", Sequence(20));
        let up_to_itself =
            |snapshots: &Snapshots, until| snapshots.row_of("a").max(Some(Sequence(until))).expect("a row");
        let until = up_to_itself(&snapshots, 10);
        snapshots.begin_again("a", (Sequence(5), until), Sequence(20));
        check(&snapshots, &[("a", 5, 20), ("a", 0, 5)]);
        let until = up_to_itself(&snapshots, 12);
        snapshots.begin_again("a", (Sequence(7), until), Sequence(21));
        check(&snapshots, &[("a", 5, 20), ("a", 0, 5)]);
    }

    #[test]
    fn what_stands_for_lost_changes_stays_where_state_is_not_wanted_any_more() {
        let mut snapshots = Snapshots::default();
        snapshots.begin("a", Sequence(7));
        snapshots.begin("b", Sequence(8));
        again(&mut snapshots, "a", 6, 8);
        again(&mut snapshots, "a", 7, 9);
        check(&snapshots, &[("a", 6, 9), ("a", 0, 6), ("b", 0, 8)]);
        let rows = [("a", 7), ("b", 8)];
        check(&stored(&snapshots, &rows).1, &[("a", 6, 9), ("a", 0, 6), ("b", 0, 8)]);
        ["a", "b", "c"].into_iter().for_each(|filter| snapshots.end_asked(filter));
        check(&snapshots, &[("a", 6, 9)]);
        assert_eq!(snapshots.row_of("a"), None);
        let (stored, served) = snapshots.stored();
        check(&Snapshots::restore(stored, served), &[("a", 6, 9)]);
        let ended = snapshots.end("a");
        check(&snapshots, &[]);
        ended.into_iter().for_each(|snapshot| snapshots.put_back(snapshot, Sequence(12)));
        check(&snapshots, &[("a", 6, 9)]);
    }

    #[test]
    fn all_of_a_state_can_begin_again_as_well() {
        let mut snapshots = Snapshots::default();
        snapshots.begin("a", Sequence(3));
        snapshots.begin("b", Sequence(4));
        again(&mut snapshots, "a", 0, 9);
        check(&snapshots, &[("b", 0, 4), ("a", 0, 9)]);
        assert_eq!(snapshots.row_of("a"), Some(Sequence(3)));
        // As it was stored when one could be both.
        let before = r#"[{"filter":"a","missed":6,"until":9,"row":3,"at":9,"range":0,"after":null}]"#;
        let before = serde_json::from_str(before).expect("snapshots");
        check(&Snapshots::restore(before, 4), &[("a", 0, 9)]);
    }

    #[test]
    fn those_not_on_disk_yet_begin_or_are_forgotten() {
        let mut snapshots = Snapshots::default();
        snapshots.begin("a", Sequence(3));
        for filter in ["b", "c"] {
            assert_eq!(snapshots.expect(filter), None);
        }
        let before = snapshots.expect("a").expect("one is under way");
        assert!(snapshots.expects("a") && snapshots.first().is_some_and(|first| &*first.filter == "b"));
        snapshots.begin("b", Sequence(9));
        snapshots.settle(|_| None);
        check(&snapshots, &[("b", 0, 9)]);
        snapshots.put_back(before, Sequence(10));
        check(&snapshots, &[("b", 0, 9), ("a", 0, 3)]);
    }

    #[test]
    fn what_begins_and_ends_again_and_again_takes_no_room() {
        let mut snapshots = Snapshots::default();
        snapshots.begin("stays", Sequence(1));
        for round in 0..1000 {
            snapshots.begin("again", Sequence(round + 1));
            if round % 3 == 0 {
                snapshots.end("again");
            }
            let kept = snapshots.asked.queue.len();
            assert!(kept <= 2 * 2 + UNWANTED_MAX, "{kept}");
        }
        check(&snapshots, &[("stays", 0, 1)]);
        snapshots.end_first();
        assert_eq!(snapshots.asked.queue.capacity(), 0);
    }

    /// A session that was stored and is read again, whose subscriptions have asked with these rows.
    fn stored(snapshots: &Snapshots, rows: &[(&str, u64)]) -> (usize, Snapshots) {
        let (stored, served) = snapshots.stored();
        let count = stored.len();
        let mut restored = Snapshots::restore(stored, served);
        restored.restore_rows(rows.iter().map(|&(filter, row)| (filter, Sequence(row))));
        (count, restored)
    }

    #[test]
    fn what_is_not_begun_is_not_stored_and_there_again_all_the_same() {
        let filters: Vec<String> = (1..=1000).map(|row| format!("f/{row}")).collect();
        let rows: Vec<(&str, u64)> = filters.iter().map(String::as_str).zip(1..).collect();
        let mut snapshots = Snapshots::default();
        rows.iter().for_each(|&(filter, row)| snapshots.begin(filter, Sequence(row)));
        let mut left = rows.len();
        while snapshots.first().is_some() {
            let (count, restored) = stored(&snapshots, &rows);
            let found: Vec<(&str, u64, u64)> =
                rows[rows.len() - left..].iter().map(|&(filter, row)| (filter, 0, row)).collect();
            check(&restored, &found);
            assert_eq!(count, 0);
            let mut under_way = restored;
            under_way.first_mut().expect("one is left").pass_range();
            let (count, restored) = stored(&under_way, &rows);
            check(&restored, &found);
            assert_eq!((count, restored.first().map(|first| first.range)), (1, Some(1)));
            for _ in 0..left.min(199) {
                snapshots.end_first();
                left -= 1;
            }
        }
        assert_eq!(stored(&snapshots, &rows).0, 0);
        check(&stored(&snapshots, &rows).1, &[]);
    }

    #[test]
    fn those_that_began_again_keep_their_place_among_those_of_rows() {
        let rows = [("a", 1), ("b", 2), ("c", 3), ("d", 8)];
        let mut snapshots = Snapshots::default();
        rows[..3].iter().for_each(|&(filter, row)| snapshots.begin(filter, Sequence(row)));
        again(&mut snapshots, "b", 0, 5); // The log was cut.
        snapshots.begin("d", Sequence(8));
        let mut expected = vec![("a", 0, 1), ("c", 0, 3), ("b", 0, 5), ("d", 0, 8)];
        while !expected.is_empty() {
            snapshots = stored(&snapshots, &rows).1;
            check(&snapshots, &expected);
            snapshots.end_first();
            expected.remove(0);
        }
        check(&stored(&snapshots, &rows).1, &[]);
    }
}
