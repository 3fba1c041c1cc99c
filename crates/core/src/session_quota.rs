//! How many sessions outlive their connections on a node, so that there are never more than may be.
//!
//! What is stored the log says, to all shards alike; but each reads it at its own pace, and what another is about to
//! store is not in it yet. So there is one count for all of them, where a session takes its seat before its row is
//! proposed. Whichever shard comes to a line of the log first writes it down here.

use crate::position::Sequence;
use crate::shard::Found;
use rustc_hash::{FxHashMap, FxHashSet};
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The sessions of a node. A lock, taken when a session begins, ends or is written down, and never held while waiting.
#[derive(Debug)]
pub struct Seats {
    /// Of the hashes of client identifiers, which strangers choose.
    seed: u64,
    /// The log was looked at up to here; nobody with something older needs the lock.
    seen: AtomicU64,
    seated: Mutex<Seated>,
}

/// Client identifiers, as eight bytes each. Two that have the same, by chance, are taken for one.
#[derive(Default, Debug)]
struct Seated {
    /// Those that a session is stored of, or about to be.
    all: FxHashSet<u64>,
    /// Those that a session is about to be stored of, and whether one is already.
    expected: FxHashMap<u64, bool>,
}

impl Seats {
    /// Those that were found when the node started, at `committed` or later; `seed` is drawn then.
    #[must_use]
    pub fn restored(seed: u64, found: &Found, committed: Sequence) -> Arc<Seats> {
        let seats = Seats { seed, seen: AtomicU64::new(committed.0), seated: Mutex::default() };
        seats.lock().all.extend(found.sessions.iter().map(|(client_id, _)| seats.key(client_id.as_bytes())));
        Arc::new(seats)
    }

    /// A session is about to be stored, where there may be `maximum`; 0: any number. `false`: there is no room. Whoever
    /// has one keeps their seat for the next.
    pub(crate) fn take(&self, client_id: &[u8], maximum: u32) -> bool {
        let (key, mut seated) = (self.key(client_id), self.lock());
        let is_there = seated.all.contains(&key);
        if !is_there && maximum > 0 && seated.all.len() >= maximum as usize {
            return false;
        }
        seated.all.insert(key);
        seated.expected.entry(key).or_insert(is_there);
        true
    }

    /// It was not stored, and will not be.
    pub(crate) fn give_back(&self, client_id: &[u8]) {
        let (key, mut seated) = (self.key(client_id), self.lock());
        if let Some(false) = seated.expected.remove(&key) {
            seated.all.remove(&key);
        }
    }

    /// A line of the log says that a session is stored, ...
    pub(crate) fn on_stored(&self, client_id: &[u8], at: Sequence) {
        self.on_line(client_id, at, |seated, key| {
            seated.expected.remove(&key);
            seated.all.insert(key);
        });
    }

    /// ... or that there is none any more.
    pub(crate) fn on_gone(&self, client_id: &[u8], at: Sequence) {
        self.on_line(client_id, at, |seated, key| match seated.expected.get_mut(&key) {
            Some(is_there) => *is_there = false, // The next one has its seat.
            None => drop(seated.all.remove(&key)),
        });
    }

    /// Whether this client has a session, or is about to.
    pub(crate) fn has(&self, client_id: &[u8]) -> bool {
        self.lock().all.contains(&self.key(client_id))
    }

    /// How many there are, or are about to be.
    pub(crate) fn len(&self) -> usize {
        self.lock().all.len()
    }

    fn on_line(&self, client_id: &[u8], at: Sequence, happens: impl FnOnce(&mut Seated, u64)) {
        if at.0 <= self.seen.load(Ordering::Acquire) {
            return; // Another shard was here first.
        }
        let mut seated = self.lock();
        if at.0 > self.seen.load(Ordering::Acquire) {
            happens(&mut seated, self.key(client_id));
            self.seen.store(at.0, Ordering::Release);
        }
    }

    fn key(&self, client_id: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write(client_id);
        hasher.finish()
    }

    /// Both sets are whole after every step, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, Seated> {
        self.seated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(found: &[&str], committed: u64) -> Arc<Seats> {
        let sessions = found.iter().map(|&client_id| (client_id.to_owned(), Vec::new())).collect();
        Seats::restored(7, &Found { sessions, ..Found::default() }, Sequence(committed))
    }

    #[test]
    fn who_has_a_session_may_begin_another_when_there_is_no_room() {
        let seats = seats(&[], 0);
        seats.on_stored(b"a", Sequence(1));
        assert!(seats.take(b"b", 2) && seats.take(b"b", 2) && seats.take(b"a", 2));
        assert!(!seats.take(b"c", 2) && seats.len() == 2);
        seats.on_gone(b"a", Sequence(2)); // It is about to have another: nobody comes in between.
        assert!(!seats.take(b"c", 2));
        seats.on_stored(b"a", Sequence(3));
        seats.on_gone(b"a", Sequence(4));
        assert!(seats.take(b"c", 2) && seats.len() == 2);
    }

    #[test]
    fn what_could_not_be_stored_has_no_seat() {
        let seats = seats(&[], 0);
        assert!(seats.take(b"a", 1) && seats.has(b"a") && !seats.take(b"b", 1));
        seats.give_back(b"a");
        assert!(!seats.has(b"a") && seats.take(b"b", 1));
        seats.on_stored(b"b", Sequence(1));
        seats.give_back(b"b"); // It was.
        assert!(seats.has(b"b"));
        assert!(seats.take(b"b", 1));
        seats.give_back(b"b"); // Only the one before it was.
        assert!(seats.has(b"b"));
        assert!(seats.take(b"b", 1));
        seats.on_gone(b"b", Sequence(2));
        seats.give_back(b"b");
        assert!(!seats.has(b"b") && seats.len() == 0);
    }

    #[test]
    fn a_line_of_the_log_counts_once_whichever_shard_comes_to_it_first() {
        let seats = seats(&["a", "b"], 5);
        seats.on_gone(b"a", Sequence(6));
        seats.on_stored(b"a", Sequence(7));
        seats.on_gone(b"a", Sequence(6)); // A slower shard.
        assert!(seats.has(b"a") && seats.len() == 2);
        seats.on_stored(b"a", Sequence(7));
        seats.on_gone(b"a", Sequence(8));
        assert!(!seats.has(b"a") && seats.has(b"b"));
    }

    #[test]
    fn sessions_beyond_another_bound_stay_and_without_one_there_is_always_room() {
        let seats = seats(&[], 0);
        assert!(seats.take(b"a", 0) && seats.take(b"b", 0));
        assert!(seats.take(b"a", 1) && seats.take(b"b", 1) && !seats.take(b"c", 1));
        assert!(seats.take(b"c", 0) && seats.len() == 3);
    }
}
