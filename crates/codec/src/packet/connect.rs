//! CONNECT.

use super::Will;
use crate::header::{Header, Kind};
use crate::properties::{Property, Section};
use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, EncodeError, QoS, Secret, UserProperties, Version};

/// The first packet of a connection (MQTT 5 §3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version of this packet and of all that follow.
    pub version: Version,
    /// It is a bridge of another broker, which says so with bit 7 of the protocol level: it wants nothing back that it
    /// sent, and RETAIN as it was published. Mosquitto's custom before MQTT 5, where subscription options say it.
    pub is_bridge: bool,
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
    /// The version that a CONNECT asks for, be the rest of it right or wrong: the one to write a refusal in.
    /// `None` if that is not a version we know, or if `frame` is another packet. It may go on behind the packet, or end
    /// within.
    pub fn version_of(frame: &[u8]) -> Option<Version> {
        let header = Header::load(frame).ok().flatten().filter(|header| header.kind == Kind::Connect)?;
        let body = &frame[header.bytes..];
        let body = &body[..body.len().min(header.remaining as usize)];
        load_version(&mut Reader::new(body)).ok().map(|(version, _)| version)
    }

    pub(crate) fn load(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (version, is_bridge) = load_version(reader)?;
        Ok(Self { is_bridge, ..Self::load_as(version, reader)? })
    }

    /// What follows the protocol level.
    fn load_as(version: Version, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
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
        let is_bridge = false;
        Ok(Self { version, is_bridge, clean_start, keep_alive_secs, client_id, will, username, password, properties })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        if self.password.is_some() && self.username.is_none() && self.version < Version::V5 {
            return Err(EncodeError::PasswordWithoutUser);
        }
        out.text(self.version.protocol_name(), "protocol name")?;
        out.u8(self.version as u8 | if self.is_bridge { BRIDGE } else { 0 });
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
fn load_version(reader: &mut Reader<'_>) -> Result<(Version, bool), DecodeError> {
    let name = reader.text("protocol name")?;
    if name != "MQTT" && name != "MQIsdp" {
        return Err(DecodeError::ProtocolName);
    }
    let level = reader.u8("protocol level")?;
    let known =
        [(Version::V31, 0), (Version::V311, 0), (Version::V5, 0), (Version::V31, BRIDGE), (Version::V311, BRIDGE)];
    known
        .into_iter()
        .find(|&(version, bridge)| version as u8 | bridge == level && version.protocol_name() == name)
        .map(|(version, bridge)| (version, bridge != 0))
        .ok_or_else(|| DecodeError::ProtocolLevel { level, form: form_of(level, *reader) })
}

/// How the rest of a CONNECT of an unknown version is written: who writes it as MQTT 3.1.1 does reads a refusal written so
/// [3.1.1 MQTT-3.1.2-2], and otherwise what is above MQTT 5 can be expected to know that.
fn form_of(level: u8, mut rest: Reader<'_>) -> Version {
    let is_old =
        level & !BRIDGE <= Version::V5 as u8 || Connect::load_as(Version::V311, &mut rest).is_ok() && rest.is_empty();
    if is_old { Version::V311 } else { Version::V5 }
}

/// The bit of the protocol level that a bridge sets.
const BRIDGE: u8 = 0x80;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{PublishProperties, WillProperties};
    use crate::testing::{check, check_decodes, check_refused, frame};
    use crate::{Packet, UserPropertiesBuf};

    const ANY: Version = Version::V311; // A CONNECT says itself which version it is of.

    #[test]
    fn the_least_a_client_says() {
        check(ANY, 0x10, b"\0\x06MQIsdp\x03\x02\0\x3C\0\x01a", &connect(plain(Version::V31)));
        check(ANY, 0x10, b"\0\x04MQTT\x04\x02\0\x3C\0\x01a", &connect(plain(Version::V311)));
        check(ANY, 0x10, b"\0\x04MQTT\x05\x02\0\x3C\0\0\x01a", &connect(plain(Version::V5)));
        let anonymous = Connect { client_id: "", clean_start: false, keep_alive_secs: 65_535, ..plain(Version::V311) };
        check(ANY, 0x10, b"\0\x04MQTT\x04\x00\xFF\xFF\0\0", &connect(anonymous));
    }

    #[test]
    fn a_will_and_credentials_follow_the_client_identifier() {
        for (version, body) in [
            (Version::V31, &b"\0\x06MQIsdp\x03\xEE\0\x3C\0\x01a\0\x01w\0\x02hi\0\x01u\0\x01p"[..]),
            (Version::V311, b"\0\x04MQTT\x04\xEE\0\x3C\0\x01a\0\x01w\0\x02hi\0\x01u\0\x01p"),
            (Version::V5, b"\0\x04MQTT\x05\xEE\0\x3C\0\0\x01a\0\0\x01w\0\x02hi\0\x01u\0\x01p"),
        ] {
            let will = Will { topic: "w", payload: b"hi", qos: QoS::AtLeastOnce, retain: true, ..Will::default() };
            let credentials =
                Connect { will: Some(will), username: Some("u"), password: Some(Secret(b"p")), ..plain(version) };
            check(ANY, 0x10, body, &connect(credentials));
        }
    }

    #[test]
    fn all_properties_come_and_go() {
        let mut user_properties = UserPropertiesBuf::new();
        user_properties.push("k", "v").expect("short and plain");
        let properties = ConnectProperties {
            session_expiry_secs: Some(u32::MAX),
            receive_maximum: Some(1),
            maximum_packet_size: Some(1),
            topic_alias_maximum: Some(0),
            request_response_information: Some(true),
            request_problem_information: Some(false),
            authentication_method: Some("m"),
            authentication_data: Some(Secret(b"d")),
            user_properties: user_properties.as_ref(),
        };
        let publish = PublishProperties {
            payload_format: Some(1),
            message_expiry_secs: Some(2),
            response_topic: Some("r"),
            correlation_data: Some(b"d"),
            content_type: Some("c"),
            user_properties: user_properties.as_ref(),
            ..PublishProperties::default()
        };
        let will = Will {
            topic: "w",
            properties: WillProperties { delay_secs: Some(3), publish },
            qos: QoS::ExactlyOnce,
            ..Will::default()
        };
        let of_connect = b"\x11\xFF\xFF\xFF\xFF\x21\0\x01\x27\0\0\0\x01\x22\0\0\x19\x01\x17\x00\x15\0\x01m\x16\0\x01d\
            \x26\0\x01k\0\x01v";
        let of_will = b"\x18\0\0\0\x03\x02\0\0\0\x02\x01\x01\x03\0\x01c\x08\0\x01r\x09\0\x01d\x26\0\x01k\0\x01v";
        let body = [
            b"\0\x04MQTT\x05\x16\0\x3C",
            &[of_connect.len() as u8][..],
            of_connect,
            b"\0\x01a",
            &[of_will.len() as u8],
            of_will,
            b"\0\x01w\0\0",
        ]
        .concat();
        check(ANY, 0x10, &body, &connect(Connect { properties, will: Some(will), ..plain(Version::V5) }));
    }

    #[test]
    fn a_password_may_come_alone_since_mqtt_5() {
        // [MQTT-3.1.2-19] [3.1.1 MQTT-3.1.2-22]
        let alone = |version| Connect { password: Some(Secret(b"p")), ..plain(version) };
        check(ANY, 0x10, b"\0\x04MQTT\x05\x42\0\x3C\0\0\x01a\0\x01p", &connect(alone(Version::V5)));
        check_refused(ANY, 0x10, b"\0\x04MQTT\x04\x42\0\x3C\0\x01a\0\x01p", DecodeError::PasswordWithoutUser);
        check_refused(ANY, 0x10, b"\0\x06MQIsdp\x03\x42\0\x3C\0\x01a\0\x01p", DecodeError::PasswordWithoutUser);
        let error = connect(alone(Version::V311)).encode(ANY, &mut Vec::new());
        assert_eq!(error, Err(EncodeError::PasswordWithoutUser));
    }

    #[test]
    fn credentials_announced_may_be_missing_in_mqtt_3_1_only() {
        check_decodes(ANY, 0x10, b"\0\x06MQIsdp\x03\xC2\0\x3C\0\x01a", &connect(plain(Version::V31)));
        let named = Connect { username: Some("u"), ..plain(Version::V31) };
        check_decodes(ANY, 0x10, b"\0\x06MQIsdp\x03\xC2\0\x3C\0\x01a\0\x01u", &connect(named));
        let refused = |body, field| check_refused(ANY, 0x10, body, DecodeError::Truncated { field });
        refused(b"\0\x04MQTT\x04\xC2\0\x3C\0\x01a", "user name");
        refused(b"\0\x04MQTT\x04\xC2\0\x3C\0\x01a\0\x01u", "password");
        refused(b"\0\x04MQTT\x05\x42\0\x3C\0\0\x01a", "password");
        refused(b"\0\x06MQIsdp\x03\xC2\0\x3C\0\x01a\0", "user name");
    }

    #[test]
    fn another_protocol_is_told_from_another_version() {
        let name = |body: &[u8]| check_refused(ANY, 0x10, body, DecodeError::ProtocolName);
        name(b"\0\x04mqtt\x04\x02\0\x3C\0\x01a");
        name(b"\0\x03MQT\x04\x02\0\x3C\0\x01a");
        name(b"\0\x00\x04");
        name(b"\0\x06MQisdp\x03\x02\0\x3C\0\x01a");
        let level = |level, form, body: &[u8]| {
            check_refused(ANY, 0x10, body, DecodeError::ProtocolLevel { level, form });
        };
        let (old, new) = (Version::V311, Version::V5);
        level(6, new, b"\0\x04MQTT\x06anything");
        level(6, new, b"\0\x04MQTT\x06\x02\0\x3C\0\0\x01a");
        level(6, new, b"\0\x04MQTT\x06\x02\0\x3C\0\0\0");
        level(99, new, b"\0\x04MQTT\x63\x02\0\x3C\x05\x11\0\0\0\x3C\0\x01a");
        level(6, old, b"\0\x04MQTT\x06\x02\0\x3C\0\x01a");
        level(99, old, b"\0\x04MQTT\x63\xC2\0\x3C\0\x01a\0\x01u\0\x01p");
        level(6, new, b"\0\x04MQTT\x06\x02\0\x3C\0\x01a\0");
        level(3, old, b"\0\x04MQTT\x03\x02\0\x3C\0\x01a");
        level(0, old, b"\0\x04MQTT\x00\x02\0\x3C\0\x01a");
        level(4, old, b"\0\x06MQIsdp\x04\x02\0\x3C\0\x01a");
        for error in [DecodeError::ProtocolName, DecodeError::ProtocolLevel { level: 6, form: new }] {
            assert_eq!(error.reason(), crate::ReasonCode::UnsupportedProtocolVersion);
        }
    }

    #[test]
    fn a_bridge_sets_the_upper_bit_of_the_level_before_mqtt_5() {
        let bridge = |version| Connect { is_bridge: true, ..plain(version) };
        check(ANY, 0x10, b"\0\x04MQTT\x84\x02\0\x3C\0\x01a", &connect(bridge(Version::V311)));
        check(ANY, 0x10, b"\0\x06MQIsdp\x83\x02\0\x3C\0\x01a", &connect(bridge(Version::V31)));
        let refused = |level, body: &[u8]| {
            check_refused(ANY, 0x10, body, DecodeError::ProtocolLevel { level, form: Version::V311 });
        };
        refused(0x85, b"\0\x04MQTT\x85\x02\0\x3C\0\0\x01a");
        refused(0x83, b"\0\x04MQTT\x83\x02\0\x3C\0\x01a");
        refused(0x84, b"\0\x06MQIsdp\x84\x02\0\x3C\0\x01a");
        refused(0x80, b"\0\x04MQTT\x80\x02\0\x3C\0\x01a");
    }

    #[test]
    fn the_version_is_known_of_what_cannot_be_decoded() {
        let of = |first, body: &[u8]| Connect::version_of(&frame(first, body));
        assert_eq!(of(0x10, b"\0\x04MQTT\x04\x01"), Some(Version::V311));
        assert_eq!(of(0x10, b"\0\x04MQTT\x05"), Some(Version::V5));
        assert_eq!(of(0x10, b"\0\x06MQIsdp\x03"), Some(Version::V31));
        assert_eq!(of(0x10, b"\0\x04MQTT\x06"), None);
        assert_eq!(of(0x10, b"\0\x04MQT"), None);
        assert_eq!(of(0x20, b"\0\x04MQTT\x05"), None);
        assert_eq!(Connect::version_of(b""), None);
        let behind = [frame(0x10, b""), b"\0\x04MQTT\x05".to_vec()].concat();
        assert_eq!(Connect::version_of(&behind), None);
        assert_eq!(Connect::version_of(&[&[0x10, 99][..], b"\0\x04MQTT\x05"].concat()), Some(Version::V5));
    }

    #[test]
    fn flags_say_what_is_there() {
        for (level, rest) in [(4, &b"\0\x3C\0\x01a"[..]), (5, b"\0\x3C\0\0\x01a")] {
            let refused = |flags, error| {
                check_refused(ANY, 0x10, &[b"\0\x04MQTT", &[level, flags][..], rest].concat(), error);
            };
            refused(0x03, DecodeError::ConnectReservedFlag);
            refused(0x01, DecodeError::ConnectReservedFlag);
            refused(0x0A, DecodeError::WillFlagsWithoutWill);
            refused(0x12, DecodeError::WillFlagsWithoutWill);
            refused(0x1A, DecodeError::WillFlagsWithoutWill);
            refused(0x22, DecodeError::WillFlagsWithoutWill);
            refused(0x1E, DecodeError::Qos { field: "will" });
            let first_of_will = if level == 5 { "property length" } else { "will topic" };
            refused(0x06, DecodeError::Truncated { field: first_of_will });
        }
    }

    #[test]
    fn every_field_is_whole_and_nothing_follows() {
        let refused = |body, error| check_refused(ANY, 0x10, body, error);
        refused(b"", DecodeError::Truncated { field: "protocol name" });
        refused(b"\0\x04MQ", DecodeError::Truncated { field: "protocol name" });
        refused(b"\0\x04MQTT", DecodeError::Truncated { field: "protocol level" });
        refused(b"\0\x04MQTT\x04", DecodeError::Truncated { field: "connect flags" });
        refused(b"\0\x04MQTT\x04\x02\0", DecodeError::Truncated { field: "keep alive" });
        refused(b"\0\x04MQTT\x04\x02\0\x3C", DecodeError::Truncated { field: "client identifier" });
        refused(b"\0\x04MQTT\x04\x02\0\x3C\0\x02a", DecodeError::Truncated { field: "client identifier" });
        refused(b"\0\x04MQTT\x04\x06\0\x3C\0\x01a\0\x01w", DecodeError::Truncated { field: "will payload" });
        refused(b"\0\x04MQTT\x05\x02\0\x3C", DecodeError::Truncated { field: "property length" });
        refused(b"\0\x04MQTT\x05\x02\0\x3C\x03\0\x01a", DecodeError::UnknownProperty { id: 0 });
        refused(b"\0\x04MQTT\x04\x02\0\x3C\0\x01a\0\x01u", DecodeError::Trailing { packet: "CONNECT", bytes: 3 });
        refused(b"\0\x04MQTT\x05\x02\0\x3C\0\0\x01ax", DecodeError::Trailing { packet: "CONNECT", bytes: 1 });
    }

    #[test]
    fn every_text_is_text() {
        let refused = |body, error| check_refused(ANY, 0x10, body, error);
        refused(b"\0\x04MQ\0T\x04\x02\0\x3C\0\x01a", DecodeError::Nul { field: "protocol name" });
        refused(b"\0\x04MQTT\x04\x02\0\x3C\0\x01\0", DecodeError::Nul { field: "client identifier" });
        refused(b"\0\x04MQTT\x04\x02\0\x3C\0\x01\xFF", DecodeError::NotUtf8 { field: "client identifier" });
        refused(b"\0\x04MQTT\x04\x06\0\x3C\0\x01a\0\x01\xFF\0\0", DecodeError::NotUtf8 { field: "will topic" });
        refused(b"\0\x04MQTT\x04\x06\0\x3C\0\x01a\0\x01#\0\0", DecodeError::Wildcard { field: "will topic" });
        refused(b"\0\x04MQTT\x04\x06\0\x3C\0\x01a\0\0\0\0", DecodeError::EmptyTopic { field: "will topic" });
        refused(b"\0\x04MQTT\x04\x82\0\x3C\0\x01a\0\x01\xC0", DecodeError::NotUtf8 { field: "user name" });
    }

    #[test]
    fn authentication_data_needs_a_method() {
        let error = DecodeError::NoAuthenticationMethod { packet: "CONNECT" };
        check_refused(ANY, 0x10, b"\0\x04MQTT\x05\x02\0\x3C\x04\x16\0\x01d\0\x01a", error);
    }

    fn connect(connect: Connect<'_>) -> Packet<'_> {
        Packet::Connect(Box::new(connect))
    }

    fn plain(version: Version) -> Connect<'static> {
        Connect {
            version,
            is_bridge: false,
            clean_start: true,
            keep_alive_secs: 60,
            client_id: "a",
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties::default(),
        }
    }
}
