//! The part of MQTT that a load needs, written once more.
//!
//! Not `rowcast-codec`: a mistake in there would be on both ends of the line, and nobody would see it.

/// A version of the protocol, by the number in CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Version {
    V31 = 3,
    V311 = 4,
    V5 = 5,
}

/// Who connects.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) version: Version,
    pub(super) username: Option<String>,
    pub(super) password: Option<Vec<u8>>,
}

/// What a broker says, as far as a load has to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packet<'a> {
    Connack { code: u8, receive_maximum: u16, maximum_qos: u8 },
    Publish { qos: u8, id: u16, topic: &'a [u8], payload: &'a [u8] },
    Puback { id: u16, code: u8 },
    Pubrec { id: u16, code: u8 },
    Pubrel { id: u16 },
    Pubcomp { id: u16, code: u8 },
    Suback { code: u8 },
    Pingresp,
    Disconnect { code: u8 },
}

/// Why bytes are no packet that a broker may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a packet has a length of more than four bytes")]
    Length,
    #[error("a packet of {0} bytes is more than the load can have asked for")]
    TooLarge(usize),
    #[error("a packet of type {0} makes no sense")]
    Packet(u8),
}

/// The largest payload a load publishes.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// The largest packet taken: such a payload, the longest topic, and properties.
const PACKET_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 2 * 65_536;

/// The first packet in `bytes` and how long it is; `None` until it is whole.
pub(super) fn decode(bytes: &[u8], version: Version) -> Result<Option<(Packet<'_>, usize)>, Malformed> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let Some((length, used)) = variable(&bytes[1..])? else { return Ok(None) };
    if length > PACKET_BYTES_MAX {
        return Err(Malformed::TooLarge(length));
    }
    let Some(body) = bytes.get(1 + used..1 + used + length) else { return Ok(None) };
    let packet = load(first, body, version == Version::V5).ok_or(Malformed::Packet(first >> 4))?;
    Ok(Some((packet, 1 + used + length)))
}

fn load(first: u8, body: &[u8], v5: bool) -> Option<Packet<'_>> {
    let mut rest = Rest(body);
    Some(match first >> 4 {
        2 => {
            let (_flags, code) = (rest.byte()?, rest.byte()?);
            let properties = if v5 { rest.properties() } else { None };
            let (receive_maximum, maximum_qos) = limits(properties.unwrap_or_default())?;
            Packet::Connack { code, receive_maximum, maximum_qos }
        }
        3 => {
            let (qos, topic) = (first >> 1 & 3, rest.text()?);
            let id = if qos > 0 { rest.number()? } else { 0 };
            if v5 {
                rest.properties()?;
            }
            Packet::Publish { qos, id, topic, payload: rest.0 }
        }
        // Success has no code in the short form.
        4 => Packet::Puback { id: rest.number()?, code: rest.byte().unwrap_or(0) },
        5 => Packet::Pubrec { id: rest.number()?, code: rest.byte().unwrap_or(0) },
        6 => Packet::Pubrel { id: rest.number()? },
        7 => Packet::Pubcomp { id: rest.number()?, code: rest.byte().unwrap_or(0) },
        9 => {
            rest.number()?;
            if v5 {
                rest.properties()?;
            }
            Packet::Suback { code: rest.byte()? }
        }
        13 => Packet::Pingresp,
        14 => Packet::Disconnect { code: rest.byte().unwrap_or(0) },
        _ => return None,
    })
}

/// Receive maximum and maximum QoS among the properties of CONNACK (MQTT 5 §3.2.2.3).
fn limits(properties: &[u8]) -> Option<(u16, u8)> {
    let mut rest = Rest(properties);
    let (mut receive_maximum, mut maximum_qos) = (65_535, 2);
    while let Some(identifier) = rest.byte() {
        match identifier {
            33 => receive_maximum = rest.number()?,
            36 => maximum_qos = rest.byte()?,
            37 | 40..=42 => rest.skip(1)?,
            19 | 34 => rest.skip(2)?,
            17 | 39 => rest.skip(4)?,
            18 | 21 | 22 | 26 | 28 | 31 => rest.skip_text()?,
            38 => {
                rest.skip_text()?;
                rest.skip_text()?;
            }
            _ => return None,
        }
    }
    Some((receive_maximum, maximum_qos))
}

