//! What a client hears, and whether it may.

use super::replaying::Way;
use super::subscribing::{GROUP_ID, GROUPS, Held, is_own};
use super::{Answer, Client, Copy, Heard, Nature, Outgoing, Seen};
use crate::Node;
use crate::book::{ANSWERS, Book, Kind, known, number_in};
use crate::group::{Groups, Hold, Note};
use crate::will::Wills;
use rowcast_codec::{Ack, Connack, Packet, PacketId, Publish, QoS, ReasonCode, Version, frame_length};
use rowcast_core::limits::Limits;

/// What the clients of a run share.
pub(crate) struct World<'w> {
    pub(crate) book: &'w mut Book,
    pub(crate) wills: &'w mut Wills,
    pub(crate) groups: &'w mut Groups,
}

/// How long a message may be on its way to a client, once there is nothing that keeps it; milliseconds.
const ON_ITS_WAY_MS: u64 = 10_000;

/// In which way a delivery came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Came {
    First,
    /// It is heard again under its identifier; when it was first, as [`Client::deliveries`] counts.
    Again(u64),
    /// By a replay, or perhaps by one.
    ByReplay,
}

impl Client {
    /// Looks at what came. Fails with what the server did wrong.
    pub(crate) fn hear(&mut self, node: &mut Node, world: &mut World<'_>) -> Result<(), String> {
        let Some(socket) = self.socket else { return Ok(()) };
        let bytes = std::mem::take(node.received(socket));
        self.partial.extend_from_slice(&bytes);
        while let Some(length) = frame_length(&self.partial, u32::MAX).map_err(|error| error.to_string())? {
            if self.partial.len() < length {
                break;
            }
            if self.nature.packet_max.is_some_and(|max| length > max as usize) {
                return Err(format!("{}: got a packet of {length} bytes: {:?}", self.name, self.nature));
            }
            let frame: Vec<u8> = self.partial.drain(..length).collect();
            let packet = Packet::decode(self.nature.version, &frame).map_err(|error| error.to_string())?;
            self.tell("<", &packet);
            self.on_packet(node, &packet, world).map_err(|mistake| format!("{}: {mistake}", self.name))?;
            if self.socket.is_none() {
                return Ok(());
            }
        }
        if node.has_read(socket) {
            self.read_ms = node.wall_ms();
        }
        if node.is_clear(socket) {
            self.clear_ms = node.wall_ms();
            self.was_quiet &= node.has_ended(socket);
            let acknowledged = self.acknowledged.drain(..);
            self.notes.extend(acknowledged.map(|(group, number)| Note::Acknowledged(group, number)));
        }
        if !node.is_open(socket) {
            self.on_closed(node, world.wills).map_err(|mistake| format!("{}: {mistake}", self.name))?;
        }
        Ok(())
    }

    /// The server closed the connection without a word, or behind its last one.
    pub(super) fn on_closed(&mut self, node: &Node, wills: &mut Wills) -> Result<(), String> {
        let now = node.wall_ms();
        if !self.is_quiet(now) && !self.excused && !self.is_disk_harmed {
            return Err(format!("was closed, {} ms after it said something", now - self.sent_ms));
        }
        // When, nobody knows: at some time since it was looked at last.
        self.lost(now, wills, true);
        if let Some((from, until)) = &mut self.session.ends {
            *from = from.saturating_sub(super::CLOSED_UNSEEN_MS);
            *until += super::CLOSED_UNSEEN_MS;
        }
        Ok(())
    }

    fn on_packet(&mut self, node: &mut Node, packet: &Packet<'_>, world: &mut World<'_>) -> Result<(), String> {
        match packet {
            Packet::Connack(connack) => self.on_connack(node, connack, world),
            Packet::Publish(publish) => self.on_publish(node, publish, world),
            Packet::Puback(ack) | Packet::Pubrec(ack) => {
                let received = matches!(packet, Packet::Pubrec(_));
                self.on_acknowledged(node, ack, received, world.book)
            }
            Packet::Pubcomp(ack) => {
                self.outgoing.retain(|outgoing| outgoing.id != ack.packet_id);
                Ok(())
            }
            Packet::Pubrel(ack) => {
                if ack.reason.is_error() {
                    return Err(format!("PUBREL {}: {}", ack.packet_id.get(), ack.reason));
                }
                self.received.remove(&ack.packet_id.get());
                self.answers.push_back((Answer::Pubcomp, ack.packet_id));
                Ok(())
            }
            Packet::Suback(suback) => self.on_suback(suback, world.book),
            Packet::Unsuback(unsuback) => self.on_unsuback(unsuback),
            Packet::Pingresp => Ok(()),
            Packet::Disconnect(disconnect) => match disconnect.reason {
                ReasonCode::KeepAliveTimeout if self.is_quiet(node.wall_ms()) => Ok(()),
                ReasonCode::QuotaExceeded if self.excused => Ok(()),
                ReasonCode::UnspecifiedError if self.is_disk_harmed => Ok(()),
                reason => Err(format!("DISCONNECT {reason}")),
            },
            other => Err(format!("got {other:?}")),
        }
    }

