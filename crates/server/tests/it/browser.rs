//! A page in Chromium, with MQTT.js: `tests/clients/node/browser.js`.

use crate::server::Application;
use crate::tls::secure;
use crate::tools::{client, installed, run_command};
use std::process::Command;

#[test]
fn a_page_speaks_mqtt() {
    let application = secure(Application::dogs().for_real()).with_variable("ROWCAST_ADMIN_PASSWORD", "bone");
    let server = application.start();
    installed(client("node/node_modules/playwright-core"));
    let mut command = Command::new("node");
    command.arg(client("node/browser.js")).arg(format!("ws://127.0.0.1:{}/mqtt", server.http()));
    command.arg(format!("wss://localhost:{}/mqtt", server.https()));
    command.arg(application.path().join("data/keys/server.pem")).args(["admin", "bone"]);
    run_command(command);
}
