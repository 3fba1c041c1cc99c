//! One `rowcast` process on a folder of its own.

use crate::DEADLINE;
use crate::tools::repository;
use crate::wire::{Client, Connect, Version};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What most tests need.
pub(crate) const DOGS: &str = "\
type Dog @table @export { id: ID @id name: String breed: String age: Int }
type Counter @table @export { id: Int @id count: Int }
type Note @table @export
";

/// An application folder, and how to start the program on it. The folder goes when this and its server go.
pub(crate) struct Application {
    folder: Arc<TempDir>,
    mode: &'static str,
    /// Of MQTT and HTTP.
    doors: [String; 2],
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// `threads.fill`
    fill: usize,
}

/// The program at work. It is killed when this goes.
pub(crate) struct Server {
    process: Child,
    /// Said on standard output until it was ready.
    pub(crate) screen: String,
    /// `None` if the door is shut.
    mqtt: Option<u16>,
    mqtts: Option<u16>,
    http: Option<u16>,
    https: Option<u16>,
    log: Arc<Mutex<String>>,
    /// Kept for as long as the program is at work.
    folder: Option<Arc<TempDir>>,
}

impl Application {
    /// A folder with this schema, for `rowcast dev`.
    pub(crate) fn new(schema: &str) -> Application {
        let folder = Arc::new(tempfile::tempdir().expect("a folder for the application"));
        let doors = ["127.0.0.1:0".to_owned(), "127.0.0.1:0".to_owned()];
        let (arguments, environment) = (Vec::new(), Vec::new());
        // Two clients are to be on two threads: what passes between threads is what can go wrong.
        let application = Application { folder, mode: "dev", doors, arguments, environment, fill: 0 };
        application.write("schema.graphql", schema);
        application
    }

    /// With as many clients on one thread as there are by default.
    pub(crate) fn filled(mut self) -> Application {
        self.fill = 64;
        self
    }

    /// The folder with [`DOGS`].
    pub(crate) fn dogs() -> Application {
        Application::new(DOGS)
    }

    /// For `rowcast run`: with passwords.
    pub(crate) fn for_real(mut self) -> Application {
        self.mode = "run";
        self
    }

    /// With the doors of MQTT and HTTP there.
    pub(crate) fn at(mut self, mqtt: &str, http: &str) -> Application {
        self.doors = [mqtt.to_owned(), http.to_owned()];
        self
    }

    /// With a configuration file.
    pub(crate) fn configured(self, yaml: &str) -> Application {
        self.write("rowcast.yaml", yaml);
        self
    }

    /// With one more argument.
    pub(crate) fn with(mut self, argument: &str) -> Application {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With a variable.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Application {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for the file");
        std::fs::write(path, text).expect("a file of the application");
    }

    /// Makes it the dog example.
    pub(crate) fn copy_example(&self) {
        for name in ["schema.graphql", "rowcast.yaml", "seed/Dog.ndjson", "seed/Bowl.ndjson"] {
            let text = std::fs::read_to_string(repository().join("examples/dogs").join(name)).expect("the example");
            self.write(name, &text);
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The command that serves this folder on loopback, at ports the system chooses.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(binary());
        let [mqtt, http] = &self.doors;
        command.arg(self.mode).arg(self.path()).args(["--mqtt-port", mqtt, "--http-port", http]);
        command.args(["--set", &format!("threads.fill={}", self.fill)]);
        // Two that run at once cannot both have the usual one.
        command.args(["--set", "mqtt.network.securePort=null"]);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ROWCAST_")) {
            command.env_remove(name);
        }
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// The same, in a shell that does something else `first`.
    pub(crate) fn command_after(&self, first: &str) -> Command {
        let command = self.command();
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{first} && exec \"$0\" \"$@\"")]).arg(command.get_program());
        shell.args(command.get_args()).stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell
    }

    /// Starts it and waits until it listens.
    #[track_caller]
    pub(crate) fn start(&self) -> Server {
        let started = Server::start(self.command());
        let mut server = started.unwrap_or_else(|log| panic!("rowcast did not start:\n{log}"));
        server.folder = Some(Arc::clone(&self.folder));
        server
    }

    /// Starts it where it cannot work; what it said.
    #[track_caller]
    pub(crate) fn start_in_vain(&self) -> String {
        match Server::start(self.command()) {
            Ok(server) => panic!("rowcast started:\n{}", server.screen),
            Err(said) => said,
        }
    }
}

