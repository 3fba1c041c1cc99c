//! SCRAM-SHA-256 over AUTH: signing in, again later, and what must not get in by it.

use crate::server::{Application, Server, binary};
use crate::wire::property::{AUTHENTICATION_DATA, AUTHENTICATION_METHOD};
use crate::wire::{Client, Connect, Packet, Version, auth, exchange};
use rowcast::auth::{SCRAM, ScramClient};
use std::process::{Command, Stdio};

const PASSWORD: &str = "correct horse battery";

fn guarded() -> Server {
    Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", PASSWORD).start()
}

#[test]
fn a_password_is_proven_and_not_sent() {
    // [MQTT-4.12.0-2], [MQTT-4.12.0-5], RFC 7677
    let server = guarded();
    let mut client = sign_in(&server, &Connect::new(Version::V5, "")).expect("in");
    client.publish("dog/1", r#"{"name":"Rex"}"#, 1, true);
    // And once more, with other things going on meanwhile.
    let (mut exchange_again, first) = ScramClient::new("admin", PASSWORD.as_bytes());
    client.send(&auth(0x19, &exchange(SCRAM, &first)));
    let last = exchange_again.answer(&data(&client.next(), 0x18)).expect("a challenge");
    client.ping();
    client.send(&auth(0x18, &exchange(SCRAM, &last)));
    exchange_again.finish(&data(&client.next(), 0x00)).expect("the server knows the password");
    client.publish("dog/1", r#"{"name":"Max"}"#, 1, true);
}

#[test]
fn a_session_is_the_same_by_password_and_by_proof() {
    let server = guarded();
    let lasting = Connect::lasting(Version::V5, "c");
    sign_in(&server, &lasting).expect("in").disconnect();
    assert!(lasting.with_user("admin", PASSWORD).resume(server.mqtt()).1);
}

#[test]
fn who_does_not_know_the_password_is_refused_whether_or_not_there_is_such_a_user() {
    // [MQTT-4.12.0-4]
    let server = guarded();
    for (user, password) in [("admin", "wrong"), ("nobody", PASSWORD), ("admin", "")] {
        let (mut client, challenge) = challenge(&server, user);
        let text = String::from_utf8(challenge).expect("text");
        let nonce = text.split(',').next().expect("a nonce").to_owned();
        client.send(&auth(0x18, &exchange(SCRAM, format!("c=biws,{nonce},p={}=", "A".repeat(43)).as_bytes())));
        assert_eq!(client.next().code(), Some(0x87), "{user}");
        assert_eq!(client.rest(), []);
        assert_eq!(prove(&server, user, password).err(), Some(0x87), "{user}");
    }
    // Salts stay, so that asking twice tells nothing, and look alike.
    for user in ["admin", "nobody"] {
        let salts: Vec<String> = (0..2).map(|_| salt(&challenge(&server, user).1)).collect();
        assert_eq!(salts[0], salts[1], "{user}");
        assert_eq!(salts[0].len(), salt(&challenge(&server, "somebody").1).len());
    }
}

#[test]
fn what_is_no_message_of_the_method_is_refused() {
    let server = guarded();
    for first in [
        &b""[..],
        b"n",
        b"n,,n=admin",
        b"p=tls-unique,,n=admin,r=abc",
        b"n,a=other,n=admin,r=abc",
        b"n,,m=x,n=admin,r=abc",
        b"\xff\xfe",
        &[b'n'; 60_000],
    ] {
        let connect = Connect::new(Version::V5, "").with_properties(&exchange(SCRAM, first));
        let (mut client, answer) = connect.open_with_answer(server.mqtt());
        assert_eq!(answer.code(), Some(0x87), "{:?}", String::from_utf8_lossy(first));
        assert_eq!(client.rest(), []);
    }
    let proof = format!("p={}=", "A".repeat(43));
    for last in
        ["".to_owned(), "c=biws".to_owned(), format!("c=biws,r=another,{proof}"), format!("c=eSws,NONCE,{proof}")]
    {
        let (mut client, challenge) = challenge(&server, "admin");
        let text = String::from_utf8(challenge).expect("text");
        let last = last.replace("NONCE", text.split(',').next().expect("a nonce"));
        client.send(&auth(0x18, &exchange(SCRAM, last.as_bytes())));
        assert_eq!(client.next().code(), Some(0x87), "{last}");
        assert_eq!(client.rest(), []);
    }
    sign_in(&server, &Connect::new(Version::V5, "")).expect("others are served");
}

#[test]
fn other_methods_are_not_known() {
    // [MQTT-4.12.0-1]
    let server = guarded();
    for method in ["SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "scram-sha-256", "PLAIN", ""] {
        let connect = Connect::new(Version::V5, "").with_properties(&exchange(method, b"x"));
        assert_eq!(connect.open_with_answer(server.mqtt()).1.code(), Some(0x8C), "{method}");
    }
}

#[test]
fn a_client_may_have_the_server_begin() {
    // RFC 4422 §5: the client has nothing to say first.
    let server = guarded();
    let connect = Connect::new(Version::V5, "").with_properties(&crate::wire::worded(AUTHENTICATION_METHOD, SCRAM));
    let mut client = Client::dial(server.mqtt(), Version::V5);
    client.send(&connect.bytes());
    assert_eq!(data(&client.next(), 0x18), b"");
    let (mut exchange_here, first) = ScramClient::new("admin", PASSWORD.as_bytes());
    client.send(&auth(0x18, &exchange(SCRAM, &first)));
    let last = exchange_here.answer(&data(&client.next(), 0x18)).expect("a challenge");
    client.send(&auth(0x18, &exchange(SCRAM, &last)));
    exchange_here.finish(&data(&client.next(), 0)).expect("the server knows the password");
}

#[test]
fn a_flood_of_auth_ends_one_connection() {
    let server = guarded();
    let (_, first) = ScramClient::new("admin", PASSWORD.as_bytes());
    let mut flood = Connect::new(Version::V5, "").with_properties(&exchange(SCRAM, &first)).bytes();
    for _ in 0..10_000 {
        flood.extend(auth(0x18, &exchange(SCRAM, &first)));
    }
    let mut client = Client::dial(server.mqtt(), Version::V5);
    client.send(&flood);
    assert_eq!(client.next().code(), Some(0x18));
    assert_eq!(client.next().code(), Some(0x87));
    assert_eq!(client.rest(), []);
    sign_in(&server, &Connect::new(Version::V5, "")).expect("others are served");
}

#[test]
fn a_proof_is_good_for_one_exchange() {
    let server = guarded();
    let (mut client, _) = challenge(&server, "admin");
    let (mut exchange_here, first) = ScramClient::new("admin", PASSWORD.as_bytes());
    let mut other = Client::dial(server.mqtt(), Version::V5);
    other.send(&Connect::new(Version::V5, "").with_properties(&exchange(SCRAM, &first)).bytes());
    let last = exchange_here.answer(&data(&other.next(), 0x18)).expect("a challenge");
    // Overheard, and said where it was not asked for.
    client.send(&auth(0x18, &exchange(SCRAM, &last)));
    assert_eq!(client.next().code(), Some(0x87));
    other.send(&auth(0x18, &exchange(SCRAM, &last)));
    assert_eq!(other.next().code(), Some(0));
    other.send(&auth(0x19, &exchange(SCRAM, &first)));
    assert_eq!(other.next().code(), Some(0x18));
    other.send(&auth(0x18, &exchange(SCRAM, &last)));
    assert_eq!(other.next().code(), Some(0x87));
    assert_eq!(other.rest(), [], "[MQTT-4.12.1-2]");
}

#[test]
fn its_own_client_signs_in_by_proof() {
    let server = guarded();
    let run = |arguments: &[&str], password: &str| {
        let mut command = Command::new(binary());
        command.args(arguments).args(["-p", &server.mqtt().to_string(), "-u", "admin", "--scram"]);
        command.env("ROWCAST_PASSWORD", password).stdin(Stdio::null());
        command.output().expect("the binary can be run")
    };
    let done = run(&["pub", "-r", "-q", "1", "-t", "dog/1", "-m", r#"{"name":"Rex"}"#], PASSWORD);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let done = run(&["sub", "-C", "1", "-t", "dog/1"], PASSWORD);
    assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), r#"{"id":"1","name":"Rex"}"#);
    let done = run(&["pub", "-t", "dog/1", "-m", "x"], "wrong");
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stderr).contains("refuses the connection"), "{done:?}");
}

#[test]
fn nothing_of_a_proof_is_in_the_log() {
    let application = Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", PASSWORD);
    let server = application.with("--log-level").with("trace").start();
    prove(&server, "admin", PASSWORD).expect("in");
    assert_eq!(prove(&server, "admin", "wrong").err(), Some(0x87));
    let (_, log) = server.terminate();
    assert!(!log.contains("p=") && !log.contains("SCRAM-SHA-256$") && !log.contains("biws"), "{log}");
}

/// A client that is in, by a whole exchange, or why not.
fn sign_in(server: &Server, connect: &Connect) -> Result<Client, u8> {
    exchange_with(server, connect, "admin", PASSWORD)
}

pub(crate) fn prove(server: &Server, user: &str, password: &str) -> Result<Client, u8> {
    exchange_with(server, &Connect::new(Version::V5, ""), user, password)
}

#[track_caller]
fn exchange_with(server: &Server, connect: &Connect, user: &str, password: &str) -> Result<Client, u8> {
    let (mut exchange_here, first) = ScramClient::new(user, password.as_bytes());
    let mut client = Client::dial(server.mqtt(), Version::V5);
    client.send(&connect.clone().with_properties(&exchange(SCRAM, &first)).bytes());
    let last = exchange_here.answer(&data(&client.next(), 0x18)).expect("a challenge");
    client.send(&auth(0x18, &exchange(SCRAM, &last)));
    match client.next() {
        connack @ Packet::Connack { code: 0, .. } => {
            exchange_here.finish(&data(&connack, 0)).expect("the server knows the password");
            Ok(client)
        }
        other => Err(other.code().expect("a code")),
    }
}

/// A connection that was asked for a proof, and how.
#[track_caller]
fn challenge(server: &Server, user: &str) -> (Client, Vec<u8>) {
    let (_, first) = ScramClient::new(user, b"");
    let mut client = Client::dial(server.mqtt(), Version::V5);
    client.send(&Connect::new(Version::V5, "").with_properties(&exchange(SCRAM, &first)).bytes());
    let challenge = data(&client.next(), 0x18);
    (client, challenge)
}

/// The data of an AUTH or CONNACK with this code, which has the method too.
#[track_caller]
fn data(packet: &Packet, expected: u8) -> Vec<u8> {
    let (Packet::Connack { code, properties, .. } | Packet::Auth { code, properties }) = packet else {
        panic!("{packet:?}")
    };
    assert_eq!(*code, expected, "{packet:?}");
    assert_eq!(properties.text(AUTHENTICATION_METHOD), Some(SCRAM));
    properties.bytes(AUTHENTICATION_DATA).expect("data").to_vec()
}

fn salt(challenge: &[u8]) -> String {
    let text = String::from_utf8(challenge.to_vec()).expect("text");
    text.split(',').nth(1).expect("a salt").to_owned()
}
