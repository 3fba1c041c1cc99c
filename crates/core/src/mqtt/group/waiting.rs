//! Messages of a group that wait for a member.

use crate::position::Sequence;
use bytes::Bytes;
use rowcast_codec::QoS;
use std::collections::BTreeMap;

/// One of them.
#[derive(Debug)]
pub(super) struct Message {
    /// What it was published with.
    pub qos: QoS,
    /// `None`: to be read from the log.
    pub entry: Option<Bytes>,
    /// It came behind this place of the log.
    pub after: Sequence,
}

impl Message {
    /// One that the log brings when it is its turn.
    pub(super) fn of_log(qos: QoS) -> Message {
        Message { qos, entry: None, after: Sequence::ZERO }
    }

    fn bytes(&self) -> usize {
        self.entry.as_ref().map_or(0, Bytes::len)
    }
}

/// All of them, in their order.
///
/// Invariant: `bytes` is how many there are in their entries.
#[derive(Default, Debug)]
pub(super) struct Waiting {
    messages: BTreeMap<u64, Message>,
    bytes: usize,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes of those whose entries are here.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn insert(&mut self, number: u64, message: Message) {
        self.bytes += message.bytes();
        if let Some(before) = self.messages.insert(number, message) {
            self.bytes -= before.bytes();
        }
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Message> {
        let message = self.messages.remove(&number)?;
        self.bytes -= message.bytes();
        Some(message)
    }

    /// One was read, with what it was published with; `None`: it is gone.
    pub(super) fn read(&mut self, number: u64, found: Option<(QoS, Bytes)>) {
        if let Some(Message { after, .. }) = self.remove(number)
            && let Some((qos, entry)) = found
        {
            // The stored form of a group does not say the QoS.
            self.insert(number, Message { qos, entry: Some(entry), after });
        }
    }

    /// The first of them.
    pub(super) fn first(&self) -> Option<(u64, &Message)> {
        self.messages.first_key_value().map(|(&number, message)| (number, message))
    }

    /// Those that are to be read.
    pub(super) fn unread(&self) -> impl Iterator<Item = u64> {
        self.messages.iter().filter(|(_, message)| message.entry.is_none()).map(|(&number, _)| number)
    }

    /// Those that have to reach a member.
    pub(super) fn awaited(&self) -> impl Iterator<Item = u64> {
        self.messages.iter().filter(|(_, message)| message.qos > QoS::AtMostOnce).map(|(&number, _)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_once_for_each_message() {
        let mut waiting = Waiting::default();
        let message = |bytes| Message { entry: Some(bytes), ..Message::of_log(QoS::AtLeastOnce) };
        waiting.insert(1, message(Bytes::from_static(b"four")));
        waiting.insert(1, message(Bytes::from_static(b"sixsix")));
        waiting.insert(2, Message::of_log(QoS::AtMostOnce));
        assert_eq!((waiting.bytes(), waiting.unread().collect::<Vec<_>>()), (6, vec![2]));
        waiting.read(2, Some((QoS::ExactlyOnce, Bytes::from_static(b"two"))));
        assert_eq!((waiting.bytes(), waiting.awaited().collect::<Vec<_>>()), (9, vec![1, 2]));
        waiting.read(1, None);
        assert!(waiting.remove(1).is_none() && waiting.remove(2).is_some());
        assert!(waiting.is_empty() && waiting.bytes() == 0);
    }
}
