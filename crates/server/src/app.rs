//! Wires the rooms: the order of start, the order of stop.
//!
//! Start: schema, log and tables, accounts, doors, then a thread a shard. Nobody is let in before everything is there.
//! Stop: doors shut, clients are told, sessions are written down, the writer ends, the log is closed.

use crate::access::Access;
use crate::admission::{Admission, Refusals};
use crate::application::{self, Application};
use crate::audit::{Audit, Event, Kind};
use crate::auth::{Account, Authenticator, Rules};
use crate::cli::screen::{Address, Screen, render};
use crate::clients::Clients;
use crate::config::{Config, Listen, Mode, RejectedPublish};
use crate::db::{Completions, Db};
use crate::entrance::{Entrance, Secure};
use crate::http::{self, HttpState};
use crate::net::{BindError, Door, Listener, Room, bind};
use crate::reload::{Again, Parts, Running};
use crate::runtime::{Directory, Inbox, Message, Node, NotWithout, Runtime};
use crate::sys::Sys;
use crate::users::Users;
use crate::{seed, tls, watch};
use anyhow::Context;
use rowcast_core::reach::{Reach, ShardSet};
use rowcast_core::session_quota::SessionQuota;
use rowcast_core::shard::{Input, Settings, Shard};
use rowcast_core::{Batch, Completion, Durability, NodeId, Sequence};
use rowcast_store::limits::{FILES_OPEN_MAX, TABLE_FILES_OPEN_MAX};
use rowcast_store::{Options, Origin, Queue, Retention, Sink, Store, StoreError, reads};
use std::env::VarError;
use std::io::{IsTerminal, stderr};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use tokio::task::{JoinSet, LocalSet};

/// Bytes of proposals that may wait for the writer.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// How often a start or a stop looks whether everything is quiet.
const STEP: Duration = Duration::from_millis(5);

