//! Publishers and subscribers at work: pairs, one to many, many to one; as fast as it goes or at a pace.

use super::flight::{Flight, Landed};
use super::link::{Broken, Link};
use super::message::Stamp;
use super::outcome::Outcome;
use super::pace::Pace;
use super::progress::Progress;
use super::run::{Run, Stage};
use super::tracker::{Faults, Tracker};
use super::wire::{self, Form, Packet};
use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Who hears whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// Each publisher has one subscriber.
    Pairs,
    /// One publisher, which all hear.
    FanOut,
    /// One subscriber, which hears all.
    FanIn,
}

impl Shape {
    fn publishers(self, clients: usize) -> usize {
        if self == Shape::FanOut { 1 } else { clients }
    }

    fn subscribers(self, clients: usize) -> usize {
        if self == Shape::FanIn { 1 } else { clients }
    }

    /// The publishers that a subscriber hears.
    fn heard(self, subscriber: usize, clients: usize) -> Range<usize> {
        match self {
            Shape::Pairs => subscriber..subscriber + 1,
            Shape::FanOut => 0..1,
            Shape::FanIn => 0..clients,
        }
    }
}

/// Lets the clients work, and says what came of it.
pub(super) async fn run(run: &Rc<Run>, shape: Shape, progress: &Progress) -> anyhow::Result<Outcome> {
    let clients = run.load.clients;
    let (publishers, subscribers) = (shape.publishers(clients), shape.subscribers(clients));
    let traffic = Rc::new(Traffic {
        run: Rc::clone(run),
        fan: (subscribers * shape.heard(0, clients).len() / publishers) as u64,
        lines: (0..publishers).map(|at| Line::new(run.topic(&format!("p{at}")))).collect(),
        arrived_in_time: Cell::new(0),
    });
    progress.say("connecting");
    let mut tasks = JoinSet::new();
    for at in 0..subscribers {
        tasks.spawn_local(Subscriber::new(&traffic, shape.heard(at, clients)).live(at));
    }
    run.all_ready(subscribers).await?;
    for at in 0..publishers {
        tasks.spawn_local(publish(Rc::clone(&traffic), at));
    }
    run.all_ready(subscribers + publishers).await?;

    run.plan_window(run.clock.now());
    run.enter(Stage::Sending);
    let mut stalled = Stalled::default();
    let measured = run.measure(progress, || traffic.arrived(), || stalled.look(&traffic)).await?;
    run.enter(Stage::Draining);
    progress.say("waiting for what is under way");
    run.drain(|| traffic.left()).await;
    run.end(tasks).await;

    let mut outcome = run.outcome(traffic.arrived());
    outcome.rate("delivered", traffic.arrived_in_time.get(), measured);
    outcome.latency("latency", &run.latency());
    Ok(outcome)
}

/// All publishers and subscribers of a run.
struct Traffic {
    run: Rc<Run>,
    /// Subscribers of each message.
    fan: u64,
    lines: Vec<Line>,
    arrived_in_time: Cell<u64>,
}

/// What one publisher sends.
struct Line {
    topic: String,
    sent: Cell<u64>,
    /// At each of its subscribers, each message once.
    arrived: Cell<u64>,
    /// No longer waited for.
    forgiven: Cell<u64>,
    unacknowledged: Cell<u64>,
    /// Something arrived.
    moved: Notify,
}

impl Line {
    fn new(topic: String) -> Line {
        let zero = || Cell::new(0);
        Line { topic, sent: zero(), arrived: zero(), forgiven: zero(), unacknowledged: zero(), moved: Notify::new() }
    }

    fn under_way(&self, fan: u64) -> u64 {
        (self.sent.get() * fan).saturating_sub(self.arrived.get())
    }
}

impl Traffic {
    fn arrived(&self) -> u64 {
        self.lines.iter().map(|line| line.arrived.get()).sum()
    }

    fn left(&self) -> u64 {
        self.lines.iter().map(|line| line.under_way(self.fan) + line.unacknowledged.get()).sum()
    }

