//! SIGHUP: what is read again, what it changes, and what becomes of mistakes.

use crate::server::{Application, DOGS, Server, until};

const CONFIG: &str = "\
authentication: { authorizeLocal: false }
mqtt: { requireAuthentication: false }
logging: { level: warn }
";

#[test]
fn what_changed_is_said_and_what_waits_for_a_start_too() {
    let application = application();
    let server = application.start();
    let changed = CONFIG.replace("warn", "info") + "threads: { count: 3 }\nstorage: { cacheBytes: 64MiB }\n";
    application.write("rowcast.yaml", &changed);
    server.signal("HUP");
    server.wait_for_log("logging.level is info now; it was warn");
    server.wait_for_log("threads.count is 3 from the next start on; until then it is null");
    server.wait_for_log("storage.cacheBytes is 64MiB from the next start on; until then it is 256MiB");
    server.wait_for_log("were read again");
    // A level that says less says so no more.
    application.write("rowcast.yaml", CONFIG);
    server.signal("HUP");
    server.wait_for_log("logging.level is warn now");
}

#[test]
fn schema_and_roles_are_read_again() {
    let application = application();
    let server = application.start();
    assert_eq!(server.get("/cat/1").status, 401);
    application.write("schema.graphql", &format!("{DOGS}type Cat @table @export {{ id: ID @id }}\n"));
    application.write("roles.yaml", "anonymous: { tables: { Cat: { read: true } } }");
    server.signal("HUP");
    until("cats may be read", || read_cats(&server));
}

#[test]
fn a_mistake_in_one_file_leaves_all_of_them_as_they_were() {
    for (name, text, said) in [
        ("rowcast.yaml", "mqtt: { requireAuthentification: false }", "did you mean `requireAuthentication`?"),
        ("rowcast.yaml", "mqtt: [", "rowcast.yaml:1"),
        ("schema.graphql", "type Dog @tabel { id: ID @id }", "schema.graphql:1:10"),
        ("roles.yaml", "anonymous: { tables: { Cta: { read: true } } }", "did you mean `Cat`?"),
    ] {
        let application = application();
        application.write("schema.graphql", &format!("{DOGS}type Cat @table @export {{ id: ID @id }}\n"));
        let mut server = application.start();
        // All that is right among them would let us read.
        application.write("roles.yaml", "anonymous: { tables: { Cat: { read: true } } }");
        application.write(name, text);
        server.signal("HUP");
        server.wait_for_log("everything stays as it was");
        server.wait_for_log(said);
        assert_eq!(server.get("/cat/1").status, 401, "{name}: {text}");
        server.assert_alive();
        // Mended, it is read.
        application.write("rowcast.yaml", CONFIG);
        application.write("schema.graphql", &format!("{DOGS}type Cat @table @export {{ id: ID @id }}\n"));
        application.write("roles.yaml", "anonymous: { tables: { Cat: { read: true } } }");
        server.signal("HUP");
        until("cats may be read", || read_cats(&server));
    }
}

fn application() -> Application {
    Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", "secret").configured(CONFIG)
}

/// Whether it is allowed; there are none.
fn read_cats(server: &Server) -> Result<(), u16> {
    match server.get("/cat/1").status {
        404 => Ok(()),
        status => Err(status),
    }
}
