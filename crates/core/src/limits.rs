//! Every bound in one place. What can be configured is a field of [`Limits`]; what cannot is a constant.

use std::fmt;

/// Bytes of one log entry, the largest change there can be: the largest packet and its bookkeeping.
pub const ENTRY_BYTES_MAX: usize = 272 * 1024 * 1024;

/// Bytes a packet may be configured to have: the largest the wire can say (MQTT 5 §1.5.5), which [`ENTRY_BYTES_MAX`]
/// leaves room for.
pub const PACKET_BYTES_MAX: u32 = 268_435_455;

/// Bytes of a document that is checked, or laid onto another one, on a thread that nobody else waits for: a millisecond of
/// work or more.
pub const LARGE_DOCUMENT_BYTES: usize = 64 * 1024;

/// Connections beyond [`Limits::connections`] or [`Limits::connections_per_address`] that are kept until their CONNECT
/// can be answered, in all.
pub const CONNECTIONS_BEYOND_MAX: u32 = 100;

/// Bytes of a buffer that is kept for the next turn once a socket has taken what was in it; larger ones are freed.
pub const SPARE_BUFFER_BYTES_MAX: usize = 128 * 1024;

/// Bytes of such buffers that one shard keeps.
pub const SPARE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Lists of answers that wait for the disk which one shard keeps for connections that have such again.
pub const SPARE_ACK_LISTS_MAX: usize = 16;

/// So many bytes more of a packet that has not come whole are a sign of life of its client (see
/// [MQTT-3.1.2-22]): less than a slow network carries within a keep alive, more than who sends single bytes.
pub const PART_HEARD_BYTES: usize = 1024;

/// Answers that such a list has room for; larger ones are freed.
pub const SPARE_ACKS_MAX: usize = 1024;

/// Bytes of proposals that a shard has room for before there are any, if those before were as many.
pub const NEXT_BYTES_MAX: usize = 256 * 1024;

/// Proposals that it has room for, likewise.
pub const NEXT_PROPOSALS_MAX: usize = 1024;

/// Topics published to lately that one shard knows the place of, ...
pub const PLACES_MAX: usize = 1024;

/// ... none of them with more bytes than this.
pub const PLACE_TOPIC_BYTES_MAX: usize = 256;

/// Bytes of log that are searched for the last changes of a SUBSCRIBE's filters (`rowcast-last`).
pub const SEARCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Replays of one session that are under way or wait for their turn; a SUBSCRIBE that asks for another is refused (0x97).
pub const REPLAYS_MAX: usize = 16;

/// Deliveries with QoS 1 or 2 to one client that lasts, between two forms of its session that are on disk: so many
/// identifiers are left out where nobody can tell any more which of them it has (decision 13).
pub const IN_DOUBT_MAX: u64 = 16_384;

/// Filters that a shard puts in place for a client that comes back, or takes out for one that is gone, before it looks
/// after others again.
pub const FILTERS_AT_ONCE: usize = 256;

/// Times as many may be left for later: who leaves more behind has others wait for it.
pub const REMAINS_MAX: usize = 1024;

/// Wills whose time has come that a shard reads from the store at once: one may be as large as a packet.
pub const WILLS_LOADED_MAX: usize = 64;

/// Messages that a group hands out to be acknowledged between two stored forms, and that it knows behind its position
/// after a crash (decision 8).
pub const HANDED_MAX: usize = 8_192;

