//! A log that was cut, or altered, behind somebody who comes back.

use crate::server::{Application, Server, until};
use crate::wire::{Client, Connect, Packet, Version, numbers, property};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

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

#[test]
fn who_comes_back_to_an_altered_log_is_closed_and_the_place_is_named() {
    const EVENTS: usize = 700;
    let application = Application::dogs();
    let mut server = application.start();
    let connect = Connect::lasting(Version::V5, "reader");
    let mut reader = connect.open_anew(server.mqtt());
    reader.subscribe("bark", 1);
    reader.disconnect();
    // More than the end of the log that is in memory: the rest is read from the disk.
    let mut writer = server.connect("");
    let padding = "x".repeat(64 * 1024);
    (0..EVENTS).for_each(|number| writer.publish("bark", &format!("{number} {padding}"), 1, false));
    flip_a_byte(&application.path().join("data/00000000000000000001.log"), 4 << 20);
    for _ in 0..2 {
        let (mut reader, present) = connect.resume(server.mqtt());
        assert!(present);
        let mut next = None;
        let code = loop {
            match reader.next() {
                Packet::Publish(seen) => {
                    let number: usize = seen.text().split_once(' ').expect("a number").0.parse().expect("a number");
                    assert!(next.is_none_or(|next| next == number), "{number}, not {next:?}");
                    next = Some(number + 1);
                    reader.acknowledge(&seen);
                }
                Packet::Disconnect { code, .. } => break code,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(code, 0x80);
        assert!(next.is_none_or(|next| next < EVENTS / 2), "{next:?} came");
        assert_eq!(reader.rest(), []);
        writer.publish("bark", "others are served", 1, false);
    }
    server.assert_alive();
    let (_, log) = server.terminate(); // Lines are written by a thread of their own.
    let named: Vec<&str> = log.lines().filter(|line| line.contains("00000000000000000001.log")).collect();
    assert!((2..10).contains(&named.len()), "it is said each time, and no more: {log}");
}

#[track_caller]
fn flip_a_byte(file: &Path, place: u64) {
    let file = File::options().read(true).write(true).open(file).expect("a segment of the log");
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).expect("it is long enough");
    file.write_all_at(&[byte[0] ^ 1], place).expect("it can be written");
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
