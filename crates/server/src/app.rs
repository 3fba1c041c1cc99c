//! Wires the rooms: the order of start, the order of stop.
//!
//! Start: schema, log and tables, accounts, doors, then a thread a shard. Nobody is let in before everything is there.
//! Stop: doors shut, clients are told, sessions are written down, the writer ends, the log is closed.

mod commands;
mod disk;
mod fanout;
mod files;
mod people;
mod thread;

pub(crate) use commands::HTTP_ADDRESS;

use crate::access::Access;
use crate::admission::{Admission, Refusals};
use crate::application::{self, Application};
use crate::audit::{Event, Kind};
use crate::cli::screen::{Address, Screen, render};
use crate::clients::Clients;
use crate::config::{Config, Mode, RejectedPublish};
use crate::db::Db;
use crate::entrance::{Entrance, Secure};
use crate::http::{self, HttpState};
use crate::net::{BindError, Door, Listener, Room, bind};
use crate::reload::{Again, Parts, Running};
use crate::runtime::{Directory, Inbox, Message, Node, NotWithout};
use crate::sys::Sys;
use crate::{seed, tls, watch};
use anyhow::Context;
use commands::{AskedAt, door_for_commands};
use fanout::Fanout;
use files::OpenFiles;
use people::People;
use rowcast_core::catalog::Catalog;
use rowcast_core::limits::{FILTERS_AT_ONCE, LARGE_DOCUMENT_BYTES};
use rowcast_core::reach::Reach;
use rowcast_core::session_quota::SessionQuota;
use rowcast_core::shard::{Settings, Shard};
use rowcast_core::{Durability, NodeId, Sequence};
use rowcast_store::{Options, Origin, Queue, Retention, Store, reads};
use std::io::{IsTerminal, stderr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;

/// Bytes of proposals that may wait for the writer.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// How often a start or a stop looks whether everything is quiet.
const STEP: Duration = Duration::from_millis(5);

/// Runs the application until it is told to stop. `again`: how to read the configuration while it runs.
pub fn run(config: Config, again: Again) -> anyhow::Result<()> {
    let mode = again.mode;
    rowcast_core::seed_names(random()?);
    let application_files = watch::look(&config.folder);
    let Application { catalog, roles } = application::read(&config.folder)?;
    let declared = catalog.clone();
    let files = OpenFiles::raise(config.threads.number().get())?;
    let main = Builder::new_current_thread().enable_all().build()?;
    {
        // A file that has reached the limit of its size (`ulimit -f`) is a full disk, not the end.
        let _runtime = main.enter();
        let _handled = signal(SignalKind::from_raw(libc::SIGXFSZ))?;
    }
    let log = Log::open(&config, &files)?;

    // What must be there before the first client: tables with their numbers, an account.
    main.block_on(log.take_tables(&config, mode, catalog))?;
    let access = Arc::new(Access::new(roles, log.db.tables()));
    let keys = config.storage.path.join("keys");
    let (people, admin_password) = main.block_on(People::of(&config, mode, &log.db, access, &keys))?;

    let secure = Secure::of(&config, &keys)?;
    let is_made = config.identities().next().is_none() && secure.is_any();
    let seen = Watched {
        application: application_files,
        keys: watch::look_at(people.authenticator.key_file().into_iter()),
        certificates: watch::look_at(secure.files().cloned()),
    };
    let secure = secure.load()?;
    let authority = is_made.then(|| tls::authority::certificate(&keys));
    let doors = Doors::open(&config)?;
    let _asked_at = AskedAt::write(&config.storage.path, doors.asked_at().as_ref())?;

    let node = node(&config, &log, &people);
    let clients: Arc<dyn Clients> = Arc::<Node>::clone(&node);
    let People { authenticator, access, users, audit } = people;
    let known = (authenticator, access, users, audit.clone());
    let http = Arc::new(HttpState::new(log.db.clone(), known, clients, http::Settings::of(&config)));
    let entrance = Entrance::new(Arc::clone(&http), secure, &config);
    let entrance = Arc::new(entrance);
    let threads = start_shards(&config, &node, &entrance, log.reach)?;
    // What shards proposed about interrupted sessions is on disk before a client can come back to one.
    main.block_on(log.db.propose(|token, proposals| proposals.push(Some(token), Durability::Sync, &[])))?;

    let room = files.room_for_connections()?;
    let stops = {
        let _runtime = main.enter();
        Stops::listen()?
    };
    let program = std::env::args().next().unwrap_or_else(|| "rowcast".to_owned());
    let screen = Screen {
        program: &program,
        mode,
        folder: &config.folder,
        data: &config.storage.path,
        doors: &doors.addresses,
        authority: authority.as_deref(),
        catalog: &declared,
        trusts_local: config.authentication.authorize_local,
        mqtt_proxied: config.mqtt.proxy_protocol,
        admin_password: admin_password.as_deref(),
    };
    anstream::print!("{}", render(&screen));
    main.block_on(serve(config, again, (Arc::clone(&node), entrance, Arc::clone(&http)), (doors, room), seen, stops));
    stop(&node, &http, threads);
    log.queue.close();
    if log.writer.join().is_err() {
        anyhow::bail!("the writer ended with a panic");
    }
    audit.note(Event::new(Kind::Stopped));
    audit.close();
    tracing::info!("stopped");
    Ok(())
}

/// The log and its writer, the tables, and who hears of what is written.
struct Log {
    store: Store,
    queue: Queue,
    db: Db,
    inboxes: Vec<Arc<Inbox>>,
    reach: Arc<Reach>,
    writer: JoinHandle<()>,
    is_new: bool,
}

impl Log {
    fn open(config: &Config, files: &OpenFiles) -> anyhow::Result<Log> {
        let shards = config.threads.number().get();
        let options = Options { table_files: files.for_tables(), ..options(config, NodeId(random()?.max(1))) };
        let (store, writer) = Store::open(&config.storage.path, &options, crate::db::now_ms())
            .with_context(|| format!("cannot open the data in {}", config.storage.path.display()))?;
        report_opening(&store);
        let is_new = store.committed() == Sequence::ZERO;
        let inboxes: Vec<Arc<Inbox>> = (0..shards).map(|_| Arc::new(Inbox::default())).collect();
        let for_room = inboxes.clone();
        let room = move |origin: Origin| {
            if let Some(inbox) = for_room.get(origin.0 as usize) {
                inbox.push(Message::Room);
            }
        };
        let queue = Queue::new(QUEUE_BYTES, Box::new(room));
        let origin = Origin(shards as u32);
        let db = Db::new(store.clone(), queue.clone(), origin, config.storage.durability)?;
        db.set_topic_limits(config.mqtt.limits.topic());
        let reach = Reach::new(shards);
        let sink = Fanout::new(&inboxes, &db, origin, &reach);
        let writer = rowcast_store::spawn(writer, queue.clone(), Box::new(sink));
        Ok(Log { store, queue, db, inboxes, reach, writer, is_new })
    }

    /// Gives the tables of the application their numbers; those of a new node that is being tried out get their first
    /// records.
    async fn take_tables(&self, config: &Config, mode: Mode, catalog: Catalog) -> anyhow::Result<()> {
        let tables = self.db.number(catalog).await?;
        for records in self.db.out_of_reach(&tables).await? {
            tracing::warn!("{records}");
        }
        self.db.set_tables(tables);
        if mode == Mode::Dev && self.is_new {
            match seed::sow(&config.folder, &self.db).await {
                Ok(0) => {}
                Ok(records) => tracing::info!(records, "the data folder is new: it has the records of seed/ now"),
                Err(error) => tracing::error!("a record of seed/ cannot be put: {error:#}"),
            }
        }
        Ok(())
    }
}

/// What all shards share.
fn node(config: &Config, log: &Log, people: &People) -> Arc<Node> {
    let Log { store, queue, db, inboxes, reach, .. } = log;
    let (started, refusals) = (Instant::now(), Arc::<Refusals>::default());
    let told = (Arc::clone(&refusals), Arc::clone(reach));
    let sys = Sys::new(store.clone(), db.clone(), inboxes.clone(), told, started);
    Arc::new(Node {
        store: store.clone(),
        queue: queue.clone(),
        db: db.clone(),
        authenticator: people.authenticator.clone(),
        access: Arc::clone(&people.access),
        audit: people.audit.clone(),
        admission: Admission::new(&config.mqtt.limits),
        refusals,
        directory: Directory::default(),
        inboxes: inboxes.clone(),
        sys: Arc::new(sys),
        started,
    })
}

/// Starts a thread a shard, each with its part of what was there before; all of it is on its way to the writer when this
/// returns.
fn start_shards(
    config: &Config,
    node: &Arc<Node>,
    entrance: &Arc<Entrance>,
    reach: Arc<Reach>,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let shards = node.inboxes.len() as u32;
    let random_seed = random()?;
    let committed = node.store.committed();
    let found = Arc::new(reads::found(&node.store)?);
    let shared = (reach, SessionQuota::restored(random_seed, &found, committed), Arc::default());
    let (restored, all_restored) = mpsc::channel();
    let mut threads = Vec::new();
    for index in 0..shards {
        let (node, entrance, found) = (Arc::clone(node), Arc::clone(entrance), Arc::clone(&found));
        let settings = settings(config, (index, shards), random_seed, &shared);
        let (timeout, restored) = (config.shutdown_timeout, restored.clone());
        let thread = std::thread::Builder::new().name(format!("shard-{index}"));
        threads.push(thread.spawn(move || {
            let _needed = NotWithout("thread of a shard");
            let shard = Shard::restored(settings, node.db.tables(), node.access.policy(), &found, node.now());
            drop(found);
            thread::serve_shard(node, entrance, index, shard, timeout, restored);
        })?);
    }
    drop(found);
    all_restored.iter().take(shards as usize).for_each(drop);
    Ok(threads)
}

/// Where connections come in.
struct Doors {
    listeners: Vec<Listener>,
    /// Of those that the configuration opens.
    addresses: Vec<(Door, Address)>,
    /// For commands on this machine, where the configuration opens none that they can use.
    for_commands: Vec<Listener>,
}

impl Doors {
    fn open(config: &Config) -> Result<Doors, BindError> {
        let listeners = open_doors(config)?;
        let addresses: Vec<(Door, Address)> =
            listeners.iter().map(|listener| (listener.door(), listener.address().clone())).collect();
        let has_http = addresses.iter().any(|(door, _)| *door == Door::Http);
        let for_commands = if has_http { Vec::new() } else { door_for_commands(&config.storage.path) };
        Ok(Doors { listeners, addresses, for_commands })
    }

    /// Where HTTP without TLS is.
    fn asked_at(&self) -> Option<Address> {
        let http = self.addresses.iter().find(|(door, _)| *door == Door::Http).map(|(_, address)| address.clone());
        http.or_else(|| self.for_commands.first().map(|listener| listener.address().clone()))
    }
}

/// Files as they were when they were read.
struct Watched {
    application: watch::Seen,
    keys: watch::Seen,
    certificates: watch::Seen,
}

/// Lets clients in, and reads again what changed, until it is told to stop.
async fn serve(
    config: Config,
    again: Again,
    (node, entrance, http): (Arc<Node>, Arc<Entrance>, Arc<HttpState>),
    (doors, room): (Doors, Room),
    seen: Watched,
    stops: Stops,
) {
    let (mode, folder) = (again.mode, config.folder.clone());
    let shown = Arc::clone(&entrance);
    tokio::spawn(async move {
        watch::files(|| shown.files(), seen.certificates, || shown.reload_certificates()).await;
    });
    let signs_in = node.authenticator.clone();
    tokio::spawn(async move {
        watch::files(|| signs_in.key_file().into_iter().collect(), seen.keys, || signs_in.reload_keys()).await;
    });
    let (sys_interval, told_interval) = tokio::sync::watch::channel(config.mqtt.sys_interval);
    tokio::spawn(Arc::clone(&node.sys).run(told_interval));
    let Node { store, db, .. } = &*node;
    let (store, db, data) = (store.clone(), db.clone(), config.storage.path.clone());
    tokio::spawn(async move { disk::watch(&store, &data, &db, http.readiness()).await });
    for (listener, inbox) in doors.listeners.into_iter().chain(doors.for_commands).zip(node.inboxes.iter().cycle()) {
        inbox.push(Message::Accept(Box::new((listener, room))));
    }
    let running = Mutex::new(Running::new(config, again, Parts { node, entrance, sys_interval }));
    let changed = async {
        match mode {
            Mode::Dev => {
                watch::application(&folder, seen.application, || async { running.lock().await.reload().await }).await;
            }
            Mode::Run => std::future::pending().await,
        }
    };
    tokio::select! {
        why = stops.come(|| async { running.lock().await.reload().await }) => tracing::info!(why, "stopping"),
        () = changed => {}
    }
}

fn open_doors(config: &Config) -> Result<Vec<Listener>, BindError> {
    let mut listeners = Vec::new();
    for (door, listen) in [
        (Door::Mqtt, &config.mqtt.listen),
        (Door::Mqtts, &config.mqtt.secure_listen),
        (Door::Http, &config.http.listen),
        (Door::Https, &config.http.secure_listen),
    ] {
        listeners.extend(bind(door, listen)?);
    }
    Ok(listeners)
}

fn random() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system has no random numbers: {error}"))?;
    Ok(u64::from_le_bytes(bytes))
}

