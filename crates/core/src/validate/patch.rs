//! JSON Merge Patch (RFC 7396) on text, so that every digit and the order of attributes survive.

use std::ops::Range;

use super::refusal::{Refusal, RefusalKind};
use crate::value::json::{Fault, Kind, Name, Names, Scanner, Text};

/// A merge patch onto a document, or onto nothing. The result is to be put, which checks it against its table.
///
/// Attributes keep their order, new ones come last. A patch that is not an object replaces everything, as the RFC
/// says. Refused if the patch is not JSON, or the record (of an untyped table) is not.
pub fn merge_patch(current: Option<&[u8]>, patch: &[u8]) -> Result<Vec<u8>, Refusal> {
    let patch = Document::parse(patch).map_err(|fault| Refusal::of_syntax(patch, fault))?;
    let current = Document::parse(current.unwrap_or(b"{}")).map_err(|_| not_json())?;
    let mut merge = Merge::new(&current, &patch);
    merge.value(Some(current.root), patch.root);
    Ok(merge.out.into_bytes())
}

fn not_json() -> Refusal {
    let expected = "a record that is JSON, to be patched";
    Refusal::new(RefusalKind::Syntax, String::new(), expected, "other bytes stored")
}

/// A document taken apart as far as a patch looks into it: into the members of its objects.
struct Document<'t> {
    text: &'t str,
    /// Each followed by those of its value.
    members: Vec<Member>,
    root: Value,
    /// What names say that are written with escapes.
    unescaped: String,
}

struct Member {
    /// Its name as written, in quotes.
    written: u32,
    written_end: u32,
    /// The name in the text, or what it says, in `unescaped`.
    name: u32,
    name_end: u32,
    escaped: bool,
    value: Value,
}

/// A value, from one place in the text to another.
#[derive(Clone, Copy)]
struct Value {
    start: u32,
    end: u32,
    /// The places of its members and of theirs.
    members: (u32, u32),
    is_object: bool,
}

impl<'t> Document<'t> {
    fn parse(bytes: &'t [u8]) -> Result<Self, Fault> {
        let mut scanner = Scanner::new(bytes)?;
        let root = Value { start: 0, end: 0, members: (0, 0), is_object: false };
        let mut document = Self { text: scanner.text(), members: Vec::new(), root, unescaped: String::new() };
        document.root = document.read(&mut scanner)?;
        scanner.end()?;
        Ok(document)
    }

    fn read(&mut self, scanner: &mut Scanner<'t>) -> Result<Value, Fault> {
        let is_object = scanner.kind()? == Kind::Object;
        let (start, first) = (scanner.at() as u32, self.members.len() as u32);
        if is_object {
            let mut elements = scanner.open()?;
            while let Some((start, name)) = scanner.next_member(&mut elements)? {
                let place = self.members.len();
                let member = self.member(start, name);
                self.members.push(member);
                self.members[place].value = self.read(scanner)?;
            }
        } else {
            scanner.value(&mut ())?;
        }
        Ok(Value { start, end: scanner.at() as u32, members: (first, self.members.len() as u32), is_object })
    }

    /// A member whose value is still to be read.
    fn member(&mut self, start: usize, name: Text<'_>) -> Member {
        let end = start + name.raw.len() + 2;
        let (mut from, mut to) = (start + 1, end - 1);
        if name.escaped {
            from = self.unescaped.len();
            self.unescaped.push_str(&name.unescaped());
            to = self.unescaped.len();
        }
        Member {
            written: start as u32,
            written_end: end as u32,
            name: from as u32,
            name_end: to as u32,
            escaped: name.escaped,
            value: self.root,
        }
    }

    /// The places of an object's own members.
    fn places(&self, object: Value) -> impl Iterator<Item = u32> + use<'_, 't> {
        let (mut next, end) = object.members;
        std::iter::from_fn(move || {
            let place = (next < end).then_some(next)?;
            next = self.members[place as usize].value.members.1;
            Some(place)
        })
    }

    fn name(&self, place: u32) -> (&str, Range<u32>) {
        let Member { name, name_end, escaped, .. } = self.members[place as usize];
        (if escaped { &self.unescaped } else { self.text }, name..name_end)
    }

    fn is_null(&self, value: Value) -> bool {
        &self.text[value.start as usize..value.end as usize] == "null"
    }

    fn write_name(&self, place: u32, out: &mut String) {
        let Member { written, written_end, .. } = self.members[place as usize];
        out.push_str(if out.ends_with('{') { "" } else { "," });
        out.push_str(&self.text[written as usize..written_end as usize]);
        out.push(':');
    }

    /// Appends a member as it is, but for white space in objects.
    fn write_member(&self, place: u32, out: &mut String) {
        let Member { written, written_end, value, .. } = self.members[place as usize];
        if value.is_object || value.start > written_end + 1 {
            self.write_name(place, out);
            return self.write(value, out);
        }
        out.push_str(if out.ends_with('{') { "" } else { "," });
        out.push_str(&self.text[written as usize..value.end as usize]);
    }

    /// Appends a value likewise.
    fn write(&self, value: Value, out: &mut String) {
        if !value.is_object {
            return out.push_str(&self.text[value.start as usize..value.end as usize]);
        }
        out.push('{');
        self.places(value).for_each(|place| self.write_member(place, out));
        out.push('}');
    }
}

