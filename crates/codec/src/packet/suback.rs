//! SUBACK and UNSUBACK.

use std::fmt;

use super::AckProperties;
use crate::header::Kind;
use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, EncodeError, PacketId, ReasonCode, Version};

/// The answer to SUBSCRIBE (MQTT 5 §3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suback<'a> {
    /// That of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// None before MQTT 5.
    pub properties: AckProperties<'a>,
    /// The QoS granted or a failure for each filter, in order. Before MQTT 5 all failures are one, 0x80.
    pub reasons: ReasonCodes<'a>,
}

impl<'a> Suback<'a> {
    pub(crate) fn load(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id("SUBACK")?;
        let mut properties = AckProperties::default();
        if version >= Version::V5 {
            properties = AckProperties::load(reader, Kind::Suback)?;
        }
        let reasons = ReasonCodes::load(reader, Kind::Suback)?;
        if version < Version::V5 {
            let other = reasons.iter().find(|&reason| reason.is_error() && reason != ReasonCode::UnspecifiedError);
            other.map_or(Ok(()), |reason| Err(DecodeError::ReasonCode { packet: "SUBACK", code: reason.into() }))?;
        }
        Ok(Self { packet_id, properties, reasons })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.u16(self.packet_id.get());
        if version >= Version::V5 {
            out.sized("properties", |out| self.properties.encode(out))?;
        }
        for reason in self.reasons.iter() {
            let failed_before_v5 = version < Version::V5 && reason.is_error();
            out.u8(if failed_before_v5 { ReasonCode::UnspecifiedError } else { reason }.into());
        }
        Ok(())
    }
}

/// The answer to UNSUBSCRIBE (MQTT 5 §3.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsuback<'a> {
    /// That of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// None before MQTT 5.
    pub properties: AckProperties<'a>,
    /// One for each filter, in order. None before MQTT 5.
    pub reasons: ReasonCodes<'a>,
}

impl<'a> Unsuback<'a> {
    pub(crate) fn load(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id("UNSUBACK")?;
        if version < Version::V5 {
            return Ok(Self { packet_id, properties: AckProperties::default(), reasons: ReasonCodes::default() });
        }
        let properties = AckProperties::load(reader, Kind::Unsuback)?;
        let reasons = ReasonCodes::load(reader, Kind::Unsuback)?;
        Ok(Self { packet_id, properties, reasons })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.u16(self.packet_id.get());
        if version < Version::V5 {
            return Ok(());
        }
        out.sized("properties", |out| self.properties.encode(out))?;
        self.reasons.iter().for_each(|reason| out.u8(reason.into()));
        Ok(())
    }
}

/// Reason codes, one for each filter of the request: still on the wire, or a list to send.
#[derive(Clone, Copy)]
pub struct ReasonCodes<'a>(Entries<'a>);

#[derive(Clone, Copy)]
enum Entries<'a> {
    /// Invariant: all bytes are reason codes.
    Wire(&'a [u8]),
    List(&'a [ReasonCode]),
}

impl<'a> ReasonCodes<'a> {
    /// The codes in order.
    pub fn iter(&self) -> impl Iterator<Item = ReasonCode> + use<'a> {
        let (wire, list) = match self.0 {
            Entries::Wire(bytes) => (bytes, &[][..]),
            Entries::List(list) => (&[][..], list),
        };
        wire.iter().filter_map(|&code| ReasonCode::try_from(code).ok()).chain(list.iter().copied())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self.0 {
            Entries::Wire(bytes) => bytes.len(),
            Entries::List(list) => list.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn load(reader: &mut Reader<'a>, kind: Kind) -> Result<Self, DecodeError> {
        let mut codes = *reader;
        let bytes = reader.rest();
        if bytes.is_empty() {
            return Err(DecodeError::NoReasonCodes { packet: kind.name() });
        }
        while !codes.is_empty() {
            super::load_reason(&mut codes, kind)?;
        }
        Ok(Self(Entries::Wire(bytes)))
    }
}

impl Default for ReasonCodes<'_> {
    fn default() -> Self {
        Self(Entries::List(&[]))
    }
}

impl<'a> From<&'a [ReasonCode]> for ReasonCodes<'a> {
    fn from(list: &'a [ReasonCode]) -> Self {
        Self(Entries::List(list))
    }
}

