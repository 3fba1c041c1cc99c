//! What may be done with the records of a table, down to their attributes.

use super::attributes::AttributeSet;
use super::role::{AttributeGrant, TableGrant};
use super::{Operation, View};
use crate::schema::Table;
use crate::validate::{Format, Refusal};
use rustc_hash::FxHashSet;
use std::borrow::Cow;
use std::sync::Arc;

/// What a role may do with the records of one table.
#[derive(Debug, Default)]
pub(super) struct TableRules {
    read: bool,
    insert: bool,
    update: bool,
    delete: bool,
    publish: bool,
    attributes: Option<AttributeRules>,
}

/// Where attributes were given: these and no others, the key among them.
#[derive(Debug)]
struct AttributeRules {
    read: Arc<AttributeSet>,
    insert: AttributeSet,
    update: AttributeSet,
}

/// What somebody's puts and patches of one table are subject to.
///
/// A put replaces what its author may change. What they may not, stays as it is: who cannot see an attribute must not
/// erase it without knowing. To send it is refused.
#[derive(Clone, Debug)]
pub struct Writing {
    /// `None`: to nothing.
    rules: Option<Arc<TableRules>>,
}

/// Why somebody may not put something. Says nothing of the record there is, or is not.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denied {
    /// The record.
    #[error("not allowed")]
    Record,
    /// An attribute that was sent.
    #[error("attribute {0}: not allowed")]
    Attribute(String),
}

/// A payload, and its content type.
pub(super) type Sent<'p> = (Cow<'p, [u8]>, Option<&'p str>);

impl TableRules {
    pub(super) fn new(grant: &TableGrant, table: &Table, sets: &mut FxHashSet<Arc<AttributeSet>>) -> TableRules {
        let &TableGrant { read, insert, update, delete, publish, .. } = grant;
        let Some(attributes) = &grant.attributes else {
            return TableRules { read, insert, update, delete, publish, attributes: None };
        };
        if !table.is_typed() {
            // Its payloads have no attributes, so there is nothing they could be reduced to.
            return TableRules { delete, publish, ..TableRules::default() };
        }
        let set = |allows: fn(&AttributeGrant) -> bool| {
            let names = attributes.iter().filter(|grant| allows(grant)).map(|grant| &*grant.name);
            AttributeSet::new(names.chain([&*table.key.name]))
        };
        let shown = Arc::new(set(|grant| grant.read));
        let shown = sets.get(&shown).cloned().unwrap_or_else(|| {
            sets.insert(Arc::clone(&shown));
            shown
        });
        let attributes =
            AttributeRules { read: shown, insert: set(|grant| grant.insert), update: set(|grant| grant.update) };
        TableRules { read, insert, update, delete, publish, attributes: Some(attributes) }
    }

    pub(super) fn may(&self, operation: Operation) -> bool {
        match operation {
            Operation::Read => self.read,
            Operation::Insert => self.insert,
            Operation::Put => self.insert || self.update,
            Operation::Delete => self.delete,
            Operation::Publish => self.publish,
        }
    }

    pub(super) fn view(&self) -> View<'_> {
        match &self.attributes {
            _ if !self.read => View::Nothing,
            None => View::Whole,
            Some(attributes) => View::Only(&attributes.read),
        }
    }
}

impl Writing {
    /// Whatever is put is put.
    #[must_use]
    pub fn free() -> Writing {
        Writing { rules: None }
    }

    /// Nothing may be put.
    pub(super) fn none() -> Writing {
        Writing { rules: Some(Arc::default()) }
    }

    pub(super) fn of(rules: &Arc<TableRules>) -> Writing {
        Writing { rules: Some(Arc::clone(rules)) }
    }

    /// Whether nothing depends on the record there is, nor on what is sent.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.rules.as_ref().is_none_or(|rules| rules.insert && rules.update && rules.attributes.is_none())
    }

    /// What a put is to be taken for, where the record is `current`. What is no document is left for the validator
    /// to refuse.
    pub fn put<'p>(
        &self,
        table: &Table,
        payload: &'p [u8],
        content_type: Option<&'p str>,
        current: Option<&[u8]>,
    ) -> Result<Sent<'p>, Denied> {
        let as_sent = (Cow::Borrowed(payload), content_type);
        let Some(attributes) = self.attributes(current.is_some())? else { return Ok(as_sent) };
        let Ok(document) = Format::of(content_type).and_then(|format| format.decode(payload)) else {
            return Ok(as_sent);
        };
        match attributes.first_beyond(table, &document) {
            Ok(None) => {}
            Ok(Some(name)) => return Err(Denied::Attribute(name)),
            Err(_) => return Ok(as_sent),
        }
        let Some(current) = current else { return Ok(as_sent) };
        match attributes.complete(table, &document, current) {
            Ok(whole) => Ok((Cow::Owned(whole), None)),
            Err(_) => Ok(as_sent),
        }
    }

    /// Whether a merge patch may be laid onto `current`. It touches what it names, and nothing else.
    pub fn patch(&self, table: &Table, patch: &[u8], current: Option<&[u8]>) -> Result<(), Denied> {
        let Some(attributes) = self.attributes(current.is_some())? else { return Ok(()) };
        match attributes.first_beyond(table, patch) {
            Ok(Some(name)) => Err(Denied::Attribute(name)),
            Ok(None) | Err(_) => Ok(()), // What is no object makes no document.
        }
    }

    /// Why a put is refused that became more than what was sent, in words for its author: nothing of an attribute that
    /// they neither may see nor sent.
    #[must_use]
    pub fn put_refusal(&self, refusal: Refusal, is_there: bool) -> Refusal {
        let sends = |name: &str| match self.attributes(is_there) {
            Ok(Some(attributes)) => attributes.contains(name),
            _ => true,
        };
        if self.sees(&refusal) || refusal.name().is_none_or(|name| sends(&name)) { refusal } else { refusal.veiled() }
    }

    /// The same of a merge patch.
    #[must_use]
    pub fn patch_refusal(&self, refusal: Refusal, patch: &[u8]) -> Refusal {
        if self.sees(&refusal) || refusal.is_of(patch) { refusal } else { refusal.veiled() }
    }

    fn sees(&self, refusal: &Refusal) -> bool {
        let Some(rules) = &self.rules else { return true };
        match rules.view() {
            View::Nothing => false,
            View::Whole => true,
            View::Only(shown) => refusal.name().is_none_or(|name| shown.contains(&name)),
        }
    }

    /// Which attributes may be written to a record that is there, or is not; `None`: any.
    fn attributes(&self, is_there: bool) -> Result<Option<&AttributeSet>, Denied> {
        let Some(rules) = &self.rules else { return Ok(None) };
        let (allowed, set): (bool, fn(&AttributeRules) -> &AttributeSet) = match is_there {
            true => (rules.update, |attributes| &attributes.update),
            false => (rules.insert, |attributes| &attributes.insert),
        };
        if !allowed {
            return Err(Denied::Record);
        }
        Ok(rules.attributes.as_ref().map(set))
    }
}
