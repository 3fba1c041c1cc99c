//! What takes too much room, or too long.

use super::*;

#[test]
fn a_large_body_is_refused_before_it_is_kept() {
    with_settings(
        |settings| settings.body_bytes_max = 1000,
        Local::Trusted,
        async |server| {
            let body = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
            for head in ["PUT /blob/1", "PATCH /blob/1", "POST /blob/"] {
                let reply = server.ask(head, &[], body(1000)).await;
                assert!(matches!(reply.status, 201 | 204), "{head}: {reply:?}");
                let reply = server.ask(head, &[], body(1001)).await;
                assert_eq!(reply.problem(), (413, "body-too-large".to_owned()), "{head}");
                // More than the sockets hold, from a client that listens when it has said everything.
                assert_eq!(server.ask(head, &[], body(10_000_000)).await.problem().0, 413, "{head}");
            }
            // A length that is not told counts as well.
            let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
            let chunked =
                "PUT /blob/2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
            let answer = server.raw(format!("{chunked}{chunk}{chunk}0\r\n\r\n")).await;
            assert_eq!(answer.get(9..12), Some("201"), "{answer}");
            let answer = server.raw(format!("{chunked}{chunk}{chunk}1\r\nx\r\n0\r\n\r\n")).await;
            assert_eq!(answer.get(9..12), Some("413"), "{answer}");
            // Who asks first is told before sending.
            let asking = "PUT /blob/2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: ";
            let answer = server.raw(format!("{asking}1001\r\n\r\n")).await;
            assert_eq!(answer.get(9..12), Some("413"), "{answer}");
            let answer = server.raw(format!("{asking}1000\r\n\r\n{}", "x".repeat(1000))).await;
            assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204"), "{answer}");
        },
    );
}

