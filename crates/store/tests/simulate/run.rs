//! One run: clients that come, go, publish and subscribe, a node that ends and starts, a disk that fails, everything
//! in any order that can happen. What must hold is said by `client`, `group`, `will` and `book`.

use crate::Node;
use crate::book::{ANSWERS, Book, Condition, ELSEWHERE, Hidden, Kind, Message, TOPICS};
use crate::bounds;
use crate::client::{Client, FILTERS, GROUPS, GUARDED, Nature, World};
use crate::group::{Groups, Note};
use crate::kept::Kept;
use crate::node::{EPOCH_MS, Failed, Keep, SCHEMA, Setup, Work};
use crate::random::Random;
use crate::will::Wills;
use rowcast_codec::{QoS, Version};
use rowcast_core::limits::Limits;
use rowcast_core::policy::{Role, TableGrant, TopicGrant};
use rowcast_core::shard::{Found, Gauges, Report, Shard};
use rowcast_core::{
    Change, ChangeKind, Decision, Durability, Outcome, Proposals, Record, Rejection, SessionId, TableId, Token,
};
use rowcast_store::Crash;

/// Where and what went wrong.
pub(crate) type Mistake = (usize, String);

/// What clients do most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Focus {
    /// A bit of everything.
    All,
    /// They share subscriptions: with each QoS, coming and going.
    Groups,
    /// What some of them may read changes.
    Rights,
}

/// How large a run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) steps: usize,
    pub(crate) clients: usize,
}

impl Size {
    pub(crate) const USUAL: Size = Size { steps: 1500, clients: 6 };
}

pub(crate) struct Run {
    random: Random,
    focus: Focus,
    node: Node,
    limits: Limits,
    clients: Vec<Client>,
    book: Book,
    wills: Wills,
    groups: Groups,
    size: Size,
    /// The disk has no room now.
    full: bool,
    /// Some clients may not read some topics, or will not be able to in a moment.
    hides: bool,
    /// Reports that were looked at.
    reported: usize,
}

/// Rounds in which everything must come to rest at the end.
const ROUNDS: usize = 3_000;
/// Ticks in which what clients leave behind must be gone.
const TICKS: usize = 4;
/// Bytes of the largest packet there is.
const PACKET_BYTES_MAX: usize = 500;

impl Run {
    pub(crate) fn new(seed: u64, size: Size) -> Run {
        let mut random = Random(seed);
        let focus = match seed % 10 {
            GROUPS_DIGIT => Focus::Groups,
            RIGHTS_DIGIT => Focus::Rights,
            _ => Focus::All,
        };
        let shards = 1 + random.below(4);
        let limits = bounds::limits(&mut random, size.clients);
        let clients =
            (0..size.clients).map(|index| Client::new(index, nature(&mut random, &limits, (focus, index)), &limits));
        let clients: Vec<Client> = clients.collect();
        let setup = Setup { shards, limits: limits.clone(), open_topics: true, close_on_rejected: false, seed };
        let mut node = Node::new(setup, Kept::new(seed, EPOCH_MS));
        if focus == Focus::Rights {
            node.set_role(GUARDED, Some(role(false)));
            node.set_account(GUARDED, Some(GUARDED));
            node.settle();
        }
        Run {
            random,
            focus,
            node,
            limits,
            clients,
            book: Book::new(focus == Focus::Rights),
            wills: Wills::default(),
            groups: Groups::default(),
            size,
            full: false,
            hides: false,
            reported: 0,
        }
    }

    pub(crate) fn run(mut self) -> Result<(), Mistake> {
        for step in 0..self.size.steps {
            self.step().and_then(|()| self.look()).map_err(|mistake| (step, mistake))?;
        }
        self.end().map_err(|mistake| (self.size.steps, mistake))
    }

    fn step(&mut self) -> Result<(), String> {
        let work = self.node.work();
        if !work.is_empty() && self.random.below(3) > 0 {
            let work = self.random.of(&work);
            let amount = match work {
                Work::Socket(_) => 1 + self.random.below(200),
                _ => 1 + self.random.below(4),
            };
            if crate::traces() {
                println!("        {work:?}, {amount}");
            }
            self.node.perform(work, amount);
            return Ok(());
        }
        if self.focus == Focus::Rights && self.random.one_in(60) {
            match self.random.one_in(3) {
                true => self.reload(),
                false => self.hide(!self.hides),
            }
            return Ok(());
        }
        let index = self.random.below(self.clients.len());
        match self.random.below(100) {
            0..2 => self.trouble(),
            2..10 => {
                let ms = 50 + self.random.below(400) as u64;
                self.pass(ms);
                Ok(())
            }
            10..12 => self.propose(),
            _ => self.client_step(index),
        }
    }

