//! A process may have only so many files open, connections among them.

use crate::server::{Application, Server};
use crate::wire::{Client, Connect, Version};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::io::{Read, Write};
use std::net::TcpStream;

const CONFIG: &str = "authentication: { authorizeLocal: false }
mqtt: { requireAuthentication: true, limits: { connectTimeout: 1h } }
";

// [hostile 61]
#[test]
fn where_there_is_room_for_no_more_connections_they_wait_and_all_else_goes_on() {
    let application = application();
    let mut server = limited(&application, 100).unwrap_or_else(|log| panic!("rowcast did not start:\n{log}"));
    server.wait_for_log("`ulimit -n` raises it");
    let mut kept = Kept::open(&server);
    kept.ask(401);
    let mut user = Connect::new(Version::V5, "user").with_user("admin", "secret").open(server.mqtt());
    let crowd: Vec<_> = (0..200).filter_map(|_| TcpStream::connect(("127.0.0.1", server.mqtt())).ok()).collect();
    server.wait_for_log("the limit of open files leaves no room for more");
    server.assert_running();
    put(&mut user);
    // Files can still be opened: those of the log could be, too.
    application.write("rowcast.yaml", &CONFIG.replace("true, limits", "false, limits"));
    application.write("roles.yaml", "anonymous: { tables: { Dog: { read: true } } }");
    server.signal("HUP");
    server.wait_for_log("mqtt.requireAuthentication is false now");
    kept.ask(200);
    drop(crowd);
    Connect::new(Version::V5, "").with_user("admin", "secret").open(server.mqtt()).ping();
    put(&mut user);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

// [hostile 61]
#[test]
fn without_any_file_descriptor_nothing_is_taken_for_something_else() {
    let application = application();
    application.write("roles.yaml", "kennel: { tables: { Dog: { read: true } } }");
    let mut server = application.start();
    let mut kept = Kept::open(&server);
    kept.ask(401);
    let mut user = Connect::new(Version::V5, "user").with_user("admin", "secret").open(server.mqtt());
    let limit = |current| {
        let pid = Pid::from_raw(server.id().cast_signed());
        prlimit(pid, Resource::Nofile, Rlimit { current, ..getrlimit(Resource::Nofile) }).expect("it is ours")
    };
    let before = limit(Some(1));
    let waiting = TcpStream::connect(("127.0.0.1", server.mqtt())).expect("the system lets it wait");
    server.wait_for_log("connections wait until others end");
    // None of these can be read now; what each is without its file must not take their place.
    server.signal("HUP");
    server.wait_for_log("everything stays as it was");
    server.wait_for_log("Too many open files");
    kept.ask(401);
    put(&mut user);
    limit(before.current);
    let mut waiting = Client::over(waiting, Version::V5);
    waiting.send(&Connect::new(Version::V5, "waited").with_user("admin", "secret").bytes());
    assert_eq!(waiting.next().code(), Some(0), "who waited is let in");
    server.assert_running();
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

// [hostile 61]
#[test]
fn with_too_few_file_descriptors_nothing_starts_half() {
    let application = application().with("--set").with("threads.count=2");
    for few in [6, 9, 12, 15, 20, 25, 30, 35, 40, 63] {
        let said = limited(&application, few).map(|_| "it started").unwrap_err();
        assert!(said.contains("exit status: 1") && said.contains("`ulimit -n` raises it"), "{few}: {said}");
        assert!(!application.path().join("data").exists(), "{few}: {said}");
    }
    let server = limited(&application, 64).unwrap_or_else(|log| panic!("rowcast did not start:\n{log}"));
    assert_eq!(server.get("/dog/1").status, 401);
}

fn application() -> Application {
    Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", "secret").configured(CONFIG)
}

/// Serves it with so many file descriptors.
fn limited(application: &Application, files: u32) -> Result<Server, String> {
    Server::start(application.command_after(&format!("ulimit -n {files}")))
}

/// A connection of HTTP that stays.
struct Kept(TcpStream);

impl Kept {
    fn open(server: &Server) -> Kept {
        Kept(TcpStream::connect(("127.0.0.1", server.http())).expect("a connection"))
    }

    #[track_caller]
    fn ask(&mut self, status: u16) {
        self.0.write_all(b"GET /dog/1 HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect("an answer");
            answer.extend(byte);
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

fn put(user: &mut Client) {
    user.publish("dog/1", r#"{"name":"Rex"}"#, 1, true);
}
