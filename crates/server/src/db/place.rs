//! Which table and which record an operation is about.

use rowcast_codec::{Topic, TopicError};
use rowcast_core::catalog::Resolved;
use rowcast_core::limits::TopicLimits;
use rowcast_core::schema::{Table, TableIndex};
use rowcast_core::tables::{Tables, encode_open};
use rowcast_core::value::{Key, KeyError};
use rowcast_core::{Durability, TableId};
use rowcast_store::limits::KEY_BYTES_MAX;
use std::fmt;
use std::sync::Arc;

/// A table as one version of the schema has it: a declared one, or `$topics`. Cheap to clone.
#[derive(Clone)]
pub struct TableRef {
    tables: Arc<Tables>,
    index: TableIndex,
    id: TableId,
}

/// A place for one record of a table, whether there is one or not.
#[derive(Clone, Debug)]
pub struct RecordRef {
    table: TableRef,
    key: Key<'static>,
    encoded: Vec<u8>,
}

/// Why a text names no record of a table.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// It is not a key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No topic could name the record.
    #[error("as a topic it is not valid: {0}")]
    Topic(#[from] TopicError),
    /// It is a topic of another table.
    #[error("the topic belongs to the table {table}")]
    Declared {
        /// The table.
        table: Box<str>,
    },
    /// Nobody could subscribe to it over MQTT: nothing is written there.
    #[error("{0}")]
    Limit(TopicLimits),
    /// Among open topics: it is the server's own.
    #[error("topics that begin with `{level}` are the server's own")]
    ServersOwn {
        /// The first level.
        level: &'static str,
    },
    /// Among open topics: messages can have it, but a record cannot be kept under it.
    #[error("the topic has {bytes} bytes; a record is kept under at most {KEY_BYTES_MAX}")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
}

impl TableRef {
    /// A declared table of these.
    #[must_use]
    pub fn declared(tables: &Arc<Tables>, table: &Table) -> TableRef {
        TableRef { tables: Arc::clone(tables), index: table.index, id: tables.id(table) }
    }

    /// The table of open topics beside these.
    #[must_use]
    pub fn open_topics(tables: &Arc<Tables>) -> TableRef {
        let index = tables.catalog().open_topics().index;
        TableRef { tables: Arc::clone(tables), index, id: TableId::TOPICS }
    }

    /// What is declared of it.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.tables.catalog()[self.index]
    }

    /// The tables it is one of.
    #[must_use]
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// The number it is stored under.
    #[must_use]
    pub fn id(&self) -> TableId {
        self.id
    }

    /// Whether it is `$topics`.
    #[must_use]
    pub fn is_open_topics(&self) -> bool {
        self.id == TableId::TOPICS
    }

    /// What its acknowledged changes wait for.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.tables.durability((!self.is_open_topics()).then(|| self.table()))
    }

    /// The record whose key, as in topics, is `text`.
    pub fn record(&self, text: &str) -> Result<RecordRef, PlaceError> {
        if self.is_open_topics() {
            Topic::new(text)?;
            return self.open(text);
        }
        self.at(Key::parse(text, self.table().key.key_type)?.into_owned())
    }

    /// The record with that key.
    pub fn at(&self, key: Key<'static>) -> Result<RecordRef, PlaceError> {
        if let Key::Text(text) = &key {
            Topic::new(text)?;
            if self.is_open_topics() {
                return self.open(text);
            }
        }
        if let Some(table) = self.taken_by(&key) {
            return Err(PlaceError::Declared { table: table.name.clone() });
        }
        let mut encoded = Vec::new();
        key.encode(&mut encoded);
        Ok(RecordRef { table: self.clone(), key, encoded })
    }

    /// The other table whose the topic of a key here is, if it is another's.
    #[must_use]
    pub fn taken_by(&self, key: &Key<'_>) -> Option<&Table> {
        let (catalog, table) = (self.tables.catalog(), self.table());
        if !catalog.may_be_taken(table) {
            return None;
        }
        catalog.taken_by(table, &catalog.canonical_topic(table, key)?)
    }

    fn open(&self, topic: &str) -> Result<RecordRef, PlaceError> {
        let first = topic.split('/').next().unwrap_or_default();
        if let Some(level) = SERVERS_OWN.into_iter().find(|level| *level == first) {
            return Err(PlaceError::ServersOwn { level });
        }
        match self.tables.catalog().resolve(topic) {
            Resolved::Open => {}
            Resolved::Record { table, .. }
            | Resolved::Channel { table }
            | Resolved::Closed { table }
            | Resolved::BadKey { table, .. } => return Err(PlaceError::Declared { table: table.name.clone() }),
        }
        if topic.len() > KEY_BYTES_MAX {
            return Err(PlaceError::TooLong { bytes: topic.len() });
        }
        let mut encoded = Vec::new();
        encode_open(topic, &mut encoded);
        Ok(RecordRef { table: self.clone(), key: Key::Text(topic.to_owned().into()), encoded })
    }

    /// The stored form of the key that is written as `text` in a topic, whoever has the topic; `None` if it is none.
    #[must_use]
    pub(super) fn encode_key(&self, text: &str) -> Option<Vec<u8>> {
        let mut encoded = Vec::new();
        if self.is_open_topics() {
            encode_open(text, &mut encoded);
        } else {
            Key::parse(text, self.table().key.key_type).ok()?.encode(&mut encoded);
        }
        Some(encoded)
    }

    /// The key that is stored as `encoded`; `None` if such a thing was never stored here.
    #[must_use]
    pub fn decode_key(&self, encoded: &[u8]) -> Option<Key<'static>> {
        if !self.is_open_topics() {
            return Key::decode(encoded);
        }
        let topic = encoded.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect();
        String::from_utf8(topic).ok().map(|topic| Key::Text(topic.into()))
    }

    /// What the stored keys of all records below `prefix` (`a/..` for `a`), or of all there are, begin with.
    #[must_use]
    pub(super) fn keys_below(&self, prefix: Option<&str>) -> Vec<u8> {
        match prefix {
            None => Vec::new(),
            Some(prefix) if self.is_open_topics() => {
                let mut keys = Vec::new();
                encode_open(prefix, &mut keys);
                keys.push(0);
                keys
            }
            Some(prefix) => Key::range_below(prefix).start,
        }
    }
}

impl RecordRef {
    /// The table it belongs to.
    #[must_use]
    pub fn table(&self) -> &TableRef {
        &self.table
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &Key<'static> {
        &self.key
    }

    /// Whether its topic is within `limits`; always if it has none.
    pub(super) fn within(&self, limits: TopicLimits) -> Result<(), PlaceError> {
        let topic = self.table.tables.catalog().canonical_topic(self.table.table(), &self.key);
        match topic {
            Some(topic) if !limits.hold(topic.len(), topic.split('/').count()) => Err(PlaceError::Limit(limits)),
            _ => Ok(()),
        }
    }

    /// Its key in the stored form.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}

impl fmt::Debug for TableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableRef").field("name", &self.table().name).field("id", &self.id).finish()
    }
}

/// The first levels no client publishes to as to an open topic (spec: records and topics).
const SERVERS_OWN: [&str; 5] = ["$SYS", "$share", "$get", "$topics", "$admin"];
