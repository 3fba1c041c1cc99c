//! The properties of MQTT 5 (§2.2.2): one table of what each looks like on the wire.
//!
//! Which packet has which is said by the packets; each collects its own from a [`Section`].

use std::fmt;

use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, EncodeError, QoS, Secret};

/// One property and its value (MQTT 5 §2.2.2.2, table 2-4).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Property<'a> {
    PayloadFormat(u8),
    MessageExpiry(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    SubscriptionId(u32),
    SessionExpiry(u32),
    AssignedClientId(&'a str),
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(Secret<'a>),
    RequestProblemInformation(bool),
    WillDelay(u32),
    RequestResponseInformation(bool),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQoS(QoS),
    RetainAvailable(bool),
    User(&'a str, &'a str),
    MaximumPacketSize(u32),
    WildcardAvailable(bool),
    SubscriptionIdsAvailable(bool),
    SharedAvailable(bool),
}

impl<'a> Property<'a> {
    /// Takes one property, and checks everything about it but whether its packet may have it.
    fn load(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let id = reader.varint("property identifier")?;
        let name = name(id);
        Ok(match id {
            0x01 => Self::PayloadFormat(in_range(reader.u8(name)?, |value| value <= 1, name)?),
            0x02 => Self::MessageExpiry(reader.u32(name)?),
            0x03 => Self::ContentType(reader.text(name)?),
            0x08 => Self::ResponseTopic(reader.topic_not_empty(name)?),
            0x09 => Self::CorrelationData(reader.binary(name)?),
            0x0B => Self::SubscriptionId(in_range(reader.varint(name)?, |value| value > 0, name)?),
            0x11 => Self::SessionExpiry(reader.u32(name)?),
            0x12 => Self::AssignedClientId(reader.text(name)?),
            0x13 => Self::ServerKeepAlive(reader.u16(name)?),
            0x15 => Self::AuthenticationMethod(reader.text(name)?),
            0x16 => Self::AuthenticationData(Secret(reader.binary(name)?)),
            0x17 => Self::RequestProblemInformation(flag(reader, name)?),
            0x18 => Self::WillDelay(reader.u32(name)?),
            0x19 => Self::RequestResponseInformation(flag(reader, name)?),
            0x1A => Self::ResponseInformation(reader.text(name)?),
            0x1C => Self::ServerReference(reader.text(name)?),
            0x1F => Self::ReasonString(reader.text(name)?),
            0x21 => Self::ReceiveMaximum(in_range(reader.u16(name)?, |value| value > 0, name)?),
            0x22 => Self::TopicAliasMaximum(reader.u16(name)?),
            0x23 => match reader.u16(name)? {
                0 => return Err(DecodeError::TopicAliasZero),
                alias => Self::TopicAlias(alias),
            },
            0x24 if flag(reader, name)? => Self::MaximumQoS(QoS::AtLeastOnce),
            0x24 => Self::MaximumQoS(QoS::AtMostOnce),
            0x25 => Self::RetainAvailable(flag(reader, name)?),
            0x26 => Self::User(reader.text("user property name")?, reader.text("user property value")?),
            0x27 => Self::MaximumPacketSize(in_range(reader.u32(name)?, |value| value > 0, name)?),
            0x28 => Self::WildcardAvailable(flag(reader, name)?),
            0x29 => Self::SubscriptionIdsAvailable(flag(reader, name)?),
            0x2A => Self::SharedAvailable(flag(reader, name)?),
            _ => return Err(DecodeError::UnknownProperty { id }),
        })
    }

    pub(crate) fn encode(self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        let id = self.id();
        let name = name(id.into());
        out.u8(id);
        match self {
            Self::PayloadFormat(byte) => out.u8(byte),
            Self::MaximumQoS(qos) => out.u8(qos.into()),
            Self::RequestProblemInformation(flag)
            | Self::RequestResponseInformation(flag)
            | Self::RetainAvailable(flag)
            | Self::WildcardAvailable(flag)
            | Self::SubscriptionIdsAvailable(flag)
            | Self::SharedAvailable(flag) => out.u8(flag.into()),
            Self::ServerKeepAlive(number)
            | Self::ReceiveMaximum(number)
            | Self::TopicAliasMaximum(number)
            | Self::TopicAlias(number) => out.u16(number),
            Self::MessageExpiry(number)
            | Self::SessionExpiry(number)
            | Self::WillDelay(number)
            | Self::MaximumPacketSize(number) => out.u32(number),
            Self::SubscriptionId(number) => out.varint(number, name)?,
            Self::ContentType(text)
            | Self::ResponseTopic(text)
            | Self::AssignedClientId(text)
            | Self::AuthenticationMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => out.text(text, name)?,
            Self::CorrelationData(bytes) => out.binary(bytes, name)?,
            Self::AuthenticationData(secret) => out.binary(secret.0, name)?,
            Self::User(name, value) => {
                out.text(name, "user property name")?;
                out.text(value, "user property value")?;
            }
        }
        Ok(())
    }

    fn id(self) -> u8 {
        match self {
            Self::PayloadFormat(_) => 0x01,
            Self::MessageExpiry(_) => 0x02,
            Self::ContentType(_) => 0x03,
            Self::ResponseTopic(_) => 0x08,
            Self::CorrelationData(_) => 0x09,
            Self::SubscriptionId(_) => 0x0B,
            Self::SessionExpiry(_) => 0x11,
            Self::AssignedClientId(_) => 0x12,
            Self::ServerKeepAlive(_) => 0x13,
            Self::AuthenticationMethod(_) => 0x15,
            Self::AuthenticationData(_) => 0x16,
            Self::RequestProblemInformation(_) => 0x17,
            Self::WillDelay(_) => 0x18,
            Self::RequestResponseInformation(_) => 0x19,
            Self::ResponseInformation(_) => 0x1A,
            Self::ServerReference(_) => 0x1C,
            Self::ReasonString(_) => 0x1F,
            Self::ReceiveMaximum(_) => 0x21,
            Self::TopicAliasMaximum(_) => 0x22,
            Self::TopicAlias(_) => 0x23,
            Self::MaximumQoS(_) => 0x24,
            Self::RetainAvailable(_) => 0x25,
            Self::User(..) => 0x26,
            Self::MaximumPacketSize(_) => 0x27,
            Self::WildcardAvailable(_) => 0x28,
            Self::SubscriptionIdsAvailable(_) => 0x29,
            Self::SharedAvailable(_) => 0x2A,
        }
    }
}

/// The specification's name of the property with this identifier.
fn name(id: u32) -> &'static str {
    match id {
        0x01 => "Payload Format Indicator",
        0x02 => "Message Expiry Interval",
        0x03 => "Content Type",
        0x08 => "Response Topic",
        0x09 => "Correlation Data",
        0x0B => "Subscription Identifier",
        0x11 => "Session Expiry Interval",
        0x12 => "Assigned Client Identifier",
        0x13 => "Server Keep Alive",
        0x15 => "Authentication Method",
        0x16 => "Authentication Data",
        0x17 => "Request Problem Information",
        0x18 => "Will Delay Interval",
        0x19 => "Request Response Information",
        0x1A => "Response Information",
        0x1C => "Server Reference",
        0x1F => "Reason String",
        0x21 => "Receive Maximum",
        0x22 => "Topic Alias Maximum",
        0x23 => "Topic Alias",
        0x24 => "Maximum QoS",
        0x25 => "Retain Available",
        0x26 => "User Property",
        0x27 => "Maximum Packet Size",
        0x28 => "Wildcard Subscription Available",
        0x29 => "Subscription Identifiers Available",
        0x2A => "Shared Subscription Available",
        _ => "unknown property",
    }
}

fn in_range<T: Copy + Into<u32>>(
    value: T,
    range: impl FnOnce(T) -> bool,
    property: &'static str,
) -> Result<T, DecodeError> {
    if range(value) { Ok(value) } else { Err(DecodeError::PropertyValue { property, value: value.into() }) }
}

/// A byte that is 0 or 1.
fn flag(reader: &mut Reader<'_>, property: &'static str) -> Result<bool, DecodeError> {
    Ok(in_range(reader.u8(property)?, |value| value <= 1, property)? == 1)
}

/// The properties of one packet, taken one after the other.
///
/// User properties and subscription identifiers may be many, so they are not handed out but remembered as the part
/// of the section that contains them all; [`UserProperties`] and [`SubscriptionIds`] read that part again.
pub(crate) struct Section<'a> {
    packet: &'static str,
    whole: &'a [u8],
    reader: Reader<'a>,
    property: &'static str, // The one handed out last.
    users: Part,
    subscription_ids: Part,
}

