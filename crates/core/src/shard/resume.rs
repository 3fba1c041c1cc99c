//! A session that is taken up again: many filters are put in place a few at a time, so that nobody on the same thread
//! waits for it.
//!
//! Until all are, its connection has no session, and no CONNACK: what the filters select finds nobody, as if the store
//! were still being read. What is logged meanwhile the session reads like all that it missed. Who gives up before leaves
//! everything as the store has it.

use super::connection::{ConnectionId, Opening, Phase};
use super::remains::Fate;
use super::{Claimant, Input, Moment, Shard, StoredRows, connection};
use crate::interest::{Interest, Subscriber, Subscription, spelling_of};
use crate::mqtt::session::{ForAll, Held, Session, StoredSubscription, rows};
use crate::policy::{Rights, Sight};
use crate::position::Sequence;
use crate::sys;
use crate::tables::Tables;
use rowcast_codec::TopicFilter;
use std::collections::hash_map;
use std::sync::Arc;
use std::vec;

/// A session that is to be a connection's.
#[derive(Debug)]
pub(super) struct Resuming {
    /// With those of its subscriptions whose filters are in place.
    pub session: Box<Session>,
    rest: Rest,
    /// Those that are still to be sent what their rows asked for.
    asked: Vec<(Box<str>, Sequence)>,
    /// Those of what the server says of itself.
    of_sys: Vec<Box<str>>,
    /// Those that are in groups.
    shared: Vec<Box<str>>,
}

/// A session whose filters are all in place.
pub(super) struct Resumed {
    pub session: Box<Session>,
    /// Its shared subscriptions, as their client spelled them.
    pub shared: Vec<Box<str>>,
}

/// Subscriptions whose filters are not in place.
#[derive(Debug)]
enum Rest {
    /// As another connection had them.
    Live(hash_map::IntoIter<Box<str>, Box<Held>>),
    /// As the store has them.
    Stored(vec::IntoIter<Row>),
}

/// Key, value and version of a row of the subscriptions table.
type Row = (Vec<u8>, Vec<u8>, Sequence);

impl Resuming {
    /// `rows`: of its subscriptions; `None`: it has them.
    fn new(mut session: Box<Session>, rows: Option<Vec<Row>>) -> Resuming {
        let rest = match rows {
            Some(rows) => Rest::Stored(rows.into_iter()),
            None => Rest::Live(std::mem::take(&mut session.subscriptions).into_iter()),
        };
        session.subscriptions.reserve(rest.len()); // Or it is moved as a whole whenever it has grown.
        Resuming { session, rest, asked: Vec::new(), of_sys: Vec::new(), shared: Vec::new() }
    }

    /// The next subscription whose filter is to be put in place, and how its client spelled that.
    fn next(&mut self, id: ConnectionId) -> Option<(Box<str>, Box<Held>)> {
        let rows = match &mut self.rest {
            Rest::Live(held) => return held.next(),
            Rest::Stored(rows) => rows,
        };
        rows.find_map(|(key, value, version)| {
            let (_, _, spelled) = rows::parse_subscription(&key)?;
            let options: StoredSubscription = serde_json::from_slice(&value).ok()?;
            let at_row = |at: u64| if at == 0 { version } else { Sequence(at) };
            let asked = options.state.map(at_row).filter(|&row| !self.session.snapshots.is_served(row));
            self.asked.extend(asked.map(|row| (spelled.into(), row)));
            let since = (options.since.map_or(version, Sequence), options.own_since.map(at_row).unwrap_or_default());
            let share = TopicFilter::new(spelled).ok().and_then(|filter| filter.share());
            let share: Option<Box<str>> = share.map(|share| share.as_str().into());
            // Until it is resolved.
            let filter = if share.is_none() { spelled.into() } else { Arc::default() };
            let subscription = options.subscription(Subscriber(id.slot), since, self.session.for_all);
            Some((spelled.into(), Box::new(Held { filter, share, subscription, options })))
        })
    }

    /// A subscription's filter is in place.
    fn add(&mut self, spelled: Box<str>, held: Box<Held>) {
        match held.share {
            Some(_) => self.shared.push(spelled.clone()),
            None if sys::is_below(&spelled) => self.of_sys.push(spelled.clone()),
            None => {}
        }
        self.session.subscriptions.insert(spelled, held);
    }

    /// The session, once nothing is left of the rest. `seen` was shown to all.
    fn whole(self, seen: Sequence) -> Resumed {
        let Resuming { mut session, rest, asked, of_sys, shared } = self;
        if let Rest::Stored(_) = rest {
            session.snapshots.restore_rows(asked.iter().map(|(spelled, row)| (&**spelled, *row)));
            session.settle_replays();
        }
        for spelled in of_sys {
            // It stands in no log: who comes back gets all of it, as it is now.
            session.snapshots.begin_again(&spelled, (Sequence::ZERO, Sequence::ZERO), seen);
        }
        Resumed { session, shared }
    }
}

