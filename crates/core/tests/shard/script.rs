//! Conversations as text: `tests/scripts/*.txt`.
//!
//! A file holds scenarios, each on a fresh node:
//!
//! ```text
//! == What must hold, in a sentence
//! # A comment, with the statements it shows: [MQTT-3.12.4-1]
//! a> CONNECT v5 clean
//! a< CONNACK
//! a> PINGREQ
//! a< PINGRESP
//! ```
//!
//! `>` is sent, `<` must come back, and nothing else may, to anybody. Lines of one client right behind each other are
//! sent at once, except that a CONNECT begins anew. What clients get is in order for each of them. `node<` is what an operator is told.
//!
//! | line                          |                                                                             |
//! |-------------------------------|-----------------------------------------------------------------------------|
//! | `shards 2`                    | before anything else: so many, not one                                      |
//! | `limits inflight=2 ...`       | before anything else: other bounds                                          |
//! | `open_topics no`              | before anything else                                                        |
//! | `close_on_rejected`           | before anything else                                                        |
//! | `content types`               | before anything else: that of JSON objects is shown as well                 |
//! | `a! opens shard=1 untrusted`  | a connection, without a CONNECT yet; else the first `>` opens one. `beyond`: |
//! |                               | it is one too many                                                          |
//! | `a! drops`                    | the connection is lost                                                      |
//! | `a! stops reading`, `reads`   | what is written to it waits, no longer waits                                |
//! | `a! is owed 200 bytes`         | so many wait to be written to it, at most                                   |
//! | `wait 10s`                    | also `ms`, `m`, `h`, `d`                                                    |
//! | `restart`, `power cut`        | killed and started again; what was not synced survives, does not survive    |
//! | `disk stops`, `disk goes on`  | nothing is committed meanwhile; likewise `accounts`, `claims`, `reads`, and |
//! |                               | `answers`: reads are done, and nobody hears of it                           |
//! | `disk full`, `disk empty`     | the log takes no writes, takes them again; `disk full once`: only the       |
//! |                               | writer's next turn finds no room                                            |
//! | `tables damaged`, `tables mended` | no record can be read to decide on what depends on it, or by request       |
//! | `log forgets`                 | retention drops all the log holds                                           |
//! | `promote bob`                 | whoever is found to be bob from now on may do everything                    |
//! | `shutdown`                    | the node is told to stop                                                    |
//! | `configure inflight=2 ...`    | other bounds from here on                                                   |
//! | `schema FILE`                 | is reloaded                                                                 |
//! | `role kennel Dog=riudp ...`   | may read, insert, update, delete, publish; `Dog.name=riu` an attribute,     |
//! |                               | `home/%u/#=rp` open topics, `super`, `gone`                                 |
//! | `password bob`                | is another one by now                                                       |
//! | `account bob kennel`          | has that role; `account bob gone`. Any password will do                     |
//! | `db> PUT dog/1 "..."`         | a change that comes from elsewhere; also `DELETE`                           |
//! | `sys broker/uptime 7`         | what the server says of itself: `$SYS/broker/uptime`. `nobody listens` at   |
//! |                               | its end, if so                                                              |
//!
//! `ROWCAST_SCRIPT=name` runs what has that in its file's or scenario's name. `ROWCAST_REWRITE=1` writes down what came
//! back, to be reviewed as a diff.

