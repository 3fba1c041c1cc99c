//! Many records, and how soon they are there again.

use crate::server::Application;
use crate::wire::{self, Client, Packet, Version};
use std::time::{Duration, Instant};

/// A smaller variant of the million that `ROWCAST_RECORDS` may ask for.
const RECORDS: u32 = 20_000;
/// In flight at once: fewer than a server takes.
const BATCH: usize = 500;
/// Promised for a million, on a quiet machine with the release binary.
const SOON: Duration = Duration::from_secs(3);

#[test]
fn all_records_are_there_soon_after_kill_9() {
    let records = std::env::var("ROWCAST_RECORDS").map_or(RECORDS, |value| value.parse().expect("a number"));
    let application = Application::dogs();
    let server = application.start();
    let mut writer = server.connect("");
    let numbers: Vec<u32> = (0..records).collect();
    numbers.chunks(BATCH).for_each(|batch| put(&mut writer, batch, 1));
    server.kill();

    let start = Instant::now();
    let server = application.start();
    let took = start.elapsed();
    println!("{records} records, listening {} ms after kill -9", took.as_millis());
    assert!(took < SOON, "{took:?}");
    let mut reader = server.connect("");
    reader.subscribe("dog/#", 0);
    for number in 0..records {
        let seen = reader.next_publish();
        assert_eq!(seen.topic, format!("dog/{number:07}"), "in the order of their keys, and all of them");
    }
    reader.ping();
}

/// Puts records of one age, and waits until all are acknowledged.
#[track_caller]
pub(crate) fn put(writer: &mut Client, numbers: &[u32], age: u32) {
    let ids: Vec<u16> = numbers.iter().map(|_| writer.next_id()).collect();
    let bytes: Vec<u8> = numbers
        .iter()
        .zip(&ids)
        .flat_map(|(number, id)| {
            let json = format!("{{\"name\":\"dog number {number}\",\"age\":{age}}}");
            wire::publish(Version::V5, &format!("dog/{number:07}"), json.as_bytes(), 1, true, *id, &[])
        })
        .collect();
    writer.send(&bytes);
    for id in ids {
        let answer = writer.next();
        assert!(matches!(&answer, Packet::Puback(found) if found.id == id && found.code < 0x80), "{answer:?}");
    }
}