/// A patch on its way onto a record.
struct Merge<'d> {
    record: &'d Document<'d>,
    patch: &'d Document<'d>,
    out: String,
    /// Of the members of the record.
    fates: Vec<Fate>,
    /// Of those of the patch.
    changes: Vec<Fate>,
    places: Vec<u32>, // Used again for each object, as is:
    names: Names,
}

/// What becomes of a member, as far as names tell.
#[derive(Clone, Copy)]
enum Fate {
    /// No other has its name, or only ones before it.
    Stays,
    /// As the member of the patch at that place says.
    Changes(u32),
    /// Its name comes again, or it changes one of the record.
    Goes,
}

impl<'d> Merge<'d> {
    fn new(record: &'d Document<'d>, patch: &'d Document<'d>) -> Self {
        Self {
            record,
            patch,
            out: String::with_capacity(record.text.len() + patch.text.len()),
            fates: vec![Fate::Stays; record.members.len()],
            changes: vec![Fate::Stays; patch.members.len()],
            places: Vec::new(),
            names: Names::default(),
        }
    }

    /// Appends what `change` makes of a value; `None`: of nothing.
    fn value(&mut self, current: Option<Value>, change: Value) {
        let Self { record, patch, .. } = *self;
        if !change.is_object {
            return patch.write(change, &mut self.out);
        }
        let nothing = Value { members: (0, 0), ..record.root };
        let current = current.filter(|current| current.is_object).unwrap_or(nothing);
        self.compare(current, change);
        self.out.push('{');
        for place in record.places(current) {
            let value = record.members[place as usize].value;
            match self.fates[place as usize] {
                Fate::Stays => record.write_member(place, &mut self.out),
                Fate::Changes(by) => {
                    let change = patch.members[by as usize].value;
                    if !patch.is_null(change) {
                        record.write_name(place, &mut self.out);
                        self.value(Some(value), change);
                    }
                }
                Fate::Goes => {}
            }
        }
        for place in patch.places(change) {
            let value = patch.members[place as usize].value;
            if matches!(self.changes[place as usize], Fate::Stays) && !patch.is_null(value) {
                patch.write_name(place, &mut self.out);
                self.value(None, value);
            }
        }
        self.out.push('}');
    }

    /// Decides on members whose names come again, in an object of the record or in the one laid onto it.
    fn compare(&mut self, current: Value, change: Value) {
        let Self { record, patch, ref mut fates, ref mut changes, ref mut places, .. } = *self;
        places.clear();
        places.extend(record.places(current));
        let own = places.len();
        places.extend(patch.places(change));
        let name = |n: usize| if n < own { record.name(places[n]) } else { patch.name(places[n]) };
        self.names.same(places.len(), name, |same| {
            let (before, by) = same.split_at(same.partition_point(|name| name.place() < own));
            before.iter().for_each(|name| fates[places[name.place()] as usize] = Fate::Goes);
            by.iter().for_each(|name| changes[places[name.place()] as usize] = Fate::Goes);
            let last = |of: &[Name]| Some(places[of.last()?.place()]);
            match (last(before), last(by)) {
                (Some(last), Some(by)) => fates[last as usize] = Fate::Changes(by),
                (Some(last), None) => fates[last as usize] = Fate::Stays,
                (None, Some(last)) => changes[last as usize] = Fate::Stays,
                (None, None) => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_hold() {
        // RFC 7396 appendix A
        for (current, patch, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            (r#"[1,2]"#, r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            (r#"{}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            check(Some(current), patch, expected);
        }
    }

    #[test]
    fn digits_order_and_spelling_survive() {
        check(
            Some(r#"{"big":123456789012345678901234567890,"é":1.10,"\u0061":{"x":1}}"#),
            r#"{"new":1E400,"a":{"y":2.0}}"#,
            r#"{"big":123456789012345678901234567890,"é":1.10,"\u0061":{"x":1,"y":2.0},"new":1E400}"#,
        );
        check(None, r#"{"a":1,"b":null}"#, r#"{"a":1}"#);
        check(Some(r#"{"a":1,"a":2}"#), r#"{"b":1,"b":3}"#, r#"{"a":2,"b":3}"#);
        check(Some(r#"{"a":{"b":1}}"#), r#"{"a":{"b":null},"a":{}}"#, r#"{"a":{"b":1}}"#);
        check(Some(r#"{"$serde_json::private::Number":"1"}"#), "{}", r#"{"$serde_json::private::Number":"1"}"#);
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let refused = |current: Option<&[u8]>, patch: &[u8]| merge_patch(current, patch).unwrap_err().to_string();
        assert_eq!(refused(None, b"{\"a\":"), "payload: expected a JSON value at byte 5, found nothing");
        assert_eq!(refused(None, b""), "payload: expected a JSON object, found nothing");
        assert_eq!(
            refused(Some(b"\xff\xfe"), b"{}"),
            "payload: expected a record that is JSON, to be patched, found other bytes stored"
        );
        let deep = "{\"a\":".repeat(65) + "1" + &"}".repeat(65);
        assert_eq!(
            refused(None, deep.as_bytes()),
            "payload: expected at most 64 levels of nesting at byte 320, found `{\"a\":1}}}}}}}}}}…`"
        );
    }

    #[track_caller]
    fn check(current: Option<&str>, patch: &str, expected: &str) {
        let merged = merge_patch(current.map(str::as_bytes), patch.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(merged).unwrap(), expected, "{patch} onto {current:?}");
    }
}
