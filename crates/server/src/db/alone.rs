//! The database of a node that does not run, for a command that changes it.

use super::{Completions, Db};
use rowcast_core::{Batch, Completion, Durability};
use rowcast_store::{Origin, Queue, Sink, Store, StoreError, Writer};
use std::sync::Arc;
use std::thread::JoinHandle;

/// A database with a writer of its own and nobody else to tell.
pub struct Alone {
    db: Db,
    queue: Queue,
    writer: JoinHandle<()>,
}

impl Alone {
    /// Opens it.
    pub fn new(store: Store, writer: Writer) -> std::io::Result<Alone> {
        let queue = Queue::new(QUEUE_BYTES, Box::new(|_| {}));
        let db = Db::new(store, queue.clone(), ORIGIN, Durability::Sync)?;
        let writer = rowcast_store::spawn(writer, queue.clone(), Box::new(Told(db.completions())));
        Ok(Alone { db, queue, writer })
    }

    /// The database.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Ends it in good order. Returns whether it did.
    #[must_use]
    pub fn close(self) -> bool {
        self.queue.close();
        self.writer.join().is_ok()
    }
}

struct Told(Completions);

impl Sink for Told {
    fn committed(&mut self, _: Option<Arc<Batch>>, completions: Vec<(Origin, Vec<Completion>)>) {
        completions.into_iter().for_each(|(_, completions)| self.0.complete(completions));
    }

    fn failed(&mut self, error: StoreError) {
        // As in a node: memory and disk may differ from here on.
        eprintln!("error: the log cannot be written: {error}");
        std::process::exit(1);
    }
}

const ORIGIN: Origin = Origin(0);
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