    fn on_acknowledged(
        &mut self,
        node: &mut Node,
        ack: &Ack<'_>,
        received: bool,
        book: &mut Book,
    ) -> Result<(), String> {
        let place = self.outgoing.iter().position(|outgoing| outgoing.id == ack.packet_id);
        let place = place.ok_or_else(|| format!("{} was not published", ack.packet_id.get()))?;
        let number = self.outgoing[place].message;
        if ack.reason.is_error() {
            let conditional = book.messages[number].condition.is_some();
            let right = match ack.reason {
                ReasonCode::ImplementationSpecificError => conditional,
                ReasonCode::QuotaExceeded => self.excused,
                _ => false,
            };
            if !right {
                return Err(format!("{number} is refused: {}", ack.reason));
            }
            self.outgoing.remove(place);
            // Sent twice, the first may have been taken.
            return if book.messages[number].sent > 1 { Ok(()) } else { book.refuse(number) };
        }
        if book.messages[number].condition.is_none() || book.messages[number].logged > 0 {
            book.accept(number)?;
        } else if self.is_v5() {
            return Err(format!("{number} is acknowledged, and does not stand in the log"));
        }
        if received {
            self.outgoing[place].released = true;
            self.send(node, &Packet::Pubrel(Ack::new(ack.packet_id, ReasonCode::Success)));
        } else {
            self.outgoing.remove(place);
        }
        Ok(())
    }

    fn on_connack(&mut self, node: &mut Node, connack: &Connack<'_>, world: &mut World<'_>) -> Result<(), String> {
        let now = node.wall_ms();
        if connack.reason.is_error() {
            let may_have_ended = self.session.ends.is_some_and(|(from, _)| from <= now);
            let no_room = if self.is_v5() { ReasonCode::QuotaExceeded } else { ReasonCode::ServerUnavailable };
            let is_shut_out = !self.excused && self.may_be_shut_out(now) && connack.reason == no_room;
            let has_ended = connack.reason == ReasonCode::ServerUnavailable && may_have_ended;
            if !(self.excused || has_ended || is_shut_out) {
                return Err(format!("CONNACK {}", connack.reason));
            }
            if let Some(socket) = self.socket {
                node.lose(socket);
            }
            self.lost(now, world.wills, false);
            self.is_shut_out = is_shut_out;
            return Ok(());
        }
        self.is_shut_out = false;
        self.check_told(connack)?;
        let (expected, asked_ms) = self.session.asked.take().ok_or("a second CONNACK")?;
        let expected = match (expected, self.session.ends) {
            (Some(true), Some((_, until))) if asked_ms >= until => Some(false),
            (Some(true), Some((from, _))) if now >= from => None,
            (expected, _) => expected,
        };
        // MQTT 3.1 cannot say it.
        let present = match self.nature.version {
            Version::V31 => expected.unwrap_or(false),
            _ => connack.session_present,
        };
        if expected.is_some_and(|expected| expected != present) {
            return Err(format!("session present: {present}; it was to end at {:?}", self.session.ends));
        }
        // A group may have given something to its last connection, which the server did not know yet that it had left.
        self.notes.push(Note::Left);
        self.connected = true;
        self.read_ms = now;
        self.starts_clean = false;
        world.wills.returned(self.index, self.will);
        if !present {
            self.forget_session();
        }
        self.session.exists = Some(true);
        self.session.ends = None;
        self.session.connections += 1;
        if !present {
            return Ok(());
        }
        for index in 0..self.outgoing.len() {
            let Outgoing { id, message: number, released, doubtful } = self.outgoing[index];
            if released {
                self.send(node, &Packet::Pubrel(Ack::new(id, ReasonCode::Success)));
                continue;
            }
            let message = &mut world.book.messages[number];
            message.sent += 1;
            message.is_late |= doubtful;
            let message = message.clone();
            self.send_publish(node, &message, number, (message.topic, None), Some(id), true);
        }
        Ok(())
    }

