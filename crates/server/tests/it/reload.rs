//! SIGHUP: what is read again, what it changes, and what becomes of mistakes.

use crate::mtls::named;
use crate::server::{Application, DOGS, Server, until};
use crate::tls::{Authority, dial, dial_as, secure};
use crate::wire::{Connect, Version};
use std::io::{Read, Write};

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
fn what_a_new_table_puts_out_of_reach_is_said_once() {
    const SAID: &str = "table `Cat` has the topics of 2 records of open topics";
    let application = Application::dogs().for_real().configured("authentication: { authorizeLocal: true }");
    let server = application.start();
    let mut client = server.connect("client");
    for topic in ["cat/1", "cat/2", "cats/1"] {
        client.publish(topic, "open", 1, true);
    }
    application.write("schema.graphql", &format!("{DOGS}type Cat @table @export {{ id: ID @id }}\n"));
    server.signal("HUP");
    server.wait_for_log(SAID);
    let times = |said: &str| server.log().matches(said).count();
    let again = times("were read again");
    server.signal("HUP");
    until("it was read again", || if times("were read again") > again { Ok(()) } else { Err(server.log()) });
    assert_eq!(times(SAID), 1, "{}", server.log());
    client.subscribe("#", 1);
    assert_eq!(client.receive().topic, "cats/1");
    server.terminate();
    application.start().wait_for_log(SAID);
}

