//! SUBSCRIBE.

use std::fmt;

use crate::properties::{Property, Section};
use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, EncodeError, PacketId, QoS, UserProperties, Version};

/// A client asks for messages (MQTT 5 §3.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// SUBACK repeats it.
    pub packet_id: PacketId,
    /// None before MQTT 5.
    pub properties: SubscribeProperties<'a>,
    /// At least one.
    pub filters: Subscribes<'a>,
}

impl<'a> Subscribe<'a> {
    pub(crate) fn load(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id("SUBSCRIBE")?;
        let properties =
            if version < Version::V5 { SubscribeProperties::default() } else { SubscribeProperties::load(reader)? };
        let filters = Subscribes::load(reader, version)?;
        Ok(Self { packet_id, properties, filters })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.u16(self.packet_id.get());
        if version >= Version::V5 {
            out.sized("properties", |out| self.properties.encode(out))?;
        }
        self.filters.encode(version, out)
    }
}

/// What MQTT 5 can say about all the subscriptions of one packet (§3.8.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscribeProperties<'a> {
    /// Messages for these subscriptions carry it; 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// Without a meaning to MQTT.
    pub user_properties: UserProperties<'a>,
}

impl<'a> SubscribeProperties<'a> {
    fn load(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut section = Section::load(reader, "SUBSCRIBE")?;
        let mut p = Self::default();
        while let Some(property) = section.next()? {
            match property {
                Property::SubscriptionId(id) => section.once(&mut p.subscription_id, id)?,
                _ => section.not_allowed()?,
            }
        }
        p.user_properties = section.user_properties();
        Ok(p)
    }

    fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.property(self.subscription_id.map(Property::SubscriptionId))?;
        self.user_properties.encode(out)
    }
}

/// The filters of a SUBSCRIBE, each with its options: still on the wire, or a list to send.
#[derive(Clone, Copy)]
pub struct Subscribes<'a>(Entries<'a>);

#[derive(Clone, Copy)]
enum Entries<'a> {
    /// Invariant: `bytes` hold `count` filters with their options, and nothing else.
    Wire {
        bytes: &'a [u8],
        count: usize,
    },
    List(&'a [SubscribeFilter<'a>]),
}

impl<'a> Subscribes<'a> {
    /// The filters in order; SUBACK answers in the same order.
    pub fn iter(&self) -> impl Iterator<Item = SubscribeFilter<'a>> + use<'a> {
        let (wire, list) = match self.0 {
            Entries::Wire { bytes, .. } => (bytes, &[][..]),
            Entries::List(list) => (&[][..], list),
        };
        let mut reader = Reader::new(wire);
        // The options of older versions are a part of those of MQTT 5, and were checked to be no more.
        let wire = std::iter::from_fn(move || SubscribeFilter::load(&mut reader, Version::V5).ok());
        wire.chain(list.iter().copied())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self.0 {
            Entries::Wire { count, .. } => count,
            Entries::List(list) => list.len(),
        }
    }

    /// Whether there is none, as in no SUBSCRIBE from a peer [MQTT-3.8.3-2].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn load(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let mut filters = *reader;
        let bytes = reader.rest();
        let mut count = 0;
        while !filters.is_empty() {
            SubscribeFilter::load(&mut filters, version)?;
            count += 1;
        }
        if count == 0 {
            Err(DecodeError::NoFilters { packet: "SUBSCRIBE" })
        } else {
            Ok(Self(Entries::Wire { bytes, count }))
        }
    }

    fn encode(&self, version: Version, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        self.iter().try_for_each(|entry| {
            out.text(entry.filter, "topic filter")?;
            out.u8(entry.options.byte(version));
            Ok(())
        })
    }
}

impl<'a> From<&'a [SubscribeFilter<'a>]> for Subscribes<'a> {
    fn from(list: &'a [SubscribeFilter<'a>]) -> Self {
        Self(Entries::List(list))
    }
}

impl PartialEq for Subscribes<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Subscribes<'_> {}

impl fmt::Debug for Subscribes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One subscription asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeFilter<'a> {
    /// Text, not empty; whether it is a topic filter is for [`TopicFilter`](crate::TopicFilter) to say.
    pub filter: &'a str,
    /// How messages for it are delivered.
    pub options: SubscriptionOptions,
}

impl<'a> SubscribeFilter<'a> {
    fn load(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let filter = reader.filter()?;
        let options = SubscriptionOptions::load(reader, version)?;
        Ok(Self { filter, options })
    }
}

