//! Records: retained messages written with acknowledgement, and all of them read back.

use super::flight::{Flight, Landed};
use super::link::{Broken, Link};
use super::message::Stamp;
use super::outcome::Outcome;
use super::pace::Pace;
use super::progress::Progress;
use super::run::{Measured, Run, Stage};
use super::tracker::Faults;
use super::wire::{self, Form, Packet};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use tokio::task::JoinSet;

/// What becomes of the records in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Afterwards {
    Delete,
    Keep,
}

/// Writes for a while, each record again and again; then reads all, and compares.
pub(super) async fn run(
    run: &Rc<Run>,
    records: usize,
    afterwards: Afterwards,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    let writers = run.load.clients.min(records);
    let table = Rc::new(Table {
        run: Rc::clone(run),
        parts: (0..writers).map(|at| Part::new(records * at / writers..records * (at + 1) / writers)).collect(),
        topics: (0..records).map(|at| run.topic(&format!("r{at}"))).collect(),
        acknowledged_in_time: Cell::new(0),
    });
    progress.say("connecting");
    let mut tasks = JoinSet::new();
    for at in 0..writers {
        tasks.spawn_local(write(Rc::clone(&table), at));
    }
    run.all_ready(writers).await?;
    run.plan_window(run.clock.now());
    run.enter(Stage::Sending);
    let writing = run.measure(progress, || table.acknowledged(), || {}).await?;
    run.enter(Stage::Draining);
    progress.say("waiting for acknowledgements");
    run.drain(|| table.unacknowledged()).await;
    run.end(tasks).await;

    progress.say("reading back");
    let mut reader = Reader::new(&table);
    let reading = reader.read(&table).await?;
    let (faults, read) = reader.compare(&table);
    run.add_faults(faults);
    if afterwards == Afterwards::Delete {
        progress.say("deleting the records");
        table.delete().await?;
    }

    let mut outcome = run.outcome(read);
    outcome.rate("written", table.acknowledged_in_time.get(), writing);
    outcome.latency("acknowledged", &run.latency());
    outcome.rate("read", read, reading);
    Ok(outcome)
}

/// The records of a run, divided among its writers.
struct Table {
    run: Rc<Run>,
    parts: Vec<Part>,
    topics: Vec<String>,
    acknowledged_in_time: Cell<u64>,
}

/// The records of one writer, written in turn: message `n` is a version of the `n % len`th.
struct Part {
    records: Range<usize>,
    sent: Cell<u64>,
    acknowledged: Cell<u64>,
    unacknowledged: Cell<u64>,
    /// For each record one more than the newest acknowledged message, 0 for none.
    newest: RefCell<Vec<u64>>,
}

impl Part {
    fn new(records: Range<usize>) -> Part {
        let zero = || Cell::new(0);
        let newest = RefCell::new(vec![0; records.len()]);
        Part { records, sent: zero(), acknowledged: zero(), unacknowledged: zero(), newest }
    }

    fn on_acknowledged(&self, number: u64) {
        self.acknowledged.set(self.acknowledged.get() + 1);
        let newest = &mut self.newest.borrow_mut()[number as usize % self.records.len()];
        *newest = (*newest).max(number + 1);
    }
}

impl Table {
    fn acknowledged(&self) -> u64 {
        self.parts.iter().map(|part| part.acknowledged.get()).sum()
    }

    fn unacknowledged(&self) -> u64 {
        self.parts.iter().map(|part| part.unacknowledged.get()).sum()
    }

    /// Records that must be there.
    fn promised(&self) -> u64 {
        self.parts.iter().map(|part| part.newest.borrow().iter().filter(|newest| **newest > 0).count() as u64).sum()
    }

    /// Which writer's a record is, and its place there.
    fn part_of(&self, record: usize) -> (usize, usize) {
        let at = self.parts.partition_point(|part| part.records.end <= record);
        (at, record - self.parts[at].records.start)
    }

