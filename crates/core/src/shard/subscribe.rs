//! SUBSCRIBE and UNSUBSCRIBE.

use super::connect::asks_for_meta;
use super::connection::{Changed, ConnectionId, Join, Joining, LookUp, Pending, ReplayTold, Then};
use super::storing::session_row;
use super::{Moment, Shard};
use crate::catalog::ResolvedFilter;
use crate::change::{Change, internal_delete, internal_row};
use crate::interest::{Subscriber, Subscription, spelling_of};
use crate::limits::{Limits, REPLAYS_MAX};
use crate::mqtt::replay::{Past, Replay};
use crate::mqtt::session::{Flow, Held, StoredSubscription, rows};
use crate::places::levels;
use crate::policy::Sight;
use crate::position::{Sequence, TableId};
use crate::proposal::{Durability, Token};
use crate::replay::{AskError, Located, Start};
use crate::sys;
use rowcast_codec::{
    Packet, QoS, ReasonCode, RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions, TopicError, TopicFilter,
    Unsubscribe, UserProperties, Version,
};
use rustc_hash::FxHashMap;
use std::num::NonZeroU32;

/// A filter that was granted.
struct Granted {
    held: Held,
    /// It replaces this one.
    replaced: Option<StoredSubscription>,
    join: Join,
}

/// What a SUBSCRIBE is granted.
struct Grants<'s> {
    /// For each of its filters.
    reasons: Vec<ReasonCode>,
    granted: Vec<Granted>,
    /// The first filter that the client may not read.
    denied: Option<&'s str>,
    /// Why the first filter is not granted that was refused for what is asked beyond the standard.
    words: Option<String>,
}

/// Why a SUBSCRIBE, or one filter of it, is not granted.
enum Fault {
    /// This filter only.
    Filter(ReasonCode),
    /// This filter only, for what is asked beyond the standard; words for the client.
    Beyond(ReasonCode, String),
    /// The packet breaks the protocol: the connection ends.
    Packet(ReasonCode, String),
}

/// What a SUBSCRIBE asks for all its filters.
struct Asks {
    identifier: Option<NonZeroU32>,
    meta: bool,
    conflate: bool,
    /// Where the past begins that it wants.
    start: Option<Start>,
}

impl Asks {
    fn read(subscribe: &Subscribe<'_>, limits: &Limits, now: Moment) -> Result<Asks, AskError> {
        let user_properties = &subscribe.properties.user_properties;
        Ok(Asks {
            identifier: subscribe.properties.subscription_id.and_then(NonZeroU32::new),
            meta: asks_for_meta(user_properties),
            conflate: asks_to_conflate(user_properties)?,
            start: Start::read(user_properties, limits, now.wall_ms)?,
        })
    }
}

impl Shard {
    /// A SUBSCRIBE takes its place behind all that was published before it, whether acknowledged or not: what is on its
    /// way to the log then is state for it, sent with RETAIN=1 or, if it wants no state, not at all
    /// [MQTT-3.3.1-9] [MQTT-3.3.1-11].
    pub(super) fn on_subscribe(&mut self, id: ConnectionId, subscribe: &Subscribe<'_>, now: Moment) {
        if !now.undecided && self.proposals.is_empty() {
            return self.subscribe(id, subscribe, None, now);
        }
        let Some(connection) = self.connection(id) else { return };
        let mut packet = Vec::new();
        if Packet::Subscribe(subscribe.clone()).encode(connection.version, &mut packet).is_err() {
            return self.close(id, ReasonCode::PacketTooLarge, "SUBSCRIBE is too large", now);
        }
        let token = self.token(id.slot);
        self.proposals.push(Some(token), Durability::Memory, &[]);
        let Some(connection) = self.connection_mut(id) else { return };
        connection.looking_up = Some(Box::new(LookUp { packet, effect: None, behind: Some(token) }));
    }

    /// All that stood before a SUBSCRIBE is written.
    pub(super) fn on_behind(&mut self, id: ConnectionId, now: Moment) {
        let Some((version, packet)) = self.take_looked_up(id, now) else { return };
        if let Ok(Packet::Subscribe(subscribe)) = Packet::decode(version, &packet) {
            self.subscribe(id, &subscribe, None, now);
        }
        self.wake(id); // Its packets are handled again.
    }

