//! What a shard asks to be read: from memory at once where it is there, else by a reader thread.

use super::Runtime;
use crate::db::{DbError, now_ms};
use rowcast_core::replay::Sought;
use rowcast_core::shard::{ConnectionId, Effect, Input, Previous, Reader, Wanted};
use rowcast_core::tables::Range;
use rowcast_core::{Preparation, Sequence, TableId};
use rowcast_store::{ReadError, Store, reads};
use std::rc::Rc;
use std::time::Duration;

/// How long to wait before trying again what failed.
const FAILED_WAIT: Duration = Duration::from_secs(1);
/// How long to wait before asking busy readers again.
const BUSY_WAIT: Duration = Duration::from_millis(2);

impl Runtime {
    /// Looks for a stored session and answers the claim.
    pub(super) fn load(self: &Rc<Self>, client_id: Box<str>, connection: ConnectionId) {
        self.read(
            move |store: &Store| reads::rows(store, &client_id, now_ms()),
            move |runtime, rows| {
                let previous = match rows {
                    Ok(rows) => Previous::Stored(rows),
                    Err(error) => {
                        tracing::error!(%error, "cannot read a session");
                        Previous::Unreadable
                    }
                };
                runtime.tell(Input::Claimed { connection, previous });
            },
        );
    }

    pub(super) fn read_log(self: &Rc<Self>, reader: Reader, after: Sequence, bytes: usize) {
        // The newest part is in memory: no thread is needed for it.
        if let Some(page) = self.node.store.read_tail_for_clients(after, bytes) {
            return self.post(self.index, Input::LogRead { reader, batches: page.batches, lost_until: None });
        }
        self.read(
            move |store: &Store| reads::log(store, after, bytes),
            move |runtime, read| match read {
                Ok((batches, lost_until)) => runtime.tell(Input::LogRead { reader, batches, lost_until }),
                Err(error) => runtime.read_failed(reader, &error, Effect::ReadLog { reader, after, bytes }),
            },
        );
    }

    /// The records of a snapshot: so many of them, and bytes, at most.
    pub(super) fn read_records(
        self: &Rc<Self>,
        connection: ConnectionId,
        range: Range,
        after: Option<Vec<u8>>,
        (records, bytes): (usize, usize),
    ) {
        if let Some((records, complete)) = reads::records_from_memory(&self.node.store, &range, after.as_deref()) {
            let records = records.into();
            return self.post(self.index, Input::RecordsRead { connection, records, complete });
        }
        self.read(
            move |store: &Store| reads::records(store, &range, after.as_deref(), records, bytes),
            move |runtime, read| match read {
                Ok((records, complete)) => {
                    runtime.tell(Input::RecordsRead { connection, records: records.into(), complete });
                }
                Err(error) => runtime.give_up(connection, &error),
            },
        );
    }

    /// Single messages, to be sent again.
    pub(super) fn fetch(self: &Rc<Self>, reader: Reader, messages: Vec<Wanted>) {
        let again = Effect::Fetch { reader, messages: messages.clone() };
        self.read(
            move |store: &Store| reads::fetch(store, messages),
            move |runtime, read| match read {
                Ok(messages) => runtime.tell(Input::Fetched { reader, messages }),
                Err(error) => runtime.read_failed(reader, &error, again),
            },
        );
    }

    /// Where a replay begins.
    pub(super) fn locate(self: &Rc<Self>, connection: ConnectionId, sought: Box<Sought>) {
        self.read(
            move |store: &Store| reads::locate(store, &sought),
            move |runtime, read| match read {
                Ok(located) => runtime.tell(Input::Located { connection, located }),
                Err(error) => runtime.give_up(connection, &error),
            },
        );
    }

    /// A record that a client asks for.
    pub(super) fn get(self: &Rc<Self>, connection: ConnectionId, table: TableId, key: Vec<u8>) {
        if let Some(record) = reads::record_from_memory(&self.node.store, table, &key) {
            return self.post(self.index, Input::Got { connection, record: Ok(record) });
        }
        self.read(
            move |store: &Store| reads::record(store, table, &key),
            move |runtime, read| match read {
                Ok(record) => runtime.tell(Input::Got { connection, record: Ok(record) }),
                Err(DbError::Unreadable(words)) => {
                    runtime.tell(Input::Got { connection, record: Err(words.into()) });
                }
                Err(error) => runtime.give_up(connection, &error),
            },
        );
    }

    /// A large document that a client puts.
    pub(super) fn prepare(self: &Rc<Self>, connection: ConnectionId, preparation: Preparation) {
        let runtime = Rc::clone(self);
        tokio::task::spawn_local(async move {
            // One at a time for a connection, so what waits here is bounded by them.
            match runtime.node.db.prepare(preparation).await {
                Ok(decision) => runtime.tell(Input::Prepared { connection, decision }),
                Err(error) => runtime.give_up(connection, &error),
            }
        });
    }

    /// A will whose time has come.
    pub(super) fn load_will(self: &Rc<Self>, client_id: Box<str>, number: u64) {
        let id = client_id.clone();
        self.read(
            move |store: &Store| reads::will(store, &id, now_ms()),
            move |runtime, row| {
                let row = row.unwrap_or_else(|error| {
                    tracing::error!(%error, "cannot read a will; it is published once the node is started again");
                    None
                });
                runtime.tell(Input::WillLoaded { client_id, number, row });
            },
        );
    }

    /// What is left of a session whose time ran out.
    pub(super) fn collect_rows(self: &Rc<Self>, client_id: Box<str>) {
        let id = client_id.clone();
        self.read(
            move |store: &Store| reads::rows(store, &id, now_ms()),
            move |runtime, rows| match rows {
                Ok(rows) => runtime.tell(Input::Purge { client_id, rows }),
                Err(error) => tracing::error!(%error, "cannot read the rows of an expired session"),
            },
        );
    }

    /// What a reader needs could not be read. A client is closed, and reads on from there when it comes back; a group has
    /// nobody to tell, and tries `again`.
    fn read_failed(self: &Rc<Self>, reader: Reader, error: &DbError, again: Effect) {
        match reader {
            Reader::Connection(connection) => self.give_up(connection, error),
            Reader::Group(_) => {
                tracing::error!(%error, "cannot read for a shared subscription; it is tried again");
                let runtime = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(FAILED_WAIT).await;
                    runtime.perform(again);
                });
            }
        }
    }

    fn give_up(self: &Rc<Self>, connection: ConnectionId, error: &DbError) {
        tracing::error!(%error, "cannot read for a client; its connection is closed");
        self.with(|shard, now| shard.abort(connection, now));
    }

    /// Has a reader thread look something up, and goes on here with what it found.
    fn read<T: Send + 'static>(
        self: &Rc<Self>,
        read: impl FnOnce(&Store) -> Result<T, ReadError> + Clone + Send + 'static,
        then: impl FnOnce(&Rc<Runtime>, Result<T, DbError>) + 'static,
    ) {
        let runtime = Rc::clone(self);
        tokio::task::spawn_local(async move {
            loop {
                // One read at a time is under way for a connection, so what waits here is bounded by them.
                match runtime.node.db.read(read.clone()).await {
                    Err(DbError::Busy) => tokio::time::sleep(BUSY_WAIT).await,
                    read => return then(&runtime, read.and_then(|found| found.map_err(DbError::from))),
                }
            }
        });
    }
}
