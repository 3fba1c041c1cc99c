//! How a connection ends: what becomes of its will, its subscriptions and its session.

use super::acks::for_operator;
use super::chores::Chore;
use super::claims::ClaimingSession;
use super::connection::{Connection, ConnectionId, Opening, Pending, Phase, Then};
use super::remains::Fate;
use super::storing::session_row;
use super::wills::Will;
use super::{Claimant, Effect, Moment, Report, Shard, StoredRows};
use crate::change::{Change, internal_delete};
use crate::mqtt::session::{Flow, Session, rows};
use crate::mqtt::window::Acknowledged;
use crate::position::{SessionId, TableId};
use crate::proposal::{Decision, Durability, Outcome, Rejection, Token};
use crate::record::Record;
use rowcast_codec::{Disconnect, Packet, PacketId, ReasonCode};
use std::collections::VecDeque;
use std::sync::Arc;

/// Why a connection ends that has lost its client identifier to another, in words for an operator.
pub(super) const TAKEN_OVER: &str = "another connection has the same client identifier";

/// Why a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// DISCONNECT: the will is not published [MQTT-3.14.4-3].
    Goodbye,
    /// The network, or the other side, closed it.
    Lost,
    /// We close it.
    Closed,
    /// Another connection has the client identifier now.
    Taken(Claimant),
}

/// What is taken from a connection when it ends.
struct Ending {
    /// How far it had come.
    was: Phase,
    /// [`Connection::forgotten`].
    forgotten: Option<Token>,
    acks: VecDeque<Pending>,
    will: Option<Box<Will>>,
    session: Option<Box<Session>>,
    opening: Option<Box<Opening>>,
}

impl Ending {
    fn of(connection: &mut Connection) -> Ending {
        connection.changing = 0;
        connection.queue_clear();
        connection.looking_up = None;
        connection.conflated = None;
        connection.aliases = Vec::new();
        connection.own_aliases = None;
        connection.held = None;
        Ending {
            was: std::mem::replace(&mut connection.phase, Phase::Closing),
            forgotten: connection.forgotten.take(),
            acks: std::mem::take(&mut connection.acks),
            will: connection.will.take(),
            session: connection.session.take(),
            opening: connection.opening.take(),
        }
    }

    /// Rows of subscriptions on their way to the disk.
    fn joining(&self) -> impl Iterator<Item = &[u8]> {
        let changed = self.acks.iter().filter_map(|pending| match &pending.then {
            Then::Suback { changed, .. } => Some(changed),
            _ => None,
        });
        changed.flatten().filter_map(|changed| changed.row.as_deref())
    }

    /// What becomes of its session.
    fn fate(&self, session: &Session) -> Fate {
        // Whether subscriptions that change are stored, and where they begin, the store knows.
        let changing = self.acks.iter().any(|pending| pending.then.changes());
        if session.is_durable() && !changing { Fate::Kept } else { Fate::Dropped }
    }

    /// What is kept of it until its end is decided; `withdrawn`: see [`Leaving::withdrawn`].
    fn leaving(
        self,
        connection: ConnectionId,
        session: Box<Session>,
        (claimant, withdrawn): (Option<Claimant>, Option<u64>),
        now: Moment,
    ) -> Leaving {
        let fate = self.fate(&session);
        let will = self.will.map(|will| will.number);
        let opening = self.acks.iter().find_map(|pending| match pending.then {
            Then::Connack { lasts, .. } => Some(InDoubt { token: pending.token?, lasts, will }),
            _ => None,
        });
        let undecided = self.acks.iter().filter_map(|pending| match (pending.token, &pending.then) {
            (Some(token), Then::Pubrec(packet)) => Some((token, *packet)),
            _ => None,
        });
        let is_durable = session.is_durable();
        let was_in = self.was == Phase::Open && (is_durable || self.forgotten.is_some());
        let has_row = was_in || opening.as_ref().is_some_and(|opening| opening.lasts);
        let ends_ms = has_row.then(|| expires_ms(session.expiry_secs, now));
        let client_id = session.client_id.clone();
        let session = Some(session).filter(|_| fate == Fate::Kept);
        let undecided = undecided.collect();
        Leaving { client_id, connection, session, claimant, undecided, opening, ends_ms, withdrawn }
    }
}

