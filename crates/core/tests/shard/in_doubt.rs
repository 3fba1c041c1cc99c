//! How much of what a client was sent a crash can leave in doubt: a session is on disk again before there is too much.

use crate::Node;
use crate::node::{Keep, Setup, SocketId};
use crate::store::Store;
use crate::text;
use rowcast_codec::{Packet, Version, frame_length};
use rowcast_core::limits::{IN_DOUBT_MAX, Limits};
use rowcast_core::mqtt::session::StoredSession;

#[test]
fn a_session_is_on_disk_before_more_of_its_deliveries_are_in_doubt_than_are_left_out() {
    let limits = Limits { inflight: u16::MAX, ..Limits::default() };
    let setup = Setup { shards: 1, limits, open_topics: true, close_on_rejected: false, seed: 1 };
    let mut node: Node = Node::new(setup, Store::default());
    let [member, publisher] = [(); 2].map(|()| node.connect(0, true, false));
    for (socket, line) in
        [(member, "CONNECT v5 id=a expiry=60"), (member, "SUBSCRIBE 1 x qos=1"), (publisher, "CONNECT v5 id=p clean")]
    {
        send(&mut node, socket, line);
        node.settle();
    }
    let (mut delivered, wanted) = (0, 2 * IN_DOUBT_MAX + 1000);
    for number in 0..wanted {
        send(&mut node, publisher, &format!("PUBLISH {} x qos=1 \"{number}\"", number % 60_000 + 1));
        if number % 100 == 99 {
            node.settle();
            delivered += deliveries(&mut node, member);
            node.received(publisher).clear();
            let in_doubt = delivered - stored_count(&node);
            assert!(in_doubt <= IN_DOUBT_MAX, "{in_doubt} of {delivered}");
        }
    }
    node.settle();
    assert_eq!(delivered + deliveries(&mut node, member), wanted);
}

/// How many deliveries the form of the only session says that were made.
fn stored_count(node: &Node) -> u64 {
    let found = node.store.found();
    let [(_, row)] = &found.sessions[..] else { panic!("one session lasts") };
    serde_json::from_slice::<StoredSession>(row).expect("a session").count
}

/// How many messages a client has received since it was asked last.
fn deliveries(node: &mut Node, socket: SocketId) -> u64 {
    let bytes = std::mem::take(node.received(socket));
    let (mut rest, mut count) = (bytes.as_slice(), 0);
    while let Ok(Some(length)) = frame_length(rest, u32::MAX)
        && rest.len() >= length
    {
        let packet = Packet::decode(Version::V5, &rest[..length]).expect("a packet");
        count += u64::from(matches!(packet, Packet::Publish(_)));
        rest = &rest[length..];
    }
    node.received(socket).extend_from_slice(rest);
    count
}

fn send(node: &mut Node, socket: SocketId, line: &str) {
    let bytes = text::encode(line, "", &mut Version::V5.clone()).expect("a packet");
    node.send(socket, &bytes);
}