    /// Whether there may be no room for a session of its own: it surely has none.
    fn may_be_shut_out(&self, now: u64) -> bool {
        let (expected, _) = self.session.asked.unwrap_or_default();
        let has_one = expected == Some(true) && self.session.ends.is_none_or(|(from, _)| now < from);
        self.is_durable() && self.limits.sessions < Limits::default().sessions && !has_one
    }

    /// CONNACK says what the node allows, where that is not what was asked for.
    fn check_told(&mut self, connack: &Connack<'_>) -> Result<(), String> {
        if !self.is_v5() {
            return Ok(());
        }
        let Nature { expiry_asked, expiry_secs, keep_alive_secs: asked, .. } = self.nature;
        let most = self.limits.keep_alive_max_secs;
        let keep_alive = if most > 0 && (asked == 0 || asked > most) { most } else { asked };
        let told = &connack.properties;
        let receive_maximum = told.receive_maximum.unwrap_or(u16::MAX);
        let is_right = told.session_expiry_secs.unwrap_or(expiry_asked) == expiry_secs
            && told.server_keep_alive_secs.unwrap_or(asked) == keep_alive
            && receive_maximum == self.limits.receive_maximum
            && told.topic_alias_maximum.unwrap_or(0) == self.limits.topic_alias_maximum;
        self.keep_alive_secs = keep_alive;
        if is_right { Ok(()) } else { Err(format!("CONNACK allows {told:?}")) }
    }

    // Deliveries ---------------------------------------------------------------------------------------------------

    fn on_publish(&mut self, node: &Node, publish: &Publish<'_>, world: &mut World<'_>) -> Result<(), String> {
        let spelled = self.topic_of(publish)?;
        let topic = known(&spelled).ok_or_else(|| format!("nobody publishes to {spelled}"))?;
        let number = number_in(&publish.properties, publish.payload);
        let number = number.filter(|_| topic != ANSWERS || self.is_v5()); // Before MQTT 5, an answer does not say to what.
        let group = self.group_of(publish)?;
        let mut how = Came::First;
        self.deliveries += 1;
        if let Some(id) = publish.packet_id {
            self.on_identifier(id, publish, (number.unwrap_or(usize::MAX), group))?;
            match self.heard.get(&id.get()) {
                Some(heard) if publish.dup && (heard.topic, heard.number) == (topic, number) => {
                    how = Came::Again(heard.at);
                }
                _ => drop(
                    self.heard.insert(id.get(), Heard { topic, number, group, is_of_gone: false, at: self.deliveries }),
                ),
            }
            if publish.qos == QoS::ExactlyOnce && !self.received.insert(id.get()) {
                if group.is_none() {
                    self.see(topic, publish, (number, how), world.book);
                }
                // In its order among others that come again.
                return Ok(()); // Heard already.
            }
        }
        let Some(number) = number else {
            if group.is_none() {
                self.see(topic, publish, (number, how), world.book);
            }
            return Ok(());
        };
        if self.is_of_gone(publish, topic, how) {
            self.got.insert(number);
            let groups = self.past.iter().filter(|held| held.selects(topic)).filter_map(Held::group);
            groups.for_each(|group| world.groups.may_have_come(group, number));
            return self.check_content(publish, number, world.book);
        }
        self.check_message(node, publish, topic, (number, group), world.book)?;
        if let Some(group) = group {
            let has_gone = self.outlived.is_some() && self.outlived == self.socket;
            let has_ended = has_gone || !self.is_durable() && self.socket.is_some_and(|socket| node.has_ended(socket));
            let was_returned = has_ended || self.may_miss(topic);
            let hold = if was_returned { Hold::Returned } else { Hold::Has };
            return world.groups.on_delivery(group, (self.index, hold), number, publish, world.book);
        }
        let is_snapshot = publish.retain && !self.nature.as_published;
        let way = match is_snapshot {
            true => Way::Live,
            false => {
                let sequence = world.book.messages[number].sequence;
                let identifiers: Vec<u32> = publish.properties.subscription_ids.iter().collect();
                // Of a message that was published again, another may stand in the log.
                let again = publish.dup || world.book.messages[number].may_repeat();
                self.replays.on_delivery((number, topic), sequence, &identifiers, again)?
            }
        };
        if way == Way::Replay && how == Came::First {
            how = Came::ByReplay;
        }
        self.see(topic, publish, (Some(number), how), world.book);
        self.check_order(publish, number, way, world.book)
    }

