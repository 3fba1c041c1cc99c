//! Who wants a topic: the subscriptions of one shard in a trie of filter levels, with a cache of exact topics.
//!
//! Matching walks the trie once per new topic and remembers the answer; subscribing and unsubscribing take just the
//! answers that change out of the cache. Topics here are canonical (`Catalog::canonical_topic`).

mod holders;
mod trie;

use crate::names::NameMap;
use crate::position::Sequence;
use crate::reach::OwnReach;
use crate::validate::Format;
use rowcast_codec::{QoS, Topic, TopicFilter};
use rustc_hash::FxHasher;
use std::cell::RefCell;
use std::hash::Hasher;
use std::num::NonZeroU32;
use std::rc::Rc;
use trie::Trie;

/// Who subscribed: the place of its connection in the shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Subscriber(pub u32);

/// What a subscription asks for; one per subscriber and filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscription {
    /// Whose it is.
    pub subscriber: Subscriber,
    /// The highest quality of service to deliver with.
    pub qos: QoS,
    /// Not what the subscriber itself published (MQTT 5 §3.8.3.1).
    pub no_local: bool,
    /// RETAIN as it was published (MQTT 5 §3.8.3.1).
    pub retain_as_published: bool,
    /// Say with each delivery what happened and which version it made (`rowcast-meta`).
    pub meta: bool,
    /// In which format documents come.
    pub format: Format,
    /// States of QoS 0 that find no room wait, the newest of each topic (`rowcast-conflate`).
    pub conflate: bool,
    /// Deliver with the topic spelled by the table's alias, as the filter was.
    pub alias: bool,
    /// Rights may not reach to all that the filter selects: each message is to be looked at.
    pub guarded: bool,
    /// Tells the spellings of one filter apart, which are different subscriptions; 0: the canonical one.
    pub spelling: u32,
    /// Sent along with each delivery (MQTT 5 §3.8.2.1.2).
    pub identifier: Option<NonZeroU32>,
    /// Only what came after this; what was before is in the retained state it was sent.
    pub since: Sequence,
    /// Of what the subscriber itself published, only what came after this: what it takes the place of had No Local.
    pub own_since: Sequence,
    /// Of what is replayed up to there, what came after this.
    pub past: Sequence,
    /// Which of its session's replays brings that.
    pub replay: Option<NonZeroU32>,
}

impl Subscription {
    /// One that asks for everything, as it comes.
    #[must_use]
    pub const fn of(subscriber: Subscriber) -> Subscription {
        Subscription {
            subscriber,
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            meta: false,
            format: Format::Json,
            conflate: false,
            alias: false,
            guarded: false,
            spelling: 0,
            identifier: None,
            since: Sequence::ZERO,
            own_since: Sequence::ZERO,
            past: Sequence::ZERO,
            replay: None,
        }
    }
}

/// The subscriptions a topic goes to, those of one subscriber next to each other.
pub type Matches = Rc<[Subscription]>;

/// A topic's own memory of where it goes: [`Interest::matches_of`].
#[derive(Default, Debug)]
pub struct Kept(RefCell<Option<(u64, Matches)>>);

/// Filters and who holds them.
#[derive(Default, Debug)]
pub struct Interest {
    trie: Trie,
    filters: usize,
    cache: NameMap<Box<str>, Matches>,
    cached: usize,
    /// How many times answers changed.
    changes: u64,
    /// Where other shards see which filters there are.
    reach: Option<OwnReach>,
}

/// Subscriptions remembered in the cache of one shard, all topics together; 48 bytes each.
const CACHED_SUBSCRIPTIONS_MAX: usize = 262_144;
/// Cached topics that are looked at one by one when a filter with wildcards changes. With more of them all are
/// forgotten, or a client with ten thousand filters would hold up its shard for as many looks at each.
const FORGET_ONE_BY_ONE_MAX: usize = 64;
/// Subscriptions that a topic keeps itself: few, as nobody counts them.
const KEPT_SUBSCRIPTIONS_MAX: usize = 16;
/// What a cached topic counts for beside its subscriptions.
const CACHED_TOPIC_COST: usize = 4;

impl Interest {
    /// Nobody wants anything yet; what is subscribed to is told to other shards.
    #[must_use]
    pub fn told_to(reach: OwnReach) -> Interest {
        Interest { reach: Some(reach), ..Interest::default() }
    }

    /// Adds a subscription; one of the same subscriber on the same filter, spelled the same, is replaced and returned.
    pub fn subscribe(&mut self, filter: &TopicFilter<'_>, subscription: Subscription) -> Option<Subscription> {
        let replaced = self.trie.insert(filter, subscription);
        if replaced.is_none() {
            self.filters += 1;
            self.reach.iter().for_each(|reach| reach.add(filter));
        }
        self.forget(filter);
        replaced
    }

