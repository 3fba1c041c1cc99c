//! A group on disk: what it is to know of its messages when the node starts again.

use super::members::name_of;
use super::waiting::Message;
use super::{Group, InHand, UNLOGGED};
use crate::mqtt::session::Flow;
use crate::mqtt::window::Shared;
use crate::position::Sequence;
use rowcast_codec::QoS;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A group as it is stored in [`TableId::GROUPS`](crate::TableId::GROUPS), in JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StoredGroup {
    /// Everything up to here was handed out, except for `open`.
    pub position: u64,
    /// Messages that nobody's stored session has taken over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<u64>,
    /// Messages that sessions have taken over, by the number of the session: when that is gone they are open.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held: BTreeMap<u64, Vec<u64>>,
    /// Of the others behind the position, those that were handed out before the node ended: the log is not to bring them
    /// again. No more than [`HANDED_MAX`](crate::limits::HANDED_MAX), as that many are handed out between two stored forms.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ahead: BTreeSet<u64>,
}

impl Group {
    /// The stored form, when everything up to `seen` was shown to the group's shard.
    #[must_use]
    pub fn store(&mut self, seen: Sequence) -> Vec<u8> {
        self.handed = 0;
        let position = self.position(seen);
        let in_hand = self.in_hand.iter().filter(|(_, in_hand)| in_hand.entry.is_some()).map(|(&number, _)| number);
        let mut open: Vec<u64> = in_hand.chain(self.waiting.awaited()).filter(|&number| number < UNLOGGED).collect();
        open.sort_unstable();
        let mut held: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (&number, in_hand) in &self.in_hand {
            // With QoS 2 nobody else is to get it, whatever becomes of the session.
            if let Some(session) = in_hand.session.filter(|_| in_hand.qos < QoS::ExactlyOnce) {
                held.entry(session).or_default().push(number);
            }
        }
        held.values_mut().for_each(|numbers| numbers.sort_unstable());
        let position = position.0;
        let mut ahead: BTreeSet<u64> = self.claimed.range(position + 1..).copied().collect();
        for told in open.iter().chain(held.values().flatten()) {
            ahead.remove(told);
        }
        let stored = StoredGroup { position, open, held, ahead };
        serde_json::to_vec(&stored).expect("a group is plain data")
    }

    /// Goes on where the stored form was. `sessions`: the numbers of those that are there.
    pub fn restore(&mut self, row: &[u8], sessions: &FxHashSet<u64>) {
        let Ok(stored) = serde_json::from_slice::<StoredGroup>(row) else { return };
        let StoredGroup { position, open, held, ahead } = stored;
        self.flow = Flow::Behind { after: Sequence(position) };
        self.stored = true;
        // Those behind the position came back from a session that ended: the log is not to bring them again.
        let all = open.iter().chain(held.values().flatten()).chain(&ahead).copied();
        self.claimed.extend(all.filter(|&number| number > position));
        let given_back = held.into_iter().filter(|(session, _)| !sessions.contains(session));
        for number in open.into_iter().chain(given_back.flat_map(|(_, numbers)| numbers)) {
            self.waiting.insert(number, Message::of_log(QoS::AtLeastOnce));
        }
    }

    /// A row of claims that is there when the node starts.
    pub fn restore_claim(&mut self, numbers: &[u64], row: &[u8]) {
        for &number in numbers {
            self.waiting.remove(number);
            self.claimed.insert(number);
        }
        self.claims.push(row.into());
    }

    /// A delivery that a stored session has begun.
    pub fn restore_begun(&mut self, (client_id, session): (&str, u64), shared: &Shared, qos: QoS) {
        let number = shared.number;
        self.waiting.remove(number);
        self.claimed.insert(number);
        let (name, after) = (name_of(client_id, &shared.filter), Sequence::ZERO);
        let session = Some(session);
        self.in_hand.insert(number, InHand { name, to: None, qos, published: qos, entry: None, session, after });
    }
}
