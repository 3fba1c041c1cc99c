//! Whose the data folder is.

use crate::auth::each_file;
use crate::server::{Application, Server};
use crate::users::user;
use std::fs::{Permissions, metadata, set_permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

const PASSWORD: &str = "correct horse battery";

fn mode(path: &Path) -> u32 {
    metadata(path).expect("it is there").permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).expect("its owner may");
}

// [hostile 62]
#[test]
fn a_data_folder_that_is_not_ours_alone_starts_nothing() {
    let application = Application::dogs();
    let data = application.path().join("data");
    // Made by hand, and empty.
    std::fs::create_dir(&data).expect("made");
    set_mode(&data, 0o755);
    let server = application.start();
    server.put("/dog/1", r#"{"name":"Rex"}"#);
    assert_eq!(mode(&data), 0o700);
    server.terminate();

    set_mode(&data, 0o755);
    let said = application.start_in_vain();
    let words = format!("the data folder {} is open to other users of this machine (mode 0755)", data.display());
    assert!(said.contains(&words) && said.contains("`chmod 700 ") && said.contains("exit status: 1"), "{said}");
    assert_eq!(mode(&data), 0o755, "whoever opened it shuts it");
    let mut check = Command::new(crate::server::binary());
    let checked = check.arg("check").arg(application.path()).output().expect("it can be run");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(!checked.status.success() && said.contains(&words), "{said}");

    set_mode(&data, 0o700);
    let (link, target) = (data.join("keys"), application.path().join("elsewhere"));
    std::fs::rename(&link, &target).expect("moved");
    symlink(&target, &link).expect("a link");
    let said = application.start_in_vain();
    assert!(said.contains(&format!("{} is a symbolic link", link.display())), "{said}");

    std::fs::remove_file(&link).expect("removed");
    std::fs::rename(&target, &link).expect("back");
    assert_eq!(application.start().record("/dog/1")["name"], "Rex");
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
