//! `$SYS`: figures of the node for whoever watches, and clients that come and go.
//!
//! Shards write down what they count ten times a second. Everything else happens only while somebody listens: values
//! are put together when a subscription begins and then every `mqtt.sysInterval`, and those that changed are passed on
//! as messages that stand in no log.

mod event;
mod figures;
mod load;

use crate::admission::Refusals;
use crate::db::Db;
use crate::runtime::Inbox;
use bytes::Bytes;
use event::{Connected, Disconnected};
use figures::Seen;
use load::Loads;
use rowcast_core::reach::Reach;
use rowcast_core::shard::{Arrival, Counters, Gauges, Report, ScannedRecord};
use rowcast_core::sys::{self, Value};
use rowcast_core::tables::{Range, Tables};
use rowcast_core::{Sequence, TableId};
use rowcast_store::{ReadError, Store};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::time::{Interval, MissedTickBehavior};

/// What the node knows of itself. Shared by all threads; no lock is held while waiting.
pub struct Sys {
    store: Store,
    db: Db,
    inboxes: Vec<Arc<Inbox>>,
    started: Instant,
    /// By shard, as it last wrote them down.
    shards: Vec<Mutex<(Counters, Gauges)>>,
    /// Clients that are in, and the most there were at once.
    connected: AtomicU64,
    connected_max: AtomicU64,
    refusals: Arc<Refusals>,
    /// Who may listen.
    reach: Arc<Reach>,
    /// Somebody asked for values.
    asked: Notify,
    /// What all who listen have.
    told: Mutex<Vec<Value>>,
    records: Mutex<Records>,
    loads: Mutex<Loads>,
}

/// How many records there are: counting reads all their keys, so it is done in the background, when something changed
/// and not all the time.
#[derive(Default)]
struct Records {
    count: Option<u64>,
    /// Where the log was when they were counted.
    at: Sequence,
    /// Not before.
    next: Option<Instant>,
    is_counting: bool,
}

/// The part of a reader thread's time that counting records may take is one in so many.
const COUNTING_SHARE: u32 = 50;

impl Sys {
    /// Nobody is there yet.
    #[must_use]
    pub fn new(
        store: Store,
        db: Db,
        inboxes: Vec<Arc<Inbox>>,
        (refusals, reach): (Arc<Refusals>, Arc<Reach>),
        started: Instant,
    ) -> Sys {
        Sys {
            store,
            db,
            shards: inboxes.iter().map(|_| Mutex::default()).collect(),
            inboxes,
            started,
            connected: AtomicU64::new(0),
            connected_max: AtomicU64::new(0),
            refusals,
            reach,
            asked: Notify::new(),
            told: Mutex::default(),
            records: Mutex::default(),
            loads: Mutex::new(Loads::new(started)),
        }
    }

    /// What a shard has counted.
    pub fn note(&self, shard: u32, counters: Counters, gauges: Gauges) {
        *lock(&self.shards[shard as usize]) = (counters, gauges);
    }

    /// A shard told something of a client.
    pub fn report(&self, report: &Report, now_ms: u64) {
        match report {
            Report::Connected(arrival) => self.on_connected(arrival, now_ms),
            Report::Disconnected { client_id, user, address, code, reason } => {
                self.connected.fetch_sub(1, Ordering::Relaxed);
                self.tell_event(client_id, "disconnected", || {
                    Disconnected::new((client_id, user.as_deref(), address), (*code, reason), now_ms)
                });
            }
            _ => {}
        }
    }

    fn on_connected(&self, arrival: &Arrival, now_ms: u64) {
        let connected = self.connected.fetch_add(1, Ordering::Relaxed) + 1;
        self.connected_max.fetch_max(connected, Ordering::Relaxed);
        self.tell_event(&arrival.client_id, "connected", || Connected::new(arrival, now_ms));
    }

    fn tell_event<E: Serialize>(&self, client_id: &str, what: &str, event: impl FnOnce() -> E) {
        if !self.reach.anyone_wants_sys() {
            return;
        }
        let topic = sys::client_topic(client_id, what);
        if !self.reach.anyone_may_want(&topic) {
            return;
        }
        let payload = serde_json::to_vec(&event()).expect("an event is plain data");
        let mut entry = Vec::new();
        sys::encode_event(&topic, &payload, &mut entry);
        self.tell(entry);
    }

