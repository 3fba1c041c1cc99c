//! What is wrong with the disk, told to whoever looks after the node: in the log once, and by `/ready` for as long as it
//! is so.
//!
//! Looked for every so often rather than told by whoever meets it: those may be any number of clients, as often as they
//! like.

use crate::db::Db;
use crate::http::Readiness;
use rowcast_core::TableId;
use rowcast_core::tables::Tables;
use rowcast_store::{Damage, DiskRoom, Store};
use rustix::fs::statvfs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Looks after `store`, which is in `folder`, for as long as it is polled.
pub(super) async fn watch(store: &Store, folder: &Path, db: &Db, readiness: &Readiness) {
    let (mut damage, mut room) = (Told::default(), DiskRoom::default());
    loop {
        damage.look(store, &db.tables(), readiness);
        room = look_for_room(room, store.disk_room(), folder, readiness);
        tokio::time::sleep(EVERY).await;
    }
}

/// Tells when the disk has become full, and when there is room again. `told`: what was known when it was last told.
fn look_for_room(told: DiskRoom, now: DiskRoom, folder: &Path, readiness: &Readiness) -> DiskRoom {
    let refused = now.refused - told.refused;
    match (told.wanted, now.wanted) {
        (None, Some(needed_bytes)) => {
            readiness.withhold(FULL);
            let free_bytes = statvfs(folder).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
            tracing::warn!(
                folder = %folder.display(), needed_bytes, free_bytes,
                "the disk is full: what is written is refused, reading goes on. Free some room, and it goes on by itself"
            );
            DiskRoom { refused: told.refused, ..now } // They are counted until there is room.
        }
        (Some(_), Some(_)) => told,
        (Some(_), None) => {
            readiness.grant(FULL);
            tracing::info!(refused, "there is room on the disk again: what is written is taken");
            now
        }
        (None, None) if refused > 0 => {
            tracing::warn!(folder = %folder.display(), refused, "the disk was full for a moment, and writing was refused");
            now
        }
        (None, None) => told,
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

/// Why the node is not ready where nothing can be written.
const FULL: &str = "the disk is full";

/// Why the node is not ready where part of the tables cannot be read.
const DAMAGED: &str = "part of the tables is damaged";

/// How long whatever it is goes unnoticed.
const EVERY: Duration = Duration::from_millis(500);

/// How often it is told that damage is met again and again.
const AGAIN: Duration = Duration::from_secs(600);

/// Bytes of a record's name in the log.
const NAME_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_once_and_so_is_its_end() {
        let (readiness, folder) = (Readiness::default(), Path::new("/"));
        let look = |told, wanted, refused| look_for_room(told, DiskRoom { wanted, refused }, folder, &readiness);
        let told = look(DiskRoom::default(), None, 0);
        assert_eq!((told, readiness.reasons()), (DiskRoom::default(), Vec::new()));
        let told = look(told, Some(100), 3);
        assert_eq!((told, readiness.reasons()), (DiskRoom { wanted: Some(100), refused: 0 }, vec![FULL]));
        let told = look(told, Some(50), 7);
        assert_eq!((told, readiness.reasons()), (DiskRoom { wanted: Some(100), refused: 0 }, vec![FULL]));
        let told = look(told, None, 7);
        assert_eq!((told, readiness.reasons()), (DiskRoom { wanted: None, refused: 7 }, Vec::new()));
        // So short that nobody saw it.
        let told = look(told, None, 9);
        assert_eq!((told, readiness.reasons()), (DiskRoom { wanted: None, refused: 9 }, Vec::new()));
    }
}
