//! The one door of everything with a socket to the log and the tables.
//!
//! Reads go to threads of their own, writes to the writer's queue; whoever asks waits without holding a thread. What
//! depends on the record as it is (preconditions, merge patches, times of creation) is decided in the writer, where it
//! cannot race. Nothing here knows of HTTP or MQTT.

mod alone;
mod aside;
mod completions;
mod condition;
mod insert;
mod numbers;
mod out_of_reach;
mod place;
mod readers;
#[cfg(test)]
pub(crate) mod tests;
mod walk;
mod write;

pub use alone::Alone;
pub use completions::Completions;
pub use condition::{Condition, Unmet, Versions};
pub use insert::Inserted;
pub use out_of_reach::OutOfReach;
pub use place::{PlaceError, RecordRef, TableRef};
pub use walk::{Page, Walk};
pub use write::{Payload, Written};

use aside::Aside;
use readers::{Failed, Readers};
use rowcast_core::catalog::Catalog;
use rowcast_core::limits::{Limits, TopicLimits};
use rowcast_core::schema::Schema;
use rowcast_core::tables::Tables;
use rowcast_core::validate::Refusal;
use rowcast_core::value::Key;
use rowcast_core::{Durability, Outcome, Proposals, Record, Sequence, TableId, Token};
use rowcast_store::{Origin, Queue, ReadError, RecordBytes, Store};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

/// The database, as the transports see it. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    queue: Queue,
    /// Whose proposals these are to the writer.
    origin: Origin,
    completions: Completions,
    /// Of tables that do not say.
    durability: Durability,
    readers: Readers<Store>,
    /// Replaced at a reload; locked for as long as cloning it takes.
    tables: RwLock<Arc<Tables>>,
    /// Beyond these nothing is written, and what is there is read and deleted.
    topic_limits: RwLock<TopicLimits>,
    drafts: write::Drafts,
    aside: Aside,
    next_numbers: insert::NextNumbers,
    numbering: numbers::Numbering,
}

/// Why an operation did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// As much waits to be done as may wait; soon there is room again.
    #[error("too busy")]
    Busy,
    /// Nothing can be written before there is room on the disk.
    #[error("the disk is full")]
    Full,
    /// A precondition does not hold; the record's version, if there is one.
    #[error("a precondition does not hold")]
    Condition(Option<Sequence>),
    /// There is no such record.
    #[error("there is no such record")]
    Absent,
    /// What was to be inserted is there already.
    #[error("there is a record {key} already")]
    Exists {
        /// Its key.
        key: Key<'static>,
    },
    /// There is no right to it; words for whoever asked.
    #[error("{0}")]
    Denied(String),
    /// A payload does not fit.
    #[error("{refusal}")]
    Refused {
        /// In what.
        refusal: Refusal,
        /// Which of several it is.
        item: Option<usize>,
    },
    /// A key inside a payload names no record.
    #[error("{error}")]
    Place {
        /// Why not.
        error: PlaceError,
        /// Which of several payloads it is in.
        item: Option<usize>,
    },
    /// A payload without a byte, where that would mean a delete to those who subscribe.
    #[error("an empty record cannot be told from none")]
    Empty,
    /// The table's keys have reached the largest number there is.
    #[error("no number is left for a new key")]
    NoNumberLeft,
    /// What it is about cannot be read, be it to read it or to decide on what was asked; words for whoever asked.
    #[error("{0}")]
    Unreadable(String),
    /// The tables cannot be read, or the writer has ended. The words are for the log.
    #[error("{0}")]
    Failed(String),
}

/// A record as it was when it was looked up.
#[derive(Clone, Debug)]
pub struct Stored(RecordBytes);

impl Stored {
    /// What it holds.
    #[must_use]
    pub fn record(&self) -> Record<'_> {
        self.0.record().expect("checked when it was read")
    }
}

