//! Which table and which record a topic is.
//!
//! Asked for every publish, so resolving hashes the first level(s) once and borrows the key from the topic.

use std::borrow::Cow;

use crate::schema::{Schema, Table, TableIndex};
use crate::value::{Key, KeyError};

/// All tables, found by the names topics begin with.
#[derive(Debug, Clone)]
pub struct Catalog {
    tables: Vec<Table>,
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
    /// No exported table's name is where it begins: plain MQTT, kept in [`Catalog::open_topics`].
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

/// What a topic filter is about, after the rules for spellings. See [`Catalog::resolve_filter`].
#[derive(Debug, Clone)]
pub enum ResolvedFilter<'c, 'f> {
    /// Its first level(s) name a table open to MQTT.
    Table {
        /// The table named.
        table: &'c Table,
        /// The filter with the exact exported name and a canonical key: what to match canonical topics with.
        filter: Cow<'f, str>,
        /// How the client spelled the table, which is how topics are spelled to it.
        spelling: &'c str,
        /// What follows `?`, for a view; `filter` then ends before it.
        query: Option<&'f str>,
    },
    /// Wildcards where the table's name would be, or no table's name: match canonical topics, spell exactly.
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

impl Catalog {
    /// The catalog of a checked schema.
    pub fn new(_schema: Schema) -> Self {
        todo!()
    }

    /// All declared tables, exported or not, in the order of [`TableIndex`].
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The built-in table of open topics, `$topics`: untyped, its keys are whole topics.
    pub fn open_topics(&self) -> &Table {
        todo!()
    }

    /// What a topic of a PUBLISH, valid as such, is.
    pub fn resolve<'t>(&self, _topic: &'t str) -> Resolved<'_, 't> {
        todo!()
    }

    /// What a filter of a SUBSCRIBE, valid as such and without `$share/..`, is about.
    pub fn resolve_filter<'f>(&self, _filter: &'f str) -> ResolvedFilter<'_, 'f> {
        todo!()
    }

    /// The table exported under `name`, or under the alias `name`, whichever doors are open.
    pub fn exported(&self, _name: &str) -> Option<&Table> {
        todo!()
    }

    /// The one topic of a record that subscribers are matched with: exact exported name, `/`, canonical key.
    /// `None` for a table that is not exported.
    pub fn canonical_topic(&self, _table: &Table, _key: &Key<'_>) -> Option<String> {
        todo!()
    }

    /// The names topics of the table may begin with: the exact one, then the alias if it holds.
    pub fn spellings(&self, _table: &Table) -> &[Box<str>] {
        todo!()
    }
}

impl std::ops::Index<TableIndex> for Catalog {
    type Output = Table;

    fn index(&self, index: TableIndex) -> &Table {
        &self.tables[index.0 as usize]
    }
}
