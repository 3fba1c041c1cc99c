//! MQTT behind a proxy that says who its clients are, in headers of the PROXY protocol.

use crate::DEADLINE;
use crate::server::{Application, Server, until};
use crate::tls::{Connection, dial_over, secure};
use crate::wire::{Client, Connect, Packet, Version};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[test]
fn who_is_there_is_whom_the_proxy_tells() {
    let server = proxied("").start();
    let mut watcher = open(&server, b"PROXY UNKNOWN\r\n", &admin("watcher"));
    watcher.subscribe("$SYS/clients/+/connected", 0);
    for (header, address) in [
        (&b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 1883\r\n"[..], "203.0.113.7:56324"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 1883\r\n", "[2001:db8::7]:56324"),
        (&v2(b"\x21\x11", V4), "203.0.113.7:56324"),
        (&v2(b"\x21\x11", &[V4, b"\x04\x0f\x00", &[0; 0xf00]].concat()), "203.0.113.7:56324"),
    ] {
        let mut client = open(&server, header, &admin("plain"));
        assert_eq!(address_in(&mut watcher), address);
        client.ping();
        let _secure = open_secure(&server, header, &admin("secure"));
        assert_eq!(address_in(&mut watcher), address);
    }
    // The proxy, for itself.
    let mut client = open(&server, &v2(b"\x20\x00", b""), &admin("health"));
    let address = address_in(&mut watcher);
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    client.ping();
}

#[test]
fn limits_are_for_those_whom_the_proxy_tells() {
    let server = proxied("mqtt: { limits: { connectionsPerAddress: 1 } }").start();
    let from = |last: u8| format!("PROXY TCP4 203.0.113.{last} 192.0.2.1 1000 1883\r\n").into_bytes();
    let mut first = open(&server, &from(1), &admin("first"));
    let mut second = open(&server, &from(2), &admin("second"));
    let (_, answer) = begin(&server, &from(1), &admin("third"));
    assert_eq!(answer.code(), Some(QUOTA_EXCEEDED));
    first.ping();
    second.ping();
    first.disconnect();
    until("there is room again", || match begin(&server, &from(1), &admin("third")) {
        (_, Packet::Connack { code: 0, .. }) => Ok(()),
        (_, other) => Err(format!("{other:?}")),
    });
}

#[test]
fn nobody_is_trusted_for_what_a_proxy_tells() {
    let server = proxied("authentication: { authorizeLocal: true }").start();
    for header in [
        &b"PROXY TCP4 127.0.0.1 127.0.0.1 1000 1883\r\n"[..],
        b"PROXY TCP6 ::1 ::1 1000 1883\r\n",
        b"PROXY TCP6 ::ffff:127.0.0.1 ::1 1000 1883\r\n",
        b"PROXY UNKNOWN\r\n",
        &v2(b"\x21\x11", b"\x7f\0\0\x01\x7f\0\0\x01\0\x01\0\x01"),
        &v2(b"\x21\x31", &[0; 216]),
        &v2(b"\x21\x00", b""),
        &v2(b"\x20\x00", b""),
        &v2(b"\x20\x11", b"\x7f\0\0\x01\x7f\0\0\x01\0\x01\0\x01"),
    ] {
        let (_, answer) = begin(&server, header, &Connect::new(Version::V5, ""));
        assert_eq!(answer.code(), Some(NOT_AUTHORIZED), "{}", header.escape_ascii());
        open(&server, header, &admin("")).ping();
    }
    // The door that no proxy stands before is as it was.
    assert_eq!(server.get("/dog/").status, 200);
}

// [hostile 53]
#[test]
fn what_does_not_begin_with_a_header_is_closed_without_a_word() {
    let server = proxied("").start();
    let mut well = open(&server, b"PROXY UNKNOWN\r\n", &admin("well"));
    let lying = |length: &[u8]| [SIGNATURE, b"\x21\x11", length, V4].concat();
    for bytes in [
        &admin("no-proxy").bytes()[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
        &lying(b"\0\0"),
        &lying(b"\0\x0b"),
        &lying(b"\0\x0d"), // One more than came: what follows is taken for an extension.
        &lying(b"\xff\xff"),
        &v2(b"\x21\x11", &[V4, b"\x04\xff\xff"].concat()),
        &v2(b"\x21\x11", &[V4, b"\x04\0"].concat()),
        &v2(b"\x21\x44", V4),
        &v2(b"\x2f\x11", V4),
        &v2(b"\x11\x11", V4),
        b"PROXY TCP4 203.0.113.7 192.0.2.1\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 1883\n",
        &[b"PROXY UNKNOWN ", &[b'x'; 107][..]].concat(),
        b"PROXY UNKNOWN\r\nPROXY TCP4 203.0.113.7 192.0.2.1 56324 1883\r\n",
    ] {
        for port in [server.mqtt(), server.mqtts()] {
            let mut stream = dial(port);
            let _ = stream.write_all(bytes);
            let _ = stream.write_all(&[0; 3]); // No packet, and no extension either.
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said);
            assert!(said.len() < 10 && said.first() != Some(&0x20), "{said:x?} to {}", bytes.escape_ascii());
            well.ping();
        }
    }
    server.wait_for_log("it does not begin with a header of the PROXY protocol; mqtt.network.proxyProtocol asks");
    server.wait_for_log("the PROXY header announces 65551 bytes");
    well.disconnect();
    assert!(server.terminate().0.success());
}

