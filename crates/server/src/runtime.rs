//! A thread per core: sockets and timers around a [`Shard`], and what it asks for carried out.
//!
//! A shard's thread owns its connections. Other threads reach it through its [`Inbox`] only; it reaches them through
//! theirs, the writer's queue and the directory of client identifiers. Within the thread everything runs as tasks of
//! one tokio runtime: a task a connection ([`mqtt`](crate::mqtt)), and one that ends each turn: what the connections
//! proposed and passed on in it leaves in one piece.

mod directory;
mod inbox;
mod needed;
mod refused;

pub use directory::Directory;
pub use inbox::{Inbox, Message};
pub use needed::NotWithout;

use crate::access::Access;
use crate::admission::{Admission, Place, Refusals};
use crate::audit::{self, Audit, Event, Kind};
use crate::auth::{AuthError, Authenticator, Exchange, Lease, Method, SignedIn, Step};
use crate::clients::{Clients, Connected};
use crate::db::{Db, DbError, now_ms};
use crate::peer::Peer;
use crate::sys::Sys;
use directory::Claim;
use refused::{Again, Refused, Tell, brief};
use rowcast_codec::ReasonCode;
use rowcast_core::limits::TURN_EVENT_BYTES_MAX;
use rowcast_core::policy::Principal;
use rowcast_core::shard::{
    Arrival, Claimant, ConnectionId, Effect, Input, Moment, Previous, Progress, Reader, Report, Round, Shard,
};
use rowcast_core::{Proposals, Sequence, TableId};
use rowcast_store::{Origin, Queue, ReadError, Store, reads};
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What all shards of the node share.
pub struct Node {
    /// The log and the tables, for readers.
    pub store: Store,
    /// What waits for the writer.
    pub queue: Queue,
    /// The same store for whoever waits for answers.
    pub db: Db,
    /// Who is who.
    pub authenticator: Authenticator,
    /// Who may do what.
    pub access: Arc<Access>,
    /// Where to say who came in, and who did not.
    pub audit: Audit,
    /// Who is let in.
    pub admission: Arc<Admission>,
    /// Connections that were refused because they, or their sessions, are too many.
    pub refusals: Arc<Refusals>,
    /// What the node knows of itself.
    pub sys: Arc<Sys>,
    /// Which connection has which client identifier.
    pub directory: Directory,
    /// By shard.
    pub inboxes: Vec<Arc<Inbox>>,
    /// When the node started: the zero of the monotonic clock.
    pub started: Instant,
}

impl Node {
    /// The time, and how far the log is.
    #[must_use]
    pub fn now(&self) -> Moment {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let undecided = self.queue.has_undecided(); // Before the sequence: what is decided on is part of that.
        Moment {
            monotonic_ms: self.started.elapsed().as_millis() as u64,
            wall_ms: wall.as_millis() as u64,
            committed: self.store.committed(),
            undecided,
        }
    }
}

/// One shard's thread, as its tasks see it.
pub struct Runtime {
    node: Arc<Node>,
    index: u32,
    shard: RefCell<Shard>,
    /// Of the connections' tasks, by slot.
    wakers: RefCell<Vec<Option<Waker>>>,
    /// The other ends of connections, by slot.
    visitors: RefCell<Vec<Visitor>>,
    /// Connections whose tokens expire, by when they do, in seconds since 1970.
    expiring: RefCell<BTreeSet<(u64, ConnectionId)>>,
    /// What was said so far by connections whose clients prove who they are in several steps.
    exchanges: RefCell<FxHashMap<ConnectionId, Exchange>>,
    /// Why the next client is refused, and as whom it came.
    why: Cell<Option<(Option<Box<str>>, AuthError)>>,
    /// Clients that were refused something of late.
    rejected: RefCell<Refused>,
    /// Proposals the queue had no room for.
    refused: RefCell<Option<Proposals>>,
    /// Connections whose sockets are not read until there is room again, by slot.
    stalled: RefCell<FxHashSet<u32>>,
    effects: RefCell<Vec<Effect>>,
    /// What the shard goes on with once others had their turn; one for each connection or group at most.
    later: RefCell<VecDeque<Input>>,
    inputs: RefCell<Vec<Message>>,
    turn_due: Cell<bool>,
    /// Bytes read from whichever socket is read now.
    pub(crate) buffer: RefCell<Box<[u8]>>,
}

