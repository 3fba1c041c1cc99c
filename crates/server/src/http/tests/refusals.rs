//! What must not work, and how that is said.

use super::*;

#[test]
fn a_malformed_body_says_where_and_what() {
    with_server(async |server| {
        for (body, kind, pointer) in [
            ("", "malformed-body", None),
            ("{", "malformed-body", None),
            ("{\"name\":\"Rex\"} x", "malformed-body", None),
            ("\u{feff}{\"name\":\"Rex\"}", "malformed-body", None),
            ("{\"name\":\"\\ud800\"}", "malformed-body", None),
            ("7", "invalid-record", None),
            ("[]", "invalid-record", None),
            ("{}", "invalid-record", Some("/name")),
            ("{\"name\":7}", "invalid-record", Some("/name")),
            ("{\"name\":\"Rex\",\"age\":2147483648}", "invalid-record", Some("/age")),
            ("{\"name\":\"Rex\",\"age\":1e999}", "invalid-record", Some("/age")),
            ("{\"name\":\"Rex\",\"at\":{\"city\":1}}", "invalid-record", Some("/at/city")),
            ("{\"name\":\"Rex\",\"nick\":[\"a\",1]}", "invalid-record", Some("/nick/1")),
            ("{\"name\":\"Rex\",\"id\":\"2\"}", "invalid-record", Some("/id")),
        ] {
            let reply = server.ask("PUT /dog/1", &[], body).await;
            let json = reply.json();
            assert_eq!(
                (reply.problem().1.as_str(), json["pointer"].as_str().filter(|it| !it.is_empty())),
                (kind, pointer),
                "{body}"
            );
            assert_eq!(json["instance"], "/dog/1");
        }
        let deep = format!("{{\"name\":\"x\",\"y\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(server.ask("PUT /dog/1", &[], deep.clone()).await.status, 400);
        assert_eq!(server.ask("POST /dog/", &[], format!("[{deep}]")).await.status, 400);
        assert_eq!(server.ask("PUT /farm/animals/1", &[], r#"{"x":1}"#).await.problem().1, "invalid-record");
        assert_eq!(server.get("/dog/1").await.status, 404);
        // Odd, and fine.
        server
            .put("/dog/1", r#"{"name":"a","name":"b","__proto__":{"x":1},"big":123456789012345678901234567890}"#)
            .await;
        let expected = r#"{"id":"1","name":"b","__proto__":{"x":1},"big":123456789012345678901234567890}"#;
        assert_eq!(server.get("/dog/1").await.text(), expected);
    });
}

// [hostile 54]
#[test]
fn paths_are_keys_and_never_files() {
    with_server(async |server| {
        for path in ["/dog/../../etc/passwd", "/dog/./.", "/dog//etc/passwd", "/dog/%2e%2e"] {
            assert_eq!(server.get(path).await.problem(), (404, "not-found".to_owned()), "{path}");
            server.put(path, r#"{"name":"Rex"}"#).await;
            assert_eq!(server.get(path).await.status, 200, "{path}");
        }
        assert_eq!(server.get("/dog/../../etc/passwd").await.json()["id"], "../../etc/passwd");
        assert_eq!(server.get("/dog/%2e%2e%2f..%2Fetc/passwd").await.json()["id"], "../../etc/passwd");
        server.put("/dog/a%2Fb", r#"{"name":"Slash"}"#).await;
        assert_eq!(server.get("/dog/a/b").await.json()["id"], "a/b");
        assert_eq!(server.get("/dog%2Fa%2Fb").await.json()["id"], "a/b");
        for path in [
            "/..",
            "/../dog/1",
            "/etc/passwd",
            "//dog/1",
            "/",
            "/dogs/1",
            "/closed/1",
            "/metrics",
            "/openapi.json",
            "/console/",
            "/$admin/x",
        ] {
            assert_eq!(server.get(path).await.problem(), (404, "not-found".to_owned()), "{path}");
        }
        for path in ["/dog/%00", "/dog/a%00b", "/%00", "/dog/%ff", "/dog/%C0%AE", "/dog/%", "/dog/%zz", "/dog/%F0%9F"] {
            for method in ["GET", "PUT", "DELETE"] {
                let reply = server.ask(&format!("{method} {path}"), &[], r#"{"name":"x"}"#).await;
                assert_eq!(reply.problem(), (400, "malformed-request".to_owned()), "{method} {path}");
            }
        }
        for path in ["/dog/a+b", "/dog/%23", "/counter/x", "/counter/99999999999"] {
            let reply = server.ask(&format!("PUT {path}"), &[], r#"{"name":"x"}"#).await;
            assert_eq!(reply.problem(), (400, "invalid-key".to_owned()), "{path}");
        }
        assert_eq!(server.ask("POST /dog/", &[], r#"{"name":"x","id":"a#"}"#).await.problem().1, "invalid-key");
    });
}

#[test]
fn methods_and_formats_that_are_not_there_name_those_that_are() {
    with_server(async |server| {
        server.put("/dog/1", r#"{"name":"Rex"}"#).await;
        for (head, allow) in [
            ("TRACE /dog/1", "GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS"),
            ("BREW /dog/1", "GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS"),
            ("PATCH /dog/", "GET, HEAD, POST, OPTIONS"),
            ("PUT /dog", "GET, HEAD, POST, OPTIONS"),
            ("POST /health", "GET, HEAD, OPTIONS"),
            ("DELETE /ready", "GET, HEAD, OPTIONS"),
        ] {
            let reply = server.ask(head, &[], "").await;
            assert_eq!(reply.problem(), (405, "method-not-allowed".to_owned()), "{head}");
            assert_eq!(reply.header("allow"), allow, "{head}");
        }
        let options = server.ask("OPTIONS /dog/1", &[], "").await;
        assert_eq!((options.status, options.header("allow")), (204, "GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS"));
        for path in ["/dog/1", "/dog/1.name", "/dog/", "/dog"] {
            for accept in ["text/event-stream", "application/cbor", "text/html", "application/json;q=0", "*/*;q=0"] {
                let reply = server.ask(&format!("GET {path}"), &[&format!("Accept: {accept}")], "").await;
                assert_eq!(reply.problem(), (406, "not-acceptable".to_owned()), "{path} {accept}");
                assert!(reply.json()["detail"].as_str().unwrap().contains("application/json"));
            }
            let browser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8";
            assert_eq!(server.ask(&format!("GET {path}"), &[browser], "").await.status, 200);
        }
        server.ask("PUT /blob/1", &["Content-Type: image/png"], "x").await;
        assert_eq!(server.ask("GET /blob/1", &["Accept: image/*"], "").await.status, 200);
        assert_eq!(server.ask("GET /blob/1", &["Accept: application/json"], "").await.status, 406);
        for content_type in
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml"]
        {
            for head in ["PUT /dog/1", "POST /dog/", "PATCH /dog/1"] {
                let reply = server.ask(head, &[&format!("Content-Type: {content_type}")], "{}").await;
                assert_eq!(reply.problem(), (415, "unsupported-media-type".to_owned()), "{head} {content_type}");
            }
        }
        assert_eq!(server.ask("PUT /dog/1", &["Content-Encoding: gzip"], "x").await.problem().0, 415);
        assert_eq!(server.ask("PUT /blob/1", &["Content-Encoding: br"], "x").await.problem().0, 415);
        let twice = ["Content-Type: text/plain", "Content-Type: text/html"];
        assert_eq!(server.ask("PUT /blob/1", &twice, "x").await.problem().0, 400);
    });
}

// [hostile 54]
#[test]
fn a_second_request_cannot_hide_in_a_first() {
    with_server(async |server| {
        let hidden = "DELETE /dog/1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        for head in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "Content-Length: 5, 6\r\n\r\nhello",
            "Content-Length: +5\r\n\r\nhello",
            "Content-Length: -1\r\n\r\n",
            "Content-Length: 0x5\r\n\r\nhello",
            "Content-Length: 99999999999999999999\r\n\r\n",
            "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
            "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
            "X: a\r\n b: c\r\n\r\n",
            "X: a\0b\r\n\r\n",
        ] {
            server.put("/dog/1", r#"{"name":"Rex"}"#).await;
            let answer = server.raw(format!("PUT /blob/1 HTTP/1.1\r\nHost: localhost\r\n{head}{hidden}")).await;
            assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{head}: {answer}");
            assert!(!answer.starts_with("HTTP/1.1 2"), "{head}: {answer}");
            assert_eq!(server.get("/dog/1").await.status, 200, "{head}: {answer}");
        }
        let chunked = "PUT /blob/1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\n\r\n";
        let answer =
            server.raw(format!("{chunked}GET /blob/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 201") && answer.ends_with("abcde"), "{answer}");
    });
}

#[test]
fn what_is_no_http_is_refused_and_closed() {
    with_server(async |server| {
        for (request, status) in [
            ("GET /health HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
            ("GET /health HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n", "400"),
            ("GET /health HTTP/1.0\r\n\r\n", "200"),
            ("GET /dog/\u{7f} HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
            ("GET /dog/a b HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
            ("GET health HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
            ("GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n", "400"),
            ("GET  /health HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
            ("GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n", "200"),
            ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", "204"),
            ("GET * HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
            ("CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
            // MQTT CONNECT, and a TLS ClientHello, on this port.
            ("\x10\x10\0\x04MQTT\x05\x02\0\x3c\0\0\x03abc", "400"),
            ("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03", "400"),
            ("\0\0\0\0\r\n\r\n", "400"),
        ] {
            let request = request.replace("localhost\r\n\r\n", "localhost\r\nConnection: close\r\n\r\n");
            let answer = server.raw(&request).await;
            assert_eq!(answer.get(9..12), Some(status), "{request:?}: {answer}");
        }
        assert_eq!(server.get("/health").await.status, 200);
    });
}
