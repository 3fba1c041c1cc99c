//! Answers in the order of the packets they answer, whatever each of them waits for.

use super::connection::{self, ConnectionId, LookUp, Pending, Phase, Then};
use super::{Effect, Report, Shard, slot_of};
use crate::limits::{SPARE_ACK_LISTS_MAX, SPARE_ACKS_MAX};
use crate::proposal::{Completion, Outcome, Rejection, Token};
use crate::shard::Moment;
use crate::validate;
use rowcast_codec::{Ack, AckProperties, Packet, PacketId, ReasonCode, Suback, Unsuback, UserPropertiesBuf, Version};
use std::collections::VecDeque;
use std::sync::Arc;

impl Shard {
    /// Queues an answer; it leaves when it is ready and nothing before it is not.
    pub(super) fn answer(&mut self, id: ConnectionId, pending: Pending, now: Moment) {
        let Some(connection) = connection::find_mut(&mut self.connections, id) else { return };
        if connection.acks.is_empty() && pending.token.is_none() {
            self.complete(id, pending, now);
        } else {
            connection.changing += usize::from(pending.then.changes());
            if connection.acks.capacity() == 0 {
                connection.acks = self.spare_acks.take();
            }
            connection.acks.push_back(pending);
        }
    }

    /// [`Shard::answer`] for answers that are just a reason.
    pub(super) fn answer_now(&mut self, id: ConnectionId, then: Then, reason: ReasonCode, now: Moment) {
        self.answer(id, Pending { token: None, then, reason, detail: None, version: None, topic: None }, now);
    }

    /// Queues an answer that waits for a proposal.
    pub(super) fn answer_later(&mut self, id: ConnectionId, then: Then, token: Token, now: Moment) {
        let reason = ReasonCode::Success;
        self.answer(id, Pending { token: Some(token), then, reason, detail: None, version: None, topic: None }, now);
    }

    /// A proposal of this shard was decided.
    pub(super) fn on_completion(&mut self, completion: Completion, now: Moment) {
        let Completion { token, outcome } = completion;
        match outcome {
            Outcome::Done { .. } if self.is_next_answer(token, now) => return,
            Outcome::Rejected(_) | Outcome::Full | Outcome::Unreadable(_) => self.forget_refused(token),
            _ => {}
        }
        if let Some(leaving) = self.leaving.remove(&token) {
            self.on_left(leaving, &outcome, now);
            return;
        }
        if self.on_chore(token, &outcome) || self.on_group_stored(token, &outcome) {
            return;
        }
        let slot = slot_of(token);
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let id = super::id_of(slot, connection);
        if connection.looking_up.as_ref().is_some_and(|looking_up| looking_up.behind == Some(token)) {
            return self.on_behind(id, now);
        }
        if connection.held.as_ref().is_some_and(|held| held.token == token) {
            let is_bare = connection.held.as_ref().is_some_and(|held| held.bytes.is_empty());
            let next_waits = connection.session.as_ref().is_some_and(|session| session.window.is_to_store());
            if outcome.is_undecided() && is_bare && next_waits {
                // Only what comes next was to wait for it, and does until there is room.
                connection.held = None;
                self.to_store.insert(id);
                return;
            }
            // After a crash nobody would know these identifiers: the client comes back and gets them then.
            match outcome {
                Outcome::Full => return self.close(id, ReasonCode::QuotaExceeded, DISK_FULL, now),
                Outcome::Unreadable(words) => return self.close(id, ReasonCode::UnspecifiedError, &words, now),
                _ => {}
            }
            if let Some(session) = &mut connection.session {
                session.window.stored();
                session.window.claimed();
            }
            if let Some(held) = connection.held.take() {
                connection.outbox.append(|out| out.extend_from_slice(&held.bytes));
                self.wake(id);
                self.pump(id, now);
            }
            return;
        }
        let Some(pending) = connection.acks.iter_mut().find(|pending| pending.token == Some(token)) else { return };
        pending.token = None;
        let failed = !matches!(outcome, Outcome::Done { .. });
        apply_outcome(pending, outcome);
        if let (true, Then::Connack { .. }, ReasonCode::Success) = (failed, &pending.then, pending.reason) {
            pending.reason = ReasonCode::ServerUnavailable; // What it was to go on with is gone.
        }
        let reason = pending.reason;
        let rejected = pending.topic.take().filter(|_| Refusal::is_told(reason));
        let rejected = rejected.map(|topic| (topic, pending.detail.clone().unwrap_or_default()));
        if let (true, Then::Suback { changed, .. } | Then::Unsuback { changed, .. }) = (failed, &mut pending.then) {
            let changed = std::mem::take(changed);
            self.take_back(id, changed);
        }
        if let Some((topic, words)) = rejected {
            self.report_rejected(id, &topic, reason, &words);
        }
        self.flush_acks(id, now);
    }

