//! Many clients at once, and memory that stays bounded.

use crate::recovery::put;
use crate::server::Application;

/// A smaller variant of ten thousand clients and a hundred thousand records.
const CLIENTS: usize = 200;
const RECORDS: u32 = 2_000;
const READERS: usize = 20;

#[test]
fn a_crowd_follows_all_records_without_loss_in_bounded_memory() {
    let server = Application::dogs().start();
    let crowd: Vec<_> = (0..CLIENTS).map(|number| server.connect(&format!("client-{number}"))).collect();
    let mut writer = server.connect("writer");
    let numbers: Vec<u32> = (0..RECORDS).collect();
    numbers.chunks(500).for_each(|batch| put(&mut writer, batch, 1));
    let before = server.memory();

    // Each gets all records, and does not read while the others subscribe and records change.
    let mut readers: Vec<_> = (0..READERS)
        .map(|_| {
            let mut reader = server.connect("");
            reader.subscribe("dog/#", 1);
            reader
        })
        .collect();
    numbers.chunks(500).for_each(|batch| put(&mut writer, batch, 2));
    writer.publish("dog/end", "", 1, false);
    for reader in &mut readers {
        let mut ages = vec![0; RECORDS as usize];
        loop {
            let seen = reader.receive();
            let Ok(number) = seen.topic["dog/".len()..].parse::<usize>() else { break };
            let age = seen.json()["age"].as_u64().expect("an age");
            assert!(age >= ages[number], "{seen} after {}", ages[number]);
            ages[number] = age;
        }
        assert!(ages.iter().all(|age| *age == 2), "everything that changed was seen");
        reader.ping();
    }
    let more = server.memory().saturating_sub(before);
    assert!(more < 64 * 1024 * 1024, "{more} bytes more for {READERS} readers of {RECORDS} records");
    for mut client in crowd {
        client.ping();
    }
}