    /// What a delivery says of a topic's record.
    fn see(&mut self, topic: &'static str, publish: &Publish<'_>, (number, how): (Option<usize>, Came), book: &Book) {
        match number {
            Some(number) if book.messages.get(number).is_some_and(|message| message.kind.is_state()) => {}
            None if publish.payload.is_empty() => {}
            _ => return,
        }
        let sequence = |number: usize| book.messages[number].sequence;
        let stays = self.view.get(topic).is_some_and(|seen| match (how, number) {
            // A newer one whose PUBREC was heard does not come again behind an older one that does [MQTT-4.4.0-1]: who
            // keeps the newest knows the older one by its identifier.
            (Came::Again(at), _) => seen.qos == QoS::ExactlyOnce && seen.at > at,
            // The newer ones of a replay may be lost, where it has QoS 0.
            (Came::ByReplay, Some(number)) => {
                let is_older = seen.number.is_none_or(|seen| sequence(seen) > sequence(number));
                let is_once = book.messages[number].sent == 1; // Else it may have changed it again.
                publish.qos == QoS::AtMostOnce && is_older && is_once
            }
            _ => false,
        });
        if !stays {
            let at = if let Came::Again(at) = how { at } else { self.deliveries };
            self.view.insert(topic, Seen { number, qos: publish.qos, at });
        }
    }

    /// The topic, or what its alias stands for.
    fn topic_of(&mut self, publish: &Publish<'_>) -> Result<String, String> {
        let Some(alias) = publish.properties.topic_alias else { return Ok(publish.topic.to_owned()) };
        if alias == 0 || alias > self.nature.alias_maximum {
            return Err(format!("alias {alias} is not one of {}", self.nature.alias_maximum));
        }
        if publish.topic.is_empty() {
            return self.aliases_in.get(&alias).cloned().ok_or_else(|| format!("alias {alias} stands for nothing"));
        }
        self.aliases_in.insert(alias, publish.topic.to_owned());
        Ok(publish.topic.to_owned())
    }

    /// By which group a delivery came. Identifiers are those of subscriptions that select it, each once.
    fn group_of(&self, publish: &Publish<'_>) -> Result<Option<usize>, String> {
        let identifiers: Vec<u32> = publish.properties.subscription_ids.iter().collect();
        let of_groups = GROUP_ID..GROUP_ID + GROUPS.len() as u32;
        let group = identifiers.iter().find(|id| of_groups.contains(id)).map(|id| (id - GROUP_ID) as usize);
        // When it comes again, its subscription may be gone.
        let before = publish.packet_id.filter(|_| publish.dup).and_then(|id| self.heard.get(&id.get()));
        let group = group.or_else(|| before.and_then(|heard| heard.group));
        if group.is_some() && identifiers.len() > 1 {
            return Err(format!("one copy for {identifiers:?}"));
        }
        Ok(group)
    }

    /// Whether a delivery may have come by a group whose subscription is gone: it was on its way when the connection was
    /// lost, comes again, and nothing says by which subscription.
    fn is_of_gone(&mut self, publish: &Publish<'_>, topic: &str, how: Came) -> bool {
        let heard = publish.packet_id.and_then(|id| self.heard.get_mut(&id.get()));
        let Some(heard) = heard.filter(|_| publish.dup) else { return false };
        if how == Came::First {
            let mut gone = self.past.iter().filter(|held| held.group().is_some() && held.selects(topic));
            heard.is_of_gone = publish.properties.subscription_ids.iter().next().is_none() && gone.next().is_some();
        }
        heard.is_of_gone
    }

