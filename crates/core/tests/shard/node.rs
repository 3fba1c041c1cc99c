//! A node without threads or sockets: carries out what its shards ask for, in an order of the test's choosing.
//!
//! Over a model of the store for packet scripts, over the real one for the simulator (`crates/store/tests/simulate`).

use bytes::Bytes;
use rowcast_codec::{QoS, ReasonCode};
use rowcast_core::catalog::Catalog;
use rowcast_core::limits::Limits;
use rowcast_core::policy::{PasswordMark, Policy, Principal, Role};
use rowcast_core::reach::Reach;
use rowcast_core::replay::{Located, Sought};
use rowcast_core::schema::{Schema, Source};
use rowcast_core::session_quota::SessionQuota;
use rowcast_core::shard::{
    Claimant, ConnectionId, Effect, Fetched, Found, Input, Moment, Peer, Previous, Progress, Reader, Report, Round,
    ScannedRecord, Settings, Shard, StoredRows, Wanted,
};
use rowcast_core::tables::{Range, Tables};
use rowcast_core::{
    Batch, Change, ChangeKind, Completion, Durability, Proposals, Record, Sequence, SessionId, TableId, sys,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Where a node keeps its log and its tables. Times are milliseconds since 1970.
pub(crate) trait Keep {
    /// The last committed sequence.
    fn committed(&self) -> Sequence;

    /// One turn of the writer: what was appended, and what became of each of `proposals`.
    fn commit(&mut self, proposals: Vec<(Origin, Proposals)>, now_ms: u64) -> Result<Turn, Failed>;

    /// What is due once a second: records expire. Returns what was appended.
    fn tick(&mut self, now_ms: u64) -> Result<Option<Arc<Batch>>, Failed>;

    /// What there is when the node starts.
    fn found(&self) -> Found;

    /// The log behind `after`, and where it begins if that is later than what was asked for.
    fn read_log(&self, after: Sequence, bytes: usize) -> Result<(Vec<Arc<Batch>>, Option<Sequence>), Failed>;

    /// Records of a range, and whether it holds no more.
    fn read_records(
        &self,
        range: &Range,
        after: Option<&[u8]>,
        records: usize,
        bytes: usize,
    ) -> (Vec<ScannedRecord>, bool);

    /// A record, encoded, expired or not.
    fn record(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, Box<str>>;

    /// Where the past begins that somebody asks for.
    fn locate(&self, sought: &Sought) -> Result<Located, Failed>;

    /// Messages for redelivery.
    fn fetch(&self, wanted: Vec<Wanted>) -> Result<Vec<(u64, Fetched)>, Failed>;

    /// What is kept under a client identifier.
    fn session_rows(&self, client_id: &str, now_ms: u64) -> StoredRows;
}

/// Who proposed something: a shard; `None`: somebody else.
pub(crate) type Origin = Option<usize>;

/// What a turn of the writer appended, and what became of the proposals, by origin.
pub(crate) type Turn = (Option<Arc<Batch>>, Vec<(Origin, Vec<Completion>)>);

/// The disk does not do what it should: where the writer is concerned, the process ends. Why, in words.
#[derive(Clone, Debug)]
pub(crate) struct Failed(pub(crate) String);

/// Some shards, a writer, a directory of client identifiers, accounts, sockets.
pub(crate) struct Node<S> {
    setup: Setup,
    tables: Arc<Tables>,
    roles: BTreeMap<Box<str>, Role>,
    /// Those that have a row of their own: their roles.
    accounts: BTreeMap<String, Box<str>>,
    /// How often each was given another password.
    passwords: BTreeMap<String, u32>,
    shards: Vec<Shard>,
    pub(crate) store: S,
    now_ms: u64,
    starts: u64,
    /// What is on its way to each shard.
    mail: Vec<VecDeque<Input>>,
    /// Handed to the writer, by which shard; `None`: by somebody else.
    proposed: VecDeque<(Origin, Proposals)>,
    jobs: VecDeque<(usize, Effect)>,
    /// What reads and the checking of passwords brought, and nobody has heard yet.
    answers: VecDeque<(usize, Input)>,
    /// What groups could not read, to be tried again after a while.
    unread: Vec<(usize, Input)>,
    pub(crate) directory: BTreeMap<Box<str>, Owner>,
    /// Who was asked the riddle.
    asked: BTreeMap<(usize, u32), String>,
    /// Who may do everything now.
    promoted: Vec<String>,
    sockets: Vec<Socket>,
    pub(crate) reports: Vec<Report>,
    /// What became of what somebody else than the shards proposed.
    pub(crate) completions: Vec<Completion>,
    /// The writer is: the node has to be started again.
    pub(crate) failed: Option<Failed>,
    pub(crate) stopped: Stopped,
    /// What the server says of itself.
    sys: Vec<sys::Value>,
    pub(crate) reach: Arc<Reach>,
}

/// What a node is made with.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) shards: usize,
    pub(crate) limits: Limits,
    pub(crate) open_topics: bool,
    pub(crate) close_on_rejected: bool,
    pub(crate) seed: u64,
}

/// What does not get on for now.
#[derive(Default)]
pub(crate) struct Stopped {
    pub(crate) disk: bool,
    pub(crate) accounts: bool,
    pub(crate) claims: bool,
    pub(crate) reads: bool,
    /// Reads are done, and nobody hears what they brought.
    pub(crate) answers: bool,
}

/// Whose a client identifier is.
pub(crate) struct Owner {
    shard: usize,
    connection: ConnectionId,
    user: Option<Arc<str>>,
    arrival: u64,
}

/// One client's connection.
struct Socket {
    shard: usize,
    connection: ConnectionId,
    /// Sent by the client, not taken by the shard yet.
    inbound: Vec<u8>,
    /// Written by the shard, not looked at by the client yet.
    outbound: Vec<u8>,
    /// Whether the client takes what is written.
    takes: bool,
    dirty: bool,
    open: bool,
}

/// Which socket of a [`Node`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SocketId(usize);

/// Something that could happen next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    /// A shard looks at what was posted to it.
    Mail(usize),
    /// A read, or the checking of a password, is done.
    Job(usize),
    /// A shard hears what it brought.
    Answer(usize),
    /// A shard hands over what it has for the writer and for other shards.
    HandOver(usize),
    /// The writer commits what it has.
    Write,
    /// A socket is written and read.
    Socket(SocketId),
}

