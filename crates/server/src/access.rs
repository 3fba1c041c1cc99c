//! The rights in force: what roles say, compiled for the tables there are.

use rowcast_core::policy::{Policy, Role};
use rowcast_core::tables::Tables;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Roles by their names.
pub type Roles = BTreeMap<Box<str>, Role>;

/// What all doors ask. Shards are told of a new policy; whoever serves single requests takes it from here.
#[derive(Debug)]
pub struct Access {
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    roles: Roles,
    tables: Arc<Tables>,
    policy: Arc<Policy>,
}

impl Access {
    /// These roles, for these tables.
    #[must_use]
    pub fn new(roles: Roles, tables: Arc<Tables>) -> Access {
        let policy = Arc::new(Policy::new(&roles, &tables));
        Access { state: RwLock::new(State { roles, tables, policy }) }
    }

    /// What holds now.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.read().policy)
    }

    /// The roles there are.
    #[must_use]
    pub fn roles(&self) -> Roles {
        self.read().roles.clone()
    }

    /// Whether a role may do everything.
    #[must_use]
    pub fn is_super_user(&self, role: &str) -> bool {
        self.read().roles.get(role).is_some_and(|role| role.super_user)
    }

    /// Other roles hold from here on. Returns what shards are to be told.
    pub fn set_roles(&self, roles: Roles) -> Arc<Policy> {
        self.change(|state| state.roles = roles)
    }

    /// There are other tables from here on. Returns what shards are to be told.
    pub fn set_tables(&self, tables: Arc<Tables>) -> Arc<Policy> {
        self.change(|state| state.tables = tables)
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> Arc<Policy> {
        let mut state = self.write();
        change(&mut state);
        state.policy = Arc::new(Policy::new(&state.roles, &state.tables));
        Arc::clone(&state.policy)
    }

    // A state is whole after every statement, so a panic elsewhere spoils nothing.

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
