//! One run of a scenario against one broker: what all of its clients share.

use super::cpu;
use super::link::{Broken, Link, Way};
use super::message::Messages;
use super::outcome::Outcome;
use super::pace::{Alarms, Clock};
use super::progress::Progress;
use super::tracker::Faults;
use super::wire::Login;
use hdrhistogram::Histogram;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

/// What is asked of a broker, whatever the scenario.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) clients: usize,
    pub(super) qos: u8,
    pub(super) payload_bytes: usize,
    /// Messages a second, all together; `None`: as fast as the window allows.
    pub(super) rate: Option<f64>,
    /// Messages under way, for each publisher.
    pub(super) window: usize,
    pub(super) warmup: Duration,
    pub(super) measured: Duration,
    /// How long nothing may arrive before what is missing is lost.
    pub(super) patience: Duration,
    /// Topics begin with that.
    pub(super) topic: String,
}

/// A broker under load.
#[derive(Clone, Debug)]
pub(super) struct Broker {
    pub(super) name: String,
    pub(super) way: Way,
    pub(super) login: Login,
    /// Its process, if it runs on this machine.
    pub(super) pid: Option<u32>,
}

/// What the clients of a run share. They all live on one thread.
pub(super) struct Run {
    pub(super) broker: Broker,
    pub(super) load: Load,
    pub(super) clock: Clock,
    pub(super) alarms: Alarms,
    pub(super) messages: Messages,
    pub(super) stop: Stop,
    number: u32,
    stage: Cell<Stage>,
    staged: Notify,
    connecting: Semaphore,
    ready: Cell<usize>,
    ended: Cell<usize>,
    window: RefCell<Range<u64>>,
    latency: RefCell<Histogram<u64>>,
    faults: Cell<Faults>,
    errors: RefCell<Vec<String>>,
}

/// What clients are to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stage {
    Connecting,
    Sending,
    /// Nothing new is sent; what is under way arrives.
    Draining,
    Over,
}

impl Run {
    pub(super) fn new(broker: &Broker, load: &Load, stop: &Stop) -> anyhow::Result<Rc<Run>> {
        let number = getrandom::u32()?;
        let clock = Clock::start();
        Ok(Rc::new(Run {
            broker: broker.clone(),
            load: load.clone(),
            clock,
            alarms: Alarms::start(clock),
            messages: Messages::new(number, load.payload_bytes),
            stop: stop.clone(),
            number,
            stage: Cell::new(Stage::Connecting),
            staged: Notify::new(),
            connecting: Semaphore::new(CONNECTING_MAX),
            ready: Cell::new(0),
            ended: Cell::new(0),
            window: RefCell::new(0..0),
            latency: RefCell::new(latencies()),
            faults: Cell::default(),
            errors: RefCell::default(),
        }))
    }

    /// A topic of this run and no other.
    pub(super) fn topic(&self, rest: &str) -> String {
        format!("{}/{:08x}/{rest}", self.load.topic, self.number)
    }

    /// Connects under a name of this run; not too many do at once.
    pub(super) async fn open(&self, role: char, at: usize) -> Result<Link, Broken> {
        let _turn = self.connecting.acquire().await.expect("it is never closed");
        Link::open(&self.broker.way, &self.broker.login, &self.client_id(role, at)).await
    }

    /// At most 23 letters and digits, which every broker takes (MQTT 3.1.1 §3.1.3.1).
    pub(super) fn client_id(&self, role: char, at: usize) -> String {
        format!("bench{:08x}{role}{at}", self.number)
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        self.staged.notify_waiters();
    }

    /// Waits for a stage, or a later one.
    pub(super) async fn reached(&self, stage: Stage) {
        while self.stage.get() < stage {
            self.staged.notified().await;
        }
    }

    /// A client is connected and subscribed.
    pub(super) fn client_is_ready(&self) {
        self.ready.set(self.ready.get() + 1);
    }

    /// A client has left; what went wrong with it.
    pub(super) fn client_ends(&self, mut faults: Faults, result: Result<(), Broken>) {
        self.ended.set(self.ended.get() + 1);
        if let Err(error) = result {
            faults.broken += 1;
            self.note(format!("{:#}", anyhow::Error::from(error)));
        }
        self.add_faults(faults);
    }

    pub(super) fn add_faults(&self, faults: Faults) {
        let mut sum = self.faults.get();
        sum += faults;
        self.faults.set(sum);
    }

    /// Keeps the first few different errors for the report.
    pub(super) fn note(&self, error: String) {
        let mut errors = self.errors.borrow_mut();
        if errors.len() < ERRORS_MAX && !errors.contains(&error) {
            errors.push(error);
        }
    }

    pub(super) fn note_refusal(&self, code: u8) {
        if self.errors.borrow().len() < ERRORS_MAX {
            self.note(format!("the broker refuses a message, code {code:#04x}"));
        }
    }

    pub(super) fn ready(&self) -> usize {
        self.ready.get()
    }

    pub(super) fn ended(&self) -> usize {
        self.ended.get()
    }

