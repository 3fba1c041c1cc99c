//! The declared tables with the numbers they are stored under: from a topic to a place in the store and back.

use crate::catalog::{Catalog, Resolved, ResolvedFilter, SelectedTable};
use crate::position::TableId;
use crate::proposal::Durability;
use crate::schema::{Table, TableIndex};
use crate::sys;
use crate::value::{Key, KeyError, KeyType};
use rowcast_codec::levels;
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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A record of a declared table; its key is in the buffer.
    Record(TableIndex),
    /// A record of [`TableId::TOPICS`]; its key is in the buffer.
    Open,
    /// The channel of a declared table, which holds events only. Its key is in the buffer: empty.
    Channel(TableIndex),
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

    /// The number of the table that a place is in.
    #[must_use]
    pub fn table_at(&self, place: Place) -> TableId {
        match place {
            Place::Record(table) | Place::Channel(table) => self.id(&self.catalog[table]),
            Place::Open => TableId::TOPICS,
        }
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
    pub fn place(&self, topic: &str, key: &mut Vec<u8>, canonical: &mut String) -> Result<Place, PlaceError> {
        key.clear();
        canonical.clear();
        match self.catalog.resolve(topic) {
            Resolved::Record { table, key: record } => {
                record.encode(key);
                self.append_topic(table, &record, canonical);
                Ok(Place::Record(table.index))
            }
            Resolved::Channel { table } => {
                canonical.push_str(exported_name(table));
                Ok(Place::Channel(table.index))
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

    /// Writes the canonical topic of a record, or of a table's channel where `key` is empty. `false`: nobody can hear of
    /// it, since its table is not open to MQTT, or another table has taken the topic over: what is kept under a name
    /// since before a table had it is not that table's. So a topic has one record, whichever way it is read.
    pub fn topic(&self, table: TableId, key: &[u8], topic: &mut String) -> bool {
        self.topic_of_place(table, key, topic) && !self.is_taken(table, topic)
    }

    fn is_taken(&self, table: TableId, topic: &str) -> bool {
        let kept_in = self.get(table).unwrap_or(self.catalog.open_topics());
        self.catalog.taken_by(kept_in, topic).is_some()
    }

    /// The same for a place that a topic was resolved to by these tables, which nobody else can have.
    pub fn topic_of_place(&self, table: TableId, key: &[u8], topic: &mut String) -> bool {
        topic.clear();
        if matches!(table, TableId::TOPICS | TableId::SYS) {
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

    /// The filter that canonical topics are matched with, and whether its client spells the table by its alias. `None`:
    /// it can select nothing, its table is shut to MQTT or has no such key.
    #[must_use]
    pub fn canonical_filter(&self, filter: &str) -> Option<(String, bool)> {
        match self.catalog.resolve_filter(filter) {
            ResolvedFilter::Table { table, filter, spelling, .. } => {
                Some((filter.into_owned(), exported_name(table) != spelling))
            }
            ResolvedFilter::Other => Some((filter.to_owned(), false)),
            ResolvedFilter::Closed { .. } | ResolvedFilter::BadKey { .. } => None,
        }
    }

    /// The number of the table a topic or filter begins with the name of, whichever doors are open, and whether or not
    /// what follows is a key.
    #[must_use]
    pub fn table_of(&self, topic: &str) -> TableId {
        self.catalog.split_path(topic).map_or(TableId::TOPICS, |(table, _)| self.id(table))
    }

    /// The pieces of tables that hold every record `filter` selects, and more: in the order of the catalog, open
    /// topics last. `filter` is one that canonical topics are matched with.
    #[must_use]
    pub fn ranges(&self, filter: &str) -> Vec<Range> {
        let mut ranges = Vec::new();
        for SelectedTable { table, keys } in self.catalog.selected_tables(filter) {
            key_ranges(self.id(table), table.key.key_type, keys, &mut ranges);
        }
        // Where a table is named, no open topic can be.
        if self.catalog.split_path(filter).is_none() {
            let (literal, rest) = split_literal(filter);
            let mut from = Vec::with_capacity(literal.len());
            encode_slashes(literal, &mut from);
            if sys::is_below(filter) {
                ranges.push(text_range(TableId::SYS, from.clone(), literal, rest));
            }
            if !sys::is_below(filter) || sys::may_select_bridges(filter) {
                ranges.push(text_range(TableId::TOPICS, from, literal, rest));
            }
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

/// The levels before the first wildcard of a filter, and what is left.
fn split_literal(filter: &str) -> (&str, &str) {
    let mut end = 0;
    for level in levels(filter) {
        if level == "+" || level == "#" {
            return (filter[..end].strip_suffix('/').unwrap_or(&filter[..end]), &filter[end..]);
        }
        end = (end + level.len() + 1).min(filter.len());
    }
    (filter, "")
}

/// Where the records are that the key levels of a filter select.
fn key_ranges(table: TableId, key_type: KeyType, keys: &str, ranges: &mut Vec<Range>) {
    let (literal, rest) = split_literal(keys);
    if literal.is_empty() && !rest.is_empty() {
        return ranges.push(Range { table, from: Vec::new(), to: None });
    }
    // A number has one level: below it there is nothing, but `1/#` selects `1` too.
    if let (true, Ok(key @ Key::Number(_))) = (matches!(rest, "" | "#"), Key::parse(literal, key_type)) {
        let mut from = Vec::new();
        key.encode(&mut from);
        ranges.push(one_key(table, from));
    }
    if matches!(key_type, KeyType::Text | KeyType::Any) {
        let mut from = Vec::with_capacity(1 + literal.len());
        Key::Text(literal.into()).encode(&mut from);
        ranges.push(text_range(table, from, literal, rest));
    }
}

/// Where the keys are that begin with literal levels, as `from` holds them encoded: just that key, or it and all below.
fn text_range(table: TableId, from: Vec<u8>, literal: &str, rest: &str) -> Range {
    match rest {
        "" => one_key(table, from),
        _ if literal.is_empty() => Range { table, from: Vec::new(), to: None },
        _ => up_to(table, from, 1),
    }
}

fn one_key(table: TableId, from: Vec<u8>) -> Range {
    up_to(table, from, 0)
}

/// From a key up to the same with one byte more.
fn up_to(table: TableId, from: Vec<u8>, byte: u8) -> Range {
    let mut to = Vec::with_capacity(from.len() + 1);
    to.extend_from_slice(&from);
    to.push(byte);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Schema, Source};
    use rowcast_codec::{Topic, TopicFilter};

    const SCHEMA: &str = r#"
        type Dog @table @export { id: ID @id }
        type Counter @table @export { id: Int @id }
        type Thing @table @export { id: Any @id }
        type Kitten @table @export(name: "cat/kitten") { id: ID @id }
        type Hidden @table @export(mqtt: false) { id: ID @id }
        type Inner @table { id: ID @id }
    "#;

    fn tables() -> Tables {
        let schema = Schema::parse(&[Source::new("schema.graphql", SCHEMA)]).expect("a schema");
        Tables::new(Catalog::new(schema), Durability::Sync, |table| TableId(64 + table.index.0))
    }

    /// Topics with records, `topic` each in its canonical form, as the filter finds them by ranges and by matching.
    #[track_caller]
    fn check(filter: &str, selected: &[&str]) {
        let all = [
            "Dog/1",
            "Dog/a",
            "Dog/a/b",
            "Dog/a/b/c",
            "Dog/ab",
            "Dog/a!",
            "Dog//x",
            "Counter/1",
            "Counter/-7",
            "Thing/1",
            "Thing/1/x",
            "Thing/x",
            "cat/kitten/1",
            "cat/kitten/1/2",
            "cat/1",
            "cat",
            "home/a",
            "home/a/b",
            "home/ab",
            "/x",
            "$own/x",
        ];
        let tables = tables();
        let ranges = tables.ranges(filter);
        let matcher = TopicFilter::new(filter).expect("a filter");
        let (mut key, mut canonical) = (Vec::new(), String::new());
        let mut found = Vec::new();
        for topic in all {
            let place = tables.place(topic, &mut key, &mut canonical).expect("a place");
            assert!(!matches!(place, Place::Channel(_)), "{topic} is a record");
            let table = tables.table_at(place);
            assert_eq!(canonical, topic, "canonical");
            let mut again = String::new();
            assert!(tables.topic(table, &key, &mut again) && again == topic, "{topic} comes back as {again}");
            let matches = matcher.matches(&Topic::new(topic).expect("a topic"));
            let in_range = ranges
                .iter()
                .any(|range| range.table == table && key >= range.from && range.to.as_ref().is_none_or(|to| key < *to));
            assert!(in_range || !matches, "{filter} selects {topic}, and no range holds it");
            if matches {
                found.push(topic);
            }
        }
        assert_eq!(found, selected, "{filter}");
    }

    #[test]
    fn ranges_hold_every_record_a_filter_selects() {
        check("Dog/a", &["Dog/a"]);
        check("Dog/a/#", &["Dog/a", "Dog/a/b", "Dog/a/b/c"]);
        check("Dog/a/+", &["Dog/a/b"]);
        check("Dog/+/b", &["Dog/a/b"]);
        check("Dog/+", &["Dog/1", "Dog/a", "Dog/ab", "Dog/a!"]);
        check("Dog//x", &["Dog//x"]);
        check("Dog//+", &["Dog//x"]);
        check("Counter/1", &["Counter/1"]);
        check("Counter/1/#", &["Counter/1"]);
        check("Counter/+/#", &["Counter/1", "Counter/-7"]);
        check("Thing/1/#", &["Thing/1", "Thing/1/x"]);
        check("+/1", &["Dog/1", "Counter/1", "Thing/1", "cat/1"]);
        check("cat/#", &["cat/kitten/1", "cat/kitten/1/2", "cat/1", "cat"]);
        check("cat/+/1", &["cat/kitten/1"]);
        check("home/a/#", &["home/a", "home/a/b"]);
        check("home/+", &["home/a", "home/ab"]);
        check("/+", &["/x"]);
        check("$own/#", &["$own/x"]);
        check("$SYS/#", &[]);
    }

    #[test]
    fn what_is_not_selected_is_not_read() {
        let tables = tables();
        let read = |filter: &str| tables.ranges(filter).iter().map(|range| range.table.0).collect::<Vec<_>>();
        assert_eq!(read("Dog/#"), [64]);
        assert_eq!(read("Counter/1"), [65]);
        assert_eq!(read("home/#"), [0]);
        assert_eq!(read("+/1"), [64, 65, 66, 66, 0]);
        assert_eq!(read("Hidden/1"), [] as [u32; 0]);
        assert_eq!((read("$SYS/#"), read("$SYS/a/+")), (vec![TableId::SYS.0, 0], vec![TableId::SYS.0]));
        assert_eq!(read("$SYSTEM/#"), [0]);
        let range = &tables.ranges("Dog/a/#")[0];
        assert_eq!((&*range.from, range.to.as_deref()), (&b"\x02a"[..], Some(&b"\x02a\x01"[..])));
    }

    #[test]
    fn what_has_no_place_says_why() {
        let tables = tables();
        let place = |topic: &str| {
            tables.place(topic, &mut Vec::new(), &mut String::new()).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(place("Hidden/1"), Err("table Hidden is not open to MQTT".to_owned()));
        assert!(place("Counter/x").is_err_and(|words| words.contains("Counter")));
        assert_eq!(place("Inner/1"), Ok(()), "a table that is not exported claims no topic");
        let mut topic = String::new();
        assert!(!tables.topic(TableId(68), b"\x021", &mut topic), "nobody hears of a table that is shut to MQTT");
    }

    #[test]
    fn what_is_kept_under_a_name_that_is_another_tables_has_no_topic() {
        let schema = r#"
            type Dog @table @export { id: ID @id }
            type Puppy @table @export(name: "Dog/puppy", mqtt: false) { id: Int @id }
            type Count @table @export { id: Int @id }
            type One @table @export(name: "Count/1")
        "#;
        let schema = Schema::parse(&[Source::new("schema.graphql", schema)]).expect("a schema");
        let tables = Tables::new(Catalog::new(schema), Durability::Sync, |table| TableId(64 + table.index.0));
        let number = |number: i64| {
            let mut key = Vec::new();
            Key::Number(number).encode(&mut key);
            key
        };
        for (table, key, expected) in [
            (TableId(64), &b"\x021"[..], Some("Dog/1")),
            (TableId(64), b"\x02puppy", None),
            (TableId(64), b"\x02puppy\x001", None),
            (TableId(64), b"\x02puppy\x00x", None),
            (TableId(64), b"\x02puppies\x001", Some("Dog/puppies/1")),
            (TableId(64), b"", Some("Dog")),
            (TableId(66), &number(1), None),
            (TableId(66), &number(2), Some("Count/2")),
            (TableId(66), b"", Some("Count")),
            (TableId(67), b"", Some("Count/1")),
            (TableId(67), b"\x02x", Some("Count/1/x")),
            (TableId::TOPICS, b"dogs\x001", Some("dogs/1")),
            (TableId::TOPICS, b"Dog", None),
            (TableId::TOPICS, b"dog", None),
            (TableId::TOPICS, b"dog\x00", None),
            (TableId::TOPICS, b"dog\x00puppy\x001", None),
            (TableId::TOPICS, b"x\x00dog", Some("x/dog")),
            (TableId::SYS, b"$SYS\x00broker", Some("$SYS/broker")),
            (TableId(99), b"\x021", None),
        ] {
            let mut topic = String::new();
            let found = tables.topic(table, key, &mut topic).then_some(topic);
            assert_eq!(found.as_deref(), expected, "{table:?} {}", key.escape_ascii());
        }
    }
}
