//! Who is let in, and which pages.

use super::*;
use crate::auth::Credentials;

pub(super) fn basic(user: &str, password: &str) -> String {
    let credentials = Credentials { user: user.to_owned(), password: password.as_bytes().to_vec() };
    format!("Authorization: {}", credentials.to_basic())
}

#[test]
fn without_a_right_password_nobody_is_let_in() {
    with_settings(
        |_| {},
        Local::Unknown,
        async |server| {
            let put = async |headers: &[&str]| server.ask("PUT /dog/1", headers, r#"{"name":"Rex"}"#).await;
            for authorization in [
                "X: none".to_owned(),
                basic("admin", "wrong"),
                basic("admin", ""),
                basic("nobody", "secret"),
                "Authorization: Basic !!!".to_owned(),
                "Authorization: secret".to_owned(),
            ] {
                let reply = put(&[&authorization]).await;
                assert_eq!(reply.problem(), (401, "unauthenticated".to_owned()), "{authorization}");
                assert!(reply.header("www-authenticate").starts_with("Basic realm=\"rowcast\""));
                // What there is and what is not looks the same from outside.
                for path in ["/dog/1", "/none", "/$topics/x", "/closed/1"] {
                    assert_eq!(server.ask(&format!("GET {path}"), &[&authorization], "").await.status, 401, "{path}");
                }
            }
            assert_eq!(put(&[&basic("admin", "secret"), &basic("admin", "secret")]).await.status, 400);
            assert_eq!(put(&[&basic("rex", "bone")]).await.problem(), (403, "forbidden".to_owned()));
            assert_eq!(put(&[&basic("admin", "secret")]).await.status, 201);
            // Nobody may claim to come from elsewhere.
            assert_eq!(put(&["X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1"]).await.status, 401);
            assert_eq!(server.get("/health").await.json()["status"], "ok");
            assert_eq!(server.get("/ready").await.json()["ready"], true);
        },
    );
}

// [hostile 57]
#[test]
fn where_a_header_says_a_request_comes_from_counts_for_nothing() {
    const LIES: &str = "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nForwarded: for=127.0.0.1;host=localhost\r\n\
                        X-Forwarded-Host: localhost\r\nTrue-Client-IP: ::1\r\nVia: 1.1 localhost\r\n";
    with_server(async |server| {
        for (peer, lies, status) in [
            ("192.0.2.7:40000", LIES, "401"),
            ("[2001:db8::1]:40000", LIES, "401"),
            ("127.0.0.1:40000", "X-Forwarded-For: 192.0.2.7\r\n", "200"),
        ] {
            let (mut near, far) = tokio::io::duplex(64 * 1024);
            let (peer, state) = (Peer::tcp(peer.parse().unwrap()), Arc::clone(&server.state));
            tokio::task::spawn_local(serve_connection(far, peer, state, |_, _| {}));
            let request = format!("GET /dog/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lies}\r\n");
            near.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            near.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
        }
    });
    // Nor does who guesses passwords become another with each guess.
    with_settings(
        |_| {},
        Local::Unknown,
        async |server| {
            let address = server.address;
            let guess = |last: u8| {
                let wrong = basic("admin", &format!("wrong{last}"));
                let claim = format!("X-Forwarded-For: 203.0.113.{last}\r\nForwarded: for=203.0.113.{last}\r\n");
                let request = format!("GET /dog/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{claim}{wrong}\r\n\r\n");
                tokio::task::spawn_local(async move {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    stream.write_all(request.as_bytes()).await.unwrap();
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).await.unwrap();
                    answer.split(' ').nth(1).unwrap().to_owned()
                })
            };
            let guesses: Vec<_> = (0..40).map(guess).collect();
            for guess in guesses {
                assert!(matches!(&*guess.await.unwrap(), "401" | "429"));
            }
            assert_eq!(guess(200).await.unwrap(), "429");
        },
    );
}

#[test]
fn trust_in_this_machine_is_no_trust_in_pages() {
    with_server(async |server| {
        let ask = async |headers: &[&str]| server.ask("POST /blob/", headers, "x").await.status;
        let port = server.address.port();
        let same = format!("Origin: http://localhost:{port}");
        let host = format!("Host: localhost:{port}");
        assert_eq!(ask(&["Host: localhost"]).await, 201);
        assert_eq!(ask(&["Host: 127.0.0.1:9926"]).await, 201);
        assert_eq!(ask(&[&host, &same]).await, 201);
        assert_eq!(ask(&["Host: rebound.example.org"]).await, 401);
        assert_eq!(ask(&[&host, "Origin: https://evil.example"]).await, 401);
        assert_eq!(ask(&[&host, "Origin: null"]).await, 401);
        assert_eq!(ask(&["Host: localhost", &basic("admin", "wrong")]).await, 401);
    });
}

