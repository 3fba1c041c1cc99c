//! `rowcast bench`: what it says about a broker that is right, and about one that is not.

use crate::server::{Application, Server, binary};
use crate::tls::secure;
use crate::tools::{Tool, file};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

#[test]
fn every_scenario_finds_a_right_broker_right() {
    let server = server();
    for (arguments, figures) in [
        (&["pairs", "-n", "3", "-q", "1"][..], &["delivered_per_second", "latency_p99_us"][..]),
        (&["pairs", "-n", "2", "-q", "2", "-V", "mqttv311"], &["delivered_per_second"]),
        (&["fan-out", "-n", "5"], &["delivered_per_second"]),
        (&["fan-in", "-n", "5", "-q", "1", "--size", "56"], &["delivered_per_second"]),
        (&["latency", "-n", "2", "--rate", "200"], &["delivered_per_second", "latency_p999_us"]),
        (&["connections", "-n", "20", "--hold", "0"], &["connected_per_second", "connecting_p99_us"]),
        (&["connections", "-n", "20", "--hold", "0", "--subscribe", "--rate", "200"], &["connected_per_second"]),
        (&["records", "--records", "100"], &["written_per_second", "acknowledged_p99_us", "read_per_second"]),
        (&["records", "--records", "7", "-t", "note", "-q", "2"], &["written_per_second", "read_per_second"]),
    ] {
        let (code, report) = bench(server.mqtt(), arguments);
        assert_eq!(code, 0, "{arguments:?}: {report:#}");
        let broker = &report["brokers"][0];
        assert!(broker["checked"].as_u64().expect("a number") > 0, "{arguments:?}: {report:#}");
        for figure in figures {
            assert!(broker["median"][figure].as_f64().is_some_and(|value| value > 0.0), "{figure}: {report:#}");
        }
    }
}

#[test]
fn secret_connections_and_sockets_carry_the_same_load() {
    let application = secure(Application::new("type Note @table @export"));
    let socket = application.path().join("mqtt.sock").display().to_string();
    let application = application.at(&socket, "127.0.0.1:0");
    let server = application.start();
    let authority = application.path().join("data/keys/ca.pem").display().to_string();
    let port = server.mqtts().to_string();
    let secret = ["-p", &port, "--cafile", &authority];
    for way in [&secret[..], &["--unix", &socket], &[&secret[..], &["--compare", &socket, "--rounds", "1"]].concat()] {
        for load in [&["pairs", "-n", "3", "-q", "2", "--size", "20000"][..], &["records", "--records", "300"]] {
            let (code, report) = bench_at(&[load, way].concat());
            assert_eq!(code, 0, "{way:?}: {report:#}");
            for broker in report["brokers"].as_array().expect("a list") {
                assert!(broker["checked"].as_u64().expect("a number") > 0, "{way:?}: {report:#}");
            }
        }
    }
    let stranger = file("version-1-cert.pem").display().to_string();
    let (code, said) = run(bench_command_at(&["pairs", "-n", "1", "-p", &port, "--cafile", &stranger]));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the server's certificate is signed by nobody who is trusted here"), "{said}");
}

#[test]
fn records_are_gone_in_the_end_unless_they_are_kept() {
    let server = server();
    bench(server.mqtt(), &["records", "--records", "5"]);
    bench(server.mqtt(), &["records", "--records", "5", "--keep"]);
    let mut reader = server.connect("reader");
    reader.subscribe("rowcast-bench/#", 0);
    for _ in 0..5 {
        reader.next_publish();
    }
    reader.ping();
}

#[test]
fn two_brokers_are_compared() {
    let (one, other) = (server(), server());
    let rival = format!("127.0.0.1:{}", other.mqtt());
    let (one_id, other_id) = (one.id().to_string(), other.id().to_string());
    let arguments =
        ["pairs", "-n", "2", "--rounds", "2", "--compare", &rival, "--pid", &one_id, "--compare-pid", &other_id];
    let (code, report) = bench(one.mqtt(), &arguments);
    assert_eq!(code, 0, "{report:#}");
    let brokers = report["brokers"].as_array().expect("a list");
    assert_eq!(
        brokers.iter().map(|broker| broker["rounds"].as_array().map(Vec::len)).collect::<Vec<_>>(),
        [Some(2); 2]
    );
    assert!(report["ratio"]["delivered_per_second"].as_f64().is_some_and(|ratio| ratio > 0.0), "{report:#}");
}