impl Server {
    /// `Err` is all it said before it ended.
    pub(crate) fn start(mut command: Command) -> Result<Server, String> {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary can be run");
        let log = Arc::new(Mutex::new(String::new()));
        let (said, lines) = channel();
        let output = process.stdout.take().expect("a pipe");
        std::thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| said.send(line))
        });
        let (errors, shared) = (process.stderr.take().expect("a pipe"), Arc::clone(&log));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let mut log = shared.lock().expect("no test panics here");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut server = Server {
            process,
            screen: String::new(),
            mqtt: None,
            mqtts: None,
            http: None,
            https: None,
            log,
            folder: None,
        };
        match server.read_screen(&lines) {
            Ok(()) => Ok(server),
            Err(()) => {
                let _ = server.process.kill();
                let status = server.process.wait().expect("it was started here");
                reader.join().expect("a reader of lines");
                Err(format!("{}{}{status}", server.screen, server.log()))
            }
        }
    }

    fn read_screen(&mut self, lines: &Receiver<String>) -> Result<(), ()> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let line = match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Err(()),
            };
            let port = |scheme: &str| line.split_once(scheme)?.1.split(' ').next()?.rsplit(':').next()?.parse().ok();
            self.mqtt = self.mqtt.or(port("mqtt://127.0.0.1"));
            self.mqtts = self.mqtts.or(port("mqtts://127.0.0.1"));
            self.http = self.http.or(port("HTTP    http://127.0.0.1"));
            self.https = self.https.or(port("https://127.0.0.1"));
            self.screen.push_str(&line);
            self.screen.push('\n');
            if line.ends_with("Ctrl-C stops.") {
                return Ok(());
            }
        }
    }

    /// The port of the MQTT door.
    #[track_caller]
    pub(crate) fn mqtt(&self) -> u16 {
        self.mqtt.expect("the door for MQTT is open")
    }

    /// The port of the door for MQTT over TLS.
    #[track_caller]
    pub(crate) fn mqtts(&self) -> u16 {
        self.mqtts.expect("the door for MQTT over TLS is open")
    }

    /// The port of the HTTPS door.
    #[track_caller]
    pub(crate) fn https(&self) -> u16 {
        self.https.expect("the door for HTTPS is open")
    }

    /// The port of the HTTP door.
    #[track_caller]
    pub(crate) fn http(&self) -> u16 {
        self.http.expect("the door for HTTP is open")
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// A client of MQTT 5 with a clean start.
    #[track_caller]
    pub(crate) fn connect(&self, client_id: &str) -> Client {
        Connect::new(Version::V5, client_id).open(self.mqtt())
    }

    /// A client of MQTT 3.1.1 with a clean session.
    #[track_caller]
    pub(crate) fn connect_311(&self, client_id: &str) -> Client {
        Connect::new(Version::V311, client_id).open(self.mqtt())
    }

    /// All it wrote to its log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no test panics here").clone()
    }

    /// Waits until its log says `words`.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, words: &str) {
        until(&format!("the log says {words:?}"), || {
            let log = self.log();
            if log.contains(words) { Ok(()) } else { Err(log) }
        });
    }

    /// Ends it as a power cut ends a process.
    pub(crate) fn kill(mut self) {
        self.process.kill().expect("it was started here");
        self.process.wait().expect("it was started here");
    }

    /// Asks it to stop, and waits until it has.
    #[track_caller]
    pub(crate) fn terminate(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let status = self.wait();
        (status, self.log())
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(status.expect("kill(1) is there").success(), "kill -{name}");
    }

    /// Waits until it has ended.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        until("rowcast ends", || match self.process.try_wait().expect("it was started here") {
            Some(status) => Ok(status),
            None => Err(self.log()),
        })
    }

    /// Fails unless it is at work and serves a new client.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self) {
        self.assert_running();
        self.connect("").ping();
    }

    /// Fails if the process has ended.
    #[track_caller]
    pub(crate) fn assert_running(&mut self) {
        let ended = self.process.try_wait().expect("it was started here");
        assert_eq!(ended, None, "rowcast ended:\n{}", self.log());
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        memory_of(self.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- log of rowcast ---\n{}", self.log());
        }
    }
}

/// The binary under test: the one built with the tests, or the one in `ROWCAST_BINARY`.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("ROWCAST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_rowcast").into(), PathBuf::from)
}

/// Looks again and again until `look` finds what it looks for; `Err` is what it sees instead.
#[track_caller]
pub(crate) fn until<T, E: std::fmt::Display>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(instead) => assert!(Instant::now() < deadline, "waited in vain until {what}:\n{instead}"),
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// A look should not cost what is looked at its processor.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Resident memory of a process in bytes.
fn memory_of(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1024
}
