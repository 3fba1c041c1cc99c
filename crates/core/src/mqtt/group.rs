//! One shared subscription (MQTT 5 §4.8.2): who is in the group, whose turn it is, what each has in hand.
//!
//! Bookkeeping only: no message is looked at, none is sent. The shard that owns the group reads for it and hands out.

use super::session::Flow;
use super::window::Shared;
use crate::limits::HANDED_MAX;
use crate::policy::{Rights, View};
use crate::position::{Sequence, TableId};
use crate::shard::ConnectionId;
use bytes::Bytes;
use rowcast_codec::QoS;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
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

/// A member among others.
#[derive(Debug)]
struct Place {
    member: Member,
    /// Client identifier and filter: the member may come back on another connection.
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

/// What was handed to a member and is not done.
#[derive(Debug)]
struct InHand {
    /// [`Place::name`].
    name: Arc<str>,
    /// Who it was when it was given this; `None`: before the node started.
    to: Option<MemberId>,
    qos: QoS,
    /// What it was published with: another member may get it with more.
    published: QoS,
    /// The message; `None`: the member's session keeps it.
    entry: Option<Bytes>,
    /// The number of that session.
    session: Option<u64>,
    after: Sequence,
}

/// A message that waits for a member.
#[derive(Debug)]
struct Waiting {
    qos: QoS,
    /// `None`: to be read from the log.
    entry: Option<Bytes>,
    /// It came behind this place of the log.
    after: Sequence,
}

/// A message on its way to a member.
#[derive(Debug)]
pub struct Hand {
    /// The group.
    pub group: Arc<str>,
    /// Who gets it.
    pub member: MemberId,
    /// Its place in the log, or [`UNLOGGED`] and a count.
    pub number: u64,
    /// As the member's [`Turn`](ShareMail::Back) was.
    pub turn: u32,
    /// The message, encoded as an entry.
    pub entry: Bytes,
    /// Whether the group wants to hear when it is over; with QoS 0 it is as soon as there is room.
    pub is_awaited: bool,
}

/// What shards tell each other about shared subscriptions: members their owner, except for `Hand`.
#[derive(Debug)]
pub enum ShareMail {
    /// A message for a member.
    Hand(Hand),
    /// Somebody is in, or asks for another quality of service.
    Join {
        /// Which group.
        group: Arc<str>,
        /// Who.
        member: Member,
        /// What its session has begun: of what it was given before, it has this and no more.
        begun: Vec<u64>,
        /// What came up to here is not for a group that begins with it.
        since: Sequence,
    },
    /// Somebody is no longer there.
    Leave {
        /// Which group.
        group: Arc<str>,
        /// Who.
        member: MemberId,
        /// What its session has begun, and goes on with.
        begun: Vec<u64>,
    },
    /// Messages were acknowledged, refused, or cannot be delivered: they are over.
    Done {
        /// Which group.
        group: Arc<str>,
        /// Which messages.
        numbers: Vec<u64>,
    },
    /// A member had no room.
    Back {
        /// Which group.
        group: Arc<str>,
        /// Who.
        member: MemberId,
        /// Which message.
        number: u64,
        /// How often that happened to this member: what it says of an earlier time is old.
        turn: u32,
        /// The message itself and what it was published with, if the group did not keep it.
        entry: Option<(QoS, Bytes)>,
    },
    /// A member has room again.
    Room {
        /// Which group.
        group: Arc<str>,
        /// Who.
        member: MemberId,
        /// The refusal that this ends.
        turn: u32,
    },
    /// A session ended before it acknowledged a message.
    Return {
        /// Which group.
        group: Arc<str>,
        /// Which message.
        number: u64,
    },
}

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
    /// again. No more than [`HANDED_MAX`], as that many are handed out between two stored forms.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ahead: BTreeSet<u64>,
}

/// What a group can go on with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Nothing, for now.
    Nothing,
    /// A message that waits.
    Hand(u64),
    /// Messages that wait, and are to be read again.
    Fetch(Vec<u64>),
    /// The log behind this.
    Log(Sequence),
}

/// What of a message says who can be given it.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'m> {
    /// Its place in the log, or [`UNLOGGED`] and a count.
    pub number: u64,
    /// What it was published with.
    pub qos: QoS,
    /// Whose record it is about, or whose channel it is on.
    pub table: TableId,
    /// The canonical topic.
    pub topic: &'m str,
}

/// Numbers from here on are of messages that stand in no log.
pub const UNLOGGED: u64 = 1 << 63;
/// Messages that are read again at a time.
const FETCHED_MAX: usize = 64;

