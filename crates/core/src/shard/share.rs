//! Shared subscriptions, as the shard of a member sees them: what a group hands out goes to the client, or back if
//! there is no room for it; the group hears when it is done. `groups` is the other side.

use super::connection::{Connection, ConnectionId, Phase};
use super::deliver::{self, Delivered, Outgoing, Selected};
use super::{Moment, Shard};
use crate::change::Entry;
use crate::interest::Subscription;
use crate::mqtt::group::{Address, Group, Hand, Member, MemberId, ShareMail, UNLOGGED, filter_of};
use crate::mqtt::session::Session;
use crate::mqtt::window::{Delivery, Shared};
use crate::policy::View;
use crate::position::Sequence;
use bytes::Bytes;
use rowcast_codec::{QoS, TopicFilter};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The groups that a connection is in, by the filters of its shared subscriptions, which may be very many.
#[derive(Debug, Default)]
pub(super) struct Memberships {
    by_filter: BTreeMap<Arc<str>, Membership>,
    /// Those where there was no room for a message, and the group was not told of any since.
    refusing: BTreeSet<Arc<str>>,
}

/// A group that a connection is in.
#[derive(Debug)]
struct Membership {
    group: Arc<str>,
    /// [`MemberId::entrance`].
    entrance: u32,
    /// How often there was no room for a message.
    turn: u32,
}

impl Memberships {
    /// There is no room: what the group hands out from here on comes back until it has heard of that. Returns whose turn
    /// it is then.
    fn refuse(&mut self, filter: &Arc<str>) -> u32 {
        let Some(membership) = self.by_filter.get_mut(filter) else { return 0 };
        membership.turn += 1;
        self.refusing.insert(Arc::clone(filter));
        membership.turn
    }

    /// Whether a group knows of it that it takes nothing, and is to be told when it does.
    pub(super) fn refuse_any(&self) -> bool {
        !self.refusing.is_empty()
    }

    fn remove(&mut self, filter: &str) -> Option<(Arc<str>, Membership)> {
        self.refusing.remove(filter);
        self.by_filter.remove_entry(filter)
    }
}

/// A durable session that a batch of mail brought something: the identifiers must be on disk before it goes out.
struct Taken {
    id: ConnectionId,
    sent_before: usize,
}

impl Shard {
    /// Mail between a group and its members.
    pub(super) fn on_share(&mut self, mail: Vec<ShareMail>, now: Moment) {
        let bytes_max = self.settings.limits.outbound_bytes as usize;
        let mut taken: Vec<Taken> = Vec::new();
        for mail in mail {
            match mail {
                ShareMail::Hands(hands) => {
                    hands.iter().for_each(|(hand, entry)| self.on_hand(hand, entry, &mut taken, now));
                }
                ShareMail::Join { group, member, begun, since } => self.on_join(&group, member, &begun, since),
                ShareMail::Leave { group, member, begun } => self.on_leave(&group, &member, &begun),
                ShareMail::Done { group, numbers } => {
                    self.on_group(&group, |group| numbers.into_iter().for_each(|number| group.done(number)));
                }
                ShareMail::Return { group, number } => self.on_group(&group, |group| group.put_back(number)),
                ShareMail::Back { from, number, turn, entry } => {
                    let (Address { group, member }, mut kept) = (&*from, true);
                    self.on_group(group, |group| kept = group.refused(member, number, turn, entry, bytes_max));
                    self.counters.dropped += u64::from(!kept);
                }
                ShareMail::Room { group, member, turn } => {
                    self.on_group(&group, |group: &mut Group| group.room(&member, turn));
                }
            }
        }
        for Taken { id, sent_before } in taken {
            self.hold(id, sent_before);
            self.wake(id);
        }
    }

    // Members come and go ------------------------------------------------------------------------------------------------

    /// Enters the group of a subscription, or tells it of other options.
    pub(super) fn enter_group(&mut self, id: ConnectionId, spelled: &str, since: Sequence) {
        let shard = self.settings.index;
        let Some(connection) = self.connection_mut(id) else { return };
        let Some(session) = &connection.session else { return };
        let Some(held) = session.subscriptions.get(spelled) else { return };
        let Some(group) = held.group() else { return };
        let group: Arc<str> = group.into();
        let filter: Arc<str> = spelled.into();
        let entered = connection.memberships.by_filter.get(&filter);
        let entrance = entered.map_or(connection.entrances + 1, |membership| membership.entrance);
        let is_new = entered.is_none();
        let member = Member {
            id: MemberId { shard, connection: id, filter: Arc::clone(&filter), entrance },
            client_id: session.client_id.clone(),
            qos: held.subscription.qos,
            durable: session.is_durable(),
            session: session.id.0,
            credit: session.window.receive_maximum(),
            rights: connection.rights.clone(),
        };
        let begun = begun(session, &group, &filter);
        if is_new {
            let membership = Membership { group: Arc::clone(&group), entrance, turn: 0 };
            connection.memberships.by_filter.insert(filter, membership);
            connection.entrances = entrance;
            self.memberships += 1;
        }
        // Whoever publishes before the owner has heard of it must find it all the same.
        if let Ok(filter) = TopicFilter::new(filter_of(&group)) {
            self.settings.reach.add(self.owner_of(&group), &filter);
        }
        let mail = ShareMail::Join { group: Arc::clone(&group), member, begun, since };
        self.tell_owner(&group, mail);
    }

