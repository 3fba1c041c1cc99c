//! What a session is owed: across connections, restarts and `kill -9`.

use crate::server::{Application, Server};
use crate::wire::{Client, Connect, Packet, Version, ack, numbers, packet, property};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

#[test]
fn a_session_brings_what_it_missed_in_order_and_no_qos_0() {
    let server = Application::dogs().start();
    for version in VERSIONS {
        let name = format!("{version:?}");
        let (mut reader, present) = Connect::lasting(version, &name).resume(server.mqtt());
        assert!(!present);
        reader.subscribe("dog/#", 2);
        reader.disconnect();
        let mut writer = server.connect("");
        for index in 0..50u8 {
            writer.publish(&format!("dog/{}", index % 7), &index.to_string(), index % 3, false);
        }
        server.put("/dog/0", r#"{"name":"Rex"}"#);
        let (mut reader, present) = Connect::lasting(version, &name).resume(server.mqtt());
        assert!(present);
        for index in (0..50).filter(|index| index % 3 > 0) {
            let seen = reader.receive();
            assert_eq!((seen.text(), seen.qos), (&*index.to_string(), index % 3), "{seen}");
        }
        assert_eq!(reader.receive().json()["name"], "Rex");
        assert_nothing_more(&mut reader, &mut writer);
        reader.disconnect();
        let (mut reader, present) = Connect::lasting(version, &name).resume(server.mqtt());
        assert!(present);
        assert_nothing_more(&mut reader, &mut writer);
        writer.publish("dog/0", "", 1, true);
        Connect::new(version, &name).open(server.mqtt()).disconnect();
    }
}

#[test]
fn a_clean_start_forgets() {
    let server = Application::dogs().start();
    for round in 0..20 {
        let version = VERSIONS[round % 2];
        let name = format!("{version:?}");
        let (mut reader, _) = Connect::lasting(version, &name).resume(server.mqtt());
        reader.subscribe("dog/#", 1);
        reader.disconnect();
        let (client, present) = Connect::new(version, &name).resume(server.mqtt());
        assert!(!present);
        client.disconnect();
        let (mut reader, present) = Connect::lasting(version, &name).resume(server.mqtt());
        assert!(!present);
        server.connect("").publish("dog/1", "not for it", 1, false);
        reader.ping();
    }
}

#[test]
fn a_session_without_expiry_ends_with_its_connection() {
    let server = Application::dogs().start();
    let mut connect = Connect::new(Version::V5, "brief");
    connect.clean = false;
    let (mut reader, _) = connect.resume(server.mqtt());
    reader.subscribe("dog/#", 1);
    reader.disconnect();
    assert!(!connect.resume(server.mqtt()).1);
}

#[test]
fn a_session_may_be_given_up_at_disconnect() {
    let server = Application::dogs().start();
    let connect = Connect::lasting(Version::V5, "given-up");
    for _ in 0..20 {
        let (mut client, present) = connect.resume(server.mqtt());
        assert!(!present);
        client.subscribe("dog/#", 1);
        let properties = numbers(&[(property::SESSION_EXPIRY, 0)]);
        client.send(&packet(0xE0, &[&[0, properties.len() as u8], &properties[..]].concat()));
        client.rest();
    }
}

#[test]
fn a_session_may_be_given_a_life_at_disconnect_and_expires() {
    let server = Application::dogs().start();
    // Its will tells when the session has ended.
    let mut watch = server.connect("");
    watch.subscribe("ended", 1);
    let mut connect = Connect::new(Version::V5, "brief").with_will("ended", "it is over", 1, false);
    connect.will.as_mut().expect("a will").properties = numbers(&[(property::WILL_DELAY, 100_000)]);
    for (at_connect, at_disconnect) in [(3600, 1), (1, 2)] {
        let connect = connect.clone().with_properties(&numbers(&[(property::SESSION_EXPIRY, at_connect)]));
        let mut client = connect.open(server.mqtt());
        let properties = numbers(&[(property::SESSION_EXPIRY, at_disconnect)]);
        client.send(&packet(0xE0, &[&[0x04, properties.len() as u8], &properties[..]].concat()));
        client.rest();
        assert_eq!(watch.receive().text(), "it is over");
        let again = Connect { clean: false, ..connect };
        let (client, present) = again.resume(server.mqtt());
        assert!(!present);
        client.disconnect();
    }
}

#[test]
fn everything_of_a_session_survives_a_restart_and_kill_9() {
    for end in [Server::kill as fn(Server), |server| drop(server.terminate())] {
        for version in VERSIONS {
            let application = Application::dogs();
            let server = application.start();
            let (mut reader, _) = Connect::lasting(version, "reader").resume(server.mqtt());
            reader.subscribe("dog/#", 2);
            reader.subscribe("other", 1);
            reader.unsubscribe("other");
            let mut writer = server.connect("");
            writer.publish("dog/1", "seen", 1, false);
            assert_eq!(reader.receive().text(), "seen");
            // The acknowledgement has arrived when what is sent after it is answered.
            reader.ping();
            reader.disconnect();
            writer.publish("dog/1", "one", 1, false);
            writer.publish("other", "unsubscribed", 1, false);
            writer.publish("dog/1", r#"{"name":"Rex"}"#, 2, true);
            writer.publish("dog/1", "two", 2, false);
            end(server);

            let server = application.start();
            let (mut reader, present) = Connect::lasting(version, "reader").resume(server.mqtt());
            assert!(present);
            let mut seen = reader.receive();
            if seen.text() == "seen" {
                // An acknowledgement may be lost with the process; then the message comes again, and says so.
                assert!(seen.dup, "{seen}");
                seen = reader.receive();
            }
            assert_eq!(seen.text(), "one");
            assert_eq!(reader.receive().json()["name"], "Rex");
            assert_eq!(reader.receive().text(), "two");
            assert_nothing_more(&mut reader, &mut server.connect(""));
        }
    }
}

#[test]
fn what_was_not_acknowledged_comes_again_with_dup_and_the_same_identifier() {
    let application = Application::dogs();
    for restart in [false, true] {
        let mut server = application.start();
        let mut reader = Connect::lasting(Version::V5, "reader").open_anew(server.mqtt());
        reader.subscribe("dog/#", 2);
        let mut writer = server.connect("");
        for qos in [1, 2, 1] {
            writer.publish("dog/1", "again", qos, false);
        }
        let first: Vec<_> = (0..3).map(|_| reader.next_publish()).collect();
        assert!(first.iter().all(|seen| !seen.dup));
        reader.cut();
        if restart {
            server.kill();
            server = application.start();
        }
        let (mut reader, present) = Connect::lasting(Version::V5, "reader").resume(server.mqtt());
        assert!(present);
        for before in &first {
            let again = reader.next_publish();
            assert_eq!((again.id, again.qos, again.dup), (before.id, before.qos, true), "{again}, {before}");
        }
    }
}

#[test]
fn qos_2_is_delivered_once_wherever_the_handshake_breaks() {
    let application = Application::dogs();
    for restart in [false, true] {
        let mut server = application.start();
        let mut reader = Connect::lasting(Version::V5, "reader").open_anew(server.mqtt());
        reader.subscribe("dog/#", 2);
        server.connect("").publish("dog/1", "once", 2, false);
        let seen = reader.next_publish();
        reader.send(&ack(0x50, seen.id));
        assert!(matches!(reader.next(), Packet::Pubrel(_)));
        reader.cut();
        if restart {
            server.kill();
            server = application.start();
        }
        // It was received: only its release may come again.
        let (mut reader, present) = Connect::lasting(Version::V5, "reader").resume(server.mqtt());
        assert!(present);
        let again = reader.next();
        assert!(matches!(&again, Packet::Pubrel(found) if found.id == seen.id), "{again:?}");
        reader.send(&ack(0x70, seen.id));
        assert_nothing_more(&mut reader, &mut server.connect(""));
    }
}

#[test]
fn an_inbound_qos_2_message_is_taken_once_however_often_it_is_sent() {
    let application = Application::dogs();
    let mut server = application.start();
    let (mut reader, _) = Connect::lasting(Version::V5, "reader").resume(server.mqtt());
    reader.subscribe("dog/#", 1);
    let (mut writer, _) = Connect::lasting(Version::V5, "writer").resume(server.mqtt());
    let mut message = crate::wire::publish(Version::V5, "dog/1", b"once", 2, false, 9, &[]);
    for round in 0..4 {
        writer.send(&message);
        let answer = writer.next();
        assert!(matches!(&answer, Packet::Pubrec(found) if found.id == 9 && found.code < 0x80), "{answer:?}");
        message[0] |= 0x08;
        if round == 1 {
            writer.cut();
            server.kill();
            server = application.start();
            let present;
            (writer, present) = Connect::lasting(Version::V5, "writer").resume(server.mqtt());
            assert!(present);
        }
    }
    writer.send(&ack(0x62, 9));
    assert!(matches!(writer.next(), Packet::Pubcomp(found) if found.id == 9));
    // Released: the same identifier is a new message now.
    writer.send(&crate::wire::publish(Version::V5, "dog/1", b"twice", 2, false, 9, &[]));
    assert!(matches!(writer.next(), Packet::Pubrec(found) if found.id == 9));

    let (mut reader, present) = Connect::lasting(Version::V5, "reader").resume(server.mqtt());
    assert!(present);
    assert_eq!(reader.receive().text(), "once");
    assert_eq!(reader.receive().text(), "twice");
    assert_nothing_more(&mut reader, &mut server.connect(""));
}

#[test]
fn a_client_identifier_in_use_is_taken_over() {
    let server = Application::dogs().start();
    for version in VERSIONS {
        let mut first = Connect::lasting(version, "twin").open_anew(server.mqtt());
        first.subscribe("dog/#", 1);
        let mut writer = server.connect("");
        writer.publish("dog/1", "unacknowledged", 1, false);
        let unacknowledged = first.next_publish();
        let (mut second, present) = Connect::lasting(version, "twin").resume(server.mqtt());
        assert!(present);
        let rest = first.rest();
        match version {
            Version::V5 => assert_eq!(rest.iter().map(Packet::code).collect::<Vec<_>>(), [Some(0x8E)]),
            Version::V311 => assert_eq!(rest, []),
        }
        let again = second.receive();
        assert_eq!((again.text(), again.id, again.dup), ("unacknowledged", unacknowledged.id, true));
        writer.publish("dog/1", "next", 1, false);
        assert_eq!(second.receive().text(), "next");
    }
}

// [hostile 43]
#[test]
fn a_storm_of_takeovers_loses_and_repeats_nothing() {
    const MESSAGES: u32 = 300;
    let server = Application::dogs().start();
    let connect = Connect::lasting(Version::V5, "storm");
    let (mut reader, _) = connect.resume(server.mqtt());
    reader.subscribe("dog/#", 1);
    let mut writer = server.connect("");
    let writing = std::thread::spawn(move || {
        for number in 0..MESSAGES {
            writer.publish("dog/1", &number.to_string(), 1, false);
        }
    });
    let mut expected = 0;
    while expected < MESSAGES {
        // A few messages a connection, then the next one takes over while more are on their way.
        for _ in 0..7 {
            if expected == MESSAGES {
                break;
            }
            let seen = reader.receive();
            let number: u32 = seen.text().parse().expect("a number");
            assert!(number == expected || seen.dup && number < expected, "{number}, not {expected}");
            expected = expected.max(number + 1);
        }
        let present;
        (reader, present) = connect.resume(server.mqtt());
        assert!(present);
    }
    writing.join().expect("all were acknowledged");
}

#[test]
fn a_client_that_is_given_its_name_is_told_it() {
    let server = Application::dogs().start();
    let (_, answer) = Connect::new(Version::V5, "").open_with_answer(server.mqtt());
    let Packet::Connack { properties, .. } = &answer else { panic!("{answer:?}") };
    let name = properties.text(property::ASSIGNED_CLIENT_ID).expect("a name").to_owned();
    let (_, other) = Connect::new(Version::V5, "").open_with_answer(server.mqtt());
    let Packet::Connack { properties, .. } = &other else { panic!("{other:?}") };
    assert_ne!(properties.text(property::ASSIGNED_CLIENT_ID), Some(&*name));
}

#[test]
fn the_server_keeps_to_the_receive_maximum_of_its_client() {
    let server = Application::dogs().start();
    let connect = Connect::new(Version::V5, "").with_properties(&numbers(&[(property::RECEIVE_MAXIMUM, 3)]));
    let mut reader = connect.open(server.mqtt());
    reader.subscribe("dog/#", 1);
    let mut writer = server.connect("");
    for number in 0..20 {
        writer.publish("dog/1", &number.to_string(), 1, false);
    }
    let mut waiting: Vec<_> = (0..3).map(|_| reader.next_publish()).collect();
    reader.ping();
    for number in 0..20 {
        let oldest = waiting.remove(0);
        assert_eq!(oldest.text(), number.to_string());
        reader.send(&ack(0x40, oldest.id));
        if number < 17 {
            waiting.push(reader.next_publish());
            reader.ping();
        }
    }
}

#[test]
fn a_client_that_falls_silent_is_disconnected() {
    let server = Application::dogs().start();
    for version in VERSIONS {
        let mut client = Connect::new(version, "").with_keep_alive(1).open(server.mqtt());
        client.ping();
        let rest = client.rest();
        match version {
            Version::V5 => assert_eq!(rest.iter().map(Packet::code).collect::<Vec<_>>(), [Some(0x8D)]),
            Version::V311 => assert_eq!(rest, []),
        }
    }
}

/// Fails if anything comes before a message that is published now.
#[track_caller]
pub(crate) fn assert_nothing_more(reader: &mut Client, writer: &mut Client) {
    assert_nothing_more_of("dog/end", reader, writer);
}

/// The same, with that message on another topic.
#[track_caller]
pub(crate) fn assert_nothing_more_of(topic: &str, reader: &mut Client, writer: &mut Client) {
    writer.publish(topic, "nothing more", 1, false);
    let seen = reader.receive();
    assert_eq!(seen.text(), "nothing more", "{seen}");
}
