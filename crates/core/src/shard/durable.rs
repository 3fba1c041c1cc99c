//! Whether anyone could come back for an event: the filters of all sessions that outlive their connections, wherever
//! on the node they are, and of those who lag behind. Each shard keeps its own copy, made from the log, and from what
//! the others say of who lags (`lag`).

use super::key_set::KeySet;
use crate::interest::{Interest, Subscriber, Subscription, spelling_of};
use crate::mqtt::session::rows;
use crate::names::NameMap;
use crate::places::Spot;
use crate::tables::Tables;
use rowcast_codec::TopicFilter;
use std::collections::VecDeque;

/// Filters with QoS 1 or 2 that events are logged for, each once, with how many hold it.
#[derive(Default)]
pub(super) struct DurableInterest {
    /// Rows of the subscriptions table.
    rows: KeySet,
    /// By filter as it was spelled, without the name of a group that shares it.
    holders: NameMap<Box<str>, u32>,
    interest: Interest,
    /// Filters of rows that are gone, still held.
    releasing: VecDeque<Box<str>>,
    /// Grows with each change of what is wanted.
    changes: u64,
}

const ANYONE: Subscription = Subscription::of(Subscriber(0));

impl DurableInterest {
    pub(super) fn new(seed: u64) -> DurableInterest {
        DurableInterest { rows: KeySet::new(seed), ..DurableInterest::default() }
    }

    /// A row of the subscriptions table was put.
    pub(super) fn add(&mut self, tables: &Tables, key: &[u8]) {
        let Some((_, true, spelled)) = rows::parse_subscription(key) else { return };
        if self.rows.insert(key) {
            self.hold(tables, spelled);
        }
    }

    /// A row of the subscriptions table was deleted. What it wanted is logged until [`DurableInterest::release_some`].
    pub(super) fn remove(&mut self, key: &[u8]) {
        let Some((_, true, spelled)) = rows::parse_subscription(key) else { return };
        if self.rows.remove(key) {
            self.releasing.push_back(spelled.into());
        }
    }

    /// How many filters there are of rows that are gone.
    pub(super) fn releasing(&self) -> usize {
        self.releasing.len()
    }

    /// Goes on with these, with so many at most: who has left many is not waited for.
    pub(super) fn release_some(&mut self, tables: &Tables, max: usize) {
        for _ in 0..max {
            let Some(spelled) = self.releasing.pop_front() else { break };
            self.release(tables, &spelled);
        }
        if self.releasing.is_empty() {
            self.releasing = VecDeque::new();
        }
    }

    /// One more wants what a filter selects.
    pub(super) fn hold(&mut self, tables: &Tables, spelled: &str) {
        let Some(plain) = plain(spelled) else { return };
        let holders = self.holders.entry(plain.into()).or_default();
        *holders += 1;
        if *holders == 1 {
            self.changes += 1;
            subscribe(&mut self.interest, tables, plain);
        }
    }

    /// One does not any more.
    pub(super) fn release(&mut self, tables: &Tables, spelled: &str) {
        let Some(plain) = plain(spelled) else { return };
        let Some(holders) = self.holders.get_mut(plain) else { return };
        *holders -= 1;
        if *holders > 0 {
            return;
        }
        self.holders.remove(plain);
        self.changes += 1;
        if let Some((filter, _)) = tables.canonical_filter(plain)
            && let Ok(parsed) = TopicFilter::new(&filter)
        {
            self.interest.unsubscribe(&parsed, ANYONE.subscriber, spelling_of(plain, &filter));
        }
    }

    /// The names of tables changed: filters may select other topics now.
    pub(super) fn rebuild(&mut self, tables: &Tables) {
        self.interest = Interest::default();
        self.changes += 1;
        for plain in self.holders.keys() {
            subscribe(&mut self.interest, tables, plain);
        }
    }

    /// Whether somebody may come back for an event on `topic`.
    pub(super) fn wants(&mut self, topic: &str) -> bool {
        !self.interest.is_empty() && !self.interest.matches(topic).is_empty()
    }

    /// The same of a topic that clients publish to, which keeps the answer until another is possible.
    pub(super) fn wants_of(&mut self, spot: &Spot) -> bool {
        match spot.durable.get() {
            Some((changes, wants)) if changes == self.changes => wants,
            _ => {
                let wants = self.wants(&spot.topic);
                spot.durable.set(Some((self.changes, wants)));
                wants
            }
        }
    }
}

/// A filter whose table is shut selects nothing until it is opened.
fn subscribe(interest: &mut Interest, tables: &Tables, plain: &str) {
    if let Some((filter, _)) = tables.canonical_filter(plain)
        && let Ok(parsed) = TopicFilter::new(&filter)
    {
        interest.subscribe(&parsed, Subscription { spelling: spelling_of(plain, &filter), ..ANYONE });
    }
}

/// A filter without the name of a group that shares it.
fn plain(spelled: &str) -> Option<&str> {
    TopicFilter::new(spelled).ok().map(|filter| filter.filter())
}

/// The filter that canonical topics are matched with.
pub(super) fn canonical(tables: &Tables, spelled: &str) -> Option<String> {
    tables.canonical_filter(plain(spelled)?).map(|(filter, _)| filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::places::Places;
    use crate::position::TableId;
    use crate::proposal::Durability;
    use crate::schema::{Schema, Source};

    #[test]
    fn the_answer_for_a_topic_is_kept_until_another_is_possible() {
        let tables = |name: &str| {
            let schema = format!("type {name} @table @export {{ id: ID @id }}");
            let schema = Schema::parse(&[Source::new("schema.graphql", &schema)]).expect("a schema");
            Tables::new(Catalog::new(schema), Durability::Sync, |table| TableId(64 + table.index.0))
        };
        let (dogs, cats) = (tables("Dog"), tables("Cat"));
        let (mut durable, mut places) = (DurableInterest::new(1), Places::default());
        let spot = places.find(&dogs, "dog/1").expect("a place");
        let row = b"a\0kdog/#"; // See `rows::subscription`.
        let mut check = |wants: bool, change: &dyn Fn(&mut DurableInterest)| {
            change(&mut durable);
            for _ in 0..2 {
                assert_eq!((durable.wants_of(&spot), durable.wants(&spot.topic)), (wants, wants));
            }
        };
        check(false, &|_| {});
        check(true, &|durable| durable.add(&dogs, row));
        check(true, &|durable| durable.hold(&dogs, "dog/+"));
        check(true, &|durable| durable.remove(row));
        check(true, &|durable| durable.release(&dogs, "dog/+"));
        check(false, &|durable| durable.release_some(&dogs, 1));
        check(true, &|durable| durable.add(&dogs, row));
        check(true, &|durable| {
            durable.remove(row);
            durable.add(&dogs, row);
        });
        check(true, &|durable| durable.release_some(&dogs, 2));
        check(true, &|durable| durable.remove(row));
        check(false, &|durable| durable.release_some(&dogs, 1));
        check(true, &|durable| durable.hold(&dogs, "dog/1"));
        check(false, &|durable| durable.rebuild(&cats));
    }
}
