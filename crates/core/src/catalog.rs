//! Which table and which record a topic is.
//!
//! A topic is `NAME/KEY`: NAME is the exported name of a table, the longest if several fit (names may hold slashes),
//! KEY all the rest. `NAME` and `NAME/` are the table's own channel. Topics that begin with no table's name are open
//! topics, kept in the built-in table `$topics`.
//!
//! # Spellings
//! A table exported without `name:` has its type's name, and as an alias the same with a lower-case first letter:
//! `Dog/123` and `dog/123` are one topic. The alias holds unless another table's name is, or begins with, that very
//! level. All of a record's topics have one canonical spelling, with the exact name and the canonical key, in which
//! the log and live matching speak. Publishes are brought to it by [`Catalog::resolve`], filters by
//! [`Catalog::resolve_filter`], which also says how the client wants the name spelled; a filter with wildcards in
//! place of the name gets the exact one. Names that begin with a table's name have its alias too: where `dog` is `Dog`,
//! `dog/puppy` is `Dog/puppy`.
//!
//! # Names within names
//! With tables exported as `a` and `a/b`, the topic `a/b/9` is a record of the latter, whatever the former keeps under
//! `b/9`: what has no topic of its own is not written, and where it is there already, out of reach
//! ([`Catalog::taken_by`]).
//!
//! # Speed
//! Asked for every publish, so resolving hashes the first level(s) once each and borrows the key from the topic.

mod changes;
mod filter;
#[cfg(test)]
mod tests;

pub use changes::SchemaChange;
pub use filter::{ResolvedFilter, SelectedTable};

use std::borrow::Cow;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::schema::{Schema, Table, TableIndex};
use crate::value::{Key, KeyError};

/// All tables, found by the names topics begin with.
#[derive(Debug, Clone)]
pub struct Catalog {
    tables: Vec<Table>,
    open_topics: Table,
    /// By exact name and by alias.
    names: FxHashMap<Box<str>, Name>,
    /// By table: the exact name, then the alias if it holds; nothing if it is not exported.
    spellings: Vec<Vec<Box<str>>>,
    /// By table: whether the names of others begin with its own.
    encloses: Vec<bool>,
    /// The most levels a name has.
    levels_max: usize,
}

/// What a name in [`Catalog::names`] stands for.
#[derive(Debug, Clone, Copy)]
struct Name {
    table: TableIndex,
    /// Its place among the table's spellings.
    spelling: usize,
}

/// What a topic is.
#[derive(Debug, Clone)]
pub enum Resolved<'c, 't> {
    /// `NAME/KEY` of a table open to MQTT.
    Record {
        /// The table named.
        table: &'c Table,
        /// The record's key.
        key: Key<'t>,
    },
    /// `NAME` or `NAME/`: the table's own channel, for events only.
    Channel {
        /// The table named.
        table: &'c Table,
    },
    /// It begins with no exported table's name: plain MQTT, kept in [`Catalog::open_topics`].
    Open,
    /// It names a table exported with `mqtt: false`.
    Closed {
        /// The table named.
        table: &'c Table,
    },
    /// It names a table, and what follows is not one of its keys.
    BadKey {
        /// The table named.
        table: &'c Table,
        /// What is wrong with the key.
        error: KeyError,
    },
}

impl Catalog {
    /// The catalog of a checked schema.
    pub fn new(schema: Schema) -> Self {
        let mut catalog = Self {
            open_topics: open_topics(&schema),
            names: FxHashMap::default(),
            spellings: vec![Vec::new(); schema.tables.len()],
            encloses: vec![false; schema.tables.len()],
            levels_max: 0,
            tables: schema.tables,
        };
        for place in 0..catalog.tables.len() {
            if let Some(name) = catalog.tables[place].export.as_ref().map(|export| export.name.clone()) {
                catalog.add_name(place, name);
            }
        }
        for place in 0..catalog.tables.len() {
            let alias = catalog.tables[place].export.as_ref().and_then(|export| export.alias());
            if let Some(alias) = alias.filter(|alias| !catalog.is_claimed(alias)) {
                catalog.add_name(place, alias.into());
            }
        }
        for place in 0..catalog.tables.len() {
            catalog.look_around(place);
        }
        catalog
    }

    /// Finds the tables whose names the name of this one begins with. It has their alias, if they have one.
    fn look_around(&mut self, place: usize) {
        let Some(exact) = self.spellings[place].first().cloned() else { return };
        for (slash, _) in exact.match_indices('/') {
            let Some(Name { table, spelling: 0 }) = self.names.get(&exact[..slash]) else { continue };
            let outer = table.0 as usize;
            self.encloses[outer] = true;
            let alias = self.spellings[outer].get(1).map(|alias| format!("{alias}{}", &exact[slash..]));
            if let Some(alias) = alias.filter(|alias| !self.names.contains_key(&**alias)) {
                self.add_name(place, alias.into());
            }
        }
    }

