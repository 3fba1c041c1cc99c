//! DISCONNECT.

use crate::header::Kind;
use crate::properties::{Property, Section};
use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, EncodeError, ReasonCode, UserProperties, Version};

/// The last packet of a connection (MQTT 5 §3.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Always normal before MQTT 5.
    pub reason: ReasonCode,
    /// None before MQTT 5.
    pub properties: DisconnectProperties<'a>,
}

impl<'a> Disconnect<'a> {
    /// Without properties.
    pub fn new(reason: ReasonCode) -> Self {
        Self { reason, properties: DisconnectProperties::default() }
    }

    pub(crate) fn load(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let mut disconnect = Self::new(ReasonCode::NORMAL_DISCONNECTION);
        if version >= Version::V5 && !reader.is_empty() {
            disconnect.reason = super::load_reason(reader, Kind::Disconnect)?;
            if !reader.is_empty() {
                disconnect.properties = DisconnectProperties::load(reader)?;
            }
        }
        Ok(disconnect)
    }

    /// In the shortest form: normal and no properties go without saying (MQTT 5 §3.14.2.1).
    pub(crate) fn encode(&self, version: Version, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        let plain = self.properties == DisconnectProperties::default();
        if version < Version::V5 || (plain && self.reason == ReasonCode::NORMAL_DISCONNECTION) {
            return Ok(());
        }
        out.u8(self.reason.into());
        if plain {
            return Ok(());
        }
        out.sized("properties", |out| self.properties.encode(out))
    }
}

/// What MQTT 5 can say about the end of a connection (§3.14.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DisconnectProperties<'a> {
    /// A new life for the session; only from a client [MQTT-3.14.2-2].
    pub session_expiry_secs: Option<u32>,
    /// For people to read.
    pub reason_string: Option<&'a str>,
    /// Without a meaning to MQTT.
    pub user_properties: UserProperties<'a>,
    /// The server to use instead.
    pub server_reference: Option<&'a str>,
}

impl<'a> DisconnectProperties<'a> {
    fn load(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut section = Section::load(reader, "DISCONNECT")?;
        let mut p = Self::default();
        while let Some(property) = section.next()? {
            match property {
                Property::SessionExpiry(secs) => section.once(&mut p.session_expiry_secs, secs)?,
                Property::ReasonString(text) => section.once(&mut p.reason_string, text)?,
                Property::ServerReference(text) => section.once(&mut p.server_reference, text)?,
                _ => section.not_allowed()?,
            }
        }
        p.user_properties = section.user_properties();
        Ok(p)
    }

    fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.property(self.session_expiry_secs.map(Property::SessionExpiry))?;
        out.property(self.reason_string.map(Property::ReasonString))?;
        out.property(self.server_reference.map(Property::ServerReference))?;
        self.user_properties.encode(out)
    }
}
