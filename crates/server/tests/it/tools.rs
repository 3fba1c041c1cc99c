//! Other people's programs: what they say, line by line, and how they end.

use crate::DEADLINE;
use crate::server::until;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// A program at work. It is killed when this goes.
pub(crate) struct Tool {
    process: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Tool {
    #[track_caller]
    pub(crate) fn start(program: &str, arguments: &[&str]) -> Tool {
        let mut command = Command::new(program);
        command.args(arguments);
        Tool::spawn(command)
    }

    /// Both outputs are read as one.
    #[track_caller]
    pub(crate) fn spawn(mut command: Command) -> Tool {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        command.stdin(Stdio::null()).stdout(writer.try_clone().expect("a pipe")).stderr(writer);
        let program = command.get_program().to_string_lossy().into_owned();
        let process =
            command.spawn().unwrap_or_else(|error| panic!("{program} is not here ({error}): `./test` installs it"));
        drop(command);
        let (say, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(reader).lines().map_while(Result::ok).try_for_each(|line| say.send(line))
        });
        Tool { process, lines, said: Vec::new() }
    }

    /// The next line it says.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let line = self.lines.recv_timeout(DEADLINE);
        let line = line.unwrap_or_else(|error| panic!("no more lines ({error}) after {:#?}", self.said));
        self.said.push(line.clone());
        line
    }

    /// Reads until a line contains `words`.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(words) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.process.id().to_string()).status();
        assert!(status.expect("kill(1) is there").success(), "kill -{name}");
    }

    /// Waits until it has ended; the rest of what it said.
    #[track_caller]
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>) {
        let rest: Vec<String> = self.lines.iter().collect();
        let status = until("the program ends", || self.process.try_wait().expect("a process").ok_or("it runs"));
        (status, rest)
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a program to its end; what it said. Fails unless it ends well.
#[track_caller]
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    run_command(command)
}

#[track_caller]
pub(crate) fn run_command(command: Command) -> String {
    let what = format!("{command:?}");
    let (status, lines) = Tool::spawn(command).end();
    let said = lines.join("\n");
    assert!(status.success(), "{what}: {status}\n{said}");
    said
}

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A file of `tests/clients`.
pub(crate) fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// A file of `tests/files`.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name)
}

/// Something `./test` makes, or a failure that says so.
#[track_caller]
pub(crate) fn installed(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: `./test` installs it", path.display());
    path
}