/// A session whose connection is gone.
pub(super) struct Leaving {
    pub client_id: Box<str>,
    pub connection: ConnectionId,
    /// `None`: it has ended, or is to be loaded from the store.
    pub session: Option<Box<Session>>,
    /// Who waits for it.
    pub claimant: Option<Claimant>,
    /// Publishes of QoS 2 that the writer may still refuse.
    pub undecided: Vec<(Token, PacketId)>,
    /// What was to be stored for it before CONNACK, if that was not decided by then.
    pub opening: Option<InDoubt>,
    /// Its row says that its client is there, and is to end then: milliseconds since 1970; the inner `None`: never.
    pub ends_ms: Option<Option<u64>>,
    /// The will that goes with its goodbye.
    pub withdrawn: Option<u64>,
}

/// What a connection was to have on disk, and has not if it is refused.
pub(super) struct InDoubt {
    pub token: Token,
    /// A session, which was counted for it.
    pub lasts: bool,
    /// The number of its will.
    pub will: Option<u64>,
}

impl Shard {
    pub(super) fn on_disconnect(&mut self, id: ConnectionId, disconnect: &Disconnect<'_>, now: Moment) {
        let max = self.settings.limits.session_expiry_max_secs;
        let Some(connection) = self.connection_mut(id) else { return };
        let (is_v5, asked) = (connection.is_v5(), connection.expiry_asked);
        if let (true, Some(expiry)) = (is_v5, disconnect.properties.session_expiry_secs)
            && let Some(session) = &mut connection.session
        {
            if asked == 0 && expiry > 0 {
                let words = "a session that was to end with its connection cannot be kept after all";
                return self.close(id, ReasonCode::ProtocolError, words, now); // MQTT 5 §3.14.2.2.2
            }
            match expiry.min(max) {
                _ if session.expiry_secs == 0 => {} // It was told so, whatever the bound is by now.
                0 => self.forget_session(id),
                expiry_secs => session.expiry_secs = expiry_secs,
            }
        }
        if let Some(connection) = self.connection_mut(id) {
            connection.goodbye = true;
        }
        let goodbye = !is_v5 || disconnect.reason == ReasonCode::Success;
        let words = if goodbye { "the client said goodbye".to_owned() } else { disconnect.reason.to_string() };
        let cause = if goodbye { Cause::Goodbye } else { Cause::Closed };
        self.end(id, cause, (Some(disconnect.reason), &words), now);
    }

    /// A session is not to outlive its connection: what is stored of it goes.
    pub(super) fn forget_session(&mut self, id: ConnectionId) {
        let Some(session) = self.session_mut(id) else { return };
        if !session.is_durable() {
            return;
        }
        session.expiry_secs = 0;
        let (rows, client_id) = (rows_of(session), session.client_id.clone());
        let token = self.token(id.slot);
        self.proposals.push(Some(token), Durability::Sync, &deletes_of(&client_id, &rows));
        if let Some(connection) = self.connection_mut(id) {
            connection.forgotten = Some(token);
        }
    }

    /// Somebody who looks after the node does not want this client.
    pub(super) fn on_dismissed(&mut self, id: ConnectionId, now: Moment) {
        self.close(id, ReasonCode::AdministrativeAction, "the connection was ended by an administrator", now);
    }

    /// The client may come again with something better.
    pub(super) fn on_expired(&mut self, id: ConnectionId, now: Moment) {
        self.close(id, ReasonCode::NotAuthorized, "the token has expired", now);
    }

    /// The node stops.
    pub(super) fn on_shutdown(&mut self, now: Moment) {
        let ids: Vec<ConnectionId> =
            self.connections.iter().map(|(slot, connection)| super::id_of(slot, connection)).collect();
        for id in ids {
            self.close(id, ReasonCode::ServerShuttingDown, "the server stops", now);
        }
    }

