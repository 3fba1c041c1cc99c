//! The store as its users see it, over disks and tables in memory and, where it matters, real ones.

use crate::damage::segments;
use rowcast_codec::QoS;
use rowcast_core::{
    Change, ChangeKind, Completion, Decision, Durability, NodeId, Outcome, Proposals, Rejection, Sequence, SessionId,
    TableId, Token,
};
use rowcast_store::limits::FILLED_BYTES;
use rowcast_store::{
    Crash, Disk, MemDisk, MemState, OpenError, Options, Origin, ReadError, Retention, Scan, Store, Verify, Writer,
};
use std::ops::Bound;
use std::sync::Arc;

const DOG: TableId = TableId(64);
const CAT: TableId = TableId(65);

#[test]
fn what_is_put_can_be_read_and_what_is_deleted_is_gone() {
    let (mut home, _) = Home::new(Options::default());
    assert_eq!(home.turn(&[put(DOG, "1", "sits"), put(CAT, "1", "sleeps")]), [done(1), done(2)]);
    assert_eq!((home.get(DOG, "1"), home.get(CAT, "1"), home.get(DOG, "2")), (text("sits"), text("sleeps"), None));
    assert_eq!(home.turn(&[put(DOG, "1", "runs"), delete(CAT, "1")]), [done(3), existed(4)]);
    assert_eq!((home.get(DOG, "1"), home.get(CAT, "1")), (text("runs"), None));
}

#[test]
fn deleting_what_is_not_there_writes_nothing() {
    let (mut home, _) = Home::new(Options::default());
    assert_eq!(home.turn(&[delete(DOG, "1")]), [Outcome::Absent]);
    assert_eq!(home.store.committed(), Sequence::ZERO);
    let outcomes = home.turn(&[put(DOG, "1", "x"), delete(DOG, "1"), delete(DOG, "1"), put(DOG, "1", "y")]);
    assert_eq!(outcomes, [done(1), existed(2), Outcome::Absent, done(3)], "the turn sees what it did itself");
    assert_eq!(home.turn(&[delete(TableId::SESSIONS, "me")]), [done(4)], "the server knows what it does");
}

#[test]
fn a_message_is_logged_and_alters_no_record() {
    let (mut home, _) = Home::new(Options::default());
    home.turn(&[put(DOG, "1", "sits")]);
    home.turn(&[Change { kind: ChangeKind::Message, ..put(DOG, "1", "barks") }]);
    assert_eq!(home.get(DOG, "1"), text("sits"));
    assert_eq!(home.log(Sequence::ZERO), ["1 sits", "2 barks"]);
}

#[test]
fn a_decision_sees_the_record_as_of_its_turn_and_may_refuse() {
    let (mut home, _) = Home::new(Options::default());
    let mut proposals = Proposals::default();
    for at in 0..3 {
        proposals.push_decided(
            Some(Token(at)),
            Durability::Sync,
            Decision::new(
                DOG,
                b"n".to_vec(),
                Box::new(|record, _, out| {
                    let count = record.map_or(0, |record| record.payload.len());
                    if count == 2 {
                        return Err(Rejection::Condition(record.map(|record| record.version)));
                    }
                    put(DOG, "n", &"x".repeat(count + 1)).encode(out);
                    Ok(())
                }),
            ),
            &[],
        );
    }
    let outcomes = home.propose(proposals);
    let done = |sequence, existed| Outcome::Done { sequence: Sequence(sequence), existed: Some(existed) };
    let refused = Outcome::Rejected(Rejection::Condition(Some(Sequence(2))));
    assert_eq!(outcomes, [done(1, false), done(2, true), refused]);
    assert_eq!((home.get(DOG, "n"), home.store.committed()), (text("xx"), Sequence(2)));
}