#[test]
fn a_table_that_is_gone_is_a_warning_and_its_records_stay() {
    let application = Application::dogs().for_real().configured("authentication: { authorizeLocal: true }");
    let server = application.start();
    let cats = format!("{DOGS}type Cat @table @export {{ id: ID @id }}\n");
    let said = |level: &str, words: &str| {
        until(words, || {
            let log = server.log();
            let line = log.lines().find(|line| line.contains(words)).map(str::to_owned);
            line.filter(|line| line.contains(&format!(r#""level":"{level}""#))).ok_or(log)
        })
    };
    application.write("schema.graphql", &cats);
    server.signal("HUP");
    said("INFO", "table `Cat` is new");
    assert_eq!(server.request("PUT", "/cat/1", &[], b"{}").status, 201);
    application.write("schema.graphql", DOGS);
    server.signal("HUP");
    said("WARN", "table `Cat` is no longer in the schema; its records are kept, out of reach");
    until("the table is gone", || match server.get("/cat/1").status {
        404 => Ok(()),
        other => Err(other),
    });
    application.write("schema.graphql", &cats);
    server.signal("HUP");
    until("it is there again, with its record", || match server.get("/cat/1").status {
        200 => Ok(()),
        other => Err(other),
    });
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

#[test]
fn a_configuration_that_is_gone_is_not_replaced_by_the_defaults() {
    let application = application();
    let server = application.start();
    let connect = || Connect::new(Version::V5, "").open_with_answer(server.mqtt()).1.code();
    assert_eq!(connect(), Some(0));
    let path = application.path().join("rowcast.yaml");
    std::fs::rename(&path, application.path().join("aside")).expect("it was there");
    server.signal("HUP");
    server.wait_for_log("rowcast.yaml is not there any more");
    assert_eq!(connect(), Some(0), "the default is to let nobody in");
    std::fs::rename(application.path().join("aside"), &path).expect("it was there");
    reload(&application, &server, &CONFIG.replace("warn", "info"));
}

#[test]
fn limits_and_rules_hold_for_who_comes_then() {
    let application = application();
    let server = application.start();
    let connect = |client_id: &str| Connect::new(Version::V5, client_id).open_with_answer(server.mqtt()).1.code();
    let mut first = server.connect("first");
    assert_eq!(connect("second"), Some(0));
    let body = format!("\"{}\"", "x".repeat(2000));
    let put = || server.request("PUT", "/note/1", &["Content-Type: application/json"], body.as_bytes()).status;
    let page = || server.request("GET", "/health", &["Origin: https://page.example"], b"").header("vary").is_some();
    assert_eq!((put(), page()), (401, false));
    // For everything that is read at another place, one key.
    reload(
        &application,
        &server,
        "
authentication: { authorizeLocal: true }
mqtt: { requireAuthentication: true, limits: { clientIdBytes: 23, topicLevels: 2 } }
http: { cors: true, corsAccessList: [https://page.example], limits: { bodyBytes: 1KiB } }
logging: { level: info }
",
    );
    assert_eq!((put(), page()), (413, true));
    assert_eq!(connect(&"x".repeat(24)), Some(0x85));
    // For a connection that is there, from its next packet on.
    assert_eq!(first.try_publish("a/b/c", b"", 1, false, &[]), 0x90);
    let one = "authentication: { authorizeLocal: true }\nmqtt: { limits: { connectionsPerAddress: 1 } }";
    reload(&application, &server, one);
    assert_eq!(connect("one too many"), Some(0x97));
    first.ping();
    // And back.
    reload(&application, &server, &CONFIG.replace("false }\nlogging: { level: warn", "true }\nlogging: { level: info"));
    assert_eq!(connect(&"x".repeat(24)), Some(0x87), "nobody is let in without credentials");
    assert_eq!((put(), page()), (401, false));
    first.ping();
}

#[test]
fn certificates_and_what_is_asked_of_clients_change_for_those_who_come_then() {
    let authority = Authority::new("authority");
    let application = secure(application());
    for name in ["a", "b"] {
        authority.sign(&[&format!("{name}.example")]).write(&application, name);
    }
    application.write("ca.pem", &authority.pem());
    let config = |name: &str, asked: &str| {
        let tls = format!("tls: {{ certificate: {name}.pem, privateKey: {name}-key.pem }}\n");
        format!("{}{tls}", CONFIG.replace("mqtt: {", &format!("mqtt: {{ {asked}")).replace("warn", "info"))
    };
    application.write("rowcast.yaml", &config("a", ""));
    let server = application.start();
    let shown = || {
        let connection = dial(server.https(), "localhost").expect("a connection");
        connection.conn.peer_certificates().expect("a certificate")[0].clone().into_owned()
    };
    let (first, mut before) = (shown(), dial(server.mqtts(), "localhost").expect("a connection"));
    before.write_all(&Connect::new(Version::V5, "before").bytes()).expect("sent");

    let asked = "network: { mtls: { required: true, certificateAuthority: ca.pem } },";
    reload(&application, &server, &config("b", asked));
    assert!(shown() != first, "another certificate is shown");
    before.write_all(b"\xc0\0").expect("the old connection goes on");
    let admin = authority.sign_params(&named("admin"));
    let lets_in = |signed| {
        // In TLS 1.3 the client may not hear that it was refused before it reads.
        let Ok(mut connection) = dial_as(server.mqtts(), "localhost", signed) else { return false };
        let sent = connection.write_all(&Connect::new(Version::V5, "").bytes());
        let mut connack = [0];
        sent.is_ok() && connection.read_exact(&mut connack).is_ok()
    };
    assert!(lets_in(Some(&admin)) && !lets_in(None));

    // Files that are no use change nothing, not even what is right beside them.
    application.write("rowcast.yaml", &config("none", "").replace("info", "debug"));
    server.signal("HUP");
    server.wait_for_log("none.pem");
    assert!(lets_in(Some(&admin)) && !lets_in(None));
    assert!(!server.log().contains("logging.level is debug"));
}

#[test]
fn a_log_that_was_moved_away_goes_on_in_a_new_file() {
    let application = application();
    application
        .write("rowcast.yaml", &format!("{CONFIG}shutdownTimeout: 9s\n").replace("warn", "info, path: rowcast.log"));
    let server = application.start();
    let (path, old) = (application.path().join("rowcast.log"), application.path().join("rowcast.log.1"));
    std::fs::rename(&path, &old).expect("it was there");
    server.signal("HUP");
    until("it is there again", || match std::fs::read_to_string(&path) {
        Ok(text) if text.contains("were read again") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(!std::fs::read_to_string(&old).expect("the old one").contains("were read again"));
}

/// Writes the configuration and waits until it is read.
fn reload(application: &Application, server: &Server, config: &str) {
    let read = || server.log().matches("were read again").count();
    let before = read();
    application.write("rowcast.yaml", config);
    server.signal("HUP");
    until("the configuration is read", || if read() > before { Ok(()) } else { Err(server.log()) });
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
