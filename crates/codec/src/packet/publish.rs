//! PUBLISH.

use crate::properties::{Property, Section};
use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, EncodeError, PacketId, QoS, SubscriptionIds, UserProperties, Version};

/// A message on its way, to or from the server (MQTT 5 §3.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publish<'a> {
    /// May have been sent before. Never set with QoS 0 [MQTT-3.3.1-2].
    pub dup: bool,
    /// How often it may arrive.
    pub qos: QoS,
    /// To the server: keep it as the topic's message. To a client: it was kept, or see Retain As Published.
    pub retain: bool,
    /// A topic name: checked, without wildcards. Empty only where a topic alias stands for it.
    pub topic: &'a str,
    /// There exactly if the QoS is 1 or 2 [MQTT-2.2.1-2].
    pub packet_id: Option<PacketId>,
    /// None before MQTT 5.
    pub properties: PublishProperties<'a>,
    /// The message itself; may be empty.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// `flags` are those of the fixed header, checked; `known` is a topic that was.
    #[inline(always)] // Built where the packet is: moving it costs as much as reading it.
    pub(crate) fn load(
        reader: &mut Reader<'a>,
        version: Version,
        flags: u8,
        known: &'a str,
    ) -> Result<Self, DecodeError> {
        let qos = QoS::try_from(flags >> 1 & 0b11).map_err(|_| DecodeError::Qos { field: "PUBLISH" })?;
        let topic = reader.topic_again("topic", known)?;
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(reader.packet_id("PUBLISH")?) };
        let properties =
            if version < Version::V5 { PublishProperties::default() } else { PublishProperties::load(reader)? };
        if topic.is_empty() && properties.topic_alias.is_none() {
            return Err(DecodeError::EmptyTopic { field: "topic" });
        }
        let (dup, retain) = (flags & 0b1000 != 0, flags & 0b0001 != 0);
        Ok(Self { dup, qos, retain, topic, packet_id, properties, payload: reader.rest() })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        if self.packet_id.is_some() != (self.qos > QoS::AtMostOnce) {
            return Err(EncodeError::PacketId);
        }
        out.text(self.topic, "topic")?;
        if let Some(id) = self.packet_id {
            out.u16(id.get());
        }
        if version >= Version::V5 {
            out.sized("properties", |out| self.properties.encode(out))?;
        }
        out.bytes(self.payload);
        Ok(())
    }

    /// Those of the fixed header.
    pub(crate) fn flags(&self) -> u8 {
        u8::from(self.dup) << 3 | u8::from(self.qos) << 1 | u8::from(self.retain)
    }
}

/// What MQTT 5 can say about a message (§3.3.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishProperties<'a> {
    /// 1 if the payload is UTF-8 text, 0 if it is bytes; the same as none.
    pub payload_format: Option<u8>,
    /// How long the message is worth delivering, from now.
    pub message_expiry_secs: Option<u32>,
    /// The number that stands, or shall stand from now on, for the topic; not 0.
    pub topic_alias: Option<u16>,
    /// Where an answer should be published: checked, without wildcards.
    pub response_topic: Option<&'a str>,
    /// What an answer should repeat.
    pub correlation_data: Option<&'a [u8]>,
    /// The subscriptions it is sent for; only from a server [MQTT-3.3.4-6].
    pub subscription_ids: SubscriptionIds<'a>,
    /// What the payload is, usually a MIME type.
    pub content_type: Option<&'a str>,
    /// Without a meaning to MQTT.
    pub user_properties: UserProperties<'a>,
}

impl<'a> PublishProperties<'a> {
    /// Appends, without a length before them, the properties a server passes on unaltered: payload format, content
    /// type, response topic, correlation data and user properties, these in order [MQTT-3.3.2-4],
    /// [MQTT-3.3.2-15] to [MQTT-3.3.2-18], [MQTT-3.3.2-20]. Decoded properties never fail to be appended; where
    /// others do, nothing is.
    pub fn forwarded(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let before = out.len();
        let encoded = self.encode_forwarded(&mut Writer::new(out));
        if encoded.is_err() {
            out.truncate(before);
        }
        encoded
    }

    /// Reads what [`forwarded`](Self::forwarded) wrote. Other properties are refused.
    pub fn parse_forwarded(raw: &'a [u8]) -> Result<Self, DecodeError> {
        let mut section = Section::new(raw, "PUBLISH");
        let mut properties = Self::default();
        while let Some(property) = section.next()? {
            match property {
                Property::MessageExpiry(_) => section.not_allowed()?,
                other => properties.take(other, &section)?,
            }
        }
        properties.user_properties = section.user_properties();
        Ok(properties)
    }