#[test]
fn people_get_a_table_and_ctrl_c_prints_what_there_is() {
    let server = server();
    let mut watcher = server.connect("watcher");
    watcher.subscribe("rowcast-bench/#", 0);
    let mut command = Command::new(binary());
    command.args(["bench", "pairs", "-n", "2", "--rate", "50", "--seconds", "3600", "--warmup", "0"]);
    command.args(["-h", "127.0.0.1", "-p", &server.mqtt().to_string()]).env("NO_COLOR", "1");
    let tool = Tool::spawn(command);
    watcher.next_publish();
    tool.signal("INT");
    let (status, lines) = tool.end();
    let said = lines.join("\n");
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.starts_with("2 pairs, QoS 0, 200 B, 50/s, 3600 s"), "{said}");
    assert!(said.ends_with("nothing lost, doubled, disordered or spoiled"), "{said}");
}

#[test]
fn credentials_are_those_of_pub_and_sub() {
    let server = Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", "bone").start();
    let (code, _) = bench(server.mqtt(), &["connections", "-n", "2", "--hold", "0", "-u", "admin", "-P", "bone"]);
    assert_eq!(code, 0);
    let (code, said) = run(bench_command(server.mqtt(), &["connections", "-n", "2", "--hold", "0"]));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the broker refuses the connection"), "{said}");
}

#[test]
fn nobody_there_is_a_failure_that_says_so() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|closed| closed.local_addr()).expect("a port").port();
    let (code, said) = run(bench_command(port, &["pairs"]));
    assert_eq!(code, 1);
    assert!(said.contains(&format!("127.0.0.1:{port}: cannot connect: Connection refused")), "{said}");
}

