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
pub(crate) mod scram;
mod secret;
mod throttle;
mod token;

pub use account::{Account, AccountError, Accounts};
pub use basic::{BasicError, Credentials, basic};
pub use cache::Lease;
pub use exchange::{Exchange, Step};
pub use local::LocalKey;
pub use password::{Hasher, KeptPassword, PasswordHash, generate_password};
pub use scram::{ClientError as ScramError, METHOD as SCRAM, ScramClient, Verifier};
pub use secret::Secret;
pub use token::{Issued, IssuerRules, KeyFileError, LoadedTokens, TokenAlgorithm, TokenError, TokenRules, Usage};

use crate::config::Config;
use crate::peer::Peer;
use crate::tls::Proof;
use cache::{Cache, Known, Tag};
use checks::{Check, Checks, Verdict};
use pool::Pool;
use rowcast_core::policy::{self, PasswordMark};
use serde::Serialize;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
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

/// Someone who has shown who they are.
#[derive(Debug)]
pub struct SignedIn {
    /// Who that is.
    pub principal: Principal,
    /// By what.
    pub method: Method,
    /// To be kept for as long as they are here: meanwhile their password is recognised, however long that is.
    pub lease: Option<Lease>,
    /// When they have to show it again, in seconds since 1970: when their token expires.
    pub until_secs: Option<u64>,
}

/// What somebody showed to be let in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// A password.
    Password,
    /// A token.
    Token,
    /// That they know a password, by SCRAM.
    Scram,
    /// A certificate.
    Certificate,
    /// That they are on this machine, which is trusted.
    Local,
    /// Nothing.
    Nothing,
}

/// Someone who may be here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// The user's name; [`Principal::ANONYMOUS`] and [`Principal::LOCAL`] are no accounts.
    pub user: Arc<str>,
    /// What they may do, unless they may do everything.
    pub role: Arc<str>,
    /// They may do everything.
    pub super_user: bool,
    /// They have an account, which may change.
    pub has_account: bool,
    /// By which password they came in, if by one, or by what it led to.
    pub password: Option<PasswordMark>,
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

impl Principal {
    /// The user that a client without credentials is, if that is allowed; also the name of its role.
    pub const ANONYMOUS: &str = "anonymous";
    /// The user that a client from loopback is under `authorizeLocal`.
    pub const LOCAL: &str = "local";

    fn of(account: &Account) -> Principal {
        let (user, role) = (account.name.as_str().into(), account.role.as_str().into());
        Principal { user, role, super_user: account.super_user, has_account: true, password: None }
    }

    /// Who came in by the password of their account, and has to come again when it is another.
    fn by_password(account: &Account) -> Principal {
        let mark = PasswordMark::of(account.password.hash.as_phc());
        Principal { password: Some(mark), ..Principal::of(account) }
    }

    /// Someone who showed no credentials.
    #[must_use]
    pub fn anonymous() -> Principal {
        let (user, role) = (Self::ANONYMOUS.into(), Self::ANONYMOUS.into());
        Principal { user, role, super_user: false, has_account: false, password: None }
    }

    /// Someone on this machine whom the configuration trusts.
    #[must_use]
    pub fn local() -> Principal {
        let (user, role) = (Self::LOCAL.into(), Account::ADMIN.into());
        Principal { user, role, super_user: true, has_account: false, password: None }
    }

