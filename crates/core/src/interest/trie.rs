//! Filters as a trie of their levels.
//!
//! Levels that only one filter has stand together in one node, or a filter of a hundred levels would take a hundred
//! nodes: with so many of them, one client would make a node grow by gigabytes.

use super::holders::Holders;
use super::{Subscriber, Subscription};
use crate::names::NameMap;
use rowcast_codec::{TopicFilter, levels, split_level};
use slab::Slab;

/// Who holds which filter.
///
/// Invariant: a node other than the root has holders or several children, so there are at most two for each filter.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Slab<Node>,
    root: usize,
}

#[derive(Debug, Default)]
struct Node {
    /// The levels between the one its parent knows it by and its own, each behind a `/`; `+` is one too. Mostly none.
    path: Box<str>,
    children: NameMap<Box<str>, usize>,
    plus: Option<usize>,
    /// Filters that end here.
    exact: Holders,
    /// Filters that go on with `#` here.
    below: Holders,
}

/// A filter without a `#` at its end.
struct Place<'a> {
    /// `None`: there are no other levels.
    levels: Option<&'a str>,
    /// Whether there was one.
    below: bool,
}

#[derive(Clone, Copy)]
enum Depth {
    /// At the root; `hidden`: the topic begins with `$`, which wildcards do not select there.
    First {
        hidden: bool,
    },
    Below,
}

impl Default for Trie {
    fn default() -> Self {
        let mut nodes = Slab::new();
        let root = nodes.insert(Node::default());
        Trie { nodes, root }
    }
}

impl Trie {
    /// Adds a subscription, or puts it in the place of one with the same subscriber and spelling, which is returned.
    pub(super) fn insert(&mut self, filter: &TopicFilter<'_>, subscription: Subscription) -> Option<Subscription> {
        let place = Place::of(filter);
        let at = self.make(place.levels);
        self.nodes[at].holders(&place).insert(subscription)
    }

    /// Takes a subscription away; returns it if there was one.
    pub(super) fn remove(&mut self, filter: &TopicFilter<'_>, key: (Subscriber, u32)) -> Option<Subscription> {
        let place = Place::of(filter);
        let (parent, at) = self.find(place.levels)?;
        let removed = self.nodes[at].holders(&place).remove(key)?;
        if let Some((parent, level)) = parent {
            if self.nodes[at].is_empty() {
                self.nodes.remove(at);
                self.nodes[parent].forget_child(level);
                self.join(parent);
            } else {
                self.join(at);
            }
        }
        Some(removed)
    }

    /// The subscription of this subscriber and spelling.
    pub(super) fn get_mut(&mut self, filter: &TopicFilter<'_>, key: (Subscriber, u32)) -> Option<&mut Subscription> {
        let place = Place::of(filter);
        let (_, at) = self.find(place.levels)?;
        self.nodes[at].holders(&place).get_mut(key)
    }

    /// Appends the subscriptions that select `topic`.
    pub(super) fn collect(&self, topic: &str, found: &mut Vec<Subscription>) {
        let hidden = topic.starts_with('$');
        self.collect_from(self.root, topic, Depth::First { hidden }, found);
    }

    /// Whether there is nothing, and nothing is kept either.
    #[cfg(test)]
    pub(super) fn is_bare(&self) -> bool {
        self.nodes.len() == 1 && self.nodes[self.root].is_empty()
    }

    /// Depth is bounded by the levels of a topic (`Limits::topic_levels`), checked where it came in.
    fn collect_from(&self, at: usize, rest: &str, depth: Depth, found: &mut Vec<Subscription>) {
        let node = &self.nodes[at];
        let wildcards = !matches!(depth, Depth::First { hidden: true }); // [MQTT-4.7.2-1]
        if wildcards {
            node.below.collect(found);
        }
        let (level, rest) = split_level(rest);
        let plus = node.plus.filter(|_| wildcards);
        for child in [node.children.get(level).copied(), plus].into_iter().flatten() {
            let next = &self.nodes[child];
            match next.pass(rest) {
                Some(Some(rest)) => self.collect_from(child, rest, Depth::Below, found),
                Some(None) => {
                    next.exact.collect(found);
                    next.below.collect(found); // `dog/#` selects `dog` (MQTT 5 §4.7.1.2).
                }
                None => {}
            }
        }
    }

