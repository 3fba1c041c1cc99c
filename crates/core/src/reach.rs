//! Which shards may want a topic, as each can see of the others without asking them.
//!
//! A message that stands in no log goes from its publisher's shard straight to the others. Most topics are wanted on one
//! of them only, and telling the rest would cost a wake-up, a copy and a look each. So each shard counts its filters
//! where all can look: by the levels before the first wildcard, hashed. The answer may be yes for no reason, and is
//! never no for one.
//!
//! A filter is counted before its SUBACK is sent, so whoever publishes after having heard of that finds it here.
//!
//! What stands in the log comes later to the shards than it is looked up here, and a filter that began in between has to
//! see it. So what is found is good as long as nothing is counted that was not ([`Reach::age`], [`Reach::has_grown`]).

use crate::sys;
use rowcast_codec::TopicFilter;
use rustc_hash::FxHasher;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The counts of all shards of a node.
#[derive(Debug)]
pub struct Reach {
    shards: Box<[Counts]>,
    /// Grows with each change after which a shard may want what it did not.
    age: AtomicU64,
}

/// Some of a node's shards; of more than there are bits, those that share one are in it together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShardSet(u32);

/// How many filters of one shard begin how.
#[derive(Debug)]
struct Counts {
    /// Bit `n`: there is, or was, a filter with a wildcard behind `n` levels; [`EXACT`]: one without.
    depths: AtomicU64,
    slots: Box<[AtomicU32]>,
    /// How many of them are at or below `$SYS`.
    sys: AtomicU32,
    /// The age of the node's counts when it began to want something.
    grown_at: AtomicU64,
    /// How many times its tables have changed, and with them what its topics are called.
    tables: AtomicU64,
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
            sys: AtomicU32::new(0),
            grown_at: AtomicU64::new(0),
            tables: AtomicU64::new(0),
        };
        Arc::new(Reach { shards: (0..shards).map(counts).collect(), age: AtomicU64::new(0) })
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
        if sys::is_below(filter.filter()) {
            counts.sys.fetch_add(1, Ordering::SeqCst);
        }
        let is_new = counts.slots[slot as usize].fetch_add(1, Ordering::SeqCst) == 0;
        let is_deep = counts.depths.fetch_or(1 << depth, Ordering::SeqCst) & 1 << depth == 0;
        if is_new || is_deep {
            counts.grown_at.fetch_max(self.grow(), Ordering::SeqCst);
        }
    }

    /// From here on a shard has other tables: its filters may select what is called otherwise on the others.
    pub fn change_tables(&self, shard: u32) {
        self.shards[shard as usize].tables.fetch_add(1, Ordering::SeqCst);
        let age = self.grow();
        self.shards.iter().for_each(|counts| {
            counts.grown_at.fetch_max(age, Ordering::SeqCst);
        });
    }

    fn grow(&self) -> u64 {
        self.age.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How old what is found from here on is at most. `None`: it is worth nothing to others yet, as not all shards have the
    /// tables of `shard`, which asks.
    #[must_use]
    pub fn age(&self, shard: u32) -> Option<u64> {
        let age = self.age.load(Ordering::SeqCst);
        let tables = |counts: &Counts| counts.tables.load(Ordering::SeqCst);
        let own = tables(&self.shards[shard as usize]);
        self.shards.iter().all(|counts| tables(counts) == own).then_some(age)
    }

    /// Whether a shard may want something by now that it did not want at `age`.
    #[must_use]
    pub fn has_grown(&self, shard: u32, age: u64) -> bool {
        self.shards[shard as usize].grown_at.load(Ordering::SeqCst) > age
    }

    /// The shards that may want the topic with these prefixes.
    #[must_use]
    pub fn wanting(&self, topic: &Prefixes) -> ShardSet {
        let wanting = (0..self.shards.len() as u32).filter(|&shard| self.may_want(shard, topic));
        wanting.fold(ShardSet::NONE, ShardSet::with)
    }

    /// A filter ends that began there.
    pub fn remove(&self, shard: u32, filter: &TopicFilter<'_>) {
        let (_, slot) = place(filter);
        let counts = &self.shards[shard as usize];
        counts.slots[slot as usize].fetch_sub(1, Ordering::SeqCst);
        if sys::is_below(filter.filter()) {
            counts.sys.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether any shard wants something of what the server says of itself. Most nodes have nobody who does, and clients
    /// that come and go all the time.
    #[must_use]
    pub fn anyone_wants_sys(&self) -> bool {
        self.shards.iter().any(|counts| counts.sys.load(Ordering::SeqCst) > 0)
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

impl ShardSet {
    /// None of them.
    pub const NONE: ShardSet = ShardSet(0);
    /// All there are.
    pub const ALL: ShardSet = ShardSet(u32::MAX);

    /// These and one more.
    #[must_use]
    pub fn with(self, shard: u32) -> ShardSet {
        self.or(ShardSet(1 << (shard % u32::BITS)))
    }

    /// These and those.
    #[must_use]
    pub fn or(self, other: ShardSet) -> ShardSet {
        ShardSet(self.0 | other.0)
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn has(self, shard: u32) -> bool {
        self.0 & 1 << (shard % u32::BITS) != 0
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
    fn who_wants_what_the_server_says_of_itself_is_counted() {
        let reach = Reach::new(2);
        for text in ["#", "+/x", "$SYSTEM/#", "$own/#"] {
            reach.add(0, &filter(text));
            assert!(!reach.anyone_wants_sys(), "{text}");
        }
        for text in ["$SYS/#", "$SYS", "$SYS/broker/uptime", "$share/g/$SYS/#"] {
            reach.add(1, &filter(text));
            reach.add(1, &filter(text));
            assert!(reach.anyone_wants_sys(), "{text}");
            reach.remove(1, &filter(text));
            assert!(reach.anyone_wants_sys(), "{text}, still");
            reach.remove(1, &filter(text));
            assert!(!reach.anyone_wants_sys(), "{text}, removed");
        }
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
    fn what_was_found_is_good_until_a_shard_wants_more() {
        let reach = Reach::new(3);
        let dog = Prefixes::of("dog/1");
        let grown = |age| [0, 1, 2].map(|shard| reach.has_grown(shard, age));
        let found = || (reach.age(0).expect("all have the same tables"), reach.wanting(&dog));
        let (before, none) = found();
        assert_eq!((none, grown(before)), (ShardSet::NONE, [false; 3]));
        reach.add(1, &filter("dog/#"));
        assert_eq!(grown(before), [false, true, false]);
        let (after, one) = found();
        assert_eq!((one, grown(after)), (ShardSet::NONE.with(1), [false; 3]));
        reach.add(1, &filter("dog/#"));
        reach.add(1, &filter("dog/+/x"));
        reach.remove(1, &filter("dog/#"));
        assert_eq!(grown(after), [false; 3], "it wants nothing that was not found already");
        reach.add(1, &filter("cat"));
        reach.add(2, &filter("dog/1"));
        assert_eq!((grown(after), found().1), ([false, true, true], one.with(2)));
    }

    #[test]
    fn nothing_is_found_for_shards_with_other_tables() {
        let reach = Reach::new(2);
        let before = reach.age(0).expect("the same tables");
        reach.change_tables(1);
        assert_eq!((reach.age(0), reach.age(1)), (None, None));
        reach.change_tables(0);
        let after = reach.age(1).expect("the same tables again");
        for shard in [0, 1] {
            assert_eq!([before, after].map(|age| reach.has_grown(shard, age)), [true, false]);
        }
    }

    #[test]
    fn shards_that_share_a_bit_are_in_a_set_together() {
        let set = ShardSet::NONE.with(3).with(40);
        let shards: Vec<u32> = (0..64).filter(|&shard| set.has(shard)).collect();
        assert_eq!(shards, [3, 8, 35, 40]);
        assert!((0..64).all(|shard| ShardSet::ALL.has(shard) && !ShardSet::NONE.has(shard)));
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
