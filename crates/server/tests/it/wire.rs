//! A client that writes and reads MQTT byte by byte, and knows nothing of the codec under test.
//!
//! It does what it is told and no more: it acknowledges nothing by itself, keeps no session, and can send what no
//! library would.

use crate::DEADLINE;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Version {
    V311,
    V5,
}

/// A packet from the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Packet {
    Connack { session_present: bool, code: u8, properties: Properties },
    Publish(Publish),
    Puback(Ack),
    Pubrec(Ack),
    Pubrel(Ack),
    Pubcomp(Ack),
    Suback { id: u16, codes: Vec<u8>, properties: Properties },
    Unsuback { id: u16, codes: Vec<u8> },
    Pingresp,
    Disconnect { code: u8, properties: Properties },
    Auth { code: u8, properties: Properties },
}

/// One half of an acknowledgement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ack {
    pub(crate) id: u16,
    /// 0 where the version has none.
    pub(crate) code: u8,
    pub(crate) properties: Properties,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Publish {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) topic: String,
    /// 0 with QoS 0.
    pub(crate) id: u16,
    pub(crate) properties: Properties,
    pub(crate) payload: Vec<u8>,
}

/// Properties of MQTT 5 in the order they came.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Properties(pub(crate) Vec<(u8, Value)>);

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    Number(u32),
    Text(String),
    Bytes(Vec<u8>),
    Pair(String, String),
}

/// Identifiers of properties (MQTT 5 §2.2.2.2).
pub(crate) mod property {
    pub(crate) const PAYLOAD_FORMAT: u8 = 1;
    pub(crate) const MESSAGE_EXPIRY: u8 = 2;
    pub(crate) const CONTENT_TYPE: u8 = 3;
    pub(crate) const RESPONSE_TOPIC: u8 = 8;
    pub(crate) const CORRELATION_DATA: u8 = 9;
    pub(crate) const SUBSCRIPTION_ID: u8 = 11;
    pub(crate) const SESSION_EXPIRY: u8 = 17;
    pub(crate) const ASSIGNED_CLIENT_ID: u8 = 18;
    pub(crate) const AUTHENTICATION_METHOD: u8 = 21;
    pub(crate) const AUTHENTICATION_DATA: u8 = 22;
    pub(crate) const WILL_DELAY: u8 = 24;
    pub(crate) const REASON_STRING: u8 = 31;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 33;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 34;
    pub(crate) const TOPIC_ALIAS: u8 = 35;
    pub(crate) const USER: u8 = 38;
    pub(crate) const MAXIMUM_PACKET: u8 = 39;
}

impl Properties {
    pub(crate) fn number(&self, id: u8) -> Option<u32> {
        self.0.iter().find_map(|(found, value)| match value {
            Value::Number(number) if *found == id => Some(*number),
            _ => None,
        })
    }

    pub(crate) fn text(&self, id: u8) -> Option<&str> {
        self.0.iter().find_map(|(found, value)| match value {
            Value::Text(text) if *found == id => Some(&**text),
            _ => None,
        })
    }

    pub(crate) fn bytes(&self, id: u8) -> Option<&[u8]> {
        self.0.iter().find_map(|(found, value)| match value {
            Value::Bytes(bytes) if *found == id => Some(&**bytes),
            _ => None,
        })
    }

    pub(crate) fn user(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|(_, value)| match value {
            Value::Pair(found, text) if found == name => Some(&**text),
            _ => None,
        })
    }

    fn read(input: &mut Input<'_>) -> Properties {
        let mut section = Input(input.take_length());
        let mut found = Vec::new();
        while !section.0.is_empty() {
            let id = section.byte();
            let value = match id {
                1 | 23 | 25 | 36 | 37 | 40 | 41 | 42 => Value::Number(section.byte().into()),
                19 | 33 | 34 | 35 => Value::Number(section.u16().into()),
                2 | 17 | 24 | 39 => Value::Number(section.u32()),
                11 => Value::Number(section.length() as u32),
                9 | 22 => Value::Bytes(section.bytes().to_vec()),
                38 => Value::Pair(section.text(), section.text()),
                3 | 8 | 18 | 21 | 26 | 28 | 31 => Value::Text(section.text()),
                _ => panic!("the server sent a property {id}, which MQTT has not"),
            };
            found.push((id, value));
        }
        Properties(found)
    }
}

