//! A shared subscription under load: members join, leave, fall behind, come back and end, in an order drawn from a
//! seed; the node may be killed meanwhile. Nothing that was acknowledged to its publisher is lost, and nothing that a
//! member has acknowledged goes out again, as long as the node lives.

use crate::Node;
use crate::node::{Setup, SocketId, Work};
use crate::store::Store;
use rowcast_codec::{
    Ack, Connect, ConnectProperties, Packet, PacketId, Publish, QoS, ReasonCode, Subscribe, SubscribeFilter,
    SubscriptionOptions, Unsubscribe, Version, frame_length,
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

#[test]
fn a_message_goes_out_once_when_its_member_leaves_and_comes_back_at_once() {
    for member in 0..2 {
        let limits = Limits::default();
        let setup = Setup { shards: 2, limits, open_topics: true, close_on_rejected: false, seed: 1 };
        let mut node: Node = Node::new(setup, Store::default());
        let open = |node: &mut Node, client_id: &str, shard: usize| {
            let socket = node.connect(shard, true, false);
            send(node, socket, &connect(client_id, 0));
            socket
        };
        let (m, other) = (open(&mut node, "m", member), open(&mut node, "other", member));
        let p = open(&mut node, "p", 1 - member);
        for socket in [m, other] {
            with_subscribe(|subscribe| send(&mut node, socket, subscribe));
            node.settle();
        }
        send(&mut node, p, &publish("x/1", 1, true, b"1"));
        node.perform(Work::Socket(p), usize::MAX);
        node.perform(Work::HandOver(1 - member), usize::MAX);
        node.perform(Work::Write, usize::MAX);
        // It leaves and comes back before the other shard, if that has the group, gives it what was written just now.
        let filters = [FILTER];
        let packet_id = PacketId::new(7).expect("not zero");
        let unsubscribe =
            Unsubscribe { packet_id, user_properties: Default::default(), filters: (&filters[..]).into() };
        send(&mut node, m, &Packet::Unsubscribe(unsubscribe));
        with_subscribe(|subscribe| send(&mut node, m, subscribe));
        node.perform(Work::Socket(m), usize::MAX);
        node.settle();
        let mut deliveries = 0;
        for socket in [m, other] {
            packets(&mut node, socket, |packet| deliveries += usize::from(matches!(packet, Packet::Publish(_))));
        }
        assert_eq!(deliveries, 1, "on shard {member}");
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
                    let mail = work.iter().copied().filter(|work| matches!(work, Work::Mail(_)));
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
    fn perform(&mut self, work: Work) {
        if let Work::Socket(_) = work {
            while let Some(mail) = self.node.work().into_iter().find(|work| matches!(work, Work::Mail(_))) {
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
        with_subscribe(|subscribe| send(&mut self.node, socket, subscribe));
        self.members[index].socket = Some(socket);
    }

    fn open(&mut self, client_id: &str, expiry: u32, shard: usize) -> SocketId {
        let socket = self.node.connect(shard, true, false);
        send(&mut self.node, socket, &connect(client_id, expiry));
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
        self.waits.insert(id, self.published);
        send(&mut self.node, socket, &publish(&topic, id.get(), retain, payload.as_bytes()));
    }

    fn acknowledge(&mut self, index: usize) {
        let Some(socket) = self.members[index].socket else { return };
        if self.members[index].unacknowledged.is_empty() {
            return;
        }
        let at = self.below(self.members[index].unacknowledged.len() as u64) as usize;
        let (id, message) = self.members[index].unacknowledged.remove(at);
        send(&mut self.node, socket, &Packet::Puback(Ack::new(id, ReasonCode::Success)));
        // Taken by the node at once, unless more waits for the member than may: what is lost on the way was not acknowledged.
        self.perform(Work::Socket(socket));
        if self.node.is_open(socket) && self.node.has_taken(socket) {
            self.done.insert(message);
        }
    }

    fn acknowledge_all(&mut self, index: usize) {
        while !self.members[index].unacknowledged.is_empty() && self.members[index].socket.is_some() {
            self.acknowledge(index);
        }
    }

    /// What clients received.
    fn look(&mut self) {
        let sockets = (0..self.members.len()).filter_map(|index| Some((Some(index), self.members[index].socket?)));
        let sockets: Vec<_> = sockets.chain(self.publisher.map(|socket| (None, socket))).collect();
        for (index, socket) in sockets {
            let mut came = Vec::new();
            packets(&mut self.node, socket, |packet| match packet {
                Packet::Puback(ack) => came.push(Came::Puback(ack.packet_id, ack.reason)),
                Packet::Publish(publish) => {
                    let message = String::from_utf8_lossy(publish.payload).parse().expect("a number");
                    came.push(Came::Publish(publish.packet_id.expect("QoS 1"), message));
                }
                _ => {}
            });
            for came in came {
                match (came, index) {
                    (Came::Puback(id, reason), None) => {
                        let message = self.waits.remove(&id);
                        assert!(!reason.is_error(), "seed {}: {reason:?}", self.seed);
                        self.safe.extend(message);
                    }
                    (Came::Publish(id, message), Some(index)) => self.on_publish(index, id, message),
                    _ => {}
                }
            }
        }
    }

    fn on_publish(&mut self, index: usize, id: PacketId, message: u32) {
        self.received.insert(message);
        if self.kills == 0 {
            let name = &self.members[index].name;
            assert!(!self.done.contains(&message), "seed {}: {name} gets {message} again", self.seed);
        }
        self.members[index].unacknowledged.push((id, message));
    }
}

/// What a client was sent.
enum Came {
    Puback(PacketId, ReasonCode),
    Publish(PacketId, u32),
}

fn connect(client_id: &str, expiry_secs: u32) -> Packet<'_> {
    Packet::Connect(Box::new(Connect {
        version: Version::V5,
        clean_start: false,
        keep_alive_secs: 0,
        client_id,
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties { session_expiry_secs: Some(expiry_secs), ..ConnectProperties::default() },
    }))
}

fn publish<'a>(topic: &'a str, id: u16, retain: bool, payload: &'a [u8]) -> Packet<'a> {
    let packet_id = PacketId::new(id);
    Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain,
        topic,
        packet_id,
        properties: Default::default(),
        payload,
    })
}

fn with_subscribe(send: impl FnOnce(&Packet<'_>)) {
    let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
    let filters = [SubscribeFilter { filter: FILTER, options }];
    let packet_id = PacketId::new(9).expect("not zero");
    let properties = Default::default();
    send(&Packet::Subscribe(Subscribe { packet_id, properties, filters: (&filters[..]).into() }));
}

fn send(node: &mut Node, socket: SocketId, packet: &Packet<'_>) {
    let mut bytes = Vec::new();
    packet.encode(Version::V5, &mut bytes).expect("fits");
    node.send(socket, &bytes);
}

/// Takes whole packets out of what a client received.
fn packets(node: &mut Node, socket: SocketId, mut each: impl FnMut(Packet<'_>)) {
    let bytes = std::mem::take(node.received(socket));
    let mut rest = bytes.as_slice();
    while let Ok(Some(length)) = frame_length(rest, u32::MAX)
        && rest.len() >= length
    {
        each(Packet::decode(Version::V5, &rest[..length]).expect("a packet"));
        rest = &rest[length..];
    }
    node.received(socket).extend_from_slice(rest);
}
