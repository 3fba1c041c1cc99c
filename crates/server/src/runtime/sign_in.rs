//! Who the other ends of a shard's connections are, and how they show it.

use super::Runtime;
use crate::admission::Place;
use crate::auth::{AuthError, Exchange, Lease, Method, SignedIn, Step};
use crate::db::now_ms;
use rowcast_codec::ReasonCode;
use rowcast_core::policy::Principal;
use rowcast_core::shard::{ConnectionId, Input, Progress, Round};
use std::net::IpAddr;
use std::rc::Rc;

/// What is known of a connection's other end, and is not the shard's to know.
pub(super) struct Visitor {
    pub address: IpAddr,
    /// Keeps the password it came in with from being hashed again while it is here.
    pub lease: Option<Lease>,
    /// When the token it came in with expires, in seconds since 1970.
    pub until_secs: Option<u64>,
    pub method: Method,
    /// Its place among the connections there may be.
    pub place: Option<Place>,
}

impl Default for Visitor {
    fn default() -> Visitor {
        let address = IpAddr::from([0, 0, 0, 0]);
        Visitor { address, lease: None, until_secs: None, method: Method::Nothing, place: None }
    }
}

impl Runtime {
    /// Name and password of a CONNECT.
    pub(super) async fn authenticate(self: Rc<Self>, connection: ConnectionId, user: &str, password: &[u8]) {
        let address = self.address(connection);
        let result = self.node.authenticator.sign_in(user, password, address).await;
        let result = result.map(|known| {
            let principal = known.principal.for_policy();
            self.settle(connection, known);
            principal
        });
        self.with(|shard, now| {
            let result = result.and_then(|known| self.renew(known).ok_or(AuthError::Refused));
            let result = result.map_err(|error| self.refuse(Some(user), error));
            shard.input(Input::Authenticated { connection, result }, now);
        });
        self.why.set(None);
    }

    /// A step of enhanced authentication.
    pub(super) async fn exchange(
        self: Rc<Self>,
        connection: ConnectionId,
        method: &str,
        round: Round,
        data: Option<Vec<u8>>,
    ) {
        let result = self.advance(connection, method, round, data.as_deref()).await;
        self.with(|shard, now| {
            let result = result.and_then(|progress| match progress {
                Progress::Known { principal, data } => {
                    let principal = self.renew(principal).ok_or(AuthError::Refused)?;
                    self.note_method(connection, Method::Scram);
                    Ok(Progress::Known { principal, data })
                }
                challenge => Ok(challenge),
            });
            let result = result.map_err(|error| match (self.refuse(None, error), error) {
                (_, AuthError::Refused) => ReasonCode::NotAuthorized,
                (reason, _) => reason,
            });
            shard.input(Input::Exchanged { connection, result }, now);
        });
        self.why.set(None);
    }

    async fn advance(
        &self,
        connection: ConnectionId,
        method: &str,
        round: Round,
        data: Option<&[u8]>,
    ) -> Result<Progress, AuthError> {
        let before = self.exchanges.borrow_mut().remove(&connection);
        let mut exchange = match round {
            Round::First => Exchange::new(method)?,
            Round::Next => before.ok_or(AuthError::Refused)?,
        };
        let step = self.node.authenticator.advance(&mut exchange, data, self.address(connection)).await?;
        Ok(match step {
            Step::Challenge(data) => {
                let is_there = self.shard.borrow().state(connection).is_some();
                if is_there {
                    self.exchanges.borrow_mut().insert(connection, exchange);
                }
                Progress::Challenge(data)
            }
            Step::Known(known, data) => Progress::Known { principal: known.for_policy(), data: Some(data) },
        })
    }

    /// Notes what a connection came in with: a password is known for as long as it is here, a token ends it some time.
    fn settle(&self, connection: ConnectionId, known: SignedIn) {
        let is_there = self.shard.borrow().state(connection).is_some();
        if let (true, Some(visitor)) = (is_there, self.visitors.borrow_mut().get_mut(connection.slot as usize)) {
            visitor.lease = known.lease;
            visitor.until_secs = known.until_secs;
            visitor.method = known.method;
            self.expiring.borrow_mut().extend(known.until_secs.map(|until_secs| (until_secs, connection)));
        }
    }

    /// Who somebody is who was `known` a moment ago. To be asked behind what the shard has heard by now: it hears of
    /// every change of an account that comes later.
    fn renew(&self, known: Principal) -> Option<Principal> {
        self.node.authenticator.renew(known)
    }

    fn note_method(&self, connection: ConnectionId, method: Method) {
        if let Some(visitor) = self.visitors.borrow_mut().get_mut(connection.slot as usize) {
            visitor.method = method;
        }
    }

    /// What a client is told that is refused for this. The shard reports the refusal next, and does not know why.
    fn refuse(&self, user: Option<&str>, error: AuthError) -> ReasonCode {
        self.why.replace(Some((user.map(Box::from), error)));
        reason(error)
    }

    /// Where a connection comes from.
    fn address(&self, connection: ConnectionId) -> IpAddr {
        let visitors = self.visitors.borrow();
        visitors.get(connection.slot as usize).map_or(Visitor::default().address, |visitor| visitor.address)
    }

    /// Ends connections whose tokens have expired by now.
    pub(super) fn expire(self: &Rc<Self>) {
        let now_secs = now_ms() / 1000;
        loop {
            let first = self.expiring.borrow().first().copied().filter(|(until_secs, _)| *until_secs <= now_secs);
            let Some((until_secs, id)) = first else { return };
            self.expiring.borrow_mut().remove(&(until_secs, id));
            self.with(|shard, now| shard.input(Input::Expired(id), now));
        }
    }
}

fn reason(error: AuthError) -> ReasonCode {
    match error {
        AuthError::Refused | AuthError::Token(_) => ReasonCode::BadUserNameOrPassword,
        AuthError::Required => ReasonCode::NotAuthorized,
        AuthError::UnknownMethod => ReasonCode::BadAuthenticationMethod,
        AuthError::Overloaded => ReasonCode::ServerBusy,
        AuthError::Throttled { .. } => ReasonCode::ConnectionRateExceeded,
    }
}
