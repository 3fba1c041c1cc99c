//! Who is asking: passwords, and what is known of whoever has none.
//!
//! Checking a password takes tens of milliseconds and megabytes on purpose. It happens on threads of its own, behind
//! a bounded queue. It happens once for all who bring the same password at the same time, and not at all for one that is
//! in use already; and who keeps guessing waits longer each time. What someone may do is not decided here.

mod account;
mod basic;
mod cache;
mod checks;
mod exchange;
mod local;
mod password;
mod pool;
mod principal;
pub(crate) mod scram;
mod secret;
mod throttle;
mod token;
mod verify;

pub use account::{Account, AccountError, Accounts};
pub use basic::{BasicError, Credentials, basic};
pub use cache::Lease;
pub use exchange::{Exchange, Step};
pub use local::LocalKey;
pub use password::{Hasher, KeptPassword, PasswordHash, generate_password};
pub use principal::{Method, Principal, SignedIn};
pub use scram::{ClientError as ScramError, METHOD as SCRAM, ScramClient, Verifier};
pub use secret::Secret;
pub use token::{Issued, IssuerRules, KeyFileError, LoadedTokens, TokenAlgorithm, TokenError, TokenRules, Usage};

use crate::config::Config;
use crate::peer::Peer;
use crate::tls::Proof;
use cache::Cache;
use checks::Checks;
use pool::Pool;
use rowcast_core::policy;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use throttle::Throttle;
use token::Tokens;
use tokio::sync::oneshot;

/// Checks credentials. Cheap to clone; all clones share the threads, the cache and the memory of failures.
#[derive(Clone)]
pub struct Authenticator {
    shared: Arc<Shared>,
}

struct Shared {
    accounts: Arc<dyn Accounts>,
    rules: RwLock<Rules>,
    hasher: Hasher,
    /// What the salts of users that do not exist are made of.
    nobody_key: [u8; 32],
    local_key: LocalKey,
    cache: Cache,
    checks: Checks,
    throttle: Mutex<Throttle>,
    pool: Pool,
    hashed: AtomicU64,
    tokens: Tokens,
}

/// What the configuration says about signing in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Loopback clients without credentials are super users.
    pub authorize_local: bool,
    /// Others without credentials are refused, not `anonymous`.
    pub require_authentication: bool,
    /// How long a password that was right is recognised without hashing after its last use.
    pub cache_ttl: Duration,
    /// Clients of MQTT may send a token in the place of a password.
    pub tokens_as_passwords: bool,
}

impl Rules {
    /// Those of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Rules {
        Rules {
            authorize_local: config.authentication.authorize_local,
            require_authentication: config.mqtt.require_authentication,
            cache_ttl: config.authentication.cache_ttl,
            tokens_as_passwords: config.mqtt.jwt,
        }
    }
}

/// Why someone may not be here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AuthError {
    /// No such user, or not their password, or the account is shut. Nobody is told which.
    #[error("user name or password is wrong")]
    Refused,
    /// There are no credentials, and without them nobody is let in.
    #[error("a user name and a password are required")]
    Required,
    /// A token that opens nothing. Whoever has it may know why.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Enhanced authentication by a method that is not there.
    #[error("the authentication method is not known")]
    UnknownMethod,
    /// More passwords wait to be checked than is worth waiting for.
    #[error("too busy checking passwords")]
    Overloaded,
    /// Too many wrong ones came from this address.
    #[error("too many failed attempts, try again in {} s", .retry_after.as_secs().max(1))]
    Throttled {
        /// When it is worth trying again.
        retry_after: Duration,
    },
}

/// Why nobody could be let in.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The keys of this server cannot be read or made, or threads not be started.
    #[error("cannot use the server's keys: {0}")]
    Io(#[from] std::io::Error),
    /// The keys of those who make tokens for it cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
}

impl Authenticator {
    /// An authenticator over `accounts`, whose keys are in the folder `keys`. Starts its threads; they end with the last
    /// clone.
    pub fn new(
        accounts: Arc<dyn Accounts>,
        rules: Rules,
        tokens: TokenRules,
        keys: &Path,
    ) -> Result<Authenticator, StartError> {
        Authenticator::with_hasher(accounts, rules, tokens, keys, Hasher::default())
    }

    fn with_hasher(
        accounts: Arc<dyn Accounts>,
        rules: Rules,
        tokens: TokenRules,
        keys: &Path,
        hasher: Hasher,
    ) -> Result<Authenticator, StartError> {
        let secret = &Secret::open(keys)?;
        let shared = Shared {
            accounts,
            rules: RwLock::new(rules),
            hasher,
            nobody_key: secret.key("salts of nobody"),
            local_key: LocalKey::new(secret),
            cache: Cache::new(rules.cache_ttl),
            checks: Checks::default(),
            throttle: Mutex::new(Throttle::new()),
            pool: Pool::start(threads(), WAITING_MAX)?,
            hashed: AtomicU64::default(),
            tokens: Tokens::new(tokens, keys, secret)?,
        };
        Ok(Authenticator { shared: Arc::new(shared) })
    }

