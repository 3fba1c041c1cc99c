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
//! place of the name gets the exact one.
//!
//! # Speed
//! Asked for every publish, so resolving hashes the first level(s) once each and borrows the key from the topic.

use std::borrow::Cow;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::schema::{Schema, Table, TableIndex};
use crate::value::{Key, KeyError, KeyType};

mod changes;

pub use changes::SchemaChange;

/// All tables, found by the names topics begin with.
#[derive(Debug, Clone)]
pub struct Catalog {
    tables: Vec<Table>,
    open_topics: Table,
    /// By exact name and by alias.
    names: FxHashMap<Box<str>, Name>,
    /// By table: the exact name, then the alias if it holds; nothing if it is not exported.
    spellings: Vec<Vec<Box<str>>>,
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

/// What a topic filter is about, after the rules for spellings.
#[derive(Debug, Clone)]
pub enum ResolvedFilter<'c, 'f> {
    /// Its first level(s) name a table open to MQTT. Tables whose names lie below that one's may be meant too:
    /// [`Catalog::selected_tables`] knows.
    Table {
        /// The table named.
        table: &'c Table,
        /// The filter with the exact name and a canonical key: what to match canonical topics with.
        filter: Cow<'f, str>,
        /// How the client spells the table, and so how its topics are spelled to the client.
        spelling: &'c str,
        /// What follows the `?` of a view (`dog/?breed=Lab`); the filter then is that of the records it is over.
        query: Option<&'f str>,
    },
    /// Wildcards where a table's name would be, or no table's name: match canonical topics, spell exactly.
    Other,
    /// It names a table exported with `mqtt: false`.
    Closed {
        /// The table named.
        table: &'c Table,
    },
    /// It names one record, by a text that is not a key of its table: nothing will ever match.
    BadKey {
        /// The table named.
        table: &'c Table,
        /// What is wrong with the key.
        error: KeyError,
    },
}

/// A table a filter may select records of.
#[derive(Debug, Clone, Copy)]
pub struct SelectedTable<'c, 'f> {
    /// The table.
    pub table: &'c Table,
    /// What of the filter is left for its keys: `#`, `+/x`, `123`.
    pub keys: &'f str,
}

impl Catalog {
    /// The catalog of a checked schema.
    pub fn new(schema: Schema) -> Self {
        let mut catalog = Self {
            open_topics: open_topics(&schema),
            names: FxHashMap::default(),
            spellings: vec![Vec::new(); schema.tables.len()],
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
        catalog
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
            let level = topic[end..].find('/').map_or(topic.len(), |length| end + length);
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

    /// What the filter of a SUBSCRIBE, valid as such and without its `$share/..`, is about.
    ///
    /// | filter on `Dog`, `Counter` (Int key) | becomes         | spelled   |
    /// |--------------------------------------|-----------------|-----------|
    /// | `dog/#`                              | `Dog/#`         | `dog`     |
    /// | `dog`, `dog/`                        | `Dog`           | `dog`     |
    /// | `Counter/01`                         | `Counter/1`     | `Counter` |
    /// | `counter/01/#`                       | `Counter/1/#`   | `counter` |
    /// | `counter/x`                          | `BadKey`        |           |
    /// | `dog/a/?breed=Lab`                   | `Dog/a/#`       | `dog`     |
    /// | `+/123`, `#`                         | `Other`         |           |
    pub fn resolve_filter<'f>(&self, filter: &'f str) -> ResolvedFilter<'_, 'f> {
        let Some((name, keys)) = self.split_name(filter) else { return ResolvedFilter::Other };
        let table = &self[name.table];
        if !is_open_to_mqtt(table) {
            return ResolvedFilter::Closed { table };
        }
        let (keys, query) = split_query(keys);
        let keys = match canonical_keys(keys, table.key.key_type) {
            Ok(keys) => keys,
            Err(error) => return ResolvedFilter::BadKey { table, error },
        };
        let spellings = self.spellings(table);
        let (exact, spelling) = (&*spellings[0], &*spellings[name.spelling]);
        let canonical = match &*keys {
            "" => exact.to_owned(),
            keys => format!("{exact}/{keys}"),
        };
        let filter = if canonical == filter { Cow::Borrowed(filter) } else { Cow::Owned(canonical) };
        ResolvedFilter::Table { table, filter, spelling, query }
    }

    /// The tables open to MQTT that a canonical filter may select records of, and what it says about their keys.
    pub fn selected_tables<'f>(&self, filter: &'f str) -> impl Iterator<Item = SelectedTable<'_, 'f>> {
        self.tables.iter().filter(|table| is_open_to_mqtt(table)).filter_map(move |table| {
            let name = &*table.export.as_ref()?.name;
            Some(SelectedTable { table, keys: keys_below(filter, name)? })
        })
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

/// `?` where a key or a level below one would begin makes a view: over `a/#` in `a/?query`.
fn split_query(keys: &str) -> (Cow<'_, str>, Option<&str>) {
    match keys.split_once('?') {
        Some((prefix, query)) if prefix.is_empty() || prefix.ends_with('/') => {
            (Cow::Owned(format!("{prefix}#")), Some(query))
        }
        _ => (Cow::Borrowed(keys), None),
    }
}

/// The part of a filter that is about keys, with a key it names exactly in its canonical form. Text is always
/// canonical, and numbers are where `Any` is the type; `01` is a number's other form only for `Int` and `Long`.
fn canonical_keys(keys: Cow<'_, str>, key_type: KeyType) -> Result<Cow<'_, str>, KeyError> {
    let (key, below) = match keys.strip_suffix("/#") {
        Some(key) => (key, "/#"),
        None => (&*keys, ""),
    };
    if key.is_empty() || key.contains(['+', '#']) {
        return Ok(keys);
    }
    match (Key::parse(key, key_type), below) {
        (Ok(key @ Key::Number(_)), _) => Ok(Cow::Owned(format!("{key}{below}"))),
        (Err(error), "") => Err(error),
        _ => Ok(keys),
    }
}

/// What of a filter is left for the keys of a table with that name, if it can select any.
fn keys_below<'f>(filter: &'f str, name: &str) -> Option<&'f str> {
    let mut rest = filter;
    for level in name.split('/') {
        let (first, below) = match rest.split_once('/') {
            Some((first, below)) => (first, below),
            None if rest == "#" => return Some("#"),
            None => return None, // Ends with the name or above it.
        };
        if first != "+" && first != level {
            return None;
        }
        rest = below;
    }
    Some(rest)
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