    fn add_name(&mut self, place: usize, name: Box<str>) {
        let spellings = &mut self.spellings[place];
        let value = Name { table: TableIndex(place as u32), spelling: spellings.len() };
        self.levels_max = self.levels_max.max(name.split('/').count());
        spellings.push(name.clone());
        self.names.insert(name, value);
    }

    /// Whether a name is, or begins with, the one level `alias`.
    fn is_claimed(&self, alias: &str) -> bool {
        self.names.keys().any(|name| name.split('/').next() == Some(alias))
    }

    /// All declared tables, exported or not, in the order of [`TableIndex`].
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The built-in table of open topics, `$topics`: untyped, its keys are whole topics. It is none of
    /// [`tables`](Self::tables), and its index is the one after theirs.
    pub fn open_topics(&self) -> &Table {
        &self.open_topics
    }

    /// What the topic of a PUBLISH, valid as such, is.
    #[inline]
    pub fn resolve<'t>(&self, topic: &'t str) -> Resolved<'_, 't> {
        let Some((name, rest)) = self.split_name(topic) else { return Resolved::Open };
        let table = &self[name.table];
        if !is_open_to_mqtt(table) {
            return Resolved::Closed { table };
        }
        if rest.is_empty() {
            return Resolved::Channel { table };
        }
        match Key::parse(rest, table.key.key_type) {
            Ok(key) => Resolved::Record { table, key },
            Err(error) => Resolved::BadKey { table, error },
        }
    }

    /// The longest name a topic begins with, and what follows the slash behind it.
    #[inline]
    fn split_name<'t>(&self, topic: &'t str) -> Option<(Name, &'t str)> {
        let mut found = None;
        let mut end = 0;
        for _ in 0..self.levels_max {
            let slash = topic.as_bytes()[end..].iter().position(|&byte| byte == b'/');
            let level = slash.map_or(topic.len(), |length| end + length);
            if let Some(name) = self.names.get(&topic[..level]) {
                found = Some((*name, topic.get(level + 1..).unwrap_or_default()));
            }
            if level == topic.len() {
                break;
            }
            end = level + 1;
        }
        found
    }

    /// The table exported as `name`, or with `name` as its alias, whichever doors are open.
    pub fn exported(&self, name: &str) -> Option<&Table> {
        self.names.get(name).map(|name| &self[name.table])
    }

    /// The exported table a path (`dog/123`, decoded) begins with the name of, whichever doors are open, and what
    /// follows the slash behind that name.
    pub fn split_path<'t>(&self, path: &'t str) -> Option<(&Table, &'t str)> {
        self.split_name(path).map(|(name, rest)| (&self[name.table], rest))
    }

    /// The one topic of a record: exact exported name, `/`, canonical key. A key of `$topics` is its topic already.
    /// `None` for a table that is not exported.
    pub fn canonical_topic(&self, table: &Table, key: &Key<'_>) -> Option<String> {
        if table.index == self.open_topics.index {
            return Some(key.to_string());
        }
        Some(format!("{}/{key}", table.export.as_ref()?.name))
    }

    /// The other table whose the `canonical` topic of a record of `table` is, if it is another's.
    #[inline]
    pub fn taken_by(&self, table: &Table, canonical: &str) -> Option<&Table> {
        if !self.may_be_taken(table) {
            return None;
        }
        let (name, _) = self.split_name(canonical)?;
        (name.table != table.index).then(|| &self[name.table])
    }

    /// Whether there can be keys of a table that make the topic of another: of `$topics` always.
    pub fn may_be_taken(&self, table: &Table) -> bool {
        self.encloses.get(table.index.0 as usize).copied().unwrap_or(true)
    }

    /// The names topics of the table may begin with: the exact one, then the alias if it holds. Empty if it is not
    /// exported.
    pub fn spellings(&self, table: &Table) -> &[Box<str>] {
        self.spellings.get(table.index.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// What a reload from `old` to this changes, table by table.
    pub fn changes_from(&self, old: &Self) -> Vec<SchemaChange> {
        changes::between(old, self)
    }
}

/// A canonical topic of a table with its name spelled as a client wants it.
pub fn respell<'t>(topic: &'t str, table: &Table, spelling: &str) -> Cow<'t, str> {
    match &table.export {
        Some(export) if *export.name != *spelling => match topic.strip_prefix(&*export.name) {
            Some(rest) => Cow::Owned(format!("{spelling}{rest}")),
            None => Cow::Borrowed(topic),
        },
        _ => Cow::Borrowed(topic),
    }
}

fn is_open_to_mqtt(table: &Table) -> bool {
    table.export.as_ref().is_some_and(|export| export.doors.mqtt)
}

fn open_topics(schema: &Schema) -> Table {
    let mut table = Table::untyped("$topics");
    table.index = TableIndex(schema.tables.len() as u32);
    table.types = Arc::clone(&schema.types);
    table
}

impl std::ops::Index<TableIndex> for Catalog {
    type Output = Table;

    fn index(&self, index: TableIndex) -> &Table {
        self.tables.get(index.0 as usize).unwrap_or(&self.open_topics)
    }
}
