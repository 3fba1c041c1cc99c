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
