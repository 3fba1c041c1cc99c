//! The bounds of the HTTP door that nobody configures; `http.limits` has the others.

use std::time::Duration;

/// Bytes of a request line and its headers together (431, or 414 for the line alone).
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Headers of a request (431).
pub(super) const HEADERS_MAX: usize = 100;

/// Requests under way on a connection of HTTP/2 (REFUSED_STREAM).
pub(super) const STREAMS_MAX: u32 = 100;

/// Requests of such a connection that were taken back before they were looked at, and mistakes that end one request
/// only; more than that of either end the connection (ENHANCE_YOUR_CALM).
pub(super) const STREAM_RESETS_MAX: usize = 20;

/// Bytes of bodies that such a connection may send before they are read, in all and of one request.
pub(super) const UNREAD_BYTES_MAX: u32 = 1024 * 1024;
pub(super) const UNREAD_STREAM_BYTES_MAX: u32 = 256 * 1024;

/// Bytes of an answer that wait for such a connection to take them.
pub(super) const UNSENT_STREAM_BYTES_MAX: usize = 64 * 1024;

/// Records in one POST of an array (413): they stand or fall together, so they wait in memory together.
pub(super) const INSERT_RECORDS_MAX: usize = 10_000;

/// Elements looked at in a list of media ranges or entity tags (400).
pub(super) const LIST_ELEMENTS_MAX: usize = 256;

/// How long a peer may take over its part of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// From the first moment a request could come to the end of its headers; so also how long a connection may idle.
    pub head: Duration,
    /// For a body, however small it is (408).
    pub body: Duration,
    /// What a body must bring a second beyond that (408).
    pub body_bytes_per_sec_min: u64,
    /// Without taking a single byte of the answer; then the connection is closed.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            head: Duration::from_secs(30),
            body: Duration::from_secs(20),
            body_bytes_per_sec_min: 4 * 1024,
            answer: Duration::from_secs(60),
        }
    }
}
