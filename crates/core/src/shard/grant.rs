//! What of a SUBSCRIBE is granted: filter by filter, with the reason where one is not.

use super::asks;
use super::connection::{Connection, ConnectionId, Join, Joining};
use super::{Moment, Shard};
use crate::catalog::ResolvedFilter;
use crate::interest::{Subscriber, Subscription, spelling_of};
use crate::limits::{Limits, REPLAYS_MAX};
use crate::mqtt::replay::Past;
use crate::mqtt::session::{Held, Session, StoredSubscription};
use crate::names::NameMap;
use crate::places::level_count;
use crate::policy::Sight;
use crate::position::Sequence;
use crate::replay::{AskError, Located, Start};
use crate::sys;
use crate::validate::Format;
use rowcast_codec::{
    QoS, ReasonCode, RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions, TopicError, TopicFilter, Version,
};
use std::num::NonZeroU32;

/// A filter that was granted.
pub(super) struct Granted {
    pub held: Held,
    /// It replaces this one.
    pub replaced: Option<StoredSubscription>,
    pub join: Join,
}

/// What a SUBSCRIBE is granted.
pub(super) struct Grants<'s> {
    /// For each of its filters.
    pub reasons: Vec<ReasonCode>,
    pub granted: Vec<Granted>,
    /// The first filter that the client may not read.
    pub denied: Option<&'s str>,
    /// Why the first filter is not granted that was refused for what is asked beyond the standard.
    pub words: Option<String>,
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

/// What a filter names that its client may subscribe to.
struct Named<'a> {
    /// Without what makes it a shared one.
    filter: &'a str,
    share: Option<Box<str>>,
    /// The same filter, with the exact name of its table.
    canonical: String,
    /// Whether the client uses the table's alias instead.
    is_alias: bool,
    sight: Sight,
}

/// A subscription that another one is to take the place of; or none, where there is none yet.
struct Replaced<'a> {
    session: &'a Session,
    seen: Sequence,
    existing: Option<&'a Held>,
    is_shared: bool,
}

/// What a SUBSCRIBE asks for all its filters.
pub(super) struct Asks {
    identifier: Option<NonZeroU32>,
    meta: bool,
    conflate: bool,
    /// In which format documents are to come, if it says so.
    format: Option<Format>,
    /// Where the past begins that it wants.
    pub start: Option<Start>,
}

impl Asks {
    pub(super) fn read(subscribe: &Subscribe<'_>, limits: &Limits, now: Moment) -> Result<Asks, AskError> {
        let user_properties = &subscribe.properties.user_properties;
        Ok(Asks {
            identifier: subscribe.properties.subscription_id.and_then(NonZeroU32::new),
            meta: asks::meta(user_properties)?,
            conflate: asks::conflate(user_properties)?,
            format: asks::format(user_properties)?,
            start: Start::read(user_properties, limits, now.wall_ms)?,
        })
    }
}

