//! One pass over a document: check it, and note what must change.
//!
//! The text is read once, front to back. Changes are edits of ranges of it, misfits are places in it; both are
//! looked at when the end is reached, because a name that comes again takes back whatever was wrong with its first
//! value.

use std::borrow::Cow;

use super::refusal::{Refusal, RefusalKind, describe, pointer_to, pointer_token, quoted};
use super::{Normalized, instant_ms};
use crate::schema::{Attribute, Attributes, ObjectType, Role, Scalar, Shape, Table, Type};
use crate::value::json::{Fault, Kind, Members, Scanner, write_string};
use crate::value::{Key, LONG_MAX, date, number};

/// What is checked against what.
pub(super) struct Pass<'p, 's> {
    pub(super) table: &'p Table,
    pub(super) key: &'p Key<'p>,
    pub(super) now_ms: u64,
    pub(super) created_ms: u64,
    pub(super) scratch: &'s mut Scratch,
}

/// Space used again for each document.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    members: Members,
    edits: Vec<Edit>,
    /// What edits put in, one after another.
    texts: String,
    /// For each object being read, a bit per attribute of its type: it was there.
    seen: Vec<u64>,
}

/// `start..end` of the document becomes `text..text_end` of the texts.
#[derive(Debug, Clone, Copy)]
struct Edit {
    start: usize,
    end: usize,
    text: usize,
    text_end: usize,
}

/// A value that does not fit.
struct Misfit<'p> {
    /// Where it begins; where the object begins that lacks one.
    at: usize,
    expected: Expected<'p>,
}

#[derive(Clone, Copy)]
enum Expected<'p> {
    Type(&'p Type),
    Key,
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

impl<'p> Pass<'p, '_> {
    pub(super) fn run<'t>(mut self, payload: &'t [u8]) -> Result<Normalized<'t>, Refusal> {
        self.scratch.clear();
        let mut reading = Reading::new(&mut self, payload).map_err(|fault| Refusal::of_syntax(payload, fault))?;
        let (start, end) = match reading.root() {
            Ok(Some(range)) => range,
            Ok(None) => return Err(not_an_object(reading.scanner.text())),
            Err(fault) => return Err(Refusal::of_syntax(payload, fault)),
        };
        let Reading { scanner, misfits, expires_at_ms, .. } = reading;
        if let Some(refusal) = self.refusal(scanner.text(), start, &misfits) {
            return Err(refusal);
        }
        let payload = self.scratch.apply_edits(scanner.text(), start, end);
        Ok(Normalized { payload, expires_at_ms })
    }

    /// The first misfit that was not taken back by a later member of the same name.
    fn refusal(&self, text: &str, root: usize, misfits: &[Misfit<'_>]) -> Option<Refusal> {
        let superseded = self.scratch.members.superseded();
        let counts = |misfit: &&Misfit<'_>| !superseded.iter().any(|gone| (gone.start..gone.end).contains(&misfit.at));
        let misfit = misfits.iter().find(counts)?;
        let pointer = pointer_to(text, misfit.at.max(root));
        let found = describe(&text[misfit.at..]);
        let attribute = RefusalKind::Attribute;
        Some(match misfit.expected {
            Expected::Type(ty) => Refusal::new(attribute, pointer, words(ty, &found), found),
            Expected::Instant => Refusal::new(attribute, pointer, "epoch milliseconds or a date", found),
            Expected::NotStored(Role::Computed { .. }) => {
                Refusal::new(attribute, pointer, "nothing (it is computed)", found)
            }
            Expected::NotStored(_) => Refusal::new(attribute, pointer, "nothing (it is a relationship)", found),
            Expected::Declared { type_name } => {
                let expected = format!("nothing (`{type_name}` is sealed and declares no such attribute)");
                Refusal::new(attribute, pointer, expected, found)
            }
            Expected::Attribute(missing) => {
                let pointer = pointer + &pointer_token(&missing.name);
                Refusal::new(attribute, pointer, missing.ty.to_string(), "nothing")
            }
            Expected::Key => {
                let key = match self.key {
                    Key::Number(number) => number.to_string(),
                    Key::Text(text) => quoted(text),
                };
                Refusal::new(RefusalKind::Key, pointer, format!("{key} as in the topic"), found)
            }
        })
    }
}

