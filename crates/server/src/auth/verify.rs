//! The way of a password from whoever brings it to its hash, or past it.

use super::cache::{Known, Tag};
use super::checks::{Check, Verdict};
use super::{Account, AuthError, Authenticator, Method, Principal, Shared, SignedIn, lock};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A password on its way to be checked.
struct Attempt {
    user: String,
    password: Vec<u8>,
    peer: IpAddr,
    account: Option<Account>,
}

impl Authenticator {
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
    pub(super) async fn wait_for_turn(&self, user: &str, peer: IpAddr) -> Result<(), AuthError> {
        let wait = lock(&self.shared.throttle).admit(peer, user, Instant::now());
        let wait = wait.map_err(|retry_after| AuthError::Throttled { retry_after })?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }
}

impl Shared {
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
