//! Whose the data folder is.

use crate::auth::each_file;
use crate::server::{Application, Server};
use crate::users::user;
use std::fs::metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const PASSWORD: &str = "correct horse battery";

fn mode(path: &Path) -> u32 {
    metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn whatever_is_written_is_its_owners_alone_under_any_umask() {
    for log in ["data/logs/rowcast.log", "logs/rowcast.log"] {
        let application = Application::dogs()
            .for_real()
            .with_variable("ROWCAST_ADMIN_PASSWORD", PASSWORD)
            .configured(&format!("authentication: {{ authorizeLocal: true }}\nlogging: {{ path: {log} }}"))
            .with("--set")
            .with("http.securePort=127.0.0.1:0");
        let server = Server::start(application.command_after("umask 000")).unwrap_or_else(|said| panic!("{said}"));
        server.put("/dog/1", r#"{"name":"Rex"}"#);
        user(&application, &["add", "chief", "--role", "admin"], "boss\n");
        let data = application.path().join("data");
        let log = application.path().join(log);
        let folders = ["", "keys", "audit"].map(|name| data.join(name));
        for folder in folders.iter().map(|folder| &**folder).chain(log.parent()) {
            assert_eq!(mode(folder) & 0o077, 0, "{}", folder.display());
        }
        let mut looked = 0;
        let mut look = |path: &Path| {
            looked += 1;
            assert_eq!(mode(path) & 0o077, 0, "{}", path.display());
        };
        each_file(&data, &mut look);
        look(&log);
        assert!(looked > 8, "{looked}");
    }
}