/// What of a packet is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(|_| ())
    }

    fn skip_text(&mut self) -> Option<()> {
        self.text().map(|_| ())
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length.into())
    }

    fn properties(&mut self) -> Option<&'a [u8]> {
        let (length, used) = variable(self.0).ok()??;
        self.take(used)?;
        self.take(length)
    }
}

/// A variable byte integer (MQTT 5 §1.5.5) and how many bytes it takes.
fn variable(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(4) {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Malformed::Length) }
}

/// CONNECT with a clean start and no keep-alive: a load may leave a client silent for as long as it runs.
pub(super) fn connect(out: &mut Vec<u8>, login: &Login, client_id: &str) {
    let v5 = login.version == Version::V5;
    let name = if login.version == Version::V31 { "MQIsdp" } else { "MQTT" };
    let mut flags = 0b10;
    flags |= if login.username.is_some() { 0x80 } else { 0 };
    flags |= if login.password.is_some() { 0x40 } else { 0 };
    let mut body = Vec::new();
    put_text(&mut body, name.as_bytes());
    body.extend([login.version as u8, flags, 0, 0]);
    if v5 {
        body.push(0);
    }
    put_text(&mut body, client_id.as_bytes());
    for part in [login.username.as_ref().map(String::as_bytes), login.password.as_deref()].into_iter().flatten() {
        put_text(&mut body, part);
    }
    put_packet(out, 0x10, &body);
}

/// SUBSCRIBE to one filter.
pub(super) fn subscribe(out: &mut Vec<u8>, version: Version, filter: &str, qos: u8) {
    let mut body = vec![0, 1];
    if version == Version::V5 {
        body.push(0);
    }
    put_text(&mut body, filter.as_bytes());
    body.push(qos);
    put_packet(out, 0x82, &body);
}

/// How a message is published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Form {
    pub(super) version: Version,
    pub(super) qos: u8,
    pub(super) retain: bool,
}

/// PUBLISH up to its payload, which must follow and have `payload_bytes`.
pub(super) fn publish(out: &mut Vec<u8>, form: Form, topic: &str, id: u16, payload_bytes: usize) {
    let v5 = usize::from(form.version == Version::V5);
    let numbered = if form.qos > 0 { 2 } else { 0 };
    out.push(0x30 | form.qos << 1 | u8::from(form.retain));
    put_variable(out, 2 + topic.len() + numbered + v5 + payload_bytes);
    put_text(out, topic.as_bytes());
    if form.qos > 0 {
        out.extend(id.to_be_bytes());
    }
    if v5 == 1 {
        out.push(0);
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP that says all is well; `first` is its first byte.
pub(super) fn acknowledge(out: &mut Vec<u8>, first: u8, id: u16) {
    out.extend([first, 2]);
    out.extend(id.to_be_bytes());
}

pub(super) const PUBACK: u8 = 0x40;
pub(super) const PUBREC: u8 = 0x50;
pub(super) const PUBREL: u8 = 0x62;
pub(super) const PUBCOMP: u8 = 0x70;
pub(super) const PINGREQ: [u8; 2] = [0xc0, 0];
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];

fn put_packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    put_variable(out, body.len());
    out.extend(body);
}

