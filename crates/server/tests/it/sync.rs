//! What an acknowledgement says about the disk, as the system saw it.

use crate::server::{Application, Server};
use crate::tools::Tool;
use std::process::Command;

#[test]
fn a_write_is_synced_before_it_is_acknowledged() {
    for (qos, acknowledgement) in [(1, r#""@\2"#), (2, r#""P\2"#)] {
        let trace = traced(|server| {
            server.connect_311("tracer").publish("dog/1", r#"{"name":"Sync"}"#, qos, true);
        });
        let at = |what: &str, from: usize| {
            let found = trace[from..].iter().position(|line| line.contains(what));
            found.map(|index| from + index).unwrap_or_else(|| panic!("no {what} in\n{}", trace[from..].join("\n")))
        };
        let published = at("Sync", 0);
        let written = trace[published + 1..].iter().position(|line| line.contains("write") && line.contains("Sync"));
        let written = published + 1 + written.expect("the record is written to the log");
        let synced = at("fdatasync(", written);
        // A call that another thread interrupts is in two lines.
        let synced = if trace[synced].contains("unfinished") { at("fdatasync resumed", synced) } else { synced };
        let acknowledged = at(acknowledgement, published);
        assert!(synced < acknowledged, "{}", trace[published..=synced].join("\n"));
    }
}

/// The lines of strace(1) about a server while `work` has it do something.
fn traced(work: impl FnOnce(&Server)) -> Vec<String> {
    let application = Application::dogs();
    let server = application.start();
    let output = application.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-s", "4096", "-e", CALLS, "-o"]);
    command.arg(&output).args(["-p", &server.id().to_string()]);
    let mut strace = Tool::spawn(command);
    strace.wait_for("attached");
    work(&server);
    server.terminate();
    strace.end();
    let text = std::fs::read(output).expect("a trace");
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

/// What reads, writes and syncs.
const CALLS: &str = "trace=read,readv,recvfrom,recvmsg,write,writev,pwrite64,pwritev,sendto,sendmsg,fdatasync,fsync";
