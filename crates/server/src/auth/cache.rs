//! Passwords that were right a moment ago, so that a thousand devices coming back are not a thousand hashes.

use super::account::Account;
use blake2::Blake2sMac256;
use blake2::digest::{KeyInit, Mac};
use std::collections::HashMap;
use std::time::Instant;

/// For each user, a keyed hash of the last password that was right together with the stored hash it was right for:
/// a changed password is not recognised. Neither the password nor anything it could be guessed from without the key,
/// which lives and dies with the process, is kept.
pub(super) struct Cache {
    key: [u8; 32],
    entries: HashMap<String, Entry>,
}

struct Entry {
    tag: [u8; 32],
    until: Instant,
}

impl Cache {
    /// An empty cache with a key of its own.
    pub(super) fn new() -> Cache {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the system gives random bytes");
        Cache { key, entries: HashMap::new() }
    }

    /// Whether `password` was right for the account as it is now, not too long ago.
    pub(super) fn contains(&self, account: &Account, password: &[u8], now: Instant) -> bool {
        let Some(entry) = self.entries.get(&account.name) else { return false };
        // `verify_slice` takes the same time wherever tags differ.
        entry.until > now && self.mac(account, password).verify_slice(&entry.tag).is_ok()
    }

    /// Remembers that `password` was right for the account, until then.
    pub(super) fn insert(&mut self, account: &Account, password: &[u8], until: Instant) {
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(&account.name) {
            let now = Instant::now();
            self.entries.retain(|_, entry| entry.until > now);
            if self.entries.len() >= ENTRIES_MAX {
                return;
            }
        }
        let tag = self.mac(account, password).finalize().into_bytes().into();
        self.entries.insert(account.name.clone(), Entry { tag, until });
    }

    fn mac(&self, account: &Account, password: &[u8]) -> Blake2sMac256 {
        let mut mac = Blake2sMac256::new(&self.key.into());
        // Lengths first, so that no two triples are the same bytes.
        for part in [account.name.as_bytes(), account.password.hash.as_phc().as_bytes(), password] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac
    }
}

/// Users remembered at a time; those beyond are hashed as ever.
const ENTRIES_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Hasher;
    use std::time::Duration;

    #[test]
    fn a_password_is_known_for_its_user_hash_and_time_only() {
        let kept = |password: &[u8]| Hasher::cheap().keep(password).expect("hashed");
        let rex = Account::new("rex", kept(b"bone"), "kennel").expect("a name");
        let changed = Account { password: kept(b"bone"), ..rex.clone() };
        let other = Account { name: "max".to_owned(), ..rex.clone() };
        let now = Instant::now();
        let until = now + Duration::from_secs(30);
        let mut cache = Cache::new();
        cache.insert(&rex, b"bone", until);
        assert!(cache.contains(&rex, b"bone", now));
        assert!(!cache.contains(&rex, b"bon", now));
        assert!(!cache.contains(&changed, b"bone", now));
        assert!(!cache.contains(&other, b"bone", now));
        assert!(!cache.contains(&rex, b"bone", until));
    }
}