    fn client_step(&mut self, index: usize) -> Result<(), String> {
        let client = &mut self.clients[index];
        if client.socket.is_none() {
            self.connect(index);
            return Ok(());
        }
        match self.random.below(88) {
            0..3 => self.go(index)?,
            3..6 => {
                let takes = self.random.below(3) > 0;
                client.set_takes(&mut self.node, takes);
            }
            6..11 if client.can_ask() => {
                let shares = client.is_v5() && self.random.one_in(4) == (self.focus != Focus::Groups);
                let mut filters = vec![if shares { self.random.of(&GROUPS) } else { self.random.of(&FILTERS) }];
                while !shares && self.random.one_in(4) {
                    let another = self.random.of(&FILTERS);
                    filters.retain(|&filter| filter != another);
                    filters.push(another);
                }
                client.subscribe(&mut self.node, &mut self.book, &filters, &mut self.random);
            }
            11..12 if client.can_ask() => {
                let filter = match self.focus {
                    Focus::All | Focus::Rights => self.random.of(&FILTERS),
                    Focus::Groups => self.random.of(&GROUPS),
                };
                client.unsubscribe(&mut self.node, &self.book, filter);
            }
            12..42 if client.can_publish() => self.publish(index),
            42..62 => {
                let count = 1 + self.random.below(3);
                client.answer(&mut self.node, count);
            }
            62..63 => client.silent = self.random.one_in(4),
            _ => self.hear(index)?,
        }
        Ok(())
    }

    // What clients do ----------------------------------------------------------------------------------------------

    fn connect(&mut self, index: usize) {
        let shard = self.random.below(self.node.shards());
        let clean = self.random.one_in(20);
        let will = self.random.one_in(3).then(|| {
            let topic = self.random.of(&TOPICS);
            let kind = if self.random.one_in(2) { Kind::Put } else { Kind::Event };
            let qos = self.random.qos();
            let message = Message { is_will: true, ..Message::new(index, topic, kind, qos) };
            let is_v5 = self.clients[index].is_v5();
            self.book.messages.push(message);
            let delay_secs = if is_v5 { self.random.of(&[0, 1, 4]) } else { 0 };
            (self.book.messages.len() - 1, delay_secs)
        });
        self.clients[index].connect(&mut self.node, (&self.book, &mut self.wills), shard, clean, will);
    }

    /// In one of several ways, of which a taking over is one.
    fn go(&mut self, index: usize) -> Result<(), String> {
        let (client, wills) = (&mut self.clients[index], &mut self.wills);
        match self.random.below(6) {
            0..3 => client.cut(&mut self.node, wills),
            3 => {
                let expiry_secs = self.random.of(&[None, None, Some(0), Some(3)]);
                let left = client.leave(&mut self.node, wills, expiry_secs);
                left.map_err(|mistake| format!("{}: {mistake}", client.name))?;
            }
            // Of two connections, the one is heard last that is authenticated last.
            _ if client.nature.guarded => client.cut(&mut self.node, wills),
            _ => {
                client.vanish(&mut self.node, wills);
                if self.random.one_in(2) {
                    self.connect(index);
                }
            }
        }
        Ok(())
    }

