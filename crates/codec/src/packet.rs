//! MQTT control packets: which there are, and the way to and from bytes. What a packet consists of is in its own file.

use crate::header::{Header, Kind};
use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, EncodeError, ReasonCode, Version};

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod publish;
mod suback;
mod subscribe;
mod unsubscribe;
mod will;

pub use ack::{Ack, AckProperties};
pub use auth::{Auth, AuthProperties};
pub use connack::{Connack, ConnackProperties};
pub use connect::{Connect, ConnectProperties};
pub use disconnect::{Disconnect, DisconnectProperties};
pub use publish::{Publish, PublishProperties};
pub use suback::{ReasonCodes, Suback, Unsuback};
pub use subscribe::{RetainHandling, Subscribe, SubscribeFilter, SubscribeProperties, Subscribes, SubscriptionOptions};
pub use unsubscribe::{Filters, Unsubscribe};
pub use will::{Will, WillProperties};

/// One MQTT control packet of any version (MQTT 5 §3). It borrows the bytes it was decoded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A client asks for a connection.
    Connect(Box<Connect<'a>>),
    /// The answer to CONNECT.
    Connack(Connack<'a>),
    /// A message.
    Publish(Publish<'a>),
    /// A message of QoS 1 has arrived.
    Puback(Ack<'a>),
    /// A message of QoS 2 has arrived, step 1.
    Pubrec(Ack<'a>),
    /// Step 2: the sender has let go of the message.
    Pubrel(Ack<'a>),
    /// Step 3: the packet identifier is free.
    Pubcomp(Ack<'a>),
    /// A client asks for messages.
    Subscribe(Subscribe<'a>),
    /// The answer to SUBSCRIBE.
    Suback(Suback<'a>),
    /// A client asks for messages no more.
    Unsubscribe(Unsubscribe<'a>),
    /// The answer to UNSUBSCRIBE.
    Unsuback(Unsuback<'a>),
    /// A client asks whether the server is there.
    Pingreq,
    /// It is.
    Pingresp,
    /// The last packet of a connection; before MQTT 5 only a client sends it.
    Disconnect(Disconnect<'a>),
    /// A step of enhanced authentication; MQTT 5 only.
    Auth(Auth<'a>),
}

impl<'a> Packet<'a> {
    /// Decodes exactly one packet, of the length [`frame_length`](crate::frame_length) said.
    ///
    /// A CONNECT says itself which version it is of; `version` is for all others.
    pub fn decode(version: Version, frame: &'a [u8]) -> Result<Self, DecodeError> {
        let header = Header::load(frame)?.ok_or(DecodeError::Truncated { field: "fixed header" })?;
        let mut whole = Reader::new(&frame[header.bytes..]);
        let body = whole.bytes(header.remaining as usize, "packet")?;
        whole.finish(header.kind.name())?;
        Self::load(version, &header, body, "")
    }

    /// `topic` is one that was found to be good before: the packet's own is not checked again if it is the same.
    #[inline(always)] // Built where it is looked at: moving it costs as much as reading it.
    pub(crate) fn load(version: Version, header: &Header, body: &'a [u8], topic: &'a str) -> Result<Self, DecodeError> {
        header.check_version(version)?;
        let mut reader = Reader::new(body);
        let kind = header.kind;
        let packet = match kind {
            Kind::Publish => return Publish::load(&mut reader, version, header.flags, topic).map(Self::Publish),
            Kind::Connect => Self::Connect(Box::new(Connect::load(&mut reader)?)),
            Kind::Connack => Self::Connack(Connack::load(&mut reader, version)?),
            Kind::Puback => Self::Puback(Ack::load(&mut reader, version, kind)?),
            Kind::Pubrec => Self::Pubrec(Ack::load(&mut reader, version, kind)?),
            Kind::Pubrel => Self::Pubrel(Ack::load(&mut reader, version, kind)?),
            Kind::Pubcomp => Self::Pubcomp(Ack::load(&mut reader, version, kind)?),
            Kind::Subscribe => Self::Subscribe(Subscribe::load(&mut reader, version)?),
            Kind::Suback => Self::Suback(Suback::load(&mut reader, version)?),
            Kind::Unsubscribe => Self::Unsubscribe(Unsubscribe::load(&mut reader, version)?),
            Kind::Unsuback => Self::Unsuback(Unsuback::load(&mut reader, version)?),
            Kind::Pingreq => Self::Pingreq,
            Kind::Pingresp => Self::Pingresp,
            Kind::Disconnect => Self::Disconnect(Disconnect::load(&mut reader, version)?),
            Kind::Auth => Self::Auth(Auth::load(&mut reader)?),
        };
        reader.finish(kind.name())?;
        Ok(packet)
    }

    /// Appends the packet to `out`, or nothing where it fails: only what has no form on the wire does, not what a
    /// receiver would refuse.
    ///
    /// Before MQTT 5, properties and all reason codes but those of CONNACK and SUBACK are left out. A CONNECT is
    /// encoded in its own version.
    #[inline]
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if let Some(bytes) = self.ack().and_then(|ack| ack.bare(self.kind(), version)) {
            out.extend_from_slice(&bytes);
            return Ok(());
        }
        self.encode_all(version, out)
    }

    fn encode_all(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let before = out.len();
        let encoded = self.append(version, &mut Writer::new(out));
        if encoded.is_err() {
            out.truncate(before);
        }
        encoded
    }

    /// The specification's name of the packet, such as `PUBLISH`.
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// How many user properties the packet carries; those of a CONNECT's will are counted, too.
    pub fn user_property_count(&self) -> usize {
        let properties = match self {
            Self::Connect(connect) => {
                let of_will = connect.will.as_ref().map(|will| will.properties.publish.user_properties);
                return connect.properties.user_properties.iter().count()
                    + of_will.map_or(0, |properties| properties.iter().count());
            }
            Self::Connack(connack) => &connack.properties.user_properties,
            Self::Publish(publish) => &publish.properties.user_properties,
            Self::Puback(ack) | Self::Pubrec(ack) | Self::Pubrel(ack) | Self::Pubcomp(ack) => {
                &ack.properties.user_properties
            }
            Self::Subscribe(subscribe) => &subscribe.properties.user_properties,
            Self::Unsubscribe(unsubscribe) => &unsubscribe.user_properties,
            Self::Suback(suback) => &suback.properties.user_properties,
            Self::Unsuback(unsuback) => &unsuback.properties.user_properties,
            Self::Disconnect(disconnect) => &disconnect.properties.user_properties,
            Self::Auth(auth) => &auth.properties.user_properties,
            Self::Pingreq | Self::Pingresp => return 0,
        };
        properties.iter().count()
    }

    /// The acknowledgement that it is, if it is one.
    #[inline]
    fn ack(&self) -> Option<&Ack<'a>> {
        match self {
            Self::Puback(ack) | Self::Pubrec(ack) | Self::Pubrel(ack) | Self::Pubcomp(ack) => Some(ack),
            _ => None,
        }
    }

    fn append(&self, version: Version, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        if version < Version::V5 && matches!(self, Self::Auth(_)) {
            return Err(EncodeError::NoAuth);
        }
        let flags = match self {
            Self::Publish(publish) => publish.flags(),
            _ => self.kind().flags(),
        };
        out.u8((self.kind() as u8) << 4 | flags);
        out.sized("remaining length", |out| match self {
            Self::Connect(connect) => connect.encode(out),
            Self::Connack(connack) => connack.encode(version, out),
            Self::Publish(publish) => publish.encode(version, out),
            Self::Puback(ack) | Self::Pubrec(ack) | Self::Pubrel(ack) | Self::Pubcomp(ack) => ack.encode(out),
            Self::Subscribe(subscribe) => subscribe.encode(version, out),
            Self::Suback(suback) => suback.encode(version, out),
            Self::Unsubscribe(unsubscribe) => unsubscribe.encode(version, out),
            Self::Unsuback(unsuback) => unsuback.encode(version, out),
            Self::Pingreq | Self::Pingresp => Ok(()),
            Self::Disconnect(disconnect) => disconnect.encode(version, out),
            Self::Auth(auth) => auth.encode(out),
        })
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Connect(_) => Kind::Connect,
            Self::Connack(_) => Kind::Connack,
            Self::Publish(_) => Kind::Publish,
            Self::Puback(_) => Kind::Puback,
            Self::Pubrec(_) => Kind::Pubrec,
            Self::Pubrel(_) => Kind::Pubrel,
            Self::Pubcomp(_) => Kind::Pubcomp,
            Self::Subscribe(_) => Kind::Subscribe,
            Self::Suback(_) => Kind::Suback,
            Self::Unsubscribe(_) => Kind::Unsubscribe,
            Self::Unsuback(_) => Kind::Unsuback,
            Self::Pingreq => Kind::Pingreq,
            Self::Pingresp => Kind::Pingresp,
            Self::Disconnect(_) => Kind::Disconnect,
            Self::Auth(_) => Kind::Auth,
        }
    }
}

/// A reason code that packets of this kind may carry.
fn load_reason(reader: &mut Reader<'_>, kind: Kind) -> Result<ReasonCode, DecodeError> {
    let code = reader.u8("reason code")?;
    match ReasonCode::try_from(code) {
        Ok(reason) if reason.belongs_in(kind) => Ok(reason),
        _ => Err(DecodeError::ReasonCode { packet: kind.name(), code }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{VERSIONS, check, check_refused};

    #[test]
    fn pings_are_two_bytes() {
        for version in VERSIONS {
            check(version, 0xC0, b"", &Packet::Pingreq);
            check(version, 0xD0, b"", &Packet::Pingresp);
            check_refused(version, 0xC0, b"x", DecodeError::Trailing { packet: "PINGREQ", bytes: 1 });
            check_refused(version, 0xD0, b"xy", DecodeError::Trailing { packet: "PINGRESP", bytes: 2 });
        }
    }

    #[test]
    fn a_frame_is_exactly_one_packet() {
        let refused = |frame, error| assert_eq!(Packet::decode(Version::V5, frame), Err(error), "{frame:02x?}");
        refused(b"", DecodeError::Truncated { field: "fixed header" });
        refused(b"\xC0", DecodeError::Truncated { field: "fixed header" });
        refused(b"\xC0\x80", DecodeError::Truncated { field: "fixed header" });
        refused(b"\x40\x02\x00", DecodeError::Truncated { field: "packet" });
        refused(b"\xC0\x00\xC0\x00", DecodeError::Trailing { packet: "PINGREQ", bytes: 2 });
    }

    #[test]
    fn only_mqtt_3_1_repeats_requests_as_duplicates() {
        for (first, body, packet) in [
            (0x6A, &b"\0\x01"[..], "PUBREL"),
            (0x8A, b"\0\x01\0\x01a\0", "SUBSCRIBE"),
            (0xAA, b"\0\x01\0\x01a", "UNSUBSCRIBE"),
        ] {
            let frame = crate::testing::frame(first, body);
            assert_eq!(Packet::decode(Version::V31, &frame).expect("a duplicate").name(), packet);
            for version in [Version::V311, Version::V5] {
                check_refused(version, first, body, DecodeError::ReservedFlags { packet, flags: 0b1010 });
            }
        }
    }

    #[test]
    fn what_has_no_form_leaves_the_buffer_as_it_was() {
        let long = "x".repeat(65_536);
        let publish = Publish { topic: &long, ..Publish::default() };
        let mut out = b"before".to_vec();
        let error = EncodeError::FieldTooLong { field: "topic", bytes: 65_536 };
        assert_eq!(Packet::Publish(publish).encode(Version::V5, &mut out), Err(error));
        assert_eq!(out, b"before");
    }
}
