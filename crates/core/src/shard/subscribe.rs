//! SUBSCRIBE and UNSUBSCRIBE.

use super::connection::{Changed, ConnectionId, Join, Joining, LookUp, Pending, ReplayTold, Then};
use super::grant::{Asks, Granted, Grants, fault_reason};
use super::storing::session_row;
use super::{Moment, Shard};
use crate::change::{Change, internal_delete, internal_row};
use crate::interest::Subscriber;
use crate::mqtt::replay::{Past, Replay};
use crate::mqtt::session::{Flow, rows};
use crate::position::{Sequence, TableId};
use crate::proposal::{Durability, Token};
use crate::replay::Located;
use rowcast_codec::{Packet, ReasonCode, Subscribe, TopicFilter, Unsubscribe};
use std::sync::Arc;

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
        connection.looking_up = Some(Box::new(LookUp { packet, checked: None, effect: None, behind: Some(token) }));
    }

    /// All that stood before a SUBSCRIBE is written.
    pub(super) fn on_behind(&mut self, id: ConnectionId, now: Moment) {
        let Some((version, waiting)) = self.take_looked_up(id, now) else { return };
        if let Ok(Packet::Subscribe(subscribe)) = Packet::decode(version, &waiting.packet) {
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

    fn hold_subscription(&mut self, id: ConnectionId, granted: Granted) -> Join {
        let seen = self.seen;
        let Granted { held, mut join, .. } = granted;
        let subscription = held.subscription;
        let own = held.share.is_none().then(|| Arc::clone(&held.filter));
        if let Some(session) = self.session_mut(id) {
            let before = session.subscriptions.insert(join.filter.clone(), Box::new(held));
            if let Some(before) = &before {
                session.end_subscription(&join.filter, before, seen);
            }
            join.before = before;
        }
        if join.before.is_some()
            && let Some(Ok(filter)) = own.as_deref().map(TopicFilter::new)
        {
            self.interest.subscribe(&filter, subscription);
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
            session.subscriptions.insert(filter, before);
        }
        for filter in shared {
            self.enter_group(id, &filter, seen);
        }
    }

    pub(super) fn on_unsubscribe(&mut self, id: ConnectionId, unsubscribe: &Unsubscribe<'_>, now: Moment) {
        let filters_max = self.settings.limits.filters_per_subscribe;
        if unsubscribe.filters.len() > filters_max as usize {
            // There is no answer that refuses some: what the client believes to be gone would stay.
            let words = format!("an UNSUBSCRIBE has at most {filters_max} filters");
            return self.close(id, ReasonCode::QuotaExceeded, &words, now);
        }
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
            changed.push(Changed { filter: spelled.into(), row: None, before: Some(held), snapshots });
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
