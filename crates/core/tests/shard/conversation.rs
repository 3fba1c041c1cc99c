//! Any bytes, as a conversation: what clients say and when, and what happens around the node meanwhile. Whatever it is,
//! the node answers as a server of MQTT may, keeps its bounds, comes to rest, and serves others afterwards.
//!
//! A conversation that fails is printed as the lines of a packet script.

use crate::Node;
use crate::node::{Setup, SocketId};
use crate::store::Store;
use crate::text;
use rowcast_codec::{Packet, PacketId, Publish, QoS, ReasonCode, Topic, TopicFilter, Version, frame_length};
use rowcast_core::limits::Limits;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;

/// A round takes a few milliseconds. `ROWCAST_ROUNDS` tries others, and as many as one likes, from `ROWCAST_SEED` on.
#[test]
fn any_conversation_holds() {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let first = number("ROWCAST_SEED").unwrap_or(1);
    for seed in first..first + number("ROWCAST_ROUNDS").unwrap_or(300) {
        let mut state = seed;
        let bytes: Vec<u8> = (0..1500).map(|_| random_byte(&mut state)).collect();
        if std::panic::catch_unwind(|| play(&bytes)).is_err() {
            panic!("seed {seed}: see the conversation above; ROWCAST_SEED={seed} ROWCAST_ROUNDS=1 plays it again");
        }
    }
}

/// SplitMix64.
#[cfg(test)]
fn random_byte(state: &mut u64) -> u8 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 40) as u8
}

/// Plays the conversation that `bytes` are, and fails where the node does something it must not.
pub(crate) fn play(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let mut conversation = Conversation::new(&mut choices);
    for _ in 0..STEPS_MAX {
        if choices.0.is_empty() {
            break;
        }
        conversation.step(&mut choices);
    }
    conversation.end();
}

/// So many things happen at most, for a conversation to be over soon.
const STEPS_MAX: usize = 400;
const CLIENTS: [&str; 4] = ["a", "b", "c", "d"];
/// Fewer than there are clients: they take sessions over from each other.
const CLIENT_IDS: &[&str] = &["x", "x", "y", "z"];
const TOPICS: &[&str] = &[
    "e",
    "e/1",
    "e/1/2",
    "note/1",
    "note/2",
    "dog/1",
    "Dog/1",
    "dog/a/b",
    "counter/1",
    "counter/x",
    "ticket/1",
    "visit/1",
    "dog",
    "shop/orders/7",
    "inside/1",
    "$SYS/x",
    "$mine/1",
    "$get/dog/1",
    "a/*130",
];
const FILTERS: &[&str] = &[
    "#",
    "e/#",
    "e/+",
    "+",
    "+/1",
    "note/#",
    "dog/#",
    "Dog/1",
    "counter/+",
    "e",
    "$share/g/e/#",
    "$share/g/dog/#",
    "$share/h/#",
    "$share/g/note/1",
    "shop/#",
    "inside/#",
    "$mine/#",
    "note/1",
    "#/x",
    "a+",
    "$share/g",
    "\"\"",
];
const PAYLOADS: &[&str] = &[
    "",
    " \"x\"",
    " '{}'",
    " '{\"name\":\"Rex\",\"age\":3}'",
    " '{\"id\":\"2\"}'",
    " '{\"seat\":\"1a\"}'",
    " '{\"value\":1}'",
    " big=150",
    " big=300",
    " '['",
];
const PUBLISH_WORDS: &[&str] = &[
    "",
    "",
    "",
    " expiry=0",
    " expiry=2",
    " alias=1",
    " alias=3",
    " content_type=application/merge-patch+json",
    " prop=if-match:1",
    " prop=if-none-match:*",
    " response=e/1 correlation=k",
    " prop=a:b prop=a:c",
    " format=1",
    " sub=1",
];
const CONNECT_WORDS: &[&str] = &[
    "",
    "",
    "",
    "",
    "",
    " receive_maximum=1",
    " receive_maximum=3",
    " receive_maximum=3",
    " alias_maximum=1",
    " alias_maximum=5",
    " maximum_packet=60",
    " maximum_packet=16",
    " no_problem_information",
    " response_information",
    " method=X",
    " prop=rowcast-meta:1",
    " method=RIDDLE data=rex:bone",
    " method=RIDDLE data=rex",
];
const USERS: &[&str] = &[" user=rex password=bone", " user=bob password=stick", " user=rex password=x"];
const AUTHS: &[&str] =
    &["AUTH 0x18 method=RIDDLE data=bone", "AUTH 0x18 method=X", "AUTH 0x19 method=RIDDLE data=rex", "AUTH 0x00"];