    /// Empties every topic that was written to, some at a time.
    async fn delete(&self) -> Result<(), Broken> {
        let mut link = self.run.open('d', 0).await?;
        let mut flight = Flight::new(self.run.load.window, link.receive_maximum);
        let form = Form { version: self.run.broker.login.version, qos: 1, retain: true };
        let written = self.parts.iter().flat_map(|part| part.records.clone().take(part.sent.get() as usize));
        let mut topics = written.map(|record| &self.topics[record]).peekable();
        while topics.peek().is_some() || flight.len() > 0 {
            while flight.has_room() && !link.is_full() {
                let Some(topic) = topics.next() else { break };
                let id = flight.start(());
                wire::publish(&mut link.out, form, topic, id, 0);
            }
            let patience = tokio::time::sleep(DELETING);
            tokio::select! {
                result = link.turn(|packet, out| flight.on(packet, out).map(|_| ())) => result?,
                () = patience => return Err(Broken::Silent),
            }
        }
        link.close();
        Ok(())
    }
}

/// How long the broker may be silent while records are deleted.
const DELETING: std::time::Duration = std::time::Duration::from_secs(30);

async fn write(table: Rc<Table>, at: usize) {
    let mut writer = Writer { table: &table, part: &table.parts[at], at, refused: 0 };
    let result = writer.live().await;
    let faults =
        Faults { refused: writer.refused, unacknowledged: writer.part.unacknowledged.get(), ..Faults::default() };
    table.run.client_ends(faults, result);
}

struct Writer<'t> {
    table: &'t Table,
    part: &'t Part,
    at: usize,
    refused: u64,
}

impl Writer<'_> {
    async fn live(&mut self) -> Result<(), Broken> {
        let run = &self.table.run;
        let mut link = run.open('w', self.at).await?;
        link.check_qos(run.load.qos)?;
        let mut flight = Flight::new(run.load.window, link.receive_maximum);
        let mut alarm = run.alarms.alarm();
        run.client_is_ready();
        run.reached(Stage::Sending).await;
        let writers = self.table.parts.len();
        let pace = run.load.rate.map(|rate| Pace::new(run.clock.now(), rate / writers as f64, self.at, writers));
        loop {
            let next = self.send_what_is_due(&mut link, &mut flight, pace);
            tokio::select! {
                biased;
                () = run.reached(Stage::Over) => break,
                result = link.turn(|packet, out| self.on(&mut flight, packet, out)) => result?,
                () = alarm.at(next.unwrap_or_default()), if next.is_some() => {}
                () = run.reached(Stage::Draining), if run.stage() < Stage::Draining => {}
            }
        }
        link.close();
        Ok(())
    }

    /// Writes what may be sent now. When the next is due, if it is time that it waits for.
    fn send_what_is_due(&self, link: &mut Link, flight: &mut Flight<Stamp>, pace: Option<Pace>) -> Option<u64> {
        let run = &self.table.run;
        let now = run.clock.now();
        let form = Form { version: run.broker.login.version, qos: run.load.qos, retain: true };
        while run.stage() == Stage::Sending && !link.is_full() {
            let number = self.part.sent.get();
            let due = pace.map_or(now, |pace| pace.due(number));
            if due > now {
                return Some(due);
            }
            if !flight.has_room() {
                return None;
            }
            let stamp = Stamp { from: self.at as u32, number, due };
            let record = self.part.records.start + number as usize % self.part.records.len();
            let id = flight.start(stamp);
            wire::publish(&mut link.out, form, &self.table.topics[record], id, run.messages.bytes());
            run.messages.write(stamp, &mut link.out);
            self.part.sent.set(number + 1);
            self.part.unacknowledged.set(flight.len() as u64);
        }
        None
    }

    fn on(&mut self, flight: &mut Flight<Stamp>, packet: Packet<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
        let run = &self.table.run;
        match flight.on(packet, out)? {
            Some(Landed::Acknowledged(stamp)) => {
                let now = run.clock.now();
                self.part.on_acknowledged(stamp.number);
                if run.is_measured(now) {
                    self.table.acknowledged_in_time.set(self.table.acknowledged_in_time.get() + 1);
                }
                if run.is_measured(stamp.due) {
                    run.record_latency(stamp.due, now);
                }
            }
            Some(Landed::Refused(code)) => {
                self.refused += 1;
                run.note_refusal(code);
            }
            None => {}
        }
        self.part.unacknowledged.set(flight.len() as u64);
        Ok(())
    }
}

