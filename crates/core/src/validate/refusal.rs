//! Why a payload is refused, in words for the client that sent it.

use std::borrow::Cow;
use std::fmt;

use super::attribute;
use crate::schema::Table;
use crate::value::KeyError;
use crate::value::json::{Fault, Kind, Scanner, Text, write_string};

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
    /// The key inside is not the topic's, or not a key.
    Key,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            write!(f, "payload: expected {}{FOUND}{}", self.expected, self.found)
        } else {
            write!(f, "attribute `{}`: expected {}{FOUND}{}", self.attribute(), self.expected, self.found)
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    pub(super) fn new(
        kind: RefusalKind,
        pointer: String,
        expected: impl Into<Cow<'static, str>>,
        found: impl Into<String>,
    ) -> Self {
        Self { kind, pointer, expected: expected.into(), found: found.into() }
    }

    /// The attribute as people write it: `address.street`, `tags[2]`; shortened if it is very long.
    pub fn attribute(&self) -> String {
        let mut name = String::new();
        for token in self.pointer.split('/').skip(1) {
            if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() {
                name.push_str(&format!("[{token}]"));
            } else {
                name.push_str(if name.is_empty() { "" } else { "." });
                name.push_str(&unescaped(token));
            }
        }
        shorten(&name, ATTRIBUTE_CHARS_MAX).into_owned()
    }

    /// The attribute of the record in which the mistake is; `None`: it is in the payload as a whole.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.pointer.split('/').nth(1).map(unescaped)
    }

    /// Whether what is refused is in `patch` itself, not in what it is laid onto.
    #[must_use]
    pub fn is_of(&self, patch: &[u8]) -> bool {
        let mut value = patch.trim_ascii_start();
        for token in self.pointer.split('/').skip(1) {
            if value.first() != Some(&b'{') {
                return true; // It takes the place of what was there.
            }
            let Some(member) = attribute(value, &unescaped(token)) else { return false };
            value = member.as_bytes();
        }
        true
    }

    /// The same without a word of what is there: for whoever may not see it.
    #[must_use]
    pub fn veiled(self) -> Self {
        let expected = "a record that fits its type with what may not be seen here";
        Self::new(self.kind, String::new(), expected, "one that does not")
    }

    /// The payload is not JSON.
    pub(super) fn of_syntax(payload: &[u8], fault: Fault) -> Self {
        let expected = match fault.expected {
            "a JSON value" if fault.at == 0 => Cow::Borrowed("a JSON object"),
            expected => Cow::Owned(format!("{expected} at byte {}", fault.at)),
        };
        let rest = String::from_utf8_lossy(&payload[fault.at..payload.len().min(fault.at + 4 * SYNTAX_CHARS_MAX)]);
        let found = match rest.chars().next() {
            None => "nothing".to_owned(),
            Some('\u{feff}') => "U+FEFF".to_owned(),
            Some(first) if first.is_control() => format!("U+{:04X}", u32::from(first)),
            Some(_) => format!("`{}`", shorten(&rest, SYNTAX_CHARS_MAX)),
        };
        Self::new(RefusalKind::Syntax, String::new(), expected, found)
    }

    /// The payload is not CBOR or MessagePack, or holds what JSON cannot.
    pub(super) fn of_bytes(payload: &[u8], fault: Fault) -> Self {
        let expected = format!("{} at byte {}", fault.expected, fault.at);
        let found = payload.get(fault.at).map_or_else(|| "nothing".to_owned(), |byte| format!("0x{byte:02x}"));
        Self::new(RefusalKind::Syntax, String::new(), expected, found)
    }

    /// `value` is no key of the table.
    pub(super) fn of_key(table: &Table, value: &str, error: KeyError) -> Self {
        let expected = match error {
            KeyError::NotOfType { expected } => expected.to_string(),
            other => format!("a key, but {other}"),
        };
        Self::new(RefusalKind::Key, pointer_token(&table.key.name), expected, describe(value))
    }
}

/// What of a refusal's words an operator may read: nothing of what the client sent is left in it.
pub fn outline(words: &str) -> &str {
    if words.contains(UNDECLARED) {
        return "payload: expected no attribute that its type does not declare";
    }
    words.split_once(FOUND).map_or(words, |(outline, _)| outline)
}

/// What stands before what the client sent.
const FOUND: &str = ", found ";
/// Of an attribute whose name is the client's.
pub(super) const UNDECLARED: &str = "declares no such attribute";

/// A JSON value in a few words. Only the beginning of `json` may be it.
pub(super) fn describe(json: &str) -> String {
    let mut scanner = Scanner::of_value(json);
    match scanner.kind() {
        Ok(Kind::Object) => "an object".to_owned(),
        Ok(Kind::Array) => "an array".to_owned(),
        Ok(_) => {
            let value = scanner.value(&mut ()).unwrap_or_default();
            let mut short = shorten(value, FOUND_CHARS_MAX).into_owned();
            if short.len() < value.len() && short.starts_with('"') {
                short.push('"');
            }
            short
        }
        Err(_) => "nothing".to_owned(),
    }
}

/// The JSON pointer to the value that begins at byte `target` of `document`.
pub(super) fn pointer_to(document: &str, target: usize) -> String {
    let mut path = Vec::new();
    walk_to(&mut Scanner::of_value(document), target, &mut path);
    path.iter().map(Step::token).collect()
}

enum Step<'t> {
    Name(Text<'t>),
    Place(usize),
}

/// Walks on to `target`, `path` leading to where we are; `None` at the end of a value that does not hold it.
fn walk_to<'t>(scanner: &mut Scanner<'t>, target: usize, path: &mut Vec<Step<'t>>) -> Option<()> {
    let kind = scanner.kind().ok()?;
    if scanner.at() == target {
        return Some(());
    }
    match kind {
        Kind::Object => {
            let mut elements = scanner.open().ok()?;
            while let Some((_, name)) = scanner.next_member(&mut elements).ok()? {
                path.push(Step::Name(name));
                if walk_to(scanner, target, path).is_some() {
                    return Some(());
                }
                path.pop();
            }
        }
        Kind::Array => {
            let mut elements = scanner.open().ok()?;
            let mut place = 0;
            while scanner.next_item(&mut elements).ok()? {
                path.push(Step::Place(place));
                if walk_to(scanner, target, path).is_some() {
                    return Some(());
                }
                path.pop();
                place += 1;
            }
        }
        _ => drop(scanner.value(&mut ())),
    }
    None
}

impl Step<'_> {
    fn token(&self) -> String {
        match self {
            Self::Name(name) => pointer_token(&name.unescaped()),
            Self::Place(place) => format!("/{place}"),
        }
    }
}

/// What one step of a JSON pointer names.
fn unescaped(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// One step of a JSON pointer.
pub(super) fn pointer_token(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// `text` in JSON's quotes, shortened.
pub(super) fn quoted(text: &str) -> String {
    let mut json = String::new();
    write_string(&shorten(text, FOUND_CHARS_MAX), &mut json);
    json
}

fn shorten(text: &str, chars_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// What a client sent is repeated to it up to here.
const FOUND_CHARS_MAX: usize = 40;
/// Where the syntax is at fault, a little is enough.
const SYNTAX_CHARS_MAX: usize = 16;
/// A path may have 64 names of any length.
const ATTRIBUTE_CHARS_MAX: usize = 120;
