//! SUBSCRIBE and UNSUBSCRIBE.

use super::connect::asks_for_meta;
use super::connection::{ConnectionId, Join, Joining, Then};
use super::publish::{internal_delete, internal_row, levels};
use super::{Moment, Shard};
use crate::catalog::ResolvedFilter;
use crate::change::Change;
use crate::interest::{Subscriber, Subscription};
use crate::mqtt::session::{Flow, Held, StoredSubscription, rows};
use crate::policy::{Operation, may};
use crate::position::{Sequence, TableId};
use crate::proposal::Durability;
use rowcast_codec::{
    QoS, ReasonCode, RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions, TopicError, TopicFilter,
    Unsubscribe, Version,
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

/// Why a SUBSCRIBE, or one filter of it, is not granted.
enum Fault {
    /// This filter only.
    Filter(ReasonCode),
    /// The packet breaks the protocol: the connection ends.
    Packet(ReasonCode, String),
}

impl Shard {
    pub(super) fn on_subscribe(&mut self, id: ConnectionId, subscribe: &Subscribe<'_>, now: Moment) {
        if !self.takes_answer(id, subscribe.filters.len(), now) {
            return;
        }
        let identifier = subscribe.properties.subscription_id.and_then(NonZeroU32::new);
        let meta = asks_for_meta(&subscribe.properties.user_properties);
        let mut reasons = Vec::with_capacity(subscribe.filters.len().min(1024));
        let mut granted: Vec<Granted> = Vec::new();
        let mut latest: FxHashMap<&str, usize> = FxHashMap::default(); // Of each filter, among those granted.
        for (index, asked) in subscribe.filters.iter().enumerate() {
            if index >= self.settings.limits.filters_per_subscribe as usize {
                reasons.push(ReasonCode::QuotaExceeded);
                continue;
            }
            // Like one SUBSCRIBE after the other [MQTT-3.8.4-5].
            let before = latest.get(asked.filter).map(|&index| &granted[index].held);
            match self.grant(id, &asked, (identifier, meta), (before, latest.len()), now) {
                Ok(subscription) => {
                    reasons.push(granted_reason(subscription.held.subscription.qos));
                    latest.insert(asked.filter, granted.len());
                    granted.push(subscription);
                }
                Err(Fault::Filter(reason)) => reasons.push(reason),
                Err(Fault::Packet(reason, words)) => return self.close(id, reason, &words, now),
            }
        }
        let Some(session) = self.connection(id).and_then(|found| found.session.as_ref()) else { return };
        let packet = subscribe.packet_id;
        if !session.is_durable() || granted.is_empty() {
            for granted in granted {
                let Join { filter, joining, .. } = self.hold_subscription(id, granted);
                self.join(id, &filter, joining, now.committed);
            }
            let then = Then::Suback { id: packet, reasons, rows: Vec::new() };
            return self.answer_now(id, then, ReasonCode::Success, now);
        }
        // A session that lasts has its subscriptions on disk before it is told so.
        let client_id = session.client_id.clone();
        let token = self.token(id.slot);
        let mut stored_rows = Vec::new();
        for granted in &granted {
            let key = rows::subscription(&client_id, &granted.join.filter, &granted.held.options);
            let old = granted.replaced.map(|old| rows::subscription(&client_id, &granted.join.filter, &old));
            let value = serde_json::to_vec(&granted.held.options).expect("options are plain data");
            stored_rows.push((old.filter(|old| *old != key), key, value));
        }
        let mut rows = Vec::new();
        for (granted, (_, key, _)) in granted.into_iter().zip(&stored_rows) {
            let Join { filter, replaces, joining } = self.hold_subscription(id, granted);
            self.joining.insert(key.as_slice().into(), (id, joining));
            let session = self.connection_mut(id).and_then(|found| found.session.as_mut());
            if let (Some(session), Joining::WithRecords) = (session, joining) {
                session.expect_snapshot(&filter);
            }
            rows.push((key.clone(), Some(filter).filter(|_| !replaces)));
        }
        let seen = self.seen;
        let Some(session) = self.connection_mut(id).and_then(|found| found.session.as_mut()) else { return };
        session.dirty = false;
        let session_form = session.store(seen);
        let mut changes: Vec<Change<'_>> = Vec::with_capacity(stored_rows.len() + 1);
        for (old, key, value) in &stored_rows {
            changes.extend(old.as_ref().map(|old| internal_delete(TableId::SUBSCRIPTIONS, old)));
            changes.push(internal_row(TableId::SUBSCRIPTIONS, key, value));
        }
        changes.push(super::connect::session_row(&client_id, &session_form, None));
        self.proposals.push(Some(token), Durability::Sync, &changes);
        self.answer_later(id, Then::Suback { id: packet, reasons, rows }, token, now);
    }

    fn grant(
        &self,
        id: ConnectionId,
        asked: &SubscribeFilter<'_>,
        // What the packet asks for all its filters.
        (identifier, meta): (Option<NonZeroU32>, bool),
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
        let (canonical, alias) = match self.tables.catalog().resolve_filter(plain) {
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
        if !may(&connection.principal, Operation::Read, &canonical) {
            return Err(Fault::Filter(ReasonCode::NotAuthorized));
        }
        let mut asked_options = asked.options;
        if connection.version != Version::V5 {
            asked_options = SubscriptionOptions { qos: asked_options.qos, ..plain_options() };
        }
        let mut options = StoredSubscription { meta, ..StoredSubscription::new(asked_options, identifier) };
        let replaced = existing.map(|held| held.options);
        // Replacing loses no message [MQTT-3.8.4-4]: what the old one was entitled to, the new one is.
        let since = existing.map(|held| held.subscription.since);
        options.since = since.map(|since| since.0);
        let joining = match asked_options.retain_handling {
            _ if share.is_some() => Joining::WithoutRecords, // No member would be the right one to get them.
            RetainHandling::SendAtSubscribe => Joining::WithRecords,
            RetainHandling::SendIfNew if existing.is_none() => Joining::WithRecords,
            RetainHandling::SendIfNew | RetainHandling::DoNotSend => Joining::WithoutRecords,
        };
        let spelling = super::connect::spelling_of(plain, &canonical);
        let subscription = options.subscription(id, since.unwrap_or(now.committed));
        let meta = session.meta || meta;
        let subscription = Subscription { meta, alias, spelling, ..subscription };
        let held = Held { filter: canonical.into(), share, subscription, options };
        Ok(Granted {
            held,
            replaced,
            join: Join { filter: asked.filter.into(), replaces: replaced.is_some(), joining },
        })
    }

    fn hold_subscription(&mut self, id: ConnectionId, granted: Granted) -> Join {
        let replaces = granted.replaced.is_some();
        if let Some(session) = self.connection_mut(id).and_then(|found| found.session.as_mut()) {
            session.subscriptions.insert(granted.join.filter.clone(), granted.held.clone());
        }
        if replaces
            && granted.held.share.is_none()
            && let Ok(filter) = TopicFilter::new(&granted.held.filter)
        {
            self.interest.subscribe(&filter, granted.held.subscription);
        }
        granted.join
    }

    /// A row of a subscription was committed: it begins here, if a connection of this shard asked for it.
    pub(super) fn on_subscription_row(&mut self, key: &[u8], sequence: Sequence) {
        let Some((id, joining)) = self.joining.remove(key) else { return };
        let Some((_, _, filter)) = rows::parse_subscription(key) else { return };
        self.join(id, filter, joining, sequence);
        // What follows in the log waits for SUBACK to go out first.
        if let Some(session) = self.connection_mut(id).and_then(|found| found.session.as_mut())
            && session.flow == Flow::Live
        {
            session.flow = Flow::Behind { after: sequence.max(session.live_after) };
        }
    }

    /// A subscription begins: what is committed after `since` is delivered, and the state up to it if that was asked
    /// for.
    fn join(&mut self, id: ConnectionId, filter: &str, joining: Joining, since: Sequence) {
        let Some(session) = self.connection_mut(id).and_then(|found| found.session.as_mut()) else { return };
        let Some(held) = session.subscriptions.get_mut(filter) else { return }; // Unsubscribed already.
        if held.options.since.is_none() {
            held.subscription.since = since;
        }
        if joining == Joining::WithRecords {
            session.begin_snapshot(filter, Sequence::ZERO, since);
        }
        let Some(held) = session.subscriptions.get(filter).cloned() else { return };
        if held.share.is_some() {
            self.enter_group(id, filter, since);
        } else if let Ok(filter) = TopicFilter::new(&held.filter) {
            self.interest.subscribe(&filter, held.subscription);
        }
    }

    /// Subscriptions could not be stored: they never were.
    pub(super) fn unjoin(&mut self, id: ConnectionId, rows: &[(Vec<u8>, Option<Box<str>>)]) {
        for (key, _) in rows {
            self.joining.remove(key.as_slice());
        }
        let Some(session) = self.connection_mut(id).and_then(|found| found.session.as_mut()) else { return };
        session.settle_snapshots(|_| None);
        for filter in rows.iter().filter_map(|(_, new)| new.as_ref()) {
            session.subscriptions.remove(filter);
        }
    }

    pub(super) fn on_unsubscribe(&mut self, id: ConnectionId, unsubscribe: &Unsubscribe<'_>, now: Moment) {
        if !self.takes_answer(id, unsubscribe.filters.len(), now) {
            return;
        }
        let mut reasons = Vec::new();
        let mut gone = Vec::new();
        let seen = self.seen;
        for spelled in unsubscribe.filters.iter() {
            if let Err(error) = TopicFilter::new(spelled) {
                return self.close(id, fault_reason(&error), &error.to_string(), now);
            }
            let Some(session) = self.connection_mut(id).and_then(|found| found.session.as_mut()) else { return };
            let Some(held) = session.subscriptions.remove(spelled) else {
                reasons.push(ReasonCode::NoSubscriptionExisted);
                continue;
            };
            reasons.push(ReasonCode::Success);
            session.snapshots.retain(|snapshot| &*snapshot.filter != spelled);
            gone.push(rows::subscription(&session.client_id, spelled, &held.options));
            if held.share.is_some() {
                self.leave_group(id, spelled);
            } else if let Ok(filter) = TopicFilter::new(&held.filter) {
                self.interest.unsubscribe(&filter, Subscriber(id.slot), held.subscription.spelling);
            }
        }
        let packet = unsubscribe.packet_id;
        let Some(session) = self.connection_mut(id).and_then(|found| found.session.as_mut()) else { return };
        if !session.is_durable() || gone.is_empty() {
            return self.answer_now(id, Then::Unsuback { id: packet, reasons }, ReasonCode::Success, now);
        }
        session.dirty = false;
        let stored = session.store(seen);
        let client_id = session.client_id.clone();
        let mut changes: Vec<Change<'_>> =
            gone.iter().map(|key| internal_delete(TableId::SUBSCRIPTIONS, key)).collect();
        changes.push(super::connect::session_row(&client_id, &stored, None));
        let token = self.token(id.slot);
        self.proposals.push(Some(token), Durability::Sync, &changes);
        self.answer_later(id, Then::Unsuback { id: packet, reasons }, token, now);
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
