//! A flipped bit in a file of the tables: detected, named, and in nobody's way who does not need what is there.

use crate::server::{Application, Server, until};
use crate::wire::{Client, Connect, Version, property, worded};

/// Enough for many blocks of a file.
const RECORDS: usize = 400;
/// The record whose bit is flipped.
const BAD: usize = 200;
const HOW: &str = "move the folder `tables`";

#[test]
fn who_needs_what_cannot_be_read_is_refused_and_told_and_nobody_else() {
    let application = Application::dogs();
    let mut server = damaged(&application);
    let (bad, good) = (format!("dog/{BAD}"), "dog/100");
    let path = format!("/{bad}");
    let refused = ["GET", "GET", "PATCH", "DELETE"].map(|method| server.request(method, &path, &[PATCH], b"{}"));
    for response in refused {
        assert_eq!(response.status, 500, "{}", response.text());
        let detail = response.json()["detail"].as_str().expect("words").to_owned();
        assert!(detail.contains("tables/tables/") && detail.contains(HOW), "{detail}");
        assert!(!detail.contains(application.path().to_str().expect("a path")), "{detail}");
    }
    let mut client = server.connect("");
    let patch = worded(property::CONTENT_TYPE, "application/merge-patch+json");
    let refused = client.publish_with_answer(&bad, br#"{"age":1}"#, 1, true, &patch);
    assert_eq!(refused.code, 0x80);
    let reason = refused.properties.text(property::REASON_STRING).expect("words");
    assert!(reason.contains("tables/tables/") && reason.contains(HOW), "{reason}");
    assert_eq!(client.try_publish(&bad, b"", 2, true, &[]), 0x80);
    assert_eq!(client.try_publish(good, br#"{"age":1}"#, 2, true, &patch), 0);
    let mut old = server.connect_311("");
    old.publish(&bad, "", 1, true); // It has no code for that, and its publisher goes on.
    old.publish(good, "", 1, true);
    assert_eq!(server.get("/dog/100").status, 404);
    // A listing does not end as if it were whole, and one that ends before is.
    assert_eq!(server.get("/dog/").status, 500);
    assert!(server.get("/dog/").json()["detail"].as_str().is_some_and(|detail| detail.contains(HOW)));
    assert_eq!(server.get("/dog/?limit(5)").json().as_array().map(Vec::len), Some(5));
    assert_eq!(server.get("/ready").json()["reasons"][0], "part of the tables is damaged");
    assert_eq!(server.get("/health").status, 200);
    // As a whole, the record is made anew.
    client.publish(&bad, r#"{"name":"anew"}"#, 1, true);
    assert_eq!(server.record(&format!("/{bad}"))["name"], "anew");
    server.assert_alive();
    let (status, log) = server.terminate();
    assert!(status.success());
    let told: Vec<&str> = log.lines().filter(|line| line.contains("cannot be read: who asks")).collect();
    assert_eq!(told.len(), 1, "{log}");
    for words in ["Dog/199", HOW, "checksum", "tables/tables/"] {
        assert!(told[0].contains(words), "{}", told[0]);
    }
}

#[test]
fn who_subscribes_to_more_than_cannot_be_read_gets_the_rest_and_goes_on() {
    let application = Application::dogs();
    let server = damaged(&application);
    let reader = Connect::lasting(Version::V5, "reader");
    let mut lasting = reader.open_anew(server.mqtt());
    lasting.subscribe("dog/#", 1);
    let seen = states(&mut lasting, "dog/99");
    assert!(!seen.contains(&format!("dog/{BAD}")) && (RECORDS - 40..RECORDS).contains(&seen.len()), "{}", seen.len());
    let mut writer = server.connect("");
    let mut exact = server.connect("");
    exact.subscribe(&format!("dog/{BAD}"), 1);
    writer.publish("dog/new", r#"{"name":"new"}"#, 1, true);
    assert_eq!(lasting.receive().topic, "dog/new");
    lasting.disconnect();
    // It comes back once, and not to the same again.
    let (mut lasting, present) = reader.resume(server.mqtt());
    assert!(present);
    writer.publish(&format!("dog/{BAD}"), r#"{"name":"anew"}"#, 1, true);
    assert_eq!((lasting.receive().topic, exact.receive().topic), (format!("dog/{BAD}"), format!("dog/{BAD}")));
    server.wait_for_log("cannot be read: who asks");

    // Mended as the log says.
    let (status, _) = server.terminate();
    assert!(status.success());
    std::fs::remove_dir_all(application.path().join("data/tables")).expect("a folder");
    let server = application.start();
    let mut all = server.connect("");
    all.subscribe("dog/#", 1);
    assert_eq!(states(&mut all, "dog/new").len(), RECORDS + 1);
    assert_eq!(server.get("/ready").status, 200);
}

const PATCH: &str = "Content-Type: application/merge-patch+json";

/// A server whose table file has a flipped bit, and has been found to.
fn damaged(application: &Application) -> Server {
    let server = application.start();
    let mut writer = server.connect("");
    (1..=RECORDS).for_each(|number| writer.publish(&format!("dog/{number}"), &dog(number), 1, true));
    let (status, _) = server.terminate();
    assert!(status.success());
    let files = std::fs::read_dir(application.path().join("data/tables/tables")).expect("files of tables");
    let (path, mut bytes, at) = files
        .map(|file| file.expect("a file").path())
        .find_map(|path| {
            let bytes = std::fs::read(&path).expect("a file");
            let name = name(BAD);
            let at = bytes.windows(name.len()).position(|found| found == name.as_bytes())?;
            Some((path, bytes, at))
        })
        .expect("the record is on the disk");
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).expect("the file can be written");
    let server = application.start();
    assert_eq!(server.get(&format!("/dog/{BAD}")).status, 500);
    until("it is known to be so", || match server.get("/ready").status {
        503 => Ok(()),
        status => Err(status),
    });
    server
}

fn name(number: usize) -> String {
    format!("<{number}>").repeat(40)
}

fn dog(number: usize) -> String {
    format!(r#"{{"name":"{}"}}"#, name(number))
}

/// The topics of the state that a subscription brings up to the record `last`, each of which is as it was put.
#[track_caller]
fn states(client: &mut Client, last: &str) -> Vec<String> {
    let mut topics = Vec::new();
    loop {
        let state = client.receive();
        if let Some(number) = state.topic.strip_prefix("dog/").and_then(|number| number.parse().ok())
            && number != BAD
        {
            assert_eq!(state.json()["name"], name(number), "{}", state.topic);
        }
        let is_last = state.topic == last;
        topics.push(state.topic);
        if is_last {
            return topics;
        }
    }
}
