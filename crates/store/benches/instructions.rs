//! How many instructions the steady paths take, held against `instructions.txt`: a slower commit is seen the day it is
//! made, on a machine as loud as it likes.
//!
//! `cargo bench -p rowcast-store --bench instructions` counts under valgrind and fails where there are more than
//! [`SLACK`] allows; `-- update` writes what it counted to the file.

#[path = "../../core/benches/fixture/crowd.rs"]
mod crowd;
#[path = "../../core/benches/fixture/filters.rs"]
mod filters;

use crowd::{Crowd, Who};
use rowcast_codec::{Framed, Layout, Measured, Message, Packet, PacketId, Publish, PublishFrame, QoS, Version};
use rowcast_core::{Change, ChangeKind, Durability, NodeId, Proposals, SessionId, TableId, Token};
use rowcast_store::{MemDisk, MemState, Options, Origin, Store};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::sync::Arc;

/// What is counted.
struct Case {
    name: &'static str,
    /// How often the work is done.
    times: u64,
    /// Makes it ready.
    ready: fn() -> Work,
}

const CASES: &[Case] = &[
    Case { name: "decode-publish", times: 1_000, ready: decode_publish },
    Case { name: "encode-publish", times: 1_000, ready: encode_publish },
    Case { name: "encode-frame", times: 1_000, ready: encode_frame },
    Case { name: "match-known-topic", times: 1_000, ready: match_known_topic },
    Case { name: "match-new-topic", times: 1_000, ready: match_new_topic },
    Case { name: "deliver-to-1", times: 200, ready: || deliver(1, Who::SuperUsers) },
    Case { name: "deliver-to-100", times: 20, ready: || deliver(100, Who::SuperUsers) },
    Case { name: "deliver-by-role-to-100", times: 20, ready: || deliver(100, Who::OfARole) },
    Case { name: "deliver-exactly-once-to-1", times: 200, ready: || deliver_exactly_once(1) },
    Case { name: "commit-of-1", times: 200, ready: || commit(1) },
    Case { name: "commit-of-256", times: 10, ready: || commit(256) },
];

/// Does it once.
type Work = Box<dyn FnMut()>;

/// Bounds are that much above what was counted when they were written. Compilers and C libraries differ by less.
const SLACK: f64 = 1.10;
const BOUNDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => check(),
        ["update"] => update(),
        ["run", name] => run(name),
        _ => {
            eprintln!("usage: cargo bench -p rowcast-store --bench instructions [-- update]");
            ExitCode::from(2)
        }
    }
}

/// In the process that valgrind watches: all of it, of which only [`counted`] is counted.
fn run(name: &str) -> ExitCode {
    let case = CASES.iter().find(|case| case.name == name).expect("a case of this name");
    let mut work = (case.ready)();
    // What is done for the first time only is not the steady path.
    work();
    for _ in 0..case.times {
        counted(&mut work);
    }
    ExitCode::SUCCESS
}

/// Valgrind counts from here to its end, and finds it by its name.
#[inline(never)]
fn counted(work: &mut Work) {
    black_box(work)();
}

fn check() -> ExitCode {
    let text = std::fs::read_to_string(BOUNDS).expect("the file of bounds");
    let known: BTreeMap<&str, u64> = text.lines().filter(|line| !line.starts_with('#')).map(parse_bound).collect();
    let mut slower = Vec::new();
    for case in CASES {
        let (name, count) = (case.name, count(case));
        let before = known.get(name).copied().unwrap_or(0);
        let change = (count as f64 / before as f64 - 1.0) * 100.0;
        println!("{name:26} {count:>10} instructions, {change:+.1} %");
        if count as f64 > before as f64 * SLACK {
            slower.push(name);
        }
    }
    if slower.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!(
        "{} took more than {:.0} % more instructions than {BOUNDS} says.\n\
         Find out why. If it has to be: cargo bench -p rowcast-store --bench instructions -- update",
        slower.join(", "),
        (SLACK - 1.0) * 100.0
    );
    ExitCode::FAILURE
}

fn parse_bound(line: &str) -> (&str, u64) {
    let (name, count) = line.split_once(' ').expect("a name and a number");
    (name, count.trim().parse().expect("a number"))
}

fn update() -> ExitCode {
    let mut text =
        "# Instructions each takes once; written by: cargo bench -p rowcast-store --bench instructions -- update\n"
            .to_owned();
    for case in CASES {
        let _ = writeln!(text, "{:26} {:>10}", case.name, count(case));
    }
    print!("{text}");
    std::fs::write(BOUNDS, text).expect("the file of bounds can be written");
    ExitCode::SUCCESS
}