    /// Whether they showed no credentials, and might be somebody else with them.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        !self.has_account && *self.user == *Self::ANONYMOUS
    }

    /// Who they are, in the words rights are asked in.
    #[must_use]
    pub fn for_policy(&self) -> policy::Principal {
        let (user, role) = (Some(Arc::clone(&self.user)), Arc::clone(&self.role));
        let &Principal { super_user, has_account, password, .. } = self;
        policy::Principal { user, role, super_user, has_account, password }
    }
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

    /// Checks a password. Takes as long for a user that does not exist as for one that does, no time for a password in
    /// use, and longer for who was wrong often. Needs a tokio runtime with time; dropping the future takes the check back.
    pub async fn verify(&self, user: &str, password: &[u8], peer: IpAddr) -> Result<SignedIn, AuthError> {
        let shared = &self.shared;
        let account = shared.accounts.find(user);
        let tag = shared.cache.tag(user, account.as_ref(), password);
        match (shared.cache.recall(user, &tag, Instant::now()), &account) {
            (Some(Known::Right(lease)), Some(account)) => {
                return Ok(SignedIn {
                    principal: Principal::by_password(account),
                    method: Method::Password,
                    lease: Some(lease),
                    until_secs: None,
                });
            }
            (Some(Known::Wrong), _) => return Err(AuthError::Refused),
            _ => {}
        }
        let answered = match shared.checks.join(&tag) {
            Some(answered) => answered,
            None => {
                self.wait_for_turn(user, peer).await?;
                let (answered, check) = shared.checks.join_or_begin(tag);
                if let Some(check) = check {
                    let attempt =
                        Attempt { user: user.into(), password: password.into(), peer, account: account.clone() };
                    self.submit(check, attempt)?;
                }
                answered
            }
        };
        match (answered.await.unwrap_or(Verdict::None), account) {
            (Verdict::Right, Some(account)) => {
                let lease = match shared.cache.recall(user, &tag, Instant::now()) {
                    Some(Known::Right(lease)) => Some(lease),
                    _ => None,
                };
                let principal = Principal::by_password(&account);
                Ok(SignedIn { principal, method: Method::Password, lease, until_secs: None })
            }
            (Verdict::None, _) => Err(AuthError::Overloaded),
            (Verdict::TurnedAway(retry_after), _) => Err(AuthError::Throttled { retry_after }),
            _ => Err(AuthError::Refused),
        }
    }

    fn submit(&self, check: Check, attempt: Attempt) -> Result<(), AuthError> {
        let shared = Arc::downgrade(&self.shared);
        let job = move || {
            // Whoever asked may have gone, or the program be about to end.
            if let (true, Some(shared)) = (check.is_wanted(), shared.upgrade()) {
                let verdict = shared.check(&attempt, check.tag());
                check.done(verdict);
            }
        };
        self.shared.pool.submit(Box::new(job)).map_err(|_| AuthError::Overloaded)
    }

    /// Holds back who was wrong lately, or turns them away.
    async fn wait_for_turn(&self, user: &str, peer: IpAddr) -> Result<(), AuthError> {
        let wait = lock(&self.shared.throttle).admit(peer, user, Instant::now());
        let wait = wait.map_err(|retry_after| AuthError::Throttled { retry_after })?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }
}

/// A password on its way to be checked.
struct Attempt {
    user: String,
    password: Vec<u8>,
    peer: IpAddr,
    account: Option<Account>,
}

