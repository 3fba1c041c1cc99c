//! A thread per core: sockets and timers around a [`Shard`], and what it asks for carried out.
//!
//! A shard's thread owns its connections. Other threads reach it through its [`Inbox`] only; it reaches them through
//! theirs, the writer's queue and the directory of client identifiers. Within the thread everything runs as tasks of
//! one tokio runtime: a task a connection ([`mqtt`](crate::mqtt)), and one that ends each turn: what the connections
//! proposed and passed on in it leaves in one piece.

mod directory;
mod inbox;
mod needed;
mod pace;
mod reads;
mod refused;
mod report;
mod sign_in;

pub use directory::Directory;
pub use inbox::{Inbox, Load, Message};
pub use needed::NotWithout;

use crate::access::Access;
use crate::admission::{Admission, Place, Refusals};
use crate::audit::Audit;
use crate::auth::{AuthError, Authenticator, Exchange, Method};
use crate::clients::{Clients, Connected};
use crate::db::Db;
use crate::peer::Peer;
use crate::sys::Sys;
use directory::Claim;
use pace::Pace;
use refused::Refused;
use rowcast_core::limits::TURN_EVENT_BYTES_MAX;
use rowcast_core::shard::{Claimant, ConnectionId, Effect, Input, Moment, Previous, Shard};
use rowcast_core::{Proposals, TableId};
use rowcast_store::{Origin, Queue, Store};
use rustc_hash::{FxHashMap, FxHashSet};
use sign_in::Visitor;
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
    /// Of them, the one that reads its socket now, by slot.
    reader: Cell<Option<u32>>,
    /// Whether others were woken meanwhile.
    woke_others: Cell<bool>,
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
    pace: Pace,
    /// Bytes read from whichever socket is read now.
    pub(crate) buffer: RefCell<Box<[u8]>>,
}

/// Turns that may follow each other before sockets are looked at.
const TURNS_UNSEEN_MAX: u32 = 16;

