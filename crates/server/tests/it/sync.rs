//! What an acknowledgement says about the disk, as the system saw it.

use crate::server::{Application, Server};
use crate::tools::Tool;
use std::path::Path;
use std::process::Command;

#[test]
fn a_write_is_on_the_disk_before_it_is_acknowledged() {
    for (qos, acknowledgement) in [(1, r#""@\2"#), (2, r#""P\2"#)] {
        let (trace, synchronous) = traced(|server| {
            server.connect_311("tracer").publish("dog/1", r#"{"name":"Sync"}"#, qos, true);
        });
        let at = |what: &str, from: usize| {
            let found = trace[from..].iter().position(|line| line.contains(what));
            found.map(|index| from + index).unwrap_or_else(|| panic!("no {what} in\n{}", trace[from..].join("\n")))
        };
        let published = at("Sync", 0);
        let written = trace[published + 1..].iter().position(|line| line.contains("pwrite") && line.contains("Sync"));
        let written = published + 1 + written.expect("the record is written to the log");
        let call = trace[written].split_once("pwrite64(").and_then(|(_, call)| call.split_once(", "));
        let (file, _) = call.expect("a descriptor first");
        // It returns once it is on the disk, or a sync behind it does.
        let call = if synchronous.contains(&file.to_owned()) { "pwrite64" } else { "fdatasync" };
        let done = at(&format!("{call}("), written);
        // A call that another thread interrupts is in two lines.
        let done = if trace[done].contains("unfinished") { at(&format!("{call} resumed"), done) } else { done };
        let acknowledged = at(acknowledgement, published);
        assert!(done < acknowledged, "{}", trace[published..=done].join("\n"));
    }
}

/// The lines of strace(1) about a server while `work` has it do something, and which of its files it has open then so that
/// what it writes is on the disk when the call returns (`O_DSYNC`).
fn traced(work: impl FnOnce(&Server)) -> (Vec<String>, Vec<String>) {
    let application = Application::dogs();
    let server = application.start();
    let output = application.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-s", "4096", "-e", CALLS, "-o"]);
    command.arg(&output).args(["-p", &server.id().to_string()]);
    let mut strace = Tool::spawn(command);
    strace.wait_for("attached");
    work(&server);
    let open = std::fs::read_dir(format!("/proc/{}/fdinfo", server.id())).expect("the files of a process");
    let synchronous = open.flatten().filter(|file| is_synchronous(&file.path()));
    let synchronous = synchronous.filter_map(|file| file.file_name().into_string().ok()).collect();
    server.terminate();
    strace.end();
    let text = std::fs::read(output).expect("a trace");
    (String::from_utf8_lossy(&text).lines().map(str::to_owned).collect(), synchronous)
}

/// What proc(5) says of the flags of an open file, in octal digits.
fn is_synchronous(info: &Path) -> bool {
    let info = std::fs::read_to_string(info).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_DSYNC != 0)
}

/// What reads, writes and syncs.
const CALLS: &str = "trace=read,readv,recvfrom,recvmsg,write,writev,pwrite64,pwritev,sendto,sendmsg,fdatasync,fsync";
