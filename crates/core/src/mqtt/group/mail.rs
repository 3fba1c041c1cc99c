//! What shards tell each other about shared subscriptions.

use super::{Member, MemberId};
use crate::position::Sequence;
use bytes::Bytes;
use rowcast_codec::QoS;
use std::sync::Arc;

/// Where a member finds what a group has for it.
#[derive(Debug)]
pub struct Address {
    /// The group.
    pub group: Arc<str>,
    /// Who gets it.
    pub member: MemberId,
}

/// A message on its way to a member.
#[derive(Debug)]
pub struct Hand {
    /// Who gets it.
    pub to: Arc<Address>,
    /// Its place in the log, or [`UNLOGGED`](super::UNLOGGED) and a count.
    pub number: u64,
    /// As the member's [`Turn`](ShareMail::Back) was.
    pub turn: u32,
    /// Whether the group wants to hear when it is over; with QoS 0 it is as soon as there is room.
    pub is_awaited: bool,
}

/// Messages on their way to members on one shard. What goes from thread to thread is allocated for all of them, as whoever
/// frees it has to wait for the thread that did.
#[derive(Default, Debug)]
pub struct Hands {
    /// And where each one's entry ends.
    hands: Vec<(Hand, usize)>,
    entries: Vec<u8>,
}

impl Hands {
    /// One more, which `encode` writes as an entry.
    pub fn push(&mut self, hand: Hand, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.entries);
        self.hands.push((hand, self.entries.len()));
    }

    /// They, and their entries, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&Hand, &[u8])> {
        let begins = std::iter::once(0).chain(self.hands.iter().map(|&(_, end)| end));
        self.hands.iter().zip(begins).map(|((hand, end), begin)| (hand, &self.entries[begin..*end]))
    }
}

/// What shards tell each other about shared subscriptions: members their owner, except for `Hands`.
#[derive(Debug)]
pub enum ShareMail {
    /// Messages for members.
    Hands(Hands),
    /// Somebody is in, or asks for another quality of service.
    Join {
        /// Which group.
        group: Arc<str>,
        /// Who.
        member: Member,
        /// What its session has begun: of what it was given before, it has this and no more.
        begun: Vec<u64>,
        /// What came up to here is not for a group that begins with it.
        since: Sequence,
    },
    /// Somebody is no longer there.
    Leave {
        /// Which group.
        group: Arc<str>,
        /// Who.
        member: MemberId,
        /// What its session has begun, and goes on with.
        begun: Vec<u64>,
    },
    /// Messages were acknowledged, refused, or cannot be delivered: they are over.
    Done {
        /// Which group.
        group: Arc<str>,
        /// Which messages.
        numbers: Vec<u64>,
    },
    /// A member had no room.
    Back {
        /// Which group, and who.
        from: Arc<Address>,
        /// Which message.
        number: u64,
        /// How often that happened to this member: what it says of an earlier time is old.
        turn: u32,
        /// The message itself and what it was published with, if the group did not keep it.
        entry: Option<(QoS, Bytes)>,
    },
    /// A member has room again.
    Room {
        /// Which group.
        group: Arc<str>,
        /// Who.
        member: MemberId,
        /// The refusal that this ends.
        turn: u32,
    },
    /// A session ended before it acknowledged a message.
    Return {
        /// Which group.
        group: Arc<str>,
        /// Which message.
        number: u64,
    },
}
