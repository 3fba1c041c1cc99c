//! A real disk that is really full. Needs a small file system of its own:
//!
//! ```text
//! mount -t tmpfs -o size=40m tmpfs /mnt/small
//! ROWCAST_SMALL_DISK=/mnt/small cargo test -p rowcast-store --test it full -- --ignored
//! ```

use rowcast_codec::QoS;
use rowcast_core::{Change, ChangeKind, Durability, NodeId, Outcome, Proposals, SessionId, TableId, Token};
use rowcast_store::{Options, Origin, Retention, Store, Writer};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const DOG: TableId = TableId(64);

#[test]
#[ignore = "needs a small file system in ROWCAST_SMALL_DISK"]
fn a_full_disk_is_answered_and_survived_and_goes_on_when_there_is_room() {
    let folder = PathBuf::from(std::env::var("ROWCAST_SMALL_DISK").expect("a small file system")).join("data");
    let _ = std::fs::remove_dir_all(&folder);
    let retention = Retention { bytes: Some(4 << 20), age_ms: None };
    let options =
        Options { node: Some(NodeId(7)), segment_bytes: 1 << 20, table_bytes: 1, retention, ..Options::default() };
    let (store, mut writer) = Store::open(&folder, &options, 0).unwrap();
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![1; 12 << 20]).unwrap();
    let mut written = 0;
    while put(&mut writer, written) {
        written += 1;
        writer.tick(0).unwrap();
    }
    assert!(written > 5_000, "{written} records fit");
    assert_eq!(store.count(DOG, u64::MAX).unwrap(), written);
    let before = std::fs::read_dir(folder.join("tables/tables")).unwrap().count();
    for _ in 0..20 {
        put(&mut writer, written); // Refused, or squeezed in.
        writer.tick(0).unwrap();
    }
    assert!(std::fs::read_dir(folder.join("tables/tables")).unwrap().count() <= before + 3, "nothing is left behind");
    std::fs::remove_file(&ballast).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !put(&mut writer, written) {
        assert!(Instant::now() < deadline, "there is room, and it is not taken");
        writer.tick(0).unwrap();
    }
    for at in 0..2_000 {
        assert!(put(&mut writer, written + 1 + at), "record {at} after there was room");
        writer.tick(0).unwrap();
    }
    written += 2_001;
    drop((store, writer));
    let (store, _writer) = Store::open(&folder, &options, 0).unwrap();
    assert_eq!(store.count(DOG, u64::MAX).unwrap(), written);
}

/// Whether there was room.
fn put(writer: &mut Writer, number: u64) -> bool {
    let mut proposals = Proposals::default();
    let change = Change {
        kind: ChangeKind::Put,
        qos: QoS::AtLeastOnce,
        table: DOG,
        key: &number.to_be_bytes(),
        publisher: SessionId::NONE,
        expires_ms: None,
        properties: &[],
        payload: &[3; 1_000],
    };
    proposals.push(Some(Token(0)), Durability::Sync, &[change]);
    let committed = writer.turn(vec![(Origin(0), proposals)], 0).unwrap();
    committed.completions[0].1[0].outcome != Outcome::Full
}
