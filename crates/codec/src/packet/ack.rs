//! PUBACK, PUBREC, PUBREL and PUBCOMP, which look the same.

use crate::header::Kind;
use crate::properties::{Property, Section};
use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, EncodeError, PacketId, ReasonCode, UserProperties, Version};

/// A step in the delivery of a message (MQTT 5 §3.4 to §3.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack<'a> {
    /// That of the message.
    pub packet_id: PacketId,
    /// Always success before MQTT 5.
    pub reason: ReasonCode,
    /// None before MQTT 5.
    pub properties: AckProperties<'a>,
}

impl<'a> Ack<'a> {
    /// Without properties.
    pub fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self { packet_id, reason, properties: AckProperties::default() }
    }

    pub(crate) fn load(reader: &mut Reader<'a>, version: Version, kind: Kind) -> Result<Self, DecodeError> {
        let mut ack = Self::new(reader.packet_id(kind.name())?, ReasonCode::Success);
        if version >= Version::V5 && !reader.is_empty() {
            ack.reason = super::load_reason(reader, kind)?;
            if !reader.is_empty() {
                ack.properties = AckProperties::load(reader, kind)?;
            }
        }
        Ok(ack)
    }

    /// In the shortest form: success and no properties go without saying (MQTT 5 §3.4.2.1).
    pub(crate) fn encode(&self, version: Version, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.u16(self.packet_id.get());
        let plain = self.properties.is_empty();
        if version < Version::V5 || (plain && self.reason == ReasonCode::Success) {
            return Ok(());
        }
        out.u8(self.reason.into());
        if plain {
            return Ok(());
        }
        out.sized("properties", |out| self.properties.encode(out))
    }
}

/// What acknowledgements can say beside their reason codes (MQTT 5 §3.4.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AckProperties<'a> {
    /// For people to read.
    pub reason_string: Option<&'a str>,
    /// Without a meaning to MQTT.
    pub user_properties: UserProperties<'a>,
}

impl<'a> AckProperties<'a> {
    pub(crate) fn load(reader: &mut Reader<'a>, kind: Kind) -> Result<Self, DecodeError> {
        let mut section = Section::load(reader, kind.name())?;
        let mut p = Self::default();
        while let Some(property) = section.next()? {
            match property {
                Property::ReasonString(text) => section.once(&mut p.reason_string, text)?,
                _ => section.not_allowed()?,
            }
        }
        p.user_properties = section.user_properties();
        Ok(p)
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.property(self.reason_string.map(Property::ReasonString))?;
        self.user_properties.encode(out)
    }

    fn is_empty(&self) -> bool {
        self.reason_string.is_none() && self.user_properties.is_empty()
    }
}
