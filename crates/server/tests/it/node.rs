//! MQTT.js under Node, of both versions, over TCP and WebSocket: `tests/clients/node/scenarios.js`.

use crate::server::Application;
use crate::tools::{client, installed, run_command};
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

#[track_caller]
fn check(scenario: &str) {
    installed(client("node/node_modules/mqtt"));
    for transport in ["mqtt", "ws"] {
        let server = Application::dogs().start();
        let url = match transport {
            "mqtt" => format!("mqtt://127.0.0.1:{}", server.mqtt()),
            _ => format!("ws://127.0.0.1:{}/any/path", server.http()),
        };
        let mut command = Command::new("node");
        command.arg(client("node/scenarios.js")).arg(scenario).arg(url);
        run_command(command);
    }
}
