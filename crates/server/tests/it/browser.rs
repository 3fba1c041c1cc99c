//! A page in Chromium, with MQTT.js: `tests/clients/node/browser.js`.

use crate::server::Application;
use crate::tools::{client, installed, run_command};
use std::process::Command;

#[test]
fn a_page_speaks_mqtt() {
    let server = Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", "bone").start();
    installed(client("node/node_modules/playwright-core"));
    let mut command = Command::new("node");
    command.arg(client("node/browser.js")).arg(server.http().to_string()).args(["admin", "bone"]);
    run_command(command);
}
