//! What a commit costs, and what reading back costs: rates, and CPU time per record.
//!
//! `cargo bench -p rowcast-store --bench commit [-- FOLDER] [PART..]`; parts are `reopen`, `commit`,
//! `paced`, `read`, and only if asked for `large`. Writes
//! some gigabytes below FOLDER, the system's temporary folder by default.

use rowcast_codec::QoS;
use rowcast_core::{Batch, Change, ChangeKind, Completion, Durability, NodeId, Proposals, SessionId, TableId, Token};
use rowcast_store::{Options, Origin, Queue, Scan, Sink, Store, StoreError, Writer, spawn};
use std::fs;
use std::hint::black_box;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

const DOG: TableId = TableId(64);
const PAYLOAD_BYTES: usize = 200;
const MILLION: u64 = 1_000_000;

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let folder = match arguments.first() {
        Some(first) if first.contains('/') => PathBuf::from(arguments.remove(0)),
        _ => std::env::temp_dir(),
    };
    if arguments.iter().any(|argument| argument == "only-reopen") {
        return only_reopen(&folder);
    }
    let wanted = |part: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == part);
    let folder = folder.join(format!("rowcast-bench-{}", std::process::id()));
    if wanted("reopen") {
        reopens(&folder);
    }
    if wanted("commit") {
        let head = ["commits, 200 B payload", "records/s", "writer µs/r", "process µs/r", "turn p99 ms", "max ms"];
        println!("{:58} {:>10} {:>12} {:>12} {:>12} {:>8}", head[0], head[1], head[2], head[3], head[4], head[5]);
        for durability in [Durability::Memory, Durability::Sync] {
            for batch in [64, 256, 1024] {
                commits(&folder, durability, batch, "100k records, again and again", |at| at * 7919 % 100_000);
            }
        }
        commits(&folder, Durability::Memory, 1024, "new records in order", |at| at);
        commits(&folder, Durability::Memory, 1024, "new records in no order", scatter);
        commits(&folder, Durability::Sync, 1024, "new records in no order", scatter);
    }
    if wanted("paced") {
        for durability in [Durability::Memory, Durability::Sync] {
            paced(&folder, durability);
        }
        disk_alone(&folder);
    }
    if wanted("read") {
        reads(&folder);
    }
    if arguments.iter().any(|argument| argument == "large") {
        large(&folder);
    }
    let _ = fs::remove_dir_all(&folder);
}

fn scatter(at: u64) -> u64 {
    at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24
}

fn commits(folder: &Path, durability: Durability, batch: u64, what: &str, key: impl Fn(u64) -> u64) {
    let (store, mut writer) = open_new(folder);
    let records = if durability == Durability::Sync && batch == 64 { MILLION / 4 } else { 2 * MILLION };
    let (mut wall, mut thread, mut process) = (0.0, 0.0, 0.0);
    let mut turns = Vec::new();
    let mut at = 0;
    while at < records {
        // Proposals are the shards' work, and made before the clock runs.
        let round: Vec<Proposals> = (0..MILLION / 10 / batch)
            .map(|_| {
                let proposals = proposals(durability, (at..at + batch).map(&key));
                at += batch;
                proposals
            })
            .collect();
        let (started, before, all_before) = (Instant::now(), cpu("thread-self"), cpu("self"));
        for proposals in round {
            let started = Instant::now();
            black_box(writer.turn(vec![(Origin(0), proposals)], at).unwrap());
            turns.push(started.elapsed().as_secs_f64() * 1e3);
        }
        wall += started.elapsed().as_secs_f64();
        thread += cpu("thread-self") - before;
        process += cpu("self") - all_before;
    }
    let what = format!("{durability:?}, {batch} a batch, {what}");
    let per_record = |seconds: f64| seconds / at as f64 * 1e6;
    turns.sort_unstable_by(f64::total_cmp);
    let (p99, max) = (turns[turns.len() * 99 / 100], turns[turns.len() - 1]);
    let (thread, process) = (per_record(thread), per_record(process));
    println!("{what:58} {:>10.0} {thread:>12.2} {process:>12.2} {p99:>12.2} {max:>8.1}", at as f64 / wall);
    drop((store, writer));
}

/// An open loop of 5,000 changes a second through the queue and the writer thread: how long each waits.
fn paced(folder: &Path, durability: Durability) {
    let (store, writer) = open_new(folder);
    let queue = Queue::new(8 << 20, Box::new(|_| {}));
    let (done, told) = channel();
    let writing = spawn(writer, queue.clone(), Box::new(Stopwatch(done)));
    let started = Instant::now();
    let mut pushed = Vec::new();
    for at in 0..PACED_TICKS {
        wait_until(started + Duration::from_millis(at));
        let mut proposals = proposals(durability, (0..5).map(|part| scatter(at * 5 + part)));
        proposals.list.iter_mut().for_each(|proposal| proposal.token = Some(Token(at)));
        pushed.push(Instant::now());
        assert!(queue.try_push(Origin(0), proposals).is_ok());
    }
    queue.close();
    writing.join().unwrap();
    let waited = told.iter().map(|(Token(at), when)| when.duration_since(pushed[at as usize]).as_secs_f64() * 1e3);
    report_latency(&format!("5,000 changes/s, {durability:?}, until told"), waited.collect());
    drop(store);
}