#[test]
fn a_full_disk_refuses_changes_and_nothing_else() {
    with_server(async |server| {
        server.put("/dog/1", r#"{"name":"Rex"}"#).await;
        server.home.limit_disk(Some(0));
        for head in ["PUT /dog/1", "PATCH /dog/1", "POST /dog/", "DELETE /dog/1"] {
            let reply = server.ask(head, &[], r#"{"name":"Max"}"#).await;
            assert_eq!(reply.problem(), (507, "disk-full".to_owned()), "{head}");
        }
        assert_eq!(server.get("/dog/1").await.json()["name"], "Rex");
        server.home.limit_disk(None);
        server.put("/dog/1", r#"{"name":"Max"}"#).await;
    });
}

#[test]
fn nothing_is_written_where_no_client_of_mqtt_could_subscribe() {
    with_server(async |server| {
        let levels = |count: usize| vec!["x"; count].join("/");
        // The name of the table is one level, or two.
        for (fits, beyond) in [
            (format!("/dog/{}", levels(127)), format!("/dog/{}", levels(128))),
            (format!("/blob/{}", levels(127)), format!("/blob/{}", levels(128))),
            (format!("/farm/animals/{}", levels(126)), format!("/farm/animals/{}", levels(127))),
            (format!("/$topics/{}", levels(128)), format!("/$topics/{}", levels(129))),
        ] {
            let body = if fits.starts_with("/dog") { r#"{"name":"Rex"}"# } else { "{}" };
            for (method, header) in [("PUT", "X: x"), ("PATCH", "X: x"), ("POST", "Rowcast-Event: true")] {
                let reply = server.ask(&format!("{method} {fits}"), &[header], body).await;
                assert!(reply.status < 300, "{method} {fits}: {reply:?}");
                let reply = server.ask(&format!("{method} {beyond}"), &[header], body).await;
                assert_eq!(reply.problem(), (400, "invalid-key".to_owned()), "{method} {beyond}");
                assert_eq!(reply.json()["detail"], "a topic has at most 65535 bytes and 128 levels");
            }
            assert_eq!(server.ask(&format!("GET {beyond}"), &[], "").await.status, 404);
            assert_eq!(server.ask(&format!("DELETE {fits}"), &[], "").await.status, 204);
        }
        let post = async |levels_of_key: usize| {
            let body = format!(r#"[{{"name":"Rex"}},{{"name":"Rex","id":"{}"}}]"#, levels(levels_of_key));
            server.ask("POST /dog/", &[], body).await
        };
        assert_eq!(post(127).await.status, 201);
        let refused = post(128).await;
        assert_eq!((refused.problem().0, refused.json()["pointer"].as_str()), (400, Some("/1")));
        // What is there already, by other limits, can be read and deleted.
        server.home.db.set_topic_limits(rowcast_core::limits::Limits { topic_levels: 2, ..Default::default() }.topic());
        let there = format!("/dog/{}", levels(127));
        assert_eq!(server.get(&there).await.status, 200);
        assert_eq!(server.ask(&format!("PATCH {there}"), &[], r#"{"age":1}"#).await.status, 400);
        assert_eq!(server.ask(&format!("DELETE {there}"), &[], "").await.status, 204);
        assert_eq!(server.ask("PUT /dog/1", &[], r#"{"name":"Rex"}"#).await.status, 201);
    });
}

// [hostile 54]
#[test]
fn large_heads_are_refused() {
    with_server(async |server| {
        let with = |line: &str, headers: &str| {
            format!("GET {line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")
        };
        let large = "x".repeat(70_000);
        for (request, status) in [
            (with("/health", &format!("X: {}\r\n", "x".repeat(60_000))), "200"),
            (with("/health", &format!("X: {large}\r\n")), "431"),
            (with("/health", &"X: x\r\n".repeat(90)), "200"),
            (with("/health", &"X: x\r\n".repeat(101)), "431"),
            (with(&format!("/dog/{}", "x".repeat(4096)), ""), "404"),
            (with(&format!("/dog/{}", "x".repeat(4097)), ""), "400"),
            (with(&format!("/$topics/{}", "a/".repeat(30_000)), ""), "404"),
            (with(&format!("/dog/{large}"), ""), "431"),
        ] {
            let answer = server.raw(&request).await;
            let found = answer.get(9..12).unwrap_or_default();
            assert_eq!(found, status, "{}…: {answer}", &request[..60]);
        }
    });
}

// [hostile 54]
#[test]
fn ranges_however_many_bring_the_whole_once() {
    with_server(async |server| {
        server.put("/dog/1", r#"{"name":"Rex"}"#).await;
        let ranges: Vec<String> = (0..2000).map(|first| format!("{first}-")).collect();
        for path in ["/dog/1", "/dog/"] {
            let whole = server.get(path).await;
            let reply = server.ask(&format!("GET {path}"), &[&format!("Range: bytes={}", ranges.join(","))], "").await;
            assert_eq!((reply.status, reply.text()), (200, whole.text()), "{path}");
            assert!(!reply.headers.contains_key("content-range"), "{reply:?}");
        }
    });
}

// [hostile 54]
#[test]
fn who_is_slow_is_not_waited_for() {
    let hurry = |settings: &mut Settings| {
        settings.patience.head = Duration::from_millis(150);
        settings.patience.body = Duration::from_millis(150);
    };
    with_settings(hurry, Local::Trusted, async |server| {
        // Heads: nothing at all, a byte at a time, and nothing after a first request.
        let begin = std::time::Instant::now();
        let mut silent = server.connect().await;
        let mut slow = server.connect().await;
        let mut idle = server.connect().await;
        idle.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        for byte in b"GET /health HTTP/1.1\r\nX: " {
            if slow.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let _ = slow.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP/1.1 2"), "{rest:?}");
        rest.clear();
        let _ = silent.read_to_end(&mut rest).await;
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{rest:?}");
        rest.clear();
        let _ = idle.read_to_end(&mut rest).await;
        assert_eq!(String::from_utf8_lossy(&rest).matches("HTTP/1.1 200").count(), 1);
        assert!(begin.elapsed() < Duration::from_secs(5));

        // A body that stops, and one that drips.
        let head = "PUT /blob/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc";
        let answer = read_all(server, head, "").await;
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("connection: close"), "{answer}");
        let answer = read_all(server, head, "dripping, byte by byte, for much longer than anyone would wait").await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert_eq!(server.get("/blob/1").await.status, 404);
    });
}

async fn read_all(server: &Server, head: &str, drip: &str) -> String {
    let mut stream = server.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let drips = async {
        for byte in drip.bytes() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    tokio::select! {
        _ = reader.read_to_end(&mut answer) => {}
        () = drips => {}
    }
    String::from_utf8_lossy(&answer).into_owned()
}