impl PartialEq for ReasonCodes<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for ReasonCodes<'_> {}

impl fmt::Debug for ReasonCodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{VERSIONS, check, check_refused, id};
    use crate::{Packet, UserPropertiesBuf};

    #[test]
    fn a_suback_has_a_code_for_each_filter() {
        let granted = [ReasonCode::GRANTED_QOS_0, ReasonCode::GrantedQoS2, ReasonCode::UnspecifiedError];
        for version in [Version::V31, Version::V311] {
            check(version, 0x90, b"\0\x07\x00\x02\x80", &suback(&granted));
        }
        check(Version::V5, 0x90, b"\0\x07\0\x00\x02\x80", &suback(&granted));
        let refused = [ReasonCode::NotAuthorized, ReasonCode::GrantedQoS1];
        check(Version::V5, 0x90, b"\0\x07\0\x87\x01", &suback(&refused));
        let mut out = Vec::new();
        suback(&refused).encode(Version::V311, &mut out).expect("it has a form");
        assert_eq!(out, b"\x90\x04\0\x07\x80\x01", "older versions have one code for all failures");
    }

    #[test]
    fn an_unsuback_has_codes_since_mqtt_5() {
        let unsuback = |reasons: &'static [ReasonCode]| {
            let properties = AckProperties::default();
            Packet::Unsuback(Unsuback { packet_id: id(7), properties, reasons: reasons.into() })
        };
        for version in [Version::V31, Version::V311] {
            check(version, 0xB0, b"\0\x07", &unsuback(&[]));
            check_refused(version, 0xB0, b"\0\x07\0", DecodeError::Trailing { packet: "UNSUBACK", bytes: 1 });
        }
        let codes = &[ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
        check(Version::V5, 0xB0, b"\0\x07\0\x00\x11", &unsuback(codes));
    }

    #[test]
    fn properties_come_and_go() {
        let mut user_properties = UserPropertiesBuf::new();
        user_properties.push("k", "v").expect("short and plain");
        let properties = AckProperties { reason_string: Some("s"), user_properties: user_properties.as_ref() };
        let body = b"\0\x07\x0B\x1F\0\x01s\x26\0\x01k\0\x01v\x00";
        let (packet_id, reasons) = (id(7), [ReasonCode::Success][..].into());
        check(Version::V5, 0x90, body, &Packet::Suback(Suback { packet_id, properties: properties.clone(), reasons }));
        check(Version::V5, 0xB0, body, &Packet::Unsuback(Unsuback { packet_id, properties, reasons }));
    }

    #[test]
    fn what_is_not_an_answer_is_refused() {
        for (first, packet) in [(0x90, "SUBACK"), (0xB0, "UNSUBACK")] {
            for version in VERSIONS {
                check_refused(version, first, b"\0", DecodeError::Truncated { field: "packet identifier" });
                check_refused(version, first, b"\0\0\0", DecodeError::PacketIdZero { packet });
            }
            check_refused(Version::V5, first, b"\0\x07", DecodeError::Truncated { field: "property length" });
            check_refused(Version::V5, first, b"\0\x07\0", DecodeError::NoReasonCodes { packet });
            check_refused(Version::V5, first, b"\0\x07\0\0\x04", DecodeError::ReasonCode { packet, code: 0x04 });
            check_refused(Version::V5, first, b"\0\x07\0\xFF", DecodeError::ReasonCode { packet, code: 0xFF });
        }
        check_refused(Version::V311, 0x90, b"\0\x07", DecodeError::NoReasonCodes { packet: "SUBACK" });
        for code in [0x03, 0x04, 0x11, 0x87] {
            check_refused(Version::V311, 0x90, &[0, 7, code], DecodeError::ReasonCode { packet: "SUBACK", code });
        }
        check_refused(Version::V5, 0xB0, b"\0\x07\0\x01", DecodeError::ReasonCode { packet: "UNSUBACK", code: 1 });
        check_refused(Version::V5, 0x90, b"\0\x07\0\x11", DecodeError::ReasonCode { packet: "SUBACK", code: 0x11 });
    }

    fn suback(reasons: &[ReasonCode]) -> Packet<'_> {
        Packet::Suback(Suback { packet_id: id(7), properties: AckProperties::default(), reasons: reasons.into() })
    }
}
