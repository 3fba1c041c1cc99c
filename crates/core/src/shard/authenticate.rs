//! Enhanced authentication: AUTH, before CONNACK and again later (MQTT 5 §4.12).
//!
//! When an AUTH may come and what it must repeat is decided here; what a method makes of its data is not known here:
//! [`Effect::Exchange`] hands out what the client says, [`Input::Exchanged`](super::Input) brings what to answer.

use super::connection::{Connection, ConnectionId, Phase};
use super::{Effect, Moment, Shard};
use crate::policy::Principal;
use rowcast_codec::{Auth, AuthProperties, Packet, ReasonCode, Secret};
use std::sync::Arc;

/// How a client that named a method in CONNECT proves who it is, for as long as its connection lasts.
///
/// ```text
/// CONNECT ─▶ Checking ─challenge─▶ Challenged ─AUTH 0x18─▶ Checking ─known─▶ Settled
///               └──────────────────────────────────────────── AUTH 0x19 ◀───────┘
/// ```
/// Whatever does not fit ends the connection, as does a client that is not known in the end [MQTT-4.12.0-4].
#[derive(Debug)]
pub(super) struct Exchange {
    method: Box<str>,
    stage: Stage,
    /// Whom it has to turn out to be: the user that CONNECT names, or the one who is here already.
    user: Option<Arc<str>>,
    /// When an exchange under way must be over (monotonic milliseconds).
    deadline_ms: u64,
    /// What CONNACK has to say to the client.
    last_data: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Somebody looks at what the client said.
    Checking,
    /// It is the client's turn.
    Challenged,
    /// It is known who the client is.
    Settled,
}

/// Whether a client's data is the first of an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Round {
    /// It is; what was under way is over.
    First,
    /// It answers a challenge.
    Next,
}

/// What a method makes of a client's data, unless it refuses the client.
#[derive(PartialEq, Eq, Debug)]
pub enum Progress {
    /// The client is to answer this.
    Challenge(Vec<u8>),
    /// It is who it says.
    Known {
        /// Who that is.
        principal: Principal,
        /// The method's last word.
        data: Option<Vec<u8>>,
    },
}

impl Exchange {
    pub(super) fn new(method: &str, user: Option<&str>, deadline_ms: u64) -> Exchange {
        let user = user.map(Arc::from);
        Exchange { method: method.into(), stage: Stage::Checking, user, deadline_ms, last_data: None }
    }

    pub(super) fn is_clients_turn(&self) -> bool {
        self.stage == Stage::Challenged
    }

    /// When the client must have answered.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.is_clients_turn().then_some(self.deadline_ms)
    }

    /// Method and data for CONNACK [MQTT-4.12.0-5].
    pub(super) fn take_last_word(&mut self) -> (Box<str>, Option<Vec<u8>>) {
        (self.method.clone(), self.last_data.take())
    }
}

impl Shard {
    /// CONNECT named a method.
    pub(super) fn begin_exchange(&mut self, id: ConnectionId, exchange: Exchange, data: Option<&[u8]>) {
        let Some(connection) = self.connection_mut(id) else { return };
        connection.phase = Phase::Authenticating;
        connection.exchange = Some(Box::new(exchange));
        self.check_data(id, Round::First, data);
    }

    /// A packet of a client that has no CONNACK yet, while it is its turn to prove who it is [MQTT-3.1.2-30].
    pub(super) fn on_packet_before_connack(&mut self, id: ConnectionId, packet: &Packet<'_>, now: Moment) {
        match packet {
            Packet::Auth(auth) => self.on_auth(id, auth, now),
            Packet::Disconnect(disconnect) => self.on_disconnect(id, disconnect, now),
            _ => {
                self.refuse_exchange(id, ReasonCode::ProtocolError, "before CONNACK there is AUTH, or DISCONNECT", now)
            }
        }
    }

