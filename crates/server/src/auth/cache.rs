//! Passwords that were checked before, so that ten thousand devices coming back are not ten thousand hashes.

use super::account::Account;
use super::lock;
use blake2::Blake2sMac256;
use blake2::digest::{KeyInit, Mac};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What came of passwords, by a keyed hash of the password together with all that decides about it: neither the password
/// nor anything it could be guessed from without the key, which lives and dies with the process, is kept. A changed
/// password, or an account that was shut, makes another tag, so nothing here has to be taken back.
///
/// Of each user the last password that was right is known for as long as a connection is open that it opened, and a
/// while after. Wrong ones are known until many others came: a device that is set up wrongly tries the same again and
/// again, and is neither hashed nor held against its neighbours each time.
pub(super) struct Cache {
    key: [u8; 32],
    /// How long an entry outlives its last use, in milliseconds; 0: nothing is remembered.
    ttl_ms: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    right: HashMap<Box<str>, Arc<Entry>>,
    /// The newer, then the older half.
    wrong: [HashSet<Tag>; 2],
}

/// A password, whose it is, and what was stored of it when it was checked.
pub(super) type Tag = [u8; 32];

struct Entry {
    tag: Tag,
    ttl_ms: Arc<AtomicU64>,
    made: Instant,
    /// When it is forgotten unless it is in use, in milliseconds after it was made.
    until_ms: AtomicU64,
}

/// A password that was right is in use: as long as this is there, it is recognised.
#[derive(Debug)]
pub struct Lease(Arc<Entry>);

/// What is known of a password.
#[derive(Debug)]
pub(super) enum Known {
    Right(Lease),
    Wrong,
}

impl Cache {
    /// An empty cache with a key of its own.
    pub(super) fn new(ttl: Duration) -> Cache {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the system gives random bytes");
        Cache { key, ttl_ms: Arc::new(AtomicU64::new(millis(ttl))), state: Mutex::default() }
    }

    /// Another time, for what is remembered already too.
    pub(super) fn set_ttl(&self, ttl: Duration, now: Instant) {
        let ttl_ms = millis(ttl);
        let mut state = lock(&self.state);
        self.ttl_ms.store(ttl_ms, Ordering::Relaxed);
        if ttl_ms == 0 {
            *state = State::default();
        }
        for entry in state.right.values() {
            let until_ms = millis(now.saturating_duration_since(entry.made)).saturating_add(ttl_ms);
            entry.until_ms.fetch_min(until_ms, Ordering::Relaxed);
        }
    }

    fn remembers(&self) -> bool {
        self.ttl_ms.load(Ordering::Relaxed) > 0
    }

