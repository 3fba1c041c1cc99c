//! Input that broke a broker or a database once. Each earns the right answer, ends nobody but its sender, and leaves
//! the others served.

use crate::server::{Application, Server};
use crate::wire::{
    Client, Connect, Packet, Version, Will, ack, binary, numbers, packet, property, publish, subscribe, text,
    unsubscribe, user, worded,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;

/// A server, and a client of it that must never notice. At the end of a test the server must be at work, serve everyone,
/// and hold no more memory than [`Range::may_hold`] says.
struct Range {
    server: Server,
    bystander: Client,
    writer: Client,
    /// What lets one more in.
    newcomer: Connect,
    rounds: usize,
    /// Bytes before anything was tried.
    before: u64,
    more_max: u64,
}

const MIB: u64 = 1024 * 1024;

/// What the server may hold more than before, whatever was tried, when all is over: buffers, the newest log and what the
/// tables have not written yet.
const MORE_MAX: u64 = 32 * MIB;

impl Range {
    fn new() -> Range {
        Range::of(&Application::dogs())
    }

    fn of(application: &Application) -> Range {
        Range::known_as(application, Connect::new(Version::V5, ""))
    }

    /// Where everyone has to say who they are.
    fn of_users(application: &Application, (name, password): (&str, &str)) -> Range {
        Range::known_as(application, Connect::new(Version::V5, "").with_user(name, password))
    }

    fn known_as(application: &Application, newcomer: Connect) -> Range {
        let server = application.start();
        let (mut bystander, writer) = (newcomer.open(server.mqtt()), newcomer.open(server.mqtt()));
        bystander.subscribe("bystander/#", 1);
        let before = server.memory();
        Range { server, bystander, writer, newcomer, rounds: 0, before, more_max: MORE_MAX }
    }

    /// For tests that leave something behind that is to be kept.
    fn may_hold(mut self, more_max: u64) -> Range {
        self.more_max = more_max;
        self
    }

    /// Fails unless the server holds at most so many bytes more than before.
    #[track_caller]
    fn holds_at_most(&self, more_max: u64) {
        let more = self.server.memory().saturating_sub(self.before);
        assert!(more <= more_max, "{more} bytes more than before, of at most {more_max}");
    }

    /// Fails unless everyone else is served as before.
    #[track_caller]
    fn others_are_well(&mut self) {
        self.rounds += 1;
        let word = self.rounds.to_string();
        self.writer.publish("bystander/1", &word, 1, true);
        assert_eq!(self.bystander.receive().text(), word);
    }

    /// Bytes instead of a CONNECT: the connection is closed, in MQTT 5 perhaps with one of these codes before.
    #[track_caller]
    fn refuses(&mut self, what: &str, bytes: &[u8], codes: &[u8]) {
        let mut client = Client::dial(self.server.mqtt(), Version::V5);
        client.send(bytes);
        match &client.rest()[..] {
            [] => {}
            [Packet::Connack { session_present: false, code, .. } | Packet::Disconnect { code, .. }]
                if codes.contains(code) => {}
            other => panic!("{what}: {other:02x?}"),
        }
        self.others_are_well();
    }

    /// Bytes from a connected client of MQTT 5: one DISCONNECT with one of these codes, and the end.
    #[track_caller]
    fn disconnects(&mut self, what: &str, bytes: &[u8], codes: &[u8]) {
        let mut client = self.server.connect("");
        client.send(bytes);
        match &client.rest()[..] {
            [Packet::Disconnect { code, .. }] if codes.contains(code) => {}
            other => panic!("{what}: {other:02x?}"),
        }
        self.others_are_well();
    }

    /// Bytes from a connected client of MQTT 3.1.1: closed without a word.
    #[track_caller]
    fn closes(&mut self, what: &str, bytes: &[u8]) {
        let mut client = self.server.connect_311("");
        client.send(bytes);
        assert_eq!(client.rest(), [], "{what}");
        self.others_are_well();
    }

    /// The same bytes from clients of both versions.
    #[track_caller]
    fn ends(&mut self, what: &str, bytes: &[u8], codes: &[u8]) {
        self.disconnects(what, bytes, codes);
        self.closes(what, bytes);
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.others_are_well();
            self.server.assert_running();
            self.newcomer.open(self.server.mqtt()).ping();
            self.holds_at_most(self.more_max);
        }
    }
}

