//! What a new schema changes for the records there are.

use std::fmt;

use super::Catalog;
use crate::schema::{Attribute, Table};
use crate::value::KeyType;

/// One difference between two schemas. Tables are the same if they are stored in the same place, whatever their
/// types are called. Displayed as a line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaChange {
    /// A table there was not before.
    TableAdded {
        /// Its type's name.
        table: Box<str>,
    },
    /// A table that is no longer declared. Its records are kept, out of reach.
    TableDropped {
        /// Its type's name.
        table: Box<str>,
    },
    /// The records there are have keys the new schema could not read: refused.
    KeyChanged {
        /// Its type's name.
        table: Box<str>,
        /// The attribute and what its keys were.
        old: (Box<str>, KeyType),
        /// What they would be.
        new: (Box<str>, KeyType),
    },
    /// A table of any payload got attributes, or the other way round: its records are not what it declares.
    TypingChanged {
        /// Its type's name.
        table: Box<str>,
    },
    /// An attribute there was not before.
    AttributeAdded {
        /// Its table.
        table: Box<str>,
        /// Its name.
        attribute: Box<str>,
    },
    /// An attribute that is no longer declared. Its values stay in the records.
    AttributeDropped {
        /// Its table.
        table: Box<str>,
        /// Its name.
        attribute: Box<str>,
    },
    /// Records there are may hold values of the old type until they are put again.
    AttributeRetyped {
        /// Its table.
        table: Box<str>,
        /// Its name.
        attribute: Box<str>,
        /// The type it had.
        old: String,
        /// The type it has.
        new: String,
    },
    /// An index must be built from the records there are.
    IndexAdded {
        /// Its table.
        table: Box<str>,
        /// The attribute indexed.
        attribute: Box<str>,
    },
    /// An index is not needed any more.
    IndexDropped {
        /// Its table.
        table: Box<str>,
        /// The attribute indexed.
        attribute: Box<str>,
    },
}

impl SchemaChange {
    /// Whether the reload must be refused.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::KeyChanged { .. })
    }

    /// Whether records that could be reached cannot any more.
    pub fn puts_out_of_reach(&self) -> bool {
        matches!(self, Self::TableDropped { .. })
    }
}

impl fmt::Display for SchemaChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableAdded { table } => write!(f, "table `{table}` is new"),
            Self::TableDropped { table } => {
                write!(f, "table `{table}` is no longer in the schema; its records are kept, out of reach")
            }
            Self::KeyChanged { table, old, new } => write!(
                f,
                "the key of `{table}` cannot change from `{}`, {}, to `{}`, {}: it would orphan the stored records",
                old.0, old.1, new.0, new.1
            ),
            Self::TypingChanged { table } => {
                write!(f, "table `{table}` takes other payloads than before; records stay as they are until put again")
            }
            Self::AttributeAdded { table, attribute } => write!(f, "attribute `{table}.{attribute}` is new"),
            Self::AttributeDropped { table, attribute } => {
                write!(f, "attribute `{table}.{attribute}` is no longer declared; its values stay in the records")
            }
            Self::AttributeRetyped { table, attribute, old, new } => {
                write!(f, "attribute `{table}.{attribute}` is {new} instead of {old}; records change when put again")
            }
            Self::IndexAdded { table, attribute } => write!(f, "`{table}.{attribute}` is to be indexed"),
            Self::IndexDropped { table, attribute } => write!(f, "`{table}.{attribute}` is no longer indexed"),
        }
    }
}

pub(super) fn between(old: &Catalog, new: &Catalog) -> Vec<SchemaChange> {
    let mut changes = Vec::new();
    for table in old.tables() {
        if !new.tables().iter().any(|other| is_same(table, other)) {
            changes.push(SchemaChange::TableDropped { table: table.name.clone() });
        }
    }
    for table in new.tables() {
        match old.tables().iter().find(|other| is_same(table, other)) {
            Some(before) => compare(before, table, &mut changes),
            None => changes.push(SchemaChange::TableAdded { table: table.name.clone() }),
        }
    }
    changes
}

fn is_same(a: &Table, b: &Table) -> bool {
    (&a.database, &a.table) == (&b.database, &b.table)
}

fn compare(old: &Table, new: &Table, changes: &mut Vec<SchemaChange>) {
    let name = || new.name.clone();
    let is_renamed = old.is_typed() && new.is_typed() && old.key.name != new.key.name;
    if is_renamed || old.key.key_type != new.key.key_type {
        let side = |table: &Table| (table.key.name.clone(), table.key.key_type);
        changes.push(SchemaChange::KeyChanged { table: name(), old: side(old), new: side(new) });
    }
    if old.is_typed() != new.is_typed() {
        changes.push(SchemaChange::TypingChanged { table: name() });
        return;
    }
    for attribute in old.attributes.iter().filter(|attribute| attribute.declared) {
        if new.attributes.get(&attribute.name).is_some() {
            continue;
        }
        changes.push(SchemaChange::AttributeDropped { table: name(), attribute: attribute.name.clone() });
        if attribute.indexed {
            changes.push(SchemaChange::IndexDropped { table: name(), attribute: attribute.name.clone() });
        }
    }
    for attribute in new.attributes.iter().filter(|attribute| attribute.declared) {
        compare_attribute(&new.name, old.attributes.get(&attribute.name), attribute, changes);
    }
}

fn compare_attribute(table: &str, old: Option<&Attribute>, new: &Attribute, changes: &mut Vec<SchemaChange>) {
    let (table, attribute) = (Box::<str>::from(table), new.name.clone());
    match old {
        None => changes.push(SchemaChange::AttributeAdded { table: table.clone(), attribute: attribute.clone() }),
        Some(old) if old.ty.to_string() != new.ty.to_string() => changes.push(SchemaChange::AttributeRetyped {
            table: table.clone(),
            attribute: attribute.clone(),
            old: old.ty.to_string(),
            new: new.ty.to_string(),
        }),
        Some(_) => {}
    }
    match (old.is_some_and(|old| old.indexed), new.indexed) {
        (false, true) => changes.push(SchemaChange::IndexAdded { table, attribute }),
        (true, false) => changes.push(SchemaChange::IndexDropped { table, attribute }),
        _ => {}
    }
}
