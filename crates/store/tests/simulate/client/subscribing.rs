//! What a client subscribes to, and what it must get for that.

use super::Client;
use crate::Node;
use crate::book::{Book, Kind, Message};
use crate::random::Random;
use rowcast_codec::{
    Packet, QoS, ReasonCode, RetainHandling, Suback, Subscribe, SubscribeFilter, SubscribeProperties,
    SubscriptionOptions, Topic, TopicFilter, Unsubscribe,
};

/// Something to subscribe to; its place among all is its subscription identifier.
pub(crate) type Filter = &'static str;

/// Filters that overlap in every way, also in two spellings of one table.
pub(crate) const FILTERS: [Filter; 11] =
    ["note/#", "note/a", "+/b", "#", "open/x", "note/+", "Note/a", "dog/#", "dog/1", "ticket/#", "+/1"];
/// Shared ones, each a group.
pub(crate) const GROUPS: [Filter; 2] = ["$share/g/note/#", "$share/h/#"];
/// Subscription identifiers from here on are of shared ones.
pub(super) const GROUP_ID: u32 = 100;

/// A subscription, as its client knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) filter: Filter,
    pub(super) qos: QoS,
    pub(super) no_local: bool,
    pub(super) with_records: bool,
    /// SUBACK came.
    pub(super) granted: bool,
    /// Messages from here on were published when it was granted already, or the one it replaces was.
    pub(super) first: usize,
    /// When it was asked for first, and last, as [`Book::clock`] counts.
    pub(super) since: u64,
    pub(super) asked: u64,
}

/// What is to be answered.
pub(super) enum Asked {
    Subscribe(Vec<Held>),
    Unsubscribe,
}

impl Held {
    pub(super) fn group(&self) -> Option<usize> {
        GROUPS.iter().position(|&filter| filter == self.filter)
    }

    pub(super) fn identifier(&self) -> u32 {
        let place = |filters: &[Filter]| filters.iter().position(|&filter| filter == self.filter).map(|at| at as u32);
        place(&GROUPS).map_or_else(|| place(&FILTERS).unwrap_or(0) + 1, |at| at + GROUP_ID)
    }

    pub(super) fn selects(&self, topic: &str) -> bool {
        let plain = TopicFilter::new(self.filter).expect("a filter").filter();
        // A table's name and its alias are one.
        let plain = if let Some(rest) = plain.strip_prefix('N') { format!("n{rest}") } else { plain.to_owned() };
        let topic = Topic::new(topic).expect("a topic");
        TopicFilter::new(&plain).expect("a filter").matches(&topic)
    }

    /// Whether a message comes by it at all.
    pub(super) fn wants(&self, message: &Message, client: usize, epoch: u32) -> bool {
        let own = message.publisher == client && message.epoch == epoch && !message.is_will;
        self.selects(message.topic) && !(own && self.no_local)
    }
}

impl Client {
    /// One SUBSCRIBE or UNSUBSCRIBE at a time.
    pub(crate) fn can_ask(&self) -> bool {
        self.connected && !self.silent && self.asked.is_empty()
    }

    /// Asks for some filters in one packet.
    pub(crate) fn subscribe(&mut self, node: &mut Node, book: &mut Book, filter: Filter, random: &mut Random) {
        let id = self.free_id();
        book.clock += 1;
        let is_group = GROUPS.contains(&filter);
        let is_v5 = self.is_v5();
        let qos = if is_group {
            if self.is_durable() && self.index.is_multiple_of(2) { QoS::ExactlyOnce } else { QoS::AtLeastOnce }
        } else {
            random.qos()
        };
        let retain_handling = match self.nature.as_published {
            true => RetainHandling::DoNotSend,
            false if is_v5 => random.of(&[
                RetainHandling::SendAtSubscribe,
                RetainHandling::SendAtSubscribe,
                RetainHandling::SendIfNew,
                RetainHandling::DoNotSend,
            ]),
            false => RetainHandling::SendAtSubscribe,
        };
        let before = self.subscriptions.remove(filter);
        let held = Held {
            filter,
            qos,
            no_local: is_v5 && !is_group && random.one_in(4),
            with_records: !is_group
                && (retain_handling == RetainHandling::SendAtSubscribe
                    || (retain_handling == RetainHandling::SendIfNew && before.is_none())),
            granted: false,
            first: before.map_or(usize::MAX, |before| before.first),
            since: before.map_or(book.clock, |before| before.since),
            asked: book.clock,
        };
        self.past.extend(before);
        self.past.push(held);
        let options = SubscriptionOptions {
            qos,
            no_local: held.no_local,
            retain_as_published: self.nature.as_published && is_v5,
            retain_handling,
        };
        let options = if is_v5 { options } else { SubscriptionOptions { qos, ..SubscriptionOptions::default() } };
        let filters = [SubscribeFilter { filter, options }];
        let properties =
            SubscribeProperties { subscription_id: is_v5.then(|| held.identifier()), ..SubscribeProperties::default() };
        let subscribe = Subscribe { packet_id: id, properties, filters: (&filters[..]).into() };
        self.send(node, &Packet::Subscribe(subscribe));
        self.asked.insert(id.get(), Asked::Subscribe(vec![held]));
        self.forget_unselected(book);
    }

