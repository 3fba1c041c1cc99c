//! A log that was cut behind somebody who comes back.

use crate::server::{Application, Server, until};
use crate::wire::{Client, Connect, Version, numbers, property};

/// As little as can be asked for: two segments at most.
const LITTLE: &str = "\
log: { retention: { bytes: 64MiB } }
mqtt: { sysInterval: 100ms }
";

#[test]
fn who_comes_back_too_late_gets_the_state_of_what_changed_and_the_loss_is_told() {
    let application = Application::dogs().configured(LITTLE);
    let server = application.start();
    let mut writer = server.connect("");
    for (key, name) in [("same", "as it was"), ("gone", "soon gone"), ("changed", "before")] {
        writer.publish(&format!("dog/{key}"), &format!(r#"{{"name":"{name}"}}"#), 1, true);
    }
    for version in [Version::V311, Version::V5] {
        let mut reader = Connect::lasting(version, &format!("{version:?}")).open_anew(server.mqtt());
        reader.subscribe("dog/#", 1);
        let mut state: Vec<String> = (0..3).map(|_| reader.receive().topic).collect();
        state.sort();
        assert_eq!(state, ["dog/changed", "dog/gone", "dog/same"]);
        reader.ping();
        reader.disconnect();
    }
    // One of whom it is known that all acknowledgements came; one that left with something in hand.
    let mut abrupt = Connect::lasting(Version::V5, "abrupt").open_anew(server.mqtt());
    abrupt.try_subscribe_with(&[("dog/#", 0x21)], &numbers(&[(property::SUBSCRIPTION_ID, 7)]));
    writer.publish("dog/changed", "not acknowledged", 1, false);
    assert_eq!(abrupt.next_publish().text(), "not acknowledged");
    abrupt.cut();

    writer.publish("dog/changed", "barks where nobody hears it", 1, false);
    writer.publish("dog/changed", r#"{"name":"between"}"#, 1, true);
    writer.publish("dog/gone", "", 1, true);
    writer.publish("dog/new", r#"{"name":"new"}"#, 1, true);
    writer.publish("dog/changed", r#"{"name":"after"}"#, 1, true);
    let position = figure(&server, "log/committed");
    cut_behind(&server, &mut writer, position);
    // Twice: before a restart, and after one that finds the log as it is.
    check(&server, Version::V5, "V5");
    check(&server, Version::V5, "abrupt");
    server.kill();
    let server = application.start();
    check(&server, Version::V311, "V311");
}

/// The state of what changed, in the order of the keys, then what comes next; the loss is logged and counted.
#[track_caller]
fn check(server: &Server, version: Version, name: &str) {
    let lost = figure(server, "publish/messages/lost");
    let (mut reader, present) = Connect::lasting(version, name).resume(server.mqtt());
    assert!(present);
    for (topic, name) in [("dog/changed", "after"), ("dog/new", "new")] {
        let seen = reader.receive();
        assert_eq!((&*seen.topic, seen.retain), (topic, true), "{seen}");
        assert_eq!(seen.json()["name"], name);
    }
    crate::sessions::assert_nothing_more(&mut reader, &mut server.connect(""));
    until("the loss is counted", || match figure(server, "publish/messages/lost") - lost {
        5.. => Ok(()),
        more => Err(format!("{more} entries lost, and five were for it")),
    });
    server.wait_for_log(&format!(r#"events are lost","client_id":"{name}""#));
    reader.disconnect();
}

/// Writes to the log, for somebody else, until it begins behind a position.
#[track_caller]
fn cut_behind(server: &Server, writer: &mut Client, position: u64) {
    let mut other = Connect::lasting(Version::V5, "other").open_anew(server.mqtt());
    other.subscribe("noise", 1);
    other.disconnect();
    let noise = "x".repeat(1 << 20);
    for _ in 0..1000 {
        if figure(server, "log/oldest") > position {
            return;
        }
        (0..32).for_each(|_| writer.publish("noise", &noise, 1, false));
    }
    panic!("the log is not cut");
}

/// A figure as it is now.
#[track_caller]
fn figure(server: &Server, name: &str) -> u64 {
    let mut client = server.connect("");
    client.subscribe(&format!("$SYS/broker/{name}"), 0);
    let figure = client.receive().text().parse().expect("a number");
    client.disconnect();
    figure
}
