//! Work on large documents, which takes long, on threads that nobody else waits for.

use super::{Db, DbError, get, now_ms};
use rowcast_core::limits::LARGE_DOCUMENT_BYTES;
use rowcast_core::{Decision, Preparation};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Room for such work: no more of it is done at a time, so that shards and the writer get their part of the cores.
pub(super) struct Aside(Arc<Semaphore>);

impl Default for Aside {
    fn default() -> Aside {
        Aside(Arc::new(Semaphore::new(at_once())))
    }
}

impl Db {
    /// Decides ahead on a document that is large, by the record there is; leaves any other to the writer.
    pub async fn prepare(&self, preparation: Preparation) -> Result<Decision, DbError> {
        if preparation.bytes < LARGE_DOCUMENT_BYTES {
            return Ok(preparation.in_turn());
        }
        let store = self.shared.store.clone();
        self.aside(preparation.bytes, move || {
            if !preparation.depends {
                return preparation.ahead(None, now_ms());
            }
            match get(&store, preparation.table, &preparation.key) {
                Ok(stored) => preparation.ahead(stored.as_ref().map(|stored| stored.record()).as_ref(), now_ms()),
                Err(_) => preparation.in_turn(), // The writer says so, to all alike.
            }
        })
        .await
    }

    /// Does what is to be done with so many bytes, and not on this thread if they are many. It is done to its end, whoever
    /// stops waiting.
    pub(super) async fn aside<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DbError> {
        if bytes < LARGE_DOCUMENT_BYTES {
            return Ok(work());
        }
        let room = Arc::clone(&self.shared.aside.0).acquire_owned().await.expect("it is never closed");
        let work = move || {
            let _room = room;
            work()
        };
        let failed = |_| DbError::Failed("the work on a document ended with a panic".to_owned());
        tokio::task::spawn_blocking(work).await.map_err(failed)
    }
}

/// Half of the cores, one at least.
fn at_once() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}