    /// Tells the groups that a connection is in what it is by now. It is in none that is still on its way to the disk.
    pub(super) fn renew_memberships(&mut self, id: ConnectionId, now: Moment) {
        for filter in self.memberships_of(id) {
            self.enter_group(id, &filter, now.committed);
        }
    }

    /// The filters of the shared subscriptions by which a connection is in a group.
    pub(super) fn memberships_of(&self, id: ConnectionId) -> Vec<Arc<str>> {
        self.connection(id)
            .into_iter()
            .flat_map(|connection| connection.memberships.by_filter.keys().cloned())
            .collect()
    }

    /// Leaves the group of a subscription; what was begun is finished.
    pub(super) fn leave_group(&mut self, id: ConnectionId, spelled: &str) {
        let Some(connection) = self.connection_mut(id) else { return };
        let Some((filter, membership)) = connection.memberships.remove(spelled) else { return };
        let session = connection.session.as_ref();
        let begun = session.map(|session| begun(session, &membership.group, &filter)).unwrap_or_default();
        self.memberships -= 1;
        self.tell_left(id, (filter, membership), begun);
    }

    /// The connection ends, `session` with it or not.
    pub(super) fn leave_groups(&mut self, id: ConnectionId, session: &Session) {
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        let memberships = std::mem::take(&mut connection.memberships).by_filter;
        self.memberships -= memberships.len();
        for (filter, membership) in memberships {
            let begun = begun(session, &membership.group, &filter);
            self.tell_left(id, (filter, membership), begun);
        }
        if session.is_durable() {
            return; // What was begun goes on when it comes back [MQTT-4.8.2-4].
        }
        for (_, _, delivery) in session.window.in_flight() {
            let qos = QoS::try_from(delivery.qos).unwrap_or(QoS::ExactlyOnce);
            self.give_back(delivery.shared.clone(), qos);
        }
    }

    fn tell_left(&mut self, id: ConnectionId, (filter, membership): (Arc<str>, Membership), begun: Vec<u64>) {
        let Membership { group, entrance, .. } = membership;
        let member = MemberId { shard: self.settings.index, connection: id, filter, entrance };
        let mail = ShareMail::Leave { group: Arc::clone(&group), member, begun };
        self.tell_owner(&group, mail);
    }

    // Messages -----------------------------------------------------------------------------------------------------------

    /// A group gives a member something.
    fn on_hand(&mut self, hand: &Hand, encoded: &[u8], taken: &mut Vec<Taken>, now: Moment) {
        let Address { group, member } = &*hand.to;
        let id = member.connection;
        let is_taken = taken.iter().any(|taken| taken.id == id);
        let outbound_bytes = self.settings.limits.outbound_bytes as usize;
        let Ok((entry, _)) = Entry::decode(encoded, Sequence::ZERO) else { return };
        let published = entry.change.qos;
        let mut topic = std::mem::take(&mut self.scratch.topic);
        let mut alias = std::mem::take(&mut self.scratch.alias);
        let named = self.tables.topic_of_place(entry.change.table, entry.change.key, &mut topic);
        alias.clear();
        alias.push_str(&topic);
        super::fanout::lower_first(&mut alias); // Only who subscribed with a table's alias is sent it.
        let logged = Some(Sequence(hand.number)).filter(|_| hand.number < UNLOGGED);
        let mut message = Outgoing::of_change(&entry.change, &topic, &alias, logged);
        message.is_shared = true;
        let outcome = match self.connection_mut(id) {
            Some(connection) if named => offered(connection, hand, is_taken, &message),
            _ => Offered::Back(0),
        };
        let mut became = None;
        if let Offered::Deliver(subscription) = outcome
            && let Some(connection) = self.connections.get_mut(id.slot as usize)
        {
            let sent_before = connection.outbox.len();
            let session = connection.session.as_ref().map(|session| (session.id, session.is_durable()));
            let (session, durable) = session.unwrap_or_default();
            let selected = Selected::by(&[subscription], &message, session);
            // Behind one that is held, it is held as well.
            message.is_held = durable && (is_taken || selected.qos > Some(QoS::AtMostOnce));
            let shared = || Shared { group: (&**group).into(), filter: (&*member.filter).into(), number: hand.number };
            let delivery = |qos| Delivery {
                shared: Some(Box::new(shared())),
                unclaimed: durable,
                ..Delivery::of_entry(logged.unwrap_or_default(), qos)
            };
            self.frames.begin(false);
            let way = (&message, &selected);
            let delivered = if message.is_expired(now) {
                Delivered::TooLarge // As good as: it will never be delivered [MQTT-3.3.2-5].
            } else {
                let (frames, counters) = ((&mut self.frames, &*self.tables), &mut self.counters);
                deliver::deliver(connection, frames, counters, way, delivery, outbound_bytes, now)
            };
            became = Some((delivered, selected.qos.unwrap_or(QoS::AtMostOnce), durable, sent_before));
        }
        self.scratch.topic = topic;
        self.scratch.alias = alias;
        let turn = match (outcome, became) {
            (Offered::Deliver(_), Some((Delivered::Done, qos, durable, sent_before))) if qos > QoS::AtMostOnce => {
                if !durable {
                    return self.wake(id);
                }
                if !is_taken {
                    taken.push(Taken { id, sent_before });
                }
                return;
            }
            (Offered::Deliver(_), Some((Delivered::Done | Delivered::TooLarge, ..))) => {
                if hand.is_awaited {
                    self.tell_owner_done(group, hand.number);
                }
                return self.wake(id);
            }
            (Offered::Deliver(_), _) => {
                self.connection_mut(id).map_or(0, |connection| connection.memberships.refuse(&member.filter))
            }
            (Offered::Back(turn), _) => turn,
        };
        let entry = (!hand.is_awaited).then(|| (published, Bytes::copy_from_slice(encoded)));
        let back = ShareMail::Back { from: Arc::clone(&hand.to), number: hand.number, turn, entry };
        self.tell_owner(group, back);
    }

