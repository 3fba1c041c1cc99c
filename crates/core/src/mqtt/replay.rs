//! The past of some of a session's subscriptions, which it is sent before it goes on.
//!
//! ```text
//! log ──────────────────────after───▶ until ─────────────────▶ committed
//!              replay: its subscriptions  │  the session: all subscriptions
//! ```
//!
//! A replay is a detour of the session's walk along the log. The walk comes to `until`, where the subscriptions that
//! asked begin; there it waits while the log is read again from an earlier place, for them alone; then it goes on. So
//! nothing is missing or there twice where the past ends, on no subscription an older change follows a newer one, and
//! packet identifiers are a matter of counting along the log as ever (decision 3).

use super::session::{Flow, Session};
use crate::position::Sequence;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// A replay that is under way, or waits for its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Replay {
    /// Its subscriptions name it, and say from where on they are part of it.
    pub number: NonZeroU32,
    /// Everything up to here was delivered or is in flight.
    pub after: u64,
    /// It ends here.
    pub until: u64,
    /// What it delivers may have been delivered already, by a connection that ended with its node: it has DUP=1.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_doubt: bool,
}

/// What a subscription is replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Past {
    /// By which replay.
    pub replay: NonZeroU32,
    /// What came after this, up to where the subscription begins.
    pub after: u64,
    /// What came after this was owed to it whatever past it asked for: it replaced one that had not brought that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed: Option<u64>,
}

impl Replay {
    /// [`Replay::until`] of one whose subscriptions are not on disk yet: they begin with their rows.
    pub const NOT_YET: Sequence = Sequence(u64::MAX);
}

/// What a session that replays does next on its walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walk {
    /// Nothing is to be replayed here.
    On,
    /// It waits for subscriptions to be on disk.
    Waits,
    /// First this.
    Replay(Replay),
}

impl Session {
    /// The number of the next replay.
    #[must_use]
    pub fn next_replay(&self) -> NonZeroU32 {
        NonZeroU32::new(self.replays_begun.wrapping_add(1)).unwrap_or(NonZeroU32::MIN)
    }

    /// Subscriptions that are about to be made are replayed what came after `after`. The session comes from there as if
    /// it had read the log, so that what it delivers does not depend on when they are on disk.
    pub fn begin_replay(&mut self, after: Sequence, seen: Sequence) {
        let number = self.next_replay();
        self.replays_begun = number.get();
        self.flow = Flow::Behind { after: self.position(seen) };
        let until = Replay::NOT_YET.0;
        self.replays.push_back(Replay { number, after: after.0, until, in_doubt: false });
    }

    /// Behind which place a subscription that is replaced is still owed what its replay was to bring, whatever past it
    /// asked for; `None`: its replay owes it nothing of that kind. What may have been delivered already, it goes on to bring
    /// itself ([`Session::end_subscription`]).
    #[must_use]
    pub fn owed_by_replay(&self, past: Past) -> Option<Sequence> {
        let owed = past.owed?;
        if past.replay == self.next_replay() {
            return Some(Sequence(owed)); // Of the same SUBSCRIBE.
        }
        let replay = self.replays.iter().find(|replay| replay.number == past.replay && !replay.in_doubt)?;
        Some(Sequence(owed.max(replay.after)))
    }

    /// The subscriptions of a replay begin at `until`.
    pub fn settle_replay(&mut self, number: NonZeroU32, until: Sequence) {
        if let Some(replay) = self.replays.iter_mut().find(|replay| replay.number == number) {
            // They stand next to each other in the log: nothing a client sees is between them.
            replay.until = if replay.until == Replay::NOT_YET.0 { until.0 } else { replay.until.max(until.0) };
        }
    }

    /// Each replay ends where its subscriptions begin; one without any is over.
    pub fn settle_replays(&mut self) {
        for replay in &mut self.replays {
            let of_replay = self.subscriptions.values().filter(|held| held.options.is_replayed_by(replay.number));
            let since = of_replay.map(|held| held.subscription.since.0);
            let ended = self.ended.iter().filter(|ended| ended.options.is_replayed_by(replay.number));
            replay.until = since.chain(ended.filter_map(|ended| ended.options.since)).max().unwrap_or(0);
        }
        self.drop_replays();
    }

    /// Subscriptions that were about to be made when their connection ended begin here; `seen` was shown to all.
    pub fn settle_unanswered(&mut self, seen: Sequence) {
        let until = self.position(seen).max(seen);
        for replay in self.replays.iter_mut().filter(|replay| replay.until == Replay::NOT_YET.0) {
            replay.until = until.0;
            let number = replay.number;
            for held in self.subscriptions.values_mut().filter(|held| held.options.is_replayed_by(number)) {
                held.subscription.since = until;
            }
        }
    }

    /// Forgets replays whose subscriptions are gone.
    pub fn drop_replays(&mut self) {
        let (subscriptions, ended) = (&self.subscriptions, &self.ended);
        self.replays.retain(|&Replay { number, .. }| {
            subscriptions.values().any(|held| held.options.is_replayed_by(number))
                || ended.iter().any(|ended| ended.options.is_replayed_by(number))
        });
    }

