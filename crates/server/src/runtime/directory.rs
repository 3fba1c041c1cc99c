//! Which connection has which client identifier, over all shards.

use crate::clients::Connected;
use rowcast_core::shard::{Claimant, ConnectionId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Owners of client identifiers. A lock, taken when a client comes or goes and never held while waiting.
#[derive(Default)]
pub struct Directory {
    owners: Mutex<HashMap<Box<str>, Owner>>,
}

struct Owner {
    shard: u32,
    connection: ConnectionId,
    user: Option<Arc<str>>,
    arrival: u64,
}

/// The answer to a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// Nobody had it.
    Granted,
    /// The connection that had it, and its shard, which is to be told.
    Evict(u32, ConnectionId),
    /// It belongs to another user.
    Refused,
    /// A connection has it that came later.
    Overtaken,
    /// Nobody had it, and there is no room for one more.
    NoRoom,
}

impl Directory {
    /// Makes the claimant the owner, unless the client identifier belongs to another user, or to a connection that came
    /// later and was faster to prove who it is.
    pub fn claim(&self, client_id: &str, user: Option<Arc<str>>, claimant: Claimant) -> Claim {
        let mut owners = self.lock();
        let Claimant { shard, connection, arrival, only_takes_over, .. } = claimant;
        let owner = Owner { shard, connection, user, arrival };
        match owners.get_mut(client_id) {
            None if only_takes_over => Claim::NoRoom,
            None => {
                owners.insert(client_id.into(), owner);
                Claim::Granted
            }
            Some(current) if current.user != owner.user => Claim::Refused,
            Some(current) if current.arrival > arrival => Claim::Overtaken,
            Some(current) => {
                let last = std::mem::replace(current, owner);
                Claim::Evict(last.shard, last.connection)
            }
        }
    }

    /// The connection no longer has it; nothing changes if another has claimed it since.
    pub fn release(&self, client_id: &str, shard: u32, connection: ConnectionId) {
        let mut owners = self.lock();
        if owners.get(client_id).is_some_and(|owner| owner.shard == shard && owner.connection == connection) {
            owners.remove(client_id);
        }
    }

    /// The connection that has a client identifier, and its shard.
    pub fn find(&self, client_id: &str) -> Option<(u32, ConnectionId)> {
        self.lock().get(client_id).map(|owner| (owner.shard, owner.connection))
    }

    /// The first `max` clients whose identifiers come behind `after`, in their order.
    pub fn list(&self, after: &str, max: usize) -> Vec<Connected> {
        let owners = self.lock();
        let mut names: Vec<&str> = owners.keys().map(|id| &**id).filter(|id| *id > after).collect();
        if names.len() > max {
            names.select_nth_unstable(max);
            names.truncate(max);
        }
        names.sort_unstable();
        let connected = |id: &str| Connected { client_id: id.into(), user: owners[id].user.clone() };
        names.into_iter().map(connected).collect()
    }

    /// The map is whole after every step, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Owner>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimant(shard: u32, slot: u32) -> Claimant {
        let connection = ConnectionId { slot, generation: 1 };
        Claimant { shard, connection, clean_start: false, arrival: slot.into(), only_takes_over: false }
    }

    #[test]
    fn the_last_to_claim_has_it_and_nobody_else_gives_it_back() {
        let directory = Directory::default();
        let (first, second) = (claimant(0, 1), claimant(1, 2));
        assert_eq!(directory.claim("c", None, first), Claim::Granted);
        assert_eq!(directory.claim("c", None, second), Claim::Evict(0, first.connection));
        assert_eq!(directory.claim("c", None, first), Claim::Overtaken);
        directory.release("c", 0, first.connection);
        assert_eq!(directory.claim("c", Some("rex".into()), first), Claim::Refused);
        directory.release("c", 1, second.connection);
        assert_eq!(directory.claim("c", Some("rex".into()), first), Claim::Granted);
    }

    #[test]
    fn one_that_is_too_many_takes_over_or_gets_nothing() {
        let directory = Directory::default();
        let (first, second) = (claimant(0, 1), Claimant { only_takes_over: true, ..claimant(1, 2) });
        assert_eq!(directory.claim("c", None, second), Claim::NoRoom);
        assert_eq!(directory.find("c"), None);
        assert_eq!(directory.claim("c", None, first), Claim::Granted);
        assert_eq!(directory.claim("c", Some("rex".into()), second), Claim::Refused);
        assert_eq!(directory.claim("c", None, second), Claim::Evict(0, first.connection));
    }

    #[test]
    fn clients_are_listed_in_order_and_found() {
        let directory = Directory::default();
        for (slot, id) in [(1, "b"), (2, "a"), (3, "d"), (4, "c")] {
            directory.claim(id, Some("rex".into()), claimant(0, slot));
        }
        let list = |after: &str, max: usize| -> String {
            directory.list(after, max).iter().map(|client| &*client.client_id).collect()
        };
        for (after, max, expected) in
            [("", 9, "abcd"), ("", 2, "ab"), ("b", 9, "cd"), ("bb", 1, "c"), ("d", 9, ""), ("", 0, "")]
        {
            assert_eq!(list(after, max), expected, "{max} behind {after:?}");
        }
        assert_eq!(directory.find("a"), Some((0, claimant(0, 2).connection)));
        assert_eq!(directory.find("x"), None);
    }
}