/// Runs the application until it is told to stop. `again`: how to read the configuration while it runs.
pub fn run(config: Config, again: Again) -> anyhow::Result<()> {
    let mode = again.mode;
    let files = watch::look(&config.folder);
    let Application { catalog, roles } = application::read(&config.folder)?;
    let tables = catalog.tables().to_vec();
    let shards = config.threads().get();
    let files_max = raise_file_limit()?;
    let files_min = FILES_MIN + FILES_PER_SHARD_MIN * shards as u64;
    anyhow::ensure!(
        files_max >= files_min,
        "{files_max} open files are not enough for {shards} threads: the limit has to be {files_min}, and one more for \
         each connection; `ulimit -n` raises it"
    );
    let random_seed = random()?;
    let now_ms = crate::db::now_ms();
    let kept = files_beside_connections(files_max);
    let options = Options { table_files: table_files(kept), ..options(&config, NodeId(random()?.max(1))) };
    let (store, writer) = Store::open(&config.storage.path, &options, now_ms)
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
    let reach = Reach::new(shards);
    let sink = Fanout {
        _needed: NotWithout("writer"),
        inboxes: inboxes.clone(),
        completions: db.completions(),
        origin,
        reach: Arc::clone(&reach),
    };
    let writer = rowcast_store::spawn(writer, queue.clone(), Box::new(sink));

    // What must be there before the first client: tables with their numbers, an account.
    let main = Builder::new_current_thread().enable_all().build()?;
    let numbered = main.block_on(db.number(catalog))?;
    let access = Arc::new(Access::new(roles, Arc::clone(&numbered)));
    db.set_tables(numbered);
    if mode == Mode::Dev && is_new {
        match main.block_on(seed::sow(&config.folder, &db)) {
            Ok(0) => {}
            Ok(records) => tracing::info!(records, "the data folder is new: it has the records of seed/ now"),
            Err(error) => tracing::error!("a record of seed/ cannot be put: {error:#}"),
        }
    }
    let audit = match config.audit_file() {
        Some(file) => Audit::open(&file).with_context(|| format!("cannot write {}", file.path.display()))?,
        None => Audit::default(),
    };
    audit.note(Event::new(Kind::Started));
    let known_roles = Arc::clone(&access);
    let users = Users::new(db.clone(), Arc::new(move |role| known_roles.is_super_user(role)));
    let admin_password = match mode {
        Mode::Run => main.block_on(first_user(&users, &audit))?,
        Mode::Dev => None,
    };
    let keys = config.storage.path.join("keys");
    let authenticator = Authenticator::new(Arc::new(users.clone()), Rules::of(&config), config.token_rules(), &keys)
        .with_context(|| format!("nobody could sign in; the server's own keys are in {}", keys.display()))?;
    let secure = Secure::of(&config, &keys)?;
    let seen_keys = watch::look_at(authenticator.key_file().into_iter());
    let signs_in = authenticator.clone();
    let is_made = config.identities().next().is_none() && secure.is_any();
    let seen_files = watch::look_at(secure.files().cloned());
    let secure = secure.load()?;
    let authority = is_made.then(|| tls::authority::certificate(&keys));
    let doors = open_doors(&config)?;
    let open: Vec<(Door, Address)> =
        doors.iter().map(|listener| (listener.door(), listener.address().clone())).collect();
    let plain_http = open.iter().find(|(door, _)| *door == Door::Http).map(|(_, address)| address.clone());
    let for_commands = if plain_http.is_none() { door_for_commands(&config.storage.path) } else { Vec::new() };
    let asked_at = plain_http.or_else(|| for_commands.first().map(|listener| listener.address().clone()));
    let _asked_at = AskedAt::write(&config.storage.path, asked_at.as_ref())?;
    let (started, refusals) = (Instant::now(), Arc::<Refusals>::default());
    let told = (Arc::clone(&refusals), Arc::clone(&reach));
    let sys = Sys::new(store.clone(), db.clone(), inboxes.clone(), told, started);
    let sys = Arc::new(sys);
    let node = Arc::new(Node {
        store,
        queue: queue.clone(),
        db: db.clone(),
        authenticator: authenticator.clone(),
        access: Arc::clone(&access),
        audit: audit.clone(),
        admission: Admission::new(&config.mqtt.limits),
        refusals,
        directory: Directory::default(),
        inboxes,
        sys: Arc::clone(&sys),
        started,
    });
    let known = (authenticator, access, users, audit.clone());
    let clients: Arc<dyn Clients> = Arc::<Node>::clone(&node);
    let http = Arc::new(HttpState::new(db.clone(), known, clients, http::Settings::of(&config)));

    let entrance = Entrance::new(Arc::clone(&http), secure, config.mqtt.proxy_protocol, &config.mqtt.limits);
    let entrance = Arc::new(entrance);

    let committed = node.store.committed();
    let found = Arc::new(reads::found(&node.store)?);
    let shared = (reach, SessionQuota::restored(random_seed, &found, committed), Arc::default());
    let (restored, all_restored) = mpsc::channel();
    let mut threads = Vec::new();
    for index in 0..shards as u32 {
        let (node, entrance, found) = (Arc::clone(&node), Arc::clone(&entrance), Arc::clone(&found));
        let (settings, timeout) =
            (settings(&config, (index, shards as u32), random_seed, &shared), config.shutdown_timeout);
        let restored = restored.clone();
        let thread = std::thread::Builder::new().name(format!("shard-{index}"));
        threads.push(thread.spawn(move || {
            let _needed = NotWithout("thread of a shard");
            let shard = Shard::restored(settings, node.db.tables(), node.access.policy(), &found, node.now());
            drop(found);
            serve_shard(node, entrance, index, shard, timeout, restored);
        })?);
    }
    drop(found);
    // What shards proposed about interrupted sessions is on disk before a client can come back to one.
    all_restored.iter().take(shards).for_each(drop);
    main.block_on(db.propose(|token, proposals| proposals.push(Some(token), Durability::Sync, &[])))?;

    let room = room_for_connections(files_max, kept)?;
    let (stopped, mut hangups) = {
        let _runtime = main.enter();
        (told_to_stop()?, signal(SignalKind::hangup())?)
    };
    let had_terminal = stderr().is_terminal();
    let program = std::env::args().next().unwrap_or_else(|| "rowcast".to_owned());
    let screen = Screen {
        program: &program,
        mode,
        folder: &config.folder,
        data: &config.storage.path,
        doors: &open,
        authority: authority.as_deref(),
        tables: &tables,
        trusts_local: config.authentication.authorize_local,
        mqtt_proxied: config.mqtt.proxy_protocol,
        admin_password: admin_password.as_deref(),
    };
    anstream::print!("{}", render(&screen));
    main.block_on(async {
        let shown = Arc::clone(&entrance);
        tokio::spawn(async move {
            watch::files(|| shown.files(), seen_files, || shown.reload_certificates()).await;
        });
        tokio::spawn(async move {
            watch::files(|| signs_in.key_file().into_iter().collect(), seen_keys, || signs_in.reload_keys()).await;
        });
        let (sys_interval, told_interval) = tokio::sync::watch::channel(config.mqtt.sys_interval);
        tokio::spawn(sys.run(told_interval));
        for (listener, inbox) in doors.into_iter().chain(for_commands).zip(node.inboxes.iter().cycle()) {
            inbox.push(Message::Accept(Box::new((listener, room))));
        }
        let parts = Parts { node: Arc::clone(&node), entrance: Arc::clone(&entrance), sys_interval };
        let running = Mutex::new(Running::new(config.clone(), again, parts));
        let changed = async {
            match mode {
                Mode::Dev => {
                    watch::application(&config.folder, files, || async { running.lock().await.reload().await }).await;
                }
                Mode::Run => std::future::pending().await,
            }
        };
        let told = async {
            while hangups.recv().await.is_some() {
                if had_terminal && !stderr().is_terminal() {
                    return; // It was closed, and whoever looked at it with it.
                }
                running.lock().await.reload().await;
            }
        };
        tokio::select! {
            signal = stopped => tracing::info!(signal, "stopping"),
            () = told => tracing::info!("stopping: the terminal is gone"),
            () = changed => {}
        }
    });
    stop(&node, &http, threads);
    queue.close();
    if writer.join().is_err() {
        anyhow::bail!("the writer ended with a panic");
    }
    audit.note(Event::new(Kind::Stopped));
    audit.close();
    tracing::info!("stopped");
    Ok(())
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

/// HTTP for commands on this machine, where the configuration opens no such door without TLS: a socket in the data
/// folder, whose owner may do everything with it anyway. The node does without it if it has to.
fn door_for_commands(folder: &Path) -> Vec<Listener> {
    let socket = Listen::Unix(folder.join(COMMANDS));
    bind(Door::Http, &socket).unwrap_or_else(|error| {
        tracing::warn!(%error, "commands like `rowcast user` cannot ask this node while it runs");
        Vec::new()
    })
}

/// The socket in the data folder for commands.
const COMMANDS: &str = "commands.sock";

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
    }
}

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

