//! Crashes at every disk operation, and every other harm a disk can do, against a model.
//!
//! A life is a script made from a seed: turns of the writer, ticks, checkpoints, clean restarts. It is run once to
//! count its disk operations, then once for each of them, with the disk going down there. After each crash the store
//! is opened again (and may crash again on the way) and compared with the model: what was acknowledged as synced is
//! there, the log is a beginning of what was shown, the tables are its fold, no sequence is used twice.

use rowcast_codec::QoS;
use rowcast_core::{
    Change, ChangeKind, Completion, Decision, Durability, Entries, Entry, NodeId, Outcome, Proposals, Rejection,
    Sequence, SessionId, TableId, Token,
};
use rowcast_store::limits::FILLED_BYTES;
use rowcast_store::{
    Crash, Disk, LsmState, MemDisk, MemState, OpenError, Options, Origin, OsDisk, Retention, Scan, State, Store,
    StoreError, Verify, Writer,
};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SEEDS: u64 = 8;
const STEPS: usize = 30;

#[test]
fn a_crash_at_any_disk_operation_loses_nothing_that_was_acknowledged() {
    let points = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for seed in 0..SEEDS {
            let points = &points;
            scope.spawn(move || {
                let operations = Life::new(seed).run_to_the_end();
                for at in 0..operations {
                    for crash in [Crash::Process, Crash::Power] {
                        Life::new(seed).crash_at(at, crash);
                        points.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let points = points.into_inner();
    println!("{points} crash points");
    assert!(points >= 1_000, "only {points} crash points");
}

#[test]
fn a_failed_sync_loses_nothing_that_was_acknowledged() {
    for seed in 100..103 {
        let mut life = Life::new(seed);
        life.run_to_the_end();
        for at in 0..life.disk.syncs() {
            let mut life = Life::new(seed);
            life.disk.fail_sync_at(at);
            life.run();
            life.restart(Crash::Power);
            life.live_on();
        }
    }
}

#[test]
fn a_disk_that_fills_up_anywhere_loses_nothing_and_goes_on_when_there_is_room() {
    for seed in 200..204 {
        let mut life = Life::new(seed);
        life.run_to_the_end();
        let most = life.disk.bytes();
        for capacity in (0..most).step_by(97) {
            let mut life = Life::new(seed);
            life.disk.set_capacity(Some(capacity));
            life.run();
            life.disk.set_capacity(None);
            if life.writer.is_none() {
                life.restart(Crash::Process); // It filled up while the store was opened.
            }
            life.live_on();
            life.restart(Crash::Power);
            life.live_on();
        }
    }
}

#[test]
fn a_flipped_bit_is_named_and_never_served() {
    let (mut named, mut cut) = (0, 0);
    for seed in 300..310 {
        let mut life = Life::new(seed);
        life.options.retention = Retention::default();
        life.run_to_the_end();
        let mut names: Vec<String> = life.disk.list().unwrap();
        names.retain(|name| name.ends_with(".log"));
        for at in 0..200 {
            let name = &names[life.random.below(names.len())];
            let bits = life.disk.open(name).unwrap().len().unwrap() as usize * 8;
            let bit = life.random.below(bits) as u64;
            life.disk.flip(name, bit);
            life.check_flipped(name, if at % 2 == 0 { Verify::All } else { Verify::Tail }, &mut named, &mut cut);
            life.disk.flip(name, bit);
        }
    }
    assert!(named > 1_000 && cut > 0, "{named} flips were named, {cut} cut off with the end of the log");
}

#[test]
fn tables_on_a_real_disk_are_the_fold_of_the_log_after_every_stop() {
    for seed in 400..403 {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random(seed);
        let mut model = Model::default();
        for run in 0..4 {
            let disk = Arc::new(OsDisk::open(folder.path()).unwrap());
            let tables = Arc::new(LsmState::open(&folder.path().join("tables"), 1, 8).unwrap());
            let options = Options { node: Some(NodeId(7)), segment_bytes: 1 << 20, ..Options::default() };
            let (store, mut writer) = Store::open_with(disk, Arc::clone(&tables) as _, &options, run).unwrap();
            model.compare(&store, Loss::Nothing);
            for _ in 0..random.below(60) {
                let mut proposals = Proposals::default();
                for _ in 0..50 {
                    let change = random.change();
                    let payload = vec![random.below(256) as u8; 1_000 + random.below(2_000)];
                    let change = Change { payload: &payload, ..change.as_change() };
                    proposals.push(None, Durability::Flush, &[change]);
                }
                let committed = writer.turn(vec![(Origin(0), proposals)], run).unwrap();
                model.take(committed.batch.as_deref(), Durability::Flush);
                if random.below(20) == 0 {
                    tables.checkpoint().unwrap();
                }
            }
            model.compare(&store, Loss::Nothing);
            if random.below(2) == 0 {
                writer.close(run).unwrap();
            }
        }
    }
}

/// A store and what should be in it.
struct Life {
    disk: MemDisk,
    state: Arc<MemState>,
    options: Options,
    store: Option<Store>,
    writer: Option<Writer>,
    model: Model,
    random: Random,
    now_ms: u64,
    seed: u64,
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut random = Random(seed);
        let retention = Retention { bytes: (random.below(2) == 0).then_some(3_000), age_ms: None };
        let options = Options {
            node: Some(NodeId(7)),
            segment_bytes: 300 + random.below(2_000) as u64,
            ring_bytes: random.below(3_000),
            retention,
            ..Options::default()
        };
        let disk = MemDisk::new(seed);
        disk.fill_up_to([1, 64, FILLED_BYTES][random.below(3)]);
        Life {
            disk,
            state: Arc::new(MemState::new(500 + random.below(4_000))),
            options,
            store: None,
            writer: None,
            model: Model::default(),
            random,
            now_ms: 1_000,
            seed,
        }
    }

    /// Without any harm. Returns the number of disk operations.
    fn run_to_the_end(&mut self) -> u64 {
        self.run();
        assert!(self.writer.is_some(), "nothing went wrong");
        self.writer.take().unwrap().close(self.now_ms).unwrap();
        self.compare(Loss::Nothing);
        self.disk.operations()
    }

    fn crash_at(&mut self, operation: u64, crash: Crash) {
        self.disk.crash_at(operation);
        self.run();
        self.restart(crash);
        self.live_on();
        // Whatever the first crash left is as good as new: it survives another one.
        self.restart(Crash::Power);
        self.live_on();
    }

    /// The script, until it ends or the writer has failed.
    fn run(&mut self) {
        if self.open().is_err() {
            return;
        }
        for _ in 0..STEPS {
            let step = match self.random.below(12) {
                0 => self.tick(),
                1 => self.state.checkpoint().map_err(StoreError::from),
                2 => {
                    let closed = self.writer.take().expect("the run goes on").close(self.now_ms);
                    self.state.crash();
                    if closed.is_ok() && self.open().is_err() {
                        return;
                    }
                    closed
                }
                _ => self.turn(),
            };
            if step.is_err() {
                self.writer = None;
                return;
            }
        }
    }

    fn open(&mut self) -> Result<(), OpenError> {
        self.store = None;
        let disk = Arc::new(self.disk.clone());
        let (store, writer) = Store::open_with(disk, Arc::clone(&self.state) as _, &self.options, self.now_ms)?;
        (self.store, self.writer) = (Some(store), Some(writer));
        Ok(())
    }

    /// After a crash: opens the store, perhaps crashing a few more times on the way, and compares.
    fn restart(&mut self, crash: Crash) {
        self.writer = None;
        let mut loss = if crash == Crash::Power { Loss::Unsynced } else { Loss::Nothing };
        for attempt in 0.. {
            self.disk.restart(if loss == Loss::Unsynced { Crash::Power } else { Crash::Process });
            self.state.crash();
            if attempt < 2 && self.random.below(2) == 0 {
                self.disk.crash_at(self.disk.operations() + self.random.below(12) as u64);
            }
            match self.open() {
                Ok(()) if self.disk.is_down() => {}
                Ok(()) => break,
                Err(error) => assert!(self.disk.is_down(), "seed {}: {error}", self.seed),
            }
            if self.random.below(2) == 0 {
                loss = Loss::Unsynced;
            }
        }
        // A crash that was ordered for later is not wanted any more.
        self.disk.crash_at(u64::MAX);
        self.compare(loss);
    }

    /// A few more turns: the store is not only readable.
    fn live_on(&mut self) {
        for _ in 0..3 {
            self.turn().unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        }
        self.tick().unwrap();
        self.compare(Loss::Nothing);
    }

    fn compare(&mut self, loss: Loss) {
        self.model.compare(self.store.as_ref().unwrap(), loss);
    }

    fn tick(&mut self) -> Result<(), StoreError> {
        self.now_ms += 300;
        let (committed, _) = self.writer.as_mut().unwrap().tick(self.now_ms)?;
        self.model.take(committed.batch.as_deref(), Durability::Flush);
        // The tick syncs whatever was not.
        self.model.synced = self.model.log.len();
        Ok(())
    }

    fn turn(&mut self) -> Result<(), StoreError> {
        self.now_ms += 100;
        let mut proposals = Proposals::default();
        let mut wishes = Vec::new();
        for token in 0..1 + self.random.below(5) {
            let durability = [Durability::Sync, Durability::Flush, Durability::Memory][self.random.below(3)];
            let wish = self.random.wish(self.now_ms);
            wish.propose(Token(token as u64), durability, &mut proposals);
            wishes.push((wish, durability));
        }
        let predicted = self.model.predict(&wishes, self.now_ms);
        self.model.pending = predicted.iter().flat_map(|it| it.written.clone()).collect();
        let committed = self.writer.as_mut().unwrap().turn(vec![(Origin(1), proposals)], self.now_ms)?;
        let outcomes: Vec<Outcome> =
            committed.completions.into_iter().flat_map(|(_, list)| list).map(outcome).collect();
        self.model.pending.clear();
        if outcomes.contains(&Outcome::Full) {
            assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Full) && committed.batch.is_none());
            return Ok(());
        }
        let mut sequence = committed.batch.as_ref().map_or(Sequence::ZERO, |batch| batch.first());
        for (outcome, predicted) in outcomes.iter().zip(&predicted) {
            predicted.check(outcome, &mut sequence);
        }
        let highest = predicted.iter().filter(|it| !it.written.is_empty()).map(|it| it.durability).max();
        self.model.take(committed.batch.as_deref(), highest.unwrap_or(Durability::Memory));
        let last = committed.batch.map_or(self.store.as_ref().unwrap().committed(), |batch| batch.last());
        assert_eq!(self.store.as_ref().unwrap().committed(), last);
        Ok(())
    }

    /// One bit of one segment is wrong: whatever is served is right, and what is not is named.
    fn check_flipped(&mut self, name: &str, verify: Verify, named: &mut usize, cut: &mut usize) {
        let disk = MemDisk::new(0);
        for name in self.disk.list().unwrap() {
            let file = self.disk.open(&name).unwrap();
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_at(&mut bytes, 0).unwrap();
            disk.create(&name).unwrap().write_at(&bytes, 0).unwrap();
        }
        // Tables that hold everything but what a crash of this store would replay.
        self.state.crash();
        let options = Options { verify, ..self.options };
        match Store::open_with(Arc::new(disk), Arc::clone(&self.state) as _, &options, self.now_ms) {
            Err(error) => {
                assert!(error.to_string().contains(name), "{error} does not name {name}");
                *named += 1;
            }
            Ok((store, _)) => match read_all(&store) {
                Err(error) => {
                    assert!(error.contains(name), "{error} does not name {name}");
                    *named += 1;
                }
                Ok(log) => {
                    assert!(self.model.log.starts_with(&log), "seed {}: something else is served", self.seed);
                    let lost = self.model.synced > log.len();
                    let opened = store.opened();
                    let place = &opened.cut.as_ref().expect("a flip that nobody noticed").place;
                    assert!(place.contains(name) && !opened.clean && !lost, "seed {}: {opened:?}", self.seed);
                    *cut += 1;
                }
            },
        }
    }
}

/// What a crash may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Loss {
    Nothing,
    Unsynced,
}

/// What should be in a store.
#[derive(Default)]
struct Model {
    log: Vec<Logged>,
    synced: usize,        // How many of them were acknowledged as synced.
    records: Records,     // The fold of `log`.
    highest: Sequence,    // Ever shown.
    pending: Vec<Logged>, // What the turn that did not come back would have written, without sequences.
}

type Records = BTreeMap<(TableId, Vec<u8>), (Sequence, Vec<u8>, Option<u64>)>;

#[derive(Clone, PartialEq, Eq, Debug)]
struct Logged {
    sequence: Sequence,
    kind: ChangeKind,
    table: TableId,
    key: Vec<u8>,
    payload: Vec<u8>,
    expires_ms: Option<u64>,
}

impl Logged {
    fn of(entry: &Entry<'_>) -> Logged {
        let Change { kind, table, key, payload, expires_ms, .. } = entry.change;
        Logged { sequence: entry.sequence, kind, table, key: key.to_vec(), payload: payload.to_vec(), expires_ms }
    }

    fn fold_into(&self, records: &mut Records) {
        let name = (self.table, self.key.clone());
        match self.kind {
            ChangeKind::Put => {
                records.insert(name, (self.sequence, self.payload.clone(), self.expires_ms));
            }
            ChangeKind::Delete | ChangeKind::Expire => {
                records.remove(&name);
            }
            ChangeKind::Message => {}
        }
    }
}

impl Model {
    /// Takes note of a batch that was committed and shown.
    fn take(&mut self, batch: Option<&rowcast_core::Batch>, durability: Durability) {
        for entry in batch.into_iter().flat_map(|batch| batch.entries().collect::<Vec<_>>()) {
            assert!(entry.sequence > self.highest, "sequence {} is used twice", entry.sequence);
            self.highest = entry.sequence;
            let logged = Logged::of(&entry);
            logged.fold_into(&mut self.records);
            self.log.push(logged);
        }
        if durability == Durability::Sync {
            self.synced = self.log.len();
        }
    }

    /// Compares with what a store shows, and takes over what it lost with good reason.
    fn compare(&mut self, store: &Store, loss: Loss) {
        let log = read_all(store).unwrap();
        let dropped = self.log.iter().take_while(|it| it.sequence <= store.oldest()).count();
        let kept = &self.log[dropped..];
        let same = log.iter().zip(kept).take_while(|(a, b)| a == b).count();
        if log.len() > kept.len() {
            // The turn that was under way came through, though nobody was told.
            assert_eq!(same, kept.len(), "{loss:?}");
            let more = &log[same..];
            let unnumbered = more.iter().map(|it| Logged { sequence: Sequence::ZERO, ..it.clone() });
            let expiries = more.iter().all(|it| it.kind == ChangeKind::Expire);
            assert!(expiries || unnumbered.eq(self.pending.iter().cloned()), "{more:?} is not {:?}", self.pending);
        } else {
            assert_eq!(same, log.len(), "the log is a beginning of what was shown");
            let lost = kept.len() - same;
            assert!(lost == 0 || loss == Loss::Unsynced, "{lost} entries are lost");
            assert!(
                dropped + same >= self.synced,
                "{} entries are lost that were synced",
                self.synced - dropped - same
            );
        }
        if dropped + same < self.log.len() || log.len() > kept.len() {
            self.log.truncate(dropped);
            self.log.extend(log);
            self.records.clear();
            for logged in &self.log {
                logged.fold_into(&mut self.records);
            }
            self.highest = self.highest.max(self.log.last().map_or(Sequence::ZERO, |last| last.sequence));
        }
        self.synced = self.log.len(); // Recovery synced it before it went on.
        self.pending.clear();
        assert_eq!(read_tables(store), self.records, "the tables are the fold of the log");
        assert_eq!(store.committed(), self.log.last().map_or(Sequence::ZERO, |last| last.sequence));
    }

    /// What a turn should do.
    fn predict(&self, wishes: &[(Wish, Durability)], now_ms: u64) -> Vec<Predicted> {
        let mut records = self.records.clone();
        let mut predicted = Vec::new();
        for (wish, durability) in wishes {
            let alive = |name: &(TableId, Vec<u8>)| {
                records.get(name).filter(|(_, _, expires)| expires.is_none_or(|at| at > now_ms))
            };
            let (answer, written) = match wish {
                Wish::Plain(changes) => {
                    let only = &changes[0];
                    let checked = changes.len() == 1 && only.kind == ChangeKind::Delete && !only.table.is_internal();
                    match (checked, alive(&(only.table, only.key.clone())).is_some()) {
                        (true, false) => (Answer::Absent, Vec::new()),
                        (checked, _) => (Answer::Done(checked.then_some(true)), changes.clone()),
                    }
                }
                Wish::Append(change, most) => match alive(&(change.table, change.key.clone())) {
                    Some((_, old, _)) if old.len() >= *most => (Answer::Rejected, Vec::new()),
                    found => {
                        let payload = [found.map_or(&b""[..], |it| &it.1), &change.payload].concat();
                        let existed = Some(found.is_some());
                        (Answer::Done(existed), vec![Logged { payload, ..change.clone() }])
                    }
                },
            };
            for logged in &written {
                // Within the turn, sequences do not matter.
                logged.fold_into(&mut records);
            }
            predicted.push(Predicted { answer, written, durability: *durability });
        }
        predicted
    }
}

struct Predicted {
    answer: Answer,
    written: Vec<Logged>,
    durability: Durability,
}

#[derive(Debug)]
enum Answer {
    Done(Option<bool>),
    Absent,
    Rejected,
}

impl Predicted {
    #[track_caller]
    fn check(&self, outcome: &Outcome, sequence: &mut Sequence) {
        match (&self.answer, outcome) {
            (Answer::Done(expected), Outcome::Done { sequence: at, existed }) => {
                assert_eq!((expected, *sequence), (existed, *at));
                *sequence = Sequence(sequence.0 + self.written.len() as u64);
            }
            (Answer::Absent, Outcome::Absent) | (Answer::Rejected, Outcome::Rejected(_)) => {}
            (expected, other) => panic!("{other:?} instead of {expected:?}"),
        }
    }
}

/// What somebody proposes.
enum Wish {
    /// Changes that stand or fall together.
    Plain(Vec<Logged>),
    /// The payload behind the old one, unless that has so many bytes already.
    Append(Logged, usize),
}

impl Wish {
    fn propose(&self, token: Token, durability: Durability, proposals: &mut Proposals) {
        match self {
            Wish::Plain(changes) => {
                let changes: Vec<Change<'_>> = changes.iter().map(Logged::as_change).collect();
                proposals.push(Some(token), durability, &changes);
            }
            Wish::Append(change, most) => {
                let (change, most) = (change.clone(), *most);
                let (table, key) = (change.table, change.key.clone());
                let decide = move |record: Option<&rowcast_core::Record<'_>>, _, out: &mut Vec<u8>| {
                    let old = record.map_or(&b""[..], |record| record.payload);
                    if record.is_some() && old.len() >= most {
                        return Err(Rejection::Invalid("long enough".to_owned()));
                    }
                    let payload = [old, &change.payload].concat();
                    Change { payload: &payload, ..change.as_change() }.encode(out);
                    Ok(())
                };
                proposals.push_decided(Some(token), durability, Decision::new(table, key, Box::new(decide)), &[]);
            }
        }
    }
}