impl Replaced<'_> {
    /// Up to where the old one goes on, because that is in doubt ([`Session::end_subscription`]).
    fn doubted(&self) -> Sequence {
        let is_in_doubt = !self.is_shared && self.session.is_in_doubt(self.seen);
        if is_in_doubt { self.session.in_doubt } else { Sequence::ZERO }
    }

    /// Where the new one begins, where that is not with its row.
    fn since(&self) -> Option<Sequence> {
        self.existing.map(|held| held.subscription.since.max(self.doubted()))
    }

    /// Replacing loses no message [MQTT-3.8.4-4]: what the old one was entitled to, the new one is. `past`: where what is
    /// replayed begins.
    fn leaves_to(&self, options: &mut StoredSubscription, joining: Joining, past: Option<Sequence>) {
        let Replaced { session, seen, existing, .. } = *self;
        options.since = self.since().map(|since| since.0);
        // What the client published itself while that was not for it does not come later [MQTT-3.8.3-3].
        let own_since = existing.filter(|_| !options.no_local && joining != Joining::WithPast);
        options.own_since = own_since.and_then(|held| match held.options {
            StoredSubscription { no_local: true, .. } => Some(0),
            options => options.own_since.map(|_| held.subscription.own_since.0),
        });
        if let (Joining::WithPast, Some(after)) = (joining, past) {
            // It begins anew, and what the old one was still entitled to is part of its past.
            let owed = existing.map(|held| {
                let on_walk = session.position(seen).max(self.doubted());
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
    }
}

impl Shard {
    /// What is granted of each filter. `Err`: the packet breaks the protocol; words for the client.
    pub(super) fn grant_all<'s>(
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
        let mut latest: NameMap<&str, usize> = NameMap::default(); // Of each filter, among those granted.
        let filters_max = self.settings.limits.filters_per_subscribe as usize;
        for (index, asked) in subscribe.filters.iter().enumerate().take(filters_max) {
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
        reasons.resize(subscribe.filters.len(), ReasonCode::QuotaExceeded);
        Ok(Grants { reasons, granted, denied, words })
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
        let Some(connection) = self.connection(id) else { return Err(Fault::Filter(ReasonCode::UnspecifiedError)) };
        let Some(session) = &connection.session else { return Err(Fault::Filter(ReasonCode::UnspecifiedError)) };
        let named = self.named(connection, asked)?;
        let existing = before.or_else(|| session.subscriptions.get(asked.filter).map(Box::as_ref));
        let count = session.subscriptions.len() + in_packet; // At most: some may replace others.
        if existing.is_none() && count >= self.settings.limits.subscriptions_per_client as usize {
            return Err(Fault::Filter(ReasonCode::QuotaExceeded));
        }
        let asks = possible(asks, session, &named)?;
        let asked_options = options_of(connection, asked, &named);
        let joining = joining(asked_options.retain_handling, existing, asks, &named);
        let mut options = StoredSubscription {
            meta: asks.meta,
            conflate: asks.conflate,
            format: asks.format,
            state: match joining {
                Joining::WithRecords => Some(0),
                Joining::WithoutRecords if before.is_some() => existing.and_then(|held| held.options.state),
                Joining::WithoutRecords => session.snapshots.row_of(asked.filter).map(|row| row.0),
                Joining::WithPast => None,
            },
            ..StoredSubscription::new(asked_options, asks.identifier)
        };
        let replaced = Replaced { session, seen: self.seen, existing, is_shared: named.share.is_some() };
        replaced.leaves_to(&mut options, joining, past);
        let begins = (replaced.since().unwrap_or(now.committed), Sequence(options.own_since.unwrap_or_default()));
        let subscription = options.subscription(Subscriber(id.slot), begins, session.for_all);
        let subscription = Subscription {
            alias: named.is_alias,
            guarded: named.sight != Sight::All,
            spelling: spelling_of(named.filter, &named.canonical),
            ..subscription
        };
        let held = Held { filter: named.canonical.into(), share: named.share, subscription, options };
        let join = Join { filter: asked.filter.into(), before: None, joining };
        Ok(Granted { held, replaced: existing.map(|held| held.options), join })
    }

    /// What a filter names, if its client may subscribe to that.
    fn named<'a>(&self, connection: &Connection, asked: &SubscribeFilter<'a>) -> Result<Named<'a>, Fault> {
        let limits = &self.settings.limits;
        let filter =
            TopicFilter::new(asked.filter).map_err(|error| Fault::Packet(fault_reason(&error), error.to_string()))?;
        let share = filter.share().map(|share| share.as_str().into());
        if share.is_some() && asked.options.no_local {
            let words = "No Local on a shared subscription".to_owned();
            return Err(Fault::Packet(ReasonCode::ProtocolError, words)); // [MQTT-3.8.3-4]
        }
        let filter = filter.filter();
        if !limits.topic().hold(asked.filter.len(), level_count(filter)) {
            return Err(Fault::Filter(ReasonCode::TopicFilterInvalid));
        }
        let resolved = self.tables.catalog().resolve_filter(filter);
        // First of all: who may read nothing of it is not told what there is.
        let sight = match &resolved {
            ResolvedFilter::Table { filter, .. } => connection.rights.sight(&self.tables, filter),
            _ => connection.rights.sight(&self.tables, filter),
        };
        if sight == Sight::Nothing {
            return Err(Fault::Filter(ReasonCode::NotAuthorized));
        }
        let (canonical, is_alias) = match resolved {
            ResolvedFilter::Table { query: Some(_), .. }
            | ResolvedFilter::Closed { .. }
            | ResolvedFilter::BadKey { .. } => return Err(Fault::Filter(ReasonCode::TopicFilterInvalid)),
            ResolvedFilter::Table { table, filter, spelling, .. } => {
                let is_exact = table.export.as_ref().is_none_or(|export| *export.name == *spelling);
                (filter.into_owned(), !is_exact)
            }
            ResolvedFilter::Other => {
                let spans = filter.starts_with(['#', '+']);
                if !self.settings.open_topics && !spans && !filter.starts_with('$') {
                    return Err(Fault::Filter(ReasonCode::TopicFilterInvalid));
                }
                (filter.to_owned(), false)
            }
        };
        Ok(Named { filter, share, canonical, is_alias, sight })
    }
}