/// As many sockets as the system allows; the default of most shells is a thousand.
/// Returns how many files may be open from now on.
fn raise_file_limit() -> std::io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX).or_else(|error| {
        tracing::debug!(%error, "the limit of open files stays as it is");
        rlimit::Resource::NOFILE.get_soft()
    })
}

/// Descriptors for the files that the store opens, and a few that are read again now and then: as many as may be useful,
/// and where there are not so many a small part, which is enough if tables hold few files open.
fn files_beside_connections(files_max: u64) -> u64 {
    (files_max / FILES_PART).clamp(FILES_KEPT_MIN, FILES_KEPT_MAX)
}

/// Which of them tables that are read may hold open; the others are for the log, and for merging tables.
fn table_files(kept: u64) -> usize {
    TABLE_FILES_OPEN_MAX.saturating_sub((FILES_KEPT_MAX - kept) as usize).max(kept as usize / 4)
}

/// Room for connections beside the files that descriptors are `kept` for.
fn room_for_connections(files_max: u64, kept: u64) -> std::io::Result<Room> {
    let room = Room::new(files_max, kept)?;
    let connections = room.connections();
    if connections < FEW_CONNECTIONS {
        tracing::warn!(files_max, connections, "the limit of open files leaves little room: `ulimit -n` raises it");
    }
    Ok(room)
}

