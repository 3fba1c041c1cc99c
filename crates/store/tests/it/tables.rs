//! Table files on a real disk in which a bit is flipped, while a store looks at them and after.

use rowcast_codec::QoS;
use rowcast_core::tables::Range;
use rowcast_core::{
    Change, ChangeKind, Decide, Decision, Durability, NodeId, Outcome, Proposals, Record, SessionId, TableId, Token,
};
use rowcast_store::{Mend, OpenError, Options, Origin, ReadError, Retention, Scan, Store, Writer, reads};
use std::ops::Bound;
use std::path::PathBuf;

const DOG: TableId = TableId(64);
/// Enough for many blocks in a file.
const RECORDS: u32 = 2_000;

#[test]
fn a_proposal_that_depends_on_what_cannot_be_read_is_refused_and_the_others_of_its_turn_are_committed() {
    let (mut home, bad) = Home::damaged(None);
    let (good, bad) = (&*key(0), &*bad);
    let words = |outcome: &Outcome| match outcome {
        Outcome::Unreadable(words) => words.clone(),
        other => panic!("{other:?}"),
    };
    let mut proposals = Proposals::default();
    proposals.push(Some(Token(0)), Durability::Sync, &[put(good, "new", None)]);
    let decision = Decision::new(DOG, bad.into(), not_decided());
    proposals.push_decided(Some(Token(1)), Durability::Sync, decision, &[put("x", "x", None)]);
    proposals.push(Some(Token(2)), Durability::Sync, &[Change { kind: ChangeKind::Delete, ..put(bad, "", None) }]);
    proposals.push(Some(Token(3)), Durability::Sync, &[put("y", "y", None)]);
    let outcomes = home.turn(proposals);
    assert!(matches!(outcomes[0], Outcome::Done { .. }) && matches!(outcomes[3], Outcome::Done { .. }), "{outcomes:?}");
    for outcome in &outcomes[1..3] {
        let words = words(outcome);
        assert!(words.contains("tables/tables/0") && words.contains("move the folder `tables`"), "{words}");
        assert!(!words.contains(home.folder.path().to_str().unwrap()), "where the folder is, is nobody's business");
    }
    assert_eq!(
        (home.payload(good), home.payload("x"), home.payload("y")),
        (Some("new".into()), None, Some("y".into()))
    );
    // A plain put needs nothing of what was there, and the record is whole again.
    let mut proposals = Proposals::default();
    proposals.push(Some(Token(0)), Durability::Sync, &[put(bad, "whole", None)]);
    assert!(matches!(home.turn(proposals)[..], [Outcome::Done { .. }]));
    assert_eq!(home.payload(bad), Some("whole".into()));
    home.restart();
    assert_eq!(home.payload(bad), Some("whole".into()));
}

#[test]
fn who_reads_one_record_or_all_is_told_where_and_who_subscribes_gets_the_others() {
    let (home, bad) = Home::damaged(None);
    let refused = home.store.get(DOG, bad.as_bytes()).unwrap_err();
    let ReadError::Damaged { damage, mend: Mend::FromLog } = &refused else { panic!("{refused}") };
    let (after, before) = damage.between.clone().unwrap();
    assert_eq!(damage.file, "tables/tables/0");
    assert!(after < (DOG, bad.clone().into()) && (DOG, bad.clone().into()) < before, "{damage:?}");
    let scan = |from: Bound<&[u8]>| {
        home.store.scan(&Scan { table: DOG, from, prefix: None, bytes_max: usize::MAX, records_max: usize::MAX })
    };
    // What comes before is shown first, then it fails, as often as it is asked.
    let page = scan(Bound::Unbounded).unwrap();
    assert_eq!(page.next.as_deref(), Some(&*after.1));
    assert!(page.len() > 10 && (page.len() as u32) < RECORDS - 10);
    for _ in 0..2 {
        let refused = scan(Bound::Excluded(&after.1)).unwrap_err();
        assert!(matches!(&refused, ReadError::Damaged { damage: found, .. } if found == damage), "{refused}");
    }
    let (readable, complete) = home.all();
    assert!(complete);
    let missing: Vec<String> = (0..RECORDS).map(key).filter(|key| !readable.contains(key)).collect();
    assert!(missing.contains(&bad) && missing.len() < 200, "{missing:?}");
    let hidden = |key: &String| after.1 < key.clone().into_bytes() && key.clone().into_bytes() < before.1;
    assert!(missing.iter().all(hidden), "{missing:?}");
    assert_eq!(reads::records(&home.store, &exactly(&bad), None, 9, 999).unwrap().0.len(), 0);
    assert_eq!(reads::records(&home.store, &exactly(&key(0)), None, 9, 999).unwrap().0.len(), 1);
    let (found, met) = home.store.damage(0);
    assert_eq!(found, [*damage.clone()], "one place, whoever met it");
    assert!(met >= 5);
}

