//! What is wrong with the disk, told to whoever looks after the node: in the log once, and by `/ready` for as long as it
//! is so.
//!
//! Looked for every so often rather than told by whoever meets it: those may be any number of clients, as often as they
//! like.

use crate::db::Db;
use crate::http::Readiness;
use rowcast_core::TableId;
use rowcast_core::tables::Tables;
use rowcast_store::{Damage, Store};
use std::time::{Duration, Instant};

/// Looks after `store`, for as long as it is polled.
pub(super) async fn watch(store: &Store, db: &Db, readiness: &Readiness) {
    let mut damage = Told::default();
    loop {
        damage.look(store, &db.tables(), readiness);
        tokio::time::sleep(EVERY).await;
    }
}

/// Damage that was told.
#[derive(Default)]
struct Told {
    places: usize,
    /// How often it had been met when it was last told, and when that was.
    met: u64,
    at: Option<Instant>,
}

impl Told {
    fn look(&mut self, store: &Store, tables: &Tables, readiness: &Readiness) {
        let (new, met) = store.damage(self.places);
        self.places += new.len();
        for damage in &new {
            readiness.withhold(DAMAGED);
            let Damage { file, what, between } = damage;
            let (after, before) =
                between.as_ref().map(|(after, before)| (name(tables, after), name(tables, before))).unzip();
            let mend = store.mend();
            tracing::error!(
                %file, %what, after, before, %mend,
                "part of the tables cannot be read: who asks for it is refused, and who subscribes gets the rest"
            );
        }
        let is_due = self.at.is_none_or(|at| at.elapsed() >= AGAIN);
        if !new.is_empty() || (met > self.met && is_due) {
            if new.is_empty() {
                let count = met - self.met;
                tracing::error!(count, "what cannot be read of the tables was in the way, so many times more");
            }
            (self.met, self.at) = (met, Some(Instant::now()));
        }
    }
}

/// A record as people know it.
fn name(tables: &Tables, (table, key): &(TableId, Vec<u8>)) -> String {
    let mut name = String::new();
    if !tables.topic(*table, key, &mut name) {
        name = format!("table {}, key {}", table.0, key.escape_ascii());
    }
    name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
    name
}

/// Why the node is not ready where part of the tables cannot be read.
const DAMAGED: &str = "part of the tables is damaged";

/// How long whatever it is goes unnoticed.
const EVERY: Duration = Duration::from_millis(500);

/// How often it is told that damage is met again and again.
const AGAIN: Duration = Duration::from_secs(600);

/// Bytes of a record's name in the log.
const NAME_BYTES_MAX: usize = 512;
