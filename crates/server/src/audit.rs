//! Who came in, who was turned away and why, and who changed what: one JSON object a line, for whoever has to look it up
//! later.
//!
//! Whoever has something to say leaves a line beside those that wait, and waits for nothing: a thread of its own writes
//! them, some of them at once, as to be woken for each client of a storm would cost it as much as a shard takes to serve
//! them. Beyond a bound lines are dropped, and their number is written. Field names are those of `docs/access.md`, and
//! stay. Nothing that is written here is a password, a token or a payload.

mod file;

pub use file::AuditFile;

use crate::auth::{AuthError, Method, lock};
use file::Writer;
use rowcast_core::value::date_text;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Where to say what is worth knowing later. Cheap to clone.
#[derive(Clone, Default)]
pub struct Audit {
    inner: Option<Arc<Inner>>,
}

struct Inner {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Between those who have something to say and the thread that writes it.
#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Told when there is a first line, or it is over.
    changed: Condvar,
}

/// What is to be written.
#[derive(Default)]
struct Waiting {
    /// Lines, each with its end; no more than [`WAITING_BYTES_MAX`].
    lines: Vec<u8>,
    /// How many found no room.
    lost: u64,
    /// Refusals of the last while, and how often they came again.
    repeated: HashMap<Event<'static>, u64>,
    is_over: bool,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event<'a> {
    /// When it happened; empty until it is noted.
    time: String,
    event: Kind,
    /// Whose doing it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<Cow<'a, str>>,
    /// Whom it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    door: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Method>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Cow<'a, str>>,
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

impl<'a> Event<'a> {
    /// Something of that kind.
    #[must_use]
    pub fn new(event: Kind) -> Event<'a> {
        Event { event, ..Event::default() }
    }

    /// By whom.
    #[must_use]
    pub fn by(mut self, actor: &'a str) -> Event<'a> {
        self.actor = Some(shortened(actor));
        self
    }

    /// About whom.
    #[must_use]
    pub fn about(mut self, user: &'a str) -> Event<'a> {
        self.user = Some(shortened(user));
        self
    }

    /// From where, through which door.
    #[must_use]
    pub fn from(mut self, address: impl Into<Cow<'a, str>>, door: &'static str) -> Event<'a> {
        (self.address, self.door) = (Some(address.into()), Some(door));
        self
    }

    /// With which client identifier.
    #[must_use]
    pub fn client(mut self, client_id: &'a str) -> Event<'a> {
        self.client_id = Some(shortened(client_id)).filter(|client_id| !client_id.is_empty());
        self
    }

    /// By showing what.
    #[must_use]
    pub fn shown(mut self, method: Method) -> Event<'a> {
        self.method = Some(method);
        self
    }

    /// Why.
    #[must_use]
    pub fn because(mut self, reason: impl Into<Cow<'a, str>>) -> Event<'a> {
        self.reason = Some(match reason.into() {
            Cow::Borrowed(reason) => shortened(reason),
            Cow::Owned(reason) => Cow::Owned(shortened(&reason).into_owned()),
        });
        self
    }

    /// What of a user is different.
    #[must_use]
    pub fn with(mut self, role: Option<&'a str>, active: Option<bool>, password: bool) -> Event<'a> {
        (self.role, self.active, self.password) = (role.map(shortened), active, password);
        self
    }

    /// So many times more than was written.
    #[must_use]
    pub fn again(mut self, count: Option<u64>) -> Event<'a> {
        self.count = count;
        self
    }

    /// Which roles.
    #[must_use]
    pub fn roles(mut self, roles: Vec<String>) -> Event<'a> {
        self.roles = Some(roles);
        self
    }

    /// What it has in common with others that are the same for whoever reads of it; `None`: each is written.
    fn same(&self) -> Option<Event<'static>> {
        let owned = |text: &str| Cow::Owned(text.to_owned());
        let reason = self.reason.as_deref();
        let (client_id, reason) = match self.event {
            Kind::Refused => (None, reason),
            // Of what is not allowed, only what is done to it: there may be many topics.
            Kind::Denied => (self.client_id.as_deref(), reason.and_then(|reason| reason.split(' ').next())),
            _ => return None,
        };
        Some(Event {
            event: self.event,
            user: self.user.as_deref().map(owned),
            client_id: client_id.map(owned),
            // Each comes from another port.
            address: self.address.as_deref().map(without_port).map(owned),
            door: self.door,
            method: self.method,
            reason: reason.map(owned),
            ..Event::default()
        })
    }
}

impl Audit {
    /// Writes to that file from here on.
    pub fn open(file: &AuditFile) -> io::Result<Audit> {
        let shared = Arc::new(Shared::default());
        let scribe = Scribe { writer: Writer::open(file)?, shared: Arc::clone(&shared), is_broken: false };
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || scribe.run())?;
        Ok(Audit { inner: Some(Arc::new(Inner { shared, writer: Mutex::new(Some(thread)) })) })
    }

    /// Writes that it happened, just now.
    pub fn note(&self, event: Event<'_>) {
        let Some(Inner { shared, .. }) = self.inner.as_deref() else { return };
        let now_ms = crate::db::now_ms();
        if let Some(same) = event.same()
            && shared.change(|waiting| waiting.is_known(same, event.count, now_ms))
        {
            return;
        }
        let line = line(&Event { time: date_text(now_ms), ..event });
        shared.change(|waiting| {
            if !waiting.is_over {
                waiting.push(&line);
            }
        });
    }

    /// Returns when everything that was noted so far is written; nothing is after that.
    pub fn close(&self) {
        let Some(inner) = &self.inner else { return };
        inner.shared.change(|waiting| waiting.is_over = true);
        if let Some(thread) = lock(&inner.writer).take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Changes what waits, and wakes who writes it where nothing did.
    fn change<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> T {
        let mut waiting = lock(&self.waiting);
        let was_idle = waiting.is_idle();
        let result = change(&mut waiting);
        let wakes = was_idle && !waiting.is_idle();
        drop(waiting);
        if wakes {
            self.changed.notify_one();
        }
        result
    }
}