    /// Sends the answer that waits for a proposal which was written, if that is all that waits for it, and its turn: of the
    /// many that a turn of the writer decides, all but a few are like that. `false`: it was not.
    fn is_next_answer(&mut self, token: Token, now: Moment) -> bool {
        let slot = slot_of(token);
        let Some(connection) = self.connections.get_mut(slot) else { return false };
        let id = super::id_of(slot, connection);
        match connection.acks.front_mut() {
            Some(first) if first.token == Some(token) => first.token = None,
            _ => return false,
        }
        self.flush_acks(id, now);
        true
    }

    /// A publish was refused whose connection is gone: its client will repeat it, and must not be told it was received. Or
    /// a session or a will, which never was.
    fn forget_refused(&mut self, token: Token) {
        let mut will = None;
        for leaving in self.leaving.values_mut() {
            if let Some(opening) = leaving.opening.take_if(|opening| opening.token == token) {
                will = opening.will;
                if opening.lasts {
                    self.settings.session_quota.settle(leaving.client_id.as_bytes());
                    leaving.session = None; // What is stored is what was before it.
                    leaving.ends_ms = None;
                }
            }
            if let Some(&(_, packet)) = leaving.undecided.iter().find(|(undecided, _)| *undecided == token) {
                leaving.session.as_mut().map(|session| session.received.remove(&packet));
            }
        }
        if let Some(number) = will {
            self.forget_will(number);
        }
    }

    /// Sends the answers whose turn it is.
    fn flush_acks(&mut self, id: ConnectionId, now: Moment) {
        loop {
            let Some(connection) = connection::find_mut(&mut self.connections, id) else { return };
            let Some(pending) = connection.acks.pop_front_if(|pending| pending.token.is_none()) else { return };
            if pending.then.changes() {
                connection.settle_change();
            }
            let is_last = connection.acks.is_empty();
            if is_last {
                self.spare_acks.keep(std::mem::take(&mut connection.acks)); // An idle client holds no memory here.
            }
            self.complete(id, pending, now);
            if is_last {
                self.look_up(id);
            }
        }
    }

    /// Looks up what a packet waits for, if everything before it is answered.
    pub(super) fn look_up(&mut self, id: ConnectionId) {
        let Some(connection) = self.connection_mut(id).filter(|connection| connection.acks.is_empty()) else { return };
        let effect = connection.looking_up.as_mut().and_then(|looking_up| looking_up.effect.take());
        self.effects.extend(effect);
    }

    /// The packet that waited: what it waited for is there.
    pub(super) fn take_looked_up(&mut self, id: ConnectionId, now: Moment) -> Option<(Version, Box<LookUp>)> {
        let connection = self.connection_mut(id)?;
        let looking_up = connection.looking_up.take()?;
        connection.heard_ms = now.monotonic_ms; // What it sent meanwhile was not looked at.
        Some((connection.version, looking_up))
    }

    fn complete(&mut self, id: ConnectionId, pending: Pending, now: Moment) {
        let Some(connection) = self.connection_mut(id) else { return };
        if connection.phase == Phase::Closing {
            return;
        }
        let Pending { then, reason, .. } = &pending;
        match then {
            Then::Nothing if reason.is_error() => {
                self.refuse_without_answer(id, *reason, pending.detail.as_deref().unwrap_or_default(), now);
            }
            Then::Nothing => {}
            Then::Pubcomp(_) | Then::Pubrel(_) | Then::Finished(_)
                if matches!(reason, ReasonCode::QuotaExceeded | ReasonCode::UnspecifiedError) =>
            {
                // A step of a handshake has no code for this: the client comes back and tries again.
                self.close(id, *reason, pending.detail.as_deref().unwrap_or_default(), now);
            }
            Then::Puback(packet) => {
                connection.close_inbound();
                self.send_ack(id, *packet, &pending, now);
            }
            Then::Pubrec(packet) => {
                if reason.is_error() {
                    connection.close_inbound();
                    if let Some(session) = &mut connection.session {
                        session.received.remove(packet);
                    }
                }
                self.send_ack(id, *packet, &pending, now);
            }
            Then::Pubcomp(packet) => {
                if !reason.is_error() {
                    connection.close_inbound();
                    if let Some(session) = &mut connection.session {
                        session.received.remove(packet);
                    }
                }
                self.send_ack(id, *packet, &pending, now);
            }
            Then::Pubrel(packet) => self.send_ack(id, *packet, &pending, now),
            Then::Finished(packet) => self.finish_delivery(id, *packet, now),
            Then::Suback { id: packet, reasons, replay, .. } => {
                // Nothing could be stored: none of them is granted.
                let failed = vec![*reason; reasons.len()];
                let reasons = if reason.is_error() { &failed } else { reasons };
                let mut told = UserPropertiesBuf::new();
                let mut properties = AckProperties::default();
                if connection.problem_information && connection.is_v5() {
                    properties.reason_string = pending.detail.as_deref();
                    if let (Some(replay), Some(session)) = (replay, &connection.session) {
                        properties.reason_string = properties.reason_string.or(replay.words());
                        replay.tell(session, &mut told);
                    }
                    properties.user_properties = told.as_ref();
                }
                let suback = Suback { packet_id: *packet, properties, reasons: reasons.as_slice().into() };
                self.send(id, &Packet::Suback(suback), now);
                self.pump(id, now); // What the subscription brings comes behind its SUBACK.
            }
            Then::Unsuback { id: packet, reasons, .. } => {
                if reason.is_error() && !connection.is_v5() {
                    // MQTT 3 has no refusal: nothing would come any more [MQTT-3.10.4-2].
                    return self.close(id, *reason, "the subscriptions cannot be taken away", now);
                }
                let failed = vec![ReasonCode::UnspecifiedError; reasons.len()];
                let reasons = if reason.is_error() { &failed } else { reasons };
                let unsuback =
                    Unsuback { packet_id: *packet, properties: Default::default(), reasons: reasons.as_slice().into() };
                self.send(id, &Packet::Unsuback(unsuback), now);
                self.pump(id, now);
            }
            Then::Connack { session_present, lasts, shared } => {
                self.open(id, (*session_present, *lasts), shared, *reason, now);
            }
        }
    }

