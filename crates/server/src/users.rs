//! Users and their accounts: the one place where they are made, changed and taken away.
//!
//! Accounts are records of the table [`TableId::USERS`], so every shard hears of a change in the log, behind which it
//! acts on the connections of that user. What a user leaves behind elsewhere is taken away here.

#[cfg(test)]
mod tests;

use crate::auth::{Account, AccountError, Accounts, KeptPassword};
use crate::db::{Db, DbError};
use rowcast_codec::QoS;
use rowcast_core::mqtt::session::StoredSession;
use rowcast_core::{Change, ChangeKind, Durability, Outcome, Record, SessionId, TableId};
use rowcast_store::{Scan, Store};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard};

/// Changes accounts, one at a time: what a change depends on (whether the name is taken, whether another super user is
/// left) is still so when it is written. Cheap to clone; all clones take turns.
#[derive(Clone)]
pub struct Users {
    db: Db,
    is_super_role: IsSuperRole,
    turn: Arc<Mutex<()>>,
}

/// Whether the role of that name may do everything.
pub type IsSuperRole = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What is to be different about an account.
#[derive(Clone, Default)]
pub struct Edit {
    /// The password.
    pub password: Option<KeptPassword>,
    /// The role; that of super users makes one, and another one makes them an ordinary user.
    pub role: Option<String>,
    /// Whether they may sign in.
    pub active: Option<bool>,
}

/// Why a user stays as they are.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is nobody of that name.
    #[error("there is no user {0:?}")]
    Absent(String),
    /// There is somebody of that name.
    #[error("there is a user {0:?} already")]
    Exists(String),
    /// Nobody would be left who could undo it.
    #[error("{0:?} is the last super user who may sign in; make another one first")]
    LastSuperUser(String),
    /// It cannot be an account.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// It cannot be read or written.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Users {
    /// The users of a database, and which roles may do everything, as they are when it is asked. There must be one value of this, and its clones, a database.
    #[must_use]
    pub fn new(db: Db, is_super_role: IsSuperRole) -> Users {
        Users { db, is_super_role, turn: Arc::default() }
    }

    /// The user of that name.
    pub async fn get(&self, name: &str) -> Result<Account, UserError> {
        let key = name.as_bytes().to_vec();
        let bytes = self.db.read(move |store| store.get(TableId::USERS, &key)).await?.map_err(DbError::from)?;
        let Some(bytes) = bytes else { return Err(UserError::Absent(name.to_owned())) };
        let record = bytes.record().map_err(|error| DbError::Failed(error.to_string()))?;
        Ok(Account::decode(name, record.payload)?)
    }

    /// At most [`PAGE`] users in the order of their names, those behind `after`. What is damaged is left out.
    pub async fn list(&self, after: &str) -> Result<Vec<Account>, UserError> {
        let after = after.to_owned();
        let found = self.db.read(move |store| rows(store, TableId::USERS, after.as_bytes(), account)).await?;
        Ok(found.map_err(DbError::from)?)
    }

    /// Makes a user.
    pub async fn add(&self, account: &Account) -> Result<(), UserError> {
        let _turn = self.turn().await;
        match self.get(&account.name).await {
            Err(UserError::Absent(_)) => self.put(account).await,
            Err(UserError::Db(error)) => Err(error.into()),
            Ok(_) | Err(_) => Err(UserError::Exists(account.name.clone())),
        }
    }

    /// Makes `account` if there is no user at all. Returns whether it did.
    pub async fn add_first(&self, account: impl FnOnce() -> Account) -> Result<bool, UserError> {
        let _turn = self.turn().await;
        let is_any = self.db.read(|store| store.last_key(TableId::USERS)).await?.map_err(DbError::from)?.is_some();
        if !is_any {
            self.put(&account()).await?;
        }
        Ok(!is_any)
    }

    /// Changes a user, who must be there; returns what they are by then.
    pub async fn edit(&self, name: &str, edit: Edit) -> Result<Account, UserError> {
        let _turn = self.turn().await;
        let before = self.get(name).await?;
        let mut account = before.clone();
        if let Some(password) = edit.password {
            account.password = password;
        }
        if let Some(role) = edit.role {
            account.super_user = role == Account::ADMIN;
            account.role = role;
        }
        account.active = edit.active.unwrap_or(account.active);
        if self.is_in_charge(&before) && !self.is_in_charge(&account) {
            self.another_in_charge(name).await?;
        }
        self.put(&account).await?;
        Ok(account)
    }

    /// Takes a user away, and all sessions they have: the next user of that name is somebody else.
    pub async fn delete(&self, name: &str) -> Result<(), UserError> {
        let _turn = self.turn().await;
        match self.get(name).await {
            Ok(account) if self.is_in_charge(&account) => self.another_in_charge(name).await?,
            Ok(_) | Err(UserError::Account(_)) => {}
            Err(error) => return Err(error),
        }
        // In one piece as far as possible: a crash in between must not leave sessions for whoever has the name next.
        let mut sessions = self.sessions_of(name).await?;
        let gone = row(ChangeKind::Delete, TableId::USERS, name.as_bytes(), &[]);
        let mut changes = vec![gone];
        loop {
            changes.extend(sessions.iter().map(|key| row(ChangeKind::Expire, TableId::SESSIONS, key, &[])));
            self.write(&changes).await?;
            // Those of connections that the shards ended meanwhile were theirs to forget.
            let left = self.sessions_of(name).await?;
            if left.is_empty() {
                return Ok(());
            }
            (changes, sessions) = (Vec::new(), left);
        }
    }

    /// Keys of at most [`SESSIONS_AT_ONCE`] stored sessions of a user.
    async fn sessions_of(&self, name: &str) -> Result<Vec<Vec<u8>>, UserError> {
        let name = name.to_owned();
        let find = move |store: &Store| {
            let mut found = Vec::new();
            rowcast_store::reads::each(store, TableId::SESSIONS, None, |key, record| {
                let owner = StoredSession::owner(record.payload).flatten();
                if found.len() < SESSIONS_AT_ONCE && owner.as_deref() == Some(&*name) {
                    found.push(key.to_vec());
                }
            })?;
            Ok::<_, rowcast_store::ReadError>(found)
        };
        Ok(self.db.read(find).await?.map_err(DbError::from)?)
    }

    /// Sessions that are stored, at most [`PAGE`] in the order of their client identifiers, behind `after`: client
    /// identifier, user, and whether somebody was connected when the row was written.
    pub async fn sessions(&self, after: &str) -> Result<Vec<(String, Option<Box<str>>)>, UserError> {
        let after = after.to_owned();
        let session = |key: &[u8], record: &Record<'_>| {
            let client_id = std::str::from_utf8(key).ok()?.to_owned();
            Some((client_id, StoredSession::owner(record.payload)?))
        };
        let found = self.db.read(move |store| rows(store, TableId::SESSIONS, after.as_bytes(), session)).await?;
        Ok(found.map_err(DbError::from)?)
    }

    /// Whether they may do everything, by their account or by what their role says now.
    fn is_in_charge(&self, account: &Account) -> bool {
        account.active && (account.super_user || (self.is_super_role)(&account.role))
    }

    async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Whether somebody else is left who may do everything.
    async fn another_in_charge(&self, name: &str) -> Result<(), UserError> {
        let mut after = String::new();
        loop {
            let page = self.list(&after).await?;
            if page.iter().any(|account| account.name != name && self.is_in_charge(account)) {
                return Ok(());
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after.clone_from(&last.name),
                _ => return Err(UserError::LastSuperUser(name.to_owned())),
            }
        }
    }

    async fn put(&self, account: &Account) -> Result<(), UserError> {
        self.write(&[row(ChangeKind::Put, TableId::USERS, account.name.as_bytes(), &account.encode())]).await
    }

    async fn write(&self, changes: &[Change<'_>]) -> Result<(), UserError> {
        let outcome =
            self.db.propose(|token, proposals| proposals.push(Some(token), Durability::Sync, changes)).await?;
        match outcome {
            Outcome::Full => Err(DbError::Full.into()),
            Outcome::Unreadable(words) => Err(DbError::Unreadable(words).into()),
            _ => Ok(()),
        }
    }
}

