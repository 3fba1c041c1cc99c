//! AUTH.

use crate::header::Kind;
use crate::properties::{Property, Section};
use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, EncodeError, ReasonCode, Secret, UserProperties};

/// A step of enhanced authentication (MQTT 5 §3.15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, continue or re-authenticate.
    pub reason: ReasonCode,
    /// With a method, except where the packet says nothing but success.
    pub properties: AuthProperties<'a>,
}

impl<'a> Auth<'a> {
    pub(crate) fn load(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        // Success may be said by an empty packet (MQTT 5 §3.15.2.1), although then it lacks the method.
        if reader.is_empty() {
            return Ok(Self { reason: ReasonCode::Success, properties: AuthProperties::default() });
        }
        let reason = super::load_reason(reader, Kind::Auth)?;
        let properties = AuthProperties::load(reader)?;
        let plain = reason == ReasonCode::Success && properties == AuthProperties::default();
        if properties.authentication_method.is_none() && !plain {
            return Err(DecodeError::NoAuthenticationMethod { packet: "AUTH" });
        }
        Ok(Self { reason, properties })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        if self.reason == ReasonCode::Success && self.properties == AuthProperties::default() {
            return Ok(());
        }
        out.u8(self.reason.into());
        out.sized("properties", |out| self.properties.encode(out))
    }
}

/// What a step of enhanced authentication consists of (MQTT 5 §3.15.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthProperties<'a> {
    /// The method of the CONNECT [MQTT-4.12.0-5].
    pub authentication_method: Option<&'a str>,
    /// What the method makes of it.
    pub authentication_data: Option<Secret<'a>>,
    /// For people to read.
    pub reason_string: Option<&'a str>,
    /// Without a meaning to MQTT.
    pub user_properties: UserProperties<'a>,
}

impl<'a> AuthProperties<'a> {
    fn load(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut section = Section::load(reader, "AUTH")?;
        let mut p = Self::default();
        while let Some(property) = section.next()? {
            match property {
                Property::AuthenticationMethod(text) => section.once(&mut p.authentication_method, text)?,
                Property::AuthenticationData(secret) => section.once(&mut p.authentication_data, secret)?,
                Property::ReasonString(text) => section.once(&mut p.reason_string, text)?,
                _ => section.not_allowed()?,
            }
        }
        p.user_properties = section.user_properties();
        Ok(p)
    }

    fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.property(self.authentication_method.map(Property::AuthenticationMethod))?;
        out.property(self.authentication_data.map(Property::AuthenticationData))?;
        out.property(self.reason_string.map(Property::ReasonString))?;
        self.user_properties.encode(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, check_decodes, check_refused};
    use crate::{Packet, UserPropertiesBuf, Version};

    #[test]
    fn a_step_has_a_method_and_data() {
        let mut user_properties = UserPropertiesBuf::new();
        user_properties.push("k", "v").expect("short and plain");
        let properties = AuthProperties {
            authentication_method: Some("m"),
            authentication_data: Some(Secret(b"\0\xFF")),
            reason_string: Some("s"),
            user_properties: user_properties.as_ref(),
        };
        let body = b"\x18\x14\x15\0\x01m\x16\0\x02\0\xFF\x1F\0\x01s\x26\0\x01k\0\x01v";
        let packet = Auth { reason: ReasonCode::ContinueAuthentication, properties };
        check(Version::V5, 0xF0, body, &Packet::Auth(packet));
    }

    #[test]
    fn success_goes_without_saying() {
        // MQTT 5 §3.15.2.1
        let success = Packet::Auth(Auth { reason: ReasonCode::Success, properties: AuthProperties::default() });
        check(Version::V5, 0xF0, b"", &success);
        check_decodes(Version::V5, 0xF0, b"\x00\x00", &success);
    }

    #[test]
    fn what_is_not_a_step_is_refused() {
        // [MQTT-3.15.1-1], [MQTT-3.15.2-1]
        let no_method = DecodeError::NoAuthenticationMethod { packet: "AUTH" };
        check_refused(Version::V5, 0xF0, b"\x18\x00", no_method);
        check_refused(Version::V5, 0xF0, b"\x00\x04\x16\0\x01d", no_method);
        check_refused(Version::V5, 0xF0, b"\x18", DecodeError::Truncated { field: "property length" });
        check_refused(Version::V5, 0xF0, b"\x00", DecodeError::Truncated { field: "property length" });
        check_refused(Version::V5, 0xF0, b"\x87\x00", DecodeError::ReasonCode { packet: "AUTH", code: 0x87 });
        check_refused(Version::V5, 0xF0, b"\0\x04\x15\0\x01mx", DecodeError::Trailing { packet: "AUTH", bytes: 1 });
    }

    #[test]
    fn older_versions_have_none() {
        let success = Packet::Auth(Auth { reason: ReasonCode::Success, properties: AuthProperties::default() });
        for version in [Version::V31, Version::V311] {
            check_refused(version, 0xF0, b"", DecodeError::PacketType { number: 15 });
            assert_eq!(success.encode(version, &mut Vec::new()), Err(EncodeError::NoAuth));
        }
    }
}
