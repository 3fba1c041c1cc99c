//! Notices when files change: the application's, and certificates.

use crate::application::ROLES;
use crate::config::FILE;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often the files are looked at: a person who saves one does not notice the wait.
const EVERY: Duration = Duration::from_millis(300);

/// Files as they were at one moment.
#[derive(PartialEq, Eq, Debug)]
pub struct Seen(BTreeMap<PathBuf, (SystemTime, u64)>);

/// Calls `changed` whenever one of them was changed, added or removed since it was `known`, for as long as it is
/// polled.
pub async fn application<F: Future<Output = ()>>(folder: &Path, known: Seen, changed: impl FnMut() -> F) {
    watch(known, || look(folder), changed).await;
}

/// Calls `changed` whenever one of `files` was changed since it was `known`, or they are others, for as long as it is
/// polled.
pub async fn files(files: impl Fn() -> Vec<PathBuf>, known: Seen, changed: impl Fn()) {
    let changed = || {
        changed();
        std::future::ready(())
    };
    watch(known, || look_at(files().into_iter()), changed).await;
}

async fn watch<F: Future<Output = ()>>(mut known: Seen, look: impl Fn() -> Seen, mut changed: impl FnMut() -> F) {
    loop {
        tokio::time::sleep(EVERY).await;
        let found = look();
        if found != known {
            known = found;
            changed().await;
        }
    }
}

/// A look at the files. Before they are read, so that no change falls between.
#[must_use]
pub fn look(folder: &Path) -> Seen {
    let Ok(entries) = std::fs::read_dir(folder) else { return Seen(BTreeMap::new()) };
    look_at(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
        let is_schema = path.extension().is_some_and(|extension| extension == "graphql");
        is_schema || path.file_name().is_some_and(|name| name == ROLES || name == FILE)
    }))
}

/// A look at these files.
#[must_use]
pub fn look_at(files: impl Iterator<Item = PathBuf>) -> Seen {
    let seen = files.filter_map(|path| {
        let metadata = std::fs::metadata(&path).ok()?;
        Some((path, (metadata.modified().ok()?, metadata.len())))
    });
    Seen(seen.collect())
}
