//! How many sessions outlive their connections, wherever on the node they are. Each shard keeps its own count, made from
//! the log like everything else.

use rustc_hash::FxHashSet;
use std::hash::{DefaultHasher, Hasher};

/// Client identifiers of durable sessions, as eight bytes each: a hash nobody outside can foresee. Two that have the
/// same one, by chance, are counted as one.
pub(super) struct SessionCount {
    seed: u64,
    /// 0: no bound.
    maximum: u32,
    known: FxHashSet<u64>,
}

impl SessionCount {
    pub(super) fn new(seed: u64, maximum: u32) -> SessionCount {
        SessionCount { seed, maximum, known: FxHashSet::default() }
    }

    /// There is a session of this client.
    pub(super) fn add(&mut self, client_id: &[u8]) {
        self.known.insert(self.hash(client_id));
    }

    /// There is none any more.
    pub(super) fn remove(&mut self, client_id: &[u8]) {
        self.known.remove(&self.hash(client_id));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether this client may have one.
    pub(super) fn has_room(&self, client_id: &[u8]) -> bool {
        self.maximum == 0 || self.known.len() < self.maximum as usize || self.known.contains(&self.hash(client_id))
    }

    fn hash(&self, client_id: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write(client_id);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_session_may_keep_it_when_there_is_no_room() {
        let mut sessions = SessionCount::new(7, 2);
        sessions.add(b"a");
        sessions.add(b"a");
        assert!(sessions.has_room(b"b"));
        sessions.add(b"b");
        assert!(sessions.has_room(b"a") && sessions.has_room(b"b") && !sessions.has_room(b"c"));
        sessions.remove(b"a");
        sessions.remove(b"a");
        assert!(sessions.has_room(b"c") && sessions.len() == 1);
    }

    #[test]
    fn without_a_bound_there_is_always_room() {
        let mut sessions = SessionCount::new(7, 0);
        sessions.add(b"a");
        assert!(sessions.len() == 1 && sessions.has_room(b"b"));
    }
}