/// What is known of a connection's other end, and is not the shard's to know.
struct Visitor {
    address: IpAddr,
    /// Keeps the password it came in with from being hashed again while it is here.
    lease: Option<Lease>,
    /// When the token it came in with expires, in seconds since 1970.
    until_secs: Option<u64>,
    method: Method,
}

impl Default for Visitor {
    fn default() -> Visitor {
        Visitor { address: IpAddr::from([0, 0, 0, 0]), lease: None, until_secs: None, method: Method::Nothing }
    }
}

/// Bytes read from a socket at once: many packets a system call, and few enough that others get their turn.
const READ_BYTES: usize = 64 * 1024;
/// What the audit log calls the doors of MQTT.
const MQTT: &str = "mqtt";
/// How long to wait before trying again what failed.
const FAILED_WAIT: Duration = Duration::from_secs(1);
/// How long to wait before asking busy readers again.
const BUSY_WAIT: Duration = Duration::from_millis(2);

impl Clients for Node {
    fn connected(&self, after: &str, max: usize) -> Vec<Connected> {
        self.directory.list(after, max)
    }

    fn dismiss(&self, client_id: &str) -> bool {
        let Some((shard, connection)) = self.directory.find(client_id) else { return false };
        let inbox = self.inboxes.get(shard as usize);
        inbox.inspect(|inbox| inbox.push(Message::Input(Input::Dismiss(connection)))).is_some()
    }
}

impl Runtime {
    /// The runtime of shard `index`.
    #[must_use]
    pub fn new(node: Arc<Node>, index: u32, shard: Shard) -> Rc<Runtime> {
        Rc::new(Runtime {
            node,
            index,
            shard: RefCell::new(shard),
            wakers: RefCell::default(),
            visitors: RefCell::default(),
            expiring: RefCell::default(),
            exchanges: RefCell::default(),
            why: Cell::default(),
            rejected: RefCell::default(),
            refused: RefCell::default(),
            stalled: RefCell::default(),
            effects: RefCell::default(),
            later: RefCell::default(),
            inputs: RefCell::default(),
            turn_due: Cell::new(false),
            buffer: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
        })
    }

