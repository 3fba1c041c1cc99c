//! `$SYS`: the figures and events of the node, for whoever watches.

use crate::server::{Application, Server};
use crate::tools::Tool;
use crate::wire::{Client, Connect, Version};
use std::collections::BTreeMap;

/// Figures come often.
const OFTEN: &str = "mqtt: { sysInterval: 100ms }";

#[test]
fn mosquitto_sees_the_figures_it_knows() {
    let server = Application::dogs().configured(OFTEN).start();
    let mut watcher = watch(&server, "$SYS/broker/#");
    let mut seen = BTreeMap::new();
    while seen.len() < KNOWN.len() {
        let line = watcher.line();
        let (topic, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
        if KNOWN.contains(&topic) {
            seen.insert(topic.to_owned(), value.to_owned());
        }
        if topic != "$SYS/broker/version" {
            value.parse::<f64>().unwrap_or_else(|_| panic!("{topic} is no number: {value}"));
        }
    }
    assert_eq!(seen["$SYS/broker/version"], concat!("rowcast ", env!("CARGO_PKG_VERSION")));
    assert_eq!(seen["$SYS/broker/clients/connected"], "1");
}

#[test]
fn figures_follow_what_happens() {
    let server = Application::dogs().configured(OFTEN).start();
    let mut watcher = server.connect("watcher");
    watcher.subscribe("$SYS/broker/#", 1);
    let mut writer = server.connect("writer");
    writer.publish("dog/1", r#"{"name":"Rex"}"#, 1, true);
    writer.publish("dog/2", r#"{"name":"Rex"}"#, 1, true);
    writer.publish("home/door", "open", 1, true);
    assert_eq!(writer.try_publish("dog/3", b"not JSON", 1, true, &[]), 0x99);
    let (away, _) = Connect::lasting(Version::V5, "away").resume(server.mqtt());
    away.disconnect();
    for (topic, value) in [
        ("publish/messages/received", "4"),
        ("publish/messages/rejected", "1"),
        ("publish/bytes/received", "40"),
        ("retained messages/count", "3"),
        ("clients/connected", "3"), // Who asks is one.
        ("clients/disconnected", "1"),
        ("clients/maximum", "3"),
        ("clients/total", "4"),
        ("subscriptions/count", "2"),
    ] {
        wait_for(&server, &format!("$SYS/broker/{topic}"), value);
    }
    writer.disconnect();
    wait_for(&server, "$SYS/broker/clients/connected", "2");
    drop(watcher);
}

#[test]
fn clients_come_and_go_as_events() {
    let server = Application::dogs().start();
    let mut watcher = server.connect("watcher");
    watcher.subscribe("$SYS/clients/+/+", 0);
    let connect = Connect::new(Version::V311, "kennel/7").with_keep_alive(30);
    let first = connect.open(server.mqtt());
    let event = watcher.receive();
    assert_eq!((&*event.topic, event.qos, event.retain), ("$SYS/clients/kennel%2F7/connected", 0, false));
    let event = event.json();
    assert_eq!(event["clientId"], "kennel/7");
    assert_eq!((&event["protocolVersion"], &event["keepAlive"]), (&4.into(), &30.into()));
    assert_eq!((&event["cleanStart"], &event["sessionPresent"]), (&true.into(), &false.into()));
    assert!(event["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{event}");
    assert!(event["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{event}");

    let second = connect.open(server.mqtt());
    let taken = watcher.receive();
    assert_eq!(taken.topic, "$SYS/clients/kennel%2F7/disconnected");
    assert_eq!(
        (taken.json()["clientId"].as_str(), taken.json()["reasonCode"].as_u64()),
        (Some("kennel/7"), Some(0x8E))
    );
    assert_eq!(watcher.receive().topic, "$SYS/clients/kennel%2F7/connected");
    drop(first);
    second.cut();
    let lost = watcher.receive();
    assert_eq!(lost.topic, "$SYS/clients/kennel%2F7/disconnected");
    assert!(lost.json()["reasonCode"].is_null(), "{}", lost.text());
    connect.open(server.mqtt()).disconnect();
    assert_eq!(watcher.receive().topic, "$SYS/clients/kennel%2F7/connected");
    assert_eq!(watcher.receive().json()["reasonCode"], 0);
}

#[test]
fn passwords_are_not_told() {
    let server = Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", "b0ne-under-tree").start();
    let admin = |id: &str| Connect::new(Version::V5, id).with_user("admin", "b0ne-under-tree").open(server.mqtt());
    let mut watcher = admin("watcher");
    watcher.subscribe("$SYS/#", 0);
    let connected = until_event(&mut watcher, || drop(admin("other")));
    assert!(connected.contains(r#""user":"admin""#), "{connected}");
    assert!(!connected.contains("b0ne"), "{connected}");
    assert!(!server.log().contains("b0ne"));
}

/// Of those Mosquitto documents, the ones it updates.
const KNOWN: [&str; 24] = [
    "$SYS/broker/version",
    "$SYS/broker/uptime",
    "$SYS/broker/clients/connected",
    "$SYS/broker/clients/disconnected",
    "$SYS/broker/clients/expired",
    "$SYS/broker/clients/maximum",
    "$SYS/broker/clients/total",
    "$SYS/broker/messages/received",
    "$SYS/broker/messages/sent",
    "$SYS/broker/messages/stored",
    "$SYS/broker/store/messages/count",
    "$SYS/broker/store/messages/bytes",
    "$SYS/broker/publish/messages/received",
    "$SYS/broker/publish/messages/sent",
    "$SYS/broker/publish/messages/dropped",
    "$SYS/broker/publish/bytes/received",
    "$SYS/broker/publish/bytes/sent",
    "$SYS/broker/bytes/received",
    "$SYS/broker/bytes/sent",
    "$SYS/broker/subscriptions/count",
    "$SYS/broker/shared_subscriptions/count",
    "$SYS/broker/retained messages/count",
    "$SYS/broker/load/messages/received/1min",
    "$SYS/broker/load/connections/15min",
];

fn watch(server: &Server, filter: &str) -> Tool {
    let port = server.mqtt().to_string();
    Tool::start("mosquitto_sub", &["-h", "127.0.0.1", "-p", &port, "-F", "%t: %p", "-t", filter])
}

/// Subscribes, and waits until the figure is `value`, now or later.
#[track_caller]
fn wait_for(server: &Server, topic: &str, value: &str) {
    let mut client = server.connect("asks");
    client.subscribe(topic, 0);
    while client.receive().text() != value {}
    client.disconnect();
}

/// What is said of the next client.
fn until_event(watcher: &mut Client, act: impl FnOnce()) -> String {
    act();
    loop {
        let said = watcher.receive();
        if said.topic.starts_with("$SYS/clients/") {
            return said.text().to_owned();
        }
    }
}