    /// It is a message that may come, as it is.
    fn check_message(
        &self,
        node: &Node,
        publish: &Publish<'_>,
        topic: &'static str,
        (number, group): Copy,
        book: &Book,
    ) -> Result<(), String> {
        let message = book.messages.get(number).ok_or_else(|| format!("nobody published {number}"))?;
        if message.topic != topic {
            return Err(format!("{number} of {} came on {topic}", message.topic));
        }
        let is_hidden = self.may_miss(topic) && book.hidden.is_some_and(|hidden| number >= hidden.first);
        if is_hidden && !message.is_will {
            return Err(format!("{number} on {topic} came, and may not be read"));
        }
        let all: Vec<&Held> =
            self.subscriptions.values().chain(&self.past).filter(|held| held.selects(topic)).collect();
        let of_group = |held: &&&Held| held.group() == group;
        let wanted = |held: &&&Held| publish.retain || held.wants(message, self.index, self.session.epoch);
        let by: Vec<&&Held> = all.iter().filter(of_group).filter(wanted).collect();
        let Some(granted) = by.iter().map(|held| held.qos).max() else {
            return Err(format!("{number} on {topic} came, and no subscription wants it"));
        };
        if publish.qos > message.qos.min(granted) {
            return Err(format!("{number} of {:?} came with {:?}", message.qos, publish.qos));
        }
        for id in publish.properties.subscription_ids.iter() {
            if !all.iter().any(|held| held.identifier == id) {
                return Err(format!("{number} on {topic} came for {id}"));
            }
        }
        if publish.retain && message.kind == Kind::Event {
            return Err(format!("event {number} came retained"));
        }
        if self.nature.as_published && group.is_none() && publish.retain != message.kind.is_state() {
            return Err(format!("{number} came retained: {}", publish.retain));
        }
        let asked = self.nature.as_published || self.lost_events || by.iter().any(|held| held.may_bring_records);
        if publish.retain && !asked {
            return Err(format!("{number} came retained, and nobody asked for that"));
        }
        let is_live = !publish.retain || self.nature.as_published;
        // What replaces a subscription is entitled to what that was, and asks for it in its own way.
        let since = all.iter().filter(of_group).map(|held| held.since).min().unwrap_or_default();
        // What stands in no log may still be on its way to others when its publisher hears that it was taken.
        let since = if message.logged > 0 { since.asked } else { since.idle };
        if is_live && group.is_none() && message.sent == 1 && message.accepted_at.is_some_and(|at| at < since) {
            return Err(format!("{number} came, and was over before it was subscribed to"));
        }
        let was_own = is_own(message, self.index, self.session.epoch) && message.sent == 1;
        let is_over = |held: &&&Held| message.accepted_at.is_some_and(|at| at < held.own_since);
        let is_shown = publish.retain && self.lost_events;
        if is_live && !is_shown && group.is_none() && was_own && by.iter().all(is_over) {
            return Err(format!("{number} came, and was the client's own under No Local"));
        }
        if publish.dup && self.session.connections < 2 {
            return Err(format!("{number} came with DUP over the first connection"));
        }
        let surely_late = message.expires_ms.is_some_and(|due| due + ON_ITS_WAY_MS <= self.clear_ms);
        // Of a patch that was sent twice, the record that it was merged into first may have stayed longer.
        let surely_late = surely_late && !(message.kind == Kind::Patch && message.logged > 1);
        if surely_late && !publish.dup && node.wall_ms() >= self.clear_ms {
            return Err(format!("{number} came long after its time"));
        }
        self.check_content(publish, number, book)
    }

