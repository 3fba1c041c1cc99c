//! The newest batches in memory, for the readers that are nearly level with the log: nearly all of them.

use rowcast_core::{Batch, Sequence};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// A ring of batches bounded by bytes. Filled by the writer, read by everyone; the lock is held to copy pointers only.
///
/// Invariant: it holds every batch after `since`, in order.
pub(crate) struct Tail {
    ring: Mutex<Ring>,
    bytes_max: usize,
}

struct Ring {
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    since: Sequence,
}

impl Tail {
    /// An empty ring at the end of a log whose last entry is `since`. It takes memory as it fills.
    pub(crate) fn new(since: Sequence, bytes_max: usize) -> Tail {
        Tail { ring: Mutex::new(Ring { batches: VecDeque::new(), bytes: 0, since }), bytes_max }
    }

    /// Adds the newest batch. The oldest go; the newest stays, however large it is.
    pub(crate) fn push(&self, batch: Arc<Batch>) {
        let mut dropped = Vec::new(); // Freed after the lock.
        let mut ring = self.ring.lock().expect("no holder panics");
        debug_assert!(ring.batches.back().is_none_or(|last| last.last() < batch.first()), "batches come in order");
        ring.bytes += batch.memory();
        ring.batches.push_back(batch);
        while ring.bytes > self.bytes_max && ring.batches.len() > 1 {
            let oldest = ring.batches.pop_front().expect("there is more than one");
            ring.bytes -= oldest.memory();
            ring.since = oldest.last();
            dropped.push(oldest);
        }
    }

    /// The batches after `after`, up to about `bytes_max`, but one at least; the first may begin before `after`.
    /// `None`: it is too long ago.
    pub(crate) fn after(&self, after: Sequence, bytes_max: usize) -> Option<Vec<Arc<Batch>>> {
        let ring = self.ring.lock().expect("no holder panics");
        if after < ring.since {
            return None;
        }
        let start = ring.batches.partition_point(|batch| batch.last() <= after);
        let mut bytes = 0;
        let fits = |batch: &&Arc<Batch>| {
            let fits = bytes == 0 || bytes + batch.bytes().len() <= bytes_max;
            bytes += batch.bytes().len();
            fits
        };
        Some(ring.batches.range(start..).take_while(fits).cloned().collect())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.ring.lock().expect("no holder panics").bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn batch(first: u64, last: u64, bytes: usize) -> Arc<Batch> {
        Arc::new(Batch::new(Sequence(first), Sequence(last), Bytes::from(vec![0; bytes])))
    }

    fn firsts(tail: &Tail, after: u64, bytes_max: usize) -> Option<Vec<u64>> {
        let batches = tail.after(Sequence(after), bytes_max)?;
        Some(batches.iter().map(|batch| batch.first().0).collect())
    }

    #[test]
    fn a_reader_gets_what_follows_its_position_and_one_that_is_too_far_behind_nothing() {
        let tail = Tail::new(Sequence(10), 1000);
        assert_eq!(firsts(&tail, 9, 99), None);
        assert_eq!(firsts(&tail, 10, 99), Some(vec![]));
        tail.push(batch(11, 13, 100));
        tail.push(batch(14, 14, 100));
        tail.push(batch(1_000_000, 1_000_001, 100));
        assert_eq!(firsts(&tail, 10, 250), Some(vec![11, 14]));
        assert_eq!(firsts(&tail, 12, 1), Some(vec![11]), "one batch at least, even one that began before");
        assert_eq!(firsts(&tail, 14, 9999), Some(vec![1_000_000]));
        assert_eq!(firsts(&tail, 500, 9999), Some(vec![1_000_000]), "a gap is not a loss");
        assert_eq!(firsts(&tail, 1_000_001, 9999), Some(vec![]));
    }

    #[test]
    fn the_oldest_go_when_it_is_full_but_never_the_newest() {
        let tail = Tail::new(Sequence(0), 500);
        for at in 1..=4 {
            tail.push(batch(at, at, 100));
        }
        assert_eq!(firsts(&tail, 1, 9999), None);
        assert_eq!(firsts(&tail, 2, 9999), Some(vec![3, 4]));
        tail.push(batch(5, 5, 10_000));
        assert_eq!(firsts(&tail, 4, 1), Some(vec![5]));
        assert_eq!(tail.bytes(), 10_128);
    }
}