/// How messages for one subscription are delivered (MQTT 5 §3.8.3.1). Before MQTT 5 there is only the QoS.
///
/// | bit | 7 6      | 5 4             | 3                   | 2        | 1 0 |
/// |-----|----------|-----------------|---------------------|----------|-----|
/// |     | reserved | retain handling | retain as published | no local | QoS |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SubscriptionOptions {
    /// The highest QoS wanted.
    pub qos: QoS,
    /// Not the client's own messages [MQTT-3.8.3-3].
    pub no_local: bool,
    /// Whether the RETAIN flag is passed on as it came [MQTT-3.3.1-13].
    pub retain_as_published: bool,
    /// Whether kept messages are sent at once.
    pub retain_handling: RetainHandling,
}

impl SubscriptionOptions {
    fn load(reader: &mut Reader<'_>, version: Version) -> Result<Self, DecodeError> {
        let options = reader.u8("subscription options")?;
        let reserved = if version < Version::V5 { 0b1111_1100 } else { 0b1100_0000 };
        if options & reserved != 0 {
            return Err(DecodeError::ReservedOptions { options });
        }
        let retain_handling = match options >> 4 {
            0 => RetainHandling::SendAtSubscribe,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(DecodeError::RetainHandling),
        };
        Ok(Self {
            qos: QoS::try_from(options & 0b11).map_err(|_| DecodeError::SubscribeQos)?,
            no_local: options & 0b0100 != 0,
            retain_as_published: options & 0b1000 != 0,
            retain_handling,
        })
    }

    fn byte(self, version: Version) -> u8 {
        if version < Version::V5 {
            return self.qos.into();
        }
        let handling = (self.retain_handling as u8) << 4;
        handling | u8::from(self.retain_as_published) << 3 | u8::from(self.no_local) << 2 | u8::from(self.qos)
    }
}

