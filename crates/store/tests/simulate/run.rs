//! Random conversations from a seed: clients that come, go, publish and subscribe, a node that is killed now and then,
//! everything in any order that can happen. `client` says what must hold.
//!
//! `ROWCAST_SEEDS=1000..2000` runs those seeds; one that fails is told, and runs the same way again, with
//! `ROWCAST_TRACE=1` showing every packet.

use crate::Node;
use crate::client::{Client, Kind, Message};
use crate::kept::Kept;
use crate::node;
use crate::node::{Keep, Setup, Work};
use crate::random::Random;
use rowcast_codec::{QoS, Version};
use rowcast_core::limits::Limits;
use rowcast_core::{ChangeKind, Sequence, TableId};
use rowcast_store::Crash;
use std::ops::Range;

#[test]
fn whatever_happens_clients_get_what_they_must() {
    let seeds = match std::env::var("ROWCAST_SEEDS") {
        Ok(range) => parse_seeds(&range).expect("ROWCAST_SEEDS=from..to"),
        Err(_) => 0..SEEDS,
    };
    for seed in seeds {
        let run = std::panic::catch_unwind(|| Simulation::new(seed).run());
        match run {
            Ok(Ok(())) => {}
            Ok(Err((step, mistake))) => panic!("ROWCAST_SEEDS={seed}..{}, step {step}: {mistake}", seed + 1),
            Err(panic) => {
                println!("ROWCAST_SEEDS={seed}..{} panicked", seed + 1);
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn parse_seeds(range: &str) -> Option<Range<u64>> {
    let (from, to) = range.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

/// Seeds of a usual run.
const SEEDS: u64 = 150;
/// Steps of one seed.
const STEPS: usize = 1500;
/// Rounds in which everything must come to rest at the end.
const ROUNDS: usize = 10_000;
/// Bytes of the largest packet there is.
const PACKET_BYTES_MAX: usize = 64;

const TOPICS: [&str; 4] = ["note/a", "note/b", "note/b/c", "open/x"];
const FILTERS: [&str; 6] = ["note/#", "note/a", "+/b", "#", "open/x", "note/+"];

struct Simulation {
    random: Random,
    node: Node,
    outbound_bytes: usize,
    clients: Vec<Client>,
    messages: Vec<Message>,
    /// Up to where the log was looked at.
    indexed: Sequence,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut random = Random(seed);
        let shards = 1 + random.below(2);
        let outbound_bytes = 150 + random.below(500);
        let limits =
            Limits { inflight: 1 + random.below(6) as u16, outbound_bytes: outbound_bytes as u32, ..Limits::default() };
        let node = Node::new(
            Setup { shards, limits, open_topics: true, close_on_rejected: false, seed },
            Kept::new(seed, node::EPOCH_MS),
        );
        let clients = (0..5)
            .map(|index| {
                let version = if random.below(2) == 0 { Version::V5 } else { Version::V311 };
                Client::new(index, version, random.below(3) > 0, 1 + random.below(5) as u16)
            })
            .collect();
        Simulation { random, node, outbound_bytes, clients, messages: Vec::new(), indexed: Sequence::ZERO }
    }

    /// Where and what went wrong, if something did.
    fn run(mut self) -> Result<(), (usize, String)> {
        for step in 0..STEPS {
            self.step().map_err(|mistake| (step, mistake))?;
            self.check_outboxes().map_err(|mistake| (step, mistake))?;
        }
        self.settle().and_then(|()| self.check_end()).map_err(|mistake| (STEPS, mistake))
    }

    fn step(&mut self) -> Result<(), String> {
        self.index_log();
        let work = self.node.work();
        if !work.is_empty() && self.random.below(3) > 0 {
            let work = work[self.random.below(work.len())];
            let amount = match work {
                Work::Socket(_) => 1 + self.random.below(200),
                _ => 1 + self.random.below(4),
            };
            self.node.perform(work, amount);
            return Ok(());
        }
        let index = self.random.below(self.clients.len());
        let shard = self.random.below(self.node.shards());
        let client = &mut self.clients[index];
        match self.random.below(100) {
            0..2 => self.restart()?,
            2..12 => {
                self.node.advance(50 + self.random.below(400) as u64);
            }
            _ if client.socket.is_none() => {
                let clean = self.random.below(20) == 0;
                client.connect(&mut self.node, shard, clean);
                if clean {
                    // A client that never hears whether its clean start worked does not know what to expect.
                    self.node.settle();
                    client.hear(&mut self.node, &mut self.messages)?;
                }
            }
            12..15 => client.lose(&mut self.node),
            15..18 => {
                if let Some(socket) = client.socket {
                    self.node.set_takes(socket, self.random.below(3) > 0);
                }
            }
            18..24 if client.can_ask() => {
                // Always with the same QoS; see "What was in doubt" in qos.txt.
                let place = self.random.below(FILTERS.len());
                let qos = QoS::try_from(((index + place) % 3) as u8).expect("0, 1 or 2");
                client.subscribe(&mut self.node, FILTERS[place], qos);
            }
            24..25 if client.can_ask() && !client.durable => {
                let filter = FILTERS[self.random.below(FILTERS.len())];
                client.unsubscribe(&mut self.node, filter);
            }
            25..55 if client.can_publish() => self.publish(index),
            55..75 => client.answer(&mut self.node, 1 + self.random.below(3)),
            _ => client.hear(&mut self.node, &mut self.messages)?,
        }
        Ok(())
    }

    fn publish(&mut self, publisher: usize) {
        let topic = TOPICS[self.random.below(TOPICS.len())];
        let kind = if self.random.below(2) == 0 { Kind::State } else { Kind::Event };
        let delete = kind == Kind::State && self.random.below(8) == 0;
        let qos = self.random.qos();
        let message = Message { publisher, topic, qos, kind, acknowledged: false, repeated: false, sequence: None };
        let number = self.messages.len();
        self.clients[publisher].publish(&mut self.node, &message, number, delete);
        if !delete {
            self.clients.iter_mut().for_each(|client| client.expect(&message, number));
        }
        self.messages.push(message);
    }

    fn restart(&mut self) -> Result<(), String> {
        let now_ms = self.node.wall_ms();
        let crash = self.random.of(&[None, Some(Crash::Process), Some(Crash::Power), Some(Crash::Power)]);
        if std::env::var_os("ROWCAST_TRACE").is_some() {
            println!("{crash:?}");
        }
        match crash {
            Some(crash) => self.node.store.recover(crash, now_ms)?,
            None => {
                self.node.shutdown();
                self.node.settle();
                self.node.store.close(now_ms)?;
            }
        }
        self.node.restart();
        self.indexed = self.indexed.min(self.node.store.committed());
        self.clients.iter_mut().for_each(Client::lost);
        Ok(())
    }

    /// Notes where messages stand in the log.
    fn index_log(&mut self) {
        let page = self.node.store.store.read_log(self.indexed, usize::MAX).expect("log");
        for entry in page.batches.iter().flat_map(|batch| batch.entries()).filter(|entry| entry.sequence > self.indexed)
        {
            let number = std::str::from_utf8(entry.change.payload).ok().and_then(|text| text.parse::<usize>().ok());
            let message = number.filter(|_| !entry.change.table.is_internal()).and_then(|n| self.messages.get_mut(n));
            if let Some(message) = message {
                message.sequence.get_or_insert(entry.sequence.0);
            }
            debug_assert!(entry.change.kind != ChangeKind::Expire || entry.change.table == TableId::SESSIONS);
        }
        self.indexed = self.node.store.committed();
    }

    fn check_outboxes(&mut self) -> Result<(), String> {
        for client in &self.clients {
            let Some(socket) = client.socket else { continue };
            let length = self.node.outbox_len(socket);
            if length > self.outbound_bytes + PACKET_BYTES_MAX {
                return Err(format!("{length} bytes wait for one client, {} allowed", self.outbound_bytes));
            }
        }
        Ok(())
    }

    /// Everybody comes back and says what is to be said.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS {
            self.index_log();
            for client in &mut self.clients {
                match client.socket {
                    None => client.connect(&mut self.node, 0, false),
                    Some(socket) => self.node.set_takes(socket, true),
                }
                client.hear(&mut self.node, &mut self.messages)?;
                client.answer(&mut self.node, usize::MAX);
            }
            self.node.settle();
            self.index_log();
            let mut idle = true;
            for client in &mut self.clients {
                client.hear(&mut self.node, &mut self.messages)?;
                idle &= client.is_idle();
            }
            if idle && self.node.work().is_empty() {
                return Ok(());
            }
        }
        Err("no rest at the end".to_owned())
    }

    fn check_end(&self) -> Result<(), String> {
        for client in &self.clients {
            client.check_complete(&self.messages)?;
        }
        for topic in TOPICS {
            let (mut key, mut canonical) = (Vec::new(), String::new());
            self.node.tables().place(topic, &mut key, &mut canonical).expect("a topic");
            let table = if topic.starts_with("note") { self.node.table("Note") } else { TableId::TOPICS };
            let Some(record) = self.node.store.store.get(table, &key).unwrap() else { continue };
            let record = record.record().unwrap();
            if record.is_expired(self.node.wall_ms()) {
                continue;
            }
            let number = std::str::from_utf8(record.payload).expect("text").parse().expect("a number");
            for client in &self.clients {
                client.check_state(topic, number, &self.messages)?;
            }
        }
        Ok(())
    }
}