/// A group, held by the shard that owns it.
///
/// ```text
/// log or event ─▶ waiting ─▶ in hand ─acknowledged─▶ (done)
///                    ▲          │
///                    └──────────┘ no room, or the member's session ended
/// ```
///
/// Invariant: a member is in `ready` exactly if it has room, and then once.
#[derive(Debug)]
pub struct Group {
    /// The group's name, a slash, and the filter that canonical topics are matched with.
    pub key: Arc<str>,
    /// How what is committed reaches the group.
    pub flow: Flow,
    /// Committed entries up to here are not for live delivery.
    pub live_after: Sequence,
    /// QoS 0 messages up to here are not delivered: nobody was there.
    pub away_until: Sequence,
    /// A read is under way.
    pub reading: bool,
    /// The stored form is not what it should be.
    pub dirty: bool,
    /// There is a stored form.
    pub stored: bool,
    /// Its events are logged because its members do not keep up.
    pub lagging: bool,
    /// Rows of subscriptions with which sessions keep the group alive while they are away.
    pub kept_by: FxHashSet<Box<[u8]>>,
    /// Rows of [`TableId::CLAIMS`](crate::TableId::CLAIMS) that say what sessions have taken over since the stored form.
    claims: Vec<Box<[u8]>>,
    places: Slab<Place>,
    names: FxHashMap<Arc<str>, usize>,
    ready: VecDeque<usize>,
    in_hand: FxHashMap<u64, InHand>,
    waiting: BTreeMap<u64, Waiting>,
    waiting_bytes: usize,
    /// Messages behind the position that were handed out before the node ended.
    claimed: BTreeSet<u64>,
    /// How many messages were handed out, or found to have been, since the stored form was made.
    handed: usize,
    unlogged: u64,
}

impl Group {
    /// A group that begins behind `after`.
    #[must_use]
    pub fn new(key: &str, flow: Flow, after: Sequence) -> Group {
        Group {
            key: key.into(),
            flow,
            live_after: after,
            away_until: after,
            reading: false,
            dirty: true,
            stored: false,
            lagging: false,
            kept_by: FxHashSet::default(),
            claims: Vec::new(),
            places: Slab::new(),
            names: FxHashMap::default(),
            ready: VecDeque::new(),
            in_hand: FxHashMap::default(),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            claimed: BTreeSet::new(),
            handed: 0,
            unlogged: 0,
        }
    }

    /// The filter that canonical topics are matched with.
    #[must_use]
    pub fn filter(&self) -> &str {
        filter_of(&self.key)
    }

