//! Why a payload is refused, in words for the client that sent it.

use std::borrow::Cow;
use std::fmt;

/// A payload that does not fit its table. Displayed as a client reads it, in an MQTT reason string or an HTTP
/// problem: ``attribute `age`: expected Int, found "old"``.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// What sort of mistake it is.
    pub kind: RefusalKind,
    /// Where, as a JSON pointer (RFC 6901); empty for the payload as a whole.
    pub pointer: String,
    /// What would have been accepted.
    pub expected: Cow<'static, str>,
    /// What was there instead, shortened.
    pub found: String,
}

/// The sorts of refusal a protocol may answer differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalKind {
    /// The content type is not one a table takes (HTTP 415).
    MediaType,
    /// The bytes are not a document of that content type, or nest too deep.
    Syntax,
    /// A value does not fit its attribute, or an attribute is missing or not declared.
    Attribute,
    /// The key inside is not the topic's.
    Key,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            write!(f, "payload: expected {}, found {}", self.expected, self.found)
        } else {
            write!(f, "attribute `{}`: expected {}, found {}", self.attribute(), self.expected, self.found)
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// The attribute as people write it: `address.street`, `tags[2]`.
    pub fn attribute(&self) -> String {
        let mut name = String::new();
        for token in self.pointer.split('/').skip(1) {
            if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit()) {
                name.push_str(&format!("[{token}]"));
            } else {
                name.push_str(if name.is_empty() { "" } else { "." });
                name.push_str(&token.replace("~1", "/").replace("~0", "~"));
            }
        }
        name
    }
}
