use super::*;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

#[test]
fn a_line_tells_where_its_client_is() {
    for (line, told) in [
        ("PROXY TCP4 203.0.113.7 192.0.2.1 56324 1883\r\n", Some("203.0.113.7:56324")),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Some("255.255.255.255:65535")),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Some("0.0.0.0:0")),
        ("PROXY TCP6 2001:db8::7 2001:db8::1 56324 1883\r\n", Some("[2001:db8::7]:56324")),
        ("PROXY TCP6 ::1 :: 1 1\r\n", Some("[::1]:1")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN and so \u{e4}\u{f6}\u{fc} on\r\n", None),
        (LONGEST, None),
    ] {
        check(line.as_bytes(), told);
    }
}

/// As long as a line can be, with two addresses that say nothing.
const LONGEST: &str =
    "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535 and what was not thought of when it was made, x\r\n";

#[test]
fn a_line_that_says_anything_else_is_refused() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 56324\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 56324 1883 \r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 56324 1883 1\r\n",
        "PROXY TCP4  203.0.113.7 192.0.2.1 56324 1883\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 65536 1883\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 56324 -1\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 +5632 1883\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 056324 1883\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1  1883\r\n",
        "PROXY TCP4 203.0.113.007 192.0.2.1 56324 1883\r\n",
        "PROXY TCP4 203.0.113.256 192.0.2.1 56324 1883\r\n",
        "PROXY TCP4 203.0.113 192.0.2.1 56324 1883\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 56324 1883\r\n",
        "PROXY TCP4 proxy.example 192.0.2.1 56324 1883\r\n",
        "PROXY TCP6 203.0.113.7 192.0.2.1 56324 1883\r\n",
        "PROXY TCP6 [2001:db8::7] 2001:db8::1 56324 1883\r\n",
        "PROXY TCP6 fe80::1%eth0 2001:db8::1 56324 1883\r\n",
        "PROXY TCP5 203.0.113.7 192.0.2.1 56324 1883\r\n",
        "PROXY tcp4 203.0.113.7 192.0.2.1 56324 1883\r\n",
        "PROXY UDP4 203.0.113.7 192.0.2.1 56324 1883\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4 203.0.113.7\t192.0.2.1 56324 1883\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 56324 1883\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 56324\r 1883\r\n",
        "PROXY TCP4 203.0.113.7\n192.0.2.1 56324 1883\r\n",
        "PROXY UNKNOWN x\ny\r\n",
    ] {
        refuse(line.as_bytes(), Malformed::Line);
    }
    refuse(b"PROXY TCP4 \xff03.0.113.7 192.0.2.1 56324 1883\r\n", Malformed::Line);
    for endless in ["PROXY UNKNOWN ".to_owned() + &"x".repeat(200), LONGEST.replace("x\r", "xx\r")] {
        refuse(endless.as_bytes(), Malformed::EndlessLine);
    }
}

#[test]
fn what_begins_otherwise_is_refused_at_once() {
    let connect = b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0";
    for bytes in [
        &connect[..],
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\n",
        b"proxy TCP4",
        b"PROXY\t",
        b"PR\r\n",
        b"\r\n\r\n\0\r\nQUIT\r\n",
        b"\r\n\r\n\0\r\nquit\n",
        b"\n",
        b"\0",
    ] {
        refuse(bytes, Malformed::NoHeader);
    }
}

#[test]
fn a_binary_header_tells_where_its_client_is() {
    let told = Some("203.0.113.7:56324");
    check(&binary(PROXY, 0x11, &v4(b"")), told);
    check(&binary(PROXY, 0x21, &v6(b"")), Some("[2001:db8::7]:56324"));
    check(&binary(PROXY, 0x31, &[b'/'; 216]), None);
    check(&binary(PROXY, 0x00, b""), None);
    check(&binary(PROXY, 0x00, b"anything"), None);
    // A proxy that speaks for itself may tell anything, and is not listened to.
    for (family, rest) in
        [(0x00, &b""[..]), (0x11, &v4(b"")), (0x12, &v4(b"")), (0x11, b""), (0x77, b"anything"), (0x21, b"short")]
    {
        check(&binary(LOCAL, family, rest), None);
    }
    // Extensions: none, some, an empty one, one that fills what is taken.
    check(&binary(PROXY, 0x11, &v4(b"\x04\0\0")), told);
    check(&binary(PROXY, 0x11, &v4(b"\x02\0\x07example\x01\0\x04mqtt\xee\0\0")), told);
    check(&binary(PROXY, 0x21, &v6(b"\x20\0\x08\x01\0\0\0\0\x21\0\0")), Some("[2001:db8::7]:56324"));
    let room = HEADER_BYTES_MAX - FIXED_BYTES - 12 - 3;
    let full = [&[0x04][..], &(room as u16).to_be_bytes(), &vec![0; room]].concat();
    check(&binary(PROXY, 0x11, &v4(&full)), told);
}

