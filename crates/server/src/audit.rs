//! Who came in, who was turned away and why, and who changed what: one JSON object a line, for whoever has to look it up
//! later.
//!
//! Lines are written by a thread of their own, some of them at once: to be woken for each client of a storm would cost
//! it as much as a shard takes to serve them. Whoever has something to say waits for nothing: beyond a bound lines are
//! dropped, and their number is written. Field names are those of `docs/access.md`, and stay. Nothing that is written
//! here is a password, a token or a payload.

mod file;

pub use file::AuditFile;

use crate::auth::{AuthError, Method};
use file::Writer;
use rowcast_core::value::date_text;
use serde::Serialize;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Where to say what is worth knowing later. Cheap to clone.
#[derive(Clone, Default)]
pub struct Audit {
    inner: Option<Arc<Inner>>,
}

struct Inner {
    lines: SyncSender<Message>,
    lost: Arc<AtomicU64>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    /// When it happened, in milliseconds since 1970, and what.
    Line(u64, Box<Event>),
    End,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    event: Kind,
    /// Whose doing it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    /// Whom it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    door: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Method>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<bool>,
    /// It has another password now.
    #[serde(skip_serializing_if = "is_false")]
    password: bool,
    /// So many times more since it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// What sort of thing it was.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The server is up.
    #[default]
    Started,
    /// It has stopped in good order.
    Stopped,
    /// Somebody was let in.
    Login,
    /// Somebody was not.
    Refused,
    /// Somebody may not do what they asked for.
    Denied,
    /// Somebody was given a token.
    TokenIssued,
    /// There is a user more.
    UserAdded,
    /// A user has another password or role, or is shut or open again.
    UserChanged,
    /// There is a user less.
    UserDeleted,
    /// A client was sent away.
    ClientDismissed,
    /// Roles mean something else.
    RolesChanged,
}

impl Event {
    /// Something of that kind.
    #[must_use]
    pub fn new(event: Kind) -> Event {
        Event { event, ..Event::default() }
    }

    /// By whom.
    #[must_use]
    pub fn by(self, actor: &str) -> Event {
        Event { actor: Some(shortened(actor)), ..self }
    }

    /// About whom.
    #[must_use]
    pub fn about(self, user: &str) -> Event {
        Event { user: Some(shortened(user)), ..self }
    }

    /// From where, through which door.
    #[must_use]
    pub fn from(self, address: impl ToString, door: &'static str) -> Event {
        Event { address: Some(address.to_string()), door: Some(door), ..self }
    }

    /// With which client identifier.
    #[must_use]
    pub fn client(self, client_id: &str) -> Event {
        Event { client_id: Some(shortened(client_id)).filter(|client_id| !client_id.is_empty()), ..self }
    }

    /// By showing what.
    #[must_use]
    pub fn shown(self, method: Method) -> Event {
        Event { method: Some(method), ..self }
    }

    /// Why.
    #[must_use]
    pub fn because(self, reason: impl ToString) -> Event {
        Event { reason: Some(shortened(&reason.to_string())), ..self }
    }

    /// What of a user is different.
    #[must_use]
    pub fn with(self, role: Option<&str>, active: Option<bool>, password: bool) -> Event {
        Event { role: role.map(shortened), active, password, ..self }
    }

    /// So many times more than was written.
    #[must_use]
    pub fn again(self, count: Option<u64>) -> Event {
        Event { count, ..self }
    }

    /// Which roles.
    #[must_use]
    pub fn roles(self, roles: Vec<String>) -> Event {
        Event { roles: Some(roles), ..self }
    }
}

impl Event {
    /// What it has in common with others that are the same for whoever reads of it; `None`: each is written.
    fn same(&self) -> Option<Event> {
        // Each comes from another port.
        let address = self.address.as_deref().map(|address| without_port(address).to_owned());
        match self.event {
            Kind::Refused => Some(Event { address, client_id: None, count: None, ..self.clone() }),
            // Of what is not allowed, only what is done to it: there may be many topics.
            Kind::Denied => {
                let verb = self.reason.as_deref().and_then(|reason| reason.split(' ').next()).map(str::to_owned);
                Some(Event { address, reason: verb, count: None, ..self.clone() })
            }
            _ => None,
        }
    }
}