/// What a node opens before anybody comes, and some to spare.
const FILES_MIN: u64 = 48;
/// What a thread of its own needs to wait for sockets.
const FILES_PER_SHARD_MIN: u64 = 8;
/// That part of all file descriptors is for files.
const FILES_PART: u64 = 400;
/// With fewer, what is left beside tables that are read would not do for merging tables.
const FILES_KEPT_MIN: u64 = 48;
const FILES_KEPT_MAX: u64 = FILES_OPEN_MAX as u64 + 32;
/// Whoever has fewer may not know it.
const FEW_CONNECTIONS: u64 = 512;

/// What a shard's thread does until it is stopped. `restored` hears when what it began with is on its way to the writer.
fn serve_shard(
    node: Arc<Node>,
    entrance: Arc<Entrance>,
    index: u32,
    shard: Shard,
    timeout: Duration,
    restored: mpsc::Sender<()>,
) {
    let runtime = match Builder::new_current_thread().enable_all().event_interval(31).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start a shard");
            std::process::exit(1);
        }
    };
    let local = LocalSet::new();
    local.block_on(&runtime, async move {
        let this = Runtime::new(node, index, shard);
        let stopping = Rc::new(tokio::sync::Notify::new());
        let stop = Rc::clone(&stopping);
        let mut doors = Some(JoinSet::new());
        let turns = Rc::clone(&this).turns(move |runtime, message| match message {
            Message::Accept(given) => {
                let Some(doors) = &mut doors else { return }; // It stops, and so will the others.
                while doors.try_join_next().is_some() {} // Those that others have by now.
                let (listener, room) = *given;
                doors.spawn_local(Arc::clone(&entrance).accept(Rc::clone(runtime), listener, room));
            }
            Message::Stop => {
                doors = None;
                runtime.with(|shard, now| shard.input(Input::Shutdown, now));
                stop.notify_one();
            }
            Message::Input(_) | Message::Room => {}
        });
        let quiet = async {
            while this.has_handover() {
                tokio::time::sleep(STEP).await;
            }
            let _ = restored.send(());
            stopping.notified().await;
            let deadline = Instant::now() + timeout;
            while Instant::now() < deadline && !this.look(|shard| shard.is_quiet() && shard.connections() == 0) {
                tokio::time::sleep(STEP).await;
            }
        };
        tokio::select! {
            () = turns => {}
            () = quiet => {}
        }
        this.report_rest();
    });
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

/// Signals that end the program in good order, from the moment this is called.
fn told_to_stop() -> std::io::Result<impl Future<Output = &'static str>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    })
}