// [hostile 53]
#[test]
fn a_binary_header_that_lies_is_refused() {
    for (family, rest) in [
        (0x11, &b""[..]),
        (0x11, &v4(b"")[..11]),
        (0x21, &v4(b"")),
        (0x21, &v6(b"")[..35]),
        (0x31, &v6(b"")),
        (0x31, &[0; 215]),
    ] {
        refuse(&binary(PROXY, family, rest), Malformed::TooShort);
    }
    for extensions in
        [&b"\x04"[..], b"\x04\0", b"\x04\0\x01", b"\x04\xff\xff", b"\x04\0\x01xx", b"\x04\0\x02x", b"\x04\0\0\0\0"]
    {
        refuse(&binary(PROXY, 0x11, &v4(extensions)), Malformed::Extension);
        refuse(&binary(PROXY, 0x21, &v6(extensions)), Malformed::Extension);
    }
    for (family, rest) in [(0x12, &v4(b"")[..]), (0x12, b""), (0x22, &v6(b"")), (0x32, &[0; 216])] {
        refuse(&binary(PROXY, family, rest), Malformed::Datagrams);
    }
    for family in [0x01, 0x10, 0x13, 0x1f, 0x20, 0x30, 0x41, 0xff] {
        refuse(&binary(PROXY, family, &v6(b"")), Malformed::Unknown("family of addresses"));
    }
    for command in [0x22, 0x2f] {
        refuse(&binary(command, 0x11, &v4(b"")), Malformed::Unknown("command"));
    }
    for command in [0x01, 0x11, 0x31, 0xf1] {
        refuse(&binary(command, 0x11, &v4(b"")), Malformed::Unknown("version"));
    }
    for announced in [HEADER_BYTES_MAX - FIXED_BYTES + 1, usize::from(u16::MAX)] {
        let mut header = binary(PROXY, 0x11, &v4(b""));
        header[14..16].copy_from_slice(&(announced as u16).to_be_bytes());
        refuse(&header, Malformed::TooLong(FIXED_BYTES + announced));
    }
}

#[test]
fn half_a_header_is_no_header() {
    let line = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 1883\r\n";
    for header in [&line[..], &binary(PROXY, 0x11, &v4(b"\x04\0\x02xx"))] {
        for end in 0..header.len() {
            let (error, taken) = read_from(&header[..end]);
            assert!(matches!(error, Err(ProxyError::Ended(bytes)) if bytes == end), "{error:?} after {end}");
            assert_eq!(taken, end);
        }
    }
}

#[test]
fn a_peer_behind_a_proxy_is_trusted_for_its_certificate_and_not_for_its_address() {
    use crate::peer::{Ambient, Peer};
    use crate::tls::Proof;
    let proxy = "127.0.0.1:5000".parse().expect("an address");
    let home = "127.0.0.1:1".parse().expect("an address");
    for peer in [Peer::tcp(proxy), Peer::unix()] {
        for told in [Told::Nothing, Told::Client(home)] {
            let told = peer.clone().through_proxy(told).proven(Proof::User("rex".into()));
            assert!(told.ip().is_loopback() && !told.trusted_ip().is_loopback(), "{told}");
            assert_eq!(told.proof(), &Proof::User("rex".into()));
            let again = told.speaking_for(Ambient::Counts);
            assert!(!again.trusted_ip().is_loopback(), "{again}");
            assert_eq!(again.speaking_for(Ambient::Nothing).proof(), &Proof::NeedsPassword);
        }
    }
    let mapped = "[::ffff:203.0.113.7]:9".parse().expect("an address");
    assert_eq!(Peer::tcp(proxy).through_proxy(Told::Client(mapped)).to_string(), "203.0.113.7:9");
    assert_eq!(Peer::tcp(proxy).through_proxy(Told::Nothing).to_string(), "127.0.0.1:5000");
}

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
}

/// 203.0.113.7:56324 talks to 192.0.2.1:1883, and what stands behind that.
fn v4(extensions: &[u8]) -> Vec<u8> {
    [&[203, 0, 113, 7, 192, 0, 2, 1], &PORTS[..], extensions].concat()
}

/// [2001:db8::7]:56324 talks to [2001:db8::1]:1883, and what stands behind that.
fn v6(extensions: &[u8]) -> Vec<u8> {
    let address = |last| [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    [&address(7)[..], &address(1), &PORTS, extensions].concat()
}

const PORTS: [u8; 4] = [0xdc, 0x04, 0x07, 0x5b];

/// The header is read to its end and no further, whole or in pieces.
#[track_caller]
fn check(header: &[u8], told: Option<&str>) {
    let expected = told.map_or(Told::Nothing, |told| Told::Client(told.parse().expect("an address")));
    let (read, taken) = read_from(&[header, b"\x10 what follows"].concat());
    assert_eq!(read.expect("a header"), expected, "{}", header.escape_ascii());
    assert_eq!(taken, header.len(), "bytes of {}", header.escape_ascii());
    fuzz(header);
}

#[track_caller]
fn refuse(bytes: &[u8], why: Malformed) {
    let (read, _) = read_from(bytes);
    assert!(matches!(read, Err(ProxyError::Malformed(found)) if found == why), "{}: {read:?}", bytes.escape_ascii());
    fuzz(bytes);
}

/// What is read, and how many bytes that took.
fn read_from(bytes: &[u8]) -> (Result<Told, ProxyError>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut outcomes = [bytes.len().max(1), 7, 1].map(|piece| {
        let mut stream = Pieces { bytes, piece };
        let read = runtime.block_on(read(&mut stream));
        (read, bytes.len() - stream.bytes.len())
    });
    let said = outcomes.each_ref().map(|(read, _)| format!("{read:?}"));
    assert!(said.iter().all(|other| *other == said[0]), "it depends on the pieces: {said:?}");
    let (_, taken) = outcomes[0];
    (std::mem::replace(&mut outcomes[0].0, Ok(Told::Nothing)), taken)
}

/// Bytes that come in pieces of a size.
struct Pieces<'b> {
    bytes: &'b [u8],
    piece: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (now, rest) = self.bytes.split_at(self.piece.min(buffer.remaining()).min(self.bytes.len()));
        buffer.put_slice(now);
        self.bytes = rest;
        Poll::Ready(Ok(()))
    }
}
