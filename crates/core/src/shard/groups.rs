//! Shared subscriptions, as the shard sees them that owns them: one shard for each group, so that its order and "to one
//! member only" are nobody else's business. Members may be on any shard; `share` is their side.
//!
//! A group reads the log like a session does, live or behind, and hands out what it finds to the members that have
//! room. See `docs/decisions/0008-shared-subscriptions.md`.

use super::catchup::{READ_BYTES, Turn, selects};
use super::chores::Chore;
use super::claims::Claims;
use super::durable::canonical;
use super::lag::Lag;
use super::{Effect, Fetched, Found, Input, Reader, Shard, Wanted};
use crate::change::{Entry, internal_delete, internal_row};
use crate::interest::{Interest, Subscriber, Subscription};
use crate::mqtt::group::{Group, Hand, Hands, Member, MemberId, Next, Offer, ShareMail, UNLOGGED, filter_of, key_of};
use crate::mqtt::session::{Flow, StoredSession, rows};
use crate::names::NameMap;
use crate::position::{Sequence, TableId};
use crate::proposal::{Batch, Durability, Outcome, Token};
use crate::tables::Tables;
use bytes::Bytes;
use rowcast_codec::{QoS, TopicFilter};
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use slab::Slab;
use std::hash::Hasher;
use std::sync::Arc;

/// A group of a shard. Numbers of those that are over come back with another generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupId {
    slot: u32,
    generation: u32,
}

/// The groups that a shard owns.
pub(super) struct Groups {
    groups: Slab<(u32, Group)>, // With its generation.
    slots: NameMap<Arc<str>, usize>,
    /// Their filters; subscribers are slots.
    interest: Interest,
    generation: u32,
    /// How many messages that stand in no log were offered to groups.
    unlogged: u64,
    /// Stored forms on their way to the disk.
    storing: FxHashMap<Token, Storing>,
}

/// Where a group stands; claims go away with it, as it says what they say.
struct Storing {
    group: Arc<str>,
    claims: Vec<Box<[u8]>>,
}