/// What a SUBSCRIBE asks for, where that can be had for this filter.
fn possible<'a>(asks: &'a Result<Asks, AskError>, session: &Session, named: &Named<'_>) -> Result<&'a Asks, Fault> {
    let asks = match asks {
        Ok(asks) => asks,
        Err(AskError(reason, words)) => return Err(Fault::Beyond(*reason, words.clone())),
    };
    let impossible = |words: &str| Fault::Beyond(ReasonCode::ImplementationSpecificError, words.to_owned());
    let is_shared = named.share.is_some();
    if asks.start.is_some() && is_shared {
        return Err(impossible("a shared subscription begins now, it is not replayed the past"));
    }
    if asks.conflate && is_shared {
        return Err(impossible("a shared subscription has nothing to conflate: who has no room is not given more"));
    }
    if asks.start.is_some() && session.replays.len() >= REPLAYS_MAX {
        let words = format!("{REPLAYS_MAX} replays of this session are not over yet");
        return Err(Fault::Beyond(ReasonCode::QuotaExceeded, words));
    }
    Ok(asks)
}

/// The options of a subscription: before MQTT 5 there is only the QoS, but for bridges.
fn options_of(connection: &Connection, asked: &SubscribeFilter<'_>, named: &Named<'_>) -> SubscriptionOptions {
    if connection.version == Version::V5 {
        return asked.options;
    }
    SubscriptionOptions {
        qos: asked.options.qos,
        no_local: connection.is_bridge && named.share.is_none(),
        retain_as_published: connection.is_bridge,
        retain_handling: RetainHandling::SendAtSubscribe,
    }
}

/// What a subscription begins with.
fn joining(handling: RetainHandling, existing: Option<&Held>, asks: &Asks, named: &Named<'_>) -> Joining {
    match handling {
        RetainHandling::SendIfNew if existing.is_some() => Joining::WithoutRecords,
        _ if asks.start.is_some() && !sys::is_below(named.filter) => Joining::WithPast,
        _ if named.share.is_some() => Joining::WithoutRecords, // No member would be the right one to get them.
        RetainHandling::SendAtSubscribe | RetainHandling::SendIfNew => Joining::WithRecords,
        RetainHandling::DoNotSend => Joining::WithoutRecords,
    }
}

fn granted_reason(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success, // Granted QoS 0 has the same code.
        QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
        QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
    }
}

/// Why a connection ends over a filter that is none.
pub(super) fn fault_reason(error: &TopicError) -> ReasonCode {
    let share =
        matches!(error, TopicError::ShareNameEmpty | TopicError::ShareNameWildcard | TopicError::ShareFilterMissing);
    if share { ReasonCode::ProtocolError } else { ReasonCode::TopicFilterInvalid }
}
