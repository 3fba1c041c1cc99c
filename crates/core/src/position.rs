//! The numbers things are named by: nodes, places in a log, tables, sessions.

use std::fmt;

/// A node of a cluster; drawn at random when its data folder is made, never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u64);

/// A change's place in one node's log, counted from 1. Never reused: after a crash the next one lies well beyond the
/// last, so that what a memory-only reader saw and the disk lost keeps its number to itself. A record's version and
/// ETag are the sequence of its last put.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before the first entry of any log.
    pub const ZERO: Sequence = Sequence(0);

    /// The place right behind this one.
    #[must_use]
    pub fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stored table of this node. Numbers below [`TableId::FIRST_DECLARED`] are the server's own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TableId(pub u32);

impl TableId {
    /// Retained messages of topics that no table declares; the key is the whole topic.
    pub const TOPICS: TableId = TableId(0);
    /// Which number a declared table has; the key is `database/table`.
    pub const TABLES: TableId = TableId(1);
    /// MQTT sessions that outlive their connection; the key is the client identifier.
    pub const SESSIONS: TableId = TableId(2);
    /// Their subscriptions; the key is client identifier, NUL, filter.
    pub const SUBSCRIPTIONS: TableId = TableId(3);
    /// Packet identifiers of QoS 2 handshakes under way; the key is client identifier, NUL, direction, identifier.
    pub const HANDSHAKES: TableId = TableId(4);
    /// Will messages of connected clients, and delayed ones; the key is the client identifier.
    pub const WILLS: TableId = TableId(5);
    /// Accounts; the key is the user name.
    pub const USERS: TableId = TableId(6);
    /// Where shared groups that sessions keep alive stand in the log; the key is the group's name, slash, filter.
    pub const GROUPS: TableId = TableId(7);
    /// Messages of such groups that sessions have taken over; the key is the group's, NUL, a number.
    pub const CLAIMS: TableId = TableId(8);
    /// What the server says of itself, below `$SYS`: nothing of it is stored, see [`sys`](crate::sys).
    pub const SYS: TableId = TableId(u32::MAX);
    /// The first number a declared table can get.
    pub const FIRST_DECLARED: TableId = TableId(64);

    /// Whether changes of this table are the server's own bookkeeping, shown to no subscriber.
    #[must_use]
    pub fn is_internal(self) -> bool {
        self > Self::TOPICS && self < Self::FIRST_DECLARED
    }
}

/// An MQTT session, for as long as it lives: says whose a change was (No Local, MQTT 5 §3.8.3.1). Zero is nobody's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SessionId(pub u64);

impl SessionId {
    /// Changes that come from no MQTT session: HTTP, expiry, the server itself.
    pub const NONE: SessionId = SessionId(0);
}
