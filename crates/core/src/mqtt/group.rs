//! One shared subscription (MQTT 5 §4.8.2): who is in the group, whose turn it is, what each has in hand.
//!
//! Bookkeeping only: no message is looked at, none is sent. The shard that owns the group reads for it and hands out.

mod mail;
mod members;
mod stored;
mod waiting;

pub use mail::{Address, Hand, Hands, ShareMail};
pub use members::{Member, MemberId};
pub use stored::StoredGroup;

use super::session::Flow;
use crate::limits::HANDED_MAX;
use crate::names::NameSet;
use crate::position::{Sequence, TableId};
use bytes::Bytes;
use members::{Members, Receiver};
use rowcast_codec::QoS;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use waiting::{Message, Waiting};

/// What was handed to a member and is not done.
#[derive(Debug)]
struct InHand {
    /// [`Member::name`].
    name: Arc<str>,
    /// Who it was when it was given this; `None`: before the node started.
    to: Option<Arc<Address>>,
    qos: QoS,
    /// What it was published with: another member may get it with more.
    published: QoS,
    /// The message; `None`: the member's session keeps it.
    entry: Option<Bytes>,
    /// The number of that session.
    session: Option<u64>,
    after: Sequence,
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

/// Numbers from here on are of messages that stand in no log. No other message of its owner has the same, in whichever
/// group it was: members that have left may still speak of it when there is another group of the same name.
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
    pub kept_by: NameSet<Box<[u8]>>,
    /// Rows of [`TableId::CLAIMS`](crate::TableId::CLAIMS) that say what sessions have taken over since the stored form.
    claims: Vec<Box<[u8]>>,
    members: Members,
    in_hand: FxHashMap<u64, InHand>,
    waiting: Waiting,
    /// Messages behind the position that were handed out before the node ended.
    claimed: BTreeSet<u64>,
    /// How many messages were handed out, or found to have been, since the stored form was made.
    handed: usize,
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
            kept_by: NameSet::default(),
            claims: Vec::new(),
            members: Members::default(),
            in_hand: FxHashMap::default(),
            waiting: Waiting::default(),
            claimed: BTreeSet::new(),
            handed: 0,
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
        self.kept_by.is_empty() && self.members.is_empty()
    }

    /// Whether somebody is connected.
    #[must_use]
    pub fn is_attended(&self) -> bool {
        !self.members.is_empty()
    }

    // Members ----------------------------------------------------------------------------------------------------------

    /// Somebody is in. `seen`: everything up to here was shown to this shard.
    pub fn join(&mut self, member: Member, begun: &[u64], seen: Sequence) {
        let name = member.name();
        if self.members.renew(&name, &member) {
            return;
        }
        self.members.remove(&name);
        if self.members.is_empty() {
            self.away_until = seen;
        }
        self.end_earlier_sessions(&name, member.session);
        // That it had begun more could not be written down, nor did it go out.
        self.put_back_of(&name, begun);
        self.take_over(&member, begun);
        let in_hand = self.in_hand.values().filter(|in_hand| in_hand.name == name).count();
        self.members.add(name, &self.key, member, in_hand);
    }

    /// Somebody left: what it had not begun waits for another.
    pub fn leave(&mut self, id: &MemberId, begun: &[u64]) {
        let Some(name) = self.members.name(id) else { return };
        self.put_back_of(&name, begun);
        self.members.remove(&name);
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
        if self.in_hand.get(&number).is_some_and(|in_hand| in_hand.to.as_ref().is_some_and(|to| to.member == *id)) {
            self.put_back(number);
        }
        let kept = entry.is_none_or(|(qos, entry)| self.keep_refused(number, qos, entry, bytes_max));
        self.members.refused(id, turn);
        kept
    }

    /// What nobody has acknowledged, nor needs to, waits again. One that has to reach a member and finds no room either
    /// is read from the log when there is some.
    fn keep_refused(&mut self, number: u64, qos: QoS, entry: Bytes, bytes_max: usize) -> bool {
        let kept = self.keep(number, qos, entry, Sequence::ZERO, bytes_max);
        let is_read_again = !kept && qos > QoS::AtMostOnce && number < UNLOGGED;
        if is_read_again {
            self.waiting.insert(number, Message::of_log(qos));
        }
        self.dirty |= qos > QoS::AtMostOnce;
        kept || is_read_again
    }

    /// There is room again.
    pub fn room(&mut self, id: &MemberId, turn: u32) {
        self.members.has_room_again(id, turn);
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
            self.waiting.insert(number, Message { qos, entry, after });
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
        let is_of_now =
            |Address { member: to, .. }: &Address| (to.shard, to.connection) == (member.id.shard, member.id.connection);
        for number in begun.iter().filter(|_| member.durable) {
            let in_hand = self.in_hand.get_mut(number);
            if let Some(in_hand) = in_hand.filter(|in_hand| !in_hand.to.as_deref().is_some_and(is_of_now)) {
                self.dirty |= in_hand.entry.is_some();
                (in_hand.entry, in_hand.session) = (None, Some(member.session));
            }
        }
    }

    /// The stored session of a client is gone: what it had not acknowledged goes to another, unless its QoS is 2
    /// [MQTT-4.8.2-5].
    pub fn session_ended(&mut self, client_id: &str) -> bool {
        let of_client = |name: &str| name.strip_prefix(client_id).is_some_and(|rest| rest.starts_with('\0'));
        let gone = |in_hand: &InHand| of_client(&in_hand.name) && !self.members.has(&in_hand.name);
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
        if self.reading || !self.members.is_ready() {
            return Next::Nothing;
        }
        if let Some((number, message)) = self.first_due() {
            return match message.entry {
                Some(_) => Next::Hand(number),
                None => Next::Fetch(self.waiting.unread().take(FETCHED_MAX).collect()),
            };
        }
        match self.flow {
            Flow::Behind { after } => Next::Log(after),
            Flow::Live => Next::Nothing,
        }
    }

    /// The message that is to be handed out before anything of the log.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        self.first_due().map(|(number, _)| number)
    }

    fn first_due(&self) -> Option<(u64, &Message)> {
        self.waiting.first().filter(|(_, message)| self.flow.has_reached(message.after))
    }

    /// Whether a message from the log goes out before `sequence` does.
    #[must_use]
    pub fn is_due_before(&self, sequence: Sequence) -> bool {
        self.waiting.first().is_some_and(|(_, message)| message.after < sequence)
    }

    /// Takes a message that waits.
    pub fn take_waiting(&mut self, number: u64) -> Option<(QoS, Bytes, Sequence)> {
        let Message { qos, entry, after } = self.waiting.remove(number)?;
        let entry = entry?;
        self.dirty = true;
        Some((qos, entry, after))
    }

    /// A message that waits was read again, with what it was published with; `None`: it is gone.
    pub fn fetched(&mut self, number: u64, entry: Option<(QoS, Bytes)>) {
        self.waiting.read(number, entry);
    }

    /// Bytes of messages that wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.bytes()
    }

    /// Whether nothing waits that it has passed in the log.
    #[must_use]
    pub fn is_level(&self) -> bool {
        self.flow == Flow::Live && self.waiting.is_empty()
    }

    /// Keeps a message that stands in no log until there is room. `false`: too much waits already.
    pub fn keep(&mut self, number: u64, qos: QoS, entry: Bytes, after: Sequence, bytes_max: usize) -> bool {
        if self.waiting.bytes() + entry.len() > bytes_max {
            return false;
        }
        self.waiting.insert(number, Message { qos, entry: Some(entry), after });
        true
    }

    /// Whether there is somebody with room, for whatever message.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.members.is_ready()
    }

    /// Whether anybody who is there could be given a message, with room or without.
    #[must_use]
    pub fn could_give(&self, offer: Offer<'_>) -> bool {
        self.members.could_take(offer)
    }

    /// Whether those who are there may not see a message, which then is not for the group.
    #[must_use]
    pub fn is_for_nobody(&self, offer: Offer<'_>) -> bool {
        self.is_attended() && !self.could_give(offer)
    }

    /// Gives a message to the member whose turn it is; `None`: nobody has room. Where the group has to keep its `entry`,
    /// it asks for that.
    pub fn hand(&mut self, offer: Offer<'_>, entry: impl FnOnce() -> Bytes, after: Sequence) -> Option<Hand> {
        let Offer { number, qos: published, .. } = offer;
        let Receiver { address, name, qos, turn } = self.members.give(offer)?;
        let hand = Hand { to: Arc::clone(address), number, turn, is_awaited: qos > QoS::AtMostOnce };
        self.handed += usize::from(hand.is_awaited);
        if hand.is_awaited {
            let (name, to, entry) = (Arc::clone(name), Some(Arc::clone(address)), Some(entry()));
            self.in_hand.insert(number, InHand { name, to, qos, published, entry, session: None, after });
        }
        self.dirty = true;
        Some(hand)
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

    fn take_from_hand(&mut self, number: u64) -> Option<InHand> {
        let in_hand = self.in_hand.remove(&number)?;
        self.dirty = true;
        self.members.lighten(&in_hand.name);
        Some(in_hand)
    }
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
mod tests;
