//! What sessions have taken over from groups, as they say it to those: a claim is a row of its own, written together with a
//! stored form of the session that says that there is nothing to be claimed any more.

use super::storing::session_row;
use crate::change::{Change, internal_row};
use crate::mqtt::session::Session;
use crate::position::{Sequence, TableId};
use rowcast_codec::QoS;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A row of [`TableId::CLAIMS`], in JSON: messages of one group that a session has taken over. Its key is the group's, a
/// zero byte, and a number that no other has: a message can be claimed again, after a session has ended that did.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    /// The number of the session.
    pub session: u64,
    pub numbers: Vec<u64>,
    /// Those with QoS 2: nobody else gets them, whatever becomes of the session [MQTT-4.8.2-5].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub once: Vec<u64>,
}

impl Claims {
    /// The group in the key of a row.
    pub(super) fn group_of(key: &[u8]) -> Option<&str> {
        let end = key.iter().position(|&byte| byte == 0)?;
        std::str::from_utf8(&key[..end]).ok()
    }
}

/// A session as it is written where it may have something to claim: its own row, and one for each group that it has taken
/// something over from.
pub(super) struct ClaimingSession {
    client_id: Box<str>,
    stored: Vec<u8>,
    expires_ms: Option<u64>,
    claims: Vec<(Vec<u8>, Vec<u8>)>,
}

impl ClaimingSession {
    /// While its client is connected. `unique`: a number that no other claim has.
    pub(super) fn connected(session: &Session, seen: Sequence, unique: u64) -> ClaimingSession {
        ClaimingSession::new(session, session.store_with_claims(seen), None, unique)
    }

    /// Once its client is gone. `expires_ms`: when it ends, in milliseconds since 1970; `None`: never.
    pub(super) fn left(session: &Session, seen: Sequence, expires_ms: Option<u64>, unique: u64) -> ClaimingSession {
        ClaimingSession::new(session, session.store_left(seen), expires_ms, unique)
    }

    fn new(session: &Session, stored: Vec<u8>, expires_ms: Option<u64>, unique: u64) -> ClaimingSession {
        let mut claims: BTreeMap<&str, Claims> = BTreeMap::new();
        for (shared, qos) in session.window.unclaimed() {
            let new = || Claims { session: session.id.0, numbers: Vec::new(), once: Vec::new() };
            let of_group = claims.entry(&shared.group).or_insert_with(new);
            of_group.numbers.push(shared.number);
            of_group.once.extend((qos == QoS::ExactlyOnce).then_some(shared.number));
        }
        let row = |(group, claims): (&str, Claims)| {
            let key = [group.as_bytes(), &[0], &unique.to_be_bytes()].concat();
            (key, serde_json::to_vec(&claims).expect("claims are plain data"))
        };
        let claims = claims.into_iter().map(row).collect();
        ClaimingSession { client_id: session.client_id.clone(), stored, expires_ms, claims }
    }

    /// What is to be proposed, in one piece.
    pub(super) fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        let session = session_row(&self.client_id, &self.stored, self.expires_ms);
        let claims = self.claims.iter().map(|(key, value)| internal_row(TableId::CLAIMS, key, value));
        std::iter::once(session).chain(claims)
    }
}