    /// Which shard it is.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// What all shards share.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The inbox of this thread.
    #[must_use]
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.node.inboxes[self.index as usize]
    }

    /// Has the shard do something, after what came before it from elsewhere, and carries out what it asks for.
    pub(crate) fn with<T>(self: &Rc<Self>, act: impl FnOnce(&mut Shard, Moment) -> T) -> T {
        // The executor catches what a task panics with.
        let _needed = NotWithout("shard");
        self.receive_inputs();
        let result = act(&mut self.shard.borrow_mut(), self.now());
        self.carry_out();
        result
    }

    fn now(&self) -> Moment {
        let now = self.node.now();
        Moment { undecided: now.undecided || self.refused.borrow().is_some(), ..now }
    }

    /// A look at the shard.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut Shard) -> T) -> T {
        look(&mut self.shard.borrow_mut())
    }

    /// Whether something is still to be handed over to the writer or other shards.
    pub(crate) fn has_handover(&self) -> bool {
        self.refused.borrow().is_some() || self.shard.borrow().has_handover()
    }

    /// A place for a connection of MQTT; `None`: it is to be closed at once.
    pub(crate) fn admit(&self, peer: &Peer) -> Option<Place> {
        self.admit_from(Some(peer.ip()))
    }

    /// A place for a connection of MQTT that nobody knows yet where it comes from.
    pub(crate) fn admit_unknown(&self) -> Option<Place> {
        self.admit_from(None)
    }

    fn admit_from(&self, address: Option<IpAddr>) -> Option<Place> {
        let place = self.node.admission.admit(address);
        if place.is_none() {
            self.node.refusals.add();
        }
        place
    }

    /// A connection was accepted; its task is called by the waker it leaves with [`Runtime::park`].
    pub(crate) fn accept(self: &Rc<Self>, peer: &Peer, is_beyond: bool) -> ConnectionId {
        let trusted = self.node.authenticator.without_password(peer).ok();
        let trusted = trusted.map(|known| known.for_policy());
        let method = trusted.as_ref().map(|trusted| Authenticator::shown_without_password(peer, trusted));
        let known = rowcast_core::shard::Peer { trusted, address: peer.to_string(), is_beyond };
        let id = self.with(|shard, now| shard.accept(known, now));
        let slot = id.slot as usize;
        let mut visitors = self.visitors.borrow_mut();
        if visitors.len() <= slot {
            visitors.resize_with(slot + 1, Visitor::default);
        }
        visitors[slot] =
            Visitor { address: peer.ip(), method: method.unwrap_or(Method::Nothing), ..Visitor::default() };
        id
    }

    /// A connection's task ended.
    pub(crate) fn gone(self: &Rc<Self>, id: ConnectionId) {
        if let Some(waker) = self.wakers.borrow_mut().get_mut(id.slot as usize) {
            *waker = None;
        }
        if let Some(visitor) = self.visitors.borrow_mut().get_mut(id.slot as usize) {
            visitor.lease = None;
            if let Some(until_secs) = visitor.until_secs.take() {
                self.expiring.borrow_mut().remove(&(until_secs, id));
            }
        }
        self.exchanges.borrow_mut().remove(&id);
        self.with(|shard, now| shard.disconnected(id, now));
    }

    /// Wakes the connection's task when there is something to do for it.
    pub(crate) fn park(&self, id: ConnectionId, waker: &Waker) {
        let mut wakers = self.wakers.borrow_mut();
        let slot = id.slot as usize;
        if wakers.len() <= slot {
            wakers.resize(slot + 1, None);
        }
        match &mut wakers[slot] {
            Some(parked) if parked.will_wake(waker) => {}
            parked => *parked = Some(waker.clone()),
        }
    }

    /// Whether sockets are to be left alone: the writer, or another shard, cannot keep up. The connection's task is
    /// woken when there is room again.
    pub(crate) fn is_stalled(&self, id: ConnectionId) -> bool {
        let stalled = self.is_congested();
        if stalled {
            self.stalled.borrow_mut().insert(id.slot);
        }
        stalled
    }

    fn is_congested(&self) -> bool {
        self.refused.borrow().is_some()
            || self.shard.borrow().event_bytes() > TURN_EVENT_BYTES_MAX
            || self.node.inboxes.iter().any(|inbox| inbox.is_full())
    }

    /// Ends turns for as long as the node runs: hands over what was proposed and passed on, takes what came.
    pub(crate) async fn turns(self: Rc<Self>, mut message: impl FnMut(&Rc<Runtime>, Message)) {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.inbox().changed() => {}
                _ = tick.tick() => self.tick(),
            }
            self.receive_inputs();
            for other in self.inputs.take() {
                message(&self, other);
            }
            self.hand_over();
            self.go_on().await;
        }
    }

    /// Has the shard go on with one thing that it put off.
    async fn go_on(self: &Rc<Self>) {
        let next = self.later.borrow_mut().pop_front();
        if let Some(input) = next {
            // Has sockets looked at, which otherwise happens once in many turns.
            tokio::task::yield_now().await;
            self.tell(input);
        }
        if !self.later.borrow().is_empty() {
            self.inbox().notify();
        }
    }

    fn tick(self: &Rc<Self>) {
        self.with(Shard::tick);
        self.expire();
        self.note_figures();
        self.report_again();
        if self.index == 0 {
            self.node.refusals.tell(self.node.now().monotonic_ms);
        }
    }

    /// Ends connections whose tokens have expired by now.
    fn expire(self: &Rc<Self>) {
        let now_secs = now_ms() / 1000;
        loop {
            let first = self.expiring.borrow().first().copied().filter(|(until_secs, _)| *until_secs <= now_secs);
            let Some((until_secs, id)) = first else { return };
            self.expiring.borrow_mut().remove(&(until_secs, id));
            self.with(|shard, now| shard.input(Input::Expired(id), now));
        }
    }

    fn note_figures(&self) {
        let (counters, gauges) = self.look(|shard| (shard.counters(), shard.gauges()));
        self.node.sys.note(self.index, counters, gauges);
    }

    /// Gives the shard what came from elsewhere; what is not for the shard is kept for [`Runtime::turns`].
    fn receive_inputs(self: &Rc<Self>) {
        if !self.inbox().has_messages() {
            return;
        }
        let was_full = self.inbox().is_full();
        let now = self.now();
        let messages = self.inbox().take();
        if was_full {
            // The others stopped reading for our sake.
            self.node.inboxes.iter().for_each(|inbox| inbox.notify());
        }
        for message in messages {
            match message {
                Message::Input(input) => self.shard.borrow_mut().input(input, now),
                Message::Room => {} // The next turn tries again.
                other => self.inputs.borrow_mut().push(other),
            }
        }
        self.carry_out();
    }

    /// Carries out what the shard asked for; proposals and events wait for the end of the turn.
    fn carry_out(self: &Rc<Self>) {
        let mut effects = self.effects.take();
        let due = {
            let mut shard = self.shard.borrow_mut();
            shard.take_effects(&mut effects);
            shard.has_handover()
        };
        if due && !self.turn_due.replace(true) {
            self.inbox().notify();
        }
        for effect in effects.drain(..) {
            self.perform(effect);
        }
        self.effects.replace(effects);
    }

    fn hand_over(self: &Rc<Self>) {
        self.turn_due.set(false);
        for (shard, events) in self.shard.borrow_mut().take_events() {
            self.node.inboxes[shard as usize].push_events(events);
        }
        let refused = self.refused.take();
        for proposals in refused.into_iter().chain(self.shard.borrow_mut().take_proposals()) {
            let mut waiting = self.refused.borrow_mut();
            match &mut *waiting {
                Some(waiting) => waiting.append(proposals),
                None => {
                    if let Err(back) = self.node.queue.try_push(Origin(self.index), proposals) {
                        *waiting = Some(back);
                    }
                }
            }
        }
        if !self.stalled.borrow().is_empty() && !self.is_congested() {
            for slot in self.stalled.take() {
                self.wake(slot);
            }
        }
    }

    fn perform(self: &Rc<Self>, effect: Effect) {
        match effect {
            Effect::Wake(id) => self.wake(id.slot),
            Effect::Authenticate { connection, user, password } => {
                let runtime = Rc::clone(self);
                tokio::task::spawn_local(async move { runtime.authenticate(connection, &user, &password).await });
            }
            Effect::Exchange { connection, method, round, data } => {
                let runtime = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    let result = runtime.exchange(connection, &method, round, data.as_deref()).await;
                    runtime.with(|shard, now| {
                        let result = result.and_then(|progress| match progress {
                            Progress::Known { principal, data } => {
                                let principal = runtime.renew(principal).ok_or(AuthError::Refused)?;
                                runtime.note_method(connection, Method::Scram);
                                Ok(Progress::Known { principal, data })
                            }
                            challenge => Ok(challenge),
                        });
                        let result = result.map_err(|error| match (runtime.refuse(None, error), error) {
                            (_, AuthError::Refused) => ReasonCode::NotAuthorized,
                            (reason, _) => reason,
                        });
                        shard.input(Input::Exchanged { connection, result }, now);
                    });
                    runtime.why.set(None);
                });
            }
            Effect::Claim { client_id, user, claimant } => {
                match self.node.directory.claim(&client_id, user, claimant) {
                    Claim::Granted => self.claimed(claimant, Previous::Unread),
                    Claim::Refused => self.claimed(claimant, Previous::Refused),
                    Claim::Evict(owner, connection) => self.post(owner, Input::Evict { connection, claimant }),
                }
            }
            Effect::LoadSession { client_id, connection } => self.load(client_id, connection),
            Effect::Release { client_id, connection } => {
                self.node.directory.release(&client_id, self.index, connection)
            }
            Effect::HandOff { claimant, session } => match session {
                Some(session) => self.claimed(claimant, Previous::Live(session)),
                None => self.claimed(claimant, Previous::Unread),
            },
            Effect::ReadLog { reader, after, bytes } => self.read_log(reader, after, bytes),
            Effect::ReadRecords { connection, range, after, records, .. } if range.table == TableId::SYS => {
                self.note_figures(); // What its own client did is in what it is told.
                let (records, complete) = self.node.sys.page(&range, after.as_deref(), records);
                self.post(self.index, Input::RecordsRead { connection, records: records.into(), complete });
            }
            Effect::ReadRecords { connection, range, after, records, bytes } => {
                if let Some(found) = reads::records_from_memory(&self.node.store, &range, after.as_deref()) {
                    let (records, complete) = found;
                    let records = records.into();
                    return self.post(self.index, Input::RecordsRead { connection, records, complete });
                }
                let store_read = move |store: &Store| reads::records(store, &range, after.as_deref(), records, bytes);
                self.read(store_read, move |runtime, read| runtime.records_read(connection, read));
            }
            Effect::Fetch { reader, messages } => {
                let again = Effect::Fetch { reader, messages: messages.clone() };
                self.read(
                    move |store: &Store| reads::fetch(store, messages),
                    move |runtime, read| match read {
                        Ok(messages) => runtime.tell(Input::Fetched { reader, messages }),
                        Err(error) => runtime.read_failed(reader, &error, again),
                    },
                );
            }
            Effect::Locate { connection, sought } => {
                self.read(
                    move |store: &Store| reads::locate(store, &sought),
                    move |runtime, read| match read {
                        Ok(located) => runtime.tell(Input::Located { connection, located }),
                        Err(error) => runtime.give_up(connection, &error),
                    },
                );
            }
            Effect::Get { connection, table, key } => {
                if let Some(record) = reads::record_from_memory(&self.node.store, table, &key) {
                    return self.post(self.index, Input::Got { connection, record });
                }
                self.read(
                    move |store: &Store| reads::record(store, table, &key),
                    move |runtime, read| match read {
                        Ok(record) => runtime.tell(Input::Got { connection, record }),
                        Err(error) => runtime.give_up(connection, &error),
                    },
                );
            }
            Effect::Later(input) => {
                self.later.borrow_mut().push_back(*input);
                self.inbox().notify();
            }
            Effect::Share { shard, mail } => self.post(shard, Input::Share(mail)),
            Effect::Lag(lag) => {
                let others = (0..self.node.inboxes.len() as u32).filter(|&shard| shard != self.index);
                others.for_each(|shard| self.post(shard, Input::Lag(lag.clone())));
            }
            Effect::CollectRows { client_id } => {
                let id = client_id.clone();
                self.read(
                    move |store: &Store| reads::rows(store, &id, now_ms()),
                    move |runtime, rows| match rows {
                        Ok(rows) => runtime.tell(Input::Purge { client_id, rows }),
                        Err(error) => tracing::error!(%error, "cannot read the rows of an expired session"),
                    },
                );
            }
            Effect::Report(report) => self.report(&report),
        }
    }

    fn wake(&self, slot: u32) {
        if let Some(Some(waker)) = self.wakers.borrow().get(slot as usize) {
            waker.wake_by_ref();
        }
    }

    async fn authenticate(self: Rc<Self>, connection: ConnectionId, user: &str, password: &[u8]) {
        let address = self.address(connection);
        let result = self.node.authenticator.sign_in(user, password, address).await;
        let result = result.map(|known| {
            let principal = known.principal.for_policy();
            self.settle(connection, known);
            principal
        });
        self.with(|shard, now| {
            let result = result.and_then(|known| self.renew(known).ok_or(AuthError::Refused));
            let result = result.map_err(|error| self.refuse(Some(user), error));
            shard.input(Input::Authenticated { connection, result }, now);
        });
        self.why.set(None);
    }

    fn note_method(&self, connection: ConnectionId, method: Method) {
        if let Some(visitor) = self.visitors.borrow_mut().get_mut(connection.slot as usize) {
            visitor.method = method;
        }
    }

    /// What a client is told that is refused for this. The shard reports the refusal next, and does not know why.
    fn refuse(&self, user: Option<&str>, error: AuthError) -> ReasonCode {
        self.why.replace(Some((user.map(Box::from), error)));
        reason(error)
    }

    /// Tells the operator.
    fn report(&self, report: &Report) {
        let now = self.node.now();
        let tell = self.rejected.borrow_mut().take(report, now.monotonic_ms);
        match report {
            Report::Refused { reason: ReasonCode::QuotaExceeded, .. } => {
                self.node.refusals.add(); // The log has their number.
                if tell == Tell::Now {
                    self.note(report, None);
                }
            }
            Report::RejectedPublish { .. } | Report::DeniedSubscribe { .. } if tell == Tell::Counted => {}
            _ => {
                self.note(report, None);
                self.node.sys.report(report, now.wall_ms);
                if tell == Tell::Now {
                    log(report, None);
                }
            }
        }
    }

    /// Tells the operator of a connection that came to nothing before its first packet.
    pub(crate) fn turned_away(&self, peer: &Peer, user: Option<&str>, reason: ReasonCode, words: &str) {
        let (client_id, user, address) = (Box::default(), user.map(Into::into), peer.to_string().into());
        let report = Report::Refused { client_id, user, address, reason, words: words.into() };
        if self.rejected.borrow_mut().take(&report, self.node.now().monotonic_ms) == Tell::Now {
            log(&report, None);
        }
    }

    /// Tells how often clients were refused the same again.
    fn report_again(&self) {
        let due = self.rejected.borrow_mut().due(self.node.now().monotonic_ms);
        self.tell_again(due);
    }

    /// The same for all that is left, as the node stops.
    pub(crate) fn report_rest(&self) {
        let rest = self.rejected.borrow_mut().rest();
        self.tell_again(rest);
    }

    fn tell_again(&self, due: Vec<Again>) {
        for again in due {
            match again {
                Again::Same(report, count) => {
                    let is_quota = matches!(report, Report::Refused { reason: ReasonCode::QuotaExceeded, .. });
                    if is_quota || !matches!(report, Report::Refused { .. }) {
                        self.note(&report, Some(count)); // Others that are not let in are counted there.
                    }
                    if !is_quota {
                        log(&report, Some(count));
                    }
                }
                Again::Others(count) => tracing::warn!(count, "of other clients, this much was refused"),
            }
        }
    }

    /// Writes down who came in and who did not, and who was denied something. `count`: so many times more.
    fn note(&self, report: &Report, count: Option<u64>) {
        let denied = |user: Option<&str>, client_id: &str, address: &str, what: &str| {
            let event = Event::new(Kind::Denied).about(user.unwrap_or_default());
            event.client(client_id).from(address, MQTT).because(what).again(count)
        };
        match report {
            Report::RejectedPublish { client_id, user, address, topic, code: ReasonCode::NotAuthorized, .. } => {
                self.node.audit.note(denied(user.as_deref(), client_id, address, &format!("PUBLISH {topic}")));
            }
            Report::DeniedSubscribe { client_id, user, address, filter } => {
                self.node.audit.note(denied(user.as_deref(), client_id, address, &format!("SUBSCRIBE {filter}")));
            }
            Report::Connected(arrival) => {
                let found = self.node.directory.find(&arrival.client_id).filter(|(shard, _)| *shard == self.index);
                let visitors = self.visitors.borrow();
                let visitor = found.and_then(|(_, id)| visitors.get(id.slot as usize));
                let method = visitor.map_or(Method::Nothing, |visitor| visitor.method);
                let login = Event::new(Kind::Login).about(arrival.user.as_deref().unwrap_or_default()).shown(method);
                self.node.audit.note(login.client(&arrival.client_id).from(&arrival.address, MQTT));
            }
            Report::Refused { client_id, user, address, words, .. } => {
                let refused = Event::new(Kind::Refused).client(client_id).from(address, MQTT).again(count);
                let (claimed, why) = self.why.take().unzip();
                let refused = match claimed.flatten().as_deref().or(user.as_deref()) {
                    Some(user) => refused.about(user),
                    None => refused,
                };
                self.node.audit.note(match why {
                    Some(error) => refused.because(audit::reason(&error)),
                    None => refused.because(words),
                });
            }
            _ => {}
        }
    }

    /// Notes what a connection came in with: a password is known for as long as it is here, a token ends it some time.
    fn settle(&self, connection: ConnectionId, known: SignedIn) {
        let is_there = self.shard.borrow().state(connection).is_some();
        if let (true, Some(visitor)) = (is_there, self.visitors.borrow_mut().get_mut(connection.slot as usize)) {
            visitor.lease = known.lease;
            visitor.until_secs = known.until_secs;
            visitor.method = known.method;
            self.expiring.borrow_mut().extend(known.until_secs.map(|until_secs| (until_secs, connection)));
        }
    }

    /// Who somebody is who was `known` a moment ago. To be asked behind what the shard has heard by now: it hears of
    /// every change of an account that comes later.
    fn renew(&self, known: Principal) -> Option<Principal> {
        self.node.authenticator.renew(known)
    }

    async fn exchange(
        &self,
        connection: ConnectionId,
        method: &str,
        round: Round,
        data: Option<&[u8]>,
    ) -> Result<Progress, AuthError> {
        let before = self.exchanges.borrow_mut().remove(&connection);
        let mut exchange = match round {
            Round::First => Exchange::new(method)?,
            Round::Next => before.ok_or(AuthError::Refused)?,
        };
        let step = self.node.authenticator.advance(&mut exchange, data, self.address(connection)).await?;
        Ok(match step {
            Step::Challenge(data) => {
                let is_there = self.shard.borrow().state(connection).is_some();
                if is_there {
                    self.exchanges.borrow_mut().insert(connection, exchange);
                }
                Progress::Challenge(data)
            }
            Step::Known(known, data) => Progress::Known { principal: known.for_policy(), data: Some(data) },
        })
    }

    /// Where a connection comes from.
    fn address(&self, connection: ConnectionId) -> IpAddr {
        let visitors = self.visitors.borrow();
        visitors.get(connection.slot as usize).map_or(Visitor::default().address, |visitor| visitor.address)
    }

    /// Looks for a stored session and answers the claim.
    fn load(self: &Rc<Self>, client_id: Box<str>, connection: ConnectionId) {
        self.read(
            move |store: &Store| reads::rows(store, &client_id, now_ms()),
            move |runtime, rows| {
                let previous = match rows {
                    Ok(rows) => Previous::Stored(rows),
                    Err(error) => {
                        tracing::error!(%error, "cannot read a session");
                        Previous::Unreadable
                    }
                };
                runtime.tell(Input::Claimed { connection, previous });
            },
        );
    }

    fn claimed(self: &Rc<Self>, claimant: Claimant, previous: Previous) {
        self.post(claimant.shard, Input::Claimed { connection: claimant.connection, previous });
    }

    fn read_log(self: &Rc<Self>, reader: Reader, after: Sequence, bytes: usize) {
        // The newest part is in memory: no thread is needed for it.
        if let Some(page) = self.node.store.read_tail_for_clients(after, bytes) {
            return self.post(self.index, Input::LogRead { reader, batches: page.batches, lost_until: None });
        }
        self.read(
            move |store: &Store| reads::log(store, after, bytes),
            move |runtime, read| match read {
                Ok((batches, lost_until)) => runtime.tell(Input::LogRead { reader, batches, lost_until }),
                Err(error) => runtime.read_failed(reader, &error, Effect::ReadLog { reader, after, bytes }),
            },
        );
    }

    /// What a reader needs could not be read. A client is closed, and reads on from there when it comes back; a group has
    /// nobody to tell, and tries `again`.
    fn read_failed(self: &Rc<Self>, reader: Reader, error: &DbError, again: Effect) {
        match reader {
            Reader::Connection(connection) => self.give_up(connection, error),
            Reader::Group(_) => {
                tracing::error!(%error, "cannot read for a shared subscription; it is tried again");
                let runtime = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(FAILED_WAIT).await;
                    runtime.perform(again);
                });
            }
        }
    }

    fn records_read(self: &Rc<Self>, connection: ConnectionId, read: Result<reads::Records, DbError>) {
        match read {
            Ok((records, complete)) => {
                self.tell(Input::RecordsRead { connection, records: records.into(), complete });
            }
            Err(error) => self.give_up(connection, &error),
        }
    }

    fn give_up(self: &Rc<Self>, connection: ConnectionId, error: &DbError) {
        tracing::error!(%error, "cannot read for a client; its connection is closed");
        self.with(|shard, now| shard.abort(connection, now));
    }

    /// Has a reader thread look something up, and goes on here with what it found.
    fn read<T: Send + 'static>(
        self: &Rc<Self>,
        read: impl FnOnce(&Store) -> Result<T, ReadError> + Clone + Send + 'static,
        then: impl FnOnce(&Rc<Runtime>, Result<T, DbError>) + 'static,
    ) {
        let runtime = Rc::clone(self);
        tokio::task::spawn_local(async move {
            loop {
                // One read at a time is under way for a connection, so what waits here is bounded by them.
                match runtime.node.db.read(read.clone()).await {
                    Err(DbError::Busy) => tokio::time::sleep(BUSY_WAIT).await,
                    read => return then(&runtime, read.and_then(|found| found.map_err(DbError::from))),
                }
            }
        });
    }

    fn tell(self: &Rc<Self>, input: Input) {
        self.with(|shard, now| shard.input(input, now));
    }

    /// Tells a shard something, this one or another.
    fn post(self: &Rc<Self>, shard: u32, input: Input) {
        self.node.inboxes[shard as usize].push(Message::Input(input));
    }
}