/// Bytes read from a socket at once: many packets a system call, and few enough that others get their turn.
pub(crate) const READ_BYTES: usize = 64 * 1024;
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
            reader: Cell::default(),
            woke_others: Cell::default(),
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
            pace: Pace::default(),
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

    /// The task of a connection begins to read its socket, and looks at what it has to write behind that: it is not
    /// woken for what it reads.
    pub(crate) fn begin_read(&self, id: ConnectionId) {
        self.reader.set(Some(id.slot));
        self.woke_others.set(false);
    }

    /// It has read. Whether others were woken meanwhile.
    pub(crate) fn end_read(&self) -> bool {
        self.reader.set(None);
        self.woke_others.get()
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
    pub(crate) fn accept(self: &Rc<Self>, peer: &Peer, place: Place) -> ConnectionId {
        let trusted = self.node.authenticator.without_password(peer).ok();
        let trusted = trusted.map(|known| Box::new(known.for_policy()));
        let method = trusted.as_ref().map(|trusted| Authenticator::shown_without_password(peer, trusted));
        let known = rowcast_core::shard::Peer {
            trusted,
            address: peer.to_string().into(),
            format: peer.format(),
            is_beyond: place.is_beyond(),
        };
        let id = self.with(|shard, now| shard.accept(known, now));
        let slot = id.slot as usize;
        let mut visitors = self.visitors.borrow_mut();
        if visitors.len() <= slot {
            visitors.resize_with(slot + 1, Visitor::default);
        }
        visitors[slot] = Visitor {
            address: peer.ip(),
            method: method.unwrap_or(Method::Nothing),
            place: Some(place),
            ..Visitor::default()
        };
        id
    }

    /// A connection came to its end. Its place is its own until its task has ended as well.
    pub(crate) fn gone(self: &Rc<Self>, id: ConnectionId) -> Option<Place> {
        let mut place = None;
        if let Some(waker) = self.wakers.borrow_mut().get_mut(id.slot as usize) {
            *waker = None;
        }
        if let Some(visitor) = self.visitors.borrow_mut().get_mut(id.slot as usize) {
            visitor.lease = None;
            place = visitor.place.take();
            if let Some(until_secs) = visitor.until_secs.take() {
                self.expiring.borrow_mut().remove(&(until_secs, id));
            }
        }
        self.exchanges.borrow_mut().remove(&id);
        self.with(|shard, now| shard.disconnected(id, now));
        place
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
        let _needed = NotWithout("shard");
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut unseen = 0;
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
            unseen = (unseen + 1) % TURNS_UNSEEN_MAX;
            if unseen == 0 {
                // What a shard has read from memory for itself is there at once: nobody else would get a turn.
                tokio::task::yield_now().await;
            }
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
        self.inbox().connections().tick();
        self.inbox().note_busy(self.pace.tick());
        self.expire();
        self.note_figures();
        self.report_again();
        if self.index == 0 {
            self.node.refusals.tell(self.node.now().monotonic_ms);
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
        if due {
            self.woke_others.set(true); // Those of other shards are woken at the end of the turn.
            if !self.turn_due.replace(true) {
                self.inbox().notify();
            }
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
            Effect::Wake(id) if self.reader.get() == Some(id.slot) => {} // It writes next.
            Effect::Wake(id) => {
                self.woke_others.set(true);
                self.wake(id.slot);
            }
            Effect::Authenticate { connection, user, password } => {
                let runtime = Rc::clone(self);
                tokio::task::spawn_local(async move { runtime.authenticate(connection, &user, &password).await });
            }
            Effect::Exchange { connection, method, round, data } => {
                let runtime = Rc::clone(self);
                tokio::task::spawn_local(async move { runtime.exchange(connection, &method, round, data).await });
            }
            Effect::Claim { client_id, user, claimant } => {
                match self.node.directory.claim(&client_id, user, claimant) {
                    Claim::Granted => self.claimed(claimant, Previous::Unread),
                    Claim::Refused => self.claimed(claimant, Previous::Refused),
                    Claim::Overtaken => self.claimed(claimant, Previous::Overtaken),
                    Claim::NoRoom => self.claimed(claimant, Previous::NoRoom),
                    Claim::Evict(owner, connection) => {
                        self.take_place(claimant.connection);
                        self.post(owner, Input::Evict { connection, claimant });
                    }
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
                self.read_records(connection, range, after, (records, bytes));
            }
            Effect::Fetch { reader, messages } => self.fetch(reader, messages),
            Effect::Locate { connection, sought } => self.locate(connection, sought),
            Effect::Get { connection, table, key } => self.get(connection, table, key),
            Effect::Prepare { connection, preparation } => self.prepare(connection, *preparation),
            Effect::Later(input) => {
                self.later.borrow_mut().push_back(*input);
                self.inbox().notify();
            }
            Effect::Share { shard, mail } => self.post(shard, Input::Share(mail)),
            Effect::Lag(lag) => {
                let others = (0..self.node.inboxes.len() as u32).filter(|&shard| shard != self.index);
                others.for_each(|shard| self.post(shard, Input::Lag(lag.clone())));
            }
            Effect::LoadWill { client_id, number } => self.load_will(client_id, number),
            Effect::CollectRows { client_id } => self.collect_rows(client_id),
            Effect::Report(report) => self.report(&report),
        }
    }

    /// A connection takes over from another one, which goes, and so counts like any other.
    fn take_place(&self, id: ConnectionId) {
        let mut visitors = self.visitors.borrow_mut();
        if let Some(place) = visitors.get_mut(id.slot as usize).and_then(|visitor| visitor.place.as_mut()) {
            place.settle();
        }
    }

    fn wake(&self, slot: u32) {
        if let Some(Some(waker)) = self.wakers.borrow().get(slot as usize) {
            waker.wake_by_ref();
        }
    }

    fn claimed(self: &Rc<Self>, claimant: Claimant, previous: Previous) {
        self.post(claimant.shard, Input::Claimed { connection: claimant.connection, previous });
    }

    fn tell(self: &Rc<Self>, input: Input) {
        self.with(|shard, now| shard.input(input, now));
    }

    /// Tells a shard something, this one or another.
    fn post(self: &Rc<Self>, shard: u32, input: Input) {
        self.node.inboxes[shard as usize].push(Message::Input(input));
    }
}
