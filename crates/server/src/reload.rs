//! Reads the configuration and the application again while the node runs.
//!
//! All or nothing: whatever is wrong in one of the files, everything stays as it was, and the log says what is wrong.

use crate::access::Roles;
use crate::application::{self, Application};
use crate::audit::{Event, Kind};
use crate::auth::{LoadedTokens, Rules};
use crate::config::{Change, Config, Given, Holds, Loaded, Mode, Mqtt, RejectedPublish, load, take_over};
use crate::entrance::{Entrance, LoadedSecure, Secure};
use crate::logging::Log;
use crate::roles;
use crate::runtime::{Message, Node};
use crate::{app, http};
use rowcast_core::catalog::{Catalog, SchemaChange};
use rowcast_core::shard::Input;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What it takes to read the configuration again.
pub struct Again {
    /// Which command started the program.
    pub mode: Mode,
    /// What the configuration is made from; the environment and the command line are those of the start.
    pub given: Given,
    /// The file that was read last.
    pub file: Option<PathBuf>,
    /// The log.
    pub log: Log,
}

/// A node at work, and what of the configuration holds for it.
pub struct Running {
    config: Config,
    again: Again,
    parts: Parts,
}

/// What has to hear of it.
pub struct Parts {
    /// Shards, and what they share.
    pub node: Arc<Node>,
    /// What doors lead to.
    pub entrance: Arc<Entrance>,
    /// How often who listens to `$SYS` is told.
    pub sys_interval: watch::Sender<Duration>,
}

impl Running {
    /// A node that was started with `config`.
    #[must_use]
    pub fn new(config: Config, again: Again, parts: Parts) -> Running {
        Running { config, again, parts }
    }

    /// Reads everything again.
    pub async fn reload(&mut self) {
        if let Err(error) = self.try_reload().await {
            tracing::error!("everything stays as it was:\n{error:#}");
        }
    }

    async fn try_reload(&mut self) -> anyhow::Result<()> {
        let Loaded { config, warnings, file } = load(self.again.mode, &self.again.given)?;
        if let (Some(before), None) = (&self.again.file, &file) {
            // The defaults would open what it shut.
            anyhow::bail!("{} is not there any more; without it a node has to start anew", before.display());
        }
        let application = application::read(&config.folder)?;
        let (running, changes) = take_over(&self.config, &config);
        let secure = Secure::of(&running, &running.storage.path.join("keys"))?.load()?;
        let tokens = running.token_rules().load()?;
        self.again.log.reopen()?;
        self.take_application(application).await?;
        // From here on nothing can fail.
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        self.again.file = file;
        self.tell(&running, secure, tokens);
        self.say(running, changes);
        Ok(())
    }

    /// Brings into effect what is configured.
    fn tell(&self, config: &Config, secure: LoadedSecure, tokens: LoadedTokens) {
        let Parts { node, entrance, sys_interval } = &self.parts;
        let Mqtt { limits, open_topics, rejected_publish, .. } = &config.mqtt;
        entrance.set(secure, limits);
        entrance.http.set_settings(http::Settings::of(config));
        node.authenticator.set_rules(Rules::of(config), tokens);
        node.admission.set(limits);
        node.db.set_topic_limits(limits.topic());
        node.store.set_retention(app::retention(config));
        sys_interval.send_replace(config.mqtt.sys_interval);
        for inbox in &node.inboxes {
            inbox.push(Message::Input(Input::Configured {
                limits: Box::new(limits.clone()),
                open_topics: *open_topics,
                close_on_rejected: *rejected_publish == RejectedPublish::Disconnect,
            }));
        }
    }

    /// Says what changed in what is `running` from now on, and which keys have to wait for the next start.
    fn say(&mut self, running: Config, changes: Vec<Change>) {
        // What is said of a level that says less is still said.
        self.again.log.set(running.logging.level.max(self.config.logging.level));
        for Change { key, before, now, holds } in changes {
            match holds {
                Holds::AtOnce => tracing::info!("{key} is {now} now; it was {before}"),
                Holds::NextStart => tracing::warn!("{key} is {now} from the next start on; until then it is {before}"),
            }
        }
        tracing::info!("the configuration and the application were read again");
        self.again.log.set(running.logging.level);
        self.config = running;
    }

    async fn take_application(&self, application: Application) -> anyhow::Result<()> {
        let Application { catalog, roles } = application;
        let node = &self.parts.node;
        let db = &node.db;
        let changes = allowed(&catalog, db.tables().catalog())?;
        let tables = db.number(catalog).await?;
        let before = db.out_of_reach(&db.tables()).await?;
        let out_of_reach = db.out_of_reach(&tables).await?;
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
            match change.puts_out_of_reach() {
                true => tracing::warn!("{change}"),
                false => tracing::info!("{change}"),
            }
        }
        // Once, not at each reload.
        for records in out_of_reach.iter().filter(|records| !before.iter().any(|other| other.is_as(records))) {
            tracing::warn!("{records}");
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