use crate::Node;
use crate::node::{Setup, SocketId};
use crate::store::Store;
use crate::text;
use rowcast_codec::{Packet, QoS, Version, frame_length};
use rowcast_core::catalog::Resolved;
use rowcast_core::limits::Limits;
use rowcast_core::policy::{AttributeGrant, Role, TableGrant, TopicGrant};
use rowcast_core::shard::Report;
use rowcast_core::value::Key;
use rowcast_core::{Change, ChangeKind, Durability, Proposals, SessionId};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[test]
fn scripts() {
    let only = std::env::var("ROWCAST_SCRIPT").unwrap_or_default();
    let rewrites = std::env::var("ROWCAST_REWRITE").is_ok();
    let mut failures = String::new();
    let mut count = 0;
    for path in script_files() {
        let before = std::fs::read_to_string(&path).expect("a script");
        let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
        let mut after = String::new();
        for scenario in scenarios(&before) {
            if !(name.contains(&only) || scenario.title().contains(&only)) {
                after.push_str(&scenario.text());
                continue;
            }
            count += 1;
            let outcome = Player::play(&scenario);
            for (line, what) in &outcome.mistakes {
                let _ = writeln!(failures, "{name}.txt:{line}: {what}   ({})", scenario.title());
            }
            after.push_str(&outcome.rewritten);
        }
        if rewrites && after != before {
            std::fs::write(&path, after).expect("written");
        }
    }
    println!("{count} scenarios");
    assert!(failures.is_empty(), "\n{failures}");
}

/// All scripts, in the order of their names.
pub(crate) fn script_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}

/// Lines of a file up to the next title; `first` is the number of the first.
pub(crate) struct Scenario<'t> {
    first: usize,
    lines: Vec<&'t str>,
}

pub(crate) fn scenarios(text: &str) -> Vec<Scenario<'_>> {
    let mut scenarios: Vec<Scenario<'_>> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("== ") || scenarios.is_empty() {
            scenarios.push(Scenario { first: index + 1, lines: Vec::new() });
        }
        if let Some(last) = scenarios.last_mut() {
            last.lines.push(line);
        }
    }
    scenarios
}

impl Scenario<'_> {
    pub(crate) fn title(&self) -> &str {
        self.lines.iter().find_map(|line| line.strip_prefix("== ")).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line, "\n"]).collect()
    }
}

pub(crate) struct Outcome {
    pub(crate) mistakes: Vec<(usize, String)>,
    rewritten: String,
}

/// Plays one scenario.
pub(crate) struct Player {
    node: Node,
    limits: Limits,
    shows_types: bool,
    clients: BTreeMap<String, Client>,
    /// What came back and was not asked for yet, by client.
    came: VecDeque<(String, String)>,
    mistakes: Vec<(usize, String)>,
    rewritten: String,
    /// Lines that were expected but did not come, since the last line that did something.
    failed: bool,
}

struct Client {
    socket: Option<SocketId>,
    version: Version,
    shard: usize,
    trusted: bool,
    beyond: bool,
    /// Bytes that are not a whole packet yet.
    partial: Vec<u8>,
}

