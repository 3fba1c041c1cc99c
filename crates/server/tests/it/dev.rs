//! The program at its author's side, and how it starts, stops and guards its data.

use crate::server::{Application, DOGS, Server, until};
use crate::wire::Packet;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_new_table_is_there_without_a_restart() {
    let application = Application::dogs();
    let server = application.start();
    server.put("/dog/1", r#"{"name":"Rex"}"#);
    let mut reader = server.connect("");
    reader.subscribe("cat/#", 0);
    assert_eq!(server.put("/cat/1", r#"{"name":"Tom"}"#).status, 404);
    application.write("schema.graphql", &format!("{DOGS}type Cat @table @export {{ id: ID @id name: String }}\n"));
    until("cats are records", || match server.put("/cat/1", r#"{"name":"Tom"}"#).status {
        201 => Ok(()),
        status => Err(status),
    });
    assert_eq!(reader.receive().json(), json!({"id": "1", "name": "Tom"}), "who subscribed before hears them too");
    let mut writer = server.connect("");
    assert_eq!(writer.try_publish("cat/1", b"not JSON", 1, true, &[]), 0x99);
    assert_eq!(server.record("/dog/1")["name"], "Rex");
}

#[test]
fn a_wrong_schema_is_reported_and_the_old_one_stays() {
    let application = Application::dogs();
    let server = application.start();
    application.write("schema.graphql", "type Dog @tabel");
    server.wait_for_log("schema.graphql:1:10");
    assert_eq!(server.put("/dog/1", "{}").status, 201);
    application.write("schema.graphql", &format!("{DOGS}type Cat @table @export {{ id: ID @id }}\n"));
    until("the mended schema is read", || match server.put("/cat/1", "{}").status {
        201 => Ok(()),
        status => Err(status),
    });
}

#[test]
fn the_dog_example_has_records_the_first_time_only() {
    let application = Application::new("");
    application.copy_example();
    let server = application.start();
    assert_eq!(server.record("/dog/rex")["breed"], "Labrador");
    assert_eq!(server.record("/bowl/2")["cups"], 0.5);
    assert_eq!(server.record("/dog/puppies/1")["name"], "Bo");
    assert_eq!(server.request("DELETE", "/dog/rex", &[], &[]).status, 204);
    server.terminate();
    let server = application.start();
    assert_eq!(server.get("/dog/rex").status, 404, "what was deleted does not come back");
    assert_eq!(server.record("/dog/ada")["name"], "Ada");
}

#[test]
fn a_seed_that_does_not_fit_is_named_and_the_rest_works() {
    for (file, text, words) in [
        ("seed/Dog.ndjson", "{\"name\":\"Rex\"}\n\n{\"age\":\"three\"}\n", &["Dog.ndjson:3", "age"]),
        ("seed/Cat.ndjson", "{}\n", &["Cat.ndjson", "no table Cat"]),
    ] {
        let application = Application::dogs();
        application.write(file, text);
        let server = application.start();
        words.iter().for_each(|words| server.wait_for_log(words));
        assert_eq!(server.get("/dog/").text().trim(), "[]");
        assert_eq!(server.put("/dog/1", "{}").status, 201);
    }
}

#[test]
fn seeds_are_for_dev() {
    let application = Application::new("").for_real().with_variable("ROWCAST_ADMIN_PASSWORD", "secret");
    application.copy_example();
    let server = application.start();
    let head = ["Authorization: Basic YWRtaW46c2VjcmV0"];
    assert_eq!(server.request("GET", "/dog/rex", &head, &[]).status, 404);
}

#[test]
fn one_data_folder_is_for_one_process() {
    let application = Application::dogs();
    let mut server = application.start();
    let said = application.start_in_vain();
    assert!(said.contains("data"), "{said}");
    assert!(said.contains("exit status: 1"), "{said}");
    server.assert_alive();
    // The lock goes with the process, however it goes.
    server.kill();
    application.start();
}

#[test]
fn a_stop_says_goodbye_and_ends_well() {
    for signal in ["TERM", "INT"] {
        let application = Application::dogs();
        let mut server = application.start();
        let mut new = server.connect("new");
        let mut old = server.connect_311("old");
        new.publish("dog/1", r#"{"name":"Rex"}"#, 1, true);
        server.signal(signal);
        assert_eq!(new.rest().iter().map(Packet::code).collect::<Vec<_>>(), [Some(0x8B)]);
        assert_eq!(old.rest(), []);
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "{}", server.log());
        let server = application.start();
        assert_eq!(server.record("/dog/1")["name"], "Rex");
        assert!(!server.log().contains("not a clean one"), "{}", server.log());
    }
}

#[test]
fn a_stop_right_after_the_start_is_a_good_one() {
    let application = Application::dogs();
    for _ in 0..10 {
        let (status, log) = application.start().terminate();
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

#[test]
fn the_data_folder_is_its_owners() {
    let application = Application::dogs();
    let server = application.start();
    server.put("/dog/1", "{}");
    let data = application.path().join("data");
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for entry in std::fs::read_dir(&data).expect("a folder") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
        }
    }
}

#[test]
fn the_screen_says_where_it_listens_and_what_to_try() {
    let server = Application::dogs().start();
    for words in [
        &*format!("mqtt://127.0.0.1:{}", server.mqtt()),
        &format!("http://127.0.0.1:{}", server.http()),
        "dog/{id}",
        "rowcast sub",
        "Ctrl-C stops.",
    ] {
        assert!(server.screen.contains(words), "{words} is not in\n{}", server.screen);
    }
}

#[test]
fn a_port_in_use_is_named() {
    let server = Application::dogs().start();
    let application = Application::dogs();
    let mut command = std::process::Command::new(crate::server::binary());
    command.arg("dev").arg(application.path()).args(["--http-port", "127.0.0.1:0"]);
    command.args(["--mqtt-port", &format!("127.0.0.1:{}", server.mqtt())]);
    let said = Server::start(command).err().expect("the port is in use");
    assert!(said.contains(&server.mqtt().to_string()), "{said}");
    assert!(said.contains("exit status: 1"), "{said}");
}
