//! `kill -9` at any moment, under load, again and again on one folder: nothing that was acknowledged may be gone, and
//! nothing of QoS 2 may come twice.
//!
//! Ten kills in a usual run; `ROWCAST_KILLS=200` asks for more, `ROWCAST_SEED` for others. The moment of a kill is a
//! number of acknowledgements, so that a slow machine is killed as deep in its work as a fast one.

use crate::random::Random;
use crate::server::{Application, Server};
use crate::wire::{self, Client, Connect, Packet, Version, ack};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Publishers of records with QoS 1.
const WRITERS: usize = 3;
/// Publishers of events with QoS 2, whose session lasts.
const BARKERS: usize = 2;
/// Records of each writer.
const KEYS: u64 = 20;
/// Publishes of one client that wait for an answer.
const WINDOW: usize = 16;
/// Clients with a will, new in each round.
const MORTALS: usize = 4;
/// A kill comes after one acknowledgement, at this many, or anywhere between.
const ACKNOWLEDGEMENTS_MAX: u64 = 600;

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let number = |name, default| std::env::var(name).map_or(default, |value| value.parse().expect("a number"));
    let (kills, seed) = (number("ROWCAST_KILLS", 10), number("ROWCAST_SEED", 1));
    let mut random = Random::new(seed);
    let application = Application::new("type Dog @table @export { id: ID @id n: Long }");
    let mut writers: Vec<Writer> = (0..WRITERS).map(Writer::new).collect();
    let mut barkers: Vec<Barker> = (0..BARKERS).map(Barker::new).collect();
    // One is there all the time, one comes now and then.
    let mut listener = Listener::new("listener");
    let mut visitor = Listener::new("visitor");
    let mut follower = Follower::default();
    let mut mortals = Mortals::default();

    let server = application.start();
    listener.subscribe(&server);
    visitor.subscribe(&server);
    follower.subscribe(&server);
    let mut server = Some(server);
    let mut acknowledged_in_all = 0;
    for round in 0..kills {
        let running = server.take().unwrap_or_else(|| application.start());
        let running = if random.below(5) == 0 {
            // While it still puts in order what the last kill left.
            running.kill();
            application.start()
        } else {
            running
        };
        mortals.check(&running);
        writers.iter_mut().for_each(|writer| writer.check(&running));
        let visits = random.below(3) == 0;
        let (stop, reached) = Stop::at(1 + random.below(ACKNOWLEDGEMENTS_MAX));
        // Those with a will are there before the load begins: each round has as many.
        mortals.connect(&running, round);
        std::thread::scope(|scope| {
            let port = running.mqtt();
            for writer in &mut writers {
                let (stop, random) = (&stop, Random::new(random.next()));
                scope.spawn(move || writer.work(port, stop, random));
            }
            for barker in &mut barkers {
                let stop = &stop;
                scope.spawn(move || barker.work(port, stop));
            }
            let listener = &mut listener;
            scope.spawn(move || listener.work(port));
            let follower = &mut follower;
            scope.spawn(move || follower.work(port));
            if visits {
                let visitor = &mut visitor;
                scope.spawn(move || visitor.work(port));
            }
            reached.recv_timeout(crate::DEADLINE).expect("the load does not stand still");
            running.kill();
        });
        mortals.bury();
        acknowledged_in_all += stop.count.load(Ordering::Relaxed);
    }

    // At the end everything that was begun is finished, and compared.
    let server = application.start();
    mortals.check(&server);
    writers.iter_mut().for_each(|writer| writer.check(&server));
    let barks: Vec<u64> = barkers.iter_mut().map(|barker| barker.finish(server.mqtt())).collect();
    listener.finish(server.mqtt(), &barks);
    visitor.finish(server.mqtt(), &barks);
    follower.finish(server.mqtt(), &writers);
    let barks: u64 = barks.iter().sum();
    println!(
        "{kills} kills, seed {seed}: {acknowledged_in_all} acknowledgements, {barks} events of QoS 2, {} wills: nothing \
         lost, nothing twice",
        mortals.fired,
    );
}

/// When to kill.
struct Stop {
    count: AtomicU64,
    at: u64,
    reached: Sender<()>,
}