    fn message(&mut self, publisher: usize) -> Message {
        let topic = self.random.of(&TOPICS);
        let kind = self.random.of(&[Kind::Put, Kind::Put, Kind::Event, Kind::Event, Kind::Event, Kind::Delete]);
        let is_v5 = self.clients.get(publisher).is_some_and(Client::is_v5);
        let mut message = Message::new(publisher, topic, kind, self.random.qos());
        if self.random.one_in(6) {
            message.padding = self.random.below(300);
        }
        if is_v5 && kind == Kind::Put && topic == "dog/1" && self.random.one_in(2) {
            message.kind = Kind::Patch;
        }
        if is_v5 && kind == Kind::Event && self.random.one_in(8) {
            if !self.clients[publisher].may_miss(topic) {
                (message.asks, message.topic) = (Some(topic), ANSWERS);
            }
            return message;
        }
        if is_v5 && kind != Kind::Delete && self.random.one_in(8) {
            let secs = 1 + self.random.below(5) as u32;
            message.expiry_secs = Some(secs);
        }
        if is_v5 && kind == Kind::Put && message.kind == Kind::Put && self.random.one_in(6) {
            let version = self.book.state(topic, self.node.wall_ms()).map(|state| state.version);
            message.condition = Some(match version {
                Some(version) if self.random.below(3) > 0 => Condition::Version(version),
                _ => Condition::Absent,
            });
        }
        message
    }

    fn publish(&mut self, publisher: usize) {
        let message = self.message(publisher);
        let number = self.publish_message(publisher, message);
        let client = &mut self.clients[publisher];
        client.publish(&mut self.node, &self.book, number, &mut self.random);
    }

    /// Writes down what is about to be published, and who must get it.
    fn publish_message(&mut self, publisher: usize, mut message: Message) -> usize {
        let number = self.book.messages.len();
        let now = self.node.wall_ms();
        message.epoch = self.clients.get(publisher).map_or(0, Client::epoch);
        message.expires_ms = message.expiry_secs.map(|secs| now + u64::from(secs) * 1000 + DELAY_MS);
        if self.clients.iter().all(|client| client.takes(&message) && !client.may_miss(message.topic)) {
            self.groups.expect(&message, number);
        }
        self.clients.iter_mut().for_each(|client| client.expect(&message, number, now));
        self.book.messages.push(message);
        number
    }

    /// A change that comes from elsewhere than MQTT, as HTTP makes it.
    fn propose(&mut self) -> Result<(), String> {
        let kind = self.random.of(&[Kind::Put, Kind::Put, Kind::Event, Kind::Delete]);
        let topic = self.random.of(&["note/a", "note/b", "open/x"]);
        self.publish_elsewhere(Message::new(ELSEWHERE, topic, kind, QoS::AtLeastOnce))
    }

