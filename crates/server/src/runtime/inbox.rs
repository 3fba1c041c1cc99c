//! What other threads have for a shard.

use crate::net::{ConnectionCount, Listener, Room};
use bytes::Bytes;
use rowcast_core::limits::{INBOX_EVENT_BYTES_MAX, UNSEEN_BYTES_MAX};
use rowcast_core::shard::Input;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Something for a shard's thread.
#[derive(Debug)]
pub enum Message {
    /// For the shard itself.
    Input(Input),
    /// It is the one to accept what comes through a door.
    Accept(Box<(Listener, Room)>),
    /// The writer has room again.
    Room,
    /// The node stops.
    Stop,
}

/// Messages from other threads, in the order they came. Those of the writer are bounded by its queue, those about
/// connections by the connections there are; events are counted, and shards do not read their sockets while an inbox
/// is full of them.
#[derive(Default)]
pub struct Inbox {
    messages: Mutex<Vec<Message>>,
    any: AtomicBool,
    event_bytes: AtomicUsize,
    unseen_bytes: AtomicUsize,
    notify: Notify,
    connections: ConnectionCount,
    is_busy: AtomicBool,
}

/// What a shard's thread has to do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many connections it has.
    pub connections: usize,
    /// It had little time to spare of late.
    pub is_busy: bool,
}

impl Inbox {
    /// Adds a message and wakes the shard.
    pub fn push(&self, message: Message) {
        self.push_silently(message);
        self.notify.notify_one();
    }

    /// Adds a message; the shard sees it when it is woken, or has something to do anyway.
    pub fn push_silently(&self, message: Message) {
        let mut messages = self.lock();
        messages.push(message);
        self.any.store(true, Ordering::Release);
    }

    /// Adds a message of so many bytes that the shard wants nothing of. It sees it when it is woken for something else, or
    /// for so many of them.
    pub fn push_unwanted(&self, message: Message, bytes: usize) {
        self.push_silently(message);
        if self.unseen_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > UNSEEN_BYTES_MAX {
            self.notify();
        }
    }

    /// The count of the shard's connections.
    pub fn connections(&self) -> &ConnectionCount {
        &self.connections
    }

    /// Notes whether the shard's thread had little time to spare of late.
    pub fn note_busy(&self, is_busy: bool) {
        self.is_busy.store(is_busy, Ordering::Relaxed);
    }

    /// What the shard's thread has to do.
    pub fn load(&self) -> Load {
        Load { connections: self.connections.get(), is_busy: self.is_busy.load(Ordering::Relaxed) }
    }

    /// Adds events from another shard.
    pub fn push_events(&self, events: Bytes) {
        self.event_bytes.fetch_add(events.len(), Ordering::Relaxed);
        self.push(Message::Input(Input::Events(events)));
    }

    /// Wakes the shard.
    pub fn notify(&self) {
        self.notify.notify_one();
    }

    /// Waits until the shard was woken.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }

    /// Whether there is anything.
    pub fn has_messages(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Takes all there is.
    pub fn take(&self) -> Vec<Message> {
        let mut messages = self.lock();
        self.any.store(false, Ordering::Release);
        self.event_bytes.store(0, Ordering::Relaxed);
        self.unseen_bytes.store(0, Ordering::Relaxed);
        std::mem::take(&mut *messages)
    }

    /// Whether so many events wait that no more should come.
    pub fn is_full(&self) -> bool {
        self.event_bytes.load(Ordering::Relaxed) > INBOX_EVENT_BYTES_MAX
    }

    /// A list is whole after every push, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, Vec<Message>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[test]
    fn an_inbox_full_of_events_says_so_until_it_is_emptied() {
        let inbox = Inbox::default();
        assert!(!inbox.has_messages());
        let events = Bytes::from(vec![0; INBOX_EVENT_BYTES_MAX / 2 + 1]);
        inbox.push_events(events.clone());
        assert!(!inbox.is_full() && inbox.has_messages());
        inbox.push_events(events);
        assert!(inbox.is_full());
        assert_eq!(inbox.take().len(), 2);
        assert!(!inbox.is_full() && !inbox.has_messages());
    }

    #[test]
    fn a_shard_is_woken_for_what_it_does_not_want_once_much_of_it_waits() {
        let inbox = Inbox::default();
        let is_woken = || pin!(inbox.changed()).poll(&mut Context::from_waker(Waker::noop())).is_ready();
        for _ in 0..2 {
            inbox.push_unwanted(Message::Room, UNSEEN_BYTES_MAX);
            assert!(inbox.has_messages() && !is_woken());
            inbox.push_unwanted(Message::Room, 1);
            assert!(is_woken());
            assert_eq!(inbox.take().len(), 2);
        }
        inbox.push(Message::Room);
        assert!(is_woken());
    }
}