#[test]
fn what_is_newer_than_the_damage_is_served_and_what_may_be_older_is_not() {
    let (mut home, bad) = Home::new(None);
    // An older file has all of them as well, and one next to it that was deleted later.
    home.restart();
    home.put_all(None);
    let gone = key(RECORDS / 2 + 1);
    let mut proposals = Proposals::default();
    proposals.push(None, Durability::Sync, &[Change { kind: ChangeKind::Delete, ..put(&gone, "", None) }]);
    home.turn(proposals);
    home.damage(&bad);
    assert_eq!(home.files().len(), 2);
    assert!(home.store.get(DOG, gone.as_bytes()).is_err() && home.store.get(DOG, bad.as_bytes()).is_err());
    let (readable, _) = home.all();
    assert!(!readable.contains(&bad) && !readable.contains(&gone) && readable.len() > 1_800);
    let mut proposals = Proposals::default();
    proposals.push(Some(Token(0)), Durability::Sync, &[put(&bad, "newer", None)]);
    assert!(matches!(home.turn(proposals)[..], [Outcome::Done { .. }]));
    assert_eq!(home.payload(&bad), Some("newer".into()));
    let (readable, _) = home.all();
    assert!(readable.contains(&bad) && !readable.contains(&gone));
}

#[test]
fn what_cannot_be_read_does_not_expire_and_keeps_nothing_else_from_it() {
    let (mut home, bad) = Home::damaged(Some(1_000));
    let more = home.writer.as_mut().unwrap();
    for _ in 0..5 {
        more.tick(2_000).unwrap();
    }
    let (left, complete) = home.all();
    assert_eq!((left, complete), (Vec::new(), true), "what can be read has expired");
    let (found, met) = home.store.damage(0);
    assert_eq!(found.len(), 1);
    let committed = home.store.committed();
    let writer = home.writer.as_mut().unwrap();
    writer.tick(3_000).unwrap();
    assert_eq!((home.store.damage(0).1, home.store.committed()), (met, committed), "it is left alone");
    assert!(matches!(home.store.get(DOG, bad.as_bytes()), Err(ReadError::Damaged { .. })));
    // Made again from the log, it expires like the others.
    home.stop();
    std::fs::remove_dir_all(home.folder.path().join("tables")).unwrap();
    home.start();
    let writer = home.writer.as_mut().unwrap();
    for _ in 0..5 {
        writer.tick(3_000).unwrap();
    }
    assert_eq!(home.store.count(DOG, u64::MAX).unwrap(), 0);
}

#[test]
fn a_log_without_its_beginning_is_said_to_need_a_backup() {
    let (mut home, bad) = Home::damaged(None);
    assert_eq!(home.store.mend(), Mend::FromLog);
    home.store.set_retention(Retention { bytes: Some(0), age_ms: None });
    home.writer.as_mut().unwrap().tick(0).unwrap();
    assert_eq!(home.store.mend(), Mend::FromBackup);
    let refused = home.store.get(DOG, bad.as_bytes()).unwrap_err().to_string();
    assert!(refused.contains("from a backup") && refused.contains("tables/tables/0"), "{refused}");
}

#[test]
fn tables_that_cannot_be_opened_say_how_to_mend_them() {
    let (mut home, _) = Home::new(None);
    home.stop();
    let current = home.folder.path().join("tables/current");
    std::fs::write(&current, b"nonsense").unwrap();
    let refused = Store::open(home.folder.path(), &home.options, 0).err().unwrap();
    assert!(matches!(refused, OpenError::Tables { mend: Mend::FromLog, .. }), "{refused}");
    assert!(refused.to_string().contains("move the folder `tables`"), "{refused}");
}

#[test]
fn damage_in_the_way_of_merging_ends_nothing() {
    let (mut home, bad) = Home::damaged(None);
    let mut outcomes = Vec::new();
    for number in 0..40_000 {
        let mut proposals = Proposals::default();
        let payload = "x".repeat(30_000);
        proposals.push(Some(Token(0)), Durability::Memory, &[put(&key(number % RECORDS), &payload, None)]);
        outcomes.extend(home.turn(proposals));
        if !matches!(outcomes.last(), Some(Outcome::Done { .. })) {
            break;
        }
    }
    let Some(Outcome::Unreadable(words)) = outcomes.last() else { panic!("{:?}", outcomes.last()) };
    assert!(words.contains("move the folder `tables`"), "{words}");
    assert!(home.payload(&key(0)).is_some());
    let _ = bad;
    home.restart();
    assert!(home.payload(&key(0)).is_some());
}

