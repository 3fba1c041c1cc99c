//! Reads the configuration and the application again while the node runs.
//!
//! All or nothing: whatever is wrong in one of the files, everything stays as it was, and the log says what is wrong.

use crate::access::Roles;
use crate::application::{self, Application};
use crate::audit::{Event, Kind};
use crate::config::{Config, Given, Holds, Loaded, Mode, changes, load, take_over};
use crate::entrance::Entrance;
use crate::logging::LogLevel;
use crate::roles;
use crate::runtime::{Message, Node};
use rowcast_core::catalog::{Catalog, SchemaChange};
use rowcast_core::shard::Input;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What it takes to read the configuration again.
pub struct Again {
    /// Which command started the program.
    pub mode: Mode,
    /// What the configuration is made from; the environment and the command line are those of the start.
    pub given: Given,
    /// The level of the log.
    pub log: LogLevel,
}

/// A node at work, and what of the configuration holds for it.
pub struct Running {
    config: Config,
    again: Again,
    node: Arc<Node>,
    entrance: Arc<Entrance>,
}

impl Running {
    /// A node that was started with `config`.
    #[must_use]
    pub fn new(config: Config, again: Again, node: Arc<Node>, entrance: Arc<Entrance>) -> Running {
        Running { config, again, node, entrance }
    }

    /// Reads everything again.
    pub async fn reload(&mut self) {
        if let Err(error) = self.try_reload().await {
            tracing::error!("everything stays as it was:\n{error:#}");
        }
    }

    async fn try_reload(&mut self) -> anyhow::Result<()> {
        let Loaded { config, warnings, .. } = load(self.again.mode, &self.again.given)?;
        let application = application::read(&config.folder)?;
        self.take_application(application).await?;
        self.entrance.reload_certificates();
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        self.take_config(config);
        Ok(())
    }

    /// Brings into effect what can be, and says which keys have to wait for the next start.
    fn take_config(&mut self, new: Config) {
        let config = take_over(&self.config, &new);
        // What is said of a level that says less is still said.
        self.again.log.set(config.logging.level.max(self.config.logging.level));
        for change in changes(&self.config, &new) {
            let (key, before, now) = (change.key, change.before, change.now);
            match change.holds {
                Holds::AtOnce => tracing::info!("{key} is {now} now; it was {before}"),
                Holds::NextStart => tracing::warn!("{key} is {now} from the next start on; until then it is {before}"),
            }
        }
        tracing::info!("the configuration and the application were read again");
        self.again.log.set(config.logging.level);
        self.config = config;
    }

    async fn take_application(&self, application: Application) -> anyhow::Result<()> {
        let Application { catalog, roles } = application;
        let (db, node) = (&self.node.db, &self.node);
        let changes = allowed(&catalog, db.tables().catalog())?;
        let tables = db.number(catalog).await?;
        db.set_tables(Arc::clone(&tables));
        node.access.set_tables(Arc::clone(&tables));
        let changed = changed_roles(&node.access.roles(), &roles);
        let policy = node.access.set_roles(roles);
        if !changed.is_empty() {
            node.audit.note(Event::new(Kind::RolesChanged).roles(changed));
        }
        for inbox in &node.inboxes {
            inbox.push(Message::Input(Input::Tables(Arc::clone(&tables))));
            inbox.push(Message::Input(Input::Policy(Arc::clone(&policy))));
        }
        for change in changes {
            tracing::info!("{change}");
        }
        Ok(())
    }
}

/// Names of roles that mean something else than before, are new or gone.
fn changed_roles(before: &Roles, after: &Roles) -> Vec<String> {
    let meaning = |roles: &Roles, name| roles.get(name).map(roles::to_json);
    let names: BTreeSet<&Box<str>> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter(|&name| meaning(before, name) != meaning(after, name));
    changed.map(|name| name.to_string()).collect()
}

/// What changes in the schema, if all of it is possible.
fn allowed(new: &Catalog, old: &Catalog) -> anyhow::Result<Vec<SchemaChange>> {
    let changes = new.changes_from(old);
    let refused: Vec<String> = changes.iter().filter(|change| change.is_refused()).map(ToString::to_string).collect();
    anyhow::ensure!(refused.is_empty(), "{}", refused.join("\n"));
    Ok(changes)
}
