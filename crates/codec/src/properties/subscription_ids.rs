//! Subscription identifiers of a message.

use std::fmt;

use super::{Property, decoded_before};
use crate::EncodeError;
use crate::writer::Writer;

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

    /// Those in a part of a section that has been decoded before.
    pub(super) fn of_part(part: &'a [u8]) -> Self {
        Self(Ids::Wire(part))
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