impl Stop {
    fn at(at: u64) -> (Stop, Receiver<()>) {
        let (reached, wait) = channel();
        (Stop { count: AtomicU64::new(0), at, reached }, wait)
    }

    fn acknowledged(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == self.at {
            let _ = self.reached.send(());
        }
    }
}

/// Puts records with QoS 1, some at a time.
struct Writer {
    name: usize,
    /// Of each record: the last number acknowledged, and the last one sent.
    numbers: BTreeMap<u64, (u64, u64)>,
    /// All numbers acknowledged.
    acknowledged: Vec<u64>,
    next: u64,
}

impl Writer {
    fn new(name: usize) -> Writer {
        Writer { name, numbers: BTreeMap::new(), acknowledged: Vec::new(), next: 1 }
    }

    fn work(&mut self, port: u16, stop: &Stop, mut random: Random) {
        let version = if self.name.is_multiple_of(2) { Version::V5 } else { Version::V311 };
        let Some(mut client) = connect(&Connect::new(version, &format!("writer-{}", self.name)), port) else { return };
        let mut waiting: VecDeque<(u16, u64, u64)> = VecDeque::new();
        loop {
            while waiting.len() < WINDOW {
                let (key, number) = (random.below(KEYS), self.next);
                self.next += 1;
                let topic = format!("dog/{}-{key}", self.name);
                let id = client.next_id();
                let json = format!("{{\"n\":{number}}}");
                client.send(&wire::publish(version, &topic, json.as_bytes(), 1, true, id, &[]));
                self.numbers.entry(key).or_default().1 = number;
                waiting.push_back((id, key, number));
            }
            let Some(answer) = client.try_next() else { return };
            let (id, key, number) = waiting.pop_front().expect("some are on their way");
            let is_it = matches!(&answer, Packet::Puback(ack) if ack.id == id && ack.code < 0x80);
            assert!(is_it, "PUBACK {id} should come, not {answer:?}");
            self.numbers.entry(key).or_default().0 = number;
            self.acknowledged.push(number);
            stop.acknowledged();
        }
    }

    /// Fails unless each record is the last one acknowledged, or one sent after that.
    #[track_caller]
    fn check(&mut self, server: &Server) {
        for (key, (acknowledged, sent)) in &mut self.numbers {
            let response = server.get(&format!("/dog/{}-{key}", self.name));
            let found = match response.status {
                200 => response.json()["n"].as_u64().expect("a number"),
                404 => 0,
                status => panic!("{status}: {}", response.text()),
            };
            let range = *acknowledged..=*sent;
            assert!(range.contains(&found), "dog/{}-{key} is {found}, not one of {range:?}", self.name);
            // It is on disk: from now on it may not go.
            (*acknowledged, *sent) = (found, found);
        }
    }
}

/// Publishes numbered events with QoS 2, and finishes after a restart what was begun before it.
struct Barker {
    name: usize,
    /// Sent and not complete: identifier, number, and whether it was received.
    flight: VecDeque<(u16, u64, bool)>,
    next: u64,
    last_id: u16,
    known: bool,
}

impl Barker {
    fn new(name: usize) -> Barker {
        Barker { name, flight: VecDeque::new(), next: 1, last_id: 0, known: false }
    }

    fn connect(&mut self, port: u16) -> Option<Client> {
        let connect = Connect::lasting(Version::V5, &format!("barker-{}", self.name));
        let mut client = Client::dial_if_there(port, Version::V5)?;
        client.send(&connect.bytes());
        let Packet::Connack { session_present, code: 0, .. } = client.try_next()? else { panic!("refused") };
        assert!(session_present || !self.known, "the session of barker-{} is gone", self.name);
        self.known = true;
        for &(id, number, received) in &self.flight {
            if received {
                client.send(&ack(0x62, id));
            } else {
                let mut bytes = self.message(id, number);
                bytes[0] |= 0x08;
                client.send(&bytes);
            }
        }
        Some(client)
    }

    fn message(&self, id: u16, number: u64) -> Vec<u8> {
        let topic = format!("bark/{}", self.name);
        wire::publish(Version::V5, &topic, number.to_string().as_bytes(), 2, false, id, &[])
    }

