//! A shard that puts in place and takes out two filters at a time, and lets a test say when it goes on.

use rowcast_codec::{
    Connect, ConnectProperties, Packet, PacketId, Subscribe, SubscribeFilter, SubscriptionOptions, Version,
};
use rowcast_core::catalog::Catalog;
use rowcast_core::limits::{LARGE_DOCUMENT_BYTES, Limits};
use rowcast_core::mqtt::session::{StoredSubscription, rows};
use rowcast_core::policy::{Policy, Principal};
use rowcast_core::reach::Reach;
use rowcast_core::schema::{Schema, Source};
use rowcast_core::session_quota::SessionQuota;
use rowcast_core::shard::{ConnectionId, Effect, Found, Input, Moment, Peer, Previous, Settings, Shard, StoredRows};
use rowcast_core::tables::Tables;
use rowcast_core::{Completion, Durability, Outcome, Sequence, TableId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The shard, and what it put off.
pub(crate) struct Few {
    pub(crate) shard: Shard,
    later: VecDeque<Input>,
    /// Whose client identifiers are.
    owners: BTreeMap<Box<str>, ConnectionId>,
    /// Who comes next.
    pub(crate) principal: Principal,
    /// Filters of the one session that the store holds.
    pub(crate) stored: Vec<&'static str>,
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
            large_document_bytes: LARGE_DOCUMENT_BYTES,
        };
        let policy = Arc::new(Policy::new(&BTreeMap::new(), &tables));
        let shard = Shard::new(settings, tables, policy, Sequence::ZERO);
        let principal = Principal { super_user: true, ..Principal::default() };
        Few { shard, later: VecDeque::new(), owners: BTreeMap::new(), principal, stored: Vec::new() }
    }

    /// A client whose session ends with its connection.
    pub(crate) fn connect(&mut self, client_id: &str) -> ConnectionId {
        self.connect_as(client_id, true, ConnectProperties::default())
    }

    /// The client that has a session, if there is one.
    pub(crate) fn come_back(&mut self) -> ConnectionId {
        let properties = ConnectProperties { session_expiry_secs: Some(60), ..ConnectProperties::default() };
        self.connect_as("back", false, properties)
    }

    fn connect_as(&mut self, client_id: &str, clean_start: bool, properties: ConnectProperties<'_>) -> ConnectionId {
        let trusted = Some(self.principal.clone().into());
        let id = self.shard.accept(Peer { trusted, ..Peer::default() }, NOW);
        let connect = Connect {
            version: Version::V5,
            is_bridge: false,
            clean_start,
            keep_alive_secs: 0,
            client_id,
            will: None,
            username: None,
            password: None,
            properties,
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

    pub(crate) fn lose(&mut self, id: ConnectionId) {
        self.shard.disconnected(id, NOW);
        self.answer();
    }

    /// Gives the shard what it asks for, but for what it put off. Whatever it proposes is done at once.
    fn answer(&mut self) {
        let mut effects = Vec::new();
        loop {
            self.shard.take_effects(&mut effects);
            if effects.is_empty() {
                match self.shard.take_proposals() {
                    Some(proposals) => {
                        let tokens = proposals.list.iter().filter_map(|proposal| proposal.token);
                        let outcome = Outcome::Done { sequence: Sequence(1), existed: None };
                        let completions = tokens.map(|token| Completion { token, outcome: outcome.clone() }).collect();
                        self.shard.input(Input::Committed { batch: None, completions }, NOW);
                        continue;
                    }
                    None => return,
                }
            }
            for effect in effects.drain(..) {
                match effect {
                    Effect::Claim { client_id, claimant, .. } => {
                        let connection = claimant.connection;
                        let input = match self.owners.insert(client_id, connection) {
                            Some(last) => Input::Evict { connection: last, claimant },
                            None => Input::Claimed { connection, previous: Previous::Unread },
                        };
                        self.shard.input(input, NOW);
                    }
                    Effect::Release { client_id, connection } => {
                        self.owners.retain(|owned, owner| (owned, *owner) != (&client_id, connection));
                    }
                    Effect::HandOff { claimant, session } => {
                        let previous = session.map_or(Previous::Unread, Previous::Live);
                        self.shard.input(Input::Claimed { connection: claimant.connection, previous }, NOW);
                    }
                    Effect::LoadSession { connection, .. } => {
                        let previous = Previous::Stored(stored_rows(&self.stored));
                        self.shard.input(Input::Claimed { connection, previous }, NOW);
                    }
                    Effect::ReadRecords { connection, .. } => {
                        self.shard
                            .input(Input::RecordsRead { connection, records: VecDeque::new(), complete: true }, NOW);
                    }
                    Effect::Later(input) => self.later.push_back(*input),
                    _ => {}
                }
            }
        }
    }

    /// Others had their turn. Whether there was something to go on with, which is one thing at a time.
    pub(crate) fn go_on(&mut self) -> bool {
        assert!(self.later.len() <= 1);
        self.go_on_with_any()
    }

    /// The same where there may be several: with the first.
    pub(crate) fn go_on_with_any(&mut self) -> bool {
        self.answer();
        let Some(input) = self.later.pop_front() else { return false };
        self.shard.input(input, NOW);
        self.answer();
        true
    }

    /// What waits for a client to be written: the types of its packets.
    pub(crate) fn written(&mut self, id: ConnectionId) -> Vec<u8> {
        let outbox = self.shard.outbox(id).expect("a connection");
        let mut bytes = Vec::new();
        while !outbox.is_empty() {
            let front = outbox.front().to_vec();
            outbox.advance(front.len());
            bytes.extend(front);
        }
        let mut found = Vec::new();
        let mut rest = &bytes[..];
        while let Ok(Some(length)) = rowcast_codec::frame_length(rest, u32::MAX) {
            found.push(rest[0] >> 4);
            rest = &rest[length..];
        }
        found
    }

    /// Deliveries among it.
    pub(crate) fn deliveries(&mut self, id: ConnectionId) -> usize {
        self.written(id).into_iter().filter(|&kind| kind == PUBLISH).count()
    }

    pub(crate) fn subscriptions(&self) -> u64 {
        self.shard.gauges().subscriptions
    }
}

fn stored_rows(filters: &[&str]) -> StoredRows {
    let options = StoredSubscription::new(SubscriptionOptions::default(), None);
    let value = serde_json::to_vec(&options).expect("plain data");
    let row = |filter: &&str| (rows::subscription("back", filter, &options), value.clone(), Sequence::ZERO);
    let session = br#"{"id":7,"expiry_secs":60,"position":0}"#.to_vec();
    StoredRows { session: Some(session), subscriptions: filters.iter().map(row).collect(), ..StoredRows::default() }
}

pub(crate) fn tables(name: &str) -> Arc<Tables> {
    let schema = format!("type {name} @table @export {{ id: ID @id }}");
    let schema = Schema::parse(&[Source::new("schema.graphql", &schema)]).expect("a schema");
    Arc::new(Tables::new(Catalog::new(schema), Durability::Sync, |table| TableId(64 + table.index.0)))
}

/// Types of packets (MQTT 5 §2.1.2).
pub(crate) const CONNACK: u8 = 2;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const DISCONNECT: u8 = 14;
pub(crate) const NOW: Moment =
    Moment { monotonic_ms: 0, wall_ms: 1_700_000_000_000, committed: Sequence(0), undecided: false };
