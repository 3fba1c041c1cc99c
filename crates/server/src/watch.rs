//! Notices when the schema's files change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often the files are looked at: a person who saves one does not notice the wait.
const EVERY: Duration = Duration::from_millis(300);

/// The `*.graphql` files of a folder as they were at one moment.
#[derive(PartialEq, Eq, Debug)]
pub struct Seen(BTreeMap<PathBuf, (SystemTime, u64)>);

/// Calls `changed` whenever a `*.graphql` file in `folder` was changed, added or removed since it was `known`, for as
/// long as it is polled.
pub async fn schema<F: Future<Output = ()>>(folder: &Path, mut known: Seen, mut changed: impl FnMut() -> F) {
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
            let metadata = std::fs::metadata(&path).ok().filter(|_| is_schema)?;
            Some((path, (metadata.modified().ok()?, metadata.len())))
        })
        .collect();
    Seen(files)
}
