//! Records that an application brings along: `seed/NAME.ndjson`, one a line.
//!
//! `rowcast dev` puts them into table NAME when the data folder is new, so that there is something to look at.

use crate::db::{Db, DbError, Payload, TableRef};
use anyhow::{Context, bail};
use bytes::Bytes;
use rowcast_core::policy::Writing;
use std::path::{Path, PathBuf};

/// Puts the records of all files; how many there were. A file is put as a whole or not at all; the first that cannot
/// be ends it.
pub async fn sow(folder: &Path, db: &Db) -> anyhow::Result<usize> {
    let mut sown = 0;
    for path in files(&folder.join("seed"))? {
        sown += sow_file(&path, db).await?;
    }
    Ok(sown)
}

async fn sow_file(path: &Path, db: &Db) -> anyhow::Result<usize> {
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let tables = db.tables();
    let Some(table) = tables.catalog().tables().iter().find(|table| *table.name == *name) else {
        bail!("{}: there is no table {name}", path.display());
    };
    let table = TableRef::declared(&tables, table);
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines: Vec<(usize, &str)> = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).collect();
    let payload = |line: &str| Payload { bytes: Bytes::copy_from_slice(line.as_bytes()), content_type: None };
    let payloads: Vec<Payload> = lines.iter().map(|(_, line)| payload(line)).collect();
    if payloads.is_empty() {
        return Ok(0);
    }
    match db.insert(&table, &payloads, &Writing::free()).await {
        Ok(inserted) => Ok(inserted.keys.len()),
        Err(error) => {
            let item = match &error {
                DbError::Refused { item, .. } | DbError::Place { item, .. } => item.unwrap_or(0),
                _ => bail!("{}: {error}", path.display()),
            };
            bail!("{}:{}: {error}", path.display(), lines[item].0 + 1);
        }
    }
}

/// In the order of their names.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if folder.is_dir() {
        for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "ndjson") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
