//! A session with many subscriptions, while its filters are put in place a few at a time. What is delivered behind that is
//! in the scripts, and in the simulator, whose shards put in place two at a time as well.

use crate::few::{CONNACK, DISCONNECT, Few, NOW, tables};
use rowcast_codec::{Packet, Publish};
use rowcast_core::policy::{Policy, Principal, Role, TopicGrant};
use rowcast_core::shard::Input;
use std::collections::BTreeMap;
use std::sync::Arc;

#[test]
fn filters_are_put_in_place_a_few_at_a_time_while_others_are_served() {
    let mut few = with_session();
    let other = few.connect("other");
    few.subscribe(other, &["x/0"]);
    few.written(other);
    let back = few.come_back();
    for in_place in [2, 4] {
        assert_eq!((few.subscriptions(), few.written(back)), (1 + in_place, vec![]));
        assert!(few.shard.state(back).is_some_and(|state| !state.reads), "its packets wait");
        few.send(other, &Packet::Publish(Publish { topic: "x/0", payload: b"p", ..Publish::default() }));
        assert_eq!((few.deliveries(other), few.written(back)), (1, vec![]));
        assert!(few.go_on());
    }
    assert_eq!((few.subscriptions(), few.written(back), few.go_on()), (6, vec![CONNACK], false));
    few.send(other, &Packet::Publish(Publish { topic: "x/0", payload: b"p", ..Publish::default() }));
    assert_eq!((few.deliveries(other), few.deliveries(back)), (1, 1));
}

#[test]
fn a_session_is_handed_over_a_few_filters_at_a_time() {
    let mut few = with_session();
    let first = few.come_back();
    while few.go_on() {}
    let next = few.come_back();
    assert_eq!(few.written(first), [CONNACK, DISCONNECT]);
    assert_eq!((few.subscriptions(), few.written(next)), (3 + 2, vec![]), "two of five are out, and two in place");
    while few.go_on_with_any() {}
    assert_eq!((few.subscriptions(), few.written(next)), (5, vec![CONNACK]));
}

#[test]
fn who_goes_before_all_filters_are_in_place_leaves_none_behind() {
    let mut few = with_session();
    let gone = few.come_back();
    assert_eq!(few.subscriptions(), 2);
    assert!(few.go_on());
    few.lose(gone);
    let next = few.connect("next");
    assert_ne!(next.slot, gone.slot, "its place is not another's while filters are still there");
    while few.go_on_with_any() {}
    assert_eq!((few.subscriptions(), few.connect("last").slot), (0, gone.slot));
    let back = few.come_back();
    while few.go_on() {}
    assert_eq!((few.subscriptions(), few.written(back)), (5, vec![CONNACK]));
}

#[test]
fn other_tables_in_the_middle_hold_for_all_filters() {
    let mut few = Few::new();
    few.stored = vec!["Dog/1", "cat/1", "dog/2", "Cat/2", "Cat/3"];
    let (back, other) = (few.come_back(), few.connect("other"));
    few.shard.input(Input::Tables(tables("Cat")), NOW);
    while few.go_on() {}
    assert_eq!((few.subscriptions(), few.written(back)), (5, vec![CONNACK]));
    for topic in ["Dog/1", "cat/1", "Cat/1", "dog/2", "cat/2", "Cat/3"] {
        few.send(other, &Packet::Publish(Publish { topic, payload: b"{}", ..Publish::default() }));
        assert_eq!(few.deliveries(back), 1, "{topic}");
    }
    few.lose(back);
    while few.go_on() {}
    assert_eq!(few.subscriptions(), 0);
}

#[test]
fn a_role_that_changes_in_the_middle_holds_for_all_filters() {
    let mut few = with_session();
    let other = few.connect("other");
    few.principal = Principal { role: "reader".into(), ..Principal::default() };
    few.shard.input(Input::Policy(reader_of("x/#")), NOW);
    let back = few.come_back();
    assert!(few.go_on());
    few.shard.input(Input::Policy(reader_of("x/3")), NOW);
    while few.go_on() {}
    assert_eq!(few.written(back), [CONNACK]);
    for (topic, delivered) in [("x/0", 0), ("x/1", 0), ("x/2", 0), ("x/3", 1), ("x/4", 0)] {
        few.send(other, &Packet::Publish(Publish { topic, payload: b"p", ..Publish::default() }));
        assert_eq!(few.deliveries(back), delivered, "{topic}");
    }
}

#[test]
fn a_node_stops_with_filters_not_in_place() {
    let mut few = with_session();
    let back = few.come_back();
    few.shard.input(Input::Shutdown, NOW);
    assert!(few.shard.is_quiet() && few.shard.state(back).is_some_and(|state| state.closes));
}

/// A shard whose store has a session of five filters.
fn with_session() -> Few {
    let mut few = Few::new();
    few.stored = vec!["x/0", "x/1", "x/2", "x/3", "x/4"];
    few
}

/// Who has the role `reader` may listen to no other topics.
fn reader_of(filter: &str) -> Arc<Policy> {
    let topics = vec![TopicGrant { filter: filter.into(), read: true, publish: false }];
    let reader = Role { topics, ..Role::default() };
    Arc::new(Policy::new(&BTreeMap::from([("reader".into(), reader)]), &tables("Dog")))
}
