//! Everything that was published, and what the log says of it: the truth that clients are held against.

use crate::random::Random;
use rowcast_codec::{PublishProperties, QoS};
use rowcast_core::tables::Tables;
use rowcast_core::{Change, ChangeKind, Entry, Sequence, TableId};
use rowcast_store::Store;
use std::collections::{BTreeMap, BTreeSet};

/// What is published to: tables that take anything, an open topic, typed tables; one with records that expire, one
/// whose events are kept, one that does not wait for the disk.
pub(crate) const TOPICS: [&str; 9] =
    ["note/a", "note/b", "note/b/c", "open/x", "open/y", "dog/1", "ticket/1", "visit/1", "lamp/1"];

/// What some clients may not read, while their role says so.
pub(crate) fn is_hidden(topic: &str) -> bool {
    topic.starts_with("note") || topic == "open/x"
}

/// Whether a power cut may take what was acknowledged, with less than QoS 2.
pub(crate) fn is_volatile(topic: &str, qos: QoS) -> bool {
    topic.starts_with("lamp") && qos < QoS::ExactlyOnce
}

/// Where records that were asked for are answered.
pub(crate) const ANSWERS: &str = "open/z";

/// The publisher of what comes from elsewhere than MQTT.
pub(crate) const ELSEWHERE: usize = usize::MAX;

/// A publish, by whomever. Its number is its payload, so that whatever arrives tells which publish it was.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) publisher: usize,
    /// Which of its sessions.
    pub(crate) epoch: u32,
    pub(crate) topic: &'static str,
    pub(crate) kind: Kind,
    pub(crate) qos: QoS,
    pub(crate) condition: Option<Condition>,
    pub(crate) expiry_secs: Option<u32>,
    /// It asks for the record of this topic (`$get`), and is the answer: an event on [`Message::topic`].
    pub(crate) asks: Option<&'static str>,
    /// Bytes behind the number, where any payload is taken.
    pub(crate) padding: usize,
    pub(crate) is_will: bool,
    pub(crate) fate: Fate,
    /// When it was accepted, as [`Book::clock`] counts.
    pub(crate) accepted_at: Option<u64>,
    /// When its time ran out, at the latest; milliseconds since 1970.
    pub(crate) expires_ms: Option<u64>,
    /// How often it was sent.
    pub(crate) sent: u32,
    /// It may have been refused when it was sent first, so that what was published behind it came before it.
    pub(crate) is_late: bool,
    /// How often it stands in the log, and where first.
    pub(crate) logged: u32,
    pub(crate) sequence: Option<u64>,
    /// The name in the record it made, if its table has names.
    pub(crate) name: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Put,
    Patch,
    Delete,
    Event,
}

impl Kind {
    pub(crate) fn is_state(self) -> bool {
        self != Kind::Event
    }
}

/// What a publish demands of the record there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Condition {
    Absent,
    Version(u64),
}

/// What its publisher knows of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Open,
    /// It must not be lost any more.
    Accepted,
    /// It must not be there.
    Refused,
}

impl Message {
    pub(crate) fn new(publisher: usize, topic: &'static str, kind: Kind, qos: QoS) -> Message {
        Message {
            publisher,
            epoch: 0,
            topic,
            kind,
            qos,
            condition: None,
            expiry_secs: None,
            asks: None,
            padding: 0,
            is_will: false,
            fate: Fate::Open,
            accepted_at: None,
            expires_ms: None,
            sent: 1,
            is_late: false,
            logged: 0,
            sequence: None,
            name: None,
        }
    }

    /// Whether it may stand in the log more than once, and come so often.
    pub(crate) fn may_repeat(&self) -> bool {
        self.sent > 1 && self.qos == QoS::AtLeastOnce
    }

    /// Whether there comes a time when it need not be sent any more.
    pub(crate) fn expires(&self) -> bool {
        self.expires_ms.is_some()
            || self.expiry_secs.is_some()
            || self.asks.is_some()
            || (self.kind.is_state() && self.topic.starts_with("ticket"))
    }

    /// Whether whoever was to get it has it by the end. That a patch expires is known only from the log.
    pub(crate) fn must_have_come(&self) -> bool {
        self.accepted_at.is_some() && !self.expires()
    }

