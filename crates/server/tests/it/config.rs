//! Configuration: the file, the environment, flags, and what each may not say.

use crate::server::{Application, binary};
use crate::tools::Tool;
use crate::wire::{Connect, Packet, Version, property};
use std::process::{Command, Stdio};

/// As it stands in the documentation of the database whose users bring it.
const SEED: &str = include_str!("seed.yaml");

#[test]
fn the_example_of_the_original_documentation_loads_as_it_stands() {
    let application = Application::dogs().configured(SEED);
    let (status, said) = check(&application, &[]);
    assert!(status, "{said}");
    // The harness chooses the ports, and all else is as the file says.
    application.start().connect("").ping();
    application.write("harperdb-config.yaml", SEED);
    let file = application.path().join("harperdb-config.yaml");
    let (status, said) = check(&application, &["--config", file.to_str().expect("a path")]);
    assert!(status, "{said}");
}

#[test]
fn a_mistake_is_shown_where_it_is() {
    for (yaml, words) in [
        ("mqtt:\n  openTopic: false\n", &["rowcast.yaml:2", "openTopics"][..]),
        ("mqtt:\n  openTopics: perhaps\n", &["rowcast.yaml:2"]),
        ("mqtt:\n  openTopics: true\n  openTopics: false\n", &["rowcast.yaml:3"]),
        ("mqtt: [", &["rowcast.yaml"]),
        ("http:\n  cors: [\n", &["rowcast.yaml:"]),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", &["rowcast.yaml"]),
    ] {
        let application = Application::dogs().configured(yaml);
        let (status, said) = check(&application, &[]);
        assert!(!status, "{yaml}");
        for word in words {
            assert!(said.contains(word), "{word} is not in\n{said}");
        }
        let said = application.start_in_vain();
        assert!(said.contains(words[0]), "{said}");
    }
}

#[test]
fn files_that_a_start_could_not_use_are_named() {
    let key = "privateKey: key.pem";
    for (yaml, words) in [
        (format!("tls: {{ certificate: none.pem, {key} }}"), "none.pem"),
        (format!("tls: {{ certificate: rowcast.yaml, {key} }}"), "rowcast.yaml"),
        ("mqtt: { network: { mtls: { certificateAuthority: clients.pem } } }".to_owned(), "clients.pem"),
        ("authentication: { jwt: { keys: jwks.json } }".to_owned(), "jwks.json"),
    ] {
        let application = Application::dogs().configured(&yaml);
        let (status, said) = check(&application, &[]);
        assert!(!status && said.contains(words), "{yaml}\n{said}");
        assert!(!application.path().join("data").exists(), "nothing is made to see that");
    }
}

#[test]
fn a_wrong_schema_is_shown_where_it_is() {
    let application = Application::new("type Dog @tabel @export {\n  id: ID @id\n}\n");
    let (status, said) = check(&application, &[]);
    assert!(!status);
    for word in ["schema.graphql:1:10", "@table"] {
        assert!(said.contains(word), "{word} is not in\n{said}");
    }
    assert!(application.start_in_vain().contains("schema.graphql:1:10"));
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let application = Application::dogs()
        .configured("mqtt: { limits: { receiveMaximum: 11, topicAliasMaximum: 21, packetBytes: 31KiB } }")
        .with_variable("ROWCAST_MQTT_LIMITS_TOPICALIASMAXIMUM", "22");
    let server = application.with("--set").with("mqtt.limits.receiveMaximum=13").start();
    let (_, answer) = Connect::new(Version::V5, "").open_with_answer(server.mqtt());
    let Packet::Connack { properties, .. } = answer else { unreachable!() };
    assert_eq!(properties.number(property::RECEIVE_MAXIMUM), Some(13));
    assert_eq!(properties.number(property::TOPIC_ALIAS_MAXIMUM), Some(22));
    assert_eq!(properties.number(property::MAXIMUM_PACKET), Some(31 * 1024));
}

#[test]
fn wrong_usage_is_told_from_failure() {
    let code = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.args(arguments);
        Tool::spawn(command).end().0.code()
    };
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["check", "--no-such-flag"]), Some(2));
    assert_eq!(code(&["no-such-command"]), Some(2));
    assert_eq!(code(&["check", "/nowhere/at/all"]), Some(1));
    assert_eq!(code(&["get", "--url", "http://127.0.0.1:1", "dog/1"]), Some(1));
}

#[test]
fn who_reads_on_no_more_is_no_failure() {
    for arguments in [&["completions", "bash"][..], &["completions", "zsh"], &["check", "--keys"], &["--help"]] {
        let mut command = Command::new(binary());
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("it starts");
        drop(process.stdout.take());
        let output = process.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{arguments:?}: {} {said}", output.status);
    }
}

#[test]
fn what_init_writes_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let kennel = folder.path().join("kennel");
    let mut command = Command::new(binary());
    command.arg("init").arg(&kennel);
    crate::tools::run_command(command);
    let mut command = Command::new(binary());
    command.arg("check").arg(&kennel);
    crate::tools::run_command(command);
}

/// `rowcast check`: whether it found nothing, and what it said.
fn check(application: &Application, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(binary());
    command.arg("check").arg(application.path()).args(arguments).env("NO_COLOR", "1");
    let (status, lines) = Tool::spawn(command).end();
    (status.success(), lines.join("\n"))
}