const SUBSCRIBE_WORDS: &[&str] = &["", "", " sub=1", " sub=9", " prop=rowcast-meta:1"];
const OPTIONS: &[&str] = &[
    "",
    " qos=1",
    " qos=2",
    " qos=1 no_local",
    " qos=2 rap",
    " qos=1 handling=1",
    " handling=2",
    " qos=2 no_local rap",
];
const WILLS: &[&str] = &[
    "",
    "",
    " will=e/1 will_payload=\"gone\"",
    " will=note/1 will_payload=\"gone\" will_qos=1 will_retain",
    " will=dog/1 will_payload='{}' will_qos=2 will_retain",
    " will=e/1 will_payload=\"\" will_qos=1",
    " will=$SYS/x will_payload=\"x\"",
];
const EXPIRIES: &[&str] = &["", " expiry=1", " expiry=60", " expiry=60", " expiry=4294967295"];
const WAITS_MS: &[u64] = &[1, 250, 1000, 3000, 11_000, 70_000];
/// What may wait for a client that does not listen, above its limit: the last message and some acknowledgements.
const OUTBOX_SLACK: usize = 4096;

/// Decisions, taken from bytes; zeros once there are no more.
struct Choices<'b>(&'b [u8]);

impl<'b> Choices<'b> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// One in `count` times.
    fn seldom(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    fn take(&mut self, count: usize) -> &'b [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

struct Conversation {
    node: Node,
    limits: Limits,
    clients: Vec<Client>,
    /// Filters that were ever asked for, by client identifier.
    filters: BTreeMap<String, Vec<String>>,
    /// Client identifiers in whose names damaged bytes were sent: what they have asked for is not known, to whoever comes
    /// next under them either.
    wild: BTreeSet<String>,
    /// A CONNECT was damaged: who has which filters is not known.
    is_confused: bool,
    /// The node was told to stop.
    is_over: bool,
    /// What happened so far, as lines of a script.
    lines: String,
}

/// One client, and what its connection must keep to.
struct Client {
    name: &'static str,
    version: Version,
    shard: usize,
    socket: Option<SocketId>,
    client_id: String,
    clean: bool,
    /// What was encoded and not sent yet.
    unsent: Vec<u8>,
    /// What came and is no whole packet yet.
    partial: Vec<u8>,
    /// CONNACK came, and whether it was a welcome.
    welcome: Option<bool>,
    /// DISCONNECT or a refusal came: nothing more may.
    is_ended: bool,
    /// It sent damaged bytes: who knows what they said.
    is_wild: bool,
    packet_max: usize,
    receive_maximum: usize,
    alias_maximum: u16,
    aliases: BTreeMap<u16, String>,
    /// It answered what had not come: how much is under way is not known.
    answers_ahead: bool,
    /// Deliveries that surely wait for an answer.
    in_flight: BTreeMap<u16, QoS>,
    /// Answers it owes, as lines.
    owes: VecDeque<String>,
    /// Acknowledgements that must come, in this order.
    waits: VecDeque<(&'static str, u16)>,
}

impl Conversation {
    fn new(choices: &mut Choices<'_>) -> Conversation {
        let limits = Limits {
            packet_bytes: 1000,
            connect_packet_bytes: 500,
            inflight: choices.pick(&[64, 2]),
            receive_maximum: choices.pick(&[1024, 2]),
            topic_alias_maximum: choices.pick(&[64, 2]),
            outbound_bytes: choices.pick(&[1_000_000, 400]),
            subscriptions_per_client: choices.pick(&[100_000, 3]),
            keep_alive_max_secs: choices.pick(&[0, 5]),
            publishes_per_sec: choices.pick(&[0, 0, 2]),
            ..Limits::default()
        };
        let setup = Setup {
            shards: choices.pick(&[1, 2]),
            limits: limits.clone(),
            open_topics: !choices.seldom(8),
            close_on_rejected: choices.seldom(8),
            seed: 1,
        };
        let shards = setup.shards;
        let clients = CLIENTS.iter().enumerate().map(|(at, &name)| Client::new(name, at % shards)).collect();
        let (filters, lines) = (BTreeMap::new(), format!("shards {shards}\n# {limits:?}\n"));
        let node = Node::new(setup, Store::default());
        Conversation {
            node,
            limits,
            clients,
            filters,
            wild: BTreeSet::new(),
            is_confused: false,
            is_over: false,
            lines,
        }
    }

    /// One thing happens.
    fn step(&mut self, choices: &mut Choices<'_>) {
        let at = choices.below(self.clients.len());
        let is_there = self.clients[at].socket.is_some_and(|socket| self.node.is_open(socket));
        match choices.below(32) {
            0..=22 if !is_there && !choices.seldom(16) => self.connect(at, choices),
            0..=3 => self.connect(at, choices),
            4..=10 => self.publish(at, choices),
            11..=13 => self.subscribe(at, choices),
            14 => {
                let filter = choices.pick(FILTERS);
                let id = choices.below(8) + 1;
                self.clients[at].waits.push_back(("UNSUBACK", id as u16));
                self.say(at, &format!("UNSUBSCRIBE {id} {filter}"), choices);
            }
            15..=17 => self.answer(at, choices.below(8) + 1, choices),
            18 => self.answer_anything(at, choices),
            19 => self.say(at, "PINGREQ", choices),
            20 => {
                let expiry = if self.clients[at].is_v5() { choices.pick(EXPIRIES) } else { "" };
                let reason = choices.pick(&["0x00", "0x04", "0x80"]);
                self.say(at, &format!("DISCONNECT {reason}{expiry}"), choices);
            }
            21 => self.say(at, choices.pick(AUTHS), choices),
            22 => {
                let count = choices.below(12);
                let bytes: Vec<String> = choices.take(count).iter().map(|byte| format!("{byte:02x}")).collect();
                self.clients[at].is_wild = true;
                self.say(at, &format!("HEX {}", bytes.join(" ")), choices);
            }
            23 => self.lose(at),
            24 => {
                let takes = choices.seldom(2);
                self.tell(&format!("{}! {}", self.clients[at].name, if takes { "reads" } else { "stops reading" }));
                if let Some(socket) = self.clients[at].socket {
                    self.node.set_takes(socket, takes);
                }
            }
            25 | 26 => {
                let ms = choices.pick(WAITS_MS);
                self.tell(&format!("wait {ms}ms"));
                self.node.advance(ms);
            }
            27 => self.disturb(choices),
            28 => self.restart(choices.seldom(2)),
            29 => self.tidy_up(choices),
            _ => self.settle(),
        }
        self.go_on(choices);
    }

    /// Nothing, something, or all that is to be done is done.
    fn go_on(&mut self, choices: &mut Choices<'_>) {
        match choices.below(4) {
            0 => {}
            1 => {
                for _ in 0..choices.below(6) {
                    let work = self.node.work();
                    if !work.is_empty() {
                        let work = work[choices.below(work.len())];
                        self.node.perform(work, choices.pick(&[1, 7, 100, usize::MAX]));
                    }
                }
                self.tell("# (goes on a little)");
            }
            _ => self.settle(),
        }
        self.hear();
    }

    fn settle(&mut self) {
        self.tell("# (settles)");
        self.node.settle();
        self.hear();
    }

    // What clients say ---------------------------------------------------------------------------------------------

    fn connect(&mut self, at: usize, choices: &mut Choices<'_>) {
        let is_there = self.clients[at].socket.is_some_and(|socket| self.node.is_open(socket));
        if !is_there || !choices.seldom(8) {
            self.lose(at); // Else a second CONNECT.
        }
        let version = choices.pick(&["v5", "v5", "v3.1.1", "v3.1"]);
        let mut line = format!("CONNECT {version}");
        let client = &mut self.clients[at];
        client.is_wild |= client.socket.is_some();
        client.client_id = choices.pick(CLIENT_IDS).to_owned();
        client.clean = choices.seldom(3);
        let _ = write!(line, "{} id={}", if client.clean { " clean" } else { "" }, client.client_id);
        line.push_str(if choices.seldom(8) { choices.pick(USERS) } else { "" });
        line.push_str(choices.pick(&["", "", "", " keepalive=1"]));
        if version == "v5" {
            line.push_str(choices.pick(EXPIRIES));
            let words = choices.pick(CONNECT_WORDS);
            let number = |key: &str| words.trim().strip_prefix(key).and_then(|number| number.parse::<usize>().ok());
            line.push_str(words);
            client.packet_max = number("maximum_packet=").unwrap_or(usize::MAX);
            client.receive_maximum = number("receive_maximum=").unwrap_or(65_535);
            client.alias_maximum = number("alias_maximum=").unwrap_or(0) as u16;
        }
        line.push_str(choices.pick(WILLS));
        self.say(at, &line, choices);
    }

    fn publish(&mut self, at: usize, choices: &mut Choices<'_>) {
        let qos = choices.below(3);
        let mut line = "PUBLISH".to_owned();
        let client = &mut self.clients[at];
        if qos > 0 {
            let id = choices.below(5) as u16 + 1;
            let _ = write!(line, " {id}");
            client.waits.push_back((if qos == 1 { "PUBACK" } else { "PUBREC" }, id));
        }
        let topic = choices.pick(TOPICS);
        let words = if client.is_v5() { choices.pick(PUBLISH_WORDS) } else { "" };
        if words.contains("alias") && choices.seldom(2) {
            line.push_str(" topic=\"\"");
        } else {
            let _ = write!(line, " {topic}");
        }
        let _ = write!(line, " qos={qos}");
        line.push_str(choices.pick(&["", "", " retain", " retain"]));
        line.push_str(if qos > 0 { choices.pick(&["", "", " dup"]) } else { "" });
        line.push_str(words);
        line.push_str(choices.pick(PAYLOADS));
        self.say(at, &line, choices);
    }

    fn subscribe(&mut self, at: usize, choices: &mut Choices<'_>) {
        let id = choices.below(8) as u16 + 1;
        let mut line = format!("SUBSCRIBE {id}");
        let is_v5 = self.clients[at].is_v5();
        for _ in 0..choices.below(3) + 1 {
            let filter = choices.pick(FILTERS);
            let options = if is_v5 { choices.pick(OPTIONS) } else { choices.pick(&OPTIONS[..3]) };
            let _ = write!(line, " {filter}{options}");
            self.filters.entry(self.clients[at].client_id.clone()).or_default().push(filter.to_owned());
        }
        line.push_str(if is_v5 { choices.pick(SUBSCRIBE_WORDS) } else { "" });
        self.clients[at].waits.push_back(("SUBACK", id));
        self.say(at, &line, choices);
    }

    /// Some of the answers that are owed.
    fn answer(&mut self, at: usize, count: usize, choices: &mut Choices<'_>) {
        for _ in 0..count {
            let Some(line) = self.clients[at].owes.pop_front() else { return };
            self.say(at, &line, choices);
        }
    }

    /// An answer, owed or not.
    fn answer_anything(&mut self, at: usize, choices: &mut Choices<'_>) {
        let kind = choices.pick(&["PUBACK", "PUBREC", "PUBREL", "PUBCOMP"]);
        let id = choices.below(6) + 1;
        self.clients[at].answers_ahead |= !self.clients[at].in_flight.contains_key(&(id as u16));
        let reason = if kind.starts_with("PUBA") || kind == "PUBREC" { choices.pick(&["", "", " 0x80"]) } else { "" };
        let reason = if self.clients[at].is_v5() { reason } else { "" };
        self.say(at, &format!("{kind} {id}{reason}"), choices);
    }

    /// Sends a line, at times in pieces, at times damaged.
    fn say(&mut self, at: usize, line: &str, choices: &mut Choices<'_>) {
        let shard = self.clients[at].shard;
        let socket = match self.clients[at].socket {
            Some(socket) => socket,
            None => self.node.connect(shard, true, false),
        };
        let client = &mut self.clients[at];
        client.socket = Some(socket);
        client.on_said(line);
        let before = client.version;
        let Ok(mut bytes) = text::encode(line, client.name, &mut client.version) else { return };
        if client.welcome.is_some() {
            client.version = before; // A second CONNECT changes nothing.
        }
        if choices.seldom(24) && !bytes.is_empty() {
            let place = choices.below(bytes.len());
            bytes[place] ^= choices.byte();
            client.is_wild = true;
            self.is_confused |= line.starts_with("CONNECT");
        }
        let mut shown = format!("{}> {line}", client.name);
        if client.is_wild {
            self.wild.insert(client.client_id.clone());
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            shown = format!("{}> HEX {}   # {line}", client.name, hex.join(" "));
        }
        client.unsent.extend(bytes);
        let count = if choices.seldom(10) { choices.below(client.unsent.len() + 1) } else { client.unsent.len() };
        let sent: Vec<u8> = client.unsent.drain(..count).collect();
        self.tell(&shown);
        if self.node.is_open(socket) {
            self.node.send(socket, &sent);
        }
    }

    fn lose(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let line = format!("{}! drops", client.name);
        let fresh = Client::new(client.name, client.shard);
        if let Some(socket) = std::mem::replace(client, fresh).socket {
            self.tell(&line);
            self.node.lose(socket);
        }
    }

    // What happens around them -------------------------------------------------------------------------------------

    fn disturb(&mut self, choices: &mut Choices<'_>) {
        let what = choices.below(9);
        let stopped = &mut self.node.stopped;
        let lines =
            ["disk", "accounts", "claims", "reads", "answers", "disk full", "disk empty", "log forgets", "shutdown"];
        match what {
            0 => stopped.disk ^= true,
            1 => stopped.accounts ^= true,
            2 => stopped.claims ^= true,
            3 => stopped.reads ^= true,
            4 => stopped.answers ^= true,
            5 => self.node.store.full = true,
            6 => self.node.store.full = false,
            7 => self.node.store.forget(),
            _ => {
                self.is_over = true;
                self.node.shutdown();
            }
        }
        let goes_on = [stopped_of(&self.node, what)].contains(&Some(false));
        let verb = if what > 4 {
            ""
        } else if goes_on {
            " goes on"
        } else {
            " stops"
        };
        self.tell(&format!("{}{verb}", lines[what]));
    }

    fn restart(&mut self, power_cut: bool) {
        self.tell(if power_cut { "power cut" } else { "restart" });
        for client in &mut self.clients {
            *client = Client::new(client.name, client.shard);
        }
        self.node.store.crash(power_cut);
        self.node.restart();
        self.is_over = false;
    }

    /// Everything goes on, and everyone answers.
    fn tidy_up(&mut self, choices: &mut Choices<'_>) {
        self.node.stopped = Default::default();
        self.node.store.full = false;
        self.tell("disk empty\n# (everything goes on)");
        for at in 0..self.clients.len() {
            if let Some(socket) = self.clients[at].socket {
                self.node.set_takes(socket, true);
            }
            self.settle();
            self.answer(at, usize::MAX, choices);
            self.settle();
        }
    }

    /// At the end somebody new is served.
    fn end(mut self) {
        self.tidy_up(&mut Choices(&[]));
        if self.is_over || self.node.failed.is_some() {
            self.restart(false);
        }
        self.limits.publishes_per_sec = 0;
        let mut witness = Client::new("w", 0);
        witness.client_id = "witness".to_owned();
        self.filters.insert("witness".to_owned(), vec!["dog/witness".to_owned()]);
        self.clients.push(witness);
        let at = self.clients.len() - 1;
        let mut none = Choices(&[]);
        self.say(at, "CONNECT v5 clean id=witness", &mut none);
        self.say(at, "SUBSCRIBE 1 dog/witness qos=1", &mut none);
        self.clients[at].waits.push_back(("SUBACK", 1));
        self.clients[at].waits.push_back(("PUBACK", 2));
        self.say(at, "PUBLISH 2 dog/witness qos=1 \"still served\"", &mut none);
        self.settle();
        let witness = &self.clients[at];
        if witness.welcome != Some(true) || !witness.waits.is_empty() || witness.owes.is_empty() {
            self.fail("a new client is not served");
        }
    }

    // What they hear -----------------------------------------------------------------------------------------------

    fn hear(&mut self) {
        for at in 0..self.clients.len() {
            let Some(socket) = self.clients[at].socket else { continue };
            let came = std::mem::take(self.node.received(socket));
            self.clients[at].partial.extend(came);
            while let Some(frame) = self.clients[at].next_frame() {
                if let Err(mistake) = self.on_frame(at, &frame) {
                    self.fail(&format!("{}: {mistake}", self.clients[at].name));
                }
            }
            let waits = self.node.outbox_len(socket);
            let bound = self.limits.outbound_bytes as usize + OUTBOX_SLACK;
            if waits > bound {
                self.fail(&format!("{} bytes wait for {}, {bound} may", waits, self.clients[at].name));
            }
        }
    }

    fn on_frame(&mut self, at: usize, frame: &[u8]) -> Result<(), String> {
        let client = &mut self.clients[at];
        let as_asked = Packet::decode(client.version, frame);
        // Who asked in a version that nobody speaks is answered in the oldest form, or the newest.
        let others = [Version::V311, Version::V5].map(|version| Packet::decode(version, frame));
        let packet = match (as_asked, others) {
            (Ok(packet), _) => packet,
            (Err(_), [Ok(packet), _] | [_, Ok(packet)]) if client.is_wild => packet,
            (Err(error), _) => return Err(format!("{error}: {frame:02x?}")),
        };
        let line = text::describe(&packet, client.version, &self.limits);
        let _ = writeln!(self.lines, "{}< {line}", client.name);
        if client.is_ended {
            return Err("something came behind the end".to_owned());
        }
        if client.version == Version::V5 && frame.len() > client.packet_max && !client.is_wild {
            return Err(format!("a packet of {} bytes", frame.len()));
        }
        if let Packet::Publish(publish) = &packet {
            let topic = client.topic_of(publish)?;
            let asked = self.filters.get(&client.client_id).into_iter().flatten();
            let mut filters = asked.filter_map(|filter| TopicFilter::new(filter).ok());
            let parsed = Topic::new(&topic).map_err(|error| error.to_string())?;
            let is_known = !self.is_confused && !self.wild.contains(&client.client_id);
            if is_known && !filters.any(|filter| filter.matches(&parsed)) {
                return Err(format!("{topic} was not asked for"));
            }
        }
        client.on_packet(&packet, &self.limits)
    }

    fn tell(&mut self, line: &str) {
        let _ = writeln!(self.lines, "{line}");
    }

    #[track_caller]
    fn fail(&self, mistake: &str) -> ! {
        panic!("{mistake}");
    }
}

/// A conversation that ends in a panic is shown.
impl Drop for Conversation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.lines);
        }
    }
}

