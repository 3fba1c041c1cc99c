//! The declared tables with the numbers they are stored under: from a topic to a place in the store and back.

use crate::catalog::{Catalog, Resolved};
use crate::position::TableId;
use crate::proposal::Durability;
use crate::schema::{Table, TableIndex};
use crate::value::{Key, KeyError};
use rustc_hash::FxHashMap;

/// A catalog whose tables have their numbers.
#[derive(Debug)]
pub struct Tables {
    catalog: Catalog,
    ids: Vec<TableId>,
    indexes: FxHashMap<TableId, TableIndex>,
    durability: Durability,
}

/// Where a topic's record is kept.
#[derive(Clone, Copy, Debug)]
pub enum Place<'c> {
    /// A record of a declared table; its key is in the buffer.
    Record(&'c Table),
    /// A record of [`TableId::TOPICS`]; its key is in the buffer.
    Open,
    /// The channel of a declared table, which holds events only. Its key is in the buffer: empty.
    Channel(&'c Table),
}

/// Why a topic has no place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlaceError {
    /// Its table is exported with `mqtt: false`.
    #[error("table {0} is not open to MQTT")]
    Closed(Box<str>),
    /// What follows the table's name is not one of its keys.
    #[error("{1} (table {0})")]
    BadKey(Box<str>, KeyError),
}

/// A piece of a table, in the order of its keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// Which table.
    pub table: TableId,
    /// The first key, encoded.
    pub from: Vec<u8>,
    /// Keys from here on do not belong to it; `None`: all belong.
    pub to: Option<Vec<u8>>,
}

impl Tables {
    /// The tables of `catalog`, numbered by `id`; those that say nothing else are as durable as `durability`.
    #[must_use]
    pub fn new(catalog: Catalog, durability: Durability, id: impl Fn(&Table) -> TableId) -> Tables {
        let ids: Vec<TableId> = catalog.tables().iter().map(id).collect();
        let indexes = catalog.tables().iter().zip(&ids).map(|(table, &id)| (id, table.index)).collect();
        Tables { catalog, ids, indexes, durability }
    }

    /// The names and the rules behind them.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The number a table is stored under.
    #[must_use]
    pub fn id(&self, table: &Table) -> TableId {
        self.ids[table.index.0 as usize]
    }

    /// The declared table stored under a number; `None` for the server's own and for dropped ones.
    #[must_use]
    pub fn get(&self, id: TableId) -> Option<&Table> {
        self.indexes.get(&id).map(|&index| &self.catalog[index])
    }

    /// What an acknowledged change of `table` (`None`: an open topic) waits for.
    #[must_use]
    pub fn durability(&self, table: Option<&Table>) -> Durability {
        table.and_then(|table| table.durability).unwrap_or(self.durability)
    }