/// Milliseconds since 1970 when a test begins.
pub(crate) const EPOCH_MS: u64 = 1_700_000_000_000;
/// Accounts: name, password, whether it may do everything.
const USERS: [(&str, &str, bool); 3] = [("rex", "bone", true), ("eve", "apple", true), ("bob", "stick", false)];
pub(crate) const SCHEMA: &str = include_str!("../scripts/schema.graphql");

impl<S: Keep> Node<S> {
    pub(crate) fn new(setup: Setup, store: S) -> Node<S> {
        let mut node = Node {
            tables: Arc::new(declared_tables(SCHEMA)),
            roles: BTreeMap::new(),
            accounts: BTreeMap::new(),
            passwords: BTreeMap::new(),
            shards: Vec::new(),
            store,
            now_ms: 0,
            starts: 0,
            mail: Vec::new(),
            proposed: VecDeque::new(),
            jobs: VecDeque::new(),
            answers: VecDeque::new(),
            unread: Vec::new(),
            directory: BTreeMap::new(),
            asked: BTreeMap::new(),
            promoted: Vec::new(),
            sockets: Vec::new(),
            reports: Vec::new(),
            completions: Vec::new(),
            failed: None,
            stopped: Stopped::default(),
            sys: Vec::new(),
            reach: Reach::new(0),
            setup,
        };
        node.start();
        node
    }

    /// The process ended without a word, and the store is what that left of it: starts again.
    pub(crate) fn restart(&mut self) {
        self.mail.clear();
        self.proposed.clear();
        self.jobs.clear();
        self.answers.clear();
        self.unread.clear();
        self.directory.clear();
        self.completions.clear();
        self.failed = None;
        for socket in &mut self.sockets {
            socket.open = false;
        }
        self.start();
    }

