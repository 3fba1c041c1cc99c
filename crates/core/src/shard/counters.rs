//! What a shard counts.

/// Counters since the shard was made. Sums over all shards are what is shown.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Packets received, of every kind, and their bytes.
    pub packets_in: u64,
    /// See above.
    pub bytes_in: u64,
    /// Packets handed to sockets, of every kind.
    pub packets_out: u64,
    /// Bytes that sockets have taken.
    pub bytes_out: u64,
    /// PUBLISH packets received, and the bytes of their payloads.
    pub publishes_in: u64,
    /// See above.
    pub payload_bytes_in: u64,
    /// PUBLISH packets handed to sockets, and the bytes of their payloads.
    pub publishes_out: u64,
    /// See above.
    pub payload_bytes_out: u64,
    /// Messages not delivered because a client did not take them fast enough.
    pub dropped: u64,
    /// States not delivered because a newer one of their topic was there before the client took them.
    pub conflated: u64,
    /// Publishes refused.
    pub rejected: u64,
    /// Clients let in.
    pub connected: u64,
    /// Sessions whose time ran out; counted by the first shard alone.
    pub expired: u64,
    /// Entries of the log that were gone before a session or a group had read them. What of it they would have been
    /// sent, nobody can tell any more.
    pub lost: u64,
}

impl Counters {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Counters) -> Counters {
        Counters {
            packets_in: self.packets_in + other.packets_in,
            bytes_in: self.bytes_in + other.bytes_in,
            packets_out: self.packets_out + other.packets_out,
            bytes_out: self.bytes_out + other.bytes_out,
            publishes_in: self.publishes_in + other.publishes_in,
            payload_bytes_in: self.payload_bytes_in + other.payload_bytes_in,
            publishes_out: self.publishes_out + other.publishes_out,
            payload_bytes_out: self.payload_bytes_out + other.payload_bytes_out,
            dropped: self.dropped + other.dropped,
            conflated: self.conflated + other.conflated,
            rejected: self.rejected + other.rejected,
            connected: self.connected + other.connected,
            expired: self.expired + other.expired,
            lost: self.lost + other.lost,
        }
    }

    /// A PUBLISH goes out.
    pub(super) fn count_delivery(&mut self, payload: &[u8]) {
        self.packets_out += 1;
        self.publishes_out += 1;
        self.payload_bytes_out += payload.len() as u64;
    }
}

/// What there is now.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Gauges {
    /// Subscriptions of connected clients, shared ones left out.
    pub subscriptions: u64,
    /// Their shared subscriptions.
    pub shared_subscriptions: u64,
    /// Connected clients whose sessions outlive their connections.
    pub lasting: u64,
    /// Sessions that outlive their connections on the whole node.
    pub sessions: u64,
}
