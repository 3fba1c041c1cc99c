//! What can be wrong with bytes, packets and topics.

use thiserror::Error;

use crate::{ReasonCode, Version};

/// Why bytes from a peer are not a packet. The connection ends on any of these.
///
/// The peer gets [`reason`](Self::reason), the log gets the words; neither contains what the peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A variable byte integer does not end within four bytes (MQTT 5 §1.5.5).
    #[error("{field}: a variable byte integer of more than four bytes")]
    VarintTooLong {
        /// Where.
        field: &'static str,
    },
    /// A variable byte integer uses more bytes than its value needs [MQTT-1.5.5-1].
    #[error("{field}: a variable byte integer longer than its value needs")]
    VarintNotMinimal {
        /// Where.
        field: &'static str,
    },
    /// The packet is larger than we told the peer we accept [MQTT-3.2.2-15]; sizes in bytes.
    #[error("a packet of {size} bytes, with {limit} accepted")]
    TooLarge {
        /// The whole packet, fixed header included.
        size: u32,
        /// The largest accepted.
        limit: u32,
    },
    /// Packet type 0, or 15 before MQTT 5 (MQTT 5 §2.1.2).
    #[error("packet type {number} is reserved")]
    PacketType {
        /// The high half of the first byte.
        number: u8,
    },
    /// The flags of the fixed header are not those its packet type demands [MQTT-2.1.3-1].
    #[error("{packet} with the reserved header flags {flags:#06b}")]
    ReservedFlags {
        /// Name of the packet.
        packet: &'static str,
        /// The low half of the first byte.
        flags: u8,
    },
    /// QoS 3 in a PUBLISH [MQTT-3.3.1-4] or for a will [MQTT-3.1.2-12].
    #[error("{field}: QoS 3")]
    Qos {
        /// Where.
        field: &'static str,
    },
    /// DUP set in a PUBLISH of QoS 0 [MQTT-3.3.1-2].
    #[error("PUBLISH of QoS 0 marked as a duplicate")]
    DupWithoutQos,
    /// The packet ends before or inside a field; a string or the properties may claim to be longer than the packet.
    #[error("the packet ends inside {field}")]
    Truncated {
        /// Where.
        field: &'static str,
    },
    /// The packet goes on after its last field.
    #[error("{bytes} bytes after the end of {packet}")]
    Trailing {
        /// Name of the packet.
        packet: &'static str,
        /// How many bytes are left.
        bytes: usize,
    },
    /// Text that is not UTF-8, be it surrogates or overlong forms [MQTT-1.5.4-1].
    #[error("{field}: not UTF-8")]
    NotUtf8 {
        /// Where.
        field: &'static str,
    },
    /// Text with U+0000 in it [MQTT-1.5.4-2].
    #[error("{field}: U+0000 in text")]
    Nul {
        /// Where.
        field: &'static str,
    },
    /// `+` or `#` in a topic name [MQTT-3.3.2-2], [MQTT-3.3.2-14].
    #[error("{field}: a wildcard in a topic name")]
    Wildcard {
        /// Where.
        field: &'static str,
    },
    /// A topic name or filter without a character [MQTT-4.7.3-1]; in a PUBLISH, also without a topic alias.
    #[error("{field}: empty")]
    EmptyTopic {
        /// Where.
        field: &'static str,
    },
    /// Packet identifier 0 [MQTT-2.2.1-3].
    #[error("{packet} with packet identifier 0")]
    PacketIdZero {
        /// Name of the packet.
        packet: &'static str,
    },
    /// A CONNECT whose protocol name is neither `MQTT` nor `MQIsdp` [MQTT-3.1.2-1].
    #[error("CONNECT for a protocol that is not MQTT")]
    ProtocolName,
    /// A CONNECT of MQTT in a version not spoken here [MQTT-3.1.2-2], bit 7 (a bridge) included.
    #[error("CONNECT with protocol level {level}")]
    ProtocolLevel {
        /// The level asked for.
        level: u8,
        /// The version whose form the packet has otherwise: the one to write a refusal in.
        form: Version,
    },
    /// Bit 0 of the connect flags is set [MQTT-3.1.2-3].
    #[error("CONNECT with the reserved connect flag")]
    ConnectReservedFlag,
    /// Will QoS or will retain without a will [MQTT-3.1.2-11], [MQTT-3.1.2-13].
    #[error("CONNECT with will flags and no will")]
    WillFlagsWithoutWill,
    /// A password without a user name before MQTT 5 (MQTT 3.1.1 [MQTT-3.1.2-22]).
    #[error("CONNECT with a password and no user name")]
    PasswordWithoutUser,
    /// Bits 7 to 1 of the acknowledge flags, or any before MQTT 3.1.1 [MQTT-3.2.2-1].
    #[error("CONNACK with the reserved acknowledge flags {flags:#010b}")]
    ConnackFlags {
        /// The byte.
        flags: u8,
    },
    /// A refusal that claims a session is present [MQTT-3.2.2-6].
    #[error("CONNACK refuses and claims a session is present")]
    SessionPresentInRefusal,
    /// A reason code, or return code before MQTT 5, that is not in the packet's list, such as [MQTT-3.4.2-1].
    #[error("{packet} with reason code {code:#04x}")]
    ReasonCode {
        /// Name of the packet.
        packet: &'static str,
        /// The byte.
        code: u8,
    },
    /// A property identifier the specification does not have (MQTT 5 §2.2.2.2).
    #[error("unknown property {id:#04x}")]
    UnknownProperty {
        /// The identifier.
        id: u32,
    },
    /// A property of other packets (MQTT 5 §2.2.2.2).
    #[error("{packet} with the property {property}")]
    PropertyNotAllowed {
        /// Name of the property.
        property: &'static str,
        /// Name of the packet.
        packet: &'static str,
    },
    /// A property that may be there once is there twice (MQTT 5, each property's section).
    #[error("{packet} with the property {property} twice")]
    DuplicateProperty {
        /// Name of the property.
        property: &'static str,
        /// Name of the packet.
        packet: &'static str,
    },
    /// A property whose number is out of its range, such as Receive Maximum 0 (MQTT 5 §3.1.2.11.3).
    #[error("{property} of {value}")]
    PropertyValue {
        /// Name of the property.
        property: &'static str,
        /// The number.
        value: u32,
    },
    /// Topic alias 0 [MQTT-3.3.2-8].
    #[error("topic alias 0")]
    TopicAliasZero,
    /// Authentication Data without Authentication Method (MQTT 5 §3.1.2.11.10), or an AUTH without it (§3.15.2.2.2).
    #[error("{packet} without an authentication method")]
    NoAuthenticationMethod {
        /// Name of the packet.
        packet: &'static str,
    },
    /// SUBSCRIBE [MQTT-3.8.3-2] or UNSUBSCRIBE [MQTT-3.10.3-2] without a filter.
    #[error("{packet} without a filter")]
    NoFilters {
        /// Name of the packet.
        packet: &'static str,
    },
    /// SUBACK or UNSUBACK without a reason code [MQTT-3.9.3-2].
    #[error("{packet} without a reason code")]
    NoReasonCodes {
        /// Name of the packet.
        packet: &'static str,
    },
    /// Reserved bits of the subscription options [MQTT-3.8.3-5].
    #[error("SUBSCRIBE with the reserved subscription options {options:#010b}")]
    ReservedOptions {
        /// The byte.
        options: u8,
    },
    /// QoS 3 asked for in a SUBSCRIBE (MQTT 5 §3.8.3.1).
    #[error("SUBSCRIBE with QoS 3")]
    SubscribeQos,
    /// Retain Handling 3 in a SUBSCRIBE (MQTT 5 §3.8.3.1).
    #[error("SUBSCRIBE with retain handling 3")]
    RetainHandling,
}

