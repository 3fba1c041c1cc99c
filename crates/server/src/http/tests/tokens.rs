//! `/$admin/token`, and tokens as `Authorization: Bearer`.

use super::access::basic;
use super::*;

fn bearer(token: &serde_json::Value) -> String {
    format!("Authorization: Bearer {}", token.as_str().unwrap())
}

#[test]
fn a_password_is_exchanged_for_tokens_and_those_for_others() {
    with_settings(
        |_| {},
        Local::Unknown,
        async |server| {
            let ask = async |head: &str, authorization: &str| server.ask(head, &[authorization], "").await;
            let reply = ask("POST /$admin/token", &basic("admin", "secret")).await;
            assert_eq!((reply.status, reply.header("cache-control")), (200, "no-store"));
            let pair = reply.json();
            assert_eq!(pair["tokenType"], "Bearer");
            assert_eq!((pair["expiresIn"].as_u64(), pair["refreshExpiresIn"].as_u64()), (Some(100), Some(1000)));
            let (access, refresh) = (bearer(&pair["token"]), bearer(&pair["refreshToken"]));

            for (head, body) in [
                ("PUT /dog/1", r#"{"name":"Rex"}"#),
                ("PATCH /dog/1", r#"{"age":3}"#),
                ("POST /dog/", r#"{"name":"a"}"#),
            ] {
                assert!(server.ask(head, &[&access], body).await.status < 300, "{head}");
                assert_eq!(server.ask(head, &[&refresh], body).await.status, 401, "{head}");
            }
            for head in ["GET /dog/1", "GET /dog/", "GET /dog", "HEAD /dog/1", "GET /$admin/users", "DELETE /dog/1"] {
                assert_eq!(ask(head, &refresh).await.status, 401, "{head}");
                assert!(ask(head, &access).await.status < 300, "{head}");
            }

            let reply = ask("POST /$admin/token/refresh", &refresh).await;
            assert_eq!(reply.status, 200);
            assert!(reply.json().get("refreshToken").is_none(), "it is good for as long as it was");
            assert_eq!(ask("GET /dog/", &bearer(&reply.json()["token"])).await.status, 200);

            // A token leads to none that outlives it.
            assert_eq!(ask("POST /$admin/token", &access).await.problem(), (403, "forbidden".to_owned()));
            assert_eq!(ask("POST /$admin/token", &refresh).await.status, 401);
            assert_eq!(ask("POST /$admin/token/refresh", &access).await.status, 401);
            assert_eq!(ask("POST /$admin/token/refresh", &basic("admin", "secret")).await.status, 401);
            assert_eq!(ask("GET /$admin/token", &access).await.status, 405);
        },
    );
}

#[test]
fn every_user_gets_tokens_and_nobody_else_does() {
    with_settings(
        |_| {},
        Local::Unknown,
        async |server| {
            let post = async |head: &[&str]| server.ask("POST /$admin/token", head, "").await.status;
            assert_eq!(post(&[&basic("rex", "bone")]).await, 200);
            assert_eq!(post(&[&basic("rex", "wrong")]).await, 401);
            assert_eq!(post(&[]).await, 401);
        },
    );
    with_server(async |server| {
        let reply = server.ask("POST /$admin/token", &[], "").await;
        assert_eq!(reply.problem(), (403, "forbidden".to_owned()), "this machine has no account");
    });
}

#[test]
fn a_bad_token_is_refused_with_its_reason_and_never_repeated() {
    with_settings(
        |_| {},
        Local::Unknown,
        async |server| {
            for (token, words) in [
                ("abc", "the token is malformed"),
                ("", "the Authorization header is neither Basic nor Bearer"),
                ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.", "the token is malformed"),
                (
                    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiJ9.c2lnbmF0dXJl",
                    "the token is signed with a key that is not known",
                ),
                (&"x".repeat(10_000), "the token has more than 8192 bytes"),
            ] {
                let reply = server.ask("GET /dog/", &[&format!("Authorization: Bearer {token}")], "").await;
                assert_eq!(reply.problem(), (401, "unauthenticated".to_owned()), "{token}");
                assert_eq!(reply.json()["detail"], words, "{token}");
                assert!(token.is_empty() || !reply.text().contains(token), "{token}");
            }
            let reply = server.ask("GET /dog/", &["Authorization: Bearer abc"], "").await;
            let challenge =
                "Bearer realm=\"rowcast\", error=\"invalid_token\", error_description=\"the token is malformed\"";
            assert_eq!(reply.header("www-authenticate"), challenge);
        },
    );
}

#[test]
fn a_token_is_worth_what_its_user_is() {
    with_settings(
        |_| {},
        Local::Unknown,
        async |server| {
            let json = "Content-Type: application/json";
            let admin = basic("admin", "secret");
            let tokens = server.ask("POST /$admin/token", &[&basic("rex", "bone")], "").await.json();
            let (access, refresh) = (bearer(&tokens["token"]), bearer(&tokens["refreshToken"]));
            let change = async |body: &'static str| {
                assert_eq!(server.ask("PATCH /$admin/users/rex", &[&admin, json], body).await.status, 200, "{body}");
            };
            let status = async || {
                let refreshed = server.ask("POST /$admin/token/refresh", &[&refresh], "").await.status;
                (server.ask("GET /dog/", &[&access], "").await.status, refreshed)
            };
            assert_eq!(status().await, (403, 200));
            change(r#"{"role":"admin"}"#).await;
            assert_eq!(status().await, (200, 200));
            change(r#"{"active":false}"#).await;
            assert_eq!(status().await, (401, 401));
            change(r#"{"active":true}"#).await;
            assert_eq!(status().await, (200, 200));
            change(r#"{"password":"bone"}"#).await;
            assert_eq!(status().await, (401, 401), "who sets a password signs everybody out");
            assert_eq!(server.ask("DELETE /$admin/users/rex", &[&admin], "").await.status, 204);
            let again = r#"{"name":"rex","password":"bone","role":"admin"}"#;
            assert_eq!(server.ask("POST /$admin/users", &[&admin, json], again).await.status, 201);
            assert_eq!(status().await, (401, 401), "the next one of that name is somebody else");
        },
    );
}
