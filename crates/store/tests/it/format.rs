//! `docs/log-format.md` says what is on the disk. Its example is written here, and read.

use rowcast_codec::QoS;
use rowcast_core::{Change, ChangeKind, Durability, NodeId, Proposals, Sequence, SessionId, TableId};
use rowcast_store::{Disk, MemDisk, MemState, Options, Origin, Store};
use std::sync::Arc;

const DOCUMENT: &str = include_str!("../../../../docs/log-format.md");
const SEGMENT: &str = "00000000000000000001.log";

#[test]
fn the_store_writes_the_example_of_the_document() {
    let disk = MemDisk::new(0);
    write_example(&disk);
    for name in ["meta", SEGMENT] {
        let file = disk.open(name).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        assert_eq!(dump(&bytes), dump(&example(name)), "{name} in docs/log-format.md should be\n{}", dump(&bytes));
    }
}

#[test]
fn the_store_reads_the_example_of_the_document() {
    let disk = MemDisk::new(0);
    for name in ["meta", SEGMENT] {
        disk.create(name).unwrap().write_at(&example(name), 0).unwrap();
    }
    let (store, _writer) =
        Store::open_with(Arc::new(disk), Arc::new(MemState::new(1 << 20)), &Options::default(), 0).unwrap();
    assert!(store.opened().clean);
    assert_eq!(store.node(), NodeId(0x0706_0504_0302_0100));
    let page = store.read_log(Sequence::ZERO, usize::MAX).unwrap();
    let batch = &page.batches[0];
    let entries: Vec<_> =
        batch.entries().map(|it| (it.sequence.0, it.hlc.0, it.change.kind, it.change.payload)).collect();
    let clock = 1_700_000_000_000 << 16;
    assert_eq!(
        entries,
        [(1, clock, ChangeKind::Put, &b"{\"name\":\"Rex\"}"[..]), (2, clock + 1, ChangeKind::Message, &b"barks"[..])]
    );
    assert_eq!(store.get(TableId(64), b"123").unwrap().unwrap().record().unwrap().payload, b"{\"name\":\"Rex\"}");
}

fn write_example(disk: &MemDisk) {
    let options = Options { node: Some(NodeId(0x0706_0504_0302_0100)), ..Options::default() };
    let now_ms = 1_700_000_000_000;
    let (_, mut writer) =
        Store::open_with(Arc::new(disk.clone()), Arc::new(MemState::new(1 << 20)), &options, now_ms).unwrap();
    let put = Change {
        kind: ChangeKind::Put,
        qos: QoS::AtLeastOnce,
        table: TableId(64),
        key: b"123",
        publisher: SessionId(9),
        expires_ms: None,
        properties: &[],
        payload: b"{\"name\":\"Rex\"}",
    };
    let message = Change {
        kind: ChangeKind::Message,
        qos: QoS::ExactlyOnce,
        expires_ms: Some(now_ms + 60_000),
        properties: &[0x01, 0x01],
        payload: b"barks",
        ..put
    };
    let mut proposals = Proposals::default();
    proposals.push(None, Durability::Sync, &[put, message]);
    writer.turn(vec![(Origin(0), proposals)], now_ms).unwrap();
    writer.close(now_ms).unwrap();
}

/// The bytes of the block that follows the heading with `name`.
fn example(name: &str) -> Vec<u8> {
    let (_, rest) = DOCUMENT.split_once(&format!("### `{name}`")).expect("the example has a heading");
    let block = rest.split("```").nth(1).expect("the example is a block").trim_start_matches("text");
    let hex = block.lines().flat_map(|line| line.split('|').next().unwrap_or_default().split_whitespace().skip(1));
    hex.map(|byte| u8::from_str_radix(byte, 16).expect("two digits a byte")).collect()
}

/// Offset, sixteen bytes, and what of them can be read.
fn dump(bytes: &[u8]) -> String {
    let line = |(at, bytes): (usize, &[u8])| {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let readable = |&byte: &u8| if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '.' };
        format!("{:04x}  {:47} | {}\n", at * 16, hex.join(" "), bytes.iter().map(readable).collect::<String>())
    };
    bytes.chunks(16).enumerate().map(line).collect()
}
