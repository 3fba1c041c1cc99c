//! Rights that change while clients are connected, or away.
//!
//! What a client may do is asked at each of its publishes, and at each delivery of a subscription that its rights may
//! not reach all of. So a change needs to find only what was looked up before: each connection's rights, and which of
//! its subscriptions are guarded.

use super::connection::{ConnectionId, Phase};
use super::{Moment, Shard, id_of};
use crate::policy::{Lost, Policy, Principal, Rights, Sight};
use crate::position::TableId;
use crate::proposal::{Decide, Decision};
use rowcast_codec::{ReasonCode, TopicFilter};
use std::sync::{Arc, OnceLock};

impl Shard {
    /// Roles were changed. Subscriptions stay their clients', and bring what may be read by now.
    pub(super) fn on_policy(&mut self, policy: Arc<Policy>, now: Moment) {
        self.policy = policy;
        self.interest.forget_all();
        let ids: Vec<ConnectionId> =
            self.connections.iter().map(|(slot, connection)| id_of(slot, connection)).collect();
        for id in ids {
            self.renew_rights(id, now);
        }
    }

    /// An account is `row` by now, or gone.
    pub(super) fn on_account(&mut self, user: &[u8], row: Option<&[u8]>, now: Moment) {
        let is_users = |principal: &Principal| {
            principal.has_account && principal.user.as_deref().is_some_and(|name| name.as_bytes() == user)
        };
        let affected = self.connections.iter().filter(|(_, connection)| is_users(&connection.principal));
        let affected: Vec<ConnectionId> = affected.map(|(slot, connection)| id_of(slot, connection)).collect();
        for id in affected {
            let Some(connection) = self.connection_mut(id) else { continue };
            match connection.principal.renewed(row) {
                Ok(principal) if principal == connection.principal => {}
                Ok(principal) => {
                    if let Some(will) = &mut connection.will {
                        will.maker = principal.in_name();
                    }
                    connection.principal = principal;
                    self.renew_rights(id, now);
                }
                Err(lost) => {
                    connection.rights = Rights::default();
                    if row.is_none() {
                        self.forget_session(id); // A later user of that name is somebody else.
                    }
                    let words = match lost {
                        Lost::Account => "the account may not be used any more",
                        Lost::Password => "the account has another password",
                    };
                    self.close(id, ReasonCode::NotAuthorized, words, now);
                }
            }
        }
    }

    /// Looks a connection's rights up again.
    pub(super) fn renew_rights(&mut self, id: ConnectionId, now: Moment) {
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        if matches!(connection.phase, Phase::Waiting { .. } | Phase::Authenticating | Phase::Closing) {
            return; // Nobody knows yet who it is, or it does not matter any more.
        }
        connection.rights = self.policy.rights(&connection.principal, connection.client_id());
        let Some((session, rights)) = connection.in_place() else { return };
        for held in session.subscriptions.values_mut() {
            let guarded = rights.sight(&self.tables, &held.filter) != Sight::All;
            if guarded == held.subscription.guarded {
                continue;
            }
            held.subscription.guarded = guarded;
            if let (None, Ok(filter)) = (&held.share, TopicFilter::new(&held.filter)) {
                self.interest.guard(&filter, &held.subscription);
            }
        }
        self.renew_memberships(id, now);
    }

    /// Finds out, in the writer, what somebody may do: what their account says there counts. Without an account it is
    /// known already.
    pub(super) fn decide_rights(
        &self,
        principal: &Principal,
        client_id: &str,
        found: &Arc<OnceLock<Rights>>,
    ) -> Option<Decision> {
        let Some(user) = principal.user.as_deref().filter(|_| principal.has_account) else {
            let _ = found.set(self.policy.rights(principal, client_id));
            return None;
        };
        let (principal, client_id): (_, Box<str>) = (principal.clone(), client_id.into());
        let (policy, found) = (Arc::clone(&self.policy), Arc::clone(found));
        let key = user.as_bytes().to_vec();
        let decide: Decide = Box::new(move |row, _, _| {
            let renewed = principal.renewed(row.map(|row| row.payload));
            let _ = found.set(renewed.map_or_else(|_| Rights::default(), |known| policy.rights(&known, &client_id)));
            Ok(())
        });
        Some(Decision::new(TableId::USERS, key, decide))
    }
}
