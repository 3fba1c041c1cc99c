//! CONNACK.

use crate::header::Kind;
use crate::properties::{Property, Section};
use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, EncodeError, QoS, ReasonCode, Secret, UserProperties, Version};

/// The answer to CONNECT (MQTT 5 §3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connack<'a> {
    /// Whether an old session goes on. Never in a refusal [MQTT-3.2.2-6]; MQTT 3.1 cannot say it.
    pub session_present: bool,
    /// Success or why not. Before MQTT 5 the nearest of six return codes goes out, and one of six comes in.
    pub reason: ReasonCode,
    /// None before MQTT 5.
    pub properties: ConnackProperties<'a>,
}

impl<'a> Connack<'a> {
    pub(crate) fn load(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let flags = reader.u8("acknowledge flags")?;
        if flags > 1 || (flags == 1 && version == Version::V31) {
            return Err(DecodeError::ConnackFlags { flags });
        }
        let session_present = flags == 1;
        let reason = load_reason(reader, version)?;
        if session_present && reason.is_error() {
            return Err(DecodeError::SessionPresentInRefusal);
        }
        let properties =
            if version < Version::V5 { ConnackProperties::default() } else { ConnackProperties::load(reader)? };
        Ok(Self { session_present, reason, properties })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.u8(u8::from(self.session_present && version > Version::V31));
        if version < Version::V5 {
            out.u8(self.reason.connack_v311());
            return Ok(());
        }
        out.u8(self.reason.into());
        out.sized("properties", |out| self.properties.encode(out))
    }
}

fn load_reason(reader: &mut Reader<'_>, version: Version) -> Result<ReasonCode, DecodeError> {
    if version >= Version::V5 {
        return super::load_reason(reader, Kind::Connack);
    }
    let code = reader.u8("return code")?;
    ReasonCode::from_connack_v311(code).ok_or(DecodeError::ReasonCode { packet: "CONNACK", code })
}

/// What a server of MQTT 5 grants (§3.2.2.3). What is not there has the default the specification gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnackProperties<'a> {
    /// How long the session outlives the connection; none is what the client asked for.
    pub session_expiry_secs: Option<u32>,
    /// How many messages of QoS 1 and 2 the server takes at a time; not 0, none is 65,535.
    pub receive_maximum: Option<u16>,
    /// The highest QoS a client may publish with: 0 or 1; none is 2.
    pub maximum_qos: Option<QoS>,
    /// Whether messages can be kept; none is yes.
    pub retain_available: Option<bool>,
    /// The largest packet the server takes, in bytes; not 0, none is without a limit.
    pub maximum_packet_size: Option<u32>,
    /// The client identifier the server chose.
    pub assigned_client_id: Option<&'a str>,
    /// The highest topic alias the server takes; none is 0.
    pub topic_alias_maximum: Option<u16>,
    /// For people to read.
    pub reason_string: Option<&'a str>,
    /// Without a meaning to MQTT.
    pub user_properties: UserProperties<'a>,
    /// Whether filters may have wildcards; none is yes.
    pub wildcard_available: Option<bool>,
    /// Whether subscriptions may have identifiers; none is yes.
    pub subscription_ids_available: Option<bool>,
    /// Whether subscriptions may be shared; none is yes.
    pub shared_available: Option<bool>,
    /// The keep alive time that holds instead of the client's.
    pub server_keep_alive_secs: Option<u16>,
    /// What to make response topics from.
    pub response_information: Option<&'a str>,
    /// The server to use instead.
    pub server_reference: Option<&'a str>,
    /// The method of the CONNECT.
    pub authentication_method: Option<&'a str>,
    /// The last step of it.
    pub authentication_data: Option<Secret<'a>>,
}