#[test]
fn one_decision_against_it_ends_a_proposal_that_depends_on_several_records() {
    let (mut home, _) = Home::new(Options::default());
    let insert = |keys: &[&str]| {
        let mut entries = Vec::new();
        let mut decisions = Vec::new();
        for key in keys {
            put(DOG, key, "new").encode(&mut entries);
            let absent: rowcast_core::Decide = Box::new(|record, _, _| match record {
                Some(record) => Err(Rejection::Condition(Some(record.version))),
                None => Ok(()),
            });
            decisions.push(Decision::new(DOG, key.as_bytes().to_vec(), absent));
        }
        let mut proposals = Proposals::default();
        proposals.push_all_decided(Some(Token(0)), Durability::Sync, decisions, &entries);
        proposals
    };
    let refused = Outcome::Rejected(Rejection::Condition(Some(Sequence(2))));
    let done = |sequence| Outcome::Done { sequence: Sequence(sequence), existed: Some(false) };
    assert_eq!(home.propose(insert(&["a", "b"])), [done(1)]);
    assert_eq!(home.propose(insert(&["c", "b", "d"])), [refused]);
    assert_eq!(home.propose(insert(&["c", "d"])), [done(3)]);
    assert_eq!(home.log(Sequence::ZERO), ["1 new", "2 new", "3 new", "4 new"]);
}

#[test]
fn changes_of_one_proposal_stand_or_fall_together() {
    let (mut home, _) = Home::new(Options::default());
    let long = "k".repeat(65_535);
    let mut proposals = Proposals::default();
    proposals.push(Some(Token(0)), Durability::Sync, &[put(DOG, "1", "a"), put(DOG, &long, "b")]);
    proposals.push(Some(Token(1)), Durability::Sync, &[put(DOG, "2", "a"), delete(DOG, "none")]);
    let message = Change { kind: ChangeKind::Message, ..put(DOG, &long, "c") };
    proposals.push(Some(Token(2)), Durability::Sync, &[message]);
    let outcomes = home.propose(proposals);
    assert!(
        matches!(&outcomes[0], Outcome::Rejected(Rejection::Invalid(why)) if why.contains("65535")),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[1..], [done(1), done(3)]);
    assert_eq!((home.get(DOG, "1"), home.get(DOG, "2")), (None, text("a")));
}

#[test]
fn zeros_behind_the_last_frame_are_no_torn_one_and_stay_in_no_finished_segment() {
    let (mut home, disk) = Home::new(Options { segment_bytes: 300, verify: Verify::All, ..Options::default() });
    disk.fill_up_to(FILLED_BYTES);
    let mut turns = 0;
    for crash in [Crash::Process, Crash::Power, Crash::Process] {
        for _ in 0..5 {
            home.turn(&[put(DOG, "1", "a")]);
            turns += 1;
        }
        let newest = segments(&disk).pop().unwrap();
        assert_eq!(disk.open(&newest).unwrap().len().unwrap(), FILLED_BYTES as u64);
        home = home.restart(crash);
        assert_eq!((&home.store.opened().cut, home.log(Sequence::ZERO).len()), (&None, turns));
    }
    assert!(disk.bytes() < 5_000, "{} bytes", disk.bytes());
    // What a write left undone behind them is torn.
    home.turn(&[put(DOG, "1", "a")]);
    let newest = segments(&disk).pop().unwrap();
    disk.open(&newest).unwrap().write_at(b"frm", 1_000).unwrap();
    let home = home.restart(Crash::Process);
    assert!(home.store.opened().cut.is_some());
    assert_eq!(home.log(Sequence::ZERO).len(), turns + 1);
}

#[test]
fn a_disk_with_room_for_a_frame_and_not_for_the_zeros_behind_it_is_not_full() {
    for room in 0..400 {
        let (mut home, disk) = Home::new(Options::default());
        disk.fill_up_to(FILLED_BYTES);
        disk.set_capacity(Some(disk.bytes() + room));
        let outcomes = home.turn(&[put(DOG, "1", &"a".repeat(100))]);
        assert!(outcomes == [done(1)] || outcomes == [Outcome::Full] && room < 250, "room for {room}: {outcomes:?}");
        // What was refused is gone for good, whatever a crash leaves.
        disk.set_capacity(None);
        let home = home.restart(Crash::Power);
        assert_eq!(home.log(Sequence::ZERO).len(), usize::from(outcomes == [done(1)]), "room for {room}");
    }
}

