//! What a client subscribes to, and what it must get for that.

use super::Client;
use crate::Node;
use crate::book::{Book, Kind, Message, is_hidden};
use crate::random::Random;
use rowcast_codec::{
    Packet, QoS, ReasonCode, RetainHandling, Suback, Subscribe, SubscribeFilter, SubscribeProperties,
    SubscriptionOptions, Topic, TopicFilter, Unsuback, Unsubscribe, UserPropertiesBuf,
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
/// Those from here on are of several filters.
const SEVERAL_ID: u32 = 1000;
/// Asks for the last changes.
const LAST: &str = "rowcast-last";

/// A subscription, as its client knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) filter: Filter,
    pub(super) identifier: u32,
    /// Which of those that were asked for; with its filter, it is this one and no other.
    packet: u64,
    pub(super) qos: QoS,
    pub(super) no_local: bool,
    /// Whether it brings the records there are, and whether it may: that depends on whether there was one before, which
    /// its client need not know.
    pub(super) with_records: bool,
    pub(super) may_bring_records: bool,
    /// SUBACK came.
    pub(super) granted: bool,
    /// Messages from here on were published when it was granted already, or the one it replaces was.
    pub(super) first: usize,
    /// When it began at the earliest.
    pub(super) since: Since,
    /// What the client published itself before was not for it: what it replaces had No Local. As [`Book::clock`] counts.
    pub(super) own_since: u64,
    /// From when on it surely keeps what changes, as [`Book::clock`] counts.
    pub(super) keeps_since: u64,
    /// It is gone, and its client knows.
    pub(super) over: bool,
    /// It asks that of states without room the newest be kept; and from when on it surely gets them, as [`Book::clock`]
    /// counts: while its client is there.
    conflates: bool,
    pub(super) conflates_since: u64,
    /// Whether it brings the past, and whether it may.
    replays: bool,
    may_replay: bool,
}

/// When something began, as [`Book::clock`] counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) struct Since {
    pub(super) asked: u64,
    /// When nothing was under way last before that.
    pub(super) idle: u64,
}

/// What is to be answered.
pub(super) enum Asked {
    Subscribe(Vec<Wish>),
    Unsubscribe(Filter),
}

/// A subscription that was asked for.
pub(super) struct Wish {
    held: Held,
    /// What it replaces.
    before: Option<Held>,
    /// Whether it may be more than is allowed, and whether it is.
    may_be_refused: bool,
    must_be_refused: bool,
}

impl Held {
    pub(super) fn group(&self) -> Option<usize> {
        GROUPS.iter().position(|&filter| filter == self.filter)
    }

    pub(super) fn is_one_of_several(&self) -> bool {
        self.identifier >= SEVERAL_ID
    }

    pub(super) fn selects(&self, topic: &str) -> bool {
        let plain = TopicFilter::new(self.filter).expect("a filter").filter();
        // A table's name and its alias are one.
        let plain = if let Some(rest) = plain.strip_prefix('N') { format!("n{rest}") } else { plain.to_owned() };
        let topic = Topic::new(topic).expect("a topic");
        TopicFilter::new(&plain).expect("a filter").matches(&topic)
    }

    /// Whether all that it selects is hidden from some.
    fn is_hidden(&self) -> bool {
        let plain = TopicFilter::new(self.filter).expect("a filter").filter();
        is_hidden(&plain.to_ascii_lowercase())
    }

    /// Whether a message comes by it at all.
    pub(super) fn wants(&self, message: &Message, client: usize, epoch: u32) -> bool {
        self.selects(message.topic) && !(self.no_local && is_own(message, client, epoch))
    }
}

/// Whether No Local is about a message, for a session of a client.
pub(super) fn is_own(message: &Message, client: usize, epoch: u32) -> bool {
    message.publisher == client && message.epoch == epoch && !message.is_will && message.asks.is_none()
}

impl Client {
    /// One SUBSCRIBE or UNSUBSCRIBE at a time.
    pub(crate) fn can_ask(&self) -> bool {
        self.connected && !self.silent && self.asked.is_empty()
    }

