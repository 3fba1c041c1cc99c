//! Last wills: spoken when a client goes without goodbye, also when the server does.

use crate::server::{Application, until};
use crate::wire::{Connect, Version, Will, numbers, packet, property};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

#[test]
fn a_will_is_published_when_the_connection_breaks_and_not_after_a_goodbye() {
    let server = Application::dogs().start();
    for version in VERSIONS {
        let mut reader = server.connect("");
        reader.subscribe(&format!("will/{version:?}/#"), 2);
        reader.subscribe("dog/end", 1);
        for (qos, retain) in [(0, false), (1, true), (2, true)] {
            let topic = format!("will/{version:?}/{qos}");
            let connect = Connect::new(version, "").with_will(&topic, "gone", qos, retain);
            connect.open(server.mqtt()).cut();
            let seen = reader.receive();
            assert_eq!((&*seen.topic, seen.text(), seen.qos, seen.retain), (&*topic, "gone", qos, false));
            assert_eq!(server.get(&format!("/$topics/{topic}")).status, if retain { 200 } else { 404 });
            connect.open(server.mqtt()).disconnect();
            crate::sessions::assert_nothing_more(&mut reader, &mut server.connect(""));
        }
    }
}

#[test]
fn disconnecting_with_will_publishes_it() {
    let server = Application::dogs().start();
    let mut reader = server.connect("");
    reader.subscribe("will", 1);
    let mut client = Connect::new(Version::V5, "").with_will("will", "asked for", 1, false).open(server.mqtt());
    client.send(&packet(0xE0, &[0x04]));
    client.rest();
    assert_eq!(reader.receive().text(), "asked for");
}

#[test]
fn a_will_on_a_record_is_a_put() {
    let server = Application::dogs().start();
    Connect::new(Version::V5, "").with_will("dog/1", r#"{"name":"gone"}"#, 1, true).open(server.mqtt()).cut();
    until("the will is a record", || match server.get("/dog/1").status {
        200 => Ok(()),
        status => Err(status),
    });
    assert_eq!(server.record("/dog/1"), serde_json::json!({"id": "1", "name": "gone"}));
}

#[test]
fn a_takeover_ends_the_old_connection_with_its_will() {
    let server = Application::dogs().start();
    let mut reader = server.connect("");
    reader.subscribe("will", 1);
    let connect = Connect::new(Version::V311, "twin").with_will("will", "taken over", 1, false);
    let _first = connect.open(server.mqtt());
    let second = Connect::new(Version::V311, "twin").open(server.mqtt());
    assert_eq!(reader.receive().text(), "taken over");
    second.disconnect();
}

#[test]
fn a_will_may_wait_and_is_dropped_if_the_client_returns() {
    let server = Application::dogs().start();
    let mut reader = server.connect("");
    reader.subscribe("will", 1);
    let mut connect = Connect::lasting(Version::V5, "late").with_will("will", "late", 1, false);
    let delayed = |seconds| {
        Some(Will {
            properties: numbers(&[(property::WILL_DELAY, seconds)]),
            ..Will { topic: "will".into(), payload: b"late".to_vec(), qos: 1, ..Will::default() }
        })
    };
    connect.will = delayed(1000);
    connect.open(server.mqtt()).cut();
    connect.will = delayed(1);
    let (client, present) = connect.resume(server.mqtt());
    assert!(present, "it came back in time");
    reader.ping();
    client.cut();
    assert_eq!(reader.receive().text(), "late");
}

#[test]
fn a_will_comes_when_the_session_ends_if_that_is_before_its_delay() {
    let server = Application::dogs().start();
    let mut reader = server.connect("");
    reader.subscribe("will", 1);
    let mut connect = Connect::new(Version::V5, "brief").with_will("will", "session over", 1, false);
    connect.will.as_mut().expect("a will").properties = numbers(&[(property::WILL_DELAY, 100_000)]);
    connect.open(server.mqtt()).cut();
    assert_eq!(reader.receive().text(), "session over");
}

#[test]
fn wills_survive_kill_9() {
    let application = Application::dogs();
    let server = application.start();
    let (mut reader, _) = Connect::lasting(Version::V5, "reader").resume(server.mqtt());
    reader.subscribe("will/#", 1);
    let alive: Vec<_> = VERSIONS
        .iter()
        .map(|version| {
            let connect = Connect::new(*version, &format!("{version:?}"));
            connect.with_will(&format!("will/{version:?}"), "gone", 1, true).open(server.mqtt())
        })
        .collect();
    Connect::new(Version::V5, "polite").with_will("will/polite", "gone", 1, true).open(server.mqtt()).disconnect();
    // What came before an acknowledgement is on disk with it, the goodbye too.
    server.connect("").publish("dog/1", "{}", 1, true);
    server.kill();
    drop(alive);

    let server = application.start();
    let (mut reader, present) = Connect::lasting(Version::V5, "reader").resume(server.mqtt());
    assert!(present);
    let mut seen = [reader.receive().topic, reader.receive().topic];
    seen.sort();
    assert_eq!(seen, ["will/V311", "will/V5"]);
    for version in VERSIONS {
        assert_eq!(server.get(&format!("/$topics/will/{version:?}")).text(), "gone");
    }
    assert_eq!(server.get("/$topics/will/polite").status, 404);
}

#[test]
fn a_server_that_stops_speaks_the_wills_of_those_it_leaves_when_it_returns() {
    let application = Application::dogs();
    let server = application.start();
    let client = Connect::new(Version::V5, "left").with_will("will/left", "gone", 1, true).open(server.mqtt());
    server.terminate();
    drop(client);
    let server = application.start();
    until("the will is there", || match server.get("/$topics/will/left").status {
        200 => Ok(()),
        status => Err(status),
    });
}
