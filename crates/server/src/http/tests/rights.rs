//! Every right with every request: each cell of the matrix says which answer it gets.
//!
//! Roles are all combinations of the five rights on one table, with all attributes or `name` only.

use super::access::basic;
use super::*;
use rowcast_core::policy::{AttributeGrant, Role, TableGrant, TopicGrant};

/// The rights of a role by their letters, and whether it is confined to `name`.
#[derive(Clone, Copy, Debug)]
struct Letters {
    rights: u8,
    confined: bool,
}

const RIGHTS: &str = "riudp";

impl Letters {
    fn all() -> impl Iterator<Item = Letters> {
        (0..32).flat_map(|rights| [false, true].map(|confined| Letters { rights, confined }))
    }

    fn has(self, right: char) -> bool {
        self.rights & 1 << RIGHTS.find(right).expect("a right") != 0
    }

    fn role(self) -> Role {
        let name = AttributeGrant { name: "name".into(), read: true, insert: true, update: true };
        let grant = TableGrant {
            table: "Dog".into(),
            read: self.has('r'),
            insert: self.has('i'),
            update: self.has('u'),
            delete: self.has('d'),
            publish: self.has('p'),
            attributes: self.confined.then(|| vec![name]),
        };
        Role { tables: vec![grant], ..Role::default() }
    }
}