    /// The node of these levels, and its parent with the level it is known by there.
    fn find<'a>(&self, levels: Option<&'a str>) -> Option<(Option<(usize, &'a str)>, usize)> {
        let (mut parent, mut at, mut rest) = (None, self.root, levels);
        while let Some(levels) = rest {
            let (level, behind) = first_of(levels);
            let child = self.nodes[at].child(level)?;
            let behind = behind.strip_prefix(&*self.nodes[child].path)?;
            if !(behind.is_empty() || behind.starts_with('/')) {
                return None;
            }
            (parent, at, rest) = (Some((at, level)), child, behind.strip_prefix('/'));
        }
        Some((parent, at))
    }

    /// The same, made where it is missing.
    fn make(&mut self, levels: Option<&str>) -> usize {
        let (mut at, mut rest) = (self.root, levels);
        while let Some(levels) = rest {
            let (level, behind) = first_of(levels);
            let Some(child) = self.nodes[at].child(level) else {
                let child = self.nodes.insert(Node { path: behind.into(), ..Node::default() });
                self.nodes[at].adopt(level, child);
                return child;
            };
            let common = common_of(&self.nodes[child].path, behind);
            self.part(child, common);
            (at, rest) = (child, behind[common..].strip_prefix('/'));
        }
        at
    }

    /// A node keeps so much of its path; what is behind that becomes its child, with all it had.
    fn part(&mut self, at: usize, kept: usize) {
        let path = &self.nodes[at].path;
        let Some(behind) = path[kept..].strip_prefix('/') else { return };
        let (level, behind) = first_of(behind);
        let (level, path, behind): (Box<str>, Box<str>, Box<str>) = (level.into(), path[..kept].into(), behind.into());
        let whole = std::mem::replace(&mut self.nodes[at], Node { path, ..Node::default() });
        let child = self.nodes.insert(Node { path: behind, ..whole });
        self.nodes[at].adopt(&level, child);
    }

    /// A node that is nothing but the way to its only child becomes one with it.
    fn join(&mut self, at: usize) {
        let node = &self.nodes[at];
        if at == self.root || !node.has_no_holders() || node.children.len() + usize::from(node.plus.is_some()) > 1 {
            return;
        }
        let (level, child) = match (node.plus, node.children.iter().next()) {
            (Some(child), _) => ("+", child),
            (None, Some((level, &child))) => (&**level, child),
            (None, None) => return,
        };
        let path = [&*node.path, "/", level, &*self.nodes[child].path].concat().into();
        let below = self.nodes.remove(child);
        self.nodes[at] = Node { path, ..below };
    }
}

impl Node {
    fn has_no_holders(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.has_no_holders()
    }

    fn holders(&mut self, place: &Place<'_>) -> &mut Holders {
        if place.below { &mut self.below } else { &mut self.exact }
    }

    fn child(&self, level: &str) -> Option<usize> {
        match level {
            "+" => self.plus,
            name => self.children.get(name).copied(),
        }
    }

    fn adopt(&mut self, level: &str, child: usize) {
        match level {
            "+" => self.plus = Some(child),
            name => drop(self.children.insert(name.into(), child)),
        }
    }

    fn forget_child(&mut self, level: &str) {
        match level {
            "+" => self.plus = None,
            name => {
                self.children.remove(name);
                // Else a node that had a hundred thousand of them keeps room for as many, and is searched through.
                if self.children.len() < self.children.capacity() / 4 {
                    self.children.shrink_to(2 * self.children.len());
                }
            }
        }
    }

    /// What is left of a topic behind the node's path, where that selects its next levels; within: `None` at its end.
    fn pass<'t>(&self, topic: Option<&'t str>) -> Option<Option<&'t str>> {
        if self.path.is_empty() {
            return Some(topic);
        }
        let mut rest = topic;
        for level in levels(&self.path).skip(1) {
            let (next, behind) = first_of(rest?);
            if level != "+" && level != next {
                return None;
            }
            rest = behind.strip_prefix('/');
        }
        Some(rest)
    }
}

