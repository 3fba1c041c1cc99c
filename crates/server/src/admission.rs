//! Who is let in: how many MQTT connections there may be, in all and from one address.

use rowcast_core::limits::{CONNECTIONS_BEYOND_MAX, Limits};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places for connections. A lock, taken when a connection comes or goes and never held while waiting.
pub struct Admission {
    state: Mutex<State>,
}

struct State {
    /// 0: no bound.
    connections_max: u32,
    /// 0: no bound.
    per_address_max: u32,
    connections: u32,
    by_address: HashMap<IpAddr, u32>,
    beyond: u32,
}

/// A connection's place, given back when it is dropped.
pub struct Place {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
    is_beyond: bool,
}

impl Admission {
    /// Nobody is there yet.
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Admission> {
        let by_address = HashMap::default();
        let (connections_max, per_address_max) = (limits.connections, limits.connections_per_address);
        let state = State { connections_max, per_address_max, connections: 0, by_address, beyond: 0 };
        Arc::new(Admission { state: Mutex::new(state) })
    }

    /// Other bounds, for who comes from now on.
    pub fn set(&self, limits: &Limits) {
        let mut state = self.lock();
        (state.connections_max, state.per_address_max) = (limits.connections, limits.connections_per_address);
    }

    /// A place for a connection from `address`, if that is known; `None`: it is to be closed at once.
    pub fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let address = address.map(|address| address.to_canonical());
        let mut state = self.lock();
        let from_there = address.and_then(|address| state.by_address.get(&address).copied()).unwrap_or(0);
        let is_beyond = is_full(state.connections_max, state.connections) || is_full(state.per_address_max, from_there);
        if is_beyond {
            if is_full(CONNECTIONS_BEYOND_MAX, state.beyond) {
                return None;
            }
            state.beyond += 1;
        } else {
            state.add(address);
        }
        Some(Place { admission: Arc::clone(self), address, is_beyond })
    }

    /// Counts are whole after every step, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, address: Option<IpAddr>) {
        self.connections += 1;
        if let Some(address) = address {
            *self.by_address.entry(address).or_default() += 1;
        }
    }
}

impl Place {
    /// Whether it is one too many.
    #[must_use]
    pub fn is_beyond(&self) -> bool {
        self.is_beyond
    }

    /// It takes over from another one, which goes: from now on it counts like any other, for a moment beside that.
    pub fn settle(&mut self) {
        if std::mem::take(&mut self.is_beyond) {
            let mut state = self.admission.lock();
            state.beyond -= 1;
            state.add(self.address);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        if self.is_beyond {
            state.beyond -= 1;
            return;
        }
        state.connections -= 1;
        if let Some(address) = self.address
            && let Some(from_there) = state.by_address.get_mut(&address)
        {
            *from_there -= 1;
            if *from_there == 0 {
                state.by_address.remove(&address);
            }
        }
    }
}

/// Whether `taken` leaves no room below `bound`; 0: there is none.
fn is_full(bound: u32, taken: u32) -> bool {
    bound > 0 && taken >= bound
}

/// Refusals for want of room, of which many can come at once: the log gets their number, not a line for each.
#[derive(Default)]
pub struct Refusals {
    counted: AtomicU64,
    told: AtomicU64,
    next_ms: AtomicU64,
}

impl Refusals {
    /// One more.
    pub fn add(&self) {
        self.counted.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// Says in the log how many there were since it last did, unless that is just now. One thread calls it, every now and
    /// then.
    pub fn tell(&self, now_ms: u64) {
        if let Some(count) = self.take(now_ms) {
            tracing::warn!(count, "connections refused: more connections or sessions than mqtt.limits allows");
        }
    }

    /// The same, just now or not: the node stops.
    pub fn tell_rest(&self) {
        self.tell(u64::MAX - TELL_EVERY_MS);
    }

    fn take(&self, now_ms: u64) -> Option<u64> {
        let (counted, told) = (self.counted.load(Ordering::Relaxed), self.told.load(Ordering::Relaxed));
        if counted == told || now_ms < self.next_ms.load(Ordering::Relaxed) {
            return None;
        }
        self.told.store(counted, Ordering::Relaxed);
        self.next_ms.store(now_ms + TELL_EVERY_MS, Ordering::Relaxed);
        Some(counted - told)
    }
}

/// Milliseconds between lines about refusals.
const TELL_EVERY_MS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_than_in_all_is_beyond_until_another_goes() {
        let admission = admission(2, 0);
        let first = admission.admit(address(1)).expect("a place");
        let second = admission.admit(address(2)).expect("a place");
        assert!(!first.is_beyond() && !second.is_beyond());
        let third = admission.admit(address(1)).expect("a place");
        assert!(third.is_beyond());
        drop(first);
        assert!(!admission.admit(address(3)).expect("a place").is_beyond());
    }