    /// The tag of a password for `user`, who has this account or none.
    pub(super) fn tag(&self, user: &str, account: Option<&Account>, password: &[u8]) -> Tag {
        let mut mac = Blake2sMac256::new(&self.key.into());
        let hash = account.map(|account| account.password.hash.as_phc()).unwrap_or_default();
        let active: &[u8] = if account.is_some_and(|account| account.active) { b"active" } else { b"" };
        // Lengths first, so that no two lists are the same bytes.
        for part in [user.as_bytes(), hash.as_bytes(), active, password] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// What is known of a password of `user`.
    pub(super) fn recall(&self, user: &str, tag: &Tag, now: Instant) -> Option<Known> {
        let state = lock(&self.state);
        if let Some(entry) = state.right.get(user)
            && entry.is_alive(now)
            && is_same(&entry.tag, tag)
        {
            return Some(Known::Right(Lease(Arc::clone(entry))));
        }
        state.wrong.iter().any(|wrong| wrong.contains(tag)).then_some(Known::Wrong)
    }

    /// A password was right. `None`: it is not remembered.
    pub(super) fn right(&self, user: &str, tag: Tag, now: Instant) -> Option<Lease> {
        let mut state = lock(&self.state);
        if !self.remembers() {
            return None;
        }
        if state.right.len() >= RIGHT_MAX && !state.right.contains_key(user) {
            state.right.retain(|_, entry| entry.is_alive(now));
            if state.right.len() >= RIGHT_MAX {
                return None;
            }
        }
        let entry = Entry { tag, ttl_ms: Arc::clone(&self.ttl_ms), made: now, until_ms: AtomicU64::default() };
        let entry = Arc::new(entry);
        state.right.insert(user.into(), Arc::clone(&entry));
        Some(Lease(entry))
    }

    /// A password was wrong.
    pub(super) fn wrong(&self, tag: Tag) {
        let State { wrong: [newer, older], .. } = &mut *lock(&self.state);
        if !self.remembers() {
            return;
        }
        if newer.len() >= WRONG_MAX / 2 {
            *older = std::mem::take(newer);
        }
        newer.insert(tag);
    }
}

impl Entry {
    fn is_alive(self: &Arc<Self>, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.made).as_millis();
        Arc::strong_count(self) > 1 || age < u128::from(self.until_ms.load(Ordering::Relaxed))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let until_ms = millis(self.0.made.elapsed()).saturating_add(self.0.ttl_ms.load(Ordering::Relaxed));
        self.0.until_ms.fetch_max(until_ms, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry(..)")
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Takes the same time wherever they differ.
fn is_same(one: &Tag, other: &Tag) -> bool {
    one.iter().zip(other).fold(0, |differ, (one, other)| differ | (one ^ other)) == 0
}

/// Users whose right password is remembered, in use or not, some 150 bytes each; those beyond are hashed as ever.
const RIGHT_MAX: usize = 262_144;

/// Wrong passwords that are remembered.
const WRONG_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Hasher;

    #[test]
    fn a_tag_is_of_one_user_password_and_state_of_the_account() {
        let kept = |password: &[u8]| Hasher::cheap().keep(password).expect("hashed");
        let rex = Account::new("rex", kept(b"bone"), "kennel").expect("a name");
        let changed = Account { password: kept(b"bone"), ..rex.clone() };
        let shut = Account { active: false, ..rex.clone() };
        let promoted = Account { role: "admin".to_owned(), ..rex.clone() };
        let cache = Cache::new(TTL);
        let tag = cache.tag("rex", Some(&rex), b"bone");
        assert_eq!(cache.tag("rex", Some(&promoted), b"bone"), tag);
        for other in [
            cache.tag("rex", Some(&rex), b"bon"),
            cache.tag("max", Some(&rex), b"bone"),
            cache.tag("rex", Some(&changed), b"bone"),
            cache.tag("rex", Some(&shut), b"bone"),
            cache.tag("rex", None, b"bone"),
            Cache::new(TTL).tag("rex", Some(&rex), b"bone"),
        ] {
            assert_ne!(other, tag);
        }
    }

    #[test]
    fn a_right_password_is_known_while_it_is_used_and_a_while_after() {
        let cache = Cache::new(TTL);
        let now = Instant::now();
        let is_known = |tag: Tag, now| matches!(cache.recall("rex", &tag, now), Some(Known::Right(_)));
        let first = cache.right("rex", [1; 32], now).expect("remembered");
        let Some(Known::Right(second)) = cache.recall("rex", &[1; 32], now) else { panic!("in use") };
        drop(first);
        assert!(is_known([1; 32], now + TTL * 1000), "hours later, with a connection open");
        assert!(!is_known([2; 32], now));
        drop(second);
        assert!(is_known([1; 32], now + TTL / 2));
        assert!(!is_known([1; 32], now + TTL * 1000));
    }

    #[test]
    fn wrong_passwords_are_known_until_many_others_came() {
        let cache = Cache::new(TTL);
        let now = Instant::now();
        let tag = |number: usize| {
            let mut tag = [0; 32];
            tag[..8].copy_from_slice(&number.to_le_bytes());
            tag
        };
        let is_known = |number| matches!(cache.recall("rex", &tag(number), now), Some(Known::Wrong));
        assert!(!is_known(0));
        (0..WRONG_MAX / 2).for_each(|number| cache.wrong(tag(number)));
        assert!(is_known(0));
        (0..WRONG_MAX * 3).for_each(|number| cache.wrong(tag(number)));
        assert!(!is_known(0) && is_known(WRONG_MAX * 3 - 1));
        assert!(lock(&cache.state).wrong.iter().map(HashSet::len).sum::<usize>() <= WRONG_MAX);
    }

    #[test]
    fn no_more_users_are_known_than_there_is_room_for() {
        let cache = Cache::new(TTL);
        let now = Instant::now();
        let leases: Vec<_> = (0..RIGHT_MAX).map(|user| cache.right(&user.to_string(), [1; 32], now)).collect();
        assert!(leases.iter().all(Option::is_some));
        assert!(cache.right("rex", [1; 32], now).is_none(), "all of them are in use");
        assert!(cache.right("7", [2; 32], now).is_some(), "this one has a place");
        drop(leases);
        assert!(cache.right("rex", [1; 32], now + TTL * 1000).is_some());
    }

    #[test]
    fn nothing_is_remembered_for_no_time() {
        let cache = Cache::new(Duration::ZERO);
        let now = Instant::now();
        assert!(cache.right("rex", [1; 32], now).is_none());
        cache.wrong([2; 32]);
        assert!(cache.recall("rex", &[1; 32], now).is_none() && cache.recall("rex", &[2; 32], now).is_none());
    }

    #[test]
    fn another_time_holds_for_what_is_remembered_too() {
        let cache = Cache::new(TTL);
        let now = Instant::now();
        let is_known = |now| matches!(cache.recall("rex", &[1; 32], now), Some(Known::Right(_)));
        let lease = cache.right("rex", [1; 32], now).expect("remembered");
        cache.set_ttl(TTL * 1000, now);
        drop(lease);
        assert!(is_known(now + TTL * 900), "longer");
        cache.set_ttl(TTL, now);
        assert!(is_known(now + TTL / 2) && !is_known(now + TTL * 2), "shorter");
        let lease = cache.right("rex", [1; 32], now).expect("remembered");
        cache.wrong([2; 32]);
        cache.set_ttl(Duration::ZERO, now);
        assert!(!is_known(now) && cache.recall("rex", &[2; 32], now).is_none(), "not even what is in use");
        drop(lease);
        cache.set_ttl(TTL, now);
        assert!(!is_known(now));
    }

    const TTL: Duration = Duration::from_secs(30);
}
