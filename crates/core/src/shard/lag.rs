//! Clients that do not keep up with events that stand in no log. While one lags, what it wants is logged, wherever on
//! the node it is published, so that it can read it from there at its own pace like everything else; what was under
//! way before all shards had heard of it waits in its queue. See `docs/decisions/0012-slow-readers.md`.

use super::connection::ConnectionId;
use super::{Effect, Shard};
use crate::limits::TRANSIT_BYTES_MAX;
use crate::mqtt::session::Flow;
use rowcast_codec::QoS;

/// Filters, as they were spelled, whose events are to be logged from now on, or need not be any more: what one shard
/// tells the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lag {
    /// Somebody who wants them lags behind.
    Begins(Vec<Box<str>>),
    /// And is level again, or gone.
    Ends(Vec<Box<str>>),
}

impl Shard {
    /// Bytes of events that stand in no log and may wait for one client or group: as much again as may wait in its
    /// outbox, and what is under way when it begins to lag.
    pub(super) fn queue_bytes_max(&self) -> usize {
        let packets = (self.packet_bytes_ever as usize).saturating_mul(self.settings.shards as usize);
        (self.settings.limits.outbound_bytes as usize + TRANSIT_BYTES_MAX).saturating_add(packets)
    }

    /// A client lets an event on `topic` wait that stands in no log.
    pub(super) fn begin_lag(&mut self, id: ConnectionId, topic: &str) {
        if self.durable.wants(topic) {
            return; // It was under way before. What follows is logged.
        }
        let Some(connection) = self.connection_mut(id) else { return };
        let Some(session) = &connection.session else { return };
        let held = session.subscriptions.iter();
        let kept = held.filter(|(_, held)| held.share.is_none() && held.subscription.qos > QoS::AtMostOnce);
        let new = kept.map(|(spelled, _)| spelled.clone()).filter(|spelled| !connection.lagging.contains(spelled));
        let new: Vec<Box<str>> = new.collect();
        connection.lagging.extend(new.iter().cloned());
        self.tell_lag(Lag::Begins(new));
    }

    /// Clients that are level with the log again need not be waited for any more. Not at once, so that one that is just
    /// too slow does not come and go with every message.
    pub(super) fn end_lags(&mut self) {
        let level = |connection: &super::Connection| {
            let session = connection.session.as_ref();
            connection.queue.is_empty() && session.is_some_and(|session| session.flow == Flow::Live)
        };
        let lagging = self.connections.iter().filter(|(_, connection)| !connection.lagging.is_empty());
        let level = lagging.filter(|(_, connection)| level(connection));
        let ids: Vec<ConnectionId> = level.map(|(slot, connection)| super::id_of(slot, connection)).collect();
        for id in ids {
            self.end_lag(id);
        }
    }

    /// A client is level with the log again, or gone.
    pub(super) fn end_lag(&mut self, id: ConnectionId) {
        let Some(connection) = self.connection_mut(id) else { return };
        let filters = std::mem::take(&mut connection.lagging);
        self.tell_lag(Lag::Ends(filters));
    }

    /// To this shard at once, and to the others.
    pub(super) fn tell_lag(&mut self, lag: Lag) {
        if let Lag::Begins(filters) | Lag::Ends(filters) = &lag
            && filters.is_empty()
        {
            return;
        }
        self.on_lag(&lag);
        if self.settings.shards > 1 {
            self.effects.push(Effect::Lag(lag));
        }
    }

    /// What a shard has to say of who lags.
    pub(super) fn on_lag(&mut self, lag: &Lag) {
        match lag {
            Lag::Begins(filters) => filters.iter().for_each(|filter| self.durable.hold(&self.tables, filter)),
            Lag::Ends(filters) => filters.iter().for_each(|filter| self.durable.release(&self.tables, filter)),
        }
    }
}
