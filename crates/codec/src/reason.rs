//! Reason codes.

use std::fmt;

use crate::header::Kind;

macro_rules! reason_codes {
    ($($name:ident = $code:literal $words:literal,)*) => {
        /// Why something was done or refused, one byte on the wire (MQTT 5 §2.4).
        ///
        /// The code 0x00 has three names in the specification; here it is [`Success`](Self::Success), and
        /// [`NORMAL_DISCONNECTION`](Self::NORMAL_DISCONNECTION) and [`GRANTED_QOS_0`](Self::GRANTED_QOS_0) are
        /// the same value.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $(#[doc = $words] $name = $code,)*
        }

        impl TryFrom<u8> for ReasonCode {
            /// The byte that is no reason code.
            type Error = u8;

            fn try_from(code: u8) -> Result<Self, u8> {
                match code {
                    $($code => Ok(Self::$name),)*
                    other => Err(other),
                }
            }
        }

        impl fmt::Display for ReasonCode {
            /// The specification's name for the code.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $words,)*
                })
            }
        }
    };
}

reason_codes! {
    Success = 0x00 "Success",
    GrantedQoS1 = 0x01 "Granted QoS 1",
    GrantedQoS2 = 0x02 "Granted QoS 2",
    DisconnectWithWill = 0x04 "Disconnect with Will Message",
    NoMatchingSubscribers = 0x10 "No matching subscribers",
    NoSubscriptionExisted = 0x11 "No subscription existed",
    ContinueAuthentication = 0x18 "Continue authentication",
    Reauthenticate = 0x19 "Re-authenticate",
    UnspecifiedError = 0x80 "Unspecified error",
    MalformedPacket = 0x81 "Malformed Packet",
    ProtocolError = 0x82 "Protocol Error",
    ImplementationSpecificError = 0x83 "Implementation specific error",
    UnsupportedProtocolVersion = 0x84 "Unsupported Protocol Version",
    ClientIdentifierNotValid = 0x85 "Client Identifier not valid",
    BadUserNameOrPassword = 0x86 "Bad User Name or Password",
    NotAuthorized = 0x87 "Not authorized",
    ServerUnavailable = 0x88 "Server unavailable",
    ServerBusy = 0x89 "Server busy",
    Banned = 0x8A "Banned",
    ServerShuttingDown = 0x8B "Server shutting down",
    BadAuthenticationMethod = 0x8C "Bad authentication method",
    KeepAliveTimeout = 0x8D "Keep Alive timeout",
    SessionTakenOver = 0x8E "Session taken over",
    TopicFilterInvalid = 0x8F "Topic Filter invalid",
    TopicNameInvalid = 0x90 "Topic Name invalid",
    PacketIdentifierInUse = 0x91 "Packet identifier in use",
    PacketIdentifierNotFound = 0x92 "Packet Identifier not found",
    ReceiveMaximumExceeded = 0x93 "Receive Maximum exceeded",
    TopicAliasInvalid = 0x94 "Topic Alias invalid",
    PacketTooLarge = 0x95 "Packet too large",
    MessageRateTooHigh = 0x96 "Message rate too high",
    QuotaExceeded = 0x97 "Quota exceeded",
    AdministrativeAction = 0x98 "Administrative action",
    PayloadFormatInvalid = 0x99 "Payload format invalid",
    RetainNotSupported = 0x9A "Retain not supported",
    QoSNotSupported = 0x9B "QoS not supported",
    UseAnotherServer = 0x9C "Use another server",
    ServerMoved = 0x9D "Server moved",
    SharedSubscriptionsNotSupported = 0x9E "Shared Subscriptions not supported",
    ConnectionRateExceeded = 0x9F "Connection rate exceeded",
    MaximumConnectTime = 0xA0 "Maximum connect time",
    SubscriptionIdentifiersNotSupported = 0xA1 "Subscription Identifiers not supported",
    WildcardSubscriptionsNotSupported = 0xA2 "Wildcard Subscriptions not supported",
}

impl ReasonCode {
    /// 0x00 in a DISCONNECT.
    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    /// 0x00 in a SUBACK.
    pub const GRANTED_QOS_0: Self = Self::Success;

