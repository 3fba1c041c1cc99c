//! QoS 2 in both directions, with the node killed, or both sessions taken over, before each of the things that happen on
//! the way: the messages come exactly once, and both handshakes come to their end.

use crate::Node;
use crate::node::{Setup, SocketId, Work};
use crate::store::Store;
use crate::text;
use rowcast_codec::{Packet, PacketId, QoS, Version, frame_length};
use rowcast_core::limits::Limits;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn qos_2_messages_come_exactly_once_whatever_is_cut_off() {
    for version in [Version::V311, Version::V5] {
        for topic in ["e", "note/1"] {
            let steps = check(version, topic, None);
            for cut in [Cut::Kill, Cut::Power, Cut::Takeover] {
                for step in 0..steps {
                    check(version, topic, Some((step, cut)));
                }
            }
        }
    }
}

/// What happens in the middle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cut {
    /// The process is killed.
    Kill,
    /// The same, and what was not synced is gone.
    Power,
    /// Both clients connect once more; the node has not noticed that they had gone.
    Takeover,
}

const MESSAGES: [&str; 3] = ["one", "two", "three"];
const STEPS_MAX: usize = 10_000;

/// Has three messages published and delivered, and one thing happen before a step. Returns how many steps there were.
#[track_caller]
fn check(version: Version, topic: &'static str, cut: Option<(usize, Cut)>) -> usize {
    let limits = Limits::default();
    let setup = Setup { shards: 2, limits, open_topics: true, close_on_rejected: false, seed: 1 };
    let mut node = Node::new(setup, Store::default());
    let mut clients = [Client::new("from", version, 0), Client::new("to", version, 1)];
    for client in &mut clients {
        client.connect(&mut node);
    }
    clients[1].send(&mut node, &format!("SUBSCRIBE 1 {topic} qos=2"));
    settle(&mut node, &mut clients);
    for (place, payload) in MESSAGES.iter().enumerate() {
        clients[0].publish(&mut node, &format!("{} {topic} qos=2", place + 1), payload);
    }
    let mut steps = 0;
    while let Some(&work) = node.work().first() {
        if let Some((_, cut)) = cut.filter(|&(step, _)| step == steps) {
            cut_off(&mut node, &mut clients, cut);
            break;
        }
        perform(&mut node, &mut clients, work);
        steps += 1;
        assert!(steps < STEPS_MAX, "it does not come to rest");
    }
    settle(&mut node, &mut clients);
    let told = format!("{version:?} on {topic} after {cut:?}");
    assert_eq!(clients[1].got, MESSAGES, "{told}");
    assert!(clients[0].waiting.is_empty(), "{:?}, {told}", clients[0].waiting);
    assert!(clients[1].received.is_empty(), "{:?}, {told}", clients[1].received);
    steps
}

fn settle(node: &mut Node, clients: &mut [Client]) {
    for _ in 0..STEPS_MAX {
        match node.work().first() {
            Some(&work) => perform(node, clients, work),
            None => return,
        }
    }
    panic!("it does not come to rest");
}

fn perform(node: &mut Node, clients: &mut [Client], work: Work) {
    node.perform(work, usize::MAX);
    for client in clients {
        client.hear(node);
    }
}

fn cut_off(node: &mut Node, clients: &mut [Client], cut: Cut) {
    match cut {
        Cut::Takeover => clients.iter().for_each(|client| node.vanish(client.socket())),
        Cut::Kill | Cut::Power => {
            node.store.crash(cut == Cut::Power);
            node.restart();
        }
    }
    for client in clients {
        client.connect(node);
    }
}

/// One that keeps its own side of the session, whatever becomes of its connections.
struct Client {
    name: &'static str,
    version: Version,
    shard: usize,
    socket: Option<SocketId>,
    partial: Vec<u8>,
    /// What it publishes and what it has heard of it, by packet identifier.
    waiting: BTreeMap<u16, Outgoing>,
    /// Identifiers of messages it has, between PUBREC and PUBREL.
    received: BTreeSet<PacketId>,
    got: Vec<String>,
}