    fn publish_elsewhere(&mut self, message: Message) -> Result<(), String> {
        let (topic, kind) = (message.topic, message.kind);
        let number = self.publish_message(ELSEWHERE, message);
        let (mut key, mut canonical) = (Vec::new(), String::new());
        self.node.tables().place(topic, &mut key, &mut canonical).map_err(|error| error.to_string())?;
        let table = if topic.starts_with("note") { self.node.table("Note") } else { TableId::TOPICS };
        let payload = self.book.messages[number].payload(number);
        let change = Change {
            kind: match kind {
                Kind::Put | Kind::Patch => ChangeKind::Put,
                Kind::Delete => ChangeKind::Delete,
                Kind::Event => ChangeKind::Message,
            },
            qos: QoS::AtLeastOnce,
            table,
            key: &key,
            publisher: SessionId::NONE,
            expires_ms: None,
            properties: &[],
            payload: &payload,
        };
        let token = Some(Token(number as u64));
        let mut proposals = Proposals::default();
        if kind == Kind::Put && self.random.one_in(4) {
            self.book.messages[number].condition = Some(Condition::Absent);
            let mut entry = Vec::new();
            change.encode(&mut entry);
            let decide = move |record: Option<&Record<'_>>, _, out: &mut Vec<u8>| match record {
                Some(record) => Err(Rejection::Condition(Some(record.version))),
                None => {
                    out.extend_from_slice(&entry);
                    Ok(())
                }
            };
            proposals.push_decided(token, Durability::Sync, Decision::new(table, key.clone(), Box::new(decide)), &[]);
        } else {
            proposals.push(token, Durability::Sync, &[change]);
        }
        self.node.propose(proposals);
        Ok(())
    }

    fn hear(&mut self, index: usize) -> Result<(), String> {
        let mut world = World { book: &mut self.book, wills: &mut self.wills, groups: &mut self.groups };
        self.clients[index].hear(&mut self.node, &mut world)
    }

    /// Takes the right to read some topics from some clients, or gives it back.
    fn hide(&mut self, hides: bool) {
        if crate::traces() {
            println!("some is hidden from {GUARDED}: {hides}");
        }
        (self.hides, self.book.hidden) = (hides, None);
        self.node.set_role(GUARDED, Some(role(hides)));
    }

    /// Reads the schema again, which is what it was: nobody may notice.
    fn reload(&mut self) {
        if crate::traces() {
            println!("the schema is read again");
        }
        self.node.reload(SCHEMA);
    }

    // What happens to the node -------------------------------------------------------------------------------------

    fn pass(&mut self, ms: u64) {
        self.node.advance(ms);
        for client in &mut self.clients {
            client.keep_alive(&mut self.node);
        }
    }

    fn trouble(&mut self) -> Result<(), String> {
        let disk = self.node.store.disk.clone();
        match self.random.below(10) {
            0 => self.restart(Some(Crash::Process)),
            1..3 => self.restart(Some(Crash::Power)),
            3 => self.restart(None),
            4 => {
                disk.crash_at(disk.operations() + self.random.below(40) as u64);
                Ok(())
            }
            5 => {
                disk.fail_sync_at(disk.syncs() + self.random.below(10) as u64);
                Ok(())
            }
            6 if !self.full => {
                self.set_full(true);
                Ok(())
            }
            8 if !disk.is_down() => {
                self.node.store.harm();
                Ok(())
            }
            _ => {
                self.node.store.heal();
                self.set_full(false);
                Ok(())
            }
        }
    }

    fn set_full(&mut self, full: bool) {
        let disk = &self.node.store.disk;
        let room = self.random.below(300) as u64;
        disk.set_capacity(full.then(|| disk.bytes() + room));
        self.full = full;
    }

    /// `crash`: how it ends; `None`: in good order.
    fn restart(&mut self, crash: Option<Crash>) -> Result<(), String> {
        if crate::traces() {
            println!("the node ends: {crash:?}");
        }
        let mut loses = crash.is_some();
        self.clients.iter_mut().for_each(|client| client.suspect_end(&self.node));
        self.node.store.heal(); // What a node makes of a log that is damaged when it starts, `crash.rs` tests.
        match crash {
            Some(crash) => {
                if crash == Crash::Process && self.node.failed.is_none() && !self.node.store.disk.is_down() {
                    loses = false;
                }
                self.set_full(false);
                let now = self.node.wall_ms();
                loses |= self.node.store.recover(crash, now)?;
            }
            None => {
                self.set_full(false);
                self.node.shutdown();
                let now = self.node.wall_ms();
                for client in self.clients.iter_mut().filter(|client| client.socket.is_some()) {
                    client.lost(now, &mut self.wills, true);
                }
                self.node.settle();
                self.read_book()?;
                let now = self.node.wall_ms();
                if self.node.failed.is_some() || self.node.store.close(now).is_err() {
                    return self.restart(Some(Crash::Power));
                }
            }
        }
        let opened_at = self.node.store.committed();
        self.node.restart();
        let now = self.node.wall_ms();
        for client in &mut self.clients {
            client.restarted(now, &mut self.wills);
        }
        self.wills.restarted(now);
        self.groups.restarted(&self.clients);
        self.book.reopened(opened_at, loses)?;
        if loses {
            self.clients.iter_mut().for_each(|client| client.power_lost(&self.book));
        }
        self.read_book()
    }

    // What must hold at any time -----------------------------------------------------------------------------------

    fn look(&mut self) -> Result<(), String> {
        if let Some(Failed(why)) = self.node.failed.clone() {
            if crate::traces() {
                println!("the writer has failed: {why}");
            }
            let crash = if self.random.one_in(2) { Crash::Power } else { Crash::Process };
            self.restart(Some(crash))?;
        }
        self.read_book()?;
        self.complete()?;
        self.check_outboxes()?;
        let now = self.node.wall_ms();
        if self.full {
            self.wills.excuse();
        }
        let idle = self.node.work().is_empty();
        for client in &mut self.clients {
            let is_clear = client.socket.is_none_or(|socket| self.node.is_clear(socket));
            client.excused = self.full || (client.excused && !(idle && is_clear));
            client.is_disk_harmed = self.node.store.is_harmed() || (client.is_disk_harmed && !(idle && is_clear));
            if client.excused {
                client.doubt_outgoing();
                self.groups.excuse(client.index);
            }
            // What a group gave it is not its own any more, though it may hear it yet.
            if client.socket.is_some_and(|socket| self.node.has_ended(socket)) {
                client.notes.push(Note::Left);
            }
            for note in std::mem::take(&mut client.notes) {
                self.groups.note(client.index, &client.nature, note);
            }
        }
        for client_id in std::mem::take(&mut self.book.ended) {
            for client in self.clients.iter_mut().filter(|client| client.name == client_id) {
                client.outlived = client.socket.filter(|&socket| self.node.has_ended(socket));
                self.groups.end_session(client.index);
            }
        }
        self.groups.look(&self.clients, now);
        for report in &self.node.reports[self.reported..] {
            if crate::traces() {
                println!("        {report:?}");
            }
            if let Report::Refused { client_id, words, .. } = report
                && client_id.is_empty()
            {
                return Err(format!("nobody is said to be refused: {words}"));
            }
            if let Report::LostEvents { client_id, .. } = report {
                if !self.node.store.cuts() {
                    return Err(format!("{client_id} loses events of a log that is whole"));
                }
                if client_id.starts_with("$share/") {
                    self.clients.iter_mut().for_each(Client::lose_group_events);
                }
                self.groups.lose_events(client_id);
                let lost = self.clients.iter_mut().filter(|client| *client.name == **client_id);
                lost.for_each(|client| client.lose_events());
            }
        }
        self.reported = self.node.reports.len();
        if idle {
            self.book.clock += 1;
            self.book.idle_at = self.book.clock;
            if self.hides && self.book.hidden.is_none() {
                self.book.hidden = Some(Hidden { clock: self.book.clock, first: self.book.messages.len() });
            }
            self.wills.settled();
            self.wills.check(now)?;
            self.check_sessions()?;
        }
        Ok(())
    }

    fn read_book(&mut self) -> Result<(), String> {
        for client in &self.clients {
            client.suspect(&self.node, &mut self.wills);
        }
        self.book.read(&self.node.store.store, self.node.tables())?;
        for (number, at) in std::mem::take(&mut self.book.news) {
            self.wills.fire(number, at)?;
        }
        Ok(())
    }

    /// Whoever proposed something from elsewhere hears of it.
    fn complete(&mut self) -> Result<(), String> {
        for completion in std::mem::take(&mut self.node.completions) {
            let number = completion.token.0 as usize;
            match completion.outcome {
                Outcome::Done { sequence, .. } => {
                    if self.book.messages[number].sequence.is_some_and(|at| at != sequence.0) {
                        return Err(format!("{number} is said to be {sequence}"));
                    }
                    self.book.accept(number)?;
                }
                Outcome::Absent => {}
                Outcome::Rejected(_) => self.book.refuse(number)?,
                Outcome::Full if self.full => self.book.refuse(number)?,
                Outcome::Full => return Err("full, with room on the disk".to_owned()),
                Outcome::Unreadable(words) => return Err(format!("on tables in memory: {words}")),
            }
        }
        Ok(())
    }

    fn check_outboxes(&mut self) -> Result<(), String> {
        for client in &self.clients {
            let Some(socket) = client.socket else { continue };
            let length = self.node.outbox_len(socket);
            let allowed = self.limits.outbound_bytes as usize;
            if length > allowed + PACKET_BYTES_MAX {
                return Err(format!("{length} bytes wait for {}, {allowed} allowed", client.name));
            }
        }
        Ok(())
    }

    /// There are no more sessions than may be.
    fn check_sessions(&self) -> Result<(), String> {
        let most = self.limits.sessions as usize;
        if most >= self.clients.len() {
            return Ok(());
        }
        match self.node.store.found().sessions.len() {
            count if count > most => Err(format!("{count} sessions are stored, {most} allowed")),
            _ => Ok(()),
        }
    }

    // What must hold at the end ------------------------------------------------------------------------------------

    fn end(&mut self) -> Result<(), String> {
        let disk = self.node.store.disk.clone();
        disk.crash_at(u64::MAX);
        disk.fail_sync_at(u64::MAX);
        self.node.store.heal();
        self.set_full(false);
        self.pass(300); // What could not be read is tried again after a while.
        self.settle()?;
        let now = self.node.wall_ms();
        for client in &self.clients {
            client.check_complete(&self.book, self.node.store.cuts())?;
            for topic in TOPICS {
                client.check_state(topic, &self.book, now)?;
            }
        }
        self.groups.check_complete(&self.book)?;
        self.check_records()?;
        self.check_turns()?;
        self.check_empty()
    }

    /// Members of a group that have room take turns.
    fn check_turns(&mut self) -> Result<(), String> {
        for (group, topic) in [(0, "note/a"), (1, "open/x")] {
            let members: Vec<usize> =
                (0..self.clients.len()).filter(|&index| self.clients[index].is_in(group)).collect();
            // Who gets copies from elsewhere as well may have no room; and nobody may know who is in.
            let is_crowded = |client: &Client| client.wants_itself(topic) || (group == 0 && client.is_in(1));
            let mut clients = self.clients.iter();
            let is_guarded = |client: &Client| client.is_in(group) && client.nature.guarded;
            if self.clients.iter().any(is_guarded) {
                continue;
            }
            if clients.any(|client| client.may_be_in_any() || (client.is_in(group) && is_crowded(client))) {
                continue;
            }
            let (first, changes) = (self.book.messages.len(), self.book.changes());
            for _ in &members {
                let message = Message::new(ELSEWHERE, topic, Kind::Event, QoS::AtLeastOnce);
                self.publish_elsewhere(message)?;
                self.settle()?;
            }
            if self.book.changes() > changes + members.len() {
                continue; // Records that expired meanwhile took turns as well.
            }
            for &index in &members {
                let given = (first..self.book.messages.len()).filter(|&number| self.groups.holds(group, index, number));
                let given = given.count();
                if given != 1 {
                    return Err(format!("{} of {members:?} got {given} of {}", index, GROUPS[group]));
                }
            }
        }
        Ok(())
    }

    /// Everybody comes back and says what is to be said, and what is due happens.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS {
            for index in 0..self.clients.len() {
                self.clients[index].silent = false;
                match self.clients[index].socket {
                    None => {
                        let shard = self.random.below(self.node.shards());
                        let world = (&self.book, &mut self.wills);
                        self.clients[index].connect(&mut self.node, world, shard, false, None);
                    }
                    Some(_) => self.clients[index].set_takes(&mut self.node, true),
                }
                self.hear(index)?;
                self.clients[index].answer(&mut self.node, usize::MAX);
            }
            self.node.settle();
            self.look()?;
            let mut idle = true;
            for index in 0..self.clients.len() {
                self.hear(index)?;
                let client = &self.clients[index];
                idle &= client.is_idle() && client.socket.is_none_or(|socket| self.node.has_taken(socket));
            }
            self.look()?;
            if idle && self.node.work().is_empty() {
                return Ok(());
            }
            self.pass(300);
        }
        Err("no rest at the end".to_owned())
    }

    /// Everybody goes for good, and leaves nothing behind.
    fn check_empty(&mut self) -> Result<(), String> {
        for client in &self.clients {
            let socket = self.node.connect(0, !client.nature.guarded, false);
            client.end_session(&mut self.node, socket);
            self.node.settle();
            self.node.lose(socket);
            self.node.settle();
        }
        // What is stored of groups, and what waits until somebody looks, goes within a few ticks.
        for _ in 0..TICKS {
            self.node.advance(300);
            self.node.settle();
        }
        match self.remains() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("all have gone, and there are {}", left.join(", "))),
        }
    }

    /// What is left of clients, in memory and on disk.
    fn remains(&self) -> Vec<String> {
        let Found { subscriptions, handshakes, groups, claims, sessions, wills } = self.node.store.found();
        let shards = (0..self.node.shards()).map(|index| self.node.shard(index));
        let counts = [
            ("client identifiers that are owned", self.node.directory.len()),
            ("stored sessions", sessions.len()),
            ("stored subscriptions", subscriptions.len()),
            ("stored handshakes", handshakes.len()),
            ("stored wills", wills.len()),
            ("stored groups", groups.len()),
            ("stored claims", claims.len()),
            ("busy shards", shards.clone().filter(|shard| !shard.is_quiet()).count()),
            ("topics that are wanted", TOPICS.iter().filter(|topic| self.node.reach.anyone_may_want(topic)).count()),
        ];
        let counted = counts.into_iter().filter(|&(_, count)| count > 0).map(|(what, count)| format!("{count} {what}"));
        let gauges = shards.map(Shard::gauges).filter(|&gauges| gauges != Gauges::default());
        counted.chain(gauges.map(|gauges| format!("{gauges:?}"))).collect()
    }

    /// The tables say what the log does.
    fn check_records(&self) -> Result<(), String> {
        let now = self.node.wall_ms();
        for topic in TOPICS {
            let (mut key, mut canonical) = (Vec::new(), String::new());
            self.node.tables().place(topic, &mut key, &mut canonical).map_err(|error| error.to_string())?;
            let table = self
                .node
                .tables()
                .catalog()
                .tables()
                .iter()
                .find(|table| topic.split('/').next().is_some_and(|first| table.name.eq_ignore_ascii_case(first)));
            let table = table.map_or(TableId::TOPICS, |table| self.node.tables().id(table));
            let found = self.node.store.store.get(table, &key).map_err(|error| error.to_string())?;
            let found = found.as_ref().and_then(|bytes| bytes.record().ok());
            let found = found.filter(|record| !record.is_expired(now)).map(|record| record.version.0);
            let right = self.book.state(topic, now).map(|state| state.version);
            if found != right {
                return Err(format!("{topic} is at {found:?} in the tables, and {right:?} in the log"));
            }
        }
        Ok(())
    }
}