    pub(super) fn on_auth(&mut self, id: ConnectionId, auth: &Auth<'_>, now: Moment) {
        let timeout_ms = u64::from(self.settings.limits.connect_timeout_ms);
        let Some(Connection { phase, principal, exchange, .. }) = self.connection_mut(id) else { return };
        let is_open = *phase == Phase::Open;
        let fault = |words| (ReasonCode::ProtocolError, words);
        let round = match (exchange, auth.reason) {
            (None, _) => Err(fault("AUTH without an authentication method")), // [MQTT-4.12.0-7]
            (Some(exchange), _) if auth.properties.authentication_method != Some(&exchange.method) => {
                Err(fault("AUTH with another authentication method than CONNECT")) // [MQTT-4.12.0-5]
            }
            (Some(exchange), ReasonCode::ContinueAuthentication) if exchange.stage == Stage::Challenged => {
                exchange.stage = Stage::Checking;
                Ok(Round::Next)
            }
            (Some(exchange), ReasonCode::Reauthenticate) if is_open && exchange.stage == Stage::Settled => {
                exchange.stage = Stage::Checking;
                exchange.user = principal.user.clone();
                exchange.deadline_ms = now.monotonic_ms + timeout_ms;
                Ok(Round::First)
            }
            (Some(_), ReasonCode::ContinueAuthentication) => Err(fault("AUTH that answers no challenge")),
            (Some(_), ReasonCode::Reauthenticate) => Err(fault("AUTH that begins anew before the exchange is over")),
            (Some(_), _) => Err(fault("AUTH that only servers send")),
        };
        match round {
            Ok(round) => self.check_data(id, round, auth.properties.authentication_data.map(|data| data.0)),
            Err((reason, words)) => self.refuse_exchange(id, reason, words, now),
        }
    }

    fn check_data(&mut self, connection: ConnectionId, round: Round, data: Option<&[u8]>) {
        let Some(Connection { exchange: Some(exchange), .. }) = self.connection(connection) else { return };
        let (method, data) = (exchange.method.clone(), data.map(<[u8]>::to_vec));
        self.effects.push(Effect::Exchange { connection, method, round, data });
    }

    /// What a client said was looked at.
    pub(super) fn on_exchanged(&mut self, id: ConnectionId, result: Result<Progress, ReasonCode>, now: Moment) {
        let Some(Connection { phase, exchange: Some(exchange), .. }) = self.connection_mut(id) else { return };
        let is_open = *phase == Phase::Open;
        if exchange.stage != Stage::Checking || !(is_open || *phase == Phase::Authenticating) {
            return;
        }
        match result {
            Ok(Progress::Challenge(data)) => {
                exchange.stage = Stage::Challenged;
                self.send_auth(id, ReasonCode::ContinueAuthentication, Some(&data), now); // [MQTT-4.12.0-2]
            }
            Ok(Progress::Known { principal, .. })
                if exchange.user.is_some() && exchange.user.as_deref() != principal.user.as_deref() =>
            {
                let words = "the authentication is another user's than the connection";
                self.refuse_exchange(id, ReasonCode::NotAuthorized, words, now);
            }
            Ok(Progress::Known { principal, data }) => {
                exchange.stage = Stage::Settled;
                if is_open {
                    self.on_known_again(id, principal, data.as_deref(), now);
                } else {
                    exchange.last_data = data;
                    self.on_known(id, principal, now);
                }
            }
            Err(reason) => {
                let words = match reason {
                    ReasonCode::BadAuthenticationMethod => "the authentication method is not known",
                    _ => "the authentication failed",
                };
                self.refuse_exchange(id, reason, words, now);
            }
        }
    }

    /// A client that was in already has proven anew who it is: from here on, what its account may do now holds.
    fn on_known_again(&mut self, id: ConnectionId, principal: Principal, data: Option<&[u8]>, now: Moment) {
        let Some(connection) = self.connection_mut(id) else { return };
        connection.principal = principal;
        self.renew_rights(id, now);
        self.send_auth(id, ReasonCode::Success, data, now);
    }

    fn send_auth(&mut self, id: ConnectionId, reason: ReasonCode, data: Option<&[u8]>, now: Moment) {
        let Some(Connection { exchange: Some(exchange), .. }) = self.connection(id) else { return };
        let method = exchange.method.clone();
        let properties = AuthProperties {
            authentication_method: Some(&method),
            authentication_data: data.map(Secret),
            ..AuthProperties::default()
        };
        self.send(id, &Packet::Auth(Auth { reason, properties }), now);
    }

    /// Ends the connection with CONNACK if the client is not in, with DISCONNECT if it is [MQTT-4.12.1-2].
    fn refuse_exchange(&mut self, id: ConnectionId, reason: ReasonCode, words: &str, now: Moment) {
        match self.connection(id).map(|connection| connection.phase) {
            Some(Phase::Authenticating) => self.refuse_connect(id, reason, words, now),
            _ => self.close(id, reason, words, now),
        }
    }
}
