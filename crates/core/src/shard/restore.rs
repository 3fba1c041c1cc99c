//! What is there when the node starts: sessions, subscriptions, groups and wills of clients that are not.

use super::{Moment, Settings, Shard};
use crate::change::internal_delete;
use crate::mqtt::session::StoredSubscription;
use crate::names::NameSet;
use crate::policy::Policy;
use crate::position::{Sequence, TableId};
use crate::proposal::Durability;
use crate::tables::Tables;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the end of the last run left of clients that were connected, or away. Rows of the server's own tables.
#[derive(Debug, Default)]
pub struct Found {
    /// Keys, rows and versions of subscriptions.
    pub subscriptions: Vec<(Vec<u8>, Vec<u8>, Sequence)>,
    /// Keys of handshakes.
    pub handshakes: Vec<Vec<u8>>,
    /// Keys and rows of shared groups.
    pub groups: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys and rows of what sessions have taken over from them.
    pub claims: Vec<(Vec<u8>, Vec<u8>)>,
    /// Client identifier and row.
    pub sessions: Vec<(String, Vec<u8>)>,
    /// Client identifier and row.
    pub wills: Vec<(String, Vec<u8>)>,
}

impl Shard {
    /// A shard without connections, in a node that was there before. Each shard knows who may come back; the first takes
    /// care of sessions and wills that have no connection. What it proposes about them must be committed before a
    /// client is let in.
    #[must_use]
    pub fn restored(settings: Settings, tables: Arc<Tables>, policy: Arc<Policy>, found: &Found, now: Moment) -> Shard {
        let is_first = settings.index == 0;
        let mut shard = Shard::new(settings, tables, policy, now.committed);
        for (key, row, version) in &found.subscriptions {
            shard.restore_subscription(key, row, *version);
        }
        for (client_id, _) in &found.wills {
            shard.wills.insert(client_id.as_bytes());
        }
        shard.restore_groups(found);
        if is_first {
            let mut sessions = BTreeMap::new();
            for (client_id, row) in &found.sessions {
                if let Some(session) = shard.restore_session(client_id, row, now) {
                    sessions.insert(client_id, session);
                }
            }
            shard.remove_left_rows(found);
            for (client_id, row) in &found.wills {
                shard.restore_will(client_id, row, sessions.get(client_id).copied(), now);
            }
        }
        shard
    }

    /// Takes away what the last run had still to take away of sessions whose time ran out.
    fn remove_left_rows(&mut self, found: &Found) {
        let sessions: NameSet<&[u8]> = found.sessions.iter().map(|(client_id, _)| client_id.as_bytes()).collect();
        let is_left = |key: &&Vec<u8>| {
            let end = key.iter().position(|&byte| byte == 0);
            end.is_none_or(|end| !sessions.contains(&key[..end]))
        };
        let subscriptions = found.subscriptions.iter().map(|(key, ..)| key).filter(is_left);
        let subscriptions = subscriptions.map(|key| internal_delete(TableId::SUBSCRIPTIONS, key));
        let handshakes = found.handshakes.iter().filter(is_left).map(|key| internal_delete(TableId::HANDSHAKES, key));
        for row in subscriptions.chain(handshakes) {
            self.proposals.push(None, Durability::Flush, &[row]);
        }
    }

    /// A row of the subscriptions table.
    fn restore_subscription(&mut self, key: &[u8], value: &[u8], version: Sequence) {
        self.durable.add(&self.tables, key);
        let since = serde_json::from_slice::<StoredSubscription>(value).ok().and_then(|options| options.since);
        self.keep_group(key, since.map_or(version, Sequence));
    }
}
