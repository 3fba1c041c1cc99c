//! Subscriptions that are gone, or were replaced, before a session had repeated what it may have delivered already.
//!
//! When a node ends without a word, what its sessions have delivered behind their stored forms is known only by doing
//! the same walk along the log again (decision 3). A client that comes back and unsubscribes, or asks for another QoS,
//! would change the walk; so what it had goes on to the end of what is in doubt, and only there.

use super::replay::Replay;
use super::session::{Flow, Held, Session, StoredSubscription};
use crate::interest::Subscription;
use crate::position::Sequence;
use rowcast_codec::QoS;
use serde::{Deserialize, Serialize};

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// Its filter, as the client spelled it.
    pub filter: Box<str>,
    /// What it asked for; it always says where it began.
    pub options: StoredSubscription,
    /// The walk along the log goes on with it up to here.
    pub until: u64,
    /// The filter that canonical topics are matched with; empty while its table is shut. Made anew from the stored form.
    #[serde(skip)]
    pub canonical: Box<str>,
    /// What it asks for. Likewise.
    #[serde(skip)]
    pub subscription: Option<Subscription>,
}

impl Session {
    /// Whether what comes next on its walk may have been delivered already, when `seen` was shown to all.
    #[must_use]
    pub fn is_in_doubt(&self, seen: Sequence) -> bool {
        self.position(seen) < self.in_doubt
    }

    /// Whether QoS 2 is granted to a subscription, or was to one that still brings what is in doubt.
    #[must_use]
    pub fn may_be_sent_exactly_once(&self) -> bool {
        let of_present = self.subscriptions.values().map(|held| held.options.qos);
        of_present.chain(self.ended.iter().map(|ended| ended.options.qos)).any(|qos| qos == QoS::ExactlyOnce as u8)
    }

    /// Whether what its replay brings a subscription may have been delivered already.
    #[must_use]
    pub fn replay_in_doubt(&self, options: &StoredSubscription) -> bool {
        let of_replay = |replay: &&Replay| options.past.is_some_and(|past| past.replay == replay.number);
        self.replays.iter().find(of_replay).is_some_and(|replay| replay.in_doubt)
    }

    /// A subscription is gone, or replaced: it goes on as far as it may have brought something already.
    pub fn end_subscription(&mut self, filter: &str, held: &Held, seen: Sequence) {
        let Subscription { since, own_since, .. } = held.subscription;
        let on_walk = self.is_in_doubt(seen) && since < self.in_doubt;
        if held.share.is_some() || !(on_walk || self.replay_in_doubt(&held.options)) {
            return;
        }
        self.ended.push(Ended {
            filter: filter.into(),
            options: StoredSubscription { since: Some(since.0), own_since: Some(own_since.0), ..held.options },
            until: if on_walk { self.in_doubt.0 } else { 0 },
            canonical: (&*held.filter).into(),
            subscription: Some(held.subscription),
        });
    }

    /// It is not gone after all.
    pub fn undo_end(&mut self, filter: &str, held: &Held) {
        let since = Some(held.subscription.since.0);
        self.ended.retain(|ended| &*ended.filter != filter || ended.options.since != since);
    }

    /// What is in doubt is not brought any more: what those that are gone were entitled to, those that took their places
    /// are.
    pub fn inherit_ended(&mut self) {
        for ended in &self.ended {
            if let Some(held) = self.subscriptions.get_mut(&ended.filter) {
                let since = Sequence(ended.options.since.unwrap_or_default());
                held.subscription.since = held.subscription.since.min(since);
            }
        }
    }

    /// Forgets those whose end the session has passed.
    pub fn drop_ended(&mut self) {
        let Flow::Behind { after } = self.flow else { return self.ended.clear() };
        let replays = &self.replays;
        self.ended.retain(|ended| {
            ended.until > after.0 || replays.iter().any(|replay| ended.options.is_replayed_by(replay.number))
        });
    }
}