/// A request with headers and body, the right it takes, whether it is about more than `name`, and the answer if it is
/// allowed.
type Cell = (&'static str, &'static [&'static str], &'static str, char, bool, u16);

const REQUESTS: [Cell; 22] = [
    ("GET /dog/old", &[], "", 'r', false, 200),
    ("HEAD /dog/old", &[], "", 'r', false, 200),
    ("GET /dog/none", &[], "", 'r', false, 404),
    ("GET /dog/old.name", &[], "", 'r', false, 200),
    ("GET /dog/", &[], "", 'r', false, 200),
    ("GET /dog/a/?", &[], "", 'r', false, 200),
    ("GET /dog", &[], "", 'r', false, 200),
    ("OPTIONS /dog/old", &[], "", 'r', false, 204),
    ("PUT /dog/new", &[], r#"{"name":"New"}"#, 'i', false, 201),
    ("PUT /dog/new", &[], r#"{"name":"New","age":1}"#, 'i', true, 201),
    ("PUT /dog/old", &[], r#"{"name":"New"}"#, 'u', false, 204),
    ("PUT /dog/old", &[], r#"{"name":"New","age":1}"#, 'u', true, 204),
    ("PUT /dog/old", &["If-None-Match: *"], r#"{"name":"New"}"#, 'u', false, 412),
    ("PATCH /dog/new", &[], r#"{"name":"New"}"#, 'i', false, 201),
    ("PATCH /dog/old", &[], r#"{"name":"New"}"#, 'u', false, 204),
    ("PATCH /dog/old", &[], r#"{"age":null}"#, 'u', true, 204),
    ("POST /dog/", &[], r#"{"name":"New"}"#, 'i', false, 201),
    ("POST /dog/", &["Rowcast-Event: false"], r#"[{"name":"New"},{"name":"New","age":1}]"#, 'i', true, 201),
    ("POST /dog/old", &["Rowcast-Event: true"], r#"{"age":1}"#, 'p', false, 202),
    ("POST /dog/", &["Rowcast-Event: true"], "x", 'p', false, 202),
    ("DELETE /dog/old", &[], "", 'd', false, 204),
    ("DELETE /dog/none", &[], "", 'd', false, 404),
];

#[test]
fn every_request_takes_its_right() {
    let (rex, admin) = (basic("rex", "bone"), basic("admin", "secret"));
    with_settings(
        |_| {},
        Local::Unknown,
        async |server| {
            for letters in Letters::all() {
                server.state.access.set_roles(Roles::from([("kennel".into(), letters.role())]));
                for (request, headers, body, right, is_beyond, status) in REQUESTS {
                    let cell = format!("{letters:?} {request} {headers:?} {body}");
                    let old = server.ask("PUT /dog/old", &[&admin], r#"{"name":"Rex","age":3}"#).await;
                    assert!(matches!(old.status, 201 | 204), "{cell}");
                    server.ask("DELETE /dog/new", &[&admin], "").await;
                    let headers: Vec<&str> = headers.iter().copied().chain([&*rex]).collect();
                    let reply = server.ask(request, &headers, body).await;
                    let is_allowed = letters.has(right) && !(letters.confined && is_beyond);
                    assert_eq!(reply.status, if is_allowed { status } else { 403 }, "{cell}: {}", reply.text());
                    let is_shown = reply.text().contains("age") || reply.text().contains(":3");
                    assert!(!(letters.confined && is_shown && reply.status < 300), "{cell}: {}", reply.text());
                    // What was refused changed nothing, and what was allowed nothing it may not.
                    let after = server.ask("GET /dog/old", &[&admin], "").await.text().to_owned();
                    let stays = !is_allowed || (letters.confined && right == 'u');
                    assert!(!stays || after.contains(r#""age":3"#), "{cell}: {after}");
                    let is_made = server.ask("GET /dog/new", &[&admin], "").await.status == 200;
                    assert_eq!(is_made, is_allowed && request.ends_with("/new"), "{cell}");
                }
            }
        },
    );
}

#[test]
fn who_may_not_is_not_told_what_there_is() {
    let (rex, admin) = (basic("rex", "bone"), basic("admin", "secret"));
    with_settings(
        |_| {},
        Local::Unknown,
        async |server| {
            server.ask("PUT /counter/1", &[&admin], r#"{"n":1}"#).await;
            let role = Letters { rights: 0b11111, confined: false }.role();
            server.state.access.set_roles(Roles::from([("kennel".into(), role)]));
            let mut answers = Vec::new();
            for path in
                ["/counter/1", "/counter/2", "/counter/x", "/counter", "/none", "/none/1", "/closed/1", "/private"]
            {
                for request in ["GET", "PUT", "PATCH", "DELETE", "POST", "OPTIONS"] {
                    let reply = server.ask(&format!("{request} {path}"), &[&rex], "").await;
                    assert_eq!(reply.status, 403, "{request} {path}");
                    answers.push(reply.text().replace(path, ""));
                }
            }
            answers.dedup();
            assert_eq!(answers.len(), 1, "{answers:?}");
            assert_eq!(server.ask("GET /none", &[&admin], "").await.status, 404);
        },
    );
}

#[test]
fn attributes_that_are_not_shown_are_not_there() {
    let (rex, admin) = (basic("rex", "bone"), basic("admin", "secret"));
    with_settings(
        |_| {},
        Local::Unknown,
        async |server| {
            let role = Letters { rights: 0b11111, confined: true }.role();
            server.state.access.set_roles(Roles::from([("kennel".into(), role)]));
            server.ask("PUT /dog/1", &[&admin], r#"{"name":"Rex","age":3,"secret":"s"}"#).await;
            assert_eq!(server.ask("GET /dog/1", &[&rex], "").await.text(), r#"{"id":"1","name":"Rex"}"#);
            assert_eq!(server.ask("GET /dog/", &[&rex], "").await.text(), "[{\"id\":\"1\",\"name\":\"Rex\"}]\n");
            assert_eq!(server.ask("GET /dog/1.name", &[&rex], "").await.text(), r#""Rex""#);
            for hidden in ["/dog/1.age", "/dog/1.secret", "/dog/1.none"] {
                assert_eq!(server.ask(&format!("GET {hidden}"), &[&rex], "").await.status, 404, "{hidden}");
            }
            let described = server.ask("GET /dog", &[&rex], "").await.json();
            let names: Vec<&str> =
                described["attributes"].as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
            assert_eq!(names, ["id", "name"]);
            let refused = server.ask("PATCH /dog/1", &[&rex], r#"{"name":"Max","age":4}"#).await;
            assert_eq!((refused.status, refused.json()["detail"].as_str()), (403, Some("attribute age: not allowed")));
        },
    );
}

#[test]
fn open_topics_follow_their_rules() {
    let (rex, admin) = (basic("rex", "bone"), basic("admin", "secret"));
    with_settings(
        |_| {},
        Local::Unknown,
        async |server| {
            let topic = |filter: &str, read, publish| TopicGrant { filter: filter.into(), read, publish };
            let topics =
                vec![topic("home/%u/#", true, true), topic("home/in", false, true), topic("dev/%c/#", true, true)];
            let role = Role { topics, ..Role::default() };
            server.state.access.set_roles(Roles::from([("kennel".into(), role)]));
            for (request, status) in [
                ("PUT /$topics/home/rex/a", 201),
                ("PUT /$topics/home/in", 201),
                ("PUT /$topics/home/eve/a", 403),
                ("PUT /$topics/dev/x/a", 403),
                ("PUT /$topics/dev//a", 403),
                ("GET /$topics/home/rex/a", 200),
                ("GET /$topics/home/in", 403),
                ("GET /$topics/home/eve/none", 403),
                ("GET /$topics/home/", 404),
                ("DELETE /$topics/home/eve/a", 403),
                ("GET /$topics/home/rex/", 404),
                ("PATCH /$topics/home/eve/a", 403),
            ] {
                let expected = if request == "GET /$topics/home/" { 403 } else { status };
                assert_eq!(server.ask(request, &[&rex], "x").await.status, expected, "{request}");
            }
            server.ask("PUT /$topics/home/eve/a", &[&admin], "hers").await;
            let list = server.ask("GET /$topics/", &[&rex], "").await.json();
            assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
            assert_eq!(list[0]["topic"], "home/rex/a");
            assert_eq!(server.ask("GET /$topics/home/eve/?", &[&rex], "").await.status, 403);
            assert_eq!(server.ask("GET /$topics/home/?limit(1)", &[&rex], "").await.json()[0]["topic"], "home/rex/a");
            assert_eq!(server.ask("GET /$topics/", &[&admin], "").await.json().as_array().unwrap().len(), 3);
        },
    );
}

#[test]
fn open_topics_are_not_listed_by_rights_on_tables() {
    let (rex, admin) = (basic("rex", "bone"), basic("admin", "secret"));
    let of_table = |table: &str| Role {
        tables: vec![TableGrant {
            table: table.into(),
            read: true,
            insert: true,
            publish: true,
            ..TableGrant::default()
        }],
        ..Role::default()
    };
    let of_topics = |filter: &str, read, publish| Role {
        topics: vec![TopicGrant { filter: filter.into(), read, publish }],
        ..Role::default()
    };
    with_settings(
        |_| {},
        Local::Unknown,
        async |server| {
            server.ask("PUT /$topics/ro/1", &[&admin], "x").await;
            for (name, role, all, below) in [
                ("no right", Role::default(), 403, 403),
                ("a table", of_table("Dog"), 403, 403),
                ("another table", of_table("Blob"), 403, 403),
                ("publishing", of_topics("ro/#", false, true), 403, 403),
                ("the server's topics", of_topics("$SYS/#", true, false), 403, 403),
                ("other topics", of_topics("x/#", true, false), 200, 403),
                ("these topics", of_topics("ro/#", true, false), 200, 200),
                ("all topics", of_topics("#", true, false), 200, 200),
            ] {
                server.state.access.set_roles(Roles::from([("kennel".into(), role)]));
                for (path, status) in [
                    ("/$topics/", all),
                    ("/$topics/?limit(1)", all),
                    ("/$topics", all),
                    ("/$topics/ro/?", below),
                    ("/$topics/dog/?", if name == "all topics" { 200 } else { 403 }),
                ] {
                    for method in ["GET", "HEAD"] {
                        let reply = server.ask(&format!("{method} {path}"), &[&rex], "").await;
                        assert_eq!(reply.status, status, "{name}: {method} {path}");
                    }
                }
            }
        },
    );
}

#[test]
fn who_shows_no_credentials_is_asked_for_them_where_its_role_ends() {
    with_rules(
        |rules| rules.require_authentication = false,
        async |server| {
            let reply = server.get("/dog/1").await;
            assert_eq!(reply.problem(), (401, "unauthenticated".to_owned()));
            assert!(reply.header("www-authenticate").starts_with("Basic"));
            let grant = TableGrant { table: "Dog".into(), read: true, insert: true, ..TableGrant::default() };
            let role = Role { tables: vec![grant], ..Role::default() };
            server.state.access.set_roles(Roles::from([("anonymous".into(), role)]));
            assert_eq!(server.get("/dog/1").await.status, 404);
            assert_eq!(server.ask("PUT /dog/1", &[], r#"{"name":"Rex"}"#).await.status, 201);
            assert_eq!(server.ask("PUT /dog/1", &[], r#"{"name":"Max"}"#).await.status, 401, "refused by the writer");
            assert_eq!(server.ask("DELETE /dog/1", &[], "").await.status, 401);
            assert_eq!(server.get("/counter/1").await.status, 401);
            assert_eq!(server.ask("GET /dog/1", &[&basic("rex", "wrong")], "").await.status, 401);
            assert_eq!(server.ask("GET /dog/1", &[&basic("rex", "bone")], "").await.status, 403);
        },
    );
}

/// What takes a right away.
#[derive(Clone, Copy, Debug)]
enum Loss {
    OfTheRight,
    OfTheAccount,
}

impl Loss {
    async fn happens(self, server: &Server) {
        match self {
            Self::OfTheRight => drop(server.state.access.set_roles(Roles::new())),
            Self::OfTheAccount => server.state.users.delete("rex").await.unwrap(),
        }
    }
}

#[test]
fn a_body_that_was_sent_slowly_is_held_to_the_rights_at_its_end() {
    for (loss, status) in [(Loss::OfTheRight, 403), (Loss::OfTheAccount, 401)] {
        with_settings(
            |_| {},
            Local::Unknown,
            async |server| {
                let grant = TableGrant { table: "Blob".into(), insert: true, publish: true, ..TableGrant::default() };
                let role = Role { tables: vec![grant], ..Role::default() };
                server.state.access.set_roles(Roles::from([("kennel".into(), role)]));
                let mut requests = Vec::new();
                for line in ["PUT /blob/1", "PATCH /blob/1", "POST /blob/"] {
                    let mut stream = server.connect().await;
                    let rex = basic("rex", "bone");
                    let head = format!(
                        "{line} HTTP/1.1\r\nHost: x\r\n{rex}\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\
                         Connection: close\r\n\r\n"
                    );
                    stream.write_all(head.as_bytes()).await.unwrap();
                    let mut goes_on = [0; 25];
                    stream.read_exact(&mut goes_on).await.unwrap();
                    assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n", "{line}: it is let in");
                    requests.push((line, stream));
                }
                loss.happens(server).await;
                for (line, mut stream) in requests {
                    stream.write_all(b"{}").await.unwrap();
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).await.unwrap();
                    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{loss:?} {line}: {answer}");
                }
                assert_eq!(server.ask("GET /blob/", &[&basic("admin", "secret")], "").await.text(), "[]\n");
            },
        );
    }
}

#[test]
fn a_list_that_is_read_slowly_ends_where_the_right_to_it_does() {
    const RECORDS: usize = 200;
    const BYTES: usize = 128 * 1024; // Of which no socket keeps so many.
    for loss in [Loss::OfTheRight, Loss::OfTheAccount] {
        with_settings(
            |_| {},
            Local::Unknown,
            async |server| {
                let grant = TableGrant { table: "Blob".into(), read: true, ..TableGrant::default() };
                let role = Role { tables: vec![grant], ..Role::default() };
                server.state.access.set_roles(Roles::from([("kennel".into(), role)]));
                for record in 0..RECORDS {
                    let admin = basic("admin", "secret");
                    let put = server.ask(&format!("PUT /blob/{record}"), &[&admin], "x".repeat(BYTES)).await;
                    assert_eq!(put.status, 201);
                }
                let mut stream = server.connect().await;
                let rex = basic("rex", "bone");
                let ask = format!("GET /blob/ HTTP/1.1\r\nHost: x\r\n{rex}\r\nConnection: close\r\n\r\n");
                stream.write_all(ask.as_bytes()).await.unwrap();
                let mut answer = vec![0; 17];
                stream.read_exact(&mut answer).await.unwrap();
                assert!(answer.starts_with(b"HTTP/1.1 200"));
                loss.happens(server).await;
                let _ = stream.read_to_end(&mut answer).await;
                assert!(answer.len() < RECORDS * BYTES, "{loss:?}: all of it came");
                assert!(!answer.ends_with(b"0\r\n\r\n"), "{loss:?}: it looks as if it were all");
            },
        );
    }
}
