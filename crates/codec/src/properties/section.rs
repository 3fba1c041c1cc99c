//! The properties of one packet.

use super::{Property, SubscriptionIds, UserProperties, name};
use crate::DecodeError;
use crate::reader::Reader;

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
        UserProperties::of_part(self.users.of(self.whole))
    }

    /// All subscription identifiers, once `next` has come to the end.
    pub(crate) fn subscription_ids(&self) -> SubscriptionIds<'a> {
        SubscriptionIds::of_part(self.subscription_ids.of(self.whole))
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
