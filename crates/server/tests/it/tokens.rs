//! Tokens at the doors of the program.

use crate::server::{Application, Server, until};
use crate::users::user;
use crate::wire::{Connect, Version};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery";

fn guarded(yaml: &str) -> Application {
    let application = Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", PASSWORD);
    application.write("roles.yaml", "kennel: { tables: { Dog: { read: true } } }\n");
    application.configured(yaml)
}

/// The token and the refresh token of a user.
fn tokens(server: &Server, name: &str, password: &str) -> (String, String) {
    let basic = format!("Authorization: Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")));
    let answer = server.request("POST", "/$admin/token", &[&basic], b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = |name: &str| answer.json()[name].as_str().expect(name).to_owned();
    (text("token"), text("refreshToken"))
}

fn code(server: &Server, name: &str, token: &str) -> Option<u8> {
    Connect::new(Version::V5, "").with_user(name, token).open_with_answer(server.mqtt()).1.code()
}

#[test]
fn a_token_stands_in_for_a_password_until_it_expires() {
    let server = guarded("authentication: { tokenTimeout: 3s }").start();
    for version in [Version::V5, Version::V311] {
        let (token, refresh) = tokens(&server, "admin", PASSWORD);
        assert_eq!(code(&server, "admin", &refresh), Some(0x86));
        assert_eq!(code(&server, "rex", &token), Some(0x86), "a token is its user's");
        let client_id = format!("{version:?}");
        let connect = |password: &str| Connect::lasting(version, &client_id).with_user("admin", password);
        let (mut client, _) = connect(&token).resume(server.mqtt());
        client.subscribe("dog/#", 1);
        // It ends by itself, and what it had is there for whoever comes with something better.
        match version {
            Version::V5 => assert_eq!(client.next().code(), Some(0x87)),
            Version::V311 => assert_eq!(client.rest(), []),
        }
        assert_ne!(connect(&token).open_with_answer(server.mqtt()).1.code(), Some(0));
        let bearer = format!("Authorization: Bearer {token}");
        let answer = server.request("GET", "/dog/", &[&bearer], b"");
        assert_eq!((answer.status, answer.json()["detail"].clone()), (401, json!("the token has expired")));

        let bearer = format!("Authorization: Bearer {refresh}");
        let answer = server.request("POST", "/$admin/token/refresh", &[&bearer], b"").json();
        let (_, present) = connect(answer["token"].as_str().expect("a token")).resume(server.mqtt());
        assert!(present);
    }
    let password = Connect::new(Version::V5, "").with_user("admin", PASSWORD);
    password.open(server.mqtt()).ping();
}

// [hostile 49]
#[test]
fn a_token_is_worth_nothing_when_its_user_is_not() {
    let application = guarded("authentication: { jwt: { algorithm: EdDSA } }");
    let server = application.start();
    user(&application, &["add", "rex", "--role", "kennel"], "bone\n");
    let (token, _) = tokens(&server, "rex", "bone");
    let (before, _) = tokens(&server, "admin", PASSWORD);
    let mut client = Connect::new(Version::V5, "c").with_user("", &token).open(server.mqtt());
    client.subscribe("dog/#", 1);
    user(&application, &["disable", "rex"], "");
    assert_eq!(client.next().code(), Some(0x87));
    assert_eq!(code(&server, "rex", &token), Some(0x86));
    user(&application, &["enable", "rex"], "");
    assert_eq!(code(&server, "rex", &token), Some(0));
    user(&application, &["password", "rex"], "bone\n");
    assert_eq!(code(&server, "rex", &token), Some(0x86));
    server.terminate();

    // Keys stay, and so do the tokens made with them.
    let server = application.start();
    assert_eq!(code(&server, "admin", &before), Some(0));
    drop(server);
    let server = application.with("--set").with("mqtt.jwt=false").start();
    assert_eq!(code(&server, "admin", &before), Some(0x86));
}

#[test]
fn tokens_of_an_issuer_open_as_long_as_its_key_is_in_the_file() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../data/jws.json")).expect("cases");
    let application = guarded("authentication: { jwt: { keys: jwks.json } }");
    let show = |case: &Value| application.write("jwks.json", &json!({ "keys": [case["key"]] }).to_string());
    let said = application.start_in_vain();
    assert!(said.contains("jwks.json"), "{said}");
    show(&cases[0]);
    let server = application.start();
    let token = |case: &Value| case["token"].as_str().expect("a token").to_owned();
    assert_eq!(code(&server, "", &token(&cases[0])), Some(0x86), "there is no account");
    user(&application, &["add", "rex", "--role", "kennel", "--generate"], "");
    for (number, case) in cases.iter().enumerate() {
        show(case);
        until("the file is read", || match code(&server, "rex", &token(case)) {
            Some(0) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let others = cases.iter().enumerate().filter(|(other, _)| *other != number);
        others.for_each(|(_, other)| assert_eq!(code(&server, "", &token(other)), Some(0x86), "{other}"));
    }
    application.write("jwks.json", "{");
    server.wait_for_log("the keys for tokens stay as they were");
    assert_eq!(code(&server, "", &token(&cases[2])), Some(0));
    // So does all else, where the configuration is read again meanwhile.
    application.write("rowcast.yaml", "authentication: { jwt: { keys: jwks.json, userClaim: name } }");
    server.signal("HUP");
    server.wait_for_log("everything stays as it was");
    assert_eq!(code(&server, "", &token(&cases[2])), Some(0));
    show(&cases[2]);
    for (yaml, said, expected) in [
        ("jwt: { keys: jwks.json, issuer: 'https://other.example' }", "jwt.issuer is", 0x86),
        ("jwt: { keys: jwks.json }", "jwt.issuer is null", 0),
        ("cacheTTL: 1s", "jwt.keys is null", 0x86),
    ] {
        application.write("rowcast.yaml", &format!("authentication: {{ {yaml} }}"));
        server.signal("HUP");
        server.wait_for_log(said);
        server.wait_for_log("were read again");
        assert_eq!(code(&server, "", &token(&cases[2])), Some(expected), "{yaml}");
    }
}
