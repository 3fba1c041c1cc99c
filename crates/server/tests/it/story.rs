//! What the product is, line by line: records are topics, and every door shows one truth.

use crate::server::Application;
use crate::tools::{Tool, run};
use crate::wire::{Client, Connect, Packet, Publish, Version, numbers, property, user, worded};
use serde_json::json;

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

#[test]
fn subscribing_to_a_record_brings_it_retained_after_the_suback_then_every_change() {
    let server = Application::dogs().start();
    for version in VERSIONS {
        assert!(matches!(server.put("/dog/123", r#"{"name":"Rex"}"#).status, 201 | 204));
        let mut reader = Connect::new(version, "").open(server.mqtt());
        // `subscribe` fails if anything comes before the SUBACK.
        reader.subscribe("dog/123", 1);
        let first = reader.receive();
        assert!(first.retain, "{first}");
        assert_eq!((&*first.topic, first.json()), ("dog/123", json!({"id": "123", "name": "Rex"})));
        assert_eq!(first.qos, 1);

        let mut writer = Connect::new(version, "").open(server.mqtt());
        writer.publish("dog/123", r#"{"name":"Fido"}"#, 1, true);
        let put = reader.receive();
        assert_eq!((put.retain, put.json()), (false, json!({"id": "123", "name": "Fido"})));
        assert_eq!(server.put("/dog/123", r#"{"name":"Bello"}"#).status, 204);
        assert_eq!(reader.receive().json(), json!({"id": "123", "name": "Bello"}));
        writer.publish("dog/123", "", 1, true);
        let delete = reader.receive();
        assert_eq!((&*delete.topic, delete.retain, delete.text()), ("dog/123", false, ""));
        assert_eq!(server.get("/dog/123").status, 404);
    }
}

#[test]
fn a_retained_publish_replaces_the_record() {
    let server = Application::dogs().start();
    for version in VERSIONS {
        let mut writer = Connect::new(version, "").open(server.mqtt());
        writer.publish("dog/1", r#"{"name":"Rex","breed":"Lab"}"#, 1, true);
        writer.publish("dog/1", r#"{"name":"Rex"}"#, 2, true);
        assert_eq!(server.record("/dog/1"), json!({"id": "1", "name": "Rex"}), "attributes not sent are gone");
    }
}

#[test]
fn a_plain_publish_is_heard_and_changes_nothing() {
    let server = Application::dogs().start();
    server.put("/dog/1", r#"{"name":"Rex"}"#);
    for version in VERSIONS {
        for qos in 0..=2 {
            let mut reader = Connect::new(version, "").open(server.mqtt());
            reader.subscribe("dog/+", 2);
            assert!(reader.receive().retain);
            let mut writer = Connect::new(version, "").open(server.mqtt());
            writer.publish("dog/1", "barks, not JSON", qos, false);
            let event = reader.receive();
            assert_eq!((event.text(), event.qos, event.retain), ("barks, not JSON", qos, false));
            writer.publish("dog/nobody", "", qos, false);
            let event = reader.receive();
            assert_eq!((&*event.topic, event.text()), ("dog/nobody", ""), "an empty event of no record");
            assert_eq!(server.record("/dog/1"), json!({"id": "1", "name": "Rex"}));
            assert_eq!(server.get("/dog/nobody").status, 404);
        }
    }
}

#[test]
fn a_wildcard_follows_all_records() {
    let server = Application::dogs().start();
    for key in ["a", "b/c", "b"] {
        server.put(&format!("/dog/{key}"), r#"{"name":"Rex"}"#);
    }
    for version in VERSIONS {
        let mut reader = Connect::new(version, "").open(server.mqtt());
        reader.subscribe("dog/#", 0);
        let topics: Vec<String> = (0..3).map(|_| reader.receive().topic).collect();
        assert_eq!(topics, ["dog/a", "dog/b", "dog/b/c"], "in the order of their keys");
        let mut writer = server.connect("");
        writer.publish("dog/d", r#"{"name":"Fido"}"#, 1, true);
        writer.publish("dog", "an event of the table", 1, false);
        writer.publish("dog/d", "", 1, true);
        writer.publish("cat/d", "no dog", 1, true);
        writer.publish("dog/last", "", 1, false);
        let seen: Vec<(String, String)> =
            (0..4).map(|_| reader.receive()).map(|it| (it.text().to_owned(), it.topic)).collect();
        let seen: Vec<(&str, &str)> = seen.iter().map(|(text, topic)| (&**text, &**topic)).collect();
        let fido = r#"{"id":"d","name":"Fido"}"#;
        assert_eq!(seen, [(fido, "dog/d"), ("an event of the table", "dog"), ("", "dog/d"), ("", "dog/last")]);
    }
}

#[test]
fn both_doors_show_one_truth() {
    let server = Application::dogs().start();
    let mut reader = server.connect("");
    reader.subscribe("dog/#", 1);
    let mut writer = server.connect("");

    writer.publish("dog/1", r#"{"name":"Rex","age":3}"#, 1, true);
    let rex = json!({"id": "1", "name": "Rex", "age": 3});
    assert_eq!((reader.receive().json(), server.record("/dog/1")), (rex.clone(), rex));

    let patch = server.request("PATCH", "/dog/1", &["Content-Type: application/merge-patch+json"], br#"{"age":4}"#);
    assert_eq!(patch.status, 204, "{}", patch.text());
    let older = json!({"id": "1", "name": "Rex", "age": 4});
    assert_eq!((reader.receive().json(), server.record("/dog/1")), (older.clone(), older));

    let made = server.request("POST", "/dog/", &["Content-Type: application/json"], br#"{"name":"New"}"#);
    assert_eq!(made.status, 201, "{}", made.text());
    let location = made.header("location").expect("where it is").to_owned();
    let seen = reader.receive();
    assert_eq!(location.to_lowercase(), format!("/{}", seen.topic).to_lowercase());
    assert_eq!(server.record(&location), seen.json());

    let head = ["Content-Type: text/plain", "Rowcast-Event: true"];
    assert_eq!(server.request("POST", "/dog/1", &head, b"barks").status, 202);
    let event = reader.receive();
    assert_eq!((event.text(), event.qos), ("barks", 1));
    assert_eq!(event.properties.text(property::CONTENT_TYPE), Some("text/plain"));

    assert_eq!(server.request("DELETE", "/dog/1", &[], &[]).status, 204);
    assert_eq!((&*reader.receive().payload, server.get("/dog/1").status), (&b""[..], 404));
    let list = server.get("/dog/").json();
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
}

#[test]
fn a_merge_patch_may_come_over_mqtt() {
    let server = Application::dogs().start();
    server.put("/dog/1", r#"{"name":"Rex","breed":"Lab"}"#);
    let mut writer = server.connect("");
    let patch = worded(property::CONTENT_TYPE, "application/merge-patch+json");
    assert_eq!(writer.try_publish("dog/1", br#"{"breed":null,"age":2}"#, 1, true, &patch), 0);
    assert_eq!(server.record("/dog/1"), json!({"id": "1", "name": "Rex", "age": 2}));
}

#[test]
fn a_table_has_two_spellings_and_a_client_hears_the_one_it_asked_for() {
    let server = Application::dogs().start();
    let mut lower = server.connect("");
    let mut upper = server.connect("");
    let mut any = server.connect("");
    lower.subscribe("dog/1", 0);
    upper.subscribe("Dog/1", 0);
    any.subscribe("+/1", 0);
    let mut writer = server.connect("");
    writer.publish("dog/1", r#"{"name":"Rex"}"#, 1, true);
    assert_eq!(lower.receive().topic, "dog/1");
    assert_eq!(upper.receive().topic, "Dog/1");
    assert_eq!(any.receive().topic, "Dog/1", "with a wildcard in the first level, the exact name");
    assert_eq!(server.record("/Dog/1"), server.record("/dog/1"));
}

#[test]
fn keys_have_types() {
    let server = Application::dogs().start();
    let mut reader = server.connect("");
    reader.subscribe("counter/#", 0);
    let mut writer = server.connect("");
    writer.publish("counter/01", r#"{"count":5}"#, 1, true);
    let seen = reader.receive();
    assert_eq!((&*seen.topic, seen.json()), ("counter/1", json!({"id": 1, "count": 5})));
    assert_eq!(server.record("/counter/1"), json!({"id": 1, "count": 5}));
    assert_eq!(writer.try_publish("counter/one", br#"{"count":5}"#, 1, true, &[]), 0x90);
    assert_eq!(server.put("/counter/one", r#"{"count":5}"#).status, 400);
}

#[test]
fn a_wrong_record_is_refused_with_words() {
    let server = Application::dogs().start();
    let mut writer = server.connect("");
    let answer = writer.publish_with_answer("dog/1", br#"{"age":"three"}"#, 1, true, &[]);
    let words = answer.properties.text(property::REASON_STRING).expect("a reason").to_owned();
    assert_eq!(answer.code, 0x99);
    assert!(words.contains("age"), "{words}");
    assert_eq!(writer.try_publish("dog/1", br#"{"age":"three"}"#, 2, true, &[]), 0x99);
    assert_eq!(writer.try_publish("dog/1", br#"{"id":"2"}"#, 1, true, &[]), 0x99, "another key inside");
    assert_eq!(writer.try_publish("dog", b"{}", 1, true, &[]), 0x90, "a table's own channel keeps nothing");
    let answer = server.put("/dog/1", r#"{"age":"three"}"#);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("age"), "{}", answer.text());

    // 3.1.1 has no such code: taken, not stored, and the log says so.
    let mut old = server.connect_311("old-timer");
    old.publish("dog/1", r#"{"age":"three"}"#, 1, true);
    old.publish("dog/1", r#"{"age":"three"}"#, 2, true);
    server.wait_for_log("old-timer");
    assert_eq!(server.get("/dog/1").status, 404);
}

#[test]
fn a_rejected_publish_may_cost_the_connection() {
    let server = Application::dogs().configured("mqtt: { rejectedPublish: disconnect }").start();
    let mut old = server.connect_311("");
    old.send(&crate::wire::publish(Version::V311, "dog/1", b"{", 1, true, 1, &[]));
    assert_eq!(old.rest(), []);
}

#[test]
fn any_other_topic_is_plain_mqtt_and_its_state_is_a_table() {
    let server = Application::dogs().start();
    let bytes = [0, 159, 146, 150, 255];
    let mut writer = server.connect("");
    assert_eq!(writer.try_publish("house/kitchen/lamp", &bytes, 1, true, &[]), 0);
    for version in VERSIONS {
        let mut reader = Connect::new(version, "").open(server.mqtt());
        reader.subscribe("house/+/lamp", 0);
        let lamp = reader.receive();
        assert_eq!((&*lamp.topic, &lamp.payload[..], lamp.retain), ("house/kitchen/lamp", &bytes[..], true));
    }
    assert_eq!(server.get("/$topics/house/kitchen/lamp").body, bytes);
    writer.publish("house/kitchen/lamp", "", 1, true);
    assert_eq!(server.get("/$topics/house/kitchen/lamp").status, 404);
}

#[test]
fn open_topics_can_be_closed() {
    let server = Application::dogs().configured("mqtt: { openTopics: false }").start();
    let mut client = server.connect("");
    assert_eq!(client.try_publish("house/lamp", b"on", 1, false, &[]), 0x90);
    assert_eq!(client.try_subscribe(&[("house/lamp", 0), ("dog/1", 0)]), [0x8F, 0]);
    assert_eq!(server.connect_311("").try_subscribe(&[("house/lamp", 0)]), [0x80]);
}

#[test]
fn a_table_without_attributes_keeps_bytes_and_their_type() {
    let server = Application::dogs().start();
    let mut writer = server.connect("");
    let png = worded(property::CONTENT_TYPE, "image/png");
    assert_eq!(writer.try_publish("note/pixel", b"\x89PNG\0", 1, true, &png), 0);
    let mut reader = server.connect("");
    reader.subscribe("note/#", 0);
    let note = reader.receive();
    assert_eq!(
        (&note.payload[..], note.properties.text(property::CONTENT_TYPE)),
        (&b"\x89PNG\0"[..], Some("image/png"))
    );
    let answer = server.get("/note/pixel");
    assert_eq!((&answer.body[..], answer.header("content-type")), (&b"\x89PNG\0"[..], Some("image/png")));
}

#[test]
fn quality_of_service_is_the_lesser_of_both_ways() {
    let server = Application::dogs().start();
    for version in VERSIONS {
        for granted in 0..=2 {
            let mut reader = Connect::new(version, "").open(server.mqtt());
            reader.subscribe("qos/#", granted);
            let mut writer = Connect::new(version, "").open(server.mqtt());
            for published in 0..=2 {
                writer.publish("qos/topic", &published.to_string(), published, false);
                let seen = reader.receive();
                assert_eq!((seen.qos, seen.text()), (granted.min(published), &*published.to_string()));
            }
        }
    }
}

#[test]
fn who_has_said_all_still_hears_the_answer() {
    let server = Application::dogs().start();
    for version in VERSIONS {
        for _ in 0..50 {
            let mut client = Connect::new(version, "").open(server.mqtt());
            client.send_last(&[0xC0, 0]); // The end may come with it.
            assert_eq!(client.rest(), [Packet::Pingresp]);
        }
    }
}

#[test]
fn subscribing_with_options_of_mqtt_5() {
    let server = Application::dogs().start();
    server.put("/dog/1", r#"{"name":"Rex"}"#);
    let mut client = server.connect("");
    let (no_local, as_published, if_new, never) = (0x04, 0x08, 0x10, 0x20);

    assert_eq!(client.try_subscribe(&[("dog/1", never)]), [0]);
    client.ping();
    assert_eq!(client.try_subscribe(&[("dog/1", if_new)]), [0]);
    client.ping();
    client.unsubscribe("dog/1");
    assert_eq!(client.try_subscribe(&[("dog/1", if_new)]), [0]);
    assert!(client.receive().retain);
    client.unsubscribe("dog/1");

    let mut writer = server.connect("");
    assert_eq!(client.try_subscribe(&[("dog/2", as_published)]), [0]);
    writer.publish("dog/2", r#"{"name":"Fido"}"#, 1, true);
    assert!(client.receive().retain, "a state was published retained");
    writer.publish("dog/2", "barks", 1, false);
    assert!(!client.receive().retain, "an event was not");

    assert_eq!(client.try_subscribe(&[("mine", 1 | no_local)]), [1]);
    client.publish("mine", "not heard", 1, false);
    writer.publish("mine", "heard", 1, false);
    assert_eq!(client.receive().text(), "heard");
}

#[test]
fn overlapping_filters_bring_one_copy_with_all_their_identifiers() {
    let server = Application::dogs().start();
    let mut reader = server.connect("");
    let identifier = |id| numbers(&[(property::SUBSCRIPTION_ID, id)]);
    assert_eq!(reader.try_subscribe_with(&[("over/#", 0)], &identifier(7)), [0]);
    assert_eq!(reader.try_subscribe_with(&[("over/+", 1)], &identifier(268_435_455)), [1]);
    assert_eq!(reader.try_subscribe_with(&[("over/lap", 2)], &[]), [2]);
    let mut writer = server.connect("");
    writer.publish("over/lap", "once", 2, false);
    let seen = reader.receive();
    let mut ids: Vec<&_> = seen.properties.0.iter().filter(|(id, _)| *id == property::SUBSCRIPTION_ID).collect();
    ids.sort_by_key(|(_, value)| format!("{value:?}").len());
    assert_eq!((seen.qos, ids.len()), (2, 2), "{seen}");
    writer.publish("over/end", "next", 0, false);
    assert_eq!(reader.receive().text(), "next", "one copy");
}

#[test]
fn those_who_ask_are_told_what_happened() {
    let server = Application::dogs().start();
    let mut reader = Connect::new(Version::V5, "").with_properties(&user("rowcast-meta", "1")).open(server.mqtt());
    reader.subscribe("dog/#", 0);
    let mut other = server.connect("");
    other.subscribe("dog/#", 0);
    let mut writer = server.connect("");
    writer.publish("dog/1", "{}", 1, true);
    writer.publish("dog/1", "barks", 1, false);
    writer.publish("dog/1", "", 1, true);
    for op in ["put", "event", "delete"] {
        let seen = reader.receive();
        assert_eq!(seen.properties.user("rowcast-op"), Some(op), "{seen}");
        assert_eq!(other.receive().properties.user("rowcast-op"), None, "it did not ask");
    }
}

#[test]
fn properties_of_a_message_come_with_it_live_and_retained() {
    let server = Application::dogs().start();
    let mut sent = numbers(&[(property::PAYLOAD_FORMAT, 1)]);
    sent.extend(worded(property::CONTENT_TYPE, "text/x-mood"));
    sent.extend(worded(property::RESPONSE_TOPIC, "answers/here"));
    sent.push(property::CORRELATION_DATA);
    crate::wire::binary(&mut sent, &[0, 255]);
    sent.extend(user("a", "1"));
    sent.extend(user("a", "2"));
    let mut live = server.connect("");
    live.subscribe("mood", 1);
    let mut writer = server.connect("");
    assert!(matches!(writer.try_publish("mood", b"sunny", 1, true, &sent), 0));
    let mut late = server.connect("");
    late.subscribe("mood", 1);
    for seen in [live.receive(), late.receive()] {
        let Publish { properties, .. } = &seen;
        assert_eq!(properties.number(property::PAYLOAD_FORMAT), Some(1));
        assert_eq!(properties.text(property::CONTENT_TYPE), Some("text/x-mood"));
        assert_eq!(properties.text(property::RESPONSE_TOPIC), Some("answers/here"));
        assert_eq!(properties.0.iter().filter(|(id, _)| *id == property::USER).count(), 2, "{seen}");
    }
}

#[test]
fn a_message_expires() {
    let server = Application::dogs().start();
    let mut writer = server.connect("");
    let expiry = |seconds| numbers(&[(property::MESSAGE_EXPIRY, seconds)]);
    writer.try_publish("soon/gone", b"soon gone", 1, true, &expiry(2));
    writer.try_publish("soon/stays", b"stays", 1, true, &expiry(5000));
    crate::server::until("the state has expired", || match server.get("/$topics/soon/gone").status {
        404 => Ok(()),
        status => Err(status),
    });
    let mut reader = server.connect("");
    reader.subscribe("soon/#", 0);
    let seen = reader.receive();
    let left = seen.properties.number(property::MESSAGE_EXPIRY).expect("the time that is left");
    assert_eq!(seen.text(), "stays");
    assert!((1..5000).contains(&left), "{left}");
}

#[test]
fn the_time_an_event_has_left_runs_while_its_reader_is_away() {
    let server = Application::dogs().start();
    let (mut reader, _) = Connect::lasting(Version::V5, "away").resume(server.mqtt());
    reader.subscribe("soon", 1);
    reader.disconnect();
    let mut writer = server.connect("");
    let expiry = |seconds| numbers(&[(property::MESSAGE_EXPIRY, seconds)]);
    // A state with as long to live shows when the event's time has run out.
    writer.try_publish("soon", b"gone", 1, false, &expiry(1));
    writer.try_publish("clock", b"ticks", 1, true, &expiry(1));
    writer.try_publish("soon", b"there", 1, false, &expiry(1000));
    crate::server::until("a second has passed", || match server.get("/$topics/clock").status {
        404 => Ok(()),
        status => Err(status),
    });
    let (mut reader, present) = Connect::lasting(Version::V5, "away").resume(server.mqtt());
    assert!(present);
    assert_eq!(reader.receive().text(), "there");
}

// Clients that know nothing of what is ours. [3.1.1 MQTT-7.0.0-2]
#[test]
fn the_story_with_mosquitto_and_curl() {
    let server = Application::dogs().start();
    let (mqtt, http) = (server.mqtt().to_string(), server.http());
    for version in ["mqttv311", "mqttv5"] {
        let common = ["-h", "127.0.0.1", "-p", &mqtt, "-V", version];
        let publish = |more: &[&str]| run("mosquitto_pub", &[&common[..], more].concat());
        publish(&["-r", "-q", "1", "-t", "dog/123", "-m", r#"{"name":"Rex"}"#]);
        let follow = ["-v", "-q", "2", "-t", "dog/123", "-t", "dog/other/#", "-F", "%r %t %p"];
        let mut reader = Tool::start("mosquitto_sub", &[&common[..], &follow].concat());
        assert_eq!(reader.line(), r#"1 dog/123 {"id":"123","name":"Rex"}"#);
        publish(&["-r", "-q", "0", "-t", "dog/123", "-m", r#"{"name":"Fido"}"#]);
        assert_eq!(reader.line(), r#"0 dog/123 {"id":"123","name":"Fido"}"#);
        publish(&["-q", "2", "-t", "dog/123", "-m", "barks"]);
        assert_eq!(reader.line(), "0 dog/123 barks");
        let url = format!("http://127.0.0.1:{http}/dog/123");
        assert_eq!(run("curl", &["-sS", &url]), r#"{"id":"123","name":"Fido"}"#);
        let json = ["-H", "Content-Type: application/json", "-d", r#"{"breed":"Lab"}"#];
        run("curl", &[&["-sS", "--fail", "-X", "PUT", &url][..], &json].concat());
        assert_eq!(reader.line(), r#"0 dog/123 {"id":"123","breed":"Lab"}"#);
        run("curl", &["-sS", "--fail", "-X", "DELETE", &url]);
        assert_eq!(reader.line().trim_end(), "0 dog/123");
        publish(&["-r", "-q", "2", "-t", "dog/other/1", "-m", "{}"]);
        assert_eq!(reader.line(), r#"0 dog/other/1 {"id":"other/1"}"#);
        publish(&["-r", "-n", "-q", "1", "-t", "dog/other/1"]);
        assert_eq!(reader.line().trim_end(), "0 dog/other/1");
        assert_eq!(server.get("/dog/other/1").status, 404);
    }
}

#[test]
fn the_story_with_its_own_client() {
    let server = Application::dogs().start();
    let (mqtt, url) = (server.mqtt().to_string(), format!("http://127.0.0.1:{}", server.http()));
    let rowcast = crate::server::binary();
    let rowcast = rowcast.to_str().expect("a path");
    assert!(run(rowcast, &["put", "--url", &url, "dog/1", r#"{"name":"Rex"}"#]).is_empty());
    let mut reader = Tool::start(rowcast, &["sub", "-p", &mqtt, "-v", "-t", "dog/#"]);
    assert_eq!(reader.line(), r#"dog/1 {"id":"1","name":"Rex"}"#);
    run(rowcast, &["pub", "-p", &mqtt, "-r", "-t", "dog/2", "-m", r#"{"name":"Fido"}"#]);
    assert_eq!(reader.line(), r#"dog/2 {"id":"2","name":"Fido"}"#);
    run(rowcast, &["pub", "-p", &mqtt, "-t", "dog/2", "-m", "barks"]);
    assert_eq!(reader.line(), "dog/2 barks");
    run(rowcast, &["patch", "--url", &url, "dog/2", r#"{"age":3}"#]);
    assert_eq!(reader.line(), r#"dog/2 {"id":"2","name":"Fido","age":3}"#);
    let fido = run(rowcast, &["get", "--url", &url, "--raw", "dog/2"]);
    assert_eq!(fido, r#"{"id":"2","name":"Fido","age":3}"#);
    run(rowcast, &["delete", "--url", &url, "dog/2"]);
    assert_eq!(reader.line(), "dog/2 (null)");
}

#[test]
fn what_is_acknowledged_outlives_kill_9() {
    let application = Application::dogs();
    let server = application.start();
    let mut writer = server.connect("");
    writer.publish("dog/1", r#"{"name":"Rex"}"#, 1, true);
    writer.publish("dog/2", r#"{"name":"Fido"}"#, 2, true);
    writer.publish("dog/3", "{}", 1, true);
    writer.publish("dog/3", "", 1, true);
    writer.publish("house/lamp", "on", 1, true);
    assert_eq!(server.put("/dog/4", r#"{"name":"Ada"}"#).status, 201);
    server.kill();

    let server = application.start();
    assert_eq!(names(&mut server.connect(""), "dog/#", 3), ["Rex", "Fido", "Ada"]);
    assert_eq!(server.get("/dog/3").status, 404);
    assert_eq!(server.get("/$topics/house/lamp").text(), "on");
}

fn names(client: &mut Client, filter: &str, count: usize) -> Vec<String> {
    client.subscribe(filter, 0);
    (0..count).map(|_| client.receive().json()["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn acknowledgements_come_in_the_order_of_what_they_answer() {
    let server = Application::dogs().start();
    let mut client = server.connect("");
    let mut all = Vec::new();
    for id in 1..=200 {
        let topic = if id % 3 == 0 { "dog/1" } else { "open" };
        let payload: &[u8] = if id % 5 == 0 { b"not JSON" } else { b"{}" };
        all.extend(crate::wire::publish(Version::V5, topic, payload, 1 + (id % 2) as u8, id % 7 == 0, id, &[]));
    }
    client.send(&all);
    for id in 1..=200 {
        let answer = client.next();
        let (Packet::Puback(found) | Packet::Pubrec(found)) = &answer else { panic!("{answer:?}") };
        assert_eq!(found.id, id);
    }
}

#[test]
fn health_and_readiness_are_told() {
    let server = Application::dogs().start();
    assert_eq!((server.get("/health").status, server.get("/ready").status), (200, 200));
}
