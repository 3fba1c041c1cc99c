//! Whether a payload fits its table, and the document kept if it does.
//!
//! A table without attributes takes any payload, byte for byte. A table with attributes takes objects, and keeps
//! them as JSON, whatever [`Format`] they were sent in: as sent wherever that already is the form to be kept, which is the common case and costs one pass
//! and no allocation. What may have to change:
//!
//! | attribute      | accepted                                        | kept as                                      |
//! |----------------|-------------------------------------------------|----------------------------------------------|
//! | the key        | a string or a number that is the topic's key    | text, or a number where keys are numbers     |
//! | `ID`           | strings, whole numbers                          | a string                                     |
//! | `String`       | strings                                         | as sent                                      |
//! | `Int`, `Long`  | numbers that are whole and in range, also `5.0` | digits                                       |
//! | `BigInt`       | whole numbers of any size, also as text         | a number with all its digits                 |
//! | `Float`        | numbers a double can hold                       | as sent, with all its digits                 |
//! | `Boolean`      | `true`, `false`                                 | as sent                                      |
//! | `Date`         | ISO 8601 text, whole epoch milliseconds         | `"2026-02-03T04:05:06.789Z"`                 |
//! | `Bytes`        | base64 text, either alphabet, padded or not     | standard base64, padded                      |
//! | `Any`          | any value                                       | as sent                                      |
//! | `[T]`          | arrays of what `T` accepts                      | item by item                                 |
//! | a nested type  | objects that fit it                             | attribute by attribute                       |
//!
//! Everything may be `null` or missing that is not required (`T!`); numbers and booleans in quotes are text.
//! A missing (or `null`) key is put in front, and what the server sets (`@createdTime`, `@updatedTime`) behind, or in
//! place of what was sent. Other attributes are kept as sent, or refused if the type is sealed. Of a name that comes
//! twice in one object, at any depth, the last wins, and the others are removed.

mod accept;
mod edits;
mod format;
mod misfit;
mod pass;
mod patch;
mod refusal;
mod scalar;
#[cfg(test)]
mod tests;

pub use accept::MediaRange;
pub use format::Format;
pub use patch::merge_patch;
pub use refusal::{Refusal, RefusalKind, outline};

use std::borrow::Cow;

use crate::record::Record;
use crate::schema::{Role, Table};
use crate::value::json::Scanner;
use crate::value::{Key, date, number};
use pass::{Pass, Scratch};

/// Checks payloads. Keeps scratch space from one to the next, so one per thread.
#[derive(Debug, Default)]
pub struct Validator {
    scratch: Scratch,
}

/// A payload as it is stored and delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normalized<'p> {
    /// The payload of an untyped table as sent; a JSON document otherwise, borrowed when nothing had to change.
    pub payload: Cow<'p, [u8]>,
    /// What the attribute with `@expiresAt` says, in epoch milliseconds.
    pub expires_at_ms: Option<u64>,
}

impl Validator {
    /// Checks a put of `payload` on record `key`. `created_ms` is the created time of the record it replaces, if
    /// there is one and [`Table::needs_previous`] asks for it.
    pub fn put<'p>(
        &mut self,
        table: &Table,
        key: &Key<'_>,
        payload: &'p [u8],
        content_type: Option<&str>,
        now_ms: u64,
        created_ms: Option<u64>,
    ) -> Result<Normalized<'p>, Refusal> {
        if !table.is_typed() {
            return Ok(Normalized { payload: Cow::Borrowed(payload), expires_at_ms: None });
        }
        let created_ms = created_ms.unwrap_or(now_ms);
        let pass = Pass { table, key, now_ms, created_ms, scratch: &mut self.scratch };
        match Format::of(content_type)?.decode(payload)? {
            Cow::Borrowed(json) => pass.run(json),
            Cow::Owned(json) => {
                let Normalized { payload, expires_at_ms } = pass.run(&json)?;
                Ok(Normalized { payload: Cow::Owned(payload.into_owned()), expires_at_ms })
            }
        }
    }
}

/// The key inside a payload, for inserts that name none: `None` if there is none and one must be generated, as
/// [`KeyType::generated`](crate::value::KeyType::generated) says.
pub fn key_in(table: &Table, payload: &[u8], content_type: Option<&str>) -> Result<Option<Key<'static>>, Refusal> {
    if !table.is_typed() {
        return Ok(None);
    }
    let json = Format::of(content_type)?.decode(payload)?;
    let document = pass::check_object(&json)?;
    let Some(value) = attribute(document.as_bytes(), &table.key.name) else { return Ok(None) };
    if value == "null" {
        return Ok(None);
    }
    match Key::from_json(value, table.key.key_type) {
        Ok(key) => Ok(Some(key)),
        Err(error) => Err(Refusal::of_key(table, value, error)),
    }
}

/// The value of a top-level attribute of a stored document, as JSON text.
pub fn attribute<'d>(document: &'d [u8], name: &str) -> Option<&'d str> {
    let mut scanner = Scanner::new(document).ok()?;
    scanner.kind().ok()?;
    if document.get(scanner.at()) != Some(&b'{') {
        return None;
    }
    let mut elements = scanner.open().ok()?;
    let mut found = None;
    while let Some((_, member)) = scanner.next_member(&mut elements).ok()? {
        let is_it = member.raw == name || (member.escaped && member.unescaped() == name);
        let value = scanner.value(&mut ()).ok()?;
        found = if is_it { Some(value) } else { found };
    }
    found
}

/// The created time a stored document holds, in epoch milliseconds.
pub fn created_ms(table: &Table, document: &[u8]) -> Option<u64> {
    let created = table.attributes.iter().find(|attribute| attribute.role == Role::CreatedTime)?;
    instant_ms(attribute(document, &created.name)?)
}

/// When a record expires, in epoch milliseconds: what its own attribute says, else what its table says.
pub fn expires_at_ms(table: &Table, normalized: &Normalized<'_>, now_ms: u64) -> Option<u64> {
    let by_table = || Some(now_ms.saturating_add(table.expiration_secs?.saturating_mul(1000)));
    normalized.expires_at_ms.or_else(by_table)
}

/// When a record that is patched expires, if the patch does not say: as before, unless an attribute says it.
pub fn kept_expiry_ms(table: &Table, record: &Record<'_>) -> Option<u64> {
    let by_attribute = table.attributes.iter().any(|attribute| attribute.role == Role::ExpiresAt);
    record.expires_ms.filter(|_| !by_attribute)
}

/// The epoch milliseconds a JSON value names, as a number or as the text of a date or a number. Before 1970 is 0.
fn instant_ms(json: &str) -> Option<u64> {
    let of_number = |number: &str| match number::whole(number) {
        Some(ms) => u64::try_from(ms).unwrap_or(0),
        None => number.parse::<f64>().map_or(0, |ms| (ms as u64).min(i64::MAX as u64)),
    };
    let first = json.bytes().next()?;
    if first == b'-' || first.is_ascii_digit() {
        return Some(of_number(json));
    }
    let text = Scanner::of_value(json).string().ok()?.unescaped();
    match date::parse(&text) {
        Some(ms) => Some(u64::try_from(ms).unwrap_or(0)),
        None => number::trim_digits(&text).map(|_| of_number(&text)),
    }
}
