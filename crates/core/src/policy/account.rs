//! What an account says of its user's rights.

use super::Principal;
use serde::Deserialize;

/// What of a row of [`TableId::USERS`](crate::TableId::USERS) rights depend on. Who may sign in, and how, is not asked
/// here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    role: Box<str>,
    super_user: bool,
    active: bool,
}

impl Principal {
    /// Who they are now that their account is `row`; `None`: nobody any more. Who has no account stays who they are.
    #[must_use]
    pub fn renewed(&self, row: Option<&[u8]>) -> Option<Principal> {
        if !self.has_account {
            return Some(self.clone());
        }
        let row: Row = serde_json::from_slice(row?).ok()?;
        row.active.then(|| Principal { role: row.role.into(), super_user: row.super_user, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_what_their_account_says_and_nobody_without_it() {
        let rex = Principal { user: Some("rex".into()), role: "kennel".into(), has_account: true, super_user: true };
        let renewed = |row: &str| rex.renewed(Some(row.as_bytes()));
        assert_eq!(rex.renewed(None), None);
        assert_eq!(
            renewed(r#"{"password":"x","role":"reader","superUser":false,"active":true}"#),
            Some(Principal { role: "reader".into(), super_user: false, ..rex.clone() })
        );
        for row in
            ["", "{}", r#"{"role":"reader","superUser":false,"active":false}"#, r#"{"role":"reader","active":true}"#]
        {
            assert_eq!(renewed(row), None, "{row}");
        }
        let local = Principal { has_account: false, ..rex };
        assert_eq!(local.renewed(None), Some(local.clone()));
    }
}
