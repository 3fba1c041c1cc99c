//! The audit log, and that no secret is anywhere it should not be.

use crate::auth::each_file;
use crate::scram::prove;
use crate::server::{Application, Server, until};
use crate::tls::{dial, secure};
use crate::users::user;
use crate::websocket::Socket;
use crate::wire::{self, Connect, Packet, Version};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

const PASSWORD: &str = "correct horse battery";

fn lines(data: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(data.join("audit/audit.log")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

/// Waits for a line with these members.
#[track_caller]
fn wait_for(data: &Path, members: &Value) {
    let expected = members.as_object().expect("members");
    until(&format!("the audit log has {members}"), || {
        let lines = lines(data);
        let fits = |line: &&Value| expected.iter().all(|(name, value)| line[name] == *value);
        if lines.iter().any(|line| fits(&line)) { Ok(()) } else { Err(format!("{lines:#?}")) }
    });
}

fn basic(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

fn code(server: &Server, user: &str, password: &str) -> Option<u8> {
    Connect::new(Version::V5, "c").with_user(user, password).open_with_answer(server.mqtt()).1.code()
}

#[test]
fn who_came_who_did_not_and_who_changed_what_is_written_down() {
    let application = Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", PASSWORD);
    application.write("roles.yaml", "kennel: { tables: { Dog: { read: true } } }\n");
    let data = application.path().join("data");
    user(&application, &["add", "chief", "--role", "admin"], "boss\n");
    wait_for(&data, &serde_json::json!({ "event": "user-added", "actor": "local", "user": "chief", "role": "admin" }));
    let server = application.start();
    let event = |members: Value| wait_for(&data, &members);
    user(&application, &["add", "rex", "--role", "kennel"], "bone\n");
    event(serde_json::json!({ "event": "user-added", "actor": "local", "user": "rex", "role": "kennel" }));
    event(serde_json::json!({ "event": "login", "user": "local", "door": "http", "method": "local" }));

    assert_eq!(code(&server, "rex", "bone"), Some(0));
    event(
        serde_json::json!({ "event": "login", "user": "rex", "door": "mqtt", "method": "password", "clientId": "c" }),
    );
    assert_eq!(code(&server, "rex", "wrong"), Some(0x86));
    let wrong = "wrong user name or password, or the account is shut";
    event(serde_json::json!({ "event": "refused", "user": "rex", "door": "mqtt", "reason": wrong, "clientId": "c" }));
    Connect::new(Version::V5, "d").open_with_answer(server.mqtt());
    event(serde_json::json!({ "event": "refused", "door": "mqtt", "clientId": "d" }));
    // Another user with the same client identifier.
    let owner = Connect::lasting(Version::V5, "e").with_user("rex", "bone").open(server.mqtt());
    let other = Connect::lasting(Version::V5, "e").with_user("chief", "boss").open_with_answer(server.mqtt()).1;
    assert_eq!(other.code(), Some(0x87));
    let words = "the session belongs to another user";
    event(serde_json::json!({ "event": "refused", "user": "chief", "door": "mqtt", "reason": words }));

    assert_eq!(server.request("GET", "/$admin/users", &[&basic("rex", "bone")], b"").status, 403);
    event(serde_json::json!({ "event": "denied", "user": "rex", "door": "http", "reason": "GET /$admin/users" }));
    assert_eq!(server.request("GET", "/dog/", &[&basic("rex", "ball")], b"").status, 401);
    event(serde_json::json!({ "event": "refused", "user": "rex", "door": "http" }));
    let chief = basic("chief", "boss");
    assert_eq!(server.request("POST", "/$admin/token", &[&chief], b"").status, 200);
    event(serde_json::json!({ "event": "token-issued", "user": "chief" }));
    assert_eq!(server.request("DELETE", "/$admin/connections/e", &[&chief], b"").status, 204);
    event(serde_json::json!({ "event": "client-dismissed", "actor": "chief", "clientId": "e" }));
    let change = br#"{"role":"admin","password":"bone 2"}"#;
    let json = "Content-Type: application/json";
    assert_eq!(server.request("PATCH", "/$admin/users/rex", &[&chief, json], change).status, 200);
    event(
        serde_json::json!({ "event": "user-changed", "actor": "chief", "user": "rex", "role": "admin", "password": true }),
    );
    assert_eq!(server.request("DELETE", "/$admin/users/rex", &[&chief], b"").status, 204);
    event(serde_json::json!({ "event": "user-deleted", "actor": "chief", "user": "rex" }));
    drop(owner);
    server.terminate();
    event(serde_json::json!({ "event": "stopped" }));
    assert!(lines(&data).iter().all(|line| line["time"].as_str().is_some_and(|time| time.ends_with('Z'))));
}

#[test]
fn no_secret_is_in_any_log_answer_argument_or_file() {
    let application = Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", PASSWORD);
    application.write("roles.yaml", "kennel: { tables: { Dog: { read: true } } }\n");
    let application = application.with("--log-level").with("trace");
    let server = application.start();
    let (bone, ball, guess) = ("a bone of rex", "another bone of rex", "a guess at the bone");
    let mut said = vec![server.screen.clone()];
    said.push(user(&application, &["add", "rex", "--role", "kennel"], &format!("{bone}\n")));
    for (name, password) in [("rex", bone), ("rex", guess), ("nobody", guess), ("admin", PASSWORD)] {
        let (mut client, answer) =
            Connect::new(Version::V5, "c").with_user(name, password).open_with_answer(server.mqtt());
        said.push(format!("{answer:?} {:?}", (answer.code() != Some(0)).then(|| client.rest())));
        said.push(server.request("GET", "/dog/", &[&basic(name, password)], b"").text().to_owned());
    }
    let tokens = server.request("POST", "/$admin/token", &[&basic("rex", bone)], b"").json();
    let (token, refresh) = (tokens["token"].as_str().expect("a token"), tokens["refreshToken"].as_str().expect("one"));
    let spoiled = &token[..token.len() - 5];
    for token in [token, refresh, spoiled] {
        said.push(server.request("GET", "/dog/", &[&format!("Authorization: Bearer {token}")], b"").text().to_owned());
        said.push(format!("{:?}", code(&server, "rex", token)));
    }
    let (admin, json) = (basic("admin", PASSWORD), "Content-Type: application/json");
    for body in [format!(r#"{{"password":"{ball}"}}"#), format!(r#"{{"pasword":"{ball}"}}"#), format!(r#""{ball}"#)] {
        let answer = server.request("PATCH", "/$admin/users/rex", &[&admin, json], body.as_bytes());
        said.push(answer.text().to_owned());
    }
    let arguments = std::fs::read(format!("/proc/{}/cmdline", server.id())).expect("it runs");
    said.push(String::from_utf8_lossy(&arguments).into_owned());
    let (_, log) = server.terminate();
    said.push(log);

    let mut secrets: Vec<Vec<u8>> =
        [bone, ball, guess, PASSWORD, token, refresh, spoiled].map(|text| text.into()).to_vec();
    // As Basic sends it, and the part of a token that must not be known.
    secrets.extend([bone, PASSWORD].map(|text| BASE64_STANDARD.encode(text).trim_end_matches('=').as_bytes().to_vec()));
    secrets.push(token.rsplit_once('.').expect("parts").1.as_bytes().to_vec());
    let holds = |bytes: &[u8], secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    for secret in &secrets {
        let text = String::from_utf8_lossy(secret);
        for said in &said {
            assert!(!holds(said.as_bytes(), secret), "{text} in {said}");
        }
        each_file(&application.path().join("data"), &mut |path| {
            let bytes = std::fs::read(path).unwrap_or_default();
            assert!(!holds(&bytes, secret), "{text} in {}", path.display());
        });
    }
    assert!(!lines(&application.path().join("data")).is_empty());
}

#[test]
fn what_is_denied_is_written_once_for_each_client() {
    let application = Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", PASSWORD);
    application.write("roles.yaml", "kennel: { tables: { Dog: { read: true } } }\n");
    application.write("rowcast.yaml", "mqtt: { limits: { connectionsPerAddress: 2 } }\n");
    let data = application.path().join("data");
    user(&application, &["add", "rex", "--role", "kennel"], "bone\n");
    let server = application.start();
    let start = Instant::now();
    let connect = |client_id| Connect::new(Version::V5, client_id).with_user("rex", "bone");
    let clients: Vec<_> = ["one", "two"].map(|client_id| (client_id, connect(client_id).open(server.mqtt()))).into();
    for (client_id, mut client) in clients {
        for number in 0..500 {
            assert_eq!(client.try_publish(&format!("dog/{number}"), b"{}", 1, true, &[]), 0x87);
        }
        assert_eq!(client.try_subscribe(&[("dog/1", 0), ("note/#", 0), ("counter/#", 0)]), [0, 0x87, 0x87]);
        let denied = serde_json::json!({ "event": "denied", "user": "rex", "clientId": client_id, "door": "mqtt" });
        for reason in ["PUBLISH dog/0", "SUBSCRIBE note/#"] {
            let mut denied = denied.clone();
            denied["reason"] = reason.into();
            wait_for(&data, &denied);
        }
        if client_id == "one" {
            for _ in 0..20 {
                assert_eq!(connect("three").open_with_answer(server.mqtt()).1.code(), Some(0x97));
            }
            wait_for(&data, &serde_json::json!({ "event": "refused", "reason": "too many connections" }));
        }
    }
    assert_eq!(server.request("PUT", "/dog/1", &[&basic("rex", "bone")], b"{}").status, 403);
    wait_for(&data, &serde_json::json!({ "event": "denied", "user": "rex", "door": "http", "reason": "PUT /dog/1" }));
    // The others are of what came again, one for each ten seconds of it.
    let others = start.elapsed().as_secs() as usize / 10 + 1;
    let of = |start: &str| {
        lines(&data)
            .iter()
            .filter(|line| line["reason"].as_str().is_some_and(|reason| reason.starts_with(start)))
            .count()
    };
    assert!(of("PUBLISH") <= 2 + 2 * others && of("SUBSCRIBE") == 2, "{:#?}", lines(&data));
    assert!(server.log().matches("publish refused").count() <= 2 + 2 * others, "{}", server.log());
    // What was still being counted is told at the end.
    server.terminate();
    wait_for(&data, &serde_json::json!({ "event": "stopped" }));
    for (reason, times) in [("PUBLISH", 1000), ("SUBSCRIBE", 2), ("too many connections", 20)] {
        let lines = lines(&data).into_iter();
        let of = lines.filter(|line| line["reason"].as_str().is_some_and(|told| told.starts_with(reason)));
        assert_eq!(of.map(|line| line["count"].as_u64().unwrap_or(1)).sum::<u64>(), times, "{reason}");
    }
}

/// What is sent through every door, and is not to be seen where people look: valid, and refused for all kinds of reasons.
const POSITION: &str = "52.0907N-5.1214E";

#[test]
fn nothing_that_is_sent_through_any_door_is_in_a_log() {
    let application = secure(Application::dogs().for_real()).with_variable("ROWCAST_ADMIN_PASSWORD", PASSWORD);
    application.write("roles.yaml", "kennel: { tables: { Dog: { read: true } } }\n");
    let application = application.with("--log-level").with("trace");
    let server = application.start();
    let bone = "a bone of rex";
    user(&application, &["add", "rex", "--role", "kennel"], &format!("{bone}\n"));
    let bodies = [
        format!(r#"{{"name":"{POSITION}"}}"#),
        format!(r#"{{"{POSITION}":1}}"#),
        format!(r#"{{"age":"{POSITION}"}}"#),
        format!(r#"{{"id":"{POSITION}"}}"#),
        format!(r#"{{"name":"{POSITION}""#),
        format!(r#"{{"name":"x","name":"{POSITION}"}}"#),
        format!(r#""{POSITION}""#),
        POSITION.to_owned(),
    ];
    for (name, password) in [("admin", PASSWORD), ("rex", bone)] {
        let connect = Connect::new(Version::V5, "c").with_user(name, password);
        // A will that is refused, and one that is published.
        through_in_vain(&server, &connect.clone().with_will("dog/will", POSITION, 1, true).bytes());
        let connect = if name == "admin" { connect.with_will("place/will", POSITION, 1, true) } else { connect };
        let mut packets = connect.bytes();
        for topic in ["dog/1", "counter/1", "note/1", "place/1", "$get/dog/1", "$SYS/x"] {
            for (body, retain) in bodies.iter().flat_map(|body| [(body, true), (body, false)]) {
                let property = wire::user("at", POSITION);
                packets.extend(wire::publish(Version::V5, topic, body.as_bytes(), 0, retain, 0, &property));
            }
        }
        packets.extend(b"\xc0\0");
        // What ends here without a goodbye leaves its will.
        let mut plain = TcpStream::connect(("127.0.0.1", server.mqtt())).expect("a connection");
        through(&mut plain, &packets);
        through(&mut dial(server.mqtts(), "localhost").expect("a connection"), &packets);
        let mut socket = Socket::open(&server, "/");
        socket.send(0x82, &packets);
        socket.expect_connack();
        assert_eq!(socket.mqtt(2), b"\xd0\0");
        for body in &bodies {
            for (method, path, kind) in [
                ("PUT", "/dog/2", "application/json"),
                ("PATCH", "/dog/2", "application/merge-patch+json"),
                ("POST", "/dog/", "application/json"),
                ("PUT", "/dog/2", "application/cbor"),
                ("PUT", "/counter/2", "application/json"),
                ("PUT", "/$admin/users/max", "application/json"),
            ] {
                let (kind, length) = (format!("Content-Type: {kind}"), format!("Content-Length: {}", body.len()));
                server.request(method, path, &[&basic(name, password), &kind], body.as_bytes());
                let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}\r\n");
                let request = format!("{head}{kind}\r\n{}\r\n\r\n{body}", basic(name, password));
                let mut secure = dial(server.https(), "localhost").expect("a connection");
                secure.write_all(request.as_bytes()).expect("sent");
                // The server ends it.
                let _ = secure.read_to_end(&mut Vec::new());
            }
        }
        prove(&server, name, password).expect("in");
        assert!(prove(&server, name, "a guess").is_err());
    }
    let mut listener = Connect::new(Version::V5, "l").with_user("admin", PASSWORD).open(server.mqtt());
    listener.subscribe("$SYS/#", 0);
    listener.send(b"\xc0\0");
    let mut said = server.screen.clone();
    loop {
        match listener.next() {
            Packet::Pingresp => break,
            other => said.push_str(&format!("{other:?}\n")),
        }
    }
    let data = application.path().join("data");
    let mut secrets: Vec<Vec<u8>> = [POSITION, PASSWORD, bone].map(Vec::from).to_vec();
    each_file(&data.join("keys"), &mut |path| {
        let key = std::fs::read(path).expect("a file");
        match std::str::from_utf8(&key) {
            Ok(pem) => secrets.extend(pem.lines().filter(|line| line.len() > 30).map(Vec::from)),
            Err(_) => secrets.push(key),
        }
    });
    assert!(secrets.len() > 5, "{}", secrets.len());
    secrets.extend_from_slice(&secrets.iter().map(|secret| BASE64_STANDARD.encode(secret).into()).collect::<Vec<_>>());
    let (_, log) = server.terminate();
    assert!(log.contains("publish refused"), "{log}");
    said.push_str(&log);
    said.push_str(&std::fs::read_to_string(data.join("audit/audit.log")).expect("an audit log"));
    for secret in secrets {
        let secret = String::from_utf8_lossy(&secret);
        let line = said.lines().find(|line| line.contains(&*secret));
        assert!(line.is_none(), "{secret} in {line:?}");
    }
}

/// Sends what ends the connection.
fn through_in_vain(server: &Server, bytes: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.mqtt())).expect("a connection");
    stream.write_all(bytes).expect("sent");
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Sends packets, of which the last is a PINGREQ, and waits until all are handled.
fn through(stream: &mut (impl Read + Write), packets: &[u8]) {
    stream.write_all(packets).expect("sent");
    let mut came = Vec::new();
    while !came.ends_with(b"\xd0\0") {
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes).expect("an answer");
        assert!(count > 0, "it ended: {came:?}");
        came.extend(&bytes[..count]);
    }
}

#[test]
fn an_audit_log_that_cannot_be_written_starts_nothing_and_none_is_as_good() {
    let application = Application::dogs().with("--set").with("logging.audit.path=/dev/null/audit.log");
    let said = application.start_in_vain();
    assert!(said.contains("/dev/null/audit.log"), "{said}");
    let application = Application::dogs().with("--set").with("logging.audit.enabled=false");
    let server = application.start();
    server.connect("").ping();
    assert!(!application.path().join("data/audit").exists());
}
