//! How fast one client may publish.

use super::connection::ConnectionId;
use super::{Moment, Shard, id_of};

/// Two buckets that hold what may be sent in a second: publishes and their bytes.
///
/// Who has emptied one waits until a quarter of it is there again, not for a single packet's worth: it is looked at
/// only so often, and would else fall far behind what it may send.
#[derive(Debug)]
pub(super) struct Rate {
    publishes: Bucket,
    bytes: Bucket,
    waits: bool,
}

/// Invariant: `empty_at_ns` is never more than a second in the past, so no more than a second's worth gathers.
#[derive(Debug)]
struct Bucket {
    /// 0: no bound.
    per_sec: u64,
    /// When it was, or will be, exactly empty (nanoseconds on the monotonic clock); full a second later.
    empty_at_ns: i64,
}

impl Rate {
    /// Full buckets. 0: no bound.
    pub(super) fn new(publishes_per_sec: u32, bytes_per_sec: u64, now: Moment) -> Rate {
        let empty_at_ns = ns(now) - SECOND_NS;
        let bucket = |per_sec| Bucket { per_sec, empty_at_ns };
        Rate { publishes: bucket(publishes_per_sec.into()), bytes: bucket(bytes_per_sec), waits: false }
    }

    /// Other bounds, for what comes from now on. A bucket with another one begins anew, full.
    pub(super) fn set(&mut self, publishes_per_sec: u32, bytes_per_sec: u64, now: Moment) {
        let anew = Rate::new(publishes_per_sec, bytes_per_sec, now);
        for (bucket, anew) in [(&mut self.publishes, anew.publishes), (&mut self.bytes, anew.bytes)] {
            if bucket.per_sec != anew.per_sec {
                *bucket = anew;
            }
        }
    }

    /// A PUBLISH of so many bytes came. It is taken whole even where there was room for part of it.
    pub(super) fn take(&mut self, bytes: usize, now: Moment) {
        self.publishes.take(1, now);
        self.bytes.take(bytes as u64, now);
        self.waits = [&self.publishes, &self.bytes].iter().any(|bucket| bucket.is_empty(now));
    }

    /// Whoever sends more than there is room for meets with something else than waiting.
    pub(super) fn read_on(&mut self) {
        self.waits = false;
    }

    /// Whether there is no room for another publish, or for a byte of it: one of more bytes than a second has room for
    /// must come through at some time.
    pub(super) fn is_used_up(&self, now: Moment) -> bool {
        [&self.publishes, &self.bytes].iter().any(|bucket| bucket.per_sec > 0 && bucket.empty_at(1, now) > ns(now))
    }

    /// Whether nothing more is to be taken for now.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Whether there is room again for someone who had to wait until now.
    pub(super) fn resumes(&mut self, now: Moment) -> bool {
        let enough_ns = ns(now) - SECOND_NS / 4;
        let resumes = self.waits && self.publishes.empty_at_ns <= enough_ns && self.bytes.empty_at_ns <= enough_ns;
        self.waits &= !resumes;
        resumes
    }
}

impl Shard {
    /// A PUBLISH counts against what its client may send in a second.
    pub(super) fn count_publish(&mut self, id: ConnectionId, bytes: usize, now: Moment) {
        let limits = &self.settings.limits;
        let (publishes, bytes_per_sec) = (limits.publishes_per_sec, limits.publish_bytes_per_sec);
        let reads_on = limits.too_fast_ends;
        if publishes == 0 && bytes_per_sec == 0 {
            return;
        }
        let Some(connection) = self.connection_mut(id) else { return };
        let rate = connection.rate.get_or_insert_with(|| Box::new(Rate::new(publishes, bytes_per_sec, now)));
        rate.take(bytes, now);
        if reads_on {
            rate.read_on();
        }
    }

    /// Whether a client has sent all it may in a second, and its connection is to end if it publishes more.
    pub(super) fn is_too_fast(&self, id: ConnectionId, now: Moment) -> bool {
        let rate = self.connection(id).and_then(|connection| connection.rate.as_ref());
        self.settings.limits.too_fast_ends && rate.is_some_and(|rate| rate.is_used_up(now))
    }

