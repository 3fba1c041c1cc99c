//! The will in a CONNECT.

use super::PublishProperties;
use crate::properties::{Property, Section};
use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, EncodeError, QoS, Version};

/// The message the server publishes when the connection breaks (MQTT 5 §3.1.2.5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Will<'a> {
    /// A topic name: checked, not empty, without wildcards.
    pub topic: &'a str,
    /// The message itself; at most 65,535 bytes.
    pub payload: &'a [u8],
    /// The QoS to publish it with.
    pub qos: QoS,
    /// Whether it is published to be kept.
    pub retain: bool,
    /// None before MQTT 5.
    pub properties: WillProperties<'a>,
}

impl<'a> Will<'a> {
    pub(crate) fn load(reader: &mut Reader<'a>, version: Version, qos: QoS, retain: bool) -> Result<Self, DecodeError> {
        let properties = if version < Version::V5 { WillProperties::default() } else { WillProperties::load(reader)? };
        let topic = reader.topic_not_empty("will topic")?;
        let payload = reader.binary("will payload")?;
        Ok(Self { topic, payload, qos, retain, properties })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        if version >= Version::V5 {
            out.sized("will properties", |out| self.properties.encode(out))?;
        }
        out.text(self.topic, "will topic")?;
        out.binary(self.payload, "will payload")
    }
}

/// Properties of a will (MQTT 5 §3.1.3.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WillProperties<'a> {
    /// How long the server waits with it after the connection broke; none is 0.
    pub delay_secs: Option<u32>,
    /// Those of the message. A will has no topic alias and no subscription identifiers.
    pub publish: PublishProperties<'a>,
}

impl<'a> WillProperties<'a> {
    fn load(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut section = Section::load(reader, "will")?;
        let mut properties = Self::default();
        while let Some(property) = section.next()? {
            match property {
                Property::WillDelay(secs) => section.once(&mut properties.delay_secs, secs)?,
                other => properties.publish.take(other, &section)?,
            }
        }
        properties.publish.user_properties = section.user_properties();
        Ok(properties)
    }

    fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.property(self.delay_secs.map(Property::WillDelay))?;
        self.publish.encode(out)
    }
}
