//! Who was wrong lately, and how long they wait for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Failures by address and by user name. Both fade with time. A password that is hashed and right takes a quarter of a
/// failure off its address, so that those behind one address do not pay for a few among them; one that is recognised
/// takes nothing off, or an attacker with an account of their own would never wait.
///
/// An address that goes on is turned away without hashing anything. A user name is only slowed: whoever could turn
/// it away could lock its owner out. An IPv6 address counts as its /64, which one customer has to themselves.
pub(super) struct Throttle {
    addresses: Failures<IpAddr>,
    users: Failures<String>,
}

impl Throttle {
    pub(super) fn new() -> Throttle {
        Throttle { addresses: Failures::new(), users: Failures::new() }
    }

    /// How long to wait before looking at an attempt; `Err`: do not, and say to come back after that.
    pub(super) fn admit(&mut self, peer: IpAddr, user: &str, now: Instant) -> Result<Duration, Duration> {
        let by_address = self.addresses.turn(&network(peer), now);
        if by_address > WAIT_MAX {
            return Err(by_address);
        }
        let by_user = self.users.turn(user, now).min(USER_WAIT_MAX);
        Ok(by_address.max(by_user))
    }

    /// Whether attempts from there are turned away by now, and how long: those that were let through at once, before
    /// any of them was wrong, are asked about again before each is looked at.
    pub(super) fn turns_away(&self, peer: IpAddr, now: Instant) -> Option<Duration> {
        let failed = self.addresses.records.get(&network(peer))?;
        Some(pause(failed.count_at(now))).filter(|pause| *pause > WAIT_MAX)
    }

    /// An attempt was right, for the first time in a while.
    pub(super) fn succeeded(&mut self, peer: IpAddr, now: Instant) {
        self.addresses.forgive(&network(peer), now);
    }

    /// An attempt was wrong.
    pub(super) fn failed(&mut self, peer: IpAddr, user: &str, now: Instant) {
        self.addresses.add(network(peer), now);
        // Names are the attacker's to choose, and to make long.
        if user.len() <= USER_BYTES_MAX {
            self.users.add(user.to_owned(), now);
        }
    }
}

/// Failures by whom they are held against.
struct Failures<K> {
    records: HashMap<K, Failed>,
}

struct Failed {
    /// Failures, of which one is forgotten every [`FORGET_AFTER`].
    count: f32,
    /// When `count` was right.
    at: Instant,
    /// When the next attempt has its turn: attempts made at once wait one behind the other.
    next: Instant,
}

impl<K: Hash + Eq> Failures<K> {
    fn new() -> Failures<K> {
        Failures { records: HashMap::new() }
    }

    /// Takes the next turn, unless it is too far away to be waited for; how far that is.
    fn turn<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, now: Instant) -> Duration
    where
        K: std::borrow::Borrow<Q>,
    {
        let Some(failed) = self.records.get_mut(key) else { return Duration::ZERO };
        let pause = pause(failed.count_at(now));
        if pause.is_zero() {
            return Duration::ZERO;
        }
        let turn = failed.next.max(now) + pause;
        let wait = turn - now;
        if wait <= WAIT_MAX {
            failed.next = turn;
        }
        wait
    }

    fn add(&mut self, key: K, now: Instant) {
        if self.records.len() >= RECORDS_MAX && !self.records.contains_key(&key) {
            self.make_room(now);
        }
        let failed = self.records.entry(key).or_insert(Failed { count: 0.0, at: now, next: now });
        failed.count = (failed.count_at(now) + 1.0).min(COUNT_MAX);
        failed.at = now;
    }

    fn forgive(&mut self, key: &K, now: Instant) {
        if let Some(failed) = self.records.get_mut(key) {
            failed.count = (failed.count_at(now) - FORGIVEN).max(0.0);
            failed.at = now;
        }
    }

    /// Forgets who has paid, or else whoever failed least: a flood of names must not wash off the worst.
    fn make_room(&mut self, now: Instant) {
        self.records.retain(|_, failed| failed.count_at(now) > 0.0);
        if self.records.len() >= RECORDS_MAX {
            self.records.retain(|_, failed| failed.count_at(now) > FREE);
        }
        if self.records.len() >= RECORDS_MAX {
            self.records.clear();
        }
    }
}

impl Failed {
    fn count_at(&self, now: Instant) -> f32 {
        let forgotten = now.saturating_duration_since(self.at).as_secs_f32() / FORGET_AFTER.as_secs_f32();
        (self.count - forgotten).max(0.0)
    }
}

/// What one more attempt costs after so many failures: nothing for a few, then twice as long each time.
fn pause(count: f32) -> Duration {
    if count < FREE {
        return Duration::ZERO;
    }
    let doublings = (count - FREE).floor().min(16.0) as u32;
    (PAUSE_MIN * 2u32.pow(doublings)).min(PAUSE_MAX)
}

fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

/// Mistakes that cost nothing.
const FREE: f32 = 10.0;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_mins(1);
const FORGET_AFTER: Duration = Duration::from_secs(5);
const COUNT_MAX: f32 = 60.0;
/// Failures that are forgotten when another attempt is right.
const FORGIVEN: f32 = 0.25;

