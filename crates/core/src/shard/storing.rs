//! When the stored form of a session that is connected is written: by and by, so that a restart repeats less; or before
//! something goes out, where a restart could not repeat it.

use super::claims::ClaimingSession;
use super::connection::{Connection, ConnectionId, HeldBack, Phase};
use super::{Moment, Shard};
use crate::change::{Change, internal_row};
use crate::position::{Sequence, TableId};
use crate::proposal::{Durability, Proposals};

impl Shard {
    /// Takes what was just sent back out of the outbox until its identifiers are on disk: no log could tell them
    /// again after a crash.
    pub(super) fn hold(&mut self, id: ConnectionId, sent_before: usize) {
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        if connection.outbox.len() > sent_before {
            let sent = connection.outbox.split_off(sent_before);
            self.hold_back(id, sent);
        }
    }

    /// Keeps `sent` until the session is on disk as it is now, and what it has taken over from groups is claimed; nothing
    /// else with an identifier goes out meanwhile.
    pub(super) fn hold_back(&mut self, id: ConnectionId, sent: Vec<u8>) {
        let (seen, token, unique) = (self.seen, self.token(id.slot), self.number());
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        if let Some(session) = connection.session.as_mut().filter(|session| !session.is_durable()) {
            session.window.stored(); // Nothing of it is on disk, and nothing has to be.
            return connection.outbox.append(|out| out.extend_from_slice(&sent));
        }
        // What is held already goes first, and waits for the later of both.
        let mut bytes = connection.held.take().map(|held| held.bytes).unwrap_or_default();
        bytes.extend(sent);
        connection.held = Some(Box::new(HeldBack { token, bytes }));
        if let Some(session) = &mut connection.session {
            session.dirty = false;
            let stored = ClaimingSession::connected(session, seen, unique);
            self.proposals.push(Some(token), Durability::Sync, &stored.changes().collect::<Vec<_>>());
        }
    }

    /// Writes down sessions that have no other delivery before that.
    pub(super) fn store_full_sessions(&mut self, now: Moment) {
        for id in std::mem::take(&mut self.to_store) {
            self.pump(id, now);
        }
    }

    /// Writes down where durable sessions stand, so that a restart repeats less.
    pub(super) fn store_dirty_sessions(&mut self) {
        let seen = self.seen;
        for (_, connection) in &mut self.connections {
            store_if_dirty(connection, seen, &mut self.proposals);
        }
    }
}

pub(super) fn store_if_dirty(connection: &mut Connection, seen: Sequence, proposals: &mut Proposals) {
    let Some(session) = &mut connection.session else { return };
    if !session.dirty || !session.is_durable() || connection.phase != Phase::Open {
        return;
    }
    session.dirty = false;
    let stored = session.store(seen);
    proposals.push(None, Durability::Memory, &[session_row(&session.client_id, &stored, None)]);
}

/// The row a session is stored as. `expires_ms`: when it ends, once its connection has.
pub(super) fn session_row<'a>(client_id: &'a str, stored: &'a [u8], expires_ms: Option<u64>) -> Change<'a> {
    Change { expires_ms, ..internal_row(TableId::SESSIONS, client_id.as_bytes(), stored) }
}