impl Player {
    pub(crate) fn play(scenario: &Scenario<'_>) -> Outcome {
        let mut setup =
            Setup { shards: 1, limits: Limits::default(), open_topics: true, close_on_rejected: false, seed: 1 };
        let mut mistakes = Vec::new();
        for (index, line) in scenario.lines.iter().enumerate() {
            if let Err(mistake) = read_setup(line, &mut setup) {
                mistakes.push((scenario.first + index, mistake));
            }
        }
        let limits = setup.limits.clone();
        let (clients, came) = (BTreeMap::new(), VecDeque::new());
        let node = Node::new(setup, Store::default());
        let shows_types = scenario.lines.contains(&CONTENT_TYPES);
        let mut player =
            Player { node, limits, shows_types, clients, came, mistakes, rewritten: String::new(), failed: false };
        let mut lines = scenario.lines.iter().enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            let number = scenario.first + index;
            let next = lines.peek().map(|(_, next)| **next);
            let rest = scenario.lines[index..].iter();
            let expects = |line: &str| expectation(line).is_some();
            if line.starts_with('#') && !rest.skip_while(|line| line.starts_with('#')).take(1).any(|line| expects(line))
            {
                player.nothing_else(number);
            }
            if let Err(mistake) = player.line(line, next, number) {
                player.mistakes.push((number, mistake));
                player.failed = true;
            }
        }
        player.nothing_else(scenario.first + scenario.lines.len());
        Outcome { mistakes: player.mistakes, rewritten: player.rewritten }
    }

    fn line(&mut self, line: &str, next: Option<&str>, number: usize) -> Result<(), String> {
        let line = line.trim_end();
        if let Some((client, packet)) = expectation(line) {
            self.expect(client, packet.trim(), number);
            return Ok(());
        }
        let is_action = !line.is_empty() && !line.starts_with(['#', '=']);
        if is_action || line.is_empty() || line.starts_with("==") {
            self.nothing_else(number);
        }
        self.rewritten.push_str(line);
        self.rewritten.push('\n');
        if !is_action || is_setup(line) {
            return Ok(());
        }
        let sent = |line: &str| line.split_once("> ").map(|(client, packet)| (client.to_owned(), packet.to_owned()));
        match sent(line) {
            Some((client, packet)) if client == "db" => self.propose(&packet)?,
            Some((client, packet)) => {
                self.send(&client, packet.trim())?;
                let goes_on = |(other, packet): (String, String)| other == client && !packet.starts_with("CONNECT");
                if next.and_then(sent).is_some_and(goes_on) {
                    return Ok(()); // What follows is in the same segment.
                }
            }
            None => match line.split_once("! ") {
                Some((client, what)) => self.on_client(client, what)?,
                None => self.on_node(line)?,
            },
        }
        self.settle();
        Ok(())
    }

    /// What came must have been expected by now.
    fn nothing_else(&mut self, number: usize) {
        while let Some((client, what)) = self.came.pop_front() {
            let _ = writeln!(self.rewritten, "{client}< {what}");
            self.mistakes.push((number, format!("before this line, unexpected: {client}< {what}")));
        }
    }

    fn expect(&mut self, client: &str, expected: &str, number: usize) {
        let place = self.came.iter().position(|(other, _)| other == client);
        let Some((_, what)) = place.and_then(|place| self.came.remove(place)) else {
            self.mistakes.push((number, format!("expected {client}< {expected}, got nothing")));
            return;
        };
        let _ = writeln!(self.rewritten, "{client}< {what}");
        if what != expected {
            self.mistakes.push((number, format!("expected {client}< {expected}, got {client}< {what}")));
        }
    }

    fn client(&mut self, name: &str) -> &mut Client {
        let (version, partial) = (Version::V5, Vec::new());
        let new = Client { socket: None, version, shard: 0, trusted: true, beyond: false, partial };
        self.clients.entry(name.to_owned()).or_insert(new)
    }

    fn socket(&mut self, name: &str) -> SocketId {
        let Client { socket, shard, trusted, beyond, .. } = *self.client(name);
        let socket = match socket {
            Some(socket) if self.node.is_open(socket) => socket,
            _ => self.node.connect(shard, trusted, beyond),
        };
        self.client(name).socket = Some(socket);
        socket
    }

    fn send(&mut self, name: &str, packet: &str) -> Result<(), String> {
        let socket = self.socket(name);
        let client = self.client(name);
        let bytes = text::encode(packet, name, &mut client.version)?;
        self.node.send(socket, &bytes);
        Ok(())
    }

    fn on_client(&mut self, name: &str, what: &str) -> Result<(), String> {
        let mut words = what.split_whitespace();
        match (words.next(), what) {
            (Some("opens"), _) => {
                for word in words {
                    let client = self.client(name);
                    match word.strip_prefix("shard=") {
                        Some(shard) => client.shard = shard.parse().map_err(|_| "shard=N")?,
                        None if word == "beyond" => client.beyond = true,
                        None => client.trusted = word != "untrusted",
                    }
                }
                self.socket(name);
            }
            (_, "drops") => {
                let socket = self.socket(name);
                self.node.lose(socket);
                let client = self.client(name);
                client.socket = None;
                client.partial.clear();
            }
            (_, "stops reading") => {
                let socket = self.socket(name);
                self.node.set_takes(socket, false);
            }
            (_, "reads") => {
                let socket = self.socket(name);
                self.node.set_takes(socket, true);
            }
            (Some("is"), _) => {
                let most: usize = words.nth(1).and_then(|bytes| bytes.parse().ok()).ok_or("is owed N bytes")?;
                let socket = self.socket(name);
                let owed = self.node.outbox_len(socket);
                if owed > most {
                    return Err(format!("{name} is owed {owed} bytes"));
                }
            }
            _ => return Err(format!("no client can do this: {what}")),
        }
        Ok(())
    }

    fn on_node(&mut self, line: &str) -> Result<(), String> {
        let goes_on = line.ends_with(" goes on") || line.ends_with(" go on");
        let stops = line.ends_with(" stops") || line.ends_with(" stop");
        match line.split(' ').next().unwrap_or_default() {
            "wait" => self.wait(line)?,
            "restart" => self.restart(false),
            "power" => self.restart(true),
            "promote" => self.node.promote(line.trim_start_matches("promote ")),
            "shutdown" => self.node.shutdown(),
            "configure" => {
                let mut limits = self.node.limits().clone();
                read_limits(line.trim_start_matches("configure "), &mut limits)?;
                self.node.configure(limits);
            }
            "sys" => {
                let (said, expected) = match line.strip_suffix(" nobody listens") {
                    Some(said) => (said, false),
                    None => (line, true),
                };
                let mut words = said.split(' ').skip(1);
                let (Some(topic), Some(payload)) = (words.next(), words.next()) else {
                    return Err("sys TOPIC VALUE".to_owned());
                };
                if self.node.set_sys(&format!("$SYS/{topic}"), payload) != expected {
                    return Err(format!("somebody listens: {}", !expected));
                }
            }
            "schema" => {
                let name = line.trim_start_matches("schema ");
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(name);
                let schema = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
                self.node.reload(&schema);
            }
            "role" => {
                let (name, rules) = line.trim_start_matches("role ").split_once(' ').ok_or("role NAME RULES")?;
                self.node.set_role(name, read_role(rules)?);
            }
            "account" => {
                let (name, role) = line.trim_start_matches("account ").split_once(' ').ok_or("account NAME ROLE")?;
                self.node.set_account(name, Some(role).filter(|role| *role != "gone"));
            }
            "password" => self.node.change_password(line.trim_start_matches("password ")),
            "disk" if line == "disk full" => self.node.store.full = true,
            "tables" if matches!(line, "tables damaged" | "tables mended") => {
                self.node.store.damaged = line == "tables damaged";
            }
            "disk" if line == "disk full once" => self.node.store.full_once = true,
            "disk" if line == "disk empty" => self.node.store.full = false,
            "disk" if goes_on != stops => self.node.stopped.disk = stops,
            "accounts" if goes_on != stops => self.node.stopped.accounts = stops,
            "claims" if goes_on != stops => self.node.stopped.claims = stops,
            "answers" if goes_on != stops => self.node.stopped.answers = stops,
            "reads" if goes_on != stops => self.node.stopped.reads = stops,
            "log" => self.node.store.forget(),
            _ => return Err(format!("no such line: {line}")),
        }
        Ok(())
    }

    fn restart(&mut self, power_cut: bool) {
        self.node.store.crash(power_cut);
        self.node.restart();
        for client in self.clients.values_mut() {
            client.socket = None;
            client.partial.clear();
        }
    }

    fn wait(&mut self, line: &str) -> Result<(), String> {
        let time = line.trim_start_matches("wait ");
        let digits = time.find(|c: char| !c.is_ascii_digit()).ok_or("wait 10s")?;
        let number: u64 = time[..digits].parse().map_err(|_| "wait 10s")?;
        let unit = match &time[digits..] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err("wait 10s".to_owned()),
        };
        let mut left = number * unit;
        let step = (left / 1000).max(250);
        while left > 0 {
            let step = step.min(left);
            left -= step;
            self.node.advance(step);
            self.settle();
        }
        Ok(())
    }

    /// A change that some other door brings.
    fn propose(&mut self, line: &str) -> Result<(), String> {
        let (kind, rest) = line.split_once(' ').ok_or("PUT or DELETE")?;
        let (topic, payload) = rest.split_once(' ').unwrap_or((rest, ""));
        let tables = self.node.tables();
        let (name, id) = topic.rsplit_once('/').ok_or("TABLE/KEY")?;
        let (table, record) = match tables.catalog().resolve(topic) {
            Resolved::Record { table, key } => (table, key),
            Resolved::Closed { table } => (table, Key::Text(id.into())),
            _ => return Err(format!("{name} is no table")),
        };
        let mut key = Vec::new();
        record.encode(&mut key);
        let table = tables.id(table);
        let change = Change {
            kind: if kind == "PUT" { ChangeKind::Put } else { ChangeKind::Delete },
            qos: QoS::AtLeastOnce,
            table,
            key: &key,
            publisher: SessionId::NONE,
            expires_ms: None,
            properties: &[],
            payload: payload.trim_matches(['"', '\'']).as_bytes(),
        };
        let mut proposals = Proposals::default();
        proposals.push(None, Durability::Sync, &[change]);
        self.node.propose(proposals);
        Ok(())
    }

    /// Lets everything happen, and notes what clients and operators hear.
    fn settle(&mut self) {
        self.node.settle();
        let names: Vec<String> = self.clients.keys().cloned().collect();
        for name in names {
            self.hear(&name);
        }
        for report in std::mem::take(&mut self.node.reports) {
            if let Some(line) = describe_report(&report) {
                self.came.push_back(("node".to_owned(), line));
            }
        }
    }

    fn hear(&mut self, name: &str) {
        let limits = self.limits.clone();
        let Some(socket) = self.client(name).socket else { return };
        let bytes = std::mem::take(self.node.received(socket));
        let client = self.client(name);
        client.partial.extend_from_slice(&bytes);
        let mut lines = Vec::new();
        while let Ok(Some(length)) = frame_length(&client.partial, u32::MAX) {
            if client.partial.len() < length {
                break;
            }
            let frame: Vec<u8> = client.partial.drain(..length).collect();
            // Who asked in a version that nobody speaks is answered in the oldest form.
            let versions = [client.version, Version::V311];
            let decoded = versions.map(|version| Packet::decode(version, &frame).map(|packet| (packet, version)));
            lines.push(match decoded {
                [Ok((packet, version)), _] | [Err(_), Ok((packet, version))] => {
                    text::describe(&packet, version, &limits)
                }
                [Err(error), Err(_)] => format!("HEX {frame:02x?}: {error}"),
            });
        }
        if !self.node.is_open(socket) {
            let client = self.client(name);
            client.socket = None;
            if !std::mem::take(&mut client.partial).is_empty() {
                lines.push("half a packet".to_owned());
            }
            lines.push("CLOSED".to_owned());
        }
        if !self.shows_types {
            lines.iter_mut().for_each(leave_type_out);
        }
        self.came.extend(lines.into_iter().map(|line| (name.to_owned(), line)));
    }
}