    /// Tells groups that had to take something back that there is room.
    pub(super) fn tell_room(&mut self, id: ConnectionId) {
        let half = self.settings.limits.outbound_bytes as usize / 2;
        let shard = self.settings.index;
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        if !connection.memberships.refuse_any() {
            return;
        }
        let window = connection.session.as_ref().is_some_and(|session| session.window.has_room());
        if !window || connection.outbox.len() > half || !takes_shared(connection) {
            return;
        }
        let mut mail = Vec::new();
        for filter in std::mem::take(&mut connection.memberships.refusing) {
            let Some(membership) = connection.memberships.by_filter.get(&filter) else { continue };
            let &Membership { ref group, entrance, turn } = membership;
            let member = MemberId { shard, connection: id, filter, entrance };
            mail.push(ShareMail::Room { group: Arc::clone(group), member, turn });
        }
        for mail in mail {
            if let ShareMail::Room { group, .. } = &mail {
                let group = Arc::clone(group);
                self.tell_owner(&group, mail);
            }
        }
    }

    /// A delivery that came by a group will not be acknowledged: another may have it, but for one with QoS 2, which
    /// nobody else may get [MQTT-4.8.2-5].
    pub(super) fn give_back(&mut self, shared: Option<Box<Shared>>, qos: QoS) {
        let Some(Shared { group, number, .. }) = shared.map(|shared| *shared) else { return };
        if qos == QoS::ExactlyOnce {
            return self.tell_owner_done(&group, number);
        }
        let mail = ShareMail::Return { group: group.as_ref().into(), number };
        self.tell_owner(&group, mail);
    }

    /// A delivery that came by a group is over.
    pub(super) fn tell_done(&mut self, shared: Option<Box<Shared>>) {
        if let Some(shared) = shared {
            self.tell_owner_done(&shared.group, shared.number);
        }
    }
}

/// What is done with a message from a group.
#[derive(Clone, Copy)]
enum Offered {
    Deliver(Subscription),
    /// Another member is to get it; what this one's turn is.
    Back(u32),
}

fn offered(connection: &mut Connection, hand: &Hand, is_taken: bool, message: &Outgoing<'_>) -> Offered {
    let MemberId { filter, entrance, .. } = &hand.to.member;
    let membership = connection.memberships.by_filter.get(filter);
    let Some(membership) = membership.filter(|membership| membership.entrance == *entrance) else {
        return Offered::Back(0);
    };
    if membership.turn != hand.turn {
        return Offered::Back(membership.turn); // It would overtake what came back.
    }
    if connection.rights.view(message.table, message.topic) == View::Nothing {
        return Offered::Back(membership.turn); // Its rights have changed since, and the group has heard of that.
    }
    if !is_taken && !takes_shared(connection) {
        return Offered::Back(connection.memberships.refuse(filter));
    }
    let held = connection.session.as_ref().and_then(|session| session.subscriptions.get(&**filter));
    match held {
        Some(held) => Offered::Deliver(Subscription { since: Sequence::ZERO, ..held.subscription }),
        None => Offered::Back(0),
    }
}

/// Whether a group's messages can go out now. What the session has begun goes first; and what it may have begun before
/// its node ended keeps the identifiers it had.
fn takes_shared(connection: &Connection) -> bool {
    let Some(session) = &connection.session else { return false };
    let doubtful = session.counts_in_doubt(session.live_after.max(session.in_doubt));
    let granted = connection.changing == 0; // SUBACK comes before what it brings.
    connection.phase == Phase::Open && granted && session.redeliver.is_empty() && connection.held.is_none() && !doubtful
}

/// What a session has begun of a group's messages.
fn begun(session: &Session, group: &str, filter: &str) -> Vec<u64> {
    let of_group = |shared: &&Shared| *shared.group == *group && *shared.filter == *filter;
    let shared = session.window.in_flight().filter_map(|(_, _, delivery)| delivery.shared.as_deref());
    shared.filter(of_group).map(|shared| shared.number).collect()
}
