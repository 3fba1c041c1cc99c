//! Damaged logs by the thousand: those of the fuzzer's corpus, and edits made from a seed.

use crate::damage::{read_file, recover, segments, write_good};
use rowcast_store::MemDisk;
use std::path::Path;

#[test]
fn no_damage_makes_recovery_panic_or_serve_what_was_never_written() {
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 56) as u8
    };
    for _ in 0..3_000 {
        let mut input = vec![1];
        let edits = 1 + next() % 3;
        input.extend((0..edits * 4).map(|_| next()));
        recover(&input);
    }
    for _ in 0..1_000 {
        let mut input = vec![next() % 3];
        let length = next();
        input.extend((0..length).map(|_| next()));
        recover(&input);
    }
}

#[test]
fn a_frame_of_any_entry_prefix_is_refused_or_read() {
    let disk = MemDisk::new(0);
    write_good(&disk);
    let segment = read_file(&disk, &segments(&disk)[0]);
    let body = &segment[72 + 44..];
    for length in 0..body.len().min(120) {
        for count in 0..3 {
            recover(&[&[2, count], &body[..length]].concat());
        }
        for flip in [1, 0x10, 0x80, 0xff] {
            let mut bad = body[..120].to_vec();
            bad[length.min(119)] ^= flip;
            recover(&[&[2, 1], &bad[..]].concat());
        }
    }
}

#[test]
fn the_corpus_of_the_fuzzer_is_harmless() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/recover");
    let mut count = 0;
    for file in std::fs::read_dir(&folder).expect("there is a corpus") {
        recover(&std::fs::read(file.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 5, "{count} inputs in {}", folder.display());
}