impl Publish {
    /// The payload of a message, as text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("text")
    }

    /// The payload as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.payload).unwrap_or_else(|error| panic!("{error} in {self}"))
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Publish { dup, qos, retain, topic, id, payload, .. } = self;
        let payload = String::from_utf8_lossy(payload);
        write!(f, "PUBLISH {id} {topic} qos={qos} retain={retain} dup={dup} {payload:?}")
    }
}

/// What a CONNECT says.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) properties: Vec<u8>,
    pub(crate) will: Option<Will>,
    pub(crate) user: Option<(String, String)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: Vec<u8>,
}

impl Connect {
    /// With a clean start and without keep-alive.
    pub(crate) fn new(version: Version, client_id: &str) -> Connect {
        Connect {
            version,
            client_id: client_id.to_owned(),
            clean: true,
            keep_alive: 0,
            properties: Vec::new(),
            will: None,
            user: None,
        }
    }

    /// Of a session that outlives the connection: an hour in MQTT 5, for ever in 3.1.1.
    pub(crate) fn lasting(version: Version, client_id: &str) -> Connect {
        let mut connect = Connect { clean: false, ..Connect::new(version, client_id) };
        if version == Version::V5 {
            connect.properties = numbers(&[(property::SESSION_EXPIRY, 3600)]);
        }
        connect
    }

    pub(crate) fn with_properties(mut self, properties: &[u8]) -> Connect {
        self.properties.extend_from_slice(properties);
        self
    }

    pub(crate) fn with_keep_alive(mut self, seconds: u16) -> Connect {
        self.keep_alive = seconds;
        self
    }

    pub(crate) fn with_will(mut self, topic: &str, payload: &str, qos: u8, retain: bool) -> Connect {
        let payload = payload.as_bytes().to_vec();
        self.will = Some(Will { topic: topic.to_owned(), payload, qos, retain, properties: Vec::new() });
        self
    }

    pub(crate) fn with_user(mut self, name: &str, password: &str) -> Connect {
        self.user = Some((name.to_owned(), password.to_owned()));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut flags = if self.clean { 0x02 } else { 0 };
        let is_v5 = self.version == Version::V5;
        let mut rest = Vec::new();
        text(&mut rest, &self.client_id);
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | if will.retain { 0x20 } else { 0 };
            if is_v5 {
                sized(&mut rest, &will.properties);
            }
            text(&mut rest, &will.topic);
            binary(&mut rest, &will.payload);
        }
        if let Some((name, password)) = &self.user {
            flags |= 0xC0;
            text(&mut rest, name);
            text(&mut rest, password);
        }
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', if is_v5 { 5 } else { 4 }, flags];
        body.extend(self.keep_alive.to_be_bytes());
        if is_v5 {
            sized(&mut body, &self.properties);
        }
        body.extend(rest);
        packet(0x10, &body)
    }

    /// Connects; fails unless it is accepted.
    #[track_caller]
    pub(crate) fn open(&self, port: u16) -> Client {
        let (client, connack) = self.open_with_answer(port);
        assert_eq!(connack.code(), Some(0), "refused: {connack:?}");
        client
    }

    /// Connects; whatever session there was is forgotten, and a lasting one begins if this asks for one.
    #[track_caller]
    pub(crate) fn open_anew(&self, port: u16) -> Client {
        let clean = Connect { clean: true, ..self.clone() };
        if self.version == Version::V5 {
            return clean.open(port);
        }
        // In MQTT 3.1.1 a session that begins clean ends with its connection.
        clean.open(port).disconnect();
        self.open(port)
    }

    /// Connects and says whether a session was there; fails unless it is accepted.
    #[track_caller]
    pub(crate) fn resume(&self, port: u16) -> (Client, bool) {
        let (client, connack) = self.open_with_answer(port);
        match connack {
            Packet::Connack { session_present, code: 0, .. } => (client, session_present),
            other => panic!("refused: {other:?}"),
        }
    }

    /// Connects, whatever the answer.
    #[track_caller]
    pub(crate) fn open_with_answer(&self, port: u16) -> (Client, Packet) {
        let mut client = Client::dial(port, self.version);
        client.send(&self.bytes());
        let connack = client.next();
        assert!(matches!(connack, Packet::Connack { .. }), "a CONNACK comes first, not {connack:?}");
        (client, connack)
    }
}

impl Packet {
    /// The reason code of a packet that has one.
    pub(crate) fn code(&self) -> Option<u8> {
        match self {
            Packet::Connack { code, .. } | Packet::Disconnect { code, .. } | Packet::Auth { code, .. } => Some(*code),
            Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => Some(ack.code),
            _ => None,
        }
    }
}

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    version: Version,
    buffer: Vec<u8>,
    start: usize,
    last_id: u16,
}

