//! PUBACK, PUBREC, PUBREL and PUBCOMP, which look the same.

use crate::header::Kind;
use crate::properties::{Property, Section};
use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, EncodeError, PacketId, ReasonCode, UserProperties, Version};

/// A step in the delivery of a message (MQTT 5 §3.4 to §3.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack<'a> {
    /// That of the message.
    pub packet_id: PacketId,
    /// Always success before MQTT 5.
    pub reason: ReasonCode,
    /// None before MQTT 5.
    pub properties: AckProperties<'a>,
}

impl<'a> Ack<'a> {
    /// Without properties.
    pub fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self { packet_id, reason, properties: AckProperties::default() }
    }

    /// The packet that is all there is to most acknowledgements: four bytes in any version, which say which it is and for
    /// what (MQTT 5 §3.4.2.1). `None`: there is more to be told.
    #[inline]
    pub(crate) fn bare(&self, kind: Kind, version: Version) -> Option<[u8; 4]> {
        let is_bare = version < Version::V5 || (self.reason == ReasonCode::Success && self.properties.is_empty());
        let [high, low] = self.packet_id.get().to_be_bytes();
        is_bare.then_some([(kind as u8) << 4 | kind.flags(), 2, high, low])
    }

    pub(crate) fn load(reader: &mut Reader<'a>, version: Version, kind: Kind) -> Result<Self, DecodeError> {
        let mut ack = Self::new(reader.packet_id(kind.name())?, ReasonCode::Success);
        if version >= Version::V5 && !reader.is_empty() {
            ack.reason = super::load_reason(reader, kind)?;
            if !reader.is_empty() {
                ack.properties = AckProperties::load(reader, kind)?;
            }
        }
        Ok(ack)
    }

    /// What is not [`bare`](Self::bare), in the shortest form: no properties go without saying (MQTT 5 §3.4.2.2.1).
    pub(crate) fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.u16(self.packet_id.get());
        out.u8(self.reason.into());
        if self.properties.is_empty() {
            return Ok(());
        }
        out.sized("properties", |out| self.properties.encode(out))
    }
}

/// What acknowledgements can say beside their reason codes (MQTT 5 §3.4.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AckProperties<'a> {
    /// For people to read.
    pub reason_string: Option<&'a str>,
    /// Without a meaning to MQTT.
    pub user_properties: UserProperties<'a>,
}

impl<'a> AckProperties<'a> {
    pub(crate) fn load(reader: &mut Reader<'a>, kind: Kind) -> Result<Self, DecodeError> {
        let mut section = Section::load(reader, kind.name())?;
        let mut p = Self::default();
        while let Some(property) = section.next()? {
            match property {
                Property::ReasonString(text) => section.once(&mut p.reason_string, text)?,
                _ => section.not_allowed()?,
            }
        }
        p.user_properties = section.user_properties();
        Ok(p)
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.property(self.reason_string.map(Property::ReasonString))?;
        self.user_properties.encode(out)
    }

    fn is_empty(&self) -> bool {
        self.reason_string.is_none() && self.user_properties.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{VERSIONS, check, check_decodes, check_refused, id};
    use crate::{Packet, UserPropertiesBuf};

    /// The first byte of each, the packet around an acknowledgement, and a failure each may carry.
    const KINDS: [(u8, Around, ReasonCode); 4] = [
        (0x40, |ack| Packet::Puback(ack), ReasonCode::QuotaExceeded),
        (0x50, |ack| Packet::Pubrec(ack), ReasonCode::QuotaExceeded),
        (0x62, |ack| Packet::Pubrel(ack), ReasonCode::PacketIdentifierNotFound),
        (0x70, |ack| Packet::Pubcomp(ack), ReasonCode::PacketIdentifierNotFound),
    ];

    type Around = fn(Ack<'_>) -> Packet<'_>;

    #[test]
    fn success_is_two_bytes() {
        for (first, packet, _) in KINDS {
            for version in VERSIONS {
                check(version, first, b"\x01\x02", &packet(Ack::new(id(0x0102), ReasonCode::Success)));
            }
        }
    }

    #[test]
    fn what_goes_without_saying_may_be_said() {
        // MQTT 5 §3.4.2.1
        for (first, packet, failure) in KINDS {
            let success = packet(Ack::new(id(7), ReasonCode::Success));
            check_decodes(Version::V5, first, b"\0\x07\x00", &success);
            check_decodes(Version::V5, first, b"\0\x07\x00\x00", &success);
            let failed = packet(Ack::new(id(7), failure));
            check(Version::V5, first, &[0, 7, failure.into()], &failed);
            check_decodes(Version::V5, first, &[0, 7, failure.into(), 0], &failed);
        }
    }

    #[test]
    fn properties_come_and_go() {
        let mut user_properties = UserPropertiesBuf::new();
        user_properties.push("k", "v").expect("short and plain");
        for (first, packet, _) in KINDS {
            let mut ack = Ack::new(id(7), ReasonCode::Success);
            ack.properties.user_properties = user_properties.as_ref();
            check(Version::V5, first, b"\0\x07\x00\x07\x26\0\x01k\0\x01v", &packet(ack.clone()));
            ack.properties.reason_string = Some("");
            check(Version::V5, first, b"\0\x07\x00\x0A\x1F\0\0\x26\0\x01k\0\x01v", &packet(ack.clone()));
            let mut out = Vec::new();
            packet(ack).encode(Version::V311, &mut out).expect("it has a form");
            assert_eq!(out, [first, 2, 0, 7], "older versions have no properties");
        }
    }

    #[test]
    fn what_is_not_an_acknowledgement_is_refused() {
        for (first, packet, _) in KINDS {
            let name = packet(Ack::new(id(7), ReasonCode::Success)).name();
            for version in VERSIONS {
                check_refused(version, first, b"", DecodeError::Truncated { field: "packet identifier" });
                check_refused(version, first, b"\x01", DecodeError::Truncated { field: "packet identifier" });
                check_refused(version, first, b"\0\0", DecodeError::PacketIdZero { packet: name });
            }
            check_refused(Version::V31, first, b"\0\x07\0", DecodeError::Trailing { packet: name, bytes: 1 });
            check_refused(Version::V311, first, b"\0\x07\0", DecodeError::Trailing { packet: name, bytes: 1 });
            for code in [0x01, 0x8E, 0xFF] {
                check_refused(Version::V5, first, &[0, 7, code], DecodeError::ReasonCode { packet: name, code });
            }
            check_refused(Version::V5, first, b"\0\x07\0\x01", DecodeError::Truncated { field: "properties" });
            check_refused(Version::V5, first, b"\0\x07\0\0x", DecodeError::Trailing { packet: name, bytes: 1 });
        }
    }

    #[test]
    fn a_code_of_another_acknowledgement_is_refused() {
        // [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
        for (first, name, code) in
            [(0x40, "PUBACK", 0x92), (0x50, "PUBREC", 0x92), (0x62, "PUBREL", 0x10), (0x70, "PUBCOMP", 0x80)]
        {
            check_refused(Version::V5, first, &[0, 7, code], DecodeError::ReasonCode { packet: name, code });
        }
    }
}
