//! What there is to configure; and what a configuration that was read again changes.

use super::key::{Change, Listed};
use super::{Config, Holds, Listen, Mode, table};
use std::path::PathBuf;

/// Every key there is, as it is by default where `mode` runs.
#[must_use]
pub fn list(mode: Mode) -> Vec<Listed> {
    let defaults = Config::new(mode, PathBuf::new());
    table::keys().iter().map(|key| key.listed(&defaults)).collect()
}

/// `running` from now on, after `new` was read: what holds at once is taken from it. And what `new` says that `running`
/// did not, key by key.
#[must_use]
pub fn take_over(running: &Config, new: &Config) -> (Config, Vec<Change>) {
    let (keys, mut config) = (table::keys(), running.clone());
    keys.iter().filter(|key| key.holds == Holds::AtOnce).for_each(|key| key.copy(new, &mut config));
    // Until the next start, a door that is to be shut then asks its clients for what it did.
    if new.mqtt.secure_listen == Listen::Shut {
        config.mqtt.client_certificates.clone_from(&running.mqtt.client_certificates);
    }
    if new.http.secure_listen == Listen::Shut {
        config.http.client_certificates.clone_from(&running.http.client_certificates);
    }
    let changes = keys.iter().filter_map(|key| key.change(running, new, &config)).collect();
    (config, changes)
}
