//! What clients leave behind that go: many filters are taken out a few at a time, so that nobody on the same thread waits
//! for it.
//!
//! Until they are, the place of their connection is not another's, and what they select finds no session there.

use super::connection::ConnectionId;
use super::{Input, Shard, connection};
use crate::interest::Subscriber;
use crate::limits::REMAINS_MAX;
use crate::mqtt::session::{Held, Session};
use crate::names::NameMap;
use crate::outbox::Outbox;
use rowcast_codec::TopicFilter;
use std::collections::VecDeque;
use std::sync::Arc;

/// All there is still to be taken away, the first first.
#[derive(Default)]
pub(super) struct Remains {
    queue: VecDeque<Leftover>,
    /// Filters of all of them; those that are out count until all of their client are.
    filters: usize,
    /// The shard will be told to go on.
    goes_on: bool,
    /// Connections that are closed, and whose places are kept.
    vacated: usize,
}

struct Leftover {
    /// Whose filters are to be taken out; `None`: they are out, and only memory is to be given back.
    connection: Option<ConnectionId>,
    count: usize,
    filters: Box<dyn Iterator<Item = Filter> + Send>,
}

/// What becomes of the session of a connection that is gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Who comes back goes on with it as it is here.
    Kept,
    /// Nobody does.
    Dropped,
}

/// A canonical filter, and which spelling of it.
type Filter = (Arc<str>, u32);

impl Remains {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Connections that are closed, and whose places are kept.
    pub(super) fn vacated(&self) -> usize {
        self.vacated
    }
}

impl Shard {
    /// What a connection's session subscribes to selects nothing any more.
    pub(super) fn take_out_filters(&mut self, id: ConnectionId, session: &mut Session, fate: Fate) {
        let few = session.subscriptions.len() <= self.settings.filters_at_once;
        if few {
            for held in session.subscriptions.values().filter(|held| held.share.is_none()) {
                self.take_out(id, (&held.filter, held.subscription.spelling));
            }
            return;
        }
        let count = session.subscriptions.len();
        let filters: Box<dyn Iterator<Item = Filter> + Send> = match fate {
            Fate::Dropped => Box::new(filters_of(std::mem::take(&mut session.subscriptions))),
            Fate::Kept => {
                let own = session.subscriptions.values().filter(|held| held.share.is_none());
                let own = own.map(|held| (Arc::clone(&held.filter), held.subscription.spelling));
                Box::new(own.collect::<Vec<Filter>>().into_iter())
            }
        };
        if let Some(connection) = self.connection_mut(id) {
            connection.remains = true;
        }
        self.leave_behind(Leftover { connection: Some(id), count, filters });
    }

    /// Nobody wants a session that is not any connection's.
    pub(super) fn let_go(&mut self, mut session: Box<Session>) {
        self.discard(std::mem::take(&mut session.subscriptions).into_iter());
    }

    /// Nobody wants these, which are no part of what is looked through: the memory of many is given back by and by.
    pub(super) fn discard(&mut self, unwanted: impl ExactSizeIterator + Send + 'static) {
        let count = unwanted.len();
        if count > self.settings.filters_at_once {
            let filters = Box::new(unwanted.map(|_| Filter::default()));
            self.leave_behind(Leftover { connection: None, count, filters });
        }
    }

    /// A connection is closed: its place is another's, if nothing of it is left there.
    pub(super) fn vacate(&mut self, id: ConnectionId) {
        let slot = id.slot as usize;
        match self.connections.get_mut(slot) {
            Some(connection) if connection.remains => {
                self.generation = self.generation.wrapping_add(1);
                connection.generation = self.generation; // Nobody finds it any more.
                connection.outbox = Outbox::new(&self.spare);
                self.remains.vacated += 1;
            }
            _ => drop(self.connections.try_remove(slot)),
        }
    }

    fn leave_behind(&mut self, leftover: Leftover) {
        self.remains.filters += leftover.count;
        self.remains.queue.push_back(leftover);
        self.clear_away();
    }

    /// Takes away a few of what is left, unless that goes on already; and at once what is more than may be left, however
    /// fast clients come and go.
    pub(super) fn clear_away(&mut self) {
        let filters_max = self.settings.filters_at_once.saturating_mul(REMAINS_MAX);
        while self.remains.filters + self.durable.releasing() > filters_max {
            self.clear_some();
        }
        if !self.remains.goes_on {
            self.on_remains();
        }
    }

    /// The others on this thread had their turn: a few more.
    pub(super) fn on_remains(&mut self) {
        self.clear_some();
        self.remains.goes_on = !self.remains.is_empty() || self.durable.releasing() > 0;
        if self.remains.goes_on {
            self.later(Input::Remains);
        }
    }

    fn clear_some(&mut self) {
        let mut room = self.settings.filters_at_once;
        while let (1.., Some(first)) = (room, self.remains.queue.front_mut()) {
            let connection = first.connection;
            match first.filters.next() {
                Some((filter, spelling)) => {
                    room -= 1;
                    if let Some(id) = connection {
                        self.take_out(id, (&filter, spelling));
                    }
                }
                None => {
                    self.remains.filters -= first.count;
                    self.remains.queue.pop_front();
                    connection.into_iter().for_each(|id| self.clear_place(id));
                }
            }
        }
        self.durable.release_some(&self.tables, room);
    }

    fn take_out(&mut self, id: ConnectionId, (filter, spelling): (&str, u32)) {
        if let Ok(filter) = TopicFilter::new(filter) {
            self.interest.unsubscribe(&filter, Subscriber(id.slot), spelling);
        }
    }

    /// Nothing of a connection is left in its place.
    fn clear_place(&mut self, id: ConnectionId) {
        if let Some(connection) = connection::find_mut(&mut self.connections, id) {
            connection.remains = false; // It is not closed yet.
        } else if self.connections.try_remove(id.slot as usize).is_some() {
            self.remains.vacated -= 1;
        }
    }
}

/// Filters of subscriptions that are given back one by one.
fn filters_of(subscriptions: NameMap<Box<str>, Box<Held>>) -> impl Iterator<Item = Filter> + Send {
    let own = subscriptions.into_values().filter(|held| held.share.is_none());
    own.map(|held| (held.filter, held.subscription.spelling))
}