fn settings(
    config: &Config,
    (index, shards): (u32, u32),
    seed: u64,
    (reach, session_quota, arrivals): &(Arc<Reach>, Arc<SessionQuota>, Arc<AtomicU64>),
) -> Settings {
    Settings {
        index,
        shards,
        limits: config.mqtt.limits.clone(),
        open_topics: config.mqtt.open_topics,
        close_on_rejected: config.mqtt.rejected_publish == RejectedPublish::Disconnect,
        seed: seed.wrapping_add(u64::from(index) << 56),
        reach: Arc::clone(reach),
        session_quota: Arc::clone(session_quota),
        arrivals: Arc::clone(arrivals),
        filters_at_once: FILTERS_AT_ONCE,
        large_document_bytes: LARGE_DOCUMENT_BYTES,
    }
}

/// What the store is opened with.
pub(crate) fn options(config: &Config, node: NodeId) -> Options {
    let cache = usize::try_from(config.storage.cache_bytes).unwrap_or(usize::MAX);
    let ring_bytes = (cache / 8).min(24 * 1024 * 1024);
    Options {
        node: Some(node),
        ring_bytes,
        table_bytes: cache - ring_bytes,
        retention: retention(config),
        ..Options::default()
    }
}

/// How much of the log is kept.
pub(crate) fn retention(config: &Config) -> Retention {
    Retention {
        age_ms: Some(u64::try_from(config.retention.age.as_millis()).unwrap_or(u64::MAX)),
        bytes: Some(config.retention.bytes),
    }
}