impl DecodeError {
    /// What CONNACK or DISCONNECT tells the peer (MQTT 5 §4.13).
    pub fn reason(&self) -> ReasonCode {
        match self {
            Self::VarintTooLong { .. }
            | Self::VarintNotMinimal { .. }
            | Self::PacketType { .. }
            | Self::ReservedFlags { .. }
            | Self::Qos { .. }
            | Self::DupWithoutQos
            | Self::Truncated { .. }
            | Self::Trailing { .. }
            | Self::NotUtf8 { .. }
            | Self::Nul { .. }
            | Self::Wildcard { .. }
            | Self::ConnectReservedFlag
            | Self::WillFlagsWithoutWill
            | Self::PasswordWithoutUser
            | Self::ConnackFlags { .. }
            | Self::UnknownProperty { .. }
            | Self::PropertyNotAllowed { .. }
            | Self::NoReasonCodes { .. }
            | Self::ReservedOptions { .. } => ReasonCode::MalformedPacket,
            Self::EmptyTopic { .. }
            | Self::PacketIdZero { .. }
            | Self::SessionPresentInRefusal
            | Self::ReasonCode { .. }
            | Self::DuplicateProperty { .. }
            | Self::PropertyValue { .. }
            | Self::NoAuthenticationMethod { .. }
            | Self::NoFilters { .. }
            | Self::SubscribeQos
            | Self::RetainHandling => ReasonCode::ProtocolError,
            Self::TooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::ProtocolName | Self::ProtocolLevel { .. } => ReasonCode::UnsupportedProtocolVersion,
            Self::TopicAliasZero => ReasonCode::TopicAliasInvalid,
        }
    }
}