    fn tell(&self, entries: Vec<u8>) {
        let entries = Bytes::from(entries);
        self.inboxes.iter().for_each(|inbox| inbox.push_events(entries.clone()));
    }

    /// Values for a subscription that begins: see [`sys::page`].
    pub fn page(&self, range: &Range, after: Option<&[u8]>, records: usize) -> (Vec<ScannedRecord>, bool) {
        self.asked.notify_one();
        let values = self.values();
        // Should it be what it was before when its turn comes, who is shown it now must hear of that.
        lock(&self.told).retain(|told| values.contains(told));
        sys::page(&values, range, after, records)
    }

    /// Keeps those who listen up to date, every `interval`, which may change, for as long as the node runs.
    pub async fn run(self: Arc<Self>, mut interval: watch::Receiver<Duration>) {
        let mut ticks = ticks(*interval.borrow_and_update());
        let topics = figures::topics();
        *lock(&self.told) = self.values();
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.take_loads();
                    if topics.iter().any(|topic| self.reach.anyone_may_want(topic)) {
                        self.count_records();
                        self.tell_changed();
                    }
                }
                () = self.asked.notified() => self.count_records(),
                Ok(()) = interval.changed() => ticks = self::ticks(*interval.borrow_and_update()),
            }
        }
    }

    fn take_loads(&self) {
        let (counters, _) = self.sums();
        lock(&self.loads).take(&counters, Instant::now());
    }

    fn tell_changed(&self) {
        let mut told = lock(&self.told);
        let values = self.values();
        let mut entries = Vec::new();
        for value in values.iter().filter(|value| !told.contains(value)) {
            sys::encode_value(value, &mut entries);
        }
        if !entries.is_empty() {
            self.tell(entries);
        }
        *told = values;
    }

    fn values(&self) -> Vec<Value> {
        let (counters, gauges) = self.sums();
        figures::values(&Seen {
            counters,
            gauges,
            uptime: self.started.elapsed(),
            connected: self.connected.load(Ordering::Relaxed),
            connected_max: self.connected_max.load(Ordering::Relaxed),
            refused: self.refusals.counted(),
            records: lock(&self.records).count,
            log: self.store.stats(),
            oldest: self.store.oldest(),
            resident_bytes: resident_bytes(),
            loads: &lock(&self.loads),
        })
    }

    /// Of all shards; sessions, which each of them counts, once.
    fn sums(&self) -> (Counters, Gauges) {
        let (mut counters, mut gauges) = (Counters::default(), Gauges::default());
        for shard in &self.shards {
            let (counted, has) = *lock(shard);
            counters = counters.plus(&counted);
            gauges.subscriptions += has.subscriptions;
            gauges.shared_subscriptions += has.shared_subscriptions;
            gauges.lasting += has.lasting;
            gauges.sessions = gauges.sessions.max(has.sessions);
        }
        (counters, gauges)
    }

    /// Counts the records there are, if that is worth it and its turn.
    fn count_records(self: &Arc<Self>) {
        {
            let mut records = lock(&self.records);
            let is_known = records.count.is_some() && records.at == self.store.committed();
            if records.is_counting || is_known || records.next.is_some_and(|next| Instant::now() < next) {
                return;
            }
            records.is_counting = true;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let (tables, at) = (this.db.tables(), this.store.committed());
            let counted = this.db.read(move |store| (Instant::now(), count(store, &tables), Instant::now())).await;
            let mut records = lock(&this.records);
            records.is_counting = false;
            let Ok((begun, counted, ended)) = counted else { return }; // Readers are busy: another time.
            records.next = Some(ended + (ended - begun) * COUNTING_SHARE);
            match counted {
                Ok(count) => (records.count, records.at) = (Some(count), at),
                Err(error) => tracing::warn!(%error, "cannot count records for $SYS"),
            }
        });
    }
}

/// Records a client could be sent: of the tables that are open to MQTT, and of open topics.
fn count(store: &Store, tables: &Tables) -> Result<u64, ReadError> {
    let is_open = |table: &&rowcast_core::schema::Table| table.export.as_ref().is_some_and(|export| export.doors.mqtt);
    let declared = tables.catalog().tables().iter().filter(is_open).map(|table| tables.id(table));
    declared.chain([TableId::TOPICS]).map(|table| store.count(table, u64::MAX)).sum()
}

/// Memory of the process; `None` where the system does not say.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn ticks(interval: Duration) -> Interval {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What is locked here is whole after every step, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
