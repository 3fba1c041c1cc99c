//! Which shards may want a topic, as each can see of the others without asking them.
//!
//! A message that stands in no log goes from its publisher's shard straight to the others. Most topics are wanted on one
//! of them only, and telling the rest would cost a wake-up, a copy and a look each. So each shard counts its filters
//! where all can look: by the levels before the first wildcard, hashed. The answer may be yes for no reason, and is
//! never no for one.
//!
//! A filter is counted before its SUBACK is sent, so whoever publishes after having heard of that finds it here.

use rowcast_codec::TopicFilter;
use rustc_hash::FxHasher;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The counts of all shards of a node.
#[derive(Debug)]
pub struct Reach {
    shards: Box<[Counts]>,
}

/// How many filters of one shard begin how.
#[derive(Debug)]
struct Counts {
    /// Bit `n`: there is, or was, a filter with a wildcard behind `n` levels; [`EXACT`]: one without.
    depths: AtomicU64,
    slots: Box<[AtomicU32]>,
}

/// A shard's own counts.
#[derive(Clone, Debug)]
pub struct OwnReach {
    reach: Arc<Reach>,
    shard: u32,
}

/// What a topic has in common with the filters that select it: a slot for each depth.
#[derive(Clone, Debug)]
pub struct Prefixes {
    /// Behind no level, behind one, ...
    slots: Vec<u32>,
    /// Behind all levels, where a filter without wildcards is counted.
    exact: u32,
    depths: u64,
}

/// Filters without wildcards are counted by all their levels, as this depth.
const EXACT: usize = DEPTHS - 1;
/// One bit each. Filters with more levels before a wildcard are counted by as many as there are here.
const DEPTHS: usize = 64;
const DEEPEST: usize = EXACT - 1;
/// 128 KiB a shard. Ten thousand filters fill a quarter of it.
const SLOTS: usize = 32 * 1024;

impl Reach {
    /// Nobody wants anything.
    #[must_use]
    pub fn new(shards: usize) -> Arc<Reach> {
        let counts = |_| Counts {
            depths: AtomicU64::new(0),
            slots: std::iter::repeat_with(|| AtomicU32::new(0)).take(SLOTS).collect(),
        };
        Arc::new(Reach { shards: (0..shards).map(counts).collect() })
    }

    /// The counts of one shard, for itself.
    #[must_use]
    pub fn own(self: &Arc<Self>, shard: u32) -> OwnReach {
        OwnReach { reach: Arc::clone(self), shard }
    }

    /// A filter begins on a shard.
    pub fn add(&self, shard: u32, filter: &TopicFilter<'_>) {
        let (depth, slot) = place(filter);
        let counts = &self.shards[shard as usize];
        counts.slots[slot as usize].fetch_add(1, Ordering::SeqCst);
        counts.depths.fetch_or(1 << depth, Ordering::SeqCst);
    }

    /// A filter ends that began there.
    pub fn remove(&self, shard: u32, filter: &TopicFilter<'_>) {
        let (_, slot) = place(filter);
        self.shards[shard as usize].slots[slot as usize].fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether any shard may want a topic.
    #[must_use]
    pub fn anyone_may_want(&self, topic: &str) -> bool {
        let topic = Prefixes::of(topic);
        (0..self.shards.len()).any(|shard| self.may_want(shard as u32, &topic))
    }

    /// Whether a shard may want the topic with these prefixes.
    #[must_use]
    pub fn may_want(&self, shard: u32, topic: &Prefixes) -> bool {
        let counts = &self.shards[shard as usize];
        let mut depths = counts.depths.load(Ordering::Acquire) & topic.depths;
        while depths != 0 {
            let slot = topic.slots.get(depths.trailing_zeros() as usize).copied().unwrap_or(topic.exact);
            if counts.slots[slot as usize].load(Ordering::Acquire) > 0 {
                return true;
            }
            depths &= depths - 1;
        }
        false
    }
}

impl OwnReach {
    /// A filter begins.
    pub fn add(&self, filter: &TopicFilter<'_>) {
        self.reach.add(self.shard, filter);
    }

