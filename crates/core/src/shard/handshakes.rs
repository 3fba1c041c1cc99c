//! PUBACK, PUBREC, PUBREL and PUBCOMP from a client: the steps behind a PUBLISH, ours or theirs.

use super::connection::{ConnectionId, Then};
use super::storing::session_row;
use super::{Moment, Shard};
use crate::change::{internal_delete, internal_row};
use crate::mqtt::session::rows;
use crate::mqtt::window::{Acknowledged, Awaited};
use crate::position::TableId;
use crate::proposal::Durability;
use rowcast_codec::{Ack, PacketId, ReasonCode};

impl Shard {
    pub(super) fn on_pubrel(&mut self, id: ConnectionId, ack: &Ack<'_>, now: Moment) {
        let Some(connection) = self.connection_mut(id) else { return };
        let Some(session) = &mut connection.session else { return };
        // What was received is remembered until PUBCOMP goes out.
        let known = session.received.contains(&ack.packet_id);
        if known && session.is_durable() {
            // The identifier is free only once a crash cannot bring it back as used.
            let key = rows::received(&session.client_id, ack.packet_id);
            let token = self.token(id.slot);
            let row = internal_delete(TableId::HANDSHAKES, &key);
            self.proposals.push(Some(token), Durability::Sync, &[row]);
            self.answer_later(id, Then::Pubcomp(ack.packet_id), token, now);
            return;
        }
        let reason = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        self.answer_now(id, Then::Pubcomp(ack.packet_id), reason, now);
    }

    pub(super) fn on_puback(&mut self, id: ConnectionId, ack: &Ack<'_>, now: Moment) {
        let Some(connection) = self.connection_mut(id) else { return };
        let Some(session) = &mut connection.session else { return };
        match session.window.puback(ack.packet_id) {
            Acknowledged::Done(shared) => {
                session.dirty = true;
                self.tell_done(shared); // Whatever the reason: who refuses it, refuses it for all [MQTT-4.8.2-6].
                self.pump(id, now);
            }
            Acknowledged::Unexpected => self.on_unexpected(id, Awaited::Puback, ack.packet_id, now),
            _ => {} // It is not under way, any more perhaps.
        }
    }

    pub(super) fn on_pubrec(&mut self, id: ConnectionId, ack: &Ack<'_>, now: Moment) {
        let Some(connection) = self.connection_mut(id) else { return };
        let Some(session) = &mut connection.session else { return };
        match session.window.pubrec(ack.packet_id, ack.reason.is_error()) {
            Acknowledged::Released => self.send_pubrel(id, ack.packet_id, now),
            Acknowledged::Again => self.answer_now(id, Then::Pubrel(ack.packet_id), ReasonCode::Success, now),
            Acknowledged::Done(shared) => {
                session.dirty = true;
                self.tell_done(shared);
                self.pump(id, now);
            }
            Acknowledged::Unknown if !ack.reason.is_error() => {
                self.answer_now(id, Then::Pubrel(ack.packet_id), ReasonCode::PacketIdentifierNotFound, now);
            }
            Acknowledged::Unknown => {}
            Acknowledged::Unexpected => self.on_unexpected(id, Awaited::Pubrec, ack.packet_id, now),
        }
    }

    /// A client that answers what it was not sent is in no state to go on from (MQTT 5 §4.13).
    fn on_unexpected(&mut self, id: ConnectionId, came: Awaited, packet: PacketId, now: Moment) {
        let session = self.session(id);
        let Some(awaited) = session.and_then(|session| session.window.awaited(packet)) else { return };
        let words = format!("{came} for packet identifier {}, which waits for {awaited}", packet.get());
        self.close(id, ReasonCode::ProtocolError, &words, now);
    }

    /// A delivery was released and goes on with PUBREL, once it is written down that PUBLISH must never go out again
    /// [MQTT-4.3.3-6], not even after a crash.
    pub(super) fn send_pubrel(&mut self, id: ConnectionId, packet: PacketId, now: Moment) {
        let Some(session) = self.session(id) else { return };
        if !session.is_durable() {
            return self.answer_now(id, Then::Pubrel(packet), ReasonCode::Success, now);
        }
        let key = rows::released(&session.client_id, packet);
        let token = self.token(id.slot);
        self.proposals.push(Some(token), Durability::Sync, &[internal_row(TableId::HANDSHAKES, &key, &[])]);
        self.answer_later(id, Then::Pubrel(packet), token, now);
    }

    pub(super) fn on_pubcomp(&mut self, id: ConnectionId, ack: &Ack<'_>, now: Moment) {
        let seen = self.seen;
        let Some(session) = self.session_mut(id) else { return };
        match session.window.awaited(ack.packet_id) {
            Some(Awaited::Pubcomp) => {}
            Some(_) => return self.on_unexpected(id, Awaited::Pubcomp, ack.packet_id, now),
            None => return self.on_doubtful_pubcomp(id, ack.packet_id, now),
        }
        session.redeliver.retain(|&number| PacketId::nth(number) != ack.packet_id);
        if !session.is_durable() {
            return self.finish_delivery(id, ack.packet_id, now);
        }
        // The row and the stored form change together, and before the delivery is over here: or a restart would find
        // the identifier released that is another delivery's by then.
        session.dirty = false;
        let key = rows::released(&session.client_id, ack.packet_id);
        let stored = session.store_without(seen, ack.packet_id);
        let client_id = session.client_id.clone();
        let rows = [internal_delete(TableId::HANDSHAKES, &key), session_row(&client_id, &stored, None)];
        let token = self.token(id.slot);
        self.proposals.push(Some(token), Durability::Memory, &rows);
        self.answer_later(id, Then::Finished(ack.packet_id), token, now);
    }

    /// PUBCOMP came for a delivery, and is written down where that is needed.
    pub(super) fn finish_delivery(&mut self, id: ConnectionId, packet: PacketId, now: Moment) {
        let Some(session) = self.session_mut(id) else { return };
        if let Acknowledged::Done(shared) = session.window.pubcomp(packet) {
            session.dirty |= session.is_durable();
            self.tell_done(shared);
            self.pump(id, now);
        }
    }
}