/// The longest an attempt is held; clients give up about then.
const WAIT_MAX: Duration = Duration::from_secs(5);
const USER_WAIT_MAX: Duration = Duration::from_secs(2);

/// Addresses, and names, remembered at a time.
const RECORDS_MAX: usize = 65_536;
/// Bytes of a name that is remembered.
const USER_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_mistakes_cost_nothing_and_many_cost_ever_more() {
        let mut throttle = Throttle::new();
        let (now, peer) = (Instant::now(), address("192.0.2.1"));
        let mut waits = Vec::new();
        for guess in 0..18 {
            waits.push(throttle.admit(peer, &guess.to_string(), now).map_or(-1, |wait| wait.as_millis() as i64));
            throttle.failed(peer, &guess.to_string(), now);
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 300, 700, 1500, 3100, -1, -1, -1]);
    }

    #[test]
    fn what_was_let_through_is_turned_away_when_others_were_wrong_meanwhile() {
        let mut throttle = Throttle::new();
        let (now, peer) = (Instant::now(), address("192.0.2.1"));
        let looked_at = (0..1000).take_while(|guess: &u32| {
            throttle.failed(peer, &guess.to_string(), now);
            throttle.turns_away(peer, now).is_none()
        });
        assert_eq!(looked_at.count(), 15);
        assert!(throttle.turns_away(address("192.0.2.2"), now).is_none());
        assert!(throttle.turns_away(peer, now + FORGET_AFTER * 2).is_none());
    }

    #[test]
    fn attempts_at_once_wait_one_behind_the_other() {
        let mut throttle = Throttle::new();
        let (now, peer) = (Instant::now(), address("192.0.2.1"));
        (0..10).for_each(|_| throttle.failed(peer, "rex", now));
        let waits: Vec<_> = (0..60).map(|_| throttle.admit(peer, "rex", now).is_ok()).collect();
        assert_eq!(waits.iter().filter(|admitted| **admitted).count(), 50, "5 s at one per 100 ms");
    }

    #[test]
    fn a_few_that_are_wrong_do_not_hold_up_many_behind_their_address_that_are_right() {
        let mut throttle = Throttle::new();
        let (now, peer) = (Instant::now(), address("192.0.2.1"));
        for device in 0..10_000 {
            assert_eq!(throttle.admit(peer, &device.to_string(), now), Ok(Duration::ZERO), "{device}");
            match device % 6 {
                0 => throttle.failed(peer, &device.to_string(), now),
                _ => throttle.succeeded(peer, now),
            }
        }
        for guess in 0..20 {
            throttle.failed(peer, &guess.to_string(), now);
            throttle.succeeded(peer, now);
        }
        assert!(throttle.admit(peer, "admin", now) > Ok(Duration::ZERO), "more guesses than they are worth");
    }

    #[test]
    fn failures_fade() {
        let mut throttle = Throttle::new();
        let (now, peer) = (Instant::now(), address("192.0.2.1"));
        (0..20).for_each(|_| throttle.failed(peer, "rex", now));
        assert!(throttle.admit(peer, "rex", now).is_err());
        assert!(throttle.admit(peer, "rex", now + FORGET_AFTER * 8).is_ok());
        assert_eq!(throttle.admit(peer, "rex", now + FORGET_AFTER * 11), Ok(Duration::ZERO));
    }

    #[test]
    fn a_user_is_slowed_and_never_locked_out() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        for host in 0..100u8 {
            throttle.failed(IpAddr::from([192, 0, 2, host]), "admin", now);
        }
        assert_eq!(throttle.admit(address("198.51.100.1"), "admin", now), Ok(USER_WAIT_MAX));
        assert_eq!(throttle.admit(address("198.51.100.1"), "rex", now), Ok(Duration::ZERO));
    }

    #[test]
    fn addresses_are_told_apart_by_network() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        (0..20).for_each(|_| throttle.failed(address("2001:db8::1"), "a", now));
        (0..20).for_each(|_| throttle.failed(address("192.0.2.1"), "b", now));
        for (peer, admitted) in
            [("2001:db8::2", false), ("2001:db8:0:1::1", true), ("::ffff:192.0.2.1", false), ("192.0.2.2", true)]
        {
            assert_eq!(throttle.admit(address(peer), "c", now).is_ok(), admitted, "{peer}");
        }
    }

    #[test]
    fn a_flood_of_names_takes_bounded_memory_and_washes_nothing_off() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        (0..20).for_each(|_| throttle.failed(address("192.0.2.1"), "admin", now));
        for name in 0..RECORDS_MAX + 10 {
            throttle.failed(IpAddr::from((name as u32).to_be_bytes()), &name.to_string(), now);
        }
        throttle.failed(address("198.51.100.1"), &"x".repeat(65_535), now);
        assert!(throttle.users.records.len() <= RECORDS_MAX);
        assert!(throttle.addresses.records.len() <= RECORDS_MAX);
        assert!(throttle.admit(address("192.0.2.1"), "rex", now).is_err());
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }
}
