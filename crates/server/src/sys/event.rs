//! Clients that come and go, as JSON.

use rowcast_codec::{ReasonCode, Version};
use rowcast_core::shard::Arrival;
use rowcast_core::value::date_text;
use serde::Serialize;

/// What is said of a client that is let in.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connected<'a> {
    client_id: &'a str,
    user: Option<&'a str>,
    address: &'a str,
    protocol_version: u8,
    clean_start: bool,
    session_present: bool,
    /// Seconds; 4294967295 is for ever.
    session_expiry: u32,
    /// Seconds; 0 is none.
    keep_alive: u16,
    time: String,
}

impl<'a> Connected<'a> {
    pub(super) fn new(arrival: &'a Arrival, now_ms: u64) -> Connected<'a> {
        Connected {
            client_id: &arrival.client_id,
            user: arrival.user.as_deref(),
            address: &arrival.address,
            protocol_version: match arrival.version {
                Version::V31 => 3,
                Version::V311 => 4,
                Version::V5 => 5,
            },
            clean_start: arrival.clean_start,
            session_present: arrival.session_present,
            session_expiry: arrival.expiry_secs,
            keep_alive: arrival.keep_alive_secs,
            time: date_text(now_ms),
        }
    }
}

/// What is said of a client that is gone.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Disconnected<'a> {
    client_id: &'a str,
    user: Option<&'a str>,
    address: &'a str,
    /// What DISCONNECT said, the client's or ours, if there was one.
    reason_code: Option<u8>,
    reason: &'a str,
    time: String,
}

impl<'a> Disconnected<'a> {
    pub(super) fn new(
        (client_id, user, address): (&'a str, Option<&'a str>, &'a str),
        (code, reason): (Option<ReasonCode>, &'a str),
        now_ms: u64,
    ) -> Disconnected<'a> {
        Disconnected {
            client_id,
            user,
            address,
            reason_code: code.map(|code| code as u8),
            reason,
            time: date_text(now_ms),
        }
    }
}