impl<'a> Section<'a> {
    /// Takes the section, which begins with its length, from `reader`.
    #[inline]
    pub(crate) fn load(reader: &mut Reader<'a>, packet: &'static str) -> Result<Self, DecodeError> {
        let length = reader.varint("property length")?;
        Ok(Self::new(reader.bytes(length as usize, "properties")?, packet))
    }

    /// A section without the length before it.
    #[inline]
    pub(crate) fn new(whole: &'a [u8], packet: &'static str) -> Self {
        let reader = Reader::new(whole);
        Self { packet, whole, reader, property: "", users: Part::default(), subscription_ids: Part::default() }
    }

    /// Whether there is no property at all.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.whole.is_empty()
    }

    /// The next property other than a user property, which every packet may have; `None` after the last.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Property<'a>>, DecodeError> {
        while !self.reader.is_empty() {
            let start = self.at();
            let property = Property::load(&mut self.reader)?;
            match property {
                Property::User(..) => self.users.extend(start, self.at()),
                _ => {
                    self.property = name(property.id().into());
                    if matches!(property, Property::SubscriptionId(_)) {
                        self.subscription_ids.extend(start, self.at());
                    }
                    return Ok(Some(property));
                }
            }
        }
        Ok(None)
    }

    /// Puts the value of the property handed out last into its place, and refuses a second one.
    pub(crate) fn once<T>(&self, place: &mut Option<T>, value: T) -> Result<(), DecodeError> {
        if place.replace(value).is_some() {
            return Err(DecodeError::DuplicateProperty { property: self.property, packet: self.packet });
        }
        Ok(())
    }

    /// Refuses the property handed out last: it belongs to other packets.
    pub(crate) fn not_allowed<T>(&self) -> Result<T, DecodeError> {
        Err(DecodeError::PropertyNotAllowed { property: self.property, packet: self.packet })
    }

    /// All user properties, once `next` has come to the end.
    pub(crate) fn user_properties(&self) -> UserProperties<'a> {
        UserProperties { part: self.users.of(self.whole) }
    }

    /// All subscription identifiers, once `next` has come to the end.
    pub(crate) fn subscription_ids(&self) -> SubscriptionIds<'a> {
        SubscriptionIds(Ids::Wire(self.subscription_ids.of(self.whole)))
    }

    fn at(&self) -> usize {
        self.whole.len() - self.reader.len()
    }
}

