//! Who may come in, from the start on.

use crate::access::Access;
use crate::audit::{Audit, Event, Kind};
use crate::auth::{Account, Authenticator, Rules};
use crate::config::{Config, Mode};
use crate::db::Db;
use crate::users::Users;
use anyhow::Context;
use std::env::VarError;
use std::path::Path;
use std::sync::Arc;

/// Accounts, what they may do, and what is noted of it.
#[derive(Clone)]
pub(super) struct People {
    pub authenticator: Authenticator,
    pub access: Arc<Access>,
    pub users: Users,
    pub audit: Audit,
}

impl People {
    /// As they are in the store; the password that was made up if this made the first of them.
    pub(super) async fn of(
        config: &Config,
        mode: Mode,
        db: &Db,
        access: Arc<Access>,
        keys: &Path,
    ) -> anyhow::Result<(People, Option<String>)> {
        let audit = match config.audit_file() {
            Some(file) => Audit::open(&file).with_context(|| format!("cannot write {}", file.path.display()))?,
            None => Audit::default(),
        };
        audit.note(Event::new(Kind::Started));
        let roles = Arc::clone(&access);
        let users = Users::new(db.clone(), Arc::new(move |role| roles.is_super_user(role)));
        let admin_password = match mode {
            Mode::Run => first_user(&users, &audit).await?,
            Mode::Dev => None,
        };
        let known = Arc::new(users.clone());
        let authenticator = Authenticator::new(known, Rules::of(config), config.token_rules(), keys)
            .with_context(|| format!("nobody could sign in; the server's own keys are in {}", keys.display()))?;
        Ok((People { authenticator, access, users, audit }, admin_password))
    }
}

/// Makes the user `admin` if there is no user at all; returns the password if it was made up.
async fn first_user(users: &Users, audit: &Audit) -> anyhow::Result<Option<String>> {
    if !users.list("").await?.is_empty() {
        return Ok(None);
    }
    let given = match std::env::var(ADMIN_PASSWORD) {
        // As an unset variable of a script becomes one that is set: nobody meant to have no password.
        Ok(given) if given.is_empty() => anyhow::bail!("{ADMIN_PASSWORD} is empty; without it a password is made up"),
        Ok(given) => Some(given),
        Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(_)) => anyhow::bail!("{ADMIN_PASSWORD} is not UTF-8"),
    };
    let is_short = given.as_ref().is_some_and(|given| given.len() < SHORT_BYTES);
    let mut made_up = None;
    let account = || {
        let (account, password) = Account::first(given.as_deref());
        made_up = password;
        account
    };
    if users.add_first(account).await? {
        let first = Event::new(Kind::UserAdded).by("first start").about(Account::ADMIN);
        audit.note(first.with(Some(Account::ADMIN), None, false));
        if is_short {
            tracing::warn!(
                "{ADMIN_PASSWORD} is short, and who guesses it may do everything; `rowcast user password admin` sets another"
            );
        }
    }
    Ok(made_up)
}

/// The variable with the first user's password.
const ADMIN_PASSWORD: &str = "ROWCAST_ADMIN_PASSWORD";
/// A password of fewer bytes than this is worth a warning.
const SHORT_BYTES: usize = 8;