    /// Where the record of `topic` is kept. Writes its encoded key to `key` and its canonical topic to `canonical`.
    pub fn place(&self, topic: &str, key: &mut Vec<u8>, canonical: &mut String) -> Result<Place<'_>, PlaceError> {
        key.clear();
        canonical.clear();
        match self.catalog.resolve(topic) {
            Resolved::Record { table, key: record } => {
                record.encode(key);
                self.append_topic(table, &record, canonical);
                Ok(Place::Record(table))
            }
            Resolved::Channel { table } => {
                canonical.push_str(exported_name(table));
                Ok(Place::Channel(table))
            }
            Resolved::Open => {
                encode_open(topic, key);
                canonical.push_str(topic);
                Ok(Place::Open)
            }
            Resolved::Closed { table } => Err(PlaceError::Closed(table.name.clone())),
            Resolved::BadKey { table, error } => Err(PlaceError::BadKey(table.name.clone(), error)),
        }
    }

    /// Writes the canonical topic of a record, or of a table's channel where `key` is empty. `false`: its table is
    /// not open to MQTT, nobody can hear of it.
    pub fn topic(&self, table: TableId, key: &[u8], topic: &mut String) -> bool {
        topic.clear();
        if table == TableId::TOPICS {
            return decode_text(key, topic);
        }
        let Some(table) = self.get(table) else { return false };
        if !table.export.as_ref().is_some_and(|export| export.doors.mqtt) {
            return false;
        }
        topic.push_str(exported_name(table));
        match key {
            [] => true,
            // Text keys, without the detour over an owned one.
            [2, text @ ..] => {
                topic.push('/');
                decode_text(text, topic)
            }
            _ => match Key::decode(key) {
                Some(Key::Number(number)) => {
                    use std::fmt::Write;
                    let _ = write!(topic, "/{number}");
                    true
                }
                _ => false,
            },
        }
    }

    /// The pieces of tables that hold every record `filter` selects, and more: in the order of the catalog, open
    /// topics last. `filter` is one that canonical topics are matched with.
    #[must_use]
    pub fn ranges(&self, filter: &str) -> Vec<Range> {
        let mut ranges = Vec::new();
        let mut is_tables = false; // The filter names a table: no open topic is below that.
        for table in self.catalog.tables() {
            let Some(export) = table.export.as_ref().filter(|export| export.doors.mqtt) else { continue };
            let Some(rest) = strip_name(filter, &export.name) else { continue };
            let id = self.id(table);
            is_tables |= filter.starts_with(&*export.name);
            match rest {
                "#" | "+" => ranges.push(Range { table: id, from: Vec::new(), to: None }),
                _ if !has_wildcard(rest) => {
                    if let Ok(key) = Key::parse(rest, table.key.key_type) {
                        let mut from = Vec::new();
                        key.encode(&mut from);
                        ranges.push(one_key(id, from));
                    }
                }
                _ => ranges.extend(literal_range(id, &[2], rest)),
            }
        }
        if is_tables {
            return ranges;
        }
        if has_wildcard(filter) {
            ranges.extend(literal_range(TableId::TOPICS, &[], filter));
        } else {
            let mut key = Vec::new();
            encode_open(filter, &mut key);
            ranges.push(one_key(TableId::TOPICS, key));
        }
        ranges
    }

    fn append_topic(&self, table: &Table, key: &Key<'_>, topic: &mut String) {
        use std::fmt::Write;
        topic.push_str(exported_name(table));
        topic.push('/');
        match key {
            Key::Number(number) => drop(write!(topic, "{number}")),
            Key::Text(text) => topic.push_str(text),
        }
    }
}

fn exported_name(table: &Table) -> &str {
    table.export.as_ref().map_or(&table.name, |export| &export.name)
}

fn has_wildcard(filter: &str) -> bool {
    filter.split('/').any(|level| level == "+" || level == "#")
}

/// What of `filter` is left for the key where its first levels select `name`.
fn strip_name<'f>(filter: &'f str, name: &str) -> Option<&'f str> {
    let mut rest = filter;
    for level in name.split('/') {
        if rest == "#" {
            return Some("#");
        }
        let (first, behind) = rest.split_once('/')?;
        if first != "+" && first != level {
            return None;
        }
        rest = behind;
    }
    Some(rest)
}

/// The keys below the literal levels that a filter with wildcards begins with.
fn literal_range(table: TableId, tag: &[u8], filter: &str) -> Option<Range> {
    let wildcard = filter.split('/').position(|level| level == "+" || level == "#")?;
    let literal: Vec<&str> = filter.split('/').take(wildcard).collect();
    let mut from = tag.to_vec();
    if literal.is_empty() {
        return Some(Range { table, from: if tag.is_empty() { Vec::new() } else { from }, to: None });
    }
    encode_slashes(&literal.join("/"), &mut from);
    let mut to = from.clone();
    to.push(1);
    Some(Range { table, from, to: Some(to) })
}

fn one_key(table: TableId, from: Vec<u8>) -> Range {
    let mut to = from.clone();
    to.push(0);
    Range { table, from, to: Some(to) }
}

/// The key of an open topic: its bytes with each `/` as 0, so that a subtree is one range.
pub fn encode_open(topic: &str, key: &mut Vec<u8>) {
    encode_slashes(topic, key);
}

fn encode_slashes(text: &str, key: &mut Vec<u8>) {
    key.extend(text.bytes().map(|byte| if byte == b'/' { 0 } else { byte }));
}

fn decode_text(key: &[u8], text: &mut String) -> bool {
    let Ok(key) = std::str::from_utf8(key) else { return false };
    let mut levels = key.split('\0');
    if let Some(first) = levels.next() {
        text.push_str(first);
    }
    for level in levels {
        text.push('/');
        text.push_str(level);
    }
    true
}