    fn start(&mut self) {
        self.starts += 1;
        let now = self.moment();
        let found = self.store.found();
        let reach = Reach::new(self.setup.shards);
        let arrivals = Arc::default();
        let session_quota = SessionQuota::restored(self.setup.seed ^ self.starts, &found, now.committed);
        self.shards = (0..self.setup.shards)
            .map(|index| {
                let settings = Settings {
                    index: index as u32,
                    shards: self.setup.shards as u32,
                    limits: self.setup.limits.clone(),
                    open_topics: self.setup.open_topics,
                    close_on_rejected: self.setup.close_on_rejected,
                    seed: self.setup.seed ^ self.starts << 32 ^ (index as u64) << 16,
                    reach: Arc::clone(&reach),
                    session_quota: Arc::clone(&session_quota),
                    arrivals: Arc::clone(&arrivals),
                    filters_at_once: 2,
                    // By seed: nearly all documents are large, or some.
                    large_document_bytes: if self.setup.seed.is_multiple_of(2) { 1 } else { 32 },
                };
                Shard::restored(settings, Arc::clone(&self.tables), self.policy(), &found, now)
            })
            .collect();
        self.mail = (0..self.setup.shards).map(|_| VecDeque::new()).collect();
        self.reach = Arc::clone(&reach);
        for shard in 0..self.shards.len() {
            self.collect(shard);
            self.hand_over(shard);
        }
        self.write(usize::MAX); // Nobody gets in before it is written down what the end of the last run means.
    }

    pub(crate) fn wall_ms(&self) -> u64 {
        EPOCH_MS + self.now_ms
    }

    fn moment(&self) -> Moment {
        Moment {
            monotonic_ms: self.now_ms,
            wall_ms: self.wall_ms(),
            committed: self.store.committed(),
            undecided: !self.proposed.is_empty(),
        }
    }

    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The number of a declared table.
    pub(crate) fn table(&self, name: &str) -> TableId {
        let table = self.tables.catalog().tables().iter().find(|table| &*table.name == name);
        self.tables.id(table.expect("a declared table"))
    }

    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Time goes by; nothing else happens meanwhile.
    pub(crate) fn advance(&mut self, ms: u64) {
        self.now_ms += ms;
        self.answers.extend(self.unread.drain(..));
        let now = self.moment();
        for shard in 0..self.shards.len() {
            self.shards[shard].tick(now);
            self.collect(shard);
        }
        if !self.stopped.disk && self.failed.is_none() {
            match self.store.tick(now.wall_ms) {
                Ok(batch) => self.post(batch.as_ref()),
                Err(failed) => self.failed = Some(failed),
            }
        }
    }

    /// A change from somewhere else than MQTT.
    pub(crate) fn propose(&mut self, proposals: Proposals) {
        self.proposed.push_back((None, proposals));
    }

    /// Whoever is found to be `user` from now on may do everything.
    pub(crate) fn promote(&mut self, user: &str) {
        self.promoted.push(user.to_owned());
    }

    /// A value of the server's own is another one. Who listens hears of it; returns whether anybody does.
    pub(crate) fn set_sys(&mut self, topic: &str, payload: &str) -> bool {
        let value = sys::Value { topic: topic.to_owned(), payload: payload.to_owned() };
        let mut entry = Vec::new();
        sys::encode_value(&value, &mut entry);
        self.sys.retain(|other| other.topic != topic);
        self.sys.push(value);
        self.tell_sys(topic, entry)
    }

    fn tell_sys(&mut self, topic: &str, entry: Vec<u8>) -> bool {
        let is_heard = self.reach.anyone_may_want(topic);
        if is_heard {
            let entry = Bytes::from(entry);
            self.mail.iter_mut().for_each(|mail| mail.push_back(Input::Events(entry.clone())));
        }
        is_heard
    }

    fn on_report(&mut self, report: Report) {
        let event = match &report {
            Report::Connected(arrival) => Some((&arrival.client_id, "connected")),
            Report::Disconnected { client_id, .. } => Some((client_id, "disconnected")),
            _ => None,
        };
        if let Some((client_id, what)) = event {
            let mut entry = Vec::new();
            let topic = sys::client_topic(client_id, what);
            sys::encode_event(&topic, b"{}", &mut entry);
            self.tell_sys(&topic, entry);
        }
        self.reports.push(report);
    }