impl Client {
    /// A connection on which nothing was said yet.
    #[track_caller]
    pub(crate) fn dial(port: u16, version: Version) -> Client {
        Client::dial_if_there(port, version).expect("the server listens")
    }

    /// The same; `None` if nobody listens.
    pub(crate) fn dial_if_there(port: u16, version: Version) -> Option<Client> {
        Some(Client::over(TcpStream::connect(("127.0.0.1", port)).ok()?, version))
    }

    /// On a connection that somebody else made.
    pub(crate) fn over(stream: TcpStream, version: Version) -> Client {
        stream.set_read_timeout(Some(DEADLINE)).expect("a limit");
        stream.set_nodelay(true).expect("a socket");
        Client { stream, version, buffer: Vec::new(), start: 0, last_id: 0 }
    }

    /// Sends bytes as they are. That the server has closed shows when reading.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next packet; `None` once the server has closed.
    #[track_caller]
    pub(crate) fn try_next(&mut self) -> Option<Packet> {
        loop {
            if let Some((length, packet)) = self.parse() {
                self.start += length;
                return Some(packet);
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(length) => self.buffer.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// The next packet.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Packet {
        self.try_next().expect("the server closed the connection")
    }

    /// The next packet, which is a message.
    #[track_caller]
    pub(crate) fn next_publish(&mut self) -> Publish {
        match self.next() {
            Packet::Publish(publish) => publish,
            other => panic!("a PUBLISH should come, not {other:?}"),
        }
    }

    /// The next message, acknowledged as its QoS asks; what releases earlier ones is answered on the way.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Publish {
        match self.next_but_releases() {
            Packet::Publish(publish) => {
                self.acknowledge(&publish);
                publish
            }
            other => panic!("a PUBLISH should come, not {other:?}"),
        }
    }

    /// Says that a message has arrived.
    pub(crate) fn acknowledge(&mut self, publish: &Publish) {
        match publish.qos {
            0 => {}
            1 => self.send(&ack(0x40, publish.id)),
            _ => self.send(&ack(0x50, publish.id)),
        }
    }

    #[track_caller]
    fn next_but_releases(&mut self) -> Packet {
        loop {
            match self.next() {
                Packet::Pubrel(released) => self.send(&ack(0x70, released.id)),
                other => return other,
            }
        }
    }

    /// Reads until the server closes; the packets before that.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.try_next()).collect()
    }

