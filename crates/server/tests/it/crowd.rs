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

#[test]
fn one_wildcard_brings_all_records_whole_and_in_order_while_others_are_served() {
    const MANY: u32 = 20_000;
    let server = Application::dogs().start();
    let mut writer = server.connect("writer");
    let mut others: Vec<_> = (0..2).map(|number| server.connect(&format!("other-{number}"))).collect();
    for (number, other) in others.iter_mut().enumerate() {
        other.subscribe(&format!("other/{number}"), 0);
    }
    let numbers: Vec<u32> = (0..MANY).collect();
    numbers.chunks(500).for_each(|batch| put(&mut writer, batch, 1));
    let before = server.memory();
    for qos in [0, 1] {
        let mut reader = server.connect("");
        reader.subscribe("dog/+", qos);
        for number in 0..MANY {
            let seen = reader.receive();
            assert_eq!((&*seen.topic, seen.qos, seen.retain), (&*format!("dog/{number:07}"), qos, true));
            if number % 1000 == 0 {
                for (number, other) in others.iter_mut().enumerate() {
                    writer.publish(&format!("other/{number}"), "meanwhile", 0, false);
                    assert_eq!(other.receive().text(), "meanwhile");
                }
            }
        }
        reader.ping();
        reader.disconnect();
    }
    // What selects nothing of a table, or one record of it, reads no more than that.
    let mut reader = server.connect("");
    for (filter, found) in [("dog/0012345", true), ("dog/none", false), ("dog/0012345/#", true), ("dog/+/x", false)] {
        reader.subscribe(filter, 0);
        if found {
            assert_eq!(reader.receive().topic, "dog/0012345");
        }
        reader.ping();
    }
    let more = server.memory().saturating_sub(before);
    assert!(more < 32 * 1024 * 1024, "{more} bytes more for reading {MANY} records");
}