/// Seeds that end in this are about groups.
const GROUPS_DIGIT: u64 = 7;
/// Those that end in this are about rights.
const RIGHTS_DIGIT: u64 = 5;
pub(crate) const FOCUSED_DIGITS: [u64; 2] = [GROUPS_DIGIT, RIGHTS_DIGIT];
/// How long a publish may be on its way to the server; milliseconds.
const DELAY_MS: u64 = 20_000;

fn nature(random: &mut Random, limits: &Limits, (focus, index): (Focus, usize)) -> Nature {
    let version = match focus {
        Focus::All | Focus::Rights => random.of(&[Version::V5, Version::V5, Version::V5, Version::V311, Version::V31]),
        Focus::Groups => Version::V5,
    };
    let is_v5 = version == Version::V5;
    // Before MQTT 5, who does not know whether a session has ended cannot begin another one that lasts.
    let may_last = is_v5 || limits.session_expiry_max_secs > 500_000;
    let expiry_asked = match random.below(6) {
        0 | 1 => 0,
        _ if !may_last => 0,
        2 if is_v5 => 4,
        _ => 500_000,
    };
    let share_qos = match focus {
        Focus::All | Focus::Rights if expiry_asked > 0 && index.is_multiple_of(2) => QoS::ExactlyOnce,
        Focus::All | Focus::Rights => QoS::AtLeastOnce,
        Focus::Groups => {
            let (one, two) = (QoS::AtLeastOnce, QoS::ExactlyOnce);
            random.of(&[one, one, one, one, two, two, two, QoS::AtMostOnce])
        }
    };
    Nature {
        version,
        expiry_asked,
        expiry_secs: limits.session_expiry_max_secs.min(expiry_asked),
        share_qos,
        packet_max: (is_v5 && random.one_in(5)).then(|| 250 + random.below(100) as u32),
        receive_maximum: 1 + random.below(5) as u16,
        alias_maximum: random.of(&[0, 2, 10]),
        keep_alive_secs: random.of(&[0, 0, 5]),
        as_published: is_v5 && random.one_in(4),
        guarded: focus == Focus::Rights && random.one_in(2),
    }
}

/// What the role of some clients is: whether what [`is_hidden`] means is hidden from it.
fn role(hides: bool) -> Role {
    let tables = ["Note", "Dog", "Ticket", "Visit", "Lamp"].map(|table| TableGrant {
        table: table.into(),
        read: !hides || table != "Note",
        insert: true,
        update: true,
        delete: true,
        publish: true,
        attributes: None,
    });
    let read = |filter: &str| TopicGrant { filter: filter.into(), read: true, publish: false };
    let publish = TopicGrant { filter: "#".into(), read: !hides, publish: true };
    Role { super_user: false, tables: tables.into(), topics: vec![publish, read("open/y"), read("open/z")] }
}
