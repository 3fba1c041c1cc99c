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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Source;

    const SCHEMA: &str = r#"
        type Dog @table @export
        type Counter @table @export { id: Int @id }
        type Mixed @table @export { id: Any @id }
        type Secret @table @export(mqtt: false)
        type Plan @table
        type Barn @table @export(name: "farm/barn")
        type Animal @table @export(name: "farm/barn/animal")
        type Cat @table @export
        type Kitten @table @export(name: "cat/kitten")
        type Bird @table @export
        type bird @table(table: "bird2") @export
    "#;

    #[test]
    fn a_topic_is_a_record_of_the_table_it_names() {
        for (topic, expected) in [
            ("Dog/123", "Dog 123"),
            ("dog/123", "Dog 123"),
            ("dog/a/b//c/", "Dog a/b//c/"),
            ("dog//x", "Dog /x"),
            ("dog/?", "Dog ?"),
            ("counter/01", "Counter 1"),
            ("counter/-0", "Counter 0"),
            ("mixed/01", "Mixed 01"),
            ("mixed/1", "Mixed 1"),
            ("farm/barn/1", "Barn 1"),
            ("farm/barn/animal/1", "Animal 1"),
            ("farm/barn/animals/1", "Barn animals/1"),
            ("Bird/1", "Bird 1"),
            ("bird/1", "bird 1"),
            ("Cat/kitten/1", "Cat kitten/1"),
            ("cat/kitten/1", "Kitten 1"),
        ] {
            check(topic, expected);
        }
    }

    #[test]
    fn a_topic_is_a_channel_an_open_topic_or_nothing() {
        for (topic, expected) in [
            ("dog", "channel of Dog"),
            ("Dog/", "channel of Dog"),
            ("farm/barn", "channel of Barn"),
            ("farm/barn/animal/", "channel of Animal"),
            ("farm", "open"),
            ("farm/", "open"),
            ("dogs/1", "open"),
            ("DOG/1", "open"),
            ("/dog/1", "open"),
            ("plan/1", "open"),
            ("Plan/1", "open"),
            ("barn/1", "open"),
            ("Farm/barn/1", "open"),
            ("cat/1", "open"), // `cat/kitten` claims the level, so `cat` is no alias of `Cat`.
            ("", "open"),
            ("/", "open"),
            ("secret/1", "Secret is closed"),
            ("Secret", "Secret is closed"),
            ("counter/x", "Counter: the key is not a whole number of 32 bits (Int)"),
            ("counter/1/", "Counter: the key is not a whole number of 32 bits (Int)"),
        ] {
            check(topic, expected);
        }
        check(&format!("dog/{}", "x".repeat(5000)), "Dog: the key has 5000 bytes, more than 4096");
        check(&"/".repeat(65_535), "open");
    }

    #[test]
    fn a_filter_is_brought_to_the_exact_name_and_remembers_its_spelling() {
        for (filter, expected) in [
            ("dog/#", "Dog/# as dog"),
            ("Dog/#", "Dog/# as Dog"),
            ("dog", "Dog as dog"),
            ("dog/", "Dog as dog"),
            ("dog/+", "Dog/+ as dog"),
            ("dog/+/x", "Dog/+/x as dog"),
            ("dog/a/#", "Dog/a/# as dog"),
            ("counter/01", "Counter/1 as counter"),
            ("counter/01/#", "Counter/1/# as counter"),
            ("counter/x/#", "Counter/x/# as counter"),
            ("counter/+", "Counter/+ as counter"),
            ("counter/#", "Counter/# as counter"),
            ("mixed/01", "Mixed/01 as mixed"),
            ("farm/barn/+", "farm/barn/+ as farm/barn"),
            ("farm/barn/#", "farm/barn/# as farm/barn"),
            ("farm/barn/animal/7", "farm/barn/animal/7 as farm/barn/animal"),
            ("bird/1", "bird/1 as bird"),
            ("dog/?breed=Lab&age=gt=3", "Dog/# as dog where breed=Lab&age=gt=3"),
            ("dog/a/?", "Dog/a/# as dog where "),
            ("dog/a?b", "Dog/a?b as dog"),
            ("counter/?x=1?2", "Counter/# as counter where x=1?2"),
            ("farm/+/1", "other"),
            ("farm/#", "other"),
            ("+/123", "other"),
            ("#", "other"),
            ("home/dog/1", "other"),
            ("home/?x=1", "other"),
            ("secret/#", "Secret is closed"),
            ("counter/x", "Counter: the key is not a whole number of 32 bits (Int)"),
            ("counter/1/2", "Counter: the key is not a whole number of 32 bits (Int)"),
        ] {
            assert_eq!(describe_filter(filter), expected, "{filter}");
        }
    }

    #[test]
    fn a_filter_selects_records_of_every_table_below_its_wildcards() {
        for (filter, expected) in [
            ("#", "Dog # Counter # Mixed # Barn # Animal # Cat # Kitten # Bird # bird #"),
            ("+/1", "Dog 1 Counter 1 Mixed 1 Cat 1 Bird 1 bird 1"),
            ("+/+/1", "Dog +/1 Counter +/1 Mixed +/1 Barn 1 Cat +/1 Kitten 1 Bird +/1 bird +/1"),
            ("Dog/#", "Dog #"),
            ("Dog", ""),
            ("+", ""),
            ("farm/#", "Barn # Animal #"),
            ("farm/barn/#", "Barn # Animal #"),
            ("farm/barn/+/1", "Barn +/1 Animal 1"),
            ("Secret/#", ""),
            ("nothing/#", ""),
        ] {
            let catalog = catalog();
            let selected: Vec<_> =
                catalog.selected_tables(filter).map(|it| format!("{} {}", it.table.name, it.keys)).collect();
            assert_eq!(selected.join(" "), expected, "{filter}");
        }
    }

    #[test]
    fn a_record_has_one_canonical_topic_and_is_delivered_as_spelled() {
        let catalog = catalog();
        let Resolved::Record { table, key } = catalog.resolve("counter/007") else { panic!("a record") };
        let topic = catalog.canonical_topic(table, &key).unwrap();
        assert_eq!(topic, "Counter/7");
        assert_eq!(respell(&topic, table, "counter"), "counter/7");
        assert_eq!(respell(&topic, table, "Counter"), "Counter/7");
        assert_eq!(respell("Counter", table, "counter"), "counter");
        assert_eq!(catalog.spellings(table), ["Counter".into(), "counter".into()]);
        let exported = |name: &str| catalog.exported(name).map(|table| catalog.spellings(table).join(" "));
        assert_eq!(exported("cat"), None);
        assert_eq!(exported("Bird").as_deref(), Some("Bird"));
        assert_eq!(exported("farm/barn").as_deref(), Some("farm/barn"));
        assert_eq!(exported("secret").as_deref(), Some("Secret secret"));
        let plan = catalog.tables().iter().find(|table| &*table.name == "Plan").unwrap();
        assert!(catalog.spellings(plan).is_empty() && catalog.canonical_topic(plan, &key).is_none());
        let open = catalog.open_topics();
        let key = Key::parse("a/b", open.key.key_type).unwrap();
        assert_eq!(catalog.canonical_topic(open, &key).as_deref(), Some("a/b"));
        assert_eq!(catalog[open.index].name, open.name);
    }

    #[test]
    fn every_canonical_topic_resolves_to_its_record() {
        let catalog = catalog();
        for table in catalog.tables().iter().filter(|table| is_open_to_mqtt(table)) {
            let key = Key::parse("7", table.key.key_type).unwrap();
            let topic = catalog.canonical_topic(table, &key).unwrap();
            for spelling in catalog.spellings(table) {
                let spelled = respell(&topic, table, spelling).into_owned();
                let Resolved::Record { table: found, key: found_key } = catalog.resolve(&spelled) else {
                    panic!("{spelled} is a record")
                };
                assert_eq!((found.index, &found_key), (table.index, &key), "{spelled}");
            }
        }
    }

    #[test]
    fn a_new_schema_is_compared_table_by_table() {
        for (old, new, expected) in [
            ("type A @table { a: Int }", "type A @table { a: Int }", ""),
            ("", "type A @table", "table `A` is new"),
            ("type A @table", "", "table `A` is no longer in the schema; its records are kept, out of reach"),
            ("type A @table(table: \"t\")", "type B @table(table: \"t\")", ""),
            (
                "type A @table { a: Int b: ID @indexed c: Int }",
                "type A @table { a: Long b: ID c: Int @indexed d: Int @indexed }",
                "attribute `A.a` is Long instead of Int; records change when put again\n\
                 `A.b` is no longer indexed\n\
                 `A.c` is to be indexed\n\
                 attribute `A.d` is new\n\
                 `A.d` is to be indexed",
            ),
            (
                "type A @table { a: Int @indexed b: Int }",
                "type A @table { b: Int }",
                "attribute `A.a` is no longer declared; its values stay in the records\n`A.a` is no longer indexed",
            ),
            (
                "type A @table",
                "type A @table { a: Int }",
                "table `A` takes other payloads than before; records stay as they are until put again",
            ),
            (
                "type A @table { id: ID }",
                "type A @table { id: Int @id }",
                "refused: the key of `A` cannot change from `id`, text, to `id`, a whole number of 32 bits (Int): \
                 it would orphan the stored records\n\
                 attribute `A.id` is Int instead of ID; records change when put again",
            ),
            (
                "type A @table { a: ID @id }",
                "type A @table { b: ID @id }",
                "refused: the key of `A` cannot change from `a`, text, to `b`, text: it would orphan the stored \
                 records\n\
                 attribute `A.a` is no longer declared; its values stay in the records\n\
                 attribute `A.b` is new",
            ),
        ] {
            let changes = catalog_of(new).changes_from(&catalog_of(old));
            let lines: Vec<_> = changes
                .iter()
                .map(|change| format!("{}{change}", if change.is_refused() { "refused: " } else { "" }))
                .collect();
            assert_eq!(lines.join("\n"), expected, "{old} -> {new}");
        }
    }

    fn catalog() -> Catalog {
        catalog_of(SCHEMA)
    }

    fn catalog_of(schema: &str) -> Catalog {
        Catalog::new(Schema::parse(&[Source::new("schema.graphql", schema)]).unwrap())
    }

    #[track_caller]
    fn check(topic: &str, expected: &str) {
        let found = match catalog().resolve(topic) {
            Resolved::Record { table, key } => format!("{} {key}", table.name),
            Resolved::Channel { table } => format!("channel of {}", table.name),
            Resolved::Open => "open".to_owned(),
            Resolved::Closed { table } => format!("{} is closed", table.name),
            Resolved::BadKey { table, error } => format!("{}: {error}", table.name),
        };
        assert_eq!(found, expected, "{topic:.80}");
    }

    fn describe_filter(filter: &str) -> String {
        match catalog().resolve_filter(filter) {
            ResolvedFilter::Table { filter, spelling, query: None, .. } => format!("{filter} as {spelling}"),
            ResolvedFilter::Table { filter, spelling, query: Some(query), .. } => {
                format!("{filter} as {spelling} where {query}")
            }
            ResolvedFilter::Other => "other".to_owned(),
            ResolvedFilter::Closed { table } => format!("{} is closed", table.name),
            ResolvedFilter::BadKey { table, error } => format!("{}: {error}", table.name),
        }
    }
}