    /// Whether the window of a publisher has room, of what its subscribers have not seen yet.
    fn has_room(&self, line: &Line) -> bool {
        line.under_way(self.fan).saturating_sub(line.forgiven.get()) < self.run.load.window as u64 * self.fan
    }
}

/// A closed loop waits for what arrives; what is lost would stop it for ever.
#[derive(Default)]
struct Stalled {
    arrived: u64,
    since: u64,
}

impl Stalled {
    fn look(&mut self, traffic: &Traffic) {
        let (arrived, now) = (traffic.arrived(), traffic.run.clock.now());
        if arrived != self.arrived || self.since == 0 {
            (self.arrived, self.since) = (arrived, now);
        } else if now - self.since > STALLED_NS {
            self.since = now;
            for line in &traffic.lines {
                line.forgiven.set(line.under_way(traffic.fan));
                line.moved.notify_one();
            }
        }
    }
}

/// How long nothing may arrive before publishers go on regardless.
const STALLED_NS: u64 = 1_000_000_000;

async fn publish(traffic: Rc<Traffic>, at: usize) {
    let mut publisher = Publisher { traffic: &traffic, line: &traffic.lines[at], at, flight: None, refused: 0 };
    let result = publisher.live().await;
    let unacknowledged = publisher.flight.as_ref().map_or(0, |flight| flight.len() as u64);
    let faults = Faults { refused: publisher.refused, unacknowledged, ..Faults::default() };
    traffic.run.client_ends(faults, result);
}

struct Publisher<'t> {
    traffic: &'t Traffic,
    line: &'t Line,
    at: usize,
    /// For QoS 1 and 2.
    flight: Option<Flight<()>>,
    refused: u64,
}

impl Publisher<'_> {
    async fn live(&mut self) -> Result<(), Broken> {
        let run = &self.traffic.run;
        let mut link = run.open('p', self.at).await?;
        link.check_qos(run.load.qos)?;
        self.flight = (run.load.qos > 0).then(|| Flight::new(run.load.window, link.receive_maximum));
        let mut alarm = run.alarms.alarm();
        run.client_is_ready();
        run.reached(Stage::Sending).await;
        let publishers = self.traffic.lines.len();
        let pace = run.load.rate.map(|rate| {
            let rate_of_each = rate / publishers as f64;
            Pace::new(run.clock.now(), rate_of_each, self.at, publishers)
        });
        let line = self.line;
        loop {
            let next = self.send_what_is_due(&mut link, pace);
            tokio::select! {
                biased;
                () = run.reached(Stage::Over) => break,
                result = link.turn(|packet, out| self.on(packet, out)) => result?,
                () = line.moved.notified() => {}
                () = alarm.at(next.unwrap_or_default()), if next.is_some() => {}
                () = run.reached(Stage::Draining), if run.stage() < Stage::Draining => {}
            }
        }
        link.close();
        Ok(())
    }

    /// Writes what may be sent now. When the next is due, if it is time that it waits for.
    fn send_what_is_due(&mut self, link: &mut Link, pace: Option<Pace>) -> Option<u64> {
        let run = &self.traffic.run;
        let now = run.clock.now();
        while run.stage() == Stage::Sending && !link.is_full() {
            let due = pace.map_or(now, |pace| pace.due(self.line.sent.get()));
            if due > now {
                return Some(due);
            }
            if pace.is_none() && !self.traffic.has_room(self.line) {
                return None;
            }
            let id = match &mut self.flight {
                Some(flight) if !flight.has_room() => return None,
                Some(flight) => flight.start(()),
                None => 0,
            };
            self.send(link, due, id);
        }
        None
    }

    fn send(&mut self, link: &mut Link, due: u64, id: u16) {
        let run = &self.traffic.run;
        let number = self.line.sent.get();
        let stamp = Stamp { from: self.at as u32, number, due };
        let form = Form { version: run.broker.login.version, qos: run.load.qos, retain: false };
        wire::publish(&mut link.out, form, &self.line.topic, id, run.messages.bytes());
        run.messages.write(stamp, &mut link.out);
        self.line.sent.set(number + 1);
        self.note_unacknowledged();
    }

    fn on(&mut self, packet: Packet<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
        let flight = self.flight.as_mut().ok_or(Broken::Unexpected("QoS 0 is not acknowledged"))?;
        if let Some(Landed::Refused(code)) = flight.on(packet, out)? {
            self.refused += 1;
            self.traffic.run.note_refusal(code);
        }
        self.note_unacknowledged();
        Ok(())
    }

    fn note_unacknowledged(&self) {
        let count = self.flight.as_ref().map_or(0, Flight::len);
        self.line.unacknowledged.set(count as u64);
    }
}