/// What the disk itself takes for as many bytes at the same pace.
fn disk_alone(folder: &Path) {
    let file = fs::File::create(folder.join("alone")).unwrap();
    let started = Instant::now();
    let mut waited = Vec::new();
    for at in 0..PACED_TICKS {
        wait_until(started + Duration::from_millis(at));
        let before = Instant::now();
        file.write_all_at(&[1; 1_300], at * 1_300).unwrap();
        file.sync_data().unwrap();
        waited.push(before.elapsed().as_secs_f64() * 1e3);
    }
    report_latency("the disk alone: 1,300 B and a sync, up to 1,000/s", waited);
}

fn wait_until(when: Instant) {
    std::thread::sleep(when.saturating_duration_since(Instant::now()));
}

fn report_latency(what: &str, mut ms: Vec<f64>) {
    ms.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| ms[((ms.len() - 1) as f64 * share) as usize];
    println!("{what}: p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.1} ms", at(0.5), at(0.99), at(0.999), at(1.0));
}

struct Stopwatch(Sender<(Token, Instant)>);

impl Sink for Stopwatch {
    fn committed(&mut self, _: Option<Arc<Batch>>, completions: Vec<(Origin, Vec<Completion>)>) {
        let now = Instant::now();
        for completion in completions.into_iter().flat_map(|(_, list)| list) {
            let _ = self.0.send((completion.token, now));
        }
    }

    fn failed(&mut self, error: StoreError) {
        panic!("{error}");
    }
}

const PACED_TICKS: u64 = 10_000; // Milliseconds.

fn reads(folder: &Path) {
    let (store, mut writer) = open_new(folder);
    fill(&mut writer, MILLION);
    report_reads("partly in memory", &store);
    writer.close(0).unwrap();
    drop(store);
    let (store, _writer) = Store::open(folder, &options(), 0).unwrap();
    report_reads("from table files", &store);
}

fn report_reads(what: &str, store: &Store) {
    let started = Instant::now();
    let gets = 200_000;
    for at in 0..gets {
        let key = key(scatter(at * 31 % MILLION));
        assert!(store.get(DOG, &key).unwrap().is_some());
    }
    println!("get, {what}: {:.2} µs", started.elapsed().as_secs_f64() / gets as f64 * 1e6);
    for _ in 0..2 {
        let (started, before) = (Instant::now(), cpu("thread-self"));
        let mut count = 0;
        let mut bytes = 0;
        let mut next: Option<Vec<u8>> = None;
        loop {
            let from = next.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let scan = Scan { table: DOG, from, prefix: None, bytes_max: 1 << 20, records_max: 4096 };
            let page = store.scan(&scan).unwrap();
            for (key, record) in page.iter() {
                count += 1;
                bytes += key.len() + record.len();
            }
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        let (wall, cpu) = (started.elapsed().as_secs_f64(), cpu("thread-self") - before);
        let rate = count as f64 / wall;
        println!(
            "scan, {what}: {rate:.0} records/s, {:.2} CPU µs each ({count}, {bytes} bytes)",
            cpu / count as f64 * 1e6
        );
    }
}

fn reopens(folder: &Path) {
    for closed in [false, true] {
        let (store, mut writer) = open_new(folder);
        fill(&mut writer, MILLION);
        if closed {
            writer.close(0).unwrap();
        } else {
            drop(writer);
        }
        drop(store);
        println!("reopen 1M records {}:", if closed { "after a clean stop" } else { "as a crash leaves it" });
        // In a process of its own, so that memory is its own as well.
        let program = std::env::current_exe().expect("the system knows");
        Command::new(program).arg(folder).arg("only-reopen").status().expect("it runs once more");
    }
}

fn only_reopen(folder: &Path) {
    let started = Instant::now();
    let (store, _writer) = Store::open(folder, &options(), 0).unwrap();
    let (took, replayed) = (started.elapsed().as_secs_f64(), store.opened().replayed);
    println!("    {took:.2} s, {replayed} entries replayed, {} MiB resident", resident_mib());
}

fn large(folder: &Path) {
    let (store, mut writer) = open_new(folder);
    let started = Instant::now();
    fill(&mut writer, 10 * MILLION);
    let rate = 10e6 / started.elapsed().as_secs_f64();
    println!("10M new records in no order: {rate:.0} records/s, {} MiB resident", resident_mib());
    report_reads("10M records", &store);
    println!("{} MiB resident", resident_mib());
}

fn fill(writer: &mut Writer, records: u64) {
    for start in (0..records).step_by(1000) {
        let proposals = proposals(Durability::Flush, (start..start + 1000).map(scatter));
        writer.turn(vec![(Origin(0), proposals)], start).unwrap();
    }
}

fn open_new(folder: &Path) -> (Store, Writer) {
    let _ = fs::remove_dir_all(folder);
    Store::open(folder, &options(), 0).unwrap()
}

fn options() -> Options {
    Options { node: Some(NodeId(7)), ..Options::default() }
}

fn key(number: u64) -> Vec<u8> {
    format!("{number:012}").into_bytes()
}

fn proposals(durability: Durability, keys: impl Iterator<Item = u64>) -> Proposals {
    let mut proposals = Proposals::default();
    let payload = vec![b'x'; PAYLOAD_BYTES];
    for (at, number) in keys.enumerate() {
        let change = Change {
            kind: ChangeKind::Put,
            qos: QoS::AtLeastOnce,
            table: DOG,
            key: &key(number),
            publisher: SessionId(1),
            expires_ms: None,
            properties: &[],
            payload: &payload,
        };
        proposals.push(Some(Token(at as u64)), durability, &[change]);
    }
    proposals
}

fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Seconds of CPU time a thread or process has used.
fn cpu(who: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{who}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