/// What a type accepts, with a hint where its name alone would not explain the refusal of `found`.
fn words(ty: &Type, found: &str) -> Cow<'static, str> {
    let is_number = found.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let Shape::Scalar(scalar) = ty.shape else { return Cow::Owned(ty.to_string()) };
    let hint = match scalar {
        Scalar::Int if is_number => "a whole number of 32 bits",
        Scalar::Long if is_number => "a whole number within ±2^53",
        Scalar::BigInt if is_number => "a whole number",
        Scalar::Float if is_number => "a number a double can hold",
        Scalar::Date => "ISO 8601 text or epoch milliseconds",
        Scalar::Bytes => "base64 text",
        _ => return Cow::Owned(ty.to_string()),
    };
    Cow::Owned(format!("{ty} ({hint})"))
}

/// The text of a payload that must be one object and nothing else.
pub(super) fn check_object(payload: &[u8]) -> Result<&str, Refusal> {
    let read = || {
        let mut scanner = Scanner::new(payload)?;
        let kind = scanner.kind()?;
        let document = scanner.value(&mut Members::default())?;
        scanner.end()?;
        Ok((kind, document))
    };
    match read() {
        Ok((Kind::Object, document)) => Ok(document),
        Ok((_, document)) => Err(not_an_object(document)),
        Err(fault) => Err(Refusal::of_syntax(payload, fault)),
    }
}

fn not_an_object(text: &str) -> Refusal {
    Refusal::new(RefusalKind::Attribute, String::new(), "a JSON object", describe(text))
}

/// The cursor and what was noted on its way.
struct Reading<'r, 'p, 't> {
    table: &'p Table,
    key: &'p Key<'p>,
    now_ms: u64,
    created_ms: u64,
    scratch: &'r mut Scratch,
    scanner: Scanner<'t>,
    misfits: Vec<Misfit<'p>>,
    expires_at_ms: Option<u64>,
}

/// What the end of an object leaves to be looked at.
struct ObjectEnd {
    /// Behind its opening brace.
    inside: usize,
    /// Behind its last member, or behind the brace if it has none.
    last: usize,
    /// Where its bits are in the scratch space.
    seen: usize,
}

impl<'r, 'p, 't> Reading<'r, 'p, 't> {
    fn new(pass: &'r mut Pass<'p, '_>, payload: &'t [u8]) -> Result<Self, Fault> {
        let Pass { table, key, now_ms, created_ms, ref mut scratch } = *pass;
        let scanner = Scanner::new(payload)?;
        Ok(Self { table, key, now_ms, created_ms, scratch, scanner, misfits: Vec::new(), expires_at_ms: None })
    }

    /// Reads the whole text; returns where the object lies in it, or `None` if it is something else.
    fn root(&mut self) -> Result<Option<(usize, usize)>, Fault> {
        let kind = self.scanner.kind()?;
        let start = self.scanner.at();
        if kind != Kind::Object {
            self.scanner.value(&mut self.scratch.members)?;
            self.scanner.end()?;
            return Ok(None);
        }
        let table = self.table;
        let object = self.members(&table.attributes, table.sealed.then_some(&*table.name))?;
        self.fill_in(&object);
        self.look_for_missing(&table.attributes, start, &object);
        let end = self.scanner.at();
        self.scanner.end()?;
        Ok(Some((start, end)))
    }

    fn nested(&mut self, ty: &'p ObjectType) -> Result<(), Fault> {
        let start = self.scanner.at();
        let object = self.members(&ty.attributes, ty.sealed.then_some(&*ty.name))?;
        self.look_for_missing(&ty.attributes, start, &object);
        Ok(())
    }

