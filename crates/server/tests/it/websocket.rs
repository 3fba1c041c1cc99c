//! MQTT over WebSocket, frame by frame, as no library would send it. (MQTT 5 §6)

use crate::DEADLINE;
use crate::server::{Application, Server};
use crate::wire::{Connect, Version};
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn websocket_subprotocol() {
    // [MQTT-6.0.0-4] [3.1.1 MQTT-6.0.0-4]
    let server = Application::dogs().start();
    for (offered, answered) in [
        ("mqtt", Some("mqtt")),
        ("mqttv3.1", Some("mqttv3.1")),
        ("chat, superchat, mqtt", Some("mqtt")),
        ("mqttv3.1, mqtt", Some("mqtt")),
        ("chat", None),
        ("MQTT", None),
        ("", None),
    ] {
        let answer = Socket::ask(&server, "/", &[("Sec-WebSocket-Protocol", offered)]).1;
        match answered {
            Some(protocol) => {
                assert!(answer.starts_with("HTTP/1.1 101 "), "{offered}: {answer}");
                assert!(answer.contains(&format!("sec-websocket-protocol: {protocol}\r\n")), "{offered}: {answer}");
            }
            None => {
                assert!(answer.starts_with("HTTP/1.1 400 "), "{offered}: {answer}");
                assert!(answer.contains("offer the sub-protocol `mqtt`"), "{offered}: {answer}");
            }
        }
    }
}

#[test]
fn websocket_frames_are_not_packets() {
    // [MQTT-6.0.0-2] [3.1.1 MQTT-6.0.0-2]
    let server = Application::dogs().start();
    for path in ["/", "/mqtt", "/any/path?with=a&query"] {
        for step in [1, 3, 1000] {
            let mut socket = Socket::open(&server, path);
            // Of either version, CONNECT and PINGREQ.
            let mut old = Socket::open(&server, path);
            let packets = [&Connect::new(Version::V311, "").bytes()[..], b"\xc0\0"].concat();
            packets.chunks(step).for_each(|piece| old.send(0x82, piece));
            assert_eq!(old.mqtt(6), b"\x20\x02\0\0\xd0\0");
            // CONNECT, SUBSCRIBE, PUBLISH and PINGREQ: a packet across frames, and many packets in one.
            let packets = [
                &connect()[..],
                b"\x82\x09\0\x01\0\0\x03a/b\0",
                b"\x30\x08\0\x03a/b\0hi", // MQTT 5: no properties.
                b"\xc0\0",
            ]
            .concat();
            for piece in packets.chunks(step) {
                socket.send(0x82, piece);
            }
            socket.expect_connack();
            assert_eq!(socket.mqtt(6), b"\x90\x04\0\x01\0\0");
            assert_eq!(socket.mqtt(10), b"\x30\x08\0\x03a/b\0hi");
            assert_eq!(socket.mqtt(2), b"\xd0\0");
        }
    }
}

#[test]
fn a_message_may_come_in_fragments_with_pings_between() {
    let server = Application::dogs().start();
    let mut socket = Socket::open(&server, "/");
    let connect = connect();
    let (first, rest) = connect.split_at(7);
    socket.send(0x02, first);
    socket.send(0x89, b"are you there?");
    assert_eq!(socket.frame(), (0x8a, b"are you there?".to_vec()));
    socket.send(0x00, b"");
    socket.send(0x80, rest);
    socket.expect_connack();
    socket.send(0x8a, b"nobody asked");
    socket.send(0x82, b"\xc0\0");
    assert_eq!(socket.mqtt(2), b"\xd0\0");
}

#[test]
fn close_is_answered_and_ends_the_session_as_a_lost_connection_does() {
    let server = Application::dogs().start();
    let mut watcher = server.connect("watcher");
    watcher.subscribe("will", 0);
    let mut socket = Socket::open(&server, "/");
    socket.send(0x82, &Connect::new(Version::V5, "ws").with_will("will", "gone", 0, false).bytes());
    socket.expect_connack();
    socket.send(0x88, b"\x03\xe9");
    assert_eq!(socket.last_frame(), (0x88, b"\x03\xe9".to_vec()));
    assert_eq!(watcher.receive().text(), "gone");
}