    /// A filter ends.
    pub fn remove(&self, filter: &TopicFilter<'_>) {
        self.reach.remove(self.shard, filter);
    }
}

impl Prefixes {
    /// Those of a canonical topic.
    #[must_use]
    pub fn of(topic: &str) -> Prefixes {
        let hidden = topic.starts_with('$'); // From filters that begin with a wildcard [MQTT-4.7.2-1].
        let mut depths = u64::from(!hidden) | 1 << EXACT;
        let mut hash = SEED;
        let mut slots = Vec::with_capacity(8); // Few topics have more levels.
        slots.push(slot(hash, 0));
        for (depth, level) in (1..).zip(topic.as_bytes().split(|&byte| byte == b'/')) {
            hash = step(hash, level);
            if depth <= DEEPEST {
                depths |= 1 << depth;
                slots.push(slot(hash, depth));
            }
        }
        Prefixes { slots, exact: slot(hash, EXACT), depths }
    }
}

/// The depth and the slot that a filter is counted in.
fn place(filter: &TopicFilter<'_>) -> (usize, u32) {
    let mut hash = SEED;
    for (depth, level) in filter.levels().enumerate() {
        if level == "+" || level == "#" || (depth == DEEPEST && filter.has_wildcards()) {
            return (depth, slot(hash, depth));
        }
        hash = step(hash, level.as_bytes());
    }
    (EXACT, slot(hash, EXACT))
}

const SEED: u64 = 0;

fn step(hash: u64, level: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u64(hash);
    hasher.write(level);
    hasher.finish()
}

fn slot(hash: u64, depth: usize) -> u32 {
    // Fibonacci hashing: the upper bits are the good ones.
    let mixed = hash.wrapping_add(depth as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - SLOTS.trailing_zeros())) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::new(text).expect("a valid filter")
    }

    #[track_caller]
    fn check(text: &str, wanted: &[&str], others: &[&str]) {
        let reach = Reach::new(2);
        reach.add(1, &filter(text));
        for topic in wanted {
            let prefixes = Prefixes::of(topic);
            assert!(reach.may_want(1, &prefixes) && !reach.may_want(0, &prefixes), "{text} {topic}");
        }
        for topic in others {
            assert!(!reach.may_want(1, &Prefixes::of(topic)), "{text} {topic}");
        }
        reach.remove(1, &filter(text));
        for topic in wanted {
            assert!(!reach.may_want(1, &Prefixes::of(topic)), "{text} {topic}, removed");
        }
    }

    #[test]
    fn a_shard_may_want_what_its_filters_select() {
        check("dog/1", &["dog/1"], &["dog", "dog/2", "dog/1/x", "cat/1"]);
        check("$SYS/#", &["$SYS", "$SYS/x"], &["x"]);
        check("dog/#", &["dog", "dog/", "dog/1", "dog/1/x"], &["dogs/1", "cat"]);
        check("dog/+/x", &["dog/1/x", "dog/1"], &["cat/1/x"]);
        check("+/1", &["dog/1", "anything"], &[]);
        check("#", &["dog", "a/b/c"], &["$SYS/x", "$own"]);
        check("/", &["/"], &["", "//", "a/"]);
    }

    #[test]
    fn filters_of_many_levels_are_counted_by_the_first_of_them() {
        for levels in [60, 61, 62, 63, 64, 65, 100] {
            let deep = vec!["a"; levels].join("/");
            for text in [deep.clone(), format!("{deep}/#"), format!("{deep}/+/b"), format!("+/{deep}")] {
                let reach = Reach::new(1);
                reach.add(0, &filter(&text));
                let topic = text.replace(['#', '+'], "x");
                assert!(reach.may_want(0, &Prefixes::of(&topic)), "{text}");
                assert_eq!(reach.may_want(0, &Prefixes::of("b")), text.starts_with('+'));
            }
        }
    }

    #[test]
    fn a_topic_is_wanted_until_the_last_filter_ends() {
        let reach = Reach::new(1);
        reach.add(0, &filter("dog/#"));
        reach.add(0, &filter("dog/#"));
        reach.remove(0, &filter("dog/#"));
        assert!(reach.may_want(0, &Prefixes::of("dog/1")));
        reach.remove(0, &filter("dog/#"));
        assert!(!reach.may_want(0, &Prefixes::of("dog/1")));
    }
}