    /// Another connection takes over what `id` has, or waits for.
    pub(super) fn on_evict(&mut self, id: ConnectionId, claimant: Claimant, now: Moment) {
        if let Some(leaving) = self.leaving.values_mut().find(|leaving| leaving.connection == id) {
            leaving.claimant = Some(claimant);
            return;
        }
        if let Some(opening) = self.abandoned.get_mut(&id) {
            opening.superseded = Some(claimant);
            return;
        }
        let Some(connection) = self.connection_mut(id).filter(|connection| connection.phase != Phase::Closing) else {
            return self.hand_off(claimant, None);
        };
        if let (Phase::Claiming, Some(opening)) = (connection.phase, &mut connection.opening) {
            opening.superseded = Some(claimant); // Its own claim is not answered yet; what it brings goes on.
            return;
        }
        let told = match connection.phase {
            Phase::Open if connection.is_v5() => {
                let taken = Packet::Disconnect(Disconnect::new(ReasonCode::SessionTakenOver)); // [MQTT-3.1.4-3]
                self.send(id, &taken, now)
            }
            Phase::Resuming | Phase::Opening => self.tell_overtaken(id, now),
            _ => true,
        };
        if !told {
            return self.on_evict(id, claimant, now); // It has ended over that.
        }
        self.end(id, Cause::Taken(claimant), (Some(ReasonCode::SessionTakenOver), TAKEN_OVER), now);
    }

    /// Takes a connection's session and will away from it; what is in its outbox still goes out. `said`: what the client
    /// was told, or told us, and words for those who watch clients come and go.
    pub(super) fn end(&mut self, id: ConnectionId, cause: Cause, said: (Option<ReasonCode>, &str), now: Moment) {
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        if connection.phase == Phase::Closing {
            return;
        }
        if connection.phase == Phase::Open {
            self.count_out(id, said);
        }
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        let mut ending = Ending::of(connection);
        self.wake(id);
        for row in ending.joining() {
            self.joining.remove(row);
        }
        let claimant = match cause {
            Cause::Taken(claimant) => Some(claimant),
            _ => None,
        };
        let Some(mut session) = ending.session.take() else {
            match (ending.was, ending.opening) {
                // Until the claim is answered: what it brings must not be lost.
                (Phase::Claiming, Some(opening)) => drop(self.abandoned.insert(id, opening)),
                (Phase::Resuming, Some(opening)) => self.give_up_resuming(id, *opening, claimant),
                _ => {}
            }
            return;
        };
        let finished = self.finish_answered(&mut session, &ending.acks);
        let fate = ending.fate(&session);
        self.stop_listening(id, &mut session, fate);
        let withdrawn = self.part_with_will(&session, ending.will.as_deref(), cause, now);
        // From here on nothing is delivered: what is committed meanwhile is for its next connection, which reads on
        // from here, not from where its own shard has come to by then.
        session.flow = Flow::Behind { after: session.position(self.seen) };
        let Some(token) = self.propose_left(id, &session, &ending, (&finished, withdrawn), now) else {
            return self.free_client_id(session.client_id, id, claimant, None);
        };
        // Who comes next finds what is left, and nothing else; and who sees that we close the connection behind a
        // goodbye knows that no crash undoes it.
        let leaving = ending.leaving(id, session, (claimant, withdrawn), now);
        self.leaving.insert(token, leaving);
        if let Some(connection) = self.connection_mut(id).filter(|_| cause == Cause::Goodbye) {
            connection.parting = true;
        }
    }

    /// A client that was in is not any more.
    fn count_out(&mut self, id: ConnectionId, (code, words): (Option<ReasonCode>, &str)) {
        let Some(connection) = self.connection(id) else { return };
        let lasts = connection.session.as_ref().is_some_and(|session| session.is_durable());
        let lasted = lasts || connection.forgotten.is_some();
        let report = Report::Disconnected {
            client_id: connection.client_id().into(),
            user: connection.principal.user.clone(),
            address: Arc::clone(&connection.peer.address),
            code,
            reason: code.map_or(words, |code| for_operator(code, words)).into(),
        };
        self.lasting -= usize::from(lasted);
        self.effects.push(Effect::Report(report));
    }

