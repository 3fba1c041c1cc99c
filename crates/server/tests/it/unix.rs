//! Unix sockets, with the programs that speak MQTT and HTTP over them.

use crate::server::Application;
use crate::tools::{Tool, run};
use std::os::unix::fs::PermissionsExt;

#[test]
fn mosquitto_and_curl_speak_over_sockets() {
    let application = Application::dogs();
    let [mqtt, http] = ["mqtt.sock", "http.sock"].map(|name| application.path().join(name).display().to_string());
    let server = application.at(&mqtt, &http).start();
    for socket in [&mqtt, &http] {
        let mode = std::fs::metadata(socket).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o077, 0, "others can use {socket}");
    }
    run("mosquitto_pub", &["--unix", &mqtt, "-V", "5", "-q", "2", "-r", "-t", "dog/1", "-m", r#"{"name":"Rex"}"#]);
    let mut reader = Tool::start("mosquitto_sub", &["--unix", &mqtt, "-V", "311", "-v", "-C", "2", "-t", "dog/#"]);
    assert_eq!(reader.line(), r#"dog/1 {"id":"1","name":"Rex"}"#);
    let change =
        [&["--no-progress-meter", "--fail", "--unix-socket", &http][..], &["-X", "PATCH", "-d", r#"{"age":3}"#]]
            .concat();
    run(
        "curl",
        &[&change[..], &["-H", "Content-Type: application/merge-patch+json", "http://localhost/dog/1"]].concat(),
    );
    assert_eq!(reader.line(), r#"dog/1 {"id":"1","name":"Rex","age":3}"#);
    assert!(reader.end().0.success());
    assert!(server.terminate().0.success());
    assert!(!std::path::Path::new(&mqtt).exists() && !std::path::Path::new(&http).exists(), "they go with the server");
}