    /// Reads the members of an object. `sealed` is the name of a type that allows only what it declares.
    fn members(&mut self, attributes: &'p Attributes, sealed: Option<&'p str>) -> Result<ObjectEnd, Fault> {
        let mut elements = self.scanner.open()?;
        let inside = self.scanner.at();
        let seen = self.scratch.seen.len();
        self.scratch.seen.resize(seen + attributes.len().div_ceil(64), 0);
        let object = self.scratch.members.open();
        let mut end = ObjectEnd { inside, last: inside, seen };
        let mut likely = 0; // Most documents follow the order of the schema.
        while let Some((start, name)) = self.scanner.next_member(&mut elements)? {
            let place =
                if name.escaped { attributes.place(&name.unescaped()) } else { attributes.find(name.raw, likely) };
            match (place, sealed) {
                (Some(place), _) => {
                    likely = place + 1;
                    self.scratch.seen[seen + place / 64] |= 1 << (place % 64);
                    self.attribute(&attributes[place])?;
                }
                (None, None) => drop(self.scanner.value(&mut self.scratch.members)?),
                (None, Some(type_name)) => self.misfit(Expected::Declared { type_name })?,
            }
            self.scratch.members.push(start, name);
            end.last = self.scanner.at();
        }
        self.scratch.members.close(object, self.scanner.text());
        Ok(end)
    }

    fn attribute(&mut self, attribute: &'p Attribute) -> Result<(), Fault> {
        match &attribute.role {
            Role::Plain => self.typed(&attribute.ty),
            Role::Key => self.key(),
            Role::ExpiresAt => self.expires_at(&attribute.ty),
            Role::CreatedTime => self.replace_with_time(&attribute.ty, self.created_ms),
            Role::UpdatedTime => self.replace_with_time(&attribute.ty, self.now_ms),
            role @ (Role::Relationship { .. } | Role::Computed { .. }) => self.misfit(Expected::NotStored(role)),
        }
    }

    /// Reads a value of a type.
    fn typed(&mut self, ty: &'p Type) -> Result<(), Fault> {
        match (&ty.shape, self.scanner.kind()?) {
            (_, Kind::Null) if ty.required => self.misfit(Expected::Type(ty)),
            (_, Kind::Null) => self.scanner.literal(),
            (Shape::Scalar(scalar), kind) => self.scalar(ty, *scalar, kind),
            (Shape::List(item), Kind::Array) => {
                let mut elements = self.scanner.open()?;
                while self.scanner.next_item(&mut elements)? {
                    self.typed(item)?;
                }
                Ok(())
            }
            (Shape::Object { index, .. }, Kind::Object) => self.nested(&self.table.types[*index as usize]),
            _ => self.misfit(Expected::Type(ty)),
        }
    }

    #[inline]
    fn scalar(&mut self, ty: &'p Type, scalar: Scalar, kind: Kind) -> Result<(), Fault> {
        let start = self.scanner.at();
        let fits = match (scalar, kind) {
            (Scalar::Any, _) => {
                self.scanner.value(&mut self.scratch.members)?;
                true
            }
            (Scalar::String | Scalar::Id, Kind::String) => {
                self.scanner.string()?;
                true
            }
            (Scalar::Boolean, Kind::Boolean) => {
                self.scanner.literal()?;
                true
            }
            (Scalar::Float, Kind::Number) => number::is_finite(self.scanner.number()?),
            (Scalar::Int, Kind::Number) => self.whole(start, i64::from(i32::MIN), i64::from(i32::MAX))?,
            (Scalar::Long, Kind::Number) => self.whole(start, -LONG_MAX, LONG_MAX)?,
            (Scalar::BigInt | Scalar::Id, Kind::Number) => self.digits(start, scalar)?,
            (Scalar::BigInt, Kind::String) => {
                let text = self.scanner.string()?.unescaped();
                let digits = number::trim_digits(&text);
                digits.is_some_and(|(sign, digits)| self.edit(start, &[sign, digits]))
            }
            (Scalar::Date, Kind::String) => {
                let text = self.scanner.string()?;
                let iso = date::parse(&text.unescaped()).and_then(date::format);
                iso.is_some_and(|iso| iso == text.raw || self.edit(start, &["\"", &iso, "\""]))
            }
            (Scalar::Date, Kind::Number) => {
                let iso = number::whole(self.scanner.number()?).and_then(date::format);
                iso.is_some_and(|iso| self.edit(start, &["\"", &iso, "\""]))
            }
            (Scalar::Bytes, Kind::String) => {
                let text = self.scanner.string()?;
                let bytes = text.unescaped();
                let base64 = standard_base64(&bytes);
                base64.is_some_and(|base64| base64 == text.raw || self.edit(start, &["\"", &base64, "\""]))
            }
            _ => {
                self.scanner.value(&mut self.scratch.members)?;
                false
            }
        };
        if !fits {
            self.misfits.push(Misfit { at: start, expected: Expected::Type(ty) });
        }
        Ok(())
    }

