//! What waits for the writer.

use crate::limits::{PROPOSAL_BYTES, TURN_BYTES_MAX, TURN_CHANGES_MAX};
use crate::writer::Origin;
use rowcast_core::{Decision, Proposals};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Proposals on their way to the writer, bounded by bytes. Clones are the same queue.
///
/// When it is full, proposals are given back, and whoever was refused is told once there is room: it stops reading its
/// sockets until then, and the network carries the pressure on.
#[derive(Clone)]
pub struct Queue(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    undecided: AtomicUsize, // Pieces pushed, and not yet decided on by the writer.
    bytes_max: usize,
    room: Box<dyn Fn(Origin) + Send + Sync>,
}

#[derive(Default)]
struct Waiting {
    work: VecDeque<(Origin, Proposals)>,
    bytes: usize,
    refused: Vec<Origin>,
    closed: bool,
    /// The writer waits for something to arrive.
    sleeps: bool,
}

impl Queue {
    /// An empty queue. `room` is called on the writer's thread, for each origin that was refused, once it is worth
    /// trying again; it must not block, and not push.
    #[must_use]
    pub fn new(bytes_max: usize, room: Box<dyn Fn(Origin) + Send + Sync>) -> Queue {
        let (waiting, arrived, undecided) = (Mutex::default(), Condvar::new(), AtomicUsize::new(0));
        Queue(Arc::new(Shared { waiting, arrived, undecided, bytes_max, room }))
    }

    /// Hands proposals to the writer, or gives them back: the queue is full or closed. An empty queue takes what is
    /// larger than its bound, or that could never be written.
    pub fn try_push(&self, origin: Origin, proposals: Proposals) -> Result<(), Proposals> {
        let mut waiting = self.0.waiting.lock().expect("no holder panics");
        let cost = cost(&proposals);
        if waiting.closed {
            return Err(proposals);
        }
        if waiting.bytes + cost > self.0.bytes_max && !waiting.work.is_empty() {
            if !waiting.refused.contains(&origin) {
                waiting.refused.push(origin);
            }
            return Err(proposals);
        }
        waiting.bytes += cost;
        self.0.undecided.fetch_add(1, Ordering::Relaxed);
        waiting.work.push_back((origin, proposals));
        let sleeps = std::mem::take(&mut waiting.sleeps);
        drop(waiting);
        if sleeps {
            self.0.arrived.notify_one();
        }
        Ok(())
    }

    /// Takes what waits, in order, up to a turn's worth. Blocks while there is nothing, at most for `patience`, and
    /// returns nothing then. `None`: the queue is closed and empty.
    #[must_use]
    pub fn drain(&self, patience: Duration) -> Option<Vec<(Origin, Proposals)>> {
        let waiting = self.0.waiting.lock().expect("no holder panics");
        let nothing = |waiting: &mut Waiting| {
            waiting.sleeps = waiting.work.is_empty() && !waiting.closed;
            waiting.sleeps
        };
        let (mut waiting, _) = self.0.arrived.wait_timeout_while(waiting, patience, nothing).expect("no holder panics");
        waiting.sleeps = false;
        if waiting.work.is_empty() {
            return if waiting.closed { None } else { Some(Vec::new()) };
        }
        let mut taken = Vec::new();
        let (mut changes, mut bytes) = (0, 0);
        while let Some((_, next)) = waiting.work.front() {
            let next_bytes = next.bytes.len() + held(next);
            if !taken.is_empty()
                && (changes + next.list.len() > TURN_CHANGES_MAX || bytes + next_bytes > TURN_BYTES_MAX)
            {
                break;
            }
            changes += next.list.len();
            bytes += next_bytes;
            waiting.bytes -= cost(next);
            taken.extend(waiting.work.pop_front());
        }
        // At half the bound, so that a refused shard comes back with more than one proposal at a time.
        let refused =
            if waiting.bytes <= self.0.bytes_max / 2 { std::mem::take(&mut waiting.refused) } else { Vec::new() };
        drop(waiting);
        for origin in refused {
            (self.0.room)(origin);
        }
        Some(taken)
    }

    /// The writer has decided on so many pieces of what it took, and what came of it can be seen.
    pub(crate) fn decided(&self, pieces: usize) {
        self.0.undecided.fetch_sub(pieces, Ordering::Release);
    }

    /// Whether something that was pushed is not decided on yet. After `false`, all that was pushed before can be seen.
    #[must_use]
    pub fn has_undecided(&self) -> bool {
        self.0.undecided.load(Ordering::Acquire) > 0
    }

