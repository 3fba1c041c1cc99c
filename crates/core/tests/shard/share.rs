//! A shared subscription under load: members join, leave, fall behind, come back and end, in an order drawn from a
//! seed; the node may be killed meanwhile. Nothing that was acknowledged to its publisher is lost, and nothing that a
//! member has acknowledged goes out again, as long as the node lives.

use crate::Node;
use crate::node::{Setup, SocketId};
use crate::store::Store;
use rowcast_codec::{
    Ack, Connect, ConnectProperties, Packet, PacketId, Publish, QoS, ReasonCode, Subscribe, SubscribeFilter,
    SubscriptionOptions, Version, frame_length,
};
use rowcast_core::limits::Limits;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn nothing_is_lost_or_repeated_while_members_come_and_go() {
    for seed in 0..60 {
        Load::new(seed, 0).run();
    }
}

#[test]
fn nothing_is_lost_when_the_node_is_killed() {
    for seed in 1000..1060 {
        Load::new(seed, 300).run();
    }
}

const FILTER: &str = "$share/g/x/#";
const STEPS: usize = 1500;

struct Load {
    seed: u64,
    random: u64,
    /// One in so many steps kills the node; 0: none does.
    kills: u64,
    node: Node,
    members: Vec<Member>,
    publisher: Option<SocketId>,
    next_id: u16,
    published: u32,
    /// By packet identifier, what the publisher waits for.
    waits: BTreeMap<PacketId, u32>,
    /// Acknowledged to the publisher.
    safe: BTreeSet<u32>,
    received: BTreeSet<u32>,
    /// Acknowledged by a member.
    done: BTreeSet<u32>,
}

struct Member {
    name: String,
    durable: bool,
    shard: usize,
    socket: Option<SocketId>,
    unacknowledged: Vec<(PacketId, u32)>,
}