    pub(crate) fn payload(&self, number: usize) -> Vec<u8> {
        match (self.topic.split('/').next(), self.kind) {
            (_, Kind::Delete) => String::new(),
            _ if self.asks.is_some() => String::new(),
            (Some("dog"), Kind::Put) => format!(r#"{{"name":"{number}","age":{number}}}"#),
            (Some("dog"), _) => format!(r#"{{"age":{number}}}"#),
            (Some("ticket"), _) => format!(r#"{{"seat":"{number}"}}"#),
            (Some("visit"), _) => format!(r#"{{"place":"{number}"}}"#),
            _ => format!("{number}{}", "x".repeat(self.padding)),
        }
        .into_bytes()
    }
}

/// Which message a payload is.
fn number_of(payload: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(payload).ok()?;
    let starts = [r#""age":"#, r#""seat":""#, r#""place":""#];
    let start = starts.iter().find_map(|start| text.find(start).map(|at| at + start.len()));
    digits(&text[start.unwrap_or(0)..])
}

/// Which message a publish is: what answers a request says which it was, and has a payload of its own.
pub(crate) fn number_in(properties: &PublishProperties<'_>, payload: &[u8]) -> Option<usize> {
    match properties.correlation_data {
        Some(number) => std::str::from_utf8(number).ok()?.parse().ok(),
        None => number_of(payload),
    }
}

fn name_of(payload: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(payload).ok()?;
    digits(text.split_once(r#""name":""#)?.1)
}

fn digits(text: &str) -> Option<usize> {
    text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A line of the log, for who looks into a seed that failed.
fn shown(entry: &Entry<'_>) -> String {
    let Change { kind, qos, table, key, payload, expires_ms, .. } = &entry.change;
    let (key, payload) = (key.escape_ascii(), payload.escape_ascii());
    let expires = expires_ms.map(|at| format!(", until {at}")).unwrap_or_default();
    format!("{}: {kind:?} {table:?} {key} {qos:?} {payload}{expires}", entry.sequence)
}

/// A topic in the spelling of [`TOPICS`].
pub(crate) fn known(topic: &str) -> Option<&'static str> {
    TOPICS.into_iter().chain([ANSWERS]).find(|known| known.eq_ignore_ascii_case(topic))
}

/// A topic's record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) number: usize,
    pub(crate) version: u64,
    name: Option<usize>,
    expires_ms: Option<u64>,
}

/// A line of the log.
struct Line {
    sequence: u64,
    topic: &'static str,
    number: Option<usize>,
    /// The topic's record before it, and how that had changed last ([`Book::changed`]).
    before: Option<State>,
    changed_before: Option<(QoS, u64)>,
}

/// Since when something is hidden from some clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hidden {
    /// As [`Book::clock`] counts.
    pub(crate) clock: u64,
    /// The first message that was published since.
    pub(crate) first: usize,
}

#[derive(Default)]
pub(crate) struct Book {
    pub(crate) messages: Vec<Message>,
    /// Counts what happens, so that it can be said what came before what.
    pub(crate) clock: u64,
    /// When nothing was under way on the node last.
    pub(crate) idle_at: u64,
    lines: Vec<Line>,
    pub(crate) states: BTreeMap<&'static str, State>,
    /// With which QoS the record of a topic changed last, and when that was read, as `clock` counts.
    pub(crate) changed: BTreeMap<&'static str, (QoS, u64)>,
    /// Up to where the log was looked at.
    read_until: Sequence,
    /// Messages that were acknowledged and are gone, with the power, and topics of which some are.
    pub(crate) lost: BTreeSet<usize>,
    pub(crate) lost_on: BTreeSet<&'static str>,
    /// Messages of which a copy went with the power last; another may be left.
    pub(crate) shortened: BTreeSet<usize>,
    /// What [`is_hidden`] means is hidden from some, at times.
    pub(crate) guards: bool,
    /// It surely is now.
    pub(crate) hidden: Option<Hidden>,
    /// Messages that were looked at in the log just now, and when they were committed; milliseconds since 1970.
    pub(crate) news: Vec<(usize, u64)>,
    /// Client identifiers whose sessions were seen to go just now, whether their clients know it or not.
    pub(crate) ended: Vec<String>,
}

impl Book {
    /// `guards`: what some clients may read changes.
    pub(crate) fn new(guards: bool) -> Book {
        Book { guards, ..Book::default() }
    }

    /// Looks at what was committed.
    pub(crate) fn read(&mut self, store: &Store, tables: &Tables) -> Result<(), String> {
        while self.read_until < store.committed() {
            let page = store.read_log(self.read_until, usize::MAX).map_err(|error| error.to_string())?;
            for entry in page.batches.iter().flat_map(|batch| batch.entries()) {
                if entry.sequence > self.read_until {
                    self.line(&entry, tables)?;
                    self.read_until = entry.sequence;
                }
            }
        }
        Ok(())
    }

    fn line(&mut self, entry: &Entry<'_>, tables: &Tables) -> Result<(), String> {
        let change = &entry.change;
        if crate::traces() {
            println!("        log {}", shown(entry));
        }
        if change.table == TableId::SESSIONS && matches!(change.kind, ChangeKind::Delete | ChangeKind::Expire) {
            self.ended.push(String::from_utf8_lossy(change.key).into_owned());
        }
        let mut topic = String::new();
        if change.table.is_internal() || !tables.topic(change.table, change.key, &mut topic) {
            return Ok(());
        }
        let topic = known(&topic).ok_or_else(|| format!("nobody publishes to {topic}"))?;
        let now_ms = entry.hlc.millis();
        let before = self.states.get(topic).copied();
        let sequence = entry.sequence.0;
        let number = match change.kind {
            ChangeKind::Delete => None,
            ChangeKind::Expire => {
                let due = before.and_then(|state| state.expires_ms).is_some_and(|due| due <= now_ms);
                if !due {
                    return Err(format!("{topic} expires before its time"));
                }
                None
            }
            ChangeKind::Put | ChangeKind::Message => {
                let properties = PublishProperties::parse_forwarded(change.properties).unwrap_or_default();
                number_in(&properties, change.payload)
            }
        };
        if matches!(change.kind, ChangeKind::Delete | ChangeKind::Expire) && self.states.remove(topic).is_none() {
            return Err(format!("{topic} is taken away, and was not there"));
        }
        let changed_before = self.changed.get(topic).copied();
        if change.kind.is_state() {
            self.clock += 1;
            self.changed.insert(topic, (change.qos, self.clock));
        }
        self.lines.push(Line { sequence, topic, number, before, changed_before });
        let Some(number) = number else { return Ok(()) };
        self.message_line(
            entry,
            topic,
            number,
            before.filter(|state| state.expires_ms.is_none_or(|due| due > now_ms)),
        )?;
        self.news.push((number, now_ms));
        Ok(())
    }

    fn message_line(
        &mut self,
        entry: &Entry<'_>,
        topic: &'static str,
        number: usize,
        before: Option<State>,
    ) -> Result<(), String> {
        let change = &entry.change;
        let message = self.messages.get_mut(number).ok_or_else(|| format!("nobody published {number}"))?;
        let is_put = change.kind == ChangeKind::Put;
        if message.topic != topic || message.kind.is_state() != is_put || message.qos != change.qos {
            return Err(format!("{number} is {change:?} in the log"));
        }
        message.logged += 1;
        message.sequence.get_or_insert(entry.sequence.0);
        let most = if message.may_repeat() { message.sent } else { 1 };
        if message.logged > most {
            return Err(format!("{number} stands in the log {} times, at most {most} are right", message.logged));
        }
        if message.fate == Fate::Refused {
            return Err(format!("{number} was refused, and stands in the log"));
        }
        let version = before.map(|state| state.version);
        let held = match message.condition {
            None => true,
            Some(Condition::Absent) => version.is_none(),
            Some(Condition::Version(wanted)) => version == Some(wanted),
        };
        if !held {
            return Err(format!("{number} demands {:?} where there is {version:?}", message.condition));
        }
        if message.kind == Kind::Patch && message.expiry_secs.is_none() {
            let kept = before.and_then(|state| state.expires_ms); // A patch leaves that as it is.
            if change.expires_ms != kept {
                return Err(format!("{number} expires at {:?}, not at {kept:?} as before", change.expires_ms));
            }
            message.expires_ms = kept;
        }
        if is_put {
            let name = name_of(change.payload);
            let right = match (topic, message.kind) {
                ("dog/1", Kind::Patch) => before.and_then(|state| state.name),
                ("dog/1", _) => Some(number),
                _ => None,
            };
            if name != right {
                return Err(format!("{number} makes a record with name {name:?}, not {right:?}"));
            }
            message.name = name;
            let state = State { number, version: entry.sequence.0, name, expires_ms: change.expires_ms };
            self.states.insert(topic, state);
        }
        if message.is_will {
            self.accept(number)?;
        }
        Ok(())
    }

    /// Its publisher hears that the server has it.
    pub(crate) fn accept(&mut self, number: usize) -> Result<(), String> {
        self.clock += 1;
        let message = &mut self.messages[number];
        message.fate = Fate::Accepted;
        message.accepted_at.get_or_insert(self.clock);
        if matches!(message.kind, Kind::Put | Kind::Patch) && message.logged == 0 {
            return Err(format!("{number} is acknowledged, and does not stand in the log"));
        }
        Ok(())
    }

    /// Its publisher hears that it is not taken.
    pub(crate) fn refuse(&mut self, number: usize) -> Result<(), String> {
        let message = &mut self.messages[number];
        message.fate = Fate::Refused;
        if message.logged > 0 {
            return Err(format!("{number} is refused, and stands in the log"));
        }
        Ok(())
    }

    /// The store was opened again: what it lost, nobody must have been told of. `loses`: whether it may have lost
    /// anything at all.
    pub(crate) fn reopened(&mut self, committed: Sequence, loses: bool) -> Result<(), String> {
        self.shortened.clear();
        while let Some(line) = self.lines.pop_if(|line| line.sequence > committed.0) {
            if !loses {
                return Err(format!("{} of {} is gone without a reason", line.sequence, line.topic));
            }
            match line.before {
                Some(before) => drop(self.states.insert(line.topic, before)),
                None => drop(self.states.remove(line.topic)),
            }
            match line.changed_before {
                Some(before) => drop(self.changed.insert(line.topic, before)),
                None => drop(self.changed.remove(line.topic)),
            }
            let Some(number) = line.number else { continue };
            let message = &mut self.messages[number];
            message.logged -= 1;
            self.shortened.insert(number);
            if message.logged == 0 {
                message.sequence = None;
                if message.fate == Fate::Accepted && is_volatile(line.topic, message.qos) {
                    (message.fate, message.accepted_at) = (Fate::Open, None);
                    self.lost.insert(number);
                    self.lost_on.insert(line.topic);
                } else if message.fate == Fate::Accepted {
                    return Err(format!("{number} was acknowledged, and is gone"));
                }
            }
        }
        self.read_until = self.read_until.min(committed);
        Ok(())
    }

    /// How many changes and messages stand in the log.
    pub(crate) fn changes(&self) -> usize {
        self.lines.len()
    }

    /// Messages that stand in the log after one place and up to another.
    pub(crate) fn logged_between(&self, after: u64, until: u64) -> impl Iterator<Item = usize> {
        let lines = self.lines.iter().filter(move |line| after < line.sequence && line.sequence <= until);
        lines.filter_map(|line| line.number)
    }

    /// Whether an answer to request `number` is what its record was, no older than what the same client had made of it.
    pub(crate) fn check_answer(&self, number: usize, version: Option<u64>, payload: &[u8]) -> Result<(), String> {
        let message = &self.messages[number];
        let asked = message.asks.unwrap_or_default();
        let is_own = |other: &&Message| {
            let same = other.publisher == message.publisher && other.epoch == message.epoch && other.topic == asked;
            same && other.kind.is_state() && !other.is_will && other.sent == 1
        };
        let own = self.messages[..number].iter().filter(is_own).filter_map(|other| other.sequence).max().unwrap_or(0);
        let Some(version) = version else {
            let mut later = self.lines.iter().filter(|line| line.topic == asked && line.sequence > own);
            let may_be_gone = own == 0 || asked.starts_with("ticket") || later.any(|line| line.number.is_none());
            let expires =
                self.messages[..number].iter().any(|other| other.topic == asked && other.expiry_secs.is_some());
            return match may_be_gone || expires {
                true => Ok(()),
                false => Err(format!("{number} asks for {asked}, which is at {own}, and is told that it is not there")),
            };
        };
        let line = self.lines.iter().find(|line| line.sequence == version && line.topic == asked);
        let made = line.and_then(|line| line.number).filter(|&made| self.messages[made].kind.is_state());
        if made.is_none() || number_of(payload) != made {
            let payload = String::from_utf8_lossy(payload);
            return Err(format!("{number} asks for {asked}, and is told {payload} of {version}, which is {made:?}"));
        }
        match version < own {
            true => Err(format!("{number} asks for {asked}, which is at {own}, and is told of {version}")),
            false => Ok(()),
        }
    }

    /// A place in the log.
    pub(crate) fn some_version(&self, random: &mut Random) -> u64 {
        let at = random.below(self.lines.len() + 1);
        self.lines.get(at).map_or(0, |line| line.sequence)
    }

    /// A topic's record.
    pub(crate) fn state(&self, topic: &str, now_ms: u64) -> Option<State> {
        self.states.get(topic).copied().filter(|state| state.expires_ms.is_none_or(|due| due > now_ms))
    }
}
