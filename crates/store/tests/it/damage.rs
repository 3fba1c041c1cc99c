//! Any bytes as a log. Shared by the tests and `fuzz/fuzz_targets/recover.rs`, so it leans on public items only.

use rowcast_codec::QoS;
use rowcast_core::{Change, ChangeKind, Durability, NodeId, Proposals, Sequence, SessionId, TableId};
use rowcast_store::{Disk, MemDisk, MemState, Options, Origin, Store, Verify};
use std::sync::Arc;

/// Opens a log made from `input`. The first byte says how: 0, the rest is a segment; 1, the rest is edits of a good
/// log; 2, the rest is the body of a frame that carries the right checksum. Nothing may panic, and nothing may be
/// served that was never written.
pub(crate) fn recover(input: &[u8]) {
    let Some((how, rest)) = input.split_first() else { return };
    let disk = MemDisk::new(0);
    let good = write_good(&disk);
    let names = segments(&disk);
    match how {
        0 => put_file(&disk, &names[0], rest),
        1 => edit(&disk, &names, rest),
        _ => {
            let (count, body) = rest.split_first().map_or((0, &[][..]), |(count, body)| (*count, body));
            put_file(&disk, &names[0], &segment_with(&disk, &names[0], count, body));
        }
    }
    if *how != 1 {
        for name in &names[1..] {
            disk.remove(name).unwrap();
        }
    }
    for verify in [Verify::All, Verify::Tail] {
        let options = Options { verify, ..Options::default() };
        // What is cut in one attempt stays cut in the next.
        let Ok((store, _)) = Store::open_with(Arc::new(disk.clone()), Arc::new(MemState::new(1 << 20)), &options, 9)
        else {
            continue;
        };
        let served = read_all(&store);
        if *how == 1 {
            assert!(good.starts_with(&served), "something is served that was never written");
        }
    }
}

/// A log of a few segments, closed in good order. Returns the payloads in it.
pub(crate) fn write_good(disk: &MemDisk) -> Vec<Vec<u8>> {
    let options = Options { node: Some(NodeId(7)), segment_bytes: 400, ..Options::default() };
    let (store, mut writer) =
        Store::open_with(Arc::new(disk.clone()), Arc::new(MemState::new(1 << 20)), &options, 0).unwrap();
    for at in 0..12_u8 {
        let mut proposals = Proposals::default();
        for part in 0..=at % 3 {
            let payload = vec![at, part, b'x', b'y'];
            let key = [b'a' + at % 5];
            let change = Change {
                kind: if at % 4 == 3 { ChangeKind::Message } else { ChangeKind::Put },
                qos: QoS::AtLeastOnce,
                table: TableId(64),
                key: &key,
                publisher: SessionId::NONE,
                expires_ms: (at % 5 == 0).then_some(1_000),
                properties: &[],
                payload: &payload,
            };
            proposals.push(None, Durability::Sync, &[change]);
        }
        writer.turn(vec![(Origin(0), proposals)], u64::from(at)).unwrap();
    }
    writer.close(20).unwrap();
    read_all(&store)
}

pub(crate) fn segments(disk: &MemDisk) -> Vec<String> {
    let mut names: Vec<String> = disk.list().unwrap().into_iter().filter(|name| name.ends_with(".log")).collect();
    names.sort();
    names
}

fn read_all(store: &Store) -> Vec<Vec<u8>> {
    let mut after = store.oldest();
    let mut payloads = Vec::new();
    while let Ok(page) = store.read_log(after, 100) {
        let Some(last) = page.batches.last() else { break };
        after = last.last();
        let entries = page.batches.iter().flat_map(|batch| batch.entries().collect::<Vec<_>>());
        payloads.extend(entries.map(|entry| entry.change.payload.to_vec()));
    }
    assert!(after <= store.committed().max(Sequence::ZERO).max(store.oldest()));
    payloads
}

/// Four bytes an edit: which segment and what to do, where (two bytes), and a byte to do it with.
fn edit(disk: &MemDisk, names: &[String], edits: &[u8]) {
    for edit in edits.chunks_exact(4).take(16) {
        let name = &names[usize::from(edit[0] & 15) % names.len()];
        let mut bytes = read_file(disk, name);
        let at = usize::from(u16::from_be_bytes([edit[1], edit[2]])) % (bytes.len() + 1);
        match edit[0] >> 4 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, edit[3]),
            2 => {
                let end = (at + usize::from(edit[3])).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let end = (at + usize::from(edit[3])).min(bytes.len());
                bytes.extend_from_within(at..end);
            }
            4 => bytes = read_file(disk, &names[usize::from(edit[3]) % names.len()]),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= edit[3];
                }
            }
        }
        put_file(disk, name, &bytes);
    }
}

/// The header of a segment and one frame around `body`, as `docs/log-format.md` says.
fn segment_with(disk: &MemDisk, name: &str, count: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = read_file(disk, name);
    bytes.truncate(72);
    let seed: [u8; 4] = bytes[68..72].try_into().unwrap();
    let mut frame = (body.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(&seed);
    frame.extend_from_slice(&1_u64.to_le_bytes());
    frame.extend_from_slice(&u32::from(count).to_le_bytes());
    frame.extend_from_slice(&[0; 16]);
    frame.extend_from_slice(body);
    let checksum = crc32c::crc32c_append(u32::from_le_bytes(seed), &frame);
    bytes.extend_from_slice(b"frm\n");
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(&frame);
    bytes
}

pub(crate) fn read_file(disk: &MemDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn put_file(disk: &MemDisk, name: &str, bytes: &[u8]) {
    let file = disk.open(name).unwrap();
    file.truncate(0).unwrap();
    file.write_at(bytes, 0).unwrap();
}
