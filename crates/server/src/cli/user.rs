//! `rowcast user`: who may sign in, and as what.

use super::credentials::new_password;
use super::node::{Missing, Node, Running};
use super::percent::encode_part;
use super::serve::Settings;
use super::{Usage, block_on};
use crate::application::{self, Application};
use crate::audit::{Audit, Event, Kind};
use crate::auth::{Account, Hasher, KeptPassword, Principal, generate_password};
use crate::config::{Config, Loaded, Mode, load};
use crate::db::Alone;
use crate::users::{Edit, IsSuperRole, PAGE, Users};
use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// What to do with users.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rowcast user add rex --role kennel
  pass show rex | rowcast user add rex --role kennel
  rowcast user add sensor-17 --role sensor --generate
  rowcast user list --app /srv/kennel

Passwords are asked for, or are the first line of standard input; they are never arguments, which everyone on the
machine can see. A running node is told; what changes acts on open connections at once.")]
pub(super) struct UserCommand {
    #[command(subcommand)]
    action: Action,
    /// The application folder
    #[arg(long, global = true, default_value = ".", value_name = "DIR")]
    app: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Add a user
    Add {
        /// What they sign in as
        name: String,
        /// What they may do: a role of roles.yaml, or `admin`, who may do everything
        #[arg(long, value_name = "ROLE")]
        role: String,
        /// Make a password up, and print it
        #[arg(long)]
        generate: bool,
    },
    /// Show all users
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a user another password
    Password {
        /// Whom
        name: String,
        /// Make it up, and print it
        #[arg(long)]
        generate: bool,
    },
    /// Give a user another role
    Role {
        /// Whom
        name: String,
        /// A role of roles.yaml, or `admin`, who may do everything
        role: String,
    },
    /// Let a user sign in again
    Enable {
        /// Whom
        name: String,
    },
    /// Let a user sign in no more, and end their connections; their sessions stay
    Disable {
        /// Whom
        name: String,
    },
    /// Delete a user, and the sessions they have
    Delete {
        /// Whom
        name: String,
    },
}

/// What is to be done, with all that is needed for it.
enum Task {
    Add { name: String, password: String, role: String },
    List,
    Edit { name: String, password: Option<String>, role: Option<String>, active: Option<bool> },
    Delete { name: String },
}

