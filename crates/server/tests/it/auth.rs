//! `rowcast run` asks everyone who they are, at every door.

use crate::server::{Application, Server};
use crate::wire::{Connect, Packet, Version};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

const PASSWORD: &str = "correct horse battery";

fn guarded() -> Application {
    Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", PASSWORD)
}

#[test]
fn mqtt_asks_for_a_password() {
    let server = guarded().start();
    for (version, nobody, wrong) in [(Version::V5, 0x86, 0x86), (Version::V311, 5, 4)] {
        let anonymous = Connect::new(version, "");
        check(&server, &anonymous, &[nobody, if version == Version::V5 { 0x87 } else { 5 }]);
        let refused = [wrong, if version == Version::V5 { 0x86 } else { 5 }];
        check(&server, &anonymous.clone().with_user("admin", "wrong"), &refused);
        check(&server, &anonymous.clone().with_user("nobody", PASSWORD), &refused);
        check(&server, &anonymous.clone().with_user("admin", ""), &refused);
        let mut client = anonymous.with_user("admin", PASSWORD).open(server.mqtt());
        client.publish("dog/1", r#"{"name":"Rex"}"#, 1, true);
    }
}

#[track_caller]
fn check(server: &Server, connect: &Connect, codes: &[u8]) {
    let (mut client, answer) = connect.open_with_answer(server.mqtt());
    let code = answer.code().expect("a CONNACK");
    assert!(codes.contains(&code), "{code:#04x} for {connect:?}");
    assert!(matches!(answer, Packet::Connack { session_present: false, .. }));
    assert_eq!(client.rest(), [], "the server closes after a refusal");
}

#[test]
fn http_asks_for_a_password() {
    let server = guarded().start();
    let basic = |words: &str| format!("Authorization: Basic {}", BASE64_STANDARD.encode(words));
    let ask = |head: &[&str]| server.request("GET", "/dog/", head, &[]);
    let anonymous = ask(&[]);
    assert_eq!(anonymous.status, 401);
    assert!(anonymous.header("www-authenticate").is_some_and(|value| value.starts_with("Basic")));
    assert_eq!(anonymous.header("content-type"), Some("application/problem+json"));
    for wrong in ["admin:wrong", "nobody:x", "admin:", "admin", ":"] {
        assert_eq!(ask(&[&basic(wrong)]).status, 401, "{wrong}");
    }
    assert_eq!(ask(&["Authorization: Basic %%%"]).status, 401);
    assert_eq!(ask(&["Authorization: Bearer x"]).status, 401);
    assert_eq!(ask(&[&basic(&format!("admin:{PASSWORD}"))]).status, 200);
    assert_eq!(server.put("/dog/1", "{}").status, 401);
    assert_eq!(server.get("/health").status, 200, "health is for whoever restarts it");
}

#[test]
fn the_first_password_is_made_up_and_printed_once() {
    let application = Application::dogs().for_real();
    let server = application.start();
    let shown = server.screen.lines().find_map(|line| line.split_once("password ")).expect("a password");
    let password = shown.1.split(' ').next().expect("a password").to_owned();
    assert!(password.len() >= 16, "{password}");
    Connect::new(Version::V5, "").with_user("admin", &password).open(server.mqtt());
    let (_, log) = server.terminate();
    assert!(!log.contains(&password), "a log is no place for it");

    let server = application.start();
    assert!(!server.screen.contains("password "), "{}", server.screen);
    Connect::new(Version::V5, "").with_user("admin", &password).open(server.mqtt());
}

#[test]
fn an_empty_password_is_none() {
    let application = Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", "");
    let said = application.start_in_vain();
    assert!(said.contains("ROWCAST_ADMIN_PASSWORD is empty"), "{said}");
    let server = Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", "bone").start();
    server.wait_for_log("ROWCAST_ADMIN_PASSWORD is short");
    let (_, log) = server.terminate();
    assert!(!log.contains("bone"));
}

#[test]
fn a_variable_does_not_change_a_password_that_is_set() {
    let application = guarded();
    application.start().terminate();
    let application = application.with_variable("ROWCAST_ADMIN_PASSWORD", "another");
    let server = application.start();
    check(&server, &Connect::new(Version::V311, "").with_user("admin", "another"), &[4, 5]);
    Connect::new(Version::V5, "").with_user("admin", PASSWORD).open(server.mqtt());
}

#[test]
fn no_password_is_in_the_data_folder_or_the_log() {
    let application = guarded().with("--log-level").with("trace");
    let server = application.start();
    Connect::new(Version::V5, "").with_user("admin", PASSWORD).open(server.mqtt()).disconnect();
    let (_, log) = server.terminate();
    assert!(!log.contains(PASSWORD), "{log}");
    each_file(&application.path().join("data"), &mut |path| {
        let bytes = std::fs::read(path).expect("a file");
        let found = bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
        assert!(!found, "{}", path.display());
    });
}

pub(crate) fn each_file(folder: &std::path::Path, look: &mut impl FnMut(&std::path::Path)) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { each_file(&path, look) } else { look(&path) }
    }
}

// [hostile 50]
#[test]
fn a_session_is_for_the_user_that_made_it() {
    let server = guarded().configured("authentication: { authorizeLocal: true }").start();
    for version in [Version::V5, Version::V311] {
        let lasting = Connect::lasting(version, &format!("{version:?}"));
        let admin = lasting.clone().with_user("admin", PASSWORD);
        let mut owner = admin.open(server.mqtt());
        owner.subscribe("dog/#", 1);
        // While it is there, and while it is away.
        check(&server, &lasting, &[0x87, 5]);
        owner.ping();
        owner.disconnect();
        check(&server, &lasting, &[0x87, 5]);
        assert!(admin.resume(server.mqtt()).1);
    }
}

#[test]
fn dev_asks_nobody_on_this_machine_but_believes_no_wrong_password() {
    let server = Application::dogs().start();
    server.connect("").ping();
    check(&server, &Connect::new(Version::V5, "").with_user("admin", "wrong"), &[0x86]);
}