#[test]
fn websocket_text_frame() {
    // [MQTT-6.0.0-1] [3.1.1 MQTT-6.0.0-1]
    let server = Application::dogs().start();
    check_violation(&server, &frame(0x81, b"hello"), 1003);
    check_violation(&server, &frame(0x01, &connect()), 1003);
    let mut old = Socket::open(&server, "/");
    old.send(0x82, &Connect::new(Version::V311, "").bytes());
    assert_eq!(old.mqtt(4), b"\x20\x02\0\0");
    old.send(0x81, b"\xc0\0");
    assert_eq!(old.last_frame(), (0x88, 1003u16.to_be_bytes().to_vec()));
}

// [hostile 52]
#[test]
fn what_breaks_the_rules_of_websocket_is_closed_with_the_reason() {
    let mut server = Application::dogs().start();
    let unmasked = [&[0x82, 2][..], b"\xc0\0"].concat();
    check_violation(&server, &unmasked, 1002);
    check_violation(&server, &frame(0xc2, b"reserved bit"), 1002);
    check_violation(&server, &frame(0x83, b"reserved kind"), 1002);
    check_violation(&server, &frame(0x80, b"no beginning"), 1002);
    check_violation(&server, &frame(0x09, b"ping in pieces"), 1002);
    check_violation(&server, &[&[0x89, 0xfe, 0, 126][..], &[0; 130]].concat(), 1002);
    check_violation(&server, &[frame(0x02, b"\xc0"), frame(0x82, b"\0")].concat(), 1002);
    check_violation(&server, &frame(0x88, b"\x03"), 1002);
    check_violation(&server, &frame(0x88, b"\x03\xe8\xff"), 1007);
    for length in [1u64 << 28, 1 << 40, u64::MAX] {
        check_violation(&server, &[&[0x82, 0xff][..], &length.to_be_bytes()].concat(), 1009);
    }
    server.assert_alive();
}