    /// Asks for some filters in one packet.
    pub(crate) fn subscribe(&mut self, node: &mut Node, book: &mut Book, filters: &[Filter], random: &mut Random) {
        let id = self.free_id();
        book.clock += 1;
        let is_v5 = self.is_v5();
        let is_group = filters.iter().any(|filter| GROUPS.contains(filter));
        let identifier = identifier(filters);
        let past = (is_v5 && !is_group && random.one_in(5)).then(|| past(book, random));
        let conflates = is_v5 && !is_group && random.one_in(3);
        let last = past.as_ref().filter(|(name, _)| *name == LAST).and_then(|(_, last)| last.parse::<u32>().ok());
        let is_beyond = last.is_some_and(|last| last > self.limits.replay_last);
        let doubtful = self.past.iter().filter(|held| !held.over).count();
        let (known, most) = (self.subscriptions.len(), self.limits.subscriptions_per_client as usize);
        let mut wishes: Vec<Wish> = Vec::new();
        let mut asked = Vec::new();
        for (at, &filter) in filters.iter().enumerate() {
            let (held, options) = self.wish(book, (filter, identifier), (past.is_some(), conflates), random);
            let before = self.subscriptions.remove(filter);
            let is_new = before.is_none();
            let is_surely_new = is_new && !self.past.iter().any(|held| held.filter == filter && !held.over);
            let is_last = at >= self.limits.filters_per_subscribe as usize;
            let must_be_refused = is_beyond || is_last || (is_surely_new && known >= most);
            let may_be_refused = must_be_refused || (is_new && known + doubtful + wishes.len() >= most);
            match held.may_replay {
                true => self.replays.begin(held),
                false => self.replays.doubt(filter),
            }
            self.replays.rename(filter, identifier);
            self.past.extend(before);
            self.past.push(held);
            wishes.push(Wish { held, before, may_be_refused, must_be_refused });
            asked.push(SubscribeFilter { filter, options });
        }
        let mut user_properties = UserPropertiesBuf::new();
        let conflates = conflates.then(|| ("rowcast-conflate", "1".to_owned()));
        for (name, value) in conflates.into_iter().chain(past) {
            user_properties.push(name, &value).expect("short");
        }
        let properties = SubscribeProperties {
            subscription_id: is_v5.then_some(identifier),
            user_properties: user_properties.as_ref(),
        };
        let subscribe = Subscribe { packet_id: id, properties, filters: (&asked[..]).into() };
        self.send(node, &Packet::Subscribe(subscribe));
        self.asked.insert(id.get(), Asked::Subscribe(wishes));
        self.forget_unselected(book);
    }

    /// A subscription to ask for, in some way.
    fn wish(
        &self,
        book: &Book,
        (filter, identifier): (Filter, u32),
        (with_past, conflates): (bool, bool),
        random: &mut Random,
    ) -> (Held, SubscriptionOptions) {
        let is_group = GROUPS.contains(&filter);
        let is_v5 = self.is_v5();
        let qos = if is_group { self.nature.share_qos } else { random.qos() };
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
        let before = self.subscriptions.get(filter).copied();
        let doubted = self.past.iter().any(|held| held.filter == filter && !held.over);
        let if_new = retain_handling == RetainHandling::SendIfNew;
        let may_replay = with_past && !(if_new && before.is_some());
        let brings = |if_new| match retain_handling {
            _ if is_group || with_past => false,
            RetainHandling::SendAtSubscribe => true,
            RetainHandling::SendIfNew => if_new,
            RetainHandling::DoNotSend => false,
        };
        let since = if may_replay { Since::default() } else { Since { asked: book.clock, idle: book.idle_at } };
        let held = Held {
            filter,
            identifier,
            packet: book.clock,
            qos,
            no_local: is_v5 && !is_group && !with_past && random.one_in(4),
            with_records: brings(before.is_none() && !doubted),
            may_bring_records: brings(before.is_none()),
            granted: false,
            first: before.map_or(usize::MAX, |before| before.first),
            since: before.map_or(since, |before| before.since.min(since)),
            own_since: 0,
            keeps_since: u64::MAX,
            over: false,
            conflates,
            conflates_since: u64::MAX,
            replays: may_replay && !(if_new && doubted),
            may_replay,
        };
        // What was its own did not come by one with No Local.
        let kept = |before: &Held| before.qos > QoS::AtMostOnce && (held.no_local || !before.no_local);
        let keeps_since = before.filter(kept).map_or(u64::MAX, |before| before.keeps_since);
        let before_own = before.filter(|_| !may_replay && !held.no_local);
        let own_since = before_own.map_or(0, |before| if before.no_local { book.clock } else { before.own_since });
        let held = Held { keeps_since, own_since, ..held };
        let options = SubscriptionOptions {
            qos,
            no_local: held.no_local,
            retain_as_published: self.nature.as_published && is_v5,
            retain_handling,
        };
        let plain = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        (held, if is_v5 { options } else { plain })
    }