    /// The node is told to stop.
    pub(crate) fn shutdown(&mut self) {
        for mail in &mut self.mail {
            mail.push_back(Input::Shutdown);
        }
    }

    /// Another schema takes the place of this one.
    pub(crate) fn reload(&mut self, schema: &str) {
        self.tables = Arc::new(declared_tables(schema));
        let policy = self.policy();
        for mail in &mut self.mail {
            mail.push_back(Input::Tables(Arc::clone(&self.tables)));
            mail.push_back(Input::Policy(Arc::clone(&policy)));
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.setup.limits
    }

    /// The configuration is read again, and has these bounds now.
    pub(crate) fn configure(&mut self, limits: Limits) {
        for mail in &mut self.mail {
            mail.push_back(Input::Configured {
                limits: Box::new(limits.clone()),
                open_topics: self.setup.open_topics,
                close_on_rejected: self.setup.close_on_rejected,
            });
        }
        self.setup.limits = limits;
    }

    /// A role is changed, or `None`: taken away.
    pub(crate) fn set_role(&mut self, name: &str, role: Option<Role>) {
        match role {
            Some(role) => drop(self.roles.insert(name.into(), role)),
            None => drop(self.roles.remove(name)),
        }
        let policy = self.policy();
        for mail in &mut self.mail {
            mail.push_back(Input::Policy(Arc::clone(&policy)));
        }
    }

    /// An account is made or changed, or `None`: taken away. Whoever has one signs in with any password.
    pub(crate) fn set_account(&mut self, name: &str, role: Option<&str>) {
        let password = self.stored_password(name);
        let row = |role| format!(r#"{{"role":"{role}","superUser":false,"active":true,"password":"{password}"}}"#);
        let row = role.map(row);
        match role {
            Some(role) => drop(self.accounts.insert(name.to_owned(), role.into())),
            None => drop(self.accounts.remove(name)),
        }
        let change = Change {
            kind: if row.is_some() { ChangeKind::Put } else { ChangeKind::Delete },
            qos: QoS::AtLeastOnce,
            table: TableId::USERS,
            key: name.as_bytes(),
            publisher: SessionId::NONE,
            expires_ms: None,
            properties: &[],
            payload: row.as_deref().unwrap_or_default().as_bytes(),
        };
        let mut proposals = Proposals::default();
        proposals.push(None, Durability::Sync, &[change]);
        self.propose(proposals);
    }

    /// An account is given another password.
    pub(crate) fn change_password(&mut self, name: &str) {
        *self.passwords.entry(name.to_owned()).or_default() += 1;
        let role = self.accounts.get(name).cloned();
        self.set_account(name, role.as_deref());
    }

    fn stored_password(&self, name: &str) -> String {
        self.passwords.get(name).copied().unwrap_or_default().to_string()
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::new(Policy::new(&self.roles, &self.tables))
    }

    // Sockets -----------------------------------------------------------------------------------------------------

    pub(crate) fn connect(&mut self, shard: usize, trusted: bool, is_beyond: bool) -> SocketId {
        let trusted = trusted.then(|| Principal { super_user: true, ..Principal::default() }.into());
        let peer = Peer { trusted, address: "192.0.2.1:1".into(), is_beyond, ..Peer::default() };
        let now = self.moment();
        let connection = self.shards[shard].accept(peer, now);
        let (inbound, outbound) = (Vec::new(), Vec::new());
        self.sockets.push(Socket { shard, connection, inbound, outbound, takes: true, dirty: false, open: true });
        SocketId(self.sockets.len() - 1)
    }

    /// The client sends.
    pub(crate) fn send(&mut self, id: SocketId, bytes: &[u8]) {
        let socket = &mut self.sockets[id.0];
        socket.inbound.extend_from_slice(bytes);
        socket.dirty = true;
    }

    /// What was written to the client since the last time.
    pub(crate) fn received(&mut self, id: SocketId) -> &mut Vec<u8> {
        &mut self.sockets[id.0].outbound
    }

    pub(crate) fn is_open(&self, id: SocketId) -> bool {
        self.sockets[id.0].open
    }

    /// Whether the shard has taken all that the client sent.
    pub(crate) fn has_taken(&self, id: SocketId) -> bool {
        self.sockets[id.0].inbound.is_empty()
    }

    /// Whether the client takes what is written.
    pub(crate) fn set_takes(&mut self, id: SocketId, takes: bool) {
        self.sockets[id.0].takes = takes;
        self.sockets[id.0].dirty = true;
    }

    /// Bytes that wait to be written to the client.
    pub(crate) fn outbox_len(&mut self, id: SocketId) -> usize {
        let Socket { shard, connection, open, .. } = self.sockets[id.0];
        if !open {
            return 0;
        }
        let length = self.shards[shard].outbox(connection).map_or(0, |outbox| outbox.len());
        self.sockets[id.0].dirty |= length > 0; // The shard thinks that it was looked at.
        length
    }

    /// Whether the connection is open, and nothing is on the way in either direction.
    pub(crate) fn is_clear(&mut self, id: SocketId) -> bool {
        let socket = &self.sockets[id.0];
        socket.open && socket.inbound.is_empty() && socket.outbound.is_empty() && self.outbox_len(id) == 0
    }

    /// Whether the shard has taken all that the client sent.
    pub(crate) fn has_read(&self, id: SocketId) -> bool {
        self.sockets[id.0].inbound.is_empty()
    }

    /// What shards hold, all of them together.
    pub(crate) fn shard(&self, index: usize) -> &Shard {
        &self.shards[index]
    }

    /// Whether the shard has ended the connection, be it closed already or not.
    pub(crate) fn has_ended(&self, id: SocketId) -> bool {
        let Socket { shard, connection, open, .. } = self.sockets[id.0];
        !open || self.shards[shard].state(connection).is_none_or(|state| state.closes)
    }

    /// What the client sent and the shard has not taken is lost, and it takes nothing more. The shard does not know.
    pub(crate) fn vanish(&mut self, id: SocketId) {
        self.sockets[id.0].inbound.clear();
        self.sockets[id.0].takes = false;
    }

    /// The connection is lost.
    pub(crate) fn lose(&mut self, id: SocketId) {
        let now = self.moment();
        let socket = &mut self.sockets[id.0];
        if std::mem::take(&mut socket.open) {
            let (shard, connection) = (socket.shard, socket.connection);
            self.shards[shard].disconnected(connection, now);
            self.collect(shard);
        }
    }

    /// Reads and writes a socket; at most `bytes` of what waits to be written.
    fn serve(&mut self, id: SocketId, mut bytes: usize) {
        let now = self.moment();
        let socket = &mut self.sockets[id.0];
        socket.dirty = false;
        if !socket.open {
            return;
        }
        let (shard, connection) = (socket.shard, socket.connection);
        let state = self.shards[shard].state(connection);
        if state.is_some_and(|state| state.reads || state.closes) && !socket.inbound.is_empty() {
            let taken = self.shards[shard].receive(connection, &socket.inbound, now);
            socket.inbound.drain(..taken);
            // Else the shard says when it takes more.
            socket.dirty |= taken > 0 && !socket.inbound.is_empty();
        }
        let mut written = 0;
        if let Some(outbox) = self.shards[shard].outbox(connection)
            && socket.takes
        {
            while !outbox.is_empty() && bytes > 0 {
                let front = outbox.front();
                let count = front.len().min(bytes);
                socket.outbound.extend_from_slice(&front[..count]);
                outbox.advance(count);
                bytes -= count;
                written += count;
            }
            socket.dirty |= !outbox.is_empty();
        }
        if written > 0 && self.shards[shard].written(connection, written) {
            self.shards[shard].go_on(connection, now);
        }
        self.collect(shard);
        let closes = self.shards[shard].state(connection).is_none_or(|state| state.closes);
        let left = self.shards[shard].outbox(connection).map_or(0, |outbox| outbox.len());
        if closes && left == 0 {
            self.lose(id);
        } else if left > 0 && self.sockets[id.0].takes {
            self.sockets[id.0].dirty = true;
        }
    }

    // What happens next -------------------------------------------------------------------------------------------

    /// Everything that could happen next.
    pub(crate) fn work(&self) -> Vec<Work> {
        let mail = (0..self.mail.len()).filter(|&shard| match self.mail[shard].front() {
            Some(Input::Claimed { .. }) => !self.stopped.claims,
            front => front.is_some(),
        });
        let jobs = (0..self.jobs.len()).filter(|&job| match &self.jobs[job].1 {
            Effect::Authenticate { .. } | Effect::Exchange { .. } => !self.stopped.accounts,
            Effect::LoadSession { .. } => true,
            _ => !self.stopped.reads,
        });
        let sockets = (0..self.sockets.len()).filter(|&socket| self.sockets[socket].dirty);
        let answers = 0..if self.stopped.answers { 0 } else { self.answers.len() };
        let write = (!self.stopped.disk && self.failed.is_none() && !self.proposed.is_empty()).then_some(Work::Write);
        (0..self.shards.len())
            .filter(|&shard| self.shards[shard].has_handover())
            .map(Work::HandOver)
            .chain(mail.map(Work::Mail))
            .chain(answers.map(Work::Answer))
            .chain(sockets.map(|socket| Work::Socket(SocketId(socket))))
            .chain(jobs.map(Work::Job))
            .chain(write)
            .collect()
    }

    /// Does it. `amount`: how much of it at most, in bytes of a socket or proposals of the writer.
    pub(crate) fn perform(&mut self, work: Work, amount: usize) {
        let now = self.moment();
        match work {
            Work::Mail(shard) => {
                if let Some(input) = self.mail[shard].pop_front() {
                    self.shards[shard].input(input, now);
                    self.collect(shard);
                }
            }
            Work::Job(job) => {
                if let Some((shard, job)) = self.jobs.remove(job) {
                    self.carry_out(shard, job);
                }
            }
            Work::Answer(answer) => {
                if let Some((shard, input)) = self.answers.remove(answer) {
                    self.read_mail(shard);
                    let now = self.moment();
                    self.shards[shard].input(input, now);
                    self.collect(shard);
                }
            }
            Work::HandOver(shard) => self.hand_over(shard),
            Work::Write => self.write(amount),
            Work::Socket(socket) => {
                self.read_mail(self.sockets[socket.0].shard);
                self.serve(socket, amount);
            }
        }
    }

    /// A shard looks at its mail before it looks at anything else.
    fn read_mail(&mut self, shard: usize) {
        for _ in 0..TURNS_MAX {
            if !self.work().contains(&Work::Mail(shard)) {
                return;
            }
            self.perform(Work::Mail(shard), usize::MAX);
        }
        panic!("the mail of shard {shard} does not end: {:?}", self.mail[shard]);
    }

    /// Lets everything happen until nothing is left to do, in a fixed order.
    pub(crate) fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            match self.work().first() {
                Some(&work) => self.perform(work, usize::MAX),
                None => return,
            }
        }
        panic!("the node does not come to rest: {:?}", self.work());
    }