/// What one subscription to all records brings.
struct Reader {
    /// How often each record came, and the newest message that came for it.
    seen: Vec<(u64, Option<u64>)>,
    came: u64,
    last: u64,
    spoiled: u64,
}

impl Reader {
    fn new(table: &Table) -> Reader {
        Reader { seen: vec![(0, None); table.topics.len()], came: 0, last: 0, spoiled: 0 }
    }

    /// Subscribes, and waits until all that must be there has come, or nothing more comes.
    async fn read(&mut self, table: &Table) -> anyhow::Result<Measured> {
        let run = &table.run;
        let mut link = run.open('g', 0).await?;
        let (begin, before) = (run.clock.now(), run.broker_cpu()?);
        self.last = begin;
        wire::subscribe(&mut link.out, run.broker.login.version, &run.topic("+"), run.load.qos);
        let promised = table.promised();
        let came = Cell::new(0);
        let waiting = run.drain(|| promised.saturating_sub(came.get()));
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                biased;
                result = link.turn(|packet, out| self.on(table, packet, out)) => result?,
                () = &mut waiting => break,
            }
            came.set(self.came);
        }
        let after = run.broker_cpu()?;
        link.close();
        let cpu = after.zip(before).map(|(after, before)| after - before);
        Ok(Measured { seconds: (self.last - begin) as f64 / 1e9, cpu })
    }

    fn on(&mut self, table: &Table, packet: Packet<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
        match packet {
            Packet::Publish { qos, id, topic, payload } => {
                match qos {
                    1 => wire::acknowledge(out, wire::PUBACK, id),
                    2 => wire::acknowledge(out, wire::PUBREC, id),
                    _ => {}
                }
                self.last = table.run.clock.now();
                self.on_record(table, topic, payload);
                Ok(())
            }
            Packet::Pubrel { id } => {
                wire::acknowledge(out, wire::PUBCOMP, id);
                Ok(())
            }
            Packet::Suback { code } if code < 0x80 => Ok(()),
            Packet::Suback { code } => Err(Broken::Unsubscribed(code)),
            _ => Err(Broken::Unexpected("a reader waits for records only")),
        }
    }

    fn on_record(&mut self, table: &Table, topic: &[u8], payload: &[u8]) {
        let record = table.run.messages.read(payload).and_then(|stamp| {
            let part = table.parts.get(stamp.from as usize)?;
            let record = part.records.start + stamp.number as usize % part.records.len();
            let sent = stamp.number < part.sent.get() && topic == table.topics[record].as_bytes();
            sent.then_some((record, stamp.number))
        });
        match record {
            Some((record, number)) => {
                let (times, newest) = &mut self.seen[record];
                self.came += u64::from(*times == 0);
                *times += 1;
                *newest = (*newest).max(Some(number));
            }
            None => self.spoiled += 1,
        }
    }

    /// Each acknowledged write must be there, or a later one in its place. Also how many records came.
    fn compare(&self, table: &Table) -> (Faults, u64) {
        let mut faults = Faults { spoiled: self.spoiled, ..Faults::default() };
        for (record, (times, newest)) in self.seen.iter().enumerate() {
            let (part, place) = table.part_of(record);
            let promised = table.parts[part].newest.borrow()[place];
            faults.doubled += times.saturating_sub(1);
            match newest {
                None => faults.lost += u64::from(promised > 0),
                Some(number) => faults.stale += u64::from(number + 1 < promised),
            }
        }
        (faults, self.came)
    }
}