    fn work(&mut self, port: u16, stop: &Stop) {
        let Some(mut client) = self.connect(port) else { return };
        loop {
            while self.flight.len() < WINDOW {
                self.last_id = self.last_id.checked_add(1).unwrap_or(1);
                let (id, number) = (self.last_id, self.next);
                self.next += 1;
                self.flight.push_back((id, number, false));
                client.send(&self.message(id, number));
            }
            if !self.step(&mut client) {
                return;
            }
            stop.acknowledged();
        }
    }

    /// Takes one answer; `false` when the server is gone.
    fn step(&mut self, client: &mut Client) -> bool {
        match client.try_next() {
            None => return false,
            Some(Packet::Pubrec(found)) => {
                assert!(found.code < 0x80, "{found:?}");
                let entry = self.flight.iter_mut().find(|(id, ..)| *id == found.id).expect("one that was sent");
                entry.2 = true;
                client.send(&ack(0x62, found.id));
            }
            Some(Packet::Pubcomp(found)) => {
                let index = self.flight.iter().position(|(id, ..)| *id == found.id).expect("one that was sent");
                self.flight.remove(index);
            }
            Some(other) => panic!("PUBREC or PUBCOMP should come, not {other:?}"),
        }
        true
    }

    /// Finishes what is on its way; how many there were.
    #[track_caller]
    fn finish(&mut self, port: u16) -> u64 {
        let mut client = self.connect(port).expect("the server is there");
        while !self.flight.is_empty() {
            assert!(self.step(&mut client), "the server closed");
        }
        client.disconnect();
        self.next - 1
    }
}

/// A durable session that hears every event exactly once.
struct Listener {
    name: &'static str,
    /// Of each barker: the last number heard.
    heard: BTreeMap<String, u64>,
    /// Identifiers received and not released.
    unreleased: BTreeSet<u16>,
}

impl Listener {
    fn new(name: &'static str) -> Listener {
        Listener { name, heard: BTreeMap::new(), unreleased: BTreeSet::new() }
    }

    #[track_caller]
    fn subscribe(&mut self, server: &Server) {
        let (mut client, present) = Connect::lasting(Version::V5, self.name).resume(server.mqtt());
        assert!(!present);
        client.subscribe("bark/#", 2);
        client.disconnect();
    }

    fn connect(&self, port: u16) -> Option<Client> {
        let mut client = Client::dial_if_there(port, Version::V5)?;
        client.send(&Connect::lasting(Version::V5, self.name).bytes());
        match client.try_next()? {
            Packet::Connack { session_present: true, code: 0, .. } => Some(client),
            other => panic!("the session of {} is gone: {other:?}", self.name),
        }
    }

    /// Listens until the server is gone.
    fn work(&mut self, port: u16) {
        if let Some(mut client) = self.connect(port) {
            while self.step(&mut client) {}
        }
    }

    fn step(&mut self, client: &mut Client) -> bool {
        match client.try_next() {
            None => return false,
            Some(Packet::Publish(seen)) => {
                if self.unreleased.insert(seen.id) {
                    let number: u64 = seen.text().parse().expect("a number");
                    let last = self.heard.entry(seen.topic.clone()).or_default();
                    assert_eq!(number, *last + 1, "{} after {last}: {seen}", self.name);
                    *last = number;
                } else {
                    assert!(seen.dup, "{}: {seen}", self.name);
                }
                client.send(&ack(0x50, seen.id));
            }
            Some(Packet::Pubrel(found)) => {
                self.unreleased.remove(&found.id);
                client.send(&ack(0x70, found.id));
            }
            Some(other) => panic!("{}: {other:?}", self.name),
        }
        true
    }

    /// Hears the rest; fails unless that is all there was.
    #[track_caller]
    fn finish(&mut self, port: u16, barks: &[u64]) {
        let mut client = self.connect(port).expect("the server is there");
        let is_done = |heard: &BTreeMap<String, u64>| {
            let heard = |name: usize| heard.get(&format!("bark/{name}")).copied().unwrap_or(0);
            barks.iter().enumerate().all(|(name, count)| heard(name) >= *count)
        };
        while !is_done(&self.heard) || !self.unreleased.is_empty() {
            assert!(self.step(&mut client), "the server closed");
        }
        for (name, count) in barks.iter().enumerate() {
            assert_eq!(self.heard.get(&format!("bark/{name}")).copied().unwrap_or(0), *count, "{}", self.name);
        }
        client.ping();
    }
}