impl Logged {
    fn as_change(&self) -> Change<'_> {
        Change {
            kind: self.kind,
            qos: QoS::AtLeastOnce,
            table: self.table,
            key: &self.key,
            publisher: SessionId(3),
            expires_ms: self.expires_ms,
            properties: b"",
            payload: &self.payload,
        }
    }
}

struct Random(u64);

impl Random {
    /// A number below `bound` (SplitMix64).
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn change(&mut self) -> Logged {
        let kinds = [ChangeKind::Put, ChangeKind::Put, ChangeKind::Put, ChangeKind::Delete, ChangeKind::Message];
        let kind = kinds[self.below(kinds.len())];
        let table = [TableId(64), TableId(65), TableId::SESSIONS][self.below(3)];
        let key = format!("key{}", self.below(8)).into_bytes();
        let payload = if kind == ChangeKind::Delete { 0 } else { self.below(60) };
        let payload = vec![b'a' + self.below(26) as u8; payload];
        Logged { sequence: Sequence::ZERO, kind, table, key, payload, expires_ms: None }
    }

    fn wish(&mut self, now_ms: u64) -> Wish {
        match self.below(6) {
            0 => Wish::Append(Logged { kind: ChangeKind::Put, ..self.change() }, self.below(100)),
            1 => Wish::Plain((0..1 + self.below(4)).map(|_| self.change()).collect()),
            2 => {
                let expires_ms = Some(now_ms + self.below(2_000) as u64);
                Wish::Plain(vec![Logged { kind: ChangeKind::Put, expires_ms, ..self.change() }])
            }
            _ => Wish::Plain(vec![self.change()]),
        }
    }
}