#[test]
fn a_broker_that_does_wrong_is_caught() {
    const ALL: &[(usize, Sin)] = &[(3, Sin::Lose), (5, Sin::Double), (7, Sin::Swap), (9, Sin::Spoil)];
    const FAULTS: &[(&str, u64)] = &[("disordered", 1), ("doubled", 1), ("lost", 2), ("spoiled", 1)];
    type Case = (&'static [(usize, Sin)], &'static [&'static str], &'static [(&'static str, u64)]);
    const CASES: &[Case] = &[
        (&[], &["pairs"], &[]),
        (&[(5, Sin::Lose)], &["pairs"], &[("lost", 1)]),
        (&[(5, Sin::Double)], &["pairs"], &[("doubled", 1)]),
        (&[(5, Sin::Swap)], &["pairs"], &[("disordered", 1)]),
        (&[(5, Sin::Spoil)], &["pairs"], &[("lost", 1), ("spoiled", 1)]),
        (&[(5, Sin::Misroute)], &["pairs"], &[("lost", 1), ("spoiled", 1)]),
        (&[(5, Sin::Unacknowledge)], &["pairs", "-q", "1"], &[("unacknowledged", 1)]),
        (&[(5, Sin::Refuse)], &["pairs", "-q", "1"], &[("refused", 1)]),
        (ALL, &["pairs", "-q", "1"], FAULTS),
        (ALL, &["pairs", "-V", "mqttv311"], FAULTS),
        (ALL, &["latency", "--rate", "100"], FAULTS),
        (ALL, &["fan-out"], FAULTS),
        (ALL, &["fan-in"], FAULTS),
    ];
    // Side by side: what is lost is waited for.
    std::thread::scope(|scope| {
        for (sins, arguments, expected) in CASES {
            scope.spawn(|| check(sins, &[*arguments, &["-n", "1"]].concat(), expected));
        }
    });
}

#[test]
fn a_broker_that_hangs_up_is_caught() {
    let broker = Broker::start(&[(5, Sin::HangUp)]);
    let (code, report) = bench(broker.port, &["pairs", "-n", "1"]);
    assert_eq!((code, &report["brokers"][0]["faults"]["broken"]), (1, &1.into()), "{report:#}");
}

#[test]
fn a_broker_that_forgets_records_is_caught() {
    let records = &["records", "--records", "3", "-n", "1"];
    check(&[], records, &[]);
    check(&[(1, Sin::ForgetRecord)], records, &[("lost", 1)]);
    check(&[(1, Sin::OldRecord)], records, &[("stale", 1)]);
    check(&[(1, Sin::DoubleRecord)], records, &[("doubled", 1)]);
}

#[test]
fn a_broker_that_leaves_a_connection_without_service_is_caught() {
    check(&[(1, Sin::Deaf)], &["connections", "-n", "3", "--hold", "0"], &[("broken", 1)]);
}

/// Something a broker must not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sin {
    Lose,
    Double,
    /// Sends a message behind the next.
    Swap,
    Spoil,
    Misroute,
    Unacknowledge,
    /// Acknowledges with an error, and passes on all the same.
    Refuse,
    /// Ends the publisher's connection after the message.
    HangUp,
    ForgetRecord,
    OldRecord,
    DoubleRecord,
    /// Answers no ping.
    Deaf,
}

/// Runs against a broker that does some things wrong, each at the message (record, client) of that number; what is
/// found must be that and nothing else.
#[track_caller]
fn check(sins: &'static [(usize, Sin)], arguments: &[&str], expected: &[(&str, u64)]) {
    let broker = Broker::start(sins);
    let (code, report) = bench(broker.port, arguments);
    let mut expected: Vec<(String, u64)> = expected.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect();
    expected.sort_unstable();
    assert_eq!(faults(&report), expected, "{sins:?} {arguments:?}: {report:#}");
    assert_eq!(code, i32::from(!sins.is_empty()), "{report:#}");
}

/// What a report counts, without what it counts none of.
fn faults(report: &Value) -> Vec<(String, u64)> {
    let faults = report["brokers"][0]["faults"].as_object().expect("an object");
    let mut faults: Vec<(String, u64)> =
        faults.iter().map(|(what, count)| (what.clone(), count.as_u64().expect("a count"))).collect();
    faults.retain(|(_, count)| *count > 0);
    faults.sort_unstable();
    faults
}

fn server() -> Server {
    Application::dogs().start()
}

/// Runs it for a second; its exit code and its report.
#[track_caller]
fn bench(port: u16, arguments: &[&str]) -> (i32, Value) {
    bench_at(&[arguments, &["-h", "127.0.0.1", "-p", &port.to_string()]].concat())
}

/// The same for a broker that the arguments name.
#[track_caller]
fn bench_at(arguments: &[&str]) -> (i32, Value) {
    let (code, said) = run(bench_command_at(arguments));
    let report = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    (code, report)
}

fn bench_command(port: u16, arguments: &[&str]) -> Command {
    bench_command_at(&[arguments, &["-h", "127.0.0.1", "-p", &port.to_string()]].concat())
}

fn bench_command_at(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("bench").args(arguments);
    command.args(["--seconds", "1", "--warmup", "0", "--patience", "2", "--json"]).env("NO_COLOR", "1");
    command
}

fn run(command: Command) -> (i32, String) {
    let (status, lines) = Tool::spawn(command).end();
    (status.code().expect("it ends by itself"), lines.join("\n"))
}

/// A small broker that does what it is told to do wrong, and all else right.
struct Broker {
    port: u16,
}

impl Broker {
    /// Its threads end with the program, as its port does.
    fn start(sins: &'static [(usize, Sin)]) -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let hub = Arc::new(Mutex::new(Hub { sins, ..Hub::default() }));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let hub = Arc::clone(&hub);
                std::thread::spawn(move || serve(&hub, stream));
            }
        });
        Broker { port }
    }
}

/// What all connections share.
#[derive(Default)]
struct Hub {
    sins: &'static [(usize, Sin)],
    clients: usize,
    published: usize,
    subscribers: Vec<(String, TcpStream)>,
    /// Kept back to go out behind the next.
    swapped: Option<Vec<u8>>,
    /// All versions of each topic.
    records: Vec<(Vec<u8>, Vec<Vec<u8>>)>,
}

impl Hub {
    fn sins_at(&self, number: usize) -> impl Fn(Sin) -> bool + use<> {
        let sins = self.sins;
        move |sin| sins.contains(&(number, sin))
    }
}