#[test]
fn pages_are_welcome_as_configured() {
    let listed = Cors::Origins(vec!["https://app.example".to_owned()]);
    with_settings(
        |settings| settings.cors = listed,
        Local::Trusted,
        async |server| {
            let preflight = async |origin: &str| {
                let origin = format!("Origin: {origin}");
                server.ask("OPTIONS /dog/1", &[&origin, "Access-Control-Request-Method: PUT"], "").await
            };
            let reply = preflight("https://app.example").await;
            assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, "https://app.example"));
            assert!(reply.header("access-control-allow-methods").contains("PATCH"));
            assert!(reply.header("access-control-allow-headers").contains("If-Match"));
            let reply = preflight("https://evil.example").await;
            assert_eq!((reply.status, reply.headers.get("access-control-allow-origin")), (204, None));
            assert_eq!(reply.headers.get("access-control-allow-methods"), None);
            let reply = server.ask("GET /dog/1", &["Origin: https://app.example"], "").await;
            assert_eq!((reply.status, reply.header("access-control-allow-origin")), (404, "https://app.example"));
            assert!(reply.headers.get_all("vary").iter().any(|vary| vary == "Origin"));
        },
    );
    with_server(async |server| {
        let reply = server.ask("GET /health", &["Origin: https://app.example"], "").await;
        assert_eq!((reply.status, reply.headers.get("access-control-allow-origin")), (200, None));
    });
}

#[test]
fn a_server_that_is_not_ready_says_why() {
    with_server(async |server| {
        server.state.readiness().withhold("stopping");
        let reply = server.get("/ready").await;
        assert_eq!((reply.status, reply.text()), (503, r#"{"ready":false,"reasons":["stopping"]}"#));
        assert_eq!(server.get("/health").await.status, 200);
        server.state.readiness().grant("stopping");
        assert_eq!(server.get("/ready").await.text(), r#"{"ready":true}"#);
    });
}

#[test]
fn a_page_of_another_origin_changes_nothing_by_a_password_that_the_browser_keeps() {
    let (admin, foreign) = (basic("admin", "secret"), "Origin: https://evil.example");
    let cors = |settings: &mut Settings| settings.cors = Cors::Origins(vec!["https://app.example".to_owned()]);
    with_settings(cors, Local::Unknown, async |server| {
        // What a browser sends for any page without asking first.
        for path in ["/blob/", "/dog/", "/$admin/token"] {
            for content_type in [
                "",
                "text/plain",
                "Text/Plain; charset=utf-8",
                "application/x-www-form-urlencoded",
                "multipart/form-data",
            ] {
                let content_type = format!("Content-Type: {content_type}");
                let typed = [&*admin, foreign, &content_type];
                let headers = if content_type.ends_with(": ") { &typed[..2] } else { &typed };
                let refused = server.ask(&format!("POST {path}"), headers, r#"{"name":"Eve"}"#).await;
                assert_eq!(refused.problem(), (403, "forbidden".to_owned()), "{path} {content_type}");
            }
        }
        for origin in ["Origin: null", "Origin: http://"] {
            assert_eq!(server.ask("POST /blob/", &[&admin, origin], "x").await.status, 403, "{origin}");
        }
        assert_eq!(server.ask("GET /blob/", &[&admin, foreign], "").await.text(), "[]\n");
        // What it asks about first, and is not told to send; what says itself who it is; and who is welcome.
        let json = "Content-Type: application/json";
        assert_eq!(server.ask("POST /dog/", &[&admin, foreign, json], r#"{"name":"Rex"}"#).await.status, 201);
        let token = server.ask("POST /$admin/token", &[&admin], "").await.json();
        let bearer = format!("Authorization: Bearer {}", token["token"].as_str().unwrap());
        for headers in [
            &[&*bearer, foreign][..],
            &[&*admin, "Origin: https://app.example"],
            &[&*admin, "Origin: https://kennel.example", "Sec-Fetch-Site: same-origin"],
            &[&*admin],
        ] {
            assert_eq!(server.ask("POST /blob/", headers, "x").await.status, 201, "{headers:?}");
        }
    });
}