/// A store in a folder of its own, with records in one table file.
struct Home {
    folder: tempfile::TempDir,
    options: Options,
    store: Store,
    writer: Option<Writer>,
}

impl Home {
    /// And a key in the middle.
    fn new(expires_ms: Option<u64>) -> (Home, String) {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { node: Some(NodeId(7)), table_bytes: 1, ..Options::default() };
        let (store, writer) = Store::open(folder.path(), &options, 0).unwrap();
        let mut home = Home { folder, options, store, writer: Some(writer) };
        home.put_all(expires_ms);
        (home, key(RECORDS / 2))
    }

    fn put_all(&mut self, expires_ms: Option<u64>) {
        for number in 0..RECORDS {
            let mut proposals = Proposals::default();
            proposals.push(None, Durability::Memory, &[put(&key(number), &payload(&key(number)), expires_ms)]);
            self.turn(proposals);
        }
    }

    /// The same with damage where that key is.
    fn damaged(expires_ms: Option<u64>) -> (Home, String) {
        let (mut home, bad) = Home::new(expires_ms);
        home.damage(&bad);
        (home, bad)
    }

    /// Flips a bit of the record in the newest table file.
    fn damage(&mut self, bad: &str) {
        self.stop();
        let file = self.files().into_iter().max().unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        let payload = payload(bad);
        let at = bytes.windows(payload.len()).position(|bytes| bytes == payload.as_bytes()).unwrap();
        bytes[at] ^= 2;
        std::fs::write(&file, &bytes).unwrap();
        self.start();
    }

    fn files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.folder.path().join("tables/tables")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }

    fn stop(&mut self) {
        self.writer.take().unwrap().close(0).unwrap();
        // The lock on the folder goes with the last handle.
        let elsewhere = tempfile::tempdir().unwrap();
        self.store = Store::open(elsewhere.path(), &self.options, 0).unwrap().0;
    }

    fn start(&mut self) {
        let (store, writer) = Store::open(self.folder.path(), &self.options, 0).unwrap();
        (self.store, self.writer) = (store, Some(writer));
    }

    fn restart(&mut self) {
        self.stop();
        self.start();
    }

    fn turn(&mut self, proposals: Proposals) -> Vec<Outcome> {
        let committed = self.writer.as_mut().unwrap().turn(vec![(Origin(0), proposals)], 0).unwrap();
        committed.completions.into_iter().flat_map(|(_, list)| list).map(|completion| completion.outcome).collect()
    }

    fn payload(&self, key: &str) -> Option<String> {
        let bytes = self.store.get(DOG, key.as_bytes()).unwrap()?;
        Some(String::from_utf8(bytes.record().unwrap().payload.to_vec()).unwrap())
    }

    /// The keys that somebody is shown who subscribes to all, a few at a time.
    fn all(&self) -> (Vec<String>, bool) {
        let range = Range { table: DOG, from: Vec::new(), to: None };
        let mut keys: Vec<String> = Vec::new();
        loop {
            let after = keys.last().map(|key| key.clone().into_bytes());
            let (records, complete) = reads::records(&self.store, &range, after.as_deref(), 97, 9_999).unwrap();
            keys.extend(records.iter().map(|record| String::from_utf8(record.key.to_vec()).unwrap()));
            if complete || records.is_empty() {
                return (keys, complete);
            }
        }
    }
}

/// The range of one key.
fn exactly(key: &str) -> Range {
    let from = key.as_bytes().to_vec();
    let to = Some([&*from, &[0]].concat());
    Range { table: DOG, from, to }
}

fn payload(key: &str) -> String {
    format!("{key} ").repeat(20)
}

fn key(number: u32) -> String {
    format!("k{number:05}")
}

fn not_decided() -> Decide {
    Box::new(|_: Option<&Record<'_>>, _, _: &mut Vec<u8>| panic!("nobody knows what there is"))
}

fn put<'a>(key: &'a str, payload: &'a str, expires_ms: Option<u64>) -> Change<'a> {
    Change {
        kind: ChangeKind::Put,
        qos: QoS::AtLeastOnce,
        table: DOG,
        key: key.as_bytes(),
        publisher: SessionId::NONE,
        expires_ms,
        properties: b"",
        payload: payload.as_bytes(),
    }
}