/// From the first to the last of some properties, in bytes of the section.
#[derive(Clone, Copy, Default)]
struct Part {
    start: usize,
    end: usize,
}

impl Part {
    fn extend(&mut self, start: usize, end: usize) {
        if self.end == 0 {
            self.start = start;
        }
        self.end = end;
    }

    fn of(self, whole: &[u8]) -> &[u8] {
        &whole[self.start..self.end]
    }
}

/// The properties in a part of a section that has been decoded before.
fn decoded_before(part: &[u8]) -> impl Iterator<Item = Property<'_>> {
    let mut reader = Reader::new(part);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let property = Property::load(&mut reader);
        debug_assert!(property.is_ok(), "decoded before: {property:?}");
        property.ok()
    })
}

/// Pairs of names and values that MQTT gives no meaning to, in the order they came in (MQTT 5 §3.3.2.3.7).
/// A name may be there more than once.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a> {
    /// Invariant: decodes without a fault; empty, or begins with a user property. Others may stand between them.
    part: &'a [u8],
}

impl<'a> UserProperties<'a> {
    /// The pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        decoded_before(self.part).filter_map(|property| match property {
            Property::User(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.part.is_empty()
    }

    /// The value of the first pair with this name.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter().find_map(|(other, value)| (other == name).then_some(value))
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        self.iter().try_for_each(|(name, value)| Property::User(name, value).encode(out))
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// User properties to send.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserPropertiesBuf(Vec<u8>); // As on the wire, without the length of a section.

impl UserPropertiesBuf {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pair at the end. Fails, and adds nothing, if the name or the value is longer than 65,535 bytes or
    /// contains U+0000.
    pub fn push(&mut self, name: &str, value: &str) -> Result<(), EncodeError> {
        let before = self.0.len();
        let pushed = Property::User(name, value).encode(&mut Writer::new(&mut self.0));
        if pushed.is_err() {
            self.0.truncate(before);
        }
        pushed
    }

    /// The pairs pushed so far.
    pub fn as_ref(&self) -> UserProperties<'_> {
        UserProperties { part: &self.0 }
    }
}

/// The identifiers of the subscriptions a PUBLISH was sent for (MQTT 5 §3.3.2.3.8).
#[derive(Clone, Copy)]
pub struct SubscriptionIds<'a>(Ids<'a>);

#[derive(Clone, Copy)]
enum Ids<'a> {
    /// Decodes without a fault; empty, or begins with a subscription identifier.
    Wire(&'a [u8]),
    List(&'a [u32]),
}

impl<'a> SubscriptionIds<'a> {
    /// The identifiers in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        let (wire, list) = match self.0 {
            Ids::Wire(part) => (part, &[][..]),
            Ids::List(list) => (&[][..], list),
        };
        let wire = decoded_before(wire).filter_map(|property| match property {
            Property::SubscriptionId(id) => Some(id),
            _ => None,
        });
        wire.chain(list.iter().copied())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        match self.0 {
            Ids::Wire(part) => part.is_empty(),
            Ids::List(list) => list.is_empty(),
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        self.iter().try_for_each(|id| Property::SubscriptionId(id).encode(out))
    }
}

impl Default for SubscriptionIds<'_> {
    fn default() -> Self {
        Self(Ids::List(&[]))
    }
}

impl<'a> From<&'a [u32]> for SubscriptionIds<'a> {
    /// Each must be 1 to 268,435,455 (MQTT 5 §3.8.2.1.2).
    fn from(ids: &'a [u32]) -> Self {
        Self(Ids::List(ids))
    }
}

impl PartialEq for SubscriptionIds<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscriptionIds<'_> {}

impl fmt::Debug for SubscriptionIds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