    /// Reads until the server closes, in the middle of a packet perhaps.
    #[track_caller]
    pub(crate) fn read_to_the_end(mut self) {
        match std::io::copy(&mut self.stream, &mut std::io::sink()) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("it does not end: {error}"),
            _ => {}
        }
    }

    pub(crate) fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// Subscribes and waits for the answer; fails unless granted as asked.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        let codes = self.try_subscribe(&[(filter, qos)]);
        assert_eq!(codes, [qos], "{filter}");
    }

    /// Subscribes with options, and waits for the reason codes.
    #[track_caller]
    pub(crate) fn try_subscribe(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        self.try_subscribe_with(filters, &[])
    }

    #[track_caller]
    pub(crate) fn try_subscribe_with(&mut self, filters: &[(&str, u8)], properties: &[u8]) -> Vec<u8> {
        let id = self.next_id();
        self.send(&subscribe(self.version, id, filters, properties));
        match self.next_but_releases() {
            Packet::Suback { id: answered, codes, .. } if answered == id => codes,
            other => panic!("a SUBACK should come, not {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn unsubscribe(&mut self, filter: &str) {
        let id = self.next_id();
        self.send(&unsubscribe(self.version, id, &[filter]));
        // Messages may be on their way.
        loop {
            match self.next() {
                Packet::Unsuback { id: answered, .. } => return assert_eq!(answered, id),
                Packet::Publish(_) | Packet::Pubrel(_) => {}
                other => panic!("an UNSUBACK should come, not {other:?}"),
            }
        }
    }

    /// Publishes and waits until it is acknowledged; fails unless it was taken.
    #[track_caller]
    pub(crate) fn publish(&mut self, topic: &str, payload: &str, qos: u8, retain: bool) {
        let code = self.try_publish(topic, payload.as_bytes(), qos, retain, &[]);
        assert!(matches!(code, 0 | 0x10), "{topic} {payload:?} was refused: {code:#04x}");
    }

    /// Publishes and waits for the reason code of the first answer. For clients that have no subscription.
    #[track_caller]
    pub(crate) fn try_publish(&mut self, topic: &str, payload: &[u8], qos: u8, retain: bool, properties: &[u8]) -> u8 {
        self.publish_with_answer(topic, payload, qos, retain, properties).code
    }

    /// The same, with all of the answer.
    #[track_caller]
    pub(crate) fn publish_with_answer(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: u8,
        retain: bool,
        properties: &[u8],
    ) -> Ack {
        let id = if qos == 0 { 0 } else { self.next_id() };
        self.send(&publish(self.version, topic, payload, qos, retain, id, properties));
        match qos {
            0 => {
                // What comes after it was read shows that it was read.
                self.ping();
                Ack { id, code: 0, properties: Properties::default() }
            }
            1 => match self.next() {
                Packet::Puback(ack) if ack.id == id => ack,
                other => panic!("PUBACK {id} should come, not {other:?}"),
            },
            _ => {
                let received = match self.next() {
                    Packet::Pubrec(ack) if ack.id == id => ack,
                    other => panic!("PUBREC {id} should come, not {other:?}"),
                };
                if received.code < 0x80 {
                    self.send(&ack(0x62, id));
                    let complete = self.next();
                    let is_it = matches!(&complete, Packet::Pubcomp(ack) if ack.id == id && ack.code == 0);
                    assert!(is_it, "PUBCOMP {id} should come, not {complete:?}");
                }
                received
            }
        }
    }

    /// Waits for an answer to a PINGREQ; fails if anything else comes before.
    #[track_caller]
    pub(crate) fn ping(&mut self) {
        self.send(&[0xC0, 0]);
        assert_eq!(self.next_but_releases(), Packet::Pingresp);
    }

    /// Ends the connection as one should, and waits until the server has closed it.
    #[track_caller]
    pub(crate) fn disconnect(mut self) {
        self.send(&[0xE0, 0]);
        while self.try_next().is_some() {}
    }

    /// Sends for the last time, and goes on listening.
    pub(crate) fn send_last(&mut self, bytes: &[u8]) {
        self.send(bytes);
        self.stream.shutdown(Shutdown::Write).expect("a socket");
    }

    /// The connection breaks.
    pub(crate) fn cut(self) {
        drop(self.stream);
    }

    fn parse(&self) -> Option<(usize, Packet)> {
        let bytes = &self.buffer[self.start..];
        let mut length = 0;
        let mut header = 1;
        loop {
            let byte = *bytes.get(header)?;
            length |= usize::from(byte & 0x7F) << (7 * (header - 1));
            header += 1;
            if byte & 0x80 == 0 {
                break;
            }
            assert!(header < 5, "a length of more than four bytes from the server");
        }
        let body = bytes.get(header..header + length)?;
        Some((header + length, self.packet(bytes[0], Input(body))))
    }

    fn packet(&self, first: u8, mut input: Input<'_>) -> Packet {
        let is_v5 = self.version == Version::V5;
        let flags = first & 0x0F;
        let kind = first >> 4;
        assert!(kind == 3 || flags == if kind == 6 { 2 } else { 0 }, "flags of {first:#04x} from the server");
        let properties = |input: &mut Input<'_>| if is_v5 { Properties::read(input) } else { Properties::default() };
        let packet = match kind {
            2 => {
                let session_present = input.byte() == 1;
                let code = input.byte();
                // Whose version we do not know is answered as MQTT 3.1.1 has it.
                let properties = if input.0.is_empty() { Properties::default() } else { properties(&mut input) };
                Packet::Connack { session_present, code, properties }
            }
            3 => {
                let qos = flags >> 1 & 3;
                let topic = input.text();
                let id = if qos == 0 { 0 } else { input.u16() };
                let properties = properties(&mut input);
                let payload = std::mem::take(&mut input.0).to_vec();
                Packet::Publish(Publish {
                    dup: flags & 8 != 0,
                    qos,
                    retain: flags & 1 != 0,
                    topic,
                    id,
                    properties,
                    payload,
                })
            }
            4..=7 => {
                let id = input.u16();
                let code = if input.0.is_empty() { 0 } else { input.byte() };
                let properties = if input.0.is_empty() { Properties::default() } else { properties(&mut input) };
                let ack = Ack { id, code, properties };
                match kind {
                    4 => Packet::Puback(ack),
                    5 => Packet::Pubrec(ack),
                    6 => Packet::Pubrel(ack),
                    _ => Packet::Pubcomp(ack),
                }
            }
            9 => {
                let id = input.u16();
                let properties = properties(&mut input);
                Packet::Suback { id, codes: std::mem::take(&mut input.0).to_vec(), properties }
            }
            11 => {
                let id = input.u16();
                properties(&mut input);
                Packet::Unsuback { id, codes: std::mem::take(&mut input.0).to_vec() }
            }
            13 => Packet::Pingresp,
            14 => {
                assert!(is_v5, "a DISCONNECT from the server in MQTT 3.1.1");
                let code = if input.0.is_empty() { 0 } else { input.byte() };
                let properties = if input.0.is_empty() { Properties::default() } else { properties(&mut input) };
                Packet::Disconnect { code, properties }
            }
            15 => {
                let code = if input.0.is_empty() { 0 } else { input.byte() };
                let properties = if input.0.is_empty() { Properties::default() } else { properties(&mut input) };
                Packet::Auth { code, properties }
            }
            _ => panic!("the server sent a packet of type {kind}"),
        };
        assert!(input.0.is_empty(), "bytes left over behind {packet:?}");
        packet
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.u16();
        self.take(length.into())
    }

    fn text(&mut self) -> String {
        String::from_utf8(self.bytes().to_vec()).expect("UTF-8 from the server")
    }

    fn length(&mut self) -> usize {
        let mut length = 0;
        for index in 0..4 {
            let byte = self.byte();
            length |= usize::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                return length;
            }
        }
        panic!("a length of more than four bytes from the server");
    }

    fn take_length(&mut self) -> &'a [u8] {
        let length = self.length();
        self.take(length)
    }
}