#[test]
fn stamps_never_run_backwards_even_over_a_restart() {
    let (mut home, _) = Home::new(Options::default());
    home.now_ms = 5_000_000;
    home.turn(&[put(DOG, "1", "a")]);
    let mut home = home.restart(Crash::Process);
    home.now_ms = 1_000;
    home.turn(&[put(DOG, "1", "b"), put(DOG, "2", "c")]);
    let page = home.store.read_log(Sequence::ZERO, usize::MAX).unwrap();
    let stamps: Vec<_> =
        page.batches.iter().flat_map(|batch| batch.entries().map(|it| it.hlc).collect::<Vec<_>>()).collect();
    assert!(stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");
    assert_eq!(stamps[0].millis(), 5_000_000);
}

#[test]
fn a_clean_stop_leaves_no_gap_and_an_unclean_one_does() {
    let (mut home, _) = Home::new(Options::default());
    home.turn(&[put(DOG, "1", "a")]);
    let mut home = home.close();
    assert!(home.store.opened().clean);
    assert_eq!(home.turn(&[put(DOG, "1", "b")]), [done(2)]);
    let mut home = home.restart(Crash::Process);
    assert!(!home.store.opened().clean);
    assert_eq!(home.turn(&[put(DOG, "1", "c")]), [done(1_000_003)]);
    assert_eq!(home.log(Sequence::ZERO), ["1 a", "2 b", "1000003 c"]);
    assert_eq!(home.log(Sequence(77)), ["1000003 c"]);
}

#[test]
fn starts_in_vain_leave_nothing_behind_and_use_no_sequence_twice() {
    let (mut home, _) = Home::new(Options::default());
    home.turn(&[put(DOG, "1", "a")]);
    let mut firsts = Vec::new();
    for at in 0..6 {
        home = if at % 2 == 0 { home.restart(Crash::Power) } else { home.close() };
        firsts.push(home.writer.as_ref().unwrap().last());
        assert!(home.store.stats().segments <= 2, "after {at}");
    }
    let Outcome::Done { sequence, .. } = home.turn(&[put(DOG, "1", "b")])[0] else { panic!() };
    assert_eq!(sequence, Sequence(3_000_002), "each unclean stop skipped a million");
    let home = home.close();
    assert_eq!(home.log(Sequence::ZERO), ["1 a", "3000002 b"]);
}

#[test]
fn a_reader_goes_from_disk_to_memory_across_segments_without_a_gap() {
    let options = Options { segment_bytes: 4_000, ring_bytes: 3_000, ..Options::default() };
    let (mut home, _) = Home::new(options);
    for at in 0..300 {
        home.turn(&[put(DOG, &at.to_string(), &format!("{at:040}"))]);
    }
    assert!(home.store.stats().segments > 5);
    let (mut after, mut seen, mut from_tail) = (Sequence::ZERO, 0, 0);
    loop {
        from_tail += usize::from(home.store.read_tail(after, 500).is_some());
        let page = home.store.read_log(after, 500).unwrap();
        for entry in page.batches.iter().flat_map(|batch| batch.entries().collect::<Vec<_>>()) {
            seen += 1;
            assert_eq!(entry.sequence, Sequence(seen));
        }
        let Some(last) = page.batches.last() else { break };
        after = last.last();
        assert_eq!(page.committed, Sequence(300));
    }
    assert_eq!(seen, 300);
    assert!((2..200).contains(&from_tail), "{from_tail} pages came from memory");
    for after in [0, 1, 57, 150, 299] {
        let page = home.store.read_log(Sequence(after), 1).unwrap();
        assert_eq!(page.batches[0].first(), Sequence(after + 1));
    }
}

#[test]
fn old_segments_go_and_a_reader_that_needed_them_is_told() {
    let retention = Retention { bytes: Some(10_000), age_ms: None };
    let options = Options { segment_bytes: 2_000, ring_bytes: 500, retention, ..Options::default() };
    let (mut home, _) = Home::new(options);
    for at in 0..200 {
        home.turn(&[put(DOG, &at.to_string(), &format!("{at:040}"))]);
        home.tick();
    }
    let oldest = home.store.oldest();
    assert!(home.store.stats().log_bytes < 13_000 && oldest > Sequence(50), "{:?}", home.store.stats());
    let gone = home.store.read_log(Sequence(oldest.0 - 1), 1).unwrap_err();
    assert!(matches!(gone, ReadError::FellOff { oldest: o, .. } if o == oldest), "{gone}");
    assert_eq!(home.store.read_log(oldest, 1).unwrap().batches[0].first(), oldest.next());
    let home = home.restart(Crash::Power);
    assert_eq!(home.store.oldest(), oldest);
    assert_eq!(home.get(DOG, "0"), text(&format!("{:040}", 0)), "the tables have what the log let go");
}

#[test]
fn a_time_is_found_in_the_log_across_segments_restarts_and_retention() {
    let options = Options { segment_bytes: 20_000, ring_bytes: 500, ..Options::default() };
    let (mut home, _) = Home::new(options);
    assert_eq!(home.store.position_at(0).unwrap(), Sequence::ZERO);
    let big = "x".repeat(3_000); // Several marks of the index in a segment need frames as large as they are apart.
    for at in 1..=40 {
        home.now_ms = at * 1000;
        home.turn(&[put(DOG, "1", &big), put(DOG, "2", "y")]);
    }
    let check = |store: &Store, time_ms: u64, position: u64| {
        assert_eq!(store.position_at(time_ms).unwrap(), Sequence(position), "at {time_ms}");
    };
    for at in 1..=40u64 {
        check(&home.store, at * 1000, 2 * at - 2);
        check(&home.store, at * 1000 + 1, 2 * at);
    }
    check(&home.store, 0, 0);
    check(&home.store, u64::MAX, 80);
    let mut home = home.restart(Crash::Process); // Sequences go on behind a gap.
    home.now_ms = 50_000;
    home.turn(&[put(DOG, "3", "z")]);
    check(&home.store, 20_000, 38);
    let last = home.store.committed();
    assert!(last > Sequence(80));
    let found = home.store.position_at(45_000).unwrap();
    assert!(Sequence(80) <= found && found < last, "{found}");
    check(&home.store, 50_001, last.0);
    home.options.retention = Retention { bytes: Some(30_000), age_ms: None };
    let mut home = home.close();
    home.now_ms = 60_000;
    home.tick();
    let oldest = home.store.oldest();
    assert!(oldest > Sequence(40));
    check(&home.store, 1_000, oldest.0);
    check(&home.store, 40_000, 78);
}

#[test]
fn a_time_is_found_between_the_marks_of_a_segment() {
    let (mut home, _) = Home::new(Options { ring_bytes: 500, ..Options::default() });
    let big = "x".repeat(100_000);
    for at in 1..=30 {
        home.now_ms = at * 1000;
        home.turn(&[put(DOG, "1", &big)]);
    }
    assert_eq!(home.store.stats().segments, 1);
    for at in 1..=30 {
        assert_eq!(home.store.position_at(at * 1000).unwrap(), Sequence(at - 1));
    }
}

#[test]
fn the_log_is_read_backwards_piece_by_piece_to_its_beginning() {
    let options = Options { segment_bytes: 4_000, ring_bytes: 500, ..Options::default() };
    let (mut home, _) = Home::new(options);
    assert!(home.store.read_back(home.store.committed()).unwrap().is_empty());
    for at in 0..100 {
        home.turn(&[put(DOG, &at.to_string(), &format!("{at:040}")), put(CAT, "1", "")]);
    }
    let mut home = home.restart(Crash::Process);
    for at in 0..100 {
        home.turn(&[put(DOG, &at.to_string(), &format!("{at:040}"))]);
    }
    let read = |home: &Home| {
        let mut until = home.store.committed();
        let mut firsts = Vec::new();
        loop {
            let batches = home.store.read_back(until).unwrap();
            let Some(first) = batches.first() else { break };
            assert!(batches.last().unwrap().last() <= until && batches.is_sorted_by_key(|batch| batch.first()));
            until = Sequence(first.first().0 - 1);
            firsts.extend(batches.iter().rev().map(|batch| batch.first().0));
        }
        firsts.reverse();
        firsts
    };
    let batches = home.store.read_log(Sequence::ZERO, usize::MAX).unwrap().batches;
    let all: Vec<u64> = batches.iter().map(|batch| batch.first().0).collect();
    assert_eq!((all.len(), read(&home)), (200, all.clone()));
    home.options.retention = Retention { bytes: Some(10_000), age_ms: None };
    let mut home = home.close();
    home.tick();
    let left: Vec<u64> = all.into_iter().filter(|&first| first > home.store.oldest().0).collect();
    assert!((1..199).contains(&left.len()));
    assert_eq!(read(&home), left);
}

#[test]
fn records_expire_through_the_log_once_they_are_due() {
    let (mut home, _) = Home::new(Options::default());
    home.now_ms = 1_000;
    let due = |key, at| Change { expires_ms: Some(at), ..put(DOG, key, "x") };
    home.turn(&[due("soon", 2_000), due("later", 3_000), due("kept", 2_000), due("gone", 2_000)]);
    home.turn(&[due("kept", 9_000), delete(DOG, "gone")]);
    home.now_ms = 2_000;
    assert_eq!(home.turn(&[delete(DOG, "soon")]), [Outcome::Absent], "expired is absent, even before it is swept");
    home.tick();
    assert_eq!((home.get(DOG, "soon"), home.get(DOG, "later")), (None, text("x")));
    assert_eq!(home.log(Sequence(6)), ["7 "]);
    home.now_ms = 3_000;
    home.tick();
    home.tick();
    assert_eq!((home.get(DOG, "later"), home.get(DOG, "kept")), (None, text("x")));
    assert_eq!(home.log(Sequence(7)), ["8 "], "and nothing twice");
    let mut home = home.restart(Crash::Process);
    home.now_ms = 9_000;
    home.tick();
    assert_eq!(home.get(DOG, "kept"), None);
}

#[test]
fn a_full_disk_is_an_outcome_and_passes() {
    let (mut home, disk) = Home::new(Options::default());
    home.turn(&[put(DOG, "1", "a")]);
    disk.set_capacity(Some(disk.bytes() + 50));
    assert_eq!(home.turn(&[put(DOG, "1", "b"), put(DOG, "2", "b")]), [Outcome::Full, Outcome::Full]);
    assert_eq!((home.get(DOG, "1"), home.store.committed()), (text("a"), Sequence(1)));
    disk.set_capacity(None);
    assert_eq!(home.turn(&[put(DOG, "1", "c")]), [done(2)]);
    let home = home.restart(Crash::Power);
    assert_eq!(home.log(Sequence::ZERO), ["1 a", "2 c"]);
}

#[test]
fn what_a_full_disk_took_of_a_frame_is_cut_off_again() {
    let (mut home, disk) = Home::new(Options { segment_bytes: 400, ..Options::default() });
    home.turn(&[put(DOG, "1", "a")]);
    disk.set_capacity(Some(disk.bytes() + 900));
    assert_eq!(home.turn(&[put(DOG, "1", &"b".repeat(1_000))]), [Outcome::Full]);
    disk.set_capacity(None);
    for _ in 0..19 {
        home.turn(&[put(DOG, "1", "c")]);
    }
    assert!(home.store.stats().segments > 2);
    let home = home.restart(Crash::Power);
    assert_eq!(home.log(Sequence::ZERO).len(), 20);
}

#[test]
fn a_full_disk_at_the_end_of_a_segment_passes_as_well() {
    for room in 0..400 {
        let options = Options { segment_bytes: 200, ..Options::default() };
        let (mut home, disk) = Home::new(options);
        home.turn(&[put(DOG, "1", &"a".repeat(200))]);
        disk.set_capacity(Some(disk.bytes() + room));
        let mut written = 1;
        for _ in 0..2 {
            written += usize::from(home.turn(&[put(DOG, "1", "b")]) != [Outcome::Full]);
        }
        disk.set_capacity(None);
        home.turn(&[put(DOG, "1", "c")]);
        let home = home.restart(Crash::Power);
        assert_eq!(home.log(Sequence::ZERO).len(), written + 1, "room for {room} bytes");
    }
}

#[test]
fn a_full_disk_is_known_to_be_until_there_is_room_for_as_much_also_if_nobody_asks_for_it() {
    for segment_bytes in [64 << 20, 100] {
        let (mut home, disk) = Home::new(Options { segment_bytes, ..Options::default() });
        let room = |home: &Home| (home.store.disk_room().wanted.is_some(), home.store.disk_room().refused);
        home.turn(&[put(DOG, "1", "a")]);
        assert_eq!(room(&home), (false, 0));
        disk.set_capacity(Some(disk.bytes() + 50));
        home.turn(&[put(DOG, "1", "b"), put(DOG, "2", "b")]);
        home.turn(&[put(DOG, "1", &"b".repeat(1_000))]);
        home.tick();
        assert_eq!(room(&home), (true, 3));
        // Too little for what was refused last.
        disk.set_capacity(Some(disk.bytes() + 500));
        home.tick();
        assert_eq!(home.turn(&[put(DOG, "1", "c")]), [done(2)]);
        assert_eq!(room(&home), (true, 3));
        disk.set_capacity(None);
        home.tick();
        assert_eq!((room(&home), home.store.committed()), ((false, 3), Sequence(2)), "nothing was written for that");
        // And again, until something is written before it was looked for.
        disk.set_capacity(Some(disk.bytes() + 10));
        home.turn(&[put(DOG, "1", "d")]);
        disk.set_capacity(None);
        home.turn(&[put(DOG, "1", "e")]);
        assert_eq!(room(&home), (false, 4));
        assert_eq!(home.restart(Crash::Power).log(Sequence::ZERO), ["1 a", "2 c", "3 e"]);
    }
}

#[test]
fn a_crash_while_room_is_looked_for_costs_nothing() {
    for operations in 0..2 {
        for crash in [Crash::Power, Crash::Process] {
            let (mut home, disk) = Home::new(Options::default());
            home.turn(&[put(DOG, "1", "a")]);
            disk.set_capacity(Some(disk.bytes() + 10));
            home.turn(&[put(DOG, "1", &"b".repeat(1_000))]);
            disk.set_capacity(None);
            disk.crash_at(disk.operations() + operations);
            assert!(home.writer.as_mut().unwrap().tick(0).is_err());
            let mut home = home.restart(crash);
            assert_eq!((home.log(Sequence::ZERO), home.get(DOG, "1")), (vec!["1 a".to_owned()], text("a")));
            assert!(matches!(home.turn(&[put(DOG, "1", "c")])[..], [Outcome::Done { .. }]));
        }
    }
}

#[test]
fn a_failed_sync_is_the_end() {
    let (mut home, disk) = Home::new(Options::default());
    home.turn(&[put(DOG, "1", "a")]);
    disk.fail_sync_at(disk.syncs());
    assert!(home.try_turn(&[put(DOG, "1", "b")]).is_err());
    assert_eq!(home.get(DOG, "1"), text("a"), "what was not synced is not shown");
    assert!(home.try_turn(&[put(DOG, "1", "c")]).is_err(), "and a sync is never tried again");
}

#[test]
fn only_what_asks_for_it_is_synced() {
    let (mut home, disk) = Home::new(Options::default());
    let before = disk.syncs();
    for durability in [Durability::Memory, Durability::Flush] {
        let mut proposals = Proposals::default();
        proposals.push(None, durability, &[put(DOG, "1", "a")]);
        home.propose(proposals);
    }
    assert_eq!(disk.syncs(), before);
    home.turn(&[put(DOG, "1", "a")]);
    assert_eq!(disk.syncs(), before + 1);
}

#[test]
fn another_nodes_log_and_a_newer_one_are_refused() {
    let (mut home, disk) = Home::new(Options::default());
    home.turn(&[put(DOG, "1", "a")]);
    let name = disk.list().unwrap().into_iter().find(|name| name.ends_with(".log")).unwrap();
    disk.flip(&name, 8 * 8 + 4);
    let (state, options) = (Arc::clone(&home.state), home.options);
    let refused = |disk: &MemDisk| Store::open_with(Arc::new(disk.clone()), Arc::clone(&state) as _, &options, 0).err();
    let newer = refused(&disk).unwrap();
    assert!(matches!(&newer, OpenError::NewerLog { version: 17, .. }), "{newer}");
    disk.flip(&name, 8 * 8 + 4);
    let other = MemDisk::new(9);
    let (_, mut writer) = Store::open_with(
        Arc::new(other.clone()),
        Arc::new(MemState::new(1 << 20)),
        &Options { node: Some(NodeId(8)), ..options },
        0,
    )
    .unwrap();
    let mut proposals = Proposals::default();
    proposals.push(None, Durability::Sync, &[put(DOG, "1", "a")]);
    writer.turn(vec![(Origin(0), proposals)], 0).unwrap();
    copy(&other, &name, &disk, &name);
    let foreign = refused(&disk).unwrap();
    assert!(matches!(&foreign, OpenError::ForeignLog { theirs: NodeId(8), .. }), "{foreign}");
}

#[test]
fn a_missing_shortened_renamed_or_swapped_segment_is_noticed() {
    type Harm = fn(&MemDisk, &[String]);
    let harm: [(&str, Harm); 5] = [
        ("the oldest is gone", |disk, names| disk.remove(&names[0]).unwrap()),
        ("one in the middle is gone", |disk, names| disk.remove(&names[1]).unwrap()),
        ("one is shorter", |disk, names| {
            let file = disk.open(&names[1]).unwrap();
            file.truncate(file.len().unwrap() - 1).unwrap();
        }),
        ("one has another's content", |disk, names| copy(disk, &names[0], disk, &names[1])),
        ("two are swapped", |disk, names| {
            disk.rename(&names[1], "x").unwrap();
            disk.rename(&names[2], &names[1]).unwrap();
            disk.rename("x", &names[2]).unwrap();
        }),
    ];
    for (what, harm) in harm {
        let (mut home, disk) = Home::new(Options { segment_bytes: 500, ..Options::default() });
        for at in 0..20 {
            home.turn(&[put(DOG, &at.to_string(), "some bytes")]);
        }
        let mut names: Vec<String> = disk.list().unwrap().into_iter().filter(|name| name.ends_with(".log")).collect();
        names.sort();
        harm(&disk, &names);
        let Home { state, options, .. } = home;
        state.crash();
        let error = Store::open_with(Arc::new(disk.clone()), state, &options, 0).err();
        assert!(
            matches!(error, Some(OpenError::DamagedLog { .. } | OpenError::LogMissing { .. })),
            "{what}: {error:?}"
        );
    }
}

#[test]
fn a_log_that_lost_its_end_is_noticed_by_the_tables() {
    let (mut home, disk) = Home::new(Options::default());
    for at in 0..20 {
        home.turn(&[put(DOG, &at.to_string(), "some bytes")]);
    }
    rowcast_store::State::checkpoint(&*home.state).unwrap();
    let name = disk.list().unwrap().into_iter().find(|name| name.ends_with(".log")).unwrap();
    let file = disk.open(&name).unwrap();
    file.truncate(file.len().unwrap() - 1).unwrap();
    let Home { state, options, .. } = home;
    let error = Store::open_with(Arc::new(disk.clone()), state, &options, 0).err().unwrap();
    assert!(matches!(error, OpenError::TablesAhead { applied: Sequence(20), last: Sequence(19) }), "{error}");
}

#[test]
fn a_scan_pages_through_a_table_and_no_other() {
    let (mut home, _) = Home::new(Options::default());
    let keys: Vec<String> = (0..50).map(|at| format!("k{at:02}")).collect();
    for key in &keys {
        home.turn(&[put(DOG, key, "x"), put(CAT, key, "y")]);
    }
    home.turn(&[delete(DOG, "k07"), delete(DOG, "k49")]);
    let mut found = Vec::new();
    let mut next: Option<Vec<u8>> = None;
    loop {
        let from = next.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let page = home.store.scan(&Scan { table: DOG, from, prefix: None, bytes_max: 9999, records_max: 7 }).unwrap();
        found.extend(page.iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    let expected: Vec<&String> = keys.iter().filter(|key| *key != "k07" && *key != "k49").collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    let scan =
        Scan { table: DOG, from: Bound::Included(b"k19"), prefix: Some(b"k2"), bytes_max: 9999, records_max: 99 };
    assert_eq!(home.store.scan(&scan).unwrap().len(), 10);
    assert_eq!(home.store.scan(&Scan { from: Bound::Excluded(b"k25"), ..scan }).unwrap().len(), 4);
    assert_eq!(home.store.scan(&Scan { from: Bound::Unbounded, bytes_max: 1, ..scan }).unwrap().len(), 1);
    assert_eq!(home.store.last_key(DOG).unwrap().as_deref(), Some(&b"k48"[..]));
    assert_eq!(home.store.last_key(TableId(99)).unwrap(), None);
    assert_eq!((home.store.count(DOG, u64::MAX).unwrap(), home.store.count(DOG, 5).unwrap()), (48, 5));
}

/// A store over a disk in memory, and its writer.
struct Home {
    disk: MemDisk,
    state: Arc<MemState>,
    options: Options,
    store: Store,
    writer: Option<Writer>,
    now_ms: u64,
}

impl Home {
    fn new(options: Options) -> (Home, MemDisk) {
        let disk = MemDisk::new(1);
        let options = Options { node: Some(NodeId(7)), ..options };
        (Home::open(disk.clone(), Arc::new(MemState::new(3_000)), options), disk)
    }

    fn open(disk: MemDisk, state: Arc<MemState>, options: Options) -> Home {
        let (store, writer) = Store::open_with(Arc::new(disk.clone()), Arc::clone(&state) as _, &options, 0)
            .unwrap_or_else(|e| panic!("{e}"));
        Home { disk, state, options, store, writer: Some(writer), now_ms: 0 }
    }

    fn restart(self, crash: Crash) -> Home {
        let Home { disk, state, options, writer, .. } = self;
        drop(writer);
        disk.restart(crash);
        state.crash();
        Home::open(disk, state, options)
    }

    fn close(mut self) -> Home {
        self.writer.take().unwrap().close(self.now_ms).unwrap();
        self.state.crash();
        Home::open(self.disk, self.state, self.options)
    }

    #[track_caller]
    fn turn(&mut self, changes: &[Change<'_>]) -> Vec<Outcome> {
        self.try_turn(changes).unwrap()
    }

    fn try_turn(&mut self, changes: &[Change<'_>]) -> Result<Vec<Outcome>, rowcast_store::StoreError> {
        let mut proposals = Proposals::default();
        for (at, change) in changes.iter().enumerate() {
            proposals.push(Some(Token(at as u64)), Durability::Sync, &[*change]);
        }
        self.try_propose(proposals)
    }

    #[track_caller]
    fn propose(&mut self, proposals: Proposals) -> Vec<Outcome> {
        self.try_propose(proposals).unwrap()
    }

    fn try_propose(&mut self, proposals: Proposals) -> Result<Vec<Outcome>, rowcast_store::StoreError> {
        let writer = self.writer.as_mut().unwrap();
        let mut committed = writer.turn(vec![(Origin(3), proposals)], self.now_ms)?;
        let (origin, completions) = committed.completions.remove(0);
        assert_eq!(origin, Origin(3));
        let outcome = |(at, completion): (usize, Completion)| {
            assert_eq!(completion.token, Token(at as u64));
            completion.outcome
        };
        Ok(completions.into_iter().enumerate().map(outcome).collect())
    }

    fn tick(&mut self) {
        self.writer.as_mut().unwrap().tick(self.now_ms).unwrap();
    }

    fn get(&self, table: TableId, key: &str) -> Option<String> {
        let bytes = self.store.get(table, key.as_bytes()).unwrap()?;
        text(std::str::from_utf8(bytes.record().unwrap().payload).unwrap())
    }

    fn log(&self, after: Sequence) -> Vec<String> {
        let page = self.store.read_log(after, usize::MAX).unwrap();
        let entries = page.batches.iter().flat_map(|batch| batch.entries().collect::<Vec<_>>());
        let entries = entries.filter(|entry| entry.sequence > after);
        entries.map(|entry| format!("{} {}", entry.sequence, String::from_utf8_lossy(entry.change.payload))).collect()
    }
}

fn put<'a>(table: TableId, key: &'a str, payload: &'a str) -> Change<'a> {
    Change {
        kind: ChangeKind::Put,
        qos: QoS::AtLeastOnce,
        table,
        key: key.as_bytes(),
        publisher: SessionId::NONE,
        expires_ms: None,
        properties: b"",
        payload: payload.as_bytes(),
    }
}

fn delete(table: TableId, key: &str) -> Change<'_> {
    Change { kind: ChangeKind::Delete, ..put(table, key, "") }
}

fn done(sequence: u64) -> Outcome {
    Outcome::Done { sequence: Sequence(sequence), existed: None }
}

fn existed(sequence: u64) -> Outcome {
    Outcome::Done { sequence: Sequence(sequence), existed: Some(true) }
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn copy(from: &MemDisk, from_name: &str, to: &MemDisk, to_name: &str) {
    let file = from.open(from_name).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    let file = to.open(to_name).unwrap();
    file.truncate(0).unwrap();
    file.write_at(&bytes, 0).unwrap();
}