    fn write(&mut self, amount: usize) {
        let count = self.proposed.len().min(amount);
        let proposals: Vec<_> = self.proposed.drain(..count).collect();
        let (batch, completions) = match self.store.commit(proposals, self.wall_ms()) {
            Ok(turn) => turn,
            Err(failed) => return self.failed = Some(failed),
        };
        // All have the batch before anybody hears that something in it is done.
        self.post(batch.as_ref());
        for (origin, completions) in completions.into_iter().filter(|(_, completions)| !completions.is_empty()) {
            match origin {
                Some(shard) => self.mail[shard].push_back(Input::Committed { batch: None, completions }),
                None => self.completions.extend(completions),
            }
        }
    }

    /// Shows a batch to all shards.
    fn post(&mut self, batch: Option<&Arc<Batch>>) {
        let Some(batch) = batch else { return };
        for mail in &mut self.mail {
            mail.push_back(Input::Committed { batch: Some(Arc::clone(batch)), completions: Vec::new() });
        }
    }

    /// Takes what a shard wants done.
    fn collect(&mut self, shard: usize) {
        let mut effects = Vec::new();
        self.shards[shard].take_effects(&mut effects);
        for effect in effects {
            match effect {
                Effect::Wake(connection) => {
                    let woken = |socket: &&mut Socket| socket.shard == shard && socket.connection == connection;
                    if let Some(socket) = self.sockets.iter_mut().filter(|socket| socket.open).find(woken) {
                        socket.dirty = true;
                    }
                }
                Effect::Claim { client_id, user, claimant } => self.claim(client_id, user, claimant),
                Effect::Release { client_id, connection } => {
                    let owns = |owner: &Owner| owner.shard == shard && owner.connection == connection;
                    if self.directory.get(&client_id).is_some_and(owns) {
                        self.directory.remove(&client_id);
                    }
                }
                Effect::HandOff { claimant, session } => {
                    self.answer(claimant, session.map_or(Previous::Unread, Previous::Live));
                }
                Effect::Report(report) => self.on_report(report),
                Effect::Later(input) => self.answers.push_back((shard, *input)),
                Effect::Share { shard, mail } => self.mail[shard as usize].push_back(Input::Share(mail)),
                Effect::Lag(lag) => {
                    let others = self.mail.iter_mut().enumerate().filter(|(other, _)| *other != shard);
                    others.for_each(|(_, mail)| mail.push_back(Input::Lag(lag.clone())));
                }
                job => self.jobs.push_back((shard, job)),
            }
        }
    }

