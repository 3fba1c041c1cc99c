//! Who is in a group, and whose turn it is.

use super::{Address, Offer, UNLOGGED};
use crate::names::NameMap;
use crate::policy::{Rights, View};
use crate::shard::ConnectionId;
use rowcast_codec::QoS;
use slab::Slab;
use std::collections::VecDeque;
use std::sync::Arc;

/// A member's connection, and by which of its filters it is in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberId {
    /// On which shard it is.
    pub shard: u32,
    /// Which connection there.
    pub connection: ConnectionId,
    /// The filter as the client spelled it, with `$share/`.
    pub filter: Arc<str>,
    /// Which of the times that the connection came in: what it was given an earlier time went to another when it left.
    pub entrance: u32,
}

/// Somebody who is connected and takes messages of the group.
#[derive(Clone, Debug)]
pub struct Member {
    /// Where it is.
    pub id: MemberId,
    /// Whose it is.
    pub client_id: Box<str>,
    /// The highest quality of service to deliver with.
    pub qos: QoS,
    /// Whether its session outlives its connection.
    pub durable: bool,
    /// The number of its session.
    pub session: u64,
    /// How many messages it has in hand at most.
    pub credit: u16,
    /// Which messages it may see.
    pub rights: Rights,
}

impl Member {
    /// Client identifier and filter: the member may come back on another connection.
    pub(super) fn name(&self) -> Arc<str> {
        name_of(&self.client_id, &self.id.filter)
    }

    /// Whether it may see a message. And a session that outlives its connection has to find it in the log again.
    fn suits(&self, offer: Offer<'_>) -> bool {
        let is_kept = offer.number < UNLOGGED || !self.durable || offer.qos.min(self.qos) == QoS::AtMostOnce;
        is_kept && self.rights.view(offer.table, offer.topic) != View::Nothing
    }
}

/// [`Member::name`] of who is not there.
pub(super) fn name_of(client_id: &str, filter: &str) -> Arc<str> {
    [client_id, "\0", filter].concat().into()
}

/// A member among others.
#[derive(Debug)]
struct Place {
    member: Member,
    address: Arc<Address>,
    /// [`Member::name`].
    name: Arc<str>,
    /// How many messages it has to acknowledge.
    in_hand: usize,
    /// It refused a message and has not said since that there is room.
    full: bool,
    /// How often it has. What was handed out before a refusal comes back as well, so that nothing is overtaken.
    turn: u32,
}

impl Place {
    fn has_room(&self) -> bool {
        !self.full && self.in_hand < usize::from(self.member.credit)
    }

    /// Whether it can be given a message that it does not acknowledge.
    fn takes_unacknowledged(&self, qos: QoS) -> bool {
        !self.full && qos.min(self.member.qos) == QoS::AtMostOnce
    }
}

/// Whom a message is given to.
pub(super) struct Receiver<'m> {
    pub address: &'m Arc<Address>,
    /// [`Member::name`].
    pub name: &'m Arc<str>,
    /// What it gets it with.
    pub qos: QoS,
    /// [`Place::turn`].
    pub turn: u32,
}

/// The members of a group.
///
/// Invariant: a member is in `ready` exactly if it has room, and then once.
#[derive(Default, Debug)]
pub(super) struct Members {
    places: Slab<Place>,
    names: NameMap<Arc<str>, usize>,
    ready: VecDeque<usize>,
}

impl Members {
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether a member with this name is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// A member that is there, over the same connection, subscribed again. `false`: it is not.
    pub(super) fn renew(&mut self, name: &str, member: &Member) -> bool {
        let Some(&slot) = self.names.get(name) else { return false };
        if self.places[slot].member.id != member.id {
            return false;
        }
        self.places[slot].member = member.clone();
        self.settle(slot);
        true
    }

    /// Somebody new in `group`, with as many messages in hand.
    pub(super) fn add(&mut self, name: Arc<str>, group: &Arc<str>, member: Member, in_hand: usize) {
        let address = Arc::new(Address { group: Arc::clone(group), member: member.id.clone() });
        let slot =
            self.places.insert(Place { member, address, name: Arc::clone(&name), in_hand, full: false, turn: 0 });
        self.names.insert(name, slot);
        self.settle(slot);
    }

    /// Who has this name is not there any more.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(slot) = self.names.remove(name) {
            self.places.remove(slot);
            self.ready.retain(|&other| other != slot);
        }
    }

    /// The name of a member that is there.
    pub(super) fn name(&self, id: &MemberId) -> Option<Arc<str>> {
        self.slot(id).map(|slot| Arc::clone(&self.places[slot].name))
    }

    /// A member had no room, for as many times as `turn` says.
    pub(super) fn refused(&mut self, id: &MemberId, turn: u32) {
        if let Some(slot) = self.slot(id)
            && turn > self.places[slot].turn
        {
            self.places[slot].turn = turn;
            self.places[slot].full = true;
            self.settle(slot);
        }
    }

    /// It has room again, after that refusal.
    pub(super) fn has_room_again(&mut self, id: &MemberId, turn: u32) {
        if let Some(slot) = self.slot(id)
            && turn == self.places[slot].turn
        {
            self.places[slot].full = false;
            self.settle(slot);
        }
    }

    /// Who has this name has one message less in hand.
    pub(super) fn lighten(&mut self, name: &str) {
        if let Some(&slot) = self.names.get(name) {
            let had_room = self.places[slot].has_room();
            self.places[slot].in_hand = self.places[slot].in_hand.saturating_sub(1);
            if !had_room {
                self.settle(slot);
            }
        }
    }

    /// Whether there is somebody with room, for whatever message.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether anybody who is there could be given a message, with room or without.
    pub(super) fn could_take(&self, offer: Offer<'_>) -> bool {
        self.places.iter().any(|(_, place)| place.member.suits(offer))
    }

    /// Gives a message to the member whose turn it is; `None`: nobody has room.
    pub(super) fn give(&mut self, offer: Offer<'_>) -> Option<Receiver<'_>> {
        let turn = self.next_ready(offer).and_then(|at| self.ready.remove(at));
        let slot = turn.or_else(|| self.next_without_credit(offer))?;
        let place = &mut self.places[slot];
        let qos = offer.qos.min(place.member.qos);
        place.in_hand += usize::from(qos > QoS::AtMostOnce);
        if turn.is_some() && place.has_room() {
            self.ready.push_back(slot);
        }
        Some(Receiver { address: &place.address, name: &place.name, qos, turn: place.turn })
    }

    /// Whose turn it is, as a place in `ready`.
    fn next_ready(&self, offer: Offer<'_>) -> Option<usize> {
        self.ready.iter().position(|&slot| self.places[slot].member.suits(offer))
    }

    /// Somebody who has as much in hand as they may, where they need not acknowledge this.
    fn next_without_credit(&self, offer: Offer<'_>) -> Option<usize> {
        let takes = |place: &Place| place.takes_unacknowledged(offer.qos) && place.member.suits(offer);
        self.places.iter().find(|(_, place)| takes(place)).map(|(slot, _)| slot)
    }

    fn slot(&self, id: &MemberId) -> Option<usize> {
        self.places.iter().find(|(_, place)| place.member.id == *id).map(|(slot, _)| slot)
    }

    /// Puts a member where it belongs, after its room changed.
    fn settle(&mut self, slot: usize) {
        let is_ready = self.ready.contains(&slot);
        match (self.places[slot].has_room(), is_ready) {
            (true, false) => self.ready.push_back(slot),
            (false, true) => self.ready.retain(|&other| other != slot),
            _ => {}
        }
    }
}