    /// Waits until so many clients are ready. Fails if one cannot be, or somebody stops the run.
    pub(super) async fn all_ready(&self, clients: usize) -> anyhow::Result<()> {
        while self.ready.get() < clients {
            if self.ended.get() > 0 {
                let errors = self.errors.borrow();
                anyhow::bail!("{}: {}", self.broker.name, errors.first().map_or("a client left", String::as_str));
            }
            anyhow::ensure!(!self.stop.asked(), "stopped before all clients were connected");
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    }

    /// When latencies are recorded and messages counted: after the warm-up.
    pub(super) fn plan_window(&self, start: u64) -> Range<u64> {
        let from = start + self.load.warmup.as_nanos() as u64;
        let window = from..from + self.load.measured.as_nanos() as u64;
        *self.window.borrow_mut() = window.clone();
        window
    }

    pub(super) fn is_measured(&self, at: u64) -> bool {
        self.window.borrow().contains(&at)
    }

    /// From when it was due until now.
    pub(super) fn record_latency(&self, due: u64, now: u64) {
        self.latency.borrow_mut().saturating_record(now.saturating_sub(due));
    }

    /// CPU seconds of the broker so far, if its process is known.
    pub(super) fn broker_cpu(&self) -> anyhow::Result<Option<f64>> {
        self.broker.pid.map(cpu::seconds).transpose()
    }

    /// Waits through the warm-up and the time that is measured, showing `count` as it goes; `each_tick` is called all
    /// along. A client that leaves too early ends it.
    pub(super) async fn measure(
        &self,
        progress: &Progress,
        count: impl Fn() -> u64,
        mut each_tick: impl FnMut(),
    ) -> anyhow::Result<Measured> {
        let window = self.window.borrow().clone();
        let begin = self.clock.now();
        let mut tick = |now: u64| {
            each_tick();
            let share = (now - begin) as f64 / (window.end - begin) as f64;
            progress.show(share, count(), self.faults.get());
        };
        self.pass(window.start, &mut tick).await;
        let (from, before) = (self.clock.now(), self.broker_cpu()?);
        self.pass(window.end, &mut tick).await;
        let (until, after) = (self.clock.now(), self.broker_cpu()?);
        // Stopped earlier: what was measured is what there was.
        *self.window.borrow_mut() = window.start..window.end.min(until);
        Ok(Measured {
            seconds: (until - from) as f64 / 1e9,
            cpu: after.zip(before).map(|(after, before)| after - before),
        })
    }

    async fn pass(&self, until: u64, tick: &mut impl FnMut(u64)) {
        loop {
            let now = self.clock.now();
            tick(now);
            if now >= until || self.stop.asked() || self.ended.get() > 0 {
                return;
            }
            tokio::time::sleep(TICK.min(Duration::from_nanos(until - now))).await;
        }
    }

    /// Waits until `left` is nothing, or has not moved for a while; then a little for what should not come any more.
    pub(super) async fn drain(&self, left: impl Fn() -> u64) {
        let (mut least, mut since) = (u64::MAX, self.clock.now());
        let asked = self.stop.times();
        loop {
            let now = self.clock.now();
            let left = left();
            if left != least {
                (least, since) = (left, now);
            }
            let patience = if self.stop.asked() { STOPPING.min(self.load.patience) } else { self.load.patience };
            if left == 0 || now - since > patience.as_nanos() as u64 || self.stop.times() > asked {
                break;
            }
            tokio::time::sleep(TICK / 5).await;
        }
        tokio::time::sleep(LINGERING).await;
    }

    /// Tells all clients to leave, and waits for them; not for those that hang.
    pub(super) async fn end(&self, mut clients: JoinSet<()>) {
        self.enter(Stage::Over);
        let leaving = async {
            while let Some(left) = clients.join_next().await {
                if let Err(error) = left {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        };
        let _ = tokio::time::timeout(LEAVING, leaving).await;
    }

    /// The end of it.
    pub(super) fn outcome(&self, checked: u64) -> Outcome {
        let mut outcome = Outcome::new(self.faults.get(), checked);
        outcome.errors = self.errors.borrow().clone();
        outcome.interrupted = self.stop.asked();
        outcome
    }

    /// What was recorded by [`Run::record_latency`].
    pub(super) fn latency(&self) -> Histogram<u64> {
        self.latency.borrow().clone()
    }
}

/// How long was measured, and what it cost the broker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) seconds: f64,
    pub(super) cpu: Option<f64>,
}

/// Ctrl-C: once ends the load, which still waits for what is under way; twice does not.
#[derive(Clone, Default, Debug)]
pub(super) struct Stop(Rc<Cell<u32>>);

impl Stop {
    /// Listens from now on, for as long as the program runs.
    pub(super) fn on_ctrl_c() -> Stop {
        let stop = Stop::default();
        let asked = Rc::clone(&stop.0);
        tokio::task::spawn_local(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                asked.set(asked.get() + 1);
            }
        });
        stop
    }

    pub(super) fn asked(&self) -> bool {
        self.0.get() > 0
    }

    fn times(&self) -> u32 {
        self.0.get()
    }
}

fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 120_000_000_000, 3).expect("these bounds are right")
}

/// How often somebody looks how things are.
pub(super) const TICK: Duration = Duration::from_millis(50);
/// The patience after Ctrl-C.
const STOPPING: Duration = Duration::from_secs(1);
/// How long duplicates are waited for when all is there.
const LINGERING: Duration = Duration::from_millis(200);
/// How long clients may take to say goodbye.
const LEAVING: Duration = Duration::from_secs(2);
/// Clients in the middle of connecting, but in the scenario that is about it.
const CONNECTING_MAX: usize = 50;
/// Different errors told.
const ERRORS_MAX: usize = 5;