impl UserCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let folder = self.app.clone();
        let Loaded { config, .. } = load(Mode::Run, &self.settings.given(self.app)?)?;
        let as_json = matches!(self.action, Action::List { json: true });
        let (task, made_up) = task(self.action)?;
        if let Task::Add { role, .. } | Task::Edit { role: Some(role), .. } = &task {
            known_role(&application::read(&folder)?, role)?;
        }
        // The first user may be there before the first start, which then makes no `admin`.
        let missing = if matches!(task, Task::Add { .. }) { Missing::Made } else { Missing::Refused };
        let done = match Node::of(&config, missing)? {
            Node::Running(running) => block_on(ask(&running, &task)),
            Node::Stopped(alone) => {
                let done = block_on(act(&alone, super_roles(&folder), &task));
                if done.is_ok() {
                    note(&config, &task);
                }
                if !alone.close() {
                    bail!("the data folder could not be closed in good order");
                }
                done
            }
        };
        let users = done?;
        match &task {
            Task::List if as_json => anstream::println!("{:#}", Value::from(users)),
            Task::List => anstream::print!("{}", table(&users)),
            _ => {}
        }
        if let Some(password) = made_up {
            anstream::println!("{password}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks for what is not in the arguments. Returns a password that was made up as well.
fn task(action: Action) -> anyhow::Result<(Task, Option<String>)> {
    let password = |name: &str, generate: bool| {
        if generate {
            let password = generate_password();
            return Ok((password.clone(), Some(password)));
        }
        let password = new_password(name)?;
        if password.is_empty() {
            return Err(anyhow::Error::from(Usage::new("a password is not empty")));
        }
        Ok((password, None))
    };
    let edit = |name, role, active| Task::Edit { name, password: None, role, active };
    Ok(match action {
        Action::Add { name, role, generate } => {
            let (password, made_up) = password(&name, generate)?;
            (Task::Add { name, password, role }, made_up)
        }
        Action::Password { name, generate } => {
            let (password, made_up) = password(&name, generate)?;
            (Task::Edit { name, password: Some(password), role: None, active: None }, made_up)
        }
        Action::List { .. } => (Task::List, None),
        Action::Role { name, role } => (edit(name, Some(role), None), None),
        Action::Enable { name } => (edit(name, None, Some(true)), None),
        Action::Disable { name } => (edit(name, None, Some(false)), None),
        Action::Delete { name } => (Task::Delete { name }, None),
    })
}

fn known_role(application: &Application, role: &str) -> anyhow::Result<()> {
    if role == Account::ADMIN || application.roles.contains_key(role) {
        return Ok(());
    }
    let known = application.roles.keys().map(|name| &**name).chain([Account::ADMIN]);
    Err(anyhow!("there is no role {role:?}; there are: {}", known.collect::<Vec<_>>().join(", ")))
}

/// Has a running node do it. Returns the users that were asked for.
async fn ask(node: &Running, task: &Task) -> anyhow::Result<Vec<Value>> {
    let path = |name: &str| format!("/$admin/users/{}", encode_part(name));
    match task {
        Task::Add { name, password, role } => {
            let user = json!({ "name": name, "password": password, "role": role });
            node.ask(Method::POST, "/$admin/users", Some(&user)).await?;
        }
        Task::Edit { name, password, role, active } => {
            let mut changes = json!({ "password": password, "role": role, "active": active });
            if let Some(changes) = changes.as_object_mut() {
                changes.retain(|_, value| !value.is_null());
            }
            node.ask(Method::PATCH, &path(name), Some(&changes)).await?;
        }
        Task::Delete { name } => drop(node.ask(Method::DELETE, &path(name), None).await?),
        Task::List => {
            let mut users: Vec<Value> = Vec::new();
            loop {
                let after = users.last().and_then(|user| user["name"].as_str()).unwrap_or_default();
                let after = encode_part(after);
                let page = node.ask(Method::GET, &format!("/$admin/users?after={after}"), None).await?;
                let Value::Array(page) = page else { bail!("the node's answer is no list") };
                let is_last = page.len() < PAGE;
                users.extend(page);
                if is_last {
                    return Ok(users);
                }
            }
        }
    }
    Ok(Vec::new())
}

/// Which roles may do everything. Of a file with mistakes nothing is believed.
fn super_roles(folder: &Path) -> IsSuperRole {
    let roles = application::read(folder).map(|application| application.roles).unwrap_or_default();
    Arc::new(move |role| roles.get(role).is_some_and(|role| role.super_user))
}

/// Does it to the data of a node that does not run. Returns the users that were asked for.
async fn act(alone: &Alone, is_super_role: IsSuperRole, task: &Task) -> anyhow::Result<Vec<Value>> {
    let users = Users::new(alone.db().clone(), is_super_role);
    match task {
        Task::Add { name, password, role } => users.add(&Account::new(name, kept(password)?, role)?).await?,
        Task::Edit { name, password, role, active } => {
            let password = password.as_deref().map(kept).transpose()?;
            users.edit(name, Edit { password, role: role.clone(), active: *active }).await?;
        }
        Task::Delete { name } => users.delete(name).await?,
        Task::List => {
            let mut found: Vec<Account> = Vec::new();
            loop {
                let after = found.last().map(|account| account.name.clone()).unwrap_or_default();
                let page = users.list(&after).await?;
                let is_last = page.len() < PAGE;
                found.extend(page);
                if is_last {
                    return Ok(found.iter().map(Account::to_json).collect());
                }
            }
        }
    }
    Ok(Vec::new())
}

/// Writes what was done into the audit log of the node.
fn note(config: &Config, task: &Task) {
    let event = match task {
        Task::Add { name, role, .. } => Event::new(Kind::UserAdded).about(name).with(Some(role), None, false),
        Task::Edit { name, password, role, active } => {
            Event::new(Kind::UserChanged).about(name).with(role.as_deref(), *active, password.is_some())
        }
        Task::Delete { name } => Event::new(Kind::UserDeleted).about(name),
        Task::List => return,
    };
    let Some(file) = config.audit_file() else { return };
    match Audit::open(&file) {
        Ok(audit) => {
            audit.note(event.by(Principal::LOCAL));
            audit.close();
        }
        Err(error) => anstream::eprintln!("this is not in the audit log, {}: {error}", file.path.display()),
    }
}

fn kept(password: &str) -> anyhow::Result<KeptPassword> {
    Hasher::default().keep(password.as_bytes()).map_err(|error| anyhow!("{error}"))
}

/// Users for people.
fn table(users: &[Value]) -> String {
    let text = |user: &Value, member: &str| user[member].as_str().unwrap_or_default().to_owned();
    let width = |member: &str, least: usize| {
        users.iter().map(|user| text(user, member).chars().count()).max().unwrap_or_default().max(least)
    };
    let (names, roles) = (width("name", 4), width("role", 4));
    let mut out = format!("{:names$}  {:roles$}  {}\n", "NAME", "ROLE", "MAY SIGN IN");
    for user in users {
        let active = if user["active"] == true { "yes" } else { "no" };
        let _ = writeln!(out, "{:names$}  {:roles$}  {active}", text(user, "name"), text(user, "role"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_shown_below_each_other() {
        let users = [
            json!({"name": "rex", "role": "admin", "active": true}),
            json!({"name": "maximilian", "role": "x", "active": false}),
        ];
        assert_eq!(table(&users), "NAME        ROLE   MAY SIGN IN\nrex         admin  yes\nmaximilian  x      no\n");
    }
}