    /// Reads a number that must be whole and within bounds; kept as plain digits.
    fn whole(&mut self, start: usize, min: i64, max: i64) -> Result<bool, Fault> {
        let json = self.scanner.number()?;
        let Some(whole) = number::whole(json).filter(|whole| (min..=max).contains(whole)) else { return Ok(false) };
        let is_plain = json.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) && json != "-0";
        Ok(is_plain || self.edit(start, &[&whole.to_string()]))
    }

    /// Reads a whole number of any size; an ID is kept as its text.
    fn digits(&mut self, start: usize, scalar: Scalar) -> Result<bool, Fault> {
        let json = self.scanner.number()?;
        let is_plain = json.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
        let short = number::whole(json).map(|whole| whole.to_string());
        let digits = match &short {
            Some(short) => short,
            None if is_plain => json,
            None => return Ok(false),
        };
        Ok(match scalar {
            Scalar::Id => self.edit(start, &["\"", digits, "\""]),
            _ => digits == json || self.edit(start, &[digits]),
        })
    }

    /// Reads the key inside the document, which must be the topic's.
    fn key(&mut self) -> Result<(), Fault> {
        let kind = self.scanner.kind()?;
        let start = self.scanner.at();
        if kind == Kind::String
            && let Key::Text(key) = self.key
        {
            let text = self.scanner.string()?;
            if text.raw != *key && (!text.escaped || text.unescaped() != *key) {
                self.misfits.push(Misfit { at: start, expected: Expected::Key });
            }
            return Ok(());
        }
        let json = self.scanner.value(&mut self.scratch.members)?;
        let is_same =
            kind == Kind::Null || Key::from_json(json, self.table.key.key_type).is_ok_and(|key| key == *self.key);
        let canonical = self.key.to_json();
        if !is_same {
            self.misfits.push(Misfit { at: start, expected: Expected::Key });
        } else if json != canonical {
            self.edit(start, &[&canonical]);
        }
        Ok(())
    }

    fn expires_at(&mut self, ty: &'p Type) -> Result<(), Fault> {
        let kind = self.scanner.kind()?;
        let start = self.scanner.at();
        self.typed(ty)?;
        self.expires_at_ms = instant_ms(&self.scanner.text()[start..self.scanner.at()]);
        let is_lost = self.expires_at_ms.is_none() && kind != Kind::Null;
        if is_lost && self.misfits.last().is_none_or(|misfit| misfit.at != start) {
            self.misfits.push(Misfit { at: start, expected: Expected::Instant });
        }
        Ok(())
    }

    fn replace_with_time(&mut self, ty: &Type, ms: u64) -> Result<(), Fault> {
        self.scanner.kind()?;
        let start = self.scanner.at();
        self.scanner.value(&mut self.scratch.members)?;
        self.edit(start, &[&time(ty, ms)]);
        Ok(())
    }

    /// Steps over a value that does not fit.
    fn misfit(&mut self, expected: Expected<'p>) -> Result<(), Fault> {
        self.scanner.kind()?;
        self.misfits.push(Misfit { at: self.scanner.at(), expected });
        self.scanner.value(&mut self.scratch.members)?;
        Ok(())
    }

    /// Puts the key in front and the times of the server behind, where the document has none.
    fn fill_in(&mut self, object: &ObjectEnd) {
        for (place, attribute) in self.table.attributes.watched() {
            if attribute.role == Role::Key && !self.was_seen(object, place) {
                let comma = if object.last > object.inside { "," } else { "" };
                self.insert_member(object.inside, "", attribute, &self.key.to_json(), comma);
            }
        }
        for (place, attribute) in self.table.attributes.watched() {
            let ms = match attribute.role {
                Role::CreatedTime => self.created_ms,
                Role::UpdatedTime => self.now_ms,
                _ => continue,
            };
            if !self.was_seen(object, place) {
                self.insert_member(object.last, ",", attribute, &time(&attribute.ty, ms), "");
            }
        }
    }

    fn look_for_missing(&mut self, attributes: &'p Attributes, start: usize, object: &ObjectEnd) {
        for (place, attribute) in attributes.watched() {
            let is_ours = matches!(attribute.role, Role::Plain | Role::ExpiresAt);
            if is_ours && !self.was_seen(object, place) {
                self.misfits.push(Misfit { at: start, expected: Expected::Attribute(attribute) });
            }
        }
        self.scratch.seen.truncate(object.seen);
    }

    fn was_seen(&self, object: &ObjectEnd, place: usize) -> bool {
        self.scratch.seen[object.seen + place / 64] & (1 << (place % 64)) != 0
    }

    /// Notes that what lies between `start` and here becomes `parts`. True, to end a chain of conditions with.
    fn edit(&mut self, start: usize, parts: &[&str]) -> bool {
        let text = self.scratch.texts.len();
        parts.iter().for_each(|part| self.scratch.texts.push_str(part));
        let text_end = self.scratch.texts.len();
        self.scratch.edits.push(Edit { start, end: self.scanner.at(), text, text_end });
        true
    }

    fn insert_member(&mut self, at: usize, before: &str, attribute: &Attribute, value: &str, after: &str) {
        let texts = &mut self.scratch.texts;
        let text = texts.len();
        texts.push_str(before);
        write_string(&attribute.name, texts);
        texts.push(':');
        texts.push_str(value);
        texts.push_str(after);
        self.scratch.edits.push(Edit { start: at, end: at, text, text_end: self.scratch.texts.len() });
    }
}