impl<'a> ConnackProperties<'a> {
    fn load(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut section = Section::load(reader, "CONNACK")?;
        let mut p = Self::default();
        while let Some(property) = section.next()? {
            match property {
                Property::SessionExpiry(secs) => section.once(&mut p.session_expiry_secs, secs)?,
                Property::ReceiveMaximum(count) => section.once(&mut p.receive_maximum, count)?,
                Property::MaximumQoS(qos) => section.once(&mut p.maximum_qos, qos)?,
                Property::RetainAvailable(flag) => section.once(&mut p.retain_available, flag)?,
                Property::MaximumPacketSize(bytes) => section.once(&mut p.maximum_packet_size, bytes)?,
                Property::AssignedClientId(text) => section.once(&mut p.assigned_client_id, text)?,
                Property::TopicAliasMaximum(alias) => section.once(&mut p.topic_alias_maximum, alias)?,
                Property::ReasonString(text) => section.once(&mut p.reason_string, text)?,
                Property::WildcardAvailable(flag) => section.once(&mut p.wildcard_available, flag)?,
                Property::SubscriptionIdsAvailable(flag) => section.once(&mut p.subscription_ids_available, flag)?,
                Property::SharedAvailable(flag) => section.once(&mut p.shared_available, flag)?,
                Property::ServerKeepAlive(secs) => section.once(&mut p.server_keep_alive_secs, secs)?,
                Property::ResponseInformation(text) => section.once(&mut p.response_information, text)?,
                Property::ServerReference(text) => section.once(&mut p.server_reference, text)?,
                Property::AuthenticationMethod(text) => section.once(&mut p.authentication_method, text)?,
                Property::AuthenticationData(secret) => section.once(&mut p.authentication_data, secret)?,
                _ => section.not_allowed()?,
            }
        }
        p.user_properties = section.user_properties();
        if p.authentication_data.is_some() && p.authentication_method.is_none() {
            return Err(DecodeError::NoAuthenticationMethod { packet: "CONNACK" });
        }
        Ok(p)
    }

    fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.property(self.session_expiry_secs.map(Property::SessionExpiry))?;
        out.property(self.receive_maximum.map(Property::ReceiveMaximum))?;
        out.property(self.maximum_qos.map(Property::MaximumQoS))?;
        out.property(self.retain_available.map(Property::RetainAvailable))?;
        out.property(self.maximum_packet_size.map(Property::MaximumPacketSize))?;
        out.property(self.assigned_client_id.map(Property::AssignedClientId))?;
        out.property(self.topic_alias_maximum.map(Property::TopicAliasMaximum))?;
        out.property(self.reason_string.map(Property::ReasonString))?;
        out.property(self.wildcard_available.map(Property::WildcardAvailable))?;
        out.property(self.subscription_ids_available.map(Property::SubscriptionIdsAvailable))?;
        out.property(self.shared_available.map(Property::SharedAvailable))?;
        out.property(self.server_keep_alive_secs.map(Property::ServerKeepAlive))?;
        out.property(self.response_information.map(Property::ResponseInformation))?;
        out.property(self.server_reference.map(Property::ServerReference))?;
        out.property(self.authentication_method.map(Property::AuthenticationMethod))?;
        out.property(self.authentication_data.map(Property::AuthenticationData))?;
        self.user_properties.encode(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{VERSIONS, check, check_refused};
    use crate::{Packet, UserPropertiesBuf};

    #[test]
    fn a_session_may_be_present() {
        check(Version::V311, 0x20, b"\x00\x00", &connack(false, ReasonCode::Success));
        check(Version::V311, 0x20, b"\x01\x00", &connack(true, ReasonCode::Success));
        check(Version::V5, 0x20, b"\x01\x00\x00", &connack(true, ReasonCode::Success));
        check(Version::V31, 0x20, b"\x00\x00", &connack(false, ReasonCode::Success));
        check_refused(Version::V31, 0x20, b"\x01\x00", DecodeError::ConnackFlags { flags: 1 });
        let mut out = Vec::new();
        connack(true, ReasonCode::Success).encode(Version::V31, &mut out).expect("it has a form");
        assert_eq!(out, b"\x20\x02\x00\x00", "MQTT 3.1 cannot say it");
    }

    #[test]
    fn a_refusal_says_why() {
        for version in [Version::V31, Version::V311] {
            check(version, 0x20, b"\x00\x01", &connack(false, ReasonCode::UnsupportedProtocolVersion));
            check(version, 0x20, b"\x00\x05", &connack(false, ReasonCode::NotAuthorized));
            check_refused(version, 0x20, b"\x00\x06", DecodeError::ReasonCode { packet: "CONNACK", code: 6 });
        }
        check(Version::V5, 0x20, b"\x00\x85\x00", &connack(false, ReasonCode::ClientIdentifierNotValid));
        let error = |code| DecodeError::ReasonCode { packet: "CONNACK", code };
        check_refused(Version::V5, 0x20, b"\x00\x01\x00", error(0x01));
        check_refused(Version::V5, 0x20, b"\x00\x8E\x00", error(0x8E));
        check_refused(Version::V5, 0x20, b"\x00\xFF\x00", error(0xFF));
    }

    #[test]
    fn flags_are_reserved_but_one() {
        for version in VERSIONS {
            check_refused(version, 0x20, b"\x02\x00\x00", DecodeError::ConnackFlags { flags: 2 });
            check_refused(version, 0x20, b"\x80\x00\x00", DecodeError::ConnackFlags { flags: 0x80 });
        }
        check_refused(Version::V311, 0x20, b"\x01\x02", DecodeError::SessionPresentInRefusal);
        check_refused(Version::V5, 0x20, b"\x01\x80\x00", DecodeError::SessionPresentInRefusal);
    }

    #[test]
    fn it_is_whole_and_nothing_follows() {
        check_refused(Version::V311, 0x20, b"", DecodeError::Truncated { field: "acknowledge flags" });
        check_refused(Version::V311, 0x20, b"\0", DecodeError::Truncated { field: "return code" });
        check_refused(Version::V311, 0x20, b"\0\0\0", DecodeError::Trailing { packet: "CONNACK", bytes: 1 });
        check_refused(Version::V5, 0x20, b"\0", DecodeError::Truncated { field: "reason code" });
        check_refused(Version::V5, 0x20, b"\0\0", DecodeError::Truncated { field: "property length" });
        check_refused(Version::V5, 0x20, b"\0\0\0x", DecodeError::Trailing { packet: "CONNACK", bytes: 1 });
    }

    #[test]
    fn all_properties_come_and_go() {
        let mut user_properties = UserPropertiesBuf::new();
        user_properties.push("k", "v").expect("short and plain");
        let properties = ConnackProperties {
            session_expiry_secs: Some(1),
            receive_maximum: Some(2),
            maximum_qos: Some(QoS::AtLeastOnce),
            retain_available: Some(false),
            maximum_packet_size: Some(3),
            assigned_client_id: Some("a"),
            topic_alias_maximum: Some(4),
            reason_string: Some("s"),
            user_properties: user_properties.as_ref(),
            wildcard_available: Some(true),
            subscription_ids_available: Some(false),
            shared_available: Some(true),
            server_keep_alive_secs: Some(5),
            response_information: Some("i"),
            server_reference: Some("r"),
            authentication_method: Some("m"),
            authentication_data: Some(Secret(b"d")),
        };
        let section = b"\x11\0\0\0\x01\x21\0\x02\x24\x01\x25\x00\x27\0\0\0\x03\x12\0\x01a\x22\0\x04\x1F\0\x01s\
            \x28\x01\x29\x00\x2A\x01\x13\0\x05\x1A\0\x01i\x1C\0\x01r\x15\0\x01m\x16\0\x01d\x26\0\x01k\0\x01v";
        let packet = Packet::Connack(Connack { session_present: false, reason: ReasonCode::Success, properties });
        check(Version::V5, 0x20, &[b"\0\0", &[section.len() as u8][..], section].concat(), &packet);
    }

    #[test]
    fn authentication_data_needs_a_method() {
        let error = DecodeError::NoAuthenticationMethod { packet: "CONNACK" };
        check_refused(Version::V5, 0x20, b"\0\0\x04\x16\0\x01d", error);
    }

    fn connack(session_present: bool, reason: ReasonCode) -> Packet<'static> {
        Packet::Connack(Connack { session_present, reason, properties: ConnackProperties::default() })
    }
}