/// Whether subscribing brings the kept messages (MQTT 5 §3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// At each subscribe [MQTT-3.3.1-9].
    #[default]
    SendAtSubscribe = 0,
    /// If the subscription is new [MQTT-3.3.1-10].
    SendIfNew = 1,
    /// Never [MQTT-3.3.1-11].
    DoNotSend = 2,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{VERSIONS, check, check_refused, id};
    use crate::{Packet, UserPropertiesBuf};

    #[test]
    fn older_versions_ask_for_a_qos() {
        let filters = [filter("a", QoS::AtMostOnce), filter("b/#", QoS::AtLeastOnce), filter("+", QoS::ExactlyOnce)];
        for version in [Version::V31, Version::V311] {
            check(version, 0x82, b"\0\x07\0\x01a\0\0\x03b/#\x01\0\x01+\x02", &subscribe(&filters));
        }
    }

    #[test]
    fn mqtt_5_asks_for_more() {
        let mut user_properties = UserPropertiesBuf::new();
        user_properties.push("k", "v").expect("short and plain");
        let filters = [
            filter("a", QoS::AtMostOnce),
            SubscribeFilter {
                filter: "b",
                options: SubscriptionOptions {
                    qos: QoS::ExactlyOnce,
                    no_local: true,
                    retain_as_published: true,
                    retain_handling: RetainHandling::DoNotSend,
                },
            },
            SubscribeFilter {
                filter: "c",
                options: SubscriptionOptions { retain_handling: RetainHandling::SendIfNew, ..Default::default() },
            },
        ];
        let Packet::Subscribe(mut packet) = subscribe(&filters) else { unreachable!() };
        check(Version::V5, 0x82, b"\0\x07\0\0\x01a\x00\0\x01b\x2E\0\x01c\x10", &Packet::Subscribe(packet.clone()));
        packet.properties =
            SubscribeProperties { subscription_id: Some(268_435_455), user_properties: user_properties.as_ref() };
        let body = b"\0\x07\x0C\x0B\xFF\xFF\xFF\x7F\x26\0\x01k\0\x01v\0\x01a\x00\0\x01b\x2E\0\x01c\x10";
        check(Version::V5, 0x82, body, &Packet::Subscribe(packet.clone()));
        let mut out = Vec::new();
        Packet::Subscribe(packet).encode(Version::V311, &mut out).expect("it has a form");
        assert_eq!(out, b"\x82\x0E\0\x07\0\x01a\x00\0\x01b\x02\0\x01c\x00", "older versions have the QoS only");
    }

    #[test]
    fn filters_are_counted_and_read_from_the_wire() {
        let mut body = b"\0\x07".to_vec();
        for number in 0..1000 {
            body.extend_from_slice(&crate::testing::text(&format!("topic/{number}")));
            body.push(number as u8 % 3);
        }
        let frame = crate::testing::frame(0x82, &body);
        let Ok(Packet::Subscribe(packet)) = Packet::decode(Version::V311, &frame) else { panic!("a SUBSCRIBE") };
        assert_eq!((packet.filters.len(), packet.filters.is_empty()), (1000, false));
        for (number, entry) in packet.filters.iter().enumerate() {
            assert_eq!(entry.filter, format!("topic/{number}"));
            assert_eq!(u8::from(entry.options.qos), number as u8 % 3);
        }
    }

    #[test]
    fn a_filter_may_be_any_text() {
        let filters = [filter("a#", QoS::AtMostOnce), filter("$share/", QoS::AtMostOnce)];
        check(Version::V311, 0x82, b"\0\x07\0\x02a#\0\0\x07$share/\0", &subscribe(&filters));
    }

    #[test]
    fn a_request_names_a_filter() {
        // [MQTT-3.8.3-2]
        check_refused(Version::V311, 0x82, b"\0\x07", DecodeError::NoFilters { packet: "SUBSCRIBE" });
        check_refused(Version::V5, 0x82, b"\0\x07\0", DecodeError::NoFilters { packet: "SUBSCRIBE" });
        check_refused(Version::V5, 0x82, b"\0\x07", DecodeError::Truncated { field: "property length" });
        for version in VERSIONS {
            check_refused(version, 0x82, b"\0", DecodeError::Truncated { field: "packet identifier" });
            check_refused(version, 0x82, b"\0\0\0\0\x01a\0", DecodeError::PacketIdZero { packet: "SUBSCRIBE" });
        }
    }

    #[test]
    fn a_filter_is_text_with_options() {
        for (version, start) in [(Version::V31, &b"\0\x07"[..]), (Version::V311, b"\0\x07"), (Version::V5, b"\0\x07\0")]
        {
            let refused = |rest: &[u8], error| check_refused(version, 0x82, &[start, rest].concat(), error);
            refused(b"\0\x01a", DecodeError::Truncated { field: "subscription options" });
            refused(b"\0\x01a\0\0\x01b", DecodeError::Truncated { field: "subscription options" });
            refused(b"\0\x05a\0", DecodeError::Truncated { field: "topic filter" });
            refused(b"\0\0\0", DecodeError::EmptyTopic { field: "topic filter" });
            refused(b"\0\x01\0\0", DecodeError::Nul { field: "topic filter" });
            refused(b"\0\x02\xC3(\0", DecodeError::NotUtf8 { field: "topic filter" });
        }
    }

    #[test]
    fn options_are_in_range() {
        // [MQTT-3.8.3-5] [3.1.1 MQTT-3-8.3-4]
        for version in [Version::V31, Version::V311] {
            let refused = |options, error| check_refused(version, 0x82, &[0, 7, 0, 1, b'a', options], error);
            refused(0x03, DecodeError::SubscribeQos);
            refused(0x04, DecodeError::ReservedOptions { options: 0x04 });
            refused(0x10, DecodeError::ReservedOptions { options: 0x10 });
            refused(0x80, DecodeError::ReservedOptions { options: 0x80 });
        }
        let refused = |options, error| check_refused(Version::V5, 0x82, &[0, 7, 0, 0, 1, b'a', options], error);
        refused(0x03, DecodeError::SubscribeQos);
        refused(0x30, DecodeError::RetainHandling);
        refused(0x40, DecodeError::ReservedOptions { options: 0x40 });
        refused(0x80, DecodeError::ReservedOptions { options: 0x80 });
        refused(0xFF, DecodeError::ReservedOptions { options: 0xFF });
    }

    fn filter(filter: &str, qos: QoS) -> SubscribeFilter<'_> {
        SubscribeFilter { filter, options: SubscriptionOptions { qos, ..SubscriptionOptions::default() } }
    }

    fn subscribe<'a>(filters: &'a [SubscribeFilter<'a>]) -> Packet<'a> {
        let properties = SubscribeProperties::default();
        Packet::Subscribe(Subscribe { packet_id: id(7), properties, filters: filters.into() })
    }
}