/// Who is to get what.
fn expectation(line: &str) -> Option<(&str, &str)> {
    let (client, packet) = line.split_once("< ")?;
    let is_name = !client.is_empty() && client.chars().all(char::is_alphanumeric);
    is_name.then_some((client, packet))
}

/// What of reports belongs into a script: what would otherwise be lost without a trace.
fn describe_report(report: &Report) -> Option<String> {
    match report {
        Report::RejectedPublish { client_id, topic, reason, .. } => {
            Some(format!("REJECTED {client_id} {}: {reason}", text::collapsed(topic)))
        }
        Report::LostEvents { client_id, .. } => Some(format!("LOST EVENTS of {client_id}")),
        _ => None,
    }
}

/// Every document that MQTT 5 is sent has it: a script that is about something else is easier to read without.
fn leave_type_out(line: &mut String) {
    let is_object = line.ends_with("}'");
    if let Some(at) = line.find(JSON).filter(|_| is_object && line.starts_with("PUBLISH ")) {
        line.replace_range(at..at + JSON.len(), "");
    }
}

const JSON: &str = " content_type=application/json";
const CONTENT_TYPES: &str = "content types";

fn is_setup(line: &str) -> bool {
    ["shards ", "limits ", "open_topics ", "close_on_rejected", CONTENT_TYPES]
        .iter()
        .any(|start| line.starts_with(start))
}