    pub(crate) fn unsubscribe(&mut self, node: &mut Node, book: &Book, filter: Filter) {
        let Some(held) = self.subscriptions.remove(filter) else { return };
        self.replays.doubt(filter);
        self.past.push(held);
        let id = self.free_id();
        let filters = [filter];
        let unsubscribe =
            Unsubscribe { packet_id: id, user_properties: Default::default(), filters: (&filters[..]).into() };
        self.send(node, &Packet::Unsubscribe(unsubscribe));
        self.asked.insert(id.get(), Asked::Unsubscribe(filter));
        self.forget_unselected(book);
    }

    /// Whether it takes part in a group, as far as it knows.
    pub(crate) fn is_in(&self, group: usize) -> bool {
        self.subscriptions.get(GROUPS[group]).is_some_and(|held| held.granted)
    }

    /// Whether it may take part in a group and does not know.
    pub(crate) fn may_be_in_any(&self) -> bool {
        let doubted = self.past.iter().filter(|held| !held.over).filter_map(Held::group);
        doubted.into_iter().any(|group| !self.is_in(group))
    }

    /// Whether a topic is selected by a subscription that it shares with nobody.
    pub(crate) fn wants_itself(&self, topic: &str) -> bool {
        let all = self.subscriptions.values().chain(self.past.iter().filter(|held| !held.over));
        all.filter(|held| held.group().is_none()).any(|held| held.selects(topic))
    }

    pub(super) fn on_suback(&mut self, suback: &Suback<'_>, book: &Book) -> Result<(), String> {
        let Some(Asked::Subscribe(asked)) = self.asked.remove(&suback.packet_id.get()) else {
            return Err("SUBACK for nothing".to_owned());
        };
        if asked.len() != suback.reasons.iter().count() {
            return Err(format!("{:?} for {} filters", suback.reasons, asked.len()));
        }
        for (wish, reason) in asked.into_iter().zip(suback.reasons.iter()) {
            let Wish { held, .. } = wish;
            if reason.is_error() {
                let no_room = if self.is_v5() { ReasonCode::QuotaExceeded } else { ReasonCode::UnspecifiedError };
                let not_allowed = if self.is_v5() { ReasonCode::NotAuthorized } else { ReasonCode::UnspecifiedError };
                let may_be_hidden = self.nature.guarded && held.is_hidden() && reason == not_allowed;
                let is_right = self.excused || (wish.may_be_refused && reason == no_room) || may_be_hidden;
                if !is_right {
                    return Err(format!("{} is not granted: {reason}", held.filter));
                }
                self.on_refused(&wish);
                continue;
            }
            if wish.must_be_refused {
                return Err(format!("{} is granted, and is one too many", held.filter));
            }
            let is_hidden = book.hidden.is_some_and(|hidden| hidden.clock < held.packet) && held.is_hidden();
            if self.nature.guarded && is_hidden {
                return Err(format!("{} is granted, and may not be read", held.filter));
            }
            let granted = match reason {
                ReasonCode::GrantedQoS2 => QoS::ExactlyOnce,
                ReasonCode::GrantedQoS1 => QoS::AtLeastOnce,
                _ => QoS::AtMostOnce,
            };
            if granted != held.qos {
                return Err(format!("{} is granted with {granted:?}", held.filter));
            }
            if held.may_replay {
                self.on_replay(suback, &held, book)?;
            }
            let first = held.first.min(book.messages.len());
            let keeps_since = held.keeps_since.min(book.clock);
            let conflates_since = if held.conflates { book.clock } else { u64::MAX };
            let held = Held { granted: true, first, keeps_since, conflates_since, ..held };
            self.subscriptions.insert(held.filter, held);
        }
        Ok(())
    }