    pub(crate) fn unsubscribe(&mut self, node: &mut Node, book: &Book, filter: Filter) {
        let Some(held) = self.subscriptions.remove(filter) else { return };
        self.past.push(held);
        let id = self.free_id();
        let filters = [filter];
        let unsubscribe =
            Unsubscribe { packet_id: id, user_properties: Default::default(), filters: (&filters[..]).into() };
        self.send(node, &Packet::Unsubscribe(unsubscribe));
        self.asked.insert(id.get(), Asked::Unsubscribe);
        self.forget_unselected(book);
    }

    /// Whether it takes part in a group, as far as it knows.
    pub(crate) fn is_in(&self, group: usize) -> bool {
        self.subscriptions.get(GROUPS[group]).is_some_and(|held| held.granted)
    }

    pub(super) fn on_suback(&mut self, suback: &Suback<'_>, book: &Book) -> Result<(), String> {
        let Some(Asked::Subscribe(asked)) = self.asked.remove(&suback.packet_id.get()) else {
            return Err("SUBACK for nothing".to_owned());
        };
        for (held, reason) in asked.into_iter().zip(suback.reasons.iter()) {
            if reason.is_error() {
                if !self.excused {
                    return Err(format!("{} is not granted: {reason}", held.filter));
                }
                continue;
            }
            let granted = match reason {
                ReasonCode::GrantedQoS2 => QoS::ExactlyOnce,
                ReasonCode::GrantedQoS1 => QoS::AtLeastOnce,
                _ => QoS::AtMostOnce,
            };
            if granted != held.qos {
                return Err(format!("{} is granted with {granted:?}", held.filter));
            }
            let first = held.first.min(book.messages.len());
            self.subscriptions.insert(held.filter, Held { granted: true, first, ..held });
        }
        Ok(())
    }

    /// Whether requests that were not answered were granted is not known.
    pub(super) fn forget_asked(&mut self) {
        if !self.asked.is_empty() {
            self.asked.clear();
            self.expected.retain(|message| self.got.contains(message));
        }
    }

    /// What only subscriptions select that are gone, or may be, need not come any more.
    fn forget_unselected(&mut self, book: &Book) {
        let (index, epoch) = (self.index, self.session.epoch);
        let kept = |number: &usize| {
            let message = &book.messages[*number];
            self.got.contains(number)
                || self.subscriptions.values().any(|held| {
                    let keeps = held.group().is_none() && held.qos > QoS::AtMostOnce && held.first <= *number;
                    keeps && held.wants(message, index, epoch)
                })
        };
        let kept: Vec<usize> = self.expected.iter().copied().filter(kept).collect();
        self.expected = kept.into_iter().collect();
    }

    /// Another message was published by somebody: whether it must reach this client.
    pub(crate) fn expect(&mut self, message: &Message, number: usize, now: u64) {
        let stays = self.connected || (self.is_durable() && self.surely_has_session(now));
        let lasts = message.expiry_secs.is_none() && !message.topic.starts_with("ticket");
        if stays
            && (lasts || message.kind == Kind::Event && message.expiry_secs.is_none())
            && message.condition.is_none()
            && message.kind != Kind::Delete
            && message.qos > QoS::AtMostOnce
            && self.granted(message.topic, Some(message)) > QoS::AtMostOnce
        {
            self.expected.insert(number);
        }
    }

    /// The highest QoS that its subscriptions grant a topic, or a message on it.
    pub(super) fn granted(&self, topic: &str, message: Option<&Message>) -> QoS {
        let (index, epoch) = (self.index, self.session.epoch);
        let own = self.subscriptions.values().filter(|held| held.granted && held.group().is_none());
        let selecting = own.filter(|held| match message {
            Some(message) => held.wants(message, index, epoch),
            None => held.selects(topic) && !held.no_local,
        });
        selecting.map(|held| held.qos).max().unwrap_or(QoS::AtMostOnce)
    }

    /// Whether it had a subscription that keeps changes of a topic before `at`, as [`Book::clock`] counts.
    pub(super) fn subscribed_before(&self, topic: &str, at: u64) -> bool {
        self.subscriptions.values().any(|held| {
            let keeps = held.granted && held.group().is_none() && held.qos > QoS::AtMostOnce && !held.no_local;
            keeps && held.selects(topic) && held.asked < at
        })
    }

    /// Whether it has a subscription that brought it the record, or has held one since before the record was made.
    pub(super) fn had_state_since(&self, topic: &str, book: &Book, number: usize) -> bool {
        let message = &book.messages[number];
        let accepted = message.accepted_at;
        self.subscriptions.values().any(|held| {
            held.granted
                && held.group().is_none()
                && held.qos > QoS::AtMostOnce
                && held.selects(topic)
                && held.with_records
                && accepted.is_some()
        })
    }
}