    /// What is to be done where the session stands.
    #[must_use]
    pub fn walk(&self) -> Walk {
        let Some(&replay) = self.replays.front() else { return Walk::On };
        match self.flow {
            _ if replay.until == Replay::NOT_YET.0 => Walk::Waits,
            Flow::Behind { after } if after.0 < replay.until => Walk::On,
            _ => Walk::Replay(replay),
        }
    }

    /// Whether the walk may come to `sequence` before a replay has had its turn.
    #[must_use]
    pub fn may_pass(&self, sequence: Sequence) -> bool {
        self.replays.front().is_none_or(|replay| replay.until != Replay::NOT_YET.0 && sequence.0 <= replay.until)
    }

    /// Whether it is to repeat deliveries that may have been made already: nothing else may take their identifiers.
    #[must_use]
    pub fn counts_in_doubt(&self, seen: Sequence) -> bool {
        self.is_in_doubt(seen) || self.replays.iter().any(|replay| replay.in_doubt)
    }

    /// Ends the replays that may have been sent already, no matter how far they have come. Returns them.
    pub fn give_up_replays(&mut self) -> Vec<Replay> {
        let given_up = self.replays.iter().filter(|replay| replay.in_doubt).copied().collect();
        self.replays.retain(|replay| !replay.in_doubt);
        self.drop_ended();
        given_up
    }

    /// Shows the subscriptions of a replay the current state of what it does not bring them any more: what changed behind
    /// `from` and up to `until`, or to where they begin.
    pub fn show_unreplayed(&mut self, number: NonZeroU32, from: Sequence, until: Option<Sequence>, seen: Sequence) {
        for (filter, held) in &self.subscriptions {
            if let Some(past) = held.options.past.filter(|past| past.replay == number) {
                let missed = (from.max(Sequence(past.after)), until.unwrap_or(held.subscription.since));
                self.snapshots.begin_again(filter, missed, seen);
            }
        }
    }

    /// The replay under way has come to `after`; it ends where that is its end.
    pub fn advance_replay(&mut self, after: Sequence) {
        let durable = self.is_durable();
        let Some(replay) = self.replays.front_mut() else { return };
        replay.after = replay.after.max(after.0);
        self.dirty |= durable;
        if replay.after >= replay.until {
            self.replays.pop_front();
            self.drop_ended();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::SessionId;

    #[test]
    fn what_is_owed_to_who_asks_again_is_told_by_the_replay_that_was_to_bring_it() {
        let mut session = Session::new(SessionId(1), "a", None, 10, Sequence(50));
        let replay = session.next_replay();
        let past = |owed| Past { replay, after: 10, owed };
        assert_eq!(session.owed_by_replay(past(Some(30))), Some(Sequence(30)), "of the same SUBSCRIBE");
        session.begin_replay(Sequence(10), Sequence(60));
        session.settle_replay(replay, Sequence(70));
        for (after, owed) in [(20, 30), (30, 30), (40, 40)] {
            session.advance_replay(Sequence(after));
            assert_eq!(session.owed_by_replay(past(Some(30))), Some(Sequence(owed)));
        }
        let stored = r#"{"replay":1,"after":10}"#; // As before there was anything to say of what is owed.
        assert_eq!(serde_json::from_str::<Past>(stored).ok(), Some(past(None)));
        assert_eq!(session.owed_by_replay(past(None)), None);
        session.replays[0].in_doubt = true;
        assert_eq!(session.owed_by_replay(past(Some(30))), None);
        session.replays[0].in_doubt = false;
        session.advance_replay(Sequence(70));
        assert_eq!(session.owed_by_replay(past(Some(30))), None, "it was brought");
    }

    #[test]
    fn a_session_walks_to_where_a_replay_ends_and_waits_there() {
        let mut session = Session::new(SessionId(1), "a", None, 10, Sequence(50));
        assert_eq!((session.walk(), session.may_pass(Sequence(99))), (Walk::On, true));
        session.begin_replay(Sequence(10), Sequence(60));
        let number = session.replays[0].number;
        assert_eq!(session.flow, Flow::Behind { after: Sequence(60) });
        assert_eq!((session.walk(), session.may_pass(Sequence(61))), (Walk::Waits, false));
        session.settle_replay(number, Sequence(70));
        session.settle_replay(number, Sequence(71));
        assert_eq!((session.walk(), session.may_pass(Sequence(71))), (Walk::On, true));
        assert!(!session.may_pass(Sequence(72)));
        session.flow = Flow::Behind { after: Sequence(71) };
        let replay = Replay { number, after: 10, until: 71, in_doubt: false };
        assert_eq!(session.walk(), Walk::Replay(replay));
        session.advance_replay(Sequence(70));
        assert_eq!(session.walk(), Walk::Replay(Replay { after: 70, ..replay }));
        session.advance_replay(Sequence(71));
        assert_eq!((session.walk(), session.may_pass(Sequence(99))), (Walk::On, true));
        assert_ne!(session.next_replay(), number);
    }
}
