//! How many sessions outlive their connections, wherever on the node they are. Each shard keeps its own count, made from
//! the log like everything else.

use super::key_set::KeySet;

/// Client identifiers of durable sessions.
pub(super) struct SessionCount {
    /// 0: no bound.
    maximum: u32,
    known: KeySet,
}

impl SessionCount {
    pub(super) fn new(seed: u64, maximum: u32) -> SessionCount {
        SessionCount { maximum, known: KeySet::new(seed) }
    }

    /// Another bound. Sessions beyond it stay.
    pub(super) fn set_maximum(&mut self, maximum: u32) {
        self.maximum = maximum;
    }

    /// There is a session of this client. `false`: it was known already.
    pub(super) fn add(&mut self, client_id: &[u8]) -> bool {
        self.known.insert(client_id)
    }

    /// There is none any more.
    pub(super) fn remove(&mut self, client_id: &[u8]) {
        self.known.remove(client_id);
    }

    /// Whether this client has one.
    pub(super) fn has(&self, client_id: &[u8]) -> bool {
        self.known.contains(client_id)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether this client may have one.
    pub(super) fn has_room(&self, client_id: &[u8]) -> bool {
        self.maximum == 0 || self.known.len() < self.maximum as usize || self.has(client_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_session_may_keep_it_when_there_is_no_room() {
        let mut sessions = SessionCount::new(7, 2);
        assert!(sessions.add(b"a") && !sessions.add(b"a"));
        assert!(sessions.has_room(b"b"));
        sessions.add(b"b");
        assert!(sessions.has_room(b"a") && sessions.has_room(b"b") && !sessions.has_room(b"c"));
        sessions.remove(b"a");
        sessions.remove(b"a");
        assert!(sessions.has_room(b"c") && sessions.len() == 1);
    }

    #[test]
    fn sessions_beyond_another_bound_stay() {
        let mut sessions = SessionCount::new(7, 0);
        sessions.add(b"a");
        sessions.add(b"b");
        sessions.set_maximum(1);
        assert!(sessions.has_room(b"a") && sessions.has_room(b"b") && !sessions.has_room(b"c"));
    }

    #[test]
    fn without_a_bound_there_is_always_room() {
        let mut sessions = SessionCount::new(7, 0);
        sessions.add(b"a");
        assert!(sessions.len() == 1 && sessions.has_room(b"b"));
    }
}