impl Load {
    fn new(seed: u64, kills: u64) -> Load {
        let shards = 1 + (seed % 3) as usize;
        let limits = Limits { outbound_bytes: 400, inflight: 4, ..Limits::default() };
        let setup = Setup { shards, limits, open_topics: true, close_on_rejected: false, seed };
        let member = |index: usize| Member {
            name: format!("m{index}"),
            durable: index < 3,
            shard: index % shards,
            socket: None,
            unacknowledged: Vec::new(),
        };
        Load {
            seed,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            kills,
            node: Node::new(setup, Store::default()),
            members: (0..5).map(member).collect(),
            publisher: None,
            next_id: 0,
            published: 0,
            waits: BTreeMap::new(),
            safe: BTreeSet::new(),
            received: BTreeSet::new(),
            done: BTreeSet::new(),
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn run(mut self) {
        // A durable member is there from the start, so that the group waits for its members.
        self.connect(0);
        self.node.settle();
        for _ in 0..STEPS {
            self.step();
        }
        self.come_to_rest();
        let lost: Vec<&u32> = self.safe.difference(&self.received).collect();
        assert!(lost.is_empty(), "seed {}: lost {lost:?} of {}", self.seed, self.safe.len());
        assert!(self.safe.len() > 20, "seed {}: only {} published", self.seed, self.safe.len());
    }

    fn step(&mut self) {
        match self.below(20) {
            0..=1 => self.publish(),
            2 => {
                let index = self.below(5) as usize;
                if self.members[index].socket.is_none() {
                    self.connect(index);
                } else if self.below(3) == 0 {
                    self.lose(index);
                }
            }
            3 => {
                let index = self.below(5) as usize;
                self.acknowledge(index);
            }
            4 if self.below(5) == 0 => {
                let index = self.below(5) as usize;
                let takes = self.below(2) == 0;
                if let Some(socket) = self.members[index].socket {
                    self.node.set_takes(socket, takes);
                }
            }
            5 if self.below(10) == 0 => self.node.advance(150),
            6 if self.kills > 0 && self.below(self.kills / 20) == 0 => self.kill(),
            _ => {
                let work = self.node.work();
                if !work.is_empty() {
                    // Mail of a shard, and what its sockets bring, in the order of the shards' threads: mail first.
                    let mail = work.iter().copied().filter(|work| matches!(work, crate::node::Work::Mail(_)));
                    let mail: Vec<_> = mail.collect();
                    let from = if mail.is_empty() || self.below(4) == 0 { &work } else { &mail };
                    let chosen = from[self.random as usize % from.len()];
                    self.perform(chosen);
                }
            }
        }
        self.look();
    }

    /// A thread looks at its mail before its sockets.
    fn perform(&mut self, work: crate::node::Work) {
        if let crate::node::Work::Socket(_) = work {
            while let Some(mail) = self.node.work().into_iter().find(|work| matches!(work, crate::node::Work::Mail(_)))
            {
                self.node.perform(mail, usize::MAX);
            }
        }
        self.node.perform(work, usize::MAX);
    }

    /// Everybody comes, takes all there is, and acknowledges it.
    fn come_to_rest(&mut self) {
        for _ in 0..500 {
            for index in 0..self.members.len() {
                match self.members[index].socket {
                    None => self.connect(index),
                    Some(socket) => self.node.set_takes(socket, true),
                }
                self.acknowledge_all(index);
            }
            self.node.settle();
            self.node.advance(200);
            self.node.settle();
            self.look();
        }
    }

    fn kill(&mut self) {
        self.node.store.crash(false);
        self.node.restart();
        for member in &mut self.members {
            member.socket = None;
            member.unacknowledged.clear();
        }
        self.publisher = None;
        self.waits.clear();
    }

    fn lose(&mut self, index: usize) {
        if let Some(socket) = self.members[index].socket.take() {
            self.node.lose(socket);
        }
        self.members[index].unacknowledged.clear();
    }

    fn connect(&mut self, index: usize) {
        let Member { name, durable, shard, .. } = &self.members[index];
        let (name, expiry, shard) = (name.clone(), u32::from(*durable) * 1000, *shard);
        let socket = self.open(&name, expiry, shard);
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
        let filters = [SubscribeFilter { filter: FILTER, options }];
        let packet_id = PacketId::new(9).expect("not zero");
        let subscribe = Subscribe { packet_id, properties: Default::default(), filters: (&filters[..]).into() };
        self.send(socket, &Packet::Subscribe(subscribe));
        self.members[index].socket = Some(socket);
    }

    fn open(&mut self, client_id: &str, expiry: u32, shard: usize) -> SocketId {
        let socket = self.node.connect(shard, true, false);
        let connect = Connect {
            version: Version::V5,
            clean_start: false,
            keep_alive_secs: 0,
            client_id,
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties { session_expiry_secs: Some(expiry), ..ConnectProperties::default() },
        };
        self.send(socket, &Packet::Connect(Box::new(connect)));
        socket
    }

    fn publish(&mut self) {
        let shard = self.below(self.seed % 3 + 1) as usize;
        let socket = match self.publisher {
            Some(socket) if self.node.is_open(socket) => socket,
            _ => self.open("p", 0, shard),
        };
        self.publisher = Some(socket);
        if self.waits.len() > 20 {
            return;
        }
        self.published += 1;
        self.next_id = self.next_id % 60_000 + 1;
        let id = PacketId::new(self.next_id).expect("not zero");
        let payload = self.published.to_string();
        let retain = self.below(2) == 0;
        let topic = format!("x/{}", self.published % 3);
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain,
            topic: &topic,
            packet_id: Some(id),
            properties: Default::default(),
            payload: payload.as_bytes(),
        };
        self.waits.insert(id, self.published);
        self.send(socket, &Packet::Publish(publish));
    }

    fn acknowledge(&mut self, index: usize) {
        let Some(socket) = self.members[index].socket else { return };
        if self.members[index].unacknowledged.is_empty() {
            return;
        }
        let at = self.below(self.members[index].unacknowledged.len() as u64) as usize;
        let (id, message) = self.members[index].unacknowledged.remove(at);
        self.send(socket, &Packet::Puback(Ack::new(id, ReasonCode::Success)));
        // Taken by the node at once: what is lost on the way was not acknowledged.
        self.perform(crate::node::Work::Socket(socket));
        if self.node.is_open(socket) {
            self.done.insert(message);
        }
    }

    fn acknowledge_all(&mut self, index: usize) {
        while !self.members[index].unacknowledged.is_empty() && self.members[index].socket.is_some() {
            self.acknowledge(index);
        }
    }

    fn send(&mut self, socket: SocketId, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(Version::V5, &mut bytes).expect("fits");
        self.node.send(socket, &bytes);
    }

    /// What clients received.
    fn look(&mut self) {
        let sockets = (0..self.members.len()).filter_map(|index| Some((Some(index), self.members[index].socket?)));
        let sockets: Vec<_> = sockets.chain(self.publisher.map(|socket| (None, socket))).collect();
        for (index, socket) in sockets {
            let bytes = std::mem::take(self.node.received(socket));
            let mut rest = bytes.as_slice();
            while let Ok(Some(length)) = frame_length(rest, u32::MAX)
                && rest.len() >= length
            {
                let packet = Packet::decode(Version::V5, &rest[..length]).expect("a packet");
                rest = &rest[length..];
                match (packet, index) {
                    (Packet::Puback(ack), None) => {
                        let message = self.waits.remove(&ack.packet_id);
                        assert!(!ack.reason.is_error(), "seed {}: {:?}", self.seed, ack.reason);
                        self.safe.extend(message);
                    }
                    (Packet::Publish(publish), Some(index)) => self.on_publish(index, &publish),
                    _ => {}
                }
            }
            self.node.received(socket).extend_from_slice(rest);
        }
    }

    fn on_publish(&mut self, index: usize, publish: &Publish<'_>) {
        let text = String::from_utf8_lossy(publish.payload);
        let message: u32 = text.parse().expect("a number");
        let id = publish.packet_id.expect("QoS 1");
        self.received.insert(message);
        if self.kills == 0 {
            let name = &self.members[index].name;
            assert!(!self.done.contains(&message), "seed {}: {name} gets {message} again", self.seed);
        }
        self.members[index].unacknowledged.push((id, message));
    }
}
