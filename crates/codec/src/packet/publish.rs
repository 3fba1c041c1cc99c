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
    /// `flags` are those of the fixed header, checked.
    #[inline]
    pub(crate) fn load(reader: &mut Reader<'a>, version: Version, flags: u8) -> Result<Self, DecodeError> {
        let qos = QoS::try_from(flags >> 1 & 0b11).map_err(|_| DecodeError::Qos { field: "PUBLISH" })?;
        let topic = reader.topic("topic")?;
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
