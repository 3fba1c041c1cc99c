//! CONNECT.

use super::Will;
use crate::properties::{Property, Section};
use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, EncodeError, QoS, Secret, UserProperties, Version};

/// The first packet of a connection (MQTT 5 §3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version of this packet and of all that follow.
    pub version: Version,
    /// Whether an old session is thrown away. Before MQTT 5 it is called Clean Session and also ends the new one.
    pub clean_start: bool,
    /// The longest time between two packets of the client; 0 for no limit.
    pub keep_alive_secs: u16,
    /// Empty where the server shall choose one.
    pub client_id: &'a str,
    /// What to publish when the connection breaks.
    pub will: Option<Will<'a>>,
    /// Who it is.
    pub username: Option<&'a str>,
    /// The proof. Before MQTT 5 only with a user name [MQTT-3.1.2-22].
    pub password: Option<Secret<'a>>,
    /// None before MQTT 5.
    pub properties: ConnectProperties<'a>,
}

impl<'a> Connect<'a> {
    pub(crate) fn load(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let version = load_version(reader)?;
        let flags = Flags::load(reader)?;
        if flags.has(Flags::PASSWORD) && !flags.has(Flags::USERNAME) && version < Version::V5 {
            return Err(DecodeError::PasswordWithoutUser);
        }
        let keep_alive_secs = reader.u16("keep alive")?;
        let properties =
            if version < Version::V5 { ConnectProperties::default() } else { ConnectProperties::load(reader)? };
        let client_id = reader.text("client identifier")?;
        let will = match flags.will()? {
            Some((qos, retain)) => Some(Will::load(reader, version, qos, retain)?),
            None => None,
        };
        // "Server implementations must allow for the possibility that the User Name flag is set, but the User Name
        // string is missing" (MQTT 3.1 §3.1, for clients of MQTT 3), and the same for the password.
        let present = |reader: &Reader<'_>, flag| flags.has(flag) && !(version == Version::V31 && reader.is_empty());
        let username = if present(reader, Flags::USERNAME) { Some(reader.text("user name")?) } else { None };
        let password = if present(reader, Flags::PASSWORD) { Some(Secret(reader.binary("password")?)) } else { None };
        let clean_start = flags.has(Flags::CLEAN_START);
        Ok(Self { version, clean_start, keep_alive_secs, client_id, will, username, password, properties })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        if self.password.is_some() && self.username.is_none() && self.version < Version::V5 {
            return Err(EncodeError::PasswordWithoutUser);
        }
        out.text(self.version.protocol_name(), "protocol name")?;
        out.u8(self.version as u8);
        out.u8(Flags::of(self).0);
        out.u16(self.keep_alive_secs);
        if self.version >= Version::V5 {
            out.sized("properties", |out| self.properties.encode(out))?;
        }
        out.text(self.client_id, "client identifier")?;
        if let Some(will) = &self.will {
            will.encode(self.version, out)?;
        }
        if let Some(username) = self.username {
            out.text(username, "user name")?;
        }
        if let Some(password) = self.password {
            out.binary(&password, "password")?;
        }
        Ok(())
    }
}

/// Checked before anything else, because what follows looks different in a version we do not know.
fn load_version(reader: &mut Reader<'_>) -> Result<Version, DecodeError> {
    let name = reader.text("protocol name")?;
    if name != "MQTT" && name != "MQIsdp" {
        return Err(DecodeError::ProtocolName);
    }
    let level = reader.u8("protocol level")?;
    [Version::V31, Version::V311, Version::V5]
        .into_iter()
        .find(|version| *version as u8 == level && version.protocol_name() == name)
        .ok_or(DecodeError::ProtocolLevel { level })
}

/// The connect flags (MQTT 5 §3.1.2.3).
///
/// | bit | 7         | 6        | 5           | 4 3      | 2    | 1           | 0        |
/// |-----|-----------|----------|-------------|----------|------|-------------|----------|
/// |     | user name | password | will retain | will QoS | will | clean start | reserved |
#[derive(Clone, Copy)]
struct Flags(u8);

impl Flags {
    const USERNAME: u8 = 1 << 7;
    const PASSWORD: u8 = 1 << 6;
    const WILL_RETAIN: u8 = 1 << 5;
    const WILL_QOS: u8 = 0b11 << 3;
    const WILL: u8 = 1 << 2;
    const CLEAN_START: u8 = 1 << 1;
    const RESERVED: u8 = 1;