/// A message on its way to the node.
#[derive(Debug)]
enum Outgoing {
    /// PUBREC has not come: identifier, topic and QoS; payload.
    Publish(String, &'static str),
    /// PUBCOMP has not come.
    Release,
}

impl Client {
    fn new(name: &'static str, version: Version, shard: usize) -> Client {
        let (waiting, received) = (BTreeMap::new(), BTreeSet::new());
        Client { name, version, shard, socket: None, partial: Vec::new(), waiting, received, got: Vec::new() }
    }

    fn socket(&self) -> SocketId {
        self.socket.expect("it has connected")
    }

    /// Each time to another shard.
    fn connect(&mut self, node: &mut Node) {
        self.partial.clear();
        self.shard = (self.shard + 1) % node.shards();
        self.socket = Some(node.connect(self.shard, true, false));
        let connect = if self.version == Version::V5 { "CONNECT v5 expiry=60" } else { "CONNECT v3.1.1" };
        self.send(node, connect);
    }

    fn publish(&mut self, node: &mut Node, what: &str, payload: &'static str) {
        let id = what.split(' ').next().and_then(|id| id.parse().ok()).expect("an identifier");
        self.send(node, &format!("PUBLISH {what} \"{payload}\""));
        self.waiting.insert(id, Outgoing::Publish(what.to_owned(), payload));
    }

    fn send(&mut self, node: &mut Node, line: &str) {
        let bytes = text::encode(line, self.name, &mut self.version.clone()).expect("a packet");
        node.send(self.socket(), &bytes);
    }

    fn hear(&mut self, node: &mut Node) {
        self.partial.append(node.received(self.socket()));
        while let Ok(Some(length)) = frame_length(&self.partial, u32::MAX)
            && length <= self.partial.len()
        {
            let frame: Vec<u8> = self.partial.drain(..length).collect();
            let packet = Packet::decode(self.version, &frame).expect("the node speaks MQTT");
            self.on_packet(node, &packet);
        }
    }

    fn on_packet(&mut self, node: &mut Node, packet: &Packet<'_>) {
        match packet {
            Packet::Connack(_) => self.resume(node),
            Packet::Publish(publish) => {
                assert_eq!(publish.qos, QoS::ExactlyOnce);
                let id = publish.packet_id.expect("a QoS above 0");
                if self.received.insert(id) {
                    self.got.push(String::from_utf8_lossy(publish.payload).into_owned());
                }
                self.send(node, &format!("PUBREC {}", id.get()));
            }
            Packet::Pubrel(ack) => {
                self.received.remove(&ack.packet_id);
                self.send(node, &format!("PUBCOMP {}", ack.packet_id.get()));
            }
            Packet::Pubrec(ack) => {
                assert!(!ack.reason.is_error(), "{}: {ack:?}", self.name);
                self.waiting.insert(ack.packet_id.get(), Outgoing::Release);
                self.send(node, &format!("PUBREL {}", ack.packet_id.get()));
            }
            Packet::Pubcomp(ack) => drop(self.waiting.remove(&ack.packet_id.get())),
            Packet::Suback(_) => {}
            other => panic!("{}: {other:?}", self.name),
        }
    }

    /// Sends again what is not acknowledged [MQTT-4.4.0-1].
    fn resume(&mut self, node: &mut Node) {
        let line = |(id, outgoing): (&u16, &Outgoing)| match outgoing {
            Outgoing::Publish(what, payload) => format!("PUBLISH {what} dup \"{payload}\""),
            Outgoing::Release => format!("PUBREL {id}"),
        };
        let lines: Vec<String> = self.waiting.iter().map(line).collect();
        lines.iter().for_each(|line| self.send(node, line));
    }
}