    /// `located`: where the past begins that it asks for, once that is known.
    pub(super) fn subscribe(
        &mut self,
        id: ConnectionId,
        subscribe: &Subscribe<'_>,
        located: Option<&Located>,
        now: Moment,
    ) {
        if !self.takes_answer(id, subscribe.filters.len(), now) {
            return;
        }
        let asks = Asks::read(subscribe, &self.settings.limits, now);
        if let (Ok(Asks { start: Some(start), .. }), None) = (&asks, located)
            && self.locate(id, subscribe, *start, now)
        {
            return;
        }
        let Grants { reasons, granted, denied, words } = match self.grant_all(id, subscribe, &asks, located, now) {
            Ok(grants) => grants,
            Err((reason, words)) => return self.close(id, reason, &words, now),
        };
        if let Some(filter) = denied {
            self.report_denied(id, filter);
        }
        let seen = self.seen;
        let Some(session) = self.session_mut(id) else { return };
        let packet = subscribe.packet_id;
        let detail = words.map(Into::into);
        if session.is_durable() {
            // Until the change is on disk nothing is delivered: what comes next depends on whether it is.
            session.flow = Flow::Behind { after: session.position(seen) };
        }
        let past = granted.iter().filter(|granted| granted.join.joining == Joining::WithPast);
        let past = past.filter_map(|granted| granted.held.options.past).min_by_key(|past| past.after);
        let replay = past.map(|Past { replay: number, after, .. }| {
            let after = Sequence(after);
            session.begin_replay(after, seen);
            Box::new(ReplayTold { number, after, cut: located.and_then(|located| located.cut) })
        });
        if !session.is_durable() || granted.is_empty() {
            // What a replay does not bring comes when it is shown.
            let since = if replay.is_some() { session.position(seen).max(seen) } else { now.committed };
            for granted in granted {
                let Join { filter, joining, .. } = self.hold_subscription(id, granted);
                self.join(id, &filter, joining, since);
            }
            let then = Then::Suback { id: packet, reasons, changed: Vec::new(), replay };
            let reason = ReasonCode::Success;
            return self.answer(id, Pending { token: None, then, reason, detail, version: None, topic: None }, now);
        }
        // A session that lasts has its subscriptions on disk before it is told so.
        let (token, changed) = self.store_subscriptions(id, granted);
        let then = Then::Suback { id: packet, reasons, changed, replay };
        let reason = ReasonCode::Success;
        self.answer(id, Pending { token: Some(token), then, reason, detail, version: None, topic: None }, now);
    }