impl Scratch {
    fn clear(&mut self) {
        self.members.clear();
        self.edits.clear();
        self.texts.clear();
        self.seen.clear();
    }

    /// `start..end` of the text with all edits made, and without what has come again.
    fn apply_edits<'t>(&mut self, text: &'t str, start: usize, end: usize) -> Cow<'t, [u8]> {
        for gone in self.members.superseded() {
            self.edits.push(Edit { start: gone.start, end: gone.end, text: 0, text_end: 0 });
        }
        if self.edits.is_empty() {
            return Cow::Borrowed(text[start..end].as_bytes());
        }
        // Stable, so that what is inserted where a superseded member begins stays in front of it.
        self.edits.sort_by_key(|edit| edit.start);
        let mut document = Vec::with_capacity(end - start + self.texts.len());
        let mut done = start;
        for edit in &self.edits {
            if edit.start < done {
                continue; // Inside of something removed.
            }
            document.extend_from_slice(text[done..edit.start].as_bytes());
            document.extend_from_slice(self.texts[edit.text..edit.text_end].as_bytes());
            done = edit.end;
        }
        document.extend_from_slice(text[done..end].as_bytes());
        Cow::Owned(document)
    }
}

/// A time the server sets, as JSON.
fn time(ty: &Type, ms: u64) -> String {
    let iso = match ty.shape {
        Shape::Scalar(Scalar::Date) => i64::try_from(ms).ok().and_then(date::format),
        _ => None,
    };
    iso.map_or_else(|| ms.to_string(), |iso| format!("\"{iso}\""))
}

/// Base64 in the standard alphabet and padded, from either alphabet, padded or not.
fn standard_base64(text: &str) -> Option<Cow<'_, str>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let is_whole = padding == 0 || (padding < 3 && text.len().is_multiple_of(4));
    let mut is_standard = text.len().is_multiple_of(4);
    let mut last = 0;
    for byte in digits.bytes() {
        last = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        is_standard &= !matches!(byte, b'-' | b'_');
    }
    // The bits of the last digit that belong to no byte must be zero, or two texts would be the same bytes.
    let spare = match digits.len() % 4 {
        0 => 0,
        2 => last & 0b1111,
        3 => last & 0b11,
        _ => return None,
    };
    match (is_whole && spare == 0, is_standard) {
        (false, _) => None,
        (true, true) => Some(Cow::Borrowed(text)),
        (true, false) => {
            let padding = "=".repeat((4 - digits.len() % 4) % 4);
            Some(Cow::Owned(digits.replace('-', "+").replace('_', "/") + &padding))
        }
    }
}
