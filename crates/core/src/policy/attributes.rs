//! Documents with some of their attributes only.

use crate::schema::{Role, Table};
use crate::value::json::{Fault, Kind, Scanner};

/// Names of top-level attributes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct AttributeSet {
    names: Box<[Box<str>]>, // Sorted.
}

impl AttributeSet {
    /// These names, in whatever order.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> AttributeSet {
        let mut names: Vec<Box<str>> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        AttributeSet { names: names.into() }
    }

    /// Whether the name is one of them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.names.binary_search_by(|other| (**other).cmp(name)).is_ok()
    }

    /// Appends what of a stored document they show: as it stands there, in its order. A document that is no object has
    /// no attributes to show.
    pub fn project(&self, document: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.push(b'{');
        let appended = each_member(document, |name, member| {
            if self.contains(name) {
                append_member(member, out);
            }
        });
        if appended.is_err() {
            out.truncate(start + 1);
        }
        out.push(b'}');
    }

    /// The first name in a document that is none of them, and none of those that the server sets itself.
    pub(super) fn first_beyond(&self, table: &Table, document: &[u8]) -> Result<Option<String>, Fault> {
        let mut found = None;
        each_member(document, |name, _| {
            if found.is_none() && !self.contains(name) && !is_servers(table, name) {
                found = Some(name.to_owned());
            }
        })?;
        Ok(found)
    }

    /// `document`, and behind it those attributes of `current` that are none of these, nor the server's to set.
    pub(super) fn complete(&self, table: &Table, document: &[u8], current: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut whole = vec![b'{'];
        each_member(document, |_, member| append_member(member, &mut whole))?;
        each_member(current, |name, member| {
            if !self.contains(name) && !is_servers(table, name) {
                append_member(member, &mut whole);
            }
        })?;
        whole.push(b'}');
        Ok(whole)
    }
}

/// Whether clients do not set it, whatever they send.
fn is_servers(table: &Table, name: &str) -> bool {
    let role = table.attributes.get(name).map(|attribute| &attribute.role);
    matches!(role, Some(Role::Key | Role::CreatedTime | Role::UpdatedTime))
}

fn append_member(member: &str, out: &mut Vec<u8>) {
    if !matches!(out.last(), None | Some(b'{')) {
        out.push(b',');
    }
    out.extend_from_slice(member.as_bytes());
}

/// Calls `each` with the name and the text of every member of an object.
fn each_member(document: &[u8], mut each: impl FnMut(&str, &str)) -> Result<(), Fault> {
    let mut scanner = Scanner::new(document)?;
    if scanner.kind()? != Kind::Object {
        return Err(Fault { at: scanner.at(), expected: "a JSON object" });
    }
    let mut elements = scanner.open()?;
    while let Some((start, name)) = scanner.next_member(&mut elements)? {
        scanner.value(&mut ())?;
        let member = &scanner.text()[start..scanner.at()];
        if name.escaped { each(&name.unescaped(), member) } else { each(name.raw, member) }
    }
    scanner.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &[&str], document: &str, expected: &str) {
        let mut out = b"before".to_vec();
        AttributeSet::new(names.iter().copied()).project(document.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).expect("text"), format!("before{expected}"), "{names:?} of {document}");
    }

    #[test]
    fn a_document_is_shown_in_part_as_it_stands() {
        let dog = r#"{"id":"1","name":"Rex","age": 1.50 ,"tags":["a",{"secret":1}],"secret":{"name":"x"}}"#;
        check(&["id", "name"], dog, r#"{"id":"1","name":"Rex"}"#);
        check(&["secret"], dog, r#"{"secret":{"name":"x"}}"#);
        check(&["age", "tags", "none"], dog, r#"{"age": 1.50,"tags":["a",{"secret":1}]}"#);
        check(&[], dog, "{}");
        check(&["a"], "{}", "{}");
        check(&["name"], r#"{"n\u0061me":1,"Name":2,"name ":3}"#, r#"{"n\u0061me":1}"#);
    }

    #[test]
    fn what_is_no_document_shows_nothing() {
        for text in ["", "[1]", "null", "\"id\"", r#"{"id":1"#, r#"{"id":1} x"#, r#"{"id":}"#] {
            check(&["id"], text, "{}");
        }
    }
}