impl Waiting {
    /// Whether there is nothing to do for who writes it.
    fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.lost == 0 && !self.is_over
    }

    fn push(&mut self, line: &[u8]) {
        if self.lines.len() + line.len() > WAITING_BYTES_MAX {
            self.lost += 1;
        } else {
            self.lines.extend_from_slice(line);
        }
    }

    /// Whether the same was written of late; then it is counted.
    fn is_known(&mut self, same: Event<'static>, count: Option<u64>, now_ms: u64) -> bool {
        if let Some(times) = self.repeated.get_mut(&same) {
            *times += count.unwrap_or(1);
            return true;
        }
        if self.repeated.len() >= REPEATED_MAX {
            self.tell_repeated(now_ms);
        }
        self.repeated.insert(same, 0);
        false
    }

    fn tell_repeated(&mut self, now_ms: u64) {
        for (event, times) in std::mem::take(&mut self.repeated) {
            if times > 0 {
                self.push(&line(&Event { time: date_text(now_ms), count: Some(times), ..event }));
            }
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

/// Writes what waits.
struct Scribe {
    writer: Writer,
    shared: Arc<Shared>,
    is_broken: bool,
}

impl Scribe {
    fn run(mut self) {
        let mut since = Instant::now();
        let mut lines = Vec::new();
        let mut is_over = false;
        while !is_over {
            let waiting = lock(&self.shared.waiting);
            let waited = self.shared.changed.wait_timeout_while(waiting, COLLECT, |waiting| waiting.is_idle());
            is_over = waited.unwrap_or_else(PoisonError::into_inner).0.is_over;
            if !is_over {
                std::thread::park_timeout(GATHER);
            }
            let mut waiting = lock(&self.shared.waiting);
            is_over = waiting.is_over;
            if is_over || since.elapsed() >= COLLECT {
                since = Instant::now();
                waiting.tell_repeated(crate::db::now_ms());
            }
            std::mem::swap(&mut waiting.lines, &mut lines);
            let lost = std::mem::take(&mut waiting.lost);
            drop(waiting);
            self.write(&lines, lost);
            lines.clear();
        }
    }

    fn write(&mut self, lines: &[u8], lost: u64) {
        let time = || date_text(crate::db::now_ms());
        let told = (lost > 0).then(|| line(&Lost { time: time(), event: "lost", count: lost }));
        for line in lines.split_inclusive(|&byte| byte == b'\n').chain(told.as_deref()) {
            if let Err(error) = self.writer.write(line) {
                self.tell_broken(error);
            }
        }
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

/// Something that happened as it is written, with the end of its line.
fn line(what: &impl Serialize) -> Vec<u8> {
    let mut line = Vec::with_capacity(LINE_BYTES);
    serde_json::to_writer(&mut line, what).expect("an event is plain data");
    line.push(b'\n');
    line
}

/// So many lines were dropped.
#[derive(Serialize)]
struct Lost {
    time: String,
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
fn shortened(name: &str) -> Cow<'_, str> {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Borrowed(&name[..end])
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Bytes of lines that wait for the disk.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// Room for a line; most have no more.
const LINE_BYTES: usize = 256;
/// Bytes of a name that are written.
const NAME_BYTES_MAX: usize = 256;
/// For how long lines are gathered that are written together: some 100,000 a second find room.
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
            let client_id = port.to_string();
            let refused = Event::new(Kind::Refused).about("rex").client(&client_id);
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
        const NOTED: u64 = 40_960;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        let audit = Audit::open(&at(&path)).expect("open");
        (0..NOTED).for_each(|_| audit.note(Event::new(Kind::Login).about("rex")));
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
        assert_eq!(told + lost, NOTED);
    }

    #[test]
    fn no_more_lines_wait_than_there_is_room_for() {
        let mut waiting = Waiting::default();
        let line = [b'x'; 1000];
        let fit = WAITING_BYTES_MAX / line.len();
        (0..fit + 3).for_each(|_| waiting.push(&line));
        assert_eq!((waiting.lines.len(), waiting.lost), (fit * line.len(), 3));
    }

    #[test]
    fn no_more_refusals_are_remembered_than_there_is_room_for() {
        let mut waiting = Waiting::default();
        let refused = |number: usize| Event { reason: Some(number.to_string().into()), ..Event::new(Kind::Refused) };
        for number in 0..REPEATED_MAX {
            assert!(!waiting.is_known(refused(number), None, 0), "{number} for the first time");
        }
        assert!(waiting.is_known(refused(7), None, 0) && waiting.is_known(refused(7), Some(3), 0));
        assert!(waiting.is_idle());
        assert!(!waiting.is_known(refused(REPEATED_MAX), None, 0));
        let told: Value = serde_json::from_slice(&waiting.lines).expect("one line");
        assert_eq!((&told["reason"], &told["count"]), (&"7".into(), &4.into()));
        assert_eq!(waiting.repeated.len(), 1);
    }

    #[test]
    fn without_a_file_nothing_is_written() {
        let audit = Audit::default();
        audit.note(Event::new(Kind::Login));
        audit.close();
    }
}
