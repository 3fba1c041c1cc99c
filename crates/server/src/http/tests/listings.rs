//! Many records in one answer.

use super::*;

#[test]
fn a_table_is_listed_in_the_order_of_its_keys() {
    with_server(async |server| {
        assert_eq!(server.get("/dog/").await.text(), "[]\n");
        for key in ["b", "a", "a/2", "a/1", "a!", "a/1/x"] {
            server.put(&format!("/dog/{key}"), r#"{"name":"Rex"}"#).await;
        }
        let check = async |path: &str, expected: &[&str]| {
            let reply = server.get(path).await;
            assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"), "{path}");
            let json = reply.json();
            let keys: Vec<_> = json.as_array().unwrap().iter().map(|dog| dog["id"].as_str().unwrap()).collect();
            assert_eq!(keys, expected, "{path}");
        };
        check("/dog/", &["a", "a/1", "a/1/x", "a/2", "a!", "b"]).await;
        check("/Dog/?", &["a", "a/1", "a/1/x", "a/2", "a!", "b"]).await;
        check("/dog/a/?", &["a/1", "a/1/x", "a/2"]).await;
        check("/dog/a%2F1/?", &["a/1/x"]).await;
        check("/dog/none/?", &[]).await;
        check("/dog/?limit(2)", &["a", "a/1"]).await;
        check("/dog/?limit(0)", &[]).await;
        check("/dog/?limit(1,3)", &["a/1", "a/1/x"]).await;
        check("/dog/?limit(4,100)", &["a!", "b"]).await;
        check("/dog/?limit(6,7)", &[]).await;
        check("/dog/a/?limit(1,2)", &["a/1/x"]).await;
        // Without the mark of a query it is the record with that very key.
        assert_eq!(server.get("/dog/a/").await.status, 404);
        server.put("/dog/a/", r#"{"name":"Slash"}"#).await;
        assert_eq!(server.get("/dog/a/").await.json()["name"], "Slash");
        assert_eq!(server.get("/counter/1/?").await.text(), "[]\n");
    });
}

#[test]
fn what_is_not_json_is_listed_beside_its_key() {
    with_server(async |server| {
        for (key, content_type, body) in [
            ("a", "Content-Type: application/json", &br#"{"x":1.10}"#[..]),
            ("b", "Content-Type: text/plain", b"7 \"quoted\""),
            ("c", "Content-Type: image/png", b"\xff\x00"),
            ("d/e", "Content-Type:", b"7"),
            ("f", "Content-Type: application/json", b"{broken"),
        ] {
            server.ask(&format!("PUT /blob/{key}"), &[content_type], body).await;
            server.ask(&format!("PUT /$topics/{key}"), &[content_type], body).await;
        }
        let list = |name: &str| {
            format!(
                "[{{\"{name}\":\"a\",\"contentType\":\"application/json\",\"value\":{{\"x\":1.10}}}},\n\
                 {{\"{name}\":\"b\",\"contentType\":\"text/plain\",\"value\":\"7 \\\"quoted\\\"\"}},\n\
                 {{\"{name}\":\"c\",\"contentType\":\"image/png\",\"base64\":\"/wA=\"}},\n\
                 {{\"{name}\":\"d/e\",\"value\":7}},\n\
                 {{\"{name}\":\"f\",\"contentType\":\"application/json\",\"value\":\"{{broken\"}}]\n"
            )
        };
        assert_eq!(server.get("/blob/").await.text(), list("id"));
        assert_eq!(server.get("/$topics/").await.text(), list("topic"));
        assert_eq!(server.get("/$topics/d/?").await.text(), "[{\"topic\":\"d/e\",\"value\":7}]\n");
    });
}

#[test]
fn what_is_kept_under_a_name_of_another_table_is_not_listed() {
    with_server(async |server| {
        for topic in ["cat", "cat/1", "Cat/2", "cats/1"] {
            server.ask(&format!("PUT /$topics/{topic}"), &[], "x").await;
        }
        for key in ["1", "puppy", "puppy/1", "puppy/a/1", "puppies/1"] {
            server.put(&format!("/dog/{key}"), r#"{"name":"Rex"}"#).await;
        }
        let listed = async |path: &str, name: &str| {
            let list = server.get(path).await.json();
            let keys = list.as_array().unwrap().iter().map(|one| one[name].as_str().unwrap().to_owned());
            keys.collect::<Vec<_>>()
        };
        let wider =
            r#"type Cat @table @export type Puppy @table @export(name: "Dog/puppy") { id: ID @id name: String! }"#;
        server.home.declare(&format!("{SCHEMA} {wider}")).await;
        assert_eq!(listed("/$topics/", "topic").await, ["cats/1"]);
        assert_eq!(listed("/$topics/?limit(1)", "topic").await, ["cats/1"]);
        assert_eq!(listed("/$topics/cat/?", "topic").await, [""; 0]);
        assert_eq!(listed("/dog/", "id").await, ["1", "puppies/1"]);
        assert_eq!(listed("/dog/puppy/?", "id").await, [""; 0]);
        for path in ["/cat/1", "/$topics/cat/1", "/dog/puppy/1", "/dog/puppy%2F1", "/Dog/puppy/a/1"] {
            for method in ["GET", "DELETE"] {
                assert_eq!(server.ask(&format!("{method} {path}"), &[], "").await.status, 404, "{method} {path}");
            }
        }
        let refused = server.ask("POST /dog/", &[], r#"{"id":"puppy/2","name":"Rex"}"#).await;
        assert_eq!(refused.problem(), (400, "invalid-key".to_owned()));
        server.put("/dog/puppy/1", r#"{"name":"Max"}"#).await;
        assert_eq!(listed("/dog/puppy/", "id").await, ["1"]);
        server.home.declare(SCHEMA).await;
        assert_eq!(listed("/$topics/", "topic").await, ["Cat/2", "cat", "cat/1", "cats/1"]);
        assert_eq!(listed("/dog/", "id").await, ["1", "puppies/1", "puppy", "puppy/1", "puppy/a/1"]);
        assert_eq!(server.get("/dog/puppy/1").await.json()["name"], "Rex");
    });
}

#[test]
fn many_records_come_page_by_page() {
    with_server(async |server| {
        let dogs: Vec<String> = (0..5000).map(|number| format!("{{\"n\":{number}}}")).collect();
        for dogs in dogs.chunks(2500) {
            let reply = server.ask("POST /counter/", &[], format!("[{}]", dogs.join(","))).await;
            assert_eq!(reply.status, 201);
        }
        let reply = server.get("/counter/").await;
        let all: Vec<i64> = reply.json().as_array().unwrap().iter().map(|it| it["id"].as_i64().unwrap()).collect();
        assert_eq!(all, (1..=5000).collect::<Vec<i64>>());
        let reply = server.get("/counter/?limit(3000,3500)").await;
        let some: Vec<i64> = reply.json().as_array().unwrap().iter().map(|it| it["id"].as_i64().unwrap()).collect();
        assert_eq!(some, (3001..=3500).collect::<Vec<i64>>());
    });
}

#[test]
fn a_query_is_never_left_aside() {
    with_server(async |server| {
        server.put("/dog/1", r#"{"name":"Rex"}"#).await;
        for query in [
            "name=Rex",
            "name==R*",
            "sort(name)",
            "select(name)",
            "limit(1)&name=Rex",
            "limit(1)|limit(2)",
            "((((((((name=1))))))))",
            "all=true",
            "foo",
        ] {
            for head in ["GET /dog/", "HEAD /dog/", "GET /dog/a/", "DELETE /dog/", "PUT /dog/"] {
                let reply = server.ask(&format!("{head}?{query}"), &[], "").await;
                assert_eq!(reply.status, 400, "{head}?{query}");
            }
            for head in
                ["GET /dog/1", "PUT /dog/1", "PATCH /dog/1", "DELETE /dog/1", "POST /dog/", "GET /dog", "GET /dog/9"]
            {
                let reply = server.ask(&format!("{head}?{query}"), &[], r#"{"name":"x"}"#).await;
                assert_eq!(reply.problem(), (400, "not-available".to_owned()), "{head}?{query}");
            }
        }
        for query in [
            "limit(2,1)",
            "limit(99999999999)&limit(1)",
            "limit(1000001,1000002)",
            "limit(-1)",
            "limit()",
            "limit(%ff)",
        ] {
            let reply = server.get(&format!("/dog/?{query}")).await;
            assert_eq!(reply.problem(), (400, "malformed-request".to_owned()), "{query}");
        }
        assert_eq!(server.ask("DELETE /dog/", &[], "").await.status, 400);
        assert_eq!(server.get("/dog/1?").await.status, 200);
    });
}

#[test]
fn a_listing_nobody_takes_holds_one_page() {
    with_settings(
        |settings| settings.patience.answer = Duration::from_millis(100),
        Local::Trusted,
        async |server| {
            let text = "x".repeat(60_000);
            for number in 0..600 {
                server.put(&format!("/blob/{number}"), &text).await;
            }
            // Some 36 MB, more than the sockets' buffers take; who reads nothing is cut off.
            let mut stream = server.connect().await;
            stream.write_all(b"GET /blob/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            server.all_gone().await;
            let mut taken = Vec::new();
            let ended = stream.read_to_end(&mut taken).await;
            assert!(
                taken.len() < 30_000_000 && (ended.is_err() || !taken.ends_with(b"0\r\n\r\n")),
                "{} {ended:?}",
                taken.len()
            );
            assert_eq!(server.get("/health").await.status, 200);
        },
    );
}
