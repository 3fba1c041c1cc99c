//! What an account says of its user's rights.

use super::Principal;
use serde::Deserialize;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Tells one stored password from the next, and nothing else of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PasswordMark(u64);

impl PasswordMark {
    /// Of what is stored, which is another for each password that is set.
    #[must_use]
    pub fn of(stored: &str) -> PasswordMark {
        let mut hasher = DefaultHasher::new();
        stored.hash(&mut hasher);
        PasswordMark(hasher.finish())
    }
}

/// Why somebody is nobody any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// Their account is gone, or shut.
    Account,
    /// It has another password than the one they came in by.
    Password,
}

/// What of a row of [`TableId::USERS`](crate::TableId::USERS) rights depend on. Who may sign in, and how, is not asked
/// here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    role: Box<str>,
    super_user: bool,
    active: bool,
    #[serde(default)]
    password: Box<str>,
}

impl Principal {
    /// Who they are now that their account is `row`. Who has no account stays who they are.
    pub fn renewed(&self, row: Option<&[u8]>) -> Result<Principal, Lost> {
        if !self.has_account {
            return Ok(self.clone());
        }
        let row = row.and_then(|row| serde_json::from_slice(row).ok()).filter(|row: &Row| row.active);
        let row = row.ok_or(Lost::Account)?;
        if self.password.is_some_and(|mark| mark != PasswordMark::of(&row.password)) {
            return Err(Lost::Password);
        }
        Ok(Principal { role: row.role.into(), super_user: row.super_user, ..self.clone() })
    }

    /// The same, whatever becomes of the password: for what is done in their name when they are gone.
    #[must_use]
    pub fn in_name(&self) -> Principal {
        Principal { password: None, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_what_their_account_says_and_nobody_without_it() {
        let rex = Principal {
            user: Some("rex".into()),
            role: "kennel".into(),
            has_account: true,
            super_user: true,
            password: None,
        };
        let renewed = |row: &str| rex.renewed(Some(row.as_bytes()));
        assert_eq!(rex.renewed(None), Err(Lost::Account));
        assert_eq!(
            renewed(r#"{"password":"x","role":"reader","superUser":false,"active":true}"#),
            Ok(Principal { role: "reader".into(), super_user: false, ..rex.clone() })
        );
        for row in
            ["", "{}", r#"{"role":"reader","superUser":false,"active":false}"#, r#"{"role":"reader","active":true}"#]
        {
            assert_eq!(renewed(row), Err(Lost::Account), "{row}");
        }
        let by_password = Principal { password: Some(PasswordMark::of("x")), ..rex.clone() };
        let renewed = |row: &str| by_password.renewed(Some(row.as_bytes())).map(drop);
        let with =
            |password: &str| format!(r#"{{"password":"{password}","role":"a","superUser":false,"active":true}}"#);
        assert_eq!(renewed(&with("x")), Ok(()));
        assert_eq!(renewed(&with("y")), Err(Lost::Password));
        assert_eq!(by_password.in_name().renewed(Some(with("y").as_bytes())).map(drop), Ok(()));
        let local = Principal { has_account: false, ..rex };
        assert_eq!(local.renewed(None), Ok(local.clone()));
    }
}
