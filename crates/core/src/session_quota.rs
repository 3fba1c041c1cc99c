//! How many sessions outlive their connections on a node, so that there are never more than may be.
//!
//! What is stored the log says, to all shards alike; but each reads it at its own pace, and what another is about to
//! store is not in it yet. So there is one count for all of them, where a session takes its place before its row is
//! proposed. Whichever shard comes to a line of the log first writes it down here.

use crate::position::Sequence;
use crate::shard::Found;
use rustc_hash::{FxHashMap, FxHashSet};
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The sessions of a node. A lock, taken when a session begins, ends or is written down, and never held while waiting.
#[derive(Debug)]
pub struct SessionQuota {
    /// Of the hashes of client identifiers, which strangers choose.
    seed: u64,
    /// The log was looked at up to here; nobody with something older needs the lock.
    seen: AtomicU64,
    known: Mutex<Known>,
}

/// Client identifiers, as eight bytes each. Two that have the same, by chance, are taken for one.
#[derive(Default, Debug)]
struct Known {
    /// Those that a session is stored of, or about to be.
    all: FxHashSet<u64>,
    /// Those that a session is about to be stored of, and whether one is now. They keep their place until it is known what
    /// became of that, whatever the log says of an earlier one meanwhile.
    expected: FxHashMap<u64, bool>,
}

impl SessionQuota {
    /// Those that were found when the node started, at `committed` or later; `seed` is drawn then.
    #[must_use]
    pub fn restored(seed: u64, found: &Found, committed: Sequence) -> Arc<SessionQuota> {
        let quota = SessionQuota { seed, seen: AtomicU64::new(committed.0), known: Mutex::default() };
        quota.lock().all.extend(found.sessions.iter().map(|(client_id, _)| quota.key(client_id.as_bytes())));
        Arc::new(quota)
    }

    /// A session is about to be stored, where there may be `maximum`; 0: any number. `false`: there is no room. Whoever
    /// has one keeps their place for the next.
    pub(crate) fn take(&self, client_id: &[u8], maximum: u32) -> bool {
        let (key, mut known) = (self.key(client_id), self.lock());
        let is_there = known.all.contains(&key);
        if !is_there && maximum > 0 && known.all.len() >= maximum as usize {
            return false;
        }
        known.all.insert(key);
        known.expected.entry(key).or_insert(is_there);
        true
    }

    /// It is known whether it was stored, and the log was read up to there.
    pub(crate) fn settle(&self, client_id: &[u8]) {
        let (key, mut known) = (self.key(client_id), self.lock());
        if let Some(false) = known.expected.remove(&key) {
            known.all.remove(&key);
        }
    }

    /// A line of the log says that a session is stored, ...
    pub(crate) fn on_stored(&self, client_id: &[u8], at: Sequence) {
        self.on_line(client_id, at, |known, key| {
            known.expected.entry(key).and_modify(|is_there| *is_there = true);
            known.all.insert(key);
        });
    }

    /// ... or that there is none any more.
    pub(crate) fn on_gone(&self, client_id: &[u8], at: Sequence) {
        self.on_line(client_id, at, |known, key| match known.expected.get_mut(&key) {
            Some(is_there) => *is_there = false, // The next one has its place.
            None => drop(known.all.remove(&key)),
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

    fn on_line(&self, client_id: &[u8], at: Sequence, happens: impl FnOnce(&mut Known, u64)) {
        if at.0 <= self.seen.load(Ordering::Acquire) {
            return; // Another shard was here first.
        }
        let mut known = self.lock();
        if at.0 > self.seen.load(Ordering::Acquire) {
            happens(&mut known, self.key(client_id));
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
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(found: &[&str], committed: u64) -> Arc<SessionQuota> {
        let sessions = found.iter().map(|&client_id| (client_id.to_owned(), Vec::new())).collect();
        SessionQuota::restored(7, &Found { sessions, ..Found::default() }, Sequence(committed))
    }

    #[test]
    fn who_has_a_session_may_begin_another_when_there_is_no_room() {
        let quota = quota(&[], 0);
        quota.on_stored(b"a", Sequence(1));
        assert!(quota.take(b"b", 2) && quota.take(b"b", 2) && quota.take(b"a", 2));
        assert!(!quota.take(b"c", 2) && quota.len() == 2);
        quota.on_gone(b"a", Sequence(2)); // It is about to have another: nobody comes in between.
        assert!(!quota.take(b"c", 2));
        quota.on_stored(b"a", Sequence(3)); // Nor where that is the earlier one, written once more.
        quota.on_gone(b"a", Sequence(4));
        assert!(!quota.take(b"c", 2));
        quota.on_stored(b"a", Sequence(5));
        quota.settle(b"a");
        quota.on_gone(b"a", Sequence(6));
        assert!(quota.take(b"c", 2) && quota.len() == 2);
    }

    #[test]
    fn what_could_not_be_stored_takes_no_place() {
        let quota = quota(&[], 0);
        assert!(quota.take(b"a", 1) && quota.has(b"a") && !quota.take(b"b", 1));
        quota.settle(b"a");
        assert!(!quota.has(b"a") && quota.take(b"b", 1));
        quota.on_stored(b"b", Sequence(1));
        quota.settle(b"b"); // It was.
        assert!(quota.has(b"b"));
        assert!(quota.take(b"b", 1));
        quota.settle(b"b"); // Only the one before it was.
        assert!(quota.has(b"b"));
        assert!(quota.take(b"b", 1));
        quota.on_gone(b"b", Sequence(2));
        quota.settle(b"b");
        assert!(!quota.has(b"b") && quota.len() == 0);
    }

    #[test]
    fn a_line_of_the_log_counts_once_whichever_shard_comes_to_it_first() {
        let quota = quota(&["a", "b"], 5);
        quota.on_gone(b"a", Sequence(6));
        quota.on_stored(b"a", Sequence(7));
        quota.on_gone(b"a", Sequence(6)); // A slower shard.
        assert!(quota.has(b"a") && quota.len() == 2);
        quota.on_stored(b"a", Sequence(7));
        quota.on_gone(b"a", Sequence(8));
        assert!(!quota.has(b"a") && quota.has(b"b"));
    }

    #[test]
    fn sessions_beyond_another_bound_stay_and_without_one_there_is_always_room() {
        let quota = quota(&[], 0);
        assert!(quota.take(b"a", 0) && quota.take(b"b", 0));
        assert!(quota.take(b"a", 1) && quota.take(b"b", 1) && !quota.take(b"c", 1));
        assert!(quota.take(b"c", 0) && quota.len() == 3);
    }
}