/// Bytes of messages that stand in no log and wait for a shard to look at them; beyond it, no shard reads its sockets.
pub const INBOX_EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of batches that a shard wants nothing of and is not woken for: they stay in memory until it sees them.
pub const UNSEEN_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of such messages that one shard passes on in a turn; beyond it, it reads no socket until the next.
pub const TURN_EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of such messages that may be under way to a client when it begins to lag, beyond one packet from each shard:
/// a full inbox, and the turns of all others that are added to it.
pub const TRANSIT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What one MQTT client may ask of this node, and all clients together. Exceeding a bound earns the reason code beside
/// it and touches nobody else. `mqtt.limits` in the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of a packet once CONNECT is accepted, fixed header included (0x95). Told as Maximum Packet Size.
    pub packet_bytes: u32,
    /// Bytes of a CONNECT, and of an AUTH before CONNACK: nobody is trusted with more before we know them (0x95).
    pub connect_packet_bytes: u32,
    /// Bytes of a topic or filter (0x90, 0x8F).
    pub topic_bytes: u16,
    /// Levels of a topic or filter (0x90, 0x8F).
    pub topic_levels: u16,
    /// Bytes of a client identifier (0x85).
    pub client_id_bytes: u16,
    /// Filters in one SUBSCRIBE; those beyond are refused one by one (0x97). An UNSUBSCRIBE with more ends the connection
    /// (0x97).
    pub filters_per_subscribe: u32,
    /// Subscriptions of one session (0x97).
    pub subscriptions_per_client: u32,
    /// User properties of one packet, those of a CONNECT's will among them; more end the connection (0x95).
    pub user_properties: u32,
    /// QoS 1 and 2 deliveries to one client that wait for acknowledgement, however large a Receive Maximum it offers.
    pub inflight: u16,
    /// QoS 1 and 2 publishes of one client that wait for ours (0x93). Told as Receive Maximum.
    pub receive_maximum: u16,
    /// Topic aliases in each direction (0x94). Told as Topic Alias Maximum; 0: none.
    pub topic_alias_maximum: u16,
    /// Seconds of keep-alive we agree to; who asks for more, or for none, is told this one as Server Keep Alive.
    /// 0: whatever the client wants.
    pub keep_alive_max_secs: u16,
    /// Seconds a session may outlive its connection; who asks for more is told this. `u32::MAX`: for ever.
    pub session_expiry_max_secs: u32,
    /// Bytes encoded for one client and not taken by its socket, and as many again of messages that stand in no log. A
    /// client beyond it reads from the log, where what it wants stands from then on; what still comes to it otherwise
    /// was under way ([`TRANSIT_BYTES_MAX`]), and who gets more than that is closed (0x97).
    pub outbound_bytes: u32,
    /// Changes that a SUBSCRIBE may ask to be replayed by their number, of each filter (0x97).
    pub replay_last: u32,
    /// Milliseconds from accepting a connection to its complete CONNECT; then it is closed.
    pub connect_timeout_ms: u32,
    /// Connections in all; the CONNECT of those beyond is refused (0x97), and where even these are too many
    /// ([`CONNECTIONS_BEYOND_MAX`]), they are closed at once. 0: no bound.
    pub connections: u32,
    /// Connections from one address, likewise. 0: no bound.
    pub connections_per_address: u32,
    /// Sessions that outlive their connections, connected or not; a CONNECT that would make another is refused (0x97).
    /// Shards do not know of those that others make in the same instant, and may together exceed it by these. 0: no bound.
    pub sessions: u32,
    /// Publishes a second of one client, no more than a second's worth at once; beyond it, its socket is not read
    /// until there is room again. 0: no bound.
    pub publishes_per_sec: u32,
    /// Bytes a second of one client's publishes, likewise. 0: no bound.
    pub publish_bytes_per_sec: u64,
    /// Beyond these two, the connection ends (0x96) instead.
    pub too_fast_ends: bool,
}

/// The longest topic that is published to or written under, at whichever door. Displayed as words for who exceeds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicLimits {
    bytes: u16,
    levels: u16,
}

impl TopicLimits {
    /// Whether a topic of so many bytes and levels is within them.
    #[must_use]
    pub fn hold(self, bytes: usize, levels: usize) -> bool {
        bytes <= usize::from(self.bytes) && levels <= usize::from(self.levels)
    }
}

impl fmt::Display for TopicLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a topic has at most {} bytes and {} levels", self.bytes, self.levels)
    }
}

impl Limits {
    /// Those of topics.
    #[must_use]
    pub fn topic(&self) -> TopicLimits {
        TopicLimits { bytes: self.topic_bytes, levels: self.topic_levels }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            packet_bytes: 16 * 1024 * 1024,
            connect_packet_bytes: 64 * 1024,
            topic_bytes: u16::MAX,
            topic_levels: 128,
            client_id_bytes: 1024,
            filters_per_subscribe: 10_000,
            subscriptions_per_client: 100_000,
            user_properties: 1000,
            inflight: 64,
            receive_maximum: 1024,
            topic_alias_maximum: 64,
            keep_alive_max_secs: 0,
            session_expiry_max_secs: 7 * 24 * 60 * 60,
            outbound_bytes: 1024 * 1024,
            replay_last: 10_000,
            connect_timeout_ms: 10_000,
            connections: 0,
            connections_per_address: 0,
            sessions: 1_000_000,
            publishes_per_sec: 0,
            publish_bytes_per_sec: 0,
            too_fast_ends: false,
        }
    }
}
