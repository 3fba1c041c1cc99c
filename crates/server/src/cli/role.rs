//! `rowcast role`: what there is to be given to users.

use crate::application::{self, Application};
use crate::auth::Account;
use crate::roles::to_json;
use anyhow::anyhow;
use clap::{Args, Subcommand};
use rowcast_core::policy::Role;
use std::path::PathBuf;
use std::process::ExitCode;

/// Which roles to show.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rowcast role list
  rowcast role show kennel --app /srv/kennel

Roles are written in roles.yaml, which `rowcast check` checks.")]
pub(super) struct RoleCommand {
    #[command(subcommand)]
    action: Action,
    /// The application folder
    #[arg(long, global = true, default_value = ".", value_name = "DIR")]
    app: PathBuf,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Show the names of all roles
    List,
    /// Show what a role may do, as roles.yaml could have it
    Show {
        /// Which
        name: String,
    },
}

impl RoleCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Application { mut roles, .. } = application::read(&self.app)?;
        roles.entry(Account::ADMIN.into()).or_insert(Role { super_user: true, ..Role::default() });
        match self.action {
            Action::List => roles.keys().for_each(|name| anstream::println!("{name}")),
            Action::Show { name } => {
                let role = roles.get(&*name).ok_or_else(|| anyhow!("there is no role {name:?}"))?;
                anstream::println!("{:#}", to_json(role));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
