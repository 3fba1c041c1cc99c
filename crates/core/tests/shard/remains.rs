//! What a client with many subscriptions leaves behind, while it is taken out a few at a time. Takeovers and restarts in
//! the middle are in the conversations and in the simulator, whose shards take out two at a time.

use rowcast_codec::{
    Connect, ConnectProperties, Disconnect, Packet, PacketId, Publish, ReasonCode, Subscribe, Version,
};
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
struct Few {
    shard: Shard,
    later: Vec<Input>,
}

impl Few {
    fn new() -> Few {
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

    fn connect(&mut self, client_id: &str) -> ConnectionId {
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

    fn subscribe(&mut self, id: ConnectionId, filters: &[&str]) {
        let options = SubscriptionOptions::default();
        let filters: Vec<_> = filters.iter().map(|&filter| SubscribeFilter { filter, options }).collect();
        let packet_id = PacketId::nth(0);
        let subscribe = Subscribe { packet_id, properties: Default::default(), filters: (&filters[..]).into() };
        self.send(id, &Packet::Subscribe(subscribe));
    }

    fn send(&mut self, id: ConnectionId, packet: &Packet<'_>) {
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
    fn go_on(&mut self) -> bool {
        self.answer();
        assert!(self.later.len() <= 1, "one thing at a time");
        let Some(input) = self.later.pop() else { return false };
        self.shard.input(input, NOW);
        self.answer();
        true
    }

    /// Deliveries that wait for a client to be written.
    fn deliveries(&mut self, id: ConnectionId) -> usize {
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

    fn subscriptions(&self) -> u64 {
        self.shard.gauges().subscriptions
    }
}

#[test]
fn a_place_is_not_another_s_while_filters_are_still_there() {
    let mut few = Few::new();
    let (gone, other) = (few.connect("gone"), few.connect("other"));
    few.subscribe(gone, &MANY);
    few.subscribe(other, &["x/4"]);
    few.shard.disconnected(gone, NOW);
    assert_eq!((few.subscriptions(), few.shard.connections()), (4, 1));
    assert!(few.shard.state(gone).is_none(), "it is closed for all who ask");
    let next = few.connect("next");
    assert_ne!(next.slot, gone.slot);
    few.subscribe(next, &["x/+"]);
    for left in [3, 2] {
        few.send(other, &Packet::Publish(Publish { topic: "x/4", payload: b"p", ..Publish::default() }));
        assert_eq!((few.deliveries(other), few.deliveries(next)), (1, 1));
        assert!(few.go_on());
        assert_eq!(few.subscriptions(), left);
    }
    assert!(!few.go_on());
    assert_eq!((few.connect("last").slot, few.shard.connections()), (gone.slot, 3));
}

#[test]
fn filters_may_be_gone_before_the_socket_is() {
    let mut few = Few::new();
    let gone = few.connect("gone");
    few.subscribe(gone, &MANY);
    few.send(gone, &Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
    while few.go_on() {}
    assert_eq!((few.subscriptions(), few.shard.connections()), (0, 1));
    few.shard.disconnected(gone, NOW);
    assert_eq!((few.connect("next").slot, few.shard.connections()), (gone.slot, 1));
}

#[test]
fn the_next_to_leave_waits_behind_the_first() {
    let mut few = Few::new();
    let (one, other) = (few.connect("one"), few.connect("other"));
    for id in [one, other] {
        few.subscribe(id, &MANY);
    }
    for id in [one, other] {
        few.shard.disconnected(id, NOW);
    }
    let mut left = vec![few.subscriptions()];
    while few.go_on() {
        left.push(few.subscriptions());
    }
    assert_eq!((left, few.shard.connections()), (vec![8, 6, 4, 2, 0, 0], 0));
}

#[test]
fn no_more_is_left_than_may_be() {
    let mut few = Few::new();
    let filters: Vec<String> = (0..1000).map(|filter| format!("x/{filter}")).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    let left = |clients: u32| {
        let ids: Vec<ConnectionId> = (0..clients).map(|client| few.connect(&format!("client{client}"))).collect();
        ids.iter().for_each(|&id| few.subscribe(id, &filters));
        ids.iter().for_each(|&id| few.shard.disconnected(id, NOW));
        let left = few.subscriptions();
        while few.go_on() {}
        assert_eq!(few.subscriptions(), 0);
        left
    };
    assert_eq!([2, 3, 10].map(left), [1998; 3]);
}

#[test]
fn other_tables_in_the_middle_leave_nothing_behind() {
    let mut few = Few::new();
    let gone = few.connect("gone");
    few.subscribe(gone, &["Dog/1", "dog/2", "Dog/+", "Cat/1", "cat/2"]);
    few.shard.disconnected(gone, NOW);
    few.shard.input(Input::Tables(tables("Cat")), NOW);
    while few.go_on() {}
    assert_eq!(few.subscriptions(), 0);
}

#[test]
fn a_node_stops_with_filters_still_there() {
    let mut few = Few::new();
    let gone = few.connect("gone");
    few.subscribe(gone, &MANY);
    few.shard.disconnected(gone, NOW);
    few.shard.input(Input::Shutdown, NOW);
    assert!(few.shard.is_quiet() && few.shard.connections() == 0);
}

fn tables(name: &str) -> Arc<Tables> {
    let schema = format!("type {name} @table @export {{ id: ID @id }}");
    let schema = Schema::parse(&[Source::new("schema.graphql", &schema)]).expect("a schema");
    Arc::new(Tables::new(Catalog::new(schema), Durability::Sync, |table| TableId(64 + table.index.0)))
}

const MANY: [&str; 5] = ["x/0", "x/1", "x/2", "x/3", "x/4"];
const NOW: Moment = Moment { monotonic_ms: 0, wall_ms: 1_700_000_000_000, committed: Sequence(0), undecided: false };