impl Db {
    /// The door to `store`, whose writer reads `queue` and knows the proposals made here by `origin`. There are no
    /// tables before [`set_tables`](Self::set_tables); tables that say nothing else are as durable as `durability`.
    pub fn new(store: Store, queue: Queue, origin: Origin, durability: Durability) -> std::io::Result<Db> {
        let none = Tables::new(Catalog::new(Schema::default()), durability, |_| unreachable!("there are no tables"));
        let shared = Shared {
            readers: Readers::start(&store, READER_THREADS)?,
            store,
            queue,
            origin,
            completions: Completions::default(),
            durability,
            tables: RwLock::new(Arc::new(none)),
            topic_limits: RwLock::new(Limits::default().topic()),
            drafts: write::Drafts::default(),
            aside: Aside::default(),
            next_numbers: insert::NextNumbers::default(),
            numbering: numbers::Numbering::default(),
        };
        Ok(Db { shared: Arc::new(shared) })
    }

    /// Whom the writer's sink hands the outcomes of this origin to.
    #[must_use]
    pub fn completions(&self) -> Completions {
        self.shared.completions.clone()
    }

    /// The tables as they are declared now.
    #[must_use]
    pub fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.shared.tables.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the declared tables. What is under way goes on with those it began with.
    pub fn set_tables(&self, tables: Arc<Tables>) {
        *self.shared.tables.write().unwrap_or_else(PoisonError::into_inner) = tables;
    }

    /// Replaces the limits of topics that are written under.
    pub fn set_topic_limits(&self, limits: TopicLimits) {
        *self.shared.topic_limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    fn topic_limits(&self) -> TopicLimits {
        *self.shared.topic_limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current record; `None` if there is none or its time has run out.
    pub async fn get(&self, place: &RecordRef) -> Result<Option<Stored>, DbError> {
        let (table, key) = (place.table().id(), place.encoded().to_vec());
        self.read(move |store| get(store, table, &key)).await?
    }

    /// The current record of a table and a key in its stored form, on the calling thread, which may have to wait for
    /// the disk.
    pub fn get_blocking(&self, table: TableId, key: &[u8]) -> Result<Option<Stored>, DbError> {
        get(&self.shared.store, table, key)
    }

    /// Has a reader thread look something up.
    pub async fn read<T: Send + 'static>(&self, read: impl FnOnce(&Store) -> T + Send + 'static) -> Result<T, DbError> {
        self.shared.readers.read(read).await.map_err(|failed| match failed {
            Failed::Overloaded => DbError::Busy,
            Failed::Panicked => DbError::Failed("a read ended with a panic".to_owned()),
        })
    }

    /// Makes a proposal and waits for what becomes of it. `make` adds it under the token it is given. Who stops
    /// waiting does not take it back.
    pub async fn propose(&self, make: impl FnOnce(Token, &mut Proposals)) -> Result<Outcome, DbError> {
        let (token, outcome) = self.shared.completions.expect();
        let mut proposals = Proposals::default();
        make(token, &mut proposals);
        if self.shared.queue.try_push(self.shared.origin, proposals).is_err() {
            self.shared.completions.forget(token);
            return Err(DbError::Busy);
        }
        outcome.await.map_err(|_| DbError::Failed("the writer has ended".to_owned()))
    }
}

fn get(store: &Store, table: TableId, key: &[u8]) -> Result<Option<Stored>, DbError> {
    let Some(bytes) = store.get(table, key)? else { return Ok(None) };
    let is_expired = bytes.record().map_err(|error| DbError::Failed(error.to_string()))?.is_expired(now_ms());
    Ok(if is_expired { None } else { Some(Stored(bytes)) })
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("origin", &self.shared.origin).finish_non_exhaustive()
    }
}

impl From<ReadError> for DbError {
    fn from(error: ReadError) -> DbError {
        match error {
            ReadError::Damaged { .. } => DbError::Unreadable(error.to_string()),
            error => DbError::Failed(error.to_string()),
        }
    }
}

/// Threads that read the store for whoever must not block.
const READER_THREADS: usize = 4;
