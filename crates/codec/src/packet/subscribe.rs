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
