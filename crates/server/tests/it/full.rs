//! A disk without room, as far as that can be had without one: files that may be no larger than so much.

use crate::server::{Application, Server, until};

#[test]
fn a_file_that_may_be_no_larger_is_a_full_disk_and_told_once() {
    let application = Application::dogs();
    let limited = Server::start(application.command_after("ulimit -f 4000")); // Of 512 bytes, or 1024.
    let mut server = limited.unwrap_or_else(|log| panic!("rowcast did not start:\n{log}"));
    let mut writer = server.connect("");
    let padding = "x".repeat(64 * 1024);
    let mut put = |number: usize| {
        let dog = format!(r#"{{"name":"{padding}"}}"#);
        writer.try_publish(&format!("dog/{number}"), dog.as_bytes(), 1, true, &[])
    };
    let written = (0..100).take_while(|number| put(*number) == 0).count();
    assert!((10..100).contains(&written), "{written}");
    for number in 100..150 {
        assert_eq!(put(number), 0x97);
    }
    server.wait_for_log("the disk is full");
    assert_eq!(server.get("/ready").json()["reasons"][0], "the disk is full");
    assert_eq!(server.put("/dog/x", &format!(r#"{{"name":"{padding}"}}"#)).status, 507);
    assert_eq!(server.get("/dog/0").status, 200);
    server.assert_alive();
    let (status, log) = server.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(log.matches("the disk is full").count(), 1, "{log}");

    let server = application.start();
    let mut writer = server.connect("");
    writer.publish("dog/x", "{}", 1, true);
    for number in 0..written {
        assert_eq!(server.get(&format!("/dog/{number}")).status, 200, "{number} of {written}");
    }
    until("it is ready", || match server.get("/ready").status {
        200 => Ok(()),
        status => Err(status),
    });
}
