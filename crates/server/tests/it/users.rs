//! `rowcast user` and `/$admin/`: accounts that change while their users are there, and away.

use crate::server::{Application, Server, binary};
use crate::wire::{Connect, Version};
use base64::Engine;
use std::io::Write;
use std::process::{Command, Output, Stdio};

const PASSWORD: &str = "correct horse battery";

fn guarded() -> Application {
    let application = Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", PASSWORD);
    application.write("roles.yaml", "kennel: { tables: { Dog: { read: true, insert: true, update: true } } }\n");
    application
}

/// `rowcast user ...` on the application, with `input` for its standard input.
fn run(application: &Application, arguments: &[&str], input: &str) -> Output {
    run_with(application, arguments, input.as_bytes())
}

fn run_with(application: &Application, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(binary());
    command.arg("user").args(arguments).arg("--app").arg(application.path()).env("NO_COLOR", "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    // A command that wants no password may have ended.
    let _ = child.stdin.take().expect("piped").write_all(input);
    child.wait_with_output().expect("ended")
}

#[track_caller]
pub(crate) fn user(application: &Application, arguments: &[&str], input: &str) -> String {
    let Output { status, stdout, stderr } = run(application, arguments, input);
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

#[track_caller]
fn refused(application: &Application, arguments: &[&str], words: &str) {
    let Output { status, stderr, .. } = run(application, arguments, "bone\n");
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{arguments:?}: {said}");
    assert!(said.contains(words), "{arguments:?}: {said}");
}

fn lets_in(server: &Server, name: &str, password: &str) -> bool {
    Connect::new(Version::V5, "").with_user(name, password).open_with_answer(server.mqtt()).1.code() == Some(0)
}

#[test]
fn the_same_commands_work_on_a_node_that_runs_and_on_one_that_does_not() {
    let application = guarded();
    // The first one may be there before the first start.
    user(&application, &["add", "chief", "--role", "admin"], "boss\n");
    let mut server = None;
    for is_running in [false, true, false] {
        server = is_running.then(|| application.start());
        user(&application, &["add", "rex", "--role", "kennel"], "bone\n");
        refused(&application, &["add", "rex", "--role", "kennel"], "there is a user \"rex\" already");
        refused(&application, &["add", "max", "--role", "kenel"], "there are: kennel, admin");
        refused(&application, &["add", "a/b", "--role", "kennel"], "user name");
        refused(&application, &["delete", "chief"], "the last super user");
        refused(&application, &["role", "chief", "kennel"], "the last super user");
        refused(&application, &["enable", "nobody"], "there is no user \"nobody\"");
        user(&application, &["disable", "rex"], "");
        user(&application, &["role", "rex", "admin"], "");
        let made_up = user(&application, &["password", "rex", "--generate"], "");
        assert_eq!(
            user(&application, &["list"], ""),
            "NAME   ROLE   MAY SIGN IN\nchief  admin  yes\nrex    admin  no\n"
        );
        let data = application.path().join("data").display().to_string();
        assert!(user(&application, &["list", "--data", &data], "").contains("chief"));
        if let Some(server) = &server {
            assert!(!lets_in(server, "rex", made_up.trim()));
            user(&application, &["enable", "rex"], "");
            assert!(lets_in(server, "rex", made_up.trim()) && !lets_in(server, "rex", "bone"));
            assert!(lets_in(server, "chief", "boss"));
        }
        user(&application, &["delete", "rex"], "");
    }
    drop(server);
}

#[test]
fn who_is_in_by_a_password_has_to_come_again_when_it_is_another() {
    let application = guarded();
    let server = application.start();
    user(&application, &["add", "rex", "--role", "kennel"], "bone\n");
    let rex = |client_id: &str, password: &str| Connect::lasting(Version::V5, client_id).with_user("rex", password);
    let basic = format!("Authorization: Basic {}", base64::prelude::BASE64_STANDARD.encode("rex:bone"));
    let token = server.request("POST", "/$admin/token", &[&basic], b"").json();
    let token = token["token"].as_str().expect("a token");
    let by_password = rex("rex-1", "bone").resume(server.mqtt()).0;
    let by_token = rex("rex-2", token).resume(server.mqtt()).0;
    let mut admin = Connect::lasting(Version::V5, "admin").with_user("admin", PASSWORD).resume(server.mqtt()).0;
    user(&application, &["password", "rex"], "ball\n");
    for mut client in [by_password, by_token] {
        assert_eq!(client.next().code(), Some(0x87));
    }
    assert_eq!(rex("rex-1", "bone").open_with_answer(server.mqtt()).1.code(), Some(0x86));
    let (mut client, present) = rex("rex-1", "ball").resume(server.mqtt());
    assert!(present, "the session is still theirs");
    // Another role leaves them there, and another user's password does.
    user(&application, &["add", "max", "--role", "kennel"], "stick\n");
    user(&application, &["password", "max"], "string\n");
    user(&application, &["role", "rex", "admin"], "");
    client.ping();
    admin.ping();
}

// [hostile 49]
#[test]
fn a_user_who_is_shut_or_deleted_is_gone_at_once_and_the_next_of_that_name_is_somebody_else() {
    let application = guarded();
    let server = application.start();
    let rex = |password: &str| Connect::lasting(Version::V5, "rex-1").with_user("rex", password);
    user(&application, &["add", "rex", "--role", "kennel"], "bone\n");
    let (mut client, present) = rex("bone").resume(server.mqtt());
    assert!(!present);
    client.subscribe("dog/#", 1);
    user(&application, &["disable", "rex"], "");
    assert_eq!(client.next().code(), Some(0x87));

    user(&application, &["enable", "rex"], "");
    let (mut client, present) = rex("bone").resume(server.mqtt());
    assert!(present, "a user who may come back finds their session");
    // One session while its client is there, one while it is away.
    let away = |password: &str| Connect::lasting(Version::V5, "rex-2").with_user("rex", password);
    away("bone").resume(server.mqtt()).0.disconnect();
    user(&application, &["delete", "rex"], "");
    assert_eq!(client.next().code(), Some(0x87));

    user(&application, &["add", "rex", "--role", "kennel"], "ball\n");
    assert!(!rex("ball").resume(server.mqtt()).1);
    assert!(!away("ball").resume(server.mqtt()).1);
}

#[test]
fn a_node_without_an_open_port_of_http_is_asked_through_its_data_folder() {
    use std::os::unix::fs::PermissionsExt;
    let application = guarded();
    let mut command = Command::new(binary());
    command.arg("run").arg(application.path()).args(["--mqtt-port", "127.0.0.1:0", "--http-port", "null"]);
    command.args(["--set", "mqtt.network.securePort=null"]).env("ROWCAST_ADMIN_PASSWORD", PASSWORD);
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    let server = Server::start(command).unwrap_or_else(|said| panic!("{said}"));
    let socket = application.path().join("data/commands.sock");
    assert_eq!(std::fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777, 0o600);
    user(&application, &["add", "rex", "--role", "kennel"], "bone\n");
    assert!(lets_in(&server, "rex", "bone"));
    server.terminate();
    assert!(!socket.exists());
    user(&application, &["delete", "rex"], "");
}

#[test]
fn an_administrator_sends_a_client_away() {
    let application = guarded();
    let server = application.start();
    let mut client = Connect::lasting(Version::V5, "a/b").with_user("admin", PASSWORD).resume(server.mqtt()).0;
    let credentials = rowcast::auth::Credentials { user: "admin".to_owned(), password: PASSWORD.into() };
    let admin = format!("Authorization: {}", credentials.to_basic());
    let list = || server.request("GET", "/$admin/sessions", &[&admin], b"");
    let session = |connected| format!(r#"[{{"clientId":"a/b","user":"admin","connected":{connected}}}]"#);
    assert_eq!(list().text(), session(true));
    assert_eq!(server.request("DELETE", "/$admin/connections/a/b", &[&admin], b"").status, 204);
    assert_eq!(client.next().code(), Some(0x98));
    crate::server::until("the client to be gone", || match list().text() {
        text if text == session(false) => Ok(()),
        text => Err(text.to_owned()),
    });
}

// [hostile 59]
#[test]
fn a_malformed_password_makes_no_user() {
    let application = guarded();
    let mut server = None;
    for is_running in [false, true] {
        server = is_running.then(|| application.start());
        // What looks like a file of users is one password, whole.
        user(&application, &["add", "max", "--role", "kennel"], "rex:bone:admin\n");
        for (input, code, words) in [
            (&b""[..], 2, "a password is not empty"),
            (b"\n", 2, "a password is not empty"),
            (b"\r\n", 2, "a password is not empty"),
            (b"\nbone\n", 2, "a password is not empty"),
            (b"bo\xffne\n", 1, "utf-8"),
        ] {
            let Output { status, stderr, .. } = run_with(&application, &["add", "rex", "--role", "kennel"], input);
            let said = String::from_utf8_lossy(&stderr);
            assert_eq!(status.code(), Some(code), "{input:?}: {said}");
            assert!(said.contains(words) && !said.contains("bone"), "{input:?}: {said}");
        }
        assert!(!user(&application, &["list"], "").contains("rex"));
        if let Some(server) = &server {
            assert!(lets_in(server, "max", "rex:bone:admin"));
            assert!(!lets_in(server, "rex", "bone") && !lets_in(server, "rex", "") && !lets_in(server, "max", ""));
        }
        user(&application, &["delete", "max"], "");
    }
    drop(server);
}
