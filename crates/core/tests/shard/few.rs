//! A shard that takes out two filters at a time, and lets a test say when it goes on.

use rowcast_codec::{Connect, ConnectProperties, Packet, PacketId, Subscribe, Version};
use rowcast_codec::{SubscribeFilter, SubscriptionOptions};
use rowcast_core::catalog::Catalog;
use rowcast_core::limits::Limits;
use rowcast_core::policy::{Policy, Principal};
use rowcast_core::reach::Reach;
use rowcast_core::schema::{Schema, Source};
use rowcast_core::session_quota::SessionQuota;
use rowcast_core::shard::{ConnectionId, Effect, Found, Input, Moment, Peer, Previous, Settings, Shard};
use rowcast_core::tables::Tables;
use rowcast_core::{Durability, Sequence, TableId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A shard that takes out two filters at a time, and what it put off.
pub(crate) struct Few {
    pub(crate) shard: Shard,
    later: Vec<Input>,
}

impl Few {
    pub(crate) fn new() -> Few {
        let tables = tables("Dog");
        let settings = Settings {
            index: 0,
            shards: 1,
            limits: Limits::default(),
            open_topics: true,
            close_on_rejected: true,
            seed: 1,
            reach: Reach::new(1),
            session_quota: SessionQuota::restored(1, &Found::default(), Sequence::ZERO),
            arrivals: Arc::default(),
            filters_at_once: 2,
        };
        let policy = Arc::new(Policy::new(&BTreeMap::new(), &tables));
        Few { shard: Shard::new(settings, tables, policy, Sequence::ZERO), later: Vec::new() }
    }

    pub(crate) fn connect(&mut self, client_id: &str) -> ConnectionId {
        let trusted = Some(Principal { super_user: true, ..Principal::default() }.into());
        let id = self.shard.accept(Peer { trusted, ..Peer::default() }, NOW);
        let connect = Connect {
            version: Version::V5,
            is_bridge: false,
            clean_start: true,
            keep_alive_secs: 0,
            client_id,
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties::default(),
        };
        self.send(id, &Packet::Connect(Box::new(connect)));
        id
    }

    pub(crate) fn subscribe(&mut self, id: ConnectionId, filters: &[&str]) {
        let options = SubscriptionOptions::default();
        let filters: Vec<_> = filters.iter().map(|&filter| SubscribeFilter { filter, options }).collect();
        let packet_id = PacketId::nth(0);
        let subscribe = Subscribe { packet_id, properties: Default::default(), filters: (&filters[..]).into() };
        self.send(id, &Packet::Subscribe(subscribe));
    }

    pub(crate) fn send(&mut self, id: ConnectionId, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(Version::V5, &mut bytes).expect("it has a form");
        self.shard.receive(id, &bytes, NOW);
        self.answer();
    }

    /// Gives the shard what it asks for, but for what it put off.
    fn answer(&mut self) {
        let mut effects = Vec::new();
        loop {
            self.shard.take_effects(&mut effects);
            if effects.is_empty() {
                return;
            }
            for effect in effects.drain(..) {
                match effect {
                    Effect::Claim { claimant, .. } => {
                        let connection = claimant.connection;
                        self.shard.input(Input::Claimed { connection, previous: Previous::Unread }, NOW);
                    }
                    Effect::ReadRecords { connection, .. } => {
                        self.shard
                            .input(Input::RecordsRead { connection, records: VecDeque::new(), complete: true }, NOW);
                    }
                    Effect::Later(input) => self.later.push(*input),
                    _ => {}
                }
            }
        }
    }

    /// Others had their turn. Whether there was something to go on with.
    pub(crate) fn go_on(&mut self) -> bool {
        self.answer();
        assert!(self.later.len() <= 1, "one thing at a time");
        let Some(input) = self.later.pop() else { return false };
        self.shard.input(input, NOW);
        self.answer();
        true
    }

    /// Deliveries that wait for a client to be written.
    pub(crate) fn deliveries(&mut self, id: ConnectionId) -> usize {
        let outbox = self.shard.outbox(id).expect("a connection");
        let mut bytes = Vec::new();
        while !outbox.is_empty() {
            let front = outbox.front().to_vec();
            outbox.advance(front.len());
            bytes.extend(front);
        }
        let mut found = 0;
        let mut rest = &bytes[..];
        while let Ok(Some(length)) = rowcast_codec::frame_length(rest, u32::MAX) {
            found += usize::from(rest[0] >> 4 == 3);
            rest = &rest[length..];
        }
        found
    }

    pub(crate) fn subscriptions(&self) -> u64 {
        self.shard.gauges().subscriptions
    }
}

pub(crate) fn tables(name: &str) -> Arc<Tables> {
    let schema = format!("type {name} @table @export {{ id: ID @id }}");
    let schema = Schema::parse(&[Source::new("schema.graphql", &schema)]).expect("a schema");
    Arc::new(Tables::new(Catalog::new(schema), Durability::Sync, |table| TableId(64 + table.index.0)))
}

pub(crate) const NOW: Moment =
    Moment { monotonic_ms: 0, wall_ms: 1_700_000_000_000, committed: Sequence(0), undecided: false };
