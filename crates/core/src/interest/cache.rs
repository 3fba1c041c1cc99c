//! Answers of the trie, by exact topic.
//!
//! A filter with wildcards that changes may make any of them wrong. Nobody looks for those: the change is noted, and an
//! answer is held against what changed since when it is next asked for. So subscribing costs the same however much is
//! remembered, and topics that a filter does not select keep their answers.

use super::Matches;
use rowcast_codec::{Topic, TopicFilter};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// What was answered of late.
#[derive(Default, Debug)]
pub(super) struct Cache {
    /// Those that were asked for since `old` was this.
    young: Generation,
    /// Those of before; forgotten when `young` has its half of the room.
    old: Generation,
    /// How many filters with wildcards have changed.
    changes: u64,
    /// The last of them, the latest in front.
    changed: VecDeque<Box<str>>,
}

#[derive(Default, Debug)]
struct Generation {
    answers: FxHashMap<Box<str>, Answer>,
    /// What they count for, all together.
    cost: usize,
}

#[derive(Debug)]
struct Answer {
    matches: Matches,
    /// [`Cache::changes`] when it was right.
    changes: u64,
}

/// Subscriptions remembered by one shard, all topics together; 48 bytes each.
const SUBSCRIPTIONS_MAX: usize = 262_144;
/// What a topic counts for beside its subscriptions.
const TOPIC_COST: usize = 4;
/// Changed filters that an answer is held against; behind more of them the trie is asked again, which costs as much.
const CHANGED_MAX: usize = 16;

impl Cache {
    /// The answer for a topic, if it is known.
    pub(super) fn get(&mut self, topic: &str) -> Option<Matches> {
        let Cache { young, old, changes, changed } = self;
        if let Some(answer) = young.answers.get_mut(topic) {
            if answer.holds(topic, *changes, changed) {
                return Some(Matches::clone(&answer.matches));
            }
            young.remove(topic);
            return None;
        }
        let mut answer = old.remove(topic)?;
        if !answer.holds(topic, *changes, changed) {
            return None;
        }
        let matches = Matches::clone(&answer.matches);
        self.keep(topic, answer);
        Some(matches)
    }

    /// Remembers an answer.
    pub(super) fn put(&mut self, topic: &str, matches: &Matches) {
        self.keep(topic, Answer { matches: Matches::clone(matches), changes: self.changes });
    }

    fn keep(&mut self, topic: &str, answer: Answer) {
        let cost = answer.cost();
        if cost > SUBSCRIPTIONS_MAX / 2 {
            return;
        }
        if self.young.cost + cost > SUBSCRIPTIONS_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.cost += cost;
        self.young.answers.insert(topic.into(), answer);
    }

    /// Who holds a filter changed.
    pub(super) fn change(&mut self, filter: &TopicFilter<'_>) {
        if !filter.has_wildcards() {
            self.young.remove(filter.as_str());
            self.old.remove(filter.as_str());
            return;
        }
        self.changes += 1;
        self.changed.truncate(CHANGED_MAX - 1);
        self.changed.push_front(filter.as_str().into());
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        (self.young, self.old) = Default::default();
    }
}

impl Generation {
    fn remove(&mut self, topic: &str) -> Option<Answer> {
        let answer = self.answers.remove(topic)?;
        self.cost -= answer.cost();
        Some(answer)
    }
}

impl Answer {
    fn cost(&self) -> usize {
        self.matches.len() + TOPIC_COST
    }

    /// Whether it is right by now, after so many `changes`, the last of which are `changed`.
    fn holds(&mut self, topic: &str, changes: u64, changed: &VecDeque<Box<str>>) -> bool {
        if self.changes == changes {
            return true;
        }
        let Ok(since) = usize::try_from(changes - self.changes) else { return false };
        let Ok(topic) = Topic::new(topic) else { return false };
        let selects = |filter: &str| TopicFilter::new(filter).is_ok_and(|filter| filter.matches(&topic));
        let holds = since <= changed.len() && !changed.iter().take(since).any(|filter| selects(filter));
        if holds {
            self.changes = changes;
        }
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interest::{Subscriber, Subscription};

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::new(text).expect("a valid filter")
    }

    fn answer(subscriptions: u32) -> Matches {
        (0..subscriptions).map(|subscriber| Subscription::of(Subscriber(subscriber))).collect()
    }

    #[test]
    fn an_answer_stays_while_filters_change_that_do_not_select_its_topic() {
        let mut cache = Cache::default();
        cache.put("dog/1", &answer(1));
        for (changed, stays) in
            [("cat/#", true), ("dog/2", true), ("dog/1/+", true), ("dog/+", false), ("dog/1", false)]
        {
            cache.change(&filter(changed));
            assert_eq!(cache.get("dog/1").is_some(), stays, "{changed}");
            cache.put("dog/1", &answer(1));
        }
        cache.clear();
        assert!(cache.get("dog/1").is_none());
    }

    #[test]
    fn behind_more_changes_than_are_known_an_answer_is_not_given() {
        let mut cache = Cache::default();
        cache.put("dog/1", &answer(1));
        cache.put("dog/2", &answer(1));
        (0..CHANGED_MAX).for_each(|number| cache.change(&filter(&format!("cat/{number}/#"))));
        assert!(cache.get("dog/1").is_some());
        cache.change(&filter("cat/#"));
        assert!(cache.get("dog/1").is_some() && cache.get("dog/2").is_none());
        assert_eq!(cache.changed.len(), CHANGED_MAX);
    }

    #[test]
    fn what_is_asked_for_stays_when_there_is_no_room_for_all() {
        let mut cache = Cache::default();
        cache.put("hot", &answer(1));
        for number in 0..2_000 {
            cache.put(&format!("cold/{number}"), &answer(1_000));
            assert!(cache.young.cost + cache.old.cost <= SUBSCRIPTIONS_MAX);
            assert!(cache.get("hot").is_some(), "after {number}");
        }
        assert!(cache.get("cold/0").is_none() && cache.get("cold/1999").is_some());
        let known = cache.young.answers.values().chain(cache.old.answers.values()).map(Answer::cost).sum::<usize>();
        assert_eq!(cache.young.cost + cache.old.cost, known);
        cache.put("large", &answer(SUBSCRIPTIONS_MAX as u32));
        assert!(cache.get("large").is_none() && cache.get("hot").is_some());
    }
}
