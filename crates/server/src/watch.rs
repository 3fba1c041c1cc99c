//! Notices when the application's files change.

use crate::application::ROLES;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often the files are looked at: a person who saves one does not notice the wait.
const EVERY: Duration = Duration::from_millis(300);

/// The schema and the roles of a folder as they were at one moment.
#[derive(PartialEq, Eq, Debug)]
pub struct Seen(BTreeMap<PathBuf, (SystemTime, u64)>);

/// Calls `changed` whenever one of them was changed, added or removed since it was `known`, for as long as it is
/// polled.
pub async fn application<F: Future<Output = ()>>(folder: &Path, mut known: Seen, mut changed: impl FnMut() -> F) {
    loop {
        tokio::time::sleep(EVERY).await;
        let found = look(folder);
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
    let files = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let is_schema = path.extension().is_some_and(|extension| extension == "graphql");
            let is_ours = is_schema || path.file_name().is_some_and(|name| name == ROLES);
            let metadata = std::fs::metadata(&path).ok().filter(|_| is_ours)?;
            Some((path, (metadata.modified().ok()?, metadata.len())))
        })
        .collect();
    Seen(files)
}