    /// Nothing has changed: what it was to replace is still there.
    fn on_refused(&mut self, Wish { held, before, .. }: &Wish) {
        let is_one = |other: &Held, one: &Held| other.filter == one.filter && other.packet == one.packet;
        self.past.retain(|other| !is_one(other, held) && !before.is_some_and(|before| is_one(other, &before)));
        if held.may_replay {
            self.replays.refused(held.filter);
        }
        if let Some(before) = before {
            self.subscriptions.insert(before.filter, *before);
        }
    }

    /// A SUBACK says what is replayed.
    fn on_replay(&mut self, suback: &Suback<'_>, held: &Held, book: &Book) -> Result<(), String> {
        let told = |name| suback.properties.user_properties.get(name).and_then(|value| value.parse::<u64>().ok());
        let (Some(after), Some(until)) = (told("rowcast-since"), told("rowcast-until")) else {
            return if held.replays { Err(format!("{} is granted without its past", held.filter)) } else { Ok(()) };
        };
        let must_come = |&number: &usize| {
            let message = &book.messages[number];
            let comes = self.takes(message) && !message.expires() && !self.may_miss(message.topic);
            comes && held.selects(message.topic) && message.qos.min(held.qos) > QoS::AtMostOnce
        };
        // Of several filters each has its own last changes, and SUBACK tells the earliest.
        let surely_after = if held.is_one_of_several() { until } else { after };
        let expected = book.logged_between(surely_after, until).filter(must_come).collect();
        self.replays.granted(held.filter, (after, until), expected);
        Ok(())
    }

    pub(super) fn on_unsuback(&mut self, unsuback: &Unsuback<'_>) -> Result<(), String> {
        let Some(Asked::Unsubscribe(filter)) = self.asked.remove(&unsuback.packet_id.get()) else {
            return Err("UNSUBACK for nothing".to_owned());
        };
        if unsuback.reasons.iter().all(|reason| !reason.is_error()) {
            self.past.iter_mut().filter(|held| held.filter == filter).for_each(|held| held.over = true);
        } else if !self.excused {
            return Err(format!("{filter} is not taken away"));
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
        if stays
            && !message.expires()
            && message.condition.is_none()
            && message.kind != Kind::Delete
            && message.qos > QoS::AtMostOnce
            && self.takes(message)
            && !self.may_miss(message.topic)
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

    /// Whether it surely had a subscription before `at`, as [`Book::clock`] counts, that brings it the newest state of a
    /// topic, which was published with `qos`.
    pub(super) fn subscribed_before(&self, topic: &str, at: u64, qos: QoS) -> bool {
        self.subscriptions.values().filter(|held| held.granted && held.group().is_none() && !held.no_local).any(
            |held| {
                let keeps = held.qos.min(qos) > QoS::AtMostOnce && held.keeps_since < at;
                held.selects(topic) && (keeps || held.conflates_since < at)
            },
        )
    }

    /// Whether it has a subscription that brought it the record, or has held one since before the record was made.
    pub(super) fn had_state_since(&self, topic: &str, book: &Book, number: usize) -> bool {
        let message = &book.messages[number];
        let accepted = message.accepted_at;
        let is_own = message.publisher == self.index; // No Local is about the record there is as well.
        self.subscriptions.values().any(|held| {
            held.granted
                && held.group().is_none()
                && !(held.no_local && is_own)
                && held.qos > QoS::AtMostOnce
                && held.selects(topic)
                && held.with_records
                && accepted.is_some()
        })
    }
}

/// The subscription identifier of these filters: each place among all has a bit, but where it is one alone.
fn identifier(filters: &[Filter]) -> u32 {
    let place = |of: &[Filter], filter: &Filter| of.iter().position(|other| other == filter).map(|at| at as u32);
    if let [filter] = filters {
        let group = place(&GROUPS, filter).map(|at| at + GROUP_ID);
        return group.or(place(&FILTERS, filter).map(|at| at + 1)).expect("a filter");
    }
    let bits = filters.iter().filter_map(|filter| place(&FILTERS, filter)).map(|at| 1 << at);
    SEVERAL_ID + bits.sum::<u32>()
}

/// Where the past is to begin.
fn past(book: &Book, random: &mut Random) -> (&'static str, String) {
    match random.below(4) {
        0 | 1 => (LAST, (1 + random.below(6)).to_string()),
        2 => ("rowcast-since", format!("-{}s", 1 + random.below(5))),
        _ => ("rowcast-since", book.some_version(random).to_string()),
    }
}
