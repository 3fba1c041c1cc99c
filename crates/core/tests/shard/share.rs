//! A shared subscription whose member leaves and comes back before the shard that has the group hears of it. Groups under
//! load, with members that come and go in any order, are in the simulator (`crates/store/tests/simulate`).

use crate::Node;
use crate::node::{Setup, SocketId, Work};
use crate::store::Store;
use rowcast_codec::{
    Connect, ConnectProperties, Packet, PacketId, Publish, QoS, Subscribe, SubscribeFilter, SubscriptionOptions,
    Unsubscribe, Version, frame_length,
};
use rowcast_core::limits::Limits;

#[test]
fn a_message_goes_out_once_when_its_member_leaves_and_comes_back_at_once() {
    for member in 0..2 {
        let limits = Limits::default();
        let setup = Setup { shards: 2, limits, open_topics: true, close_on_rejected: false, seed: 1 };
        let mut node: Node = Node::new(setup, Store::default());
        let open = |node: &mut Node, client_id: &str, shard: usize| {
            let socket = node.connect(shard, true, false);
            send(node, socket, &connect(client_id));
            socket
        };
        let (m, other) = (open(&mut node, "m", member), open(&mut node, "other", member));
        let p = open(&mut node, "p", 1 - member);
        for socket in [m, other] {
            with_subscribe(|subscribe| send(&mut node, socket, subscribe));
            node.settle();
        }
        send(&mut node, p, &publish());
        node.perform(Work::Socket(p), usize::MAX);
        node.perform(Work::HandOver(1 - member), usize::MAX);
        node.perform(Work::Write, usize::MAX);
        // It leaves and comes back before the other shard, if that has the group, gives it what was written just now.
        let filters = [FILTER];
        let packet_id = PacketId::new(7).expect("not zero");
        let unsubscribe =
            Unsubscribe { packet_id, user_properties: Default::default(), filters: (&filters[..]).into() };
        send(&mut node, m, &Packet::Unsubscribe(unsubscribe));
        with_subscribe(|subscribe| send(&mut node, m, subscribe));
        node.perform(Work::Socket(m), usize::MAX);
        node.settle();
        let mut deliveries = 0;
        for socket in [m, other] {
            packets(&mut node, socket, |packet| deliveries += usize::from(matches!(packet, Packet::Publish(_))));
        }
        assert_eq!(deliveries, 1, "on shard {member}");
    }
}

const FILTER: &str = "$share/g/x/#";

fn connect(client_id: &str) -> Packet<'_> {
    Packet::Connect(Box::new(Connect {
        version: Version::V5,
        is_bridge: false,
        clean_start: false,
        keep_alive_secs: 0,
        client_id,
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    }))
}

fn publish() -> Packet<'static> {
    Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: "x/1",
        packet_id: PacketId::new(1),
        properties: Default::default(),
        payload: b"1",
    })
}

fn with_subscribe(send: impl FnOnce(&Packet<'_>)) {
    let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
    let filters = [SubscribeFilter { filter: FILTER, options }];
    let packet_id = PacketId::new(9).expect("not zero");
    let properties = Default::default();
    send(&Packet::Subscribe(Subscribe { packet_id, properties, filters: (&filters[..]).into() }));
}

fn send(node: &mut Node, socket: SocketId, packet: &Packet<'_>) {
    let mut bytes = Vec::new();
    packet.encode(Version::V5, &mut bytes).expect("fits");
    node.send(socket, &bytes);
}

/// Takes whole packets out of what a client received.
fn packets(node: &mut Node, socket: SocketId, mut each: impl FnMut(Packet<'_>)) {
    let bytes = std::mem::take(node.received(socket));
    let mut rest = bytes.as_slice();
    while let Ok(Some(length)) = frame_length(rest, u32::MAX)
        && rest.len() >= length
    {
        each(Packet::decode(Version::V5, &rest[..length]).expect("a packet"));
        rest = &rest[length..];
    }
    node.received(socket).extend_from_slice(rest);
}