    /// Whether a SUBACK or UNSUBACK with so many reasons is no larger than the client takes. If it is, the connection
    /// ends before anything is done: there is no shorter answer [MQTT-3.1.2-24].
    pub(super) fn takes_answer(&mut self, id: ConnectionId, reasons: usize, now: Moment) -> bool {
        let Some(connection) = self.connection(id) else { return false };
        let remaining = 3 + reasons; // Packet identifier and no properties.
        let length_bytes = remaining.checked_ilog2().map_or(1, |bits| bits as usize / 7 + 1);
        let fits = !connection.is_v5() || 1 + length_bytes + remaining <= connection.packet_max as usize;
        if !fits {
            let words = "the answer would be larger than the packets the client takes";
            self.close(id, ReasonCode::PacketTooLarge, words, now);
        }
        fits
    }

    /// Sends an acknowledgement, with words and a version as far as the client wants and takes them; or ends the connection
    /// where there is none to be sent.
    fn send_ack(&mut self, id: ConnectionId, packet: PacketId, pending: &Pending, now: Moment) {
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        if pending.reason.is_error() {
            self.counters.rejected += 1;
            // MQTT 3 has no refusal: it is acknowledged, or the connection ends [MQTT-3.3.5-2]. What could be stored
            // at another time is not acknowledged.
            let is_full = pending.reason == ReasonCode::QuotaExceeded;
            if connection.version != Version::V5 && (is_full || self.settings.close_on_rejected) {
                let words = pending.detail.as_deref().unwrap_or("publish refused").to_owned();
                self.close(id, pending.reason, &words, now);
                return;
            }
        }
        self.counters.packets_out += 1;
        let mut ack = Ack::new(packet, pending.reason);
        let mut user_properties = UserPropertiesBuf::new();
        if connection.problem_information {
            ack.properties.reason_string = pending.detail.as_deref();
            if let Some(version) = pending.version {
                let _ = user_properties.push("version", &version.to_string());
            }
        }
        ack.properties.user_properties = user_properties.as_ref();
        let (packet, version, packet_max) =
            (pending.then.packet(ack), connection.version, connection.packet_max as usize);
        connection.outbox.append(|out| encode_within(&packet, version, packet_max, out));
        self.wake(id);
    }

    /// Tells the operator of a refused publish.
    pub(super) fn report_rejected(&mut self, id: ConnectionId, topic: &str, code: ReasonCode, words: &str) {
        let Some(connection) = self.connection(id) else { return };
        self.effects.push(Effect::Report(Report::RejectedPublish {
            client_id: connection.client_id().into(),
            user: connection.principal.user.clone(),
            address: Arc::clone(&connection.peer.address),
            topic: topic.into(),
            code,
            reason: for_operator(code, words).into(),
        }));
    }

    /// Tells the operator that a client may not subscribe to what it asked for.
    pub(super) fn report_denied(&mut self, id: ConnectionId, filter: &str) {
        let Some(connection) = self.connection(id) else { return };
        self.effects.push(Effect::Report(Report::DeniedSubscribe {
            client_id: connection.client_id().into(),
            user: connection.principal.user.clone(),
            address: Arc::clone(&connection.peer.address),
            filter: filter.into(),
        }));
    }
}

/// Lists of the answers of one connection, for those that have some to wait for again.
#[derive(Default)]
pub(super) struct SpareAcks(Vec<VecDeque<Pending>>);