    /// A shard's turn ends: what it proposed and passed on leaves in one piece.
    fn hand_over(&mut self, shard: usize) {
        for (other, events) in self.shards[shard].take_events() {
            self.mail[other as usize].push_back(Input::Events(events));
        }
        if let Some(proposals) = self.shards[shard].take_proposals() {
            self.proposed.push_back((Some(shard), proposals));
        }
    }

    fn claim(&mut self, client_id: Box<str>, user: Option<Arc<str>>, claimant: Claimant) {
        let Claimant { connection, arrival, only_takes_over, .. } = claimant;
        let owner = Owner { shard: claimant.shard as usize, connection, user, arrival };
        match self.directory.get(&client_id) {
            None if only_takes_over => self.answer(claimant, Previous::NoRoom),
            None => {
                self.directory.insert(client_id, owner);
                self.answer(claimant, Previous::Unread);
            }
            Some(current) if current.user != owner.user => self.answer(claimant, Previous::Refused),
            Some(current) if current.arrival > arrival => self.answer(claimant, Previous::Overtaken),
            Some(current) => {
                let evict = Input::Evict { connection: current.connection, claimant };
                self.mail[current.shard].push_back(evict);
                self.directory.insert(client_id, owner);
            }
        }
    }

    fn answer(&mut self, claimant: Claimant, previous: Previous) {
        let input = Input::Claimed { connection: claimant.connection, previous };
        self.mail[claimant.shard as usize].push_back(input);
    }

