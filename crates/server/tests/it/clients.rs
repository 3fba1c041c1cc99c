//! Clients of other makes, with MQTT 3.1.1 and 5, over every transport: the scenarios in `tests/clients`.

use crate::mtls::named;
use crate::server::{Application, Server};
use crate::tls::{Authority, secure};
use crate::tools::{client, installed, repository, run_command};
use std::path::Path;
use std::process::Command;

#[test]
fn records_are_topics() {
    check("story");
}

// [3.1.1 MQTT-7.0.0-2]
#[test]
fn every_quality_of_service_goes_both_ways() {
    check("qos");
}

#[test]
fn a_session_is_resumed() {
    check("session");
}

#[test]
fn a_will_is_spoken() {
    check("will");
}

#[test]
fn properties_go_through() {
    check("properties");
}

#[test]
fn a_wrong_record_is_refused() {
    check("refusal");
}

#[test]
fn many_messages_arrive_in_order() {
    check("stream");
}

#[test]
fn the_keep_alive_of_the_server_is_kept() {
    check_with(&[Make::Paho], PLAIN, "keep_alive", "mqtt: { limits: { keepAliveMax: 1s } }");
}

#[test]
fn all_is_the_same_over_tls() {
    for scenario in ["story", "qos", "stream"] {
        check_with(&MAKES, &["mqtts", "wss"], scenario, "");
    }
}

#[test]
fn a_certificate_signs_in() {
    let authority = Authority::new("clients");
    let admin = authority.sign_params(&named("admin"));
    for make in MAKES {
        for transport in ["mqtts", "wss"] {
            let application = secure(Application::dogs().for_real().filled());
            application.write("clients.pem", &authority.pem());
            admin.write(&application, "admin");
            let asked = "mtls: { required: true, certificateAuthority: clients.pem }";
            let application =
                application.configured(&format!("mqtt: {{ network: {{ {asked} }} }}\nhttp: {{ {asked} }}"));
            let server = application.start();
            let mut command = make.command("story", &url(transport, &server), application.path());
            command.env("CERT_FILE", application.path().join("admin.pem"));
            command.env("KEY_FILE", application.path().join("admin-key.pem"));
            run_command(command);
        }
    }
}

#[track_caller]
fn check(scenario: &str) {
    check_with(&MAKES, PLAIN, scenario, "");
}

const PLAIN: &[&str] = &["mqtt", "ws"];

#[track_caller]
fn check_with(makes: &[Make], transports: &[&str], scenario: &str, configuration: &str) {
    for make in makes {
        for transport in transports {
            let application = secure(Application::dogs().filled()).configured(configuration);
            let server = application.start();
            run_command(make.command(scenario, &url(transport, &server), application.path()));
        }
    }
}

/// Whose client it is.
#[derive(Clone, Copy)]
enum Make {
    /// paho-mqtt for Python.
    Paho,
    /// MQTT.js under Node.
    MqttJs,
}

const MAKES: [Make; 2] = [Make::Paho, Make::MqttJs];

impl Make {
    /// Runs a scenario against the server at `url`, whose application is in `folder`.
    fn command(self, scenario: &str, url: &str, folder: &Path) -> Command {
        let mut command = match self {
            Make::Paho => {
                let mut command = Command::new(installed(repository().join(".venv/bin/python")));
                command.arg(client("python/scenarios.py"));
                command
            }
            Make::MqttJs => {
                installed(client("node/node_modules/mqtt"));
                let mut command = Command::new("node");
                command.arg(client("node/scenarios.js"));
                command
            }
        };
        command.args([scenario, url]).env("CA_FILE", folder.join("data/keys/ca.pem"));
        command
    }
}

fn url(transport: &str, server: &Server) -> String {
    let (host, port, path) = match transport {
        "mqtt" => ("127.0.0.1", server.mqtt(), ""),
        "ws" => ("127.0.0.1", server.http(), "/any/path"),
        "mqtts" => ("localhost", server.mqtts(), ""),
        _ => ("localhost", server.https(), "/any/path"),
    };
    format!("{transport}://{host}:{port}{path}")
}
