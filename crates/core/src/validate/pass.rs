//! One pass over a document: check it, and note what must change.
//!
//! The text is read once, front to back, and written anew from the first place on where it must change. Only where a
//! name comes again, which takes back whatever its first value was, the text is read again without that.

use super::edits::Edits;
use super::misfit::{Expected, Misfit};
use super::refusal::{Refusal, RefusalKind, describe};
use super::{Normalized, instant_ms};
use crate::schema::{Attribute, Attributes, ObjectType, Role, Scalar, Shape, Table, Type};
use crate::value::json::{Fault, Kind, Members, Observer, Scanner, Superseded, write_string};
use crate::value::{Key, date};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

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
    pub(super) members: Members,
    edits: Edits,
    /// For each object being read, a bit per attribute of its type: it was there.
    seen: Vec<u64>,
}

impl<'p> Pass<'p, '_> {
    pub(super) fn run<'t>(mut self, payload: &'t [u8]) -> Result<Normalized<'t>, Refusal> {
        let scanner = Scanner::new(payload).map_err(|fault| Refusal::of_syntax(payload, fault))?;
        let normalized = self.read(scanner);
        self.scratch.clear();
        normalized
    }

    fn read<'t>(&mut self, scanner: Scanner<'t>) -> Result<Normalized<'t>, Refusal> {
        let text = scanner.text();
        let mut reading = Reading::new(self, scanner);
        let document = match reading.root() {
            Ok(Some(range)) => range,
            Ok(None) => return Err(not_an_object(text)),
            Err(fault) => return Err(Refusal::of_syntax(text.as_bytes(), fault)),
        };
        let Reading { misfit, expires_at_ms, .. } = reading;
        let superseded = self.scratch.members.superseded();
        if !superseded.is_empty() {
            let text = without(text, document, superseded);
            self.scratch.clear();
            let Normalized { payload, expires_at_ms } = self.read(Scanner::of_value(&text))?;
            return Ok(Normalized { payload: Cow::Owned(payload.into_owned()), expires_at_ms });
        }
        match misfit {
            Some(misfit) => Err(misfit.refusal(text)),
            None => Ok(Normalized { payload: self.scratch.edits.finish(text, document), expires_at_ms }),
        }
    }
}

/// `document` of a text without what is superseded.
fn without(text: &str, document: Range<usize>, superseded: &[Superseded]) -> String {
    let mut left = String::with_capacity(document.len());
    let mut start = document.start;
    for gone in superseded {
        left.push_str(&text[start..gone.range().start]);
        start = gone.range().end;
    }
    left.push_str(&text[start..document.end]);
    left
}