    /// Whether nobody is there and nobody could come back.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.kept_by.is_empty() && self.places.is_empty()
    }

    /// Whether somebody is connected.
    #[must_use]
    pub fn is_attended(&self) -> bool {
        !self.places.is_empty()
    }

    // Members ----------------------------------------------------------------------------------------------------------

    /// Somebody is in. `seen`: everything up to here was shown to this shard.
    pub fn join(&mut self, member: Member, begun: &[u64], seen: Sequence) {
        let name = name_of(&member.client_id, &member.id.filter);
        if let Some(&slot) = self.names.get(&name) {
            if self.places[slot].member.id == member.id {
                self.places[slot].member = member; // It subscribed again.
                self.settle(slot);
                return;
            }
            self.remove(slot);
        }
        if self.places.is_empty() {
            self.away_until = seen;
        }
        self.end_earlier_sessions(&name, member.session);
        // That it had begun more could not be written down, nor did it go out.
        self.put_back_of(&name, begun);
        self.take_over(&member, begun);
        let in_hand = self.in_hand.values().filter(|in_hand| in_hand.name == name).count();
        let slot = self.places.insert(Place { member, name: Arc::clone(&name), in_hand, full: false, turn: 0 });
        self.names.insert(name, slot);
        self.settle(slot);
    }

    /// Somebody left: what it had not begun waits for another.
    pub fn leave(&mut self, id: &MemberId, begun: &[u64]) {
        let Some(slot) = self.slot_of(id) else { return };
        let name = Arc::clone(&self.places[slot].name);
        self.put_back_of(&name, begun);
        self.remove(slot);
        self.dirty = true;
    }

    /// A message came back because there was no room, with its bytes if it was not awaited. `false`: too much waits
    /// already to keep it.
    pub fn refused(
        &mut self,
        id: &MemberId,
        number: u64,
        turn: u32,
        entry: Option<(QoS, Bytes)>,
        bytes_max: usize,
    ) -> bool {
        // Or it was taken from the member when that left, and another has it by now.
        if self.in_hand.get(&number).is_some_and(|in_hand| in_hand.to.as_ref() == Some(id)) {
            self.put_back(number);
        }
        let kept = entry.is_none_or(|(qos, entry)| self.keep_refused(number, qos, entry, bytes_max));
        if let Some(slot) = self.slot_of(id)
            && turn > self.places[slot].turn
        {
            self.places[slot].turn = turn;
            self.places[slot].full = true;
            self.settle(slot);
        }
        kept
    }

    /// What nobody has acknowledged, nor needs to, waits again. One that has to reach a member and finds no room either
    /// is read from the log when there is some.
    fn keep_refused(&mut self, number: u64, qos: QoS, entry: Bytes, bytes_max: usize) -> bool {
        let kept = self.keep(number, qos, entry, Sequence::ZERO, bytes_max);
        let is_read_again = !kept && qos > QoS::AtMostOnce && number < UNLOGGED;
        if is_read_again {
            self.waiting.insert(number, Waiting { qos, entry: None, after: Sequence::ZERO });
        }
        self.dirty |= qos > QoS::AtMostOnce;
        kept || is_read_again
    }

    /// There is room again.
    pub fn room(&mut self, id: &MemberId, turn: u32) {
        if let Some(slot) = self.slot_of(id)
            && turn == self.places[slot].turn
        {
            self.places[slot].full = false;
            self.settle(slot);
        }
    }

    /// A message is over.
    pub fn done(&mut self, number: u64) {
        self.take_from_hand(number);
    }

    /// A session that had begun `number` ended.
    pub fn put_back(&mut self, number: u64) {
        let Some(in_hand) = self.take_from_hand(number) else { return };
        let InHand { published: qos, entry, after, .. } = in_hand;
        if entry.is_some() || number < UNLOGGED {
            self.waiting_bytes += entry.as_ref().map_or(0, Bytes::len);
            self.waiting.insert(number, Waiting { qos, entry, after });
        }
    }

    /// What a member has in hand waits for another, but for what it has begun.
    fn put_back_of(&mut self, name: &str, begun: &[u64]) {
        let of_member = self.in_hand.iter().filter(|(_, in_hand)| &*in_hand.name == name);
        let numbers: Vec<u64> = of_member.map(|(&number, _)| number).filter(|number| !begun.contains(number)).collect();
        numbers.into_iter().for_each(|number| self.put_back(number));
    }

    /// What an earlier session of a member that comes with a new one has taken over with QoS 2 is nobody's
    /// [MQTT-4.8.2-5]: where its time had run out, nothing has said yet that it is gone.
    fn end_earlier_sessions(&mut self, name: &str, session: u64) {
        let is_once = |in_hand: &InHand| in_hand.qos == QoS::ExactlyOnce && in_hand.name.as_ref() == name;
        let is_earlier = |in_hand: &InHand| in_hand.session.is_some_and(|taker| taker != session);
        let earlier = self.in_hand.iter().filter(|(_, in_hand)| is_once(in_hand) && is_earlier(in_hand));
        let numbers: Vec<u64> = earlier.map(|(&number, _)| number).collect();
        numbers.into_iter().for_each(|number| self.done(number));
    }

    /// What a session that lasts has begun over an earlier connection is on disk with it. Was there no room for its
    /// claim, the stored form of the group is to say so before it is acknowledged.
    fn take_over(&mut self, member: &Member, begun: &[u64]) {
        let is_of_now = |to: &MemberId| (to.shard, to.connection) == (member.id.shard, member.id.connection);
        for number in begun.iter().filter(|_| member.durable) {
            let in_hand = self.in_hand.get_mut(number);
            if let Some(in_hand) = in_hand.filter(|in_hand| !in_hand.to.as_ref().is_some_and(is_of_now)) {
                self.dirty |= in_hand.entry.is_some();
                (in_hand.entry, in_hand.session) = (None, Some(member.session));
            }
        }
    }

    /// The stored session of a client is gone: what it had not acknowledged goes to another, unless its QoS is 2
    /// [MQTT-4.8.2-5].
    pub fn session_ended(&mut self, client_id: &str) -> bool {
        let of_client = |name: &str| name.strip_prefix(client_id).is_some_and(|rest| rest.starts_with('\0'));
        let gone = |in_hand: &InHand| of_client(&in_hand.name) && !self.names.contains_key(&in_hand.name);
        let gone = self.in_hand.iter().filter(|(_, in_hand)| gone(in_hand));
        let gone: Vec<(u64, QoS)> = gone.map(|(&number, in_hand)| (number, in_hand.qos)).collect();
        for &(number, qos) in &gone {
            match qos {
                QoS::ExactlyOnce => self.done(number),
                _ => self.put_back(number),
            }
        }
        !gone.is_empty()
    }

    // Messages ---------------------------------------------------------------------------------------------------------

    /// What to go on with.
    #[must_use]
    pub fn next(&self) -> Next {
        if self.reading || self.ready.is_empty() {
            return Next::Nothing;
        }
        if let Some(number) = self.due() {
            if self.waiting[&number].entry.is_some() {
                return Next::Hand(number);
            }
            let unread = self.waiting.iter().filter(|(_, waiting)| waiting.entry.is_none());
            return Next::Fetch(unread.take(FETCHED_MAX).map(|(&number, _)| number).collect());
        }
        match self.flow {
            Flow::Behind { after } => Next::Log(after),
            Flow::Live => Next::Nothing,
        }
    }

    /// The message that is to be handed out before anything of the log.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        let (&number, waiting) = self.waiting.first_key_value()?;
        let is_due = match self.flow {
            Flow::Behind { after } => waiting.after <= after,
            Flow::Live => true,
        };
        is_due.then_some(number)
    }

    /// Whether a message from the log goes out before `sequence` does.
    #[must_use]
    pub fn is_due_before(&self, sequence: Sequence) -> bool {
        self.waiting.first_key_value().is_some_and(|(_, waiting)| waiting.after < sequence)
    }

    /// Takes a message that waits.
    pub fn take_waiting(&mut self, number: u64) -> Option<(QoS, Bytes, Sequence)> {
        let Waiting { qos, entry, after } = self.waiting.remove(&number)?;
        let entry = entry?;
        self.waiting_bytes -= entry.len();
        self.dirty = true;
        Some((qos, entry, after))
    }

    /// A message that waits was read again, with what it was published with; `None`: it is gone.
    pub fn fetched(&mut self, number: u64, entry: Option<(QoS, Bytes)>) {
        let Some(waiting) = self.waiting.get_mut(&number) else { return };
        match entry {
            Some((qos, entry)) => {
                self.waiting_bytes += entry.len();
                (waiting.qos, waiting.entry) = (qos, Some(entry)); // The stored form of a group does not say it.
            }
            None => drop(self.waiting.remove(&number)),
        }
    }

    /// Bytes of messages that wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether nothing waits that it has passed in the log.
    #[must_use]
    pub fn is_level(&self) -> bool {
        self.flow == Flow::Live && self.waiting.is_empty()
    }

    /// Keeps a message that stands in no log until there is room. `false`: too much waits already.
    pub fn keep(&mut self, number: u64, qos: QoS, entry: Bytes, after: Sequence, bytes_max: usize) -> bool {
        if self.waiting_bytes + entry.len() > bytes_max {
            return false;
        }
        self.waiting_bytes += entry.len();
        self.waiting.insert(number, Waiting { qos, entry: Some(entry), after });
        true
    }

    /// A number for a message that stands in no log.
    pub fn unlogged_number(&mut self) -> u64 {
        self.unlogged += 1;
        UNLOGGED | self.unlogged
    }

    /// Whether there is somebody who can be given a message now.
    #[must_use]
    pub fn has_room(&self, offer: Offer<'_>) -> bool {
        self.next_ready(offer).is_some() || self.next_without_credit(offer).is_some()
    }

    /// Whether there is somebody with room, for whatever message.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whose turn it is, as a place in `ready`.
    fn next_ready(&self, offer: Offer<'_>) -> Option<usize> {
        self.ready.iter().position(|&slot| suits(&self.places[slot].member, offer))
    }

    /// Somebody who has as much in hand as they may, where they need not acknowledge this.
    fn next_without_credit(&self, offer: Offer<'_>) -> Option<usize> {
        let takes = |place: &Place| place.takes_unacknowledged(offer.qos) && suits(&place.member, offer);
        self.places.iter().find(|(_, place)| takes(place)).map(|(slot, _)| slot)
    }

    /// Whether anybody who is there could be given a message, with room or without.
    #[must_use]
    pub fn could_give(&self, offer: Offer<'_>) -> bool {
        self.places.iter().any(|(_, place)| suits(&place.member, offer))
    }

    /// Whether those who are there may not see a message, which then is not for the group.
    #[must_use]
    pub fn is_for_nobody(&self, offer: Offer<'_>) -> bool {
        self.is_attended() && !self.could_give(offer)
    }

    /// Gives a message to the member whose turn it is; `None`: nobody has room.
    pub fn hand(&mut self, offer: Offer<'_>, entry: &Bytes, after: Sequence) -> Option<Hand> {
        let Offer { number, qos: published, .. } = offer;
        let turn = self.next_ready(offer).and_then(|at| self.ready.remove(at));
        let slot = turn.or_else(|| self.next_without_credit(offer))?;
        let place = &mut self.places[slot];
        let qos = published.min(place.member.qos);
        let is_awaited = qos > QoS::AtMostOnce;
        place.in_hand += usize::from(is_awaited);
        self.handed += usize::from(is_awaited);
        if turn.is_some() && place.has_room() {
            self.ready.push_back(slot);
        }
        let member = place.member.id.clone();
        if is_awaited {
            let (to, name) = (Some(member.clone()), Arc::clone(&place.name));
            let entry = Some(entry.clone());
            self.in_hand.insert(number, InHand { name, to, qos, published, entry, session: None, after });
        }
        self.dirty = true;
        let (group, turn) = (Arc::clone(&self.key), place.turn);
        Some(Hand { group, member, number, turn, entry: entry.clone(), is_awaited })
    }

    // What is stored ---------------------------------------------------------------------------------------------------

    /// A session has these on disk: the group need not.
    pub fn claimed(&mut self, session: u64, numbers: &[u64], row: &[u8]) {
        for number in numbers {
            if let Some(in_hand) = self.in_hand.get_mut(number) {
                (in_hand.entry, in_hand.session) = (None, Some(session));
            }
        }
        self.claims.push(row.into());
        self.dirty = true;
    }

    /// Takes the claims: a stored form of now says the same, and what has become of it since.
    pub fn take_claims(&mut self) -> Vec<Box<[u8]>> {
        std::mem::take(&mut self.claims)
    }

    /// The stored form could not be written, and so these claims are still there.
    pub fn put_claims(&mut self, claims: Vec<Box<[u8]>>) {
        self.claims.extend(claims);
        self.dirty = true;
    }

    /// Where it stands in the log, when everything up to `seen` was shown to its shard.
    #[must_use]
    pub fn position(&self, seen: Sequence) -> Sequence {
        match self.flow {
            Flow::Live => seen.max(self.live_after),
            Flow::Behind { after } => after,
        }
    }

    /// Whether an entry of the log was handed out before the node ended.
    pub fn was_claimed(&mut self, sequence: Sequence) -> bool {
        let was_claimed = !self.claimed.is_empty() && self.claimed.remove(&sequence.0);
        self.handed += usize::from(was_claimed);
        was_claimed
    }

    /// Whether the stored form is to be made anew before another message is handed out: what is to be remembered of
    /// those behind its position would become too much.
    #[must_use]
    pub fn is_store_due(&self) -> bool {
        self.handed >= HANDED_MAX && self.dirty && !self.kept_by.is_empty()
    }

    /// The stored form, when everything up to `seen` was shown to the group's shard.
    #[must_use]
    pub fn store(&mut self, seen: Sequence) -> Vec<u8> {
        self.handed = 0;
        let position = self.position(seen);
        let in_hand = self.in_hand.iter().filter(|(_, in_hand)| in_hand.entry.is_some()).map(|(&number, _)| number);
        let waiting = self.waiting.iter().filter(|(_, waiting)| waiting.qos > QoS::AtMostOnce);
        let waiting = waiting.map(|(&number, _)| number);
        let mut open: Vec<u64> = in_hand.chain(waiting).filter(|&number| number < UNLOGGED).collect();
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
            self.waiting.insert(number, Waiting { qos: QoS::AtLeastOnce, entry: None, after: Sequence::ZERO });
        }
    }

    /// A row of claims that is there when the node starts.
    pub fn restore_claim(&mut self, numbers: &[u64], row: &[u8]) {
        for &number in numbers {
            self.waiting.remove(&number);
            self.claimed.insert(number);
        }
        self.claims.push(row.into());
    }

    /// A delivery that a stored session has begun.
    pub fn restore_begun(&mut self, (client_id, session): (&str, u64), shared: &Shared, qos: QoS) {
        let number = shared.number;
        self.waiting.remove(&number);
        self.claimed.insert(number);
        let (name, after) = (name_of(client_id, &shared.filter), Sequence::ZERO);
        let session = Some(session);
        self.in_hand.insert(number, InHand { name, to: None, qos, published: qos, entry: None, session, after });
    }

    // Places -----------------------------------------------------------------------------------------------------------

    fn slot_of(&self, id: &MemberId) -> Option<usize> {
        self.places.iter().find(|(_, place)| place.member.id == *id).map(|(slot, _)| slot)
    }

    fn remove(&mut self, slot: usize) {
        let place = self.places.remove(slot);
        self.names.remove(&place.name);
        self.ready.retain(|&other| other != slot);
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

    fn take_from_hand(&mut self, number: u64) -> Option<InHand> {
        let in_hand = self.in_hand.remove(&number)?;
        self.dirty = true;
        if let Some(&slot) = self.names.get(&in_hand.name) {
            let had_room = self.places[slot].has_room();
            self.places[slot].in_hand = self.places[slot].in_hand.saturating_sub(1);
            if !had_room {
                self.settle(slot);
            }
        }
        Some(in_hand)
    }
}