/// A role in the words of a script.
pub(crate) fn read_role(rules: &str) -> Result<Option<Role>, String> {
    let mut role = Role::default();
    for rule in rules.split_whitespace() {
        let (what, flags) = match rule {
            "gone" => return Ok(None),
            "super" => {
                role.super_user = true;
                continue;
            }
            rule => rule.rsplit_once('=').ok_or_else(|| format!("{rule}: WHAT=FLAGS"))?,
        };
        let has = |flag| flags.contains(flag);
        let (read, insert, update, delete, publish) = (has('r'), has('i'), has('u'), has('d'), has('p'));
        match what.split_once('.') {
            Some((table, name)) => {
                let found = role.tables.iter_mut().find(|grant| &*grant.table == table);
                let attributes = &mut found.ok_or("a table before its attributes")?.attributes;
                let grant = AttributeGrant { name: name.into(), read, insert, update };
                attributes.get_or_insert_default().push(grant);
            }
            None if what.starts_with(char::is_uppercase) => {
                let grant = TableGrant { table: what.into(), read, insert, update, delete, publish, attributes: None };
                role.tables.push(grant);
            }
            None => role.topics.push(TopicGrant { filter: what.into(), read, publish }),
        }
    }
    Ok(Some(role))
}

fn read_setup(line: &str, setup: &mut Setup) -> Result<(), String> {
    if let Some(number) = line.strip_prefix("shards ") {
        setup.shards = number.parse().map_err(|_| "shards 2")?;
    } else if line == "open_topics no" {
        setup.open_topics = false;
    } else if line == "close_on_rejected" {
        setup.close_on_rejected = true;
    } else if let Some(limits) = line.strip_prefix("limits ") {
        read_limits(limits, &mut setup.limits)?;
    }
    Ok(())
}