fn reason(error: AuthError) -> ReasonCode {
    match error {
        AuthError::Refused | AuthError::Token(_) => ReasonCode::BadUserNameOrPassword,
        AuthError::Required => ReasonCode::NotAuthorized,
        AuthError::UnknownMethod => ReasonCode::BadAuthenticationMethod,
        AuthError::Overloaded => ReasonCode::ServerBusy,
        AuthError::Throttled { .. } => ReasonCode::ConnectionRateExceeded,
    }
}

/// `count`: so many times more.
fn log(report: &Report, count: Option<u64>) {
    match report {
        Report::Connected(arrival) => {
            let Arrival { client_id, address, user, .. } = &**arrival;
            tracing::debug!(%client_id, %address, user = user.as_deref().unwrap_or_default(), "client connected");
        }
        Report::Disconnected { client_id, address, reason, .. } => {
            tracing::debug!(%client_id, %address, %reason, "client disconnected");
        }
        Report::Closed { client_id, address, reason } => {
            tracing::debug!(%client_id, %address, %reason, "connection closed");
        }
        Report::Refused { client_id, user, address, words, .. } => {
            let (client_id, user, reason) = (brief(client_id), user.as_deref(), brief(words));
            tracing::warn!(%client_id, user, %address, %reason, count, "connection refused");
        }
        Report::RejectedPublish { client_id, topic, reason, .. } => {
            let (client_id, topic) = (brief(client_id), brief(topic));
            tracing::warn!(%client_id, %topic, %reason, count, "publish refused");
        }
        Report::DeniedSubscribe { client_id, filter, .. } => {
            let (client_id, filter) = (brief(client_id), brief(filter));
            tracing::warn!(%client_id, %filter, count, "subscription refused: it may read nothing of it");
        }
        Report::LostEvents { client_id, position, oldest } => {
            let (position, oldest) = (position.0, oldest.0);
            tracing::warn!(%client_id, position, oldest, "the log no longer reaches back to a session: events are lost");
        }
    }
}