fn outcome(completion: Completion) -> Outcome {
    completion.outcome
}

/// The log as far back as it goes, in small pages, so that both memory and disk have their part.
fn read_all(store: &Store) -> Result<Vec<Logged>, String> {
    let mut after = store.oldest();
    let mut log = Vec::new();
    loop {
        let page = store.read_log(after, 500).map_err(|error| error.to_string())?;
        for batch in &page.batches {
            for entry in Entries::new(batch.bytes(), batch.first()) {
                log.push(Logged::of(&entry.map_err(|error| error.to_string())?));
            }
        }
        let Some(last) = page.batches.last() else { return Ok(log) };
        after = last.last();
    }
}

fn read_tables(store: &Store) -> Records {
    let mut records = Records::new();
    for table in [TableId(64), TableId(65), TableId::SESSIONS] {
        let mut next: Option<Vec<u8>> = None;
        loop {
            let from = next.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let page = store.scan(&Scan { table, from, prefix: None, bytes_max: 300, records_max: 3 }).unwrap();
            for (key, bytes) in page.iter() {
                assert_eq!(store.get(table, key).unwrap().as_deref(), Some(bytes));
                let record = rowcast_core::Record::decode(bytes).unwrap();
                let value = (record.version, record.payload.to_vec(), record.expires_ms);
                assert!(records.insert((table, key.to_vec()), value).is_none(), "a key twice");
            }
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        let last = records.range(..(TableId(table.0 + 1), Vec::new())).next_back();
        let last = last.filter(|((of, _), _)| *of == table).map(|((_, key), _)| key.clone());
        assert_eq!(store.last_key(table).unwrap(), last);
    }
    records
}