    /// Takes a subscription away; returns it if there was one.
    pub fn unsubscribe(
        &mut self,
        filter: &TopicFilter<'_>,
        subscriber: Subscriber,
        spelling: u32,
    ) -> Option<Subscription> {
        let removed = self.trie.remove(filter, (subscriber, spelling))?;
        self.filters -= 1;
        self.reach.iter().for_each(|reach| reach.remove(filter));
        self.forget(filter);
        Some(removed)
    }

    /// The subscriptions that select `topic`.
    pub fn matches(&mut self, topic: &str) -> Matches {
        if let Some(matches) = self.cache.get(topic) {
            return Rc::clone(matches);
        }
        let mut found = Vec::new();
        self.trie.collect(topic, &mut found);
        found.sort_by_key(|subscription| subscription.subscriber);
        let matches: Matches = found.into();
        let cost = matches.len() + CACHED_TOPIC_COST;
        if self.cached + cost > CACHED_SUBSCRIPTIONS_MAX {
            self.cache.clear();
            self.cached = 0;
        }
        if cost <= CACHED_SUBSCRIPTIONS_MAX {
            self.cached += cost;
            self.cache.insert(topic.into(), Rc::clone(&matches));
        }
        matches
    }

    /// The same of a topic that keeps the answer until another is possible, where it is short: it is asked for more often
    /// than filters change.
    pub fn matches_of(&mut self, topic: &str, kept: &Kept) -> Matches {
        if let Some((changes, matches)) = &*kept.0.borrow()
            && *changes == self.changes
        {
            return Rc::clone(matches);
        }
        let matches = self.matches(topic);
        let is_short = matches.len() <= KEPT_SUBSCRIPTIONS_MAX;
        kept.0.replace(is_short.then(|| (self.changes, Rc::clone(&matches))));
        matches
    }

    /// Takes over from `subscription` whether it is guarded, if it is there.
    pub fn guard(&mut self, filter: &TopicFilter<'_>, subscription: &Subscription) {
        if let Some(found) = self.trie.get_mut(filter, (subscription.subscriber, subscription.spelling)) {
            found.guarded = subscription.guarded;
            self.forget(filter);
        }
    }

    /// Takes all answers out of the cache: before many filters change, each of which would go through it.
    pub fn forget_all(&mut self) {
        self.changes += 1;
        self.cache.clear();
        self.cached = 0;
    }

    /// How many subscriptions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filters
    }

    /// Whether nobody wants anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filters == 0
    }

    /// Takes the answers that a change of `filter` makes wrong out of the cache.
    fn forget(&mut self, filter: &TopicFilter<'_>) {
        self.changes += 1;
        if !filter.has_wildcards() {
            if let Some(matches) = self.cache.remove(filter.as_str()) {
                self.cached -= matches.len() + CACHED_TOPIC_COST;
            }
            return;
        }
        if self.cache.len() > FORGET_ONE_BY_ONE_MAX {
            // Matching them again, as they come, costs everybody less than looking at all of them now.
            self.forget_all();
            return;
        }
        let cached = &mut self.cached;
        self.cache.retain(|topic, matches| {
            let stays = !Topic::new(topic).is_ok_and(|topic| filter.matches(&topic));
            if !stays {
                *cached -= matches.len() + CACHED_TOPIC_COST;
            }
            stays
        });
    }
}