    /// Other rules, for who signs in from now on.
    pub fn set_rules(&self, rules: Rules, tokens: LoadedTokens) {
        self.shared.cache.set_ttl(rules.cache_ttl, Instant::now());
        self.shared.tokens.set(tokens);
        *self.shared.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// What someone without credentials is, coming from `peer`; who comes through a Unix socket comes from 127.0.0.1.
    pub fn without_credentials(&self, peer: IpAddr) -> Result<Principal, AuthError> {
        let rules = self.shared.rules();
        if rules.authorize_local && peer.to_canonical().is_loopback() {
            Ok(Principal::local())
        } else if rules.require_authentication {
            Err(AuthError::Required)
        } else {
            Ok(Principal::anonymous())
        }
    }

    /// What a client is that gives no password: whom its certificate names, or what its address lets it be.
    pub fn without_password(&self, peer: &Peer) -> Result<Principal, AuthError> {
        match peer.proof() {
            Proof::Nothing => self.without_credentials(peer.trusted_ip()),
            Proof::User(user) => self.certified(user),
            Proof::NeedsPassword => Err(AuthError::Required),
        }
    }

    /// What such a client has shown.
    #[must_use]
    pub fn shown_without_password(peer: &Peer, principal: &policy::Principal) -> Method {
        match peer.proof() {
            Proof::User(_) => Method::Certificate,
            _ if principal.super_user => Method::Local,
            _ => Method::Nothing,
        }
    }

    /// The user that a certificate names, if they may sign in.
    pub fn certified(&self, user: &str) -> Result<Principal, AuthError> {
        let account = self.shared.accounts.find(user).filter(|account| account.active);
        account.map(|account| Principal::of(&account)).ok_or(AuthError::Refused)
    }

    /// Who shows a token that only those have who may read this node's keys. `None`: it is another scheme.
    #[must_use]
    pub fn with_local_key(&self, authorization: &str, now_secs: u64) -> Option<Result<Principal, AuthError>> {
        let fits = self.shared.local_key.verify(authorization, now_secs)?;
        Some(if fits { Ok(Principal::local()) } else { Err(AuthError::Refused) })
    }

    /// What is to be kept of a new password, made where passwords are checked. `None`: there are too many.
    pub async fn keep(&self, password: Vec<u8>) -> Option<KeptPassword> {
        let (answer, answered) = oneshot::channel();
        let hasher = self.shared.hasher.clone();
        let keep = move || drop(answer.send(hasher.keep(&password).ok()));
        self.shared.pool.submit(Box::new(keep)).ok()?;
        answered.await.ok().flatten()
    }

    /// Who somebody is by now who was `known` a moment ago. `None`: their account is gone, or shut, or has another
    /// password than they came in by.
    #[must_use]
    pub fn renew(&self, known: policy::Principal) -> Option<policy::Principal> {
        let Some(user) = known.user.as_deref().filter(|_| known.has_account) else { return Some(known) };
        let account = self.shared.accounts.find(user)?;
        let now = Principal::by_password(&account).for_policy();
        let is_same = known.password.is_none() || known.password == now.password;
        (account.active && is_same).then_some(policy::Principal { password: known.password, ..now })
    }

    /// Who sends this as user name and password over MQTT: a password, or a token if they are taken there. A token needs
    /// no user name; one that is given must be its user's.
    pub async fn sign_in(&self, user: &str, password: &[u8], peer: IpAddr) -> Result<SignedIn, AuthError> {
        if !self.shared.rules().tokens_as_passwords || !token::is_token(password) {
            return self.verify(user, password, peer).await;
        }
        let token = std::str::from_utf8(password).map_err(|_| TokenError::Malformed)?;
        let known = self.bearer(token, Usage::Access)?;
        match user.is_empty() || *user == *known.principal.user {
            true => Ok(known),
            false => Err(TokenError::OtherParty.into()),
        }
    }

    /// Who shows this token.
    pub fn bearer(&self, token: &str, usage: Usage) -> Result<SignedIn, TokenError> {
        self.bearer_at(token, usage, now_secs())
    }

    fn bearer_at(&self, token: &str, usage: Usage, now_secs: u64) -> Result<SignedIn, TokenError> {
        let claimed = self.shared.tokens.verify(token, usage, now_secs)?;
        let account = self.shared.accounts.find(&claimed.user);
        let account = account.filter(|account| self.shared.tokens.is_for(&claimed, account));
        let account = account.ok_or(TokenError::Revoked)?;
        let principal = if claimed.is_own() { Principal::by_password(&account) } else { Principal::of(&account) };
        Ok(SignedIn { principal, method: Method::Token, lease: None, until_secs: Some(claimed.until_secs) })
    }

    /// Makes a token for a user; `None`: they have no account, or it is shut.
    pub fn issue(&self, user: &Principal, usage: Usage) -> std::io::Result<Option<Issued>> {
        let account = self.shared.accounts.find(&user.user).filter(|account| account.active && user.has_account);
        account.map(|account| self.shared.tokens.issue(&account, usage, now_secs())).transpose()
    }

    /// The file with the keys of those who make tokens for this server, if there is one.
    #[must_use]
    pub fn key_file(&self) -> Option<PathBuf> {
        self.shared.tokens.key_file()
    }

    /// Reads that file again; if it cannot be used, the keys stay as they were.
    pub fn reload_keys(&self) {
        match self.shared.tokens.reload() {
            Ok(()) => tracing::info!("the keys for tokens were read again"),
            Err(error) => tracing::error!(%error, "the keys for tokens stay as they were"),
        }
    }
}

impl Shared {
    fn rules(&self) -> Rules {
        *self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("rules", &self.shared.rules()).finish_non_exhaustive()
    }
}

fn now_secs() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

/// What is behind these locks is whole after every statement, so a panic elsewhere spoils nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hashing threads: half of the cores, two at least. They take 19 MiB each.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| (cores.get() / 2).clamp(2, 16))
}

/// Passwords that wait for a thread: what two threads check in the time a client waits for CONNACK. Those beyond are told
/// to come again.
const WAITING_MAX: usize = 256;

#[cfg(test)]
mod tests;