    /// Connections that sent too fast are read again.
    pub(super) fn resume_rated(&mut self, now: Moment) {
        let mut resumed = Vec::new();
        for (slot, connection) in &mut self.connections {
            if connection.rate.as_mut().is_some_and(|rate| rate.resumes(now)) {
                connection.heard_ms = now.monotonic_ms; // What it sent meanwhile was not looked at.
                resumed.push(id_of(slot, connection));
            }
        }
        for id in resumed {
            self.wake(id);
        }
    }
}

impl Bucket {
    fn take(&mut self, amount: u64, now: Moment) {
        if self.per_sec > 0 {
            self.empty_at_ns = self.empty_at(amount, now);
        }
    }

    /// When it is empty if so much is taken from it. It must have a bound.
    fn empty_at(&self, amount: u64, now: Moment) -> i64 {
        let cost_ns = (u128::from(amount) * SECOND_NS as u128).div_ceil(self.per_sec.into());
        let cost_ns = i64::try_from(cost_ns).unwrap_or(i64::MAX);
        self.empty_at_ns.max(ns(now) - SECOND_NS).saturating_add(cost_ns)
    }

    fn is_empty(&self, now: Moment) -> bool {
        self.empty_at_ns >= ns(now)
    }
}

fn ns(now: Moment) -> i64 {
    i64::try_from(now.monotonic_ms).unwrap_or(i64::MAX / MS_NS).saturating_mul(MS_NS)
}

const MS_NS: i64 = 1_000_000;
const SECOND_NS: i64 = 1000 * MS_NS;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Sequence;

    #[test]
    fn another_bound_begins_anew_and_the_same_does_not() {
        let mut rate = Rate::new(10, 0, at(0));
        (0..10).for_each(|_| rate.take(1, at(0)));
        assert!(rate.waits());
        rate.set(10, 1000, at(0));
        assert!(!rate.resumes(at(0)), "no more publishes than before");
        rate.set(5, 1000, at(0));
        assert!(rate.resumes(at(0)));
        (0..5).for_each(|_| rate.take(1, at(0)));
        assert!(rate.waits(), "no more than five");
        rate.set(0, 0, at(0));
        assert!(rate.resumes(at(0)));
        (0..100).for_each(|_| rate.take(1_000_000, at(0)));
        assert!(!rate.waits());
    }

    #[test]
    fn a_second_has_room_for_its_worth_and_not_for_one_more() {
        for per_sec in [1, 3, 7, 1000] {
            let mut rate = Rate::new(per_sec, 0, at(0));
            for taken in 0..per_sec {
                assert!(!rate.waits(), "{taken} of {per_sec}");
                rate.take(1_000_000, at(0));
            }
            assert!(rate.waits(), "{per_sec}");
            assert!(!rate.resumes(at(249)));
            assert!(rate.resumes(at(251)));
            assert!(!rate.waits() && !rate.resumes(at(251)));
        }
    }

    #[test]
    fn over_a_long_time_it_is_the_rate_however_seldom_it_is_looked_at() {
        check(10, 0, 1, 10);
        check(10_000, 0, 1, 10_000);
        check(0, 5000, 500, 10);
        check(1000, 5000, 500, 10);
        check(0, 1000, 4000, 0); // One in four seconds.
    }

    #[test]
    fn what_gathers_is_a_second_s_worth() {
        let mut rate = Rate::new(2, 0, at(0));
        rate.take(1, at(100_000));
        assert!(!rate.waits());
        rate.take(1, at(100_000));
        assert!(rate.waits());
    }

    /// Sends whenever it may, for 100 seconds, and must have sent `expected` a second, give or take.
    #[track_caller]
    fn check(publishes: u32, bytes_per_sec: u64, bytes: usize, expected: u64) {
        let mut rate = Rate::new(publishes, bytes_per_sec, at(0));
        let mut sent = 0;
        for now in (0..100_000).step_by(100).map(at) {
            rate.resumes(now);
            while !rate.waits() {
                rate.take(bytes, now);
                sent += 1;
            }
        }
        let (least, most) = (expected * 99, (expected + 1) * 102);
        assert!((least..=most).contains(&sent), "{sent} in 100 seconds");
    }

    fn at(ms: u64) -> Moment {
        Moment { monotonic_ms: ms, wall_ms: ms, committed: Sequence::ZERO, undecided: false }
    }
}