    /// Payload and properties are what was published, or what that made of the record.
    fn check_content(&self, publish: &Publish<'_>, number: usize, book: &Book) -> Result<(), String> {
        let message = &book.messages[number];
        if message.asks.is_some() {
            let version = publish.properties.user_properties.get("rowcast-version");
            return book.check_answer(number, version.and_then(|version| version.parse().ok()), publish.payload);
        }
        let as_sent = message.kind == Kind::Event || message.topic.starts_with(['n', 'o', 'l']);
        if as_sent && publish.payload != message.payload(number) {
            return Err(format!("{number} came as {}", String::from_utf8_lossy(publish.payload)));
        }
        if let (Some(name), false, 1) = (message.name, as_sent, message.sent) {
            let text = String::from_utf8_lossy(publish.payload);
            if !text.contains(&format!(r#""name":"{name}""#)) {
                return Err(format!("{number} made a record with name {name}, and came as {text}"));
            }
        }
        let left = publish.properties.message_expiry_secs;
        if let (Some(left), Some(asked)) = (left, message.expiry_secs)
            && left > asked
        {
            return Err(format!("{number} is good for {left} s, and was for {asked}"));
        }
        Ok(())
    }

    /// It comes once, as its QoS says, and behind what came before it.
    fn check_order(&mut self, publish: &Publish<'_>, number: usize, way: Way, book: &Book) -> Result<(), String> {
        let message = &book.messages[number];
        let repeated = message.may_repeat();
        let is_snapshot = publish.retain && !self.nature.as_published;
        let again = !self.got.insert(number);
        if way == Way::Replay {
            return Ok(());
        }
        if is_snapshot {
            self.got_retained.entry(number).or_default().extend(publish.properties.subscription_ids.iter());
        } else {
            let again = !self.got_live.insert(number);
            let shown_again = publish.retain && self.lost_events;
            if again && publish.qos == QoS::ExactlyOnce && !shown_again && !repeated {
                return Err(format!("{number} came twice with QoS 2"));
            }
            if again && !repeated && !publish.dup && !shown_again {
                return Err(format!("{number} came twice"));
            }
            if self.came_retained(publish, number, message.topic) && !publish.dup && !repeated && !self.lost_events {
                return Err(format!("{number} came as retained state and as a change"));
            }
        }
        if publish.dup || repeated || again {
            return Ok(());
        }
        if let (true, Some(sequence)) = (message.kind.is_state(), message.sequence) {
            let latest = self.states.entry(message.topic).or_insert((sequence, number));
            if latest.0 > sequence {
                return Err(format!("state {number} of {} came behind {}", message.topic, latest.1));
            }
            *latest = (sequence, number);
        }
        if !is_snapshot && !message.is_will && !message.is_late {
            let lane = (message.publisher, message.topic, publish.qos == QoS::AtMostOnce);
            // With QoS 0 a state was not for who was away when it changed. Where it is shown in the place of changes that the
            // log does not hold any more, it may be behind what came since.
            let is_shown_late = publish.retain && self.lost_events && publish.qos == QoS::AtMostOnce;
            let latest = self.latest.get(&lane).filter(|&&latest| latest > number && !is_shown_late);
            if let Some(latest) = latest {
                return Err(format!("{number} came behind {latest} on {}", message.topic));
            }
            // Where the log was cut, a record is shown as it is by then: an event that had waited for room since it was
            // another comes behind it.
            if !(publish.retain && self.lost_events) {
                self.latest.insert(lane, number);
            }
        }
        Ok(())
    }

    /// Whether a change came before as the record that a subscription of it was sent when it began. What another one was
    /// sent says nothing: its change may have waited.
    fn came_retained(&self, publish: &Publish<'_>, number: usize, topic: &str) -> bool {
        let Some(identifiers) = self.got_retained.get(&number) else { return false };
        let all = self.subscriptions.values().chain(&self.past);
        let is_alone = all.filter(|held| held.group().is_none() && held.selects(topic)).count() <= 1;
        let mut of_change = publish.properties.subscription_ids.iter();
        is_alone || of_change.any(|identifier| identifiers.contains(&identifier))
    }

    /// A delivery's identifier is that of no other delivery under way, and of this one when it comes again.
    fn on_identifier(&mut self, id: PacketId, publish: &Publish<'_>, copy: Copy) -> Result<(), String> {
        // A delivery that the log had lost was given up: who does not wait for its end need not remember it.
        let before = self.in_flight.get(&id.get());
        let was_by_group = before.is_some_and(|((_, group), _)| group.is_some());
        let is_lost = self.lost_events || (self.group_lost_events && was_by_group);
        let given_up = is_lost && !self.open.contains(&id.get()) && !self.received.contains(&id.get());
        match before {
            _ if given_up => {}
            Some(&(other, _)) if other.0 != copy.0 => {
                return Err(format!("identifier {} of {} came back with {}", id.get(), other.0, copy.0));
            }
            Some(_) if !publish.dup => return Err(format!("{} came again without DUP", copy.0)),
            _ => {}
        }
        self.in_flight.insert(id.get(), (copy, publish.qos));
        self.open.insert(id.get());
        if self.is_v5() && self.open.len() > usize::from(self.nature.receive_maximum) {
            return Err(format!("{} deliveries under way", self.open.len()));
        }
        self.answers.push_back(match publish.qos {
            QoS::ExactlyOnce => (Answer::Pubrec, id),
            _ => (Answer::Puback, id),
        });
        Ok(())
    }
}
