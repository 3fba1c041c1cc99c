//! One record at a time.

use super::*;
use rowcast_core::Sequence;

const JSON: &str = "Content-Type: application/json";
const PATCH: &str = "Content-Type: application/merge-patch+json";

#[test]
fn a_record_is_made_read_replaced_and_removed() {
    with_server(async |server| {
        let made = server.ask("PUT /dog/123", &[JSON], r#"{"name":"Rex","age":5.0}"#).await;
        assert_eq!((made.status, made.text()), (201, ""));
        let read = server.get("/dog/123").await;
        assert_eq!((read.status, read.text()), (200, r#"{"id":"123","name":"Rex","age":5}"#));
        assert_eq!(read.header("etag"), made.header("etag"));
        assert_eq!(read.header("content-type"), "application/json");
        assert_eq!(read.header("content-length"), read.body.len().to_string());
        let modified = httpdate::parse_http_date(read.header("last-modified")).expect("a date");
        assert!(modified.elapsed().is_ok_and(|age| age < Duration::from_secs(60)));
        assert!(read.header("vary").contains("Accept"));

        let replaced = server.ask("PUT /Dog/123", &[], r#"{"name":"Max"}"#).await;
        assert_eq!(replaced.status, 204);
        assert_ne!(replaced.header("etag"), made.header("etag"));
        assert_eq!(server.get("/dog/123").await.text(), r#"{"id":"123","name":"Max"}"#);

        assert_eq!(server.ask("DELETE /dog/123", &[], "").await.status, 204);
        assert_eq!(server.get("/dog/123").await.problem(), (404, "not-found".to_owned()));
        assert_eq!(server.ask("DELETE /dog/123", &[], "").await.problem(), (404, "not-found".to_owned()));
    });
}

#[test]
fn head_is_get_without_the_body() {
    with_server(async |server| {
        server.put("/dog/1", r#"{"name":"Rex"}"#).await;
        for path in ["/dog/1", "/dog/1.name", "/dog", "/health", "/dog/2", "/dog/"] {
            let get = server.get(path).await;
            let head = server.ask(&format!("HEAD {path}"), &[], "").await;
            assert_eq!((head.status, head.text()), (get.status, ""), "{path}");
            let without_date = |mut headers: hyper::HeaderMap| {
                headers.remove("date");
                headers.remove("transfer-encoding"); // Of a body that is not there.
                headers
            };
            assert_eq!(without_date(head.headers), without_date(get.headers), "{path}");
        }
    });
}

#[test]
fn one_declared_property_can_be_read() {
    with_server(async |server| {
        let etag = server.put("/dog/1", r#"{"name":"Rex","at":{"city":"Bern"},"other":1}"#).await;
        server.put("/dog/2.name", r#"{"name":"Dot"}"#).await;
        server.put("/dog/2", r#"{"name":"Max"}"#).await;
        server.put("/counter/7", r#"{"n":8}"#).await;
        for (path, value) in [
            ("/dog/1.name", "\"Rex\""),
            ("/dog/1.at", r#"{"city":"Bern"}"#),
            ("/dog/1.age", "null"),
            ("/dog/1.id", "\"1\""),
            ("/dog/2.name", r#"{"id":"2.name","name":"Dot"}"#),
            ("/counter/07.n", "8"),
        ] {
            let reply = server.get(path).await;
            assert_eq!((reply.status, reply.text()), (200, value), "{path}");
        }
        assert_eq!(server.get("/dog/1.name").await.header("etag"), etag);
        for path in ["/dog/1.other", "/dog/3.name", "/dog/1.", "/dog/.name", "/dog/1.name.x"] {
            assert_eq!(server.get(path).await.status, 404, "{path}");
        }
        assert_eq!(server.get("/counter/x.n").await.problem(), (400, "invalid-key".to_owned()));
    });
}

// [hostile 54]
#[test]
fn a_merge_patch_alters_a_record_or_makes_it() {
    with_server(async |server| {
        let made = server.ask("PATCH /dog/1", &[PATCH], r#"{"name":"Rex","nick":["a","b"],"age":null}"#).await;
        assert_eq!(made.status, 201);
        let patched = server.ask("PATCH /dog/1", &[JSON], r#"{"age":3,"nick":["c"],"x":{"y":null}}"#).await;
        assert_eq!((patched.status, patched.headers.contains_key("etag")), (204, true));
        let expected = r#"{"id":"1","name":"Rex","nick":["c"],"age":3,"x":{}}"#;
        assert_eq!(server.get("/dog/1").await.text(), expected);

        // An array or a value is a whole new document (RFC 7396 §2), which a table of objects refuses.
        for patch in ["[]", "[{\"name\":\"x\"}]", "7", "null", "\"x\""] {
            let reply = server.ask("PATCH /dog/1", &[PATCH], patch).await;
            assert_eq!(reply.status, 400, "{patch}: {reply:?}");
        }
        let reply = server.ask("PATCH /dog/1", &[PATCH], r#"{"age":"old"}"#).await;
        assert_eq!(
            (reply.problem(), reply.json()["pointer"].as_str()),
            ((400, "invalid-record".to_owned()), Some("/age"))
        );
        assert_eq!(server.ask("PATCH /dog/1", &[PATCH], r#"{"name":null}"#).await.status, 400);
        assert_eq!(server.ask("PATCH /dog/1", &[PATCH], r#"{"age":"#).await.problem().1, "malformed-body");
        let reply = server.ask("PATCH /dog/1", &["Content-Type: application/json-patch+json"], "[]").await;
        assert_eq!(reply.problem().0, 415);
        assert_eq!(reply.header("accept-patch"), "application/merge-patch+json");
        assert_eq!(server.get("/dog/1").await.text(), expected);
    });
}

#[test]
fn a_merge_patch_leaves_expiry_and_properties_as_they_are() {
    with_server(async |server| {
        server.put("/dog/1", r#"{"name":"Rex"}"#).await;
        let db = &server.home.db;
        let batches =
            async || db.read(|store| store.read_log(Sequence::ZERO, usize::MAX).unwrap().batches).await.unwrap();
        let expires_ms = Some(crate::db::now_ms() + 1_000_000);
        let properties = b"\x08\0\x01r\x26\0\x06colour\0\x05black"; // A response topic, and a user property.
        let put = batches().await;
        let put = put.iter().flat_map(|batch| batch.entries()).last().expect("it is in the log");
        let change = rowcast_core::Change { expires_ms, properties, ..put.change };
        db.propose(|token, proposals| proposals.push(Some(token), rowcast_core::Durability::Memory, &[change]))
            .await
            .unwrap();
        assert_eq!(server.ask("PATCH /dog/1", &[PATCH], r#"{"age":3}"#).await.status, 204);
        let log = batches().await;
        let patched = log.iter().flat_map(|batch| batch.entries()).last().expect("it is in the log").change;
        assert_eq!((patched.expires_ms, patched.properties), (expires_ms, &properties[..]));
        assert_eq!(patched.payload, br#"{"id":"1","name":"Rex","age":3}"#);
    });
}

#[test]
fn a_post_makes_a_key() {
    with_server(async |server| {
        let made = server.ask("POST /dog/", &[JSON], r#"{"name":"Rex"}"#).await;
        assert_eq!(made.status, 201);
        let key = made.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(made.header("location"), format!("/dog/{key}"));
        let read = server.get(made.header("location")).await;
        assert_eq!((read.status, read.header("etag")), (200, made.header("etag")));

        let made = server.ask("POST /dog", &[JSON], r#"{"name":"Max","id":"a b/ü"}"#).await;
        assert_eq!((made.status, made.header("location")), (201, "/dog/a%20b/%C3%BC"));
        assert_eq!(server.get("/dog/a%20b/%c3%bc").await.json()["name"], "Max");
        let again = server.ask("POST /dog/", &[JSON], r#"{"name":"Max","id":"a b/ü"}"#).await;
        assert_eq!(again.problem(), (409, "key-exists".to_owned()));

        let counted = server.ask("POST /counter/", &[], "{}").await;
        assert_eq!((counted.text(), counted.header("location")), (r#"{"id":1}"#, "/counter/1"));
        let made = server.ask("POST /farm/animals/", &[], r#"{"id":"cow"}"#).await;
        assert_eq!(made.header("location"), "/farm/animals/cow");
        let made = server.ask("POST /Counter", &[], "{}").await;
        assert_eq!(made.header("location"), "/Counter/2");
        let blob = server.ask("POST /blob/", &["Content-Type: text/plain"], "[1,2]").await;
        let read = server.get(blob.header("location")).await;
        assert_eq!((read.text(), read.header("content-type")), ("[1,2]", "text/plain"));
    });
}

#[test]
fn an_array_makes_all_of_its_records_or_none() {
    with_server(async |server| {
        let made = server.ask("POST /counter/", &[JSON], r#"[{"n":1},{"id":9,"n":2},{"n":3}]"#).await;
        assert_eq!((made.status, made.text()), (201, r#"[{"id":1},{"id":9},{"id":2}]"#));
        for (body, status, pointer) in [
            (r#"[{"n":4},{"n":"x"}]"#, 400, Some("/1/n")),
            (r#"[{"n":4},7]"#, 400, Some("/1")),
            (r#"[{"n":4},{"id":9}]"#, 409, None),
            (r#"[{"id":5},{"id":5}]"#, 409, None),
            (r#"[{"n":4},"#, 400, None),
            (r#"[{"n":4}] x"#, 400, None),
        ] {
            let reply = server.ask("POST /counter/", &[JSON], body).await;
            assert_eq!((reply.status, reply.json()["pointer"].as_str()), (status, pointer), "{body}: {reply:?}");
        }
        let empty = server.ask("POST /counter/", &[JSON], " [ ] ").await;
        assert_eq!((empty.status, empty.text()), (201, "[]"));
        let keys: Vec<_> =
            server.get("/counter/").await.json().as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
        assert_eq!(keys, [1, 2, 9]);
        let many = format!("[{}{{}}]", "{},".repeat(super::super::limits::INSERT_RECORDS_MAX));
        assert_eq!(server.ask("POST /counter/", &[JSON], many).await.problem().0, 413);
    });
}

#[test]
fn a_post_can_be_an_event() {
    with_server(async |server| {
        let event = ["Rowcast-Event: true", "Content-Type: text/plain"];
        for (path, body) in [("dog/1", "woof"), ("dog/1", ""), ("dog", "all"), ("dog/", "too"), ("$topics/a/b", "x")] {
            let reply = server.ask(&format!("POST /{path}"), &event, body).await;
            assert_eq!((reply.status, reply.text()), (202, ""), "{path}");
        }
        assert_eq!(server.get("/dog/1").await.status, 404);
        let log = server.home.db.read(|store| store.read_log(Sequence::ZERO, usize::MAX).unwrap()).await.unwrap();
        let entries: Vec<_> = log.batches.iter().flat_map(|batch| batch.entries().collect::<Vec<_>>()).collect();
        let events: Vec<_> =
            entries.iter().filter(|entry| entry.change.kind == rowcast_core::ChangeKind::Message).collect();
        let payloads: Vec<_> = events.iter().map(|entry| String::from_utf8_lossy(entry.change.payload)).collect();
        assert_eq!(payloads, ["woof", "", "all", "too", "x"]);
        for entry in events {
            let properties = rowcast_codec::PublishProperties::parse_forwarded(entry.change.properties).unwrap();
            assert_eq!(properties.content_type, Some("text/plain"));
            assert_eq!(entry.change.qos, rowcast_codec::QoS::AtLeastOnce);
        }
        for (head, headers) in [
            ("POST /dog/1", &[JSON][..]),
            ("POST /dog/1", &["Rowcast-Event: false"]),
            ("POST /dog/1", &["Rowcast-Event: yes"]),
            ("PUT /dog/1", &["Rowcast-Event: true"]),
            ("PATCH /dog/1", &["Rowcast-Event: true"]),
            ("DELETE /dog/1", &["Rowcast-Event: true"]),
            ("POST /counter/x", &["Rowcast-Event: true"]),
            ("POST /dog/1", &["Rowcast-Event: true", "If-Match: *"]),
        ] {
            assert_eq!(server.ask(head, headers, r#"{"name":"x"}"#).await.status, 400, "{head} {headers:?}");
        }
    });
}

#[test]
fn preconditions_are_asked_of_the_record_as_it_is() {
    with_server(async |server| {
        let first = server.put("/dog/1", r#"{"name":"a"}"#).await;
        let etag = server.put("/dog/1", r#"{"name":"b"}"#).await;
        let weak = format!("W/{etag}");
        let list = format!("{first}, {etag}");
        let mut etag = etag;
        // What holds for a change, on a record that is there.
        for (header, holds) in [
            (format!("If-Match: {first}"), false),
            (format!("If-Match: {weak}"), false),
            ("If-Match: \"nothing\"".to_owned(), false),
            ("If-None-Match: *".to_owned(), false),
            (format!("If-None-Match: {list}"), false),
            (format!("If-None-Match: {weak}"), false),
            ("If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT".to_owned(), false),
            (format!("If-Match: {list}"), true),
            ("If-Match: *".to_owned(), true),
            (format!("If-None-Match: {first}"), true),
            ("If-Unmodified-Since: Fri, 31 Dec 9999 23:59:59 GMT".to_owned(), true),
        ] {
            for method in ["PUT", "PATCH"] {
                // What held names the version it found, which the change replaced.
                let header = if holds { header.replace(&list, &format!("{list}, {etag}")) } else { header.clone() };
                let reply = server.ask(&format!("{method} /dog/1"), &[&header], r#"{"name":"c"}"#).await;
                assert_eq!(reply.status, if holds { 204 } else { 412 }, "{method} {header}");
                match holds {
                    true => etag = reply.header("etag").to_owned(),
                    false => {
                        assert_eq!((reply.header("etag"), reply.problem().1.as_str()), (&*etag, "precondition-failed"));
                    }
                }
            }
        }
        let stale = server.ask("DELETE /dog/1", &[&format!("If-Match: {first}")], "").await;
        assert_eq!((stale.status, stale.header("etag")), (412, &*etag));
        assert_eq!(server.ask("DELETE /dog/1", &[&format!("If-Match: {etag}")], "").await.status, 204);

        // On one that is not.
        for (header, status) in [("If-Match: *", 412), ("If-Match: \"1\"", 412), ("If-None-Match: *", 404)] {
            let reply = server.ask("DELETE /dog/1", &[header], "").await;
            assert_eq!((reply.status, reply.headers.get("etag")), (status, None), "{header}");
        }
        assert_eq!(server.ask("PUT /dog/1", &["If-Match: *"], r#"{"name":"d"}"#).await.status, 412);
        assert_eq!(server.ask("PUT /dog/1", &["If-None-Match: *"], r#"{"name":"d"}"#).await.status, 201);
        for header in ["If-Match: 7", "If-None-Match: \"7", "If-Match: *, \"7\"", "If-None-Match:"] {
            for method in ["GET", "PUT", "PATCH", "DELETE"] {
                let reply = server.ask(&format!("{method} /dog/1"), &[header], r#"{"name":"x"}"#).await;
                assert_eq!(reply.problem(), (400, "malformed-request".to_owned()), "{method} {header}");
            }
        }
    });
}

#[test]
fn who_has_the_version_already_is_told_so() {
    with_server(async |server| {
        let etag = server.put("/dog/1", r#"{"name":"a"}"#).await;
        for (header, status) in [
            (format!("If-None-Match: {etag}"), 304),
            (format!("If-None-Match: \"x\", W/{etag}"), 304),
            ("If-None-Match: *".to_owned(), 304),
            ("If-None-Match: \"0\"".to_owned(), 200),
            (format!("If-Match: {etag}"), 200),
            ("If-Match: \"0\"".to_owned(), 412),
        ] {
            for head in ["GET /dog/1", "HEAD /dog/1", "GET /dog/1.name"] {
                let reply = server.ask(head, &[&header], "").await;
                assert_eq!((reply.status, reply.header("etag")), (status, &*etag), "{head} {header}");
                assert!(status != 304 || reply.body.is_empty());
            }
        }
        assert_eq!(server.ask("GET /dog/2", &["If-None-Match: *"], "").await.status, 404);
        assert_eq!(server.ask("GET /dog/2", &["If-Match: *"], "").await.status, 412);
    });
}

#[test]
fn any_payload_comes_back_as_it_was_sent() {
    with_server(async |server| {
        let bytes: Vec<u8> = (0..=255).collect();
        for path in ["/blob/1", "/blob/a/b", "/$topics/home/1", "/$topics//odd//", "/$topics/$other"] {
            let put = server.ask(&format!("PUT {path}"), &["Content-Type: image/png"], bytes.clone()).await;
            assert_eq!(put.status, 201, "{path}: {put:?}");
            let read = server.get(path).await;
            assert_eq!((&read.body[..], read.header("content-type")), (&bytes[..], "image/png"));
            assert_eq!(read.header("etag"), put.header("etag"));
            assert_eq!(read.header("x-content-type-options"), "nosniff");
            assert!(read.header("content-security-policy").contains("sandbox"));
            assert_eq!(server.ask(&format!("PUT {path}"), &[], "x").await.status, 204);
            assert_eq!(server.get(path).await.header("content-type"), "application/octet-stream");
            let empty = server.ask(&format!("PUT {path}"), &[], "").await;
            assert_eq!(empty.problem(), (400, "invalid-record".to_owned()));
            assert_eq!(server.ask(&format!("DELETE {path}"), &[], "").await.status, 204);
            assert_eq!(server.get(path).await.status, 404);
        }
        // What is JSON can be patched, and what is not cannot.
        server.ask("PUT /blob/1", &["Content-Type: application/vnd.x+json"], r#"{"a":1}"#).await;
        assert_eq!(server.ask("PATCH /blob/1", &[PATCH], r#"{"b":2}"#).await.status, 204);
        let read = server.get("/blob/1").await;
        assert_eq!((read.text(), read.header("content-type")), (r#"{"a":1,"b":2}"#, "application/vnd.x+json"));
        server.ask("PUT /blob/2", &["Content-Type: text/plain"], "{not json").await;
        assert_eq!(server.ask("PATCH /blob/2", &[PATCH], r#"{"b":2}"#).await.status, 400);
        assert_eq!(server.ask("PUT /blob/2", &[PATCH], r#"{"b":2}"#).await.status, 415);
    });
}

#[test]
fn topics_of_tables_and_of_the_server_are_not_open() {
    with_server(async |server| {
        for (path, status) in [
            ("/$topics/dog/1", 404),
            ("/$topics/Dog/1", 404),
            ("/$topics/dog", 404),
            ("/$topics/counter/x", 404),
            ("/$topics/$SYS/broker/version", 403),
            ("/$topics/$get/dog", 403),
            ("/$topics/a/+", 400),
            ("/$topics/%23", 400),
        ] {
            for method in ["GET", "PUT", "DELETE"] {
                let reply = server.ask(&format!("{method} {path}"), &[], "x").await;
                assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
            }
        }
        assert_eq!(server.ask("POST /$topics/", &[], "x").await.problem().0, 405);
    });
    with_settings(
        |settings| settings.open_topics = OpenTopics::Refused,
        Local::Trusted,
        async |server| {
            assert_eq!(server.ask("PUT /$topics/a", &[], "x").await.status, 404);
        },
    );
}

#[test]
fn each_door_of_a_table_is_shut_by_itself() {
    with_server(async |server| {
        server.put("/web/1", "{}").await;
        assert_eq!(server.get("/Web/1").await.text(), r#"{"id":"1"}"#);
        assert_eq!(server.get("/$topics/web/1").await.status, 404);
        for head in ["GET /closed/1", "PUT /closed/1", "GET /closed/", "GET /closed", "PUT /$topics/closed/1"] {
            assert_eq!(server.ask(head, &[], "x").await.problem(), (404, "not-found".to_owned()), "{head}");
        }
    });
}

#[test]
fn a_table_describes_itself() {
    with_server(async |server| {
        let dog = server.get("/dog").await.json();
        assert_eq!((dog["name"].as_str(), dog["description"].as_str()), (Some("Dog"), Some("Every dog of the kennel")));
        assert_eq!(dog["paths"], serde_json::json!(["/Dog/", "/dog/"]));
        let names: Vec<_> =
            dog["attributes"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["id", "name", "age", "seen", "at", "nick"]);
        assert_eq!(dog["attributes"][1]["type"], "String!");
        assert_eq!(server.get("/blob").await.json().get("attributes"), None);
        assert_eq!(server.get("/$topics").await.json()["name"], "$topics");
        assert_eq!(server.get("/private").await.status, 404);
        assert_eq!(server.ask("PUT /private/1", &[], "x").await.status, 201);
    });
}

#[test]
fn cbor_is_taken_as_json_is() {
    with_server(async |server| {
        // {"name": "Rex"}
        let cbor = b"\xa1\x64name\x63Rex".to_vec();
        assert_eq!(server.ask("PUT /dog/1", &["Content-Type: application/cbor"], cbor).await.status, 201);
        assert_eq!(server.get("/dog/1").await.text(), r#"{"id":"1","name":"Rex"}"#);
        let bomb = b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
        assert_eq!(server.ask("PUT /dog/1", &["Content-Type: application/cbor"], bomb).await.status, 400);
    });
}