impl Audit {
    /// Writes to that file from here on.
    pub fn open(file: &AuditFile) -> io::Result<Audit> {
        let writer = Writer::open(file)?;
        let (lines, queue) = sync_channel(WAITING_MAX);
        let lost = Arc::new(AtomicU64::default());
        let dropped = Arc::clone(&lost);
        let thread = std::thread::Builder::new().name("audit".to_owned());
        let thread = thread.spawn(move || Scribe::new(writer, dropped).run(&queue))?;
        Ok(Audit { inner: Some(Arc::new(Inner { lines, lost, writer: Mutex::new(Some(thread)) })) })
    }

    /// Writes that it happened, just now.
    pub fn note(&self, event: Event) {
        let Some(inner) = &self.inner else { return };
        if inner.lines.try_send(Message::Line(crate::db::now_ms(), Box::new(event))).is_err() {
            inner.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns when everything that was noted so far is written; nothing is after that.
    pub fn close(&self) {
        let Some(inner) = &self.inner else { return };
        let _ = inner.lines.send(Message::End);
        if let Some(thread) = crate::auth::lock(&inner.writer).take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Why somebody was refused, as it is written.
#[must_use]
pub fn reason(error: &AuthError) -> String {
    match error {
        AuthError::Refused => "wrong user name or password, or the account is shut".to_owned(),
        AuthError::Required => "no credentials".to_owned(),
        other => other.to_string(),
    }
}

/// Writes lines; what is said again and again is counted instead.
struct Scribe {
    writer: Writer,
    lost: Arc<AtomicU64>,
    /// Refusals of the last while, and how often they came again.
    repeated: HashMap<Event, u64>,
    since: Instant,
    is_broken: bool,
}

impl Scribe {
    fn new(writer: Writer, lost: Arc<AtomicU64>) -> Scribe {
        Scribe { writer, lost, repeated: HashMap::new(), since: Instant::now(), is_broken: false }
    }

    fn run(mut self, queue: &Receiver<Message>) {
        let mut goes_on = true;
        while goes_on {
            goes_on = match queue.recv_timeout(COLLECT) {
                Ok(first) => {
                    std::thread::park_timeout(GATHER);
                    [first].into_iter().chain(queue.try_iter().take(WAITING_MAX)).all(|message| self.take(message))
                }
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            if !goes_on || self.since.elapsed() >= COLLECT {
                self.tell_repeated();
            }
            self.tell_lost();
            self.flush();
        }
    }

    /// `false`: it was the last one.
    fn take(&mut self, message: Message) -> bool {
        let Message::Line(at_ms, event) = message else { return false };
        self.take_event(at_ms, *event);
        true
    }

    fn take_event(&mut self, at_ms: u64, event: Event) {
        if let Some(same) = event.same() {
            if let Some(times) = self.repeated.get_mut(&same) {
                *times += event.count.unwrap_or(1);
                return;
            }
            if self.repeated.len() >= REPEATED_MAX {
                self.tell_repeated();
            }
            self.repeated.insert(same, 0);
        }
        self.write_line(at_ms, &event);
    }

    fn tell_repeated(&mut self) {
        self.since = Instant::now();
        let now_ms = crate::db::now_ms();
        for (event, times) in std::mem::take(&mut self.repeated) {
            if times > 0 {
                self.write_line(now_ms, &event.again(Some(times)));
            }
        }
    }

    fn tell_lost(&mut self) {
        match self.lost.swap(0, Ordering::Relaxed) {
            0 => {}
            count => self.write_line(crate::db::now_ms(), &Lost { event: "lost", count }),
        }
    }

    fn write_line(&mut self, at_ms: u64, what: &impl Serialize) {
        let line = serde_json::to_string(&Line { time: date_text(at_ms), what }).expect("an event is plain data");
        if let Err(error) = self.writer.write(&line) {
            self.tell_broken(error);
        }
    }

    fn flush(&mut self) {
        match self.writer.flush() {
            Ok(0) => {}
            Ok(_) => self.is_broken = false,
            Err(error) => self.tell_broken(error),
        }
    }

    fn tell_broken(&mut self, error: io::Error) {
        if !self.is_broken {
            self.is_broken = true;
            tracing::error!(%error, "the audit log cannot be written; what happens meanwhile is not in it");
        }
    }
}

/// What is written of something that happened.
#[derive(Serialize)]
struct Line<'a, T> {
    time: String,
    #[serde(flatten)]
    what: &'a T,
}

/// So many lines were dropped.
#[derive(Serialize)]
struct Lost {
    event: &'static str,
    count: u64,
}

fn without_port(address: &str) -> &str {
    match address.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => address,
    }
}

/// Names are whoever's to choose, and to make long.
fn shortened(name: &str) -> String {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Lines that wait for the disk.
const WAITING_MAX: usize = 4096;
/// Bytes of a name that are written.
const NAME_BYTES_MAX: usize = 256;
/// For how long lines are gathered that are written together: 80,000 a second find room.
const GATHER: Duration = Duration::from_millis(50);
/// For how long refusals that are the same but for the port are counted, not written.
const COLLECT: Duration = Duration::from_secs(10);
/// Different refusals that are remembered meanwhile.
const REPEATED_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).expect("a file");
        text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
    }

    fn at(path: &Path) -> AuditFile {
        AuditFile { path: path.to_owned(), bytes: 1 << 20, files: 2 }
    }

    #[test]
    fn a_line_says_who_did_what_to_whom_and_when() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit/audit.log");
        let audit = Audit::open(&at(&path)).expect("open");
        let login = Event::new(Kind::Login).about("rex").client("c\"1\n").from("192.0.2.1:9", "mqtt");
        audit.note(login.shown(Method::Password));
        audit.note(Event::new(Kind::UserChanged).by("admin").about("rex").with(Some("reader"), Some(true), true));
        audit.note(Event::new(Kind::Refused).about(&"ü".repeat(1000)));
        audit.close();
        audit.note(Event::new(Kind::Login));
        let mut lines = lines(&path);
        for line in &mut lines {
            let time = line.as_object_mut().expect("an object").remove("time").expect("a time");
            assert!(time.as_str().expect("text").ends_with('Z'), "{time}");
        }
        assert_eq!(
            lines[..2],
            [
                serde_json::json!({ "event": "login", "user": "rex", "clientId": "c\"1\n", "address": "192.0.2.1:9",
                    "door": "mqtt", "method": "password" }),
                serde_json::json!({ "event": "user-changed", "actor": "admin", "user": "rex", "role": "reader",
                    "active": true, "password": true }),
            ]
        );
        assert_eq!((lines.len(), lines[2]["user"].as_str().expect("a name").len()), (3, 256));
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn the_same_refusal_again_and_again_is_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        let audit = Audit::open(&at(&path)).expect("open");
        for port in 0..1000 {
            let refused = Event::new(Kind::Refused).about("rex").client(&port.to_string());
            audit.note(refused.from(format!("192.0.2.1:{port}"), "mqtt").because("no credentials"));
            audit.note(Event::new(Kind::Login).about("rex"));
        }
        audit.close();
        let lines = lines(&path);
        let of = |kind: &str| lines.iter().filter(|line| line["event"] == kind).count();
        let count = |line: &Value| line.get("count").map_or(1, |count| count.as_u64().expect("a number"));
        let told = |kind: &str| lines.iter().filter(|line| line["event"] == kind).map(count).sum::<u64>();
        let lost: u64 = lines.iter().filter(|line| line["event"] == "lost").map(count).sum();
        assert_eq!(told("refused") + told("login") + lost, 2000);
        assert!(of("refused") < 10, "{}", of("refused"));
    }

    #[test]
    fn what_cannot_wait_is_counted_and_nobody_is_held_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        let audit = Audit::open(&at(&path)).expect("open");
        (0..WAITING_MAX * 10).for_each(|_| audit.note(Event::new(Kind::Login).about("rex")));
        audit.close();
        let mut all: Vec<Value> = lines(&path);
        for number in 1..=2 {
            let older = folder.path().join(format!("audit.log.{number}"));
            if older.exists() {
                all.extend(lines(&older));
            }
        }
        let lost: u64 = all.iter().filter_map(|line| line["count"].as_u64()).sum();
        let told = all.iter().filter(|line| line["event"] == "login").count() as u64;
        assert_eq!(told + lost, WAITING_MAX as u64 * 10);
    }

    #[test]
    fn without_a_file_nothing_is_written() {
        let audit = Audit::default();
        audit.note(Event::new(Kind::Login));
        audit.close();
    }
}
