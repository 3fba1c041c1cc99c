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
    let (mut node, member, publisher) = member_and_publisher(u16::MAX);
    let (mut delivered, wanted) = (0, IN_DOUBT_MAX + 2000);
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

#[test]
fn where_a_session_cannot_be_stored_its_client_waits_for_no_more_than_that() {
    let (mut node, member, publisher) = member_and_publisher(1000);
    node.lose(member);
    let wanted = IN_DOUBT_MAX + 2000;
    for number in 0..wanted {
        send(&mut node, publisher, &format!("PUBLISH {} x qos=1 \"{number}\"", number + 1));
        if number % 100 == 99 {
            node.settle();
            node.received(publisher).clear();
        }
    }
    let member = node.connect(0, true, false);
    send(&mut node, member, "CONNECT v5 id=a expiry=60");
    node.settle();
    node.store.full = true;
    let mut delivered = 0;
    let mut acknowledge_all = |node: &mut Node| {
        loop {
            let last = delivered;
            delivered += deliveries(node, member);
            (last..delivered).for_each(|number| send(node, member, &format!("PUBACK {}", number + 1)));
            node.settle();
            if last == delivered {
                return delivered;
            }
        }
    };
    assert_eq!(acknowledge_all(&mut node), IN_DOUBT_MAX);
    node.advance(1000);
    node.settle();
    assert_eq!((acknowledge_all(&mut node), node.is_open(member)), (IN_DOUBT_MAX, true));
    node.store.full = false;
    node.advance(1000);
    node.settle();
    assert_eq!(acknowledge_all(&mut node), wanted);
}

#[test]
fn a_handshake_whose_delivery_was_not_found_again_goes_with_its_session() {
    let ways: [&[&str]; 2] = [&["CONNECT v5 id=a expiry=60", "DISCONNECT 0x00 expiry=0"], &["CONNECT v5 id=a"]];
    for way in ways {
        let (mut node, member, publisher) = member_and_publisher(10);
        for (socket, line) in
            [(member, "SUBSCRIBE 2 x qos=2"), (publisher, "PUBLISH 1 x qos=2 \"1\""), (member, "PUBREC 1")]
        {
            send(&mut node, socket, line);
            node.settle();
        }
        node.store.crash(false);
        node.restart();
        assert_eq!(node.store.found().handshakes.len(), 1);
        node.stopped.reads = true; // It does not come to where its delivery stands in the log.
        let member = node.connect(0, true, false);
        for line in way {
            send(&mut node, member, line);
            node.settle();
        }
        let found = node.store.found();
        assert_eq!((found.sessions.len(), found.handshakes.len()), (0, 0), "{way:?}");
    }
}

/// A node with a client that lasts and has `x` with QoS 1, and one that publishes.
fn member_and_publisher(inflight: u16) -> (Node, SocketId, SocketId) {
    let limits = Limits { inflight, ..Limits::default() };
    let setup = Setup { shards: 1, limits, open_topics: true, close_on_rejected: false, seed: 1 };
    let mut node: Node = Node::new(setup, Store::default());
    let [member, publisher] = [(); 2].map(|()| node.connect(0, true, false));
    for (socket, line) in
        [(member, "CONNECT v5 id=a expiry=60"), (member, "SUBSCRIBE 1 x qos=1"), (publisher, "CONNECT v5 id=p clean")]
    {
        send(&mut node, socket, line);
        node.settle();
    }
    (node, member, publisher)
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