// [hostile 52]
#[test]
fn what_is_announced_takes_no_memory_until_it_comes() {
    let mut server = Application::dogs().start();
    let before = server.memory();
    let mut sockets: Vec<Socket> = (0..100).map(|_| Socket::open(&server, "/")).collect();
    for socket in &mut sockets {
        // 256 MiB less one byte: a frame may be that large, a CONNECT in it may not.
        socket.write(&[0x82, 0xff, 0, 0, 0, 0, 0x0f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        socket.write(b"\x10\xff\xff\xff\x7f");
    }
    for socket in &mut sockets {
        assert_eq!(socket.last_frame(), (0x88, b"\x03\xe8".to_vec()), "a CONNECT of 256 MiB is not waited for");
    }
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
    server.assert_alive();
}

#[test]
fn a_handshake_that_is_none_is_answered_in_http() {
    let server = Application::dogs().start();
    for (name, value, status) in
        [("Sec-WebSocket-Version", "8", "426"), ("Sec-WebSocket-Key", "short", "400"), ("Sec-WebSocket-Key", "", "400")]
    {
        let answer = Socket::ask(&server, "/", &[("Sec-WebSocket-Protocol", "mqtt"), (name, value)]).1;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {value}: {answer}");
    }
    let shut = Application::dogs().configured("mqtt: { webSocket: false }").start();
    let answer = Socket::ask(&shut, "/dog/", &[("Sec-WebSocket-Protocol", "mqtt")]).1;
    assert!(answer.starts_with("HTTP/1.1 200 "), "without WebSocket it is a request like any other: {answer}");
}

#[test]
fn a_page_of_another_origin_is_not_this_machine() {
    let server = Application::dogs().start();
    for (origin, code) in [("http://localhost", 0), ("https://evil.example", 0x87), ("null", 0x87)] {
        let headers = [("Sec-WebSocket-Protocol", "mqtt"), ("Host", "localhost"), ("Origin", origin)];
        let (mut socket, answer) = Socket::ask(&server, "/", &headers);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{origin}: {answer}");
        socket.send(0x82, &connect());
        let (_, connack) = socket.frame();
        assert_eq!(connack[3], code, "{origin}: {connack:?}");
    }
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let server = Application::dogs().start();
    let mut slow = Socket::open(&server, "/");
    slow.send(0x82, &connect());
    slow.expect_connack();
    slow.send(0x82, b"\x82\x07\0\x01\0\0\x01#\0");
    assert_eq!(slow.mqtt(6)[..2], [0x90, 4]);
    let mut writer = server.connect("writer");
    let payload = "x".repeat(100_000);
    for _ in 0..200 {
        writer.publish("note", &payload, 1, false);
    }
    writer.ping();
    // What was in the socket still arrives whole, frame after frame.
    assert_eq!(slow.mqtt(1), b"\x30");
}

/// Sends something wrong on an open connection, and reads to the end.
#[track_caller]
fn check_violation(server: &Server, bytes: &[u8], code: u16) {
    let mut socket = Socket::open(server, "/");
    socket.send(0x82, &connect());
    socket.expect_connack();
    socket.write(bytes);
    assert_eq!(socket.last_frame(), (0x88, code.to_be_bytes().to_vec()), "{bytes:02x?}");
}

/// A WebSocket that does what it is told.
pub(crate) struct Socket {
    stream: TcpStream,
    /// MQTT that came, and was not asked for yet.
    came: Vec<u8>,
}

impl Socket {
    #[track_caller]
    pub(crate) fn open(server: &Server, path: &str) -> Socket {
        let (socket, answer) = Socket::ask(server, path, &[("Sec-WebSocket-Protocol", "mqtt")]);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        socket
    }

    /// Asks for a WebSocket; with these headers in the place of the usual ones, empty ones left out.
    #[track_caller]
    fn ask(server: &Server, path: &str, headers: &[(&str, &str)]) -> (Socket, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", server.http())).expect("the server listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a limit");
        let usual = [
            ("Host", "localhost"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let usual = usual.iter().filter(|(name, _)| headers.iter().all(|(given, _)| given != name));
        let mut request = format!("GET {path} HTTP/1.1\r\n");
        for (name, value) in usual.chain(headers).filter(|(_, value)| !value.is_empty()) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{request}\r\n").as_bytes()).expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(byte(&mut stream));
        }
        let mut answer = String::from_utf8(head).expect("text");
        let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).expect("a body");
        answer.push_str(&String::from_utf8(body).expect("text"));
        (Socket { stream, came: Vec::new() }, answer)
    }

    /// A masked frame that begins with this byte.
    pub(crate) fn send(&mut self, first: u8, payload: &[u8]) {
        self.write(&frame(first, payload));
    }

    fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes); // That the server has closed shows when reading.
    }

    /// The next frame: its first byte, and its payload.
    #[track_caller]
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let (first, length) = (byte(&mut self.stream), byte(&mut self.stream));
        let extended = match length {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let length = match extended {
            0 => usize::from(length),
            _ => (0..extended).fold(0, |length, _| length << 8 | usize::from(byte(&mut self.stream))),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).expect("a payload");
        (first, payload)
    }

    /// The last frame, after which the server closes.
    #[track_caller]
    fn last_frame(&mut self) -> (u8, Vec<u8>) {
        let last = self.frame();
        assert_eq!(self.stream.read(&mut [0; 1]).expect("no reset"), 0, "nothing comes after {last:?}");
        last
    }

    /// The next `len` bytes of MQTT, wherever frames begin and end.
    #[track_caller]
    pub(crate) fn mqtt(&mut self, len: usize) -> Vec<u8> {
        while self.came.len() < len {
            let (first, payload) = self.frame();
            assert_eq!(first, 0x82, "MQTT comes in binary frames");
            self.came.extend(payload);
        }
        self.came.drain(..len).collect()
    }

    #[track_caller]
    pub(crate) fn expect_connack(&mut self) {
        let head = self.mqtt(4);
        assert_eq!((head[0], head[3]), (0x20, 0), "{head:?}");
        let length = usize::from(head[1]) - 2;
        self.mqtt(length);
    }
}

#[track_caller]
fn byte(stream: &mut TcpStream) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).expect("a byte");
    byte[0]
}

fn connect() -> Vec<u8> {
    Connect::new(Version::V5, "").bytes()
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
