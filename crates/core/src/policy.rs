//! Who somebody is, and what they may do.
//!
//! A [`Role`] is what its author wrote. A [`Policy`] is all of them, compiled for the tables there are. [`Rights`] are
//! what one client may do: shared by all of a role, unless its rules speak of `%u` and `%c`.
//!
//! Every door asks here, and asks before it says anything else about what was named: a refusal never tells whether
//! there is such a thing. What depends on the record there is ([`Writing`]) is asked by the writer, where it cannot
//! race. See `docs/access.md` and `docs/decisions/0011-rights.md`.

mod account;
mod attributes;
mod role;
mod topics;
mod writing;

pub use account::{Lost, PasswordMark};
pub use attributes::AttributeSet;
pub use role::{AttributeGrant, Role, TableGrant, TopicGrant};
pub use writing::{Denied, Writing};

use crate::position::TableId;
use crate::schema::Table;
use crate::tables::Tables;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::sync::Arc;
use topics::{TopicRule, covers, overlaps};
use writing::TableRules;

/// Somebody who has proven who they are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Principal {
    /// The account; `None` without credentials.
    pub user: Option<Arc<str>>,
    /// What they may do, by name. The default is no role's.
    pub role: Arc<str>,
    /// May do everything, whatever the role says.
    pub super_user: bool,
    /// The user is a row of [`TableId::USERS`], and is whatever that says by now.
    pub has_account: bool,
    /// By which password they came in; `None`: not by one, and they stay when it changes.
    pub password: Option<PasswordMark>,
}

/// What somebody wants to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Subscribe, read, watch.
    Read,
    /// Make a record.
    Insert,
    /// Put or patch a record: an insert if there is none, else an update.
    Put,
    /// Delete a record.
    Delete,
    /// Send an event.
    Publish,
}

/// All roles, compiled for the tables there are.
#[derive(Debug, Default)]
pub struct Policy {
    roles: FxHashMap<Box<str>, Compiled>,
}

/// What one client may do.
#[derive(Clone, Debug)]
pub enum Rights {
    /// Whatever there is.
    Everything,
    /// What these rules allow, and nothing else.
    Only(Arc<Rules>),
}

/// What a role, or a client that has it, may do.
#[derive(Debug, Default)]
pub struct Rules {
    tables: Arc<FxHashMap<TableId, Arc<TableRules>>>,
    topics: Vec<TopicRule>,
}

/// What of a message somebody may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum View<'r> {
    /// Not even that there is one.
    Nothing,
    /// All of it.
    Whole,
    /// Of a record, these attributes; anything else whole.
    Only(&'r Arc<AttributeSet>),
}

/// What of all that a filter selects somebody may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sight {
    /// Nothing, whatever there will be.
    Nothing,
    /// Some: each message is to be looked at.
    Part,
    /// All: no message need be looked at.
    All,
}

#[derive(Debug)]
enum Compiled {
    /// `super_user: true`
    Everything,
    /// The same for all clients.
    Shared(Arc<Rules>),
    /// With `%u` or `%c` in topics: to be filled in for each client.
    Own(Rules),
}

impl Policy {
    /// Compiles `roles` for `tables`. What is given on a table or an attribute that does not exist is given on
    /// nothing.
    #[must_use]
    pub fn new(roles: &BTreeMap<Box<str>, Role>, tables: &Tables) -> Policy {
        let mut sets = FxHashSet::default();
        let compiled = roles.iter().map(|(name, role)| (name.clone(), Compiled::new(role, tables, &mut sets)));
        Policy { roles: compiled.collect() }
    }

    /// What `principal` may do. `client_id` is what `%c` stands for: empty where there is none.
    #[must_use]
    pub fn rights(&self, principal: &Principal, client_id: &str) -> Rights {
        if principal.super_user {
            return Rights::Everything;
        }
        match self.roles.get(&*principal.role) {
            Some(Compiled::Everything) => Rights::Everything,
            Some(Compiled::Shared(rules)) => Rights::Only(Arc::clone(rules)),
            Some(Compiled::Own(rules)) => {
                let user = principal.user.as_deref().unwrap_or_default();
                let topics = rules.topics.iter().filter_map(|rule| rule.filled_in(user, client_id)).collect();
                Rights::Only(Arc::new(Rules { tables: Arc::clone(&rules.tables), topics }))
            }
            None => Rights::default(),
        }
    }
}

impl Compiled {
    /// `sets`: those of attributes so far, so that roles that show the same share what is made of it.
    fn new(role: &Role, tables: &Tables, sets: &mut FxHashSet<Arc<AttributeSet>>) -> Compiled {
        if role.super_user {
            return Compiled::Everything;
        }
        let table_rules = role.tables.iter().filter_map(|grant| {
            let table = tables.catalog().tables().iter().find(|table| table.name == grant.table)?;
            Some((tables.id(table), Arc::new(TableRules::new(grant, table, sets))))
        });
        let rules =
            Rules { tables: Arc::new(table_rules.collect()), topics: role.topics.iter().map(TopicRule::new).collect() };
        let is_own = rules.topics.iter().any(TopicRule::has_placeholder);
        if is_own { Compiled::Own(rules) } else { Compiled::Shared(Arc::new(rules)) }
    }
}

