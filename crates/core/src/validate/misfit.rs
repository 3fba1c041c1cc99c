//! A value that does not fit, as a place in a text; told in words only when that is needed.

use std::borrow::Cow;

use super::refusal::{Refusal, RefusalKind, UNDECLARED, describe, pointer_to, pointer_token, quoted};
use crate::schema::{Attribute, Role, Scalar, Shape, Type};
use crate::value::Key;

/// A value that does not fit.
pub(super) struct Misfit<'p> {
    /// Where it begins; where the object begins that lacks one.
    pub(super) at: usize,
    pub(super) expected: Expected<'p>,
}

#[derive(Clone, Copy)]
pub(super) enum Expected<'p> {
    Type(&'p Type),
    /// The topic's.
    Key(&'p Key<'p>),
    Instant,
    /// Nothing: the attribute is not stored.
    NotStored(&'p Role),
    /// Nothing: the type is sealed.
    Declared {
        type_name: &'p str,
    },
    /// A required attribute.
    Attribute(&'p Attribute),
}

impl Misfit<'_> {
    pub(super) fn refusal(&self, text: &str) -> Refusal {
        let kind = match self.expected {
            Expected::Key(_) => RefusalKind::Key,
            _ => RefusalKind::Attribute,
        };
        let pointer = pointer_to(text, self.at);
        if let Expected::Attribute(missing) = self.expected {
            return Refusal::new(kind, pointer + &pointer_token(&missing.name), missing.ty.to_string(), "nothing");
        }
        let found = describe(&text[self.at..]);
        Refusal::new(kind, pointer, self.expected.words(&found), found)
    }
}

impl Expected<'_> {
    /// With a hint where the name of a type alone would not explain the refusal of `found`.
    fn words(self, found: &str) -> Cow<'static, str> {
        match self {
            Self::Type(ty) | Self::Attribute(Attribute { ty, .. }) => match hint(ty, found) {
                Some(hint) => Cow::Owned(format!("{ty} ({hint})")),
                None => Cow::Owned(ty.to_string()),
            },
            Self::Key(Key::Number(number)) => Cow::Owned(format!("{number} as in the topic")),
            Self::Key(Key::Text(text)) => Cow::Owned(format!("{} as in the topic", quoted(text))),
            Self::Instant => Cow::Borrowed("epoch milliseconds or a date"),
            Self::NotStored(Role::Computed { .. }) => Cow::Borrowed("nothing (it is computed)"),
            Self::NotStored(_) => Cow::Borrowed("nothing (it is a relationship)"),
            Self::Declared { type_name } => Cow::Owned(format!("nothing (`{type_name}` is sealed and {UNDECLARED})")),
        }
    }
}

fn hint(ty: &Type, found: &str) -> Option<&'static str> {
    let is_number = found.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    match ty.shape {
        Shape::Scalar(Scalar::Int) if is_number => Some("a whole number of 32 bits"),
        Shape::Scalar(Scalar::Long) if is_number => Some("a whole number within ±2^53"),
        Shape::Scalar(Scalar::BigInt) if is_number => Some("a whole number"),
        Shape::Scalar(Scalar::Float) if is_number => Some("a number a double can hold"),
        Shape::Scalar(Scalar::Date) => Some("ISO 8601 text or epoch milliseconds"),
        Shape::Scalar(Scalar::Bytes) => Some("base64 text"),
        _ => None,
    }
}
