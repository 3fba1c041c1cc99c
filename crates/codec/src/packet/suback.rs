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
