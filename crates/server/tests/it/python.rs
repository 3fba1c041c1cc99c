//! paho-mqtt for Python, of both versions, over TCP and WebSocket: `tests/clients/python/scenarios.py`.

use crate::server::Application;
use crate::tools::{client, installed, repository, run_command};
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
    check_with("keep_alive", "mqtt: { limits: { keepAliveMax: 1s } }");
}

#[track_caller]
fn check(scenario: &str) {
    check_with(scenario, "");
}

#[track_caller]
fn check_with(scenario: &str, configuration: &str) {
    for transport in ["tcp", "websockets"] {
        let server = Application::dogs().configured(configuration).start();
        let port = if transport == "tcp" { server.mqtt() } else { server.http() };
        let mut command = Command::new(installed(repository().join(".venv/bin/python")));
        command.arg(client("python/scenarios.py")).args([scenario, transport]).arg(port.to_string());
        run_command(command);
    }
}
