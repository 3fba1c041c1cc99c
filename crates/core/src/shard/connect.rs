//! CONNECT, step by step: is it well-formed, who is it, whose session is it, is everything on disk.

use super::acks::for_operator;
use super::aliases::Aliases;
use super::asks;
use super::authenticate::Exchange;
use super::claims::ClaimingSession;
use super::connection::{Agreed, ConnectionId, Opening, Phase, Then};
use super::end::{TAKEN_OVER, deletes_of, is_there, rows_of};
use super::publish::Refused;
use super::remains::Fate;
use super::resume::{Resumed, rejoin};
use super::wills::Will;
use super::{Arrival, Claimant, Effect, Moment, Previous, Report, Settings, Shard, StoredRows};
use crate::catalog::Resolved;
use crate::change::{internal_delete, internal_row};
use crate::limits::Limits;
use crate::mqtt::session::{Flow, ForAll, Session, rows};
use crate::mqtt::window::Window;
use crate::policy::{Operation, Principal};
use crate::position::TableId;
use crate::proposal::{Decision, Durability};
use crate::tables::Tables;
use rowcast_codec::{Connack, Connect, DecodeError, Packet, ReasonCode, Secret, Topic, TopicFilter, Version};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Shard {
    pub(super) fn on_connect(&mut self, id: ConnectionId, connect: &Connect<'_>, now: Moment) {
        let Some(connection) = self.connection_mut(id) else { return };
        let Phase::Waiting { deadline_ms } = connection.phase else { return };
        connection.version = connect.version;
        connection.is_bridge = connect.is_bridge;
        connection.packet_max = connect.properties.maximum_packet_size.unwrap_or(u32::MAX);
        connection.heard_ms = now.monotonic_ms;
        if let Err(Refused(reason, words)) = self.read_connect(id, connect, now) {
            return self.refuse_connect(id, reason, &words, now);
        }
        if let Some(method) = connect.properties.authentication_method {
            // Whoever names a method proves by it who they are; a password beside it is not looked at.
            let exchange = Exchange::new(method, connect.username, deadline_ms);
            return self.begin_exchange(id, exchange, connect.properties.authentication_data.map(|data| data.0));
        }
        let Some(connection) = self.connection_mut(id) else { return };
        // A password says who it is. Without one a client is whoever anyone is here, under any name: libraries put words
        // of their own into that field. Fields of a form that are left empty are none.
        let user = connect.username.filter(|user| !user.is_empty());
        let password = connect.password.filter(|password| user.is_some() || !password.0.is_empty());
        match (user, password, connection.peer.trusted.take()) {
            (_, None, Some(principal)) => self.on_known(id, *principal, now),
            (None, None, None) => self.refuse_connect(id, ReasonCode::NotAuthorized, "a user name is needed", now),
            (user, password, _) => {
                connection.phase = Phase::Authenticating;
                self.effects.push(Effect::Authenticate {
                    connection: id,
                    user: user.unwrap_or_default().into(),
                    password: password.map(|password| password.0.to_vec()).unwrap_or_default(),
                });
            }
        }
    }

    /// What should have been a CONNECT, of which the beginning is here. It is answered where it is known how its client
    /// reads an answer, and there is a code for it: for another version [MQTT-3.1.2-2], for too many bytes, and in MQTT 5 for
    /// properties that say what they may not. What is no packet at all is not.
    pub(super) fn on_connect_fault(&mut self, id: ConnectionId, begun: &[u8], fault: &DecodeError, now: Moment) {
        let form = match fault {
            DecodeError::ProtocolLevel { form, .. } => Some(*form),
            DecodeError::ProtocolName => Some(Version::V311),
            DecodeError::TooLarge { .. } => Connect::version_of(begun),
            DecodeError::UnknownProperty { .. }
            | DecodeError::PropertyNotAllowed { .. }
            | DecodeError::DuplicateProperty { .. }
            | DecodeError::PropertyValue { .. }
            | DecodeError::NoAuthenticationMethod { .. } => {
                Connect::version_of(begun).filter(|version| *version >= Version::V5)
            }
            _ => None,
        };
        match (form, self.connection_mut(id)) {
            (Some(form), Some(connection)) => {
                connection.version = form;
                self.refuse_connect(id, fault.reason(), &fault.to_string(), now);
            }
            _ => self.close_silently(id, None, &fault.to_string(), now), // [MQTT-3.1.4-1]
        }
    }

    fn read_connect(&mut self, id: ConnectionId, connect: &Connect<'_>, now: Moment) -> Result<(), Refused> {
        let refused = |reason, words: &str| Err(Refused(reason, words.to_owned()));
        let limits = self.settings.limits.clone();
        let is_v5 = connect.version == Version::V5;
        if connect.client_id.len() > usize::from(limits.client_id_bytes) {
            return refused(ReasonCode::ClientIdentifierNotValid, "the client identifier is too long");
        }
        if connect.client_id.is_empty() && connect.version == Version::V31 {
            let words = "MQTT 3.1 has no connection without a client identifier"; // MQTT 3.1, section CONNECT.
            return refused(ReasonCode::ClientIdentifierNotValid, words);
        }
        if connect.client_id.is_empty() && !is_v5 && !connect.clean_start {
            let words = "a session that lasts needs a client identifier";
            return refused(ReasonCode::ClientIdentifierNotValid, words); // [MQTT-3.1.3-8]
        }
        let assigned = connect.client_id.is_empty();
        let client_id = if assigned { self.new_client_id() } else { connect.client_id.into() };
        let asked_secs = match connect.version {
            Version::V5 => connect.properties.session_expiry_secs.unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => u32::MAX,
        };
        let will = match &connect.will {
            Some(will) => Some(Box::new(self.read_will(id, will, now)?)),
            None => None,
        };
        let wanted = connect.properties.receive_maximum.unwrap_or(u16::MAX);
        let opening = Opening {
            client_id,
            assigned,
            arrival: self.settings.arrivals.fetch_add(1, Ordering::Relaxed),
            clean_start: connect.clean_start,
            expiry_secs: asked_secs.min(limits.session_expiry_max_secs),
            receive_maximum: wanted.min(limits.inflight),
            meta: asks::meta(&connect.properties.user_properties)?,
            format: asks::format(&connect.properties.user_properties)?,
            will,
            superseded: None,
            resuming: None,
        };
        let Some(connection) = self.connection_mut(id) else { return Ok(()) };
        let keep_alive = match limits.keep_alive_max_secs {
            max if max == 0 || !is_v5 => connect.keep_alive_secs, // MQTT 3 cannot be told another one.
            max if connect.keep_alive_secs == 0 || connect.keep_alive_secs > max => max,
            _ => connect.keep_alive_secs,
        };
        connection.clean_start = connect.clean_start;
        connection.keep_alive_secs = keep_alive;
        connection.keep_alive_told = is_v5.then_some(keep_alive).filter(|&told| told != connect.keep_alive_secs);
        connection.expiry_asked = asked_secs;
        let aliases_max = connect.properties.topic_alias_maximum.unwrap_or(0).min(limits.topic_alias_maximum);
        connection.own_aliases = Aliases::new(aliases_max);
        let Limits { packet_bytes, receive_maximum, topic_alias_maximum, .. } = limits;
        connection.agreed = Agreed { packet_bytes, receive_maximum, topic_alias_maximum };
        connection.problem_information = connect.properties.request_problem_information.unwrap_or(true);
        connection.response_information = connect.properties.request_response_information.unwrap_or(false);
        connection.opening = Some(Box::new(opening));
        Ok(())
    }

    /// Somebody's credentials were checked.
    pub(super) fn on_authenticated(&mut self, id: ConnectionId, result: Result<Principal, ReasonCode>, now: Moment) {
        match self.connection(id) {
            Some(connection) if connection.phase == Phase::Authenticating => {}
            _ => return,
        }
        match result {
            Ok(principal) => self.on_known(id, principal, now),
            Err(reason) => {
                let words = match reason {
                    ReasonCode::ServerBusy => "too many passwords are being checked; come again after a pause",
                    ReasonCode::ConnectionRateExceeded => "too many attempts failed; come again after a pause",
                    _ => "the user name or password is wrong",
                };
                self.refuse_connect(id, reason, words, now)
            }
        }
    }

    pub(super) fn on_known(&mut self, id: ConnectionId, principal: Principal, now: Moment) {
        let shard = self.settings.index;
        let (tables, policy) = (Arc::clone(&self.tables), Arc::clone(&self.policy));
        let Some(connection) = self.connection_mut(id) else { return };
        let Some(opening) = &mut connection.opening else { return };
        let rights = policy.rights(&principal, &opening.client_id);
        if let Some(will) = &mut opening.will {
            if let Err(denied) = will.is_allowed(&tables, &rights) {
                let words = format!("the will: {denied}");
                return self.refuse_connect(id, ReasonCode::NotAuthorized, &words, now);
            }
            will.maker = principal.in_name();
        }
        let claimant = Claimant {
            shard,
            connection: id,
            clean_start: opening.clean_start,
            arrival: opening.arrival,
            only_takes_over: connection.peer.is_beyond,
        };
        let claim = Effect::Claim { client_id: opening.client_id.clone(), user: principal.user.clone(), claimant };
        connection.principal = principal;
        connection.rights = rights;
        connection.phase = Phase::Claiming;
        self.effects.push(claim);
    }

    /// The client identifier is ours; `previous` is what there was under it.
    pub(super) fn on_claimed(&mut self, id: ConnectionId, previous: Previous, now: Moment) {
        let Some(connection) = self.connection_mut(id).filter(|connection| connection.phase == Phase::Claiming) else {
            return self.on_abandoned(id, previous); // Closed meanwhile.
        };
        let Some(opening) = connection.opening.take() else { return };
        let previous = match previous {
            Previous::Unread if opening.superseded.is_none() && self.may_be_stored(&opening) => {
                let client_id = opening.client_id.clone();
                self.effects.push(Effect::LoadSession { client_id, connection: id });
                if let Some(connection) = self.connection_mut(id) {
                    connection.opening = Some(opening);
                }
                return;
            }
            Previous::Unread => Previous::Stored(StoredRows::default()),
            read => read,
        };
        let Some(connection) = self.connection_mut(id) else { return };
        if let Some(claimant) = opening.superseded {
            // The next one is waiting already: this one never gets to be.
            let session = match previous {
                Previous::Live(session) => Some(session),
                _ => None,
            };
            self.hand_off(claimant, session);
            return self.close_overtaken(id, now);
        }
        let user = connection.principal.user.clone();
        let fits = |session: &Session| session.user.as_deref() == user.as_deref();
        let (session, rows) = match previous {
            Previous::Refused => {
                let refused = (ReasonCode::NotAuthorized, "the session belongs to another user");
                return self.refuse_client(id, opening.client_id, refused, now);
            }
            Previous::NoRoom => {
                let refused = (ReasonCode::QuotaExceeded, "too many connections");
                return self.refuse_client(id, opening.client_id, refused, now);
            }
            Previous::Overtaken => return self.close_overtaken(id, now),
            Previous::Unreadable => {
                let refused = (ReasonCode::ServerUnavailable, "the session cannot be read");
                return self.refuse_claimed(id, opening.client_id, refused, now);
            }
            Previous::Unread => return,
            // Handed over to be gone on with: none of its rows ends.
            Previous::Live(session) => (Some(session), None),
            Previous::Stored(rows) => (loaded(&opening.client_id, &rows, now), Some(rows)),
        };
        if session.as_ref().is_some_and(|session| !fits(session)) {
            let refused = (ReasonCode::NotAuthorized, "the session belongs to another user");
            return self.refuse_claimed(id, opening.client_id, refused, now);
        }
        match session.filter(|_| !opening.clean_start) {
            Some(session) => self.begin_resuming(id, opening, session, rows.map(|rows| rows.subscriptions), now),
            None => self.establish(id, *opening, None, &rows.unwrap_or_default(), now),
        }
    }

    /// Whether the store may hold something that a new session has to know of. Most clients want a session that ends
    /// with the connection, have left none, and are in without a look at the store.
    ///
    /// What is left of a session whose time ran out is taken away by and by (`on_purge`), but not once there is a new
    /// one that lasts: that has to clear it away itself.
    fn may_be_stored(&self, opening: &Opening) -> bool {
        let client_id = opening.client_id.as_bytes();
        opening.expiry_secs > 0 || self.settings.session_quota.has(client_id) || self.wills.contains(client_id)
    }

    /// A claim was answered whose connection is gone.
    fn on_abandoned(&mut self, id: ConnectionId, previous: Previous) {
        let Some(opening) = self.abandoned.remove(&id) else { return };
        let client_id = opening.client_id;
        match (opening.superseded, previous) {
            (Some(claimant), Previous::Live(session)) => self.hand_off(claimant, Some(session)),
            (Some(claimant), _) => self.hand_off(claimant, None),
            (None, _) => self.effects.push(Effect::Release { client_id, connection: id }),
        }
    }

    /// Makes the session, or goes on with one whose filters are all in place, and puts on disk what must be there before
    /// CONNACK. `ended`: the rows of one that is over.
    pub(super) fn establish(
        &mut self,
        id: ConnectionId,
        opening: Opening,
        resumed: Option<Resumed>,
        ended: &StoredRows,
        now: Moment,
    ) {
        let Settings { session_quota, limits, .. } = &self.settings;
        if opening.expiry_secs > 0 && !session_quota.take(opening.client_id.as_bytes(), limits.sessions) {
            if let Some(Resumed { mut session, .. }) = resumed {
                self.take_out_filters(id, &mut session, Fate::Dropped);
            }
            return self.refuse_claimed(id, opening.client_id, (ReasonCode::QuotaExceeded, "too many sessions"), now);
        }
        let for_all = self.for_all(id, &opening);
        let Opening { client_id, assigned, expiry_secs, receive_maximum, will, .. } = opening;
        let session_present = resumed.is_some();
        let (resumed, shared) = resumed.map(|Resumed { session, shared }| (session, shared)).unzip();
        let seen = self.seen;
        if !session_present {
            // The session whose will was waiting is over [MQTT-3.1.2-8]. One whose row does not say that it waits is being
            // published already, or taken away, where the disk had no room for it before.
            if let Some((will, 1..)) = ended.will.as_deref().and_then(Will::parse) {
                self.publish_will(&client_id, &will, true);
            }
        }
        let number = self.session_number();
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        let user = connection.principal.user.clone();
        let mut session = resumed.unwrap_or_else(|| {
            Box::new(Session::new(number, &client_id, user.as_deref(), receive_maximum, now.committed))
        });
        session.expiry_secs = expiry_secs;
        session.for_all = for_all;
        if session_present {
            let after = session.position(seen);
            session.away_until = now.committed;
            session.flow = Flow::Behind { after };
        }
        session.snapshots.settle(|_| Some(now.committed)); // Their SUBACK was never sent.
        session.resume(receive_maximum);
        // What it has begun of groups and could not claim before, it claims now.
        let stored = session.is_durable().then(|| ClaimingSession::connected(&session, seen, number.0));
        let will_row = will.as_ref().map(|will| will.row(0));
        // CONNACK waits for what ends too: who comes back after it must not find an earlier session.
        let mut changes = deletes_of(&client_id, ended);
        // It lasted, but will not outlive this connection: nothing of it stays stored.
        let outlived = (session_present && stored.is_none()).then(|| rows_of(&session));
        changes.extend(stored.iter().flat_map(ClaimingSession::changes));
        changes.extend(outlived.iter().flat_map(|rows| deletes_of(&client_id, rows)));
        match &will_row {
            Some(row) => changes.push(internal_row(TableId::WILLS, client_id.as_bytes(), row)),
            None if session_present => changes.push(internal_delete(TableId::WILLS, client_id.as_bytes())),
            None => {}
        }
        connection.will = will;
        connection.assigned = assigned;
        connection.session = Some(session);
        connection.phase = Phase::Opening;
        let then = Then::Connack { session_present, lasts: stored.is_some(), shared: shared.unwrap_or_default() };
        if changes.is_empty() {
            self.answer_now(id, then, ReasonCode::Success, now);
        } else {
            let token = self.token(id.slot);
            if session_present {
                // Its time may have run out since it was read: then it is gone, with all it had.
                let decision = Decision::new(TableId::SESSIONS, client_id.as_bytes().to_vec(), Box::new(is_there));
                self.proposals.push_decided(Some(token), Durability::Sync, decision, &changes);
            } else {
                self.proposals.push(Some(token), Durability::Sync, &changes);
            }
            self.answer_later(id, then, token, now);
        }
    }

    /// What a connection asks for on all its subscriptions.
    pub(super) fn for_all(&self, id: ConnectionId, opening: &Opening) -> ForAll {
        let of_network = self.connection(id).map(|connection| connection.peer.format);
        ForAll { meta: opening.meta, format: opening.format.or(of_network).unwrap_or_default() }
    }

    /// Everything is on disk: the client is in.
    pub(super) fn open(
        &mut self,
        id: ConnectionId,
        (session_present, lasts): (bool, bool),
        shared: &[Box<str>],
        reason: ReasonCode,
        now: Moment,
    ) {
        if lasts && let Some(connection) = self.connection(id) {
            self.settings.session_quota.settle(connection.client_id().as_bytes());
        }
        if reason.is_error() {
            let is_gone = reason == ReasonCode::ServerUnavailable;
            let words = if is_gone { "the session has just ended" } else { "the session cannot be stored" };
            if let Some(connection) = self.connection_mut(id) {
                connection.will = None; // Its row was to be written with the session.
                if let Some(session) = connection.session.as_mut().filter(|_| is_gone || !session_present) {
                    // Nothing of it is stored, and nothing is to be. What it had begun of groups is others' by now.
                    session.expiry_secs = 0;
                    session.window = Window::new(1, 0);
                }
            }
            return self.refuse_connect(id, reason, words, now);
        }
        let response_topic = self.response_topic(id);
        let Some(connection) = self.connection_mut(id) else { return };
        connection.heard_ms = now.monotonic_ms;
        let Some(session) = &connection.session else { return };
        let client_id = session.client_id.clone();
        let mut connack = Connack { session_present, reason: ReasonCode::Success, properties: Default::default() };
        if connection.is_v5() {
            let (properties, agreed) = (&mut connack.properties, connection.agreed);
            let told = session.expiry_secs;
            properties.session_expiry_secs = Some(told).filter(|&told| told != connection.expiry_asked);
            properties.receive_maximum = Some(agreed.receive_maximum).filter(|&maximum| maximum != u16::MAX);
            properties.maximum_packet_size = Some(agreed.packet_bytes);
            properties.topic_alias_maximum = Some(agreed.topic_alias_maximum).filter(|&maximum| maximum > 0);
            properties.server_keep_alive_secs = connection.keep_alive_told;
            properties.assigned_client_id = connection.assigned.then_some(&*client_id);
            properties.response_information = response_topic.as_deref();
        }
        let last_word = connection.exchange.as_mut().map(|exchange| exchange.take_last_word());
        if let Some((method, data)) = &last_word {
            connack.properties.authentication_method = Some(method);
            connack.properties.authentication_data = data.as_deref().map(Secret);
        }
        let arrival = Arrival {
            client_id: client_id.clone(),
            user: connection.principal.user.clone(),
            address: Arc::clone(&connection.peer.address),
            version: connection.version,
            clean_start: connection.clean_start,
            session_present,
            expiry_secs: session.expiry_secs,
            keep_alive_secs: connection.keep_alive_secs,
        };
        if lasts && let Some(session) = &mut connection.session {
            session.window.stored();
            session.window.claimed();
        }
        if !self.send(id, &Packet::Connack(connack), now) {
            return;
        }
        let Some(connection) = self.connection_mut(id) else { return };
        connection.phase = Phase::Open;
        self.counters.connected += 1;
        self.lasting += usize::from(lasts);
        self.effects.push(Effect::Report(Report::Connected(Box::new(arrival))));
        shared.iter().for_each(|spelled| self.enter_group(id, spelled, now.committed));
        self.pump(id, now);
    }

    /// Where others may answer a client that asks for it: an open topic that is as much its own as its identifier, if
    /// it may listen there. What it appends to it is as good.
    fn response_topic(&self, id: ConnectionId) -> Option<String> {
        let connection = self.connection(id).filter(|connection| connection.response_information)?;
        let topic = format!("response/{}", connection.client_id());
        let is_open = self.settings.open_topics && matches!(self.tables.catalog().resolve(&topic), Resolved::Open);
        let is_topic = is_open && Topic::new(&topic).is_ok();
        let may_listen = connection.rights.may(Operation::Read, TableId::TOPICS, &topic);
        (is_topic && may_listen).then_some(topic)
    }

    pub(super) fn refuse_connect(&mut self, id: ConnectionId, reason: ReasonCode, words: &str, now: Moment) {
        let client_id = self.connection(id).map(|connection| connection.client_id().into());
        self.refuse_client(id, client_id.unwrap_or_default(), (reason, words), now);
    }

    /// Tells a client that is not in that another connection came with its identifier; there is no code for just that.
    /// `false`: the connection has ended, as the client takes no packet of that size.
    pub(super) fn tell_overtaken(&mut self, id: ConnectionId, now: Moment) -> bool {
        let reason = ReasonCode::ServerBusy;
        let mut connack = Connack { session_present: false, reason, properties: Default::default() };
        if self.connection(id).is_some_and(|connection| connection.is_v5()) {
            connack.properties.reason_string = Some(TAKEN_OVER);
        }
        self.send(id, &Packet::Connack(connack), now)
    }

    fn close_overtaken(&mut self, id: ConnectionId, now: Moment) {
        if self.tell_overtaken(id, now) {
            self.close_silently(id, Some(ReasonCode::ServerBusy), TAKEN_OVER, now);
        }
    }

    /// Gives the client identifier back that was claimed, and refuses the client.
    fn refuse_claimed(&mut self, id: ConnectionId, client_id: Box<str>, refused: (ReasonCode, &str), now: Moment) {
        self.effects.push(Effect::Release { client_id: client_id.clone(), connection: id });
        self.refuse_client(id, client_id, refused, now);
    }

    fn refuse_client(
        &mut self,
        id: ConnectionId,
        client_id: Box<str>,
        (reason, words): (ReasonCode, &str),
        now: Moment,
    ) {
        let Some(connection) = self.connection_mut(id) else { return };
        let address = Arc::clone(&connection.peer.address);
        let user = connection.principal.user.clone();
        let mut connack = Connack { session_present: false, reason, properties: Default::default() };
        if connection.is_v5() {
            connack.properties.reason_string = Some(words);
        }
        self.send(id, &Packet::Connack(connack), now);
        let report = Report::Refused { client_id, user, address, reason, words: for_operator(reason, words).into() };
        self.effects.push(Effect::Report(report));
        self.end(id, super::end::Cause::Closed, (Some(reason), words), now);
    }

    /// The schema was reloaded: filters may select other topics now.
    pub(super) fn on_tables(&mut self, tables: Arc<Tables>, now: Moment) {
        self.tables = tables;
        self.settings.reach.change_tables(self.settings.index);
        self.places.clear();
        self.interest.forget_all();
        self.durable.rebuild(&self.tables);
        self.rebuild_groups();
        let ids = self.connections.iter().map(|(slot, connection)| super::id_of(slot, connection));
        let in_groups: Vec<_> = ids.map(|id| (id, self.memberships_of(id))).collect();
        for (id, filters) in &in_groups {
            filters.iter().for_each(|filter| self.leave_group(*id, filter));
        }
        for (slot, connection) in &mut self.connections {
            let id = super::id_of(slot, connection);
            let Some((session, rights)) = connection.in_place() else { continue };
            for held in session.subscriptions.values().filter(|held| held.share.is_none()) {
                if let Ok(filter) = TopicFilter::new(&held.filter) {
                    self.interest.unsubscribe(&filter, held.subscription.subscriber, held.subscription.spelling);
                }
            }
            rejoin(id, session, (&self.tables, rights), &mut self.interest);
        }
        for (id, filters) in &in_groups {
            filters.iter().for_each(|filter| self.enter_group(*id, filter, now.committed));
        }
    }
}

/// A session from the store, without what it subscribes to.
fn loaded(client_id: &str, stored: &StoredRows, now: Moment) -> Option<Box<Session>> {
    let handshakes = stored.handshakes.iter().filter_map(|key| rows::parse_handshake(key));
    Session::load(client_id, stored.session.as_deref()?, handshakes, now.committed).map(Box::new)
}