/// [`Subscription::spelling`]: tells a filter's spelling from the others that select the same; 0: it is the canonical one.
pub(crate) fn spelling_of(spelled: &str, canonical: &str) -> u32 {
    if spelled == canonical {
        return 0;
    }
    let mut hasher = FxHasher::default();
    hasher.write(spelled.as_bytes());
    (hasher.finish() >> 32) as u32 | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn subscription(subscriber: u32) -> Subscription {
        Subscription { qos: QoS::AtMostOnce, ..Subscription::of(Subscriber(subscriber)) }
    }

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::new(text).expect("a valid filter")
    }

    #[track_caller]
    fn check(filters: &[&str], topic: &str, selected: &[u32]) {
        let mut interest = Interest::default();
        for (index, text) in filters.iter().enumerate() {
            interest.subscribe(&filter(text), subscription(index as u32));
        }
        for _ in 0..2 {
            // The second answer comes from the cache.
            let found: Vec<u32> = interest.matches(topic).iter().map(|found| found.subscriber.0).collect();
            assert_eq!(found, selected, "{topic}");
        }
        for (index, text) in filters.iter().enumerate() {
            assert!(interest.unsubscribe(&filter(text), Subscriber(index as u32), 0).is_some(), "{text}");
        }
        assert!(interest.is_empty() && interest.trie.is_bare() && interest.matches(topic).is_empty());
    }

    #[test]
    fn wildcards_select_what_the_standard_says() {
        let filters = ["dog/#", "dog/+", "dog/123", "#", "+/123", "+", "dog/+/x", "dog/123/#", "/+", "+/+"];
        check(&filters, "dog/123", &[0, 1, 2, 3, 4, 7, 9]);
        check(&filters, "dog", &[0, 3, 5]);
        check(&filters, "dog/", &[0, 1, 3, 9]);
        check(&filters, "dog/1/x", &[0, 3, 6]);
        check(&filters, "/x", &[3, 8, 9]);
        check(&filters, "cat/1", &[3, 9]);
        check(&filters, "$SYS/x", &[]);
        check(&["$SYS/#", "$SYS/+", "#", "+/x"], "$SYS/x", &[0, 1]);
    }

    #[test]
    fn the_cache_follows_every_change() {
        let mut interest = Interest::default();
        let count = |interest: &mut Interest| interest.matches("dog/1").len();
        assert_eq!(count(&mut interest), 0);
        for (index, text) in ["dog/1", "dog/+", "#", "cat/#"].iter().enumerate() {
            interest.subscribe(&filter(text), subscription(index as u32));
        }
        assert_eq!(count(&mut interest), 3);
        interest.unsubscribe(&filter("dog/+"), Subscriber(1), 0);
        assert_eq!(count(&mut interest), 2);
        interest.unsubscribe(&filter("dog/1"), Subscriber(0), 0);
        assert_eq!(count(&mut interest), 1);
        assert_eq!(interest.unsubscribe(&filter("dog/1"), Subscriber(0), 0), None);
    }

    #[test]
    fn a_second_subscription_to_a_filter_replaces_the_first() {
        let mut interest = Interest::default();
        interest.subscribe(&filter("dog/#"), subscription(1));
        let better = Subscription { qos: QoS::ExactlyOnce, ..subscription(1) };
        assert_eq!(interest.subscribe(&filter("dog/#"), better), Some(subscription(1)));
        assert_eq!(&*interest.matches("dog/1"), &[better]);
        assert_eq!(interest.len(), 1);
    }

    #[test]
    fn the_cache_stays_within_its_bound() {
        let mut interest = Interest::default();
        for subscriber in 0..1_000 {
            interest.subscribe(&filter("#"), subscription(subscriber));
        }
        for topic in 0..2_000 {
            interest.matches(&format!("t/{topic}"));
            assert!(interest.cached <= CACHED_SUBSCRIPTIONS_MAX);
        }
    }

    #[test]
    fn a_topic_keeps_no_long_answer() {
        let mut interest = Interest::default();
        let kept = Kept::default();
        for subscriber in 0..=KEPT_SUBSCRIPTIONS_MAX as u32 {
            assert_eq!(interest.matches_of("a", &kept).len(), subscriber as usize);
            assert!(kept.0.borrow().is_some());
            interest.subscribe(&filter("a"), subscription(subscriber));
        }
        assert_eq!(interest.matches_of("a", &kept).len(), KEPT_SUBSCRIPTIONS_MAX + 1);
        assert!(kept.0.borrow().is_none());
    }

    proptest! {
        #[test]
        fn whatever_changes_a_topic_goes_to_those_whose_filters_select_it(
            steps in prop::collection::vec(
                (0..6_u32, "[+a][/][+#ab]([/][#b])?", any::<bool>(), "[ab][/][ab]([/][ab])?"),
                1..120,
            ),
        ) {
            let mut interest = Interest::default();
            let mut held = BTreeSet::new();
            let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
            for (subscriber, text, subscribes, topic) in steps {
                if let Ok(filter) = TopicFilter::new(&text) {
                    if subscribes {
                        interest.subscribe(&filter, subscription(subscriber));
                        held.insert((text.clone(), subscriber));
                    } else {
                        let removed = interest.unsubscribe(&filter, Subscriber(subscriber), 0);
                        prop_assert_eq!(removed.is_some(), held.remove(&(text.clone(), subscriber)));
                    }
                }
                let topic = Topic::new(&topic).expect("a valid topic");
                let selects = |text: &str| TopicFilter::new(text).is_ok_and(|filter| filter.matches(&topic));
                let mut wanted: Vec<u32> = held.iter().filter(|(text, _)| selects(text)).map(|&(_, who)| who).collect();
                wanted.sort_unstable();
                let subscribers = |matches: Matches| matches.iter().map(|found| found.subscriber.0).collect::<Vec<_>>();
                let kept = kept.entry(topic.as_str().to_owned()).or_default();
                prop_assert_eq!(&subscribers(interest.matches_of(topic.as_str(), kept)), &wanted);
                prop_assert_eq!(&subscribers(interest.matches(topic.as_str())), &wanted);
            }
        }
    }
}