    /// Nothing that is published reaches a connection any more.
    fn stop_listening(&mut self, id: ConnectionId, session: &mut Session, fate: Fate) {
        self.end_lag(id);
        self.leave_groups(id, session);
        self.take_out_filters(id, session, fate);
    }

    /// What is to be on disk, or gone from there, before the client identifier is another connection's; the proposal that
    /// all of it is known behind. `None`: there is nothing to wait for.
    fn propose_left(
        &mut self,
        id: ConnectionId,
        session: &Session,
        ending: &Ending,
        (finished, withdrawn): (&[Vec<u8>], Option<u64>),
        now: Moment,
    ) -> Option<Token> {
        let client_id = session.client_id.as_bytes();
        let (seen, unique, expires_ms) = (self.seen, self.number(), expires_ms(session.expiry_secs, now));
        let stored = session.is_durable().then(|| ClaimingSession::left(session, seen, expires_ms, unique));
        let mut changes: Vec<Change<'_>> = stored.iter().flat_map(ClaimingSession::changes).collect();
        changes.extend(finished.iter().map(|key| internal_delete(TableId::HANDSHAKES, key)));
        if withdrawn.is_some() {
            changes.push(internal_delete(TableId::WILLS, client_id)); // [MQTT-3.14.4-3]
        }
        if changes.is_empty() {
            // What it published passes through the log, and must not be overtaken by what the next one publishes.
            return ending.forgotten.or_else(|| ending.acks.iter().rev().find_map(|pending| pending.token));
        }
        let token = self.token(id.slot);
        if ending.was == Phase::Opening {
            // Where there was no room for the session, it has none, or one whose time may run out.
            let decision = Decision::new(TableId::SESSIONS, client_id.to_vec(), Box::new(is_there));
            self.proposals.push_decided(Some(token), Durability::Sync, decision, &changes);
        } else {
            self.proposals.push(Some(token), Durability::Sync, &changes);
        }
        Some(token)
    }