    #[inline]
    fn load(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut section = Section::load(reader, "PUBLISH")?;
        let mut properties = Self::default();
        if section.is_empty() {
            return Ok(properties);
        }
        while let Some(property) = section.next()? {
            match property {
                Property::TopicAlias(alias) => section.once(&mut properties.topic_alias, alias)?,
                Property::SubscriptionId(_) => {} // May be many: read from the section below.
                other => properties.take(other, &section)?,
            }
        }
        properties.subscription_ids = section.subscription_ids();
        properties.user_properties = section.user_properties();
        Ok(properties)
    }

    /// Takes the property handed out last, if it is one a will has too.
    pub(crate) fn take(&mut self, property: Property<'a>, section: &Section<'a>) -> Result<(), DecodeError> {
        match property {
            Property::PayloadFormat(format) => section.once(&mut self.payload_format, format),
            Property::MessageExpiry(secs) => section.once(&mut self.message_expiry_secs, secs),
            Property::ContentType(text) => section.once(&mut self.content_type, text),
            Property::ResponseTopic(topic) => section.once(&mut self.response_topic, topic),
            Property::CorrelationData(bytes) => section.once(&mut self.correlation_data, bytes),
            _ => section.not_allowed(),
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.property(self.message_expiry_secs.map(Property::MessageExpiry))?;
        out.property(self.topic_alias.map(Property::TopicAlias))?;
        self.subscription_ids.encode(out)?;
        self.encode_forwarded(out)
    }

    fn encode_forwarded(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.property(self.payload_format.map(Property::PayloadFormat))?;
        out.property(self.content_type.map(Property::ContentType))?;
        out.property(self.response_topic.map(Property::ResponseTopic))?;
        out.property(self.correlation_data.map(Property::CorrelationData))?;
        self.user_properties.encode(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{VERSIONS, check, check_refused, id};
    use crate::{Packet, UserPropertiesBuf};

    const OLDER: [Version; 2] = [Version::V31, Version::V311];

    #[test]
    fn flags_and_identifier_follow_the_qos() {
        for version in OLDER {
            check(version, 0x30, b"\0\x01ahi", &publish(false, QoS::AtMostOnce, false, None));
            check(version, 0x31, b"\0\x01ahi", &publish(false, QoS::AtMostOnce, true, None));
            check(version, 0x32, b"\0\x01a\0\x07hi", &publish(false, QoS::AtLeastOnce, false, Some(7)));
            check(version, 0x3D, b"\0\x01a\xFF\xFFhi", &publish(true, QoS::ExactlyOnce, true, Some(0xFFFF)));
        }
        check(Version::V5, 0x30, b"\0\x01a\0hi", &publish(false, QoS::AtMostOnce, false, None));
        check(Version::V5, 0x3B, b"\0\x01a\0\x07\0hi", &publish(true, QoS::AtLeastOnce, true, Some(7)));
    }

    #[test]
    fn a_payload_may_be_empty_and_anything() {
        for payload in [&b""[..], b"\0", b"\xFF\xFE\x00", &[b'x'; 20_000]] {
            let packet = Packet::Publish(Publish { topic: "a", payload, ..Publish::default() });
            check(Version::V311, 0x30, &[b"\0\x01a", payload].concat(), &packet);
            check(Version::V5, 0x30, &[b"\0\x01a\0", payload].concat(), &packet);
        }
    }

    #[test]
    fn all_properties_come_and_go() {
        let mut user_properties = UserPropertiesBuf::new();
        user_properties.push("k", "v").expect("short and plain");
        user_properties.push("k", "").expect("short and plain");
        let properties = PublishProperties {
            payload_format: Some(1),
            message_expiry_secs: Some(60),
            topic_alias: Some(258),
            response_topic: Some("r"),
            correlation_data: Some(b"\0\xFF"),
            subscription_ids: (&[1, 300][..]).into(),
            content_type: Some("c"),
            user_properties: user_properties.as_ref(),
        };
        let packet = Packet::Publish(Publish { topic: "", payload: b"hi", properties, ..Publish::default() });
        let section = b"\x02\0\0\0\x3C\x23\x01\x02\x0B\x01\x0B\xAC\x02\x01\x01\x03\0\x01c\x08\0\x01r\x09\0\x02\0\xFF\
            \x26\0\x01k\0\x01v\x26\0\x01k\0\0";
        check(Version::V5, 0x30, &[b"\0\0", &[section.len() as u8][..], section, b"hi"].concat(), &packet);
    }

    #[test]
    fn properties_are_taken_in_any_order() {
        let section = b"\x26\0\x01a\0\x01b\x0B\x05\x01\x00\x0B\x06\x26\0\x01a\0\x01c\x23\0\x01";
        let frame = crate::testing::frame(0x30, &[b"\0\x01t", &[section.len() as u8][..], section].concat());
        let Ok(Packet::Publish(publish)) = Packet::decode(Version::V5, &frame) else { panic!("a PUBLISH") };
        let properties = publish.properties;
        assert_eq!((properties.payload_format, properties.topic_alias), (Some(0), Some(1)));
        assert_eq!(properties.subscription_ids.iter().collect::<Vec<_>>(), [5, 6]);
        assert_eq!(properties.user_properties.iter().collect::<Vec<_>>(), [("a", "b"), ("a", "c")]);
        assert_eq!(properties.user_properties.get("a"), Some("b"));
        assert_eq!(properties.user_properties.get("b"), None);
    }

    #[test]
    fn a_topic_is_a_name() {
        for version in VERSIONS {
            check_refused(version, 0x30, b"\0\x01#\0", DecodeError::Wildcard { field: "topic" });
            check_refused(version, 0x30, b"\0\x03a/+\0", DecodeError::Wildcard { field: "topic" });
            check_refused(version, 0x30, b"\0\x02a\0\0", DecodeError::Nul { field: "topic" });
            check_refused(version, 0x30, b"\0\x02\xC3(\0", DecodeError::NotUtf8 { field: "topic" });
            check_refused(version, 0x30, b"\0\0\0", DecodeError::EmptyTopic { field: "topic" });
            check_refused(version, 0x30, b"\0\x09a", DecodeError::Truncated { field: "topic" });
            check_refused(version, 0x30, b"\0", DecodeError::Truncated { field: "topic" });
        }
    }

    #[test]
    fn an_identifier_is_there_and_not_zero() {
        // [MQTT-2.2.1-3]
        for version in VERSIONS {
            check_refused(version, 0x32, b"\0\x01a", DecodeError::Truncated { field: "packet identifier" });
            check_refused(version, 0x32, b"\0\x01a\x01", DecodeError::Truncated { field: "packet identifier" });
            check_refused(version, 0x34, b"\0\x01a\0\0\0", DecodeError::PacketIdZero { packet: "PUBLISH" });
        }
    }

    #[test]
    fn properties_are_whole() {
        let refused = |body, error| check_refused(Version::V5, 0x30, body, error);
        refused(b"\0\x01a", DecodeError::Truncated { field: "property length" });
        refused(b"\0\x01a\x80", DecodeError::Truncated { field: "property length" });
        refused(b"\0\x01a\x01", DecodeError::Truncated { field: "properties" });
        refused(b"\0\x01a\x80\x00", DecodeError::VarintNotMinimal { field: "property length" });
        refused(b"\0\x01a\xFF\xFF\xFF\xFF", DecodeError::VarintTooLong { field: "property length" });
        refused(b"\0\x01a\x02\x02\0\0\0\x01", DecodeError::Truncated { field: "Message Expiry Interval" });
    }

    #[test]
    fn the_identifier_suits_the_qos() {
        let refused = |packet: Packet<'_>| {
            assert_eq!(packet.encode(Version::V5, &mut Vec::new()), Err(EncodeError::PacketId), "{packet:?}");
        };
        refused(publish(false, QoS::AtMostOnce, false, Some(1)));
        refused(publish(false, QoS::AtLeastOnce, false, None));
        refused(publish(false, QoS::ExactlyOnce, false, None));
    }

    #[test]
    fn a_server_passes_on_what_is_not_for_the_server() {
        let mut user_properties = UserPropertiesBuf::new();
        user_properties.push("b", "1").expect("short and plain");
        user_properties.push("a", "2").expect("short and plain");
        let passed = PublishProperties {
            payload_format: Some(0),
            response_topic: Some("r"),
            correlation_data: Some(b""),
            content_type: Some("c"),
            user_properties: user_properties.as_ref(),
            ..PublishProperties::default()
        };
        let received = PublishProperties {
            message_expiry_secs: Some(1),
            topic_alias: Some(1),
            subscription_ids: (&[1][..]).into(),
            ..passed.clone()
        };
        let mut wire = Vec::new();
        received.forwarded(&mut wire).expect("short and plain");
        assert_eq!(PublishProperties::parse_forwarded(&wire), Ok(passed));
        assert_eq!(PublishProperties::parse_forwarded(b""), Ok(PublishProperties::default()));
    }

    #[test]
    fn nothing_else_is_read_back() {
        for (wire, property) in [
            (&b"\x02\0\0\0\x01"[..], "Message Expiry Interval"),
            (b"\x23\0\x01", "Topic Alias"),
            (b"\x0B\x01", "Subscription Identifier"),
            (b"\x1F\0\0", "Reason String"),
        ] {
            let error = DecodeError::PropertyNotAllowed { property, packet: "PUBLISH" };
            assert_eq!(PublishProperties::parse_forwarded(wire), Err(error));
        }
    }

    fn publish(dup: bool, qos: QoS, retain: bool, packet_id: Option<u16>) -> Packet<'static> {
        let (packet_id, properties) = (packet_id.map(id), PublishProperties::default());
        Packet::Publish(Publish { dup, qos, retain, topic: "a", packet_id, properties, payload: b"hi" })
    }
}