fn report_opening(store: &Store) {
    let opened = store.opened();
    if opened.clean {
        return;
    }
    let replayed = opened.replayed;
    tracing::info!(replayed, "the last stop was not a clean one: the tables were brought up to date from the log");
    if let Some(cut) = &opened.cut {
        tracing::info!(?cut, "what was being written when it stopped, and was never acknowledged, is cut off");
    }
}

fn stop(node: &Node, http: &HttpState, threads: Vec<JoinHandle<()>>) {
    http.close();
    for inbox in &node.inboxes {
        inbox.push(Message::Stop);
    }
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a shard ended with a panic");
        }
    }
    node.refusals.tell_rest();
}

/// Signals that end the program in good order, or have it read its files again, from the moment this is made.
struct Stops {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    had_terminal: bool,
}

impl Stops {
    fn listen() -> std::io::Result<Stops> {
        Ok(Stops {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            had_terminal: stderr().is_terminal(),
        })
    }

    /// Waits for one that ends the program, also while it reads its files, and says which; `reload` at each that does not.
    async fn come<F: Future<Output = ()>>(self, mut reload: impl FnMut() -> F) -> &'static str {
        let Stops { mut interrupt, mut terminate, mut hangup, had_terminal } = self;
        let reloads = async {
            while hangup.recv().await.is_some() {
                if had_terminal && !stderr().is_terminal() {
                    return; // It was closed, and whoever looked at it with it.
                }
                reload().await;
            }
        };
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
            () = reloads => "the terminal is gone",
        }
    }
}
