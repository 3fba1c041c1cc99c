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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{VERSIONS, check, check_decodes, check_refused};
    use crate::{Packet, UserPropertiesBuf};

    #[test]
    fn a_normal_end_is_two_bytes() {
        // MQTT 5 §3.14.2.1
        let normal = Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION));
        for version in VERSIONS {
            check(version, 0xE0, b"", &normal);
        }
        check_decodes(Version::V5, 0xE0, b"\x00", &normal);
        check_decodes(Version::V5, 0xE0, b"\x00\x00", &normal);
        for version in [Version::V31, Version::V311] {
            check_refused(version, 0xE0, b"\x00", DecodeError::Trailing { packet: "DISCONNECT", bytes: 1 });
        }
    }

    #[test]
    fn the_reason_and_properties_come_and_go() {
        let mut user_properties = UserPropertiesBuf::new();
        user_properties.push("k", "v").expect("short and plain");
        let mut packet = Disconnect::new(ReasonCode::SessionTakenOver);
        check(Version::V5, 0xE0, b"\x8E", &Packet::Disconnect(packet.clone()));
        check_decodes(Version::V5, 0xE0, b"\x8E\x00", &Packet::Disconnect(packet.clone()));
        packet.properties = DisconnectProperties {
            session_expiry_secs: Some(0),
            reason_string: Some("s"),
            user_properties: user_properties.as_ref(),
            server_reference: Some("r"),
        };
        let body = b"\x8E\x14\x11\0\0\0\0\x1F\0\x01s\x1C\0\x01r\x26\0\x01k\0\x01v";
        check(Version::V5, 0xE0, body, &Packet::Disconnect(packet.clone()));
        packet.reason = ReasonCode::NORMAL_DISCONNECTION;
        check(Version::V5, 0xE0, &[b"\x00", &body[1..]].concat(), &Packet::Disconnect(packet));
    }

    #[test]
    fn what_is_not_a_disconnect_is_refused() {
        // [MQTT-3.14.2-1]
        for code in [0x01, 0x18, 0x84, 0x91, 0xFF] {
            check_refused(Version::V5, 0xE0, &[code], DecodeError::ReasonCode { packet: "DISCONNECT", code });
        }
        check_refused(Version::V5, 0xE0, b"\x00\x01", DecodeError::Truncated { field: "properties" });
        check_refused(Version::V5, 0xE0, b"\x00\x00x", DecodeError::Trailing { packet: "DISCONNECT", bytes: 1 });
    }
}
