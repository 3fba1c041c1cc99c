//! What is done where the log does not reach back to what a client was still to get: it is shown the state there is, and the
//! operator is told.

use super::connection::ConnectionId;
use super::{Effect, Report, Shard};
use crate::interest::Subscription;
use crate::mqtt::replay::Replay;
use crate::mqtt::session::Flow;
use crate::position::Sequence;
use rowcast_codec::QoS;

impl Shard {
    /// The log was cut before the client had read it: the client gets the current state of what changed meanwhile, then
    /// the log from where it begins, and we say that events may be lost.
    pub(super) fn on_log_lost(&mut self, id: ConnectionId, oldest: Sequence) {
        let Some(session) = self.session_mut(id) else { return };
        let Flow::Behind { after: position } = session.flow else { return };
        let until = Sequence(oldest.0.saturating_sub(1));
        if position < session.in_doubt {
            return self.give_up_doubt(id, until, oldest);
        }
        session.flow = Flow::Behind { after: until };
        session.drop_ended();
        self.show_missed(id, (position, until), oldest, &[]);
    }

    /// Shows the current state of what changed behind one place and up to another, which the log does not hold, and of
    /// what `replays` do not bring any more.
    pub(super) fn show_missed(
        &mut self,
        id: ConnectionId,
        (position, until): (Sequence, Sequence),
        oldest: Sequence,
        replays: &[Replay],
    ) {
        let seen = self.seen;
        let Some(session) = self.session_mut(id) else { return };
        // QoS 0 is not kept for those who are away, and was dropped for those who are slow, unless they asked for more.
        let away_until = session.away_until;
        let missed = session.subscriptions.iter().filter_map(|(filter, held)| {
            let Subscription { qos, conflate, since, .. } = held.subscription;
            let from = position.max(since).max(if qos > QoS::AtMostOnce { Sequence::ZERO } else { away_until });
            let is_kept = held.share.is_none() && (qos > QoS::AtMostOnce || conflate); // A group reads for itself.
            // What stood in the log before a new one is not for it: the state that it asked for reaches up to itself.
            let row = session.snapshots.row_of(filter).filter(|_| held.options.since.is_none());
            (is_kept && from < until).then(|| (filter.clone(), (from, until.max(row.unwrap_or_default()))))
        });
        for (filter, missed) in missed.collect::<Vec<_>>() {
            session.snapshots.begin_again(&filter, missed, seen);
        }
        for replay in replays {
            session.show_unreplayed(replay.number, Sequence(replay.after), Some(until), seen);
        }
        if !session.subscriptions.is_empty() && session.subscriptions.values().all(|held| held.share.is_some()) {
            return; // It is its groups that lose something.
        }
        let client_id = session.client_id.clone();
        self.report_lost(client_id, position, oldest);
    }

    /// The log begins at `oldest`, and who had read it up to `position` had not read the rest.
    pub(super) fn report_lost(&mut self, client_id: Box<str>, position: Sequence, oldest: Sequence) {
        self.counters.lost += oldest.0.saturating_sub(position.0 + 1);
        self.effects.push(Effect::Report(Report::LostEvents { client_id, position, oldest }));
    }
}
