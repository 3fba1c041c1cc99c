//! Stretches of the log in which nothing is for clients: rows of sessions, subscriptions and the like.
//!
//! A hundred thousand sessions fill the log with their rows, and each comes back to a place of its own among them. Who
//! reads a stretch first notes it; those behind pass over it.

use crate::limits::{STRETCH_ENTRIES_MIN, STRETCHES_MAX};
use rowcast_core::{Batch, Sequence};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Where each begins, and its end; both as positions. The lock is held to look one up.
///
/// Invariant: they do not touch each other.
#[derive(Default)]
pub(crate) struct Quiet(Mutex<BTreeMap<u64, u64>>);

impl Quiet {
    /// The position behind `after` from which a client sees the same.
    pub(crate) fn pass(&self, after: Sequence) -> Sequence {
        let stretches = self.0.lock().expect("no holder panics");
        let before = stretches.range(..=after.0).next_back();
        before.map_or(after, |(_, &end)| after.max(Sequence(end)))
    }

    /// These batches follow `after` in the log.
    pub(crate) fn note(&self, after: Sequence, batches: &[Arc<Batch>]) {
        let is_quiet = |batch: &&Arc<Batch>| batch.entries().all(|entry| entry.change.table.is_internal());
        let quiet = batches.iter().take_while(is_quiet).count();
        // The last batch is never part of it: whoever passes over a stretch has to learn how far that was.
        let Some(next) = batches.get(quiet).or(batches.last()) else { return };
        let (mut start, mut end) = (after.0, next.first().0.saturating_sub(1));
        if end < start.saturating_add(STRETCH_ENTRIES_MIN) {
            return;
        }
        let mut stretches = self.0.lock().expect("no holder panics");
        if let Some((&before, &its_end)) = stretches.range(..=start).next_back()
            && its_end >= start
        {
            (start, end) = (before, end.max(its_end));
        }
        while let Some((&behind, &its_end)) = stretches.range(start + 1..=end).next() {
            stretches.remove(&behind);
            end = end.max(its_end);
        }
        stretches.insert(start, end);
        if stretches.len() > STRETCHES_MAX {
            stretches.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use rowcast_core::{Change, ChangeKind, SessionId, TableId};

    #[test]
    fn readers_pass_over_what_nobody_is_shown() {
        let quiet = Quiet::default();
        let read = |after, batches: &[(u64, u64, TableId)]| {
            let batches: Vec<_> = batches.iter().map(|&(first, last, table)| batch(first, last, table)).collect();
            quiet.note(Sequence(after), &batches);
        };
        let rows = TableId::SESSIONS;
        read(10, &[(11, 400, rows), (401, 800, rows), (801, 810, rows)]);
        check(&quiet, &[(9, 9), (10, 800), (500, 800), (800, 800), (801, 801)]);
        read(800, &[(801, 1200, rows), (1201, 1201, TableId::TOPICS)]);
        check(&quiet, &[(9, 9), (10, 1200), (1200, 1200)]);
        read(2000, &[(2001, 3000, rows), (3001, 3001, TableId::TOPICS), (3002, 9000, rows)]);
        check(&quiet, &[(1300, 1300), (2000, 3000), (3001, 3001)]);
        // From before the middle of one to behind another.
        read(1000, &[(1001, 2100, rows), (2101, 2102, rows)]);
        check(&quiet, &[(10, 3000)]);
    }

    #[test]
    fn what_somebody_may_be_shown_is_passed_over_by_nobody() {
        let quiet = Quiet::default();
        quiet.note(Sequence(0), &[batch(1, 900, TableId::TOPICS), batch(901, 901, TableId::SESSIONS)]);
        quiet.note(Sequence(0), &[batch(1, 900, TableId::SESSIONS)]);
        quiet.note(Sequence(0), &[]);
        check(&quiet, &[(0, 0), (5, 5)]);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let quiet = Quiet::default();
        for place in 0..=STRETCHES_MAX as u64 {
            let after = place * 2_000;
            let rows = |first, last| batch(first, last, TableId::SESSIONS);
            quiet.note(Sequence(after), &[rows(after + 1, after + 999), rows(after + 1000, after + 1000)]);
        }
        check(&quiet, &[(0, 0), (2_000, 2_999)]);
        assert_eq!(quiet.0.lock().expect("no holder panics").len(), STRETCHES_MAX);
    }

    #[track_caller]
    fn check(quiet: &Quiet, positions: &[(u64, u64)]) {
        for &(after, passed) in positions {
            assert_eq!(quiet.pass(Sequence(after)), Sequence(passed), "from {after}");
        }
    }

    /// A batch with one entry, whatever its bounds say.
    fn batch(first: u64, last: u64, table: TableId) -> Arc<Batch> {
        let mut bytes = Vec::new();
        let change = Change {
            kind: ChangeKind::Put,
            qos: rowcast_codec::QoS::AtLeastOnce,
            table,
            key: b"k",
            publisher: SessionId::NONE,
            expires_ms: None,
            properties: &[],
            payload: &[],
        };
        change.encode(&mut bytes);
        Arc::new(Batch::new(Sequence(first), Sequence(last), Bytes::from(bytes)))
    }
}