/// Whether a member may see a message. And a session that outlives its connection has to find it in the log again.
fn suits(member: &Member, offer: Offer<'_>) -> bool {
    let is_kept = offer.number < UNLOGGED || !member.durable || offer.qos.min(member.qos) == QoS::AtMostOnce;
    is_kept && member.rights.view(offer.table, offer.topic) != View::Nothing
}

fn name_of(client_id: &str, filter: &str) -> Arc<str> {
    [client_id, "\0", filter].concat().into()
}

/// The key of the group that shares `filter`, in its canonical spelling, under a name.
#[must_use]
pub fn key_of(name: &str, filter: &str) -> Box<str> {
    [name, "/", filter].concat().into()
}

/// The filter in a group's key: its name has no slash [MQTT-4.8.2-2].
#[must_use]
pub fn filter_of(key: &str) -> &str {
    key.split_once('/').map_or("", |(_, filter)| filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(client_id: &str, credit: u16) -> Member {
        let slot = u32::from(client_id.as_bytes()[0]);
        let connection = ConnectionId { slot, generation: 1 };
        let id = MemberId { shard: 0, connection, filter: "$share/g/#".into(), entrance: 1 };
        let rights = Rights::Everything;
        Member { id, client_id: client_id.into(), qos: QoS::AtLeastOnce, durable: false, session: 1, credit, rights }
    }

    fn group(members: &[Member]) -> Group {
        let mut group = Group::new("g/#", Flow::Live, Sequence::ZERO);
        for member in members {
            group.join(member.clone(), &[], Sequence::ZERO);
        }
        group
    }

    fn offer(number: u64) -> Offer<'static> {
        Offer { number, qos: QoS::AtLeastOnce, table: TableId::TOPICS, topic: "x" }
    }

    /// Hands out a message; who got it.
    fn hand(group: &mut Group, number: u64) -> Option<char> {
        let hand = group.hand(offer(number), &Bytes::from_static(b"x"), Sequence::ZERO)?;
        char::from_u32(hand.member.connection.slot)
    }

    #[test]
    fn members_with_room_take_turns() {
        let mut group = group(&[member("a", 2), member("b", 3)]);
        let turns: Vec<_> = (1..=6).map(|number| hand(&mut group, number)).collect();
        assert_eq!(turns, [Some('a'), Some('b'), Some('a'), Some('b'), Some('b'), None]);
        group.done(3);
        assert_eq!((hand(&mut group, 7), hand(&mut group, 8)), (Some('a'), None));
    }

    #[test]
    fn what_a_member_had_not_begun_waits_for_another_when_it_leaves() {
        let (a, b) = (member("a", 5), member("b", 5));
        let mut group = group(std::slice::from_ref(&a));
        for number in 1..=3 {
            hand(&mut group, number);
        }
        group.leave(&a.id, &[2]);
        assert_eq!(group.next(), Next::Nothing);
        group.join(b, &[], Sequence::ZERO);
        assert_eq!(group.next(), Next::Hand(1));
        assert!(group.take_waiting(1).is_some());
        assert_eq!(group.next(), Next::Hand(3));
        assert!(group.take_waiting(3).is_some());
        assert_eq!(group.next(), Next::Nothing);
        assert!(group.session_ended("a"));
        assert_eq!(group.next(), Next::Hand(2));
    }

    #[test]
    fn what_a_member_that_comes_back_does_not_know_of_waits_again() {
        let (a, again) = (member("a", 5), MemberId { shard: 1, ..member("a", 5).id });
        let mut group = group(std::slice::from_ref(&a));
        for number in 1..=3 {
            hand(&mut group, number);
        }
        group.leave(&a.id, &[1, 2, 3]);
        group.join(Member { id: again, ..a }, &[1, 3], Sequence::ZERO);
        assert_eq!(group.next(), Next::Hand(2));
        assert!(group.take_waiting(2).is_some());
        assert_eq!(group.next(), Next::Nothing);
    }

    #[test]
    fn what_was_handed_out_before_a_refusal_comes_back_and_does_not_refuse_again() {
        let a = member("a", 5);
        let mut group = group(std::slice::from_ref(&a));
        hand(&mut group, 1);
        hand(&mut group, 2);
        group.refused(&a.id, 1, 1, None, usize::MAX);
        assert_eq!(hand(&mut group, 3), None);
        group.room(&a.id, 1);
        group.refused(&a.id, 2, 1, None, usize::MAX);
        assert_eq!(group.next(), Next::Hand(1));
        assert_eq!(group.hand(offer(1), &Bytes::new(), Sequence::ZERO).map(|hand| hand.turn), Some(1));
    }

    #[test]
    fn what_is_not_acknowledged_is_nobodys_to_have_in_hand() {
        let a = member("a", 1);
        let mut group = group(std::slice::from_ref(&a));
        let event = Bytes::from_static(b"event");
        let offer = |number| Offer { qos: QoS::AtMostOnce, ..offer(UNLOGGED | number) };
        let mut hand_out = |number| group.hand(offer(number), &event, Sequence::ZERO);
        assert!((1..10).all(|number| hand_out(number).is_some_and(|hand| !hand.is_awaited)));
        // It comes back with its bytes if there is no room, and waits as far as there is some in the group.
        let back = |qos| Some((qos, event.clone()));
        assert!(group.refused(&a.id, UNLOGGED | 8, 1, back(QoS::AtMostOnce), event.len()));
        assert!(!group.refused(&a.id, UNLOGGED | 9, 1, back(QoS::AtMostOnce), event.len()));
        assert_eq!(group.next(), Next::Nothing);
        group.room(&a.id, 1);
        assert_eq!(group.next(), Next::Hand(UNLOGGED | 8));
    }

    #[test]
    fn what_a_member_has_no_room_for_with_qos_0_goes_to_another_with_the_qos_it_was_published_with() {
        let a = Member { qos: QoS::AtMostOnce, ..member("a", 5) };
        let mut group = group(std::slice::from_ref(&a));
        let event = Bytes::from_static(b"event");
        for number in [1, 2, UNLOGGED | 1] {
            assert!(group.hand(offer(number), &event, Sequence::ZERO).is_some_and(|hand| !hand.is_awaited));
        }
        let back = Some((QoS::AtLeastOnce, event.clone()));
        assert!(group.refused(&a.id, 1, 1, back.clone(), event.len()));
        assert!(group.refused(&a.id, 2, 1, back.clone(), event.len()), "the log has it");
        assert!(!group.refused(&a.id, UNLOGGED | 1, 1, back, event.len()), "the log has it not");
        assert_eq!(group.store(Sequence(2)), br#"{"position":2,"open":[1,2]}"#);
        group.join(member("b", 5), &[], Sequence::ZERO);
        assert_eq!(group.next(), Next::Hand(1));
        assert!(group.take_waiting(1).is_some_and(|(qos, ..)| qos == QoS::AtLeastOnce));
        assert_eq!(group.next(), Next::Fetch(vec![2]));
    }

    #[test]
    fn a_refusal_that_comes_late_takes_nothing_from_another() {
        let (a, b) = (member("a", 5), member("b", 5));
        let mut group = group(std::slice::from_ref(&a));
        hand(&mut group, 1);
        group.leave(&a.id, &[]);
        group.join(b, &[], Sequence::ZERO);
        assert!(group.take_waiting(1).is_some());
        assert_eq!(hand(&mut group, 1), Some('b'));
        group.refused(&a.id, 1, 0, None, usize::MAX);
        assert_eq!(group.next(), Next::Nothing);
    }

    #[test]
    fn what_a_member_refuses_of_an_earlier_time_it_was_in_is_another_s_by_now() {
        let a = member("a", 5);
        let again = Member { id: MemberId { entrance: 2, ..a.id.clone() }, ..a.clone() };
        let mut group = group(std::slice::from_ref(&a));
        hand(&mut group, 1);
        group.leave(&a.id, &[]);
        group.join(again, &[], Sequence::ZERO);
        assert!(group.take_waiting(1).is_some());
        assert_eq!(hand(&mut group, 1), Some('a'));
        group.refused(&a.id, 1, 0, None, usize::MAX);
        assert_eq!(group.next(), Next::Nothing);
    }

    #[test]
    fn what_a_stored_group_has_open_behind_its_position_does_not_come_from_the_log_as_well() {
        let mut group = Group::new("g/#", Flow::Live, Sequence::ZERO);
        group.restore(br#"{"position":5,"open":[4,9]}"#, &FxHashSet::default());
        assert!(group.was_claimed(Sequence(9)) && !group.was_claimed(Sequence(4)));
    }

    #[test]
    fn what_is_over_behind_the_position_of_a_stored_group_is_over_after_another_restart_too() {
        let mut group = Group::new("g/#", Flow::Live, Sequence::ZERO);
        group.restore(br#"{"position":5,"open":[9],"held":{"7":[11]}}"#, &FxHashSet::from_iter([7]));
        group.restore_claim(&[4, 7, 12], b"row");
        group.join(Member { qos: QoS::ExactlyOnce, ..member("a", 5) }, &[], Sequence(5));
        group.fetched(9, Some((QoS::ExactlyOnce, Bytes::from_static(b"x"))));
        let (qos, entry, after) = group.take_waiting(9).expect("it was read");
        assert!(group.hand(Offer { qos, ..offer(9) }, &entry, after).is_some());
        assert_eq!(
            String::from_utf8_lossy(&group.store(Sequence(5))),
            r#"{"position":5,"open":[9],"ahead":[7,11,12]}"#
        );
        group.done(9);
        let row = group.store(Sequence(5));
        assert_eq!(String::from_utf8_lossy(&row), r#"{"position":5,"ahead":[7,9,11,12]}"#);
        let mut again = Group::new("g/#", Flow::Live, Sequence::ZERO);
        again.restore(&row, &FxHashSet::default());
        let claimed: Vec<u64> = (6..=9).filter(|&number| again.was_claimed(Sequence(number))).collect();
        assert_eq!(claimed, [7, 9]);
        again.flow = Flow::Behind { after: Sequence(11) };
        assert_eq!(
            again.store(Sequence(20)),
            br#"{"position":11,"ahead":[12]}"#,
            "what it has passed needs no telling"
        );
    }

    #[test]
    fn what_a_session_gave_back_is_not_its_own_again_after_a_restart() {
        let mut group = Group::new("g/#", Flow::Live, Sequence::ZERO);
        let sessions = FxHashSet::from_iter([7]);
        group.restore(br#"{"position":5}"#, &sessions);
        let shared = Shared { group: "g/#".into(), filter: "$share/g/#".into(), number: 9 };
        group.restore_begun(("a", 7), &shared, QoS::AtLeastOnce);
        group.restore_claim(&[8, 9], b"row");
        group.put_back(9); // It may not read it any more.
        let row = group.store(Sequence(5));
        assert_eq!(String::from_utf8_lossy(&row), r#"{"position":5,"open":[9],"ahead":[8]}"#);
        let needless = group.take_claims();
        let mut again = Group::new("g/#", Flow::Live, Sequence::ZERO);
        again.restore(&row, &sessions);
        if !needless.contains(&b"row"[..].into()) {
            again.restore_claim(&[8, 9], b"row");
        }
        again.join(member("b", 5), &[], Sequence(5));
        assert_eq!(again.next(), Next::Fetch(vec![9]));
    }

    #[test]
    fn a_group_is_stored_before_it_has_handed_out_more_than_it_is_to_remember() {
        let mut group = group(&[member("a", u16::MAX)]);
        group.kept_by.insert((*b"row").into());
        let entry = Bytes::from_static(b"x");
        for number in 1..HANDED_MAX as u64 {
            group.hand(offer(number), &entry, Sequence::ZERO);
            group.hand(Offer { qos: QoS::AtMostOnce, ..offer(number) }, &entry, Sequence::ZERO);
            assert!(!group.is_store_due());
        }
        group.hand(offer(HANDED_MAX as u64), &entry, Sequence::ZERO);
        assert!(group.is_store_due());
        let row = group.store(Sequence::ZERO);
        assert!(!group.is_store_due());
        // What was handed out before a restart counts like what is handed out.
        let mut again = Group::new("g/#", Flow::Live, Sequence::ZERO);
        again.restore(&row, &FxHashSet::default());
        again.kept_by.insert((*b"row").into());
        let passes = |&number: &u64| again.was_claimed(Sequence(number)) && again.is_store_due();
        assert_eq!((1..=HANDED_MAX as u64).find(passes), Some(HANDED_MAX as u64));
    }

    #[test]
    fn what_one_member_refuses_another_gets_with_the_qos_it_was_published_with() {
        let (a, b) = (member("a", 5), Member { qos: QoS::ExactlyOnce, ..member("b", 5) });
        let mut group = group(&[a.clone(), b.clone()]);
        let entry = Bytes::from_static(b"x");
        let offer = |qos| Offer { qos, ..offer(1) };
        assert!(group.hand(offer(QoS::ExactlyOnce), &entry, Sequence::ZERO).is_some_and(|hand| hand.member == a.id));
        group.refused(&a.id, 1, 1, None, usize::MAX);
        let (qos, entry, after) = group.take_waiting(1).expect("it came back");
        assert!(group.hand(offer(qos), &entry, after).is_some_and(|hand| hand.member == b.id));
        group.leave(&b.id, &[1]);
        assert!(group.session_ended("b"));
        group.room(&a.id, 1);
        assert_eq!(group.next(), Next::Nothing, "nobody else gets it [MQTT-4.8.2-5]");
    }

    #[test]
    fn what_a_session_comes_back_with_is_held_by_it() {
        let a = Member { durable: true, session: 7, ..member("a", 5) };
        let again = Member { id: MemberId { shard: 1, ..a.id.clone() }, ..a.clone() };
        let mut group = group(std::slice::from_ref(&a));
        hand(&mut group, 1);
        assert_eq!(group.store(Sequence(1)), br#"{"position":1,"open":[1]}"#);
        group.leave(&a.id, &[1]);
        group.dirty = false; // It was written down when nobody was there.
        group.join(again, &[1], Sequence(1));
        assert!(group.dirty, "else it would be handed out again, were the node to end once it is acknowledged");
        assert_eq!(group.store(Sequence(1)), br#"{"position":1,"held":{"7":[1]}}"#);
    }

    #[test]
    fn a_new_session_is_not_handed_with_qos_2_what_an_earlier_one_of_its_client_had_taken_over() {
        // [MQTT-4.8.2-5]
        let (earlier, new) = (7, 8);
        let filter: Box<str> = (&*member("a", 5).id.filter).into();
        for (qos, waits) in [
            (QoS::ExactlyOnce, Next::Log(Sequence(5))),
            (QoS::AtLeastOnce, Next::Fetch(vec![4])), // Another is to get that.
        ] {
            let mut group = Group::new("g/#", Flow::Live, Sequence::ZERO);
            group.restore(br#"{"position":5}"#, &FxHashSet::from_iter([earlier]));
            let shared = Shared { group: "g/#".into(), filter: filter.clone(), number: 4 };
            group.restore_begun(("a", earlier), &shared, qos);
            group.join(Member { qos, durable: true, session: new, ..member("a", 5) }, &[], Sequence(5));
            assert_eq!(group.next(), waits, "{qos:?}");
        }
    }

    #[test]
    fn what_a_session_had_taken_over_that_is_gone_goes_to_another_after_a_restart() {
        let two = Member { qos: QoS::ExactlyOnce, ..member("b", 5) };
        let mut group = group(&[member("a", 5), two]);
        let offer = |number| Offer { qos: QoS::ExactlyOnce, ..offer(number) };
        for number in 1..=4 {
            group.hand(offer(number), &Bytes::from_static(b"x"), Sequence::ZERO);
        }
        group.claimed(7, &[1, 3], b"row");
        group.claimed(8, &[2, 4], b"row");
        group.done(1);
        let row = group.store(Sequence(4));
        assert_eq!(String::from_utf8_lossy(&row), r#"{"position":4,"held":{"7":[3]}}"#);
        for (sessions, waits) in [(vec![7, 8], Next::Log(Sequence(4))), (vec![8], Next::Fetch(vec![3]))] {
            let mut again = Group::new("g/#", Flow::Live, Sequence::ZERO);
            again.restore(&row, &FxHashSet::from_iter(sessions));
            again.join(member("c", 5), &[], Sequence::ZERO);
            assert_eq!(again.next(), waits);
        }
    }

    #[test]
    fn what_a_stored_group_hands_out_again_with_qos_2_is_nobody_else_s() {
        // [MQTT-4.8.2-5]
        let mut group = Group::new("g/#", Flow::Live, Sequence::ZERO);
        group.restore(br#"{"position":5,"open":[4]}"#, &FxHashSet::default());
        let a = Member { qos: QoS::ExactlyOnce, durable: true, ..member("a", 5) };
        group.join(a.clone(), &[], Sequence(5));
        group.fetched(4, Some((QoS::ExactlyOnce, Bytes::from_static(b"x"))));
        let (qos, entry, after) = group.take_waiting(4).expect("it was read");
        assert!(group.hand(Offer { qos, ..offer(4) }, &entry, after).is_some());
        group.leave(&a.id, &[4]);
        assert!(group.session_ended("a"));
        group.join(member("b", 5), &[], Sequence(5));
        assert_eq!(group.next(), Next::Log(Sequence(5)));
    }

    #[test]
    fn a_stored_group_hands_out_again_what_no_session_has() {
        let mut group = group(&[member("a", 5)]);
        for number in 5..=8 {
            hand(&mut group, number);
        }
        group.claimed(1, &[6], b"row");
        group.done(7);
        let row = group.store(Sequence(8));
        let mut again = Group::new("g/#", Flow::Live, Sequence::ZERO);
        again.restore(&row, &FxHashSet::from_iter([1]));
        again.restore_claim(&[8, 9], b"row");
        assert_eq!(again.flow, Flow::Behind { after: Sequence(8) });
        assert!(again.was_claimed(Sequence(9)) && !again.was_claimed(Sequence(10)));
        again.join(member("b", 5), &[], Sequence::ZERO);
        assert_eq!(again.next(), Next::Fetch(vec![5]));
    }
}