impl<'a> Place<'a> {
    fn of(filter: &TopicFilter<'a>) -> Place<'a> {
        let filter = filter.filter();
        match filter.strip_suffix('#') {
            Some("") => Place { levels: None, below: true },
            Some(parent) => Place { levels: parent.strip_suffix('/'), below: true },
            None => Place { levels: Some(filter), below: false },
        }
    }
}

/// The first of some levels, and those behind it, each behind a `/`.
fn first_of(levels: &str) -> (&str, &str) {
    levels.split_at(split_level(levels).0.len())
}

/// How many bytes of both, levels behind a `/` each, are the same levels.
fn common_of(one: &str, other: &str) -> usize {
    let both = levels(one).zip(levels(other)).skip(1);
    both.take_while(|(one, other)| one == other).map(|(level, _)| level.len() + 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(trie: &mut Trie, text: &str, subscriber: u32) {
        let filter = TopicFilter::new(text).expect("a filter");
        assert_eq!(trie.insert(&filter, Subscription::of(Subscriber(subscriber))), None, "{text}");
    }

    fn remove(trie: &mut Trie, text: &str, subscriber: u32) -> bool {
        trie.remove(&TopicFilter::new(text).expect("a filter"), (Subscriber(subscriber), 0)).is_some()
    }

    /// The paths of all nodes but the root, sorted.
    fn paths(trie: &Trie) -> Vec<&str> {
        let others = trie.nodes.iter().filter(|&(at, _)| at != trie.root);
        let mut paths: Vec<&str> = others.map(|(_, node)| &*node.path).collect();
        paths.sort_unstable();
        paths
    }

    #[test]
    fn levels_that_one_filter_has_stand_in_one_node() {
        let mut trie = Trie::default();
        insert(&mut trie, "a/b//+/c/d", 1);
        assert_eq!(paths(&trie), ["/b//+/c/d"]);
        insert(&mut trie, "a/b//+/cc/d/#", 2);
        assert_eq!(paths(&trie), ["/b//+", "/d", "/d"]);
        insert(&mut trie, "a/b", 3);
        assert_eq!(paths(&trie), ["/+", "/b", "/d", "/d"]);
        insert(&mut trie, "a/+", 4);
        assert_eq!(paths(&trie), ["", "", "", "/+", "/d", "/d"]);
        assert!(remove(&mut trie, "a/+", 4) && remove(&mut trie, "a/b//+/c/d", 1));
        assert_eq!(paths(&trie), ["/+/cc/d", "/b"]);
        assert!(remove(&mut trie, "a/b", 3));
        assert_eq!(paths(&trie), ["/b//+/cc/d"]);
        assert!(remove(&mut trie, "a/b//+/cc/d/#", 2) && trie.is_bare());
    }

    #[test]
    fn a_filter_that_is_not_there_is_not_found_within_another() {
        let mut trie = Trie::default();
        insert(&mut trie, "a/b/c/d", 1);
        for text in
            ["a", "a/b", "a/b/c", "a/b/c/d/e", "a/b/c/d/#", "a/b/c/dd", "a/b/c/", "a/#", "#", "+/b/c/d", "a/+/c/d"]
        {
            assert!(!remove(&mut trie, text, 1), "{text}");
            let mut found = Vec::new();
            if let Ok(topic) = rowcast_codec::Topic::new(text) {
                trie.collect(topic.as_str(), &mut found);
            }
            assert!(found.is_empty(), "{text}");
        }
        assert!(remove(&mut trie, "a/b/c/d", 1) && trie.is_bare());
    }

    /// Against [`TopicFilter::matches`], in any order of coming and going.
    #[test]
    fn any_filters_select_what_they_select_alone() {
        let mut random = 1_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        let mut trie = Trie::default();
        let mut held: Vec<(String, u32)> = Vec::new();
        for round in 0..20_000 {
            let mut levels = |names: &[&str]| {
                let count = 1 + next(6);
                (0..count).map(|_| names[next(names.len() as u64) as usize].to_owned()).collect::<Vec<_>>().join("/")
            };
            let topic = levels(&["a", "b", "$a", "aa", "", "a", "b"]);
            let filter = levels(&["a", "b", "$a", "aa", "", "+", "+"]);
            let filter = if next(4) == 0 { format!("{filter}/#") } else { filter };
            if next(2) == 0 && !filter.is_empty() {
                insert(&mut trie, &filter, round);
                held.push((filter, round));
            } else if !held.is_empty() {
                let (filter, subscriber) = held.swap_remove(next(held.len() as u64) as usize);
                assert!(remove(&mut trie, &filter, subscriber), "{filter}");
            }
            assert!(trie.nodes.len() <= 2 * held.len() + 1, "{} filters", held.len());
            let Ok(topic) = rowcast_codec::Topic::new(&topic) else { continue };
            let mut found = Vec::new();
            trie.collect(topic.as_str(), &mut found);
            let mut found: Vec<u32> = found.iter().map(|found| found.subscriber.0).collect();
            let selects = |text: &str| TopicFilter::new(text).expect("a filter").matches(&topic);
            let mut expected: Vec<u32> =
                held.iter().filter(|(text, _)| selects(text)).map(|&(_, subscriber)| subscriber).collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{topic:?}");
        }
        for (filter, subscriber) in held {
            assert!(remove(&mut trie, &filter, subscriber), "{filter}");
        }
        assert!(trie.is_bare());
    }
}
