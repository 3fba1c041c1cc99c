//! `roles.yaml`: who may do what, at the doors of the program.

use crate::server::{Application, Server, binary, until};
use crate::wire::{Connect, Version};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use std::process::Command;

const PASSWORD: &str = "correct horse battery";
const ROLES: &str = "\
anonymous:
  tables:
    Dog: { read: true, insert: true, attributes: { name: { read: true, insert: true } } }
  topics:
    - { filter: 'home/%u/#', read: true, publish: true }
";

/// Who shows no credentials has the role `anonymous`.
fn open_to_all(roles: &str) -> Application {
    let application = Application::dogs().for_real().configured("mqtt: { requireAuthentication: false }");
    application.write("roles.yaml", roles);
    application.with_variable("ROWCAST_ADMIN_PASSWORD", PASSWORD)
}

/// What is there before anybody tries something.
fn furnish(server: &Server) {
    let mut admin = Connect::new(Version::V5, "admin").with_user("admin", PASSWORD).open(server.mqtt());
    admin.publish("dog/rex", r#"{"name":"Rex","age":3}"#, 1, true);
    admin.publish("counter/1", r#"{"count":1}"#, 1, true);
    admin.publish("home/eve/x", "hers", 1, true);
    admin.publish("home/anonymous/x", "mine", 1, true);
}

fn as_admin(server: &Server, path: &str) -> String {
    let head = format!("Authorization: Basic {}", BASE64_STANDARD.encode(format!("admin:{PASSWORD}")));
    server.request("GET", path, &[&head], &[]).text().to_owned()
}

#[test]
fn mqtt_keeps_to_the_role() {
    let server = open_to_all(ROLES).start();
    furnish(&server);
    for (version, denied) in [(Version::V5, 0x87), (Version::V311, 0x80)] {
        let mut client = Connect::new(version, "").open(server.mqtt());
        for (filter, is_allowed, shown) in [
            ("dog/#", true, Some(r#"{"id":"rex","name":"Rex"}"#)),
            ("dog/rex", true, Some(r#"{"id":"rex","name":"Rex"}"#)),
            ("home/anonymous/#", true, Some("mine")),
            ("home/+/x", true, Some("mine")),
            ("dog/none", true, None),
            ("counter/#", false, None),
            ("counter/none", false, None),
            ("none/1", false, None),
            ("home/eve/x", false, None),
            ("$SYS/#", false, None),
            ("$share/g/counter/#", false, None),
        ] {
            assert_eq!(client.try_subscribe(&[(filter, 0)]), [if is_allowed { 0 } else { denied }], "{filter}");
            if let Some(shown) = shown {
                assert_eq!(client.receive().text(), shown, "{filter}");
            }
            client.ping(); // Nothing else comes.
        }
    }
    // A refusal of MQTT 3.1.1 is an acknowledgement like any other.
    for (version, denied) in [(Version::V5, 0x87), (Version::V311, 0)] {
        let mut client = Connect::new(version, "").open(server.mqtt());
        for (topic, payload, retain, is_allowed) in [
            (&*format!("dog/{version:?}"), r#"{"name":"New"}"#, true, true),
            ("dog/new", r#"{"name":"New","age":1}"#, true, false),
            ("dog/rex", r#"{"name":"New"}"#, true, false),
            ("dog/rex", "", true, false),
            ("dog/rex", "event", false, false),
            ("dog", "event", false, false),
            ("counter/2", "{}", true, false),
            ("none/1", "x", true, false),
            ("home/anonymous/y", "x", true, true),
            ("home/eve/x", "x", true, false),
        ] {
            let code = client.try_publish(topic, payload.as_bytes(), 1, retain, &[]);
            assert_eq!(code, if is_allowed { 0 } else { denied }, "{version:?} {topic} {payload}");
        }
        assert!(as_admin(&server, &format!("/dog/{version:?}")).contains("New"));
    }
    assert_eq!(as_admin(&server, "/dog/rex"), r#"{"id":"rex","name":"Rex","age":3}"#);
    assert_eq!(as_admin(&server, "/$topics/home/eve/x"), "hers");
    for path in ["/dog/new", "/counter/2", "/$topics/none/1"] {
        assert!(as_admin(&server, path).contains(r#""status":404"#), "{path}");
    }
}

#[test]
fn http_keeps_to_the_role() {
    let server = open_to_all(ROLES).start();
    furnish(&server);
    for (method, path, body, status) in [
        ("GET", "/dog/rex", "", 200),
        ("HEAD", "/dog/rex", "", 200),
        ("GET", "/dog/rex.name", "", 200),
        ("GET", "/dog/rex.age", "", 404),
        ("GET", "/dog/", "", 200),
        ("GET", "/dog", "", 200),
        ("PUT", "/dog/made", r#"{"name":"New"}"#, 201),
        ("PUT", "/dog/made", r#"{"name":"New"}"#, 401),
        ("PUT", "/dog/old", r#"{"age":1}"#, 401),
        ("PATCH", "/dog/patched", r#"{"name":"New"}"#, 201),
        ("PATCH", "/dog/rex", r#"{"name":"New"}"#, 401),
        ("DELETE", "/dog/rex", "", 401),
        ("DELETE", "/dog/none", "", 401),
        ("POST", "/dog/", r#"{"name":"New"}"#, 201),
        ("POST", "/dog/", r#"{"age":1}"#, 401),
        ("GET", "/counter/1", "", 401),
        ("GET", "/counter/none", "", 401),
        ("GET", "/counter", "", 401),
        ("GET", "/none", "", 401),
        ("GET", "/$topics/home/anonymous/x", "", 200),
        ("PUT", "/$topics/home/anonymous/z", "x", 201),
        ("GET", "/$topics/home/eve/x", "", 401),
        ("GET", "/$topics/home/eve/none", "", 401),
        ("PUT", "/$topics/home/eve/x", "x", 401),
        ("GET", "/$topics/", "", 200),
        ("GET", "/health", "", 200),
    ] {
        let answer = server.request(method, path, &[], body.as_bytes());
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.text());
        let is_hidden = ["\"age\"", "hers", "eve"].iter().any(|secret| answer.text().contains(secret));
        assert!(!(is_hidden && status < 300), "{method} {path}: {}", answer.text());
    }
    assert_eq!(as_admin(&server, "/dog/rex"), r#"{"id":"rex","name":"Rex","age":3}"#);
}

#[test]
fn roles_that_change_act_on_those_who_are_there() {
    // One shard: what one client hears, all do.
    let application = Application::dogs().configured(
        "threads: { count: 1 }\nmqtt: { requireAuthentication: false }\nauthentication: { authorizeLocal: false }",
    );
    application.write("roles.yaml", "anonymous: { tables: { Dog: { read: true, insert: true } } }");
    let server = application.start();
    let mut reader = server.connect("reader");
    let mut other = server.connect("other");
    let mut is_granted = |wanted: bool| {
        until("the roles are read again", || match other.try_subscribe(&[("dog/none", 0)])[0] == 0 {
            granted if granted == wanted => Ok(()),
            granted => Err(granted),
        });
    };
    reader.subscribe("dog/#", 1);
    assert_eq!(server.put("/dog/1", r#"{"name":"Rex"}"#).status, 201);
    assert_eq!(reader.receive().json(), json!({"id": "1", "name": "Rex"}));

    application.write("roles.yaml", "anonymous: { tables: { Dog: { insert: true } } }");
    is_granted(false);
    assert_eq!(server.put("/dog/2", "{}").status, 201);
    assert_eq!(server.get("/dog/1").status, 401);
    reader.ping(); // And has heard nothing.

    application.write("roles.yaml", "anonymous: { tables: { Dgo: { read: true } } }");
    server.wait_for_log("roles.yaml:1:24");
    assert_eq!(server.put("/dog/3", "{}").status, 201, "what was granted before is");
    assert_eq!(server.get("/dog/1").status, 401);

    application.write("roles.yaml", "anonymous: { tables: { Dog: { read: true, insert: true } } }");
    is_granted(true);
    assert_eq!(server.put("/dog/4", "{}").status, 201);
    assert_eq!(reader.receive().json(), json!({"id": "4"}));

    std::fs::remove_file(application.path().join("roles.yaml")).expect("it was there");
    is_granted(false);
    assert_eq!(server.put("/dog/5", "{}").status, 401);
}

// [hostile 42] [hostile 49]
#[test]
fn who_comes_back_has_the_rights_of_now() {
    let application = open_to_all(ROLES);
    let server = application.start();
    let lasting = Connect::lasting(Version::V5, "phone");
    let (mut phone, _) = lasting.resume(server.mqtt());
    phone.subscribe("dog/#", 1);
    phone.subscribe("home/anonymous/#", 1);
    phone.disconnect();
    furnish(&server);
    server.terminate();
    application.write("roles.yaml", "anonymous: { topics: [{ filter: 'home/#', read: true }] }");
    let server = application.start();
    let (mut phone, present) = lasting.resume(server.mqtt());
    assert!(present);
    assert_eq!(phone.receive().text(), "mine", "and no dog before");
    assert_eq!(phone.try_subscribe(&[("dog/rex", 1)]), [0x87]);
}

// [hostile 58]
#[test]
fn a_file_without_roles_grants_nothing_and_one_with_mistakes_starts_nothing() {
    for nothing in ["", "# later\n", "---\n", "anonymous:\n", "anonymous: {}\n"] {
        let server = open_to_all(nothing).start();
        assert_eq!(
            server.connect("").try_subscribe(&[("#", 0), ("dog/1", 0), ("$SYS/#", 0)]),
            [0x87; 3],
            "{nothing:?}"
        );
        assert_eq!(server.put("/dog/1", "{}").status, 401, "{nothing:?}");
    }
    for (mistaken, words) in [
        ("anonymous: { tables: { Dgo: { read: true } } }", "roles.yaml:1:24"),
        ("a:\n  tables:\n    Dog:\n      raed: true\n", "roles.yaml:4:7"),
        ("a: { super_user: true }\na: {}\n", "roles.yaml:2:1"),
        ("- a\n", "roles.yaml:1:1"),
    ] {
        let application = open_to_all(mistaken);
        let said = application.start_in_vain();
        assert!(said.contains(words), "{mistaken:?}: {said}");
        let checked = Command::new(binary()).arg("check").arg(application.path()).output().expect("it runs");
        let said = [checked.stdout, checked.stderr].concat();
        assert!(!checked.status.success(), "{mistaken:?}");
        assert!(String::from_utf8_lossy(&said).contains(words), "{mistaken:?}: {}", String::from_utf8_lossy(&said));
    }
}
