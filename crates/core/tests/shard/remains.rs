//! What a client with many subscriptions leaves behind, while it is taken out a few at a time. Takeovers and restarts in
//! the middle are in the conversations and in the simulator, whose shards take out two at a time.

use crate::few::{Few, NOW, tables};
use rowcast_codec::{Disconnect, Packet, Publish, ReasonCode};
use rowcast_core::shard::{ConnectionId, Input};

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

const MANY: [&str; 5] = ["x/0", "x/1", "x/2", "x/3", "x/4"];