impl Rest {
    fn len(&self) -> usize {
        match self {
            Rest::Live(held) => held.len(),
            Rest::Stored(rows) => rows.len(),
        }
    }
}

impl Shard {
    /// A session is to be the connection's once its filters are in place. `rows`: of its subscriptions; `None`: it has
    /// them.
    pub(super) fn begin_resuming(
        &mut self,
        id: ConnectionId,
        mut opening: Box<Opening>,
        mut session: Box<Session>,
        rows: Option<Vec<Row>>,
        now: Moment,
    ) {
        session.for_all = self.for_all(id, &opening);
        session.settle_unanswered(self.seen);
        let Some(connection) = self.connection_mut(id) else { return };
        opening.resuming = Some(Resuming::new(session, rows));
        connection.opening = Some(opening);
        connection.phase = Phase::Resuming;
        self.on_resume(id, now);
    }

    /// The others on this thread had their turn: a few more filters.
    pub(super) fn on_resume(&mut self, id: ConnectionId, now: Moment) {
        let connection = connection::find_mut(&mut self.connections, id);
        let Some(connection) = connection.filter(|connection| connection.phase == Phase::Resuming) else { return };
        let Some(mut opening) = connection.opening.take() else { return };
        let Some(mut resuming) = opening.resuming.take() else { return };
        let known = (&*self.tables, &connection.rights);
        for _ in 0..self.settings.filters_at_once {
            let Some((spelled, mut held)) = resuming.next(id) else { break };
            put_in_place(id, (&spelled, &mut held), resuming.session.for_all, known, &mut self.interest);
            resuming.add(spelled, held);
        }
        if resuming.rest.len() > 0 {
            opening.resuming = Some(resuming);
            connection.opening = Some(opening);
            return self.later(Input::Resume(id));
        }
        let mut resumed = resuming.whole(self.seen);
        resolve_ended(id, &mut resumed.session, &self.tables);
        self.establish(id, *opening, Some(resumed), &StoredRows::default(), now);
    }

    /// The connection ends before all filters are in place. Nothing was written since the session was left: whoever comes
    /// next finds it in the store.
    pub(super) fn give_up_resuming(&mut self, id: ConnectionId, opening: Opening, claimant: Option<Claimant>) {
        if let Some(Resuming { mut session, rest, .. }) = opening.resuming {
            self.take_out_filters(id, &mut session, Fate::Dropped);
            match rest {
                Rest::Live(held) => self.discard(held),
                Rest::Stored(rows) => self.discard(rows),
            }
        }
        self.free_client_id(opening.client_id, id, claimant, None);
    }
}

/// Resolves all filters of a session anew that were in place, and puts them there again.
pub(super) fn rejoin(id: ConnectionId, session: &mut Session, known: (&Tables, &Rights), interest: &mut Interest) {
    for (spelled, held) in &mut session.subscriptions {
        put_in_place(id, (spelled, held), session.for_all, known, interest);
    }
    resolve_ended(id, session, known.0);
}

/// Resolves a filter, and subscribes to it in the name of its session's connection.
fn put_in_place(
    id: ConnectionId,
    (spelled, held): (&str, &mut Held),
    for_all: ForAll,
    (tables, rights): (&Tables, &Rights),
    interest: &mut Interest,
) {
    let plain = TopicFilter::new(spelled).map_or(spelled, |filter| filter.filter());
    let Some((filter, alias)) = tables.canonical_filter(plain) else {
        // Its table was shut or changed: it stays the client's, and selects nothing.
        if held.share.is_some() {
            held.filter = Arc::default();
        }
        return;
    };
    held.filter = filter.into();
    let spelling = spelling_of(plain, &held.filter);
    let guarded = rights.sight(tables, &held.filter) != Sight::All;
    let Subscription { since, own_since, .. } = held.subscription;
    held.subscription = Subscription {
        alias,
        guarded,
        spelling,
        ..held.options.subscription(Subscriber(id.slot), (since, own_since), for_all)
    };
    if let (None, Ok(filter)) = (&held.share, TopicFilter::new(&held.filter)) {
        interest.subscribe(&filter, held.subscription);
    }
}

/// Resolves the filters of subscriptions that are gone and still bring what is in doubt.
fn resolve_ended(id: ConnectionId, session: &mut Session, tables: &Tables) {
    for ended in &mut session.ended {
        let canonical = tables.canonical_filter(&ended.filter);
        let begins = |at: Option<u64>| Sequence(at.unwrap_or_default());
        let since = (begins(ended.options.since), begins(ended.options.own_since));
        let of_canonical = canonical.as_ref().map(|(filter, alias)| {
            let spelling = spelling_of(&ended.filter, filter);
            let resolved = ended.options.subscription(Subscriber(id.slot), since, session.for_all);
            Subscription { alias: *alias, spelling, ..resolved }
        });
        ended.subscription = of_canonical;
        ended.canonical = canonical.map(|(filter, _)| filter.into()).unwrap_or_default();
    }
}