/// Instructions of a case, each time. The numbers are the same on every run but for hashing with random keys.
fn count(case: &Case) -> u64 {
    let name = case.name;
    let valgrind = ["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*counted*"];
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new("valgrind").args(valgrind).arg(program).args(["run", name]).output();
    let output = output.unwrap_or_else(|error| panic!("valgrind cannot be run ({error}): `./test` installs it"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{said}", output.status);
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok());
    let collected = collected.filter(|count| *count > 0);
    collected.unwrap_or_else(|| panic!("valgrind counted nothing in {name}:\n{said}")) / case.times
}

fn message(packet_id: u64) -> Packet<'static> {
    let packet_id = Some(PacketId::nth(packet_id));
    Packet::Publish(Publish { qos: QoS::AtLeastOnce, topic: TOPIC, packet_id, payload: PAYLOAD, ..Publish::default() })
}

fn decode_publish() -> Work {
    let mut bytes = Vec::new();
    message(7).encode(Version::V5, &mut bytes).expect("it has a form");
    Box::new(move || {
        let framed = Framed::load(black_box(&bytes), 1 << 20).expect("it is a packet").expect("it is whole");
        black_box(&framed.decode(Version::V5, "").expect("it is a packet"));
    })
}

fn encode_publish() -> Work {
    let mut out = Vec::with_capacity(1 << 12);
    Box::new(move || {
        out.clear();
        black_box(message(7)).encode(Version::V5, &mut out).expect("it has a form");
    })
}

/// Once for all receivers, and copied for one.
fn encode_frame() -> Work {
    let mut frame = PublishFrame::default();
    let mut out = Vec::with_capacity(1 << 12);
    Box::new(move || {
        let message = Message {
            topic: TOPIC,
            topic_alias: None,
            payload: PAYLOAD,
            properties: &[],
            content_type: None,
            expiry_secs: None,
        };
        let layout = Layout { version: Version::V5, qos: QoS::AtLeastOnce, retain: false };
        frame.encode(&Measured::new(layout, black_box(&message), &[]));
        out.clear();
        black_box(&frame).copy_to(&mut out, Some(PacketId::nth(7)), false);
    })
}

fn match_known_topic() -> Work {
    let mut interest = filters::interest(10_000);
    let topic = filters::topic(7);
    Box::new(move || {
        black_box(interest.matches(black_box(&topic)));
    })
}

fn match_new_topic() -> Work {
    let mut interest = filters::interest(10_000);
    let topics: Vec<String> = (0..2_000).map(filters::topic).collect();
    let mut next = 0;
    Box::new(move || {
        next += 1;
        black_box(interest.matches(black_box(&topics[next])));
    })
}

fn deliver(subscribers: u32, who: Who) -> Work {
    let mut crowd = Crowd::new(subscribers, who, QoS::AtMostOnce);
    Box::new(move || {
        black_box(crowd.publish());
    })
}

/// And all seven acknowledgements.
fn deliver_exactly_once(subscribers: u32) -> Work {
    let mut crowd = Crowd::new(subscribers, Who::SuperUsers, QoS::ExactlyOnce);
    Box::new(move || {
        black_box(crowd.publish_exactly_once());
    })
}

/// One turn of the writer over a disk in memory: numbering, encoding, checksum, log and tables.
fn commit(changes: u64) -> Work {
    let options = Options { node: Some(NodeId(7)), ..Options::default() };
    let (store, mut writer) =
        Store::open_with(Arc::new(MemDisk::new(1)), Arc::new(MemState::new(64 << 20)), &options, 0)
            .expect("a new store");
    let mut at = 0;
    Box::new(move || {
        let _open = &store;
        at += 1;
        let proposals = proposals(at, changes);
        black_box(writer.turn(vec![(Origin(0), proposals)], at).expect("it commits"));
    })
}

/// Changes of a thousand records, again and again.
fn proposals(turn: u64, changes: u64) -> Proposals {
    let mut proposals = Proposals::default();
    for at in 0..changes {
        let key = format!("{:012}", (turn * changes + at) % 1_000);
        let change = Change {
            kind: ChangeKind::Put,
            qos: QoS::AtLeastOnce,
            table: TableId(64),
            key: key.as_bytes(),
            publisher: SessionId(1),
            expires_ms: None,
            properties: &[],
            payload: PAYLOAD,
        };
        proposals.push(Some(Token(at)), Durability::Sync, &[change]);
    }
    proposals
}

const TOPIC: &str = "sensors/kitchen/temperature";
const PAYLOAD: &[u8] = &[b'x'; 200];
