//! What there is to configure; and what a configuration that was read again changes.

use super::key::{Change, Listed};
use super::{Config, Holds, Mode, table};
use std::path::PathBuf;

/// Every key there is, as it is by default where `mode` runs.
#[must_use]
pub fn list(mode: Mode) -> Vec<Listed> {
    let defaults = Config::new(mode, PathBuf::new());
    table::keys().iter().map(|key| key.listed(&defaults)).collect()
}

/// What `new` says that `old` did not, key by key.
#[must_use]
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    table::keys().iter().filter_map(|key| key.change(old, new)).collect()
}

/// `running` from now on, after `new` was read: what holds at once is taken from it.
#[must_use]
pub fn take_over(running: &Config, new: &Config) -> Config {
    let mut config = running.clone();
    for key in table::keys() {
        if key.change(running, new).is_some_and(|change| change.holds == Holds::AtOnce) {
            key.copy(new, &mut config);
        }
    }
    config
}
