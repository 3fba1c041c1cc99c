//! Wills that wait for the time when they are to be published.

use crate::limits::WILLS_LOADED_MAX;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which wills wait, and until when; what they say stands in their rows, and is read once it is time.
///
/// Invariant: there is one for each client identifier at most, and none whose row the log is known to have taken away or
/// replaced. So there are no more than rows on disk.
#[derive(Default)]
pub(super) struct WaitingWills {
    /// By the time they are due, in milliseconds since 1970: which will of the client it is.
    by_time: BTreeMap<(u64, Arc<str>), u64>,
    due_ms: BTreeMap<Arc<str>, u64>,
    /// Those under way from the store.
    loading: usize,
    /// The disk had no room for one: none is read before the next look at it.
    is_held: bool,
}

impl WaitingWills {
    /// A will of a client that is to be published then, in place of another one of that client.
    pub(super) fn put(&mut self, client_id: &str, due_ms: u64, number: u64) {
        self.remove(client_id);
        let client_id: Arc<str> = client_id.into();
        self.due_ms.insert(Arc::clone(&client_id), due_ms);
        self.by_time.insert((due_ms, client_id), number);
    }

    /// The disk had no room for one that was due: it waits for the next look, unless another of its client waits by now.
    pub(super) fn put_back(&mut self, client_id: &str, number: u64) {
        self.is_held = true;
        if !self.due_ms.contains_key(client_id) {
            self.put(client_id, 0, number);
        }
    }

    /// A look at whether the disk has room.
    pub(super) fn go_on(&mut self) {
        self.is_held = false;
    }

    /// The client has no will that waits.
    pub(super) fn remove(&mut self, client_id: &str) {
        if let Some((client_id, due_ms)) = self.due_ms.remove_entry(client_id) {
            self.by_time.remove(&(due_ms, client_id));
        }
    }

    /// The next whose time has come, to be read from the store: the client and the number of the will.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<(Arc<str>, u64)> {
        if self.is_held || self.loading == WILLS_LOADED_MAX {
            return None;
        }
        let first = self.by_time.first_entry().filter(|first| first.key().0 <= now_ms)?;
        let ((_, client_id), number) = first.remove_entry();
        self.due_ms.remove(&client_id);
        self.loading += 1;
        Some((client_id, number))
    }

    /// One that was taken was read, or could not be.
    pub(super) fn loaded(&mut self) {
        self.loading -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_one_at_most() {
        let mut waiting = WaitingWills::default();
        for number in 1..=1_000 {
            waiting.put("a", number, number);
        }
        assert_eq!((waiting.by_time.len(), waiting.due_ms.len()), (1, 1));
        assert_eq!(waiting.take_due(999), None);
        assert_eq!(waiting.take_due(1_000), Some(("a".into(), 1_000)));
        waiting.put("a", 1, 1);
        waiting.remove("a");
        waiting.remove("b");
        assert_eq!((waiting.take_due(u64::MAX), waiting.by_time.len(), waiting.due_ms.len()), (None, 0, 0));
    }

    #[test]
    fn so_many_are_read_at_once() {
        let mut waiting = WaitingWills::default();
        for number in 0..=WILLS_LOADED_MAX as u64 {
            waiting.put(&format!("client {number}"), 1, number);
        }
        for _ in 0..WILLS_LOADED_MAX {
            assert!(waiting.take_due(1).is_some());
        }
        assert_eq!(waiting.take_due(1), None);
        waiting.loaded();
        assert!(waiting.take_due(1).is_some());
    }

    #[test]
    fn what_finds_no_room_waits_for_the_next_look_and_takes_the_place_of_none() {
        let mut waiting = WaitingWills::default();
        waiting.put("a", 5, 1);
        waiting.put_back("a", 2);
        waiting.put_back("b", 3);
        assert_eq!(waiting.take_due(9), None);
        waiting.go_on();
        assert_eq!(waiting.take_due(9), Some(("b".into(), 3)));
        assert_eq!(waiting.take_due(9), Some(("a".into(), 1)));
        assert_eq!(waiting.take_due(9), None);
    }
}