/// Makes the user `admin` if there is no user at all; returns the password if it was made up.
async fn first_user(users: &Users, audit: &Audit) -> anyhow::Result<Option<String>> {
    if !users.list("").await?.is_empty() {
        return Ok(None);
    }
    let given = match std::env::var(ADMIN_PASSWORD) {
        // As an unset variable of a script becomes one that is set: nobody meant to have no password.
        Ok(given) if given.is_empty() => anyhow::bail!("{ADMIN_PASSWORD} is empty; without it a password is made up"),
        Ok(given) => Some(given),
        Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(_)) => anyhow::bail!("{ADMIN_PASSWORD} is not UTF-8"),
    };
    let is_short = given.as_ref().is_some_and(|given| given.len() < SHORT_BYTES);
    let mut made_up = None;
    let account = || {
        let (account, password) = Account::first(given.as_deref());
        made_up = password;
        account
    };
    if users.add_first(account).await? {
        let first = Event::new(Kind::UserAdded).by("first start").about(Account::ADMIN);
        audit.note(first.with(Some(Account::ADMIN), None, false));
        if is_short {
            tracing::warn!(
                "{ADMIN_PASSWORD} is short, and who guesses it may do everything; `rowcast user password admin` sets another"
            );
        }
    }
    Ok(made_up)
}

/// The variable with the first user's password.
const ADMIN_PASSWORD: &str = "ROWCAST_ADMIN_PASSWORD";
/// A password of fewer bytes than this is worth a warning.
const SHORT_BYTES: usize = 8;

/// Where commands on this machine find the node while it runs: a file in its data folder, gone with the value.
struct AskedAt(PathBuf);

impl AskedAt {
    /// Writes down where HTTP without TLS is, as one would connect to it; nothing if it is nowhere.
    fn write(folder: &Path, http: Option<&Address>) -> std::io::Result<AskedAt> {
        let path = folder.join(HTTP_ADDRESS);
        match http {
            Some(address) => std::fs::write(&path, reached_at(address))?,
            None => drop(std::fs::remove_file(&path)), // One that was killed may have left it.
        }
        Ok(AskedAt(path))
    }
}

impl Drop for AskedAt {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn reached_at(address: &Address) -> String {
    match address {
        Address::Unix(path) => format!("unix:{}", std::path::absolute(path).as_ref().unwrap_or(path).display()),
        Address::Tcp(address) if address.ip().is_unspecified() => {
            let ip: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            SocketAddr::new(ip, address.port()).to_string()
        }
        Address::Tcp(address) => address.to_string(),
    }
}

/// The file in the data folder that says where a running node's HTTP is.
pub(crate) const HTTP_ADDRESS: &str = "http.address";

/// Tells the shards, and whoever else waits, what the writer did.
struct Fanout {
    _needed: NotWithout,
    inboxes: Vec<Arc<Inbox>>,
    completions: Completions,
    origin: Origin,
    reach: Arc<Reach>,
}

impl Sink for Fanout {
    fn committed(&mut self, batch: Option<Arc<Batch>>, completions: Vec<(Origin, Vec<Completion>)>) {
        // Everyone has the batch before anyone is told that something in it is done: who hears of it and then asks
        // another shard finds it there. A shard that wants nothing of it need not be woken for that.
        let mut woken = ShardSet::NONE;
        if let Some(batch) = &batch {
            for (shard, inbox) in (0..).zip(&self.inboxes) {
                let input = Input::Committed { batch: Some(Arc::clone(batch)), completions: Vec::new() };
                if batch.may_be_wanted(shard, &self.reach) {
                    inbox.push_silently(Message::Input(input));
                    woken = woken.with(shard);
                } else {
                    inbox.push_unwanted(Message::Input(input), batch.memory());
                }
            }
        }
        for (origin, completions) in completions {
            if origin == self.origin {
                self.completions.complete(completions);
            } else if let Some(inbox) = self.inboxes.get(origin.0 as usize)
                && !completions.is_empty()
            {
                inbox.push_silently(Message::Input(Input::Committed { batch: None, completions }));
                woken = woken.with(origin.0);
            }
        }
        for (_, inbox) in (0..).zip(&self.inboxes).filter(|(shard, _)| woken.has(*shard)) {
            inbox.notify();
        }
    }

    fn failed(&mut self, error: StoreError) {
        // Memory and disk may differ from here on: starting again is the tested way out.
        tracing::error!(%error, "the log cannot be written; the server ends");
        std::process::exit(1);
    }
}
