//! The numbers that declared tables are stored under.
//!
//! They are records of the internal table [`TableId::TABLES`]: the key is `database/table`, the value the number in
//! digits. A table that leaves the schema keeps its number, and so finds its records when it is declared again.

use super::walk::Cursor;
use super::{Db, DbError};
use rowcast_codec::QoS;
use rowcast_core::catalog::Catalog;
use rowcast_core::tables::Tables;
use rowcast_core::{Change, ChangeKind, Durability, Outcome, SessionId, TableId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether numbers are being given out: two at a time could give out one number twice.
#[derive(Default)]
pub(super) struct Numbering(AtomicBool);

pub(super) struct Turn<'n>(&'n Numbering);

impl Db {
    /// The tables of a checked catalog, each under the number it always had. Those that never had one get the next,
    /// which is on the disk before this returns. [`DbError::Busy`] if another call is under way.
    pub async fn number(&self, catalog: Catalog) -> Result<Arc<Tables>, DbError> {
        let _turn = self.shared.numbering.turn().ok_or(DbError::Busy)?;
        let mut numbers = self.numbers().await?;
        let names: BTreeSet<String> =
            catalog.tables().iter().map(|table| name(&table.database, &table.table)).collect();
        let mut next = numbers.values().max().map_or(TableId::FIRST_DECLARED.0, |&TableId(last)| last + 1);
        let mut new = BTreeMap::new();
        for name in names {
            if !numbers.contains_key(&name) {
                new.insert(name, TableId(next));
                next += 1;
            }
        }
        self.keep(&new).await?;
        numbers.append(&mut new);
        let durability = self.shared.durability;
        Ok(Arc::new(Tables::new(catalog, durability, |table| numbers[&name(&table.database, &table.table)])))
    }

    /// All numbers ever given out.
    async fn numbers(&self) -> Result<BTreeMap<String, TableId>, DbError> {
        let mut numbers = BTreeMap::new();
        let mut cursor = Cursor::new(TableId::TABLES, Vec::new());
        while let Some(page) = cursor.next(self).await? {
            for (key, record) in page.records() {
                let text = |bytes| std::str::from_utf8(bytes).map_err(|_| damaged(key));
                let number = text(record.payload)?.parse().map_err(|_| damaged(key))?;
                numbers.insert(text(key)?.to_owned(), TableId(number));
            }
        }
        Ok(numbers)
    }

    /// Puts new numbers on the disk, all or none.
    async fn keep(&self, new: &BTreeMap<String, TableId>) -> Result<(), DbError> {
        if new.is_empty() {
            return Ok(());
        }
        let values: Vec<(&String, String)> = new.iter().map(|(name, number)| (name, number.0.to_string())).collect();
        let changes: Vec<Change<'_>> = values.iter().map(|(name, number)| put(name, number)).collect();
        match self.propose(|token, proposals| proposals.push(Some(token), Durability::Sync, &changes)).await? {
            Outcome::Done { .. } => Ok(()),
            Outcome::Full => Err(DbError::Full),
            Outcome::Unreadable(words) => Err(DbError::Unreadable(words)),
            other => Err(DbError::Failed(format!("a plain put became {other:?}"))),
        }
    }
}

fn name(database: &str, table: &str) -> String {
    format!("{database}/{table}")
}

fn put<'a>(name: &'a str, number: &'a str) -> Change<'a> {
    Change {
        kind: ChangeKind::Put,
        qos: QoS::AtLeastOnce,
        table: TableId::TABLES,
        key: name.as_bytes(),
        publisher: SessionId::NONE,
        expires_ms: None,
        properties: &[],
        payload: number.as_bytes(),
    }
}

fn damaged(key: &[u8]) -> DbError {
    DbError::Failed(format!("the number of the table {} is damaged", key.escape_ascii()))
}

impl Numbering {
    pub(super) fn turn(&self) -> Option<Turn<'_>> {
        (!self.0.swap(true, Ordering::Acquire)).then_some(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}