    /// Whether the code says that something failed: 0x80 and above.
    pub fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// The return code of a CONNACK before MQTT 5 that says this best (MQTT 3.1.1 §3.2.2.3): 0 for success, 1 to 5
    /// for a refusal. A refusal without a code of its own becomes 3, server unavailable.
    pub fn connack_v311(self) -> u8 {
        match self {
            code if !code.is_error() => 0,
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::BadUserNameOrPassword => 4,
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => 5,
            _ => 3,
        }
    }

    /// What a return code of a CONNACK before MQTT 5 means; `None` for the reserved ones.
    pub(crate) fn from_connack_v311(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// Whether a packet of this kind may carry the code (MQTT 5 §2.4, and the table of each packet).
    pub(crate) fn belongs_in(self, kind: Kind) -> bool {
        match kind {
            Kind::Connack => matches!(
                self as u8,
                0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F
            ),
            Kind::Puback | Kind::Pubrec => {
                matches!(self as u8, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
            }
            Kind::Pubrel | Kind::Pubcomp => matches!(self as u8, 0x00 | 0x92),
            Kind::Suback => {
                matches!(self as u8, 0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2)
            }
            Kind::Unsuback => matches!(self as u8, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
            // 0x8C is in the summary of §2.4 and missing from the table of §3.14.2.1; re-authentication needs it.
            Kind::Disconnect => matches!(
                self as u8,
                0x00 | 0x04 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B..=0x90 | 0x93..=0xA2
            ),
            Kind::Auth => matches!(self as u8, 0x00 | 0x18 | 0x19),
            _ => false,
        }
    }
}

impl From<ReasonCode> for u8 {
    fn from(code: ReasonCode) -> Self {
        code as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        let known: Vec<ReasonCode> = all().collect();
        assert_eq!(known.len(), 43);
        assert!(known.iter().all(|&code| ReasonCode::try_from(u8::from(code)) == Ok(code)));
        for reserved in [0x03, 0x05, 0x0F, 0x12, 0x17, 0x1A, 0x7F, 0xA3, 0xFF] {
            assert_eq!(ReasonCode::try_from(reserved), Err(reserved));
        }
    }

    #[test]
    fn an_error_has_the_highest_bit() {
        assert!(!ReasonCode::Reauthenticate.is_error());
        assert!(ReasonCode::UnspecifiedError.is_error());
    }

    #[test]
    fn a_code_is_shown_by_its_name_in_the_specification() {
        assert_eq!(ReasonCode::SessionTakenOver.to_string(), "Session taken over");
        assert_eq!(ReasonCode::QuotaExceeded.to_string(), "Quota exceeded");
    }

    #[test]
    fn older_clients_are_told_the_nearest_of_six_codes() {
        for code in 0..=5 {
            let reason = ReasonCode::from_connack_v311(code).expect("one of the six");
            assert_eq!(reason.connack_v311(), code);
        }
        assert_eq!(ReasonCode::from_connack_v311(6), None);
        assert_eq!(ReasonCode::Banned.connack_v311(), 5);
        assert_eq!(ReasonCode::ServerBusy.connack_v311(), 3);
        assert!(all().filter(|code| code.is_error()).all(|code| (1..=5).contains(&code.connack_v311())));
    }

    #[test]
    fn a_packet_has_the_codes_of_its_own_list() {
        // The columns of MQTT 5 §2.4, table 2-6
        check(
            &[Kind::Connack],
            &[
                0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99,
                0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
            ],
        );
        check(&[Kind::Puback, Kind::Pubrec], &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]);
        check(&[Kind::Pubrel, Kind::Pubcomp], &[0x00, 0x92]);
        check(&[Kind::Suback], &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2]);
        check(&[Kind::Unsuback], &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91]);
        check(
            &[Kind::Disconnect],
            &[
                0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95,
                0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
            ],
        );
        check(&[Kind::Auth], &[0x00, 0x18, 0x19]);
        check(&[Kind::Connect, Kind::Publish, Kind::Subscribe, Kind::Unsubscribe, Kind::Pingreq, Kind::Pingresp], &[]);
    }

    #[track_caller]
    fn check(kinds: &[Kind], list: &[u8]) {
        for kind in kinds {
            let belonging: Vec<u8> = all().filter(|code| code.belongs_in(*kind)).map(u8::from).collect();
            assert_eq!(belonging, list, "{}", kind.name());
        }
    }

    fn all() -> impl Iterator<Item = ReasonCode> {
        (0..=u8::MAX).filter_map(|code| ReasonCode::try_from(code).ok())
    }
}
