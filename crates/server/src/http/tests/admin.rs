//! `/$admin/`: what administrators do, and who else may not.

use super::access::basic;
use super::*;

const JSON: &str = "Content-Type: application/json";

fn with_admin(test: impl AsyncFnOnce(&Server, &str)) {
    with_settings(|_| {}, Local::Unknown, async |server| test(server, &basic("admin", "secret")).await);
}

#[test]
fn users_come_change_and_go() {
    with_admin(async |server, admin| {
        let ask = async |head: &str, body: &'static str| server.ask(head, &[admin, JSON], body).await;
        let reply = ask("POST /$admin/users", r#"{"name":"max & co","password":"ball","role":"admin"}"#).await;
        assert_eq!((reply.status, reply.header("location")), (201, "/$admin/users/max%20&%20co"));
        assert_eq!(reply.text(), r#"{"name":"max & co","role":"admin","superUser":true,"active":true}"#);
        assert_eq!(
            ask("POST /$admin/users", r#"{"name":"max & co","password":"x","role":"admin"}"#).await.problem(),
            (409, "conflict".to_owned())
        );
        let max = basic("max & co", "ball");
        let names = |reply: &Reply| -> Vec<String> {
            reply.json().as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&server.ask("GET /$admin/users", &[&max], "").await), ["admin", "max & co", "rex"]);
        assert_eq!(names(&server.ask("GET /$admin/users?after=max", &[&max], "").await), ["max & co", "rex"]);

        let path = "/$admin/users/max%20%26%20co";
        assert_eq!(ask(&format!("PATCH {path}"), r#"{"password":"new"}"#).await.status, 200);
        assert_eq!(server.ask("GET /$admin/users", &[&max], "").await.status, 401, "the password is another one");
        let max = basic("max & co", "new");
        assert_eq!(server.ask(&format!("GET {path}"), &[&max], "").await.json()["superUser"], true);
        assert_eq!(ask(&format!("PATCH {path}"), r#"{"active":false}"#).await.status, 200);
        assert_eq!(server.ask("GET /$admin/users", &[&max], "").await.status, 401, "the account is shut");
        assert_eq!(ask(&format!("DELETE {path}"), "").await.status, 204);
        for head in [format!("DELETE {path}"), format!("GET {path}")] {
            assert_eq!(ask(&head, "").await.status, 404, "{head}");
        }
    });
}

#[test]
fn what_would_lock_everybody_out_is_refused() {
    with_admin(async |server, admin| {
        for (head, body) in [("DELETE /$admin/users/admin", ""), ("PATCH /$admin/users/admin", r#"{"active":false}"#)] {
            let reply = server.ask(head, &[admin, JSON], body).await;
            assert_eq!(reply.problem(), (409, "conflict".to_owned()), "{head}");
        }
    });
}

#[test]
fn what_is_no_user_is_refused_without_a_word_of_the_password() {
    with_admin(async |server, admin| {
        for body in [
            "",
            "[]",
            "{",
            r#"{"name":"max","password":"hush"}"#,
            r#"{"name":"max","password":"hush","role":"none"}"#,
            r#"{"name":"max","password":"","role":"admin"}"#,
            r#"{"name":"a/b","password":"hush","role":"admin"}"#,
            r#"{"name":"max","password":"hush","role":"admin","superUser":true}"#,
            r#"{"name":"max","password":["hush"],"role":"admin"}"#,
            r#"{"name":"max","role":"admin","password":"hush"#,
        ] {
            let reply = server.ask("POST /$admin/users", &[admin, JSON], body).await;
            assert_eq!(reply.problem(), (400, "malformed-body".to_owned()), "{body}");
            assert!(!reply.text().contains("hush"), "{}", reply.text());
        }
        for (head, status) in [
            ("GET /$admin/users?limit=1", 400),
            ("PUT /$admin/users/max", 405),
            ("POST /$admin/sessions", 405),
            ("GET /$admin/connections/c", 405),
            ("GET /$admin/none", 404),
            ("GET /$admin", 404),
        ] {
            assert_eq!(server.ask(head, &[admin, JSON], "").await.status, status, "{head}");
        }
    });
}

#[test]
fn administration_is_for_super_users() {
    with_admin(async |server, _| {
        let heads = [
            "GET /$admin/users",
            "POST /$admin/users",
            "PATCH /$admin/users/rex",
            "DELETE /$admin/users/rex",
            "GET /$admin/roles",
            "GET /$admin/sessions",
            "DELETE /$admin/connections/c",
            "OPTIONS /$admin/users",
            "GET /$admin/none",
        ];
        for head in heads {
            let body = r#"{"role":"admin"}"#;
            assert_eq!(server.ask(head, &[&basic("rex", "bone"), JSON], body).await.status, 403, "{head}");
            assert_eq!(server.ask(head, &[JSON], body).await.status, 401, "{head}");
            let forged = "Authorization: Rowcast-Local 99999999999.00";
            assert_eq!(server.ask(head, &[forged, JSON], body).await.status, 401, "{head}");
        }
    });
}

/// A page can make a browser send a form, or text, with whatever credentials the browser has.
#[test]
fn a_page_cannot_make_users_with_a_form() {
    with_admin(async |server, admin| {
        let body = r#"{"name":"max","password":"ball","role":"admin"}"#;
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"] {
            let content_type = format!("Content-Type: {content_type}");
            let reply = server.ask("POST /$admin/users", &[admin, &content_type], body).await;
            assert_eq!(reply.status, 415, "{content_type}");
        }
        assert_eq!(server.ask("POST /$admin/users", &[admin], body).await.status, 415);
    });
}

#[test]
fn clients_are_listed_and_sent_away() {
    with_admin(async |server, admin| {
        let list = async || server.ask("GET /$admin/sessions", &[admin], "").await.text().to_owned();
        let client = |id: &str| format!(r#"{{"clientId":"{id}","user":"rex","connected":true}}"#);
        assert_eq!(list().await, format!("[{},{}]", client("a/b"), client("c")));
        assert_eq!(server.ask("DELETE /$admin/connections/a/b", &[admin], "").await.status, 204);
        assert_eq!(server.ask("DELETE /$admin/connections/a/b", &[admin], "").await.status, 404);
        assert_eq!(list().await, format!("[{}]", client("c")));
    });
}