/// A durable session that hears every change of a record at least once, and never an older one after a newer one but
/// for what is sent again.
#[derive(Default)]
struct Follower {
    /// By topic, the last number heard.
    last: BTreeMap<String, u64>,
    /// All numbers heard, by topic without the key.
    heard: BTreeSet<(String, u64)>,
}

impl Follower {
    #[track_caller]
    fn subscribe(&mut self, server: &Server) {
        let (mut client, present) = Connect::lasting(Version::V311, "follower").resume(server.mqtt());
        assert!(!present);
        client.subscribe("dog/#", 1);
        client.disconnect();
    }

    fn work(&mut self, port: u16) {
        let Some(mut client) = self.connect(port) else { return };
        while self.step(&mut client) {}
    }

    fn connect(&self, port: u16) -> Option<Client> {
        let mut client = Client::dial_if_there(port, Version::V311)?;
        client.send(&Connect::lasting(Version::V311, "follower").bytes());
        match client.try_next()? {
            Packet::Connack { session_present: true, code: 0, .. } => Some(client),
            other => panic!("the session of the follower is gone: {other:?}"),
        }
    }

    fn step(&mut self, client: &mut Client) -> bool {
        let seen = match client.try_next() {
            None => return false,
            Some(Packet::Publish(seen)) => seen,
            Some(other) => panic!("{other:?}"),
        };
        client.acknowledge(&seen);
        let number = seen.json()["n"].as_u64().expect("a number");
        let last = self.last.entry(seen.topic.clone()).or_default();
        assert!(number > *last || seen.dup, "{seen} after {last}");
        *last = number;
        let writer = seen.topic.split('-').next().expect("a part").to_owned();
        self.heard.insert((writer, number));
        true
    }

    /// Hears the rest; fails unless everything that was acknowledged is among it, and the last is what is stored.
    #[track_caller]
    fn finish(&mut self, port: u16, writers: &[Writer]) {
        let mut client = self.connect(port).expect("the server is there");
        let stored = writers.iter().flat_map(|writer| {
            let records = writer.numbers.iter().filter(|(_, (number, _))| *number > 0);
            records.map(|(key, (number, _))| (format!("dog/{}-{key}", writer.name), *number))
        });
        let stored: BTreeMap<String, u64> = stored.collect();
        while self.last != stored {
            assert!(self.step(&mut client), "the server closed");
        }
        for writer in writers {
            let name = format!("dog/{}", writer.name);
            let missing = writer.acknowledged.iter().filter(|number| !self.heard.contains(&(name.clone(), **number)));
            assert_eq!(missing.count(), 0, "changes of {name} were not heard");
        }
    }
}

/// Clients whose wills must be spoken, since they are there when the server is killed.
#[derive(Default)]
struct Mortals {
    connected: Vec<Client>,
    due: Vec<String>,
    fired: usize,
}

impl Mortals {
    #[track_caller]
    fn connect(&mut self, server: &Server, round: u64) {
        for index in 0..MORTALS {
            let topic = format!("will/{round}/{index}");
            let version = if index % 2 == 0 { Version::V5 } else { Version::V311 };
            let connect = Connect::new(version, &format!("mortal-{index}")).with_will(&topic, "gone", 1, true);
            self.connected.push(connect.open(server.mqtt()));
            self.due.push(topic);
        }
    }

    fn bury(&mut self) {
        self.connected.clear();
    }

    /// Fails unless the wills of the last round are there, each in its time.
    #[track_caller]
    fn check(&mut self, server: &Server) {
        for topic in self.due.drain(..) {
            crate::server::until(&format!("{topic} is spoken"), || {
                match server.get(&format!("/$topics/{topic}")).status {
                    200 => Ok(()),
                    status => Err(status),
                }
            });
            self.fired += 1;
        }
    }
}

/// A connected client; `None` if the server is gone.
fn connect(connect: &Connect, port: u16) -> Option<Client> {
    let mut client = Client::dial_if_there(port, connect.version)?;
    client.send(&connect.bytes());
    let answer = client.try_next()?;
    assert_eq!(answer.code(), Some(0), "{answer:?}");
    Some(client)
}