impl Groups {
    pub(super) fn new(interest: Interest) -> Groups {
        Groups {
            groups: Slab::new(),
            slots: NameMap::default(),
            interest,
            generation: 0,
            unlogged: 0,
            storing: FxHashMap::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    fn slot(&self, key: &str) -> Option<usize> {
        self.slots.get(key).copied()
    }

    fn get(&mut self, slot: usize) -> Option<&mut Group> {
        self.groups.get_mut(slot).map(|(_, group)| group)
    }

    /// The group with this key, which begins as `new` says if there is none.
    fn get_or(&mut self, key: &str, new: impl FnOnce() -> Group) -> usize {
        if let Some(slot) = self.slot(key) {
            return slot;
        }
        let group = new();
        self.generation = self.generation.wrapping_add(1);
        let key = Arc::clone(&group.key);
        let slot = self.groups.insert((self.generation, group));
        if let Ok(filter) = TopicFilter::new(filter_of(&key)) {
            self.interest.subscribe(&filter, subscription(slot));
        }
        self.slots.insert(key, slot);
        slot
    }

    fn remove(&mut self, slot: usize) -> Group {
        let (_, group) = self.groups.remove(slot);
        if let Ok(filter) = TopicFilter::new(group.filter()) {
            self.interest.unsubscribe(&filter, Subscriber(slot as u32), 0);
        }
        self.slots.remove(&group.key);
        group
    }

    fn id(&self, slot: usize) -> GroupId {
        GroupId { slot: slot as u32, generation: self.groups[slot].0 }
    }

    fn find(&mut self, id: GroupId) -> Option<&mut Group> {
        let found = self.groups.get_mut(id.slot as usize)?;
        (found.0 == id.generation).then_some(&mut found.1)
    }
}

fn subscription(slot: usize) -> Subscription {
    Subscription { qos: QoS::ExactlyOnce, ..Subscription::of(Subscriber(slot as u32)) }
}

impl Shard {
    /// Which shard owns a group.
    pub(super) fn owner_of(&self, key: &str) -> u32 {
        let mut hasher = FxHasher::default();
        hasher.write(key.as_bytes());
        ((hasher.finish() >> 32) % u64::from(self.settings.shards.max(1))) as u32
    }

    /// A message of a group is over. What its owner is told of several goes as one.
    pub(super) fn tell_owner_done(&mut self, group: &str, number: u64) {
        let owner = self.owner_of(group);
        let mail = &mut self.share_mail[owner as usize];
        if let Some(ShareMail::Done { group: last, numbers }) = mail.last_mut()
            && **last == *group
        {
            numbers.push(number);
        } else {
            mail.push(ShareMail::Done { group: group.into(), numbers: vec![number] });
        }
    }

    /// Says something to the shard that owns a group.
    pub(super) fn tell_owner(&mut self, key: &str, mail: ShareMail) {
        let owner = self.owner_of(key);
        self.share_mail[owner as usize].push(mail);
    }

    /// Has a message brought to a member, which `encode` writes as an entry.
    fn post_hand(&mut self, slot: usize, hand: Hand, encode: impl FnOnce(&mut Vec<u8>)) {
        let mail = &mut self.share_mail[hand.to.member.shard as usize];
        if let Some(ShareMail::Hands(hands)) = mail.last_mut() {
            hands.push(hand, encode);
        } else {
            let mut hands = Hands::default();
            hands.push(hand, encode);
            mail.push(ShareMail::Hands(hands));
        }
        self.store_group_if_due(slot);
    }

    // What members say -------------------------------------------------------------------------------------------------

    pub(super) fn on_join(&mut self, key: &str, member: Member, begun: &[u64], since: Sequence) {
        let seen = self.seen;
        let flow = if since < seen { Flow::Behind { after: since } } else { Flow::Live };
        let slot = self.groups.get_or(key, || Group::new(key, flow, since));
        if let Ok(filter) = TopicFilter::new(filter_of(key)) {
            self.settings.reach.remove(self.settings.index, &filter); // The group's own count is there now.
        }
        if let Some(group) = self.groups.get(slot) {
            group.join(member, begun, seen);
        }
        self.pump_group(slot);
    }

    pub(super) fn on_leave(&mut self, key: &str, member: &MemberId, begun: &[u64]) {
        let Some(slot) = self.groups.slot(key) else { return };
        if let Some(group) = self.groups.get(slot) {
            group.leave(member, begun);
        }
        self.end_group_if_over(slot);
        self.pump_group(slot);
    }

    /// Something changed that may let a group go on.
    pub(super) fn on_group(&mut self, key: &str, change: impl FnOnce(&mut Group)) {
        let Some(slot) = self.groups.slot(key) else { return };
        if let Some(group) = self.groups.get(slot) {
            change(group);
        }
        self.pump_group(slot);
    }

    // Messages ---------------------------------------------------------------------------------------------------------

    /// Offers a message to the groups that select it.
    pub(super) fn offer_groups(&mut self, entry: &Entry<'_>, topic: &str) {
        if self.groups.is_empty() {
            return;
        }
        let mut encoded = None;
        for matching in &*self.groups.interest.matches(topic) {
            self.offer_group(matching.subscriber.0 as usize, (topic, entry), &mut encoded);
        }
    }

    fn offer_group(&mut self, slot: usize, (topic, entry): (&str, &Entry<'_>), encoded: &mut Option<Bytes>) {
        let seen = self.seen;
        let outbound_bytes = self.settings.limits.outbound_bytes as usize;
        let bytes_max = self.queue_bytes_max();
        let sequence = entry.sequence;
        let is_logged = sequence > Sequence::ZERO;
        self.groups.unlogged += u64::from(!is_logged);
        let unlogged = UNLOGGED | self.groups.unlogged;
        let Some(group) = self.groups.get(slot) else { return };
        if is_logged && (group.flow != Flow::Live || sequence <= group.live_after) {
            return; // The log brings it, or brought it.
        }
        let qos = entry.change.qos;
        let (number, after) = if is_logged { (sequence.0, Sequence::ZERO) } else { (unlogged, seen) };
        let offer = Offer { number, qos, table: entry.change.table, topic };
        if is_logged && group.is_for_nobody(offer) {
            return;
        }
        let is_behind = qos > QoS::AtMostOnce && group.flow != Flow::Live;
        let waits = is_behind || group.due().is_some();
        let mut encoded = || encoded.get_or_insert_with(|| entry.change.to_bytes().into()).clone();
        let hand = if waits { None } else { group.hand(offer, &mut encoded, after) };
        if let Some(hand) = hand {
            self.post_hand(slot, hand, |entries| entry.change.encode(entries));
        } else if is_logged && qos > QoS::AtMostOnce {
            group.flow = Flow::Behind { after: Sequence(sequence.0 - 1) };
            group.dirty = true;
        } else if group.could_give(offer) {
            let kept = group.keep(number, qos, encoded(), after, bytes_max);
            let lags = group.waiting_bytes() > outbound_bytes / 2;
            self.counters.dropped += u64::from(!kept);
            if lags {
                self.begin_group_lag(slot, topic);
            }
        }
    }

    /// What a group wants is logged until it is level again: see `lag`.
    fn begin_group_lag(&mut self, slot: usize, topic: &str) {
        if self.durable.wants(topic) {
            return;
        }
        let Some(group) = self.groups.get(slot) else { return };
        group.lagging = true;
        let filter = group.filter().into();
        self.tell_lag(Lag::Begins(vec![filter]));
    }

    /// Groups that are level with the log again need not be waited for any more.
    pub(super) fn end_group_lags(&mut self) {
        let mut filters = Vec::new();
        for (_, (_, group)) in &mut self.groups.groups {
            if group.lagging && group.is_level() {
                group.lagging = false;
                filters.push(group.filter().into());
            }
        }
        self.tell_lag(Lag::Ends(filters));
    }

    /// Goes on with what a group has, as far as its members have room.
    fn pump_group(&mut self, slot: usize) {
        loop {
            let Some(group) = self.groups.get(slot) else { return };
            match group.next() {
                Next::Nothing => return,
                Next::Hand(number) => {
                    if !self.hand_waiting(slot, number) {
                        return;
                    }
                }
                Next::Fetch(numbers) => {
                    group.reading = true;
                    let wanted = |number| Wanted { number, sequence: Sequence(number), record: None };
                    let messages = numbers.into_iter().map(wanted).collect();
                    let reader = Reader::Group(self.groups.id(slot));
                    self.effects.push(Effect::Fetch { reader, messages });
                    return;
                }
                Next::Log(after) if after >= self.seen => {
                    group.live_after = after;
                    group.flow = Flow::Live;
                }
                Next::Log(after) => {
                    group.reading = true;
                    let reader = Reader::Group(self.groups.id(slot));
                    self.effects.push(Effect::ReadLog { reader, after, bytes: READ_BYTES });
                    return;
                }
            }
        }
    }

    /// Hands out a message that waits. `false`: whom it could be given to have no room.
    fn hand_waiting(&mut self, slot: usize, number: u64) -> bool {
        let Some(group) = self.groups.get(slot) else { return false };
        let Some((qos, bytes, after)) = group.take_waiting(number) else { return false };
        let Ok((entry, _)) = Entry::decode(&bytes, Sequence::ZERO) else { return false };
        let (table, topic) = (entry.change.table, &mut self.scratch.topic);
        let is_topic = self.tables.topic(table, entry.change.key, topic);
        let offer = Offer { number, qos, table, topic };
        match group.hand(offer, || bytes.clone(), after) {
            Some(hand) => self.post_hand(slot, hand, |entries| entries.extend_from_slice(&bytes)),
            None if is_topic && group.could_give(offer) => {
                group.keep(number, qos, bytes, after, usize::MAX); // It was counted before.
                return false;
            }
            None => self.counters.dropped += 1, // Whom it was for is gone, or may not see it any more.
        }
        true
    }

    /// A piece of the log for a group is here.
    pub(super) fn on_group_log_read(&mut self, id: GroupId, batches: &[Arc<Batch>], lost_until: Option<Sequence>) {
        let Some(group) = self.groups.find(id) else { return };
        group.reading = false;
        let slot = id.slot as usize;
        if let (Some(oldest), Flow::Behind { after: position }) = (lost_until, group.flow) {
            group.flow = Flow::Behind { after: Sequence(oldest.0.saturating_sub(1)) };
            group.dirty = true;
            let client_id = format!("$share/{}", group.key).into();
            self.report_lost(client_id, position, oldest);
            return self.pump_group(slot);
        }
        let Flow::Behind { after } = group.flow else { return self.pump_group(slot) };
        let mut turn = Turn::behind(after);
        'read: for (at, batch) in batches.iter().enumerate() {
            for entry in batch.entries() {
                if !turn.has_room_for(entry.sequence) {
                    let Some(group) = self.groups.find(id) else { return };
                    group.reading = true;
                    let (reader, batches) = (Reader::Group(id), batches[at..].to_vec());
                    self.later(Input::LogRead { reader, batches, lost_until: None });
                    break 'read;
                }
                if !self.group_catch_up(slot, &entry) {
                    break 'read;
                }
            }
            self.advance_group(slot, batch.last());
        }
        self.pump_group(slot);
    }

    /// One entry of the log for a group that is behind. `false`: there is no room, or it is not its turn.
    fn group_catch_up(&mut self, slot: usize, entry: &Entry<'_>) -> bool {
        let Some(group) = self.groups.get(slot) else { return false };
        let Flow::Behind { after } = group.flow else { return false };
        let sequence = entry.sequence;
        if sequence <= after {
            return true;
        }
        let before = Sequence(sequence.0 - 1);
        if group.is_due_before(sequence) {
            self.advance_group(slot, before);
            return false;
        }
        let is_shown = !entry.change.table.is_internal() && !entry.superseded && !group.was_claimed(sequence);
        let mut topic = std::mem::take(&mut self.scratch.topic);
        let is_selected = is_shown
            && self.tables.topic(entry.change.table, entry.change.key, &mut topic)
            && selects(group.filter(), &topic);
        let qos = entry.change.qos;
        // QoS 0 is not kept for those who are away.
        let is_late = qos == QoS::AtMostOnce && sequence <= group.away_until;
        let mut is_handed = true;
        if is_selected && !is_late {
            let encoded = || entry.change.to_bytes().into();
            let offer = Offer { number: sequence.0, qos, table: entry.change.table, topic: &topic };
            match group.hand(offer, encoded, Sequence::ZERO) {
                Some(hand) => self.post_hand(slot, hand, |entries| entry.change.encode(entries)),
                None if group.is_for_nobody(offer) => {}
                // Those with room may not see it. It waits for one who may; to read it again would find the same.
                None if group.is_ready() => {
                    group.keep(sequence.0, qos, encoded(), Sequence::ZERO, usize::MAX);
                }
                None => is_handed = false,
            }
        }
        self.scratch.topic = topic;
        self.advance_group(slot, if is_handed { sequence } else { before });
        self.store_group_if_due(slot); // One that was handed out before counts as well.
        is_handed
    }

    fn advance_group(&mut self, slot: usize, sequence: Sequence) {
        if let Some(group) = self.groups.get(slot)
            && let Flow::Behind { after } = &mut group.flow
        {
            *after = (*after).max(sequence);
            group.dirty = true;
        }
    }

    /// Messages that came back to a group were read again.
    pub(super) fn on_group_fetched(&mut self, id: GroupId, messages: Vec<(u64, Fetched)>) {
        let Some(group) = self.groups.find(id) else { return };
        group.reading = false;
        let client_id: Box<str> = format!("$share/{}", group.key).into();
        let mut lost: Option<(Sequence, Sequence)> = None;
        for (number, fetched) in messages {
            let entry = match fetched {
                Fetched::Entry(batch, sequence) => {
                    let entry = batch.entries().find(|entry| entry.sequence == sequence);
                    entry.map(|entry| (entry.change.qos, entry.change.to_bytes().into()))
                }
                Fetched::Record(..) => None,
                Fetched::Gone => {
                    let first = lost.map_or(number, |(before, _)| before.0 + 1);
                    lost = Some((Sequence(first - 1), Sequence(number + 1)));
                    None
                }
            };
            self.counters.dropped += u64::from(entry.is_none());
            group.fetched(number, entry);
        }
        if let Some((before, behind)) = lost {
            self.report_lost(client_id, before, behind);
        }
        self.pump_group(id.slot as usize);
    }

    // What keeps a group -------------------------------------------------------------------------------------------------

    /// A session that outlives its connection subscribed, at `sequence`: the group waits for it.
    pub(super) fn keep_group(&mut self, row: &[u8], sequence: Sequence) {
        let Some(key) = self.own_group_of(row) else { return };
        let flow = if sequence < self.seen { Flow::Behind { after: sequence } } else { Flow::Live };
        let slot = self.groups.get_or(&key, || Group::new(&key, flow, sequence));
        if let Some(group) = self.groups.get(slot) {
            group.kept_by.insert(row.into());
            group.dirty = true;
            if let Flow::Behind { after } = &mut group.flow
                && !group.stored
            {
                *after = (*after).min(sequence); // When the node starts: it began with the first of them.
            }
        }
    }

    /// Such a subscription ended.
    pub(super) fn release_group(&mut self, row: &[u8]) {
        let Some(slot) = self.own_group_of(row).and_then(|key| self.groups.slot(&key)) else { return };
        let Some(group) = self.groups.get(slot) else { return };
        group.kept_by.remove(row);
        if group.kept_by.is_empty() && !group.is_over() {
            self.forget_stored(slot);
        }
        self.end_group_if_over(slot);
    }

    /// Sessions have written down which messages of a group they have taken over.
    pub(super) fn on_claims(&mut self, row: &[u8], value: &[u8]) {
        let Some(key) = Claims::group_of(row) else { return };
        if self.owner_of(key) != self.settings.index {
            return;
        }
        match self.groups.slot(key).and_then(|slot| self.groups.get(slot)) {
            Some(group) => {
                if let Ok(claims) = serde_json::from_slice::<Claims>(value) {
                    group.claimed(claims.session, &claims.numbers, row);
                }
            }
            None => self.proposals.push(None, Durability::Memory, &[internal_delete(TableId::CLAIMS, row)]),
        }
    }

    /// A stored session is no more.
    pub(super) fn on_session_gone(&mut self, client_id: &[u8]) {
        if self.groups.is_empty() {
            return;
        }
        let Ok(client_id) = std::str::from_utf8(client_id) else { return };
        let with_something =
            |(slot, (_, group)): (usize, &mut (u32, Group))| group.session_ended(client_id).then_some(slot);
        let slots: Vec<usize> = self.groups.groups.iter_mut().filter_map(with_something).collect();
        for slot in slots {
            self.pump_group(slot);
        }
    }

    /// The names of tables changed: filters may select other topics now.
    pub(super) fn rebuild_groups(&mut self) {
        let kept = self.groups.groups.iter_mut().flat_map(|(_, (_, group))| std::mem::take(&mut group.kept_by));
        let kept: Vec<Box<[u8]>> = kept.collect();
        for row in kept {
            self.keep_group(&row, self.seen);
        }
        let slots: Vec<usize> = self.groups.groups.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.end_group_if_over(slot);
        }
    }

    fn end_group_if_over(&mut self, slot: usize) {
        if self.groups.get(slot).is_some_and(|group| group.is_over()) {
            self.forget_stored(slot);
            let group = self.groups.remove(slot);
            if group.lagging {
                self.tell_lag(Lag::Ends(vec![group.filter().into()]));
            }
        }
    }

    /// Takes a group's rows away.
    fn forget_stored(&mut self, slot: usize) {
        let Some(group) = self.groups.get(slot) else { return };
        let (key, claims) = (Arc::clone(&group.key), group.take_claims());
        let is_stored = std::mem::take(&mut group.stored);
        self.remove_claims(claims);
        if is_stored {
            self.begin_chore(Chore::RemoveGroupRow { table: TableId::GROUPS, key: key.as_bytes().into() });
        }
    }

    /// Takes away claims of a group that there is no stored form of.
    fn remove_claims(&mut self, claims: Vec<Box<[u8]>>) {
        for key in claims {
            self.begin_chore(Chore::RemoveGroupRow { table: TableId::CLAIMS, key });
        }
    }

    /// What became of the stored form of a group. `false`: the proposal was another one.
    pub(super) fn on_group_stored(&mut self, token: Token, outcome: &Outcome) -> bool {
        let Some(Storing { group, claims }) = self.groups.storing.remove(&token) else { return false };
        if outcome.is_undecided() {
            match self.group(&group) {
                Some(group) => group.put_claims(claims),
                None => {
                    let removals = claims.into_iter().map(|key| Chore::RemoveGroupRow { table: TableId::CLAIMS, key });
                    removals.for_each(|removal| self.put_off(removal));
                }
            }
        }
        true
    }

    /// Whether there is a group with this key, and a stored form of it.
    pub(super) fn has_stored_group(&mut self, key: &[u8]) -> bool {
        let key = std::str::from_utf8(key).ok();
        key.and_then(|key| self.group(key)).is_some_and(|group| group.stored)
    }

    /// The group that a row of the subscriptions table keeps, if this shard owns it.
    fn own_group_of(&self, row: &[u8]) -> Option<Box<str>> {
        let key = group_of_row(&self.tables, row)?;
        (self.owner_of(&key) == self.settings.index).then_some(key)
    }

    /// Writes down where groups stand that outlive their members' connections, so that a restart repeats less.
    pub(super) fn store_dirty_groups(&mut self) {
        let is_due = |group: &Group| group.dirty && !group.kept_by.is_empty();
        let due = self.groups.groups.iter().filter(|(_, (_, group))| is_due(group));
        let due: Vec<usize> = due.map(|(slot, _)| slot).collect();
        for slot in due {
            self.store_group(slot);
        }
    }

    /// The same for a group that has handed out as much as there may be between two stored forms.
    fn store_group_if_due(&mut self, slot: usize) {
        if self.groups.get(slot).is_some_and(|group| group.is_store_due()) {
            self.store_group(slot);
        }
    }

    fn store_group(&mut self, slot: usize) {
        let (seen, token) = (self.seen, self.token(0));
        let Some(group) = self.groups.get(slot) else { return };
        (group.dirty, group.stored) = (false, true);
        let claims = group.take_claims();
        let (key, stored) = (Arc::clone(&group.key), group.store(seen));
        let mut changes = vec![internal_row(TableId::GROUPS, key.as_bytes(), &stored)];
        changes.extend(claims.iter().map(|row| internal_delete(TableId::CLAIMS, row)));
        self.proposals.push(Some(token), Durability::Memory, &changes);
        self.groups.storing.insert(token, Storing { group: key, claims });
    }

    // What is there when the node starts -----------------------------------------------------------------------------------

    /// What the store holds of groups when the node starts; after the rows of subscriptions.
    pub(super) fn restore_groups(&mut self, found: &Found) {
        let (mut sessions, mut begun) = (FxHashSet::default(), Vec::new());
        if !self.groups.is_empty() {
            for (client_id, row) in &found.sessions {
                let Ok(session) = serde_json::from_slice::<StoredSession>(row) else { continue };
                sessions.insert(session.id);
                let shared = session.in_flight.into_iter().filter_map(|(_, found)| Some((found.qos, found.shared?)));
                begun.extend(shared.map(|(qos, shared)| (client_id, session.id, qos, shared)));
            }
        }
        for (key, row) in &found.groups {
            let own = std::str::from_utf8(key).ok().filter(|group| self.owner_of(group) == self.settings.index);
            let Some(group) = own else { continue };
            match self.group(group) {
                Some(group) => group.restore(row, &sessions),
                None => self.proposals.push(None, Durability::Memory, &[internal_delete(TableId::GROUPS, key)]),
            }
        }
        // What a session has begun is not the group's to give.
        for (client_id, session, qos, shared) in begun {
            let qos = QoS::try_from(qos).unwrap_or(QoS::AtLeastOnce);
            if let Some(group) = self.group(&shared.group) {
                group.restore_begun((client_id, session), &shared, qos);
            }
        }
        for (key, row) in &found.claims {
            let own = Claims::group_of(key).filter(|group| self.owner_of(group) == self.settings.index);
            let Some(group) = own else { continue };
            // What a session had taken over that ended since goes to another, but for what has QoS 2.
            let claimed = serde_json::from_slice::<Claims>(row).ok().map(|claims| match claims {
                Claims { session, numbers, .. } if sessions.contains(&session) => numbers,
                Claims { once, .. } => once,
            });
            match (self.group(group), claimed.filter(|numbers| !numbers.is_empty())) {
                (Some(group), Some(numbers)) => group.restore_claim(&numbers, key),
                _ => self.proposals.push(None, Durability::Memory, &[internal_delete(TableId::CLAIMS, key)]),
            }
        }
    }

    fn group(&mut self, key: &str) -> Option<&mut Group> {
        self.groups.slot(key).and_then(|slot| self.groups.get(slot))
    }
}

/// The group that a row of the subscriptions table keeps.
fn group_of_row(tables: &Tables, row: &[u8]) -> Option<Box<str>> {
    let (_, true, spelled) = rows::parse_subscription(row)? else { return None };
    let filter = TopicFilter::new(spelled).ok()?;
    let name = filter.share()?;
    Some(key_of(name.as_str(), &canonical(tables, filter.filter())?))
}