    /// Takes no more. What waits is still written; then the writer ends.
    pub fn close(&self) {
        self.0.waiting.lock().expect("no holder panics").closed = true;
        self.0.arrived.notify_all();
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.waiting.lock().expect("no holder panics").bytes
    }
}

fn cost(proposals: &Proposals) -> usize {
    let keys: usize = decisions(proposals).map(|decision| decision.key.len()).sum();
    let count = proposals.list.len() + decisions(proposals).count();
    proposals.bytes.len() + keys + held(proposals) + count * PROPOSAL_BYTES
}

fn held(proposals: &Proposals) -> usize {
    decisions(proposals).map(|decision| decision.held).sum()
}

fn decisions(proposals: &Proposals) -> impl Iterator<Item = &Decision> {
    proposals.list.iter().flat_map(|proposal| &proposal.decisions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rowcast_core::{Durability, TableId};

    fn work(changes: usize, bytes: usize) -> Proposals {
        let mut proposals = Proposals { bytes: vec![0; bytes], ..Proposals::default() };
        for _ in 0..changes {
            proposals.push(None, Durability::Memory, &[]);
        }
        proposals
    }

    fn taken(queue: &Queue) -> Option<usize> {
        queue.drain(Duration::ZERO).map(|work| work.len())
    }

    #[test]
    fn a_full_queue_gives_back_and_tells_when_there_is_room() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let queue = Queue::new(1000, Box::new(move |origin| tell.lock().unwrap().push(origin)));
        assert!(queue.try_push(Origin(1), work(0, 900)).is_ok());
        assert!(queue.try_push(Origin(2), work(0, 200)).is_err_and(|back| back.bytes.len() == 200));
        assert!(queue.try_push(Origin(2), work(0, 200)).is_err());
        assert!(queue.try_push(Origin(1), work(0, 100)).is_ok());
        assert!(told.lock().unwrap().is_empty());
        assert_eq!(taken(&queue), Some(2));
        assert_eq!(*told.lock().unwrap(), [Origin(2)]);
        assert_eq!((queue.bytes(), taken(&queue)), (0, Some(0)));
    }

    #[test]
    fn what_waits_inside_of_decisions_counts() {
        let queue = Queue::new(1000, Box::new(|_| {}));
        let decided = |held| {
            let decision = Decision { held, ..Decision::new(TableId(9), vec![0; 50], Box::new(|_, _, _| Ok(()))) };
            let mut proposals = Proposals::default();
            proposals.push_decided(None, Durability::Memory, decision, &[]);
            proposals
        };
        assert!(queue.try_push(Origin(1), decided(500)).is_ok());
        assert_eq!(queue.bytes(), 550 + 2 * PROPOSAL_BYTES);
        assert!(queue.try_push(Origin(1), decided(500)).is_err());
        assert!(queue.try_push(Origin(1), work(0, 100)).is_ok());
        assert_eq!((taken(&queue), queue.bytes()), (Some(2), 0));
        let queue = Queue::new(usize::MAX, Box::new(|_| {}));
        for _ in 0..2 {
            assert!(queue.try_push(Origin(1), decided(TURN_BYTES_MAX)).is_ok());
        }
        assert_eq!([taken(&queue), taken(&queue)], [Some(1), Some(1)]);
    }

    #[test]
    fn an_empty_queue_takes_what_is_larger_than_its_bound() {
        let queue = Queue::new(10, Box::new(|_| {}));
        assert!(queue.try_push(Origin(1), work(1, 5000)).is_ok());
        assert_eq!(taken(&queue), Some(1));
    }

    #[test]
    fn a_turn_is_bounded_in_changes_and_bytes() {
        let queue = Queue::new(usize::MAX, Box::new(|_| {}));
        for _ in 0..5 {
            assert!(queue.try_push(Origin(1), work(TURN_CHANGES_MAX / 2, 0)).is_ok());
        }
        assert_eq!([taken(&queue), taken(&queue), taken(&queue)], [Some(2), Some(2), Some(1)]);
        for _ in 0..3 {
            assert!(queue.try_push(Origin(1), work(1, TURN_BYTES_MAX)).is_ok());
        }
        assert_eq!([taken(&queue), taken(&queue), taken(&queue)], [Some(1), Some(1), Some(1)]);
    }

    #[test]
    fn a_closed_queue_takes_nothing_and_gives_what_it_has() {
        let queue = Queue::new(1000, Box::new(|_| {}));
        assert!(queue.try_push(Origin(1), work(1, 10)).is_ok());
        queue.close();
        assert!(queue.try_push(Origin(1), work(1, 10)).is_err());
        assert_eq!((taken(&queue), taken(&queue)), (Some(1), None));
    }
}