    /// Whose password that is.
    fn known(&self, user: &str, password: &[u8]) -> Option<Principal> {
        let name = Some(user.into());
        if let Some(role) = self.accounts.get(user) {
            let password = Some(PasswordMark::of(&self.stored_password(user)));
            let role = (&**role).into();
            return Some(Principal { user: name, role, super_user: false, has_account: true, password });
        }
        let (_, _, super_user) =
            *USERS.iter().find(|(name, secret, _)| *name == user && secret.as_bytes() == password)?;
        let is_promoted = self.promoted.iter().any(|name| name == user);
        Some(Principal { user: name, super_user: super_user || is_promoted, ..Principal::default() })
    }

    /// A method for tests: the client says who it is, is asked for its password, and says that; or says both at once.
    fn riddle(&mut self, client: (usize, u32), round: Round, data: &str) -> Result<Progress, ReasonCode> {
        let (name, password) = match (round, data.split_once(':')) {
            (Round::First, Some((name, password))) => (name.to_owned(), password),
            (Round::First, None) => {
                self.asked.insert(client, data.to_owned());
                return Ok(Progress::Challenge(format!("password of {data}?").into_bytes()));
            }
            (Round::Next, _) => (self.asked.remove(&client).expect("it was asked"), data),
        };
        let principal = self.known(&name, password.as_bytes()).ok_or(ReasonCode::NotAuthorized)?;
        let data = Some(format!("welcome {name}").into_bytes());
        Ok(Progress::Known { principal, data })
    }