    #[test]
    fn one_more_from_an_address_is_beyond_and_others_are_not() {
        let admission = admission(0, 1);
        let first = admission.admit(address(1)).expect("a place");
        assert!(admission.admit(address(1)).expect("a place").is_beyond());
        let mapped = "::ffff:10.0.0.1".parse().ok();
        assert!(admission.admit(mapped).expect("a place").is_beyond());
        assert!(!admission.admit(address(2)).expect("a place").is_beyond());
        drop(first);
        assert!(!admission.admit(address(1)).expect("a place").is_beyond());
        assert!(admission.lock().by_address.is_empty());
    }

    #[test]
    fn one_beyond_that_takes_over_counts_like_any_other() {
        let admission = admission(1, 1);
        let first = admission.admit(address(1)).expect("a place");
        let mut second = admission.admit(address(1)).expect("a place");
        second.settle();
        second.settle();
        assert!(!second.is_beyond() && admission.admit(address(1)).expect("a place").is_beyond());
        drop(first);
        assert!(admission.admit(address(1)).expect("a place").is_beyond());
        drop(second);
        assert!(!admission.admit(address(1)).expect("a place").is_beyond());
        assert!(admission.lock().by_address.is_empty() && admission.lock().beyond == 0);
    }

    #[test]
    fn those_beyond_are_bounded_and_do_not_count_among_the_others() {
        let admission = admission(1, 1);
        let first = admission.admit(address(1));
        let beyond: Vec<Place> = (0..CONNECTIONS_BEYOND_MAX).filter_map(|_| admission.admit(address(2))).collect();
        assert_eq!(beyond.len(), CONNECTIONS_BEYOND_MAX as usize);
        assert!(beyond.iter().all(Place::is_beyond) && admission.admit(address(2)).is_none());
        drop(first);
        assert!(!admission.admit(address(2)).expect("a place").is_beyond());
    }

    #[test]
    fn those_from_nowhere_yet_count_among_all() {
        let admission = admission(3, 1);
        let waiting = [admission.admit(None), admission.admit(None)].map(|place| place.expect("a place"));
        assert!(!waiting.iter().any(Place::is_beyond), "they are from no address");
        let first = admission.admit(address(1)).expect("a place");
        assert!(!first.is_beyond() && admission.admit(None).expect("a place").is_beyond());
        drop(waiting);
        assert!(!admission.admit(address(2)).expect("a place").is_beyond());
    }

    #[test]
    fn another_bound_holds_for_who_comes_then() {
        let admission = admission(0, 0);
        let places: Vec<Place> = (0..3).filter_map(|_| admission.admit(address(1))).collect();
        admission.set(&Limits { connections_per_address: 2, ..Limits::default() });
        assert!(admission.admit(address(1)).expect("a place").is_beyond(), "those of before count");
        assert!(!admission.admit(address(2)).expect("a place").is_beyond());
        assert!(!places.iter().any(Place::is_beyond));
        drop(places);
        assert!(!admission.admit(address(1)).expect("a place").is_beyond());
    }

    #[test]
    fn without_a_bound_everyone_is_let_in() {
        let admission = admission(0, 0);
        let places: Vec<Place> = (0..1000).filter_map(|_| admission.admit(address(1))).collect();
        assert!(places.len() == 1000 && !places.iter().any(Place::is_beyond));
    }

    #[test]
    fn refusals_are_told_at_once_and_then_together() {
        let refusals = Refusals::default();
        assert_eq!(refusals.take(0), None);
        refusals.add();
        assert_eq!(refusals.take(100), Some(1));
        (0..500).for_each(|_| refusals.add());
        assert_eq!(refusals.take(10_099), None);
        assert_eq!(refusals.take(10_100), Some(500));
        assert_eq!(refusals.take(30_000), None);
    }

    fn admission(connections: u32, connections_per_address: u32) -> Arc<Admission> {
        Admission::new(&Limits { connections, connections_per_address, ..Limits::default() })
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }
}
