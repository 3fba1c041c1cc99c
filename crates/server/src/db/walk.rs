//! Many records, a page at a time.

use super::{Db, DbError, TableRef, now_ms};
use rowcast_core::{Record, TableId};
use rowcast_store::{ReadError, Scan, Store};
use std::ops::Bound;

/// A walk over records of one table in the order of their keys. Holds one page at most, and nothing in the store: each
/// page shows the records as they are when it is read.
pub struct Walk {
    db: Db,
    table: TableRef,
    cursor: Cursor,
}

/// A few records.
#[derive(Debug)]
pub struct Page {
    page: rowcast_store::Page,
    now_ms: u64,
    cut: Option<DbError>,
}

impl Db {
    /// All records of a table, or those whose keys are below `prefix`: `a/..` for `a`.
    #[must_use]
    pub fn walk(&self, table: &TableRef, prefix: Option<&str>) -> Walk {
        let cursor = Cursor::new(table.id(), table.keys_below(prefix));
        Walk { db: self.clone(), table: table.clone(), cursor }
    }
}

impl Walk {
    /// The table.
    #[must_use]
    pub fn table(&self) -> &TableRef {
        &self.table
    }

    /// The next page, which may be empty; `None` after the last. After an error it stands where it stood.
    pub async fn next(&mut self) -> Result<Option<Page>, DbError> {
        self.cursor.next(&self.db).await
    }
}

/// Where a walk stands.
pub(super) struct Cursor {
    table: TableId,
    /// What the keys begin with.
    prefix: Vec<u8>,
    /// The last key seen.
    after: Option<Vec<u8>>,
    finished: bool,
}

impl Cursor {
    /// Before the first of the records whose stored keys begin with `prefix`.
    pub(super) fn new(table: TableId, prefix: Vec<u8>) -> Cursor {
        Cursor { table, prefix, after: None, finished: false }
    }

    /// The next page; `None` after the last.
    pub(super) async fn next(&mut self, db: &Db) -> Result<Option<Page>, DbError> {
        if self.finished {
            return Ok(None);
        }
        let (table, prefix, after) = (self.table, self.prefix.clone(), self.after.clone());
        let scan = move |store: &Store| {
            let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let prefix = Some(&*prefix).filter(|prefix| !prefix.is_empty());
            store.scan(&Scan { table, from, prefix, bytes_max: PAGE_BYTES, records_max: PAGE_RECORDS })
        };
        let mut page = db.read(scan).await??;
        self.after = page.next.take();
        self.finished = self.after.is_none();
        if let Some(damaged) = page.iter().find_map(|(_, record)| Record::decode(record).err()) {
            return Err(DbError::Failed(damaged.to_string()));
        }
        let cut = page.cut.take().map(|damage| ReadError::Damaged { damage, mend: db.shared.store.mend() }.into());
        Ok(Some(Page { page, now_ms: now_ms(), cut }))
    }
}

impl Page {
    /// Why the page after this one will fail, if that is known, for whoever wants so many `records`.
    pub fn cut_before(&mut self, records: u64) -> Option<DbError> {
        if records > self.page.len() as u64 { self.cut.take() } else { None }
    }

    /// Its records and their keys in the stored form, without those whose time has run out.
    pub fn records(&self) -> impl Iterator<Item = (&[u8], Record<'_>)> {
        let records = self.page.iter().map(|(key, bytes)| (key, Record::decode(bytes).expect("checked when read")));
        records.filter(|(_, record)| !record.is_expired(self.now_ms))
    }
}

/// Bytes of a page. A node may have to hold one for each of several thousand listings.
const PAGE_BYTES: usize = 128 * 1024;

/// Records of a page, so that small ones do not keep a reader thread from others for long.
const PAGE_RECORDS: usize = 1024;
