//! Accounts as they are kept.

use super::Principal;
use super::password::{Hasher, KeptPassword, PasswordHash, generate_password};
use super::scram::Verifier;
use serde::{Deserialize, Serialize};

/// Someone who can sign in. A row of the table `TableId::USERS` whose key is the name; the value is JSON:
///
/// ```json
/// {"password":"$argon2id$v=19$m=19456,t=2,p=1$...","scram":"SCRAM-SHA-256$100000:...","role":"kennel","superUser":false,
///  "active":true}
/// ```
///
/// Without `scram`, which earlier versions did not write, nobody signs in by SCRAM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// What they sign in as.
    pub name: String,
    /// What is kept of their password.
    pub password: KeptPassword,
    /// What they may do.
    pub role: String,
    /// They may do everything.
    pub super_user: bool,
    /// They may sign in.
    pub active: bool,
}

/// Where accounts are kept.
pub trait Accounts: Send + Sync {
    /// The account of that name as it is now. Must not wait for anything but memory and disk.
    fn find(&self, name: &str) -> Option<Account>;
}

/// Why stored bytes are not an account, or a name cannot be one's.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Not the JSON this version writes.
    #[error("the account is damaged: {0}")]
    Json(#[from] serde_json::Error),
    /// The password hash is none.
    #[error("the account's password hash is no argon2id hash")]
    Hash,
    /// What is kept for SCRAM is none.
    #[error("the account's SCRAM verifier is none of SCRAM-SHA-256")]
    Verifier,
    /// The name is empty, too long, or has characters that topics and URLs give a meaning.
    #[error("a user name has 1 to {NAME_BYTES_MAX} bytes and none of `+`, `#`, `/`, `:` or control characters")]
    Name,
    /// The name is that of whoever has no account.
    #[error("`{}` and `{}` are what clients are called that have no account", Principal::ANONYMOUS, Principal::LOCAL)]
    Taken,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    password: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scram: Option<String>,
    role: String,
    super_user: bool,
    active: bool,
}

impl Account {
    /// The first account's name, and the role of super users.
    pub const ADMIN: &str = "admin";

    /// A new account that may sign in.
    pub fn new(name: &str, password: KeptPassword, role: &str) -> Result<Account, AccountError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(['+', '#', '/', ':']) {
            return Err(AccountError::Name);
        }
        if name.chars().any(char::is_control) {
            return Err(AccountError::Name);
        }
        // Whoever is nobody's account goes by these: they would have each other's sessions, and each other's topics.
        if [Principal::ANONYMOUS, Principal::LOCAL].contains(&name) {
            return Err(AccountError::Taken);
        }
        let super_user = role == Self::ADMIN;
        Ok(Account { name: name.to_owned(), password, role: role.to_owned(), super_user, active: true })
    }

    /// The account a new database begins with: `admin`, with the given password or else one made up here, which is
    /// returned to be shown once.
    #[must_use]
    pub fn first(password: Option<&str>) -> (Account, Option<String>) {
        let made_up = password.is_none().then(generate_password);
        let password = password.or(made_up.as_deref()).unwrap_or_default();
        let kept = Hasher::default().keep(password.as_bytes()).expect("a password is shorter than 4 GiB");
        let account = Account::new(Self::ADMIN, kept, Self::ADMIN).expect("`admin` is a name");
        (account, made_up)
    }

    /// The stored value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let stored = Stored {
            password: self.password.hash.as_phc().to_owned(),
            scram: self.password.verifier.as_ref().map(Verifier::to_string),
            role: self.role.clone(),
            super_user: self.super_user,
            active: self.active,
        };
        serde_json::to_vec(&stored).expect("an account is plain data")
    }

    /// What of it others may see.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let Account { name, password: _, role, super_user, active } = self;
        serde_json::json!({ "name": name, "role": role, "superUser": super_user, "active": active })
    }

    /// The account `name` from its stored value.
    pub fn decode(name: &str, value: &[u8]) -> Result<Account, AccountError> {
        let stored: Stored = serde_json::from_slice(value)?;
        let hash = PasswordHash::parse(&stored.password).ok_or(AccountError::Hash)?;
        let verifier = stored.scram.map(|text| Verifier::parse(&text).ok_or(AccountError::Verifier)).transpose()?;
        Ok(Account {
            name: name.to_owned(),
            password: KeptPassword { hash, verifier },
            role: stored.role,
            super_user: stored.super_user,
            active: stored.active,
        })
    }
}

/// Bytes of a user name.
const NAME_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_comes_back_as_it_was_stored() {
        let password = Hasher::cheap().keep(b"bone").expect("hashed");
        let account = Account::new("rex", password, "kennel").expect("a name");
        assert_eq!(Account::decode("rex", &account.encode()).expect("an account"), account);
        assert!(!account.super_user && account.active);
    }

    #[test]
    fn an_account_of_an_earlier_version_has_no_verifier() {
        let KeptPassword { hash, .. } = Hasher::cheap().keep(b"bone").expect("hashed");
        let row = format!(r#"{{"password":"{}","role":"kennel","superUser":false,"active":true}}"#, hash.as_phc());
        let account = Account::decode("rex", row.as_bytes()).expect("an account");
        assert_eq!(account.password, KeptPassword { hash, verifier: None });
        assert_eq!(account.encode(), row.as_bytes());
    }

    #[test]
    fn what_is_malformed_makes_no_user() {
        let password = Hasher::cheap().keep(b"bone").expect("hashed");
        for value in [
            String::new(),
            "{}".to_owned(),
            r#"{"password":"","role":"a","superUser":true,"active":true}"#.to_owned(),
            r#"{"password":"bone","role":"a","superUser":true,"active":true}"#.to_owned(),
            r#"{"password":"$1$abc$def","role":"a","superUser":true,"active":true}"#.to_owned(),
            format!(
                r#"{{"password":"{}","scram":"x","role":"a","superUser":true,"active":true}}"#,
                password.hash.as_phc()
            ),
            format!(r#"{{"password":"{}","role":"a","superUser":1,"active":true}}"#, password.hash.as_phc()),
            format!(r#"{{"password":"{}","role":"a","superUser":true}}"#, password.hash.as_phc()),
        ] {
            assert!(Account::decode("rex", value.as_bytes()).is_err(), "{value}");
        }
    }

    #[test]
    fn names_have_nothing_that_topics_give_a_meaning() {
        let password = Hasher::cheap().keep(b"bone").expect("hashed");
        let long = "x".repeat(256);
        for name in ["", "a/b", "+", "a#", "a:b", "a\nb", "a\0b", "anonymous", "local", long.as_str()] {
            assert!(Account::new(name, password.clone(), "reader").is_err(), "{name}");
        }
        for name in ["rex", "Rex Müller", "Anonymous", "rex@example.org", "$x", "%u"] {
            assert!(Account::new(name, password.clone(), "reader").is_ok(), "{name}");
        }
    }

    #[test]
    fn the_first_account_is_a_super_user() {
        let (account, made_up) = Account::first(Some("secret"));
        assert_eq!((account.name.as_str(), account.super_user, made_up), ("admin", true, None));
        assert!(Hasher::default().verify(b"secret", &account.password.hash));
        let (account, made_up) = Account::first(None);
        assert!(Hasher::default().verify(made_up.expect("made up").as_bytes(), &account.password.hash));
    }
}