fn read_limits(text: &str, limits: &mut Limits) -> Result<(), String> {
    for limit in text.split_whitespace() {
        let (name, value) = limit.split_once('=').ok_or("limits name=number")?;
        let value: u32 = value.parse().map_err(|_| "limits name=number")?;
        let small = u16::try_from(value).unwrap_or(u16::MAX);
        match name {
            "packet_bytes" => limits.packet_bytes = value,
            "connect_packet_bytes" => limits.connect_packet_bytes = value,
            "topic_bytes" => limits.topic_bytes = small,
            "topic_levels" => limits.topic_levels = small,
            "client_id_bytes" => limits.client_id_bytes = small,
            "filters_per_subscribe" => limits.filters_per_subscribe = value,
            "subscriptions_per_client" => limits.subscriptions_per_client = value,
            "user_properties" => limits.user_properties = value,
            "inflight" => limits.inflight = small,
            "receive_maximum" => limits.receive_maximum = small,
            "topic_alias_maximum" => limits.topic_alias_maximum = small,
            "keep_alive_max_secs" => limits.keep_alive_max_secs = small,
            "session_expiry_max_secs" => limits.session_expiry_max_secs = value,
            "outbound_bytes" => limits.outbound_bytes = value,
            "sessions" => limits.sessions = value,
            "publishes_per_sec" => limits.publishes_per_sec = value,
            "publish_bytes_per_sec" => limits.publish_bytes_per_sec = value.into(),
            "too_fast_ends" => limits.too_fast_ends = value > 0,
            "replay_last" => limits.replay_last = value,
            "connect_timeout_ms" => limits.connect_timeout_ms = value,
            other => return Err(format!("no such limit: {other}")),
        }
    }
    Ok(())
}