/// Whether the thing is stopped, if it is one that can be.
fn stopped_of(node: &Node, what: usize) -> Option<bool> {
    let stopped = &node.stopped;
    [stopped.disk, stopped.accounts, stopped.claims, stopped.reads, stopped.answers].get(what).copied()
}

impl Client {
    fn new(name: &'static str, shard: usize) -> Client {
        Client {
            name,
            version: Version::V5,
            shard,
            socket: None,
            client_id: String::new(),
            clean: false,
            unsent: Vec::new(),
            partial: Vec::new(),
            welcome: None,
            is_ended: false,
            is_wild: false,
            answers_ahead: false,
            packet_max: usize::MAX,
            receive_maximum: 65_535,
            alias_maximum: 0,
            aliases: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            owes: VecDeque::new(),
            waits: VecDeque::new(),
        }
    }

    fn is_v5(&self) -> bool {
        self.version == Version::V5
    }

    fn next_frame(&mut self) -> Option<Vec<u8>> {
        let length = frame_length(&self.partial, u32::MAX).expect("a frame from the server")?;
        (self.partial.len() >= length).then(|| self.partial.drain(..length).collect())
    }

    /// What it says may settle a delivery.
    fn on_said(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (kind, id) = (words.next().unwrap_or_default(), words.next().and_then(|id| id.parse::<u16>().ok()));
        let settles = matches!(kind, "PUBACK" | "PUBCOMP") || (kind == "PUBREC" && line.ends_with("0x80"));
        if let Some(id) = id.filter(|_| settles) {
            self.in_flight.remove(&id);
        }
    }

