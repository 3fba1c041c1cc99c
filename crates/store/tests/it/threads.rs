//! The writer on its thread, with shards that push, readers that follow, and scans that go on meanwhile.

use rowcast_codec::QoS;
use rowcast_core::{
    Batch, Change, ChangeKind, Completion, Durability, NodeId, Outcome, Proposals, Sequence, SessionId, TableId, Token,
};
use rowcast_store::{Options, Origin, Queue, Scan, Sink, Store, StoreError, spawn};
use std::ops::Bound;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

const DOG: TableId = TableId(64);
const SHARDS: u32 = 3;
const ROUNDS: u64 = 150;
const PER_ROUND: u64 = 20;
const ALL: u64 = SHARDS as u64 * ROUNDS * PER_ROUND;

#[test]
fn shards_readers_and_scans_get_along() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        node: Some(NodeId(7)),
        segment_bytes: 100_000,
        ring_bytes: 20_000,
        table_bytes: 1,
        ..Options::default()
    };
    let (store, writer) = Store::open(folder.path(), &options, 0).unwrap();
    let room = Arc::new(Room::default());
    let tell = Arc::clone(&room);
    let queue = Queue::new(10_000, Box::new(move |origin| tell.open(origin)));
    let (sink, told) = channel();
    let writing = spawn(writer, queue.clone(), Box::new(Collect(sink)));
    thread::scope(|scope| {
        for shard in 0..SHARDS {
            let (queue, room) = (&queue, &room);
            scope.spawn(move || push_all(Origin(shard), queue, room));
        }
        scope.spawn(|| follow(&store));
        scope.spawn(|| scan_meanwhile(&store));
        check_completions(&told);
    });
    queue.close();
    writing.join().unwrap();
    assert_eq!(store.count(DOG, u64::MAX).unwrap(), SHARDS as u64 * 100);
    assert_eq!(store.committed(), Sequence(ALL));
    drop(store);
    let (store, _writer) = Store::open(folder.path(), &options, 0).unwrap();
    assert!(store.opened().clean && store.opened().replayed == 0, "{:?}", store.opened());
    assert_eq!(store.count(DOG, u64::MAX).unwrap(), SHARDS as u64 * 100);
}

/// Where refused shards wait.
#[derive(Default)]
struct Room(Mutex<Vec<Origin>>, Condvar);

impl Room {
    fn open(&self, origin: Origin) {
        self.0.lock().unwrap().push(origin);
        self.1.notify_all();
    }

    fn wait(&self, origin: Origin) {
        let told = self.1.wait_while(self.0.lock().unwrap(), |told| !told.contains(&origin)).unwrap();
        { told }.retain(|it| *it != origin);
    }
}

fn push_all(origin: Origin, queue: &Queue, room: &Room) {
    for round in 0..ROUNDS {
        let mut proposals = Proposals::default();
        for at in 0..PER_ROUND {
            let number = round * PER_ROUND + at;
            let key = format!("{}/{}", origin.0, number % 100);
            let payload = format!("{number:0100}");
            let change = Change {
                kind: ChangeKind::Put,
                qos: QoS::AtLeastOnce,
                table: DOG,
                key: key.as_bytes(),
                publisher: SessionId::NONE,
                expires_ms: None,
                properties: &[],
                payload: payload.as_bytes(),
            };
            let durability = if round % 7 == 0 { Durability::Sync } else { Durability::Memory };
            proposals.push(Some(Token(number)), durability, &[change]);
        }
        while let Err(back) = queue.try_push(origin, proposals) {
            proposals = back;
            room.wait(origin);
        }
    }
}

type Turn = (Option<Arc<Batch>>, Vec<(Origin, Vec<Completion>)>);

struct Collect(Sender<Turn>);

impl Sink for Collect {
    fn committed(&mut self, batch: Option<Arc<Batch>>, completions: Vec<(Origin, Vec<Completion>)>) {
        self.0.send((batch, completions)).unwrap();
    }

    fn failed(&mut self, error: StoreError) {
        panic!("{error}");
    }
}

/// Each shard hears of all its proposals in order, and batches come without a gap.
fn check_completions(told: &Receiver<Turn>) {
    let mut next = vec![0; SHARDS as usize];
    let mut last = Sequence::ZERO;
    while last < Sequence(ALL) {
        let (batch, completions) = told.recv().unwrap();
        let batch = batch.expect("everything here is written");
        assert_eq!(batch.first(), last.next());
        last = batch.last();
        for (origin, completion) in
            completions.into_iter().flat_map(|(origin, list)| list.into_iter().map(move |it| (origin, it)))
        {
            let next = &mut next[origin.0 as usize];
            assert_eq!(completion.token, Token(*next));
            assert!(matches!(completion.outcome, Outcome::Done { sequence, .. } if sequence <= last));
            *next += 1;
        }
    }
    assert_eq!(next, vec![ROUNDS * PER_ROUND; SHARDS as usize]);
}

/// A reader that is now level with the log and now behind sees every entry once.
fn follow(store: &Store) {
    let mut after = Sequence::ZERO;
    while after < Sequence(ALL) {
        let page = store.read_log(after, 3_000).unwrap();
        assert!(page.batches.last().is_none_or(|last| last.last() <= page.committed));
        for entry in page.batches.iter().flat_map(|batch| batch.entries().collect::<Vec<_>>()) {
            if entry.sequence > after {
                assert_eq!(entry.sequence, after.next());
                after = entry.sequence;
            }
        }
        thread::yield_now();
    }
}

/// Records never go back to an older version, and none is missed that was there all along.
fn scan_meanwhile(store: &Store) {
    let mut seen: std::collections::HashMap<Vec<u8>, Sequence> = std::collections::HashMap::new();
    while store.committed() < Sequence(ALL) {
        let mut next: Option<Vec<u8>> = None;
        let mut found = 0;
        let expected = seen.len();
        loop {
            let from = next.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let page = store.scan(&Scan { table: DOG, from, prefix: None, bytes_max: 4_000, records_max: 50 }).unwrap();
            for (key, bytes) in page.iter() {
                let version = rowcast_core::Record::decode(bytes).unwrap().version;
                let before = seen.insert(key.to_vec(), version).unwrap_or_default();
                assert!(version >= before);
                found += 1;
            }
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        assert!(found >= expected, "{found} of {expected}");
    }
}
