//! A session interrupted by a crash whose log was cut before it had read again what it may have been sent (decision 13).

use super::connection::ConnectionId;
use super::deliver::send_pubrel;
use super::{Moment, Shard};
use crate::change::internal_delete;
use crate::limits::IN_DOUBT_MAX;
use crate::mqtt::session::{Flow, rows};
use crate::position::{Sequence, TableId};
use crate::proposal::Durability;
use rowcast_codec::PacketId;

impl Shard {
    /// The log was cut where the client may have been sent some of it already, by a connection that ended with its node.
    /// What of it was sent, and under which identifiers, the log could have told. So all that is in doubt counts as lost,
    /// replays as well, and its identifiers as taken; `until`: no less than that is lost.
    pub(super) fn give_up_doubt(&mut self, id: ConnectionId, until: Sequence, oldest: Sequence) {
        let seen = self.seen;
        let Some(session) = self.session_mut(id) else { return };
        let position = session.position(seen);
        let until = until.max(session.in_doubt).max(position);
        if session.may_be_sent_exactly_once() {
            session.window.doubt(IN_DOUBT_MAX);
        }
        let released = session.window.leave_out(IN_DOUBT_MAX);
        session.redeliver.extend(released);
        session.inherit_ended();
        session.flow = Flow::Behind { after: until };
        let replays = session.give_up_replays();
        self.show_missed(id, (position, until), oldest, &replays);
        self.hold_back(id, Vec::new()); // Or the next crash would leave out the same ones.
    }

    /// Sends PUBREL for identifiers that come next and that the client may hold.
    pub(super) fn release_doubtful(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        let Some(session) = &mut connection.session else { return };
        for packet in session.window.release_doubtful() {
            send_pubrel(&mut connection.outbox, connection.version, &mut self.counters, packet);
        }
        self.wake(id);
    }

    /// PUBCOMP came for an identifier without a delivery.
    pub(super) fn on_doubtful_pubcomp(&mut self, id: ConnectionId, packet: PacketId, now: Moment) {
        let Some(session) = self.session_mut(id) else { return };
        let Some(is_last) = session.window.pubcomp_doubtful(packet) else { return };
        if session.window.forget_released(packet) {
            let key = rows::released(&session.client_id, packet);
            self.proposals.push(None, Durability::Memory, &[internal_delete(TableId::HANDSHAKES, &key)]);
        }
        if is_last {
            // A crash must not have them released once more, when they are those of other messages by then.
            self.hold_back(id, Vec::new());
            self.pump(id, now);
        }
    }
}