impl SpareAcks {
    fn take(&mut self) -> VecDeque<Pending> {
        self.0.pop().unwrap_or_default()
    }

    fn keep(&mut self, acks: VecDeque<Pending>) {
        if self.0.len() < SPARE_ACK_LISTS_MAX && acks.capacity() <= SPARE_ACKS_MAX {
            self.0.push(acks);
        }
    }
}

impl Then {
    /// The packet that an acknowledgement is, where it is one.
    fn packet<'a>(&self, ack: Ack<'a>) -> Packet<'a> {
        match self {
            Then::Pubrec(_) => Packet::Pubrec(ack),
            Then::Pubrel(_) => Packet::Pubrel(ack),
            Then::Pubcomp(_) => Packet::Pubcomp(ack),
            _ => Packet::Puback(ack),
        }
    }
}

/// What an operator may read of why a client is refused something.
pub(super) fn for_operator(code: ReasonCode, words: &str) -> &str {
    match code {
        ReasonCode::PayloadFormatInvalid => validate::outline(words),
        // The name of an attribute may be all that the client has sent.
        ReasonCode::NotAuthorized if words.starts_with("attribute ") => "an attribute: not allowed",
        _ => words,
    }
}

/// Encodes an acknowledgement; without its properties if the client takes no packet as large as with them
/// [MQTT-3.4.2-2].
fn encode_within(packet: &Packet<'_>, version: Version, packet_max: usize, out: &mut Vec<u8>) {
    let before = out.len();
    let encoded = packet.encode(version, out);
    if encoded.is_ok() && out.len() - before <= packet_max {
        return;
    }
    out.truncate(before);
    let bare = |ack: &Ack<'_>| Ack::new(ack.packet_id, ack.reason);
    let bare = match packet {
        Packet::Puback(ack) => Packet::Puback(bare(ack)),
        Packet::Pubrec(ack) => Packet::Pubrec(bare(ack)),
        Packet::Pubrel(ack) => Packet::Pubrel(bare(ack)),
        Packet::Pubcomp(ack) => Packet::Pubcomp(bare(ack)),
        _ => return,
    };
    let _ = bare.encode(version, out);
}

/// Writes what became of a proposal into the answer that waited for it.
fn apply_outcome(pending: &mut Pending, outcome: Outcome) {
    match outcome {
        Outcome::Done { .. } | Outcome::Absent => {}
        Outcome::Rejected(Rejection::Absent) => {}
        Outcome::Rejected(rejection) => {
            let Refusal { code, words, version } = Refusal::of(rejection);
            pending.reason = code;
            pending.detail = Some(words.into());
            pending.version = version;
        }
        Outcome::Full => {
            pending.reason = ReasonCode::QuotaExceeded;
            pending.detail = Some(DISK_FULL.into());
        }
        Outcome::Unreadable(words) => {
            pending.reason = ReasonCode::UnspecifiedError;
            pending.detail = Some(words.into());
        }
    }
}

const DISK_FULL: &str = "the disk is full";

/// What a client is told of a decision that went against it.
pub(super) struct Refusal {
    pub code: ReasonCode,
    pub words: String,
    /// Of the record there is, where that is why.
    pub version: Option<u64>,
}

impl Refusal {
    pub(super) fn of(rejection: Rejection) -> Refusal {
        let (code, words, version) = match rejection {
            Rejection::Condition(version) => {
                (ReasonCode::ImplementationSpecificError, "the condition does not hold".to_owned(), version)
            }
            Rejection::Absent => (ReasonCode::Success, String::new(), None),
            Rejection::Invalid(words) => (ReasonCode::PayloadFormatInvalid, words, None),
            Rejection::Denied(words) => (ReasonCode::NotAuthorized, words, None),
        };
        Refusal { code, words, version: version.map(|version| version.0) }
    }

    /// Whether the operator is told as well: not of a condition that does not hold, which is what it is for.
    pub(super) fn is_told(code: ReasonCode) -> bool {
        matches!(code, ReasonCode::PayloadFormatInvalid | ReasonCode::NotAuthorized | ReasonCode::UnspecifiedError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_lists_are_to_spare_than_the_bounds_say() {
        let mut spare = SpareAcks::default();
        spare.keep(VecDeque::with_capacity(SPARE_ACKS_MAX + 1));
        assert_eq!(spare.take().capacity(), 0, "a large one is freed");
        for _ in 0..SPARE_ACK_LISTS_MAX + 1 {
            spare.keep(VecDeque::with_capacity(SPARE_ACKS_MAX));
        }
        for left in (0..SPARE_ACK_LISTS_MAX).rev() {
            assert_eq!((spare.take().capacity(), spare.0.len()), (SPARE_ACKS_MAX, left));
        }
        assert_eq!(spare.take().capacity(), 0);
    }
}
