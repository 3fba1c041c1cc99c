//! Someone who may be here, and what they showed to be let in.

use super::{Account, Lease};
use rowcast_core::policy::{self, PasswordMark};
use serde::Serialize;
use std::sync::Arc;

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

impl Principal {
    /// The user that a client without credentials is, if that is allowed; also the name of its role.
    pub const ANONYMOUS: &str = "anonymous";
    /// The user that a client from loopback is under `authorizeLocal`.
    pub const LOCAL: &str = "local";

    pub(super) fn of(account: &Account) -> Principal {
        let (user, role) = (account.name.as_str().into(), account.role.as_str().into());
        Principal { user, role, super_user: account.super_user, has_account: true, password: None }
    }

    /// Who came in by the password of their account, and has to come again when it is another.
    pub(super) fn by_password(account: &Account) -> Principal {
        let mark = PasswordMark::of(account.password.hash.as_phc());
        Principal { password: Some(mark), ..Principal::of(account) }
    }

    /// Someone who showed no credentials.
    #[must_use]
    pub fn anonymous() -> Principal {
        ANONYMOUS.with(Principal::clone)
    }

    /// Someone on this machine whom the configuration trusts.
    #[must_use]
    pub fn local() -> Principal {
        LOCAL.with(Principal::clone)
    }

    fn without_account(user: &str, role: &str, super_user: bool) -> Principal {
        Principal { user: user.into(), role: role.into(), super_user, has_account: false, password: None }
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

// Whom all clients of some nodes are: they share the names, though not with other threads, which would count them as well.
thread_local! {
    static ANONYMOUS: Principal = Principal::without_account(Principal::ANONYMOUS, Principal::ANONYMOUS, false);
    static LOCAL: Principal = Principal::without_account(Principal::LOCAL, Account::ADMIN, true);
}