// [hostile 1] [hostile 17] [hostile 18]
#[test]
fn what_comes_first_must_be_a_connect() {
    let mut range = Range::new();
    for kind in (0u8..16).filter(|kind| *kind != 1) {
        range.refuses("another packet", &packet(kind << 4, &[0, 1]), &[MALFORMED, PROTOCOL_ERROR]);
        let huge = [kind << 4, 0xFF, 0xFF, 0xFF, 0x7F];
        range.refuses("another packet of 256 MiB", &huge, &[MALFORMED, PROTOCOL_ERROR, 0x95]);
    }
    range.refuses("a CONNECT of 256 MiB", &[0x10, 0xFF, 0xFF, 0xFF, 0x7F], &[0x95]);
    range.refuses("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", &[MALFORMED, PROTOCOL_ERROR]);
    range.refuses("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &[MALFORMED, PROTOCOL_ERROR]);
    range.refuses("no protocol of ours", &packet(0x10, b"\0\x04MQTX\x05\x02\0\0\0\0\0"), &[0x84, 1]);
    range.refuses("version 6", &packet(0x10, b"\0\x04MQTT\x06\x02\0\0\0\0\0"), &[0x84, 1]);
    range.refuses("flags of the packet", &packet(0x11, b"\0\x04MQTT\x05\x02\0\0\0\0\0"), &[MALFORMED]);
    range.refuses("the reserved flag", &packet(0x10, b"\0\x04MQTT\x05\x03\0\0\0\0\0"), &[MALFORMED]);
    range.refuses("will flags without a will", &packet(0x10, b"\0\x04MQTT\x05\x0A\0\0\0\0\0"), &[MALFORMED]);
    range.refuses("a will of QoS 3", &packet(0x10, b"\0\x04MQTT\x05\x1E\0\0\0\0\0\0\0\x01w\0\0"), &[MALFORMED]);
    range.refuses("bytes left over", &packet(0x10, b"\0\x04MQTT\x05\x02\0\0\0\0\0x"), &[MALFORMED]);
    range.refuses("cut short", &packet(0x10, b"\0\x04MQTT\x05\x02\0\0\0\0\x05a"), &[MALFORMED]);
}

// [hostile 2] [hostile 16]
#[test]
fn a_connect_that_does_not_end_is_not_waited_for() {
    let mut range = Range::of(&Application::dogs().configured("mqtt: { limits: { connectTimeout: 1s } }"));
    let whole = Connect::new(Version::V5, "slow").bytes();
    let mut silent = Client::dial(range.server.mqtt(), Version::V5);
    let mut partial = Client::dial(range.server.mqtt(), Version::V5);
    partial.send(&[0x10, 0xFF, 0x7F, 0, 4, b'M']);
    let mut dripping = Client::dial(range.server.mqtt(), Version::V5);
    dripping.send(&whole[..whole.len() - 1]);
    for client in [&mut silent, &mut partial, &mut dripping] {
        let rest = client.rest();
        assert!(rest.len() <= 1, "{rest:?}");
        range.others_are_well();
    }
}

// [hostile 2]
#[test]
fn half_a_connect_costs_little() {
    let mut range = Range::new();
    let waiting: Vec<_> = (0..200)
        .map(|_| {
            let mut client = Client::dial(range.server.mqtt(), Version::V5);
            // 64 KiB are announced, as many as are allowed, and a few sent.
            client.send(&[0x10, 0xFC, 0xFF, 0x03, 0, 4, b'M', b'Q']);
            client
        })
        .collect();
    range.others_are_well();
    range.holds_at_most(200 * 64 * 1024 - 1);
    drop(waiting);
}

// [hostile 3] [hostile 4] [hostile 5] [hostile 21] [hostile 22] [hostile 32]
#[test]
fn lengths_that_lie_end_the_connection() {
    let mut range = Range::new();
    range.ends("a length of five bytes", &[0x30, 0x80, 0x80, 0x80, 0x80, 0x01], &[MALFORMED]);
    range.ends("a publish larger than we take", &[0x30, 0xFF, 0xFF, 0xFF, 0x7F], &[0x95]);
    range.ends("a publish without a topic", &[0x30, 0], &[MALFORMED]);
    range.ends("a topic beyond the packet", &[0x30, 3, 0, 9, b'a'], &[MALFORMED]);
    range.ends("QoS 1, ended after the topic", &[0x32, 3, 0, 1, b'a'], &[MALFORMED]);
    range.ends("QoS 3", &[0x36, 5, 0, 1, b'a', 0, 1], &[MALFORMED]);
    range.ends("DUP with QoS 0", &[0x38, 4, 0, 1, b'a', 0], &[MALFORMED, PROTOCOL_ERROR]);
    range.ends("identifier 0", &[0x32, 6, 0, 1, b'a', 0, 0, 0], &[MALFORMED, PROTOCOL_ERROR]);
    range.ends("a ping with a body", &[0xC0, 1, 0], &[MALFORMED]);
    range.ends("an acknowledgement of one byte", &[0x40, 1, 0], &[MALFORMED]);
    range.ends("a filter beyond the packet", &[0x82, 5, 0, 1, 0, 9, b'a'], &[MALFORMED]);
}

// [hostile 6] [hostile 7] [hostile 8]
#[test]
fn packets_a_client_may_not_send_end_the_connection() {
    let mut range = Range::new();
    range.ends("a second CONNECT", &Connect::new(Version::V5, "").bytes(), &[PROTOCOL_ERROR]);
    range.ends("CONNACK", &packet(0x20, &[0, 0, 0]), &[PROTOCOL_ERROR, MALFORMED]);
    range.ends("SUBACK", &packet(0x90, &[0, 1, 0, 0]), &[PROTOCOL_ERROR, MALFORMED]);
    range.ends("UNSUBACK", &packet(0xB0, &[0, 1, 0, 0]), &[PROTOCOL_ERROR, MALFORMED]);
    range.ends("PINGRESP", &[0xD0, 0], &[PROTOCOL_ERROR, MALFORMED]);
    range.ends("type 0", &[0x00, 0], &[MALFORMED, PROTOCOL_ERROR]);
    range.disconnects("AUTH out of the blue", &packet(0xF0, &[0x18, 0]), &[PROTOCOL_ERROR, 0x8C]);
    range.closes("type 15", &[0xF0, 0]);
    for first in [0x41, 0x51, 0x60, 0x71, 0x80, 0xA0, 0xC1, 0xE1] {
        range.ends("flags that are reserved", &packet(first, &[0, 1]), &[MALFORMED]);
    }
}

// [hostile 9] [hostile 10]
#[test]
fn properties_must_be_known_single_whole_and_in_place() {
    let mut range = Range::new();
    let connect = |properties: &[u8]| Connect::new(Version::V5, "").with_properties(properties).bytes();
    let both = &[MALFORMED, PROTOCOL_ERROR];
    range.refuses("an unknown property", &connect(&[0x7F, 0]), both);
    range.refuses("of another packet", &connect(&[property::TOPIC_ALIAS, 0, 1]), both);
    range.refuses("twice", &connect(&numbers(&[(property::SESSION_EXPIRY, 1), (property::SESSION_EXPIRY, 1)])), both);
    range.refuses("cut", &connect(&[property::SESSION_EXPIRY, 0]), both);
    range.refuses("receive maximum 0", &connect(&numbers(&[(property::RECEIVE_MAXIMUM, 0)])), both);
    range.refuses("maximum packet size 0", &connect(&numbers(&[(property::MAXIMUM_PACKET, 0)])), both);
    range.refuses("no boolean", &connect(&[23, 2]), both);
    let many: Vec<u8> = (0..8000).flat_map(|_| user("a", "")).collect();
    range.refuses("thousands of user properties", &connect(&many), &[0x95, 0x97, MALFORMED, PROTOCOL_ERROR]);

    let with = |properties: &[u8]| publish(Version::V5, "a", b"", 1, false, 1, properties);
    range.disconnects("an unknown property", &with(&[0x7F, 0]), both);
    range.disconnects("a subscription identifier", &with(&numbers(&[(property::SUBSCRIPTION_ID, 1)])), both);
    range.disconnects("a payload format 2", &with(&numbers(&[(property::PAYLOAD_FORMAT, 2)])), both);
    range.disconnects(
        "a response topic with wildcard",
        &with(&worded(property::RESPONSE_TOPIC, "a/#")),
        &[MALFORMED, PROTOCOL_ERROR, 0x90],
    );
    range.disconnects("a length beyond the packet", &packet(0x30, &[0, 1, b'a', 9, 1]), both);
    let many: Vec<u8> = (0..5000).flat_map(|_| user("a", "")).collect();
    range.disconnects("thousands of user properties", &with(&many), &[0x95, 0x97, MALFORMED, PROTOCOL_ERROR]);
}

// [hostile 11]
#[test]
fn wills_are_checked_when_they_are_made() {
    let mut range = Range::new();
    let will = |topic: &str, properties: &[u8]| {
        let will = Will { topic: topic.into(), properties: properties.to_vec(), ..Will::default() };
        Connect { will: Some(will), ..Connect::new(Version::V5, "") }.bytes()
    };
    range.refuses("a will to $SYS", &will("$SYS/broker", &[]), &[0x87, 0x90]);
    range.refuses("a will with a wildcard", &will("a/#", &[]), &[0x90, MALFORMED, PROTOCOL_ERROR]);
    range.refuses("a will without topic", &will("", &[]), &[0x90, MALFORMED, PROTOCOL_ERROR]);
    range.refuses(
        "a property of another packet",
        &will("a", &[property::TOPIC_ALIAS, 0, 1]),
        &[MALFORMED, PROTOCOL_ERROR],
    );
    range.refuses("a property cut short", &will("a", &[property::WILL_DELAY, 0]), &[MALFORMED, PROTOCOL_ERROR]);
}

// [hostile 12]
#[test]
fn text_must_be_utf_8_without_nul() {
    let mut range = Range::new();
    let wrong: [&[u8]; 6] = [b"\xFF", b"a\xC3", b"\xED\xA0\x80", b"\xC0\xAF", b"\xF4\x90\x80\x80", b"a\0b"];
    for bytes in wrong {
        let field = |before: &[u8], after: &[u8]| {
            let mut body = before.to_vec();
            binary(&mut body, bytes);
            body.extend_from_slice(after);
            body
        };
        let codes = &[MALFORMED, 0x85, 0x90, 0x8F];
        range.refuses("client identifier", &packet(0x10, &field(b"\0\x04MQTT\x05\x02\0\0\0", b"")), codes);
        range.refuses("user name", &packet(0x10, &field(b"\0\x04MQTT\x05\x82\0\0\0\0\0", b"")), codes);
        range.refuses("will topic", &packet(0x10, &field(b"\0\x04MQTT\x05\x06\0\0\0\0\0\0", b"\0\0")), codes);
        range.disconnects("topic", &packet(0x30, &field(b"", b"\0")), codes);
        range.closes("topic", &packet(0x30, &field(b"", b"")));
        range.disconnects("filter", &packet(0x82, &field(b"\0\x01\0", b"\0")), codes);
        range.closes("filter", &packet(0x82, &field(b"\0\x01", b"\0")));
        range.disconnects("filter of an UNSUBSCRIBE", &packet(0xA2, &field(b"\0\x01\0", b"")), codes);
        let property = field(&[property::CONTENT_TYPE], b"");
        range.disconnects("content type", &publish(Version::V5, "a", b"", 0, false, 0, &property), codes);
        let property = field(&[property::USER, 0, 1, b'a'], b"");
        range.disconnects("user property", &publish(Version::V5, "a", b"", 0, false, 0, &property), codes);
    }
}

// [hostile 13] [hostile 14]
#[test]
fn client_identifiers_may_be_odd_or_empty() {
    let mut range = Range::new();
    for name in ["#", "+", "a/b/#", "%u", "$SYS", " ", "ä🐕"] {
        for version in [Version::V311, Version::V5] {
            let mut client = Connect::lasting(version, name).open_anew(range.server.mqtt());
            client.subscribe("odd", 1);
            range.writer.publish("odd", "heard", 1, false);
            assert_eq!(client.receive().text(), "heard");
            client.disconnect();
            assert!(Connect::lasting(version, name).resume(range.server.mqtt()).1, "{name}");
        }
    }
    // Empty, and a session that would be nobody's (3.1.1 §3.1.3-8); MQTT 5 makes a name.
    let (mut client, answer) = Connect::lasting(Version::V311, "").open_with_answer(range.server.mqtt());
    assert_eq!((answer.code(), client.rest()), (Some(2), vec![]));
    let (mut client, present) = Connect::lasting(Version::V5, "").resume(range.server.mqtt());
    assert!(!present);
    client.ping();
    let long = "x".repeat(60_000);
    range.refuses("a client identifier of 60,000 bytes", &Connect::new(Version::V5, &long).bytes(), &[0x85]);
}

// [hostile 15]
#[test]
fn keep_alive_may_be_none_or_the_longest() {
    let range = Range::new();
    for keep_alive in [0, 65535] {
        for version in [Version::V311, Version::V5] {
            Connect::new(version, "").with_keep_alive(keep_alive).open(range.server.mqtt()).ping();
        }
    }
}

// [hostile 17] [hostile 18]
#[test]
fn mqtt_at_the_door_of_http_is_answered_or_closed() {
    let mut range = Range::new();
    for bytes in [Connect::new(Version::V5, "lost").bytes(), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()] {
        let mut stream = TcpStream::connect(("127.0.0.1", range.server.http())).expect("it listens");
        stream.set_read_timeout(Some(crate::DEADLINE)).expect("a limit");
        stream.write_all(&bytes).expect("sent");
        stream.write_all(b"\r\n\r\n").ok();
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
        range.others_are_well();
    }
}

// [hostile 19] [hostile 20] [hostile 23] [hostile 25]
#[test]
fn topics_one_may_not_publish_to() {
    let mut range = Range::new();
    let to = |topic: &str| publish(Version::V5, topic, b"x", 1, false, 1, &[]);
    range.disconnects("no topic and no alias", &to(""), &[MALFORMED, PROTOCOL_ERROR, 0x90]);
    range.closes("no topic", &publish(Version::V311, "", b"x", 1, false, 1, &[]));
    for topic in ["a/#", "#", "+", "a/+/b", "a+"] {
        range.disconnects(topic, &to(topic), &[MALFORMED, PROTOCOL_ERROR, 0x90]);
        range.closes(topic, &publish(Version::V311, topic, b"x", 1, false, 1, &[]));
    }
    let mut client = range.server.connect("");
    for topic in ["$SYS/broker/uptime", "$SYS", "$topics/a", "$get"] {
        let code = client.try_publish(topic, b"x", 1, true, &[]);
        assert!(matches!(code, 0x87 | 0x90), "{topic}: {code:#04x}");
    }
    client.publish("$other/topic", "an ordinary one", 1, true);
    let levels = vec!["a"; 200].join("/");
    assert_eq!(client.try_publish(&levels, b"x", 1, true, &[]), 0x90);
    assert_eq!(client.try_publish(&"/".repeat(65_535), b"x", 1, true, &[]), 0x90);
    client.publish(&"/".repeat(127), "only slashes", 1, true);
    let mut reader = range.server.connect("");
    reader.subscribe(&"x".repeat(65_535), 0);
    client.publish(&"x".repeat(65_535), "a long one", 1, false);
    assert_eq!(reader.receive().text(), "a long one");
    range.others_are_well();
}

// [hostile 26]
#[test]
fn a_topic_is_what_it_is_and_no_path() {
    let mut range = Range::new();
    let mut reader = range.server.connect("");
    reader.subscribe("dog/#", 1);
    let mut client = range.server.connect("");
    let odd =
        ["..", "../cat/1", "%2e%2e", "a%2Fb", "?", "?name=x", "a.name", "1.json", "/x", "x/", "a//b", " ", "\u{1F415}"];
    for key in odd {
        client.publish(&format!("dog/{key}"), "{}", 1, true);
        let seen = reader.receive();
        assert_eq!((&*seen.topic, &seen.json()["id"]), (&*format!("dog/{key}"), &serde_json::json!(key)));
    }
    client.publish("/dog/1", "another topic", 1, true);
    client.publish("dog./1", "another topic", 1, true);
    client.publish("DOG/1", "another topic", 1, true);
    crate::sessions::assert_nothing_more(&mut reader, &mut range.writer);
    assert_eq!(range.server.get("/dog/").json().as_array().map(Vec::len), Some(odd.len()));
    let encoded = range.server.get("/dog/%2E%2E");
    assert!(matches!(encoded.status, 200 | 400 | 404), "{}", encoded.status);
    assert_eq!(range.server.record("/dog/a%252Fb")["id"], "a%2Fb");
    range.others_are_well();
}

// [hostile 24]
#[test]
fn one_identifier_again_and_again_is_one_message() {
    let mut range = Range::new();
    let mut reader = range.server.connect("");
    reader.subscribe("dog/#", 2);
    let mut client = range.server.connect("");
    for round in 0..500 {
        let mut bytes = publish(Version::V5, "dog/1", b"once", 2, false, 7, &[]);
        bytes[0] |= if round > 0 { 0x08 } else { 0 };
        client.send(&bytes);
        let answer = client.next();
        assert!(matches!(&answer, Packet::Pubrec(found) if found.id == 7 && found.code < 0x80), "{answer:?}");
    }
    assert_eq!(reader.receive().text(), "once");
    crate::sessions::assert_nothing_more(&mut reader, &mut range.writer);
    range.others_are_well();
}

// [hostile 27]
#[test]
fn aliases_beyond_what_was_agreed_end_the_connection() {
    let mut range = Range::new();
    let alias = |number, topic: &str| {
        publish(Version::V5, topic, b"", 0, false, 0, &numbers(&[(property::TOPIC_ALIAS, number)]))
    };
    range.disconnects("alias 0", &alias(0, "a"), &[0x94, MALFORMED, PROTOCOL_ERROR]);
    range.disconnects("alias 65535", &alias(65535, "a"), &[0x94]);
    range.disconnects("an alias never set", &alias(1, ""), &[PROTOCOL_ERROR, 0x94]);
    let mut client = range.server.connect("");
    let mut reader = range.server.connect("");
    reader.subscribe("aliased", 0);
    client.send(&[alias(1, "aliased"), alias(1, ""), alias(1, "other"), alias(1, "aliased")].concat());
    for _ in 0..3 {
        assert_eq!(reader.receive().topic, "aliased");
    }
    range.others_are_well();
}

// [hostile 28]
#[test]
fn what_is_too_large_for_a_reader_is_not_sent_to_it() {
    let mut range = Range::new();
    let connect = Connect::new(Version::V5, "small").with_properties(&numbers(&[(property::MAXIMUM_PACKET, 100)]));
    let mut small = connect.open(range.server.mqtt());
    let mut other = range.server.connect("");
    small.subscribe("size", 1);
    other.subscribe("size", 1);
    let large = "x".repeat(100);
    for payload in [&*large, "fits"] {
        range.writer.publish("size", payload, 1, false);
        assert_eq!(other.receive().text(), payload);
    }
    assert_eq!(small.receive().text(), "fits");
    range.others_are_well();
}

// [hostile 29] [hostile 31]
#[test]
fn json_that_is_none_is_refused_and_odd_json_is_kept() {
    let mut range = Range::new();
    let mut client = range.server.connect("");
    let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let refused = [
        "{",
        "",
        " ",
        "[]",
        "1",
        "null",
        "\"x\"",
        "{\"a\":}",
        "{\"a\":1,}",
        "{'a':1}",
        "{\"a\":NaN}",
        "{\"a\":01}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":1} {}",
        "{\"age\":2147483648}",
        "{\"age\":1.5}",
        "{\"age\":1e99}",
        "{\"name\":1}",
        "{\"id\":\"other\"}",
        "{\"id\":null,\"id\":\"other\"}",
    ];
    for json in refused.iter().copied().chain([&*deep(65), &*deep(10_000), &*"[".repeat(100_000)]) {
        if json.is_empty() {
            continue;
        }
        let shown = &json[..json.len().min(40)];
        assert_eq!(client.try_publish("dog/json", json.as_bytes(), 1, true, &[]), 0x99, "{shown}");
        assert_eq!(range.server.put("/dog/json", json).status, 400, "{shown}");
        assert_eq!(range.server.get("/dog/json").status, 404, "{shown}");
    }
    assert_eq!(client.try_publish("dog/json", b"{\"a\":\"\xFF\"}", 1, true, &[]), 0x99, "no UTF-8");
    range.others_are_well();

    let kept = [
        (r#"{"name":"a","name":"b"}"#, r#"{"id":"json","name":"b"}"#),
        (r#"{"__proto__":{"x":1}}"#, r#"{"id":"json","__proto__":{"x":1}}"#),
        (r#"{"n":123456789012345678901234567890}"#, r#"{"id":"json","n":123456789012345678901234567890}"#),
        (r#"{"age":2147483647}"#, r#"{"id":"json","age":2147483647}"#),
        ("{\"name\":\"\\ud83d\\udc15\"}", "{\"id\":\"json\",\"name\":\"\u{1F415}\"}"),
    ];
    for (json, expected) in kept {
        assert_eq!(client.try_publish("dog/json", json.as_bytes(), 1, true, &[]), 0, "{json}");
        let expected: serde_json::Value = serde_json::from_str(expected).expect("JSON");
        assert_eq!(range.server.record("/dog/json"), expected);
    }
    assert_eq!(client.try_publish("dog/json", deep(60).as_bytes(), 1, true, &[]), 0);
    range.others_are_well();
}

// [hostile 30]
#[test]
fn cbor_and_message_pack_that_lie_are_refused() {
    let mut range = Range::new();
    let mut client = range.server.connect("");
    let cbor: [&[u8]; 8] = [
        b"\xA1",
        b"\xBF",
        b"\xBF\x61a",
        b"\xBB\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        b"\xA1\x7B\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        b"\xA1\x61a\x9B\0\0\0\xFF\xFF\xFF\xFF\xFF",
        b"\xA1\x61a\x1C",
        b"\xA1\x61\xFF\x01",
    ];
    let msgpack: [&[u8]; 6] = [
        b"\x81",
        b"\xDF\xFF\xFF\xFF\xFF",
        b"\x81\xA1a\xDB\xFF\xFF\xFF\xFF",
        b"\x81\xA1a\xDD\xFF\xFF\xFF\xFF",
        b"\x81\xA1a\xC1",
        b"\x81\xA1\xFF\x01",
    ];
    let deep_cbor = [b"\xA1\x61a".repeat(10_000), vec![1]].concat();
    let deep_msgpack = [b"\x81\xA1a".repeat(10_000), vec![1]].concat();
    let all = cbor.iter().copied().chain([&deep_cbor[..]]).map(|bytes| ("application/cbor", bytes));
    let all = all.chain(msgpack.iter().copied().chain([&deep_msgpack[..]]).map(|bytes| ("application/msgpack", bytes)));
    for (content_type, bytes) in all {
        let shown = &bytes[..bytes.len().min(12)];
        let code = client.try_publish("dog/1", bytes, 1, true, &worded(property::CONTENT_TYPE, content_type));
        assert_eq!(code, 0x99, "{content_type} {shown:02x?}");
        let head = format!("Content-Type: {content_type}");
        assert_eq!(range.server.request("PUT", "/dog/1", &[&head], bytes).status, 400, "{content_type} {shown:02x?}");
    }
    // An indefinite map is CBOR too.
    let cbor = worded(property::CONTENT_TYPE, "application/cbor");
    assert_eq!(client.try_publish("dog/1", b"\xBF\x64name\x63Rex\xFF", 1, true, &cbor), 0);
    assert_eq!(range.server.record("/dog/1")["name"], "Rex");
    let unknown = worded(property::CONTENT_TYPE, "image/png");
    assert_eq!(client.try_publish("dog/1", b"{}", 1, true, &unknown), 0x99);
    range.others_are_well();
}

// [hostile 33]
#[test]
fn more_in_flight_than_we_take_ends_the_connection() {
    let mut range = Range::of(&Application::dogs().configured("mqtt: { limits: { receiveMaximum: 10 } }"));
    let many: Vec<u8> = (1..=100).flat_map(|id| publish(Version::V5, "a", b"", 2, false, id, &[])).collect();
    let mut client = range.server.connect("");
    client.send(&many);
    let rest = client.rest();
    assert_eq!(rest.last().and_then(Packet::code), Some(0x93), "{rest:?}");
    assert!(rest.len() <= 11, "{rest:?}");
    range.others_are_well();
}

// [hostile 34] [hostile 39]
#[test]
fn filters_that_are_none_are_refused() {
    let mut range = Range::new();
    let both = &[MALFORMED, PROTOCOL_ERROR, 0x8F];
    for filter in ["", "#/x", "a#", "a/#/b", "a+/b", "+a", "a/b+", "a/##", "++"] {
        let mut client = range.server.connect("");
        client.send(&subscribe(Version::V5, 1, &[(filter, 1)], &[]));
        match client.next() {
            Packet::Suback { codes, .. } => assert_eq!(codes, [0x8F], "{filter}"),
            Packet::Disconnect { code, .. } => assert!(both.contains(&code), "{filter}: {code:#04x}"),
            other => panic!("{filter}: {other:?}"),
        }
        let mut client = range.server.connect_311("");
        client.send(&subscribe(Version::V311, 1, &[(filter, 1)], &[]));
        match client.try_next() {
            None => {}
            Some(Packet::Suback { codes, .. }) => assert_eq!(codes, [0x80], "{filter}"),
            other => panic!("{filter}: {other:?}"),
        }
        range.others_are_well();
    }
    for filter in ["$share/x", "$share//f", "$share/a+/f", "$share/a#/f", "$share/x/"] {
        let mut client = range.server.connect("");
        client.send(&subscribe(Version::V5, 1, &[(filter, 1)], &[]));
        match client.next() {
            Packet::Suback { codes, .. } => assert!(codes[0] >= 0x80, "{filter}: {codes:02x?}"),
            Packet::Disconnect { code, .. } => assert!(both.contains(&code), "{filter}: {code:#04x}"),
            other => panic!("{filter}: {other:?}"),
        }
        range.others_are_well();
    }
}

// [hostile 35] [hostile 36] [hostile 37]
#[test]
fn a_subscribe_must_be_whole() {
    let mut range = Range::new();
    range.disconnects("no filter", &packet(0x82, &[0, 1, 0]), &[MALFORMED, PROTOCOL_ERROR]);
    range.closes("no filter", &packet(0x82, &[0, 1]));
    range.disconnects("no options", &packet(0x82, &[0, 1, 0, 0, 1, b'a']), &[MALFORMED]);
    range.closes("no options", &packet(0x82, &[0, 1, 0, 1, b'a']));
    let wrong = &[MALFORMED, PROTOCOL_ERROR];
    for options in [0x03, 0x40, 0x80, 0x30, 0xFF] {
        range.disconnects("options", &subscribe(Version::V5, 1, &[("a", options)], &[]), wrong);
        range.closes("options", &subscribe(Version::V311, 1, &[("a", options)], &[]));
    }
    range.disconnects("identifier 0", &subscribe(Version::V5, 0, &[("a", 0)], &[]), wrong);
    range.closes("identifier 0", &subscribe(Version::V311, 0, &[("a", 0)], &[]));
    let zero = numbers(&[(property::SUBSCRIPTION_ID, 0)]);
    range.disconnects("subscription identifier 0", &subscribe(Version::V5, 1, &[("a", 0)], &zero), wrong);
    let five = [property::SUBSCRIPTION_ID, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
    range.disconnects("a subscription identifier of five bytes", &subscribe(Version::V5, 1, &[("a", 0)], &five), wrong);
    let twice = numbers(&[(property::SUBSCRIPTION_ID, 1), (property::SUBSCRIPTION_ID, 2)]);
    range.disconnects("two subscription identifiers", &subscribe(Version::V5, 1, &[("a", 0)], &twice), wrong);
    range.disconnects("an UNSUBSCRIBE without filter", &packet(0xA2, &[0, 1, 0]), wrong);
    range.closes("an UNSUBSCRIBE without filter", &packet(0xA2, &[0, 1]));
    range.disconnects("an UNSUBSCRIBE with half a filter", &packet(0xA2, &[0, 1, 0, 0, 5, b'a']), wrong);
}

// [hostile 38]
#[test]
fn a_shared_and_a_plain_subscription_of_one_filter_are_two() {
    let range = Range::new();
    let mut client = range.server.connect("");
    client.subscribe("crosswise", 0);
    let mut body = vec![0, 9, 0];
    text(&mut body, "$share/g/crosswise");
    client.send(&packet(0xA2, &body));
    assert_eq!(client.next(), Packet::Unsuback { id: 9, codes: vec![0x11] });
    let mut writer = range.server.connect("");
    writer.publish("crosswise", "heard", 1, false);
    assert_eq!(client.receive().text(), "heard");
}

// [hostile 40]
#[test]
fn a_hundred_thousand_filters_are_taken_ten_thousand_at_a_time_and_no_more() {
    const ALL: usize = 100_000;
    const AT_ONCE: usize = 10_000;
    let mut range = Range::new().may_hold(160 * MIB);
    let names: Vec<String> = (0..ALL + AT_ONCE).map(|number| format!("many/{number}/+")).collect();
    let mut client = range.server.connect("");
    for (round, chunk) in names.chunks(AT_ONCE).enumerate() {
        let filters: Vec<(&str, u8)> = chunk.iter().map(|name| (&**name, 0)).collect();
        let codes = client.try_subscribe(&filters);
        let expected = if round < ALL / AT_ONCE { 0 } else { 0x97 };
        assert_eq!(codes, vec![expected; AT_ONCE], "round {round}");
        range.others_are_well();
    }
    for (number, is_heard) in [(ALL - 1, true), (ALL, false), (AT_ONCE, true), (0, true)] {
        range.writer.publish(&format!("many/{number}/x"), if is_heard { "heard" } else { "not heard" }, 1, false);
    }
    for number in [ALL - 1, AT_ONCE, 0] {
        assert_eq!(client.receive().topic, format!("many/{number}/x"));
    }
    // One more than a packet may name.
    let filters: Vec<(&str, u8)> = names[..=AT_ONCE].iter().map(|name| (&**name, 0)).collect();
    let mut other = range.server.connect("");
    let codes = other.try_subscribe(&filters);
    assert_eq!((&codes[..AT_ONCE], codes[AT_ONCE]), (&[0; AT_ONCE][..], 0x97));
    for client in [client, other] {
        client.disconnect();
        range.others_are_well();
    }
}

// [hostile 40]
#[test]
fn bounds_of_filters_are_those_of_the_configuration() {
    let mut range = Range::of(
        &Application::dogs().configured("mqtt: { limits: { filtersPerSubscribe: 10, subscriptionsPerClient: 30 } }"),
    );
    let names: Vec<String> = (0..40).map(|number| format!("many/{number}")).collect();
    for connect in [Connect::new(Version::V5, ""), Connect::lasting(Version::V5, "lasting")] {
        let mut client = connect.open(range.server.mqtt());
        for (round, chunk) in names.chunks(10).enumerate() {
            let filters: Vec<(&str, u8)> = chunk.iter().map(|name| (&**name, 0)).collect();
            assert_eq!(client.try_subscribe(&filters), [if round < 3 { 0 } else { 0x97 }; 10], "round {round}");
        }
        // What it has it may ask for again.
        assert_eq!(client.try_subscribe(&[("many/29", 1), ("many/30", 1)]), [1, 0x97]);
        client.unsubscribe("many/29");
        assert_eq!(client.try_subscribe(&[("many/30", 1), ("many/31", 1)]), [1, 0x97]);
        let filters: Vec<(&str, u8)> = names[..11].iter().map(|name| (&**name, 0)).collect();
        assert_eq!(client.try_subscribe(&filters)[9..], [0, 0x97]);
        range.others_are_well();
    }
}

// [hostile 44]
#[test]
fn who_is_blocked_writing_is_taken_over() {
    const MESSAGES: usize = 80;
    let mut range = Range::new().may_hold(96 * MIB);
    let connect = Connect::lasting(Version::V5, "blocked");
    let mut blocked = connect.open_anew(range.server.mqtt());
    blocked.subscribe("dog/#", 1);
    // More than sockets and outbox hold, and nothing of it is read.
    let padding = "x".repeat(256 * 1024);
    for number in 0..MESSAGES {
        range.writer.publish("dog/1", &format!("{number} {padding}"), 1, false);
    }
    range.others_are_well();
    let (mut reader, present) = connect.resume(range.server.mqtt());
    assert!(present);
    range.others_are_well();
    for number in 0..MESSAGES {
        let seen = reader.receive();
        assert_eq!(seen.text().split_once(' ').expect("a number").0, number.to_string());
    }
    crate::sessions::assert_nothing_more(&mut reader, &mut range.writer);
    // The old one ends, wherever in its messages that is.
    blocked.read_to_the_end();
}

// [hostile 45]
#[test]
fn subscriptions_that_change_while_they_deliver_lose_and_repeat_nothing() {
    const MESSAGES: usize = 400;
    let mut range = Range::new();
    let mut reader = Connect::lasting(Version::V5, "changing").open_anew(range.server.mqtt());
    reader.subscribe("event/#", 1);
    let mut writer = range.server.connect("");
    let writing = std::thread::spawn(move || {
        for number in 0..MESSAGES {
            writer.publish(&format!("event/{}", number % 3), &number.to_string(), 1, false);
        }
    });
    let mut expected = 0;
    for round in 0.. {
        if expected == MESSAGES {
            break;
        }
        // One filter stays, with other options each time; those beside it come and go.
        let (id, other) = (reader.next_id(), format!("event/{}", round % 3));
        let identifier = numbers(&[(property::SUBSCRIPTION_ID, 1 + round % 100)]);
        let qos = 1 + round as u8 % 2;
        let request = match round % 3 {
            0 => subscribe(Version::V5, id, &[("event/#", qos), (&other, 1)], &identifier),
            1 => unsubscribe(Version::V5, id, &[&other, "event/+"]),
            _ => subscribe(Version::V5, id, &[("event/+", 2)], &[]),
        };
        reader.send(&request);
        loop {
            match reader.next() {
                Packet::Publish(seen) => {
                    assert_eq!(seen.text(), expected.to_string(), "{seen}");
                    expected += 1;
                    reader.acknowledge(&seen);
                }
                Packet::Pubrel(released) => reader.send(&ack(0x70, released.id)),
                Packet::Suback { id: found, codes, .. } if found == id => {
                    assert!(codes.iter().all(|code| *code <= 2), "{codes:02x?}");
                    break;
                }
                Packet::Unsuback { id: found, .. } if found == id => break,
                other => panic!("{other:?}"),
            }
        }
        // Some more, so that all of it is delivered with what there is now.
        while expected < MESSAGES.min(3 * round as usize) {
            let seen = reader.receive();
            assert_eq!(seen.text(), expected.to_string(), "{seen}");
            expected += 1;
        }
    }
    writing.join().expect("all were acknowledged");
    crate::sessions::assert_nothing_more_of("event/end", &mut reader, &mut range.writer);
}

// [hostile 51]
#[test]
fn acknowledgements_of_nothing_hurt_nobody() {
    let mut range = Range::new();
    let mut reader = range.server.connect("");
    reader.subscribe("acks", 2);
    range.writer.publish("acks", "one", 1, false);
    let seen = reader.next_publish();
    for first in [0x40, 0x50, 0x62, 0x70] {
        let mut client = range.server.connect("");
        client.send(&ack(first, 4711));
        client.send(&[0xC0, 0]);
        // MQTT 5 has reason 0x92 for these; ending the connection is allowed too.
        match client.try_next() {
            Some(Packet::Pingresp) | None => {}
            Some(Packet::Pubrel(found) | Packet::Pubcomp(found)) => assert_eq!((found.id, found.code), (4711, 0x92)),
            Some(Packet::Disconnect { code, .. }) => assert!(matches!(code, 0x82), "{code:#04x}"),
            other => panic!("{first:#04x}: {other:?}"),
        }
        range.others_are_well();
    }
    reader.send(&ack(0x40, seen.id));
    reader.send(&ack(0x40, seen.id));
    reader.ping();
    range.writer.publish("acks", "two", 1, false);
    assert_eq!(reader.receive().text(), "two");
    // Of the wrong kind: PUBREC for a message of QoS 1.
    range.writer.publish("acks", "three", 1, false);
    let seen = reader.next_publish();
    reader.send(&ack(0x50, seen.id));
    assert!(matches!(reader.try_next(), Some(Packet::Disconnect { code: 0x82, .. })));
    assert!(reader.try_next().is_none(), "closed");
    range.others_are_well();
}

// [hostile 47]
#[test]
fn identifiers_used_twice_in_a_burst_are_answered_once_each_time() {
    let mut range = Range::new();
    let mut client = range.server.connect("");
    let burst: Vec<u8> = (0..100).flat_map(|_| publish(Version::V5, "burst", b"x", 1, false, 5, &[])).collect();
    client.send(&burst);
    for _ in 0..100 {
        let answer = client.next();
        assert!(matches!(&answer, Packet::Puback(found) if found.id == 5 && found.code < 0x80), "{answer:?}");
    }
    client.ping();
    range.others_are_well();
}

#[test]
fn a_reader_that_does_not_read_holds_nobody_up_and_little_memory() {
    let mut range = Range::new().may_hold(48 * MIB);
    let mut stuck = range.server.connect("");
    stuck.subscribe("flood", 0);
    let payload = "x".repeat(64 * 1024);
    for round in 0..1000 {
        range.writer.publish("flood", &payload, 0, false);
        if round % 50 == 0 {
            range.others_are_well();
        }
    }
    range.others_are_well();
    range.holds_at_most(48 * MIB);
    range.writer.publish("flood", "the last", 1, false);
    drop(stuck);
    range.others_are_well();
}

#[test]
fn a_flood_of_connections_leaves_nothing_behind() {
    let mut range = Range::new();
    for version in [Version::V311, Version::V5] {
        for round in 0..10 {
            // Some say nothing, some half of it, some all; they go without a word, or are read to their end.
            let clients: Vec<_> = (0..50)
                .map(|number| {
                    let mut client = Client::dial(range.server.mqtt(), version);
                    let whole = Connect::lasting(version, &format!("flood-{number}")).bytes();
                    client.send(&whole[..whole.len() * (number % 3) / 2]);
                    client
                })
                .collect();
            range.others_are_well();
            for client in clients {
                client.cut();
            }
            if round % 3 == 0 {
                range.others_are_well();
            }
        }
    }
}

#[test]
fn a_packet_that_comes_byte_by_byte_costs_what_has_come() {
    let mut range = Range::of(&Application::dogs().configured("mqtt: { limits: { packetBytes: 268435455 } }"));
    // 256 MiB are announced, as many as the wire can say; then a byte a turn.
    let mut clients: Vec<_> = (0..50)
        .map(|_| {
            let mut client = range.server.connect("");
            client.send(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 4, b's', b'l', b'o', b'w', 0]);
            client
        })
        .collect();
    for _ in 0..20 {
        for client in &mut clients {
            client.send(b"x");
        }
        range.others_are_well();
    }
    range.holds_at_most(8 * MIB);
    for client in clients {
        client.cut();
    }
}

#[test]
fn ten_thousand_wrong_passwords_hold_up_nobody_who_is_in() {
    const PASSWORD: &str = "correct horse battery";
    let application = Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", PASSWORD);
    // Two at a time are hashed, with 19 MiB each, and the allocator keeps a few of those.
    let mut range = Range::of_users(&application, ("admin", PASSWORD)).may_hold(256 * MIB);
    let mut codes = BTreeMap::new();
    for _ in 0..100 {
        let guesses = (0..100).map(|number| {
            let mut client = Client::dial(range.server.mqtt(), Version::V5);
            client.send(&Connect::new(Version::V5, "").with_user("admin", &number.to_string()).bytes());
            client
        });
        for mut client in guesses.collect::<Vec<_>>() {
            let answer = client.rest();
            let [Packet::Connack { session_present: false, code, .. }] = &answer[..] else { panic!("{answer:?}") };
            *codes.entry(*code).or_insert(0) += 1;
        }
        range.others_are_well();
    }
    // Wrong, or turned away without a look: nobody was let in.
    assert!(codes.keys().all(|code| matches!(code, 0x86 | 0x89 | 0x9F)), "{codes:02x?}");
}

#[test]
fn random_bytes_end_their_own_connection_only() {
    let mut range = Range::new();
    let mut random = crate::random::Random::new(1);
    for round in 0..300 {
        let length = 1 + random.below(64) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        let version = if round % 2 == 0 { Version::V5 } else { Version::V311 };
        if round % 3 > 0 {
            // Packets of the right length, of nonsense.
            bytes = packet(bytes[0], &bytes[1..]);
        }
        let mut client = Connect::new(version, "").open(range.server.mqtt());
        client.send(&bytes);
        client.cut();
        if round % 20 == 0 {
            range.others_are_well();
        }
    }
    range.others_are_well();
}