impl Shared {
    fn rules(&self) -> Rules {
        *self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// On a thread of the pool.
    fn check(&self, attempt: &Attempt, tag: Tag) -> Verdict {
        let Attempt { user, password, peer, account } = attempt;
        // Its twin may have been in front of it in the queue.
        match self.cache.recall(user, &tag, Instant::now()) {
            Some(Known::Right(_)) => return Verdict::Right,
            Some(Known::Wrong) => return Verdict::Wrong,
            None => {}
        }
        if let Some(retry_after) = lock(&self.throttle).turns_away(*peer, Instant::now()) {
            return Verdict::TurnedAway(retry_after);
        }
        self.hashed.fetch_add(1, Ordering::Relaxed);
        let right = match account {
            Some(account) => self.hasher.verify(password, &account.password.hash) && account.active,
            None => self.hasher.verify_nobody(password),
        };
        let now = Instant::now();
        if right {
            if self.cache.right(user, tag, now).is_some() {
                lock(&self.throttle).succeeded(*peer, now);
            }
            Verdict::Right
        } else {
            self.cache.wrong(tag);
            lock(&self.throttle).failed(*peer, user, now);
            Verdict::Wrong
        }
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
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::sync::atomic::AtomicUsize;

    pub(super) const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    pub(super) const RULES: Rules = Rules {
        authorize_local: false,
        require_authentication: true,
        cache_ttl: Duration::from_secs(30),
        tokens_as_passwords: true,
    };
    pub(super) const TOKENS: TokenRules = TokenRules {
        algorithm: TokenAlgorithm::Hs256,
        timeout: Duration::from_secs(100),
        refresh_timeout: Duration::from_secs(1000),
        issuer: None,
    };

    #[derive(Default)]
    pub(super) struct Kept {
        accounts: Mutex<HashMap<String, Account>>,
        asked: AtomicUsize,
    }

    impl Accounts for Kept {
        fn find(&self, name: &str) -> Option<Account> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            lock(&self.accounts).get(name).cloned()
        }
    }

    impl Kept {
        pub(super) fn remove(&self, name: &str) {
            lock(&self.accounts).remove(name);
        }

        pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Account)) {
            change(lock(&self.accounts).get_mut(name).expect(name));
        }
    }

    pub(super) fn kept() -> Arc<Kept> {
        let kept = Kept::default();
        for (name, password, super_user, active) in
            [("rex", "bone", false, true), ("admin", "secret", true, true), ("gone", "old", false, false)]
        {
            let password = Hasher::cheap().keep(password.as_bytes()).expect("hashed");
            let role = if super_user { Account::ADMIN } else { "kennel" };
            let account = Account { name: name.to_owned(), password, role: role.to_owned(), super_user, active };
            lock(&kept.accounts).insert(name.to_owned(), account);
        }
        Arc::new(kept)
    }

    pub(super) fn authenticator(accounts: &Arc<Kept>, rules: Rules) -> Authenticator {
        let keys = tempfile::tempdir().expect("a folder");
        with_tokens(accounts, rules, TOKENS, keys.path())
    }

    pub(super) fn with_tokens(accounts: &Arc<Kept>, rules: Rules, tokens: TokenRules, keys: &Path) -> Authenticator {
        Authenticator::with_hasher(accounts.clone(), rules, tokens, keys, Hasher::cheap()).expect("it starts")
    }

    pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
    }

    fn hashed(authenticator: &Authenticator) -> u64 {
        authenticator.shared.hashed.load(Ordering::Relaxed)
    }

    /// Who is let in without hashing.
    fn recognise(authenticator: &Authenticator, user: &str, password: &[u8]) -> Option<Principal> {
        let before = hashed(authenticator);
        let known = run(authenticator.verify(user, password, HOME)).ok()?;
        (hashed(authenticator) == before).then_some(known.principal)
    }

    #[test]
    fn only_the_right_password_of_an_active_account_opens() {
        let accounts = kept();
        let authenticator = authenticator(&accounts, RULES);
        let refused = Err(AuthError::Refused);
        let of = |name: &str| Ok(Principal::by_password(&accounts.find(name).expect(name)));
        let cases = [
            ("rex", "bone", of("rex")),
            ("admin", "secret", of("admin")),
            ("rex", "secret", refused.clone()),
            ("rex", "", refused.clone()),
            ("rex", "Bone", refused.clone()),
            ("Rex", "bone", refused.clone()),
            ("gone", "old", refused.clone()),
            ("nobody", "bone", refused.clone()),
            ("anonymous", "", refused.clone()),
            ("", "", refused),
        ];
        for (host, (user, password, expected)) in (0..).zip(cases) {
            let peer = IpAddr::from([192, 0, 2, host]);
            // Twice: the second time may come from the cache.
            for _ in 0..2 {
                let answer = run(authenticator.verify(user, password.as_bytes(), peer));
                assert_eq!(answer.map(|known| known.principal), expected, "{user} {password}");
            }
        }
    }

    #[test]
    fn a_right_password_is_recognised_until_anything_changes() {
        let accounts = kept();
        let authenticator = authenticator(&accounts, RULES);
        assert_eq!(recognise(&authenticator, "rex", b"bone"), None);
        let signed_in = run(authenticator.verify("rex", b"bone", HOME)).expect("right");
        assert_eq!(recognise(&authenticator, "rex", b"bone").expect("recognised").role, "kennel".into());
        assert_eq!(recognise(&authenticator, "rex", b"bones"), None);
        assert_eq!(recognise(&authenticator, "admin", b"bone"), None);

        let change = |change: &dyn Fn(&mut Account)| {
            accounts.change("rex", |account| change(account));
            recognise(&authenticator, "rex", b"bone")
        };
        let role = change(&|account| account.role = "reader".to_owned());
        assert_eq!(role.expect("still right").role, "reader".into(), "a role acts at once");
        assert_eq!(change(&|account| account.active = false), None);
        assert_eq!(
            change(&|account| {
                account.active = true;
                account.password = Hasher::cheap().keep(b"ball").expect("hashed");
            }),
            None
        );
        accounts.remove("rex");
        assert_eq!(run(authenticator.verify("rex", b"bone", HOME)).err(), Some(AuthError::Refused));
        drop(signed_in);
    }

    #[test]
    fn nothing_is_recognised_without_a_cache() {
        let authenticator = authenticator(&kept(), Rules { cache_ttl: Duration::ZERO, ..RULES });
        let _signed_in = run(authenticator.verify("rex", b"bone", HOME)).expect("right");
        assert_eq!(recognise(&authenticator, "rex", b"bone"), None);
    }

    #[test]
    fn other_rules_hold_for_who_comes_then() {
        let authenticator = authenticator(&kept(), RULES);
        assert_eq!(authenticator.without_credentials(HOME), Err(AuthError::Required));
        let tokens = || TOKENS.load().expect("no file");
        authenticator.set_rules(Rules { require_authentication: false, ..RULES }, tokens());
        assert_eq!(authenticator.without_credentials(HOME), Ok(Principal::anonymous()));
        authenticator.set_rules(RULES, tokens());
        assert_eq!(authenticator.without_credentials(HOME), Err(AuthError::Required));
    }

    #[test]
    fn without_credentials_the_rules_decide() {
        let local: Vec<IpAddr> =
            ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"].map(|ip| ip.parse().expect("one")).to_vec();
        let remote: Vec<IpAddr> =
            ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "0.0.0.0"].map(|ip| ip.parse().expect("one")).to_vec();
        for (authorize_local, require_authentication, at_home, abroad) in [
            (false, true, Err(AuthError::Required), Err(AuthError::Required)),
            (false, false, Ok(Principal::anonymous()), Ok(Principal::anonymous())),
            (true, true, Ok(Principal::local()), Err(AuthError::Required)),
            (true, false, Ok(Principal::local()), Ok(Principal::anonymous())),
        ] {
            let rules = Rules { authorize_local, require_authentication, ..RULES };
            let authenticator = authenticator(&kept(), rules);
            for peer in &local {
                assert_eq!(authenticator.without_credentials(*peer), at_home, "{rules:?} {peer}");
            }
            for peer in &remote {
                assert_eq!(authenticator.without_credentials(*peer), abroad, "{rules:?} {peer}");
            }
        }
    }

    #[test]
    fn who_keeps_being_wrong_is_turned_away_and_others_are_not() {
        let authenticator = authenticator(&kept(), RULES);
        run(authenticator.verify("rex", b"bone", HOME)).expect("right");
        let attempts = async {
            let mut answers = Vec::new();
            for guess in 0..120 {
                let password = format!("guess {guess}");
                let attempt = authenticator.verify("admin", password.as_bytes(), HOME);
                match tokio::time::timeout(Duration::from_millis(20), attempt).await {
                    Ok(answer) => answers.push(answer),
                    Err(_slowed) => answers.push(Err(AuthError::Overloaded)),
                }
            }
            answers
        };
        let answers = run(attempts);
        assert!(matches!(answers.last(), Some(Err(AuthError::Throttled { .. }))), "{:?}", answers.last());
        run(authenticator.verify("rex", b"bone", HOME)).expect("known and right, from the same address");
        let elsewhere: IpAddr = "2001:db8::1".parse().expect("an address");
        run(authenticator.verify("rex", b"bone", elsewhere)).expect("right");
    }

    /// Everyone at once from one address: what came of each, in order.
    fn storm(
        authenticator: &Authenticator,
        credentials: impl Iterator<Item = (String, String)>,
    ) -> Vec<Result<SignedIn, AuthError>> {
        run(async {
            let mut attempts = Vec::new();
            for (user, password) in credentials {
                let authenticator = authenticator.clone();
                let attempt = async move { authenticator.verify(&user, password.as_bytes(), HOME).await };
                attempts.push(tokio::spawn(attempt));
            }
            let mut answers = Vec::new();
            for attempt in attempts {
                answers.push(attempt.await.expect("no panic"));
            }
            answers
        })
    }

    /// Many users, `u7` with the password `p7`.
    fn many(users: usize) -> Arc<Kept> {
        let kept = kept();
        for number in 0..users {
            let (name, password) = (format!("u{number}"), format!("p{number}"));
            let password = Hasher::cheap().keep(password.as_bytes()).expect("hashed");
            let account = Account::new(&name, password, "kennel").expect("a name");
            lock(&kept.accounts).insert(name, account);
        }
        kept
    }

    fn device(number: usize) -> (String, String) {
        (format!("u{number}"), format!("p{number}"))
    }

    #[test]
    fn ten_thousand_clients_of_one_user_at_once_are_one_hash() {
        let authenticator = authenticator(&kept(), RULES);
        for expected in [1, 1] {
            let answers = storm(&authenticator, (0..10_000).map(|_| ("rex".to_owned(), "bone".to_owned())));
            assert!(answers.iter().all(Result::is_ok));
            assert_eq!(hashed(&authenticator), expected);
        }
    }

    #[test]
    fn a_crowd_of_a_few_users_is_one_hash_each() {
        let authenticator = authenticator(&many(100), RULES);
        let answers = storm(&authenticator, (0..10_000).map(|client| device(client % 100)));
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(hashed(&authenticator), 100);
    }

    #[test]
    fn a_wrong_password_that_many_bring_at_once_is_one_hash_and_one_failure() {
        let authenticator = authenticator(&kept(), RULES);
        for _ in 0..2 {
            let answers = storm(&authenticator, (0..1000).map(|_| ("rex".to_owned(), "ball".to_owned())));
            assert!(answers.iter().all(|answer| answer.as_ref().err() == Some(&AuthError::Refused)));
            assert_eq!(hashed(&authenticator), 1);
        }
        let nobody = storm(&authenticator, (0..1000).map(|_| ("nobody".to_owned(), "ball".to_owned())));
        assert!(nobody.iter().all(|answer| answer.as_ref().err() == Some(&AuthError::Refused)));
        assert_eq!(hashed(&authenticator), 2);
    }

    #[test]
    fn guesses_that_come_all_at_once_are_worth_no_more_than_one_by_one() {
        let authenticator = authenticator(&kept(), RULES);
        let guesses = (0..WAITING_MAX).map(|guess| ("admin".to_owned(), format!("guess {guess}")));
        let answers = storm(&authenticator, guesses);
        let is_throttled = |answer: &&Result<SignedIn, AuthError>| matches!(answer, Err(AuthError::Throttled { .. }));
        assert!(answers.iter().filter(is_throttled).count() > WAITING_MAX / 2);
        assert!(hashed(&authenticator) <= 20 + threads() as u64, "{}", hashed(&authenticator));
        let elsewhere: IpAddr = "2001:db8::1".parse().expect("an address");
        run(authenticator.verify("rex", b"bone", elsewhere)).expect("right");
    }

    #[test]
    fn of_more_users_than_can_be_hashed_some_are_told_to_come_again_and_none_that_they_are_wrong() {
        const USERS: usize = 2_000;
        let authenticator = authenticator(&many(USERS), RULES);
        let is_wrong = |device: usize| device.is_multiple_of(20);
        let credentials = |number: usize| match device(number) {
            (user, _) if is_wrong(number) => (user, "wrong".to_owned()),
            right => right,
        };
        let mut left: Vec<usize> = (0..USERS).collect();
        let mut signed_in = Vec::new();
        while !left.is_empty() {
            let answers = storm(&authenticator, left.iter().copied().map(credentials));
            let mut again = Vec::new();
            for (number, answer) in left.into_iter().zip(answers) {
                match answer {
                    Ok(known) => signed_in.push((number, known)),
                    Err(AuthError::Overloaded) => again.push(number),
                    Err(AuthError::Refused) => assert!(is_wrong(number), "{number}"),
                    Err(error) => panic!("{number}: {error}"),
                }
            }
            left = again;
        }
        assert_eq!(signed_in.len(), USERS - USERS / 20);
        assert_eq!(hashed(&authenticator), USERS as u64);
        // They come back, those that are wrong too.
        let answers = storm(&authenticator, (0..USERS).map(credentials));
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), signed_in.len());
        assert_eq!(hashed(&authenticator), USERS as u64);
    }

    #[test]
    fn a_password_in_use_is_recognised_for_as_long_as_it_is() {
        let rules = Rules { cache_ttl: Duration::from_millis(1), ..RULES };
        let authenticator = authenticator(&kept(), rules);
        let pass = || {
            let begin = Instant::now();
            while begin.elapsed() <= rules.cache_ttl * 2 {
                std::thread::yield_now();
            }
        };
        let first = run(authenticator.verify("rex", b"bone", HOME)).expect("right");
        if first.lease.is_none() {
            return; // It took longer than that to get here.
        }
        pass();
        assert_eq!(recognise(&authenticator, "rex", b"bone").map(|known| known.user), Some("rex".into()));
        drop(first);
        pass();
        assert_eq!(recognise(&authenticator, "rex", b"bone"), None);
    }

    #[test]
    fn a_check_that_nobody_waits_for_is_not_made() {
        let accounts = kept();
        let authenticator = authenticator(&accounts, RULES);
        run(async {
            let verify = authenticator.verify("rex", b"bone", HOME);
            let _ = tokio::time::timeout(Duration::ZERO, verify).await;
        });
        drop(authenticator);
    }

    #[test]
    fn secrets_are_not_shown() {
        let accounts = kept();
        let account = accounts.find("rex").expect("rex");
        let shown = format!("{account:?} {:?} {:?}", authenticator(&accounts, RULES), basic("Basic cmV4OmJvbmU="));
        assert!(!shown.contains("argon2") && !shown.contains("SCRAM") && !shown.contains("bone"), "{shown}");
    }
}
