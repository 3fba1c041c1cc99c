//! Many clients that connect, stay, and are still served.

use super::link::Broken;
use super::message::Stamp;
use super::outcome::{Outcome, Unit};
use super::pace::Pace;
use super::progress::Progress;
use super::run::{Measured, Run, Stage, TICK};
use super::tracker::Faults;
use super::wire::{self, Form, Packet};
use super::{cpu, link::Link};
use hdrhistogram::Histogram;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Whether each client has a topic of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subscribing {
    Yes,
    No,
}

/// Connects all, lets them be idle, and asks each whether it is served.
pub(super) async fn run(
    run: &Rc<Run>,
    subscribing: Subscribing,
    hold: Duration,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    let clients = run.load.clients;
    let memory = run.broker.pid.map(cpu::resident_bytes).transpose()?;
    let (begin, before) = (run.clock.now(), run.broker_cpu()?);
    let crowd = Rc::new(Crowd {
        run: Rc::clone(run),
        subscribing,
        connecting: Semaphore::new(run.load.window),
        times: RefCell::new(Histogram::new_with_bounds(1_000, 120_000_000_000, 3).expect("these bounds are right")),
    });
    let mut tasks = JoinSet::new();
    let mut alarm = run.alarms.alarm();
    let pace = run.load.rate.map(|rate| Pace::new(begin, rate, 0, 1));
    for at in 0..clients {
        let due = pace.map(|pace| pace.due(at as u64));
        if let Some(due) = due {
            alarm.at(due).await;
        }
        if run.stop.asked() {
            break;
        }
        tasks.spawn_local(Rc::clone(&crowd).live(at, due));
        crowd.show(progress);
    }
    let started = tasks.len();
    while run.ready() + run.ended() < started && !run.stop.asked() {
        tokio::time::sleep(TICK / 10).await;
        crowd.show(progress);
    }
    let up = run.ready();
    let (seconds, after) = ((run.clock.now() - begin) as f64 / 1e9, run.broker_cpu()?);
    let measured = Measured { seconds, cpu: after.zip(before).map(|(after, before)| after - before) };

    progress.say("holding the connections");
    hold_on(run, hold).await;
    let grown = memory.zip(run.broker.pid.map(cpu::resident_bytes).transpose()?);
    progress.say("asking each whether it is served");
    run.enter(Stage::Draining);
    run.drain(|| (started - run.ended().min(started)) as u64).await;
    run.end(tasks).await;

    let mut outcome = run.outcome(up as u64);
    outcome.rate("connected", up as u64, measured);
    outcome.latency("connecting", &crowd.times.borrow());
    if let Some((before, after)) = grown {
        let each = after.saturating_sub(before) as f64 / up as f64;
        outcome.figure("bytes_per_connection".into(), "memory/connection".into(), Unit::Bytes, each);
    }
    Ok(outcome)
}

async fn hold_on(run: &Run, hold: Duration) {
    let until = run.clock.now() + hold.as_nanos() as u64;
    while run.clock.now() < until && !run.stop.asked() {
        tokio::time::sleep(TICK).await;
    }
}

struct Crowd {
    run: Rc<Run>,
    subscribing: Subscribing,
    /// Those in the middle of it, when there is no pace.
    connecting: Semaphore,
    times: RefCell<Histogram<u64>>,
}

impl Crowd {
    fn show(&self, progress: &Progress) {
        let done = self.run.ready() + self.run.ended();
        progress.show(done as f64 / self.run.load.clients as f64, done as u64, Faults::default());
    }

    async fn live(self: Rc<Self>, at: usize, due: Option<u64>) {
        let result = self.connect(at, due).await;
        let result = match result {
            Ok((mut link, topic)) => {
                let answered = self.stay(&mut link, at, &topic).await;
                link.close();
                answered
            }
            Err(error) => Err(error),
        };
        self.run.client_ends(Faults::default(), result);
    }

    /// The time counts from when it was to begin until the broker has accepted, and the subscription too.
    async fn connect(&self, at: usize, due: Option<u64>) -> Result<(Link, String), Broken> {
        let run = &self.run;
        let _turn = self.connecting.acquire().await.expect("it is never closed");
        let due = due.unwrap_or(run.clock.now());
        let client_id = run.client_id('c', at);
        let mut link = Link::open(&run.broker.way, &run.broker.login, &client_id).await?;
        let topic = run.topic(&format!("c{at}"));
        if self.subscribing == Subscribing::Yes {
            link.subscribe(&topic, run.load.qos).await?;
        }
        self.times.borrow_mut().saturating_record(run.clock.now().saturating_sub(due));
        run.client_is_ready();
        Ok((link, topic))
    }

    /// Waits in silence until all are there; then the broker has to answer a ping, or to bring a message.
    async fn stay(&self, link: &mut Link, at: usize, topic: &str) -> Result<(), Broken> {
        let run = &self.run;
        let silent = |_: Packet<'_>, _: &mut Vec<u8>| Err(Broken::Unexpected("nothing was published"));
        tokio::select! {
            biased;
            () = run.reached(Stage::Draining) => {}
            result = link.turn(silent) => return result.and(Err(Broken::Closed)),
        }
        let stamp = Stamp { from: at as u32, number: 0, due: 0 };
        match self.subscribing {
            Subscribing::No => link.out.extend(wire::PINGREQ),
            Subscribing::Yes => {
                let form = Form { version: run.broker.login.version, qos: 0, retain: false };
                wire::publish(&mut link.out, form, topic, 0, run.messages.bytes());
                run.messages.write(stamp, &mut link.out);
            }
        }
        let mut answered = false;
        while !answered {
            let answer = link.turn(|packet, _| match (packet, self.subscribing) {
                (Packet::Pingresp, Subscribing::No) => {
                    answered = true;
                    Ok(())
                }
                (Packet::Publish { payload, .. }, Subscribing::Yes) if run.messages.read(payload) == Some(stamp) => {
                    answered = true;
                    Ok(())
                }
                _ => Err(Broken::Unexpected("it is not the answer to what was asked")),
            });
            tokio::select! {
                biased;
                result = answer => result?,
                () = run.reached(Stage::Over) => return Err(Broken::Unserved),
            }
        }
        Ok(())
    }
}