fn serve(hub: &Mutex<Hub>, mut stream: TcpStream) {
    let mut v5 = false;
    let mut deaf = false;
    while let Some((first, body)) = read_packet(&mut stream) {
        let mut hub = hub.lock().expect("no thread panics here");
        let answer = match first >> 4 {
            1 => {
                hub.clients += 1;
                deaf = hub.sins_at(hub.clients)(Sin::Deaf);
                v5 = body[6] == 5;
                if v5 { vec![0x20, 3, 0, 0, 0] } else { vec![0x20, 2, 0, 0] }
            }
            3 => {
                let Some(answer) = publish(&mut hub, first, &body, v5) else { return };
                answer
            }
            8 => subscribe(&mut hub, &body, v5, &stream),
            12 if !deaf => vec![0xd0, 0],
            12 => Vec::new(),
            _ => return,
        };
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

/// The first byte and what follows the length; `None` when the client has gone.
fn read_packet(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte).ok()?;
    let (first, mut length, mut shift) = (byte[0], 0, 0);
    loop {
        stream.read_exact(&mut byte).ok()?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] < 0x80 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((first, body))
}

/// Passes a message on; what the publisher is answered. `None`: the connection ends.
fn publish(hub: &mut Hub, first: u8, body: &[u8], v5: bool) -> Option<Vec<u8>> {
    hub.published += 1;
    let sinful = hub.sins_at(hub.published);
    let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let qos = first >> 1 & 3;
    let payload_start = topic_end + if qos > 0 { 2 } else { 0 } + usize::from(v5);
    let (topic, mut payload) = (&body[2..topic_end], body[payload_start..].to_vec());
    if first & 1 == 1 {
        keep(hub, topic, payload.clone());
    }
    if sinful(Sin::Spoil) {
        *payload.last_mut().expect("a payload") ^= 1;
    }
    let sent_topic = if sinful(Sin::Misroute) { b"elsewhere" } else { topic };
    let message = message(sent_topic, &payload, v5);
    let mut messages = if sinful(Sin::Lose) || sinful(Sin::Swap) { Vec::new() } else { message.clone() };
    messages.extend(hub.swapped.take().into_iter().flatten());
    if sinful(Sin::Double) {
        messages.extend(&message);
    }
    if sinful(Sin::Swap) {
        hub.swapped = Some(message);
    }
    for (filter, stream) in &mut hub.subscribers {
        if selects(filter, topic) {
            let _ = stream.write_all(&messages);
        }
    }
    if sinful(Sin::HangUp) {
        return None;
    }
    if qos == 0 || sinful(Sin::Unacknowledge) {
        return Some(Vec::new());
    }
    let id = &body[topic_end..topic_end + 2];
    Some(match sinful(Sin::Refuse) {
        true => vec![0x40, 3, id[0], id[1], 0x97],
        false => vec![0x40, 2, id[0], id[1]],
    })
}

fn keep(hub: &mut Hub, topic: &[u8], payload: Vec<u8>) {
    match hub.records.iter_mut().find(|(kept, _)| kept == topic) {
        Some((_, versions)) => versions.push(payload),
        None => hub.records.push((topic.to_vec(), vec![payload])),
    }
}

fn subscribe(hub: &mut Hub, body: &[u8], v5: bool, stream: &TcpStream) -> Vec<u8> {
    let filter_start = if v5 { 5 } else { 4 };
    let filter = String::from_utf8(body[filter_start..body.len() - 1].to_vec()).expect("a filter");
    let mut answer = if v5 { vec![0x90, 4, body[0], body[1], 0, 1] } else { vec![0x90, 3, body[0], body[1], 1] };
    for (at, (topic, versions)) in hub.records.iter().enumerate() {
        let sinful = hub.sins_at(at + 1);
        let version = if sinful(Sin::OldRecord) { versions.first() } else { versions.last() };
        let record = message(topic, version.expect("a version"), v5);
        let times = if sinful(Sin::ForgetRecord) { 0 } else { 1 + usize::from(sinful(Sin::DoubleRecord)) };
        answer.extend(record.repeat(times));
    }
    hub.subscribers.push((filter, stream.try_clone().expect("a socket")));
    answer
}

fn selects(filter: &str, topic: &[u8]) -> bool {
    let topic = String::from_utf8_lossy(topic);
    filter == topic || filter.strip_suffix('+').is_some_and(|start| topic.starts_with(start))
}

/// PUBLISH with QoS 0, which is allowed for every subscription.
fn message(topic: &[u8], payload: &[u8], v5: bool) -> Vec<u8> {
    let length = 2 + topic.len() + usize::from(v5) + payload.len();
    assert!(length < 16_384, "two bytes of length are enough");
    let mut message = vec![0x30];
    message.extend(if length < 128 { vec![length as u8] } else { vec![length as u8 | 0x80, (length >> 7) as u8] });
    message.extend([0, topic.len() as u8]);
    message.extend(topic);
    if v5 {
        message.push(0);
    }
    message.extend(payload);
    message
}
