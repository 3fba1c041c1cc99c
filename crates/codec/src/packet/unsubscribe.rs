//! UNSUBSCRIBE.

use std::fmt;

use crate::properties::Section;
use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, EncodeError, PacketId, UserProperties, Version};

/// A client asks for messages no more (MQTT 5 §3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// UNSUBACK repeats it.
    pub packet_id: PacketId,
    /// The only properties of an UNSUBSCRIBE. None before MQTT 5.
    pub user_properties: UserProperties<'a>,
    /// At least one.
    pub filters: Filters<'a>,
}

impl<'a> Unsubscribe<'a> {
    pub(crate) fn load(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id("UNSUBSCRIBE")?;
        let user_properties = if version < Version::V5 { UserProperties::default() } else { load_properties(reader)? };
        let filters = Filters::load(reader)?;
        Ok(Self { packet_id, user_properties, filters })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.u16(self.packet_id.get());
        if version >= Version::V5 {
            out.sized("properties", |out| self.user_properties.encode(out))?;
        }
        self.filters.iter().try_for_each(|filter| out.text(filter, "topic filter"))
    }
}

fn load_properties<'a>(reader: &mut Reader<'a>) -> Result<UserProperties<'a>, DecodeError> {
    let mut section = Section::load(reader, "UNSUBSCRIBE")?;
    if section.next()?.is_some() {
        section.not_allowed()?;
    }
    Ok(section.user_properties())
}

/// The filters of an UNSUBSCRIBE: still on the wire, or a list to send.
#[derive(Clone, Copy)]
pub struct Filters<'a>(Entries<'a>);

#[derive(Clone, Copy)]
enum Entries<'a> {
    /// Invariant: `bytes` hold `count` filters and nothing else.
    Wire {
        bytes: &'a [u8],
        count: usize,
    },
    List(&'a [&'a str]),
}

impl<'a> Filters<'a> {
    /// The filters in order; UNSUBACK answers in the same order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (wire, list) = match self.0 {
            Entries::Wire { bytes, .. } => (bytes, &[][..]),
            Entries::List(list) => (&[][..], list),
        };
        let mut reader = Reader::new(wire);
        std::iter::from_fn(move || reader.filter().ok()).chain(list.iter().copied())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self.0 {
            Entries::Wire { count, .. } => count,
            Entries::List(list) => list.len(),
        }
    }

    /// Whether there is none, as in no UNSUBSCRIBE from a peer [MQTT-3.10.3-2].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn load(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut filters = *reader;
        let bytes = reader.rest();
        let mut count = 0;
        while !filters.is_empty() {
            filters.filter()?;
            count += 1;
        }
        if count == 0 {
            Err(DecodeError::NoFilters { packet: "UNSUBSCRIBE" })
        } else {
            Ok(Self(Entries::Wire { bytes, count }))
        }
    }
}

impl<'a> From<&'a [&'a str]> for Filters<'a> {
    fn from(list: &'a [&'a str]) -> Self {
        Self(Entries::List(list))
    }
}

impl PartialEq for Filters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Filters<'_> {}

impl fmt::Debug for Filters<'_> {
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
    fn filters_follow_the_identifier() {
        let mut user_properties = UserPropertiesBuf::new();
        user_properties.push("k", "v").expect("short and plain");
        let filters = ["a", "b/#"];
        let mut packet =
            Unsubscribe { packet_id: id(7), user_properties: UserProperties::default(), filters: filters[..].into() };
        for version in [Version::V31, Version::V311] {
            check(version, 0xA2, b"\0\x07\0\x01a\0\x03b/#", &Packet::Unsubscribe(packet.clone()));
        }
        check(Version::V5, 0xA2, b"\0\x07\0\0\x01a\0\x03b/#", &Packet::Unsubscribe(packet.clone()));
        packet.user_properties = user_properties.as_ref();
        check(Version::V5, 0xA2, b"\0\x07\x07\x26\0\x01k\0\x01v\0\x01a\0\x03b/#", &Packet::Unsubscribe(packet));
    }

    #[test]
    fn what_is_not_a_request_is_refused() {
        // [MQTT-3.10.3-1], [MQTT-3.10.3-2]
        check_refused(Version::V311, 0xA2, b"\0\x07", DecodeError::NoFilters { packet: "UNSUBSCRIBE" });
        check_refused(Version::V5, 0xA2, b"\0\x07\0", DecodeError::NoFilters { packet: "UNSUBSCRIBE" });
        check_refused(Version::V5, 0xA2, b"\0\x07", DecodeError::Truncated { field: "property length" });
        for version in VERSIONS {
            check_refused(version, 0xA2, b"\0\0\0\0\x01a", DecodeError::PacketIdZero { packet: "UNSUBSCRIBE" });
            check_refused(version, 0xA2, b"\0", DecodeError::Truncated { field: "packet identifier" });
        }
        for (version, start) in [(Version::V311, &b"\0\x07"[..]), (Version::V5, b"\0\x07\0")] {
            let refused = |rest: &[u8], error| check_refused(version, 0xA2, &[start, rest].concat(), error);
            refused(b"\0\x02a", DecodeError::Truncated { field: "topic filter" });
            refused(b"\0\x01a\0", DecodeError::Truncated { field: "topic filter" });
            refused(b"\0\0", DecodeError::EmptyTopic { field: "topic filter" });
            refused(b"\0\x01\xFF", DecodeError::NotUtf8 { field: "topic filter" });
            refused(b"\0\x01\0", DecodeError::Nul { field: "topic filter" });
        }
    }
}