    fn load(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = Self(reader.u8("connect flags")?);
        if flags.has(Self::RESERVED) {
            return Err(DecodeError::ConnectReservedFlag);
        }
        flags.will()?;
        Ok(flags)
    }

    fn of(connect: &Connect<'_>) -> Self {
        let mut flags = 0;
        let mut set = |bits, condition| flags |= if condition { bits } else { 0 };
        set(Self::USERNAME, connect.username.is_some());
        set(Self::PASSWORD, connect.password.is_some());
        set(Self::CLEAN_START, connect.clean_start);
        if let Some(will) = &connect.will {
            set(Self::WILL, true);
            set(Self::WILL_RETAIN, will.retain);
            set(u8::from(will.qos) << 3, true);
        }
        Self(flags)
    }

    fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    /// QoS and retain of the will, if there is one.
    fn will(self) -> Result<Option<(QoS, bool)>, DecodeError> {
        if !self.has(Self::WILL) {
            let stray = self.has(Self::WILL_QOS | Self::WILL_RETAIN);
            return if stray { Err(DecodeError::WillFlagsWithoutWill) } else { Ok(None) };
        }
        let qos = QoS::try_from((self.0 & Self::WILL_QOS) >> 3).map_err(|_| DecodeError::Qos { field: "will" })?;
        Ok(Some((qos, self.has(Self::WILL_RETAIN))))
    }
}

/// What a client of MQTT 5 asks for (§3.1.2.11). What is not there has the default the specification gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectProperties<'a> {
    /// How long the session outlives the connection; none is 0, `u32::MAX` is for ever.
    pub session_expiry_secs: Option<u32>,
    /// How many messages of QoS 1 and 2 the client takes at a time; not 0, none is 65,535.
    pub receive_maximum: Option<u16>,
    /// The largest packet the client takes, in bytes; not 0, none is without a limit.
    pub maximum_packet_size: Option<u32>,
    /// The highest topic alias the client takes; none is 0.
    pub topic_alias_maximum: Option<u16>,
    /// Whether the client asks for Response Information; none is no.
    pub request_response_information: Option<bool>,
    /// Whether the client takes reason strings everywhere; none is yes.
    pub request_problem_information: Option<bool>,
    /// How the client wants to authenticate, beyond user name and password.
    pub authentication_method: Option<&'a str>,
    /// Its first step; only with a method.
    pub authentication_data: Option<Secret<'a>>,
    /// Without a meaning to MQTT.
    pub user_properties: UserProperties<'a>,
}

impl<'a> ConnectProperties<'a> {
    fn load(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut section = Section::load(reader, "CONNECT")?;
        let mut p = Self::default();
        while let Some(property) = section.next()? {
            match property {
                Property::SessionExpiry(secs) => section.once(&mut p.session_expiry_secs, secs)?,
                Property::ReceiveMaximum(count) => section.once(&mut p.receive_maximum, count)?,
                Property::MaximumPacketSize(bytes) => section.once(&mut p.maximum_packet_size, bytes)?,
                Property::TopicAliasMaximum(alias) => section.once(&mut p.topic_alias_maximum, alias)?,
                Property::RequestResponseInformation(flag) => {
                    section.once(&mut p.request_response_information, flag)?;
                }
                Property::RequestProblemInformation(flag) => section.once(&mut p.request_problem_information, flag)?,
                Property::AuthenticationMethod(text) => section.once(&mut p.authentication_method, text)?,
                Property::AuthenticationData(secret) => section.once(&mut p.authentication_data, secret)?,
                _ => section.not_allowed()?,
            }
        }
        p.user_properties = section.user_properties();
        if p.authentication_data.is_some() && p.authentication_method.is_none() {
            return Err(DecodeError::NoAuthenticationMethod { packet: "CONNECT" });
        }
        Ok(p)
    }

    fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.property(self.session_expiry_secs.map(Property::SessionExpiry))?;
        out.property(self.receive_maximum.map(Property::ReceiveMaximum))?;
        out.property(self.maximum_packet_size.map(Property::MaximumPacketSize))?;
        out.property(self.topic_alias_maximum.map(Property::TopicAliasMaximum))?;
        out.property(self.request_response_information.map(Property::RequestResponseInformation))?;
        out.property(self.request_problem_information.map(Property::RequestProblemInformation))?;
        out.property(self.authentication_method.map(Property::AuthenticationMethod))?;
        out.property(self.authentication_data.map(Property::AuthenticationData))?;
        self.user_properties.encode(out)
    }
}