/// A packet of a first byte and what follows the length.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    sized(&mut bytes, body);
    bytes
}

pub(crate) fn publish(
    version: Version,
    topic: &str,
    payload: &[u8],
    qos: u8,
    retain: bool,
    id: u16,
    properties: &[u8],
) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + properties.len() + 8);
    text(&mut body, topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    if version == Version::V5 {
        sized(&mut body, properties);
    }
    body.extend_from_slice(payload);
    packet(0x30 | qos << 1 | u8::from(retain), &body)
}

pub(crate) fn subscribe(version: Version, id: u16, filters: &[(&str, u8)], properties: &[u8]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        sized(&mut body, properties);
    }
    for (filter, options) in filters {
        text(&mut body, filter);
        body.push(*options);
    }
    packet(0x82, &body)
}

pub(crate) fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    filters.iter().for_each(|filter| text(&mut body, filter));
    packet(0xA2, &body)
}

/// An acknowledgement without a reason: PUBACK 0x40, PUBREC 0x50, PUBREL 0x62, PUBCOMP 0x70.
pub(crate) fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

/// Properties that are numbers.
pub(crate) fn numbers(properties: &[(u8, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &(id, number) in properties {
        bytes.push(id);
        match id {
            1 | 23 | 25 => bytes.push(number as u8),
            19 | 33 | 34 | 35 => bytes.extend((number as u16).to_be_bytes()),
            11 => length(&mut bytes, number as usize),
            _ => bytes.extend(number.to_be_bytes()),
        }
    }
    bytes
}

/// A property that is text.
pub(crate) fn worded(id: u8, words: &str) -> Vec<u8> {
    let mut bytes = vec![id];
    text(&mut bytes, words);
    bytes
}

/// Method and data, as CONNECT and AUTH have them.
pub(crate) fn exchange(method: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = worded(property::AUTHENTICATION_METHOD, method);
    bytes.push(property::AUTHENTICATION_DATA);
    binary(&mut bytes, data);
    bytes
}

/// AUTH: 0x18 goes on, 0x19 begins anew.
pub(crate) fn auth(code: u8, properties: &[u8]) -> Vec<u8> {
    let mut body = vec![code];
    sized(&mut body, properties);
    packet(0xF0, &body)
}

/// A user property.
pub(crate) fn user(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = worded(property::USER, name);
    text(&mut bytes, value);
    bytes
}

pub(crate) fn text(bytes: &mut Vec<u8>, text: &str) {
    binary(bytes, text.as_bytes());
}

pub(crate) fn binary(bytes: &mut Vec<u8>, binary: &[u8]) {
    bytes.extend(u16::try_from(binary.len()).expect("a short one").to_be_bytes());
    bytes.extend_from_slice(binary);
}

fn sized(bytes: &mut Vec<u8>, section: &[u8]) {
    length(bytes, section.len());
    bytes.extend_from_slice(section);
}

fn length(bytes: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = (length & 0x7F) as u8;
        length >>= 7;
        bytes.push(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            return;
        }
    }
}