// [hostile 53]
#[test]
fn a_header_is_not_waited_for() {
    let server = proxied("mqtt: { limits: { connectTimeout: 1s, connections: 5 } }").start();
    let mut well = open(&server, b"PROXY UNKNOWN\r\n", &admin("well"));
    let header = v2(b"\x21\x11", &[V4, b"\x04\x0f\xc0"].concat());
    let line = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 1883\r";
    let mut waiting = Vec::new();
    until("the places are taken", || {
        waiting = [&b""[..], &header, &header[..20], line]
            .map(|bytes| {
                let mut stream = dial(server.mqtts());
                stream.write_all(bytes).expect("sent");
                stream
            })
            .into();
        let (_, answer) = begin(&server, b"PROXY UNKNOWN\r\n", &admin("late"));
        if answer.code() == Some(QUOTA_EXCEEDED) { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    for stream in &mut waiting {
        assert!(matches!(stream.read(&mut [0; 64]), Ok(0)), "closed without a word");
    }
    // Neither for one that comes byte by byte.
    let mut slow = dial(server.mqtt());
    slow.set_read_timeout(Some(Duration::from_millis(100))).expect("a limit");
    let ended = header.iter().chain(&[0; 0xfc0]).map(|&byte| {
        let _ = slow.write_all(&[byte]);
        slow.read(&mut [0; 64])
    });
    let waits = |read: &std::io::Result<usize>| {
        read.as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    };
    let bytes = ended.take_while(waits).count();
    assert!(bytes < header.len(), "{bytes} bytes came one by one");
    server.wait_for_log("its PROXY header took too long");
    well.ping();
}

const PASSWORD: &str = "correct horse";
const QUOTA_EXCEEDED: u8 = 0x97;
const NOT_AUTHORIZED: u8 = 0x87;
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// 203.0.113.7:56324 to 192.0.2.1:1883.
const V4: &[u8] = b"\xcb\0\x71\x07\xc0\0\x02\x01\xdc\x04\x07\x5b";

/// A header of version 2.
fn v2(command_and_family: &[u8], rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, command_and_family, &(rest.len() as u16).to_be_bytes(), rest].concat()
}

/// With passwords, behind a proxy.
fn proxied(yaml: &str) -> Application {
    let application = secure(Application::dogs().for_real()).with_variable("ROWCAST_ADMIN_PASSWORD", PASSWORD);
    application.with("--set").with("mqtt.network.proxyProtocol=true").configured(yaml)
}

fn admin(client_id: &str) -> Connect {
    Connect::new(Version::V5, client_id).with_user("admin", PASSWORD)
}

fn dial(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the door is open");
    stream.set_read_timeout(Some(DEADLINE)).expect("a limit");
    stream
}

/// A client behind a header, and how its CONNECT is answered.
#[track_caller]
fn begin(server: &Server, header: &[u8], connect: &Connect) -> (Client, Packet) {
    let mut client = Client::over(dial(server.mqtt()), Version::V5);
    client.send(&[header, &connect.bytes()].concat());
    let answer = client.next();
    (client, answer)
}

#[track_caller]
fn open(server: &Server, header: &[u8], connect: &Connect) -> Client {
    let (client, answer) = begin(server, header, connect);
    assert_eq!(answer.code(), Some(0), "{}", header.escape_ascii());
    client
}

/// The same over TLS, which begins behind the header.
#[track_caller]
fn open_secure(server: &Server, header: &[u8], connect: &Connect) -> Connection {
    let mut stream = dial(server.mqtts());
    stream.write_all(header).expect("sent");
    let mut stream = dial_over(stream, "localhost", None).expect("a handshake");
    stream.write_all(&connect.bytes()).expect("sent");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("a CONNACK");
    assert_eq!((answer[0], answer[3]), (0x20, 0));
    stream
}

/// Where the next client is that `watcher` is told of.
#[track_caller]
fn address_in(watcher: &mut Client) -> String {
    watcher.next_publish().json()["address"].as_str().expect("an address").to_owned()
}
