//! Whether anyone could come back for an event: the filters of all sessions that outlive their connections, wherever
//! on the node they are. Each shard keeps its own copy, made from the log like everything else.

use crate::interest::{Interest, Subscriber, Subscription};
use crate::mqtt::session::rows;
use crate::tables::Tables;
use rowcast_codec::TopicFilter;
use rustc_hash::{FxHashMap, FxHashSet};

/// Filters with QoS 1 or 2 of durable sessions, each once, with how many hold it.
#[derive(Default)]
pub(super) struct DurableInterest {
    rows: FxHashSet<Box<[u8]>>,
    holders: FxHashMap<Box<str>, u32>,
    interest: Interest,
}

const ANYONE: Subscription = Subscription::of(Subscriber(0));

impl DurableInterest {
    /// A row of the subscriptions table was put.
    pub(super) fn add(&mut self, tables: &Tables, key: &[u8]) {
        let Some((_, true, spelled)) = rows::parse_subscription(key) else { return };
        let Some(filter) = canonical(tables, spelled) else { return };
        if !self.rows.insert(key.into()) {
            return;
        }
        let holders = self.holders.entry(filter.as_str().into()).or_default();
        *holders += 1;
        if *holders == 1
            && let Ok(filter) = TopicFilter::new(&filter)
        {
            self.interest.subscribe(&filter, ANYONE);
        }
    }

    /// A row of the subscriptions table was deleted.
    pub(super) fn remove(&mut self, tables: &Tables, key: &[u8]) {
        if !self.rows.remove(key) {
            return;
        }
        let Some((_, true, spelled)) = rows::parse_subscription(key) else { return };
        let Some(filter) = canonical(tables, spelled) else { return };
        let Some(holders) = self.holders.get_mut(filter.as_str()) else { return };
        *holders -= 1;
        if *holders == 0 {
            self.holders.remove(filter.as_str());
            if let Ok(filter) = TopicFilter::new(&filter) {
                self.interest.unsubscribe(&filter, ANYONE.subscriber, ANYONE.spelling);
            }
        }
    }

    /// The names of tables changed: filters may select other topics now.
    pub(super) fn rebuild(&mut self, tables: &Tables) {
        let rows = std::mem::take(&mut self.rows);
        *self = DurableInterest::default();
        for row in rows {
            self.add(tables, &row);
        }
    }

    /// Whether a session may come back for an event on `topic`.
    pub(super) fn wants(&mut self, topic: &str) -> bool {
        !self.interest.is_empty() && !self.interest.matches(topic).is_empty()
    }
}

/// The filter that canonical topics are matched with.
pub(super) fn canonical(tables: &Tables, spelled: &str) -> Option<String> {
    let spelled = TopicFilter::new(spelled).ok()?.filter(); // Whoever shares it.
    tables.canonical_filter(spelled).map(|(filter, _)| filter)
}