impl Default for Rights {
    /// None.
    fn default() -> Rights {
        Rights::Only(Arc::default())
    }
}

impl Rights {
    /// Whether there is nothing they may not do.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        matches!(self, Rights::Everything)
    }

    /// Whether `operation` is allowed on a record or channel of `table`, or, where that is no declared one, on `topic`.
    /// A put that is may still be refused by the writer: see [`Rights::writing`].
    #[must_use]
    pub fn may(&self, operation: Operation, table: TableId, topic: &str) -> bool {
        let rules = match self {
            Rights::Everything => return true,
            Rights::Only(rules) => rules,
        };
        if is_topics(table) {
            let allows = |rule: &TopicRule| match operation {
                Operation::Read => rule.read,
                _ => rule.publish,
            };
            return rules.topics.iter().any(|rule| allows(rule) && rule.selects(topic));
        }
        rules.tables.get(&table).is_some_and(|rules| rules.may(operation))
    }

    /// What may be seen of a message on a record or channel of `table`, or, where that is no declared one, on `topic`.
    #[must_use]
    pub fn view(&self, table: TableId, topic: &str) -> View<'_> {
        match self {
            Rights::Everything => View::Whole,
            Rights::Only(_) if is_topics(table) => {
                if self.may(Operation::Read, table, topic) {
                    View::Whole
                } else {
                    View::Nothing
                }
            }
            Rights::Only(rules) => rules.tables.get(&table).map_or(View::Nothing, |rules| rules.view()),
        }
    }

    /// Whether anything in `table` may be seen.
    #[must_use]
    pub fn reads_from(&self, table: TableId) -> bool {
        match self {
            Rights::Only(rules) if is_topics(table) => rules.topics.iter().any(|rule| rule.read),
            rights => rights.view(table, "") != View::Nothing,
        }
    }

    /// What may be seen of all that `filter`, in its canonical spelling, selects.
    #[must_use]
    pub fn sight(&self, tables: &Tables, filter: &str) -> Sight {
        if self.is_everything() {
            return Sight::All;
        }
        let of_table = |table: &Table| Sight::of(self.view(tables.id(table), ""));
        if !filter.contains(['+', '#']) {
            return match tables.catalog().split_path(filter) {
                Some((table, _)) => of_table(table),
                None => Sight::of(self.view(TableId::TOPICS, filter)),
            };
        }
        let mut sights = Vec::new();
        for table in tables.catalog().tables() {
            let Some(export) = table.export.as_ref().filter(|export| export.doors.mqtt) else { continue };
            if overlaps(filter, &format!("{}/#", export.name)) {
                sights.push(of_table(table));
            }
        }
        if tables.catalog().split_path(filter).is_none() {
            sights.push(self.sight_of_topics(filter));
        }
        match () {
            () if sights.iter().all(|sight| *sight == Sight::Nothing) => Sight::Nothing,
            () if sights.iter().all(|sight| *sight == Sight::All) => Sight::All,
            () => Sight::Part,
        }
    }

    /// What may be seen of the open topics, and those of the server, that `filter` selects, whatever tables it selects
    /// beside them.
    #[must_use]
    pub fn sight_of_topics(&self, filter: &str) -> Sight {
        let rules = match self {
            Rights::Everything => return Sight::All,
            Rights::Only(rules) => rules,
        };
        let read = || rules.topics.iter().filter(|rule| rule.read);
        match () {
            () if read().any(|rule| covers(&rule.filter, filter)) => Sight::All,
            () if read().any(|rule| overlaps(&rule.filter, filter)) => Sight::Part,
            () => Sight::Nothing,
        }
    }

    /// What puts and patches of records of `table` are subject to, once the record there is is known.
    #[must_use]
    pub fn writing(&self, table: TableId) -> Writing {
        match self {
            Rights::Everything => Writing::free(),
            Rights::Only(_) if is_topics(table) => Writing::free(), // `may` has said all there is to say.
            Rights::Only(rules) => rules.tables.get(&table).map_or_else(Writing::none, Writing::of),
        }
    }
}

/// Whether rules on topics govern it: open topics, and those of the server.
fn is_topics(table: TableId) -> bool {
    matches!(table, TableId::TOPICS | TableId::SYS)
}

impl Sight {
    fn of(view: View<'_>) -> Sight {
        match view {
            View::Nothing => Sight::Nothing,
            View::Whole => Sight::All,
            View::Only(_) => Sight::Part,
        }
    }
}

#[cfg(test)]
mod tests;