    fn topic_of(&mut self, publish: &Publish<'_>) -> Result<String, String> {
        let alias = publish.properties.topic_alias;
        if alias.is_some_and(|alias| alias > self.alias_maximum && !self.is_wild) {
            return Err(format!("alias {alias:?}"));
        }
        match (publish.topic, alias) {
            ("", Some(alias)) => self.aliases.get(&alias).cloned().ok_or(format!("alias {alias} stands for nothing")),
            ("", None) => Err("no topic".to_owned()),
            (topic, alias) => {
                self.aliases.extend(alias.map(|alias| (alias, topic.to_owned())));
                Ok(topic.to_owned())
            }
        }
    }

    fn on_packet(&mut self, packet: &Packet<'_>, limits: &Limits) -> Result<(), String> {
        match packet {
            Packet::Connack(connack) => {
                if self.welcome.is_some() {
                    return Err("a second CONNACK".to_owned());
                }
                if connack.session_present && self.clean && !self.is_wild {
                    return Err("a clean session was present".to_owned());
                }
                self.welcome = Some(!connack.reason.is_error());
                self.is_ended = connack.reason.is_error();
                return Ok(());
            }
            Packet::Auth(auth) if auth.reason == ReasonCode::ContinueAuthentication => return Ok(()),
            _ if self.welcome != Some(true) => return Err("something came before CONNACK".to_owned()),
            Packet::Disconnect(_) => self.is_ended = true,
            Packet::Publish(publish) => return self.on_publish(publish, limits),
            Packet::Pubrel(ack) => self.owes.push_back(format!("PUBCOMP {}", ack.packet_id.get())),
            Packet::Puback(ack) | Packet::Pubrec(ack) => {
                if let (Packet::Pubrec(_), false) = (packet, ack.reason.is_error()) {
                    self.owes.push_back(format!("PUBREL {}", ack.packet_id.get()));
                }
                return self.on_answer(packet.name(), ack.packet_id);
            }
            Packet::Suback(suback) => return self.on_answer("SUBACK", suback.packet_id),
            Packet::Unsuback(unsuback) => return self.on_answer("UNSUBACK", unsuback.packet_id),
            _ => {}
        }
        Ok(())
    }

    /// Answers come in the order of what they answer.
    fn on_answer(&mut self, kind: &'static str, id: PacketId) -> Result<(), String> {
        match self.waits.pop_front() {
            Some(expected) if expected == (kind, id.get()) => Ok(()),
            _ if self.is_wild => Ok(()),
            other => Err(format!("{kind} {} where {other:?} must come", id.get())),
        }
    }

    fn on_publish(&mut self, publish: &Publish<'_>, limits: &Limits) -> Result<(), String> {
        let Some(id) = publish.packet_id else { return Ok(()) };
        let again = self.in_flight.insert(id.get(), publish.qos).is_some();
        let most = self.receive_maximum.min(limits.inflight.into());
        if again && !self.is_wild && !self.answers_ahead {
            return Err(format!("identifier {} is in flight already", id.get()));
        }
        if self.in_flight.len() > most && !self.is_wild && !self.answers_ahead {
            return Err(format!("{} in flight, {most} may be", self.in_flight.len()));
        }
        let answer = if publish.qos == QoS::AtLeastOnce { "PUBACK" } else { "PUBREC" };
        self.owes.push_back(format!("{answer} {}", id.get()));
        Ok(())
    }
}
