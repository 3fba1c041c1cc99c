use super::*;
use crate::auth::Hasher;
use crate::db::tests::{Home, run};

fn account(name: &str, role: &str) -> Account {
    Account::new(name, Hasher::cheap().keep(b"bone").expect("hashed"), role).expect("a name")
}

fn role(role: &str) -> Edit {
    Edit { role: Some(role.to_owned()), ..Edit::default() }
}

fn active(active: bool) -> Edit {
    Edit { active: Some(active), ..Edit::default() }
}

fn with_users(test: impl AsyncFnOnce(&Home, Users)) {
    run(async {
        let home = Home::new();
        let users = Users::new(home.db.clone(), Arc::new(|role| role == "chief"));
        test(&home, users).await;
    });
}

#[test]
fn users_come_change_and_go() {
    with_users(async |_, users| {
        users.add(&account("rex", "kennel")).await.expect("added");
        assert!(matches!(users.add(&account("rex", "other")).await, Err(UserError::Exists(_))));
        users.edit("rex", role("reader")).await.expect("changed");
        users.edit("rex", active(false)).await.expect("changed");
        let rex = users.find("rex").expect("there");
        assert_eq!((&*rex.role, rex.super_user, rex.active), ("reader", false, false));
        let password = Hasher::cheap().keep(b"ball").expect("hashed");
        users.edit("rex", Edit { password: Some(password.clone()), ..Edit::default() }).await.expect("changed");
        assert_eq!(users.get("rex").await.expect("there").password, password);
        users.delete("rex").await.expect("deleted");
        assert!(matches!(users.delete("rex").await, Err(UserError::Absent(_))));
        assert!(matches!(users.edit("rex", active(true)).await, Err(UserError::Absent(_))));
        assert_eq!(users.find("rex"), None);
    });
}

#[test]
fn the_last_super_user_stays_one() {
    with_users(async |_, users| {
        let admin = || account("admin", Account::ADMIN);
        assert!(users.add_first(admin).await.expect("added"));
        assert!(!users.add_first(admin).await.expect("there is one"));
        users.add(&account("rex", "kennel")).await.expect("added");
        let refused = |result: Result<(), UserError>| assert!(matches!(result, Err(UserError::LastSuperUser(_))));
        let all_refused = async |name: &str| {
            refused(users.delete(name).await);
            refused(users.edit(name, role("kennel")).await.map(drop));
            refused(users.edit(name, active(false)).await.map(drop));
        };
        all_refused("admin").await;
        // Any role that may do everything counts, and one that may not counts for nothing.
        users.edit("rex", role("chief")).await.expect("promoted");
        users.edit("admin", active(false)).await.expect("another is there");
        all_refused("rex").await;
        users.edit("admin", active(true)).await.expect("changed");
        users.edit("rex", role("kennel")).await.expect("another is there");
        all_refused("admin").await;
        users.edit("rex", role(Account::ADMIN)).await.expect("promoted");
        users.edit("admin", active(false)).await.expect("another is there");
        all_refused("rex").await;
        users.delete("admin").await.expect("shut already");
        users.edit("rex", active(true)).await.expect("no change");
    });
}

#[test]
fn of_two_who_would_both_leave_nobody_in_charge_one_stays() {
    with_users(async |_, users| {
        for name in ["a", "b"] {
            users.add(&account(name, Account::ADMIN)).await.expect("added");
        }
        let (first, second) = tokio::join!(users.delete("a"), users.edit("b", role("kennel")));
        assert!(first.is_ok() && matches!(second, Err(UserError::LastSuperUser(_))));
    });
}

#[test]
fn a_list_goes_on_behind_a_name() {
    with_users(async |_, users| {
        let changes: Vec<(String, Vec<u8>)> =
            (0..PAGE + 5).map(|n| (format!("u{n:05}"), account("x", "kennel").encode())).collect();
        let rows: Vec<Change<'_>> =
            changes.iter().map(|(name, value)| row(ChangeKind::Put, TableId::USERS, name.as_bytes(), value)).collect();
        users.write(&rows).await.expect("written");
        let first = users.list("").await.expect("read");
        assert_eq!((first.len(), &*first[0].name), (PAGE, "u00000"));
        let rest = users.list(&first[PAGE - 1].name).await.expect("read");
        assert_eq!(rest.iter().map(|user| &*user.name).collect::<Vec<_>>().len(), 5);
    });
}

#[test]
fn sessions_go_with_their_user_and_those_of_others_stay() {
    with_users(async |_, users| {
        users.add(&account("rex", "kennel")).await.expect("added");
        let session = |user: &str| format!(r#"{{"id":1,{user}"expiry_secs":60,"position":0,"count":0}}"#);
        let (rex, max, nobody) = (session(r#""user":"rex","#), session(r#""user":"max","#), session(""));
        let put = |key: &'static str, value: &'static str| {
            row(ChangeKind::Put, TableId::SESSIONS, key.as_bytes(), value.as_bytes())
        };
        let (rex, max, nobody) = (&*rex.leak(), &*max.leak(), &*nobody.leak());
        users.write(&[put("a", rex), put("b", max), put("c", nobody), put("d", rex)]).await.expect("written");
        users.delete("rex").await.expect("deleted");
        let left = users.sessions("").await.expect("read");
        assert_eq!(left, [("b".to_owned(), Some("max".into())), ("c".to_owned(), None)]);
    });
}