/// The text of a payload that must be one object and nothing else.
pub(super) fn check_object(payload: &[u8]) -> Result<&str, Refusal> {
    let read = || {
        let mut scanner = Scanner::new(payload)?;
        let kind = scanner.kind()?;
        let document = scanner.value(&mut ())?;
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
pub(super) struct Reading<'r, 'p, 't> {
    table: &'p Table,
    key: &'p Key<'p>,
    now_ms: u64,
    created_ms: u64,
    pub(super) scratch: &'r mut Scratch,
    pub(super) scanner: Scanner<'t>,
    /// The first.
    misfit: Option<Misfit<'p>>,
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
    fn new(pass: &'r mut Pass<'p, '_>, scanner: Scanner<'t>) -> Self {
        let Pass { table, key, now_ms, created_ms, ref mut scratch } = *pass;
        Self { table, key, now_ms, created_ms, scratch, scanner, misfit: None, expires_at_ms: None }
    }

    /// Reads the whole text; returns where the object lies in it, or `None` if it is something else.
    fn root(&mut self) -> Result<Option<Range<usize>>, Fault> {
        let kind = self.scanner.kind()?;
        let start = self.scanner.at();
        if kind != Kind::Object {
            self.scanner.value(&mut self.scratch.members)?;
            self.scanner.end()?;
            return Ok(None);
        }
        self.scratch.edits.begin(start);
        let table = self.table;
        let object = self.members(&table.attributes, table.sealed.then_some(&*table.name))?;
        self.fill_in(&object);
        self.look_for_missing(&table.attributes, start, &object);
        let end = self.scanner.at();
        self.scanner.end()?;
        Ok(Some(start..end))
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
        let (mut undeclared, mut repeated) = (0, false);
        while let Some((start, name)) = self.scanner.next_member(&mut elements)? {
            let place =
                if name.escaped { attributes.place(&name.unescaped()) } else { attributes.find(name.raw, likely) };
            match (place, sealed) {
                (Some(place), _) => {
                    likely = place + 1;
                    let (of, bit) = (&mut self.scratch.seen[seen + place / 64], 1 << (place % 64));
                    repeated |= *of & bit != 0;
                    *of |= bit;
                    self.attribute(&attributes[place])?;
                }
                (None, None) => drop(self.scanner.value(&mut self.scratch.members)?),
                (None, Some(type_name)) => self.misfit(Expected::Declared { type_name })?,
            }
            undeclared += usize::from(place.is_none());
            self.scratch.members.member(start, name);
            end.last = self.scanner.at();
        }
        match repeated || undeclared > 1 {
            true => self.scratch.members.close(object, self.scanner.text()),
            false => self.scratch.members.forget(object),
        }
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

    /// Reads the key inside the document, which must be the topic's.
    fn key(&mut self) -> Result<(), Fault> {
        let kind = self.scanner.kind()?;
        let start = self.scanner.at();
        if kind == Kind::String
            && let Key::Text(key) = self.key
        {
            let text = self.scanner.string()?;
            if text.raw != *key && (!text.escaped || text.unescaped() != *key) {
                self.note(start, Expected::Key(self.key));
            }
            return Ok(());
        }
        let json = self.scanner.value(&mut self.scratch.members)?;
        let is_same =
            kind == Kind::Null || Key::from_json(json, self.table.key.key_type).is_ok_and(|key| key == *self.key);
        let canonical = self.key.to_json();
        if !is_same {
            self.note(start, Expected::Key(self.key));
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
        if self.expires_at_ms.is_none() && kind != Kind::Null {
            self.note(start, Expected::Instant);
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
        self.note(self.scanner.at(), expected);
        self.scanner.value(&mut self.scratch.members)?;
        Ok(())
    }

    /// Puts the key in front and the times of the server behind, where the document has none.
    fn fill_in(&mut self, object: &ObjectEnd) {
        for (place, attribute) in self.table.attributes.watched() {
            if attribute.role == Role::Key && !self.was_seen(object, place) {
                let comma = if object.last > object.inside { "," } else { "" };
                let name = quoted_name(attribute);
                let member = [&name, ":", &self.key.to_json(), comma];
                self.scratch.edits.insert_first(self.scanner.text(), object.inside, &member);
            }
        }
        for (place, attribute) in self.table.attributes.watched() {
            let ms = match attribute.role {
                Role::CreatedTime => self.created_ms,
                Role::UpdatedTime => self.now_ms,
                _ => continue,
            };
            if !self.was_seen(object, place) {
                let (name, time) = (quoted_name(attribute), time(&attribute.ty, ms));
                let at = object.last..object.last;
                self.scratch.edits.replace(self.scanner.text(), at).extend([",", &*name, ":", &*time]);
            }
        }
    }

    fn look_for_missing(&mut self, attributes: &'p Attributes, start: usize, object: &ObjectEnd) {
        for (place, attribute) in attributes.watched() {
            let is_ours = matches!(attribute.role, Role::Plain | Role::ExpiresAt);
            if is_ours && !self.was_seen(object, place) {
                self.note(start, Expected::Attribute(attribute));
            }
        }
        self.scratch.seen.truncate(object.seen);
    }

    fn was_seen(&self, object: &ObjectEnd, place: usize) -> bool {
        self.scratch.seen[object.seen + place / 64] & (1 << (place % 64)) != 0
    }

    /// What lies between `start` and here becomes `parts`. True, to end a chain of conditions with.
    pub(super) fn edit(&mut self, start: usize, parts: &[&str]) -> bool {
        let document = self.scratch.edits.replace(self.scanner.text(), start..self.scanner.at());
        parts.iter().for_each(|part| document.push_str(part));
        true
    }

    /// The same, of a number.
    pub(super) fn edit_number(&mut self, start: usize, number: i64) -> bool {
        let document = self.scratch.edits.replace(self.scanner.text(), start..self.scanner.at());
        write!(document, "{number}").is_ok()
    }

    /// The value at `at` does not fit.
    pub(super) fn note(&mut self, at: usize, expected: Expected<'p>) {
        self.misfit.get_or_insert(Misfit { at, expected });
    }
}

impl Scratch {
    fn clear(&mut self) {
        self.members.clear();
        self.edits = Edits::default();
        self.seen.clear();
    }
}

/// A time the server sets, as JSON.
fn time(ty: &Type, ms: u64) -> String {
    let iso = match ty.shape {
        Shape::Scalar(Scalar::Date) => i64::try_from(ms).ok().and_then(date::format),
        _ => None,
    };
    iso.map_or_else(|| ms.to_string(), |iso| format!("\"{}\"", &*iso))
}

fn quoted_name(attribute: &Attribute) -> String {
    let mut name = String::with_capacity(attribute.name.len() + 2);
    write_string(&attribute.name, &mut name);
    name
}
