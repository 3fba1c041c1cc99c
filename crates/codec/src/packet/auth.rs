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