    /// What is granted of each filter. `Err`: the packet breaks the protocol; words for the client.
    fn grant_all<'s>(
        &self,
        id: ConnectionId,
        subscribe: &Subscribe<'s>,
        asks: &Result<Asks, AskError>,
        located: Option<&Located>,
        now: Moment,
    ) -> Result<Grants<'s>, (ReasonCode, String)> {
        let (mut words, mut denied) = (None, None);
        let mut reasons = Vec::with_capacity(subscribe.filters.len().min(1024));
        let mut granted: Vec<Granted> = Vec::with_capacity(subscribe.filters.len().min(1024));
        let mut latest: FxHashMap<&str, usize> = FxHashMap::default(); // Of each filter, among those granted.
        for (index, asked) in subscribe.filters.iter().enumerate() {
            if index >= self.settings.limits.filters_per_subscribe as usize {
                reasons.push(ReasonCode::QuotaExceeded);
                continue;
            }
            // Like one SUBSCRIBE after the other [MQTT-3.8.4-5].
            let before = latest.get(asked.filter).map(|&index| &granted[index].held);
            let past = located.and_then(|located| located.after.get(index)).copied();
            match self.grant(id, &asked, (asks, past), (before, latest.len()), now) {
                Ok(subscription) => {
                    reasons.push(granted_reason(subscription.held.subscription.qos));
                    latest.insert(asked.filter, granted.len());
                    granted.push(subscription);
                }
                Err(Fault::Filter(reason)) => {
                    reasons.push(reason);
                    if reason == ReasonCode::NotAuthorized {
                        denied.get_or_insert(asked.filter);
                    }
                }
                Err(Fault::Beyond(reason, why)) => {
                    reasons.push(reason);
                    words.get_or_insert(why);
                }
                Err(Fault::Packet(reason, words)) => return Err((reason, words)),
            }
        }
        Ok(Grants { reasons, granted, denied, words })
    }

    /// Proposes that what was granted is written, together with its session: the proposal, and what is taken back if there
    /// is no room for it. Each subscription begins where its row stands.
    fn store_subscriptions(&mut self, id: ConnectionId, granted: Vec<Granted>) -> (Token, Vec<Changed>) {
        let token = self.token(id.slot);
        let Some(session) = self.session(id) else { return (token, Vec::new()) };
        let client_id = session.client_id.clone();
        let mut stored_rows = Vec::new();
        for granted in &granted {
            let key = rows::subscription(&client_id, &granted.join.filter, &granted.held.options);
            let old = granted.replaced.map(|old| rows::subscription(&client_id, &granted.join.filter, &old));
            let value = serde_json::to_vec(&granted.held.options).expect("options are plain data");
            stored_rows.push((old.filter(|old| *old != key), key, value));
        }
        let mut changed = Vec::new();
        for (granted, (_, key, _)) in granted.into_iter().zip(&stored_rows) {
            let Join { filter, before, joining } = self.hold_subscription(id, granted);
            self.joining.insert(key.as_slice().into(), (id, joining));
            let session = self.session_mut(id);
            let snapshot = match (session, joining) {
                (Some(session), Joining::WithRecords) => session.snapshots.expect(&filter),
                _ => None,
            };
            let snapshots = snapshot.into_iter().collect();
            changed.push(Changed { filter, row: Some(key.clone()), before, snapshots });
        }
        let seen = self.seen;
        let Some(session) = self.session_mut(id) else { return (token, changed) };
        session.dirty = false;
        let session_form = session.store(seen);
        let mut changes: Vec<Change<'_>> = Vec::with_capacity(stored_rows.len() + 1);
        for (old, key, value) in &stored_rows {
            changes.extend(old.as_ref().map(|old| internal_delete(TableId::SUBSCRIPTIONS, old)));
            changes.push(internal_row(TableId::SUBSCRIPTIONS, key, value));
        }
        changes.push(session_row(&client_id, &session_form, None));
        self.proposals.push(Some(token), Durability::Sync, &changes);
        (token, changed)
    }

    /// What is granted of one filter.
    fn grant(
        &self,
        id: ConnectionId,
        asked: &SubscribeFilter<'_>,
        // What the packet asks for all its filters, and where the past of this one begins, if that is known.
        (asks, past): (&Result<Asks, AskError>, Option<Sequence>),
        // What the same packet asked for this filter before, and how many filters in all.
        (before, in_packet): (Option<&Held>, usize),
        now: Moment,
    ) -> Result<Granted, Fault> {
        let limits = &self.settings.limits;
        let Some(connection) = self.connection(id) else { return Err(Fault::Filter(ReasonCode::UnspecifiedError)) };
        let Some(session) = &connection.session else { return Err(Fault::Filter(ReasonCode::UnspecifiedError)) };
        let filter =
            TopicFilter::new(asked.filter).map_err(|error| Fault::Packet(fault_reason(&error), error.to_string()))?;
        let share = filter.share().map(|share| share.as_str().into());
        if share.is_some() && asked.options.no_local {
            let words = "No Local on a shared subscription".to_owned();
            return Err(Fault::Packet(ReasonCode::ProtocolError, words)); // [MQTT-3.8.3-4]
        }
        let plain = filter.filter();
        if asked.filter.len() > usize::from(limits.topic_bytes)
            || levels(asked.filter) > usize::from(limits.topic_levels)
        {
            return Err(Fault::Filter(ReasonCode::TopicFilterInvalid));
        }
        let existing = before.or_else(|| session.subscriptions.get(asked.filter));
        let count = session.subscriptions.len() + in_packet; // At most: some may replace others.
        if existing.is_none() && count >= limits.subscriptions_per_client as usize {
            return Err(Fault::Filter(ReasonCode::QuotaExceeded));
        }
        let resolved = self.tables.catalog().resolve_filter(plain);
        // First of all: who may read nothing of it is not told what there is.
        let sight = match &resolved {
            ResolvedFilter::Table { filter, .. } => connection.rights.sight(&self.tables, filter),
            _ => connection.rights.sight(&self.tables, plain),
        };
        if sight == Sight::Nothing {
            return Err(Fault::Filter(ReasonCode::NotAuthorized));
        }
        let (canonical, alias) = match resolved {
            ResolvedFilter::Table { query: Some(_), .. }
            | ResolvedFilter::Closed { .. }
            | ResolvedFilter::BadKey { .. } => return Err(Fault::Filter(ReasonCode::TopicFilterInvalid)),
            ResolvedFilter::Table { table, filter, spelling, .. } => {
                let exact = table.export.as_ref().is_none_or(|export| *export.name == *spelling);
                (filter.into_owned(), !exact)
            }
            ResolvedFilter::Other => {
                let spans = plain.starts_with(['#', '+']);
                if !self.settings.open_topics && !spans && !plain.starts_with('$') {
                    return Err(Fault::Filter(ReasonCode::TopicFilterInvalid));
                }
                (plain.to_owned(), false)
            }
        };
        let asks = match asks {
            Ok(asks) => asks,
            Err(AskError(reason, words)) => return Err(Fault::Beyond(*reason, words.clone())),
        };
        if asks.start.is_some() && share.is_some() {
            let words = "a shared subscription begins now, it is not replayed the past".to_owned();
            return Err(Fault::Beyond(ReasonCode::ImplementationSpecificError, words));
        }
        if asks.conflate && share.is_some() {
            let words = "a shared subscription has nothing to conflate: who has no room is not given more".to_owned();
            return Err(Fault::Beyond(ReasonCode::ImplementationSpecificError, words));
        }
        if asks.start.is_some() && session.replays.len() >= REPLAYS_MAX {
            let words = format!("{REPLAYS_MAX} replays of this session are not over yet");
            return Err(Fault::Beyond(ReasonCode::QuotaExceeded, words));
        }
        let mut asked_options = asked.options;
        if connection.version != Version::V5 {
            let is_bridge = connection.is_bridge;
            asked_options = SubscriptionOptions {
                qos: asked_options.qos,
                no_local: is_bridge && share.is_none(),
                retain_as_published: is_bridge,
                ..plain_options()
            };
        }
        let mut options = StoredSubscription {
            meta: asks.meta,
            conflate: asks.conflate,
            ..StoredSubscription::new(asked_options, asks.identifier)
        };
        let replaced = existing.map(|held| held.options);
        // Replacing loses no message [MQTT-3.8.4-4]: what the old one was entitled to, the new one is.
        let since = existing.map(|held| held.subscription.since);
        // Up to what is in doubt, the old one goes on ([`Session::end_subscription`]).
        let is_in_doubt = share.is_none() && session.is_in_doubt(self.seen);
        let doubted = if is_in_doubt { session.in_doubt } else { Sequence::ZERO };
        let since = since.map(|since| since.max(doubted));
        options.since = since.map(|since| since.0);
        let joining = match asked_options.retain_handling {
            RetainHandling::SendIfNew if existing.is_some() => Joining::WithoutRecords,
            _ if asks.start.is_some() && !sys::is_below(plain) => Joining::WithPast,
            _ if share.is_some() => Joining::WithoutRecords, // No member would be the right one to get them.
            RetainHandling::SendAtSubscribe => Joining::WithRecords,
            RetainHandling::SendIfNew => Joining::WithRecords,
            RetainHandling::DoNotSend => Joining::WithoutRecords,
        };
        options.state = match joining {
            Joining::WithRecords => Some(0),
            Joining::WithoutRecords if before.is_some() => existing.and_then(|held| held.options.state),
            Joining::WithoutRecords => session.snapshots.row_of(asked.filter).map(|row| row.0),
            Joining::WithPast => None,
        };
        if let (Joining::WithPast, Some(after)) = (joining, past) {
            // It begins anew, and what the old one was still entitled to is part of its past.
            let owed = existing.map(|held| {
                let on_walk = session.position(self.seen).max(doubted);
                let by_replay = held.options.past.and_then(|past| session.owed_by_replay(past));
                by_replay.map_or(on_walk, |by_replay| by_replay.min(on_walk))
            });
            let after = owed.map_or(after, |owed| after.min(owed));
            options.past = Some(Past { replay: session.next_replay(), after: after.0, owed: owed.map(|owed| owed.0) });
            options.since = None;
        } else if joining != Joining::WithPast {
            // Nor is what it was still to be replayed lost: that may be all that is left of what it was owed itself.
            let existing = existing.filter(|held| !session.replay_in_doubt(&held.options));
            options.past = existing.and_then(|held| held.options.past);
        }
        let spelling = spelling_of(plain, &canonical);
        // What the client published itself while that was not for it does not come later [MQTT-3.8.3-3].
        let own_since = existing.filter(|_| !options.no_local && joining != Joining::WithPast);
        options.own_since = own_since.and_then(|held| match held.options {
            StoredSubscription { no_local: true, .. } => Some(0),
            options => options.own_since.map(|_| held.subscription.own_since.0),
        });
        let begins = (since.unwrap_or(now.committed), Sequence(options.own_since.unwrap_or_default()));
        let subscription = options.subscription(Subscriber(id.slot), begins);
        let meta = session.meta || asks.meta;
        let subscription = Subscription { meta, alias, guarded: sight != Sight::All, spelling, ..subscription };
        let held = Held { filter: canonical.into(), share, subscription, options };
        Ok(Granted { held, replaced, join: Join { filter: asked.filter.into(), before: None, joining } })
    }

    fn hold_subscription(&mut self, id: ConnectionId, granted: Granted) -> Join {
        let seen = self.seen;
        let Granted { held, mut join, .. } = granted;
        if let Some(session) = self.session_mut(id) {
            let before = session.subscriptions.insert(join.filter.clone(), held.clone());
            if let Some(before) = &before {
                session.end_subscription(&join.filter, before, seen);
            }
            join.before = before.map(Box::new);
        }
        if let (true, None, Ok(filter)) = (join.before.is_some(), &held.share, TopicFilter::new(&held.filter)) {
            self.interest.subscribe(&filter, held.subscription);
        }
        join
    }

    /// A row of a subscription was committed: it begins here, if a connection of this shard asked for it.
    pub(super) fn on_subscription_row(&mut self, key: &[u8], sequence: Sequence) {
        let Some((id, joining)) = self.joining.remove(key) else { return };
        let Some((_, _, filter)) = rows::parse_subscription(key) else { return };
        self.join(id, filter, joining, sequence);
    }

    /// A subscription begins: what is committed after `since` is delivered, and the state up to it if that was asked
    /// for.
    fn join(&mut self, id: ConnectionId, filter: &str, joining: Joining, since: Sequence) {
        let Some(session) = self.session_mut(id) else { return };
        let Some(held) = session.subscriptions.get_mut(filter) else { return }; // Unsubscribed already.
        if held.options.since.is_none() {
            held.subscription.since = since;
        }
        if held.options.own_since == Some(0) {
            held.subscription.own_since = since;
        }
        match (joining, held.options.past) {
            (Joining::WithRecords, _) => session.snapshots.begin(filter, since),
            // One in the same packet asked for it, and this one took its place.
            (Joining::WithoutRecords, _) if session.snapshots.expects(filter) => session.snapshots.begin(filter, since),
            (Joining::WithPast, Some(past)) => {
                session.snapshots.end_asked(filter);
                session.settle_replay(past.replay, since);
            }
            _ => {}
        }
        let Some(held) = session.subscriptions.get(filter).cloned() else { return };
        if held.share.is_some() {
            self.enter_group(id, filter, since);
        } else if let Ok(filter) = TopicFilter::new(&held.filter) {
            self.interest.subscribe(&filter, held.subscription);
        }
    }

    /// Changes of subscriptions could not be stored: they never were.
    pub(super) fn take_back(&mut self, id: ConnectionId, changed: Vec<Changed>) {
        for row in changed.iter().filter_map(|changed| changed.row.as_deref()) {
            self.joining.remove(row);
        }
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        let Some(session) = &mut connection.session else { return };
        session.snapshots.settle(|_| None);
        session.replays.retain(|replay| replay.until != Replay::NOT_YET.0);
        let mut shared = Vec::new();
        let seen = self.seen;
        for Changed { filter, before, snapshots, .. } in changed.into_iter().rev() {
            for snapshot in snapshots {
                session.snapshots.put_back(snapshot, seen);
            }
            let Some(before) = before else {
                // It may have begun already, when the schema was reloaded.
                if let Some(held) = session.subscriptions.remove(&filter)
                    && let (None, Ok(filter)) = (&held.share, TopicFilter::new(&held.filter))
                {
                    self.interest.unsubscribe(&filter, held.subscription.subscriber, held.subscription.spelling);
                }
                continue;
            };
            session.undo_end(&filter, &before);
            match TopicFilter::new(&before.filter) {
                _ if before.share.is_some() => shared.push(filter.clone()),
                Ok(parsed) => drop(self.interest.subscribe(&parsed, before.subscription)),
                Err(_) => {}
            }
            session.subscriptions.insert(filter, *before);
        }
        for filter in shared {
            self.enter_group(id, &filter, seen);
        }
    }

    pub(super) fn on_unsubscribe(&mut self, id: ConnectionId, unsubscribe: &Unsubscribe<'_>, now: Moment) {
        if !self.takes_answer(id, unsubscribe.filters.len(), now) {
            return;
        }
        let mut reasons = Vec::new();
        let mut rows = Vec::new();
        let mut changed = Vec::new();
        let seen = self.seen;
        if let Some(session) = self.session_mut(id)
            && session.is_durable()
        {
            session.flow = Flow::Behind { after: session.position(seen) }; // As when it subscribes.
        }
        for spelled in unsubscribe.filters.iter() {
            if let Err(error) = TopicFilter::new(spelled) {
                return self.close(id, fault_reason(&error), &error.to_string(), now);
            }
            let Some(session) = self.session_mut(id) else { return };
            let Some(held) = session.subscriptions.remove(spelled) else {
                reasons.push(ReasonCode::NoSubscriptionExisted);
                continue;
            };
            reasons.push(ReasonCode::Success);
            let snapshots = session.snapshots.end(spelled);
            session.end_subscription(spelled, &held, seen);
            rows.push(rows::subscription(&session.client_id, spelled, &held.options));
            if held.share.is_some() {
                self.leave_group(id, spelled);
            } else if let Ok(filter) = TopicFilter::new(&held.filter) {
                self.interest.unsubscribe(&filter, Subscriber(id.slot), held.subscription.spelling);
            }
            changed.push(Changed { filter: spelled.into(), row: None, before: Some(Box::new(held)), snapshots });
        }
        let packet = unsubscribe.packet_id;
        let Some(session) = self.session_mut(id) else { return };
        if !session.is_durable() || rows.is_empty() {
            session.drop_replays();
            let then = Then::Unsuback { id: packet, reasons, changed: Vec::new() };
            return self.answer_now(id, then, ReasonCode::Success, now);
        }
        session.dirty = false;
        let stored = session.store(seen);
        let client_id = session.client_id.clone();
        let mut changes: Vec<Change<'_>> =
            rows.iter().map(|key| internal_delete(TableId::SUBSCRIPTIONS, key)).collect();
        changes.push(session_row(&client_id, &stored, None));
        let token = self.token(id.slot);
        self.proposals.push(Some(token), Durability::Sync, &changes);
        self.answer_later(id, Then::Unsuback { id: packet, reasons, changed }, token, now);
    }
}

/// Whether a SUBSCRIBE asks that of QoS 0 states that find no room, the newest of each topic be kept.
fn asks_to_conflate(properties: &UserProperties<'_>) -> Result<bool, AskError> {
    match properties.get("rowcast-conflate") {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err(AskError(ReasonCode::ImplementationSpecificError, "rowcast-conflate takes 1 or 0".to_owned())),
    }
}

fn granted_reason(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success, // Granted QoS 0 has the same code.
        QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
        QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
    }
}

fn fault_reason(error: &TopicError) -> ReasonCode {
    let share =
        matches!(error, TopicError::ShareNameEmpty | TopicError::ShareNameWildcard | TopicError::ShareFilterMissing);
    if share { ReasonCode::ProtocolError } else { ReasonCode::TopicFilterInvalid }
}

/// What MQTT 3 subscribes with.
fn plain_options() -> SubscriptionOptions {
    SubscriptionOptions {
        qos: QoS::AtMostOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAtSubscribe,
    }
}
