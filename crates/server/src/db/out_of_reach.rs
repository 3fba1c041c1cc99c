//! Records whose topics another table has by now: kept, and out of reach until it has another name.

use super::{Db, DbError, TableRef};
use rowcast_core::TableId;
use rowcast_core::schema::Table;
use rowcast_core::tables::Tables;
use std::fmt;
use std::sync::Arc;

/// Records of a table, or of open topics, whose topics are those of another. Displayed as a line for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutOfReach {
    /// Where they are kept; `None`: among open topics.
    kept_in: Option<Box<str>>,
    /// Who has their topics.
    table: Box<str>,
    records: usize,
    counted: Counted,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Counted {
    All,
    AtLeast,
}

impl OutOfReach {
    /// Whether it is about the same two tables.
    #[must_use]
    pub fn is_as(&self, other: &OutOfReach) -> bool {
        (&self.kept_in, &self.table) == (&other.kept_in, &other.table)
    }
}

impl Db {
    /// What of all there is would be out of reach with these tables. Reads a few pages for each of their names at most.
    pub async fn out_of_reach(&self, tables: &Arc<Tables>) -> Result<Vec<OutOfReach>, DbError> {
        let catalog = tables.catalog();
        let has_topics = self.read(|store| store.count(TableId::TOPICS, 1)).await?? > 0;
        let mut found = Vec::new();
        for table in catalog.tables() {
            let names: Vec<&str> = catalog.spellings(table).iter().map(|name| &**name).collect();
            let Some(exact) = names.first() else { continue };
            if has_topics {
                found.extend(self.kept_under(&TableRef::open_topics(tables), &names, table).await?);
            }
            for outer in catalog.tables().iter().filter(|outer| catalog.may_be_taken(outer)) {
                let name = catalog.spellings(outer).first();
                if let Some(key) = name.and_then(|name| exact.strip_prefix(&**name)?.strip_prefix('/')) {
                    found.extend(self.kept_under(&TableRef::declared(tables, outer), &[key], table).await?);
                }
            }
        }
        Ok(found)
    }

    /// Records of `kept_in` with one of `keys`, or below one, whose topics `owner` has.
    async fn kept_under(
        &self,
        kept_in: &TableRef,
        keys: &[&str],
        owner: &Table,
    ) -> Result<Option<OutOfReach>, DbError> {
        let is_owners = |key: &[u8]| {
            let key = kept_in.decode_key(key);
            key.and_then(|key| kept_in.taken_by(&key).map(|table| table.index)) == Some(owner.index)
        };
        let (mut records, mut counted) = (0, Counted::All);
        for text in keys {
            if let Some(key) = kept_in.encode_key(text) {
                let table = kept_in.id();
                records += usize::from(self.read(move |store| super::get(store, table, &key)).await??.is_some());
            }
            let (mut walk, mut pages) = (self.walk(kept_in, Some(text)), 0);
            while let Some(page) = walk.next().await? {
                if pages == PAGES_MAX {
                    counted = Counted::AtLeast;
                    break;
                }
                pages += 1;
                records += page.records().filter(|(key, _)| is_owners(key)).count();
            }
        }
        let kept_in = (!kept_in.is_open_topics()).then(|| kept_in.table().name.clone());
        let found = OutOfReach { kept_in, table: owner.name.clone(), records, counted };
        Ok(Some(found).filter(|found| found.records > 0))
    }
}

impl fmt::Display for OutOfReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OutOfReach { kept_in, table, records, counted } = self;
        let at_least = if *counted == Counted::AtLeast { "at least " } else { "" };
        let noun = if *records == 1 { "record" } else { "records" };
        write!(f, "table `{table}` has the topics of {at_least}{records} {noun} ")?;
        match kept_in {
            Some(outer) => write!(f, "of table `{outer}`")?,
            None => write!(f, "of open topics")?,
        }
        write!(f, ": kept, and out of reach until it has another name, by `@export(name: ..)`")
    }
}

/// Pages that are read below a name to count what is there.
const PAGES_MAX: usize = 4;