    fn carry_out(&mut self, shard: usize, job: Effect) {
        let input = match job {
            Effect::LoadSession { client_id, connection } => {
                let rows = self.store.session_rows(&client_id, self.wall_ms());
                Input::Claimed { connection, previous: Previous::Stored(rows) }
            }
            Effect::Authenticate { connection, user, password } => {
                let result = self.known(&user, &password).ok_or(ReasonCode::BadUserNameOrPassword);
                Input::Authenticated { connection, result }
            }
            Effect::Exchange { connection, method, round, data } => {
                let data = String::from_utf8(data.unwrap_or_default()).unwrap_or_default();
                let result = match &*method {
                    "RIDDLE" => self.riddle((shard, connection.slot), round, &data),
                    _ => Err(ReasonCode::BadAuthenticationMethod),
                };
                Input::Exchanged { connection, result }
            }
            Effect::ReadLog { reader, after, bytes } => match self.store.read_log(after, bytes) {
                Ok((batches, lost_until)) => Input::LogRead { reader, batches, lost_until },
                Err(_) => {
                    let none = Input::LogRead { reader, batches: Vec::new(), lost_until: None };
                    return self.not_read(shard, reader, none);
                }
            },
            Effect::ReadRecords { connection, range, after, records, .. } if range.table == TableId::SYS => {
                let (records, complete) = sys::page(&self.sys, &range, after.as_deref(), records);
                Input::RecordsRead { connection, records: records.into(), complete }
            }
            Effect::ReadRecords { connection, range, after, records, bytes } => {
                let (records, complete) = self.store.read_records(&range, after.as_deref(), records, bytes);
                Input::RecordsRead { connection, records: records.into(), complete }
            }
            Effect::Locate { connection, sought } => match self.store.locate(&sought) {
                Ok(located) => Input::Located { connection, located },
                Err(_) => return self.abort(shard, connection),
            },
            Effect::Prepare { connection, preparation } => {
                let now_ms = self.wall_ms();
                let decision = match self.store.record(preparation.table, &preparation.key) {
                    Ok(record) => {
                        let record = record.as_deref().map(|bytes| Record::decode(bytes).expect("it was encoded"));
                        preparation.ahead(record.filter(|record| !record.is_expired(now_ms)).as_ref(), now_ms)
                    }
                    Err(_) => preparation.in_turn(),
                };
                Input::Prepared { connection, decision }
            }
            Effect::Get { connection, table, key } => Input::Got { connection, record: self.store.record(table, &key) },
            Effect::Fetch { reader, messages } => match self.store.fetch(messages) {
                Ok(messages) => Input::Fetched { reader, messages },
                Err(_) => return self.not_read(shard, reader, Input::Fetched { reader, messages: Vec::new() }),
            },
            Effect::LoadWill { client_id, number } => {
                let row = self.store.session_rows(&client_id, self.wall_ms()).will;
                Input::WillLoaded { client_id, number, row }
            }
            Effect::CollectRows { client_id } => {
                let rows = self.store.session_rows(&client_id, self.wall_ms());
                Input::Purge { client_id, rows }
            }
            other => unreachable!("{other:?} is no job"),
        };
        self.answers.push_back((shard, input));
    }

    /// The log cannot be read: a client is sent away, a group tries again later.
    fn not_read(&mut self, shard: usize, reader: Reader, none: Input) {
        match reader {
            Reader::Connection(connection) => self.abort(shard, connection),
            Reader::Group(_) => self.unread.push((shard, none)),
        }
    }

    fn abort(&mut self, shard: usize, connection: ConnectionId) {
        let now = self.moment();
        self.shards[shard].abort(connection, now);
        self.collect(shard);
    }
}

/// Beyond it, something goes round and round.
const TURNS_MAX: usize = 1_000_000;

fn declared_tables(schema: &str) -> Tables {
    let source = Source { name: "schema.graphql".into(), text: schema.into() };
    let schema = Schema::parse(&[source]).expect("a schema");
    Tables::new(Catalog::new(schema), Durability::Sync, |table| TableId(64 + table.index.0))
}
