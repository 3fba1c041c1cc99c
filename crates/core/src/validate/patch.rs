//! JSON Merge Patch (RFC 7396) on text, so that every digit and the order of attributes survive.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::refusal::{Refusal, RefusalKind};
use crate::value::json::{Fault, Kind, Scanner};

/// A merge patch onto a document, or onto nothing. The result is to be put, which checks it against its table.
///
/// Attributes keep their order, new ones come last. A patch that is not an object replaces everything, as the RFC
/// says. Refused if the patch is not JSON, or the record (of an untyped table) is not.
pub fn merge_patch(current: Option<&[u8]>, patch: &[u8]) -> Result<Vec<u8>, Refusal> {
    let patch = Node::parse(patch).map_err(|fault| Refusal::of_syntax(patch, fault))?;
    let current = match current {
        None => None,
        Some(current) => Some(Node::parse(current).map_err(|_| not_json())?),
    };
    let mut out = String::new();
    merge(current.as_ref(), &patch, &mut out);
    Ok(out.into_bytes())
}

fn not_json() -> Refusal {
    let expected = "a record that is JSON, to be patched";
    Refusal::new(RefusalKind::Syntax, String::new(), expected, "other bytes stored")
}

/// A value, taken apart as far as a patch looks into it.
enum Node<'t> {
    Object(Vec<Member<'t>>),
    /// As written.
    Other(&'t str),
}

struct Member<'t> {
    name: Cow<'t, str>,
    /// The name as written, in quotes.
    written: &'t str,
    value: Node<'t>,
}

impl<'t> Node<'t> {
    fn parse(bytes: &'t [u8]) -> Result<Self, Fault> {
        let mut scanner = Scanner::new(bytes)?;
        let node = Self::read(&mut scanner)?;
        scanner.end()?;
        Ok(node)
    }

    fn read(scanner: &mut Scanner<'t>) -> Result<Self, Fault> {
        if scanner.kind()? != Kind::Object {
            return Ok(Self::Other(scanner.value(&mut ())?));
        }
        let mut members = Vec::new();
        let mut elements = scanner.open()?;
        while let Some((start, name)) = scanner.next_member(&mut elements)? {
            let written = &scanner.text()[start..start + name.raw.len() + 2];
            members.push(Member { name: name.unescaped(), written, value: Self::read(scanner)? });
        }
        Ok(Self::Object(members))
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::Other("null"))
    }

    /// The last member of each name, and whether it has been used.
    fn by_name(&self) -> BTreeMap<&str, usize> {
        match self {
            Self::Object(members) => members.iter().enumerate().map(|(place, member)| (&*member.name, place)).collect(),
            Self::Other(_) => BTreeMap::new(),
        }
    }

    fn members(&self) -> &[Member<'t>] {
        match self {
            Self::Object(members) => members,
            Self::Other(_) => &[],
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Other(value) => out.push_str(value),
            Self::Object(members) => {
                out.push('{');
                for member in members {
                    write_name(member.written, out);
                    member.value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn merge(current: Option<&Node<'_>>, patch: &Node<'_>, out: &mut String) {
    let Node::Object(patches) = patch else { return patch.write(out) };
    let nothing = Node::Object(Vec::new());
    let current = current.unwrap_or(&nothing);
    let (old, new) = (current.by_name(), patch.by_name());
    out.push('{');
    for (place, member) in current.members().iter().enumerate() {
        match new.get(&*member.name).map(|&place| &patches[place].value) {
            _ if old[&*member.name] != place => {} // Comes again later.
            Some(change) if change.is_null() => {}
            Some(change) => {
                write_name(member.written, out);
                merge(Some(&member.value), change, out);
            }
            None => {
                write_name(member.written, out);
                member.value.write(out);
            }
        }
    }
    for (place, member) in patches.iter().enumerate() {
        let is_new = new[&*member.name] == place && !old.contains_key(&*member.name);
        if is_new && !member.value.is_null() {
            write_name(member.written, out);
            merge(None, &member.value, out);
        }
    }
    out.push('}');
}

fn write_name(written: &str, out: &mut String) {
    out.push_str(if out.ends_with('{') { "" } else { "," });
    out.push_str(written);
    out.push(':');
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