impl Accounts for Users {
    fn find(&self, name: &str) -> Option<Account> {
        let stored = self.db.get_blocking(TableId::USERS, name.as_bytes()).ok()??;
        Account::decode(name, stored.record().payload).ok()
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Edit { password: _, role, active } = self;
        f.debug_struct("Edit").field("role", role).field("active", active).finish_non_exhaustive()
    }
}

fn account(key: &[u8], record: &Record<'_>) -> Option<Account> {
    Account::decode(std::str::from_utf8(key).ok()?, record.payload).ok()
}

/// The first [`PAGE`] records behind a key that `make` makes something of.
fn rows<T>(
    store: &Store,
    table: TableId,
    after: &[u8],
    make: impl Fn(&[u8], &Record<'_>) -> Option<T>,
) -> Result<Vec<T>, rowcast_store::ReadError> {
    let mut found = Vec::new();
    let mut after = Some(after.to_vec());
    while let (Some(last), true) = (&after, found.len() < PAGE) {
        let (from, records_max) = (Bound::Excluded(&**last), PAGE - found.len());
        let page = store.scan(&Scan { table, from, prefix: None, bytes_max: PAGE_BYTES, records_max })?;
        let records = page.iter().filter_map(|(key, bytes)| Some((key, Record::decode(bytes).ok()?)));
        found.extend(records.filter_map(|(key, record)| make(key, &record)));
        after = page.next.map(|next| next.to_vec());
    }
    Ok(found)
}

fn row<'a>(kind: ChangeKind, table: TableId, key: &'a [u8], payload: &'a [u8]) -> Change<'a> {
    let (qos, publisher) = (QoS::AtLeastOnce, SessionId::NONE);
    Change { kind, qos, table, key, publisher, expires_ms: None, properties: &[], payload }
}

/// Users, or sessions, in one list.
pub const PAGE: usize = 1000;

const PAGE_BYTES: usize = 256 * 1024;

/// Sessions that are taken away in one step.
const SESSIONS_AT_ONCE: usize = 10_000;