/// Why a packet has no form on the wire. Nothing was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Text or binary data beyond the 65,535 bytes its length field can say (MQTT 5 §1.5.4, §1.5.6).
    #[error("{field} of {bytes} bytes: at most 65535 can be sent")]
    FieldTooLong {
        /// Where.
        field: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// Text with U+0000 in it [MQTT-1.5.4-2].
    #[error("{field}: U+0000 in text")]
    Nul {
        /// Where.
        field: &'static str,
    },
    /// A number beyond what a variable byte integer can say, 268,435,455 (MQTT 5 §1.5.5): a subscription
    /// identifier, or the length of the packet or of its properties.
    #[error("{field} of {value}: at most 268435455 can be sent")]
    TooLarge {
        /// Where.
        field: &'static str,
        /// The number.
        value: usize,
    },
    /// A PUBLISH of QoS 1 or 2 without a packet identifier [MQTT-2.2.1-3], or of QoS 0 with one [MQTT-2.2.1-2].
    #[error("PUBLISH whose packet identifier does not suit its QoS")]
    PacketId,
    /// A password without a user name before MQTT 5 (MQTT 3.1.1 [MQTT-3.1.2-22]).
    #[error("CONNECT with a password and no user name")]
    PasswordWithoutUser,
    /// AUTH before MQTT 5.
    #[error("AUTH in a version without it")]
    NoAuth,
}

/// Why text is not a topic name or topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TopicError {
    /// No character [MQTT-4.7.3-1].
    #[error("a topic needs at least one character")]
    Empty,
    /// More than 65,535 bytes [MQTT-4.7.3-3].
    #[error("a topic has at most 65535 bytes, this one {bytes}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// U+0000 [MQTT-4.7.3-2].
    #[error("a topic cannot contain U+0000")]
    Nul,
    /// `+` or `#` in a topic name [MQTT-4.7.0-1].
    #[error("a topic name cannot contain the wildcards + and #")]
    WildcardInName,
    /// `#` beside other characters in its level [MQTT-4.7.1-1].
    #[error("# must stand alone in its level")]
    HashNotAlone,
    /// `#` with levels after it [MQTT-4.7.1-1].
    #[error("# must be the last level")]
    HashNotLast,
    /// `+` beside other characters in its level [MQTT-4.7.1-2].
    #[error("+ must stand alone in its level")]
    PlusNotAlone,
    /// `$share//...` [MQTT-4.8.2-1].
    #[error("$share/ must be followed by the name of a group")]
    ShareNameEmpty,
    /// `+` or `#` in the name of a group [MQTT-4.8.2-2].
    #[error("the name of a shared subscription's group cannot contain + or #")]
    ShareNameWildcard,
    /// `$share/group` without a filter after it [MQTT-4.8.2-2].
    #[error("a shared subscription needs a filter after the name of its group")]
    ShareFilterMissing,
}