    /// PUBCOMP came for these deliveries, and whether that was written down is not known yet: they are over all the same,
    /// or the next connection would be sent a PUBREL for each [MQTT-4.3.3-5]. Returns the keys of their rows, which must
    /// go together with them.
    fn finish_answered(&mut self, session: &mut Session, acks: &VecDeque<Pending>) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        for pending in acks {
            let Then::Finished(packet) = pending.then else { continue };
            if let Acknowledged::Done(shared) = session.window.pubcomp(packet) {
                self.tell_done(shared);
                keys.push(rows::released(&session.client_id, packet));
            }
        }
        keys
    }

    /// A session that was left is on disk, or gone from there: it can be taken over, or forgotten here. If its row was not
    /// there any more, neither is the session.
    pub(super) fn on_left(&mut self, leaving: Leaving, outcome: &Outcome, now: Moment) {
        let Leaving { client_id, connection, session, claimant, opening, ends_ms, withdrawn, .. } = leaving;
        if opening.is_some_and(|opening| opening.lasts) {
            self.settings.session_quota.settle(client_id.as_bytes()); // It was stored before it was left.
        }
        if outcome.is_undecided() {
            if let Some(expires_ms) = ends_ms {
                let (client_id, until) = (client_id.clone(), now.committed);
                self.put_off(Chore::LeaveSession { client_id, until, expires_ms });
            }
            if let Some(number) = withdrawn {
                self.put_off(Chore::WithdrawWill { client_id: client_id.clone(), number });
            }
        }
        let session = session.filter(|_| !matches!(outcome, Outcome::Rejected(_)));
        if let Some(parted) = self.connection_mut(connection) {
            parted.parting = false;
            self.wake(connection);
        }
        self.free_client_id(client_id, connection, claimant, session);
    }

    /// A client identifier is not a connection's any more: who waits for it gets it, and what there is under it.
    pub(super) fn free_client_id(
        &mut self,
        client_id: Box<str>,
        connection: ConnectionId,
        claimant: Option<Claimant>,
        session: Option<Box<Session>>,
    ) {
        match claimant {
            Some(claimant) => self.hand_off(claimant, session),
            None => {
                self.effects.push(Effect::Release { client_id, connection });
                session.into_iter().for_each(|session| self.let_go(session));
            }
        }
    }

    /// What there is under a client identifier, on disk as it is here, goes to the connection that waits for it. One that
    /// wants nothing of it finds in the store what is to end: its will as well, if that was to wait.
    pub(super) fn hand_off(&mut self, claimant: Claimant, session: Option<Box<Session>>) {
        let (session, unwanted) = if claimant.clean_start { (None, session) } else { (session, None) };
        unwanted.into_iter().for_each(|session| self.let_go(session));
        self.effects.push(Effect::HandOff { claimant, session });
    }

    // Stored sessions ------------------------------------------------------------------------------------------------------

    /// A row of [`TableId::SESSIONS`] that is there when the node starts. If its client was connected when the node ended,
    /// its time begins now. Returns which session it is, and how many seconds it outlives its connection; `None` if the
    /// row is not a session.
    pub(super) fn restore_session(&mut self, client_id: &str, row: &[u8], now: Moment) -> Option<(SessionId, u32)> {
        let (session, interrupted) = Session::interrupted(row, now.committed)?;
        if let Some(interrupted) = interrupted {
            let (expires_ms, token) = (expires_ms(session.expiry_secs, now), self.token(0));
            let row = session_row(client_id, &interrupted, expires_ms);
            // Where there is room, nobody is let in before it is written.
            self.proposals.push(Some(token), Durability::Sync, &[row]);
            self.expect_chore(
                token,
                Chore::LeaveSession { client_id: client_id.into(), until: now.committed, expires_ms },
            );
        }
        Some((SessionId(session.id), session.expiry_secs))
    }

    /// The store removed a session whose time ran out.
    pub(super) fn on_session_expired(&mut self, key: &[u8]) {
        self.counters.expired += 1;
        if let Ok(client_id) = std::str::from_utf8(key) {
            self.begin_chore(Chore::Purge { client_id: client_id.into() });
        }
    }
}

/// Decides for what is only to be done if there is such a record.
pub(super) fn is_there(row: Option<&Record<'_>>, _: u64, _: &mut Vec<u8>) -> Result<(), Rejection> {
    row.map(|_| ()).ok_or(Rejection::Absent)
}

/// When a session that is left now ends (milliseconds since 1970); `None`: never.
fn expires_ms(expiry_secs: u32, now: Moment) -> Option<u64> {
    (expiry_secs != u32::MAX).then(|| now.wall_ms + u64::from(expiry_secs) * 1000)
}

/// The rows a session has.
pub(super) fn rows_of(session: &Session) -> StoredRows {
    let client_id = &*session.client_id;
    let subscriptions = session
        .subscriptions
        .iter()
        .map(|(spelled, held)| (rows::subscription(client_id, spelled, &held.options), Vec::new(), Default::default()))
        .collect();
    let received = session.received.iter().map(|&id| rows::received(client_id, id));
    let released = session.window.released().map(|id| rows::released(client_id, id));
    let handshakes = received.chain(released).collect();
    StoredRows { session: Some(Vec::new()), has_expired: false, subscriptions, handshakes, will: None }
}

/// Deletes of all rows of a session.
pub(super) fn deletes_of<'a>(client_id: &'a str, rows: &'a StoredRows) -> Vec<Change<'a>> {
    // One whose time ran out and that is only replaced would never be said to be gone: its groups wait for that.
    let is_there = rows.session.is_some() || rows.has_expired;
    let session = is_there.then(|| internal_delete(TableId::SESSIONS, client_id.as_bytes()));
    let subscriptions = rows.subscriptions.iter().map(|(key, _, _)| internal_delete(TableId::SUBSCRIPTIONS, key));
    let handshakes = rows.handshakes.iter().map(|key| internal_delete(TableId::HANDSHAKES, key));
    session.into_iter().chain(subscriptions).chain(handshakes).collect()
}