struct Subscriber {
    traffic: Rc<Traffic>,
    heard: Range<usize>,
    trackers: Vec<Tracker>,
    spoiled: u64,
}

impl Subscriber {
    fn new(traffic: &Rc<Traffic>, heard: Range<usize>) -> Subscriber {
        let trackers = heard.clone().map(|_| Tracker::default()).collect();
        Subscriber { traffic: Rc::clone(traffic), heard, trackers, spoiled: 0 }
    }

    async fn live(mut self, at: usize) {
        let run = Rc::clone(&self.traffic.run);
        let result = self.listen(&run, at).await;
        run.client_ends(Faults { spoiled: self.spoiled, ..Faults::default() }, result);
        // Publishers may still be at work when a subscriber breaks.
        run.reached(Stage::Over).await;
        for (tracker, line) in self.trackers.iter().zip(&self.traffic.lines[self.heard]) {
            run.add_faults(tracker.faults(line.sent.get()));
        }
    }

    async fn listen(&mut self, run: &Run, at: usize) -> Result<(), Broken> {
        let mut link = run.open('s', at).await?;
        link.check_qos(run.load.qos)?;
        let filter = match self.heard.len() {
            1 => self.traffic.lines[self.heard.start].topic.clone(),
            _ => run.topic("+"),
        };
        link.subscribe(&filter, run.load.qos).await?;
        run.client_is_ready();
        loop {
            tokio::select! {
                biased;
                () = run.reached(Stage::Over) => break,
                result = link.turn(|packet, out| self.on(run, packet, out)) => result?,
            }
        }
        link.close();
        Ok(())
    }

    fn on(&mut self, run: &Run, packet: Packet<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
        match packet {
            Packet::Publish { qos, id, topic, payload } => {
                match qos {
                    1 => wire::acknowledge(out, wire::PUBACK, id),
                    2 => wire::acknowledge(out, wire::PUBREC, id),
                    _ => {}
                }
                self.on_message(run, topic, payload);
                Ok(())
            }
            Packet::Pubrel { id } => {
                wire::acknowledge(out, wire::PUBCOMP, id);
                Ok(())
            }
            _ => Err(Broken::Unexpected("a subscriber waits for messages only")),
        }
    }

    fn on_message(&mut self, run: &Run, topic: &[u8], payload: &[u8]) {
        let stamp = run.messages.read(payload);
        let heard = stamp.filter(|stamp| self.heard.contains(&(stamp.from as usize))).and_then(|stamp| {
            let line = self.traffic.lines.get(stamp.from as usize)?;
            let sent = topic == line.topic.as_bytes() && stamp.number < line.sent.get();
            sent.then_some((stamp, line))
        });
        let Some((stamp, line)) = heard else {
            self.spoiled += 1;
            return;
        };
        if !self.trackers[stamp.from as usize - self.heard.start].on(stamp.number) {
            return;
        }
        let now = run.clock.now();
        line.arrived.set(line.arrived.get() + 1);
        line.moved.notify_one();
        if run.is_measured(now) {
            self.traffic.arrived_in_time.set(self.traffic.arrived_in_time.get() + 1);
        }
        if run.is_measured(stamp.due) {
            run.record_latency(stamp.due, now);
        }
    }
}
