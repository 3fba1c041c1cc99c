//! The properties of MQTT 5 (§2.2.2): one table of what each looks like on the wire.
//!
//! Which packet has which is said by the packets; each collects its own from a [`Section`].

use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, EncodeError, QoS, Secret};

mod section;
mod subscription_ids;
mod user;

pub(crate) use section::Section;
pub use subscription_ids::SubscriptionIds;
pub use user::{UserProperties, UserPropertiesBuf};

/// One property and its value (MQTT 5 §2.2.2.2, table 2-4).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Property<'a> {
    PayloadFormat(u8),
    MessageExpiry(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    SubscriptionId(u32),
    SessionExpiry(u32),
    AssignedClientId(&'a str),
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(Secret<'a>),
    RequestProblemInformation(bool),
    WillDelay(u32),
    RequestResponseInformation(bool),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQoS(QoS),
    RetainAvailable(bool),
    User(&'a str, &'a str),
    MaximumPacketSize(u32),
    WildcardAvailable(bool),
    SubscriptionIdsAvailable(bool),
    SharedAvailable(bool),
}

impl<'a> Property<'a> {
    /// Takes one property, and checks everything about it but whether its packet may have it.
    fn load(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let id = reader.varint("property identifier")?;
        let name = name(id);
        Ok(match id {
            0x01 => Self::PayloadFormat(in_range(reader.u8(name)?, |value| value <= 1, name)?),
            0x02 => Self::MessageExpiry(reader.u32(name)?),
            0x03 => Self::ContentType(reader.text(name)?),
            0x08 => Self::ResponseTopic(reader.topic_not_empty(name)?),
            0x09 => Self::CorrelationData(reader.binary(name)?),
            0x0B => Self::SubscriptionId(in_range(reader.varint(name)?, |value| value > 0, name)?),
            0x11 => Self::SessionExpiry(reader.u32(name)?),
            0x12 => Self::AssignedClientId(reader.text(name)?),
            0x13 => Self::ServerKeepAlive(reader.u16(name)?),
            0x15 => Self::AuthenticationMethod(reader.text(name)?),
            0x16 => Self::AuthenticationData(Secret(reader.binary(name)?)),
            0x17 => Self::RequestProblemInformation(flag(reader, name)?),
            0x18 => Self::WillDelay(reader.u32(name)?),
            0x19 => Self::RequestResponseInformation(flag(reader, name)?),
            0x1A => Self::ResponseInformation(reader.text(name)?),
            0x1C => Self::ServerReference(reader.text(name)?),
            0x1F => Self::ReasonString(reader.text(name)?),
            0x21 => Self::ReceiveMaximum(in_range(reader.u16(name)?, |value| value > 0, name)?),
            0x22 => Self::TopicAliasMaximum(reader.u16(name)?),
            0x23 => match reader.u16(name)? {
                0 => return Err(DecodeError::TopicAliasZero),
                alias => Self::TopicAlias(alias),
            },
            0x24 if flag(reader, name)? => Self::MaximumQoS(QoS::AtLeastOnce),
            0x24 => Self::MaximumQoS(QoS::AtMostOnce),
            0x25 => Self::RetainAvailable(flag(reader, name)?),
            0x26 => Self::User(reader.text("user property name")?, reader.text("user property value")?),
            0x27 => Self::MaximumPacketSize(in_range(reader.u32(name)?, |value| value > 0, name)?),
            0x28 => Self::WildcardAvailable(flag(reader, name)?),
            0x29 => Self::SubscriptionIdsAvailable(flag(reader, name)?),
            0x2A => Self::SharedAvailable(flag(reader, name)?),
            _ => return Err(DecodeError::UnknownProperty { id }),
        })
    }

    pub(crate) fn encode(self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        let id = self.id();
        let name = name(id.into());
        out.u8(id);
        match self {
            Self::PayloadFormat(byte) => out.u8(byte),
            Self::MaximumQoS(qos) => out.u8(qos.into()),
            Self::RequestProblemInformation(flag)
            | Self::RequestResponseInformation(flag)
            | Self::RetainAvailable(flag)
            | Self::WildcardAvailable(flag)
            | Self::SubscriptionIdsAvailable(flag)
            | Self::SharedAvailable(flag) => out.u8(flag.into()),
            Self::ServerKeepAlive(number)
            | Self::ReceiveMaximum(number)
            | Self::TopicAliasMaximum(number)
            | Self::TopicAlias(number) => out.u16(number),
            Self::MessageExpiry(number)
            | Self::SessionExpiry(number)
            | Self::WillDelay(number)
            | Self::MaximumPacketSize(number) => out.u32(number),
            Self::SubscriptionId(number) => out.varint(number, name)?,
            Self::ContentType(text)
            | Self::ResponseTopic(text)
            | Self::AssignedClientId(text)
            | Self::AuthenticationMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => out.text(text, name)?,
            Self::CorrelationData(bytes) => out.binary(bytes, name)?,
            Self::AuthenticationData(secret) => out.binary(secret.0, name)?,
            Self::User(name, value) => {
                out.text(name, "user property name")?;
                out.text(value, "user property value")?;
            }
        }
        Ok(())
    }

    fn id(self) -> u8 {
        match self {
            Self::PayloadFormat(_) => 0x01,
            Self::MessageExpiry(_) => 0x02,
            Self::ContentType(_) => 0x03,
            Self::ResponseTopic(_) => 0x08,
            Self::CorrelationData(_) => 0x09,
            Self::SubscriptionId(_) => 0x0B,
            Self::SessionExpiry(_) => 0x11,
            Self::AssignedClientId(_) => 0x12,
            Self::ServerKeepAlive(_) => 0x13,
            Self::AuthenticationMethod(_) => 0x15,
            Self::AuthenticationData(_) => 0x16,
            Self::RequestProblemInformation(_) => 0x17,
            Self::WillDelay(_) => 0x18,
            Self::RequestResponseInformation(_) => 0x19,
            Self::ResponseInformation(_) => 0x1A,
            Self::ServerReference(_) => 0x1C,
            Self::ReasonString(_) => 0x1F,
            Self::ReceiveMaximum(_) => 0x21,
            Self::TopicAliasMaximum(_) => 0x22,
            Self::TopicAlias(_) => 0x23,
            Self::MaximumQoS(_) => 0x24,
            Self::RetainAvailable(_) => 0x25,
            Self::User(..) => 0x26,
            Self::MaximumPacketSize(_) => 0x27,
            Self::WildcardAvailable(_) => 0x28,
            Self::SubscriptionIdsAvailable(_) => 0x29,
            Self::SharedAvailable(_) => 0x2A,
        }
    }
}

/// The specification's name of the property with this identifier.
fn name(id: u32) -> &'static str {
    match id {
        0x01 => "Payload Format Indicator",
        0x02 => "Message Expiry Interval",
        0x03 => "Content Type",
        0x08 => "Response Topic",
        0x09 => "Correlation Data",
        0x0B => "Subscription Identifier",
        0x11 => "Session Expiry Interval",
        0x12 => "Assigned Client Identifier",
        0x13 => "Server Keep Alive",
        0x15 => "Authentication Method",
        0x16 => "Authentication Data",
        0x17 => "Request Problem Information",
        0x18 => "Will Delay Interval",
        0x19 => "Request Response Information",
        0x1A => "Response Information",
        0x1C => "Server Reference",
        0x1F => "Reason String",
        0x21 => "Receive Maximum",
        0x22 => "Topic Alias Maximum",
        0x23 => "Topic Alias",
        0x24 => "Maximum QoS",
        0x25 => "Retain Available",
        0x26 => "User Property",
        0x27 => "Maximum Packet Size",
        0x28 => "Wildcard Subscription Available",
        0x29 => "Subscription Identifiers Available",
        0x2A => "Shared Subscription Available",
        _ => "unknown property",
    }
}

fn in_range<T: Copy + Into<u32>>(
    value: T,
    range: impl FnOnce(T) -> bool,
    property: &'static str,
) -> Result<T, DecodeError> {
    if range(value) { Ok(value) } else { Err(DecodeError::PropertyValue { property, value: value.into() }) }
}

/// A byte that is 0 or 1.
fn flag(reader: &mut Reader<'_>, property: &'static str) -> Result<bool, DecodeError> {
    Ok(in_range(reader.u8(property)?, |value| value <= 1, property)? == 1)
}

/// The properties in a part of a section that has been decoded before.
fn decoded_before(part: &[u8]) -> impl Iterator<Item = Property<'_>> {
    let mut reader = Reader::new(part);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let property = Property::load(&mut reader);
        debug_assert!(property.is_ok(), "decoded before: {property:?}");
        property.ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::frame;
    use crate::{Packet, ReasonCode, Version};

    /// Each property with a value, and the packets that may have it (MQTT 5 §2.2.2.2, table 2-4).
    const TABLE: [(&[u8], &[&str]); 27] = [
        (b"\x01\x01", &["PUBLISH", "will"]),
        (b"\x02\0\0\0\0", &["PUBLISH", "will"]),
        (b"\x03\0\0", &["PUBLISH", "will"]),
        (b"\x08\0\x01r", &["PUBLISH", "will"]),
        (b"\x09\0\0", &["PUBLISH", "will"]),
        (b"\x0B\x01", &["PUBLISH", "SUBSCRIBE"]),
        (b"\x11\0\0\0\0", &["CONNECT", "CONNACK", "DISCONNECT"]),
        (b"\x12\0\0", &["CONNACK"]),
        (b"\x13\0\0", &["CONNACK"]),
        (b"\x15\0\0", &["CONNECT", "CONNACK", "AUTH"]),
        (b"\x16\0\0", &["CONNECT", "CONNACK", "AUTH"]),
        (b"\x17\x00", &["CONNECT"]),
        (b"\x18\0\0\0\0", &["will"]),
        (b"\x19\x01", &["CONNECT"]),
        (b"\x1A\0\0", &["CONNACK"]),
        (b"\x1C\0\0", &["CONNACK", "DISCONNECT"]),
        (
            b"\x1F\0\0",
            &["CONNACK", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBACK", "UNSUBACK", "DISCONNECT", "AUTH"],
        ),
        (b"\x21\0\x01", &["CONNECT", "CONNACK"]),
        (b"\x22\0\0", &["CONNECT", "CONNACK"]),
        (b"\x23\0\x01", &["PUBLISH"]),
        (b"\x24\x00", &["CONNACK"]),
        (b"\x25\x01", &["CONNACK"]),
        (b"\x26\0\0\0\0", &PACKETS),
        (b"\x27\0\0\0\x01", &["CONNECT", "CONNACK"]),
        (b"\x28\x00", &["CONNACK"]),
        (b"\x29\x00", &["CONNACK"]),
        (b"\x2A\x01", &["CONNACK"]),
    ];

    const PACKETS: [&str; 14] = [
        "CONNECT",
        "will",
        "CONNACK",
        "PUBLISH",
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "SUBSCRIBE",
        "SUBACK",
        "UNSUBSCRIBE",
        "UNSUBACK",
        "DISCONNECT",
        "AUTH",
    ];

    #[test]
    fn each_packet_has_its_properties_and_no_others() {
        for (property, packets) in TABLE {
            for packet in PACKETS {
                let expected = match packets.contains(&packet) {
                    true => Ok(()),
                    false => Err(DecodeError::PropertyNotAllowed { property: name(property[0].into()), packet }),
                };
                assert_eq!(decode(packet, property), expected, "{packet} {property:02x?}");
            }
        }
    }

    #[test]
    fn a_property_is_there_once() {
        for (property, packets) in TABLE {
            for &packet in packets {
                let name = name(property[0].into());
                let many = name == "User Property" || (name == "Subscription Identifier" && packet == "PUBLISH");
                let expected =
                    if many { Ok(()) } else { Err(DecodeError::DuplicateProperty { property: name, packet }) };
                assert_eq!(decode(packet, &property.repeat(2)), expected, "{packet} {name}");
            }
        }
    }

    #[test]
    fn a_property_is_whole() {
        for (property, packets) in TABLE {
            for length in 1..property.len() {
                let cut = decode(packets[0], &property[..length]);
                assert!(matches!(cut, Err(DecodeError::Truncated { .. })), "{property:02x?} {cut:?}");
            }
        }
    }

    #[test]
    fn identifiers_are_known() {
        let known: Vec<u8> = TABLE.iter().map(|(property, _)| property[0]).collect();
        for id in (0..=0x7F).filter(|id| !known.contains(id)) {
            let error = Err(DecodeError::UnknownProperty { id: id.into() });
            assert_eq!(decode("PUBLISH", &[id, 0, 0, 0, 0]), error);
            assert_eq!(name(id.into()), "unknown property");
        }
        assert_eq!(decode("PUBLISH", b"\x80\x01"), Err(DecodeError::UnknownProperty { id: 128 }));
        let not_minimal = DecodeError::VarintNotMinimal { field: "property identifier" };
        assert_eq!(decode("PUBLISH", b"\x81\x00\x01"), Err(not_minimal));
    }

    #[test]
    fn numbers_are_in_range() {
        let check = |packet, wire: &[u8], property, value| {
            let error = DecodeError::PropertyValue { property, value };
            assert_eq!(decode(packet, wire), Err(error));
            assert_eq!(error.reason(), ReasonCode::ProtocolError);
        };
        check("PUBLISH", b"\x01\x02", "Payload Format Indicator", 2);
        check("PUBLISH", b"\x0B\x00", "Subscription Identifier", 0);
        check("SUBSCRIBE", b"\x0B\x00", "Subscription Identifier", 0);
        check("CONNECT", b"\x17\x02", "Request Problem Information", 2);
        check("CONNECT", b"\x19\xFF", "Request Response Information", 255);
        check("CONNECT", b"\x21\0\0", "Receive Maximum", 0);
        check("CONNECT", b"\x27\0\0\0\0", "Maximum Packet Size", 0);
        check("CONNACK", b"\x24\x02", "Maximum QoS", 2);
        check("CONNACK", b"\x25\x02", "Retain Available", 2);
        check("CONNACK", b"\x28\x02", "Wildcard Subscription Available", 2);
        check("CONNACK", b"\x29\x02", "Subscription Identifiers Available", 2);
        check("CONNACK", b"\x2A\x02", "Shared Subscription Available", 2);
    }

    #[test]
    fn an_alias_is_not_zero_and_an_identifier_has_four_bytes() {
        assert_eq!(decode("PUBLISH", b"\x23\0\0"), Err(DecodeError::TopicAliasZero));
        assert_eq!(DecodeError::TopicAliasZero.reason(), ReasonCode::TopicAliasInvalid);
        let field = "Subscription Identifier";
        assert_eq!(decode("SUBSCRIBE", b"\x0B\xFF\xFF\xFF\x7F"), Ok(()));
        assert_eq!(decode("SUBSCRIBE", b"\x0B\xFF\xFF\xFF\xFF\x01"), Err(DecodeError::VarintTooLong { field }));
        assert_eq!(decode("SUBSCRIBE", b"\x0B\x81\x00"), Err(DecodeError::VarintNotMinimal { field }));
    }

    #[test]
    fn every_text_is_text() {
        for (packet, id) in [
            ("PUBLISH", 0x03),
            ("PUBLISH", 0x08),
            ("CONNACK", 0x12),
            ("CONNECT", 0x15),
            ("CONNACK", 0x1A),
            ("CONNACK", 0x1C),
            ("PUBACK", 0x1F),
        ] {
            let field = name(id.into());
            assert_eq!(decode(packet, &[id, 0, 1, 0]), Err(DecodeError::Nul { field }));
            assert_eq!(decode(packet, &[id, 0, 1, 0xFF]), Err(DecodeError::NotUtf8 { field }));
        }
        let (name, value) = ("user property name", "user property value");
        assert_eq!(decode("PUBLISH", b"\x26\0\x01\0\0\0"), Err(DecodeError::Nul { field: name }));
        assert_eq!(decode("PUBLISH", b"\x26\0\0\0\x01\0"), Err(DecodeError::Nul { field: value }));
        assert_eq!(decode("PUBLISH", b"\x26\0\x01\xFF\0\0"), Err(DecodeError::NotUtf8 { field: name }));
        assert_eq!(decode("PUBLISH", b"\x26\0\0\0\x01\xFF"), Err(DecodeError::NotUtf8 { field: value }));
    }

    #[test]
    fn a_response_topic_is_a_topic() {
        // [MQTT-3.3.2-14]
        let field = "Response Topic";
        assert_eq!(decode("PUBLISH", b"\x08\0\x01#"), Err(DecodeError::Wildcard { field }));
        assert_eq!(decode("will", b"\x08\0\x03a/+"), Err(DecodeError::Wildcard { field }));
        assert_eq!(decode("PUBLISH", b"\x08\0\0"), Err(DecodeError::EmptyTopic { field }));
    }

    /// Decodes a packet with these properties and whatever else it cannot be without.
    fn decode(packet: &str, properties: &[u8]) -> Result<(), DecodeError> {
        let needs_method = properties[0] != 0x15 && (packet == "AUTH" || properties[0] == 0x16);
        let method =
            if needs_method && ["CONNECT", "CONNACK", "AUTH"].contains(&packet) { &b"\x15\0\x01m"[..] } else { b"" };
        let section = [&[(method.len() + properties.len()) as u8][..], method, properties].concat();
        let (first, before, after): (u8, &[u8], &[u8]) = match packet {
            "CONNECT" => (0x10, b"\0\x04MQTT\x05\x02\0\0", b"\0\0"),
            "will" => (0x10, b"\0\x04MQTT\x05\x06\0\0\0\0\0", b"\0\x01w\0\0"),
            "CONNACK" => (0x20, b"\0\0", b""),
            "PUBLISH" => (0x30, b"\0\x01t", b"payload"),
            "PUBACK" => (0x40, b"\0\x01\0", b""),
            "PUBREC" => (0x50, b"\0\x01\0", b""),
            "PUBREL" => (0x62, b"\0\x01\0", b""),
            "PUBCOMP" => (0x70, b"\0\x01\0", b""),
            "SUBSCRIBE" => (0x82, b"\0\x01", b"\0\x01f\0"),
            "SUBACK" => (0x90, b"\0\x01", b"\0"),
            "UNSUBSCRIBE" => (0xA2, b"\0\x01", b"\0\x01f"),
            "UNSUBACK" => (0xB0, b"\0\x01", b"\0"),
            "DISCONNECT" => (0xE0, b"\0", b""),
            "AUTH" => (0xF0, b"\0", b""),
            other => unreachable!("{other}"),
        };
        Packet::decode(Version::V5, &frame(first, &[before, &section, after].concat())).map(drop)
    }
}
