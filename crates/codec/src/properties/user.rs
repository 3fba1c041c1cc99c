//! User properties.

use std::fmt;

use super::{Property, decoded_before};
use crate::EncodeError;
use crate::writer::Writer;

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

    /// Those in a part of a section that keeps the invariant.
    pub(super) fn of_part(part: &'a [u8]) -> Self {
        Self { part }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_properties_are_pushed_if_they_can_be_sent() {
        let mut buffer = UserPropertiesBuf::new();
        assert!(buffer.as_ref().is_empty());
        assert_eq!(buffer.push("a", "1"), Ok(()));
        let long = "x".repeat(65_536);
        let error = EncodeError::FieldTooLong { field: "user property value", bytes: 65_536 };
        assert_eq!(buffer.push("b", &long), Err(error));
        assert_eq!(buffer.push("\0", "c"), Err(EncodeError::Nul { field: "user property name" }));
        assert_eq!(buffer.push("a", "2"), Ok(()));
        assert_eq!(buffer.as_ref().iter().collect::<Vec<_>>(), [("a", "1"), ("a", "2")]);
        assert_eq!(format!("{:?}", buffer.as_ref()), r#"[("a", "1"), ("a", "2")]"#);
    }
}