fn put_variable(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let length = u16::try_from(text.len()).expect("the command line bounds topics, names and passwords");
    out.extend(length.to_be_bytes());
    out.extend(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_a_broker_are_understood() {
        use Packet::*;
        use Version::*;
        check(V311, &[0x20, 2, 0, 5], Connack { code: 5, receive_maximum: 65_535, maximum_qos: 2 });
        check(V5, &[0x20, 3, 0, 0, 0], Connack { code: 0, receive_maximum: 65_535, maximum_qos: 2 });
        check(
            V5,
            &[0x20, 14, 0, 0, 11, 33, 0, 7, 36, 1, 18, 0, 1, b'x', 37, 1],
            Connack { code: 0, receive_maximum: 7, maximum_qos: 1 },
        );
        check(V311, b"\x30\x05\0\x02a/x", Publish { qos: 0, id: 0, topic: b"a/", payload: b"x" });
        check(V5, b"\x32\x08\0\x01a\0\x09\x02\x01\x01", Publish { qos: 1, id: 9, topic: b"a", payload: b"" });
        check(V311, &[0x40, 2, 1, 2], Puback { id: 258, code: 0 });
        check(V5, &[0x40, 4, 0, 1, 0x97, 0], Puback { id: 1, code: 0x97 });
        check(V5, &[0x50, 3, 0, 1, 0x10], Pubrec { id: 1, code: 0x10 });
        check(V5, &[0x62, 2, 0, 1], Pubrel { id: 1 });
        check(V5, &[0x70, 2, 0, 1], Pubcomp { id: 1, code: 0 });
        check(V311, &[0x90, 3, 0, 1, 0x80], Suback { code: 0x80 });
        check(V5, &[0x90, 4, 0, 1, 0, 2], Suback { code: 2 });
        check(V5, &[0xd0, 0], Pingresp);
        check(V5, &[0xe0, 1, 0x8b], Disconnect { code: 0x8b });
        check(V5, &[0xe0, 0], Disconnect { code: 0 });
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for (bytes, expected) in [
            (&[0x30, 0xff, 0xff, 0xff, 0xff][..], Malformed::Length),
            (&[0x30, 0xff, 0xff, 0xff, 0x7f], Malformed::TooLarge(0xfff_ffff)),
            (&[0x10, 0], Malformed::Packet(1)),
            (&[0x00, 0], Malformed::Packet(0)),
            (&[0x40, 1, 0], Malformed::Packet(4)),
            (&[0x30, 3, 0, 9, b'a'], Malformed::Packet(3)),
            (&[0x30, 4, 0, 1, b'a', 5], Malformed::Packet(3)),
            (&[0x20, 5, 0, 0, 2, 99, 0], Malformed::Packet(2)),
        ] {
            assert_eq!(decode(bytes, Version::V5), Err(expected), "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_sent_is_what_the_standard_shows() {
        let login = Login { version: Version::V5, username: Some("rex".into()), password: Some(b"bone".into()) };
        let mut out = Vec::new();
        connect(&mut out, &login, "c1");
        assert_eq!(out, b"\x10\x1a\0\x04MQTT\x05\xc2\0\0\0\0\x02c1\0\x03rex\0\x04bone");
        out.clear();
        connect(&mut out, &Login { version: Version::V31, username: None, password: None }, "c");
        assert_eq!(out, b"\x10\x0f\0\x06MQIsdp\x03\x02\0\0\0\x01c");
        out.clear();
        subscribe(&mut out, Version::V311, "a/#", 1);
        assert_eq!(out, b"\x82\x08\0\x01\0\x03a/#\x01");
        out.clear();
        publish(&mut out, Form { version: Version::V5, qos: 1, retain: true }, "a", 258, 200);
        assert_eq!(out, b"\x33\xce\x01\0\x01a\x01\x02\0");
        out.clear();
        publish(&mut out, Form { version: Version::V311, qos: 0, retain: false }, "a", 0, 1);
        assert_eq!(out, b"\x30\x04\0\x01a");
    }

    /// Decodes to `expected`, and to nothing while bytes are missing.
    #[track_caller]
    fn check(version: Version, bytes: &[u8], expected: Packet<'_>) {
        assert_eq!(decode(bytes, version), Ok(Some((expected, bytes.len()))));
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length], version), Ok(None), "{length} bytes of {bytes:x?}");
        }
    }
}
